//! Who waits for a payment: whoever changes it tells them, so that a caller whose payment is resolved by the poller, or by a notification, is
//! answered at once. Only within this process; a change elsewhere is read when the wait ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::domain::{Payment, PaymentId};

/// The payments that somebody waits for, with the latest that is known of each.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    watched: Arc<Mutex<HashMap<PaymentId, Watched>>>,
}

#[derive(Debug)]
struct Watched {
    latest: watch::Sender<Option<Arc<Payment>>>,
    waiters: usize,
}

/// One waiter. Ends its watch when dropped.
#[derive(Debug)]
pub struct Waiter {
    id: PaymentId,
    latest: watch::Receiver<Option<Arc<Payment>>>,
    waiting: Waiting,
}

impl Waiting {
    /// Starts to watch a payment.
    pub fn watch(&self, id: PaymentId) -> Waiter {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = watched.entry(id).or_insert_with(|| Watched { latest: watch::channel(None).0, waiters: 0 });
        entry.waiters += 1;
        Waiter { id, latest: entry.latest.subscribe(), waiting: self.clone() }
    }

    /// Watches a payment that somebody watches already; `None` when nobody does.
    pub fn join(&self, id: PaymentId) -> Option<Waiter> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = watched.get_mut(&id)?;
        entry.waiters += 1;
        Some(Waiter { id, latest: entry.latest.subscribe(), waiting: self.clone() })
    }

    /// Tells those who wait that the payment has changed, on disk.
    pub fn tell(&self, payment: &Payment) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = watched.get(&payment.id) {
            entry.latest.send_if_modified(|latest| {
                let newer = latest.as_ref().is_none_or(|known| known.sequence < payment.sequence);
                if newer {
                    *latest = Some(Arc::new(payment.clone()));
                }
                newer
            });
        }
    }
}

impl Waiter {
    /// The next version of the payment that `enough` is true of, or the last one that was heard of when `until` has come.
    pub async fn until(&mut self, until: tokio::time::Instant, enough: impl Fn(&Payment) -> bool) -> Option<Arc<Payment>> {
        let found = self.latest.wait_for(|latest| latest.as_ref().is_some_and(|payment| enough(payment)));
        // Out of time, the last that was heard of will do.
        let _enough_or_late = tokio::time::timeout_at(until, found).await.is_ok();
        self.latest.borrow().clone()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut watched = self.waiting.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = watched.get_mut(&self.id) {
            entry.waiters -= 1;
            if entry.waiters == 0 {
                watched.remove(&self.id);
            }
        }
    }
}

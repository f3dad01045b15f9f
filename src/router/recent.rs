//! Payments that this process brought to an end lately. Providers repeat by notification what they have answered already; whoever knows the
//! answer need not read it again. What is known of a payment only grows, so news that an older version has seen, a newer one has seen too; in
//! every other case the payment is read.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::domain::{Payment, PaymentId};

/// Payments that are remembered: at a few hundred bytes each, some megabytes.
const REMEMBERED: usize = 4_096;

/// The memory. The oldest makes room for the newest.
#[derive(Debug, Default)]
pub(super) struct Recent {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    payments: HashMap<PaymentId, Payment>,
    order: VecDeque<PaymentId>,
}

impl Recent {
    /// Remembers a payment that has come to an end.
    pub(super) fn remember(&self, payment: &Payment) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.payments.insert(payment.id, payment.clone()).is_none() {
            inner.order.push_back(payment.id);
        }
        if inner.order.len() > REMEMBERED
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.payments.remove(&oldest);
        }
    }

    /// What is remembered of a payment.
    pub(super) fn recall<T>(&self, id: PaymentId, look: impl FnOnce(&Payment) -> T) -> Option<T> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.payments.get(&id).map(look)
    }
}

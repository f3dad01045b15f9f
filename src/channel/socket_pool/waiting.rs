//! Who waits for which answer. A message that comes back finds its sender here, whichever socket it comes over; one that finds nobody is late,
//! and says so.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::channel::http_pool::Lost;
use crate::provider::socket::Correlation;

/// What a sender is told.
pub(super) type Heard = Result<Bytes, Lost>;

#[derive(Debug)]
struct Waiter {
    /// The socket that its message went out on: when that one is lost, so is the answer.
    socket: u64,
    tell: oneshot::Sender<Heard>,
}

/// Everybody who waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    waiters: Mutex<HashMap<Correlation, Waiter>>,
}

/// A place in the list, given up when it is dropped: an answer that comes later is late.
pub(super) struct Place<'a> {
    waiting: &'a Waiting,
    correlation: &'a Correlation,
    pub(super) heard: oneshot::Receiver<Heard>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiting.entered().remove(self.correlation);
    }
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// Somebody waits for the same answer.
    Taken,
    /// Too many wait.
    Full,
}

impl Waiting {
    /// A poisoned list is entered all the same: each step leaves it whole.
    fn entered(&self) -> MutexGuard<'_, HashMap<Correlation, Waiter>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the answer with this correlation to a message that is about to go out on `socket`.
    pub(super) fn wait<'a>(&'a self, correlation: &'a Correlation, socket: u64, at_most: usize) -> Result<Place<'a>, NoPlace> {
        let mut waiters = self.entered();
        if waiters.contains_key(correlation) {
            return Err(NoPlace::Taken);
        }
        if waiters.len() >= at_most {
            return Err(NoPlace::Full);
        }
        let (tell, heard) = oneshot::channel();
        waiters.insert(correlation.clone(), Waiter { socket, tell });
        Ok(Place { waiting: self, correlation, heard })
    }

    /// Hands an answer to whoever waits for it; false when nobody does.
    pub(super) fn tell(&self, correlation: &Correlation, message: Bytes) -> bool {
        let waiter = self.entered().remove(correlation);
        waiter.is_some_and(|waiter| waiter.tell.send(Ok(message)).is_ok())
    }

    /// Tells everybody whose message went out on this socket that it is lost.
    pub(super) fn lose(&self, socket: u64, lost: Lost) {
        let gone: Vec<Waiter> = self.entered().extract_if(|_, waiter| waiter.socket == socket).map(|(_, waiter)| waiter).collect();
        for waiter in gone {
            // One that has given up needs no telling.
            let _unheard = waiter.tell.send(Err(lost));
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.entered().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_socket_takes_only_its_own_waiters_along_and_a_place_is_given_up_when_it_is_dropped() {
        let waiting = Waiting::default();
        let names = ["a", "b"].map(|name| Correlation(name.to_owned()));
        let mut first = waiting.wait(&names[0], 1, 2).expect("a place");
        let mut second = waiting.wait(&names[1], 2, 2).expect("a place");
        assert_eq!(waiting.wait(&names[0], 2, 9).err(), Some(NoPlace::Taken));
        assert_eq!(waiting.wait(&Correlation("c".to_owned()), 1, 2).err(), Some(NoPlace::Full));
        waiting.lose(1, Lost::Closed);
        assert_eq!(first.heard.try_recv(), Ok(Err(Lost::Closed)));
        assert!(waiting.tell(&names[1], Bytes::from_static(b"yes")));
        assert_eq!(second.heard.try_recv(), Ok(Ok(Bytes::from_static(b"yes"))));
        assert!(!waiting.tell(&names[1], Bytes::new()), "it was told");
        drop((first, second));
        assert_eq!(waiting.len(), 0);
    }
}

//! How much may be under way at once at one channel, and of what there is one at a time.
//!
//! Every channel has places of its own, for each kind of work that may have to wait for it: looks at what is due, messages that are being stored,
//! messages that are being applied, questions of merchants. A channel that is slow, or of which much is due, fills its own places and takes none
//! from another. All looks together have a bound, too ([`FlowSettings::inquiries`](super::FlowSettings)); a channel has an equal part of it, also while
//! the others need nothing: what is lent cannot be had back from a call that hangs. With more than [`PARTS`] channels each has as much as with so many:
//! then it takes that many which hang at once, until their calls time out, to keep the others waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Into how many parts the looks are split at most: with many channels an equal part would be too little to come through a backlog with.
const PARTS: usize = 4;
/// Messages of a channel that are being stored. They wait for its own connections alone; beyond that its provider is told to send again.
const RECEIVING: usize = 64;
/// Notifications of a channel that are applied at once; what comes on top waits on disk.
const APPLYING: usize = 128;
/// Questions of merchants under way at a channel. They have no place among the looks: whoever reads open payments in a loop takes nothing from the
/// poller.
const ASKING: usize = 16;

/// One channel's places.
#[derive(Clone, Debug)]
pub(super) struct Places {
    looks: usize,
    looking: Arc<Semaphore>,
    receiving: Arc<Semaphore>,
    applying: Arc<Semaphore>,
    asking: Arc<Semaphore>,
}

/// A place; it goes back when dropped.
pub(super) type Place = OwnedSemaphorePermit;

fn take(places: &Arc<Semaphore>) -> Option<Place> {
    Arc::clone(places).try_acquire_owned().ok()
}

impl Places {
    /// The places of one of `channels` channels that have `inquiries` looks together.
    pub(super) fn of_one(channels: usize, inquiries: usize) -> Self {
        let looks = (inquiries / channels.clamp(1, PARTS)).max(1);
        let places = |count| Arc::new(Semaphore::new(count));
        Self { looks, looking: places(looks), receiving: places(RECEIVING), applying: places(APPLYING), asking: places(ASKING) }
    }

    /// How many more looks there is room for.
    pub(super) fn room_to_look(&self) -> usize {
        self.looking.available_permits()
    }

    pub(super) fn to_look(&self) -> Option<Place> {
        take(&self.looking)
    }

    pub(super) fn to_receive(&self) -> Option<Place> {
        take(&self.receiving)
    }

    pub(super) fn to_apply(&self) -> Option<Place> {
        take(&self.applying)
    }

    pub(super) fn to_ask(&self) -> Option<Place> {
        take(&self.asking)
    }

    /// Whether nothing is under way that a stop must wait for: a merchant's question only reads.
    pub(super) fn are_free(&self) -> bool {
        let free = [(&self.looking, self.looks), (&self.receiving, RECEIVING), (&self.applying, APPLYING)];
        free.iter().all(|(places, count)| places.available_permits() == *count)
    }
}

/// One at a time: whoever takes the turn does the work. It is free again when what was taken is dropped, by a panic too, or the work would never be
/// done again.
#[derive(Clone, Debug, Default)]
pub struct Turn(Arc<AtomicBool>);

/// The turn of whoever took it, until it is dropped.
#[derive(Debug)]
pub struct Taken(Arc<AtomicBool>);

impl Turn {
    /// Takes it; `None` while somebody has it.
    pub fn take(&self) -> Option<Taken> {
        (!self.0.swap(true, Ordering::AcqRel)).then(|| Taken(Arc::clone(&self.0)))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_has_an_equal_part_of_the_looks_or_a_quarter_and_at_least_one() {
        assert_eq!(Places::of_one(4, 256).room_to_look(), 64);
        assert_eq!(Places::of_one(1, 256).room_to_look(), 256);
        assert_eq!(Places::of_one(300, 256).room_to_look(), 64);
        assert_eq!(Places::of_one(300, 1).room_to_look(), 1);
        assert_eq!(Places::of_one(0, 8).room_to_look(), 8);
        let places = Places::of_one(3, 8);
        let taken: Vec<_> = (0..3).map(|_| places.to_look()).collect();
        assert_eq!(taken.iter().filter(|place| place.is_some()).count(), 2);
        assert!(!places.are_free() && places.to_apply().is_some(), "other work has places of its own");
        drop(taken);
        assert!(places.are_free());
    }

    #[test]
    fn a_turn_is_one_at_a_time_and_comes_back_from_whoever_panicked() {
        let turn = Turn::default();
        let taken = turn.take();
        assert!(taken.is_some() && turn.clone().take().is_none());
        drop(taken);
        let lost = std::panic::catch_unwind(|| {
            let _taken = turn.take();
            panic!("a fault of ours");
        });
        assert!(lost.is_err());
        assert!(turn.take().is_some());
    }
}

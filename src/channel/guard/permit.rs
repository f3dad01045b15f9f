//! Leave to make one call, as a value that cannot be forgotten.

use std::sync::Arc;

use super::ChannelGuard;
use super::lane::{End, Ended};
use crate::clock::Moment;
use crate::domain::operation::{CallClass, OperationClass};

/// Leave to make one call, and the call's place among those in flight. It owns its guard, so it may travel to any thread and outlive whoever
/// asked for it.
///
/// Consume it with [`Permit::record`]. Dropped before [`Permit::mark_sent`] it counts as [`CallClass::Neutral`]; dropped after, in a panic or by
/// mistake, as [`CallClass::FailHard`] at the latest time that the guard was told, which a tick keeps fresh.
#[derive(Debug)]
#[must_use = "a permit that is dropped gives its place back at once"]
pub struct Permit {
    guard: Arc<ChannelGuard>,
    class: OperationClass,
    slot: u16,
    admitted: Moment,
    /// Whether it is out of the retry budget, and goes back there when the call succeeds or is never sent.
    repeat: bool,
    recorded: Option<(CallClass, Moment)>,
}

impl Permit {
    pub(super) fn new(guard: Arc<ChannelGuard>, class: OperationClass, slot: u16, admitted: Moment) -> Self {
        Self { guard, class, slot, admitted, repeat: false, recorded: None }
    }

    /// The same, out of the retry budget.
    pub(super) fn of_budget(mut self) -> Self {
        self.repeat = true;
        self
    }

    /// A permit that holds nothing, of a guard that is compiled to nothing.
    pub(super) fn of_nothing(guard: Arc<ChannelGuard>, class: OperationClass, admitted: Moment) -> Self {
        Self::new(guard, class, u16::MAX, admitted)
    }

    /// The class it was asked for.
    pub fn class(&self) -> OperationClass {
        self.class
    }

    /// When it was given.
    pub fn admitted_at(&self) -> Moment {
        self.admitted
    }

    /// The guard that gave it.
    pub fn guard(&self) -> &Arc<ChannelGuard> {
        &self.guard
    }

    /// Say it just before the first byte of the request may leave. From here the call's time runs (not from [`ChannelGuard::admit`]: our own
    /// commit lies between), and silence is a failure. Said again, it does nothing.
    pub fn mark_sent(&mut self, now: Moment) {
        if cfg!(feature = "unguarded") {
            return;
        }
        self.guard.lane(self.class).sent(self.slot, now);
    }

    /// Gives it back: what the call says of the channel. A connection that never came about is a failure too, though nothing was sent; its time
    /// runs from [`ChannelGuard::admit`].
    pub fn record(mut self, class: CallClass, now: Moment) {
        self.recorded = Some((class, now));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if cfg!(feature = "unguarded") {
            return;
        }
        let end = match self.recorded {
            Some((class, now)) => End::Recorded(class, now),
            None => End::Dropped,
        };
        let Ended { transition, unspent, desk } = self.guard.lane(self.class).end(self.slot, self.admitted, end);
        if let Some(transition) = transition {
            self.guard.remember(self.class, transition);
        }
        self.guard.room.set_class_limit(self.class, desk.limiter.limit());
        // The slot first, the room after it: so there are never more calls with room than slots.
        drop(desk);
        self.guard.room.give_back(self.class);
        // After the class's lock is left: the budget's comes before it.
        if self.repeat && unspent {
            self.guard.lock_repeats().budget.give_back(self.admitted);
        }
    }
}

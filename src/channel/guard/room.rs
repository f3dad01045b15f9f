//! Room for calls in flight: one limit for the channel, with shares of it that pay can never take.
//!
//! When a channel slows down, payments pile up on it; without a share kept back, the queries that would bring those payments to an end
//! find no room, just when they matter most. So resolve keeps 20 % and refund 10 % of the limit (each at least 1), and may use more while pay
//! leaves it idle. A class that is below its kept share is always let in. One inequality says all of that:
//!
//! ```text
//! pay + max(resolve, kept for resolve) + max(refund, kept for refund) <= limit
//! ```
//!
//! The limit follows what the adaptive limiter of pay finds (`limiter.rs`): it is what pay may have and the two shares, and at most what the
//! settings say, of which the shares are a part however small the limit becomes. Resolve and refund each stay below their own limiter, too,
//! but a class that is below its share is let in whatever the limiters say.
//!
//! The three counts live in one atomic word, so the check and the step are one compare-and-swap. The limits are words of their own: a call that is
//! let in by the limit of a moment ago does no harm.

use super::super::locks::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::domain::operation::OperationClass;

const RESOLVE_KEEPS_PERCENT: u32 = 20;
const REFUND_KEEPS_PERCENT: u32 = 10;

/// Bits of one class's count in the word; the limit is at most 512.
const COUNT_BITS: u32 = 16;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// The room of one channel.
#[derive(Debug)]
pub(super) struct Room {
    in_flight: AtomicU64,
    /// What the settings allow, all classes together.
    cap: u32,
    /// What the limiter of each class allows it.
    limits: [AtomicU32; 3],
}

impl Room {
    /// Empty room for `cap` calls, which must be at least one for each class and fit 16 bits.
    pub(super) fn new(cap: u32) -> Self {
        let room = Self { in_flight: AtomicU64::new(0), cap, limits: [AtomicU32::new(0), AtomicU32::new(0), AtomicU32::new(0)] };
        OperationClass::ALL.into_iter().for_each(|class| room.set_class_limit(class, cap));
        room
    }

    /// Takes room for one call, if `class` may have it.
    pub(super) fn take(&self, class: OperationClass) -> bool {
        let step = |counts| self.fits(counts, class).then(|| counts + one(class));
        self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).is_ok()
    }

    /// Gives it back.
    pub(super) fn give_back(&self, class: OperationClass) {
        self.in_flight.fetch_sub(one(class), Ordering::AcqRel);
    }

    /// Whether `class` would be given room now.
    pub(super) fn has(&self, class: OperationClass) -> bool {
        self.fits(self.in_flight.load(Ordering::Acquire), class)
    }

    /// Calls of `class` in flight.
    pub(super) fn in_flight(&self, class: OperationClass) -> u32 {
        count(self.in_flight.load(Ordering::Acquire), class)
    }

    /// Calls that may be in flight now, all classes together.
    pub(super) fn limit(&self) -> u32 {
        let shares = self.kept(OperationClass::Resolve) + self.kept(OperationClass::Refund);
        (self.class_limit(OperationClass::Pay) + shares).min(self.cap)
    }

    /// Calls of `class` that may be in flight now, as its limiter has it.
    pub(super) fn class_limit(&self, class: OperationClass) -> u32 {
        self.limits[class as usize].load(Ordering::Relaxed)
    }

    /// Takes over what the limiter of `class` found: never more than the class could have, never less than is kept for it.
    pub(super) fn set_class_limit(&self, class: OperationClass, limit: u32) {
        let limit = limit.clamp(self.kept(class).max(1), self.most(class));
        self.limits[class as usize].store(limit, Ordering::Relaxed);
    }

    /// What is kept for `class` when others would like it: a share for resolve and refund, nothing for pay.
    pub(super) fn kept(&self, class: OperationClass) -> u32 {
        match class {
            OperationClass::Pay => 0,
            OperationClass::Resolve => (self.cap * RESOLVE_KEEPS_PERCENT / 100).max(1),
            OperationClass::Refund => (self.cap * REFUND_KEEPS_PERCENT / 100).max(1),
        }
    }

    /// The most calls of `class` that can ever be in flight.
    pub(super) fn most(&self, class: OperationClass) -> u32 {
        let others = OperationClass::ALL.into_iter().filter(|other| *other != class);
        self.cap.saturating_sub(others.map(|other| self.kept(other)).sum())
    }

    fn fits(&self, counts: u64, class: OperationClass) -> bool {
        let wanted = count(counts, class) + 1;
        if wanted <= self.kept(class) {
            // Whatever the others have, they never have this.
            return true;
        }
        if wanted > self.class_limit(class) {
            return false;
        }
        let claims = OperationClass::ALL.into_iter().map(|other| {
            let wanted = count(counts, other) + u32::from(other == class);
            wanted.max(self.kept(other))
        });
        claims.sum::<u32>() <= self.limit()
    }
}

fn one(class: OperationClass) -> u64 {
    1 << (class as u32 * COUNT_BITS)
}

fn count(counts: u64, class: OperationClass) -> u32 {
    ((counts >> (class as u32 * COUNT_BITS)) & COUNT_MASK) as u32
}

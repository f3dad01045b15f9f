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
//! The three counts live in one atomic word, so the check and the step are one compare-and-swap.

use std::sync::atomic::{AtomicU64, Ordering};

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
    limit: u32,
}

impl Room {
    /// Empty room for `limit` calls, which must be at least one for each class and fit 16 bits.
    pub(super) fn new(limit: u32) -> Self {
        Self { in_flight: AtomicU64::new(0), limit }
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

    /// Calls that may be in flight, all classes together.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// What is kept for `class` when others would like it: a share for resolve and refund, nothing for pay.
    pub(super) fn kept(&self, class: OperationClass) -> u32 {
        match class {
            OperationClass::Pay => 0,
            OperationClass::Resolve => (self.limit * RESOLVE_KEEPS_PERCENT / 100).max(1),
            OperationClass::Refund => (self.limit * REFUND_KEEPS_PERCENT / 100).max(1),
        }
    }

    /// The most calls of `class` that can ever be in flight.
    pub(super) fn most(&self, class: OperationClass) -> u32 {
        let others = OperationClass::ALL.into_iter().filter(|other| *other != class);
        self.limit.saturating_sub(others.map(|other| self.kept(other)).sum())
    }

    fn fits(&self, counts: u64, class: OperationClass) -> bool {
        let claims = OperationClass::ALL.into_iter().map(|other| {
            let wanted = count(counts, other) + u32::from(other == class);
            wanted.max(self.kept(other))
        });
        claims.sum::<u32>() <= self.limit
    }
}

fn one(class: OperationClass) -> u64 {
    1 << (class as u32 * COUNT_BITS)
}

fn count(counts: u64, class: OperationClass) -> u32 {
    ((counts >> (class as u32 * COUNT_BITS)) & COUNT_MASK) as u32
}

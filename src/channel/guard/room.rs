//! Room for calls in flight: one limit for the channel, with shares of it that pay can never take.
//!
//! When a channel slows down, payments pile up on it; without a share kept back, the queries that would bring those payments to an end
//! find no room, just when they matter most. So resolve keeps 20 % and refund 10 % of the limit (each at least 1), and may use more while pay
//! leaves it idle. One inequality says all of that:
//!
//! ```text
//! pay + max(resolve, kept for resolve) + max(refund, kept for refund) <= limit
//! ```
//!
//! The limit follows what the adaptive limiter of pay finds (`limiter.rs`): it is the largest, up to what the settings say, of which the shares
//! leave pay no more than its limiter allows it. The shares are of the limit as it is now, not as it once was: a channel that can carry eight
//! calls is not met by a hundred queries. Resolve and refund each stay below their own limiter too, however large their share: a share is
//! what the others leave to a class, not what the channel can bear of it. A share and a limiter are never below one, so one call of each class is
//! always let in.
//!
//! When the limit shrinks below what is in flight, nobody is called back: pay waits until it is below its part again, while resolve and refund
//! have their shares at once. What was let in since then never exceeds the limit, and all together never exceed what the settings say.
//!
//! The three counts live in one atomic word, so the check and the step are one compare-and-swap. The limits are words of their own, read once a
//! check: a call that is let in by the limit of a moment ago does no harm.

use super::super::locks::atomic::{AtomicU32, AtomicU64, Ordering};
use super::settings::MIN_IN_FLIGHT;
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
    /// What may be in flight now, all classes together: what follows from the cap and the limiter of pay.
    limit: AtomicU32,
    /// What the limiter of each class allows it.
    class_limits: [AtomicU32; 3],
}

impl Room {
    /// Empty room for `cap` calls, which must be at least one for each class and fit 16 bits.
    pub(super) fn new(cap: u32) -> Self {
        let most = |class| AtomicU32::new(part(class, cap));
        Self { in_flight: AtomicU64::new(0), cap, limit: AtomicU32::new(cap), class_limits: OperationClass::ALL.map(most) }
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
        self.limit.load(Ordering::Relaxed)
    }

    /// Calls of `class` that may be in flight now, as its limiter has it.
    pub(super) fn class_limit(&self, class: OperationClass) -> u32 {
        self.class_limits[class as usize].load(Ordering::Relaxed)
    }

    /// Takes over what the limiter of `class` found: at least one, and never more than the class could ever have. To be called by one at a time
    /// for each class, or an older figure may stay.
    pub(super) fn set_class_limit(&self, class: OperationClass, limit: u32) {
        let limit = limit.clamp(1, self.most(class));
        // Nearly every call leaves its limiter as it was.
        if limit == self.class_limit(class) {
            return;
        }
        self.class_limits[class as usize].store(limit, Ordering::Relaxed);
        if class == OperationClass::Pay {
            self.limit.store(limit_for(limit, self.cap), Ordering::Relaxed);
        }
    }

    /// What of the limit is kept for `class` now.
    pub(super) fn kept(&self, class: OperationClass) -> u32 {
        kept(class, self.limit())
    }

    /// The most calls of `class` that can ever be in flight.
    pub(super) fn most(&self, class: OperationClass) -> u32 {
        part(class, self.cap)
    }

    fn fits(&self, counts: u64, class: OperationClass) -> bool {
        let (wanted, limit) = (count(counts, class) + 1, self.limit());
        if wanted > self.class_limit(class) {
            return false;
        }
        if wanted <= kept(class, limit) {
            // Whatever the others have, they never have this; unless they had it before the limit shrank.
            return true;
        }
        let claims = OperationClass::ALL.into_iter().map(|other| {
            let wanted = count(counts, other) + u32::from(other == class);
            wanted.max(kept(other, limit))
        });
        claims.sum::<u32>() <= limit
    }
}

/// What of `limit` is kept for `class` when others would like it: a share for resolve and refund, nothing for pay.
pub(super) fn kept(class: OperationClass, limit: u32) -> u32 {
    match class {
        OperationClass::Pay => 0,
        OperationClass::Resolve => (limit * RESOLVE_KEEPS_PERCENT / 100).max(1),
        OperationClass::Refund => (limit * REFUND_KEEPS_PERCENT / 100).max(1),
    }
}

/// What of `limit` is not kept for the others.
fn part(class: OperationClass, limit: u32) -> u32 {
    let others = OperationClass::ALL.into_iter().filter(|other| *other != class);
    limit.saturating_sub(others.map(|other| kept(other, limit)).sum())
}

/// The largest limit up to `cap` that leaves pay at most `pay`, which is at least 1: the cap itself when pay may have all that the cap leaves
/// it. The part of pay is not quite a rising function of the limit (of 19 it is 15, of 20 it is 14), so no inverse says it; but it is at least seven
/// tenths of the limit, or all but two, so that the search is over after a few steps.
pub(super) fn limit_for(pay: u32, cap: u32) -> u32 {
    let above = (pay * 10 / 7 + 2).min(cap);
    (MIN_IN_FLIGHT..=above).rev().find(|limit| part(OperationClass::Pay, *limit) <= pay).unwrap_or(MIN_IN_FLIGHT)
}

fn one(class: OperationClass) -> u64 {
    1 << (class as u32 * COUNT_BITS)
}

fn count(counts: u64, class: OperationClass) -> u32 {
    ((counts >> (class as u32 * COUNT_BITS)) & COUNT_MASK) as u32
}

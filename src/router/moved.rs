//! How often money moved at a channel without us, or did not stay where we had sent it. It is counted where it is booked, and read by whoever tells
//! operators (`app/alerting.rs`), because merchants are told by webhooks, and nobody else would be.
//!
//! Counts of this process alone: the one that was told is the one that tells.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted at one channel.
#[derive(Debug, Default)]
pub(super) struct Moved {
    refunds: AtomicU64,
    returned: AtomicU64,
    opened: AtomicU64,
    closed: AtomicU64,
    misfits: AtomicU64,
}

/// What was counted until now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MovedCounts {
    /// Refunds that were made at the channel.
    pub refunds: u64,
    /// Refunds that had succeeded, and came back.
    pub returned: u64,
    /// Disputes that were opened.
    pub opened: u64,
    /// Disputes that were decided.
    pub closed: u64,
    /// Words about money that cannot be true together with what is known, or of another amount than was asked for.
    pub misfits: u64,
}

impl MovedCounts {
    /// What came on top of `before`.
    pub const fn since(self, before: Self) -> Self {
        Self {
            refunds: self.refunds.saturating_sub(before.refunds),
            returned: self.returned.saturating_sub(before.returned),
            opened: self.opened.saturating_sub(before.opened),
            closed: self.closed.saturating_sub(before.closed),
            misfits: self.misfits.saturating_sub(before.misfits),
        }
    }
}

impl Moved {
    pub(super) fn a_refund(&self) {
        self.refunds.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn a_return(&self) {
        self.returned.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn a_dispute(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn a_decision(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn a_misfit(&self) {
        self.misfits.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> MovedCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        MovedCounts {
            refunds: read(&self.refunds),
            returned: read(&self.returned),
            opened: read(&self.opened),
            closed: read(&self.closed),
            misfits: read(&self.misfits),
        }
    }
}

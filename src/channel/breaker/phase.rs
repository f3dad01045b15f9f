//! What a breaker remembers while it is in a state: nothing survives a transition by being forgotten somewhere else.

use std::time::Duration;

use super::settings::MAX_PROBES;
use crate::clock::Moment;

/// The state, with what only that state knows.
#[derive(Debug)]
pub(super) enum Phase {
    Closed,
    Open(Opening),
    HalfOpen(Probes),
    ForcedOpen,
    ForcedClosed,
}

/// One stay in `open`.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) until: Moment,
    /// When time suffices also without a query; equal to `until` when no query is asked for.
    pub(super) gate_until: Moment,
    pub(super) query_succeeded: bool,
}

impl Opening {
    pub(super) fn is_over(&self, now: Moment) -> bool {
        now >= self.until && (self.query_succeeded || now >= self.gate_until)
    }

    /// Until `until`, and then, while a query is still missing, until the gate gives way.
    pub(super) fn remaining(&self, now: Moment) -> Duration {
        if now < self.until { self.until.since(now) } else { self.gate_until.since(now) }
    }
}

/// One stay in `half_open`.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub(super) leases: [Option<Moment>; MAX_PROBES as usize],
    pub(super) succeeded: u32,
    pub(super) slow: u32,
}

impl Probes {
    pub(super) fn out(&self) -> u32 {
        self.leases.iter().map(|lease| u32::from(lease.is_some())).sum()
    }

    /// No more are sent than successes are missing: each is somebody's payment.
    pub(super) fn may_lend(&self, most: u32) -> bool {
        self.out() + self.succeeded < most
    }

    pub(super) fn lend(&mut self, most: u32, until: Moment) -> Option<u8> {
        if !self.may_lend(most) {
            return None;
        }
        let free = self.leases.iter().position(Option::is_none)?;
        self.leases[free] = Some(until);
        u8::try_from(free).ok()
    }

    pub(super) fn take_back(&mut self, lease: u8) -> bool {
        self.leases.get_mut(usize::from(lease)).is_some_and(|lease| lease.take().is_some())
    }

    pub(super) fn next_lease_end(&self) -> Option<Moment> {
        self.leases.iter().flatten().min().copied()
    }

    pub(super) fn lease_has_passed(&self, now: Moment) -> bool {
        self.next_lease_end().is_some_and(|end| now >= end)
    }
}

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) length: u32,
    pub(super) first: Moment,
    pub(super) last: Moment,
}

impl Run {
    pub(super) fn grow(&mut self, now: Moment) {
        if self.length == 0 {
            self.first = now;
        }
        self.length = self.length.saturating_add(1);
        self.last = self.last.max(now);
    }

    pub(super) fn span(&self) -> Duration {
        self.last.since(self.first)
    }
}

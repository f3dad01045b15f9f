//! How many calls of one class a channel's contract allows in a second: kept here, so that the provider need not.
//!
//! A call over the rate is turned away at once, before anything is written, and another channel is tried: cheaper for everybody than the
//! provider's 429, which counts against the account. The algorithm is GCRA (the leaky bucket of ITU-T I.371 as a schedule): one moment says when
//! the next call would be due if calls came evenly; a call may be early by `burst - 1` intervals and no more. One word of memory, no timer.
//!
//! Intervals are rounded up to whole nanoseconds, so that rounding never exceeds a contract.

use std::time::Duration;

use crate::clock::Moment;

const SECOND_NANOS: u64 = 1_000_000_000;

/// The rate of one class.
#[derive(Clone, Debug)]
pub(super) struct Rate {
    per_second: u32,
    interval: Duration,
    slack: Duration,
    /// When the next call is due.
    due: Moment,
}

impl Rate {
    /// At most `per_second` calls a second, `burst` of them at once; each is at least 1.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval = SECOND_NANOS.div_ceil(u64::from(per_second.max(1)));
        let slack = interval.saturating_mul(u64::from(burst.saturating_sub(1)));
        Self { per_second, interval: Duration::from_nanos(interval), slack: Duration::from_nanos(slack), due: Moment::default() }
    }

    /// Takes a place for one call, or says how long until there is one.
    pub(super) fn take(&mut self, now: Moment) -> Result<(), Duration> {
        match self.wait(now) {
            Duration::ZERO => {
                self.due = self.due.max(now) + self.interval;
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// How long until a call would be taken; zero for now.
    pub(super) fn wait(&self, now: Moment) -> Duration {
        self.due.since(now).saturating_sub(self.slack)
    }

    /// Calls a second.
    pub(super) fn per_second(&self) -> u32 {
        self.per_second
    }
}

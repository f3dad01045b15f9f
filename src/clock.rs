//! Time, in one place and movable by hand.
//!
//! Two clocks, never mixed. *Wall* time (`jiff::Timestamp`) is for people, rows and schedules. *Boot* time ([`Moment`]) counts from boot, goes on
//! while the machine sleeps, and never goes back: deadlines, leases just before a send, and breakers use it. A test moves both with
//! [`Clock::advance`]; nothing in this crate reads the machine's clock elsewhere. Wall time is clamped: it never runs backwards within a
//! process, so that ids made from it keep their order.

use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// A reading of the boot-time clock, in nanoseconds since boot. Only differences mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment(u64);

impl Moment {
    /// A moment `nanos` nanoseconds after boot; for tests of pure code that is handed its time.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, rhs: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;
    fn sub(self, rhs: Duration) -> Moment {
        Moment(self.0.saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// When something that goes round and round last came to the end of a round, for a watch outside of it. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// A pulse that was felt at `now`, before the first round.
    pub fn new(now: Moment) -> Self {
        Self(Arc::new(now.as_nanos().into()))
    }

    /// When it was last felt.
    pub fn last(&self) -> Moment {
        Moment::from_nanos(self.0.load(Ordering::Relaxed))
    }

    /// It is felt at `now`.
    pub fn beat(&self, now: Moment) {
        self.0.store(now.as_nanos(), Ordering::Relaxed);
    }
}

/// The process's clock: the machine's, plus what a test has moved it by. Cheap to clone; clones share the shift.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    shift_nanos: AtomicI64,
    latest_wall_micros: AtomicI64,
}

impl Clock {
    /// The machine's clock, unshifted.
    pub fn system() -> Self {
        Self::default()
    }

    /// Wall time now, to the microsecond (what Postgres keeps), never earlier than an earlier answer.
    pub fn wall(&self) -> Timestamp {
        let shift_micros = self.shared.shift_nanos.load(Ordering::Relaxed) / 1_000;
        let now = Timestamp::now().as_microsecond().saturating_add(shift_micros);
        let latest = self.shared.latest_wall_micros.fetch_max(now, Ordering::Relaxed);
        Timestamp::from_microsecond(now.max(latest)).unwrap_or(Timestamp::MAX)
    }

    /// Boot time now.
    pub fn boot(&self) -> Moment {
        let reading = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let nanos = reading.tv_sec.saturating_mul(1_000_000_000).saturating_add(reading.tv_nsec);
        let shifted = nanos.saturating_add(self.shared.shift_nanos.load(Ordering::Relaxed));
        Moment(u64::try_from(shifted).unwrap_or(0))
    }

    /// Moves both clocks forward, for every clone. For tests: nothing sleeps, time is moved.
    pub fn advance(&self, by: Duration) {
        let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        self.shared.shift_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_the_clock_moves_every_clone_and_both_kinds_of_time() {
        let clock = Clock::system();
        let other = clock.clone();
        let (wall, boot) = (other.wall(), other.boot());
        clock.advance(Duration::from_secs(3600));
        assert!(other.wall().duration_since(wall).as_secs() >= 3600);
        assert!(other.boot().since(boot) >= Duration::from_secs(3600));
    }
}

//! Time, in one place and movable by hand.
//!
//! Two clocks, never mixed. *Wall* time (`jiff::Timestamp`) is for people, rows and schedules. *Boot* time ([`Moment`]) counts from boot, goes on
//! while the machine sleeps, and never goes back: deadlines, leases just before a send, and breakers use it. A test moves both with
//! [`Clock::advance`]; nothing in this crate reads the machine's clock elsewhere.
//!
//! Wall time never runs backwards within a process, so that ids made from it keep their order; and it never stands still. Where the machine's clock was
//! set back, ours goes on from where it was, half as fast as boot time, until the machine's has caught up: a clock that waited for that would
//! let nothing become due for as long as it was wrong.

use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// How fast wall time goes while it is ahead of the machine's, in thousandths of boot time.
const PACE_AHEAD_PERMILLE: i64 = 500;
/// From so much on it is told: less is what a time server corrects every day.
const AHEAD_MICROS: i64 = 1_000_000;

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

/// The latest wall time that was told, and when.
#[derive(Clone, Copy, Debug)]
struct Told {
    wall_micros: i64,
    at: Moment,
}

#[derive(Debug, Default)]
struct Shared {
    shift_nanos: AtomicI64,
    /// By how much a test has set the wall's clock alone.
    wall_shift_micros: AtomicI64,
    told: Mutex<Option<Told>>,
    is_ahead: AtomicBool,
}

impl Clock {
    /// The machine's clock, unshifted.
    pub fn system() -> Self {
        Self::default()
    }

    /// Wall time now, to the microsecond (what Postgres keeps), never earlier than an earlier answer.
    pub fn wall(&self) -> Timestamp {
        // Once for both clocks: a test that moves them in between would have moved one of them only.
        let moved = self.shared.shift_nanos.load(Ordering::Relaxed);
        let boot = boot_moved_by(moved);
        let shift = moved / 1_000 + self.shared.wall_shift_micros.load(Ordering::Relaxed);
        let machine = Timestamp::now().as_microsecond().saturating_add(shift);
        // What it guards is one reading, which is whole at any time.
        let mut told = self.shared.told.lock().unwrap_or_else(PoisonError::into_inner);
        let least = told.map_or(machine, |told| {
            let since = i64::try_from(boot.since(told.at).as_micros()).unwrap_or(i64::MAX);
            told.wall_micros.saturating_add(since.saturating_mul(PACE_AHEAD_PERMILLE) / 1_000)
        });
        let now = machine.max(least);
        // Readings so close to each other that nothing passed between them must not add up to a clock that stands still.
        if told.is_none_or(|told| now > told.wall_micros) {
            *told = Some(Told { wall_micros: now, at: boot });
        }
        drop(told);
        let ahead = now.saturating_sub(machine);
        if (ahead >= AHEAD_MICROS) != self.shared.is_ahead.load(Ordering::Relaxed) {
            self.shared.is_ahead.store(ahead >= AHEAD_MICROS, Ordering::Relaxed);
            if ahead >= AHEAD_MICROS {
                tracing::warn!(
                    ahead_s = ahead / 1_000_000,
                    "the machine's clock was set back: ours goes on from where it was, at half its pace, until that has caught up, or until a restart"
                );
            } else {
                tracing::info!("the machine's clock has caught up with ours");
            }
        }
        Timestamp::from_microsecond(now).unwrap_or(Timestamp::MAX)
    }

    /// Boot time now.
    pub fn boot(&self) -> Moment {
        boot_moved_by(self.shared.shift_nanos.load(Ordering::Relaxed))
    }

    /// Moves both clocks forward, for every clone. For tests: nothing sleeps, time is moved.
    pub fn advance(&self, by: Duration) {
        let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
        self.shared.shift_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Sets the machine's wall clock by so much, as an operator or a time server might, for every clone; boot time does not notice. For tests.
    pub fn set_wall_by(&self, by: SignedDuration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(if by.is_negative() { i64::MIN } else { i64::MAX });
        self.shared.wall_shift_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

fn boot_moved_by(nanos: i64) -> Moment {
    let reading = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let since_boot = reading.tv_sec.saturating_mul(1_000_000_000).saturating_add(reading.tv_nsec);
    Moment(u64::try_from(since_boot.saturating_add(nanos)).unwrap_or(0))
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

    #[test]
    fn a_wall_clock_that_was_set_back_goes_on_at_half_its_pace_until_the_machines_has_caught_up() {
        let (clock, hour) = (Clock::system(), SignedDuration::from_hours(1));
        let right = clock.wall();
        clock.set_wall_by(hour);
        let ahead = clock.wall();
        assert!(ahead.duration_since(right) >= hour);
        clock.set_wall_by(-hour);
        assert!(clock.wall() >= ahead, "never backwards");
        clock.advance(Duration::from_secs(1_000));
        let later = clock.wall().duration_since(ahead).as_secs();
        // A machine that is slow lets at most some seconds more pass.
        assert!((500..560).contains(&later), "{later}");
        clock.advance(Duration::from_secs(3 * 3_600));
        let behind = clock.wall().duration_since(right).as_secs() - 1_000 - 3 * 3_600;
        assert!((0..60).contains(&behind), "it is the machine's again: {behind}");
    }

    #[test]
    fn a_clock_that_is_moved_while_it_is_read_is_moved_once() {
        let clock = Clock::system();
        let other = clock.clone();
        let before = clock.wall();
        let reader = std::thread::spawn(move || while other.wall().duration_since(before) < SignedDuration::from_hours(1_000) {});
        for hours in 1..=1_000 {
            clock.advance(Duration::from_secs(3_600));
            std::thread::yield_now();
            let moved = clock.wall().duration_since(before) - SignedDuration::from_hours(hours);
            assert!(moved < SignedDuration::from_mins(10), "{moved} too much after {hours} hours");
        }
        reader.join().expect("it has seen all of it");
    }

    #[test]
    fn readings_in_quick_succession_never_go_back_and_do_not_stop_a_clock_that_is_ahead() {
        let clock = Clock::system();
        clock.set_wall_by(SignedDuration::from_hours(1));
        let first = clock.wall();
        clock.set_wall_by(-SignedDuration::from_hours(1));
        let mut last = first;
        while last.duration_since(first) < SignedDuration::from_millis(20) {
            let now = clock.wall();
            assert!(now >= last);
            last = now;
        }
    }
}

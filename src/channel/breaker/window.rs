//! What the last calls were like: a ring of ten buckets, and the sums over them.
//!
//! A bucket is overwritten as a whole when its turn comes again, so memory is fixed and an old call cannot linger. The ring counts time from
//! the moment it was cleared, not from the machine's boot: the same calls at the same distances give the same totals whenever they happen.
//!
//! A call belongs to exactly one bucket. A call that is counted before it ends (because it is slow) is given that bucket's number, and what
//! it turns out to be joins it there; so failures and slow calls never outnumber calls, and a call leaves the window in one piece.

use std::time::Duration;

use crate::clock::Moment;

/// How many buckets the ring has.
pub const BUCKETS: usize = 10;

/// Sums over calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that ended, and calls still running that were already found slow.
    pub calls: u32,
    /// Of them, those that ended in `fail_hard` or `fail_soft`.
    pub failures: u32,
    /// Of them, those that took, or are taking, longer than `slow_after_ms`.
    pub slow: u32,
}

/// Which bucket a running call was counted in: buckets are numbered from the last clearing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketNumber(u64);

/// The ring.
#[derive(Clone, Debug)]
pub struct Window {
    buckets: [Totals; BUCKETS],
    sums: Totals,
    number: u64,
    starts: Moment,
    bucket: Duration,
}

impl Window {
    /// An empty ring whose buckets each cover `bucket` (which must not be zero), counting from `now`.
    pub fn new(bucket: Duration, now: Moment) -> Self {
        Self { buckets: [Totals::default(); BUCKETS], sums: Totals::default(), number: 0, starts: now, bucket }
    }

    /// Forgets everything, and counts time from `now`.
    pub fn clear(&mut self, now: Moment) {
        *self = Self::new(self.bucket, now);
    }

    /// Counts a call that ended.
    #[inline]
    pub fn count(&mut self, failed: bool, slow: bool, now: Moment) {
        self.advance(now);
        self.add(self.number, Totals { calls: 1, failures: u32::from(failed), slow: u32::from(slow) });
    }

    /// Counts a call that is still running and is slow already; hand the answer to [`Window::finish_slow`] when it ends.
    pub fn count_running_slow(&mut self, now: Moment) -> BucketNumber {
        self.advance(now);
        self.add(self.number, Totals { calls: 1, failures: 0, slow: 1 });
        BucketNumber(self.number)
    }

    /// Says how a call ended that was counted while it ran. When its bucket has left the window meanwhile, it counts as a call of now, but not
    /// as a slow one again.
    pub fn finish_slow(&mut self, counted_in: BucketNumber, failed: bool, now: Moment) {
        self.advance(now);
        if self.number.wrapping_sub(counted_in.0) < BUCKETS as u64 {
            self.add(counted_in.0, Totals { calls: 0, failures: u32::from(failed), slow: 0 });
        } else {
            self.count(failed, false, now);
        }
    }

    /// The sums as last counted; evicts nothing, so call it after a count.
    pub fn sums(&self) -> Totals {
        self.sums
    }

    /// The sums at `now`, with what is too old left out.
    pub fn sums_at(&mut self, now: Moment) -> Totals {
        self.advance(now);
        self.sums
    }

    #[inline]
    fn add(&mut self, number: u64, more: Totals) {
        let bucket = &mut self.buckets[(number % BUCKETS as u64) as usize];
        for totals in [bucket, &mut self.sums] {
            totals.calls += more.calls;
            totals.failures += more.failures;
            totals.slow += more.slow;
        }
    }

    /// Moves to the bucket of `now`, emptying those it passes. A `now` that is behind (two threads read the clock, then met here in the other
    /// order) falls into the current bucket.
    #[inline]
    fn advance(&mut self, now: Moment) {
        let passed = now.since(self.starts);
        if passed >= self.bucket {
            self.advance_by(passed);
        }
    }

    fn advance_by(&mut self, passed: Duration) {
        // Bounded by u64::MAX nanoseconds over a bucket of at least 1 ns, so the narrowing loses nothing.
        let steps = (passed.as_nanos() / self.bucket.as_nanos()) as u64;
        self.starts = self.starts + Duration::from_nanos(self.bucket.as_nanos() as u64 * steps);
        if steps >= BUCKETS as u64 {
            self.buckets = [Totals::default(); BUCKETS];
            self.sums = Totals::default();
            self.number += steps;
            return;
        }
        for _ in 0..steps {
            self.number += 1;
            let old = std::mem::take(&mut self.buckets[(self.number % BUCKETS as u64) as usize]);
            self.sums.calls -= old.calls;
            self.sums.failures -= old.failures;
            self.sums.slow -= old.slow;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment::from_nanos(7_000_000_123);

    fn at(millis: u64) -> Moment {
        START + Duration::from_millis(millis)
    }

    fn ring() -> Window {
        Window::new(Duration::from_secs(1), START)
    }

    #[test]
    fn a_call_leaves_the_window_when_its_bucket_comes_round_again() {
        let mut window = ring();
        window.count(true, false, at(999));
        window.count(false, true, at(1_000));
        assert_eq!(window.sums_at(at(9_999)), Totals { calls: 2, failures: 1, slow: 1 });
        assert_eq!(window.sums_at(at(10_000)), Totals { calls: 1, failures: 0, slow: 1 });
        assert_eq!(window.sums_at(at(11_000)), Totals::default());
    }

    #[test]
    fn a_long_silence_empties_the_window_and_keeps_the_bucket_boundaries() {
        let mut window = ring();
        window.count(true, true, at(500));
        assert_eq!(window.sums_at(at(3_600_400)), Totals::default());
        window.count(true, false, at(3_600_999));
        assert_eq!(window.sums_at(at(3_609_999)).calls, 1);
        assert_eq!(window.sums_at(at(3_610_000)).calls, 0);
    }

    #[test]
    fn a_call_counted_while_it_ran_takes_its_failure_with_it_when_it_leaves() {
        let mut window = ring();
        let counted_in = window.count_running_slow(at(0));
        window.finish_slow(counted_in, true, at(5_000));
        assert_eq!(window.sums_at(at(9_999)), Totals { calls: 1, failures: 1, slow: 1 });
        assert_eq!(window.sums_at(at(10_000)), Totals::default());
    }

    #[test]
    fn a_call_that_outlived_its_bucket_counts_again_but_not_as_slow() {
        let mut window = ring();
        let counted_in = window.count_running_slow(at(0));
        window.finish_slow(counted_in, true, at(10_000));
        assert_eq!(window.sums(), Totals { calls: 1, failures: 1, slow: 0 });
    }

    #[test]
    fn a_clock_reading_from_before_the_bucket_counts_in_the_bucket() {
        let mut window = ring();
        window.count(false, false, at(2_500));
        window.count(true, false, at(900));
        assert_eq!(window.sums(), Totals { calls: 2, failures: 1, slow: 0 });
    }
}

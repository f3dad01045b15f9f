//! How much of a channel's traffic may be repeats.
//!
//! When a channel is ill, every call that fails asks for another, and the repeats are what keeps it ill. So repeats (the resending of work that
//! was not sent, the same key again where the contract says that it is safe) may be at most a tenth of the calls of the last ten seconds, and
//! one a second where there are hardly any. First sends are never counted against it, and a repeat that finds the budget empty is not
//! lost: it stays due and comes again. A repeat that succeeds costs nothing in the end: it asks for no other, and what a crash or a fault has left
//! in doubt is settled as fast as a healthy channel answers, ten at once, instead of one a second. Nor does one that was never sent, because it was not
//! its turn after all, say: it presses nobody, and must not keep back those that could go. It is no call either, of which others could be a tenth. A
//! connection that never came about is: somebody was asked for it. Repeats are made at one layer only (the resolver); no client or pool below repeats
//! anything.
//!
//! Ten buckets of a second, as fixed as the breaker's window; a bucket is overwritten when its turn comes again.

use std::time::Duration;

use crate::clock::Moment;

const SECONDS: usize = 10;
/// Repeats that ten seconds have at least: one a second.
const LEAST: u64 = SECONDS as u64;
/// One repeat for so many calls.
const CALLS_A_REPEAT: u64 = 10;

/// The retry budget of one channel.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    start: Moment,
    second: u64,
    buckets: [Bucket; SECONDS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    calls: u64,
    repeats: u64,
}

impl Budget {
    /// A budget that counts its seconds from `start`.
    pub(super) fn new(start: Moment) -> Self {
        Self { start, second: 0, buckets: [Bucket::default(); SECONDS] }
    }

    /// Counts calls that were let through, repeats among them.
    pub(super) fn count(&mut self, calls: u64, now: Moment) {
        self.advance(now);
        self.buckets[place(self.second)].calls += calls;
    }

    /// How long until a repeat may be made by time alone; zero for now.
    pub(super) fn wait(&mut self, now: Moment) -> Duration {
        self.advance(now);
        let sum = |of: fn(&Bucket) -> u64| self.buckets.iter().map(of).sum::<u64>();
        if sum(|bucket| bucket.repeats) < (sum(|bucket| bucket.calls) / CALLS_A_REPEAT).max(LEAST) {
            return Duration::ZERO;
        }
        // The oldest second with a repeat in it is the first to leave.
        let age = (0..SECONDS as u64).rev().find(|age| *age <= self.second && self.buckets[place(self.second - age)].repeats > 0).unwrap_or(0);
        let leaves = self.start + Duration::from_secs(self.second - age.min(self.second) + SECONDS as u64);
        leaves.since(now).max(Duration::from_millis(1))
    }

    /// Takes one repeat; asked only when [`Budget::wait`] was zero.
    pub(super) fn take(&mut self, now: Moment) {
        self.advance(now);
        self.buckets[place(self.second)].repeats += 1;
    }

    /// Gives back the repeat that was taken at `taken`: it has succeeded, or was never sent.
    pub(super) fn give_back(&mut self, taken: Moment) {
        let second = taken.since(self.start).as_secs();
        // Older than the window, it was given back by time.
        if self.second.checked_sub(second).is_some_and(|age| age < SECONDS as u64) {
            let bucket = &mut self.buckets[place(second)];
            bucket.repeats = bucket.repeats.saturating_sub(1);
        }
    }

    fn advance(&mut self, now: Moment) {
        let second = now.since(self.start).as_secs();
        let passed = second.saturating_sub(self.second).min(SECONDS as u64);
        for step in 0..passed {
            self.buckets[place(second - step)] = Bucket::default();
        }
        // A reading from before this second, taken by a thread that came later, belongs to this second.
        self.second = self.second.max(second);
    }
}

fn place(second: u64) -> usize {
    (second % SECONDS as u64) as usize
}

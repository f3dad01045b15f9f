//! What must go on for as long as the process does, and is begun again when it was lost.
//!
//! A panic ends a spawned task, and nobody is told: the process would go on without it and look healthy. [`keep`] runs a loop so that a panic costs
//! its round and no more. [`Lives`] is the rule for how soon something is begun again, here and wherever actors are replaced: the first time at once,
//! then after pauses that double up to a bound, until it has lasted for a while. Each loss is counted by [`count`], and nowhere else.
//!
//! It refuses to find out that something hangs: who is outside of it and listens for a sign of life does (`app/watchdog.rs`).

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

/// How something was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It panicked, or its thread ended.
    Panicked,
    /// It is there and does not move.
    Frozen,
}

impl Loss {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Panicked, Self::Frozen];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Panicked => "panicked",
            Self::Frozen => "frozen",
        }
    }
}

/// Counts that `actor` was lost and is begun again.
pub fn count(actor: &str, loss: Loss) {
    metrics::counter!("breakwater_actor_restarts_total", "actor" => actor.to_owned(), "cause" => loss.as_str()).increment(1);
}

/// How long to wait before something that was lost is begun again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// The pause after the second short life in a row; doubled with each further one.
    pub base: Duration,
    /// The longest pause.
    pub max: Duration,
    /// What lasted for so long was sound: it is begun again at once.
    pub steady_after: Duration,
}

impl Pauses {
    /// The pause before the beginning that follows `failed` short lives in a row.
    pub fn after(&self, failed: u32) -> Duration {
        let Some(doublings) = failed.checked_sub(1) else {
            return Duration::ZERO;
        };
        self.base.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(self.max)
    }
}

/// The lives of one thing, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Lives {
    pauses: Pauses,
    failed: u32,
}

impl Lives {
    /// Before the first.
    pub const fn new(pauses: Pauses) -> Self {
        Self { pauses, failed: 0 }
    }

    /// One more has ended, that lasted for `lived`. Answers the pause before the next.
    pub fn ended(&mut self, lived: Duration) -> Duration {
        if lived >= self.pauses.steady_after {
            self.failed = 0;
        }
        let pause = self.pauses.after(self.failed);
        self.failed = self.failed.saturating_add(1);
        pause
    }
}

/// Loops are cheap to begin again, and nothing does their work meanwhile.
const OF_LOOPS: Pauses = Pauses { base: Duration::from_millis(100), max: Duration::from_secs(10), steady_after: Duration::from_secs(60) };

/// Runs `run` until it ends by itself, and begins it again whenever it panics. `name` is what metrics and log call it.
pub async fn keep(name: impl Into<String>, run: impl AsyncFnMut()) {
    keep_with(OF_LOOPS, name, run).await;
}

async fn keep_with(pauses: Pauses, name: impl Into<String>, mut run: impl AsyncFnMut()) {
    let name = name.into();
    let mut lives = Lives::new(pauses);
    loop {
        let begun = Instant::now();
        // What it has at hand is whole or is made anew by its next round: each caller sees to that.
        if AssertUnwindSafe(async { run().await }).catch_unwind().await.is_ok() {
            return;
        }
        let pause = lives.ended(begun.elapsed());
        tracing::error!(name, pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), "a loop panicked, and is begun again");
        count(&name, Loss::Panicked);
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: Pauses = Pauses { base: Duration::from_millis(50), max: Duration::from_secs(5), steady_after: Duration::from_secs(5) };

    #[test]
    fn what_fails_again_and_again_is_begun_at_once_and_then_after_pauses_that_double_up_to_their_bound() {
        let mut lives = Lives::new(PAUSES);
        let short = Duration::from_millis(4_999);
        let pauses: Vec<u128> = (0..10).map(|_| lives.ended(short).as_millis()).collect();
        assert_eq!(pauses, [0, 50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(PAUSES.after(u32::MAX), PAUSES.max);
    }

    #[test]
    fn what_has_lasted_is_begun_at_once_and_its_failures_are_forgotten() {
        let mut lives = Lives::new(PAUSES);
        for _ in 0..4 {
            lives.ended(Duration::ZERO);
        }
        let pauses = [5_000, 0, 0].map(|lived| lives.ended(Duration::from_millis(lived)).as_millis());
        assert_eq!(pauses, [0, 50, 100]);
    }

    #[tokio::test]
    async fn a_loop_that_panics_is_begun_again_until_it_ends_by_itself() {
        let mut begun = 0;
        keep_with(Pauses { base: Duration::from_millis(1), ..PAUSES }, "a loop", async || {
            begun += 1;
            tokio::task::yield_now().await;
            assert!(begun > 3, "a fault of ours");
        })
        .await;
        assert_eq!(begun, 4);
    }
}

//! What happened at one channel in the last quarter of an hour, in memory: breakers that changed, overrides that began and ended, and counts a
//! second. For the person who asks "what happened just now?"; what must be kept longer is in the metrics and the audit.
//!
//! Both rings are bounded, so that a channel in trouble costs no more memory than a quiet one: [`SECONDS_KEPT`] seconds of three classes, and
//! [`HAPPENINGS_KEPT`] happenings. It is this process's own: another one has seen other calls.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::breaker::{Mode, State, Transition};
use crate::domain::OperationClass;

/// Seconds that are kept: a quarter of an hour, some 100 KiB a channel.
pub const SECONDS_KEPT: usize = 900;
/// Happenings that are kept. A breaker makes a few a second at worst; then the newest minute is worth the most.
pub const HAPPENINGS_KEPT: usize = 512;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A breaker changed its state.
    Changed(Transition),
    /// An operator's override began to hold here, or took the place of another.
    OverrideBegan {
        /// What it does.
        mode: Mode,
        /// Whose it is.
        author: String,
        /// Why.
        reason: String,
        /// Until when.
        until: Timestamp,
    },
    /// No override holds any more.
    OverrideEnded {
        /// What it did.
        mode: Mode,
    },
}

/// Something that happened, where and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub at: Timestamp,
    /// To which class of operations.
    pub class: OperationClass,
    /// What.
    pub what: Happening,
}

/// What one class did in one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Calls that were let through.
    pub admitted: u64,
    /// Calls that ended with a word.
    pub recorded: u64,
    /// Calls whose end said that the channel is not well.
    pub failed: u64,
    /// Calls that were turned away.
    pub rejected: u64,
    /// Calls under way at the end of it.
    pub in_flight: u32,
    /// The breaker at the end of it.
    pub state: State,
}

impl Counts {
    /// Nothing yet, in that state.
    pub const fn none(state: State) -> Self {
        Self { admitted: 0, recorded: 0, failed: 0, rejected: 0, in_flight: 0, state }
    }
}

/// One second of all classes, in the order of [`OperationClass::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Second {
    /// When it began.
    pub at: Timestamp,
    /// What each class did.
    pub classes: [Counts; 3],
}

/// What is told to whoever asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// What happened, oldest first.
    pub happened: Vec<Happened>,
    /// The seconds that were looked at, oldest first.
    pub seconds: Vec<Second>,
}

/// One channel's timeline. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    happened: VecDeque<Happened>,
    seconds: VecDeque<Second>,
}

impl Timeline {
    /// Adds something that happened.
    pub fn tell(&self, happened: Happened) {
        let mut kept = self.lock();
        if kept.happened.len() == HAPPENINGS_KEPT {
            kept.happened.pop_front();
        }
        kept.happened.push_back(happened);
    }

    /// Adds what each class did since the last time, to the second that `at` is in.
    pub fn count(&self, at: Timestamp, classes: [Counts; 3]) {
        let began = Timestamp::from_second(at.as_second()).unwrap_or(at);
        let mut kept = self.lock();
        if let Some(second) = kept.seconds.back_mut().filter(|second| second.at == began) {
            for (sum, more) in second.classes.iter_mut().zip(classes) {
                sum.admitted += more.admitted;
                sum.recorded += more.recorded;
                sum.failed += more.failed;
                sum.rejected += more.rejected;
                sum.in_flight = more.in_flight;
                sum.state = more.state;
            }
            return;
        }
        if kept.seconds.len() == SECONDS_KEPT {
            kept.seconds.pop_front();
        }
        kept.seconds.push_back(Second { at: began, classes });
    }

    /// What happened in the last `seconds` before `now`.
    pub fn last(&self, seconds: u32, now: Timestamp) -> Excerpt {
        let from = now.checked_sub(SignedDuration::from_secs(seconds.into())).unwrap_or(Timestamp::MIN);
        let kept = self.lock();
        let mut happened: Vec<Happened> = kept.happened.iter().filter(|happened| happened.at >= from).cloned().collect();
        // Overrides tell of themselves at once, breakers are read out a moment later.
        happened.sort_by_key(|happened| happened.at);
        Excerpt { happened, seconds: kept.seconds.iter().filter(|second| second.at >= from).copied().collect() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        // What it guards is whole after each step.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).expect("in range")
    }

    fn calls(admitted: u64, in_flight: u32) -> [Counts; 3] {
        [Counts { admitted, in_flight, ..Counts::none(State::Closed) }; 3]
    }

    #[test]
    fn what_is_counted_within_a_second_is_one_row() {
        let timeline = Timeline::default();
        timeline.count(at(1_000), calls(2, 2));
        timeline.count(at(1_999), calls(3, 1));
        timeline.count(at(2_000), calls(1, 0));
        let seconds = timeline.last(60, at(2_500)).seconds;
        assert_eq!(seconds.iter().map(|second| (second.at, second.classes[0].admitted)).collect::<Vec<_>>(), [(at(1_000), 5), (at(2_000), 1)]);
        assert_eq!(seconds[0].classes[0].in_flight, 1, "the last look counts");
    }

    #[test]
    fn it_is_bounded_and_keeps_the_newest() {
        let timeline = Timeline::default();
        for n in 0..2_000 {
            timeline.count(at(n * 1_000), calls(1, 0));
            timeline.tell(Happened { at: at(n * 1_000), class: OperationClass::Pay, what: Happening::OverrideEnded { mode: Mode::Drain } });
        }
        let all = timeline.last(u32::MAX, at(2_000_000));
        assert_eq!((all.seconds.len(), all.happened.len()), (SECONDS_KEPT, HAPPENINGS_KEPT));
        assert_eq!(all.seconds.last().map(|second| second.at), Some(at(1_999_000)));
        assert_eq!(timeline.last(10, at(2_000_000)).seconds.len(), 10);
    }
}

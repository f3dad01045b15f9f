//! What a guard does, told to metrics, the log and the channel's timeline. The guard itself counts without a lock's worth of work; this reads it
//! out a few times a second, off every call's path.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::breaker::State;
use super::guard::{ChannelGuard, Counters};
use super::timeline::{Counts, Happened, Happening, Timeline};
use crate::clock::{Clock, Moment};
use crate::domain::OperationClass;

/// Every state a breaker may be in, for the gauges that say which.
const STATES: [State; 5] = [State::Closed, State::Open, State::HalfOpen, State::ForcedOpen, State::ForcedClosed];

/// Reads one channel's guard out.
#[derive(Debug)]
pub struct GuardObserver {
    channel: String,
    guard: Arc<ChannelGuard>,
    clock: Clock,
    timeline: Timeline,
    late: u64,
    seen: [Counters; 3],
}

impl GuardObserver {
    /// An observer that has read nothing yet.
    pub fn new(channel: String, guard: Arc<ChannelGuard>, timeline: Timeline, clock: Clock) -> Self {
        Self { channel, guard, clock, timeline, late: 0, seen: [Counters::default(); 3] }
    }

    /// Tells what happened since the last time.
    pub fn observe(&mut self) {
        let channel = || self.channel.clone();
        let (now, wall) = (self.clock.boot(), self.clock.wall());
        for happened in self.guard.transitions().list {
            let (class, transition) = (happened.class, happened.transition);
            metrics::counter!("breakwater_breaker_transitions_total", "channel" => channel(), "operation" => class.as_str(),
                "from" => transition.from.as_str(), "to" => transition.to.as_str(), "reason" => transition.reason.as_str())
            .increment(1);
            tracing::warn!(channel = %self.channel, class = class.as_str(), from = transition.from.as_str(), to = transition.to.as_str(),
                reason = transition.reason.as_str(), "breaker changed");
            self.timeline.tell(Happened { at: wall_of(transition.at, now, wall), class, what: Happening::Changed(transition) });
        }
        let mut late = 0;
        let mut counts = [Counts::none(State::Closed); 3];
        for (place, class) in OperationClass::ALL.into_iter().enumerate() {
            let snapshot = self.guard.snapshot(class, now);
            let (is, was) = (snapshot.counters, std::mem::replace(&mut self.seen[place], snapshot.counters));
            late += is.late;
            counts[place] = Counts {
                admitted: is.admitted - was.admitted,
                recorded: is.recorded - was.recorded,
                failed: is.failed - was.failed,
                rejected: is.rejected() - was.rejected(),
                in_flight: snapshot.in_flight,
                state: snapshot.state,
            };
            let turned_away = [
                ("breaker", is.rejected_by_breaker - was.rejected_by_breaker),
                ("in_flight", is.rejected_by_room - was.rejected_by_room),
                ("over_rate", is.rejected_by_rate - was.rejected_by_rate),
                ("retry_budget", is.rejected_by_budget - was.rejected_by_budget),
            ];
            for (reason, count) in turned_away {
                metrics::counter!("breakwater_guard_rejections_total", "channel" => channel(), "operation" => class.as_str(), "reason" => reason)
                    .increment(count);
            }
            for state in STATES {
                let here = if state == snapshot.state { 1.0 } else { 0.0 };
                metrics::gauge!("breakwater_breaker_state", "channel" => channel(), "operation" => class.as_str(), "state" => state.as_str())
                    .set(here);
            }
        }
        self.timeline.count(wall, counts);
        metrics::gauge!("breakwater_channel_concurrency_limit", "channel" => channel()).set(f64::from(self.guard.limit()));
        metrics::counter!("breakwater_breaker_late_results_total", "channel" => channel()).increment(late - self.late);
        self.late = late;
    }
}

/// The wall time of a moment that is not long ago.
fn wall_of(moment: Moment, now: Moment, wall: Timestamp) -> Timestamp {
    let ago = SignedDuration::try_from(now.since(moment)).unwrap_or(SignedDuration::ZERO);
    wall.checked_sub(ago).unwrap_or(wall)
}

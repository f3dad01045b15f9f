//! What a guard does, told to metrics and the log. The guard itself counts without a lock's worth of work; this reads it out a few times a
//! second, off every call's path.

use std::sync::Arc;

use super::breaker::State;
use super::guard::ChannelGuard;
use crate::clock::Clock;
use crate::domain::OperationClass;

/// Every state a breaker may be in, for the gauges that say which.
const STATES: [State; 5] = [State::Closed, State::Open, State::HalfOpen, State::ForcedOpen, State::ForcedClosed];

/// Reads one channel's guard out.
#[derive(Debug)]
pub struct GuardObserver {
    channel: String,
    guard: Arc<ChannelGuard>,
    clock: Clock,
    late: u64,
}

impl GuardObserver {
    /// An observer that has read nothing yet.
    pub const fn new(channel: String, guard: Arc<ChannelGuard>, clock: Clock) -> Self {
        Self { channel, guard, clock, late: 0 }
    }

    /// Tells what happened since the last time.
    pub fn observe(&mut self) {
        let channel = || self.channel.clone();
        for happened in self.guard.transitions().list {
            let (class, transition) = (happened.class, happened.transition);
            metrics::counter!("breakwater_breaker_transitions_total", "channel" => channel(), "operation" => class.as_str(),
                "from" => transition.from.as_str(), "to" => transition.to.as_str(), "reason" => transition.reason.as_str())
            .increment(1);
            tracing::warn!(channel = %self.channel, class = class.as_str(), from = transition.from.as_str(), to = transition.to.as_str(),
                reason = transition.reason.as_str(), "breaker changed");
        }
        let now = self.clock.boot();
        let mut late = 0;
        for class in OperationClass::ALL {
            let snapshot = self.guard.snapshot(class, now);
            late += snapshot.counters.late;
            for state in STATES {
                let here = if state == snapshot.state { 1.0 } else { 0.0 };
                metrics::gauge!("breakwater_breaker_state", "channel" => channel(), "operation" => class.as_str(), "state" => state.as_str())
                    .set(here);
            }
        }
        metrics::gauge!("breakwater_channel_concurrency_limit", "channel" => channel()).set(f64::from(self.guard.limit()));
        metrics::counter!("breakwater_breaker_late_results_total", "channel" => channel()).increment(late - self.late);
        self.late = late;
    }
}

//! A channel's figures: what it was asked, how it ended, how long it took, how much is under way. Every series exists at 0 from the actor's
//! start, so that a rate over a channel's first failure is right. Handles are kept, so that counting a call allocates nothing.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::domain::Fact;
use crate::provider::{Reply, Verb};

/// The outcome label of a first step that is done, beside the names of the facts.
const STEP: &str = "step";

/// One channel's figures.
pub(super) struct Meters {
    /// By verb in the order of [`Verb::ALL`], then by fact in the order of [`Fact::ALL`], then [`STEP`].
    attempts: Vec<Counter>,
    durations: Vec<Histogram>,
    in_flight: Gauge,
}

/// A call under way; counted until it is dropped.
pub(super) struct UnderWay(Gauge);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Meters {
    /// The figures of the channel of this id, all of them now existing.
    pub(super) fn new(channel: &str) -> Self {
        let mut attempts = Vec::with_capacity(Verb::ALL.len() * (Fact::ALL.len() + 1));
        let mut durations = Vec::with_capacity(Verb::ALL.len());
        for verb in Verb::ALL {
            let operation = verb.as_str();
            for outcome in Fact::ALL.map(Fact::as_str).into_iter().chain([STEP]) {
                let made =
                    counter!("breakwater_channel_attempts_total", "channel" => channel.to_owned(), "operation" => operation, "outcome" => outcome);
                made.increment(0);
                attempts.push(made);
            }
            durations.push(histogram!("breakwater_channel_request_duration_seconds", "channel" => channel.to_owned(), "operation" => operation));
        }
        let in_flight = gauge!("breakwater_channel_in_flight", "channel" => channel.to_owned());
        in_flight.increment(0.0);
        Self { attempts, durations, in_flight }
    }

    /// One more call is under way.
    pub(super) fn begin(&self) -> UnderWay {
        self.in_flight.increment(1.0);
        UnderWay(self.in_flight.clone())
    }

    /// A call ended; `rtt` is zero when nothing came back.
    pub(super) fn end(&self, verb: Verb, reply: &Reply, rtt: Duration) {
        let verb = verb as usize;
        let outcome = match reply {
            Reply::News { news, .. } => news.fact as usize,
            Reply::NotFound => Fact::NotFound as usize,
            Reply::Unpaid { .. } => Fact::ActionRequired as usize,
            Reply::Step { .. } => Fact::ALL.len(),
        };
        if let Some(counter) = self.attempts.get(verb * (Fact::ALL.len() + 1) + outcome) {
            counter.increment(1);
        }
        if !rtt.is_zero()
            && let Some(histogram) = self.durations.get(verb)
        {
            histogram.record(rtt.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_of_verbs_and_facts_are_those_of_their_lists() {
        for (place, verb) in Verb::ALL.into_iter().enumerate() {
            assert_eq!(verb as usize, place, "{}", verb.as_str());
        }
        for (place, fact) in Fact::ALL.into_iter().enumerate() {
            assert_eq!(fact as usize, place, "{fact}");
        }
    }
}

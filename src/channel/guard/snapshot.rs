//! How a class stands, as one value for the operations pages and metrics.

use std::time::Duration;

use super::super::breaker::{Mode, Reason, State, Totals};
use crate::clock::Moment;
use crate::domain::operation::OperationClass;

/// How one class stood at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Whose.
    pub class: OperationClass,
    /// The breaker's state.
    pub state: State,
    /// How many transitions it has made.
    pub epoch: u64,
    /// What brought the last one; none before the first.
    pub reason: Option<Reason>,
    /// When that was.
    pub since: Moment,
    /// How long until a call may pass the breaker by time alone: zero for now, none when an operator shut it.
    pub retry_after: Option<Duration>,
    /// What the window holds.
    pub window: Totals,
    /// Failures in a row.
    pub run: u32,
    /// Probes that are out.
    pub probes_out: u32,
    /// Calls of this class in flight.
    pub in_flight: u32,
    /// Calls that may be in flight at the channel, all classes together.
    pub limit: u32,
    /// Calls of this class that may be in flight, as its adaptive limiter has it.
    pub class_limit: u32,
    /// How much of the limit is kept for this class.
    pub kept: u32,
    /// Calls of this class that the contract allows in a second; none for as many as one likes.
    pub rate_per_second: Option<u32>,
    /// The operator's override, if there is one.
    pub r#override: Option<Mode>,
    /// Counts since the process started.
    pub counters: Counters,
}

/// Counts since the process started; `admitted` = `recorded` + `dropped_unsent` + `dropped_sent` + the snapshot's `in_flight`, when nothing moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Permits given.
    pub admitted: u64,
    /// Permits that came back with an outcome.
    pub recorded: u64,
    /// Calls that said that the channel is not well: permits that came back with a failure, or were dropped after something was sent.
    pub failed: u64,
    /// Permits dropped before anything was sent.
    pub dropped_unsent: u64,
    /// Permits dropped after something was sent.
    pub dropped_sent: u64,
    /// Results that came in another epoch than their permit's, and decided nothing.
    pub late: u64,
    /// Calls that the breaker turned away.
    pub rejected_by_breaker: u64,
    /// Calls that found no room.
    pub rejected_by_room: u64,
    /// Calls that would have been more than the contract's rate.
    pub rejected_by_rate: u64,
    /// Repeats that found the retry budget empty.
    pub rejected_by_budget: u64,
}

impl Counters {
    /// Calls turned away, whoever did it.
    pub fn rejected(&self) -> u64 {
        self.rejected_by_breaker + self.rejected_by_room + self.rejected_by_rate + self.rejected_by_budget
    }
}

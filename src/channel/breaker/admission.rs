//! The answers of a breaker: leave, and no leave.

use std::time::Duration;

use super::state::State;
use super::window::BucketNumber;

/// Whether an admitted call is ordinary traffic or a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ordinary traffic.
    Normal,
    /// A probe, holding the lease of that number.
    Probe(u8),
}

/// Leave to make one call; give it back with [`Breaker::record`], exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The breaker's epoch when it was given.
    pub epoch: u64,
    /// What the call counts as.
    pub kind: Kind,
    pub(super) counted_slow_in: Option<BucketNumber>,
}

/// No leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The state that rejects: open, half_open, or forced_open.
    pub state: State,
    /// How long until the answer may be another by time alone; none when an operator shut it.
    pub retry_after: Option<Duration>,
}

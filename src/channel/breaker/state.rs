//! The words for what a breaker does and why: they name metrics, rows of `/ops` and alarms, so each is written once, here.

use crate::clock::Moment;

/// What a breaker does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Calls pass and are judged.
    Closed,
    /// No call passes.
    Open,
    /// A few calls pass, as probes.
    HalfOpen,
    /// An operator shut it: no call passes, whatever the time.
    ForcedOpen,
    /// An operator holds it closed: calls pass and are counted, nothing trips.
    ForcedClosed,
}

impl State {
    /// The name in metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
        }
    }
}

/// An operator's override.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// No call passes.
    ForcedOpen,
    /// Every call passes.
    ForcedClosed,
    /// No new call passes, as planned: like `forced_open`, but nobody is to be alarmed.
    Drain,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Mode; 3] = [Self::ForcedOpen, Self::ForcedClosed, Self::Drain];

    /// The name in rows, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
            Self::Drain => "drain",
        }
    }

    /// The mode of that name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == name)
    }
}

/// Why a breaker changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A run of failures reached `consecutive` over its span. Wins over the ratios when several hold at once.
    Consecutive,
    /// Failures reached `fail_permille` of the window.
    Failures,
    /// Slow calls reached `slow_permille` of the window.
    SlowCalls,
    /// Its time open passed, and a query succeeded or was not asked for.
    Waited,
    /// Its time open passed and `open_max_ms` more, without a query that succeeded.
    WaitedWithoutQuery,
    /// As many probes as are asked for succeeded.
    ProbesSucceeded,
    /// A probe failed.
    ProbeFailed,
    /// Probes succeeded, but `slow_permille` of them were slow.
    ProbesSlow,
    /// A probe did not come back within its lease.
    ProbeLost,
    /// An operator's override began.
    Override(Mode),
    /// An operator's override ended.
    OverrideEnded,
}

impl Reason {
    /// The name in metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive",
            Self::Failures => "failures",
            Self::SlowCalls => "slow_calls",
            Self::Waited => "waited",
            Self::WaitedWithoutQuery => "waited_without_query",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::ProbeFailed => "probe_failed",
            Self::ProbesSlow => "probes_slow",
            Self::ProbeLost => "probe_lost",
            Self::Override(mode) => mode.as_str(),
            Self::OverrideEnded => "override_ended",
        }
    }
}

/// A change of state, for metrics, logs and alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// What brought it.
    pub reason: Reason,
    /// The epoch that it began: one more than the one before.
    pub epoch: u64,
    /// When.
    pub at: Moment,
}

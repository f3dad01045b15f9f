//! What an attempt does at a channel, and which of the channel's guards it passes.

use std::fmt;

/// The operation that an attempt tries: one row of `attempt` is one try of one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Take the customer's money, or hold it when the capture is manual.
    Pay,
    /// Take money that is held.
    Capture,
    /// Release money that is held.
    Void,
    /// Undo a payment that must not stand: it came late, or for another amount.
    Reversal,
    /// Give captured money back.
    Refund,
}

impl Operation {
    /// Every operation, in the order in which a payment meets them.
    pub const ALL: [Operation; 5] = [Self::Pay, Self::Capture, Self::Void, Self::Reversal, Self::Refund];

    /// The name in rows, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Reversal => "reversal",
            Self::Refund => "refund",
        }
    }

    /// The operation of that name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.as_str() == name)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A class of operations that share one breaker and one share of a channel's capacity. Only `Pay` decides routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationClass {
    /// New charges, and repeats that may charge.
    Pay,
    /// Query, close, capture, void, reversal: what brings a payment to its end.
    Resolve,
    /// Refunds.
    Refund,
}

impl OperationClass {
    /// Every class.
    pub const ALL: [OperationClass; 3] = [Self::Pay, Self::Resolve, Self::Refund];

    /// The name in metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::Resolve => "resolve",
            Self::Refund => "refund",
        }
    }

    /// The class of that name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }
}

impl fmt::Display for OperationClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a finished call says about the channel's health, whatever it says about the money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallClass {
    /// A well-formed, authentic business answer; declines included.
    Success,
    /// DNS, connect, TLS, reset, deadline, malformed or unsigned answer, panic after send.
    FailHard,
    /// A 5xx, or the channel's own system error.
    FailSoft,
    /// The channel asked for fewer calls (429): nothing was processed.
    RateLimited,
    /// It never left us: says nothing of the channel.
    Neutral,
}

impl CallClass {
    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::FailHard => "fail_hard",
            Self::FailSoft => "fail_soft",
            Self::RateLimited => "rate_limited",
            Self::Neutral => "neutral",
        }
    }
}

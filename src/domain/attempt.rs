//! One try of one operation on one channel: its states, and what a channel may say of it. What follows is in `step.rs`.
//!
//! `sent` is written *before* the first byte leaves and means "may have been sent". From then on only facts move an attempt: what the
//! channel said (whoever brings it: the reply, a notification, a query, a person), or that nothing is known. Facts are true whenever they
//! arrive, so they must commute: an `unknown` or `accepted` that limps in behind an `approved` is *seen* and changes nothing. Two facts
//! that cannot both be true (`approved`, then `declined`) are a *contradiction*: nothing changes, a person is told. Every other pair is an
//! error that names both, because it means that our own code asked the impossible.
//!
//! There is one `match (state, event)` per kind of operation, all behind [`step`].

use std::fmt;

use jiff::Timestamp;

use super::failure::Failure;
use super::news::Exchange;
use super::operation::Operation;
use super::payment::NextAction;
use super::route::PassedOver;
pub use super::step::{IllegalFact, Step, step};

/// What is known about one try. The names are those of the rows and of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttemptState {
    /// On disk, and may have left us. Where every attempt starts.
    Sent,
    /// It may or may not have been carried out: only the channel can tell.
    Unknown,
    /// The channel has it and is working on it.
    Accepted,
    /// The customer must do something at the channel.
    ActionRequired,
    /// The money is held, not taken.
    Authorized,
    /// Done.
    Succeeded,
    /// Refused by the channel: no money moved.
    Declined,
    /// It certainly never left us, or the channel certainly did not process it.
    NotSent,
    /// The channel confirmed that it can no longer be paid.
    Closed,
    /// The channel, asked in a way that its contract makes final, does not know it.
    NotFound,
    /// Paid after we had been told that it would not be.
    SucceededLate,
    /// Paid, and must not stand: its money is on the way back.
    Reversing,
    /// Paid, and the money went back.
    Reversed,
    /// A refund that had succeeded and was taken back by the channel.
    Returned,
}

impl AttemptState {
    /// Every state, in the order of declaration.
    pub const ALL: [AttemptState; 14] = [
        Self::Sent,
        Self::Unknown,
        Self::Accepted,
        Self::ActionRequired,
        Self::Authorized,
        Self::Succeeded,
        Self::Declined,
        Self::NotSent,
        Self::Closed,
        Self::NotFound,
        Self::SucceededLate,
        Self::Reversing,
        Self::Reversed,
        Self::Returned,
    ];

    /// The name in rows and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Unknown => "unknown",
            Self::Accepted => "accepted",
            Self::ActionRequired => "action_required",
            Self::Authorized => "authorized",
            Self::Succeeded => "succeeded",
            Self::Declined => "declined",
            Self::NotSent => "not_sent",
            Self::Closed => "closed",
            Self::NotFound => "not_found",
            Self::SucceededLate => "succeeded_late",
            Self::Reversing => "reversing",
            Self::Reversed => "reversed",
            Self::Returned => "returned",
        }
    }

    /// The state of that name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether money may move, or has moved and not yet gone back. No other channel is tried while an attempt is live. The partial unique
    /// index `attempt_one_live_pay` guards the same in SQL, except for late money on its way back, which a newer live attempt may find.
    pub const fn is_live(self) -> bool {
        matches!(
            self,
            Self::Sent
                | Self::Unknown
                | Self::Accepted
                | Self::ActionRequired
                | Self::Authorized
                | Self::Reversing
                | Self::Succeeded
                | Self::SucceededLate
        )
    }

    /// Whether the channel still owes us a word on it.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Sent | Self::Unknown | Self::Accepted | Self::ActionRequired | Self::Reversing | Self::SucceededLate)
    }
}

impl fmt::Display for AttemptState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What can be said of an attempt, once a reply, a notification or an answer to a query was understood and authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// Carried out: for a pay attempt the money was taken.
    Approved,
    /// The money is held.
    Authorized,
    /// The channel has it and is working on it.
    Accepted,
    /// The customer must act.
    ActionRequired,
    /// Refused.
    Declined,
    /// It certainly never left us, or was certainly not processed.
    NotSent,
    /// Nothing is known.
    Unknown,
    /// Confirmed: it can no longer be paid.
    Closed,
    /// Confirmed, in a way that the contract makes final: the channel does not have it.
    NotFound,
    /// A refund came back.
    Returned,
}

impl Fact {
    /// Every fact.
    pub const ALL: [Fact; 10] = [
        Self::Approved,
        Self::Authorized,
        Self::Accepted,
        Self::ActionRequired,
        Self::Declined,
        Self::NotSent,
        Self::Unknown,
        Self::Closed,
        Self::NotFound,
        Self::Returned,
    ];

    /// The name in events, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Authorized => "authorized",
            Self::Accepted => "accepted",
            Self::ActionRequired => "action_required",
            Self::Declined => "declined",
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
            Self::Closed => "closed",
            Self::NotFound => "not_found",
            Self::Returned => "returned",
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One row of `attempt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Number within the payment, from 1, in the order of the tries.
    pub n: i16,
    /// What was tried.
    pub operation: Operation,
    /// The id of the channel that it was tried on.
    pub channel: String,
    /// The key that the channel knows it by, chosen at intent and sent with every repeat: 32 lower-case hex digits.
    pub key: String,
    /// What is known.
    pub state: AttemptState,
    /// Minor units of the payment's currency.
    pub amount: i64,
    /// The refund that it carries out, when it is one.
    pub refund_n: Option<i16>,
    /// The attempt that it undoes, when it is a reversal.
    pub undoes: Option<i16>,
    /// The channel's own name for it (Stripe's `pi_…`, `re_…`), once known.
    pub reference: Option<String>,
    /// Why it was declined or could not be sent.
    pub failure: Option<Failure>,
    /// What the customer must do.
    pub next_action: Option<NextAction>,
    /// When somebody must look at it again; `None` when nobody must.
    pub due_at: Option<Timestamp>,
    /// How many times it was looked at since it was last new: the rung of the ladder.
    pub tries: i32,
    /// When the channel first said that it does not have it.
    pub not_found_since: Option<Timestamp>,
    /// Who may act on it: the incarnation of a process.
    pub lease_owner: Option<uuid::Uuid>,
    /// Until when.
    pub lease_until: Option<Timestamp>,
    /// Incremented with every lease: an action of an earlier holder is refused.
    pub fence: i32,
    /// Why this channel was chosen.
    pub reason: String,
    /// The channels that were passed over for it, at most [`PassedOver::MOST`]; those that the payment does not fit with its first attempt only.
    pub passed_over: Vec<PassedOver>,
    /// When its intent was written.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The exchange that brought it where it is, if this process has just had it: it goes into the event of the change, and no row has it.
    pub exchange: Option<Box<Exchange>>,
}

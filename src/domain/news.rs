//! What a channel said about an attempt, however it reached us.

use jiff::Timestamp;
use serde::Serialize;

use super::attempt::Fact;
use super::failure::{Failure, FailureCode};
use super::money::Money;
use super::payment::NextAction;

/// A fact with what came along. Built by a provider from an authentic message, or by us when there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// What it says.
    pub fact: Fact,
    /// The channel's own name for the attempt.
    pub reference: Option<String>,
    /// The amount and currency that the channel has on its books for it. A paid fact for another amount is never adopted.
    pub money: Option<Money>,
    /// How much of a hold has been taken, in minor units, where the channel says so.
    pub captured: Option<i64>,
    /// Why not.
    pub failure: Option<Failure>,
    /// What the customer must do.
    pub next_action: Option<NextAction>,
    /// When a hold lapses.
    pub capture_before: Option<Timestamp>,
    /// What was said on the wire, as far as it is kept for the timeline.
    pub exchange: Option<Box<Exchange>>,
}

/// What is kept of one exchange with a channel, for the timeline: fields from the provider's allow-list alone, so that no secret, card number or
/// customer's name can be among them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// What was asked: a verb's name.
    pub verb: &'static str,
    /// Of the request.
    pub request: Fields,
    /// Of the answer; empty when there was none.
    pub reply: Fields,
    /// From the first byte to the whole answer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<u64>,
    /// Why there is no answer, by the transport's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
}

/// Named values, each at most [`Fields::LONGEST`] characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(&'static str, String)>);

impl Fields {
    /// Characters of a value that are kept.
    pub const LONGEST: usize = 96;

    /// Keeps a value, cut to its length; nothing is kept of one that is not there.
    pub fn keep<'a>(&mut self, name: &'static str, value: impl Into<Option<&'a str>>) {
        if let Some(value) = value.into() {
            self.0.push((name, value.chars().take(Self::LONGEST).collect()));
        }
    }

    /// The value of that name, if it was kept.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

impl Serialize for Fields {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl News {
    /// The bare fact.
    pub const fn of(fact: Fact) -> Self {
        Self { fact, reference: None, money: None, captured: None, failure: None, next_action: None, capture_before: None, exchange: None }
    }

    /// It may have been processed: nothing is known.
    pub const fn unknown() -> Self {
        Self::of(Fact::Unknown)
    }

    /// It certainly did not reach the channel, or was certainly not processed.
    pub fn not_sent(message: &str) -> Self {
        Self { failure: Some(Failure::new(FailureCode::NotSent, None, message)), ..Self::of(Fact::NotSent) }
    }

    /// The channel refused it.
    pub fn declined(failure: Failure) -> Self {
        Self { failure: Some(failure), ..Self::of(Fact::Declined) }
    }

    /// The same, with the channel's name for the attempt.
    pub fn with_reference(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into());
        self
    }

    /// The same, with the amount on the channel's books.
    pub fn with_money(mut self, money: Money) -> Self {
        self.money = Some(money);
        self
    }
}

/// Who brought the news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The reply to the call itself.
    Reply,
    /// An answer to our query.
    Query,
    /// A message from the channel.
    Notification,
    /// The lease ran out: whoever sent it is gone.
    Lease,
    /// The merchant asked for it.
    Merchant,
    /// A person, with a note and evidence.
    Operator,
}

impl Source {
    /// The name in events, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::Query => "query",
            Self::Notification => "notification",
            Self::Lease => "lease",
            Self::Merchant => "merchant",
            Self::Operator => "operator",
        }
    }
}

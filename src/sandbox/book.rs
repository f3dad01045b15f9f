//! The book: what a channel charged and gave back, as its own side remembers it. It is the referee of every test: an orchestrator's books are
//! right when they agree with these. Entries are only ever added.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One movement of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The attempt's key for a charge or a refund; for a reversal the key of what it undoes.
    pub reference: String,
    /// Which way the money went, and why.
    pub kind: Kind,
    /// Minor units of the currency, always positive.
    pub amount: i64,
    /// ISO 4217, upper case.
    pub currency: String,
    /// When it moved, to the millisecond.
    pub at: Timestamp,
    /// The provider's own id of the payment that this belongs to.
    pub payment_intent: String,
    /// The merchant's order, when the payment named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
}

/// The kinds of movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The customer paid.
    Charge,
    /// The customer was given money back because the merchant wished it.
    Refund,
    /// A payment that must not stand was undone.
    Reversal,
}

/// The time now, to the millisecond: what the books keep.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

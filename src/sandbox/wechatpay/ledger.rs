//! One account's memory: orders, refunds and the book. A request works out a [`Change`] on copies; the change goes to disk, and only then into
//! memory, by the same code that replays the file.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::sandbox::book::Entry;
use crate::sandbox::journal;

/// How an order will be paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    /// A code that the shop shows.
    Native,
    /// A page on a phone.
    H5,
    /// WeChat's own browser.
    Jsapi,
}

impl Product {
    /// `trade_type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "NATIVE",
            Self::H5 => "MWEB",
            Self::Jsapi => "JSAPI",
        }
    }
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Made, and not paid.
    Unpaid,
    /// Paid, and nothing given back.
    Paid,
    /// Paid, and some or all of it given back.
    Refunded,
    /// Never paid.
    Closed,
}

impl Status {
    /// `trade_state`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unpaid => "NOTPAY",
            Self::Paid => "SUCCESS",
            Self::Refunded => "REFUND",
            Self::Closed => "CLOSED",
        }
    }
}

/// An order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// `out_trade_no`.
    pub number: String,
    /// `transaction_id`.
    pub transaction_id: String,
    /// What the code says, the page's address or the prepay id are made of it.
    pub token: String,
    /// How it will be paid.
    pub product: Product,
    /// Where it stands.
    pub status: Status,
    /// Fen.
    pub amount: i64,
    /// As asked.
    pub description: String,
    /// As asked.
    pub attach: Option<String>,
    /// As asked.
    pub notify_url: String,
    /// From when on it cannot be paid.
    pub expires: Timestamp,
    /// When it was paid.
    pub paid: Option<Timestamp>,
    /// Fen given back or promised back.
    pub refunded: i64,
    /// The customer walked away.
    pub abandoned: bool,
}

impl Order {
    /// Fen that can still be given back.
    pub fn left(&self) -> i64 {
        if self.paid.is_some() { self.amount - self.refunded } else { 0 }
    }
}

/// A refund. Its number is unique to the merchant, not only to the order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refund {
    /// `out_trade_no`.
    pub order: String,
    /// `out_refund_no`.
    pub number: String,
    /// `refund_id`.
    pub refund_id: String,
    /// Fen.
    pub amount: i64,
    /// As asked.
    pub reason: Option<String>,
    /// As asked: without it, nobody is told.
    pub notify_url: Option<String>,
    /// When a pending one is done; none once it is.
    pub due: Option<Timestamp>,
    /// When it was done.
    pub done: Option<Timestamp>,
    /// It was done, and did not arrive in the end: the merchant has the money.
    #[serde(default)]
    pub abnormal: bool,
}

/// A refund whose reason begins so undoes a payment: the book has it under the key that follows.
const REVERSES: &str = "reversal of ";

impl Refund {
    /// The key of the payment that it undoes, if it does.
    pub fn undoes(&self) -> Option<&str> {
        self.reason.as_deref().and_then(|reason| reason.strip_prefix(REVERSES))
    }

    /// `status`.
    pub const fn status(&self) -> &'static str {
        match (self.abnormal, self.done) {
            (true, _) => "ABNORMAL",
            (false, Some(_)) => "SUCCESS",
            (false, None) => "PROCESSING",
        }
    }
}

/// All that one request, or one act of a customer, changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Change {
    /// The order as it now is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// The refund as it now is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund: Option<Refund>,
    /// What the book gains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry>,
}

/// One account's memory. See the module.
pub type Ledger = journal::Ledger<Books>;

/// What its changes add up to.
#[derive(Debug, Default)]
pub struct Books {
    orders: HashMap<String, Order>,
    refunds: HashMap<String, Refund>,
    entries: Vec<Entry>,
}

impl journal::Books for Books {
    type Change = Change;

    fn apply(&mut self, change: Change) {
        if let Some(order) = change.order {
            self.orders.insert(order.number.clone(), order);
        }
        if let Some(refund) = change.refund {
            self.refunds.insert(refund.number.clone(), refund);
        }
        self.entries.extend(change.entry);
    }
}

impl Ledger {
    /// The order of a merchant's number.
    pub fn order(&self, number: &str) -> Option<&Order> {
        self.books.orders.get(number)
    }

    /// All orders, in no order.
    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.books.orders.values()
    }

    /// The refund of a merchant's number.
    pub fn refund(&self, number: &str) -> Option<&Refund> {
        self.books.refunds.get(number)
    }

    /// All refunds, in no order.
    pub fn refunds(&self) -> impl Iterator<Item = &Refund> {
        self.books.refunds.values()
    }

    /// The book from its `from`th entry on.
    pub fn entries(&self, from: usize) -> &[Entry] {
        self.books.entries.get(from..).unwrap_or_default()
    }
}

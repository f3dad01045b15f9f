//! One account's memory: trades, refunds and the book, kept by [`Journal`]. A request works out a [`Change`] on copies; the change goes to disk, and
//! only then into memory, by the same code that replays the file.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::sandbox::book::Entry;
use crate::sandbox::journal;

/// How a trade came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    /// The shop shows a code.
    Precreate,
    /// The customer shows a code.
    Barcode,
    /// Alipay's page.
    Page,
}

/// Where a trade stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A code was handed out that nobody has scanned: to a query there is no trade.
    Shown,
    /// Made, and not paid.
    Waiting,
    /// Paid, not given back in full.
    Paid,
    /// Never paid, or given back in full.
    Closed,
}

impl Status {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shown | Self::Waiting => "WAIT_BUYER_PAY",
            Self::Paid => "TRADE_SUCCESS",
            Self::Closed => "TRADE_CLOSED",
        }
    }
}

/// A trade.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trade {
    /// `out_trade_no`.
    pub number: String,
    /// `trade_no`.
    pub trade_no: String,
    /// How it came about.
    pub product: Product,
    /// Where it stands.
    pub status: Status,
    /// Fen.
    pub amount: i64,
    /// As asked.
    pub subject: String,
    /// As asked.
    pub passback_params: Option<String>,
    /// As asked.
    pub notify_url: Option<String>,
    /// What the code says, when there is one.
    pub qr_code: Option<String>,
    /// From when on it cannot be paid.
    pub expires: Timestamp,
    /// When it was made.
    pub created: Timestamp,
    /// When it was paid.
    pub paid: Option<Timestamp>,
    /// Fen given back or promised back.
    pub refunded: i64,
    /// The customer walked away.
    pub abandoned: bool,
}

impl Trade {
    /// Whether somebody could pay it.
    pub fn is_open(&self) -> bool {
        matches!(self.status, Status::Shown | Status::Waiting)
    }

    /// Fen that can still be given back.
    pub fn left(&self) -> i64 {
        if self.paid.is_some() { self.amount - self.refunded } else { 0 }
    }
}

/// A refund.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refund {
    /// `out_trade_no`.
    pub trade: String,
    /// `out_request_no`.
    pub number: String,
    /// Fen.
    pub amount: i64,
    /// As asked.
    pub reason: Option<String>,
    /// When a pending one is done; none once it is.
    pub due: Option<Timestamp>,
    /// When it was done.
    pub done: Option<Timestamp>,
}

/// All that one request, or one act of a customer, changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Change {
    /// The trade as it now is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trade: Option<Trade>,
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
    trades: HashMap<String, Trade>,
    by_trade_no: HashMap<String, String>,
    refunds: HashMap<(String, String), Refund>,
    entries: Vec<Entry>,
}

impl journal::Books for Books {
    type Change = Change;

    fn apply(&mut self, change: Change) {
        if let Some(trade) = change.trade {
            self.by_trade_no.insert(trade.trade_no.clone(), trade.number.clone());
            self.trades.insert(trade.number.clone(), trade);
        }
        if let Some(refund) = change.refund {
            self.refunds.insert((refund.trade.clone(), refund.number.clone()), refund);
        }
        self.entries.extend(change.entry);
    }
}

impl Ledger {
    /// The trade of a merchant's number.
    pub fn trade(&self, number: &str) -> Option<&Trade> {
        self.books.trades.get(number)
    }

    /// The trade of Alipay's number.
    pub fn trade_by_no(&self, trade_no: &str) -> Option<&Trade> {
        self.trade(self.books.by_trade_no.get(trade_no)?)
    }

    /// All trades, in no order.
    pub fn trades(&self) -> impl Iterator<Item = &Trade> {
        self.books.trades.values()
    }

    /// A refund of a trade.
    pub fn refund(&self, trade: &str, number: &str) -> Option<&Refund> {
        self.books.refunds.get(&(trade.to_owned(), number.to_owned()))
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

//! The bank's memory: every message that it carried out or declined, what became of the money, and the book; kept by [`Journal`].
//!
//! Nothing is changed but through [`Ledger::commit`]: what follows from a message is worked out on copies, goes to disk, and only then into memory, by
//! the same code that replays the file. Card numbers are not kept.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::sandbox::book::Entry;
use crate::sandbox::journal;

/// What a message asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Take the money.
    Purchase,
    /// Hold it.
    Hold,
    /// Take what is held.
    Capture,
    /// Give it back.
    Refund,
    /// Undo.
    Reversal,
}

/// One message and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// What it is found by: see [`Identity`].
    pub identity: String,
    /// The orchestrator's key of the attempt, worked out from field 7, STAN and year.
    pub key: String,
    /// The retrieval reference of the payment that it belongs to.
    pub retrieval: String,
    /// What it asked for.
    pub kind: Kind,
    /// Minor units.
    pub amount: i64,
    /// Three letters.
    pub currency: String,
    /// Field 39 of its answer.
    pub code: String,
    /// Field 38 of its answer, when it was approved.
    pub approval: Option<String>,
    /// It was undone.
    pub reversed: bool,
    /// Minor units that were taken: a purchase's at once, a hold's by its capture.
    pub taken: i64,
    /// Minor units that were given back.
    pub refunded: i64,
    /// The identity of what it was about.
    pub original: Option<String>,
    /// The key that the book has its charge under.
    pub charged_as: Option<String>,
    /// Local date, terminal and STAN: no second payment or refund may have them.
    pub number: String,
}

impl Transaction {
    /// Whether it was carried out, and still stands.
    pub fn stands(&self) -> bool {
        self.code == "00" && !self.reversed
    }
}

/// What a message is known by: the class of its type, STAN, transmission time, terminal and merchant.
pub struct Identity;

impl Identity {
    /// Of a message of type `mti`.
    pub fn of(mti: &str, stan: &str, transmitted: &str, terminal: &str, merchant: &str) -> String {
        let class: String = mti.chars().take(2).collect();
        format!("{class}/{stan}/{transmitted}/{}/{}", terminal.trim_end(), merchant.trim_end())
    }
}

/// All that one message changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Change {
    /// Transactions as they now are.
    pub transactions: Vec<Transaction>,
    /// What the book gains.
    pub entries: Vec<Entry>,
}

/// See the module.
pub type Ledger = journal::Ledger<Books>;

/// What its changes add up to.
#[derive(Debug, Default)]
pub struct Books {
    transactions: HashMap<String, Transaction>,
    numbers: HashMap<String, String>,
    entries: Vec<Entry>,
}

impl journal::Books for Books {
    type Change = Change;

    fn apply(&mut self, change: Change) {
        for transaction in change.transactions {
            if matches!(transaction.kind, Kind::Purchase | Kind::Hold | Kind::Refund) {
                self.numbers.insert(transaction.number.clone(), transaction.identity.clone());
            }
            self.transactions.insert(transaction.identity.clone(), transaction);
        }
        self.entries.extend(change.entries);
    }
}

impl Ledger {
    /// The transaction with that identity.
    pub fn find(&self, identity: &str) -> Option<&Transaction> {
        self.books.transactions.get(identity)
    }

    /// Whether a payment or refund had this number already that day.
    pub fn is_used(&self, number: &str) -> bool {
        self.books.numbers.contains_key(number)
    }

    /// The book from its `from`th entry on.
    pub fn entries(&self, from: usize) -> &[Entry] {
        self.books.entries.get(from..).unwrap_or_default()
    }
}

//! One account's memory: payment intents, refunds, answers to idempotency keys, and the book, kept by [`Journal`].
//!
//! Nothing here is changed but through [`Ledger::commit`]: a request first works out a [`Change`] on copies, the change goes to disk, and only
//! then into memory, by the same code that replays the file. The answers to keys stay on disk; memory holds where they lie.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::Decline;
use crate::sandbox::book::Entry;
use crate::sandbox::journal::{Journal, Place};

/// Stripe may drop a key after a day, and then the same key executes anew. So does this server, to keep everyone honest.
const KEY_LIFE_MS: i64 = 24 * 60 * 60 * 1000;

/// Where a payment intent stands. The names are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentStatus {
    /// New, or its last try was declined.
    RequiresPaymentMethod,
    /// It has a payment method; nothing was tried.
    RequiresConfirmation,
    /// The customer must authenticate.
    RequiresAction,
    /// The money is held.
    RequiresCapture,
    /// The money was taken.
    Succeeded,
    /// Over, without money.
    Canceled,
}

impl IntentStatus {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequiresPaymentMethod => "requires_payment_method",
            Self::RequiresConfirmation => "requires_confirmation",
            Self::RequiresAction => "requires_action",
            Self::RequiresCapture => "requires_capture",
            Self::Succeeded => "succeeded",
            Self::Canceled => "canceled",
        }
    }
}

/// When the money is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureMethod {
    /// At confirmation; Stripe's default.
    AutomaticAsync,
    /// At confirmation.
    Automatic,
    /// By a call of its own; confirmation only holds it.
    Manual,
}

/// A payment intent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// `pi_…`
    pub id: String,
    /// The last part of `client_secret`, and of the customer's page.
    pub secret: String,
    /// Minor units.
    pub amount: i64,
    /// Lower case, as on the wire.
    pub currency: String,
    /// When it was created.
    pub created: Timestamp,
    /// Where it stands.
    pub status: IntentStatus,
    /// When its money is taken.
    pub capture_method: CaptureMethod,
    /// As asked; `automatic` unless said.
    pub confirmation_method: String,
    /// `pm_…`
    pub payment_method: Option<String>,
    /// As asked, or `card`.
    pub payment_method_types: Vec<String>,
    /// The value of `allow_redirects` when `automatic_payment_methods[enabled]` was true.
    pub automatic_payment_methods: Option<String>,
    /// As asked.
    pub metadata: BTreeMap<String, String>,
    /// As asked.
    pub customer: Option<String>,
    /// As asked.
    pub description: Option<String>,
    /// As asked.
    pub return_url: Option<String>,
    /// As asked.
    pub statement_descriptor_suffix: Option<String>,
    /// The customer is not there.
    pub off_session: bool,
    /// Minor units that were taken.
    pub amount_received: i64,
    /// How many charges were tried; numbers their ids.
    pub tries: u32,
    /// The latest charge.
    pub charge: Option<Charge>,
    /// Why the last try was declined.
    pub last_payment_error: Option<Decline>,
    /// As asked.
    pub cancellation_reason: Option<String>,
    /// When it was canceled.
    pub canceled_at: Option<Timestamp>,
    /// The idempotency key of its confirmation: what the book falls back to.
    pub confirm_key: Option<String>,
    /// The customer opened the page, and pays soon.
    pub visited: bool,
    /// Its refunds, oldest first.
    pub refunds: Vec<String>,
}

/// One try to take the money.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Charge {
    /// `ch_…`
    pub id: String,
    /// When it was tried.
    pub created: Timestamp,
    /// Minor units taken; zero for a hold or a decline.
    pub amount_captured: i64,
    /// Minor units given back or promised back: the sum of the refunds that did not fail.
    pub amount_refunded: i64,
    /// Why it was declined.
    pub failure: Option<Decline>,
    /// The cardholder has disputed it; it stays so when that is decided.
    pub disputed: bool,
    /// The dispute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispute: Option<Dispute>,
}

impl Charge {
    /// Whether its money is not the merchant's to give back: a dispute is open, or was lost.
    pub fn is_withheld(&self) -> bool {
        self.disputed && self.dispute.as_ref().is_none_or(|dispute| dispute.status != DisputeStatus::Won)
    }
}

/// A dispute of a charge, for all of what was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispute {
    /// `dp_…`
    pub id: String,
    /// When it was opened.
    pub created: Timestamp,
    /// Where it stands.
    pub status: DisputeStatus,
}

/// Where a dispute stands. The names are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisputeStatus {
    /// Open.
    NeedsResponse,
    /// The merchant keeps the money.
    Won,
    /// The cardholder has it back.
    Lost,
}

impl DisputeStatus {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeedsResponse => "needs_response",
            Self::Won => "won",
            Self::Lost => "lost",
        }
    }
}

/// Where a refund stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// On its way.
    Pending,
    /// Done.
    Succeeded,
    /// Not done, or it came back: the money is the merchant's.
    Failed,
}

/// A refund.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refund {
    /// `re_…`
    pub id: String,
    /// Whose money.
    pub payment_intent: String,
    /// `ch_…`
    pub charge: String,
    /// Minor units.
    pub amount: i64,
    /// Lower case.
    pub currency: String,
    /// When it was asked for.
    pub created: Timestamp,
    /// Where it stands.
    pub status: RefundStatus,
    /// As asked.
    pub reason: Option<String>,
    /// Why it failed.
    pub failure_reason: Option<String>,
    /// As asked.
    pub metadata: BTreeMap<String, String>,
    /// The idempotency key: what the book falls back to.
    pub key: Option<String>,
    /// When a pending one is done.
    pub due: Option<Timestamp>,
}

/// The kept answer to an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The key.
    pub key: String,
    /// A digest of method, path and parameters.
    pub fingerprint: String,
    /// When it was first answered.
    pub at: Timestamp,
    /// The HTTP status.
    pub status: u16,
    /// The body, to the byte.
    pub body: String,
    /// The id of the request that executed.
    pub request_id: String,
}

/// All that one request, or one act of a customer, changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Change {
    /// The intent as it now is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// The refund as it now is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund: Option<Refund>,
    /// What the book gains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry>,
    /// The answer to a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
}

/// What the ledger knows of an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Never seen, or longer ago than a day.
    New,
    /// A request with it is being executed or its answer is on the way.
    InUse,
    /// It was first used with other parameters.
    OtherParameters,
    /// Executed.
    Answered(Kept),
}

#[derive(Debug)]
struct KeptAt {
    fingerprint: String,
    at: Timestamp,
    place: Place,
}

/// One account's memory. See the module.
#[derive(Debug)]
pub struct Ledger {
    journal: Journal,
    books: Books,
    in_flight: HashSet<String>,
}

#[derive(Debug, Default)]
struct Books {
    intents: Vec<Intent>,
    intent_at: HashMap<String, usize>,
    by_attempt: HashMap<String, Vec<usize>>,
    refunds: Vec<Refund>,
    refund_at: HashMap<String, usize>,
    answers: HashMap<String, KeptAt>,
    entries: Vec<Entry>,
}

impl Books {
    fn apply(&mut self, change: Change, place: Place) {
        if let Some(intent) = change.intent {
            if let Some(at) = self.intent_at.get(&intent.id) {
                self.intents[*at] = intent;
            } else {
                let at = self.intents.len();
                self.intent_at.insert(intent.id.clone(), at);
                if let Some(attempt) = intent.metadata.get("attempt") {
                    self.by_attempt.entry(attempt.clone()).or_default().push(at);
                }
                self.intents.push(intent);
            }
        }
        if let Some(refund) = change.refund {
            if let Some(at) = self.refund_at.get(&refund.id) {
                self.refunds[*at] = refund;
            } else {
                self.refund_at.insert(refund.id.clone(), self.refunds.len());
                self.refunds.push(refund);
            }
        }
        if let Some(kept) = change.kept {
            let at = KeptAt { fingerprint: kept.fingerprint, at: kept.at, place };
            self.answers.insert(kept.key, at);
        }
        self.entries.extend(change.entry);
    }
}

impl Ledger {
    /// Opens the account's file and replays it.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut books = Books::default();
        let journal = Journal::open(path, |change, place| books.apply(change, place))?;
        Ok(Self { journal, books, in_flight: HashSet::new() })
    }

    /// Writes a change to disk, then makes it.
    ///
    /// # Errors
    /// When the disk refuses; nothing is changed then.
    pub fn commit(&mut self, change: Change) -> io::Result<()> {
        let place = self.journal.append(&change)?;
        self.books.apply(change, place);
        Ok(())
    }

    /// Forgets everything, on disk too.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn clear(&mut self) -> io::Result<()> {
        self.journal.clear()?;
        self.books = Books::default();
        Ok(())
    }

    /// What is known of a key, and, when it is new, takes it: the caller must [`Ledger::release`] it.
    ///
    /// # Errors
    /// When the disk refuses to give the kept answer.
    pub fn take_key(&mut self, key: &str, fingerprint: &str, now: Timestamp) -> io::Result<KeyState> {
        if self.in_flight.contains(key) {
            return Ok(KeyState::InUse);
        }
        if let Some(kept) = self.books.answers.get(key)
            && now.as_millisecond() - kept.at.as_millisecond() < KEY_LIFE_MS
        {
            if kept.fingerprint != fingerprint {
                return Ok(KeyState::OtherParameters);
            }
            let change: Change = self.journal.read(kept.place)?;
            if let Some(kept) = change.kept {
                return Ok(KeyState::Answered(kept));
            }
        }
        self.in_flight.insert(key.to_owned());
        Ok(KeyState::New)
    }

    /// Gives a key back, when its answer is on the way or its caller is gone.
    pub fn release(&mut self, key: &str) {
        self.in_flight.remove(key);
    }

    /// The intent with that id.
    pub fn intent(&self, id: &str) -> Option<&Intent> {
        self.books.intent_at.get(id).map(|at| &self.books.intents[*at])
    }

    /// All intents, oldest first.
    pub fn intents(&self) -> &[Intent] {
        &self.books.intents
    }

    /// Where an intent lies in [`Ledger::intents`].
    pub fn position(&self, id: &str) -> Option<usize> {
        self.books.intent_at.get(id).copied()
    }

    /// The intents whose `metadata[attempt]` is `attempt`, oldest first.
    pub fn intents_of_attempt(&self, attempt: &str) -> impl DoubleEndedIterator<Item = &Intent> {
        self.books.by_attempt.get(attempt).into_iter().flatten().map(|at| &self.books.intents[*at])
    }

    /// The refund with that id.
    pub fn refund(&self, id: &str) -> Option<&Refund> {
        self.books.refund_at.get(id).map(|at| &self.books.refunds[*at])
    }

    /// All refunds, oldest first.
    pub fn refunds(&self) -> &[Refund] {
        &self.books.refunds
    }

    /// The book from its `from`th entry on.
    pub fn entries(&self, from: usize) -> &[Entry] {
        self.books.entries.get(from..).unwrap_or_default()
    }
}

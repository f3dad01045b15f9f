//! A payment as one whole: its row, its attempts, its refunds. The flows load it, ask it to change, and write the difference
//! ([`super::change::Change`]); nothing else decides what a payment's status is.
//!
//! The status is never set: it is *derived* from the attempts ([`Payment::derive`]), so that the same facts in any order give the same
//! payment. What news does to it is in `settle.rs`, what must be sent next in `duty.rs`.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::attempt::{Attempt, AttemptState};
use super::failure::Failure;
use super::id::{OrderDigest, PaymentId};
use super::method::PaymentMethod;
use super::money::Currency;
use super::operation::Operation;
use super::refund::Refund;
use super::route::PassedOver;

macro_rules! names {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $type { $($(#[$vdoc])* $variant),+ }
        impl $type {
            /// Every value.
            pub const ALL: &'static [$type] = &[$(Self::$variant),+];
            /// The name in rows, metrics and JSON.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$variant => $text),+ } }
            /// The value of that name, if there is one.
            pub fn parse(name: &str) -> Option<Self> { Self::ALL.iter().copied().find(|value| value.as_str() == name) }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }
    };
}
pub(crate) use names;

names! {
    /// Where a payment stands.
    PaymentStatus {
        /// On its way.
        Processing => "processing",
        /// The customer must act.
        RequiresAction => "requires_action",
        /// Held: the merchant may capture.
        RequiresCapture => "requires_capture",
        /// Part of the hold was taken, the rest released. Final.
        PartiallyCaptured => "partially_captured",
        /// Paid. Final.
        Succeeded => "succeeded",
        /// Ended unpaid, as the merchant asked. Final.
        Canceled => "canceled",
        /// Ended unpaid, past its expiry. Final.
        Expired => "expired",
        /// Ended unpaid. Final.
        Failed => "failed",
    }
}

impl PaymentStatus {
    /// Whether it is over: paid, or certain to stay unpaid.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::PartiallyCaptured | Self::Succeeded | Self::Canceled | Self::Expired | Self::Failed)
    }

    /// Whether it ended without money, so that its order may be paid again by a new payment.
    pub const fn ended_unpaid(self) -> bool {
        matches!(self, Self::Canceled | Self::Expired | Self::Failed)
    }
}

names! {
    /// What is known about the money.
    Outcome {
        /// Nothing was sent yet, or the customer must act.
        None => "none",
        /// In flight, or the channel is working on it.
        Pending => "pending",
        /// The channel said yes.
        Approved => "approved",
        /// The channel said no, or the money went back.
        Declined => "declined",
        /// It certainly did not reach a channel.
        NotSent => "not_sent",
        /// It may or may not have happened: we are finding out.
        Unknown => "unknown",
    }
}

names! {
    /// When the money is taken.
    CaptureMethod {
        /// At once.
        Automatic => "automatic",
        /// Held first, taken by a capture.
        Manual => "manual",
    }
}

/// What the customer must do, as the merchant passes it on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NextAction {
    /// Show this as a QR code.
    Qr {
        /// What the code says.
        text: String,
        /// Until when it can be paid.
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<Timestamp>,
    },
    /// Send the customer there.
    Redirect {
        /// Where.
        url: String,
        /// `GET` or `POST`.
        method: String,
        /// The form's fields, for `POST`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        fields: BTreeMap<String, String>,
    },
    /// Hand these to the wallet's script, on a page that is open in the wallet's own browser.
    Jsapi {
        /// By the names that the script knows them by; signed, so none may be changed.
        parameters: BTreeMap<String, String>,
    },
}

/// What a merchant asks for, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentRequest {
    /// Who asks.
    pub merchant: Uuid,
    /// Whether real money moves.
    pub livemode: bool,
    /// The merchant's name for the order: 1 to 64 characters.
    pub order: String,
    /// Minor units, 1 to 10^12.
    pub amount: i64,
    /// The currency.
    pub currency: Currency,
    /// How the customer pays.
    pub method: PaymentMethod,
    /// When the money is taken.
    pub capture_method: CaptureMethod,
    /// The one channel to use, when the merchant chose.
    pub pinned_channel: Option<String>,
    /// What is bought.
    pub description: Option<String>,
    /// The merchant's own notes: at most 20.
    pub metadata: BTreeMap<String, String>,
    /// Where the customer returns to.
    pub return_url: Option<String>,
    /// When a waiting customer is no longer awaited.
    pub expires_at: Timestamp,
    /// Until when another channel may still be tried.
    pub deadline_at: Timestamp,
}

/// A payment, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Its id, with its bucket in it.
    pub id: PaymentId,
    /// What was asked for.
    pub request: PaymentRequest,
    /// Derived: see [`Payment::derive`].
    pub status: PaymentStatus,
    /// Derived: see [`Payment::derive`].
    pub outcome: Outcome,
    /// How much of the hold is spoken for by captures, in minor units.
    pub capture_reserved: i64,
    /// How much was taken.
    pub captured: i64,
    /// How much of what was taken is spoken for by refunds.
    pub refund_reserved: i64,
    /// How much was given back.
    pub refunded: i64,
    /// How much the customer's bank disputes.
    pub disputed: i64,
    /// Whether the merchant asked to cancel.
    pub cancel_requested: bool,
    /// The payment that took over the order, when this one had ended unpaid.
    pub superseded_by: Option<PaymentId>,
    /// When the hold lapses.
    pub capture_before: Option<Timestamp>,
    /// How many events it has: the number of its last one, and its version.
    pub sequence: i32,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Every try, by number; `attempts[n - 1]` has number `n`.
    pub attempts: Vec<Attempt>,
    /// Every refund, by number.
    pub refunds: Vec<Refund>,
}

/// What a new attempt needs beyond its payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAttempt {
    /// What is tried.
    pub operation: Operation,
    /// On which channel.
    pub channel: String,
    /// The key the channel will know it by.
    pub key: String,
    /// Minor units.
    pub amount: i64,
    /// The refund it carries out.
    pub refund_n: Option<i16>,
    /// The attempt it undoes, for a reversal.
    pub undoes: Option<i16>,
    /// Why this channel.
    pub reason: String,
    /// The channels that were passed over for it.
    pub passed_over: Vec<PassedOver>,
}

/// Who may act on an attempt, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The incarnation of the process that holds it.
    pub owner: Uuid,
    /// When it lapses: then the attempt is unknown, and is queried.
    pub until: Timestamp,
}

impl Payment {
    /// A payment whose first attempt is about to be sent. Nothing was sent yet: the caller writes it to disk first.
    pub fn open(id: PaymentId, request: PaymentRequest, first: NewAttempt, lease: Lease, now: Timestamp) -> Self {
        let mut payment = Self {
            id,
            request,
            status: PaymentStatus::Processing,
            outcome: Outcome::None,
            capture_reserved: 0,
            captured: 0,
            refund_reserved: 0,
            refunded: 0,
            disputed: 0,
            cancel_requested: false,
            superseded_by: None,
            capture_before: None,
            sequence: 0,
            created_at: now,
            updated_at: now,
            attempts: Vec::with_capacity(1),
            refunds: Vec::new(),
        };
        payment.add_attempt(first, lease, now);
        payment
    }

    /// The order's digest: key of its guard.
    pub fn order_digest(&self) -> OrderDigest {
        OrderDigest::of(self.request.merchant, &self.request.order)
    }

    /// Adds an attempt that is about to be sent, and answers its number.
    pub fn add_attempt(&mut self, new: NewAttempt, lease: Lease, now: Timestamp) -> i16 {
        let n = i16::try_from(self.attempts.len() + 1).unwrap_or(i16::MAX);
        self.attempts.push(Attempt {
            n,
            operation: new.operation,
            channel: new.channel,
            key: new.key,
            state: AttemptState::Sent,
            amount: new.amount,
            refund_n: new.refund_n,
            undoes: new.undoes,
            reference: None,
            failure: None,
            next_action: None,
            due_at: Some(lease.until),
            tries: 0,
            not_found_since: None,
            lease_owner: Some(lease.owner),
            lease_until: Some(lease.until),
            fence: 0,
            reason: new.reason,
            passed_over: new.passed_over.into_iter().take(PassedOver::MOST).collect(),
            created_at: now,
            updated_at: now,
            exchange: None,
        });
        self.derive(now);
        n
    }

    /// Attempt number `n`.
    pub fn attempt(&self, n: i16) -> Option<&Attempt> {
        usize::try_from(n).ok().and_then(|n| self.attempts.get(n.checked_sub(1)?))
    }

    pub(super) fn attempt_mut(&mut self, n: i16) -> Option<&mut Attempt> {
        usize::try_from(n).ok().and_then(|n| self.attempts.get_mut(n.checked_sub(1)?))
    }

    /// The pay attempt that is live, or else the last one: the one that speaks for the payment.
    pub fn current_pay(&self) -> Option<&Attempt> {
        let pays = || self.attempts.iter().rev().filter(|attempt| attempt.operation == Operation::Pay);
        let on_its_way_back = |attempt: &Attempt| matches!(attempt.state, AttemptState::Reversing | AttemptState::SucceededLate);
        pays()
            .find(|attempt| attempt.state.is_live() && !on_its_way_back(attempt))
            .or_else(|| pays().find(|attempt| on_its_way_back(attempt)))
            .or_else(|| pays().next())
    }

    /// The last attempt of `operation` that the channel still owes us a word on, or that waits in its queue.
    pub fn open_attempt(&self, operation: Operation) -> Option<&Attempt> {
        self.attempts.iter().rev().find(|attempt| attempt.operation == operation && (attempt.state.is_open() || attempt.due_at.is_some()))
    }

    /// How much may still be captured: the hold, once, as long as nothing has been taken from it.
    pub fn capturable(&self) -> i64 {
        let held = self.current_pay().is_some_and(|attempt| attempt.state == AttemptState::Authorized);
        if held { self.request.amount - self.capture_reserved } else { 0 }
    }

    /// How much may still be refunded: captured, less what refunds have spoken for, less what is disputed.
    pub fn refundable(&self) -> i64 {
        (self.captured - self.refund_reserved.max(0) - self.disputed).max(0)
    }

    /// Why it was not paid, when its end is unpaid.
    pub fn failure(&self) -> Option<&Failure> {
        if self.status.ended_unpaid() { self.current_pay().and_then(|attempt| attempt.failure.as_ref()) } else { None }
    }

    /// What the customer must do now.
    pub fn next_action(&self) -> Option<&NextAction> {
        if self.status == PaymentStatus::RequiresAction { self.current_pay().and_then(|attempt| attempt.next_action.as_ref()) } else { None }
    }

    /// When the merchant may usefully ask again, while the payment is open.
    pub fn poll_after(&self) -> Option<Timestamp> {
        if self.status.is_final() { None } else { self.attempts.iter().filter_map(|attempt| attempt.due_at).min() }
    }

    /// Sets status and outcome from the attempts.
    pub fn derive(&mut self, now: Timestamp) {
        let (status, outcome) = self.derived(now);
        self.status = status;
        self.outcome = outcome;
    }

    fn derived(&self, now: Timestamp) -> (PaymentStatus, Outcome) {
        use AttemptState as S;
        let Some(pay) = self.current_pay() else { return (PaymentStatus::Processing, Outcome::None) };
        match pay.state {
            S::Succeeded => {
                let part = self.captured < self.request.amount;
                (if part { PaymentStatus::PartiallyCaptured } else { PaymentStatus::Succeeded }, Outcome::Approved)
            }
            S::Authorized => (PaymentStatus::RequiresCapture, self.outcome_of_hold()),
            S::Sent | S::Accepted => (PaymentStatus::Processing, Outcome::Pending),
            S::Unknown => (PaymentStatus::Processing, Outcome::Unknown),
            // An end that was told stands while late money goes back; one that was not told waits for it.
            S::Reversing | S::SucceededLate if self.status.ended_unpaid() => (self.status, Outcome::Unknown),
            S::Reversing | S::SucceededLate => (PaymentStatus::Processing, Outcome::Unknown),
            // Past its expiry a waiting payment is processing until the channel has confirmed its end.
            S::ActionRequired if now >= self.request.expires_at || self.cancel_requested => (PaymentStatus::Processing, Outcome::Pending),
            S::ActionRequired => (PaymentStatus::RequiresAction, Outcome::None),
            S::Declined | S::Closed | S::Reversed | S::NotSent | S::NotFound | S::Returned => {
                (self.unpaid_end(pay.state, now), unpaid_outcome(pay.state))
            }
        }
    }

    /// A hold stands as approved, unless a capture or void of it is on its way or in doubt.
    fn outcome_of_hold(&self) -> Outcome {
        let acts = self.attempts.iter().filter(|attempt| matches!(attempt.operation, Operation::Capture | Operation::Void));
        let mut outcome = Outcome::Approved;
        for act in acts {
            match act.state {
                AttemptState::Unknown => return Outcome::Unknown,
                AttemptState::Sent | AttemptState::Accepted => outcome = Outcome::Pending,
                AttemptState::NotSent if act.due_at.is_some() => outcome = Outcome::Pending,
                _ => {}
            }
        }
        outcome
    }

    /// An end stands once it is written: what was `failed` does not become `expired` because time goes on.
    fn unpaid_end(&self, state: AttemptState, now: Timestamp) -> PaymentStatus {
        let timed_out = matches!(state, AttemptState::Closed | AttemptState::NotFound) && now >= self.request.expires_at;
        if self.status.ended_unpaid() {
            self.status
        } else if self.cancel_requested {
            PaymentStatus::Canceled
        } else if timed_out {
            PaymentStatus::Expired
        } else {
            PaymentStatus::Failed
        }
    }
}

fn unpaid_outcome(state: AttemptState) -> Outcome {
    match state {
        AttemptState::NotSent | AttemptState::NotFound => Outcome::NotSent,
        _ => Outcome::Declined,
    }
}

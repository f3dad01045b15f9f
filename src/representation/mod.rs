//! Floor 3: payments, refunds, attempts and events as a merchant reads them, in an answer and in a webhook alike: field by field, in the order of
//! `api.md`, so that a change of the domain is not by accident a change of the API. Times are RFC 3339 in UTC with milliseconds, amounts whole
//! minor units.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::domain::{
    Advice, Attempt, AttemptState, Failure, FailureCode, NextAction, Outcome, PassedOver, Payment, PaymentMethod, PaymentStatus, Refund,
    RefundStatus, Subject, Wallet,
};
use crate::store::payment::EventRow;

/// A payment.
#[derive(Debug, Serialize)]
pub struct PaymentView<'a> {
    id: String,
    object: &'static str,
    livemode: bool,
    amount: i64,
    currency: &'static str,
    status: PaymentStatus,
    outcome: Outcome,
    amount_capturable: i64,
    amount_captured: i64,
    amount_refunded: i64,
    amount_disputed: i64,
    capture_method: crate::domain::CaptureMethod,
    #[serde(serialize_with = "optional_time")]
    capture_before: Option<Timestamp>,
    merchant_order_id: &'a str,
    channel: Option<&'a str>,
    channel_reference: Option<&'a str>,
    next_action: Option<NextActionView<'a>>,
    failure: Option<FailureView<'a>>,
    #[serde(serialize_with = "optional_time")]
    poll_after: Option<Timestamp>,
    metadata: &'a BTreeMap<String, String>,
    sequence: i32,
    #[serde(serialize_with = "time")]
    created_at: Timestamp,
    #[serde(serialize_with = "time")]
    updated_at: Timestamp,
    /// The tries, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempts: Option<Vec<AttemptView<'a>>>,
    /// The refunds, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refunds: Option<Vec<RefundView<'a>>>,
    /// The timeline, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) events: Option<Vec<EventView<'a>>>,
}

/// What is shown with a payment beyond itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Include {
    /// Every try.
    pub attempts: bool,
    /// Every refund.
    pub refunds: bool,
    /// The timeline.
    pub events: bool,
}

/// Why it failed.
#[derive(Debug, Serialize)]
struct FailureView<'a> {
    code: FailureCode,
    advice: Advice,
    do_not_retry: bool,
    channel_code: Option<&'a str>,
    message: &'a str,
}

/// What the customer must do.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum NextActionView<'a> {
    Qr {
        wallet: Option<Wallet>,
        text: &'a str,
        #[serde(serialize_with = "optional_time")]
        expires_at: Option<Timestamp>,
    },
    Redirect {
        wallet: Option<Wallet>,
        url: &'a str,
        method: &'a str,
        fields: &'a BTreeMap<String, String>,
    },
    Jsapi {
        wallet: Option<Wallet>,
        parameters: &'a BTreeMap<String, String>,
    },
}

/// The least time after which asking again can tell anything new: what is due is looked at about now.
const SOON: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);

impl PaymentView<'_> {
    /// The view as it is shown at `now`: what is due already is no time to come back at.
    pub fn at(mut self, now: Timestamp) -> Self {
        self.poll_after = self.poll_after.map(|due| due.max(now + SOON));
        if let Some(refunds) = self.refunds.take() {
            self.refunds = Some(refunds.into_iter().map(|refund| refund.at(now)).collect());
        }
        self
    }
}

impl RefundView<'_> {
    /// The view as it is shown at `now`: what is due already is no time to come back at.
    pub fn at(mut self, now: Timestamp) -> Self {
        self.poll_after = self.poll_after.map(|due| due.max(now + SOON));
        self
    }
}

/// One try.
#[derive(Debug, Serialize)]
pub(crate) struct AttemptView<'a> {
    n: i16,
    operation: &'static str,
    channel: &'a str,
    state: &'static str,
    key: &'a str,
    amount: i64,
    reference: Option<&'a str>,
    failure: Option<FailureView<'a>>,
    reason: &'a str,
    passed_over: &'a [PassedOver],
    #[serde(serialize_with = "time")]
    created_at: Timestamp,
    #[serde(serialize_with = "time")]
    updated_at: Timestamp,
}

/// One row of the timeline.
#[derive(Debug, Serialize)]
pub(crate) struct EventView<'a> {
    id: String,
    sequence: i32,
    #[serde(rename = "type")]
    kind: &'a str,
    data: Value,
    #[serde(serialize_with = "time")]
    created_at: Timestamp,
}

/// A refund.
#[derive(Debug, Serialize)]
pub struct RefundView<'a> {
    id: String,
    object: &'static str,
    payment_id: String,
    merchant_refund_id: &'a str,
    amount: i64,
    currency: &'static str,
    status: RefundStatus,
    outcome: Outcome,
    reason: Option<&'a str>,
    source: &'static str,
    channel: Option<&'a str>,
    channel_reference: Option<&'a str>,
    failure: Option<FailureView<'a>>,
    #[serde(serialize_with = "optional_time")]
    poll_after: Option<Timestamp>,
    metadata: &'a BTreeMap<String, String>,
    #[serde(serialize_with = "time")]
    created_at: Timestamp,
    #[serde(serialize_with = "time")]
    updated_at: Timestamp,
}

/// The payment, alone.
pub fn payment(payment: &Payment) -> PaymentView<'_> {
    let pay = payment.current_pay();
    PaymentView {
        id: payment.id.to_string(),
        object: "payment",
        livemode: payment.request.livemode,
        amount: payment.request.amount,
        currency: payment.request.currency.code(),
        status: payment.status,
        outcome: payment.outcome,
        amount_capturable: payment.capturable(),
        amount_captured: payment.captured,
        amount_refunded: payment.refunded,
        amount_disputed: payment.disputed,
        capture_method: payment.request.capture_method,
        capture_before: payment.capture_before,
        merchant_order_id: &payment.request.order,
        channel: pay.map(|pay| pay.channel.as_str()),
        channel_reference: pay.and_then(|pay| pay.reference.as_deref()),
        next_action: payment.next_action().map(|action| next_action(action, wallet(&payment.request.method))),
        failure: payment.failure().map(failure),
        poll_after: payment.poll_after(),
        metadata: &payment.request.metadata,
        sequence: payment.sequence,
        created_at: payment.created_at,
        updated_at: payment.updated_at,
        attempts: None,
        refunds: None,
        events: None,
    }
}

/// The payment as the answer to what was asked of it: a capture that the channel refused shows why, though the payment itself stands.
pub fn payment_for(of: &Payment, subject: Subject) -> PaymentView<'_> {
    let mut view = payment(of);
    if let Subject::Capture(n) = subject
        && view.failure.is_none()
    {
        let refused = of.attempt(n).filter(|attempt| matches!(attempt.state, AttemptState::Declined | AttemptState::Closed | AttemptState::NotFound));
        view.failure = refused.and_then(|attempt| attempt.failure.as_ref()).map(failure);
    }
    view
}

/// The payment with what `include` asks for; `events` are those of its timeline.
pub fn payment_with<'a>(of: &'a Payment, include: Include, events: &'a [EventRow]) -> PaymentView<'a> {
    let mut view = payment(of);
    view.attempts = include.attempts.then(|| of.attempts.iter().map(attempt).collect());
    view.refunds = include.refunds.then(|| of.refunds.iter().map(|one| refund(of, one)).collect());
    view.events = include.events.then(|| events.iter().map(event).collect());
    view
}

/// The refund of a payment.
pub fn refund<'a>(payment: &'a Payment, refund: &'a Refund) -> RefundView<'a> {
    let attempt = payment.refund_attempt(refund.n);
    RefundView {
        id: refund.id.to_string(),
        object: "refund",
        payment_id: payment.id.to_string(),
        merchant_refund_id: &refund.merchant_refund_id,
        amount: refund.amount,
        currency: payment.request.currency.code(),
        status: refund.status,
        outcome: refund.outcome,
        reason: refund.reason.as_deref(),
        source: refund.source.as_str(),
        channel: attempt.map(|attempt| attempt.channel.as_str()),
        channel_reference: attempt.and_then(|attempt| attempt.reference.as_deref()),
        // A refund that waits for its channel says why it waits; one that succeeded has nothing to explain.
        failure: attempt.filter(|_| refund.status != RefundStatus::Succeeded).and_then(|attempt| attempt.failure.as_ref()).map(failure),
        poll_after: attempt.filter(|_| refund.status == RefundStatus::Processing).and_then(|attempt| attempt.due_at),
        metadata: &refund.metadata,
        created_at: refund.created_at,
        updated_at: refund.updated_at,
    }
}

fn attempt(attempt: &Attempt) -> AttemptView<'_> {
    AttemptView {
        n: attempt.n,
        operation: attempt.operation.as_str(),
        channel: &attempt.channel,
        state: attempt.state.as_str(),
        key: &attempt.key,
        amount: attempt.amount,
        reference: attempt.reference.as_deref(),
        failure: attempt.failure.as_ref().map(failure),
        reason: &attempt.reason,
        passed_over: &attempt.passed_over,
        created_at: attempt.created_at,
        updated_at: attempt.updated_at,
    }
}

fn event(event: &EventRow) -> EventView<'_> {
    EventView {
        id: event.id.to_string(),
        sequence: event.sequence,
        kind: &event.kind,
        // Written by us as an object; were it not one, the timeline is still worth showing.
        data: serde_json::from_str(&event.body).unwrap_or(Value::Null),
        created_at: event.created_at,
    }
}

fn failure(failure: &Failure) -> FailureView<'_> {
    FailureView {
        code: failure.code,
        advice: failure.code.advice(),
        do_not_retry: failure.code.do_not_retry(),
        channel_code: failure.channel_code.as_deref(),
        message: &failure.message,
    }
}

const fn next_action(action: &NextAction, wallet: Option<Wallet>) -> NextActionView<'_> {
    match action {
        NextAction::Qr { text, expires_at } => NextActionView::Qr { wallet, text: text.as_str(), expires_at: *expires_at },
        NextAction::Redirect { url, method, fields } => NextActionView::Redirect { wallet, url: url.as_str(), method: method.as_str(), fields },
        NextAction::Jsapi { parameters } => NextActionView::Jsapi { wallet, parameters },
    }
}

const fn wallet(method: &PaymentMethod) -> Option<Wallet> {
    match method {
        PaymentMethod::Qr { wallet } | PaymentMethod::Redirect { wallet, .. } => *wallet,
        PaymentMethod::Barcode { .. } | PaymentMethod::CardToken { .. } | PaymentMethod::Card { .. } => None,
    }
}

/// RFC 3339, UTC, milliseconds.
pub fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// For serde: RFC 3339, UTC, milliseconds.
///
/// # Errors
/// The serializer's own.
pub fn time<S: Serializer>(at: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&format_args!("{at:.3}"))
}

fn optional_time<S: Serializer>(at: &Option<Timestamp>, out: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => time(at, out),
        None => out.serialize_none(),
    }
}

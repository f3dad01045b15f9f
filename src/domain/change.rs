//! The difference between a payment before and after, as rows to write: what the journal commits in one piece, or not at all.
//!
//! A change says which version of the payment it starts from ([`Change::expected_sequence`]); a payment that has moved on in the meantime
//! refuses it, and the flow starts again from the newer one. Ceilings, one live attempt, one capture of a hold: all of them rest on this
//! one rule, with a CHECK or a unique index beside each.

use serde_json::json;
use uuid::Uuid;

use super::attempt::AttemptState;
use super::failure::FailureCode;
use super::id::EventId;
use super::news::Source;
use super::operation::Operation;
use super::payment::{Outcome, Payment, PaymentStatus};
use super::refund::RefundStatus;

/// One row of `event`: the timeline, and the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its id, in its payment's bucket.
    pub id: EventId,
    /// Its number within the payment.
    pub sequence: i32,
    /// `payment.succeeded`, `refund.created`, `attempt.unknown` …
    pub kind: &'static str,
    /// What it is about, as a small JSON object.
    pub body: String,
}

/// What a merchant's idempotency key stands for, from the moment when it is won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A payment that was created.
    Payment,
    /// A refund, by its number.
    Refund(i16),
    /// A capture, by its attempt's number.
    Capture(i16),
    /// A cancel.
    Cancel,
}

/// A merchant's idempotency key, to be won together with the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyClaim {
    /// Its digest: what is unique.
    pub digest: Uuid,
    /// HMAC of method, route and canonical body: what a repeat must match.
    pub fingerprint: [u8; 32],
    /// What it stands for.
    pub subject: Subject,
}

/// Rows to write, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The payment as it will be.
    pub after: Payment,
    /// The version that it starts from; 0 for a payment that is new.
    pub expected_sequence: i32,
    /// Numbers of the attempts that changed.
    pub attempts_updated: Vec<i16>,
    /// Numbers of the attempts that are new.
    pub attempts_added: Vec<i16>,
    /// Numbers of the refunds that changed.
    pub refunds_updated: Vec<i16>,
    /// Numbers of the refunds that are new.
    pub refunds_added: Vec<i16>,
    /// At least one, numbered on from the payment's last.
    pub events: Vec<Event>,
    /// The attempt whose lease this acts under, with its fence: refused when somebody has taken the lease since.
    pub fence: Option<(i16, i32)>,
    /// The key to win with it.
    pub key: Option<KeyClaim>,
}

impl Change {
    /// The rows of a payment that is new.
    pub fn opening(mut payment: Payment, key: KeyClaim) -> Self {
        payment.sequence = 1;
        let event = Event {
            id: EventId::mint(payment.created_at, payment.id.bucket()),
            sequence: 1,
            kind: "payment.created",
            body: json!({"attempt": 1, "channel": payment.attempts.first().map(|attempt| attempt.channel.as_str())}).to_string(),
        };
        Self {
            expected_sequence: 0,
            attempts_updated: Vec::new(),
            attempts_added: payment.attempts.iter().map(|attempt| attempt.n).collect(),
            refunds_updated: Vec::new(),
            refunds_added: Vec::new(),
            events: vec![event],
            fence: None,
            key: Some(key),
            after: payment,
        }
    }

    /// The rows that differ between `before` and `after`, brought about by `source`.
    pub fn between(before: &Payment, mut after: Payment, source: Source) -> Self {
        let kinds = event_kinds(before, &after, source);
        let events: Vec<Event> = (before.sequence + 1..)
            .zip(kinds)
            .map(|(sequence, (kind, body))| Event { id: EventId::mint(after.updated_at, after.id.bucket()), sequence, kind, body })
            .collect();
        after.sequence = before.sequence + i32::try_from(events.len()).unwrap_or(i32::MAX);
        let known = before.attempts.len();
        let known_refunds = before.refunds.len();
        Self {
            expected_sequence: before.sequence,
            attempts_updated: before.attempts.iter().zip(&after.attempts).filter(|(old, new)| old != new).map(|(old, _)| old.n).collect(),
            attempts_added: after.attempts[known..].iter().map(|attempt| attempt.n).collect(),
            refunds_updated: before.refunds.iter().zip(&after.refunds).filter(|(old, new)| old != new).map(|(old, _)| old.n).collect(),
            refunds_added: after.refunds[known_refunds..].iter().map(|refund| refund.n).collect(),
            events,
            fence: None,
            key: None,
            after,
        }
    }

    /// The same, to be refused when attempt `n`'s lease is no longer under `fence`.
    pub fn fenced(mut self, n: i16, fence: i32) -> Self {
        self.fence = Some((n, fence));
        self
    }

    /// The same, with one more event, which the difference alone does not show.
    pub fn telling(mut self, kind: &'static str, body: String) -> Self {
        // The placeholder of a change without an event of its own gives way.
        self.events.retain(|event| event.kind != UPDATED);
        self.after.sequence = self.expected_sequence + i32::try_from(self.events.len()).unwrap_or(i32::MAX) + 1;
        let id = EventId::mint(self.after.updated_at, self.after.id.bucket());
        self.events.push(Event { id, sequence: self.after.sequence, kind, body });
        self
    }

    /// The same, with a key to win.
    pub fn claiming(mut self, key: KeyClaim) -> Self {
        self.key = Some(key);
        self
    }
}

/// The event of a change that has none of its own.
const UPDATED: &str = "payment.updated";

/// What happened, in the order in which a reader would tell it; never empty, because every change has its event.
fn event_kinds(before: &Payment, after: &Payment, source: Source) -> Vec<(&'static str, String)> {
    let mut kinds = Vec::with_capacity(2);
    for attempt in &after.attempts {
        let old = before.attempt(attempt.n);
        let moved = old.is_none_or(|old| old.state != attempt.state || old.reference != attempt.reference);
        if moved {
            let body = json!({
                "attempt": attempt.n, "operation": attempt.operation.as_str(), "channel": attempt.channel, "source": source.as_str(),
                "from": old.map(|old| old.state.as_str()), "to": attempt.state.as_str(),
            });
            let unanswered = attempt.failure.as_ref().is_some_and(|failure| failure.code == FailureCode::NoAnswer);
            let late = attempt.operation == Operation::Pay && attempt.state == AttemptState::Reversed && !unanswered;
            let named = old.is_some_and(|old| old.state == attempt.state);
            let kind = match (late, named) {
                (true, _) => "payment.late_success_reversed",
                (false, true) => "attempt.named",
                (false, false) => attempt_event(attempt.state),
            };
            kinds.push((kind, body.to_string()));
        }
    }
    if after.captured > before.captured && before.status == PaymentStatus::RequiresCapture && after.status == PaymentStatus::Succeeded {
        kinds.push(("payment.captured", json!({"amount": after.captured}).to_string()));
    }
    if before.outcome != after.outcome && after.outcome == Outcome::Unknown {
        kinds.push(("payment.outcome_unknown", json!({"source": source.as_str()}).to_string()));
    }
    if before.outcome == Outcome::Unknown && after.outcome != Outcome::Unknown {
        kinds.push(("payment.outcome_resolved", json!({"outcome": after.outcome.as_str(), "source": source.as_str()}).to_string()));
    }
    if before.status != after.status
        && let Some(kind) = status_event(after.status)
    {
        kinds.push((kind, json!({"from": before.status.as_str(), "outcome": after.outcome.as_str()}).to_string()));
    }
    if after.cancel_requested && !before.cancel_requested {
        kinds.push(("payment.cancel_requested", json!({"source": source.as_str()}).to_string()));
    }
    for refund in &after.refunds {
        let old = before.refund(refund.n);
        let body = || json!({"refund": refund.n, "amount": refund.amount, "source": source.as_str()}).to_string();
        if old.is_none() {
            kinds.push(("refund.created", body()));
        }
        if let Some(kind) = refund_event(refund.status).filter(|_| old.is_none_or(|old| old.status != refund.status)) {
            kinds.push((kind, body()));
        }
        if refund.outcome == Outcome::Unknown && old.is_none_or(|old| old.outcome != Outcome::Unknown) {
            kinds.push(("refund.outcome_unknown", body()));
        }
    }
    if kinds.is_empty() {
        kinds.push((UPDATED, json!({"source": source.as_str()}).to_string()));
    }
    kinds
}

fn attempt_event(state: AttemptState) -> &'static str {
    match state {
        AttemptState::Sent => "attempt.sent",
        AttemptState::Unknown => "attempt.unknown",
        AttemptState::Accepted => "attempt.accepted",
        AttemptState::ActionRequired => "attempt.action_required",
        AttemptState::Authorized => "attempt.authorized",
        AttemptState::Succeeded => "attempt.succeeded",
        AttemptState::Declined => "attempt.declined",
        AttemptState::NotSent => "attempt.not_sent",
        AttemptState::Closed => "attempt.closed",
        AttemptState::NotFound => "attempt.not_found",
        AttemptState::SucceededLate => "attempt.succeeded_late",
        AttemptState::Reversing => "attempt.reversing",
        AttemptState::Reversed => "attempt.reversed",
        AttemptState::Returned => "attempt.returned",
    }
}

fn status_event(status: PaymentStatus) -> Option<&'static str> {
    match status {
        PaymentStatus::Processing => None,
        PaymentStatus::RequiresAction => Some("payment.requires_action"),
        PaymentStatus::RequiresCapture => Some("payment.requires_capture"),
        PaymentStatus::PartiallyCaptured => Some("payment.partially_captured"),
        PaymentStatus::Succeeded => Some("payment.succeeded"),
        PaymentStatus::Canceled => Some("payment.canceled"),
        PaymentStatus::Expired => Some("payment.expired"),
        PaymentStatus::Failed => Some("payment.failed"),
    }
}

fn refund_event(status: RefundStatus) -> Option<&'static str> {
    match status {
        RefundStatus::Processing => None,
        RefundStatus::Succeeded => Some("refund.succeeded"),
        RefundStatus::Failed => Some("refund.failed"),
        RefundStatus::Returned => Some("refund.returned"),
    }
}

//! Rows as columns: what one batch hands to the statements' `unnest`. The order of the fields is the order of the parameters.

use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::Intent;
use crate::domain::id::{GuardKind, guard_digest};
use crate::domain::{Attempt, Change, EventId, Subject};

type Param<'a> = &'a (dyn ToSql + Sync);

macro_rules! columns {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Default)]
        struct $name { $($field: Vec<$type>),+ }
        impl $name {
            fn params<'a>(&'a self, into: &mut Vec<Param<'a>>) { $(into.push(&self.$field);)+ }
        }
    };
}

columns!(
    /// The parameters of `intent.sql`.
    IntentRows {
        id: Uuid, bucket: i16, merchant_id: Uuid, livemode: bool, merchant_order_id: String, amount: i64, currency: &'static str,
        method: String, capture_method: &'static str, pinned_channel: Option<String>, description: Option<String>, metadata: String,
        return_url: Option<String>, expires_at: Timestamp, deadline_at: Timestamp, status: &'static str, outcome: &'static str,
        created_at: Timestamp, key_digest: Uuid, fingerprint: Vec<u8>, order_digest: Uuid, takes_over: Option<Uuid>,
        holder_sequence: Option<i32>, channel: String, attempt_key: String, lease_until: Option<Timestamp>, lease_owner: Option<Uuid>,
        reason: String, passed_over: Option<String>, event_id: Uuid, event_kind: &'static str, event_body: String, holder_event_id: Uuid,
    }
);

/// The parameters of one batch of intents.
#[derive(Default)]
pub(super) struct IntentBatch {
    rows: IntentRows,
}

impl IntentBatch {
    pub(super) fn of<'a>(intents: impl Iterator<Item = &'a Intent>) -> Self {
        let mut batch = Self::default();
        for intent in intents {
            batch.push(intent);
        }
        batch
    }

    fn push(&mut self, intent: &Intent) {
        let rows = &mut self.rows;
        let change = &intent.change;
        let payment = &change.after;
        // An intent without its first attempt, event or key cannot be built (`Change::opening`).
        let (Some(first), Some(event), Some(key)) = (payment.attempts.first(), change.events.first(), change.key.as_ref()) else { return };
        let request = &payment.request;
        rows.id.push(payment.id.0);
        rows.bucket.push(payment.id.bucket().number());
        rows.merchant_id.push(request.merchant);
        rows.livemode.push(request.livemode);
        rows.merchant_order_id.push(request.order.clone());
        rows.amount.push(request.amount);
        rows.currency.push(request.currency.code());
        rows.method.push(json(&request.method));
        rows.capture_method.push(request.capture_method.as_str());
        rows.pinned_channel.push(request.pinned_channel.clone());
        rows.description.push(request.description.clone());
        rows.metadata.push(json(&request.metadata));
        rows.return_url.push(request.return_url.clone());
        rows.expires_at.push(request.expires_at);
        rows.deadline_at.push(request.deadline_at);
        rows.status.push(payment.status.as_str());
        rows.outcome.push(payment.outcome.as_str());
        rows.created_at.push(payment.created_at);
        rows.key_digest.push(key.digest);
        rows.fingerprint.push(key.fingerprint.to_vec());
        rows.order_digest.push(payment.order_digest().as_uuid());
        rows.takes_over.push(intent.takes_over.map(|(holder, _)| holder.0));
        rows.holder_sequence.push(intent.takes_over.map(|(_, sequence)| sequence));
        rows.channel.push(first.channel.clone());
        rows.attempt_key.push(first.key.clone());
        rows.lease_until.push(first.lease_until);
        rows.lease_owner.push(first.lease_owner);
        rows.reason.push(first.reason.clone());
        rows.passed_over.push(passed_over(first));
        rows.event_id.push(event.id.0);
        rows.event_kind.push(event.kind);
        rows.event_body.push(event.body.clone());
        rows.holder_event_id.push(EventId::mint(payment.created_at, payment.id.bucket()).0);
    }

    pub(super) fn params(&self) -> Vec<Param<'_>> {
        let mut params = Vec::with_capacity(33);
        self.rows.params(&mut params);
        params
    }
}

columns!(
    /// Parameters 1 to 24 of `change.sql`.
    PaymentRows {
        id: Uuid, expected: i32, sequence: i32, status: &'static str, outcome: &'static str, capture_reserved: i64, captured: i64,
        refund_reserved: i64, refunded: i64, disputed: i64, cancel_requested: bool, capture_before: Option<Timestamp>, updated_at: Timestamp,
        fence_n: Option<i16>, fence: Option<i32>, key_digest: Option<Uuid>, fingerprint: Option<Vec<u8>>, subject: Option<&'static str>,
        subject_n: Option<i16>, guard_digest: Option<Uuid>, guard_refund: Option<Uuid>, guard_n: Option<i16>, bucket: i16, merchant_id: Uuid,
    }
);
columns!(
    /// Parameters 25 to 37.
    AttemptUpdates {
        payment_id: Uuid, n: i16, state: &'static str, reference: Option<String>, failure: Option<String>, next_action: Option<String>,
        due_at: Option<Timestamp>, tries: i32, not_found_since: Option<Timestamp>, lease_owner: Option<Uuid>, lease_until: Option<Timestamp>,
        updated_at: Timestamp, passed_over: Option<String>,
    }
);
columns!(
    /// Parameters 38 to 54.
    AttemptInserts {
        payment_id: Uuid, n: i16, bucket: i16, operation: &'static str, channel: String, key: String, state: &'static str, amount: i64,
        refund_n: Option<i16>, due_at: Option<Timestamp>, lease_owner: Option<Uuid>, lease_until: Option<Timestamp>, reason: String,
        created_at: Timestamp, undoes: Option<i16>, reference: Option<String>, passed_over: Option<String>,
    }
);
columns!(
    /// Parameters 55 to 59.
    RefundUpdates { payment_id: Uuid, n: i16, status: &'static str, outcome: &'static str, updated_at: Timestamp }
);
columns!(
    /// Parameters 60 to 72.
    RefundInserts {
        payment_id: Uuid, n: i16, bucket: i16, id: Uuid, merchant_id: Uuid, merchant_refund_id: String, amount: i64, reason: Option<String>,
        metadata: String, source: &'static str, status: &'static str, outcome: &'static str, created_at: Timestamp,
    }
);
columns!(
    /// Parameters 73 to 80.
    EventInserts {
        payment_id: Uuid, sequence: i32, bucket: i16, id: Uuid, merchant_id: Uuid, kind: &'static str, body: String, created_at: Timestamp,
    }
);

/// The parameters of one batch of changes.
#[derive(Default)]
pub(super) struct ChangeBatch {
    payments: PaymentRows,
    attempt_updates: AttemptUpdates,
    attempt_inserts: AttemptInserts,
    refund_updates: RefundUpdates,
    refund_inserts: RefundInserts,
    events: EventInserts,
}

impl ChangeBatch {
    pub(super) fn of<'a>(changes: impl Iterator<Item = &'a Change>) -> Self {
        let mut batch = Self::default();
        for change in changes {
            batch.push(change);
        }
        batch
    }

    fn push(&mut self, change: &Change) {
        self.push_payment(change);
        self.push_attempts(change);
        self.push_refunds(change);
        let payment = &change.after;
        for event in &change.events {
            let rows = &mut self.events;
            rows.payment_id.push(payment.id.0);
            rows.sequence.push(event.sequence);
            rows.bucket.push(payment.id.bucket().number());
            rows.id.push(event.id.0);
            rows.merchant_id.push(payment.request.merchant);
            rows.kind.push(event.kind);
            rows.body.push(event.body.clone());
            rows.created_at.push(payment.updated_at);
        }
    }

    fn push_payment(&mut self, change: &Change) {
        let payment = &change.after;
        let rows = &mut self.payments;
        rows.id.push(payment.id.0);
        rows.expected.push(change.expected_sequence);
        rows.sequence.push(payment.sequence);
        rows.status.push(payment.status.as_str());
        rows.outcome.push(payment.outcome.as_str());
        rows.capture_reserved.push(payment.capture_reserved);
        rows.captured.push(payment.captured);
        rows.refund_reserved.push(payment.refund_reserved);
        rows.refunded.push(payment.refunded);
        rows.disputed.push(payment.disputed);
        rows.cancel_requested.push(payment.cancel_requested);
        rows.capture_before.push(payment.capture_before);
        rows.updated_at.push(payment.updated_at);
        rows.fence_n.push(change.fence.map(|(n, _)| n));
        rows.fence.push(change.fence.map(|(_, fence)| fence));
        rows.key_digest.push(change.key.as_ref().map(|key| key.digest));
        rows.fingerprint.push(change.key.as_ref().map(|key| key.fingerprint.to_vec()));
        rows.subject.push(change.key.as_ref().map(|key| subject_name(key.subject)));
        rows.subject_n.push(change.key.as_ref().and_then(|key| subject_n(key.subject)));
        // A change brings at most one refund that is new: the guard's columns have room for one.
        let refund = change.refunds_added.first().and_then(|n| payment.refund(*n));
        rows.guard_digest.push(refund.map(|refund| guard_digest(payment.request.merchant, GuardKind::Refund, &refund.merchant_refund_id)));
        rows.guard_refund.push(refund.map(|refund| refund.id.0));
        rows.guard_n.push(refund.map(|refund| refund.n));
        rows.bucket.push(payment.id.bucket().number());
        rows.merchant_id.push(payment.request.merchant);
    }

    fn push_attempts(&mut self, change: &Change) {
        let payment = &change.after;
        for attempt in change.attempts_updated.iter().filter_map(|n| payment.attempt(*n)) {
            let rows = &mut self.attempt_updates;
            rows.payment_id.push(payment.id.0);
            rows.n.push(attempt.n);
            rows.state.push(attempt.state.as_str());
            rows.reference.push(attempt.reference.clone());
            rows.failure.push(attempt.failure.as_ref().map(json));
            rows.next_action.push(attempt.next_action.as_ref().map(json));
            rows.due_at.push(attempt.due_at);
            rows.tries.push(attempt.tries);
            rows.not_found_since.push(attempt.not_found_since);
            rows.lease_owner.push(attempt.lease_owner);
            rows.lease_until.push(attempt.lease_until);
            rows.updated_at.push(attempt.updated_at);
            rows.passed_over.push(passed_over(attempt));
        }
        for attempt in change.attempts_added.iter().filter_map(|n| payment.attempt(*n)) {
            let rows = &mut self.attempt_inserts;
            rows.payment_id.push(payment.id.0);
            rows.n.push(attempt.n);
            rows.bucket.push(payment.id.bucket().number());
            rows.operation.push(attempt.operation.as_str());
            rows.channel.push(attempt.channel.clone());
            rows.key.push(attempt.key.clone());
            rows.state.push(attempt.state.as_str());
            rows.amount.push(attempt.amount);
            rows.refund_n.push(attempt.refund_n);
            rows.due_at.push(attempt.due_at);
            rows.lease_owner.push(attempt.lease_owner);
            rows.lease_until.push(attempt.lease_until);
            rows.reason.push(attempt.reason.clone());
            rows.created_at.push(attempt.created_at);
            rows.undoes.push(attempt.undoes);
            // Known from the start only of what was made at the channel: a second message about it must find it.
            rows.reference.push(attempt.reference.clone());
            rows.passed_over.push(passed_over(attempt));
        }
    }

    fn push_refunds(&mut self, change: &Change) {
        let payment = &change.after;
        for refund in change.refunds_updated.iter().filter_map(|n| payment.refund(*n)) {
            let rows = &mut self.refund_updates;
            rows.payment_id.push(payment.id.0);
            rows.n.push(refund.n);
            rows.status.push(refund.status.as_str());
            rows.outcome.push(refund.outcome.as_str());
            rows.updated_at.push(refund.updated_at);
        }
        for refund in change.refunds_added.iter().filter_map(|n| payment.refund(*n)) {
            let rows = &mut self.refund_inserts;
            rows.payment_id.push(payment.id.0);
            rows.n.push(refund.n);
            rows.bucket.push(payment.id.bucket().number());
            rows.id.push(refund.id.0);
            rows.merchant_id.push(payment.request.merchant);
            rows.merchant_refund_id.push(refund.merchant_refund_id.clone());
            rows.amount.push(refund.amount);
            rows.reason.push(refund.reason.clone());
            rows.metadata.push(json(&refund.metadata));
            rows.source.push(refund.source.as_str());
            rows.status.push(refund.status.as_str());
            rows.outcome.push(refund.outcome.as_str());
            rows.created_at.push(refund.created_at);
        }
    }

    pub(super) fn params(&self) -> Vec<Param<'_>> {
        let mut params = Vec::with_capacity(80);
        self.payments.params(&mut params);
        self.attempt_updates.params(&mut params);
        self.attempt_inserts.params(&mut params);
        self.refund_updates.params(&mut params);
        self.refund_inserts.params(&mut params);
        self.events.params(&mut params);
        params
    }
}

/// The channels that were passed over, as they are kept; nothing where there was none, as nearly always.
fn passed_over(attempt: &Attempt) -> Option<String> {
    (!attempt.passed_over.is_empty()).then(|| json(&attempt.passed_over))
}

fn subject_name(subject: Subject) -> &'static str {
    match subject {
        Subject::Payment => "payment",
        Subject::Refund(_) => "refund",
        Subject::Capture(_) => "capture",
        Subject::Cancel => "cancel",
    }
}

fn subject_n(subject: Subject) -> Option<i16> {
    match subject {
        Subject::Refund(n) | Subject::Capture(n) => Some(n),
        Subject::Payment | Subject::Cancel => None,
    }
}

/// What we wrote ourselves always turns into JSON: strings, numbers and maps with text keys.
fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

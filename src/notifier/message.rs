//! The body of a webhook: `{"type","timestamp","data":{"sequence","object"}}`, the object as `GET` shows it.
//!
//! The object is the payment or refund as it stands when the event is first sent, which is milliseconds after the event, or hours when the
//! endpoint was away: it is never older than the event, and may be newer. `data.sequence` is the event's number within its payment; a payment's
//! own `sequence` says how far it has come. Repetitions are the same to the byte.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::domain::Payment;
use crate::representation::{self, PaymentView, RefundView};
use crate::store::payment::EventRow;

#[derive(Serialize)]
struct Message<'a> {
    r#type: &'a str,
    #[serde(serialize_with = "representation::time")]
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    sequence: i32,
    object: Object<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Object<'a> {
    Payment(Box<PaymentView<'a>>),
    Refund(Box<RefundView<'a>>),
}

/// The body that tells of `event`, made at `now`; `None` when it is about a refund that its payment does not have.
pub fn body(payment: &Payment, event: &EventRow, now: Timestamp) -> Option<String> {
    let object = if event.kind.starts_with("refund.") {
        let n = refund_number(event)?;
        Object::Refund(Box::new(representation::refund(payment, payment.refund(n)?).at(now)))
    } else {
        Object::Payment(Box::new(representation::payment(payment).at(now)))
    };
    serde_json::to_string(&Message { r#type: &event.kind, timestamp: event.created_at, data: Data { sequence: event.sequence, object } }).ok()
}

/// The number of the refund that an event is about.
pub fn refund_number(event: &EventRow) -> Option<i16> {
    let details: Value = serde_json::from_str(&event.body).ok()?;
    i16::try_from(details.get("refund")?.as_i64()?).ok()
}

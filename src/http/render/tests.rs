//! What merchants read, character by character.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::domain::payment::{Lease, NewAttempt};
use crate::domain::{
    AttemptState, Bucket, CaptureMethod, Currency, EventId, Failure, FailureCode, NextAction, Operation, PaymentId, PaymentMethod, PaymentRequest,
    Refund, RefundId, RefundSource, Wallet,
};
use crate::store::payment::EventRow;

fn now() -> Timestamp {
    "2026-11-21T23:01:14.000999Z".parse().expect("a time")
}

fn bucket() -> Bucket {
    crate::domain::id::bucket_of(Uuid::nil())
}

fn opened(capture_method: CaptureMethod) -> Payment {
    let request = PaymentRequest {
        merchant: Uuid::from_u128(1),
        livemode: false,
        order: "A-1".to_owned(),
        amount: 1250,
        currency: Currency::parse("CNY").expect("a currency"),
        method: PaymentMethod::Qr { wallet: Some(Wallet::Alipay) },
        capture_method,
        pinned_channel: None,
        description: None,
        metadata: BTreeMap::from([("color".to_owned(), "red".to_owned())]),
        return_url: None,
        expires_at: now(),
        deadline_at: now(),
    };
    let first = NewAttempt {
        operation: Operation::Pay,
        channel: "alipay_main".to_owned(),
        key: "0".repeat(32),
        amount: 1250,
        refund_n: None,
        undoes: None,
        reason: "first in the settings".to_owned(),
        passed_over: Vec::new(),
    };
    let id = PaymentId(crate::domain::id::mint(now(), bucket(), Uuid::nil()));
    let mut payment = Payment::open(id, request, first, Lease { owner: Uuid::nil(), until: now() }, now());
    payment.sequence = 1;
    payment
}

fn in_state(state: AttemptState) -> Payment {
    let mut payment = opened(CaptureMethod::Automatic);
    payment.attempts[0].state = state;
    if state == AttemptState::Succeeded {
        payment.captured = 1250;
        payment.capture_reserved = 1250;
        payment.attempts[0].due_at = None;
    }
    payment.derive(now());
    payment
}

fn with_refund(status: RefundStatus) -> Payment {
    let mut payment = in_state(AttemptState::Succeeded);
    payment.add_attempt(
        NewAttempt {
            operation: Operation::Refund,
            channel: "alipay_main".to_owned(),
            key: "1".repeat(32),
            amount: 250,
            refund_n: Some(1),
            undoes: None,
            reason: "the channel that captured".to_owned(),
            passed_over: Vec::new(),
        },
        Lease { owner: Uuid::nil(), until: now() },
        now(),
    );
    payment.refunds.push(Refund {
        n: 1,
        id: RefundId(crate::domain::id::mint(now(), bucket(), Uuid::nil())),
        merchant_refund_id: "R-1".to_owned(),
        amount: 250,
        reason: None,
        metadata: BTreeMap::new(),
        source: RefundSource::Merchant,
        status,
        outcome: Outcome::Pending,
        created_at: now(),
        updated_at: now(),
    });
    payment
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("JSON")
}

#[test]
fn a_payment_has_the_fields_of_the_contract_in_its_order() {
    let mut paid = in_state(AttemptState::Unknown);
    paid.attempts[0].reference = Some("2026112122001".to_owned());
    insta::assert_snapshot!(pretty(&payment(&paid)), @r#"
    {
      "id": "pay_01a20057a69070008000000000000000",
      "object": "payment",
      "livemode": false,
      "amount": 1250,
      "currency": "CNY",
      "status": "processing",
      "outcome": "unknown",
      "amount_capturable": 0,
      "amount_captured": 0,
      "amount_refunded": 0,
      "amount_disputed": 0,
      "capture_method": "automatic",
      "capture_before": null,
      "merchant_order_id": "A-1",
      "channel": "alipay_main",
      "channel_reference": "2026112122001",
      "next_action": null,
      "failure": null,
      "poll_after": "2026-11-21T23:01:14.000Z",
      "metadata": {
        "color": "red"
      },
      "sequence": 1,
      "created_at": "2026-11-21T23:01:14.000Z",
      "updated_at": "2026-11-21T23:01:14.000Z"
    }
    "#);
}

#[test]
fn a_customer_who_must_act_is_shown_the_wallet_and_the_time_in_milliseconds() {
    let mut waiting = opened(CaptureMethod::Automatic);
    waiting.request.expires_at = now() + jiff::SignedDuration::from_mins(15);
    waiting.attempts[0].state = AttemptState::ActionRequired;
    waiting.attempts[0].next_action = Some(NextAction::Qr { text: "https://qr.example/1".to_owned(), expires_at: Some(now()) });
    waiting.derive(now());
    let shown = serde_json::to_value(payment(&waiting)).expect("JSON");
    assert_eq!(
        shown["next_action"],
        json!({"type": "qr", "wallet": "alipay", "text": "https://qr.example/1", "expires_at": "2026-11-21T23:01:14.000Z"})
    );
}

#[test]
fn a_declined_payment_says_what_to_do_and_is_not_an_http_error() {
    let mut declined = in_state(AttemptState::Declined);
    declined.attempts[0].failure = Some(Failure::new(FailureCode::InsufficientFunds, Some("51"), "Not enough money."));
    assert_eq!(status_code(&declined, Subject::Payment), 201);
    let shown = serde_json::to_value(payment(&declined)).expect("JSON");
    assert_eq!(
        shown["failure"],
        json!({"code": "insufficient_funds", "advice": "customer_must_act", "do_not_retry": false, "channel_code": "51", "message": "Not enough money."})
    );
    assert_eq!((&shown["status"], &shown["outcome"]), (&json!("failed"), &json!("declined")));
}

#[test]
fn what_is_open_is_202_and_what_is_known_is_201() {
    let code = |state| status_code(&in_state(state), Subject::Payment);
    for state in [AttemptState::Sent, AttemptState::Unknown, AttemptState::Accepted, AttemptState::Reversing] {
        assert_eq!(code(state), 202, "{state}");
    }
    for state in [AttemptState::Succeeded, AttemptState::Declined, AttemptState::NotSent, AttemptState::Closed] {
        assert_eq!(code(state), 201, "{state}");
    }
}

#[test]
fn a_refund_is_202_until_it_has_ended() {
    assert_eq!(status_code(&with_refund(RefundStatus::Processing), Subject::Refund(1)), 202);
    for status in [RefundStatus::Succeeded, RefundStatus::Failed, RefundStatus::Returned] {
        assert_eq!(status_code(&with_refund(status), Subject::Refund(1)), 201, "{status}");
    }
}

#[test]
fn a_cancel_is_200_once_the_payment_has_ended() {
    assert_eq!(status_code(&in_state(AttemptState::Unknown), Subject::Cancel), 202);
    assert_eq!(status_code(&in_state(AttemptState::Closed), Subject::Cancel), 200);
}

#[test]
fn a_capture_is_202_while_it_is_on_its_way_and_shows_why_it_was_refused() {
    let mut held = opened(CaptureMethod::Manual);
    held.attempts[0].state = AttemptState::Authorized;
    let capture = NewAttempt {
        operation: Operation::Capture,
        channel: "alipay_main".to_owned(),
        key: "2".repeat(32),
        amount: 1250,
        refund_n: None,
        undoes: None,
        reason: "asked by the merchant".to_owned(),
        passed_over: Vec::new(),
    };
    let n = held.add_attempt(capture, Lease { owner: Uuid::nil(), until: now() }, now());
    assert_eq!(status_code(&held, Subject::Capture(n)), 202);
    held.attempts[1].state = AttemptState::Declined;
    held.attempts[1].due_at = None;
    held.attempts[1].failure = Some(Failure::new(FailureCode::ProcessingError, None, "Try again."));
    held.derive(now());
    assert_eq!(status_code(&held, Subject::Capture(n)), 200);
    let shown = serde_json::to_value(payment_for(&held, Subject::Capture(n))).expect("JSON");
    assert_eq!((&shown["status"], &shown["failure"]["code"]), (&json!("requires_capture"), &json!("processing_error")));
    assert_eq!(serde_json::to_value(payment(&held)).expect("JSON")["failure"], Value::Null);
}

#[test]
fn a_refund_has_the_fields_of_the_contract_in_its_order() {
    let of = with_refund(RefundStatus::Processing);
    insta::assert_snapshot!(pretty(&refund(&of, &of.refunds[0])), @r#"
    {
      "id": "ref_01a20057a69070008000000000000000",
      "object": "refund",
      "payment_id": "pay_01a20057a69070008000000000000000",
      "merchant_refund_id": "R-1",
      "amount": 250,
      "currency": "CNY",
      "status": "processing",
      "outcome": "pending",
      "reason": null,
      "source": "merchant",
      "channel": "alipay_main",
      "channel_reference": null,
      "failure": null,
      "poll_after": "2026-11-21T23:01:14.000Z",
      "metadata": {},
      "created_at": "2026-11-21T23:01:14.000Z",
      "updated_at": "2026-11-21T23:01:14.000Z"
    }
    "#);
}

#[test]
fn what_is_included_stands_beside_the_payment_and_nothing_else_does() {
    let of = with_refund(RefundStatus::Processing);
    let event = EventRow {
        id: EventId(crate::domain::id::mint(now(), bucket(), Uuid::nil())),
        sequence: 1,
        kind: "payment.created".to_owned(),
        body: "{\"attempt\":1}".to_owned(),
        created_at: now(),
    };
    let timeline = [event];
    let all = payment_with(&of, Include { attempts: true, refunds: true, events: true }, &timeline);
    insta::assert_snapshot!(pretty(&(&all.attempts.as_ref().expect("included")[1], &all.events)), @r#"
    [
      {
        "n": 2,
        "operation": "refund",
        "channel": "alipay_main",
        "state": "sent",
        "key": "11111111111111111111111111111111",
        "amount": 250,
        "reference": null,
        "failure": null,
        "reason": "the channel that captured",
        "passed_over": [],
        "created_at": "2026-11-21T23:01:14.000Z",
        "updated_at": "2026-11-21T23:01:14.000Z"
      },
      [
        {
          "id": "evt_01a20057a69070008000000000000000",
          "sequence": 1,
          "type": "payment.created",
          "data": {
            "attempt": 1
          },
          "created_at": "2026-11-21T23:01:14.000Z"
        }
      ]
    ]
    "#);
    assert_eq!(all.refunds.as_ref().map(Vec::len), Some(1));
    let alone = serde_json::to_value(payment_with(&of, Include::default(), &[])).expect("JSON");
    assert!(["attempts", "refunds", "events"].iter().all(|name| alone.get(name).is_none()));
}

#[test]
fn what_is_written_has_the_fields_that_the_document_describes() {
    use crate::http::document::tests::fields_of;
    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<std::collections::BTreeSet<_>>();
    let mut of = with_refund(RefundStatus::Processing);
    of.attempts[1].failure = Some(Failure::new(FailureCode::CardDeclined, None, "No."));
    let event = EventRow {
        id: EventId(crate::domain::id::mint(now(), bucket(), Uuid::nil())),
        sequence: 1,
        kind: "payment.created".to_owned(),
        body: "{}".to_owned(),
        created_at: now(),
    };
    let alone = serde_json::to_value(payment(&of)).expect("JSON");
    let full = serde_json::to_value(payment_with(&of, Include { attempts: true, refunds: true, events: true }, &[event])).expect("JSON");
    let (always, sometimes) = fields_of("Payment");
    assert_eq!(keys(&alone), always);
    assert_eq!(keys(&full), &always | &sometimes);
    for (schema, value) in [
        ("Refund", &full["refunds"][0]),
        ("Attempt", &full["attempts"][1]),
        ("TimelineEvent", &full["events"][0]),
        ("Failure", &full["attempts"][1]["failure"]),
    ] {
        assert_eq!(keys(value), fields_of(schema).0, "{schema}");
    }
    for (schema, action) in [
        ("ShowQr", NextAction::Qr { text: "https://qr.example/1".to_owned(), expires_at: None }),
        ("SendThere", NextAction::Redirect { url: "https://pay.example".to_owned(), method: "GET".to_owned(), fields: BTreeMap::new() }),
        ("CallScript", NextAction::Jsapi { parameters: BTreeMap::from([("signType".to_owned(), "RSA".to_owned())]) }),
    ] {
        let mut waiting = opened(CaptureMethod::Automatic);
        waiting.request.expires_at = now() + jiff::SignedDuration::from_mins(15);
        waiting.attempts[0].state = AttemptState::ActionRequired;
        waiting.attempts[0].next_action = Some(action);
        waiting.derive(now());
        assert_eq!(keys(&serde_json::to_value(payment(&waiting)).expect("JSON")["next_action"]), fields_of(schema).0, "{schema}");
    }
}

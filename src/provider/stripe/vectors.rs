//! Against what others made: Stripe's own SDKs (Python 16.1.0, Node 23.1.0), localstripe and stripe-stateful-mock.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::Stripe;
use super::request::decoded;
use super::sample::{answer, call, creating, credentials, money};
use crate::domain::{CallClass, CaptureMethod, Fact, FailureCode};
use crate::provider::{Call, HttpProtocol, HttpRequest, Notification, NotificationError, Reply, Verb};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/stripe.json")).expect("the vectors are JSON")
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}"))
}

fn heard(webhook: &Value, header: &str, now: i64) -> Result<Notification, NotificationError> {
    let mut headers = http::HeaderMap::new();
    headers.insert("stripe-signature", header.parse().expect("a header"));
    let now = Timestamp::from_second(now).expect("in range");
    let body = text(webhook, "body").as_bytes();
    Stripe.verify_notification(&headers, body, &credentials(&[text(webhook, "secret")]), now)?;
    Stripe.read_notification(body, &credentials(&[]))
}

fn signed_at(header: &str) -> i64 {
    header.split(',').find_map(|part| part.strip_prefix("t=")).expect("a time").parse().expect("seconds")
}

#[test]
fn webhooks_are_accepted_and_rejected_as_by_stripes_sdks() {
    let vectors = vectors();
    let webhooks = vectors["webhooks"].as_array().expect("webhooks");
    assert_eq!(webhooks.len(), 6);
    for webhook in webhooks {
        let name = text(webhook, "name");
        let stale = name.starts_with("stale");
        let forms = [webhook["header"].as_str(), webhook["header_with_rotation_and_v0"].as_str()];
        for header in forms.into_iter().flatten() {
            let now = signed_at(header) + if stale { 86_400 } else { 2 };
            let verdict = heard(webhook, header, now);
            match name {
                "tampered_body" => assert_eq!(verdict, Err(NotificationError::BadSignature)),
                "missing_v1" => assert_eq!(verdict, Err(NotificationError::Unsigned)),
                _ if stale => assert_eq!(verdict, Err(NotificationError::Stale)),
                _ => assert_eq!(verdict.is_ok(), webhook["accept"] == true, "{name}"),
            }
        }
    }
}

#[test]
fn an_accepted_webhook_says_what_its_intent_says() {
    let vectors = vectors();
    let read = |name: &str| {
        let webhook = vectors["webhooks"].as_array().expect("webhooks").iter().find(|webhook| webhook["name"] == name).expect("the webhook");
        heard(webhook, text(webhook, "header"), signed_at(text(webhook, "header"))).expect("believed")
    };
    let paid = read("pi_succeeded");
    assert_eq!((paid.event_id.as_str(), paid.kind.as_str()), ("evt_1", "payment_intent.succeeded"));
    let news = paid.news.expect("news");
    assert_eq!((news.fact, news.money, news.reference.as_deref()), (Fact::Approved, Some(money(8888, "CNY")), Some("pi_1")));
    assert_eq!(read("pretty_unicode").news, None);
    let failed = read("pi_failed").news.expect("news");
    assert_eq!((failed.fact, failed.failure.map(|failure| failure.code)), (Fact::Declined, Some(FailureCode::InsufficientFunds)));
}

#[test]
fn localstripes_deliveries_are_believed_and_read() {
    let vectors = vectors();
    let deliveries = vectors["localstripe_deliveries"].as_array().expect("deliveries");
    let facts: Vec<_> = deliveries
        .iter()
        .map(|delivery| {
            let header = text(delivery, "header");
            assert_eq!(heard(delivery, header, signed_at(header) + 301), Err(NotificationError::Stale));
            heard(delivery, header, signed_at(header)).expect("believed").news.expect("news").fact
        })
        .collect();
    assert_eq!(facts, [Fact::Approved, Fact::Declined]);
}

/// The SDKs' names for list elements differ from ours (`expand[0]`): a server takes both.
fn form(text: &str) -> BTreeMap<String, String> {
    decoded(text).into_iter().map(|(name, value)| (name.replace("expand[]", "expand[0]"), value)).collect()
}

/// Our counterpart of an SDK's request, and the fields that ours has and the SDK was not asked for, or the other way round.
fn counterpart(path: &str, body: &BTreeMap<String, String>) -> (Call, BTreeSet<&'static str>) {
    let amount = |field: &str| body.get(field).map_or(8888, |text| text.parse().expect("an amount"));
    match path {
        "/v1/payment_intents" => {
            let capture_method = if body.contains_key("capture_method") { CaptureMethod::Manual } else { CaptureMethod::Automatic };
            let ours = ["confirm", "capture_method", "metadata[attempt]", "metadata[payment]", "metadata[n]", "payment_method_types[1]"];
            (Call { capture_method, money: money(amount("amount"), "CNY"), ..creating() }, ours.into())
        }
        "/v1/payment_intents/pi_1" => (call(Verb::Query), BTreeSet::new()),
        "/v1/payment_intents/pi_1/capture" => (Call { money: money(amount("amount_to_capture"), "CNY"), ..call(Verb::Capture) }, BTreeSet::new()),
        "/v1/payment_intents/pi_1/cancel" => (call(Verb::Close), BTreeSet::new()),
        "/v1/refunds" => {
            let call = Call { money: money(amount("amount"), "CNY"), ..call(Verb::Refund) };
            (call, ["reason", "metadata[attempt]", "metadata[payment]"].into())
        }
        other => panic!("no counterpart of {other}"),
    }
}

#[test]
fn requests_carry_the_same_fields_as_those_of_stripes_sdks() {
    let vectors = vectors();
    let requests = vectors["requests"].as_array().expect("requests");
    assert_eq!(requests.len(), 7);
    for theirs in requests {
        let (path, query) = text(theirs, "target").split_once('?').unwrap_or((text(theirs, "target"), ""));
        let their_body = form(text(theirs, "body"));
        let (call, apart) = counterpart(path, &their_body);
        let HttpRequest { method, path: our_path, headers, body } = super::request::request(&call, &credentials(&[]));
        let (our_path, our_query) = our_path.split_once('?').unwrap_or((&our_path, ""));
        assert_eq!((method.as_str(), our_path), (text(theirs, "method"), path));
        assert_eq!(form(our_query), form(query));

        let same =
            |fields: BTreeMap<String, String>| -> BTreeMap<_, _> { fields.into_iter().filter(|(name, _)| !apart.contains(name.as_str())).collect() };
        assert_eq!(same(form(std::str::from_utf8(&body).expect("UTF-8"))), same(their_body), "{path}");

        for name in ["Authorization", "Stripe-Version", "Content-Type"] {
            let ours = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
            assert_eq!(ours, theirs["headers"][name].as_str(), "{name} of {path}");
        }
    }
}

#[test]
fn error_objects_are_classified() {
    let vectors = vectors();
    let read = |name: &str| {
        let object = &vectors["error_objects"][name];
        let status = u16::try_from(object[0].as_u64().expect("a status")).expect("a status");
        match Stripe.reply(&call(Verb::Pay), &answer(status, &object[1]), &credentials(&[])) {
            Reply::News { news, class } => (news.fact, class, news.failure),
            other => panic!("{other:?}"),
        }
    };
    let why = |name: &str, code, channel_code: &str| {
        let (fact, class, failure) = read(name);
        let failure = failure.expect("a failure");
        assert_eq!((fact, class, failure.code, failure.channel_code.as_deref()), (Fact::Declined, CallClass::Success, code, Some(channel_code)));
    };
    why("card_declined", FailureCode::CardDeclined, "generic_decline");
    why("insufficient_funds", FailureCode::InsufficientFunds, "insufficient_funds");
    let verdict = |name: &str| (read(name).0, read(name).1);
    assert_eq!(verdict("rate_limit"), (Fact::NotSent, CallClass::RateLimited));
    assert_eq!(verdict("api_error"), (Fact::Unknown, CallClass::FailSoft));
    assert_eq!(verdict("idempotency_error"), (Fact::Unknown, CallClass::Success));
}

//! Stripe: answers, events, and the header that signs them.

use aws_lc_rs::hmac;
use breakwater::domain::{CallClass, Fact, News};
use breakwater::provider::{HttpResponse, NotificationError, Reply, Verb};
use jiff::Timestamp;
use serde_json::json;

use crate::fuzz;
use crate::material::Material;
use crate::sample::{call, credentials, one_of, provider, vectors};

const KEY: &str = "0190a8b4c6d2700080000000000000ff";
const SECRET: &str = "whsec_breakwater_test_secret";
const SIGNED_AT: i64 = 1_763_600_887;
const STATUSES: [u16; 13] = [200, 200, 200, 200, 400, 401, 402, 404, 409, 424, 429, 500, 503];
const WORDS: &[&str] = &[
    "succeeded",
    "requires_capture",
    "processing",
    "canceled",
    "requires_action",
    "null",
    "-1",
    "0",
    "1e309",
    "9223372036854775808",
    "\"\"",
    "{}",
    "[]",
    "true",
    "\"id\":\"pi_1\",",
    "\"status\":\"succeeded\",",
    "\"amount\":8888,",
    "\"data\":[],",
    "\"error\":{},",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "cny",
    "xxx",
];

fn answers() -> Material {
    let metadata = json!({"attempt": KEY});
    let intent = |status: &str, received: i64| {
        json!({"id": "pi_1", "object": "payment_intent", "amount": 8888, "amount_received": received, "currency": "cny", "status": status, "capture_method": "automatic",
               "metadata": metadata, "next_action": {"type": "redirect_to_url", "redirect_to_url": {"url": "https://hooks.stripe.com/3ds"}},
               "latest_charge": {"id": "ch_1", "payment_method_details": {"card": {"capture_before": 1_763_900_000}}}})
    };
    let refund = json!({"id": "re_1", "object": "refund", "amount": 8888, "currency": "cny", "status": "succeeded", "payment_intent": "pi_1", "metadata": metadata});
    let error = json!({"error": {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds", "message": "no", "payment_intent": intent("requires_payment_method", 0)}});
    let documents = [
        intent("succeeded", 8888),
        intent("requires_capture", 0),
        intent("requires_action", 0),
        json!({"object": "search_result", "data": [intent("succeeded", 8888)], "has_more": false}),
        json!({"object": "list", "data": [refund], "has_more": false}),
        refund,
        error,
    ];
    Material::of(documents.map(|document| document.to_string()), WORDS)
}

fn fact(reply: &Reply) -> Option<Fact> {
    match reply {
        Reply::News { news: News { fact, .. }, .. } => Some(*fact),
        _ => None,
    }
}

#[test]
fn stripe_answers_are_read_without_a_panic_and_a_broken_server_settles_nothing() {
    let stripe = provider("stripe");
    let http = stripe.protocol().http().expect("over HTTP");
    let account = credentials(stripe, &[], &[SECRET]);
    let material = answers();
    fuzz!(6_000, |recipe: &[u8]| {
        let (verb, recipe) = one_of(&Verb::ALL, recipe);
        let (status, recipe) = one_of(&STATUSES, recipe);
        let mut call = call(*verb, KEY, "pi_1");
        call.pay_reference = call.pay_reference.filter(|_| recipe.first().is_none_or(|byte| byte % 8 != 0));
        let response = HttpResponse { status: *status, headers: http::HeaderMap::new(), body: material.cook(recipe).into() };
        let reply = http.reply(&call, &response, &account);
        if *status >= 500 {
            assert!(matches!(fact(&reply), Some(Fact::Unknown | Fact::NotSent)), "{status} {verb:?}: {reply:?}");
            assert!(matches!(reply, Reply::News { class: CallClass::FailSoft, .. }), "{status} {verb:?}: {reply:?}");
        }
        if matches!(status, 401 | 409 | 424 | 429) {
            assert_ne!(fact(&reply), Some(Fact::Approved), "{status} {verb:?}: {reply:?}");
        }
        assert_eq!(http.reply(&call, &response, &account), reply, "the same answer means the same");
    });
}

#[test]
fn stripe_events_are_read_without_a_panic() {
    let http = provider("stripe").protocol().http().expect("over HTTP");
    let account = credentials(provider("stripe"), &[], &[]);
    let vectors = vectors("stripe");
    let bodies = ["webhooks", "localstripe_deliveries"].iter().flat_map(|list| crate::sample::texts(&vectors[list], "body"));
    let material = Material::of(bodies, WORDS);
    fuzz!(4_000, |recipe: &[u8]| {
        if let Ok(event) = http.read_notification(&material.cook(recipe), &account) {
            assert!(!event.event_id.is_empty() && event.event_id.len() <= 255);
        }
    });
}

#[test]
fn a_stripe_signature_header_however_spoiled_is_only_believed_with_the_true_signature() {
    let stripe = provider("stripe");
    let http = stripe.protocol().http().expect("over HTTP");
    let account = credentials(stripe, &[], &["whsec_older", SECRET]);
    let now = Timestamp::from_second(SIGNED_AT + 10).expect("a time");
    let body = br#"{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":{}}}"#;
    let true_one = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), &[format!("{SIGNED_AT}.").as_bytes(), body].concat());
    let digest: String = true_one.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let zeros = "0".repeat(64);
    let headers =
        [format!("t={SIGNED_AT},v1={digest}"), format!("t={SIGNED_AT},v1={zeros},v1={digest},v0=deadbeef"), format!("t={SIGNED_AT},v1={zeros}")];
    let mut material = Vec::from(headers);
    material.extend((0..6).map(|_| format!("t={SIGNED_AT},v1={digest}")));
    let material = Material::of(material, &["t=", "v1=", ",", "=", "-1", "99999999999999999999", ",v1=,", " ", "t=0,", "A", "é", "1763600887"]);
    fuzz!(6_000, |recipe: &[u8]| {
        let header = material.cook(recipe);
        let Ok(value) = http::HeaderValue::from_bytes(&header) else { return };
        let mut headers = http::HeaderMap::new();
        headers.insert("stripe-signature", value);
        if http.verify_notification(&headers, body, &account, now) == Ok(()) {
            let text = String::from_utf8_lossy(&header).to_ascii_lowercase();
            assert!(text.contains(&digest) && text.contains(&SIGNED_AT.to_string()), "{text}");
        }
        assert_ne!(http.verify_notification(&headers, &body[1..], &account, now), Ok(()), "another body");
        let none = http.verify_notification(&http::HeaderMap::new(), body, &account, now);
        assert_eq!(none, Err(NotificationError::Unsigned));
    });
}

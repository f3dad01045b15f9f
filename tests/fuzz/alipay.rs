//! Alipay: the envelope of an answer, which is walked over before anything is verified; what is within it, signed by the vectors' key; notices.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use breakwater::domain::{Fact, News};
use breakwater::keys::PrivateKey;
use breakwater::provider::{Call, Credentials, HttpResponse, Reply, Verb};
use jiff::Timestamp;
use serde_json::Value;

use crate::fuzz;
use crate::material::Material;
use crate::sample::{call, credentials, one_of, provider, texts, vectors};

const WORDS: &[&str] = &[
    "\"",
    "\\",
    "\\\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"sign\":\"x\"",
    "\"code\":\"10000\"",
    "\"code\":\"40004\"",
    "\"sub_code\":\"ACQ.TRADE_NOT_EXIST\"",
    "TRADE_SUCCESS",
    "TRADE_CLOSED",
    "TRADE_FINISHED",
    "WAIT_BUYER_PAY",
    "88.88",
    "0.00",
    "-0.01",
    "1e5",
    "99999999999999999999.99",
    "\"a_response\":{}",
    "null",
    "true",
    "1",
    "\u{feff}",
    "测",
    "&",
    "=",
    "%",
    "%2",
    "%00",
    "%ff",
    "+",
    "&sign=",
    "sign_type=RSA2",
    "refund_fee=1.00",
    "out_biz_no=x",
];

fn account(vectors: &Value) -> Credentials {
    let key = |name: &str| vectors[name].as_str().expect("a key").to_owned();
    let (ours, theirs) = (key("app_private_key_pkcs1_pem"), key("alipay_public_key_pem"));
    let values =
        [("app_id", "2021000000000001"), ("seller_id", "2088000000000099"), ("private_key", ours.as_str()), ("alipay_public_key", theirs.as_str())];
    credentials(provider("alipay"), &values, &[])
}

/// What the vectors' answers are about.
fn asked(verb: Verb) -> Call {
    call(verb, "BW20261120000001", "BW20261120000001")
}

fn fact(reply: &Reply) -> Option<Fact> {
    match reply {
        Reply::News { news: News { fact, .. }, .. } => Some(*fact),
        _ => None,
    }
}

#[test]
fn an_alipay_envelope_however_spoiled_settles_nothing_that_was_not_signed() {
    let vectors = vectors("alipay");
    let account = account(&vectors);
    let http = provider("alipay").protocol().http().expect("over HTTP");
    let signed = texts(&vectors["responses"], "signed_substring");
    let material = Material::of(texts(&vectors["responses"], "raw_body"), WORDS);
    fuzz!(6_000, |recipe: &[u8]| {
        let (verb, recipe) = one_of(&Verb::ALL, recipe);
        let body = material.cook(recipe);
        let response = HttpResponse { status: 200, headers: http::HeaderMap::new(), body: body.clone().into() };
        let reply = http.reply(&asked(*verb), &response, &account);
        if !matches!(fact(&reply), Some(Fact::Unknown)) {
            let text = String::from_utf8_lossy(&body);
            assert!(signed.iter().any(|node| text.contains(node.as_str())), "{verb:?}: {reply:?} of {text}");
        }
    });
}

#[test]
fn an_alipay_answer_that_was_signed_however_strange_is_read_without_a_panic() {
    let vectors = vectors("alipay");
    let account = account(&vectors);
    let http = provider("alipay").protocol().http().expect("over HTTP");
    let alipay = PrivateKey::from_pem(vectors["alipay_private_key_pkcs1_pem"].as_str().expect("a key")).expect("a key");
    let names = texts(&vectors["responses"], "node");
    let material = Material::of(texts(&vectors["responses"], "signed_substring"), WORDS);
    fuzz!(1_500, |recipe: &[u8]| {
        let (verb, recipe) = one_of(&Verb::ALL, recipe);
        let (name, recipe) = one_of(&names, recipe);
        let node = material.cook(recipe);
        let sign = BASE64.encode(alipay.sign_sha256(&node).expect("signed"));
        let body = [format!("{{\"{name}\":").as_bytes(), &node, format!(",\"sign\":\"{sign}\"}}").as_bytes()].concat();
        let response = HttpResponse { status: 200, headers: http::HeaderMap::new(), body: body.into() };
        let reply = http.reply(&asked(*verb), &response, &account);
        assert_eq!(http.reply(&asked(*verb), &response, &account), reply, "the same answer means the same");
    });
}

#[test]
fn an_alipay_notice_is_read_without_a_panic_and_one_that_is_believed_says_what_was_signed() {
    let vectors = vectors("alipay");
    let account = account(&vectors);
    let http = provider("alipay").protocol().http().expect("over HTTP");
    let bodies = texts(&vectors["notifications"], "form_body");
    let said: Vec<_> = bodies.iter().map(|body| http.read_notification(body.as_bytes(), &account).expect("read")).collect();
    let material = Material::of(bodies, WORDS);
    fuzz!(6_000, |recipe: &[u8]| {
        let body = material.cook(recipe);
        let read = http.read_notification(&body, &account);
        if http.verify_notification(&http::HeaderMap::new(), &body, &account, Timestamp::UNIX_EPOCH) == Ok(()) {
            assert!(read.as_ref().is_ok_and(|read| said.contains(read)), "{read:?} of {}", String::from_utf8_lossy(&body));
        }
    });
}

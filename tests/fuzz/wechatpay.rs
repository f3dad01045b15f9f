//! WeChat Pay: answers with spoiled headers, bodies that were signed however strange, and notifications, whose inside is sealed as well as signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use breakwater::domain::{CallClass, Fact, MethodKind, News, PaymentMethod};
use breakwater::keys::{PrivateKey, SharedKey};
use breakwater::provider::{Call, Credentials, HttpResponse, Reply, Verb};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fuzz;
use crate::material::Material;
use crate::sample::{call, credentials, one_of, provider, texts, vectors};

/// When the vectors were signed, in seconds.
const NOW: i64 = 1_763_600_887;
const SERIAL: &str = "1DDE55AD98ED71D6EDD4A4A16996DE7B47773A8C";

const WORDS: &[&str] = &[
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"code\":\"ORDER_NOT_EXIST\"",
    "\"code\":\"SIGN_ERROR\"",
    "\"trade_state\":\"SUCCESS\"",
    "\"trade_state\":\"NOTPAY\"",
    "\"trade_state\":\"REFUND\"",
    "\"status\":\"ABNORMAL\"",
    "\"refund_status\":\"SUCCESS\"",
    "\"out_trade_no\":\"BW20261120000001\"",
    "\"out_refund_no\":\"RF0001\"",
    "\"total\":-1",
    "\"refund\":9223372036854775808",
    "8888",
    "1e5",
    "null",
    "true",
    "\u{feff}",
    "测",
];

fn account(vectors: &Value) -> Credentials {
    let text = |name: &str| vectors[name].as_str().expect("a text").to_owned();
    let (ours, theirs, apiv3) = (text("merchant_private_key_pem"), text("wechatpay_platform_cert_pem"), text("apiv3_key"));
    let values = [
        ("mchid", "1900009191"),
        ("appid", "wxd678efh567hg6787"),
        ("serial_no", "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"),
        ("private_key", ours.as_str()),
        ("apiv3_key", apiv3.as_str()),
        ("platform_serial", SERIAL),
        ("platform_key", theirs.as_str()),
        ("second_platform_serial", "PUB_KEY_ID_0119000091912026112000000000000001"),
        ("second_platform_key", theirs.as_str()),
    ];
    credentials(provider("wechatpay"), &values, &[])
}

/// What the vectors are about, of whatever verb.
fn asked(verb: Verb) -> Call {
    Call { method: PaymentMethod::Qr { wallet: None }, ..call(verb, "BW20261120000001", "BW20261120000001") }
}

fn platform(vectors: &Value) -> PrivateKey {
    PrivateKey::from_pem(vectors["wechatpay_private_key_pem"].as_str().expect("a key")).expect("a key")
}

/// The headers that sign `body`.
fn signed(key: &PrivateKey, body: &[u8]) -> http::HeaderMap {
    let message = [format!("{NOW}\nnonce\n").as_bytes(), body, b"\n"].concat();
    headers(&BASE64.encode(key.sign_sha256(&message).expect("signed")))
}

fn headers(signature: &str) -> http::HeaderMap {
    let seconds = NOW.to_string();
    let pairs = [("timestamp", seconds.as_str()), ("nonce", "nonce"), ("signature", signature), ("serial", SERIAL)];
    let header = |(name, value): (&str, &str)| {
        let name: http::HeaderName = format!("wechatpay-{name}").parse().expect("a name");
        Some((name, http::HeaderValue::from_bytes(value.as_bytes()).ok()?))
    };
    pairs.into_iter().filter_map(header).collect()
}

/// Objects that answers and notifications have.
fn objects(vectors: &Value) -> Vec<String> {
    let mut objects = texts(&vectors["notifications"], "plaintext");
    objects.extend(texts(&vectors["responses"], "body"));
    objects.push(
        r#"{"out_trade_no":"BW20261120000001","out_refund_no":"BW20261120000001","status":"SUCCESS","amount":{"refund":8888,"total":8888}}"#
            .to_owned(),
    );
    objects
}

#[test]
fn a_wechat_pay_answer_that_was_not_signed_settles_nothing() {
    let vectors = vectors("wechatpay");
    let account = account(&vectors);
    let http = provider("wechatpay").protocol().http().expect("over HTTP");
    let signatures = Material::of(texts(&vectors["responses"], "signature"), WORDS);
    let bodies = Material::of(objects(&vectors), WORDS);
    fuzz!(3_000, |recipe: &[u8]| {
        let (verb, recipe) = one_of(&Verb::ALL, recipe);
        let (status, recipe) = one_of(&[200_u16, 202, 204, 400, 403, 404], recipe);
        let signature = signatures.cook(recipe);
        // The signatures are of other bodies, nonces or times than these.
        let headers = headers(&String::from_utf8_lossy(&signature));
        let reply = http.reply(&asked(*verb), &HttpResponse { status: *status, headers, body: bodies.cook(recipe).into() }, &account);
        assert!(matches!(&reply, Reply::News { news: News { fact: Fact::Unknown | Fact::NotSent, .. }, .. }), "{status} {verb:?}: {reply:?}");
    });
}

#[test]
fn a_wechat_pay_answer_that_was_signed_however_strange_is_read_without_a_panic() {
    let vectors = vectors("wechatpay");
    let account = account(&vectors);
    let http = provider("wechatpay").protocol().http().expect("over HTTP");
    let (key, material) = (platform(&vectors), Material::of(objects(&vectors), WORDS));
    fuzz!(1_500, |recipe: &[u8]| {
        let (verb, recipe) = one_of(&Verb::ALL, recipe);
        let (status, recipe) = one_of(&[200_u16, 202, 204, 301, 400, 401, 403, 404, 429, 500, 503], recipe);
        let body = material.cook(recipe);
        let response = HttpResponse { status: *status, headers: signed(&key, &body), body: body.into() };
        let reply = http.reply(&asked(*verb), &response, &account);
        assert_eq!(http.reply(&asked(*verb), &response, &account), reply, "the same answer means the same");
        if *status >= 500 {
            assert!(matches!(&reply, Reply::News { news, class: CallClass::FailSoft } if news.fact == Fact::Unknown), "{status} {verb:?}: {reply:?}");
        }
        if let Reply::News { news, .. } = &reply {
            assert!(news.fact != Fact::Approved || *status == 200, "{status} {verb:?}: {reply:?}");
        }
    });
    assert!(provider("wechatpay").contract().methods.contains(&MethodKind::Qr), "what is asked with is carried");
}

#[test]
fn a_wechat_pay_notification_is_read_without_a_panic_and_one_that_is_believed_says_what_was_signed() {
    let vectors = vectors("wechatpay");
    let account = account(&vectors);
    let http = provider("wechatpay").protocol().http().expect("over HTTP");
    let bodies = texts(&vectors["notifications"], "body");
    let said: Vec<_> = bodies.iter().map(|body| http.read_notification(body.as_bytes(), &account).expect("read")).collect();
    let signature = vectors["notifications"][0]["headers"]["Wechatpay-Signature"].as_str().expect("a signature");
    let mut signed = headers(signature);
    signed.insert("wechatpay-nonce", vectors["notifications"][0]["headers"]["Wechatpay-Nonce"].as_str().expect("a nonce").parse().expect("a value"));
    let now = Timestamp::from_second(NOW).expect("a time");
    assert_eq!(http.verify_notification(&signed, bodies[0].as_bytes(), &account, now), Ok(()));
    let material = Material::of(bodies, WORDS);
    fuzz!(4_000, |recipe: &[u8]| {
        let body = material.cook(recipe);
        let read = http.read_notification(&body, &account);
        if http.verify_notification(&signed, &body, &account, now) == Ok(()) {
            assert!(read.as_ref().is_ok_and(|read| said.contains(read)), "{read:?} of {}", String::from_utf8_lossy(&body));
        }
    });
}

#[test]
fn what_is_sealed_in_a_wechat_pay_notification_however_strange_is_read_without_a_panic() {
    let vectors = vectors("wechatpay");
    let account = account(&vectors);
    let http = provider("wechatpay").protocol().http().expect("over HTTP");
    let key = SharedKey::new(vectors["apiv3_key"].as_str().expect("a key").as_bytes()).expect("32 bytes");
    let material = Material::of(objects(&vectors), WORDS);
    fuzz!(4_000, |recipe: &[u8]| {
        let (kind, recipe) = one_of(&["TRANSACTION.SUCCESS", "REFUND.SUCCESS", "REFUND.ABNORMAL", "OTHER"], recipe);
        let sealed = BASE64.encode(key.seal(b"0123456789ab", b"x", &material.cook(recipe)).expect("sealed"));
        let resource = json!({"algorithm": "AEAD_AES_256_GCM", "ciphertext": sealed, "associated_data": "x", "nonce": "0123456789ab"});
        let body = json!({"id": "EV-1", "event_type": kind, "resource": resource}).to_string();
        if let Ok(read) = http.read_notification(body.as_bytes(), &account) {
            assert!(read.news.is_none() || read.external.is_none(), "one thing at a time: {read:?}");
            assert!(read.news.is_none() || read.attempt_key.is_some(), "{read:?}");
        }
    });
}

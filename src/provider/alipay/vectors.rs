//! Against what others made: python-alipay-sdk 3.4.0 and alipay-sdk-python 3.7.1411 (PyPI), alipay-sdk 4.14.0 (npm).

use serde_json::Value;

use super::Alipay;
use super::envelope::Envelope;
use super::sample::{KEY, alipay_key, call, credentials, text, vectors};
use super::signing::{self, Parameters};
use crate::domain::method::RedirectFlow;
use crate::domain::{External, Fact, NextAction, PaymentMethod};
use crate::keys::{PrivateKey, PublicKey};
use crate::provider::{Assembled, Call, Credentials, HttpProtocol, HttpRequest, NotificationError, Provider, Reply, Verb};

fn list<'a>(vectors: &'a Value, name: &str, length: usize) -> &'a [Value] {
    let list = vectors[name].as_array().expect("a list");
    assert_eq!(list.len(), length, "{name}");
    list
}

fn parameters(vector: &Value, field: &str) -> Parameters {
    serde_json::from_value(vector[field].clone()).expect("parameters")
}

#[test]
fn requests_are_signed_to_the_byte_as_by_the_libraries() {
    let vectors = vectors();
    let private = PrivateKey::from_pem(text(&vectors, "app_private_key_pkcs1_pem")).expect("a key");
    let public = PublicKey::from_pem(text(&vectors, "app_public_key_pem")).expect("a key");
    for vector in list(&vectors, "requests", 4) {
        let parameters = parameters(vector, "params");
        let content = signing::content(&parameters, &["sign"]);
        assert_eq!(content, text(vector, "sign_content"));
        assert_eq!(signing::sign(&parameters, &private).as_deref(), Some(text(vector, "sign_base64")));
        assert!(signing::verifies(content.as_bytes(), text(vector, "sign_base64"), &public));
        let mut sent = signing::decoded(text(vector, "urlencoded_query").as_bytes()).expect("a query");
        assert_eq!(sent.remove("sign").as_deref(), Some(text(vector, "sign_base64")));
        assert_eq!(sent, parameters);
    }
}

#[test]
fn answers_are_verified_over_the_bytes_that_the_libraries_signed() {
    let vectors = vectors();
    let public = PublicKey::from_pem(text(&vectors, "alipay_public_key_pem")).expect("a key");
    for vector in list(&vectors, "responses", 5) {
        let body = text(vector, "raw_body");
        let envelope = Envelope::open(body.as_bytes()).unwrap_or_else(|| panic!("{}", text(vector, "name")));
        assert_eq!((envelope.node, envelope.object), (text(vector, "node"), text(vector, "signed_substring")));
        let sign = envelope.sign.expect("a signature");
        assert_eq!(sign, text(vector, "sign_base64"));
        assert!(signing::verifies(envelope.object.as_bytes(), sign, &public), "{}", text(vector, "name"));
        let tampered = envelope.object.replacen('0', "9", 1);
        assert!(!signing::verifies(tampered.as_bytes(), sign, &public));
    }
}

#[test]
fn notices_are_believed_as_by_the_libraries_and_only_for_us() {
    let vectors = vectors();
    let heard = |body: &str, credentials: &Credentials| {
        Alipay.verify_notification(&http::HeaderMap::new(), body.as_bytes(), credentials, jiff::Timestamp::UNIX_EPOCH)
    };
    let mut stranger = credentials();
    stranger.account.set_text(&Alipay.account_fields()[0], "2021000000000002").expect("a field");
    for vector in list(&vectors, "notifications", 3) {
        let body = text(vector, "form_body");
        let parameters = signing::decoded(body.as_bytes()).expect("a form");
        assert_eq!(signing::content(&parameters, &["sign", "sign_type"]), text(vector, "sign_content"));
        assert_eq!(heard(body, &credentials()), Ok(()));
        assert_eq!(heard(body, &stranger), Err(NotificationError::BadSignature));
        assert_eq!(heard(&body.replace("total_amount=88.88", "total_amount=88.89"), &credentials()), Err(NotificationError::BadSignature));
        assert_eq!(heard(&body.replace("&sign=", "&signed="), &credentials()), Err(NotificationError::Unsigned));
        assert_eq!(heard(&format!("{body}&total_amount=1"), &credentials()), Err(NotificationError::Malformed));
    }
}

#[test]
fn a_notice_of_a_refund_is_about_the_refund_and_a_closed_trade_that_was_refunded_is_no_failure() {
    let vectors = vectors();
    let read =
        |nth: usize| Alipay.read_notification(text(&list(&vectors, "notifications", 3)[nth], "form_body").as_bytes(), &credentials()).expect("read");
    for (nth, kind) in [(0, "TRADE_SUCCESS"), (2, "TRADE_FINISHED")] {
        let paid = read(nth);
        assert_eq!((paid.kind.as_str(), paid.attempt_key.as_deref()), (kind, Some("BW20261120000002")));
        assert_eq!(paid.event_id, "2026112000222090808011111111111111");
        let news = paid.news.expect("news");
        assert_eq!((news.fact, news.money.map(|money| money.amount)), (Fact::Approved, Some(8888)));
    }
    let refunded = read(1);
    assert_eq!((refunded.kind.as_str(), refunded.news, refunded.pay_reference.as_deref()), ("TRADE_CLOSED", None, Some("BW20261120000002")));
    let stranger = External::RefundToMeasure { reference: "RF0002".to_owned() };
    assert_eq!(refunded.external, Some(stranger), "under a number that is none of ours, and the fee is the sum of all refunds");
}

#[test]
fn a_notice_says_what_its_fields_say() {
    let read = |changes: &[(&str, &str)]| {
        let vectors = vectors();
        let mut parameters = parameters(&vectors["notifications"][0], "params_without_sign");
        for (name, value) in changes {
            parameters.insert((*name).to_owned(), (*value).to_owned());
        }
        Alipay.read_notification(signing::encoded(&parameters).as_bytes(), &credentials())
    };
    let fact = |changes: &[(&str, &str)]| read(changes).map(|notice| notice.news.map(|news| news.fact));
    assert_eq!(fact(&[("trade_status", "WAIT_BUYER_PAY")]), Ok(None));
    assert_eq!(fact(&[("trade_status", "TRADE_CLOSED"), ("gmt_payment", "")]), Ok(Some(Fact::Closed)));
    assert_eq!(fact(&[("trade_status", "TRADE_CLOSED")]), Ok(None), "it was paid: a query will tell");
    assert_eq!(fact(&[("trade_status", "TRADE_CLOSED"), ("refund_fee", "0.00")]), Ok(None));
    assert_eq!(fact(&[("refund_fee", "1.00"), ("out_biz_no", "BW20261120000002")]), Ok(None), "a cancel gave it back");
    assert_eq!(fact(&[("refund_fee", "1.00")]), Ok(Some(Fact::Approved)), "a refund in the portal, of no attempt");
    assert_eq!(fact(&[("refund_fee", "x")]), Err(NotificationError::Malformed));
    assert_eq!(fact(&[("total_amount", "0.00")]), Err(NotificationError::Malformed));
    assert_eq!(fact(&[("notify_id", "")]), Err(NotificationError::Malformed));
    let partial = read(&[("refund_fee", "1.00"), ("out_biz_no", KEY), ("passback_params", "pay_1")]).expect("read");
    assert_eq!((partial.attempt_key.as_deref(), partial.payment.as_deref()), (Some(KEY), Some("pay_1")));
    assert_eq!(partial.news.map(|news| (news.fact, news.money)), Some((Fact::Approved, None)), "the fee is the sum of all refunds");
    let of_a_stranger = read(&[("refund_fee", "1.00"), ("out_biz_no", "RF1")]).expect("read");
    let said = (of_a_stranger.attempt_key, of_a_stranger.news, of_a_stranger.external);
    assert_eq!(said, (None, None, Some(External::RefundToMeasure { reference: "RF1".to_owned() })), "Alipay can be asked how much of the sum it was");
    let all = read(&[("refund_fee", "88.88")]).expect("read");
    let money = super::sample::money(8888, "CNY");
    assert!(matches!(all.external, Some(External::Refund { money: given_back, .. }) if given_back == money), "all there was, under no number");
}

#[test]
fn seven_bytes_acknowledge_a_notice() {
    assert_eq!(Alipay.acknowledgement(), (200, "text/plain", "success"));
}

/// What was sent, with the business fields apart, and the signature checked.
fn sent(call: &Call) -> (Parameters, Parameters) {
    let Assembled::Send(HttpRequest { method, path, headers, body }) = Alipay.request(call, &credentials()) else { panic!("nothing is sent") };
    assert_eq!(method, http::Method::POST);
    assert!(headers.iter().any(|(name, value)| *name == "content-type" && value.starts_with("application/x-www-form-urlencoded")));
    let query = path.strip_prefix("/gateway.do?").expect("the gateway");
    let mut all = signing::decoded(query.as_bytes()).expect("a query");
    all.extend(signing::decoded(&body).expect("a form"));
    judged(all)
}

fn judged(mut all: Parameters) -> (Parameters, Parameters) {
    let public = PublicKey::from_pem(text(&vectors(), "app_public_key_pem")).expect("a key");
    let sign = all.remove("sign").expect("a signature");
    assert!(signing::verifies(signing::content(&all, &["sign"]).as_bytes(), &sign, &public));
    let content = serde_json::from_str(&all.remove("biz_content").expect("business fields")).expect("texts");
    (all, content)
}

#[test]
fn requests_carry_the_same_fields_as_those_of_the_libraries() {
    let vectors = vectors();
    let calls = [
        call(Verb::Query),
        Call { notify_url: Some("https://bw.example/notify/alipay?x=1".to_owned()), ..call(Verb::Pay) },
        Call {
            method: PaymentMethod::Redirect { wallet: None, flow: RedirectFlow::Page, openid: None, client_ip: None },
            notify_url: Some("https://bw.example/n".to_owned()),
            return_url: Some("https://bw.example/r".to_owned()),
            ..call(Verb::Pay)
        },
        call(Verb::Refund),
    ];
    for (vector, call) in list(&vectors, "requests", 4).iter().zip(calls) {
        let (ours, fields) = match Alipay.request(&call, &credentials()) {
            Assembled::Send(_) => sent(&call),
            Assembled::Done(reply) => judged(page(&reply)),
        };
        let mut theirs = parameters(vector, "params");
        let their_fields: Parameters = serde_json::from_str(&theirs.remove("biz_content").expect("business fields")).expect("texts");
        let mut common = ours.clone();
        assert_eq!(common.remove("format").as_deref(), Some("JSON"), "which is what it is without");
        assert_eq!(common, theirs, "the same to the value: application, time and method included");
        let missing: Vec<_> = their_fields.keys().filter(|name| !fields.contains_key(*name)).collect();
        assert!(missing.iter().all(|name| *name == "refund_reason"), "{missing:?}");
    }
}

fn page(reply: &Reply) -> Parameters {
    let Reply::News { news, .. } = reply else { panic!("{reply:?}") };
    assert_eq!((news.fact, news.reference.as_deref()), (Fact::ActionRequired, Some(KEY)));
    let Some(NextAction::Redirect { url, method, .. }) = &news.next_action else { panic!("{news:?}") };
    assert_eq!(method, "GET");
    signing::decoded(url.strip_prefix("https://openapi.example/gateway.do?").expect("the channel's address").as_bytes()).expect("a query")
}

#[test]
fn a_trade_ends_no_later_than_the_payment_and_names_its_payment_for_the_notices() {
    let (_, fields) = sent(&call(Verb::Pay));
    assert_eq!(fields["time_expire"], "2026-11-20 09:23:07");
    assert_eq!((fields["total_amount"].as_str(), fields["subject"].as_str()), ("88.88", "BW 1&2"));
    assert_eq!((fields["out_trade_no"].as_str(), fields["passback_params"].as_str()), (KEY, super::sample::PAYMENT));
    let long = Call { description: Some("测\n".repeat(300)), ..call(Verb::Pay) };
    let (_, fields) = sent(&long);
    assert_eq!((fields["subject"].chars().count(), fields["subject"].contains('\n')), (256, false));
}

#[test]
fn a_shown_code_is_ended_by_a_cancel_and_a_code_of_ours_by_a_close() {
    assert_eq!(sent(&call(Verb::Close)).0["method"], "alipay.trade.close");
    let barcode = Call { method: super::sample::barcode(), ..call(Verb::Close) };
    assert_eq!(sent(&barcode).0["method"], "alipay.trade.cancel");
}

#[test]
fn a_reversal_is_a_refund_under_its_own_number_and_is_asked_after_as_the_trade() {
    let reversal = super::sample::reversal;
    let (_, fields) = sent(&reversal(Verb::Reverse));
    assert_eq!((fields["out_trade_no"].as_str(), fields["out_request_no"].as_str()), ("trade", KEY));
    assert_eq!(fields["refund_reason"], "reversal of trade");
    let (common, fields) = sent(&reversal(Verb::QueryRefund));
    assert_eq!((common["method"].as_str(), fields["out_trade_no"].as_str()), ("alipay.trade.query", "trade"));
}

#[test]
fn what_alipay_cannot_do_is_refused_before_anything_is_written() {
    let redirect = |wallet, flow| PaymentMethod::Redirect { wallet, flow, openid: None, client_ip: None };
    let barcode = |code: &str| PaymentMethod::Barcode { code: code.to_owned() };
    let refused = |call: Call| Alipay.refuses(&call).is_some();
    let with = |method| Call { method, ..call(Verb::Pay) };
    assert!(!refused(call(Verb::Pay)));
    assert!(!refused(with(barcode("2812345678901234"))));
    assert!(!refused(with(redirect(None, RedirectFlow::Page))));
    assert!(refused(with(redirect(None, RedirectFlow::Jsapi))));
    assert!(refused(with(PaymentMethod::Qr { wallet: Some(crate::domain::Wallet::Wechatpay) })));
    for code in ["1312345678901234", "281234567890123", "28123456789012345678901234", "28x2345678901234", "2８12345678901234"] {
        assert!(refused(with(barcode(code))), "{code}");
    }
    assert!(refused(Call { money: super::sample::money(100, "USD"), ..call(Verb::Pay) }));
    assert!(refused(Call { capture_method: crate::domain::CaptureMethod::Manual, ..call(Verb::Pay) }));
    assert!(refused(call(Verb::Capture)) && refused(call(Verb::Void)));
    assert!(refused(Call { pay_key: None, ..call(Verb::Refund) }));
    assert!(!refused(super::sample::reversal(Verb::Reverse)));
}

#[test]
fn no_secret_of_ours_is_shown() {
    let shown = format!("{:?} {:?}", credentials(), alipay_key());
    assert!(!shown.contains("MIIE"), "{shown}");
}

//! Against what others made: wechatpay-axios-plugin 0.9.6 and wechatpay-node-v3 2.2.1 (npm), wechatpayv3 2.0.4 (PyPI).

use serde_json::{Value, json};

use super::WechatPay;
use super::sample::{
    KEY, NOW, PAYMENT, PLATFORM_SERIAL, PUBLIC_KEY_ID, call, credentials, credentials_with, headers, money, now, redirect, refund, reversal,
    signed_at, text, vectors,
};
use super::signing::{self, Doubt, Stamp};
use crate::domain::method::RedirectFlow;
use crate::domain::{CaptureMethod, External, Fact, PaymentMethod, Wallet};
use crate::keys::{PublicKey, SharedKey};
use crate::provider::{Assembled, Call, Credentials, HttpProtocol, HttpRequest, NotificationError, Provider, Verb};

fn list<'a>(vectors: &'a Value, name: &str, length: usize) -> &'a [Value] {
    let list = vectors[name].as_array().expect("a list");
    assert_eq!(list.len(), length, "{name}");
    list
}

fn stamp(vector: &Value, seconds: &str, nonce: &str) -> Stamp {
    Stamp { seconds: text(vector, seconds).to_owned(), nonce: text(vector, nonce).to_owned() }
}

#[test]
fn requests_are_signed_to_the_byte_as_by_the_libraries() {
    let vectors = vectors();
    for vector in list(&vectors, "authorization", 5) {
        let (method, url, body) = (text(vector, "method"), text(vector, "url"), text(vector, "body"));
        assert_eq!(signing::message(&[method, url, text(vector, "timestamp"), text(vector, "nonce"), body]), text(vector, "message"));
        let header = signing::authorization(method, url, body, &stamp(vector, "timestamp", "nonce"), &credentials().account);
        assert_eq!(header.as_deref(), Some(text(vector, "authorization_header")), "{}", text(vector, "name"));
    }
}

#[test]
fn the_script_s_parameters_are_signed_as_by_the_libraries() {
    let vectors = vectors();
    let vector = &list(&vectors, "jsapi_pay_sign", 1)[0];
    let prepay_id = text(vector, "package").strip_prefix("prepay_id=").expect("an id");
    let parameters = signing::script_parameters(prepay_id, &stamp(vector, "timeStamp", "nonceStr"), &credentials().account).expect("signed");
    assert_eq!(parameters.len(), 6);
    for (name, value) in &parameters {
        assert_eq!(value, text(vector, name), "{name}");
    }
}

#[test]
fn answers_are_verified_over_the_bytes_that_the_libraries_signed() {
    let vectors = vectors();
    for vector in list(&vectors, "responses", 3) {
        let name = text(vector, "name");
        let of = |serial: &str, signature: &str| {
            let pairs = [("wechatpay-timestamp", text(vector, "timestamp")), ("wechatpay-nonce", text(vector, "nonce"))];
            headers(&[pairs[0], pairs[1], ("wechatpay-signature", signature), ("wechatpay-serial", serial)])
        };
        let (body, signature, account) = (text(vector, "body").as_bytes(), text(vector, "signature"), credentials().account);
        // By the certificate, in either case of its serial number, and by the public key.
        for serial in [PLATFORM_SERIAL, &PLATFORM_SERIAL.to_lowercase(), PUBLIC_KEY_ID] {
            assert_eq!(signing::verify(&of(serial, signature), body, &account, now()), Ok(()), "{name} {serial}");
        }
        assert_eq!(signing::verify(&of("4DE55AD98ED7", signature), body, &account, now()), Err(Doubt::Forged), "a key that is not the account's");
        assert_eq!(signing::verify(&of(PLATFORM_SERIAL, signature), &[body, b" "].concat(), &account, now()), Err(Doubt::Forged), "{name}");
        let probe = format!("WECHATPAY/SIGNTEST/{signature}");
        assert_eq!(signing::verify(&of(PLATFORM_SERIAL, &probe), body, &account, now()), Err(Doubt::Forged), "wrong on purpose");
        for (seconds, verdict) in [(-301, Err(Doubt::Stale)), (-300, Ok(())), (300, Ok(())), (301, Err(Doubt::Stale))] {
            let then = now() + jiff::SignedDuration::from_secs(seconds);
            assert_eq!(signing::verify(&of(PLATFORM_SERIAL, signature), body, &account, then), verdict, "{name} {seconds}");
        }
        assert_eq!(signing::message(&[text(vector, "timestamp"), text(vector, "nonce"), text(vector, "body")]), text(vector, "message"));
    }
}

#[test]
fn a_signature_in_another_form_is_none() {
    let body = "{}";
    let value = |text: &str| text.parse::<http::HeaderValue>().expect("a value");
    let verdict = |adapt: &dyn Fn(&mut http::HeaderMap)| {
        let mut headers = signed_at(NOW, body);
        adapt(&mut headers);
        signing::verify(&headers, body.as_bytes(), &credentials().account, now())
    };
    assert_eq!(verdict(&|_| ()), Ok(()));
    for name in ["wechatpay-timestamp", "wechatpay-nonce", "wechatpay-signature", "wechatpay-serial"] {
        let missing = verdict(&|headers| {
            headers.remove(name);
        });
        let twice = verdict(&|headers| {
            headers.append(name, value("x"));
        });
        assert_eq!((missing, twice), (Err(Doubt::Unsigned), Err(Doubt::Unsigned)), "{name}");
    }
    let other = verdict(&|headers| {
        headers.insert("wechatpay-signature-type", value("WECHATPAY2-SM2-WITH-SM3"));
    });
    let without = verdict(&|headers| {
        headers.remove("wechatpay-signature-type");
    });
    assert_eq!((other, without), (Err(Doubt::Unsigned), Ok(())));
}

fn notice(nth: usize) -> (http::HeaderMap, String, Value) {
    let vector = list(&vectors(), "notifications", 3)[nth].clone();
    let pairs: Vec<(String, String)> =
        serde_json::from_value::<std::collections::BTreeMap<String, String>>(vector["headers"].clone()).expect("headers").into_iter().collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    (headers(&pairs), text(&vector, "body").to_owned(), serde_json::from_str(text(&vector, "plaintext")).expect("JSON"))
}

#[test]
fn notifications_are_believed_as_by_the_libraries_and_only_for_us() {
    for nth in 0..3 {
        let (headers, body, _) = notice(nth);
        let heard = |body: &str, credentials: &Credentials| WechatPay.verify_notification(&headers, body.as_bytes(), credentials, now());
        assert_eq!(heard(&body, &credentials()), Ok(()));
        assert_eq!(heard(&body, &credentials_with("mchid", "1900009192")), Err(NotificationError::BadSignature), "another merchant's");
        let stranger = credentials_with("apiv3_key", "AnotherMerchantsApiV3Key01234567");
        assert_eq!(heard(&body, &stranger), Err(NotificationError::Malformed), "genuine, and not sealed for us");
        assert_eq!(heard(&body.replace("EV-2018", "EV-2019"), &credentials()), Err(NotificationError::BadSignature));
        let bare = http::HeaderMap::new();
        assert_eq!(WechatPay.verify_notification(&bare, body.as_bytes(), &credentials(), now()), Err(NotificationError::Unsigned));
        let late = now() + jiff::SignedDuration::from_mins(6);
        assert_eq!(WechatPay.verify_notification(&headers, body.as_bytes(), &credentials(), late), Err(NotificationError::Stale));
    }
}

#[test]
fn a_notification_says_what_is_sealed_in_it() {
    let read = |nth: usize| WechatPay.read_notification(notice(nth).1.as_bytes(), &credentials()).expect("read");
    let paid = read(0);
    assert_eq!((paid.event_id.as_str(), paid.kind.as_str()), ("EV-20180225112233208731", "TRANSACTION.SUCCESS"));
    assert_eq!((paid.attempt_key.as_deref(), paid.payment), (Some("BW20261120000001"), None), "this one was made without an attach");
    let news = paid.news.expect("news");
    assert_eq!((news.fact, news.money, news.reference.as_deref()), (Fact::Approved, Some(money(8888, "CNY")), Some("BW20261120000001")));
    // Numbers that are none of ours: a refund in WeChat Pay's pages, and one that did not arrive.
    let refunded = read(1);
    let external = External::Refund { reference: "RF0001".to_owned(), money: money(100, "CNY") };
    assert_eq!((refunded.external, refunded.news, refunded.attempt_key), (Some(external), None, None));
    assert_eq!(refunded.pay_reference.as_deref(), Some("BW20261120000001"));
    let abnormal = read(2);
    let returned = External::RefundReturned { reference: "RF0002".to_owned(), money: money(100, "CNY") };
    assert_eq!((abnormal.kind.as_str(), abnormal.external, abnormal.news), ("REFUND.ABNORMAL", Some(returned), None), "it did not arrive");
}

/// A notification with this object inside, sealed as WeChat Pay does.
fn sealed(kind: &str, inside: &Value) -> String {
    use base64::Engine as _;
    let key = SharedKey::new(text(&vectors(), "apiv3_key").as_bytes()).expect("a key");
    let ciphertext = key.seal(b"0123456789ab", b"x", inside.to_string().as_bytes()).expect("sealed");
    let ciphertext = base64::engine::general_purpose::STANDARD.encode(ciphertext);
    let resource = json!({"algorithm": "AEAD_AES_256_GCM", "ciphertext": ciphertext, "associated_data": "x", "nonce": "0123456789ab"});
    json!({"id": "EV-1", "event_type": kind, "resource_type": "encrypt-resource", "resource": resource}).to_string()
}

fn changed(object: &Value, changes: Value) -> Value {
    let mut object = object.clone();
    for (name, value) in changes.as_object().expect("an object") {
        object[name] = value.clone();
    }
    object
}

#[test]
fn an_order_s_notification_names_its_payment_and_only_paid_and_closed_are_news() {
    let order = notice(0).2;
    let read = |changes: Value| WechatPay.read_notification(sealed("TRANSACTION.SUCCESS", &changed(&order, changes)).as_bytes(), &credentials());
    let fact = |changes: Value| read(changes).map(|read| read.news.map(|news| news.fact));
    assert_eq!(read(json!({"attach": PAYMENT})).expect("read").payment.as_deref(), Some(PAYMENT));
    assert_eq!(fact(json!({"trade_state": "REFUND"})), Ok(Some(Fact::Approved)));
    assert_eq!(fact(json!({"trade_state": "CLOSED"})), Ok(Some(Fact::Closed)));
    for state in ["NOTPAY", "USERPAYING", "ACCEPT", "PAYERROR", "MOVED"] {
        assert_eq!(fact(json!({"trade_state": state})), Ok(None), "{state}");
    }
    assert_eq!(fact(json!({"amount": {"total": 0, "currency": "CNY"}})), Err(NotificationError::Malformed));
    assert_eq!(fact(json!({"amount": {"total": 1, "currency": "USD"}})), Err(NotificationError::Malformed));
    assert_eq!(fact(json!({"out_trade_no": ""})), Err(NotificationError::Malformed));
}

#[test]
fn a_refund_s_notification_is_about_the_attempt_whose_number_it_has() {
    let object = notice(1).2;
    let read = |kind: &str, status: &str| {
        let changes = json!({"out_refund_no": KEY, "refund_status": status});
        WechatPay.read_notification(sealed(kind, &changed(&object, changes)).as_bytes(), &credentials()).expect("read")
    };
    let done = read("REFUND.SUCCESS", "SUCCESS");
    assert_eq!((done.attempt_key.as_deref(), done.payment, done.pay_reference.as_deref()), (Some(KEY), None, Some("BW20261120000001")));
    let news = done.news.expect("news");
    assert_eq!((news.fact, news.money, news.reference.as_deref()), (Fact::Approved, Some(money(100, "CNY")), Some(KEY)));
    for (kind, status) in [("REFUND.ABNORMAL", "ABNORMAL"), ("REFUND.CLOSED", "CLOSED")] {
        assert_eq!(read(kind, status).news.map(|news| news.fact), Some(Fact::Declined), "{status}");
    }
}

#[test]
fn what_is_not_sealed_as_it_should_be_is_not_read_and_what_is_not_carried_is_passed_over() {
    let good = sealed("TRANSACTION.SUCCESS", &notice(0).2);
    let read = |body: &str| WechatPay.read_notification(body.as_bytes(), &credentials());
    assert!(read(&good).is_ok());
    for body in [
        "",
        "{}",
        "<xml/>",
        &good[..good.len() - 1],
        &good.replace("AEAD_AES_256_GCM", "AEAD_SM4_GCM"),
        &good.replace("0123456789ab", "0123456789a"),
        &good.replace("0123456789ab", "0123456789ac"),
        &good.replace("\"associated_data\":\"x\"", "\"associated_data\":\"y\""),
        &good.replace("EV-1", ""),
        &sealed("TRANSACTION.SUCCESS", &json!(["an", "order"])),
        &sealed("REFUND.SUCCESS", &changed(&notice(1).2, json!({"refund_status": "LOST"}))),
    ] {
        assert_eq!(read(body).map(|_| ()), Err(NotificationError::Malformed), "{body}");
    }
    let other = read(&sealed("PAYSCORE.USER_PAID", &json!({}))).expect("read");
    assert_eq!((other.kind.as_str(), other.news, other.external), ("PAYSCORE.USER_PAID", None, None));
    assert_eq!(WechatPay.acknowledgement().0, 200);
}

/// What is sent: its method and path, its body, and its signature checked.
fn sent(call: &Call) -> (String, Value, Vec<(&'static str, String)>) {
    let Assembled::Send(HttpRequest { method, path, headers, body }) = WechatPay.request(call, &credentials()) else { panic!("nothing is sent") };
    let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
    let authorization = header("authorization").and_then(|value| value.strip_prefix("WECHATPAY2-SHA256-RSA2048 ")).expect("signed");
    let field =
        |name: &str| authorization.split(',').find_map(|pair| pair.strip_prefix(&format!("{name}=\""))).expect("a field").trim_end_matches('"');
    assert_eq!((field("mchid"), field("serial_no")), ("1900009191", "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"));
    assert_eq!((field("timestamp"), field("nonce_str").len()), ("1763600887", 32));
    let text = String::from_utf8(body).expect("UTF-8");
    let message = signing::message(&[method.as_str(), &path, field("timestamp"), field("nonce_str"), &text]);
    let key = PublicKey::from_pem(super::sample::text(&vectors(), "merchant_public_key_pem")).expect("a key");
    let signature = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, field("signature")).expect("base64");
    assert!(key.verifies_sha256(message.as_bytes(), &signature));
    assert_eq!((header("accept"), header("content-type")), (Some("application/json"), Some("application/json")));
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") };
    (format!("{method} {path}"), body, headers)
}

/// Every name in an object, with those within.
fn names(value: &Value, above: &str) -> Vec<String> {
    let Some(object) = value.as_object() else { return vec![above.to_owned()] };
    object.iter().flat_map(|(name, value)| names(value, &format!("{above}/{name}"))).collect()
}

#[test]
fn requests_have_the_same_addresses_and_fields_as_those_of_the_libraries() {
    let vectors = vectors();
    let calls = [call(Verb::Pay), call(Verb::Query), call(Verb::Close), refund(Verb::Refund)];
    for (vector, call) in list(&vectors, "authorization", 5).iter().zip(&calls) {
        let (line, body, _) = sent(call);
        let number = super::request::trade(call).expect("a number");
        assert_eq!(line, format!("{} {}", text(vector, "method"), text(vector, "url")).replace("BW20261120000001", number));
        let theirs: Value = serde_json::from_str(text(vector, "body")).unwrap_or_default();
        let ours = names(&body, "");
        let missing: Vec<_> = names(&theirs, "").into_iter().filter(|name| !ours.contains(name)).collect();
        // A refund's reason is optional, and is the merchant's own affair.
        assert!(missing.iter().all(|name| name == "/reason"), "{missing:?}");
    }
}

#[test]
fn an_order_ends_no_later_than_the_payment_and_names_its_payment() {
    let (_, body, headers) = sent(&call(Verb::Pay));
    let expected = json!({
        "mchid": "1900009191", "appid": "wxd678efh567hg6787", "out_trade_no": KEY, "description": "BW 1&2", "attach": PAYMENT,
        "time_expire": "2025-11-20T09:23:07+08:00", "notify_url": "https://bw.example/v1/notifications/wechat",
        "amount": {"total": 8888, "currency": "CNY"},
    });
    assert_eq!(body, expected);
    assert!(!headers.iter().any(|(name, _)| *name == "wechatpay-serial"), "a certificate is not asked for by name");
    let long = Call { description: Some("测\n".repeat(300)), ..call(Verb::Pay) };
    let description = sent(&long).1["description"].as_str().expect("a text").to_owned();
    assert_eq!((description.chars().count(), description.contains('\n')), (127, false));
    let late = Call { expires_at: "2026-12-31T16:00:00.999Z".parse().expect("a time"), ..call(Verb::Pay) };
    assert_eq!(sent(&late).1["time_expire"], "2027-01-01T00:00:00+08:00");
}

#[test]
fn an_account_with_a_public_key_says_which_key_it_wants_answers_signed_with() {
    let request = WechatPay.request(&call(Verb::Query), &credentials_with("platform_serial", PUBLIC_KEY_ID));
    let Assembled::Send(request) = request else { panic!("{request:?}") };
    assert!(request.headers.contains(&("wechatpay-serial", PUBLIC_KEY_ID.to_owned())));
}

#[test]
fn each_flow_has_what_it_needs_of_the_customer() {
    let (line, body, _) = sent(&Call { method: redirect(RedirectFlow::H5), ..call(Verb::Pay) });
    assert_eq!(line, "POST /v3/pay/transactions/h5");
    assert_eq!(body["scene_info"], json!({"payer_client_ip": "203.0.113.9", "h5_info": {"type": "Wap"}}));
    let (line, body, _) = sent(&Call { method: redirect(RedirectFlow::Jsapi), ..call(Verb::Pay) });
    assert_eq!((line.as_str(), &body["payer"]), ("POST /v3/pay/transactions/jsapi", &json!({"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"})));
    assert!(body["scene_info"].is_null());
}

#[test]
fn a_reversal_is_a_refund_under_its_own_number_and_is_asked_after_as_one() {
    let (_, body, _) = sent(&reversal(Verb::Reverse));
    let amount = json!({"refund": 8888, "total": 8888, "currency": "CNY"});
    assert_eq!(body, json!({"out_trade_no": "trade", "out_refund_no": KEY, "amount": amount, "reason": "reversal of trade"}));
    assert_eq!(sent(&reversal(Verb::QueryRefund)).0, format!("GET /v3/refund/domestic/refunds/{KEY}"));
}

#[test]
fn no_two_exchanges_share_a_nonce() {
    let nonce = |call: &Call, about: &str| Stamp::of(call, about).nonce;
    let later = Call { now: now() + jiff::SignedDuration::from_nanos(1), ..call(Verb::Query) };
    let all = [nonce(&call(Verb::Pay), "request"), nonce(&call(Verb::Pay), "script"), nonce(&call(Verb::Query), "request"), nonce(&later, "request")];
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
}

#[test]
fn what_wechat_pay_cannot_do_is_refused_before_anything_is_written() {
    let refused = |call: Call| WechatPay.refuses(&call).is_some();
    let with = |method| Call { method, ..call(Verb::Pay) };
    let at = |url: Option<&str>| Call { notify_url: url.map(str::to_owned), ..call(Verb::Pay) };
    assert!(!refused(call(Verb::Pay)) && !refused(with(redirect(RedirectFlow::H5))) && !refused(with(redirect(RedirectFlow::Jsapi))));
    assert!(refused(with(redirect(RedirectFlow::Page))) && refused(with(redirect(RedirectFlow::App))));
    let bare = |flow| PaymentMethod::Redirect { wallet: Some(Wallet::Wechatpay), flow, openid: None, client_ip: None };
    assert!(refused(with(bare(RedirectFlow::H5))) && refused(with(bare(RedirectFlow::Jsapi))));
    assert!(refused(with(PaymentMethod::Qr { wallet: Some(Wallet::Alipay) })));
    assert!(refused(with(PaymentMethod::Barcode { code: "1312345678901234".to_owned() })));
    assert!(refused(Call { money: money(100, "USD"), ..call(Verb::Pay) }));
    assert!(refused(Call { capture_method: CaptureMethod::Manual, ..call(Verb::Pay) }));
    assert!(refused(call(Verb::Capture)) && refused(call(Verb::Void)));
    assert!(refused(at(None)) && refused(at(Some("https://bw.example/n?channel=w"))) && refused(at(Some(&format!("https://{}", "x".repeat(250))))));
    assert!(refused(Call { pay_key: None, ..refund(Verb::Refund) }));
    assert!(!refused(Call { notify_url: None, ..refund(Verb::Refund) }) && !refused(reversal(Verb::Reverse)), "these need no address");
}

#[test]
fn what_is_kept_has_no_customer_and_no_signature() {
    let jsapi = Call { method: redirect(RedirectFlow::Jsapi), ..call(Verb::Pay) };
    let Assembled::Send(request) = WechatPay.request(&jsapi, &credentials()) else { panic!("nothing is sent") };
    let (asked, answered) = WechatPay.kept(&request, Some(&super::sample::signed(200, &notice(0).2.to_string())));
    assert_eq!((asked.get("total"), asked.get("path"), asked.get("method")), (Some("8888"), Some("/v3/pay/transactions/jsapi"), Some("POST")));
    assert_eq!((answered.get("trade_state"), answered.get("total"), answered.get("status")), (Some("SUCCESS"), Some("8888"), Some("200")));
    let kept = format!("{asked:?} {answered:?}");
    assert!(!kept.contains("oUpF8") && !kept.contains("WECHATPAY2"), "{kept}");
}

#[test]
fn no_secret_of_ours_is_shown() {
    let shown = format!("{:?}", credentials());
    assert!(!shown.contains("MIIE") && !shown.contains("BreakwaterTestApiV3Key"), "{shown}");
}

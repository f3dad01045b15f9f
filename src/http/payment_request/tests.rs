//! One clear error for each fault, by the field's full name.

use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::super::body;
use super::super::directory::ChannelView;
use super::*;

/// An installation with one channel, which is a bank or not.
struct OneChannel(bool);

impl ChannelDirectory for OneChannel {
    fn channels(&self) -> Vec<ChannelView> {
        Vec::new()
    }
    fn known(&self, id: &str) -> bool {
        id == "stripe_main"
    }
    fn open_to(&self, id: &str, _: Uuid) -> bool {
        self.known(id)
    }
    fn any_takes(&self, method: MethodKind, _: Uuid, _: bool) -> bool {
        method != MethodKind::Card || self.0
    }
}

fn now() -> Timestamp {
    "2026-11-21T23:01:14Z".parse().expect("a time")
}

fn read(object: &Value) -> Result<Parsed, Problem> {
    let Value::Object(object) = object else { panic!("a test's body is an object") };
    parse(object, Merchant { id: Uuid::from_u128(1), livemode: false }, &OneChannel(false), Duration::from_secs(30), now())
}

fn whole() -> Value {
    json!({"amount": 1250, "currency": "CNY", "merchant_order_id": "A-1", "payment_method": {"type": "card_token", "token": "pm_card_visa"}})
}

fn with(field: &str, value: Value) -> Value {
    let mut body = whole();
    body[field] = value;
    body
}

fn refusal(body: &Value) -> (ProblemCode, String) {
    let problem = read(body).expect_err("must be refused");
    (problem.code(), problem.param().unwrap_or_default().to_owned())
}

#[test]
fn the_example_of_the_contract_is_accepted() {
    let body = json!({
        "amount": 1250, "currency": "CNY", "merchant_order_id": "A-1", "payment_method": {"type": "qr", "wallet": "alipay"}, "capture_method": "automatic",
        "channel": null, "description": "", "metadata": {}, "return_url": null, "expires_at": null,
    });
    let parsed = read(&body).expect("accepted");
    assert!(parsed.objection.is_none());
    assert_eq!(parsed.request.method, PaymentMethod::Qr { wallet: Some(Wallet::Alipay) });
    assert_eq!(parsed.request.description, None);
    assert_eq!(parsed.request.expires_at, now() + SignedDuration::from_mins(15));
    assert_eq!(parsed.request.deadline_at, now() + SignedDuration::from_secs(30));
}

#[test]
fn each_required_field_is_missed_by_name() {
    for field in ["amount", "currency", "merchant_order_id", "payment_method"] {
        assert_eq!(refusal(&with(field, Value::Null)), (ProblemCode::MissingField, field.to_owned()));
    }
    assert_eq!(refusal(&with("payment_method", json!({}))), (ProblemCode::MissingField, "payment_method.type".to_owned()));
    assert_eq!(refusal(&with("payment_method", json!({"type": "card_token"}))), (ProblemCode::MissingField, "payment_method.token".to_owned()));
    assert_eq!(refusal(&with("payment_method", json!({"type": "redirect"}))), (ProblemCode::MissingField, "payment_method.flow".to_owned()));
}

#[test]
fn what_has_the_wrong_form_is_400_and_what_has_the_wrong_meaning_422() {
    use ProblemCode as Code;
    let cases = [
        ("amount", json!(12.5), Code::InvalidRequest, "amount"),
        ("amount", json!("1250"), Code::InvalidRequest, "amount"),
        ("amount", json!(0), Code::InvalidAmount, "amount"),
        ("amount", json!(-1), Code::InvalidAmount, "amount"),
        ("amount", json!(1_000_000_000_001_i64), Code::InvalidAmount, "amount"),
        ("currency", json!("ZZZ"), Code::UnknownCurrency, "currency"),
        ("currency", json!("cny"), Code::UnknownCurrency, "currency"),
        ("currency", json!(156), Code::InvalidRequest, "currency"),
        ("merchant_order_id", json!("two words"), Code::InvalidRequest, "merchant_order_id"),
        ("merchant_order_id", json!(""), Code::InvalidRequest, "merchant_order_id"),
        ("merchant_order_id", json!("x".repeat(65)), Code::InvalidRequest, "merchant_order_id"),
        ("payment_method", json!("card"), Code::InvalidRequest, "payment_method"),
        ("payment_method", json!({"type": "cash"}), Code::InvalidRequest, "payment_method.type"),
        ("payment_method", json!({"type": "card", "number": "4242424242424242"}), Code::UnsupportedPaymentMethod, "payment_method.type"),
        ("payment_method", json!({"type": "card_token", "token": "4242424242424242"}), Code::InvalidRequest, "payment_method.token"),
        ("payment_method", json!({"type": "card_token", "token": "pm_1", "cvc": "123"}), Code::UnknownField, "payment_method.cvc"),
        ("payment_method", json!({"type": "qr", "wallet": "paypal"}), Code::InvalidRequest, "payment_method.wallet"),
        ("payment_method", json!({"type": "barcode", "code": "28"}), Code::InvalidRequest, "payment_method.code"),
        ("payment_method", json!({"type": "redirect", "flow": "h5", "client_ip": "me"}), Code::InvalidRequest, "payment_method.client_ip"),
        ("capture_method", json!("later"), Code::InvalidRequest, "capture_method"),
        ("description", json!("x".repeat(501)), Code::InvalidRequest, "description"),
        ("description", json!("card 4242 4242 4242 4242"), Code::CardNumberRefused, "description"),
        ("metadata", json!({"card": "4242424242424242"}), Code::CardNumberRefused, "metadata.card"),
        ("return_url", json!("javascript:alert(1)"), Code::InvalidRequest, "return_url"),
        ("return_url", json!("/back"), Code::InvalidRequest, "return_url"),
        ("return_url", json!("https://"), Code::InvalidRequest, "return_url"),
        ("return_url", json!(format!("https://shop.example/{}", "x".repeat(2048))), Code::InvalidRequest, "return_url"),
        ("expires_at", json!("tomorrow"), Code::InvalidRequest, "expires_at"),
        ("expires_at", json!("2026-11-21T23:01:14"), Code::InvalidRequest, "expires_at"),
        ("expires_at", json!("2026-11-29T00:00:00Z"), Code::InvalidExpiry, "expires_at"),
        ("colour", json!("red"), Code::UnknownField, "colour"),
    ];
    for (field, value, code, param) in cases {
        let body = with(field, value);
        assert_eq!(refusal(&body), (code, param.to_owned()), "{body}");
    }
}

#[test]
fn what_is_only_wrong_now_is_an_objection_that_a_repeat_may_overrule() {
    for (field, value, code) in
        [("expires_at", json!("2026-11-21T23:01:14Z"), ProblemCode::InvalidExpiry), ("channel", json!("gone"), ProblemCode::UnknownChannel)]
    {
        let parsed = read(&with(field, value)).expect("of the right form");
        assert_eq!(parsed.objection.map(|problem| (problem.code(), problem.param().map(str::to_owned))), Some((code, Some(field.to_owned()))));
    }
    assert!(read(&with("channel", json!("stripe_main"))).expect("known").objection.is_none());
}

#[test]
fn an_address_to_return_to_may_have_a_query_and_a_fragment() {
    for url in ["https://shop.example/back?order=A-1&x=%20#top", "http://127.0.0.1:8080/back"] {
        assert_eq!(read(&with("return_url", json!(url))).expect("accepted").request.return_url.as_deref(), Some(url));
    }
}

#[test]
fn no_refusal_repeats_a_card_number() {
    for body in [
        with("payment_method", json!({"type": "card", "number": "4242424242424242"})),
        with("payment_method", json!({"type": "card_token", "token": "4242424242424242"})),
        with("payment_method", json!({"type": "4242424242424242"})),
        with("4242424242424242", json!(1)),
        with("metadata", json!({"4242424242424242": 1})),
        with("description", json!("4242424242424242")),
        with("currency", json!("4242424242424242")),
        with("capture_method", json!("4242424242424242")),
        with("amount", json!("4242424242424242")),
        with("channel", json!("4242424242424242")),
    ] {
        let told = match read(&body) {
            Ok(parsed) => format!("{:?}", parsed.objection),
            Err(problem) => format!("{problem:?}"),
        };
        assert!(!told.contains("4242"), "{told}");
    }
}

proptest! {
    #[test]
    fn arbitrary_values_in_known_fields_never_panic(field in proptest::sample::select(FIELDS.to_vec()), text in "\\PC{0,80}", number in any::<f64>()) {
        for value in [json!(text), json!(number), json!([text]), json!({ "type": text }), json!({ text.clone(): text })] {
            let _ = read(&with(field, value));
        }
        let _ = body::parse(text.as_bytes());
    }
}

#[test]
fn a_card_is_split_into_what_a_row_keeps_and_what_is_sealed() {
    let card = json!({"type": "card", "number": "4111111111111111", "exp_month": 12, "exp_year": 2028, "cvc": "123", "holder": "LI LEI"});
    let parsed = at_a_bank(&with("payment_method", card)).expect("a card");
    let kept = serde_json::to_string(&parsed.request.method).expect("JSON");
    assert_eq!(kept, r#"{"type":"card","first_six":"411111","last_four":"1111","exp_month":12,"exp_year":2028,"holder":"LI LEI"}"#);
    assert!(parsed.card.is_some());
    let shown = format!("{parsed:?}");
    assert!(!shown.contains("4111111111111111") && !shown.contains("123\""), "{shown}");
}

#[test]
fn a_card_that_cannot_be_one_is_refused_without_repeating_its_number() {
    let card = |field: &str, value: Value| {
        let mut card = json!({"type": "card", "number": "4111111111111111", "exp_month": 12, "exp_year": 2028, "cvc": "123"});
        card[field] = value;
        with("payment_method", card)
    };
    for (field, value) in [
        ("number", json!("4111111111111112")),
        ("number", json!("4111 1111 1111 1111")),
        ("number", json!(4_111_111_111_111_111_u64)),
        ("exp_month", json!(13)),
        ("exp_year", json!(28)),
        ("exp_year", json!(2025)),
        ("cvc", json!("12")),
        ("cvc", json!("abcd")),
    ] {
        let refused = at_a_bank(&card(field, value.clone())).map(|_| ()).expect_err("refused");
        assert!(format!("{refused:?}").contains(&format!("payment_method.{field}")), "{field} {value}: {refused:?}");
        assert!(!format!("{refused:?}").contains("1111"), "{refused:?}");
    }
    let refused = read(&card("cvc", json!("123"))).map(|_| ()).expect_err("no bank");
    assert_eq!(refused.code(), ProblemCode::UnsupportedPaymentMethod);
}

/// The same, where there is a bank channel.
fn at_a_bank(body: &Value) -> Result<Parsed, Problem> {
    let Value::Object(object) = body else { panic!("an object") };
    parse(object, Merchant { id: Uuid::from_u128(1), livemode: false }, &OneChannel(true), Duration::from_secs(30), now())
}

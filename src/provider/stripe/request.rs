//! What is sent to Stripe. Bodies are forms, brackets and all; replies are JSON.
//!
//! Ids of Stripe's go into paths and are encoded there, so that nothing that a reply contained can become another path. An amount that
//! Stripe cannot express is refused beforehand ([`refuses`]); should the request be built all the same, it asks for 0, which Stripe rejects
//! (left out, it would mean "all of it" to a capture or a refund).

use crate::domain::{CaptureMethod, Failure, FailureCode, PaymentMethod};
use crate::provider::{Call, Credentials, HttpRequest, Verb};

use super::{amount, object};

/// The shape of objects that this code reads.
const VERSION: &str = "2026-10-28.endive";

/// The longest description that is passed on, in characters; the rest is cut off.
const DESCRIPTION_MAX: usize = 500;

/// Why this call must not be sent.
pub(super) fn refuses(call: &Call) -> Option<Failure> {
    let refuse = |message: &str| Some(Failure::new(FailureCode::ChannelRejected, None, message));
    if matches!(call.verb, Verb::Pay | Verb::Capture | Verb::Refund) && amount::outgoing(call.money).is_none() {
        return refuse(&match amount::step(call.money.currency) {
            Some(step) => format!("Stripe takes {} in steps of {step} minor units: {} is not one", call.money.currency, call.money.amount),
            None => format!("Stripe does not take {}", call.money.currency),
        });
    }
    if call.verb == Verb::Pay && !matches!(call.method, PaymentMethod::CardToken { .. }) {
        return refuse("Stripe takes a card's token only");
    }
    let acts_on_an_intent = matches!(call.verb, Verb::Capture | Verb::Void | Verb::Reverse | Verb::Refund);
    if acts_on_an_intent && intent_id(call).is_none() {
        return refuse("Stripe's name for the payment is not known");
    }
    None
}

/// Path, headers and body for one exchange.
pub(super) fn request(call: &Call, credentials: &Credentials) -> HttpRequest {
    with_headers(draft(call), credentials)
}

/// A page of the account's intents.
pub(super) fn list(query: &[(&str, &str)], credentials: &Credentials) -> HttpRequest {
    let mut form = Form(String::with_capacity(256));
    for (name, value) in query {
        form.add(name, value);
    }
    with_headers(Draft::get(format!("/v1/payment_intents?{}", form.0)), credentials)
}

fn with_headers(draft: Draft, credentials: &Credentials) -> HttpRequest {
    let mut headers = vec![
        ("authorization", format!("Bearer {}", credentials.secret_key())),
        ("stripe-version", VERSION.to_owned()),
        ("user-agent", "breakwater".to_owned()),
    ];
    let (method, body) = match draft.form {
        Some(form) => {
            headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
            (http::Method::POST, form.0.into_bytes())
        }
        None => (http::Method::GET, Vec::new()),
    };
    if let Some(key) = draft.key {
        headers.push(("idempotency-key", key));
    }
    HttpRequest { method, path: draft.path, headers, body }
}

/// What a call looks like before it has headers.
struct Draft {
    path: String,
    /// A form is posted; none is a read.
    form: Option<Form>,
    key: Option<String>,
}

impl Draft {
    fn get(path: String) -> Self {
        Self { path, form: None, key: None }
    }

    fn post(path: String, form: Form) -> Self {
        Self { path, form: Some(form), key: None }
    }

    /// Under this idempotency key.
    fn under(mut self, key: String) -> Self {
        self.key = Some(key);
        self
    }
}

fn draft(call: &Call) -> Draft {
    let Some(id) = intent_id(call) else {
        return match call.verb {
            Verb::Pay => create(call),
            Verb::QueryRefund => look_for_refund(call),
            // Nothing can be done to an intent without its name: find it. A close comes back here with it.
            Verb::Query | Verb::Close | Verb::Capture | Verb::Void | Verb::Reverse | Verb::Refund => search(call),
        };
    };
    match call.verb {
        Verb::Pay => confirm(call, id),
        Verb::Query => Draft::get(format!("/v1/payment_intents/{}?{}", encoded(id), Form::of("expand[]", "latest_charge").0)),
        Verb::Close | Verb::Void => cancel(id),
        Verb::Reverse if call.held => cancel(id),
        Verb::Capture => {
            let form = Form::of("amount_to_capture", &outgoing(call));
            Draft::post(format!("/v1/payment_intents/{}/capture", encoded(id)), form).under(call.key.clone())
        }
        Verb::Reverse | Verb::Refund => refund(call, id),
        Verb::QueryRefund => look_for_refund(call),
    }
}

/// The first step: Stripe knows of the payment and can do nothing about it.
fn create(call: &Call) -> Draft {
    let mut form = Form::of("amount", &outgoing(call));
    form.add("currency", &call.money.currency.code().to_ascii_lowercase());
    if let PaymentMethod::CardToken { token } = &call.method {
        form.add("payment_method", token);
    }
    form.add("payment_method_types[0]", "card");
    form.add("capture_method", if call.capture_method == CaptureMethod::Manual { "manual" } else { "automatic" });
    form.add("confirm", "false");
    form.add("metadata[attempt]", &call.key);
    form.add("metadata[payment]", &call.payment);
    form.add("metadata[order]", &call.order);
    if let Some(description) = &call.description {
        form.add("description", &description.chars().take(DESCRIPTION_MAX).collect::<String>());
    }
    Draft::post("/v1/payment_intents".to_owned(), form).under(format!("{}-create", call.key))
}

/// The second step: the one that moves money. The charge is asked for because it says how long a hold lasts.
fn confirm(call: &Call, id: &str) -> Draft {
    let mut form = Form::of("expand[]", "latest_charge");
    if let Some(url) = &call.return_url {
        form.add("return_url", url);
    }
    Draft::post(format!("/v1/payment_intents/{}/confirm", encoded(id)), form).under(call.key.clone())
}

/// Without a key: see the module's essay.
fn cancel(id: &str) -> Draft {
    Draft::post(format!("/v1/payment_intents/{}/cancel", encoded(id)), Form::of("cancellation_reason", "abandoned"))
}

/// A refund, or a reversal of money that was taken: that gives back all that is left, whatever was taken.
fn refund(call: &Call, id: &str) -> Draft {
    let mut form = Form::of("payment_intent", id);
    if call.verb == Verb::Refund {
        form.add("amount", &outgoing(call));
    }
    form.add("metadata[attempt]", &call.key);
    form.add("metadata[payment]", &call.payment);
    if let Some(undone) = call.undoes.as_ref().filter(|_| call.verb == Verb::Reverse) {
        form.add("metadata[reverses]", &undone.key);
    }
    Draft::post("/v1/refunds".to_owned(), form).under(call.key.clone())
}

fn look_for_refund(call: &Call) -> Draft {
    if let Some(id) = refund_id(call) {
        return Draft::get(format!("/v1/refunds/{}", encoded(id)));
    }
    let Some(id) = intent_id(call) else { return search(call) };
    let mut query = Form::of("payment_intent", id);
    query.add("limit", "100");
    Draft::get(format!("/v1/refunds?{}", query.0))
}

/// By our key, as Stripe keeps it. Its index lags up to a minute.
fn search(call: &Call) -> Draft {
    let key = call.key.replace('\\', "\\\\").replace('\'', "\\'");
    let query = Form::of("query", &format!("metadata['attempt']:'{key}'"));
    Draft::get(format!("/v1/payment_intents/search?{}", query.0))
}

/// Stripe's name for the payment, if it is known and one of Stripe's.
pub(super) fn intent_id(call: &Call) -> Option<&str> {
    call.pay_reference.as_deref().filter(|id| object::is_id("pi_", id))
}

/// Stripe's name for the refund, if it is known and one of Stripe's.
pub(super) fn refund_id(call: &Call) -> Option<&str> {
    call.reference.as_deref().filter(|id| object::is_refund_id(id))
}

fn outgoing(call: &Call) -> String {
    amount::outgoing(call.money).unwrap_or(0).to_string()
}

/// A form's fields, encoded: the body of a POST, or a query.
struct Form(String);

impl Form {
    fn of(name: &str, value: &str) -> Self {
        let mut form = Self(String::with_capacity(256));
        form.add(name, value);
        form
    }

    fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(&encoded(name));
        self.0.push('=');
        self.0.push_str(&encoded(value));
    }
}

/// Percent-encoded to letters, digits, `_` and `-`: right for a form, a query and a path's segment alike (RFC 3986, section 2.1).
fn encoded(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len() + text.len() / 4);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 0xF)]));
        }
    }
    encoded
}

/// Reads a form or a query back, as a server does.
#[cfg(test)]
pub(super) fn decoded(form: &str) -> std::collections::BTreeMap<String, String> {
    let plain = |text: &str| {
        let text = text.replace('+', " ");
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, tail @ ..] = rest {
            match (first, tail) {
                (b'%', [high, low, after @ ..]) => {
                    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hex digit") as u8;
                    bytes.push(digit(*high) << 4 | digit(*low));
                    rest = after;
                }
                _ => {
                    bytes.push(*first);
                    rest = tail;
                }
            }
        }
        String::from_utf8(bytes).expect("UTF-8")
    };
    form.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').expect("a pair"))
        .map(|(name, value)| (plain(name), plain(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sample::{KEY, call, creating, credentials, money};
    use super::*;
    use crate::domain::FailureCode;

    fn sent(call: &Call) -> HttpRequest {
        request(call, &credentials(&[]))
    }

    fn fields(request: &HttpRequest) -> std::collections::BTreeMap<String, String> {
        decoded(std::str::from_utf8(&request.body).expect("UTF-8"))
    }

    fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
        request.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn the_first_step_never_confirms_and_the_second_carries_the_attempts_key() {
        let create = sent(&creating());
        assert_eq!((create.method.as_str(), create.path.as_str()), ("POST", "/v1/payment_intents"));
        assert_eq!(fields(&create)["confirm"], "false");
        assert_eq!(fields(&create)["metadata[attempt]"], KEY);
        assert_eq!(header(&create, "idempotency-key"), Some(format!("{KEY}-create").as_str()));

        let confirm = sent(&Call { return_url: Some("https://shop.example/?a=1&b=2".to_owned()), ..call(Verb::Pay) });
        assert_eq!(confirm.path, "/v1/payment_intents/pi_1/confirm");
        assert_eq!(fields(&confirm)["return_url"], "https://shop.example/?a=1&b=2");
        assert_eq!(header(&confirm, "idempotency-key"), Some(KEY));
    }

    #[test]
    fn whatever_cancels_carries_no_key_because_a_stored_error_would_hide_the_truth() {
        for call in [call(Verb::Close), call(Verb::Void), Call { held: true, ..call(Verb::Reverse) }] {
            let cancel = sent(&call);
            assert_eq!((cancel.method.as_str(), cancel.path.as_str()), ("POST", "/v1/payment_intents/pi_1/cancel"));
            assert_eq!(header(&cancel, "idempotency-key"), None);
        }
    }

    #[test]
    fn a_reversal_of_taken_money_names_no_amount() {
        let reversal = sent(&Call {
            undoes: Some(crate::provider::Undone { operation: crate::domain::Operation::Pay, key: "other".to_owned(), reference: None }),
            ..call(Verb::Reverse)
        });
        assert_eq!(reversal.path, "/v1/refunds");
        assert!(!fields(&reversal).contains_key("amount"));
        assert_eq!(fields(&reversal)["metadata[reverses]"], "other");
        assert_eq!(header(&reversal, "idempotency-key"), Some(KEY));
    }

    #[test]
    fn a_read_is_a_get_without_key_or_body() {
        let by_name = sent(&call(Verb::Query));
        assert_eq!(by_name.path, "/v1/payment_intents/pi_1?expand%5B%5D=latest_charge");
        let by_key = sent(&Call { pay_reference: None, ..call(Verb::Query) });
        let (path, query) = by_key.path.split_once('?').expect("a query");
        assert_eq!(path, "/v1/payment_intents/search");
        assert_eq!(decoded(query)["query"], format!("metadata['attempt']:'{KEY}'"));
        let refund = sent(&Call { reference: Some("re_1".to_owned()), ..call(Verb::QueryRefund) });
        assert_eq!(refund.path, "/v1/refunds/re_1");
        let refunds = sent(&call(Verb::QueryRefund));
        assert_eq!(refunds.path, "/v1/refunds?payment_intent=pi_1&limit=100");
        for read in [by_name, by_key, refund, refunds] {
            assert_eq!(read.method, http::Method::GET);
            assert!(read.body.is_empty());
            assert_eq!(header(&read, "idempotency-key"), None);
        }
    }

    #[test]
    fn an_amount_that_stripe_cannot_express_is_refused_and_would_never_mean_all_of_it() {
        for verb in [Verb::Pay, Verb::Capture, Verb::Refund] {
            let odd = Call { money: money(1001, "KWD"), ..call(verb) };
            assert_eq!(refuses(&odd).map(|failure| failure.code), Some(FailureCode::ChannelRejected), "{verb:?}");
            assert_eq!(refuses(&Call { money: money(1010, "KWD"), ..call(verb) }), None, "{verb:?}");
        }
        assert_eq!(fields(&sent(&Call { money: money(1001, "KWD"), ..call(Verb::Capture) }))["amount_to_capture"], "0");
        assert_eq!(fields(&sent(&Call { money: money(1001, "KWD"), ..call(Verb::Refund) }))["amount"], "0");
    }

    #[test]
    fn nothing_is_done_to_a_payment_whose_name_is_not_stripes() {
        for verb in [Verb::Capture, Verb::Void, Verb::Reverse, Verb::Refund] {
            for name in [None, Some("pi_1/../../refunds".to_owned()), Some(String::new()), Some("ch_1".to_owned())] {
                let call = Call { pay_reference: name, ..call(verb) };
                assert!(refuses(&call).is_some(), "{verb:?}");
                assert_eq!(sent(&call).method, http::Method::GET, "{verb:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(name in ".{1,20}", value in ".{0,60}") {
            let mut form = Form::of("first", "1");
            form.add(&name, &value);
            let read = decoded(&form.0);
            prop_assert_eq!(read.get(&name).map(String::as_str), Some(if name == "first" { value.as_str() } else { &value }));
            prop_assert!(form.0.bytes().all(|byte| byte.is_ascii_graphic()));
        }

        #[test]
        fn no_reference_escapes_its_place_in_the_path(reference in ".{0,40}", verb in proptest::sample::select(Verb::ALL.to_vec())) {
            let request = sent(&Call { pay_reference: Some(reference.clone()), reference: Some(reference), ..call(verb) });
            let path = request.path.split('?').next().unwrap_or_default();
            prop_assert!(path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte)), "{}", path);
        }
    }
}

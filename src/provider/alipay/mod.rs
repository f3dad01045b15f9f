//! Alipay's Open API, with RSA2: a code that we show, a code that the customer shows, Alipay's page.
//!
//! **One number.** The pay attempt's key is `out_trade_no`, the refund's is `out_request_no`: whatever happened to an answer, everything can be
//! asked for. What we keep as the channel's reference is that number too.
//!
//! **A code that is shown is not a trade.** Alipay makes the trade when somebody scans the code or opens the page; until then a query answers
//! `TRADE_NOT_EXIST`, and so does a close, which therefore confirms nothing. Such a code dies at its `time_expire`, which is never later than our
//! own expiry; some time after that a fresh answer that it was not paid is the end (`dead_after_expiry`).
//!
//! **What an answer means.** `reply.rs` holds the code; this is the table that it follows. An answer that is not signed by Alipay is not Alipay's,
//! but for the gateway's refusals, which may come unsigned. "Read" is what the fields say.
//!
//! | answer | precreate, pay | refund, reversal | query, close, cancel, refund's query | breaker |
//! |---|---|---|---|---|
//! | 10000 | action required; approved | `fund_change` Y: approved; else unknown | read | success |
//! | 10003 | action required | | | success |
//! | 40004, listed | declined | declined, or waits for money | no trade: not found, or still shown | success |
//! | 40004, not listed | unknown | unknown | unknown | success |
//! | 40001, 40002, 40003 | declined | declined | unknown | success |
//! | 40006, 20001, wrong signature or application; the gateway's, unsigned | not sent | not sent | unknown | soft failure |
//! | 40005, HTTP 429 | not sent | not sent | unknown | rate limited |
//! | 20000, `SYSTEM_ERROR`, HTTP 5xx | unknown | unknown | unknown | soft failure |
//! | all else: unsigned, forged, cut off, another trade's | unknown | unknown | unknown | hard failure |
//!
//! **Closed is two things.** `TRADE_CLOSED` is a trade that was never paid, or one that was paid and given back in full. The date of payment tells
//! them apart; a payment that was refunded has succeeded.
//!
//! **A payment by a shown code is ended by a cancel**, after a query: it closes what is unpaid and gives back what was paid meanwhile. What a
//! *code of ours* is ended by is a close, which gives nothing back.
//!
//! Read on in `request.rs` (what is sent), `envelope.rs` (which bytes are signed), `signing.rs`, `reply.rs`, `codes.rs`, `notification.rs`.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::contract::Unanswered;
use crate::domain::{Contract, Failure, Fields, MethodKind, REFUNDS_WITHOUT_LIMIT, Wallet};
use crate::provider::{
    AccountField, Assembled, Call, Credentials, FieldKind, HttpProtocol, HttpRequest, HttpResponse, Notification, NotificationError, Protocol,
    Provider, Reply,
};

mod amount;
mod china;
mod codes;
mod envelope;
mod kept;
mod notification;
mod reply;
mod request;
mod signing;
#[cfg(test)]
mod vectors;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What Alipay promises.
static CONTRACT: Contract = Contract {
    // A number is a merchant's for ever; a year covers every refund.
    key_lives_for: DAY.saturating_mul(365),
    // A code that arrives for the first time is charged.
    replay_may_charge: true,
    charges_only_with_reference: false,
    can_close: true,
    several_captures: false,
    // A request that is still on its way.
    not_found_final_after: Duration::from_secs(60),
    // Usually 12 months, with a day for our clock and theirs.
    refund_window: DAY.saturating_mul(364),
    // Documented: 3 seconds between two refunds of one trade.
    refund_spacing: Duration::from_secs(3),
    refunds_at_most: REFUNDS_WITHOUT_LIMIT,
    // "A failed or unknown refund is retried with the same number or it can refund twice."
    refund_number_is_permanent: true,
    // Nothing is ever held.
    hold_lasts: Duration::ZERO,
    unanswered: Unanswered::Query,
    // `time_expire` is never later than our expiry; a minute is for a customer who confirms in the last second, and for two clocks.
    dead_after_expiry: Some(Duration::from_secs(60)),
    methods: &[MethodKind::Qr, MethodKind::Barcode, MethodKind::Redirect],
};

/// Alipay's protocol: `gateway.do`, version 1.0.
#[derive(Debug)]
pub struct Alipay;

impl Provider for Alipay {
    fn name(&self) -> &'static str {
        "alipay"
    }

    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    fn default_address(&self) -> &'static str {
        "https://openapi.alipay.com"
    }

    fn account_fields(&self) -> &'static [AccountField] {
        const fn field(name: &'static str, kind: FieldKind, required: bool, help: &'static str) -> AccountField {
            AccountField { name, kind, required, help }
        }
        const FIELDS: &[AccountField] = &[
            field("app_id", FieldKind::Text, true, "the application's id (APPID) in Alipay's open platform"),
            field("seller_id", FieldKind::Text, true, "the merchant's number (PID), 16 digits that begin with 2088"),
            field("private_key", FieldKind::PrivateKey, true, "the application's private key, PEM, whose public half Alipay was given"),
            field("alipay_public_key", FieldKind::PublicKey, true, "Alipay's public key for the application, PEM, or Alipay's certificate"),
            field("app_auth_token", FieldKind::Text, false, "for a service provider: the merchant's authorization"),
        ];
        FIELDS
    }

    fn wallets(&self) -> &'static [Wallet] {
        &[Wallet::Alipay]
    }

    fn needs_secret_key(&self) -> bool {
        false
    }

    fn refuses(&self, call: &Call) -> Option<Failure> {
        request::refuses(call)
    }

    fn protocol(&'static self) -> Protocol {
        Protocol::Http(&Alipay)
    }

    /// A payment by a shown code is answered after the customer's account was charged, which takes longer than making a code.
    fn default_timeout(&self) -> Duration {
        Duration::from_secs(5)
    }
}

impl HttpProtocol for Alipay {
    fn request(&self, call: &Call, credentials: &Credentials) -> Assembled {
        request::request(call, credentials)
    }

    fn reply(&self, call: &Call, response: &HttpResponse, credentials: &Credentials) -> Reply {
        reply::reply(call, response, credentials.account.public_key("alipay_public_key"))
    }

    fn kept(&self, request: &HttpRequest, response: Option<&HttpResponse>) -> (Fields, Fields) {
        kept::kept(request, response)
    }

    fn signs_slowly(&self) -> bool {
        true
    }

    fn verify_notification(&self, _: &http::HeaderMap, body: &[u8], credentials: &Credentials, _: Timestamp) -> Result<(), NotificationError> {
        notification::verify(body, credentials)
    }

    fn read_notification(&self, body: &[u8], _: &Credentials) -> Result<Notification, NotificationError> {
        notification::read(body)
    }

    /// Seven bytes and no more, or Alipay sends it again for a day.
    fn acknowledgement(&self) -> (u16, &'static str, &'static str) {
        (200, "text/plain", "success")
    }
}

/// What the tests of this module start from.
#[cfg(test)]
mod sample {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use secrecy::SecretString;
    use serde_json::Value;

    use super::*;
    use crate::domain::{CaptureMethod, Currency, Money, PaymentMethod};
    use crate::keys::PrivateKey;
    use crate::provider::{Account, Undone, Verb};

    pub(super) const KEY: &str = "0190a8b4c6d2700080000000000000ff";
    pub(super) const PAYMENT: &str = "pay_0190a8b4c6d2700080000000000000aa";
    pub(super) const NOW: &str = "2026-11-20T01:08:07Z";

    pub(super) fn vectors() -> Value {
        serde_json::from_str(include_str!("../../../tests/vectors/alipay.json")).expect("the vectors are JSON")
    }

    pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
        value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}"))
    }

    pub(super) fn alipay_key() -> PrivateKey {
        PrivateKey::from_pem(text(&vectors(), "alipay_private_key_pkcs1_pem")).expect("a key")
    }

    /// The account of the vectors.
    pub(super) fn credentials() -> Credentials {
        let vectors = vectors();
        let mut account = Account::default();
        for field in Alipay.account_fields().iter().filter(|field| field.required) {
            let value = match field.name {
                "app_id" => "2021000000000001",
                "seller_id" => "2088000000000099",
                "private_key" => text(&vectors, "app_private_key_pkcs1_pem"),
                "alipay_public_key" => text(&vectors, "alipay_public_key_pem"),
                other => panic!("nothing is known of {other}"),
            };
            account.set_text(field, value).expect("a field");
        }
        Credentials { address: "https://openapi.example".to_owned(), account, secret_key: SecretString::default(), notification_secrets: Vec::new() }
    }

    pub(super) fn money(amount: i64, code: &str) -> Money {
        Money { amount, currency: Currency::parse(code).expect("a currency") }
    }

    pub(super) fn qr() -> PaymentMethod {
        PaymentMethod::Qr { wallet: None }
    }

    pub(super) fn barcode() -> PaymentMethod {
        PaymentMethod::Barcode { code: "2812345678901234".to_owned() }
    }

    /// A code of ours that was shown, 15 minutes before its end.
    pub(super) fn call(verb: Verb) -> Call {
        let now: Timestamp = NOW.parse().expect("a time");
        Call {
            verb,
            key: KEY.to_owned(),
            payment: PAYMENT.to_owned(),
            order: "BW 1&2".to_owned(),
            money: money(8888, "CNY"),
            payment_amount: 8888,
            method: qr(),
            capture_method: CaptureMethod::Automatic,
            pay_reference: Some(KEY.to_owned()),
            reference: None,
            pay_key: Some(KEY.to_owned()),
            undoes: None,
            held: false,
            description: None,
            return_url: None,
            expires_at: now + jiff::SignedDuration::from_mins(15),
            attempted_at: now,
            now,
            notify_url: None,
            repeat: false,
            card: None,
        }
    }

    /// A refund of the payment whose key is `trade`.
    pub(super) fn refund(verb: Verb) -> Call {
        Call { pay_key: Some("trade".to_owned()), money: money(1, "CNY"), ..call(verb) }
    }

    /// The reversal of that payment.
    pub(super) fn reversal(verb: Verb) -> Call {
        let undoes = Undone { operation: crate::domain::Operation::Pay, key: "trade".to_owned(), reference: None };
        Call { undoes: Some(undoes), ..refund(verb) }
    }

    /// The answer with this node, as Alipay would sign it.
    pub(super) fn signed(method: &str, node: &str) -> HttpResponse {
        let sign = BASE64.encode(alipay_key().sign_sha256(node.as_bytes()).expect("signed"));
        answer(200, format!(r#"{{"{}_response":{node},"sign":"{sign}"}}"#, method.replace('.', "_")))
    }

    pub(super) fn answer(status: u16, body: String) -> HttpResponse {
        HttpResponse { status, headers: http::HeaderMap::new(), body: body.into() }
    }
}

//! WeChat Pay's API v3, for a merchant of its own: a code that we show (`native`), its page on a phone (`h5`), its own browser (`jsapi`).
//!
//! **One number.** The pay attempt's key is `out_trade_no`, the refund's is `out_refund_no`: whatever happened to an answer, everything can be
//! asked for. What we keep as the channel's reference is that number too.
//!
//! **An order is there before anybody can pay it.** Unlike a code of Alipay's it is found as soon as it was made, and a close of it is confirmed.
//! So an order whose making was not answered, found unpaid, is one whose code nobody ever saw: it is closed, and another channel may be tried.
//!
//! **What an answer means.** `reply.rs` holds the code; this is the table that it follows. An answer that is not signed by a platform key of the
//! account is not WeChat Pay's, but for those that turn the account away, which may come unsigned. "Read" is what the fields say.
//!
//! | answer | order | refund, reversal | query, close, refund's query | breaker |
//! |---|---|---|---|---|
//! | 200, 204 | action required | read | read | success |
//! | 202 | unknown | unknown | unknown | success |
//! | 4xx, listed | declined | declined, or waits for money | not there: not found | success |
//! | 4xx, not listed | unknown | unknown | unknown | success |
//! | `SIGN_ERROR`, `NO_AUTH`, `APPID_MCHID_NOT_MATCH`, `MCH_NOT_EXISTS` | not sent | not sent | unknown | soft failure |
//! | 429, `FREQUENCY_LIMITED`, `RATELIMIT_EXCEEDED` | not sent | not sent | unknown | rate limited |
//! | 5xx, `SYSTEM_ERROR` | unknown | unknown | unknown | soft failure |
//! | all else: unsigned, forged, stale, cut off, another order's | unknown | unknown | unknown | hard failure |
//!
//! **A refund may fail after days** (`ABNORMAL`: the customer's card is gone). It is told as failed, which takes back a success.
//!
//! **What is not here.** Payment codes that the customer shows, and payments from app to app. Sensitive fields, sealed with RSA-OAEP for the
//! platform (`keys/oaep.rs`): no call that is carried here has one; those that have (a refund sent to another bank account, say) are a person's, in
//! WeChat Pay's pages. Platform certificates are not downloaded: the settings hold the platform's key, and a second one while they change.
//!
//! Read on in `request.rs` (what is sent), `signing.rs` (which bytes are signed), `reply.rs`, `object.rs`, `codes.rs`, `notification.rs`.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::contract::Unanswered;
use crate::domain::{Contract, Failure, Fields, MethodKind, OperationClass, Wallet};
use crate::provider::{
    AccountField, Assembled, Call, Credentials, FieldKind, HttpProtocol, HttpRequest, HttpResponse, Notification, NotificationError, Protocol,
    Provider, Reply,
};

mod codes;
mod kept;
mod notification;
mod object;
mod reply;
mod request;
mod signing;
#[cfg(test)]
mod vectors;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What WeChat Pay promises.
static CONTRACT: Contract = Contract {
    // A number is a merchant's for ever; a year covers every refund.
    key_lives_for: DAY.saturating_mul(365),
    // An order that arrives for the first time can be paid.
    replay_may_charge: true,
    charges_only_with_reference: false,
    can_close: true,
    several_captures: false,
    // A request that is still on its way.
    not_found_final_after: Duration::from_secs(60),
    // A year, with a day for our clock and theirs.
    refund_window: DAY.saturating_mul(364),
    // Documented: a minute between two refunds of one order.
    refund_spacing: Duration::from_secs(60),
    // Documented: 50 parts of one order.
    refunds_at_most: 50,
    // "Repeat with identical parameters, never a new out_refund_no", or it can be refunded twice.
    refund_number_is_permanent: true,
    // Nothing is ever held.
    hold_lasts: Duration::ZERO,
    unanswered: Unanswered::Query,
    // A close is confirmed: nothing less ends an order that was shown.
    dead_after_expiry: None,
    methods: &[MethodKind::Qr, MethodKind::Redirect],
};

/// WeChat Pay's protocol: API v3.
#[derive(Debug)]
pub struct WechatPay;

impl Provider for WechatPay {
    fn name(&self) -> &'static str {
        "wechatpay"
    }

    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    fn default_address(&self) -> &'static str {
        "https://api.mch.weixin.qq.com"
    }

    fn account_fields(&self) -> &'static [AccountField] {
        const fn field(name: &'static str, kind: FieldKind, required: bool, help: &'static str) -> AccountField {
            AccountField { name, kind, required, help }
        }
        const FIELDS: &[AccountField] = &[
            field("mchid", FieldKind::Text, true, "the merchant's number at WeChat Pay, such as 1900009191"),
            field("appid", FieldKind::Text, true, "the id of the app or official account that the merchant is bound to, wx…"),
            field("serial_no", FieldKind::Text, true, "the serial number of the merchant's API certificate, 40 hexadecimal digits"),
            field("private_key", FieldKind::PrivateKey, true, "the key of the merchant's API certificate (apiclient_key.pem)"),
            field("apiv3_key", FieldKind::SecretOf(32), true, "the APIv3 key, which opens notifications; set in the merchant's pages"),
            field(
                "platform_serial",
                FieldKind::Text,
                true,
                "what WeChat Pay calls its key: PUB_KEY_ID_… of its public key, or the serial number of its certificate",
            ),
            field("platform_key", FieldKind::PublicKey, true, "that public key (pub_key.pem), or that certificate"),
            field("second_platform_serial", FieldKind::Text, false, "while WeChat Pay's key changes: the other one's name"),
            field("second_platform_key", FieldKind::PublicKey, false, "while WeChat Pay's key changes: the other one"),
        ];
        FIELDS
    }

    fn wallets(&self) -> &'static [Wallet] {
        &[Wallet::Wechatpay]
    }

    fn needs_secret_key(&self) -> bool {
        false
    }

    fn refuses(&self, call: &Call) -> Option<Failure> {
        request::refuses(call)
    }

    fn protocol(&'static self) -> Protocol {
        Protocol::Http(&WechatPay)
    }

    /// Documented for all calls of a merchant together: 150 a second. Seven in ten are for orders, as in a guard's room.
    fn documented_rate(&self, class: OperationClass, _livemode: bool) -> Option<u32> {
        Some(match class {
            OperationClass::Pay => 105,
            OperationClass::Resolve => 30,
            OperationClass::Refund => 15,
        })
    }
}

impl HttpProtocol for WechatPay {
    fn request(&self, call: &Call, credentials: &Credentials) -> Assembled {
        request::request(call, credentials)
    }

    fn reply(&self, call: &Call, response: &HttpResponse, credentials: &Credentials) -> Reply {
        reply::reply(call, response, credentials)
    }

    fn kept(&self, request: &HttpRequest, response: Option<&HttpResponse>) -> (Fields, Fields) {
        kept::kept(request, response)
    }

    fn signs_slowly(&self) -> bool {
        true
    }

    fn verify_notification(
        &self,
        headers: &http::HeaderMap,
        body: &[u8],
        credentials: &Credentials,
        now: Timestamp,
    ) -> Result<(), NotificationError> {
        notification::verify(headers, body, credentials, now)
    }

    fn read_notification(&self, body: &[u8], credentials: &Credentials) -> Result<Notification, NotificationError> {
        notification::read(body, credentials)
    }

    /// Any 200 or 204 will do; the body is what WeChat Pay's older interfaces were answered with.
    fn acknowledgement(&self) -> (u16, &'static str, &'static str) {
        (200, "application/json", r#"{"code":"SUCCESS","message":""}"#)
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
    use crate::domain::method::RedirectFlow;
    use crate::domain::{CaptureMethod, Currency, Money, PaymentMethod};
    use crate::keys::PrivateKey;
    use crate::provider::{Account, Undone, Verb};

    pub(super) const KEY: &str = "0190a8b4c6d2700080000000000000ff";
    pub(super) const PAYMENT: &str = "pay_0190a8b4c6d2700080000000000000aa";
    /// When the vectors were signed.
    pub(super) const NOW: i64 = 1_763_600_887;
    pub(super) const PLATFORM_SERIAL: &str = "1DDE55AD98ED71D6EDD4A4A16996DE7B47773A8C";
    pub(super) const PUBLIC_KEY_ID: &str = "PUB_KEY_ID_0119000091912026112000000000000001";

    pub(super) fn vectors() -> Value {
        serde_json::from_str(include_str!("../../../tests/vectors/wechatpay.json")).expect("the vectors are JSON")
    }

    pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
        value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}"))
    }

    pub(super) fn now() -> Timestamp {
        Timestamp::from_second(NOW).expect("a time")
    }

    pub(super) fn platform() -> PrivateKey {
        PrivateKey::from_pem(text(&vectors(), "wechatpay_private_key_pem")).expect("a key")
    }

    /// The account of the vectors, with the platform's certificate and, as while they change, its public key.
    pub(super) fn credentials() -> Credentials {
        let vectors = vectors();
        let mut account = Account::default();
        for field in WechatPay.account_fields() {
            let value = match field.name {
                "mchid" => text(&vectors, "mchid"),
                "appid" => "wxd678efh567hg6787",
                "serial_no" => text(&vectors, "merchant_serial"),
                "private_key" => text(&vectors, "merchant_private_key_pem"),
                "apiv3_key" => text(&vectors, "apiv3_key"),
                "platform_serial" => PLATFORM_SERIAL,
                "platform_key" => text(&vectors, "wechatpay_platform_cert_pem"),
                "second_platform_serial" => PUBLIC_KEY_ID,
                "second_platform_key" => text(&vectors, "wechatpay_public_key_pem"),
                other => panic!("nothing is known of {other}"),
            };
            account.set_text(field, value).expect("a field");
        }
        Credentials { address: "https://api.example".to_owned(), account, secret_key: SecretString::default(), notification_secrets: Vec::new() }
    }

    /// The same with one field another.
    pub(super) fn credentials_with(name: &str, value: &str) -> Credentials {
        let mut credentials = credentials();
        let field = WechatPay.account_fields().iter().find(|field| field.name == name).expect("a field");
        credentials.account.set_text(field, value).expect("it fits");
        credentials
    }

    pub(super) fn money(amount: i64, code: &str) -> Money {
        Money { amount, currency: Currency::parse(code).expect("a currency") }
    }

    pub(super) fn redirect(flow: RedirectFlow) -> PaymentMethod {
        let (openid, client_ip) = (Some("oUpF8uMuAJO_M2pxb1Q9zNjWeS6o".to_owned()), Some("203.0.113.9".to_owned()));
        PaymentMethod::Redirect { wallet: None, flow, openid, client_ip }
    }

    /// A code of ours that was shown, 15 minutes before its end.
    pub(super) fn call(verb: Verb) -> Call {
        Call {
            verb,
            key: KEY.to_owned(),
            payment: PAYMENT.to_owned(),
            order: "BW 1&2".to_owned(),
            money: money(8888, "CNY"),
            payment_amount: 8888,
            method: PaymentMethod::Qr { wallet: None },
            capture_method: CaptureMethod::Automatic,
            pay_reference: Some(KEY.to_owned()),
            reference: None,
            pay_key: Some(KEY.to_owned()),
            undoes: None,
            held: false,
            description: None,
            return_url: None,
            expires_at: now() + jiff::SignedDuration::from_mins(15),
            attempted_at: now(),
            now: now(),
            notify_url: Some("https://bw.example/v1/notifications/wechat".to_owned()),
            repeat: false,
            card: None,
        }
    }

    /// A refund of one fen of the order whose number is `trade`.
    pub(super) fn refund(verb: Verb) -> Call {
        Call { pay_key: Some("trade".to_owned()), money: money(1, "CNY"), ..call(verb) }
    }

    /// The reversal of that order.
    pub(super) fn reversal(verb: Verb) -> Call {
        let undoes = Undone { operation: crate::domain::Operation::Pay, key: "trade".to_owned(), reference: None };
        Call { undoes: Some(undoes), money: money(8888, "CNY"), ..refund(verb) }
    }

    /// The headers with which WeChat Pay would send `body` at that time.
    pub(super) fn signed_at(seconds: i64, body: &str) -> http::HeaderMap {
        let signed = signing::message(&[&seconds.to_string(), "nonce", body]);
        let signature = BASE64.encode(platform().sign_sha256(signed.as_bytes()).expect("signed"));
        headers(&[
            ("Wechatpay-Timestamp", &seconds.to_string()),
            ("Wechatpay-Nonce", "nonce"),
            ("Wechatpay-Signature", &signature),
            ("Wechatpay-Serial", PLATFORM_SERIAL),
            ("Wechatpay-Signature-Type", "WECHATPAY2-SHA256-RSA2048"),
        ])
    }

    pub(super) fn headers(pairs: &[(&str, &str)]) -> http::HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<http::HeaderName>().expect("a name"), value.parse().expect("a value"))).collect()
    }

    /// The answer with this body, as WeChat Pay would sign it.
    pub(super) fn signed(status: u16, body: &str) -> HttpResponse {
        HttpResponse { status, headers: signed_at(NOW, body), body: body.to_owned().into() }
    }
}

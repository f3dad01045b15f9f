//! Stripe: PaymentIntents, Refunds, webhooks. Cards that one account knows by a token (`pm_…`).
//!
//! **Two steps.** Stripe has no query by our key, and a repeat with our key charges when the first never arrived. So a payment is first
//! *created* without being confirmed, which cannot move money; its `pi_…` is on disk before it is *confirmed*, and from then on it can be
//! asked for. Whatever goes wrong with the first step is therefore certain not to have charged anybody.
//!
//! **What an answer means.** `reply.rs` holds the code; this is the table it follows. "Read" is the status of the object in the answer.
//!
//! | answer | create | confirm, capture, void, reversal, refund | query, close, refund's query | breaker |
//! |---|---|---|---|---|
//! | 200, the object asked for | step | read | read | success |
//! | 402 `card_error` | declined | declined | unknown | success |
//! | 400 `payment_intent_unexpected_state` | declined | read `error.payment_intent`; none: unknown | close: the same | success |
//! | 400 `invalid_request_error` | declined | declined | unknown | success |
//! | 400 `idempotency_error`, unlisted types | declined | unknown | unknown | success |
//! | `balance_insufficient` (refunds) | | not sent: it waits in the queue | | success |
//! | 401, 403 | not sent | not sent | unknown | soft failure |
//! | 404 `invalid_request_error` | declined | declined | not found (close: unknown) | success |
//! | 409; 429 `lock_timeout` | not sent | unknown | unknown | success; rate limited |
//! | 429 | not sent | not sent | unknown | rate limited |
//! | 5xx, 424 | not sent | unknown | unknown | soft failure |
//! | all else: malformed, cut off, another object's | not sent | unknown | unknown | hard failure |
//!
//! Why so: a wrong key (401, 403) is refused before anything is executed, so another channel may be tried, and it is the *channel* that is
//! broken, so its breaker must open. A 409 and a lock's 429 say that another request is at work on the same key or object: that other one may
//! be ours. A query or a close speaks of the pay attempt, not of itself, so neither ever says "not sent" or "declined" of its own failure. A
//! `card_error` whose own `payment_intent` shows that money moves contradicts itself, and is unknown.
//!
//! **Keys.** Stripe stores the first result under a key, a 500 included, and repeats it for a day. A cancel is idempotent by nature, so it
//! (close, void, the reversal of a hold) carries no key: a stored 500 would hide the truth for a day, and the same key on another path is an
//! error. Capture, refund and confirm carry the attempt's key; their doubts are settled by asking for the object, never by a repeat.
//!
//! Read on in `request.rs` (what is sent), `list.rs` (asking once about many), `object.rs` (what Stripe's objects say), `reply.rs`, `notification.rs`, `amount.rs`, `codes.rs`.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{CallClass, Contract, Failure, Fields, MethodKind, OperationClass, REFUNDS_WITHOUT_LIMIT, Unanswered};
use crate::provider::{
    Assembled, Call, Credentials, HttpProtocol, HttpRequest, HttpResponse, ListProtocol, Notification, NotificationError, Page, PageWanted, Protocol,
    Provider, Reply,
};

mod amount;
mod codes;
mod kept;
mod list;
mod notification;
mod object;
mod reply;
mod request;
#[cfg(test)]
mod vectors;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// What Stripe promises.
static CONTRACT: Contract = Contract {
    // Documented: 24 hours.
    key_lives_for: Duration::from_secs(23 * 60 * 60),
    replay_may_charge: true,
    charges_only_with_reference: true,
    can_close: true,
    several_captures: false,
    // The search index lags up to a minute.
    not_found_final_after: Duration::from_secs(60),
    refund_window: Duration::from_secs(180 * 24 * 60 * 60),
    refund_spacing: Duration::ZERO,
    refunds_at_most: REFUNDS_WITHOUT_LIMIT,
    refund_number_is_permanent: false,
    // Documented: 7 days, for most cards. Where the charge says `capture_before`, that counts.
    hold_lasts: Duration::from_secs(7 * 24 * 60 * 60).saturating_sub(HOUR.saturating_mul(12)),
    unanswered: Unanswered::Query,
    dead_after_expiry: None,
    methods: &[MethodKind::CardToken],
};

/// Stripe's protocol, as of version `2026-10-28.endive`.
#[derive(Debug)]
pub struct Stripe;

impl Provider for Stripe {
    fn name(&self) -> &'static str {
        "stripe"
    }

    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    fn default_address(&self) -> &'static str {
        "https://api.stripe.com"
    }

    /// Documented for all calls of an account together: 100 a second live, 25 in test mode (<https://docs.stripe.com/rate-limits>). Seven in ten are
    /// for charges, as in a guard's room.
    fn documented_rate(&self, class: OperationClass, livemode: bool) -> Option<u32> {
        Some(match (class, livemode) {
            (OperationClass::Pay, true) => 70,
            (OperationClass::Resolve, true) => 20,
            (OperationClass::Refund, true) => 10,
            (OperationClass::Pay, false) => 17,
            (OperationClass::Resolve, false) => 5,
            (OperationClass::Refund, false) => 3,
        })
    }

    fn refuses(&self, call: &Call) -> Option<Failure> {
        request::refuses(call)
    }

    fn protocol(&'static self) -> Protocol {
        Protocol::Http(&Stripe)
    }
}

impl HttpProtocol for Stripe {
    fn request(&self, call: &Call, credentials: &Credentials) -> Assembled {
        Assembled::Send(request::request(call, credentials))
    }

    fn reply(&self, call: &Call, response: &HttpResponse, _: &Credentials) -> Reply {
        reply::reply(call, response)
    }

    fn kept(&self, request: &HttpRequest, response: Option<&HttpResponse>) -> (Fields, Fields) {
        kept::kept(request, response)
    }

    fn lists(&self) -> Option<&'static dyn ListProtocol> {
        Some(&Stripe)
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

    fn read_notification(&self, body: &[u8], _: &Credentials) -> Result<Notification, NotificationError> {
        notification::read_event(body)
    }
}

impl ListProtocol for Stripe {
    fn page_request(&self, wanted: &PageWanted, credentials: &Credentials) -> HttpRequest {
        list::page_request(wanted, credentials)
    }

    fn page(&self, response: &HttpResponse) -> Result<Page, CallClass> {
        list::page(response)
    }
}

/// What the tests of this module start from.
#[cfg(test)]
mod sample {
    use jiff::Timestamp;
    use secrecy::SecretString;
    use serde_json::{Value, json};

    use crate::domain::{CaptureMethod, Currency, Money, PaymentMethod};
    use crate::provider::{Account, Call, Credentials, HttpResponse, Verb};

    pub(super) const KEY: &str = "0190a8b4c6d2700080000000000000ff";

    pub(super) fn call(verb: Verb) -> Call {
        Call {
            verb,
            key: KEY.to_owned(),
            payment: "pay_0190a8b4c6d2700080000000000000aa".to_owned(),
            order: "BW 1&2".to_owned(),
            money: money(8888, "CNY"),
            payment_amount: 8888,
            method: PaymentMethod::CardToken { token: "pm_card_visa".to_owned() },
            capture_method: CaptureMethod::Automatic,
            pay_reference: Some("pi_1".to_owned()),
            reference: None,
            pay_key: None,
            undoes: None,
            held: false,
            description: None,
            return_url: None,
            expires_at: Timestamp::UNIX_EPOCH,
            attempted_at: Timestamp::UNIX_EPOCH,
            now: Timestamp::UNIX_EPOCH,
            notify_url: None,
            repeat: false,
            card: None,
        }
    }

    pub(super) fn creating() -> Call {
        Call { pay_reference: None, ..call(Verb::Pay) }
    }

    pub(super) fn money(amount: i64, code: &str) -> Money {
        Money { amount, currency: Currency::parse(code).expect("a currency") }
    }

    pub(super) fn credentials(secrets: &[&str]) -> Credentials {
        Credentials {
            address: String::new(),
            account: Account::default(),
            secret_key: SecretString::from("sk_test_breakwater"),
            notification_secrets: secrets.iter().map(|secret| SecretString::from(*secret)).collect(),
        }
    }

    pub(super) fn response(status: u16, body: impl Into<Vec<u8>>) -> HttpResponse {
        HttpResponse { status, headers: http::HeaderMap::new(), body: body.into().into() }
    }

    pub(super) fn answer(status: u16, body: &Value) -> HttpResponse {
        response(status, body.to_string())
    }

    pub(super) fn intent(status: &str) -> Value {
        let received = if status == "succeeded" { 8888 } else { 0 };
        json!({"id": "pi_1", "object": "payment_intent", "amount": 8888, "amount_received": received, "currency": "cny", "status": status,
               "capture_method": "automatic", "metadata": {"attempt": KEY}})
    }

    pub(super) fn refund(status: &str) -> Value {
        json!({"id": "re_1", "object": "refund", "amount": 100, "currency": "cny", "status": status, "payment_intent": "pi_1",
               "metadata": {"attempt": KEY}})
    }

    pub(super) fn error(kind: &str, code: Option<&str>) -> Value {
        json!({"error": {"type": kind, "code": code, "message": "in Stripe's words"}})
    }
}

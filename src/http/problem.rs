//! Every answer that is not a success, as RFC 9457 problem details with the members that `api.md` fixes.
//!
//! The codes are one closed list, [`ProblemCode`]: a client may `match` on it, so a code is never renamed and never reused. Title, status,
//! source and retry advice hang on the code and nowhere else; what differs from case to case is the sentence in `detail`, the parameter, and
//! the id of what exists already. A detail never repeats a value from a request's body (it may be a card number), only names and amounts.
//!
//! What a flow refuses becomes a problem in `refusal.rs`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::Value;

use crate::domain::RequestId;

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemSource {
    /// The request.
    Client,
    /// This process, or its database.
    Breakwater,
    /// The third party.
    Channel,
    /// The one who pays.
    Customer,
}

/// What the caller may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// The same request will never succeed.
    Never,
    /// Send the same request with the same `Idempotency-Key`: it cannot be carried out twice.
    SameKey,
    /// Wait (`Retry-After` says how long), then send it again.
    After,
    /// Read the object: its state decides.
    Query,
}

/// Declares [`ProblemCode`] as one table, so that a code without title, status, source and retry advice cannot be written.
macro_rules! problem_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:literal, $source:ident, $retry:ident, $title:literal;)+) => {
        /// The closed list of what can be wrong with a call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemCode { $($(#[$doc])* $variant),+ }

        impl ProblemCode {
            /// Every code.
            pub const ALL: &'static [ProblemCode] = &[$(Self::$variant),+];
            /// The code itself, as in `code` and at the end of `type`.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$variant => $code),+ } }
            /// One short line, the same for every problem of this code.
            pub const fn title(self) -> &'static str { match self { $(Self::$variant => $title),+ } }
            /// The HTTP status.
            pub const fn status(self) -> u16 { match self { $(Self::$variant => $status),+ } }
            /// Whose fault it is.
            pub const fn source(self) -> ProblemSource { match self { $(Self::$variant => ProblemSource::$source),+ } }
            /// What the caller may do next.
            pub const fn retry(self) -> Retry { match self { $(Self::$variant => Retry::$retry),+ } }
        }
    };
}

problem_codes! {
    /// The body is not JSON, or not one JSON object without duplicate fields.
    InvalidJson = "invalid_json", 400, Client, Never, "The body is not a JSON object";
    /// A field, header or parameter has the wrong type or form.
    InvalidRequest = "invalid_request", 400, Client, Never, "A parameter has the wrong form";
    /// A field that must be there is not.
    MissingField = "missing_field", 400, Client, Never, "A required field is missing";
    /// The body has a field that this route does not know.
    UnknownField = "unknown_field", 400, Client, Never, "The body has an unknown field";
    /// The address has a query parameter that this route does not know.
    UnknownParameter = "unknown_parameter", 400, Client, Never, "The address has an unknown parameter";
    /// The cursor is not one that this list gave out.
    InvalidCursor = "invalid_cursor", 400, Client, Never, "The cursor is not valid";
    /// A POST that moves money came without its key.
    IdempotencyKeyMissing = "idempotency_key_missing", 400, Client, Never, "The Idempotency-Key header is missing";
    /// The key is empty, too long, given twice, or has characters that are not visible ASCII.
    IdempotencyKeyInvalid = "idempotency_key_invalid", 400, Client, Never, "The Idempotency-Key header is not valid";
    /// A notification that is not authentic, or cannot be read.
    NotificationRefused = "notification_refused", 400, Channel, Never, "The notification was not believed";
    /// No key, an unknown key, or a revoked one.
    Unauthenticated = "unauthenticated", 401, Client, Never, "A valid key is needed";
    /// The key is valid and not for this.
    Forbidden = "forbidden", 403, Client, Never, "The key may not do this";
    /// No such object, or another merchant's.
    NotFound = "not_found", 404, Client, Never, "There is no such object";
    /// No such address.
    UnknownRoute = "unknown_route", 404, Client, Never, "There is nothing at this address";
    /// The address exists and does not take this method.
    MethodNotAllowed = "method_not_allowed", 405, Client, Never, "The method is not allowed here";
    /// The body did not arrive in time.
    BodyTimeout = "body_timeout", 408, Client, SameKey, "The body did not arrive in time";
    /// The first request with this key is still being carried.
    IdempotencyKeyInFlight = "idempotency_key_in_flight", 409, Client, After, "The first request with this key is in flight";
    /// Another payment holds the order.
    DuplicateOrder = "duplicate_order", 409, Client, Query, "The order is held by another payment";
    /// The refund id stands for another refund.
    DuplicateRefund = "duplicate_refund", 409, Client, Query, "The refund id was used before";
    /// The payment's status does not allow it.
    WrongState = "wrong_state", 409, Client, Query, "The payment's status does not allow this";
    /// Another capture of the same hold is on its way.
    CaptureInProgress = "capture_in_progress", 409, Client, Query, "A capture of this payment is on its way";
    /// Whether there is money to give back is not known yet.
    PaymentUnresolved = "payment_unresolved", 409, Channel, Query, "The payment is not resolved yet";
    /// The channel that carried it was taken out of the settings; nothing was done.
    ChannelNotConfigured = "channel_not_configured", 409, Breakwater, After, "Its channel is not in the settings";
    /// The integrity check found differences.
    BooksDoNotHold = "books_do_not_hold", 409, Breakwater, Query, "The books do not hold";
    /// The merchant has as many webhook endpoints as may be.
    TooManyWebhookEndpoints = "too_many_webhook_endpoints", 409, Client, Never, "There are too many webhook endpoints";
    /// The webhook endpoint is turned off.
    WebhookEndpointDisabled = "webhook_endpoint_disabled", 409, Client, Query, "The webhook endpoint is turned off";
    /// The body is larger than this route takes.
    BodyTooLarge = "body_too_large", 413, Client, Never, "The body is too large";
    /// The body is not declared as plain JSON.
    UnsupportedMediaType = "unsupported_media_type", 415, Client, Never, "The body must be application/json";
    /// The amount is zero, negative or too large.
    InvalidAmount = "invalid_amount", 422, Client, Never, "The amount is out of range";
    /// ISO 4217 has no such currency, or it has no minor unit.
    UnknownCurrency = "unknown_currency", 422, Client, Never, "The currency is unknown";
    /// This installation has no channel of that id.
    UnknownChannel = "unknown_channel", 422, Client, Never, "The channel is unknown";
    /// This installation cannot take payments in this way.
    UnsupportedPaymentMethod = "unsupported_payment_method", 422, Client, Never, "The payment method is not supported";
    /// A free text seems to hold a card number.
    CardNumberRefused = "card_number_refused", 422, Client, Never, "Card numbers are not accepted here";
    /// The expiry is past, or too far away.
    InvalidExpiry = "invalid_expiry", 422, Client, Never, "The expiry is out of range";
    /// The key stands for another request.
    IdempotencyKeyReused = "idempotency_key_reused", 422, Client, Never, "Idempotency key reused with another body";
    /// No channel of this installation can carry it.
    NoChannel = "no_channel", 422, Client, Never, "No channel can take this payment";
    /// The channel cannot express what is asked.
    ChannelCannotCarry = "channel_cannot_carry", 422, Channel, Never, "The channel cannot take this payment";
    /// More than is held.
    CaptureExceedsHold = "capture_exceeds_hold", 422, Client, Never, "The capture exceeds what is held";
    /// More than was captured and is not yet spoken for.
    RefundExceedsCaptured = "refund_exceeds_captured", 422, Client, Never, "The refund exceeds what was captured";
    /// The channel no longer takes refunds of so old a payment.
    RefundWindowClosed = "refund_window_closed", 422, Channel, Never, "The payment is too old to be refunded over its channel";
    /// The payment has as many refunds as its channel takes of one, or as many in all, failed ones too, as one may have.
    TooManyRefunds = "too_many_refunds", 422, Channel, Never, "The payment has as many refunds as one may have";
    /// Webhooks are not sent to addresses of this kind.
    WebhookUrlRefused = "webhook_url_refused", 422, Client, Never, "Webhooks are not sent to this address";
    /// A merchant, a channel's notifications or an address asked more than they may; nothing was done.
    RateLimited = "rate_limited", 429, Client, After, "Too many requests";
    /// A fault of ours. What was sent is on disk and will be resolved.
    InternalFault = "internal_fault", 500, Breakwater, SameKey, "An internal fault";
    /// Too much is in flight.
    Overloaded = "overloaded", 503, Breakwater, SameKey, "Too many requests are in flight";
    /// Every channel that could carry it is shut for now; nothing was written.
    EveryChannelShut = "every_channel_shut", 503, Channel, SameKey, "Every channel is shut for now";
    /// The database is away; nothing was sent.
    DatabaseUnavailable = "database_unavailable", 503, Breakwater, SameKey, "The database is away";
    /// This process does not take on that part of the work; another one does. Nothing was written.
    RoleNotServed = "role_not_served", 503, Breakwater, SameKey, "This process does not serve that";
    /// The process is starting or stopping.
    NotReady = "not_ready", 503, Breakwater, After, "The process is not ready";
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One problem. Small, because every handler's result carries it.
#[derive(Clone, Debug)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    code: ProblemCode,
    detail: Cow<'static, str>,
    param: Option<Cow<'static, str>>,
    existing: Option<String>,
    retry_after: Option<Duration>,
    allow: Option<&'static str>,
    more: Option<(&'static str, Value)>,
    base: Option<String>,
    request_id: Option<RequestId>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    param: Option<&'a str>,
    source: ProblemSource,
    retry: Retry,
    request_id: Option<String>,
    existing: Option<&'a str>,
    #[serde(flatten)]
    more: Option<BTreeMap<&'static str, &'a Value>>,
}

impl Problem {
    /// A problem of that code. `detail` is a sentence for the person who reads the client's log.
    pub fn new(code: ProblemCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            code,
            detail: detail.into(),
            param: None,
            existing: None,
            retry_after: None,
            allow: None,
            more: None,
            base: None,
            request_id: None,
        }))
    }

    /// A fault of ours: the cause is logged where it happened, and not told.
    pub fn internal() -> Self {
        Self::new(
            ProblemCode::InternalFault,
            "Something of ours failed; it was logged under this request id. Nothing is charged twice by asking again.",
        )
    }

    /// The same, about this field, header or query parameter.
    pub fn about(mut self, param: impl Into<Cow<'static, str>>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// The same, with the id of what exists already.
    pub fn existing(mut self, id: impl fmt::Display) -> Self {
        self.0.existing = Some(id.to_string());
        self
    }

    /// The same, with a `Retry-After` of this long, rounded up to whole seconds.
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.0.retry_after = Some(pause);
        self
    }

    /// The same, with an `Allow` header.
    pub fn allowing(mut self, methods: &'static str) -> Self {
        self.0.allow = Some(methods);
        self
    }

    /// The same, with one extension member of its own.
    pub fn with(mut self, name: &'static str, value: Value) -> Self {
        self.0.more = Some((name, value));
        self
    }

    /// The same, as the answer to this request; `base` is what its `type` begins with.
    pub(super) fn answering(mut self, request_id: RequestId, base: &str) -> Self {
        self.0.request_id = Some(request_id);
        self.0.base = Some(base.to_owned());
        self
    }

    /// Its code.
    pub fn code(&self) -> ProblemCode {
        self.0.code
    }

    /// What it says.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The field, header or parameter it is about.
    pub fn param(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// The body, as it goes out.
    pub(super) fn json(&self) -> Vec<u8> {
        let Parts { code, detail, param, existing, more, base, request_id, .. } = &*self.0;
        let body = Body {
            r#type: format!("{}/errors/{code}", base.as_deref().unwrap_or("")),
            title: code.title(),
            status: code.status(),
            code: code.as_str(),
            detail,
            param: param.as_deref(),
            source: code.source(),
            retry: code.retry(),
            request_id: request_id.map(|id| id.to_string()),
            existing: existing.as_deref(),
            more: more.as_ref().map(|(name, value)| BTreeMap::from([(*name, value)])),
        };
        // Strings and numbers only: this cannot fail, and if it did, the status would still tell.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponse::build(self.status_code());
        answer.content_type("application/problem+json");
        if self.0.code == ProblemCode::Unauthenticated {
            answer.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"breakwater\""));
        }
        if let Some(methods) = self.0.allow {
            answer.insert_header((header::ALLOW, methods));
        }
        let advised = self.0.retry_after.or_else(|| (self.0.code.status() == 503).then_some(Duration::from_secs(1)));
        if let Some(pause) = advised {
            answer.insert_header((header::RETRY_AFTER, HeaderValue::from(whole_seconds(pause))));
        }
        answer.body(self.json())
    }
}

/// Rounded up, and never 0: a client that comes back at once has not waited.
fn whole_seconds(pause: Duration) -> u64 {
    pause.as_secs().saturating_add(u64::from(pause.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use actix_web::body::MessageBody as _;

    use super::*;

    #[test]
    fn the_list_of_codes_is_closed_and_each_says_what_to_do() {
        let table: String =
            ProblemCode::ALL.iter().map(|code| format!("{} {} {:?} {:?}\n", code.status(), code, code.source(), code.retry())).collect();
        insta::assert_snapshot!(table, @r#"
        400 invalid_json Client Never
        400 invalid_request Client Never
        400 missing_field Client Never
        400 unknown_field Client Never
        400 unknown_parameter Client Never
        400 invalid_cursor Client Never
        400 idempotency_key_missing Client Never
        400 idempotency_key_invalid Client Never
        400 notification_refused Channel Never
        401 unauthenticated Client Never
        403 forbidden Client Never
        404 not_found Client Never
        404 unknown_route Client Never
        405 method_not_allowed Client Never
        408 body_timeout Client SameKey
        409 idempotency_key_in_flight Client After
        409 duplicate_order Client Query
        409 duplicate_refund Client Query
        409 wrong_state Client Query
        409 capture_in_progress Client Query
        409 payment_unresolved Channel Query
        409 channel_not_configured Breakwater After
        409 books_do_not_hold Breakwater Query
        409 too_many_webhook_endpoints Client Never
        409 webhook_endpoint_disabled Client Query
        413 body_too_large Client Never
        415 unsupported_media_type Client Never
        422 invalid_amount Client Never
        422 unknown_currency Client Never
        422 unknown_channel Client Never
        422 unsupported_payment_method Client Never
        422 card_number_refused Client Never
        422 invalid_expiry Client Never
        422 idempotency_key_reused Client Never
        422 no_channel Client Never
        422 channel_cannot_carry Channel Never
        422 capture_exceeds_hold Client Never
        422 refund_exceeds_captured Client Never
        422 refund_window_closed Channel Never
        422 too_many_refunds Channel Never
        422 webhook_url_refused Client Never
        429 rate_limited Client After
        500 internal_fault Breakwater SameKey
        503 overloaded Breakwater SameKey
        503 every_channel_shut Channel SameKey
        503 database_unavailable Breakwater SameKey
        503 role_not_served Breakwater SameKey
        503 not_ready Breakwater After
        "#);
        let names: BTreeSet<_> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), ProblemCode::ALL.len(), "two codes have one name");
    }

    #[test]
    fn a_problem_has_every_member_of_the_contract() {
        let id: RequestId = "req_0190a8b4c6d2700080000000000000ff".parse().expect("an id");
        let problem = Problem::new(ProblemCode::IdempotencyKeyReused, "Key try-1 created pay_1 with amount 1250; this request has 1300.")
            .about("amount")
            .existing("pay_1")
            .answering(id, "https://docs.example");
        let answer = problem.error_response();
        assert_eq!(answer.headers().get("content-type").map(HeaderValue::as_bytes), Some(&b"application/problem+json"[..]));
        let body = answer.into_body().try_into_bytes().expect("a body in memory");
        insta::assert_snapshot!(String::from_utf8_lossy(&body), @r#"{"type":"https://docs.example/errors/idempotency_key_reused","title":"Idempotency key reused with another body","status":422,"code":"idempotency_key_reused","detail":"Key try-1 created pay_1 with amount 1250; this request has 1300.","param":"amount","source":"client","retry":"never","request_id":"req_0190a8b4c6d2700080000000000000ff","existing":"pay_1"}"#);
    }

    #[test]
    fn a_problem_of_503_always_says_when_to_come_back() {
        for code in ProblemCode::ALL.iter().filter(|code| code.status() == 503) {
            let answer = Problem::new(*code, "Away.").error_response();
            assert_eq!(answer.headers().get("retry-after").map(HeaderValue::as_bytes), Some(&b"1"[..]), "{code}");
        }
        let answer = Problem::new(ProblemCode::EveryChannelShut, "Shut.").retry_after(Duration::from_millis(2_001)).error_response();
        assert_eq!(answer.headers().get("retry-after").map(HeaderValue::as_bytes), Some(&b"3"[..]));
    }
}

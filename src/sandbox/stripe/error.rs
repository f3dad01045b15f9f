//! Stripe's error objects: every way in which this server says no, with the status, type and code of the real one.
//!
//! One constructor a case, so that the table of errors is this file read from top to bottom.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A refusal: the HTTP status and the members of `{"error": {...}}`.
#[derive(Clone, Debug, PartialEq)]
pub struct StripeError {
    /// The HTTP status.
    pub status: u16,
    /// Whether the refusal came before anything was executed. Such an answer is not kept under the idempotency key.
    pub before_execution: bool,
    members: Map<String, Value>,
}

impl StripeError {
    fn new(status: u16, kind: &str, code: Option<&str>, message: &str) -> Self {
        let mut members = Map::new();
        members.insert("type".into(), kind.into());
        if let Some(code) = code {
            members.insert("code".into(), code.into());
            members.insert("doc_url".into(), format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-")).into());
        }
        members.insert("message".into(), message.into());
        Self { status, before_execution: true, members }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.into(), value.into());
        self
    }

    fn after_execution(mut self) -> Self {
        self.before_execution = false;
        self
    }

    /// 400: a parameter is malformed.
    pub fn invalid(param: &str, message: &str) -> Self {
        let error = Self::new(400, "invalid_request_error", None, message);
        if param.is_empty() { error } else { error.with("param", param) }
    }

    /// 400: a parameter is refused, with a code of its own.
    pub fn invalid_code(code: &str, param: &str, message: &str) -> Self {
        Self::new(400, "invalid_request_error", Some(code), message).with("param", param)
    }

    /// 400: a parameter is required.
    pub fn missing(param: &str) -> Self {
        Self::invalid_code("parameter_missing", param, &format!("Missing required param: {param}."))
    }

    /// 400: a parameter that this call does not have.
    pub fn unknown_parameter(param: &str) -> Self {
        Self::invalid_code("parameter_unknown", param, &format!("Received unknown parameter: {param}"))
    }

    /// 400: the object is in another state; `intent` is shown as it stands.
    pub fn unexpected_state(message: &str, intent: Value) -> Self {
        Self::new(400, "invalid_request_error", Some("payment_intent_unexpected_state"), message).with("payment_intent", intent).after_execution()
    }

    /// 400: nothing is left to give back.
    pub fn already_refunded(charge: &str) -> Self {
        let message = format!("Charge {charge} has already been refunded.");
        Self::new(400, "invalid_request_error", Some("charge_already_refunded"), &message).after_execution()
    }

    /// 400: more than is left of the charge or of the hold.
    pub fn amount_too_large(param: &str, message: &str) -> Self {
        Self::invalid_code("amount_too_large", param, message).after_execution()
    }

    /// 400: the charge is disputed.
    pub fn disputed(charge: &str) -> Self {
        let message = format!("Charge {charge} has been charged back; cannot issue a refund.");
        Self::new(400, "invalid_request_error", Some("charge_disputed"), &message).after_execution()
    }

    /// 400: the key was first used with other parameters.
    pub fn key_reused(key: &str) -> Self {
        let message = format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. \
             Try using a key other than '{key}' if you meant to execute a different request."
        );
        Self::new(400, "idempotency_error", None, &message)
    }

    /// 401: no key, or not this account's.
    pub fn unauthorized(message: &str) -> Self {
        Self::new(401, "invalid_request_error", None, message)
    }

    /// 402: the card was declined; the intent is shown as it now stands.
    pub fn declined(decline: &Decline, charge: &str, intent: Option<Value>) -> Self {
        let mut error = Self::new(402, "card_error", Some(&decline.code), &decline.message).with("charge", charge);
        if let Some(decline_code) = &decline.decline_code {
            error = error.with("decline_code", decline_code.as_str());
        }
        if let Some(intent) = intent {
            error = error.with("payment_intent", intent);
        }
        error.after_execution()
    }

    /// 404: no such object.
    pub fn no_such(what: &str, id: &str) -> Self {
        Self::new(404, "invalid_request_error", Some("resource_missing"), &format!("No such {what}: '{id}'"))
            .with("param", if what == "payment_intent" { "intent" } else { "id" })
    }

    /// 404: no such route.
    pub fn no_route(method: &str, path: &str) -> Self {
        Self::new(404, "invalid_request_error", None, &format!("Unrecognized request URL ({method}: {path})."))
    }

    /// 409: another request with this key is being executed.
    pub fn key_in_use() -> Self {
        let message = "There is currently another in-progress request using this Idempotency Key. Please try again later.";
        Self::new(409, "idempotency_error", Some("idempotency_key_in_use"), message)
    }

    /// 429: nothing was executed.
    pub fn rate_limit() -> Self {
        Self::new(429, "rate_limit_error", Some("rate_limit"), "Too many requests in a period of time.")
    }

    /// 500: says nothing of what was done.
    pub fn api_error() -> Self {
        Self::new(500, "api_error", None, "An unknown error occurred").after_execution()
    }

    /// The answer's body.
    pub fn body(&self) -> Value {
        json!({ "error": self.members })
    }
}

/// Why a card was declined, kept on the intent as `last_payment_error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decline {
    /// Stripe's error code, such as `card_declined`.
    pub code: String,
    /// The issuer's reason, where the code is `card_declined`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decline_code: Option<String>,
    /// The sentence for people.
    pub message: String,
    /// The payment method that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_method: Option<String>,
}

impl Decline {
    /// A decline with the issuer's reason.
    pub fn issuer(decline_code: &str, message: &str) -> Self {
        Self { code: "card_declined".into(), decline_code: Some(decline_code.into()), message: message.into(), payment_method: None }
    }

    /// A decline with a code of its own.
    pub fn coded(code: &str, message: &str) -> Self {
        Self { code: code.into(), decline_code: None, message: message.into(), payment_method: None }
    }

    /// The plain "no" of an issuer.
    pub fn generic() -> Self {
        Self::issuer("generic_decline", "Your card was declined.")
    }
}

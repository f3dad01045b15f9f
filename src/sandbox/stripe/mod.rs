//! Stripe's side of the wire: one [`Account`], the requests it answers, and what it does wrong on demand.
//!
//! The script is `Account::answer` in `account.rs`: check the account's key, read the parameters, know the operation, draw the fault, look at
//! the idempotency key, execute (one change, on disk before the answer leaves), and answer, or fail to. Executing is one uninterrupted step under
//! one lock: a caller who goes away, a fault, or a kill of the process leaves it done or not begun.
//!
//! Faults of the operation `pay` fall on the step that moves or holds money: `confirm`, and a create with `confirm=true`. Creating an
//! unconfirmed payment intent is `create`, and healthy unless named; so is `capture`, `void` (cancel), and `query` (every GET).
//!
//! What an answer is kept for under its key: everything that was executed, refusals by the issuer and the 500 of `error_processed` included.
//! What is not: malformed parameters, 401, 404, 409, 429, and everything that a fault kept from executing.
//!
//! This file is the words that the others share: [`Call`] comes in, [`Done`] is what would follow, [`Ending`]
//! goes out.

mod account;
mod bank;
pub mod card;
pub mod error;
pub mod form;
pub mod ledger;
mod page;
pub mod payment;
pub mod read;
pub mod refund;
pub mod render;
pub mod signature;

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response};
use jiff::Timestamp;
use serde_json::Value;

pub use self::account::Account;

use self::error::StripeError;
use self::ledger::{Change, Intent};
use super::SandboxError;
use super::control::Channel;
use super::listener::{self, Ending, Reply};
use super::opening::Opening;
use super::settings::AccountSettings;

/// Opens an account, with its gate still shut.
///
/// # Errors
/// When its port is taken, or its journal cannot be read or is damaged.
pub fn open(opening: &mut Opening<'_>, settings: &AccountSettings) -> Result<Channel, SandboxError> {
    let reserved = opening.reserve(&settings.id, settings.port)?;
    let base_url = format!("http://{}", reserved.address());
    let stamp = signature::Signature { secret: settings.webhook_secret.clone() };
    let notifier = opening.notifier(&settings.id, Arc::new(stamp));
    let journal = opening.file(&format!("{}.journal", settings.id));
    let account = Account::open(settings.clone(), opening.behaviour(), base_url, &journal, notifier, opening.ended())?;
    Ok(Channel::new(account.clone(), Box::new(reserved.before(account))))
}

/// A request, read from the wire, with the headers that Stripe looks at.
#[derive(Debug)]
pub struct Call {
    /// GET or POST; anything else has no route.
    pub method: Method,
    /// Without the query.
    pub path: String,
    /// Without the question mark.
    pub query: String,
    /// The header.
    pub authorization: Option<String>,
    /// The header `Idempotency-Key`.
    pub key: Option<String>,
    /// The header `Stripe-Version`.
    pub version: Option<String>,
    /// At most 64 KiB.
    pub body: Bytes,
}

impl From<listener::Call> for Call {
    fn from(call: listener::Call) -> Self {
        let header = |name: &str| call.header(name).map(str::to_owned);
        Self {
            authorization: header("authorization"),
            key: header("idempotency-key").filter(|key| !key.is_empty()),
            version: header("stripe-version"),
            method: call.method,
            path: call.path,
            query: call.query,
            body: call.body,
        }
    }
}

/// The answer to a body that is over 64 KiB.
fn too_large() -> Ending {
    let mut refusal = StripeError::invalid("", "The request body is too large.");
    refusal.status = 413;
    Ending::Answer { response: Outcome::refusal(&refusal, id("req_")).response(None, None), drip: false }
}

/// What a request would do, before it is done.
#[derive(Debug)]
pub struct Done {
    change: Change,
    status: u16,
    body: Value,
    events: Vec<Event>,
}

impl Done {
    fn new(change: Change, body: Value, events: Vec<Event>) -> Self {
        Self { change, status: 200, body, events }
    }
}

/// Something to tell the orchestrator.
#[derive(Debug)]
pub struct Event {
    kind: &'static str,
    object: Value,
}

/// Where a change comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    now: Timestamp,
    /// The idempotency key; none when the customer acts.
    key: Option<&'a str>,
    request_id: Option<&'a str>,
    base_url: &'a str,
    expand_charge: bool,
}

impl Origin<'_> {
    fn show(&self, intent: &Intent) -> Value {
        render::intent(intent, self.base_url, self.expand_charge)
    }
}

/// What is answered: status and body to the byte, and who executed.
#[derive(Clone, Debug)]
struct Outcome {
    status: u16,
    body: Bytes,
    request_id: String,
    replay_of: Option<String>,
}

impl Outcome {
    fn refusal(refusal: &StripeError, request_id: String) -> Self {
        Self { status: refusal.status, body: refusal.body().to_string().into(), request_id, replay_of: None }
    }

    fn response(self, key: Option<&str>, version: Option<&str>) -> Reply {
        let mut builder = Response::builder()
            .status(self.status)
            .header("content-type", "application/json")
            .header("request-id", self.request_id)
            .header("stripe-version", version.unwrap_or(render::API_VERSION));
        if let Some(key) = key {
            builder = builder.header("idempotency-key", key);
        }
        if let Some(original) = self.replay_of {
            builder = builder.header("original-request", original).header("idempotent-replayed", "true");
        }
        // Every header came in as a header or is made of letters and digits, so this cannot fail; an empty 500 would be seen at once.
        builder.body(self.body).unwrap_or_else(|_| {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
    }
}

/// A new id: the prefix and 22 letters and digits of chance.
fn id(prefix: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut chance = uuid::Uuid::new_v4().as_u128();
    let mut text = String::with_capacity(prefix.len() + 22);
    text.push_str(prefix);
    for _ in 0..22 {
        // The remainder is below 62, so it fits.
        text.push(char::from(DIGITS[(chance % 62) as usize]));
        chance /= 62;
    }
    text
}

/// Base64 with padding, for the one header that needs it.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().chain(&[0, 0]).take(3).fold(0usize, |bits, byte| bits << 8 | usize::from(*byte));
        for nth in 0..4 {
            text.push(if nth <= three.len() { char::from(DIGITS[bits >> (18 - 6 * nth) & 63]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let samples = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in samples {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}

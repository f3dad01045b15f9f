//! Asking the router, and what the request remembers for its own log line and headers.
//!
//! The flow runs detached: this future only waits for its answer, so a client that goes away cancels nothing.

use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Handler, MailboxError, Message};
use actix_web::{HttpMessage as _, HttpRequest};

use super::Api;
use super::problem::Problem;
use super::refusal::{self, Asked};
use crate::domain::PaymentId;
use crate::router::{Answer, FlowError, Refresh, Router};

/// How much longer than the flow's own wait an answer may take before it counts as a fault of ours.
const GRACE: Duration = Duration::from_secs(50);

/// The request on whose behalf the router is asked.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// The API.
    pub api: &'a Api,
    /// The request.
    pub request: &'a HttpRequest,
    /// Its key.
    pub key: &'a str,
    /// The amount it is about, if it names one.
    pub amount: Option<i64>,
    /// How long the flow waits for an end.
    pub wait: Duration,
}

/// What a handler tells the request's log line: the payment it was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About(pub PaymentId);

/// How much of a request's time was a channel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theirs(pub Duration);

/// Remembers the payment that a request is about.
pub fn remember(request: &HttpRequest, payment: PaymentId) {
    request.extensions_mut().insert(About(payment));
}

/// Sends a message that moves money, and waits for the flow's answer.
///
/// # Errors
/// What the flow refused, as a problem.
pub async fn router<M>(asking: Asking<'_>, message: M) -> Result<Answer, Problem>
where
    M: Message<Result = Result<Answer, FlowError>> + Send + 'static,
    Router: Handler<M>,
    <Router as actix::Actor>::Context: ToEnvelope<Router, M>,
{
    let Asking { api, request, key, amount, wait } = asking;
    let started = api.clock.boot();
    let sent = api.router.send(message).timeout(wait + GRACE).await;
    let taken = api.clock.boot().since(started);
    match sent {
        Ok(Ok(answer)) => {
            count_key(if answer.replayed { "replayed" } else { "new" });
            remember(request, answer.payment.id);
            request.extensions_mut().insert(Theirs(taken.saturating_sub(answer.ours)));
            Ok(answer)
        }
        Ok(Err(error)) => {
            match &error {
                FlowError::InFlight { .. } => count_key("in_flight"),
                FlowError::KeyReused { .. } => count_key("reused"),
                _ => {}
            }
            if let FlowError::InFlight { existing } | FlowError::KeyReused { existing, .. } | FlowError::DuplicateOrder { existing } = &error {
                remember(request, *existing);
            }
            Err(refusal::problem(&error, Asked { key, amount }))
        }
        // The message may have been taken: only a repeat with the same key can tell.
        Err(error @ (MailboxError::Closed | MailboxError::Timeout)) => {
            tracing::error!(%error, "the router did not answer");
            Err(Problem::internal())
        }
    }
}

/// Has the channel asked what has become of a payment or refund that is not final, and answers with what is known then.
///
/// # Errors
/// What the flow refused, as a problem: 404, and 503 when the database is away. Never because of the channel.
pub async fn refresh(api: &Api, request: &HttpRequest, message: Refresh) -> Result<Answer, Problem> {
    let started = api.clock.boot();
    let wait = message.wait;
    match api.router.send(message).timeout(wait + GRACE).await {
        Ok(Ok(answer)) => {
            remember(request, answer.payment.id);
            request.extensions_mut().insert(Theirs(api.clock.boot().since(started).saturating_sub(answer.ours)));
            Ok(answer)
        }
        Ok(Err(error)) => Err(refusal::problem(&error, Asked::default())),
        Err(error @ (MailboxError::Closed | MailboxError::Timeout)) => {
            tracing::error!(%error, "the router did not answer");
            Err(Problem::internal())
        }
    }
}

fn count_key(result: &'static str) {
    metrics::counter!("breakwater_idempotency_requests_total", "result" => result).increment(1);
}

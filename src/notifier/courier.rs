//! One delivery, top to bottom: the body, the signatures, the POST, what the answer means, and the note of it. Then the endpoint's standing.
//!
//! A success is any 2xx. A redirect is a failure. 410 turns the endpoint off (the specification, "Endpoint status codes"). Everything else is
//! tried again by the schedule, or when `Retry-After` says. A crash or a panic on the way leaves the lease, which lapses.

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use uuid::Uuid;

use super::address::Target;
use super::client::{Answered, Client, Unanswered};
use super::message;
use super::schedule::{asked_pause, next_try};
use super::seal::{SealError, Sealer};
use super::signature::{Secret, sign};
use crate::clock::Clock;
use crate::crash::{self, Point};
use crate::store::webhook::delivery::{ClaimedDelivery, DeliveryState, Settlement};
use crate::store::{Store, StoreError};

/// What a try came to, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A 2xx.
    Delivered,
    /// Any other answer, which is tried again.
    AnsweredError,
    /// A redirect, which is not followed.
    Redirected,
    /// 410: the endpoint is turned off.
    Gone,
    /// No answer in time.
    TimedOut,
    /// No connection, no TLS, or it broke.
    Unreachable,
    /// The address is one that nothing is sent to.
    AddressRefused,
    /// Nothing was sent, because the body or the signature could not be made.
    Unsigned,
    /// The last try failed too, or the delivery waited for too long.
    GivenUp,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 9] = [
        Self::Delivered,
        Self::AnsweredError,
        Self::Redirected,
        Self::Gone,
        Self::TimedOut,
        Self::Unreachable,
        Self::AddressRefused,
        Self::Unsigned,
        Self::GivenUp,
    ];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::AnsweredError => "answered_error",
            Self::Redirected => "redirected",
            Self::Gone => "gone",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::AddressRefused => "address_refused",
            Self::Unsigned => "unsigned",
            Self::GivenUp => "given_up",
        }
    }
}

/// Counts what tries came to.
pub(super) fn count(outcome: Outcome, times: u64) {
    metrics::counter!("breakwater_webhook_deliveries_total", "outcome" => outcome.as_str()).increment(times);
}

/// What carries deliveries. One for all.
#[derive(Clone)]
pub(super) struct Courier {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) client: Client,
    pub(super) sealer: std::sync::Arc<Sealer>,
}

/// A try, judged.
struct Judged {
    outcome: Outcome,
    status: Option<i16>,
    error: Option<String>,
    asked: Option<Timestamp>,
}

impl Judged {
    fn failed(outcome: Outcome, error: impl Into<String>) -> Self {
        Self { outcome, status: None, error: Some(error.into()), asked: None }
    }
}

impl Courier {
    /// Makes a delivery that was claimed, and writes what came of it.
    pub(super) async fn carry(&self, claimed: ClaimedDelivery) {
        if let Err(error) = self.attempt(&claimed).await {
            // The lease lapses, and it is tried again.
            tracing::warn!(event = %claimed.event, endpoint = %claimed.key.endpoint, %error, "a delivery could not be read or settled");
        }
    }

    async fn attempt(&self, claimed: &ClaimedDelivery) -> Result<(), StoreError> {
        let body = match &claimed.body {
            Some(body) => Some(body.clone()),
            None => self.render(claimed).await?,
        };
        let judged = match &body {
            None => Judged::failed(Outcome::Unsigned, "the event is not in the database any more"),
            Some(body) => self.send(claimed, body.clone()).await,
        };
        if judged.outcome == Outcome::Delivered {
            crash::pass(Point::WebhookSent);
        }
        self.settle(claimed, body, judged).await
    }

    async fn render(&self, claimed: &ClaimedDelivery) -> Result<Option<String>, StoreError> {
        let Some(event) = self.store.event_at(claimed.key.payment, claimed.key.sequence).await? else { return Ok(None) };
        let payment = self.store.payment_of(claimed.merchant, claimed.key.payment).await?;
        Ok(payment.and_then(|payment| message::body(&payment, &event.row, self.clock.wall())))
    }

    async fn send(&self, claimed: &ClaimedDelivery, body: String) -> Judged {
        let now = self.clock.wall();
        let secrets = match self.secrets(claimed, now) {
            Ok(secrets) => secrets,
            Err(error) => return Judged::failed(Outcome::Unsigned, error.to_string()),
        };
        let target = match Target::parse(&claimed.url) {
            Ok(target) => target,
            Err(error) => return Judged::failed(Outcome::AddressRefused, format!("the address {error}")),
        };
        let Some(headers) = headers(&secrets, &claimed.event.to_string(), now, &body) else {
            return Judged::failed(Outcome::Unsigned, "the signature cannot be written as a header");
        };
        match self.client.post(&target, headers, body).await {
            Ok(answered) => judge(&answered, self.clock.wall()),
            Err(error) => {
                let outcome = match error {
                    Unanswered::Refused => Outcome::AddressRefused,
                    Unanswered::TimedOut => Outcome::TimedOut,
                    Unanswered::NotFound(_) | Unanswered::Connect(_) | Unanswered::Tls(_) | Unanswered::Broken(_) | Unanswered::Unwritable => {
                        Outcome::Unreachable
                    }
                };
                Judged::failed(outcome, error.to_string())
            }
        }
    }

    /// The secrets that sign now, the newest first.
    fn secrets(&self, claimed: &ClaimedDelivery, now: Timestamp) -> Result<Vec<Secret>, SealError> {
        let mut secrets = vec![self.sealer.open(claimed.key.endpoint, &claimed.sealed_secret)?];
        if let Some((sealed, until)) = &claimed.sealed_previous
            && now < *until
        {
            secrets.push(self.sealer.open(claimed.key.endpoint, sealed)?);
        }
        Ok(secrets)
    }

    async fn settle(&self, claimed: &ClaimedDelivery, body: Option<String>, judged: Judged) -> Result<(), StoreError> {
        let now = self.clock.wall();
        let delivered = judged.outcome == Outcome::Delivered;
        let again = if delivered || judged.outcome == Outcome::Gone { None } else { next_try(claimed.attempts + 1, now, judged.asked, chance()) };
        let state = match (delivered, again) {
            (true, _) => DeliveryState::Delivered,
            (false, Some(_)) => DeliveryState::Pending,
            (false, None) => DeliveryState::Failed,
        };
        let outcome = if state == DeliveryState::Failed && judged.outcome != Outcome::Gone { Outcome::GivenUp } else { judged.outcome };
        // The endpoint first: were it told after the delivery, the next could be claimed in between as if nothing had happened.
        self.tell_endpoint(claimed, &judged, now).await?;
        crash::pass(Point::WebhookHalfSettled);
        let settlement =
            Settlement { state, due_at: again, body: body.filter(|_| !delivered), status: judged.status, error: judged.error.clone(), at: now };
        if !self.store.settle_delivery(claimed.key, claimed.fence, &settlement).await? {
            tracing::info!(event = %claimed.event, endpoint = %claimed.key.endpoint, "a delivery outlived its lease, and is another's");
        }
        count(outcome, 1);
        if delivered {
            let lag = now.duration_since(claimed.queued_at).as_secs_f64().max(0.0);
            metrics::histogram!("breakwater_webhook_delivery_lag_seconds").record(lag);
        } else {
            tracing::info!(
                event = %claimed.event, endpoint = %claimed.key.endpoint, outcome = outcome.as_str(), status = judged.status,
                attempt = claimed.attempts + 1, "a webhook was not taken"
            );
        }
        Ok(())
    }

    async fn tell_endpoint(&self, claimed: &ClaimedDelivery, judged: &Judged, now: Timestamp) -> Result<(), StoreError> {
        let endpoint = claimed.key.endpoint;
        match judged.outcome {
            Outcome::Delivered => {
                if self.store.endpoint_succeeded(endpoint, now).await? {
                    tracing::info!(%endpoint, "a webhook endpoint answers again");
                }
            }
            Outcome::Gone => {
                self.store.endpoint_gone(endpoint, now).await?;
                tracing::warn!(%endpoint, "a webhook endpoint answered 410 and is turned off");
            }
            _ => {
                if let Some(until) = self.store.endpoint_failed(endpoint, now, judged.asked).await? {
                    tracing::warn!(%endpoint, %until, "a webhook endpoint is shut");
                }
            }
        }
        Ok(())
    }
}

fn judge(answered: &Answered, now: Timestamp) -> Judged {
    let status = i16::try_from(answered.status).ok();
    let (outcome, error) = match answered.status {
        200..=299 => (Outcome::Delivered, None),
        300..=399 => (Outcome::Redirected, Some(format!("it answered {}: redirects are not followed", answered.status))),
        410 => (Outcome::Gone, Some("it answered 410: the endpoint is turned off".to_owned())),
        other => (Outcome::AnsweredError, Some(format!("it answered {other}"))),
    };
    let asked = answered.retry_after.as_deref().filter(|_| outcome == Outcome::AnsweredError).and_then(|text| asked_pause(text, now));
    Judged { outcome, status, error, asked }
}

/// The three headers of the specification.
fn headers(secrets: &[Secret], id: &str, now: Timestamp, body: &str) -> Option<HeaderMap> {
    let timestamp = now.as_second();
    let signature = sign(secrets, id, timestamp, body.as_bytes());
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(HeaderName::from_static("webhook-id"), HeaderValue::from_str(id).ok()?);
    headers.insert(HeaderName::from_static("webhook-timestamp"), HeaderValue::from(timestamp));
    headers.insert(HeaderName::from_static("webhook-signature"), HeaderValue::from_str(&signature).ok()?);
    Some(headers)
}

fn chance() -> u64 {
    u64::try_from(Uuid::new_v4().as_u128() >> 64).unwrap_or(0)
}

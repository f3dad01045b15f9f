//! What providers tell us. A notification is verified, stored raw and once, and acknowledged; then its fact is applied like any other. It is
//! never trusted for more than it proves: what does not fit the attempt is quarantined, and the channel is asked.

use jiff::{SignedDuration, Timestamp};

use super::answer::FlowError;
use super::external::Measured;
use super::flows::{Channel, Flows};
use super::{Acknowledgement, Notify};
use crate::crash::{self, Point};
use crate::domain::{Adopted, Contract, External, Learned, News, PaymentId, Source};
use crate::provider::{HttpProtocol, Notification};
use crate::store::inbox::{Arrival, Closing};
use crate::store::notification::NotificationState;

/// How long a notification may have waited in the inbox before another process's work is taken for lost.
const INBOX_PATIENCE: SignedDuration = SignedDuration::from_secs(30);
/// How long a notification waits for the flow that it has overtaken.
const A_MOMENT: std::time::Duration = std::time::Duration::from_millis(250);
/// How long what happened at the channel waits in the inbox for the news that it is about, before a person must look at it.
const NOT_YET_FOR: SignedDuration = SignedDuration::from_mins(15);
/// How long a channel is asked what a notification of its own leaves open.
const ASKED_FOR: SignedDuration = SignedDuration::from_hours(1);
/// Notifications taken from the inbox at a time.
const INBOX_BATCH: i64 = 100;

/// What became of a notification, why it was not applied, and the payment that it is about.
type Verdict = (NotificationState, Option<&'static str>, Option<PaymentId>);

impl Flows {
    /// Receives a notification: once it is on disk it is acknowledged.
    pub(super) async fn notify(&self, message: Notify) -> Result<Acknowledgement, FlowError> {
        let channel = self.channel(&message.channel).ok_or(FlowError::NotFound("channel"))?.clone();
        let notification = match channel.receive(&message.headers, &message.body, self.now()) {
            Ok(notification) => notification,
            Err(error) => {
                count(channel.handle.id(), "refused");
                return Err(error.into());
            }
        };
        let id = channel.handle.id();
        let arrival = Arrival {
            event_id: notification.event_id.clone(),
            kind: notification.kind.clone(),
            body: message.body.to_vec(),
            received_at: self.now(),
        };
        let received_at = arrival.received_at;
        let new = channel.inbox.store(arrival).await?;
        if new {
            crash::pass(Point::NotificationStored);
            // In a flood the rest waits on disk, and is taken up from there.
            if let Some(place) = self.place_in_inbox() {
                let flows = self.clone();
                let channel = channel.clone();
                self.spawn(async move {
                    flows.apply_and_close(&channel, &notification, received_at).await;
                    drop(place);
                });
            }
        } else {
            count(id, "repeated");
        }
        let protocol = channel.handle.provider().protocol().http();
        let (status, content_type, body) = protocol.map_or((200, "text/plain", ""), HttpProtocol::acknowledgement);
        Ok(Acknowledgement { status, content_type, body })
    }

    /// Applies what was received and not applied before a process ended, or did not fit yet.
    pub async fn empty_inbox(&self) -> Result<(), FlowError> {
        for waiting in self.shared.store.waiting_notifications(self.now() - INBOX_PATIENCE, INBOX_BATCH).await? {
            // It was verified before it was stored: its bytes need no signature now.
            let known = self.channel(&waiting.channel).cloned();
            let read = known.and_then(|channel| channel.read_again(&waiting.body).map(|read| (channel, read)));
            match read {
                Some((channel, notification)) => self.apply_and_close(&channel, &notification, waiting.received_at).await,
                // Left as received, it would stand before later ones at every look.
                None => {
                    let why = "its channel is not in the settings, or it cannot be read";
                    self.shared.store.quarantine_notification(&waiting.channel, &waiting.event_id, why, self.now()).await?;
                }
            }
        }
        Ok(())
    }

    async fn apply_and_close(&self, channel: &Channel, notification: &Notification, received_at: Timestamp) {
        let id = channel.handle.id();
        let (state, note, payment) = match self.apply_notification(channel, notification, received_at).await {
            Ok(Some(verdict)) => verdict,
            Ok(None) => {
                tracing::info!(channel = id, event = %notification.event_id, "what happened at the channel does not fit yet: it stays in the inbox");
                return;
            }
            Err(error) => {
                // It stays in the inbox as received, and is taken up again.
                tracing::error!(channel = id, event = %notification.event_id, error = %error, "a notification could not be applied yet");
                return;
            }
        };
        count(id, state.as_str());
        crash::pass(Point::NotificationApplied);
        channel.inbox.close(Closing { event_id: notification.event_id.clone(), state, note, payment, at: self.now() });
    }

    /// Whether what this process remembers of the payment knows the news already.
    fn knows(&self, id: PaymentId, key: &str, news: &News, contract: &Contract) -> bool {
        let seen = self.shared.recent.recall(id, |payment| {
            let attempt = payment.attempts.iter().find(|attempt| attempt.key == key)?;
            if news.reference.is_some() && news.reference != attempt.reference {
                return None;
            }
            Some(payment.clone().learn(attempt.n, news, Source::Notification, contract, self.now()) == Ok(Learned::Seen))
        });
        seen.flatten().unwrap_or(false)
    }

    /// A flow of this process that carries the payment will tell the same in a moment, most of the time: its answer was sent before the
    /// notification. True when it has; false at once when nobody carries it here.
    async fn is_told_soon(&self, id: PaymentId) -> bool {
        let Some(mut waiter) = self.shared.waiting.join(id) else { return false };
        let until = tokio::time::Instant::now() + A_MOMENT;
        waiter.until(until, |payment| payment.is_worth_answering()).await.is_some()
    }

    /// `None`: it does not fit yet, and stays where it is.
    async fn apply_notification(&self, channel: &Channel, notification: &Notification, received_at: Timestamp) -> Result<Option<Verdict>, FlowError> {
        match &notification.external {
            Some(external) => self.apply_external(channel, notification, external, received_at).await,
            None => self.apply_news(channel, notification).await.map(Some),
        }
    }

    async fn apply_news(&self, channel: &Channel, notification: &Notification) -> Result<Verdict, FlowError> {
        let Some(news) = &notification.news else { return Ok((NotificationState::Ignored, None, None)) };
        let Some(id) = self.payment_of(channel, notification).await? else {
            return Ok((NotificationState::Quarantined, Some("it names no payment of ours"), None));
        };
        let Some(key) = &notification.attempt_key else { return Ok((NotificationState::Quarantined, Some("it names no attempt"), Some(id))) };
        let contract = channel.handle.provider().contract();
        if self.knows(id, key, news, contract) || (self.is_told_soon(id).await && self.knows(id, key, news, contract)) {
            return Ok((NotificationState::Applied, None, Some(id)));
        }
        let Some(payment) = self.shared.store.payment(id).await? else {
            return Ok((NotificationState::Quarantined, Some("there is no such payment"), Some(id)));
        };
        let Some(attempt) = payment.attempts.iter().find(|attempt| attempt.key == *key && attempt.channel == channel.handle.id()) else {
            return Ok((NotificationState::Quarantined, Some("the payment has no such attempt on this channel"), Some(id)));
        };
        let n = attempt.n;
        let other = attempt.reference.is_some() && news.reference.is_some() && attempt.reference != news.reference;
        if other {
            return Ok((NotificationState::Quarantined, Some("the attempt is known by another reference"), Some(id)));
        }
        let settled = self.settle(payment, n, news, Source::Notification, channel.handle.provider().contract()).await?;
        Ok(match settled.learned {
            Learned::Changed | Learned::Seen => (NotificationState::Applied, None, Some(id)),
            Learned::Contradiction => (NotificationState::Quarantined, Some("it contradicts what is known"), Some(id)),
            Learned::Mismatch => {
                self.shared.store.hasten_attempt(id, n, self.now()).await?;
                (NotificationState::Quarantined, Some("its amount or currency is not the attempt's"), Some(id))
            }
        })
    }
}

impl Flows {
    /// The payment that a notification is about: by our own id where it carries one, else by the name under which the channel took the money, or
    /// may take it yet (a refund's message need not know more).
    async fn payment_of(&self, channel: &Channel, notification: &Notification) -> Result<Option<PaymentId>, FlowError> {
        let named = notification.payment.as_deref().and_then(|id| id.parse::<PaymentId>().ok());
        match (named, &notification.pay_reference) {
            (Some(id), _) => Ok(Some(id)),
            (None, Some(reference)) => match self.shared.store.paid_under(channel.handle.id(), reference).await? {
                None => Ok(self.shared.store.awaited_under(channel.handle.id(), reference).await?),
                paid => Ok(paid),
            },
            (None, None) => Ok(None),
        }
    }

    async fn apply_external(
        &self,
        channel: &Channel,
        notification: &Notification,
        external: &External,
        received_at: Timestamp,
    ) -> Result<Option<Verdict>, FlowError> {
        let found = match self.payment_of(channel, notification).await? {
            Some(id) => self.shared.store.payment(id).await?.map(|payment| payment.id),
            None => None,
        };
        let Some(id) = found else {
            return Ok(Some((NotificationState::Quarantined, Some("money moved at the channel, and it is of no payment that was paid here"), None)));
        };
        let measured = match external {
            External::RefundToMeasure { reference } => match self.measure(id, channel, reference).await? {
                Measured::Refund(refund) => refund,
                Measured::Known => return Ok(Some((NotificationState::Applied, None, Some(id)))),
                Measured::NotThere => {
                    return Ok(Some((NotificationState::Quarantined, Some("it tells of a refund that the channel does not have"), Some(id))));
                }
                Measured::NoWord if self.now().duration_since(received_at) < ASKED_FOR => return Ok(None),
                Measured::NoWord => {
                    let why = "its channel was asked for an hour, and does not say how much it gave back";
                    return Ok(Some((NotificationState::Quarantined, Some(why), Some(id))));
                }
            },
            External::Refund { .. } | External::RefundReturned { .. } | External::DisputeOpened { .. } | External::DisputeClosed { .. } => {
                external.clone()
            }
        };
        Ok(match self.adopt(id, channel, &measured).await? {
            Adopted::Changed | Adopted::Seen => Some((NotificationState::Applied, None, Some(id))),
            // It has overtaken what it is about.
            Adopted::NotYet if self.now().duration_since(received_at) < NOT_YET_FOR => None,
            Adopted::NotYet | Adopted::DoesNotFit => {
                channel.moved.a_misfit();
                let why = "money moved at the channel, and it is more than there is of the payment's";
                tracing::error!(payment = %id, channel = channel.handle.id(), kind = external.as_str(), reference = external.reference(), "{why}");
                Some((NotificationState::Quarantined, Some(why), Some(id)))
            }
        })
    }
}

fn count(channel: &str, result: &'static str) {
    metrics::counter!("breakwater_notifications_total", "channel" => channel.to_owned(), "result" => result).increment(1);
}

//! What providers tell us. A notification is verified, stored raw and once, and acknowledged; then its fact is applied like any other. It is
//! never trusted for more than it proves: what does not fit the attempt is quarantined, and the channel is asked.
//!
//! What was not applied at once waits on disk, and is taken up from there: each channel's by a task of its own, in turn, so that neither a channel
//! that does not answer nor a message that cannot be applied stands before others. One that fails by a fault of ours five times is set aside:
//! quarantined, told of, and put back by a person. So is one whose channel is no longer in any process's settings, that cannot be read, or whose channel
//! does not say for an hour what it leaves open. A database that is away or busy with others at the same rows counts nothing. What cannot be true
//! together with what is known is quarantined and told of as a misfit, and stays.
//!
//! There is patience with what cannot be booked yet, and it is on the message's row: it begins with the first look that finds it so, anew when a person
//! has put the message back, and what says nothing of the message (nobody could look, a guard let nobody ask) uses up none of it.

use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, StreamExt, future, stream};
use jiff::SignedDuration;

use super::answer::FlowError;
use super::external::Measured;
use super::flows::{Channel, Flows};
use super::resolve::is_ours;
use super::{Acknowledgement, Notify};
use crate::crash::{self, Point};
use crate::domain::{Adopted, Contract, External, Learned, News, PaymentId, Source};
use crate::provider::{HttpProtocol, Notification};
use crate::store::inbox::{Arrival, Closing};
use crate::store::notification::{NotificationState, SILENT, UNREADABLE, WaitingNotification, is_set_aside};
use crate::store::{Share, StoreError};

/// How long a notification may have waited in the inbox before another process's work is taken for lost.
const INBOX_PATIENCE: SignedDuration = SignedDuration::from_secs(30);
/// How long a notification waits for the flow that it has overtaken.
const A_MOMENT: std::time::Duration = std::time::Duration::from_millis(250);
/// How long what happened at the channel waits in the inbox for the news that it is about, from the first look on, before a person must look at it.
const NOT_YET_FOR: SignedDuration = SignedDuration::from_mins(15);
/// How often a channel is asked in vain what a notification of its own leaves open: at least an hour, because nobody looks at one twice within
/// [`INBOX_PATIENCE`]. Counted and not timed: while its guard lets nobody ask, the channel is not silent.
const ASKED_IN_VAIN_MOST: i32 = 120;
/// Notifications taken from a channel's inbox at a time, and how many of them are applied at once: also where each has to ask its channel, the last is
/// done within [`INBOX_PATIENCE`], or another process would take it up too.
const INBOX_BATCH: i64 = 32;
const INBOX_AT_ONCE: usize = 8;
/// Batches of a channel in one round: after a flood, the next round goes on.
const INBOX_BATCHES: u32 = 64;
/// How long a notification of a channel that is not in the settings waits for a process that has it: longer than one may wait where it is known.
const STRANGERS_WAIT: SignedDuration = SignedDuration::from_hours(2);
/// Strangers that are set aside at a time.
const STRANGERS_BATCH: i64 = 1_000;

/// What became of a notification, why it was not applied, and the payment that it is about.
type Verdict = (NotificationState, Option<&'static str>, Option<PaymentId>);

/// What a look at a notification finds.
enum Look {
    /// It is done with.
    Done(Verdict),
    /// It does not fit what is known yet: a misfit, if that lasts, for this reason.
    NotYet(PaymentId, &'static str),
    /// It cannot be true together with what is known, for this reason.
    Misfit(PaymentId, &'static str),
    /// Its channel was asked what it leaves open, and did not say.
    InVain(PaymentId),
    /// Its channel was not asked: its guard lets nobody.
    Unasked,
}

impl Flows {
    /// Receives a notification: once it is on disk it is acknowledged.
    pub(super) async fn notify(&self, channel: &Channel, message: Notify) -> Result<Acknowledgement, FlowError> {
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
        let new = channel.inbox.store(arrival).await?;
        if new {
            crash::pass(Point::NotificationStored);
            // In a flood the rest waits on disk, and is taken up from there.
            if let Some(place) = channel.places.to_apply() {
                let flows = self.clone();
                let channel = channel.clone();
                self.spawn(async move {
                    let event_id = notification.event_id.clone();
                    flows.apply_and_close(&channel, &event_id, || Some(notification)).await;
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

    /// Takes up what was received and not applied: the process ended before, or it did not fit yet. Begins at once, a task a channel that is not at it
    /// already; they go on when what is answered is dropped, and have all ended when it has.
    pub fn empty_inbox(&self) -> impl Future<Output = ()> + use<> {
        let mut tasks = Vec::new();
        for channel in self.channels() {
            let Some(turn) = channel.emptying.take() else { continue };
            let (flows, channel) = (self.clone(), channel.clone());
            tasks.push(self.spawn_as(Share::Poller, async move {
                let _turn = turn;
                if let Err(error) = flows.empty_inbox_of(&channel).await {
                    tracing::error!(channel = channel.handle.id(), error = %error, "the inbox of notifications could not be emptied");
                }
            }));
        }
        future::join_all(tasks).map(drop)
    }

    async fn empty_inbox_of(&self, channel: &Channel) -> Result<(), StoreError> {
        for _ in 0..INBOX_BATCHES {
            let now = self.now();
            let taken = self.shared.store.take_notifications(channel.handle.id(), now, now - INBOX_PATIENCE, INBOX_BATCH).await?;
            let last = taken.len() < usize::try_from(INBOX_BATCH).unwrap_or(usize::MAX);
            let apply = |waiting: WaitingNotification| async move {
                let WaitingNotification { event_id, body, .. } = waiting;
                // It was verified before it was stored: its bytes need no signature now.
                self.apply_and_close(channel, &event_id, || channel.read_again(&body)).await;
            };
            stream::iter(taken).for_each_concurrent(INBOX_AT_ONCE, apply).await;
            if last {
                break;
            }
        }
        Ok(())
    }

    /// Sets aside what came for channels that are no longer in the settings, once no other process can be about to apply it. Answers whose they are,
    /// and how many: somebody must be told, because nothing else knows of such a channel.
    pub(crate) async fn quarantine_strangers(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let known: Vec<&str> = self.channels().map(|channel| channel.handle.id()).collect();
        let now = self.now();
        let mut found = self.shared.store.quarantine_strangers(&known, now - STRANGERS_WAIT, now, STRANGERS_BATCH).await?;
        for (channel, messages) in &found {
            // Shown as none while they wait: what appears with its first count is no increase to whoever scrapes it.
            metrics::counter!("breakwater_notifications_total", "channel" => channel.clone(), "result" => "set_aside").increment(*messages);
        }
        found.retain(|(_, messages)| *messages > 0);
        for (channel, messages) in &found {
            tracing::error!(channel, messages, "notifications are set aside: their channel is not in the settings");
        }
        Ok(found)
    }

    /// Applies what `read` makes of a notification's bytes, and notes what became of it. A panic costs this notification alone.
    async fn apply_and_close(&self, channel: &Channel, event_id: &str, read: impl FnOnce() -> Option<Notification> + Send) {
        let id = channel.handle.id();
        let applied = AssertUnwindSafe(async {
            let look = match read() {
                Some(notification) => self.apply_notification(channel, &notification).await?,
                None => Look::Done((NotificationState::Quarantined, Some(UNREADABLE), None)),
            };
            self.judge(channel, event_id, look).await
        });
        let applied = applied.catch_unwind().await.unwrap_or_else(|_| Err(FlowError::Internal("applying a notification panicked".to_owned())));
        let (state, note, payment) = match applied {
            Ok(Some(verdict)) => verdict,
            Ok(None) => {
                tracing::info!(channel = id, event = %event_id, "what happened at the channel cannot be booked yet: it stays in the inbox");
                return;
            }
            Err(error) => {
                // It stays in the inbox as received, and is taken up again.
                tracing::error!(channel = id, event = %event_id, error = %error, "a notification could not be applied yet");
                if is_ours(&error) {
                    self.note_fault_of(channel, event_id).await;
                }
                return;
            }
        };
        if let Some(why) = note.filter(|note| is_set_aside(note)) {
            tracing::error!(channel = id, event = %event_id, why, "a notification is set aside");
            channel.note_set_aside();
            count(id, "set_aside");
        } else {
            count(id, state.as_str());
        }
        crash::pass(Point::NotificationApplied);
        channel.inbox.close(Closing { event_id: event_id.to_owned(), state, note, payment, at: self.now() });
    }

    async fn note_fault_of(&self, channel: &Channel, event_id: &str) {
        let id = channel.handle.id();
        let why = "applying it failed five times by a fault of ours";
        match self.shared.store.note_notification_fault(id, event_id, why, self.now()).await {
            Ok(false) => {}
            Ok(true) => {
                tracing::error!(channel = id, event = %event_id, "a notification is set aside: applying it fails by a fault of ours");
                channel.note_set_aside();
                count(id, "set_aside");
            }
            // It is looked at again, and counted then.
            Err(error) => tracing::error!(channel = id, event = %event_id, error = %error, "a fault could not be counted"),
        }
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

    async fn apply_notification(&self, channel: &Channel, notification: &Notification) -> Result<Look, FlowError> {
        match &notification.external {
            Some(external) => self.apply_external(channel, notification, external).await,
            None => self.apply_news(channel, notification).await.map(Look::Done),
        }
    }

    /// What a look comes to, by the patience that is left with the notification. `None`: it stays where it is.
    async fn judge(&self, channel: &Channel, event_id: &str, look: Look) -> Result<Option<Verdict>, FlowError> {
        let id = channel.handle.id();
        let misfit = |payment: PaymentId, why: &'static str| {
            channel.moved.a_misfit();
            tracing::error!(payment = %payment, channel = id, event = %event_id, "{why}");
            (NotificationState::Quarantined, Some(why), Some(payment))
        };
        Ok(match look {
            Look::Done(verdict) => Some(verdict),
            Look::Unasked => None,
            Look::Misfit(payment, why) => Some(misfit(payment, why)),
            Look::NotYet(payment, why) => {
                let now = self.now();
                let since = self.shared.store.note_not_yet(id, event_id, now).await?;
                (now.duration_since(since) >= NOT_YET_FOR).then(|| misfit(payment, why))
            }
            Look::InVain(payment) => {
                let times = self.shared.store.note_silence(id, event_id).await?;
                (times >= ASKED_IN_VAIN_MOST).then_some((NotificationState::Quarantined, Some(SILENT), Some(payment)))
            }
        })
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

    async fn apply_external(&self, channel: &Channel, notification: &Notification, external: &External) -> Result<Look, FlowError> {
        let found = match self.payment_of(channel, notification).await? {
            Some(id) => self.shared.store.payment(id).await?.map(|payment| payment.id),
            None => None,
        };
        let Some(id) = found else {
            let why = "money moved at the channel, and it is of no payment that was paid here";
            return Ok(Look::Done((NotificationState::Quarantined, Some(why), None)));
        };
        let measured = match external {
            External::RefundToMeasure { reference } => match self.measure(id, channel, reference).await? {
                Measured::Refund(refund) => refund,
                Measured::Known => return Ok(Look::Done((NotificationState::Applied, None, Some(id)))),
                // It told of it, and may find it a moment later.
                Measured::NotThere => return Ok(Look::NotYet(id, "it tells of a refund that the channel does not have")),
                Measured::NoWord => return Ok(Look::InVain(id)),
                Measured::Unasked => return Ok(Look::Unasked),
            },
            External::Refund { .. } | External::RefundReturned { .. } | External::DisputeOpened { .. } | External::DisputeClosed { .. } => {
                external.clone()
            }
        };
        let why = "money moved at the channel, and it is more than there is of the payment's";
        Ok(match self.adopt(id, channel, &measured).await? {
            Adopted::Changed | Adopted::Seen => Look::Done((NotificationState::Applied, None, Some(id))),
            // It has overtaken what it is about.
            Adopted::NotYet => Look::NotYet(id, why),
            Adopted::DoesNotFit => Look::Misfit(id, why),
        })
    }
}

fn count(channel: &str, result: &'static str) {
    metrics::counter!("breakwater_notifications_total", "channel" => channel.to_owned(), "result" => result).increment(1);
}

//! One round: note what is seen, decide if it is our turn to, send what is due. All the IO of the Alerter is here and in what it calls; what is
//! decided is decided by `plan.rs`, what is said is said by `story.rs`.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::alerter::AlerterSettings;
use super::condition::{AlertKind, Condition, Severity};
use super::mail::{self, Mail, MailError};
use super::plan::{self, Lately, Purpose, Standing, Step};
use super::sms::SmsOutcome;
use super::story::{self, Story, Text, Told};
use crate::clock::Clock;
use crate::store::alert::{AlertChange, AlertNote, AlertRow, ClaimedDelivery, DeliveryEnd, NewDelivery};
use crate::store::{Store, StoreError};

/// How long the duty is ours once taken: longer than a pause of the process that is no death, shorter than anybody's patience.
const DUTY: SignedDuration = SignedDuration::from_secs(30);
/// How long a delivery is ours: longer than any send may take.
const LEASE: SignedDuration = SignedDuration::from_secs(180);
/// Deliveries that are sent at once.
const AT_ONCE: i64 = 8;
/// Tries of a delivery, over some five hours.
const TRIES: i32 = 24;
/// The longest pause between two.
const PAUSE_MAX: SignedDuration = SignedDuration::from_secs(900);

/// What every round needs.
pub(super) struct Round {
    settings: AlerterSettings,
    store: Store,
    clock: Clock,
    holder: Uuid,
    on_duty_until: Mutex<Timestamp>,
}

/// What became of a try to send.
struct Tried {
    end: DeliveryEnd,
    result: &'static str,
    said: String,
}

impl Round {
    pub(super) fn new(settings: AlerterSettings, store: Store, clock: Clock) -> Self {
        Self { settings, store, clock, holder: Uuid::new_v4(), on_duty_until: Mutex::new(Timestamp::MIN) }
    }

    /// Notes these conditions, and decides about all alerts if it is this process's turn. Answers whether they are noted.
    pub(super) async fn decide(&self, seen: &[Condition]) -> bool {
        let now = self.clock.wall();
        if !seen.is_empty()
            && let Err(error) = self.store.note_alerts(&notes(seen), now).await
        {
            tracing::error!(error = %error, conditions = seen.len(), "alerts cannot be noted; they are kept in memory");
            return false;
        }
        if let Err(error) = self.decide_on_duty(now).await {
            tracing::error!(error = %error, "nothing can be decided about alerts");
        }
        true
    }

    async fn decide_on_duty(&self, now: Timestamp) -> Result<(), StoreError> {
        if !self.is_on_duty(now).await? {
            return Ok(());
        }
        let rows = self.store.unfinished_alerts().await?;
        let alerts: Vec<Alert> = rows.into_iter().filter_map(Alert::read).collect();
        if alerts.is_empty() {
            return Ok(());
        }
        let since = |over: Duration| now - SignedDuration::try_from(over).unwrap_or(SignedDuration::ZERO);
        let lately = self.store.alerts_lately(since(plan::MAILS_OVER), since(plan::SMS_OVER)).await?;
        let lately = Lately {
            mails: usize::try_from(lately.mails).unwrap_or(usize::MAX),
            digest_at: lately.digest_at,
            texts: usize::try_from(lately.texts).unwrap_or(usize::MAX),
        };
        let standings: Vec<Standing> = alerts.iter().map(|alert| alert.standing.clone()).collect();
        let steps = plan::plan(now, &standings, lately, &self.settings.rules);
        if steps.is_empty() {
            return Ok(());
        }
        let mut scribe =
            Scribe { settings: &self.settings, now, alerts: alerts.into_iter().map(|alert| (alert.row.id, alert)).collect(), changes: Vec::new() };
        let suppressed: Vec<(&'static str, usize)> = steps.into_iter().filter_map(|step| scribe.write(step)).collect();
        self.store.write_alert_changes(&scribe.changes).await?;
        for (reason, count) in suppressed {
            metrics::counter!("breakwater_alerts_suppressed_total", "reason" => reason).increment(u64::try_from(count).unwrap_or(0));
        }
        Ok(())
    }

    /// Whether this process is the one that decides. The lease is renewed when half of it is over.
    async fn is_on_duty(&self, now: Timestamp) -> Result<bool, StoreError> {
        if now + DUTY / 2 < self.duty() {
            return Ok(true);
        }
        let until = now + DUTY;
        let ours = self.store.take_alert_duty(self.holder, now, until).await?;
        *self.on_duty_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = if ours { until } else { Timestamp::MIN };
        Ok(ours)
    }

    fn duty(&self) -> Timestamp {
        *self.on_duty_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Sends what is due, some at once, each to its own end.
    pub(super) async fn send(&self) {
        let now = self.clock.wall();
        if self.duty() <= now {
            return;
        }
        match self.store.claim_alert_deliveries(now, now + LEASE, AT_ONCE).await {
            Ok(claimed) => {
                futures_util::future::join_all(claimed.iter().map(|delivery| self.deliver(delivery))).await;
            }
            Err(error) => tracing::error!(error = %error, "what is to be sent about alerts cannot be read"),
        }
    }

    async fn deliver(&self, delivery: &ClaimedDelivery) {
        let (transport, tried) = if delivery.transport == "sms" { ("sms", self.text(delivery).await) } else { ("email", self.mail(delivery).await) };
        metrics::counter!("breakwater_alerts_sent_total", "transport" => transport, "result" => tried.result).increment(1);
        match tried.end {
            DeliveryEnd::Sent(at) => {
                metrics::histogram!("breakwater_alert_delivery_seconds", "transport" => transport)
                    .record(at.duration_since(delivery.created_at).as_secs_f64().max(0.0));
                tracing::info!(delivery = %delivery.id, transport, said = tried.said, "an alert was sent");
            }
            DeliveryEnd::Retry(_) => {
                tracing::warn!(delivery = %delivery.id, transport, tries = delivery.tries + 1, said = tried.said, "an alert was not sent yet")
            }
            DeliveryEnd::Failed(_) => {
                tracing::error!(delivery = %delivery.id, transport, tries = delivery.tries + 1, said = tried.said, "an alert is given up")
            }
        }
        if let Err(error) = self.store.settle_alert_delivery(delivery.id, tried.end, &tried.said).await {
            tracing::error!(error = %error, delivery = %delivery.id, "what became of an alert cannot be noted: it may be sent twice");
        }
    }

    async fn mail(&self, delivery: &ClaimedDelivery) -> Tried {
        let Some(settings) = &self.settings.mail else { return self.given_up("there is no mail server in the settings") };
        let mail = Mail {
            to: &delivery.recipient,
            subject: &delivery.subject,
            body: &delivery.body,
            message_id: &delivery.message_id,
            in_reply_to: delivery.in_reply_to.as_deref(),
            date: delivery.created_at,
        };
        match mail::send(settings, &mail, |_| {}).await {
            Ok(said) => self.sent(said),
            Err(error @ (MailError::Settings(_) | MailError::Refused(_))) => self.given_up(&error.to_string()),
            Err(error @ (MailError::Later(_) | MailError::Timeout { .. })) => self.later(delivery.tries, TRIES, error.to_string()),
        }
    }

    async fn text(&self, delivery: &ClaimedDelivery) -> Tried {
        let Some((settings, carrier)) = &self.settings.sms else { return self.given_up("there is no provider of text messages in the settings") };
        let nonce = Uuid::new_v4().simple().to_string();
        let request = settings.request(&delivery.recipient, &delivery.body, &delivery.id.simple().to_string(), self.clock.wall(), &nonce);
        // The carrier keeps the timeout; this one holds should it not.
        let carried = tokio::time::timeout(settings.timeout * 2, carrier.carry(request)).await;
        let carried = carried.unwrap_or_else(|_| super::sms::Carried::Lost("no end in time".to_owned()));
        match settings.outcome(carried) {
            SmsOutcome::Accepted(reference) => self.sent(reference),
            SmsOutcome::Later(why) => self.later(delivery.tries, TRIES, why),
            // A duplicate is better than a loss, once.
            SmsOutcome::Unknown(why) => self.later(delivery.tries, 2, why),
            SmsOutcome::Refused(why) => self.given_up(&why),
        }
    }

    fn sent(&self, said: String) -> Tried {
        Tried { end: DeliveryEnd::Sent(self.clock.wall()), result: "sent", said }
    }

    fn given_up(&self, why: &str) -> Tried {
        Tried { end: DeliveryEnd::Failed(self.clock.wall()), result: "failed", said: why.to_owned() }
    }

    fn later(&self, tries: i32, most: i32, said: String) -> Tried {
        if tries + 1 >= most {
            return self.given_up(&said);
        }
        Tried { end: DeliveryEnd::Retry(self.clock.wall() + pause(tries)), result: "retried", said }
    }
}

/// The pause after that many tries: 5 s, doubled each time, at most a quarter of an hour.
fn pause(tries: i32) -> SignedDuration {
    let doublings = u32::try_from(tries).unwrap_or(0).min(16);
    (SignedDuration::from_secs(5) * 2_i32.pow(doublings)).min(PAUSE_MAX)
}

fn notes(seen: &[Condition]) -> Vec<AlertNote> {
    seen.iter()
        .map(|condition| AlertNote {
            kind: condition.kind().as_str(),
            channel: condition.channel().to_owned(),
            severity: condition.kind().severity().as_str(),
            // A story is strings and lists of strings: it can always be written.
            story: serde_json::to_string(&condition.story()).unwrap_or_default(),
        })
        .collect()
}

/// An alert that was read, with its words.
struct Alert {
    row: AlertRow,
    standing: Standing,
    severity: Severity,
    story: Story,
}

impl Alert {
    /// A row of a kind that this version does not know is another version's to decide about.
    fn read(row: AlertRow) -> Option<Self> {
        let (kind, severity) = (AlertKind::parse(&row.kind)?, Severity::parse(&row.severity)?);
        let story = serde_json::from_str(&row.story).ok()?;
        let standing = Standing {
            id: row.id,
            kind,
            raised_at: row.raised_at,
            seen_at: row.seen_at,
            ended_at: row.ended_at,
            acknowledged: row.acknowledged_at.is_some(),
            mailed_at: row.mailed_at,
            texted_at: row.texted_at,
            group_mailed_at: row.group_mailed_at,
            mail_fails: row.mail_fails,
        };
        Some(Self { row, standing, severity, story })
    }

    fn told(&self) -> Told<'_> {
        Told {
            id: self.row.id,
            kind: self.standing.kind,
            severity: self.severity,
            story: &self.story,
            raised_at: self.row.raised_at,
            ended_at: self.row.ended_at,
        }
    }
}

/// Turns steps into what is written.
struct Scribe<'a> {
    settings: &'a AlerterSettings,
    now: Timestamp,
    alerts: HashMap<Uuid, Alert>,
    changes: Vec<AlertChange>,
}

impl Scribe<'_> {
    /// Writes a step, and answers what it suppresses, with how many.
    fn write(&mut self, step: Step) -> Option<(&'static str, usize)> {
        match step {
            Step::End { id, at } => {
                if let Some(alert) = self.alerts.get_mut(&id) {
                    alert.row.ended_at = Some(at);
                }
                self.changes.push(AlertChange::Ended(id, at));
                None
            }
            Step::Forget { id } => {
                self.changes.push(AlertChange::Closed(id, self.now));
                Some(("brief", 1))
            }
            Step::Mail { id, purpose } => self.mail(id, purpose),
            Step::Digest { alerts } => self.digest(&alerts),
            Step::Sms { alerts } => self.text(&alerts),
        }
    }

    fn mail(&mut self, id: Uuid, purpose: Purpose) -> Option<(&'static str, usize)> {
        let alert = self.alerts.get(&id)?;
        let (links, told) = (&self.settings.links, alert.told());
        let (name, text) = match purpose {
            Purpose::Firing => ("firing", told.firing(links, self.now, false)),
            Purpose::Repeat => ("repeat", told.firing(links, self.now, true)),
            Purpose::Resolved => ("resolved", told.resolved(links, self.now)),
        };
        let message_id = self.message_id(&format!("{}.{}", id.simple(), alert.row.mails + 1));
        let thread = alert.row.thread.clone();
        self.queue_mail(vec![id], name, &text, &message_id, thread.as_deref());
        self.mailed(id, purpose, &message_id);
        self.settings.recipients.is_empty().then_some(("no_recipient", 1))
    }

    fn digest(&mut self, alerts: &[(Uuid, Purpose)]) -> Option<(&'static str, usize)> {
        let told: Vec<Told<'_>> = alerts.iter().filter_map(|(id, _)| self.alerts.get(id)).map(Alert::told).collect();
        let text = story::digest(&told, &self.settings.links, self.now);
        let message_id = self.message_id(&format!("digest.{}", Uuid::new_v4().simple()));
        self.queue_mail(alerts.iter().map(|(id, _)| *id).collect(), "digest", &text, &message_id, None);
        for (id, purpose) in alerts {
            self.mailed(*id, *purpose, &message_id);
        }
        Some(("storm", alerts.len()))
    }

    fn mailed(&mut self, id: Uuid, purpose: Purpose, message_id: &str) {
        self.changes.push(AlertChange::Mailed(id, self.now, message_id.to_owned()));
        if purpose == Purpose::Resolved {
            self.changes.push(AlertChange::Closed(id, self.now));
        }
    }

    fn queue_mail(&mut self, alerts: Vec<Uuid>, purpose: &'static str, text: &Text, message_id: &str, in_reply_to: Option<&str>) {
        for recipient in &self.settings.recipients {
            self.changes.push(AlertChange::Queued(NewDelivery {
                alerts: alerts.clone(),
                transport: "email",
                purpose,
                recipient: recipient.clone(),
                subject: text.subject.clone(),
                body: text.body.clone(),
                message_id: message_id.to_owned(),
                in_reply_to: in_reply_to.map(str::to_owned),
                created_at: self.now,
            }));
        }
    }

    fn text(&mut self, alerts: &[Uuid]) -> Option<(&'static str, usize)> {
        let told: Vec<Told<'_>> = alerts.iter().filter_map(|id| self.alerts.get(id)).map(Alert::told).collect();
        let body = match told.as_slice() {
            [one] => one.sms(),
            many => story::sms_digest(many),
        };
        let message_id = format!("sms.{}", Uuid::new_v4().simple());
        let to = self.settings.sms.as_ref().map(|(sms, _)| sms.to.clone()).unwrap_or_default();
        for recipient in to {
            self.changes.push(AlertChange::Queued(NewDelivery {
                alerts: alerts.to_vec(),
                transport: "sms",
                purpose: "escalation",
                recipient,
                subject: String::new(),
                body: body.clone(),
                message_id: message_id.clone(),
                in_reply_to: None,
                created_at: self.now,
            }));
        }
        self.changes.extend(alerts.iter().map(|id| AlertChange::Texted(*id, self.now)));
        (alerts.len() > 1).then_some(("storm", alerts.len()))
    }

    /// A Message-ID in the sender's domain (RFC 5322, 3.6.4).
    fn message_id(&self, left: &str) -> String {
        let from = self.settings.mail.as_ref().map_or("", |mail| mail.from.as_str());
        let domain = from.rsplit('@').next().map(|rest| rest.trim_end_matches('>')).filter(|rest| !rest.is_empty());
        format!("<{left}@{}>", domain.unwrap_or("breakwater.invalid"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_quarter_of_an_hour_and_the_tries_span_hours() {
        assert_eq!(pause(0).as_secs(), 5);
        assert_eq!(pause(3).as_secs(), 40);
        assert_eq!(pause(100).as_secs(), 900);
        let whole: i64 = (0..TRIES).map(|tries| pause(tries).as_secs()).sum();
        assert!((3 * 3_600..6 * 3_600).contains(&whole), "{whole}");
    }
}

//! Alerts and what is sent about them. Who decides is one process at a time ([`Store::take_alert_duty`]); its decision and what is to be sent
//! because of it are one transaction.

use deadpool_postgres::Transaction;
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Store, StoreError};

/// A condition is seen: a new alert, or the open one of its kind and channel goes on. Its words are the latest.
pub(super) const NOTE: &str = "INSERT INTO alert (id, kind, channel, severity, story, raised_at, seen_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
     ON CONFLICT (kind, channel) WHERE ended_at IS NULL DO UPDATE SET seen_at = greatest(alert.seen_at, excluded.seen_at), story = excluded.story";
/// The duty, if it is free or ours.
pub(super) const DUTY: &str = "INSERT INTO alert_duty (holder, lease_until) VALUES ($1, $2) ON CONFLICT (one) DO UPDATE \
     SET holder = excluded.holder, lease_until = excluded.lease_until WHERE alert_duty.holder = $1 OR alert_duty.lease_until <= $3 RETURNING true";
/// What is not closed, with the last mail of its group, and whether its mails get through.
pub(super) const UNFINISHED: &str = "SELECT a.id, a.kind, a.channel, a.severity, a.story, a.raised_at, a.seen_at, a.ended_at, a.acknowledged_at, a.acknowledged_by, \
     a.mailed_at, a.mails, a.thread, a.texted_at, a.closed_at, \
     (SELECT max(g.mailed_at) FROM alert g WHERE g.kind = a.kind AND g.channel = a.channel), \
     EXISTS (SELECT 1 FROM alert_delivery d WHERE d.alerts @> ARRAY[a.id] AND d.transport = 'email' AND d.state <> 'sent' AND d.tries >= 2) \
     FROM alert a WHERE a.closed_at IS NULL ORDER BY a.raised_at LIMIT 500";
/// What was sent lately.
pub(super) const LATELY: &str = "SELECT count(DISTINCT message_id) FILTER (WHERE transport = 'email' AND purpose <> 'digest' AND created_at > $1), \
     max(created_at) FILTER (WHERE transport = 'email' AND purpose = 'digest'), \
     count(DISTINCT message_id) FILTER (WHERE transport = 'sms' AND created_at > $2) FROM alert_delivery WHERE created_at > least($1, $2)";
pub(super) const END: &str = "UPDATE alert SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL";
pub(super) const CLOSE: &str = "UPDATE alert SET closed_at = $2 WHERE id = $1 AND ended_at IS NOT NULL";
pub(super) const MAILED: &str = "UPDATE alert SET mailed_at = $2, mails = mails + 1, thread = coalesce(thread, $3) WHERE id = $1";
pub(super) const TEXTED: &str = "UPDATE alert SET texted_at = $2 WHERE id = $1";
pub(super) const QUEUE: &str = "INSERT INTO alert_delivery (id, alerts, transport, purpose, recipient, subject, body, message_id, in_reply_to, created_at, due_at, state) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, 'queued')";
/// Takes what is due and free, oldest first.
pub(super) const CLAIM: &str = "UPDATE alert_delivery SET lease_until = $2 WHERE id IN (SELECT id FROM alert_delivery \
     WHERE state = 'queued' AND due_at <= $1 AND (lease_until IS NULL OR lease_until <= $1) ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED) \
     RETURNING id, transport, recipient, subject, body, message_id, in_reply_to, created_at, tries";
pub(super) const SETTLE: &str =
    "UPDATE alert_delivery SET state = $2, due_at = $3, sent_at = $4, result = $5, tries = tries + 1, lease_until = NULL WHERE id = $1";
/// Said again it changes nothing, and is no act.
pub(super) const ACKNOWLEDGE: &str = "WITH told AS (INSERT INTO audit (at, who, act, subject, before, after) \
       SELECT $2::timestamptz, 'operator:' || $3, 'alert.acknowledge', 'alert:' || id, jsonb_build_object('acknowledged_by', null), \
         jsonb_build_object('acknowledged_by', $3::text, 'kind', kind, 'channel', channel) \
       FROM (SELECT id, kind, channel FROM alert WHERE id = $1 AND acknowledged_at IS NULL FOR UPDATE) AS first) \
     UPDATE alert SET acknowledged_at = coalesce(acknowledged_at, $2::timestamptz), acknowledged_by = coalesce(acknowledged_by, $3) \
     WHERE id = $1 RETURNING id, kind, channel, severity, story, raised_at, seen_at, ended_at, acknowledged_at, acknowledged_by, \
     mailed_at, mails, thread, texted_at, closed_at, mailed_at, false";
pub(super) const NEWEST: &str = "SELECT id, kind, channel, severity, story, raised_at, seen_at, ended_at, acknowledged_at, acknowledged_by, \
     mailed_at, mails, thread, texted_at, closed_at, mailed_at, false FROM alert ORDER BY raised_at DESC LIMIT $1";
pub(super) const DELIVERIES: &str = "SELECT alerts, transport, purpose, recipient, created_at, sent_at, tries, state, result FROM alert_delivery \
     WHERE alerts && $1 ORDER BY created_at DESC LIMIT 1000";

/// A condition that is seen now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertNote {
    /// The kind's name.
    pub kind: &'static str,
    /// The channel; empty for none in particular.
    pub channel: String,
    /// The severity's name.
    pub severity: &'static str,
    /// Its words, as JSON.
    pub story: String,
}

/// An alert, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRow {
    /// Its id.
    pub id: Uuid,
    /// The kind's name.
    pub kind: String,
    /// The channel; empty for none in particular.
    pub channel: String,
    /// The severity's name.
    pub severity: String,
    /// Its words, as JSON.
    pub story: String,
    /// When it was first seen.
    pub raised_at: Timestamp,
    /// When it was last seen.
    pub seen_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When somebody acknowledged it.
    pub acknowledged_at: Option<Timestamp>,
    /// Who.
    pub acknowledged_by: Option<String>,
    /// The last mail about it.
    pub mailed_at: Option<Timestamp>,
    /// How many mails there were.
    pub mails: i32,
    /// The Message-ID of the first.
    pub thread: Option<String>,
    /// The text message about it.
    pub texted_at: Option<Timestamp>,
    /// When it was told to be over, or that was not needed.
    pub closed_at: Option<Timestamp>,
    /// The last mail about its kind and channel.
    pub group_mailed_at: Option<Timestamp>,
    /// Whether a mail about it was tried twice in vain.
    pub mail_fails: bool,
}

/// How many were sent lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertsLately {
    /// Mails about one alert each.
    pub mails: i64,
    /// The last digest.
    pub digest_at: Option<Timestamp>,
    /// Text messages.
    pub texts: i64,
}

/// What is changed by a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlertChange {
    /// It has ended.
    Ended(Uuid, Timestamp),
    /// Nothing more will be told of it.
    Closed(Uuid, Timestamp),
    /// A mail tells of it; the id is its thread's, if it has none yet.
    Mailed(Uuid, Timestamp, String),
    /// A text message tells of it.
    Texted(Uuid, Timestamp),
    /// Something is to be sent.
    Queued(NewDelivery),
}

/// Something to send to one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// The alerts that it tells of.
    pub alerts: Vec<Uuid>,
    /// `email` or `sms`.
    pub transport: &'static str,
    /// `firing`, `repeat`, `resolved`, `digest` or `escalation`.
    pub purpose: &'static str,
    /// The address or number.
    pub recipient: String,
    /// One line; empty for a text message.
    pub subject: String,
    /// The text.
    pub body: String,
    /// The same for every recipient and every try.
    pub message_id: String,
    /// The message that it answers.
    pub in_reply_to: Option<String>,
    /// Now.
    pub created_at: Timestamp,
}

/// Something that is ours to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedDelivery {
    /// Its id.
    pub id: Uuid,
    /// `email` or `sms`.
    pub transport: String,
    /// The address or number.
    pub recipient: String,
    /// One line.
    pub subject: String,
    /// The text.
    pub body: String,
    /// Its Message-ID.
    pub message_id: String,
    /// The message that it answers.
    pub in_reply_to: Option<String>,
    /// When it was written down.
    pub created_at: Timestamp,
    /// How many tries there were.
    pub tries: i32,
}

/// What became of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryEnd {
    /// The other side has taken it.
    Sent(Timestamp),
    /// It is tried again.
    Retry(Timestamp),
    /// It is given up.
    Failed(Timestamp),
}

/// What was sent, or is to be, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// The alerts that it tells of.
    pub alerts: Vec<Uuid>,
    /// `email` or `sms`.
    pub transport: String,
    /// Why it was sent.
    pub purpose: String,
    /// The address or number.
    pub recipient: String,
    /// When it was written down.
    pub created_at: Timestamp,
    /// When the other side took it.
    pub sent_at: Option<Timestamp>,
    /// How many tries there were.
    pub tries: i32,
    /// `queued`, `sent` or `failed`.
    pub state: String,
    /// What the other side said last.
    pub result: Option<String>,
}

impl Store {
    /// Notes conditions that are seen at `now`. One that cannot be noted leaves those before it noted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_alerts(&self, notes: &[AlertNote], now: Timestamp) -> Result<(), StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(NOTE).await?;
        for note in notes {
            let id = Uuid::new_v4();
            client.execute(&statement, &[&id, &note.kind, &note.channel, &note.severity, &note.story, &now, &now]).await?;
        }
        Ok(())
    }

    /// Takes or keeps the duty to decide until `until`. False while another process has it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_alert_duty(&self, holder: Uuid, now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(client.query_opt(DUTY, &[&holder, &until, &now]).await?.is_some())
    }

    /// The alerts about which there may be something to do, oldest first, 500 at most.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unfinished_alerts(&self) -> Result<Vec<AlertRow>, StoreError> {
        let client = self.client().await?;
        client.query(&client.prepare_cached(UNFINISHED).await?, &[]).await?.iter().map(read_alert).collect()
    }

    /// What was sent since these times.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn alerts_lately(&self, mails_since: Timestamp, texts_since: Timestamp) -> Result<AlertsLately, StoreError> {
        let client = self.client().await?;
        let row = client.query_one(LATELY, &[&mails_since, &texts_since]).await?;
        Ok(AlertsLately { mails: row.try_get(0)?, digest_at: row.try_get(1)?, texts: row.try_get(2)? })
    }

    /// Writes a decision: all of it or nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn write_alert_changes(&self, changes: &[AlertChange]) -> Result<(), StoreError> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        for change in changes {
            write(&transaction, change).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Takes up to `limit` deliveries that are due, until `until`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_alert_deliveries(&self, now: Timestamp, until: Timestamp, limit: i64) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let client = self.client().await?;
        let rows = client.query(&client.prepare_cached(CLAIM).await?, &[&now, &until, &limit]).await?;
        rows.iter()
            .map(|row| {
                Ok(ClaimedDelivery {
                    id: row.try_get(0)?,
                    transport: row.try_get(1)?,
                    recipient: row.try_get(2)?,
                    subject: row.try_get(3)?,
                    body: row.try_get(4)?,
                    message_id: row.try_get(5)?,
                    in_reply_to: row.try_get(6)?,
                    created_at: row.try_get(7)?,
                    tries: row.try_get(8)?,
                })
            })
            .collect()
    }

    /// Writes what became of a try, and what the other side said.
    ///
    /// # Errors
    /// [`StoreError`]: it will be tried again when its lease has lapsed.
    pub async fn settle_alert_delivery(&self, id: Uuid, end: DeliveryEnd, said: &str) -> Result<(), StoreError> {
        let client = self.client().await?;
        let (state, due_at, sent_at) = match end {
            DeliveryEnd::Sent(at) => ("sent", at, Some(at)),
            DeliveryEnd::Retry(at) => ("queued", at, None),
            DeliveryEnd::Failed(at) => ("failed", at, None),
        };
        client.execute(SETTLE, &[&id, &state, &due_at, &sent_at, &said]).await?;
        Ok(())
    }

    /// Notes that somebody has seen an alert; the first who did stays. `None` when there is no such alert.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn acknowledge_alert(&self, id: Uuid, by: &str, now: Timestamp) -> Result<Option<AlertRow>, StoreError> {
        let client = self.client().await?;
        client.query_opt(ACKNOWLEDGE, &[&id, &now, &by]).await?.as_ref().map(read_alert).transpose()
    }

    /// The newest alerts, newest first, and what was sent about them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn newest_alerts(&self, limit: i64) -> Result<(Vec<AlertRow>, Vec<DeliveryRow>), StoreError> {
        let client = self.client().await?;
        let alerts: Vec<AlertRow> = client.query(NEWEST, &[&limit]).await?.iter().map(read_alert).collect::<Result<_, StoreError>>()?;
        let ids: Vec<Uuid> = alerts.iter().map(|alert| alert.id).collect();
        let deliveries = client.query(DELIVERIES, &[&ids]).await?.iter().map(read_delivery).collect::<Result<_, StoreError>>()?;
        Ok((alerts, deliveries))
    }
}

async fn write(transaction: &Transaction<'_>, change: &AlertChange) -> Result<(), StoreError> {
    match change {
        AlertChange::Ended(id, at) => transaction.execute(END, &[id, at]).await?,
        AlertChange::Closed(id, at) => transaction.execute(CLOSE, &[id, at]).await?,
        AlertChange::Mailed(id, at, message_id) => transaction.execute(MAILED, &[id, at, message_id]).await?,
        AlertChange::Texted(id, at) => transaction.execute(TEXTED, &[id, at]).await?,
        AlertChange::Queued(new) => {
            let id = Uuid::new_v4();
            let NewDelivery { alerts, transport, purpose, recipient, subject, body, message_id, in_reply_to, created_at } = new;
            transaction.execute(QUEUE, &[&id, alerts, transport, purpose, recipient, subject, body, message_id, in_reply_to, created_at]).await?
        }
    };
    Ok(())
}

fn read_alert(row: &Row) -> Result<AlertRow, StoreError> {
    Ok(AlertRow {
        id: row.try_get(0)?,
        kind: row.try_get(1)?,
        channel: row.try_get(2)?,
        severity: row.try_get(3)?,
        story: row.try_get(4)?,
        raised_at: row.try_get(5)?,
        seen_at: row.try_get(6)?,
        ended_at: row.try_get(7)?,
        acknowledged_at: row.try_get(8)?,
        acknowledged_by: row.try_get(9)?,
        mailed_at: row.try_get(10)?,
        mails: row.try_get(11)?,
        thread: row.try_get(12)?,
        texted_at: row.try_get(13)?,
        closed_at: row.try_get(14)?,
        group_mailed_at: row.try_get(15)?,
        mail_fails: row.try_get(16)?,
    })
}

fn read_delivery(row: &Row) -> Result<DeliveryRow, StoreError> {
    Ok(DeliveryRow {
        alerts: row.try_get(0)?,
        transport: row.try_get(1)?,
        purpose: row.try_get(2)?,
        recipient: row.try_get(3)?,
        created_at: row.try_get(4)?,
        sent_at: row.try_get(5)?,
        tries: row.try_get(6)?,
        state: row.try_get(7)?,
        result: row.try_get(8)?,
    })
}

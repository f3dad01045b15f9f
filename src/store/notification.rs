//! Notifications, stored raw and once (`inbox.rs`) before anything is made of them: what may become of one, and those that wait. Who waits is looked
//! at in turn, each channel for itself: one that fails, or does not fit yet, stands before nobody. The patience with each is
//! on its row. One that goes on failing, that cannot be read, or whose channel is silent or nobody's, is set aside, until a person has it taken up
//! again, with all patience anew.

use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::administration::Actor;
use super::lease::FAULTS_MOST;
use super::{Store, StoreError};
use crate::domain::PaymentId;

/// Those that were stored and not applied: the process ended before, or they do not fit yet.
pub(super) const WAITING: &str =
    "SELECT channel, event_id, body, received_at FROM notification WHERE state = 'received' AND received_at < $1 ORDER BY received_at LIMIT $2";

/// Takes those of one channel that were not looked at for longest, past whatever others hold. What is taken goes behind the rest: that is its lease,
/// too. Found by their places, because a join may read all that the channel was ever told.
pub(super) const TAKE: &str = "UPDATE notification SET looked_at = $2 WHERE ctid = ANY(ARRAY( \
       SELECT ctid FROM notification WHERE channel = $1 AND state = 'received' AND coalesce(looked_at, received_at) < $3 \
       ORDER BY coalesce(looked_at, received_at) LIMIT $4 FOR UPDATE SKIP LOCKED)) \
     RETURNING event_id, body, received_at";
/// Sets those aside whose channel is none of these, and says how many of each; none of a channel whose notifications have not waited for long enough.
/// In the order of the index of what waits: the table has all that was ever told.
pub(super) const QUARANTINE: &str = "WITH aside AS (UPDATE notification SET state = 'quarantined', note = $3, applied_at = $4 WHERE ctid = ANY(ARRAY( \
         SELECT ctid FROM notification WHERE state = 'received' AND NOT (channel = ANY($1::text[])) AND coalesce(looked_at, received_at) < $2 \
         ORDER BY channel, coalesce(looked_at, received_at) LIMIT $5 FOR UPDATE SKIP LOCKED)) AND state = 'received' RETURNING channel), \
       waits AS (SELECT DISTINCT channel FROM notification WHERE state = 'received' AND NOT (channel = ANY($1::text[]))) \
     SELECT channel, count(aside.channel) FROM waits FULL JOIN aside USING (channel) GROUP BY channel ORDER BY channel";
/// Counts a fault of ours, and sets the notification aside with the last that it may have.
pub(super) const FAULT: &str = "UPDATE notification SET failures = least(failures + 1, 1000), looked_at = $3, \
       state = CASE WHEN failures + 1 >= $4 THEN 'quarantined' ELSE state END, note = CASE WHEN failures + 1 >= $4 THEN $5 ELSE note END, \
       applied_at = CASE WHEN failures + 1 >= $4 THEN $3 ELSE applied_at END \
     WHERE channel = $1 AND event_id = $2 AND state = 'received' RETURNING state = 'quarantined'";
/// It does not fit yet. Says since when.
pub(super) const NOT_YET: &str = "UPDATE notification SET not_yet_since = coalesce(not_yet_since, $3) \
     WHERE channel = $1 AND event_id = $2 AND state = 'received' RETURNING not_yet_since";
/// Its channel was asked in vain. Says how often.
pub(super) const SILENCE: &str = "UPDATE notification SET asked_in_vain = least(asked_in_vain + 1, 1000) \
     WHERE channel = $1 AND event_id = $2 AND state = 'received' RETURNING asked_in_vain";
/// Has those wait again that were set aside, and only those: what is quarantined because of what it says stays. They count as looked at a minute ago:
/// whoever has the channel takes them at once, and whoever has it not leaves them for as long as if they had just come.
pub(super) const RETRY: &str = "WITH back AS (UPDATE notification SET state = 'received', failures = 0, note = NULL, applied_at = NULL, \
         not_yet_since = NULL, asked_in_vain = 0, looked_at = $1::timestamptz - interval '1 minute' WHERE ctid = ANY(ARRAY( \
         SELECT ctid FROM notification WHERE state = 'quarantined' AND (failures >= $2 OR note = ANY($3::text[])) AND ($4::text IS NULL OR channel = $4) \
         ORDER BY received_at LIMIT $5 FOR UPDATE SKIP LOCKED)) AND state = 'quarantined' RETURNING channel), \
     told AS (INSERT INTO audit (at, who, act, subject, why, after) \
       SELECT $1::timestamptz, $6, 'notification.retry', coalesce('channel:' || $4, 'notifications'), $7, \
         jsonb_build_object('notifications', (SELECT count(*) FROM back), 'channel', $4::text)) \
     SELECT count(*) FROM back";

/// Newest first. Two of one time are told apart by a hash of what names them: a page's place fits 16 bytes.
pub(super) const LIST: &str = "SELECT channel, event_id, kind, state, note, payment_id, received_at, applied_at, length(body)::int8, \
       hashtextextended(channel || chr(10) || event_id, 0) AS place FROM notification \
     WHERE ($1::text IS NULL OR channel = $1) AND ($2::text IS NULL OR state = $2) AND received_at <= $3 \
       AND (received_at < $3 OR hashtextextended(channel || chr(10) || event_id, 0) < $4) \
     ORDER BY received_at DESC, place DESC LIMIT $5";

/// Notifications that one request puts back into the inbox, at most: the pollers take them in batches.
pub const RETRY_MOST: i64 = 10_000;
/// Why a notification was set aside whose channel no process has.
pub const STRANGER: &str = "its channel is not in the settings";
/// Why one was set aside whose channel, asked again and again, does not say what it leaves open.
pub const SILENT: &str = "its channel was asked for an hour, and does not say how much it gave back";
/// Why one was set aside whose bytes say nothing to us: they were verified when they came.
pub const UNREADABLE: &str = "it cannot be read, or no longer with the keys of today";
/// The notes of what was set aside for no fault of ours, and not because of what it says either: the rows have them, so they stay as they are.
const SET_ASIDE: [&str; 3] = [STRANGER, SILENT, UNREADABLE];

/// Whether what is quarantined with this note is only set aside: it may be put back, and somebody must be told of it.
pub fn is_set_aside(note: &str) -> bool {
    SET_ASIDE.contains(&note)
}

/// What became of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotificationState {
    /// Its fact was applied, or was known.
    Applied,
    /// It says nothing of an attempt of ours.
    Ignored,
    /// It does not fit what we know: kept for a person.
    Quarantined,
}

/// The states of a notification, as the rows have them: what may become of it, and before that `received`.
pub const STATES: [&str; 4] = ["received", "applied", "ignored", "quarantined"];

/// A notification in the operators' list. Its body stays where it is: it may hold whatever the provider knows of a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationRow {
    /// The channel it came for.
    pub channel: String,
    /// The provider's id of it.
    pub event_id: String,
    /// The provider's word for what it is about.
    pub kind: String,
    /// One of [`STATES`].
    pub state: String,
    /// Why it was set aside.
    pub note: Option<String>,
    /// The payment that it is about, where it is known.
    pub payment: Option<PaymentId>,
    /// When it came.
    pub received_at: Timestamp,
    /// When something was made of it.
    pub applied_at: Option<Timestamp>,
    /// How long its body is.
    pub body_bytes: i64,
    place: i64,
}

impl NotificationRow {
    /// What stands for it in a cursor: its time in microseconds, and its hash.
    pub fn place(&self) -> Uuid {
        Uuid::from_u64_pair(self.received_at.as_microsecond().cast_unsigned(), self.place.cast_unsigned())
    }
}

/// What is asked of the list.
#[derive(Clone, Debug, Default)]
pub struct PageOfNotifications {
    /// Where the last page ended.
    pub after: Option<Uuid>,
    /// Only those for this channel.
    pub channel: Option<String>,
    /// Only those in this state.
    pub state: Option<&'static str>,
    /// How many at most.
    pub limit: i64,
}

impl NotificationState {
    /// The name in rows and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Ignored => "ignored",
            Self::Quarantined => "quarantined",
        }
    }
}

/// A notification that was stored and not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingNotification {
    /// The channel it came for.
    pub channel: String,
    /// The provider's id of it.
    pub event_id: String,
    /// As it was signed.
    pub body: Vec<u8>,
    /// When it came.
    pub received_at: Timestamp,
}

impl Store {
    /// Takes up to `limit` notifications of `channel` that were not applied, and that nobody has looked at since `before`; whoever was not looked at
    /// for longest comes first. Each counts as looked at from `now` on, so that a process that ends with it in hand costs it one wait.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_notifications(
        &self,
        channel: &str,
        now: Timestamp,
        before: Timestamp,
        limit: i64,
    ) -> Result<Vec<WaitingNotification>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(TAKE).await?;
        let rows = client.query(&statement, &[&channel, &now, &before, &limit]).await?;
        let read = |row: &tokio_postgres::Row| {
            let channel = channel.to_owned();
            Ok(WaitingNotification { channel, event_id: row.try_get(0)?, body: row.try_get(1)?, received_at: row.try_get(2)? })
        };
        rows.iter().map(read).collect()
    }

    /// Sets up to `limit` notifications aside of channels that are none of `known`, that nobody has looked at since `before`; they say [`STRANGER`].
    /// Answers each such channel with how many, 0 where all of them wait on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn quarantine_strangers(
        &self,
        known: &[&str],
        before: Timestamp,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let client = self.client().await?;
        let rows = client.query(QUARANTINE, &[&known, &before, &STRANGER, &now, &limit]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, u64::try_from(row.try_get::<_, i64>(1)?).unwrap_or_default()))).collect()
    }

    /// Applying a notification failed by a fault of ours: its next turn comes after the others', or, at the [`FAULTS_MOST`]th time, it is quarantined
    /// and says `why`. Answers whether it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_notification_fault(&self, channel: &str, event_id: &str, why: &str, now: Timestamp) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let row = client.query_opt(FAULT, &[&channel, &event_id, &now, &FAULTS_MOST, &why]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(false))
    }

    /// A notification does not fit what is known yet. Answers since when: `now` at the first time since it came or was put back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_not_yet(&self, channel: &str, event_id: &str, now: Timestamp) -> Result<Timestamp, StoreError> {
        let client = self.client().await?;
        let row = client.query_opt(NOT_YET, &[&channel, &event_id, &now]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(now))
    }

    /// The channel was asked what its notification leaves open, and did not say. Answers how often that was, since it came or was put back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_silence(&self, channel: &str, event_id: &str) -> Result<i32, StoreError> {
        let client = self.client().await?;
        let row = client.query_opt(SILENCE, &[&channel, &event_id]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(0))
    }

    /// Puts up to [`RETRY_MOST`] notifications back into the inbox that were set aside, of `channel` or of all, oldest first: they are taken up as if
    /// they had just come. Answers how many.
    ///
    /// # Errors
    /// [`StoreError`]: none was put back.
    pub async fn retry_notifications(&self, channel: Option<&str>, actor: Actor<'_>) -> Result<i64, StoreError> {
        let client = self.client().await?;
        let notes = SET_ASIDE.as_slice();
        let parameters: [&(dyn ToSql + Sync); 7] = [&actor.at, &FAULTS_MOST, &notes, &channel, &RETRY_MOST, &actor.who, &actor.why];
        Ok(client.query_one(RETRY, &parameters).await?.try_get(0)?)
    }

    /// Up to `limit` notifications that were received before `before` and not applied: the process ended in between.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn waiting_notifications(&self, before: Timestamp, limit: i64) -> Result<Vec<WaitingNotification>, StoreError> {
        let client = self.client().await?;
        let rows = client.query(WAITING, &[&before, &limit]).await?;
        let read = |row: &tokio_postgres::Row| {
            Ok(WaitingNotification { channel: row.try_get(0)?, event_id: row.try_get(1)?, body: row.try_get(2)?, received_at: row.try_get(3)? })
        };
        rows.iter().map(read).collect()
    }

    /// A page of notifications, newest first, without their bodies.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn notifications(&self, page: &PageOfNotifications) -> Result<Vec<NotificationRow>, StoreError> {
        let (received_at, place) = match page.after.map(|place| place.as_u64_pair()) {
            None => (Timestamp::MAX, i64::MAX),
            Some((micros, place)) => (Timestamp::from_microsecond(micros.cast_signed()).unwrap_or(Timestamp::MAX), place.cast_signed()),
        };
        // Postgres keeps times up to the year 294276; jiff's last is in the year 9999.
        let rows = self.client().await?.query(LIST, &[&page.channel, &page.state, &received_at, &place, &page.limit]).await?;
        rows.iter()
            .map(|row| {
                Ok(NotificationRow {
                    channel: row.try_get(0)?,
                    event_id: row.try_get(1)?,
                    kind: row.try_get(2)?,
                    state: row.try_get(3)?,
                    note: row.try_get(4)?,
                    payment: row.try_get::<_, Option<Uuid>>(5)?.map(PaymentId),
                    received_at: row.try_get(6)?,
                    applied_at: row.try_get(7)?,
                    body_bytes: row.try_get(8)?,
                    place: row.try_get(9)?,
                })
            })
            .collect()
    }
}

//! Operators' overrides of channels' breakers, as rows: put, ended, listed, and read by every process twice a second.
//!
//! One statement puts an override, ends the one that it replaces, and writes the audit's row, so that a crash leaves all of it or nothing. Whether
//! a channel of that name exists is not known here: the caller has asked.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio_postgres::Row;
use uuid::Uuid;

use super::administration::Actor;
use super::{Store, StoreError};
use crate::domain::{OperationClass, OverrideId, Recurrence};

/// How far ahead a one-off may end, at most.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(24);
/// Overrides that may be in force or planned at once, over all channels: each is looked at ten times a second.
pub const MOST: i64 = 1_000;
/// Puts that may find that somebody was first, before one gives up: each time somebody else has put theirs.
const RIVALS: usize = 8;

/// Whether there is room is asked once, of the same rows by what ends the old one and by what puts the new one: both do their part, or neither. The
/// one that is replaced takes no room, so that a full table still lets itself be corrected.
pub(super) const PUT: &str = "WITH room AS (SELECT count(*) < $13 AS is_left FROM channel_override \
       WHERE ended_at IS NULL AND (expires_at IS NULL OR expires_at > $8::timestamptz) \
       AND NOT (channel = $2 AND class = $3 AND zone IS NOT DISTINCT FROM $9 AND from_minute IS NOT DISTINCT FROM $10 \
         AND until_minute IS NOT DISTINCT FROM $11 AND days IS NOT DISTINCT FROM $12)), \
     old AS (UPDATE channel_override SET ended_at = least($8::timestamptz, coalesce(expires_at, $8::timestamptz)), ended_by = $5 \
       WHERE channel = $2 AND class = $3 AND ended_at IS NULL AND zone IS NOT DISTINCT FROM $9 AND from_minute IS NOT DISTINCT FROM $10 \
       AND until_minute IS NOT DISTINCT FROM $11 AND days IS NOT DISTINCT FROM $12 AND (SELECT is_left FROM room) \
       RETURNING id, mode, author, reason, expires_at), \
     made AS (INSERT INTO channel_override (id, channel, class, mode, author, reason, expires_at, created_at, zone, from_minute, until_minute, days) \
       SELECT $1, $2, $3, $4, $5, $6, $7, $8::timestamptz, $9, $10, $11, $12 FROM (SELECT count(*) FROM old) AS ended_first \
       WHERE (SELECT is_left FROM room) RETURNING *), \
     told AS (INSERT INTO audit (at, who, act, subject, why, before, after) \
       SELECT $8::timestamptz, $5, 'channel.override', 'channel:' || channel, reason, \
         (SELECT jsonb_build_object('id', id, 'mode', mode, 'author', author, 'reason', reason, 'expires_at', expires_at) FROM old \
           WHERE expires_at IS NULL OR expires_at > $8::timestamptz LIMIT 1), \
         jsonb_build_object('id', id, 'operation', class, 'mode', mode, 'expires_at', expires_at, 'zone', zone, 'from_minute', from_minute, \
           'until_minute', until_minute, 'days', days) FROM made) \
     SELECT * FROM made";
pub(super) const END: &str = "WITH old AS (UPDATE channel_override SET ended_at = $3::timestamptz, ended_by = $4 \
       WHERE channel = $1 AND ended_at IS NULL AND (expires_at IS NULL OR expires_at > $3::timestamptz) \
       AND CASE WHEN $6::uuid IS NULL THEN class = $2 AND zone IS NULL ELSE id = $6 END RETURNING *), \
     told AS (INSERT INTO audit (at, who, act, subject, why, before, after) \
       SELECT $3::timestamptz, $4, 'channel.override_end', 'channel:' || channel, $5, \
         jsonb_build_object('id', id, 'operation', class, 'mode', mode, 'author', author, 'reason', reason, 'expires_at', expires_at), \
         jsonb_build_object('ended_at', $3::timestamptz) FROM old) \
     SELECT * FROM old";
pub(super) const RUNNING: &str =
    "SELECT * FROM channel_override WHERE ended_at IS NULL AND (expires_at IS NULL OR expires_at > $1) ORDER BY id LIMIT $2";
pub(super) const LIST: &str = "SELECT * FROM channel_override WHERE id < $1 AND ($2::text IS NULL OR channel = $2) \
     AND ($3::bool IS NULL OR (ended_at IS NULL AND (expires_at IS NULL OR expires_at > $4)) = $3) ORDER BY id DESC LIMIT $5";

/// An override to put.
#[derive(Clone, Debug, PartialEq)]
pub struct NewOverride {
    /// Which channel.
    pub channel: String,
    /// Which operations of it.
    pub class: OperationClass,
    /// `forced_open`, `forced_closed` or `drain`.
    pub mode: &'static str,
    /// Why, in 1 to 500 characters.
    pub reason: String,
    /// When it ends by itself: within [`LONGEST`] for a one-off, at any time or never for what recurs.
    pub expires_at: Option<Timestamp>,
    /// When it holds, where it recurs.
    pub recurs: Option<Recurrence>,
}

/// An override as it was put.
#[derive(Clone, Debug, PartialEq)]
pub struct OverrideRow {
    /// Its id.
    pub id: OverrideId,
    /// Which channel.
    pub channel: String,
    /// Which operations of it.
    pub class: OperationClass,
    /// `forced_open`, `forced_closed` or `drain`.
    pub mode: String,
    /// Who put it: `operator:NAME` or `os:NAME`.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When it was put; a one-off holds from then on.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it holds, where it recurs.
    pub recurs: Option<Recurrence>,
    /// When somebody ended or replaced it.
    pub ended_at: Option<Timestamp>,
    /// Who did.
    pub ended_by: Option<String>,
}

impl OverrideRow {
    /// Whether it is neither ended nor over at `now`. What recurs is, also between its windows.
    pub fn stands(&self, now: Timestamp) -> bool {
        self.ended_at.is_none() && self.expires_at.is_none_or(|end| end > now)
    }

    /// Until when it holds without a break, if it holds at `now`.
    pub fn holds_until(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.stands(now) {
            return None;
        }
        match &self.recurs {
            None => self.expires_at,
            Some(recurs) => recurs.holding(now).map(|window| self.expires_at.map_or(window.until, |end| end.min(window.until))),
        }
    }
}

/// What is asked of the list.
#[derive(Clone, Debug, Default)]
pub struct PageOfOverrides {
    /// Only those before this id: where the last page ended.
    pub before: Option<Uuid>,
    /// Only those of this channel.
    pub channel: Option<String>,
    /// Only those that stand, or only those that do not.
    pub standing: Option<bool>,
    /// How many at most.
    pub limit: i64,
}

impl Store {
    /// Puts an override; a one-off in the place of the one that stands for the same channel and class, what recurs in that of the same window.
    /// `None` when [`MOST`] others stand already; nothing was changed then.
    ///
    /// # Errors
    /// [`StoreError`]; a one-off without an end, or with one too far away, violates `channel_override_ends`.
    pub async fn put_override(&self, new: &NewOverride, actor: Actor<'_>) -> Result<Option<OverrideRow>, StoreError> {
        let id = OverrideId::new(actor.at);
        let class = new.class.as_str();
        let zone = new.recurs.as_ref().map(Recurrence::zone);
        let minute = |minute: u16| i16::try_from(minute).unwrap_or(0);
        let from = new.recurs.as_ref().map(|recurs| minute(recurs.from_minute()));
        let until = new.recurs.as_ref().map(|recurs| minute(recurs.until_minute()));
        let days = new.recurs.as_ref().map(|recurs| i16::from(recurs.days()));
        let client = self.client().await?;
        let mut rivals = 0;
        loop {
            let put = client
                .query_opt(
                    PUT,
                    &[
                        &id.0,
                        &new.channel,
                        &class,
                        &new.mode,
                        &actor.who,
                        &new.reason,
                        &new.expires_at,
                        &actor.at,
                        &zone,
                        &from,
                        &until,
                        &days,
                        &MOST,
                    ],
                )
                .await
                .map_err(StoreError::from);
            match put {
                Ok(row) => return row.as_ref().map(read).transpose(),
                // Somebody put one between our statement's look and its write; theirs is replaced at the next try.
                Err(StoreError::Refused { constraint: Some(name), .. })
                    if rivals < RIVALS && matches!(name.as_str(), "channel_override_one_off" | "channel_override_recurring") =>
                {
                    rivals += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the one-off of a channel's class, or the override of that id. `None` when none stands.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_override(
        &self,
        channel: &str,
        class: OperationClass,
        id: Option<OverrideId>,
        actor: Actor<'_>,
    ) -> Result<Option<OverrideRow>, StoreError> {
        let client = self.client().await?;
        let row = client.query_opt(END, &[&channel, &class.as_str(), &actor.at, &actor.who, &actor.why, &id.map(|id| id.0)]).await?;
        row.as_ref().map(read).transpose()
    }

    /// The overrides that stand at `now`, oldest first, at most [`MOST`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn standing_overrides(&self, now: Timestamp) -> Result<Vec<OverrideRow>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(RUNNING).await?;
        client.query(&statement, &[&now, &MOST]).await?.iter().map(read).collect()
    }

    /// A page of overrides, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn overrides(&self, page: &PageOfOverrides, now: Timestamp) -> Result<Vec<OverrideRow>, StoreError> {
        let client = self.client().await?;
        let before = page.before.unwrap_or(Uuid::max());
        client.query(LIST, &[&before, &page.channel, &page.standing, &now, &page.limit]).await?.iter().map(read).collect()
    }
}

fn read(row: &Row) -> Result<OverrideRow, StoreError> {
    let class: &str = row.try_get("class")?;
    Ok(OverrideRow {
        id: OverrideId(row.try_get("id")?),
        channel: row.try_get("channel")?,
        class: OperationClass::parse(class).ok_or_else(|| StoreError::Unreadable(format!("class is {class:?}")))?,
        mode: row.try_get("mode")?,
        author: row.try_get("author")?,
        reason: row.try_get("reason")?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        recurs: recurrence(row)?,
        ended_at: row.try_get("ended_at")?,
        ended_by: row.try_get("ended_by")?,
    })
}

fn recurrence(row: &Row) -> Result<Option<Recurrence>, StoreError> {
    let Some(zone) = row.try_get::<_, Option<&str>>("zone")? else { return Ok(None) };
    let unreadable = |why: String| StoreError::Unreadable(format!("the window of an override: {why}"));
    let zone = TimeZone::get(zone).map_err(|error| unreadable(error.to_string()))?;
    let number = |column: &str| -> Result<u16, StoreError> {
        let number: i16 = row.try_get(column)?;
        u16::try_from(number).map_err(|error| unreadable(error.to_string()))
    };
    let days = u8::try_from(number("days")?).map_err(|error| unreadable(error.to_string()))?;
    let recurs = Recurrence::new(number("from_minute")?, number("until_minute")?, days, zone).map_err(|error| unreadable(error.to_string()))?;
    Ok(Some(recurs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(expires_at: Option<&str>, recurs: Option<Recurrence>) -> OverrideRow {
        OverrideRow {
            id: OverrideId(Uuid::nil()),
            channel: "a".to_owned(),
            class: OperationClass::Pay,
            mode: "drain".to_owned(),
            author: "operator:ada".to_owned(),
            reason: "cut-off".to_owned(),
            created_at: Timestamp::UNIX_EPOCH,
            expires_at: expires_at.map(|text| text.parse().expect("a time")),
            recurs,
            ended_at: None,
            ended_by: None,
        }
    }

    #[test]
    fn a_one_off_holds_until_its_end_and_not_a_moment_longer() {
        let one = row(Some("1970-01-01T01:00:00Z"), None);
        assert_eq!(one.holds_until("1970-01-01T00:59:59Z".parse().expect("a time")), one.expires_at);
        assert_eq!(one.holds_until("1970-01-01T01:00:00Z".parse().expect("a time")), None);
        let ended = OverrideRow { ended_at: Some(Timestamp::UNIX_EPOCH), ..one };
        assert_eq!(ended.holds_until(Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn what_recurs_holds_in_its_window_and_stands_between_them() {
        let recurs = Recurrence::new(60, 120, crate::domain::recurrence::EVERY_DAY, TimeZone::UTC).expect("a window");
        let daily = row(None, Some(recurs));
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        assert_eq!(daily.holds_until(at("1970-01-02T01:30:00Z")), Some(at("1970-01-02T02:00:00Z")));
        assert_eq!(daily.holds_until(at("1970-01-02T02:30:00Z")), None);
        assert!(daily.stands(at("1970-01-02T02:30:00Z")));
    }
}

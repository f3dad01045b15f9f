//! The audit, as it is read; and the acts that have no statement of their own to write it. It is only ever appended to.

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::administration::Actor;
use super::{Store, StoreError};

pub(super) const LIST: &str = "SELECT id, at, who, act, subject, why, before::text, after::text FROM audit WHERE id < $1 \
     AND ($2::text IS NULL OR who = $2) AND ($3::text IS NULL OR act = $3) AND ($4::text IS NULL OR subject = $4) \
     AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::timestamptz IS NULL OR at < $6) ORDER BY id DESC LIMIT $7";
pub(super) const NOTE: &str =
    "INSERT INTO audit (at, who, act, subject, why, before, after) VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7::text::jsonb)";

/// One act.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    /// Its number, growing.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who: `operator:NAME` or `os:NAME`.
    pub who: String,
    /// What: `channel.override`, `payment.resolved` …
    pub act: String,
    /// On what: `channel:ID`, `payment:ID` …
    pub subject: String,
    /// Why, in their own words.
    pub why: Option<String>,
    /// What was before.
    pub before: Value,
    /// What was after.
    pub after: Value,
}

/// What is asked of the audit; what is left out does not filter.
#[derive(Clone, Debug, Default)]
pub struct PageOfAudit {
    /// Only acts before this number: where the last page ended.
    pub before: Option<i64>,
    /// Only acts of this person.
    pub who: Option<String>,
    /// Only acts of this kind.
    pub act: Option<String>,
    /// Only acts on this.
    pub subject: Option<String>,
    /// Only acts at this time or later.
    pub since: Option<Timestamp>,
    /// Only acts before this time.
    pub until: Option<Timestamp>,
    /// How many at most.
    pub limit: i64,
}

impl PageOfAudit {
    /// The number that a cursor's id stands for.
    pub fn number(id: Uuid) -> i64 {
        i64::try_from(id.as_u128()).unwrap_or(i64::MAX)
    }
}

impl AuditRow {
    /// The id that stands for its number in a cursor.
    pub fn place(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.id.unsigned_abs()))
    }
}

impl Store {
    /// Acts, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn audit(&self, page: &PageOfAudit) -> Result<Vec<AuditRow>, StoreError> {
        let client = self.client().await?;
        let before = page.before.unwrap_or(i64::MAX);
        let rows = client.query(LIST, &[&before, &page.who, &page.act, &page.subject, &page.since, &page.until, &page.limit]).await?;
        let json = |text: Option<&str>| text.map_or(Ok(Value::Null), serde_json::from_str);
        let unreadable = |error: serde_json::Error| StoreError::Unreadable(error.to_string());
        rows.iter()
            .map(|row| {
                Ok(AuditRow {
                    id: row.try_get(0)?,
                    at: row.try_get(1)?,
                    who: row.try_get(2)?,
                    act: row.try_get(3)?,
                    subject: row.try_get(4)?,
                    why: row.try_get(5)?,
                    before: json(row.try_get(6)?).map_err(unreadable)?,
                    after: json(row.try_get(7)?).map_err(unreadable)?,
                })
            })
            .collect()
    }

    /// Writes an act down. For acts whose change is written elsewhere (a payment's, in the journal): before it, what was ordered; after it, what
    /// came of it, so that a crash in between leaves the order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_act(&self, act: &str, subject: &str, before: &Value, after: &Value, actor: Actor<'_>) -> Result<(), StoreError> {
        let client = self.client().await?;
        client.execute(NOTE, &[&actor.at, &actor.who, &act, &subject, &actor.why, &before.to_string(), &after.to_string()]).await?;
        Ok(())
    }
}

//! Notifications, stored raw and once (`inbox.rs`) before anything is made of them: what may become of one, and those that wait.

use jiff::Timestamp;

use super::{Store, StoreError};

/// Those that were stored and not applied before the process ended.
pub(super) const WAITING: &str =
    "SELECT channel, event_id, body FROM notification WHERE state = 'received' AND received_at < $1 ORDER BY received_at LIMIT $2";

/// Sets one aside that nobody can apply.
pub(super) const QUARANTINE: &str =
    "UPDATE notification SET state = 'quarantined', note = $3, applied_at = $4 WHERE channel = $1 AND event_id = $2 AND state = 'received'";

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
}

impl Store {
    /// Sets a notification aside for a person: nobody here can apply it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn quarantine_notification(&self, channel: &str, event_id: &str, why: &str, now: Timestamp) -> Result<(), StoreError> {
        let client = self.client().await?;
        client.execute(QUARANTINE, &[&channel, &event_id, &why, &now]).await?;
        Ok(())
    }

    /// Up to `limit` notifications that were received before `before` and not applied: the process ended in between.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn waiting_notifications(&self, before: Timestamp, limit: i64) -> Result<Vec<WaitingNotification>, StoreError> {
        let client = self.client().await?;
        let rows = client.query(WAITING, &[&before, &limit]).await?;
        rows.iter().map(|row| Ok(WaitingNotification { channel: row.try_get(0)?, event_id: row.try_get(1)?, body: row.try_get(2)? })).collect()
    }
}

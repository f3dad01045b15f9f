//! The inbox of notifications: stored raw and once, before anything is made of them.

use jiff::Timestamp;

use super::{Store, StoreError};
use crate::domain::PaymentId;

pub(super) const STORE: &str = "INSERT INTO notification (channel, event_id, received_at, kind, body, state) VALUES ($1, $2, $3, $4, $5, 'received') \
     ON CONFLICT ON CONSTRAINT notification_pkey DO NOTHING";
pub(super) const CLOSE: &str = "UPDATE notification SET state = $3, note = $4, payment_id = $5, applied_at = $6 WHERE channel = $1 AND event_id = $2";
/// Those that were stored and not applied before the process ended.
pub(super) const WAITING: &str =
    "SELECT channel, event_id, body FROM notification WHERE state = 'received' AND received_at < $1 ORDER BY received_at LIMIT $2";

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
    /// Stores a notification. False when it is there already: the provider repeats itself.
    ///
    /// # Errors
    /// [`StoreError`]: it must not be acknowledged.
    pub async fn store_notification(&self, channel: &str, event_id: &str, kind: &str, body: &[u8], now: Timestamp) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(STORE).await?;
        Ok(client.execute(&statement, &[&channel, &event_id, &now, &kind, &body]).await? == 1)
    }

    /// Writes what became of it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn close_notification(
        &self,
        channel: &str,
        event_id: &str,
        state: NotificationState,
        note: Option<&str>,
        payment: Option<PaymentId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(CLOSE).await?;
        client.execute(&statement, &[&channel, &event_id, &state.as_str(), &note, &payment.map(|id| id.0), &now]).await?;
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

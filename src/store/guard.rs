//! Guards, read: what a merchant's key, order or refund id stands for. They are won in the journal.

use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::id::{GuardKind, OrderDigest, guard_digest};
use crate::domain::{PaymentId, RefundId, Subject};

pub(super) const KEY: &str = "SELECT fingerprint, subject, payment_id, n FROM idempotency WHERE digest = $1";
pub(super) const ORDER: &str = "SELECT payment_id FROM order_guard WHERE digest = $1";
pub(super) const REFUND: &str = "SELECT refund_id, payment_id, n FROM refund_guard WHERE digest = $1";
pub(super) const REFUND_OF_ID: &str = "SELECT refund_id, payment_id, n FROM refund_guard WHERE refund_id = $1";
/// Forgets keys older than $1, a small batch at a time, never while their subject is open.
pub(super) const PRUNE: &str = "DELETE FROM idempotency WHERE digest IN (SELECT i.digest FROM idempotency i WHERE i.created_at < $1 \
     AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.payment_id = i.payment_id AND a.due_at IS NOT NULL) LIMIT $2)";

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// What a repeat must match.
    pub fingerprint: Vec<u8>,
    /// What it stands for.
    pub subject: Subject,
    /// The payment that this belongs to.
    pub payment: PaymentId,
}

/// Where a refund is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownRefund {
    /// Its id.
    pub id: RefundId,
    /// Its payment.
    pub payment: PaymentId,
    /// Its number there.
    pub n: i16,
}

impl Store {
    /// What the key of that digest stands for.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn known_key(&self, digest: Uuid) -> Result<Option<KnownKey>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(KEY).await?;
        let Some(row) = client.query_opt(&statement, &[&digest]).await? else { return Ok(None) };
        let n: Option<i16> = row.try_get("n")?;
        let subject = match (row.try_get("subject")?, n) {
            ("payment", _) => Subject::Payment,
            ("cancel", _) => Subject::Cancel,
            ("refund", Some(n)) => Subject::Refund(n),
            ("capture", Some(n)) => Subject::Capture(n),
            (other, _) => return Err(StoreError::Unreadable(format!("an idempotency key's subject is {other:?}"))),
        };
        Ok(Some(KnownKey { fingerprint: row.try_get("fingerprint")?, subject, payment: PaymentId(row.try_get("payment_id")?) }))
    }

    /// The payment that holds an order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn order_holder(&self, digest: OrderDigest) -> Result<Option<PaymentId>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(ORDER).await?;
        let row = client.query_opt(&statement, &[&digest.as_uuid()]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.map(PaymentId))
    }

    /// The refund that a merchant's refund id stands for.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn known_refund(&self, merchant: Uuid, merchant_refund_id: &str) -> Result<Option<KnownRefund>, StoreError> {
        self.refund_where(REFUND, guard_digest(merchant, GuardKind::Refund, merchant_refund_id)).await
    }

    /// Where the refund of that id is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn refund_of_id(&self, id: RefundId) -> Result<Option<KnownRefund>, StoreError> {
        self.refund_where(REFUND_OF_ID, id.0).await
    }

    async fn refund_where(&self, sql: &'static str, id: Uuid) -> Result<Option<KnownRefund>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(sql).await?;
        let Some(row) = client.query_opt(&statement, &[&id]).await? else { return Ok(None) };
        Ok(Some(KnownRefund { id: RefundId(row.try_get(0)?), payment: PaymentId(row.try_get(1)?), n: row.try_get(2)? }))
    }

    /// Forgets up to `limit` keys that were won before `before`. Answers how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn prune_keys(&self, before: jiff::Timestamp, limit: i64) -> Result<u64, StoreError> {
        let client = self.client().await?;
        Ok(client.execute(PRUNE, &[&before, &limit]).await?)
    }
}

//! Card numbers, sealed: what a capture, a reversal or a refund at a bank will need, until the refund window closes. This floor sees sealed
//! bytes only.

use jiff::Timestamp;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::PaymentId;

pub(super) const KEEP: &str = "INSERT INTO sealed_card (payment_id, key_name, sealed, created_at, erase_at) VALUES ($1, $2, $3, $4, $5)";
pub(super) const READ: &str = "SELECT key_name, sealed FROM sealed_card WHERE payment_id = $1";
pub(super) const DROP: &str = "DELETE FROM sealed_card WHERE payment_id = $1";
/// Those whose window has closed, and those whose payment never came to be.
pub(super) const ERASE: &str = "DELETE FROM sealed_card WHERE payment_id IN (SELECT c.payment_id FROM sealed_card c WHERE c.erase_at <= $1 \
     OR (c.created_at <= $2 AND NOT EXISTS (SELECT FROM payment p WHERE p.id = c.payment_id)) LIMIT $3)";
pub(super) const OTHERS: &str =
    "SELECT payment_id, key_name, sealed FROM sealed_card WHERE key_name <> $1 AND payment_id > $2 ORDER BY payment_id LIMIT $3";
/// Onto the bytes that were opened: another process may have been quicker.
pub(super) const RESEAL: &str = "UPDATE sealed_card SET key_name = $2, sealed = $3 WHERE payment_id = $1 AND key_name = $4";

/// A card number as it lies in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedCard {
    /// Whose it is: also what it is bound to.
    pub payment: PaymentId,
    /// The key that it lies under.
    pub key_name: String,
    /// Nonce, sealed bytes and tag.
    pub sealed: Vec<u8>,
}

impl Store {
    /// Keeps a sealed number until `erase_at`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_card(&self, card: &SealedCard, now: Timestamp, erase_at: Timestamp) -> Result<(), StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(KEEP).await?;
        client.execute(&statement, &[&card.payment.0, &card.key_name, &card.sealed, &now, &erase_at]).await?;
        Ok(())
    }

    /// The sealed number of a payment; `None` when it was erased, or never was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn card(&self, payment: PaymentId) -> Result<Option<SealedCard>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(READ).await?;
        let Some(row) = client.query_opt(&statement, &[&payment.0]).await? else { return Ok(None) };
        Ok(Some(SealedCard { payment, key_name: row.try_get(0)?, sealed: row.try_get(1)? }))
    }

    /// Erases the number of a payment that did not come to be.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn drop_card(&self, payment: PaymentId) -> Result<(), StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(DROP).await?;
        client.execute(&statement, &[&payment.0]).await?;
        Ok(())
    }

    /// Erases at most `limit` numbers whose time is up at `now`, and those that were kept before `orphaned` and whose payment is not there: how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn erase_cards(&self, now: Timestamp, orphaned: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(ERASE).await?;
        Ok(client.execute(&statement, &[&now, &orphaned, &limit]).await?)
    }

    /// At most `limit` numbers after `after` that do not lie under the key `newest`, in the order of their payments.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cards_under_other_keys(&self, newest: &str, after: Option<PaymentId>, limit: i64) -> Result<Vec<SealedCard>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(OTHERS).await?;
        let rows = client.query(&statement, &[&newest, &after.map_or(Uuid::nil(), |id| id.0), &limit]).await?;
        let card =
            |row: &tokio_postgres::Row| Ok(SealedCard { payment: PaymentId(row.try_get(0)?), key_name: row.try_get(1)?, sealed: row.try_get(2)? });
        rows.iter().map(card).collect()
    }

    /// Puts a number, sealed again, in the place of the one that lay under `before`. False when that is no longer there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reseal_card(&self, card: &SealedCard, before: &str) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(RESEAL).await?;
        Ok(client.execute(&statement, &[&card.payment.0, &card.key_name, &card.sealed, &before]).await? == 1)
    }
}

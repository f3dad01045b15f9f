//! Endpoints: who wants to hear what, where, signed with which secret; and whether the endpoint answers at all.
//!
//! The breaker is two columns. Failures in a row are counted; from the [`SHUT_AFTER`]th on the endpoint is shut, for longer each time, and when
//! that is over one delivery is tried. One success opens it again, and what had failed meanwhile is due at once.

use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::super::administration::Actor;
use super::super::{Store, StoreError};
use crate::domain::WebhookEndpointId;

/// Failures in a row that shut an endpoint.
pub const SHUT_AFTER: i32 = 5;

pub(crate) const ADD: &str = "INSERT INTO webhook_endpoint (id, merchant_id, url, description, types, enabled, secret, created_at, updated_at) \
     SELECT $1, $2, $3, $4, $5, true, $6, $7, $7 \
     WHERE (SELECT count(*) FROM webhook_endpoint WHERE merchant_id = $2 AND deleted_at IS NULL) < $8 \
     RETURNING *";
pub(crate) const READ: &str = "SELECT * FROM webhook_endpoint WHERE merchant_id = $1 AND id = $2 AND deleted_at IS NULL";
pub(crate) const LIST: &str = "SELECT * FROM webhook_endpoint WHERE merchant_id = $1 AND id < $2 AND deleted_at IS NULL ORDER BY id DESC LIMIT $3";
/// What is NULL stays. An endpoint that is moved or turned on again starts with a clean slate.
pub(crate) const CHANGE: &str = "UPDATE webhook_endpoint SET url = coalesce($3, url), description = CASE WHEN $4 THEN $5 ELSE description END, \
     types = coalesce($6, types), enabled = coalesce($7, enabled), \
     disabled_reason = CASE WHEN $7 IS NULL THEN disabled_reason WHEN $7 THEN NULL ELSE coalesce(disabled_reason, 'merchant') END, \
     failures = CASE WHEN $3 IS NOT NULL OR $7 THEN 0 ELSE failures END, shut_until = CASE WHEN $3 IS NOT NULL OR $7 THEN NULL ELSE shut_until END, \
     updated_at = $8 WHERE merchant_id = $1 AND id = $2 AND deleted_at IS NULL \
     RETURNING *";
/// What was not yet told to it never will be.
pub(crate) const DELETE: &str = "WITH w AS (UPDATE webhook_endpoint SET deleted_at = $3, enabled = false, disabled_reason = 'merchant', updated_at = $3 \
       WHERE merchant_id = $1 AND id = $2 AND deleted_at IS NULL RETURNING id), \
     d AS (UPDATE webhook_delivery SET state = 'failed', last_error = 'the endpoint was deleted', lease_until = NULL \
       FROM w WHERE endpoint_id = w.id AND state = 'pending') \
     SELECT count(*) FROM w";
pub(crate) const ROTATE: &str = "UPDATE webhook_endpoint SET previous_secret = secret, previous_until = $4, secret = $3, updated_at = $5 \
     WHERE merchant_id = $1 AND id = $2 AND deleted_at IS NULL \
     RETURNING *";
/// What had failed while it was shut is due again, in the order in which it was queued.
pub(crate) const SUCCEEDED: &str = "WITH w AS (SELECT id, shut_until FROM webhook_endpoint WHERE id = $1 AND (failures > 0 OR shut_until IS NOT NULL) FOR UPDATE), \
     o AS (UPDATE webhook_endpoint SET failures = 0, shut_until = NULL FROM w WHERE webhook_endpoint.id = w.id), \
     d AS (UPDATE webhook_delivery SET due_at = queued_at FROM w WHERE w.shut_until IS NOT NULL AND endpoint_id = w.id AND state = 'pending' \
       AND due_at > $2) \
     SELECT count(*) FROM w WHERE shut_until IS NOT NULL";
/// From the fifth failure in a row on: 30 s, doubled with each, five minutes at most; longer where the endpoint itself asked for it.
pub(crate) const FAILED: &str = "UPDATE webhook_endpoint SET failures = least(failures + 1, 1000), \
     shut_until = greatest(shut_until, $3, CASE WHEN failures + 1 >= $4 \
       THEN $2::timestamptz + least(30 * 2 ^ least(failures + 1 - $4, 10), 300) * interval '1 second' END) \
     WHERE id = $1 RETURNING failures, shut_until";
pub(crate) const GONE: &str = "UPDATE webhook_endpoint SET enabled = false, disabled_reason = 'gone', updated_at = $2 WHERE id = $1 AND enabled";

/// Every sealed secret, deleted endpoints' excepted: nothing is signed with those any more.
pub(crate) const SEALED: &str = "SELECT id, secret, previous_secret FROM webhook_endpoint WHERE id > $1 AND deleted_at IS NULL ORDER BY id LIMIT $2";
/// Only while the secrets are those that were read: a rotation in between has sealed anew by itself.
pub(crate) const RESEAL: &str = "WITH w AS (UPDATE webhook_endpoint SET secret = $2, previous_secret = $3 \
       WHERE id = $1 AND secret = $4 AND previous_secret IS NOT DISTINCT FROM $5 RETURNING id) \
     INSERT INTO audit (at, who, act, subject, why) \
     SELECT $6::timestamptz, $7, 'webhook.reseal', 'webhook_endpoint:whe_' || replace(id::text, '-', ''), $8 FROM w";

/// An endpoint's secrets, sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSecrets {
    /// Whose.
    pub id: WebhookEndpointId,
    /// The secret.
    pub secret: Vec<u8>,
    /// The one before it, while it rotates.
    pub previous: Option<Vec<u8>>,
}

/// An endpoint, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRow {
    /// Its id.
    pub id: WebhookEndpointId,
    /// Whose it is.
    pub merchant: Uuid,
    /// Where it is.
    pub url: String,
    /// The merchant's own note.
    pub description: Option<String>,
    /// The event types that it wants; empty for all.
    pub types: Vec<String>,
    /// Whether anything is sent to it.
    pub enabled: bool,
    /// `merchant` or `gone`, when it is not.
    pub disabled_reason: Option<String>,
    /// Until when the secret before the last rotation signs too.
    pub previous_until: Option<Timestamp>,
    /// Failures in a row.
    pub failures: i32,
    /// Until when nothing is sent because it failed too often or asked for a pause.
    pub shut_until: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its merchant last changed it, or we turned it off.
    pub updated_at: Timestamp,
}

/// An endpoint to make.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// Its id.
    pub id: WebhookEndpointId,
    /// Whose it is.
    pub merchant: Uuid,
    /// Where it is.
    pub url: String,
    /// The merchant's own note.
    pub description: Option<String>,
    /// The event types that it wants; empty for all.
    pub types: Vec<String>,
    /// Its secret, sealed.
    pub sealed_secret: Vec<u8>,
}

/// What changes of an endpoint; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct EndpointChange {
    /// Where it is.
    pub url: Option<String>,
    /// The merchant's own note, which may be taken away.
    pub description: Option<Option<String>>,
    /// The event types that it wants; empty for all.
    pub types: Option<Vec<String>>,
    /// Whether anything is sent to it.
    pub enabled: Option<bool>,
}

impl Store {
    /// The sealed secrets of up to `limit` endpoints, by id, after that one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sealed_secrets(&self, after: Uuid, limit: i64) -> Result<Vec<SealedSecrets>, StoreError> {
        let rows = self.client().await?.query(SEALED, &[&after, &limit]).await?;
        rows.iter()
            .map(|row| Ok(SealedSecrets { id: WebhookEndpointId(row.try_get(0)?), secret: row.try_get(1)?, previous: row.try_get(2)? }))
            .collect()
    }

    /// Puts newly sealed secrets in the place of those that were read. False when they are others by now: nothing was changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reseal(&self, read: &SealedSecrets, secret: &[u8], previous: Option<&[u8]>, actor: Actor<'_>) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 8] =
            [&read.id.0, &secret, &previous, &read.secret, &read.previous, &actor.at, &actor.who, &actor.why];
        Ok(client.execute(RESEAL, &parameters).await? > 0)
    }

    /// Makes an endpoint; `None` when its merchant has `most` already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_endpoint(&self, new: &NewEndpoint, most: i64, now: Timestamp) -> Result<Option<EndpointRow>, StoreError> {
        let client = self.client().await?;
        let row = client.query_opt(ADD, &[&new.id.0, &new.merchant, &new.url, &new.description, &new.types, &new.sealed_secret, &now, &most]).await?;
        row.as_ref().map(read_endpoint).transpose()
    }

    /// A merchant's endpoint, unless it was deleted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endpoint_of(&self, merchant: Uuid, id: WebhookEndpointId) -> Result<Option<EndpointRow>, StoreError> {
        let client = self.client().await?;
        client.query_opt(READ, &[&merchant, &id.0]).await?.as_ref().map(read_endpoint).transpose()
    }

    /// A page of a merchant's endpoints, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endpoints_of(&self, merchant: Uuid, before: Option<Uuid>, limit: i64) -> Result<Vec<EndpointRow>, StoreError> {
        let client = self.client().await?;
        let rows = client.query(LIST, &[&merchant, &before.unwrap_or(Uuid::max()), &limit]).await?;
        rows.iter().map(read_endpoint).collect()
    }

    /// Changes a merchant's endpoint; `None` when there is none of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn change_endpoint(
        &self,
        merchant: Uuid,
        id: WebhookEndpointId,
        change: &EndpointChange,
        now: Timestamp,
    ) -> Result<Option<EndpointRow>, StoreError> {
        let client = self.client().await?;
        let (described, description) = (change.description.is_some(), change.description.clone().flatten());
        let row = client.query_opt(CHANGE, &[&merchant, &id.0, &change.url, &described, &description, &change.types, &change.enabled, &now]).await?;
        row.as_ref().map(read_endpoint).transpose()
    }

    /// Deletes a merchant's endpoint, and gives up what it was not told. False when there is none of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_endpoint(&self, merchant: Uuid, id: WebhookEndpointId, now: Timestamp) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let deleted: i64 = client.query_one(DELETE, &[&merchant, &id.0, &now]).await?.try_get(0)?;
        Ok(deleted > 0)
    }

    /// Gives a merchant's endpoint another secret; the one it had signs too until `previous_until`. `None` when there is none of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rotate_endpoint_secret(
        &self,
        merchant: Uuid,
        id: WebhookEndpointId,
        sealed_secret: &[u8],
        previous_until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<EndpointRow>, StoreError> {
        let client = self.client().await?;
        let row = client.query_opt(ROTATE, &[&merchant, &id.0, &sealed_secret, &previous_until, &now]).await?;
        row.as_ref().map(read_endpoint).transpose()
    }

    /// An endpoint took a delivery. True when it was shut until now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endpoint_succeeded(&self, id: WebhookEndpointId, now: Timestamp) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(SUCCEEDED).await?;
        let opened: i64 = client.query_one(&statement, &[&id.0, &now]).await?.try_get(0)?;
        Ok(opened > 0)
    }

    /// An endpoint did not take a delivery; `pause_until` is what it asked for itself. Answers until when it is shut, if it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endpoint_failed(
        &self,
        id: WebhookEndpointId,
        now: Timestamp,
        pause_until: Option<Timestamp>,
    ) -> Result<Option<Timestamp>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(FAILED).await?;
        let row = client.query_opt(&statement, &[&id.0, &now, &pause_until, &SHUT_AFTER]).await?;
        Ok(row.map(|row| row.try_get(1)).transpose()?.flatten())
    }

    /// An endpoint says that it is gone for good: nothing more is sent to it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn endpoint_gone(&self, id: WebhookEndpointId, now: Timestamp) -> Result<(), StoreError> {
        let client = self.client().await?;
        client.execute(GONE, &[&id.0, &now]).await?;
        Ok(())
    }
}

fn read_endpoint(row: &Row) -> Result<EndpointRow, StoreError> {
    Ok(EndpointRow {
        id: WebhookEndpointId(row.try_get("id")?),
        merchant: row.try_get("merchant_id")?,
        url: row.try_get("url")?,
        description: row.try_get("description")?,
        types: row.try_get("types")?,
        enabled: row.try_get("enabled")?,
        disabled_reason: row.try_get("disabled_reason")?,
        previous_until: row.try_get("previous_until")?,
        failures: row.try_get("failures")?,
        shut_until: row.try_get("shut_until")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

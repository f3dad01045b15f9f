//! Merchants, their keys, and operators, as the API's doors ask for them. Of a key only its SHA-256 is stored. How people administer them is in
//! `administration.rs`.

use jiff::Timestamp;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::Role;

pub(super) const KEY: &str = "SELECT m.id, m.livemode FROM api_key k JOIN merchant m ON m.id = k.merchant_id \
     WHERE k.digest = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2)";
/// By the token, or by the one of before while its grace lasts.
pub(super) const OPERATOR: &str = "SELECT name, role FROM operator \
     WHERE revoked_at IS NULL AND (digest = $1 OR (previous_digest = $1 AND previous_until > $2))";
pub(super) const ADD_MERCHANT: &str = "INSERT INTO merchant (id, name, livemode, created_at) VALUES ($1, $2, $3, $4) \
     ON CONFLICT ON CONSTRAINT merchant_name_unique DO UPDATE SET name = excluded.name RETURNING id";
pub(super) const ADD_KEY: &str = "INSERT INTO api_key (digest, merchant_id, hint, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
pub(super) const ADD_OPERATOR: &str = "INSERT INTO operator (digest, name, role, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
pub(super) const INSTALLATION: &str = "INSERT INTO installation (fingerprint_secret) VALUES ($1) ON CONFLICT DO NOTHING";
pub(super) const FINGERPRINT_SECRET: &str = "SELECT fingerprint_secret FROM installation";

/// Whose key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyOwner {
    /// The merchant.
    pub merchant: Uuid,
    /// Whether real money moves.
    pub livemode: bool,
}

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorRow {
    /// Their name, for the audit.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

impl Store {
    /// The merchant of a key's SHA-256, unless it was revoked or has expired at `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn key_owner(&self, digest: &[u8; 32], now: Timestamp) -> Result<Option<KeyOwner>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(KEY).await?;
        let Some(row) = client.query_opt(&statement, &[&digest.as_slice(), &now]).await? else { return Ok(None) };
        Ok(Some(KeyOwner { merchant: row.try_get(0)?, livemode: row.try_get(1)? }))
    }

    /// The operator of a token's SHA-256, unless they were revoked or the token's grace is over at `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn operator(&self, digest: &[u8; 32], now: Timestamp) -> Result<Option<OperatorRow>, StoreError> {
        let client = self.client().await?;
        let Some(row) = client.query_opt(OPERATOR, &[&digest.as_slice(), &now]).await? else { return Ok(None) };
        let role: &str = row.try_get(1)?;
        let role = Role::parse(role).ok_or_else(|| StoreError::Unreadable(format!("role is {role:?}")))?;
        Ok(Some(OperatorRow { name: row.try_get(0)?, role }))
    }

    /// Adds a merchant, or finds the one of that name and mode. Answers its id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_merchant(&self, name: &str, livemode: bool, now: Timestamp) -> Result<Uuid, StoreError> {
        let client = self.client().await?;
        let row = client.query_one(ADD_MERCHANT, &[&Uuid::new_v4(), &name, &livemode, &now]).await?;
        Ok(row.try_get(0)?)
    }

    /// Gives a merchant a key by its SHA-256. The same key twice is one key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_key(&self, merchant: Uuid, digest: &[u8; 32], hint: &str, now: Timestamp) -> Result<(), StoreError> {
        let client = self.client().await?;
        client.execute(ADD_KEY, &[&digest.as_slice(), &merchant, &hint, &now]).await?;
        Ok(())
    }

    /// Adds an operator by the SHA-256 of their token. The same twice is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn add_operator(&self, name: &str, role: &str, digest: &[u8; 32], now: Timestamp) -> Result<(), StoreError> {
        let client = self.client().await?;
        client.execute(ADD_OPERATOR, &[&digest.as_slice(), &name, &role, &now]).await?;
        Ok(())
    }

    /// The secret that fingerprints are keyed with; `None` when this installation has never been served.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn installation_secret(&self) -> Result<Option<[u8; 32]>, StoreError> {
        let Some(row) = self.client().await?.query_opt(FINGERPRINT_SECRET, &[]).await? else { return Ok(None) };
        let secret: Vec<u8> = row.try_get(0)?;
        secret.try_into().map(Some).map_err(|_| StoreError::Unreadable("the fingerprint secret is not 32 bytes".to_owned()))
    }

    /// The secret that fingerprints are keyed with: `candidate`, if this installation has none yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fingerprint_secret(&self, candidate: &[u8; 32]) -> Result<[u8; 32], StoreError> {
        let client = self.client().await?;
        client.execute(INSTALLATION, &[&candidate.as_slice()]).await?;
        let secret: Vec<u8> = client.query_one(FINGERPRINT_SECRET, &[]).await?.try_get(0)?;
        secret.try_into().map_err(|_| StoreError::Unreadable("the fingerprint secret is not 32 bytes".to_owned()))
    }
}

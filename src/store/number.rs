//! Numbers that a channel's attempts are known by, leased in blocks: no two processes ever share one.

use super::{Store, StoreError};

/// The largest number: six digits.
pub const LARGEST: u32 = 999_999;

/// After the largest come the smallest again: the protocols that have such numbers ask for uniqueness within a day.
pub(super) const LEASE_NUMBERS: &str = "INSERT INTO channel_number AS c (channel, next) VALUES ($1, 1 + $2) \
     ON CONFLICT (channel) DO UPDATE SET next = CASE WHEN c.next + $2 > 1000000 THEN 1 + $2 ELSE c.next + $2 END RETURNING next - $2";

impl Store {
    /// Leases `count` numbers in a row for a channel: the first of them. They are this caller's alone, used or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn lease_numbers(&self, channel: &str, count: u32) -> Result<u32, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(LEASE_NUMBERS).await?;
        let count = i32::try_from(count).unwrap_or(1);
        let first: i32 = client.query_one(&statement, &[&channel, &count]).await?.try_get(0)?;
        Ok(u32::try_from(first).unwrap_or(1))
    }
}

//! What the server says of itself, for `breakwater doctor`: facts, without a judgement.

use jiff::Timestamp;

use super::{Store, StoreError};

/// `data_directory` is shown to superusers and members of pg_read_all_settings only: to others its row is not there.
pub(super) const SERVER: &str = "SELECT current_setting('server_version'), current_setting('server_version_num')::int4 / 10000, \
       current_setting('max_connections')::int4 - current_setting('superuser_reserved_connections')::int4, \
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()), \
       pg_is_in_recovery(), current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'), \
       (SELECT setting FROM pg_settings WHERE name = 'data_directory'), clock_timestamp(), current_database()::text";

/// The server, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its version, such as `17.2 (Debian 17.2-1)`.
    pub version: String,
    /// The major part of it.
    pub major: i32,
    /// Connections that it gives to ordinary users.
    pub allowed_connections: i32,
    /// Connections that clients hold now, this one not counted.
    pub held_connections: i64,
    /// Whether it is a standby, which takes no writes.
    pub standby: bool,
    /// `on`, or what a crash may destroy the database by.
    pub fsync: String,
    /// `on`, or what a crash may tear pages by.
    pub full_page_writes: String,
    /// What our own sessions commit with.
    pub synchronous_commit: String,
    /// Where its files are, on its own machine; `None` when we may not know.
    pub data_directory: Option<String>,
    /// Its clock.
    pub clock: Timestamp,
    /// The database's name.
    pub database: String,
}

impl Store {
    /// Asks the server for [`ServerFacts`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn server_facts(&self) -> Result<ServerFacts, StoreError> {
        let row = self.client().await?.query_one(SERVER, &[]).await?;
        Ok(ServerFacts {
            version: row.try_get(0)?,
            major: row.try_get(1)?,
            allowed_connections: row.try_get(2)?,
            held_connections: row.try_get(3)?,
            standby: row.try_get(4)?,
            fsync: row.try_get(5)?,
            full_page_writes: row.try_get(6)?,
            synchronous_commit: row.try_get(7)?,
            data_directory: row.try_get(8)?,
            clock: row.try_get(9)?,
            database: row.try_get(10)?,
        })
    }
}

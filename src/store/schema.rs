//! The schema: embedded migrations, and the months ahead.

use std::collections::BTreeMap;

use deadpool_postgres::{Client, PoolError};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use tokio::runtime::Handle;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;

use super::StoreError;
use super::pool::{self, Purpose};
use crate::domain::id;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The migrations that ran, with the checksums that they had.
pub(super) const APPLIED: &str = "SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version";

/// How many months beyond this one are kept ready.
pub const MONTHS_AHEAD: i32 = 3;

/// What is partitioned by time, the column of its range, and how full a page of it is filled: an updated payment should find room on its own
/// page, so that no index is touched.
const PARTITIONED: [(&str, &str); 5] = [
    ("payment", "fillfactor = 50, autovacuum_vacuum_insert_scale_factor = 0.02"),
    ("attempt", "fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05"),
    ("refund", "fillfactor = 80"),
    ("event", "autovacuum_vacuum_insert_scale_factor = 0.05"),
    ("webhook_delivery", "fillfactor = 80"),
];

/// Brings the schema at `url` up to date. Running it twice changes nothing.
///
/// # Errors
/// [`StoreError::Migration`] names the migration that failed or was edited after it had run.
/// [`StoreError::Standby`] when the address has no primary.
pub async fn migrate(url: &str) -> Result<(), StoreError> {
    let primary = pool::find_primary(url).await?;
    // The migrator's own library knows addresses of one host only.
    let several = url.parse::<tokio_postgres::Config>().is_ok_and(|config| config.get_hosts().len() > 1);
    let options = if several { options_for(&primary) } else { url.parse().map_err(StoreError::Migrator)? };
    let mut connection = options.connect().await.map_err(StoreError::Migrator)?;
    MIGRATIONS.run(&mut connection).await.map_err(StoreError::Migration)?;
    connection.close().await.map_err(StoreError::Migrator)
}

fn options_for(primary: &tokio_postgres::Config) -> PgConnectOptions {
    let mut options = PgConnectOptions::new_without_pgpass().ssl_mode(PgSslMode::Disable);
    match primary.get_hosts().first() {
        Some(Host::Tcp(name)) => options = options.host(name),
        Some(Host::Unix(path)) => options = options.socket(path),
        None => {}
    }
    if let Some(port) = primary.get_ports().first() {
        options = options.port(*port);
    }
    if let Some(user) = primary.get_user() {
        options = options.username(user);
    }
    if let Some(password) = primary.get_password().and_then(|password| std::str::from_utf8(password).ok()) {
        options = options.password(password);
    }
    if let Some(name) = primary.get_dbname() {
        options = options.database(name);
    }
    // As in "-c search_path=shop -c jit=off".
    let given = primary.get_options().unwrap_or_default().split_whitespace();
    options.options(given.filter_map(|word| word.strip_prefix("-c").unwrap_or(word).split_once('=')))
}

/// How the schema at an address stands to this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The server has no database of that name.
    NoDatabase,
    /// Nothing of ours is there yet.
    Empty,
    /// This many of our migrations did not run yet.
    Behind(usize),
    /// As this program wants it.
    Current,
    /// A later version migrated it: this program may not fit.
    Ahead,
    /// A migration that ran is not the one of that number that this program has.
    Edited(i64),
}

/// Asks the database at `url`, over a connection of its own that `runtime` drives, how its schema stands. Changes nothing.
///
/// # Errors
/// [`StoreError::Settings`] when the address cannot be read, [`StoreError::Away`] when nobody answers there.
pub async fn standing(url: &str, runtime: &Handle) -> Result<Standing, StoreError> {
    let client = match pool::connect(url, Purpose::Reads, 1, runtime)?.get().await {
        Ok(client) => client,
        Err(PoolError::Backend(error)) if error.code() == Some(&SqlState::INVALID_CATALOG_NAME) => return Ok(Standing::NoDatabase),
        Err(error) => return Err(error.into()),
    };
    if !client.query_one(super::statements::PARTITION_EXISTS, &[&"_sqlx_migrations"]).await?.try_get(0)? {
        return Ok(Standing::Empty);
    }
    let mut applied = BTreeMap::new();
    for row in client.query(APPLIED, &[]).await? {
        applied.insert(row.try_get::<_, i64>(0)?, row.try_get::<_, Vec<u8>>(1)?);
    }
    let mut missing = 0;
    for ours in MIGRATIONS.iter() {
        match applied.remove(&ours.version) {
            None => missing += 1,
            Some(checksum) if *checksum != *ours.checksum => return Ok(Standing::Edited(ours.version)),
            Some(_) => {}
        }
    }
    Ok(match (missing, applied.is_empty()) {
        (0, true) => Standing::Current,
        (0, false) => Standing::Ahead,
        (missing, _) => Standing::Behind(missing),
    })
}

/// Makes the partitions from last month (a clock may be behind) to [`MONTHS_AHEAD`] from `now`, each in a transaction of its own that gives
/// up on a lock after two seconds: the next run will make it. Answers how many it made.
///
/// # Errors
/// [`StoreError`] of the first partition that could not be made.
pub async fn ensure_partitions(client: &Client, now: Timestamp) -> Result<u32, StoreError> {
    let this_month = now.to_zoned(TimeZone::UTC).date().first_of_month();
    let mut made = 0;
    for ahead in -1..=MONTHS_AHEAD {
        let from = this_month.checked_add(ahead.months()).map_err(|error| StoreError::Settings(error.to_string()))?;
        let to = from.checked_add(1.month()).map_err(|error| StoreError::Settings(error.to_string()))?;
        for (table, storage) in PARTITIONED {
            made += u32::from(ensure_partition(client, table, storage, from, to).await?);
        }
    }
    Ok(made)
}

async fn ensure_partition(client: &Client, table: &str, storage: &str, from: Date, to: Date) -> Result<bool, StoreError> {
    let name = format!("{table}_{:04}_{:02}", from.year(), from.month());
    if client.query_one(super::statements::PARTITION_EXISTS, &[&name]).await?.try_get(0)? {
        return Ok(false);
    }
    let (low, high) = (floor(from)?, floor(to)?);
    // Names and bounds are ours; identifiers cannot be parameters.
    let create = format!(
        "BEGIN; SET LOCAL lock_timeout = '2s'; \
         CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table} FOR VALUES FROM ('{low}') TO ('{high}') WITH ({storage}); COMMIT"
    );
    match client.batch_execute(&create).await {
        Ok(()) => Ok(true),
        Err(error) => {
            client.batch_execute("ROLLBACK").await?;
            // Another process may have made it in the same moment.
            let made_elsewhere: bool = client.query_one(super::statements::PARTITION_EXISTS, &[&name]).await?.try_get(0)?;
            if made_elsewhere { Ok(false) } else { Err(error.into()) }
        }
    }
}

fn floor(date: Date) -> Result<uuid::Uuid, StoreError> {
    let start = date.to_zoned(TimeZone::UTC).map_err(|error| StoreError::Settings(error.to_string()))?;
    Ok(id::floor(start.timestamp()))
}

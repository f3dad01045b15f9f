//! The schema: embedded migrations, and the months ahead.

use deadpool_postgres::Client;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::StoreError;
use crate::domain::id;

static MIGRATIONS: Migrator = sqlx::migrate!();

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
pub async fn migrate(url: &str) -> Result<(), StoreError> {
    let options: PgConnectOptions = url.parse().map_err(StoreError::Migrator)?;
    let mut connection = options.connect().await.map_err(StoreError::Migrator)?;
    MIGRATIONS.run(&mut connection).await.map_err(StoreError::Migration)?;
    connection.close().await.map_err(StoreError::Migrator)
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
            Err(error.into())
        }
    }
}

fn floor(date: Date) -> Result<uuid::Uuid, StoreError> {
    let start = date.to_zoned(TimeZone::UTC).map_err(|error| StoreError::Settings(error.to_string()))?;
    Ok(id::floor(start.timestamp()))
}

//! `breakwater migrate`: brings the schema up to date, and makes the partitions of the months ahead.

use std::process::ExitCode;

use clap::Args;
use secrecy::ExposeSecret;
use serde_json::json;

use super::database::{DatabaseArgs, errand_runtime};
use super::{fail, next, print};
use crate::clock::Clock;
use crate::store::pool::{self, Purpose};
use crate::store::{StoreError, schema};

/// Bring the database's schema up to date
///
/// Running it again changes nothing. Run it before a new version serves.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater migrate --database-url postgres://breakwater@db.example.com/breakwater
  BREAKWATER_DATABASE_URL=postgres://localhost/breakwater breakwater migrate --json")]
pub struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Print one line of JSON: {"migrated":true,"partitions_made":N}
    #[arg(long)]
    json: bool,
}

/// Migrates, and says what was made.
pub fn run(args: &MigrateArgs) -> ExitCode {
    let (url, runtime) = match args.database.address().and_then(|(url, _)| Ok((url, errand_runtime()?))) {
        Ok(both) => both,
        Err(why) => return fail(&why),
    };
    match runtime.block_on(migrate(url.expose_secret())) {
        Ok(made) if args.json => print(&format!("{}\n", json!({"migrated": true, "partitions_made": made}))),
        Ok(made) => print(&format!("The schema is up to date; {made} partitions were made for the months ahead.\n")),
        Err(error) => fail(&format!("{error}; {}", next(&error))),
    }
}

/// Answers how many partitions were made.
async fn migrate(url: &str) -> Result<u32, StoreError> {
    schema::migrate(url).await?;
    let client = pool::connect(url, Purpose::Reads, 1, &tokio::runtime::Handle::current())?.get().await?;
    schema::ensure_partitions(&client, Clock::system().wall()).await
}

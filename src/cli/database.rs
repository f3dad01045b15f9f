//! The database that a command works on: where its address comes from, and whether it is fit to be worked on.
//!
//! The address comes from the first of these that is given, and nothing is merged: `--database-url`; the settings file of `--config` (or
//! `BREAKWATER_CONFIG`), read as `serve` reads it; `BREAKWATER_DATABASE_URL`; `breakwater.toml` in this folder. Of a settings file only
//! `[database]` is read, so that an administrator needs no channel's secrets.

use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Runtime;

use crate::config::{DATABASE_URL, Settings};
use crate::store::schema::{self, Standing};
use crate::store::{PoolSizes, Store};

const SETTINGS_FILE: &str = "breakwater.toml";

/// Few: an errand does one thing after the other.
const SIZES: PoolSizes = PoolSizes { journal: 2, reads: 2, channels: 0 };

/// Where the database is.
#[derive(Debug, Args)]
pub struct DatabaseArgs {
    /// The database, as libpq reads it; else that of --config, BREAKWATER_DATABASE_URL, or ./breakwater.toml
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// The settings file that names the database
    #[arg(long, env = "BREAKWATER_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl DatabaseArgs {
    /// The address, and the words that give it to another command.
    ///
    /// # Errors
    /// A sentence, when none is given or the settings file's cannot be read.
    pub(super) fn address(&self) -> Result<(SecretString, String), String> {
        if let Some(url) = &self.database_url {
            return Ok((SecretString::from(url.as_str()), format!(" --database-url {}", pasteable(url))));
        }
        if let Some(file) = &self.config {
            return Ok((from_file(file)?, format!(" --config {}", file.display())));
        }
        if let Some(url) = std::env::var(DATABASE_URL).ok().filter(|url| !url.trim().is_empty()) {
            return Ok((SecretString::from(url), String::new()));
        }
        let here = Path::new(SETTINGS_FILE);
        if here.exists() {
            return Ok((from_file(here)?, String::new()));
        }
        Err(format!("no database is named: give --database-url postgres://user@host:5432/name or --config FILE, or set {DATABASE_URL}"))
    }

    /// Opens the database, which must be there and migrated.
    ///
    /// # Errors
    /// A sentence that says what to do, with the exact command where there is one.
    pub(super) fn open(&self) -> Result<(Runtime, Store), String> {
        let (url, words) = self.address()?;
        let url = url.expose_secret();
        let runtime = errand_runtime()?;
        let store = runtime.block_on(async {
            let standing = schema::standing(url, runtime.handle())
                .await
                .map_err(|error| format!("{error}; check that the address is right and the server runs, or ask: breakwater doctor{words}"))?;
            if let Some(complaint) = complaint(standing, url, &words) {
                return Err(complaint);
            }
            Store::open(url, SIZES, runtime.handle()).await.map_err(|error| error.to_string())
        })?;
        Ok((runtime, store))
    }
}

/// A runtime for one errand.
pub(super) fn errand_runtime() -> Result<Runtime, String> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| format!("the runtime cannot be started: {error}"))
}

/// Why a schema that stands so cannot be worked on, and the command that helps; `words` give the address to it. `None` when it can.
pub(super) fn complaint(standing: Standing, url: &str, words: &str) -> Option<String> {
    let migrate = format!("breakwater migrate{words}");
    match standing {
        Standing::Current | Standing::Ahead => None,
        Standing::NoDatabase => {
            let name = url.parse::<tokio_postgres::Config>().ok().and_then(|config| config.get_dbname().map(str::to_owned));
            let name = name.unwrap_or_else(|| "breakwater".to_owned());
            Some(format!("the server has no database {name:?}; make it with: createdb {name} (on the database's host), then: {migrate}"))
        }
        Standing::Empty => Some(format!("the database is not migrated; run: {migrate}")),
        Standing::Behind(missing) => Some(format!("the schema lacks {missing} of this version's migrations; run: {migrate}")),
        Standing::Edited(version) => Some(format!(
            "migration {version} of the database is not the one of this program; run the version of breakwater that made the schema, or a later one"
        )),
    }
}

fn from_file(file: &Path) -> Result<SecretString, String> {
    Settings::load_database_url(file).map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// The address as it may be shown: whole, unless it holds a password or cannot be read, and then not at all.
fn pasteable(url: &str) -> &str {
    match url.parse::<tokio_postgres::Config>() {
        Ok(config) if config.get_password().is_none() && !url.contains(char::is_whitespace) => url,
        _ => "URL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_password_is_not_repeated() {
        assert_eq!(pasteable("postgres://me@host/db"), "postgres://me@host/db");
        assert_eq!(pasteable("postgres://me:hunter2@host/db"), "URL");
        assert_eq!(pasteable("host=a password=hunter2"), "URL");
    }

    #[test]
    fn each_unfit_schema_is_told_the_command_that_helps() {
        let say = |standing| complaint(standing, "postgres://me@host/shop", " --config a.toml").unwrap_or_default();
        assert!(say(Standing::NoDatabase).contains("createdb shop"));
        assert!(say(Standing::Empty).ends_with("breakwater migrate --config a.toml"));
        assert!(say(Standing::Behind(2)).contains("lacks 2"));
        assert!(!say(Standing::Edited(1)).contains("breakwater migrate"));
        assert_eq!(say(Standing::Current), "");
    }
}

//! Floor 1: every SQL statement, the pools, and the journal. Money changes through [`journal`] only; everything here beside it reads, leases,
//! or keeps what is not money. Constraints have names, and the names say what was violated.

pub mod account;
pub mod administration;
pub mod alert;
pub mod audit;
pub mod books;
pub mod card;
pub mod channel_override;
pub mod diagnosis;
pub mod doubt;
pub mod guard;
pub mod inbox;
pub mod integrity;
pub mod journal;
pub mod lease;
pub mod notification;
pub mod number;
pub mod payment;
pub mod pool;
pub mod schema;
pub mod statements;
pub mod webhook;

use std::sync::Arc;

use deadpool_postgres::{Client, Pool};
use thiserror::Error;
use tokio::runtime::Handle;

pub use self::journal::{ChangeVerdict, Intent, IntentVerdict, Journal, JournalError};
use self::pool::Purpose;

/// Why the database did not do as asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It cannot be reached, or every connection was busy for too long. Try again later.
    #[error("the database cannot be reached: {0}")]
    Away(String),
    /// It answered with an error.
    #[error("the database refused: {message}")]
    Refused {
        /// Its message and SQLSTATE.
        message: String,
        /// The constraint that was violated, when it was one.
        constraint: Option<String>,
    },
    /// A row does not say what rows of its kind say: written by another version, or by hand.
    #[error("a stored row cannot be read: {0}")]
    Unreadable(String),
    /// The settings of a pool or an address are wrong.
    #[error("the database settings are wrong: {0}")]
    Settings(String),
    /// A migration failed, or was edited after it had run.
    #[error("the schema could not be migrated: {0}")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// The migrator's own connection failed.
    #[error("the migrator cannot reach the database: {0}")]
    Migrator(#[source] sqlx::Error),
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(refusal) if !is_absence(refusal.code()) => Self::Refused {
                message: format!("{} ({})", refusal.message(), refusal.code().code()),
                constraint: refusal.constraint().map(str::to_owned),
            },
            _ => Self::Away(chain(&error)),
        }
    }
}

/// Whether an answer of the server means that it is not there for us now: shut down, out of resources, an IO error, a connection fault, a
/// database that takes no connections, or a primary that has become a standby.
fn is_absence(code: &tokio_postgres::error::SqlState) -> bool {
    matches!(code.code().get(..2), Some("57" | "53" | "58" | "08" | "25")) || code.code() == "55000"
}

impl From<deadpool_postgres::PoolError> for StoreError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        Self::Away(chain(&error))
    }
}

/// An error with what caused it: `tokio_postgres` keeps the interesting part in the source.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The database, as the floors above hold it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    /// Where every change of money goes.
    pub journal: Journal,
    reads: Pool,
    url: Arc<str>,
    runtime: Handle,
}

/// How many connections a process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSizes {
    /// For the journal's writers: 2.
    pub journal: usize,
    /// For everything else.
    pub reads: usize,
    /// Over all channels, for what each does for itself.
    pub channels: usize,
}

impl Store {
    /// Opens the pools and starts the journal's writers on `runtime`. The schema must have been migrated.
    ///
    /// # Errors
    /// [`StoreError`] when the address cannot be read, the database does not answer, or the pools do not fit its `max_connections`.
    pub async fn open(url: &str, sizes: PoolSizes, runtime: &Handle) -> Result<Self, StoreError> {
        let reads = pool::connect(url, Purpose::Reads, sizes.reads, runtime)?;
        let client = reads.get().await?;
        let allowed: i32 = client.query_one(statements::MAX_CONNECTIONS, &[]).await?.try_get(0)?;
        let wanted = sizes.journal + sizes.reads + sizes.channels;
        if usize::try_from(allowed).unwrap_or(0) < wanted {
            return Err(StoreError::Settings(format!(
                "the pools add up to {wanted} connections, and the server allows {allowed}: lower [database] read_connections or channel_connections, or raise max_connections"
            )));
        }
        drop(client);
        let journal = Journal::start(runtime, &pool::connect(url, Purpose::Journal, sizes.journal, runtime)?);
        Ok(Self { journal, reads, url: url.into(), runtime: runtime.clone() })
    }

    /// The same store over a small pool of its own: what one channel does for itself (its inbox, its leases) takes no connection from
    /// others, however much of it there is. Money still changes through the one journal.
    ///
    /// # Errors
    /// [`StoreError::Settings`].
    pub fn with_own_connections(&self, purpose: Purpose, connections: usize) -> Result<Self, StoreError> {
        Ok(Self {
            journal: self.journal.clone(),
            reads: pool::connect(&self.url, purpose, connections, &self.runtime)?,
            url: Arc::clone(&self.url),
            runtime: self.runtime.clone(),
        })
    }

    /// A connection for reads.
    pub(crate) async fn client(&self) -> Result<Client, StoreError> {
        Ok(self.reads.get().await?)
    }

    /// The address it was opened with, for whoever must print it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether the database answers and takes writes.
    ///
    /// # Errors
    /// [`StoreError`] says why not.
    pub async fn alive(&self) -> Result<bool, StoreError> {
        Ok(self.client().await?.query_one(statements::ALIVE, &[]).await?.try_get(0)?)
    }

    /// Makes the partitions that `now` will need.
    ///
    /// # Errors
    /// [`StoreError`] of the first that could not be made.
    pub async fn ensure_partitions(&self, now: jiff::Timestamp) -> Result<u32, StoreError> {
        schema::ensure_partitions(&self.client().await?, now).await
    }

    /// Connections of the read pool: (in use or idle, waiting for one).
    pub fn pool_status(&self) -> (usize, usize, usize) {
        let status = self.reads.status();
        (status.size, status.available, status.waiting)
    }

    /// Prepares every statement, as a check that schema and binary fit. Answers the names and messages of those that do not.
    ///
    /// # Errors
    /// [`StoreError`] when the database is away.
    pub async fn check_statements(&self) -> Result<Vec<(&'static str, String)>, StoreError> {
        let client = self.client().await?;
        let mut unfit = Vec::new();
        for (name, statement) in statements::ALL {
            if let Err(error) = client.prepare(statement).await {
                unfit.push((*name, StoreError::from(error).to_string()));
            }
        }
        Ok(unfit)
    }
}

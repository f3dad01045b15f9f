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
mod primary;
pub mod replica;
pub mod schema;
pub mod share;
pub mod standby;
pub mod statements;
pub mod webhook;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Client, Pool};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio_postgres::error::SqlState;

pub use self::journal::{ChangeVerdict, Intent, IntentVerdict, Journal, JournalError};
use self::pool::Purpose;
use self::primary::Primary;
use self::replica::Replica;
pub use self::replica::ReplicaSettings;
pub use self::share::Share;

/// Why the database did not do as asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It cannot be reached, or every connection was busy for too long. Try again later.
    #[error("the database cannot be reached: {0}")]
    Away(String),
    /// Others were at the same rows at that moment: a deadlock was broken, two transactions could not both be true, or a lock was not free in time.
    /// Nothing was done. Try again.
    #[error("the database was busy with others at the same rows: {0}")]
    Busy(String),
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
    /// The hosts of the address that answer are all standbys: these.
    #[error("{0} takes no writes, it is a standby; name the primary, or all hosts: postgres://host1,host2/name?target_session_attrs=read-write")]
    Standby(String),
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
            Some(refusal) if is_of_the_moment(refusal.code()) => Self::Busy(format!("{} ({})", refusal.message(), refusal.code().code())),
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
fn is_absence(code: &SqlState) -> bool {
    matches!(code.code().get(..2), Some("57" | "53" | "58" | "08" | "25")) || code.code() == "55000"
}

/// Whether an answer of the server tells of others' work at that moment and not of ours: a deadlock, a failure to serialize, a lock that is not free.
/// The statement was rolled back; the same may well succeed when it is run again.
fn is_of_the_moment(code: &SqlState) -> bool {
    [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE, SqlState::LOCK_NOT_AVAILABLE].contains(code)
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
    pools: Arc<Pools>,
    replica: Option<Replica>,
    /// Where the address has several hosts.
    primary: Option<Arc<Primary>>,
    url: Arc<str>,
    max_wait: Duration,
    runtime: Handle,
}

/// Connections for everything that is not the journal's: a pool for each share, where there are shares, and one for the rest.
#[derive(Debug)]
struct Pools {
    rest: Pool,
    shares: Vec<(Share, Pool)>,
}

impl Pools {
    fn mine(&self) -> &Pool {
        let share = Share::current();
        self.shares.iter().find(|(owner, _)| Some(*owner) == share).map_or(&self.rest, |(_, pool)| pool)
    }
}

/// How many connections a process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSizes {
    /// For the journal's writers: 2.
    pub journal: usize,
    /// For everything else; [`Share::of`] says who has how many of them.
    pub reads: usize,
    /// Over all channels, for what each does for itself.
    pub channels: usize,
}

impl PoolSizes {
    /// All of them.
    pub const fn sum(&self) -> usize {
        self.journal + self.reads + self.channels
    }
}

/// What a process that serves opens its database with, beside the address.
#[derive(Clone, Debug)]
pub struct Opening {
    /// How many connections.
    pub sizes: PoolSizes,
    /// How many processes take as many, this one among them; at least 1.
    pub instances: u32,
    /// How long whoever wants a connection waits for a free one.
    pub max_wait: Duration,
    /// Where lists may be read instead.
    pub replica: Option<ReplicaSettings>,
}

impl Store {
    /// Opens the pools and starts the journal's writers on `runtime`. The schema must have been migrated.
    ///
    /// # Errors
    /// [`StoreError`] when the address cannot be read or is a standby's, the database does not answer, or the pools of all instances do not fit
    /// its `max_connections`.
    pub async fn open(url: &str, sizes: PoolSizes, runtime: &Handle) -> Result<Self, StoreError> {
        Self::open_as(url, Opening { sizes, instances: 1, max_wait: pool::MAX_WAIT, replica: None }, runtime).await
    }

    /// The same, with everything that settings can say.
    ///
    /// # Errors
    /// As [`Store::open`], and [`StoreError::Settings`] when the pools do not fit a replica that answers.
    pub async fn open_as(url: &str, opening: Opening, runtime: &Handle) -> Result<Self, StoreError> {
        let Opening { sizes, instances, max_wait, replica } = opening;
        pool::find_primary(url).await?;
        let primary = Primary::watch(&pool::parse(url)?, runtime);
        let connect = |purpose, size| pool::connect_to(primary.as_ref(), url, purpose, size, max_wait, runtime);
        let mut shares = Vec::new();
        for share in Share::ALL.into_iter().filter(|share| share.of(sizes.reads) > 0) {
            shares.push((share, connect(Purpose::Reads, share.of(sizes.reads))?));
        }
        let shared: usize = Share::ALL.iter().map(|share| share.of(sizes.reads)).sum();
        let rest = connect(Purpose::Reads, sizes.reads - shared)?;
        // One more looks out for the primary.
        check_room(&rest, sizes.sum() + usize::from(primary.is_some()), instances, "the server").await?;
        let replica = match replica {
            None => None,
            Some(settings) => Some(Replica::open(&settings, instances, &rest, max_wait, runtime).await?),
        };
        let journal = Journal::start(runtime, &connect(Purpose::Journal, sizes.journal)?);
        let pools = Arc::new(Pools { rest, shares });
        Ok(Self { journal, pools, replica, primary, url: url.into(), max_wait, runtime: runtime.clone() })
    }

    /// The same store over a small pool of its own: what one channel does for itself (its inbox, its leases) takes no connection from
    /// others, however much of it there is. Money still changes through the one journal.
    ///
    /// # Errors
    /// [`StoreError::Settings`].
    pub fn with_own_connections(&self, purpose: Purpose, connections: usize) -> Result<Self, StoreError> {
        let rest = pool::connect_to(self.primary.as_ref(), &self.url, purpose, connections, self.max_wait, &self.runtime)?;
        Ok(Self { pools: Arc::new(Pools { rest, shares: Vec::new() }), ..self.clone() })
    }

    /// The same store, for reads that may be as old as the settings allow: over the replica's connections while it keeps up, and `None` while it
    /// does not, or there is none. Never for what decides about money.
    pub fn bounded(&self) -> Option<Self> {
        let rest = self.replica.as_ref()?.fresh()?;
        Some(Self { pools: Arc::new(Pools { rest, shares: Vec::new() }), ..self.clone() })
    }

    /// Whether lists may be read elsewhere at all.
    pub fn has_replica(&self) -> bool {
        self.replica.is_some()
    }

    /// A connection for reads, of the share of whoever asks.
    pub(crate) async fn client(&self) -> Result<Client, StoreError> {
        Ok(self.pools.mine().get().await?)
    }

    /// The address it was opened with, for whoever must print it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether the database answers and takes writes. A question that is not answered within `within` is given up, and its connection with it: whoever
    /// got that next would wait behind an answer that may never come. It changes nothing, so there is nothing to settle.
    ///
    /// # Errors
    /// [`StoreError`] says why not.
    pub async fn alive(&self, within: Duration) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let answer = tokio::time::timeout(within, client.query_one(statements::ALIVE, &[])).await;
        let Ok(answer) = answer else {
            drop(Client::take(client));
            return Err(StoreError::Away(format!("no answer within {within:?}")));
        };
        Ok(answer?.try_get(0)?)
    }

    /// Makes the partitions that `now` will need.
    ///
    /// # Errors
    /// [`StoreError`] of the first that could not be made.
    pub async fn ensure_partitions(&self, now: jiff::Timestamp) -> Result<u32, StoreError> {
        schema::ensure_partitions(&self.client().await?, now).await
    }

    /// Each pool for reads by its name in metrics: how many connections it has, how many of them are idle, how many tasks wait for one.
    pub fn pool_status(&self) -> Vec<(&'static str, usize, usize, usize)> {
        let replica = self.replica.iter().map(|replica| ("replica", replica.pool()));
        let pools = self.pools.shares.iter().map(|(share, pool)| (share.as_str(), pool)).chain([("reads", &self.pools.rest)]).chain(replica);
        let status = |(name, pool): (&'static str, &Pool)| {
            let status = pool.status();
            (name, status.size, status.available, status.waiting)
        };
        pools.map(status).collect()
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

/// Refuses pools that do not fit the server behind `pool`, before the first connection is missing under load: `wanted` in each of `instances`
/// processes. What other processes of ours hold in this database beside that many is only told of: they may be about to end.
async fn check_room(pool: &Pool, wanted: usize, instances: u32, whose: &str) -> Result<(), StoreError> {
    let row = pool.get().await?.query_one(statements::MAX_CONNECTIONS, &[]).await?;
    let (allowed, held): (i32, i64) = (row.try_get(0)?, row.try_get(1)?);
    let (allowed, held) = (usize::try_from(allowed).unwrap_or(0), usize::try_from(held).unwrap_or(0));
    let all = wanted.saturating_mul(usize::try_from(instances).unwrap_or(usize::MAX));
    if allowed < all {
        let pools = match instances {
            0 | 1 => format!("the pools add up to {all} connections"),
            _ => format!("the pools add up to {wanted} connections, those of {instances} instances to {all}"),
        };
        return Err(StoreError::Settings(format!(
            "{pools}, and {whose} allows {allowed}: lower [database] read_connections or channel_connections, or raise max_connections"
        )));
    }
    if allowed < wanted + held {
        tracing::warn!(wanted, held, allowed, "other processes hold connections to {whose}, so that the pools of this one may not be filled");
    }
    Ok(())
}

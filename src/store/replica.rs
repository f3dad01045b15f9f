//! A replica for lists and search. What it shows may be old; how old at most is watched, and beyond the limit nobody is sent there.
//!
//! The age is measured without a write and without comparing two machines' clocks: every quarter of a second the primary is asked how far its
//! log has come, and the replica how far it has replayed. What the replica shows is at most as old as the newest of our questions whose answer
//! it has replayed since. An idle primary is therefore no lag: its log stands still, and the replica has all of it. A primary that does not
//! answer makes the age grow, because nobody knows what it has taken meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool_postgres::Pool;
use tokio::runtime::Handle;
use tokio_postgres::types::PgLsn;

use super::pool::{self, Purpose};
use super::{StoreError, check_room};

/// How far the primary's log has come; on a standby how far it has replayed.
pub(super) const WRITTEN: &str =
    "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END";

/// How often both are asked.
const EVERY: Duration = Duration::from_millis(250);
/// Questions that are remembered: those of half a minute. A replica that is further behind is of no use to anybody.
const REMEMBERED: usize = 120;
/// An age that no limit allows.
const UNKNOWN: u64 = u64::MAX;

/// Where lists are read.
#[derive(Clone, Debug)]
pub struct ReplicaSettings {
    /// Its address; several hosts are tried in random order.
    pub url: String,
    /// Connections to it.
    pub connections: usize,
    /// How old what it shows may be.
    pub max_lag: Duration,
}

/// The replica. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Replica {
    pool: Pool,
    max_lag: Duration,
    /// Milliseconds, or [`UNKNOWN`].
    lag: Arc<AtomicU64>,
}

impl Replica {
    /// Opens the pool, and watches from now on how far it is behind the `primary`. One that is away is no error: it is not used until it comes.
    ///
    /// # Errors
    /// [`StoreError::Settings`] when its address cannot be read, or it answers and has no room for the pool.
    pub(super) async fn open(settings: &ReplicaSettings, primary: &Pool, max_wait: Duration, runtime: &Handle) -> Result<Self, StoreError> {
        let pool = pool::connect_within(&settings.url, Purpose::Replica, settings.connections, max_wait, runtime)?;
        match check_room(&pool, settings.connections, "the replica").await {
            Err(error @ StoreError::Settings(_)) => return Err(error),
            Err(error) => tracing::warn!(%error, "the replica does not answer: lists are read from the primary"),
            Ok(()) => {}
        }
        let replica = Self { pool, max_lag: settings.max_lag, lag: Arc::new(AtomicU64::new(UNKNOWN)) };
        runtime.spawn(replica.clone().watch(primary.clone()));
        Ok(replica)
    }

    /// Its connections, while it keeps up.
    pub(super) fn fresh(&self) -> Option<Pool> {
        let lag = self.lag.load(Ordering::Relaxed);
        (lag != UNKNOWN && Duration::from_millis(lag) <= self.max_lag).then(|| self.pool.clone())
    }

    pub(super) const fn pool(&self) -> &Pool {
        &self.pool
    }

    async fn watch(self, primary: Pool) {
        let mut asked: VecDeque<(PgLsn, Instant)> = VecDeque::new();
        let mut shown: Option<Instant> = None;
        loop {
            let now = Instant::now();
            if let Ok(written) = position(&primary).await {
                asked.push_back((written, now));
                if asked.len() > REMEMBERED {
                    asked.pop_front();
                }
            }
            let replayed = position(&self.pool).await;
            if let Ok(replayed) = replayed {
                while let Some((_, at)) = asked.front().filter(|(written, _)| *written <= replayed).copied() {
                    shown = Some(at);
                    asked.pop_front();
                }
            }
            let lag = shown.filter(|_| replayed.is_ok()).map(|at| at.elapsed());
            let milliseconds = lag.and_then(|lag| u64::try_from(lag.as_millis()).ok()).unwrap_or(UNKNOWN);
            self.lag.store(milliseconds, Ordering::Relaxed);
            // No answer has no age: the gauge then says as much as the longest that is remembered.
            let told = lag.unwrap_or(EVERY * u32::try_from(REMEMBERED).unwrap_or(u32::MAX));
            metrics::gauge!("breakwater_db_replica_lag_seconds").set(told.as_secs_f64());
            tokio::time::sleep(EVERY).await;
        }
    }
}

async fn position(pool: &Pool) -> Result<PgLsn, StoreError> {
    Ok(pool.get().await?.query_one(WRITTEN, &[]).await?.try_get(0)?)
}

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
use tokio::task::JoinHandle;
use tokio_postgres::types::PgLsn;

use super::pool::{self, Purpose};
use super::{Store, StoreError, check_room};
use crate::lasting;

/// How far the primary's log has come; on a standby how far it has replayed.
pub(super) const WRITTEN: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END";

/// Whether a server is a standby.
pub(super) const STANDBY: &str = "SELECT pg_is_in_recovery()";
/// What a cluster is told apart by: its standbys have it, too.
pub(super) const CLUSTER: &str = "SELECT system_identifier FROM pg_control_system()";

/// How often both are asked.
const EVERY: Duration = Duration::from_millis(250);
/// Questions that are remembered: those of half a minute. A replica that is further behind is of no use to anybody.
const REMEMBERED: usize = 120;
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
    began: Instant,
    /// Of which moment what it shows is at least, in milliseconds since it was opened; 0 while that is not known.
    shown: Arc<AtomicU64>,
}

impl Replica {
    /// Opens the pool, and watches from now on how far it is behind the `primary`. One that is away is no error: it is not used until it comes.
    ///
    /// # Errors
    /// [`StoreError::Settings`] when its address cannot be read, or it answers and has no room for the pools of so many instances.
    pub(super) async fn open(
        settings: &ReplicaSettings,
        instances: u32,
        primary: &Pool,
        max_wait: Duration,
        runtime: &Handle,
    ) -> Result<Self, StoreError> {
        let pool = pool::connect_within(&settings.url, Purpose::Replica, settings.connections, max_wait, runtime)?;
        match check_room(&pool, settings.connections, instances, "the replica").await {
            Err(error @ StoreError::Settings(_)) => return Err(error),
            Err(error) => tracing::warn!(%error, "the replica does not answer: lists are read from the primary"),
            Ok(()) => {}
        }
        let replica = Self { pool, max_lag: settings.max_lag, began: Instant::now(), shown: Arc::default() };
        replica.look_out(primary, runtime);
        Ok(replica)
    }

    /// Its connections, while it keeps up. A watch that waits for an answer makes it older too.
    pub(super) fn fresh(&self) -> Option<Pool> {
        self.lag().is_some_and(|lag| lag <= self.max_lag).then(|| self.pool.clone())
    }

    fn lag(&self) -> Option<Duration> {
        let shown = Some(self.shown.load(Ordering::Relaxed)).filter(|shown| *shown > 0)?;
        Some(self.began.elapsed().saturating_sub(Duration::from_millis(shown)))
    }

    pub(super) const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Watches for as long as `runtime` runs, also after a panic: without it what the replica shows would grow old, and nobody be sent there again.
    fn look_out(&self, primary: &Pool, runtime: &Handle) -> JoinHandle<()> {
        let (replica, primary) = (self.clone(), primary.clone());
        runtime.spawn(lasting::keep("replica_lookout", move || replica.clone().watch(primary.clone())))
    }

    async fn watch(self, primary: Pool) {
        let mut asked: VecDeque<(PgLsn, Duration)> = VecDeque::new();
        loop {
            let now = self.began.elapsed();
            if let Ok(written) = position(&primary).await {
                asked.push_back((written, now));
                if asked.len() > REMEMBERED {
                    asked.pop_front();
                }
            }
            if let Ok(replayed) = position(&self.pool).await {
                while let Some((_, at)) = asked.front().filter(|(written, _)| *written <= replayed).copied() {
                    self.shown.store(u64::try_from(at.as_millis()).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
                    asked.pop_front();
                }
            }
            // What was never seen to follow is as old as our watch.
            metrics::gauge!("breakwater_db_replica_lag_seconds").set(self.lag().unwrap_or_else(|| self.began.elapsed()).as_secs_f64());
            tokio::time::sleep(EVERY).await;
        }
    }
}

/// What a replica says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaFacts {
    /// Whether it is a standby: a server that takes writes shows what it was told itself.
    pub standby: bool,
    /// Whether it follows the primary's own cluster; `None` when we may not know.
    pub same_cluster: Option<bool>,
    /// After how long it had all that the primary had written when it was asked; `None` when it had not, in the time that it was given.
    pub followed_after: Option<Duration>,
}

impl Store {
    /// Asks the replica at `url` for [`ReplicaFacts`], over a connection that ends with the answer. It is given `patience` to follow the primary.
    ///
    /// # Errors
    /// [`StoreError`]: it does not answer, or the primary does not.
    pub async fn replica_facts(&self, url: &str, patience: Duration) -> Result<ReplicaFacts, StoreError> {
        let pool = pool::connect_within(url, Purpose::Replica, 1, pool::MAX_WAIT, &self.runtime)?;
        let replica = pool.get().await?;
        let standby: bool = replica.query_one(STANDBY, &[]).await?.try_get(0)?;
        let primary = self.client().await?;
        let written: PgLsn = primary.query_one(WRITTEN, &[]).await?.try_get(0)?;
        // Only some servers' users may know it.
        let ours = primary.query_one(CLUSTER, &[]).await.ok().and_then(|row| row.try_get::<_, i64>(0).ok());
        let theirs = replica.query_one(CLUSTER, &[]).await.ok().and_then(|row| row.try_get::<_, i64>(0).ok());
        let began = Instant::now();
        let mut followed_after = None;
        while standby && followed_after.is_none() && began.elapsed() < patience {
            let replayed: Option<PgLsn> = replica.query_one(WRITTEN, &[]).await?.try_get(0)?;
            if replayed.is_some_and(|replayed| replayed >= written) {
                followed_after = Some(began.elapsed());
            } else {
                tokio::time::sleep(EVERY / 10).await;
            }
        }
        Ok(ReplicaFacts { standby, same_cluster: ours.zip(theirs).map(|(ours, theirs)| ours == theirs), followed_after })
    }
}

async fn position(pool: &Pool) -> Result<PgLsn, StoreError> {
    Ok(pool.get().await?.query_one(WRITTEN, &[]).await?.try_get(0)?)
}

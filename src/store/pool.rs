//! Connection pools, one a purpose, so that a flood of one takes nothing from another. Their sum is checked against the server's
//! `max_connections` before anything is served.

use std::time::Duration;

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

use super::StoreError;

/// What sessions of a pool are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The journal's two writers.
    Journal,
    /// One channel's own work: batches by key, into tables that grow.
    Channel,
    /// Reads that must be exact, leases, keys.
    Reads,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Journal => "breakwater journal",
            Self::Channel => "breakwater channel",
            Self::Reads => "breakwater",
        }
    }

    /// Session settings. The writers' statements have no join but index loops, and the planner, which cannot know how long an array is, must
    /// not think of anything else; 40 s end a statement that hangs, long after every waiter was told.
    const fn options(self) -> &'static str {
        match self {
            Self::Journal => {
                "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off \
                 -c synchronous_commit=on -c statement_timeout=40s"
            }
            // A batch's length is unknown to the planner: without this it reads every notification of the channel to find a few.
            Self::Channel => {
                "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c enable_bitmapscan=off \
                 -c jit=off -c synchronous_commit=on -c statement_timeout=10s"
            }
            Self::Reads => "-c jit=off -c synchronous_commit=on -c statement_timeout=10s",
        }
    }
}

/// Opens connections on the runtime that is to drive them, whoever asks for one: a connection that lived on the thread of its first user would
/// end with that thread, and wait whenever that thread is busy.
struct OnRuntime(Handle);

impl Connect for OnRuntime {
    fn connect(&self, config: &tokio_postgres::Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let config = config.clone();
        let opening = self.0.spawn(async move {
            let (client, connection) = config.connect(NoTls).await?;
            let driver = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::warn!(error = %error, "a database connection was lost");
                }
            });
            Ok((client, driver))
        });
        Box::pin(async move {
            match opening.await {
                Ok(opened) => opened,
                // The runtime is shutting down: nobody waits for a connection any more.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

/// A pool of at most `size` connections to `url`, driven by `runtime`. Connects nothing yet.
///
/// # Errors
/// [`StoreError::Settings`] when the address cannot be read.
pub fn connect(url: &str, purpose: Purpose, size: usize, runtime: &Handle) -> Result<Pool, StoreError> {
    let mut config: tokio_postgres::Config =
        url.parse().map_err(|error: tokio_postgres::Error| StoreError::Settings(StoreError::from(error).to_string()))?;
    let options = match config.get_options() {
        Some(given) => format!("{given} {}", purpose.options()),
        None => purpose.options().to_owned(),
    };
    config.options(options).application_name(purpose.name()).connect_timeout(Duration::from_secs(3));
    // A server that is gone without a word (a lost machine, a cut cable) is noticed, or a writer would wait for it as long as the kernel repeats.
    config.keepalives_idle(Duration::from_secs(5)).tcp_user_timeout(Duration::from_secs(10));
    let manager = Manager::from_connect(config, OnRuntime(runtime.clone()), ManagerConfig { recycling_method: RecyclingMethod::Fast });
    Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        // Waiting for a connection may be given up; a statement that has begun never is.
        .timeouts(Timeouts { wait: Some(Duration::from_secs(5)), create: Some(Duration::from_secs(5)), recycle: None })
        .build()
        .map_err(|error| StoreError::Settings(error.to_string()))
}

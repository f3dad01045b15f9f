//! Connection pools, one a purpose, so that a flood of one takes nothing from another. Their sum over all instances is checked
//! against the server's `max_connections` before anything is served.
//!
//! An address may name several hosts, of which one is the primary: every connection is then opened to whichever takes writes at that moment, and
//! given up when another does (`primary.rs`), so that a pool finds a promoted standby by itself. A COMMIT is never
//! cancelled: no statement is dropped half-way, and the server ends its own `statement_timeout` before it commits, so that what waits for a
//! synchronous standby waits until it is there or the connection is gone (`tests/failover/commit.rs` shows it). Then it is unknown, and the journal
//! settles it.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, LoadBalanceHosts, TargetSessionAttrs};
use tokio_postgres::{Client, Config, NoTls};

use super::StoreError;
use super::primary::{self, Primary};

/// How long whoever wants a connection waits for a free one, unless the settings say otherwise.
pub const MAX_WAIT: Duration = Duration::from_secs(5);
/// How long one host may take to let us in.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What sessions of a pool are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The journal's two writers.
    Journal,
    /// One channel's own work: batches by key, into tables that grow.
    Channel,
    /// Reads that must be exact, leases, keys.
    Reads,
    /// Lists, from a server that only replays what another writes.
    Replica,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Journal => "breakwater journal",
            Self::Channel => "breakwater channel",
            Self::Reads => "breakwater",
            Self::Replica => "breakwater lists",
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
            Self::Replica => "-c jit=off -c default_transaction_read_only=on -c statement_timeout=10s",
        }
    }
}

/// Opens connections on the runtime that is to drive them, whoever asks for one: a connection that lived on the thread of its first user would
/// end with that thread, and wait whenever that thread is busy.
struct OnRuntime {
    runtime: Handle,
    primary: Option<Arc<Primary>>,
}

/// A connection that is being opened; nobody goes on opening it when nobody waits for it any more.
struct Opening(JoinHandle<Result<(Client, JoinHandle<()>), tokio_postgres::Error>>);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connect for OnRuntime {
    fn connect(&self, config: &tokio_postgres::Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let (config, primary) = (config.clone(), self.primary.clone());
        let mut opening = Opening(self.runtime.spawn(async move {
            if let Some(primary) = primary {
                return primary.connect(&config).await;
            }
            let (client, connection) = config.connect(NoTls).await?;
            let driver = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::warn!(error = %error, "a database connection was lost");
                }
            });
            Ok((client, driver))
        }));
        Box::pin(async move {
            match (&mut opening.0).await {
                Ok(opened) => opened,
                // The runtime is shutting down: nobody waits for a connection any more.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

/// A pool of at most `size` connections to `url`, driven by `runtime`, whose users wait [`MAX_WAIT`] at most. Connects nothing yet.
///
/// # Errors
/// [`StoreError::Settings`] when the address cannot be read.
pub fn connect(url: &str, purpose: Purpose, size: usize, runtime: &Handle) -> Result<Pool, StoreError> {
    connect_within(url, purpose, size, MAX_WAIT, runtime)
}

/// The same, whose users wait for a free connection for `max_wait` at most.
///
/// # Errors
/// [`StoreError::Settings`] when the address cannot be read.
pub fn connect_within(url: &str, purpose: Purpose, size: usize, max_wait: Duration, runtime: &Handle) -> Result<Pool, StoreError> {
    connect_to(None, url, purpose, size, max_wait, runtime)
}

/// The same, whose connections are to the primary that `primary` knows of, where somebody looks out for it, and are given up when it is another.
///
/// # Errors
/// [`StoreError::Settings`] when the address cannot be read.
pub(super) fn connect_to(
    primary: Option<&Arc<Primary>>,
    url: &str,
    purpose: Purpose,
    size: usize,
    max_wait: Duration,
    runtime: &Handle,
) -> Result<Pool, StoreError> {
    let mut config = parse(url)?;
    let options = match config.get_options() {
        Some(given) => format!("{given} {}", purpose.options()),
        None => purpose.options().to_owned(),
    };
    config.options(options).application_name(purpose.name());
    let hosts = config.get_hosts().len().max(1);
    // Of several hosts only one takes writes, whatever the address says. A single one is taken as it is, and told what it is.
    if purpose == Purpose::Replica {
        config.load_balance_hosts(LoadBalanceHosts::Random);
    } else if hosts > 1 {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    let manager = Manager::from_connect(
        config,
        OnRuntime { runtime: runtime.clone(), primary: primary.cloned() },
        ManagerConfig { recycling_method: RecyclingMethod::Fast },
    );
    let create = CONNECT_TIMEOUT * u32::try_from(hosts).unwrap_or(u32::MAX) + Duration::from_secs(2);
    Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        // Waiting for a connection may be given up; a statement that has begun never is.
        .timeouts(Timeouts { wait: Some(max_wait), create: Some(create), recycle: None })
        .build()
        .map_err(|error| StoreError::Settings(error.to_string()))
}

/// The address, with what every connection of ours has.
pub(super) fn parse(url: &str) -> Result<Config, StoreError> {
    let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| StoreError::Settings(StoreError::from(error).to_string()))?;
    with_patience(&mut config);
    Ok(config)
}

fn with_patience(config: &mut Config) {
    config.connect_timeout(CONNECT_TIMEOUT);
    // A server that is gone without a word (a lost machine, a cut cable) is noticed, or a writer would wait for it as long as the kernel repeats.
    config.keepalives_idle(Duration::from_secs(5)).keepalives_interval(Duration::from_secs(2)).keepalives_retries(3);
    config.tcp_user_timeout(Duration::from_secs(10));
}

/// The one host of `url` that takes writes now, as an address of its own; of several the one on the latest timeline. Asks all of them.
///
/// # Errors
/// [`StoreError::Standby`] when those that answer are all standbys; what the last one said when none answers; [`StoreError::Settings`].
pub async fn find_primary(url: &str) -> Result<Config, StoreError> {
    let config = parse(url)?;
    let mut hosts: Vec<Config> = (0..config.get_hosts().len()).map(|place| only_host(&config, place)).collect();
    let (first, said) = primary::first_of(&hosts).await;
    if let Some(place) = first {
        return Ok(hosts.swap_remove(place));
    }
    let (mut standbys, mut last) = (Vec::new(), None);
    for (place, said) in said.into_iter().enumerate() {
        match (said, config.get_hosts().get(place)) {
            (Err(error), _) => last = Some(error),
            (Ok(_), Some(Host::Tcp(name))) => standbys.push(format!("{name}:{}", port_of(&config, place))),
            (Ok(_), Some(Host::Unix(path))) => standbys.push(path.display().to_string()),
            (Ok(_), None) => {}
        }
    }
    match last {
        // One of several that is away may be the primary: that is an absence, and no mistake in the settings.
        Some(error) => Err(error),
        None if standbys.is_empty() => Err(StoreError::Settings("the address names no host".to_owned())),
        None => Err(StoreError::Standby(standbys.join(", "))),
    }
}

fn port_of(config: &Config, place: usize) -> u16 {
    config.get_ports().get(place).or_else(|| config.get_ports().first()).copied().unwrap_or(5432)
}

/// The address with everything, but of its hosts only the one at that place.
pub(super) fn only_host(config: &Config, place: usize) -> Config {
    let mut single = Config::new();
    if let Some(user) = config.get_user() {
        single.user(user);
    }
    if let Some(password) = config.get_password() {
        single.password(password);
    }
    if let Some(name) = config.get_dbname() {
        single.dbname(name);
    }
    if let Some(options) = config.get_options() {
        single.options(options);
    }
    single.application_name(config.get_application_name().unwrap_or("breakwater"));
    // An address that wants a secured connection must go on being refused, because we have none.
    single.ssl_mode(config.get_ssl_mode()).ssl_negotiation(config.get_ssl_negotiation()).channel_binding(config.get_channel_binding());
    with_patience(&mut single);
    let port = port_of(config, place);
    match config.get_hosts().get(place) {
        Some(Host::Tcp(name)) => single.host(name).port(port),
        Some(Host::Unix(path)) => single.host_path(path).port(port),
        None => &mut single,
    };
    if let Some(address) = config.get_hostaddrs().get(place) {
        single.hostaddr(*address);
    }
    single
}

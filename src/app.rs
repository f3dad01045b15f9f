//! The one place that wires. Everything else is handed what it needs.
//!
//! Threads: journal, pools and flows run on one multi-thread runtime, webhooks on a small one of their own, whose threads give way to all others where
//! the processor is short: what an overload leaves to be delivered must not slow down the payments that come after it. actix-web's workers, the
//! router, the poller and each channel's actor have current-thread arbiters, and own nothing that must outlive them. The thread that calls [`run`]
//! belongs to the actix system, and waits.
//!
//! The order of the start is the order of what may be relied on: database, schema, overrides and secrets, channels, router, poller, and the
//! listener last. The order of the stop is the reverse: not ready, no new connections, what is in flight finishes, then the rest.

mod alerting;
mod certificates;
mod channels;
mod database;
mod watchdog;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Arbiter, System};
use actix_web::web;
use secrecy::ExposeSecret;
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use uuid::Uuid;

use self::alerting::Watch;
pub use self::alerting::alerter_settings;
use self::certificates::Shown;
use self::channels::{Directory, Process, owners_of, start_channel};
use self::watchdog::{Post, Ward, Watchdog};
use crate::alert::{Alerter, Bell};
use crate::channel::http_pool::tls_config;
use crate::channel::observe::GuardObserver;
use crate::channel::timeline::Timeline;
use crate::clock::{Clock, Pulse};
use crate::config::{ChannelSettings, LimitSettings, Settings};
use crate::domain::{Currency, Part};
use crate::http::limit::{Limits, Rate, Rates};
use crate::http::{self, Api, ApiSettings, Memory, Phase, Readiness};
use crate::lasting;
use crate::notifier::client::system_resolver;
use crate::notifier::desk::Desk;
use crate::notifier::seal::Sealer;
use crate::notifier::{Notifier, NotifierSettings, Office};
use crate::poller::{Poller, PollerSettings};
use crate::provider::{self, Provider};
use crate::router::flows::Channel;
use crate::router::operator::{Seat, Switchboard};
use crate::router::vault::Vault;
use crate::router::{FlowSettings, Flows, Router};
use crate::store::inbox::Inbox;
use crate::store::pool::Purpose;
use crate::store::{Opening, PoolSizes, ReplicaSettings, Store, StoreError, schema};
use crate::telemetry;

/// How often the guards are read out.
const OBSERVE_EVERY: Duration = Duration::from_millis(250);
/// How often it is seen which breakers wait for a query.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// Threads that deliver webhooks, and how nice they are: a tenth of what another thread gets, while there are others.
const ERRAND_THREADS: usize = 2;
const ERRAND_NICENESS: i32 = 10;
/// Every how many rounds the histograms are folded: 5 s.
const UPKEEP_EVERY: u32 = 20;
/// Every how many rounds the journal is asked whether it moves: 1 s.
const JOURNAL_EVERY: u32 = 4;

/// Overrides that could not be read for so long are news: they must hold everywhere within a second.
const OVERRIDES_READ_WITHIN: Duration = Duration::from_secs(5);
/// Connections of the switchboard: one to read, and one to write while it reads.
const SWITCHBOARD_CONNECTIONS: usize = 2;

/// Why the process cannot serve.
#[derive(Debug, Error)]
pub enum StartError {
    /// The database is away, of another schema, or too small for the pools.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Statements that do not fit the schema: another version has migrated it.
    #[error("the schema does not fit this version: {0}")]
    Unfit(String),
    /// A listener's address cannot be had.
    #[error("{address} cannot be listened on: {source}; stop what holds it, or choose another address")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread, a runtime or a socket could not be made.
    #[error("the system refused: {0}")]
    System(#[from] std::io::Error),
    /// A setting that could only be checked now.
    #[error("{0}")]
    Setting(String),
}

/// A channel to serve: its settings, and the protocol that they name.
#[derive(Clone)]
pub struct ChannelPlan {
    /// The settings.
    pub settings: ChannelSettings,
    /// The protocol.
    pub provider: &'static dyn Provider,
}

/// All that [`run`] needs.
pub struct Plan {
    /// The settings; their channels are not read: [`Plan::channels`] are.
    pub settings: Settings,
    /// The database's address.
    pub database_url: String,
    /// The channels, in the order of the settings.
    pub channels: Vec<ChannelPlan>,
    /// The clock.
    pub clock: Clock,
    /// Where merchants and providers are listened to.
    pub listener: TcpListener,
    /// Where operators are; `None` when they share the listener.
    pub operations_listener: Option<TcpListener>,
}

impl Plan {
    /// A plan from settings: binds the listeners and finds the providers.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(settings: Settings, database_url: String, clock: Clock) -> Result<Self, StartError> {
        let listener = listen(&settings.server.listen.to_string())?;
        let operations_listener = settings.server.operations_listen.map(|address| listen(&address.to_string())).transpose()?;
        let channels = settings.channels.iter().map(|channel| plan_channel(channel.clone())).collect::<Result<_, _>>()?;
        Ok(Self { settings, database_url, channels, clock, listener, operations_listener })
    }
}

fn plan_channel(settings: ChannelSettings) -> Result<ChannelPlan, StartError> {
    let provider = provider::find(&settings.provider)
        .ok_or_else(|| StartError::Setting(format!("channel {}: this build knows no provider {:?}", settings.id, settings.provider)))?;
    Ok(ChannelPlan { settings, provider })
}

fn listen(address: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).map_err(|source| StartError::Listen { address: address.to_owned(), source })
}

/// What runs, for whoever started it.
#[derive(Clone)]
pub struct Running {
    /// Whether it takes traffic, and why not.
    pub readiness: Arc<Readiness>,
    /// The store.
    pub store: Store,
    /// The flows.
    pub flows: Flows,
    /// The router.
    pub router: actix::Addr<Router>,
    /// What merchants do with their webhooks.
    pub webhooks: Desk,
    stop: watch::Sender<bool>,
}

impl Running {
    /// Asks for an orderly stop: [`run`] returns when it is done.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// Serves until it is asked to stop (by SIGTERM, SIGINT, or [`Running::stop`]). Blocks this thread, which becomes an actix system's. `ready` is
/// called once everything answers.
///
/// # Errors
/// [`StartError`]: nothing was served.
pub fn run(plan: Plan, ready: impl FnOnce(Running) + 'static) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("flow").enable_all().build()?;
    let mut errands = tokio::runtime::Builder::new_multi_thread();
    let errands = errands.worker_threads(ERRAND_THREADS).thread_name("errand").on_thread_start(give_way).enable_all().build()?;
    let system = System::new();
    let served = system.block_on(serve(plan, &runtime, &errands, ready));
    // What still runs here is beyond its grace: it is on disk, and the next process asks after it.
    errands.shutdown_timeout(Duration::from_secs(1));
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// This thread has the processor when no other wants it, or nearly: niceness is a thread's own on Linux, and elsewhere the process's.
fn give_way() {
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::setpriority_process(None, ERRAND_NICENESS)
    {
        tracing::warn!(%error, "webhooks are delivered with the same priority as payments are carried");
    }
}

async fn serve(plan: Plan, runtime: &Runtime, errands: &Runtime, ready: impl FnOnce(Running)) -> Result<(), StartError> {
    let Plan { settings, database_url, channels, clock, listener, operations_listener } = plan;
    let known: Vec<(&str, &[Currency])> =
        channels.iter().map(|channel| (channel.settings.id.as_str(), channel.settings.currencies.as_slice())).collect();
    let metrics = telemetry::install_metrics();
    telemetry::create_at_zero(&known);

    let parts = settings.server.roles;
    tracing::info!(roles = %parts, "starting");
    let opening = opening(&settings, pool_sizes(&settings, channels.len()));
    let handle = runtime.handle().clone();
    let (store, fingerprint_secret) = open_store(&database_url, opening, &handle, &clock).await?;
    let readiness = Arc::new(Readiness::default());

    let watch_arbiter = Arbiter::try_new()?;
    let tls = tls_config().map_err(|error| StartError::Setting(format!("TLS cannot be set up: {error}")))?;
    let server = &settings.server;
    let process = Process { incarnation: Uuid::new_v4(), instances: server.instances, public_url: server.public_url.clone() };
    let mut flows_channels = Vec::with_capacity(channels.len());
    for channel in &channels {
        let own = store.with_own_connections(Purpose::Channel, settings.database.channel_connections)?;
        let inbox = Inbox::open(&channel.settings.id, &own);
        let owners = owners_of(&channel.settings, &store, &clock).await?;
        certificates::tell_of_channel(&channel.settings, &clock);
        flows_channels.push(start_channel(channel, &process, owners, &tls, &clock, inbox, &watch_arbiter)?);
    }
    let switchboard = open_switchboard(&store, &clock, &flows_channels).await?;
    switchboard.start(&handle);
    let flow_settings = FlowSettings {
        payment_flows: settings.limits.payment_flows,
        refund_flows: settings.limits.refund_flows,
        inquiries: settings.limits.inquiries,
        in_flight_for: Duration::from_millis(settings.server.answer_within_ms),
        resolve_alone_up_to: settings.operations.resolve_alone_up_to,
        ..FlowSettings::default()
    };
    let flows = Flows::new(
        store.clone(),
        clock.clone(),
        flows_channels.clone(),
        Vault::new(settings.cards.sealing_keys.clone()),
        flow_settings,
        process.incarnation,
        handle.clone(),
    );

    let router_arbiter = Arbiter::try_new()?;
    let router = Router::start_in_arbiter(&router_arbiter.handle(), {
        let flows = flows.clone();
        move |_| Router::new(flows)
    });
    let alerter_settings = alerter_settings(&settings.alerts, &tls, &clock)?;
    let alerter = Alerter::start_in_arbiter(&watch_arbiter.handle(), {
        let (store, clock, handle) = (store.clone(), clock.clone(), handle.clone());
        move |_| Alerter::new(alerter_settings, store, clock, handle)
    });
    let bell = Bell::of(&alerter);
    let poller_settings = PollerSettings {
        every: Duration::from_millis(settings.poller.sweep_every_ms),
        batch: i64::from(settings.poller.batch),
        lease: Duration::from_millis(settings.poller.lease_ms),
        unknown_after: Duration::from_millis(settings.alerts.unknown_after_ms),
    };
    let mut posts: Vec<Box<dyn Post>> = vec![
        watchdog::last(&router, "router", router_arbiter.handle()),
        watchdog::last(&alerter, "alerter", watch_arbiter.handle()),
        watchdog::heard("overrides", switchboard.reads(), OVERRIDES_READ_WITHIN, |silent| {
            format!("they could not be read for {silent} s: those that are known hold, and end by themselves")
        }),
        database::asked(store.clone(), clock.clone()),
    ];
    let (mut poller_quarters, mut notifier_quarters) = (watchdog::Quarters::default(), watchdog::Quarters::default());
    // How long a part rests between two rounds, and may wait for a connection.
    let rest = |every: u64| Duration::from_millis(2 * every + settings.database.max_wait_ms);
    let stalled_after = Duration::from_millis(settings.alerts.poller_stalled_after_ms);
    let mut watch = Watch::new(flows_channels.clone(), stalled_after, bell.clone(), clock.clone()).heeding(Arc::clone(&readiness));
    watch = watch.of_overrides(switchboard.clone());
    if parts.have_one_of(&[Part::Poller, Part::Refund]) {
        let poller = Poller::new(store.clone(), clock.clone(), flows.clone(), router.clone(), poller_settings, bell.clone(), handle.clone());
        let pulse = Pulse::new(clock.boot());
        let poller = poller.of(parts).beating(pulse.clone());
        watch = watch.of_poller(pulse);
        let ward = Ward::new("poller", rest(settings.poller.sweep_every_ms), move |life| poller.clone().living(life))?;
        poller_quarters = ward.quarters();
        posts.push(Box::new(ward));
    }

    let office = open_office(&settings, &store, &clock, fingerprint_secret, &tls, errands.handle())?;
    office.ring(bell, Duration::from_millis(settings.alerts.undelivered_after_ms));
    let desk = office.desk();
    if parts.have(Part::Notifier) {
        watch = watch.of_notifier(office.pulse());
        let ward = Ward::new("notifier", rest(settings.webhooks.sweep_every_ms), move |life| Notifier::new(Arc::clone(&office)).living(life))?;
        notifier_quarters = ward.quarters();
        posts.push(Box::new(ward));
    }
    actix::spawn(lasting::keep("watch", async move || watch.run().await));
    let mut watchdog = Watchdog::new(posts, Arc::clone(&readiness));
    actix::spawn(lasting::keep("watchdog", async move || watchdog.run().await));

    let show = |table, files: &Option<_>| files.as_ref().map(|files| Shown::open(table, files, &clock)).transpose();
    let shown = show("server.tls", &settings.server.tls)?;
    let operations_shown = show("server.operations_tls", &settings.server.operations_tls)?.filter(|_| operations_listener.is_some());
    certificates::renew_at_hangup([&shown, &operations_shown].into_iter().flatten().cloned().collect(), clock.clone())?;
    let limits = Limits::new(rates(&settings.limits), &clock);
    let observers: Vec<_> = flows_channels
        .iter()
        .map(|channel| (channel.handle.id().to_owned(), Arc::clone(channel.handle.guard())))
        .map(|(id, guard)| GuardObserver::new(id.clone(), guard, switchboard.timeline_of(&id).unwrap_or_default(), clock.clone()))
        .collect();
    actix::spawn(observe(observers, metrics.clone(), Arc::clone(&readiness), store.clone()));
    actix::spawn(probe(flows.clone()));
    let api = web::Data::new(Api {
        router: router.clone(),
        alerts: alerter.recipient(),
        store: store.clone(),
        runtime: handle.clone(),
        clock: clock.clone(),
        settings: ApiSettings {
            answer_within: Duration::from_millis(settings.server.answer_within_ms),
            deadline: Duration::from_millis(settings.server.deadline_ms),
            serve_operations: operations_listener.is_none(),
            parts,
            trusted_proxies: settings.server.trusted_proxies.clone(),
            ..ApiSettings::default()
        },
        fingerprint_secret,
        channels: Arc::new(Directory { channels: flows_channels, clock, switchboard: switchboard.clone() }),
        webhooks: desk.clone(),
        switchboard,
        metrics: Arc::new(move || metrics.render()),
        readiness: Arc::clone(&readiness),
        limits,
        memory: Memory::default(),
    });
    let workers = settings.server.workers;
    let operations_tls = operations_shown.as_ref().map(Shown::config).transpose()?;
    let operations = operations_listener.map(|listener| http::serve_operations(listener, api.clone(), operations_tls)).transpose()?;
    let server = http::serve(listener, api, workers, shown.as_ref().map(Shown::config).transpose()?)?;
    let handles: Vec<_> = [Some(server.handle()), operations.as_ref().map(actix_web::dev::Server::handle)].into_iter().flatten().collect();
    actix::spawn(server);
    operations.map(actix::spawn);

    readiness.enter(Phase::Ready);
    let (stop, mut stopping) = watch::channel(false);
    ready(Running { readiness: Arc::clone(&readiness), store, flows: flows.clone(), router, webhooks: desk, stop });
    wait_for_stop(&mut stopping).await?;

    tracing::info!("stopping: no longer ready, what is in flight finishes");
    readiness.enter(Phase::Stopping);
    let grace = Duration::from_millis(settings.server.shutdown_grace_ms);
    let _all_or_late = tokio::time::timeout(grace, futures_util::future::join_all(handles.iter().map(|handle| handle.stop(true)))).await.is_ok();
    // Nobody waits for an answer any more: what is due is left to the next process, or the flows would never all be done.
    poller_quarters.close();
    let flown = tokio::time::timeout(grace, async {
        while !flows.are_idle() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    if flown.await.is_err() {
        tracing::warn!("some flows are still in flight after the grace: they are on disk, and will be resolved");
    }
    notifier_quarters.close();
    for arbiter in [router_arbiter, watch_arbiter] {
        arbiter.stop();
    }
    tracing::info!("stopped");
    Ok(())
}

/// Reads out what the guards did, keeps the histograms small where nobody scrapes, and says when the journal hangs. It waits for nobody: what a guard
/// keeps of its transitions is a ring, and would overflow. Goes on after a panic.
async fn observe(mut observers: Vec<GuardObserver>, metrics: telemetry::MetricsHandle, readiness: Arc<Readiness>, store: Store) {
    lasting::keep("observer", async || observe_on(&mut observers, &metrics, &readiness, &store).await).await;
}

async fn observe_on(observers: &mut [GuardObserver], metrics: &telemetry::MetricsHandle, readiness: &Readiness, store: &Store) {
    let mut rounds: u32 = 0;
    loop {
        observers.iter_mut().for_each(GuardObserver::observe);
        if rounds.is_multiple_of(UPKEEP_EVERY) {
            metrics.run_upkeep();
        }
        if rounds.is_multiple_of(JOURNAL_EVERY) {
            readiness.concern("journal", store.journal.complaint());
        }
        rounds = rounds.wrapping_add(1);
        tokio::time::sleep(OBSERVE_EVERY).await;
    }
}

/// Has the breakers ask that wait for a query before they risk a payment. Every process does so, whatever its part of the work: breakers are its own,
/// and the poller's process knows nothing of them.
async fn probe(flows: Flows) {
    lasting::keep("prober", async || {
        loop {
            flows.probe_channels();
            tokio::time::sleep(PROBE_EVERY).await;
        }
    })
    .await;
}

/// Until SIGTERM, SIGINT, or somebody in the process who asks for it.
async fn wait_for_stop(asked: &mut watch::Receiver<bool>) -> Result<(), StartError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = asked_to_stop(asked) => {}
    }
    Ok(())
}

/// Until somebody in the process asks; nobody left who could is no request.
async fn asked_to_stop(asked: &mut watch::Receiver<bool>) {
    if asked.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The connections that a process with these settings and so many channels takes from the primary.
pub const fn pool_sizes(settings: &Settings, channels: usize) -> PoolSizes {
    PoolSizes {
        journal: settings.database.journal_connections,
        reads: settings.database.read_connections,
        channels: settings.database.channel_connections * channels + settings.webhooks.connections + SWITCHBOARD_CONNECTIONS,
    }
}

fn opening(settings: &Settings, sizes: PoolSizes) -> Opening {
    let database = &settings.database;
    let replica = database.replica_url.as_ref().map(|url| ReplicaSettings {
        url: url.expose_secret().to_owned(),
        connections: database.replica_connections,
        max_lag: Duration::from_millis(database.replica_max_lag_ms),
    });
    Opening { sizes, instances: settings.server.instances, max_wait: Duration::from_millis(database.max_wait_ms), replica }
}

async fn open_store(url: &str, opening: Opening, runtime: &tokio::runtime::Handle, clock: &Clock) -> Result<(Store, [u8; 32]), StartError> {
    schema::migrate(url).await?;
    let store = Store::open_as(url, opening, runtime).await?;
    store.ensure_partitions(clock.wall()).await?;
    let unfit = store.check_statements().await?;
    if let Some((name, why)) = unfit.first() {
        return Err(StartError::Unfit(format!("statement {name}: {why}")));
    }
    let mut candidate = [0; 32];
    aws_lc_rs::rand::fill(&mut candidate).map_err(|_| StartError::Setting("the system gives no random bytes".to_owned()))?;
    let secret = store.fingerprint_secret(&candidate).await?;
    Ok((store, secret))
}

/// How much one merchant, channel or address may ask.
fn rates(limits: &LimitSettings) -> Rates {
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    Rates {
        reads: Rate::new(limits.merchant_reads_per_second, second, limits.merchant_reads_burst),
        writes: Rate::new(limits.merchant_writes_per_second, second, limits.merchant_writes_burst),
        notifications: Rate::new(limits.notifications_per_second, second, limits.notifications_burst),
        failures: Rate::new(limits.failures_per_minute, minute, limits.failures_burst),
    }
}

/// The operators' overrides, read and in force: from here on they hold, and nobody has been served yet.
async fn open_switchboard(store: &Store, clock: &Clock, channels: &[Channel]) -> Result<Switchboard, StartError> {
    let seat = |channel: &Channel| Seat {
        channel: channel.handle.id().to_owned(),
        guard: Arc::clone(channel.handle.guard()),
        timeline: Timeline::default(),
    };
    let own = store.with_own_connections(Purpose::Reads, SWITCHBOARD_CONNECTIONS)?;
    let switchboard = Switchboard::new(own, clock.clone(), channels.iter().map(seat).collect());
    switchboard.load().await?;
    Ok(switchboard)
}

/// What delivers webhooks, over connections of its own: it takes none from payments.
fn open_office(
    settings: &Settings,
    store: &Store,
    clock: &Clock,
    installation: [u8; 32],
    tls: &Arc<rustls::ClientConfig>,
    runtime: &tokio::runtime::Handle,
) -> Result<Arc<Office>, StartError> {
    let webhooks = &settings.webhooks;
    let key = webhooks.sealing_key.as_ref().map(ExposeSecret::expose_secret);
    let previous = webhooks.previous_sealing_key.as_ref().map(ExposeSecret::expose_secret);
    let sealer = Sealer::new(&installation, key).and_then(|sealer| sealer.opening_previous(previous));
    let sealer = sealer.map_err(|error| StartError::Setting(format!("[webhooks] sealing_key: {error}")))?;
    let own = store.with_own_connections(Purpose::Reads, webhooks.connections)?;
    let notifier = NotifierSettings {
        every: Duration::from_millis(webhooks.sweep_every_ms),
        timeout: Duration::from_millis(webhooks.timeout_ms),
        in_flight: webhooks.in_flight,
        per_endpoint: i64::from(webhooks.per_endpoint),
        allow_private: webhooks.allow_private,
    };
    Ok(Office::new(own, clock.clone(), Arc::new(sealer), Arc::clone(tls), system_resolver(), notifier, runtime.clone()))
}

//! The settings: one TOML file, read once at start, wrong in as many places as it likes and told so all at once.
//!
//! What it refuses to do: guess. An unknown field, a number out of range, a channel twice, a secret that is not there, a live key on a test
//! channel: each is a [`Fault`] with file, field, what and what to do, and with any of them nothing starts. Secrets come from the environment
//! or from files; the settings file itself may hold them only for test channels.
//!
//! ```text
//! mod.rs      Settings and its sections, each field with its default, unit and what breaks at the extremes; load, from_toml
//! channel.rs  one [[channels]] table           secret.rs   { env = … }, { file = … }
//! reload.rs   what a change of the file means to a process that runs
//! alerts.rs   [alerts], with mail and text messages
//! certificate.rs  certificates with their keys: read, checked against the time and each other
//! section.rs  reading a table field by field   fault.rs    what is wrong, where, and what to do
//! example.toml  the same documentation as a file to start from; a test holds it against the code
//! ```
//!
//! Every field is public and every section has a `Default`, so that demo and tests build settings without a file. This module stands beside
//! `app.rs`: it knows the floors below by name (the guard's settings are the guard's), and of those only `app.rs` and `cli/` know it; a floor is
//! handed its own settings and never the file.

mod alerts;
mod cards;
pub mod certificate;
mod channel;
mod fault;
mod reload;
mod secret;
mod section;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;

use http::Uri;
use secrecy::{ExposeSecret, SecretString};
use toml::{Table, Value};

pub use self::alerts::AlertSettings;
pub use self::cards::CardSettings;
pub use self::certificate::CertificateFiles;
pub use self::channel::{ChannelSettings, Mode, ProviderDefaults};
pub use self::fault::Fault;
use self::fault::Faults;
pub use self::reload::Differences;
use self::secret::Sources;
use self::section::Section;
use crate::clock::Clock;
use crate::domain::{MethodKind, Network, Part, Parts};
pub use crate::telemetry::LogFormat;
pub use tracing::Level;

/// A documented settings file with every field: each at its default, beside one channel to fill in.
pub const EXAMPLE: &str = include_str!("example.toml");

/// The environment variable that gives the database's address when the file does not.
pub const DATABASE_URL: &str = "BREAKWATER_DATABASE_URL";

const HOUR_MS: u64 = 3_600_000;
const MILLION: u32 = 1_000_000;

/// Characters of a sealing key, at least.
const SEALING_KEY_LEAST: usize = 32;

/// Everything that an operator may say.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Addresses and patience of the REST API.
    pub server: ServerSettings,
    /// The database and its pools.
    pub database: DatabaseSettings,
    /// Bounds on what is in flight.
    pub limits: LimitSettings,
    /// The poller.
    pub poller: PollerSettings,
    /// Webhooks to merchants.
    pub webhooks: WebhookSettings,
    /// What operators may do.
    pub operations: OperationsSettings,
    /// Who is told when something is wrong.
    pub alerts: AlertSettings,
    /// The log.
    pub log: LogSettings,
    /// The keys under which card numbers lie.
    pub cards: CardSettings,
    /// The channels, in the file's order. None is allowed: payments are then answered that no channel can take them.
    pub channels: Vec<ChannelSettings>,
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// Where merchants and providers reach us; default 127.0.0.1:8080; port 0 takes a free one. Beyond this machine, give it a certificate
    /// ([`ServerSettings::tls`]), or put a proxy with one in front.
    pub listen: SocketAddr,
    /// Where operators reach `/ops` and `/metrics`; default 127.0.0.1:9090. `None` (in the file: `operations_on_main = true`) serves them on
    /// `listen`, where every merchant can reach them too: for a demo, or behind a proxy that keeps them apart.
    pub operations_listen: Option<SocketAddr>,
    /// Threads that serve HTTP; default 2, 1 to 64. They only parse and wait, so more than half of the cores takes time from the flows.
    pub workers: usize,
    /// How long a request that moves money is kept waiting for its end before it is answered 202, in ms; default 10,000, 0 to 60,000. At 0 every
    /// payment is answered as processing; above the client's own patience it hangs up before it is told anything.
    pub answer_within_ms: u64,
    /// How long a flow goes on trying channels, in ms; default 30,000, `answer_within_ms` to 600,000. Too low leaves healthy channels untried; too
    /// high tries for customers who have gone.
    pub deadline_ms: u64,
    /// The address under which providers reach `listen`, for their notifications; default none, and then no provider is told one. Scheme and
    /// host, without a slash at the end.
    pub public_url: Option<String>,
    /// How long a stop waits for what is in flight, in ms; default 30,000, 0 to 600,000. Below `deadline_ms` a flow may be cut off: its attempt is
    /// on disk and the poller resolves it, but the caller sees a broken connection. Above the service manager's patience it kills us.
    pub shutdown_grace_ms: u64,
    /// The networks of our own proxies, as `10.0.0.0/8` or one address; default none. What they say in `X-Forwarded-For` is believed, and limits
    /// by address count the client that it names. Too few, and all clients behind a proxy share one limit; one too many, and whoever is in it can
    /// be anybody.
    pub trusted_proxies: Vec<Network>,
    /// The certificate of `listen`, which then speaks TLS 1.2 and 1.3 only; default none, and then it speaks in the clear. The files are read again
    /// at SIGHUP.
    pub tls: Option<CertificateFiles>,
    /// The same for `operations_listen`.
    pub operations_tls: Option<CertificateFiles>,
    /// The parts of the work that this process takes on (in the file: `roles`, or `serve --roles`); default all. A part that no process takes on
    /// is not done; one that is named twice, in two processes, is shared.
    pub roles: Parts,
    /// How many processes call the channels at one time, this one among them; default 1, 1 to 64. Each has its part of what a channel may do
    /// (`max_in_flight`, `rate_per_second`, `burst`), rounded down, and their pools together must fit the database's `max_connections`. All
    /// whose roles are more than `notifier` count, whichever those are, and all must say the same. Too low exceeds contracts; too high
    /// leaves a part of them to nobody.
    pub instances: u32,
}

/// `[database]`. All processes' pools together must fit the server's `max_connections`; a start checks its own, as often as there are
/// [`ServerSettings::instances`].
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// `postgres://…`, as libpq reads it, with all hosts of which one is the primary (`postgres://a,b/name?target_session_attrs=read-write`), or a secret's source; when left out, the environment variable `BREAKWATER_DATABASE_URL`. Required in
    /// one of the two. `Debug` does not show it, for it may hold a password.
    pub url: SecretString,
    /// Connections that write the journal; default 2, 2 to 16: one a lane is the least. More shrinks the batches and commits more often for no gain.
    pub journal_connections: usize,
    /// Connections for reads, leases and keys, of which payments, refunds and the poller have shares of their own (6, 3 and 3 of 16), so that none
    /// starves another; default 16, 1 to 256; below 4 there are no shares. Too low makes reads wait for `max_wait_ms` and fail; too high takes memory
    /// and processor time from the server.
    pub read_connections: usize,
    /// Connections that each channel keeps for its own inbox and leases; default 2, 1 to 16. At 1 a slow read of a channel delays its leases; their
    /// sum over the channels is what usually exceeds `max_connections`.
    pub channel_connections: usize,
    /// How long a request waits for a free connection, in ms; default 5,000, 10 to 60,000. Too low refuses at every burst; too high keeps
    /// requests waiting that nobody waits for any more.
    pub max_wait_ms: u64,
    /// A replica of the same database, or several hosts of which each is one, for lists and search; a secret's source too; default none, and then
    /// the primary is asked. Reads of one object, and all that decides about money, never go there.
    pub replica_url: Option<SecretString>,
    /// Connections to the replica; default 8, 1 to 256. Too low makes lists wait for `max_wait_ms`.
    pub replica_connections: usize,
    /// How old a list from the replica may be, in ms; default 2,000, 500 to 600,000; beyond it the primary is asked. Too low sends every list to the
    /// primary whenever it is busy; too high shows merchants lists without what they have just done.
    pub replica_max_lag_ms: u64,
}

/// `[limits]`: what may be in flight in this process (beyond it the answer is 503 with `Retry-After`, and nothing was written), and how much one
/// merchant, channel or address may ask of it (beyond it 429, and nothing was read or written).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Payments, captures and cancels; default 4096, 1 to 65,536. Too low refuses while channels are merely slow; too high lets a stall fill
    /// memory, some 20 KiB a flow.
    pub payment_flows: usize,
    /// Refunds; default 1024, 1 to 65,536. Its own, so that a rush of payments never keeps money from going back.
    pub refund_flows: usize,
    /// Queries of the poller; default 256, 1 to 4096. A channel has its part of them, a quarter at least. Too low resolves unknowns slowly; too high
    /// lets them crowd the channels' room for resolving.
    pub inquiries: usize,
    /// Reads of one merchant in this process, a second; default 2000, 1 to 1,000,000. Beyond it the answer is 429. Too low refuses merchants who
    /// behave; too high lets one of them take all connections to the database.
    pub merchant_reads_per_second: u32,
    /// How many reads may come at once; default 4000, 1 to 1,000,000. Below a merchant's own burst it refuses what the average allows.
    pub merchant_reads_burst: u32,
    /// Everything else of one merchant, which is what moves money, a second; default 1000, 1 to 1,000,000. Refused requests wrote nothing.
    pub merchant_writes_per_second: u32,
    /// How many of these may come at once; default 2000, 1 to 1,000,000.
    pub merchant_writes_burst: u32,
    /// Notifications for one channel, a second; default 1000, 1 to 1,000,000. Counted before their signature is looked at. Too low makes providers
    /// repeat them for hours; payments are then resolved by asking.
    pub notifications_per_second: u32,
    /// How many of these may come at once; default 2000, 1 to 1,000,000.
    pub notifications_burst: u32,
    /// Failures of one address, a minute, each kind for itself: keys and tokens that are not known, and for each channel notifications with a wrong
    /// signature; default 60, 1 to 1,000,000. An address that fails more often is answered 429 unseen until it may fail again. Too low shuts
    /// out an office in which one key was mistyped; too high lets guesses and forgeries cost work.
    pub failures_per_minute: u32,
    /// How many failures may come at once; default 100, 1 to 1,000,000.
    pub failures_burst: u32,
}

/// `[poller]`: who looks for attempts that are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollerSettings {
    /// Between two sweeps, in ms; default 250, 10 to 60,000. Too low is load on the database for nothing; too high is added to every unknown's
    /// age.
    pub sweep_every_ms: u64,
    /// Attempts that one sweep takes; default 64, 1 to 1000. More than can be asked within `lease_ms` comes back and is asked twice.
    pub batch: u32,
    /// How long an attempt is ours once taken, in ms; default 15,000, 1000 to 600,000, longer than every channel's `timeout_ms`. Too low, and two
    /// processes ask about the same attempt; too high, and those of a killed process wait as long.
    pub lease_ms: u64,
}

/// `[webhooks]`: who tells merchants what happened.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Whether endpoints may be in private networks, and at loopback; default false. True lets every merchant make this process send POSTs into
    /// the network that it stands in: for a demo, or where all merchants are in that network themselves.
    pub allow_private: bool,
    /// What signing secrets are sealed under in the database, a secret's source of 32 characters or more; default none: they are sealed under a key
    /// that lies in the database too. It may be added at any time. Changed, it needs `previous_sealing_key` until all is sealed anew; removed, what
    /// was sealed under it must be rotated.
    pub sealing_key: Option<SecretString>,
    /// The key before that, likewise; default none. It only opens: with it set, `breakwater webhooks reseal` seals anew, and then it may go. Without
    /// it after a change, what is not yet sealed anew stays shut, and is not signed.
    pub previous_sealing_key: Option<SecretString>,
    /// Between two rounds, in ms; default 250, 10 to 60,000. Too low is load on the database for nothing; too high is added to every webhook's
    /// delay.
    pub sweep_every_ms: u64,
    /// How long an endpoint may take to answer, in ms; default 15,000, 50 to 60,000. Too low repeats what slow endpoints have taken already; too
    /// high lets them hold their places for longer.
    pub timeout_ms: u64,
    /// Deliveries under way in this process; default 256, 1 to 4096. Too low delays all when many endpoints stall; too high takes sockets and
    /// memory.
    pub in_flight: usize,
    /// Deliveries under way to one endpoint; default 8, 1 to 64. At 1 a distant endpoint falls behind; too high overruns small ones.
    pub per_endpoint: u32,
    /// Connections to the database for all this, beside the others; default 4, 1 to 64. Too low delays webhooks, and only those.
    pub connections: usize,
}

/// `[operations]`: what the people who run this installation may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationsSettings {
    /// Minor units, of whatever currency, of an unknown outcome that one operator may resolve alone; default 100,000, 0 to 10^12. Above it a
    /// second person must say the same. At 0 everything needs two; too high lets one person declare much money paid.
    pub resolve_alone_up_to: i64,
}

/// `[log]`: what goes to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// `error`, `warn`, `info`, `debug` or `trace`, for this crate; default `info`. Libraries are held at `warn` whatever is said here, because at
    /// `debug` some of them print what must not be in a log. `error` hides restarts of channels; `trace` is for a desk.
    pub level: Level,
    /// `json`, a line an event for a collector, or `text` for people; default `json`.
    pub format: LogFormat,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            operations_listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9090))),
            workers: 2,
            answer_within_ms: 10_000,
            deadline_ms: 30_000,
            public_url: None,
            shutdown_grace_ms: 30_000,
            trusted_proxies: Vec::new(),
            tls: None,
            operations_tls: None,
            roles: Parts::all(),
            instances: 1,
        }
    }
}

impl Default for DatabaseSettings {
    /// Without an address, which has no sensible default.
    fn default() -> Self {
        Self {
            url: SecretString::default(),
            journal_connections: 2,
            read_connections: 16,
            channel_connections: 2,
            max_wait_ms: 5_000,
            replica_url: None,
            replica_connections: 8,
            replica_max_lag_ms: 2_000,
        }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            payment_flows: 4_096,
            refund_flows: 1_024,
            inquiries: 256,
            merchant_reads_per_second: 2_000,
            merchant_reads_burst: 4_000,
            merchant_writes_per_second: 1_000,
            merchant_writes_burst: 2_000,
            notifications_per_second: 1_000,
            notifications_burst: 2_000,
            failures_per_minute: 60,
            failures_burst: 100,
        }
    }
}

impl Default for PollerSettings {
    fn default() -> Self {
        Self { sweep_every_ms: 250, batch: 64, lease_ms: 15_000 }
    }
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            allow_private: false,
            sealing_key: None,
            previous_sealing_key: None,
            sweep_every_ms: 250,
            timeout_ms: 15_000,
            in_flight: 256,
            per_endpoint: 8,
            connections: 4,
        }
    }
}

impl Default for OperationsSettings {
    fn default() -> Self {
        Self { resolve_alone_up_to: 100_000 }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: Level::INFO, format: LogFormat::Json }
    }
}

impl Settings {
    /// Reads the file at `path`, with this process's environment and this build's providers.
    ///
    /// # Errors
    /// Every fault at once, in the order of the file's sections; never empty.
    pub fn load(path: &Path) -> Result<Self, Vec<Fault>> {
        let origin = path.display().to_string();
        let text = read_file(path, &origin)?;
        Self::from_toml(&text, &origin, &|name| std::env::var(name).ok())
    }

    /// The database's address alone, as [`Settings::load`] would find it, for those who administer the database and may not have the channels'
    /// secrets. Nothing else of the file is looked at.
    ///
    /// # Errors
    /// Every fault of `[database]`, or the one of a file that cannot be read; never empty.
    pub fn load_database_url(path: &Path) -> Result<SecretString, Vec<Fault>> {
        let origin = path.display().to_string();
        let text = read_file(path, &origin)?;
        let faults = Faults::of(&origin);
        let env = |name: &str| std::env::var(name).ok();
        let settings = parse(&text, &faults).map(|table| database(Section::new(String::new(), table, &faults).section("database"), &env, &faults));
        let found = faults.into_found();
        match settings {
            Some(settings) if found.is_empty() => Ok(settings.url),
            _ => Err(found),
        }
    }

    /// The database's address and `[webhooks]` alone, for whoever seals secrets anew and may not have the channels'.
    ///
    /// # Errors
    /// Every fault of the two sections, or the one of a file that cannot be read; never empty.
    pub fn load_webhooks(path: &Path) -> Result<(SecretString, WebhookSettings), Vec<Fault>> {
        let origin = path.display().to_string();
        let text = read_file(path, &origin)?;
        let faults = Faults::of(&origin);
        let env = |name: &str| std::env::var(name).ok();
        let read = parse(&text, &faults).map(|table| {
            let mut file = Section::new(String::new(), table, &faults);
            (database(file.section("database"), &env, &faults).url, webhooks(file.section("webhooks"), &env, &faults))
        });
        let found = faults.into_found();
        match read {
            Some(read) if found.is_empty() => Ok(read),
            _ => Err(found),
        }
    }

    /// `[cards]` alone, for whoever seals card numbers anew and may not have the channels' secrets.
    ///
    /// # Errors
    /// Every fault of the section, or the one of a file that cannot be read; never empty.
    pub fn load_cards(path: &Path) -> Result<CardSettings, Vec<Fault>> {
        let origin = path.display().to_string();
        let text = read_file(path, &origin)?;
        let faults = Faults::of(&origin);
        let env = |name: &str| std::env::var(name).ok();
        let read = parse(&text, &faults).map(|table| CardSettings::read(Section::new(String::new(), table, &faults).section("cards"), &env, &faults));
        let found = faults.into_found();
        match read {
            Some(read) if found.is_empty() => Ok(read),
            _ => Err(found),
        }
    }

    /// Reads `text`, which came from the file `origin`: the name in faults, and where relative paths of secrets start. `env` is the environment.
    ///
    /// # Errors
    /// Every fault at once, in the order of the file's sections; never empty.
    pub fn from_toml(text: &str, origin: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<Fault>> {
        let faults = Faults::of(origin);
        let settings = Self::read(text, env, &ProviderDefaults::find, &faults);
        let found = faults.into_found();
        if found.is_empty() { Ok(settings) } else { Err(found) }
    }

    /// Reads what can be read, and reports the rest to `faults`; the providers are a parameter so that tests need none.
    fn read(text: &str, env: &dyn Fn(&str) -> Option<String>, provider: &dyn Fn(&str) -> Option<ProviderDefaults>, faults: &Faults<'_>) -> Self {
        let Some(table) = parse(text, faults) else { return Self::default() };
        let mut file = Section::new(String::new(), table, faults);
        let settings = Self {
            server: server(file.section("server"), faults),
            database: database(file.section("database"), env, faults),
            limits: limits(file.section("limits")),
            poller: poller(file.section("poller")),
            webhooks: webhooks(file.section("webhooks"), env, faults),
            operations: operations(file.section("operations")),
            alerts: AlertSettings::read(file.section("alerts"), env, faults),
            log: log(file.section("log")),
            cards: CardSettings::read(file.section("cards"), env, faults),
            channels: channels(&mut file, env, provider, faults),
        };
        for channel in &settings.channels {
            let takes_cards = channel.methods.as_ref().map_or_else(
                || provider(&channel.provider).is_some_and(|known| known.methods.contains(&MethodKind::Card)),
                |methods| methods.contains(&MethodKind::Card),
            );
            if takes_cards && settings.cards.sealing_keys.is_empty() {
                let what = format!("there is no key, and channel {} takes card numbers, which must be sealed", channel.id);
                faults.add(
                    "cards.sealing_keys",
                    what,
                    "make a key with: openssl rand -hex 32; then give its { env = \"NAME\" } or { file = \"/path\" }",
                );
            }
            if channel.timeout_ms >= settings.poller.lease_ms {
                let what = format!("it is {}, and the timeout_ms of channel {} is {}", settings.poller.lease_ms, channel.id, channel.timeout_ms);
                faults.add("poller.lease_ms", what, "raise it above every channel's timeout_ms, or two processes may ask about one attempt at once");
            }
            let parts = crate::provider::find(&channel.provider).map(|provider| channel.guard_of(provider, settings.server.instances));
            for fault in parts.and_then(Result::err).unwrap_or_default() {
                let (field, what) = fault.split_once(" is ").unwrap_or(("max_in_flight", fault.as_str()));
                let next =
                    "lower server.instances, or raise it as far as contract and pool_size allow; left out, a rate is what the provider documents";
                faults.add(format!("channels[{}].guard.{field}", channel.id), format!("it is {what}"), next);
            }
        }
        file.end();
        settings
    }
}

fn read_file(path: &Path, origin: &str) -> Result<String, Vec<Fault>> {
    std::fs::read_to_string(path).map_err(|error| {
        vec![Fault {
            file: origin.to_owned(),
            field: String::new(),
            what: format!("it cannot be read: {error}"),
            next: "name another file with --config, or write one with: breakwater config example".to_owned(),
        }]
    })
}

/// The file's tables, or a fault and nothing.
fn parse(text: &str, faults: &Faults<'_>) -> Option<Table> {
    match toml::from_str::<Table>(text) {
        Ok(table) => Some(table),
        Err(error) => {
            // Its own rendering repeats the line, which may hold a secret.
            let line = error.span().map_or(0, |span| text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count() + 1);
            faults.add("", format!("line {line} is not TOML: {}", error.message()), "correct it; nothing else was looked at");
            None
        }
    }
}

fn server(mut section: Section<'_>, faults: &Faults<'_>) -> ServerSettings {
    const NETWORK: &str = "give a network or an address, such as \"10.0.0.0/8\" or \"::1\"";
    const ROLES: &str = "use some of payment, refund, poller, notifier, ops, or leave it out for all";
    const ADDRESS: &str = "give an address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
    let default = ServerSettings::default();
    let listen = section.parsed("listen", ADDRESS, |text| text.parse().ok()).unwrap_or(default.listen);
    let operations = section.parsed("operations_listen", ADDRESS, |text| text.parse::<SocketAddr>().ok());
    let on_main = section.flag("operations_on_main", false);
    if on_main && operations.is_some() {
        section.fault("operations_on_main", "it is true, and operations_listen is given too", "remove one of the two");
    }
    let operations_listen = if on_main { None } else { operations.or(default.operations_listen) };
    if operations_listen == Some(listen) && listen.port() != 0 {
        section.fault("operations_listen", "it is the same as listen", "choose another port, or say operations_on_main = true");
    }
    let (folder, now) = (Path::new(faults.file()).parent().unwrap_or(Path::new("")), Clock::system().wall());
    let settings = ServerSettings {
        listen,
        operations_listen,
        workers: section.number("workers", default.workers, 1, 64),
        answer_within_ms: section.number("answer_within_ms", default.answer_within_ms, 0, 60_000),
        deadline_ms: section.number("deadline_ms", default.deadline_ms, 1, 600_000),
        public_url: section.parsed("public_url", "give scheme and host, such as \"https://pay.example.com\"", public_url),
        shutdown_grace_ms: section.number("shutdown_grace_ms", default.shutdown_grace_ms, 0, 600_000),
        trusted_proxies: section.parsed_list("trusted_proxies", NETWORK, Network::parse).unwrap_or_default(),
        tls: certificate::read(section.section("tls"), folder, now),
        operations_tls: certificate::read(section.section("operations_tls"), folder, now),
        roles: section.parsed_list("roles", ROLES, |text| text.parse::<Part>().ok()).map_or(default.roles, |parts| parts.into_iter().collect()),
        instances: section.number("instances", default.instances, 1, 64),
    };
    if settings.roles.are_none() {
        section.fault("roles", "there is none", ROLES);
    }
    if settings.operations_tls.is_some() && settings.operations_listen.is_none() {
        section.fault(
            "operations_tls",
            "operators have no listener of their own",
            "remove it: operations_on_main serves them on listen, with its [server.tls]",
        );
    }
    if settings.deadline_ms < settings.answer_within_ms {
        let what = format!("it is {}, below answer_within_ms, which is {}", settings.deadline_ms, settings.answer_within_ms);
        section.fault("deadline_ms", what, "raise it, or lower answer_within_ms: nobody needs to wait for a flow that has ended");
    }
    section.end();
    settings
}

fn public_url(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let sound = matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none() && !uri.authority()?.as_str().contains('@');
    sound.then(|| text.trim_end_matches('/').to_owned())
}

fn database(mut section: Section<'_>, env: &dyn Fn(&str) -> Option<String>, faults: &Faults<'_>) -> DatabaseSettings {
    const FORM: &str = "give postgres://user@host:5432/name, a literal, { env = \"NAME\" } or { file = \"/path\" }";
    let default = DatabaseSettings::default();
    let url = match section.take("url") {
        Some(value) => secret::read(&value, &section.place("url"), Sources { env, literal: true }, faults),
        None => {
            let url = env(DATABASE_URL).filter(|url| !url.trim().is_empty()).map(SecretString::from);
            if url.is_none() {
                section.missing("url", &format!("{FORM}, or set {DATABASE_URL}"));
            }
            url
        }
    };
    // The parser's own message may repeat a part of the address, which may hold a password.
    if url.as_ref().is_some_and(|url| tokio_postgres::Config::from_str(url.expose_secret()).is_err()) {
        section.fault("url", "it is not an address of a Postgres database", FORM);
    }
    let replica_url =
        section.take("replica_url").and_then(|value| secret::read(&value, &section.place("replica_url"), Sources { env, literal: true }, faults));
    if replica_url.as_ref().is_some_and(|url| tokio_postgres::Config::from_str(url.expose_secret()).is_err()) {
        section.fault("replica_url", "it is not an address of a Postgres database", FORM);
    }
    let settings = DatabaseSettings {
        url: url.unwrap_or_default(),
        journal_connections: section.number("journal_connections", default.journal_connections, 2, 16),
        read_connections: section.number("read_connections", default.read_connections, 1, 256),
        channel_connections: section.number("channel_connections", default.channel_connections, 1, 16),
        max_wait_ms: section.number("max_wait_ms", default.max_wait_ms, 10, 60_000),
        replica_url,
        replica_connections: section.number("replica_connections", default.replica_connections, 1, 256),
        replica_max_lag_ms: section.number("replica_max_lag_ms", default.replica_max_lag_ms, 500, 600_000),
    };
    section.end();
    settings
}

fn limits(mut section: Section<'_>) -> LimitSettings {
    let default = LimitSettings::default();
    let settings = LimitSettings {
        payment_flows: section.number("payment_flows", default.payment_flows, 1, 65_536),
        refund_flows: section.number("refund_flows", default.refund_flows, 1, 65_536),
        inquiries: section.number("inquiries", default.inquiries, 1, 4_096),
        merchant_reads_per_second: section.number("merchant_reads_per_second", default.merchant_reads_per_second, 1, MILLION),
        merchant_reads_burst: section.number("merchant_reads_burst", default.merchant_reads_burst, 1, MILLION),
        merchant_writes_per_second: section.number("merchant_writes_per_second", default.merchant_writes_per_second, 1, MILLION),
        merchant_writes_burst: section.number("merchant_writes_burst", default.merchant_writes_burst, 1, MILLION),
        notifications_per_second: section.number("notifications_per_second", default.notifications_per_second, 1, MILLION),
        notifications_burst: section.number("notifications_burst", default.notifications_burst, 1, MILLION),
        failures_per_minute: section.number("failures_per_minute", default.failures_per_minute, 1, MILLION),
        failures_burst: section.number("failures_burst", default.failures_burst, 1, MILLION),
    };
    section.end();
    settings
}

fn poller(mut section: Section<'_>) -> PollerSettings {
    let default = PollerSettings::default();
    let settings = PollerSettings {
        sweep_every_ms: section.number("sweep_every_ms", default.sweep_every_ms, 10, 60_000),
        batch: section.number("batch", default.batch, 1, 1_000),
        lease_ms: section.number("lease_ms", default.lease_ms, 1_000, HOUR_MS / 6),
    };
    section.end();
    settings
}

fn webhooks(mut section: Section<'_>, env: &dyn Fn(&str) -> Option<String>, faults: &Faults<'_>) -> WebhookSettings {
    let default = WebhookSettings::default();
    // They guard what may be live merchants' secrets, so they never stand in the file itself.
    let mut key = |field| {
        let key = section.take(field).and_then(|value| secret::read(&value, &section.place(field), Sources { env, literal: false }, faults));
        if key.as_ref().is_some_and(|key| key.expose_secret().len() < SEALING_KEY_LEAST) {
            section.fault(field, "it is shorter than 32 characters", "make one with: openssl rand -base64 32");
        }
        key
    };
    let (sealing_key, previous_sealing_key) = (key("sealing_key"), key("previous_sealing_key"));
    let settings = WebhookSettings {
        allow_private: section.flag("allow_private", default.allow_private),
        sealing_key,
        previous_sealing_key,
        sweep_every_ms: section.number("sweep_every_ms", default.sweep_every_ms, 10, 60_000),
        timeout_ms: section.number("timeout_ms", default.timeout_ms, 50, 60_000),
        in_flight: section.number("in_flight", default.in_flight, 1, 4_096),
        per_endpoint: section.number("per_endpoint", default.per_endpoint, 1, 64),
        connections: section.number("connections", default.connections, 1, 64),
    };
    section.end();
    settings
}

fn operations(mut section: Section<'_>) -> OperationsSettings {
    let default = OperationsSettings::default();
    let settings =
        OperationsSettings { resolve_alone_up_to: section.number("resolve_alone_up_to", default.resolve_alone_up_to, 0, 1_000_000_000_000) };
    section.end();
    settings
}

fn log(mut section: Section<'_>) -> LogSettings {
    let default = LogSettings::default();
    let settings = LogSettings {
        level: section.parsed("level", "use error, warn, info, debug or trace", level).unwrap_or(default.level),
        format: section.parsed("format", "use json or text", LogFormat::parse).unwrap_or(default.format),
    };
    section.end();
    settings
}

/// The names alone: the library's own parser also takes digits and capitals.
fn level(text: &str) -> Option<Level> {
    match text {
        "error" => Some(Level::ERROR),
        "warn" => Some(Level::WARN),
        "info" => Some(Level::INFO),
        "debug" => Some(Level::DEBUG),
        "trace" => Some(Level::TRACE),
        _ => None,
    }
}

fn channels(
    file: &mut Section<'_>,
    env: &dyn Fn(&str) -> Option<String>,
    provider: &dyn Fn(&str) -> Option<ProviderDefaults>,
    faults: &Faults<'_>,
) -> Vec<ChannelSettings> {
    let mut channels: Vec<ChannelSettings> = Vec::new();
    for (index, value) in file.list("channels").unwrap_or_default().into_iter().enumerate() {
        let Value::Table(table) = value else {
            file.wrong_type(&format!("channels[{index}]"), "a table: begin it with [[channels]]", &value);
            continue;
        };
        // A channel is named by its id, or by its place when it has none that may be one.
        let named = table.get("id").and_then(Value::as_str).filter(|id| channel::is_id(id)).map(str::to_owned);
        let place = format!("channels[{}]", named.as_deref().unwrap_or(&index.to_string()));
        let channel = ChannelSettings::read(Section::new(place.clone(), table, faults), env, provider, faults);
        if named.is_some() && channels.iter().any(|earlier| earlier.id == channel.id) {
            faults.add(format!("{place}.id"), "another channel has this id already", "rename one of the two: rows, addresses and metrics go by it");
        }
        channels.push(channel);
    }
    channels
}

//! The settings: one TOML file, read once at start, wrong in as many places as it likes and told so all at once.
//!
//! What it refuses to do: guess. An unknown field, a number out of range, a channel twice, a secret that is not there, a live key on a test
//! channel: each is a [`Fault`] with file, field, what and what to do, and with any of them nothing starts. Secrets come from the environment
//! or from files; the settings file itself may hold them only for test channels.
//!
//! ```text
//! mod.rs      Settings, of all sections; load, from_toml
//! server.rs, database.rs, limits.rs, poller.rs, webhooks.rs, operations.rs, alerts.rs, log.rs, cards.rs
//!             a section each: its fields with default, unit and what breaks at the extremes, and how they are read
//! channel.rs  one [[channels]] table           secret.rs   { env = … }, { file = … }
//! reload.rs   what a change of the file means to a process that runs
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
mod database;
mod fault;
mod limits;
mod log;
mod operations;
mod poller;
mod reload;
mod secret;
mod section;
mod server;
#[cfg(test)]
mod tests;
mod webhooks;

use std::path::Path;

use secrecy::SecretString;
use toml::{Table, Value};

pub use self::alerts::AlertSettings;
pub use self::cards::CardSettings;
pub use self::certificate::CertificateFiles;
pub use self::channel::{ChannelSettings, Mode, ProviderDefaults};
pub use self::database::{DATABASE_URL, DatabaseSettings};
pub use self::fault::Fault;
use self::fault::Faults;
pub use self::limits::LimitSettings;
pub use self::log::LogSettings;
pub use self::operations::OperationsSettings;
pub use self::poller::PollerSettings;
pub use self::reload::Differences;
use self::section::Section;
pub use self::server::ServerSettings;
pub use self::webhooks::WebhookSettings;
use crate::domain::MethodKind;
pub use crate::telemetry::LogFormat;
pub use tracing::Level;

/// A documented settings file with every field: each at its default, beside one channel to fill in.
pub const EXAMPLE: &str = include_str!("example.toml");

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
        let settings =
            parse(&text, &faults).map(|table| DatabaseSettings::read(Section::new(String::new(), table, &faults).section("database"), &env, &faults));
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
            (DatabaseSettings::read(file.section("database"), &env, &faults).url, WebhookSettings::read(file.section("webhooks"), &env, &faults))
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
            server: ServerSettings::read(file.section("server"), faults),
            database: DatabaseSettings::read(file.section("database"), env, faults),
            limits: LimitSettings::read(file.section("limits")),
            poller: PollerSettings::read(file.section("poller")),
            webhooks: WebhookSettings::read(file.section("webhooks"), env, faults),
            operations: OperationsSettings::read(file.section("operations")),
            alerts: AlertSettings::read(file.section("alerts"), env, faults),
            log: LogSettings::read(file.section("log")),
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

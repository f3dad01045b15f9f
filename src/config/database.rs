//! `[database]`: its address, that of a replica, and the pools.

use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};

use super::fault::Faults;
use super::secret::{self, Sources};
use super::section::Section;

/// The environment variable that gives the database's address when the file does not.
pub const DATABASE_URL: &str = "BREAKWATER_DATABASE_URL";

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

impl DatabaseSettings {
    pub(super) fn read(mut section: Section<'_>, env: &dyn Fn(&str) -> Option<String>, faults: &Faults<'_>) -> Self {
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
}

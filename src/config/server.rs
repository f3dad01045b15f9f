//! `[server]`: the addresses of the REST API and of operations, its patience, and which part of the work this process takes on.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use http::Uri;

use super::certificate::{self, CertificateFiles};
use super::fault::Faults;
use super::section::Section;
use crate::clock::Clock;
use crate::domain::{Network, Part, Parts};

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

impl ServerSettings {
    pub(super) fn read(mut section: Section<'_>, faults: &Faults<'_>) -> Self {
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
}

pub(super) fn public_url(text: &str) -> Option<String> {
    let uri: Uri = text.parse().ok()?;
    let sound = matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none() && !uri.authority()?.as_str().contains('@');
    sound.then(|| text.trim_end_matches('/').to_owned())
}

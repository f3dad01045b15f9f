//! `[webhooks]`: how merchants are told, and under what their signing secrets lie.

use secrecy::{ExposeSecret, SecretString};

use super::fault::Faults;
use super::secret::{self, Sources};
use super::section::Section;

/// Characters of a sealing key, at least.
const SEALING_KEY_LEAST: usize = 32;

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

impl WebhookSettings {
    pub(super) fn read(mut section: Section<'_>, env: &dyn Fn(&str) -> Option<String>, faults: &Faults<'_>) -> Self {
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
}

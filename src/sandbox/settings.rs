//! What the sandbox is told at its start. Every field has a default; all that is wrong is reported at once.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// One configured account at a provider: a channel, seen from the other side.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSettings {
    /// The channel's id, as the orchestrator names it: lower-case letters, digits and `_`, at most 64.
    pub id: String,
    /// The provider; `stripe` unless said, and the only one so far.
    #[serde(default = "stripe")]
    pub provider: String,
    /// What requests must carry; begins with `sk_test_`.
    pub secret_key: String,
    /// What notifications are signed with; begins with `whsec_`.
    pub webhook_secret: String,
    /// The port; 0 takes the one of the last run, or any.
    #[serde(default)]
    pub port: u16,
}

fn stripe() -> String {
    "stripe".to_owned()
}

impl AccountSettings {
    /// A Stripe account with keys made from its id: for tests and demos.
    pub fn stripe(id: &str) -> Self {
        Self { id: id.to_owned(), provider: stripe(), secret_key: format!("sk_test_{id}"), webhook_secret: format!("whsec_{id}"), port: 0 }
    }
}

/// What [`super::Sandbox::start`] is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxSettings {
    /// The address of every listener; loopback unless said, because the control routes ask for no key.
    pub listen: IpAddr,
    /// The control listener's port; 0 takes the one of the last run, or any.
    pub control_port: u16,
    /// Where journals, ports and the lock lie; made when it is not there.
    pub data_dir: PathBuf,
    /// The accounts; `stripe_main` and `stripe_backup` unless said.
    pub accounts: Vec<AccountSettings>,
    /// How long after opening the page a customer pays, in milliseconds; 0 = never by themselves.
    pub pay_after_ms: u64,
    /// How long a refund of …07 stays pending; zero lets it succeed at once.
    pub pending_refund: Duration,
    /// How old a payment must be before search finds it, in milliseconds.
    pub search_lag_ms: u64,
    /// Alone for this long, the sandbox ends by itself; `None` = never.
    pub linger: Option<Duration>,
    /// Whether notifications are sent at all.
    pub notifications: bool,
    /// Where notifications go from the start; `PUT /_control/_orchestrator` replaces it.
    pub notify_url: Option<String>,
    /// The orchestrator's process from the start; `PUT /_control/_orchestrator` replaces it.
    pub orchestrator_pid: Option<u32>,
    /// Seeds the dice of the faults; `None` takes other dice each time.
    pub seed: Option<u64>,
}

impl SandboxSettings {
    /// The defaults, with everything kept in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            control_port: 0,
            data_dir: data_dir.into(),
            accounts: vec![AccountSettings::stripe("stripe_main"), AccountSettings::stripe("stripe_backup")],
            pay_after_ms: 2_000,
            pending_refund: Duration::from_secs(60),
            search_lag_ms: 2_000,
            linger: None,
            notifications: true,
            notify_url: None,
            orchestrator_pid: None,
            seed: None,
        }
    }

    /// Everything that is wrong, a sentence each; empty when nothing is.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.accounts.is_empty() {
            complaints.push("there must be at least one account".to_owned());
        }
        for (nth, account) in self.accounts.iter().enumerate() {
            let id = &account.id;
            // The id names a file and a segment of a path; a leading `_` is kept for the control routes.
            let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            if id.is_empty() || id.len() > 64 || id.starts_with('_') || !id.bytes().all(sound) {
                complaints.push(format!("account id {id:?} must be 1 to 64 lower-case letters, digits and _, and not begin with _"));
            }
            if self.accounts[..nth].iter().any(|earlier| earlier.id == *id) {
                complaints.push(format!("account id {id:?} is there twice"));
            }
            if account.provider != "stripe" {
                complaints.push(format!("account {id}: provider {:?} is not known; stripe is", account.provider));
            }
            if !account.secret_key.starts_with("sk_test_") {
                complaints.push(format!("account {id}: secret_key must begin with sk_test_, so that a live key is never used here"));
            }
            if !account.webhook_secret.starts_with("whsec_") {
                complaints.push(format!("account {id}: webhook_secret must begin with whsec_"));
            }
        }
        complaints
    }
}

/// How an account behaves: the settings that all of them share.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// As [`SandboxSettings::pay_after_ms`].
    pub pay_after_ms: u64,
    /// As [`SandboxSettings::pending_refund`].
    pub pending_refund: Duration,
    /// As [`SandboxSettings::search_lag_ms`].
    pub search_lag_ms: u64,
    /// The seed of this account's dice.
    pub seed: u64,
}

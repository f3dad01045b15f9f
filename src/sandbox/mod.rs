//! The sandbox: the providers' side of the wire, for demo, tests and benches. Nothing in the crate above imports it but the command line, and it
//! imports nothing of the crate: it must not be able to agree with the orchestrator's mistakes.
//!
//! It speaks each provider's protocol to the byte, keeps orders, keys and an append-only [`book`] of what it charged and refunded on disk, sends
//! notifications, and fails on demand ([`fault`]). Its book is the referee: whatever the orchestrator believes, this is what happened.
//!
//! What it refuses to do: to repair. A fault that was asked for is delivered in full, and a refusal that the real provider would give is given,
//! unknown parameters and reused keys included, so that a mistake of ours shows here first.
//!
//! Invariants:
//! - a request is executed whole or not at all, and is on disk before its answer leaves: a `kill -9` of the sandbox loses neither money nor keys;
//! - no two captured charges for one payment intent, no refund over what was captured, one execution a key within a day;
//! - one listener a channel, at the same port for as long as its data directory lives, and shut only by the fault `refuse`;
//! - notifications never delay an answer.
//!
//! Where to read next: [`account`] is what every account has, [`stripe`], [`alipay`], [`wechatpay`] and [`bank`] the scripts of one request,
//! [`fault`] what can go wrong, [`listener`] how a socket misbehaves, [`control`] what can be asked and told, [`mail`] where alerts go that are nobody's.
//!
//! What the magic amounts mean on each wire is said where it is spoken; on Stripe's, by their last two digits, when they are paid: 01 `card_declined`, 02 charged and never
//! answered, 03 not charged and never answered, 04 the event is sent a hundred times, 05 charged at once and answered after 8 s, 06 the event's
//! signature is wrong; 07, when it is *refunded*, stays `pending` for a minute. "Never" is until the caller leaves, or 60 s and a reset.

pub mod account;
pub mod alipay;
pub mod bank;
pub mod book;
pub mod control;
pub mod fault;
pub mod journal;
pub mod listener;
mod lock;
pub mod mail;
pub mod notify;
pub mod opening;
pub mod proxy;
pub mod rsa;
pub mod settings;
pub mod stripe;
mod watching;
pub mod wechatpay;

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::control::{Channel, Desk};
use self::lock::Lock;
use self::mail::PostOffice;
use self::opening::Opening;
use self::watching::{Known, Orchestrator};

pub use self::account::{Account, Act, ActRefusal, Gate};
pub use self::lock::Running;
pub use self::settings::{AccountSettings, BankSettings, BankTls, Behaviour, SandboxSettings, WechatPaySettings};

/// The name of the control listener among the remembered ports; no account may begin with `_`.
const CONTROL_PORT: &str = "_control";
/// The mail catcher's.
const MAIL_PORT: &str = "_mail";

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The settings are wrong; every fault is named. Nothing was touched.
    #[error("the sandbox's settings are wrong: {}", .0.join("; "))]
    Settings(Vec<String>),
    /// Another sandbox runs on the data directory: adopt it ([`Running::find`]) or take another directory.
    #[error("another sandbox runs on {}", .data_dir.display())]
    Held {
        /// The directory.
        data_dir: PathBuf,
    },
    /// A file in the data directory cannot be used, or is damaged.
    #[error("cannot use {}", .path.display())]
    Data {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {name}")]
    Listen {
        /// The channel's id, or `_control`.
        name: String,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// A running sandbox. Dropping it ends it without grace; [`Sandbox::stop`] answers what is in flight first.
#[derive(Debug)]
pub struct Sandbox {
    desk: Arc<Desk>,
    control: ServerHandle,
    serving: Option<JoinHandle<io::Result<()>>>,
    lock: Lock,
}

impl Sandbox {
    /// Starts on the current tokio runtime, replays what the data directory remembers, and listens.
    ///
    /// # Errors
    /// As [`SandboxError`] says; whatever was started is ended then.
    pub async fn start(settings: SandboxSettings) -> Result<Self, SandboxError> {
        let complaints = settings.complaints();
        if !complaints.is_empty() {
            return Err(SandboxError::Settings(complaints));
        }
        let data = |source| SandboxError::Data { path: settings.data_dir.clone(), source };
        std::fs::create_dir_all(&settings.data_dir).map_err(data)?;
        let held = || SandboxError::Held { data_dir: settings.data_dir.clone() };
        let lock = Lock::take_to_keep(&settings.data_dir).await.map_err(data)?.ok_or_else(held)?;

        let (ending, ended) = watch::channel(false);
        let orchestrator = Arc::new(Orchestrator::default());
        orchestrator.set(Known { notify_url: settings.notify_url.clone(), pid: settings.orchestrator_pid });
        let seed = settings.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        let mut opening = Opening::new(&settings, lock.ports(), orchestrator.clone(), ended, seed);
        let control = opening.listen(CONTROL_PORT, settings.control_port)?;
        let mail = opening.listen(MAIL_PORT, 0)?;
        let mut channels = BTreeMap::new();
        for account in &settings.accounts {
            let channel = open(&mut opening, account)?;
            channels.insert(account.id.clone(), channel);
        }
        for (id, channel) in &channels {
            channel.gate.open().await.map_err(|source| SandboxError::Listen { name: id.clone(), address: channel.gate.address(), source })?;
        }
        lock.remember_ports(opening.ports()).map_err(data)?;

        let control_url = format!("http://{}", control.local_addr().map_err(data)?);
        let smtp = mail.local_addr().map_err(data)?.to_string();
        let post = Arc::new(PostOffice::default());
        post.listen(mail, ending.subscribe()).map_err(data)?;
        let desk = Arc::new(Desk { control_url, smtp, post, channels, orchestrator: orchestrator.clone(), ending: ending.clone() });
        let (server, handle) = control::serve(control, desk.clone()).map_err(data)?;
        let sandbox = Self { desk, control: handle, serving: Some(tokio::spawn(server)), lock };
        if let Some(linger) = settings.linger {
            tokio::spawn(async move { watching::end_when_alone(&orchestrator, linger, ending).await });
        }
        sandbox.publish().map_err(data)
    }

    fn publish(mut self) -> io::Result<Self> {
        let running = self.running();
        self.lock.publish(&running)?;
        Ok(self)
    }

    /// Where it is: what the CLI prints, and what the lock file says.
    pub fn running(&self) -> Running {
        let channels = self.desk.channels.iter();
        Running {
            control_url: self.desk.control_url.clone(),
            channels: channels.map(|(id, channel)| (id.clone(), channel.url.clone())).collect(),
            smtp: Some(self.desk.smtp.clone()),
            pid: std::process::id(),
        }
    }

    /// The base of the control routes, without a slash at the end.
    pub fn control_url(&self) -> &str {
        &self.desk.control_url
    }

    /// The base of a channel's wire, without a slash at the end; `None` when there is no such channel.
    pub fn channel_url(&self, channel: &str) -> Option<&str> {
        self.desk.channels.get(channel).map(|channel| channel.url.as_str())
    }

    /// Returns when the sandbox was told to end, or is alone for too long. The caller then calls [`Sandbox::stop`].
    pub async fn ended(&self) {
        let mut ending = self.desk.ending.subscribe();
        // The sender lives in our own desk, so this cannot fail before it is told.
        let _ = ending.wait_for(|ending| *ending).await;
    }

    /// Stops listening, answers what is in flight within a second, and gives up the lock. What is on disk is whole at any time.
    pub async fn stop(mut self) {
        self.desk.ending.send_replace(true);
        futures_util::future::join_all(self.desk.channels.values().map(|channel| channel.gate.end())).await;
        self.control.stop(true).await;
        if let Some(serving) = self.serving.take() {
            let _ = serving.await;
        }
        if let Err(refusal) = self.lock.withdraw() {
            tracing::warn!(error = %refusal, "the sandbox could not clear its lock file");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.desk.ending.send_replace(true);
        // The command is sent by the call itself; nobody is here to await the end.
        drop(self.control.stop(false));
    }
}

/// Opens an account of whatever provider. The settings were checked: they name no other.
fn open(opening: &mut Opening<'_>, account: &AccountSettings) -> Result<Channel, SandboxError> {
    match account.provider.as_str() {
        "alipay" => alipay::open(opening, account),
        "iso8583" => bank::open(opening, account),
        "wechatpay" => wechatpay::open(opening, account),
        _ => stripe::open(opening, account),
    }
}

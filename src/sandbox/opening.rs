//! What a provider's module is handed to open an account: ports, files, the way to the orchestrator, and how everybody behaves.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::SandboxError;
use super::listener::Reserved;
use super::notify::{Notifier, Stamp};
use super::settings::{Behaviour, SandboxSettings};
use super::watching::Orchestrator;

/// The start of a sandbox, as far as its accounts need it.
#[derive(Debug)]
pub struct Opening<'a> {
    settings: &'a SandboxSettings,
    remembered: BTreeMap<String, u16>,
    ports: BTreeMap<String, u16>,
    orchestrator: Arc<Orchestrator>,
    ended: watch::Receiver<bool>,
    seed: u64,
    opened: u64,
}

impl<'a> Opening<'a> {
    /// With the ports of the last run, and the seed of the first account's dice.
    pub fn new(
        settings: &'a SandboxSettings,
        remembered: BTreeMap<String, u16>,
        orchestrator: Arc<Orchestrator>,
        ended: watch::Receiver<bool>,
        seed: u64,
    ) -> Self {
        Self { settings, remembered, ports: BTreeMap::new(), orchestrator, ended, seed, opened: 0 }
    }

    /// Takes the wished port for `name`, or the one of the last run, or any, without listening yet. `name` is an account's id; an account with
    /// several addresses adds `.` and a word.
    ///
    /// # Errors
    /// When the wished port is taken.
    pub fn reserve(&mut self, name: &str, wished: u16) -> Result<Reserved, SandboxError> {
        self.bind(name, wished, |address| {
            let reserved = Reserved::at(address)?;
            Ok((reserved.address(), reserved))
        })
    }

    /// As [`Opening::reserve`], and listens.
    ///
    /// # Errors
    /// When the wished port is taken.
    pub fn listen(&mut self, name: &str, wished: u16) -> Result<TcpListener, SandboxError> {
        self.bind(name, wished, |address| {
            let listener = TcpListener::bind(address)?;
            Ok((listener.local_addr()?, listener))
        })
    }

    /// An account's way to the orchestrator, signed by `stamp`.
    pub fn notifier(&self, id: &str, stamp: Arc<dyn Stamp>) -> Notifier {
        Notifier::start(id, stamp, self.orchestrator.clone(), self.settings.notifications, self.ended.clone())
    }

    /// How an account behaves; each asks once and gets dice of its own.
    pub fn behaviour(&mut self) -> Behaviour {
        let seed = self.seed.wrapping_add(self.opened);
        self.opened += 1;
        Behaviour {
            pay_after_ms: self.settings.pay_after_ms,
            pending_refund: self.settings.pending_refund,
            search_lag_ms: self.settings.search_lag_ms,
            seed,
        }
    }

    /// A file in the data directory: `{id}.journal`, say.
    pub fn file(&self, name: &str) -> PathBuf {
        self.settings.data_dir.join(name)
    }

    /// Turns true when the sandbox ends.
    pub fn ended(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }

    /// The ports that were taken, to be remembered.
    pub fn ports(&self) -> &BTreeMap<String, u16> {
        &self.ports
    }

    /// Only a wished port that is taken is an error.
    fn bind<T>(&mut self, name: &str, wished: u16, bind: impl Fn(SocketAddr) -> io::Result<(SocketAddr, T)>) -> Result<T, SandboxError> {
        let at = |port| SocketAddr::new(self.settings.listen, port);
        let bound = match (wished, self.remembered.get(name)) {
            (0, Some(port)) => bind(at(*port)).or_else(|_| bind(at(0))),
            (wished, _) => bind(at(wished)),
        };
        let (address, bound) = bound.map_err(|source| SandboxError::Listen { name: name.to_owned(), address: at(wished), source })?;
        self.ports.insert(name.to_owned(), address.port());
        Ok(bound)
    }
}

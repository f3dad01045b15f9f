//! The stage of a run: a private Postgres, the third parties behind proxies of ours, and one or several `breakwater serve`. Everything of it is started here, is known by its process id, and ends with it.
//!
//! Its functions block, and belong to the thread that made it: a private cluster ends with the thread that started it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use super::super::client;
use super::super::credential::{Credential, hex, random};
use super::certificates::Certificates;
use super::pair::Pair;
use super::process::{Process, last_lines, log_of, program};
use super::roll;
use super::third_parties::ThirdParties;
use crate::clock::Clock;
use crate::cluster::{Cluster, ClusterOptions};
use crate::crash::{CRASH_AT, CrashAt};
use crate::store::{PoolSizes, Store};

/// The settings that each process is started with.
const SETTINGS: &str = include_str!("../../../benches/four_banks.toml");
/// A lease lasts for so many timeouts of a call: what a dead process held should not wait for long, and what a living one asks about be asked once.
const LEASE_TIMEOUTS: u64 = 3;
const DATABASE: &str = "breakwater";
/// How long a process may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What a stage is made from.
#[derive(Clone, Copy, Debug)]
pub struct Props {
    /// Processes that serve.
    pub processes: usize,
    /// Merchants, each with a key.
    pub merchants: usize,
    /// What one merchant may send a second.
    pub writes_per_second: u32,
    /// The channel that is hit.
    pub victim: &'static str,
    /// How long one call of a channel may take, in milliseconds.
    pub timeout_ms: u64,
    /// Seeds the sandbox's dice, those of the wires, and who is killed.
    pub seed: u64,
    /// Two databases instead of one: how long after its primary was lost the standby is promoted.
    pub promote_after: Option<Duration>,
}

/// The stage. Fields drop in this order: first who talks to the database.
#[derive(Debug)]
pub struct Stage {
    servers: Vec<Option<Process>>,
    third_parties: ThirdParties,
    cluster: Option<Cluster>,
    pair: Option<Pair>,
    addresses: Vec<SocketAddr>,
    keys: Vec<String>,
    viewer: String,
    card_key: String,
    certificates: Certificates,
    folder: PathBuf,
    props: Props,
    /// Who is killed next.
    dice: u64,
}

impl Stage {
    /// Builds it in `folder`, which must be there.
    ///
    /// # Errors
    /// A sentence, with the end of the log where there is one. What was started is ended.
    pub fn build(folder: &Path, props: Props, runtime: &Runtime) -> Result<Self, String> {
        let (cluster, pair) = match props.promote_after {
            Some(promote_after) => (None, Some(Pair::start(folder, DATABASE, promote_after, runtime)?)),
            None => {
                let cluster = Cluster::start(&folder.join("postgres"), &ClusterOptions::default()).map_err(|error| error.to_string())?;
                cluster.ensure_database(DATABASE).map_err(|error| error.to_string())?;
                (Some(cluster), None)
            }
        };
        let addresses = (0..props.processes).map(|_| free_address()).collect::<Result<Vec<_>, _>>()?;
        let certificates = Certificates::make(folder)?;
        let third_parties = ThirdParties::start(folder, addresses[0], &props, &certificates, runtime)?;
        let card_key = hex(&random()?);
        let servers = addresses.iter().map(|_| None).collect();
        let mut stage = Self {
            servers,
            third_parties,
            cluster,
            pair,
            addresses,
            keys: Vec::new(),
            viewer: String::new(),
            card_key,
            certificates,
            folder: folder.to_owned(),
            dice: props.seed,
            props,
        };
        for nth in 0..props.processes {
            stage.start_server(nth, None)?;
            stage.wait_for_server(nth, runtime)?;
        }
        (stage.keys, stage.viewer) = runtime.block_on(stage.enrol())?;
        Ok(stage)
    }

    /// Where the processes listen.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// A key of each merchant.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The token of an operator who may look.
    pub fn viewer(&self) -> &str {
        &self.viewer
    }

    /// Who is at the other end of the wires.
    pub fn third_parties(&self) -> &ThirdParties {
        &self.third_parties
    }

    /// The database, by connections of its own.
    ///
    /// # Errors
    /// A sentence.
    pub async fn store(&self) -> Result<Store, String> {
        let sizes = PoolSizes { journal: 2, reads: 2, channels: 0 };
        Store::open(&self.database_url(), sizes, &tokio::runtime::Handle::current()).await.map_err(|error| error.to_string())
    }

    /// Processes that serve, dead ones included.
    pub fn processes(&self) -> usize {
        self.servers.len()
    }

    /// One of them, by the run's seed.
    pub fn draw(&mut self) -> usize {
        usize::try_from(roll(&mut self.dice) >> 8).unwrap_or(0) % self.servers.len().max(1)
    }

    /// A new process in the place of the `nth` at once; the old one dies, if it lives. The new one will die at `crash_at` by itself.
    ///
    /// # Errors
    /// A sentence.
    pub fn start_anew(&mut self, nth: usize, crash_at: Option<CrashAt>) -> Result<(), String> {
        self.kill(nth);
        self.start_server(nth, crash_at)
    }

    /// SIGKILL of the `nth` process.
    pub fn kill(&mut self, nth: usize) {
        drop(self.servers[nth].take());
    }

    /// A new process for each that is dead, but for the one that is seen to otherwise.
    ///
    /// # Errors
    /// A sentence; also when one has ended in another way than by SIGKILL.
    pub fn start_missing(&mut self, otherwise: Option<usize>) -> Result<(), String> {
        for nth in 0..self.servers.len() {
            if otherwise != Some(nth) && self.has_died(nth)? {
                self.start_anew(nth, None)?;
            }
        }
        Ok(())
    }

    /// Whether the `nth` process is dead: by our hand, or because it has killed itself.
    ///
    /// # Errors
    /// A sentence, with the end of its log, when it has ended in another way.
    pub fn has_died(&mut self, nth: usize) -> Result<bool, String> {
        let Some(server) = self.servers[nth].as_mut() else { return Ok(true) };
        match server.0.try_wait().map_err(|error| error.to_string())? {
            None => Ok(false),
            Some(status) if status.signal() == Some(Signal::KILL.as_raw()) => Ok(true),
            Some(status) => Err(format!("breakwater serve has ended ({status}):\n{}", last_lines(&self.folder.join(format!("serve-{nth}.log"))))),
        }
    }

    /// Until the `nth` process is ready.
    ///
    /// # Errors
    /// A sentence, with the end of its log, when it does not get there.
    pub fn wait_until_ready(&mut self, nth: usize, runtime: &Runtime) -> Result<(), String> {
        self.wait_for_server(nth, runtime)
    }

    /// For how long a process holds what it was about, when it has died.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(LEASE_TIMEOUTS * self.props.timeout_ms)
    }

    /// Every merchant is told of everything at `url`.
    ///
    /// # Errors
    /// A sentence.
    pub fn subscribe(&self, url: &str, runtime: &Runtime) -> Result<(), String> {
        let endpoints = format!("http://{}/v1/webhook_endpoints", self.addresses[0]);
        for key in &self.keys {
            let headers = [("authorization", &*format!("Bearer {key}")), ("content-type", "application/json")];
            let body = format!(r#"{{"url":"{url}"}}"#);
            let answer = runtime.block_on(client::send("POST", &endpoints, &headers, &body)).map_err(|error| error.to_string())?;
            if answer.status != 201 {
                return Err(format!("{endpoints} answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body)));
            }
        }
        Ok(())
    }

    /// SIGKILL of the postmaster, and a new one at once.
    ///
    /// # Errors
    /// A sentence.
    pub fn kill_postgres(&mut self) -> Result<(), String> {
        if let Some(cluster) = self.cluster.take() {
            let pid = i32::try_from(cluster.pid()).ok().and_then(Pid::from_raw).ok_or("the postmaster has no process id")?;
            kill_process(pid, Signal::KILL).map_err(|error| format!("the postmaster could not be killed: {error}"))?;
            // It says how the server ended, which we know.
            let _killed = cluster.stop();
        }
        self.cluster = Some(Cluster::start(&self.folder.join("postgres"), &ClusterOptions::default()).map_err(|error| error.to_string())?);
        Ok(())
    }

    /// The two databases.
    ///
    /// # Errors
    /// A sentence, when there is only one.
    pub fn pair(&self) -> Result<&Pair, String> {
        self.pair.as_ref().ok_or_else(|| "there is no standby".to_owned())
    }

    /// Whether the books hold by their own statement; why not, otherwise.
    ///
    /// # Errors
    /// A sentence.
    pub async fn integrity(&self, store: &Store) -> Result<Vec<String>, String> {
        let differences = store.integrity().await.map_err(|error| error.to_string())?;
        Ok(differences.iter().map(|difference| format!("{}: {}", difference.check, difference.found)).collect())
    }

    fn database_url(&self) -> String {
        match &self.pair {
            Some(pair) => pair.url(DATABASE),
            None => self.cluster.as_ref().map(|cluster| cluster.url(DATABASE)).unwrap_or_default(),
        }
    }

    fn start_server(&mut self, nth: usize, crash_at: Option<CrashAt>) -> Result<(), String> {
        let settings = self.folder.join(format!("serve-{nth}.toml"));
        fs::write(&settings, self.settings(self.addresses[nth])).map_err(|error| format!("{}: {error}", settings.display()))?;
        let mut command = Command::new(program()?);
        command.arg("serve").arg("--config").arg(&settings);
        command.env("BREAKWATER_DATABASE_URL", self.database_url()).env("BREAKWATER_BENCH_CARD_KEY", &self.card_key);
        command.env_remove(CRASH_AT);
        if let Some(crash_at) = crash_at {
            command.env(CRASH_AT, crash_at.to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_of(&self.folder.join(format!("serve-{nth}.log")))?);
        self.servers[nth] = Some(Process(command.spawn().map_err(|error| format!("breakwater serve cannot be started: {error}"))?));
        Ok(())
    }

    fn settings(&self, address: SocketAddr) -> String {
        let mut text = SETTINGS.replace("{{PORT}}", &address.port().to_string());
        text = text.replace("{{WRITES_PER_SECOND}}", &self.props.writes_per_second.to_string());
        text = text.replace("{{TIMEOUT_MS}}", &self.props.timeout_ms.to_string());
        text = text.replace("{{LEASE_MS}}", &self.lease().as_millis().to_string());
        let Certificates { authority, ours: (certificate, key), .. } = &self.certificates;
        for (name, file) in [("{{AUTHORITY}}", authority), ("{{CERTIFICATE}}", certificate), ("{{CERTIFICATE_KEY}}", key)] {
            text = text.replace(name, &file.display().to_string());
        }
        for (channel, places) in self.third_parties.places() {
            text = text.replace(&format!("{{{{{}}}}}", channel.to_uppercase()), &places);
        }
        text
    }

    fn wait_for_server(&mut self, nth: usize, runtime: &Runtime) -> Result<(), String> {
        let url = format!("http://{}/readyz", self.addresses[nth]);
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if runtime.block_on(client::send("GET", &url, &[], "")).is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            let ended = self.servers[nth].as_mut().is_none_or(|server| !matches!(server.0.try_wait(), Ok(None)));
            if ended || Instant::now() > deadline {
                let log = self.folder.join(format!("serve-{nth}.log"));
                return Err(format!("breakwater serve is not ready:\n{}", last_lines(&log)));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    async fn enrol(&self) -> Result<(Vec<String>, String), String> {
        let store = self.store().await?;
        let now = Clock::system().wall();
        let mut keys = Vec::new();
        for nth in 0..self.props.merchants {
            let credential = Credential::api_key(false)?;
            let merchant = store.add_merchant(&format!("Shop {nth}"), false, now).await.map_err(|error| error.to_string())?;
            store.add_key(merchant, &credential.digest, &credential.hint, now).await.map_err(|error| error.to_string())?;
            keys.push(credential.text);
        }
        let viewer = Credential::operator_token()?;
        store.add_operator("bench", "viewer", &viewer.digest, now).await.map_err(|error| error.to_string())?;
        Ok((keys, viewer.text))
    }
}

/// A port that nobody had a moment ago: a process that is killed must come back at the same one.
fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(|error| format!("no port can be had: {error}"))
}

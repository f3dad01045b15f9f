//! The stage of a run: a private Postgres, the sandbox as a process of its own, our proxies before each of its channels, and one or several
//! `breakwater serve`. Everything of it is started here, is known by its process id, and ends with it.
//!
//! Its functions block, and belong to the thread that made it: a private cluster ends with the thread that started it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use super::super::client;
use super::super::credential::{Credential, hex, random};
use super::certificates::Certificates;
use super::pair::Pair;
use super::referee::Entry;
use crate::clock::Clock;
use crate::cluster::{Cluster, ClusterOptions};
use crate::crash::{CRASH_AT, CrashAt};
use crate::sandbox::Running;
use crate::sandbox::proxy::{Manner, Proxy};
use crate::store::{PoolSizes, Store};

/// The settings that each process is started with.
const SETTINGS: &str = include_str!("../../../benches/four_banks.toml");
/// A lease lasts for so many timeouts of a call: what a dead process held should not wait for long, and what a living one asks about be asked once.
const LEASE_TIMEOUTS: u64 = 3;
const DATABASE: &str = "breakwater";
const BANKS: [&str; 4] = ["bank_1", "bank_2", "bank_3", "bank_4"];
const STRIPE: &str = "stripe_1";
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
    /// Seeds the sandbox's dice.
    pub seed: u64,
    /// Two databases instead of one: how long after its primary was lost the standby is promoted.
    pub promote_after: Option<Duration>,
}

/// A process of ours that ends with this value.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _already_dead = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The stage. Fields drop in this order: first who talks to the database.
#[derive(Debug)]
pub struct Stage {
    servers: Vec<Option<Process>>,
    _sandbox: Process,
    cluster: Option<Cluster>,
    pair: Option<Pair>,
    proxies: BTreeMap<String, Vec<Proxy>>,
    control_url: String,
    addresses: Vec<SocketAddr>,
    keys: Vec<String>,
    viewer: String,
    card_key: String,
    certificates: Certificates,
    folder: PathBuf,
    props: Props,
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
        let (sandbox, running) = start_sandbox(folder, addresses[0], props.seed, &certificates)?;
        let proxies = proxies_before(&running, runtime)?;
        let card_key = hex(&random()?);
        let servers = addresses.iter().map(|_| None).collect();
        let control_url = running.control_url;
        let mut stage = Self {
            servers,
            _sandbox: sandbox,
            cluster,
            pair,
            proxies,
            control_url,
            addresses,
            keys: Vec::new(),
            viewer: String::new(),
            card_key,
            certificates,
            folder: folder.to_owned(),
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

    /// The database, by connections of its own.
    ///
    /// # Errors
    /// A sentence.
    pub async fn store(&self) -> Result<Store, String> {
        let sizes = PoolSizes { journal: 2, reads: 2, channels: 0 };
        Store::open(&self.database_url(), sizes, &tokio::runtime::Handle::current()).await.map_err(|error| error.to_string())
    }

    /// From now on the wire to the victim behaves like this.
    ///
    /// # Errors
    /// None today: it is one of the faults, and they may fail.
    #[expect(clippy::unnecessary_wraps, reason = "it stands in one list with faults that may fail")]
    pub fn set_wire(&self, manner: Manner) -> Result<(), String> {
        for proxy in self.proxies.get(self.props.victim).into_iter().flatten() {
            proxy.set(manner);
        }
        Ok(())
    }

    /// From now on the victim itself does this wrong, to every payment and refund.
    ///
    /// # Errors
    /// A sentence.
    pub fn set_fault(&self, mode: &str) -> Result<(), String> {
        self.control("PUT", &format!("/{}/faults", self.props.victim), &format!(r#"{{"mode":"{mode}"}}"#)).map(drop)
    }

    /// The victim is well.
    ///
    /// # Errors
    /// A sentence.
    pub fn heal_fault(&self) -> Result<(), String> {
        self.control("DELETE", &format!("/{}/faults", self.props.victim), "").map(drop)
    }

    /// SIGKILL of the first process, and a new one at once.
    ///
    /// # Errors
    /// A sentence.
    pub fn kill_server(&mut self) -> Result<(), String> {
        self.start_anew(None)
    }

    /// A new first process at once; the old one dies, if it lives. The new one will die at `crash_at` by itself.
    ///
    /// # Errors
    /// A sentence.
    pub fn start_anew(&mut self, crash_at: Option<CrashAt>) -> Result<(), String> {
        drop(self.servers[0].take());
        self.start_server(0, crash_at)
    }

    /// SIGKILL of the first process.
    pub fn kill_first(&mut self) {
        drop(self.servers[0].take());
    }

    /// Whether the first process has killed itself.
    ///
    /// # Errors
    /// A sentence, with the end of its log, when it has ended in another way.
    pub fn has_died(&mut self) -> Result<bool, String> {
        let Some(server) = self.servers[0].as_mut() else { return Ok(true) };
        match server.0.try_wait().map_err(|error| error.to_string())? {
            None => Ok(false),
            Some(status) if status.signal() == Some(Signal::KILL.as_raw()) => Ok(true),
            Some(status) => Err(format!("breakwater serve has ended ({status}):\n{}", last_lines(&self.folder.join("serve-0.log")))),
        }
    }

    /// Until the first process is ready.
    ///
    /// # Errors
    /// A sentence, with the end of its log, when it does not get there.
    pub fn wait_until_ready(&mut self, runtime: &Runtime) -> Result<(), String> {
        self.wait_for_server(0, runtime)
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

    /// From now on `channel` does this wrong, in the sandbox's terms; nothing when `None`.
    ///
    /// # Errors
    /// A sentence.
    pub fn set_weather(&self, channel: &str, fault: Option<&str>) -> Result<(), String> {
        let path = format!("/{channel}/faults");
        match fault {
            Some(fault) => self.control("PUT", &path, fault),
            None => self.control("DELETE", &path, ""),
        }
        .map(drop)
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

    /// Everything that the third parties charged and gave back.
    ///
    /// # Errors
    /// A sentence.
    pub fn third_parties_book(&self) -> Result<Vec<Entry>, String> {
        let mut entries: Vec<Entry> = Vec::new();
        for channel in self.proxies.keys() {
            let text = self.control("GET", &format!("/{channel}/book"), "")?;
            let book: Vec<Entry> = serde_json::from_str(&text).map_err(|error| format!("the book of {channel}: {error}"))?;
            entries.extend(book.into_iter().map(|entry| Entry { channel: channel.clone(), ..entry }));
        }
        Ok(entries)
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

    fn control(&self, method: &str, path: &str, body: &str) -> Result<String, String> {
        let url = format!("{}/_control{path}", self.control_url);
        let errand = super::super::database::errand_runtime()?;
        let answer = errand.block_on(client::send(method, &url, &[("content-type", "application/json")], body)).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status < 300 { Ok(text) } else { Err(format!("{url} answered {}: {text}", answer.status)) }
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
        text = text.replace("{{LEASE_MS}}", &(LEASE_TIMEOUTS * self.props.timeout_ms).to_string());
        let Certificates { authority, ours: (certificate, key), .. } = &self.certificates;
        for (name, file) in [("{{AUTHORITY}}", authority), ("{{CERTIFICATE}}", certificate), ("{{CERTIFICATE_KEY}}", key)] {
            text = text.replace(name, &file.display().to_string());
        }
        for (channel, proxies) in &self.proxies {
            let scheme = if channel == STRIPE { "http" } else { "tls" };
            let places: Vec<String> = proxies.iter().map(|proxy| format!("{scheme}://{}", proxy.address())).collect();
            text = text.replace(&format!("{{{{{}}}}}", channel.to_uppercase()), &places.join(","));
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

/// This very program, whatever has become of its file.
fn program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| error.to_string())
}

/// A port that nobody had a moment ago: a process that is killed must come back at the same one.
fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(|error| format!("no port can be had: {error}"))
}

fn start_sandbox(folder: &Path, orchestrator: SocketAddr, seed: u64, certificates: &Certificates) -> Result<(Process, Running), String> {
    let Certificates { authority, bank: (certificate, key), .. } = certificates;
    let tls = format!("[account.bank.tls]\nauthority = {authority:?}\ncertificate = {certificate:?}\nkey = {key:?}\n");
    let mut accounts: String = BANKS.iter().map(|bank| format!("[[account]]\nid = \"{bank}\"\nprovider = \"iso8583\"\n{tls}\n")).collect();
    accounts.push_str(&format!("[[account]]\nid = \"{STRIPE}\"\nsecret_key = \"sk_test_{STRIPE}\"\nwebhook_secret = \"whsec_{STRIPE}\"\n"));
    let file = folder.join("accounts.toml");
    fs::write(&file, accounts).map_err(|error| format!("{}: {error}", file.display()))?;
    let log = folder.join("sandbox.log");
    let mut command = Command::new(program()?);
    command.arg("sandbox").arg("--accounts").arg(&file).arg("--data-dir").arg(folder.join("sandbox"));
    command.args(["--notify-url", &format!("http://{orchestrator}"), "--seed", &seed.to_string()]);
    // If we are killed, it ends a little later.
    command.args(["--linger-ms", "10000", "--orchestrator-pid", &std::process::id().to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_of(&log)?);
    let mut process = Process(command.spawn().map_err(|error| format!("the sandbox cannot be started: {error}"))?);
    let mut line = String::new();
    if let Some(output) = process.0.stdout.take() {
        BufReader::new(output).read_line(&mut line).map_err(|error| error.to_string())?;
    }
    let running = serde_json::from_str(&line).map_err(|_| format!("the sandbox did not start:\n{}", last_lines(&log)))?;
    Ok((process, running))
}

/// A proxy before each address of each channel.
fn proxies_before(running: &Running, runtime: &Runtime) -> Result<BTreeMap<String, Vec<Proxy>>, String> {
    let _inside = runtime.enter();
    let mut proxies = BTreeMap::new();
    for (channel, url) in &running.channels {
        let places = url.split(',').map(|place| place.rsplit_once("//").map_or(place, |(_, place)| place));
        let started = places.map(|place| {
            let upstream = place.parse().map_err(|_| format!("{channel} is at {url:?}, which is no address"))?;
            Proxy::start(upstream).map_err(|error| format!("no port can be had: {error}"))
        });
        proxies.insert(channel.clone(), started.collect::<Result<Vec<_>, String>>()?);
    }
    Ok(proxies)
}

fn log_of(path: &Path) -> Result<File, String> {
    File::options().append(true).create(true).open(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

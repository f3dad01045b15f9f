//! Who is at the other end of the wires: the sandbox as a process of its own, and our proxies before each of its channels.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::runtime::Runtime;

use super::super::client;
use super::certificates::Certificates;
use super::process::{Process, last_lines, log_of, program};
use super::referee::Entry;
use super::stage::Props;
use crate::sandbox::Running;
use crate::sandbox::proxy::{Manner, Proxy};

const BANKS: [&str; 4] = ["bank_1", "bank_2", "bank_3", "bank_4"];
const STRIPE: &str = "stripe_1";

/// The third parties of a run, one of which is the victim of what goes wrong.
#[derive(Debug)]
pub struct ThirdParties {
    _sandbox: Process,
    proxies: BTreeMap<String, Vec<Proxy>>,
    control_url: String,
    victim: &'static str,
    seed: u64,
}

impl ThirdParties {
    /// Starts them in `folder`, with proxies that live on `runtime`; they tell `orchestrator` what they have done.
    ///
    /// # Errors
    /// A sentence, with the end of the log where there is one. What was started is ended.
    pub fn start(folder: &Path, orchestrator: SocketAddr, props: &Props, certificates: &Certificates, runtime: &Runtime) -> Result<Self, String> {
        let (sandbox, running) = start_sandbox(folder, orchestrator, props.seed, certificates)?;
        let proxies = proxies_before(&running, runtime)?;
        Ok(Self { _sandbox: sandbox, proxies, control_url: running.control_url, victim: props.victim, seed: props.seed })
    }

    /// Each channel, and how it is reached through its proxies.
    pub fn places(&self) -> impl Iterator<Item = (&str, String)> {
        self.proxies.iter().map(|(channel, proxies)| {
            let scheme = if channel == STRIPE { "http" } else { "tls" };
            let places: Vec<String> = proxies.iter().map(|proxy| format!("{scheme}://{}", proxy.address())).collect();
            (channel.as_str(), places.join(","))
        })
    }

    /// From now on the wire to the victim behaves like this; its seed is the run's.
    ///
    /// # Errors
    /// None today: it is one of the faults, and they may fail.
    #[expect(clippy::unnecessary_wraps, reason = "it stands in one list with faults that may fail")]
    pub fn set_wire(&self, manner: Manner) -> Result<(), String> {
        for (nth, proxy) in (0..).zip(self.proxies.get(self.victim).into_iter().flatten()) {
            // Two front ends that draw alike would be one.
            proxy.set(Manner { seed: self.seed.wrapping_add(nth), ..manner });
        }
        Ok(())
    }

    /// From now on the victim itself does this wrong, to every payment and refund.
    ///
    /// # Errors
    /// A sentence.
    pub fn set_fault(&self, mode: &str) -> Result<(), String> {
        self.control("PUT", &format!("/{}/faults", self.victim), &format!(r#"{{"mode":"{mode}"}}"#)).map(drop)
    }

    /// The victim is well.
    ///
    /// # Errors
    /// A sentence.
    pub fn heal_fault(&self) -> Result<(), String> {
        self.control("DELETE", &format!("/{}/faults", self.victim), "").map(drop)
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

    /// Everything that the third parties charged and gave back.
    ///
    /// # Errors
    /// A sentence.
    pub fn book(&self) -> Result<Vec<Entry>, String> {
        let mut entries: Vec<Entry> = Vec::new();
        for channel in self.proxies.keys() {
            let text = self.control("GET", &format!("/{channel}/book"), "")?;
            let book: Vec<Entry> = serde_json::from_str(&text).map_err(|error| format!("the book of {channel}: {error}"))?;
            entries.extend(book.into_iter().map(|entry| Entry { channel: channel.clone(), ..entry }));
        }
        Ok(entries)
    }

    fn control(&self, method: &str, path: &str, body: &str) -> Result<String, String> {
        let url = format!("{}/_control{path}", self.control_url);
        let errand = super::super::database::errand_runtime()?;
        let answer = errand.block_on(client::send(method, &url, &[("content-type", "application/json")], body)).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status < 300 { Ok(text) } else { Err(format!("{url} answered {}: {text}", answer.status)) }
    }
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

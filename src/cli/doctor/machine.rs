//! This machine: PostgreSQL's programs, the addresses to listen on, disk, open files, certificates.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::Check;
use crate::cli::client;
use crate::cluster::{Binaries, find_binaries};
use crate::config::Settings;

/// Below this much room on a disk nothing goes on for long, in bytes.
const ROOM_FAIL: u64 = 1 << 30;
/// Below this much it is time to act.
const ROOM_WARN: u64 = 10 << 30;
/// Files that a process needs beside its connections: the log, epoll, signals, the runtime's own.
const FILES_BESIDE: u64 = 64;
/// Connections of clients at once that nobody should run out of.
const CLIENTS: u64 = 1_024;

/// PostgreSQL's programs, which only `demo` and tests start.
pub(super) fn programs() -> Check {
    match find_binaries() {
        Ok(Binaries { folder, version, found_by, .. }) => Check::ok("programs", format!("PostgreSQL {version} in {} ({found_by})", folder.display())),
        Err(error) => {
            let why = error.to_string();
            let why = why.lines().next().unwrap_or_default().to_owned();
            Check::warn("programs", why, "only `breakwater demo` needs PostgreSQL's programs here; install them, or set BREAKWATER_PG_BIN")
        }
    }
}

/// The addresses of the settings: free, or ours already.
pub(super) async fn addresses(settings: &Settings) -> Vec<Check> {
    let mut checks = vec![address("API address", settings.server.listen).await];
    if let Some(operations) = settings.server.operations_listen {
        checks.push(address("ops address", operations).await);
    }
    checks
}

async fn address(name: &'static str, address: SocketAddr) -> Check {
    if address.port() == 0 {
        return Check::ok(name, format!("{address}: any free port"));
    }
    match TcpListener::bind(address) {
        Ok(_) => Check::ok(name, format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => match holder(address).await {
            Some(version) => Check::ok(name, format!("{address} is served by breakwater {version}")),
            None => Check::fail(name, format!("{address} is held by another program"), "stop it, or choose another address in [server]"),
        },
        Err(error) => Check::fail(name, format!("{address} cannot be listened on: {error}"), "choose an address of this machine in [server]"),
    }
}

/// The version of the breakwater that answers there, if one does.
async fn holder(address: SocketAddr) -> Option<String> {
    let url = format!("http://{address}/version");
    // Who holds a port and says nothing for two seconds is not ours.
    let answer = tokio::time::timeout(Duration::from_secs(2), client::send("GET", &url, &[], "")).await.ok()?.ok()?;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    (body.get("name")? == "breakwater").then(|| body.get("version").and_then(|version| version.as_str()).unwrap_or("of some version").to_owned())
}

/// The room on the disk that holds `folder`; `None` when it is not on this machine, or may not be seen.
pub(super) fn room(folder: &Path) -> Option<Check> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let (free, all) = (disk.f_bavail.saturating_mul(disk.f_frsize), disk.f_blocks.saturating_mul(disk.f_frsize));
    let found = format!("{} free of {} for the database's files", size(free), size(all));
    Some(if free < ROOM_FAIL {
        Check::fail("disk", found, "make room: a database without disk stops, and payments with it")
    } else if free < ROOM_WARN {
        Check::warn("disk", found, "make room, or move the database to a larger disk")
    } else {
        Check::ok("disk", found)
    })
}

fn size(bytes: u64) -> String {
    let gib = bytes >> 30;
    if gib > 0 { format!("{gib} GiB") } else { format!("{} MiB", bytes >> 20) }
}

/// Whether this user's processes may hold enough files for all pools, and for clients beside them.
pub(super) fn open_files(settings: &Settings) -> Check {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    judge_files(limit, wanted_files(settings))
}

fn wanted_files(settings: &Settings) -> u64 {
    let database = &settings.database;
    let ours = database.journal_connections + database.read_connections;
    let channels: usize = settings.channels.iter().map(|channel| channel.pool_size + database.channel_connections).sum();
    u64::try_from(ours + channels).unwrap_or(u64::MAX).saturating_add(FILES_BESIDE)
}

fn judge_files(limit: u64, wanted: u64) -> Check {
    let found = format!("{limit} may be open; all pools full take {wanted}");
    let next = format!("raise it where breakwater is started: ulimit -n {} (systemd: LimitNOFILE=)", (wanted + 8 * CLIENTS).next_multiple_of(1_024));
    if limit < wanted {
        Check::fail("open files", found, next)
    } else if limit < wanted + CLIENTS {
        Check::warn("open files", format!("{found}, which leaves {} for clients", limit - wanted), next)
    } else {
        Check::ok("open files", found)
    }
}

/// What matters is that nobody talks to us in the clear from elsewhere. Certificates themselves are judged when the settings are read.
pub(super) fn certificates(settings: &Settings) -> Check {
    let server = &settings.server;
    let listeners = [(Some(server.listen), &server.tls), (server.operations_listen, &server.operations_tls)];
    let in_the_clear = listeners.into_iter().filter(|(_, tls)| tls.is_none()).filter_map(|(address, _)| address);
    match in_the_clear.into_iter().find(|address| !address.ip().is_loopback()) {
        None if server.tls.is_some() => Check::ok("certificates", "sound; what is served in the clear is for this machine only"),
        None => Check::ok("certificates", "none: plain HTTP is served, and to this machine only"),
        Some(address) => Check::warn(
            "certificates",
            format!("none: {address} can be reached from elsewhere, and is plain HTTP"),
            "give it a certificate in [server.tls] or [server.operations_tls], or let a proxy with TLS be all that can reach it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::config::ChannelSettings;

    #[test]
    fn files_are_judged_by_what_full_pools_take() {
        let channels = vec![ChannelSettings::test("a", "stripe", "http://localhost:1", "sk_test_1")];
        let settings = Settings { channels, ..Settings::default() };
        assert_eq!(wanted_files(&settings), 2 + 16 + 64 + 2 + FILES_BESIDE);
        assert_eq!(judge_files(100, 200).verdict, Verdict::Fail);
        assert_eq!(judge_files(200 + CLIENTS - 1, 200).verdict, Verdict::Warn);
        assert_eq!(judge_files(200 + CLIENTS, 200).verdict, Verdict::Ok);
    }

    #[test]
    fn plain_http_that_others_can_reach_is_warned_of() {
        let mut settings = Settings::default();
        assert_eq!(certificates(&settings).verdict, Verdict::Ok);
        settings.server.listen = "0.0.0.0:8080".parse().expect("an address");
        assert_eq!(certificates(&settings).verdict, Verdict::Warn);
        settings.server.tls = Some(crate::config::CertificateFiles { certificate_file: "chain.pem".into(), key_file: "key.pem".into() });
        assert_eq!(certificates(&settings).verdict, Verdict::Ok);
        settings.server.operations_listen = Some("0.0.0.0:9090".parse().expect("an address"));
        assert_eq!(certificates(&settings).verdict, Verdict::Warn, "the other one is in the clear");
    }

    #[tokio::test]
    async fn an_address_that_a_stranger_holds_is_a_failure_and_a_free_one_is_none() {
        let stranger = TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken = stranger.local_addr().expect("bound");
        let answers = std::thread::spawn(move || {
            // Taken and let go: whoever it is does not speak HTTP.
            let _ = stranger.accept();
            stranger
        });
        let check = address("API address", taken).await;
        assert_eq!(check.verdict, Verdict::Fail, "{check:?}");
        drop(answers.join().expect("the stranger ends"));
        assert_eq!(address("API address", taken).await.verdict, Verdict::Ok);
    }
}

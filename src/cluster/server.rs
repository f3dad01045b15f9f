//! Making a data directory, writing the settings, and bringing the postmaster up: the steps of [`super::Cluster::start`] that speak to
//! PostgreSQL's own files.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::ClusterError;
use super::find::Binaries;
use super::guarded::{Charge, Guarded, Report, last_lines};
use super::place::{PORT, Place};
use super::{ClusterOptions, SUPERUSER};

/// `initdb` takes a second; on a machine that takes two minutes, something else is wrong.
const INITDB_LIMIT: Duration = Duration::from_secs(120);

/// The major version that wrote the data directory, or `None` when there is none yet.
pub(super) fn data_version(data: &Path) -> Result<Option<u32>, ClusterError> {
    if !data.exists() {
        return Ok(None);
    }
    let file = data.join("PG_VERSION");
    let version = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
    match version {
        Some(version) if data.join("global/pg_control").is_file() => Ok(Some(version)),
        // It appears by one rename of a finished directory, so this is not a torn start of ours: somebody changed it.
        _ => Err(ClusterError::NotOurs {
            path: data.to_path_buf(),
            what: "is no complete PostgreSQL data directory".to_owned(),
            next: "restore it, or start with empty data: breakwater demo --reset".to_owned(),
        }),
    }
}

/// Runs `initdb` beside `data` and renames the result: a torn one never has the name.
pub(super) fn initialize(place: &Place, binaries: &Binaries, charge: &Charge<'_>, log: &PathBuf, quick: bool) -> Result<(), ClusterError> {
    let mut arguments: Vec<OsString> = vec![
        "--username".into(),
        SUPERUSER.into(),
        "--encoding=UTF8".into(),
        "--locale=C".into(),
        // Who may open the socket is decided by its folder's mode; there is no other way in.
        "--auth-local=trust".into(),
        "--auth-host=reject".into(),
        "--no-instructions".into(),
    ];
    if quick {
        arguments.push("--no-sync".into());
    }
    fill(place, binaries, charge, log, "initdb", arguments)
}

/// Copies the primary that listens in the folder `origin.0`, which will know the copy by the name `origin.1`.
pub(super) fn copy(
    place: &Place,
    binaries: &Binaries,
    charge: &Charge<'_>,
    log: &PathBuf,
    quick: bool,
    origin: (&Path, &str),
) -> Result<(), ClusterError> {
    let (socket, name) = origin;
    let address = format!("host={} port={PORT} user={SUPERUSER} application_name={name}", socket.display());
    let mut arguments: Vec<OsString> =
        ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--dbname"].into_iter().map(OsString::from).collect();
    arguments.push(address.into());
    if quick {
        arguments.push("--no-sync".into());
    }
    fill(place, binaries, charge, log, "pg_basebackup", arguments)
}

/// Has `program` make a data directory beside `data`, and renames it.
fn fill(
    place: &Place,
    binaries: &Binaries,
    charge: &Charge<'_>,
    log: &PathBuf,
    program: &'static str,
    mut arguments: Vec<OsString>,
) -> Result<(), ClusterError> {
    let (data, unfinished) = (place.data(), place.root.join("data.unfinished"));
    place.fresh_folder(&unfinished)?;
    arguments.push("--pgdata".into());
    arguments.push(unfinished.clone().into_os_string());
    let charge = Charge { discard: None, remove_empty: None, ..*charge };
    let mut guarded = Guarded::start(&charge, &binaries.program(program), arguments)?;
    let deadline = Instant::now() + INITDB_LIMIT;
    let why = loop {
        match guarded.report(deadline.saturating_duration_since(Instant::now())) {
            Report::Started(_) => {}
            Report::Ended(status) if status == "exit status: 0" => break None,
            Report::Ended(status) => break Some(status),
            Report::Gone => break Some("its guard ended".to_owned()),
            Report::Silence => {
                break Some(format!("not finished after {} s", INITDB_LIMIT.as_secs()));
            }
        }
    };
    drop(guarded);
    if let Some(why) = why {
        return Err(ClusterError::Program {
            program,
            why,
            log_tail: last_lines(log),
            next: format!(
                "free space and rights are the usual causes (df -h {0}; ls -ld {0}); then run the same command again",
                place.root.display()
            ),
            place: data,
        });
    }
    fs::rename(&unfinished, &data).map_err(ClusterError::io("rename the new data directory to", &data))?;
    // Makes the rename durable; without it a power cut costs an initdb.
    let folder = File::open(&place.root).and_then(|folder| folder.sync_all());
    folder.map_err(ClusterError::io("write to disk", &place.root))
}

/// Writes the settings file that PostgreSQL is started with; what `ALTER SYSTEM` set in the data directory still comes on top.
pub(super) fn write_settings(place: &Place, binaries: &Binaries, socket: &Path, options: &ClusterOptions) -> Result<PathBuf, ClusterError> {
    let file = place.root.join("postgresql.conf");
    let shared_buffers_mb = options.shared_buffers_mb.clamp(16, 65_536);
    let durable = if options.fast_unsafe { "off" } else { "on" };
    let settings = [
        ("listen_addresses", String::new()),
        ("unix_socket_directories", socket.display().to_string()),
        ("unix_socket_permissions", "0700".to_owned()),
        ("port", PORT.to_string()),
        ("max_connections", "200".to_owned()),
        ("shared_buffers", format!("{shared_buffers_mb}MB")),
        // The server's own rule is a thirty-second part, at most 16 MB; group commits of many payments fill that between two flushes.
        ("wal_buffers", format!("{}MB", (shared_buffers_mb / 8).clamp(1, 64))),
        ("max_wal_size", "4GB".to_owned()),
        ("checkpoint_timeout", "15min".to_owned()),
        ("wal_compression", if binaries.has_lz4() { "lz4" } else { "pglz" }.to_owned()),
        ("jit", "off".to_owned()),
        ("random_page_cost", "1.1".to_owned()),
        // Of a standby: it looks for the primary that it has lost so often, and hears of its promotion in between; by the server's own rule after 5 s.
        ("wal_retrieve_retry_interval", "500ms".to_owned()),
        ("fsync", durable.to_owned()),
        ("synchronous_commit", durable.to_owned()),
        ("full_page_writes", durable.to_owned()),
        ("timezone", "UTC".to_owned()),
        ("log_timezone", "UTC".to_owned()),
        ("log_checkpoints", "off".to_owned()),
        // Values may hold card tokens and names: they stay out of the log.
        ("log_parameter_max_length", "0".to_owned()),
        ("log_parameter_max_length_on_error", "0".to_owned()),
    ];
    let mut text = "# Written at each start of the cluster: changes here are lost.\n".to_owned();
    for (name, value) in settings {
        text.push_str(&format!("{name} = '{value}'\n"));
    }
    fs::write(&file, text).map_err(ClusterError::io("write", &file))?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&file, readable).map_err(ClusterError::io("set the mode of", &file))?;
    Ok(file)
}

/// Sees to an old `postmaster.pid`, once the cluster's lock is ours. A live postmaster (one that somebody started by hand) is waited for
/// until `deadline`; a file whose process is gone or is now a stranger is removed, because PostgreSQL itself judges by the number alone, and
/// in a container the same few numbers come back at each start.
pub(super) fn clear_stale_pid(data: &Path, deadline: Instant, waited: Duration) -> Result<(), ClusterError> {
    let file = data.join("postmaster.pid");
    loop {
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(ClusterError::io("read", &file)(error)),
        };
        let pid = text.lines().next().and_then(|pid| pid.trim().parse::<i32>().ok()).unwrap_or(0);
        if !is_postmaster_of(pid, data) {
            return match fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(ClusterError::io("remove", &file)(error)),
                _ => Ok(()),
            };
        }
        if Instant::now() >= deadline {
            return Err(ClusterError::StillEnding { dir: data.to_path_buf(), waited, who: format!("process {pid}") });
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether the process lives and is a postmaster of `data`: its working folder tells (a zombie has none).
fn is_postmaster_of(pid: i32, data: &Path) -> bool {
    let Some(process) = (pid > 0).then(|| rustix::process::Pid::from_raw(pid)).flatten() else {
        return false;
    };
    if cfg!(target_os = "linux") {
        return match fs::read_link(format!("/proc/{pid}/cwd")) {
            Ok(folder) => data.canonicalize().is_ok_and(|data| data == folder),
            Err(error) => error.kind() == ErrorKind::PermissionDenied && is_named_postgres(pid),
        };
    }
    rustix::process::test_kill_process(process).is_ok()
}

fn is_named_postgres(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "postgres")
}

/// Starts PostgreSQL under a guard and waits until it takes connections. Returns the guard and the postmaster's process id.
pub(super) fn start(
    place: &Place,
    binaries: &Binaries,
    charge: &Charge<'_>,
    settings: &Path,
    log: &PathBuf,
    limit: Duration,
) -> Result<(Guarded, u32), ClusterError> {
    let data = place.data();
    let mut config = std::ffi::OsString::from("config_file=");
    config.push(settings);
    let arguments = ["-D".into(), data.clone().into_os_string(), "-c".into(), config];
    let mut guarded = Guarded::start(charge, &binaries.program("postgres"), arguments)?;
    let deadline = Instant::now() + limit;
    let mut pid = None;
    let why = loop {
        // The wait for a report is also the pause between two looks at the file.
        match guarded.report(Duration::from_millis(20)) {
            Report::Started(started) => pid = Some(started),
            Report::Ended(status) => break format!("it ended while starting: {status}"),
            Report::Gone => break "its guard ended while starting it".to_owned(),
            Report::Silence => {}
        }
        if let Some(pid) = pid.filter(|pid| is_ready(&data, *pid)) {
            return Ok((guarded, pid));
        }
        if Instant::now() >= deadline {
            break format!("not ready after {} s", limit.as_secs());
        }
    };
    // Before the guard is let go, which may remove the log.
    let log_tail = last_lines(log);
    drop(guarded);
    Err(ClusterError::Program {
        program: "postgres",
        why,
        log_tail,
        next: format!("read {} to the end; with nothing to lose: breakwater demo --reset", log.display()),
        place: data,
    })
}

/// The first line of `postmaster.pid` is the process, the eighth its state; `pg_ctl` reads the same two.
fn is_ready(data: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let mut lines = text.lines();
    lines.next().is_some_and(|line| line.trim() == pid.to_string()) && lines.nth(6).is_some_and(|line| matches!(line.trim(), "ready" | "standby"))
}

//! A private PostgreSQL cluster from the machine's own binaries, for `breakwater demo` and for tests. Nothing above imports this.
//!
//! ```text
//! mod.rs      Cluster: start, url, ensure_database, stop; who owns a folder
//! find.rs     which PostgreSQL: BREAKWATER_PG_BIN, PATH, pg_config, packages' folders; version 15 or newer
//! place.rs    which folders and which account, because PostgreSQL refuses root
//! server.rs   initdb, settings, readiness
//! guarded.rs  our side of the guard        guard.rs  the guard: why no death of ours leaves a database behind
//! lock.rs     one owner a folder, and none before the last one's database has ended
//! error.rs    what, where, why, and the next command
//! ```
//!
//! It is no server for production: no network (`listen_addresses` is empty), no passwords, one folder, one machine. What keeps others out is
//! the mode 0700 of the socket's folder. The durability settings are on, as in production, because the demo shows kills and recoveries.
//!
//! # A folder and its two locks
//!
//! ```text
//! dir/owner.lock      held by the process that has the Cluster, its process id inside: held means "in use", an error at once
//! dir/cluster.lock    held by guard and PostgreSQL, down to the last backend: held without the other means "still ending", waited for
//! dir/postgres.log    this run's output; postgres.log.old is the run before
//! dir/place           only when the data had to go elsewhere: where (place.rs says when)
//! dir/data            the data directory; appears by one rename, so it is complete or absent
//! dir/postgresql.conf written at each start
//! ```
//!
//! Invariants:
//! - No death of our process, SIGKILL included, leaves a PostgreSQL process behind for longer than the guard's patience; nor does the
//!   guard's own death, on Linux.
//! - Two clusters never run on one folder: the locks are the kernel's, so they end with their holders and never go stale.
//! - The data outlive any crash: what a commit acknowledged is there after the next start (not with [`ClusterOptions::fast_unsafe`]).
//! - We change the mode or owner only of folders that we made.

mod error;
mod find;
mod guard;
mod guarded;
mod lock;
mod place;
mod server;

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub use error::ClusterError;
pub use find::{Binaries, EARLIEST_MAJOR, Found, LATEST_TRIED_MAJOR, Looked, Search, find_binaries};
pub use guard::{GUARD_COMMAND, guard_main};

use guarded::{Charge, Guarded, Report, clean_environment, last_lines};
use lock::{Owner, lock_cluster};
use place::{PORT, Place, create_folder};

/// The role that owns everything in the cluster; there are no others unless somebody creates them.
pub const SUPERUSER: &str = "breakwater";

/// How to start a cluster. [`Default`] is right for the demo.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The `breakwater` program, which is also the guard. Default: this very process's program. A test gives `CARGO_BIN_EXE_breakwater`.
    pub guard_program: PathBuf,
    /// Where to look for PostgreSQL.
    pub search: Search,
    /// Page cache of the server, in MB, 16 to 65,536. Default 128. Too small shows as reads, too large as a start that fails for memory.
    pub shared_buffers_mb: u32,
    /// Turns `fsync`, `synchronous_commit` and `full_page_writes` off. **Only for tests**: a crash of the machine destroys the data.
    pub fast_unsafe: bool,
    /// How long a database of a dead owner may take to end. Default 45 s, more than the guard's patience.
    pub handover_limit: Duration,
    /// How long the server may take until it accepts connections, crash recovery included. Default 60 s.
    pub start_limit: Duration,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        let program = if cfg!(target_os = "linux") { Ok(PathBuf::from("/proc/self/exe")) } else { std::env::current_exe() };
        Self {
            guard_program: program.unwrap_or_else(|_| PathBuf::from("breakwater")),
            search: Search::from_environment(),
            shared_buffers_mb: 128,
            fast_unsafe: false,
            handover_limit: Duration::from_secs(45),
            start_limit: Duration::from_secs(60),
        }
    }
}

/// A running cluster. Dropping it stops the server as [`Cluster::stop`] does, but says nothing about how that went.
///
/// All its functions block; from async code call them on a blocking thread.
#[derive(Debug)]
pub struct Cluster {
    // Fields drop in this order: first the server ends, then the folder is free.
    guarded: Guarded,
    pid: u32,
    place: Place,
    binaries: Binaries,
    socket: PathBuf,
    log: PathBuf,
    _cluster_lock: File,
    _owner: Owner,
}

impl Cluster {
    /// Starts the cluster of the folder `dir`, which is created if missing, as is the data directory. Data of earlier runs are kept. A
    /// database that a dead owner left is waited for first. A crash of ours during this leaves nothing running and nothing half made that
    /// the next start would trust.
    ///
    /// # Errors
    /// Any [`ClusterError`] but `DatabaseName`; each says what to do next.
    pub fn start(dir: &Path, options: &ClusterOptions) -> Result<Self, ClusterError> {
        Self::start_in(dir, options, false, None)
    }

    /// Starts an empty cluster in a folder of its own below the temporary folder, which is removed with all its data when the cluster ends,
    /// however it ends. For tests: give [`ClusterOptions::fast_unsafe`] too.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_temporary(options: &ClusterOptions) -> Result<Self, ClusterError> {
        Self::start_temporary_from(options, None)
    }

    /// Starts a standby of `primary` in a folder of its own, as [`Cluster::start_temporary`] does: a copy made by `pg_basebackup`, which follows
    /// the primary's log from then on and answers reads. The primary knows it by `name`, for its `synchronous_standby_names`. For tests of what a
    /// lost primary takes with it: `SELECT pg_promote()` makes a primary of it.
    ///
    /// # Errors
    /// As [`Cluster::start`], and [`ClusterError::Program`] when the copy cannot be made.
    pub fn start_temporary_standby(primary: &Self, name: &str, options: &ClusterOptions) -> Result<Self, ClusterError> {
        Self::start_temporary_from(options, Some((primary, name)))
    }

    /// The same in the folder `dir`, whose data are kept: once it is there it is a standby, or what became of it, at each start.
    ///
    /// # Errors
    /// As [`Cluster::start_temporary_standby`].
    pub fn start_standby(dir: &Path, primary: &Self, name: &str, options: &ClusterOptions) -> Result<Self, ClusterError> {
        Self::start_in(dir, options, false, Some((primary, name)))
    }

    fn start_temporary_from(options: &ClusterOptions, origin: Option<(&Self, &str)>) -> Result<Self, ClusterError> {
        // Not $TMPDIR: that may be long, or private to root.
        let dir = PathBuf::from(format!("/tmp/breakwater-{}", uuid::Uuid::new_v4().simple()));
        let started = Self::start_in(&dir, options, true, origin);
        if started.is_err() {
            let _ = fs::remove_dir_all(&dir);
        }
        started
    }

    fn start_in(dir: &Path, options: &ClusterOptions, discard: bool, origin: Option<(&Self, &str)>) -> Result<Self, ClusterError> {
        create_folder(dir, if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 })?;
        let dir = &dir.canonicalize().map_err(ClusterError::io("find", dir))?;
        let owner = Owner::of(dir)?;
        let deadline = Instant::now() + options.handover_limit;
        let cluster_lock = lock_cluster(dir, deadline, options.handover_limit)?;

        let place = Place::of(dir)?;
        let version = server::data_version(&place.data())?;
        let binaries = match version {
            None => options.search.find(None)?,
            Some(version) => options.search.find(Some(version))?,
        };
        if let Some(blocked_at) = place.account.blocked_at(&binaries.folder) {
            return Err(ClusterError::NotPassable {
                path: binaries.folder,
                next: format!("chmod o+x {}, or name another installation with BREAKWATER_PG_BIN", blocked_at.display()),
                blocked_at,
                account: place.account.name,
            });
        }

        let log_path = dir.join("postgres.log");
        let log = start_log(&log_path)?;
        let socket = place.socket_folder()?;
        let charge = Charge {
            guard_program: &options.guard_program,
            account: &place.account,
            remove_empty: Some(&socket),
            discard: discard.then_some(dir.as_path()),
            lock: &cluster_lock,
            log: &log,
        };
        match origin {
            _ if version.is_some() => {}
            None => server::initialize(&place, &binaries, &charge, &log_path, options.fast_unsafe)?,
            Some((primary, name)) => server::copy(&place, &binaries, &charge, &log_path, options.fast_unsafe, (&primary.socket, name))?,
        }
        server::clear_stale_pid(&place.data(), deadline, options.handover_limit)?;
        let settings = server::write_settings(&place, &binaries, &socket, options)?;
        let (guarded, pid) = server::start(&place, &binaries, &charge, &settings, &log_path, options.start_limit)?;
        Ok(Self { guarded, pid, place, binaries, socket, log: log_path, _cluster_lock: cluster_lock, _owner: owner })
    }

    /// The URL of a database, as `tokio-postgres`, `sqlx`, and `psql` all understand it. The path of the socket's folder needs no escapes:
    /// it was chosen so. The database need not exist.
    pub fn url(&self, database: &str) -> String {
        let mut name = String::with_capacity(database.len());
        for byte in database.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => name.push(char::from(byte)),
                _ => name.push_str(&format!("%{byte:02X}")),
            }
        }
        format!("postgresql:///{name}?host={}&port={PORT}&user={SUPERUSER}", self.socket.display())
    }

    /// Creates the database unless it exists; UTF-8, locale C. Through `psql`, so that this module needs no async runtime.
    ///
    /// # Errors
    /// [`ClusterError::DatabaseName`] for a name outside `[a-z_][a-z0-9_]{0,62}`; [`ClusterError::Program`] if `psql` fails or is missing.
    pub fn ensure_database(&self, name: &str) -> Result<(), ClusterError> {
        let lawful = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || name.len() > 63 || !name.bytes().all(lawful) || name.as_bytes()[0].is_ascii_digit() {
            return Err(ClusterError::DatabaseName(name.to_owned()));
        }
        let beside = self.binaries.program("psql");
        let mut command = Command::new(if beside.is_file() { beside } else { PathBuf::from("psql") });
        clean_environment(&mut command);
        command.args(["--no-psqlrc", "--quiet", "--set=VERBOSITY=sqlstate", "--dbname"]).arg(self.url("postgres"));
        command.arg("--command").arg(format!("create database \"{name}\""));
        let failed = |why: String, log_tail: String| ClusterError::Program {
            program: "psql",
            why,
            place: self.place.data(),
            log_tail,
            next: "apt-get install postgresql-client, then run the same command again".to_owned(),
        };
        let output = command.output().map_err(|error| failed(error.to_string(), String::new()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        // 42P04 duplicate_database; 23505 when another session creates it at this moment.
        if output.status.success() || said.contains("42P04") || said.contains("23505") {
            return Ok(());
        }
        Err(failed(output.status.to_string(), said.into_owned()))
    }

    /// The socket's file: whoever forwards bytes to it is a client like any other.
    pub fn socket_file(&self) -> PathBuf {
        self.socket.join(format!(".s.PGSQL.{PORT}"))
    }

    /// Process id of the postmaster.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Process id of the guard that would stop the postmaster if we died.
    pub fn guard_pid(&self) -> u32 {
        self.guarded.guard_pid()
    }

    /// Where the data are. Below the folder given to [`Cluster::start`], unless `place.rs` had to move them.
    pub fn data_dir(&self) -> PathBuf {
        self.place.data()
    }

    /// The server's log of this run.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The PostgreSQL that runs.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Whether the server still runs; does not block. A server never ends by itself, so the demo asks this when a connection fails.
    ///
    /// # Errors
    /// [`ClusterError::Program`] with the end of its log. The cluster is of no use then; drop it.
    pub fn check(&mut self) -> Result<(), ClusterError> {
        match self.guarded.report(Duration::ZERO) {
            Report::Silence | Report::Started(_) => Ok(()),
            Report::Ended(status) => Err(self.ended(status)),
            Report::Gone => Err(self.ended("its guard was killed".to_owned())),
        }
    }

    /// Stops the server (fast: sessions are ended, everything is written to disk), and waits until its last process is gone.
    ///
    /// # Errors
    /// [`ClusterError::Program`] when the server did not end cleanly. It has ended all the same, and the data are safe: the next start
    /// replays the log.
    pub fn stop(mut self) -> Result<(), ClusterError> {
        match self.guarded.stop() {
            Some(status) if status == "exit status: 0" => Ok(()),
            Some(status) => Err(self.ended(status)),
            None => Err(self.ended("its guard was killed".to_owned())),
        }
    }

    /// Deletes the cluster of the folder `dir`, data and log, wherever they are; the folder itself and anything else in it stay. Nothing
    /// to delete is no error. A crash in the middle leaves a rest that [`Cluster::start`] refuses and a second `erase` deletes.
    ///
    /// # Errors
    /// [`ClusterError::InUse`], [`ClusterError::StillEnding`] as for a start, [`ClusterError::Io`].
    pub fn erase(dir: &Path, options: &ClusterOptions) -> Result<(), ClusterError> {
        if !dir.is_dir() {
            return Ok(());
        }
        let _owner = Owner::of(dir)?;
        let _lock = lock_cluster(dir, Instant::now() + options.handover_limit, options.handover_limit)?;
        let gone = |path: &Path, result: std::io::Result<()>| match result {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(ClusterError::io("remove", path)(error)),
            _ => Ok(()),
        };
        if let Some(moved) = Place::pointed_to(dir)? {
            gone(&moved, fs::remove_dir_all(&moved))?;
        }
        for folder in ["data", "data.unfinished", "socket"].map(|name| dir.join(name)) {
            gone(&folder, fs::remove_dir_all(&folder))?;
        }
        for file in ["postgresql.conf", "postgres.log", "postgres.log.old", "place"].map(|name| dir.join(name)) {
            gone(&file, fs::remove_file(&file))?;
        }
        Ok(())
    }

    fn ended(&self, why: String) -> ClusterError {
        ClusterError::Program {
            program: "postgres",
            why,
            place: self.place.data(),
            log_tail: last_lines(&self.log),
            next: "run the same command again: the data are kept".to_owned(),
        }
    }
}

/// A new log for this run; the one of the run before is kept, so two runs bound the space.
fn start_log(path: &Path) -> Result<File, ClusterError> {
    let old = path.with_extension("log.old");
    match fs::rename(path, &old) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(ClusterError::io("rename", path)(error));
        }
        _ => {}
    }
    OpenOptions::new().append(true).create_new(true).open(path).map_err(ClusterError::io("create", path))
}

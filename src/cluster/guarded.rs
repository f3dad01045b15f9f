//! Our side of the guard: starts it, hears its reports, and ends it by closing the control socket. `guard.rs` says what it promises.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::error::ClusterError;
use super::guard::{ENDED, GUARD_COMMAND, PATIENCE, RUN, STARTED};
use super::place::Account;

/// Three signals of patience, and the time to say goodbye.
const STOP_LIMIT: Duration = Duration::from_secs(3 * PATIENCE.as_secs() + 5);

/// What to run under a guard.
pub(super) struct Charge<'a> {
    /// The program that is a guard when called with [`GUARD_COMMAND`]: `breakwater` itself.
    pub guard_program: &'a Path,
    /// The account for the program.
    pub account: &'a Account,
    /// A folder to remove at the end if it is empty.
    pub remove_empty: Option<&'a Path>,
    /// A folder to remove at the end with all that is in it.
    pub discard: Option<&'a Path>,
    /// The cluster's lock, held by us; guard and program share it.
    pub lock: &'a File,
    /// Where the output of guard and program goes.
    pub log: &'a File,
}

/// A report of the guard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// The program runs, with this process id.
    Started(u32),
    /// The program has ended, and how.
    Ended(String),
    /// The guard itself is gone; its program ends by the parent-death signal.
    Gone,
    /// Nothing new within the time given.
    Silence,
}

/// A running guard. Dropping it ends the guard's program and waits for that.
#[derive(Debug)]
pub(super) struct Guarded {
    guard: Child,
    control: BufReader<UnixStream>,
    line: String,
    over: bool,
}

impl Guarded {
    pub(super) fn start<A: AsRef<OsStr>>(charge: &Charge<'_>, program: &Path, arguments: impl IntoIterator<Item = A>) -> Result<Self, ClusterError> {
        let failed = |doing| ClusterError::io(doing, charge.guard_program);
        // Both ends are close-on-exec: no other child of ours can keep the guard in the belief that we live.
        let (ours, theirs) = UnixStream::pair().map_err(failed("make a socket for the guard"))?;
        let mut command = Command::new(charge.guard_program);
        command.arg(GUARD_COMMAND).arg(RUN);
        if charge.account.switch {
            command.arg("--account").arg(charge.account.uid.to_string()).arg(charge.account.gid.to_string());
        }
        if let Some(folder) = charge.remove_empty {
            command.arg("--empty").arg(folder);
        }
        if let Some(folder) = charge.discard {
            command.arg("--discard").arg(folder);
        }
        command.arg("--").arg(program).args(arguments);
        clean_environment(&mut command);
        // Ours may be a folder that PostgreSQL's account cannot read.
        command.current_dir("/");
        command.stdin(Stdio::from(OwnedFd::from(theirs)));
        command.stdout(Stdio::from(charge.lock.try_clone().map_err(failed("share the lock with the guard"))?));
        command.stderr(Stdio::from(charge.log.try_clone().map_err(failed("share the log with the guard"))?));
        let guard = command.spawn().map_err(failed("start the guard"))?;
        // `command` holds our copy of the guard's end: it must close for the guard's death to be an end-of-file here.
        drop(command);
        Ok(Self { guard, control: BufReader::new(ours), line: String::new(), over: false })
    }

    /// The next report, waiting at most `limit`.
    pub(super) fn report(&mut self, limit: Duration) -> Report {
        if self.over {
            return Report::Gone;
        }
        // Zero would mean "for ever".
        let limit = limit.max(Duration::from_millis(1));
        if self.control.get_ref().set_read_timeout(Some(limit)).is_err() {
            return Report::Gone;
        }
        match self.control.read_line(&mut self.line) {
            Ok(1..) if self.line.ends_with('\n') => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                return Report::Silence;
            }
            Ok(_) | Err(_) => {
                self.over = true;
                return Report::Gone;
            }
        }
        let line = std::mem::take(&mut self.line);
        let line = line.trim_end();
        if let Some(pid) = line.strip_prefix(STARTED).and_then(|pid| pid.parse().ok()) {
            return Report::Started(pid);
        }
        self.over = true;
        line.strip_prefix(ENDED).map_or(Report::Gone, |status| Report::Ended(status.to_owned()))
    }

    /// Ends the program and the guard, and waits until both are gone. Returns how the program ended, if the guard could tell.
    pub(super) fn stop(&mut self) -> Option<String> {
        let mut ended = None;
        let _ = self.control.get_ref().shutdown(Shutdown::Write);
        let deadline = Instant::now() + STOP_LIMIT;
        while !self.over {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // The guard itself is stuck. Its death is a SIGQUIT to PostgreSQL.
                let _ = self.guard.kill();
            }
            if let Report::Ended(status) = self.report(left.max(Duration::from_millis(100))) {
                ended = Some(status);
            }
        }
        let _ = self.guard.wait();
        ended
    }

    /// The guard's process id; for tests of its death.
    pub(super) fn guard_pid(&self) -> u32 {
        self.guard.id()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.stop();
    }
}

/// PostgreSQL's programs read a dozen `PG...` variables, and ours may hold secrets: only what finds libraries and programs passes.
pub(super) fn clean_environment(command: &mut Command) {
    command.env_clear();
    for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("LC_ALL", "C");
}

/// The last lines of a log, for an error. Empty when it cannot be read: the error says more than its log's absence would.
pub(super) fn last_lines(log: &PathBuf) -> String {
    const LINES: usize = 12;
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

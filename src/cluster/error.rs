//! What can go wrong between "start a database" and a database: each variant prints what was attempted, where, why, and the next command to
//! type, because the reader is somebody who ran `breakwater demo` a minute ago and has never heard of a cluster directory.

use std::fmt::{self, Write};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::find::{EARLIEST_MAJOR, LATEST_TRIED_MAJOR, Looked};

/// Why a private cluster could not be started, used or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No usable PostgreSQL on this machine. Install one, or bring a server.
    #[error("{}", describe_search(.looked, *.wanted))]
    NoBinaries {
        /// Every place that was searched and what was there, in the order of the search.
        looked: Vec<Looked>,
        /// The one major version that would do, when a data directory already fixes it.
        wanted: Option<u32>,
    },
    /// Another live process owns this cluster. Use that one, or give another directory.
    #[error(
        "the database directory {} is in use by another breakwater (process {pid})\n  next: stop that process (kill {pid}), or choose another folder with --data-dir",
        .dir.display()
    )]
    InUse {
        /// The cluster's directory.
        dir: PathBuf,
        /// The owner's process id as it wrote it, or `unknown`.
        pid: String,
    },
    /// The previous owner is gone, but its database has not ended yet. Trying again is safe.
    #[error(
        "the previous database in {} is still shutting down after {} s ({who})\n  next: wait and run the same command again, or end it: kill -QUIT <process>",
        .dir.display(), .waited.as_secs()
    )]
    StillEnding {
        /// The cluster's directory.
        dir: PathBuf,
        /// How long was waited.
        waited: Duration,
        /// The process that is left, as far as it is known.
        who: String,
    },
    /// PostgreSQL refuses to run as root, and the account it would run as cannot reach a file that it needs.
    #[error(
        "the account {account} cannot reach {}: the folder {} does not let it pass (PostgreSQL refuses to run as root, so another account runs it)\n  next: {next}",
        .path.display(), .blocked_at.display()
    )]
    NotPassable {
        /// What must be reached.
        path: PathBuf,
        /// The first folder on the way that refuses.
        blocked_at: PathBuf,
        /// The account that PostgreSQL would run as.
        account: String,
        /// The command that helps.
        next: String,
    },
    /// A file or folder that must be ours is not, so nothing in it can be trusted.
    #[error("{} {what}\n  next: {next}", .path.display())]
    NotOurs {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// The command that helps.
        next: String,
    },
    /// A system call failed. The doing and the path tell which.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// The verb, as in "cannot *create the folder*".
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A program that was started failed, or ended when it should not have.
    #[error(
        "{program} failed: {why}\n  where: {}\n{}  next: {next}",
        .place.display(), describe_log(.log_tail)
    )]
    Program {
        /// `initdb`, `postgres`, `psql`, or the guard.
        program: &'static str,
        /// Exit status or what was missed.
        why: String,
        /// The data directory or program it concerns.
        place: PathBuf,
        /// The last lines that it wrote.
        log_tail: String,
        /// The command that helps.
        next: String,
    },
    /// A database name outside `[a-z_][a-z0-9_]{0,62}`: a fault of the caller.
    #[error("{0:?} is no database name: use a-z, 0-9 and _, at most 63, not starting with a digit")]
    DatabaseName(String),
}

impl ClusterError {
    /// For `map_err`: names the doing and the path of a failed system call.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClusterError {
        let path = path.to_path_buf();
        move |source| ClusterError::Io { doing, path, source }
    }
}

fn describe_log(tail: &str) -> String {
    if tail.trim().is_empty() {
        return "  its log is empty\n".to_owned();
    }
    let mut text = "  its last lines:\n".to_owned();
    for line in tail.lines() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    {line}");
    }
    text
}

fn describe_search(looked: &[Looked], wanted: Option<u32>) -> String {
    let mut text = match wanted {
        None => {
            format!("no usable PostgreSQL found: version {EARLIEST_MAJOR} or newer is needed (tried with {EARLIEST_MAJOR} to {LATEST_TRIED_MAJOR})")
        }
        Some(major) => format!("no PostgreSQL {major} found, and the existing data was written by version {major}"),
    };
    text.push_str("\n  looked for the programs postgres and initdb in:");
    for place in looked {
        let _ = write!(text, "\n    {place}");
    }
    text.push_str("\n  next, one of:\n");
    let _ = match wanted {
        None => write!(text, "    apt-get install postgresql          (Debian, Ubuntu)\n    brew install postgresql@17          (Homebrew)\n"),
        Some(major) => write!(
            text,
            "    apt-get install postgresql-{major}       (Debian, Ubuntu)\n    brew install postgresql@{major}          (Homebrew)\n    breakwater demo --reset             (starts with empty data)\n"
        ),
    };
    text.push_str("    BREAKWATER_PG_BIN=/folder/with/postgres breakwater demo\n    breakwater demo --database-url postgresql://user@host/database");
    text
}

impl fmt::Display for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.found)
    }
}

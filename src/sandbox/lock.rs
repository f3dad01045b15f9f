//! One sandbox a data directory: a locked file that also says where the running one is, and a note of the ports of the last run.
//!
//! The lock is the kernel's and ends with the process, so a kill leaves nothing to clean up. The file itself is never deleted: two processes
//! could otherwise hold locks on two files of the same name.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

const LOCK_FILE: &str = "sandbox.json";
const PORTS_FILE: &str = "ports.json";

/// Where a running sandbox is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The base of the control routes.
    pub control_url: String,
    /// The base of each channel's wire.
    pub channels: BTreeMap<String, String>,
    /// Host and port of the mail catcher; `None` of a sandbox that is older than it.
    #[serde(default)]
    pub smtp: Option<String>,
    /// Its process.
    pub pid: u32,
}

impl Running {
    /// The sandbox that runs on `data_dir`, if one does. One that is just starting is waited for, at most two seconds.
    ///
    /// # Errors
    /// When the directory cannot be read, or the sandbox that holds it does not say where it is.
    pub async fn find(data_dir: &Path) -> io::Result<Option<Running>> {
        const PATIENCE: u32 = 40;
        for _ in 0..PATIENCE {
            match Lock::take(data_dir) {
                Ok(Some(_)) => return Ok(None),
                Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(refusal) => return Err(refusal),
                Ok(None) => {}
            }
            let text = std::fs::read(data_dir.join(LOCK_FILE))?;
            if let Ok(running) = serde_json::from_slice(&text) {
                return Ok(Some(running));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "a sandbox holds the data directory and does not say where it listens"))
    }
}

/// The held lock.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    data_dir: PathBuf,
}

impl Lock {
    /// Takes the lock, or `None` when another sandbox has it.
    pub(super) fn take(data_dir: &Path) -> io::Result<Option<Self>> {
        let path = data_dir.join(LOCK_FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file, data_dir: data_dir.to_owned() })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Takes the lock to keep it. Whoever looks whether a sandbox runs has it for an instant: that is waited out, for half a second at most.
    pub(super) async fn take_to_keep(data_dir: &Path) -> io::Result<Option<Self>> {
        const TRIES: u32 = 25;
        for _ in 0..TRIES {
            if let Some(lock) = Self::take(data_dir)? {
                return Ok(Some(lock));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(None)
    }

    /// Says where we are, for [`Running::find`].
    pub(super) fn publish(&mut self, running: &Running) -> io::Result<()> {
        self.write(&serde_json::to_vec(running)?)
    }

    /// Says that nothing runs here any more.
    pub(super) fn withdraw(&mut self) -> io::Result<()> {
        self.write(b"")
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text)
    }

    /// The ports of the last run, by name; empty when there was none or its note is unreadable, because any port will do.
    pub(super) fn ports(&self) -> BTreeMap<String, u16> {
        let mut text = Vec::new();
        let read = File::open(self.data_dir.join(PORTS_FILE)).and_then(|mut file| file.read_to_end(&mut text));
        read.ok().and_then(|_| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Notes the ports for the next run.
    pub(super) fn remember_ports(&self, ports: &BTreeMap<String, u16>) -> io::Result<()> {
        std::fs::write(self.data_dir.join(PORTS_FILE), serde_json::to_vec(ports)?)
    }
}

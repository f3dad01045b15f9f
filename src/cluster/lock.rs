//! The two locks of a cluster's folder, both `flock`: the kernel's, so they end with their holders and never go stale, as a process id in a
//! file does. `owner.lock` is held by the one process that has the [`super::Cluster`]; `cluster.lock` by everything below it as well.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::error::ClusterError;

/// An owner that has just died may be held for a moment by a child between its fork and its exec.
const OWNER_LIMIT: Duration = Duration::from_secs(2);

/// The right to a folder, for as long as this process lives or until it is dropped.
#[derive(Debug)]
pub(super) struct Owner {
    lock: File,
}

impl Owner {
    pub(super) fn of(dir: &Path) -> Result<Self, ClusterError> {
        let path = dir.join("owner.lock");
        let mut lock = open_lock(&path)?;
        if !try_until(&lock, &path, Instant::now() + OWNER_LIMIT)? {
            let pid = fs::read_to_string(&path).ok().map(|pid| pid.trim().to_owned()).filter(|pid| !pid.is_empty());
            return Err(ClusterError::InUse { dir: dir.to_path_buf(), pid: pid.unwrap_or_else(|| "unknown".to_owned()) });
        }
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(ClusterError::io("write", &path))?;
        Ok(Self { lock })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Said, not only closed: a child that is just being forked would hold a closed one for a moment longer.
        let _ = self.lock.unlock();
    }
}

/// The cluster's lock, once the last process of an earlier cluster has let go of it. Never unlocked by us: it lives as long as its last holder.
pub(super) fn lock_cluster(dir: &Path, deadline: Instant, waited: Duration) -> Result<File, ClusterError> {
    let path = dir.join("cluster.lock");
    let lock = open_lock(&path)?;
    if try_until(&lock, &path, deadline)? {
        return Ok(lock);
    }
    Err(ClusterError::StillEnding { dir: dir.to_path_buf(), waited, who: "a process of it holds cluster.lock".to_owned() })
}

fn open_lock(path: &Path) -> Result<File, ClusterError> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(ClusterError::io("open", path))
}

/// Tries until `deadline`; the kernel's blocking call could not be given one.
fn try_until(lock: &File, path: &Path, deadline: Instant) -> Result<bool, ClusterError> {
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Ok(false),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            Err(TryLockError::Error(error)) => return Err(ClusterError::io("lock", path)(error)),
        }
    }
}

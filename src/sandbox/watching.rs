//! Whom the sandbox serves: where notifications go, and the process that it must not outlive by much.
//!
//! The sandbox survives a kill of the orchestrator, so that a restarted one meets the same customers and the same book. But nobody must have to
//! clean up after a demo: alone for longer than its linger, the sandbox ends by itself.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use rustix::process::Pid;
use tokio::sync::watch;
use tokio::time::Instant;

/// What is known of the orchestrator.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Known {
    /// Notifications go to `{notify_url}/v1/notifications/{channel}`.
    pub notify_url: Option<String>,
    /// The process that is watched.
    pub pid: Option<u32>,
}

/// The orchestrator as last told.
#[derive(Debug, Default)]
pub struct Orchestrator {
    known: RwLock<(Known, u64)>,
}

impl Orchestrator {
    /// Replaces what is known.
    pub fn set(&self, known: Known) {
        let mut current = self.known.write().unwrap_or_else(PoisonError::into_inner);
        *current = (known, current.1 + 1);
    }

    /// What is known.
    pub fn known(&self) -> Known {
        self.known.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Where notifications go.
    pub fn notify_url(&self) -> Option<String> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).0.notify_url.clone()
    }

    /// How often it was told anew: being told counts as company.
    fn tellings(&self) -> u64 {
        self.known.read().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// Turns `ending` true once no orchestrator was alive for `linger`.
pub async fn end_when_alone(orchestrator: &Orchestrator, linger: Duration, ending: watch::Sender<bool>) {
    let mut told = orchestrator.tellings();
    let mut alone_since = Instant::now();
    let look = (linger / 4).clamp(Duration::from_millis(20), Duration::from_secs(1));
    while !*ending.borrow() {
        tokio::time::sleep(look).await;
        let tellings = orchestrator.tellings();
        if tellings != told || orchestrator.known().pid.is_some_and(is_alive) {
            told = tellings;
            alone_since = Instant::now();
        }
        if alone_since.elapsed() >= linger {
            tracing::info!(linger_ms = u64::try_from(linger.as_millis()).unwrap_or(u64::MAX), "the sandbox ends because it is alone");
            ending.send_replace(true);
        }
    }
}

/// Whether a process lives. One that ended but was not waited for is not alive, which a signal of zero would not tell.
fn is_alive(pid: u32) -> bool {
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    match rustix::process::test_kill_process(process) {
        Err(rustix::io::Errno::SRCH) => false,
        _ => !is_zombie(pid),
    }
}

/// Only Linux tells by a file; elsewhere nothing is taken for a zombie, and the parent's `wait` decides.
fn is_zombie(pid: u32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The state follows the name, which is in parentheses and may hold anything.
    status.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_an_unused_number_is_not() {
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(0x3fff_fff0));
    }
}

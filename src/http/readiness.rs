//! Whether this process should be given traffic, and if not, why. The one who wires the process moves it from starting to ready to stopping;
//! anybody may hang a named concern on it (`"database"`: `"it cannot be reached"`) and take it off again.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Phase {
    /// Not yet: it migrates, connects, or recovers.
    #[default]
    Starting,
    /// It may be given traffic.
    Ready,
    /// It finishes what is in flight and takes nothing new.
    Stopping,
}

impl Phase {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
        }
    }
}

/// What `/readyz` tells.
#[derive(Debug, Default)]
pub struct Readiness {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    phase: Phase,
    concerns: BTreeMap<&'static str, String>,
}

impl Readiness {
    /// Enters a phase. Nothing comes after stopping.
    pub fn enter(&self, phase: Phase) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if inner.phase != Phase::Stopping {
            inner.phase = phase;
        }
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).phase
    }

    /// Says why `subject` keeps the process from being ready, or with `None` that it no longer does.
    pub fn concern(&self, subject: &'static str, reason: Option<String>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => inner.concerns.insert(subject, reason),
            None => inner.concerns.remove(subject),
        };
    }

    /// Why the process is not ready: empty when it is.
    pub fn reasons(&self) -> Vec<String> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let phase = (inner.phase != Phase::Ready).then(|| format!("the process is {}", inner.phase.as_str()));
        phase.into_iter().chain(inner.concerns.iter().map(|(subject, reason)| format!("{subject}: {reason}"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_only_without_a_concern_and_never_after_it_stops() {
        let readiness = Readiness::default();
        assert_eq!(readiness.reasons(), ["the process is starting"]);
        readiness.enter(Phase::Ready);
        assert!(readiness.reasons().is_empty());
        readiness.concern("database", Some("it cannot be reached".to_owned()));
        assert_eq!(readiness.reasons(), ["database: it cannot be reached"]);
        readiness.concern("database", None);
        readiness.enter(Phase::Stopping);
        readiness.enter(Phase::Ready);
        assert_eq!(readiness.reasons(), ["the process is stopping"]);
    }
}

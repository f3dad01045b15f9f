//! Work of which there is one at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One at a time: whoever takes the turn does the work. It is free again when what was taken is dropped, by a panic too, or the work would never be
/// done again.
#[derive(Clone, Debug, Default)]
pub struct Turn(Arc<AtomicBool>);

/// The turn of whoever took it, until it is dropped.
#[derive(Debug)]
pub struct Taken(Arc<AtomicBool>);

impl Turn {
    /// Takes it; `None` while somebody has it.
    pub fn take(&self) -> Option<Taken> {
        (!self.0.swap(true, Ordering::AcqRel)).then(|| Taken(Arc::clone(&self.0)))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_one_at_a_time_and_comes_back_from_whoever_panicked() {
        let turn = Turn::default();
        let taken = turn.take();
        assert!(taken.is_some() && turn.clone().take().is_none());
        drop(taken);
        let lost = std::panic::catch_unwind(|| {
            let _taken = turn.take();
            panic!("a fault of ours");
        });
        assert!(lost.is_err());
        assert!(turn.take().is_some());
    }
}

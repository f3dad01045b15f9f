//! The line of payments that wait for room, because every channel that could carry them is full.
//!
//! A burst is worth a moment's wait: it is over in a few milliseconds. A standing overload is not: whoever waits then is turned away at the end of the
//! wait all the same, and what the waiting and the last questions to the database cost is taken from those that could be carried. The two are told
//! apart by what became of those who waited (as CoDel does with packets: by the time in the queue, not by its length): while nobody has waited in
//! vain for [`MEMORY`], the line has no end but the bound of the flows; after that, as many may stand in it as there are places, and one more is
//! turned away at once: before anything is asked of the database, also whether its key is known. It may come again with the same key.
//!
//! Each channel has its line, and a payment stands in those of its whole plan: it is turned away only where every one of them is too long, so that one
//! channel's overload turns nobody away from another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::clock::Moment;

/// For how long after somebody waited in vain the line is short.
const MEMORY: Duration = Duration::from_secs(1);

/// Who waits, and since when in vain.
#[derive(Debug, Default)]
pub(super) struct Line {
    length: AtomicUsize,
    /// When somebody last waited in vain, in nanoseconds of boot time; 0 for never.
    in_vain_at: AtomicU64,
}

/// A place in the line, for as long as it is kept.
#[derive(Debug)]
pub(super) struct InLine(Arc<Line>);

impl Line {
    /// Whether to wait here for one of `places` would be in vain. They are counted only where somebody has: nearly always nobody has.
    pub(super) fn is_too_long(&self, places: impl FnOnce() -> usize, now: Moment) -> bool {
        let last = self.in_vain_at.load(Ordering::Relaxed);
        let stands = last != 0 && now.since(Moment::from_nanos(last)) < MEMORY;
        stands && self.length.load(Ordering::Relaxed) >= places()
    }

    /// Stands in it.
    pub(super) fn join(self: &Arc<Self>) -> InLine {
        self.length.fetch_add(1, Ordering::Relaxed);
        InLine(Arc::clone(self))
    }

    /// Somebody waited to the end and found no place.
    pub(super) fn was_in_vain(&self, now: Moment) {
        self.in_vain_at.fetch_max(now.as_nanos(), Ordering::Relaxed);
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        self.0.length.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(7_000_000_000) + Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_may_wait_however_long_its_line() {
        let line = Arc::new(Line::default());
        let _waiting: Vec<_> = (0..1_000).map(|_| line.join()).collect();
        assert!(!line.is_too_long(|| 10, at(0)));
    }

    #[test]
    fn once_somebody_waited_in_vain_no_more_wait_than_there_are_places_for_a_second() {
        let line = Arc::new(Line::default());
        line.was_in_vain(at(0));
        let mut waiting: Vec<_> = (0..9).map(|_| line.join()).collect();
        assert!(!line.is_too_long(|| 10, at(999)));
        waiting.push(line.join());
        assert!(line.is_too_long(|| 10, at(999)));
        assert!(!line.is_too_long(|| 11, at(999)), "whoever has more places to wait for may");
        assert!(!line.is_too_long(|| 10, at(1_000)), "a second without one is a burst again");
        line.was_in_vain(at(1_000));
        line.was_in_vain(at(500));
        assert!(line.is_too_long(|| 10, at(1_999)), "the last one counts, in whatever order they tell");
        waiting.pop();
        assert!(!line.is_too_long(|| 10, at(1_999)), "who leaves makes room");
    }
}

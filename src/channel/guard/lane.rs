//! One class's lane through the guard: its breaker, its rate, its limiter, and a slot for every call in flight, behind one lock.
//!
//! The slots exist so that a call that hangs is noticed while it hangs: the tick walks them and counts what is slow already. When the first byte
//! left is written beside the lock, into the slot's atomic, because whoever writes that byte is in a hurry and touches only its own slot.

use std::time::Duration;

use super::super::breaker::{self, Admission, Breaker, BreakerSettings, Kind, State, Transition};
use super::super::locks::atomic::{AtomicU64, Ordering};
use super::super::locks::{Mutex, MutexGuard, PoisonError};
use super::Rejected;
use super::limiter::{Limiter, Sample};
use super::rate::Rate;
use super::snapshot::Counters;
use crate::clock::Moment;
use crate::domain::operation::CallClass;

/// A slot whose call has sent nothing yet.
const NOT_SENT: u64 = u64::MAX;

/// A lane that must be asked under its lock.
const ASK: u64 = 0;
/// A lane that an operator shut.
const SHUT_BY_OPERATOR: u64 = u64::MAX;

/// One class's lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// [`ASK`], [`SHUT_BY_OPERATOR`], or the moment in nanoseconds before which the breaker is surely open.
    shut_until: AtomicU64,
    sent_at: Box<[AtomicU64]>,
    rejected_by_breaker: AtomicU64,
    rejected_by_room: AtomicU64,
    rejected_by_rate: AtomicU64,
    rejected_by_budget: AtomicU64,
    desk: Mutex<Desk>,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) breaker: Breaker,
    pub(super) limiter: Limiter,
    rate: Option<Rate>,
    /// The latest time that anybody came with: a dropped permit has no clock.
    latest: Moment,
    calls: Box<[Option<Admission>]>,
    free: Vec<u16>,
    admitted: u64,
    /// Of those, how many came back and had never left us.
    never_left: u64,
    recorded: u64,
    failed: u64,
    dropped_unsent: u64,
    dropped_sent: u64,
}

/// How a permit comes back.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// With an outcome, at that moment.
    Recorded(CallClass, Moment),
    /// Without a word.
    Dropped,
}

/// What the end of a call leaves behind.
pub(super) struct Ended<'a> {
    pub(super) transition: Option<Transition>,
    /// Whether it leaves the channel as it was or better: if it was a repeat, the retry budget has it back.
    pub(super) unspent: bool,
    pub(super) desk: MutexGuard<'a, Desk>,
}

impl Lane {
    /// A lane with a closed breaker and `most` slots (at most 65,535).
    pub(super) fn new(settings: &BreakerSettings, seed: u64, most: u32, now: Moment) -> Self {
        let free: Vec<u16> = (0..most).rev().filter_map(|slot| u16::try_from(slot).ok()).collect();
        Self {
            shut_until: AtomicU64::new(ASK),
            sent_at: free.iter().map(|_| AtomicU64::new(NOT_SENT)).collect(),
            rejected_by_breaker: AtomicU64::new(0),
            rejected_by_room: AtomicU64::new(0),
            rejected_by_rate: AtomicU64::new(0),
            rejected_by_budget: AtomicU64::new(0),
            desk: Mutex::new(Desk {
                breaker: Breaker::new(settings, seed, now),
                limiter: Limiter::new(settings.min_limit, most, settings.probes * 2),
                rate: settings.rate().map(|(per_second, burst)| Rate::new(per_second, burst)),
                latest: now,
                calls: vec![None; free.len()].into_boxed_slice(),
                free,
                admitted: 0,
                never_left: 0,
                recorded: 0,
                failed: 0,
                dropped_unsent: 0,
                dropped_sent: 0,
            }),
        }
    }

    /// Rejects without the lock when the breaker is surely open.
    pub(super) fn shut(&self, now: Moment) -> Option<breaker::Rejected> {
        match self.shut_until.load(Ordering::Acquire) {
            ASK => None,
            SHUT_BY_OPERATOR => Some(breaker::Rejected { state: State::ForcedOpen, retry_after: None }),
            until => {
                let until = Moment::from_nanos(until);
                (now < until).then(|| breaker::Rejected { state: State::Open, retry_after: Some(until.since(now)) })
            }
        }
    }

    /// The lock, and `now` noted.
    pub(super) fn lock(&self, now: Moment) -> MutexGuard<'_, Desk> {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.latest = desk.latest.max(now);
        desk
    }

    /// Publishes what [`Lane::shut`] reads; after every transition, under the lock.
    pub(super) fn publish(&self, desk: &Desk) {
        let word = match desk.breaker.state() {
            State::Closed | State::HalfOpen | State::ForcedClosed => ASK,
            State::Open => desk.breaker.open_until().map_or(ASK, |until| until.as_nanos().min(SHUT_BY_OPERATOR - 1)),
            State::ForcedOpen => SHUT_BY_OPERATOR,
        };
        self.shut_until.store(word, Ordering::Release);
    }

    /// Gives an admitted call its slot; none when there is none, which the room makes impossible.
    pub(super) fn begin(&self, desk: &mut Desk, admission: Admission) -> Option<u16> {
        let slot = desk.free.pop()?;
        self.sent_at[usize::from(slot)].store(NOT_SENT, Ordering::Relaxed);
        desk.calls[usize::from(slot)] = Some(admission);
        desk.admitted += 1;
        Some(slot)
    }

    /// Notes that the slot's call wrote its first byte; only the first time counts.
    pub(super) fn sent(&self, slot: u16, now: Moment) {
        let sent_at = now.as_nanos().min(NOT_SENT - 1);
        // Only the permit's owner writes here while the slot is taken, so load and store need not be one step.
        if self.sent_at(slot).is_none() {
            self.sent_at[usize::from(slot)].store(sent_at, Ordering::Release);
        }
    }

    /// Takes the slot's call back and tells the breaker.
    pub(super) fn end(&self, slot: u16, admitted: Moment, end: End) -> Ended<'_> {
        let sent_at = self.sent_at(slot);
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        let (class, now) = match (end, sent_at) {
            (End::Recorded(class, now), _) => {
                desk.recorded += 1;
                desk.latest = desk.latest.max(now);
                (class, now)
            }
            (End::Dropped, None) => {
                desk.dropped_unsent += 1;
                (CallClass::Neutral, desk.latest)
            }
            (End::Dropped, Some(_)) => {
                desk.dropped_sent += 1;
                (CallClass::FailHard, desk.latest)
            }
        };
        desk.failed += u64::from(matches!(class, CallClass::FailHard | CallClass::FailSoft));
        let never_left = sent_at.is_none() && class == CallClass::Neutral;
        desk.never_left += u64::from(never_left);
        let unspent = never_left || class == CallClass::Success;
        let Some(admission) = desk.calls[usize::from(slot)].take() else {
            return Ended { transition: None, unspent, desk };
        };
        let in_flight = desk.in_flight();
        desk.free.push(slot);
        let counts = admission.kind == Kind::Normal && desk.breaker.is_of_this_epoch(&admission);
        let transition = desk.breaker.record(admission, class, now.since(sent_at.unwrap_or(admitted)), now);
        if transition.is_some() {
            self.publish(&desk);
        }
        if transition.is_some_and(|transition| transition.from == State::HalfOpen && transition.to == State::Closed) {
            desk.limiter.restart(now);
        } else if let Some(sample) = sent_at.and_then(|sent_at| sample(class, now.since(sent_at))).filter(|_| counts) {
            desk.limiter.sample(sample, in_flight, now);
        }
        Ended { transition, unspent, desk }
    }

    /// Counts, once each, the calls in flight that are slow already. At most one of them can trip: the others are then of an old epoch.
    pub(super) fn mark_slow(&self, desk: &mut Desk, now: Moment) -> Option<Transition> {
        let Desk { breaker, calls, .. } = desk;
        let mut transition = None;
        for (admission, sent_at) in calls.iter_mut().zip(&self.sent_at) {
            let Some(admission) = admission else { continue };
            let sent_at = sent_at.load(Ordering::Acquire);
            if sent_at != NOT_SENT {
                transition = transition.or(breaker.mark_slow(admission, now.since(Moment::from_nanos(sent_at)), now));
            }
        }
        transition
    }

    /// Counts it, by who rejected.
    pub(super) fn count_rejected(&self, rejected: &Rejected) {
        let counter = match rejected {
            Rejected::Breaker(_) => &self.rejected_by_breaker,
            Rejected::InFlight { .. } => &self.rejected_by_room,
            Rejected::OverRate { .. } => &self.rejected_by_rate,
            Rejected::RetryBudget { .. } => &self.rejected_by_budget,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters, with those that the lock guards.
    pub(super) fn counters(&self, desk: &Desk) -> Counters {
        Counters {
            admitted: desk.admitted,
            recorded: desk.recorded,
            failed: desk.failed,
            dropped_unsent: desk.dropped_unsent,
            dropped_sent: desk.dropped_sent,
            late: desk.breaker.late(),
            rejected_by_breaker: self.rejected_by_breaker.load(Ordering::Relaxed),
            rejected_by_room: self.rejected_by_room.load(Ordering::Relaxed),
            rejected_by_rate: self.rejected_by_rate.load(Ordering::Relaxed),
            rejected_by_budget: self.rejected_by_budget.load(Ordering::Relaxed),
        }
    }

    fn sent_at(&self, slot: u16) -> Option<Moment> {
        let nanos = self.sent_at[usize::from(slot)].load(Ordering::Acquire);
        (nanos != NOT_SENT).then(|| Moment::from_nanos(nanos))
    }
}

impl Desk {
    /// A place in the contract's rate for one call, or how long until there is one.
    pub(super) fn take_rate(&mut self, now: Moment) -> Result<(), Duration> {
        self.rate.as_mut().map_or(Ok(()), |rate| rate.take(now))
    }

    /// Whether the contract's rate has a place now.
    pub(super) fn has_rate(&self, now: Moment) -> bool {
        self.rate.as_ref().is_none_or(|rate| rate.wait(now).is_zero())
    }

    /// Calls a second that the contract allows; none for as many as one likes.
    pub(super) fn rate_per_second(&self) -> Option<u32> {
        self.rate.as_ref().map(Rate::per_second)
    }

    /// Calls since the process started: permits given, less those that came back and had never left us. It may go down by as many as are in flight.
    pub(super) fn made(&self) -> u64 {
        self.admitted - self.never_left
    }

    fn in_flight(&self) -> u32 {
        u32::try_from(self.calls.len() - self.free.len()).unwrap_or(u32::MAX)
    }
}

/// What the end of a call that was sent says of how much the channel can carry; nothing when it never left us after all.
fn sample(class: CallClass, rtt: Duration) -> Option<Sample> {
    match class {
        CallClass::Success => Some(Sample::Answered(rtt)),
        CallClass::FailHard | CallClass::FailSoft | CallClass::RateLimited => Some(Sample::Trouble),
        CallClass::Neutral => None,
    }
}

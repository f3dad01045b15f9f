//! A channel's guard: what a flow asks before it writes an intent, and what it tells how the call went.
//!
//! One guard a channel, in an [`Arc`]: the flow holds it, not the channel's actor, so that a full mailbox or a dead actor cannot delay the
//! answer "not this channel". The flow takes a [`Permit`] with [`ChannelGuard::admit`], the permit travels with the call, whoever writes the
//! first byte says [`Permit::mark_sent`], and whoever has the outcome consumes it with [`Permit::record`]. A permit that is dropped instead
//! speaks for itself: nothing was sent, so nothing is known of the channel; or something was sent and nobody will say how it went, which
//! is a failure. That holds in a panic too.
//!
//! A guard asks, in this order: the class's breaker ([`super::breaker`]; one each for pay, resolve and refund, so that failing refunds do
//! not stop payments), the channel's room for calls in flight (`room.rs`, whose limit follows `limiter.rs`), and the contract's rate
//! (`rate.rs`). A repeat of what was sent before is asked for with [`ChannelGuard::admit_repeat`] and must also find the channel's retry budget
//! (`budget.rs`) not empty. It never queues: the answer is now, and costs nanoseconds. A shut breaker is also published in one atomic word a
//! class, so that most rejections do not even take the lock.
//!
//! The resolve breaker only paces: it is always gated by time alone (the query that it would wait for is what it guards), so every one of its
//! rejections says after how long to come again, unless an operator shut it.
//!
//! What it refuses to do: decide anything about money. A late or lost permit changes a breaker's mind, never a payment.
//!
//! Locks: one mutex a class, held for tens of nanoseconds and never across a call out. The retry budget has its own, which only repeats and the
//! tick take, before a class's; so has the ring of transitions, taken last. A poisoned lock is entered all the same: what it guards is counters, each
//! step of which leaves them usable. What threads do to each other here is tried in thousands of orders by `tests/guard_interleavings.rs`.

mod budget;
mod lane;
mod limiter;
mod permit;
mod rate;
mod room;
mod settings;
mod snapshot;

#[cfg(test)]
mod models;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::breaker::{self, BreakerSettings, Mode, ProbeGate, State, Transition};
use super::locks::{Mutex, MutexGuard, PoisonError};
use crate::clock::Moment;
use crate::domain::operation::{CallClass, OperationClass};

pub use permit::Permit;
pub use settings::{GuardSettings, MAX_IN_FLIGHT, MIN_IN_FLIGHT};
pub use snapshot::{Counters, Snapshot};

use budget::Budget;
use lane::Lane;
use room::Room;

/// How many transitions are kept for [`ChannelGuard::transitions`]. A breaker makes a few a second at worst and the supervisor looks several times
/// a second; more means that nobody looks, and then the newest are worth the most.
pub const TRANSITIONS_KEPT: usize = 64;

/// Why a call may not be made now. Nothing was sent and nothing written: the flow takes the next channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The class's breaker is open, or has its probes out, or an operator shut it.
    Breaker(breaker::Rejected),
    /// Too many calls are in flight at this channel, or only room that is kept for other classes is left.
    InFlight {
        /// How many may be, all classes together.
        limit: u32,
    },
    /// It would be more than the channel's contract allows in a second.
    OverRate {
        /// Until there is a place.
        retry_after: Duration,
    },
    /// It is a repeat, and there were too many repeats of late.
    RetryBudget {
        /// Until there may be another.
        retry_after: Duration,
    },
}

impl Rejected {
    /// The name in metrics, logs and problem details: a state that rejects, `in_flight`, `over_rate` or `retry_budget`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Breaker(rejected) => rejected.state.as_str(),
            Self::InFlight { .. } => "in_flight",
            Self::OverRate { .. } => "over_rate",
            Self::RetryBudget { .. } => "retry_budget",
        }
    }

    /// Whether it is only for a moment: the channel is well, and a place may be free at any time.
    pub const fn is_momentary(self) -> bool {
        matches!(self, Self::InFlight { .. } | Self::OverRate { .. })
    }

    /// How long until another answer is possible by time alone; none when it does not depend on time.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Breaker(rejected) => rejected.retry_after,
            Self::InFlight { .. } => None,
            Self::OverRate { retry_after } | Self::RetryBudget { retry_after } => Some(retry_after),
        }
    }
}

/// A transition, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassTransition {
    /// The class whose breaker it was.
    pub class: OperationClass,
    /// The transition.
    pub transition: Transition,
}

/// What happened since the last time somebody asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transitions {
    /// Oldest first; within one class in the order of their epochs.
    pub list: Vec<ClassTransition>,
    /// How many older ones were overwritten before anybody asked.
    pub lost: u64,
}

/// The guard of one channel. See the module's documentation.
#[derive(Debug)]
pub struct ChannelGuard {
    lanes: [Lane; 3],
    room: Room,
    repeats: Mutex<Repeats>,
    history: Mutex<History>,
}

#[derive(Debug)]
struct Repeats {
    budget: Budget,
    /// How many calls the budget knows of.
    counted: u64,
}

#[derive(Debug)]
struct History {
    kept: VecDeque<ClassTransition>,
    lost: u64,
}

impl ChannelGuard {
    /// A guard with closed breakers and nothing in flight; all that it will ever allocate, it allocates here. `seed` decides the jitter of
    /// the openings and must differ between processes, or they probe in step. An invalid setting is refused with every fault, as [`GuardSettings::validate`] does.
    pub fn new(settings: &GuardSettings, seed: u64, now: Moment) -> Result<Arc<Self>, Vec<String>> {
        settings.validate()?;
        let room = Room::new(settings.max_in_flight);
        let lane = |class, settings: &BreakerSettings| Lane::new(settings, seed ^ class as u64, room.most(class), now);
        let resolve = BreakerSettings { probe_gate: ProbeGate::TimeOnly, ..settings.resolve.clone() };
        let lanes =
            [lane(OperationClass::Pay, &settings.pay), lane(OperationClass::Resolve, &resolve), lane(OperationClass::Refund, &settings.refund)];
        let history = History { kept: VecDeque::with_capacity(TRANSITIONS_KEPT), lost: 0 };
        let repeats = Mutex::new(Repeats { budget: Budget::new(now), counted: 0 });
        Ok(Arc::new(Self { lanes, room, repeats, history: Mutex::new(history) }))
    }

    /// Leave to make one call of `class`, to be taken before its intent is written. Never waits and never allocates.
    pub fn admit(self: &Arc<Self>, class: OperationClass, now: Moment) -> Result<Permit, Rejected> {
        if cfg!(feature = "unguarded") {
            return Ok(Permit::of_nothing(Arc::clone(self), class, now));
        }
        let answer = self.ask(class, now);
        if let Err(rejected) = &answer {
            self.lane(class).count_rejected(rejected);
        }
        answer
    }

    /// Leave to send again what was sent, or refused, before: like [`ChannelGuard::admit`], and out of the channel's retry budget. What is
    /// turned away for another reason takes nothing from it, and what succeeds, or is given back unsent, gives it back.
    pub fn admit_repeat(self: &Arc<Self>, class: OperationClass, now: Moment) -> Result<Permit, Rejected> {
        if cfg!(feature = "unguarded") {
            return Ok(Permit::of_nothing(Arc::clone(self), class, now));
        }
        let mut repeats = self.lock_repeats();
        self.count_calls(&mut repeats, now);
        let retry_after = repeats.budget.wait(now);
        let answer = if retry_after.is_zero() { self.ask(class, now) } else { Err(Rejected::RetryBudget { retry_after }) };
        match &answer {
            Ok(_) => repeats.budget.take(now),
            Err(rejected) => self.lane(class).count_rejected(rejected),
        }
        answer.map(Permit::of_budget)
    }

    fn ask(self: &Arc<Self>, class: OperationClass, now: Moment) -> Result<Permit, Rejected> {
        let lane = self.lane(class);
        if let Some(rejected) = lane.shut(now) {
            return Err(Rejected::Breaker(rejected));
        }
        let mut desk = lane.lock(now);
        let (answer, transition) = desk.breaker.admit(now);
        if let Some(transition) = transition {
            lane.publish(&desk);
            self.remember(class, transition);
        }
        let admission = answer.map_err(Rejected::Breaker)?;
        let rejected = if self.room.take(class) {
            // The rate last: what is turned away for want of room must not use it up.
            match desk.take_rate(now) {
                Ok(()) => {
                    if let Some(slot) = lane.begin(&mut desk, admission) {
                        return Ok(Permit::new(Arc::clone(self), class, slot, now));
                    }
                    self.room.give_back(class);
                    Rejected::InFlight { limit: self.limit() }
                }
                Err(retry_after) => {
                    self.room.give_back(class);
                    Rejected::OverRate { retry_after }
                }
            }
        } else {
            Rejected::InFlight { limit: self.limit() }
        };
        // A probe's lease goes back; an ordinary admission leaves no trace.
        desk.breaker.record(admission, CallClass::Neutral, Duration::ZERO, now);
        Err(rejected)
    }

    /// What [`ChannelGuard::admit`] would answer, taking nothing: for ranking channels. The answer may be stale when it arrives.
    pub fn would_admit(&self, class: OperationClass, now: Moment) -> bool {
        let lane = self.lane(class);
        if lane.shut(now).is_some() || !self.room.has(class) {
            return false;
        }
        let desk = lane.lock(now);
        desk.breaker.would_admit(now) && desk.has_rate(now)
    }

    /// Does what time alone asks for: counts calls that are slow already, ends openings, gives up lost probes, eases limits. The supervisor calls it several
    /// times a second (250 ms is meant), with traffic or without: its `now` is also the time that a dropped permit is recorded at.
    pub fn tick(&self, now: Moment) {
        for class in OperationClass::ALL {
            let lane = self.lane(class);
            let mut desk = lane.lock(now);
            let moved = desk.breaker.tick(now);
            let tripped = lane.mark_slow(&mut desk, now);
            desk.limiter.ease(now);
            self.room.set_class_limit(class, desk.limiter.limit());
            for transition in [moved, tripped].into_iter().flatten() {
                lane.publish(&desk);
                self.remember(class, transition);
            }
        }
        self.count_calls(&mut self.lock_repeats(), now);
    }

    /// A query at this channel succeeded (a real one, or the supervisor's synthetic one): openings of pay and refund that waited for it end.
    pub fn query_succeeded(&self, now: Moment) {
        for class in [OperationClass::Pay, OperationClass::Refund] {
            self.change(class, now, |breaker| breaker.query_succeeded(now));
        }
    }

    /// Whether an opening of pay or refund waits for nothing but a query that succeeds: with no unknown due, time for a synthetic one. It takes
    /// a `resolve` permit like any other.
    pub fn wants_query(&self, now: Moment) -> bool {
        [OperationClass::Pay, OperationClass::Refund].into_iter().any(|class| self.lane(class).lock(now).breaker.wants_query(now))
    }

    /// Begins an operator's override of one class, or changes it for another. It wins over the automatic state until it is cleared.
    pub fn set_override(&self, class: OperationClass, mode: Mode, now: Moment) {
        self.change(class, now, |breaker| breaker.force(mode, now));
    }

    /// Ends an operator's override: forced_open and drain go on as half_open, forced_closed as closed with an empty window. Without one it
    /// does nothing.
    pub fn clear_override(&self, class: OperationClass, now: Moment) {
        self.change(class, now, |breaker| breaker.release(now));
    }

    /// How many calls may be in flight at this channel now, all classes together: what the limiter of pay allows it, and the shares of the others.
    pub fn limit(&self) -> u32 {
        self.room.limit()
    }

    /// How many calls of `class` are in flight.
    pub fn in_flight(&self, class: OperationClass) -> u32 {
        self.room.in_flight(class)
    }

    /// How one class stands, for the operations pages and metrics.
    pub fn snapshot(&self, class: OperationClass, now: Moment) -> Snapshot {
        let lane = self.lane(class);
        let mut desk = lane.lock(now);
        let window = desk.breaker.totals(now);
        let breaker = &desk.breaker;
        let reason = breaker.reason();
        let mode = match (breaker.state(), reason) {
            (State::ForcedOpen | State::ForcedClosed, Some(breaker::Reason::Override(mode))) => Some(mode),
            _ => None,
        };
        Snapshot {
            class,
            state: breaker.state(),
            epoch: breaker.epoch(),
            reason,
            since: breaker.since(),
            retry_after: breaker.retry_after(now),
            window,
            run: breaker.run(),
            probes_out: breaker.probes_out(),
            in_flight: self.room.in_flight(class),
            limit: self.limit(),
            class_limit: self.room.class_limit(class),
            kept: self.room.kept(class),
            rate_per_second: desk.rate_per_second(),
            r#override: mode,
            counters: lane.counters(&desk),
        }
    }

    /// Takes out the transitions since the last call: the supervisor's, for metrics, logs and alarms. It alone should call it.
    pub fn transitions(&self) -> Transitions {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        Transitions { list: history.kept.drain(..).collect(), lost: std::mem::take(&mut history.lost) }
    }

    fn change(&self, class: OperationClass, now: Moment, change: impl FnOnce(&mut breaker::Breaker) -> Option<Transition>) {
        let lane = self.lane(class);
        let mut desk = lane.lock(now);
        if let Some(transition) = change(&mut desk.breaker) {
            lane.publish(&desk);
            self.remember(class, transition);
        }
    }

    /// Tells the budget of the calls since the last time. The calls themselves do not: they would all meet at its lock.
    fn count_calls(&self, repeats: &mut Repeats, now: Moment) {
        let made: u64 = OperationClass::ALL.into_iter().map(|class| self.lane(class).lock(now).made()).sum();
        // One that was counted while it was out, and then never left us, is made good by the next.
        repeats.budget.count(made.saturating_sub(repeats.counted), now);
        repeats.counted = repeats.counted.max(made);
    }

    fn lock_repeats(&self) -> MutexGuard<'_, Repeats> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane(&self, class: OperationClass) -> &Lane {
        &self.lanes[class as usize]
    }

    /// Called with the lane locked, so that a class's transitions are kept in their order.
    fn remember(&self, class: OperationClass, transition: Transition) {
        let mut history: MutexGuard<'_, History> = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.kept.len() == TRANSITIONS_KEPT {
            history.kept.pop_front();
            history.lost += 1;
        }
        history.kept.push_back(ClassTransition { class, transition });
    }
}

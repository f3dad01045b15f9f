//! The circuit breaker of one class of operations at one channel: whether to call now, judged from how the last calls went.
//!
//! It is a plain value. It never waits, never allocates after construction, never reads a clock, and knows nothing of HTTP or money: the
//! caller asks [`Breaker::admit`] before a call and tells [`Breaker::record`] after it, with the time in hand. [`super::guard`] puts a lock
//! around it and is what the flows hold.
//!
//! ```text
//!            too many failures or slow calls, or a run of failures
//!   closed ─────────────────────────────────────────────────────────▶ open ◀───────────┐
//!      ▲                                                                │ time passed,  │ a probe failed, or its lease
//!      │                                                                ▼ gate satisfied│ passed, or all were slow
//!      └──────────────── `probes` probes succeeded ───────────────── half_open ─────────┘
//!
//!   forced_open (also: drain) and forced_closed come from an operator and win; forced_open ends in half_open, forced_closed in closed.
//! ```
//!
//! Invariants, each with a property test in `properties.rs` (against the naive breaker of `naive.rs`):
//! - Every transition increments the *epoch*, and an admission carries its epoch. A result of another epoch is counted as late and decides
//!   nothing: calls that were admitted before a trip cannot close, re-open or trip what came after them.
//! - At most `probes` admissions are out in half_open, each on a lease: when one passes, by any [`Breaker::admit`] or [`Breaker::tick`], the
//!   breaker re-opens. So it can wedge neither with lost probes nor without traffic.
//! - Declines are successes: what a customer's bank thinks says nothing of the channel.
//! - Only differences between moments count: shifting every moment changes no decision.
//!
//! The terms are those of M. Nygard, *Release It!*; the two trip rules (ratio over a window, run of failures), slow calls and half-open probes
//! are those of <https://resilience4j.readme.io/docs/circuitbreaker>, without its count of slow calls only at their end. Read next:
//! `settings.rs` (every threshold), `window.rs` (what is counted).

mod admission;
mod phase;
mod rules;
mod settings;
mod state;
mod window;

#[cfg(test)]
mod naive;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::clock::Moment;
use crate::domain::operation::CallClass;

pub use admission::{Admission, Kind, Rejected};
pub use settings::{BreakerSettings, MAX_PROBES, ProbeGate};
pub use state::{Mode, Reason, State, Transition};
pub use window::{BUCKETS, Totals};

use phase::{Opening, Phase, Probes, Run};
use rules::{Dice, Rules};
use window::Window;

/// The breaker.
#[derive(Debug)]
pub struct Breaker {
    rules: Rules,
    phase: Phase,
    epoch: u64,
    since: Moment,
    reason: Option<Reason>,
    window: Window,
    run: Run,
    /// How often the opening was doubled; none before the first trip.
    doublings: Option<u32>,
    late: u64,
    dice: Dice,
}

impl Breaker {
    /// A closed breaker. `settings` must have passed [`BreakerSettings::validate`]; `seed` decides the jitter of its openings, and must
    /// differ between processes, or they probe in step.
    pub fn new(settings: &BreakerSettings, seed: u64, now: Moment) -> Self {
        Self {
            rules: Rules::from(settings),
            phase: Phase::Closed,
            epoch: 0,
            since: now,
            reason: None,
            window: Window::new(settings.bucket(), now),
            run: Run::default(),
            doublings: None,
            late: 0,
            dice: Dice(seed),
        }
    }

    /// Leave to make one call, or not. May be what notices that an opening or a probe's lease has passed: hence the transition.
    #[inline] // Closed is the usual case, and its answer fits registers; every other one is told in a line of memory.
    pub fn admit(&mut self, now: Moment) -> (Result<Admission, Rejected>, Option<Transition>) {
        if matches!(self.phase, Phase::Closed | Phase::ForcedClosed) {
            return (Ok(Admission { epoch: self.epoch, kind: Kind::Normal, counted_slow_in: None }), None);
        }
        self.admit_unless_closed(now)
    }

    fn admit_unless_closed(&mut self, now: Moment) -> (Result<Admission, Rejected>, Option<Transition>) {
        let transition = self.advance(now);
        let lease_until = now + self.rules.probe_lease;
        let answer = match &mut self.phase {
            Phase::Closed | Phase::ForcedClosed => Ok(Kind::Normal),
            Phase::Open(opening) => Err(Some(opening.remaining(now))),
            Phase::HalfOpen(probes) => match probes.lend(self.rules.probes, lease_until) {
                Some(lease) => Ok(Kind::Probe(lease)),
                None => Err(probes.next_lease_end().map(|end| end.since(now))),
            },
            Phase::ForcedOpen => Err(None),
        };
        let answer = match answer {
            Ok(kind) => Ok(Admission { epoch: self.epoch, kind, counted_slow_in: None }),
            Err(retry_after) => Err(Rejected { state: self.state(), retry_after }),
        };
        (answer, transition)
    }

    /// What [`Breaker::admit`] would answer, changing nothing.
    pub fn would_admit(&self, now: Moment) -> bool {
        match &self.phase {
            Phase::Closed | Phase::ForcedClosed => true,
            Phase::Open(opening) => opening.is_over(now),
            Phase::HalfOpen(probes) => !probes.lease_has_passed(now) && probes.may_lend(self.rules.probes),
            Phase::ForcedOpen => false,
        }
    }

    /// Takes an admission back: how the call ended and how long it took.
    #[inline]
    pub fn record(&mut self, admission: Admission, class: CallClass, rtt: Duration, now: Moment) -> Option<Transition> {
        if admission.epoch != self.epoch {
            self.late += 1;
            return None;
        }
        match (&mut self.phase, admission.kind) {
            (Phase::Closed | Phase::ForcedClosed, Kind::Normal) => {
                let failed = match class {
                    CallClass::Success => false,
                    CallClass::FailHard | CallClass::FailSoft => true,
                    // Not in the window, so nothing to judge: what merely leaves the window must not trip by itself.
                    CallClass::RateLimited | CallClass::Neutral => return None,
                };
                self.count(admission, failed, rtt, now);
                self.trip_if_due(now)
            }
            (Phase::HalfOpen(probes), Kind::Probe(lease)) => {
                if !probes.take_back(lease) {
                    self.late += 1;
                    return None;
                }
                self.judge_probe(class, rtt, now)
            }
            // An epoch has one phase, and these give no such admissions.
            (Phase::Open(_) | Phase::ForcedOpen, _) | (Phase::HalfOpen(_), Kind::Normal) | (_, Kind::Probe(_)) => {
                self.late += 1;
                None
            }
        }
    }

    /// Counts a call that is still running `running_for` after it began, when that is slow already. Counts it once: the admission remembers.
    /// Probes are judged when they end, or when their lease passes.
    pub fn mark_slow(&mut self, admission: &mut Admission, running_for: Duration, now: Moment) -> Option<Transition> {
        let stale = admission.epoch != self.epoch || admission.kind != Kind::Normal;
        if stale || admission.counted_slow_in.is_some() || running_for <= self.rules.slow_after {
            return None;
        }
        admission.counted_slow_in = Some(self.window.count_running_slow(now));
        self.trip_if_due(now)
    }

    /// Does what time alone asks for: ends an opening, gives up a lost probe. Call it a few times a second, traffic or not.
    pub fn tick(&mut self, now: Moment) -> Option<Transition> {
        self.advance(now)
    }

    /// A query at this channel succeeded: with `probe_gate = query_first`, what an opening waits for beside time. Never closes by itself.
    pub fn query_succeeded(&mut self, now: Moment) -> Option<Transition> {
        if let Phase::Open(opening) = &mut self.phase {
            opening.query_succeeded = true;
        }
        self.advance(now)
    }

    /// Whether a query that succeeds is all that an opening still waits for.
    pub fn wants_query(&self, now: Moment) -> bool {
        matches!(&self.phase, Phase::Open(opening) if now >= opening.until && !opening.is_over(now))
    }

    /// Begins an operator's override, or changes it for another. Between `forced_open` and `drain` only the reason changes.
    pub fn force(&mut self, mode: Mode, now: Moment) -> Option<Transition> {
        match (&self.phase, mode) {
            (Phase::ForcedOpen, Mode::ForcedOpen | Mode::Drain) | (Phase::ForcedClosed, Mode::ForcedClosed) => {
                self.reason = Some(Reason::Override(mode));
                None
            }
            (_, Mode::ForcedOpen | Mode::Drain) => self.enter(Phase::ForcedOpen, Reason::Override(mode), now),
            (_, Mode::ForcedClosed) => self.enter(Phase::ForcedClosed, Reason::Override(mode), now),
        }
    }

    /// Ends an operator's override: a shut breaker goes on as half_open, a held one as closed with an empty window. Without an override it
    /// does nothing.
    pub fn release(&mut self, now: Moment) -> Option<Transition> {
        match &self.phase {
            Phase::ForcedOpen => self.enter(Phase::HalfOpen(Probes::default()), Reason::OverrideEnded, now),
            Phase::ForcedClosed => self.enter(Phase::Closed, Reason::OverrideEnded, now),
            Phase::Closed | Phase::Open(_) | Phase::HalfOpen(_) => None,
        }
    }

    /// The state as last decided; time may have passed since (see [`Breaker::tick`]).
    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Closed => State::Closed,
            Phase::Open(_) => State::Open,
            Phase::HalfOpen(_) => State::HalfOpen,
            Phase::ForcedOpen => State::ForcedOpen,
            Phase::ForcedClosed => State::ForcedClosed,
        }
    }

    /// How many transitions there have been.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Why it is in its state; none before the first transition.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// Since when it is in its state.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// When an opening ends at the earliest; none when it is not open.
    pub fn open_until(&self) -> Option<Moment> {
        match &self.phase {
            Phase::Open(opening) => Some(opening.until),
            Phase::Closed | Phase::HalfOpen(_) | Phase::ForcedOpen | Phase::ForcedClosed => None,
        }
    }

    /// How long until an admission may be had by time alone; zero when it may be had now, none when an operator shut it.
    pub fn retry_after(&self, now: Moment) -> Option<Duration> {
        match &self.phase {
            Phase::Closed | Phase::ForcedClosed => Some(Duration::ZERO),
            Phase::Open(opening) => Some(opening.remaining(now)),
            Phase::HalfOpen(probes) if probes.may_lend(self.rules.probes) => Some(Duration::ZERO),
            Phase::HalfOpen(probes) => probes.next_lease_end().map(|end| end.since(now)),
            Phase::ForcedOpen => None,
        }
    }

    /// What the window holds at `now`. While the breaker is open it still shows what tripped it, until that is too old.
    pub fn totals(&mut self, now: Moment) -> Totals {
        self.window.sums_at(now)
    }

    /// Whether an admission is of the present epoch: what a call of another one says is late.
    pub fn is_of_this_epoch(&self, admission: &Admission) -> bool {
        admission.epoch == self.epoch
    }

    /// Failures in a row since the last success.
    pub fn run(&self) -> u32 {
        self.run.length
    }

    /// Probes that are out; zero unless half_open.
    pub fn probes_out(&self) -> u32 {
        match &self.phase {
            Phase::HalfOpen(probes) => probes.out(),
            Phase::Closed | Phase::Open(_) | Phase::ForcedOpen | Phase::ForcedClosed => 0,
        }
    }

    /// Results that came in another epoch than their admission's, and so decided nothing.
    pub fn late(&self) -> u64 {
        self.late
    }

    fn advance(&mut self, now: Moment) -> Option<Transition> {
        match &self.phase {
            Phase::Open(opening) if opening.is_over(now) => {
                let reason = if opening.query_succeeded || opening.gate_until == opening.until { Reason::Waited } else { Reason::WaitedWithoutQuery };
                self.enter(Phase::HalfOpen(Probes::default()), reason, now)
            }
            Phase::HalfOpen(probes) if probes.lease_has_passed(now) => self.reopen(Reason::ProbeLost, now),
            _ => None,
        }
    }

    #[inline]
    fn count(&mut self, admission: Admission, failed: bool, rtt: Duration, now: Moment) {
        match admission.counted_slow_in {
            Some(bucket) => self.window.finish_slow(bucket, failed, now),
            None => self.window.count(failed, rtt > self.rules.slow_after, now),
        }
        if failed { self.run.grow(now) } else { self.run = Run::default() }
    }

    #[inline]
    fn trip_if_due(&mut self, now: Moment) -> Option<Transition> {
        if !matches!(self.phase, Phase::Closed) {
            return None;
        }
        let rules = &self.rules;
        let totals = self.window.sums();
        let reaches = |part: u32, permille: u32| u64::from(part) * 1_000 >= u64::from(totals.calls) * u64::from(permille);
        let reason = if rules.consecutive > 0 && self.run.length >= rules.consecutive && self.run.span() >= rules.consecutive_span {
            Reason::Consecutive
        } else if totals.calls < rules.min_calls {
            return None;
        } else if reaches(totals.failures, rules.fail_permille) {
            Reason::Failures
        } else if reaches(totals.slow, rules.slow_permille) {
            Reason::SlowCalls
        } else {
            return None;
        };
        let doublings = match self.doublings {
            Some(doublings) if now.since(self.since) < rules.decay => doublings.saturating_add(1),
            _ => 0,
        };
        self.open(doublings, reason, now)
    }

    fn judge_probe(&mut self, class: CallClass, rtt: Duration, now: Moment) -> Option<Transition> {
        let Phase::HalfOpen(probes) = &mut self.phase else {
            return None;
        };
        match class {
            CallClass::Neutral | CallClass::RateLimited => None,
            CallClass::FailHard | CallClass::FailSoft => self.reopen(Reason::ProbeFailed, now),
            CallClass::Success => {
                probes.succeeded += 1;
                probes.slow += u32::from(rtt > self.rules.slow_after);
                if probes.succeeded < self.rules.probes {
                    None
                } else if probes.slow * 1_000 >= probes.succeeded * self.rules.slow_permille {
                    self.reopen(Reason::ProbesSlow, now)
                } else {
                    self.enter(Phase::Closed, Reason::ProbesSucceeded, now)
                }
            }
        }
    }

    fn reopen(&mut self, reason: Reason, now: Moment) -> Option<Transition> {
        self.open(self.doublings.map_or(0, |doublings| doublings.saturating_add(1)), reason, now)
    }

    fn open(&mut self, doublings: u32, reason: Reason, now: Moment) -> Option<Transition> {
        self.doublings = Some(doublings);
        let until = now + self.dice.jittered(self.rules.opening(doublings));
        let gate_until = match self.rules.probe_gate {
            ProbeGate::QueryFirst => until + self.rules.open_max,
            ProbeGate::TimeOnly => until,
        };
        self.enter(Phase::Open(Opening { until, gate_until, query_succeeded: false }), reason, now)
    }

    fn enter(&mut self, phase: Phase, reason: Reason, now: Moment) -> Option<Transition> {
        let from = self.state();
        self.phase = phase;
        self.epoch += 1;
        self.since = now;
        self.reason = Some(reason);
        let to = self.state();
        if matches!(to, State::Closed | State::ForcedClosed) {
            self.window.clear(now);
            self.run = Run::default();
        }
        Some(Transition { from, to, reason, epoch: self.epoch, at: now })
    }
}

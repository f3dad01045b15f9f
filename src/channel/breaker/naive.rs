//! A breaker that keeps a list of everything that happened and recounts it for every decision: slow, and too simple to be wrong in the same way.

use super::*;

const TEN_BUCKETS: u64 = 10;

/// A call as the model sees it: in the window it counts where `counted_at` says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) counted_at: Moment,
    pub(super) failed: bool,
    pub(super) slow: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    pub(super) admission: Admission,
    pub(super) probe: bool,
    pub(super) admitted: Moment,
    pub(super) event: Option<usize>,
}

/// The model: lists, and the sentences of the specification.
pub(super) struct Naive {
    pub(super) settings: BreakerSettings,
    pub(super) state: State,
    pub(super) since: Moment,
    pub(super) transitions: u64,
    pub(super) events: Vec<Event>,
    pub(super) ended: Vec<(Moment, bool)>,
    pub(super) doublings: Option<u32>,
    pub(super) until: Moment,
    pub(super) query_succeeded: bool,
    pub(super) probe_was_slow: Vec<bool>,
    pub(super) late: u64,
}

impl Naive {
    pub(super) fn new(settings: &BreakerSettings, now: Moment) -> Self {
        Self {
            settings: settings.clone(),
            state: State::Closed,
            since: now,
            transitions: 0,
            events: Vec::new(),
            ended: Vec::new(),
            doublings: None,
            until: now,
            query_succeeded: false,
            probe_was_slow: Vec::new(),
            late: 0,
        }
    }

    pub(super) fn millis(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    pub(super) fn bucket_of(&self, at: Moment, origin: Moment) -> u64 {
        (at.since(origin).as_nanos() / self.settings.bucket().as_nanos()) as u64
    }

    /// Where the window's time starts: at the last entry into a state that judges calls.
    pub(super) fn recount(&self, origin: Moment, now: Moment) -> Totals {
        let inside = |event: &&Event| self.bucket_of(now, origin) - self.bucket_of(event.counted_at, origin) < TEN_BUCKETS;
        let events: Vec<&Event> = self.events.iter().filter(inside).collect();
        Totals {
            calls: events.len() as u32,
            failures: events.iter().filter(|event| event.failed).count() as u32,
            slow: events.iter().filter(|event| event.slow).count() as u32,
        }
    }

    pub(super) fn due(&self, now: Moment) -> bool {
        let gate = match self.settings.probe_gate {
            ProbeGate::QueryFirst if !self.query_succeeded => Self::millis(self.settings.open_max_ms),
            _ => Duration::ZERO,
        };
        now >= self.until + gate
    }

    pub(super) fn lost_probe(&self, out: &[Out], now: Moment) -> bool {
        self.probes_out(out).iter().any(|probe| now >= probe.admitted + self.settings.probe_lease())
    }

    pub(super) fn probes_out(&self, out: &[Out]) -> Vec<Out> {
        out.iter().filter(|call| call.probe && call.admission.epoch == self.transitions).copied().collect()
    }

    /// What time alone does.
    pub(super) fn on_time(&self, out: &[Out], now: Moment) -> Option<(State, Reason)> {
        match self.state {
            State::Open if self.due(now) => {
                let by_query = self.query_succeeded || self.settings.probe_gate == ProbeGate::TimeOnly;
                Some((State::HalfOpen, if by_query { Reason::Waited } else { Reason::WaitedWithoutQuery }))
            }
            State::HalfOpen if self.lost_probe(out, now) => Some((State::Open, Reason::ProbeLost)),
            _ => None,
        }
    }

    pub(super) fn admits(&self, out: &[Out]) -> bool {
        match self.state {
            State::Closed | State::ForcedClosed => true,
            State::Open | State::ForcedOpen => false,
            State::HalfOpen => self.probes_out(out).len() + self.probe_was_slow.len() < self.settings.probes as usize,
        }
    }

    pub(super) fn trips(&self, origin: Moment, now: Moment) -> Option<(State, Reason)> {
        if self.state != State::Closed {
            return None;
        }
        let run: Vec<Moment> = self.ended.iter().rev().take_while(|(_, failed)| *failed).map(|(at, _)| *at).collect();
        let totals = self.recount(origin, now);
        let share = |part: u32| u64::from(part) * 1_000;
        let of_all = |permille: u32| u64::from(totals.calls) * u64::from(permille);
        let settings = &self.settings;
        let long_enough = || match (run.first(), run.last()) {
            (Some(last), Some(first)) => last.since(*first) >= Self::millis(settings.consecutive_span_ms),
            _ => false,
        };
        if settings.consecutive > 0 && run.len() >= settings.consecutive as usize && long_enough() {
            Some((State::Open, Reason::Consecutive))
        } else if totals.calls >= settings.min_calls && share(totals.failures) >= of_all(settings.fail_permille) {
            Some((State::Open, Reason::Failures))
        } else if totals.calls >= settings.min_calls && share(totals.slow) >= of_all(settings.slow_permille) {
            Some((State::Open, Reason::SlowCalls))
        } else {
            None
        }
    }

    /// Records in a state that judges calls.
    pub(super) fn judge(&mut self, call: Out, failed: bool, origin: Moment, now: Moment) -> Option<(State, Reason)> {
        let slow = now.since(call.admitted) > Self::millis(self.settings.slow_after_ms);
        match call.event.map(|index| (index, self.events[index].counted_at)) {
            Some((index, at)) if self.bucket_of(now, origin) - self.bucket_of(at, origin) < TEN_BUCKETS => {
                self.events[index].failed = failed;
            }
            Some(_) => self.events.push(Event { counted_at: now, failed, slow: false }),
            None => self.events.push(Event { counted_at: now, failed, slow }),
        }
        self.ended.push((now, failed));
        self.trips(origin, now)
    }

    pub(super) fn judge_probe(&mut self, call: Out, class: CallClass, now: Moment) -> Option<(State, Reason)> {
        match class {
            CallClass::Neutral | CallClass::RateLimited => return None,
            CallClass::FailHard | CallClass::FailSoft => {
                return Some((State::Open, Reason::ProbeFailed));
            }
            CallClass::Success => {}
        }
        self.probe_was_slow.push(now.since(call.admitted) > Self::millis(self.settings.slow_after_ms));
        if self.probe_was_slow.len() < self.settings.probes as usize {
            return None;
        }
        let slow = self.probe_was_slow.iter().filter(|slow| **slow).count();
        if slow * 1_000 >= self.probe_was_slow.len() * self.settings.slow_permille as usize {
            Some((State::Open, Reason::ProbesSlow))
        } else {
            Some((State::Closed, Reason::ProbesSucceeded))
        }
    }

    pub(super) fn opening_is_between(&mut self, now: Moment) -> (Duration, Duration) {
        let went_on = self.state != State::Closed || now.since(self.since) < Self::millis(self.settings.decay_ms);
        let doublings = match self.doublings {
            Some(doublings) if went_on => doublings + 1,
            _ => 0,
        };
        self.doublings = Some(doublings);
        let mut opening = self.settings.open_base_ms;
        for _ in 0..doublings {
            opening = (opening * 2).min(self.settings.open_max_ms);
        }
        (Self::millis(opening) * 3 / 4, Self::millis(opening) * 5 / 4)
    }

    pub(super) fn enter(&mut self, state: State, now: Moment) {
        self.state = state;
        self.since = now;
        self.transitions += 1;
        self.probe_was_slow.clear();
        self.query_succeeded = false;
        if matches!(state, State::Closed | State::ForcedClosed) {
            self.events.clear();
            self.ended.clear();
        }
    }
}

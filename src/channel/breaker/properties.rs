//! The breaker against a naive model that keeps a list of everything that happened and recounts it every time.

use proptest::prelude::*;

use super::*;

const TEN_BUCKETS: u64 = 10;

#[derive(Clone, Copy, Debug)]
enum Step {
    Advance(u64),
    Admit,
    Record(usize, CallClass),
    Tick,
    QuerySucceeded,
    Force(Mode),
    Release,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let class = prop_oneof![
        6 => Just(CallClass::Success),
        4 => Just(CallClass::FailHard),
        3 => Just(CallClass::FailSoft),
        1 => Just(CallClass::RateLimited),
        1 => Just(CallClass::Neutral),
    ];
    let step = prop_oneof![
        6 => (0_u64..400).prop_map(Step::Advance),
        2 => (0_u64..6_000).prop_map(Step::Advance),
        12 => Just(Step::Admit),
        12 => (any::<usize>(), class).prop_map(|(which, class)| Step::Record(which, class)),
        3 => Just(Step::Tick),
        1 => Just(Step::QuerySucceeded),
        1 => prop_oneof![Just(Mode::ForcedOpen), Just(Mode::ForcedClosed), Just(Mode::Drain)].prop_map(Step::Force),
        2 => Just(Step::Release),
    ];
    prop::collection::vec(step, 1..200)
}

fn settings() -> impl Strategy<Value = BreakerSettings> {
    let trip = (
        1_u32..12,
        prop_oneof![Just(1_u32), Just(500), Just(750), Just(1_000)],
        100_u64..1_500,
        prop_oneof![Just(300_u32), Just(800)],
    );
    let run = (0_u32..5, 0_u64..500);
    let reopen = (
        1_u64..1_500,
        0_u64..5_000,
        1_u32..=MAX_PROBES,
        any::<bool>(),
        0_u64..5_000,
        500_u64..15_000,
    );
    (trip, run, reopen).prop_map(|(trip, run, reopen)| BreakerSettings {
        call_timeout_ms: reopen.5,
        min_calls: trip.0,
        fail_permille: trip.1,
        slow_after_ms: trip.2,
        slow_permille: trip.3,
        consecutive: run.0,
        consecutive_span_ms: run.1,
        open_base_ms: reopen.0,
        open_max_ms: reopen.0 + reopen.1,
        probes: reopen.2,
        probe_gate: if reopen.3 {
            ProbeGate::QueryFirst
        } else {
            ProbeGate::TimeOnly
        },
        decay_ms: reopen.4,
    })
}

/// A call as the model sees it: in the window it counts where `counted_at` says.
#[derive(Clone, Copy, Debug)]
struct Event {
    counted_at: Moment,
    failed: bool,
    slow: bool,
}

#[derive(Clone, Copy, Debug)]
struct Out {
    admission: Admission,
    probe: bool,
    admitted: Moment,
    event: Option<usize>,
}

/// The model: lists, and the sentences of the specification.
struct Naive {
    settings: BreakerSettings,
    state: State,
    since: Moment,
    transitions: u64,
    events: Vec<Event>,
    ended: Vec<(Moment, bool)>,
    doublings: Option<u32>,
    until: Moment,
    query_succeeded: bool,
    probe_was_slow: Vec<bool>,
    late: u64,
}

impl Naive {
    fn new(settings: &BreakerSettings, now: Moment) -> Self {
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

    fn millis(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    fn bucket_of(&self, at: Moment, origin: Moment) -> u64 {
        (at.since(origin).as_nanos() / self.settings.bucket().as_nanos()) as u64
    }

    /// Where the window's time starts: at the last entry into a state that judges calls.
    fn recount(&self, origin: Moment, now: Moment) -> Totals {
        let inside = |event: &&Event| {
            self.bucket_of(now, origin) - self.bucket_of(event.counted_at, origin) < TEN_BUCKETS
        };
        let events: Vec<&Event> = self.events.iter().filter(inside).collect();
        Totals {
            calls: events.len() as u32,
            failures: events.iter().filter(|event| event.failed).count() as u32,
            slow: events.iter().filter(|event| event.slow).count() as u32,
        }
    }

    fn due(&self, now: Moment) -> bool {
        let gate = match self.settings.probe_gate {
            ProbeGate::QueryFirst if !self.query_succeeded => {
                Self::millis(self.settings.open_max_ms)
            }
            _ => Duration::ZERO,
        };
        now >= self.until + gate
    }

    fn lost_probe(&self, out: &[Out], now: Moment) -> bool {
        self.probes_out(out)
            .iter()
            .any(|probe| now >= probe.admitted + self.settings.probe_lease())
    }

    fn probes_out(&self, out: &[Out]) -> Vec<Out> {
        out.iter()
            .filter(|call| call.probe && call.admission.epoch == self.transitions)
            .copied()
            .collect()
    }

    /// What time alone does.
    fn on_time(&self, out: &[Out], now: Moment) -> Option<(State, Reason)> {
        match self.state {
            State::Open if self.due(now) => {
                let by_query =
                    self.query_succeeded || self.settings.probe_gate == ProbeGate::TimeOnly;
                Some((
                    State::HalfOpen,
                    if by_query {
                        Reason::Waited
                    } else {
                        Reason::WaitedWithoutQuery
                    },
                ))
            }
            State::HalfOpen if self.lost_probe(out, now) => Some((State::Open, Reason::ProbeLost)),
            _ => None,
        }
    }

    fn admits(&self, out: &[Out]) -> bool {
        match self.state {
            State::Closed | State::ForcedClosed => true,
            State::Open | State::ForcedOpen => false,
            State::HalfOpen => {
                self.probes_out(out).len() + self.probe_was_slow.len()
                    < self.settings.probes as usize
            }
        }
    }

    fn trips(&self, origin: Moment, now: Moment) -> Option<(State, Reason)> {
        if self.state != State::Closed {
            return None;
        }
        let run: Vec<Moment> = self
            .ended
            .iter()
            .rev()
            .take_while(|(_, failed)| *failed)
            .map(|(at, _)| *at)
            .collect();
        let totals = self.recount(origin, now);
        let share = |part: u32| u64::from(part) * 1_000;
        let of_all = |permille: u32| u64::from(totals.calls) * u64::from(permille);
        let settings = &self.settings;
        let long_enough = || match (run.first(), run.last()) {
            (Some(last), Some(first)) => {
                last.since(*first) >= Self::millis(settings.consecutive_span_ms)
            }
            _ => false,
        };
        if settings.consecutive > 0 && run.len() >= settings.consecutive as usize && long_enough() {
            Some((State::Open, Reason::Consecutive))
        } else if totals.calls >= settings.min_calls
            && share(totals.failures) >= of_all(settings.fail_permille)
        {
            Some((State::Open, Reason::Failures))
        } else if totals.calls >= settings.min_calls
            && share(totals.slow) >= of_all(settings.slow_permille)
        {
            Some((State::Open, Reason::SlowCalls))
        } else {
            None
        }
    }

    /// Records in a state that judges calls.
    fn judge(
        &mut self,
        call: Out,
        failed: bool,
        origin: Moment,
        now: Moment,
    ) -> Option<(State, Reason)> {
        let slow = now.since(call.admitted) > Self::millis(self.settings.slow_after_ms);
        match call
            .event
            .map(|index| (index, self.events[index].counted_at))
        {
            Some((index, at))
                if self.bucket_of(now, origin) - self.bucket_of(at, origin) < TEN_BUCKETS =>
            {
                self.events[index].failed = failed;
            }
            Some(_) => self.events.push(Event {
                counted_at: now,
                failed,
                slow: false,
            }),
            None => self.events.push(Event {
                counted_at: now,
                failed,
                slow,
            }),
        }
        self.ended.push((now, failed));
        self.trips(origin, now)
    }

    fn judge_probe(&mut self, call: Out, class: CallClass, now: Moment) -> Option<(State, Reason)> {
        match class {
            CallClass::Neutral | CallClass::RateLimited => return None,
            CallClass::FailHard | CallClass::FailSoft => {
                return Some((State::Open, Reason::ProbeFailed));
            }
            CallClass::Success => {}
        }
        self.probe_was_slow
            .push(now.since(call.admitted) > Self::millis(self.settings.slow_after_ms));
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

    fn opening_is_between(&mut self, now: Moment) -> (Duration, Duration) {
        let went_on = self.state != State::Closed
            || now.since(self.since) < Self::millis(self.settings.decay_ms);
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

    fn enter(&mut self, state: State, now: Moment) {
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

/// Both, fed the same, compared after every step.
struct Pair {
    breaker: Breaker,
    naive: Naive,
    origin: Moment,
    out: Vec<Out>,
    now: Moment,
}

impl Pair {
    fn new(settings: &BreakerSettings, now: Moment) -> Self {
        let (breaker, naive) = (Breaker::new(settings, 42, now), Naive::new(settings, now));
        Self {
            breaker,
            naive,
            origin: now,
            out: Vec::new(),
            now,
        }
    }

    fn agree(&mut self, expected: Option<(State, Reason)>, seen: Option<Transition>) {
        let from = self.naive.state;
        if let Some((to, reason)) = expected {
            if matches!(reason, Reason::Failures | Reason::SlowCalls) {
                assert!(
                    self.naive.recount(self.origin, self.now).calls
                        >= self.naive.settings.min_calls
                );
            }
            if to == State::Open {
                let (least, most) = self.naive.opening_is_between(self.now);
                self.naive.until = self.breaker.open_until().expect("it should be open");
                let opening = self.naive.until.since(self.now);
                assert!(
                    least <= opening && opening <= most,
                    "{least:?} <= {opening:?} <= {most:?}"
                );
            }
            self.naive.enter(to, self.now);
            if matches!(to, State::Closed | State::ForcedClosed) {
                self.origin = self.now;
            }
        }
        let expected = expected.map(|(to, reason)| Transition {
            from,
            to,
            reason,
            epoch: self.naive.transitions,
            at: self.now,
        });
        assert_eq!(seen, expected);
    }

    fn step(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Advance(millis) => self.now = self.now + Duration::from_millis(millis),
            Step::Admit => {
                let foreseen = self.breaker.would_admit(now);
                let expected = self.naive.on_time(&self.out, now);
                let (answer, transition) = self.breaker.admit(now);
                self.agree(expected, transition);
                assert_eq!(answer.is_ok(), self.naive.admits(&self.out), "{answer:?}");
                assert_eq!(answer.is_ok(), foreseen);
                match answer {
                    Ok(admission) => {
                        assert_eq!(admission.epoch, self.naive.transitions);
                        let probe = matches!(admission.kind, Kind::Probe(_));
                        assert_eq!(probe, self.naive.state == State::HalfOpen);
                        self.out.push(Out {
                            admission,
                            probe,
                            admitted: now,
                            event: None,
                        });
                    }
                    Err(rejected) => {
                        assert_eq!(rejected.state, self.naive.state);
                        assert_eq!(
                            rejected.retry_after.is_none(),
                            self.naive.state == State::ForcedOpen
                        );
                        assert_ne!(rejected.retry_after, Some(Duration::ZERO));
                    }
                }
            }
            Step::Record(which, class) => {
                if self.out.is_empty() {
                    return;
                }
                let call = self.out.swap_remove(which % self.out.len());
                let failed = matches!(class, CallClass::FailHard | CallClass::FailSoft);
                let expected = if call.admission.epoch != self.naive.transitions {
                    self.naive.late += 1;
                    None
                } else if call.probe {
                    self.naive.judge_probe(call, class, now)
                } else if matches!(class, CallClass::Neutral | CallClass::RateLimited) {
                    None
                } else {
                    self.naive.judge(call, failed, self.origin, now)
                };
                let seen =
                    self.breaker
                        .record(call.admission, class, now.since(call.admitted), now);
                self.agree(expected, seen);
            }
            Step::Tick => {
                let expected = self.naive.on_time(&self.out, now);
                let seen = self.breaker.tick(now);
                self.agree(expected, seen);
                for index in 0..self.out.len() {
                    self.mark_slow(index, now);
                }
            }
            Step::QuerySucceeded => {
                if self.naive.state == State::Open {
                    self.naive.query_succeeded = true;
                }
                let expected = self.naive.on_time(&self.out, now);
                let seen = self.breaker.query_succeeded(now);
                self.agree(expected, seen);
            }
            Step::Force(mode) => {
                let target = if mode == Mode::ForcedClosed {
                    State::ForcedClosed
                } else {
                    State::ForcedOpen
                };
                let expected =
                    (self.naive.state != target).then_some((target, Reason::Override(mode)));
                let seen = self.breaker.force(mode, now);
                self.agree(expected, seen);
            }
            Step::Release => {
                let expected = match self.naive.state {
                    State::ForcedOpen => Some((State::HalfOpen, Reason::OverrideEnded)),
                    State::ForcedClosed => Some((State::Closed, Reason::OverrideEnded)),
                    _ => None,
                };
                let seen = self.breaker.release(now);
                self.agree(expected, seen);
            }
        }
    }

    fn mark_slow(&mut self, index: usize, now: Moment) {
        let call = self.out[index];
        let running = now.since(call.admitted);
        let counts = call.admission.epoch == self.naive.transitions
            && !call.probe
            && call.event.is_none()
            && running > Naive::millis(self.naive.settings.slow_after_ms);
        let expected = if counts {
            self.naive.events.push(Event {
                counted_at: now,
                failed: false,
                slow: true,
            });
            self.out[index].event = Some(self.naive.events.len() - 1);
            self.naive.trips(self.origin, now)
        } else {
            None
        };
        let seen = self
            .breaker
            .mark_slow(&mut self.out[index].admission, running, now);
        self.agree(expected, seen);
    }

    fn compare(&mut self) {
        assert_eq!(self.breaker.state(), self.naive.state);
        assert_eq!(self.breaker.epoch(), self.naive.transitions);
        assert_eq!(self.breaker.late(), self.naive.late);
        if self.naive.state == State::Closed || self.naive.state == State::ForcedClosed {
            assert_eq!(
                self.breaker.totals(self.now),
                self.naive.recount(self.origin, self.now)
            );
        }
        if self.naive.state == State::HalfOpen {
            assert_eq!(
                self.breaker.probes_out() as usize,
                self.naive.probes_out(&self.out).len()
            );
        }
        assert!(self.breaker.probes_out() <= self.naive.settings.probes);
    }
}

/// Everything that one run decided, in terms that do not depend on when it started.
fn decisions(settings: &BreakerSettings, steps: &[Step], start: Moment) -> Vec<String> {
    let mut breaker = Breaker::new(settings, 7, start);
    let mut out: Vec<(Admission, Moment)> = Vec::new();
    let mut now = start;
    let mut decided = Vec::new();
    let told = |transition: Option<Transition>, start: Moment| {
        transition.map(|transition| {
            (
                transition.from,
                transition.to,
                transition.reason,
                transition.epoch,
                transition.at.since(start),
            )
        })
    };
    for step in steps {
        let transition = match *step {
            Step::Advance(millis) => {
                now = now + Duration::from_millis(millis);
                None
            }
            Step::Admit => {
                let (answer, transition) = breaker.admit(now);
                decided.push(format!("{answer:?}"));
                out.extend(answer.ok().map(|admission| (admission, now)));
                transition
            }
            Step::Record(which, class) if !out.is_empty() => {
                let (admission, admitted) = out.swap_remove(which % out.len());
                breaker.record(admission, class, now.since(admitted), now)
            }
            Step::Record(..) => None,
            Step::Tick => {
                let mut transition = breaker.tick(now);
                for (admission, admitted) in &mut out {
                    transition =
                        transition.or(breaker.mark_slow(admission, now.since(*admitted), now));
                }
                transition
            }
            Step::QuerySucceeded => breaker.query_succeeded(now),
            Step::Force(mode) => breaker.force(mode, now),
            Step::Release => breaker.release(now),
        };
        decided.push(format!("{:?}", told(transition, start)));
    }
    decided
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_breaker_decides_as_a_recount_of_all_events_does(settings in settings(), steps in steps()) {
        prop_assert_eq!(settings.validate(), Ok(()));
        let mut pair = Pair::new(&settings, Moment::from_nanos(3_123_456_789));
        for step in steps {
            pair.step(step);
            pair.compare();
        }
    }

    #[test]
    fn shifting_every_moment_changes_no_decision(settings in settings(), steps in steps(), shift in 0_u64..1_000_000_000_000_000) {
        let here = decisions(&settings, &steps, Moment::from_nanos(5));
        let there = decisions(&settings, &steps, Moment::from_nanos(5 + shift));
        prop_assert_eq!(here, there);
    }

    #[test]
    fn from_any_state_a_healthy_channel_is_half_open_without_traffic_and_closed_with_its_first_probes(settings in settings(), steps in steps()) {
        let mut pair = Pair::new(&settings, Moment::from_nanos(1));
        for step in steps {
            pair.step(step);
        }
        pair.step(Step::Release);
        // Whatever was out is lost: its lease passes, the breaker re-opens, and its longest opening passes too, gate and jitter included.
        let patience = settings.probe_lease() + Duration::from_millis(settings.open_max_ms) * 9 / 4;
        let (breaker, mut now) = (&mut pair.breaker, pair.now);
        let give_up = now + patience + Duration::from_secs(1);
        while breaker.state() == State::Open || breaker.probes_out() > 0 {
            now = now + Duration::from_millis(10);
            prop_assert!(now < give_up, "still {:?}", breaker.state());
            breaker.tick(now);
        }
        if breaker.state() == State::HalfOpen {
            let slow_before = usize::from(breaker.would_admit(now));
            prop_assert_eq!(slow_before, 1, "a probe can be had");
            while let (Ok(admission), _) = breaker.admit(now) {
                if breaker.record(admission, CallClass::Success, Duration::ZERO, now).is_some() {
                    break;
                }
            }
            // Unless slow answers of before were among the probes that counted.
            let fine = breaker.state() == State::Closed || breaker.reason() == Some(Reason::ProbesSlow);
            prop_assert!(fine, "{:?} for {:?}", breaker.state(), breaker.reason());
        } else {
            prop_assert_eq!(breaker.state(), State::Closed);
        }
    }
}

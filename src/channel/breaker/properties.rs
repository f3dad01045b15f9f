//! The breaker against the naive one, which keeps a list of everything that happened.

use proptest::prelude::*;

use super::naive::{Event, Naive, Out};
use super::*;

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
    let trip = (1_u32..12, prop_oneof![Just(1_u32), Just(500), Just(750), Just(1_000)], 100_u64..1_500, prop_oneof![Just(300_u32), Just(800)]);
    let run = (0_u32..5, 0_u64..500);
    let reopen = (1_u64..1_500, 0_u64..5_000, 1_u32..=MAX_PROBES, any::<bool>(), 0_u64..5_000, 500_u64..15_000);
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
        probe_gate: if reopen.3 { ProbeGate::QueryFirst } else { ProbeGate::TimeOnly },
        decay_ms: reopen.4,
        ..BreakerSettings::default()
    })
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
        Self { breaker, naive, origin: now, out: Vec::new(), now }
    }

    fn agree(&mut self, expected: Option<(State, Reason)>, seen: Option<Transition>) {
        let from = self.naive.state;
        if let Some((to, reason)) = expected {
            if matches!(reason, Reason::Failures | Reason::SlowCalls) {
                assert!(self.naive.recount(self.origin, self.now).calls >= self.naive.settings.min_calls);
            }
            if to == State::Open {
                let (least, most) = self.naive.opening_is_between(self.now);
                self.naive.until = self.breaker.open_until().expect("it should be open");
                let opening = self.naive.until.since(self.now);
                assert!(least <= opening && opening <= most, "{least:?} <= {opening:?} <= {most:?}");
            }
            self.naive.enter(to, self.now);
            if matches!(to, State::Closed | State::ForcedClosed) {
                self.origin = self.now;
            }
        }
        let expected = expected.map(|(to, reason)| Transition { from, to, reason, epoch: self.naive.transitions, at: self.now });
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
                        self.out.push(Out { admission, probe, admitted: now, event: None });
                    }
                    Err(rejected) => {
                        assert_eq!(rejected.state, self.naive.state);
                        assert_eq!(rejected.retry_after.is_none(), self.naive.state == State::ForcedOpen);
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
                let seen = self.breaker.record(call.admission, class, now.since(call.admitted), now);
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
                let target = if mode == Mode::ForcedClosed { State::ForcedClosed } else { State::ForcedOpen };
                let expected = (self.naive.state != target).then_some((target, Reason::Override(mode)));
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
            self.naive.events.push(Event { counted_at: now, failed: false, slow: true });
            self.out[index].event = Some(self.naive.events.len() - 1);
            self.naive.trips(self.origin, now)
        } else {
            None
        };
        let seen = self.breaker.mark_slow(&mut self.out[index].admission, running, now);
        self.agree(expected, seen);
    }

    fn compare(&mut self) {
        assert_eq!(self.breaker.state(), self.naive.state);
        assert_eq!(self.breaker.epoch(), self.naive.transitions);
        assert_eq!(self.breaker.late(), self.naive.late);
        if self.naive.state == State::Closed || self.naive.state == State::ForcedClosed {
            assert_eq!(self.breaker.totals(self.now), self.naive.recount(self.origin, self.now));
        }
        if self.naive.state == State::HalfOpen {
            assert_eq!(self.breaker.probes_out() as usize, self.naive.probes_out(&self.out).len());
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
        transition.map(|transition| (transition.from, transition.to, transition.reason, transition.epoch, transition.at.since(start)))
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
                    transition = transition.or(breaker.mark_slow(admission, now.since(*admitted), now));
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
            prop_assert!(breaker.would_admit(now), "a probe can be had");
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

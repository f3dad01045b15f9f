//! Each numbered rule of the breaker, one sentence at a time.

use super::*;

const START: Moment = Moment::from_nanos(1_000_000_000_000);

fn at(millis: u64) -> Moment {
    START + Duration::from_millis(millis)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn time_only() -> BreakerSettings {
    BreakerSettings {
        probe_gate: ProbeGate::TimeOnly,
        ..BreakerSettings::default()
    }
}

fn breaker(settings: &BreakerSettings) -> Breaker {
    settings.validate().unwrap();
    Breaker::new(settings, 1, START)
}

fn admit(breaker: &mut Breaker, now: Moment) -> Admission {
    breaker.admit(now).0.unwrap()
}

/// One quick call.
fn call(breaker: &mut Breaker, class: CallClass, now: Moment) -> Option<Transition> {
    let admission = admit(breaker, now);
    breaker.record(admission, class, ms(10), now)
}

/// Trips it by a run of failures that ends at `now`, and says when it will have been open long enough.
fn trip(breaker: &mut Breaker, now: Moment) -> Moment {
    for _ in 0..4 {
        call(breaker, CallClass::FailHard, now - ms(250));
    }
    let transition = call(breaker, CallClass::FailHard, now).unwrap();
    assert_eq!(
        (transition.to, transition.reason),
        (State::Open, Reason::Consecutive)
    );
    breaker.open_until().unwrap()
}

#[test]
fn a_run_of_failures_trips_only_when_it_spans_long_enough() {
    let mut breaker = breaker(&time_only());
    for millis in [1_000, 1_000, 1_001, 1_002, 1_003, 1_249] {
        assert_eq!(call(&mut breaker, CallClass::FailHard, at(millis)), None);
    }
    let transition = call(&mut breaker, CallClass::FailSoft, at(1_250)).unwrap();
    assert_eq!(
        (transition.from, transition.to),
        (State::Closed, State::Open)
    );
    assert_eq!(
        (transition.reason, transition.epoch),
        (Reason::Consecutive, 1)
    );
}

#[test]
fn a_run_is_reset_by_a_success_and_unchanged_by_what_never_reached_the_channel() {
    let mut breaker = breaker(&time_only());
    for _ in 0..4 {
        call(&mut breaker, CallClass::FailHard, at(0));
    }
    call(&mut breaker, CallClass::RateLimited, at(300));
    call(&mut breaker, CallClass::Neutral, at(300));
    assert_eq!((breaker.run(), breaker.state()), (4, State::Closed));
    call(&mut breaker, CallClass::Success, at(300));
    assert_eq!(breaker.run(), 0);
    assert_eq!(call(&mut breaker, CallClass::FailHard, at(301)), None);
}

#[test]
fn a_ratio_of_failures_trips_at_its_permille_and_not_below_min_calls() {
    let mut breaker = breaker(&BreakerSettings {
        consecutive: 0,
        ..time_only()
    });
    for _ in 0..19 {
        assert_eq!(call(&mut breaker, CallClass::FailSoft, at(0)), None);
    }
    assert_eq!(
        call(&mut breaker, CallClass::Success, at(0))
            .unwrap()
            .reason,
        Reason::Failures
    );

    let mut breaker = self::breaker(&BreakerSettings {
        consecutive: 0,
        ..time_only()
    });
    for _ in 0..11 {
        call(&mut breaker, CallClass::Success, at(0));
    }
    for _ in 0..10 {
        assert_eq!(call(&mut breaker, CallClass::FailSoft, at(0)), None);
    }
    assert_eq!(
        call(&mut breaker, CallClass::FailSoft, at(0))
            .unwrap()
            .reason,
        Reason::Failures,
        "11 of 22 is 500 permille"
    );
}

#[test]
fn when_run_and_ratio_trip_at_once_the_reason_is_the_run() {
    let mut breaker = breaker(&BreakerSettings {
        consecutive: 20,
        ..time_only()
    });
    for _ in 0..19 {
        call(&mut breaker, CallClass::FailHard, at(0));
    }
    assert_eq!(
        call(&mut breaker, CallClass::FailHard, at(300))
            .unwrap()
            .reason,
        Reason::Consecutive
    );
}

#[test]
fn neutral_and_rate_limited_calls_do_not_enter_the_window() {
    let mut breaker = breaker(&time_only());
    for class in [CallClass::Neutral, CallClass::RateLimited] {
        for _ in 0..30 {
            assert_eq!(call(&mut breaker, class, at(0)), None);
        }
    }
    assert_eq!(breaker.totals(at(0)), Totals::default());
}

#[test]
fn a_rate_limited_call_does_not_trip_on_what_left_the_window() {
    let mut breaker = breaker(&BreakerSettings {
        min_calls: 2,
        fail_permille: 600,
        consecutive: 0,
        ..time_only()
    });
    for _ in 0..4 {
        call(&mut breaker, CallClass::Success, at(0));
    }
    for _ in 0..5 {
        call(&mut breaker, CallClass::FailHard, at(1_500));
    }
    assert_eq!(
        breaker.totals(at(10_500)),
        Totals {
            calls: 5,
            failures: 5,
            slow: 0
        }
    );
    assert_eq!(call(&mut breaker, CallClass::RateLimited, at(10_500)), None);
    assert!(
        call(&mut breaker, CallClass::Success, at(10_500)).is_some(),
        "a call that counts is judged with what is left"
    );
}

#[test]
fn slow_is_longer_than_the_threshold_and_counts_for_successes_and_failures() {
    let mut breaker = breaker(&BreakerSettings {
        min_calls: 100,
        ..time_only()
    });
    for (class, rtt) in [
        (CallClass::Success, 2_000),
        (CallClass::Success, 2_001),
        (CallClass::FailSoft, 2_001),
    ] {
        let admission = admit(&mut breaker, at(0));
        breaker.record(admission, class, ms(rtt), at(rtt));
    }
    assert_eq!(
        breaker.totals(at(2_001)),
        Totals {
            calls: 3,
            failures: 1,
            slow: 2
        }
    );
}

#[test]
fn a_hanging_call_counts_slow_once_at_the_tick_and_not_again_when_it_ends() {
    let mut breaker = breaker(&time_only());
    let mut admission = admit(&mut breaker, at(0));
    breaker.mark_slow(&mut admission, ms(2_000), at(2_000));
    assert_eq!(
        breaker.totals(at(2_000)),
        Totals::default(),
        "slow is more than 2000 ms"
    );
    for millis in [2_001, 2_250, 2_500] {
        breaker.mark_slow(&mut admission, ms(millis), at(millis));
        assert_eq!(
            breaker.totals(at(millis)),
            Totals {
                calls: 1,
                failures: 0,
                slow: 1
            }
        );
    }
    breaker.record(admission, CallClass::FailHard, ms(3_000), at(3_000));
    assert_eq!(
        breaker.totals(at(3_000)),
        Totals {
            calls: 1,
            failures: 1,
            slow: 1
        }
    );
}

#[test]
fn a_channel_whose_calls_all_hang_trips_before_any_of_them_ends() {
    let mut breaker = breaker(&time_only());
    let mut out: Vec<Admission> = (0..20).map(|_| admit(&mut breaker, at(0))).collect();
    let tripped: Vec<_> = out
        .iter_mut()
        .filter_map(|admission| breaker.mark_slow(admission, ms(2_100), at(2_100)))
        .collect();
    assert_eq!(tripped.len(), 1, "one transition a crossing");
    assert_eq!(
        (tripped[0].to, tripped[0].reason),
        (State::Open, Reason::SlowCalls)
    );
}

#[test]
fn an_open_breaker_rejects_until_its_time_and_says_how_long_that_is() {
    let mut breaker = breaker(&time_only());
    let until = trip(&mut breaker, at(1_000));
    let opening = until.since(at(1_000));
    assert!(ms(750) <= opening && opening <= ms(1_250), "{opening:?}");
    let just_before = until - Duration::from_nanos(1);
    assert!(!breaker.would_admit(just_before));
    let (answer, transition) = breaker.admit(just_before);
    assert_eq!(
        answer,
        Err(Rejected {
            state: State::Open,
            retry_after: Some(Duration::from_nanos(1))
        })
    );
    assert_eq!(transition, None);
    assert!(breaker.would_admit(until));
    let (answer, transition) = breaker.admit(until);
    assert_eq!(answer.unwrap().kind, Kind::Probe(0));
    assert_eq!(
        transition.map(|transition| (transition.to, transition.epoch)),
        Some((State::HalfOpen, 2))
    );
}

#[test]
fn half_open_lets_out_as_many_probes_as_it_needs_and_closes_with_their_successes() {
    let mut breaker = breaker(&time_only());
    let until = trip(&mut breaker, at(1_000));
    let probes: Vec<Admission> = (0..3).map(|_| admit(&mut breaker, until)).collect();
    let rejected = breaker.admit(until + ms(100)).0.unwrap_err();
    assert_eq!(
        rejected,
        Rejected {
            state: State::HalfOpen,
            retry_after: Some(ms(3_900))
        }
    );
    assert_eq!(
        breaker.record(probes[0], CallClass::Success, ms(10), until),
        None
    );
    assert!(
        breaker.admit(until).0.is_err(),
        "two are out and one succeeded: no more are needed"
    );
    assert_eq!(
        breaker.record(probes[1], CallClass::Success, ms(10), until),
        None
    );
    let closed = breaker
        .record(probes[2], CallClass::Success, ms(10), until)
        .unwrap();
    assert_eq!(
        (closed.to, closed.reason),
        (State::Closed, Reason::ProbesSucceeded)
    );
    assert_eq!(
        (breaker.totals(until), breaker.run()),
        (Totals::default(), 0)
    );
}

#[test]
fn a_neutral_or_rate_limited_probe_is_returned_and_can_be_lent_again() {
    let mut breaker = breaker(&BreakerSettings {
        probes: 1,
        ..time_only()
    });
    let until = trip(&mut breaker, at(1_000));
    for class in [CallClass::Neutral, CallClass::RateLimited] {
        let probe = admit(&mut breaker, until);
        assert!(breaker.admit(until).0.is_err());
        assert_eq!(breaker.record(probe, class, ms(10), until), None);
    }
    assert_eq!(
        call(&mut breaker, CallClass::Success, until).unwrap().to,
        State::Closed
    );
}

#[test]
fn a_failed_probe_reopens_at_once_and_doubles_the_opening_up_to_its_most() {
    let mut breaker = breaker(&time_only());
    let mut until = trip(&mut breaker, at(1_000));
    for expected in [2_000, 4_000, 8_000, 15_000, 15_000] {
        let spare = admit(&mut breaker, until);
        let reopened = call(&mut breaker, CallClass::FailSoft, until).unwrap();
        assert_eq!(
            (reopened.from, reopened.to, reopened.reason),
            (State::HalfOpen, State::Open, Reason::ProbeFailed)
        );
        let next = breaker.open_until().unwrap();
        let opening = next.since(until);
        assert!(
            ms(expected) * 3 / 4 <= opening && opening <= ms(expected) * 5 / 4,
            "{opening:?} for {expected}"
        );
        assert_eq!(
            breaker.record(spare, CallClass::Success, ms(10), until),
            None,
            "it is of the epoch before"
        );
        until = next;
    }
}

#[test]
fn a_lost_probe_reopens_when_its_lease_passes_also_without_traffic() {
    let mut breaker = breaker(&time_only());
    let until = trip(&mut breaker, at(1_000));
    let lost = admit(&mut breaker, until);
    assert_eq!(
        breaker.tick(until + ms(4_000) - Duration::from_nanos(1)),
        None
    );
    assert!(!breaker.would_admit(until + ms(4_000)));
    let reopened = breaker.tick(until + ms(4_000)).unwrap();
    assert_eq!(
        (reopened.to, reopened.reason),
        (State::Open, Reason::ProbeLost)
    );
    let waited = breaker.tick(breaker.open_until().unwrap()).unwrap();
    assert_eq!(
        (waited.to, waited.reason),
        (State::HalfOpen, Reason::Waited)
    );
    assert_eq!(
        breaker.record(lost, CallClass::Success, ms(9_000), until + ms(9_000)),
        None
    );
    assert_eq!((breaker.late(), breaker.probes_out()), (1, 0));
}

#[test]
fn a_lost_probe_is_noticed_by_the_next_admission_too() {
    let mut breaker = breaker(&time_only());
    let until = trip(&mut breaker, at(1_000));
    let _lost = admit(&mut breaker, until);
    let (answer, transition) = breaker.admit(until + ms(4_000));
    assert_eq!(answer.unwrap_err().state, State::Open);
    assert_eq!(transition.unwrap().reason, Reason::ProbeLost);
}

#[test]
fn probes_that_succeed_slowly_reopen() {
    let mut breaker = breaker(&time_only());
    let until = trip(&mut breaker, at(1_000));
    let probes: Vec<Admission> = (0..3).map(|_| admit(&mut breaker, until)).collect();
    for (probe, last) in probes.into_iter().zip([false, false, true]) {
        let transition = breaker.record(probe, CallClass::Success, ms(2_001), until + ms(2_001));
        assert_eq!(
            transition.map(|transition| (transition.to, transition.reason)),
            last.then_some((State::Open, Reason::ProbesSlow))
        );
    }
}

#[test]
fn a_result_of_an_earlier_epoch_is_counted_as_late_and_decides_nothing() {
    let mut breaker = breaker(&time_only());
    let before: Vec<Admission> = (0..10).map(|_| admit(&mut breaker, at(0))).collect();
    let until = trip(&mut breaker, at(1_000));
    let probe = admit(&mut breaker, until);
    for (admission, class) in before.into_iter().zip(
        [CallClass::Success, CallClass::FailHard]
            .into_iter()
            .cycle(),
    ) {
        assert_eq!(breaker.record(admission, class, ms(10), until), None);
    }
    assert_eq!(
        (breaker.late(), breaker.state(), breaker.probes_out()),
        (10, State::HalfOpen, 1)
    );
    assert_eq!(
        breaker.record(probe, CallClass::Success, ms(10), until),
        None
    );
}

#[test]
fn with_query_first_no_payment_is_risked_until_a_query_succeeded() {
    let mut breaker = breaker(&BreakerSettings::default());
    let until = trip(&mut breaker, at(1_000));
    assert!(!breaker.wants_query(until - ms(1)) && breaker.wants_query(until));
    let rejected = breaker.admit(until).0.unwrap_err();
    assert_eq!(
        rejected,
        Rejected {
            state: State::Open,
            retry_after: Some(ms(15_000))
        }
    );
    let transition = breaker.query_succeeded(until + ms(10)).unwrap();
    assert_eq!(
        (transition.to, transition.reason),
        (State::HalfOpen, Reason::Waited)
    );
    assert!(!breaker.wants_query(until + ms(10)));
    assert_eq!(
        breaker.query_succeeded(until + ms(20)),
        None,
        "queries never close"
    );
}

#[test]
fn a_query_that_succeeds_while_open_is_remembered_but_does_not_shorten_the_wait() {
    let mut breaker = breaker(&BreakerSettings::default());
    let until = trip(&mut breaker, at(1_000));
    assert_eq!(breaker.query_succeeded(at(1_001)), None);
    assert!(!breaker.would_admit(until - ms(1)) && breaker.would_admit(until));
    call(&mut breaker, CallClass::FailHard, until);
    let again = breaker.open_until().unwrap();
    assert!(
        !breaker.would_admit(again),
        "the next opening asks for a query of its own"
    );
}

#[test]
fn without_any_query_time_alone_suffices_in_the_end() {
    let mut breaker = breaker(&BreakerSettings::default());
    let until = trip(&mut breaker, at(1_000));
    assert_eq!(breaker.tick(until + ms(14_999)), None);
    assert_eq!(
        breaker.tick(until + ms(15_000)).unwrap().reason,
        Reason::WaitedWithoutQuery
    );
}

#[test]
fn an_opening_starts_small_again_only_after_a_long_enough_peace() {
    for (peace_ms, expected_ms) in [(59_999, 2_000), (60_000, 1_000)] {
        let mut breaker = breaker(&BreakerSettings {
            probes: 1,
            ..time_only()
        });
        let closed_at = trip(&mut breaker, at(1_000));
        call(&mut breaker, CallClass::Success, closed_at);
        let again = closed_at + ms(peace_ms);
        let opening = trip(&mut breaker, again).since(again);
        let jittered = ms(expected_ms) * 3 / 4..=ms(expected_ms) * 5 / 4;
        assert!(jittered.contains(&opening), "{opening:?} after {peace_ms}");
    }
}

#[test]
fn forced_open_rejects_whatever_the_time_and_ends_in_half_open() {
    let mut breaker = breaker(&BreakerSettings::default());
    let before = admit(&mut breaker, at(0));
    let forced = breaker.force(Mode::ForcedOpen, at(10)).unwrap();
    assert_eq!(
        (forced.to, forced.reason),
        (State::ForcedOpen, Reason::Override(Mode::ForcedOpen))
    );
    let rejected = breaker.admit(at(100_000_000)).0.unwrap_err();
    assert_eq!(
        rejected,
        Rejected {
            state: State::ForcedOpen,
            retry_after: None
        }
    );
    breaker.record(before, CallClass::FailHard, ms(10), at(20));
    assert_eq!(breaker.late(), 1);
    let released = breaker.release(at(200_000_000)).unwrap();
    assert_eq!(
        (released.from, released.to, released.epoch),
        (State::ForcedOpen, State::HalfOpen, 2)
    );
    assert!(
        matches!(admit(&mut breaker, at(200_000_000)).kind, Kind::Probe(_)),
        "no query is asked for: an operator said go"
    );
}

#[test]
fn a_drain_shuts_like_forced_open_and_either_may_become_the_other_without_a_transition() {
    let mut breaker = breaker(&time_only());
    assert_eq!(
        breaker.force(Mode::Drain, at(0)).unwrap().to,
        State::ForcedOpen
    );
    assert_eq!(breaker.reason(), Some(Reason::Override(Mode::Drain)));
    assert_eq!(breaker.force(Mode::ForcedOpen, at(1)), None);
    assert_eq!(
        (breaker.reason(), breaker.epoch()),
        (Some(Reason::Override(Mode::ForcedOpen)), 1)
    );
    assert_eq!(breaker.release(at(2)).unwrap().to, State::HalfOpen);
    assert_eq!(breaker.release(at(3)), None);
}

#[test]
fn forced_closed_counts_but_never_trips_and_ends_closed_with_an_empty_window() {
    let mut breaker = breaker(&time_only());
    breaker.force(Mode::ForcedClosed, at(0));
    for second in 0..5 {
        for _ in 0..10 {
            assert_eq!(
                call(&mut breaker, CallClass::FailHard, at(second * 1_000)),
                None
            );
        }
    }
    assert_eq!(
        breaker.totals(at(4_000)),
        Totals {
            calls: 50,
            failures: 50,
            slow: 0
        }
    );
    let released = breaker.release(at(5_000)).unwrap();
    assert_eq!(
        (released.to, released.reason),
        (State::Closed, Reason::OverrideEnded)
    );
    assert_eq!(breaker.totals(at(5_000)), Totals::default());
    assert_eq!(
        call(&mut breaker, CallClass::FailHard, at(5_000)),
        None,
        "the run starts anew"
    );
}

#[test]
fn an_override_ends_half_open_and_its_probes() {
    let mut breaker = breaker(&time_only());
    let until = trip(&mut breaker, at(1_000));
    let probe = admit(&mut breaker, until);
    breaker.force(Mode::ForcedClosed, until);
    assert_eq!(breaker.probes_out(), 0);
    assert_eq!(
        breaker.record(probe, CallClass::FailHard, ms(10), until),
        None
    );
    assert_eq!(
        (breaker.late(), breaker.totals(until)),
        (1, Totals::default())
    );
}

#[test]
fn instances_with_different_seeds_do_not_probe_in_step_and_the_same_seed_repeats() {
    let until = |seed| {
        let mut breaker = Breaker::new(&time_only(), seed, START);
        trip(&mut breaker, at(1_000))
    };
    assert_eq!(until(9), until(9));
    let different: std::collections::HashSet<u64> =
        (0..20).map(|seed| until(seed).as_nanos()).collect();
    assert!(different.len() > 10, "{different:?}");
}

#[test]
fn the_names_in_metrics_are_read_back_as_the_modes_they_name() {
    for mode in Mode::ALL {
        assert_eq!(Mode::parse(mode.as_str()), Some(mode));
    }
    assert_eq!(Mode::parse("closed"), None);
}

//! How long it stays open, what lets a probe out, and what closes.

use super::*;

#[test]
fn an_open_breaker_rejects_until_its_time_and_says_how_long_that_is() {
    let mut breaker = breaker(&time_only());
    let until = trip(&mut breaker, at(1_000));
    let opening = until.since(at(1_000));
    assert!(ms(750) <= opening && opening <= ms(1_250), "{opening:?}");
    let just_before = until - Duration::from_nanos(1);
    assert!(!breaker.would_admit(just_before));
    let (answer, transition) = breaker.admit(just_before);
    assert_eq!(answer, Err(Rejected { state: State::Open, retry_after: Some(Duration::from_nanos(1)) }));
    assert_eq!(transition, None);
    assert!(breaker.would_admit(until));
    let (answer, transition) = breaker.admit(until);
    assert_eq!(answer.unwrap().kind, Kind::Probe(0));
    assert_eq!(transition.map(|transition| (transition.to, transition.epoch)), Some((State::HalfOpen, 2)));
}

#[test]
fn half_open_lets_out_as_many_probes_as_it_needs_and_closes_with_their_successes() {
    let mut breaker = breaker(&time_only());
    let until = trip(&mut breaker, at(1_000));
    let probes: Vec<Admission> = (0..3).map(|_| admit(&mut breaker, until)).collect();
    let rejected = breaker.admit(until + ms(100)).0.unwrap_err();
    assert_eq!(rejected, Rejected { state: State::HalfOpen, retry_after: Some(ms(3_900)) });
    assert_eq!(breaker.record(probes[0], CallClass::Success, ms(10), until), None);
    assert!(breaker.admit(until).0.is_err(), "two are out and one succeeded: no more are needed");
    assert_eq!(breaker.record(probes[1], CallClass::Success, ms(10), until), None);
    let closed = breaker.record(probes[2], CallClass::Success, ms(10), until).unwrap();
    assert_eq!((closed.to, closed.reason), (State::Closed, Reason::ProbesSucceeded));
    assert_eq!((breaker.totals(until), breaker.run()), (Totals::default(), 0));
}

#[test]
fn a_neutral_or_rate_limited_probe_is_returned_and_can_be_lent_again() {
    let mut breaker = breaker(&BreakerSettings { probes: 1, ..time_only() });
    let until = trip(&mut breaker, at(1_000));
    for class in [CallClass::Neutral, CallClass::RateLimited] {
        let probe = admit(&mut breaker, until);
        assert!(breaker.admit(until).0.is_err());
        assert_eq!(breaker.record(probe, class, ms(10), until), None);
    }
    assert_eq!(call(&mut breaker, CallClass::Success, until).unwrap().to, State::Closed);
}

#[test]
fn a_failed_probe_reopens_at_once_and_doubles_the_opening_up_to_its_most() {
    let mut breaker = breaker(&time_only());
    let mut until = trip(&mut breaker, at(1_000));
    for expected in [2_000, 4_000, 8_000, 15_000, 15_000] {
        let spare = admit(&mut breaker, until);
        let reopened = call(&mut breaker, CallClass::FailSoft, until).unwrap();
        assert_eq!((reopened.from, reopened.to, reopened.reason), (State::HalfOpen, State::Open, Reason::ProbeFailed));
        let next = breaker.open_until().unwrap();
        let opening = next.since(until);
        assert!(ms(expected) * 3 / 4 <= opening && opening <= ms(expected) * 5 / 4, "{opening:?} for {expected}");
        assert_eq!(breaker.record(spare, CallClass::Success, ms(10), until), None, "it is of the epoch before");
        until = next;
    }
}

#[test]
fn a_lost_probe_reopens_when_its_lease_passes_also_without_traffic() {
    let mut breaker = breaker(&time_only());
    let until = trip(&mut breaker, at(1_000));
    let lost = admit(&mut breaker, until);
    assert_eq!(breaker.tick(until + ms(4_000) - Duration::from_nanos(1)), None);
    assert!(!breaker.would_admit(until + ms(4_000)));
    let reopened = breaker.tick(until + ms(4_000)).unwrap();
    assert_eq!((reopened.to, reopened.reason), (State::Open, Reason::ProbeLost));
    let waited = breaker.tick(breaker.open_until().unwrap()).unwrap();
    assert_eq!((waited.to, waited.reason), (State::HalfOpen, Reason::Waited));
    assert_eq!(breaker.record(lost, CallClass::Success, ms(9_000), until + ms(9_000)), None);
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
        assert_eq!(transition.map(|transition| (transition.to, transition.reason)), last.then_some((State::Open, Reason::ProbesSlow)));
    }
}

#[test]
fn a_result_of_an_earlier_epoch_is_counted_as_late_and_decides_nothing() {
    let mut breaker = breaker(&time_only());
    let before: Vec<Admission> = (0..10).map(|_| admit(&mut breaker, at(0))).collect();
    let until = trip(&mut breaker, at(1_000));
    let probe = admit(&mut breaker, until);
    for (admission, class) in before.into_iter().zip([CallClass::Success, CallClass::FailHard].into_iter().cycle()) {
        assert_eq!(breaker.record(admission, class, ms(10), until), None);
    }
    assert_eq!((breaker.late(), breaker.state(), breaker.probes_out()), (10, State::HalfOpen, 1));
    assert_eq!(breaker.record(probe, CallClass::Success, ms(10), until), None);
}

#[test]
fn with_query_first_no_payment_is_risked_until_a_query_succeeded() {
    let mut breaker = breaker(&BreakerSettings::default());
    let until = trip(&mut breaker, at(1_000));
    assert!(!breaker.wants_query(until - ms(1)) && breaker.wants_query(until));
    let rejected = breaker.admit(until).0.unwrap_err();
    assert_eq!(rejected, Rejected { state: State::Open, retry_after: Some(ms(15_000)) });
    let transition = breaker.query_succeeded(until + ms(10)).unwrap();
    assert_eq!((transition.to, transition.reason), (State::HalfOpen, Reason::Waited));
    assert!(!breaker.wants_query(until + ms(10)));
    assert_eq!(breaker.query_succeeded(until + ms(20)), None, "queries never close");
}

#[test]
fn a_query_that_succeeds_while_open_is_remembered_but_does_not_shorten_the_wait() {
    let mut breaker = breaker(&BreakerSettings::default());
    let until = trip(&mut breaker, at(1_000));
    assert_eq!(breaker.query_succeeded(at(1_001)), None);
    assert!(!breaker.would_admit(until - ms(1)) && breaker.would_admit(until));
    call(&mut breaker, CallClass::FailHard, until);
    let again = breaker.open_until().unwrap();
    assert!(!breaker.would_admit(again), "the next opening asks for a query of its own");
}

#[test]
fn without_any_query_time_alone_suffices_in_the_end() {
    let mut breaker = breaker(&BreakerSettings::default());
    let until = trip(&mut breaker, at(1_000));
    assert_eq!(breaker.tick(until + ms(14_999)), None);
    assert_eq!(breaker.tick(until + ms(15_000)).unwrap().reason, Reason::WaitedWithoutQuery);
}

#[test]
fn an_opening_starts_small_again_only_after_a_long_enough_peace() {
    for (peace_ms, expected_ms) in [(59_999, 2_000), (60_000, 1_000)] {
        let mut breaker = breaker(&BreakerSettings { probes: 1, ..time_only() });
        let closed_at = trip(&mut breaker, at(1_000));
        call(&mut breaker, CallClass::Success, closed_at);
        let again = closed_at + ms(peace_ms);
        let opening = trip(&mut breaker, again).since(again);
        let jittered = ms(expected_ms) * 3 / 4..=ms(expected_ms) * 5 / 4;
        assert!(jittered.contains(&opening), "{opening:?} after {peace_ms}");
    }
}

#[test]
fn instances_with_different_seeds_do_not_probe_in_step_and_the_same_seed_repeats() {
    let until = |seed| {
        let mut breaker = Breaker::new(&time_only(), seed, START);
        trip(&mut breaker, at(1_000))
    };
    assert_eq!(until(9), until(9));
    let different: std::collections::HashSet<u64> = (0..20).map(|seed| until(seed).as_nanos()).collect();
    assert!(different.len() > 10, "{different:?}");
}

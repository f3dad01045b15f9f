//! What is counted, and what trips.

use super::*;

#[test]
fn a_run_of_failures_trips_only_when_it_spans_long_enough() {
    let mut breaker = breaker(&time_only());
    for millis in [1_000, 1_000, 1_001, 1_002, 1_003, 1_249] {
        assert_eq!(call(&mut breaker, CallClass::FailHard, at(millis)), None);
    }
    let transition = call(&mut breaker, CallClass::FailSoft, at(1_250)).unwrap();
    assert_eq!((transition.from, transition.to), (State::Closed, State::Open));
    assert_eq!((transition.reason, transition.epoch), (Reason::Consecutive, 1));
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
    let mut breaker = breaker(&BreakerSettings { consecutive: 0, ..time_only() });
    for _ in 0..19 {
        assert_eq!(call(&mut breaker, CallClass::FailSoft, at(0)), None);
    }
    assert_eq!(call(&mut breaker, CallClass::Success, at(0)).unwrap().reason, Reason::Failures);

    let mut breaker = self::breaker(&BreakerSettings { consecutive: 0, ..time_only() });
    for _ in 0..11 {
        call(&mut breaker, CallClass::Success, at(0));
    }
    for _ in 0..10 {
        assert_eq!(call(&mut breaker, CallClass::FailSoft, at(0)), None);
    }
    assert_eq!(call(&mut breaker, CallClass::FailSoft, at(0)).unwrap().reason, Reason::Failures, "11 of 22 is 500 permille");
}

#[test]
fn when_run_and_ratio_trip_at_once_the_reason_is_the_run() {
    let mut breaker = breaker(&BreakerSettings { consecutive: 20, ..time_only() });
    for _ in 0..19 {
        call(&mut breaker, CallClass::FailHard, at(0));
    }
    assert_eq!(call(&mut breaker, CallClass::FailHard, at(300)).unwrap().reason, Reason::Consecutive);
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
    let mut breaker = breaker(&BreakerSettings { min_calls: 2, fail_permille: 600, consecutive: 0, ..time_only() });
    for _ in 0..4 {
        call(&mut breaker, CallClass::Success, at(0));
    }
    for _ in 0..5 {
        call(&mut breaker, CallClass::FailHard, at(1_500));
    }
    assert_eq!(breaker.totals(at(10_500)), Totals { calls: 5, failures: 5, slow: 0 });
    assert_eq!(call(&mut breaker, CallClass::RateLimited, at(10_500)), None);
    assert!(call(&mut breaker, CallClass::Success, at(10_500)).is_some(), "a call that counts is judged with what is left");
}

#[test]
fn slow_is_longer_than_the_threshold_and_counts_for_successes_and_failures() {
    let mut breaker = breaker(&BreakerSettings { min_calls: 100, ..time_only() });
    for (class, rtt) in [(CallClass::Success, 2_000), (CallClass::Success, 2_001), (CallClass::FailSoft, 2_001)] {
        let admission = admit(&mut breaker, at(0));
        breaker.record(admission, class, ms(rtt), at(rtt));
    }
    assert_eq!(breaker.totals(at(2_001)), Totals { calls: 3, failures: 1, slow: 2 });
}

#[test]
fn a_hanging_call_counts_slow_once_at_the_tick_and_not_again_when_it_ends() {
    let mut breaker = breaker(&time_only());
    let mut admission = admit(&mut breaker, at(0));
    breaker.mark_slow(&mut admission, ms(2_000), at(2_000));
    assert_eq!(breaker.totals(at(2_000)), Totals::default(), "slow is more than 2000 ms");
    for millis in [2_001, 2_250, 2_500] {
        breaker.mark_slow(&mut admission, ms(millis), at(millis));
        assert_eq!(breaker.totals(at(millis)), Totals { calls: 1, failures: 0, slow: 1 });
    }
    breaker.record(admission, CallClass::FailHard, ms(3_000), at(3_000));
    assert_eq!(breaker.totals(at(3_000)), Totals { calls: 1, failures: 1, slow: 1 });
}

#[test]
fn a_channel_whose_calls_all_hang_trips_before_any_of_them_ends() {
    let mut breaker = breaker(&time_only());
    let mut out: Vec<Admission> = (0..20).map(|_| admit(&mut breaker, at(0))).collect();
    let tripped: Vec<_> = out.iter_mut().filter_map(|admission| breaker.mark_slow(admission, ms(2_100), at(2_100))).collect();
    assert_eq!(tripped.len(), 1, "one transition a crossing");
    assert_eq!((tripped[0].to, tripped[0].reason), (State::Open, Reason::SlowCalls));
}

//! An operator's word against the automatic state.

use super::*;

#[test]
fn forced_open_rejects_whatever_the_time_and_ends_in_half_open() {
    let mut breaker = breaker(&BreakerSettings::default());
    let before = admit(&mut breaker, at(0));
    let forced = breaker.force(Mode::ForcedOpen, at(10)).unwrap();
    assert_eq!((forced.to, forced.reason), (State::ForcedOpen, Reason::Override(Mode::ForcedOpen)));
    let rejected = breaker.admit(at(100_000_000)).0.unwrap_err();
    assert_eq!(rejected, Rejected { state: State::ForcedOpen, retry_after: None });
    breaker.record(before, CallClass::FailHard, ms(10), at(20));
    assert_eq!(breaker.late(), 1);
    let released = breaker.release(at(200_000_000)).unwrap();
    assert_eq!((released.from, released.to, released.epoch), (State::ForcedOpen, State::HalfOpen, 2));
    assert!(matches!(admit(&mut breaker, at(200_000_000)).kind, Kind::Probe(_)), "no query is asked for: an operator said go");
}

#[test]
fn a_drain_shuts_like_forced_open_and_either_may_become_the_other_without_a_transition() {
    let mut breaker = breaker(&time_only());
    assert_eq!(breaker.force(Mode::Drain, at(0)).unwrap().to, State::ForcedOpen);
    assert_eq!(breaker.reason(), Some(Reason::Override(Mode::Drain)));
    assert_eq!(breaker.force(Mode::ForcedOpen, at(1)), None);
    assert_eq!((breaker.reason(), breaker.epoch()), (Some(Reason::Override(Mode::ForcedOpen)), 1));
    assert_eq!(breaker.release(at(2)).unwrap().to, State::HalfOpen);
    assert_eq!(breaker.release(at(3)), None);
}

#[test]
fn forced_closed_counts_but_never_trips_and_ends_closed_with_an_empty_window() {
    let mut breaker = breaker(&time_only());
    breaker.force(Mode::ForcedClosed, at(0));
    for second in 0..5 {
        for _ in 0..10 {
            assert_eq!(call(&mut breaker, CallClass::FailHard, at(second * 1_000)), None);
        }
    }
    assert_eq!(breaker.totals(at(4_000)), Totals { calls: 50, failures: 50, slow: 0 });
    let released = breaker.release(at(5_000)).unwrap();
    assert_eq!((released.to, released.reason), (State::Closed, Reason::OverrideEnded));
    assert_eq!(breaker.totals(at(5_000)), Totals::default());
    assert_eq!(call(&mut breaker, CallClass::FailHard, at(5_000)), None, "the run starts anew");
}

#[test]
fn an_override_ends_half_open_and_its_probes() {
    let mut breaker = breaker(&time_only());
    let until = trip(&mut breaker, at(1_000));
    let probe = admit(&mut breaker, until);
    breaker.force(Mode::ForcedClosed, until);
    assert_eq!(breaker.probes_out(), 0);
    assert_eq!(breaker.record(probe, CallClass::FailHard, ms(10), until), None);
    assert_eq!((breaker.late(), breaker.totals(until)), (1, Totals::default()));
}

#[test]
fn the_names_in_metrics_are_read_back_as_the_modes_they_name() {
    for mode in Mode::ALL {
        assert_eq!(Mode::parse(mode.as_str()), Some(mode));
    }
    assert_eq!(Mode::parse("closed"), None);
}

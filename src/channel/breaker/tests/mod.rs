//! Each numbered rule of the breaker, one sentence at a time.

mod overrides;
mod recovery;
mod tripping;

use super::*;

const START: Moment = Moment::from_nanos(1_000_000_000_000);

fn at(millis: u64) -> Moment {
    START + Duration::from_millis(millis)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn time_only() -> BreakerSettings {
    BreakerSettings { probe_gate: ProbeGate::TimeOnly, ..BreakerSettings::default() }
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
    assert_eq!((transition.to, transition.reason), (State::Open, Reason::Consecutive));
    breaker.open_until().unwrap()
}

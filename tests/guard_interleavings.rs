//! What threads do to each other in a guard, in thousands of orders: the guard's own files, compiled here a second time over the locks and atomics of
//! `shuttle`, whose scheduler decides at each of them who goes on. A failure prints the schedule that shows it again.
//!
//! It tries orders of steps, not weak memory: every atomic is sequentially consistent here.

use std::sync::Arc;
use std::time::Duration;

use breakwater::clock::Moment;
use breakwater::domain::{CallClass, OperationClass};

use channel::breaker::{BreakerSettings, Mode, ProbeGate, State};
use channel::guard::{ChannelGuard, GuardSettings, Permit};

/// What the guard's files ask of the crate above them.
mod clock {
    pub use breakwater::clock::*;
}
mod domain {
    pub use breakwater::domain::*;
}

#[path = "../src/channel"]
mod channel {
    pub mod breaker {
        pub use breakwater::channel::breaker::*;
    }
    #[allow(dead_code, unused_imports, reason = "compiled here for its threads; all that it can do is used by the crate itself")]
    #[path = "guard/mod.rs"]
    pub mod guard;
    mod locks {
        pub(super) use shuttle::sync::atomic;
        pub(super) use shuttle::sync::{Mutex, MutexGuard, PoisonError};
    }
}

const PAY: OperationClass = OperationClass::Pay;
const RESOLVE: OperationClass = OperationClass::Resolve;
const START: Moment = Moment::from_nanos(1_000_000_000_000);

fn at(millis: u64) -> Moment {
    START + Duration::from_millis(millis)
}

/// Small enough that everything meets: four calls in flight, two probes, a run of two failures that trips.
fn settings() -> GuardSettings {
    let breaker = BreakerSettings {
        consecutive: 2,
        consecutive_span_ms: 0,
        probes: 2,
        probe_gate: ProbeGate::TimeOnly,
        open_base_ms: 10,
        open_max_ms: 10,
        min_limit: 1,
        ..BreakerSettings::default()
    };
    GuardSettings { max_in_flight: 4, pay: breaker.clone(), resolve: breaker.clone(), refund: breaker }
}

fn tried(work: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(work.clone(), 1_500);
    shuttle::check_pct(work, 500, 3);
}

fn threads(count: usize, work: impl Fn(usize) + Send + Sync + 'static) {
    let work = Arc::new(work);
    let running: Vec<_> = (0..count)
        .map(|thread| {
            let work = Arc::clone(&work);
            shuttle::thread::spawn(move || work(thread))
        })
        .collect();
    running.into_iter().for_each(|thread| thread.join().unwrap());
}

/// A refund that is sent again, and is too much for the channel: whether it was let through.
fn repeat(guard: &Arc<ChannelGuard>) -> bool {
    let Ok(mut permit) = guard.admit_repeat(OperationClass::Refund, START) else { return false };
    permit.mark_sent(START);
    permit.record(CallClass::RateLimited, START);
    true
}

fn assert_balanced(guard: &ChannelGuard) {
    for class in OperationClass::ALL {
        let snapshot = guard.snapshot(class, at(60_000));
        let counters = snapshot.counters;
        assert_eq!(counters.admitted, counters.recorded + counters.dropped_unsent + counters.dropped_sent);
        assert_eq!((snapshot.in_flight, snapshot.probes_out), (0, 0));
    }
}

#[test]
fn there_are_never_more_calls_than_room_and_every_permit_comes_back() {
    tried(|| {
        let guard = ChannelGuard::new(&settings(), 1, START).unwrap();
        let held = Arc::new(shuttle::sync::atomic::AtomicU32::new(0));
        let shared = Arc::clone(&guard);
        threads(3, move |thread| {
            for turn in 0..2_u64 {
                let class = OperationClass::ALL[(thread + turn as usize) % 3];
                let Ok(mut permit) = shared.admit(class, at(turn)) else { continue };
                assert!(held.fetch_add(1, shuttle::sync::atomic::Ordering::SeqCst) < 4);
                permit.mark_sent(at(turn));
                shared.tick(at(turn));
                held.fetch_sub(1, shuttle::sync::atomic::Ordering::SeqCst);
                match thread {
                    0 => permit.record(CallClass::Success, at(turn + 1)),
                    1 => permit.record(CallClass::RateLimited, at(turn + 1)),
                    _ => drop(permit),
                }
            }
        });
        assert_balanced(&guard);
    });
}

#[test]
fn calls_that_fail_together_trip_once_and_what_was_admitted_before_is_late() {
    tried(|| {
        let guard = ChannelGuard::new(&settings(), 1, START).unwrap();
        let shared = Arc::clone(&guard);
        threads(3, move |_| {
            if let Ok(mut permit) = shared.admit(RESOLVE, START) {
                permit.mark_sent(START);
                permit.record(CallClass::FailHard, at(1));
            }
        });
        let snapshot = guard.snapshot(RESOLVE, at(1));
        let transitions = guard.transitions();
        if snapshot.state == State::Open {
            assert_eq!(transitions.list.len(), 1, "one transition a crossing");
            assert!(!guard.would_admit(RESOLVE, at(1)), "what was published to those in a hurry says so too");
        }
        assert_eq!(snapshot.epoch, transitions.list.len() as u64);
        assert_balanced(&guard);
    });
}

#[test]
fn probes_are_never_more_than_allowed_whoever_ends_the_opening() {
    tried(|| {
        let guard = ChannelGuard::new(&settings(), 1, START).unwrap();
        guard.set_override(RESOLVE, Mode::ForcedOpen, START);
        guard.clear_override(RESOLVE, START);
        let out = Arc::new(shuttle::sync::Mutex::new(Vec::<Permit>::new()));
        let (shared, had) = (Arc::clone(&guard), Arc::clone(&out));
        threads(3, move |thread| {
            shared.tick(at(thread as u64));
            if let Ok(permit) = shared.admit(RESOLVE, at(1)) {
                had.lock().unwrap().push(permit);
            }
        });
        let probes = std::mem::take(&mut *out.lock().unwrap());
        assert_eq!(probes.len(), 2);
        let probes = Arc::new(shuttle::sync::Mutex::new(probes));
        threads(2, move |_| {
            let mut probe = probes.lock().unwrap().pop().unwrap();
            probe.mark_sent(at(2));
            probe.record(CallClass::Success, at(3));
        });
        let snapshot = guard.snapshot(RESOLVE, at(3));
        assert_eq!((snapshot.state, snapshot.class_limit), (State::Closed, 3), "and the limiter starts again, as far as the class's room goes");
        assert_balanced(&guard);
    });
}

#[test]
fn an_override_that_comes_meanwhile_holds_for_whoever_asks_after_it() {
    tried(|| {
        let guard = ChannelGuard::new(&settings(), 1, START).unwrap();
        let shared = Arc::clone(&guard);
        threads(3, move |thread| {
            if thread == 0 {
                shared.set_override(PAY, Mode::ForcedOpen, at(1));
                assert!(shared.admit(PAY, at(1)).is_err());
            } else if let Ok(mut permit) = shared.admit(PAY, START) {
                permit.mark_sent(START);
                permit.record(CallClass::FailHard, at(1));
            }
        });
        assert_eq!(guard.snapshot(PAY, at(1)).state, State::ForcedOpen);
        assert!(guard.admit(PAY, at(60_000)).is_err());
        assert_balanced(&guard);
    });
}

#[test]
fn repeats_and_the_tick_count_every_call_once_and_wait_for_nobody_for_ever() {
    tried(|| {
        let guard = ChannelGuard::new(&settings(), 1, START).unwrap();
        let shared = Arc::clone(&guard);
        threads(3, move |thread| {
            for _ in 0..8 {
                match thread {
                    0 => shared.tick(START),
                    1 => drop(shared.admit(PAY, START)),
                    _ => assert!(repeat(&shared)),
                }
            }
        });
        let taken = (0..8).filter(|_| repeat(&guard)).count();
        assert_eq!(taken, 2, "eight of ten were taken, whatever the order");
        assert_balanced(&guard);
    });
}

#[test]
fn repeats_that_come_back_unsent_leave_the_budget_as_it_was_whoever_repeats_meanwhile() {
    tried(|| {
        let guard = ChannelGuard::new(&settings(), 1, START).unwrap();
        let shared = Arc::clone(&guard);
        threads(3, move |thread| {
            for turn in 0..4 {
                match (thread, turn % 2) {
                    (0, _) => shared.tick(START),
                    (1, 0) => shared.admit_repeat(RESOLVE, START).unwrap().record(CallClass::Neutral, START),
                    (1, _) => drop(shared.admit_repeat(RESOLVE, START).unwrap()),
                    _ => assert!(repeat(&shared)),
                }
            }
        });
        let taken = (0..10).filter(|_| repeat(&guard)).count();
        assert_eq!(taken, 6, "four of ten were sent");
        assert_balanced(&guard);
    });
}

//! What must hold of a guard whatever flows do with it, alone and from many threads.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::breaker::Mode;
use super::guard::*;
use crate::clock::Moment;
use crate::domain::operation::{CallClass, OperationClass};

#[derive(Clone, Copy, Debug)]
enum Step {
    Advance(u64),
    Admit(OperationClass),
    Send(usize),
    Record(usize, CallClass),
    Drop(usize),
    Tick,
    Force(OperationClass, Mode),
    Release(OperationClass),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let class = || prop::sample::select(OperationClass::ALL.to_vec());
    let ends = [CallClass::Success, CallClass::FailHard, CallClass::FailSoft, CallClass::RateLimited, CallClass::Neutral];
    let step = prop_oneof![
        3 => (0_u64..1_500).prop_map(Step::Advance),
        10 => class().prop_map(Step::Admit),
        4 => any::<usize>().prop_map(Step::Send),
        4 => (any::<usize>(), prop::sample::select(ends.to_vec())).prop_map(|(which, end)| Step::Record(which, end)),
        2 => any::<usize>().prop_map(Step::Drop),
        2 => Just(Step::Tick),
        1 => (class(), prop::sample::select(Mode::ALL.to_vec())).prop_map(|(class, mode)| Step::Force(class, mode)),
        2 => class().prop_map(Step::Release),
    ];
    prop::collection::vec(step, 1..150)
}

/// The limit and the shares, from a count of the permits that are really out.
fn assert_room(guard: &ChannelGuard, out: &[Permit], limit: u32) {
    let count = |class| out.iter().filter(|permit| permit.class() == class).count() as u32;
    let [pay, resolve, refund] = OperationClass::ALL.map(count);
    assert_eq!(OperationClass::ALL.map(|class| guard.in_flight(class)), [pay, resolve, refund]);
    let (keeps_resolve, keeps_refund) = ((limit / 5).max(1), (limit / 10).max(1));
    assert!(pay + resolve + refund <= limit);
    assert!(pay <= limit - keeps_resolve - keeps_refund);
    assert!(resolve <= limit - keeps_refund && refund <= limit - keeps_resolve);
}

fn assert_balanced(guard: &ChannelGuard, now: Moment) {
    for class in OperationClass::ALL {
        let Snapshot { counters, in_flight, .. } = guard.snapshot(class, now);
        let ended = counters.recorded + counters.dropped_unsent + counters.dropped_sent;
        assert_eq!(counters.admitted, ended + u64::from(in_flight));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn permits_admitted_are_recorded_dropped_or_out_and_never_more_than_there_is_room(limit in MIN_IN_FLIGHT..30, steps in steps()) {
        let settings = GuardSettings { max_in_flight: limit, ..GuardSettings::default() };
        let mut now = Moment::from_nanos(9);
        let guard = ChannelGuard::new(&settings, 3, now).unwrap();
        let mut out: Vec<Permit> = Vec::new();
        for step in steps {
            match step {
                Step::Advance(millis) => now = now + Duration::from_millis(millis),
                Step::Admit(class) => {
                    let foreseen = guard.would_admit(class, now);
                    let below_kept = guard.in_flight(class) < guard.snapshot(class, now).kept;
                    let answer = guard.admit(class, now);
                    prop_assert_eq!(answer.is_ok(), foreseen);
                    let turned_away_for_room = matches!(answer, Err(Rejected::InFlight { .. }));
                    prop_assert!(!(below_kept && turned_away_for_room), "what is kept for a class is always had");
                    out.extend(answer);
                }
                Step::Send(which) if !out.is_empty() => {
                    let which = which % out.len();
                    out[which].mark_sent(now);
                }
                Step::Record(which, end) if !out.is_empty() => out.swap_remove(which % out.len()).record(end, now),
                Step::Drop(which) if !out.is_empty() => drop(out.swap_remove(which % out.len())),
                Step::Send(_) | Step::Record(..) | Step::Drop(_) => {}
                Step::Tick => guard.tick(now),
                Step::Force(class, mode) => guard.set_override(class, mode, now),
                Step::Release(class) => guard.clear_override(class, now),
            }
            assert_room(&guard, &out, limit);
            assert_balanced(&guard, now);
        }
        let epochs: u64 = OperationClass::ALL.map(|class| guard.snapshot(class, now).epoch).iter().sum();
        let Transitions { list, lost } = guard.transitions();
        prop_assert_eq!(epochs, list.len() as u64 + lost, "every transition is handed over or counted as lost");
    }
}

#[test]
fn many_threads_never_hold_more_than_there_is_room_and_leave_the_books_balanced() {
    let settings = GuardSettings { max_in_flight: 3, ..GuardSettings::default() };
    let guard = ChannelGuard::new(&settings, 5, Moment::default()).unwrap();
    // Raised after a permit is had and lowered before it is given back: never above what the guard itself counts.
    let held = AtomicU32::new(0);
    let turned_away = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let (guard, held, turned_away) = (&guard, &held, &turned_away);
            scope.spawn(move || {
                for turn in 0..3_000_u64 {
                    let now = Moment::from_nanos(turn * 200_000);
                    let class = OperationClass::ALL[((turn + thread) % 3) as usize];
                    let Ok(mut permit) = guard.admit(class, now) else {
                        turned_away.fetch_add(1, Ordering::SeqCst);
                        continue;
                    };
                    assert!(held.fetch_add(1, Ordering::SeqCst) < 3);
                    permit.mark_sent(now);
                    if turn % 8 == 0 {
                        std::thread::yield_now();
                        guard.tick(now);
                    }
                    held.fetch_sub(1, Ordering::SeqCst);
                    match turn % 8 {
                        0 => drop(permit),
                        1 => permit.record(CallClass::FailSoft, now),
                        2 => permit.record(CallClass::Neutral, now),
                        _ => permit.record(CallClass::Success, now),
                    }
                }
            });
        }
    });
    let end = Moment::from_nanos(10_000_000_000);
    assert_balanced(&guard, end);
    assert_room(&guard, &[], 3);
    let counted = OperationClass::ALL.map(|class| guard.snapshot(class, end).counters);
    let admitted: u64 = counted.iter().map(|counters| counters.admitted).sum();
    let rejected: u64 = counted.iter().map(|counters| counters.rejected_by_room + counters.rejected_by_breaker).sum();
    assert_eq!(rejected, u64::from(turned_away.into_inner()));
    assert_eq!(admitted + rejected, 6 * 3_000);
}

//! What flows and supervisors may rely on, one sentence at a time.

use std::sync::Arc;
use std::time::Duration;

use super::breaker::{BreakerSettings, Mode, ProbeGate, Reason, State, Totals};
use super::guard::*;
use crate::clock::Moment;
use crate::domain::operation::{CallClass, OperationClass};

const START: Moment = Moment::from_nanos(1_000_000_000_000);
const PAY: OperationClass = OperationClass::Pay;
const RESOLVE: OperationClass = OperationClass::Resolve;
const REFUND: OperationClass = OperationClass::Refund;

fn at(millis: u64) -> Moment {
    START + Duration::from_millis(millis)
}

fn guard(max_in_flight: u32) -> Arc<ChannelGuard> {
    let settings = GuardSettings { max_in_flight, ..GuardSettings::default() };
    ChannelGuard::new(&settings, 1, START).unwrap()
}

fn permits(guard: &Arc<ChannelGuard>, class: OperationClass) -> Vec<Permit> {
    std::iter::from_fn(|| guard.admit(class, START).ok()).collect()
}

fn call(guard: &Arc<ChannelGuard>, class: OperationClass, outcome: CallClass, now: Moment) {
    let mut permit = guard.admit(class, now).unwrap();
    permit.mark_sent(now);
    permit.record(outcome, now);
}

/// Trips a class's breaker with a run of failures that ends at 1 s.
fn trip(guard: &Arc<ChannelGuard>, class: OperationClass) {
    for millis in [700, 700, 700, 700, 1_000] {
        call(guard, class, CallClass::FailHard, at(millis));
    }
    assert_eq!(guard.snapshot(class, at(1_000)).state, State::Open);
}

#[test]
fn a_permit_travels_to_any_thread_and_outlives_who_asked() {
    fn travels<T: Send + 'static>() {}
    travels::<Permit>();
    let permit = guard(10).admit(PAY, START).unwrap();
    assert_eq!(permit.guard().in_flight(PAY), 1);
    std::thread::spawn(move || permit.record(CallClass::Success, at(5))).join().unwrap();
}

#[test]
fn a_permit_dropped_before_anything_was_sent_says_nothing_of_the_channel() {
    let guard = guard(10);
    drop(guard.admit(PAY, START).unwrap());
    let snapshot = guard.snapshot(PAY, at(1));
    assert_eq!((snapshot.window, snapshot.run, snapshot.in_flight), (Totals::default(), 0, 0));
    assert_eq!((snapshot.counters.admitted, snapshot.counters.dropped_unsent), (1, 1));
}

#[test]
fn a_permit_dropped_after_something_was_sent_is_a_failure_at_the_latest_time_known() {
    let guard = guard(10);
    let mut permit = guard.admit(PAY, START).unwrap();
    permit.mark_sent(at(1));
    guard.tick(at(3_000));
    drop(permit);
    let snapshot = guard.snapshot(PAY, at(3_000));
    assert_eq!(snapshot.window, Totals { calls: 1, failures: 1, slow: 1 });
    assert_eq!((snapshot.run, snapshot.counters.dropped_sent), (1, 1));
}

#[test]
fn a_panic_after_the_send_is_a_failure_of_the_channel_and_before_it_is_nothing() {
    let guard = guard(10);
    for sent in [false, true] {
        let mut permit = guard.admit(PAY, START).unwrap();
        let panicked = std::thread::spawn(move || {
            if sent {
                permit.mark_sent(at(1));
            }
            panic!("a fault in one channel's code");
        });
        assert!(panicked.join().is_err());
    }
    let snapshot = guard.snapshot(PAY, at(1));
    assert_eq!(snapshot.window, Totals { calls: 1, failures: 1, slow: 0 });
    assert_eq!((snapshot.in_flight, snapshot.counters.dropped_unsent, snapshot.counters.dropped_sent), (0, 1, 1));
}

#[test]
fn the_time_of_a_call_runs_from_its_first_byte_not_from_its_permit() {
    let guard = guard(10);
    let mut permit = guard.admit(PAY, START).unwrap();
    permit.mark_sent(at(5_000));
    permit.mark_sent(at(9_000));
    permit.record(CallClass::Success, at(6_999));
    let mut permit = guard.admit(PAY, at(7_000)).unwrap();
    permit.mark_sent(at(7_000));
    permit.mark_sent(at(9_000));
    permit.record(CallClass::Success, at(9_001));
    assert_eq!(guard.snapshot(PAY, at(9_001)).window, Totals { calls: 2, failures: 0, slow: 1 });
}

#[test]
fn calls_that_hang_trip_at_the_tick_and_their_ends_are_late() {
    let guard = guard(512);
    let mut out: Vec<Permit> = (0..20).map(|_| guard.admit(PAY, START).unwrap()).collect();
    out.iter_mut().for_each(|permit| permit.mark_sent(START));
    guard.tick(at(2_000));
    assert_eq!(guard.snapshot(PAY, at(2_000)).state, State::Closed);
    guard.tick(at(2_001));
    let snapshot = guard.snapshot(PAY, at(2_001));
    assert_eq!((snapshot.state, snapshot.reason), (State::Open, Some(Reason::SlowCalls)));
    out.into_iter().for_each(|permit| permit.record(CallClass::FailHard, at(3_000)));
    assert_eq!(guard.snapshot(PAY, at(3_000)).counters.late, 20);
    assert_eq!(guard.transitions().list.len(), 1, "one transition a crossing");
}

#[test]
fn a_call_that_has_sent_nothing_yet_is_not_slow() {
    let guard = guard(10);
    let _waiting = guard.admit(PAY, START).unwrap();
    guard.tick(at(60_000));
    assert_eq!(guard.snapshot(PAY, at(60_000)).window, Totals::default());
}

#[test]
fn pay_never_takes_what_is_kept_for_resolve_and_refund() {
    let guard = guard(20);
    let pays = permits(&guard, PAY);
    assert_eq!(pays.len(), 14, "20 less 20 % for resolve and 10 % for refund");
    assert_eq!(guard.admit(PAY, START).unwrap_err(), Rejected::InFlight { limit: 20 });
    assert!(!guard.would_admit(PAY, START) && guard.would_admit(RESOLVE, START));
    assert_eq!((permits(&guard, RESOLVE).len(), permits(&guard, REFUND).len()), (4, 2));
    assert_eq!(guard.snapshot(PAY, START).counters.rejected_by_room, 2, "the one after the last, and the one asserted");
}

#[test]
fn resolve_and_refund_borrow_what_pay_leaves_idle_but_not_from_each_other() {
    let guard = guard(20);
    let resolves = permits(&guard, RESOLVE);
    assert_eq!(resolves.len(), 18);
    assert!(guard.admit(PAY, START).is_err());
    let refunds = permits(&guard, REFUND);
    assert_eq!(refunds.len(), 2);
    drop(resolves);
    assert_eq!(permits(&guard, REFUND).len() + refunds.len(), 16);
}

#[test]
fn the_smallest_channel_has_room_for_one_call_of_each_class() {
    let guard = guard(MIN_IN_FLIGHT);
    let all: Vec<usize> = OperationClass::ALL
        .into_iter()
        .map(|class| {
            let taken = permits(&guard, class);
            let count = taken.len();
            std::mem::forget(taken);
            count
        })
        .collect();
    assert_eq!(all, [1, 1, 1]);
}

#[test]
fn a_probe_that_finds_no_room_goes_back_to_the_breaker() {
    let settings = GuardSettings {
        max_in_flight: 3,
        pay: BreakerSettings { probes: 1, probe_gate: ProbeGate::TimeOnly, ..BreakerSettings::default() },
        ..GuardSettings::default()
    };
    let guard = ChannelGuard::new(&settings, 1, START).unwrap();
    let lingering = guard.admit(PAY, START).unwrap();
    guard.set_override(PAY, Mode::ForcedOpen, START);
    guard.clear_override(PAY, START);
    assert_eq!(guard.admit(PAY, START).unwrap_err(), Rejected::InFlight { limit: 3 });
    assert_eq!(guard.snapshot(PAY, START).probes_out, 0);
    drop(lingering);
    assert!(guard.admit(PAY, START).is_ok());
}

#[test]
fn failing_payments_shut_pay_and_leave_resolve_and_refund_open() {
    let guard = guard(20);
    trip(&guard, PAY);
    let Err(Rejected::Breaker(rejected)) = guard.admit(PAY, at(1_001)) else { panic!("it should be shut") };
    assert_eq!(rejected.state, State::Open);
    assert!(rejected.retry_after > Some(Duration::ZERO));
    assert!(!guard.would_admit(PAY, at(1_001)));
    assert!(guard.would_admit(RESOLVE, at(1_001)) && guard.would_admit(REFUND, at(1_001)));
    assert_eq!(guard.snapshot(PAY, at(1_001)).counters.rejected_by_breaker, 1);
}

#[test]
fn the_resolve_breaker_paces_by_time_alone_and_always_says_when_to_come_again() {
    let settings = GuardSettings { resolve: BreakerSettings::default(), ..GuardSettings::default() };
    assert_eq!(settings.resolve.probe_gate, ProbeGate::QueryFirst);
    let guard = ChannelGuard::new(&settings, 1, START).unwrap();
    trip(&guard, RESOLVE);
    let mut now = at(1_000);
    let mut probes = Vec::new();
    for _ in 0..50 {
        match guard.admit(RESOLVE, now) {
            Ok(permit) => probes.push(permit),
            Err(rejected) => now = now + rejected.retry_after().expect("it never rejects for good"),
        }
        if probes.len() == 3 {
            probes.drain(..).for_each(|permit| permit.record(CallClass::FailHard, now));
        }
    }
    let changes = guard.transitions().list;
    let half_opened: Vec<Reason> =
        changes.iter().filter(|change| change.transition.to == State::HalfOpen).map(|change| change.transition.reason).collect();
    assert!(half_opened.len() > 5 && half_opened.iter().all(|reason| *reason == Reason::Waited), "{half_opened:?}");
}

#[test]
fn a_query_that_succeeds_opens_the_way_for_probes_of_pay() {
    let guard = guard(20);
    trip(&guard, PAY);
    let until = at(1_000) + guard.snapshot(PAY, at(1_000)).retry_after.unwrap();
    assert!(!guard.wants_query(at(1_000)) && guard.wants_query(until));
    assert!(guard.admit(PAY, until).is_err());
    guard.query_succeeded(until);
    assert!(guard.admit(PAY, until).is_ok() && !guard.wants_query(until));
    assert_eq!(guard.snapshot(PAY, until).state, State::HalfOpen);
}

#[test]
fn an_override_wins_at_once_and_when_it_ends_the_automatic_state_goes_on() {
    let guard = guard(20);
    for mode in [Mode::ForcedOpen, Mode::Drain] {
        guard.set_override(PAY, mode, at(0));
        let Err(rejected) = guard.admit(PAY, at(3_600_000)) else { panic!("it should be shut") };
        assert_eq!((rejected.as_str(), rejected.retry_after()), ("forced_open", None));
        assert_eq!(guard.snapshot(PAY, at(0)).r#override, Some(mode));
    }
    guard.clear_override(PAY, at(1));
    let snapshot = guard.snapshot(PAY, at(1));
    assert_eq!((snapshot.state, snapshot.r#override), (State::HalfOpen, None));
    guard.set_override(PAY, Mode::ForcedClosed, at(2));
    (0..100).for_each(|second| call(&guard, PAY, CallClass::FailHard, at(second * 100)));
    assert!(guard.would_admit(PAY, at(10_000)));
    guard.clear_override(PAY, at(10_000));
    assert_eq!(guard.snapshot(PAY, at(10_000)).state, State::Closed);
}

#[test]
fn transitions_are_handed_over_once_in_order_and_the_newest_are_kept() {
    let guard = guard(20);
    trip(&guard, PAY);
    guard.set_override(REFUND, Mode::Drain, at(1_000));
    let seen: Vec<_> = guard.transitions().list.iter().map(|change| (change.class, change.transition.to)).collect();
    assert_eq!(seen, [(PAY, State::Open), (REFUND, State::ForcedOpen)]);
    assert_eq!(guard.transitions(), Transitions::default());
    for _ in 0..40 {
        guard.set_override(PAY, Mode::ForcedOpen, at(2_000));
        guard.set_override(PAY, Mode::ForcedClosed, at(2_000));
    }
    let Transitions { list, lost } = guard.transitions();
    assert_eq!((list.len(), lost), (TRANSITIONS_KEPT, 80 - TRANSITIONS_KEPT as u64));
    assert_eq!(list.last().unwrap().transition.epoch, 81);
}

#[test]
fn settings_that_make_no_sense_give_no_guard() {
    let faults = ChannelGuard::new(&GuardSettings { max_in_flight: 513, ..GuardSettings::default() }, 1, START).unwrap_err();
    assert_eq!(faults, ["max_in_flight is 513: it must be from 3 to 512"]);
}

/// Ten calls or more of each second from `from_ms` on, `at_once` in flight together, each ending so.
fn seconds_of_calls(guard: &Arc<ChannelGuard>, class: OperationClass, from_ms: u64, seconds: u64, at_once: usize, outcome: CallClass) {
    // An answer takes its time, and a refusal is quick.
    let rtt_ms = if outcome == CallClass::Success { 100 } else { 5 };
    for second in 0..seconds {
        for round in 0..3 {
            let began = at(from_ms + second * 1_100 + round * 500);
            let mut out: Vec<Permit> = (0..at_once).filter_map(|_| guard.admit(class, began).ok()).collect();
            out.iter_mut().for_each(|permit| permit.mark_sent(began));
            out.into_iter().for_each(|permit| permit.record(outcome, began + Duration::from_millis(rtt_ms)));
        }
    }
}

#[test]
fn the_limit_starts_at_the_cap_and_shrinks_with_what_the_channel_refuses_as_too_much() {
    let guard = guard(100);
    assert_eq!((guard.limit(), guard.snapshot(PAY, START).class_limit), (100, 70));
    seconds_of_calls(&guard, PAY, 0, 10, 20, CallClass::Success);
    assert_eq!(guard.limit(), 100);
    seconds_of_calls(&guard, PAY, 20_000, 10, 20, CallClass::RateLimited);
    let snapshot = guard.snapshot(PAY, at(40_000));
    assert_eq!(snapshot.state, State::Closed, "a 429 does not trip");
    assert!(snapshot.class_limit < 40, "{snapshot:?}");
    let [resolve, refund] = [RESOLVE, REFUND].map(|class| guard.snapshot(class, at(40_000)).kept);
    assert_eq!([resolve, refund], [snapshot.limit / 5, snapshot.limit / 10], "the shares are of what is left");
    assert_eq!(guard.limit(), snapshot.class_limit + resolve + refund);
    assert_eq!((permits(&guard, RESOLVE).len(), snapshot.kept), ((snapshot.limit - refund) as usize, 0));
}

#[test]
fn all_together_never_exceed_a_limit_that_has_shrunk() {
    let guard = healed(512);
    assert_eq!(guard.limit(), 8);
    let all: Vec<Permit> = [PAY, RESOLVE, REFUND].into_iter().flat_map(|class| permits(&guard, class)).collect();
    assert_eq!([PAY, RESOLVE, REFUND].map(|class| guard.in_flight(class)), [6, 1, 1]);
    drop(all);
    let all: Vec<Permit> = [REFUND, RESOLVE, PAY].into_iter().flat_map(|class| permits(&guard, class)).collect();
    assert_eq!(all.len(), 8, "whoever comes first: {:?}", [PAY, RESOLVE, REFUND].map(|class| guard.in_flight(class)));
    assert_eq!(guard.in_flight(REFUND), 7, "what the others leave idle is borrowed");
}

#[test]
fn a_share_is_no_leave_to_press_a_channel_whose_queries_are_too_much_for_it() {
    let guard = guard(512);
    seconds_of_calls(&guard, RESOLVE, 0, 60, 150, CallClass::RateLimited);
    let snapshot = guard.snapshot(RESOLVE, at(70_000));
    assert_eq!((snapshot.class_limit, snapshot.kept, guard.limit()), (6, 102, 512), "its own least, though more would be kept for it");
    assert_eq!(permits(&guard, RESOLVE).len(), 6);
    assert_eq!(permits(&guard, PAY).len(), 512 - 102 - 51, "which is lent to pay no more than before");
}

#[test]
fn what_never_reached_the_acquirer_says_nothing_of_how_much_it_can_carry() {
    let guard = guard(100);
    guard.set_override(PAY, Mode::ForcedClosed, START);
    for turn in 0..200 {
        guard.admit(PAY, at(turn * 100)).unwrap().record(CallClass::FailHard, at(turn * 100));
    }
    assert_eq!(guard.limit(), 100, "connections that never came about are the breaker's business");
}

/// A guard whose breaker of pay has just closed after an opening, at 10 s.
fn healed(max_in_flight: u32) -> Arc<ChannelGuard> {
    let pay = BreakerSettings { probe_gate: ProbeGate::TimeOnly, ..BreakerSettings::default() };
    let guard = ChannelGuard::new(&GuardSettings { max_in_flight, pay, ..GuardSettings::default() }, 1, START).unwrap();
    fall_and_heal(&guard);
    guard
}

fn fall_and_heal(guard: &Arc<ChannelGuard>) {
    let whole = guard.limit();
    trip(guard, PAY);
    assert_eq!(guard.limit(), whole, "while it is shut nobody asks");
    (0..3).for_each(|_| call(guard, PAY, CallClass::Success, at(10_000)));
    assert_eq!(guard.snapshot(PAY, at(10_000)).state, State::Closed);
}

#[test]
fn after_an_opening_the_limit_starts_again_at_twice_the_probes_and_grows() {
    let guard = healed(100);
    assert_eq!((guard.snapshot(PAY, at(10_000)).class_limit, guard.limit()), (6, 8));
    assert_eq!(permits(&guard, PAY).len(), 6);
    seconds_of_calls(&guard, PAY, 11_000, 40, 50, CallClass::Success);
    assert!(guard.snapshot(PAY, at(90_000)).class_limit > 20);
}

#[test]
fn after_a_quiet_minute_the_tick_raises_the_limit_of_a_channel_that_nobody_calls_and_the_shares_with_it() {
    let guard = healed(100);
    let refunds = || permits(&guard, REFUND).len();
    assert_eq!((guard.limit(), refunds()), (8, 7));
    guard.tick(at(69_000));
    assert_eq!(guard.limit(), 8, "it closed ten seconds in");
    guard.tick(at(200_000));
    assert_eq!((guard.limit(), refunds()), (100, 80), "as before the opening");
}

#[test]
fn what_hangs_since_before_the_limit_shrank_leaves_the_others_their_shares_and_no_more() {
    let pay = BreakerSettings { probe_gate: ProbeGate::TimeOnly, ..BreakerSettings::default() };
    let guard = ChannelGuard::new(&GuardSettings { max_in_flight: 100, pay, ..GuardSettings::default() }, 1, START).unwrap();
    let hanging: Vec<Permit> = permits(&guard, PAY).into_iter().take(60).collect();
    fall_and_heal(&guard);
    assert_eq!((guard.limit(), guard.in_flight(PAY)), (8, 60));
    assert!(guard.admit(PAY, at(10_000)).is_err());
    let others = [permits(&guard, RESOLVE), permits(&guard, REFUND)];
    assert_eq!(others.each_ref().map(Vec::len), [1, 1]);
    drop(hanging);
    assert_eq!(permits(&guard, PAY).len(), 6);
}

#[test]
fn calls_over_the_contracts_rate_are_turned_away_as_such_and_find_a_place_when_it_says() {
    let settings = GuardSettings {
        pay: BreakerSettings { rate_per_second: Some(10), burst: Some(3), ..BreakerSettings::default() },
        ..GuardSettings::default()
    };
    let guard = ChannelGuard::new(&settings, 1, START).unwrap();
    assert_eq!(permits(&guard, PAY).len(), 3);
    let rejected = guard.admit(PAY, START).unwrap_err();
    assert_eq!((rejected.as_str(), rejected.retry_after(), rejected.is_momentary()), ("over_rate", Some(Duration::from_millis(100)), true));
    assert!(!guard.would_admit(PAY, at(99)) && guard.would_admit(PAY, at(100)) && guard.admit(PAY, at(100)).is_ok());
    assert!(guard.admit(RESOLVE, START).is_ok(), "each class has its own");
    let snapshot = guard.snapshot(PAY, at(100));
    assert_eq!((snapshot.counters.rejected_by_rate, snapshot.rate_per_second, snapshot.in_flight), (2, Some(10), 0));
}

#[test]
fn what_finds_no_room_takes_nothing_from_the_rate() {
    let settings = GuardSettings {
        max_in_flight: 3,
        pay: BreakerSettings { rate_per_second: Some(1), burst: Some(2), ..BreakerSettings::default() },
        ..GuardSettings::default()
    };
    let guard = ChannelGuard::new(&settings, 1, START).unwrap();
    let first = guard.admit(PAY, START).unwrap();
    for _ in 0..10 {
        assert_eq!(guard.admit(PAY, START).unwrap_err().as_str(), "in_flight");
    }
    drop(first);
    assert!(guard.admit(PAY, START).is_ok());
}

#[test]
fn a_documented_rate_is_kept_only_where_the_settings_say_nothing() {
    let mut settings: GuardSettings = toml::from_str("[pay]\nrate_per_second = 5\n[refund]\nrate_per_second = 0").unwrap();
    settings.follow_contract(|class| (class != RESOLVE).then_some(70));
    assert_eq!([&settings.pay, &settings.resolve, &settings.refund].map(BreakerSettings::rate), [Some((5, 1)), None, None]);
    let mut settings = GuardSettings::default();
    settings.follow_contract(|_| Some(70));
    assert_eq!(settings.pay.rate(), Some((70, 7)));
}

/// A repeat that was sent, and was too much for the channel: whether it was let through.
fn repeat(guard: &Arc<ChannelGuard>, class: OperationClass, now: Moment) -> bool {
    let Ok(mut permit) = guard.admit_repeat(class, now) else { return false };
    permit.mark_sent(now);
    permit.record(CallClass::RateLimited, now);
    true
}

fn repeats(guard: &Arc<ChannelGuard>, class: OperationClass, now: Moment) -> usize {
    (0..50).filter(|_| repeat(guard, class, now)).count()
}

#[test]
fn repeats_are_bounded_and_first_sends_are_not() {
    let guard = guard(100);
    assert_eq!(repeats(&guard, REFUND, START), 10, "one a second, for ten seconds");
    let rejected = guard.admit_repeat(REFUND, START).unwrap_err();
    assert_eq!(rejected.as_str(), "retry_budget");
    assert!(rejected.retry_after().is_some_and(|wait| !wait.is_zero()));
    assert!(guard.admit(REFUND, START).is_ok() && guard.admit_repeat(RESOLVE, START).is_err(), "one budget a channel, and only for repeats");
    (0..300).for_each(|_| call(&guard, PAY, CallClass::Success, at(1)));
    let taken = repeats(&guard, REFUND, at(2));
    assert!((20..=24).contains(&taken), "a tenth of 310 calls and of the repeats themselves, less the ten before: {taken}");
    assert!(guard.admit_repeat(REFUND, START + rejected.retry_after().unwrap()).is_ok());
    assert_eq!(guard.snapshot(REFUND, at(2)).counters.rejected_by_budget, 41 + 50 - taken as u64);
}

#[test]
fn a_repeat_that_a_shut_breaker_turns_away_takes_nothing_from_the_budget() {
    let guard = guard(100);
    guard.set_override(REFUND, Mode::ForcedOpen, START);
    assert!((0..50).all(|_| guard.admit_repeat(REFUND, START).is_err()));
    assert_eq!(repeats(&guard, RESOLVE, START), 10);
}

#[test]
fn a_repeat_that_succeeds_costs_the_budget_nothing_and_one_that_does_not_is_counted() {
    let guard = guard(100);
    for _ in 0..50 {
        let mut permit = guard.admit_repeat(RESOLVE, START).unwrap();
        permit.mark_sent(START);
        permit.record(CallClass::Success, at(1));
    }
    for class in [CallClass::Neutral, CallClass::FailSoft].into_iter().cycle().take(10) {
        let mut permit = guard.admit_repeat(REFUND, at(1)).unwrap();
        permit.mark_sent(at(1));
        permit.record(class, at(1));
    }
    assert!(guard.admit_repeat(RESOLVE, at(1)).is_err(), "ten were not answered well");
}

#[test]
fn a_repeat_that_was_never_sent_costs_the_budget_nothing_and_one_whose_connection_never_came_about_is_counted() {
    let guard = guard(100);
    for turn in 0..50 {
        let permit = guard.admit_repeat(REFUND, at(turn)).unwrap();
        if turn % 2 == 0 { drop(permit) } else { permit.record(CallClass::Neutral, at(turn)) }
    }
    for _ in 0..10 {
        guard.admit_repeat(REFUND, at(60)).unwrap().record(CallClass::FailHard, at(60));
    }
    assert_eq!(guard.admit_repeat(RESOLVE, at(60)).unwrap_err().as_str(), "retry_budget");
}

#[test]
fn a_repeat_that_is_out_is_counted_until_it_comes_back_unsent() {
    let guard = guard(100);
    let out: Vec<Permit> = (0..10).map(|_| guard.admit_repeat(RESOLVE, START).unwrap()).collect();
    assert!(guard.admit_repeat(RESOLVE, at(1)).is_err(), "each of them may yet be sent");
    drop(out);
    assert_eq!(repeats(&guard, RESOLVE, at(1)), 10);
}

#[test]
fn what_never_left_us_is_no_call_of_which_repeats_could_be_a_tenth() {
    let guard = guard(100);
    for _ in 0..300 {
        drop(guard.admit_repeat(REFUND, START).unwrap());
        drop(guard.admit(PAY, START).unwrap());
    }
    let counted_while_out = guard.admit(PAY, START).unwrap();
    guard.tick(START);
    drop(counted_while_out);
    assert_eq!(repeats(&guard, REFUND, START), 10);
}

#[test]
fn a_repeat_that_succeeds_after_its_time_in_the_window_gives_nobody_else_s_back() {
    let guard = guard(100);
    let late = guard.admit_repeat(RESOLVE, START).unwrap();
    let others: Vec<Permit> = (0..10).map(|_| guard.admit_repeat(RESOLVE, at(10_500)).unwrap()).collect();
    late.record(CallClass::Success, at(10_600));
    assert!(guard.admit_repeat(RESOLVE, at(10_600)).is_err(), "time gave it back before");
    drop(others);
}

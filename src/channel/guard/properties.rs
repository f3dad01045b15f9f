//! What must hold of a guard whatever flows do with it, alone and from many threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::breaker::{BreakerSettings, Mode, ProbeGate};
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
    /// A second of calls that all end so: what moves a limiter.
    Second(OperationClass, CallClass),
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
        2 => class().prop_map(|class| Step::Second(class, CallClass::RateLimited)),
        1 => (class(), prop::sample::select(vec![CallClass::Success, CallClass::FailHard])).prop_map(|(class, end)| Step::Second(class, end)),
    ];
    prop::collection::vec(step, 1..150)
}

/// Two in ten for resolve and one in ten for refund, at least one each.
fn shares(limit: u32) -> [u32; 3] {
    [0, (limit / 5).max(1), (limit / 10).max(1)]
}

/// A guard, and beside it what is known of every permit that is out: enough to say anew each time who has room.
struct Watched {
    guard: Arc<ChannelGuard>,
    cap: u32,
    now: Moment,
    /// Each with whether it was admitted since the limit last shrank.
    out: Vec<(Permit, bool)>,
    limit: u32,
}

impl Watched {
    fn new(settings: &GuardSettings) -> Self {
        let now = Moment::from_nanos(9);
        let guard = ChannelGuard::new(settings, 3, now).unwrap();
        Self { guard, cap: settings.max_in_flight, now, out: Vec::new(), limit: settings.max_in_flight }
    }

    fn out(&self, counts: impl Fn(bool) -> bool) -> [u32; 3] {
        OperationClass::ALL.map(|class| self.out.iter().filter(|(permit, since)| permit.class() == class && counts(*since)).count() as u32)
    }

    /// Whether there is room for one more call, from the permits that are out and what the limiters say.
    fn has_room(&self, class: OperationClass) -> bool {
        let of = class as usize;
        let mut wanted = self.out(|_| true);
        wanted[of] += 1;
        let claims: u32 = wanted.into_iter().zip(shares(self.limit)).map(|(calls, share)| calls.max(share)).sum();
        let has_share = wanted[of] <= shares(self.limit)[of];
        wanted[of] <= self.guard.snapshot(class, self.now).class_limit && (has_share || claims <= self.limit)
    }

    fn admit(&mut self, class: OperationClass) -> bool {
        let (foreseen, room) = (self.guard.would_admit(class, self.now), self.has_room(class));
        let answer = self.guard.admit(class, self.now);
        assert_eq!(answer.is_ok(), foreseen);
        match answer {
            Ok(permit) => {
                assert!(room, "{class:?} had no room");
                self.out.push((permit, true));
                true
            }
            Err(Rejected::InFlight { .. }) => {
                assert!(!room, "{class:?} had room");
                assert!(class == OperationClass::Pay || self.guard.in_flight(class) > 0, "one call of {class:?} always has room");
                false
            }
            Err(_) => false,
        }
    }

    fn record(&mut self, which: usize, end: CallClass) {
        self.out.swap_remove(which).0.record(end, self.now);
    }

    /// The limit and the shares, from a count of the permits that are really out.
    fn check(&mut self) {
        let snapshot = self.guard.snapshot(OperationClass::Pay, self.now);
        let leaves = |limit: u32| limit - shares(limit).iter().sum::<u32>();
        assert_eq!(Some(snapshot.limit), (MIN_IN_FLIGHT..=self.cap).filter(|limit| leaves(*limit) <= snapshot.class_limit).max());
        if snapshot.limit < self.limit {
            self.out.iter_mut().for_each(|(_, since)| *since = false);
        }
        self.limit = snapshot.limit;

        let all = self.out(|_| true);
        assert_eq!(OperationClass::ALL.map(|class| self.guard.in_flight(class)), all);
        let claims = |calls: [u32; 3], limit: u32| calls.into_iter().zip(shares(limit)).map(|(calls, share)| calls.max(share)).sum::<u32>();
        assert!(claims(all, self.cap) <= self.cap, "{all:?} of {}", self.cap);
        let since = self.out(|since| since);
        assert!(claims(since, self.limit) <= self.limit, "{since:?} of {} since it shrank", self.limit);
    }
}

/// What flows do with repeats beside everything else.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Advance(u64),
    Admit {
        class: OperationClass,
        repeat: bool,
    },
    Send(usize),
    Record(usize, CallClass),
    Drop(usize),
    Tick,
    /// So many first sends that are answered.
    Calls(u32),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let ends = vec![CallClass::Success, CallClass::FailHard, CallClass::RateLimited, CallClass::Neutral];
    let class = prop::sample::select(OperationClass::ALL.to_vec());
    let turn = prop_oneof![
        3 => (0_u64..1_500).prop_map(Turn::Advance),
        12 => (class, prop::bool::weighted(0.8)).prop_map(|(class, repeat)| Turn::Admit { class, repeat }),
        5 => any::<usize>().prop_map(Turn::Send),
        5 => (any::<usize>(), prop::sample::select(ends)).prop_map(|(which, end)| Turn::Record(which, end)),
        4 => any::<usize>().prop_map(Turn::Drop),
        2 => Just(Turn::Tick),
        1 => (0_u32..90).prop_map(Turn::Calls),
    ];
    prop::collection::vec(turn, 1..250)
}

/// What is remembered of one permit.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    /// The second in which it was given.
    given: u64,
    repeat: bool,
    sent: bool,
    end: Option<CallClass>,
}

impl Remembered {
    fn never_left(self) -> bool {
        !self.sent && self.end == Some(CallClass::Neutral)
    }
}

/// Every permit that was ever given, and in which second the budget was told of each call: what may be repeated is counted anew each time.
#[derive(Default)]
struct NaiveBudget {
    given: Vec<Remembered>,
    told: Vec<u64>,
}

impl NaiveBudget {
    /// Whether there may be a repeat, once the budget was told of the calls so far. Nothing that it was told of is taken back: what then never left
    /// us stands for the next call.
    fn may_repeat(&mut self, second: u64) -> bool {
        let calls = self.given.iter().filter(|permit| !permit.never_left()).count();
        let news = calls.saturating_sub(self.told.len());
        self.told.extend((0..news).map(|_| second));
        let told = self.told.iter().filter(|told| **told + 10 > second).count();
        let costs = |permit: &&Remembered| permit.repeat && !permit.never_left() && permit.end != Some(CallClass::Success);
        let repeats = self.given.iter().filter(costs).filter(|permit| permit.given + 10 > second).count();
        repeats < (told / 10).max(10)
    }
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
    fn permits_admitted_are_recorded_dropped_or_out_and_never_more_than_there_is_room(cap in MIN_IN_FLIGHT..60, steps in steps()) {
        let breaker = BreakerSettings { probe_gate: ProbeGate::TimeOnly, open_base_ms: 100, open_max_ms: 400, min_limit: 1, ..BreakerSettings::default() };
        let settings = GuardSettings { max_in_flight: cap, pay: breaker.clone(), resolve: breaker.clone(), refund: breaker };
        let mut watched = Watched::new(&settings);
        for step in steps {
            let out = watched.out.len();
            match step {
                Step::Advance(millis) => watched.now = watched.now + Duration::from_millis(millis),
                Step::Admit(class) => {
                    watched.admit(class);
                }
                Step::Send(which) if out > 0 => {
                    let now = watched.now;
                    watched.out[which % out].0.mark_sent(now);
                }
                Step::Record(which, end) if out > 0 => watched.record(which % out, end),
                Step::Drop(which) if out > 0 => drop(watched.out.swap_remove(which % out)),
                Step::Send(_) | Step::Record(..) | Step::Drop(_) => {}
                Step::Tick => watched.guard.tick(watched.now),
                Step::Force(class, mode) => watched.guard.set_override(class, mode, watched.now),
                Step::Release(class) => watched.guard.clear_override(class, watched.now),
                Step::Second(class, end) => {
                    for _ in 0..11 {
                        if watched.admit(class) {
                            let last = watched.out.len() - 1;
                            let now = watched.now;
                            watched.out[last].0.mark_sent(now);
                            watched.now = now + Duration::from_millis(110);
                            watched.record(last, end);
                            watched.check();
                        }
                    }
                }
            }
            watched.check();
            assert_balanced(&watched.guard, watched.now);
        }
        let guard = &watched.guard;
        let epochs: u64 = OperationClass::ALL.map(|class| guard.snapshot(class, watched.now).epoch).iter().sum();
        let Transitions { list, lost } = guard.transitions();
        prop_assert_eq!(epochs, list.len() as u64 + lost, "every transition is handed over or counted as lost");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_repeat_is_refused_exactly_when_those_that_were_sent_in_vain_or_are_out_use_up_a_tenth_of_the_calls_that_left(turns in turns()) {
        let start = Moment::from_nanos(9);
        let guard = ChannelGuard::new(&GuardSettings { max_in_flight: 100, ..GuardSettings::default() }, 3, start).unwrap();
        // No breaker has a say here.
        OperationClass::ALL.into_iter().for_each(|class| guard.set_override(class, Mode::ForcedClosed, start));
        let mut naive = NaiveBudget::default();
        let mut out: Vec<(Permit, usize)> = Vec::new();
        let mut now = start;
        for turn in turns {
            let second = now.since(start).as_secs();
            let which = |which: usize| if out.is_empty() { None } else { Some(which % out.len()) };
            match turn {
                Turn::Advance(millis) => now = now + Duration::from_millis(millis),
                Turn::Tick => {
                    guard.tick(now);
                    naive.may_repeat(second);
                }
                Turn::Calls(count) => {
                    for _ in 0..count {
                        let Ok(mut permit) = guard.admit(OperationClass::Pay, now) else { break };
                        permit.mark_sent(now);
                        permit.record(CallClass::Success, now);
                        naive.given.push(Remembered { given: second, repeat: false, sent: true, end: Some(CallClass::Success) });
                    }
                }
                Turn::Admit { class, repeat } => {
                    let answer = if repeat { guard.admit_repeat(class, now) } else { guard.admit(class, now) };
                    if repeat {
                        let may = naive.may_repeat(second);
                        prop_assert_eq!(!may, matches!(answer, Err(Rejected::RetryBudget { .. })));
                    }
                    if let Ok(permit) = answer {
                        out.push((permit, naive.given.len()));
                        naive.given.push(Remembered { given: second, repeat, sent: false, end: None });
                    }
                }
                Turn::Send(any) => if let Some(which) = which(any) {
                    let (permit, place) = &mut out[which];
                    permit.mark_sent(now);
                    naive.given[*place].sent = true;
                },
                Turn::Record(any, end) => if let Some(which) = which(any) {
                    let (permit, place) = out.swap_remove(which);
                    permit.record(end, now);
                    naive.given[place].end = Some(end);
                },
                Turn::Drop(any) => if let Some(which) = which(any) {
                    let (permit, place) = out.swap_remove(which);
                    drop(permit);
                    let sent = naive.given[place].sent;
                    naive.given[place].end = Some(if sent { CallClass::FailHard } else { CallClass::Neutral });
                },
            }
        }
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
    assert_eq!(OperationClass::ALL.map(|class| guard.in_flight(class)), [0; 3]);
    let counted = OperationClass::ALL.map(|class| guard.snapshot(class, end).counters);
    let admitted: u64 = counted.iter().map(|counters| counters.admitted).sum();
    let rejected: u64 = counted.iter().map(|counters| counters.rejected_by_room + counters.rejected_by_breaker).sum();
    assert_eq!(rejected, u64::from(turned_away.into_inner()));
    assert_eq!(admitted + rejected, 6 * 3_000);
}

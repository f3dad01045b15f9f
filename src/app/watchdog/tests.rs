use std::sync::Condvar;
use std::sync::atomic::AtomicU32;

use actix::{AsyncContext, Handler, Message, System};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;
use crate::clock::Clock;
use crate::http::Phase;

/// Where a thread waits until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<(bool, usize)>, Condvar)>);

impl Gate {
    fn pass(&self) {
        let (state, opened) = &*self.0;
        let mut state = state.lock().unwrap();
        state.1 += 1;
        while !state.0 {
            state = opened.wait(state).unwrap();
        }
    }

    fn open(&self) {
        self.0.0.lock().unwrap().0 = true;
        self.0.1.notify_all();
    }

    /// How many have come to it.
    fn came(&self) -> usize {
        self.0.0.lock().unwrap().1
    }
}

#[derive(Clone)]
enum Plan {
    Works,
    PanicsAtOnce,
    /// Begins something at its third turn that never ends.
    Hangs,
    /// Blocks its thread at the third turn, before that turn's sign of life.
    Blocks(Gate),
    BlocksAtOnce(Gate),
}

/// An actor with a turn every millisecond.
struct Part {
    life: Pulse,
    plan: Plan,
    turns: Arc<AtomicU32>,
}

impl Part {
    fn turn(&mut self, context: &mut Context<Self>) {
        let turn = self.turns.load(Ordering::SeqCst);
        match &self.plan {
            Plan::PanicsAtOnce => panic!("a fault of ours"),
            Plan::Hangs if turn == 2 => return,
            Plan::Blocks(gate) if turn == 2 => gate.pass(),
            Plan::BlocksAtOnce(gate) if turn == 0 => gate.pass(),
            _ => {}
        }
        self.turns.fetch_add(1, Ordering::SeqCst);
        self.life.beat(Clock::system().boot());
        context.run_later(Duration::from_millis(1), Self::turn);
    }
}

impl Actor for Part {
    type Context = Context<Self>;
    fn started(&mut self, context: &mut Context<Self>) {
        context.run_later(Duration::ZERO, Self::turn);
    }
}

struct Break;

impl Message for Break {
    type Result = ();
}

impl Handler<Break> for Part {
    type Result = ();
    fn handle(&mut self, _: Break, _: &mut Context<Self>) {
        panic!("a fault of ours");
    }
}

/// The turns of each that was built, in order.
#[derive(Clone, Default)]
struct Built(Arc<Mutex<Vec<Arc<AtomicU32>>>>);

impl Built {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn turns(&self, which: usize) -> u32 {
        self.0.lock().unwrap().get(which).map_or(0, |turns| turns.load(Ordering::SeqCst))
    }
}

/// A ward whose first actors go by these plans, and whose others work.
fn ward(plans: Vec<Plan>) -> (Ward<Part>, Built) {
    let built = Built::default();
    let builder = built.clone();
    let build = move |life| {
        let mut built = builder.0.lock().unwrap();
        let plan = plans.get(built.len()).cloned().unwrap_or(Plan::Works);
        let turns = Arc::new(AtomicU32::new(0));
        built.push(Arc::clone(&turns));
        Part { life, plan, turns }
    };
    (Ward::new("poller", Duration::ZERO, build).expect("a thread"), built)
}

fn address(ward: &Ward<Part>) -> Addr<Part> {
    ward.at_work.as_ref().expect("one is at work").0.clone()
}

async fn until(happened: impl Fn() -> bool) {
    let mut looks = 0;
    while !happened() {
        assert!(looks < 4_000, "it never came about");
        looks += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn ready() -> Arc<Readiness> {
    let readiness = Arc::new(Readiness::default());
    readiness.enter(Phase::Ready);
    readiness
}

#[test]
fn an_actor_that_blocks_its_thread_is_replaced_on_another_one_and_ends_when_its_own_moves_again() {
    System::new().block_on(async {
        let gate = Gate::default();
        let (mut ward, built) = ward(vec![Plan::Blocks(gate.clone())]);
        let metrics = PrometheusBuilder::new().build_recorder();
        let frozen = address(&ward);
        until(|| gate.came() == 1).await;
        // The first look hears of its last sign.
        for _ in 0..SILENT_LOOKS {
            assert_eq!(ward.look(), None);
        }
        let reason = metrics::with_local_recorder(&metrics, || ward.look());
        assert_eq!(
            reason.as_deref(),
            Some("it gave no sign of life for 60 s; it was built anew, for the 1. time, and has given no sign of life yet")
        );
        let counted = metrics.handle().render();
        assert!(counted.contains("breakwater_actor_restarts_total{actor=\"poller\",cause=\"frozen\"} 1"), "{counted}");
        until(|| built.turns(1) > 0).await;
        assert_eq!(ward.look(), None, "its successor works, while the other is still blocked");
        assert!(frozen.connected());

        gate.open();
        until(|| !frozen.connected()).await;
        let (ended_at, at) = (built.turns(0), built.turns(1));
        until(|| built.turns(1) > at + 20).await;
        assert_eq!(built.turns(0), ended_at, "it does no work beside its successor");
        assert_eq!((ward.look(), built.count()), (None, 2));
        ward.quarters().close();
    });
}

#[test]
fn an_actor_whose_round_never_ends_is_replaced_though_its_thread_moves_and_ends_at_once() {
    System::new().block_on(async {
        let (mut ward, built) = ward(vec![Plan::Hangs]);
        let hung = address(&ward);
        until(|| built.turns(0) == 2).await;
        let mut silent = 0;
        while ward.look().is_none() {
            assert!(silent < 2 * SILENT_LOOKS, "nobody notices");
            silent += 1;
        }
        until(|| !hung.connected() && built.turns(1) > 0).await;
        assert_eq!((ward.look(), built.count(), built.turns(0)), (None, 2, 2));
        ward.quarters().close();
    });
}

#[test]
fn one_that_panics_again_and_again_is_built_after_longer_and_longer_pauses_and_the_process_is_not_ready_until_one_lives() {
    System::new().block_on(async {
        let (mut ward, built) = ward(vec![Plan::PanicsAtOnce; 5]);
        let metrics = PrometheusBuilder::new().build_recorder();
        let mut pauses = Vec::new();
        for life in 1..=5 {
            let lost = address(&ward);
            until(|| !lost.connected()).await;
            let mut reason = metrics::with_local_recorder(&metrics, || ward.look()).expect("a reason");
            if life == 4 {
                assert_eq!(reason, "it panicked, after it was built anew 3 times; the next time is in 4 s");
            }
            let mut pause = 0;
            while ward.at_work.is_none() {
                reason = metrics::with_local_recorder(&metrics, || ward.look()).expect("a reason");
                pause += 1;
            }
            assert_eq!(reason, format!("it panicked; it was built anew, for the {life}. time, and has given no sign of life yet"));
            pauses.push(pause);
        }
        assert_eq!(pauses, [0, 1, 2, 4, 8]);
        let counted = metrics.handle().render();
        assert!(counted.contains("breakwater_actor_restarts_total{actor=\"poller\",cause=\"panicked\"} 5"), "{counted}");

        // It lives for a minute, look by look.
        for _ in 0..60 {
            let at = built.turns(5);
            until(|| built.turns(5) > at).await;
            assert_eq!(ward.look(), None);
        }
        let lost = address(&ward);
        assert!(lost.send(Break).await.is_err());
        until(|| !lost.connected()).await;
        assert!(ward.look().is_some());
        assert!(ward.at_work.is_some(), "one that was sound is replaced at once");
        until(|| built.turns(6) > 0).await;
        assert_eq!(ward.look(), None);
        ward.quarters().close();
    });
}

#[test]
fn when_too_many_of_its_threads_do_not_end_it_stays_away_and_says_so_until_they_do() {
    System::new().block_on(async {
        let gate = Gate::default();
        let (mut ward, built) = ward(vec![Plan::BlocksAtOnce(gate.clone()); ABANDONED_MAX]);
        let mut looked = 0;
        let wanted =
            format!("it gave no sign of life for 60 s, and cannot be built anew: {ABANDONED_MAX} of its threads do not end: restart the process");
        while ward.look().is_none_or(|reason| reason != wanted) {
            // Each is blocked before the next look: told to end before it began, it would end.
            until(|| gate.came() as u64 == 1 + ward.rebuilt).await;
            assert!(looked < 20_000, "threads have no bound");
            looked += 1;
        }
        assert_eq!(built.count(), ABANDONED_MAX);
        gate.open();
        until(|| ward.abandoned.iter().all(|thread| !thread.alive())).await;
        looked = 0;
        while ward.at_work.is_none() {
            assert!(ward.look().is_some() && looked < 200, "it comes back");
            looked += 1;
        }
        until(|| built.turns(ABANDONED_MAX) > 0).await;
        assert_eq!(ward.look(), None);
        ward.quarters().close();
    });
}

#[test]
fn where_the_process_ends_no_other_actor_is_built() {
    System::new().block_on(async {
        let (mut ward, built) = ward(Vec::new());
        let ended = address(&ward);
        ward.quarters().close();
        until(|| !ended.connected()).await;
        for _ in 0..200 {
            assert_eq!(ward.look(), None);
        }
        assert!(built.count() <= 1, "it may have been ended before it was begun");
    });
}

#[test]
fn one_that_others_hold_keeps_the_process_from_being_ready_for_good() {
    System::new().block_on(async {
        let arbiter = Arbiter::new();
        let part = |plan| {
            let life = Pulse::new(Moment::default());
            Part::start_in_arbiter(&arbiter.handle(), move |_| Part { life, plan, turns: Arc::default() })
        };
        let address = part(Plan::Works);
        let readiness = ready();
        let mut watchdog = Watchdog::new(vec![last(&address, "router", arbiter.handle())], Arc::clone(&readiness));
        watchdog.look();
        assert_eq!(readiness.reasons(), Vec::<String>::new());
        assert!(address.send(Break).await.is_err());
        until(|| !address.connected()).await;
        for _ in 0..2 {
            watchdog.look();
            assert_eq!(readiness.reasons(), ["router: it was lost and cannot be replaced: restart the process"]);
        }
        arbiter.stop();
    });
}

#[test]
fn one_that_others_hold_keeps_the_process_from_being_ready_while_its_thread_does_not_move() {
    System::new().block_on(async {
        let (arbiter, gate) = (Arbiter::new(), Gate::default());
        let address =
            Part::start_in_arbiter(&arbiter.handle(), |_| Part { life: Pulse::new(Moment::default()), plan: Plan::Works, turns: Arc::default() });
        let blocked = gate.clone();
        arbiter.spawn_fn(move || blocked.pass());
        until(|| gate.came() == 1).await;
        let readiness = ready();
        let mut watchdog = Watchdog::new(vec![last(&address, "router", arbiter.handle())], Arc::clone(&readiness));
        for _ in 0..SILENT_LOOKS {
            watchdog.look();
            assert_eq!(readiness.reasons(), Vec::<String>::new());
        }
        watchdog.look();
        assert_eq!(readiness.reasons(), ["router: its thread has not moved for 60 s, and it cannot be replaced: restart the process"]);
        gate.open();
        let mut looks = 0;
        while !readiness.reasons().is_empty() {
            assert!(looks < 2_000, "a thread that moves again is well");
            looks += 1;
            watchdog.look();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        arbiter.stop();
    });
}

#[test]
fn what_is_not_heard_of_keeps_the_process_from_being_ready_until_it_is_heard_again() {
    let (readiness, pulse) = (ready(), Pulse::new(Moment::default()));
    let post = heard("overrides", pulse.clone(), Duration::from_secs(5), |silent| format!("not read for {silent} s"));
    let mut watchdog = Watchdog::new(vec![post], Arc::clone(&readiness));
    for second in 1..=4 {
        watchdog.look();
        assert_eq!(readiness.reasons(), Vec::<String>::new(), "{second}");
    }
    for second in 5..=7 {
        watchdog.look();
        assert_eq!(readiness.reasons(), [format!("overrides: not read for {second} s")]);
    }
    pulse.beat(Moment::from_nanos(1));
    watchdog.look();
    assert_eq!(readiness.reasons(), Vec::<String>::new());
}

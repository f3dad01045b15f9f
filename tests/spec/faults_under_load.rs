//! Faults that are only seen when much is under way at once: a channel's thread that dies or hangs with two dozen payments on it, a pool that is too
//! small for what comes, answers beyond all measure, and a poller that dies with its batch in hand.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use breakwater::provider::{Call, Provider, Verb};
use serde_json::{Value, json};

use crate::bent::Bent;
use crate::recovery::{put_off, unknowns, uuid};
use crate::world::{Reply, World, connect, is_final, payment, stripe, unique};

/// Payments under way at once.
const CROWD: usize = 24;

/// As many payments at once, `odd` of them with orders that begin with `word`.
async fn crowd(world: &World, word: &str, odd: usize) -> Vec<Reply> {
    let bodies: Vec<Value> = (0..CROWD).map(|place| payment(1_250, &unique(if place < odd { word } else { "order" }))).collect();
    futures_util::future::join_all(bodies.iter().map(|body| world.create(body))).await
}

/// Each ends paid, or certainly not; one that no channel took was written nowhere. Answers how many were paid.
async fn all_end(world: &World, replies: &[Reply]) -> usize {
    let mut paid = 0;
    for reply in replies {
        if reply.status == 503 {
            assert_eq!(reply.text("code"), "every_channel_shut", "{:#}", reply.body);
            continue;
        }
        let end = world.in_time(&reply.id(), |payment| is_final(payment["status"].as_str().unwrap_or_default())).await;
        let (status, outcome) = (end["status"].as_str().expect("a status"), end["outcome"].as_str().expect("an outcome"));
        assert!(matches!((status, outcome), ("succeeded", "approved") | ("failed", "not_sent" | "declined")), "{end:#}");
        paid += usize::from(status == "succeeded");
    }
    paid
}

/// Its breaker may have seen too much: until it lets payments through again.
async fn is_back(world: &World) {
    for _ in 0..200 {
        let reply = world.pay(1_250).await;
        if reply.status != 503 {
            assert_eq!(world.in_time(&reply.id(), |payment| payment["status"] != "processing").await["status"], "succeeded");
            return;
        }
        world.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("it takes no payment any more");
}

fn generation(world: &World) -> u64 {
    world.running.flows.channels().find(|channel| channel.handle.id() == "stripe_main").expect("it").handle.generation()
}

async fn another_actor(world: &World, before: u64) {
    for _ in 0..400 {
        if generation(world) > before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("nobody has replaced the actor");
}

/// Whether it is the answer to the step that moves the money of an order that begins with `word`.
fn is_paid(call: &Call, word: &str) -> bool {
    call.order.starts_with(word) && call.verb == Verb::Pay && call.pay_reference.is_some()
}

static PANICKING: Bent = Bent {
    answered: |call, answer| {
        assert!(!is_paid(call, "panic"), "injected");
        answer
    },
    ..Bent::STRAIGHT
};

#[tokio::test(flavor = "multi_thread")]
async fn panics_over_some_answers_among_many_at_once_cost_those_calls_alone() {
    let world = World::with(|setup| {
        setup.provider = |channel| if channel == "stripe_main" { &PANICKING as &dyn Provider } else { stripe(channel) };
        setup.sandbox.notifications = false;
    })
    .await;
    let before = generation(&world);
    world.break_channel("stripe_main", &json!({"latency_ms": 100})).await;
    let replies = crowd(&world, "panic", 6).await;
    assert_eq!(all_end(&world, &replies).await, CROWD, "those whose answers we fell over were taken too");
    assert_eq!(generation(&world), before, "no actor was lost over it");
    world.heal("stripe_main").await;
    is_back(&world).await;
    world.close().await;
}

static DIED: AtomicBool = AtomicBool::new(false);

/// The thread under the channel's actor goes away, once, with all that is on it.
static DYING: Bent = Bent {
    answered: |call, answer| {
        if is_paid(call, "die") && !DIED.swap(true, Ordering::Relaxed) {
            actix::Arbiter::current().stop();
        }
        answer
    },
    ..Bent::STRAIGHT
};

#[tokio::test(flavor = "multi_thread")]
async fn a_channels_actor_that_dies_under_many_payments_is_replaced_and_each_of_them_ends() {
    let world = World::with(|setup| {
        setup.provider = |channel| if channel == "stripe_main" { &DYING as &dyn Provider } else { stripe(channel) };
        setup.sandbox.notifications = false;
    })
    .await;
    let before = generation(&world);
    world.break_channel("stripe_main", &json!({"latency_ms": 200})).await;
    let replies = crowd(&world, "die", 1).await;
    assert!(DIED.load(Ordering::Relaxed), "it lived on");
    another_actor(&world, before).await;
    world.heal("stripe_main").await;
    assert!(all_end(&world, &replies).await > 0, "what had been taken when it died is found");
    is_back(&world).await;
    world.close().await;
}

static THAWED: AtomicBool = AtomicBool::new(false);

/// The channel's thread hangs over one answer, until it was given up.
static FREEZING: Bent = Bent {
    answered: |call, answer| {
        while is_paid(call, "freeze") && !THAWED.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        answer
    },
    ..Bent::STRAIGHT
};

#[tokio::test(flavor = "multi_thread")]
async fn a_channels_actor_that_freezes_under_many_payments_is_replaced_and_each_of_them_ends() {
    let world = World::with(|setup| {
        setup.provider = |channel| if channel == "stripe_main" { &FREEZING as &dyn Provider } else { stripe(channel) };
        setup.sandbox.notifications = false;
    })
    .await;
    let before = generation(&world);
    world.break_channel("stripe_main", &json!({"latency_ms": 200})).await;
    let (replies, ()) = tokio::join!(crowd(&world, "freeze", 1), async {
        another_actor(&world, before).await;
        THAWED.store(true, Ordering::Relaxed);
    });
    world.heal("stripe_main").await;
    assert!(all_end(&world, &replies).await > 0, "what had been taken when it froze is found");
    is_back(&world).await;
    world.close().await;
}

/// Whether one of the payment's calls met a pool without a free connection.
fn met_a_full_pool(payment: &Value) -> bool {
    payment["attempts"].to_string().contains("pool_exhausted")
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_at_once_than_a_channel_has_connections_are_paid_or_certainly_not_sent_and_refunds_wait() {
    let world = World::with(|setup| {
        setup.adapt_channel = |settings| settings.pool_size = 1;
        setup.sandbox.notifications = false;
    })
    .await;
    let first = world.pay(1_250).await.id();
    // The guard lets one payment and one refund through at a time, each on its own share: that is one more than there are connections.
    world.break_channel("stripe_main", &json!({"latency_ms": 100, "operations": ["create", "pay", "refund"]})).await;
    let (mut replies, mut given_back) = (crowd(&world, "order", 0).await, 0);
    for _ in 0..20 {
        let (paid, refunded) = tokio::join!(world.pay(1_250), world.refund(&first, 10));
        assert!(matches!(refunded.status, 201 | 202), "a refund waits in its queue: {:#}", refunded.body);
        given_back += 10;
        let full = paid.status != 503 && met_a_full_pool(&world.payment(&paid.id()).await);
        replies.push(paid);
        if full || met_a_full_pool(&world.payment(&first).await) {
            break;
        }
    }
    assert!(all_end(&world, &replies).await > 0, "the one connection carried somebody");
    world.heal("stripe_main").await;
    let refunded = world.in_time(&first, |payment| payment["amount_refunded"] == given_back).await;
    let mut full = usize::from(met_a_full_pool(&refunded));
    for reply in replies.iter().filter(|reply| reply.status != 503) {
        full += usize::from(met_a_full_pool(&world.payment(&reply.id()).await));
    }
    assert!(full > 0, "nobody met a full pool: {refunded:#}");
    is_back(&world).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_beyond_all_measure_is_no_answer_and_what_it_was_about_is_asked_after() {
    let world = World::with(|setup| setup.sandbox.notifications = false).await;
    let first = world.pay(1_250).await;
    world.break_channel("stripe_main", &json!({"mode": "huge"})).await;
    let paid = world.pay(1_250).await;
    assert_eq!((paid.status, paid.text("status")), (201, "succeeded"), "{:#}", paid.body);
    let told = world.payment(&paid.id()).await;
    let kinds: Vec<_> = told["events"].as_array().expect("events").iter().map(|event| event["type"].as_str().unwrap_or_default()).collect();
    assert!(kinds.contains(&"payment.outcome_unknown"), "4 MiB were read and believed: {kinds:?}");
    let refund = world.refund(&first.id(), 250).await;
    assert!(matches!(refund.status, 201 | 202), "{:#}", refund.body);
    world.eventually(&first.id(), |payment| payment["amount_refunded"] == 250).await;
    world.heal("stripe_main").await;
    world.close().await;
}

static ARMED: AtomicBool = AtomicBool::new(false);

/// A sweep looks up each channel of its batch, once it holds the leases: there it panics, once.
static FATAL_TO_SWEEPS: Bent = Bent { looked_up: || assert!(!ARMED.swap(false, Ordering::Relaxed), "injected"), ..Bent::STRAIGHT };

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_panics_with_its_batch_in_hand_costs_the_batch_a_lease_and_the_poller_goes_on() {
    let world = World::with(|setup| {
        setup.provider = |channel| if channel == "stripe_main" { &FATAL_TO_SWEEPS as &dyn Provider } else { stripe(channel) };
        setup.sandbox.notifications = false;
        setup.settings.server.answer_within_ms = 100;
    })
    .await;
    let client = connect(&world).await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "operations": ["pay", "query"]})).await;
    let ids = unknowns(&world, 4).await;
    put_off(&client, &ids).await;
    world.heal("stripe_main").await;

    // Nothing else is under way: the next who looks the channel up is the sweep that finds these due.
    ARMED.store(true, Ordering::Relaxed);
    let uuids: Vec<uuid::Uuid> = ids.iter().map(|id| uuid(id)).collect();
    let taken_before: i64 = client.query_one("SELECT sum(fence) FROM attempt", &[]).await.expect("readable").get(0);
    client.execute("UPDATE attempt SET due_at = now() WHERE payment_id = ANY($1)", &[&uuids]).await.expect("written");
    for _ in 0..400 {
        if !ARMED.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(!ARMED.load(Ordering::Relaxed), "no sweep has met it");
    let held = "SELECT count(*), sum(fence) FROM attempt WHERE lease_until > now()";
    let row = client.query_one(held, &[]).await.expect("readable");
    assert_eq!(row.get::<_, i64>(0), 4, "it died with all of them in hand");
    assert_eq!(row.get::<_, i64>(1), taken_before + 4);
    for id in &ids {
        assert_eq!(world.payment(id).await["outcome"], "unknown");
    }

    // Its leases lapse, and the poller has gone on sweeping.
    world.clock.advance(Duration::from_secs(16));
    for id in &ids {
        let end = world.in_time(id, |payment| is_final(payment["status"].as_str().unwrap_or_default())).await;
        assert_eq!((&end["status"], end["attempts"].as_array().map(Vec::len)), (&json!("succeeded"), Some(1)), "{end:#}");
    }
    world.close().await;
}

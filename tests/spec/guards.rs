//! What a channel's guard does to payments: rates, and deadlines.

use breakwater::domain::OperationClass;
use futures_util::future::join_all;
use serde_json::json;

use crate::world::{World, connect, payment, unique};

#[tokio::test(flavor = "multi_thread")]
async fn a_pay_call_is_cut_off_at_its_payments_deadline_though_its_channel_would_wait_for_longer() {
    let world = World::with(|setup| {
        setup.timeout_ms = 60_000;
        setup.settings.server.answer_within_ms = 100;
        setup.settings.server.deadline_ms = 1_000;
    })
    .await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_not_processed", "rate": 1.0, "operations": ["pay"]})).await;
    let mut request = payment(1_250, &unique("order"));
    request["channel"] = json!("stripe_main");
    let made = world.create(&request).await;
    // Far sooner than the channel's own minute, which nobody waits for here.
    let ended = world.finally(&made.id()).await;
    assert_eq!(ended["status"], "failed", "{ended:#}");
    world.heal("stripe_main").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_an_overload_stands_those_who_would_wait_in_vain_are_turned_away_at_once_and_nothing_is_written_of_them() {
    // Of three places one is for payments.
    let world = World::with(|setup| {
        setup.max_in_flight = Some(3);
        setup.sandbox.accounts.truncate(1);
    })
    .await;
    let channel = world.running.flows.channels().next().expect("it is there").clone();
    let held = channel.handle.guard().admit(OperationClass::Pay, world.clock.boot()).expect("it is free");
    let first = world.pay(1_250).await;
    assert_eq!((first.status, first.text("code")), (503, "every_channel_shut"), "it waited: {:#}", first.body);
    let mut told: Vec<String> = Vec::new();
    // They must come while others wait: on a machine that is busy not all of them do.
    for _ in 0..20 {
        for reply in join_all((0..30).map(|_| world.pay(1_250))).await {
            assert_eq!((reply.status, reply.text("retry")), (503, "same_key"), "{:#}", reply.body);
            told.push(reply.text("code").to_owned());
        }
        if told.iter().any(|code| code == "overloaded") {
            break;
        }
    }
    told.sort_unstable();
    told.dedup();
    assert_eq!(told, ["every_channel_shut", "overloaded"], "as many as there are places wait, and no more");
    let client = connect(&world).await;
    assert_eq!(client.query_one("SELECT count(*) FROM payment", &[]).await.expect("readable").get::<_, i64>(0), 0);
    drop(held);
    let paid = world.pay(1_250).await;
    assert_eq!(paid.text("status"), "succeeded", "there is room, whatever became of those before: {:#}", paid.body);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_over_the_contracts_rate_are_not_sent_and_counted_as_such() {
    // A payment at Stripe is two calls: one payment fits.
    let world = World::with(|setup| {
        setup.pay_rate = Some((1, 2));
        setup.sandbox.accounts.truncate(1);
    })
    .await;
    let channel = world.ops("/ops/v1/channels").await.body["data"][0].clone();
    assert_eq!(channel["breaker"]["pay"]["rate_per_second"], 1, "{channel:#}");
    let first = world.pay(1_250).await;
    assert_eq!(first.text("status"), "succeeded", "{:#}", first.body);
    let second = world.pay(1_250).await;
    assert_eq!((second.status, second.text("code")), (503, "every_channel_shut"), "{:#}", second.body);
    world
        .eventually_metric("breakwater_guard_rejections_total{channel=\"stripe_main\",operation=\"pay\",reason=\"over_rate\"}", |count| count >= 1.0)
        .await;
    world.eventually_metric("breakwater_routing_decisions_total{channel=\"stripe_main\",reason=\"over_rate\"}", |count| count >= 1.0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_instances_has_its_part_of_what_a_channel_may_do_and_shows_it() {
    let world = World::with(|setup| {
        setup.settings.server.instances = 3;
        setup.pay_rate = Some((20, 7));
        setup.max_in_flight = Some(62);
        setup.sandbox.accounts.truncate(1);
    })
    .await;
    let pay = world.ops("/ops/v1/channels").await.body["data"][0]["breaker"]["pay"].clone();
    assert_eq!((&pay["rate_per_second"], &pay["limit"], &pay["class_limit"]), (&json!(6), &json!(20), &json!(14)), "{pay:#}");
    assert_eq!(world.pay(1_250).await.text("status"), "succeeded");
    world.close().await;
}

//! What only protocols with a list have: many attempts in doubt are asked after together.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::world::{Reply, World, payment, unique};

/// How often each verb was what an attempt of these payments was settled by.
async fn settled_by(world: &World, payments: &[Reply], verb: &str) -> usize {
    let mut count = 0;
    for created in payments {
        let payment = world.payment(&created.id()).await;
        let events = payment["events"].as_array().expect("events").clone();
        count += events.iter().filter(|event| event["data"]["exchange"]["verb"] == verb).count();
    }
    count
}

async fn in_doubt(world: &World, mode: &str) -> Vec<Reply> {
    world.break_channel("stripe_main", &json!({"mode": mode, "operations": ["pay"]})).await;
    let created = join_all((0..8).map(|_| world.create_owned(payment(1_250, &unique("order"))))).await;
    world.heal("stripe_main").await;
    for reply in &created {
        assert_eq!((reply.status, reply.text("status")), (202, "processing"), "{:#}", reply.body);
    }
    created
}

async fn ended_as(world: &World, id: String, status: &str) -> Value {
    world.in_time(&id, |payment| payment["status"] == status).await
}

async fn ended(world: &World, created: &[Reply], status: &str) -> Vec<Value> {
    join_all(created.iter().map(|reply| ended_as(world, reply.id(), status))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_in_doubt_at_once_are_asked_after_by_a_list_and_each_is_settled_by_what_it_says() {
    let world = World::with(|setup| {
        setup.settings.poller.sweep_every_ms = 1_500;
        setup.settings.server.answer_within_ms = 200;
        // Or Stripe would tell before anybody asks.
        setup.sandbox.notifications = false;
    })
    .await;
    let paid = in_doubt(&world, "timeout_processed").await;
    ended(&world, &paid, "succeeded").await;
    assert!(settled_by(&world, &paid, "list").await >= 4, "a list was read");
    assert_eq!(world.book("stripe_main").await.len(), 8, "and nobody was charged twice");
    // What was never confirmed is on the list, too, and is closed one by one: it ends unpaid.
    let unpaid = in_doubt(&world, "timeout_not_processed").await;
    ended(&world, &unpaid, "failed").await;
    assert_eq!(world.book("stripe_main").await.len(), 8);
    world.close().await;
}

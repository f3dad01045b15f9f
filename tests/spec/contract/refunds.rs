//! Money back: never more than was taken, never twice, and never forgotten.

use serde_json::{Value, json};

use super::{Way, act, each, id};
use crate::world::World;

each! {
    parts_are_given_back_up_to_what_was_taken_and_not_one_more => parts;
    a_refund_that_is_declined_frees_its_amount => declined;
    a_refund_that_was_lost_on_its_way_is_made_once => lost;
    a_refund_that_is_pending_or_not_taken_yet_is_made_later => pending;
    a_refund_made_at_the_channel_is_adopted => portal;
    a_dispute_holds_its_amount => dispute;
}

async fn given_back(world: &World, payment: &str, amount: i64) -> Value {
    world.in_time(payment, |payment| payment["amount_refunded"] == amount && all_are(payment, "succeeded")).await
}

fn all_are(payment: &Value, status: &str) -> bool {
    payment["refunds"].as_array().is_some_and(|refunds| refunds.iter().all(|refund| refund["status"] == status))
}

async fn parts(way: Way) {
    let world = way.world().await;
    let paid = way.paid(&world, 1_250).await;
    let mut sum = 0;
    for amount in [400, 400, 450] {
        let refund = world.refund(id(&paid), amount).await;
        assert!(matches!((refund.status, refund.text("status")), (201, "succeeded") | (202, "processing")), "{:#}", refund.body);
        sum += amount;
    }
    let over = world.refund(id(&paid), 1).await;
    assert_eq!((over.status, over.text("code")), (422, "refund_exceeds_captured"), "the three are spoken for, sent or not: {:#}", over.body);
    let after = given_back(&world, id(&paid), sum).await;
    assert_eq!((&after["status"], way.taken(&world).await), (&json!("succeeded"), 0));
    world.close().await;
}

async fn declined(way: Way) {
    let world = way.world().await;
    let paid = way.paid(&world, 1_250).await;
    world.break_channel(way.channel, &json!({"mode": "decline", "operations": ["refund"]})).await;
    let refund = world.refund(id(&paid), 1_250).await;
    assert_eq!((refund.status, refund.text("status"), refund.text("outcome")), (201, "failed", "declined"), "{:#}", refund.body);
    world.heal(way.channel).await;
    let again = world.refund(id(&paid), 1_250).await;
    assert!(matches!(again.status, 201 | 202), "{:#}", again.body);
    world.in_time(id(&paid), |payment| payment["amount_refunded"] == 1_250).await;
    world.close().await;
}

async fn lost(way: Way) {
    let modes = ["timeout_processed", "timeout_not_processed", "error_processed", "error_not_processed", "reset_after", "reset_before", "malformed"];
    // One world: what one refund leaves behind must not trip the next.
    let world = way
        .world_with(|setup| {
            setup.sandbox.notifications = false;
            setup.settings.server.answer_within_ms = 300;
        })
        .await;
    let paid = way.paid(&world, 7_000).await;
    let mut sum = 0;
    for mode in modes {
        world.break_channel(way.channel, &json!({"mode": mode, "operations": ["refund"]})).await;
        // Past the channel's spacing, so that it is sent at once, into the fault.
        world.clock.advance(std::time::Duration::from_secs(4));
        let refund = world.refund(id(&paid), 1_000).await;
        assert_eq!((refund.status, refund.text("status")), (202, "processing"), "{mode}: {:#}", refund.body);
        assert_ne!(refund.text("outcome"), "not_sent", "{mode}: {:#}", refund.body);
        world.heal(way.channel).await;
        sum += 1_000;
        given_back(&world, id(&paid), sum).await;
        assert_eq!(way.taken(&world).await, 7_000 - sum, "{mode}");
    }
    world.close().await;
}

async fn pending(way: Way) {
    let world = way.world().await;
    let paid = way.paid(&world, 1_250).await;
    let refund = world.refund(id(&paid), 107).await;
    // A bank refuses it for now; the others have it and are at work.
    assert!(matches!((refund.status, refund.text("status")), (201, "succeeded") | (202, "processing")), "{:#}", refund.body);
    given_back(&world, id(&paid), 107).await;
    assert_eq!(way.taken(&world).await, 1_143);
    world.close().await;
}

async fn portal(way: Way) {
    let world = way.world().await;
    let paid = way.paid(&world, 1_250).await;
    let done = act(&world, way, paid["channel_reference"].as_str().expect("a name"), "portal_refund").await;
    if let Some(why) = way.lacks.portal {
        assert!((400..500).contains(&done), "{why}: {done}");
    } else {
        assert_eq!(done, 200);
        let after = world.eventually(id(&paid), |payment| payment["amount_refunded"] == 1_250).await;
        assert_eq!(after["refunds"][0]["source"], "channel", "{after:#}");
        let more = world.refund(id(&paid), 1).await;
        assert_eq!((more.status, more.text("code")), (422, "refund_exceeds_captured"), "{:#}", more.body);
    }
    world.close().await;
}

async fn dispute(way: Way) {
    let world = way.world().await;
    let paid = way.paid(&world, 1_250).await;
    let done = act(&world, way, paid["channel_reference"].as_str().expect("a name"), "dispute").await;
    if let Some(why) = way.lacks.dispute {
        assert!((400..500).contains(&done), "{why}: {done}");
    } else {
        assert_eq!(done, 200);
        world.eventually(id(&paid), |payment| payment["amount_disputed"] == 1_250).await;
        let refund = world.refund(id(&paid), 1).await;
        assert_eq!((refund.status, refund.text("code")), (422, "refund_exceeds_captured"), "{:#}", refund.body);
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_made_at_the_channel_that_overtakes_the_news_of_its_payment_waits_for_it() {
    let world = World::with(|setup| setup.sandbox.notifications = false).await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "operations": ["pay", "query"]})).await;
    let unknown = world.pay(1_250).await;
    assert_eq!((unknown.status, unknown.text("outcome")), (202, "unknown"), "{:#}", unknown.body);
    let reference = world.payment(&unknown.id()).await["attempts"][0]["reference"].as_str().expect("Stripe's name").to_owned();
    assert_eq!(act(&world, super::STRIPE, &reference, "portal_refund").await, 200);
    let made = world.book("stripe_main").await.pop().expect("a refund");
    let (client, connection) = tokio_postgres::connect(&world.database_url, tokio_postgres::NoTls).await.expect("the database");
    tokio::spawn(connection);
    // As it lies there when it was verified and could not be applied.
    let (id, amount) = (&made.reference, made.amount);
    let refund = json!({"id": id, "object": "refund", "amount": amount, "currency": "cny", "status": "succeeded", "payment_intent": reference});
    let event = json!({"id": "evt_early", "type": "refund.created", "data": {"object": refund}}).to_string();
    let early = "INSERT INTO notification (channel, event_id, received_at, kind, body, state) \
                 VALUES ('stripe_main', 'evt_early', now() - interval '31 seconds', 'refund.created', $1, 'received')";
    client.execute(early, &[&event.as_bytes()]).await.expect("written");
    world.running.flows.empty_inbox().await.expect("read");
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let state = || async { client.query_one("SELECT state FROM notification", &[]).await.expect("readable").get::<_, String>(0) };
    assert_eq!(state().await, "received", "nothing is known of the money that was given back");
    world.heal("stripe_main").await;
    world.finally(&unknown.id()).await;
    world.running.flows.empty_inbox().await.expect("read");
    let after = world.eventually(&unknown.id(), |payment| payment["amount_refunded"] == amount).await;
    assert_eq!((&after["status"], &after["refunds"][0]["source"]), (&json!("succeeded"), &json!("channel")), "{after:#}");
    let mut looks = 0;
    while state().await != "applied" {
        assert!(looks < 200, "it was applied, and is not closed");
        looks += 1;
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    world.close().await;
}

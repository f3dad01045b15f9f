//! Money back: never more than was taken, never twice, and never forgotten.

use serde_json::{Value, json};

use super::{Way, act, act_in_part, each, id};
use crate::world::World;

each! {
    parts_are_given_back_up_to_what_was_taken_and_not_one_more => parts;
    a_refund_that_is_declined_frees_its_amount => declined;
    a_refund_that_was_lost_on_its_way_is_made_once => lost;
    a_refund_that_is_pending_or_not_taken_yet_is_made_later => pending;
    a_refund_made_at_the_channel_is_adopted => portal;
    parts_that_are_refunded_at_the_channel_are_adopted_one_by_one_between_ours => portal_parts;
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

async fn portal_parts(way: Way) {
    if way.lacks.portal.is_some() {
        return;
    }
    let world = way.world().await;
    let paid = way.paid(&world, 1_250).await;
    let reference = paid["channel_reference"].as_str().expect("a name");
    for (part, given_back) in [(400, 400), (250, 750)] {
        assert_eq!(act_in_part(&world, way, reference, "portal_refund", Some(part)).await, 200);
        let after = world.eventually(id(&paid), |payment| payment["amount_refunded"] == given_back).await;
        assert_eq!(after["status"], "succeeded", "{after:#}");
        if given_back == 400 {
            // Alipay wants three seconds between two refunds of a trade.
            assert!(matches!(world.refund(id(&paid), 100).await.status, 201 | 202));
            world.in_time(id(&paid), |payment| payment["amount_refunded"] == 500).await;
        }
    }
    let refunds = world.payment(id(&paid)).await["refunds"].clone();
    let amounts: Vec<(&str, i64)> = refunds
        .as_array()
        .expect("a list")
        .iter()
        .map(|refund| (refund["source"].as_str().expect("a source"), refund["amount"].as_i64().expect("minor units")))
        .collect();
    assert_eq!(amounts, [("channel", 400), ("merchant", 100), ("channel", 250)], "{refunds:#}");
    let more = world.refund(id(&paid), 501).await;
    assert_eq!((more.status, more.text("code")), (422, "refund_exceeds_captured"), "{:#}", more.body);
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

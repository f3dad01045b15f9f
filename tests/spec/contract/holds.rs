//! Money that is held first: taken, a part of it, let go, and what becomes of a step that was not answered.

use serde_json::{Value, json};

use super::{Way, each};
use crate::world::{Reply, World, is_final, unique};

each! {
    a_hold_is_taken => captured;
    a_part_of_a_hold_is_taken_and_the_rest_is_free => captured_in_part;
    a_hold_is_let_go => voided;
    a_capture_that_was_not_answered_is_made_once => capture_in_doubt;
    a_void_that_was_not_answered_is_made => void_in_doubt;
}

async fn hold(way: Way, world: &World) -> Option<Reply> {
    let mut body = (way.body)(1_250);
    body["capture_method"] = json!("manual");
    let reply = world.create(&body).await;
    if let Some(why) = way.lacks.hold {
        assert_eq!(reply.status, 422, "{why}: {:#}", reply.body);
        assert_eq!(reply.text("code"), "channel_cannot_carry", "{why}: {:#}", reply.body);
        assert!(world.book(way.channel).await.is_empty());
        return None;
    }
    assert_eq!((reply.status, reply.text("status"), reply.text("outcome")), (201, "requires_capture", "approved"), "{:#}", reply.body);
    assert!(reply.body["capture_before"].is_string() && world.book(way.channel).await.is_empty());
    Some(reply)
}

async fn step(world: &World, hold: &Reply, step: &str, body: &Value) -> Reply {
    world.post(&format!("/v1/payments/{}/{step}", hold.id()), &unique("key"), body).await
}

async fn captured(way: Way) {
    let world = way.world().await;
    if let Some(hold) = hold(way, &world).await {
        let done = step(&world, &hold, "capture", &json!({})).await;
        assert_eq!((done.status, done.text("status")), (200, "succeeded"), "{:#}", done.body);
        assert_eq!(way.taken(&world).await, 1_250);
        let back = world.refund(&hold.id(), 250).await;
        assert!(matches!(back.status, 201 | 202), "{:#}", back.body);
        world.in_time(&hold.id(), |payment| payment["amount_refunded"] == 250).await;
    }
    world.close().await;
}

async fn captured_in_part(way: Way) {
    let world = way.world().await;
    if let Some(hold) = hold(way, &world).await {
        let over = step(&world, &hold, "capture", &json!({"amount": 1_251})).await;
        assert_eq!(over.status, 422, "{:#}", over.body);
        let done = step(&world, &hold, "capture", &json!({"amount": 1_000})).await;
        assert_eq!((done.status, done.text("status")), (200, "partially_captured"), "{:#}", done.body);
        assert_eq!((&done.body["amount_captured"], way.taken(&world).await), (&json!(1_000), 1_000));
        let more = world.refund(&hold.id(), 1_001).await;
        assert_eq!(more.status, 422, "{:#}", more.body);
    }
    world.close().await;
}

async fn voided(way: Way) {
    let world = way.world().await;
    if let Some(hold) = hold(way, &world).await {
        let done = step(&world, &hold, "cancel", &json!({})).await;
        assert_eq!((done.status, done.text("status")), (200, "canceled"), "{:#}", done.body);
        assert_eq!(way.taken(&world).await, 0);
        let late = step(&world, &hold, "capture", &json!({})).await;
        assert_eq!((late.status, late.text("code")), (409, "wrong_state"), "{:#}", late.body);
    }
    world.close().await;
}

/// A step that is not answered, whether it was carried out or not: it is in doubt until the third party is well, and made once.
async fn in_doubt(way: Way, operation: &str, path: &str, became: &str, taken: i64) {
    for mode in ["timeout_processed", "timeout_not_processed", "error_processed", "error_not_processed"] {
        let world = way
            .world_with(|setup| {
                setup.sandbox.notifications = false;
                setup.settings.server.answer_within_ms = 1_000;
            })
            .await;
        if let Some(hold) = hold(way, &world).await {
            world.break_channel(way.channel, &json!({"mode": mode, "operations": [operation]})).await;
            let asked = step(&world, &hold, path, &json!({})).await;
            assert!(matches!(asked.status, 200 | 202), "{mode}: {:#}", asked.body);
            world.heal(way.channel).await;
            let end = world.in_time(&hold.id(), |payment| is_final(payment["status"].as_str().unwrap_or_default())).await;
            assert_eq!((&end["status"], way.taken(&world).await), (&json!(became), taken), "{mode}: {end:#}");
        }
        world.close().await;
    }
}

async fn capture_in_doubt(way: Way) {
    in_doubt(way, "capture", "capture", "succeeded", 1_250).await;
}

async fn void_in_doubt(way: Way) {
    in_doubt(way, "void", "cancel", "canceled", 0).await;
}

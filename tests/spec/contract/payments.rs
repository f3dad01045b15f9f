//! Payments: what they become, whatever happens to the answer.

use std::time::Duration;

use serde_json::json;

use super::{Way, act, each, id, visit};
use crate::world::{is_final, unique};

each! {
    a_payment_that_is_approved_is_succeeded_and_in_the_book => approved;
    a_payment_that_is_declined_is_failed_and_not_in_the_book => declined;
    a_customer_who_must_act_is_told_how_and_a_notification_says_that_they_paid => paid_by_notification;
    without_notifications_asking_finds_out_what_became_of_it => paid_by_asking;
    a_lost_answer_to_what_was_done_ends_as_the_book_says => lost_after;
    a_lost_request_ends_as_the_book_says => lost_before;
    an_answer_that_cannot_be_believed_ends_as_the_book_says => unbelievable;
    notifications_that_come_often_or_late_change_nothing => repeated;
    a_cancel_that_meets_a_payment_ends_unpaid_or_given_back => cancel_against_paid;
    what_is_final_is_not_canceled => cancel_too_late;
    an_expiry_that_meets_a_payment_does_not_lose_it => expiry_against_paid;
}

async fn approved(way: Way) {
    let world = way.world().await;
    let paid = way.paid(&world, 1_250).await;
    assert_eq!(paid["channel"], way.channel);
    let book = world.book(way.channel).await;
    assert_eq!(book.iter().map(|entry| (entry.kind.as_str(), entry.amount)).collect::<Vec<_>>(), [("charge", 1_250)]);
    world.close().await;
}

async fn declined(way: Way) {
    let world = way.world_with(|setup| setup.sandbox.pay_after_ms = 0).await;
    world.break_channel(way.channel, &json!({"mode": "decline", "operations": ["pay"]})).await;
    let reply = world.create(&(way.body)(1_250)).await;
    if let Some(why) = way.lacks.decline {
        assert_eq!(reply.text("status"), "requires_action", "{why}: {:#}", reply.body);
        world.heal(way.channel).await;
        visit(&reply.body).await;
        assert_eq!(act(&world, way, reply.text("channel_reference"), "pay").await, 200, "they may try again");
        world.in_time(&reply.id(), |payment| payment["status"] == "succeeded").await;
    } else {
        assert_eq!((reply.status, reply.text("status"), reply.text("outcome")), (201, "failed", "declined"), "{:#}", reply.body);
        assert!(reply.body["failure"]["code"].is_string() && reply.body["failure"]["advice"].is_string(), "{:#}", reply.body);
        assert!(world.book(way.channel).await.is_empty());
    }
    world.close().await;
}

async fn paid_by_notification(way: Way) {
    let world = way.world().await;
    // Nobody can be asked: only the notification tells.
    world.break_channel(way.channel, &json!({"mode": "error_not_processed", "operations": ["query"]})).await;
    let reply = way.begin(&world, &(way.acting)(1_250)).await;
    if let Some(why) = way.lacks.action {
        assert_eq!((reply.text("status"), &reply.body["next_action"]), ("succeeded", &json!(null)), "{why}");
    } else {
        assert_eq!((reply.status, reply.text("status"), reply.text("outcome")), (201, "requires_action", "none"), "{:#}", reply.body);
        let paid = world.eventually(&reply.id(), |payment| payment["status"] == "succeeded").await;
        let told = paid["events"].as_array().expect("events").iter().any(|event| event.to_string().contains("notification"));
        assert!(told, "{paid:#}");
    }
    world.heal(way.channel).await;
    world.close().await;
}

async fn paid_by_asking(way: Way) {
    let world = way.world_with(|setup| setup.sandbox.notifications = false).await;
    let reply = way.begin(&world, &(way.acting)(1_250)).await;
    let paid = world.in_time(&reply.id(), |payment| is_final(payment["status"].as_str().unwrap_or_default())).await;
    assert_eq!(paid["status"], "succeeded", "{paid:#}");
    world.close().await;
}

/// Under each fault of the money's step: the payment ends, and its end is what the book says. Without notifications: nothing but our own doing finds
/// out.
async fn ends_as_the_book_says(way: Way, modes: &[&str], notified: bool, charged: bool) {
    for mode in modes {
        let world = way.world_with(|setup| setup.sandbox.notifications = notified).await;
        world.break_channel(way.channel, &json!({"mode": mode, "operations": ["pay"]})).await;
        let reply = way.begin(&world, &(way.body)(1_250)).await;
        world.heal(way.channel).await;
        visit(&reply.body).await;
        let end = world.in_time(&reply.id(), |payment| is_final(payment["status"].as_str().unwrap_or_default())).await;
        let paid = end["status"] == "succeeded";
        assert_eq!(way.taken(&world).await, if paid { 1_250 } else { 0 }, "{mode}: {end:#}");
        // What is shown is paid by the customer, later: the fault fell on the showing.
        if !way.shown {
            // A bank's answer that comes twice is an answer; of all others that are missing nobody can ask.
            let known = way.lacks.query.is_none() || *mode == "duplicate_notification";
            assert_eq!(paid, charged && known, "{mode}: {end:#}");
        }
        if let Some(why) = way.lacks.query.filter(|_| !paid) {
            let undone = end["attempts"].as_array().expect("attempts").iter().any(|attempt| attempt["operation"] == "reversal");
            assert!(undone, "{mode}: {why}: {end:#}");
            assert_eq!((&end["outcome"], &end["failure"]["code"]), (&json!("declined"), &json!("no_answer")), "{mode}: {end:#}");
        }
        world.close().await;
    }
}

async fn lost_after(way: Way) {
    ends_as_the_book_says(way, &["timeout_processed", "reset_after", "error_processed"], false, true).await;
}

async fn lost_before(way: Way) {
    ends_as_the_book_says(way, &["timeout_not_processed", "reset_before", "error_not_processed"], false, false).await;
}

async fn unbelievable(way: Way) {
    ends_as_the_book_says(way, &["malformed", "huge", "slow_drip"], false, true).await;
    // Of Stripe it is the notification that is signed, of Alipay both are, of a bank it is the merchant whom an answer names.
    ends_as_the_book_says(way, &["bad_signature"], true, true).await;
}

async fn repeated(way: Way) {
    ends_as_the_book_says(way, &["duplicate_notification", "late_notification"], true, true).await;
}

async fn cancel_against_paid(way: Way) {
    let world = way.world_with(|setup| setup.sandbox.pay_after_ms = 0).await;
    let waiting = way.begin(&world, &(way.acting)(1_250)).await;
    if let Some(why) = way.lacks.action {
        assert_eq!(waiting.text("status"), "succeeded", "{why}");
        world.close().await;
        return;
    }
    assert_eq!(waiting.text("status"), "requires_action", "{:#}", waiting.body);
    let (path, key, nothing) = (format!("/v1/payments/{}/cancel", waiting.id()), unique("key"), json!({}));
    let reference = waiting.text("channel_reference").to_owned();
    let (_paid_or_closed, canceled) = tokio::join!(act(&world, way, &reference, "pay"), world.post(&path, &key, &nothing));
    assert!(matches!(canceled.status, 200 | 202 | 409), "{:#}", canceled.body);
    let end = world
        .in_time(&waiting.id(), |payment| {
            let given_back = payment["amount_refunded"] == payment["amount_captured"] || canceled.status == 409;
            is_final(payment["status"].as_str().unwrap_or_default()) && given_back
        })
        .await;
    let left = way.taken(&world).await;
    assert_eq!(left, if canceled.status == 409 { 1_250 } else { 0 }, "{end:#}");
    assert!(end["status"] == "canceled" || end["status"] == "succeeded", "{end:#}");
    world.close().await;
}

async fn cancel_too_late(way: Way) {
    let world = way.world().await;
    let paid = way.paid(&world, 1_250).await;
    let canceled = world.post(&format!("/v1/payments/{}/cancel", id(&paid)), &unique("key"), &json!({})).await;
    assert_eq!((canceled.status, canceled.text("code")), (409, "wrong_state"), "{:#}", canceled.body);
    assert_eq!(way.taken(&world).await, 1_250);
    world.close().await;
}

async fn expiry_against_paid(way: Way) {
    let world = way
        .world_with(|setup| {
            setup.sandbox.pay_after_ms = 0;
            setup.sandbox.notifications = false;
        })
        .await;
    let paid = way.begin(&world, &(way.acting)(1_250)).await;
    if let Some(why) = way.lacks.action {
        assert_eq!(paid.text("status"), "succeeded", "{why}");
        world.close().await;
        return;
    }
    let left = way.begin(&world, &(way.acting)(1_300)).await;
    // Paid in the last moment, and nobody told us: by our clock both are past their expiry when they are looked at again.
    world.break_channel(way.channel, &json!({"mode": "error_not_processed", "operations": ["query", "void"]})).await;
    assert_eq!(act(&world, way, paid.text("channel_reference"), "pay").await, 200);
    world.clock.advance(Duration::from_secs(16 * 60));
    let late = world.eventually(&paid.id(), |payment| payment["status"] == "processing").await;
    assert_eq!(late["amount_captured"], 0);
    world.heal(way.channel).await;
    assert_eq!(world.in_time(&paid.id(), |payment| is_final(payment["status"].as_str().unwrap_or_default())).await["status"], "succeeded");
    let ended = world.in_time(&left.id(), |payment| is_final(payment["status"].as_str().unwrap_or_default())).await;
    assert_eq!(ended["status"], "expired", "{ended:#}");
    world.close().await;
}

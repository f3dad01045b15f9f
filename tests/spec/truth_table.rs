//! What each answer, and each lack of one, becomes: status, outcome, HTTP code, and what the third party's book says of it.

use serde_json::json;

use crate::world::{World, payment, unique};

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_the_channel_approves_is_created_and_succeeded() {
    let world = World::start().await;
    let reply = world.pay(1_250).await;
    assert_eq!((reply.status, reply.text("status"), reply.text("outcome")), (201, "succeeded", "approved"), "{:#}", reply.body);
    assert_eq!(reply.body["amount_captured"], 1_250);
    assert!(reply.text("channel_reference").starts_with("pi_"));
    assert!(reply.headers.contains_key("request-id") && reply.headers.contains_key("breakwater-overhead-us"), "{:?}", reply.headers);
    let book = world.book("stripe_main").await;
    assert_eq!(book.iter().map(|entry| (entry.kind.as_str(), entry.amount)).collect::<Vec<_>>(), [("charge", 1_250)]);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_the_channel_declines_is_created_and_failed_with_advice() {
    let world = World::start().await;
    for (token, code) in [("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"), ("pm_card_visa_chargeDeclined", "card_declined")] {
        let mut body = payment(1_250, &unique("order"));
        body["payment_method"]["token"] = json!(token);
        let reply = world.create(&body).await;
        assert_eq!((reply.status, reply.text("status"), reply.text("outcome")), (201, "failed", "declined"), "{:#}", reply.body);
        assert_eq!(reply.body["failure"]["code"], code);
        assert!(reply.body["failure"]["advice"].is_string(), "{:#}", reply.body);
    }
    assert!(world.book("stripe_main").await.is_empty());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn magic_amount_01_declines() {
    let world = World::start().await;
    let reply = world.pay(1_201).await;
    assert_eq!((reply.status, reply.text("status"), reply.text("outcome")), (201, "failed", "declined"), "{:#}", reply.body);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn magic_amount_02_times_out_was_charged_and_is_answered_as_succeeded_once_the_channel_was_asked() {
    let world = World::with(|setup| setup.sandbox.notifications = false).await;
    let reply = world.pay(1_202).await;
    assert_eq!((reply.status, reply.text("status"), reply.text("outcome")), (201, "succeeded", "approved"), "{:#}", reply.body);
    let told = world.payment(&reply.id()).await;
    let kinds: Vec<_> =
        told["events"].as_array().expect("events").iter().map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect();
    assert!(kinds.contains(&"payment.outcome_unknown".to_owned()) && kinds.contains(&"payment.outcome_resolved".to_owned()), "{kinds:?}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_that_overtakes_the_answer_is_enough() {
    let world = World::start().await;
    let reply = world.pay(1_202).await;
    assert_eq!((reply.status, reply.text("status")), (201, "succeeded"), "{:#}", reply.body);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn magic_amount_03_times_out_was_not_charged_and_is_closed_before_it_fails() {
    let world = World::start().await;
    let reply = world.pay(1_203).await;
    assert_eq!((reply.status, reply.text("status"), reply.text("outcome")), (201, "failed", "declined"), "{:#}", reply.body);
    assert_eq!(reply.body["failure"]["code"], "closed");
    assert!(world.book("stripe_main").await.is_empty());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn magic_amount_04_notifies_a_hundred_times_and_is_paid_once() {
    let world = World::start().await;
    let reply = world.pay(1_204).await;
    assert_eq!((reply.status, reply.text("status")), (201, "succeeded"), "{:#}", reply.body);
    let before = world.payment(&reply.id()).await["sequence"].clone();
    world.eventually_metric("breakwater_notifications_total{channel=\"stripe_main\",result=\"repeated\"}", |count| count >= 20.0).await;
    assert_eq!(world.payment(&reply.id()).await["sequence"], before, "a repeated notification changes nothing");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn magic_amount_05_answers_too_late_and_is_found_paid() {
    let world = World::start().await;
    let reply = world.pay(1_205).await;
    assert_eq!((reply.status, reply.text("status")), (201, "succeeded"), "{:#}", reply.body);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn magic_amount_06_carries_a_bad_signature_and_its_notification_is_not_believed() {
    let world = World::start().await;
    let reply = world.pay(1_206).await;
    assert_eq!((reply.status, reply.text("status")), (201, "succeeded"), "{:#}", reply.body);
    world.eventually_metric("breakwater_notifications_total{channel=\"stripe_main\",result=\"refused\"}", |count| count >= 1.0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn magic_amount_07_leaves_a_refund_pending_until_the_channel_is_done() {
    let world = World::with(|setup| setup.sandbox.pending_refund = std::time::Duration::from_millis(600)).await;
    let paid = world.pay(1_207).await;
    let refund = world.refund(&paid.id(), 1_207).await;
    assert_eq!((refund.status, refund.text("status"), refund.text("outcome")), (202, "processing", "pending"), "{:#}", refund.body);
    let after = world.eventually(&paid.id(), |payment| payment["amount_refunded"] == 1_207).await;
    assert_eq!(after["status"], "succeeded", "a refund never changes a payment's status");
    world.close().await;
}

/// Each fault, at its full rate: what one payment becomes while it lasts, and that the books agree once it has healed.
async fn fault(mode: &str, expected: &[(u16, &str, &str)]) {
    // Without notifications, unless they are what is broken: nothing but our own question brings the truth.
    let notified = mode.contains("notification") || mode == "bad_signature";
    let world = World::with(|setup| setup.sandbox.notifications = notified).await;
    world.break_channel("stripe_main", &json!({"mode": mode, "rate": 1.0})).await;
    let mut body = payment(1_250, &unique("order"));
    body["channel"] = json!("stripe_main");
    let reply = world.create(&body).await;
    let seen = (reply.status, reply.text("status"), reply.text("outcome"));
    assert!(expected.contains(&seen), "{mode}: {seen:?} {:#}", reply.body);
    world.heal("stripe_main").await;
    world.finally(&reply.id()).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decline_is_failed() {
    fault("decline", &[(201, "failed", "declined")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_5xx_after_charging_is_unknown_and_found_paid() {
    fault("error_processed", &[(201, "succeeded", "approved")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_5xx_before_charging_is_unknown_and_closed() {
    fault("error_not_processed", &[(201, "failed", "declined")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_after_charging_is_found_paid() {
    fault("timeout_processed", &[(201, "succeeded", "approved")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_before_charging_is_closed() {
    fault("timeout_not_processed", &[(201, "failed", "declined")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_before_it_was_processed_is_closed() {
    fault("reset_before", &[(201, "failed", "declined")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_after_it_was_processed_is_found_paid() {
    fault("reset_after", &[(201, "succeeded", "approved")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_read_is_found_paid() {
    fault("malformed", &[(201, "succeeded", "approved")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_with_a_bad_signature_changes_nothing() {
    fault("bad_signature", &[(201, "succeeded", "approved")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_drips_too_slowly_is_found_paid() {
    fault("slow_drip", &[(201, "succeeded", "approved")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicate_notifications_change_nothing() {
    fault("duplicate_notification", &[(201, "succeeded", "approved")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_notifications_change_nothing() {
    fault("late_notification", &[(201, "succeeded", "approved")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_was_not_processed_and_ends_not_sent() {
    fault("throttle", &[(201, "failed", "not_sent")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_ends_not_sent() {
    fault("refuse", &[(201, "failed", "not_sent")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_paid_again_after_a_decline_and_never_while_its_first_payment_is_live() {
    let world = World::with(|setup| {
        setup.settings.server.answer_within_ms = 300;
        setup.sandbox.notifications = false;
    })
    .await;
    let order = unique("order");
    let mut declined = payment(1_250, &order);
    declined["payment_method"]["token"] = json!("pm_card_visa_chargeDeclined");
    assert_eq!(world.create(&declined).await.text("status"), "failed");

    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "rate": 1.0})).await;
    let live = world.create(&payment(1_250, &order)).await;
    assert_eq!((live.status, live.text("status")), (202, "processing"), "{:#}", live.body);
    let second = world.create(&payment(1_250, &order)).await;
    assert_eq!((second.status, second.text("code")), (409, "duplicate_order"), "{:#}", second.body);
    assert_eq!(second.text("existing"), live.id());
    world.heal("stripe_main").await;
    assert_eq!(world.finally(&live.id()).await["status"], "succeeded");
    let third = world.create(&payment(1_250, &order)).await;
    assert_eq!((third.status, third.text("code")), (409, "duplicate_order"), "a paid order is not paid again");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_who_must_act_is_sent_there_and_the_payment_ends_when_they_paid() {
    let world = World::start().await;
    let mut body = payment(1_250, &unique("order"));
    body["payment_method"]["token"] = json!("pm_card_threeDSecureRequired");
    body["return_url"] = json!("https://shop.example/back");
    let reply = world.create(&body).await;
    assert_eq!((reply.status, reply.text("status"), reply.text("outcome")), (201, "requires_action", "none"), "{:#}", reply.body);
    let page = reply.body["next_action"]["url"].as_str().expect("an address").to_owned();
    breakwater::cli::client::send("GET", &page, &[], "").await.expect("the page");
    assert_eq!(world.finally(&reply.id()).await["status"], "succeeded");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_channel_carries_what_the_first_certainly_did_not() {
    let world = World::start().await;
    world.break_channel("stripe_main", &json!({"mode": "refuse", "rate": 1.0})).await;
    // A card's token belongs to one account: without a chosen channel it is never offered to a second one.
    let reply = world.pay(1_250).await;
    assert_eq!((reply.status, reply.text("status"), reply.text("outcome")), (201, "failed", "not_sent"), "{:#}", reply.body);
    let mut body = payment(1_250, &unique("order"));
    body["channel"] = json!("stripe_backup");
    let reply = world.create(&body).await;
    assert_eq!((reply.status, reply.text("status"), reply.text("channel")), (201, "succeeded", "stripe_backup"), "{:#}", reply.body);
    world.heal("stripe_main").await;
    world.close().await;
}

/// A hold, and a step after it that the third party does not get, nor its first repeat, before it is healed: what the payment becomes.
async fn sent_again(operation: &str, path: &str, became: &str) {
    let world = World::with(|setup| {
        setup.settings.server.answer_within_ms = 300;
        setup.sandbox.notifications = false;
    })
    .await;
    let mut body = payment(1_250, &unique("order"));
    body["capture_method"] = json!("manual");
    let hold = world.create(&body).await;
    assert_eq!((hold.status, hold.text("status")), (201, "requires_capture"), "{:#}", hold.body);
    world.break_channel("stripe_main", &json!({"mode": "timeout_not_processed", "rate": 1.0, "operations": [operation]})).await;
    let asked = world.post(&format!("/v1/payments/{}/{path}", hold.id()), &unique("key"), &json!({})).await;
    assert_eq!(asked.status, 202, "{:#}", asked.body);
    // Long enough in doubt for a look, which repeats it in vain.
    let in_doubt = world.eventually(&hold.id(), |payment| payment["outcome"] == "unknown").await;
    world.eventually_tries(&hold.id(), 2).await;
    assert_eq!(in_doubt["amount_captured"], 0);
    world.heal("stripe_main").await;
    let after = world.finally(&hold.id()).await;
    assert_eq!(after["status"], became, "{after:#}");
    assert_eq!(after["attempts"].as_array().map(Vec::len), Some(2), "with its own key, not as another attempt: {after:#}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_that_was_promised_and_never_arrived_is_sent_again() {
    sent_again("capture", "capture", "succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_that_never_arrived_is_sent_again() {
    sent_again("void", "cancel", "canceled").await;
}

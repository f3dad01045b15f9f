//! Payments over Alipay, end to end: a code that we show, a code that the customer shows, Alipay's page; and what becomes of each fault.

use std::time::Duration;

use breakwater::cli::client;
use breakwater::sandbox::AccountSettings;
use serde_json::{Value, json};

use crate::world::{Reply, Setup, World, unique};

fn over_alipay(setup: &mut Setup) {
    setup.sandbox.accounts = vec![AccountSettings::alipay("alipay_main")];
    setup.sandbox.pending_refund = Duration::from_secs(1);
}

async fn start() -> World {
    World::with(over_alipay).await
}

fn payment(amount: i64, method: Value) -> Value {
    json!({"amount": amount, "currency": "CNY", "merchant_order_id": unique("order"), "description": "测试商品 A&B=1", "payment_method": method})
}

fn qr(amount: i64) -> Value {
    payment(amount, json!({"type": "qr", "wallet": "alipay"}))
}

fn barcode(amount: i64) -> Value {
    payment(amount, json!({"type": "barcode", "code": "2812345678901234"}))
}

fn told(reply: &Reply) -> (u16, &str, &str) {
    (reply.status, reply.text("status"), reply.text("outcome"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_shown_scanned_paid_and_given_back_in_parts() {
    let world = start().await;
    let shown = world.create(&qr(1_250)).await;
    assert_eq!((shown.status, shown.text("status")), (201, "requires_action"), "{:#}", shown.body);
    assert_eq!(shown.body["next_action"]["type"], "qr");
    assert!(shown.body["next_action"]["text"].as_str().is_some_and(|text| text.starts_with("https://qr.alipay.com/")), "{:#}", shown.body);
    let paid = world.finally(&shown.id()).await;
    assert_eq!((&paid["status"], &paid["amount_captured"]), (&json!("succeeded"), &json!(1_250)), "{paid:#}");
    for amount in [250, 1_000] {
        let refund = world.refund(&shown.id(), amount).await;
        assert!(matches!(refund.status, 201 | 202), "{:#}", refund.body);
        world
            .eventually(&shown.id(), |payment| payment["refunds"].as_array().is_some_and(|all| all.iter().all(|one| one["status"] == "succeeded")))
            .await;
    }
    assert_eq!(world.payment(&shown.id()).await["amount_refunded"], 1_250);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_code_is_charged_at_once_and_declined_for_a_reason() {
    let world = start().await;
    let paid = world.create(&barcode(1_250)).await;
    assert_eq!(told(&paid), (201, "succeeded", "approved"), "{:#}", paid.body);
    let declined = world.create(&barcode(1_201)).await;
    assert_eq!(told(&declined), (201, "failed", "declined"), "{:#}", declined.body);
    assert_eq!(declined.body["failure"]["code"], "insufficient_funds");
    assert_eq!(declined.body["failure"]["channel_code"], "ACQ.BUYER_BALANCE_NOT_ENOUGH");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_alipay_charged_and_did_not_answer_well_has_succeeded() {
    let world = start().await;
    for amount in [1_202, 1_205, 1_206] {
        for body in [qr(amount), barcode(amount)] {
            let reply = world.create(&body).await;
            let paid = world.finally(&reply.id()).await;
            assert_eq!((&paid["status"], &paid["outcome"]), (&json!("succeeded"), &json!("approved")), "{amount}: {paid:#}");
        }
    }
    let notified = world.create(&barcode(1_204)).await;
    assert_eq!(told(&notified), (201, "succeeded", "approved"), "{:#}", notified.body);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_sent_to_a_page_and_pays_there() {
    let world = start().await;
    let sent = world.create(&payment(1_250, json!({"type": "redirect", "wallet": "alipay", "flow": "page"}))).await;
    assert_eq!((sent.status, sent.text("status")), (201, "requires_action"), "{:#}", sent.body);
    let url = sent.body["next_action"]["url"].as_str().expect("an address").to_owned();
    assert_eq!(client::send("GET", &url, &[], "").await.expect("a page").status, 200);
    assert_eq!(world.finally(&sent.id()).await["status"], "succeeded");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_opened_and_left_is_closed_by_a_cancel() {
    let world = World::with(|setup| {
        over_alipay(setup);
        setup.sandbox.pay_after_ms = 0;
    })
    .await;
    let sent = world.create(&payment(1_250, json!({"type": "redirect", "wallet": "alipay", "flow": "page"}))).await;
    let url = sent.body["next_action"]["url"].as_str().expect("an address").to_owned();
    client::send("GET", &url, &[], "").await.expect("a page");
    let canceled = world.post(&format!("/v1/payments/{}/cancel", sent.id()), &unique("key"), &json!({})).await;
    assert!(matches!(canceled.status, 200 | 202), "{:#}", canceled.body);
    assert_eq!(world.finally(&sent.id()).await["status"], "canceled");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_alipay_leaves_pending_succeeds_later_under_its_one_number() {
    let world = start().await;
    let paid = world.create(&barcode(1_250)).await;
    let refund = world.refund(&paid.id(), 107).await;
    assert!(matches!(refund.status, 201 | 202), "{:#}", refund.body);
    let done = world.eventually(&paid.id(), |payment| payment["amount_refunded"] == 107).await;
    let tried = done["attempts"].as_array().expect("attempts").iter().filter(|attempt| attempt["operation"] == "refund").count();
    assert_eq!(tried, 1, "another number could give the money back twice: {done:#}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_that_break_on_the_way_end_in_one_refund_each() {
    let world = start().await;
    let paid = world.create(&barcode(10_000)).await;
    for (nth, mode) in ["error_processed", "error_not_processed", "reset_before", "reset_after", "malformed", "bad_signature"].iter().enumerate() {
        world.break_channel("alipay_main", &json!({"mode": mode, "operations": ["refund"]})).await;
        let refund = world.refund(&paid.id(), 1_000).await;
        assert!(matches!(refund.status, 201 | 202), "{mode}: {:#}", refund.body);
        world.heal("alipay_main").await;
        let given_back = i64::try_from(nth + 1).expect("few") * 1_000;
        world.eventually(&paid.id(), |payment| payment["amount_refunded"] == given_back).await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_of_everything_in_alipays_portal_is_adopted() {
    let world = start().await;
    let paid = world.create(&barcode(1_250)).await;
    world.control("POST", "alipay_main/customer", &json!({"reference": paid.text("channel_reference"), "act": "portal_refund"})).await;
    world.eventually(&paid.id(), |payment| payment["amount_refunded"] == 1_250).await;
    // Its book has a refund that no attempt of ours asked for: no referee.
    world.running.stop();
    world.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_refunded_in_the_portal_waits_until_alipay_says_how_much_it_was() {
    let world = start().await;
    let paid = world.create(&barcode(1_250)).await;
    world.break_channel("alipay_main", &json!({"mode": "error_not_processed", "operations": ["query"]})).await;
    let part = json!({"reference": paid.text("channel_reference"), "act": "portal_refund", "amount": 400});
    world.control("POST", "alipay_main/customer", &part).await;
    let asked = "breakwater_channel_attempts_total{channel=\"alipay_main\",operation=\"query_refund\",outcome=\"unknown\"}";
    world.eventually_metric(asked, |count| count >= 1.0).await;
    let waiting = world.ops("/ops/v1/notifications?state=received").await;
    assert_eq!(waiting.body["data"].as_array().map(Vec::len), Some(1), "{:#}", waiting.body);
    assert_eq!(world.payment(&paid.id()).await["amount_refunded"], 0, "nothing is booked that was not said");
    world.heal("alipay_main").await;
    let after = world.in_time(&paid.id(), |payment| payment["amount_refunded"] == 400).await;
    assert_eq!(after["refunds"][0]["source"], "channel", "{after:#}");
    world.running.stop();
    world.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_alipay_does_not_say_is_not_canceled_at_its_expiry_because_a_cancel_would_give_it_back() {
    let world = World::with(|setup| {
        over_alipay(setup);
        setup.sandbox.pay_after_ms = 0;
        setup.sandbox.notifications = false;
    })
    .await;
    // Its last digits ask for the payer's password.
    let waiting = world.create(&payment(1_250, json!({"type": "barcode", "code": "2812345678900003"}))).await;
    assert_eq!(waiting.text("status"), "requires_action", "{:#}", waiting.body);
    world.break_channel("alipay_main", &json!({"mode": "error_not_processed", "operations": ["query"]})).await;
    let paid = json!({"reference": waiting.text("channel_reference"), "act": "pay"});
    world.control("POST", "alipay_main/customer", &paid).await;
    world.clock.advance(Duration::from_secs(16 * 60));
    world.eventually_tries(&waiting.id(), 2).await;
    let seen = world.payment(&waiting.id()).await;
    assert_eq!(seen["status"], "processing", "it ends only when Alipay has said whether it was paid: {seen:#}");
    world.heal("alipay_main").await;
    let ended = world.in_time(&waiting.id(), |payment| payment["status"] == "succeeded").await;
    assert_eq!((&ended["amount_captured"], &ended["amount_refunded"]), (&json!(1_250), &json!(0)), "{ended:#}");
    world.close().await;
}

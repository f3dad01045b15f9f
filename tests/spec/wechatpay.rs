//! Payments over WeChat Pay, end to end, where they are like no other's: what each flow hands to the customer, an order whose code nobody saw, and
//! a refund's notification, which names the order alone.

use std::time::Duration;

use breakwater::sandbox::AccountSettings;
use serde_json::{Value, json};

use crate::contract::{WECHATPAY_NATIVE, id};
use crate::contract::{act, visit};
use crate::world::{Setup, World, is_final, unique};

const CHANNEL: &str = "wechatpay_main";

fn over_wechatpay(setup: &mut Setup) {
    setup.sandbox.accounts = vec![AccountSettings::wechatpay(CHANNEL)];
    setup.sandbox.pending_refund = Duration::from_secs(1);
}

fn payment(amount: i64, method: Value) -> Value {
    json!({"amount": amount, "currency": "CNY", "merchant_order_id": unique("order"), "description": "测试商品 A&B=1", "payment_method": method})
}

fn qr(amount: i64) -> Value {
    payment(amount, json!({"type": "qr", "wallet": "wechatpay"}))
}

fn final_one(payment: &Value) -> bool {
    is_final(payment["status"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_flow_hands_its_own_thing_to_the_customer_and_is_paid() {
    let world = World::with(over_wechatpay).await;
    let code = world.create(&qr(1_250)).await;
    assert!(code.body["next_action"]["text"].as_str().is_some_and(|text| text.starts_with("weixin://wxpay/")), "{:#}", code.body);
    assert!(code.body["next_action"]["expires_at"].is_string());

    let method = json!({"type": "redirect", "wallet": "wechatpay", "flow": "h5", "client_ip": "203.0.113.9"});
    let page = world.create(&payment(1_260, method)).await;
    assert_eq!((&page.body["next_action"]["type"], &page.body["next_action"]["method"]), (&json!("redirect"), &json!("GET")), "{:#}", page.body);
    visit(&page.body).await;

    let method = json!({"type": "redirect", "wallet": "wechatpay", "flow": "jsapi", "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"});
    let script = world.create(&payment(1_270, method)).await;
    let parameters = script.body["next_action"]["parameters"].as_object().cloned().unwrap_or_default();
    let names: Vec<&str> = parameters.keys().map(String::as_str).collect();
    assert_eq!(script.body["next_action"]["type"], "jsapi");
    assert_eq!(names, ["appId", "nonceStr", "package", "paySign", "signType", "timeStamp"], "{:#}", script.body);

    for made in [code, page, script] {
        assert_eq!((made.status, made.text("status")), (201, "requires_action"), "{:#}", made.body);
        let paid = world.in_time(&made.id(), final_one).await;
        assert_eq!((&paid["status"], &paid["outcome"]), (&json!("succeeded"), &json!("approved")), "{paid:#}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_without_what_it_needs_of_the_customer_is_refused_before_anything_is_written() {
    let world = World::with(over_wechatpay).await;
    for flow in ["page", "app", "h5", "jsapi"] {
        let refused = world.create(&payment(1_250, json!({"type": "redirect", "wallet": "wechatpay", "flow": flow}))).await;
        assert_eq!((refused.status, refused.text("code")), (422, "channel_cannot_carry"), "{flow}: {:#}", refused.body);
    }
    let shown = world.create(&payment(1_250, json!({"type": "barcode", "code": "1312345678901234"}))).await;
    assert_eq!((shown.status, shown.text("code")), (422, "no_channel"), "{:#}", shown.body);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_code_nobody_saw_is_closed_and_ends_unpaid() {
    let world = World::with(|setup| {
        over_wechatpay(setup);
        setup.sandbox.pay_after_ms = 0;
        setup.sandbox.notifications = false;
        setup.settings.server.answer_within_ms = 300;
    })
    .await;
    // Made, and answered after the caller has gone: the code is lost, the order is there.
    world.break_channel(CHANNEL, &json!({"latency_ms": 2_000, "operations": ["pay"]})).await;
    let reply = world.create(&qr(1_250)).await;
    assert_eq!((reply.status, reply.text("status")), (202, "processing"), "{:#}", reply.body);
    let end = world.in_time(&reply.id(), final_one).await;
    assert_eq!((&end["status"], &end["failure"]["code"]), (&json!("failed"), &json!("closed")), "{end:#}");
    let key = end["attempts"][0]["key"].as_str().expect("a key");
    assert_eq!(act(&world, WECHATPAY_NATIVE, key, "pay").await, 409, "it can no longer be paid");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_s_notification_that_names_the_order_alone_finds_its_payment() {
    let world = World::with(over_wechatpay).await;
    let paid = WECHATPAY_NATIVE.paid(&world, 1_250).await;
    // Nobody can be asked: only the notification tells that the pending refund is done.
    world.break_channel(CHANNEL, &json!({"mode": "error_not_processed", "operations": ["query"]})).await;
    let refund = world.refund(id(&paid), 107).await;
    assert_eq!((refund.status, refund.text("status")), (202, "processing"), "{:#}", refund.body);
    let after = world.eventually(id(&paid), |payment| payment["amount_refunded"] == 107).await;
    let told = after["events"].as_array().expect("events").iter().any(|event| event.to_string().contains("notification"));
    assert!(told, "{after:#}");
    world.heal(CHANNEL).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_was_canceled_can_no_longer_be_paid() {
    let world = World::with(|setup| {
        over_wechatpay(setup);
        setup.sandbox.pay_after_ms = 0;
    })
    .await;
    let shown = world.create(&qr(1_250)).await;
    let canceled = world.post(&format!("/v1/payments/{}/cancel", shown.id()), &unique("key"), &json!({})).await;
    assert!(matches!(canceled.status, 200 | 202), "{:#}", canceled.body);
    assert_eq!(world.in_time(&shown.id(), final_one).await["status"], "canceled");
    assert_eq!(act(&world, WECHATPAY_NATIVE, shown.text("channel_reference"), "pay").await, 409);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_amount_that_asks_for_a_fault_ends_as_the_book_says() {
    let world = World::with(over_wechatpay).await;
    for (amount, status, outcome, code) in [
        (1_201, "failed", "declined", Some("limit_exceeded")),
        (1_202, "succeeded", "approved", None),
        (1_203, "failed", "not_sent", Some("not_found")),
        (1_204, "succeeded", "approved", None),
        (1_205, "succeeded", "approved", None),
        (1_206, "succeeded", "approved", None),
    ] {
        let made = world.create(&qr(amount)).await;
        let end = world.in_time(&made.id(), final_one).await;
        let why = end["failure"]["code"].as_str();
        assert_eq!((end["status"].as_str(), end["outcome"].as_str(), why), (Some(status), Some(outcome), code), "{amount}: {end:#}");
        let charges = world.book(CHANNEL).await.iter().filter(|entry| entry.amount == amount).count();
        assert_eq!(charges, usize::from(status == "succeeded"), "{amount}");
    }
    world.close().await;
}

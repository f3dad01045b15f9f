//! A channel whose table was taken out of the settings while something that it carried is not at its end: whoever needs it is told so by name, nothing
//! is lost, and what a person knows may be said all the same.

use serde_json::{Value, json};

use crate::operators::{acts, deaf, resolve};
use crate::overrides::act;
use crate::world::{Reply, World, payment, unique};

fn charge() -> Value {
    let mut body = payment(1_250, &unique("order"));
    body["channel"] = json!("stripe_main");
    body
}

fn hold() -> Value {
    let mut body = charge();
    body["capture_method"] = json!("manual");
    body
}

/// A payment at stripe_main of which nobody knows anything.
async fn unknown(world: &World, body: &Value) -> String {
    let id = world.create(body).await.id();
    world.eventually(&id, |payment| payment["outcome"] == "unknown").await;
    id
}

fn is_refused_by_name(refused: &Reply) {
    assert_eq!((refused.status, refused.text("code"), refused.text("retry")), (409, "channel_not_configured", "after"), "{:#}", refused.body);
    assert!(refused.text("detail").contains("stripe_main"), "{}", refused.text("detail"));
    assert_eq!(refused.headers["retry-after"], "60");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_merchants_want_of_a_channel_that_is_gone_is_refused_by_name_and_done_under_the_same_key_once_it_is_back() {
    let mut world = World::start().await;
    let (paid, held) = (world.create(&charge()).await, world.create(&hold()).await);
    assert_eq!((paid.text("status"), held.text("status")), ("succeeded", "requires_capture"));
    let (capture, cancel) = (format!("/v1/payments/{}/capture", held.id()), format!("/v1/payments/{}/cancel", held.id()));
    let refund = json!({"payment_id": paid.id(), "merchant_refund_id": unique("refund"), "amount": 250});
    let (refund_key, capture_key) = (unique("key"), unique("key"));

    world.restart_with(|channel| channel != "stripe_main").await;
    is_refused_by_name(&world.post("/v1/refunds", &refund_key, &refund).await);
    is_refused_by_name(&world.post(&capture, &capture_key, &json!({})).await);
    is_refused_by_name(&world.post(&cancel, &unique("key"), &json!({})).await);
    assert_eq!(world.get("/v1/refunds").await.body["data"], json!([]), "nothing was written");
    let asked = world.get(&format!("/v1/payments/{}?sync=true", held.id())).await;
    assert_eq!((asked.status, asked.text("status")), (200, "requires_capture"), "a read is a read: {:#}", asked.body);

    world.restart().await;
    let refunded = world.post("/v1/refunds", &refund_key, &refund).await;
    assert!(matches!(refunded.status, 201 | 202), "{:#}", refunded.body);
    let captured = world.post(&capture, &capture_key, &json!({})).await;
    assert_eq!((captured.status, captured.text("status")), (200, "succeeded"), "{:#}", captured.body);
    world.in_time(&paid.id(), |payment| payment["amount_refunded"] == 250).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_may_say_what_became_of_a_payment_whose_channel_is_gone_unless_its_contract_decides_what_follows() {
    let mut world = World::with(deaf).await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "rate": 1.0, "operations": ["pay", "query"]})).await;
    let (charged, held) = (unknown(&world, &charge()).await, unknown(&world, &hold()).await);

    world.restart_with(|channel| channel != "stripe_main").await;
    let doubt = world.ops("/ops/v1/unknowns").await;
    let listed: Vec<&Value> = doubt.body["data"].as_array().expect("a list").iter().map(|row| &row["payment_id"]).collect();
    assert_eq!(listed, [&json!(charged), &json!(held)], "{:#}", doubt.body);
    let again = |body: Value| {
        let (world, token) = (&world, &world.ops_token);
        async move { act(world, token, "POST", "/ops/v1/unknowns/requery", &body).await }
    };
    let nowhere = again(json!({"channel": "stripe_main"})).await;
    assert_eq!((nowhere.status, nowhere.text("code")), (422, "unknown_channel"), "{:#}", nowhere.body);
    assert_eq!(again(json!({"payment_ids": [held]})).await.status, 202);
    let asked = world.get(&format!("/v1/payments/{held}?sync=true")).await;
    assert_eq!((asked.status, asked.text("outcome")), (200, "unknown"), "{:#}", asked.body);

    // How long a hold lasts is for the channel's contract to say.
    is_refused_by_name(&resolve(&world, &world.ops_token, &held, "authorized").await);
    assert!(acts(&world, &format!("?subject=payment:{held}&act=payment.resolve_ordered")).await.is_empty());
    assert_eq!(world.payment(&held).await["outcome"], "unknown");
    let unfit = resolve(&world, &world.ops_token, &charged, "authorized").await;
    assert_eq!((unfit.status, unfit.text("param")), (400, "outcome"), "it was no hold: {:#}", unfit.body);

    let done = resolve(&world, &world.ops_token, &charged, "approved").await;
    assert_eq!((done.status, done.text("status"), done.text("outcome")), (200, "succeeded", "approved"), "{:#}", done.body);
    assert_eq!(world.payment(&charged).await["amount_captured"], 1_250);
    assert_eq!(acts(&world, &format!("?subject=payment:{charged}&act=payment.resolved")).await.len(), 1);

    world.heal("stripe_main").await;
    world.restart().await;
    world.eventually(&held, |payment| payment["status"] == "requires_capture").await;
    world.close().await;
}

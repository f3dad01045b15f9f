//! What a merchant may ask beyond reading: that the channel be asked now, and how long to wait. The poller sleeps in these worlds, unless a test says
//! otherwise, so that nobody else asks.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Reply, Setup, World, payment, unique};

/// A merchant's questions about one attempt are at least so far apart.
const SPACING: Duration = Duration::from_secs(2);

fn alone(setup: &mut Setup) {
    setup.settings.poller.sweep_every_ms = 60_000;
    setup.settings.server.answer_within_ms = 300;
    setup.sandbox.notifications = false;
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.get(name).and_then(|value| value.to_str().ok())
}

/// The plan of a payment's last attempt: when it was asked about, when it will be, how often it was.
async fn plan(world: &World, payment: &str) -> (Option<jiff::Timestamp>, Option<jiff::Timestamp>, i32) {
    let (client, connection) = tokio_postgres::connect(&world.database_url, tokio_postgres::NoTls).await.expect("the database");
    tokio::spawn(connection);
    let payment: breakwater::domain::PaymentId = payment.parse().expect("an id");
    let row = client
        .query_one("SELECT asked_at, due_at, tries FROM attempt WHERE payment_id = $1 ORDER BY n DESC LIMIT 1", &[&payment.0])
        .await
        .expect("readable");
    (row.get(0), row.get(1), row.get(2))
}

/// Asks until the payment is as wanted: while its first flow still holds it, nobody else may ask.
async fn ask_until(world: &World, path: &str, enough: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..100 {
        last = world.get(path).await.body;
        if enough(&last) {
            return last;
        }
        world.clock.advance(SPACING);
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("it never came about: {last:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merchant_who_will_not_wait_has_the_channel_asked_at_once() {
    let world = World::with(alone).await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "rate": 1.0})).await;
    let payment = world.pay(1_250).await;
    assert_eq!((payment.status, payment.text("status")), (202, "processing"), "{:#}", payment.body);
    let path = format!("/v1/payments/{}", payment.id());
    world.eventually(&payment.id(), |payment| payment["outcome"] == "unknown").await;
    assert_eq!(world.get(&path).await.text("status"), "processing", "a plain read asks nobody");
    let asked = ask_until(&world, &format!("{path}?sync=true&include=attempts"), |payment| payment["status"] == "succeeded").await;
    assert_eq!((&asked["outcome"], asked["attempts"].as_array().map(Vec::len)), (&json!("approved"), Some(1)), "{asked:#}");
    world.heal("stripe_main").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_in_doubt_is_asked_after_too() {
    let world = World::with(alone).await;
    let paid = world.pay(1_250).await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "rate": 1.0, "operations": ["refund"]})).await;
    let refund = world.refund(&paid.id(), 250).await;
    assert_eq!((refund.status, refund.text("status")), (202, "processing"), "{:#}", refund.body);
    let asked = ask_until(&world, &format!("/v1/refunds/{}?sync=true", refund.id()), |refund| refund["status"] != "processing").await;
    assert_eq!((&asked["status"], &asked["outcome"]), (&json!("succeeded"), &json!("approved")), "{asked:#}");
    world.heal("stripe_main").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_final_is_answered_without_a_question() {
    let world = World::with(alone).await;
    let paid = world.pay(1_250).await;
    let refund = world.refund(&paid.id(), 250).await;
    assert_eq!((paid.text("status"), refund.text("status")), ("succeeded", "succeeded"));
    // Whoever asked now would wait in vain.
    world.break_channel("stripe_main", &json!({"mode": "timeout_not_processed", "rate": 1.0, "operations": ["query"]})).await;
    assert_eq!(world.get(&format!("/v1/payments/{}?sync=true", paid.id())).await.text("status"), "succeeded");
    assert_eq!(world.get(&format!("/v1/refunds/{}?sync=true", refund.id())).await.text("status"), "succeeded");
    assert_eq!(plan(&world, &paid.id()).await.0, None, "nobody asked");
    world.heal("stripe_main").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merchant_who_asks_all_the_time_does_not_flood_the_channel_nor_move_its_plan() {
    let world = World::with(alone).await;
    let peer = world.peer().await;
    let mut body = payment(1_250, &unique("order"));
    body["payment_method"]["token"] = json!("pm_card_threeDSecureRequired");
    body["return_url"] = json!("https://shop.example/back");
    let waiting = world.create(&body).await;
    assert_eq!(waiting.text("status"), "requires_action", "{:#}", waiting.body);
    let path = format!("/v1/payments/{}?sync=true", waiting.id());
    let (before, due, tries) = plan(&world, &waiting.id()).await;
    assert_eq!(before, None);
    assert_eq!(world.get(&path).await.text("status"), "requires_action");
    let (first, due_after, tries_after) = plan(&world, &waiting.id()).await;
    assert!(first.is_some(), "it was asked about");
    assert_eq!((due_after, tries_after), (due, tries), "and looks at its own times all the same");

    for _ in 0..20 {
        world.get(&path).await;
    }
    // The pause is the same for all processes; on a slow machine it may have passed by itself, but not twenty times.
    let authorization = format!("Bearer {}", world.key);
    let at_peer = breakwater::cli::client::send("GET", &format!("{}{path}", peer.url), &[("authorization", &authorization)], "").await;
    assert_eq!(at_peer.expect("an answer").status, 200);
    let spaced =
        |one: jiff::Timestamp, two: jiff::Timestamp| one == two || two.duration_since(one) >= jiff::SignedDuration::try_from(SPACING).expect("short");
    let second = plan(&world, &waiting.id()).await.0.expect("asked");
    assert!(spaced(first.expect("asked"), second), "{first:?} {second}");
    world.clock.advance(SPACING);
    world.get(&path).await;
    let third = plan(&world, &waiting.id()).await.0.expect("asked");
    assert!(third > second && spaced(second, third), "after the pause it is asked again: {second} {third}");

    let page = waiting.body["next_action"]["url"].as_str().expect("an address").to_owned();
    breakwater::cli::client::send("GET", &page, &[], "").await.expect("the page");
    ask_until(&world, &path, |payment| payment["status"] == "succeeded").await;
    peer.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_does_not_answer_costs_a_merchant_no_more_than_the_wait() {
    let world = World::with(alone).await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "rate": 1.0, "operations": ["pay", "query"]})).await;
    let payment = world.pay(1_250).await;
    assert_eq!(payment.status, 202, "{:#}", payment.body);
    world.eventually(&payment.id(), |payment| payment["outcome"] == "unknown").await;
    for _ in 0..5 {
        let asked = world.get(&format!("/v1/payments/{}?sync=true", payment.id())).await;
        assert_eq!((asked.status, asked.text("status"), asked.text("outcome")), (200, "processing", "unknown"), "{:#}", asked.body);
        world.clock.advance(SPACING);
    }
    world.heal("stripe_main").await;
    ask_until(&world, &format!("/v1/payments/{}?sync=true", payment.id()), |payment| payment["status"] == "succeeded").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_is_true_or_false_and_only_where_one_object_is_read() {
    let world = World::with(alone).await;
    let paid = world.pay(1_250).await;
    assert_eq!(world.get(&format!("/v1/payments/{}?sync=false", paid.id())).await.status, 200);
    let refused = world.get(&format!("/v1/payments/{}?sync=1", paid.id())).await;
    assert_eq!((refused.status, refused.text("code"), refused.text("param")), (400, "invalid_request", "sync"), "{:#}", refused.body);
    let refused = world.get("/v1/payments?sync=true").await;
    assert_eq!((refused.status, refused.text("code"), refused.text("param")), (400, "unknown_parameter", "sync"), "{:#}", refused.body);
    let nobody = world.get(&format!("/v1/payments/pay_{}?sync=true", "0".repeat(32))).await;
    assert_eq!((nobody.status, nobody.text("code")), (404, "not_found"), "{:#}", nobody.body);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_says_how_long_it_waits_and_is_told_what_was_applied() {
    let world = World::with(|setup| setup.settings.server.answer_within_ms = 0).await;
    let create = async |prefer: &str| {
        let (authorization, key) = (format!("Bearer {}", world.key), unique("key"));
        let headers =
            [("authorization", authorization.as_str()), ("idempotency-key", &key), ("content-type", "application/json"), ("prefer", prefer)];
        Reply::of(world.send("POST", "/v1/payments", &headers, &payment(1_250, &unique("order")).to_string()).await)
    };
    let patient = create("respond-async, wait=30").await;
    assert_eq!((patient.status, patient.text("status")), (201, "succeeded"), "{:#}", patient.body);
    assert_eq!(header(&patient, "preference-applied"), Some("wait=30"));
    let unread = create("wait=soon").await;
    assert_eq!((unread.status, header(&unread, "preference-applied")), (202, None), "a wish that cannot be read is none: {:#}", unread.body);
    world.finally(&unread.id()).await;
    let refund = {
        let (authorization, key) = (format!("Bearer {}", world.key), unique("key"));
        let headers =
            [("authorization", authorization.as_str()), ("idempotency-key", &key), ("content-type", "application/json"), ("prefer", "wait=99")];
        let body = json!({"payment_id": patient.id(), "merchant_refund_id": "R-1"}).to_string();
        Reply::of(world.send("POST", "/v1/refunds", &headers, &body).await)
    };
    assert_eq!((refund.status, header(&refund, "preference-applied")), (201, Some("wait=60")), "cut to what we keep anybody waiting");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_want_to_wait_is_answered_202_at_once() {
    let world = World::with(|setup| setup.settings.server.answer_within_ms = 60_000).await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "rate": 1.0})).await;
    let (authorization, key) = (format!("Bearer {}", world.key), unique("key"));
    let headers = [("authorization", authorization.as_str()), ("idempotency-key", &key), ("content-type", "application/json"), ("prefer", "wait=0")];
    let reply = Reply::of(world.send("POST", "/v1/payments", &headers, &payment(1_250, &unique("order")).to_string()).await);
    assert_eq!((reply.status, reply.text("status"), header(&reply, "preference-applied")), (202, "processing", Some("wait=0")), "{:#}", reply.body);
    assert_eq!(world.finally(&reply.id()).await["status"], "succeeded", "the flow goes on");
    world.heal("stripe_main").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_come_back_at_is_never_past() {
    let world = World::with(alone).await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "rate": 1.0, "operations": ["pay", "refund", "query"]})).await;
    let open = world.pay(1_250).await;
    world.eventually(&open.id(), |payment| payment["outcome"] == "unknown").await;
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(3_600));
        let now = world.clock.wall();
        for body in [world.get(&format!("/v1/payments/{}", open.id())).await.body, world.get("/v1/payments").await.body["data"][0].clone()] {
            let poll_after: jiff::Timestamp = body["poll_after"].as_str().expect("it is open").parse().expect("a time");
            assert!(poll_after > now, "{poll_after} is not after {now}");
        }
    }
    world.heal("stripe_main").await;
    ask_until(&world, &format!("/v1/payments/{}?sync=true", open.id()), |payment| payment["status"] == "succeeded").await;
    world.close().await;
}

//! Many at once: keys, orders, captures, refunds, and a client that goes away.

use std::sync::Arc;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::world::{Reply, World, is_final, payment, unique};

fn held(amount: i64) -> Value {
    let mut body = payment(amount, &unique("order"));
    body["capture_method"] = json!("manual");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_creates_with_one_key_make_one_charge() {
    let world = World::start().await;
    let (key, body) = (unique("key"), payment(1_250, &unique("order")));
    let replies = join_all((0..50).map(|_| world.post("/v1/payments", &key, &body))).await;
    let mut ids = Vec::new();
    for reply in &replies {
        match reply.status {
            201 | 202 => ids.push(reply.id()),
            409 => assert_eq!(reply.text("code"), "idempotency_key_in_flight", "{:#}", reply.body),
            other => panic!("{other}: {:#}", reply.body),
        }
    }
    assert!(!ids.is_empty());
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let again = world.post("/v1/payments", &key, &body).await;
    assert_eq!((again.status, again.id()), (201, ids[0].clone()));
    assert_eq!(again.headers.get("idempotent-replayed").map(|value| value.as_bytes()), Some(b"true".as_slice()));
    assert_eq!(world.book("stripe_main").await.len(), 1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_used_with_another_body_is_refused_and_names_what_it_stands_for() {
    let world = World::start().await;
    let (key, body) = (unique("key"), payment(1_250, &unique("order")));
    let first = world.post("/v1/payments", &key, &body).await;
    let mut other = body.clone();
    other["amount"] = json!(1_300);
    let reused = world.post("/v1/payments", &key, &other).await;
    assert_eq!((reused.status, reused.text("code")), (422, "idempotency_key_reused"), "{:#}", reused.body);
    assert_eq!(reused.text("existing"), first.id());
    assert_eq!(world.book("stripe_main").await.len(), 1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_order_with_two_keys_makes_one_charge() {
    let world = World::start().await;
    let order = unique("order");
    let (one, two) = tokio::join!(world.create_owned(payment(1_250, &order)), world.create_owned(payment(1_250, &order)));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409], "{:#} {:#}", one.body, two.body);
    assert_eq!(world.book("stripe_main").await.len(), 1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_refunds_that_together_exceed_what_was_captured_exactly_one_succeeds_two_hundred_times() {
    let world = Arc::new(World::start().await);
    for round in 0..10 {
        let paid = join_all((0..20).map(|_| world.pay(100))).await;
        let pairs = join_all(paid.iter().map(|reply| {
            let id = reply.id();
            let world = Arc::clone(&world);
            async move { tokio::join!(world.refund(&id, 60), world.refund(&id, 60)) }
        }))
        .await;
        for (one, two) in pairs {
            let mut statuses = [one.status, two.status];
            statuses.sort_unstable();
            assert_eq!(statuses, [201, 422], "round {round}: {:#} {:#}", one.body, two.body);
            let refused = if one.status == 422 { &one } else { &two };
            assert_eq!(refused.text("code"), "refund_exceeds_captured");
        }
    }
    Arc::into_inner(world).expect("nobody else").close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_refunds_that_together_are_what_was_captured_all_succeed() {
    let world = World::start().await;
    let paid = world.pay(100).await;
    let id = paid.id();
    let replies = join_all((0..20).map(|_| world.refund(&id, 5))).await;
    for reply in &replies {
        assert_eq!((reply.status, reply.text("status")), (201, "succeeded"), "{:#}", reply.body);
    }
    let after = world.payment(&id).await;
    assert_eq!((after["amount_refunded"].as_i64(), after["status"].as_str()), (Some(100), Some("succeeded")));
    let over = world.refund(&id, 1).await;
    assert_eq!((over.status, over.text("code")), (422, "refund_exceeds_captured"));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_parallel_captures_of_one_hold_exactly_one_is_sent() {
    let world = World::start().await;
    let hold = world.create(&held(1_000)).await;
    assert_eq!((hold.status, hold.text("status")), (201, "requires_capture"), "{:#}", hold.body);
    assert_eq!(hold.body["amount_capturable"], 1_000);
    assert!(hold.body["capture_before"].is_string());
    let path = format!("/v1/payments/{}/capture", hold.id());
    let keys: Vec<_> = (0..10).map(|_| unique("key")).collect();
    let bodies: Vec<_> = (1..=10).map(|part| json!({"amount": 100 * part})).collect();
    let replies = join_all(keys.iter().zip(&bodies).map(|(key, body)| world.post(&path, key, body))).await;
    let done: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
    assert_eq!(done.len(), 1, "{replies:#?}");
    assert!(replies.iter().filter(|reply| reply.status != 200).all(|reply| reply.status == 409), "{replies:#?}");
    let after = world.payment(&hold.id()).await;
    let captured = after["amount_captured"].as_i64().expect("a number");
    assert_eq!(after["status"], if captured == 1_000 { "succeeded" } else { "partially_captured" });
    assert_eq!(world.book("stripe_main").await.len(), 1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disconnects_cancels_nothing() {
    use tokio::io::AsyncWriteExt;
    let world = World::start().await;
    world.break_channel("stripe_main", &json!({"rate": 1.0, "latency_ms": 300})).await;
    let order = unique("order");
    let body = payment(1_250, &order).to_string();
    let address = world.url.strip_prefix("http://").expect("plain").to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.expect("connected");
    let request = format!(
        "POST /v1/payments HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\nidempotency-key: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        world.key,
        unique("key"),
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    // It goes away as soon as its payment is on disk, while the channel works.
    let id = loop {
        let list = world.get("/v1/payments?limit=5").await;
        if let Some(id) = list.body["data"][0]["id"].as_str() {
            break id.to_owned();
        }
        tokio::task::yield_now().await;
    };
    drop(stream);
    let end = world.finally(&id).await;
    assert_eq!(end["status"], "succeeded");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_canceled_is_released_and_takes_nothing() {
    let world = World::start().await;
    let hold = world.create(&held(1_000)).await;
    let path = format!("/v1/payments/{}/cancel", hold.id());
    let canceled = world.post(&path, &unique("key"), &json!({})).await;
    assert_eq!((canceled.status, canceled.text("status")), (200, "canceled"), "{:#}", canceled.body);
    let again = world.post(&path, &unique("key"), &json!({})).await;
    assert_eq!(again.status, 409, "{:#}", again.body);
    let late = world.post(&format!("/v1/payments/{}/capture", hold.id()), &unique("key"), &json!({})).await;
    assert_eq!(late.status, 409, "{:#}", late.body);
    assert!(world.book("stripe_main").await.is_empty());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_waits_for_its_customer_is_closed_at_the_channel_when_it_is_canceled() {
    let world = World::with(|setup| setup.sandbox.pay_after_ms = 0).await;
    let mut body = payment(1_250, &unique("order"));
    body["payment_method"]["token"] = json!("pm_card_threeDSecureRequired");
    body["return_url"] = json!("https://shop.example/back");
    let waiting = world.create(&body).await;
    assert_eq!(waiting.text("status"), "requires_action", "{:#}", waiting.body);
    let canceled = world.post(&format!("/v1/payments/{}/cancel", waiting.id()), &unique("key"), &json!({})).await;
    assert!([200, 202].contains(&canceled.status), "{:#}", canceled.body);
    let end = world.finally(&waiting.id()).await;
    assert_eq!((end["status"].as_str(), end["outcome"].as_str()), (Some("canceled"), Some("declined")));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_was_taken_before_a_cancel_goes_back_and_the_status_stays_succeeded() {
    let world = World::with(|setup| {
        setup.settings.server.answer_within_ms = 300;
        setup.sandbox.notifications = false;
    })
    .await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "rate": 1.0, "operations": ["pay"]})).await;
    let unknown = world.pay(1_250).await;
    assert_eq!(unknown.status, 202, "{:#}", unknown.body);
    let canceled = world.post(&format!("/v1/payments/{}/cancel", unknown.id()), &unique("key"), &json!({})).await;
    assert!([200, 202].contains(&canceled.status), "{:#}", canceled.body);
    world.heal("stripe_main").await;
    let end = world.eventually(&unknown.id(), |payment| payment["amount_refunded"] == 1_250).await;
    assert_eq!(end["status"], "succeeded");
    assert_eq!(end["refunds"][0]["source"], "cancel");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_while_the_payment_is_unknown_is_told_to_ask_again() {
    let world = World::with(|setup| {
        setup.settings.server.answer_within_ms = 200;
        setup.sandbox.notifications = false;
    })
    .await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "rate": 1.0, "operations": ["pay"]})).await;
    let unknown = world.pay(1_250).await;
    let early = world.refund(&unknown.id(), 10_000).await;
    assert_eq!((early.status, early.text("code"), early.text("retry")), (409, "payment_unresolved", "query"), "{:#}", early.body);
    world.heal("stripe_main").await;
    world.finally(&unknown.id()).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_end_whatever_the_channel_does_and_go_out_once() {
    for mode in [
        "error_processed",
        "error_not_processed",
        "timeout_processed",
        "timeout_not_processed",
        "reset_before",
        "reset_after",
        "malformed",
        "throttle",
        "refuse",
    ] {
        let world = World::with(|setup| {
            setup.settings.server.answer_within_ms = 300;
            setup.sandbox.notifications = false;
        })
        .await;
        let paid = world.pay(1_250).await;
        world.break_channel("stripe_main", &json!({"mode": mode, "rate": 1.0, "operations": ["refund"]})).await;
        let refund = world.refund(&paid.id(), 250).await;
        assert!([201, 202].contains(&refund.status), "{mode}: {:#}", refund.body);
        world.heal("stripe_main").await;
        let end = world.eventually(&paid.id(), |payment| payment["refunds"][0]["status"] != "processing").await;
        assert_eq!((end["refunds"][0]["status"].as_str(), end["amount_refunded"].as_i64()), (Some("succeeded"), Some(250)), "{mode}");
        assert!(is_final(end["status"].as_str().unwrap_or_default()));
        world.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_id_that_was_used_is_answered_with_the_refund_that_it_stands_for() {
    let world = World::start().await;
    let paid = world.pay(1_250).await;
    let body = json!({"payment_id": paid.id(), "merchant_refund_id": "R-1", "amount": 100});
    let first = world.post("/v1/refunds", &unique("key"), &body).await;
    assert_eq!(first.status, 201, "{:#}", first.body);
    let second = world.post("/v1/refunds", &unique("key"), &body).await;
    assert_eq!((second.status, second.text("code"), second.text("existing")), (409, "duplicate_refund", first.text("id")), "{:#}", second.body);
    let found = world.get(&format!("/v1/refunds/{}", first.id())).await;
    assert_eq!((found.status, found.text("merchant_refund_id")), (200, "R-1"));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_database_charge_an_order_once_and_refund_within_the_ceiling() {
    let world = World::start().await;
    let peer = world.peer().await;
    let orders: Vec<_> = (0..40).map(|_| unique("order")).collect();
    // The same order at both, with two keys.
    let pairs = join_all(orders.iter().map(|order| at_both(&world, &peer.url, "/v1/payments", payment(100, order), payment(100, order)))).await;
    let mut paid = Vec::new();
    for (one, two) in &pairs {
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409], "{:#} {:#}", one.body, two.body);
        paid.push(if one.status == 201 { one.id() } else { two.id() });
    }
    let refunds = join_all(paid.iter().map(|id| {
        let body = |name: &str| json!({"payment_id": id, "merchant_refund_id": unique(name), "amount": 60});
        at_both(&world, &peer.url, "/v1/refunds", body("here"), body("there"))
    }))
    .await;
    for (one, two) in refunds {
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 422], "{:#} {:#}", one.body, two.body);
    }
    peer.stop().await;
    world.close().await;
}

/// Sends one body here and one there, at the same instant, each with its own key.
async fn at_both(world: &World, peer: &str, path: &str, here: Value, there: Value) -> (Reply, Reply) {
    let keys = [unique("key"), unique("key")];
    tokio::join!(world.post(path, &keys[0], &here), world.post_to(peer, path, &keys[1], &there))
}

//! Limits: a merchant, a channel's notifications or an address that asks too much is answered 429, and nobody else notices. Time is moved by hand
//! where it matters; where it runs on, counts are bounds and not figures.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use serde_json::json;

use crate::world::{Reply, World, connect, payment, unique};

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.get(name).and_then(|value| value.to_str().ok())
}

fn assert_refused(reply: &Reply) {
    assert_eq!((reply.status, reply.text("code"), reply.text("retry")), (429, "rate_limited", "after"), "{:#}", reply.body);
    let wait: u64 = header(reply, "retry-after").and_then(|text| text.parse().ok()).expect("whole seconds");
    assert!(wait >= 1, "{:?}", reply.headers);
    assert!(reply.text("request_id").starts_with("req_"), "{:#}", reply.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merchant_over_its_limit_is_answered_429_writes_nothing_and_leaves_its_neighbour_alone() {
    let world = World::with(|setup| {
        setup.settings.limits.merchant_writes_per_second = 1;
        setup.settings.limits.merchant_writes_burst = 5;
    })
    .await;
    let neighbour = format!("bwk_test_{}", "cd".repeat(32));
    world.add_merchant("Neighbour", &neighbour).await;
    let flood = join_all((0..60).map(|_| world.pay(1_250))).await;
    let (paid, refused): (Vec<_>, Vec<_>) = flood.iter().partition(|reply| reply.status == 201);
    assert!(paid.len() >= 5 && !refused.is_empty(), "{} were paid", paid.len());
    refused.iter().for_each(|reply| assert_refused(reply));
    for reply in &paid {
        assert_eq!(header(reply, "ratelimit-policy"), Some("\"writes\";q=5;w=5"));
    }
    assert!(refused.iter().all(|reply| header(reply, "ratelimit").is_some_and(|text| text.starts_with("\"writes\";r=0;t="))));
    let rows: i64 = connect(&world).await.query_one("SELECT count(*) FROM payment", &[]).await.expect("readable").get(0);
    assert_eq!(usize::try_from(rows).expect("few"), paid.len(), "what was refused wrote nothing");

    let other = world.post_as(&neighbour, "/v1/payments", &unique("key"), &payment(1_250, &unique("order"))).await;
    assert_eq!((other.status, header(&other, "ratelimit")), (201, Some("\"writes\";r=4;t=1")), "{:#}", other.body);
    let read = world.get("/v1/payments").await;
    assert_eq!((read.status, header(&read, "ratelimit-policy")), (200, Some("\"reads\";q=4000;w=2")), "its reads are counted apart");
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(world.pay(1_250).await.status, 201, "after a pause it may go on");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_waits_for_no_database() {
    let world = World::with(|setup| {
        setup.settings.limits.merchant_reads_per_second = 1;
        setup.settings.limits.merchant_reads_burst = 1;
    })
    .await;
    // The key is remembered from here on.
    assert_eq!(world.get("/v1/payments").await.status, 200);
    let client = connect(&world).await;
    client.batch_execute("BEGIN; LOCK TABLE payment, api_key, merchant IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let mut reads: FuturesUnordered<_> = (0..40).map(|_| world.get("/v1/payments")).collect();
    // One a second may pass, and hangs at the lock; the others come back at once.
    for _ in 0..20 {
        assert_refused(&reads.next().await.expect("an answer"));
    }
    client.batch_execute("COMMIT").await.expect("unlocked");
    while let Some(reply) = reads.next().await {
        assert!([200, 429].contains(&reply.status), "{:#}", reply.body);
    }
    drop(reads);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_guesses_keys_is_not_heard_while_keys_that_are_known_are() {
    let world = World::with(|setup| {
        setup.settings.limits.failures_per_minute = 1;
        setup.settings.limits.failures_burst = 3;
    })
    .await;
    assert_eq!(world.get("/v1/payments").await.status, 200);
    let guess = |n: u8| format!("bwk_test_{}", format!("{n:02x}").repeat(32));
    for n in 0..3 {
        assert_eq!(world.get_as(&guess(n), "/v1/payments").await.status, 401);
    }
    assert_refused(&world.get_as(&guess(9), "/v1/payments").await);
    assert_refused(&world.get_as("bwo_test_guess", "/ops/v1/unknowns").await);
    assert_eq!(world.get("/v1/payments").await.status, 200, "a key that is remembered is heard from the same address");
    world.clock.advance(Duration::from_secs(11));
    assert_eq!(world.get("/v1/payments").await.status, 200, "and when it must be looked up again");
    assert_refused(&world.get_as(&guess(9), "/v1/payments").await);
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(world.get_as(&guess(9), "/v1/payments").await.status, 401, "one more may be tried");
    assert_refused(&world.get_as(&guess(9), "/v1/payments").await);
    world.clock.advance(Duration::from_secs(61));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_each_client_fails_for_itself_and_nobody_can_fail_for_another() {
    let world = World::with(|setup| {
        setup.settings.limits.failures_per_minute = 1;
        setup.settings.limits.failures_burst = 2;
        setup.settings.server.trusted_proxies = vec![breakwater::domain::Network::parse("127.0.0.0/8").expect("a network")];
    })
    .await;
    let guess = format!("bwk_test_{}", "00".repeat(32));
    let from = async |way: &str| {
        let authorization = format!("Bearer {guess}");
        Reply::of(world.send("GET", "/v1/payments", &[("authorization", &authorization), ("x-forwarded-for", way)], "").await).status
    };
    for expected in [401, 401, 429] {
        assert_eq!(from("203.0.113.9").await, expected);
    }
    assert_eq!(from("198.51.100.1, 203.0.113.9").await, 429, "what it claims to come from itself helps nobody");
    assert_eq!(from("203.0.113.9, 198.51.100.1").await, 401, "and harms nobody");
    assert_eq!(world.get("/v1/payments").await.status, 200);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_forged_notifications_is_refused_cheaply_and_payments_go_on() {
    let world = World::with(|setup| {
        setup.settings.limits.failures_per_minute = 1;
        setup.settings.limits.failures_burst = 5;
        setup.settings.server.trusted_proxies = vec![breakwater::domain::Network::parse("127.0.0.0/8").expect("a network")];
    })
    .await;
    let forged = async || {
        let headers = [("stripe-signature", "t=1,v1=00"), ("x-forwarded-for", "203.0.113.9")];
        Reply::of(world.send("POST", "/v1/notifications/stripe_main", &headers, r#"{"id":"evt_1","type":"payment_intent.succeeded"}"#).await)
    };
    for _ in 0..5 {
        assert_eq!(forged().await.text("code"), "notification_refused");
    }
    let flood = join_all((0..200).map(|_| forged())).await;
    let looked_at = flood.iter().filter(|reply| reply.status == 400).count();
    assert!(looked_at <= 5, "{looked_at} signatures were looked at");
    flood.iter().filter(|reply| reply.status != 400).for_each(assert_refused);
    // Charged and never answered: only the provider's true notification can tell, and it still gets through.
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "rate": 1.0, "operations": ["pay", "query"]})).await;
    let told = world.pay(1_250).await;
    assert_eq!(world.finally(&told.id()).await["status"], "succeeded");
    world.heal("stripe_main").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_takes_only_so_many_notifications_and_what_it_misses_is_asked_for() {
    let world = World::with(|setup| {
        setup.settings.limits.notifications_per_second = 1;
        setup.settings.limits.notifications_burst = 2;
    })
    .await;
    let sent = join_all((0..60).map(|_| world.send("POST", "/v1/notifications/stripe_main", &[], "{}"))).await;
    let replies: Vec<Reply> = sent.into_iter().map(Reply::of).collect();
    assert!(replies.iter().any(|reply| reply.status == 429), "all were heard");
    replies.iter().filter(|reply| reply.status == 429).for_each(assert_refused);
    let elsewhere = Reply::of(world.send("POST", "/v1/notifications/stripe_backup", &[], "{}").await);
    assert_eq!(elsewhere.text("code"), "notification_refused", "each channel for itself");
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "rate": 1.0})).await;
    let paid = world.pay(1_250).await;
    assert_eq!(world.finally(&paid.id()).await["status"], "succeeded");
    world.heal("stripe_main").await;
    assert_eq!(world.get("/v1/payments").await.body["data"].as_array().map(Vec::len), Some(1));
    world.close().await;
}

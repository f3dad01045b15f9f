//! The work in parts: processes that share it, connections that no other kind of flow can take, and rows that hold up nobody.

use std::time::Duration;

use breakwater::domain::{Part, PaymentId};
use breakwater::store::lease::Room;
use breakwater::store::{Opening, PoolSizes, Share, Store, StoreError};
use serde_json::json;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::database;
use crate::world::{World, is_final, payment, unique};

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("the database");
    tokio::spawn(connection);
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_with_disjoint_parts_work_together_on_one_database() {
    let world = World::with(|setup| setup.settings.server.roles = [Part::Payment, Part::Notifier, Part::Ops].into_iter().collect()).await;
    let refunds = world.peer_with(|settings| settings.server.roles = [Part::Refund].into_iter().collect()).await;
    let poller = world.peer_with(|settings| settings.server.roles = [Part::Poller].into_iter().collect()).await;

    // What a process does not take on, it says so, and writes nothing: the same key is good elsewhere.
    let paid = world.pay(1_250).await;
    assert_eq!((paid.status, paid.text("status")), (201, "succeeded"), "{:#}", paid.body);
    let refund = json!({"payment_id": paid.id(), "merchant_refund_id": unique("refund"), "amount": 250});
    let key = unique("key");
    let refused = world.post("/v1/refunds", &key, &refund).await;
    let told = (refused.status, refused.text("code"), refused.text("source"), refused.text("retry"));
    assert_eq!(told, (503, "role_not_served", "breakwater", "same_key"), "{:#}", refused.body);
    let elsewhere = world.post_to(&refunds.url, "/v1/payments", &unique("key"), &payment(100, &unique("order"))).await;
    assert_eq!((elsewhere.status, elsewhere.text("code")), (503, "role_not_served"));
    let elsewhere = world.post_to(&poller.url, "/ops/v1/unknowns/requery", &unique("key"), &json!({})).await;
    assert_eq!((elsewhere.status, elsewhere.text("code")), (503, "role_not_served"));

    let endpoint = json!({"url": "https://shop.example/hooks", "events": ["payment.succeeded"]});
    let elsewhere = world.post_to(&refunds.url, "/v1/webhook_endpoints", &unique("key"), &endpoint).await;
    assert_eq!((elsewhere.status, elsewhere.text("code")), (503, "role_not_served"), "endpoints are managed where webhooks are sent");

    let given_back = world.post_to(&refunds.url, "/v1/refunds", &key, &refund).await;
    assert_eq!((given_back.status, given_back.text("status")), (201, "succeeded"), "{:#}", given_back.body);
    let read = world.get(&format!("/v1/refunds/{}", given_back.id())).await;
    assert_eq!((read.status, read.text("status")), (200, "succeeded"), "every process serves reads");

    // An unknown of the one is resolved by the other: the channel never heard of it, so nobody tells of it either.
    world.break_channel("stripe_main", &json!({"mode": "timeout_not_processed", "rate": 1.0, "operations": ["pay", "query"]})).await;
    let unknown = world.pay(3_000).await;
    assert_eq!((unknown.status, unknown.text("outcome")), (202, "unknown"), "{:#}", unknown.body);
    world.heal("stripe_main").await;
    world.finally(&unknown.id()).await;

    // A refund whose channel is shut waits in the queue of the process that has refunds.
    world.break_channel("stripe_main", &json!({"mode": "error_not_processed", "rate": 1.0, "operations": ["refund"]})).await;
    let queued = json!({"payment_id": paid.id(), "merchant_refund_id": unique("refund"), "amount": 500});
    let queued = world.post_to(&refunds.url, "/v1/refunds", &unique("key"), &queued).await;
    assert_eq!(queued.status, 202, "{:#}", queued.body);
    world.heal("stripe_main").await;
    world.eventually(&paid.id(), |payment| payment["amount_refunded"] == 750).await;

    world.referee().await;
    poller.stop().await;
    refunds.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_for_payments_alone_asks_a_healed_channel_a_question_before_it_risks_a_payment_there() {
    let world = World::with(|setup| setup.settings.server.roles = [Part::Payment, Part::Ops].into_iter().collect()).await;
    let pinned = || {
        let mut body = payment(1_250, &unique("order"));
        body["channel"] = json!("stripe_main");
        body
    };
    let state = || async { world.ops("/ops/v1/channels").await.body["data"][0]["breaker"]["pay"]["state"].as_str().map(str::to_owned) };
    world.break_channel("stripe_main", &json!({"mode": "refuse"})).await;
    let mut tries = 0;
    while state().await.as_deref() != Some("open") {
        assert!(tries < 50, "nothing trips the breaker");
        tries += 1;
        world.create(&pinned()).await;
        // A run of failures counts when it lasts.
        world.clock.advance(Duration::from_millis(60));
    }
    world.heal("stripe_main").await;
    // Past the opening itself, and far from the time after which it would end without a question.
    world.clock.advance(Duration::from_secs(2));
    let mut looks = 0;
    while state().await.as_deref() == Some("open") {
        assert!(looks < 400, "it stays shut");
        looks += 1;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    while state().await.as_deref() != Some("closed") {
        let paid = world.create(&pinned()).await;
        assert_eq!((paid.status, paid.text("status")), (201, "succeeded"), "{:#}", paid.body);
    }
    // What the breaker did is read out a few times a second.
    let mut pay = Vec::new();
    while !pay.contains(&("half_open".to_owned(), "closed".to_owned(), "probes_succeeded".to_owned())) {
        let told = world.ops("/ops/v1/channels/stripe_main/timeline?seconds=900").await.body;
        let word = |event: &serde_json::Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let events = told["events"].as_array().expect("a list").iter().filter(|event| event["operation"] == "pay");
        pay = events.map(|event| (word(event, "from"), word(event, "to"), word(event, "reason"))).collect();
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let opened: Vec<_> = pay.iter().filter(|(_, to, _)| to == "half_open").map(|(_, _, reason)| reason.as_str()).collect();
    assert_eq!(opened, ["waited"], "a question was answered, and not time alone let payments go: {pay:?}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refunds_that_hang_leaves_payments_untouched() {
    let world = World::with(|setup| setup.settings.limits.refund_flows = 16).await;
    let mut paid = Vec::new();
    for _ in 0..4 {
        paid.push(world.pay(100_000).await.id());
    }
    world.break_channel("stripe_main", &json!({"mode": "timeout_not_processed", "rate": 1.0, "operations": ["refund"]})).await;
    let flood = futures_util::future::join_all((0..40).map(|place| {
        let (world, id) = (&world, &paid[place % paid.len()]);
        async move { world.refund(id, 10).await.status }
    }));
    let payments = futures_util::future::join_all((0..20).map(|_| world.pay(700)));
    let (told, taken) = tokio::join!(flood, payments);
    for reply in &taken {
        assert_eq!((reply.status, reply.text("status")), (201, "succeeded"), "{:#}", reply.body);
    }
    assert!(told.iter().all(|status| matches!(status, 202 | 503)), "{told:?}");
    assert!(told.contains(&202), "{told:?}");
    world.heal("stripe_main").await;
    for id in &paid {
        world
            .eventually(id, |payment| payment["refunds"].as_array().is_some_and(|all| all.iter().all(|refund| refund["status"] == "succeeded")))
            .await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_refunds_connections_takes_none_from_payments_and_waits_no_longer_than_the_settings_say() {
    let url = database::fresh().await;
    let opening =
        Opening { sizes: PoolSizes { journal: 2, reads: 4, channels: 0 }, instances: 1, max_wait: Duration::from_millis(200), replica: None };
    let store = Store::open_as(&url, opening, &Handle::current()).await.expect("a store");
    let lock = connect(&url).await;
    lock.batch_execute("BEGIN; LOCK TABLE idempotency IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let hanging = tokio::spawn({
        let store = store.clone();
        async move { Share::Refunds.carry(store.known_key(Uuid::nil())).await.map(|_| ()) }
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    while lock.query_one(waits, &[]).await.expect("readable").get::<_, i64>(0) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let read = |share: Share| share.carry(store.payment(PaymentId(Uuid::nil())));
    assert!(matches!(read(Share::Payments).await, Ok(None)), "payments have connections of their own");
    assert!(matches!(read(Share::Poller).await, Ok(None)), "and so has the poller");
    assert!(matches!(store.payment(PaymentId(Uuid::nil())).await, Ok(None)), "and everybody else");
    assert!(matches!(read(Share::Refunds).await, Err(StoreError::Away(_))), "refunds have one, and it is taken");
    assert!(!hanging.is_finished(), "nothing of this waited for the lock");
    lock.batch_execute("ROLLBACK").await.expect("unlocked");
    assert!(hanging.await.expect("ends").is_ok());
    assert!(matches!(read(Share::Refunds).await, Ok(None)));
}

#[tokio::test]
async fn pools_that_do_not_fit_the_server_are_refused() {
    let url = database::fresh().await;
    let sizes = PoolSizes { journal: 2, reads: 4, channels: 1_000 };
    let refused = Store::open(&url, sizes, &Handle::current()).await.expect_err("too many");
    assert!(refused.to_string().contains("add up to 1006 connections"), "{refused}");
}

#[tokio::test]
async fn pools_of_which_only_those_of_one_process_fit_the_server_are_refused_where_there_are_several() {
    let url = database::fresh().await;
    let opening = |instances| {
        let sizes = PoolSizes { journal: 2, reads: 4, channels: 14 };
        Opening { sizes, instances, max_wait: Duration::from_secs(5), replica: None }
    };
    Store::open_as(&url, opening(1), &Handle::current()).await.expect("one fits");
    let refused = Store::open_as(&url, opening(1_000), &Handle::current()).await.expect_err("a thousand do not");
    assert!(refused.to_string().contains("add up to 20 connections, those of 1000 instances to 20000, and the server allows "), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_fails_by_a_fault_of_ours_is_set_aside_while_the_batch_goes_on() {
    let world = World::start().await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "rate": 1.0, "operations": ["pay", "query"]})).await;
    let (poison, sound) = (world.pay(1_000).await.id(), world.pay(2_000).await.id());
    let client = connect(&world.database_url).await;
    let id = poison.parse::<PaymentId>().expect("an id").0;
    let method: String = client.query_one("SELECT method FROM payment WHERE id = $1", &[&id]).await.expect("readable").get(0);
    client.execute("UPDATE payment SET method = 'what nobody can read' WHERE id = $1", &[&id]).await.expect("written");
    world.heal("stripe_main").await;
    world.finally(&sound).await;

    // Its waits between two looks are cut short; nothing else of it is touched.
    let set_aside = "SELECT set_aside_at IS NOT NULL FROM attempt WHERE payment_id = $1";
    let hasten = "UPDATE attempt SET due_at = now() WHERE payment_id = $1 AND set_aside_at IS NULL AND lease_until IS NULL";
    let mut is_set_aside = false;
    for _ in 0..400 {
        client.execute(hasten, &[&id]).await.expect("written");
        is_set_aside = client.query_one(set_aside, &[&id]).await.expect("readable").get(0);
        if is_set_aside {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_set_aside, "five faults of ours set it aside");
    let listed = world.ops("/ops/v1/unknowns").await;
    let mine = listed.body["data"].as_array().expect("a list").iter().find(|unknown| unknown["payment_id"] == poison.as_str());
    assert!(mine.is_some_and(|unknown| unknown["attempts"][0]["set_aside_at"].is_string()), "{:#}", listed.body);
    world.eventually_metric("breakwater_poller_set_aside", |count| count >= 1.0).await;
    let now = world.clock.wall();
    let nobody = world.running.store.claim_due(Uuid::new_v4(), now + jiff::SignedDuration::from_hours(1), now, 100, &[]).await;
    assert!(nobody.expect("readable").iter().all(|claim| claim.payment.0 != id), "no poller takes it");

    client.execute("UPDATE payment SET method = $2 WHERE id = $1", &[&id, &method]).await.expect("written");
    let authorization = format!("Bearer {}", world.ops_token);
    let body = json!({"payment_ids": [poison], "reason": "mended"}).to_string();
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let asked = world.send("POST", "/ops/v1/unknowns/requery", &headers, &body).await;
    assert_eq!(asked.status, 202);
    let mended = world.eventually(&poison, |payment| is_final(payment["status"].as_str().unwrap_or_default())).await;
    assert_eq!(mended["status"], "succeeded");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pollers_side_by_side_never_take_one_attempt_twice() {
    let world = World::with(|setup| setup.settings.server.roles = [Part::Payment].into_iter().collect()).await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "rate": 1.0, "operations": ["pay", "query"]})).await;
    let made = futures_util::future::join_all((0..8).map(|_| world.pay(1_000))).await;
    let client = connect(&world.database_url).await;
    client.execute("UPDATE attempt SET due_at = now() - interval '1 hour', lease_until = NULL", &[]).await.expect("written");
    let now = world.clock.wall();
    let until = now + jiff::SignedDuration::from_secs(60);
    let takers = (0..4).map(|_| world.running.store.claim_due(Uuid::new_v4(), now, until, 3, &[]));
    let taken: Vec<_> = futures_util::future::join_all(takers).await.into_iter().flat_map(|claims| claims.expect("readable")).collect();
    let mut once: Vec<_> = taken.iter().map(|claim| (claim.payment, claim.n)).collect();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), taken.len(), "{taken:?}");
    assert_eq!(once.len(), made.len(), "and each is taken by somebody");
    client.execute("UPDATE attempt SET due_at = now(), lease_until = NULL, lease_owner = NULL", &[]).await.expect("written");
    world.heal("stripe_main").await;
    let poller = world.peer_with(|settings| settings.server.roles = [Part::Poller, Part::Refund].into_iter().collect()).await;
    for payment in made {
        world.finally(&payment.id()).await;
    }
    poller.stop().await;
    world.close().await;
}

/// Unknown payments at both channels, those at the first due for longer. Nothing looks at them yet.
async fn backlog(world: &World, client: &tokio_postgres::Client, at_main: usize) -> (Vec<String>, String) {
    for channel in ["stripe_main", "stripe_backup"] {
        world.break_channel(channel, &json!({"mode": "timeout_processed", "rate": 1.0, "operations": ["pay"]})).await;
    }
    let pay = |channel: &'static str| async move {
        let mut body = payment(1_250, &unique("order"));
        body["channel"] = json!(channel);
        let unknown = world.create(&body).await;
        assert_eq!((unknown.status, unknown.text("outcome")), (202, "unknown"), "{:#}", unknown.body);
        unknown.id()
    };
    let main = futures_util::future::join_all((0..at_main).map(|_| pay("stripe_main"))).await;
    let backup = pay("stripe_backup").await;
    let due = "UPDATE attempt SET due_at = now() - CASE channel WHEN 'stripe_main' THEN interval '1 hour' + random() * interval '1 minute' \
               ELSE interval '1 second' END, lease_until = NULL, lease_owner = NULL";
    client.execute(due, &[]).await.expect("written");
    world.heal("stripe_backup").await;
    (main, backup)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_is_taken_from_every_channel_the_longest_due_first_and_a_long_backlog_is_no_others() {
    let world = World::with(|setup| {
        setup.sandbox.notifications = false;
        setup.settings.server.roles = [Part::Payment].into_iter().collect();
        setup.settings.server.answer_within_ms = 2_000;
    })
    .await;
    let client = connect(&world.database_url).await;
    let (main, backup) = backlog(&world, &client, 6).await;
    let now = world.clock.wall();
    let until = now + jiff::SignedDuration::from_secs(60);
    let oldest = "SELECT payment_id FROM attempt WHERE channel = 'stripe_main' ORDER BY due_at";
    let oldest: Vec<Uuid> = client.query(oldest, &[]).await.expect("readable").iter().map(|row| row.get(0)).collect();
    let taken = async |limit: i64, rooms: &[Room]| {
        let mut taken = world.running.store.claim_due(Uuid::new_v4(), now, until, limit, rooms).await.expect("readable");
        client.execute("UPDATE attempt SET lease_until = NULL, lease_owner = NULL", &[]).await.expect("written");
        taken.sort_by_key(|claim| claim.due_at);
        taken.into_iter().map(|claim| claim.payment.0).collect::<Vec<_>>()
    };
    let last = backup.parse::<PaymentId>().expect("an id").0;
    assert_eq!(taken(4, &[]).await, [oldest[0], oldest[1], oldest[2], last], "the other channel has a part, and what it does not need is taken here");
    assert_eq!(taken(1, &[]).await, [oldest[0]], "of one place the longest due has it");
    let room = |channel: &str, places| Room { channel: channel.to_owned(), places };
    assert_eq!(taken(4, &[room("stripe_main", 2)]).await, [oldest[0], oldest[1], last], "no more than there is room for");
    assert_eq!(taken(4, &[room("stripe_main", 0), room("nobody", 4)]).await, [last], "and none where there is no room");
    assert_eq!(taken(100, &[]).await.len(), 7);
    world.heal("stripe_main").await;
    let poller = world.peer_with(|settings| settings.server.roles = [Part::Poller, Part::Refund].into_iter().collect()).await;
    for id in main.iter().chain([&backup]) {
        world.in_time(id, |payment| is_final(payment["status"].as_str().unwrap_or_default())).await;
    }
    poller.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_with_a_backlog_that_hangs_leaves_the_others_places_to_be_asked_in() {
    let world = World::with(|setup| {
        setup.provider = crate::inbox::touchy_main;
        setup.timeout_ms = 8_000;
        setup.settings.server.deadline_ms = 1_000;
        setup.sandbox.notifications = false;
        setup.settings.server.roles = [Part::Payment].into_iter().collect();
        setup.settings.server.answer_within_ms = 2_000;
    })
    .await;
    let client = connect(&world.database_url).await;
    let (main, backup) = backlog(&world, &client, 12).await;
    let looks = async || {
        let sql = "SELECT count(*) FILTER (WHERE lease_until IS NOT NULL), sum(tries) FROM attempt WHERE channel = 'stripe_main'";
        let row = client.query_one(sql, &[]).await.expect("readable");
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    let (_, ended_before) = looks().await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_not_processed", "rate": 1.0, "operations": ["query"]})).await;
    let poller = world.peer_with(|settings| {
        settings.server.roles = [Part::Poller, Part::Refund].into_iter().collect();
        settings.limits.inquiries = 8;
        settings.poller.batch = 8;
    });
    let poller = poller.await;
    world.finally(&backup).await;
    let (held, ended) = looks().await;
    assert_eq!((held, ended), (4, ended_before), "half of the places are its own, and none of its looks has ended");
    world.heal("stripe_main").await;
    for id in &main {
        world.in_time(id, |payment| is_final(payment["status"].as_str().unwrap_or_default())).await;
    }
    poller.stop().await;
    world.close().await;
}

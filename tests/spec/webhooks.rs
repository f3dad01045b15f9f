//! Webhooks to merchants, from the payment to the merchant's socket. Time is moved by hand; the network is real.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::webhook_receiver::{Heard, OK, Receiver, Script};
use crate::world::{Reply, World, unique};

const HOUR: Duration = Duration::from_secs(3_600);
/// A pause in which several rounds of the notifier fit; for what must not happen.
const ROUNDS: Duration = Duration::from_millis(300);

async fn open_world() -> World {
    World::with(|setup| setup.settings.webhooks.allow_private = true).await
}

async fn endpoint(world: &World, url: &str) -> Reply {
    let reply = world.post("/v1/webhook_endpoints", "unused", &json!({"url": url})).await;
    assert_eq!(reply.status, 201, "{:#}", reply.body);
    reply
}

async fn send(world: &World, method: &str, path: &str, body: &Value) -> Reply {
    let authorization = format!("Bearer {}", world.key);
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    Reply::of(world.send(method, path, &headers, &body.to_string()).await)
}

async fn log(world: &World, endpoint: &str) -> Vec<Value> {
    let reply = world.get(&format!("/v1/webhook_endpoints/{endpoint}/deliveries?limit=100")).await;
    assert_eq!(reply.status, 200, "{:#}", reply.body);
    reply.body["data"].as_array().expect("a list").clone()
}

/// The newest line of the log, or null.
async fn newest(world: &World, endpoint: &str) -> Value {
    log(world, endpoint).await.into_iter().next().unwrap_or(Value::Null)
}

/// Waits until `found` finds something.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut found: impl FnMut() -> F) -> T {
    for _ in 0..400 {
        if let Some(found) = found().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("it never came about: {what}");
}

async fn taken(receiver: &Receiver, count: usize) -> Vec<Heard> {
    until(&format!("{count} webhooks were taken"), || async { Some(receiver.taken()).filter(|taken| taken.len() >= count) }).await
}

async fn heard(receiver: &Receiver, count: usize) -> Vec<Heard> {
    until(&format!("{count} webhooks were heard"), || async { Some(receiver.heard()).filter(|heard| heard.len() >= count) }).await
}

/// The numbers of each payment's events, in the order in which they were taken.
fn by_payment(taken: &[Heard]) -> BTreeMap<String, Vec<i64>> {
    let mut payments: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (payment, sequence) in taken.iter().map(Heard::place) {
        payments.entry(payment).or_default().push(sequence);
    }
    payments
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_shows_the_object_as_get_does_under_a_signature_that_an_independent_receiver_believes() {
    let world = open_world().await;
    let receiver = Receiver::start(OK).await;
    let endpoint = endpoint(&world, &receiver.url).await;
    let secret = endpoint.text("secret").to_owned();
    let paid = world.pay(1_250).await.id();
    let refund = world.refund(&paid, 250).await.id();
    let taken = taken(&receiver, 3).await;
    let kinds: Vec<String> = taken.iter().map(Heard::kind).collect();
    assert_eq!(kinds, ["payment.succeeded", "refund.created", "refund.succeeded"], "and nothing of attempts");
    for heard in &taken {
        assert!(heard.id.starts_with("evt_"), "{}", heard.id);
        assert!(heard.is_signed_with(&secret));
        assert!(!heard.is_signed_with("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "the check can fail");
        let sent: i64 = heard.timestamp.parse().expect("seconds");
        assert!(world.clock.wall().as_second().abs_diff(sent) < 60);
        let message = heard.json();
        let fields: Vec<&String> = message.as_object().expect("an object").keys().collect();
        assert_eq!(fields, ["data", "timestamp", "type"]);
        let event = world.get(&format!("/v1/events/{}", heard.id)).await;
        assert_eq!((event.status, event.text("type")), (200, message["type"].as_str().expect("a type")));
        assert_eq!(event.body["sequence"], message["data"]["sequence"]);
        assert_eq!(event.body["created_at"], message["timestamp"]);
    }
    assert_eq!(taken[2].json()["data"]["object"], world.get(&format!("/v1/refunds/{refund}")).await.body);
    assert_eq!(taken[0].json()["data"]["object"]["id"], paid.as_str());
    assert_eq!(taken[0].json()["data"]["object"]["status"], "succeeded");
    let shown = world.get(&format!("/v1/webhook_endpoints/{}", endpoint.id())).await;
    assert!(shown.body.get("secret").is_none(), "a secret is shown once");
    world.eventually_metric("breakwater_webhook_deliveries_total{outcome=\"delivered\"}", |count| count >= 3.0).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_was_down_for_hours_gets_everything_in_order_and_delays_no_other() {
    let world = open_world().await;
    let (down, up) = (Receiver::start(Script::Answer("503 Service Unavailable")).await, Receiver::start(OK).await);
    let id = endpoint(&world, &down.url).await.id();
    let up_id = endpoint(&world, &up.url).await.id();
    let mut told = 0;
    for hour in 0..6 {
        for _ in 0..2 {
            let paid = world.pay(1_000).await.id();
            world.refund(&paid, 100).await;
            told += 3;
        }
        // The other endpoint has heard it before the clock is moved.
        assert_eq!(taken(&up, told).await.len(), told, "hour {hour}");
        // A clock that jumps over a lease would make a delivery that is not noted yet once more.
        until("it is noted", || async { log(&world, &up_id).await.iter().all(|line| line["state"] == "delivered").then_some(()) }).await;
        for _ in 0..6 {
            world.clock.advance(HOUR / 6);
            tokio::time::sleep(ROUNDS / 3).await;
        }
    }
    let attempts_while_down = down.heard().len();
    assert!(attempts_while_down >= 5, "it was tried until it was shut: {attempts_while_down}");
    assert!(attempts_while_down < 100, "a shut endpoint is left alone: {attempts_while_down}");
    assert!(down.taken().is_empty());
    let shown = world.get(&format!("/v1/webhook_endpoints/{id}")).await;
    assert!(shown.body["paused_until"].is_string(), "{:#}", shown.body);

    tokio::time::sleep(ROUNDS).await;
    down.answer(OK);
    world.clock.advance(HOUR);
    let all = taken(&down, told).await;
    let (late, prompt) = (by_payment(&all), by_payment(&up.taken()));
    assert_eq!(late.len(), 12);
    for (payment, sequences) in &late {
        assert!(sequences.is_sorted_by(|one, two| one < two), "{payment}: {sequences:?}");
        assert_eq!(Some(sequences), prompt.get(payment));
    }
    let log = until("the log says so", || async {
        let log = log(&world, &id).await;
        log.iter().all(|line| line["state"] == "delivered").then_some(log)
    })
    .await;
    assert_eq!(log.len(), told);
    assert!(log.iter().any(|line| line["attempts"].as_i64() > Some(1)), "{log:#?}");
    assert!(log.iter().any(|line| line["attempts"] == 1), "what came while it was shut was not wasted on it");
    let shown = world.get(&format!("/v1/webhook_endpoints/{id}")).await;
    assert_eq!((&shown.body["failures_in_a_row"], &shown.body["paused_until"]), (&json!(0), &Value::Null));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_never_answers_delays_no_other_and_no_payment() {
    let world = open_world().await;
    let (stalled, prompt) = (Receiver::start(Script::Stall).await, Receiver::start(OK).await);
    let id = endpoint(&world, &stalled.url).await.id();
    endpoint(&world, &prompt.url).await;
    for _ in 0..20 {
        assert_eq!(world.pay(1_000).await.status, 201);
    }
    taken(&prompt, 20).await;
    assert!(stalled.heard().len() <= 8, "its window bounds what is under way: {}", stalled.heard().len());
    until("the time-out is in the log", || async {
        log(&world, &id).await.iter().any(|line| line["last_error"] == "no answer in time").then_some(())
    })
    .await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_sent_again_to_the_byte_after_five_seconds_five_minutes_and_half_an_hour() {
    let world = open_world().await;
    let receiver = Receiver::start(Script::Answer("500 Internal Server Error")).await;
    let id = endpoint(&world, &receiver.url).await.id();
    world.pay(1_000).await;
    for (tries, (too_early, then)) in (1..).zip([(4, 2), (290, 45), (1_700, 400)]) {
        heard(&receiver, tries).await;
        until("the failure is noted", || async { (newest(&world, &id).await["attempts"] == tries).then_some(()) }).await;
        world.clock.advance(Duration::from_secs(too_early));
        tokio::time::sleep(ROUNDS).await;
        assert_eq!(receiver.heard().len(), tries, "not yet");
        world.clock.advance(Duration::from_secs(then));
    }
    let heard = heard(&receiver, 4).await;
    assert!(heard.iter().all(|one| one.id == heard[0].id && one.body == heard[0].body), "the same event, the same bytes");
    let times: BTreeSet<&String> = heard.iter().map(|one| &one.timestamp).collect();
    assert_eq!(times.len(), 4, "each with its own time");
    let line = newest(&world, &id).await;
    assert_eq!((&line["state"], &line["last_status"], &line["last_error"]), (&json!("pending"), &json!(500), &json!("it answered 500")));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_tenth_try_it_is_given_up_and_can_be_redelivered() {
    let world = open_world().await;
    let receiver = Receiver::start(Script::Answer("500 Internal Server Error")).await;
    let id = endpoint(&world, &receiver.url).await.id();
    world.pay(1_000).await;
    for tries in 1..=10 {
        heard(&receiver, tries).await;
        until("the failure is noted", || async { (newest(&world, &id).await["attempts"] == tries).then_some(()) }).await;
        world.clock.advance(27 * HOUR);
    }
    assert_eq!(newest(&world, &id).await["state"], "failed");
    tokio::time::sleep(ROUNDS).await;
    assert_eq!(receiver.heard().len(), 10);
    receiver.answer(OK);
    let event = receiver.heard()[0].id.clone();
    let again = world.post(&format!("/v1/events/{event}/redeliver"), "unused", &json!({})).await;
    assert_eq!((again.status, again.body["data"][0]["state"].as_str()), (202, Some("pending")), "{:#}", again.body);
    world.clock.advance(HOUR);
    assert_eq!(taken(&receiver, 1).await[0].id, event);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_secret_rotates_both_sign_and_after_a_day_only_the_new_one() {
    let world = open_world().await;
    let receiver = Receiver::start(OK).await;
    let made = endpoint(&world, &receiver.url).await;
    let old = made.text("secret").to_owned();
    let rotated = world.post(&format!("/v1/webhook_endpoints/{}/rotate_secret", made.id()), "unused", &json!({})).await;
    assert_eq!(rotated.status, 200, "{:#}", rotated.body);
    let new = rotated.text("secret").to_owned();
    assert_ne!(old, new);
    world.pay(1_000).await;
    let first = taken(&receiver, 1).await.remove(0);
    assert!(first.is_signed_with(&old) && first.is_signed_with(&new));
    assert_eq!(first.signature.split(' ').count(), 2);
    world.clock.advance(25 * HOUR);
    world.pay(1_000).await;
    let second = taken(&receiver, 2).await.remove(1);
    assert!(second.is_signed_with(&new) && !second.is_signed_with(&old));
    assert_eq!(second.signature.split(' ').count(), 1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_answers_410_is_turned_off_until_its_merchant_turns_it_on() {
    let world = open_world().await;
    let receiver = Receiver::start(Script::Answer("410 Gone")).await;
    let id = endpoint(&world, &receiver.url).await.id();
    let path = format!("/v1/webhook_endpoints/{id}");
    world.pay(1_000).await;
    until("it is turned off", || async { (world.get(&path).await.body["enabled"] == false).then_some(()) }).await;
    assert_eq!(world.get(&path).await.body["disabled_reason"], "gone");
    until("the delivery is given up", || async { (newest(&world, &id).await["state"] == "failed").then_some(()) }).await;
    receiver.answer(OK);
    world.pay(1_000).await;
    world.clock.advance(HOUR);
    tokio::time::sleep(ROUNDS).await;
    assert_eq!(receiver.heard().len(), 1);
    let refused = world.post(&format!("{path}/replay"), "unused", &json!({"from": "2020-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z"})).await;
    assert_eq!((refused.status, refused.text("code")), (409, "webhook_endpoint_disabled"));
    let on = send(&world, "PATCH", &path, &json!({"enabled": true})).await;
    assert_eq!((on.status, &on.body["disabled_reason"]), (200, &Value::Null), "{:#}", on.body);
    let replay = world.post(&format!("{path}/replay"), "unused", &json!({"from": "2020-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z"})).await;
    assert_eq!((replay.status, &replay.body["queued"], &replay.body["has_more"]), (202, &json!(2), &json!(false)), "{:#}", replay.body);
    taken(&receiver, 2).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_asks_for_a_pause_gets_it() {
    let world = open_world().await;
    let receiver = Receiver::start(Script::Answer("429 Too Many Requests\r\nretry-after: 3600")).await;
    let id = endpoint(&world, &receiver.url).await.id();
    world.pay(1_000).await;
    until("the answer is noted", || async { (newest(&world, &id).await["last_status"] == 429).then_some(()) }).await;
    receiver.answer(OK);
    world.pay(1_000).await;
    world.clock.advance(HOUR * 9 / 10);
    tokio::time::sleep(ROUNDS).await;
    assert_eq!(receiver.heard().len(), 1, "neither the same nor another is sent meanwhile");
    world.clock.advance(HOUR / 5);
    taken(&receiver, 2).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_a_failure() {
    let world = open_world().await;
    let elsewhere = Receiver::start(OK).await;
    let location = format!("307 Temporary Redirect\r\nlocation: {}", elsewhere.url);
    let receiver = Receiver::start(Script::Answer(Box::leak(location.into_boxed_str()))).await;
    let id = endpoint(&world, &receiver.url).await.id();
    world.pay(1_000).await;
    let line = until("the answer is noted", || async { Some(newest(&world, &id).await).filter(|line| line["last_status"] == 307) }).await;
    assert_eq!(line["state"], "pending");
    assert!(elsewhere.heard().is_empty());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_is_refused_when_it_is_given_and_when_it_is_connected_to() {
    let world = World::start().await;
    let receiver = Receiver::start(OK).await;
    for url in [
        receiver.url.as_str(),
        "https://10.0.0.1/",
        "https://[::ffff:192.168.0.1]/",
        "https://169.254.169.254/",
        "https://localhost/",
        "http://2130706433/",
    ] {
        let refused = world.post("/v1/webhook_endpoints", "unused", &json!({"url": url})).await;
        assert_eq!((refused.status, refused.text("code"), refused.text("param")), (422, "webhook_url_refused", "url"), "{url}");
    }
    let id = endpoint(&world, "https://shop.example/hooks").await.id();
    let moved = send(&world, "PATCH", &format!("/v1/webhook_endpoints/{id}"), &json!({"url": receiver.url})).await;
    assert_eq!((moved.status, moved.text("code")), (422, "webhook_url_refused"));
    // Whatever way it got there: as if the name had come to mean this.
    let (client, connection) = tokio_postgres::connect(&world.database_url, tokio_postgres::NoTls).await.expect("the database");
    tokio::spawn(connection);
    client.execute("UPDATE webhook_endpoint SET url = $1", &[&receiver.url]).await.expect("moved");
    world.pay(1_000).await;
    let line = until("the refusal is noted", || async { log(&world, &id).await.into_iter().find(|line| line["last_error"].is_string()) }).await;
    assert_eq!(line["last_error"], "the host resolves to a private or special address, which is refused");
    assert!(receiver.heard().is_empty());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_hears_only_the_types_that_it_wants_and_only_while_it_is_on() {
    let world = open_world().await;
    let receiver = Receiver::start(OK).await;
    let made =
        world.post("/v1/webhook_endpoints", "unused", &json!({"url": receiver.url, "types": ["refund.succeeded"], "description": "books"})).await;
    assert_eq!((made.status, &made.body["types"], made.text("description")), (201, &json!(["refund.succeeded"]), "books"), "{:#}", made.body);
    let path = format!("/v1/webhook_endpoints/{}", made.id());
    let paid = world.pay(1_000).await.id();
    world.refund(&paid, 10).await;
    assert_eq!(taken(&receiver, 1).await[0].kind(), "refund.succeeded");
    let off = send(&world, "PATCH", &path, &json!({"enabled": false, "description": null})).await;
    assert_eq!((off.text("disabled_reason"), &off.body["description"]), ("merchant", &Value::Null));
    world.refund(&paid, 10).await;
    tokio::time::sleep(ROUNDS).await;
    assert_eq!(receiver.heard().len(), 1);
    let deleted = send(&world, "DELETE", &path, &Value::Null).await;
    assert_eq!((deleted.status, &deleted.body["deleted"]), (200, &json!(true)), "{:#}", deleted.body);
    assert_eq!(world.get(&path).await.status, 404);
    assert_eq!(world.get("/v1/webhook_endpoints").await.body["data"], json!([]));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_the_queue_and_tell_each_thing_once() {
    let world = open_world().await;
    let peer = world.peer().await;
    let receiver = Receiver::start(OK).await;
    endpoint(&world, &receiver.url).await;
    for round in 0..30 {
        let url = if round % 2 == 0 { &world.url } else { &peer.url };
        let paid = world.post_to(url, "/v1/payments", &unique("key"), &crate::world::payment(1_000, &unique("order"))).await;
        world.refund(&paid.id(), 10).await;
    }
    let taken = taken(&receiver, 90).await;
    tokio::time::sleep(ROUNDS).await;
    let ids: BTreeSet<&String> = taken.iter().map(|heard| &heard.id).collect();
    assert_eq!((ids.len(), receiver.heard().len()), (90, 90));
    for (payment, sequences) in by_payment(&taken) {
        assert!(sequences.is_sorted_by(|one, two| one < two), "{payment}: {sequences:?}");
    }
    peer.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_newest_first_by_page_type_and_payment() {
    let world = open_world().await;
    let paid = world.pay(1_000).await.id();
    world.refund(&paid, 10).await;
    let other = world.pay(2_000).await.id();
    let kinds = |reply: &Reply| -> Vec<String> {
        reply.body["data"].as_array().expect("a list").iter().map(|event| event["type"].as_str().expect("a type").to_owned()).collect()
    };
    let all = world.get("/v1/events").await;
    assert_eq!(kinds(&all).len(), 4, "{:#}", all.body);
    assert_eq!(all.body["data"][0]["payment_id"], other.as_str());
    let of = world.get(&format!("/v1/events?payment_id={paid}&type=refund.succeeded")).await;
    assert_eq!(kinds(&of), ["refund.succeeded"]);
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world.get(&format!("/v1/events?limit=3{cursor}")).await;
        pages.extend(page.body["data"].as_array().expect("a list").clone());
        let Some(next) = page.body["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(Some(&pages), all.body["data"].as_array());
    for (query, code) in [("type=attempt.sent", "invalid_request"), ("payment_id=x", "invalid_request"), ("kind=x", "unknown_parameter")] {
        let refused = world.get(&format!("/v1/events?{query}")).await;
        assert_eq!((refused.status, refused.text("code")), (400, code));
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_merchants_endpoints_and_events_are_404_on_every_route() {
    let world = open_world().await;
    let receiver = Receiver::start(OK).await;
    let id = endpoint(&world, &receiver.url).await.id();
    world.pay(1_000).await;
    let event = taken(&receiver, 1).await[0].id.clone();
    let stranger = format!("bwk_test_{}", "cd".repeat(32));
    world.add_merchant("Stranger", &stranger).await;
    let authorization = format!("Bearer {stranger}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let range = r#"{"from":"2020-01-01T00:00:00Z","to":"2099-01-01T00:00:00Z"}"#;
    for (method, path, body) in [
        ("GET", format!("/v1/webhook_endpoints/{id}"), ""),
        ("PATCH", format!("/v1/webhook_endpoints/{id}"), r#"{"enabled":false}"#),
        ("DELETE", format!("/v1/webhook_endpoints/{id}"), ""),
        ("POST", format!("/v1/webhook_endpoints/{id}/rotate_secret"), "{}"),
        ("GET", format!("/v1/webhook_endpoints/{id}/deliveries"), ""),
        ("POST", format!("/v1/webhook_endpoints/{id}/replay"), range),
        ("GET", format!("/v1/events/{event}"), ""),
        ("POST", format!("/v1/events/{event}/redeliver"), "{}"),
    ] {
        let reply = Reply::of(world.send(method, &path, &headers, body).await);
        assert_eq!((reply.status, reply.text("code")), (404, "not_found"), "{method} {path}");
    }
    let own = Reply::of(world.send("POST", "/v1/webhook_endpoints", &headers, &json!({"url": receiver.url}).to_string()).await);
    let named = world.post(&format!("/v1/events/{event}/redeliver"), "unused", &json!({"endpoint": own.id()})).await;
    assert_eq!((named.status, named.text("code")), (404, "not_found"), "another's endpoint for an event of one's own");
    assert_eq!(world.get_as(&stranger, "/v1/events").await.body["data"], json!([]));
    assert_eq!(world.get_as(&stranger, "/v1/webhook_endpoints").await.body["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(world.get(&format!("/v1/webhook_endpoints/{id}")).await.body["enabled"], true, "and nothing was done");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merchant_has_sixteen_endpoints_at_most() {
    let world = open_world().await;
    for n in 0..16 {
        endpoint(&world, &format!("https://shop{n}.example/")).await;
    }
    let refused = world.post("/v1/webhook_endpoints", "unused", &json!({"url": "https://shop.example/"})).await;
    assert_eq!((refused.status, refused.text("code")), (409, "too_many_webhook_endpoints"));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_committed_late_is_not_skipped() {
    let world = open_world().await;
    let receiver = Receiver::start(OK).await;
    endpoint(&world, &receiver.url).await;
    let first = world.pay(1_000).await.id();
    taken(&receiver, 1).await;
    let (mut client, connection) = tokio_postgres::connect(&world.database_url, tokio_postgres::NoTls).await.expect("the database");
    tokio::spawn(connection);
    // A writer that began before the next payment and ends after it.
    let late = client.transaction().await.expect("begun");
    let copy = "INSERT INTO event (payment_id, sequence, bucket, id, merchant_id, kind, body, created_at) \
                SELECT payment_id, 1000, bucket, gen_random_uuid(), merchant_id, kind, body, created_at FROM event WHERE kind = 'payment.succeeded'";
    assert_eq!(late.execute(copy, &[]).await.expect("written"), 1);
    let second = world.pay(1_000).await.id();
    tokio::time::sleep(ROUNDS).await;
    assert_eq!(receiver.heard().len(), 1, "what lies beyond the open transaction is not read yet");
    late.commit().await.expect("committed");
    let places: BTreeSet<String> = taken(&receiver, 3).await.iter().skip(1).map(|heard| heard.place().0).collect();
    assert_eq!(places, BTreeSet::from([first, second]));
    client.execute("DELETE FROM event WHERE sequence = 1000", &[]).await.expect("the books are put right");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_the_version_before_gets_the_months_that_its_events_have() {
    let url = crate::database::fresh().await;
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("the database");
    tokio::spawn(connection);
    let back = "DROP TABLE webhook_delivery, webhook_endpoint, webhook_cursor; DROP INDEX event_outbox, event_of_merchant; \
                DELETE FROM _sqlx_migrations WHERE version = 2";
    client.batch_execute(back).await.expect("as it was");
    breakwater::store::schema::migrate(&url).await.expect("migrated");
    let months = "SELECT array_agg(substr(c.relname, $2) ORDER BY c.relname) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
                  WHERE i.inhparent = to_regclass($1)";
    let of = |table: &'static str| {
        let (client, start) = (&client, i32::try_from(table.len() + 2).expect("short"));
        async move { client.query_one(months, &[&table, &start]).await.expect("readable").get::<_, Vec<String>>(0) }
    };
    assert_eq!(of("webhook_delivery").await, of("event").await);
    assert!(!of("event").await.is_empty());
}

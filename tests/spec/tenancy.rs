//! Each merchant alone, in one mode: whatever names another's object is answered as if there were none, and changes nothing. The routes are read from
//! the table of all addresses: one that is new and has no case here fails this test.

use breakwater::http::routes::ROUTES;
use serde_json::{Value, json};

use crate::world::{Reply, World, connect, payment, unique};

/// What a merchant has, one of each.
struct Belongings {
    hold: String,
    refund: String,
    event: String,
    endpoint: String,
}

/// What to send to a route that has an id in it: whose id, and which body.
fn case<'a>(method: &str, template: &str, theirs: &'a Belongings) -> (&'a str, Value) {
    let id = match template.split('/').nth(2) {
        Some("payments") => &theirs.hold,
        Some("refunds") => &theirs.refund,
        Some("events") => &theirs.event,
        Some("webhook_endpoints") => &theirs.endpoint,
        _ => panic!("{template} is new: say here whose object it names"),
    };
    let body = match (method, template) {
        ("GET" | "DELETE", _)
        | (
            "POST",
            "/v1/payments/{id}/capture" | "/v1/payments/{id}/cancel" | "/v1/events/{id}/redeliver" | "/v1/webhook_endpoints/{id}/rotate_secret",
        ) => json!({}),
        ("PATCH", "/v1/webhook_endpoints/{id}") => json!({"description": "taken over"}),
        ("POST", "/v1/webhook_endpoints/{id}/replay") => json!({"from": "2020-01-01T00:00:00Z", "to": "2120-01-01T00:00:00Z"}),
        _ => panic!("{method} {template} is new: give it a case, that shows that a stranger gets nothing of it"),
    };
    (id, body)
}

/// Every merchants' route with an id in it, and what is appended to its address.
fn routes() -> Vec<(&'static str, &'static str, &'static str)> {
    let mut found = Vec::new();
    for (template, methods) in ROUTES.iter().filter(|(template, _)| template.starts_with("/v1/") && template.contains("{id}")) {
        for (method, _) in *methods {
            found.push((*method, *template, ""));
            if *method == "GET" && matches!(*template, "/v1/payments/{id}" | "/v1/refunds/{id}") {
                found.push((*method, *template, "?sync=true"));
            }
        }
    }
    // What ends the object comes last.
    found.sort_by_key(|(method, template, _)| (*method == "DELETE", template.ends_with("cancel")));
    found
}

async fn send(world: &World, key: &str, method: &str, path: &str, body: &Value) -> Reply {
    let (authorization, idempotency_key) = (format!("Bearer {key}"), unique("key"));
    let headers = [("authorization", authorization.as_str()), ("idempotency-key", &idempotency_key), ("content-type", "application/json")];
    let text = if method == "GET" || method == "DELETE" { String::new() } else { body.to_string() };
    Reply::of(world.send(method, path, &headers, &text).await)
}

const TABLES: [&str; 10] =
    ["payment", "attempt", "refund", "event", "idempotency", "order_guard", "refund_guard", "webhook_endpoint", "webhook_delivery", "notification"];

/// All that is written of merchants' things.
async fn written(client: &tokio_postgres::Client) -> Vec<String> {
    let mut all = Vec::new();
    for table in TABLES {
        let sql = format!("SELECT t::text FROM {table} t ORDER BY 1");
        all.extend(client.query(&sql, &[]).await.expect("readable").iter().map(|row| format!("{table} {}", row.get::<_, String>(0))));
    }
    all
}

/// Shows that `stranger` sees nothing of `theirs`, and changes nothing.
async fn assert_apart(world: &World, stranger: &str, theirs: &Belongings) {
    let client = connect(world).await;
    let before = written(&client).await;
    for (method, template, more) in routes() {
        let (id, body) = case(method, template, theirs);
        let path = format!("{}{more}", template.replace("{id}", id));
        let refused = send(world, stranger, method, &path, &body).await;
        assert_eq!((refused.status, refused.text("code")), (404, "not_found"), "{method} {path}: {:#}", refused.body);
        // Told as of what never was, to the letter.
        let nothing = id.split_once('_').map(|(prefix, _)| format!("{prefix}_{}", "0".repeat(32))).expect("a prefix");
        let absent = send(world, stranger, method, &path.replace(id, &nothing), &body).await;
        assert_eq!((absent.status, absent.text("detail")), (404, refused.text("detail")), "{method} {path}");
        assert!(!refused.body.to_string().contains(id), "{method} {path}: {:#}", refused.body);
    }
    let body = json!({"payment_id": theirs.hold, "merchant_refund_id": "R-1", "amount": 1});
    assert_eq!(send(world, stranger, "POST", "/v1/refunds", &body).await.status, 404);
    let body = json!({"endpoint": theirs.endpoint});
    assert_eq!(send(world, stranger, "POST", &format!("/v1/events/{}/redeliver", theirs.event), &body).await.status, 404);
    for list in ["/v1/payments", "/v1/refunds", "/v1/events", "/v1/webhook_endpoints"] {
        assert_eq!(world.get_as(stranger, list).await.body["data"], json!([]), "{list}");
    }
    for filter in [format!("/v1/refunds?payment_id={}", theirs.hold), format!("/v1/events?payment_id={}", theirs.hold)] {
        assert_eq!(world.get_as(stranger, &filter).await.body["data"], json!([]), "{filter}");
    }
    let after = written(&client).await;
    assert_eq!(before, after, "a stranger changed something");
}

async fn belongings(world: &World, key: &str) -> Belongings {
    let paid = world.post_as(key, "/v1/payments", &unique("key"), &payment(1_250, &unique("order"))).await;
    assert_eq!(paid.status, 201, "{:#}", paid.body);
    let body = json!({"payment_id": paid.id(), "merchant_refund_id": unique("refund"), "amount": 250});
    let refund = world.post_as(key, "/v1/refunds", &unique("key"), &body).await;
    assert_eq!(refund.text("status"), "succeeded", "{:#}", refund.body);
    let mut hold = payment(1_000, &unique("order"));
    hold["capture_method"] = json!("manual");
    let hold = world.post_as(key, "/v1/payments", &unique("key"), &hold).await;
    assert_eq!(hold.text("status"), "requires_capture", "{:#}", hold.body);
    let event = world.get_as(key, &format!("/v1/events?payment_id={}", paid.id())).await.body["data"][0]["id"].as_str().expect("an event").to_owned();
    // Turned off: what it is told, and when, is another test's.
    let endpoint =
        world.post_as(key, "/v1/webhook_endpoints", "unused", &json!({"url": "https://hooks.example.com/", "types": ["dispute.closed"]})).await;
    assert_eq!(endpoint.status, 201, "{:#}", endpoint.body);
    Belongings { hold: hold.id(), refund: refund.id(), event, endpoint: endpoint.id() }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_every_route_a_merchant_gets_nothing_of_anothers_and_a_test_key_nothing_that_is_live() {
    let world = World::with(|setup| {
        setup.settings.webhooks.allow_private = true;
        // Nothing moves by itself while what is written is compared.
        setup.sandbox.notifications = false;
        setup.settings.poller.sweep_every_ms = 60_000;
        setup.settings.webhooks.sweep_every_ms = 60_000;
    })
    .await;
    let owner = format!("bwk_test_{}", "cd".repeat(32));
    let merchant = world.add_merchant("Owner", &owner).await;
    let theirs = belongings(&world, &owner).await;
    assert_apart(&world, &world.key, &theirs).await;

    // The same things, live: of a merchant with the very name of the stranger's, as the two modes of one shop have.
    let now = world.clock.wall();
    let live_key = format!("bwk_live_{}", "ef".repeat(32));
    let live = world.running.store.add_merchant("Shop", true, now).await.expect("a merchant");
    world.running.store.add_key(live, &crate::world::sha256(&live_key), "hint", now).await.expect("a key");
    let client = connect(&world).await;
    for table in ["payment", "refund", "event", "webhook_endpoint", "webhook_delivery"] {
        let moved = client.execute(&format!("UPDATE {table} SET merchant_id = $2 WHERE merchant_id = $1"), &[&merchant, &live]).await.expect("moved");
        assert!(moved > 0 || table == "webhook_delivery", "{table}");
    }
    client.execute("UPDATE payment SET livemode = true WHERE merchant_id = $1", &[&live]).await.expect("live");
    assert_apart(&world, &world.key, &theirs).await;
    assert_apart(&world, &owner, &theirs).await;

    // And to their owner all these routes are open: none of the cases above was about nothing.
    for (method, template, more) in routes() {
        let (id, body) = case(method, template, &theirs);
        let reply = send(&world, &live_key, method, &format!("{}{more}", template.replace("{id}", id)), &body).await;
        assert!(![401, 404, 405].contains(&reply.status), "{method} {template}: {} {:#}", reply.status, reply.body);
    }
    world.close().await;
}

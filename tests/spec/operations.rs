//! What operators see, and an orderly stop.

use std::collections::HashSet;

use breakwater::http::Phase;
use breakwater::telemetry::{Kind, METRICS};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Reply, World, payment, unique};

pub async fn connect(url: &str, database: Option<&str>) -> tokio_postgres::Client {
    let mut config: tokio_postgres::Config = url.parse().expect("an address");
    if let Some(database) = database {
        config.dbname(database);
    }
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("the database");
    tokio::spawn(connection);
    client
}

async fn anonymous(world: &World, path: &str) -> Reply {
    Reply::of(world.send("GET", path, &[], "").await)
}

/// A connection that stays open between requests.
struct Kept(tokio::net::TcpStream);

impl Kept {
    async fn open(world: &World) -> Self {
        Self(tokio::net::TcpStream::connect(world.url.strip_prefix("http://").expect("plain")).await.expect("connected"))
    }

    /// The answer; none when the other side closed the connection instead.
    async fn get(&mut self, path: &str) -> Option<(u16, Value)> {
        self.0.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        loop {
            let mut piece = [0; 1024];
            let read = self.0.read(&mut piece).await.ok().filter(|read| *read > 0)?;
            answer.extend_from_slice(&piece[..read]);
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            if let Ok(body) = serde_json::from_str(body) {
                let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
                return Some((status, body));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probes_need_no_key_and_readiness_says_every_reason() {
    let world = World::start().await;
    let alive = anonymous(&world, "/livez").await;
    assert_eq!((alive.status, &alive.body), (200, &json!({"status": "alive"})));
    let ready = anonymous(&world, "/readyz").await;
    assert_eq!((ready.status, &ready.body), (200, &json!({"status": "ready"})));
    let version = anonymous(&world, "/version").await;
    assert_eq!((version.status, version.text("name"), version.text("version")), (200, "breakwater", env!("CARGO_PKG_VERSION")));
    assert!(version.body["revision"].is_string());

    world.running.readiness.concern("disk", Some("it is full".to_owned()));
    let full = anonymous(&world, "/readyz").await;
    assert_eq!((full.status, full.text("code"), full.text("source"), full.text("retry")), (503, "not_ready", "breakwater", "after"));
    assert!(full.body["reasons"].as_array().expect("reasons").contains(&json!("disk: it is full")), "{:#}", full.body);
    assert!(full.headers.contains_key("retry-after"));
    assert_eq!(anonymous(&world, "/livez").await.status, 200, "who is not ready is alive");
    world.running.readiness.concern("disk", None);
    assert_eq!(anonymous(&world, "/readyz").await.status, 200);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_the_catalogue_is_served_with_its_help_and_none_is_a_summary() {
    let world = World::start().await;
    let paid = world.pay(1_250).await;
    assert_eq!(world.refund(&paid.id(), 250).await.status, 201);
    assert_eq!(anonymous(&world, "/metrics").await.status, 401);
    let text = world.metrics().await;
    let mut names = HashSet::new();
    for metric in METRICS {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        assert!(text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{} has no help", metric.name);
        assert!(text.contains(&format!("# TYPE {} {kind}\n", metric.name)), "{} is no {kind}", metric.name);
        let series = if kind == "histogram" { format!("\n{}_bucket", metric.name) } else { format!("\n{}", metric.name) };
        assert!(text.contains(&series), "{} has no series", metric.name);
        names.insert(metric.name);
    }
    for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
        let name = line.split(' ').nth(2).expect("a name");
        assert!(names.contains(name), "{name} is served and not in the catalogue");
        assert!(!line.ends_with(" summary"), "{line}");
    }
    for series in [
        "breakwater_http_requests_total{route=\"/v1/payments\",method=\"POST\",code=\"201\"}",
        "breakwater_channel_attempts_total{channel=\"stripe_main\",operation=\"pay\",outcome=\"approved\"}",
        "breakwater_refunds_total{channel=\"stripe_main\",status=\"succeeded\"}",
        "breakwater_payments_total{status=\"succeeded\"}",
    ] {
        world.eventually_metric(series, |count| count >= 1.0).await;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_each_channel_with_its_guards_and_what_is_in_doubt() {
    let world = World::with(|setup| {
        setup.sandbox.notifications = false;
        setup.settings.server.answer_within_ms = 100;
    })
    .await;
    let channels = world.ops("/ops/v1/channels").await;
    assert_eq!((channels.status, channels.text("object"), &channels.body["has_more"]), (200, "list", &json!(false)), "{:#}", channels.body);
    let rows = channels.body["data"].as_array().expect("a list");
    assert_eq!(rows.iter().map(|row| row["id"].as_str().expect("an id")).collect::<Vec<_>>(), ["stripe_main", "stripe_backup"]);
    for row in rows {
        let members: Vec<_> = row.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(members, ["breaker", "currencies", "health", "id", "methods", "mode", "override", "provider", "wallets"]);
        assert_eq!(
            (&row["provider"], &row["mode"], &row["health"], &row["override"]),
            (&json!("stripe"), &json!("test"), &json!("up"), &Value::Null)
        );
        assert!(row["methods"].as_array().expect("a list").contains(&json!("card_token")), "{row:#}");
        for class in ["pay", "resolve", "refund"] {
            let guard = &row["breaker"][class];
            assert_eq!(guard["state"], "closed", "{row:#}");
            assert!(guard["limit"].as_u64().is_some_and(|limit| limit > 0) && guard["in_flight"].is_u64(), "{row:#}");
        }
    }
    assert_eq!(world.ops("/ops/v1/unknowns").await.body["data"], json!([]));
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "rate": 1.0, "operations": ["pay", "query"]})).await;
    let unknown = world.pay(1_250).await;
    assert_eq!(unknown.status, 202, "{:#}", unknown.body);
    world.eventually(&unknown.id(), |payment| payment["outcome"] == "unknown").await;
    let doubt = world.ops("/ops/v1/unknowns").await;
    let row = &doubt.body["totals"][0];
    assert_eq!(
        (&row["channel"], &row["operation"], &row["count"], &row["amount_minor"]),
        (&json!("stripe_main"), &json!("pay"), &json!(1), &json!(1_250))
    );
    world.heal("stripe_main").await;
    world.finally(&unknown.id()).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn integrity_is_200_while_the_books_hold_and_409_with_each_difference_when_they_do_not() {
    // A notification that is still to come would write over what is broken here.
    let world = World::with(|setup| setup.sandbox.notifications = false).await;
    let first = world.pay(1_250).await.id();
    let order = unique("order");
    let second = world.create(&payment(500, &order)).await.id();
    let whole = world.ops("/ops/v1/integrity").await;
    assert_eq!((whole.status, &whole.body["holds"], &whole.body["differences"]), (200, &json!(true), &json!([])), "{:#}", whole.body);
    assert!(whole.body["checked_at"].is_string());

    let client = connect(&world.database_url, None).await;
    let id = |text: &str| format!("'{}'::uuid", text.trim_start_matches("pay_"));
    let order_of_first = world.payment(&first).await["merchant_order_id"].as_str().expect("an order").to_owned();
    let breaks = [
        (
            "sums",
            format!("UPDATE payment SET refund_reserved = 5 WHERE id = {}", id(&first)),
            format!("UPDATE payment SET refund_reserved = 0 WHERE id = {}", id(&first)),
        ),
        (
            "attempts",
            format!("UPDATE attempt SET state = 'declined' WHERE payment_id = {}", id(&first)),
            format!("UPDATE attempt SET state = 'succeeded' WHERE payment_id = {}", id(&first)),
        ),
        (
            "events",
            format!("UPDATE payment SET sequence = sequence + 1 WHERE id = {}", id(&first)),
            format!("UPDATE payment SET sequence = sequence - 1 WHERE id = {}", id(&first)),
        ),
        (
            "orders",
            format!("UPDATE payment SET merchant_order_id = '{order_of_first}' WHERE id = {}", id(&second)),
            format!("UPDATE payment SET merchant_order_id = '{order}' WHERE id = {}", id(&second)),
        ),
    ];
    for (check, breaking, repair) in &breaks {
        assert_eq!(client.execute(breaking, &[]).await.expect("broken"), 1, "{check}");
        let broken = world.ops("/ops/v1/integrity").await;
        assert_eq!(client.execute(repair, &[]).await.expect("repaired"), 1, "{check}");
        assert_eq!((broken.status, broken.text("code"), broken.text("source")), (409, "books_do_not_hold", "breakwater"), "{:#}", broken.body);
        assert_eq!(broken.headers["content-type"], "application/problem+json");
        let differences = broken.body["differences"].as_array().expect("differences");
        assert_eq!(differences.len(), 1, "{check}: {differences:#?}");
        assert_eq!(differences[0]["check"], *check);
        assert!(differences[0]["found"].as_str().is_some_and(|found| !found.is_empty()));
        let named = differences[0]["payment_id"].as_str().expect("a payment");
        assert!(named == first || *check == "orders" && named == second, "{check}: {named}");
    }
    assert_eq!(world.ops("/ops/v1/integrity").await.status, 200);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_nothing_is_sent_and_the_same_key_pays_once_it_is_back() {
    let world = World::start().await;
    let away = connect(&world.database_url, Some("postgres")).await;
    let name = world.database_url.parse::<tokio_postgres::Config>().expect("an address").get_dbname().expect("a name").to_owned();
    away.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await.expect("shut");
    away.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", &[&name]).await.expect("ended");

    let (key, body) = (unique("key"), payment(1_250, &unique("order")));
    let refused = world.post("/v1/payments", &key, &body).await;
    let told = (refused.status, refused.text("code"), refused.text("source"), refused.text("retry"));
    assert_eq!(told, (503, "database_unavailable", "breakwater", "same_key"), "{:#}", refused.body);
    assert!(refused.headers.contains_key("retry-after"));
    // Readiness looks once a second.
    let mut unready = anonymous(&world, "/readyz").await;
    for _ in 0..100 {
        if unready.status == 503 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        unready = anonymous(&world, "/readyz").await;
    }
    assert_eq!((unready.status, unready.text("code")), (503, "not_ready"), "{:#}", unready.body);
    assert_eq!(anonymous(&world, "/livez").await.status, 200);
    assert!(world.book("stripe_main").await.is_empty(), "nothing was sent");

    away.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await.expect("open");
    let mut paid = world.post("/v1/payments", &key, &body).await;
    for _ in 0..100 {
        if paid.status == 201 {
            break;
        }
        assert_eq!(paid.text("code"), "database_unavailable", "{:#}", paid.body);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        paid = world.post("/v1/payments", &key, &body).await;
    }
    assert_eq!((paid.status, paid.text("status")), (201, "succeeded"), "{:#}", paid.body);
    assert_eq!(world.book("stripe_main").await.len(), 1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_seen_in_readiness_takes_no_new_connection_and_answers_the_payment_in_flight() {
    let world = World::with(|setup| setup.timeout_ms = 5_000).await;
    world.break_channel("stripe_main", &json!({"rate": 1.0, "latency_ms": 600})).await;
    let mut kept = Kept::open(&world).await;
    assert_eq!(kept.get("/readyz").await.expect("an answer").0, 200);
    let stop = async {
        // The channel has taken the money and is slow to say so.
        while world.book("stripe_main").await.is_empty() {
            tokio::task::yield_now().await;
        }
        world.running.stop();
        while world.running.readiness.phase() != Phase::Stopping {
            tokio::task::yield_now().await;
        }
        kept.get("/readyz").await
    };
    let (paid, ready) = tokio::join!(world.pay(1_250), stop);
    assert_eq!(world.running.readiness.reasons(), ["the process is stopping"]);
    // An idle connection is closed at once, or told.
    assert!(ready.as_ref().is_none_or(|(status, told)| *status == 503 && told["code"] == "not_ready"), "{ready:#?}");
    assert_eq!((paid.status, paid.text("status")), (201, "succeeded"), "{:#}", paid.body);
    let (client, id) = (connect(&world.database_url, None).await, paid.id());
    let url = world.url.clone();
    assert_eq!(world.book("stripe_main").await.len(), 1);
    world.ended().await;
    drop(kept);
    let query = "SELECT status, captured, (SELECT count(*) FROM attempt WHERE payment_id = p.id) FROM payment p WHERE id::text = $1::text";
    let uuid = uuid::Uuid::parse_str(id.trim_start_matches("pay_")).expect("an id").to_string();
    let row = client.query_one(query, &[&uuid]).await.expect("the payment");
    assert_eq!((row.get::<_, String>(0), row.get::<_, i64>(1), row.get::<_, i64>(2)), ("succeeded".to_owned(), 1_250, 1));
    let late = tokio::net::TcpStream::connect(url.strip_prefix("http://").expect("plain")).await;
    assert!(late.is_err(), "nobody listens any more");
}

//! Bad input: one clear error each, with every member that the contract names, and nothing written, whatever was wrong.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{Reply, World, payment, unique};

/// What an error must say.
struct Expected<'a> {
    status: u16,
    code: &'a str,
    param: Option<&'a str>,
    /// Words that its sentence must hold.
    says: &'a str,
}

const fn expect<'a>(status: u16, code: &'a str, param: Option<&'a str>, says: &'a str) -> Expected<'a> {
    Expected { status, code, param, says }
}

/// A problem as RFC 9457 and the contract have it, which says what is expected. Bad input is never worth a retry.
fn assert_problem(case: &str, reply: &Reply, expected: &Expected<'_>) {
    assert_complete(case, reply);
    let found = (reply.status, reply.text("code"), reply.body["param"].as_str());
    assert_eq!(found, (expected.status, expected.code, expected.param), "{case}: {:#}", reply.body);
    assert!(reply.text("detail").contains(expected.says), "{case}: {:?} does not say {:?}", reply.text("detail"), expected.says);
    assert_eq!((reply.text("source"), reply.text("retry")), ("client", "never"), "{case}: {:#}", reply.body);
}

fn assert_complete(case: &str, reply: &Reply) {
    let header = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    assert_eq!(header("content-type").as_deref(), Some("application/problem+json"), "{case}: {:?} {}", reply.headers, reply.body);
    let members = ["type", "title", "status", "code", "detail", "param", "source", "retry", "request_id", "existing"];
    for member in members {
        assert!(reply.body.get(member).is_some(), "{case}: no member {member} in {:#}", reply.body);
    }
    assert_eq!(reply.body["status"], reply.status, "{case}");
    assert!(reply.text("type").ends_with(&format!("/errors/{}", reply.text("code"))), "{case}: {}", reply.text("type"));
    assert!(reply.text("request_id").starts_with("req_"), "{case}");
    assert_eq!(header("request-id").as_deref(), Some(reply.text("request_id")), "{case}");
    assert!(!reply.text("title").is_empty() && reply.text("detail").ends_with('.'), "{case}: {:#}", reply.body);
    assert_eq!(header("cache-control").as_deref(), Some("no-store"), "{case}");
}

/// Not a row, not a charge: neither in our tables nor in the third party's book nor in the merchant's list.
async fn assert_nothing_was_written(world: &World) {
    let (client, connection) = tokio_postgres::connect(&world.database_url, tokio_postgres::NoTls).await.expect("the database");
    tokio::spawn(connection);
    for table in ["payment", "attempt", "refund", "event", "idempotency", "order_guard", "refund_guard", "notification"] {
        let rows: i64 = client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.expect("readable").get(0);
        assert_eq!(rows, 0, "{table} has rows");
    }
    for list in ["/v1/payments", "/v1/refunds"] {
        assert_eq!(world.get(list).await.body["data"], json!([]), "{list}");
    }
    for channel in ["stripe_main", "stripe_backup"] {
        assert!(world.book(channel).await.is_empty(), "{channel} was charged");
    }
}

impl World {
    /// Sends a body as it is, with a good key and a good idempotency key.
    async fn raw(&self, path: &str, body: &str) -> Reply {
        self.typed(path, Some("application/json"), body).await
    }

    async fn typed(&self, path: &str, content_type: Option<&str>, body: &str) -> Reply {
        let (authorization, key) = (format!("Bearer {}", self.key), unique("key"));
        let mut headers = vec![("authorization", authorization.as_str()), ("idempotency-key", key.as_str())];
        headers.extend(content_type.map(|kind| ("content-type", kind)));
        Reply::of(self.send("POST", path, &headers, body).await)
    }

    /// Writes a request byte by byte as given, for what no decent client can say.
    async fn bytes(&self, request: &[u8]) -> Reply {
        let address = self.url.strip_prefix("http://").expect("plain");
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
        stream.write_all(request).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("answered, and closed");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(answer[..end].to_vec()).expect("text");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).expect("a status");
        let mut headers = http::HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            headers.append(http::HeaderName::try_from(name).expect("a name"), http::HeaderValue::try_from(value).expect("a value"));
        }
        let text = String::from_utf8_lossy(&answer[end + 4..]).into_owned();
        Reply { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }
}

/// A create in which the text of `amount` is `amount`, and the currency `currency`.
fn costing(amount: &str, currency: &str) -> String {
    format!(
        r#"{{"amount":{amount},"currency":"{currency}","merchant_order_id":"A-1","payment_method":{{"type":"card_token","token":"pm_card_visa"}}}}"#
    )
}

/// A good create with one field replaced (or taken out, by `null`).
fn with(field: &str, value: Value) -> String {
    let mut body = payment(1_250, "A-1");
    body[field] = value;
    body.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_amount_that_is_not_a_whole_number_of_minor_units_in_range_is_refused() {
    let world = World::start().await;
    let form = "must be a JSON integer in minor units";
    let cases = [
        ("0", "CNY", 422, "invalid_amount", "at least 1 minor unit"),
        ("-1", "CNY", 422, "invalid_amount", "at least 1 minor unit"),
        ("-9223372036854775808", "CNY", 422, "invalid_amount", "at least 1 minor unit"),
        ("1000000000001", "CNY", 422, "invalid_amount", "the largest is 1000000000000 minor units"),
        ("9223372036854775807", "CNY", 422, "invalid_amount", "the largest is 1000000000000 minor units"),
        ("9223372036854775808", "CNY", 422, "invalid_amount", "the largest is 1000000000000 minor units"),
        ("100000000000000000000000000", "CNY", 422, "invalid_amount", "the largest is 1000000000000 minor units"),
        ("12.50", "CNY", 400, "invalid_request", "CNY has 2 decimals, so 12.50 CNY is 1250"),
        ("1250.0", "CNY", 400, "invalid_request", "without point or exponent"),
        ("1e3", "CNY", 400, "invalid_request", "without point or exponent"),
        ("-0.0", "CNY", 400, "invalid_request", "without point or exponent"),
        ("\"1250\"", "CNY", 400, "invalid_request", "not a string"),
        ("true", "CNY", 400, "invalid_request", "not a boolean"),
        ("[1250]", "CNY", 400, "invalid_request", "not a list"),
        ("12.5", "JPY", 400, "invalid_request", "JPY has no decimals, so 12 JPY is 12"),
        ("12.0", "JPY", 400, "invalid_request", "JPY has no decimals, so 12 JPY is 12"),
        ("1.5", "KWD", 400, "invalid_request", "KWD has 3 decimals, so 12.500 KWD is 12500"),
    ];
    for (amount, currency, status, code, says) in cases {
        let reply = world.raw("/v1/payments", &costing(amount, currency)).await;
        assert_problem(&format!("{amount} {currency}"), &reply, &expect(status, code, Some("amount"), says));
        assert!(code != "invalid_request" || reply.text("detail").contains(form), "{amount}: {}", reply.text("detail"));
    }
    // A refund's and a capture's amount are amounts too, and are looked at before the payment is.
    let nobody = format!("pay_{}", "0".repeat(32));
    for (amount, status, code) in [("0", 422, "invalid_amount"), ("-5", 422, "invalid_amount"), ("1.0", 400, "invalid_request")] {
        let body = format!(r#"{{"payment_id":"{nobody}","merchant_refund_id":"R-1","amount":{amount}}}"#);
        assert_problem(amount, &world.raw("/v1/refunds", &body).await, &expect(status, code, Some("amount"), "minor unit"));
        let body = format!(r#"{{"amount":{amount}}}"#);
        let path = format!("/v1/payments/{nobody}/capture");
        assert_problem(amount, &world.raw(&path, &body).await, &expect(status, code, Some("amount"), "minor unit"));
    }
    assert_nothing_was_written(&world).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_wrong_unknown_missing_or_given_twice_is_refused_by_its_name() {
    let world = World::start().await;
    let unknown_currency = |code| (with("currency", json!(code)), expect(422, "unknown_currency", Some("currency"), "ISO 4217 code in capitals"));
    let missing = |field: &'static str| (with(field, Value::Null), expect(400, "missing_field", Some(field), "is required"));
    let method = |method: Value| with("payment_method", method);
    let deep = r#"{"amount":1250,"metadata":{"a":"1","a":"2"}}"#.to_owned();
    let cases = vec![
        unknown_currency("XYZ"),
        unknown_currency("cny"),
        unknown_currency("XAU"),
        unknown_currency(""),
        (with("currency", json!(156)), expect(400, "invalid_request", Some("currency"), "must be a string, not a number")),
        (with("amout", json!(1)), expect(400, "unknown_field", Some("amout"), "The field amout is unknown. Known here: amount, currency")),
        (
            method(json!({"type": "card_token", "token": "pm_card_visa", "brand": "visa"})),
            expect(400, "unknown_field", Some("payment_method.brand"), "The field payment_method.brand is unknown. Known here: type, token"),
        ),
        (costing("1,\"amount\":2", "CNY"), expect(400, "invalid_json", Some("amount"), "The field amount is given twice, at line 1, column")),
        (deep, expect(400, "invalid_json", Some("a"), "The field a is given twice")),
        missing("amount"),
        missing("currency"),
        missing("merchant_order_id"),
        missing("payment_method"),
        (method(json!({})), expect(400, "missing_field", Some("payment_method.type"), "payment_method.type is required")),
        (method(json!({"type": "card_token"})), expect(400, "missing_field", Some("payment_method.token"), "payment_method.token is required")),
        (method(json!({"type": "cash"})), expect(400, "invalid_request", Some("payment_method.type"), "must be one of qr, barcode")),
        (method(json!("qr")), expect(400, "invalid_request", Some("payment_method"), "must be an object, not a string")),
        (
            method(json!({"type": "card", "number": "4242424242424242", "cvc": "123"})),
            expect(422, "unsupported_payment_method", Some("payment_method.type"), "card_token"),
        ),
        (with("merchant_order_id", json!("")), expect(400, "invalid_request", Some("merchant_order_id"), "1 to 64 visible ASCII characters")),
        (with("merchant_order_id", json!("订单")), expect(400, "invalid_request", Some("merchant_order_id"), "1 to 64 visible ASCII characters")),
        (with("merchant_order_id", json!("A".repeat(65))), expect(400, "invalid_request", Some("merchant_order_id"), "1 to 64")),
        (with("capture_method", json!("later")), expect(400, "invalid_request", Some("capture_method"), "automatic, manual")),
        (with("channel", json!("paypal_main")), expect(422, "unknown_channel", Some("channel"), "no channel paypal_main")),
        (with("return_url", json!("javascript:alert(1)")), expect(400, "invalid_request", Some("return_url"), "http or https")),
        (with("expires_at", json!("tomorrow")), expect(400, "invalid_request", Some("expires_at"), "RFC 3339")),
        (with("expires_at", json!("2020-01-01T00:00:00Z")), expect(422, "invalid_expiry", Some("expires_at"), "is past")),
        (with("metadata", json!({"color": 7})), expect(400, "invalid_request", Some("metadata.color"), "must be a string, not a number")),
        (with("metadata", json!({"k": "x".repeat(501)})), expect(400, "invalid_request", Some("metadata.k"), "at most 500 characters")),
        (
            with("description", json!("my card is 4242 4242 4242 4242")),
            expect(422, "card_number_refused", Some("description"), "never stored in clear"),
        ),
        (
            with("metadata", json!({"card": "4242-4242-4242-4242"})),
            expect(422, "card_number_refused", Some("metadata.card"), "never stored in clear"),
        ),
        (with("metadata", json!({"4242424242424242": "x"})), expect(422, "card_number_refused", Some("metadata"), "never stored in clear")),
        (
            method(json!({"type": "card_token", "token": "4242424242424242"})),
            expect(400, "invalid_request", Some("payment_method.token"), "not a card number"),
        ),
        (
            method(json!({"type": "card_token", "token": "pm_4242424242424242"})),
            expect(422, "card_number_refused", Some("payment_method.token"), "never stored in clear"),
        ),
    ];
    for (body, expected) in cases {
        let reply = world.raw("/v1/payments", &body).await;
        assert_problem(&body, &reply, &expected);
        assert!(!reply.body.to_string().contains("4242"), "a card number is not repeated: {:#}", reply.body);
    }
    let nobody = format!("pay_{}", "0".repeat(32));
    let refund = |more: &str| format!(r#"{{"payment_id":"{nobody}","merchant_refund_id":"R-1"{more}}}"#);
    let cases = [
        ("/v1/refunds", r#"{"merchant_refund_id":"R-1"}"#.to_owned(), expect(400, "missing_field", Some("payment_id"), "is required")),
        ("/v1/refunds", format!(r#"{{"payment_id":"{nobody}"}}"#), expect(400, "missing_field", Some("merchant_refund_id"), "is required")),
        ("/v1/refunds", refund(r#","currency":"CNY""#), expect(400, "unknown_field", Some("currency"), "The field currency is unknown")),
        ("/v1/refunds", refund(r#","reason":"4242424242424242""#), expect(422, "card_number_refused", Some("reason"), "never stored in clear")),
        ("/v1/payments/x/cancel", r#"{"why":"x"}"#.to_owned(), expect(404, "not_found", None, "no such payment")),
        ("/v1/payments/NOBODY/cancel", r#"{"why":"x"}"#.to_owned(), expect(400, "unknown_field", Some("why"), "this body has no fields")),
        ("/v1/payments/NOBODY/capture", r#"{"final":true}"#.to_owned(), expect(400, "unknown_field", Some("final"), "Known here: amount")),
    ];
    for (path, body, expected) in cases {
        let path = path.replace("NOBODY", &nobody);
        assert_problem(&format!("{path} {body}"), &world.raw(&path, &body).await, &expected);
    }
    assert_nothing_was_written(&world).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_json_object_of_bounded_size_is_refused_before_it_is_read_further() {
    let world = World::start().await;
    let broken = [
        ("{\n  \"amount\": ,\n}", "line 2 column 13"),
        ("{\"amount\":1250", "line 1 column 14"),
        ("{'amount':1}", "line 1 column 2"),
        ("{} {}", "trailing characters at line 1 column 4"),
        ("[1]", "must be a JSON object, not a list"),
        ("null", "must be a JSON object, not null"),
        ("", "The body is empty"),
        ("{\"description\":\"\\u0000\"}", "U+0000, at line 1"),
        ("{\"amount\":1e999}", "line 1 column"),
    ];
    for path in ["/v1/payments", "/v1/refunds"] {
        for (body, says) in broken {
            assert_problem(body, &world.raw(path, body).await, &expect(400, "invalid_json", None, says));
        }
        let nested = format!("{{\"metadata\":{}", "[".repeat(60_000));
        assert_problem("nested", &world.raw(path, &nested).await, &expect(400, "invalid_json", None, "recursion limit"));
        let huge = with("description", json!("x".repeat(2 * 1024 * 1024)));
        assert_problem("2 MB", &world.raw(path, &huge).await, &expect(413, "body_too_large", None, "at most 65536 bytes"));
        for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/json; charset=latin1")] {
            let reply = world.typed(path, kind, &payment(1_250, "A-1").to_string()).await;
            assert_problem(&format!("{kind:?}"), &reply, &expect(415, "unsupported_media_type", None, "application/json"));
        }
    }
    // Its length is not announced: it is cut off when it passes the limit.
    let head = format!(
        "POST /v1/payments HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nidempotency-key: k\r\ncontent-type: application/json\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n",
        world.key
    );
    let chunk = format!("{:x}\r\n{}\r\n", 40_000, " ".repeat(40_000));
    let reply = world.bytes(format!("{head}{chunk}{chunk}0\r\n\r\n").as_bytes()).await;
    assert_problem("chunked", &reply, &expect(413, "body_too_large", None, "at most 65536 bytes"));
    assert_nothing_was_written(&world).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_moves_money_needs_one_idempotency_key_of_visible_ascii() {
    let world = World::start().await;
    let authorization = format!("Bearer {}", world.key);
    let nobody = format!("pay_{}", "0".repeat(32));
    let (capture, cancel) = (format!("/v1/payments/{nobody}/capture"), format!("/v1/payments/{nobody}/cancel"));
    let bad = [
        (None, "idempotency_key_missing", "needs an Idempotency-Key"),
        (Some(String::new()), "idempotency_key_invalid", "0 bytes were given"),
        (Some("k".repeat(256)), "idempotency_key_invalid", "256 bytes were given"),
        (Some("two words".to_owned()), "idempotency_key_invalid", "without blanks"),
    ];
    for path in ["/v1/payments", "/v1/refunds", &capture, &cancel] {
        for (key, code, says) in &bad {
            let mut headers = vec![("authorization", authorization.as_str()), ("content-type", "application/json")];
            headers.extend(key.as_deref().map(|key| ("idempotency-key", key)));
            let reply = Reply::of(world.send("POST", path, &headers, &payment(1_250, "A-1").to_string()).await);
            assert_problem(&format!("{path} {key:?}"), &reply, &expect(400, code, Some("Idempotency-Key"), says));
        }
        let twice = [("authorization", authorization.as_str()), ("idempotency-key", "a"), ("idempotency-key", "b")];
        let reply = Reply::of(world.send("POST", path, &twice, "{}").await);
        assert_problem(path, &reply, &expect(400, "idempotency_key_invalid", Some("Idempotency-Key"), "is given twice"));
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\nidempotency-key: schlüssel\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        let reply = world.bytes(head.as_bytes()).await;
        assert_problem(path, &reply, &expect(400, "idempotency_key_invalid", Some("Idempotency-Key"), "visible ASCII"));
    }
    assert_nothing_was_written(&world).await;
    // And the longest that is allowed is allowed.
    let longest = world.post("/v1/payments", &"~".repeat(255), &payment(1_250, "A-1")).await;
    assert_eq!(longest.status, 201, "{:#}", longest.body);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_takes_only_its_methods_and_what_is_no_address_is_not_found() {
    let world = World::start().await;
    let read = "GET, HEAD";
    let routes = [
        ("/v1/payments", "GET, HEAD, POST"),
        ("/v1/payments/x", read),
        ("/v1/payments/x/capture", "POST"),
        ("/v1/payments/x/cancel", "POST"),
        ("/v1/refunds", "GET, HEAD, POST"),
        ("/v1/refunds/x", read),
        ("/v1/notifications/stripe_main", "POST"),
        ("/livez", read),
        ("/readyz", read),
        ("/version", read),
        ("/metrics", read),
        ("/ops/v1/channels", read),
        ("/ops/v1/unknowns", read),
        ("/ops/v1/integrity", read),
    ];
    for (path, allowed) in routes {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
            if allowed.split(", ").any(|one| one == method) {
                continue;
            }
            let reply = Reply::of(world.send(method, path, &[], "").await);
            let case = format!("{method} {path}");
            assert_problem(&case, &reply, &expect(405, "method_not_allowed", None, &format!("takes {allowed}")));
            assert_eq!(reply.headers.get("allow").and_then(|value| value.to_str().ok()), Some(allowed), "{case}");
        }
        if !allowed.contains("HEAD") {
            let reply = world.send("HEAD", path, &[], "").await;
            assert_eq!((reply.status, reply.body.len()), (405, 0), "HEAD {path}");
        }
    }
    for path in ["/", "/v1", "/v1/payment", "/v1/payments/", "/v1//payments", "/v2/payments", "/v1/payments/x/refund", "/v1/refunds/x/y", "/%00"] {
        for method in ["GET", "POST"] {
            let reply = Reply::of(world.send(method, path, &[], "").await);
            assert_problem(&format!("{method} {path}"), &reply, &expect(404, "unknown_route", None, "nothing at this address"));
        }
    }
    assert_nothing_was_written(&world).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_parameter_that_is_unknown_twice_or_out_of_range_is_refused_by_its_name() {
    let world = World::start().await;
    let nobody = format!("/v1/payments/pay_{}", "0".repeat(32));
    for list in ["/v1/payments", "/v1/refunds"] {
        for limit in ["0", "101", "-1", "ten", "1.0", "99999999999999999999"] {
            let reply = world.get(&format!("{list}?limit={limit}")).await;
            assert_problem(limit, &reply, &expect(400, "invalid_request", Some("limit"), "a whole number from 1 to 100"));
        }
        for cursor in ["x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "%00", "019a0000000070008000000000000000"] {
            let reply = world.get(&format!("{list}?cursor={cursor}")).await;
            assert_problem(cursor, &reply, &expect(400, "invalid_cursor", Some("cursor"), "next_cursor"));
        }
        for name in ["limit", "cursor", "status"] {
            let reply = world.get(&format!("{list}?{name}=")).await;
            assert_problem(name, &reply, &expect(400, "invalid_request", Some(name), "is empty: leave it out"));
        }
        let reply = world.get(&format!("{list}?limit=1&limit=2")).await;
        assert_problem(list, &reply, &expect(400, "invalid_request", Some("limit"), "given twice"));
        let reply = world.get(&format!("{list}?page=2")).await;
        assert_problem(list, &reply, &expect(400, "unknown_parameter", Some("page"), "The parameter page is unknown. Known here:"));
    }
    let cases = [
        ("/v1/payments?status=paid".to_owned(), expect(400, "invalid_request", Some("status"), "succeeded")),
        ("/v1/payments?created_at[gte]=yesterday".to_owned(), expect(400, "invalid_request", Some("created_at[gte]"), "RFC 3339")),
        ("/v1/refunds?payment_id=A-1".to_owned(), expect(400, "invalid_request", Some("payment_id"), "a payment's id")),
        (format!("{nobody}?include=everything"), expect(400, "invalid_request", Some("include"), "attempts, refunds, events")),
        (format!("{nobody}?expand=refunds"), expect(400, "unknown_parameter", Some("expand"), "Known here: include")),
        ("/v1/payments?4242424242424242=x".to_owned(), expect(400, "unknown_parameter", Some("(hidden)"), "The parameter (hidden) is unknown")),
    ];
    for (path, expected) in cases {
        assert_problem(&path, &world.get(&path).await, &expected);
    }
    for path in ["/v1/payments".to_owned(), "/v1/refunds".to_owned(), format!("{nobody}/capture"), format!("{nobody}/cancel")] {
        let reply = world.raw(&format!("{path}?sync=true"), "{}").await;
        assert_problem(&path, &reply, &expect(400, "unknown_parameter", Some("sync"), "this address takes none"));
    }
    assert_nothing_was_written(&world).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unknown_malformed_or_another_merchants_is_not_found_on_every_route() {
    let world = World::start().await;
    let stranger = format!("bwk_test_{}", "cd".repeat(32));
    world.add_merchant("Stranger", &stranger).await;
    let mut hold = payment(1_000, &unique("order"));
    hold["capture_method"] = json!("manual");
    let (paid, hold) = (world.pay(1_250).await.id(), world.create(&hold).await.id());
    let refund = world.refund(&paid, 250).await.id();
    let before = world.payment(&paid).await;

    let owner = world.key.clone();
    let (no_payment, no_refund) = (format!("pay_{}", "0".repeat(32)), format!("ref_{}", "0".repeat(32)));
    let payments = [
        (&stranger, paid.as_str()),
        (&stranger, hold.as_str()),
        (&owner, no_payment.as_str()),
        (&owner, "pay_1"),
        (&owner, "A-1"),
        (&owner, "%FF"),
        (&owner, refund.as_str()),
    ];
    for (key, id) in payments {
        let missing = expect(404, "not_found", None, "There is no such payment");
        assert_problem(id, &world.get_as(key, &format!("/v1/payments/{id}?include=attempts,refunds,events")).await, &missing);
        for verb in ["capture", "cancel"] {
            let reply = world.post_as(key, &format!("/v1/payments/{id}/{verb}"), &unique("key"), &json!({})).await;
            assert_problem(&format!("{verb} {id}"), &reply, &missing);
        }
        let body = json!({"payment_id": id, "merchant_refund_id": unique("refund"), "amount": 1});
        let reply = world.post_as(key, "/v1/refunds", &unique("key"), &body).await;
        assert_complete(id, &reply);
        assert_eq!((reply.status, reply.text("code"), reply.text("retry")), (404, "not_found", "never"), "{id}: {:#}", reply.body);
    }
    for (key, id) in [(&stranger, refund.as_str()), (&owner, no_refund.as_str()), (&owner, "ref_1"), (&owner, paid.as_str())] {
        let reply = world.get_as(key, &format!("/v1/refunds/{id}")).await;
        assert_problem(id, &reply, &expect(404, "not_found", None, "There is no such refund"));
    }
    for list in ["/v1/payments".to_owned(), "/v1/refunds".to_owned(), format!("/v1/refunds?payment_id={paid}")] {
        assert_eq!(world.get_as(&stranger, &list).await.body["data"], json!([]), "{list}");
    }
    let reply = Reply::of(world.send("POST", "/v1/notifications/paypal_main", &[], "{}").await);
    assert_problem("channel", &reply, &expect(404, "not_found", None, "no such channel"));

    // A cursor of one list opens no other, and shows a stranger nothing.
    let page = world.get("/v1/payments?limit=1").await;
    let cursor = page.text("next_cursor").to_owned();
    assert_eq!(world.get_as(&stranger, &format!("/v1/payments?cursor={cursor}")).await.body["data"], json!([]));
    let reply = world.get(&format!("/v1/refunds?cursor={cursor}")).await;
    assert_problem("another list's cursor", &reply, &expect(400, "invalid_cursor", Some("cursor"), "next_cursor"));

    assert_eq!(world.payment(&paid).await, before, "nobody changed it");
    assert_eq!(world.payment(&hold).await["status"], "requires_capture");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_good_key_for_the_route_is_turned_away_and_told_which_scheme_to_use() {
    let world = World::start().await;
    let now = world.clock.wall();
    let revoked = format!("bwk_test_{}", "ef".repeat(32));
    let merchant = world.add_merchant("Gone", &revoked).await;
    let (client, connection) = tokio_postgres::connect(&world.database_url, tokio_postgres::NoTls).await.expect("the database");
    tokio::spawn(connection);
    client.execute("UPDATE api_key SET revoked_at = $2 WHERE merchant_id = $1", &[&merchant, &now]).await.expect("revoked");
    world.running.store.add_operator("gone", "admin", &crate::world::sha256("bwo_test_gone"), now).await.expect("an operator");
    client.execute("UPDATE operator SET revoked_at = $1 WHERE name = 'gone'", &[&now]).await.expect("revoked");

    let id = "0".repeat(32);
    let merchants = [
        ("GET", "/v1/payments".to_owned()),
        ("POST", "/v1/payments".to_owned()),
        ("GET", format!("/v1/payments/pay_{id}")),
        ("POST", format!("/v1/payments/pay_{id}/capture")),
        ("POST", format!("/v1/payments/pay_{id}/cancel")),
        ("GET", "/v1/refunds".to_owned()),
        ("POST", "/v1/refunds".to_owned()),
        ("GET", format!("/v1/refunds/ref_{id}")),
    ];
    let operators = ["/metrics", "/ops/v1/channels", "/ops/v1/unknowns", "/ops/v1/integrity"].map(|path| ("GET", path.to_owned()));
    let live = world.key.replace("bwk_test_", "bwk_live_");
    let bad = [
        (None, "is missing"),
        (Some(format!("Bearer {revoked}")), "unknown, has expired or was revoked"),
        (Some(format!("Bearer {live}")), "unknown, has expired or was revoked"),
        (Some(format!("Bearer bwk_test_{}", "00".repeat(32))), "unknown, has expired or was revoked"),
        (Some(format!("Bearer {}", world.ops_token)), "is not an API key"),
        (Some(format!("Digest {}", world.key)), "cannot be read"),
        (Some(world.key.clone()), "cannot be read"),
        (Some("Basic !!!".to_owned()), "cannot be read"),
        (Some("Bearer ".to_owned()), "cannot be read"),
    ];
    let body = payment(1_250, "A-1").to_string();
    let ask = async |method: &str, path: &str, authorization: Option<&str>| {
        let mut headers = vec![("content-type", "application/json"), ("idempotency-key", "k")];
        headers.extend(authorization.map(|value| ("authorization", value)));
        Reply::of(world.send(method, path, &headers, if method == "POST" { &body } else { "" }).await)
    };
    for (method, path) in &merchants {
        for (authorization, says) in &bad {
            let reply = ask(method, path, authorization.as_deref()).await;
            let case = format!("{method} {path} {authorization:?}");
            assert_problem(&case, &reply, &expect(401, "unauthenticated", Some("Authorization"), says));
            assert_eq!(reply.headers["www-authenticate"], "Bearer realm=\"breakwater\"", "{case}");
        }
    }
    for (method, path) in &operators {
        for authorization in [None, Some("Bearer bwo_test_gone"), Some("Bearer bwo_test_nobody"), Some("Basic !!!")] {
            let reply = ask(method, path, authorization).await;
            let case = format!("{path} {authorization:?}");
            assert_problem(&case, &reply, &expect(401, "unauthenticated", Some("Authorization"), "."));
            assert!(reply.headers.contains_key("www-authenticate"), "{case}");
        }
        let reply = ask(method, path, Some(&format!("Bearer {}", world.key))).await;
        assert_problem(path, &reply, &expect(403, "forbidden", Some("Authorization"), "an operator's token is needed"));
    }
    assert_nothing_was_written(&world).await;
    world.close().await;
}

//! The sandbox over real sockets: what a caller sees on the wire, what the book says, and what survives.
//!
//! The client here is a raw socket on purpose: a library would hide a reset, a half answer and a closed listener behind its retries.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use breakwater::sandbox::stripe::form::Form;
use breakwater::sandbox::stripe::signature;
use breakwater::sandbox::{AccountSettings, Running, Sandbox, SandboxError, SandboxSettings};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

const PAY: &str = "/v1/payment_intents";
/// Long enough for anything that will happen; reached only by a failing test.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long we look for what must not come. Too short a look can only make a test pass that should fail, never the other way.
const GLANCE: Duration = Duration::from_millis(150);

struct World {
    sandbox: Sandbox,
    folder: TempDir,
}

#[derive(Debug, Clone)]
struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    fn error_code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

fn account() -> AccountSettings {
    AccountSettings {
        secret_key: "sk_test_breakwater".into(),
        webhook_secret: "whsec_breakwater_test".into(),
        ..AccountSettings::stripe("stripe_main")
    }
}

fn settings(folder: &Path) -> SandboxSettings {
    SandboxSettings {
        accounts: vec![account(), AccountSettings::stripe("stripe_backup")],
        search_lag_ms: 0,
        seed: Some(1),
        ..SandboxSettings::new(folder)
    }
}

impl World {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut SandboxSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path());
        change(&mut settings);
        Self { sandbox: Sandbox::start(settings).await.unwrap(), folder }
    }

    fn url(&self) -> &str {
        self.sandbox.channel_url("stripe_main").unwrap()
    }

    async fn post(&self, path: &str, key: &str, body: &str) -> Answer {
        self.try_post(path, key, body).await.unwrap()
    }

    async fn try_post(&self, path: &str, key: &str, body: &str) -> io::Result<Answer> {
        let mut wire = Wire::connect(self.url()).await?;
        wire.send(&stripe_post(path, key, body)).await?;
        wire.answer().await
    }

    async fn get(&self, path: &str) -> Answer {
        let mut wire = Wire::connect(self.url()).await.unwrap();
        wire.send(&format!("GET {path} HTTP/1.1\r\nhost: sandbox\r\nauthorization: Bearer sk_test_breakwater\r\n\r\n")).await.unwrap();
        wire.answer().await.unwrap()
    }

    async fn pay(&self, key: &str, amount: i64) -> Answer {
        self.post(PAY, key, &pay(key, amount)).await
    }

    async fn control(&self, method: &str, path: &str, body: Value) -> Answer {
        let mut wire = Wire::connect(self.sandbox.control_url()).await.unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        wire.send(&format!("{method} {path} HTTP/1.1\r\nhost: sandbox\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await.unwrap();
        wire.answer().await.unwrap()
    }

    async fn fault(&self, mode: &str) {
        let answer = self.control("PUT", "/_control/stripe_main/faults", json!({"mode": mode})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    async fn heal(&self) {
        assert_eq!(self.control("DELETE", "/_control/stripe_main/faults", Value::Null).await.status, 204);
    }

    async fn customer(&self, reference: &str, act: &str) -> Answer {
        self.control("POST", "/_control/stripe_main/customer", json!({"reference": reference, "act": act})).await
    }

    /// kind, reference and amount of every entry.
    async fn book(&self) -> Vec<(String, String, i64)> {
        let answer = self.control("GET", "/_control/stripe_main/book", Value::Null).await;
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
        let entries = answer.json();
        entries.as_array().unwrap().iter().map(|entry| (text(entry, "kind"), text(entry, "reference"), entry["amount"].as_i64().unwrap())).collect()
    }

    async fn until_booked(&self, entries: usize) -> Vec<(String, String, i64)> {
        let reach = async {
            loop {
                let book = self.book().await;
                if book.len() >= entries {
                    return book;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reach).await.expect("the book never got there")
    }

    async fn until_status(&self, path: &str, status: &str) -> Value {
        let reach = async {
            loop {
                let object = self.get(path).await.json();
                if object["status"] == status {
                    return object;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reach).await.expect("the object never got there")
    }

    async fn restart(self, change: impl FnOnce(&mut SandboxSettings)) -> Self {
        let Self { sandbox, folder } = self;
        sandbox.stop().await;
        let mut settings = settings(folder.path());
        change(&mut settings);
        Self { sandbox: Sandbox::start(settings).await.unwrap(), folder }
    }
}

fn pay(attempt: &str, amount: i64) -> String {
    format!("amount={amount}&currency=cny&payment_method=pm_card_visa&confirm=true&metadata[attempt]={attempt}&metadata[order]=o-{attempt}")
}

fn charge(attempt: &str, amount: i64) -> (String, String, i64) {
    ("charge".into(), attempt.into(), amount)
}

fn stripe_post(path: &str, key: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: sandbox\r\nauthorization: Bearer sk_test_breakwater\r\nidempotency-key: {key}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One connection.
struct Wire {
    stream: TcpStream,
}

impl Wire {
    async fn connect(url: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(url.trim_start_matches("http://")).await?;
        Ok(Self { stream })
    }

    async fn send(&mut self, request: &str) -> io::Result<()> {
        self.stream.write_all(request.as_bytes()).await
    }

    /// Reads the head, and of the body what came with it.
    async fn head(&mut self) -> io::Result<(Answer, usize)> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if timeout(PATIENCE, self.stream.read_buf(&mut bytes)).await.expect("no answer")? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: HashMap<String, String> =
            lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        Ok((Answer { status, headers, body: String::from_utf8(bytes[end..].to_vec()).unwrap() }, length))
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let (mut answer, length) = self.head().await?;
        let mut rest = vec![0; length.saturating_sub(answer.body.len())];
        timeout(PATIENCE, self.stream.read_exact(&mut rest)).await.expect("half an answer")?;
        answer.body.push_str(&String::from_utf8(rest).unwrap());
        Ok(answer)
    }

    async fn is_silent(&mut self) -> bool {
        timeout(GLANCE, self.stream.read_u8()).await.is_err()
    }
}

/// The orchestrator's ear: answers every notification with what `status` says for its number.
struct Ear {
    address: SocketAddr,
    heard: mpsc::UnboundedReceiver<(String, Answer)>,
}

impl Ear {
    async fn listen(status: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heard) = mpsc::unbounded_channel();
        let status = Arc::new(status);
        let number = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (tell, status, number) = (tell.clone(), status.clone(), number.clone());
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                        let headers: HashMap<String, String> = head
                            .lines()
                            .filter_map(|line| line.split_once(": "))
                            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                            .collect();
                        if body.len() < headers["content-length"].parse::<usize>().unwrap() {
                            continue;
                        }
                        let path = head.split(' ').nth(1).unwrap().to_owned();
                        let status = status(number.fetch_add(1, Ordering::Relaxed));
                        let _ = tell.send((path, Answer { status, headers, body: body.to_owned() }));
                        bytes.clear();
                        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                });
            }
        });
        Self { address, heard }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn hear(&mut self) -> (String, Answer) {
        timeout(PATIENCE, self.heard.recv()).await.expect("no notification").unwrap()
    }

    async fn hear_type(&mut self) -> String {
        self.hear().await.1.json()["type"].as_str().unwrap().to_owned()
    }
}

fn is_signed_by(notification: &Answer, secret: &str) -> bool {
    let header = &notification.headers["stripe-signature"];
    let time = header.trim_start_matches("t=").split(',').next().unwrap().parse().unwrap();
    signature::header(secret, time, notification.body.as_bytes()) == *header
}

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/stripe.json")).unwrap()
}

#[test]
fn signatures_are_those_of_the_official_libraries() {
    let vectors = vectors();
    let accepted = vectors["webhooks"].as_array().unwrap().iter().filter(|vector| vector["accept"] == true);
    let mut seen = 0;
    for vector in accepted.chain(vectors["localstripe_deliveries"].as_array().unwrap()) {
        let header = vector["header"].as_str().unwrap();
        let time = header.trim_start_matches("t=").split(',').next().unwrap().parse().unwrap();
        assert_eq!(signature::header(vector["secret"].as_str().unwrap(), time, vector["body"].as_str().unwrap().as_bytes()), header);
        seen += 1;
    }
    assert_eq!(seen, 5);
}

#[tokio::test]
async fn every_recorded_request_of_the_official_libraries_is_understood() {
    let world = World::start().await;
    let mut kinds = HashMap::new();
    for request in vectors()["requests"].as_array().unwrap() {
        // The libraries reuse their keys, so each request meets an empty account with one payment.
        assert_eq!(world.control("DELETE", "/_control/_books", Value::Null).await.status, 204);
        let (method, body) = (request["method"].as_str().unwrap(), request["body"].as_str().unwrap());
        let capture = if request["target"].as_str().unwrap().ends_with("/v1/refunds") { "automatic" } else { "manual" };
        let setup = format!("amount=8888&currency=cny&payment_method=pm_card_visa&confirm=true&capture_method={capture}");
        let intent = world.post(PAY, "setup", &setup).await.json()["id"].as_str().unwrap().to_owned();
        let target = request["target"].as_str().unwrap().replace("pi_1", &intent);
        let body = body.replace("pi_1", &intent);
        let mut text = format!("{method} {target} HTTP/1.1\r\nhost: sandbox\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in request["headers"].as_object().unwrap() {
            text.push_str(&format!("{name}: {}\r\n", value.as_str().unwrap()));
        }
        let mut wire = Wire::connect(world.url()).await.unwrap();
        wire.send(&format!("{text}\r\n{body}")).await.unwrap();
        let answer = wire.answer().await.unwrap();
        assert_eq!(answer.status, 200, "{request}: {}", answer.body);
        let object = answer.json();
        let what = if method == "GET" { "retrieve" } else { target.rsplit('/').next().unwrap() };
        *kinds.entry(what.to_owned()).or_insert(0) += 1;
        match what {
            "payment_intents" => {
                assert_eq!(object["amount"], 8888);
                assert_eq!(object["currency"], "cny");
                assert_eq!(object["metadata"], json!({"order": "BW 1&2", "n": "测试"}));
                assert_eq!(object["payment_method_types"], json!(["card", "alipay"]));
                let manual = body.contains("manual");
                assert_eq!(object["status"], if manual { "requires_capture" } else { "succeeded" });
                assert_eq!(object["amount_capturable"], if manual { 8888 } else { 0 });
            }
            "retrieve" => assert_eq!(object["latest_charge"]["object"], "charge"),
            "capture" => assert_eq!((&object["amount_received"], &object["status"]), (&json!(500), &json!("succeeded"))),
            "cancel" => assert_eq!((&object["cancellation_reason"], &object["status"]), (&json!("abandoned"), &json!("canceled"))),
            "refunds" => assert_eq!((&object["amount"], &object["payment_intent"]), (&json!(100), &json!(intent))),
            other => panic!("nothing is known of {other}"),
        }
    }
    assert_eq!(kinds.values().sum::<i32>(), 7);
}

#[test]
fn raw_and_encoded_brackets_are_one_name() {
    let raw = Form::parse(b"expand[0]=latest_charge&a=b+c").unwrap();
    assert_eq!(raw, Form::parse(b"expand%5B0%5D=latest_charge&a=b%20c").unwrap());
    assert_ne!(raw, Form::parse(b"expand%5B1%5D=latest_charge&a=b%20c").unwrap());
}

#[tokio::test]
async fn a_payment_is_booked_under_its_attempt_and_a_refund_and_a_reversal_under_theirs() {
    let world = World::start().await;
    let intent = world.pay("att-1", 1250).await.json();
    let id = intent["id"].as_str().unwrap();
    assert_eq!(intent["status"], "succeeded");
    let refund = world.post("/v1/refunds", "k2", &format!("payment_intent={id}&amount=200&metadata[attempt]=att-2")).await.json();
    assert_eq!(refund["status"], "succeeded");
    world.post("/v1/refunds", "k3", &format!("payment_intent={id}&metadata[attempt]=att-3&metadata[reverses]=att-1")).await;
    let book = world.book().await;
    assert_eq!(book, [charge("att-1", 1250), ("refund".into(), "att-2".into(), 200), ("reversal".into(), "att-1".into(), 1050)]);
    let entry = &world.control("GET", "/_control/stripe_main/book?from=2", Value::Null).await.json()[0];
    assert_eq!((&entry["payment_intent"], &entry["order"], &entry["currency"]), (&json!(id), &json!("o-att-1"), &json!("CNY")));
    let list = world.get(&format!("/v1/refunds?payment_intent={id}")).await.json();
    assert_eq!(list["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn creating_first_and_confirming_later_books_once_at_the_confirmation() {
    let world = World::start().await;
    let created = world.post(PAY, "c1", "amount=900&currency=USD&metadata[attempt]=a1&payment_method_types[]=card").await.json();
    assert_eq!((&created["status"], &created["currency"]), (&json!("requires_payment_method"), &json!("usd")));
    assert!(world.book().await.is_empty());
    let confirm = format!("{PAY}/{}/confirm", created["id"].as_str().unwrap());
    assert_eq!(world.post(&confirm, "c2", "payment_method=pm_card_visa").await.json()["status"], "succeeded");
    let again = world.post(&confirm, "c3", "payment_method=pm_card_visa").await;
    assert_eq!((again.status, again.error_code().as_str()), (400, "payment_intent_unexpected_state"));
    assert_eq!(again.json()["error"]["payment_intent"]["status"], "succeeded");
    assert_eq!(world.book().await, [charge("a1", 900)]);
}

#[tokio::test]
async fn after_a_cancel_a_confirm_is_refused_and_nothing_is_booked() {
    let world = World::start().await;
    let created = world.post(PAY, "c1", "amount=900&currency=cny&payment_method=pm_card_visa").await.json();
    assert_eq!(created["status"], "requires_confirmation");
    let path = format!("{PAY}/{}", created["id"].as_str().unwrap());
    assert_eq!(world.post(&format!("{path}/cancel"), "c2", "").await.json()["status"], "canceled");
    assert_eq!(world.post(&format!("{path}/confirm"), "c3", "").await.error_code(), "payment_intent_unexpected_state");
    assert!(world.book().await.is_empty());
}

#[tokio::test]
async fn a_hold_books_nothing_and_its_one_capture_books_under_the_captures_key() {
    let world = World::start().await;
    let held = world.post(PAY, "h1", &format!("{}&capture_method=manual", pay("a1", 1000))).await.json();
    assert_eq!((&held["status"], &held["amount_capturable"]), (&json!("requires_capture"), &json!(1000)));
    assert!(world.book().await.is_empty());
    let capture = format!("{PAY}/{}/capture", held["id"].as_str().unwrap());
    assert_eq!(world.post(&capture, "too-much", "amount_to_capture=1001").await.error_code(), "amount_too_large");
    assert_eq!(world.post(&capture, "cap-1", "amount_to_capture=600").await.json()["amount_received"], 600);
    assert_eq!(world.post(&capture, "cap-2", "amount_to_capture=400").await.error_code(), "payment_intent_unexpected_state");
    assert_eq!(world.book().await, [charge("cap-1", 600)]);
}

#[tokio::test]
async fn no_more_is_refunded_than_was_taken() {
    let world = World::start().await;
    let id = world.pay("a1", 1000).await.json()["id"].as_str().unwrap().to_owned();
    let refund = |key: &'static str, amount: i64| {
        let body = format!("payment_intent={id}&amount={amount}");
        let world = &world;
        async move { world.post("/v1/refunds", key, &body).await }
    };
    assert_eq!(refund("r1", 700).await.status, 200);
    assert_eq!(refund("r2", 301).await.error_code(), "amount_too_large");
    assert_eq!(refund("r3", 300).await.status, 200);
    assert_eq!(refund("r4", 1).await.error_code(), "charge_already_refunded");
    assert_eq!(world.book().await.iter().filter(|entry| entry.0 == "refund").map(|entry| entry.2).sum::<i64>(), 1000);
}

#[tokio::test]
async fn a_test_card_declines_with_its_own_reason_and_the_intent_can_be_tried_again() {
    let world = World::start().await;
    let cards = [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", ""),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", ""),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", ""),
        ("pm_card_authenticationRequired", "authentication_required", "authentication_required"),
    ];
    for (card, code, decline_code) in cards {
        let answer = world.post(PAY, card, &format!("amount=500&currency=cny&confirm=true&payment_method={card}&metadata[attempt]={card}")).await;
        assert_eq!(answer.status, 402, "{card}");
        let error = &answer.json()["error"];
        assert_eq!((&error["type"], &error["code"]), (&json!("card_error"), &json!(code)));
        assert_eq!(error["decline_code"].as_str().unwrap_or_default(), decline_code);
        assert_eq!(error["payment_intent"]["status"], "requires_payment_method");
        assert_eq!(error["payment_intent"]["last_payment_error"]["code"], code);
        let confirm = format!("{PAY}/{}/confirm", error["payment_intent"]["id"].as_str().unwrap());
        assert_eq!(world.post(&confirm, &format!("{card}-2"), "payment_method=pm_card_visa").await.status, 200);
        assert_eq!(world.book().await.last(), Some(&charge(card, 500)));
    }
}

#[tokio::test]
async fn a_key_executes_once_and_answers_the_same_to_the_byte() {
    let world = World::start().await;
    let first = world.pay("a1", 1250).await;
    let again = world.pay("a1", 1250).await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(again.headers["original-request"], first.headers["request-id"]);
    assert!(!first.headers.contains_key("idempotent-replayed"));
    let other = world.post(PAY, "a1", &pay("a1", 1300)).await;
    assert_eq!((other.status, &other.json()["error"]["type"]), (400, &json!("idempotency_error")));
    assert_eq!(world.book().await, [charge("a1", 1250)]);

    let declined = world.pay("a2", 1201).await;
    let again = world.pay("a2", 1201).await;
    assert_eq!((again.status, &again.body), (402, &declined.body));
    assert_eq!(again.headers["idempotent-replayed"], "true");
}

#[tokio::test]
async fn a_key_is_free_again_after_an_answer_that_executed_nothing() {
    let world = World::start().await;
    assert_eq!(world.post(PAY, "k", "amount=0&currency=cny").await.status, 400);
    assert_eq!(world.post(PAY, "k", "amount=100&currency=cny&colour=red").await.error_code(), "parameter_unknown");
    let mut wire = Wire::connect(world.url()).await.unwrap();
    wire.send(&stripe_post(PAY, "k", &pay("k", 1250)).replace("Bearer sk_test_breakwater", "Bearer sk_test_other")).await.unwrap();
    assert_eq!(wire.answer().await.unwrap().status, 401);
    world.fault("throttle").await;
    assert_eq!(world.pay("k", 1250).await.error_code(), "rate_limit");
    world.fault("error_not_processed").await;
    assert_eq!(world.pay("k", 1250).await.status, 500);
    world.heal().await;
    let answer = world.pay("k", 1250).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("idempotent-replayed"));
    assert_eq!(world.book().await, [charge("k", 1250)]);
}

#[tokio::test]
async fn a_key_whose_first_request_is_not_answered_yet_is_in_use() {
    let world = World::start().await;
    let mut first = Wire::connect(world.url()).await.unwrap();
    first.send(&stripe_post(PAY, "k", &pay("k", 1205))).await.unwrap();
    world.until_booked(1).await;
    let second = world.pay("k", 1205).await;
    assert_eq!((second.status, second.error_code().as_str()), (409, "idempotency_key_in_use"));
    assert!(first.is_silent().await);
    drop(first);
    let replayed = async {
        loop {
            let again = world.pay("k", 1205).await;
            if again.status != 409 {
                return again;
            }
        }
    };
    let replayed = timeout(PATIENCE, replayed).await.unwrap();
    assert_eq!((replayed.status, replayed.headers["idempotent-replayed"].as_str()), (200, "true"));
    assert_eq!(world.book().await, [charge("k", 1205)]);
}

#[tokio::test]
async fn basic_credentials_are_as_good_as_a_bearer() {
    let world = World::start().await;
    for (credentials, status) in [("Basic c2tfdGVzdF9icmVha3dhdGVyOg==", 200), ("Basic c2tfdGVzdF9vdGhlcjo=", 401), ("Bearer sk_test_other", 401)] {
        let mut wire = Wire::connect(world.url()).await.unwrap();
        wire.send(&format!("GET {PAY} HTTP/1.1\r\nhost: sandbox\r\nauthorization: {credentials}\r\n\r\n")).await.unwrap();
        assert_eq!(wire.answer().await.unwrap().status, status, "{credentials}");
    }
}

#[tokio::test]
async fn search_and_list_find_a_payment_by_its_attempt_and_time_and_search_lags() {
    let world = World::start().await;
    for attempt in ["a1", "a2", "a3"] {
        world.pay(attempt, 1250).await;
    }
    let found = world.get(&format!("{PAY}/search?query=metadata%5B'attempt'%5D%3A'a2'")).await.json();
    assert_eq!(found["object"], "search_result");
    assert_eq!(found["data"].as_array().unwrap().len(), 1);
    assert_eq!(found["data"][0]["metadata"]["attempt"], "a2");
    let none = world.get(&format!("{PAY}/search?query=metadata['attempt']:'a2'+AND+status:'canceled'")).await.json();
    assert_eq!(none["data"], json!([]));

    let page = world.get(&format!("{PAY}?limit=2&created[gte]=1")).await.json();
    let attempts: Vec<&Value> = page["data"].as_array().unwrap().iter().map(|intent| &intent["metadata"]["attempt"]).collect();
    assert_eq!((attempts, &page["has_more"]), (vec![&json!("a3"), &json!("a2")], &json!(true)));
    let rest = world.get(&format!("{PAY}?starting_after={}", page["data"][1]["id"].as_str().unwrap())).await.json();
    assert_eq!((rest["data"].as_array().unwrap().len(), &rest["has_more"]), (1, &json!(false)));
    assert_eq!(world.get(&format!("{PAY}?created[gte]=99999999999")).await.json()["data"], json!([]));

    let world = world.restart(|settings| settings.search_lag_ms = 3_600_000).await;
    let lagging = world.get(&format!("{PAY}/search?query=metadata['attempt']:'a2'")).await.json();
    assert_eq!(lagging["data"], json!([]));
}

#[tokio::test]
async fn what_does_not_exist_is_404_with_stripes_error() {
    let world = World::start().await;
    assert_eq!(world.get(&format!("{PAY}/pi_none")).await.error_code(), "resource_missing");
    assert_eq!(world.get("/v1/refunds/re_none").await.status, 404);
    assert_eq!(world.post(&format!("{PAY}/pi_none/confirm"), "k", "").await.status, 404);
    assert_eq!(world.post("/v1/nothing", "k", "").await.json()["error"]["type"], "invalid_request_error");
    assert_eq!(world.control("GET", "/_control/nobody/book", Value::Null).await.status, 404);
    assert_eq!(world.control("PUT", "/_control/stripe_main/faults", json!({"mode": "flood"})).await.status, 400);
    assert_eq!(world.control("PUT", "/_control/stripe_main/faults", json!({"mode": "decline", "rate": 1.5})).await.status, 400);
}

#[tokio::test]
async fn an_error_after_charging_charges_and_the_500_stays_even_when_healed() {
    let world = World::start().await;
    world.fault("error_processed").await;
    assert_eq!(world.pay("k", 1250).await.status, 500);
    assert_eq!(world.book().await, [charge("k", 1250)]);
    world.heal().await;
    let again = world.pay("k", 1250).await;
    assert_eq!((again.status, again.headers["idempotent-replayed"].as_str()), (500, "true"));
    let found = world.get(&format!("{PAY}/search?query=metadata['attempt']:'k'")).await.json();
    assert_eq!(found["data"][0]["status"], "succeeded");
    assert_eq!(world.book().await.len(), 1);
}

#[tokio::test]
async fn a_timeout_is_silence_and_the_repeat_tells_whether_it_was_charged() {
    for (mode, charged) in [("timeout_processed", true), ("timeout_not_processed", false)] {
        let world = World::start().await;
        world.fault(mode).await;
        let mut wire = Wire::connect(world.url()).await.unwrap();
        wire.send(&stripe_post(PAY, "k", &pay("k", 1250))).await.unwrap();
        assert!(wire.is_silent().await);
        assert_eq!(world.book().await.len(), usize::from(charged), "{mode}");
        drop(wire);
        world.heal().await;
        let again = async {
            loop {
                let again = world.pay("k", 1250).await;
                if again.status != 409 {
                    return again;
                }
            }
        };
        let again = timeout(PATIENCE, again).await.unwrap();
        assert_eq!((again.status, again.headers.contains_key("idempotent-replayed")), (200, charged), "{mode}");
        assert_eq!(world.book().await, [charge("k", 1250)]);
    }
}

#[tokio::test]
async fn a_reset_sends_no_byte_and_charges_only_after() {
    for (mode, charged) in [("reset_before", false), ("reset_after", true)] {
        let world = World::start().await;
        world.fault(mode).await;
        let refusal = world.try_post(PAY, "k", &pay("k", 1250)).await.unwrap_err();
        assert_eq!(refusal.kind(), io::ErrorKind::ConnectionReset, "{mode}");
        assert_eq!(world.book().await.len(), usize::from(charged), "{mode}");
        world.heal().await;
        assert_eq!(world.pay("k", 1250).await.headers.contains_key("idempotent-replayed"), charged);
        assert_eq!(world.book().await, [charge("k", 1250)]);
    }
}

#[tokio::test]
async fn a_malformed_answer_is_a_200_that_is_no_json_and_was_charged() {
    let world = World::start().await;
    world.fault("malformed").await;
    let answer = world.pay("k", 1250).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with('{') && serde_json::from_str::<Value>(&answer.body).is_err());
    assert_eq!(world.book().await, [charge("k", 1250)]);
}

#[tokio::test]
async fn a_slow_drip_charges_and_does_not_get_to_the_end() {
    let world = World::start().await;
    world.fault("slow_drip").await;
    let mut wire = Wire::connect(world.url()).await.unwrap();
    wire.send(&stripe_post(PAY, "k", &pay("k", 1250))).await.unwrap();
    let (answer, length) = wire.head().await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(world.book().await, [charge("k", 1250)]);
    let mut some = [0; 2];
    timeout(PATIENCE, wire.stream.read_exact(&mut some)).await.unwrap().unwrap();
    let mut rest = vec![0; length - answer.body.len() - some.len()];
    assert!(timeout(GLANCE, wire.stream.read_exact(&mut rest)).await.is_err());
}

#[tokio::test]
async fn a_decline_on_demand_charges_nothing_and_refunds_nothing() {
    let world = World::start().await;
    let id = world.pay("a1", 1250).await.json()["id"].as_str().unwrap().to_owned();
    world.fault("decline").await;
    assert_eq!(world.pay("a2", 1250).await.error_code(), "card_declined");
    let refund = world.post("/v1/refunds", "r1", &format!("payment_intent={id}")).await.json();
    assert_eq!((&refund["status"], &refund["failure_reason"]), (&json!("failed"), &json!("declined")));
    world.heal().await;
    assert_eq!(world.book().await, [charge("a1", 1250)]);
    assert_eq!(world.post("/v1/refunds", "r2", &format!("payment_intent={id}")).await.json()["amount"], 1250);
}

#[tokio::test]
async fn a_fault_hits_only_its_operations_and_about_its_share() {
    let world = World::start().await;
    world.fault("throttle").await;
    assert_eq!(world.get(PAY).await.status, 200);
    assert_eq!(world.post(PAY, "c", "amount=100&currency=cny").await.status, 200);
    world.control("PUT", "/_control/stripe_main/faults", json!({"mode": "throttle", "operations": ["query", "create"]})).await;
    assert_eq!(world.get(PAY).await.status, 429);
    assert_eq!(world.post(PAY, "d", "amount=100&currency=cny").await.status, 429);
    assert_eq!(world.pay("k", 1250).await.status, 200);
    world.control("PUT", "/_control/stripe_main/faults", json!({"mode": "throttle", "rate": 0.5})).await;
    let mut throttled = 0;
    for nth in 0..60 {
        throttled += i32::from(world.pay(&format!("n{nth}"), 1250).await.status == 429);
    }
    assert!((10..50).contains(&throttled), "{throttled} of 60");
}

#[tokio::test]
async fn refuse_shuts_the_port_ends_idle_connections_answers_what_is_in_flight_and_heals_at_the_same_port() {
    let world = World::start().await;
    let mut idle = Wire::connect(world.url()).await.unwrap();
    idle.send(&format!("GET {PAY} HTTP/1.1\r\nhost: sandbox\r\nauthorization: Bearer sk_test_breakwater\r\n\r\n")).await.unwrap();
    idle.answer().await.unwrap();
    let mut untouched = Wire::connect(world.url()).await.unwrap();
    world.control("PUT", "/_control/stripe_main/faults", json!({"latency_ms": 2000})).await;
    let mut busy = Wire::connect(world.url()).await.unwrap();
    busy.send(&stripe_post(PAY, "k", &pay("k", 1250))).await.unwrap();
    world.until_booked(1).await;

    world.fault("refuse").await;
    assert_eq!(Wire::connect(world.url()).await.err().map(|refusal| refusal.kind()), Some(io::ErrorKind::ConnectionRefused));
    assert_eq!(timeout(PATIENCE, idle.stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    assert_eq!(timeout(PATIENCE, untouched.stream.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    let answer = busy.answer().await.unwrap();
    assert_eq!((answer.status, answer.headers["connection"].as_str()), (200, "close"));
    assert_eq!(world.control("GET", "/_control", Value::Null).await.json()["channels"]["stripe_main"]["open"], false);
    let other = world.sandbox.channel_url("stripe_backup").unwrap();
    assert!(Wire::connect(other).await.is_ok(), "only one channel refuses");

    world.heal().await;
    assert_eq!(world.get(PAY).await.status, 200);
}

#[tokio::test]
async fn magic_amounts_do_what_the_table_says() {
    let world = World::start().await;
    assert_eq!(world.pay("a01", 1201).await.error_code(), "card_declined");
    for (attempt, amount) in [("a02", 1202), ("a03", 1203), ("a05", 1205)] {
        let mut wire = Wire::connect(world.url()).await.unwrap();
        wire.send(&stripe_post(PAY, attempt, &pay(attempt, amount))).await.unwrap();
        assert!(wire.is_silent().await, "{attempt} was answered");
    }
    assert_eq!(world.book().await, [charge("a02", 1202), charge("a05", 1205)]);
}

#[tokio::test]
async fn a_refund_that_ends_in_07_is_pending_first_and_booked_when_it_succeeds() {
    let world = World::with(|settings| settings.pending_refund = Duration::from_millis(300)).await;
    let id = world.pay("a1", 1007).await.json()["id"].as_str().unwrap().to_owned();
    let refund = world.post("/v1/refunds", "r1", &format!("payment_intent={id}&metadata[attempt]=r1")).await.json();
    assert_eq!(refund["status"], "pending");
    world.until_status(&format!("/v1/refunds/{}", refund["id"].as_str().unwrap()), "succeeded").await;
    assert_eq!(world.book().await, [charge("a1", 1007), ("refund".into(), "r1".into(), 1007)]);
}

#[tokio::test]
async fn a_customer_who_opens_the_page_pays_and_one_who_never_does_does_not() {
    let world = World::with(|settings| settings.pay_after_ms = 1).await;
    let confirm =
        |attempt: &str| pay(attempt, 1250).replace("pm_card_visa", "pm_card_threeDSecureRequired") + "&return_url=https://shop.example/back";
    let waiting = world.post(PAY, "a1", &confirm("a1")).await.json();
    assert_eq!((&waiting["status"], &waiting["next_action"]["type"]), (&json!("requires_action"), &json!("redirect_to_url")));
    let other = world.post(PAY, "a2", &confirm("a2")).await.json();
    let page = waiting["next_action"]["redirect_to_url"]["url"].as_str().unwrap().strip_prefix(world.url()).unwrap();
    assert_eq!(world.get(page.split('?').next().unwrap()).await.status, 404, "the page needs its secret");
    assert_eq!(world.get(page).await.status, 200);
    world.until_status(&format!("{PAY}/{}", waiting["id"].as_str().unwrap()), "succeeded").await;
    assert_eq!(world.get(&format!("{PAY}/{}", other["id"].as_str().unwrap())).await.json()["status"], "requires_action");
    assert_eq!(world.book().await, [charge("a1", 1250)]);
}

#[tokio::test]
async fn what_the_customer_is_told_to_do_is_done_and_told() {
    let mut ear = Ear::listen(|_| 200).await;
    let url = ear.url();
    let world = World::with(|settings| {
        settings.pay_after_ms = 0;
        settings.notify_url = Some(url);
    })
    .await;
    let answer = world.post(PAY, "a1", &pay("a1", 1250).replace("pm_card_visa", "pm_card_threeDSecureRequired")).await;
    assert_eq!(ear.hear_type().await, "payment_intent.requires_action");
    assert_eq!(world.customer("nobody", "pay").await.status, 404);
    assert_eq!(world.customer("a1", "portal_refund").await.status, 409);
    assert_eq!(world.customer("a1", "abandon").await.json()["status"], "requires_action");
    assert_eq!(world.customer(answer.json()["id"].as_str().unwrap(), "pay").await.json()["status"], "succeeded");
    assert_eq!(ear.hear_type().await, "payment_intent.succeeded");
    assert_eq!(world.customer("a1", "pay").await.status, 409);
    for (act, amount) in [("dispute", 100), ("portal_refund", 1_000_000), ("portal_refund", 0)] {
        let asked = json!({"reference": "a1", "act": act, "amount": amount});
        let refused = world.control("POST", "/_control/stripe_main/customer", asked).await;
        assert_eq!(refused.status, if act == "dispute" { 400 } else { 409 }, "{act} {amount}");
    }
    assert_eq!(world.customer("a1", "portal_refund").await.status, 200);
    let mut both = [ear.hear_type().await, ear.hear_type().await];
    both.sort();
    assert_eq!(both, ["charge.refunded", "refund.updated"]);
    world.pay("a2", 300).await;
    assert_eq!(ear.hear_type().await, "payment_intent.succeeded");
    assert_eq!(world.customer("a2", "dispute").await.json()["latest_charge"]["disputed"], true);
    assert_eq!(ear.hear_type().await, "charge.dispute.created");
    let book = world.book().await;
    assert_eq!((book.len(), book[1].0.as_str(), book[1].2), (3, "refund", 1250));
}

#[tokio::test]
async fn what_the_payers_bank_does_days_later_is_booked_and_told() {
    let mut ear = Ear::listen(|_| 200).await;
    let url = ear.url();
    let world = World::with(|settings| settings.notify_url = Some(url)).await;
    let bank =
        async |reference: &str, act: &str| world.control("POST", "/_control/stripe_main/bank", json!({"reference": reference, "act": act})).await;
    world.pay("a1", 1250).await;
    assert_eq!(ear.hear_type().await, "payment_intent.succeeded");
    assert_eq!(bank("nobody", "return_refund").await.status, 404);
    assert_eq!(bank("a1", "dispute_won").await.status, 409, "nothing is disputed");
    let intent = world.customer("a1", "dispute").await.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(ear.hear_type().await, "charge.dispute.created");
    let refund = |amount: i64| format!("payment_intent={intent}&amount={amount}&metadata[attempt]=r1");
    assert_eq!(world.post("/v1/refunds", "r0", &refund(50)).await.error_code(), "charge_disputed");
    assert_eq!(bank("a1", "dispute_won").await.json()["status"], "won");
    assert_eq!(ear.hear_type().await, "charge.dispute.closed");
    assert_eq!(bank("a1", "dispute_lost").await.status, 409, "it was decided");

    assert_eq!(world.post("/v1/refunds", "r1", &refund(50)).await.json()["status"], "succeeded");
    let mut made = [ear.hear_type().await, ear.hear_type().await];
    made.sort();
    assert_eq!(made, ["charge.refunded", "refund.updated"]);
    assert_eq!(bank("r1", "return_refund").await.json()["status"], "failed");
    let mut told = [ear.hear_type().await, ear.hear_type().await];
    told.sort();
    assert_eq!(told, ["charge.refund.updated", "refund.failed"]);
    assert_eq!(bank("r1", "return_refund").await.status, 409, "it came back already");
    let book = world.book().await;
    assert_eq!(book.iter().map(|entry| (entry.0.as_str(), entry.2)).collect::<Vec<_>>(), [("charge", 1250), ("refund", 50), ("reversal", 50)]);
    assert_eq!(world.post("/v1/refunds", "r2", &refund(1250)).await.json()["status"], "succeeded", "all of it may be given back again");

    world.pay("a2", 300).await;
    world.customer("a2", "dispute").await;
    let lost = bank("a2", "dispute_lost").await.json();
    assert_eq!((&lost["status"], &lost["amount"]), (&json!("lost"), &json!(300)));
    let intent = lost["payment_intent"].as_str().unwrap();
    assert_eq!(world.post("/v1/refunds", "r3", &format!("payment_intent={intent}")).await.error_code(), "charge_disputed");
}

#[tokio::test]
async fn notifications_are_signed_and_tell_of_the_request_that_caused_them() {
    let mut ear = Ear::listen(|_| 200).await;
    let world = World::start().await;
    let told = world.control("PUT", "/_control/_orchestrator", json!({"notify_url": ear.url(), "pid": std::process::id()})).await;
    assert_eq!(told.status, 200);
    world.pay("a1", 1250).await;
    let (path, notification) = ear.hear().await;
    assert_eq!(path, "/v1/notifications/stripe_main");
    assert!(is_signed_by(&notification, "whsec_breakwater_test"));
    let event = notification.json();
    assert_eq!((&event["type"], &event["object"]), (&json!("payment_intent.succeeded"), &json!("event")));
    assert_eq!(event["data"]["object"]["metadata"]["attempt"], "a1");
    assert_eq!(event["request"]["idempotency_key"], "a1");

    world.pay("a2", 1206).await;
    assert!(!is_signed_by(&ear.hear().await.1, "whsec_breakwater_test"));
    world.fault("bad_signature").await;
    world.pay("a3", 1250).await;
    assert!(!is_signed_by(&ear.hear().await.1, "whsec_breakwater_test"));
}

#[tokio::test]
async fn a_notification_that_is_not_acknowledged_comes_again() {
    let mut ear = Ear::listen(|number| if number == 0 { 503 } else { 200 }).await;
    let url = ear.url();
    let world = World::with(|settings| settings.notify_url = Some(url)).await;
    world.pay("a1", 1250).await;
    let (first, second) = (ear.hear().await.1, ear.hear().await.1);
    assert_eq!((first.status, second.status), (503, 200));
    assert_eq!(first.json()["id"], second.json()["id"]);
}

#[tokio::test]
async fn a_duplicated_notification_comes_a_hundred_times_with_one_id() {
    let mut ear = Ear::listen(|_| 200).await;
    let url = ear.url();
    let world = World::with(|settings| settings.notify_url = Some(url)).await;
    for (attempt, amount) in [("magic", 1204), ("fault", 1250)] {
        if attempt == "fault" {
            world.fault("duplicate_notification").await;
        }
        world.pay(attempt, amount).await;
        let id = ear.hear().await.1.json()["id"].clone();
        for _ in 1..100 {
            assert_eq!(ear.hear().await.1.json()["id"], id);
        }
        assert!(timeout(GLANCE, ear.heard.recv()).await.is_err(), "a hundred, and no more");
    }
}

#[tokio::test]
async fn a_late_notification_is_overtaken_by_a_later_payment() {
    let mut ear = Ear::listen(|_| 200).await;
    let url = ear.url();
    let world = World::with(|settings| settings.notify_url = Some(url)).await;
    world.fault("late_notification").await;
    world.pay("late", 1250).await;
    world.heal().await;
    world.pay("prompt", 1250).await;
    for attempt in ["prompt", "late"] {
        assert_eq!(ear.hear().await.1.json()["data"]["object"]["metadata"]["attempt"], attempt);
    }
}

#[tokio::test]
async fn a_restart_remembers_ports_payments_refunds_keys_and_the_book() {
    let world = World::with(|settings| settings.pending_refund = Duration::from_secs(3600)).await;
    let url = world.url().to_owned();
    let first = world.pay("a1", 1007).await;
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let refund = world.post("/v1/refunds", "r1", &format!("payment_intent={id}&metadata[attempt]=r1")).await.json();
    let book = world.book().await;

    let world = world.restart(|_| ()).await;
    assert_eq!(world.url(), url);
    assert_eq!(world.book().await, book);
    let again = world.pay("a1", 1007).await;
    assert_eq!((&again.body, again.headers["idempotent-replayed"].as_str()), (&first.body, "true"));
    assert_eq!(world.get(&format!("/v1/refunds/{}", refund["id"].as_str().unwrap())).await.json(), refund);
    assert_eq!(world.post("/v1/refunds", "r2", &format!("payment_intent={id}")).await.error_code(), "charge_already_refunded");

    assert_eq!(world.control("DELETE", "/_control/_books", Value::Null).await.status, 204);
    let world = world.restart(|_| ()).await;
    assert!(world.book().await.is_empty());
    assert_eq!(world.get(&format!("{PAY}/{id}")).await.status, 404);
}

#[tokio::test]
async fn what_was_answered_is_on_disk_before_the_answer_and_a_torn_line_costs_nothing_else() {
    let world = World::start().await;
    world.pay("a1", 1250).await;
    // What a kill at this moment would leave, with a line that was being written.
    let left = tempfile::tempdir().unwrap();
    let mut journal = std::fs::read(world.folder.path().join("stripe_main.journal")).unwrap();
    journal.extend_from_slice(b"{\"intent\":{\"id\":\"pi_torn");
    std::fs::write(left.path().join("stripe_main.journal"), journal).unwrap();
    let world = World { sandbox: Sandbox::start(settings(left.path())).await.unwrap(), folder: left };
    assert_eq!(world.book().await, [charge("a1", 1250)]);
    assert_eq!(world.pay("a1", 1250).await.headers["idempotent-replayed"], "true");
    assert_eq!(world.pay("a2", 1250).await.status, 200);
}

#[tokio::test]
async fn one_sandbox_holds_a_data_directory_and_says_where_it_is() {
    let world = World::start().await;
    assert!(matches!(Sandbox::start(settings(world.folder.path())).await, Err(SandboxError::Held { .. })));
    let found = Running::find(world.folder.path()).await.unwrap().unwrap();
    assert_eq!(found, world.sandbox.running());
    assert_eq!(found.channels["stripe_main"], world.url());
    let World { sandbox, folder } = world;
    sandbox.stop().await;
    assert_eq!(Running::find(folder.path()).await.unwrap(), None);
}

#[tokio::test]
async fn a_sandbox_ends_when_told_and_when_it_is_alone_for_its_linger() {
    let world = World::start().await;
    assert_eq!(world.control("POST", "/_control/_shutdown", Value::Null).await.status, 202);
    timeout(PATIENCE, world.sandbox.ended()).await.unwrap();

    let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let pid = child.id();
    let world = World::with(|settings| {
        settings.linger = Some(Duration::from_millis(50));
        settings.orchestrator_pid = Some(pid);
    })
    .await;
    assert!(timeout(GLANCE * 2, world.sandbox.ended()).await.is_err(), "it is not alone");
    child.kill().unwrap();
    timeout(PATIENCE, world.sandbox.ended()).await.unwrap();
    child.wait().unwrap();
    world.sandbox.stop().await;
}

#[tokio::test]
async fn all_that_is_wrong_with_the_settings_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.accounts[0].secret_key = "sk_live_no".into();
    settings.accounts[1].id = "Über/../x".into();
    match Sandbox::start(settings).await {
        Err(SandboxError::Settings(complaints)) => assert_eq!(complaints.len(), 2, "{complaints:?}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_is_out_of_order_fails_replays_and_named_questions_too() {
    let world = World::start().await;
    let first = world.pay("k", 1250).await;
    world.control("PUT", "/_control/stripe_main/faults", json!({"mode": "error_processed", "operations": ["pay", "query"]})).await;
    assert_eq!(world.pay("k", 1250).await.status, 500);
    assert_eq!(world.get(PAY).await.status, 500);
    world.heal().await;
    assert_eq!(world.pay("k", 1250).await.body, first.body);
    assert_eq!(world.book().await, [charge("k", 1250)]);
}

#[tokio::test]
async fn many_requests_with_one_key_at_once_charge_once() {
    let world = World::start().await;
    let answers = futures_util::future::join_all((0..32).map(|_| world.pay("k", 1250))).await;
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 409)));
    assert!(answers.iter().any(|answer| answer.status == 200 && !answer.headers.contains_key("idempotent-replayed")));
    assert_eq!(world.book().await, [charge("k", 1250)]);
}

#[tokio::test]
async fn somebody_who_looks_whether_a_sandbox_runs_does_not_keep_one_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let look = std::fs::File::create(folder.path().join("sandbox.json")).unwrap();
    look.lock().unwrap();
    // The start is polled first, and finds the lock taken.
    let (started, ()) = tokio::join!(Sandbox::start(settings(folder.path())), async { drop(look) });
    started.unwrap().stop().await;
}

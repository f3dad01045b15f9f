//! The sandbox's Alipay over real sockets, driven by our own provider: two pieces of code that share no line, which must agree on every byte that is
//! signed, and on what each answer means.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use breakwater::domain::method::RedirectFlow;
use breakwater::domain::{CallClass, CaptureMethod, Currency, Fact, FailureCode, Money, News, NextAction, Operation, PaymentMethod};
use breakwater::provider::alipay::Alipay;
use breakwater::provider::{Account, Assembled, Call, Credentials, HttpProtocol, HttpRequest, HttpResponse, Provider, Reply, Undone, Verb};
use breakwater::sandbox::alipay::parameters;
use breakwater::sandbox::settings::AlipaySettings;
use breakwater::sandbox::{AccountSettings, Sandbox, SandboxSettings};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Long enough for anything that will happen; reached only by a failing test.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long we look for what must not come. Too short a look can only make a test pass that should fail, never the other way.
const GLANCE: Duration = Duration::from_millis(150);
const APP_ID: &str = "2021000000000001";
const SELLER_ID: &str = "2088000000000099";

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/alipay.json")).unwrap()
}

fn key(name: &str) -> String {
    vectors()[name].as_str().unwrap().to_owned()
}

fn settings(folder: &Path) -> SandboxSettings {
    let alipay = AlipaySettings {
        app_public_key: Some(key("app_public_key_pem")),
        alipay_private_key: Some(key("alipay_private_key_pkcs1_pem")),
        ..AlipaySettings::default()
    };
    SandboxSettings {
        accounts: vec![AccountSettings { alipay, ..AccountSettings::alipay("alipay_main") }],
        pay_after_ms: 0,
        seed: Some(1),
        ..SandboxSettings::new(folder)
    }
}

fn credentials(address: &str, private_key: &str, alipay_public_key: &str) -> Credentials {
    let mut account = Account::default();
    for field in Alipay.account_fields() {
        let value = match field.name {
            "app_id" => APP_ID,
            "seller_id" => SELLER_ID,
            "private_key" => private_key,
            "alipay_public_key" => alipay_public_key,
            _ => continue,
        };
        account.set_text(field, value).unwrap();
    }
    Credentials { address: address.to_owned(), account, secret_key: Default::default(), notification_secrets: Vec::new() }
}

struct World {
    sandbox: Sandbox,
    folder: TempDir,
    credentials: Credentials,
}

impl World {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut SandboxSettings)) -> Self {
        Self::on(tempfile::tempdir().unwrap(), change).await
    }

    async fn on(folder: TempDir, change: impl FnOnce(&mut SandboxSettings)) -> Self {
        let mut settings = settings(folder.path());
        change(&mut settings);
        let sandbox = Sandbox::start(settings).await.unwrap();
        let address = sandbox.channel_url("alipay_main").unwrap().to_owned();
        let credentials = credentials(&address, &key("app_private_key_pkcs1_pem"), &key("alipay_public_key_pem"));
        Self { sandbox, folder, credentials }
    }

    async fn restart(self) -> Self {
        self.sandbox.stop().await;
        Self::on(self.folder, |_| ()).await
    }

    /// What became of a call: our provider's request, the sandbox's answer, our provider's reading.
    async fn ask(&self, call: &Call) -> Reply {
        self.try_ask(call).await.unwrap()
    }

    async fn try_ask(&self, call: &Call) -> io::Result<Reply> {
        match Alipay.request(call, &self.credentials) {
            Assembled::Done(reply) => Ok(reply),
            Assembled::Send(request) => {
                let response = send(&self.credentials.address, &request).await?;
                Ok(Alipay.reply(call, &response, &self.credentials))
            }
        }
    }

    async fn news(&self, call: &Call) -> News {
        match self.ask(call).await {
            Reply::News { news, class: CallClass::Success } => news,
            other => panic!("{other:?}"),
        }
    }

    async fn fact(&self, call: &Call) -> (Fact, CallClass) {
        fact(&self.ask(call).await)
    }

    async fn control(&self, method: http::Method, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = HttpRequest { method, path: format!("/_control/{path}").trim_end_matches('/').to_owned(), headers: Vec::new(), body };
        let response = send(self.sandbox.control_url(), &request).await.unwrap();
        (response.status, serde_json::from_slice(&response.body).unwrap_or_default())
    }

    async fn fault(&self, fault: Value) {
        let (status, said) = self.control(http::Method::PUT, "alipay_main/faults", fault).await;
        assert_eq!(status, 200, "{said}");
    }

    async fn heal(&self) {
        assert_eq!(self.control(http::Method::DELETE, "alipay_main/faults", Value::Null).await.0, 204);
    }

    async fn customer(&self, reference: &str, act: &str) -> (u16, Value) {
        self.control(http::Method::POST, "alipay_main/customer", json!({"reference": reference, "act": act})).await
    }

    /// kind, reference and amount of every entry.
    async fn book(&self) -> Vec<(String, String, i64)> {
        let (_, entries) = self.control(http::Method::GET, "alipay_main/book", Value::Null).await;
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
        entries.as_array().unwrap().iter().map(|entry| (text(entry, "kind"), text(entry, "reference"), entry["amount"].as_i64().unwrap())).collect()
    }

    async fn until(&self, call: &Call, fact: Fact) {
        let reach = async {
            while !matches!(self.ask(call).await, Reply::News { news, .. } if news.fact == fact) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reach).await.expect("it never got there");
    }
}

fn fact(reply: &Reply) -> (Fact, CallClass) {
    match reply {
        Reply::News { news, class } => (news.fact, *class),
        other => panic!("{other:?}"),
    }
}

fn entry(kind: &str, reference: &str, amount: i64) -> (String, String, i64) {
    (kind.to_owned(), reference.to_owned(), amount)
}

/// A call about the pay attempt `key`.
fn call(verb: Verb, method: PaymentMethod, key: &str, amount: i64) -> Call {
    let now = Timestamp::now();
    Call {
        verb,
        key: key.to_owned(),
        payment: format!("pay_{key}"),
        order: "order & 1=2/测试".to_owned(),
        money: Money { amount, currency: Currency::parse("CNY").unwrap() },
        payment_amount: amount,
        method,
        capture_method: CaptureMethod::Automatic,
        pay_reference: Some(key.to_owned()),
        reference: None,
        pay_key: Some(key.to_owned()),
        undoes: None,
        held: false,
        description: None,
        return_url: Some("https://shop.example/back?a=1&b=2".to_owned()),
        expires_at: now + SignedDuration::from_mins(15),
        attempted_at: now,
        now,
        notify_url: None,
        repeat: false,
        card: None,
    }
}

fn qr(verb: Verb, key: &str, amount: i64) -> Call {
    call(verb, PaymentMethod::Qr { wallet: None }, key, amount)
}

fn barcode(verb: Verb, key: &str, amount: i64) -> Call {
    call(verb, PaymentMethod::Barcode { code: "2812345678901234".to_owned() }, key, amount)
}

fn page(verb: Verb, key: &str, amount: i64) -> Call {
    call(verb, PaymentMethod::Redirect { wallet: None, flow: RedirectFlow::Page, openid: None, client_ip: None }, key, amount)
}

/// A call about the refund `key` of the pay attempt `trade`.
fn refund(verb: Verb, trade: &str, key: &str, amount: i64) -> Call {
    Call { pay_key: Some(trade.to_owned()), ..qr(verb, key, amount) }
}

/// One exchange on a connection of its own.
async fn send(base: &str, request: &HttpRequest) -> io::Result<HttpResponse> {
    let authority = base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(authority).await?;
    let mut bytes = format!("{} {} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    bytes.push_str(&format!("content-length: {}\r\n\r\n", request.body.len()));
    stream.write_all(bytes.as_bytes()).await?;
    stream.write_all(&request.body).await?;
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("no answer")?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)? + 4;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok(HttpResponse { status, headers: http::HeaderMap::new(), body: answer.split_off(end).into() })
}

async fn get(url: &str) -> HttpResponse {
    let (base, path) = url.split_at(url.find("/gateway.do").unwrap());
    send(base, &HttpRequest { method: http::Method::GET, path: path.to_owned(), headers: Vec::new(), body: Vec::new() }).await.unwrap()
}

/// The orchestrator's ear: answers every notice with what `answer` says for its number.
struct Ear {
    address: SocketAddr,
    heard: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Ear {
    async fn listen(answer: impl Fn(usize) -> &'static str + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, heard) = mpsc::unbounded_channel();
        let (answer, number) = (Arc::new(answer), Arc::new(AtomicUsize::new(0)));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (tell, answer, number) = (tell.clone(), answer.clone(), number.clone());
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse::<usize>().unwrap();
                        if body.len() < length {
                            continue;
                        }
                        assert!(head.starts_with("POST /v1/notifications/alipay_main HTTP/1.1"), "{head}");
                        let said = answer(number.fetch_add(1, Ordering::Relaxed));
                        let _ = tell.send(body.as_bytes().to_vec());
                        bytes.clear();
                        let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{said}", said.len()).as_bytes()).await;
                    }
                });
            }
        });
        Self { address, heard }
    }

    async fn hear(&mut self) -> Vec<u8> {
        timeout(PATIENCE, self.heard.recv()).await.expect("no notice").unwrap()
    }
}

fn believed(world: &World, notice: &[u8]) -> bool {
    Alipay.verify_notification(&http::HeaderMap::new(), notice, &world.credentials, Timestamp::now()).is_ok()
}

#[tokio::test]
async fn every_recorded_request_of_the_libraries_is_understood() {
    let world = World::start().await;
    let mut said = Vec::new();
    for request in vectors()["requests"].as_array().unwrap() {
        let query = request["urlencoded_query"].as_str().unwrap();
        let answer = get(&format!("{}/gateway.do?{query}", world.credentials.address)).await;
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        // The same, split between query and body.
        let (first, second) = query.split_at(query.find("&charset").unwrap());
        let path = format!("/gateway.do?{}", &second[1..]);
        let posted = HttpRequest { method: http::Method::POST, path, headers: Vec::new(), body: first.as_bytes().to_vec() };
        let again = send(&world.credentials.address, &posted).await.unwrap();
        assert_eq!(again.status, 200);
        if !text.starts_with("<!doctype") {
            assert_eq!(again.body, answer.body, "however it is put on the wire");
        }
        said.push(if text.contains("ACQ.TRADE_") {
            "refused"
        } else if text.contains("qr_code") {
            "code"
        } else {
            "page"
        });
        assert!(!text.contains("isv."), "{text}");
        let tampered = get(&format!("{}/gateway.do?{}", world.credentials.address, query.replacen("0000", "0001", 1))).await;
        assert!(String::from_utf8_lossy(&tampered.body).contains("isv.invalid-"), "{tampered:?}");
    }
    assert_eq!(said, ["refused", "code", "page", "refused"]);
}

#[tokio::test]
async fn a_code_is_no_trade_until_it_is_scanned_and_is_paid_once() {
    let world = World::start().await;
    let shown = world.news(&qr(Verb::Pay, "a1", 1250)).await;
    assert_eq!(shown.fact, Fact::ActionRequired);
    let Some(NextAction::Qr { text, .. }) = &shown.next_action else { panic!("{shown:?}") };
    assert!(text.starts_with("https://qr.alipay.com/"));
    let again = world.news(&qr(Verb::Pay, "a1", 1250)).await;
    assert_eq!(again.next_action.map(|action| matches!(action, NextAction::Qr { text: same, .. } if same == *text)), Some(true));

    assert_eq!(world.ask(&qr(Verb::Query, "a1", 1250)).await, Reply::NotFound, "nobody has scanned it");
    assert_eq!(world.fact(&qr(Verb::Close, "a1", 1250)).await, (Fact::Unknown, CallClass::Success), "there is no trade to close");

    assert_eq!(world.customer("a1", "pay").await.0, 200);
    let paid = world.news(&qr(Verb::Query, "a1", 1250)).await;
    assert_eq!((paid.fact, paid.money.map(|money| money.amount)), (Fact::Approved, Some(1250)));
    assert_eq!(world.customer("a1", "pay").await.0, 409);
    assert_eq!(world.book().await, [entry("charge", "a1", 1250)]);
}

#[tokio::test]
async fn a_customers_code_is_charged_at_once_and_a_repeat_charges_nobody() {
    let world = World::start().await;
    let paid = world.news(&barcode(Verb::Pay, "a1", 1250)).await;
    assert_eq!((paid.fact, paid.money.map(|money| money.amount)), (Fact::Approved, Some(1250)));
    assert_eq!(world.fact(&barcode(Verb::Pay, "a1", 1250)).await, (Fact::Unknown, CallClass::Success));
    assert_eq!(world.fact(&barcode(Verb::Pay, "a1", 1300)).await, (Fact::Unknown, CallClass::Success), "another amount under the same number");
    assert_eq!(world.news(&barcode(Verb::Query, "a1", 1250)).await.fact, Fact::Approved);
    assert_eq!(world.book().await, [entry("charge", "a1", 1250)]);
}

#[tokio::test]
async fn a_code_that_asks_for_a_password_waits_and_a_cancel_ends_it_or_gives_back() {
    let world = World::start().await;
    let asking = |verb, key: &str| Call { method: PaymentMethod::Barcode { code: "2812345678900003".to_owned() }, ..barcode(verb, key, 1250) };
    for key in ["a1", "a2"] {
        assert_eq!(world.news(&asking(Verb::Pay, key)).await.fact, Fact::ActionRequired);
        assert_eq!(world.news(&asking(Verb::Query, key)).await.fact, Fact::ActionRequired);
    }
    assert_eq!(world.news(&asking(Verb::Close, "a1")).await.fact, Fact::Closed);
    assert_eq!(world.customer("a1", "pay").await.0, 409);
    assert_eq!(world.news(&asking(Verb::Query, "a1")).await.fact, Fact::Closed);

    world.customer("a2", "pay").await;
    assert_eq!(world.news(&asking(Verb::Close, "a2")).await.fact, Fact::Closed);
    assert_eq!(world.news(&asking(Verb::Close, "a2")).await.fact, Fact::Closed, "and once more");
    assert_eq!(world.book().await, [entry("charge", "a2", 1250), entry("reversal", "a2", 1250)]);
}

#[tokio::test]
async fn a_page_is_a_trade_once_it_is_opened_and_can_be_closed() {
    let world = World::start().await;
    for key in ["a1", "a2"] {
        let sent = world.news(&page(Verb::Pay, key, 1250)).await;
        let Some(NextAction::Redirect { url, .. }) = sent.next_action else { panic!("{sent:?}") };
        assert_eq!(world.ask(&page(Verb::Query, key, 1250)).await, Reply::NotFound);
        assert_eq!(world.customer(key, "pay").await.0, 404, "nobody is there yet");
        assert_eq!(get(&url).await.status, 200);
        assert_eq!(world.news(&page(Verb::Query, key, 1250)).await.fact, Fact::ActionRequired);
        let forged = get(&url.replace("12.50", "0.01")).await;
        assert!(String::from_utf8_lossy(&forged.body).contains("isv.invalid-signature"));
    }
    world.customer("a1", "pay").await;
    assert_eq!(world.news(&page(Verb::Query, "a1", 1250)).await.fact, Fact::Approved);
    assert_eq!(world.fact(&page(Verb::Close, "a1", 1250)).await, (Fact::Unknown, CallClass::Success));
    assert_eq!(world.news(&page(Verb::Close, "a2", 1250)).await.fact, Fact::Closed);
    assert_eq!(world.news(&page(Verb::Query, "a2", 1250)).await.fact, Fact::Closed);
    assert_eq!(world.book().await, [entry("charge", "a1", 1250)]);
}

#[tokio::test]
async fn what_is_shown_is_paid_by_itself_a_little_later_unless_its_customer_walks_away() {
    let world = World::with(|settings| settings.pay_after_ms = 300).await;
    world.news(&qr(Verb::Pay, "a1", 1250)).await;
    assert_eq!(world.customer("a1", "abandon").await.0, 200);
    world.news(&qr(Verb::Pay, "a2", 1250)).await;
    world.until(&qr(Verb::Query, "a2", 1250), Fact::Approved).await;
    assert_eq!(world.ask(&qr(Verb::Query, "a1", 1250)).await, Reply::NotFound);
    assert_eq!(world.book().await, [entry("charge", "a2", 1250)]);
}

#[tokio::test]
async fn refunds_go_by_their_numbers_and_never_over_what_was_paid() {
    let world = World::start().await;
    world.news(&barcode(Verb::Pay, "a1", 1000)).await;
    let give = |key: &'static str, amount| refund(Verb::Refund, "a1", key, amount);
    let asked = |key: &'static str, amount| refund(Verb::QueryRefund, "a1", key, amount);
    assert_eq!(world.ask(&asked("r1", 700)).await, Reply::NotFound);
    assert_eq!(world.news(&give("r1", 700)).await.fact, Fact::Approved);
    assert_eq!(world.fact(&give("r1", 700)).await, (Fact::Unknown, CallClass::Success), "the same again moves nothing");
    assert_eq!(world.fact(&give("r1", 600)).await, (Fact::Unknown, CallClass::Success), "the number is taken");
    let done = world.news(&asked("r1", 700)).await;
    assert_eq!((done.fact, done.money.map(|money| money.amount)), (Fact::Approved, Some(700)));
    let over = world.news(&give("r2", 301)).await;
    assert_eq!((over.fact, over.failure.map(|failure| failure.code)), (Fact::Declined, Some(FailureCode::RefundExceedsChannel)));
    assert_eq!(world.news(&give("r3", 300)).await.fact, Fact::Approved);
    assert_eq!(world.book().await, [entry("charge", "a1", 1000), entry("refund", "r1", 700), entry("refund", "r3", 300)]);
    assert_eq!(world.news(&barcode(Verb::Query, "a1", 1000)).await.fact, Fact::Approved, "closed, and was paid");
    let none = world.news(&refund(Verb::Refund, "nobody", "r4", 1)).await;
    assert_eq!(none.failure.and_then(|failure| failure.channel_code).as_deref(), Some("ACQ.TRADE_NOT_EXIST"));
}

#[tokio::test]
async fn a_reversal_is_booked_under_the_payment_and_done_when_nothing_is_left() {
    let world = World::start().await;
    world.news(&barcode(Verb::Pay, "a1", 1000)).await;
    let undoes = Undone { operation: Operation::Pay, key: "a1".to_owned(), reference: None };
    let reversal = |verb| Call { undoes: Some(undoes.clone()), ..refund(verb, "a1", "v1", 1000) };
    assert_eq!(world.ask(&reversal(Verb::QueryRefund)).await, Reply::NotFound);
    assert_eq!(world.news(&reversal(Verb::Reverse)).await.fact, Fact::Approved);
    assert_eq!(world.news(&reversal(Verb::QueryRefund)).await.fact, Fact::Approved);
    assert_eq!(world.book().await, [entry("charge", "a1", 1000), entry("reversal", "a1", 1000)]);
}

#[tokio::test]
async fn a_refund_of_07_is_pending_and_done_later_even_over_a_restart() {
    let world = World::with(|settings| settings.pending_refund = Duration::from_secs(1)).await;
    world.news(&barcode(Verb::Pay, "a1", 1000)).await;
    assert_eq!(world.fact(&refund(Verb::Refund, "a1", "r1", 107)).await, (Fact::Unknown, CallClass::Success));
    assert_eq!(world.news(&refund(Verb::QueryRefund, "a1", "r1", 107)).await.fact, Fact::Accepted);
    assert_eq!(world.fact(&refund(Verb::Refund, "a1", "r1", 107)).await.0, Fact::Unknown);
    let world = world.restart().await;
    world.until(&refund(Verb::QueryRefund, "a1", "r1", 107), Fact::Approved).await;
    assert_eq!(world.book().await, [entry("charge", "a1", 1000), entry("refund", "r1", 107)]);
}

#[tokio::test]
async fn notices_are_signed_for_the_payment_and_its_refunds() {
    let mut ear = Ear::listen(|_| "success").await;
    let url = format!("http://{}", ear.address);
    let world = World::with(|settings| settings.notify_url = Some(url)).await;
    let mut heard = Vec::new();
    let read = |notice: &[u8]| {
        assert!(believed(&world, notice), "{}", String::from_utf8_lossy(notice));
        let read = Alipay.read_notification(notice, &world.credentials).unwrap();
        assert_eq!(read.payment.as_deref(), Some("pay_a1"));
        (read.kind, read.attempt_key.unwrap(), read.news.map(|news| (news.fact, news.money.map(|money| money.amount))))
    };
    world.news(&qr(Verb::Pay, "a1", 1000)).await;
    world.customer("a1", "pay").await;
    heard.push(read(&ear.hear().await));
    let (first, second) = ("1".repeat(32), "2".repeat(32));
    world.news(&refund(Verb::Refund, "a1", &first, 400)).await;
    heard.push(read(&ear.hear().await));
    world.news(&refund(Verb::Refund, "a1", &second, 600)).await;
    heard.push(read(&ear.hear().await));
    let told = |kind: &str, key: &str, news| (kind.to_owned(), key.to_owned(), Some(news));
    let expected = [
        told("TRADE_SUCCESS", "a1", (Fact::Approved, Some(1000))),
        told("TRADE_SUCCESS", &first, (Fact::Approved, None)),
        told("TRADE_CLOSED", &second, (Fact::Approved, None)),
    ];
    assert_eq!(heard, expected);
}

#[tokio::test]
async fn a_notice_that_is_not_answered_with_success_comes_again_and_is_the_same_notice() {
    let mut ear = Ear::listen(|nth| if nth == 0 { "success " } else { "success" }).await;
    let url = format!("http://{}", ear.address);
    let world = World::with(|settings| settings.notify_url = Some(url)).await;
    world.news(&barcode(Verb::Pay, "a1", 1250)).await;
    let (first, second) = (ear.hear().await, ear.hear().await);
    let id = |notice: &[u8]| Alipay.read_notification(notice, &world.credentials).unwrap().event_id;
    assert_eq!(id(&first), id(&second));
    let delivered = async {
        while world.control(http::Method::GET, "", Value::Null).await.1["channels"]["alipay_main"]["notifications"]["delivered"] != 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, delivered).await.expect("eight bytes are not an acknowledgement, seven are");
}

#[tokio::test]
async fn a_notice_goes_where_the_payment_says_while_no_orchestrator_is_known() {
    let mut ear = Ear::listen(|_| "success").await;
    let world = World::start().await;
    let notify_url = Some(format!("http://{}/v1/notifications/alipay_main", ear.address));
    world.news(&Call { notify_url, ..barcode(Verb::Pay, "a1", 1250) }).await;
    assert!(believed(&world, &ear.hear().await));
}

#[tokio::test]
async fn amounts_ask_for_faults_of_the_answer_and_of_the_notice() {
    let mut ear = Ear::listen(|_| "success").await;
    let url = format!("http://{}", ear.address);
    let world = World::with(|settings| settings.notify_url = Some(url)).await;
    let declined = world.news(&barcode(Verb::Pay, "d1", 1201)).await;
    assert_eq!(declined.failure.map(|failure| failure.code), Some(FailureCode::InsufficientFunds));
    assert_eq!(world.news(&qr(Verb::Pay, "d2", 1201)).await.failure.map(|failure| failure.code), Some(FailureCode::LimitExceeded));
    assert_eq!(world.book().await, []);

    for (nth, begin) in [qr as fn(Verb, &str, i64) -> Call, barcode].into_iter().enumerate() {
        let (charged, uncharged, slow) = (format!("c{nth}"), format!("u{nth}"), format!("s{nth}"));
        assert!(timeout(GLANCE, world.try_ask(&begin(Verb::Pay, &charged, 1202))).await.is_err());
        assert_eq!(world.news(&begin(Verb::Query, &charged, 1202)).await.fact, Fact::Approved);
        assert!(believed(&world, &ear.hear().await));
        assert!(timeout(GLANCE, world.try_ask(&begin(Verb::Pay, &uncharged, 1203))).await.is_err());
        assert_eq!(world.ask(&begin(Verb::Query, &uncharged, 1203)).await, Reply::NotFound);
        assert!(timeout(GLANCE, world.try_ask(&begin(Verb::Pay, &slow, 1205))).await.is_err());
        assert_eq!(world.news(&begin(Verb::Query, &slow, 1205)).await.fact, Fact::Approved);
        assert!(believed(&world, &ear.hear().await));
    }

    assert_eq!(world.fact(&barcode(Verb::Pay, "f1", 1206)).await, (Fact::Unknown, CallClass::FailHard), "the answer is forged");
    assert!(!believed(&world, &ear.hear().await));
    assert_eq!(world.news(&barcode(Verb::Query, "f1", 1206)).await.fact, Fact::Approved);
    assert_eq!(world.news(&qr(Verb::Pay, "f2", 1206)).await.fact, Fact::ActionRequired, "a code is answered well");
    world.customer("f2", "pay").await;
    assert!(!believed(&world, &ear.hear().await));

    assert_eq!(world.news(&barcode(Verb::Pay, "n1", 1204)).await.fact, Fact::Approved);
    let mut ids = std::collections::HashSet::new();
    for _ in 0..100 {
        let notice = ear.hear().await;
        assert!(believed(&world, &notice));
        ids.insert(Alipay.read_notification(&notice, &world.credentials).unwrap().event_id);
    }
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn every_fault_says_what_the_contract_lets_it_say_and_the_query_finds_the_truth() {
    let unknown = |class| Some((Fact::Unknown, class));
    let rows = [
        ("decline", Some((Fact::Declined, CallClass::Success)), false),
        ("error_processed", unknown(CallClass::FailSoft), true),
        ("error_not_processed", unknown(CallClass::FailSoft), false),
        ("timeout_processed", None, true),
        ("timeout_not_processed", None, false),
        ("reset_before", None, false),
        ("reset_after", None, true),
        ("malformed", unknown(CallClass::FailHard), true),
        ("slow_drip", None, true),
        ("throttle", Some((Fact::NotSent, CallClass::RateLimited)), false),
        ("refuse", None, false),
    ];
    for (mode, said, charged) in rows {
        for begin in [qr as fn(Verb, &str, i64) -> Call, barcode] {
            let world = World::start().await;
            world.fault(json!({"mode": mode})).await;
            let pay = begin(Verb::Pay, "a1", 1250);
            let answer = timeout(if said.is_some() { PATIENCE } else { GLANCE }, world.try_ask(&pay)).await;
            assert_eq!(answer.ok().and_then(Result::ok).as_ref().map(fact), said, "{mode}");
            world.heal().await;
            let truth = world.ask(&begin(Verb::Query, "a1", 1250)).await;
            if charged {
                assert_eq!(fact(&truth).0, Fact::Approved, "{mode}");
            } else {
                assert_eq!(truth, Reply::NotFound, "{mode}");
            }
            assert_eq!(world.book().await.len(), usize::from(charged), "{mode}");
        }
    }
}

#[tokio::test]
async fn a_refunds_faults_end_in_one_refund() {
    for mode in ["error_processed", "error_not_processed", "reset_before", "reset_after", "malformed", "bad_signature", "throttle"] {
        let world = World::start().await;
        world.news(&barcode(Verb::Pay, "a1", 1000)).await;
        world.fault(json!({"mode": mode})).await;
        let give = refund(Verb::Refund, "a1", "r1", 400);
        let said = world.try_ask(&give).await;
        assert!(said.is_err() || matches!(fact(&said.unwrap()).0, Fact::Unknown | Fact::NotSent), "{mode}");
        world.heal().await;
        if world.ask(&refund(Verb::QueryRefund, "a1", "r1", 400)).await == Reply::NotFound {
            world.news(&Call { repeat: true, ..give }).await;
        }
        assert_eq!(world.news(&refund(Verb::QueryRefund, "a1", "r1", 400)).await.fact, Fact::Approved, "{mode}");
        assert_eq!(world.book().await, [entry("charge", "a1", 1000), entry("refund", "r1", 400)], "{mode}");
    }
}

#[tokio::test]
async fn a_strangers_request_is_turned_away_unsigned_and_does_nothing() {
    let mut world = World::start().await;
    world.credentials = credentials(&world.credentials.address, &key("alipay_private_key_pkcs1_pem"), &key("alipay_public_key_pem"));
    assert_eq!(world.fact(&barcode(Verb::Pay, "a1", 1250)).await, (Fact::NotSent, CallClass::FailSoft));
    assert_eq!(world.fact(&barcode(Verb::Query, "a1", 1250)).await, (Fact::Unknown, CallClass::FailSoft));
    let mut other = credentials(&world.credentials.address, &key("app_private_key_pkcs1_pem"), &key("alipay_public_key_pem"));
    other.account.set_text(&Alipay.account_fields()[0], "2021000000000002").unwrap();
    world.credentials = other;
    assert_eq!(world.fact(&barcode(Verb::Pay, "a1", 1250)).await, (Fact::NotSent, CallClass::FailSoft));
    assert_eq!(world.book().await, []);
}

#[tokio::test]
async fn an_answer_of_another_alipay_is_not_believed() {
    let mut world = World::start().await;
    world.credentials = credentials(&world.credentials.address, &key("app_private_key_pkcs1_pem"), &key("app_public_key_pem"));
    assert_eq!(world.fact(&barcode(Verb::Pay, "a1", 1250)).await, (Fact::Unknown, CallClass::FailHard));
}

#[tokio::test]
async fn what_was_answered_is_on_disk_and_an_unscanned_code_lives_on() {
    let world = World::start().await;
    world.news(&barcode(Verb::Pay, "a1", 1250)).await;
    world.news(&refund(Verb::Refund, "a1", "r1", 250)).await;
    world.news(&qr(Verb::Pay, "a2", 1250)).await;
    let before = world.book().await;
    let world = world.restart().await;
    assert_eq!(world.book().await, before);
    assert_eq!(world.news(&refund(Verb::QueryRefund, "a1", "r1", 250)).await.fact, Fact::Approved);
    assert_eq!(world.customer("a2", "pay").await.0, 200);
    assert_eq!(world.control(http::Method::DELETE, "_books", Value::Null).await.0, 204);
    assert_eq!(world.book().await, []);
    assert_eq!(world.ask(&barcode(Verb::Query, "a1", 1250)).await, Reply::NotFound);
}

#[tokio::test]
async fn an_unpaid_trade_is_closed_by_its_expiry() {
    let world = World::start().await;
    let soon = Timestamp::now() + SignedDuration::from_millis(2_500);
    let begin = |key: &str| Call { expires_at: soon, ..page(Verb::Pay, key, 1250) };
    let Some(NextAction::Redirect { url, .. }) = world.news(&begin("a1")).await.next_action else { panic!("no page") };
    get(&url).await;
    world.news(&Call { expires_at: soon, ..qr(Verb::Pay, "a2", 1250) }).await;
    world.until(&page(Verb::Query, "a1", 1250), Fact::Closed).await;
    assert_eq!((world.customer("a1", "pay").await.0, world.customer("a2", "pay").await.0), (409, 409));
    assert_eq!(world.ask(&qr(Verb::Query, "a2", 1250)).await, Reply::NotFound);
    assert_eq!(world.book().await, []);
}

#[tokio::test]
async fn the_portal_gives_back_under_a_number_that_is_not_ours() {
    let world = World::start().await;
    world.news(&barcode(Verb::Pay, "a1", 1250)).await;
    assert_eq!(world.customer("a1", "portal_refund").await.0, 200);
    assert_eq!(world.customer("a1", "dispute").await.0, 409);
    assert_eq!(world.customer("nobody", "pay").await.0, 404);
    let book = world.book().await;
    assert!(book[1].0 == "refund" && book[1].1.starts_with("PORTAL") && book[1].2 == 1250, "{book:?}");
}

#[tokio::test]
async fn keys_that_nobody_gave_are_made_once_and_only_ours_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let make = |settings: &mut SandboxSettings| settings.accounts = vec![AccountSettings::alipay("alipay_main")];
    let mut world = World::on(folder, make).await;
    let read = |world: &World, name: &str| std::fs::read_to_string(world.folder.path().join(format!("alipay_main.{name}.pem"))).unwrap();
    let (ours, theirs) = (read(&world, "app_private_key"), read(&world, "alipay_public_key"));
    world.credentials = credentials(&world.credentials.address, &ours, &theirs);
    assert_eq!(world.news(&barcode(Verb::Pay, "a1", 1250)).await.fact, Fact::Approved);
    for name in ["app_private_key", "alipay_private_key"] {
        let mode = std::fs::metadata(world.folder.path().join(format!("alipay_main.{name}.pem"))).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    world.sandbox.stop().await;
    let world = World::on(world.folder, make).await;
    assert_eq!(read(&world, "app_private_key"), ours);
}

#[test]
fn the_sandboxs_own_reading_of_forms_agrees_with_the_libraries() {
    for notice in vectors()["notifications"].as_array().unwrap() {
        let parameters = parameters::merged(b"", notice["form_body"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(parameters::content(&parameters, &["sign", "sign_type"]), notice["sign_content"].as_str().unwrap());
        let again = parameters::merged(parameters::form(&parameters).as_bytes(), b"").unwrap();
        assert_eq!(again, parameters);
    }
    for broken in ["a=%", "a=%4", "a=%zz", "a=%+1", "a=%ff", "a=1&a=2"] {
        assert!(parameters::merged(broken.as_bytes(), b"").is_err(), "{broken}");
    }
    let (application, alipay) = (key("app_public_key_pem"), key("alipay_private_key_pkcs1_pem"));
    let sandbox_keys = breakwater::sandbox::rsa::RsaKeys::find(Path::new("."), "x", ("app", Some(&application)), ("alipay", Some(&alipay))).unwrap();
    for request in vectors()["requests"].as_array().unwrap() {
        assert!(sandbox_keys.verifies(request["sign_content"].as_str().unwrap(), request["sign_base64"].as_str().unwrap()));
    }
    for response in vectors()["responses"].as_array().unwrap() {
        assert_eq!(sandbox_keys.sign(response["signed_substring"].as_str().unwrap()), response["sign_base64"].as_str().unwrap());
    }
}

/// Sends every request that our provider can make through a witness, who keeps and judges them: `.ci/alipay` is that witness.
#[tokio::test]
#[ignore = "it needs a witness, whom .ci/alipay brings"]
async fn every_method_once_for_a_witness() {
    let address = std::env::var("ALIPAY_PROBE_ADDRESS").expect("the witness's address");
    let folder = std::env::var("ALIPAY_PROBE_KEYS").expect("the folder of the sandbox's keys");
    let key = |name: &str| std::fs::read_to_string(Path::new(&folder).join(format!("alipay_main.{name}.pem"))).unwrap();
    let credentials = credentials(&address, &key("app_private_key"), &key("alipay_public_key"));
    let described = |call| Call { description: Some("测试商品 A&B=1 50%/x+y \"quoted\"".to_owned()), ..call };
    let calls = [
        described(qr(Verb::Pay, "B0001", 8888)),
        described(barcode(Verb::Pay, "B0002", 8888)),
        qr(Verb::Query, "B0002", 8888),
        refund(Verb::Refund, "B0002", "BR1", 88),
        refund(Verb::QueryRefund, "B0002", "BR1", 88),
        barcode(Verb::Close, "B0002", 8888),
        qr(Verb::Close, "B0001", 8888),
    ];
    for call in calls {
        let Assembled::Send(request) = Alipay.request(&call, &credentials) else { panic!("{call:?}") };
        let reply = Alipay.reply(&call, &send(&address, &request).await.unwrap(), &credentials);
        assert!(matches!(reply, Reply::News { class: CallClass::Success, .. }), "{:?}: {reply:?}", call.verb);
    }
    let Assembled::Done(Reply::News { news, .. }) = Alipay.request(&described(page(Verb::Pay, "B0003", 8888)), &credentials) else {
        panic!("a page is not sent")
    };
    let Some(NextAction::Redirect { url, .. }) = news.next_action else { panic!("no page") };
    assert_eq!(get(&url).await.status, 200);
}

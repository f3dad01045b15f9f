//! A whole world for one test: a database of its own, a sandbox of its own, and the product between them, over real sockets. [`World::close`]
//! lets what is open come to its end and then checks the books, as a referee would: double = lost = orphan = stuck = 0.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use breakwater::app::{self, ChannelPlan, Plan, Running};
use breakwater::cli::client::{self, Answer};
use breakwater::clock::Clock;
use breakwater::config::{ChannelSettings, Settings};
use breakwater::provider::{self, Provider};
use breakwater::sandbox::{AccountSettings, Sandbox, SandboxSettings};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::database;

/// How many times, and how long apart, something that must happen is looked for.
const LOOKS: u32 = 400;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The number of [`card`].
pub const CARD: &str = "6222020200000000006";

pub struct Setup {
    pub sandbox: SandboxSettings,
    pub settings: Settings,
    /// How long a call of a channel may take.
    pub timeout_ms: u64,
    /// How many calls of a channel may be in flight; its default when left out.
    pub max_in_flight: Option<u32>,
    /// The contract's rate of charges at every channel, a second and at once; none when left out.
    pub pay_rate: Option<(u32, u32)>,
    /// Where a channel is said to be, by its id and where it really is.
    pub address: fn(&str, &str) -> String,
    /// Has the last word on a channel's settings.
    pub adapt_channel: fn(&mut ChannelSettings),
    /// Speaks a channel's protocol instead of the provider that its settings name.
    pub provider: fn(&str) -> &'static dyn Provider,
    /// Whether operators have a listener of their own.
    pub operators_apart: bool,
    /// The database's address; a fresh one's when left out.
    pub database_url: Option<String>,
}

pub struct World {
    pub url: String,
    /// Where operators are, when they are apart.
    pub operations_url: Option<String>,
    pub key: String,
    pub ops_token: String,
    pub clock: Clock,
    pub running: Running,
    pub database_url: String,
    pub sandbox: Option<Sandbox>,
    thread: Option<JoinHandle<()>>,
    directory: tempfile::TempDir,
    settings: Settings,
    channels: Vec<ChannelPlan>,
    closed: bool,
}

/// Another process of the product, as far as the database can tell: its own pools, journal, poller and channels.
pub struct Peer {
    pub url: String,
    running: Running,
    thread: JoinHandle<()>,
}

pub fn stripe(_: &str) -> &'static dyn Provider {
    provider::find("stripe").expect("stripe")
}

/// Gives a channel what its provider must know of the sandbox's account: of a wallet's the keys lie in its data directory, of a bank's the front ends
/// are in its address.
fn complete(settings: &mut ChannelSettings, account: &AccountSettings, directory: &std::path::Path) {
    if account.provider == "iso8583" {
        let front_ends = settings.address.clone();
        let bank = &account.bank;
        for field in provider::find("iso8583").expect("iso8583").account_fields() {
            let value = match field.name {
                "profile" => bank.profile.as_str(),
                "framing" => bank.framing.as_str(),
                "acquirer" => "12345",
                "terminal" => bank.terminal.as_str(),
                "merchant" => bank.merchant.as_str(),
                "time_zone" => "+08:00",
                "front_ends" => front_ends.as_str(),
                _ => continue,
            };
            settings.account.set_text(field, value).expect("a field");
        }
        return;
    }
    if !["alipay", "wechatpay"].contains(&account.provider.as_str()) {
        return;
    }
    let key = |name: &str| std::fs::read_to_string(directory.join(format!("{}.{name}.pem", account.id))).expect("a key");
    let wechatpay = &account.wechatpay;
    for field in provider::find(&account.provider).expect("a wallet").account_fields() {
        let value = match (account.provider.as_str(), field.name) {
            (_, "app_id") => account.alipay.app_id.clone(),
            (_, "seller_id") => account.alipay.seller_id.clone(),
            ("alipay", "private_key") => key("app_private_key"),
            (_, "alipay_public_key") => key("alipay_public_key"),
            (_, "mchid") => wechatpay.mchid.clone(),
            (_, "appid") => wechatpay.appid.clone(),
            (_, "serial_no") => wechatpay.serial_no.clone(),
            (_, "private_key") => key("merchant_private_key"),
            (_, "apiv3_key") => wechatpay.apiv3_key.clone(),
            (_, "platform_serial") => wechatpay.platform_serial.clone(),
            (_, "platform_key") => key("platform_public_key"),
            _ => continue,
        };
        settings.account.set_text(field, &value).expect("a field");
    }
}

impl Setup {
    pub fn new(directory: &tempfile::TempDir) -> Self {
        let mut sandbox = SandboxSettings::new(directory.path());
        sandbox.search_lag_ms = 0;
        sandbox.pay_after_ms = 100;
        sandbox.seed = Some(7);
        let mut settings = Settings::default();
        let ring = vec![("first".to_owned(), secrecy::SecretString::from("5ea1".repeat(16)))];
        settings.cards.sealing_keys = breakwater::keys::SealingKeys::new(ring).expect("a ring");
        settings.server.workers = 1;
        settings.server.answer_within_ms = 10_000;
        settings.database.read_connections = 8;
        settings.database.channel_connections = 1;
        settings.poller.sweep_every_ms = 50;
        settings.webhooks.sweep_every_ms = 50;
        settings.webhooks.timeout_ms = 1_000;
        settings.webhooks.connections = 2;
        Self {
            sandbox,
            settings,
            timeout_ms: 700,
            max_in_flight: None,
            pay_rate: None,
            address: |_, address| address.to_owned(),
            adapt_channel: |_| {},
            provider: stripe,
            operators_apart: false,
            database_url: None,
        }
    }
}

impl World {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(adapt: impl FnOnce(&mut Setup)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut setup = Setup::new(&directory);
        adapt(&mut setup);
        let database_url = match setup.database_url.take() {
            Some(url) => url,
            None => database::fresh().await,
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        setup.sandbox.notify_url = Some(url.clone());
        // It takes no order without an address for its notifications.
        if setup.sandbox.accounts.iter().any(|account| account.provider == "wechatpay") {
            setup.settings.server.public_url = Some(url.clone());
        }
        let sandbox = Sandbox::start(setup.sandbox.clone()).await.expect("a sandbox");
        let clock = Clock::system();
        let channels: Vec<ChannelPlan> = setup
            .sandbox
            .accounts
            .iter()
            .enumerate()
            .map(|(place, account)| {
                let address = (setup.address)(&account.id, sandbox.channel_url(&account.id).expect("served"));
                let mut settings = ChannelSettings::test(&account.id, &account.provider, &address, &account.secret_key);
                complete(&mut settings, account, directory.path());
                settings.notification_secrets = vec![account.webhook_secret.clone().into()];
                settings.priority = i32::try_from(place).expect("few");
                settings.timeout_ms = setup.timeout_ms;
                settings.guard.max_in_flight = setup.max_in_flight.unwrap_or(settings.guard.max_in_flight);
                settings.guard.pay.rate_per_second = setup.pay_rate.map(|(per_second, _)| per_second);
                settings.guard.pay.burst = setup.pay_rate.map(|(_, burst)| burst);
                settings.connect_timeout_ms = settings.connect_timeout_ms.min(setup.timeout_ms);
                (setup.adapt_channel)(&mut settings);
                let own = provider::find(&account.provider).filter(|provider| provider.name() != "stripe");
                ChannelPlan { provider: own.unwrap_or_else(|| (setup.provider)(&account.id)), settings }
            })
            .collect();
        let operations_listener = setup.operators_apart.then(|| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let operations_url = operations_listener.as_ref().map(|listener| format!("http://{}", listener.local_addr().expect("bound")));
        let plan = Plan {
            settings: setup.settings.clone(),
            database_url: database_url.clone(),
            channels: channels.clone(),
            clock: clock.clone(),
            listener,
            operations_listener,
        };
        let (running, thread) = serve(plan).await;
        let (key, ops_token) = (format!("bwk_test_{}", "ab".repeat(32)), "bwo_test_operator".to_owned());
        let world = Self {
            url,
            operations_url,
            key,
            ops_token,
            clock,
            running,
            database_url,
            sandbox: Some(sandbox),
            thread: Some(thread),
            directory,
            settings: setup.settings,
            channels,
            closed: false,
        };
        world.add_merchant("Shop", &world.key).await;
        let now = world.clock.wall();
        world.running.store.add_operator("tester", "admin", &sha256(&world.ops_token), now).await.expect("an operator");
        world
    }

    /// Starts another process on the same database.
    pub async fn peer(&self) -> Peer {
        self.peer_with(|_| {}).await
    }

    pub async fn peer_with(&self, adapt: impl FnOnce(&mut Settings)) -> Peer {
        let mut settings = self.settings.clone();
        adapt(&mut settings);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let plan = Plan {
            settings,
            database_url: self.database_url.clone(),
            channels: self.channels.clone(),
            clock: self.clock.clone(),
            listener,
            operations_listener: None,
        };
        let (running, thread) = serve(plan).await;
        Peer { url, running, thread }
    }

    /// Ends the process in good order, and starts another one in its place.
    pub async fn restart(&mut self) {
        self.restart_with(|_| true).await;
    }

    /// The same; the new one has only these channels in its settings.
    pub async fn restart_with(&mut self, keeps: impl Fn(&str) -> bool) {
        self.running.stop();
        let thread = self.thread.take().expect("runs");
        tokio::task::spawn_blocking(move || thread.join()).await.expect("joined").expect("it stops in good order");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        self.url = format!("http://{}", listener.local_addr().expect("bound"));
        let plan = Plan {
            settings: self.settings.clone(),
            database_url: self.database_url.clone(),
            channels: self.channels.iter().filter(|channel| keeps(&channel.settings.id)).cloned().collect(),
            clock: self.clock.clone(),
            listener,
            operations_listener: None,
        };
        let (running, thread) = serve(plan).await;
        (self.running, self.thread) = (running, Some(thread));
    }

    pub async fn post_to(&self, url: &str, path: &str, idempotency_key: &str, body: &Value) -> Reply {
        let authorization = format!("Bearer {}", self.key);
        let headers = [("authorization", authorization.as_str()), ("idempotency-key", idempotency_key), ("content-type", "application/json")];
        Reply::of(client::send("POST", &format!("{url}{path}"), &headers, &body.to_string()).await.expect("an answer"))
    }

    pub async fn add_merchant(&self, name: &str, key: &str) -> Uuid {
        let now = self.clock.wall();
        let merchant = self.running.store.add_merchant(name, false, now).await.expect("a merchant");
        self.running.store.add_key(merchant, &sha256(key), "hint", now).await.expect("a key");
        merchant
    }

    // --- as a merchant ---

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        client::send(method, &format!("{}{path}", self.url), headers, body).await.expect("an answer")
    }

    pub async fn post(&self, path: &str, idempotency_key: &str, body: &Value) -> Reply {
        self.post_as(&self.key, path, idempotency_key, body).await
    }

    pub async fn post_as(&self, key: &str, path: &str, idempotency_key: &str, body: &Value) -> Reply {
        let authorization = format!("Bearer {key}");
        let headers = [("authorization", authorization.as_str()), ("idempotency-key", idempotency_key), ("content-type", "application/json")];
        Reply::of(self.send("POST", path, &headers, &body.to_string()).await)
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.get_as(&self.key, path).await
    }

    pub async fn get_as(&self, key: &str, path: &str) -> Reply {
        let authorization = format!("Bearer {key}");
        Reply::of(self.send("GET", path, &[("authorization", &authorization)], "").await)
    }

    /// Creates a payment of `amount` for a new order, with a card that pays.
    pub async fn pay(&self, amount: i64) -> Reply {
        self.create(&payment(amount, &unique("order"))).await
    }

    pub async fn create(&self, body: &Value) -> Reply {
        self.post("/v1/payments", &unique("key"), body).await
    }

    pub async fn create_owned(&self, body: Value) -> Reply {
        self.create(&body).await
    }

    pub async fn refund(&self, payment: &str, amount: i64) -> Reply {
        self.post("/v1/refunds", &unique("key"), &json!({"payment_id": payment, "merchant_refund_id": unique("refund"), "amount": amount})).await
    }

    pub async fn payment(&self, id: &str) -> Value {
        let reply = self.get(&format!("/v1/payments/{id}?include=attempts,refunds,events")).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        reply.body
    }

    /// The payment, once `enough` is true of it.
    pub async fn eventually(&self, id: &str, enough: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..LOOKS {
            last = self.payment(id).await;
            if enough(&last) {
                return last;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("it never came about: {last:#}");
    }

    /// Waits until the last attempt of a payment was looked at in vain so many times.
    pub async fn eventually_tries(&self, id: &str, tries: i32) {
        let (client, connection) = tokio_postgres::connect(&self.database_url, tokio_postgres::NoTls).await.expect("the database");
        tokio::spawn(connection);
        let payment: breakwater::domain::PaymentId = id.parse().expect("an id");
        let sql = "SELECT tries FROM attempt WHERE payment_id = $1 ORDER BY n DESC LIMIT 1";
        for _ in 0..LOOKS {
            if client.query_one(sql, &[&payment.0]).await.expect("readable").get::<_, i32>(0) >= tries {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("{id} was not looked at {tries} times");
    }

    pub async fn finally(&self, id: &str) -> Value {
        self.eventually(id, |payment| is_final(payment["status"].as_str().unwrap_or_default())).await
    }

    /// The payment, once `enough` is true of it; when it takes long, time is moved on.
    pub async fn in_time(&self, id: &str, enough: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        for look in 1..=LOOKS {
            last = self.payment(id).await;
            if enough(&last) {
                return last;
            }
            if look % 30 == 0 {
                self.clock.advance(Duration::from_secs(30));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("it never came about: {last:#}");
    }

    // --- as the third party ---

    pub async fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let sandbox = self.sandbox.as_ref().expect("open");
        let url = format!("{}/_control/{path}", sandbox.control_url());
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = client::send(method, &url, &[("content-type", "application/json")], &body).await.expect("the sandbox answers");
        assert!(answer.status < 300, "{url}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
    }

    pub async fn break_channel(&self, channel: &str, fault: &Value) {
        self.control("PUT", &format!("{channel}/faults"), fault).await;
    }

    pub async fn heal(&self, channel: &str) {
        self.control("DELETE", &format!("{channel}/faults"), &Value::Null).await;
    }

    pub async fn book(&self, channel: &str) -> Vec<Entry> {
        let list = self.control("GET", &format!("{channel}/book"), &Value::Null).await;
        serde_json::from_value(list).expect("a book")
    }

    // --- as an operator ---

    pub async fn metrics(&self) -> String {
        let authorization = format!("Bearer {}", self.ops_token);
        let answer = self.send("GET", "/metrics", &[("authorization", &authorization)], "").await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        String::from_utf8(answer.body.to_vec()).expect("text")
    }

    /// Waits for a series of this process's metrics. They are shared by all worlds of the process: ask for a lower bound.
    pub async fn eventually_metric(&self, series: &str, enough: impl Fn(f64) -> bool) {
        let mut last = None;
        for _ in 0..LOOKS {
            let text = self.metrics().await;
            last = text.lines().find_map(|line| line.strip_prefix(series)).and_then(|value| value.trim().parse::<f64>().ok());
            if last.is_some_and(&enough) {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("{series} is {last:?}");
    }

    /// The alert of that kind, once operators are told of it.
    pub async fn eventually_alert(&self, kind: &str) -> Value {
        for _ in 0..LOOKS {
            let alerts = self.ops("/ops/v1/alerts").await.body["data"].take();
            if let Some(alert) = alerts.as_array().and_then(|alerts| alerts.iter().find(|alert| alert["kind"] == kind)) {
                return alert.clone();
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        panic!("nobody was told of {kind}");
    }

    pub async fn ops(&self, path: &str) -> Reply {
        self.get_as(&self.ops_token, path).await
    }

    // --- as the referee ---

    /// Lets what is open come to its end, and checks the books.
    pub async fn close(mut self) {
        self.closed = true;
        self.referee().await;
        self.running.stop();
        let thread = self.thread.take().expect("runs");
        tokio::task::spawn_blocking(move || thread.join()).await.expect("joined").expect("it stops in good order");
        self.sandbox.take().expect("open").stop().await;
        assert!(self.directory.path().exists());
    }

    /// For a test that asked the product itself to stop, and saw to the books: waits for its end.
    pub async fn ended(mut self) {
        self.closed = true;
        let thread = self.thread.take().expect("runs");
        tokio::task::spawn_blocking(move || thread.join()).await.expect("joined").expect("it stops in good order");
        self.sandbox.take().expect("open").stop().await;
    }

    pub async fn referee(&self) {
        let (client, connection) = tokio_postgres::connect(&self.database_url, tokio_postgres::NoTls).await.expect("the database");
        tokio::spawn(connection);
        // stuck: what is open ends (a customer who must act, and a hold, are not ours to end).
        let open = "SELECT count(*) FROM attempt WHERE state IN ('sent', 'unknown', 'accepted', 'reversing', 'succeeded_late') OR (state = 'not_sent' AND due_at IS NOT NULL)";
        let mut left: i64 = -1;
        for _ in 0..LOOKS {
            left = client.query_one(open, &[]).await.expect("readable").get(0);
            if left == 0 {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if left > 0 {
            let which =
                open.replace("count(*)", "string_agg(concat_ws(' ', payment_id, n, operation, state, 'due', due_at, 'tries', tries, reason), '; ')");
            panic!("stuck attempts: {:?}", client.query_one(&which, &[]).await.expect("readable").get::<_, Option<String>>(0));
        }
        // lost, in our own books.
        assert_eq!(self.running.store.integrity().await.expect("readable"), []);
        let rows = client.query("SELECT a.key, a.operation, a.reference, r.source, p.merchant_order_id, p.captured, p.refunded, p.id::text, a.channel FROM attempt a JOIN payment p ON p.id = a.payment_id LEFT JOIN refund r ON r.payment_id = a.payment_id AND r.n = a.refund_n", &[]).await.expect("readable");
        // Two channels count their numbers apart, so a key is one of its channel's. A refund that was made at the channel has no key of ours there.
        let named = |row: &tokio_postgres::Row| {
            let adopted = row.get::<_, Option<&str>>(3) == Some("channel");
            let name = if adopted { row.get::<_, Option<String>>(2).unwrap_or_default() } else { row.get(0) };
            (row.get::<_, String>(8), name)
        };
        let attempts: BTreeMap<(String, String), &tokio_postgres::Row> = rows.iter().map(|row| (named(row), row)).collect();
        let mut charged: BTreeMap<String, i64> = BTreeMap::new();
        let mut refunded: BTreeMap<String, i64> = BTreeMap::new();
        let mut channels: Vec<String> = self.running.flows.channels().map(|channel| channel.handle.id().to_owned()).collect();
        channels.sort_unstable();
        for channel in channels {
            for entry in self.book(&channel).await {
                // orphan: the third party moved what no attempt of ours asked for, and nobody has adopted.
                let row = attempts.get(&(channel.clone(), entry.reference.clone())).unwrap_or_else(|| panic!("orphan at {channel}: {entry:?}"));
                let payment: String = row.get(7);
                match (entry.kind.as_str(), row.get::<_, &str>(1)) {
                    ("charge", _) => *charged.entry(payment).or_default() += entry.amount,
                    ("refund", _) => *refunded.entry(payment).or_default() += entry.amount,
                    // A refund that was not answered, and was undone: the money is the merchant's again.
                    (_, "refund") => *refunded.entry(payment).or_default() -= entry.amount,
                    _ => *charged.entry(payment).or_default() -= entry.amount,
                }
            }
        }
        let mut orders: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in &rows {
            let (payment, captured, given_back): (String, i64, i64) = (row.get(7), row.get(5), row.get(6));
            assert_eq!(charged.get(&payment).copied().unwrap_or(0), captured, "lost or double: the book and payment {payment} differ");
            assert_eq!(refunded.get(&payment).copied().unwrap_or(0), given_back, "lost: the book and the refunds of {payment} differ");
            let paid = orders.entry(row.get(4)).or_default();
            if captured > 0 && !paid.contains(&payment) {
                paid.push(payment);
            }
        }
        for (order, payments) in orders {
            assert!(payments.len() <= 1, "double: order {order} was paid by {payments:?}");
        }
    }
}

impl Peer {
    pub async fn stop(self) {
        self.running.stop();
        tokio::task::spawn_blocking(move || self.thread.join()).await.expect("joined").expect("it stops in good order");
    }
}

async fn serve(plan: Plan) -> (Running, JoinHandle<()>) {
    let (ready, started) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        app::run(plan, move |running| ready.send(running).expect("the test waits")).expect("served");
    });
    let running = tokio::task::spawn_blocking(move || started.recv().expect("it starts")).await.expect("it starts");
    (running, thread)
}

impl Drop for World {
    fn drop(&mut self) {
        if !self.closed && !std::thread::panicking() {
            panic!("a world must be closed, so that its books are checked");
        }
        self.running.stop();
    }
}

/// One line of the third party's book.
#[derive(Debug, serde::Deserialize)]
pub struct Entry {
    pub reference: String,
    pub kind: String,
    pub amount: i64,
}

/// An answer of the API.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Value,
}

impl Reply {
    pub fn of(answer: Answer) -> Self {
        let body = serde_json::from_slice(&answer.body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&answer.body).into_owned()));
        Self { status: answer.status, headers: answer.headers, body }
    }

    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_else(|| panic!("no text {field} in {:#}", self.body))
    }

    pub fn id(&self) -> String {
        self.text("id").to_owned()
    }
}

pub fn payment(amount: i64, order: &str) -> Value {
    json!({"amount": amount, "currency": "CNY", "merchant_order_id": order, "payment_method": {"type": "card_token", "token": "pm_card_visa"}})
}

/// A payment by a card whose number goes to a bank. The number is a test card's, and good for its check digit.
pub fn card(amount: i64, order: &str) -> Value {
    let card = json!({"type": "card", "number": CARD, "exp_month": 12, "exp_year": 2098, "cvc": "847", "holder": "LI LEI"});
    json!({"amount": amount, "currency": "CNY", "merchant_order_id": order, "payment_method": card})
}

pub fn unique(what: &str) -> String {
    format!("{what}-{}", Uuid::new_v4().simple())
}

pub fn is_final(status: &str) -> bool {
    matches!(status, "succeeded" | "partially_captured" | "failed" | "canceled" | "expired")
}

pub fn sha256(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref());
    bytes
}

/// A connection to the world's database, past the store: to look at rows, or to bend them.
pub async fn connect(world: &World) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&world.database_url, tokio_postgres::NoTls).await.expect("the database");
    tokio::spawn(connection);
    client
}

//! The bank of the sandbox, asked by our own protocol over real sockets: what is answered, what the book says, and what survives. The two sides share
//! no code, so what they agree on is the standard, or an error that two people made.
//!
//! The certificates in `tests/vectors/bank` are of an authority made for these tests with the openssl command; its key was thrown away. They
//! end in a hundred years.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use breakwater::channel::http_pool::{Exchange, Lost, NotSent, tls_config};
use breakwater::channel::socket_pool::{FrontEnd, SocketPool, SocketSettings, Speaker, private_tls};
use breakwater::clock::Clock;
use breakwater::domain::{CaptureMethod, Currency, Fact, Money, News, Operation, PaymentMethod};
use breakwater::provider::iso8583::Iso8583;
use breakwater::provider::socket::SocketProtocol;
use breakwater::provider::{Account, Call, CardData, Credentials, FieldKind, Provider, Reply, Undone, Verb};
use breakwater::sandbox::book::Kind;
use breakwater::sandbox::{AccountSettings, BankSettings, BankTls, Sandbox, SandboxSettings};
use bytes::Bytes;
use jiff::Timestamp;
use rustls::ClientConfig;
use secrecy::SecretString;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Long enough for anything that will happen; reached only by a failing test.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an answer is awaited that must not come. Too short can only make a test pass that should fail.
const GLANCE: Duration = Duration::from_millis(300);

struct World {
    sandbox: Sandbox,
    pool: SocketPool,
    credentials: Credentials,
    numbers: AtomicU32,
    folder: TempDir,
    bank: BankSettings,
}

fn bank() -> BankSettings {
    BankSettings { shuffle_ms: 0, ..BankSettings::default() }
}

fn credentials(bank: &BankSettings, more: &[(&str, &str)]) -> Credentials {
    let mut fields = vec![
        ("profile", bank.profile.as_str()),
        ("framing", bank.framing.as_str()),
        ("acquirer", "12345"),
        ("terminal", bank.terminal.as_str()),
        ("merchant", bank.merchant.as_str()),
        ("time_zone", "+08:00"),
    ];
    if bank.tpdu {
        fields.push(("tpdu", "6000010002"));
    }
    fields.extend(more);
    let mut account = Account::default();
    for (name, value) in fields {
        let field = Iso8583.account_fields().iter().find(|field| field.name == name).expect("a field of the account");
        match field.kind {
            FieldKind::Flag => account.set_flag(field, value == "true").expect("a flag"),
            _ => account.set_text(field, value).expect("it fits"),
        }
    }
    Credentials { address: String::new(), account, secret_key: SecretString::default(), notification_secrets: Vec::new() }
}

fn connect(url: &str, credentials: &Credentials, tls: Arc<ClientConfig>) -> SocketPool {
    let front_ends = FrontEnd::parse_all(url).expect("a pair");
    assert_eq!(front_ends.len(), 2);
    let settings = SocketSettings { sockets: 1, reconnect_base_ms: 20, reconnect_max_ms: 100, ..SocketSettings::default() };
    let speaker = Speaker { channel: Arc::from("bank_main"), protocol: &Iso8583, credentials: credentials.clone() };
    SocketPool::new(speaker, &front_ends, tls, settings, Clock::system())
}

async fn start(folder: &TempDir, bank: &BankSettings) -> Sandbox {
    let account = AccountSettings { bank: bank.clone(), ..AccountSettings::bank("bank_main") };
    let settings = SandboxSettings { accounts: vec![account], pending_refund: Duration::ZERO, seed: Some(1), ..SandboxSettings::new(folder.path()) };
    Sandbox::start(settings).await.expect("the sandbox starts")
}

impl World {
    async fn start() -> Self {
        Self::with(bank(), &[]).await
    }

    async fn with(bank: BankSettings, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let sandbox = start(&folder, &bank).await;
        let credentials = credentials(&bank, more);
        let url = sandbox.channel_url("bank_main").expect("the bank").to_owned();
        let pool = connect(&url, &credentials, tls_config().expect("TLS"));
        Self { sandbox, pool, credentials, numbers: AtomicU32::new(1), folder, bank }
    }

    fn key(&self) -> String {
        Iso8583.mint_key(0, Some(self.numbers.fetch_add(1, Ordering::Relaxed)), Timestamp::now())
    }

    fn pay(&self, amount: i64) -> Call {
        let now = Timestamp::now();
        let key = self.key();
        Call {
            verb: Verb::Pay,
            key: key.clone(),
            payment: String::new(),
            order: String::new(),
            money: Money { amount, currency: Currency::parse("CNY").expect("a currency") },
            payment_amount: amount,
            method: PaymentMethod::Card { first_six: "622202".to_owned(), last_four: "0001".to_owned(), exp_month: 3, exp_year: 2031, holder: None },
            capture_method: CaptureMethod::Automatic,
            pay_reference: None,
            reference: None,
            pay_key: Some(key),
            undoes: None,
            held: false,
            description: None,
            return_url: None,
            expires_at: now,
            attempted_at: now,
            now,
            notify_url: None,
            repeat: false,
            card: Some(CardData {
                number: SecretString::from("6222020200000000001"),
                exp_month: 12,
                exp_year: 2098,
                holder: None,
                security_code: None,
            }),
        }
    }

    fn hold(&self, amount: i64) -> Call {
        Call { capture_method: CaptureMethod::Manual, ..self.pay(amount) }
    }

    /// An attempt that follows a payment.
    fn after(&self, pay: &Call, verb: Verb, amount: i64) -> Call {
        let money = Money { amount, ..pay.money };
        let undoes = (verb == Verb::Reverse).then(|| Undone { operation: Operation::Pay, key: pay.key.clone(), reference: None });
        Call { verb, key: self.key(), money, undoes, ..pay.clone() }
    }

    async fn exchange(&self, call: &Call, patience: Duration) -> Exchange<Bytes> {
        let frame = Iso8583.frame(call, &self.credentials).expect("it can be sent");
        self.pool.exchange(frame, Clock::system().boot() + patience, || true).await
    }

    /// What the answer means; the call must be answered.
    async fn ask(&self, call: &Call) -> News {
        match self.exchange(call, PATIENCE).await {
            Exchange::Answer(message, _) => match Iso8583.reply(call, &message, &self.credentials) {
                Reply::News { news, .. } => news,
                other => panic!("not news: {other:?}"),
            },
            other => panic!("not answered: {other:?}"),
        }
    }

    async fn fact(&self, call: &Call) -> Fact {
        self.ask(call).await.fact
    }

    async fn code(&self, call: &Call) -> String {
        self.ask(call).await.failure.and_then(|failure| failure.channel_code).unwrap_or_default()
    }

    /// Kind, reference and amount of the book's entries.
    async fn book(&self) -> Vec<(Kind, String, i64)> {
        let answer = self.control("GET", "book", "").await;
        let entries: Vec<breakwater::sandbox::book::Entry> = serde_json::from_value(answer).expect("a book");
        entries.into_iter().map(|entry| (entry.kind, entry.reference, entry.amount)).collect()
    }

    /// What the card holders have paid in the end.
    async fn net(&self) -> i64 {
        self.book().await.into_iter().map(|(kind, _, amount)| if kind == Kind::Charge { amount } else { -amount }).sum()
    }

    async fn fault(&self, fault: &str) {
        self.control("PUT", "faults", fault).await;
    }

    async fn heal(&self) {
        self.control("DELETE", "faults", "").await;
    }

    async fn control(&self, method: &str, what: &str, body: &str) -> Value {
        let url = self.sandbox.control_url().strip_prefix("http://").expect("http");
        let mut stream = TcpStream::connect(url).await.expect("the control routes listen");
        let request =
            format!("{method} /_control/bank_main/{what} HTTP/1.1\r\nhost: c\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("read");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 2"), "{answer}");
        serde_json::from_str(body).unwrap_or(Value::Null)
    }

    async fn until_up(&self, sockets: usize) {
        until(|| self.pool.up() == sockets).await;
    }
}

async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes to that");
}

#[tokio::test]
async fn a_payment_is_booked_under_its_key_in_every_encoding_and_frame() {
    for (profile, framing, tpdu) in [
        ("ascii_hex_bitmap", "four_digits", false),
        ("ascii_binary_bitmap", "two_bytes", false),
        ("bcd", "two_bytes", true),
        ("bcd_all_numeric", "two_bytes_with_itself", true),
    ] {
        let bank = BankSettings { profile: profile.to_owned(), framing: framing.to_owned(), tpdu, ..bank() };
        let world = World::with(bank, &[("mcc", "5411")]).await;
        let pay = world.pay(8888);
        let news = world.ask(&pay).await;
        assert_eq!((news.fact, news.money), (Fact::Approved, Some(pay.money)), "{profile}");
        assert_eq!(world.book().await, [(Kind::Charge, pay.key.clone(), 8888)], "{profile}");
        let reference = news.reference.expect("the bank's name for it");
        assert!(reference.contains(&pay.key[20..]) && reference.contains("/A"), "{reference}");
        let refund = Call { pay_reference: Some(reference), ..world.after(&pay, Verb::Refund, 888) };
        assert_eq!(world.fact(&refund).await, Fact::Approved, "{profile}");
        let reversal = world.after(&world.pay(100), Verb::Reverse, 100);
        assert_eq!(world.fact(&reversal).await, Fact::Approved, "{profile}: 25 is undone");
    }
}

#[tokio::test]
async fn many_payments_at_once_are_all_answered_whatever_the_order() {
    let world = World::with(BankSettings { shuffle_ms: 20, ..bank() }, &[]).await;
    world.until_up(2).await;
    let calls: Vec<Call> = (1..=200).map(|number| world.pay(1_000 + number * 100)).collect();
    let facts = futures_util::future::join_all(calls.iter().map(|call| world.ask(call))).await;
    for (call, news) in calls.iter().zip(facts) {
        assert_eq!((news.fact, news.money), (Fact::Approved, Some(call.money)), "an answer of another call");
    }
    assert_eq!(world.book().await.len(), 200);
}

#[tokio::test]
async fn what_was_charged_and_never_answered_ends_reversed_with_nothing_on_the_book() {
    let world = World::start().await;
    let pay = world.pay(1_002);
    assert!(matches!(world.exchange(&pay, GLANCE).await, Exchange::Lost(Lost::Deadline)));
    assert_eq!(world.net().await, 1_002);
    let reversal = world.after(&pay, Verb::Reverse, 1_002);
    assert_eq!(world.fact(&reversal).await, Fact::Approved);
    assert_eq!(world.book().await[1], (Kind::Reversal, pay.key.clone(), 1_002));
    assert_eq!(world.net().await, 0);
    // A repeat, as when its acknowledgement was lost, and another reversal of the same: undone is undone.
    assert_eq!(world.fact(&Call { repeat: true, ..reversal }).await, Fact::Approved);
    assert_eq!(world.fact(&world.after(&pay, Verb::Reverse, 1_002)).await, Fact::Approved);
    assert_eq!(world.book().await.len(), 2);
}

#[tokio::test]
async fn what_was_not_charged_and_never_answered_is_reversed_as_never_seen() {
    let world = World::start().await;
    let pay = world.pay(1_003);
    assert!(matches!(world.exchange(&pay, GLANCE).await, Exchange::Lost(Lost::Deadline)));
    assert_eq!(world.fact(&world.after(&pay, Verb::Reverse, 1_003)).await, Fact::Approved);
    assert_eq!(world.book().await, []);
}

#[tokio::test]
async fn a_payment_that_comes_behind_its_own_reversal_is_not_carried_out() {
    let world = World::start().await;
    let held_up = world.pay(900);
    assert_eq!(world.fact(&world.after(&held_up, Verb::Reverse, 900)).await, Fact::Approved, "25: it never came");
    assert_eq!(world.fact(&held_up).await, Fact::Unknown, "94: it was undone before it came");
    assert_eq!(world.book().await, []);
    assert_eq!(world.fact(&world.pay(900)).await, Fact::Approved, "another payment is none of that");
}

#[tokio::test]
async fn the_other_magic_amounts_do_what_the_table_says() {
    let world = World::start().await;
    assert_eq!(world.code(&world.pay(1_001)).await, "05");
    assert_eq!(world.fact(&world.pay(1_004)).await, Fact::Approved, "answered twice");
    assert_eq!(world.fact(&world.pay(1_000)).await, Fact::Approved, "the second answer harms nobody");
    let unbelievable = world.exchange(&world.pay(1_006), GLANCE).await;
    assert!(matches!(unbelievable, Exchange::Lost(Lost::Deadline)), "{unbelievable:?}");
    assert_eq!(world.net().await, 1_004 + 1_000 + 1_006);
}

#[tokio::test]
async fn a_number_is_used_once_a_day() {
    let world = World::start().await;
    let pay = world.pay(500);
    assert_eq!(world.fact(&pay).await, Fact::Approved);
    assert_eq!(world.fact(&pay).await, Fact::Unknown, "94: the original may stand");
    let other = Call { key: format!("{}{}", &world.key()[..14], &pay.key[14..]), ..world.pay(700) };
    assert_eq!(world.fact(&other).await, Fact::Unknown, "the same number a moment later");
    assert_eq!(world.net().await, 500);
}

#[tokio::test]
async fn a_hold_is_captured_once_and_not_above_it() {
    let world = World::start().await;
    let hold = world.hold(5_000);
    assert_eq!(world.fact(&hold).await, Fact::Authorized);
    assert_eq!(world.book().await, []);
    assert_eq!(world.fact(&world.after(&hold, Verb::Capture, 5_001)).await, Fact::Declined);
    let capture = world.after(&hold, Verb::Capture, 4_000);
    assert_eq!(world.fact(&capture).await, Fact::Approved);
    assert_eq!(world.fact(&Call { repeat: true, ..capture.clone() }).await, Fact::Approved, "an advice may be repeated");
    assert_eq!(world.fact(&world.after(&hold, Verb::Capture, 1_000)).await, Fact::Declined);
    assert_eq!(world.book().await, [(Kind::Charge, capture.key.clone(), 4_000)]);
    assert_eq!(world.fact(&world.after(&hold, Verb::Refund, 4_000)).await, Fact::Approved);
    assert_eq!(world.net().await, 0);
}

#[tokio::test]
async fn a_hold_that_was_voided_cannot_be_captured() {
    let world = World::start().await;
    let hold = world.hold(5_000);
    assert_eq!(world.fact(&hold).await, Fact::Authorized);
    assert_eq!(world.fact(&world.after(&hold, Verb::Void, 5_000)).await, Fact::Approved);
    assert_eq!(world.code(&world.after(&hold, Verb::Capture, 5_000)).await, "12");
    assert_eq!(world.book().await, []);
}

#[tokio::test]
async fn refunds_stay_within_what_was_taken_and_an_undone_one_frees_its_part() {
    let world = World::start().await;
    let pay = world.pay(10_000);
    assert_eq!(world.fact(&pay).await, Fact::Approved);
    let refund = world.after(&pay, Verb::Refund, 6_000);
    assert_eq!(world.fact(&refund).await, Fact::Approved);
    assert_eq!(world.code(&world.after(&pay, Verb::Refund, 6_000)).await, "64");
    let undoing = Call {
        undoes: Some(Undone { operation: Operation::Refund, key: refund.key.clone(), reference: None }),
        ..world.after(&pay, Verb::Reverse, 6_000)
    };
    assert_eq!(world.fact(&undoing).await, Fact::Approved);
    assert_eq!(world.book().await[2], (Kind::Reversal, refund.key.clone(), 6_000));
    assert_eq!(world.fact(&world.after(&pay, Verb::Refund, 10_000)).await, Fact::Approved);
}

#[tokio::test]
async fn a_payment_with_a_refund_on_it_or_of_another_amount_is_not_reversed() {
    let world = World::start().await;
    let pay = world.pay(2_000);
    assert_eq!(world.fact(&pay).await, Fact::Approved);
    assert_eq!(world.code(&world.after(&pay, Verb::Reverse, 1_500)).await, "64");
    assert_eq!(world.fact(&world.after(&pay, Verb::Refund, 500)).await, Fact::Approved);
    assert_eq!(world.code(&world.after(&pay, Verb::Reverse, 2_000)).await, "12");
}

#[tokio::test]
async fn an_expired_card_and_a_stranger_s_terminal_are_refused() {
    let world = World::start().await;
    let mut pay = world.pay(2_000);
    pay.card = pay.card.map(|card| CardData { exp_year: 2020, ..card });
    assert_eq!(world.code(&pay).await, "54");
    let stranger = BankSettings { terminal: "TERM0002".to_owned(), ..bank() };
    let world = World { credentials: credentials(&stranger, &[]), ..world };
    // The pool still is the first terminal's: for it the answer names another, and it is nobody's.
    assert!(matches!(world.exchange(&world.pay(2_000), GLANCE).await, Exchange::Lost(Lost::Deadline)));
    assert_eq!(world.book().await, []);
}

#[tokio::test]
async fn the_book_and_the_ports_outlive_the_bank_s_process() {
    let world = World::start().await;
    let pay = world.pay(1_102);
    assert!(matches!(world.exchange(&pay, GLANCE).await, Exchange::Lost(Lost::Deadline)));
    let url = world.sandbox.channel_url("bank_main").expect("the bank").to_owned();
    let World { sandbox, pool, folder, credentials, numbers, bank } = world;
    sandbox.stop().await;
    until(|| pool.up() == 0).await;
    let sandbox = start(&folder, &bank).await;
    assert_eq!(sandbox.channel_url("bank_main"), Some(url.as_str()));
    let world = World { sandbox, pool, folder, credentials, numbers, bank };
    world.until_up(2).await;
    assert_eq!(world.book().await, [(Kind::Charge, pay.key.clone(), 1_102)]);
    assert_eq!(world.fact(&pay).await, Fact::Unknown, "94: it remembers the number");
    assert_eq!(world.fact(&world.after(&pay, Verb::Reverse, 1_102)).await, Fact::Approved);
    assert_eq!(world.net().await, 0);
}

#[tokio::test]
async fn each_fault_leaves_the_book_as_its_name_says() {
    // Mode, whether it is carried out, and what our side knows of it.
    enum Known {
        Is(Fact),
        Lost(Lost),
    }
    let modes = [
        ("decline", false, Known::Is(Fact::Declined)),
        ("error_processed", true, Known::Is(Fact::Unknown)),
        ("error_not_processed", false, Known::Is(Fact::Unknown)),
        ("timeout_processed", true, Known::Lost(Lost::Deadline)),
        ("timeout_not_processed", false, Known::Lost(Lost::Deadline)),
        ("reset_before", false, Known::Lost(Lost::Closed)),
        ("reset_after", true, Known::Lost(Lost::Closed)),
        ("malformed", true, Known::Is(Fact::Unknown)),
        ("bad_signature", true, Known::Lost(Lost::Deadline)),
        ("duplicate_notification", true, Known::Is(Fact::Approved)),
        ("throttle", false, Known::Is(Fact::NotSent)),
    ];
    let world = World::start().await;
    let mut expected = Vec::new();
    for (mode, carried_out, known) in modes {
        world.until_up(2).await;
        world.fault(&format!(r#"{{"mode":"{mode}"}}"#)).await;
        let pay = world.pay(3_000);
        match known {
            Known::Is(fact) => assert_eq!(world.fact(&pay).await, fact, "{mode}"),
            Known::Lost(lost) => {
                let patience = if lost == Lost::Deadline { GLANCE } else { PATIENCE };
                let exchange = world.exchange(&pay, patience).await;
                assert!(matches!(exchange, Exchange::Lost(reason) if reason == lost), "{mode}: {exchange:?}");
            }
        }
        if carried_out {
            expected.push((Kind::Charge, pay.key.clone(), 3_000));
        }
        assert_eq!(world.book().await, expected, "{mode}");
        world.heal().await;
    }
    world.until_up(2).await;
    assert_eq!(world.fact(&world.pay(3_000)).await, Fact::Approved);
}

#[tokio::test]
async fn a_bank_that_refuses_is_not_sent_to_and_is_found_again_when_it_opens() {
    let world = World::start().await;
    world.until_up(2).await;
    world.fault(r#"{"mode":"refuse"}"#).await;
    until(|| world.pool.up() == 0).await;
    let exchange = world.exchange(&world.pay(100), PATIENCE).await;
    assert!(matches!(exchange, Exchange::NotSent(NotSent::NoSocket)), "{exchange:?}");
    world.heal().await;
    world.until_up(2).await;
    assert_eq!(world.fact(&world.pay(100)).await, Fact::Approved);
    assert_eq!(world.book().await.len(), 1);
}

#[tokio::test]
async fn a_bank_that_wants_a_sign_on_is_told_so_by_the_account_or_by_its_refusal() {
    let bank = BankSettings { sign_on: true, ..bank() };
    let world = World::with(bank.clone(), &[("sign_on", "true")]).await;
    assert_eq!(world.fact(&world.pay(100)).await, Fact::Approved);

    let world = World::with(bank, &[]).await;
    world.until_up(2).await;
    for _ in 0..2 {
        let news = world.ask(&world.pay(100)).await;
        assert_eq!((news.fact, news.failure.and_then(|failure| failure.channel_code).as_deref()), (Fact::NotSent, Some("77")));
    }
    world.until_up(2).await;
    assert_eq!(world.fact(&world.pay(100)).await, Fact::Approved);
    assert_eq!(world.book().await.len(), 1);
}

#[tokio::test]
async fn a_refund_of_07_is_cut_off_for_a_while_and_then_taken_under_the_same_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let account = AccountSettings { bank: bank(), ..AccountSettings::bank("bank_main") };
    let settings = SandboxSettings { accounts: vec![account], pending_refund: Duration::from_millis(400), ..SandboxSettings::new(folder.path()) };
    let sandbox = Sandbox::start(settings).await.expect("the sandbox starts");
    let credentials = credentials(&bank(), &[]);
    let pool = connect(sandbox.channel_url("bank_main").expect("the bank"), &credentials, tls_config().expect("TLS"));
    let world = World { sandbox, pool, credentials, numbers: AtomicU32::new(1), folder, bank: bank() };
    let pay = world.pay(1_000);
    assert_eq!(world.fact(&pay).await, Fact::Approved);
    let refund = world.after(&pay, Verb::Refund, 207);
    assert_eq!(world.fact(&refund).await, Fact::NotSent);
    let taken = async {
        while world.fact(&refund).await != Fact::Approved {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, taken).await.expect("it is taken in the end");
    assert_eq!(world.net().await, 793);
}

fn pem(name: &str) -> Vec<u8> {
    std::fs::read(format!("tests/vectors/bank/{name}")).expect("a certificate of the tests")
}

#[tokio::test]
async fn a_bank_with_mutual_tls_speaks_only_with_whom_its_authority_knows() {
    let file = |name: &str| std::path::PathBuf::from(format!("tests/vectors/bank/{name}"));
    let tls = Some(BankTls { certificate: file("bank.pem"), key: file("bank.key"), authority: file("authority.pem") });
    let bank = BankSettings { tls, ..bank() };
    let folder = tempfile::tempdir().expect("a folder");
    let sandbox = start(&folder, &bank).await;
    let url = sandbox.channel_url("bank_main").expect("the bank").to_owned();
    assert!(url.starts_with("tls://"), "{url}");
    let credentials = credentials(&bank, &[]);
    let authority = pem("authority.pem");
    let ours = private_tls(&authority, Some((&pem("merchant.pem"), &pem("merchant.key")))).expect("TLS");
    let pool = connect(&url, &credentials, ours);
    let world = World { sandbox, pool, credentials, numbers: AtomicU32::new(1), folder, bank };
    assert_eq!(world.fact(&world.pay(100)).await, Fact::Approved);

    let nobody = private_tls(&authority, None).expect("TLS");
    let stranger = private_tls(&authority, Some((&pem("stranger.pem"), &pem("stranger.key")))).expect("TLS");
    let credulous = tls_config().expect("TLS");
    for (who, tls) in [("nobody", nobody), ("a stranger", stranger), ("one who does not know the authority", credulous)] {
        let world = World { pool: connect(&url, &world.credentials, tls), ..World::start().await };
        let exchange = world.exchange(&world.pay(100), PATIENCE).await;
        assert!(matches!(exchange, Exchange::NotSent(NotSent::NoSocket)), "{who}: {exchange:?}");
    }
    assert_eq!(world.book().await.len(), 1);
}

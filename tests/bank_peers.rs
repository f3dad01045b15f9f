//! Against other people's software, which `.ci/iso8583` fetches and starts; without it these tests have nobody to talk to and are ignored.
//!
//! - `BREAKWATER_ISO8583_OURS`: a file to write our messages to, for others to read.
//! - `BREAKWATER_ISO8583_THEIRS`: a file of their messages, for us to read.
//! - `BREAKWATER_BANK`: front ends of a simulator, `tls://host:port,tls://host:port`; `BREAKWATER_BANK_VICTIM`: the process of the second one.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use breakwater::channel::http_pool::{Exchange, Lost};
use breakwater::channel::socket_pool::{FrontEnd, SocketPool, SocketSettings, Speaker, private_tls};
use breakwater::clock::Clock;
use breakwater::domain::{CaptureMethod, Currency, Fact, Money, Operation, PaymentMethod};
use breakwater::provider::iso8583::codec::{Message, read, write};
use breakwater::provider::iso8583::{Iso8583, Profile};
use breakwater::provider::socket::{Cut, Network, SocketProtocol};
use breakwater::provider::{Account, Call, CardData, Credentials, FieldKind, Provider, Reply, Undone, Verb};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} must be set: see .ci/iso8583"))
}

fn credentials(profile: &str) -> Credentials {
    let fields = [
        ("profile", profile),
        ("acquirer", "00012345"),
        ("terminal", "TERM0001"),
        ("merchant", "BREAKWATER00001"),
        ("mcc", "5411"),
        ("time_zone", "+08:00"),
        ("sign_on", "true"),
    ];
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

fn call(verb: Verb, number: u32, amount: i64) -> Call {
    let now = Timestamp::now();
    let original = Iso8583.mint_key(0, Some(number), now);
    let key = if verb == Verb::Pay { original.clone() } else { Iso8583.mint_key(0, Some(number + 500_000), now) };
    Call {
        verb,
        key,
        payment: String::new(),
        order: String::new(),
        money: Money { amount, currency: Currency::parse("CNY").expect("a currency") },
        payment_amount: amount,
        method: PaymentMethod::Card { first_six: "622202".to_owned(), last_four: "0001".to_owned(), exp_month: 3, exp_year: 2031, holder: None },
        capture_method: CaptureMethod::Automatic,
        pay_reference: (verb != Verb::Pay).then(|| "632409000123/A00123".to_owned()),
        reference: None,
        pay_key: Some(original.clone()),
        undoes: (verb == Verb::Reverse).then_some(Undone { operation: Operation::Pay, key: original, reference: None }),
        held: false,
        description: None,
        return_url: None,
        expires_at: now,
        attempted_at: now,
        now,
        notify_url: None,
        repeat: false,
        card: Some(CardData { number: SecretString::from("6222020200000000001"), exp_month: 3, exp_year: 2031, holder: None, security_code: None }),
    }
}

/// Everything that we ever send, as calls.
fn calls() -> Vec<Call> {
    let manual = |verb| Call { capture_method: CaptureMethod::Manual, ..call(verb, 9, 5_000) };
    let again = |call: Call| Call { repeat: true, ..call };
    vec![
        call(Verb::Pay, 1, 8_888),
        manual(Verb::Pay),
        manual(Verb::Capture),
        again(manual(Verb::Capture)),
        manual(Verb::Void),
        call(Verb::Reverse, 1, 8_888),
        again(call(Verb::Reverse, 1, 8_888)),
        call(Verb::Refund, 1, 100),
        Call { card: None, ..call(Verb::Reverse, 2, 999_999_999_999) },
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex")).collect()
}

fn shown(message: &Message) -> Value {
    let fields = message.fields().map(|(number, value)| (number.to_string(), json!(value)));
    Value::Object([("t".to_owned(), json!(message.mti))].into_iter().chain(fields).collect::<Map<_, _>>())
}

#[test]
#[ignore = "writes a file for other people's software: .ci/iso8583"]
fn our_messages_are_written_for_others_to_read() {
    let mut written = Vec::new();
    for (name, profile) in Profile::NAMES.iter().zip(Profile::ALL) {
        let credentials = credentials(name);
        let words = [Network::SignOn, Network::SignOff, Network::Echo];
        let words = words.into_iter().zip(1..).map(|(word, number)| Iso8583.network(word, number, Timestamp::now(), &credentials));
        for frame in calls().iter().map(|call| Iso8583.frame(call, &credentials)).chain(words) {
            let frame = frame.expect("it can be sent").bytes;
            let Ok(Cut::Message { message, .. }) = Iso8583.framing(&credentials).cut(&frame) else { panic!("a whole frame") };
            let fields = shown(&read(&frame[message], profile).expect("our own"));
            written.push(json!({"profile": name, "framed": hex(&frame), "fields": fields}));
        }
    }
    std::fs::write(variable("BREAKWATER_ISO8583_OURS"), json!(written).to_string()).expect("written");
}

#[test]
#[ignore = "reads a file of other people's software: .ci/iso8583"]
fn others_messages_are_read_and_written_alike() {
    let file = std::fs::read_to_string(variable("BREAKWATER_ISO8583_THEIRS")).expect("their file");
    let theirs: Vec<Value> = serde_json::from_str(&file).expect("a list");
    assert!(theirs.len() >= 100, "{} messages are too few to say anything", theirs.len());
    for item in theirs {
        let profile = Profile::parse(item["profile"].as_str().expect("a profile")).expect("one of ours");
        let bytes = unhex(item["message"].as_str().expect("hex"));
        let message = read(&bytes, profile).unwrap_or_else(|error| panic!("{error} of {item}"));
        assert_eq!(shown(&message), item["fields"], "{item}");
        if item["exact"] == true {
            assert_eq!(hex(&write(&message, profile).expect("it was read")), hex(&bytes), "{item}");
        }
    }
}

fn pem(name: &str) -> Vec<u8> {
    std::fs::read(format!("tests/vectors/bank/{name}")).expect("a certificate of the tests")
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The simulator's rules, from `.ci/iso8583`: above 100,000 declined with 51; 777 never answered; 700 answered late; all else approved.
#[tokio::test]
#[ignore = "talks to other people's software: .ci/iso8583"]
async fn a_simulator_behind_two_front_ends_with_mutual_tls_serves_the_pool_and_one_may_die() {
    let credentials = credentials("ascii_binary_bitmap");
    let front_ends = FrontEnd::parse_all(&variable("BREAKWATER_BANK")).expect("front ends");
    let tls = private_tls(&pem("authority.pem"), Some((&pem("merchant.pem"), &pem("merchant.key")))).expect("TLS");
    let speaker = Speaker { channel: Arc::from("bank"), protocol: &Iso8583, credentials: credentials.clone() };
    let settings = SocketSettings { sockets: 2, ..SocketSettings::default() };
    let pool = SocketPool::new(speaker, &front_ends, tls, settings, Clock::system());
    let exchange = async |call: &Call, patience: u64| {
        let frame = Iso8583.frame(call, &credentials).expect("it can be sent");
        pool.exchange(frame, Clock::system().boot() + Duration::from_secs(patience), || true).await
    };
    let fact = async |call: &Call| match exchange(call, 20).await {
        Exchange::Answer(message, _) => match Iso8583.reply(call, &message, &credentials) {
            Reply::News { news, .. } => news.fact,
            other => panic!("not news: {other:?}"),
        },
        other => panic!("not answered: {other:?}"),
    };
    until(|| pool.up() == 4).await;

    assert_eq!(fact(&call(Verb::Pay, 1, 8_888)).await, Fact::Approved);
    assert_eq!(fact(&call(Verb::Pay, 2, 100_001)).await, Fact::Declined);
    for call in calls() {
        let expected = match (call.verb, call.capture_method) {
            (Verb::Pay, CaptureMethod::Manual) => Fact::Authorized,
            _ if call.money.amount > 100_000 => Fact::Declined,
            _ => Fact::Approved,
        };
        assert_eq!(fact(&Call { key: Iso8583.mint_key(0, Some(7_000), Timestamp::now()), ..call.clone() }).await, expected, "{:?}", call.verb);
        // The simulator knows nobody's numbers; ours must differ all the same.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }

    // A late answer is overtaken by those that were asked for after it.
    let late = call(Verb::Pay, 10, 700);
    let later: Vec<Call> = (11..=60).map(|number| call(Verb::Pay, number, 1_000)).collect();
    let (first, rest) = tokio::join!(fact(&late), futures_util::future::join_all(later.iter().map(&fact)));
    assert_eq!((first, rest.len()), (Fact::Approved, 50));

    let dropped = exchange(&call(Verb::Pay, 70, 777), 1).await;
    assert!(matches!(dropped, Exchange::Lost(Lost::Deadline)), "{dropped:?}");
    assert_eq!(fact(&call(Verb::Reverse, 70, 777)).await, Fact::Approved);
    until(|| pool.up() == 4).await;

    // One front end dies under load.
    let calls: Vec<Call> = (1_000..1_400).map(|number| call(Verb::Pay, number, 1_000)).collect();
    let killing = async {
        until(|| pool.in_flight() > 0).await;
        let victim = variable("BREAKWATER_BANK_VICTIM").parse().ok().and_then(rustix::process::Pid::from_raw).expect("a process");
        rustix::process::kill_process(victim, rustix::process::Signal::KILL).expect("killed");
    };
    let (ended, ()) = tokio::join!(futures_util::future::join_all(calls.iter().map(|call| exchange(call, 20))), killing);
    let answered = ended.iter().filter(|ended| matches!(ended, Exchange::Answer(..))).count();
    let unknown = ended.iter().filter(|ended| matches!(ended, Exchange::Lost(Lost::Closed))).count();
    assert_eq!(answered + unknown, 400, "what died with the front end is unknown, all else is answered");
    assert!(answered >= 200, "the other front end goes on: {answered}");
    until(|| pool.up() == 2).await;
    assert_eq!(fact(&call(Verb::Pay, 2_000, 1_000)).await, Fact::Approved);
}

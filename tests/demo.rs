//! `breakwater demo` as its user meets it: it starts, an outage is told by one mail and then by a text message, and its end by another mail; a
//! sandbox that an older version left behind is replaced.
#![allow(missing_docs, reason = "a test's name is its documentation")]

#[allow(dead_code, reason = "made for another suite, which uses the rest of it")]
#[path = "kill_loop/victim.rs"]
mod victim;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use breakwater::cli::client;
use serde_json::{Value, json};
use victim::{Home, Victim};

/// Upper bound of every wait, generous because the machine may be busy; the longest is the half minute between two mails about one thing.
const LIMIT: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(100);

async fn control(victim: &Victim, method: &str, path: &str, body: &Value) -> Value {
    let url = format!("{}/_control/{path}", victim.line().sandbox_url);
    let url = url.trim_end_matches('/');
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = client::send(method, url, &[("content-type", "application/json")], &body).await.expect("the sandbox answers");
    assert!(answer.status < 300, "{url}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

/// Pays once, for an order of its own; answers the payment, or the problem.
async fn pay(victim: &Victim, order: &str, method: &Value, channel: &str) -> Value {
    let line = victim.line();
    let authorization = format!("Bearer {}", line.api_key);
    let headers = [("authorization", authorization.as_str()), ("idempotency-key", order), ("content-type", "application/json")];
    let body = json!({"amount": 1250, "currency": "CNY", "merchant_order_id": order, "payment_method": method, "channel": channel});
    let answer = client::send("POST", &format!("{}/v1/payments", line.url), &headers, &body.to_string()).await.expect("an answer");
    serde_json::from_slice(&answer.body).expect("JSON")
}

fn token() -> Value {
    json!({"type": "card_token", "token": "pm_card_visa"})
}

/// What was caught at `path`, once `enough` is true of it. Meanwhile `meanwhile` goes on.
async fn caught(victim: &Victim, path: &str, enough: impl Fn(&[Value]) -> bool, mut meanwhile: impl AsyncFnMut()) -> Vec<Value> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let list = control(victim, "GET", path, &Value::Null).await;
        let list = list.as_array().expect("a list").clone();
        if enough(&list) {
            return list;
        }
        assert!(Instant::now() < deadline, "it never came to {path}: {list:#?}");
        meanwhile().await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_in_the_demo_is_one_mail_then_a_text_message_and_its_end_another_mail() {
    let home = Home::new();
    let mut victim = Victim::start_with(&home, &["--sms-after-ms", "2000"]);
    victim.ready().await;
    assert_eq!(control(&victim, "GET", "_mails", &Value::Null).await, json!([]), "nobody was told anything yet");

    control(&victim, "PUT", "stripe_main/faults", &json!({"mode": "error_not_processed"})).await;
    let mut count = 0;
    let texts = caught(
        &victim,
        "_texts",
        |texts| !texts.is_empty(),
        async || {
            count += 1;
            pay(&victim, &format!("outage-{count}"), &token(), "stripe_main").await;
        },
    )
    .await;
    let mails = control(&victim, "GET", "_mails", &Value::Null).await;
    let mails = mails.as_array().expect("a list");
    assert_eq!(mails.len(), 1, "one mail for one outage: {mails:#?}");
    let subject = mails[0]["subject"].as_str().expect("a subject");
    assert!(subject.starts_with("[PAGE]") && subject.contains("stripe_main"), "{subject}");
    assert!(mails[0]["text"].as_str().is_some_and(|text| text.contains("IMPACT NOW")), "{:#}", mails[0]);
    assert_eq!((texts.len(), texts[0]["to"].as_str()), (1, Some("+8613800000000")), "{texts:#?}");
    assert!(texts[0]["text"].as_str().is_some_and(|text| text.contains("stripe_main")), "{texts:#?}");

    control(&victim, "DELETE", "stripe_main/faults", &Value::Null).await;
    let mails = caught(
        &victim,
        "_mails",
        |mails| mails.len() > 1,
        async || {
            count += 1;
            pay(&victim, &format!("outage-{count}"), &token(), "stripe_main").await;
        },
    )
    .await;
    let resolved = mails[1]["subject"].as_str().expect("a subject");
    assert!(resolved.contains("RESOLVED") && resolved.contains("stripe_main"), "{resolved}");
    assert_eq!(mails[1]["in_reply_to"], mails[0]["message_id"], "one thread");
    end(home, victim).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_that_an_older_version_left_behind_is_replaced_with_its_books_kept() {
    let home = Home::new();
    let sandbox = home.path().join("sandbox");
    std::fs::create_dir(&sandbox).expect("a folder");
    let mut older = older_sandbox(&sandbox);
    let mut victim = Victim::start(&home);
    victim.ready().await;
    assert!(older.wait().expect("ours").success(), "it was told to end, and not killed");
    let log = std::fs::read_to_string(home.path().join("demo.log")).expect("a log");
    assert!(log.contains("an older sandbox"), "what was done is said: {log}");
    let shown = control(&victim, "GET", "", &Value::Null).await;
    let channels: Vec<&str> = shown["channels"].as_object().expect("channels").keys().map(String::as_str).collect();
    assert_eq!(channels, ["alipay_backup", "alipay_main", "bank_a", "bank_b", "stripe_backup", "stripe_main"]);
    let card = json!({"type": "card", "number": "4111111111111111", "exp_month": 12, "exp_year": 2049, "cvc": "123"});
    for (nth, (method, channel)) in [
        (token(), "stripe_main"),
        (card.clone(), "bank_a"),
        (card, "bank_b"),
        (json!({"type": "barcode", "code": "2800000000001234"}), "alipay_main"),
        (json!({"type": "barcode", "code": "2800000000001234"}), "alipay_backup"),
    ]
    .into_iter()
    .enumerate()
    {
        let payment = pay(&victim, &format!("order-{nth}"), &method, channel).await;
        assert_eq!((payment["status"].as_str(), payment["channel"].as_str()), (Some("succeeded"), Some(channel)), "{payment:#}");
    }
    // The process is killed and the sandbox lives: what comes next adopts it, and what was sealed still opens.
    let paid = control(&victim, "GET", "bank_a/book", &Value::Null).await;
    let process = control(&victim, "GET", "", &Value::Null).await["pid"].clone();
    victim.kill(|| ());
    let mut victim = Victim::start(&home);
    victim.ready().await;
    assert_eq!(control(&victim, "GET", "", &Value::Null).await["pid"], process, "it was adopted");
    assert_eq!(control(&victim, "GET", "bank_a/book", &Value::Null).await, paid);
    end(home, victim).await;
}

/// A sandbox with the two accounts that there were at first.
fn older_sandbox(folder: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_breakwater"));
    command.args(["sandbox", "--data-dir"]).arg(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().expect("piped")), &mut line).expect("it is ready");
    child
}

async fn end(home: Home, mut victim: Victim) {
    victim.kill(|| ());
    home.nothing_is_left_behind(&victim).await;
    assert!(home.sandbox_ends(&victim).await, "the sandbox ends when it is told to");
    home.remove();
}

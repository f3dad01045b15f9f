//! Genuine words about money that are not true of ours: a message or an answer with another amount or currency, or about another attempt. Nothing is
//! adopted from them, the channel is asked, and what it did take for another amount goes back.

use breakwater::provider::{Provider, Verb};
use serde_json::{Value, json};

use crate::bent::Bent;
use crate::recovery::{deaf, put_off, unknowns};
use crate::world::{World, connect, payment, stripe, unique};

/// What the sandbox's stripe_main signs its messages with.
const SECRET: &str = "whsec_stripe_main";

/// Sends Stripe's message that this intent was paid, signed as Stripe signs; answers the message's id.
async fn told_paid(world: &World, intent: &str, attempt: &str, payment: &str, (amount, currency): (i64, &str)) -> String {
    let event = unique("evt");
    let object = json!({
        "id": intent, "object": "payment_intent", "status": "succeeded", "amount": amount, "amount_received": amount, "currency": currency,
        "capture_method": "automatic", "metadata": {"attempt": attempt, "payment": payment},
    });
    let body = json!({"id": event, "object": "event", "type": "payment_intent.succeeded", "data": {"object": object}}).to_string();
    let at = world.clock.wall().as_second();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = aws_lc_rs::hmac::sign(&key, format!("{at}.{body}").as_bytes());
    let hex: String = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let header = format!("t={at},v1={hex}");
    let headers = [("stripe-signature", header.as_str()), ("content-type", "application/json")];
    let answer = world.send("POST", "/v1/notifications/stripe_main", &headers, &body).await;
    assert_eq!(answer.status, 200, "it is genuine: {}", String::from_utf8_lossy(&answer.body));
    event
}

/// What was set aside of that message, as operators see it.
async fn quarantined(world: &World, event: &str) -> Value {
    for _ in 0..400 {
        let rows = world.ops("/ops/v1/notifications?state=quarantined").await.body["data"].take();
        if let Some(row) = rows.as_array().expect("a list").iter().find(|row| row["event_id"] == event) {
            return row.clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("{event} was not set aside");
}

/// The key and the reference of the payment's only attempt.
fn names(payment: &Value) -> (String, String) {
    let attempts = payment["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 1, "{payment:#}");
    let text = |name: &str| attempts[0][name].as_str().expect("a name").to_owned();
    (text("key"), text("reference"))
}

/// A message of another amount or currency comes about a payment in doubt that is due in hours: what it becomes.
async fn told_wrongly(money: (i64, &str), mode: &str, became: &str, captured: i64) {
    let world = World::with(deaf).await;
    let client = connect(&world).await;
    world.break_channel("stripe_main", &json!({"mode": mode, "operations": ["pay", "query"]})).await;
    let ids = unknowns(&world, 1).await;
    put_off(&client, &ids).await;
    world.heal("stripe_main").await;
    let (key, reference) = names(&world.payment(&ids[0]).await);
    let event = told_paid(&world, &reference, &key, &ids[0], money).await;
    let row = quarantined(&world, &event).await;
    assert_eq!((&row["payment_id"], &row["note"]), (&json!(ids[0]), &json!("its amount or currency is not the attempt's")), "{row:#}");
    world.eventually_alert("money_does_not_fit").await;
    // Nobody has moved the time: that the channel is asked now is the message's doing, and what it says now is the end.
    let end = world.finally(&ids[0]).await;
    assert_eq!((&end["status"], &end["amount_captured"]), (&json!(became), &json!(captured)), "{end:#}");
    assert_eq!(end["currency"], "CNY");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_genuine_message_of_another_amount_is_set_aside_and_the_channel_asked_at_once_what_it_took() {
    told_wrongly((99_900, "cny"), "timeout_processed", "succeeded", 1_250).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_genuine_message_of_another_currency_is_set_aside_and_the_channel_asked_at_once_what_it_took() {
    told_wrongly((1_250, "usd"), "timeout_processed", "succeeded", 1_250).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_genuine_message_of_another_amount_about_what_was_never_taken_ends_unpaid() {
    told_wrongly((1, "cny"), "timeout_not_processed", "failed", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_genuine_message_about_another_attempt_payment_or_reference_moves_neither() {
    let world = World::with(deaf).await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_not_processed", "operations": ["pay", "query"]})).await;
    let ids = unknowns(&world, 2).await;
    let (one, other) = (names(&world.payment(&ids[0]).await), names(&world.payment(&ids[1]).await));
    let nobody = format!("pay_{}", uuid::Uuid::new_v4().simple());
    let money = (1_250, "cny");
    let cases = [
        (told_paid(&world, &other.1, &other.0, &ids[0], money).await, "the payment has no such attempt on this channel"),
        (told_paid(&world, &other.1, &one.0, &ids[0], money).await, "the attempt is known by another reference"),
        (told_paid(&world, &one.1, &one.0, &nobody, money).await, "there is no such payment"),
    ];
    for (event, why) in &cases {
        assert_eq!(quarantined(&world, event).await["note"], *why);
    }
    for id in &ids {
        let told = world.payment(id).await;
        assert_eq!((&told["outcome"], &told["amount_captured"]), (&json!("unknown"), &json!(0)), "{told:#}");
    }
    world.heal("stripe_main").await;
    for id in &ids {
        let end = world.in_time(id, |payment| payment["status"] != "processing").await;
        assert_eq!((&end["status"], &end["amount_captured"]), (&json!("failed"), &json!(0)), "it was never taken: {end:#}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_genuine_message_of_another_amount_changes_nothing_of_what_is_known_to_be_paid_and_on_call_is_told() {
    let world = World::with(|setup| setup.sandbox.notifications = false).await;
    let client = connect(&world).await;
    let id = world.pay(1_250).await.id();
    let before = world.finally(&id).await;
    let (key, reference) = names(&before);
    let event = told_paid(&world, &reference, &key, &id, (12_500, "cny")).await;
    quarantined(&world, &event).await;
    world.eventually_alert("money_does_not_fit").await;
    let due = "SELECT count(*) FROM attempt WHERE due_at IS NOT NULL";
    for _ in 0..400 {
        if client.query_one(due, &[]).await.expect("readable").get::<_, i64>(0) == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    let after = world.payment(&id).await;
    let standing = |payment: &Value| (payment["status"].clone(), payment["amount_captured"].clone(), payment["attempts"][0]["state"].clone());
    assert_eq!(standing(&after), standing(&before));
    assert_eq!(client.query_one(due, &[]).await.expect("readable").get::<_, i64>(0), 0, "and nobody looks at it for ever");
    world.close().await;
}

/// What the channel says that it took, of orders that begin with `short`.
const TAKEN: i64 = 1_000;

static SHORT: Bent = Bent {
    answered: |call, mut answer| {
        let mut body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if call.order.starts_with("short") && matches!(call.verb, Verb::Pay | Verb::Query) && body["status"] == "succeeded" {
            body["amount_received"] = json!(TAKEN);
            answer.body = body.to_string().into();
        }
        answer
    },
    ..Bent::STRAIGHT
};

fn short_main(channel: &str) -> &'static dyn Provider {
    if channel == "stripe_main" { &SHORT } else { stripe(channel) }
}

/// The channel says that it took another amount; `fault` decides what it is that says so first.
async fn taken_wrongly(fault: Value) {
    let world = World::with(|setup| {
        deaf(setup);
        setup.provider = short_main;
    })
    .await;
    if !fault.is_null() {
        world.break_channel("stripe_main", &fault).await;
    }
    let id = world.create(&payment(1_250, &unique("short"))).await.id();
    if !fault.is_null() {
        world.eventually(&id, |payment| payment["outcome"] == "unknown").await;
        world.heal("stripe_main").await;
    }
    let end = world.in_time(&id, |payment| payment["status"] != "processing").await;
    assert_eq!((&end["status"], &end["amount_captured"]), (&json!("failed"), &json!(0)), "it is never adopted: {end:#}");
    assert_eq!(end["failure"]["code"], "amount_mismatch", "{end:#}");
    let states: Vec<_> = end["attempts"].as_array().expect("attempts").iter().map(|attempt| (&attempt["operation"], &attempt["state"])).collect();
    assert_eq!(states, [(&json!("pay"), &json!("reversed")), (&json!("reversal"), &json!("succeeded"))], "{end:#}");
    let book: Vec<_> = world.book("stripe_main").await.into_iter().map(|entry| (entry.kind, entry.amount)).collect();
    assert_eq!(book, [("charge".to_owned(), 1_250), ("reversal".to_owned(), 1_250)], "all that it took went back, however much that was");
    world.eventually_alert("money_does_not_fit").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_channel_took_for_another_amount_by_its_own_answer_goes_back_and_on_call_is_told() {
    taken_wrongly(Value::Null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_channel_took_for_another_amount_by_its_answer_to_a_question_goes_back_and_on_call_is_told() {
    taken_wrongly(json!({"mode": "timeout_processed", "operations": ["pay", "query"]})).await;
}

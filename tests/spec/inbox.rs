//! What waits in the inbox of notifications: it is taken up in turn, and neither a message that cannot be applied nor a channel that does not answer
//! stands before others. There is patience with each, and all of it anew for what a person had put back.

use std::time::Duration;

use breakwater::domain::{Currency, External, Money, OperationClass, Part, PaymentId};
use breakwater::provider::{Notification, Provider, Verb};
use breakwater::store::StoreError;
use breakwater::store::notification::STRANGER;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::bent::Bent;
use crate::operators::command;
use crate::world::{World, connect, payment, stripe, unique};

/// Stripe without its lists, and with four messages of its own: reading `poison` panics, `measure ID` tells of a refund of that payment and not how
/// much it was, so that the channel must be asked, `refunded ID` of one of all of it, and `disputed ID` of a dispute over all of it, which is written
/// down. Behind the payment's id may be Stripe's name for the refund or dispute.
static TOUCHY: Bent = Bent {
    told: |body| {
        assert!(body != b"poison", "injected");
        let mut words = std::str::from_utf8(body).ok()?.split(' ');
        let (what, payment) = (words.next()?, words.next()?);
        let reference = words.next().unwrap_or("of_their_own").to_owned();
        let money = Money { amount: 1_250, currency: Currency::parse("CNY")? };
        let external = match what {
            "measure" => External::RefundToMeasure { reference },
            "refunded" => External::Refund { reference, money },
            "disputed" => External::DisputeOpened { reference, money },
            _ => return None,
        };
        Some(Notification {
            event_id: format!("evt_{what}"),
            kind: external.as_str().to_owned(),
            attempt_key: None,
            payment: Some(payment.to_owned()),
            pay_reference: None,
            news: None,
            external: Some(external),
        })
    },
    // Of Stripe's refunds ours are known by their metadata: here the one that is asked for by its own name is known, too.
    answered: |call, mut answer| {
        if call.verb == Verb::QueryRefund
            && let Ok(mut page) = serde_json::from_slice::<Value>(&answer.body)
            && let Some(refunds) = page.get_mut("data").and_then(Value::as_array_mut)
        {
            for refund in refunds.iter_mut().filter(|refund| refund["id"] == call.key) {
                refund["metadata"] = json!({"attempt": call.key});
            }
            answer.body = page.to_string().into();
        }
        answer
    },
    ..Bent::STRAIGHT
};

pub fn touchy_main(channel: &str) -> &'static dyn Provider {
    if channel == "stripe_main" { &TOUCHY } else { stripe(channel) }
}

/// Pays over `channel`, and puts a message of it back into the inbox, as if the process had ended before it was applied. Answers the
/// payment's id and the message's.
async fn paid_and_not_told(world: &World, client: &Client, channel: &str) -> (String, String) {
    let mut body = payment(1_250, &unique("order"));
    body["channel"] = json!(channel);
    let paid = world.create(&body).await;
    assert_eq!((paid.status, paid.text("status")), (201, "succeeded"), "{:#}", paid.body);
    let told = "SELECT event_id FROM notification WHERE channel = $1 AND state = 'applied' LIMIT 1";
    let mut looks = 0;
    let event: String = loop {
        if let Some(row) = client.query_opt(told, &[&channel]).await.expect("readable") {
            break row.get(0);
        }
        assert!(looks < 400, "{channel} told nothing");
        looks += 1;
        tokio::time::sleep(Duration::from_millis(25)).await;
    };
    let forget = "UPDATE notification SET state = 'received', applied_at = NULL, received_at = now() - interval '1 minute' WHERE channel = $1 AND event_id = $2";
    client.execute(forget, &[&channel, &event]).await.expect("written");
    (paid.id(), event)
}

async fn put(client: &Client, event_id: &str, body: &str) {
    let sql = "INSERT INTO notification (channel, event_id, received_at, kind, body, state) \
               VALUES ('stripe_main', $1, now() - interval '2 minutes', 'refund', $2, 'received')";
    client.execute(sql, &[&event_id, &body.as_bytes()]).await.expect("written");
}

/// What came three hours ago for a channel that nobody had, and was set aside, with all patience used up.
async fn put_aside(client: &Client, event_id: &str, body: &str) {
    let sql = "INSERT INTO notification (channel, event_id, received_at, kind, body, state, note, applied_at, not_yet_since, asked_in_vain) \
               VALUES ('stripe_main', $1, now() - interval '3 hours', 'refund', $2, 'quarantined', $3, now(), now() - interval '2 hours', 120)";
    client.execute(sql, &[&event_id, &body.as_bytes(), &STRANGER]).await.expect("written");
}

/// Gives all of a payment back on Stripe's own pages. Answers Stripe's name for the refund.
async fn given_back_there(world: &World, payment: &str) -> String {
    let shown = world.payment(payment).await;
    world.control("POST", "stripe_main/customer", &json!({"reference": shown["attempts"][0]["reference"], "act": "portal_refund"})).await;
    let made = world.book("stripe_main").await.pop().expect("a refund");
    assert_eq!((made.kind.as_str(), made.amount), ("refund", 1_250));
    made.reference
}

/// Takes up what waits, at its next turn.
async fn next_turn(world: &World) {
    world.clock.advance(Duration::from_secs(31));
    world.running.flows.empty_inbox().await;
}

/// How many notifications are so.
async fn count(client: &Client, how: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM notification WHERE {how}"), &[]).await.expect("readable").get(0)
}

/// What became of a notification is written behind the look at it.
async fn eventually(client: &Client, event: &str, how: &str) {
    for _ in 0..400 {
        if count(client, &format!("event_id = '{event}' AND {how}")).await == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let row = client.query_one("SELECT state, note FROM notification WHERE event_id = $1", &[&event]).await.expect("readable");
    panic!("{event} is not {how}: {} {:?}", row.get::<_, String>(0), row.get::<_, Option<String>>(1));
}

async fn eventually_applied(client: &Client, event: &str) {
    eventually(client, event, "state = 'applied'").await;
}

/// Has what was set aside taken up again, by the command. Answers how many that are.
async fn retried(world: &World, arguments: &[&str]) -> i64 {
    let (code, said, why) = command(world, &[&["notifications", "retry", "--json"], arguments].concat(), "").await;
    assert_eq!(code, Some(0), "{why}");
    let told: Value = serde_json::from_str(&said).expect("one line of JSON");
    assert_eq!((&told["object"], &told["has_more"]), (&json!("notification_retry"), &json!(false)));
    told["notifications"].as_i64().expect("a number")
}

/// A world that takes up only what it is told to, over the provider that tells of refunds to be measured; its channel sends no notifications.
async fn without_a_poller() -> World {
    World::with(|setup| {
        setup.provider = touchy_main;
        setup.sandbox.notifications = false;
        setup.settings.server.roles = [Part::Payment, Part::Ops].into_iter().collect();
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_that_panics_is_set_aside_after_five_tries_and_holds_up_none_behind_it() {
    // Nobody but this test takes anything up.
    let world = World::with(|setup| {
        setup.provider = touchy_main;
        setup.settings.server.roles = [Part::Payment, Part::Ops].into_iter().collect();
    })
    .await;
    let client = connect(&world).await;
    let (_, sound) = paid_and_not_told(&world, &client, "stripe_main").await;
    for place in 0..40 {
        put(&client, &format!("evt_poison_{place}"), "poison").await;
    }
    world.running.flows.empty_inbox().await;
    eventually_applied(&client, &sound).await;
    let poison = async |how: &str| count(&client, &format!("event_id LIKE 'evt_poison_%' AND {how}")).await;
    assert_eq!(poison("state = 'received' AND failures = 1").await, 40, "each was tried once, and waits for its next turn");
    world.running.flows.empty_inbox().await;
    assert_eq!(poison("state = 'received' AND failures = 1").await, 40, "which is not at once");
    for tries in 2..=5 {
        assert_eq!(poison("state = 'received'").await, 40, "before try {tries}");
        world.clock.advance(Duration::from_secs(31));
        world.running.flows.empty_inbox().await;
    }
    let set_aside = "state = 'quarantined' AND failures = 5 AND note LIKE '%a fault of ours%' AND applied_at IS NOT NULL";
    assert_eq!(poison(set_aside).await, 40);
    world.eventually_metric("breakwater_notifications_total{channel=\"stripe_main\",result=\"set_aside\"}", |count| count >= 40.0).await;
    let alert = world.eventually_alert("notifications_set_aside").await;
    assert_eq!((&alert["channel"], &alert["severity"]), (&json!("stripe_main"), &json!("page")), "{alert:#}");
    // One that was quarantined for what it says is nobody's to put back.
    put(&client, "evt_refuted", "poison").await;
    let refute = "UPDATE notification SET state = 'quarantined', note = 'it contradicts what is known' WHERE event_id = 'evt_refuted'";
    client.execute(refute, &[]).await.expect("written");
    assert_eq!(retried(&world, &["--channel", "stripe_backup"]).await, 0);
    assert_eq!(poison(set_aside).await, 40, "they are another channel's");
    assert_eq!(retried(&world, &["--channel", "stripe_main", "--why", "mended"]).await, 40);
    assert_eq!(poison("state = 'received' AND failures = 0 AND note IS NULL AND applied_at IS NULL").await, 40);
    assert_eq!(count(&client, "event_id = 'evt_refuted' AND state = 'quarantined'").await, 1);
    world.running.flows.empty_inbox().await;
    assert_eq!(poison("state = 'received' AND failures = 1").await, 40, "all of them were taken up at once");
    let act = world.ops("/ops/v1/audit?act=notification.retry&subject=channel:stripe_main").await.body["data"][0].take();
    assert_eq!((&act["why"], &act["after"]["notifications"]), (&json!("mended"), &json!(40)), "{act:#}");
    assert!(act["who"].as_str().is_some_and(|who| who.starts_with("os:")), "{act:#}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_whose_channel_is_no_longer_in_the_settings_are_set_aside_counted_and_told_of() {
    let world = World::with(|setup| setup.settings.server.roles = [Part::Payment, Part::Ops].into_iter().collect()).await;
    let client = connect(&world).await;
    let told = "INSERT INTO notification (channel, event_id, received_at, looked_at, kind, body, state) \
                VALUES ($1, $2, now() - make_interval(hours => $3), now() - make_interval(hours => $4), 'refund', 'unread', 'received')";
    let rows =
        [("gone_main", "evt_1", 3, None), ("gone_main", "evt_2", 3, None), ("gone_main", "evt_3", 3, Some(1)), ("gone_later", "evt_4", 1, None)];
    for (channel, event, received, looked) in rows {
        client.execute(told, &[&channel, &event, &received, &looked]).await.expect("written");
    }
    let poller = world.peer_with(|settings| settings.server.roles = [Part::Poller].into_iter().collect()).await;
    let alert = world.eventually_alert("notifications_set_aside").await;
    assert_eq!((&alert["channel"], &alert["severity"]), (&json!("gone_main"), &json!("page")), "{alert:#}");
    assert!(alert["story"]["headline"].as_str().is_some_and(|headline| headline.contains("2 notifications")), "{alert:#}");
    let set_aside = "state = 'quarantined' AND note = 'its channel is not in the settings' AND applied_at IS NOT NULL";
    assert_eq!(count(&client, &format!("event_id IN ('evt_1', 'evt_2') AND {set_aside}")).await, 2);
    assert_eq!(count(&client, "event_id IN ('evt_3', 'evt_4') AND state = 'received'").await, 2, "another process may be about to apply them");
    let counted = |channel: &str| format!("breakwater_notifications_total{{channel=\"{channel}\",result=\"set_aside\"}}");
    world.eventually_metric(&counted("gone_main"), |count| (count - 2.0).abs() < 0.5).await;
    world.eventually_metric(&counted("gone_later"), |count| count.abs() < 0.5).await;
    // Put back they wait for a process that has the channel, and are not set aside at the next look.
    assert_eq!(retried(&world, &[]).await, 2);
    poller.stop().await;
    client.execute(told, &[&"gone_for_long", &"evt_5", &3, &None::<i32>]).await.expect("written");
    let poller = world.peer_with(|settings| settings.server.roles = [Part::Poller].into_iter().collect()).await;
    world.eventually_metric(&counted("gone_for_long"), |count| (count - 1.0).abs() < 0.5).await;
    assert_eq!(count(&client, "channel = 'gone_main' AND state = 'received' AND note IS NULL").await, 3);
    poller.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_cannot_do_at_the_moment_is_tried_again_and_never_counted_as_a_fault_of_ours() {
    let world = World::with(|setup| {
        setup.provider = touchy_main;
        setup.settings.server.roles = [Part::Payment, Part::Ops].into_iter().collect();
    })
    .await;
    let client = connect(&world).await;
    let (paid, _) = paid_and_not_told(&world, &client, "stripe_main").await;
    put(&client, "evt_disputed", &format!("disputed {paid}")).await;
    // Twice each, so that all of them are more than a fault of ours may be.
    let id = paid.parse::<PaymentId>().expect("an id");
    for code in ["40P01", "40001", "55P03"].repeat(2) {
        let refuse = format!(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'injected' USING ERRCODE = '{code}'; END $$; \
             CREATE OR REPLACE TRIGGER refuse BEFORE UPDATE ON payment FOR EACH ROW EXECUTE FUNCTION refuse(); \
             CREATE OR REPLACE TRIGGER refuse BEFORE UPDATE ON attempt FOR EACH ROW EXECUTE FUNCTION refuse();"
        );
        client.batch_execute(&refuse).await.expect("the database refuses from now on");
        world.running.flows.empty_inbox().await;
        let kept = "event_id = 'evt_disputed' AND state = 'received' AND failures = 0 AND looked_at IS NOT NULL";
        assert_eq!(count(&client, kept).await, 1, "{code} through the journal");
        let refused = world.running.store.hasten_attempt(id, 1, world.clock.wall()).await;
        assert!(matches!(&refused, Err(StoreError::Busy(why)) if why.contains(code)), "{code} without the journal: {refused:?}");
        world.clock.advance(Duration::from_secs(31));
    }
    client.batch_execute("DROP TRIGGER refuse ON payment; DROP TRIGGER refuse ON attempt").await.expect("it is over");
    world.running.flows.empty_inbox().await;
    eventually_applied(&client, "evt_disputed").await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_channel_does_not_answer_what_its_notifications_leave_open_those_of_the_others_are_applied() {
    let world = World::with(|setup| {
        setup.provider = touchy_main;
        setup.settings.server.roles = [Part::Payment].into_iter().collect();
        setup.timeout_ms = 8_000;
    })
    .await;
    let client = connect(&world).await;
    let (stalled, _) = paid_and_not_told(&world, &client, "stripe_main").await;
    put(&client, "evt_measure", &format!("measure {stalled}")).await;
    let (_, sound) = paid_and_not_told(&world, &client, "stripe_backup").await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_not_processed", "rate": 1.0, "operations": ["query"]})).await;
    let emptied = tokio::spawn(world.running.flows.empty_inbox());
    eventually_applied(&client, &sound).await;
    assert!(!emptied.is_finished(), "the other channel is still being asked");
    // Healed before, it might answer: the question need not have reached it yet.
    emptied.await.expect("it ends");
    world.heal("stripe_main").await;
    let kept = "event_id = 'evt_measure' AND state = 'received' AND failures = 0";
    let row = client.query_one("SELECT state, failures, note FROM notification WHERE event_id = 'evt_measure'", &[]).await.expect("readable");
    let row: (String, i32, Option<String>) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(count(&client, kept).await, 1, "a channel's silence is no fault of ours: {row:?}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_back_waits_for_the_news_of_its_payment_as_if_it_had_just_come() {
    let world = World::with(|setup| {
        setup.provider = touchy_main;
        setup.sandbox.notifications = false;
        setup.settings.server.roles = [Part::Payment, Part::Ops].into_iter().collect();
        setup.settings.server.answer_within_ms = 2_000;
    })
    .await;
    let client = connect(&world).await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "operations": ["pay", "query"]})).await;
    let unknown = world.pay(1_250).await;
    assert_eq!((unknown.status, unknown.text("outcome")), (202, "unknown"), "{:#}", unknown.body);
    let refund = given_back_there(&world, &unknown.id()).await;
    put_aside(&client, "evt_refunded", &format!("refunded {} {refund}", unknown.id())).await;
    assert_eq!(retried(&world, &["--channel", "stripe_main"]).await, 1);
    world.running.flows.empty_inbox().await;
    let waits = "event_id = 'evt_refunded' AND state = 'received' AND not_yet_since IS NOT NULL";
    assert_eq!(count(&client, waits).await, 1, "it waits for what it has overtaken, although it came hours ago");
    world.clock.advance(Duration::from_secs(5 * 60));
    next_turn(&world).await;
    assert_eq!(count(&client, waits).await, 1, "for a quarter of an hour");
    world.heal("stripe_main").await;
    let poller = world.peer_with(|settings| settings.server.roles = [Part::Poller, Part::Refund].into_iter().collect()).await;
    world.in_time(&unknown.id(), |payment| payment["amount_captured"] == 1_250).await;
    poller.stop().await;
    next_turn(&world).await;
    eventually_applied(&client, "evt_refunded").await;
    let after = world.payment(&unknown.id()).await;
    assert_eq!((&after["amount_refunded"], &after["refunds"][0]["source"]), (&json!(1_250), &json!("channel")), "{after:#}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_lets_nobody_ask_is_no_silence_of_the_channel_s() {
    let world = without_a_poller().await;
    let client = connect(&world).await;
    let paid = world.pay(1_250).await.id();
    let refund = given_back_there(&world, &paid).await;
    put_aside(&client, "evt_measure", &format!("measure {paid} {refund}")).await;
    assert_eq!(retried(&world, &["--channel", "stripe_main"]).await, 1);
    assert_eq!(count(&client, "asked_in_vain = 0").await, 1, "it is asked about as if nobody had asked before");
    let channel = world.running.flows.channels().find(|channel| channel.handle.id() == "stripe_main").expect("it is there").clone();
    let mut held = Vec::new();
    while let Ok(permit) = channel.handle.guard().admit(OperationClass::Resolve, world.clock.boot()) {
        held.push(permit);
        assert!(held.len() < 10_000, "the guard has no bound");
    }
    // As if it had been asked for nearly an hour.
    client.execute("UPDATE notification SET asked_in_vain = 119", &[]).await.expect("written");
    world.running.flows.empty_inbox().await;
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(3_600));
        world.running.flows.empty_inbox().await;
    }
    assert_eq!(count(&client, "state = 'received' AND asked_in_vain = 119 AND looked_at IS NOT NULL").await, 1, "however long that lasts");
    drop(held);
    next_turn(&world).await;
    eventually_applied(&client, "evt_measure").await;
    assert_eq!(world.payment(&paid).await["amount_refunded"], 1_250);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_of_which_its_channel_does_not_say_how_much_it_was_is_set_aside_told_of_and_can_be_put_back() {
    let world = without_a_poller().await;
    let client = connect(&world).await;
    let paid = world.pay(1_250).await.id();
    let refund = given_back_there(&world, &paid).await;
    put(&client, "evt_measure", &format!("measure {paid} {refund}")).await;
    client.execute("UPDATE notification SET asked_in_vain = 118", &[]).await.expect("written");
    world.break_channel("stripe_main", &json!({"mode": "error_not_processed", "operations": ["query"]})).await;
    world.running.flows.empty_inbox().await;
    assert_eq!(count(&client, "state = 'received' AND asked_in_vain = 119").await, 1, "the channel was asked, and did not say");
    next_turn(&world).await;
    eventually(&client, "evt_measure", "state = 'quarantined' AND asked_in_vain = 120 AND note LIKE 'its channel was asked for an hour%'").await;
    world.eventually_metric("breakwater_notifications_total{channel=\"stripe_main\",result=\"set_aside\"}", |count| count >= 1.0).await;
    let alert = world.eventually_alert("notifications_set_aside").await;
    assert_eq!((&alert["channel"], &alert["severity"]), (&json!("stripe_main"), &json!("page")), "{alert:#}");
    assert_eq!(world.payment(&paid).await["amount_refunded"], 0, "nothing is booked that was not said");
    world.heal("stripe_main").await;
    assert_eq!(retried(&world, &["--channel", "stripe_main", "--why", "it answers"]).await, 1);
    assert_eq!(count(&client, "state = 'received' AND asked_in_vain = 0 AND note IS NULL").await, 1);
    world.running.flows.empty_inbox().await;
    eventually_applied(&client, "evt_measure").await;
    assert_eq!(world.payment(&paid).await["amount_refunded"], 1_250);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_of_and_can_be_put_back_and_what_its_channel_refutes_is_a_misfit_and_stays() {
    let world = without_a_poller().await;
    let client = connect(&world).await;
    let paid = world.pay(1_250).await.id();
    put(&client, "evt_refuted", &format!("measure {paid} re_of_nobody")).await;
    world.running.flows.empty_inbox().await;
    let waits = "event_id = 'evt_refuted' AND state = 'received' AND not_yet_since IS NOT NULL AND asked_in_vain = 0";
    assert_eq!(count(&client, waits).await, 1, "what the channel does not find at once it may find yet");
    let alerts = async || world.ops("/ops/v1/alerts").await.body["data"].to_string();
    assert!(!alerts().await.contains("money_does_not_fit"));
    world.clock.advance(Duration::from_secs(15 * 60));
    next_turn(&world).await;
    eventually(&client, "evt_refuted", "state = 'quarantined' AND note = 'it tells of a refund that the channel does not have'").await;
    let alert = world.eventually_alert("money_does_not_fit").await;
    assert_eq!((&alert["channel"], &alert["severity"]), (&json!("stripe_main"), &json!("page")), "{alert:#}");
    assert!(!alerts().await.contains("notifications_set_aside"), "it is not set aside: it is refuted");

    put(&client, "evt_unreadable", "gibberish").await;
    next_turn(&world).await;
    eventually(&client, "evt_unreadable", "state = 'quarantined' AND note LIKE 'it cannot be read%'").await;
    let alert = world.eventually_alert("notifications_set_aside").await;
    assert_eq!((&alert["channel"], &alert["severity"]), (&json!("stripe_main"), &json!("page")), "{alert:#}");
    assert_eq!(retried(&world, &[]).await, 1, "the one that nobody could read");
    assert_eq!(count(&client, "event_id = 'evt_unreadable' AND state = 'received'").await, 1);
    assert_eq!(count(&client, "event_id = 'evt_refuted' AND state = 'quarantined'").await, 1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn housekeeping_that_hangs_holds_up_nothing_that_is_due() {
    let world = World::with(|setup| {
        setup.sandbox.notifications = false;
        setup.settings.server.roles = [Part::Payment].into_iter().collect();
        setup.settings.server.answer_within_ms = 2_000;
    })
    .await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "rate": 1.0, "operations": ["pay", "query"]})).await;
    let unknown = world.pay(1_250).await;
    assert_eq!((unknown.status, unknown.text("outcome")), (202, "unknown"), "{:#}", unknown.body);
    world.heal("stripe_main").await;
    // A card number whose time is up, and that somebody holds.
    let (client, watcher) = (connect(&world).await, connect(&world).await);
    let card = "INSERT INTO sealed_card (payment_id, key_name, sealed, created_at, erase_at) \
                VALUES (gen_random_uuid(), 'first', decode(repeat('00', 40), 'hex'), now() - interval '1 day', now() - interval '1 day')";
    client.batch_execute(card).await.expect("written");
    client.batch_execute("BEGIN; SELECT 1 FROM sealed_card FOR UPDATE").await.expect("held");
    let poller = world.peer_with(|settings| settings.server.roles = [Part::Poller, Part::Refund].into_iter().collect()).await;
    world.finally(&unknown.id()).await;
    let hangs = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    assert_eq!(watcher.query_one(hangs, &[]).await.expect("readable").get::<_, i64>(0), 1, "it was resolved while housekeeping hung");
    client.batch_execute("ROLLBACK").await.expect("let go");
    poller.stop().await;
    world.close().await;
}

//! Money back: never more than was taken, never twice, and never forgotten.

use breakwater::domain::REFUNDS_WITHOUT_LIMIT;
use serde_json::{Value, json};

use super::{Way, act, act_in_part, bank_acts, each, id};
use crate::world::World;

each! {
    parts_are_given_back_up_to_what_was_taken_and_not_one_more => parts;
    a_refund_that_is_declined_frees_its_amount => declined;
    a_refund_that_was_lost_on_its_way_is_made_once => lost;
    a_refund_that_is_pending_or_not_taken_yet_is_made_later => pending;
    a_refund_made_at_the_channel_is_adopted => portal;
    parts_that_are_refunded_at_the_channel_are_adopted_one_by_one_between_ours => portal_parts;
    a_dispute_holds_its_amount => dispute;
    a_refund_that_comes_back_frees_its_amount => returned;
    a_refund_made_at_the_channel_that_comes_back_frees_its_amount => portal_returned;
    a_dispute_that_is_won_frees_its_amount_and_one_that_is_lost_keeps_it => decided;
}

async fn given_back(world: &World, payment: &str, amount: i64) -> Value {
    world.in_time(payment, |payment| payment["amount_refunded"] == amount && all_are(payment, "succeeded")).await
}

fn all_are(payment: &Value, status: &str) -> bool {
    payment["refunds"].as_array().is_some_and(|refunds| refunds.iter().all(|refund| refund["status"] == status))
}

async fn parts(way: Way) {
    let world = way.world().await;
    let paid = way.paid(&world, 1_250).await;
    let mut sum = 0;
    for amount in [400, 400, 450] {
        let refund = world.refund(id(&paid), amount).await;
        assert!(matches!((refund.status, refund.text("status")), (201, "succeeded") | (202, "processing")), "{:#}", refund.body);
        sum += amount;
    }
    let over = world.refund(id(&paid), 1).await;
    assert_eq!((over.status, over.text("code")), (422, "refund_exceeds_captured"), "the three are spoken for, sent or not: {:#}", over.body);
    let after = given_back(&world, id(&paid), sum).await;
    assert_eq!((&after["status"], way.taken(&world).await), (&json!("succeeded"), 0));
    world.close().await;
}

async fn declined(way: Way) {
    let world = way.world().await;
    let paid = way.paid(&world, 1_250).await;
    world.break_channel(way.channel, &json!({"mode": "decline", "operations": ["refund"]})).await;
    let refund = world.refund(id(&paid), 1_250).await;
    assert_eq!((refund.status, refund.text("status"), refund.text("outcome")), (201, "failed", "declined"), "{:#}", refund.body);
    world.heal(way.channel).await;
    let again = world.refund(id(&paid), 1_250).await;
    assert!(matches!(again.status, 201 | 202), "{:#}", again.body);
    world.in_time(id(&paid), |payment| payment["amount_refunded"] == 1_250).await;
    world.close().await;
}

async fn lost(way: Way) {
    let modes = ["timeout_processed", "timeout_not_processed", "error_processed", "error_not_processed", "reset_after", "reset_before", "malformed"];
    // One world: what one refund leaves behind must not trip the next.
    let world = way
        .world_with(|setup| {
            setup.sandbox.notifications = false;
            setup.settings.server.answer_within_ms = 300;
        })
        .await;
    let paid = way.paid(&world, 7_000).await;
    let mut sum = 0;
    for mode in modes {
        world.break_channel(way.channel, &json!({"mode": mode, "operations": ["refund"]})).await;
        // Past the channel's spacing, so that it is sent at once, into the fault.
        world.clock.advance(way.between_refunds);
        let refund = world.refund(id(&paid), 1_000).await;
        assert_eq!((refund.status, refund.text("status")), (202, "processing"), "{mode}: {:#}", refund.body);
        assert_ne!(refund.text("outcome"), "not_sent", "{mode}: {:#}", refund.body);
        world.heal(way.channel).await;
        sum += 1_000;
        given_back(&world, id(&paid), sum).await;
        assert_eq!(way.taken(&world).await, 7_000 - sum, "{mode}");
    }
    world.close().await;
}

async fn pending(way: Way) {
    let world = way.world().await;
    let paid = way.paid(&world, 1_250).await;
    let refund = world.refund(id(&paid), 107).await;
    // A bank refuses it for now; the others have it and are at work.
    assert!(matches!((refund.status, refund.text("status")), (201, "succeeded") | (202, "processing")), "{:#}", refund.body);
    given_back(&world, id(&paid), 107).await;
    assert_eq!(way.taken(&world).await, 1_143);
    world.close().await;
}

async fn portal(way: Way) {
    let world = way.world().await;
    let paid = way.paid(&world, 1_250).await;
    let done = act(&world, way, paid["channel_reference"].as_str().expect("a name"), "portal_refund").await;
    if let Some(why) = way.lacks.portal {
        assert!((400..500).contains(&done), "{why}: {done}");
    } else {
        assert_eq!(done, 200);
        let after = world.eventually(id(&paid), |payment| payment["amount_refunded"] == 1_250).await;
        assert_eq!(after["refunds"][0]["source"], "channel", "{after:#}");
        let more = world.refund(id(&paid), 1).await;
        assert_eq!((more.status, more.text("code")), (422, "refund_exceeds_captured"), "{:#}", more.body);
    }
    world.close().await;
}

async fn portal_parts(way: Way) {
    if way.lacks.portal.is_some() {
        return;
    }
    let world = way.world().await;
    let paid = way.paid(&world, 1_250).await;
    let reference = paid["channel_reference"].as_str().expect("a name");
    for (part, given_back) in [(400, 400), (250, 750)] {
        assert_eq!(act_in_part(&world, way, reference, "portal_refund", Some(part)).await, 200);
        let after = world.eventually(id(&paid), |payment| payment["amount_refunded"] == given_back).await;
        assert_eq!(after["status"], "succeeded", "{after:#}");
        if given_back == 400 {
            // Alipay wants three seconds between two refunds of a trade.
            assert!(matches!(world.refund(id(&paid), 100).await.status, 201 | 202));
            world.in_time(id(&paid), |payment| payment["amount_refunded"] == 500).await;
        }
    }
    let refunds = world.payment(id(&paid)).await["refunds"].clone();
    let amounts: Vec<(&str, i64)> = refunds
        .as_array()
        .expect("a list")
        .iter()
        .map(|refund| (refund["source"].as_str().expect("a source"), refund["amount"].as_i64().expect("minor units")))
        .collect();
    assert_eq!(amounts, [("channel", 400), ("merchant", 100), ("channel", 250)], "{refunds:#}");
    let more = world.refund(id(&paid), 501).await;
    assert_eq!((more.status, more.text("code")), (422, "refund_exceeds_captured"), "{:#}", more.body);
    world.close().await;
}

async fn dispute(way: Way) {
    let world = way.world().await;
    let paid = way.paid(&world, 1_250).await;
    let done = act(&world, way, paid["channel_reference"].as_str().expect("a name"), "dispute").await;
    if let Some(why) = way.lacks.dispute {
        assert!((400..500).contains(&done), "{why}: {done}");
    } else {
        assert_eq!(done, 200);
        world.eventually(id(&paid), |payment| payment["amount_disputed"] == 1_250).await;
        let refund = world.refund(id(&paid), 1).await;
        assert_eq!((refund.status, refund.text("code")), (422, "refund_exceeds_captured"), "{:#}", refund.body);
    }
    world.close().await;
}

/// The key of the last refund's attempt.
fn refund_key(payment: &Value) -> String {
    let attempts = payment["attempts"].as_array().expect("attempts");
    attempts.iter().rev().find(|attempt| attempt["operation"] == "refund").expect("a refund")["key"].as_str().expect("a key").to_owned()
}

fn told(payment: &Value, kind: &str) -> usize {
    payment["events"].as_array().expect("events").iter().filter(|event| event["type"] == kind).count()
}

async fn returned(way: Way) {
    let world = way.world().await;
    let paid = way.paid(&world, 1_250).await;
    let refund = world.refund(id(&paid), 500).await;
    let before = given_back(&world, id(&paid), 500).await;
    let done = bank_acts(&world, way, &refund_key(&before), "return_refund").await;
    if let Some(why) = way.lacks.returned {
        assert_eq!(done, 409, "{why}");
        return world.close().await;
    }
    assert_eq!(done, 200);
    let after = world.in_time(id(&paid), |payment| payment["amount_refunded"] == 0).await;
    assert_eq!((&after["refunds"][0]["status"], &after["refunds"][0]["outcome"]), (&json!("returned"), &json!("declined")), "{after:#}");
    assert_eq!((&after["status"], &after["amount_captured"]), (&json!("succeeded"), &json!(1_250)));
    assert_eq!((told(&after, "refund.succeeded"), told(&after, "refund.returned")), (1, 1), "{after:#}");
    let shown = world.get(&format!("/v1/refunds/{}?sync=true", refund.id())).await;
    assert_eq!((shown.status, shown.text("status"), &shown.body["failure"]["code"]), (200, "returned", &json!("refund_failed")), "{:#}", shown.body);
    assert_eq!(way.taken(&world).await, 1_250);
    let alert = world.eventually_alert("money_moved").await;
    assert_eq!(alert["story"]["headline"], format!("{}: 1 refund came back", way.channel));
    // All of it may be given back anew, and the first refund stays what it is.
    world.refund(id(&paid), 1_250).await;
    let anew = world.in_time(id(&paid), |payment| payment["amount_refunded"] == 1_250).await;
    assert_eq!(anew["refunds"][0]["status"], "returned", "{anew:#}");
    assert_eq!(way.taken(&world).await, 0);
    world.close().await;
}

async fn portal_returned(way: Way) {
    let world = way.world().await;
    let paid = way.paid(&world, 1_250).await;
    let (portal, back) = (way.lacks.portal, way.lacks.returned);
    if let Some(why) = portal.or(back) {
        let refused = bank_acts(&world, way, paid["channel_reference"].as_str().expect("a name"), "return_refund").await;
        assert_eq!(refused, 409, "{why}");
        return world.close().await;
    }
    assert_eq!(act(&world, way, paid["channel_reference"].as_str().expect("a name"), "portal_refund").await, 200);
    let adopted = world.in_time(id(&paid), |payment| payment["amount_refunded"] == 1_250).await;
    let attempts = adopted["attempts"].as_array().expect("attempts");
    let reference = attempts.iter().find(|attempt| attempt["operation"] == "refund").expect("a refund")["reference"].as_str().expect("a name");
    assert_eq!(bank_acts(&world, way, reference, "return_refund").await, 200);
    let after = world.in_time(id(&paid), |payment| payment["amount_refunded"] == 0).await;
    assert_eq!((&after["refunds"][0]["status"], &after["refunds"][0]["source"]), (&json!("returned"), &json!("channel")), "{after:#}");
    assert_eq!((told(&after, "refund.returned"), way.taken(&world).await), (1, 1_250), "{after:#}");
    world.close().await;
}

async fn decided(way: Way) {
    let world = way.world().await;
    for (act_of_bank, disputed) in [("dispute_won", 0), ("dispute_lost", 1_250)] {
        let paid = way.paid(&world, 1_250).await;
        let reference = paid["channel_reference"].as_str().expect("a name");
        if let Some(why) = way.lacks.dispute {
            assert_eq!(bank_acts(&world, way, reference, act_of_bank).await, 409, "{why}");
            continue;
        }
        assert_eq!(bank_acts(&world, way, reference, act_of_bank).await, 409, "nothing is disputed yet");
        assert_eq!(act(&world, way, reference, "dispute").await, 200);
        world.in_time(id(&paid), |payment| payment["amount_disputed"] == 1_250).await;
        assert_eq!(bank_acts(&world, way, reference, act_of_bank).await, 200);
        let after = world.in_time(id(&paid), |payment| told(payment, "dispute.closed") == 1).await;
        assert_eq!((&after["amount_disputed"], told(&after, "dispute.created")), (&json!(disputed), 1), "{act_of_bank}: {after:#}");
        let refund = world.refund(id(&paid), 1_250).await;
        if disputed == 0 {
            assert!(matches!(refund.status, 201 | 202), "{:#}", refund.body);
            world.in_time(id(&paid), |payment| payment["amount_refunded"] == 1_250).await;
        } else {
            assert_eq!((refund.status, refund.text("code")), (422, "refund_exceeds_captured"), "{:#}", refund.body);
        }
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_has_no_more_refunds_than_its_channel_takes_of_one_and_those_that_failed_do_not_count() {
    let world = World::start().await;
    let paid = world.pay(10_000).await;
    world.break_channel("stripe_main", &json!({"mode": "decline", "operations": ["refund"]})).await;
    let failed = world.refund(&paid.id(), 10).await;
    assert_eq!(failed.text("status"), "failed", "{:#}", failed.body);
    world.heal("stripe_main").await;
    for nth in 2..=REFUNDS_WITHOUT_LIMIT {
        let refund = world.refund(&paid.id(), 10).await;
        assert_eq!(refund.status, 201, "refund {nth}: {:#}", refund.body);
    }
    // One place is left, and two want it.
    let id = paid.id();
    let (one, other) = tokio::join!(world.refund(&id, 10), world.refund(&id, 10));
    let refused = if one.status == 201 { other } else { one };
    assert_eq!((refused.status, refused.text("code")), (422, "too_many_refunds"), "{:#}", refused.body);
    assert!(refused.text("detail").contains("100 refunds, and 400 with those that failed"), "{:#}", refused.body);
    let after = world.payment(&paid.id()).await;
    let written = after["refunds"].as_array().map_or(0, Vec::len);
    assert_eq!((written, &after["amount_refunded"]), (REFUNDS_WITHOUT_LIMIT + 1, &json!(1_000)), "nothing was written of the one that was refused");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_made_at_the_channel_that_overtakes_the_news_of_its_payment_waits_for_it() {
    let world = World::with(|setup| setup.sandbox.notifications = false).await;
    world.break_channel("stripe_main", &json!({"mode": "timeout_processed", "operations": ["pay", "query"]})).await;
    let unknown = world.pay(1_250).await;
    assert_eq!((unknown.status, unknown.text("outcome")), (202, "unknown"), "{:#}", unknown.body);
    let reference = world.payment(&unknown.id()).await["attempts"][0]["reference"].as_str().expect("Stripe's name").to_owned();
    assert_eq!(act(&world, super::STRIPE, &reference, "portal_refund").await, 200);
    let made = world.book("stripe_main").await.pop().expect("a refund");
    let (client, connection) = tokio_postgres::connect(&world.database_url, tokio_postgres::NoTls).await.expect("the database");
    tokio::spawn(connection);
    // As it lies there when it was verified and could not be applied.
    let (id, amount) = (&made.reference, made.amount);
    let refund = json!({"id": id, "object": "refund", "amount": amount, "currency": "cny", "status": "succeeded", "payment_intent": reference});
    let event = json!({"id": "evt_early", "type": "refund.created", "data": {"object": refund}}).to_string();
    let early = "INSERT INTO notification (channel, event_id, received_at, kind, body, state) \
                 VALUES ('stripe_main', 'evt_early', now() - interval '31 seconds', 'refund.created', $1, 'received')";
    client.execute(early, &[&event.as_bytes()]).await.expect("written");
    world.running.flows.empty_inbox().await;
    let state = || async { client.query_one("SELECT state FROM notification", &[]).await.expect("readable").get::<_, String>(0) };
    assert_eq!(state().await, "received", "nothing is known of the money that was given back");
    world.heal("stripe_main").await;
    world.finally(&unknown.id()).await;
    // Its next turn.
    world.clock.advance(std::time::Duration::from_secs(31));
    world.running.flows.empty_inbox().await;
    let after = world.eventually(&unknown.id(), |payment| payment["amount_refunded"] == amount).await;
    assert_eq!((&after["status"], &after["refunds"][0]["source"]), (&json!("succeeded"), &json!("channel")), "{after:#}");
    let mut looks = 0;
    while state().await != "applied" {
        assert!(looks < 200, "it was applied, and is not closed");
        looks += 1;
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    world.close().await;
}

//! What only banks have: messages that are undone because nobody can be asked, numbers that are nobody else's, and card numbers.

use std::collections::BTreeSet;
use std::time::Duration;

use breakwater::sandbox::AccountSettings;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::BANK;
use crate::world::{World, card, unique};

async fn query(world: &World, sql: &str) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(&world.database_url, tokio_postgres::NoTls).await.expect("the database");
    tokio::spawn(connection);
    client.query(sql, &[]).await.expect("readable").iter().map(|row| row.get(0)).collect()
}

fn attempts(payment: &Value, operation: &str) -> Vec<(String, String, String)> {
    let text = |attempt: &Value, field: &str| attempt[field].as_str().unwrap_or_default().to_owned();
    let all = payment["attempts"].as_array().expect("attempts").iter().filter(|attempt| attempt["operation"] == operation);
    all.map(|attempt| (text(attempt, "channel"), text(attempt, "state"), text(attempt, "key"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_bank_does_not_answer_is_undone_there_and_paid_at_another_within_one_payment() {
    let world = World::with(|setup| setup.sandbox.accounts = vec![AccountSettings::bank("bank_a"), AccountSettings::bank("bank_b")]).await;
    for (mode, booked) in [("timeout_processed", 2), ("timeout_not_processed", 0), ("error_processed", 2)] {
        let before = world.book("bank_a").await.len();
        world.break_channel("bank_a", &json!({"mode": mode, "operations": ["pay"]})).await;
        let reply = world.create(&card(1_250, &unique("order"))).await;
        assert_eq!((reply.status, reply.text("status"), reply.text("channel")), (201, "succeeded", "bank_b"), "{mode}: {:#}", reply.body);
        world.heal("bank_a").await;
        let paid = world.payment(&reply.id()).await;
        let pays: Vec<(String, String)> = attempts(&paid, "pay").into_iter().map(|(channel, state, _)| (channel, state)).collect();
        let expected = [("bank_a", "reversed"), ("bank_b", "succeeded")].map(|(channel, state)| (channel.to_owned(), state.to_owned()));
        assert_eq!(pays, expected, "{mode}: {paid:#}");
        assert_eq!(world.book("bank_a").await.len() - before, booked, "{mode}: what it charged it gave back");
    }
    assert_eq!(world.book("bank_b").await.len(), 3);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unacknowledged_reversal_stops_the_payment_from_going_elsewhere_and_survives_a_restart() {
    let mut world = World::with(|setup| {
        setup.sandbox.accounts = vec![AccountSettings::bank("bank_a"), AccountSettings::bank("bank_b")];
        setup.settings.server.answer_within_ms = 3_000;
    })
    .await;
    world.break_channel("bank_a", &json!({"mode": "timeout_processed", "operations": ["pay"]})).await;
    world.break_channel("bank_a", &json!({"mode": "timeout_not_processed", "operations": ["void"]})).await;
    // The second fault replaces the first: what is paid is charged and answered, so pay by an amount that is charged and never answered.
    let reply = world.create(&card(1_202, &unique("order"))).await;
    assert_eq!((reply.status, reply.text("status"), reply.text("outcome")), (202, "processing", "unknown"), "{:#}", reply.body);
    world.restart().await;
    world.eventually_tries(&reply.id(), 2).await;
    let waiting = world.payment(&reply.id()).await;
    assert_eq!((&waiting["status"], attempts(&waiting, "pay").len()), (&json!("processing"), 1), "{waiting:#}");
    let queued = attempts(&waiting, "reversal");
    world.heal("bank_a").await;
    let ended = world.in_time(&reply.id(), |payment| payment["status"] == "failed").await;
    assert_eq!(attempts(&ended, "reversal").iter().map(|one| &one.2).collect::<Vec<_>>(), queued.iter().map(|one| &one.2).collect::<Vec<_>>());
    let kinds: Vec<String> = world.book("bank_a").await.into_iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, ["charge", "reversal"]);
    assert!(world.book("bank_b").await.is_empty());
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_share_a_number() {
    let world = BANK.world().await;
    let peer = world.peer().await;
    let urls = [world.url.clone(), peer.url.clone()];
    let pay = |nth: usize| {
        let (world, url) = (&world, &urls[nth % 2]);
        async move { world.post_to(url, "/v1/payments", &unique("key"), &card(1_250, &unique("order"))).await }
    };
    for reply in join_all((0..40).map(pay)).await {
        assert_eq!((reply.status, reply.text("status")), (201, "succeeded"), "{:#}", reply.body);
    }
    let numbers = query(&world, "SELECT substr(key, 15, 6) FROM attempt").await;
    assert_eq!((numbers.len(), numbers.iter().collect::<BTreeSet<_>>().len()), (40, 40), "{numbers:?}");
    peer.stop().await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_the_bank_refuses_for_now_goes_again_under_a_new_number() {
    let world = BANK.world().await;
    let paid = BANK.paid(&world, 1_250).await;
    let payment = super::id(&paid);
    world.break_channel(BANK.channel, &json!({"mode": "throttle", "operations": ["refund"]})).await;
    let refund = world.refund(payment, 500).await;
    assert_eq!((refund.status, refund.text("status"), refund.text("outcome")), (202, "processing", "not_sent"), "{:#}", refund.body);
    world.eventually(payment, |payment| attempts(payment, "refund").len() >= 3).await;
    world.heal(BANK.channel).await;
    let done = world.in_time(payment, |payment| payment["amount_refunded"] == 500).await;
    let tried = attempts(&done, "refund");
    let states: Vec<&str> = tried.iter().map(|(_, state, _)| state.as_str()).collect();
    assert!(states[..states.len() - 1].iter().all(|state| *state == "not_sent") && states.last() == Some(&"succeeded"), "{done:#}");
    assert_eq!(tried.iter().map(|one| &one.2).collect::<BTreeSet<_>>().len(), tried.len(), "each its own number: {done:#}");
    assert_eq!(BANK.taken(&world).await, 750);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_never_left_goes_again_under_its_own_number() {
    let world = BANK.world().await;
    let paid = BANK.paid(&world, 1_250).await;
    let payment = super::id(&paid);
    world.break_channel(BANK.channel, &json!({"mode": "refuse", "operations": ["refund"]})).await;
    let refund = world.refund(payment, 500).await;
    assert_eq!((refund.status, refund.text("outcome")), (202, "not_sent"), "{:#}", refund.body);
    world.heal(BANK.channel).await;
    let done = world.eventually(payment, |payment| payment["amount_refunded"] == 500).await;
    assert_eq!(attempts(&done, "refund").len(), 1, "{done:#}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_number_is_kept_for_refunds_and_erased_when_none_can_come() {
    let world = BANK.world().await;
    let paid = BANK.paid(&world, 1_250).await;
    let kept = "SELECT payment_id::text FROM sealed_card";
    assert_eq!(query(&world, kept).await.len(), 1);
    world.clock.advance(Duration::from_secs(170 * 24 * 60 * 60));
    assert_eq!(query(&world, kept).await.len(), 1);
    world.clock.advance(Duration::from_secs(20 * 24 * 60 * 60));
    let mut looks = 0;
    while !query(&world, kept).await.is_empty() {
        looks += 1;
        assert!(looks < 600, "it is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let late = world.refund(super::id(&paid), 1).await;
    assert_eq!((late.status, late.text("code")), (422, "refund_window_closed"), "{:#}", late.body);
    world.close().await;
}

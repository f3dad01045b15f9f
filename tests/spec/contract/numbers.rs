//! What a provider wants of refunds of one payment: a pause between two of them, and one number for each, whatever becomes of it.

use std::time::Duration;

use breakwater::domain::PaymentId;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{ALIPAY_BARCODE as ALIPAY, id};
use crate::overrides::act as operate;
use crate::world::World;

/// The provider's pause, in milliseconds.
const SPACING: i64 = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_within_the_spacing_of_another_waits_in_its_queue_and_is_never_sent_earlier() {
    let world = ALIPAY.world().await;
    let paid = ALIPAY.paid(&world, 1_250).await;
    let first = world.refund(id(&paid), 400).await;
    assert_eq!((first.status, first.text("status")), (201, "succeeded"), "{:#}", first.body);
    for amount in [300, 200] {
        let queued = world.refund(id(&paid), amount).await;
        assert_eq!((queued.status, queued.text("status"), queued.text("outcome")), (202, "processing", "not_sent"), "{:#}", queued.body);
        assert!(queued.body["poll_after"].is_string(), "{:#}", queued.body);
    }
    let done = world.eventually(id(&paid), |payment| payment["amount_refunded"] == 900).await;
    assert_eq!(done["refunds"].as_array().map(Vec::len), Some(3));
    let list = world.control("GET", "alipay_main/book", &Value::Null).await;
    let at = |entry: &Value| entry["at"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok()).expect("a time").as_millisecond();
    let refunds: Vec<i64> = list.as_array().expect("a book").iter().filter(|entry| entry["kind"] == "refund").map(at).collect();
    assert_eq!(refunds.len(), 3);
    assert!(refunds.windows(2).all(|pair| pair[1] - pair[0] >= SPACING), "{refunds:?}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_is_not_found_goes_again_under_its_one_number_for_as_long_as_it_takes() {
    let world = ALIPAY.world_with(|setup| setup.settings.server.answer_within_ms = 300).await;
    let paid = ALIPAY.paid(&world, 1_250).await;
    world.break_channel(ALIPAY.channel, &json!({"mode": "error_not_processed", "operations": ["refund"]})).await;
    let refund = world.refund(id(&paid), 500).await;
    assert_eq!((refund.status, refund.text("status")), (202, "processing"), "{:#}", refund.body);
    // Asked after and sent again, past the time after which another provider's not found would be final.
    for _ in 0..6 {
        world.clock.advance(Duration::from_secs(40));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    world.eventually_tries(id(&paid), 5).await;
    world.heal(ALIPAY.channel).await;
    let done = world.in_time(id(&paid), |payment| payment["amount_refunded"] == 500).await;
    let tried = done["attempts"].as_array().expect("attempts").iter().filter(|attempt| attempt["operation"] == "refund").count();
    assert_eq!(tried, 1, "{done:#}");
    world.close().await;
}

/// From when on another refund of the payment may be sent, once its last was looked at so many times more.
async fn looked_at(world: &World, payment: PaymentId, times: i32) -> Timestamp {
    let mut before = None;
    for _ in 0..400 {
        let now = world.running.store.payment(payment).await.expect("readable").expect("there");
        let looks = now.attempts.last().expect("a refund").fence;
        if looks >= *before.get_or_insert(looks) + times {
            return now.refund_turn(None, Duration::from_millis(SPACING.unsigned_abs())).expect("a refund was sent");
        }
        world.clock.advance(Duration::from_secs(4));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it was not looked at {times} times more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_a_refund_that_may_not_be_repeated_now_moves_no_other_refunds_turn() {
    let world = ALIPAY.world_with(|setup| setup.settings.server.answer_within_ms = 300).await;
    let paid = ALIPAY.paid(&world, 1_250).await;
    world.break_channel(ALIPAY.channel, &json!({"mode": "error_not_processed", "operations": ["refund"]})).await;
    let refund = world.refund(id(&paid), 500).await;
    assert_eq!((refund.status, refund.text("status")), (202, "processing"), "{:#}", refund.body);
    // Refunds alone are shut: the channel is asked after this one, does not have it, and may not be sent it again.
    let path = "/ops/v1/channels/alipay_main/override";
    let until = (world.clock.wall() + SignedDuration::from_hours(2)).to_string();
    let shut = json!({"mode": "forced_open", "operation": "refund", "reason": "the wallet says so", "expires_at": until});
    assert_eq!(operate(&world, &world.ops_token, "PUT", path, &shut).await.status, 200);
    let payment: PaymentId = id(&paid).parse().expect("an id");
    // A look that was under way when they were shut is over with the next one.
    let turn = looked_at(&world, payment, 2).await;
    assert_eq!(looked_at(&world, payment, 3).await, turn, "nothing was sent meanwhile");
    assert_eq!(operate(&world, &world.ops_token, "DELETE", &format!("{path}?operation=refund"), &Value::Null).await.status, 200);
    world.heal(ALIPAY.channel).await;
    world.in_time(id(&paid), |payment| payment["amount_refunded"] == 500).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_of_alipay_has_its_wallet_without_being_told() {
    let settings = breakwater::config::ChannelSettings::test("alipay_main", "alipay", "https://openapi.example", "");
    assert_eq!(settings.wallets, [breakwater::domain::Wallet::Alipay]);
    assert!(breakwater::config::ChannelSettings::test("stripe_main", "stripe", "https://api.example", "").wallets.is_empty());
}

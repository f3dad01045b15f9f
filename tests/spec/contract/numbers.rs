//! What a provider wants of refunds of one payment: a pause between two of them, and one number for each, whatever becomes of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ALIPAY_BARCODE as ALIPAY, id};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_of_alipay_has_its_wallet_without_being_told() {
    let settings = breakwater::config::ChannelSettings::test("alipay_main", "alipay", "https://openapi.example", "");
    assert_eq!(settings.wallets, [breakwater::domain::Wallet::Alipay]);
    assert!(breakwater::config::ChannelSettings::test("stripe_main", "stripe", "https://api.example", "").wallets.is_empty());
}

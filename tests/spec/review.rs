//! What a reader of the code asked himself, as tests: what the channel does behind our back, and what races with the poller.

use futures_util::future::join_all;
use serde_json::json;

use crate::world::{World, payment, unique};

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_was_captured_on_the_channels_own_pages_and_is_canceled_goes_back_without_a_storm_of_voids() {
    let world = World::with(|setup| setup.sandbox.notifications = false).await;
    let mut body = payment(1_000, &unique("order"));
    body["capture_method"] = json!("manual");
    let hold = world.create(&body).await;
    assert_eq!(hold.text("status"), "requires_capture", "{:#}", hold.body);
    let sandbox = world.sandbox.as_ref().expect("open");
    let url = format!("{}/v1/payment_intents/{}/capture", sandbox.channel_url("stripe_main").expect("served"), hold.text("channel_reference"));
    let headers = [("authorization", "Bearer sk_test_stripe_main"), ("content-type", "application/x-www-form-urlencoded")];
    let captured = breakwater::cli::client::send("POST", &url, &headers, "").await.expect("an answer");
    assert_eq!(captured.status, 200, "{}", String::from_utf8_lossy(&captured.body));
    let canceled = world.post(&format!("/v1/payments/{}/cancel", hold.id()), &unique("key"), &json!({})).await;
    assert!([200, 202].contains(&canceled.status), "{:#}", canceled.body);
    let end = world.eventually(&hold.id(), |payment| payment["amount_refunded"] == 1_000).await;
    assert_eq!(end["status"], "succeeded");
    let voids = end["attempts"].as_array().expect("attempts").iter().filter(|attempt| attempt["operation"] == "void").count();
    assert_eq!(voids, 1, "{end:#}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_channel_took_the_first_step_of_is_carried_to_its_end() {
    let world = World::with(|setup| setup.max_in_flight = Some(10)).await;
    let replies = join_all((0..60).map(|_| world.pay(1_250))).await;
    for reply in &replies {
        let turned_away = reply.status == 503;
        assert!(turned_away || reply.body["status"] == "succeeded", "{} {:#}", reply.status, reply.body);
    }
    assert!(replies.iter().any(|reply| reply.status == 201), "{:#}", replies[0].body);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_every_channel_is_shut_a_known_key_is_a_replay_and_a_taken_order_is_told_so() {
    let world = World::start().await;
    let (key, order) = (unique("key"), unique("order"));
    let paid = world.post("/v1/payments", &key, &payment(1_250, &order)).await;
    assert_eq!(paid.status, 201, "{:#}", paid.body);
    world.break_channel("stripe_main", &json!({"mode": "refuse", "rate": 1.0})).await;
    let mut shut = false;
    for _ in 0..200 {
        shut = world.pay(1_250).await.status == 503;
        if shut {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(shut, "the breaker opens");
    let replayed = world.post("/v1/payments", &key, &payment(1_250, &order)).await;
    assert_eq!((replayed.status, replayed.id()), (201, paid.id()), "{:#}", replayed.body);
    let taken = world.create(&payment(1_250, &order)).await;
    assert_eq!((taken.status, taken.text("code"), taken.text("existing")), (409, "duplicate_order", paid.id().as_str()), "{:#}", taken.body);
    world.heal("stripe_main").await;
    world.close().await;
}

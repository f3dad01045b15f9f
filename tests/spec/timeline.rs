//! What a payment's timeline keeps of the wire: enough to argue with a channel, and nothing that must not be kept.

use serde_json::Value;

use crate::world::{World, payment, unique};

#[tokio::test(flavor = "multi_thread")]
async fn the_timeline_keeps_an_allow_listed_copy_of_request_and_reply() {
    let world = World::start().await;
    let paid = world.create(&payment(1_250, &unique("order"))).await;
    assert_eq!((paid.status, paid.text("status")), (201, "succeeded"), "{:#}", paid.body);
    let read = world.get(&format!("/v1/payments/{}?include=events", paid.id())).await;
    let events = read.body["events"].as_array().expect("events");
    let exchange = |kind: &str| -> Value {
        let event = events.iter().find(|event| event["type"] == kind).unwrap_or_else(|| panic!("{kind} in {events:#?}"));
        event["data"]["exchange"].clone()
    };
    let confirmed = exchange("attempt.succeeded");
    assert_eq!(confirmed["verb"], "pay", "{events:#?}");
    assert!(confirmed["request"]["path"].as_str().is_some_and(|path| path.ends_with("/confirm")), "{confirmed:#}");
    assert_eq!((&confirmed["reply"]["status"], &confirmed["reply"]["state"]), (&"200".into(), &"succeeded".into()), "{confirmed:#}");
    assert!(confirmed["rtt_ms"].is_u64(), "{confirmed:#}");
    let shown = read.body.to_string();
    assert!(!shown.contains("pm_card_visa") && !shown.contains("sk_test"), "{shown}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decline_keeps_the_channels_own_codes() {
    let world = World::start().await;
    let declined = world.create(&payment(1_201, &unique("order"))).await;
    assert_eq!(declined.text("status"), "failed", "{:#}", declined.body);
    let read = world.get(&format!("/v1/payments/{}?include=events", declined.id())).await;
    let events = read.body["events"].as_array().expect("events");
    let event = events.iter().find(|event| event["type"] == "attempt.declined").expect("a decline");
    assert_eq!(event["data"]["exchange"]["reply"]["error_code"], "card_declined", "{event:#}");
    world.close().await;
}

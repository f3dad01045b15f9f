//! How much money is in doubt, as metrics and the alert tell of it: each currency by itself.

use std::time::Duration;

use breakwater::sandbox::AccountSettings;
use serde_json::json;

use crate::recovery::deaf;
use crate::world::{World, is_final, payment, unique};

/// Metrics are the whole process's: no other world has a channel of this name.
const CHANNEL: &str = "stripe_at_risk";

fn series(currency: &str) -> String {
    format!("breakwater_unknown_outcome_amount_minor{{channel=\"{CHANNEL}\",operation=\"pay\",currency=\"{currency}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn unknowns_of_two_currencies_are_two_sums_in_metrics_and_alert_and_nothing_is_at_risk_once_they_are_resolved() {
    let world = World::with(|setup| {
        deaf(setup);
        setup.sandbox.accounts = vec![AccountSettings::stripe(CHANNEL)];
    })
    .await;
    world.break_channel(CHANNEL, &json!({"mode": "timeout_processed", "rate": 1.0, "operations": ["pay", "query"]})).await;
    let mut ids = Vec::new();
    for (amount, currency) in [(1_250, "CNY"), (750, "CNY"), (3_000, "JPY")] {
        let mut body = payment(amount, &unique("order"));
        body["currency"] = json!(currency);
        ids.push(world.create(&body).await.id());
    }
    for id in &ids {
        world.eventually(id, |payment| payment["outcome"] == "unknown").await;
    }
    world.eventually_metric(&series("CNY"), |sum| sum == 2_000.0).await;
    world.eventually_metric(&series("JPY"), |sum| sum == 3_000.0).await;

    world.clock.advance(Duration::from_secs(16 * 60));
    let alert = world.eventually_alert("unknown_old").await;
    let headline = alert["story"]["headline"].as_str().expect("text");
    assert!(headline.starts_with("3 outcomes unknown, the oldest for 16 min: 20.00 CNY and 3,000 JPY at risk"), "{headline}");
    assert_eq!(alert["story"]["impact"][1], "20.00 CNY and 3,000 JPY at risk.", "{alert:#}");

    world.heal(CHANNEL).await;
    for id in &ids {
        world.in_time(id, |payment| is_final(payment["status"].as_str().unwrap_or_default())).await;
    }
    for currency in ["CNY", "JPY"] {
        world.eventually_metric(&series(currency), |sum| sum == 0.0).await;
    }
    world.close().await;
}

//! Light sample traffic, so that lists, metrics and dashboards have something to show: about one payment a second, most of them paid, some
//! declined, held and captured, refunded, or paid by a customer who is redirected first.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::cli::client;

const EVERY: Duration = Duration::from_millis(900);

/// Sends payments until the process ends. What goes wrong is only logged: it is the demo's to be broken.
pub(super) async fn run(url: String, key: String) {
    let mut count: u64 = 0;
    loop {
        if let Err(error) = one(&url, &key, count).await {
            tracing::debug!(error = %error, "a sample payment was not made");
        }
        count += 1;
        tokio::time::sleep(EVERY).await;
    }
}

async fn one(url: &str, key: &str, count: u64) -> Result<(), client::ClientError> {
    let token = match count % 12 {
        3 => "pm_card_visa_chargeDeclined",
        7 => "pm_card_threeDSecureRequired",
        _ => "pm_card_visa",
    };
    let manual = count % 6 == 5;
    // Whole tens of minor units: none of the sandbox's magic amounts.
    let amount = 1_000 + 10 * (count * 37 % 900);
    let body = json!({
        "amount": amount, "currency": "CNY", "merchant_order_id": format!("sample-{}", Uuid::new_v4().simple()),
        "payment_method": {"type": "card_token", "token": token}, "capture_method": if manual { "manual" } else { "automatic" },
        "return_url": "https://shop.example/thanks", "description": "sample order",
    });
    let payment = post(url, key, "/v1/payments", &body).await?;
    let Some(id) = payment["id"].as_str() else { return Ok(()) };
    if let Some(page) = payment["next_action"]["url"].as_str() {
        client::send("GET", page, &[], "").await?;
    }
    if manual && payment["status"] == "requires_capture" {
        post(url, key, &format!("/v1/payments/{id}/capture"), &json!({})).await?;
    }
    if count % 5 == 1 && payment["status"] == "succeeded" {
        let refund = json!({"payment_id": id, "merchant_refund_id": format!("sample-{}", Uuid::new_v4().simple()), "amount": amount / 2});
        post(url, key, "/v1/refunds", &refund).await?;
    }
    Ok(())
}

async fn post(url: &str, key: &str, path: &str, body: &Value) -> Result<Value, client::ClientError> {
    let authorization = format!("Bearer {key}");
    let idempotency_key = Uuid::new_v4().to_string();
    let headers = [("authorization", authorization.as_str()), ("idempotency-key", idempotency_key.as_str()), ("content-type", "application/json")];
    let answer = client::send("POST", &format!("{url}{path}"), &headers, &body.to_string()).await?;
    Ok(serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
}

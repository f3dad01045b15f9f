//! Light sample traffic, so that lists, metrics and dashboards have something to show: about three payments a second, by every method that the
//! channels have. Most are paid; some are declined, held and captured later, refunded, canceled, left alone by their customers, or never answered
//! by the third party. At any time some payments are open in about every status, and none for long.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::cli::client::{self, ClientError};

const EVERY: Duration = Duration::from_millis(350);
/// Orders that are carried at once: some wait for a third party that does not answer. Beyond it customers queue.
const AT_ONCE: usize = 64;
/// How long a shop keeps goods before it captures what it holds, or lets the customer off.
const KEPT_FOR: Duration = Duration::from_secs(15);

/// Cards that the banks take: test numbers, valid by their check digits and nothing else.
const CARDS: [&str; 4] = ["4111111111111111", "5555555555554444", "6200000000000005", "4000056655665556"];

/// What becomes of an order that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    /// Half of it is given back.
    Refunded,
    /// Held first, then captured.
    Captured,
    /// Held first, and then let go.
    LetGo,
    /// The customer never pays, and the shop cancels.
    Canceled,
}

/// Sends payments until the process ends. What goes wrong is only logged: it is the demo's to be broken.
pub(super) async fn run(url: String, key: String) {
    let shop = Arc::new(Shop { url, key });
    let room = Arc::new(Semaphore::new(AT_ONCE));
    // Another place in the round at each start: short demos see other orders.
    let mut count = u64::from(Uuid::new_v4().as_bytes()[0]);
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        let shop = Arc::clone(&shop);
        actix::spawn(async move {
            if let Err(error) = shop.one(count).await {
                tracing::debug!(error = %error, "a sample payment was not made");
            }
            drop(place);
        });
        count = count.wrapping_add(1);
        tokio::time::sleep(EVERY).await;
    }
}

/// The `count`th order, and what becomes of it.
fn order(count: u64) -> (Value, Fate) {
    let round = count / 10;
    let stripe = |token: &str| json!({"type": "card_token", "token": token});
    let card = || {
        let number = CARDS[usize::try_from(round).unwrap_or(0) % CARDS.len()];
        json!({"type": "card", "number": number, "exp_month": 12, "exp_year": 2049, "cvc": "123", "holder": "A. CUSTOMER"})
    };
    let (method, fate) = match count % 10 {
        0 => (stripe("pm_card_visa"), Fate::Kept),
        1 => (json!({"type": "qr", "wallet": "alipay"}), if round % 3 == 2 { Fate::Canceled } else { Fate::Kept }),
        2 => (card(), if round.is_multiple_of(2) { Fate::Kept } else { Fate::Refunded }),
        3 if round.is_multiple_of(3) => (stripe("pm_card_visa_chargeDeclined"), Fate::Kept),
        3 if round % 3 == 1 => (stripe("pm_card_threeDSecureRequired"), Fate::Kept),
        3 => (stripe("pm_card_visa"), Fate::Refunded),
        // A customer's code begins with the wallet's digits; one that ends in 0003 asks for the password first.
        4 => {
            let end = if round % 4 == 3 { "0003" } else { "0000" };
            (json!({"type": "barcode", "code": format!("28{:012}{end}", count % 1_000_000_000_000)}), Fate::Kept)
        }
        5 => (json!({"type": "redirect", "wallet": "alipay", "flow": "page"}), if round % 4 == 3 { Fate::Canceled } else { Fate::Kept }),
        6 => (card(), Fate::Captured),
        7 => (stripe("pm_card_visa"), if round.is_multiple_of(2) { Fate::Captured } else { Fate::LetGo }),
        8 => (json!({"type": "qr", "wallet": "alipay"}), Fate::Refunded),
        _ => (card(), if round % 3 == 1 { Fate::LetGo } else { Fate::Kept }),
    };
    // Whole tens of minor units are none of the sandbox's magic amounts. Now and then one is: the third party charges and never answers, or declines.
    let magic = match round % 12 {
        5 if matches!(count % 10, 0 | 9) => 2,
        8 if matches!(count % 10, 2 | 4 | 5) => 1,
        _ => 0,
    };
    let amount = 1_000 + 10 * (count.wrapping_mul(37) % 900);
    // …02 and …01 are the last two digits.
    let amount = if magic == 0 { amount } else { amount / 100 * 100 + magic };
    let held = matches!(fate, Fate::Captured | Fate::LetGo);
    // Now and then a shop chooses the account itself: the second ones are to be seen too.
    let channel = (count % 7 == 6).then(|| match method["type"].as_str() {
        Some("card") => "bank_b",
        Some("card_token") => "stripe_backup",
        _ => "alipay_backup",
    });
    let body = json!({
        "amount": amount, "currency": "CNY", "channel": channel, "merchant_order_id": format!("sample-{}", Uuid::new_v4().simple()), "payment_method": method,
        "capture_method": if held { "manual" } else { "automatic" }, "return_url": "https://shop.example/thanks", "description": "sample order",
    });
    (body, fate)
}

struct Shop {
    url: String,
    key: String,
}

impl Shop {
    async fn one(&self, count: u64) -> Result<(), ClientError> {
        let (body, fate) = order(count);
        let payment = self.post("/v1/payments", &body).await?;
        let Some(id) = payment["id"].as_str() else { return Ok(()) };
        let status = payment["status"].as_str().unwrap_or_default();
        if fate == Fate::Canceled && !is_final(status) {
            // The code stays unpaid: its customer was told to walk away before two seconds are over.
            self.post(&format!("/v1/payments/{id}/cancel"), &json!({})).await?;
            return Ok(());
        }
        follow(&payment["next_action"]).await?;
        match fate {
            Fate::Captured | Fate::LetGo if status == "requires_capture" => {
                tokio::time::sleep(KEPT_FOR).await;
                let act = if fate == Fate::Captured { "capture" } else { "cancel" };
                self.post(&format!("/v1/payments/{id}/{act}"), &json!({})).await?;
            }
            Fate::Refunded => self.refund(id, count).await?,
            _ => {}
        }
        Ok(())
    }

    /// Gives half of it back, once it is paid. Every fourth refund is one that the channel takes a minute over.
    async fn refund(&self, id: &str, count: u64) -> Result<(), ClientError> {
        let mut paid = 0;
        for _ in 0..10 {
            paid = self.get(&format!("/v1/payments/{id}")).await?["amount_captured"].as_i64().unwrap_or(0);
            if paid > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if paid == 0 {
            return Ok(());
        }
        let slow = if count / 10 % 4 == 2 { 7 } else { 0 };
        let body = json!({"payment_id": id, "merchant_refund_id": format!("sample-{}", Uuid::new_v4().simple()), "amount": paid / 200 * 100 + slow});
        self.post("/v1/refunds", &body).await.map(drop)
    }

    async fn get(&self, path: &str) -> Result<Value, ClientError> {
        let authorization = format!("Bearer {}", self.key);
        let answer = client::send("GET", &format!("{}{path}", self.url), &[("authorization", authorization.as_str())], "").await?;
        Ok(serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let authorization = format!("Bearer {}", self.key);
        let idempotency_key = Uuid::new_v4().to_string();
        let headers =
            [("authorization", authorization.as_str()), ("idempotency-key", idempotency_key.as_str()), ("content-type", "application/json")];
        let answer = client::send("POST", &format!("{}{path}", self.url), &headers, &body.to_string()).await?;
        Ok(serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }
}

fn is_final(status: &str) -> bool {
    matches!(status, "succeeded" | "partially_captured" | "failed" | "canceled" | "expired")
}

/// Opens the page that a customer is sent to, as a browser does. A code is nothing to open: the sandbox's customer scans it.
async fn follow(action: &Value) -> Result<(), ClientError> {
    match action["url"].as_str() {
        Some(url) if action["method"] == "GET" => client::send("GET", url, &[], "").await.map(drop),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_round_of_orders_has_every_method_and_fate_and_its_amounts_can_be_paid() {
        let orders: Vec<(Value, Fate)> = (0..120).map(order).collect();
        let methods: BTreeSet<&str> = orders.iter().filter_map(|(body, _)| body["payment_method"]["type"].as_str()).collect();
        assert_eq!(methods, BTreeSet::from(["barcode", "card", "card_token", "qr", "redirect"]));
        for fate in [Fate::Kept, Fate::Refunded, Fate::Captured, Fate::LetGo, Fate::Canceled] {
            assert!(orders.iter().any(|(_, own)| *own == fate), "{fate:?}");
        }
        assert!(orders.iter().all(|(body, _)| body["amount"].as_u64().is_some_and(|amount| (1_000..20_000).contains(&amount))));
        let unanswered = orders.iter().filter(|(body, _)| body["amount"].as_u64().is_some_and(|amount| amount % 100 == 2)).count();
        assert!((1..=5).contains(&unanswered), "{unanswered}");
    }

    #[test]
    fn wallets_are_never_asked_to_hold_money() {
        for (body, fate) in (0..1_000).map(order) {
            let kind = body["payment_method"]["type"].as_str().unwrap_or_default();
            assert!(matches!(kind, "card" | "card_token") || !matches!(fate, Fate::Captured | Fate::LetGo), "{body}");
        }
    }
}

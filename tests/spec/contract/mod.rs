//! One contract over every provider: whatever the wire, what a merchant is told, what our books say and what the third party's book says is one
//! and the same thing. The scenarios are in `payments.rs`, `refunds.rs` and `holds.rs`; each runs for each way to pay of the table below, through
//! the real API, on real Postgres, against the sandbox. Each world's end is the referee's. `banks.rs`, `many.rs` and `numbers.rs` hold what only some have.
//!
//! What a wire does not have is not left out: the table says why, and the test shows that it is refused clearly, or cannot happen.

mod banks;
mod holds;
mod many;
mod numbers;
mod payments;
mod refunds;

use std::time::Duration;

use breakwater::cli::client;
use breakwater::sandbox::AccountSettings;
use serde_json::{Value, json};

use crate::world::{Entry, Reply, Setup, World, card, payment, unique};

/// What a wire may lack, each with the reason.
#[derive(Clone, Copy)]
pub struct Lacks {
    /// A customer who is asked to do something.
    pub action: Option<&'static str>,
    /// Somebody who can be asked what became of a message.
    pub query: Option<&'static str>,
    /// A refusal of the payment that reaches us.
    pub decline: Option<&'static str>,
    /// Money that is held first.
    pub hold: Option<&'static str>,
    /// A refund that is made without us, and told.
    pub portal: Option<&'static str>,
    /// A dispute that is told.
    pub dispute: Option<&'static str>,
    /// A refund that arrived, and comes back days later.
    pub returned: Option<&'static str>,
}

/// One way to pay at one provider.
#[derive(Clone, Copy)]
pub struct Way {
    pub name: &'static str,
    pub channel: &'static str,
    pub accounts: fn() -> Vec<AccountSettings>,
    /// A payment that is paid, at once or as soon as the customer has acted.
    pub body: fn(i64) -> Value,
    /// A payment whose customer must act first, where that is another one.
    pub acting: fn(i64) -> Value,
    /// Whether `body` waits for the customer: the step that moves the money is then theirs and not ours.
    pub shown: bool,
    /// After this long the next refund of a payment is sent at once: past the channel's spacing, and its guard's pause for breath.
    pub between_refunds: Duration,
    pub lacks: Lacks,
}

const ALL: Lacks = Lacks { action: None, query: None, decline: None, hold: None, portal: None, dispute: None, returned: None };
const OF_ALIPAY: Lacks = Lacks {
    hold: Some("Alipay takes the money at once"),
    dispute: Some("Alipay's disputes are not on this wire"),
    returned: Some("Alipay's refunds go to a balance at Alipay, which does not close"),
    ..ALL
};

pub const STRIPE: Way = Way {
    name: "stripe",
    channel: "stripe_main",
    accounts: || vec![AccountSettings::stripe("stripe_main")],
    body: |amount| payment(amount, &unique("order")),
    acting: |amount| {
        let mut body = payment(amount, &unique("order"));
        body["payment_method"]["token"] = json!("pm_card_threeDSecureRequired");
        body["return_url"] = json!("https://shop.example/back");
        body
    },
    shown: false,
    between_refunds: Duration::from_secs(4),
    lacks: ALL,
};

pub const ALIPAY_QR: Way = Way {
    name: "alipay_qr",
    channel: "alipay_main",
    accounts: || vec![AccountSettings::alipay("alipay_main")],
    body: |amount| in_yuan(amount, json!({"type": "qr", "wallet": "alipay"})),
    acting: |amount| in_yuan(amount, json!({"type": "qr", "wallet": "alipay"})),
    shown: true,
    between_refunds: Duration::from_secs(4),
    lacks: OF_ALIPAY,
};

pub const ALIPAY_BARCODE: Way = Way {
    name: "alipay_barcode",
    body: |amount| in_yuan(amount, json!({"type": "barcode", "code": "2812345678901234"})),
    // A code with these last digits asks for the payer's password.
    acting: |amount| in_yuan(amount, json!({"type": "barcode", "code": "2812345678900003"})),
    shown: false,
    ..ALIPAY_QR
};

pub const ALIPAY_PAGE: Way = Way {
    name: "alipay_page",
    body: |amount| in_yuan(amount, json!({"type": "redirect", "wallet": "alipay", "flow": "page"})),
    acting: |amount| in_yuan(amount, json!({"type": "redirect", "wallet": "alipay", "flow": "page"})),
    lacks: Lacks { decline: Some("the page is Alipay's: a customer who is refused there may try again until it expires"), ..OF_ALIPAY },
    ..ALIPAY_QR
};

pub const BANK: Way = Way {
    name: "bank",
    channel: "bank_main",
    accounts: || vec![AccountSettings::bank("bank_main")],
    body: |amount| card(amount, &unique("order")),
    acting: |amount| card(amount, &unique("order")),
    shown: false,
    between_refunds: Duration::from_secs(4),
    lacks: Lacks {
        action: Some("nobody asks the customer anything on this wire"),
        query: Some("a bank cannot be asked: what it did not answer is undone"),
        portal: Some("a bank tells nobody anything by itself"),
        dispute: Some("a bank's disputes come as files"),
        returned: Some("what comes back to a bank is in its settlement file"),
        ..ALL
    },
};

pub const WECHATPAY_NATIVE: Way = Way {
    name: "wechatpay_native",
    channel: "wechatpay_main",
    accounts: || vec![AccountSettings::wechatpay("wechatpay_main")],
    body: |amount| in_yuan(amount, json!({"type": "qr", "wallet": "wechatpay"})),
    acting: |amount| in_yuan(amount, json!({"type": "qr", "wallet": "wechatpay"})),
    shown: true,
    between_refunds: Duration::from_secs(61),
    lacks: Lacks { hold: Some("WeChat Pay takes the money at once"), dispute: Some("WeChat Pay's complaints are not on this wire"), ..ALL },
};

fn in_yuan(amount: i64, method: Value) -> Value {
    json!({"amount": amount, "currency": "CNY", "merchant_order_id": unique("order"), "payment_method": method})
}

/// One test for each way to pay: `each! { a_sentence => scenario }` makes `a_sentence::stripe`, `a_sentence::alipay_qr` and so on. A loop inside one
/// test would stop at the first provider that breaks the sentence.
macro_rules! each {
    ($($sentence:ident => $scenario:expr;)+) => {$(
        mod $sentence {
            use super::*;
            use $crate::contract::{ALIPAY_BARCODE, ALIPAY_PAGE, ALIPAY_QR, BANK, STRIPE, WECHATPAY_NATIVE};
            #[tokio::test(flavor = "multi_thread")]
            async fn stripe() {
                $scenario(STRIPE).await;
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn alipay_qr() {
                $scenario(ALIPAY_QR).await;
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn alipay_barcode() {
                $scenario(ALIPAY_BARCODE).await;
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn alipay_page() {
                $scenario(ALIPAY_PAGE).await;
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn bank() {
                $scenario(BANK).await;
            }
            #[tokio::test(flavor = "multi_thread")]
            async fn wechatpay_native() {
                $scenario(WECHATPAY_NATIVE).await;
            }
        }
    )+};
}
pub(crate) use each;

impl Way {
    pub async fn world(self) -> World {
        self.world_with(|_| {}).await
    }

    pub async fn world_with(self, adapt: impl FnOnce(&mut Setup)) -> World {
        World::with(|setup| {
            setup.sandbox.accounts = (self.accounts)();
            setup.sandbox.pending_refund = std::time::Duration::from_secs(1);
            adapt(setup);
        })
        .await
    }

    /// Creates it, and does what the customer is asked for.
    pub async fn begin(self, world: &World, body: &Value) -> Reply {
        let reply = world.create(body).await;
        visit(&reply.body).await;
        reply
    }

    /// A payment that was paid, as it then is.
    pub async fn paid(self, world: &World, amount: i64) -> Value {
        let reply = world.create(&(self.body)(amount)).await;
        // The caller's patience may have ended before the code or page was made.
        visit(&world.eventually(&reply.id(), |payment| payment["status"] != "processing").await).await;
        let paid = world.in_time(&reply.id(), |payment| payment["status"] == "succeeded").await;
        assert_eq!((&paid["outcome"], &paid["amount_captured"]), (&json!("approved"), &json!(amount)), "{}: {paid:#}", self.name);
        paid
    }

    /// What the third party has of the customer's money, over all payments.
    pub async fn taken(self, world: &World) -> i64 {
        let book = world.book(self.channel).await;
        let is_refund = |reference: &str| book.iter().any(|entry| entry.kind == "refund" && entry.reference == reference);
        // A refund that was undone is the merchant's money again.
        let signed = |entry: &Entry| match entry.kind.as_str() {
            "charge" => entry.amount,
            "reversal" if is_refund(&entry.reference) => entry.amount,
            _ => -entry.amount,
        };
        book.iter().map(signed).sum()
    }
}

/// A customer who was sent to a page opens it; what is shown is scanned, and confirmed, by the sandbox's own customer.
pub async fn visit(payment: &Value) {
    if let Some(url) = payment["next_action"]["url"].as_str() {
        // Under a fault the page may be broken, too: then they did not get there.
        let _opened = client::send("GET", url, &[], "").await;
    }
}

pub fn id(payment: &Value) -> &str {
    payment["id"].as_str().expect("an id")
}

/// Asks the sandbox for a customer's act, which may be refused: the status of its answer.
pub async fn act(world: &World, way: Way, reference: &str, act: &str) -> u16 {
    act_in_part(world, way, reference, act, None).await
}

/// As [`act`], of a part of the amount.
pub async fn act_in_part(world: &World, way: Way, reference: &str, act: &str, part: Option<i64>) -> u16 {
    ask(world, way, "customer", &json!({"reference": reference, "act": act, "amount": part})).await
}

/// The same of an act of the payer's bank.
pub async fn bank_acts(world: &World, way: Way, reference: &str, act: &str) -> u16 {
    ask(world, way, "bank", &json!({"reference": reference, "act": act})).await
}

async fn ask(world: &World, way: Way, whom: &str, acts: &Value) -> u16 {
    let url = format!("{}/_control/{}/{whom}", world.sandbox.as_ref().expect("open").control_url(), way.channel);
    client::send("POST", &url, &[("content-type", "application/json")], &acts.to_string()).await.expect("the sandbox answers").status
}

//! The load: shoppers who buy at every provider by every method, and remember exactly what they were told. A request whose answer never came is
//! sent again with the same key once the process is back, as often as it takes; what is told then must be the same thing. Whoever is sent to a
//! page opens it, as a browser would; the sandbox's customers scan what is shown and confirm by themselves.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use breakwater::cli::client;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::dice::Dice;
use super::victim::Victim;

/// How long a wish that was refused for now waits.
const ASIDE: Duration = Duration::from_millis(400);
/// Wishes that a shopper lets wait before buying more.
const WAITING_MOST: usize = 24;

/// Where the shop is, while it is open.
#[derive(Clone, Debug)]
pub struct Shop {
    pub url: String,
    pub key: String,
}

/// What all shoppers share: where the shop is, and what was acknowledged.
#[derive(Debug)]
pub struct Market {
    shop: watch::Sender<Option<Shop>>,
    closing: AtomicBool,
    acknowledged: Mutex<Vec<Acknowledged>>,
    waiting: Mutex<HashSet<String>>,
    told: Mutex<Told>,
    count: AtomicU64,
}

impl Default for Market {
    fn default() -> Self {
        Self {
            shop: watch::channel(None).0,
            closing: AtomicBool::new(false),
            acknowledged: Mutex::default(),
            waiting: Mutex::default(),
            told: Mutex::default(),
            count: AtomicU64::new(0),
        }
    }
}

/// A payment or refund that a client was told of with 201 or 202.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub id: String,
    pub status: String,
    pub path: String,
    pub key: String,
    pub body: Value,
}

impl Acknowledged {
    pub fn is_payment(&self) -> bool {
        self.id.starts_with("pay_")
    }
}

/// How much was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub payments: u64,
    pub refunds: u64,
    pub cut_off: u64,
}

impl Market {
    pub fn open(&self, victim: &Victim) {
        let line = victim.line();
        self.shop.send_replace(Some(Shop { url: line.url.clone(), key: line.api_key.clone() }));
    }

    /// The process is dead: nobody need knock.
    pub fn shut(&self) {
        self.shop.send_replace(None);
    }

    /// Nothing new is bought; what waits for an answer still does.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Fails at once when a shopper was told what may not be told.
    pub fn check(&self, shoppers: &[JoinHandle<Vec<Order>>]) {
        assert!(shoppers.iter().all(|shopper| !shopper.is_finished()), "a shopper gave up: its reason is above");
    }

    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn told(&self) -> Told {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn waiting_for(&self) -> String {
        format!("{:?}", self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn acknowledge(&self, wish: &Wish, reply: &Reply) {
        let mut acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        acknowledged.push(Acknowledged {
            id: reply.text("id"),
            status: reply.text("status"),
            path: wish.path.clone(),
            key: wish.key.clone(),
            body: wish.body.clone(),
        });
        drop(acknowledged);
        if wish.told.is_empty() {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            match wish.what {
                What::Create => told.payments += 1,
                What::Refund => told.refunds += 1,
                What::Capture | What::Cancel => {}
            }
        }
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Create,
    Capture,
    Refund,
    Cancel,
}

/// One request, with its key, and all that was ever answered to it.
#[derive(Clone, Debug)]
pub struct Wish {
    pub what: What,
    /// Which of the shopper's orders it is about.
    pub order: usize,
    pub path: String,
    pub key: String,
    pub body: Value,
    /// Status code, id and status of each answer.
    pub told: Vec<(u16, String, String)>,
    /// Whether the page was opened that the customer was sent to.
    opened: bool,
    due: Instant,
}

/// One order, and what came of its wishes.
#[derive(Clone, Debug)]
pub struct Order {
    pub name: String,
    pub amount: i64,
    /// How it is paid, with the channel if one was chosen: for whoever reads a fault.
    pub method: String,
    /// The payment's id, once it was told.
    pub payment: Option<String>,
    /// Every wish that was answered for good.
    pub wishes: Vec<Wish>,
}

/// An answer of the API.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: Value,
}

impl Reply {
    pub fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_else(|| panic!("no text {field} in {} {:#}", self.status, self.body)).to_owned()
    }
}

/// Posts once. `Err` when there was no whole answer.
pub async fn post(shop: &Shop, path: &str, key: &str, body: &Value) -> Result<Reply, client::ClientError> {
    let authorization = format!("Bearer {}", shop.key);
    let headers = [("authorization", authorization.as_str()), ("idempotency-key", key), ("content-type", "application/json")];
    let answer = client::send("POST", &format!("{}{path}", shop.url), &headers, &body.to_string()).await?;
    let body = serde_json::from_slice(&answer.body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&answer.body).into_owned()));
    Ok(Reply { status: answer.status, body })
}

pub struct Shopper {
    market: Arc<Market>,
    shop: watch::Receiver<Option<Shop>>,
    dice: Dice,
    name: String,
    orders: Vec<Order>,
    waiting: VecDeque<Wish>,
}

impl Shopper {
    pub fn new(market: &Arc<Market>, seed: u64, nth: u64) -> Self {
        Self {
            market: Arc::clone(market),
            shop: market.shop.subscribe(),
            dice: Dice::of(seed ^ (nth + 1).wrapping_mul(0xa076_1d64_78bd_642f)),
            name: format!("{seed}-{nth}"),
            orders: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Buys until the market closes and every wish is answered for good.
    pub async fn shop(mut self) -> Vec<Order> {
        loop {
            let closing = self.market.closing.load(Ordering::Relaxed);
            let wish = match self.due() {
                Some(wish) => wish,
                None if closing && self.waiting.is_empty() => return self.orders,
                None if closing || self.waiting.len() >= WAITING_MOST => {
                    tokio::time::sleep(ASIDE / 8).await;
                    continue;
                }
                None => self.buy(),
            };
            self.ask(wish).await;
        }
    }

    fn due(&mut self) -> Option<Wish> {
        let now = Instant::now();
        let place = self.waiting.iter().position(|wish| wish.due <= now)?;
        self.waiting.remove(place)
    }

    /// A new order. Two minor digits say what the third party does with it: see the sandbox.
    fn buy(&mut self) -> Wish {
        let ending = match self.dice.within(0..100) {
            0..5 => 1,
            // Each of these may take a call's whole timeout.
            5..7 => 2,
            7..9 => 3,
            9..11 => 4,
            11..13 => 5,
            13..18 => 6,
            _ => 50,
        };
        let (method, channels) = self.method();
        // A page that never loads leaves nothing to be paid, and its payment open until it expires: longer than this test.
        let ending = if ending == 3 && method["type"] == "redirect" { 50 } else { ending };
        let amount = i64::try_from(self.dice.within(10..1_000) * 100 + ending).expect("small");
        let name = format!("order-{}-{}", self.name, self.orders.len());
        let mut body = json!({
            "amount": amount, "currency": "CNY", "merchant_order_id": name, "payment_method": method, "return_url": "https://shop.example/thanks",
            "description": "kill loop",
        });
        let kind = method["type"].as_str().expect("a type").to_owned();
        // Wallets hold nothing.
        if kind.starts_with("card") && self.dice.one_in(3) {
            body["capture_method"] = json!("manual");
        }
        if self.dice.one_in(3) {
            body["channel"] = json!(channels[usize::from(self.dice.one_in(2))]);
        }
        let method = format!("{kind} {}", body["channel"].as_str().unwrap_or("anywhere"));
        self.orders.push(Order { name, amount, method, payment: None, wishes: Vec::new() });
        self.wish(What::Create, self.orders.len() - 1, "/v1/payments".to_owned(), body)
    }

    /// How the next order is paid, and the channels that can take it.
    fn method(&mut self) -> (Value, [&'static str; 2]) {
        const STRIPE: [&str; 2] = ["stripe_main", "stripe_backup"];
        const ALIPAY: [&str; 2] = ["alipay_main", "alipay_backup"];
        const BANKS: [&str; 2] = ["bank_a", "bank_b"];
        match self.dice.within(0..100) {
            0..30 => (json!({"type": "card_token", "token": "pm_card_visa"}), STRIPE),
            30..36 => (json!({"type": "card_token", "token": "pm_card_threeDSecureRequired"}), STRIPE),
            36..66 => {
                let number = ["4111111111111111", "5555555555554444", "6200000000000005"][usize::try_from(self.dice.within(0..3)).expect("small")];
                (json!({"type": "card", "number": number, "exp_month": 12, "exp_year": 2049, "cvc": "123"}), BANKS)
            }
            66..78 => (json!({"type": "qr", "wallet": "alipay"}), ALIPAY),
            78..90 => {
                // 0003 asks the payer for the password first.
                let end = if self.dice.one_in(4) { "0003" } else { "0000" };
                (json!({"type": "barcode", "code": format!("28{:012}{end}", self.dice.within(0..1_000_000_000_000))}), ALIPAY)
            }
            _ => (json!({"type": "redirect", "wallet": "alipay", "flow": "page"}), ALIPAY),
        }
    }

    fn wish(&mut self, what: What, order: usize, path: String, body: Value) -> Wish {
        let count = self.market.count.fetch_add(1, Ordering::Relaxed);
        Wish { what, order, path, key: format!("key-{}-{count}", self.name), body, told: Vec::new(), opened: false, due: Instant::now() }
    }

    /// Sends a wish, and puts it aside if that was not its last answer.
    async fn ask(&mut self, mut wish: Wish) {
        let Some(shop) = self.shop.borrow_and_update().clone() else {
            self.put_aside(wish, Duration::ZERO);
            // Nobody opens it again after the market is gone, and then nobody waits for us either.
            let _opened = self.shop.wait_for(Option::is_some).await.is_ok();
            return;
        };
        let Ok(reply) = post(&shop, &wish.path, &wish.key, &wish.body).await else {
            self.market.told.lock().unwrap_or_else(PoisonError::into_inner).cut_off += 1;
            self.put_aside(wish, Duration::from_millis(20));
            return;
        };
        let code = reply.body["code"].as_str().unwrap_or_default().to_owned();
        match (reply.status, code.as_str()) {
            (200..=202, _) => {}
            // Nothing was written: the same key again, later.
            (503, _) | (409, "idempotency_key_in_flight" | "payment_unresolved" | "capture_in_progress") => {
                self.put_aside(wish, ASIDE);
                return;
            }
            // It became final before the cancel came.
            (409, "wrong_state") if wish.what == What::Cancel => {
                wish.told.push((409, String::new(), code));
                self.is_answered(&wish);
                self.orders[wish.order].wishes.push(wish);
                return;
            }
            _ => panic!("a shopper was told {}: {:#}\nfor {wish:#?}\nof {:#?}", reply.status, reply.body, self.orders[wish.order]),
        }
        let (id, status) = (reply.text("id"), reply.text("status"));
        if let Some((_, before, _)) = wish.told.first() {
            assert_eq!(&id, before, "the same key stands for another object: {wish:#?}\n{:#}", reply.body);
        }
        self.market.acknowledge(&wish, &reply);
        wish.told.push((reply.status, id, status));
        if !wish.opened
            && let Some(page) = reply.body["next_action"]["url"].as_str()
        {
            assert_eq!(reply.body["next_action"]["method"], "GET", "a browser has nothing to post: {:#}", reply.body);
            let page = page.to_owned();
            // A page that never loads keeps its customer waiting, and not us.
            tokio::spawn(async move { client::send("GET", &page, &[], "").await.is_ok() });
            wish.opened = true;
        }
        self.go_on(wish, &reply);
    }

    fn put_aside(&mut self, mut wish: Wish, pause: Duration) {
        wish.due = Instant::now() + pause;
        self.market.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("{:?} {}", wish.what, wish.key));
        self.waiting.push_back(wish);
    }

    fn is_answered(&self, wish: &Wish) {
        self.market.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&format!("{:?} {}", wish.what, wish.key));
    }

    /// What a shopper does next, after an answer.
    fn go_on(&mut self, wish: Wish, reply: &Reply) {
        let order = wish.order;
        if wish.what == What::Create {
            let known = self.orders[order].payment.get_or_insert_with(|| reply.text("id"));
            assert_eq!(*known, reply.text("id"), "an order has two payments");
        }
        if reply.status == 202 || reply.body["status"] == "requires_action" {
            // Not over: the same key will tell how it ended. Some are impatient.
            if wish.what == What::Create && wish.told.len() == 1 && self.dice.one_in(3) {
                self.cancel(order);
            }
            self.put_aside(wish, ASIDE);
            return;
        }
        self.is_answered(&wish);
        let canceled = self.orders[order].wishes.iter().chain(&self.waiting).any(|other| other.order == order && other.what == What::Cancel);
        let status = reply.text("status");
        let captured = reply.body["amount_captured"].as_i64().unwrap_or(0);
        match (wish.what, status.as_str()) {
            (What::Create, "requires_capture") if !canceled => match self.dice.within(0..10) {
                0..4 => self.capture(order, None),
                4..7 => self.capture(order, Some(self.orders[order].amount / 200 * 100 + 50)),
                7..9 => self.cancel(order),
                _ => {}
            },
            (What::Create | What::Capture, "succeeded" | "partially_captured") if !canceled && self.dice.one_in(2) => {
                let part = captured / 300 * 100 + 50;
                self.refund(order, part);
                if self.dice.one_in(3) {
                    self.refund(order, part);
                }
            }
            _ => {}
        }
        self.orders[order].wishes.push(wish);
    }

    fn payment(&self, order: usize) -> String {
        self.orders[order].payment.clone().expect("it was told")
    }

    fn capture(&mut self, order: usize, amount: Option<i64>) {
        let body = amount.map_or(json!({}), |amount| json!({"amount": amount}));
        let wish = self.wish(What::Capture, order, format!("/v1/payments/{}/capture", self.payment(order)), body);
        self.put_aside(wish, Duration::ZERO);
    }

    fn cancel(&mut self, order: usize) {
        let wish = self.wish(What::Cancel, order, format!("/v1/payments/{}/cancel", self.payment(order)), json!({}));
        self.put_aside(wish, Duration::ZERO);
    }

    fn refund(&mut self, order: usize, amount: i64) {
        let body = json!({"payment_id": self.payment(order), "merchant_refund_id": format!("refund-{}-{}", self.name, self.market.count.load(Ordering::Relaxed)), "amount": amount});
        let wish = self.wish(What::Refund, order, "/v1/refunds".to_owned(), body);
        self.put_aside(wish, Duration::ZERO);
    }
}

//! The load: an open loop. Every order has a moment of its own, drawn before the run, and is sent then, whether or not those before it were
//! answered; its latency counts from that moment. So a system that stalls is not asked less, and what waited for it is in the figures.
//!
//! A client behaves as a merchant's should: a request that was not answered is sent again with the same key, to the next process, as often as it
//! takes; what was answered as pending is read until it has ended; a refusal that says that nothing was done is taken at its word. Of a request that
//! was sent before and not answered, a 503 to its repeat says nothing: it is repeated on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::arguments::PayWith;
use super::caller::{Caller, Request};
use super::referee::is_final;
use super::stage::Stage;
use super::told::{Told, whole_ms};

/// After a request that was not answered; and after one that was not for so many times, so that clients are no storm to whoever comes back.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const AGAIN_OFTEN: u32 = 10;
const AGAIN_LATER: Duration = Duration::from_secs(1);
/// Between two looks at what is pending.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Clients that wait at once; beyond it an order waits for a place, which its latency shows. It bounds sockets.
const CLIENTS_MAX: usize = 3_000;

/// What a client wants, beyond that its order is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing more.
    Keep,
    /// Half of it back.
    GiveBack,
    /// It is held first, and then taken: half of it when the amount is a multiple of 40.
    Take,
    /// It is held first, and let go.
    LetGo,
}

/// One order, before it is sent.
#[derive(Clone, Debug)]
pub struct Order {
    /// When, from the start of the load.
    pub at: Duration,
    /// Its name, which is its key too.
    pub name: String,
    /// Minor units.
    pub amount: i64,
    /// Which merchant's.
    pub merchant: usize,
    /// What is wanted of it.
    pub wish: Wish,
    /// Which of the shop's means it is paid by.
    pub means: usize,
    /// Whether it is part of the flood.
    pub flood: bool,
}

/// Where the orders go.
#[derive(Debug)]
pub struct Shop {
    /// One a process.
    pub callers: Vec<Caller>,
    /// One a merchant.
    pub keys: Vec<String>,
    /// How they are paid.
    pub methods: Vec<Value>,
    /// The next process to be asked.
    next: AtomicUsize,
    /// When the load began.
    pub start: Instant,
    /// When clients give up, in milliseconds from its start.
    gives_up_ms: AtomicU64,
}

/// Sends every order at its moment, for as long as there are some, and answers what each client was told.
pub async fn drive(shop: Arc<Shop>, orders: impl Iterator<Item = Order>) -> Vec<Told> {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    let mut clients = JoinSet::new();
    for order in orders {
        tokio::time::sleep_until(shop.start + order.at).await;
        let (shop, places) = (Arc::clone(&shop), Arc::clone(&places));
        clients.spawn(async move {
            // Never closed, so always had in the end.
            let _place = places.acquire().await;
            shop.buy(order).await
        });
    }
    clients.join_all().await
}

/// Posts forged notifications for `channel` until the task is ended, `every` so often.
pub async fn forge(shop: Arc<Shop>, channel: String, every: Duration) {
    let mut clients = JoinSet::new();
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        while clients.try_join_next().is_some() {}
        let (shop, path) = (Arc::clone(&shop), format!("/v1/notifications/{channel}"));
        clients.spawn(async move {
            let body = json!({"id": "evt_forged", "type": "payment_intent.succeeded", "data": {"object": {"id": "pi_forged", "amount": 1}}});
            let forged = ("stripe-signature", "t=1,v1=00");
            // What it is answered is the guard's affair: the others' figures show whether it was cheap.
            let _answer = shop.caller().call(&Request { method: "POST", path: &path, headers: &[forged], body: body.to_string() }).await;
        });
    }
}

impl Shop {
    /// The shop of this stage's merchants, whose load begins at `start`. Its clients do not give up until it is known when: see
    /// [`Shop::give_up_at`].
    pub fn new(stage: &Stage, pay_with: PayWith, start: Instant) -> Self {
        Self {
            callers: stage.addresses().iter().map(|address| Caller::new(*address)).collect(),
            keys: stage.keys().to_vec(),
            methods: pay_with.methods(),
            next: AtomicUsize::new(0),
            start,
            gives_up_ms: AtomicU64::new(u64::from(u32::MAX)),
        }
    }

    fn caller(&self) -> &Caller {
        &self.callers[self.next.fetch_add(1, Ordering::Relaxed) % self.callers.len()]
    }

    /// From now on clients give up at this moment.
    pub fn give_up_at(&self, moment: Instant) {
        self.gives_up_ms.store(whole_ms(moment.saturating_duration_since(self.start)), Ordering::Relaxed);
    }

    fn until(&self) -> Instant {
        self.start + Duration::from_millis(self.gives_up_ms.load(Ordering::Relaxed))
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    async fn buy(&self, order: Order) -> Told {
        let mut told = Told { order: order.name.clone(), at: order.at, flood: order.flood, ..Told::default() };
        let key = &self.keys[order.merchant];
        let held = matches!(order.wish, Wish::Take | Wish::LetGo);
        let body = json!({"amount": order.amount, "currency": "CNY", "merchant_order_id": order.name, "payment_method": self.methods[order.means],
            "capture_method": if held { "manual" } else { "automatic" }});
        let Some((status, answer)) = self.post("/v1/payments", key, &order.name, &body, &mut told.cut_off).await else { return told };
        told.answered = Some(self.now());
        told.status = status;
        told.code = text(&answer, "code");
        if !matches!(status, 200..300) {
            return told;
        }
        // A repeat is answered 200 or 201 with what has become of it: to the client it is the answer.
        told.payment = Some(text(&answer, "id"));
        told.channel = answer["channel"].as_str().map(str::to_owned);
        told.said.push(text(&answer, "status"));
        let mut latest = answer;
        match order.wish {
            Wish::Keep => self.watch(&mut told, &mut latest, key, has_ended).await,
            Wish::GiveBack => {
                self.watch(&mut told, &mut latest, key, has_ended).await;
                if latest["status"] == "succeeded" {
                    self.give_back(&order, &mut told, key).await;
                }
            }
            Wish::Take => {
                self.watch(&mut told, &mut latest, key, rests).await;
                if latest["status"] == "requires_capture" {
                    let half = order.amount % 40 == 0;
                    let body = json!({"amount": if half { order.amount / 2 } else { order.amount }});
                    self.step(&mut told, &mut latest, key, ("capture", &body)).await;
                }
                // A capture that was declined leaves the hold as it was: its client lets it be.
                self.watch(&mut told, &mut latest, key, rests).await;
            }
            // While it is on its way as well: then it is the row that decides.
            Wish::LetGo => {
                self.step(&mut told, &mut latest, key, ("cancel", &json!({}))).await;
                self.watch(&mut told, &mut latest, key, has_ended).await;
            }
        }
        told
    }

    /// Asks for one step of a payment, with a key of its own, until it is taken or there is nothing left to be done.
    async fn step(&self, told: &mut Told, latest: &mut Value, key: &str, (step, body): (&str, &Value)) {
        let Some(payment) = told.payment.clone() else { return };
        let (path, name) = (format!("/v1/payments/{payment}/{step}"), format!("{}-{step}", told.order));
        while let Some((status, answer)) = self.post(&path, key, &name, body, &mut told.cut_off).await {
            match status {
                200..300 => {
                    told.said.push(text(&answer, "status"));
                    *latest = answer;
                    return;
                }
                400..500 if status != 429 => return,
                _ => tokio::time::sleep(AGAIN_AFTER).await,
            }
        }
    }

    /// Reads what is pending until `enough` is true of it.
    async fn watch(&self, told: &mut Told, latest: &mut Value, key: &str, enough: fn(&Value) -> bool) {
        let Some(payment) = told.payment.clone() else { return };
        while !enough(latest) {
            if Instant::now() + LOOK_EVERY > self.until() {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(answer) = self.get(&format!("/v1/payments/{payment}"), key).await {
                told.said.push(text(&answer, "status"));
                *latest = answer;
            }
        }
        told.ended = Some(self.now());
    }

    async fn give_back(&self, order: &Order, told: &mut Told, key: &str) {
        let name = format!("{}-back", order.name);
        let body = json!({"payment_id": told.payment, "merchant_refund_id": name, "amount": order.amount / 2});
        let Some((200..300, answer)) = self.post("/v1/refunds", key, &name, &body, &mut told.cut_off).await else { return };
        let (id, mut said) = (text(&answer, "id"), text(&answer, "status"));
        while said == "processing" && Instant::now() + LOOK_EVERY < self.until() {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Some(answer) = self.get(&format!("/v1/refunds/{id}"), key).await {
                said = text(&answer, "status");
            }
        }
        told.refund = Some((id, said));
    }

    /// Sends it until it is answered by other than a fault of ours or a word that it is under way. `None`: never.
    async fn post(&self, path: &str, key: &str, idempotency_key: &str, body: &Value, cut_off: &mut u32) -> Option<(u16, Value)> {
        let authorization = format!("Bearer {key}");
        let headers = [("authorization", authorization.as_str()), ("idempotency-key", idempotency_key), ("content-type", "application/json")];
        let (mut tries, mut in_doubt) = (0, false);
        while Instant::now() < self.until() {
            let request = Request { method: "POST", path, headers: &headers, body: body.to_string() };
            match self.caller().call(&request).await {
                Ok((500, _)) | Err(_) => {
                    *cut_off += 1;
                    in_doubt = true;
                }
                Ok((503, _)) if in_doubt => {}
                Ok((status, bytes)) => {
                    let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                    if answer["code"] != "idempotency_key_in_flight" {
                        return Some((status, answer));
                    }
                }
            }
            tries += 1;
            tokio::time::sleep(if tries < AGAIN_OFTEN { AGAIN_AFTER } else { AGAIN_LATER }).await;
        }
        None
    }

    async fn get(&self, path: &str, key: &str) -> Option<Value> {
        let authorization = format!("Bearer {key}");
        let request = Request { method: "GET", path, headers: &[("authorization", &authorization)], body: String::new() };
        match self.caller().call(&request).await {
            Ok((200, bytes)) => serde_json::from_slice(&bytes).ok(),
            _ => None,
        }
    }
}

fn has_ended(payment: &Value) -> bool {
    payment["status"].as_str().is_some_and(is_final)
}

/// Whether it has ended, or is held and nothing is under way.
fn rests(payment: &Value) -> bool {
    has_ended(payment) || (payment["status"] == "requires_capture" && payment["outcome"] == "approved")
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

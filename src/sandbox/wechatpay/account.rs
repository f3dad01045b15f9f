//! One account: the script of a request, from the wire to the journal and back.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::watch;

use super::keys::Keys;
use super::ledger::{Ledger, Order, Product, Refund};
use super::moment::Moment;
use super::order::{self, Asked, Back, Done, Refusal};
use super::{notice, reply};
use crate::sandbox;
use crate::sandbox::account::{Act, ActRefusal, BankAct};
use crate::sandbox::book::Entry;
use crate::sandbox::fault::{Draw, Faults, Magic, Mode, Operation};
use crate::sandbox::listener::{self, Call, Ending, HttpAccount};
use crate::sandbox::notify::{Manner, Notifier};
use crate::sandbox::settings::{Behaviour, WechatPaySettings};

/// How long a call that is never answered is held, unless the caller leaves first.
const HOLD: Duration = Duration::from_secs(60);
/// The answer to an amount that ends in …05.
const SLOW_ANSWER: Duration = Duration::from_secs(8);
/// The one scheme of `Authorization`.
const SCHEME: &str = "WECHATPAY2-SHA256-RSA2048 ";

/// One account at WeChat Pay.
#[derive(Debug)]
pub struct Account {
    pub(super) settings: WechatPaySettings,
    pub(super) behaviour: Behaviour,
    pub(super) base_url: String,
    pub(super) keys: Arc<Keys>,
    pub(super) moment: Arc<Moment>,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) faults: Faults,
    pub(super) notifier: Notifier,
    pub(super) ending: watch::Receiver<bool>,
}

/// What is asked, as far as this account has it.
#[derive(Debug)]
enum Wish {
    Begin(Product, Asked),
    Query(String),
    Close(String),
    Refund(Back),
    RefundQuery(String),
}

impl Wish {
    const fn operation(&self) -> Operation {
        match self {
            Self::Begin(..) => Operation::Pay,
            Self::Query(_) | Self::RefundQuery(_) => Operation::Query,
            Self::Close(_) => Operation::Void,
            Self::Refund(_) => Operation::Refund,
        }
    }
}

impl Account {
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn owner(&self) -> (&str, &str) {
        (&self.settings.mchid, &self.settings.appid)
    }

    /// The script: verify, know what is wished, draw the fault, execute, answer or fail to.
    async fn answer(self: &Arc<Self>, call: Call) -> Ending {
        if call.path == "/checkmweb" {
            return reply::html(200, "微信支付: WeChat Pay asks you to confirm this payment.");
        }
        let wish = match self.admit(&call).and_then(|()| self.wish(&call)) {
            Ok(wish) => wish,
            Err(refusal) => return self.say(reply::refusal(&refusal), false),
        };
        let draw = self.faults.draw(wish.operation());
        let magic = match &wish {
            Wish::Begin(_, asked) => Magic::of_payment(asked.total()),
            _ => None,
        };
        match draw.mode {
            Some(Mode::Throttle) => return self.say(reply::refusal(&Refusal::new(429, "FREQUENCY_LIMITED", "频率超限")), false),
            Some(Mode::ErrorNotProcessed) => {
                tokio::time::sleep(draw.latency).await;
                return self.say(reply::refusal(&system_error()), false);
            }
            Some(Mode::TimeoutNotProcessed) => return self.never_answer().await,
            Some(Mode::ResetBefore) => return Ending::Reset,
            _ if magic == Some(Magic::TimeoutNotProcessed) => return self.never_answer().await,
            _ => {}
        }
        let (answer, first) = self.execute(&wish, draw, magic);
        // An amount asks for its fault once: whatever repeats it finds the account well.
        self.finish(&wish, answer, draw, magic.filter(|_| first)).await
    }

    /// Whether the merchant has signed this, as it came.
    fn admit(&self, call: &Call) -> Result<(), Refusal> {
        let refuse = || Refusal::new(401, "SIGN_ERROR", "签名错误");
        let pairs = call.header("authorization").and_then(|value| value.strip_prefix(SCHEME)).ok_or_else(refuse)?;
        let field = |name: &str| {
            let value = pairs.split(',').filter_map(|pair| pair.trim().split_once('=')).find(|(known, _)| *known == name);
            value.map(|(_, value)| value.trim_matches('"')).ok_or_else(refuse)
        };
        if field("mchid")? != self.settings.mchid || !field("serial_no")?.eq_ignore_ascii_case(&self.settings.serial_no) {
            return Err(refuse());
        }
        let (seconds, nonce) = (field("timestamp")?, field("nonce_str")?);
        let target = if call.query.is_empty() { call.path.clone() } else { format!("{}?{}", call.path, call.query) };
        let head = format!("{}\n{target}\n{seconds}\n{nonce}\n", call.method);
        if !self.keys.rsa.verifies([head.as_bytes(), &call.body, b"\n"].concat(), field("signature")?) {
            return Err(refuse());
        }
        let json = |name: &str| call.header(name).is_some_and(|kind| kind.starts_with("application/json"));
        if !json("accept") || call.header("user-agent").is_none() || !(call.body.is_empty() || json("content-type")) {
            return Err(Refusal::parameter("Accept, User-Agent or Content-Type"));
        }
        self.moment.hear(seconds.parse().map_err(|_| refuse())?);
        Ok(())
    }

    /// What is asked for.
    fn wish(&self, call: &Call) -> Result<Wish, Refusal> {
        let nothing = || Refusal::new(404, "RESOURCE_NOT_EXISTS", "接口不存在");
        let path = call.path.strip_prefix("/v3/").ok_or_else(nothing)?;
        let parts: Vec<&str> = path.split('/').collect();
        let ours = call.query == format!("mchid={}", self.settings.mchid);
        match (call.method.as_str(), parts.as_slice()) {
            ("POST", ["pay", "transactions", product]) => {
                let product = match *product {
                    "native" => Product::Native,
                    "h5" => Product::H5,
                    "jsapi" => Product::Jsapi,
                    _ => return Err(nothing()),
                };
                let asked: Asked = body(call)?;
                let whose = Refusal::new(400, "APPID_MCHID_NOT_MATCH", "appid和mchid不匹配");
                if asked.owner() == self.owner() { Ok(Wish::Begin(product, asked)) } else { Err(whose) }
            }
            ("GET", ["pay", "transactions", "out-trade-no", number]) if ours => Ok(Wish::Query((*number).to_owned())),
            ("GET", ["pay", "transactions", "out-trade-no", _]) => Err(Refusal::parameter("mchid")),
            ("POST", ["pay", "transactions", "out-trade-no", number, "close"]) => {
                let asked: Value = body(call)?;
                if asked["mchid"] == *self.settings.mchid { Ok(Wish::Close((*number).to_owned())) } else { Err(Refusal::parameter("mchid")) }
            }
            ("POST", ["refund", "domestic", "refunds"]) => Ok(Wish::Refund(body(call)?)),
            ("GET", ["refund", "domestic", "refunds", number]) => Ok(Wish::RefundQuery((*number).to_owned())),
            _ => Err(nothing()),
        }
    }

    /// Executes under the lock: works out what follows, makes it so, and tells of it. Gives the answer, and whether anything was done.
    fn execute(self: &Arc<Self>, wish: &Wish, draw: Draw, magic: Option<Magic>) -> ((u16, String), bool) {
        let decline = draw.mode == Some(Mode::Decline) || magic == Some(Magic::Decline);
        // A code that reaches nobody is paid all the same: whatever is lost on the way back was charged.
        let lost_modes = [Mode::ErrorProcessed, Mode::TimeoutProcessed, Mode::ResetAfter, Mode::Malformed, Mode::Huge, Mode::SlowDrip];
        let lost = draw.mode.is_some_and(|mode| lost_modes.contains(&mode)) || matches!(magic, Some(Magic::TimeoutProcessed | Magic::SlowAnswer));
        let now = self.moment.now();
        let mut ledger = self.ledger();
        let only = |answer: Value| Done { answer, ..Done::default() };
        let worked_out = match wish {
            Wish::Begin(product, asked) => order::begin(&ledger, *product, asked, now, decline, lost),
            Wish::Query(number) => order::query(&ledger, number, now).map(|order| only(order::shown(&order, self.owner()))),
            Wish::Close(number) => order::close(&ledger, number, now),
            Wish::Refund(back) => order::refund(&ledger, back, now, decline, self.behaviour.pending_refund),
            Wish::RefundQuery(number) => {
                let refund = ledger.refund(number).and_then(|refund| Some((ledger.order(&refund.order)?, refund)));
                let shown = refund.map(|(order, refund)| only(order::shown_refund(order, refund)));
                shown.ok_or_else(|| Refusal::new(404, "RESOURCE_NOT_EXISTS", "退款单不存在"))
            }
        };
        let Done { change, answer, told } = match worked_out {
            Ok(done) => done,
            Err(refusal) => return (reply::refusal(&refusal), false),
        };
        let (order, refund) = (change.order.clone(), change.refund.clone());
        if order.is_some()
            && let Err(refusal) = ledger.commit(change)
        {
            tracing::error!(error = %refusal, "the sandbox cannot write its journal");
            return (reply::refusal(&system_error()), false);
        }
        drop(ledger);
        if let Some(order) = &order {
            if told {
                self.tell(order, refund.as_ref(), Manner::of(draw, magic));
            } else if matches!(wish, Wish::Begin(..)) {
                self.pay_later(order.number.clone());
            }
            if let Some((refund, due)) = refund.and_then(|refund| Some((refund.number, refund.due?))) {
                self.settle_later(refund, due);
            }
        }
        (reply::body(&self.addressed(answer)), order.is_some())
    }

    /// With the whole address of a page.
    fn addressed(&self, mut answer: Value) -> Value {
        if let Some(path) = answer["h5_url"].as_str() {
            answer["h5_url"] = format!("{}{path}", self.base_url).into();
        }
        answer
    }

    /// The way back: waits, and does to the answer what the fault does to it.
    async fn finish(&self, wish: &Wish, mut answer: (u16, String), draw: Draw, magic: Option<Magic>) -> Ending {
        let latency = if magic == Some(Magic::SlowAnswer) { draw.latency + SLOW_ANSWER } else { draw.latency };
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if draw.mode == Some(Mode::TimeoutProcessed) || magic == Some(Magic::TimeoutProcessed) {
            return self.never_answer().await;
        }
        if draw.mode == Some(Mode::ResetAfter) {
            return Ending::Reset;
        }
        if draw.mode == Some(Mode::ErrorProcessed) {
            answer = reply::refusal(&system_error());
        }
        // The customer must get a code; what is wrong there is the notification that follows.
        let forged = Manner::of(draw, magic) == Manner::BadSignature && !matches!(wish, Wish::Begin(..));
        let mut ending = self.say(answer, forged);
        if let Ending::Answer { response, drip } = &mut ending {
            *drip = draw.mode == Some(Mode::SlowDrip);
            if draw.mode == Some(Mode::Malformed) {
                let half = response.body().len() / 2;
                response.body_mut().truncate(half);
            }
            if draw.mode == Some(Mode::Huge) {
                listener::swell(response);
            }
        }
        ending
    }

    /// Puts an answer on the wire, signed.
    fn say(&self, (status, body): (u16, String), forged: bool) -> Ending {
        let headers = reply::signature(body.as_bytes(), &self.keys, &self.settings.platform_serial, self.moment.now(), forged);
        reply::ending((status, body), "application/json", headers)
    }

    async fn never_answer(&self) -> Ending {
        let mut ending = self.ending.clone();
        tokio::select! {
            () = tokio::time::sleep(HOLD) => {}
            // A dropped sender of the signal is an ending too.
            _ = ending.wait_for(|ending| *ending) => {}
        }
        Ending::Reset
    }

    /// Tells the orchestrator of an order, or of one of its refunds, at the address that it named for that.
    pub(super) fn tell(&self, order: &Order, refund: Option<&Refund>, manner: Manner) {
        let (kind, inside, address) = match refund {
            None => ("TRANSACTION.SUCCESS", order::shown(order, self.owner()), order.notify_url.as_str()),
            Some(refund) => {
                let Some(address) = refund.notify_url.as_deref() else { return };
                let mut inside = order::shown_refund(order, refund);
                inside["mchid"] = self.settings.mchid.as_str().into();
                inside["refund_status"] = inside["status"].take();
                // Inside a notification a refund's state has another name.
                if let Some(fields) = inside.as_object_mut() {
                    fields.remove("status");
                }
                (if refund.abnormal { "REFUND.ABNORMAL" } else { "REFUND.SUCCESS" }, inside, address)
            }
        };
        let straggle = Duration::from_millis(self.faults.below(2_000));
        self.notifier.send_to(Some(address), notice::of(kind, &inside, &self.keys), manner, straggle);
    }
}

fn body<T: serde::de::DeserializeOwned>(call: &Call) -> Result<T, Refusal> {
    serde_json::from_slice(&call.body).map_err(|complaint| Refusal::parameter(&complaint.to_string()))
}

fn system_error() -> Refusal {
    Refusal::new(500, "SYSTEM_ERROR", "系统异常，请稍后重试")
}

impl sandbox::Account for Account {
    fn provider(&self) -> &'static str {
        "wechatpay"
    }

    fn base_url(&self) -> String {
        self.base_url.clone()
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn notifications(&self) -> Option<&Notifier> {
        Some(&self.notifier)
    }

    fn book(&self, from: usize) -> Vec<Entry> {
        self.ledger().entries(from).to_vec()
    }

    fn clear(&self) -> io::Result<()> {
        self.ledger().clear()
    }

    fn act(&self, reference: &str, act: Act, amount: Option<i64>) -> Result<Value, ActRefusal> {
        self.perform(reference, act, amount)
    }

    fn bank_acts(&self, reference: &str, act: BankAct) -> Result<Value, ActRefusal> {
        self.bank_performs(reference, act)
    }
}

impl HttpAccount for Account {
    fn exchange(self: Arc<Self>, call: Call) -> BoxFuture<'static, Ending> {
        Box::pin(async move { self.answer(call).await })
    }

    fn too_large(&self) -> Ending {
        reply::html(413, "The request is too large.")
    }
}

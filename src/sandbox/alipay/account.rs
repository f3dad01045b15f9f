//! One account: the script of a request, from the wire to the journal and back.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::ledger::{Ledger, Product, Refund, Trade};
use super::parameters::{self, Parameters};
use super::trade::{self, Content, Done, Fields, Refusal};
use super::{notice, reply};
use crate::sandbox;
use crate::sandbox::account::{Act, ActRefusal};
use crate::sandbox::book::{self, Entry};
use crate::sandbox::fault::{Draw, Faults, Magic, Mode, Operation};
use crate::sandbox::listener::{self, Call, Ending, HttpAccount};
use crate::sandbox::notify::{Manner, Notifier};
use crate::sandbox::rsa::RsaKeys;
use crate::sandbox::settings::{AlipaySettings, Behaviour};

/// How long a call that is never answered is held, unless the caller leaves first.
const HOLD: Duration = Duration::from_secs(60);
/// The answer to an amount that ends in …05.
const SLOW_ANSWER: Duration = Duration::from_secs(8);

/// One account at Alipay.
#[derive(Debug)]
pub struct Account {
    pub(super) settings: AlipaySettings,
    pub(super) behaviour: Behaviour,
    pub(super) base_url: String,
    pub(super) keys: Arc<RsaKeys>,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) faults: Faults,
    pub(super) notifier: Notifier,
    pub(super) ending: watch::Receiver<bool>,
}

/// Alipay's methods, as far as this account has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Begin(Product),
    Query,
    Close,
    Cancel,
    Refund,
    RefundQuery,
}

impl Method {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "alipay.trade.precreate" => Self::Begin(Product::Precreate),
            "alipay.trade.pay" => Self::Begin(Product::Barcode),
            "alipay.trade.page.pay" => Self::Begin(Product::Page),
            "alipay.trade.query" => Self::Query,
            "alipay.trade.close" => Self::Close,
            "alipay.trade.cancel" => Self::Cancel,
            "alipay.trade.refund" => Self::Refund,
            "alipay.trade.fastpay.refund.query" => Self::RefundQuery,
            _ => return None,
        })
    }

    const fn operation(self) -> Operation {
        match self {
            Self::Begin(_) => Operation::Pay,
            Self::Query | Self::RefundQuery => Operation::Query,
            Self::Close | Self::Cancel => Operation::Void,
            Self::Refund => Operation::Refund,
        }
    }
}

impl Account {
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The script: merge, verify, know the method, draw the fault, execute, answer or fail to.
    async fn answer(self: &Arc<Self>, call: Call) -> Ending {
        if call.path != "/gateway.do" {
            return reply::html(404, "There is nothing here. The gateway is /gateway.do");
        }
        let parameters = match parameters::merged(call.query.as_bytes(), &call.body) {
            Ok(parameters) => parameters,
            Err(complaint) => return reply::unsigned("error", "40002", "isv.invalid-parameter", &complaint),
        };
        let name = parameters.get("method").map(String::as_str).unwrap_or_default();
        let (method, fields) = match self.admit(&parameters) {
            Ok(admitted) => admitted,
            Err(Refusal { code, sub_code, sub_msg }) => return reply::unsigned(name, code, &sub_code, &sub_msg),
        };
        let content =
            Content { fields: &fields, notify_url: parameters.get("notify_url").map(String::as_str).filter(|url| !url.is_empty()), now: book::now() };
        let draw = self.faults.draw(method.operation());
        let magic = matches!(method, Method::Begin(_)).then(|| content.paying().and_then(Magic::of_payment)).flatten();
        match draw.mode {
            Some(Mode::Throttle) => return self.say(name, method, &gateway("40005", "isp.call-limited", "调用频次超限"), false),
            Some(Mode::ErrorNotProcessed) => {
                tokio::time::sleep(draw.latency).await;
                return self.say(name, method, &system_error(), false);
            }
            Some(Mode::TimeoutNotProcessed) => return self.never_answer().await,
            Some(Mode::ResetBefore) => return Ending::Reset,
            _ if magic == Some(Magic::TimeoutNotProcessed) => return self.never_answer().await,
            _ => {}
        }
        let (node, first) = self.execute(method, &content, draw, magic);
        // An amount asks for its fault once: whatever repeats it finds the account well.
        self.finish(name, method, node, draw, magic.filter(|_| first)).await
    }

    /// Who may ask, and for what.
    fn admit(&self, parameters: &Parameters) -> Result<(Method, Fields), Refusal> {
        let refuse = |code, sub_code: &str, sub_msg: &str| Refusal { code, sub_code: sub_code.to_owned(), sub_msg: sub_msg.to_owned() };
        let given = |name: &str| parameters.get(name).map(String::as_str).filter(|value| !value.is_empty());
        for name in ["app_id", "method", "charset", "sign_type", "sign", "timestamp", "version"] {
            if given(name).is_none() {
                return Err(refuse("40001", &format!("isv.missing-{}", name.replace('_', "-")), &format!("缺少参数 {name}")));
            }
        }
        let is = |name: &str, value: &str| given(name).is_some_and(|given| given.eq_ignore_ascii_case(value));
        if !is("app_id", &self.settings.app_id) {
            return Err(refuse("40002", "isv.invalid-app-id", "无效的AppID参数"));
        }
        if !is("sign_type", "RSA2") {
            return Err(refuse("40002", "isv.invalid-signature-type", "无效的签名类型"));
        }
        if !self.keys.verifies(parameters::content(parameters, &["sign"]), given("sign").unwrap_or_default()) {
            return Err(refuse("40002", "isv.invalid-signature", "验签出错"));
        }
        if !is("charset", "utf-8") || !is("version", "1.0") || given("format").is_some_and(|format| !format.eq_ignore_ascii_case("json")) {
            return Err(refuse("40002", "isv.invalid-parameter", "charset, version or format"));
        }
        if given("timestamp").and_then(super::china::read_time).is_none() {
            return Err(refuse("40002", "isv.invalid-timestamp", "无效的时间戳参数"));
        }
        let method = given("method").and_then(Method::of).ok_or_else(|| refuse("40002", "isv.invalid-method", "不存在的方法名"))?;
        let content = given("biz_content").unwrap_or("{}");
        let fields = serde_json::from_str(content).map_err(|_| refuse("40002", "isv.invalid-parameter", "biz_content"))?;
        Ok((method, fields))
    }

    /// Executes under the lock: works out what follows, makes it so, and tells of it. Gives the node of the answer, and whether anything was done.
    fn execute(self: &Arc<Self>, method: Method, content: &Content<'_>, draw: Draw, magic: Option<Magic>) -> (Value, bool) {
        let decline = draw.mode == Some(Mode::Decline) || magic == Some(Magic::Decline);
        // A code or page that reaches nobody is paid all the same: whatever is lost on the way back was charged.
        let lost_modes = [Mode::ErrorProcessed, Mode::TimeoutProcessed, Mode::ResetAfter, Mode::Malformed, Mode::Huge, Mode::SlowDrip];
        let lost = draw.mode.is_some_and(|mode| lost_modes.contains(&mode)) || matches!(magic, Some(Magic::TimeoutProcessed | Magic::SlowAnswer));
        let mut ledger = self.ledger();
        let worked_out = match method {
            Method::Begin(product) => trade::begin(&ledger, product, content, decline, lost),
            Method::Query => trade::query(&ledger, content),
            Method::Close => trade::close(&ledger, content),
            Method::Cancel => trade::cancel(&ledger, content),
            Method::Refund => trade::refund(&ledger, content, decline, self.behaviour.pending_refund),
            Method::RefundQuery => trade::refund_query(&ledger, content),
        };
        let Done { change, code, fields, told } = match worked_out {
            Ok(done) => done,
            Err(Refusal { code, sub_code, sub_msg }) => return (gateway(code, &sub_code, &sub_msg), false),
        };
        let (trade, refund) = (change.trade.clone(), change.refund.clone());
        if trade.is_some()
            && let Err(refusal) = ledger.commit(change)
        {
            tracing::error!(error = %refusal, "the sandbox cannot write its journal");
            return (system_error(), false);
        }
        drop(ledger);
        if let Some(trade) = &trade {
            if told {
                self.tell(trade, refund.as_ref(), Manner::of(draw, magic));
            } else if matches!(method, Method::Begin(_)) {
                self.pay_later(trade.number.clone());
            }
            if let Some((refund, due)) = refund.and_then(|refund| Some((refund.number, refund.due?))) {
                self.settle_later(trade.number.clone(), refund, due);
            }
        }
        let msg = if code == "10000" { "Success" } else { "order success pay inprocess" };
        let mut node = Fields::new();
        node.insert("code".to_owned(), code.into());
        node.insert("msg".to_owned(), msg.into());
        node.extend(fields);
        (Value::Object(node), trade.is_some())
    }

    /// The way back: waits, and does to the answer what the fault does to it.
    async fn finish(&self, name: &str, method: Method, mut node: Value, draw: Draw, magic: Option<Magic>) -> Ending {
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
            node = system_error();
        }
        // The customer must get a code; what is wrong there is the notice that follows.
        let forged = Manner::of(draw, magic) == Manner::BadSignature && method != Method::Begin(Product::Precreate);
        let mut ending = self.say(name, method, &node, forged);
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

    /// Puts a node on the wire: signed for a program, as a page for a browser.
    fn say(&self, name: &str, method: Method, node: &Value, forged: bool) -> Ending {
        if method == Method::Begin(Product::Page) {
            return match node["sub_msg"].as_str() {
                Some(sentence) => reply::html(200, sentence),
                None => reply::html(200, "支付宝: Alipay asks you to confirm this payment. You will be sent back to the shop."),
            };
        }
        reply::signed(name, node, &self.keys, forged)
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

    /// Tells the orchestrator of a trade, or of one of its refunds.
    pub(super) fn tell(&self, trade: &Trade, refund: Option<&Refund>, manner: Manner) {
        let notice = notice::of(&self.settings.app_id, &self.settings.seller_id, trade, refund, book::now());
        let straggle = Duration::from_millis(self.faults.below(2_000));
        // A map of texts is always JSON.
        let message = serde_json::to_vec(&notice).unwrap_or_default();
        self.notifier.send_to(trade.notify_url.as_deref(), message.into(), manner, straggle);
    }
}

fn gateway(code: &str, sub_code: &str, sub_msg: &str) -> Value {
    let msg = match code {
        "40004" => "Business Failed",
        "40005" => "Call Limited",
        _ => "Service Currently Unavailable",
    };
    json!({"code": code, "msg": msg, "sub_code": sub_code, "sub_msg": sub_msg})
}

fn system_error() -> Value {
    gateway("20000", "isp.unknow-error", "系统繁忙")
}

impl sandbox::Account for Account {
    fn provider(&self) -> &'static str {
        "alipay"
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
}

impl HttpAccount for Account {
    fn exchange(self: Arc<Self>, call: Call) -> BoxFuture<'static, Ending> {
        Box::pin(async move { self.answer(call).await })
    }

    fn too_large(&self) -> Ending {
        reply::html(413, "The request is too large.")
    }
}

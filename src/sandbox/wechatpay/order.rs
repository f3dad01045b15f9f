//! What each call does to orders and refunds: from what is remembered to a [`Change`], without doing it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ledger::{Change, Ledger, Order, Product, Refund, Status};
use crate::sandbox::book::{Entry, Kind};
use crate::sandbox::fault::Magic;

/// Unless the request says how long, an unpaid order lives for seven days.
const LIVES_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What a call would do.
#[derive(Debug, Default)]
pub struct Done {
    /// What changes.
    pub change: Change,
    /// What is answered; null for 204.
    pub answer: Value,
    /// Whether the orchestrator is told.
    pub told: bool,
}

/// Why a call does nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP's status.
    pub status: u16,
    /// `PARAM_ERROR` and its like.
    pub code: &'static str,
    /// A sentence.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(status: u16, code: &'static str, message: &str) -> Self {
        Self { status, code, message: message.to_owned() }
    }

    /// A field that is wrong or missing.
    pub fn parameter(name: &str) -> Self {
        Self::new(400, "PARAM_ERROR", &format!("参数错误: {name}"))
    }

    fn no_order() -> Self {
        Self::new(404, "ORDER_NOT_EXIST", "订单不存在")
    }
}

/// The body that makes an order. What WeChat Pay would not know is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    mchid: String,
    appid: String,
    out_trade_no: String,
    description: String,
    notify_url: String,
    amount: AskedAmount,
    attach: Option<String>,
    time_expire: Option<String>,
    payer: Option<Payer>,
    scene_info: Option<Scene>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedAmount {
    total: i64,
    currency: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payer {
    openid: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scene {
    payer_client_ip: String,
    h5_info: SceneKind,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SceneKind {
    #[serde(rename = "type")]
    kind: String,
}

impl Asked {
    /// Whose it is: the merchant, and the app.
    pub fn owner(&self) -> (&str, &str) {
        (&self.mchid, &self.appid)
    }

    /// Fen, for the magic of them.
    pub fn total(&self) -> i64 {
        self.amount.total
    }

    /// The first field that is wrong for this product.
    fn complaint(&self, product: Product) -> Option<&'static str> {
        let text = |text: &str, most: usize| (1..=most).contains(&text.chars().count());
        let checks = [
            ("out_trade_no", is_number(&self.out_trade_no, 6, 32)),
            ("description", text(&self.description, 127)),
            ("notify_url", text(&self.notify_url, 255) && self.notify_url.starts_with("http") && !self.notify_url.contains('?')),
            ("amount.total", self.amount.total >= 1),
            ("amount.currency", self.amount.currency.as_deref().is_none_or(|code| code == "CNY")),
            ("attach", self.attach.as_deref().is_none_or(|attach| text(attach, 128))),
            ("payer.openid", (product == Product::Jsapi) == self.payer.as_ref().is_some_and(|payer| text(&payer.openid, 128))),
            (
                "scene_info",
                product != Product::H5
                    || self.scene_info.as_ref().is_some_and(|scene| text(&scene.payer_client_ip, 45) && text(&scene.h5_info.kind, 16)),
            ),
        ];
        checks.into_iter().find(|(_, sound)| !sound).map(|(name, _)| name)
    }

    fn expires(&self, now: Timestamp) -> Result<Timestamp, Refusal> {
        let Some(text) = &self.time_expire else { return Ok(now + LIVES_FOR) };
        let sound = text.len() == 25 && text.ends_with("+08:00");
        let at = text.parse::<Timestamp>().ok().filter(|at| sound && *at > now);
        at.ok_or_else(|| Refusal::parameter("time_expire"))
    }
}

fn is_number(text: &str, least: usize, most: usize) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'|' | b'*' | b'@');
    (least..=most).contains(&text.len()) && text.bytes().all(sound)
}

/// The body of a refund.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Back {
    out_trade_no: String,
    out_refund_no: String,
    amount: BackAmount,
    reason: Option<String>,
    notify_url: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackAmount {
    refund: i64,
    total: i64,
    currency: String,
}

/// An order as it is now: unpaid past its expiry it is closed.
pub fn as_of(order: &Order, now: Timestamp) -> Order {
    let mut order = order.clone();
    if order.status == Status::Unpaid && now >= order.expires {
        order.status = Status::Closed;
    }
    order
}

/// An order to be paid. With `at_once` it is paid in the same step.
pub fn begin(ledger: &Ledger, product: Product, asked: &Asked, now: Timestamp, decline: bool, at_once: bool) -> Result<Done, Refusal> {
    if let Some(field) = asked.complaint(product) {
        return Err(Refusal::parameter(field));
    }
    let expires = asked.expires(now)?;
    if let Some(known) = ledger.order(&asked.out_trade_no).map(|order| as_of(order, now)) {
        let same = known.amount == asked.amount.total && known.description == asked.description && known.product == product;
        return match known.status {
            _ if !same => Err(Refusal::new(403, "OUT_TRADE_NO_USED", "商户订单号重复")),
            Status::Closed => Err(Refusal::new(400, "ORDER_CLOSED", "订单已关闭")),
            Status::Paid | Status::Refunded => Err(Refusal::new(400, "ORDERPAID", "订单已支付")),
            Status::Unpaid => Ok(Done { answer: handed_out(&known), ..Done::default() }),
        };
    }
    if decline {
        return Err(Refusal::new(403, "RULE_LIMIT", "业务规则限制"));
    }
    let order = Order {
        number: asked.out_trade_no.clone(),
        transaction_id: format!("4200{:024}", uuid::Uuid::new_v4().as_u128() % 10u128.pow(24)),
        token: uuid::Uuid::new_v4().simple().to_string(),
        product,
        status: Status::Unpaid,
        amount: asked.amount.total,
        description: asked.description.clone(),
        attach: asked.attach.clone(),
        notify_url: asked.notify_url.clone(),
        expires,
        paid: None,
        refunded: 0,
        abandoned: false,
    };
    let answer = handed_out(&order);
    let done = if at_once { pay(order, now) } else { Done { change: Change { order: Some(order), ..Change::default() }, ..Done::default() } };
    Ok(Done { answer, ..done })
}

/// What the customer is given. The page's address is completed by whoever knows where it is.
fn handed_out(order: &Order) -> Value {
    match order.product {
        Product::Native => json!({"code_url": format!("weixin://wxpay/bizpayurl?pr={}", order.token)}),
        Product::H5 => json!({"h5_url": format!("/checkmweb?prepay_id=wx{}", order.token)}),
        Product::Jsapi => json!({"prepay_id": format!("wx{}", order.token)}),
    }
}

/// The customer pays.
pub fn pay(mut order: Order, now: Timestamp) -> Done {
    order.status = Status::Paid;
    order.paid = Some(now);
    let entry = booked(&order, Kind::Charge, &order.number, order.amount, now);
    Done { change: Change { order: Some(order), entry: Some(entry), ..Change::default() }, answer: Value::Null, told: true }
}

/// The order of that number.
pub fn query(ledger: &Ledger, number: &str, now: Timestamp) -> Result<Order, Refusal> {
    ledger.order(number).map(|order| as_of(order, now)).ok_or_else(Refusal::no_order)
}

/// Closes an unpaid order.
pub fn close(ledger: &Ledger, number: &str, now: Timestamp) -> Result<Done, Refusal> {
    let mut order = query(ledger, number, now)?;
    match order.status {
        Status::Paid | Status::Refunded => Err(Refusal::new(400, "ORDER_PAID", "订单已支付")),
        Status::Closed => Err(Refusal::new(400, "ORDER_CLOSED", "订单已关闭")),
        Status::Unpaid => {
            order.status = Status::Closed;
            Ok(Done { change: Change { order: Some(order), ..Change::default() }, ..Done::default() })
        }
    }
}

/// Gives money back.
pub fn refund(ledger: &Ledger, back: &Back, now: Timestamp, decline: bool, pending_for: Duration) -> Result<Done, Refusal> {
    let sound = [
        ("out_refund_no", is_number(&back.out_refund_no, 1, 64)),
        ("amount.refund", back.amount.refund >= 1),
        ("amount.currency", back.amount.currency == "CNY"),
        ("reason", back.reason.as_deref().is_none_or(|reason| (1..=80).contains(&reason.chars().count()))),
    ];
    if let Some((name, _)) = sound.into_iter().find(|(_, sound)| !sound) {
        return Err(Refusal::parameter(name));
    }
    let order = ledger.order(&back.out_trade_no).ok_or_else(|| Refusal::new(404, "RESOURCE_NOT_EXISTS", "订单不存在"))?;
    if let Some(known) = ledger.refund(&back.out_refund_no) {
        if known.order != order.number || known.amount != back.amount.refund {
            return Err(Refusal::new(400, "INVALID_REQUEST", "退款单号重复且参数不一致"));
        }
        return Ok(Done { answer: shown_refund(order, known), ..Done::default() });
    }
    if order.paid.is_none() || back.amount.total != order.amount {
        return Err(Refusal::new(400, "INVALID_REQUEST", "订单未支付或金额不一致"));
    }
    if back.amount.refund > order.left() {
        return Err(Refusal::new(400, "INVALID_REQUEST", "订单可退金额不足"));
    }
    if decline {
        return Err(Refusal::new(403, "USER_ACCOUNT_ABNORMAL", "用户账户异常"));
    }
    let pending = Magic::refund_is_pending(back.amount.refund) && !pending_for.is_zero();
    let due = pending.then(|| now.saturating_add(pending_for).unwrap_or(Timestamp::MAX));
    let refund = Refund {
        due,
        reason: back.reason.clone(),
        notify_url: back.notify_url.clone(),
        ..promised(order, back.out_refund_no.clone(), back.amount.refund)
    };
    Ok(give_back(order.clone(), refund, now))
}

/// A refund that nothing has been done about.
pub fn promised(order: &Order, number: String, amount: i64) -> Refund {
    let refund_id = format!("5030{:024}", uuid::Uuid::new_v4().as_u128() % 10u128.pow(24));
    Refund { order: order.number.clone(), number, refund_id, amount, reason: None, notify_url: None, due: None, done: None, abnormal: false }
}

/// A refund that was found right, or that somebody makes in the portal.
pub fn give_back(mut order: Order, refund: Refund, now: Timestamp) -> Done {
    order.refunded += refund.amount;
    order.status = Status::Refunded;
    if refund.due.is_some() {
        let answer = shown_refund(&order, &refund);
        return Done { change: Change { order: Some(order), refund: Some(refund), entry: None }, answer, told: false };
    }
    settle(order, refund, now)
}

/// A refund is done.
pub fn settle(order: Order, mut refund: Refund, now: Timestamp) -> Done {
    (refund.due, refund.done) = (None, Some(now));
    let (kind, reference) = refund.undoes().map_or((Kind::Refund, refund.number.as_str()), |key| (Kind::Reversal, key));
    let entry = booked(&order, kind, reference, refund.amount, now);
    let answer = shown_refund(&order, &refund);
    Done { change: Change { order: Some(order), refund: Some(refund), entry: Some(entry) }, answer, told: true }
}

/// A refund that had arrived comes back: the customer's card or account is closed.
pub fn come_back(mut order: Order, mut refund: Refund, now: Timestamp) -> Done {
    order.refunded -= refund.amount;
    refund.abnormal = true;
    let entry = booked(&order, Kind::Reversal, &refund.number, refund.amount, now);
    let answer = shown_refund(&order, &refund);
    Done { change: Change { order: Some(order), refund: Some(refund), entry: Some(entry) }, answer, told: true }
}

/// A refund, as a query shows it.
pub fn shown_refund(order: &Order, refund: &Refund) -> Value {
    let amount = json!({
        "total": order.amount, "refund": refund.amount, "payer_total": order.amount, "payer_refund": refund.amount, "settlement_refund": refund.amount,
        "settlement_total": order.amount, "discount_refund": 0, "currency": "CNY",
    });
    let mut shown = json!({
        "refund_id": refund.refund_id, "out_refund_no": refund.number, "transaction_id": order.transaction_id, "out_trade_no": order.number,
        "channel": "ORIGINAL", "user_received_account": "支付用户零钱", "status": refund.status(),
        "amount": amount,
    });
    if let Some(done) = refund.done {
        shown["success_time"] = time(done).into();
    }
    shown
}

/// An order, as a query shows it.
pub fn shown(order: &Order, (mchid, appid): (&str, &str)) -> Value {
    let mut shown = json!({
        "mchid": mchid, "appid": appid, "out_trade_no": order.number, "trade_state": order.status.as_str(), "trade_state_desc": "",
        "attach": order.attach.as_deref().unwrap_or_default(),
        "amount": {"total": order.amount, "currency": "CNY"},
    });
    if let Some(paid) = order.paid {
        shown["transaction_id"] = order.transaction_id.as_str().into();
        shown["trade_type"] = order.product.as_str().into();
        shown["bank_type"] = "OTHERS".into();
        shown["success_time"] = time(paid).into();
        shown["payer"] = json!({"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"});
        shown["amount"] = json!({"total": order.amount, "payer_total": order.amount, "currency": "CNY", "payer_currency": "CNY"});
    }
    shown
}

fn booked(order: &Order, kind: Kind, reference: &str, amount: i64, at: Timestamp) -> Entry {
    let (reference, payment_intent) = (reference.to_owned(), order.transaction_id.clone());
    Entry { reference, kind, amount, currency: "CNY".to_owned(), at, payment_intent, order: None }
}

/// RFC 3339 in China, to the second.
pub fn time(at: Timestamp) -> String {
    jiff::tz::Offset::constant(8).to_datetime(at).strftime("%Y-%m-%dT%H:%M:%S+08:00").to_string()
}

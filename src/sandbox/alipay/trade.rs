//! What each of Alipay's methods does to trades and refunds: from what is remembered to a [`Change`], without doing it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::china;
use super::ledger::{Change, Ledger, Product, Refund, Status, Trade};
use crate::sandbox::book::{Entry, Kind};
use crate::sandbox::fault::Magic;

/// A refund whose reason begins so undoes a payment: the book has it under the key that follows.
const REVERSES: &str = "reversal of ";
/// Unless the request says how long, an unpaid trade lives for two hours.
const LIVES_FOR: SignedDuration = SignedDuration::from_hours(2);
/// A code whose last digits these are asks for the payer's password first.
const PASSWORD: &str = "0003";

/// The fields of an answer's node, behind `code` and `msg`.
pub type Fields = Map<String, Value>;

/// What a request would do.
#[derive(Debug, Default)]
pub struct Done {
    /// What changes.
    pub change: Change,
    /// `code`: 10000, or 10003.
    pub code: &'static str,
    /// What is answered.
    pub fields: Fields,
    /// Whether the orchestrator is told.
    pub told: bool,
}

/// Why a request does nothing.
#[derive(Debug)]
pub struct Refusal {
    /// 40004 and its like.
    pub code: &'static str,
    /// `ACQ.…`
    pub sub_code: String,
    /// A sentence.
    pub sub_msg: String,
}

impl Refusal {
    /// A business refusal.
    pub fn business(sub_code: &str, sub_msg: &str) -> Self {
        Self { code: "40004", sub_code: format!("ACQ.{sub_code}"), sub_msg: sub_msg.to_owned() }
    }

    fn parameter(name: &str) -> Self {
        Self::business("INVALID_PARAMETER", &format!("参数无效: {name}"))
    }

    fn no_trade() -> Self {
        Self::business("TRADE_NOT_EXIST", "交易不存在")
    }
}

/// The business fields of a request.
#[derive(Debug)]
pub struct Content<'a> {
    /// As sent.
    pub fields: &'a Fields,
    /// The parameter `notify_url`.
    pub notify_url: Option<&'a str>,
    /// Now.
    pub now: Timestamp,
}

impl Content<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    fn required(&self, name: &str, length: usize) -> Result<&str, Refusal> {
        self.text(name).filter(|text| text.chars().count() <= length).ok_or_else(|| Refusal::parameter(name))
    }

    fn number(&self) -> Result<&str, Refusal> {
        let sound = |text: &&str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        self.text("out_trade_no").filter(|text| text.len() <= 64).filter(sound).ok_or_else(|| Refusal::parameter("out_trade_no"))
    }

    fn amount(&self, name: &str) -> Result<i64, Refusal> {
        self.text(name).and_then(china::read_yuan).ok_or_else(|| Refusal::parameter(name))
    }

    /// The amount that is paid by this request, for the magic of it.
    pub fn paying(&self) -> Option<i64> {
        self.amount("total_amount").ok()
    }

    fn expires(&self) -> Result<Timestamp, Refusal> {
        let at = match self.text("time_expire") {
            Some(text) => china::read_time(text).ok_or_else(|| Refusal::parameter("time_expire"))?,
            None => self.now + LIVES_FOR,
        };
        if at > self.now { Ok(at) } else { Err(Refusal::parameter("time_expire")) }
    }
}

/// A trade as it is now: unpaid past its expiry it is closed.
pub fn as_of(trade: &Trade, now: Timestamp) -> Trade {
    let mut trade = trade.clone();
    if trade.status == Status::Waiting && now >= trade.expires {
        trade.status = Status::Closed;
    }
    trade
}

/// The trade that a request names, if a query would see it. Alipay's number wins.
fn named(ledger: &Ledger, content: &Content<'_>) -> Result<Trade, Refusal> {
    let found = match (content.text("trade_no"), content.text("out_trade_no")) {
        (Some(trade_no), _) => ledger.trade_by_no(trade_no),
        (None, Some(number)) => ledger.trade(number),
        (None, None) => return Err(Refusal::parameter("out_trade_no")),
    };
    found.filter(|trade| trade.status != Status::Shown).map(|trade| as_of(trade, content.now)).ok_or_else(Refusal::no_trade)
}

/// `alipay.trade.precreate`, `pay` and `page.pay`: a trade to be paid. With `at_once` it is paid in the same step, whatever it is.
pub fn begin(ledger: &Ledger, product: Product, content: &Content<'_>, decline: bool, at_once: bool) -> Result<Done, Refusal> {
    let number = content.number()?;
    let (amount, subject, expires) = (content.amount("total_amount")?, content.required("subject", 256)?, content.expires()?);
    let code = match product {
        Product::Barcode => content.required("auth_code", 64)?,
        _ => "",
    };
    if let Some(known) = ledger.trade(number).map(|trade| as_of(trade, content.now)) {
        return again(&known, product, amount, subject);
    }
    if decline && product != Product::Page {
        return Err(match product {
            Product::Barcode => Refusal::business("BUYER_BALANCE_NOT_ENOUGH", "买家余额不足"),
            _ => Refusal::business("TOTAL_FEE_EXCEED", "订单总金额超过限额"),
        });
    }
    let qr_code = (product == Product::Precreate).then(|| format!("https://qr.alipay.com/bax{}", uuid::Uuid::new_v4().simple()));
    let mut trade = Trade {
        number: number.to_owned(),
        trade_no: trade_no(content.now),
        product,
        status: if product == Product::Precreate { Status::Shown } else { Status::Waiting },
        amount,
        subject: subject.to_owned(),
        passback_params: content.text("passback_params").map(str::to_owned),
        notify_url: content.notify_url.map(str::to_owned),
        qr_code,
        expires,
        created: content.now,
        paid: None,
        refunded: 0,
        abandoned: false,
    };
    let asks_password = product == Product::Barcode && code.ends_with(PASSWORD);
    if decline {
        trade.status = Status::Closed;
        let fields = shown(&trade);
        return Ok(Done { change: Change { trade: Some(trade), ..Change::default() }, code: "10000", fields, told: true });
    }
    if (product == Product::Barcode && !asks_password) || at_once {
        return Ok(pay(trade, content.now));
    }
    let fields = if product == Product::Precreate { code_of(&trade) } else { shown(&trade) };
    let code = if asks_password { "10003" } else { "10000" };
    Ok(Done { change: Change { trade: Some(trade), ..Change::default() }, code, fields, told: false })
}

/// A number that is known: the same again is answered the same, and charges nobody twice.
fn again(known: &Trade, product: Product, amount: i64, subject: &str) -> Result<Done, Refusal> {
    if known.amount != amount || known.subject != subject || known.product != product {
        return Err(Refusal::business("CONTEXT_INCONSISTENT", "交易信息被篡改"));
    }
    match known.status {
        Status::Paid => Err(Refusal::business("TRADE_HAS_SUCCESS", "交易已被支付")),
        Status::Closed => Err(Refusal::business("TRADE_HAS_CLOSE", "交易已经关闭")),
        _ if product == Product::Precreate => Ok(Done { code: "10000", fields: code_of(known), ..Done::default() }),
        _ => Ok(Done { code: if product == Product::Barcode { "10003" } else { "10000" }, fields: shown(known), ..Done::default() }),
    }
}

fn code_of(trade: &Trade) -> Fields {
    fields(json!({"out_trade_no": trade.number, "qr_code": trade.qr_code}))
}

/// The customer pays.
pub fn pay(mut trade: Trade, now: Timestamp) -> Done {
    trade.status = Status::Paid;
    trade.paid = Some(now);
    let entry = booked(&trade, Kind::Charge, &trade.number, trade.amount, now);
    let mut fields = shown(&trade);
    fields.remove("trade_status");
    fields.remove("send_pay_date");
    fields.insert("gmt_payment".to_owned(), china::time(now).into());
    Done { change: Change { trade: Some(trade), entry: Some(entry), ..Change::default() }, code: "10000", fields, told: true }
}

/// `alipay.trade.query`.
pub fn query(ledger: &Ledger, content: &Content<'_>) -> Result<Done, Refusal> {
    Ok(Done { code: "10000", fields: shown(&named(ledger, content)?), ..Done::default() })
}

/// `alipay.trade.close`.
pub fn close(ledger: &Ledger, content: &Content<'_>) -> Result<Done, Refusal> {
    let mut trade = named(ledger, content)?;
    match trade.status {
        Status::Paid => return Err(Refusal::business("TRADE_STATUS_ERROR", "交易状态不合法")),
        Status::Closed => return Err(Refusal::business("TRADE_HAS_CLOSE", "交易已经关闭")),
        Status::Shown | Status::Waiting => trade.status = Status::Closed,
    }
    let fields = names(&trade);
    Ok(Done { change: Change { trade: Some(trade), ..Change::default() }, code: "10000", fields, told: true })
}

/// `alipay.trade.cancel`: closes what is unpaid, gives back what is paid.
pub fn cancel(ledger: &Ledger, content: &Content<'_>) -> Result<Done, Refusal> {
    let mut trade = named(ledger, content)?;
    let mut answer = names(&trade);
    answer.insert("retry_flag".to_owned(), "N".into());
    answer.insert("action".to_owned(), if trade.paid.is_some() { "refund" } else { "close" }.into());
    let mut change = Change::default();
    let left = trade.left();
    let was_open = trade.is_open();
    if left > 0 {
        trade.refunded = trade.amount;
        change.entry = Some(booked(&trade, Kind::Reversal, &trade.number, left, content.now));
        let (number, now) = (trade.number.clone(), content.now);
        change.refund = Some(Refund { trade: number.clone(), number, amount: left, reason: None, due: None, done: Some(now) });
    }
    trade.status = Status::Closed;
    change.trade = Some(trade);
    Ok(Done { change, code: "10000", fields: answer, told: left > 0 || was_open })
}

/// `alipay.trade.refund`.
pub fn refund(ledger: &Ledger, content: &Content<'_>, decline: bool, pending_for: Duration) -> Result<Done, Refusal> {
    let amount = content.amount("refund_amount")?;
    let trade = named(ledger, content)?;
    let number = match content.text("out_request_no") {
        Some(number) if number.len() <= 64 => number.to_owned(),
        None if amount == trade.amount => trade.number.clone(),
        _ => return Err(Refusal::parameter("out_request_no")),
    };
    let reason = content.text("refund_reason").map(str::to_owned);
    if let Some(known) = ledger.refund(&trade.number, &number) {
        if known.amount != amount {
            return Err(Refusal::business("DISCORDANT_REPEAT_REQUEST", "重复请求参数不一致"));
        }
        return Ok(Done { code: "10000", fields: refunded(&trade, false), ..Done::default() });
    }
    if trade.paid.is_none() {
        return Err(Refusal::business("TRADE_STATUS_ERROR", "交易状态不合法"));
    }
    if amount > trade.left() {
        return Err(Refusal::business("REASON_TRADE_REFUND_FEE_ERR", "退款金额无效"));
    }
    if decline {
        return Err(Refusal::business("TRADE_NOT_ALLOW_REFUND", "当前交易不允许退款"));
    }
    let pending = Magic::refund_is_pending(amount) && !pending_for.is_zero();
    let due = pending.then(|| content.now.saturating_add(pending_for).unwrap_or(Timestamp::MAX));
    Ok(give_back(trade, Refund { trade: String::new(), number, amount, reason, due, done: None }, content.now))
}

/// A refund that was found right, or that somebody makes in the portal.
pub fn give_back(mut trade: Trade, mut refund: Refund, now: Timestamp) -> Done {
    trade.refunded += refund.amount;
    refund.trade.clone_from(&trade.number);
    if refund.due.is_some() {
        let fields = refunded(&trade, false);
        return Done { change: Change { trade: Some(trade), refund: Some(refund), entry: None }, code: "10000", fields, told: false };
    }
    settle(trade, refund, now)
}

/// A refund is done.
pub fn settle(mut trade: Trade, mut refund: Refund, now: Timestamp) -> Done {
    (refund.due, refund.done) = (None, Some(now));
    if trade.left() == 0 {
        trade.status = Status::Closed;
    }
    let reverses = refund.reason.as_deref().and_then(|reason| reason.strip_prefix(REVERSES));
    let (kind, reference) = reverses.map_or((Kind::Refund, refund.number.as_str()), |key| (Kind::Reversal, key));
    let entry = booked(&trade, kind, reference, refund.amount, now);
    let fields = refunded(&trade, true);
    Done { change: Change { trade: Some(trade), refund: Some(refund), entry: Some(entry) }, code: "10000", fields, told: true }
}

fn refunded(trade: &Trade, moved: bool) -> Fields {
    let mut answer = names(trade);
    answer.insert("fund_change".to_owned(), if moved { "Y" } else { "N" }.into());
    answer.insert("refund_fee".to_owned(), china::yuan(trade.refunded).into());
    answer
}

/// `alipay.trade.fastpay.refund.query`. Of a refund that is not known, success and nothing else is answered.
pub fn refund_query(ledger: &Ledger, content: &Content<'_>) -> Result<Done, Refusal> {
    let trade = named(ledger, content)?;
    let number = content.required("out_request_no", 64)?;
    let Some(refund) = ledger.refund(&trade.number, number) else { return Ok(Done { code: "10000", ..Done::default() }) };
    let mut answer = names(&trade);
    answer.insert("out_request_no".to_owned(), number.into());
    answer.insert("total_amount".to_owned(), china::yuan(trade.amount).into());
    answer.insert("refund_amount".to_owned(), china::yuan(refund.amount).into());
    if refund.done.is_some() {
        answer.insert("refund_status".to_owned(), "REFUND_SUCCESS".into());
    }
    Ok(Done { code: "10000", fields: answer, ..Done::default() })
}

fn names(trade: &Trade) -> Fields {
    fields(json!({"trade_no": trade.trade_no, "out_trade_no": trade.number}))
}

/// A trade, as a query shows it.
pub fn shown(trade: &Trade) -> Fields {
    let paid = if trade.paid.is_some() { china::yuan(trade.amount) } else { "0.00".to_owned() };
    let mut shown = names(trade);
    shown.extend(fields(json!({
        "buyer_logon_id": "159****5620",
        "buyer_user_id": "2088000000000001",
        "trade_status": trade.status.as_str(),
        "total_amount": china::yuan(trade.amount),
        "receipt_amount": paid,
        "buyer_pay_amount": paid,
        "point_amount": "0.00",
        "invoice_amount": paid,
        "subject": trade.subject,
    })));
    if let Some(paid) = trade.paid {
        shown.insert("send_pay_date".to_owned(), china::time(paid).into());
    }
    shown
}

fn fields(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}

fn booked(trade: &Trade, kind: Kind, reference: &str, amount: i64, at: Timestamp) -> Entry {
    let (reference, payment_intent) = (reference.to_owned(), trade.trade_no.clone());
    Entry { reference, kind, amount, currency: "CNY".to_owned(), at, payment_intent, order: None }
}

/// 28 digits, the day first.
fn trade_no(now: Timestamp) -> String {
    let day: String = china::time(now).chars().filter(char::is_ascii_digit).take(8).collect();
    format!("{day}{:020}", uuid::Uuid::new_v4().as_u128() % 10u128.pow(20))
}

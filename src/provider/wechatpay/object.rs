//! WeChat Pay's objects: an order, a refund of it, a refusal. They look the same in an answer and inside a notification, except that a refund's state
//! has another name there.
//!
//! Amounts are whole fen. Only CNY is paid in, and an object that does not name its currency means that.

use serde::Deserialize;

use crate::domain::{Currency, Fact, Failure, FailureCode, Money, News};

/// What all amounts are in.
const CNY: &str = "CNY";

/// What WeChat Pay would take of `money`, in fen; `None` for another currency, or nothing.
pub(super) fn fen(money: Money) -> Option<i64> {
    (money.currency.code() == CNY && money.amount > 0).then_some(money.amount)
}

/// An order.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Order {
    pub(super) mchid: Option<String>,
    pub(super) appid: Option<String>,
    pub(super) out_trade_no: String,
    pub(super) trade_state: String,
    pub(super) attach: Option<String>,
    pub(super) amount: Option<OrderAmount>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OrderAmount {
    total: i64,
    currency: Option<String>,
}

impl Order {
    /// What the customer was asked for; `None` when it is no amount.
    pub(super) fn money(&self) -> Option<Money> {
        let amount = self.amount.as_ref()?;
        money(amount.total, amount.currency.as_deref())
    }
}

/// What an order's state means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OrderState {
    /// The money was taken, whatever was given back of it since.
    Paid,
    /// Nobody has paid it yet.
    Unpaid,
    /// The customer is at it.
    Paying,
    /// WeChat Pay is at it.
    Taken,
    /// It can no longer be paid, and never was.
    Closed,
    /// The payment failed. Only orders by a shown code end so.
    Failed,
}

impl OrderState {
    /// By its name on the wire; `None` for one that is not documented.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "SUCCESS" | "REFUND" => Self::Paid,
            "NOTPAY" => Self::Unpaid,
            "USERPAYING" => Self::Paying,
            "ACCEPT" => Self::Taken,
            "CLOSED" | "REVOKED" => Self::Closed,
            "PAYERROR" => Self::Failed,
            _ => return None,
        })
    }
}

/// A refund.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refund {
    pub(super) out_trade_no: String,
    pub(super) out_refund_no: String,
    #[serde(alias = "refund_status")]
    pub(super) status: String,
    pub(super) amount: Option<RefundAmount>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RefundAmount {
    refund: i64,
    currency: Option<String>,
}

impl Refund {
    /// How much of it goes back; `None` when it is no amount.
    pub(super) fn money(&self) -> Option<Money> {
        let amount = self.amount.as_ref()?;
        money(amount.refund, amount.currency.as_deref())
    }

    /// What it says of the attempt whose key is its number; `None` when it cannot be understood.
    ///
    /// An abnormal refund has left the merchant and did not arrive: the customer's card is gone, say. Nothing came back to the customer by it, so for
    /// us it has failed; a person sends the money elsewhere in WeChat Pay's pages. After a success it means the same as *returned*.
    pub(super) fn news(&self) -> Option<News> {
        let failed = |why: &str| News::declined(Failure::new(FailureCode::RefundFailed, Some(&self.status), why));
        let news = match self.status.as_str() {
            "SUCCESS" => News::of(Fact::Approved).with_money(self.money()?),
            "PROCESSING" => News::of(Fact::Accepted),
            "CLOSED" => failed("the refund was closed, and nothing was given back"),
            "ABNORMAL" => failed("the refund did not reach the customer: send it elsewhere in WeChat Pay's pages"),
            _ => return None,
        };
        Some(news.with_reference(&self.out_refund_no))
    }
}

/// Why not: the body of every answer from 400 on.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
}

impl Refusal {
    /// The reason, with WeChat Pay's own code and sentence.
    pub(super) fn failure(&self, code: FailureCode) -> Failure {
        let message = if self.message.is_empty() { "WeChat Pay gave no reason" } else { &self.message };
        Failure::new(code, Some(self.code.as_str()), message)
    }
}

/// That the order ended unpaid.
pub(super) fn closed(trade: &str) -> News {
    let why = Failure::new(FailureCode::Closed, None, "closed at the channel: it can no longer be paid");
    News { failure: Some(why), ..News::of(Fact::Closed) }.with_reference(trade)
}

fn money(fen: i64, currency: Option<&str>) -> Option<Money> {
    (fen > 0 && currency.is_none_or(|code| code == CNY)).then_some(())?;
    Some(Money { amount: fen, currency: Currency::parse(CNY)? })
}

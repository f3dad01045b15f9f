//! What Alipay's answers mean: the table in the module's essay, as code.
//!
//! First the envelope is opened and its signature verified; only then is the node read ([`Answer`]). Nothing is approved, declined or closed
//! unless a signed node said so, and the node is about the number that was asked about.

use serde::Deserialize;

use crate::domain::{CallClass, Fact, Failure, FailureCode, News, NextAction};
use crate::keys::PublicKey;
use crate::provider::{Call, HttpResponse, Reply, Verb};

use super::codes::{self, Verdict};
use super::envelope::Envelope;
use super::request::{self, Api};
use super::{amount, signing};

/// The longest code that is shown to a customer: documented 1024.
const QR_MAX: usize = 1_024;

/// What the answer to a call means.
pub(super) fn reply(call: &Call, response: &HttpResponse, key: Option<&PublicKey>) -> Reply {
    let api = Api::of(call);
    let answer = Answer::of(api, response, key);
    match (api, call.verb) {
        (Api::Precreate, _) => shown(call, &answer),
        (Api::Pay, _) => paid(call, &answer),
        (Api::Query, Verb::QueryRefund) => given_back(call, &answer),
        (Api::Query, _) => queried(call, &answer),
        (Api::Close, _) => closed(call, &answer),
        (Api::Cancel, _) => canceled(call, &answer),
        (Api::Refund, _) => refunded(call, &answer),
        (Api::RefundQuery, _) => refund_queried(call, &answer),
        // It has no answer of Alipay's.
        (Api::PagePay, _) => unknown(CallClass::FailHard),
    }
}

/// The fields of all answers. Alipay writes every value as a string.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    code: String,
    msg: Option<String>,
    sub_code: Option<String>,
    sub_msg: Option<String>,
    out_trade_no: Option<String>,
    trade_status: Option<String>,
    total_amount: Option<String>,
    buyer_pay_amount: Option<String>,
    send_pay_date: Option<String>,
    qr_code: Option<String>,
    fund_change: Option<String>,
    out_request_no: Option<String>,
    refund_amount: Option<String>,
    refund_status: Option<String>,
    retry_flag: Option<String>,
    action: Option<String>,
}

impl Node {
    fn sub_code(&self) -> &str {
        self.sub_code.as_deref().unwrap_or_default()
    }

    fn message(&self) -> &str {
        self.sub_msg.as_deref().or(self.msg.as_deref()).unwrap_or_default()
    }

    fn failure(&self, code: FailureCode) -> Failure {
        let own = if self.sub_code().is_empty() { &self.code } else { self.sub_code() };
        codes::failure(code, own, self.message())
    }

    fn is_of(&self, trade: Option<&str>) -> bool {
        self.out_trade_no.is_some() && self.out_trade_no.as_deref() == trade
    }

    /// Whether the customer's money was taken, as a query shows it; `None` when its fields contradict each other.
    fn was_paid(&self) -> Option<bool> {
        let dated = self.send_pay_date.as_deref().is_some_and(|date| !date.is_empty());
        let amount = self.buyer_pay_amount.as_deref().and_then(amount::fen);
        match (dated, amount) {
            (false, Some(1..)) => None,
            _ => Some(dated),
        }
    }
}

/// An answer, sorted by what it says of the request.
enum Answer {
    /// 10000, signed: the call was taken; the fields say what became of it.
    Done(Node),
    /// 10003, signed: the customer is asked for a password.
    Waiting(Node),
    /// 40004, signed: `sub_code` says why not.
    Refused(Node),
    /// 40001, 40002, 40003, 40006, 20001, signed: the request is not a right one; nothing was executed.
    Rejected(Node),
    /// The same about the application, or unsigned: no request of ours would fare better.
    TurnedAway(Node),
    /// 40005, or HTTP's 429: not executed.
    TooMany,
    /// 20000, Alipay's system errors, HTTP's 5xx: it may have been executed.
    Broken,
    /// None of Alipay's answers, or not Alipay's.
    Malformed,
}

impl Answer {
    fn of(api: Api, response: &HttpResponse, key: Option<&PublicKey>) -> Self {
        match response.status {
            200 => Self::read(api, &response.body, key),
            429 => Self::TooMany,
            500..=599 => Self::Broken,
            _ => Self::Malformed,
        }
    }

    fn read(api: Api, body: &[u8], key: Option<&PublicKey>) -> Self {
        let Some(envelope) = Envelope::open(body) else { return Self::Malformed };
        let error = envelope.node == "error_response";
        if !error && !api.is_answered_by(envelope.node) {
            return Self::Malformed;
        }
        let genuine = match (envelope.sign, key) {
            (Some(sign), Some(key)) if signing::verifies(envelope.object.as_bytes(), sign, key) => true,
            (None, _) => false,
            // A signature that is there and not Alipay's makes the whole answer a stranger's.
            _ => return Self::Malformed,
        };
        let Ok(node) = serde_json::from_str::<Node>(envelope.object) else { return Self::Malformed };
        match (node.code.as_str(), genuine) {
            // The gateway cannot sign for an application that it does not know, and says so unsigned.
            ("40001" | "40002" | "40003" | "40006", false) => Self::TurnedAway(node),
            ("40001" | "40002" | "40003" | "40006" | "20001", true) if codes::is_about_the_application(&node.code, node.sub_code()) => {
                Self::TurnedAway(node)
            }
            ("40001" | "40002" | "40003", true) => Self::Rejected(node),
            (_, false) => Self::Malformed,
            ("10000", true) if !error => Self::Done(node),
            ("10003", true) if !error => Self::Waiting(node),
            ("20000", true) => Self::Broken,
            ("40004", true) if codes::is_system_error(node.sub_code()) => Self::Broken,
            ("40004", true) => Self::Refused(node),
            ("40005", true) => Self::TooMany,
            _ => Self::Malformed,
        }
    }

    /// What it says of the channel's health.
    fn class(&self) -> CallClass {
        match self {
            Self::Done(_) | Self::Waiting(_) | Self::Refused(_) | Self::Rejected(_) => CallClass::Success,
            Self::TooMany => CallClass::RateLimited,
            Self::TurnedAway(_) | Self::Broken => CallClass::FailSoft,
            Self::Malformed => CallClass::FailHard,
        }
    }
}

/// A code to show. Until somebody scans it there is no trade at Alipay.
fn shown(call: &Call, answer: &Answer) -> Reply {
    let Answer::Done(node) = answer else { return not_paid(answer) };
    let code = node.qr_code.as_deref().filter(|code| !code.is_empty() && code.len() <= QR_MAX);
    let Some(text) = code.filter(|_| node.is_of(Some(&call.key))) else { return unknown(CallClass::FailHard) };
    let next_action = NextAction::Qr { text: text.to_owned(), expires_at: Some(call.expires_at) };
    told(News { next_action: Some(next_action), ..News::of(Fact::ActionRequired) }.with_reference(&call.key))
}

/// A payment by the code that the customer showed.
fn paid(call: &Call, answer: &Answer) -> Reply {
    match answer {
        Answer::Done(node) => approved(call, node),
        Answer::Waiting(node) if node.out_trade_no.is_none() || node.is_of(Some(&call.key)) => {
            told(News::of(Fact::ActionRequired).with_reference(&call.key))
        }
        Answer::Waiting(_) => unknown(CallClass::FailHard),
        _ => not_paid(answer),
    }
}

fn approved(call: &Call, node: &Node) -> Reply {
    match node.total_amount.as_deref().and_then(amount::incoming) {
        Some(money) if node.is_of(Some(&call.key)) => told(News::of(Fact::Approved).with_money(money).with_reference(&call.key)),
        _ => unknown(CallClass::FailHard),
    }
}

/// A pay call that brought neither money nor a code.
fn not_paid(answer: &Answer) -> Reply {
    match answer {
        Answer::Refused(node) => match codes::pay(node.sub_code()) {
            Verdict::Declined(code) => told(News::declined(node.failure(code))),
            _ => unknown(CallClass::Success),
        },
        _ => not_executed(answer, FailureCode::ChannelRejected),
    }
}

fn queried(call: &Call, answer: &Answer) -> Reply {
    match answer {
        Answer::Done(node) if node.is_of(request::trade(call)) => match node.trade_status.as_deref() {
            Some("WAIT_BUYER_PAY") => told(News::of(Fact::ActionRequired).with_reference(&call.key)),
            Some("TRADE_SUCCESS" | "TRADE_FINISHED") => approved(call, node),
            Some("TRADE_CLOSED") => match node.was_paid() {
                // Paid, and given back in full since: the payment itself succeeded.
                Some(true) => approved(call, node),
                Some(false) => told(closed_unpaid(call)),
                None => unknown(CallClass::FailHard),
            },
            _ => unknown(CallClass::FailHard),
        },
        // Of a code or page that the customer was given that only means that nobody has used it yet, and of everything else that our request may
        // still be on its way: both are for the flow and the contract to judge.
        Answer::Refused(node) if codes::is_no_trade(node.sub_code()) => Reply::NotFound,
        _ => looked(answer),
    }
}

fn closed(call: &Call, answer: &Answer) -> Reply {
    match answer {
        Answer::Done(node) if node.out_trade_no.is_none() || node.is_of(Some(&call.key)) => told(closed_unpaid(call)),
        Answer::Done(_) => unknown(CallClass::FailHard),
        // No trade (`TRADE_NOT_EXIST`): the code can still be scanned, so nothing was closed. Another state: a query will say which.
        _ => looked(answer),
    }
}

/// The cancel of a payment by a shown code: unpaid it is closed, paid it is given back in full; both end it.
fn canceled(call: &Call, answer: &Answer) -> Reply {
    match answer {
        Answer::Done(node) if node.out_trade_no.is_some() && !node.is_of(Some(&call.key)) => unknown(CallClass::FailHard),
        Answer::Done(node) if node.retry_flag.as_deref() == Some("Y") => unknown(CallClass::FailSoft),
        Answer::Done(node) => match node.action.as_deref() {
            Some("close" | "refund") => told(closed_unpaid(call)),
            _ => unknown(CallClass::Success),
        },
        _ => looked(answer),
    }
}

fn closed_unpaid(call: &Call) -> News {
    let why = Failure::new(FailureCode::Closed, None, "closed at the channel: it can no longer be paid");
    News { failure: Some(why), ..News::of(Fact::Closed) }.with_reference(&call.key)
}

/// A refund. `refund_fee` is the sum of all refunds of the trade, so the answer says nothing of this one's amount.
fn refunded(call: &Call, answer: &Answer) -> Reply {
    match answer {
        Answer::Done(node) if node.out_trade_no.is_some() && !node.is_of(request::trade(call)) => unknown(CallClass::FailHard),
        Answer::Done(node) if node.fund_change.as_deref() == Some("Y") => told(News::of(Fact::Approved).with_reference(&call.key)),
        // Taken and not done yet, or done before: the refund's query knows.
        Answer::Done(_) => unknown(CallClass::Success),
        Answer::Refused(node) => match codes::refund(node.sub_code()) {
            Verdict::Later => {
                let why = node.failure(FailureCode::NotSent);
                told(News { failure: Some(why), ..News::of(Fact::NotSent) })
            }
            Verdict::Declined(code) => told(News::declined(node.failure(code))),
            // What the first call with a number is told is final. Of a reversal a query must say whether anything is left at all.
            Verdict::NotByThisCall(code) if !call.repeat && call.verb == Verb::Refund => told(News::declined(node.failure(code))),
            Verdict::NotByThisCall(_) | Verdict::Unknown => unknown(CallClass::Success),
        },
        _ => not_executed(answer, FailureCode::RefundFailed),
    }
}

fn refund_queried(call: &Call, answer: &Answer) -> Reply {
    match answer {
        Answer::Done(node) => {
            // Of a refund that Alipay does not have, it answers with success and nothing else.
            let Some(number) = &node.out_request_no else { return Reply::NotFound };
            if *number != call.key || !node.is_of(request::trade(call)) {
                return unknown(CallClass::FailHard);
            }
            match (node.refund_status.as_deref(), node.refund_amount.as_deref().map(amount::incoming)) {
                (Some("REFUND_SUCCESS"), Some(Some(money))) => told(News::of(Fact::Approved).with_money(money).with_reference(&call.key)),
                (Some("REFUND_SUCCESS"), _) => unknown(CallClass::FailHard),
                (None | Some("" | "REFUND_PROCESSING"), _) => told(News::of(Fact::Accepted)),
                (Some(_), _) => unknown(CallClass::FailHard),
            }
        }
        Answer::Refused(node) if codes::is_no_trade(node.sub_code()) => Reply::NotFound,
        _ => looked(answer),
    }
}

/// Whether a payment that must not stand still stands. What is left of it is given back by the same number again.
fn given_back(call: &Call, answer: &Answer) -> Reply {
    match answer {
        Answer::Done(node) if node.is_of(request::trade(call)) => match node.trade_status.as_deref() {
            Some("TRADE_CLOSED") => told(News::of(Fact::Approved)),
            Some("TRADE_SUCCESS") => Reply::NotFound,
            // Finished: paid, and past every refund.
            Some("TRADE_FINISHED") => told(News::declined(Failure::new(FailureCode::RefundFailed, None, "the trade can no longer be refunded"))),
            _ => unknown(CallClass::FailHard),
        },
        _ => looked(answer),
    }
}

/// The answer to an act that was not executed, or may have been.
fn not_executed(answer: &Answer, code: FailureCode) -> Reply {
    match answer {
        Answer::TurnedAway(node) => {
            let why = node.failure(FailureCode::NotSent);
            news(News { failure: Some(why), ..News::of(Fact::NotSent) }, answer.class())
        }
        Answer::Rejected(node) => told(News::declined(node.failure(code))),
        Answer::TooMany => news(News::not_sent("Alipay asks for fewer calls"), answer.class()),
        _ => unknown(answer.class()),
    }
}

/// The answer to a question, or to a close, that told nothing of the payment.
fn looked(answer: &Answer) -> Reply {
    match answer {
        // About another trade than the one that was asked for.
        Answer::Done(_) | Answer::Waiting(_) => unknown(CallClass::FailHard),
        _ => unknown(answer.class()),
    }
}

fn told(heard: News) -> Reply {
    news(heard, CallClass::Success)
}

fn unknown(class: CallClass) -> Reply {
    news(News::unknown(), class)
}

fn news(news: News, class: CallClass) -> Reply {
    Reply::News { news, class }
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;

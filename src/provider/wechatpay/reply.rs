//! What WeChat Pay's answers mean: the table in the module's essay, as code.
//!
//! First the signature is verified over the bytes as they came; only then is the body read ([`Answer`]). Nothing is approved, declined or closed
//! unless a signed answer said so, and is about the number that was asked about.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::domain::{CallClass, Fact, Failure, FailureCode, News, NextAction};
use crate::provider::{Account, Call, Credentials, HttpResponse, Reply, Verb};

use super::codes::{self, Verdict};
use super::object::{self, Order, OrderState, Refund, Refusal};
use super::request::{self, Api};
use super::signing::{self, Doubt, Stamp};

/// The longest code, address or prepay id that is taken over.
const TEXT_MAX: usize = 1_024;

/// How long a code lives that nobody has scanned. Documented: 2 hours.
const CODE_LIVES: SignedDuration = SignedDuration::from_hours(2);

/// What the answer to a call means.
pub(super) fn reply(call: &Call, response: &HttpResponse, credentials: &Credentials) -> Reply {
    let account = &credentials.account;
    let answer = Answer::of(response, account, call.now);
    match Api::of(call) {
        Api::Native => begun(call, &answer, |made| shown(call, made.code_url?)),
        Api::H5 => begun(call, &answer, |made| sent_there(made.h5_url?)),
        Api::Jsapi => begun(call, &answer, |made| script(call, account, made.prepay_id?)),
        Api::Query => queried(call, &answer, account),
        Api::Close => closed(call, &answer),
        Api::Refund => refunded(call, &answer),
        Api::RefundQuery => refund_queried(call, &answer),
    }
}

/// What the making of an order answers, by how it will be paid.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Made {
    code_url: Option<String>,
    h5_url: Option<String>,
    prepay_id: Option<String>,
}

/// An answer, sorted by what it says of the request.
enum Answer<'a> {
    /// 200, signed: carried out; the body says what became of it.
    Done(&'a [u8]),
    /// 204, signed over nothing: an order was closed.
    Empty,
    /// 202, signed: taken, and what became of it must be asked.
    Taken,
    /// 4xx, signed: the code says why not.
    Refused(Refusal),
    /// The same about the account, or unsigned: no request of ours would fare better.
    TurnedAway(Refusal),
    /// Too many calls: not taken.
    TooMany,
    /// 5xx: it may have been carried out.
    Broken,
    /// None of WeChat Pay's answers, or not WeChat Pay's.
    Malformed,
}

impl<'a> Answer<'a> {
    fn of(response: &'a HttpResponse, account: &Account, now: Timestamp) -> Self {
        let signed = signing::verify(&response.headers, &response.body, account, now);
        match (response.status, signed) {
            (200, Ok(())) => Self::Done(&response.body),
            (204, Ok(())) if response.body.is_empty() => Self::Empty,
            (202, Ok(())) => Self::Taken,
            (429, _) => Self::TooMany,
            (500..=599, _) => Self::Broken,
            (400..=499, signed) => Self::refusal(&response.body, signed),
            _ => Self::Malformed,
        }
    }

    fn refusal(body: &[u8], signed: Result<(), Doubt>) -> Self {
        let Ok(refusal) = serde_json::from_slice::<Refusal>(body) else { return Self::Malformed };
        match signed {
            // For an account that is not known, WeChat Pay has no key to sign with.
            Ok(()) | Err(Doubt::Unsigned) if codes::is_about_the_account(&refusal.code) => Self::TurnedAway(refusal),
            Ok(()) if codes::is_too_many(&refusal.code) => Self::TooMany,
            Ok(()) if refusal.code == "SYSTEM_ERROR" => Self::Broken,
            Ok(()) => Self::Refused(refusal),
            // A signature that is there and not WeChat Pay's makes the whole answer a stranger's.
            Err(_) => Self::Malformed,
        }
    }

    /// The object that a done call answers with.
    fn read<T: DeserializeOwned>(&self) -> Option<T> {
        match self {
            Self::Done(body) => serde_json::from_slice(body).ok(),
            _ => None,
        }
    }

    /// What it says of the channel's health.
    fn class(&self) -> CallClass {
        match self {
            Self::Done(_) | Self::Taken | Self::Refused(_) => CallClass::Success,
            Self::TooMany => CallClass::RateLimited,
            Self::TurnedAway(_) | Self::Broken => CallClass::FailSoft,
            // Nothing, where there had to be something.
            Self::Empty | Self::Malformed => CallClass::FailHard,
        }
    }
}

/// The making of an order: the customer must act. Without the words that tell them how, nothing was made that anybody could pay.
fn begun(call: &Call, answer: &Answer<'_>, action: impl FnOnce(Made) -> Option<NextAction>) -> Reply {
    let Answer::Done(_) = answer else { return not_paid(call, answer) };
    match answer.read().and_then(action) {
        Some(next_action) => told(News { next_action: Some(next_action), ..News::of(Fact::ActionRequired) }.with_reference(&call.key)),
        None => unknown(CallClass::FailHard),
    }
}

/// A code dies by itself after two hours, or with the order.
fn shown(call: &Call, code: String) -> Option<NextAction> {
    let expires_at = Some(call.expires_at.min(call.now.checked_add(CODE_LIVES).unwrap_or(call.expires_at)));
    is_text(&code).then_some(NextAction::Qr { text: code, expires_at })
}

fn sent_there(url: String) -> Option<NextAction> {
    let web = url.starts_with("https://") || url.starts_with("http://");
    (web && is_text(&url)).then(|| NextAction::Redirect { url, method: "GET".to_owned(), fields: Default::default() })
}

/// The only signature that is made over an answer, on the channel's own thread: a millisecond, for payments in WeChat's browser alone.
fn script(call: &Call, account: &Account, prepay_id: String) -> Option<NextAction> {
    let parameters = signing::script_parameters(&prepay_id, &Stamp::of(call, "script"), account)?;
    is_text(&prepay_id).then_some(NextAction::Jsapi { parameters })
}

fn is_text(text: &str) -> bool {
    (1..=TEXT_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A pay call that brought no order.
fn not_paid(call: &Call, answer: &Answer<'_>) -> Reply {
    match answer {
        Answer::Refused(refusal) => match codes::pay(&refusal.code) {
            Verdict::Declined(code) => told(News::declined(refusal.failure(code))),
            // What the first call with a number is told is final.
            Verdict::NotByThisCall(code) if !call.repeat => told(News::declined(refusal.failure(code))),
            _ => unknown(CallClass::Success),
        },
        _ => not_executed(answer),
    }
}

fn queried(call: &Call, answer: &Answer<'_>, account: &Account) -> Reply {
    match answer {
        Answer::Done(_) => {}
        Answer::Refused(refusal) if codes::is_not_there(&refusal.code) => return Reply::NotFound,
        _ => return unknown(answer.class()),
    }
    let ours = |order: &Order| {
        let of = |field: &Option<String>, name: &str| field.as_deref() == Some(account.text(name));
        Some(order.out_trade_no.as_str()) == request::trade(call) && of(&order.mchid, "mchid") && of(&order.appid, "appid")
    };
    let order = answer.read::<Order>().filter(ours);
    order.and_then(|order| said(call, &order)).unwrap_or_else(|| unknown(CallClass::FailHard))
}

fn said(call: &Call, order: &Order) -> Option<Reply> {
    let trade = &order.out_trade_no;
    Some(match OrderState::of(&order.trade_state)? {
        OrderState::Paid => told(News::of(Fact::Approved).with_money(order.money()?).with_reference(trade)),
        // Its code went with an answer that was lost, so nobody can pay it; but it must be closed before it is given up.
        OrderState::Unpaid if call.pay_reference.is_none() => Reply::Unpaid { reference: trade.clone() },
        OrderState::Unpaid | OrderState::Paying => told(News::of(Fact::ActionRequired).with_reference(trade)),
        OrderState::Taken => told(News::of(Fact::Accepted).with_reference(trade)),
        OrderState::Closed => told(object::closed(trade)),
        OrderState::Failed => {
            let why = Failure::new(FailureCode::CardDeclined, Some(&order.trade_state), "the payment failed at WeChat Pay");
            told(News::declined(why).with_reference(trade))
        }
    })
}

/// Confirmed by an empty answer. Whatever else: a query will say.
fn closed(call: &Call, answer: &Answer<'_>) -> Reply {
    match answer {
        Answer::Empty => told(object::closed(&call.key)),
        Answer::Done(_) => unknown(CallClass::FailHard),
        _ => unknown(answer.class()),
    }
}

fn refunded(call: &Call, answer: &Answer<'_>) -> Reply {
    match answer {
        Answer::Done(_) => refund(call, answer),
        Answer::Refused(refusal) => match codes::refund(&refusal.code) {
            Verdict::Later => told(News { failure: Some(refusal.failure(FailureCode::NotSent)), ..News::of(Fact::NotSent) }),
            Verdict::Declined(code) => told(News::declined(refusal.failure(code))),
            // Of a reversal a query must say whether an earlier call has carried it out.
            Verdict::NotByThisCall(code) if !call.repeat && call.verb == Verb::Refund => told(News::declined(refusal.failure(code))),
            Verdict::NotByThisCall(_) | Verdict::Unknown => unknown(CallClass::Success),
        },
        _ => not_executed(answer),
    }
}

fn refund_queried(call: &Call, answer: &Answer<'_>) -> Reply {
    match answer {
        Answer::Done(_) => refund(call, answer),
        Answer::Refused(refusal) if codes::is_not_there(&refusal.code) => Reply::NotFound,
        _ => unknown(answer.class()),
    }
}

/// A refund as it stands.
fn refund(call: &Call, answer: &Answer<'_>) -> Reply {
    let ours = |refund: &Refund| refund.out_refund_no == call.key && Some(refund.out_trade_no.as_str()) == request::trade(call);
    let news = answer.read::<Refund>().filter(ours).and_then(|refund| refund.news());
    news.map_or_else(|| unknown(CallClass::FailHard), told)
}

/// The answer to an act that was not executed, or may have been.
fn not_executed(answer: &Answer<'_>) -> Reply {
    match answer {
        Answer::TurnedAway(refusal) => {
            let why = refusal.failure(FailureCode::NotSent);
            news(News { failure: Some(why), ..News::of(Fact::NotSent) }, answer.class())
        }
        Answer::TooMany => news(News::not_sent("WeChat Pay asks for fewer calls"), answer.class()),
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

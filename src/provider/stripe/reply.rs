//! What Stripe's answers mean: the table in the module's essay, as code.
//!
//! An answer is first sorted by what it says of the *request* ([`Answer`]), then read by what was asked. Nothing is approved, declined or
//! closed unless a complete object said so, and the object is the one that was asked about.

use serde::de::DeserializeOwned;

use crate::domain::{CallClass, Fact, Failure, FailureCode, News};
use crate::provider::{Call, HttpResponse, Reply, Verb};

use super::object::{ErrorBody, ErrorReply, Intent, Page, Reading, RefundObject};
use super::{codes, request};

/// What the answer to a call means.
pub(super) fn reply(call: &Call, response: &HttpResponse) -> Reply {
    let answer = Answer::of(response);
    let named = request::intent_id(call);
    match (call.verb, named) {
        (Verb::Pay, None) => created(call, &answer),
        (Verb::Query | Verb::Close, None) => searched(call, &answer),
        (Verb::QueryRefund, _) => refund_queried(call, &answer),
        // Nothing was asked of the channel but to look for the intent: see `request::refuses`.
        (Verb::Capture | Verb::Void | Verb::Reverse | Verb::Refund, None) => looked(&answer),
        (Verb::Pay, Some(id)) => confirmed(id, &answer),
        (Verb::Query, Some(id)) => queried(id, &answer),
        (Verb::Close, Some(id)) => closed(id, &answer),
        (Verb::Capture, Some(id)) => captured(call, id, &answer),
        (Verb::Void, Some(id)) => released(id, &answer),
        (Verb::Reverse, Some(id)) if call.held => released(id, &answer),
        (Verb::Reverse, Some(id)) => given_back(id, &answer),
        (Verb::Refund, Some(id)) => refunded(id, &answer),
    }
}

/// An answer, sorted by what it says of the request.
enum Answer<'a> {
    /// 200: the object follows.
    Done(&'a [u8]),
    /// 400, 402, 404: Stripe read the request and says no.
    Refused(Refusal, ErrorBody),
    /// 401, 403: not with this key.
    NotAllowed,
    /// 409, or a lock: another request is at work on the same key or object.
    Busy(CallClass),
    /// 429: not executed.
    TooMany,
    /// 5xx, 424: it may have been executed.
    Broken,
    /// None of Stripe's documented answers.
    Malformed,
}

/// Why Stripe says no.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The bank would not.
    Card,
    /// The intent is in another state: it has moved on.
    WrongState,
    /// The request is not a right one.
    Request,
    /// There is no such thing.
    Missing,
    /// Not one of the documented ways to say that nothing was executed.
    Unclear,
}

impl<'a> Answer<'a> {
    fn of(response: &'a HttpResponse) -> Self {
        let error = || serde_json::from_slice::<ErrorReply>(&response.body).ok().map(|reply| reply.error).filter(|error| !error.kind.is_empty());
        match response.status {
            200 => Self::Done(&response.body),
            429 if error().is_some_and(|error| error.code.as_deref() == Some("lock_timeout")) => Self::Busy(CallClass::RateLimited),
            429 => Self::TooMany,
            424 | 500..=599 => Self::Broken,
            status @ (400..=404 | 409) => match error() {
                None => Self::Malformed,
                Some(_) if matches!(status, 401 | 403) => Self::NotAllowed,
                Some(_) if status == 409 => Self::Busy(CallClass::Success),
                Some(error) => Self::Refused(Refusal::of(status, &error), error),
            },
            _ => Self::Malformed,
        }
    }

    /// The object that it carries.
    fn object<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
        serde_json::from_slice(body).ok()
    }

    /// What it says of the channel's health.
    fn class(&self) -> CallClass {
        match self {
            Self::Done(_) | Self::Refused(..) => CallClass::Success,
            Self::Busy(class) => *class,
            Self::TooMany => CallClass::RateLimited,
            Self::NotAllowed | Self::Broken => CallClass::FailSoft,
            Self::Malformed => CallClass::FailHard,
        }
    }
}

impl Refusal {
    fn of(status: u16, error: &ErrorBody) -> Self {
        match (status, error.kind.as_str(), error.code.as_deref()) {
            (402, "card_error", _) => Self::Card,
            (400, "invalid_request_error", Some("payment_intent_unexpected_state")) => Self::WrongState,
            (400, "invalid_request_error", _) => Self::Request,
            (404, "invalid_request_error", _) => Self::Missing,
            _ => Self::Unclear,
        }
    }
}

/// The first step. Nothing can be charged by it, whatever became of it: what it does not say is not sent, never unknown.
fn created(call: &Call, answer: &Answer<'_>) -> Reply {
    match answer {
        Answer::Done(body) => match Answer::object::<Intent>(body) {
            // An intent for another amount is never confirmed.
            Some(intent) if intent.is_named() && intent.money() == Some(call.money) => Reply::Step { reference: intent.id },
            _ => news(News::not_sent("Stripe's answer to the first step could not be read; nothing was charged"), CallClass::FailHard),
        },
        Answer::Refused(Refusal::Card, error) => told(News::declined(codes::declined(error))),
        Answer::Refused(_, error) => told(News::declined(codes::rejected(error))),
        Answer::Busy(class) => news(News::not_sent("Stripe was busy with the first step; nothing was charged"), *class),
        Answer::Broken | Answer::Malformed => news(News::not_sent("Stripe failed at the first step; nothing was charged"), answer.class()),
        Answer::NotAllowed | Answer::TooMany => not_executed(answer),
    }
}

/// The step that moves money.
fn confirmed(id: &str, answer: &Answer<'_>) -> Reply {
    match answer {
        Answer::Done(body) => act_on(id, Answer::object(body)),
        Answer::Refused(Refusal::WrongState, error) => known_state(id, error),
        Answer::Refused(Refusal::Unclear, _) => unknown(CallClass::Success),
        Answer::Refused(_, error) if intent_shows(error, Intent::is_moving) => unknown(CallClass::Success),
        Answer::Refused(refusal, error) => told(News::declined(reason(*refusal, error)).with_reference(id)),
        _ => not_executed(answer),
    }
}

fn queried(id: &str, answer: &Answer<'_>) -> Reply {
    match answer {
        Answer::Done(body) => match Answer::object::<Intent>(body).filter(|intent| intent.id == id) {
            Some(intent) => look_at(&intent),
            None => unknown(CallClass::FailHard),
        },
        // Stripe never deletes an intent: one whose name it gave us and does not find means that the key belongs to another account now.
        // That says nothing about the money.
        Answer::Refused(Refusal::Missing, _) => unknown(CallClass::FailSoft),
        _ => looked(answer),
    }
}

/// A search by our key, when Stripe's name is not known. Of several intents (the first step repeated after its key had been forgotten) the one
/// that knows most of money speaks; the others can never be confirmed, because their names were never on disk.
fn searched(call: &Call, answer: &Answer<'_>) -> Reply {
    let Answer::Done(body) = answer else { return looked(answer) };
    let Some(page) = Answer::object::<Page<Intent>>(body) else { return unknown(CallClass::FailHard) };
    let ours = |intent: &Intent| intent.metadata.as_ref().and_then(|metadata| metadata.attempt.as_deref()) == Some(call.key.as_str());
    if !page.data.iter().all(ours) {
        return unknown(CallClass::FailHard);
    }
    match page.data.iter().max_by_key(|intent| weight(&intent.read())) {
        Some(intent) => look_at(intent),
        None if page.has_more => unknown(CallClass::FailHard),
        None => Reply::NotFound,
    }
}

/// A page of intents, or what the exchange says of the channel's health.
pub(super) fn listed(response: &HttpResponse) -> Result<Page<Intent>, CallClass> {
    match Answer::of(response) {
        Answer::Done(body) => Answer::object(body).ok_or(CallClass::FailHard),
        answer => Err(answer.class()),
    }
}

/// How much a reading must be heard among others: what is not understood may be anything.
fn weight(reading: &Reading) -> u8 {
    match reading {
        Reading::News(news) => match news.fact {
            Fact::Approved => 7,
            Fact::Authorized => 6,
            Fact::Accepted => 4,
            Fact::ActionRequired => 3,
            Fact::Declined => 1,
            _ => 0,
        },
        Reading::Unclear => 5,
        Reading::Unpaid => 2,
    }
}

fn closed(id: &str, answer: &Answer<'_>) -> Reply {
    match answer {
        Answer::Done(body) => act_on(id, Answer::object(body)),
        Answer::Refused(Refusal::WrongState, error) => known_state(id, error),
        _ => looked(answer),
    }
}

/// A capture. Only one that took what was asked for is ours; another amount was taken by somebody else, and the intent has the truth.
fn captured(call: &Call, id: &str, answer: &Answer<'_>) -> Reply {
    let read = |intent: &Intent| match intent.read() {
        Reading::News(heard) => match heard.fact {
            Fact::Approved if heard.captured.is_none_or(|taken| taken == call.money.amount) => told(heard),
            Fact::Accepted | Fact::Closed => told(heard),
            _ => told(News { captured: heard.captured, ..News::unknown() }.with_reference(id)),
        },
        Reading::Unpaid => unknown(CallClass::Success),
        Reading::Unclear => unknown(CallClass::FailHard),
    };
    match answer {
        Answer::Done(body) => {
            Answer::object::<Intent>(body).filter(|intent| intent.id == id).map_or_else(|| unknown(CallClass::FailHard), |intent| read(&intent))
        }
        Answer::Refused(Refusal::WrongState, error) => shown(id, error).map_or_else(|| unknown(CallClass::Success), read),
        _ => carried_out(answer),
    }
}

/// The cancel of a hold: a void, or the reversal of money that is only held. Neither speaks of an amount: it is whatever was held.
fn released(id: &str, answer: &Answer<'_>) -> Reply {
    let done = || told(News::of(Fact::Approved).with_reference(id));
    match answer {
        Answer::Done(body) => match Answer::object::<Intent>(body).filter(|intent| intent.id == id) {
            Some(intent) if intent.status == "canceled" => done(),
            Some(_) => unknown(CallClass::Success),
            None => unknown(CallClass::FailHard),
        },
        Answer::Refused(Refusal::WrongState, error) => match shown(id, error).map(|intent| intent.status.as_str()) {
            Some("canceled") => done(),
            Some("succeeded") => told(News::declined(codes::rejected(error))),
            _ => unknown(CallClass::Success),
        },
        _ => carried_out(answer),
    }
}

/// The reversal of money that was taken: a refund of all that is left, whatever its amount is.
fn given_back(id: &str, answer: &Answer<'_>) -> Reply {
    if let Answer::Refused(_, error) = answer
        && error.code.as_deref() == Some("charge_already_refunded")
    {
        return told(News::of(Fact::Approved));
    }
    match refunded(id, answer) {
        Reply::News { news: heard, class } => news(News { money: None, ..heard }, class),
        other => other,
    }
}

fn refunded(id: &str, answer: &Answer<'_>) -> Reply {
    match answer {
        Answer::Done(body) => refund_told(Answer::object(body), id),
        // Our balance is too low: nothing was given back, and the refund waits for money to come in.
        Answer::Refused(_, error) if error.code.as_deref() == Some("balance_insufficient") => {
            let why = Failure::new(FailureCode::NotSent, Some("balance_insufficient"), error.message());
            told(News { failure: Some(why), ..News::of(Fact::NotSent) })
        }
        Answer::Refused(Refusal::Card | Refusal::Request | Refusal::Missing, error) => told(News::declined(codes::refund_refused(error))),
        _ => carried_out(answer),
    }
}

fn refund_queried(call: &Call, answer: &Answer<'_>) -> Reply {
    let Answer::Done(body) = answer else {
        return match answer {
            Answer::Refused(Refusal::Missing, _) => Reply::NotFound,
            _ => looked(answer),
        };
    };
    if let Some(reference) = request::refund_id(call) {
        let refund = Answer::object::<RefundObject>(body).filter(|refund| refund.id == reference);
        return refund.and_then(|refund| refund.read(request::intent_id(call))).map_or_else(|| unknown(CallClass::FailHard), told);
    }
    let Some(id) = request::intent_id(call) else { return unknown(CallClass::Success) };
    let Some(page) = Answer::object::<Page<RefundObject>>(body) else { return unknown(CallClass::FailHard) };
    let ours = |refund: &RefundObject| refund.metadata.as_ref().and_then(|metadata| metadata.attempt.as_deref()) == Some(call.key.as_str());
    match page.data.into_iter().find(ours) {
        Some(refund) => refund_told(Some(refund), id),
        // More than a page of refunds: that it is not on the first says nothing.
        None if page.has_more => unknown(CallClass::Success),
        None => Reply::NotFound,
    }
}

fn refund_told(refund: Option<RefundObject>, id: &str) -> Reply {
    refund.and_then(|refund| refund.read(Some(id))).map_or_else(|| unknown(CallClass::FailHard), told)
}

/// The intent that came back from a confirm or a close. One that could still be paid is not an end: a query will say so.
fn act_on(id: &str, intent: Option<Intent>) -> Reply {
    match intent.filter(|intent| intent.id == id).map_or(Reading::Unclear, |intent| intent.read()) {
        Reading::News(heard) => told(heard),
        Reading::Unpaid => unknown(CallClass::Success),
        Reading::Unclear => unknown(CallClass::FailHard),
    }
}

/// The intent that a query found.
fn look_at(intent: &Intent) -> Reply {
    match intent.read() {
        Reading::News(heard) => told(heard),
        Reading::Unpaid => Reply::Unpaid { reference: intent.id.clone() },
        Reading::Unclear => unknown(CallClass::FailHard),
    }
}

/// The intent has moved on: its state is in the error, or a query must say.
fn known_state(id: &str, error: &ErrorBody) -> Reply {
    match shown(id, error).map(Intent::read) {
        Some(Reading::News(heard)) => told(heard),
        _ => unknown(CallClass::Success),
    }
}

/// The intent in an error, if it is the one that was asked about.
fn shown<'a>(id: &str, error: &'a ErrorBody) -> Option<&'a Intent> {
    error.payment_intent.as_deref().filter(|intent| intent.id == id)
}

/// Whether the intent in a refusal shows the opposite of what the refusal says.
fn intent_shows(error: &ErrorBody, opposite: fn(&Intent) -> bool) -> bool {
    error.payment_intent.as_deref().is_some_and(opposite)
}

fn reason(refusal: Refusal, error: &ErrorBody) -> Failure {
    if refusal == Refusal::Card { codes::declined(error) } else { codes::rejected(error) }
}

/// The answer to an act with an attempt of its own (capture, void, reversal, refund), where it was not carried out.
fn carried_out(answer: &Answer<'_>) -> Reply {
    match answer {
        Answer::Refused(Refusal::Card | Refusal::Request | Refusal::Missing, error) if intent_shows(error, Intent::is_taken) => {
            unknown(CallClass::Success)
        }
        Answer::Refused(refusal @ (Refusal::Card | Refusal::Request | Refusal::Missing), error) => told(News::declined(reason(*refusal, error))),
        _ => not_executed(answer),
    }
}

/// Not sent where Stripe documents that it did not execute the request; unknown otherwise.
fn not_executed(answer: &Answer<'_>) -> Reply {
    match answer {
        Answer::TooMany => news(News::not_sent("Stripe asked for fewer requests"), answer.class()),
        Answer::NotAllowed => {
            let why = Failure::new(FailureCode::ChannelRejected, None, "Stripe does not accept the channel's key for this");
            news(News { failure: Some(why), ..News::of(Fact::NotSent) }, answer.class())
        }
        _ => unknown(answer.class()),
    }
}

/// A look (or a close, which speaks of the pay attempt) that told nothing.
fn looked(answer: &Answer<'_>) -> Reply {
    unknown(answer.class())
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

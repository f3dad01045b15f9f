//! What an answer means. It is believed only when it can be read whole, is of the type that answers what was sent, and names the same message:
//! STAN, transmission time, terminal and merchant, and the retrieval reference where it repeats one. Everything else is unknown, which for a payment
//! or refund means that it is undone.

use super::bank::Bank;
use super::codec::{Message, read};
use super::codes::{Verdict, sentence, verdict};
use super::message;
use crate::domain::{CallClass, CaptureMethod, Fact, Failure, FailureCode, Money, News};
use crate::provider::{Call, Reply, Verb};

/// What the answer to `call` means.
pub(super) fn reply(call: &Call, bytes: &[u8], bank: &Bank) -> Reply {
    let Some((sent, answer)) = message::message(call, bank).zip(read(bytes, bank.profile).ok()) else { return nobody_knows() };
    let Some(code) = answer.get(39).filter(|_| answers(&answer, &sent)) else { return nobody_knows() };
    let (verdict, class) = verdict(code);
    let news = match call.verb {
        Verb::Void | Verb::Reverse => undone(verdict, code),
        _ => carried_out(call, verdict, code, &answer),
    };
    Reply::News { news, class }
}

fn nobody_knows() -> Reply {
    Reply::News { news: News::unknown(), class: CallClass::FailHard }
}

/// Whether `answer` is the answer to what was `sent`.
fn answers(answer: &Message, sent: &Message) -> bool {
    let same = |number| answer.get(number) == sent.get(number);
    let same_or_silent = |number| answer.get(number).is_none() || same(number);
    is_answer_of(&answer.mti, &sent.mti) && same(11) && same(7) && [37, 41, 42].into_iter().all(same_or_silent)
}

/// Whether a message of type `answer` answers one of type `sent`: its third digit is one higher, and the last says nothing (some hosts answer a
/// repeat 0421 with 0431 and not with 0430).
pub(super) fn is_answer_of(answer: &str, sent: &str) -> bool {
    let (Ok(answer), Ok(sent)) = (answer.parse::<u16>(), sent.parse::<u16>()) else { return false };
    answer / 10 == sent / 10 + 1
}

fn failure(verdict: Verdict, code: FailureCode, channel_code: &str) -> Failure {
    Failure::new(code, Some(channel_code), sentence(verdict))
}

/// Pay, capture, refund.
fn carried_out(call: &Call, verdict: Verdict, code: &str, answer: &Message) -> News {
    let done = if call.verb == Verb::Pay && call.capture_method == CaptureMethod::Manual { Fact::Authorized } else { Fact::Approved };
    let Ok(money) = money(call, answer) else { return News::unknown() };
    // A capture's answer repeats what it took, which may be a part of the payment's amount: its own amount says nothing new.
    let money = money.filter(|money| call.verb != Verb::Capture || *money != call.money);
    let reference = answer.get(37).map(|retrieval| message::reference(retrieval, answer.get(38)));
    let news = match verdict {
        Verdict::Approved => News { money, ..News::of(done) },
        // A part is only a part when the answer says how much; one that repeats our amount, or says none, contradicts itself.
        Verdict::Partly if money.is_some_and(|money| money.amount < call.money.amount) => News { money, ..News::of(done) },
        Verdict::Partly | Verdict::Unknown => News::unknown(),
        Verdict::NotNow => News { failure: Some(failure(verdict, FailureCode::NotSent, code)), ..News::of(Fact::NotSent) },
        Verdict::Declined(why) => News::declined(failure(verdict, meant(call.verb, why), code)),
        // A capture or refund of what the bank does not have; a payment is about nothing, so there it contradicts itself.
        Verdict::OriginalNotFound if call.verb == Verb::Pay => News::unknown(),
        Verdict::OriginalNotFound => News::declined(failure(verdict, meant(call.verb, FailureCode::ChannelRejected), code)),
    };
    News { reference, ..news }
}

/// What a decline is called: of a refund it is the refund that failed, whatever the card's part in it.
fn meant(verb: Verb, why: FailureCode) -> FailureCode {
    match (verb, why) {
        (Verb::Refund, FailureCode::RefundExceedsChannel) => FailureCode::RefundExceedsChannel,
        (Verb::Refund, _) => FailureCode::RefundFailed,
        (_, FailureCode::RefundExceedsChannel) => FailureCode::ChannelRejected,
        (_, why) => why,
    }
}

/// Void, reversal: 00 means undone, and 25 that there is nothing to undo. Anything else leaves it as it was, or nobody knows how.
fn undone(verdict: Verdict, code: &str) -> News {
    match verdict {
        Verdict::Approved | Verdict::OriginalNotFound => News::of(Fact::Approved),
        Verdict::Declined(_) => News::declined(failure(verdict, FailureCode::ChannelRejected, code)),
        Verdict::NotNow => News { failure: Some(failure(verdict, FailureCode::NotSent, code)), ..News::of(Fact::NotSent) },
        // Undone in part is not undone.
        Verdict::Partly | Verdict::Unknown => News::unknown(),
    }
}

/// The amount on the bank's books, where the answer says one; an error where it says one in a currency that is none.
fn money(call: &Call, answer: &Message) -> Result<Option<Money>, ()> {
    let Some(amount) = answer.get(4) else { return Ok(None) };
    let amount = amount.parse().map_err(|_| ())?;
    let currency = match answer.get(49) {
        None => call.money.currency,
        Some(number) => message::currency(number).ok_or(())?,
    };
    Ok(Some(Money { amount, currency }))
}

//! What is sent: a call as a message. Everything that a message is known by comes from the attempt's key, so that a repeat says the same.
//!
//! | call | message | field 3 | 37 | 90 |
//! |---|---|---|---|---|
//! | pay, automatic | 0200 | 00 0000 | its own | |
//! | pay, manual | 0100 | 00 0000 | its own | |
//! | capture | 0220, again 0221 | 00 0000 | the hold's | the hold's |
//! | void, reversal | 0420, again 0421 (or 0400, 0401) | the original's | the original's | the original's |
//! | refund | 0200 | 20 0000 | its own | the payment's |
//!
//! The vectors and two banks' handbooks agree on 37 of a reversal; on field 90 of captures and refunds handbooks differ, and a bank that
//! does not want it ignores it, while one that does cannot do without.

use secrecy::ExposeSecret;

use super::bank::Bank;
use super::codec::Message;
use super::key::Key;
use crate::domain::{CaptureMethod, Currency, Failure, FailureCode, Operation, PaymentMethod};
use crate::provider::{Call, Verb};

/// Field 39 of a request that undoes: no answer came in time; the customer does not want it any more.
const TOO_LATE: &str = "68";
const CANCELED: &str = "17";

/// Why a call cannot be made.
pub(super) fn refuses(call: &Call) -> Option<Failure> {
    let no = |code, sentence: &str| Some(Failure::new(code, None, sentence));
    if matches!(call.verb, Verb::Query | Verb::QueryRefund | Verb::Close) {
        return no(FailureCode::NotPermitted, "a bank cannot be asked what became of a message: it is undone instead");
    }
    if !matches!(call.method, PaymentMethod::Card { .. }) {
        return no(FailureCode::NotPermitted, "a bank takes a card's number and nothing else");
    }
    if Key::parse(&call.key).is_none() {
        return no(FailureCode::ChannelRejected, "the attempt has no number that a bank would know it by");
    }
    if original(call).is_some_and(|key| Key::parse(key).is_none()) {
        return no(FailureCode::ChannelRejected, "what this is about has no number that a bank would know it by");
    }
    if number(call.money.currency).is_none() || !(1..=999_999_999_999).contains(&call.money.amount) {
        return no(FailureCode::ChannelRejected, "the amount cannot be written in twelve digits of a currency with a number");
    }
    // What takes money away must name the card; what gives up or undoes names the original, and must go out even when the number was erased.
    if matches!(call.verb, Verb::Pay | Verb::Refund) && call.card.is_none() {
        return no(FailureCode::InvalidCard, "the card's number is not here any more");
    }
    None
}

/// The message of a call, or `None` when there is none: see [`refuses`].
pub(super) fn message(call: &Call, bank: &Bank) -> Option<Message> {
    if refuses(call).is_some() {
        return None;
    }
    let key = Key::parse(&call.key)?;
    let about = match original(call) {
        Some(text) => Some(Key::parse(text)?),
        None => None,
    };
    let undoing = matches!(call.verb, Verb::Void | Verb::Reverse);
    let retrieval = match &about {
        Some(original) if undoing || call.verb == Verb::Capture => &original.retrieval,
        _ => &key.retrieval,
    };
    let (local_time, local_date) = key.local(bank.local);
    let card = call.card.as_ref();
    let approval = call.pay_reference.as_deref().filter(|_| matches!(call.verb, Verb::Capture | Verb::Refund)).and_then(approval_code);
    let message = Message::new(&mti(call, bank))
        .with_some(2, card.map(|card| card.number.expose_secret()))
        .with(3, if call.verb == Verb::Refund || undoes_refund(call) { "200000" } else { "000000" })
        .with(4, format!("{:012}", call.money.amount))
        .with(7, key.transmitted(bank.transmission))
        .with(11, &key.stan)
        .with(12, local_time)
        .with(13, local_date)
        .with_some(14, card.filter(|_| !undoing).map(|card| format!("{:02}{:02}", card.exp_year % 100, card.exp_month)))
        .with_some(18, bank.category.as_deref())
        .with_some(22, (!undoing).then_some(bank.entry_mode.as_str()))
        .with(32, &bank.acquirer)
        .with(37, retrieval)
        .with_some(38, approval)
        .with_some(39, undoing.then_some(if call.verb == Verb::Void { CANCELED } else { TOO_LATE }))
        .with(41, &bank.terminal)
        .with(42, &bank.merchant)
        .with(49, number(call.money.currency)?)
        .with_some(90, about.map(|original| original_data(call, &original, bank)));
    Some(message)
}

/// The message's type.
fn mti(call: &Call, bank: &Bank) -> String {
    let (class, function) = match call.verb {
        Verb::Pay if call.capture_method == CaptureMethod::Manual => ('1', '0'),
        Verb::Capture => ('2', '2'),
        Verb::Void | Verb::Reverse => ('4', bank.reversal),
        _ => ('2', '0'),
    };
    // Only what may be repeated at all is marked as a repeat: a payment or refund is never sent twice.
    let again = call.repeat && matches!(call.verb, Verb::Capture | Verb::Void | Verb::Reverse);
    format!("0{class}{function}{}", u8::from(again))
}

/// Field 90: how the original introduced itself.
fn original_data(call: &Call, original: &Key, bank: &Bank) -> String {
    let held = call.capture_method == CaptureMethod::Manual && !undoes_refund(call);
    let mti = if held { "0100" } else { "0200" };
    format!("{mti}{}{}{:0>11}{:011}", original.stan, original.transmitted(bank.transmission), bank.acquirer, 0)
}

/// The key of what a call is about, where it is about something.
fn original(call: &Call) -> Option<&str> {
    match call.verb {
        Verb::Pay | Verb::Query | Verb::QueryRefund | Verb::Close => None,
        // A reversal without one is no reversal: an empty key is refused.
        Verb::Reverse => Some(call.undoes.as_ref().map_or("", |undone| undone.key.as_str())),
        Verb::Capture | Verb::Void | Verb::Refund => Some(call.pay_key.as_deref().unwrap_or_default()),
    }
}

fn undoes_refund(call: &Call) -> bool {
    call.verb == Verb::Reverse && call.undoes.as_ref().is_some_and(|undone| undone.operation == Operation::Refund)
}

/// The bank's name for a payment, as we keep it: the retrieval reference, and the approval code where it gave one.
pub(super) fn reference(retrieval: &str, approval: Option<&str>) -> String {
    match approval.map(str::trim).filter(|code| !code.is_empty()) {
        Some(code) => format!("{retrieval}/{code}"),
        None => retrieval.to_owned(),
    }
}

/// The approval code in a [`reference`], as wide as its field.
fn approval_code(reference: &str) -> Option<String> {
    reference.split_once('/').map(|(_, code)| format!("{code:<6}")).filter(|code| code.len() == 6)
}

/// Field 49: three digits.
pub(super) fn number(currency: Currency) -> Option<String> {
    iso_currency::Currency::from_code(currency.code()).map(|iso| format!("{:03}", iso.numeric()))
}

/// The currency of field 49.
pub(super) fn currency(number: &str) -> Option<Currency> {
    iso_currency::Currency::from_numeric(number.parse().ok()?).and_then(|iso| Currency::parse(iso.code()))
}

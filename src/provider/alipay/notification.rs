//! Alipay's notices: a signed form, believed only when signed by Alipay, and for this application and seller.
//! <https://opendocs.alipay.com/open/194/103296>
//!
//! A notice carries no time that could be checked against a clock: it is sent again for a day with the same `notify_id`. A copy that somebody else
//! sends tells nothing but what Alipay said, and facts commute.
//!
//! A refund has notices too, partial ones with `TRADE_SUCCESS`, the last one with `TRADE_CLOSED`. They are told from the payment's own by
//! `gmt_refund` and `refund_fee`, and speak of the refund whose number is `out_biz_no`: a closed trade that was refunded is no failed payment.

use crate::domain::{External, Fact, Failure, FailureCode, News};
use crate::provider::{Credentials, Notification, NotificationError};

use super::amount;
use super::signing::{self, Parameters};

/// The longest name (of a notice, an attempt, a payment) that is taken over.
const NAME_MAX: usize = 255;

/// Verifies a notice's signature, and that it is for us.
pub(super) fn verify(body: &[u8], credentials: &Credentials) -> Result<(), NotificationError> {
    let parameters = signing::decoded(body).ok_or(NotificationError::Malformed)?;
    let sign = parameters.get("sign").ok_or(NotificationError::Unsigned)?;
    let rsa2 = parameters.get("sign_type").is_none_or(|kind| kind == "RSA2");
    let key = credentials.account.public_key("alipay_public_key").filter(|_| rsa2).ok_or(NotificationError::Unsigned)?;
    let content = signing::content(&parameters, &["sign", "sign_type"]);
    if !signing::verifies(content.as_bytes(), sign, key) {
        return Err(NotificationError::BadSignature);
    }
    // One key of Alipay's signs for every merchant: a notice for somebody else is genuine, and not ours.
    let ours = |name: &str| parameters.get(name).is_some_and(|value| value == credentials.account.text(name));
    if ours("app_id") && ours("seller_id") { Ok(()) } else { Err(NotificationError::BadSignature) }
}

/// What a notice says, and of which attempt.
#[derive(Default)]
struct Told {
    attempt: Option<String>,
    news: Option<News>,
    external: Option<External>,
}

/// Reads a notice's bytes.
pub(super) fn read(body: &[u8]) -> Result<Notification, NotificationError> {
    let parameters = signing::decoded(body).ok_or(NotificationError::Malformed)?;
    let text = |name: &str| parameters.get(name).map(String::as_str).filter(|text| !text.is_empty() && text.len() <= NAME_MAX);
    let status = text("trade_status").ok_or(NotificationError::Malformed)?;
    let trade = text("out_trade_no").ok_or(NotificationError::Malformed)?;
    let Told { attempt, news, external } =
        if is_of_a_refund(&parameters)? { of_a_refund(&parameters, trade) } else { of_the_trade(&parameters, status, trade)? };
    Ok(Notification {
        event_id: text("notify_id").ok_or(NotificationError::Malformed)?.to_owned(),
        kind: status.to_owned(),
        attempt_key: attempt,
        payment: text("passback_params").map(str::to_owned),
        pay_reference: Some(trade.to_owned()),
        news,
        external,
    })
}

fn field<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.get(name).map(String::as_str).filter(|text| !text.is_empty())
}

fn is_of_a_refund(parameters: &Parameters) -> Result<bool, NotificationError> {
    match field(parameters, "refund_fee").map(amount::fen) {
        Some(None) => Err(NotificationError::Malformed),
        Some(Some(fen)) => Ok(fen > 0),
        None => Ok(field(parameters, "gmt_refund").is_some()),
    }
}

/// `refund_fee` is the sum of all refunds so far, so a notice tells *that* a refund was done, and how much it was only where it is the first and
/// gave back everything. Of another that is not ours Alipay is asked, by its number.
fn of_a_refund(parameters: &Parameters, trade: &str) -> Told {
    let number = field(parameters, "out_biz_no").filter(|number| number.len() <= NAME_MAX);
    match number {
        // A cancel of ours gave it back.
        Some(number) if number == trade => Told { attempt: Some(trade.to_owned()), ..Told::default() },
        Some(number) if is_ours(number) => {
            let news = News::of(Fact::Approved).with_reference(number);
            Told { attempt: Some(number.to_owned()), news: Some(news), external: None }
        }
        Some(number) => Told { external: Some(External::RefundToMeasure { reference: number.to_owned() }), ..Told::default() },
        None => {
            let sum = field(parameters, "refund_fee").and_then(amount::incoming);
            let whole = field(parameters, "total_amount").and_then(amount::incoming);
            let reference = field(parameters, "trade_no").unwrap_or(trade);
            let external = sum.filter(|_| sum == whole).map(|money| External::Refund { reference: reference.to_owned(), money });
            // A part without a number: nobody can be asked about it. The flow finds no such attempt, and sets it aside for a person.
            let news = external.is_none().then(|| News::of(Fact::Approved));
            Told { attempt: None, news, external }
        }
    }
}

/// Whether a number is a key of ours: 32 lower-case hex digits.
fn is_ours(number: &str) -> bool {
    number.len() == 32 && number.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn of_the_trade(parameters: &Parameters, status: &str, trade: &str) -> Result<Told, NotificationError> {
    let news = match status {
        "TRADE_SUCCESS" | "TRADE_FINISHED" => {
            let money = field(parameters, "total_amount").and_then(amount::incoming).ok_or(NotificationError::Malformed)?;
            Some(News::of(Fact::Approved).with_money(money).with_reference(trade))
        }
        // Paid, and closed without a word of a refund: a query will tell.
        "TRADE_CLOSED" if field(parameters, "gmt_payment").is_some() => None,
        "TRADE_CLOSED" => {
            let why = Failure::new(FailureCode::Closed, None, "closed at the channel: it can no longer be paid");
            Some(News { failure: Some(why), ..News::of(Fact::Closed) }.with_reference(trade))
        }
        // WAIT_BUYER_PAY: the customer has begun, which is not news of the money.
        _ => None,
    };
    Ok(Told { attempt: Some(trade.to_owned()), news, external: None })
}

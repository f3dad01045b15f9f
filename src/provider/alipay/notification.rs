//! Alipay's notices: a signed form, believed only when signed by Alipay, and for this application and seller.
//! <https://opendocs.alipay.com/open/194/103296>
//!
//! A notice carries no time that could be checked against a clock: it is sent again for a day with the same `notify_id`. A copy that somebody else
//! sends tells nothing but what Alipay said, and facts commute.
//!
//! A refund has notices too, partial ones with `TRADE_SUCCESS`, the last one with `TRADE_CLOSED`. They are told from the payment's own by
//! `gmt_refund` and `refund_fee`, and speak of the refund whose number is `out_biz_no`: a closed trade that was refunded is no failed payment.

use crate::domain::{Fact, Failure, FailureCode, News};
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

/// Reads a notice's bytes.
pub(super) fn read(body: &[u8]) -> Result<Notification, NotificationError> {
    let parameters = signing::decoded(body).ok_or(NotificationError::Malformed)?;
    let text = |name: &str| parameters.get(name).map(String::as_str).filter(|text| !text.is_empty() && text.len() <= NAME_MAX);
    let status = text("trade_status").ok_or(NotificationError::Malformed)?;
    let (attempt, news) = said(&parameters, status, text("out_trade_no").ok_or(NotificationError::Malformed)?)?;
    Ok(Notification {
        event_id: text("notify_id").ok_or(NotificationError::Malformed)?.to_owned(),
        kind: status.to_owned(),
        attempt_key: Some(attempt),
        payment: text("passback_params").map(str::to_owned),
        news,
    })
}

/// Which attempt a notice is about, and what it says of it.
fn said(parameters: &Parameters, status: &str, trade: &str) -> Result<(String, Option<News>), NotificationError> {
    let field = |name: &str| parameters.get(name).map(String::as_str).filter(|text| !text.is_empty());
    let refunded = match field("refund_fee").map(amount::fen) {
        Some(None) => return Err(NotificationError::Malformed),
        Some(Some(fen)) => fen > 0,
        None => field("gmt_refund").is_some(),
    };
    if refunded {
        // `refund_fee` is the sum of all refunds so far. A refund under the trade's own number was made by a cancel.
        let number = field("out_biz_no").filter(|number| *number != trade && number.len() <= NAME_MAX);
        let news = number.map(|number| News::of(Fact::Approved).with_reference(number));
        return Ok((number.unwrap_or(trade).to_owned(), news));
    }
    let news = match status {
        "TRADE_SUCCESS" | "TRADE_FINISHED" => {
            let money = field("total_amount").and_then(amount::incoming).ok_or(NotificationError::Malformed)?;
            Some(News::of(Fact::Approved).with_money(money).with_reference(trade))
        }
        // Paid, and closed without a word of a refund: a query will tell.
        "TRADE_CLOSED" if field("gmt_payment").is_some() => None,
        "TRADE_CLOSED" => {
            let why = Failure::new(FailureCode::Closed, None, "closed at the channel: it can no longer be paid");
            Some(News { failure: Some(why), ..News::of(Fact::Closed) }.with_reference(trade))
        }
        // WAIT_BUYER_PAY: the customer has begun, which is not news of the money.
        _ => None,
    };
    Ok((trade.to_owned(), news))
}

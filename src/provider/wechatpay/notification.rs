//! WeChat Pay's notifications: JSON around a sealed object, signed in headers. <https://pay.weixin.qq.com/doc/v3/merchant/4012791861>
//!
//! The signature says that it is WeChat Pay's and fresh; that the account's APIv3 key opens it says that it is for us, because one platform key may
//! sign for many. What is inside is an order or a refund, as a query would show it. A refund's object does not carry our payment's id: it is found
//! by the order's number.
//!
//! It comes again for a day until it is acknowledged, under the same id, and even then it is not certain to come: outcomes are asked after, too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::domain::{External, Fact, News};
use crate::keys::SharedKey;
use crate::provider::{Account, Credentials, Notification, NotificationError};

use super::object::{self, Order, OrderState, Refund};
use super::signing::{self, Doubt};

/// The longest name (of a notification, an attempt, a payment) that is taken over.
const NAME_MAX: usize = 255;

/// The one cipher.
const CIPHER: &str = "AEAD_AES_256_GCM";

/// What stands around the sealed object.
#[derive(Debug, Deserialize)]
struct Envelope {
    id: String,
    event_type: String,
    resource: Resource,
}

#[derive(Debug, Deserialize)]
struct Resource {
    algorithm: String,
    ciphertext: String,
    nonce: String,
    #[serde(default)]
    associated_data: String,
}

/// Whose the sealed object is: all that is looked at before its kind is known.
#[derive(Debug, Deserialize)]
struct Owner {
    mchid: Option<String>,
}

/// Verifies that a notification is WeChat Pay's, of about now, and for this account.
pub(super) fn verify(headers: &http::HeaderMap, body: &[u8], credentials: &Credentials, now: Timestamp) -> Result<(), NotificationError> {
    signing::verify(headers, body, &credentials.account, now).map_err(|doubt| match doubt {
        Doubt::Unsigned => NotificationError::Unsigned,
        Doubt::Forged => NotificationError::BadSignature,
        Doubt::Stale => NotificationError::Stale,
    })?;
    let owner: Owner = inside(&envelope(body)?, &credentials.account)?;
    // It is ours when our key opens it, and names us where it names anybody.
    let ours = owner.mchid.is_none_or(|mchid| mchid == credentials.account.text("mchid"));
    if ours { Ok(()) } else { Err(NotificationError::BadSignature) }
}

/// Reads a notification's bytes.
pub(super) fn read(body: &[u8], credentials: &Credentials) -> Result<Notification, NotificationError> {
    let envelope = envelope(body)?;
    let about = Notification {
        event_id: envelope.id.clone(),
        kind: envelope.event_type.clone(),
        attempt_key: None,
        payment: None,
        pay_reference: None,
        news: None,
        external: None,
    };
    match envelope.event_type.split('.').next() {
        Some("TRANSACTION") => of_the_order(about, inside(&envelope, &credentials.account)?),
        Some("REFUND") => of_a_refund(about, inside(&envelope, &credentials.account)?),
        // Of nothing that is carried here.
        _ => Ok(about),
    }
}

fn envelope(body: &[u8]) -> Result<Envelope, NotificationError> {
    let envelope: Envelope = serde_json::from_slice(body).map_err(|_| NotificationError::Malformed)?;
    let named = is_name(&envelope.id) && is_name(&envelope.event_type);
    if named && envelope.resource.algorithm == CIPHER { Ok(envelope) } else { Err(NotificationError::Malformed) }
}

fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
}

/// The sealed object, opened and read.
fn inside<T: DeserializeOwned>(envelope: &Envelope, account: &Account) -> Result<T, NotificationError> {
    let resource = &envelope.resource;
    let key = account.secret("apiv3_key").and_then(|key| SharedKey::new(key.as_bytes()));
    let sealed = BASE64.decode(&resource.ciphertext).map_err(|_| NotificationError::Malformed)?;
    let opened = key.and_then(|key| key.open(resource.nonce.as_bytes(), resource.associated_data.as_bytes(), &sealed));
    serde_json::from_slice(&opened.ok_or(NotificationError::Malformed)?).map_err(|_| NotificationError::Malformed)
}

fn of_the_order(about: Notification, order: Order) -> Result<Notification, NotificationError> {
    let trade = Some(order.out_trade_no.clone()).filter(|number| is_name(number)).ok_or(NotificationError::Malformed)?;
    let news = match OrderState::of(&order.trade_state) {
        Some(OrderState::Paid) => {
            let money = order.money().ok_or(NotificationError::Malformed)?;
            Some(News::of(Fact::Approved).with_money(money).with_reference(&trade))
        }
        Some(OrderState::Closed) => Some(object::closed(&trade)),
        // That the customer has begun is no news of the money; what is not documented, a query must say.
        _ => None,
    };
    let payment = order.attach.filter(|attach| is_name(attach));
    Ok(Notification { attempt_key: Some(trade.clone()), payment, pay_reference: Some(trade), news, ..about })
}

/// A refund under a number of ours is an attempt's; one under another was made in WeChat Pay's pages, and is adopted once it has arrived, and when it
/// did not in the end.
fn of_a_refund(about: Notification, refund: Refund) -> Result<Notification, NotificationError> {
    let trade = Some(refund.out_trade_no.clone()).filter(|number| is_name(number)).ok_or(NotificationError::Malformed)?;
    let about = Notification { pay_reference: Some(trade), ..about };
    let (news, money) = (refund.news().ok_or(NotificationError::Malformed)?, refund.money());
    if is_ours(&refund.out_refund_no) {
        return Ok(Notification { attempt_key: Some(refund.out_refund_no), news: Some(news), ..about });
    }
    let reference = Some(refund.out_refund_no).filter(|number| is_name(number)).ok_or(NotificationError::Malformed)?;
    let external = match (news.fact, money) {
        (Fact::Approved, Some(money)) => Some(External::Refund { reference, money }),
        (Fact::Declined, Some(money)) => Some(External::RefundReturned { reference, money }),
        _ => None,
    };
    Ok(Notification { external, ..about })
}

/// Whether a number is a key of ours: 32 lower-case hex digits.
fn is_ours(number: &str) -> bool {
    number.len() == 32 && number.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

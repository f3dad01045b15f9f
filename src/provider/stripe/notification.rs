//! Stripe's webhooks: signed over time and body, believed only then, and only for what they say of an attempt.
//! <https://docs.stripe.com/webhooks#verify-manually>
//!
//! A message is a snapshot, and snapshots overtake each other; that is no trouble, because facts commute. One that names no attempt of ours
//! (an intent or a refund made on Stripe's own pages) still comes back, with Stripe's reference and without a key: the flow decides.

use aws_lc_rs::hmac;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::domain::{External, News};
use crate::provider::{Credentials, Notification, NotificationError};

use super::object::{Dispute, Intent, Metadata, Reading, RefundObject, is_id};

/// How far the signature's time may be from ours, in seconds, either way.
const TOLERANCE_SECONDS: i64 = 300;

/// How many `v1` of one header are looked at: Stripe sends one, or two while a secret rotates.
const SIGNATURES_MAX: usize = 8;

/// The longest name (of an event, an attempt, a payment) that is taken over.
const NAME_MAX: usize = 255;

#[derive(Deserialize)]
struct Envelope {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Value,
}

/// What a charge carries of ours.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Other {
    metadata: Option<Metadata>,
}

/// What an event says, and the names of ours that its object carries.
#[derive(Default)]
struct Told {
    metadata: Metadata,
    pay_reference: Option<String>,
    news: Option<News>,
    external: Option<External>,
}

/// Reads a webhook's bytes.
pub(super) fn read_event(body: &[u8]) -> Result<Notification, NotificationError> {
    let event: Envelope = serde_json::from_slice(body).map_err(|_| NotificationError::Malformed)?;
    let Told { metadata, pay_reference, news, external } = read(&event.kind, event.data.object)?;
    Ok(Notification {
        event_id: short(event.id).ok_or(NotificationError::Malformed)?,
        kind: short(event.kind).ok_or(NotificationError::Malformed)?,
        attempt_key: metadata.attempt.and_then(short),
        payment: metadata.payment.and_then(short),
        pay_reference,
        news,
        external,
    })
}

fn read(kind: &str, object: Value) -> Result<Told, NotificationError> {
    let malformed = |_| NotificationError::Malformed;
    if kind.starts_with("payment_intent.") {
        let intent: Intent = serde_json::from_value(object).map_err(malformed)?;
        let news = match intent.read() {
            Reading::News(news) => Some(news),
            Reading::Unpaid | Reading::Unclear => None,
        };
        return Ok(Told { news, metadata: intent.metadata.unwrap_or_default(), ..Told::default() });
    }
    // Of a refund that comes back after it succeeded, older accounts hear by the second name alone.
    if kind.starts_with("refund.") || kind == "charge.refund.updated" {
        let refund: RefundObject = serde_json::from_value(object).map_err(malformed)?;
        let metadata = refund.metadata.clone().unwrap_or_default();
        if metadata.attempt.is_none() {
            // None of ours: somebody made it on Stripe's own pages.
            return Ok(Told { external: refund.read_external(), pay_reference: refund.payment_intent(), metadata, ..Told::default() });
        }
        // A reversal gives back what was taken, whatever that was: its amount is not the payment's.
        let news = refund.read(None).map(|news| if metadata.reverses.is_some() { News { money: None, ..news } } else { news });
        return Ok(Told { news, metadata, ..Told::default() });
    }
    // Whatever the event is called: an inquiry that becomes a dispute is told as an update. Its status says where it stands.
    if kind.starts_with("charge.dispute.") {
        let dispute: Dispute = serde_json::from_value(object).map_err(malformed)?;
        let pay_reference = dispute.payment_intent.as_str().filter(|id| is_id("pi_", id)).map(str::to_owned);
        return Ok(Told { external: dispute.read(), pay_reference, ..Told::default() });
    }
    // A charge carries its intent's metadata, and says nothing that the intent's own event does not say.
    let other: Other = serde_json::from_value(object).unwrap_or_default();
    Ok(Told { metadata: other.metadata.unwrap_or_default(), ..Told::default() })
}

fn short(name: String) -> Option<String> {
    (!name.is_empty() && name.len() <= NAME_MAX).then_some(name)
}

/// Verifies a webhook's signature over its raw bytes, and its time.
pub(super) fn verify(headers: &http::HeaderMap, body: &[u8], credentials: &Credentials, now: Timestamp) -> Result<(), NotificationError> {
    use secrecy::ExposeSecret;
    let header = headers.get("stripe-signature").and_then(|value| value.to_str().ok()).ok_or(NotificationError::Unsigned)?;
    let (time, signatures) = parts(header).ok_or(NotificationError::Unsigned)?;
    let mut message = Vec::with_capacity(time.len() + 1 + body.len());
    message.extend_from_slice(time.as_bytes());
    message.push(b'.');
    message.extend_from_slice(body);

    let genuine = credentials.notification_secrets.iter().any(|secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        signatures.iter().any(|signature| hmac::verify(&key, &message, signature).is_ok())
    });
    if !genuine {
        return Err(NotificationError::BadSignature);
    }
    let signed_at: i64 = time.parse().map_err(|_| NotificationError::Unsigned)?;
    let apart = now.as_second().saturating_sub(signed_at).saturating_abs();
    if apart > TOLERANCE_SECONDS { Err(NotificationError::Stale) } else { Ok(()) }
}

/// The time, as written, and every well-formed `v1`. `v0` is a scheme for Stripe's own tests, and proves nothing.
fn parts(header: &str) -> Option<(&str, Vec<[u8; 32]>)> {
    let pairs = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let time = pairs().find_map(|(name, value)| (name == "t").then_some(value))?;
    let plain = !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit());
    let signatures: Vec<_> = pairs().filter(|(name, _)| *name == "v1").take(SIGNATURES_MAX).filter_map(|(_, value)| bytes_of(value)).collect();
    (plain && !signatures.is_empty()).then_some((time, signatures))
}

/// 64 lower-case hex digits.
fn bytes_of(hex: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let hex: &[u8; 64] = hex.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// As the flow does it: verified, then read.
    fn notification(headers: &http::HeaderMap, body: &[u8], credentials: &Credentials, now: Timestamp) -> Result<Notification, NotificationError> {
        verify(headers, body, credentials, now)?;
        read_event(body)
    }
    use serde_json::json;

    use super::super::sample::{KEY, credentials, intent, money, refund};
    use super::*;
    use crate::domain::{Fact, FailureCode};

    const SECRET: &str = "whsec_first";
    const NOW: i64 = 1_763_600_887;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("in range")
    }

    fn signature(secret: &str, time: i64, body: &[u8]) -> String {
        let message = [time.to_string().as_bytes(), b".", body].concat();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), &message);
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn headers(text: &str) -> http::HeaderMap {
        let mut headers = http::HeaderMap::new();
        headers.insert("stripe-signature", text.parse().expect("a header"));
        headers
    }

    fn believed(body: &Value) -> Result<Notification, NotificationError> {
        let body = body.to_string();
        let header = format!("t={NOW},v1={}", signature(SECRET, NOW, body.as_bytes()));
        notification(&headers(&header), body.as_bytes(), &credentials(&[SECRET]), at(NOW))
    }

    fn event(kind: &str, object: Value) -> Value {
        json!({"id": "evt_1", "type": kind, "data": {"object": object}})
    }

    #[test]
    fn the_tolerance_is_five_minutes_both_ways() {
        let body = event("payout.paid", json!({})).to_string();
        let header = headers(&format!("t={NOW},v1={}", signature(SECRET, NOW, body.as_bytes())));
        let verdict = |now| notification(&header, body.as_bytes(), &credentials(&[SECRET]), at(now)).map(|_| ());
        assert_eq!(verdict(NOW + 300), Ok(()));
        assert_eq!(verdict(NOW - 300), Ok(()));
        assert_eq!(verdict(NOW + 301), Err(NotificationError::Stale));
        assert_eq!(verdict(NOW - 301), Err(NotificationError::Stale));
    }

    #[test]
    fn any_secret_and_any_v1_will_do_while_they_rotate() {
        let body = event("payout.paid", json!({})).to_string();
        let good = signature("whsec_old", NOW, body.as_bytes());
        let header = headers(&format!("t={NOW}, v1={}, v1={good}, v0=00", "0".repeat(64)));
        let verdict = |secrets: &[&str]| notification(&header, body.as_bytes(), &credentials(secrets), at(NOW)).map(|_| ());
        assert_eq!(verdict(&[SECRET, "whsec_old"]), Ok(()));
        assert_eq!(verdict(&[SECRET]), Err(NotificationError::BadSignature));
        assert_eq!(verdict(&[]), Err(NotificationError::BadSignature));
    }

    #[test]
    fn without_a_time_or_a_v1_it_is_unsigned() {
        let body = event("payout.paid", json!({})).to_string();
        let good = signature(SECRET, NOW, body.as_bytes());
        for header in [format!("t={NOW}"), format!("v1={good}"), format!("t={NOW},v0={good}"), format!("t=-{NOW},v1={good}"), "nonsense".to_owned()] {
            let verdict = notification(&headers(&header), body.as_bytes(), &credentials(&[SECRET]), at(NOW));
            assert_eq!(verdict, Err(NotificationError::Unsigned), "{header}");
        }
        let verdict = notification(&http::HeaderMap::new(), body.as_bytes(), &credentials(&[SECRET]), at(NOW));
        assert_eq!(verdict, Err(NotificationError::Unsigned));
    }

    #[test]
    fn an_intents_event_says_what_its_status_says() {
        for (kind, status, fact) in [
            ("payment_intent.succeeded", "succeeded", Some(Fact::Approved)),
            ("payment_intent.amount_capturable_updated", "requires_capture", Some(Fact::Authorized)),
            ("payment_intent.processing", "processing", Some(Fact::Accepted)),
            ("payment_intent.requires_action", "requires_action", Some(Fact::ActionRequired)),
            ("payment_intent.canceled", "canceled", Some(Fact::Closed)),
            ("payment_intent.created", "requires_confirmation", None),
            ("payment_intent.created", "requires_payment_method", None),
        ] {
            let heard = believed(&event(kind, intent(status))).expect("believed");
            assert_eq!(heard.attempt_key.as_deref(), Some(KEY));
            assert_eq!(heard.news.map(|news| news.fact), fact, "{kind}");
        }
    }

    #[test]
    fn a_failed_refund_is_declined_news_of_its_own_attempt() {
        let heard = believed(&event("refund.failed", refund("failed"))).expect("believed");
        assert_eq!(heard.attempt_key.as_deref(), Some(KEY));
        let news = heard.news.expect("news");
        assert_eq!((news.fact, news.failure.map(|failure| failure.code)), (Fact::Declined, Some(FailureCode::RefundFailed)));
        let done = believed(&event("refund.updated", refund("succeeded"))).expect("believed").news.expect("news");
        assert_eq!((done.fact, done.money), (Fact::Approved, Some(money(100, "CNY"))));
    }

    #[test]
    fn a_reversals_refund_names_no_amount_because_it_gives_back_whatever_was_taken() {
        let mut object = refund("succeeded");
        object["metadata"]["reverses"] = json!("other");
        let news = believed(&event("refund.created", object)).expect("believed").news.expect("news");
        assert_eq!((news.fact, news.money), (Fact::Approved, None));
    }

    #[test]
    fn a_refund_without_our_names_was_made_on_stripes_own_pages() {
        let mut object = refund("succeeded");
        object["metadata"] = json!({});
        let heard = believed(&event("refund.created", object.clone())).expect("believed");
        assert_eq!((heard.news, heard.attempt_key, heard.pay_reference.as_deref()), (None, None, Some("pi_1")));
        assert_eq!(heard.external, Some(External::Refund { reference: "re_1".to_owned(), money: money(100, "CNY") }));
        object["status"] = json!("pending");
        assert_eq!(believed(&event("refund.created", object)).expect("believed").external, None, "it is told of again");
    }

    #[test]
    fn a_dispute_holds_money_until_it_is_decided_and_an_inquiry_holds_none() {
        let dispute = |status: &str| json!({"id": "dp_1", "amount": 60, "currency": "cny", "payment_intent": "pi_1", "status": status});
        let heard = |kind: &str, status: &str| believed(&event(kind, dispute(status))).expect("believed");
        let opened = heard("charge.dispute.created", "needs_response");
        assert_eq!(opened.pay_reference.as_deref(), Some("pi_1"));
        assert_eq!(opened.external, Some(External::DisputeOpened { reference: "dp_1".to_owned(), money: money(60, "CNY") }));
        for (status, won) in [("won", true), ("lost", false)] {
            let closed = External::DisputeClosed { reference: "dp_1".to_owned(), money: money(60, "CNY"), won };
            assert_eq!(heard("charge.dispute.closed", status).external, Some(closed));
        }
        let escalated = heard("charge.dispute.updated", "needs_response").external;
        assert_eq!(escalated, opened.external, "an inquiry that has become a dispute");
        assert_eq!(heard("charge.dispute.created", "warning_needs_response").external, None);
        assert_eq!(heard("charge.dispute.closed", "warning_closed").external, None);
    }

    #[test]
    fn a_dispute_a_charge_and_an_unknown_type_say_nothing_of_an_attempts_state() {
        for kind in ["charge.dispute.created", "charge.refunded", "payout.paid", "something.new"] {
            let heard = believed(&event(kind, intent("succeeded"))).expect("believed");
            assert_eq!(heard.news, None, "{kind}");
        }
        assert_eq!(believed(&event("charge.refunded", json!("not an object"))).expect("believed").attempt_key, None);
    }

    #[test]
    fn what_is_signed_and_cannot_be_read_is_malformed() {
        for body in [json!({}), json!([]), event("payment_intent.succeeded", json!(7)), json!({"id": "", "type": "x", "data": {"object": {}}})] {
            assert_eq!(believed(&body), Err(NotificationError::Malformed), "{body}");
        }
    }

    proptest! {
        #[test]
        fn a_forged_message_is_never_believed(header in ".{0,200}", body in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = http::HeaderValue::from_str(&header) {
                let mut headers = http::HeaderMap::new();
                headers.insert("stripe-signature", value);
                prop_assert!(notification(&headers, &body, &credentials(&[SECRET]), at(NOW)).is_err());
            }
        }

        #[test]
        fn a_signed_message_of_any_bytes_says_nothing(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let header = format!("t={NOW},v1={}", signature(SECRET, NOW, &body));
            prop_assert!(notification(&headers(&header), &body, &credentials(&[SECRET]), at(NOW)).is_err());
        }

        #[test]
        fn one_changed_byte_breaks_the_signature(place in any::<proptest::sample::Index>(), bit in 0u8..8) {
            let mut body = event("payment_intent.succeeded", intent("succeeded")).to_string().into_bytes();
            let header = format!("t={NOW},v1={}", signature(SECRET, NOW, &body));
            let place = place.index(body.len());
            body[place] ^= 1 << bit;
            prop_assert_eq!(notification(&headers(&header), &body, &credentials(&[SECRET]), at(NOW)), Err(NotificationError::BadSignature));
        }
    }
}

//! `Stripe-Signature`: the lower-case hex of HMAC-SHA256 over `t.body`, with the whole text of the secret as the key, `whsec_` included.

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::StatusCode;

use crate::sandbox::book;
use crate::sandbox::notify::{Sealed, Stamp};

/// How an account signs its events, each sending afresh.
#[derive(Debug)]
pub struct Signature {
    /// `whsec_…`
    pub secret: String,
}

impl Stamp for Signature {
    fn sealed(&self, event: &Bytes, forged: bool) -> Sealed {
        let secret = if forged { "whsec_of_somebody_else" } else { &self.secret };
        let headers = vec![
            ("content-type", "application/json; charset=utf-8".to_owned()),
            ("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)".to_owned()),
            ("stripe-signature", header(secret, book::now().as_second(), event)),
        ];
        Sealed { headers, body: event.clone() }
    }

    fn is_acknowledged(&self, status: StatusCode, _body: &[u8]) -> bool {
        status.is_success()
    }
}

/// The header's value for `body`, signed at `unix_seconds`.
pub fn header(secret: &str, unix_seconds: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(unix_seconds.to_string().as_bytes());
    context.update(b".");
    context.update(body);
    format!("t={unix_seconds},v1={}", hex(context.sign().as_ref()))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

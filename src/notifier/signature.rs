//! Signatures of Standard Webhooks 1.0 (<https://www.standardwebhooks.com>, specification/standard-webhooks.md), to the byte.
//!
//! What is signed is `{webhook-id}.{webhook-timestamp}.{body}`, with HMAC-SHA256 under the bytes behind `whsec_`; what is sent is `v1,` and
//! base64. While a secret rotates there are two signatures with a blank between them, the new secret's first, and a receiver takes either.

use std::fmt;

use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

/// What a secret's text begins with.
pub const PREFIX: &str = "whsec_";
/// Bytes of a secret, at least and at most (the specification, "Signature scheme").
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;
/// Bytes of a secret that we make.
const MADE: usize = 32;

/// A signing secret. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Why a text is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a secret is whsec_ and base64 of 24 to 64 bytes")]
pub struct SecretError;

/// The system gives no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the system gives no random bytes")]
pub struct NoEntropy;

impl Secret {
    /// A new secret of 32 random bytes.
    ///
    /// # Errors
    /// [`NoEntropy`].
    pub fn generate() -> Result<Self, NoEntropy> {
        let mut bytes = vec![0; MADE];
        rand::fill(&mut bytes).map_err(|_| NoEntropy)?;
        Ok(Self(bytes))
    }

    /// The secret of these bytes.
    ///
    /// # Errors
    /// [`SecretError`] when there are too few or too many.
    pub fn of_bytes(bytes: Vec<u8>) -> Result<Self, SecretError> {
        if LENGTHS.contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(SecretError) }
    }

    /// Reads `whsec_…`.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SecretError)?;
        Self::of_bytes(STANDARD.decode(encoded).map_err(|_| SecretError)?)
    }

    /// `whsec_…`, to be shown once.
    pub fn text(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The value of `webhook-signature`: one signature a secret, in their order.
pub fn sign(secrets: &[Secret], id: &str, timestamp: i64, body: &[u8]) -> String {
    let signed = content(id, &timestamp.to_string(), body);
    let signatures: Vec<String> = secrets.iter().map(|secret| format!("v1,{}", STANDARD.encode(hmac::sign(&secret.key(), &signed)))).collect();
    signatures.join(" ")
}

/// Why a webhook is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Disbelief {
    /// `webhook-timestamp` is no whole number of seconds.
    #[error("webhook-timestamp is not a whole number of seconds since 1970")]
    Timestamp,
    /// It was sent too long ago, or by a clock that is ahead.
    #[error("webhook-timestamp is {seconds} s away from now, more than is tolerated: an old message sent again, or a clock that is wrong")]
    Age {
        /// How far.
        seconds: u64,
    },
    /// `webhook-signature` holds none of the version that is known.
    #[error("webhook-signature holds no signature that begins with v1,")]
    NoSignature,
    /// None of the signatures fits.
    #[error("no signature fits: another secret, or id, timestamp or body were changed on the way (sign the raw bytes, before any JSON parser)")]
    Mismatch,
}

/// Whether a webhook is authentic, as a receiver sees it at `now` (Unix seconds), `tolerance` seconds of age or haste being allowed.
///
/// # Errors
/// [`Disbelief`].
pub fn verify(secret: &Secret, id: &str, timestamp: &str, signatures: &str, body: &[u8], now: i64, tolerance: u64) -> Result<(), Disbelief> {
    let sent: i64 = timestamp.parse().map_err(|_| Disbelief::Timestamp)?;
    let seconds = now.abs_diff(sent);
    if seconds > tolerance {
        return Err(Disbelief::Age { seconds });
    }
    let signed = content(id, timestamp, body);
    let mut known = signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,")).peekable();
    if known.peek().is_none() {
        return Err(Disbelief::NoSignature);
    }
    let key = secret.key();
    let fits = known.any(|signature| STANDARD.decode(signature).is_ok_and(|tag| hmac::verify(&key, &signed, &tag).is_ok()));
    if fits { Ok(()) } else { Err(Disbelief::Mismatch) }
}

fn content(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(id.len() + timestamp.len() + body.len() + 2);
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        content.extend_from_slice(part);
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the reference libraries of Standard Webhooks.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const AT: i64 = 1_614_265_330;

    #[test]
    fn the_reference_vector_is_signed_to_the_byte() {
        let secret = Secret::parse(SECRET).expect("a secret");
        assert_eq!(sign(std::slice::from_ref(&secret), ID, AT, BODY), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(secret.text(), SECRET);
    }

    #[test]
    fn a_receiver_believes_what_was_signed_and_nothing_else() {
        let (secret, other) = (Secret::parse(SECRET).expect("a secret"), Secret::generate().expect("random"));
        let signed = sign(std::slice::from_ref(&secret), ID, AT, BODY);
        let at = AT.to_string();
        let judge = |secret: &Secret, id: &str, at: &str, signatures: &str, body: &[u8], now| verify(secret, id, at, signatures, body, now, 300);
        assert_eq!(judge(&secret, ID, &at, &signed, BODY, AT + 300), Ok(()));
        assert_eq!(judge(&secret, ID, &at, &signed, BODY, AT + 301), Err(Disbelief::Age { seconds: 301 }));
        assert_eq!(judge(&secret, ID, &at, &signed, BODY, AT - 301), Err(Disbelief::Age { seconds: 301 }));
        assert_eq!(judge(&secret, ID, &at, &signed, br#"{"test": 2432232315}"#, AT), Err(Disbelief::Mismatch));
        assert_eq!(judge(&secret, "msg_other", &at, &signed, BODY, AT), Err(Disbelief::Mismatch));
        assert_eq!(judge(&other, ID, &at, &signed, BODY, AT), Err(Disbelief::Mismatch));
        assert_eq!(judge(&secret, ID, &at, "v2,abc", BODY, AT), Err(Disbelief::NoSignature));
        assert_eq!(judge(&secret, ID, "noon", &signed, BODY, AT), Err(Disbelief::Timestamp));
    }

    #[test]
    fn while_a_secret_rotates_either_of_the_two_is_believed() {
        let (new, old) = (Secret::generate().expect("random"), Secret::parse(SECRET).expect("a secret"));
        let signed = sign(&[new.clone(), old.clone()], ID, AT, BODY);
        assert_eq!(signed.split(' ').count(), 2);
        for secret in [&new, &old] {
            assert_eq!(verify(secret, ID, &AT.to_string(), &signed, BODY, AT, 300), Ok(()));
        }
    }

    #[test]
    fn a_secret_has_24_to_64_bytes() {
        for (length, sound) in [(23, false), (24, true), (64, true), (65, false)] {
            let text = format!("{PREFIX}{}", STANDARD.encode(vec![7; length]));
            assert_eq!(Secret::parse(&text).is_ok(), sound, "{length}");
        }
        assert!(Secret::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").is_err(), "without its prefix");
        assert!(!format!("{:?}", Secret::generate().expect("random")).contains("whsec_"));
    }
}

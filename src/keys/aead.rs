//! AES-256-GCM as other people's protocols have it: a key that both sides know, a nonce and bound data that stand beside the sealed text. WeChat
//! Pay seals what its notifications are about so. What *we* keep lies under the ring of `sealing.rs` instead, which names its keys.
//!
//! What opens was sealed by somebody who knows the key, and is as they sealed it: nothing of it may be looked at before.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// A key of 256 bits. `Debug` does not show it.
pub struct SharedKey(LessSafeKey);

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey")
    }
}

impl SharedKey {
    /// The length of a key, in bytes.
    pub const LENGTH: usize = 32;

    /// Takes a key's bytes; `None` when there are not [`SharedKey::LENGTH`] of them.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        Some(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).ok()?)))
    }

    /// Opens `sealed`, whose last 16 bytes are its tag, for this nonce of 12 bytes and this bound data. `None` for what was sealed with another
    /// key, nonce or data, or was changed.
    pub fn open(&self, nonce: &[u8], bound: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = sealed.to_vec();
        let length = self.0.open_in_place(nonce, Aad::from(bound), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }

    /// Seals `text`, the tag behind it. The nonce must never have been used with this key. `None` for a nonce that has not 12 bytes.
    pub fn seal(&self, nonce: &[u8], bound: &[u8], text: &[u8]) -> Option<Vec<u8>> {
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = text.to_vec();
        self.0.seal_in_place_append_tag(nonce, Aad::from(bound), &mut bytes).ok()?;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use serde_json::Value;

    use super::*;

    #[test]
    fn it_seals_and_opens_to_the_byte_as_other_libraries_do() {
        let vectors: Value = serde_json::from_str(include_str!("../../tests/vectors/wechatpay.json")).expect("the vectors are JSON");
        let key = SharedKey::new(vectors["apiv3_key"].as_str().expect("a key").as_bytes()).expect("32 bytes");
        let notices = vectors["notifications"].as_array().expect("a list");
        assert_eq!(notices.len(), 3);
        for notice in notices {
            let body: Value = serde_json::from_str(notice["body"].as_str().expect("a body")).expect("JSON");
            let part = |name: &str| body["resource"][name].as_str().expect("a text").as_bytes().to_vec();
            let (nonce, bound, sealed) = (part("nonce"), part("associated_data"), BASE64.decode(part("ciphertext")).expect("base64"));
            let plain = notice["plaintext"].as_str().expect("a text").as_bytes();
            assert_eq!(key.open(&nonce, &bound, &sealed).as_deref(), Some(plain));
            assert_eq!(key.seal(&nonce, &bound, plain), Some(sealed));
        }
    }

    #[test]
    fn what_was_changed_or_belongs_elsewhere_does_not_open() {
        let key = SharedKey::new(&[7; SharedKey::LENGTH]).expect("32 bytes");
        let sealed = key.seal(b"twelve bytes", b"transaction", b"paid").expect("sealed");
        assert_eq!(key.open(b"twelve bytes", b"transaction", &sealed).as_deref(), Some(&b"paid"[..]));
        assert_eq!(key.open(b"twelve bytes", b"refund", &sealed), None);
        assert_eq!(key.open(b"other  bytes", b"transaction", &sealed), None);
        assert_eq!(key.open(b"short", b"transaction", &sealed), None);
        assert_eq!(key.open(b"twelve bytes", b"transaction", &sealed[..15]), None, "shorter than a tag");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open(b"twelve bytes", b"transaction", &changed), None);
        }
        let other = SharedKey::new(&[8; SharedKey::LENGTH]).expect("32 bytes");
        assert_eq!(other.open(b"twelve bytes", b"transaction", &sealed), None);
        assert!(SharedKey::new(&[7; 31]).is_none() && key.seal(b"short", b"", b"").is_none());
        assert_eq!(format!("{key:?}"), "SharedKey");
    }
}

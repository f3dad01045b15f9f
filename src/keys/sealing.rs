//! Sealing at rest: AES-256-GCM under a ring of named keys, each sealed text bound to what it belongs to.
//!
//! The newest key seals; every key of the ring opens. So a key is rotated by putting a new one first, sealing again what lies under the old one,
//! and only then taking the old one away. A sealed text names its key, so nothing is tried out.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

/// The shortest secret that a key is derived from, in characters.
const SHORTEST: usize = 32;

/// Why something cannot be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// There is no key at all.
    #[error("there is no sealing key: give one under [cards] sealing_keys")]
    NoKey,
    /// A secret too short to be a key.
    #[error("the key {0} is shorter than 32 characters: make one with: openssl rand -hex 32")]
    TooShort(String),
    /// Two keys of one name.
    #[error("the key {0} is there twice")]
    Twice(String),
    /// The ring no longer has the key that it was sealed under.
    #[error("it was sealed under the key {0}, which is no longer in [cards] sealing_keys: put it back")]
    KeyGone(String),
    /// It was changed since, or belongs to something else.
    #[error("it does not open: it was changed, or belongs to something else")]
    Shut,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoEntropy,
}

/// The ring. `Debug` shows the names alone.
#[derive(Clone, Default)]
pub struct SealingKeys {
    ring: Vec<(String, SecretString)>,
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ring.iter().map(|(name, _)| name)).finish()
    }
}

impl SealingKeys {
    /// A ring of these named secrets, the newest first; empty is allowed, and seals nothing.
    ///
    /// # Errors
    /// [`SealError::TooShort`], [`SealError::Twice`].
    pub fn new(ring: Vec<(String, SecretString)>) -> Result<Self, SealError> {
        for (place, (name, secret)) in ring.iter().enumerate() {
            if secret.expose_secret().chars().count() < SHORTEST {
                return Err(SealError::TooShort(name.clone()));
            }
            if ring[..place].iter().any(|(other, _)| other == name) {
                return Err(SealError::Twice(name.clone()));
            }
        }
        Ok(Self { ring })
    }

    /// Whether nothing can be sealed.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// The name of the key that seals now.
    pub fn newest(&self) -> Option<&str> {
        self.ring.first().map(|(name, _)| name.as_str())
    }

    /// Seals `text` for what `owner` identifies: the name of the key, and nonce, sealed bytes and tag.
    ///
    /// # Errors
    /// [`SealError::NoKey`], [`SealError::NoEntropy`].
    pub fn seal(&self, owner: &[u8], text: &[u8]) -> Result<(String, Vec<u8>), SealError> {
        let (name, secret) = self.ring.first().ok_or(SealError::NoKey)?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealError::NoEntropy)?;
        let mut bytes = text.to_vec();
        let key = derive(secret)?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(owner), &mut bytes).map_err(|_| SealError::Shut)?;
        Ok((name.clone(), [nonce.as_slice(), &bytes].concat()))
    }

    /// Opens what was sealed for `owner` under the key `name`.
    ///
    /// # Errors
    /// [`SealError::KeyGone`], [`SealError::Shut`].
    pub fn open(&self, name: &str, owner: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (_, secret) = self.ring.iter().find(|(known, _)| known == name).ok_or_else(|| SealError::KeyGone(name.to_owned()))?;
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Shut)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Shut)?;
        let mut bytes = sealed.to_vec();
        let opened = derive(secret)?.open_in_place(nonce, Aad::from(owner), &mut bytes).map_err(|_| SealError::Shut)?;
        Ok(opened.to_vec())
    }
}

/// A secret may be any text of enough chance: what encrypts is 256 bits of its HMAC.
fn derive(secret: &SecretString) -> Result<LessSafeKey, SealError> {
    let bytes = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes()), b"breakwater sealing, 1");
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes.as_ref()).map_err(|_| SealError::Shut)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(names: &[&str]) -> SealingKeys {
        let secret = |name: &&str| ((*name).to_owned(), SecretString::from(name.repeat(32)));
        SealingKeys::new(names.iter().map(secret).collect()).expect("a ring")
    }

    #[test]
    fn what_is_sealed_opens_for_its_owner_alone_and_is_not_in_the_clear() {
        let keys = ring(&["a"]);
        let (name, sealed) = keys.seal(b"pay_1", b"4111111111111111").expect("sealed");
        assert!(!sealed.windows(6).any(|window| window == b"411111"));
        assert_eq!(keys.open(&name, b"pay_1", &sealed).as_deref(), Ok(&b"4111111111111111"[..]));
        assert_eq!(keys.open(&name, b"pay_2", &sealed), Err(SealError::Shut));
        let mut changed = sealed.clone();
        changed[NONCE_LEN] ^= 1;
        assert_eq!(keys.open(&name, b"pay_1", &changed), Err(SealError::Shut));
        assert_eq!(keys.open(&name, b"pay_1", b"short"), Err(SealError::Shut));
    }

    #[test]
    fn a_rotated_ring_opens_what_was_sealed_before_until_the_old_key_is_taken_away() {
        let (name, sealed) = ring(&["a"]).seal(b"x", b"number").expect("sealed");
        let rotated = ring(&["b", "a"]);
        assert_eq!(rotated.newest(), Some("b"));
        assert_eq!(rotated.open(&name, b"x", &sealed).as_deref(), Ok(&b"number"[..]));
        assert_eq!(ring(&["b"]).open(&name, b"x", &sealed), Err(SealError::KeyGone("a".to_owned())));
    }

    #[test]
    fn a_ring_of_weak_or_repeated_keys_is_refused_and_an_empty_one_seals_nothing() {
        let secret = |text: &str| SecretString::from(text);
        assert_eq!(SealingKeys::new(vec![("a".to_owned(), secret("short"))]).unwrap_err(), SealError::TooShort("a".to_owned()));
        let twice = vec![("a".to_owned(), secret(&"x".repeat(32))), ("a".to_owned(), secret(&"y".repeat(32)))];
        assert_eq!(SealingKeys::new(twice).unwrap_err(), SealError::Twice("a".to_owned()));
        assert_eq!(SealingKeys::default().seal(b"x", b"y").unwrap_err(), SealError::NoKey);
    }
}

//! Signing secrets at rest. They must be read to sign with them, so a digest will not do: they are sealed with AES-256-GCM, bound to their
//! endpoint.
//!
//! What that is worth depends on where the key is. With `[webhooks] sealing_key` it is not in the database, and a copy of the database opens no
//! secret. Without it the key is derived from the installation's own secret, which lies in the same database: then the seal only keeps secrets
//! out of sight (of dumps that are searched, of queries that are shown), not from somebody who has the whole database.
//!
//! A sealed secret names the kind of key that it was sealed with, so the setting may be added later: what is older still opens. When it is changed,
//! the one before it goes on opening as `previous_sealing_key` until everything is sealed anew ([`Sealer::reseal`]). Once a key is lost, what was
//! sealed under it stays shut; such endpoints need a new secret.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};
use thiserror::Error;

use super::signature::Secret;
use crate::domain::WebhookEndpointId;

/// What the keys are derived for.
const PURPOSE: &[u8] = b"breakwater webhook secrets, 1";
const BY_INSTALLATION: u8 = 0;
const BY_SETTING: u8 = 1;

/// Why a secret cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoEntropy,
    /// It was sealed under another key, or changed since.
    #[error("the signing secret cannot be opened: [webhooks] sealing_key is not the one that it was sealed under; rotate the endpoint's secret")]
    Shut,
}

/// Seals and opens.
pub struct Sealer {
    installation: LessSafeKey,
    setting: Option<LessSafeKey>,
    previous: Option<LessSafeKey>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// A sealer under the installation's secret, or under the key that the settings give.
    ///
    /// # Errors
    /// [`SealError::Shut`] when the cryptography refuses a key of 32 bytes, which it does not.
    pub fn new(installation: &[u8; 32], setting: Option<&str>) -> Result<Self, SealError> {
        let setting = setting.map(|text| derive(text.as_bytes())).transpose()?;
        Ok(Self { installation: derive(installation)?, setting, previous: None })
    }

    /// The same, which also opens what was sealed under the key that the settings gave before.
    ///
    /// # Errors
    /// As for [`Sealer::new`].
    pub fn opening_previous(mut self, previous: Option<&str>) -> Result<Self, SealError> {
        self.previous = previous.map(|text| derive(text.as_bytes())).transpose()?;
        Ok(self)
    }

    /// Seals anew what is not sealed under the key that is now; `None` when it is.
    ///
    /// # Errors
    /// [`SealError`]: none of our keys opens it, or there is no entropy.
    pub fn reseal(&self, endpoint: WebhookEndpointId, sealed: &[u8]) -> Result<Option<Vec<u8>>, SealError> {
        let (kind, now) = match &self.setting {
            Some(key) => (BY_SETTING, key),
            None => (BY_INSTALLATION, &self.installation),
        };
        let is_now = sealed.first() == Some(&kind) && open_under(now, endpoint, &sealed[1..]).is_some();
        if is_now { Ok(None) } else { self.seal(endpoint, &self.open(endpoint, sealed)?).map(Some) }
    }

    /// Seals a secret for its endpoint: one byte for the key, the nonce, the sealed bytes with their tag.
    ///
    /// # Errors
    /// [`SealError::NoEntropy`].
    pub fn seal(&self, endpoint: WebhookEndpointId, secret: &Secret) -> Result<Vec<u8>, SealError> {
        let (name, key) = match &self.setting {
            Some(key) => (BY_SETTING, key),
            None => (BY_INSTALLATION, &self.installation),
        };
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealError::NoEntropy)?;
        let mut bytes = secret.bytes().to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(endpoint.0.as_bytes()), &mut bytes)
            .map_err(|_| SealError::Shut)?;
        Ok([&[name], nonce.as_slice(), &bytes].concat())
    }

    /// Opens an endpoint's secret.
    ///
    /// # Errors
    /// [`SealError::Shut`].
    pub fn open(&self, endpoint: WebhookEndpointId, sealed: &[u8]) -> Result<Secret, SealError> {
        let (name, rest) = sealed.split_first().ok_or(SealError::Shut)?;
        let keys = match *name {
            BY_INSTALLATION => [Some(&self.installation), None],
            BY_SETTING => [self.setting.as_ref(), self.previous.as_ref()],
            _ => return Err(SealError::Shut),
        };
        keys.into_iter().flatten().find_map(|key| open_under(key, endpoint, rest)).ok_or(SealError::Shut)
    }
}

/// What is behind the byte that names the key: the nonce, the sealed bytes with their tag.
fn open_under(key: &LessSafeKey, endpoint: WebhookEndpointId, rest: &[u8]) -> Option<Secret> {
    let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut bytes = sealed.to_vec();
    let opened = key.open_in_place(nonce, Aad::from(endpoint.0.as_bytes()), &mut bytes).ok()?;
    Secret::of_bytes(opened.to_vec()).ok()
}

fn derive(secret: &[u8]) -> Result<LessSafeKey, SealError> {
    let bytes = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), PURPOSE);
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes.as_ref()).map_err(|_| SealError::Shut)?))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn endpoint(n: u128) -> WebhookEndpointId {
        WebhookEndpointId(Uuid::from_u128(n))
    }

    #[test]
    fn a_secret_opens_for_its_own_endpoint_under_its_own_key_only() {
        let secret = Secret::generate().expect("random");
        let plain = Sealer::new(&[7; 32], None).expect("a key");
        let sealed = plain.seal(endpoint(1), &secret).expect("sealed");
        assert!(!sealed.windows(8).any(|window| window == &secret.bytes()[..8]), "it is not in the clear");
        assert_eq!(plain.open(endpoint(1), &sealed), Ok(secret.clone()));
        assert_eq!(plain.open(endpoint(2), &sealed), Err(SealError::Shut));
        assert_eq!(Sealer::new(&[8; 32], None).expect("a key").open(endpoint(1), &sealed), Err(SealError::Shut));
        let mut changed = sealed.clone();
        *changed.last_mut().expect("bytes") ^= 1;
        assert_eq!(plain.open(endpoint(1), &changed), Err(SealError::Shut));
        assert_eq!(plain.open(endpoint(1), b""), Err(SealError::Shut));
    }

    #[test]
    fn a_sealing_key_may_be_added_and_what_is_older_still_opens() {
        let secret = Secret::generate().expect("random");
        let before = Sealer::new(&[7; 32], None).expect("a key");
        let after = Sealer::new(&[7; 32], Some("a long text from a vault, not in the database")).expect("a key");
        let old = before.seal(endpoint(1), &secret).expect("sealed");
        let new = after.seal(endpoint(1), &secret).expect("sealed");
        assert_eq!(after.open(endpoint(1), &old), Ok(secret.clone()));
        assert_eq!(after.open(endpoint(1), &new), Ok(secret));
        assert_eq!(before.open(endpoint(1), &new), Err(SealError::Shut), "taken away, it opens nothing that was sealed under it");
    }

    #[test]
    fn a_sealing_key_is_changed_without_a_moment_in_which_nothing_opens() {
        let secret = Secret::generate().expect("random");
        let sealer = |now, before| Sealer::new(&[7; 32], now).and_then(|sealer| sealer.opening_previous(before)).expect("keys");
        let old = sealer(Some("the first key of at least 32 letters"), None);
        let both = sealer(Some("the second key of at least 32 letters"), Some("the first key of at least 32 letters"));
        let new = sealer(Some("the second key of at least 32 letters"), None);
        let sealed = old.seal(endpoint(1), &secret).expect("sealed");
        assert_eq!(both.open(endpoint(1), &sealed), Ok(secret.clone()));
        assert_eq!(new.open(endpoint(1), &sealed), Err(SealError::Shut));
        let anew = both.reseal(endpoint(1), &sealed).expect("opened").expect("it was under the old key");
        assert_eq!(new.open(endpoint(1), &anew), Ok(secret.clone()));
        assert_eq!(both.reseal(endpoint(1), &anew), Ok(None), "it is under the new one");
        let by_installation = sealer(None, None).seal(endpoint(1), &secret).expect("sealed");
        let anew = both.reseal(endpoint(1), &by_installation).expect("opened").expect("it was under the installation's");
        assert_eq!(new.open(endpoint(1), &anew), Ok(secret));
        assert_eq!(new.reseal(endpoint(1), &sealed), Err(SealError::Shut));
        assert_eq!(new.reseal(endpoint(1), b""), Err(SealError::Shut));
    }
}

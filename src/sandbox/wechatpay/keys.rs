//! The keys of one account as this side of the wire needs them: RSA for signatures, and the APIv3 key that notifications are sealed with. Written
//! apart from the orchestrator's own, so that one mistake does not agree with itself.

use std::fmt;
use std::io;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::sandbox::rsa::RsaKeys;
use crate::sandbox::settings::WechatPaySettings;

/// What its requests are verified with and its answers signed with, and what its notifications are sealed with.
pub struct Keys {
    /// The merchant's, and the platform's.
    pub rsa: RsaKeys,
    apiv3: LessSafeKey,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// The keys as given, or those in `folder` under `{id}.…`, which are made when they are missing.
    ///
    /// # Errors
    /// When a key is none, or the folder cannot be read or written.
    pub fn find(folder: &Path, id: &str, settings: &WechatPaySettings) -> io::Result<Self> {
        let (merchant, platform) = (settings.merchant_public_key.as_deref(), settings.platform_private_key.as_deref());
        let rsa = RsaKeys::find(folder, id, ("merchant", merchant), ("platform", platform))?;
        let unsound = |_| io::Error::new(io::ErrorKind::InvalidData, "the APIv3 key is of no use as a key: it has 32 bytes");
        let apiv3 = UnboundKey::new(&AES_256_GCM, settings.apiv3_key.as_bytes()).map_err(unsound)?;
        Ok(Self { rsa, apiv3: LessSafeKey::new(apiv3) })
    }

    /// Seals with the APIv3 key, in base64. The nonce has 12 bytes; a cipher that refuses gives nothing, which will not open.
    pub fn seal(&self, nonce: [u8; 12], bound: &str, text: &[u8]) -> String {
        let mut bytes = text.to_vec();
        let sealed = self.apiv3.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound.as_bytes()), &mut bytes);
        sealed.map(|()| BASE64.encode(bytes)).unwrap_or_default()
    }
}

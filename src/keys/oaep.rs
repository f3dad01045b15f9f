//! RSA-OAEP: small texts that only one key's owner may read. WeChat Pay's *sensitive fields* (names, numbers of bank cards) go so, with SHA-1 in both
//! of its places, which is the padding's default and not a signature: that SHA-1 collides does it no harm.
//!
//! What is sealed differs every time, so no two sealed texts can be compared; and it takes at most [`PublicKey::LONGEST_SEALED`] bytes less than
//! the key has, because a text is no file.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey, PublicEncryptingKey};

use super::rsa::{KeyError, PrivateKey, PublicKey};

impl PublicKey {
    /// How many bytes of a key's length the padding takes: a key of 2048 bits seals at most 214 bytes.
    pub const LONGEST_SEALED: usize = 2 * 20 + 2;

    /// Seals `text` for the owner of this key.
    ///
    /// # Errors
    /// [`KeyError::Unsound`] for a key that came in PKCS#1 form, which only verifies; [`KeyError::Refused`] for a text that is too long.
    pub fn seal_oaep(&self, text: &[u8]) -> Result<Vec<u8>, KeyError> {
        let key = PublicEncryptingKey::from_der(self.der()).and_then(|key| Ok(OaepPublicEncryptingKey::new(key)?)).map_err(|_| KeyError::Unsound)?;
        let mut sealed = vec![0; key.ciphertext_size()];
        let length = key.encrypt(&OAEP_SHA1_MGF1SHA1, text, &mut sealed, None).map_err(|_| KeyError::Refused)?.len();
        sealed.truncate(length);
        Ok(sealed)
    }
}

impl PrivateKey {
    /// Opens what was sealed for this key. About a millisecond of one processor.
    ///
    /// # Errors
    /// [`KeyError::Refused`] when it was sealed for another, or changed since: which of the two is never told.
    pub fn open_oaep(&self, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        let der: Pkcs8V1Der<'_> = self.pair().as_der().map_err(|_| KeyError::Refused)?;
        let key = PrivateDecryptingKey::from_pkcs8(der.as_ref()).map_err(|_| KeyError::Refused)?;
        let key = OaepPrivateDecryptingKey::new(key).map_err(|_| KeyError::Refused)?;
        let mut text = vec![0; key.min_output_size()];
        let length = key.decrypt(&OAEP_SHA1_MGF1SHA1, sealed, &mut text, None).map_err(|_| KeyError::Refused)?.len();
        text.truncate(length);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../tests/vectors/wechatpay.json")).expect("the vectors are JSON")
    }

    fn text<'a>(value: &'a Value, field: &str) -> &'a str {
        value[field].as_str().expect("a text")
    }

    #[test]
    fn what_another_library_sealed_opens_with_its_key_alone() {
        let vectors = vectors();
        let vector = &vectors["public_key_encrypt"][0];
        let sealed = BASE64.decode(text(vector, "ciphertext_base64")).expect("base64");
        let owner = PrivateKey::from_pem(text(&vectors, "wechatpay_private_key_pem")).expect("a key");
        assert_eq!(owner.open_oaep(&sealed).as_deref(), Ok(text(vector, "plaintext").as_bytes()));
        let other = PrivateKey::from_pem(text(&vectors, "merchant_private_key_pem")).expect("a key");
        assert_eq!(other.open_oaep(&sealed), Err(KeyError::Refused));
        let mut changed = sealed;
        changed[9] ^= 1;
        assert_eq!(owner.open_oaep(&changed), Err(KeyError::Refused));
        assert_eq!(owner.open_oaep(b""), Err(KeyError::Refused));
    }

    #[test]
    fn what_is_sealed_opens_again_and_is_never_the_same_twice() {
        let vectors = vectors();
        let owner = PrivateKey::from_pem(text(&vectors, "wechatpay_private_key_pem")).expect("a key");
        for pem in ["wechatpay_public_key_pem", "wechatpay_platform_cert_pem"] {
            let key = PublicKey::from_pem(text(&vectors, pem)).expect("a key");
            let longest = vec![7; 256 - PublicKey::LONGEST_SEALED];
            for content in [b"6222020200000000001".as_slice(), b"", &longest] {
                let (one, two) = (key.seal_oaep(content).expect("sealed"), key.seal_oaep(content).expect("sealed"));
                assert_ne!(one, two);
                assert_eq!(owner.open_oaep(&one).as_deref(), Ok(content));
                assert_eq!(owner.open_oaep(&two).as_deref(), Ok(content));
            }
            assert_eq!(key.seal_oaep(&[7; 256 - PublicKey::LONGEST_SEALED + 1]), Err(KeyError::Refused));
        }
    }
}

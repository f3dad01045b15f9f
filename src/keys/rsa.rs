//! RSA keys from PEM, read once when the settings are loaded. Signing and verifying with SHA-256 and PKCS#1 v1.5 padding, which is what the
//! wallets' protocols use.
//!
//! A key that was read is a key that works: what is wrong with a file is said when it is read, with what to do about it, not at the first payment.
//! Nothing here shows a private key: `Debug` names its size alone.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{self, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use thiserror::Error;

/// Why a text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// No PEM block of a kind that is looked for.
    #[error("it holds no {0} in PEM form")]
    NoKey(&'static str),
    /// A PEM block that is not an RSA key, or a damaged one.
    #[error("it is not a sound RSA key of 2048 to 8192 bits")]
    Unsound,
    /// A private key that is sealed with a password.
    #[error("the private key is sealed with a password: give it in the clear, in a file that only breakwater can read")]
    Encrypted,
    /// The system gives no random bytes, or refused to sign.
    #[error("the cryptography refused to sign")]
    Refused,
}

/// An RSA private key. Cheap to clone.
#[derive(Clone)]
pub struct PrivateKey {
    pair: Arc<signature::RsaKeyPair>,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(RSA, {} bits)", self.pair.public_modulus_len() * 8)
    }
}

impl PrivateKey {
    /// Reads a PEM text: PKCS#8 (`PRIVATE KEY`) or PKCS#1 (`RSA PRIVATE KEY`).
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with the text.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        if text.contains("ENCRYPTED") {
            return Err(KeyError::Encrypted);
        }
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| KeyError::NoKey("private key"))?;
        let pair = match &der {
            PrivateKeyDer::Pkcs8(der) => signature::RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => signature::RsaKeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err(KeyError::Unsound),
        };
        Ok(Self { pair: Arc::new(pair.map_err(|_| KeyError::Unsound)?) })
    }

    /// The pair, for what this module's siblings do with it.
    pub(super) fn pair(&self) -> &signature::RsaKeyPair {
        &self.pair
    }

    /// Reads PKCS#8 in DER, as key stores hold it.
    ///
    /// # Errors
    /// [`KeyError::Unsound`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair = signature::RsaKeyPair::from_pkcs8(der).map_err(|_| KeyError::Unsound)?;
        Ok(Self { pair: Arc::new(pair) })
    }

    /// A new key of 2048 bits with its PEM, for a sandbox: takes some tenths of a second.
    ///
    /// # Errors
    /// [`KeyError::Refused`] when the system gives no random bytes.
    pub fn generate() -> Result<(Self, String), KeyError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Refused)?;
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| KeyError::Refused)?;
        let pem = pem("PRIVATE KEY", der.as_ref());
        Ok((Self::from_pem(&pem)?, pem))
    }

    /// Signs with SHA-256 and PKCS#1 v1.5. About a millisecond of one processor: not for a thread that others wait for.
    ///
    /// # Errors
    /// [`KeyError::Refused`].
    pub fn sign_sha256(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).map_err(|_| KeyError::Refused)?;
        Ok(signature)
    }

    /// The public half, as a PEM text (`PUBLIC KEY`).
    ///
    /// # Errors
    /// [`KeyError::Unsound`] when it cannot be written down.
    pub fn public_pem(&self) -> Result<String, KeyError> {
        use aws_lc_rs::encoding::PublicKeyX509Der;
        use aws_lc_rs::signature::KeyPair as _;
        let der: PublicKeyX509Der<'_> = self.pair.public_key().as_der().map_err(|_| KeyError::Unsound)?;
        Ok(pem("PUBLIC KEY", der.as_ref()))
    }
}

/// An RSA public key. Cheap to clone.
#[derive(Clone)]
pub struct PublicKey {
    /// X.509 `SubjectPublicKeyInfo`, or PKCS#1: the algorithm takes both.
    der: Arc<[u8]>,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} bytes)", self.der.len())
    }
}

impl PublicKey {
    /// Reads a PEM text: `PUBLIC KEY`, `RSA PUBLIC KEY` or `CERTIFICATE`; or the bare base64 of the first, which is how the wallets' merchant
    /// pages show it.
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with the text.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let bytes = text.as_bytes();
        let der = if let Ok(spki) = SubjectPublicKeyInfoDer::from_pem_slice(bytes) {
            spki.as_ref().to_vec()
        } else if text.contains("BEGIN RSA PUBLIC KEY") {
            block(text, "RSA PUBLIC KEY").ok_or(KeyError::NoKey("public key"))?
        } else if let Ok(certificate) = CertificateDer::from_pem_slice(bytes) {
            spki_of(&certificate).ok_or(KeyError::Unsound)?
        } else if let Some(der) = bare(text) {
            der
        } else {
            return Err(KeyError::NoKey("public key or certificate"));
        };
        let key = Self { der: der.into() };
        if key.is_sound() { Ok(key) } else { Err(KeyError::Unsound) }
    }

    /// The key that a certificate is about. Nothing else of the certificate is looked at.
    ///
    /// # Errors
    /// [`KeyError::Unsound`] when it holds no RSA key.
    pub fn from_certificate(certificate: &CertificateDer<'_>) -> Result<Self, KeyError> {
        let key = Self { der: spki_of(certificate).ok_or(KeyError::Unsound)?.into() };
        if key.is_sound() { Ok(key) } else { Err(KeyError::Unsound) }
    }

    /// X.509 `SubjectPublicKeyInfo`, or PKCS#1.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether `signature` is this key's over `message`, with SHA-256 and PKCS#1 v1.5.
    pub fn verifies_sha256(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, &self.der).verify(message, signature).is_ok()
    }

    /// Whether it parses as an RSA key of a size that is used.
    fn is_sound(&self) -> bool {
        let parsed = aws_lc_rs::rsa::PublicEncryptingKey::from_der(&self.der).map(|key| key.key_size_bits());
        match parsed {
            Ok(bits) => (2_048..=8_192).contains(&bits),
            // PKCS#1 form: the encrypting key does not read it, the verifier does; its outermost tag must at least be a sequence of that length.
            Err(_) => self.der.first() == Some(&0x30) && self.der.len() >= 256 && self.der.len() <= 1_100 && !self.der.windows(9).any(is_rsa_oid),
        }
    }
}

/// 1.2.840.113549.1.1.1: with it inside, the bytes are an X.509 key, which must have parsed as one.
fn is_rsa_oid(window: &[u8]) -> bool {
    window == [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = BASE64.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        // Base64 is ASCII, so every cut is a character's.
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn block(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    bare(body)
}

fn bare(text: &str) -> Option<Vec<u8>> {
    let packed: String = text.split_whitespace().collect();
    if packed.len() < 128 { None } else { BASE64.decode(packed).ok() }
}

/// The `SubjectPublicKeyInfo` of a certificate: walked by its DER lengths alone, since nothing else of it is needed here.
pub(super) fn spki_of(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (outer, _) = element(certificate.as_ref())?;
    let (fields, _) = element(outer.content)?;
    // [0] version (left out in version 1), serial, signature, issuer, validity, subject, subjectPublicKeyInfo.
    let mut rest = fields.content;
    if rest.first() == Some(&0xa0) {
        (_, rest) = element(rest)?;
    }
    for _ in 0..5 {
        (_, rest) = element(rest)?;
    }
    element(rest).map(|(spki, _)| spki.whole.to_vec())
}

/// One DER element.
struct Element<'a> {
    whole: &'a [u8],
    content: &'a [u8],
}

/// The first element of `bytes`, and what follows it.
fn element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let first = usize::from(*bytes.get(1)?);
    let (head, length) = if first < 0x80 {
        (2, first)
    } else {
        let count = first & 0x7f;
        if count == 0 || count > 4 {
            return None;
        }
        let length = bytes.get(2..2 + count)?.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
        (2 + count, length)
    };
    let end = head.checked_add(length)?;
    let whole = bytes.get(..end)?;
    Some((Element { whole, content: &whole[head..] }, &bytes[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_private_key_signs_its_public_half_verifies_and_nothing_else() {
        let (key, pem) = PrivateKey::generate().expect("a key");
        let again = PrivateKey::from_pem(&pem).expect("the same key");
        let public = PublicKey::from_pem(&key.public_pem().expect("its public half")).expect("a public key");
        let signature = again.sign_sha256(b"a=1&b=2").expect("signed");
        assert!(public.verifies_sha256(b"a=1&b=2", &signature));
        assert!(!public.verifies_sha256(b"a=1&b=3", &signature));
        assert!(!public.verifies_sha256(b"a=1&b=2", &signature[1..]));
        let (other, _) = PrivateKey::generate().expect("another key");
        let other = PublicKey::from_pem(&other.public_pem().expect("public")).expect("public");
        assert!(!other.verifies_sha256(b"a=1&b=2", &signature));
        assert!(!format!("{key:?}").contains("BEGIN"), "a private key is never shown");
    }

    #[test]
    fn a_public_key_is_read_bare_as_merchant_pages_show_it() {
        let (key, _) = PrivateKey::generate().expect("a key");
        let pem = key.public_pem().expect("public");
        let bare: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let signature = key.sign_sha256(b"x").expect("signed");
        assert!(PublicKey::from_pem(&bare).expect("read").verifies_sha256(b"x", &signature));
    }

    #[test]
    fn what_is_not_a_key_is_told_apart() {
        assert_eq!(PrivateKey::from_pem("hello").expect_err("no key"), KeyError::NoKey("private key"));
        assert_eq!(PrivateKey::from_pem("-----BEGIN ENCRYPTED PRIVATE KEY-----").expect_err("sealed"), KeyError::Encrypted);
        assert_eq!(PublicKey::from_pem("hello").expect_err("no key"), KeyError::NoKey("public key or certificate"));
        let damaged = pem("PUBLIC KEY", &[0x30, 0x03, 0x02, 0x01, 0x05]);
        assert_eq!(PublicKey::from_pem(&damaged).expect_err("damaged"), KeyError::Unsound);
        let damaged = pem("PRIVATE KEY", &[0x30, 0x03, 0x02, 0x01, 0x05]);
        assert_eq!(PrivateKey::from_pem(&damaged).expect_err("damaged"), KeyError::Unsound);
    }

    #[test]
    fn a_cut_certificate_has_no_key_and_breaks_nothing() {
        for length in 0..40 {
            assert!(spki_of(&CertificateDer::from(vec![0x30; length])).is_none());
        }
        assert!(element(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).is_none());
    }
}

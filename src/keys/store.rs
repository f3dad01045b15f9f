//! Key stores and trust stores: PKCS#12 files (`.p12`, `.pfx`) as acquirers and UnionPay hand them out, and PEM files of certificates.
//!
//! A store is opened once, when the settings are loaded, and what is wrong with it is said then: that it is none, that the password is another, that
//! it holds no key or several. Old encryption is read too (RC2 with 40 bits, 3DES, SHA-1), because certificates for production are still handed out
//! so; nothing is ever written. What is not read, and how to turn it into what is:
//!
//! - stores in BER with indefinite lengths, old Java stores (JKS, JCEKS), PBMAC1: `openssl pkcs12` or `keytool -importkeystore` write them anew;
//! - stores in which a key has another password than the store.
//!
//! A key and a certificate that came together are checked to belong together. Nothing else of a certificate is judged here: its signatures and dates
//! are for whoever verifies with it. Read next: `rsa.rs`, which signs with such a key.

use std::fmt;

use p12_keystore::error::Error as FormatError;
use p12_keystore::{Certificate, CertificateBag, Pkcs12Archive, PrivateKeyBag};
use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use super::rsa::{KeyError, PrivateKey, spki_of};

/// The largest store, in bytes. One key with its chain has about 4,000; a trust store of every public authority has some 200,000.
pub const STORE_MAX: usize = 1024 * 1024;
/// The longest chain that is followed, in certificates; five are a lot.
const CHAIN_MAX: usize = 10;

/// Why a store, or what was looked for in it, is of no use. It names entries, never a password.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// Larger than [`STORE_MAX`].
    #[error("it has more than {STORE_MAX} bytes: that is no key store")]
    TooLarge,
    /// Not the outermost shape of one; what it looks like instead, and what to do.
    #[error("it is not a PKCS#12 key store: {0}")]
    NotAStore(&'static str),
    /// The password is another, or a key within has one of its own.
    #[error("the password is not this store's (or a key in it has a password of its own)")]
    WrongPassword,
    /// A store, with something in it that is not understood.
    #[error("the store uses {0}, which is not read: write it anew with openssl pkcs12 or keytool")]
    Unsupported(&'static str),
    /// A store, cut or altered; or, where it carries no check sum, the password is another.
    #[error("the store is damaged, or (if it carries no check sum) the password is another")]
    Damaged,
    /// No private key inside.
    #[error("the store holds no private key, only {0} certificates")]
    NoKey(usize),
    /// More than one private key, and none was named.
    #[error("the store holds several private keys ({}): name one", .0.join(", "))]
    SeveralKeys(Vec<String>),
    /// No private key of the name that was asked for.
    #[error("the store holds no private key named {name}; it holds {}", .names.join(", "))]
    NoSuchKey {
        /// What was asked for.
        name: String,
        /// What there is.
        names: Vec<String>,
    },
    /// The key's certificate is not inside.
    #[error("the store holds the private key {0}, but not its certificate")]
    NoCertificate(String),
    /// The certificate that the store puts with the key is another key's.
    #[error("the certificate beside the private key {0} belongs to another key")]
    Mismatch(String),
    /// The key is of a kind that cannot be used: neither RSA nor a usual curve.
    #[error("the private key {0} is of a kind that is not used here")]
    UnusableKey(String),
    /// A trust store without certificates.
    #[error("it holds no certificate")]
    NoTrusted,
    /// A trust store in which the n-th certificate, from 1, cannot be read.
    #[error("certificate {0} in it cannot be read")]
    BadCertificate(usize),
    /// A trust store in PEM with a private key in it.
    #[error("it holds a private key, which has no place beside the certificates that are trusted")]
    KeyAmongTrusted,
}

/// A private key with its certificates. `Debug` shows no key.
pub struct Identity {
    /// The name within the store; where it has none, the certificate's subject.
    pub name: String,
    /// The key, PKCS#8.
    pub key: PrivatePkcs8KeyDer<'static>,
    /// Its certificate, then that one's issuer, and so on as far as the store goes: never empty.
    pub chain: Vec<CertificateDer<'static>>,
}

impl Identity {
    /// The key, ready to sign.
    ///
    /// # Errors
    /// [`KeyError::Unsound`] when it is no RSA key of 2048 to 8192 bits.
    pub fn signing_key(&self) -> Result<PrivateKey, KeyError> {
        PrivateKey::from_pkcs8(self.key.secret_pkcs8_der())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {} certificates)", self.name, self.chain.len())
    }
}

/// An opened PKCS#12 store. `Debug` shows how much it holds.
pub struct KeyStore {
    archive: Pkcs12Archive,
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyStore({} keys, {} certificates)", self.archive.keys.len(), self.archive.certs.len())
    }
}

impl KeyStore {
    /// Opens a store's bytes. Takes as long as its maker made guessing its password: usually milliseconds, never above a few seconds.
    ///
    /// # Errors
    /// [`StoreError`] says why it cannot be opened.
    pub fn open(bytes: &[u8], password: &SecretString) -> Result<Self, StoreError> {
        if bytes.len() > STORE_MAX {
            return Err(StoreError::TooLarge);
        }
        looks_like_a_store(bytes)?;
        let archive = Pkcs12Archive::from_pkcs12(bytes, password.expose_secret()).map_err(|error| meaning(&error))?;
        Ok(Self { archive })
    }

    /// The names of its private keys, in its order.
    pub fn key_names(&self) -> Vec<String> {
        self.archive.keys.iter().enumerate().map(|(at, key)| self.name_of(at, key)).collect()
    }

    /// The private key of this name, or the only one, with its certificates.
    ///
    /// # Errors
    /// [`StoreError`]: none, several, not that one, or one without a certificate that belongs to it.
    pub fn identity(&self, name: Option<&str>) -> Result<Identity, StoreError> {
        let names = self.key_names();
        let at = match (name, names.len()) {
            (_, 0) => return Err(StoreError::NoKey(self.archive.certs.len())),
            (None, 1) => 0,
            (None, _) => return Err(StoreError::SeveralKeys(names)),
            (Some(name), _) => match names.iter().position(|known| known == name) {
                Some(at) => at,
                None => return Err(StoreError::NoSuchKey { name: name.to_owned(), names }),
            },
        };
        // `at` is a place among the keys: `names` has one for each.
        let (Some(bag), Some(name)) = (self.archive.keys.get(at), names.into_iter().nth(at)) else {
            return Err(StoreError::Damaged);
        };
        let key = PrivatePkcs8KeyDer::from(bag.key.as_der().to_vec());
        let own = self.certificate_of(bag, &key, &name)?;
        let chain = self.chain_from(own).iter().map(|certificate| der(certificate)).collect();
        Ok(Identity { name, key, chain })
    }

    /// Its certificates that belong to no key, nor to the chain of one: what a trust store is made of.
    ///
    /// # Errors
    /// [`StoreError::NoTrusted`], [`StoreError::BadCertificate`].
    pub fn trusted(&self) -> Result<Vec<CertificateDer<'static>>, StoreError> {
        let mut chained: Vec<&Certificate> = Vec::new();
        for bag in self.archive.certs.iter().filter(|bag| bag.local_key_id.is_some()) {
            chained.extend(self.chain_from(bag));
        }
        let free = self.archive.certs.iter().filter(|bag| bag.trusted || !chained.contains(&&bag.cert));
        sound(free.map(|bag| der(&bag.cert)).collect())
    }

    fn name_of(&self, at: usize, key: &PrivateKeyBag) -> String {
        let subject = || self.linked(key).map(|bag| bag.cert.subject().to_owned());
        key.friendly_name.clone().filter(|name| !name.is_empty()).or_else(subject).unwrap_or_else(|| format!("key {}", at + 1))
    }

    /// The certificate that the store itself puts with this key.
    fn linked(&self, key: &PrivateKeyBag) -> Option<&CertificateBag> {
        let id = key.local_key_id.as_ref()?;
        self.archive.certs.iter().find(|bag| bag.local_key_id.as_deref() == Some(id.as_ref()))
    }

    /// The key's certificate: the one that the store puts with it, which must be its own; otherwise any that is.
    fn certificate_of(&self, bag: &PrivateKeyBag, key: &PrivatePkcs8KeyDer<'static>, name: &str) -> Result<&CertificateBag, StoreError> {
        let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&PrivateKeyDer::from(key.clone_key()))
            .map_err(|_| StoreError::UnusableKey(name.to_owned()))?;
        let public = signer.public_key().ok_or_else(|| StoreError::UnusableKey(name.to_owned()))?;
        // Read by its lengths alone: rustls would refuse a certificate of version 1, which is what `openssl x509 -req` makes.
        let belongs = |candidate: &CertificateBag| spki_of(&der(&candidate.cert)).as_deref() == Some(public.as_ref());
        match self.linked(bag) {
            Some(linked) if belongs(linked) => Ok(linked),
            Some(_) => Err(StoreError::Mismatch(name.to_owned())),
            None => self.archive.certs.iter().find(|candidate| belongs(candidate)).ok_or_else(|| StoreError::NoCertificate(name.to_owned())),
        }
    }

    /// A certificate and its issuers, by their names, as far as the store has them.
    fn chain_from<'a>(&'a self, own: &'a CertificateBag) -> Vec<&'a Certificate> {
        let mut chain = vec![&own.cert];
        let mut last = &own.cert;
        while last.issuer() != last.subject() && chain.len() < CHAIN_MAX {
            let issuer = self.archive.certs.iter().map(|bag| &bag.cert).find(|one| one.subject() == last.issuer() && !chain.contains(one));
            let Some(issuer) = issuer else { break };
            chain.push(issuer);
            last = issuer;
        }
        chain
    }
}

/// The certificates of a PEM file: every `CERTIFICATE` block, in its order. Text between the blocks is ignored, as authorities put it there.
///
/// # Errors
/// [`StoreError`]: none inside, one that cannot be read, a private key among them.
pub fn trusted_from_pem(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    if bytes.len() > STORE_MAX {
        return Err(StoreError::TooLarge);
    }
    if !matches!(PrivateKeyDer::from_pem_slice(bytes), Err(PemError::NoItemsFound)) && find(bytes, b"PRIVATE KEY-----") {
        return Err(StoreError::KeyAmongTrusted);
    }
    let mut certificates = Vec::new();
    for (at, certificate) in CertificateDer::pem_slice_iter(bytes).enumerate() {
        certificates.push(certificate.map_err(|_| StoreError::BadCertificate(at + 1))?);
    }
    sound(certificates)
}

/// Certificates that can be trusted at all: at least one, and each can be read.
fn sound(certificates: Vec<CertificateDer<'static>>) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    if certificates.is_empty() {
        return Err(StoreError::NoTrusted);
    }
    let mut anchors = RootCertStore::empty();
    for (at, certificate) in certificates.iter().enumerate() {
        anchors.add(certificate.clone()).map_err(|_| StoreError::BadCertificate(at + 1))?;
    }
    Ok(certificates)
}

fn der(certificate: &Certificate) -> CertificateDer<'static> {
    CertificateDer::from(certificate.as_der().to_vec())
}

fn find(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// The outermost shape (RFC 7292, 4: a sequence that begins with the integer 3), and what people take for a store.
fn looks_like_a_store(bytes: &[u8]) -> Result<(), StoreError> {
    let not = |what| Err(StoreError::NotAStore(what));
    let content = match bytes {
        [0xfe, 0xed, 0xfe, 0xed, ..] | [0xce, 0xce, 0xce, 0xce, ..] => {
            return not("it is an old Java key store; keytool -importkeystore converts it");
        }
        [0x30, 0x80, ..] => return Err(StoreError::Unsupported("indefinite lengths (BER)")),
        _ if find(&bytes[..bytes.len().min(4096)], b"-----BEGIN ") => return not("it is PEM text; openssl pkcs12 -export makes a store of it"),
        [0x30, length, rest @ ..] if *length < 0x80 => rest,
        [0x30, 0x81, _, rest @ ..] | [0x30, 0x82, _, _, rest @ ..] | [0x30, 0x83, _, _, _, rest @ ..] => rest,
        _ => return not("its first bytes are others"),
    };
    if content.starts_with(&[0x02, 0x01, 0x03]) { Ok(()) } else { not("it is another thing in DER, such as a certificate or a bare key") }
}

/// What the format's reader says, in words of ours. It verifies the check sum before it opens anything.
fn meaning(error: &FormatError) -> StoreError {
    match error {
        FormatError::MacError(_) | FormatError::Pkcs5Error(_) | FormatError::UnpadError => StoreError::WrongPassword,
        FormatError::UnsupportedEncryptionScheme => StoreError::Unsupported("another encryption or check sum"),
        FormatError::UnsupportedMacAlgorithm => StoreError::Unsupported("another check sum"),
        FormatError::UnsupportedContentType => StoreError::Unsupported("another kind of content (a signed or public-key store)"),
        FormatError::UnsupportedCertificateType => StoreError::Unsupported("certificates other than X.509"),
        FormatError::InvalidVersion => StoreError::Unsupported("another version"),
        FormatError::InvalidParameters => StoreError::Unsupported("more than a million rounds, or parameters that make no sense"),
        _ => StoreError::Damaged,
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

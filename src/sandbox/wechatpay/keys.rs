//! The ciphers as this side of the wire needs them: two RSA pairs, the merchant's and the platform's, and the APIv3 key. Written apart from the
//! orchestrator's own, so that one mistake does not agree with itself.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};

use crate::sandbox::settings::WechatPaySettings;

/// The keys of one account: what its requests are verified with, what its answers are signed with, what its notifications are sealed with.
pub struct Keys {
    merchant: Vec<u8>,
    platform: KeyPair,
    apiv3: LessSafeKey,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

fn unsound(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is of no use as a key"))
}

impl Keys {
    /// The keys as given, or those in `folder` under `{id}.…`, which are made when they are missing.
    ///
    /// # Errors
    /// When a key is none, or the folder cannot be read or written.
    pub fn find(folder: &Path, id: &str, settings: &WechatPaySettings) -> io::Result<Self> {
        let merchant = match &settings.merchant_public_key {
            Some(text) => text.clone(),
            None => kept(folder, id, "merchant")?.1,
        };
        let platform = match &settings.platform_private_key {
            Some(text) => text.clone(),
            None => kept(folder, id, "platform")?.0,
        };
        let merchant = SubjectPublicKeyInfoDer::from_pem_slice(merchant.as_bytes()).map_err(|_| unsound("the merchant's public key"))?;
        let platform = match PrivateKeyDer::from_pem_slice(platform.as_bytes()) {
            Ok(PrivateKeyDer::Pkcs8(der)) => KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
            _ => None,
        };
        let apiv3 = UnboundKey::new(&AES_256_GCM, settings.apiv3_key.as_bytes()).map_err(|_| unsound("the APIv3 key"))?;
        let platform = platform.ok_or_else(|| unsound("the platform's private key"))?;
        Ok(Self { merchant: merchant.as_ref().to_vec(), platform, apiv3: LessSafeKey::new(apiv3) })
    }

    /// Whether `signature`, in base64, is the merchant's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let Ok(signature) = BASE64.decode(signature) else { return false };
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.merchant).verify(message, &signature).is_ok()
    }

    /// The platform's signature over `message`, in base64. A system that refuses to sign gives an empty one, which nobody will believe.
    pub fn sign(&self, message: &[u8]) -> String {
        let mut signature = vec![0; self.platform.public_modulus_len()];
        match self.platform.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature) {
            Ok(()) => BASE64.encode(signature),
            Err(_) => String::new(),
        }
    }

    /// Seals with the APIv3 key, in base64. The nonce has 12 bytes; a cipher that refuses gives nothing, which will not open.
    pub fn seal(&self, nonce: [u8; 12], bound: &str, text: &[u8]) -> String {
        let mut bytes = text.to_vec();
        let sealed = self.apiv3.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(bound.as_bytes()), &mut bytes);
        sealed.map(|()| BASE64.encode(bytes)).unwrap_or_default()
    }
}

/// The pair of `owner` in the folder, private and public, made when it is missing. The private half is only ours to read.
fn kept(folder: &Path, id: &str, owner: &str) -> io::Result<(String, String)> {
    let (private_path, public_path) = (folder.join(format!("{id}.{owner}_private_key.pem")), folder.join(format!("{id}.{owner}_public_key.pem")));
    if !private_path.exists() || !public_path.exists() {
        let refused = |_| io::Error::other("no key could be made");
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(refused)?;
        let private: Pkcs8V1Der<'_> = pair.as_der().map_err(refused)?;
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(refused)?;
        write(&public_path, &pem("PUBLIC KEY", public.as_ref()), 0o644)?;
        write(&private_path, &pem("PRIVATE KEY", private.as_ref()), 0o600)?;
    }
    Ok((fs::read_to_string(private_path)?, fs::read_to_string(public_path)?))
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?.write_all(text.as_bytes())
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).filter_map(|at| text.get(at..(at + 64).min(text.len()))).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

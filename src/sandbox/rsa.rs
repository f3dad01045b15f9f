//! RSA as the providers' side of the wire needs it: two key pairs, the merchant's, whose public half is enough, and the provider's own. Written apart
//! from the orchestrator's, so that one mistake does not agree with itself.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};

/// The keys of one account: what its requests are verified with, and what it signs with.
pub struct RsaKeys {
    theirs: Vec<u8>,
    ours: KeyPair,
}

impl fmt::Debug for RsaKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaKeys")
    }
}

fn unsound(owner: &str, half: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{owner}'s {half} key is no RSA key in PEM form"))
}

impl RsaKeys {
    /// The keys as given, or those in `folder` under `{id}.…`, which are made when they are missing: the merchant's public half and the provider's
    /// private one, each with the name of its owner.
    ///
    /// # Errors
    /// When a key is none, or the folder cannot be read or written.
    pub fn find(folder: &Path, id: &str, public: (&str, Option<&str>), private: (&str, Option<&str>)) -> io::Result<Self> {
        let theirs = match public.1 {
            Some(text) => text.to_owned(),
            None => kept(folder, id, public.0)?.1,
        };
        let ours = match private.1 {
            Some(text) => text.to_owned(),
            None => kept(folder, id, private.0)?.0,
        };
        let theirs = SubjectPublicKeyInfoDer::from_pem_slice(theirs.as_bytes()).map_err(|_| unsound(public.0, "public"))?;
        Ok(Self { theirs: theirs.as_ref().to_vec(), ours: key_pair(&ours).ok_or_else(|| unsound(private.0, "private"))? })
    }

    /// Whether `signature`, in base64, is the merchant's over `content`.
    pub fn verifies(&self, content: impl AsRef<[u8]>, signature: &str) -> bool {
        let Ok(signature) = BASE64.decode(signature) else { return false };
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.theirs).verify(content.as_ref(), &signature).is_ok()
    }

    /// The provider's signature over `content`, in base64. A system that refuses to sign gives an empty one, which nobody will believe.
    pub fn sign(&self, content: impl AsRef<[u8]>) -> String {
        let mut signature = vec![0; self.ours.public_modulus_len()];
        match self.ours.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), content.as_ref(), &mut signature) {
            Ok(()) => BASE64.encode(signature),
            Err(_) => String::new(),
        }
    }
}

fn key_pair(pem: &str) -> Option<KeyPair> {
    match PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()? {
        PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
        PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()).ok(),
        _ => None,
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

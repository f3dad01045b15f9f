//! Certificates with their private keys, as files: read, checked, and handed to TLS.
//!
//! A certificate is checked when it is read and not when the first peer looks at it: the file is there and is PEM, every certificate of the
//! chain is within its dates, and the key is the key of the first. What is wrong is told with the file, and with what to do. What is not checked
//! is whether anybody will believe it: that is the peer's affair, and a private authority is as good as another.
//!
//! The key is read, used and dropped: no `Debug` of this module shows it, and no fault repeats a line of either file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use x509_cert::der::{Decode as _, SliceReader};

use super::section::Section;

/// Longer than any chain or key; a path that names a log or a device is a mistake.
const LONGEST: u64 = 256 * 1024;

/// Where a certificate and its key lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate and, behind it, those that lead to one that peers believe, in PEM.
    pub certificate_file: PathBuf,
    /// Its private key, in PEM, not encrypted.
    pub key_file: PathBuf,
}

/// A certificate with its key, sound when it was read.
#[derive(Clone)]
pub struct Identity {
    /// The chain and the key, as rustls takes them, for a server's side and a client's alike.
    pub certified: Arc<CertifiedKey>,
    /// When the first certificate of the chain to end does.
    pub not_after: Timestamp,
}

/// Which of the two files a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The certificate.
    Certificate,
    /// The key.
    Key,
}

impl Part {
    /// The field that names the file.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Certificate => "certificate_file",
            Self::Key => "key_file",
        }
    }
}

/// What is wrong with one of the files.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {what}: {next}", .part.field())]
pub struct CertificateFault {
    /// In which file.
    pub part: Part,
    /// What is wrong; it names the file.
    pub what: String,
    /// What to do.
    pub next: String,
}

impl Identity {
    /// Reads both files, and judges them at `now`.
    ///
    /// # Errors
    /// The first [`CertificateFault`]: a file that cannot be read or is not PEM, a certificate that is not valid yet or no longer, a key of
    /// another certificate.
    pub fn load(files: &CertificateFiles, now: Timestamp) -> Result<Self, CertificateFault> {
        let chain = read_chain(&files.certificate_file)?;
        let key = read_key(&files.key_file)?;
        let not_after = judge_dates(&chain, &files.certificate_file, now)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| CertificateFault {
            part: Part::Key,
            what: format!("{} and {} do not go together: {error}", files.key_file.display(), files.certificate_file.display()),
            next: "name the key that the certificate was made for".to_owned(),
        })?;
        Ok(Self { certified: Arc::new(certified), not_after })
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// Reads a table with `certificate_file` and `key_file`, and the files themselves; `None` when the table is left out. Relative paths start
/// beside the settings file.
pub(super) fn read(mut section: Section<'_>, folder: &Path, now: Timestamp) -> Option<CertificateFiles> {
    let paths = (section.text("certificate_file"), section.text("key_file"));
    let files = match paths {
        (Some(certificate), Some(key)) => Some(CertificateFiles { certificate_file: folder.join(certificate), key_file: folder.join(key) }),
        (Some(_), None) => {
            section.missing("key_file", "name the certificate's private key, in PEM");
            None
        }
        (None, Some(_)) => {
            section.missing("certificate_file", "name the certificate of that key, in PEM");
            None
        }
        (None, None) => None,
    };
    if let Some(fault) = files.as_ref().and_then(|files| Identity::load(files, now).err()) {
        section.fault(fault.part.field(), fault.what, fault.next);
    }
    section.end();
    files
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
    let bytes = read_file(path, Part::Certificate)?;
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(CertificateFault {
            part: Part::Certificate,
            what: format!("{} holds no certificate in PEM", path.display()),
            next: "give the chain as it was issued: blocks of -----BEGIN CERTIFICATE-----, your own first".to_owned(),
        }),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateFault> {
    let bytes = read_file(path, Part::Key)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let sealed = bytes.windows(9).any(|window| window == b"ENCRYPTED");
        let what = if sealed { "holds an encrypted key" } else { "holds no private key in PEM" };
        CertificateFault {
            part: Part::Key,
            what: format!("{} {what}", path.display()),
            next: "give it as -----BEGIN PRIVATE KEY-----; openssl pkey -in FILE -out FILE.pem makes that of other forms".to_owned(),
        }
    })
}

fn read_file(path: &Path, part: Part) -> Result<Vec<u8>, CertificateFault> {
    let read = std::fs::metadata(path).and_then(|metadata| match metadata.len() {
        ..=LONGEST => std::fs::read(path),
        longer => Err(std::io::Error::other(format!("it has {longer} bytes, more than any certificate"))),
    });
    read.map_err(|error| CertificateFault {
        part,
        what: format!("the file {} cannot be read: {error}", path.display()),
        next: "put it there, readable for the user that runs breakwater, or name another file".to_owned(),
    })
}

/// When the first certificate of a PEM text to end does; `None` when it holds none that can be read. Nothing is judged: a peer's authority may end
/// when it likes, and whoever looks says what that means.
pub fn first_end(text: &str) -> Option<Timestamp> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, pem::Error>>().ok()?;
    chain.iter().map(|certificate| dates(certificate).map(|(_, not_after)| not_after)).collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// When the first of the chain ends; a fault when one has ended, or has not begun.
fn judge_dates(chain: &[CertificateDer<'_>], path: &Path, now: Timestamp) -> Result<Timestamp, CertificateFault> {
    let fault = |what: String, next: &str| CertificateFault { part: Part::Certificate, what, next: next.to_owned() };
    let mut first_end = Timestamp::MAX;
    for (place, certificate) in chain.iter().enumerate() {
        let which = if place == 0 { String::new() } else { format!(", certificate {} of the chain,", place + 1) };
        let (not_before, not_after) = dates(certificate).ok_or_else(|| {
            fault(format!("{}{which} is not an X.509 certificate", path.display()), "ask whoever issued it for a certificate in X.509 version 3")
        })?;
        if not_after <= now {
            return Err(fault(format!("{}{which} expired at {not_after}", path.display()), "renew it, and name the new file"));
        }
        if not_before > now {
            return Err(fault(
                format!("{}{which} is not valid before {not_before}", path.display()),
                "set this machine's clock right, or wait until then",
            ));
        }
        first_end = first_end.min(not_after);
    }
    Ok(first_end)
}

/// From when until when a certificate is valid.
fn dates(certificate: &CertificateDer<'_>) -> Option<(Timestamp, Timestamp)> {
    let mut reader = SliceReader::new(certificate.as_ref()).ok()?;
    let read = x509_cert::Certificate::decode(&mut reader).ok()?;
    let validity = read.tbs_certificate.validity;
    let time = |time: x509_cert::time::Time| Timestamp::from_second(i64::try_from(time.to_unix_duration().as_secs()).ok()?).ok();
    Some((time(validity.not_before)?, time(validity.not_after)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().expect("a time")
    }

    /// Writes a certificate with its key, valid from `from` days to `to` days from now.
    fn issue(folder: &Path, name: &str, from: i32, to: i32) -> CertificateFiles {
        let day = |days: i32| {
            let at = now() + DAY * days;
            rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(at.as_second().unsigned_abs())
        };
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        (parameters.not_before, parameters.not_after) = (day(from), day(to));
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let files = CertificateFiles { certificate_file: folder.join(format!("{name}.pem")), key_file: folder.join(format!("{name}.key")) };
        std::fs::write(&files.certificate_file, certificate.pem()).expect("written");
        std::fs::write(&files.key_file, key.serialize_pem()).expect("written");
        files
    }

    #[test]
    fn a_sound_certificate_tells_when_it_ends() {
        let folder = tempfile::tempdir().expect("a directory");
        let identity = Identity::load(&issue(folder.path(), "good", -1, 30), now()).expect("sound");
        assert_eq!(identity.not_after, now() + DAY * 30);
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("readable");
        issue(folder.path(), "old", -30, -1);
        assert_eq!(first_end(&(text("good.pem") + &text("old.pem"))), Some(now() - DAY), "and the first of several");
        assert_eq!(first_end(&text("good.key")), None);
        assert!(!format!("{identity:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_certificate_outside_its_dates_is_refused_with_the_date() {
        let folder = tempfile::tempdir().expect("a directory");
        let expired = Identity::load(&issue(folder.path(), "old", -30, -1), now()).expect_err("expired");
        assert_eq!(expired.part, Part::Certificate);
        assert!(expired.what.contains("old.pem expired at 2026-11-21T12:00:00Z"), "{expired}");
        let early = Identity::load(&issue(folder.path(), "new", 1, 30), now()).expect_err("not yet");
        assert!(early.what.contains("is not valid before 2026-11-23"), "{early}");
    }

    #[test]
    fn an_expired_certificate_behind_a_sound_one_is_found_too() {
        let folder = tempfile::tempdir().expect("a directory");
        let (good, old) = (issue(folder.path(), "good", -1, 30), issue(folder.path(), "old", -30, -1));
        let both = [&good, &old].map(|files| std::fs::read_to_string(&files.certificate_file).expect("readable")).concat();
        std::fs::write(&good.certificate_file, both).expect("written");
        let fault = Identity::load(&good, now()).expect_err("expired");
        assert!(fault.what.contains("certificate 2 of the chain, expired"), "{fault}");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let folder = tempfile::tempdir().expect("a directory");
        let (one, other) = (issue(folder.path(), "one", -1, 30), issue(folder.path(), "other", -1, 30));
        let mixed = CertificateFiles { key_file: other.key_file, ..one };
        let fault = Identity::load(&mixed, now()).expect_err("mismatched");
        assert_eq!(fault.part, Part::Key);
        assert!(fault.what.contains("do not go together"), "{fault}");
    }

    #[test]
    fn a_file_that_is_not_there_or_not_pem_is_named_and_not_repeated() {
        let folder = tempfile::tempdir().expect("a directory");
        let good = issue(folder.path(), "good", -1, 30);
        let swapped = CertificateFiles { certificate_file: good.key_file.clone(), key_file: good.certificate_file.clone() };
        let fault = Identity::load(&swapped, now()).expect_err("swapped");
        assert!(fault.what.contains("good.key holds no certificate"), "{fault}");
        let absent = CertificateFiles { key_file: folder.path().join("absent.key"), ..good.clone() };
        assert!(Identity::load(&absent, now()).expect_err("absent").what.contains("absent.key cannot be read"));
        std::fs::write(&good.key_file, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED PRIVATE KEY-----\n").expect("written");
        let fault = Identity::load(&good, now()).expect_err("sealed");
        assert!(fault.what.contains("an encrypted key") && !fault.to_string().contains("c2VjcmV0"), "{fault}");
    }
}

//! The certificates of a run's banks: an authority of its own, made anew each time, and what it says of the banks and of us. Real banks are behind
//! mutual TLS, and what goes wrong with it goes wrong here too.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// Where they lie, as PEM.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate, which both sides believe.
    pub authority: PathBuf,
    /// The banks' certificate, for this machine's loopback address, and its key.
    pub bank: (PathBuf, PathBuf),
    /// Ours, and its key.
    pub ours: (PathBuf, PathBuf),
}

impl Certificates {
    /// Makes them in `folder`, which must be there.
    ///
    /// # Errors
    /// A sentence.
    pub fn make(folder: &Path) -> Result<Self, String> {
        let failed = |error: rcgen::Error| format!("no certificate can be made: {error}");
        let mut parameters = CertificateParams::new(Vec::new()).map_err(failed)?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().map_err(failed)?).map_err(failed)?;
        let signed = |name: &str, file: &str| {
            let key = KeyPair::generate().map_err(failed)?;
            let certificate = CertificateParams::new(vec![name.to_owned()]).and_then(|own| own.signed_by(&key, &authority)).map_err(failed)?;
            Ok::<_, String>((
                write(folder, &format!("{file}.pem"), &certificate.pem())?,
                write(folder, &format!("{file}.key"), &key.serialize_pem())?,
            ))
        };
        Ok(Self {
            authority: write(folder, "authority.pem", &authority.pem())?,
            bank: signed("127.0.0.1", "bank")?,
            ours: signed("merchant", "merchant")?,
        })
    }
}

fn write(folder: &Path, name: &str, pem: &str) -> Result<PathBuf, String> {
    let path = folder.join(name);
    // A folder that is used again has those of the last run.
    let _absent = fs::remove_file(&path);
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).and_then(|mut file| file.write_all(pem.as_bytes()));
    written.map(|()| path.clone()).map_err(|error| format!("{}: {error}", path.display()))
}

//! Where a bank's front ends are, and how a socket to one is made and secured.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use crate::channel::wire::{Line, wire};
use crate::provider::socket::TlsMaterial;

/// One front end: `tcp://host:port` or `tls://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontEnd {
    secure: bool,
    host: String,
    port: u16,
}

/// Why a text is no list of front ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrontEndError {
    /// Another scheme, or none.
    #[error("it must begin with tls:// or tcp://")]
    Scheme,
    /// No host, no port, or more than these.
    #[error("it must be a scheme, a host and a port, and nothing else")]
    Place,
}

impl FrontEnd {
    /// Reads one.
    ///
    /// # Errors
    /// [`FrontEndError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, FrontEndError> {
        let (secure, rest) = match text.trim().split_once("://") {
            Some(("tls", rest)) => (true, rest),
            Some(("tcp", rest)) => (false, rest),
            _ => return Err(FrontEndError::Scheme),
        };
        let (host, port) = rest.rsplit_once(':').ok_or(FrontEndError::Place)?;
        let host = host.strip_prefix('[').map_or(Some(host), |host| host.strip_suffix(']')).ok_or(FrontEndError::Place)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or(FrontEndError::Place)?;
        if host.is_empty() || host.contains(['/', '@', '?', '#', ' ', '[', ']']) {
            return Err(FrontEndError::Place);
        }
        Ok(Self { secure, host: host.to_owned(), port })
    }

    /// Reads several, with commas between them.
    ///
    /// # Errors
    /// As [`FrontEnd::parse`], for the first that is wrong.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, FrontEndError> {
        text.split(',').map(Self::parse).collect()
    }

    /// Whether it is spoken to over TLS.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Host and port, for logs.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Why certificates and keys make no TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is not PEM, or has none of what it must have.
    #[error("{what} cannot be read")]
    Pem {
        /// Which one.
        what: &'static str,
        /// What the parser said.
        source: PemError,
    },
    /// They do not fit each other, or the cryptography.
    #[error("the certificates and the key do not fit")]
    Rustls(#[from] rustls::Error),
}

/// The same from PEM; `ours` is the certificate's chain and its key.
///
/// # Errors
/// [`TlsError`] says which of them cannot be used.
pub fn private_tls(authority: &[u8], ours: Option<(&[u8], &[u8])>) -> Result<Arc<ClientConfig>, TlsError> {
    let certificates = |what, pem| -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let read: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(pem).collect();
        let read = read.map_err(|source| TlsError::Pem { what, source })?;
        if read.is_empty() { Err(TlsError::Pem { what, source: PemError::NoItemsFound }) } else { Ok(read) }
    };
    let authority = certificates("the authority's certificate", authority)?;
    let ours = match ours {
        None => None,
        Some((chain, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|source| TlsError::Pem { what: "our key", source })?;
            Some((certificates("our certificate", chain)?, key))
        }
    };
    private_tls_of(TlsMaterial { authority, ours })
}

/// TLS as banks want it: 1.2 and 1.3 by aws-lc, only the bank's own authority believed, and a certificate of ours.
///
/// # Errors
/// [`TlsError::Rustls`] when they do not fit each other.
pub fn private_tls_of(material: TlsMaterial) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in material.authority {
        roots.add(certificate)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?.with_root_certificates(roots);
    let config = match material.ours {
        None => config.with_no_client_auth(),
        Some((chain, key)) => config.with_client_auth_cert(chain, key)?,
    };
    Ok(Arc::new(config))
}

/// What a socket is, plain or secured.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

/// A socket to this front end, with the witness of what it took, within `time`.
pub(super) async fn connect(front_end: &FrontEnd, tls: &TlsConnector, time: Duration) -> io::Result<(Pin<Box<dyn Stream>>, Line)> {
    let until = Instant::now() + time;
    let socket = reach(front_end, until).await?;
    // A message is one small segment: it must not wait for the acknowledgement of the one before.
    socket.set_nodelay(true)?;
    let (wire, line) = wire(socket);
    if !front_end.secure {
        return Ok((Box::pin(wire), line));
    }
    let name = ServerName::try_from(front_end.host.clone()).map_err(io::Error::other)?;
    let secured = timeout_at(until, tls.connect(name, wire)).await.map_err(io::Error::from)??;
    Ok((Box::pin(secured), line))
}

/// The first of the host's addresses that answers, each with an equal share of the time.
async fn reach(front_end: &FrontEnd, until: Instant) -> io::Result<TcpStream> {
    let found = timeout_at(until, lookup_host((front_end.host.as_str(), front_end.port))).await.map_err(io::Error::from)??;
    let addresses: Vec<_> = found.collect();
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for (tried, address) in (0_u32..).zip(&addresses) {
        let left = u32::try_from(addresses.len()).unwrap_or(u32::MAX) - tried;
        let share = until.saturating_duration_since(Instant::now()) / left;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => failed = error,
            Err(late) => failed = late.into(),
        }
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_of_front_ends_is_read_and_what_is_none_is_refused() {
        let pair = FrontEnd::parse_all("tls://bank-a.example:7001, tcp://[::1]:7002").expect("a pair");
        assert_eq!(
            pair.iter().map(|one| (one.secure, one.place())).collect::<Vec<_>>(),
            [(true, "bank-a.example:7001".into()), (false, "::1:7002".into())]
        );
        for text in ["", "bank:7001", "http://bank:7001"] {
            assert_eq!(FrontEnd::parse_all(text), Err(FrontEndError::Scheme), "{text}");
        }
        for text in
            ["tls://bank", "tls://:7001", "tls://bank:0", "tls://bank:70000", "tls://bank:7001/path", "tls://user@bank:7001", "tls://[::1:7001"]
        {
            assert_eq!(FrontEnd::parse(text), Err(FrontEndError::Place), "{text}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_named() {
        assert!(matches!(private_tls(b"", None), Err(TlsError::Pem { what: "the authority's certificate", .. })));
    }
}

//! The certificates that our own listeners show, and when those of the channels end. A listener's is read again at SIGHUP, from the same files: whoever renews it replaces the files and asks
//! for that. Connections that stand keep theirs; a file with a fault changes nothing, and its fault is logged.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::{SignalKind, signal};

use super::StartError;
use crate::clock::Clock;
use crate::config::certificate::Identity;
use crate::config::{CertificateFiles, ChannelSettings};
use crate::lasting;

/// How soon an end is worth a warning in the log: renewal by ACME is due thirty days before it.
const SOON: jiff::SignedDuration = jiff::SignedDuration::from_hours(14 * 24);

/// A certificate that a listener shows, and may show another of tomorrow.
#[derive(Debug)]
pub struct Shown {
    /// The table of the settings that names it: `server.tls`.
    table: &'static str,
    files: CertificateFiles,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Shown {
    /// Reads it.
    ///
    /// # Errors
    /// [`StartError::Setting`] with table, field, what and what to do.
    pub fn open(table: &'static str, files: &CertificateFiles, clock: &Clock) -> Result<Arc<Self>, StartError> {
        let identity = Identity::load(files, clock.wall()).map_err(|fault| StartError::Setting(format!("{table}.{fault}")))?;
        told_of(table, &identity, clock);
        Ok(Arc::new(Self { table, files: files.clone(), current: RwLock::new(identity.certified) }))
    }

    /// Reads it again. False when that cannot be: the one there is stays.
    pub fn renew(&self, clock: &Clock) -> bool {
        match Identity::load(&self.files, clock.wall()) {
            Ok(identity) => {
                told_of(self.table, &identity, clock);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = identity.certified;
                true
            }
            Err(fault) => {
                tracing::error!(table = self.table, %fault, "the certificate was not read again: the old one is still shown");
                false
            }
        }
    }

    /// How a listener speaks TLS with it: 1.2 and 1.3, by aws-lc, without asking clients for certificates.
    ///
    /// # Errors
    /// [`StartError::Setting`] when the cryptography does not offer these versions, which only another build of it could bring about.
    pub fn config(self: &Arc<Self>) -> Result<rustls::ServerConfig, StartError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| StartError::Setting(format!("TLS cannot be set up: {error}")))?;
        Ok(builder.with_no_client_auth().with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn told_of(table: &'static str, identity: &Identity, clock: &Clock) {
    metrics::gauge!("breakwater_tls_certificate_end_timestamp_seconds", "listener" => table).set(identity.not_after.as_second() as f64);
    if identity.not_after <= clock.wall() + SOON {
        tracing::warn!(table, not_after = %identity.not_after, "the certificate ends soon: renew it, and send SIGHUP");
    } else {
        tracing::info!(table, not_after = %identity.not_after, "the certificate was read");
    }
}

/// Says when the certificates of a channel's account end. They are read at the start alone: whoever renews them starts the process again.
pub(super) fn tell_of_channel(settings: &ChannelSettings, clock: &Clock) {
    for (field, end) in settings.certificate_ends() {
        let Some(end) = end else { continue };
        metrics::gauge!("breakwater_channel_certificate_end_timestamp_seconds", "channel" => settings.id.clone(), "field" => field)
            .set(end.as_second() as f64);
        if end <= clock.wall() + SOON {
            tracing::warn!(channel = %settings.id, field, not_after = %end, "the channel's certificate ends soon: renew it, and start again");
        }
    }
}

/// Reads them again at each SIGHUP. Listen for the signal before anybody may send it: unheard, it would end the process.
///
/// # Errors
/// [`StartError::System`]: signals cannot be listened to.
pub fn renew_at_hangup(shown: Vec<Arc<Shown>>, clock: Clock) -> Result<(), StartError> {
    if shown.is_empty() {
        return Ok(());
    }
    let mut hangups = signal(SignalKind::hangup())?;
    // What panics over one file must not leave the next renewal unheard.
    actix::spawn(lasting::keep("certificates", async move || {
        while hangups.recv().await.is_some() {
            let renewed = shown.iter().filter(|certificate| certificate.renew(&clock)).count();
            tracing::info!(renewed, "certificates were read again");
        }
    }));
    Ok(())
}

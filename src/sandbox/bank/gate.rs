//! The two front ends before the host: TCP listeners, perhaps with mutual TLS, that share it, and misbehave on purpose.
//!
//! Every message is handled beside its connection's reader, so that answers overtake each other as they do at a real bank. A connection that is
//! told to end reads nothing more, and answers what it has read.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::host::{Ending, Host};
use crate::sandbox::account::Gate;
use crate::sandbox::listener::Reserved;
use crate::sandbox::settings::BankTls;

/// More than any pool in a test, fewer than a usual limit on open files.
const CONNECTIONS_MAX: usize = 1_024;
/// A peer that does not finish its handshake must not hold a place.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// What is in flight when the sandbox ends has this long.
const GRACE: Duration = Duration::from_secs(1);
const DRIP: Duration = Duration::from_millis(200);

/// The pair.
pub struct FrontEnds {
    reserved: [Reserved; 2],
    host: Arc<Host>,
    tls: Option<TlsAcceptor>,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    stop: watch::Sender<bool>,
    accepting: Vec<JoinHandle<JoinSet<()>>>,
}

impl std::fmt::Debug for FrontEnds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrontEnds").field("reserved", &self.reserved).finish_non_exhaustive()
    }
}

impl FrontEnds {
    /// The pair before `host`, still shut.
    pub fn new(reserved: [Reserved; 2], host: Arc<Host>, tls: Option<TlsAcceptor>) -> Self {
        Self { reserved, host, tls, open: Mutex::new(None) }
    }

    async fn shut(&self) -> Option<JoinSet<()>> {
        let Open { stop, accepting } = self.open.lock().await.take()?;
        stop.send_replace(true);
        let mut left = JoinSet::new();
        for accepting in accepting {
            if let Ok(mut connections) = accepting.await {
                left.spawn(async move { while connections.join_next().await.is_some() {} });
            }
        }
        Some(left)
    }
}

impl Gate for FrontEnds {
    fn address(&self) -> SocketAddr {
        self.reserved[0].address()
    }

    fn is_open(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { self.open.lock().await.is_some() })
    }

    fn open(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            let mut open = self.open.lock().await;
            if open.is_none() {
                let listeners = [self.reserved[0].listen()?, self.reserved[1].listen()?];
                let (stop, stopped) = watch::channel(false);
                let accept = |listener| tokio::spawn(accept(listener, self.host.clone(), self.tls.clone(), stopped.clone()));
                *open = Some(Open { stop, accepting: listeners.into_iter().map(accept).collect() });
            }
            Ok(())
        })
    }

    fn refuse(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(mut left) = self.shut().await {
                tokio::spawn(async move { while left.join_next().await.is_some() {} });
            }
        })
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(mut left) = self.shut().await {
                let finished = async { while left.join_next().await.is_some() {} };
                if tokio::time::timeout(GRACE, finished).await.is_err() {
                    left.shutdown().await;
                }
            }
        })
    }
}

/// TLS of these files, which demands a certificate of the authority's from whoever connects.
///
/// # Errors
/// When a file cannot be read, or they do not fit each other.
pub fn acceptor(files: &BankTls) -> io::Result<TlsAcceptor> {
    let read = |path| -> io::Result<Vec<CertificateDer<'static>>> {
        let pem = std::fs::read(path)?;
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(io::Error::other)
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in read(&files.authority)? {
        roots.add(certificate).map_err(io::Error::other)?;
    }
    let known = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(&std::fs::read(&files.key)?).map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let config = config.with_client_cert_verifier(known).with_single_cert(read(&files.certificate)?, key).map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts until stopped; gives back the connections that are still open.
async fn accept(listener: TcpListener, host: Arc<Host>, tls: Option<TlsAcceptor>, mut stopped: watch::Receiver<bool>) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    let stop = stopped.clone();
    loop {
        tokio::select! {
            () = told(&mut stopped) => return connections,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(meet(stream, host.clone(), tls.clone(), stop.clone()));
                }
                Err(refusal) => {
                    tracing::warn!(error = %refusal, "the sandbox could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// Returns when told to stop; a dropped sender tells it too.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}
type Writer = Arc<Mutex<WriteHalf<Pin<Box<dyn Stream>>>>>;

/// One connection, from its handshake to its end.
async fn meet(stream: TcpStream, host: Arc<Host>, tls: Option<TlsAcceptor>, stopped: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    // A second handle on the socket: a reset is asked for by linger, whatever is wrapped around the first.
    let Ok(twin) = rustix::io::dup(&stream) else { return };
    let stream: Pin<Box<dyn Stream>> = match tls {
        None => Box::pin(stream),
        Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(secured)) => Box::pin(secured),
            // How a client fails is its own affair.
            _ => return,
        },
    };
    if converse(stream, host, stopped).await == Parting::Reset {
        let _ = rustix::net::sockopt::set_socket_linger(&twin, Some(Duration::ZERO));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parting {
    Orderly,
    Reset,
}

async fn converse(stream: Pin<Box<dyn Stream>>, host: Arc<Host>, mut stopped: watch::Receiver<bool>) -> Parting {
    let (mut reader, writer) = tokio::io::split(stream);
    let writer: Writer = Arc::new(Mutex::new(writer));
    let signed_on = Arc::new(AtomicBool::new(false));
    let resetting = Arc::new(Notify::new());
    let mut under_way = JoinSet::new();
    let frames = host.frames;
    // A frame that is half read must not be lost to another branch: reading is a task of its own, and hands over whole frames.
    let (hand, mut handed) = tokio::sync::mpsc::channel(64);
    let reading = tokio::spawn(async move {
        while let Ok(content) = frames.read(&mut reader).await {
            if hand.send(content).await.is_err() {
                return;
            }
        }
    });
    let parting = loop {
        tokio::select! {
            () = told(&mut stopped) => break Parting::Orderly,
            () = resetting.notified() => break Parting::Reset,
            Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
            content = handed.recv() => {
                let Some(content) = content else { break Parting::Orderly };
                if !content.is_empty() {
                    let (host, writer, signed_on, resetting) = (host.clone(), writer.clone(), signed_on.clone(), resetting.clone());
                    under_way.spawn(async move {
                        match host.exchange(&content, &signed_on).await {
                            Ending::Answer { frame, copies, drip } => say(&writer, &frame, copies, drip).await,
                            Ending::Silence => {}
                            Ending::Reset => resetting.notify_one(),
                        }
                    });
                }
            }
        }
    };
    reading.abort();
    if parting == Parting::Orderly {
        while under_way.join_next().await.is_some() {}
    }
    under_way.shutdown().await;
    // The reader's half must be gone before the socket can close.
    let _ = reading.await;
    parting
}

async fn say(writer: &Writer, frame: &[u8], copies: u32, drip: bool) {
    let mut writer = writer.lock().await;
    for _ in 0..copies {
        let pieces = if drip { 1 } else { frame.len() };
        for piece in frame.chunks(pieces) {
            if drip {
                tokio::time::sleep(DRIP).await;
            }
            // A caller who left hears nothing; its messages are carried out all the same.
            if writer.write_all(piece).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    }
}

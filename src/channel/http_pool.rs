//! A channel's HTTP/1.1 connections, and the one thing about them that matters: did anything leave?
//!
//! An exchange ends in one of three ways. [`Exchange::NotSent`]: not one byte of the request was written, and none can be any more; another
//! channel may be tried. [`Exchange::Lost`]: something may have arrived and there is no whole answer; only the channel can tell what
//! became of it. [`Exchange::Answer`]: a whole answer, whatever it says. The socket itself is the witness (`wire.rs`), for plain text and TLS
//! alike, so a write that failed on its first byte is *not sent* where a library's own queue could only shrug.
//!
//! It refuses to: follow redirects; retry what was written; queue (a full pool answers at once, and the flow takes another channel); reuse a
//! connection whose exchange did not end in a whole answer. The only second try is inside one exchange: a *pooled* connection that took no byte
//! is replaced once by a fresh one. To make even that rare a connection is idle for less than a peer's keep-alive, and the kernel is asked
//! before each use whether the peer has said goodbye.
//!
//! An answer that ends with the connection (no length, no chunks: HTTP/1.0 manners) cannot be told from one that was cut short; its parser must.
//!
//! TLS: the configuration is passed in; [`tls_config`] makes the usual one and names its cryptography, so that no process-wide default
//! provider has to be installed first.

use std::future::poll_fn;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use thiserror::Error;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::wire::{Line, wire};
use crate::clock::{Clock, Moment};
use crate::domain::CallClass;
use crate::provider::{HttpRequest, HttpResponse};

/// The longest answer body, in bytes. A provider's largest answer is some kilobytes; what is longer is a fault or an attack on our memory.
pub const BODY_MAX: usize = 256 * 1024;

/// The longest status line with headers, in bytes, and how many headers there may be.
const HEAD_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// How often a connection that has just answered is looked at before it is given up instead of kept.
const READY_LOOKS: usize = 8;

/// How a channel's connections behave.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolSettings {
    /// Connections at most, busy and idle; default 64, 1 to 512. A call beyond it is not sent. Too low turns payments away from a healthy
    /// channel, too high may exceed what the provider allows an account.
    pub max_connections: usize,
    /// How long finding, connecting and securing a connection may take, in milliseconds; default 1,000, 10 to 30,000. Too low fails a distant
    /// peer that is healthy, too high spends a payment's deadline on a dead one.
    pub connect_timeout_ms: u64,
    /// How long a connection is kept unused, in milliseconds; default 4,000, 0 (never kept) to 300,000. Must be below the peer's keep-alive: at
    /// or above it, requests meet the peer's goodbye half-way and end unknown.
    pub idle_timeout_ms: u64,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self { max_connections: 64, connect_timeout_ms: 1_000, idle_timeout_ms: 4_000 }
    }
}

impl PoolSettings {
    /// Every fault at once, one sentence each, naming the field and its range.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        if !(1..=512).contains(&self.max_connections) {
            faults.push(format!("max_connections is {}: it must be from 1 to 512", self.max_connections));
        }
        if !(10..=30_000).contains(&self.connect_timeout_ms) {
            faults.push(format!("connect_timeout_ms is {}: it must be from 10 to 30000", self.connect_timeout_ms));
        }
        if self.idle_timeout_ms > 300_000 {
            faults.push(format!("idle_timeout_ms is {}: it must be at most 300000", self.idle_timeout_ms));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

/// Where a channel is: `http://` or `https://`, a host, perhaps a port and a path that every request's path is appended to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    secure: bool,
    host: String,
    port: u16,
    authority: HeaderValue,
    prefix: String,
}

/// Why a text is not an [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Not a URL.
    #[error("it is not a URL")]
    NotUrl,
    /// Another scheme, or none.
    #[error("it must begin with http:// or https://")]
    Scheme,
    /// A query, or a user name or password: an address is shown in logs and pages.
    #[error("it must be a scheme, a host, perhaps a port and a path, and nothing else")]
    Extra,
}

impl Address {
    /// Reads a base address.
    ///
    /// # Errors
    /// [`AddressError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let uri: http::Uri = text.parse().map_err(|_| AddressError::NotUrl)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(AddressError::Scheme),
        };
        let authority = uri.authority().ok_or(AddressError::NotUrl)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(AddressError::Extra);
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(AddressError::NotUrl);
        }
        Ok(Self {
            secure,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| AddressError::NotUrl)?,
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

/// The usual TLS: 1.2 and 1.3 by aws-lc, the web's root certificates, no certificate of our own.
///
/// # Errors
/// When the cryptography does not offer these versions, which only another build of it could bring about.
pub fn tls_config() -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

/// How an exchange ended.
#[derive(Debug)]
pub enum Exchange<R = HttpResponse> {
    /// Not one byte of it left, and none can any more.
    NotSent(NotSent),
    /// It may have arrived; there is no whole answer.
    Lost(Lost),
    /// A whole answer, and how long it took from the first byte on.
    Answer(R, Duration),
}

/// Why nothing was sent.
#[derive(Debug, Error)]
pub enum NotSent {
    /// The caller's last word, right before the first byte, was no.
    #[error("it was withheld")]
    Withheld,
    /// The deadline had passed before anything was tried.
    #[error("its deadline had passed")]
    TooLate,
    /// Every connection is busy.
    #[error("every connection is busy")]
    PoolExhausted,
    /// The request cannot be written as HTTP: a fault of the provider's code.
    #[error("the request cannot be written as HTTP")]
    Unwritable,
    /// The host's name was not resolved, in time.
    #[error("the host was not found")]
    Dns(#[source] io::Error),
    /// No connection, in time.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// No secure connection, in time: the handshake failed or the certificate is not believed.
    #[error("no secure connection")]
    Tls(#[source] io::Error),
    /// No socket to the peer is up.
    #[error("no socket to the peer is up")]
    NoSocket,
    /// A message that its answer could not be told from is under way.
    #[error("the same message is under way")]
    UnderWay,
    /// A connection that took no byte: it was closed first, or stayed deaf until the deadline.
    #[error("the connection took nothing")]
    Deaf(Lost),
}

impl NotSent {
    /// What it says of the channel: a peer that cannot be reached is a failure, although the money is safe; our own full pool is not.
    pub const fn class(&self) -> CallClass {
        match self {
            Self::Withheld | Self::TooLate | Self::PoolExhausted | Self::Unwritable | Self::UnderWay => CallClass::Neutral,
            Self::Dns(_) | Self::Connect(_) | Self::Tls(_) | Self::NoSocket | Self::Deaf(_) => CallClass::FailHard,
        }
    }

    /// The name in logs and on an attempt's record.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Withheld => "withheld",
            Self::TooLate => "too_late",
            Self::PoolExhausted => "pool_exhausted",
            Self::Unwritable => "unwritable",
            Self::Dns(_) => "dns",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::NoSocket => "no_socket",
            Self::UnderWay => "under_way",
            Self::Deaf(_) => "closed_before_send",
        }
    }
}

/// Why there is no whole answer. Every one of them is [`CallClass::FailHard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Lost {
    /// Closed or reset before the answer's head was whole.
    #[error("the connection broke before the answer")]
    Closed,
    /// The deadline came first.
    #[error("no answer before the deadline")]
    Deadline,
    /// The body broke off.
    #[error("the answer broke off")]
    Truncated,
    /// More than [`BODY_MAX`].
    #[error("the answer is too large")]
    TooLarge,
    /// Not HTTP, or a head beyond its caps.
    #[error("the answer is not HTTP")]
    Malformed,
}

impl Lost {
    /// The name in logs and on an attempt's record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "connection_lost",
            Self::Deadline => "deadline",
            Self::Truncated => "truncated",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
        }
    }
}

/// The connections of one channel. Belongs to the channel's actor and lives on its thread; connections are driven by tasks of the runtime
/// that calls [`HttpPool::exchange`], and end with it or with the pool.
pub struct HttpPool {
    address: Address,
    tls: TlsConnector,
    settings: PoolSettings,
    clock: Clock,
    /// The newest last: it is used first, so that the others may grow old and go.
    idle: Mutex<Vec<Connection>>,
    open: Arc<AtomicUsize>,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    line: Line,
    driver: AbortHandle,
    used: bool,
    idle_since: Moment,
    _slot: Slot,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Nothing leaves behind our back, and a peer that does not read cannot hold the task that says goodbye to it.
        self.line.cut();
        self.driver.abort();
    }
}

/// One of `max_connections`.
struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HttpPool {
    /// A pool without connections: the first call opens the first.
    pub fn new(address: Address, tls: Arc<ClientConfig>, settings: PoolSettings, clock: Clock) -> Self {
        Self { address, tls: TlsConnector::from(tls), settings, clock, idle: Mutex::default(), open: Arc::default() }
    }

    /// Connections, busy and idle.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections that wait for a call.
    pub fn idle(&self) -> usize {
        self.resting().len()
    }

    /// Closes what has been idle for too long or was left by its peer. The pool has no timer of its own: its owner calls this now and then.
    pub fn sweep(&self) {
        let now = self.clock.boot();
        self.resting().retain(|connection| self.is_usable(connection, now));
    }

    /// Sends one request and waits for its answer until `deadline`. `may_send` is asked right before the first byte may leave, each time that may
    /// be (twice at most): leases are checked and permits marked there. Dropping the future closes its connection; what it had sent, it has sent.
    pub async fn exchange(&self, request: HttpRequest, deadline: Moment, mut may_send: impl FnMut() -> bool) -> Exchange {
        let Some(message) = self.message(request) else {
            return Exchange::NotSent(NotSent::Unwritable);
        };
        let now = self.clock.boot();
        if deadline <= now {
            return Exchange::NotSent(NotSent::TooLate);
        }
        let until = Instant::now() + deadline.since(now);
        let mut connection = self.take_idle();
        loop {
            let ready = match connection.take() {
                Some(pooled) => pooled,
                None => match self.connect(until).await {
                    Ok(fresh) => fresh,
                    Err(reason) => return Exchange::NotSent(reason),
                },
            };
            if !may_send() {
                self.keep(ready).await;
                return Exchange::NotSent(NotSent::Withheld);
            }
            let pooled = ready.used;
            match self.carry(ready, message.clone(), until).await {
                Exchange::NotSent(NotSent::Deaf(Lost::Closed)) if pooled => {}
                ended => return ended,
            }
        }
    }

    async fn carry(&self, mut connection: Connection, message: http::Request<Full<Bytes>>, until: Instant) -> Exchange {
        let (before, started) = (connection.line.written(), self.clock.boot());
        let answered = timeout_at(until, async {
            let response =
                connection.sender.send_request(message).await.map_err(|error| if error.is_parse() { Lost::Malformed } else { Lost::Closed })?;
            read(response).await
        });
        let reason = match answered.await {
            Ok(Ok(response)) => {
                let rtt = self.clock.boot().since(started);
                self.keep(connection).await;
                return Exchange::Answer(response, rtt);
            }
            Ok(Err(lost)) => lost,
            Err(_) => Lost::Deadline,
        };
        if connection.line.cut() == before { Exchange::NotSent(NotSent::Deaf(reason)) } else { Exchange::Lost(reason) }
    }

    /// The request as HTTP/1.1, or `None` when a header or the path is not.
    fn message(&self, request: HttpRequest) -> Option<http::Request<Full<Bytes>>> {
        let uri = http::Uri::try_from(format!("{}{}", self.address.prefix, request.path)).ok()?;
        if uri.authority().is_some() || !uri.path().starts_with('/') {
            return None;
        }
        let body = Bytes::from(request.body);
        let bodiless_post = body.is_empty() && request.method != http::Method::GET;
        let mut message = http::Request::new(Full::new(body));
        *message.method_mut() = request.method;
        *message.uri_mut() = uri;
        let headers = message.headers_mut();
        headers.insert(HOST, self.address.authority.clone());
        if bodiless_post {
            // RFC 9110, 8.6: a POST without a body says so; some servers answer 411 otherwise.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        for (name, value) in request.headers {
            let name = HeaderName::try_from(name).ok()?;
            if name == HOST || name == CONTENT_LENGTH {
                return None;
            }
            let mut value = HeaderValue::try_from(value).ok()?;
            value.set_sensitive(name == AUTHORIZATION);
            headers.append(name, value);
        }
        Some(message)
    }

    fn resting(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_usable(&self, connection: &Connection, now: Moment) -> bool {
        now.since(connection.idle_since) < Duration::from_millis(self.settings.idle_timeout_ms)
            && connection.sender.is_ready()
            && connection.line.is_quiet()
    }

    fn take_idle(&self) -> Option<Connection> {
        let now = self.clock.boot();
        loop {
            let connection = self.resting().pop()?;
            if self.is_usable(&connection, now) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next call, if it is ready for one. It nearly always is by now; the loop gives its task a few turns.
    async fn keep(&self, mut connection: Connection) {
        for _ in 0..READY_LOOKS {
            let looked = poll_fn(|cx| Poll::Ready(connection.sender.poll_ready(cx))).await;
            match looked {
                Poll::Ready(Ok(())) => {
                    connection.used = true;
                    connection.idle_since = self.clock.boot();
                    self.resting().push(connection);
                    return;
                }
                Poll::Ready(Err(_)) => return,
                Poll::Pending => tokio::task::yield_now().await,
            }
        }
    }

    fn slot(&self) -> Option<Slot> {
        let max = self.settings.max_connections;
        let taken = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < max).then_some(open + 1));
        taken.ok().map(|_| Slot(Arc::clone(&self.open)))
    }

    async fn connect(&self, until: Instant) -> Result<Connection, NotSent> {
        let slot = self.slot().ok_or(NotSent::PoolExhausted)?;
        let until = until.min(Instant::now() + Duration::from_millis(self.settings.connect_timeout_ms));
        let socket = self.reach(until).await?;
        // A request is one small segment: it must not wait for the peer's acknowledgement of the one before.
        socket.set_nodelay(true).map_err(NotSent::Connect)?;
        let (wire, line) = wire(socket);
        let (sender, driver) = if self.address.secure {
            let name = ServerName::try_from(self.address.host.clone()).map_err(|_| NotSent::Tls(io::ErrorKind::InvalidInput.into()))?;
            let secured = timeout_at(until, self.tls.connect(name, wire)).await;
            drive(secured.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(NotSent::Tls)?).await?
        } else {
            drive(wire).await?
        };
        Ok(Connection { sender, line, driver, used: false, idle_since: self.clock.boot(), _slot: slot })
    }

    /// A socket to the first of the host's addresses that answers, each with an equal share of the time that is left.
    async fn reach(&self, until: Instant) -> Result<TcpStream, NotSent> {
        let found = timeout_at(until, lookup_host((self.address.host.as_str(), self.address.port))).await;
        let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(NotSent::Dns)?;
        let addresses: Vec<_> = found.collect();
        let mut failed = NotSent::Dns(io::ErrorKind::NotFound.into());
        for (tried, address) in (0_u32..).zip(&addresses) {
            let left = u32::try_from(addresses.len()).unwrap_or(u32::MAX) - tried;
            let share = until.saturating_duration_since(Instant::now()) / left;
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(error)) => failed = NotSent::Connect(error),
                Err(_) => failed = NotSent::Connect(io::ErrorKind::TimedOut.into()),
            }
        }
        Err(failed)
    }
}

/// Speaks HTTP over `io`, in a task of its own that ends with the connection.
async fn drive<T>(io: T) -> Result<(SendRequest<Full<Bytes>>, AbortHandle), NotSent>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let shaken = Builder::new().max_headers(HEADERS_MAX).max_header_size(HEAD_MAX).handshake(TokioIo::new(io)).await;
    let (sender, connection) = shaken.map_err(|error| NotSent::Connect(io::Error::other(error)))?;
    let driver = tokio::spawn(async move {
        // How it ended is told to whoever waits for an answer; when nobody waits, nobody needs to know.
        let _ended = connection.await;
    });
    Ok((sender, driver.abort_handle()))
}

async fn read(response: hyper::Response<Incoming>) -> Result<HttpResponse, Lost> {
    let (head, body) = response.into_parts();
    let collected = Limited::new(body, BODY_MAX).collect().await;
    let collected = collected.map_err(|error| if error.is::<LengthLimitError>() { Lost::TooLarge } else { Lost::Truncated })?;
    Ok(HttpResponse { status: head.status.as_u16(), headers: head.headers, body: collected.to_bytes() })
}

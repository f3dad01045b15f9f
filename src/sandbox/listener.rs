//! A channel's listener: HTTP/1.1 over a socket that can misbehave on purpose.
//!
//! It is written over hyper's connection, not over a web framework, because two faults need the socket itself: a reset that sends no byte of an
//! answer, and a refusal that closes the listener, ends the idle connections and still answers what is in flight.
//!
//! The port stays ours while the listener is shut: a second socket, bound to it and never listening, keeps other programs from getting it, and
//! connecting to it is refused all the same.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Interval, MissedTickBehavior};

use super::account::{Account, Gate};

/// The providers' requests are small; what is larger is refused with 413.
const BODY_MAX: usize = 64 * 1024;
/// More than any pool in a test, fewer than a usual limit on open files.
const CONNECTIONS_MAX: usize = 4096;
const BACKLOG: u32 = 1024;
/// What is in flight when the sandbox ends has this long.
const GRACE: Duration = Duration::from_secs(1);
const DRIP: Duration = Duration::from_millis(200);
/// Many times what anybody reads of an answer.
const HUGE: usize = 4 * 1024 * 1024;

/// An account that is asked over HTTP.
pub trait HttpAccount: Account {
    /// Answers one request, or fails to, as told.
    fn exchange(self: Arc<Self>, call: Call) -> BoxFuture<'static, Ending>;

    /// The answer to a body that is over 64 KiB.
    fn too_large(&self) -> Ending;
}

/// A request, read from the wire.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: http::Method,
    /// Without the query.
    pub path: String,
    /// Without the question mark.
    pub query: String,
    /// The headers.
    pub headers: http::HeaderMap,
    /// At most 64 KiB.
    pub body: Bytes,
}

impl Call {
    /// A header's text, when it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// How a request ends on the wire.
#[derive(Debug)]
pub enum Ending {
    /// With an answer, perhaps a byte at a time.
    Answer {
        /// Head and body.
        response: Reply,
        /// A byte each 200 ms.
        drip: bool,
    },
    /// With a reset, and no byte of an answer.
    Reset,
}

/// An address that is ours, before it is known what answers there.
#[derive(Debug)]
pub struct Reserved {
    /// Bound, never listening: see the module.
    _socket: TcpSocket,
    address: SocketAddr,
}

impl Reserved {
    /// Takes an address, without listening yet. Port 0 takes any.
    ///
    /// # Errors
    /// When it is taken.
    pub fn at(address: SocketAddr) -> io::Result<Self> {
        let socket = bound(address)?;
        let address = socket.local_addr()?;
        Ok(Self { _socket: socket, address })
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A second socket at the same address, to listen with.
    ///
    /// # Errors
    /// When another program has taken the port by force.
    pub fn listen(&self) -> io::Result<TcpListener> {
        bound(self.address)?.listen(BACKLOG)
    }

    /// The gate before `account`, still shut.
    pub fn before(self, account: Arc<dyn HttpAccount>) -> HttpGate {
        HttpGate { reserved: self, account, open: Mutex::new(None) }
    }
}

/// The gate of an account that is asked over HTTP.
#[derive(Debug)]
pub struct HttpGate {
    reserved: Reserved,
    account: Arc<dyn HttpAccount>,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    stop: watch::Sender<bool>,
    accepting: JoinHandle<JoinSet<()>>,
}

impl Gate for HttpGate {
    fn address(&self) -> SocketAddr {
        self.reserved.address
    }

    fn is_open(&self) -> BoxFuture<'_, bool> {
        Box::pin(async { self.open.lock().await.is_some() })
    }

    fn open(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            let mut open = self.open.lock().await;
            if open.is_none() {
                let listener = self.reserved.listen()?;
                let (stop, stopped) = watch::channel(false);
                let accepting = tokio::spawn(accept(listener, self.account.clone(), stopped));
                *open = Some(Open { stop, accepting });
            }
            Ok(())
        })
    }

    fn refuse(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(mut connections) = self.shut().await {
                tokio::spawn(async move { while connections.join_next().await.is_some() {} });
            }
        })
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(mut connections) = self.shut().await {
                let finished = async { while connections.join_next().await.is_some() {} };
                if tokio::time::timeout(GRACE, finished).await.is_err() {
                    connections.shutdown().await;
                }
            }
        })
    }
}

impl HttpGate {
    async fn shut(&self) -> Option<JoinSet<()>> {
        let Open { stop, accepting } = self.open.lock().await.take()?;
        stop.send_replace(true);
        accepting.await.ok()
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Two sockets of ours share a port, which takes the option on both. But it must be off while the kernel picks a port, or it may pick one that
    // another sandbox has reserved and is not listening on.
    socket.set_reuseaddr(address.port() != 0)?;
    socket.bind(address)?;
    socket.set_reuseaddr(true)?;
    Ok(socket)
}

/// Accepts until stopped; gives back the connections that are still open.
async fn accept(listener: TcpListener, account: Arc<dyn HttpAccount>, mut stopped: watch::Receiver<bool>) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    let stop = stopped.clone();
    loop {
        tokio::select! {
            () = told(&mut stopped) => return connections,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, account.clone(), stop.clone()));
                }
                Err(refusal) => {
                    // Out of files, as a rule: what helps is that connections end.
                    tracing::warn!(error = %refusal, "the sandbox could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

/// Returns when told to stop; a dropped sender tells it too. The guard that `wait_for` gives must not be held over a wait.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// One connection, to its end.
async fn converse(stream: TcpStream, account: Arc<dyn HttpAccount>, mut stopped: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let started = AtomicBool::new(false);
    let wire = Wire { stream: TokioIo::new(stream), reset: reset.clone() };
    let service = service_fn(|request: Request<Incoming>| {
        started.store(true, Ordering::Relaxed);
        let (account, reset) = (account.clone(), reset.clone());
        async move {
            match exchange(&account, request).await {
                Ending::Answer { response, drip } => Ok(response.map(|bytes| Answer::new(bytes, drip))),
                Ending::Reset => {
                    reset.store(true, Ordering::Relaxed);
                    Err(Aborted)
                }
            }
        }
    });
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(wire, service);
    tokio::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            // How a client leaves is its own affair.
            _ = connection.as_mut() => return,
            () = told(&mut stopped), if !stopping => {
                // hyper keeps a connection that never carried a request; to a caller it is idle like any other.
                if !started.load(Ordering::Relaxed) {
                    return;
                }
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn exchange(account: &Arc<dyn HttpAccount>, request: Request<Incoming>) -> Ending {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, BODY_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(refusal) if refusal.is::<http_body_util::LengthLimitError>() => {
            return account.too_large();
        }
        // The client went away in the middle of its request: there is nobody to answer.
        Err(_) => return Ending::Reset,
    };
    let call = Call {
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        method: head.method,
        body,
    };
    account.clone().exchange(call).await
}

/// Makes hyper drop the connection without a byte of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset on purpose")]
struct Aborted;

/// The body of an answer: at once, or a byte at a time.
struct Answer {
    rest: Bytes,
    drip: Option<Interval>,
}

impl Answer {
    fn new(rest: Bytes, drip: bool) -> Self {
        let drip = drip.then(|| {
            let mut interval = tokio::time::interval(DRIP);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        Self { rest, drip }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let Some(drip) = &mut self.drip else {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest)))));
        };
        if drip.poll_tick(context).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(1)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// A socket that ends with a reset instead of an orderly close when it is told to.
struct Wire {
    stream: TokioIo<TcpStream>,
    reset: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            let _ = self.stream.inner().set_zero_linger();
        }
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}

/// What the wire carries back: head and whole body.
pub type Reply = Response<Bytes>;

/// Puts 4 MiB of blanks behind an answer's body: to JSON it says the same as before.
pub fn swell(response: &mut Reply) {
    let mut body = response.body().to_vec();
    body.resize(body.len() + HUGE, b' ');
    *response.body_mut() = body.into();
}

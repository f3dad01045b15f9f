//! A merchant's HTTP client: connections that are kept, as many as are needed at once, to one process.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long an answer is waited for: more than a request may wait for its payment.
const PATIENCE: Duration = Duration::from_secs(15);
/// The largest answer that is read.
const ANSWER_MAX: usize = 1024 * 1024;

/// One request.
#[derive(Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Headers beside `host`.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: String,
}

/// Why no answer came; what was done is not known.
pub type Unanswered = Box<dyn Error + Send + Sync>;

/// The client of one process.
#[derive(Debug)]
pub struct Caller {
    address: SocketAddr,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Caller {
    /// A client that has not connected yet.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, idle: Mutex::default() }
    }

    /// Sends one request, once, and reads its answer: status and body.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn call(&self, request: &Request<'_>) -> Result<(u16, Bytes), Unanswered> {
        tokio::time::timeout(PATIENCE, self.exchange(request)).await.unwrap_or_else(|_| Err("no answer in time".into()))
    }

    async fn exchange(&self, request: &Request<'_>) -> Result<(u16, Bytes), Unanswered> {
        let mut sender = match self.idle() {
            Some(sender) => sender,
            None => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                let (sender, connection) = handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                sender
            }
        };
        let mut built = http::Request::builder().method(request.method).uri(request.path).header("host", self.address.to_string());
        for (name, value) in request.headers {
            built = built.header(*name, *value);
        }
        let answer = sender.send_request(built.body(Full::new(Bytes::from(request.body.clone())))?).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await?.to_bytes();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        Ok((status, body))
    }

    /// A kept connection that can be written to.
    fn idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        let ready = idle.iter().rposition(SendRequest::is_ready)?;
        Some(idle.swap_remove(ready))
    }
}

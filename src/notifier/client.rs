//! One POST to an address that a merchant named: resolved once, judged, and connected to exactly what was judged.
//!
//! A name is resolved once a try. Each address that it has is held against [`refused`]; the connection goes to one that passed, by its
//! number, so what DNS says a moment later does not matter. TLS checks the certificate against the name. Redirects are not followed: the place
//! that they name has been judged by nobody.
//!
//! A connection a delivery, closed afterwards: endpoints are many and far between, and an idle connection would be one more thing to bound. Of
//! the answer only the head counts; what follows is read for a moment, up to a cap, out of politeness, and thrown away.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::address::{Target, refused};

/// Headers of an answer, at most, and bytes of its head.
const HEADERS_MAX: usize = 64;
const HEAD_MAX: usize = 16 * 1024;
/// Bytes of an answer's body that are read before the connection is closed.
const BODY_MAX: usize = 64 * 1024;
/// How long that may take.
const BODY_WITHIN: Duration = Duration::from_secs(1);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

const AGENT: &str = concat!("Breakwater/", env!("CARGO_PKG_VERSION"));

/// Finds the addresses of a host and port. A parameter, so that tests can let DNS lie.
pub type Resolver = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The system's resolver.
pub fn system_resolver() -> Resolver {
    Arc::new(|host, port| Box::pin(async move { Ok(lookup_host((host.as_str(), port)).await?.collect()) }))
}

/// Admits what is no private or special address.
pub fn public_only(address: IpAddr) -> bool {
    !refused(address)
}

/// What an endpoint answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its status code.
    pub status: u16,
    /// Its `Retry-After`, as it stands.
    pub retry_after: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Unanswered {
    /// The host has no address, or none was found.
    #[error("the host was not found")]
    NotFound(#[source] io::Error),
    /// Every address of the host is one that nothing is sent to.
    #[error("the host resolves to a private or special address, which is refused")]
    Refused,
    /// No connection.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// No secure connection: the handshake failed or the certificate is not believed.
    #[error("no secure connection: {0}")]
    Tls(#[source] io::Error),
    /// The connection broke, or what came is not HTTP.
    #[error("the connection broke before an answer")]
    Broken(#[source] hyper::Error),
    /// The time was up.
    #[error("no answer in time")]
    TimedOut,
    /// The request cannot be written as HTTP.
    #[error("the address cannot be written as HTTP")]
    Unwritable,
}

/// Sends webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    tls: TlsConnector,
    resolver: Resolver,
    admits: fn(IpAddr) -> bool,
    timeout: Duration,
}

impl Client {
    /// A client that waits `timeout` for an answer, all in all, and connects to addresses that `admits` says yes to: [`public_only`], or any.
    pub fn new(tls: Arc<ClientConfig>, resolver: Resolver, admits: fn(IpAddr) -> bool, timeout: Duration) -> Self {
        Self { tls: TlsConnector::from(tls), resolver, admits, timeout }
    }

    /// Posts `body` with these headers, and waits for the head of the answer.
    ///
    /// # Errors
    /// [`Unanswered`]. It may have arrived all the same.
    pub async fn post(&self, target: &Target, headers: HeaderMap, body: String) -> Result<Answered, Unanswered> {
        let until = Instant::now() + self.timeout;
        timeout_at(until, self.exchange(target, headers, body, until)).await.unwrap_or(Err(Unanswered::TimedOut))
    }

    async fn exchange(&self, target: &Target, headers: HeaderMap, body: String, until: Instant) -> Result<Answered, Unanswered> {
        let request = request(target, headers, body).ok_or(Unanswered::Unwritable)?;
        let socket = self.reach(target, until).await?;
        if target.secure {
            let name = ServerName::try_from(target.host.clone()).map_err(|_| Unanswered::Unwritable)?;
            let secured = self.tls.connect(name, socket).await.map_err(Unanswered::Tls)?;
            send(secured, request).await
        } else {
            send(socket, request).await
        }
    }

    /// A socket to the first address of the host that may be reached and answers. The addresses are asked for once.
    async fn reach(&self, target: &Target, until: Instant) -> Result<TcpStream, Unanswered> {
        let found = (self.resolver)(target.host.clone(), target.port).await.map_err(Unanswered::NotFound)?;
        if found.is_empty() {
            return Err(Unanswered::NotFound(io::ErrorKind::NotFound.into()));
        }
        let judged: Vec<SocketAddr> = found.into_iter().filter(|address| (self.admits)(address.ip())).take(ADDRESSES_MAX).collect();
        let mut failed = Unanswered::Refused;
        for (tried, address) in (0_u32..).zip(&judged) {
            let left = u32::try_from(judged.len()).unwrap_or(u32::MAX).saturating_sub(tried).max(1);
            let share = until.saturating_duration_since(Instant::now()) / left;
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(socket)) => {
                    // Some kernels turn an address into another (0.0.0.0 into loopback): whom we reached is looked at too.
                    if socket.peer_addr().is_ok_and(|peer| !(self.admits)(peer.ip())) {
                        return Err(Unanswered::Refused);
                    }
                    return Ok(socket);
                }
                Ok(Err(error)) => failed = Unanswered::Connect(error),
                Err(_) => failed = Unanswered::TimedOut,
            }
        }
        Err(failed)
    }
}

fn request(target: &Target, mut headers: HeaderMap, body: String) -> Option<http::Request<Full<Bytes>>> {
    headers.insert(HOST, HeaderValue::from_str(&target.authority).ok()?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let mut request = http::Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = target.path.parse().ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

async fn send<T>(io: T, request: http::Request<Full<Bytes>>) -> Result<Answered, Unanswered>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shaken = Builder::new().max_headers(HEADERS_MAX).max_header_size(HEAD_MAX).handshake(TokioIo::new(io)).await;
    let (mut sender, connection) = shaken.map_err(Unanswered::Broken)?;
    let driver = AbortOnDrop(tokio::spawn(async move {
        // How it ended is told to the one request that it has.
        let _ended = connection.await;
    }));
    let answer = sender.send_request(request).await.map_err(Unanswered::Broken)?;
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let answered = Answered { status: answer.status().as_u16(), retry_after };
    // A server that is cut off while it writes may log a fault of its own.
    let _read_or_not = timeout(BODY_WITHIN, Limited::new(answer.into_body(), BODY_MAX).collect()).await.is_ok();
    drop(driver);
    Ok(answered)
}

/// The task that drives a connection ends with whoever uses it.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn tls() -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        Arc::new(config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
    }

    /// A listener that answers each connection with `answer`, and counts them.
    async fn listener(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
        listener_at("127.0.0.1:0", answer).await
    }

    async fn listener_at(at: &str, answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind(at).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let reached = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reached);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut bytes = [0; 4096];
                    let _ = socket.read(&mut bytes).await;
                    let _ = socket.write_all(answer.as_bytes()).await;
                    if answer.is_empty() {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        (address, reached)
    }

    /// A resolver that gives these answers, one a question, and counts the questions.
    fn lying(answers: Vec<Vec<SocketAddr>>) -> (Resolver, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let resolver: Resolver = Arc::new(move |_, _| {
            let n = count.fetch_add(1, Ordering::SeqCst);
            let answer = answers.get(n).or(answers.last()).cloned().unwrap_or_default();
            Box::pin(async move { Ok(answer) })
        });
        (resolver, asked)
    }

    fn client(resolver: Resolver, admits: fn(IpAddr) -> bool) -> Client {
        Client::new(tls(), resolver, admits, Duration::from_millis(400))
    }

    fn any(_: IpAddr) -> bool {
        true
    }

    /// As if 127.0.0.2 were a public address: no test reaches out of this machine.
    fn only_two(address: IpAddr) -> bool {
        address == IpAddr::from([127, 0, 0, 2])
    }

    fn target() -> Target {
        Target::parse("http://shop.example/hooks").expect("a URL")
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_private_address_is_refused_and_nothing_is_connected() {
        let (private, reached) = listener("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let (resolver, _) = lying(vec![vec![private]]);
        let outcome = client(resolver, public_only).post(&target(), HeaderMap::new(), "{}".to_owned()).await;
        assert!(matches!(outcome, Err(Unanswered::Refused)), "{outcome:?}");
        assert_eq!(reached.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn dns_that_changes_between_check_and_connect_changes_nothing() {
        let (private, reached_private) = listener("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let (public, reached_public) = listener_at("127.0.0.2:0", "HTTP/1.1 204 No Content\r\n\r\n").await;
        // Public when it is looked at, private ever after.
        let (resolver, asked) = lying(vec![vec![public], vec![private]]);
        let client = client(resolver, only_two);
        let answered = client.post(&target(), HeaderMap::new(), "{}".to_owned()).await.expect("an answer");
        assert_eq!((answered.status, asked.load(Ordering::SeqCst)), (204, 1), "asked once, and what was judged is what is connected");
        let outcome = client.post(&target(), HeaderMap::new(), "{}".to_owned()).await;
        assert!(matches!(outcome, Err(Unanswered::Refused)), "the next delivery judges what the name means by then: {outcome:?}");
        assert_eq!((reached_public.load(Ordering::SeqCst), reached_private.load(Ordering::SeqCst)), (1, 0));
    }

    #[tokio::test]
    async fn of_several_addresses_only_those_that_pass_are_tried() {
        let (private, reached) = listener("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let (public, _) = listener_at("127.0.0.2:0", "HTTP/1.1 204 No Content\r\n\r\n").await;
        let (resolver, _) = lying(vec![vec![private, public, private]]);
        let answered = client(resolver, only_two).post(&target(), HeaderMap::new(), "{}".to_owned()).await.expect("an answer");
        assert_eq!((answered.status, reached.load(Ordering::SeqCst)), (204, 0));
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let (elsewhere, followed) = listener("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let answer = format!("HTTP/1.1 302 Found\r\nlocation: http://{elsewhere}/\r\ncontent-length: 0\r\n\r\n");
        let (here, _) = listener(Box::leak(answer.into_boxed_str())).await;
        let (resolver, _) = lying(vec![vec![here]]);
        let answered = client(resolver, any).post(&target(), HeaderMap::new(), "{}".to_owned()).await.expect("an answer");
        assert_eq!((answered.status, followed.load(Ordering::SeqCst)), (302, 0));
    }

    #[tokio::test]
    async fn an_endless_body_or_head_does_not_hold_a_delivery() {
        let (resolver, _) = lying(vec![vec![listener("HTTP/1.1 200 OK\r\nretry-after: 7\r\n\r\nmore, and never an end").await.0]]);
        let answered = client(resolver, any).post(&target(), HeaderMap::new(), "{}".to_owned()).await.expect("the head counts");
        assert_eq!(answered, Answered { status: 200, retry_after: Some("7".to_owned()) });
        let (resolver, _) = lying(vec![vec![listener("").await.0]]);
        let outcome = client(resolver, any).post(&target(), HeaderMap::new(), "{}".to_owned()).await;
        assert!(matches!(outcome, Err(Unanswered::TimedOut)), "{outcome:?}");
    }
}

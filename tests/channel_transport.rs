//! The transport against peers that misbehave: for each, whether the money is safe (`NotSent`), in doubt (`Lost`), or answered for.
//!
//! The peers are raw sockets with a script. Where the order of two events decides, the script makes it: [`HttpPool::exchange`] asks its caller
//! right before the first byte, and there a test waits until the peer has done its part.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use breakwater::channel::http_pool::{Address, AddressError, BODY_MAX, Exchange, HttpPool, Lost, NotSent, PoolSettings, tls_config};
use breakwater::clock::{Clock, Moment};
use breakwater::domain::CallClass;
use breakwater::provider::HttpRequest;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

/// A peer that runs `script` on a thread of its own, with the listener to accept from.
struct Peer {
    address: SocketAddr,
    script: Option<JoinHandle<()>>,
}

impl Peer {
    fn start(script: impl FnOnce(TcpListener) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let script = Some(std::thread::spawn(move || script(listener)));
        Self { address, script }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits for the script's end, while connections may still be closed; its failed assertions fail the test.
    async fn join(mut self) {
        let script = self.script.take().expect("joined once");
        let joined = tokio::task::spawn_blocking(|| script.join()).await.expect("waited");
        joined.expect("the peer's script held");
    }
}

fn accept(listener: &TcpListener) -> TcpStream {
    listener.accept().expect("a connection").0
}

/// One request, to the end of its body; `None` when the client has gone.
fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let mut byte = [0_u8; 1];
    while !read.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        read.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&read).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().expect("a length"));
    let mut body = vec![0_u8; length];
    stream.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8_lossy(&body))
}

/// Closes with a reset, so that the client's very next write fails.
fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("linger is set");
}

fn pool_with(url: &str, settings: PoolSettings, clock: &Clock) -> HttpPool {
    let address = Address::parse(url).expect("an address");
    HttpPool::new(address, tls_config().expect("TLS"), settings, clock.clone())
}

fn pool(peer: &Peer) -> HttpPool {
    pool_with(&peer.url(), PoolSettings::default(), &Clock::system())
}

fn post() -> HttpRequest {
    HttpRequest {
        method: http::Method::POST,
        path: "/v1/charges?x=1".to_owned(),
        headers: vec![("authorization", "Bearer key".to_owned())],
        body: b"amount=100".to_vec(),
    }
}

/// Far enough that only a test about deadlines meets it.
fn far() -> Moment {
    soon(60_000)
}

fn soon(millis: u64) -> Moment {
    Clock::system().boot() + Duration::from_millis(millis)
}

async fn send(pool: &HttpPool) -> Exchange {
    pool.exchange(post(), far(), || true).await
}

#[track_caller]
fn assert_answered(exchange: &Exchange) {
    match exchange {
        Exchange::Answer(response, _) => {
            assert_eq!((response.status, &response.body[..]), (200, &b"hi"[..]));
        }
        other => panic!("not an answer: {other:?}"),
    }
}

#[track_caller]
fn assert_lost(exchange: &Exchange, expected: Lost) {
    assert!(matches!(exchange, Exchange::Lost(lost) if *lost == expected), "{exchange:?}");
}

#[tokio::test]
async fn an_answer_frees_its_connection_for_the_next_call() {
    let peer = Peer::start(|listener| {
        let mut stream = accept(&listener);
        for _ in 0..3 {
            let request = read_request(&mut stream).expect("a request");
            assert!(request.starts_with("POST /v1/charges?x=1 HTTP/1.1\r\n"), "{request}");
            assert!(request.contains("\r\nauthorization: Bearer key\r\n"), "{request}");
            assert!(request.contains("\r\nhost: 127.0.0.1:"), "{request}");
            assert!(request.ends_with("\r\n\r\namount=100"), "{request}");
            stream.write_all(OK).expect("written");
        }
        assert_eq!(read_request(&mut stream), None, "the pool is dropped");
    });
    let pool = pool(&peer);
    for _ in 0..3 {
        assert_answered(&send(&pool).await);
        assert_eq!((pool.open(), pool.idle()), (1, 1));
    }
    drop(pool);
    peer.join().await;
}

#[tokio::test]
async fn the_path_of_the_address_comes_first_and_a_post_without_a_body_says_so() {
    let peer = Peer::start(|listener| {
        let request = read_request(&mut accept(&listener)).expect("a request");
        assert!(request.starts_with("POST /stripe/v1/cancel HTTP/1.1\r\n"), "{request}");
        assert_eq!(request.matches("content-length: 0\r\n").count(), 1, "{request}");
    });
    let pool = pool_with(&format!("{}/stripe/", peer.url()), PoolSettings::default(), &Clock::system());
    let request = HttpRequest { path: "/v1/cancel".to_owned(), body: Vec::new(), ..post() };
    assert_lost(&pool.exchange(request, far(), || true).await, Lost::Closed);
    peer.join().await;
}

#[tokio::test]
async fn what_cannot_be_written_as_http_is_not_sent() {
    let pool = pool_with("http://127.0.0.1:9", PoolSettings::default(), &Clock::system());
    for request in [
        HttpRequest { headers: vec![("x", "a\r\nb: c".to_owned())], ..post() },
        HttpRequest { headers: vec![("host", "elsewhere".to_owned())], ..post() },
        HttpRequest { path: "/a b".to_owned(), ..post() },
        HttpRequest { path: "//elsewhere/x y".to_owned(), ..post() },
    ] {
        let exchange = pool.exchange(request, far(), || panic!("asked to send")).await;
        assert!(matches!(exchange, Exchange::NotSent(NotSent::Unwritable)), "{exchange:?}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_not_sent_and_the_channels_failure() {
    // Bound and not listening: the port stays ours, and refuses.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let url = format!("http://{}", socket.local_addr().expect("its address"));
    let pool = pool_with(&url, PoolSettings::default(), &Clock::system());
    match send(&pool).await {
        Exchange::NotSent(reason @ NotSent::Connect(_)) => {
            assert_eq!(reason.class(), CallClass::FailHard)
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.open(), 0);
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_not_sent_and_the_channels_failure() {
    let pool = pool_with("http://nowhere.invalid", PoolSettings::default(), &Clock::system());
    match send(&pool).await {
        Exchange::NotSent(reason @ NotSent::Dns(_)) => {
            assert_eq!(reason.class(), CallClass::FailHard)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_fresh_connection_that_is_reset_before_the_first_byte_is_not_sent() {
    let (go, gone) = channel::<()>();
    let (was_reset, wait) = channel();
    let peer = Peer::start(move |listener| {
        let stream = accept(&listener);
        gone.recv().expect("the word to go");
        reset(stream);
        was_reset.send(()).expect("the test waits");
    });
    let pool = pool(&peer);
    let mut asked = 0;
    let exchange = pool
        .exchange(post(), far(), || {
            asked += 1;
            go.send(()).is_ok() && wait.recv().is_ok()
        })
        .await;
    match exchange {
        Exchange::NotSent(reason @ NotSent::Deaf(Lost::Closed)) => {
            assert_eq!(reason.class(), CallClass::FailHard)
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((asked, pool.open()), (1, 0));
    peer.join().await;
}

#[tokio::test]
async fn a_pooled_connection_that_is_closed_between_two_calls_is_replaced_before_anything_is_written() {
    let (go, gone) = channel::<()>();
    let (closed, wait) = channel();
    let peer = Peer::start(move |listener| {
        let mut first = accept(&listener);
        read_request(&mut first).expect("a request");
        first.write_all(OK).expect("written");
        gone.recv().expect("the word to go");
        // A plain goodbye, as a keep-alive timeout sends it: a write on it would still succeed.
        drop(first);
        closed.send(()).expect("the test waits");
        let mut second = accept(&listener);
        read_request(&mut second).expect("the second request");
        second.write_all(OK).expect("written");
    });
    let pool = pool(&peer);
    assert_answered(&send(&pool).await);
    assert_eq!(pool.idle(), 1);
    go.send(()).expect("the peer waits");
    wait.recv().expect("the peer closed");
    let mut asked = 0;
    let exchange = pool
        .exchange(post(), far(), || {
            asked += 1;
            true
        })
        .await;
    assert_answered(&exchange);
    assert_eq!(asked, 1, "the closed connection was not even tried");
    peer.join().await;
}

#[tokio::test]
async fn a_pooled_connection_that_takes_no_byte_is_replaced_once_and_the_request_arrives_once() {
    let (go, gone) = channel::<()>();
    let (was_reset, wait) = channel();
    let peer = Peer::start(move |listener| {
        let mut first = accept(&listener);
        read_request(&mut first).expect("a request");
        first.write_all(OK).expect("written");
        gone.recv().expect("the word to go");
        reset(first);
        was_reset.send(()).expect("the test waits");
        let mut second = accept(&listener);
        read_request(&mut second).expect("the second request");
        second.write_all(OK).expect("written");
        assert_eq!(read_request(&mut second), None, "nothing comes twice");
        listener.set_nonblocking(true).expect("set");
        assert!(listener.accept().is_err(), "nobody connects again");
    });
    let pool = pool(&peer);
    assert_answered(&send(&pool).await);
    let mut asked = 0;
    let exchange = pool
        .exchange(post(), far(), || {
            asked += 1;
            if asked == 1 {
                go.send(()).expect("the peer waits");
                wait.recv().expect("the peer is gone");
            }
            true
        })
        .await;
    assert_answered(&exchange);
    assert_eq!(asked, 2, "the caller is asked again before the second try");
    drop(pool);
    peer.join().await;
}

#[tokio::test]
async fn the_second_try_is_the_last_one() {
    let (go, gone) = channel::<()>();
    let (was_reset, wait) = channel();
    let peer = Peer::start(move |listener| {
        let mut first = accept(&listener);
        read_request(&mut first).expect("a request");
        first.write_all(OK).expect("written");
        gone.recv().expect("the word to go");
        reset(first);
        was_reset.send(()).expect("the test waits");
        let second = accept(&listener);
        gone.recv().expect("the word to go");
        reset(second);
        was_reset.send(()).expect("the test waits");
        listener.set_nonblocking(true).expect("set");
        gone.recv().expect("the exchange is over");
        assert!(listener.accept().is_err(), "there was no third connection");
    });
    let pool = pool(&peer);
    assert_answered(&send(&pool).await);
    let mut asked = 0;
    let exchange = pool
        .exchange(post(), far(), || {
            asked += 1;
            go.send(()).is_ok() && wait.recv().is_ok()
        })
        .await;
    assert!(matches!(exchange, Exchange::NotSent(NotSent::Deaf(Lost::Closed))), "{exchange:?}");
    assert_eq!(asked, 2);
    go.send(()).expect("the peer waits");
    peer.join().await;
}

#[tokio::test]
async fn a_reset_after_the_request_was_read_is_lost() {
    let peer = Peer::start(|listener| {
        let mut stream = accept(&listener);
        read_request(&mut stream).expect("a request");
        reset(stream);
    });
    let pool = pool(&peer);
    assert_lost(&send(&pool).await, Lost::Closed);
    assert_eq!((pool.open(), pool.idle()), (0, 0));
    peer.join().await;
}

#[tokio::test]
async fn a_reset_of_a_used_connection_after_the_request_was_read_is_lost_and_not_tried_again() {
    let peer = Peer::start(|listener| {
        let mut stream = accept(&listener);
        read_request(&mut stream).expect("a request");
        stream.write_all(OK).expect("written");
        read_request(&mut stream).expect("the second request");
        reset(stream);
    });
    let pool = pool(&peer);
    assert_answered(&send(&pool).await);
    let mut asked = 0;
    let exchange = pool
        .exchange(post(), far(), || {
            asked += 1;
            true
        })
        .await;
    assert_lost(&exchange, Lost::Closed);
    assert_eq!(asked, 1);
    peer.join().await;
}

#[tokio::test]
async fn no_answer_before_the_deadline_is_lost() {
    let peer = Peer::start(|listener| {
        let mut stream = accept(&listener);
        read_request(&mut stream).expect("a request");
        assert_eq!(read_request(&mut stream), None, "the client hangs up");
    });
    let pool = pool(&peer);
    assert_lost(&pool.exchange(post(), soon(100), || true).await, Lost::Deadline);
    assert_eq!(pool.open(), 0);
    peer.join().await;
}

#[tokio::test]
async fn an_answer_that_drips_past_the_deadline_is_lost() {
    let peer = Peer::start(|listener| {
        let mut stream = accept(&listener);
        read_request(&mut stream).expect("a request");
        stream.set_read_timeout(Some(Duration::from_millis(10))).expect("set");
        let mut byte = [0_u8; 1];
        // A byte now and then, until the client hangs up.
        let mut answer = b"HTTP/1.1 200 OK\r\nx: ".iter().chain(std::iter::repeat(&b'y'));
        while !matches!(stream.read(&mut byte), Ok(0)) {
            if stream.write_all(&[*answer.next().expect("endless")]).is_err() {
                break;
            }
        }
    });
    let pool = pool(&peer);
    assert_lost(&pool.exchange(post(), soon(100), || true).await, Lost::Deadline);
    peer.join().await;
}

#[tokio::test]
async fn answers_that_are_not_whole_or_not_http_are_lost() {
    let mut huge = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", BODY_MAX + 1).into_bytes();
    huge.resize(huge.len() + BODY_MAX + 1, b'x');
    let mut chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..=BODY_MAX / 1024 {
        chunked.extend_from_slice(b"400\r\n");
        chunked.resize(chunked.len() + 1024, b'x');
        chunked.extend_from_slice(b"\r\n");
    }
    let mut long_head = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    long_head.resize(long_head.len() + 32 * 1024, b'x');
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(200)).into_bytes();
    let cases: Vec<(&str, Vec<u8>, Lost)> = vec![
        ("nothing", Vec::new(), Lost::Closed),
        ("half a head", b"HTTP/1.1 200 OK\r\ncontent-le".to_vec(), Lost::Closed),
        ("half a body", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\":".to_vec(), Lost::Truncated),
        ("half a chunk", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\nabc".to_vec(), Lost::Truncated),
        ("a bad chunk", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc".to_vec(), Lost::Truncated),
        ("too much with a length", huge, Lost::TooLarge),
        ("too much in chunks", chunked, Lost::TooLarge),
        ("another protocol", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), Lost::Malformed),
        ("a head too long", long_head, Lost::Malformed),
        ("too many headers", many_headers, Lost::Malformed),
    ];
    for (name, answer, expected) in cases {
        let peer = Peer::start(move |listener| {
            let mut stream = accept(&listener);
            read_request(&mut stream).expect("a request");
            // The client may hang up before it has taken everything.
            let _taken = stream.write_all(&answer);
        });
        let pool = pool(&peer);
        let exchange = send(&pool).await;
        assert!(matches!(&exchange, Exchange::Lost(lost) if *lost == expected), "{name}: {exchange:?}");
        assert_eq!((pool.open(), pool.idle()), (0, 0), "{name}: the connection is not used again");
        peer.join().await;
    }
}

#[tokio::test]
async fn an_answer_of_the_largest_size_is_taken() {
    let peer = Peer::start(|listener| {
        let mut stream = accept(&listener);
        read_request(&mut stream).expect("a request");
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {BODY_MAX}\r\n\r\n").expect("written");
        stream.write_all(&vec![b'x'; BODY_MAX]).expect("written");
    });
    match send(&pool(&peer)).await {
        Exchange::Answer(response, _) => assert_eq!(response.body.len(), BODY_MAX),
        other => panic!("{other:?}"),
    }
    peer.join().await;
}

#[tokio::test]
async fn an_answer_that_closes_is_an_answer_and_a_redirect_is_not_followed() {
    let peer = Peer::start(|listener| {
        for answer in [
            &b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"[..],
            &b"HTTP/1.0 200 OK\r\n\r\nto the end"[..],
        ] {
            let mut stream = accept(&listener);
            read_request(&mut stream).expect("a request");
            stream.write_all(answer).expect("written");
        }
    });
    let pool = pool(&peer);
    for (status, body) in [(302, &b""[..]), (200, &b"to the end"[..])] {
        match send(&pool).await {
            Exchange::Answer(response, _) => {
                assert_eq!((response.status, &response.body[..]), (status, body))
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(pool.idle(), 0);
    }
    peer.join().await;
}

#[tokio::test]
async fn a_full_pool_answers_at_once_that_nothing_was_sent() {
    let (arrived, has_arrived) = tokio::sync::oneshot::channel();
    let (go, wait) = channel::<()>();
    let peer = Peer::start(move |listener| {
        let mut stream = accept(&listener);
        read_request(&mut stream).expect("a request");
        arrived.send(()).expect("the test waits");
        wait.recv().expect("the word to answer");
        stream.write_all(OK).expect("written");
    });
    let settings = PoolSettings { max_connections: 1, ..PoolSettings::default() };
    let pool = pool_with(&peer.url(), settings, &Clock::system());
    let second = async {
        has_arrived.await.expect("the first request is out");
        let exchange = send(&pool).await;
        go.send(()).expect("the peer waits");
        exchange
    };
    let (first, second) = tokio::join!(send(&pool), second);
    assert_answered(&first);
    match second {
        Exchange::NotSent(reason @ NotSent::PoolExhausted) => {
            assert_eq!(reason.class(), CallClass::Neutral)
        }
        other => panic!("{other:?}"),
    }
    peer.join().await;
}

#[tokio::test]
async fn a_call_that_is_withheld_at_the_last_moment_sends_nothing_and_keeps_the_connection() {
    let peer = Peer::start(|listener| {
        let mut stream = accept(&listener);
        read_request(&mut stream).expect("the only request");
        stream.write_all(OK).expect("written");
        assert_eq!(read_request(&mut stream), None);
    });
    let pool = pool(&peer);
    let withheld = pool.exchange(post(), far(), || false).await;
    match withheld {
        Exchange::NotSent(reason @ NotSent::Withheld) => {
            assert_eq!(reason.class(), CallClass::Neutral)
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(pool.idle(), 1);
    assert_answered(&send(&pool).await);
    drop(pool);
    peer.join().await;
}

#[tokio::test]
async fn a_call_whose_deadline_has_passed_opens_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let clock = Clock::system();
    let pool = pool_with(&url, PoolSettings::default(), &clock);
    let exchange = pool.exchange(post(), clock.boot(), || panic!("asked to send")).await;
    assert!(matches!(exchange, Exchange::NotSent(NotSent::TooLate)), "{exchange:?}");
    listener.set_nonblocking(true).expect("set");
    assert!(listener.accept().is_err(), "nobody connected");
}

#[tokio::test]
async fn a_connection_that_was_idle_for_too_long_is_not_used_and_a_sweep_closes_it() {
    let peer = Peer::start(|listener| {
        let mut first = accept(&listener);
        read_request(&mut first).expect("a request");
        first.write_all(OK).expect("written");
        let mut second = accept(&listener);
        read_request(&mut second).expect("a request on a new connection");
        second.write_all(OK).expect("written");
        assert_eq!(read_request(&mut first), None, "the old one is closed");
        assert_eq!(read_request(&mut second), None, "swept");
    });
    let clock = Clock::system();
    let pool = pool_with(&peer.url(), PoolSettings::default(), &clock);
    let deadline = far() + Duration::from_secs(60);
    assert_answered(&pool.exchange(post(), deadline, || true).await);
    clock.advance(Duration::from_millis(4_000));
    assert_answered(&pool.exchange(post(), deadline, || true).await);
    assert_eq!(pool.open(), 1);
    clock.advance(Duration::from_millis(4_000));
    pool.sweep();
    assert_eq!((pool.open(), pool.idle()), (0, 0));
    peer.join().await;
}

#[test]
fn an_address_is_a_scheme_a_host_and_perhaps_a_port_and_a_path() {
    for good in ["http://localhost", "https://api.stripe.com", "http://127.0.0.1:80/x/", "http://[::1]:8080"] {
        assert!(Address::parse(good).is_ok(), "{good}");
    }
    for (bad, why) in [
        ("", AddressError::NotUrl),
        ("ftp://host", AddressError::Scheme),
        ("host:80", AddressError::Scheme),
        ("/path", AddressError::Scheme),
        ("https://user:secret@host", AddressError::Extra),
        ("https://host/?a=b", AddressError::Extra),
    ] {
        assert_eq!(Address::parse(bad), Err(why), "{bad}");
    }
}

mod tls {
    //! Under TLS the same three ends, and the same witness.

    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
    use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

    /// One DER value.
    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut value = vec![tag];
        match content.len() {
            short @ ..=127 => value.push(short as u8),
            middle @ 128..=255 => value.extend_from_slice(&[0x81, middle as u8]),
            long => value.extend_from_slice(&[0x82, (long >> 8) as u8, long as u8]),
        }
        value.extend_from_slice(&content);
        value
    }

    /// A certificate for 127.0.0.1 that signs itself, with a new key: nothing secret lies in the repository and nothing expires.
    fn certificate() -> (CertificateDer<'static>, PrivatePkcs8KeyDer<'static>) {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).expect("the key");
        let ecdsa_sha256 = der(0x30, &[&der(0x06, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]])]);
        let ec_public_key = der(0x06, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]]);
        let p256 = der(0x06, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]]);
        let common_name = der(0x30, &[&der(0x06, &[&[0x55, 0x04, 0x03]]), &der(0x0c, &[b"test"])]);
        let name = der(0x30, &[&der(0x31, &[&common_name])]);
        let validity = der(0x30, &[&der(0x17, &[b"200101000000Z"]), &der(0x18, &[b"99991231235959Z"])]);
        let public = der(0x30, &[&der(0x30, &[&ec_public_key, &p256]), &der(0x03, &[&[0], key.public_key().as_ref()])]);
        let alternative = der(0x30, &[&der(0x87, &[&[127, 0, 0, 1]])]);
        let extension = der(0x30, &[&der(0x06, &[&[0x55, 0x1d, 0x11]]), &der(0x04, &[&alternative])]);
        let extensions = der(0xa3, &[&der(0x30, &[&extension])]);
        let version = der(0xa0, &[&der(0x02, &[&[2]])]);
        let serial = der(0x02, &[&[1]]);
        let body = der(0x30, &[&version, &serial, &ecdsa_sha256, &name, &validity, &name, &public, &extensions]);
        let signature = key.sign(&random, &body).expect("signed");
        let whole = der(0x30, &[&body, &ecdsa_sha256, &der(0x03, &[&[0], signature.as_ref()])]);
        (CertificateDer::from(whole), PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec()))
    }

    fn cryptography() -> Arc<rustls::crypto::CryptoProvider> {
        Arc::new(rustls::crypto::aws_lc_rs::default_provider())
    }

    fn sides() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
        let (certificate, key) = certificate();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("a root");
        let server = ServerConfig::builder_with_provider(cryptography())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key.into())
            .expect("a server");
        let client = ClientConfig::builder_with_provider(cryptography())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server), Arc::new(client))
    }

    fn secured(listener: &TcpListener, config: &Arc<ServerConfig>) -> StreamOwned<ServerConnection, TcpStream> {
        let connection = ServerConnection::new(Arc::clone(config)).expect("a connection");
        StreamOwned::new(connection, accept(listener))
    }

    fn secure_pool(peer: &Peer, config: Arc<ClientConfig>) -> HttpPool {
        let address = Address::parse(&format!("https://{}", peer.address)).expect("an address");
        HttpPool::new(address, config, PoolSettings::default(), Clock::system())
    }

    /// As much of a request as holds its body.
    fn read_secured(stream: &mut StreamOwned<ServerConnection, TcpStream>) {
        let mut read = Vec::new();
        let mut part = [0_u8; 1024];
        while !read.ends_with(b"amount=100") {
            let taken = stream.read(&mut part).expect("a request");
            assert_ne!(taken, 0, "the client hung up");
            read.extend_from_slice(&part[..taken]);
        }
    }

    #[tokio::test]
    async fn an_answer_over_tls_frees_its_connection_for_the_next_call() {
        let (server, client) = sides();
        let peer = Peer::start(move |listener| {
            let mut stream = secured(&listener, &server);
            for _ in 0..2 {
                read_secured(&mut stream);
                stream.write_all(OK).expect("written");
            }
            let _until_the_pool_is_dropped = stream.read(&mut [0_u8; 1]);
        });
        let pool = secure_pool(&peer, client);
        for _ in 0..2 {
            assert_answered(&send(&pool).await);
            assert_eq!(pool.open(), 1);
        }
        drop(pool);
        peer.join().await;
    }

    #[tokio::test]
    async fn a_reset_after_the_handshake_and_before_the_first_byte_is_not_sent() {
        let (server, client) = sides();
        let (go, gone) = channel::<()>();
        let (was_reset, wait) = channel();
        let peer = Peer::start(move |listener| {
            let mut stream = secured(&listener, &server);
            while stream.conn.is_handshaking() {
                stream.conn.complete_io(&mut stream.sock).expect("a handshake");
            }
            gone.recv().expect("the word to go");
            reset(stream.sock);
            was_reset.send(()).expect("the test waits");
        });
        let pool = secure_pool(&peer, client);
        let exchange = pool.exchange(post(), far(), || go.send(()).is_ok() && wait.recv().is_ok()).await;
        assert!(matches!(exchange, Exchange::NotSent(NotSent::Deaf(Lost::Closed))), "{exchange:?}");
        peer.join().await;
    }

    #[tokio::test]
    async fn a_reset_after_the_request_was_read_is_lost() {
        let (server, client) = sides();
        let peer = Peer::start(move |listener| {
            let mut stream = secured(&listener, &server);
            read_secured(&mut stream);
            reset(stream.sock);
        });
        assert_lost(&send(&secure_pool(&peer, client)).await, Lost::Closed);
        peer.join().await;
    }

    #[tokio::test]
    async fn a_failed_handshake_is_not_sent_and_the_channels_failure() {
        let (server, _) = sides();
        let plain: Box<dyn FnOnce(TcpListener) + Send> = Box::new(|listener| {
            let mut stream = accept(&listener);
            let mut hello = [0_u8; 16];
            stream.read_exact(&mut hello).expect("a hello");
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("written");
        });
        let silent: Box<dyn FnOnce(TcpListener) + Send> = Box::new(|listener| {
            let mut stream = accept(&listener);
            let mut rest = Vec::new();
            let _until_the_client_hangs_up = stream.read_to_end(&mut rest);
        });
        let unbelieved: Box<dyn FnOnce(TcpListener) + Send> = Box::new(move |listener| {
            let mut stream = secured(&listener, &server);
            let mut part = [0_u8; 16];
            assert!(stream.read(&mut part).is_err(), "the client refuses");
        });
        for (name, script) in [("plain text", plain), ("silence", silent), ("a certificate of nobody", unbelieved)] {
            let peer = Peer::start(script);
            let address = Address::parse(&format!("https://{}", peer.address)).expect("an address");
            let settings = PoolSettings { connect_timeout_ms: 300, ..PoolSettings::default() };
            let pool = HttpPool::new(address, tls_config().expect("TLS"), settings, Clock::system());
            let exchange = pool.exchange(post(), far(), || panic!("asked to send")).await;
            match exchange {
                Exchange::NotSent(reason @ NotSent::Tls(_)) => {
                    assert_eq!(reason.class(), CallClass::FailHard, "{name}")
                }
                other => panic!("{name}: {other:?}"),
            }
            assert_eq!(pool.open(), 0);
            peer.join().await;
        }
    }
}

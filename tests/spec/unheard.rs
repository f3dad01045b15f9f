//! What the HTTP library refuses before there is a request: no handler of ours sees it, so it has a status, no body and no `Request-Id`, and the
//! connection ends. Here is what a client sees, so that a change of the library is noticed; the next request is served as ever.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::World;

/// Sends these bytes, and nothing more, and reads until the connection ends.
async fn said(world: &World, bytes: &[u8]) -> String {
    let address = world.url.strip_prefix("http://").expect("plain");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    // It may hang up while we are still writing; what it said until then can still be read.
    let _heard = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut piece = [0; 4_096];
    while let Ok(length @ 1..) = stream.read(&mut piece).await {
        answer.extend_from_slice(&piece[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn assert_bare(case: &str, answer: &str, status: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{case}: {answer}");
    assert!(head.to_ascii_lowercase().contains("connection: close"), "{case}: {answer}");
    assert!(body.is_empty() && !head.to_ascii_lowercase().contains("request-id"), "{case}: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_400_without_a_body() {
    let world = World::start().await;
    for case in [
        "BREW\r\n\r\n",
        "GET /livez HTTP/9.9\r\n\r\n",
        "GET /livez HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /livez HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
    ] {
        assert_bare(case, &said(&world, case.as_bytes()).await, "400");
    }
    assert_eq!(world.send("GET", "/livez", &[], "").await.status, 200);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_431_without_a_body() {
    let world = World::start().await;
    let long = format!("GET /livez HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n", "a".repeat(200_000));
    assert_bare("200 kB", &said(&world, long.as_bytes()).await, "431");
    let many = format!("GET /livez HTTP/1.1\r\nhost: a\r\n{}\r\n", "x-many: a\r\n".repeat(200));
    assert_bare("200 headers", &said(&world, many.as_bytes()).await, "431");
    assert_eq!(world.send("GET", "/livez", &[], "").await.status, 200);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_to_its_end_is_408_without_a_body() {
    let world = World::start().await;
    // The library's own patience: nothing that a test could move.
    assert_bare("half a head", &said(&world, b"GET /livez HTTP/1.1\r\nhost: a\r\n").await, "408");
    world.close().await;
}

//! Each fault, on connections to an echo.

use super::*;

/// Echoes whatever comes, on any number of connections.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _gone = tokio::io::copy(&mut from, &mut to).await;
                let _gone = to.shutdown().await;
            });
        }
    });
    address
}

async fn start() -> (Proxy, TcpStream) {
    let proxy = Proxy::start(echo().await).expect("it listens");
    let stream = TcpStream::connect(proxy.address()).await.expect("it accepts");
    (proxy, stream)
}

async fn say(stream: &mut TcpStream, words: &[u8]) {
    stream.write_all(words).await.expect("it takes bytes");
}

async fn hear(stream: &mut TcpStream, length: usize) -> io::Result<Vec<u8>> {
    let mut heard = vec![0; length];
    stream.read_exact(&mut heard).await.map(|_| heard)
}

/// That nothing comes for a moment; too short a moment can only let a fault pass.
async fn hears_nothing(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(Duration::from_millis(150), hear(stream, 1)).await.is_err()
}

#[tokio::test]
async fn bytes_and_goodbyes_pass_both_ways() {
    let (_proxy, mut stream) = start().await;
    let words = vec![7; 3 * PIECE];
    say(&mut stream, &words).await;
    assert_eq!(hear(&mut stream, words.len()).await.expect("echoed"), words);
    stream.shutdown().await.expect("a goodbye");
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).await.expect("an orderly end"), 0);
}

#[tokio::test]
async fn a_refused_port_resets_what_is_open_refuses_what_comes_and_is_there_again_when_healed() {
    let (proxy, mut stream) = start().await;
    say(&mut stream, b"a").await;
    hear(&mut stream, 1).await.expect("it is well");
    proxy.set(Manner { refuse: true, ..Manner::default() });
    assert_eq!(hear(&mut stream, 1).await.expect_err("reset").kind(), io::ErrorKind::ConnectionReset);
    let refusal = TcpStream::connect(proxy.address()).await.expect_err("refused");
    assert_eq!(refusal.kind(), io::ErrorKind::ConnectionRefused);
    proxy.heal();
    let mut again = loop {
        match TcpStream::connect(proxy.address()).await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    say(&mut again, b"b").await;
    assert_eq!(hear(&mut again, 1).await.expect("healed"), b"b");
}

#[tokio::test]
async fn lost_bytes_never_arrive_and_their_connection_is_reset_when_the_network_is_back() {
    let (proxy, mut stream) = start().await;
    proxy.set(Manner { flow: Flow::Lose, ..Manner::default() });
    say(&mut stream, b"gone").await;
    assert!(hears_nothing(&mut stream).await);
    proxy.heal();
    assert_eq!(hear(&mut stream, 1).await.expect_err("reset").kind(), io::ErrorKind::ConnectionReset);
    let mut fresh = TcpStream::connect(proxy.address()).await.expect("it accepts");
    say(&mut fresh, b"here").await;
    assert_eq!(hear(&mut fresh, 4).await.expect("healed"), b"here");
}

#[tokio::test]
async fn held_bytes_arrive_late_and_in_order() {
    let (proxy, mut stream) = start().await;
    proxy.set(Manner { flow: Flow::Hold, ..Manner::default() });
    say(&mut stream, b"first ").await;
    assert!(hears_nothing(&mut stream).await);
    say(&mut stream, b"second").await;
    proxy.heal();
    assert_eq!(hear(&mut stream, 12).await.expect("healed"), b"first second");
}

#[tokio::test]
async fn garbled_bytes_arrive_altered_each_of_them_and_both_ways() {
    let (proxy, mut stream) = start().await;
    proxy.set(Manner { flow: Flow::Garble, ..Manner::default() });
    say(&mut stream, b"abc").await;
    assert_eq!(hear(&mut stream, 3).await.expect("they pass"), b"cde");
    proxy.heal();
    say(&mut stream, b"abc").await;
    assert_eq!(hear(&mut stream, 3).await.expect("healed"), b"abc");
}

/// Every connection breaks off after so many bytes this way.
fn breaks_off(way: Direction, bytes: u64) -> Manner {
    Manner { break_off: Some(BreakOff { way: Some(way), bytes: (bytes, bytes), opening: 0, goodbye: false }), ..Manner::default() }
}

#[tokio::test]
async fn a_reset_comes_after_exactly_the_byte_that_was_named() {
    let (proxy, mut stream) = start().await;
    proxy.set(breaks_off(Direction::ToClient, 3));
    say(&mut stream, b"abcdef").await;
    // A reset may throw away what was not read yet: read what is there first.
    let mut heard = Vec::new();
    let ended = stream.read_to_end(&mut heard).await.expect_err("reset");
    assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
    assert!(heard.len() <= 3 && b"abc".starts_with(&heard), "{heard:?}");

    proxy.set(breaks_off(Direction::ToServer, 0));
    let mut before = TcpStream::connect(proxy.address()).await.expect("it accepts");
    say(&mut before, b"x").await;
    assert_eq!(hear(&mut before, 1).await.expect_err("reset").kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn the_opening_of_a_connection_is_not_counted_and_a_goodbye_leaves_what_came_before_it() {
    let (proxy, mut old) = start().await;
    say(&mut old, b"opening").await;
    hear(&mut old, 7).await.expect("it is well");
    proxy.set(Manner { break_off: Some(BreakOff { way: Some(Direction::ToClient), bytes: (3, 3), opening: 7, goodbye: true }), ..Manner::default() });
    let mut fresh = TcpStream::connect(proxy.address()).await.expect("it accepts");
    for (stream, words, passed) in [(&mut old, &b"abcdef"[..], &b"abc"[..]), (&mut fresh, b"openingabcdef", b"openingabc")] {
        say(stream, words).await;
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.expect("a goodbye");
        assert_eq!(heard, passed);
    }
}

#[tokio::test]
async fn latency_delays_and_a_drip_divides_and_both_deliver_everything() {
    let (proxy, mut stream) = start().await;
    let apart = Duration::from_millis(2);
    proxy.set(Manner { latency: Duration::from_millis(40), drip: Some(Drip { way: None, apart: (apart, apart) }), ..Manner::default() });
    let begun = Instant::now();
    say(&mut stream, b"slow and whole").await;
    assert_eq!(hear(&mut stream, 14).await.expect("it arrives"), b"slow and whole");
    // A lower bound, which no busy machine can break.
    assert!(begun.elapsed() >= Duration::from_millis(80 + 2 * 14));
}

#[tokio::test]
async fn a_drip_of_one_way_leaves_the_other_alone_and_ends_when_the_network_is_back() {
    let (proxy, mut stream) = start().await;
    let apart = Duration::from_secs(3_600);
    proxy.set(Manner { drip: Some(Drip { way: Some(Direction::ToClient), apart: (apart, apart) }), ..Manner::default() });
    say(&mut stream, b"first ").await;
    assert!(hears_nothing(&mut stream).await);
    proxy.heal();
    assert_eq!(hear(&mut stream, 6).await.expect("healed"), b"first ");
    let drip = Drip { way: Some(Direction::ToClient), apart: (Duration::ZERO, apart) };
    let manner = Manner { drip: Some(drip), ..Manner::default() };
    assert_eq!(manner.apart(0, Direction::ToServer), None);
    assert!((0..10).all(|nth| manner.apart(nth, Direction::ToClient).is_some_and(|drawn| drawn <= apart)));
}

#[tokio::test]
async fn cuts_reset_what_is_open_again_and_again() {
    let (proxy, mut stream) = start().await;
    say(&mut stream, b"a").await;
    hear(&mut stream, 1).await.expect("it is well");
    proxy.set(Manner { cut_every: Duration::from_millis(50), ..Manner::default() });
    assert_eq!(hear(&mut stream, 1).await.expect_err("cut").kind(), io::ErrorKind::ConnectionReset);
    for _ in 0..2 {
        let mut next = TcpStream::connect(proxy.address()).await.expect("it accepts");
        assert_eq!(hear(&mut next, 1).await.expect_err("cut").kind(), io::ErrorKind::ConnectionReset);
    }
    proxy.heal();
    // One more may have been on its way.
    loop {
        let mut fresh = TcpStream::connect(proxy.address()).await.expect("it accepts");
        say(&mut fresh, b"b").await;
        if hear(&mut fresh, 1).await.is_ok_and(|heard| heard == b"b") {
            break;
        }
    }
}

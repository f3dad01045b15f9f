//! The other side: a mail server and a provider of text messages, over real sockets, that keep what they were given.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What a mail server does with who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// Takes every mail.
    Polite,
    /// Accepts the connection and never says a word.
    Mute,
    /// Refuses every recipient for good.
    Refusing,
    /// Has no room now, for the first two mails.
    BusyTwice,
}

/// What was given to a server: whole mails, or whole requests.
pub type Bag = Arc<Mutex<Vec<String>>>;

/// Starts a mail server; answers its address and the mails it takes.
pub fn mail_server(manners: Manners) -> (SocketAddr, Bag) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let bag = Bag::default();
    let taken = Arc::clone(&bag);
    let refusals = Arc::new(Mutex::new(0));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (taken, refusals) = (Arc::clone(&taken), Arc::clone(&refusals));
            thread::spawn(move || converse(stream.expect("accepted"), manners, &taken, &refusals));
        }
    });
    (address, bag)
}

fn converse(stream: TcpStream, manners: Manners, taken: &Bag, refusals: &Mutex<u32>) {
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle"));
    if manners == Manners::Mute {
        // Until the client hangs up.
        let mut rest = Vec::new();
        let _gone = lines.read_to_end(&mut rest);
        return;
    }
    let say = |text: &str| {
        let mut stream = &stream;
        let _gone = stream.write_all(format!("{text}\r\n").as_bytes());
    };
    say("220 post.example ESMTP");
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
        let verb = line.split([' ', '\r', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => say("250-post.example\r\n250 8BITMIME"),
            "RCPT" if manners == Manners::Refusing => say("550 5.1.1 no such user"),
            "RCPT" if manners == Manners::BusyTwice && busy(refusals) => say("451 4.7.1 try again later"),
            "DATA" => {
                say("354 go on");
                let mut mail = String::new();
                while !mail.ends_with("\r\n.\r\n") && lines.read_line(&mut mail).is_ok_and(|read| read > 0) {}
                taken.lock().expect("whole").push(mail);
                say("250 2.0.0 taken");
            }
            "QUIT" => say("221 bye"),
            _ => say("250 fine"),
        }
        line.clear();
    }
}

fn busy(refusals: &Mutex<u32>) -> bool {
    let mut count = refusals.lock().expect("whole");
    *count += 1;
    *count <= 2
}

/// Starts a provider of text messages that takes all; answers its address and the requests.
pub fn text_server() -> (String, Bag) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let bag = Bag::default();
    let taken = Arc::clone(&bag);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let taken = Arc::clone(&taken);
            thread::spawn(move || take_texts(&stream.expect("accepted"), &taken));
        }
    });
    (address, bag)
}

fn take_texts(mut stream: &TcpStream, taken: &Bag) {
    let mut lines = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if !lines.read_line(&mut head).is_ok_and(|read| read > 0) {
                return;
            }
        }
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        lines.read_exact(&mut body).expect("a body");
        taken.lock().expect("whole").push(format!("{head}{}", String::from_utf8_lossy(&body)));
        let answer = "{\"sid\":\"SM00000000000000000000000000000000\",\"status\":\"queued\"}";
        let _gone = write!(stream, "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
    }
}

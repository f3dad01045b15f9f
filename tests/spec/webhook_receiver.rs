//! A merchant's webhook receiver, written from the specification of Standard Webhooks and from nothing of ours: a socket, a script of answers, and
//! a check of signatures of its own.

use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How to answer.
#[derive(Clone, Debug)]
pub enum Script {
    /// With this status line and these headers.
    Answer(&'static str),
    /// Never.
    Stall,
}

pub const OK: Script = Script::Answer("204 No Content");

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Heard {
    pub id: String,
    pub timestamp: String,
    pub signature: String,
    pub body: String,
    /// Whether it was answered with a 2xx.
    pub taken: bool,
}

impl Heard {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    pub fn kind(&self) -> String {
        self.json()["type"].as_str().expect("a type").to_owned()
    }

    /// The payment and the number of the event within it.
    pub fn place(&self) -> (String, i64) {
        let message = self.json();
        let object = &message["data"]["object"];
        let payment = object.get("payment_id").unwrap_or(&object["id"]).as_str().expect("a payment").to_owned();
        (payment, message["data"]["sequence"].as_i64().expect("a number"))
    }

    /// Whether one of the signatures is that of this secret.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let bytes = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        let tag = hmac::sign(&key, format!("{}.{}.{}", self.id, self.timestamp, self.body).as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(tag.as_ref()));
        self.signature.split(' ').any(|signature| signature == expected)
    }
}

/// The receiver.
#[derive(Clone, Debug)]
pub struct Receiver {
    pub url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    script: Arc<Mutex<Script>>,
}

impl Receiver {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hooks?shop=1", listener.local_addr().expect("bound"));
        let receiver = Self { url, heard: Arc::default(), script: Arc::new(Mutex::new(script)) };
        let own = receiver.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let own = own.clone();
                tokio::spawn(async move { own.serve(socket).await });
            }
        });
        receiver
    }

    pub fn answer(&self, script: Script) {
        *self.script.lock().expect("whole") = script;
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().expect("whole").clone()
    }

    pub fn taken(&self) -> Vec<Heard> {
        self.heard().into_iter().filter(|heard| heard.taken).collect()
    }

    async fn serve(&self, mut socket: TcpStream) {
        let Some((head, body)) = read_request(&mut socket).await else { return };
        assert!(head.starts_with("POST /hooks?shop=1 HTTP/1.1\r\n"), "{head}");
        let header = |name: &str| {
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        assert_eq!(header("content-type"), "application/json");
        let script = self.script.lock().expect("whole").clone();
        let taken = matches!(&script, Script::Answer(status) if status.starts_with('2'));
        let heard = Heard { id: header("webhook-id"), timestamp: header("webhook-timestamp"), signature: header("webhook-signature"), body, taken };
        self.heard.lock().expect("whole").push(heard);
        match script {
            Script::Answer(status) => {
                let _gone = socket.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
            }
            Script::Stall => std::future::pending().await,
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = socket.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length:").map(|value| value.trim().to_owned()));
        let length: usize = length.and_then(|value| value.parse().ok()).unwrap_or(0);
        if body.len() >= length {
            return Some((format!("{head}\r\n"), body.to_owned()));
        }
    }
}

//! A wire between us and a database that can go wrong: deaf on one connection, and cut.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinHandle;

/// Forwards connections to the socket of a database.
pub struct Proxy {
    port: u16,
    swallowed: Arc<AtomicBool>,
    listener: JoinHandle<()>,
    ended: tokio::sync::watch::Sender<bool>,
}

impl Proxy {
    /// Starts it. The connection on which `marker` is sent gets no answer from then on.
    pub async fn start(socket: PathBuf, marker: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let swallowed = Arc::new(AtomicBool::new(false));
        let (ended, ending) = tokio::sync::watch::channel(false);
        let heard = Arc::clone(&swallowed);
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = UnixStream::connect(&socket).await else { continue };
                let (marker, heard, mut ending) = (marker.clone(), Arc::clone(&heard), ending.clone());
                tokio::spawn(async move {
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    let deaf = AtomicBool::new(false);
                    tokio::select! {
                        () = forward(from_client, to_server, |bytes| {
                            if bytes.windows(marker.len()).any(|window| window == marker.as_bytes()) {
                                deaf.store(true, Ordering::SeqCst);
                            }
                            true
                        }) => {}
                        () = forward(from_server, to_client, |_| {
                            let passes = !deaf.load(Ordering::SeqCst);
                            if !passes {
                                heard.store(true, Ordering::SeqCst);
                            }
                            passes
                        }) => {}
                        _ = ending.wait_for(|ended| *ended) => {}
                    }
                });
            }
        });
        Self { port, swallowed, listener, ended }
    }

    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection, and takes none any more.
    pub fn cut(&self) {
        self.listener.abort();
        self.ended.send_replace(true);
    }

    /// Whether an answer was kept back.
    pub fn swallowed(&self) -> bool {
        self.swallowed.load(Ordering::SeqCst)
    }
}

async fn forward(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, passes: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) if passes(&buffer[..read]) => {
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
        }
    }
}

//! A TCP proxy that misbehaves on demand: the network between two parties who are both well.
//!
//! The faults of [`super::fault`] are a provider's; these are the wire's, and neither side can tell them from the real thing: latency, bytes that
//! are lost, held or altered, a drip, a connection that breaks off at an exact byte, cuts, a port that refuses. It knows no protocol. What is set holds for
//! connections that are open and for those to come, until something else is set. What differs from one connection to the next is drawn from a seed.
//!
//! Each direction of a connection is two tasks in one: one reads and notes when each piece is due, the other delivers it then. So latency delays
//! without throttling, as distance does.
//!
//! What it cannot do: leave a SYN without an answer. The kernel accepts for it, and a lost byte is the first that a caller sends.
//!
//! `manner.rs` is what can be set.

mod manner;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use self::manner::Broken;
pub use self::manner::{BreakOff, Direction, Drip, Flow, Manner};
use super::listener::Reserved;

/// Read at once.
const PIECE: usize = 16 * 1024;
/// Pieces under way in one direction: with latency, this bounds what a connection holds to 16 MiB.
const UNDER_WAY: usize = 1024;
/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4096;

/// A proxy before one address. Dropping it resets all that is open, and frees its port.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    manner: watch::Sender<Manner>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a port of its own on loopback, on the current runtime, for connections to `upstream`.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(upstream: SocketAddr) -> io::Result<Self> {
        let reserved = Reserved::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = reserved.address();
        let listener = reserved.listen()?;
        let (manner, manners) = watch::channel(Manner::default());
        let accepting = tokio::spawn(accept(reserved, listener, upstream, manners));
        Ok(Self { address, manner, accepting })
    }

    /// Where it listens, refusing or not.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it behaves like this. What was under way may still arrive.
    pub fn set(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    /// Behaves again.
    pub fn heal(&self) {
        self.set(Manner::default());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(reserved: Reserved, listener: TcpListener, upstream: SocketAddr, mut manner: watch::Receiver<Manner>) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    let (mut accepted_so_far, mut last_cut) = (0_u64, None::<Instant>);
    loop {
        let Manner { refuse, cut_every, .. } = *manner.borrow_and_update();
        if refuse {
            // First the port, or whoever is reset would find it open.
            drop(listener.take());
            connections.shutdown().await;
            if manner.wait_for(|manner| !manner.refuse).await.is_err() {
                return;
            }
        }
        let open = match listener.take() {
            Some(open) => open,
            None => match reserved.listen() {
                Ok(open) => open,
                Err(refusal) => return tracing::warn!(error = %refusal, "the proxy cannot listen again"),
            },
        };
        let cuts = !cut_every.is_zero();
        let next_cut = last_cut.filter(|_| cuts).map_or_else(Instant::now, |last| last + cut_every);
        if !cuts {
            last_cut = None;
        }
        tokio::select! {
            changed = manner.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep_until(next_cut), if cuts => {
                connections.shutdown().await;
                last_cut = Some(Instant::now());
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = open.accept(), if connections.len() < CONNECTIONS_MAX => {
                if let Ok((client, _)) = accepted {
                    // What is set by now was set before it was opened, whether we have looked at it or not.
                    let mut known = manner.clone();
                    known.mark_unchanged();
                    connections.spawn(carry(client, upstream, known, accepted_so_far));
                    accepted_so_far += 1;
                }
            }
        }
        listener = Some(open);
    }
}

/// The `nth` connection, to its end.
async fn carry(client: TcpStream, upstream: SocketAddr, manner: watch::Receiver<Manner>, nth: u64) {
    // Whoever ends this task in the middle resets both sides.
    let mut client = Wire { stream: client, orderly: false };
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let mut server = Wire { stream: server, orderly: false };
    let _ = (client.stream.set_nodelay(true), server.stream.set_nodelay(true));
    let (from_client, to_client) = client.stream.split();
    let (from_server, to_server) = server.stream.split();
    let there = pump(from_client, to_server, manner.clone(), Direction::ToServer, nth);
    let back = pump(from_server, to_client, manner, Direction::ToClient, nth);
    let orderly = match tokio::try_join!(there, back) {
        Ok(_) => true,
        Err(broken) => broken == Broken::Goodbye,
    };
    (client.orderly, server.orderly) = (orderly, orderly);
}

/// A connection that ends with a reset, unless goodbye is to be said.
struct Wire {
    stream: TcpStream,
    orderly: bool,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if !self.orderly {
            let _ = self.stream.set_zero_linger();
        }
    }
}

async fn pump(from: ReadHalf<'_>, to: WriteHalf<'_>, manner: watch::Receiver<Manner>, direction: Direction, nth: u64) -> Result<(), Broken> {
    let (line, due) = mpsc::channel(UNDER_WAY);
    tokio::try_join!(take(from, line, manner.clone()), give(to, due, manner, direction, nth)).map(|_| ())
}

/// Reads, and notes when each piece is due.
async fn take(mut from: ReadHalf<'_>, line: mpsc::Sender<(Instant, Bytes)>, manner: watch::Receiver<Manner>) -> Result<(), Broken> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await.map_err(|_| Broken::Reset)?;
        if length == 0 {
            return Ok(());
        }
        let due = Instant::now() + manner.borrow().latency;
        line.send((due, Bytes::copy_from_slice(&piece[..length]))).await.map_err(|_| Broken::Reset)?;
    }
}

/// Delivers what is due, or does not.
async fn give(
    mut to: WriteHalf<'_>,
    mut due: mpsc::Receiver<(Instant, Bytes)>,
    mut manner: watch::Receiver<Manner>,
    direction: Direction,
    nth: u64,
) -> Result<(), Broken> {
    // Bytes since what holds now was set, and whether it was set before the connection was opened.
    let (mut given, mut later) = (0_u64, true);
    let mut lost = false;
    loop {
        let piece = tokio::select! {
            piece = due.recv() => piece,
            _ = manner.wait_for(|manner| manner.flow == Flow::Pass), if lost => return Err(Broken::Reset),
        };
        let Some((at, piece)) = piece else {
            // A goodbye is lost and held like any other byte.
            let flow = manner.borrow().flow;
            if matches!(flow, Flow::Lose | Flow::Hold) || lost {
                manner.wait_for(|manner| manner.flow == Flow::Pass).await.map_err(|_| Broken::Reset)?;
            }
            return if lost || to.shutdown().await.is_err() { Err(Broken::Reset) } else { Ok(()) };
        };
        tokio::time::sleep_until(at).await;
        if manner.has_changed().map_err(|_| Broken::Reset)? {
            (given, later) = (0, false);
        }
        let mut now = *manner.borrow_and_update();
        if now.flow == Flow::Hold {
            now = *manner.wait_for(|manner| manner.flow != Flow::Hold).await.map_err(|_| Broken::Reset)?;
            (given, later) = (0, false);
        }
        if now.flow == Flow::Lose {
            lost = true;
            continue;
        }
        if lost {
            return Err(Broken::Reset);
        }
        let piece = if now.flow == Flow::Garble { piece.iter().map(|byte| byte.wrapping_add(1)).collect() } else { piece };
        let end = now.breaks_after(nth, direction, later).map(|(bytes, broken)| (bytes.saturating_sub(given), broken));
        let length = end.map_or(piece.len(), |(left, _)| piece.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        match now.apart(nth, direction) {
            Some(apart) => drip(&mut to, &piece[..length], apart, &manner).await,
            None => to.write_all(&piece[..length]).await,
        }
        .map_err(|_| Broken::Reset)?;
        given += length as u64;
        if let Some((_, broken)) = end.filter(|(left, _)| length as u64 >= *left) {
            return Err(broken);
        }
    }
}

/// One byte at a time, until something else is set: what is left then goes at once.
async fn drip(to: &mut WriteHalf<'_>, bytes: &[u8], apart: Duration, manner: &watch::Receiver<Manner>) -> io::Result<()> {
    // Of its own, so that whoever delivers the next piece still finds the change.
    let mut manner = manner.clone();
    let mut due = Instant::now();
    for (nth, byte) in bytes.iter().enumerate() {
        // By the moment and not by the pause, which no timer keeps to less than a millisecond.
        due += apart;
        tokio::select! {
            () = tokio::time::sleep_until(due) => to.write_all(std::slice::from_ref(byte)).await?,
            _ = manner.changed() => return to.write_all(&bytes[nth..]).await,
        }
    }
    Ok(())
}

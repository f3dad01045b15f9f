//! A socket that remembers how many bytes it was given, and can be cut.
//!
//! Whether money may have moved hangs on one question: has any byte of the request left us, or can one still leave? An HTTP library can only
//! answer for its own queue. So the question is put to the socket: the [`Wire`] counts what the kernel took, below TLS, and the [`Line`] that
//! the pool keeps can [`cut`](Line::cut) it: from then on every write fails, and the count it returns is final. The lock makes that exact
//! on any runtime; it is held over one non-blocking system call, never over an `await`.
//!
//! The count errs to one side only: bytes of TLS itself (a key update) count too, so that "nothing was written" is always true when it is said.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

#[derive(Debug, Default)]
struct Ledger {
    written: u64,
    cut: bool,
}

/// The socket, as TLS and HTTP use it.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Arc<TcpStream>,
    ledger: Arc<Mutex<Ledger>>,
}

/// The pool's view of a [`Wire`] that somebody else drives. It does not keep the socket open.
#[derive(Debug)]
pub(super) struct Line {
    socket: Weak<TcpStream>,
    ledger: Arc<Mutex<Ledger>>,
}

/// Takes a connected socket.
pub(super) fn wire(socket: TcpStream) -> (Wire, Line) {
    let socket = Arc::new(socket);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let line = Line { socket: Arc::downgrade(&socket), ledger: Arc::clone(&ledger) };
    (Wire { socket, ledger }, line)
}

impl Line {
    /// How many bytes the kernel has taken so far.
    pub(super) fn written(&self) -> u64 {
        entered(&self.ledger).written
    }

    /// Lets no further byte out, and says how many there were in all.
    pub(super) fn cut(&self) -> u64 {
        let mut ledger = entered(&self.ledger);
        ledger.cut = true;
        ledger.written
    }

    /// Whether it is open with nothing to read, asked of the kernel and not of a reader that may not have looked yet. An idle connection
    /// with something to read holds the peer's goodbye, or a word that nobody asked for: neither may be written to.
    pub(super) fn is_quiet(&self) -> bool {
        let Some(socket) = self.socket.upgrade() else {
            return false;
        };
        let mut byte = [0_u8; 1];
        let peeked = recv(&socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        matches!(peeked, Err(rustix::io::Errno::AGAIN))
    }

    /// Whether the peer has said goodbye and nothing of what it said before is left to read, asked of the kernel. What is not read yet hides a goodbye:
    /// then this is false, and whoever reads will find it.
    pub(super) fn is_left(&self) -> bool {
        let Some(socket) = self.socket.upgrade() else {
            return true;
        };
        let mut byte = [0_u8; 1];
        match recv(&socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((_, read)) => read == 0,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => false,
            Err(_) => true,
        }
    }
}

/// A poisoned ledger is entered all the same: each of its steps leaves it whole.
fn entered(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wire {
    fn write_counted(&self, cx: &mut Context<'_>, write: impl Fn(&TcpStream) -> io::Result<usize>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(cx))?;
            let mut ledger = entered(&self.ledger);
            if ledger.cut {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            match write(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(taken) => {
                    ledger.written += taken as u64;
                    return Poll::Ready(Ok(taken));
                }
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match self.socket.try_read(buffer.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(taken) => {
                    buffer.advance(taken);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write_counted(cx, |socket| socket.try_write(bytes))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.write_counted(cx, |socket| socket.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Dropping the last holder closes the socket; the pool always does that next.
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (Wire, Line, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (wire, line) = wire(near.expect("connected"));
        (wire, line, far.expect("accepted").0)
    }

    #[tokio::test]
    async fn every_byte_is_counted_and_none_passes_a_cut() {
        let (mut wire, line, mut far) = pair().await;
        assert_eq!(line.written(), 0);
        wire.write_all(b"hello").await.expect("written");
        assert_eq!(line.cut(), 5);
        let error = wire.write_all(b"more").await.expect_err("the wire is cut");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(line.written(), 5);
        drop(wire);
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.expect("read");
        assert_eq!(received, b"hello");
    }

    #[tokio::test]
    async fn a_line_is_not_quiet_once_the_peer_spoke_or_left_or_the_wire_is_gone() {
        let (wire, line, mut far) = pair().await;
        assert!(line.is_quiet());
        far.write_all(b"x").await.expect("written");
        wire.socket.readable().await.expect("readable");
        assert!(!line.is_quiet(), "the peer spoke");

        let (wire, line, far) = pair().await;
        drop(far);
        wire.socket.readable().await.expect("readable");
        assert!(!line.is_quiet(), "the peer left");

        let (wire, line, _far) = pair().await;
        drop(wire);
        assert!(!line.is_quiet(), "nobody drives it");
    }
}

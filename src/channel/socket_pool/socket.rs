//! One socket, as those see it who write on it: a frame goes out whole, or the socket ends with it.
//!
//! Writers take turns. Between a frame's first byte and its last nothing else is written, and a writer that is stopped there (its deadline, or its
//! future dropped) condemns the socket: half a frame would spoil every frame after it. The wire counts what the kernel took, so that a frame of
//! which nothing left is known not to have been sent.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout_at};

use super::front_end::Stream;
use crate::channel::http_pool::Lost;
use crate::channel::wire::Line;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// The kernel has all of it.
    Whole,
    /// The writer's last word, right before the first byte, was no.
    Withheld,
    /// Its turn did not come before its deadline.
    TooLate,
    /// Nothing of it left, and nothing will.
    Nothing(Lost),
    /// Something of it left, and not all.
    Partly(Lost),
}

/// One socket.
pub(super) struct Socket {
    pub(super) id: u64,
    line: Line,
    writer: Mutex<WriteHalf<Pin<Box<dyn Stream>>>>,
    condemned: AtomicBool,
    /// Rung when it is condemned.
    pub(super) ending: Notify,
    /// Rung by whoever got no answer in time: is anybody there?
    pub(super) doubted: Notify,
}

/// Condemns its socket unless the frame is whole.
struct Midway<'a> {
    socket: &'a Socket,
    whole: bool,
}

impl Drop for Midway<'_> {
    fn drop(&mut self) {
        if !self.whole {
            self.socket.condemn();
        }
    }
}

impl Socket {
    pub(super) fn new(id: u64, line: Line, writer: WriteHalf<Pin<Box<dyn Stream>>>) -> Self {
        Self { id, line, writer: Mutex::new(writer), condemned: AtomicBool::new(false), ending: Notify::new(), doubted: Notify::new() }
    }

    /// Lets nothing out any more, and tells its keeper.
    pub(super) fn condemn(&self) {
        self.line.cut();
        self.condemned.store(true, Ordering::Release);
        self.ending.notify_one();
    }

    /// Whether it is over, or the peer has said goodbye: the kernel is asked, because the reader may not have looked yet.
    pub(super) fn is_over(&self) -> bool {
        self.condemned.load(Ordering::Acquire) || self.line.is_left()
    }

    /// Writes one frame. `may_send` is asked when it is this frame's turn, right before its first byte.
    pub(super) async fn write(&self, frame: &[u8], until: Instant, may_send: impl FnOnce() -> bool) -> Written {
        let Ok(mut writer) = timeout_at(until, self.writer.lock()).await else { return Written::TooLate };
        if self.is_over() {
            return Written::Nothing(Lost::Closed);
        }
        if !may_send() {
            return Written::Withheld;
        }
        let before = self.line.written();
        let mut midway = Midway { socket: self, whole: false };
        let written = timeout_at(until, async {
            writer.write_all(frame).await?;
            // Under TLS a frame may wait in the session for a wire that was busy: it has only left when this is done.
            writer.flush().await
        });
        let lost = match written.await {
            Ok(Ok(())) => {
                midway.whole = true;
                return Written::Whole;
            }
            Ok(Err(_)) => Lost::Closed,
            Err(_) => Lost::Deadline,
        };
        if self.line.cut() == before { Written::Nothing(lost) } else { Written::Partly(lost) }
    }
}

//! The life of one of a pool's sockets, over and over: connect, be welcomed, hear, ask whether anybody is there, end, pause, again.
//!
//! A socket is only offered to calls after the peer has answered one word on it (a sign-on, or an echo): a refused certificate and a dead host
//! behind a living front end both look like a good connection until then, and a payment must not be the one to find out. It is taken back
//! while it is doubted: a call was not answered in time, an echo was missed, or the peer wants a new sign-on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, ReadHalf};
use tokio::time::{Instant, sleep, sleep_until};

use super::Shared;
use super::front_end::{FrontEnd, Stream, connect};
use super::socket::{Socket, Written};
use crate::channel::http_pool::Lost;
use crate::provider::socket::{Correlation, Cut, FRAME_MAX, Incoming, Network};

/// How a socket's life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// No connection, or no secure one.
    Unreachable,
    /// The peer closed or reset it.
    Closed,
    /// The peer's stream cannot be cut into frames.
    Malformed,
    /// The peer answers no echo.
    Silent,
    /// The peer refused the sign-on or the echo.
    Refused,
    /// A writer could not get a whole frame out.
    Stalled,
}

impl End {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Closed => "closed",
            Self::Malformed => "malformed",
            Self::Silent => "silent",
            Self::Refused => "refused",
            Self::Stalled => "stalled",
        }
    }

    /// What those are told who wait for an answer over it.
    const fn lost(self) -> Lost {
        match self {
            Self::Malformed => Lost::Malformed,
            _ => Lost::Closed,
        }
    }
}

/// Keeps one socket to `front_end` up, until it is dropped.
pub(super) async fn keep(shared: Arc<Shared>, front_end: FrontEnd) {
    let mut failed = 0;
    let mut first = true;
    loop {
        let (end, was_up) = live(&shared, &front_end, &mut first).await;
        failed = if was_up { 1 } else { failed + 1 };
        // The first of a row of failures is news, and so is the loss of one that was up; the others are known.
        if failed == 1 {
            tracing::warn!(channel = %shared.channel, front_end = %front_end.place(), reason = end.as_str(), "a socket to the bank is down");
        } else {
            tracing::debug!(channel = %shared.channel, front_end = %front_end.place(), reason = end.as_str(), failed, "no socket to the bank yet");
        }
        if std::mem::take(&mut first) {
            shared.settle();
        }
        sleep(shared.pause(failed)).await;
    }
}

/// A socket's place in the world, which it leaves however its life ends: nothing more goes out, and those who wait are told.
struct Life<'a> {
    shared: &'a Shared,
    socket: Arc<Socket>,
    end: End,
    up: bool,
    was_up: bool,
    /// The word that was said and not answered yet.
    asked: Option<(Network, Correlation, Instant)>,
    missed: u32,
    heard: Instant,
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        self.socket.condemn();
        self.shared.withdraw(&self.socket);
        self.shared.waiting.lose(self.socket.id, self.end.lost());
    }
}

/// One life: how it ended, and whether it was ever of use.
async fn live(shared: &Arc<Shared>, front_end: &FrontEnd, first: &mut bool) -> (End, bool) {
    let Ok((stream, line)) = connect(front_end, &shared.tls, shared.settings.connect_timeout()).await else { return (End::Unreachable, false) };
    let (mut reader, writer) = tokio::io::split(stream);
    let socket = Arc::new(Socket::new(shared.next_id(), line, writer));
    let now = Instant::now();
    let mut life = Life { shared, socket, end: End::Closed, up: false, was_up: false, asked: None, missed: 0, heard: now };
    life.ask(if shared.manners.sign_on { Network::SignOn } else { Network::Echo });
    life.end = life.listen(&mut reader, front_end, first).await;
    (life.end, life.was_up)
}

impl Life<'_> {
    async fn listen(&mut self, reader: &mut ReadHalf<Pin<Box<dyn Stream>>>, front_end: &FrontEnd, first: &mut bool) -> End {
        let socket = Arc::clone(&self.socket);
        let mut buffer = BytesMut::with_capacity(4 * 1024);
        loop {
            // A whole frame always fits, so a full buffer cannot happen; were it to, reading nothing would look like the peer's goodbye.
            tokio::select! {
                read = reader.read_buf(&mut buffer) => match read {
                    Ok(0) | Err(_) => return End::Closed,
                    Ok(_) => {
                        self.heard = Instant::now();
                        if let Err(end) = self.hear(&mut buffer) {
                            return end;
                        }
                        if self.was_up && std::mem::take(first) {
                            self.shared.settle();
                            tracing::info!(channel = %self.shared.channel, front_end = %front_end.place(), "a socket to the bank is up");
                        }
                    }
                },
                () = socket.ending.notified() => return End::Stalled,
                () = socket.doubted.notified() => self.doubt(),
                () = sleep_until(self.due()) => {
                    if let Some(end) = self.overdue() {
                        return end;
                    }
                }
            }
        }
    }

    /// Takes every whole frame out of the buffer.
    fn hear(&mut self, buffer: &mut BytesMut) -> Result<(), End> {
        loop {
            match self.shared.framing.cut(buffer) {
                Err(_) => return Err(End::Malformed),
                Ok(Cut::More) => {
                    buffer.reserve(FRAME_MAX - buffer.len().min(FRAME_MAX));
                    return Ok(());
                }
                Ok(Cut::Pulse { taken }) => buffer.advance(taken),
                Ok(Cut::Message { message, taken }) => {
                    let frame = buffer.split_to(taken).freeze();
                    self.take(frame.slice(message))?;
                }
            }
        }
    }

    fn take(&mut self, message: bytes::Bytes) -> Result<(), End> {
        let shared = self.shared;
        // A panic in the provider's code costs this message, not the socket's keeper.
        let incoming = catch_unwind(AssertUnwindSafe(|| shared.protocol.incoming(&message, &shared.credentials)));
        match incoming.unwrap_or(Incoming::Stray("panic")) {
            Incoming::Answer { correlation, welcome } if self.asked.as_ref().is_some_and(|(_, asked, _)| *asked == correlation) => {
                self.asked = None;
                self.missed = 0;
                if !welcome {
                    return Err(End::Refused);
                }
                self.offer();
            }
            Incoming::Answer { correlation, welcome } => {
                if !shared.waiting.tell(&correlation, message) {
                    shared.stray(&self.socket, "late");
                }
                if !welcome && self.up {
                    self.doubted_by(Network::SignOn);
                }
            }
            Incoming::Ask(frame) => self.say(frame),
            Incoming::Stray(kind) => shared.stray(&self.socket, kind),
        }
        Ok(())
    }

    fn offer(&mut self) {
        if !self.up {
            self.up = true;
            self.was_up = true;
            self.shared.offer(&self.socket);
        }
    }

    /// A call was not answered in time: no further call until somebody there has answered an echo.
    fn doubt(&mut self) {
        if self.up {
            self.doubted_by(Network::Echo);
        }
    }

    fn doubted_by(&mut self, word: Network) {
        self.up = false;
        self.shared.withdraw(&self.socket);
        self.ask(word);
    }

    /// When somebody must be asked, or must have answered.
    fn due(&self) -> Instant {
        let manners = self.shared.manners;
        match &self.asked {
            Some((_, _, at)) => *at + manners.answer_within,
            None => self.heard + manners.echo_every,
        }
    }

    /// Nothing was heard for long, or a word was not answered.
    fn overdue(&mut self) -> Option<End> {
        let word = match self.asked.take() {
            None => Network::Echo,
            Some((word, ..)) => {
                self.missed += 1;
                if self.missed >= self.shared.manners.missed_max || !self.was_up {
                    return Some(End::Silent);
                }
                if std::mem::take(&mut self.up) {
                    self.shared.withdraw(&self.socket);
                }
                word
            }
        };
        self.ask(word);
        None
    }

    fn ask(&mut self, word: Network) {
        let shared = self.shared;
        let frame = catch_unwind(AssertUnwindSafe(|| shared.protocol.network(word, shared.next_number(), shared.clock.wall(), &shared.credentials)));
        let Ok(Some(frame)) = frame else {
            // An account that cannot even say a word: its socket is never offered, and ends as silent.
            self.asked = Some((word, Correlation(String::new()), Instant::now()));
            return;
        };
        self.asked = Some((word, frame.correlation, Instant::now()));
        self.say(frame.bytes);
    }

    /// Writes in its turn, beside this task, which must go on hearing. A word that cannot be said ends the socket.
    fn say(&self, frame: Vec<u8>) {
        let socket = Arc::clone(&self.socket);
        let until = Instant::now() + self.shared.manners.answer_within;
        tokio::spawn(async move {
            if socket.write(&frame, until, || true).await != Written::Whole {
                socket.condemn();
            }
        });
    }
}

/// The pause before the next try after `failed` failures in a row: doubled each time, and never the same for two sockets.
pub(super) fn pause(base: Duration, max: Duration, failed: u32, chance: u64) -> Duration {
    let doubled = base.saturating_mul(1_u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX)).min(max);
    // From three quarters to five quarters.
    let permille = 750 + u32::try_from(chance % 501).unwrap_or(0);
    doubled.saturating_mul(permille) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread_by_a_quarter() {
        let (base, max) = (Duration::from_millis(200), Duration::from_secs(10));
        assert_eq!(pause(base, max, 1, 250), base);
        assert_eq!(pause(base, max, 3, 250), base * 4);
        assert_eq!(pause(base, max, 40, 250), max);
        assert_eq!((pause(base, max, 1, 0), pause(base, max, 1, 500)), (Duration::from_millis(150), Duration::from_millis(250)));
    }
}

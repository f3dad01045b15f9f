//! What a protocol over persistent sockets is, for the channel's socket pool: frames that carry their own identity, so that many requests are under
//! way on one connection and answers come in any order. Pure, as all of this floor: the pool carries the bytes, keeps the time, and counts.
//!
//! Read next: `channel/socket_pool/` (who carries them), `iso8583/` (the one such protocol).

use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

use super::{Call, Credentials, Reply};
use crate::domain::{Failure, Fields};

/// The longest frame, in bytes, its header included. A peer that announces more is not speaking our protocol.
pub const FRAME_MAX: usize = 8 * 1024 + 16;

/// A protocol over persistent sockets.
pub trait SocketProtocol: Send + Sync {
    /// Why this account cannot be used, where its fields do not fit each other or the protocol. A channel with such an account sends nothing.
    fn fault(&self, credentials: &Credentials) -> Option<Failure>;

    /// How its messages are told apart in the stream.
    fn framing(&self, credentials: &Credentials) -> Framing;

    /// Where the peer's front ends are, with commas between them: `tls://host:port,tls://host:port`.
    fn front_ends(&self, credentials: &Credentials) -> String;

    /// What its TLS is made of; `None`: the web's authorities, and no certificate of ours. An error is a sentence that begins with the field's name.
    fn tls(&self, credentials: &Credentials) -> Result<Option<TlsMaterial>, String>;

    /// How many sockets each front end gets.
    fn sockets(&self, credentials: &Credentials) -> usize;

    /// How a socket is kept.
    fn manners(&self, credentials: &Credentials) -> Manners;

    /// The frame of a call. Every call that [`Provider::refuses`](super::Provider::refuses) has no reason against has one; `None` is never sent.
    fn frame(&self, call: &Call, credentials: &Credentials) -> Option<Frame>;

    /// A frame about the connection itself. `number` is 1 to 999,999 and differs from those of the frames before it.
    fn network(&self, what: Network, number: u32, now: Timestamp, credentials: &Credentials) -> Option<Frame>;

    /// What a message from the peer is. Never fails: what cannot be read but says whose answer it is, is that answer.
    fn incoming(&self, message: &[u8], credentials: &Credentials) -> Incoming;

    /// What is kept of an exchange for the timeline: an allow-list, never a card number.
    fn kept(&self, frame: &Frame, answer: Option<&[u8]>, credentials: &Credentials) -> (Fields, Fields) {
        let _ = (frame, answer, credentials);
        Default::default()
    }

    /// What an answer means. Never fails: what cannot be read is unknown.
    fn reply(&self, call: &Call, message: &[u8], credentials: &Credentials) -> Reply;
}

/// What mutual TLS with a private authority is made of.
pub struct TlsMaterial {
    /// The certificates of the only authority that is believed.
    pub authority: Vec<CertificateDer<'static>>,
    /// Our certificate with its chain, and its key.
    pub ours: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

/// How a socket is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manners {
    /// Whether the peer wants us to sign on before anything else. Otherwise an echo is the first word on a new socket: one that was not answered at
    /// all carries no money (a certificate that is refused shows only then).
    pub sign_on: bool,
    /// How long nothing was heard before we ask whether anybody is there.
    pub echo_every: Duration,
    /// How long the answer to a sign-on or an echo may take.
    pub answer_within: Duration,
    /// This many unanswered echoes in a row, and the socket is dead.
    pub missed_max: u32,
}

impl Default for Manners {
    fn default() -> Self {
        Self { sign_on: false, echo_every: Duration::from_secs(60), answer_within: Duration::from_secs(10), missed_max: 2 }
    }
}

/// Words about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// We are here.
    SignOn,
    /// We are leaving.
    SignOff,
    /// Are you there?
    Echo,
}

/// A whole frame, ready to be written, and what its answer will say of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Header and message.
    pub bytes: Vec<u8>,
    /// What the answer is known by.
    pub correlation: Correlation,
}

/// What a request and its answer have in common, and no other pair of the day has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Correlation(pub String);

/// What a message from the peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The answer to one of our frames.
    Answer {
        /// Whose.
        correlation: Correlation,
        /// For a word about the connection: whether it was granted. Otherwise: whether the peer wants no new sign-on first.
        welcome: bool,
    },
    /// The peer asks for a word back, and this frame is it.
    Ask(Vec<u8>),
    /// Nothing that we can use: a name for the log.
    Stray(&'static str),
}

/// What stands before each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The length of what follows, two bytes, big-endian.
    TwoBytes,
    /// The same, counting itself too.
    TwoBytesWithItself,
    /// The length of what follows, four ASCII digits.
    FourDigits,
}

impl Header {
    /// Every header.
    pub const ALL: [Header; 3] = [Self::TwoBytes, Self::TwoBytesWithItself, Self::FourDigits];

    /// The names, in the same order, for settings.
    pub const NAMES: &'static [&'static str] = &["two_bytes", "two_bytes_with_itself", "four_digits"];

    /// The header of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().position(|known| *known == name).and_then(|at| Self::ALL.get(at)).copied()
    }

    const fn size(self) -> usize {
        match self {
            Self::TwoBytes | Self::TwoBytesWithItself => 2,
            Self::FourDigits => 4,
        }
    }
}

/// How messages are told apart in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// What says the length.
    pub header: Header,
    /// Five bytes of routing between header and message (a TPDU: id, destination, source), where the peer wants them. They count as what follows.
    pub tpdu: Option<[u8; 5]>,
}

/// What the beginning of a stream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Not a whole frame yet.
    More,
    /// A frame without a message: some peers send it to keep the line open. `taken` bytes are done with.
    Pulse {
        /// How many bytes.
        taken: usize,
    },
    /// A frame.
    Message {
        /// Where its message lies.
        message: Range<usize>,
        /// How many bytes the frame is.
        taken: usize,
    },
}

/// Why the stream cannot be cut: nothing after it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FramingError {
    /// The header is not what it must be.
    #[error("the frame's header is malformed")]
    Header,
    /// The header announces more than [`FRAME_MAX`].
    #[error("the frame is too long")]
    TooLong,
    /// It is too short for its TPDU, or that is none.
    #[error("the frame's routing is malformed")]
    Tpdu,
}

impl Framing {
    /// The frame of a message, or `None` when it is longer than [`FRAME_MAX`].
    pub fn wrap(&self, message: &[u8]) -> Option<Vec<u8>> {
        let routing: &[u8] = self.tpdu.as_ref().map_or(&[], |tpdu| tpdu);
        let follows = routing.len() + message.len();
        let size = self.header.size();
        if size + follows > FRAME_MAX {
            return None;
        }
        let mut frame = Vec::with_capacity(size + follows);
        match self.header {
            Header::TwoBytes => frame.extend(u16::try_from(follows).ok()?.to_be_bytes()),
            Header::TwoBytesWithItself => frame.extend(u16::try_from(follows + size).ok()?.to_be_bytes()),
            Header::FourDigits => frame.extend(format!("{follows:04}").bytes()),
        }
        frame.extend(routing);
        frame.extend(message);
        Some(frame)
    }

    /// What `stream` begins with.
    ///
    /// # Errors
    /// [`FramingError`]: the connection is of no use any more.
    pub fn cut(&self, stream: &[u8]) -> Result<Cut, FramingError> {
        let size = self.header.size();
        let Some(header) = stream.get(..size) else { return Ok(Cut::More) };
        let follows = match (self.header, header) {
            (Header::TwoBytes, [high, low]) => usize::from(u16::from_be_bytes([*high, *low])),
            (Header::TwoBytesWithItself, [0, 0]) => 0,
            (Header::TwoBytesWithItself, [high, low]) => {
                usize::from(u16::from_be_bytes([*high, *low])).checked_sub(size).ok_or(FramingError::Header)?
            }
            (_, digits) if digits.iter().all(u8::is_ascii_digit) => digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit - b'0')),
            _ => return Err(FramingError::Header),
        };
        if size + follows > FRAME_MAX {
            return Err(FramingError::TooLong);
        }
        let taken = size + follows;
        if follows == 0 {
            return Ok(Cut::Pulse { taken });
        }
        let begins = size + self.tpdu.map_or(0, |tpdu| tpdu.len());
        if begins >= taken {
            return Err(FramingError::Tpdu);
        }
        if stream.len() < taken {
            return Ok(Cut::More);
        }
        // Its addresses are swapped in answers, and rewritten by some concentrators; the id says that it is one at all.
        if self.tpdu.is_some_and(|ours| stream.get(size) != ours.first()) {
            return Err(FramingError::Tpdu);
        }
        Ok(Cut::Message { message: begins..taken, taken })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TPDU: [u8; 5] = [0x60, 0x00, 0x01, 0x00, 0x00];

    fn framings() -> Vec<Framing> {
        let with = |tpdu| Header::ALL.map(|header| Framing { header, tpdu });
        [with(None), with(Some(TPDU))].concat()
    }

    #[test]
    fn every_framing_cuts_what_it_wrapped_whatever_the_pieces() {
        for framing in framings() {
            let stream = [framing.wrap(b"first").expect("short"), framing.wrap(b"2").expect("short")].concat();
            let mut heard = Vec::new();
            let mut buffer = Vec::new();
            for byte in stream {
                buffer.push(byte);
                match framing.cut(&buffer).expect("our own frames") {
                    Cut::More => {}
                    Cut::Pulse { .. } => panic!("no frame was empty"),
                    Cut::Message { message, taken } => {
                        heard.push(buffer[message].to_vec());
                        buffer.drain(..taken);
                    }
                }
            }
            assert_eq!(heard, [b"first".to_vec(), b"2".to_vec()], "{framing:?}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn each_header_says_the_length_in_its_own_way() {
        let wrapped = |header, tpdu| Framing { header, tpdu }.wrap(b"abc").expect("short");
        assert_eq!(wrapped(Header::TwoBytes, None), b"\x00\x03abc");
        assert_eq!(wrapped(Header::TwoBytesWithItself, None), b"\x00\x05abc");
        assert_eq!(wrapped(Header::FourDigits, None), b"0003abc");
        assert_eq!(wrapped(Header::TwoBytes, Some(TPDU)), b"\x00\x08\x60\x00\x01\x00\x00abc");
    }

    #[test]
    fn an_empty_frame_is_a_pulse_and_nonsense_is_an_error() {
        let framing = |header| Framing { header, tpdu: None };
        assert_eq!(framing(Header::TwoBytes).cut(&[0, 0, 9]), Ok(Cut::Pulse { taken: 2 }));
        assert_eq!(framing(Header::TwoBytesWithItself).cut(&[0, 0]), Ok(Cut::Pulse { taken: 2 }));
        assert_eq!(framing(Header::TwoBytesWithItself).cut(&[0, 2]), Ok(Cut::Pulse { taken: 2 }));
        assert_eq!(framing(Header::TwoBytesWithItself).cut(&[0, 1]), Err(FramingError::Header));
        assert_eq!(framing(Header::FourDigits).cut(b"00x0"), Err(FramingError::Header));
        assert_eq!(framing(Header::TwoBytes).cut(b"HTTP/1.1"), Err(FramingError::TooLong));
        let routed = Framing { header: Header::TwoBytes, tpdu: Some(TPDU) };
        assert_eq!(routed.cut(&[0, 5, 0x60, 0, 0, 0, 0]), Err(FramingError::Tpdu));
        assert_eq!(routed.cut(&[0, 6, 0x30, 0, 0, 0, 0, 1]), Err(FramingError::Tpdu));
        assert_eq!(framing(Header::TwoBytes).wrap(&vec![0; FRAME_MAX]), None);
    }
}

//! How a wire behaves: what may be set, and what of it is drawn for one connection.

use std::time::Duration;

/// Which way a byte goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From whoever connected.
    ToServer,
    /// Back.
    ToClient,
}

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// They are delivered.
    #[default]
    Pass,
    /// They vanish. A connection that has lost some is reset when bytes pass again, as one whose peer has long given up would be.
    Lose,
    /// They wait, and are delivered in order when bytes pass again, as those that a network repeats.
    Hold,
    /// They arrive altered, each of them: no TLS record is whole, and no handshake comes to its end.
    Garble,
}

/// How the wire behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manner {
    /// Whether connections are refused: nothing listens, and those that were open are reset.
    pub refuse: bool,
    /// What becomes of bytes, both ways.
    pub flow: Flow,
    /// How much later each byte arrives, each way.
    pub latency: Duration,
    /// One byte at a time, so far apart; zero for at once.
    pub drip: Duration,
    /// Reset as soon as so many bytes have passed this way, on each connection, since this was set.
    pub reset_after: Option<(Direction, u64)>,
}

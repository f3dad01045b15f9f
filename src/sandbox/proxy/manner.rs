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
    /// Whether bytes arrive one at a time.
    pub drip: Option<Drip>,
    /// Whether connections break off by themselves.
    pub break_off: Option<BreakOff>,
    /// All that is open is reset so often, the first time at once; zero for never.
    pub cut_every: Duration,
    /// Repeats what is drawn for each connection, in the order in which they are opened.
    pub seed: u64,
}

/// One byte at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drip {
    /// Which way; both when it is not said.
    pub way: Option<Direction>,
    /// How far apart at least and at most: drawn for each connection, and then the same from byte to byte.
    pub apart: (Duration, Duration),
}

/// A connection that breaks off in the middle of what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakOff {
    /// The way of the bytes that are counted; drawn for each connection when it is not said.
    pub way: Option<Direction>,
    /// After how many bytes at least and at most, since this was set: drawn for each connection.
    pub bytes: (u64, u64),
    /// What is not counted on a connection that was opened since: bytes with which its two ends agree how to talk, before they say anything.
    pub opening: u64,
    /// Whether both ends are told goodbye, as far as the kernel lets it; otherwise both see a reset.
    pub goodbye: bool,
}

/// How a connection ended otherwise than by its two ends' goodbyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It was reset.
    Reset,
    /// We said goodbye to both.
    Goodbye,
}

impl Manner {
    /// A number that is the same for the same seed and connection.
    fn drawn(&self, nth: u64) -> u64 {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        let mut mixed = self.seed.wrapping_add(nth.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// How far apart the bytes are that go this way on the `nth` connection.
    pub(super) fn apart(&self, nth: u64, direction: Direction) -> Option<Duration> {
        let Drip { way, apart: (least, most) } = self.drip?;
        let permille = u32::try_from(self.drawn(nth) % 1_001).unwrap_or(0);
        (way.unwrap_or(direction) == direction).then(|| least + most.saturating_sub(least) * permille / 1_000)
    }

    /// After how many bytes this way the `nth` connection breaks off, and how; `later` when it was opened since this was set.
    pub(super) fn breaks_after(&self, nth: u64, direction: Direction, later: bool) -> Option<(u64, Broken)> {
        let BreakOff { way, bytes: (least, most), opening, goodbye } = self.break_off?;
        let drawn = self.drawn(nth);
        let either = if drawn & 1 == 0 { Direction::ToServer } else { Direction::ToClient };
        let bytes = least + (drawn >> 1) % (most.saturating_sub(least).saturating_add(1)) + if later { opening } else { 0 };
        (way.unwrap_or(either) == direction).then_some((bytes, if goodbye { Broken::Goodbye } else { Broken::Reset }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_connection_breaks_off_is_drawn_for_each_and_is_the_same_with_the_same_seed() {
        let break_off = BreakOff { way: None, bytes: (10, 20), opening: 100, goodbye: false };
        let manner = Manner { break_off: Some(break_off), seed: 7, ..Manner::default() };
        let places = |manner: Manner| -> Vec<_> {
            let ways = [Direction::ToServer, Direction::ToClient];
            (0..100).map(|nth| ways.map(|way| manner.breaks_after(nth, way, false).map(|(bytes, _)| bytes))).collect()
        };
        let drawn = places(manner);
        assert!(drawn.iter().all(|ways| ways.iter().flatten().count() == 1 && ways.iter().flatten().all(|bytes| (10..=20).contains(bytes))));
        assert!((30..70).contains(&drawn.iter().filter(|[to_server, _]| to_server.is_some()).count()), "{drawn:?}");
        assert!((10..=20).all(|bytes| drawn.iter().flatten().flatten().any(|drawn| *drawn == bytes)), "{drawn:?}");
        assert_eq!(drawn, places(manner));
        assert_ne!(drawn, places(Manner { seed: 8, ..manner }));
        let later = manner.breaks_after(0, Direction::ToServer, true).or(manner.breaks_after(0, Direction::ToClient, true));
        assert!(later.is_some_and(|(bytes, _)| (110..=120).contains(&bytes)));
    }
}

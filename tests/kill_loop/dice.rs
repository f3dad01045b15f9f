//! Dice that fall the same way for the same seed: SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators").

use std::ops::Range;

pub struct Dice {
    state: u64,
}

impl Dice {
    pub fn of(seed: u64) -> Self {
        Self { state: seed }
    }

    fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The bias of the remainder is far below what a test could notice.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.roll() % (range.end - range.start)
    }

    pub fn one_in(&mut self, of: u64) -> bool {
        self.within(0..of) == 0
    }
}

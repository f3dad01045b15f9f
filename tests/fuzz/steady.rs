//! The engine of `cargo test`: input n is the same bytes on every machine and every day, so a test that passed does not fail tomorrow for another
//! reason than a change of ours. Bolero's own engine draws a new seed each time, which is right for a long run and wrong for a gate.

use std::fmt::Debug;

use bolero::bolero_engine::input::Bytes;
use bolero::bolero_engine::{Failure, driver, panic};
use bolero::{Engine, Test};

/// The longest input, in bytes.
const LONGEST: u64 = 400;

/// A number of inputs, always the same.
pub struct Steady {
    /// How many.
    pub inputs: u64,
}

/// Whether nothing in the environment asks for bolero's own engine (its settings, or cargo-bolero).
pub fn is_wanted() -> bool {
    !std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with("BOLERO_") || name.to_string_lossy().starts_with("CARGO_BOLERO"))
}

impl<T: Test> Engine<T> for Steady
where
    T::Value: Debug,
{
    type Output = ();

    fn run(self, mut test: T, options: driver::Options) {
        panic::set_hook();
        panic::forward_panic(false);
        for number in 0..self.inputs {
            let bytes = stream(number);
            if let Err(error) = test.test(&mut Bytes::new(&bytes, &options)) {
                let shrunk = test.shrink(bytes.clone(), None, &options);
                let input = test.generate_value(&mut Bytes::new(&bytes, &options));
                let failure = shrunk.unwrap_or(Failure { error, input, seed: None });
                panic::forward_panic(true);
                std::panic::panic_any(format!("input {number}: {failure}"));
            }
        }
        panic::forward_panic(true);
    }
}

/// Bytes of a length and content that follow from `number` alone.
fn stream(number: u64) -> Vec<u8> {
    let mut state = number;
    let length = usize::try_from(splitmix(&mut state) % (LONGEST + 1)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(splitmix(&mut state).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Sebastiano Vigna's SplitMix64: <https://prng.di.unimi.it/splitmix64.c>.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[test]
fn a_target_that_fails_is_reported_with_its_input_made_small() {
    let outcome = std::panic::catch_unwind(|| {
        bolero::TestTarget::new(Steady { inputs: 3_000 }).for_each(|bytes: &[u8]| assert!(!bytes.contains(&0x77), "a seven"));
    });
    let told = outcome.expect_err("some input has the byte").downcast::<String>().expect("words");
    assert!(told.contains("a seven"), "{told}");
    assert!(told.starts_with("input "), "{told}");
}

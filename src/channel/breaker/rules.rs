//! The settings in the units that decisions use, how long an opening lasts, and the dice that keep instances out of step.

use std::time::Duration;

use super::settings::{BreakerSettings, MAX_PROBES, ProbeGate};

/// The settings, in the units that the decisions use.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) min_calls: u32,
    pub(super) fail_permille: u32,
    pub(super) slow_after: Duration,
    pub(super) slow_permille: u32,
    pub(super) consecutive: u32,
    pub(super) consecutive_span: Duration,
    pub(super) open_base: Duration,
    pub(super) open_max: Duration,
    pub(super) probes: u32,
    pub(super) probe_lease: Duration,
    pub(super) probe_gate: ProbeGate,
    pub(super) decay: Duration,
}

impl From<&BreakerSettings> for Rules {
    fn from(settings: &BreakerSettings) -> Self {
        Self {
            min_calls: settings.min_calls,
            fail_permille: settings.fail_permille,
            slow_after: Duration::from_millis(settings.slow_after_ms),
            slow_permille: settings.slow_permille,
            consecutive: settings.consecutive,
            consecutive_span: Duration::from_millis(settings.consecutive_span_ms),
            open_base: Duration::from_millis(settings.open_base_ms),
            open_max: Duration::from_millis(settings.open_max_ms),
            probes: settings.probes.clamp(1, MAX_PROBES),
            probe_lease: settings.probe_lease(),
            probe_gate: settings.probe_gate,
            decay: Duration::from_millis(settings.decay_ms),
        }
    }
}

impl Rules {
    /// min(open_max, open_base * 2^doublings).
    pub(super) fn opening(&self, doublings: u32) -> Duration {
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.open_base.saturating_mul(factor).min(self.open_max)
    }
}

/// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>): enough for jitter, and the same seed always rolls the same.
#[derive(Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 75 % to 125 % of `span`, in thousandths.
    pub(super) fn jittered(&mut self, span: Duration) -> Duration {
        let permille = 750 + u32::try_from(self.roll() % 501).unwrap_or(250);
        span.saturating_mul(permille) / 1_000
    }
}

//! `[poller]`: how often attempts that are due are looked for, how many at a time, and for how long they are then ours.

use super::section::Section;

const HOUR_MS: u64 = 3_600_000;

/// `[poller]`: who looks for attempts that are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollerSettings {
    /// Between two sweeps, in ms; default 250, 10 to 60,000. Too low is load on the database for nothing; too high is added to every unknown's
    /// age.
    pub sweep_every_ms: u64,
    /// Attempts that one sweep takes; default 64, 1 to 1000. More than can be asked within `lease_ms` comes back and is asked twice.
    pub batch: u32,
    /// How long an attempt is ours once taken, in ms; default 15,000, 1000 to 600,000, longer than every channel's `timeout_ms`. Too low, and two
    /// processes ask about the same attempt; too high, and those of a killed process wait as long.
    pub lease_ms: u64,
}

impl Default for PollerSettings {
    fn default() -> Self {
        Self { sweep_every_ms: 250, batch: 64, lease_ms: 15_000 }
    }
}

impl PollerSettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = PollerSettings::default();
        let settings = PollerSettings {
            sweep_every_ms: section.number("sweep_every_ms", default.sweep_every_ms, 10, 60_000),
            batch: section.number("batch", default.batch, 1, 1_000),
            lease_ms: section.number("lease_ms", default.lease_ms, 1_000, HOUR_MS / 6),
        };
        section.end();
        settings
    }
}

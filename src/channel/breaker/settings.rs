//! What an operator may say about one class's breaker, and beside it about its rate and its limiter, which the guard asks with it: integers only,
//! each with its unit, its default, and what breaks at its extremes.
//!
//! Two figures are not settings because any other value would be a mistake: the ring's bucket is a tenth of the call timeout (so that a call
//! ends inside the window in which it began), and a probe's lease is the call timeout and a second (so that a probe that timed out is
//! recorded before it is given up). Both follow from `call_timeout_ms`.

use std::time::Duration;

use serde::Deserialize;

/// The most probes that may be out at once: leases live in a fixed array.
pub const MAX_PROBES: u32 = 8;

const TEN_MINUTES_MS: u64 = 600_000;
const ONE_HOUR_MS: u64 = 3_600_000;
const ONE_DAY_MS: u64 = 86_400_000;

/// What must have happened, beside time, before a real call is risked on a channel that was shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeGate {
    /// A query must have succeeded since the breaker opened; when none does, time alone suffices `open_max_ms` later. For channels that can
    /// be asked about a payment.
    QueryFirst,
    /// Time alone. For channels without a query operation, and for queries themselves.
    TimeOnly,
}

/// One breaker's settings. Build it from the configuration, then [`BreakerSettings::validate`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSettings {
    /// The operation's timeout at this channel, in ms; default 3000, 1 to 600,000. The window is ten buckets of max(1 s, a tenth of it), a
    /// probe's lease is it and 1 s. Lower than the transport's real timeout: a probe that is still running re-opens the breaker.
    /// Much higher: a lost probe delays recovery by as long, and the window remembers old trouble.
    pub call_timeout_ms: u64,
    /// Calls that the window must hold before a ratio may trip; default 20, 1 to 100,000. At 1 a single failure trips; too high for the
    /// channel's traffic, and only the consecutive run can ever trip.
    pub min_calls: u32,
    /// Share of failed calls that trips, in thousandths of the window; default 500, 1 to 1000. At 1 any failure trips a full enough window;
    /// at 1000 a channel that answers one call in a hundred stays in use.
    pub fail_permille: u32,
    /// A call that takes longer than this is slow, in ms; default 2000, 1 to 600,000. Below the channel's ordinary latency every call is slow
    /// and the breaker flaps; at or above `call_timeout_ms` no call is ever found slow, which is how to turn the rule off.
    pub slow_after_ms: u64,
    /// Share of slow calls that trips, in thousandths of the window, and of the probes that re-opens; default 800, 1 to 1000. At 1 one slow
    /// call trips a full enough window; at 1000 every call must be slow.
    pub slow_permille: u32,
    /// Failures in a row that trip, whatever the window holds; default 5, 0 to 10,000, 0 turns the rule off. At 1 a single reset shuts the
    /// channel; at 0 a channel of little traffic that is plainly down is tried until `min_calls` have failed.
    pub consecutive: u32,
    /// The least time from the first to the last failure of that run, in ms; default 250, 0 to 600,000. At 0 one closed keep-alive host, whose
    /// calls all fail in the same millisecond, shuts a busy channel; too high, and a dead channel goes on being tried.
    pub consecutive_span_ms: u64,
    /// How long the first opening lasts, in ms; default 1000, 1 to 3,600,000. It doubles with every re-opening. Too low: a dead channel is
    /// probed with real payments all the time. Too high: a hiccup of a second costs minutes of traffic.
    pub open_base_ms: u64,
    /// The longest opening, in ms; default 15,000, `open_base_ms` to 3,600,000. A jitter of up to a quarter comes on top, so that instances
    /// do not probe in step. Too high: a channel that is back is not noticed.
    pub open_max_ms: u64,
    /// Successful probes that close, and the most that are out at once; default 3, 1 to 8. At 1 one lucky answer lets all traffic in; at 8
    /// eight payments are risked on a channel that may still be down.
    pub probes: u32,
    /// What must precede a probe; default `query_first`. `time_only` on a channel that can be queried risks a payment where a query would do;
    /// `query_first` on a channel that cannot be queried only adds `open_max_ms` to every opening.
    pub probe_gate: ProbeGate,
    /// How long the breaker must have stayed closed for the next opening to start at `open_base_ms` again, in ms; default 60,000, 0 to
    /// 86,400,000. At 0 a flapping channel never backs off; too high, and one bad minute lengthens the openings of the whole day.
    pub decay_ms: u64,
    /// Calls of this class that the channel's contract allows in a second; 0 to 100,000, 0 for as many as one likes. Left out, it is what the
    /// provider documents, where the channel is at the provider's own address, else 0. Each instance has its part, rounded down, and 1 at least.
    /// Too low turns payments away from a healthy channel; above the contract, the provider answers 429 and may punish the account.
    pub rate_per_second: Option<u32>,
    /// How many of them may come at once; 1 to 100,000, left out a tenth of the rate (at least 1). Each instance has its part, 1 at least. At 1
    /// calls must be evenly spaced, and a burst is turned away; at the rate itself, twice the rate passes in the first second.
    pub burst: Option<u32>,
    /// The fewest calls in flight that the adaptive limiter may go down to; default 6, 1 to 512. At 1 a channel of little traffic and a few
    /// timeouts is soon used one call at a time; too high, and a channel that drowns is not relieved.
    pub min_limit: u32,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            call_timeout_ms: 3_000,
            min_calls: 20,
            fail_permille: 500,
            slow_after_ms: 2_000,
            slow_permille: 800,
            consecutive: 5,
            consecutive_span_ms: 250,
            open_base_ms: 1_000,
            open_max_ms: 15_000,
            probes: 3,
            probe_gate: ProbeGate::QueryFirst,
            decay_ms: 60_000,
            rate_per_second: None,
            burst: None,
            min_limit: 6,
        }
    }
}

impl BreakerSettings {
    /// How much time one bucket of the ring covers: max(1 s, call timeout / 10).
    pub fn bucket(&self) -> Duration {
        Duration::from_millis((self.call_timeout_ms / 10).max(1_000))
    }

    /// How long a probe may stay out: the call timeout and 1 s.
    pub fn probe_lease(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms.saturating_add(1_000))
    }

    /// The contract's rate, and how many calls may come at once; none for as many as one likes.
    pub fn rate(&self) -> Option<(u32, u32)> {
        let per_second = self.rate_per_second.filter(|per_second| *per_second > 0)?;
        Some((per_second, self.burst.unwrap_or((per_second / 10).max(1))))
    }

    /// Every fault at once, one sentence each, naming the field and its range.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        let mut within = |field: &str, value: u64, least: u64, most: u64| {
            if value < least || value > most {
                faults.push(format!("{field} is {value}: it must be from {least} to {most}"));
            }
        };
        within("call_timeout_ms", self.call_timeout_ms, 1, TEN_MINUTES_MS);
        within("min_calls", u64::from(self.min_calls), 1, 100_000);
        within("fail_permille", u64::from(self.fail_permille), 1, 1_000);
        within("slow_after_ms", self.slow_after_ms, 1, TEN_MINUTES_MS);
        within("slow_permille", u64::from(self.slow_permille), 1, 1_000);
        within("consecutive", u64::from(self.consecutive), 0, 10_000);
        within("consecutive_span_ms", self.consecutive_span_ms, 0, TEN_MINUTES_MS);
        within("open_base_ms", self.open_base_ms, 1, ONE_HOUR_MS);
        within("open_max_ms", self.open_max_ms, 1, ONE_HOUR_MS);
        within("probes", u64::from(self.probes), 1, u64::from(MAX_PROBES));
        within("decay_ms", self.decay_ms, 0, ONE_DAY_MS);
        within("rate_per_second", u64::from(self.rate_per_second.unwrap_or(0)), 0, 100_000);
        within("burst", u64::from(self.burst.unwrap_or(1)), 1, 100_000);
        within("min_limit", u64::from(self.min_limit), 1, 512);
        if self.open_max_ms < self.open_base_ms {
            faults.push(format!("open_max_ms is {}: it must not be below open_base_ms, which is {}", self.open_max_ms, self.open_base_ms));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_an_empty_table_means_the_defaults() {
        assert_eq!(BreakerSettings::default().validate(), Ok(()));
        assert_eq!(toml::from_str::<BreakerSettings>("").unwrap(), BreakerSettings::default());
    }

    #[test]
    fn all_faults_are_reported_at_once_and_name_their_fields() {
        let settings =
            BreakerSettings { min_calls: 0, fail_permille: 1_001, probes: 9, open_base_ms: 2_000, open_max_ms: 1_000, ..BreakerSettings::default() };
        let faults = settings.validate().unwrap_err();
        for field in ["min_calls", "fail_permille", "probes", "open_max_ms"] {
            assert!(faults.iter().any(|fault| fault.starts_with(field)), "{field} in {faults:?}");
        }
        assert_eq!(faults.len(), 4, "{faults:?}");
    }

    #[test]
    fn a_misspelt_setting_is_refused() {
        let error = toml::from_str::<BreakerSettings>("min_call = 3").unwrap_err();
        assert!(error.to_string().contains("min_call"), "{error}");
        let gated: BreakerSettings = toml::from_str("probe_gate = \"time_only\"").unwrap();
        assert_eq!(gated.probe_gate, ProbeGate::TimeOnly);
    }

    #[test]
    fn bucket_and_lease_follow_from_the_call_timeout() {
        let quick = BreakerSettings::default();
        assert_eq!((quick.bucket(), quick.probe_lease()), (Duration::from_secs(1), Duration::from_secs(4)));
        let slow = BreakerSettings { call_timeout_ms: 25_000, ..quick };
        assert_eq!((slow.bucket(), slow.probe_lease()), (Duration::from_millis(2_500), Duration::from_secs(26)));
    }
}

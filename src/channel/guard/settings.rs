//! What an operator may say about a channel's guard.

use serde::Deserialize;

use super::super::breaker::{BreakerSettings, ProbeGate};
use crate::domain::operation::OperationClass;

/// The most calls that may be in flight at one channel, whatever the settings say: each has a slot in memory that is walked at every tick.
pub const MAX_IN_FLIGHT: u32 = 512;

/// The least: one for each class.
pub const MIN_IN_FLIGHT: u32 = 3;

/// One channel's guard.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuardSettings {
    /// Calls in flight at this channel, all classes and all instances together; default 512, 3 to 512, and never more than its connections. Each
    /// instance has its part, 3 at least. Of what may be in flight now, 20 % (at least 1) is kept for resolve and 10 % (at least 1) for refund,
    /// so pay has the rest. Above what the contract allows, the provider refuses; too low, payments are turned away from a healthy channel.
    pub max_in_flight: u32,
    /// The breaker of new charges. The only one that decides routing.
    pub pay: BreakerSettings,
    /// The breaker of queries, closes, captures, voids and reversals. It only paces; its `probe_gate` is `time_only` whatever is said here.
    pub resolve: BreakerSettings,
    /// The breaker of refunds.
    pub refund: BreakerSettings,
}

impl Default for GuardSettings {
    fn default() -> Self {
        let settings = BreakerSettings::default();
        Self {
            max_in_flight: MAX_IN_FLIGHT,
            resolve: BreakerSettings { probe_gate: ProbeGate::TimeOnly, ..settings.clone() },
            refund: settings.clone(),
            pay: settings,
        }
    }
}

impl GuardSettings {
    /// Takes over the rates that a contract documents, where the settings say nothing.
    pub fn follow_contract(&mut self, documented: impl Fn(OperationClass) -> Option<u32>) {
        for (class, breaker) in OperationClass::ALL.into_iter().zip([&mut self.pay, &mut self.resolve, &mut self.refund]) {
            breaker.rate_per_second = breaker.rate_per_second.or_else(|| documented(class));
        }
    }

    /// Leaves of what the channel may do the part of one of so many instances (at least 1), rounded down: all of them together never exceed it. A
    /// burst is one call at least.
    ///
    /// # Errors
    /// A sentence for each figure of which no part is left, naming the field. A rate must not be rounded down to none: none is no bound.
    pub fn divide(&mut self, instances: u32) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        let each = |whole: u32| whole / instances.max(1);
        if each(self.max_in_flight) < MIN_IN_FLIGHT {
            faults.push(format!(
                "max_in_flight is {}: divided by the {instances} of server.instances it leaves {}, and each needs {MIN_IN_FLIGHT}",
                self.max_in_flight,
                each(self.max_in_flight)
            ));
        }
        self.max_in_flight = each(self.max_in_flight);
        for (class, breaker) in [("pay", &mut self.pay), ("resolve", &mut self.resolve), ("refund", &mut self.refund)] {
            if let Some(whole) = breaker.rate_per_second.filter(|rate| *rate > 0) {
                if each(whole) == 0 {
                    faults.push(format!(
                        "{class}.rate_per_second is {whole}: divided by the {instances} of server.instances it leaves none, and each needs 1"
                    ));
                }
                breaker.rate_per_second = Some(each(whole));
            }
            breaker.burst = breaker.burst.map(|whole| each(whole).max(1));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// For a channel that cannot be asked anything: time alone leads to its probes, or each opening would wait for a query that never comes.
    pub fn probe_by_time(&mut self) {
        for breaker in [&mut self.pay, &mut self.resolve, &mut self.refund] {
            breaker.probe_gate = ProbeGate::TimeOnly;
        }
    }

    /// Every fault at once, one sentence each, naming the field and its range.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        if !(MIN_IN_FLIGHT..=MAX_IN_FLIGHT).contains(&self.max_in_flight) {
            faults.push(format!("max_in_flight is {}: it must be from {MIN_IN_FLIGHT} to {MAX_IN_FLIGHT}", self.max_in_flight));
        }
        for (class, breaker) in [("pay", &self.pay), ("resolve", &self.resolve), ("refund", &self.refund)] {
            if let Err(of_class) = breaker.validate() {
                faults.extend(of_class.into_iter().map(|fault| format!("{class}.{fault}")));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_cannot_be_asked_is_probed_by_time_alone() {
        let mut settings = GuardSettings::default();
        settings.probe_by_time();
        assert!([settings.pay, settings.resolve, settings.refund].iter().all(|breaker| breaker.probe_gate == ProbeGate::TimeOnly));
    }

    #[test]
    fn the_parts_of_all_instances_together_never_exceed_the_whole() {
        let whole: GuardSettings =
            toml::from_str("max_in_flight = 100\n[pay]\nrate_per_second = 70\nburst = 5\n[refund]\nrate_per_second = 0").unwrap();
        for instances in 1..=33 {
            let mut part = whole.clone();
            part.divide(instances).unwrap();
            assert_eq!(part.validate(), Ok(()), "{instances}");
            assert!(part.max_in_flight * instances <= 100 && (part.max_in_flight + 1) * instances > 100, "{instances}");
            let (rate, burst) = part.pay.rate().unwrap();
            assert!(rate * instances <= 70 && (rate + 1) * instances > 70, "{instances}");
            assert_eq!(burst, (5 / instances).max(1), "{instances}");
            assert_eq!((part.resolve.rate(), part.refund.rate()), (None, None), "what has no bound has none in parts, {instances}");
        }
    }

    #[test]
    fn a_figure_of_which_an_instance_would_have_nothing_is_refused_and_not_taken_for_no_bound() {
        let mut settings: GuardSettings = toml::from_str("max_in_flight = 20\n[pay]\nrate_per_second = 6\n[resolve]\nrate_per_second = 7").unwrap();
        assert_eq!(
            settings.divide(7).unwrap_err(),
            [
                "max_in_flight is 20: divided by the 7 of server.instances it leaves 2, and each needs 3",
                "pay.rate_per_second is 6: divided by the 7 of server.instances it leaves none, and each needs 1",
            ]
        );
    }

    #[test]
    fn faults_of_every_class_are_reported_at_once_with_the_class_in_front() {
        let settings: GuardSettings = toml::from_str("max_in_flight = 2\n[pay]\nprobes = 9\n[refund]\nmin_calls = 0").unwrap();
        let faults = settings.validate().unwrap_err();
        assert_eq!(faults.len(), 3, "{faults:?}");
        for start in ["max_in_flight", "pay.probes", "refund.min_calls"] {
            assert!(faults.iter().any(|fault| fault.starts_with(start)), "{start} in {faults:?}");
        }
        assert_eq!(GuardSettings::default().validate(), Ok(()));
    }
}

//! Faults on demand: what a channel does wrong, how often, and to which operations; and the amounts that ask for one fault by themselves.
//!
//! A fault of a channel falls on every request of its operations, repeats of an idempotency key included, because it stands for a network or a
//! server that is broken. A fault that an amount asks for falls on the first execution only: the repeat with the same key then finds the stored
//! answer, so that the orchestrator's way out can be seen to work.
//!
//! `rate` governs the mode; the latency is on every request of the operations, and lies between the execution and the answer: a caller whose
//! deadline is shorter than it was charged all the same.

use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a request asks for, as far as faults are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// The step that moves or holds the customer's money.
    Pay,
    /// The step before it, which moves nothing.
    Create,
    /// Taking held money.
    Capture,
    /// Ending a payment without money.
    Void,
    /// Giving money back.
    Refund,
    /// Only asking.
    Query,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A business refusal.
    Decline,
    /// Executed, then answered with a 5xx (and that answer is what a repeat gets).
    ErrorProcessed,
    /// Not executed, answered with a 5xx.
    ErrorNotProcessed,
    /// Executed, and never answered.
    TimeoutProcessed,
    /// Not executed, and never answered.
    TimeoutNotProcessed,
    /// The connection is reset before execution.
    ResetBefore,
    /// The connection is reset after execution.
    ResetAfter,
    /// Executed, answered 200 with a body cut in half.
    Malformed,
    /// Executed, answered with 4 MiB of blanks behind the body, which is sound: only a caller who reads without a bound takes it.
    Huge,
    /// Executed, and its notification is signed wrongly.
    BadSignature,
    /// Executed, and answered a byte at a time, one each 200 ms.
    SlowDrip,
    /// Executed, and its notification is sent a hundred times.
    DuplicateNotification,
    /// Executed, and its notifications come after 5 s, out of order.
    LateNotification,
    /// Not executed: 429.
    Throttle,
    /// The listener is closed.
    Refuse,
}

/// What `PUT faults` sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong; absent for latency alone.
    #[serde(default)]
    pub mode: Option<Mode>,
    /// The share of requests that the mode hits, 0.0 to 1.0; 1.0 unless said.
    #[serde(default = "always")]
    pub rate: f64,
    /// Which operations are hit; pay and refund unless said.
    #[serde(default = "money_movers")]
    pub operations: Vec<Operation>,
    /// Milliseconds between execution and answer, at most 120,000.
    #[serde(default)]
    pub latency_ms: u64,
    /// Up to this many milliseconds more, drawn evenly, at most 120,000.
    #[serde(default)]
    pub jitter_ms: u64,
}

fn always() -> f64 {
    1.0
}

fn money_movers() -> Vec<Operation> {
    vec![Operation::Pay, Operation::Refund]
}

/// Longer than any deadline worth testing, and short enough that held requests do not pile up.
const LATENCY_MAX_MS: u64 = 120_000;

impl Fault {
    /// What is wrong with it, as a sentence, if anything is.
    pub fn complaint(&self) -> Option<String> {
        if !(0.0..=1.0).contains(&self.rate) {
            return Some(format!("rate must lie between 0.0 and 1.0, and is {}", self.rate));
        }
        if self.latency_ms > LATENCY_MAX_MS || self.jitter_ms > LATENCY_MAX_MS {
            return Some(format!("latency_ms and jitter_ms may be at most {LATENCY_MAX_MS}"));
        }
        None
    }
}

/// What was drawn for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    /// The mode that hits it, if one does.
    pub mode: Option<Mode>,
    /// How long its answer waits.
    pub latency: Duration,
}

/// A channel's fault, and the dice.
#[derive(Debug)]
pub struct Faults {
    current: RwLock<Option<Fault>>,
    dice: AtomicU64,
}

impl Faults {
    /// A healthy channel. The same seed draws the same sequence.
    pub fn new(seed: u64) -> Self {
        Self { current: RwLock::new(None), dice: AtomicU64::new(seed) }
    }

    /// Sets or heals.
    pub fn set(&self, fault: Option<Fault>) {
        *self.current.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = fault;
    }

    /// What is set.
    pub fn current(&self) -> Option<Fault> {
        self.current.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Draws for one request of `operation`.
    pub fn draw(&self, operation: Operation) -> Draw {
        let current = self.current.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some(fault) = current.as_ref().filter(|fault| fault.operations.contains(&operation)) else {
            return Draw::default();
        };
        let hit = fault.rate >= 1.0 || self.chance() < fault.rate;
        let jitter = if fault.jitter_ms == 0 { 0 } else { self.below(fault.jitter_ms + 1) };
        Draw { mode: fault.mode.filter(|_| hit), latency: Duration::from_millis(fault.latency_ms + jitter) }
    }

    /// A number from 0 to `bound` - 1.
    pub fn below(&self, bound: u64) -> u64 {
        self.roll() % bound.max(1)
    }

    fn chance(&self) -> f64 {
        // 53 bits fill a double's fraction exactly.
        (self.roll() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014): one atomic add a draw, and good enough dice.
    fn roll(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut mixed = self.dice.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// What an amount asks for by its last two digits, when it is paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Magic {
    /// …01
    Decline,
    /// …02: charged, never answered.
    TimeoutProcessed,
    /// …03: not charged, never answered.
    TimeoutNotProcessed,
    /// …04
    DuplicateNotification,
    /// …05: charged at once, answered after 8 s.
    SlowAnswer,
    /// …06
    BadSignature,
}

impl Magic {
    /// What paying `amount` minor units asks for.
    pub fn of_payment(amount: i64) -> Option<Self> {
        match amount % 100 {
            1 => Some(Self::Decline),
            2 => Some(Self::TimeoutProcessed),
            3 => Some(Self::TimeoutNotProcessed),
            4 => Some(Self::DuplicateNotification),
            5 => Some(Self::SlowAnswer),
            6 => Some(Self::BadSignature),
            _ => None,
        }
    }

    /// Whether a refund of `amount` minor units stays pending for a while (…07).
    pub fn refund_is_pending(amount: i64) -> bool {
        amount % 100 == 7
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(mode: Mode, rate: f64) -> Fault {
        Fault { mode: Some(mode), rate, operations: money_movers(), latency_ms: 0, jitter_ms: 0 }
    }

    #[test]
    fn the_same_seed_draws_the_same_faults_at_about_the_rate() {
        let (one, two) = (Faults::new(7), Faults::new(7));
        one.set(Some(fault(Mode::Decline, 0.3)));
        two.set(Some(fault(Mode::Decline, 0.3)));
        let draws: Vec<Draw> = (0..1000).map(|_| one.draw(Operation::Pay)).collect();
        assert_eq!(draws, (0..1000).map(|_| two.draw(Operation::Pay)).collect::<Vec<_>>());
        let hits = draws.iter().filter(|draw| draw.mode.is_some()).count();
        assert!((250..350).contains(&hits), "{hits} of 1000 at a rate of 0.3");
    }

    #[test]
    fn a_query_is_never_hit_unless_it_is_named() {
        let faults = Faults::new(1);
        faults.set(Some(fault(Mode::Throttle, 1.0)));
        assert_eq!(faults.draw(Operation::Query), Draw::default());
        let named: Fault = serde_json::from_str(r#"{"mode":"throttle","operations":["query"]}"#).unwrap();
        faults.set(Some(named));
        assert_eq!(faults.draw(Operation::Query).mode, Some(Mode::Throttle));
    }
}

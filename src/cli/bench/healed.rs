//! How a healed channel is met: whether all that waited for it comes at once. What it is sent is read from the processes' own metrics: twice while
//! all is well, and ten times a second after the fault. When it ended is not when the channel is called again: its breaker may be open for a while
//! yet, so it is looked at for as long as there is load.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::caller::{Caller, Request};

/// How long it is looked at before the fault.
pub const WATCHED: Duration = Duration::from_secs(10);
/// A breaker is open for 60 s at most after its last trial.
const WATCHED_MOST: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const WINDOW: Duration = Duration::from_secs(1);
/// A window that grew longer, because a look was late, says nothing of one second.
const WINDOW_MOST: Duration = Duration::from_millis(1_200);

/// The channel at one moment, over all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Since the start of the load.
    pub at: Duration,
    /// Calls that are under way.
    pub in_flight: u64,
    /// Calls that may be.
    pub limit: u64,
    /// Calls that have ended, of every kind, without those that were not sent.
    pub calls: u64,
}

/// How it was met.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Healed {
    /// Calls a second before the fault.
    pub steady_per_s: f64,
    /// For how long it was watched, in seconds.
    pub watched_s: u64,
    /// In that second after it in which there were the most, of all that begin with a look: more than the mean also in calm.
    pub most_per_s: u64,
    /// Calls under way then, at most.
    pub most_in_flight: u64,
    /// The lowest and the highest limit that it had meanwhile.
    pub limits: (u64, u64),
    /// Looks that found more under way than the limit, over all processes. A limit that shrinks takes nothing back: what was let through before is
    /// still under way.
    pub over_limit: u64,
}

impl Healed {
    /// From two looks while all was well, and those after the fault; none when there are too few.
    pub fn new(well: &[Look], after: &[Look]) -> Option<Self> {
        let (first, last) = (well.first()?, well.last()?);
        let steady_per_s = calls_between(first, last) as f64 / last.at.checked_sub(first.at).filter(|time| !time.is_zero())?.as_secs_f64();
        let a_second_on = |from: &Look| {
            let to = after.iter().find(|look| look.at >= from.at + WINDOW).filter(|to| to.at <= from.at + WINDOW_MOST)?;
            Some(calls_between(from, to))
        };
        Some(Self {
            steady_per_s,
            watched_s: after.last()?.at.saturating_sub(after.first()?.at).as_secs_f64().round() as u64,
            most_per_s: after.iter().filter_map(a_second_on).max()?,
            most_in_flight: after.iter().map(|look| look.in_flight).max()?,
            limits: (after.iter().map(|look| look.limit).min()?, after.iter().map(|look| look.limit).max()?),
            over_limit: after.iter().filter(|look| look.in_flight > look.limit).count() as u64,
        })
    }

    /// For people.
    pub fn in_words(&self) -> String {
        let Self { steady_per_s, watched_s, most_per_s, most_in_flight, limits: (least, most), over_limit } = self;
        format!(
            "the healed channel had {steady_per_s:.0} calls a second before; in the first {watched_s} s after at most {most_per_s} in one, {most_in_flight} under way (limit {least} to {most}, more than it {over_limit} times)\n"
        )
    }
}

/// A process that began anew counts from zero.
fn calls_between(from: &Look, to: &Look) -> u64 {
    to.calls.saturating_sub(from.calls)
}

/// Who looks.
#[derive(Debug)]
pub struct Watcher {
    /// One a process.
    pub callers: Vec<Caller>,
    /// What an operator who may look shows.
    pub token: String,
    /// When the load began.
    pub start: Instant,
}

impl Watcher {
    /// Looks at `channel` once; none when a process did not answer.
    pub async fn look_at(&self, channel: &str) -> Option<Look> {
        let authorization = format!("Bearer {}", self.token);
        let mut look = Look { at: self.start.elapsed(), in_flight: 0, limit: 0, calls: 0 };
        for caller in &self.callers {
            let request = Request { method: "GET", path: "/metrics", headers: &[("authorization", &authorization)], body: String::new() };
            let (_, text) = caller.call(&request).await.ok().filter(|(status, _)| *status == 200)?;
            look.add(&String::from_utf8_lossy(&text), channel);
        }
        Some(look)
    }

    /// Looks at it again and again until `load_ends`.
    pub async fn watch(&self, channel: &str, load_ends: Instant) -> Vec<Look> {
        let until = load_ends.min(Instant::now() + WATCHED_MOST);
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        let mut looks = Vec::new();
        while Instant::now() < until {
            ticks.tick().await;
            looks.extend(self.look_at(channel).await);
        }
        looks
    }
}

impl Look {
    /// Adds what one process's metrics say.
    fn add(&mut self, metrics: &str, channel: &str) {
        let label = format!("channel=\"{channel}\"");
        for line in metrics.lines().filter(|line| line.contains(&label)) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            // Whole numbers, and never below zero.
            let value = value.parse::<f64>().map_or(0, |value| value.max(0.0) as u64);
            match series.split('{').next() {
                Some("breakwater_channel_in_flight") => self.in_flight += value,
                Some("breakwater_channel_concurrency_limit") => self.limit += value,
                Some("breakwater_channel_attempts_total") if !series.contains("outcome=\"not_sent\"") => self.calls += value,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at_ms: u64, in_flight: u64, limit: u64, calls: u64) -> Look {
        Look { at: Duration::from_millis(at_ms), in_flight, limit, calls }
    }

    #[test]
    fn a_healed_channel_is_told_by_its_busiest_second_and_its_fullest_moment() {
        let well = [look(0, 1, 20, 100), look(10_000, 2, 20, 850)];
        let after = [look(20_000, 0, 6, 900), look(20_500, 7, 6, 990), look(21_000, 3, 8, 1_000), look(21_500, 3, 14, 1_100)];
        let healed = Healed::new(&well, &after).expect("enough looks");
        assert_eq!(healed, Healed { steady_per_s: 75.0, watched_s: 2, most_per_s: 110, most_in_flight: 7, limits: (6, 14), over_limit: 1 });
        assert_eq!(Healed::new(&well[..1], &after), None);
    }

    #[test]
    fn a_look_adds_up_what_the_processes_say_of_that_channel_alone() {
        let mut seen = look(0, 0, 0, 0);
        let metrics = "breakwater_channel_in_flight{channel=\"bank_1\"} 3\nbreakwater_channel_in_flight{channel=\"bank_2\"} 9\n\
            breakwater_channel_concurrency_limit{channel=\"bank_1\"} 20\n\
            breakwater_channel_attempts_total{channel=\"bank_1\",operation=\"pay\",outcome=\"approved\"} 70\n\
            breakwater_channel_attempts_total{channel=\"bank_1\",operation=\"refund\",outcome=\"approved\"} 5\n\
            breakwater_channel_attempts_total{channel=\"bank_1\",operation=\"pay\",outcome=\"not_sent\"} 1000\n";
        seen.add(metrics, "bank_1");
        seen.add(metrics, "bank_1");
        assert_eq!(seen, look(0, 6, 40, 150));
    }
}

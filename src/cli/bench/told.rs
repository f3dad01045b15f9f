//! What clients were told, and the figures that follow from it.

use std::time::Duration;

use serde::Serialize;

/// One order, and everything that its client was told of it. Times are since the start of the load.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The order's name.
    pub order: String,
    /// When it was to be sent. Latency counts from here, however late it was really sent.
    pub at: Duration,
    /// When the first answer came that was one.
    pub answered: Option<Duration>,
    /// When its client knew how it ended.
    pub ended: Option<Duration>,
    /// That answer's status; 0 when none came.
    pub status: u16,
    /// The problem's code, when it was one.
    pub code: String,
    /// The payment's id.
    pub payment: Option<String>,
    /// Its statuses, as they were told one after the other.
    pub said: Vec<String>,
    /// Which channel carried it, as of the first answer.
    pub channel: Option<String>,
    /// Requests whose answer never came, and that were sent again with the same key.
    pub cut_off: u32,
    /// A refund of it: id and what was last told.
    pub refund: Option<(String, String)>,
    /// Whether it is part of the flood, and in no figure.
    pub flood: bool,
}

impl Told {
    /// Whether its client was told that nothing was done.
    pub fn was_refused(&self) -> bool {
        matches!(self.status, 400..500 | 503)
    }

    fn latency(&self) -> Option<Duration> {
        self.answered.map(|answered| answered.saturating_sub(self.at))
    }

    /// Whether the first answer was the right one (all these orders can be paid), and came in time.
    fn is_right_within(&self, limit: Duration) -> bool {
        self.status == 201 && self.said.first().is_some_and(|said| said == "succeeded") && self.latency().is_some_and(|latency| latency <= limit)
    }

    /// When it was answered, if its first answer was the right one, however late; a repeat's is as good.
    pub fn right_at(&self) -> Option<Duration> {
        let right = matches!(self.status, 200 | 201) && self.said.first().is_some_and(|said| said == "succeeded");
        self.answered.filter(|_| right)
    }

    fn has_failed(&self) -> bool {
        self.status == 0 || self.was_refused() || self.status >= 500 || self.said.first().is_some_and(|said| said == "failed")
    }
}

/// What became of the orders of one second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Second {
    /// Which, from the start of the load.
    pub second: u64,
    /// Orders that were due in it.
    pub offered: u32,
    /// Paid, and answered so in time.
    pub in_time: u32,
    /// Answered later than that, or answered that it is not known yet.
    pub pending: u32,
    /// Refused, failed, or never answered.
    pub failed: u32,
}

/// How long answers took, in whole milliseconds from the intended time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Answers.
    pub count: usize,
    /// Half of them took at most so long.
    pub p50_ms: u64,
    /// Of a hundred, ninety-nine.
    pub p99_ms: u64,
}

/// The seconds of a run that lasted `whole`.
pub fn seconds(told: &[Told], whole: Duration, in_time: Duration) -> Vec<Second> {
    let mut seconds: Vec<Second> = (0..whole.as_secs()).map(|second| Second { second, ..Second::default() }).collect();
    for told in told.iter().filter(|told| !told.flood) {
        let Some(second) = usize::try_from(told.at.as_secs()).ok().and_then(|place| seconds.get_mut(place)) else { continue };
        second.offered += 1;
        if told.is_right_within(in_time) {
            second.in_time += 1;
        } else if told.has_failed() {
            second.failed += 1;
        } else {
            second.pending += 1;
        }
    }
    seconds
}

/// Percentiles (nearest rank) of what was answered of these orders; `None` when nothing was.
pub fn latency<'a>(told: impl Iterator<Item = &'a Told>) -> Option<Latency> {
    let mut times: Vec<Duration> = told.filter(|told| matches!(told.status, 200..300)).filter_map(Told::latency).collect();
    times.sort_unstable();
    let at = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).map(|time| whole_ms(*time));
    Some(Latency { count: times.len(), p50_ms: at(50)?, p99_ms: at(99)? })
}

/// Saturates far beyond any run.
pub fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(at_ms: u64, after_ms: u64, status: u16, said: &str) -> Told {
        let at = Duration::from_millis(at_ms);
        Told { at, answered: Some(at + Duration::from_millis(after_ms)), status, said: vec![said.to_owned()], ..Told::default() }
    }

    #[test]
    fn an_order_counts_in_the_second_in_which_it_was_due_however_late_it_was_answered() {
        let told = [
            answered(100, 50, 201, "succeeded"),
            answered(900, 1_500, 201, "succeeded"),
            answered(950, 10, 202, "processing"),
            answered(1_000, 10, 201, "failed"),
            Told { at: Duration::from_millis(1_500), ..Told::default() },
            Told { flood: true, ..answered(0, 1, 201, "succeeded") },
        ];
        let seconds = seconds(&told, Duration::from_secs(2), Duration::from_secs(1));
        assert_eq!(seconds[0], Second { second: 0, offered: 3, in_time: 1, pending: 2, failed: 0 });
        assert_eq!(seconds[1], Second { second: 1, offered: 2, in_time: 0, pending: 0, failed: 2 });
    }

    #[test]
    fn percentiles_are_by_nearest_rank_over_what_was_answered() {
        let told: Vec<Told> = (1..=100).map(|ms| answered(0, ms, 201, "succeeded")).chain([answered(0, 9_999, 503, "")]).collect();
        assert_eq!(latency(told.iter()), Some(Latency { count: 100, p50_ms: 50, p99_ms: 99 }));
        assert_eq!(latency(std::iter::empty()), None);
    }
}

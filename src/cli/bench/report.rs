//! What a run has shown: figures by the second, what customers of the other channels noticed, and the referee's verdict.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::healed::Healed;
use super::referee::{Undone, Verdict};
use super::told::{Latency, Second, Told, latency, seconds, whole_ms};

/// Seconds that are shown on both sides of an edge.
const AROUND: u64 = 4;

/// When what happened.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The fault began.
    pub begun: Duration,
    /// And ended.
    pub ended: Duration,
    /// A standby had been promoted, where there is one.
    pub promoted: Option<Duration>,
    /// The last order was due.
    pub whole: Duration,
    /// What still counts as in time.
    pub in_time: Duration,
}

/// Answers before, during and after the fault.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Phases {
    /// Before it.
    pub before: Option<Latency>,
    /// While it lasted.
    pub during: Option<Latency>,
    /// When it was over.
    pub after: Option<Latency>,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The scenario.
    pub scenario: String,
    /// The channel that was hit, if one was.
    pub victim: Option<String>,
    /// The command's figures, to repeat it.
    pub command: String,
    /// When the fault began, in seconds from the start of the load.
    pub fault_from_s: u64,
    /// When it ended.
    pub fault_to_s: u64,
    /// Every second.
    pub seconds: Vec<Second>,
    /// Seconds from the fault's beginning in which fewer than nine tenths of what was offered was paid in time.
    pub dip_s: u64,
    /// When the standby had been promoted, in milliseconds from the start of the load; where a primary was lost.
    pub promoted_at_ms: Option<u64>,
    /// From then until the first right answer to an order that was offered after it, in milliseconds.
    pub back_after_ms: Option<u64>,
    /// From the fault's beginning to that answer: how long clients were without.
    pub away_ms: Option<u64>,
    /// Whole seconds from the promotion, or else from the fault's end, until the first from which on every second had 95 in 100 of its orders in
    /// time. Nothing when the last second had not.
    pub steady_after_s: Option<u64>,
    /// Of all orders.
    pub all: Phases,
    /// Of those that another channel carried.
    pub others: Phases,
    /// Orders that were not taken, by status and problem code.
    pub refused: BTreeMap<String, u32>,
    /// Requests that were cut off, and sent again with the same key.
    pub cut_off: u32,
    /// What was still open when the last order had been sent had ended so long after.
    pub resolved_after_ms: u64,
    /// How the channel that was hit was met when it was well again.
    pub healed: Option<Healed>,
    /// What had to be undone at the channel that was hit, where that is how it is done: at banks.
    pub undone: Option<Undone>,
    /// The referee's.
    pub verdict: Verdict,
    /// What the installation's own check found.
    pub integrity: Vec<String>,
}

impl Report {
    /// Works it out.
    pub fn new(scenario: String, victim: Option<String>, command: String, told: &[Told], times: Times, judged: Judged) -> Self {
        let seconds = seconds(told, times.whole, times.in_time);
        let dips = |second: &&Second| second.second >= times.begun.as_secs() && second.in_time * 10 < second.offered * 9;
        let back = times.promoted.and_then(|promoted| told.iter().filter(|told| !told.flood && told.at >= promoted).filter_map(Told::right_at).min());
        let elsewhere = |told: &Told| told.channel.is_some() && told.channel != victim;
        let mut refused = BTreeMap::new();
        for told in told.iter().filter(|told| told.was_refused() && !told.flood) {
            *refused.entry(format!("{} {}", told.status, told.code)).or_default() += 1;
        }
        Self {
            refused,
            promoted_at_ms: times.promoted.map(whole_ms),
            back_after_ms: back.zip(times.promoted).map(|(back, promoted)| whole_ms(back.saturating_sub(promoted))),
            away_ms: back.map(|back| whole_ms(back.saturating_sub(times.begun))),
            steady_after_s: steady_after_s(&seconds, times.promoted.unwrap_or(times.ended)),
            dip_s: seconds.iter().filter(dips).count() as u64,
            all: phases(told, times, |_| true),
            others: phases(told, times, elsewhere),
            cut_off: told.iter().map(|told| told.cut_off).sum(),
            fault_from_s: times.begun.as_secs(),
            fault_to_s: times.ended.as_secs(),
            resolved_after_ms: whole_ms(judged.resolved_after),
            healed: judged.healed,
            undone: judged.undone,
            verdict: judged.verdict,
            integrity: judged.integrity,
            scenario,
            victim,
            command,
            seconds,
        }
    }

    /// Whether the money is right.
    pub fn holds(&self) -> bool {
        self.verdict.holds() && self.integrity.is_empty()
    }

    /// For people.
    pub fn in_words(&self) -> String {
        let mut words = format!("{}\n\n", self.command);
        let _ = writeln!(words, "second  offered  in time  pending  failed");
        let edges = [self.fault_from_s, self.fault_to_s];
        let near = |second: u64| edges.iter().any(|edge| second + AROUND > *edge && second < edge + AROUND);
        let mut skipped = false;
        for second in &self.seconds {
            if !near(second.second) {
                skipped = true;
                continue;
            }
            if std::mem::take(&mut skipped) {
                words.push_str("     …\n");
            }
            let mark = if second.second == edges[0] {
                "  << the fault begins"
            } else if second.second == edges[1] {
                "  << it ends"
            } else {
                ""
            };
            let Second { second, offered, in_time, pending, failed } = second;
            let _ = writeln!(words, "{second:>6}  {offered:>7}  {in_time:>7}  {pending:>7}  {failed:>6}{mark}");
        }
        let sum = |of: fn(&Second) -> u32| self.seconds.iter().map(of).sum::<u32>();
        let totals = (sum(|second| second.offered), sum(|second| second.in_time), sum(|second| second.pending), sum(|second| second.failed));
        let _ = writeln!(words, "   all  {:>7}  {:>7}  {:>7}  {:>6}\n", totals.0, totals.1, totals.2, totals.3);
        let _ = writeln!(words, "p50/p99 in ms   before        during        after");
        let _ = writeln!(words, "all orders      {}", in_cells(&self.all));
        if self.victim.is_some() {
            let _ = writeln!(words, "other channels  {}", in_cells(&self.others));
        }
        let _ = writeln!(
            words,
            "\nseconds below 90 % since the fault: {}; cut off and asked again: {}; all at its end {:.1} s after the last order",
            self.dip_s,
            self.cut_off,
            self.resolved_after_ms as f64 / 1_000.0
        );
        match &self.healed {
            Some(healed) => words.push_str(&healed.in_words()),
            None if self.victim.is_some() => words.push_str("how the healed channel was met could not be seen\n"),
            None => {}
        }
        if let Some(Undone { charged, not_charged }) = self.undone {
            let _ = writeln!(
                words,
                "undone at the channel that was hit, because no whole answer came: {charged} that it had charged, {not_charged} that it had not"
            );
        }
        let since = match (self.promoted_at_ms, self.back_after_ms, self.away_ms) {
            (Some(promoted), Some(back), Some(away)) => {
                let promoted = promoted as f64 / 1_000.0;
                let _ = writeln!(
                    words,
                    "promoted at {promoted:.1} s; the first order after that was paid {back} ms later, {away} ms after the fault began"
                );
                "the promotion"
            }
            (Some(_), ..) => {
                words.push_str("no order that was offered after the promotion was paid\n");
                "the promotion"
            }
            _ => "the fault's end",
        };
        let _ = match self.steady_after_s {
            Some(steady) => writeln!(words, "95 % in time in every second from {steady} s after {since} on"),
            None => writeln!(words, "not steady again: the last second had fewer than 95 % in time"),
        };
        for (refusal, times) in &self.refused {
            let _ = writeln!(words, "refused {times} times: {refusal}");
        }
        words.push_str(&self.verdict.in_words(&self.integrity));
        words
    }
}

/// What was judged when all had ended.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The referee's.
    pub verdict: Verdict,
    /// What the installation's own check found.
    pub integrity: Vec<String>,
    /// From the last order to the end of everything.
    pub resolved_after: Duration,
    /// How the channel that was hit was met when it was well again.
    pub healed: Option<Healed>,
    /// What had to be undone at it.
    pub undone: Option<Undone>,
}

/// Whole seconds from `moment`, begun ones included, until the first from which on every second had 95 in 100 of its orders in time.
fn steady_after_s(seconds: &[Second], moment: Duration) -> Option<u64> {
    let steady = |second: &&Second| u64::from(second.in_time) * 100 >= u64::from(second.offered) * 95;
    let since = seconds.iter().rev().take_while(steady).last()?.second;
    let whole = Duration::from_secs(since).saturating_sub(moment);
    Some(whole.as_secs() + u64::from(whole.subsec_nanos() > 0))
}

fn phases(told: &[Told], times: Times, which: impl Fn(&Told) -> bool) -> Phases {
    let of = |from: Duration, to: Duration| latency(told.iter().filter(|told| !told.flood && told.at >= from && told.at < to && which(told)));
    Phases { before: of(Duration::ZERO, times.begun), during: of(times.begun, times.ended), after: of(times.ended, Duration::MAX) }
}

fn in_cells(phases: &Phases) -> String {
    let cell = |latency: Option<Latency>| latency.map_or_else(|| "-".to_owned(), |latency| format!("{}/{}", latency.p50_ms, latency.p99_ms));
    let ratio = match (phases.before, phases.during) {
        (Some(before), Some(during)) if before.p99_ms > 0 => format!("p99 × {:.2} during", during.p99_ms as f64 / before.p99_ms as f64),
        _ => String::new(),
    };
    format!("{:<12}  {:<12}  {:<12}  {ratio}", cell(phases.before), cell(phases.during), cell(phases.after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(at_s: u64, channel: &str) -> Told {
        let at = Duration::from_secs(at_s);
        let (channel, said) = (Some(channel.to_owned()), vec!["succeeded".to_owned()]);
        Told { at, answered: Some(at + Duration::from_millis(8)), status: 201, channel, said, ..Told::default() }
    }

    #[test]
    fn the_report_shows_both_edges_the_dip_and_the_verdict() {
        let mut orders: Vec<Told> = (0..60).map(|second| told(second, if second % 2 == 0 { "bank_1" } else { "bank_2" })).collect();
        orders[20].status = 503;
        let seconds = Duration::from_secs;
        let times = Times { begun: seconds(20), ended: seconds(40), promoted: None, whole: seconds(60), in_time: seconds(1) };
        let mut judged = Judged { verdict: Verdict::default(), integrity: Vec::new(), resolved_after: seconds(1), healed: None, undone: None };
        judged.verdict.double.push("A was charged 2 times".to_owned());
        let report = Report::new("refused".to_owned(), Some("bank_1".to_owned()), "bench".to_owned(), &orders, times, judged);
        assert!(!report.holds() && report.dip_s == 1);
        assert_eq!(report.others.during.map(|latency| latency.count), Some(10));
        let words = report.in_words();
        assert!(words.contains("<< the fault begins") && words.contains("<< it ends") && words.contains("double 1, lost 0"), "{words}");
        assert!(words.contains("double: A was charged 2 times"), "{words}");
        assert_eq!((report.steady_after_s, report.back_after_ms), (Some(0), None));
    }

    #[test]
    fn the_service_is_back_with_the_first_right_answer_to_an_order_that_was_offered_after_the_promotion() {
        let ms = Duration::from_millis;
        let mut orders: Vec<Told> = (0..60).map(|second| told(second, "bank_1")).collect();
        // Asked before the promotion and answered after it, refused, answered late: none of them is the first.
        orders[20].answered = Some(ms(20_450));
        orders[21].status = 503;
        orders[22].answered = Some(ms(24_000));
        orders[23].answered = Some(ms(23_100));
        let times = Times { begun: ms(20_000), ended: ms(40_000), promoted: Some(ms(20_400)), whole: ms(60_000), in_time: ms(1_000) };
        let judged = || Judged { verdict: Verdict::default(), integrity: Vec::new(), resolved_after: ms(0), healed: None, undone: None };
        let report = Report::new("primary_killed".to_owned(), None, "bench".to_owned(), &orders, times, judged());
        assert_eq!((report.promoted_at_ms, report.back_after_ms, report.away_ms), (Some(20_400), Some(2_700), Some(3_100)));
        // Second 22 is the last with a late answer, so 23 is the first that stays.
        assert_eq!(report.steady_after_s, Some(3));
        assert!(report.in_words().contains("2700 ms later, 3100 ms after the fault began"), "{}", report.in_words());
        orders[59].status = 503;
        let unsteady = Report::new("primary_killed".to_owned(), None, "bench".to_owned(), &orders, times, judged());
        assert_eq!(unsteady.steady_after_s, None);
    }
}

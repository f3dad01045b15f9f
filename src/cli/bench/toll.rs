//! What a run of deaths has shown: a row a crash point, and the referee's verdict over all.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::referee::Verdict;
use super::told::{Told, whole_ms};

/// The deaths at one point.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Row {
    /// The point's name; `any_instant` for kills.
    pub name: String,
    /// Deaths that were asked for.
    pub wanted: u32,
    /// Each life, from the start of its process to its death, in milliseconds.
    pub lives_ms: Vec<u64>,
    /// Lives in which the point was not passed in time.
    pub missed: u32,
    /// Orders that were placed meanwhile.
    pub orders: usize,
    /// Requests of theirs that were not answered, and sent again with the same key.
    pub cut_off: u32,
    /// Of these orders, paid more than once.
    pub double: usize,
    /// Told, and not so.
    pub lost: usize,
    /// Without an end.
    pub stuck: usize,
}

impl Row {
    /// A row of nothing yet.
    pub fn new(name: &str, wanted: u32) -> Self {
        Self { name: name.to_owned(), wanted, ..Self::default() }
    }

    /// One more death, of a process that lived so long.
    pub fn died(&mut self, life: Duration) {
        self.lives_ms.push(whole_ms(life));
    }

    /// Deaths there were.
    pub fn reached(&self) -> u32 {
        u32::try_from(self.lives_ms.len()).unwrap_or(u32::MAX)
    }

    /// Adds what came of its orders.
    pub fn judged(&mut self, told: &[Told], verdict: &Verdict) {
        self.orders = told.len();
        self.cut_off = told.iter().map(|told| told.cut_off).sum();
        (self.double, self.lost, self.stuck) = (verdict.double.len(), verdict.lost.len(), verdict.stuck.len());
    }

    /// The median life and the longest.
    fn lives(&self) -> (u64, u64) {
        let mut lives = self.lives_ms.clone();
        lives.sort_unstable();
        (lives.get(lives.len() / 2).copied().unwrap_or(0), lives.last().copied().unwrap_or(0))
    }

    /// For whoever watches.
    pub fn in_words(&self) -> String {
        let (median, worst) = self.lives();
        format!(
            "{}: {} of {} deaths, cycles of {median} ms, at most {worst} ms; missed {} times",
            self.name,
            self.reached(),
            self.wanted,
            self.missed
        )
    }
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Toll {
    /// The command's figures, to repeat it.
    pub command: String,
    /// A row a point.
    pub rows: Vec<Row>,
    /// Orders.
    pub orders: usize,
    /// Different webhooks that merchants have got.
    pub webhooks: usize,
    /// From the start of the last process to the end of everything.
    pub resolved_after_ms: u64,
    /// The referee's, over all orders.
    pub verdict: Verdict,
    /// What the installation's own check found.
    pub integrity: Vec<String>,
}

impl Toll {
    /// Whether the money is right, and every death happened.
    pub fn holds(&self) -> bool {
        self.verdict.holds() && self.integrity.is_empty() && self.rows.iter().all(|row| row.reached() >= row.wanted)
    }

    /// For people.
    pub fn in_words(&self) -> String {
        let mut words = format!("{}\n\n", self.command);
        let _ = writeln!(words, "{:<22}  wanted  reached  missed  cycle ms: median  worst  orders  cut off  double  lost  stuck", "crash point");
        for row in &self.rows {
            let (median, worst) = row.lives();
            let Row { name, wanted, missed, orders, cut_off, double, lost, stuck, .. } = row;
            let never = if row.reached() < *wanted { "  << not as often as it has to be" } else { "" };
            let reached = row.reached();
            let _ = writeln!(
                words,
                "{name:<22}  {wanted:>6}  {reached:>7}  {missed:>6}  {median:>16}  {worst:>5}  {orders:>6}  {cut_off:>7}  {double:>6}  {lost:>4}  {stuck:>5}{never}"
            );
        }
        let all = Row { lives_ms: self.rows.iter().flat_map(|row| row.lives_ms.clone()).collect(), ..Row::default() };
        let (median, worst) = all.lives();
        let _ = writeln!(
            words,
            "\n{} deaths, a cycle every {median} ms in the median and {worst} ms at most; {} orders; {} webhooks; all at its end {:.1} s after the last start",
            all.reached(),
            self.orders,
            self.webhooks,
            self.resolved_after_ms as f64 / 1_000.0
        );
        words.push_str(&self.verdict.in_words(&self.integrity));
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toll(reached: usize) -> Toll {
        let mut row = Row::new("payment_written", 2);
        (0..reached).for_each(|nth| row.died(Duration::from_millis(900 + 100 * nth as u64)));
        row.judged(&[Told { cut_off: 3, ..Told::default() }], &Verdict::default());
        let verdict = Verdict::default();
        Toll { command: "bench".to_owned(), rows: vec![row], orders: 1, webhooks: 1, resolved_after_ms: 1_500, verdict, integrity: Vec::new() }
    }

    #[test]
    fn a_point_that_is_not_reached_fails_the_run() {
        assert!(toll(2).holds() && !toll(1).holds() && !toll(0).holds());
        let words = toll(1).in_words();
        assert!(words.contains("payment_written") && words.contains("<< not as often"), "{words}");
    }

    #[test]
    fn money_that_is_not_right_fails_the_run_and_is_shown() {
        let mut toll = toll(2);
        toll.verdict.double.push("A was charged 2 times".to_owned());
        assert!(!toll.holds());
        let words = toll.in_words();
        assert!(words.contains("1000 ms in the median") && words.contains("double 1, lost 0") && words.contains("double: A was charged"), "{words}");
    }
}

//! What is in doubt, as metrics and the alert tell of it: how many attempts, and how much money, each currency by itself. Minor units of two
//! currencies are never added up: 1,250 is 12.50 CNY, and 1,250 JPY.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::alert::Condition;
use crate::domain::{Currency, Money};
use crate::store::doubt::DoubtTotal;

/// The series that are not at 0: what is settled leaves the totals, and a gauge that nobody sets would go on telling of it.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// By channel and operation.
    counts: HashSet<(String, String)>,
    /// By channel, operation and currency.
    amounts: HashSet<(String, String, String)>,
}

impl Shown {
    /// Sets every gauge of what is in doubt now, and back to 0 those of what is not any more.
    pub(super) fn show(&mut self, totals: &[DoubtTotal]) {
        let mut counts: HashMap<_, i64> = self.counts.drain().map(|series| (series, 0)).collect();
        let mut amounts: HashMap<_, i64> = self.amounts.drain().map(|series| (series, 0)).collect();
        for total in totals {
            let (channel, operation) = (total.channel.clone(), total.operation.clone());
            *counts.entry((channel.clone(), operation.clone())).or_default() += total.count;
            amounts.insert((channel, operation, total.currency.clone()), total.amount_minor);
        }
        for ((channel, operation), count) in &counts {
            metrics::gauge!("breakwater_unknown_outcomes", "channel" => channel.clone(), "operation" => operation.clone()).set(*count as f64);
        }
        for ((channel, operation, currency), amount) in &amounts {
            metrics::gauge!("breakwater_unknown_outcome_amount_minor",
                "channel" => channel.clone(), "operation" => operation.clone(), "currency" => currency.clone())
            .set(*amount as f64);
        }
        self.counts = counts.into_iter().filter(|(_, count)| *count != 0).map(|(series, _)| series).collect();
        self.amounts = amounts.into_iter().filter(|(_, amount)| *amount != 0).map(|(series, _)| series).collect();
    }
}

/// What is said of outcomes that stay unknown, the oldest for `age` seconds: how many a channel, over its operations; and the money, over all channels.
pub(super) fn unknown_old(age: f64, totals: &[DoubtTotal]) -> Condition {
    let mut channels: Vec<(String, i64)> = Vec::new();
    let mut at_risk: BTreeMap<&str, i64> = BTreeMap::new();
    for total in totals {
        match channels.iter_mut().find(|(channel, _)| *channel == total.channel) {
            Some((_, count)) => *count += total.count,
            None => channels.push((total.channel.clone(), total.count)),
        }
        let sum = at_risk.entry(&total.currency).or_default();
        *sum = sum.saturating_add(total.amount_minor);
    }
    // No payment is taken in what is no currency.
    let money = |(code, amount): (&str, i64)| Currency::parse(code).map(|currency| Money { amount, currency });
    Condition::UnknownOld { age: Duration::from_secs_f64(age), channels, at_risk: at_risk.into_iter().filter_map(money).collect() }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn total(channel: &str, operation: &str, currency: &str, count: i64, amount_minor: i64) -> DoubtTotal {
        let (channel, operation, currency) = (channel.to_owned(), operation.to_owned(), currency.to_owned());
        DoubtTotal { channel, operation, currency, count, amount_minor, oldest: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn each_currency_has_its_own_sum_the_count_is_over_all_and_what_is_settled_is_back_at_zero() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let mut shown = Shown::default();
        let mut show = |totals: &[DoubtTotal]| {
            metrics::with_local_recorder(&recorder, || shown.show(totals));
            recorder.handle().render()
        };
        let count = |number: i64| format!("breakwater_unknown_outcomes{{channel=\"a\",operation=\"pay\"}} {number}\n");
        let amount = |currency: &str, sum: i64| {
            format!("breakwater_unknown_outcome_amount_minor{{channel=\"a\",operation=\"pay\",currency=\"{currency}\"}} {sum}\n")
        };
        let yen = total("a", "pay", "JPY", 1, 3_000);
        let text = show(&[total("a", "pay", "CNY", 2, 2_000), yen.clone()]);
        assert!(text.contains(&count(3)) && text.contains(&amount("CNY", 2_000)) && text.contains(&amount("JPY", 3_000)), "{text}");
        let text = show(&[yen]);
        assert!(text.contains(&count(1)) && text.contains(&amount("CNY", 0)) && text.contains(&amount("JPY", 3_000)), "{text}");
        let text = show(&[]);
        assert!(text.contains(&count(0)) && text.contains(&amount("CNY", 0)) && text.contains(&amount("JPY", 0)), "{text}");
    }

    #[test]
    fn the_alert_has_each_currency_once_over_all_channels_and_each_channel_once_over_all_currencies() {
        let totals = [total("a", "pay", "JPY", 1, 3_000), total("a", "refund", "CNY", 2, 1_000), total("b", "pay", "CNY", 1, 250)];
        let money = |amount, code| Money { amount, currency: Currency::parse(code).expect("a currency") };
        let expected = Condition::UnknownOld {
            age: Duration::from_secs(960),
            channels: vec![("a".to_owned(), 3), ("b".to_owned(), 1)],
            at_risk: vec![money(1_250, "CNY"), money(3_000, "JPY")],
        };
        assert_eq!(unknown_old(960.0, &totals), expected);
    }
}

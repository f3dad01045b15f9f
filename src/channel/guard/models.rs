//! Limiter, limit, rate and budget against naive ones that remember every call and compute their answer anew each time; and what must be true of them in
//! a sentence.

use std::time::Duration;

use proptest::prelude::*;

use super::budget::Budget;
use super::limiter::{Limiter, Sample};
use super::rate::Rate;
use super::room::limit_for;
use super::settings::{MAX_IN_FLIGHT, MIN_IN_FLIGHT};
use crate::clock::Moment;

const START: Moment = Moment::from_nanos(5_000_000_000);

fn at(millis: u64) -> Moment {
    START + Duration::from_millis(millis)
}

/// One full window: `calls` calls over a second, each answered after `millis`, `in_flight` under way.
fn window(limiter: &mut Limiter, second: u64, calls: u64, sample: Sample, in_flight: u32) {
    for call in 0..calls {
        limiter.sample(sample, in_flight, at(second * 10_000 + call * 1_000 / (calls - 1)));
    }
}

fn answered(millis: u64) -> Sample {
    Sample::Answered(Duration::from_millis(millis))
}

#[test]
fn it_starts_at_the_cap_and_stays_there_while_the_channel_is_quick() {
    let mut limiter = Limiter::new(6, 46, 6);
    for second in 0..20 {
        window(&mut limiter, second, 50, answered(100), 46);
        assert_eq!(limiter.limit(), 46);
    }
}

#[test]
fn a_channel_that_slows_down_under_load_gets_fewer_calls_at_a_time() {
    let mut limiter = Limiter::new(6, 46, 6);
    for second in 0..100 {
        window(&mut limiter, second, 50, answered(if second % 10 == 9 { 150 } else { 100 }), 46);
    }
    assert_eq!(limiter.limit(), 46, "up to the tolerance it is no queue");
    for second in 100..120 {
        window(&mut limiter, second, 50, answered(3_000), 46);
    }
    assert!(limiter.limit() < 20, "{}", limiter.limit());
}

#[test]
fn slowness_says_nothing_while_less_than_half_of_the_limit_is_in_use() {
    let mut limiter = Limiter::new(6, 46, 6);
    window(&mut limiter, 0, 50, answered(100), 46);
    for second in 1..20 {
        window(&mut limiter, second, 50, answered(3_000), 22);
    }
    assert_eq!(limiter.limit(), 46);
}

#[test]
fn trouble_takes_a_tenth_a_window_and_stops_at_the_least() {
    let mut limiter = Limiter::new(6, 50, 6);
    window(&mut limiter, 0, 10, Sample::Trouble, 1);
    assert_eq!(limiter.limit(), 45);
    for second in 1..50 {
        window(&mut limiter, second, 10, Sample::Trouble, 1);
    }
    assert_eq!(limiter.limit(), 6);
}

#[test]
fn a_window_has_ten_calls_and_lasts_a_second() {
    let mut limiter = Limiter::new(1, 50, 6);
    for call in 0..9 {
        assert!(!limiter.sample(Sample::Trouble, 1, at(call * 1_000)));
    }
    assert!(limiter.sample(Sample::Trouble, 1, at(9_000)), "the tenth ends it");
    for call in 0..100 {
        assert!(!limiter.sample(Sample::Trouble, 1, at(10_000 + call)), "not before a second is over");
    }
    assert!(limiter.sample(Sample::Trouble, 1, at(11_000)));
    assert_eq!(limiter.limit(), 40, "two windows, a tenth each");
}

#[test]
fn after_an_opening_it_starts_again_small_and_grows_by_less_than_the_queue_a_window() {
    let mut limiter = Limiter::new(6, 46, 6);
    window(&mut limiter, 0, 50, answered(100), 46);
    limiter.restart(at(9_000));
    assert_eq!(limiter.limit(), 6);
    let mut last = 6;
    for second in 1..60 {
        let in_use = limiter.limit();
        window(&mut limiter, second, 50, answered(100), in_use);
        assert!((last..=last + 4).contains(&limiter.limit()), "from {last} to {}", limiter.limit());
        last = limiter.limit();
    }
    assert_eq!(last, 46);
}

#[test]
fn a_limit_that_nothing_has_lowered_for_a_minute_goes_up_by_one_a_second_to_the_cap_though_nobody_calls() {
    let mut limiter = Limiter::new(1, 46, 6);
    limiter.restart(at(1_000));
    let eased_to = |limiter: &mut Limiter, millis| {
        limiter.ease(at(millis));
        limiter.limit()
    };
    assert_eq!(eased_to(&mut limiter, 60_999), 6);
    assert_eq!(eased_to(&mut limiter, 61_000), 7);
    assert_eq!(eased_to(&mut limiter, 61_999), 7, "whoever looks four times a second");
    assert_eq!(eased_to(&mut limiter, 65_500), 11, "or once in a while");
    assert!(!limiter.sample(Sample::Trouble, 1, at(65_600)), "one failure is no window");
    assert_eq!(eased_to(&mut limiter, 125_500), 11, "but begins the minute anew");
    assert_eq!(eased_to(&mut limiter, 125_600), 12);
    assert_eq!(eased_to(&mut limiter, 10_000_000), 46);
}

#[test]
fn the_limit_is_the_largest_whose_shares_leave_pay_no_more_than_its_limiter_allows_it() {
    let part_of_pay = |limit: u32| limit - (limit / 5).max(1) - (limit / 10).max(1);
    for cap in (MIN_IN_FLIGHT..70).chain([100, 256, MAX_IN_FLIGHT - 1, MAX_IN_FLIGHT]) {
        let mut last = 0;
        for pay in 1..=part_of_pay(cap) {
            let limit = (MIN_IN_FLIGHT..=cap).filter(|limit| part_of_pay(*limit) <= pay).max().unwrap();
            assert_eq!(limit_for(pay, cap), limit, "{pay} of {cap}");
            assert_eq!(part_of_pay(limit), pay, "nothing of what pay is allowed is lost, {pay} of {cap}");
            assert!(limit > last, "and less never is more, {pay} of {cap}");
            last = limit;
        }
        assert_eq!(last, cap, "with all that it may have, the limit is the cap");
    }
}

/// What happened to a limiter, in order.
#[derive(Clone, Copy, Debug)]
enum Event {
    Call { sample: Sample, in_flight: u32, at: Moment },
    Restart { at: Moment },
    Tick { at: Moment },
}

/// The limit as a fraction, computed anew from everything that ever happened, straight from the rules; and whether a window was so nearly for the limit
/// as it was that rounding decides if it was against it.
fn naive_limit(events: &[Event], least: f64, most: f64, restart: f64) -> (f64, bool) {
    let mut close_call = false;
    let (mut limit, mut averages, mut usual) = (most, 0_u32, 0.0_f64);
    let mut open: Vec<(Sample, u32, Moment)> = Vec::new();
    // Since the last thing that spoke against a higher limit: when it was, and how many whole seconds beyond a minute have been paid out.
    let (mut calm_since, mut paid_out) = (Moment::default(), 0_u64);
    for event in events {
        let (sample, in_flight, at) = match *event {
            Event::Call { sample, in_flight, at } => (sample, in_flight, at),
            Event::Restart { at } => {
                limit = restart.clamp(least, most);
                open.clear();
                (calm_since, paid_out) = (at, 0);
                continue;
            }
            Event::Tick { at } => {
                while at >= calm_since + Duration::from_secs(60 + paid_out) && limit < most {
                    limit = (limit + 1.0).min(most);
                    paid_out += 1;
                }
                paid_out = paid_out.max((at.since(calm_since).as_secs() + 1).saturating_sub(60));
                continue;
            }
        };
        if sample == Sample::Trouble {
            (calm_since, paid_out) = (at, 0);
        }
        open.push((sample, in_flight, at));
        if open.len() < 10 || at.since(open[0].2) < Duration::from_secs(1) {
            continue;
        }
        let before = limit;
        let times: Vec<f64> =
            open.iter().filter_map(|(sample, ..)| if let Sample::Answered(rtt) = sample { Some(rtt.as_nanos() as f64) } else { None }).collect();
        let most_in_flight = open.iter().map(|(_, in_flight, _)| *in_flight).max().unwrap_or(0);
        if times.len() < open.len() {
            limit *= 0.9;
        } else {
            let present = (times.iter().sum::<f64>() / times.len() as f64).max(1.0);
            averages = (averages + 1).min(300);
            usual += (present - usual) / f64::from(averages);
            if usual > 2.0 * present {
                usual *= 0.95;
            }
            if f64::from(most_in_flight) * 2.0 >= limit {
                let gradient = (1.5 * usual / present).clamp(0.5, 1.0);
                limit = 0.8 * limit + 0.2 * (limit * gradient + 4.0);
            }
        }
        close_call |= limit != before && (limit - before).abs() < 0.01 * before;
        if limit < before {
            (calm_since, paid_out) = (at, 0);
        }
        limit = limit.clamp(least, most);
        open.clear();
    }
    (limit, close_call)
}

/// A rate as a bucket of whole nanoseconds that fills with time.
struct NaiveRate {
    interval: u64,
    level: u64,
    full: u64,
    last: Moment,
}

impl NaiveRate {
    fn take(&mut self, now: Moment) -> bool {
        let filled = u64::try_from(now.since(self.last).as_nanos()).unwrap_or(u64::MAX);
        self.level = self.level.saturating_add(filled).min(self.full);
        self.last = now;
        let has = self.level >= self.interval;
        if has {
            self.level -= self.interval;
        }
        has
    }
}

fn samples() -> impl Strategy<Value = Vec<(u64, u64, u32, u32)>> {
    // Pause in ms, round trip in µs, in flight, and what it was: mostly answers, now and then trouble or a restart.
    prop::collection::vec((0_u64..400, 1_u64..5_000_000, 0_u32..60, 0_u32..300), 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_limiter_agrees_with_one_that_computes_everything_anew(
        least in 1_u32..20, more in 0_u32..300, restart in 1_u32..20, shift in 0_u64..1_000_000_000_000, calls in samples(),
    ) {
        let most = least + more;
        let mut limiter = Limiter::new(least, most, restart);
        let mut shifted = limiter.clone();
        let mut events = Vec::new();
        let mut now = START;
        // The real one counts in thousandths and rounds down at every step; where that decides whether half is in use, the two may part.
        let mut close_call = false;
        for (pause, micros, in_flight, kind) in calls {
            now = now + Duration::from_millis(pause);
            if kind == 0 {
                events.push(Event::Restart { at: now });
                limiter.restart(now);
                shifted.restart(now + Duration::from_nanos(shift));
                continue;
            }
            if kind < 3 {
                // Nobody called for a while.
                now = now + Duration::from_millis(pause * 300);
                events.push(Event::Tick { at: now });
                limiter.ease(now);
                shifted.ease(now + Duration::from_nanos(shift));
                continue;
            }
            let sample = if kind < 6 { Sample::Trouble } else { Sample::Answered(Duration::from_micros(micros)) };
            events.push(Event::Call { sample, in_flight, at: now });
            let before = limiter.limit();
            limiter.sample(sample, in_flight, now);
            shifted.sample(sample, in_flight, now + Duration::from_nanos(shift));
            prop_assert_eq!(limiter.limit(), shifted.limit(), "only differences between moments count");
            prop_assert!((least..=most).contains(&limiter.limit()));
            prop_assert!(limiter.limit() <= before + 1, "it grows by a fifth of the queue a window");
            let (naive, rounded) = naive_limit(&events, f64::from(least), f64::from(most), f64::from(restart));
            close_call |= rounded || (0..60).any(|in_use| (f64::from(in_use) * 2.0 - naive).abs() < 0.1);
            if !close_call {
                let apart = (f64::from(limiter.limit()) - naive).abs();
                prop_assert!(apart < 1.1, "{} and {naive}", limiter.limit());
            }
        }
    }

    #[test]
    fn a_rate_is_a_bucket_that_fills_with_time(per_second in 1_u32..5_000, burst in 1_u32..50, pauses in prop::collection::vec(0_u64..2_000_000_000, 1..300)) {
        let mut rate = Rate::new(per_second, burst);
        let interval = 1_000_000_000_u64.div_ceil(u64::from(per_second));
        let full = interval * u64::from(burst);
        let mut naive = NaiveRate { interval, level: full, full, last: START };
        let mut now = START;
        let mut taken: Vec<Moment> = Vec::new();
        for pause in pauses {
            // Mostly a fraction of the interval, now and then far more.
            now = now + Duration::from_nanos(if pause % 7 == 0 { pause } else { pause % (interval + interval / 2) });
            let answer = rate.take(now);
            prop_assert_eq!(answer.is_ok(), naive.take(now));
            match answer {
                Ok(()) => taken.push(now),
                Err(wait) => {
                    prop_assert!(rate.clone().take(now + wait).is_ok(), "after the wait there is a place");
                    prop_assert!(rate.clone().take(now + wait - Duration::from_nanos(1)).is_err(), "and not before");
                }
            }
            let within = taken.iter().filter(|then| now.since(**then) < Duration::from_secs(1)).count();
            prop_assert!(within as u64 <= u64::from(per_second) + u64::from(burst), "{within} in a second");
        }
    }

    #[test]
    fn repeats_are_a_tenth_of_the_calls_of_ten_seconds_or_one_a_second(steps in prop::collection::vec((0_u64..1_500, 0_u64..80, 0_u32..4, any::<prop::sample::Index>()), 1..200)) {
        let mut budget = Budget::new(START);
        let (mut calls, mut repeats): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
        let mut millis = 0;
        for (pause, came, asked, comes_back) in steps {
            millis += pause;
            let now = at(millis);
            budget.count(came, now);
            // One of those that were ever taken succeeded, or was not sent, however long ago it was taken.
            if came % 2 == 0 && !repeats.is_empty() {
                budget.give_back(at(repeats.swap_remove(comes_back.index(repeats.len())) * 1_000));
            }
            calls.extend((0..came).map(|_| millis / 1_000));
            for _ in 0..asked {
                let recent = |seconds: &[u64]| seconds.iter().filter(|second| **second + 10 > millis / 1_000).count();
                let may = recent(&repeats) < (recent(&calls) / 10).max(10);
                let wait = budget.wait(now);
                prop_assert_eq!(wait.is_zero(), may);
                if may {
                    budget.take(now);
                    repeats.push(millis / 1_000);
                } else {
                    prop_assert!(wait <= Duration::from_secs(10));
                    let mut later = budget.clone();
                    // Calls leave, too: what is certain is that one of ten seconds' repeats is gone.
                    let left: usize = repeats.iter().filter(|second| at(**second * 1_000 + 10_000) > now + wait).count();
                    prop_assert!(left < recent(&repeats) || !later.wait(now + wait).is_zero());
                }
            }
        }
    }
}

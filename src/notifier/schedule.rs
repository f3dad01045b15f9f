//! When a delivery that failed is tried again: the schedule of Standard Webhooks 1.0 ("Delivery and retries"), ten tries over three days, each
//! pause a little longer by chance so that what failed together does not come back together.

use jiff::{SignedDuration, Timestamp};

/// The pauses, in seconds: after the first try 5 s, then 5 and 30 min, 2, 5, 10, 14, 20 and 24 h.
const PAUSES: [i64; 9] = [5, 5 * 60, 30 * 60, 2 * 3_600, 5 * 3_600, 10 * 3_600, 14 * 3_600, 20 * 3_600, 24 * 3_600];
/// How much longer a pause may become, in thousandths.
const JITTER_PERMILLE: u64 = 100;
/// The longest pause that an endpoint may ask for.
const LONGEST_ASKED: SignedDuration = SignedDuration::from_hours(24);

/// How long a delivery may wait altogether: the schedule with its jitter, and some hours. What is older was held back by a shut endpoint all the
/// time, and is given up.
pub const GIVEN_UP_AFTER: SignedDuration = SignedDuration::from_hours(84);

/// When to try again after `tries` failures; `None` when that was the last try. `asked` is when the endpoint said to come back; `chance` is any
/// random number.
pub fn next_try(tries: i32, now: Timestamp, asked: Option<Timestamp>, chance: u64) -> Option<Timestamp> {
    let pause = *PAUSES.get(usize::try_from(tries).ok()?.checked_sub(1)?)?;
    let extra_ms = pause * i64::try_from(chance % (JITTER_PERMILLE + 1)).unwrap_or(0);
    let planned = now.saturating_add(SignedDuration::from_secs(pause) + SignedDuration::from_millis(extra_ms)).ok()?;
    Some(asked.map_or(planned, |asked| asked.max(planned)))
}

/// What `Retry-After` asks for (RFC 9110, 10.2.3): seconds, or a date. A day at most; nothing when it cannot be read or is past.
pub fn asked_pause(retry_after: &str, now: Timestamp) -> Option<Timestamp> {
    let until = match retry_after.trim().parse::<i64>() {
        Ok(seconds) => now.saturating_add(SignedDuration::from_secs(seconds.clamp(0, 86_400))).ok()?,
        Err(_) => jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(retry_after.trim()).ok()?,
    };
    let latest = now.saturating_add(LONGEST_ASKED).ok()?;
    (until > now).then(|| until.min(latest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn there_are_ten_tries_and_each_pause_is_as_the_schedule_says_or_a_tenth_longer() {
        let now = at("2026-11-21T00:00:00Z");
        for (tries, seconds) in (1..).zip(PAUSES) {
            let pause = |chance| next_try(tries, now, None, chance).expect("another try").duration_since(now).as_millis();
            assert_eq!(pause(0), i128::from(seconds) * 1_000);
            assert_eq!(pause(100), i128::from(seconds) * 1_100);
            assert!((0..500).all(|chance| pause(chance) <= i128::from(seconds) * 1_100));
        }
        assert_eq!(next_try(10, now, None, 0), None);
        assert_eq!(next_try(0, now, None, 0), None);
        let whole: i64 = PAUSES.iter().sum();
        assert!(GIVEN_UP_AFTER.as_secs() > whole * 11 / 10, "nothing is given up before its last try");
    }

    #[test]
    fn an_endpoint_may_ask_for_a_longer_pause_but_not_for_a_shorter_one() {
        let now = at("2026-11-21T00:00:00Z");
        let asked = asked_pause("120", now);
        assert_eq!(asked, Some(at("2026-11-21T00:02:00Z")));
        assert_eq!(next_try(1, now, asked, 0), asked);
        assert_eq!(next_try(2, now, asked, 0), Some(at("2026-11-21T00:05:00Z")));
        assert_eq!(asked_pause("Sat, 21 Nov 2026 00:10:00 GMT", now), Some(at("2026-11-21T00:10:00Z")));
        assert_eq!(asked_pause("99999999", now), Some(at("2026-11-22T00:00:00Z")), "a day at most");
        for nothing in ["", "soon", "0", "-5", "Sat, 21 Nov 2020 00:10:00 GMT"] {
            assert_eq!(asked_pause(nothing, now), None, "{nothing}");
        }
    }
}

//! An attempt's key: 32 characters, `YYYYMMDDhhmmss` (transmission time, UTC), STAN (6 digits), retrieval reference (12). A bank knows no idempotency
//! key; what it knows a message by is in here, chosen and on disk before the first byte leaves, so that a repeat says exactly the same.
//!
//! The retrieval reference is the customary `YDDDhh` and the STAN, so it too follows from time and STAN: nothing of a message's identity is ever
//! drawn twice. Dates on the wire have no year; the key has.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};

/// The largest STAN; they begin at 1.
pub const STAN_MAX: u32 = 999_999;

/// A key, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    sent_at: DateTime,
    /// Field 11.
    pub(super) stan: String,
    /// Field 37.
    pub(super) retrieval: String,
}

/// Makes the key of an attempt that begins `now`. Numbers beyond [`STAN_MAX`] wrap around to 1.
pub(super) fn mint(number: u32, now: Timestamp) -> String {
    let sent_at = Offset::UTC.to_datetime(now);
    let stan = stan(number);
    let (year, day) = (sent_at.year().rem_euclid(10), sent_at.date().day_of_year());
    format!("{}{stan}{year}{day:03}{:02}{stan}", sent_at.strftime("%Y%m%d%H%M%S"), sent_at.hour())
}

/// A STAN's six digits: 1 to 999,999, and around.
pub(super) fn stan(number: u32) -> String {
    format!("{:06}", number.saturating_sub(1) % STAN_MAX + 1)
}

/// Field 7 of a word about the connection: now, by the clock that the bank wants.
pub(super) fn transmitted(now: Timestamp, zone: Offset) -> String {
    zone.to_datetime(now).strftime("%m%d%H%M%S").to_string()
}

impl Key {
    /// Reads a key that [`mint`] made.
    pub(super) fn parse(key: &str) -> Option<Self> {
        if key.len() != 32 || !key.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number = |range: std::ops::Range<usize>| key.get(range)?.parse::<i8>().ok();
        let date = Date::new(key.get(..4)?.parse().ok()?, number(4..6)?, number(6..8)?).ok()?;
        let time = Time::new(number(8..10)?, number(10..12)?, number(12..14)?, 0).ok()?;
        let sent_at = DateTime::from_parts(date, time);
        Some(Self { sent_at, stan: key.get(14..20)?.to_owned(), retrieval: key.get(20..32)?.to_owned() })
    }

    /// Field 7, by the clock of `zone`.
    pub(super) fn transmitted(&self, zone: Offset) -> String {
        self.at(zone).strftime("%m%d%H%M%S").to_string()
    }

    /// Fields 12 and 13, by the clock of `zone`.
    pub(super) fn local(&self, zone: Offset) -> (String, String) {
        let at = self.at(zone);
        (at.strftime("%H%M%S").to_string(), at.strftime("%m%d").to_string())
    }

    fn at(&self, zone: Offset) -> DateTime {
        // A time of four digits of year has a place in every zone but at the very ends of the calendar.
        self.sent_at.to_zoned(TimeZone::UTC).map_or(self.sent_at, |zoned| zone.to_datetime(zoned.timestamp()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_key_holds_everything_that_a_message_is_known_by() {
        let minted = mint(123, at("2026-11-20T09:08:07.999Z"));
        assert_eq!(minted, "20261120090807000123632409000123");
        let key = Key::parse(&minted).expect("a key");
        assert_eq!((key.stan.as_str(), key.retrieval.as_str()), ("000123", "632409000123"));
        assert_eq!(key.transmitted(Offset::UTC), "1120090807");
        let beijing = Offset::constant(8);
        assert_eq!(key.local(beijing), ("170807".to_owned(), "1120".to_owned()));
        assert_eq!(key.transmitted(beijing), "1120170807");
    }

    #[test]
    fn a_local_day_may_be_another_one_than_the_transmission_s() {
        let key = Key::parse(&mint(7, at("2026-12-31T23:30:00Z"))).expect("a key");
        assert_eq!(key.local(Offset::constant(8)), ("073000".to_owned(), "0101".to_owned()));
        assert_eq!(key.local(Offset::constant(-5)), ("183000".to_owned(), "1231".to_owned()));
    }

    #[test]
    fn numbers_go_from_one_to_the_largest_stan_and_around() {
        let shown = [0, 1, 999_998, 999_999, 1_000_000, 1_000_001].map(stan);
        assert_eq!(shown, ["000001", "000001", "999998", "999999", "000001", "000002"]);
    }

    #[test]
    fn what_is_no_key_is_none() {
        for text in ["", "0190a8b4c6d2700080000000000000ff", "20261320090807000123632409000123", "2026112009080700012363240900012"] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }
}

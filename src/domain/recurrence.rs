//! Something that comes back: a window of minutes of the day, on days of the week, in a time zone. A bank that closes its books from 23:30 to
//! 00:30 in Shanghai is one.
//!
//! A window belongs to the day on which it begins, and ends on the next day when its end is not later on the clock than its start. Where the
//! clocks are changed it begins and ends when the wall clock there says so; a time that is left out that day is the moment of the change.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use thiserror::Error;

/// The days of the week, from Monday, as they are written.
pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// Every day, as bits from Monday on.
pub const EVERY_DAY: u8 = 0b111_1111;
const MINUTES_A_DAY: u16 = 1_440;

/// Why there is no such window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecurrenceError {
    /// A minute beyond the day's last.
    #[error("from and until must be times of the day, 00:00 to 23:59")]
    Time,
    /// It would last no time at all, or a whole day: that is no window.
    #[error("from and until must not be the same time")]
    Empty,
    /// No day of the week, or an eighth.
    #[error("days must name at least one of mon, tue, wed, thu, fri, sat, sun")]
    Days,
}

/// A window that comes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Recurrence {
    from_minute: u16,
    until_minute: u16,
    days: u8,
    zone: TimeZone,
}

/// One time that it came, or will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From when on, inclusive.
    pub from: Timestamp,
    /// Until when, exclusive; less than 25 hours later.
    pub until: Timestamp,
}

impl Recurrence {
    /// A window from one minute of the day until another, on `days` (bits from Monday on), in `zone`.
    ///
    /// # Errors
    /// [`RecurrenceError`].
    pub fn new(from_minute: u16, until_minute: u16, days: u8, zone: TimeZone) -> Result<Self, RecurrenceError> {
        if from_minute >= MINUTES_A_DAY || until_minute >= MINUTES_A_DAY {
            return Err(RecurrenceError::Time);
        }
        if from_minute == until_minute {
            return Err(RecurrenceError::Empty);
        }
        if days == 0 || days > EVERY_DAY {
            return Err(RecurrenceError::Days);
        }
        Ok(Self { from_minute, until_minute, days, zone })
    }

    /// The minute of the day at which it begins.
    pub const fn from_minute(&self) -> u16 {
        self.from_minute
    }

    /// The minute of the day at which it ends.
    pub const fn until_minute(&self) -> u16 {
        self.until_minute
    }

    /// Its days, as bits from Monday on.
    pub const fn days(&self) -> u8 {
        self.days
    }

    /// The zone's name.
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The window that `now` is in.
    pub fn holding(&self, now: Timestamp) -> Option<Window> {
        let today = now.to_zoned(self.zone.clone()).date();
        let yesterday = today.yesterday().ok();
        yesterday.into_iter().chain([today]).filter_map(|day| self.on(day)).find(|window| window.from <= now && now < window.until)
    }

    /// The first window that begins after `now`.
    pub fn next(&self, now: Timestamp) -> Option<Window> {
        let mut day = now.to_zoned(self.zone.clone()).date();
        // A week and a day: the only day of the week may be today, and over.
        for _ in 0..=7 {
            if let Some(window) = self.on(day).filter(|window| window.from > now) {
                return Some(window);
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    fn on(&self, day: Date) -> Option<Window> {
        let bit = u8::try_from(day.weekday().to_monday_zero_offset()).ok()?;
        if self.days & (1 << bit) == 0 {
            return None;
        }
        let last = if self.until_minute > self.from_minute { day } else { day.tomorrow().ok()? };
        Some(Window { from: self.at(day, self.from_minute)?, until: self.at(last, self.until_minute)? })
    }

    fn at(&self, day: Date, minute: u16) -> Option<Timestamp> {
        let hour = i8::try_from(minute / 60).ok()?;
        let minute = i8::try_from(minute % 60).ok()?;
        day.at(hour, minute, 0, 0).to_zoned(self.zone.clone()).ok().map(|zoned| zoned.timestamp())
    }
}

impl fmt::Display for Recurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", clock_time(self.from_minute), clock_time(self.until_minute))?;
        if self.days != EVERY_DAY {
            write!(f, " on {}", days_in_words(self.days).join(","))?;
        }
        write!(f, " {}", self.zone())
    }
}

/// The minute of the day that `HH:MM` names, if it names one.
pub fn minute_of(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two = |digits: &str| (digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse::<u16>().ok()).flatten();
    let (hour, minute) = (two(hour)?, two(minute)?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// A minute of the day as `HH:MM`.
pub fn clock_time(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// The day of that name, as a bit.
pub fn day_of(name: &str) -> Option<u8> {
    DAYS.iter().position(|day| *day == name).map(|place| 1 << place)
}

/// The names of days that are bits.
pub fn days_in_words(days: u8) -> Vec<&'static str> {
    DAYS.iter().enumerate().filter(|(place, _)| days & (1 << place) != 0).map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn in_zone(from: &str, until: &str, days: u8, zone: &str) -> Recurrence {
        let zone = TimeZone::get(zone).expect("a zone");
        Recurrence::new(minute_of(from).expect("a time"), minute_of(until).expect("a time"), days, zone).expect("a window")
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        // Monday night in Shanghai (UTC+8): 23:30 is 15:30 UTC.
        let window = in_zone("23:30", "00:30", day_of("mon").expect("a day"), "Asia/Shanghai");
        let held = window.holding(at("2026-11-23T16:10:00Z")).expect("Tuesday, ten past midnight there");
        assert_eq!((held.from, held.until), (at("2026-11-23T15:30:00Z"), at("2026-11-23T16:30:00Z")));
        assert_eq!(window.holding(at("2026-11-23T16:30:00Z")), None, "its end is not part of it");
        assert_eq!(window.holding(at("2026-11-24T15:40:00Z")), None, "that is Tuesday's");
        assert_eq!(window.next(at("2026-11-23T15:30:00Z")).map(|next| next.from), Some(at("2026-11-30T15:30:00Z")));
    }

    #[test]
    fn a_window_follows_the_wall_clock_where_the_clocks_are_changed() {
        let window = in_zone("08:00", "09:00", EVERY_DAY, "Europe/Berlin");
        assert!(window.holding(at("2026-03-28T07:30:00Z")).is_some(), "winter: UTC+1");
        assert!(window.holding(at("2026-03-29T07:30:00Z")).is_none());
        assert!(window.holding(at("2026-03-29T06:30:00Z")).is_some(), "summer: UTC+2");
        // 02:30 does not exist on that day: the window begins when the clocks are changed, and is over before 04:00.
        let gap = in_zone("02:30", "03:45", EVERY_DAY, "Europe/Berlin");
        let held = gap.holding(at("2026-03-29T01:40:00Z")).expect("03:40 there");
        assert_eq!(held.until, at("2026-03-29T01:45:00Z"));
    }

    #[test]
    fn what_is_no_window_is_refused() {
        let new = |from, until, days| Recurrence::new(from, until, days, TimeZone::UTC).map(|_| ());
        assert_eq!(new(0, 1_440, EVERY_DAY), Err(RecurrenceError::Time));
        assert_eq!(new(60, 60, EVERY_DAY), Err(RecurrenceError::Empty));
        assert_eq!(new(0, 60, 0), Err(RecurrenceError::Days));
        assert_eq!(new(0, 60, 128), Err(RecurrenceError::Days));
        for wrong in ["24:00", "1:00", "12:60", "12", "12:3a", "+1:00", ""] {
            assert_eq!(minute_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_window_is_told_in_a_line() {
        assert_eq!(in_zone("23:30", "00:30", EVERY_DAY, "Asia/Shanghai").to_string(), "23:30-00:30 Asia/Shanghai");
        assert_eq!(in_zone("01:00", "02:00", 0b110_0000, "UTC").to_string(), "01:00-02:00 on sat,sun UTC");
    }
}

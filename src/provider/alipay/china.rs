//! Times as Alipay writes them: China's, to the second, without a zone. China has had no summer time since 1991, so eight hours are always eight.

use jiff::Timestamp;
use jiff::tz::Offset;

/// `yyyy-MM-dd HH:mm:ss`, cut to the second: a deadline never becomes later by it.
pub(super) fn time(at: Timestamp) -> String {
    let there = Offset::constant(8).to_datetime(at);
    format!("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", there.year(), there.month(), there.day(), there.hour(), there.minute(), there.second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_eight_hours_later_in_china_and_never_later_than_it_is() {
        let time = |text: &str| time(text.parse().expect("a time"));
        assert_eq!(time("2026-11-20T01:08:07Z"), "2026-11-20 09:08:07");
        assert_eq!(time("2026-12-31T16:00:00.999Z"), "2027-01-01 00:00:00");
        assert_eq!(time("2026-07-01T00:00:00Z"), "2026-07-01 08:00:00");
    }
}

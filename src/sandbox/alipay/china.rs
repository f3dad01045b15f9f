//! Alipay's times and amounts, as text.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

const FORMAT: &str = "%Y-%m-%d %H:%M:%S";

/// `yyyy-MM-dd HH:mm:ss` in China.
pub fn time(at: Timestamp) -> String {
    Offset::constant(8).to_datetime(at).strftime(FORMAT).to_string()
}

/// What that text means, if it is one.
pub fn read_time(text: &str) -> Option<Timestamp> {
    let there = DateTime::strptime(FORMAT, text).ok()?;
    (text.len() == 19).then(|| Offset::constant(8).to_timestamp(there).ok()).flatten()
}

/// Yuan of fen.
pub fn yuan(fen: i64) -> String {
    format!("{}.{:02}", fen / 100, fen % 100)
}

/// Fen of yuan, 0.01 to 100,000,000 with at most two places.
pub fn read_yuan(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "00"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || whole.len() > 9 || part.len() > 2 {
        return None;
    }
    let fen = whole.parse::<i64>().ok()? * 100 + format!("{part:0<2}").parse::<i64>().ok()?;
    (1..=10_000_000_000).contains(&fen).then_some(fen)
}

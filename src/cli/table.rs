//! What commands show people: columns that line up, times in UTC, colour only where it is seen and wanted.

use std::io::IsTerminal;

use jiff::Timestamp;

/// Lines up rows under their heads, two spaces between columns. The last column may be as long as it likes.
pub(super) fn columns(heads: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heads.iter().map(|head| head.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(heads.iter().copied(), &widths);
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str), &widths));
    }
    text
}

fn line<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.zip(widths) {
        text.push_str(cell);
        // Not the formatter's own padding, so that a cell of many bytes and few letters lines up too.
        text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// A time for people, to the second, in UTC.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// A time for programs: RFC 3339, UTC, milliseconds, as the API writes it.
pub(super) fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// The mode in words.
pub(super) const fn mode(livemode: bool) -> &'static str {
    if livemode { "live" } else { "test" }
}

/// Whether standard output is a terminal whose user did not refuse colours (no-color.org).
pub(super) fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_letters_and_no_line_ends_in_spaces() {
        let rows = [vec!["咖啡店".to_owned(), "1".to_owned()], vec!["a".to_owned(), String::new()]];
        assert_eq!(columns(&["NAME", "KEYS"], &rows), "NAME  KEYS\n咖啡店   1\na\n");
    }

    #[test]
    fn times_are_utc() {
        let at: Timestamp = "2026-11-21T23:01:14.5+01:00".parse().expect("a time");
        assert_eq!(time(at), "2026-11-21 22:01:14Z");
        assert_eq!(rfc3339(at), "2026-11-21T22:01:14.500Z");
    }
}

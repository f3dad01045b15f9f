//! Crash points against the source: each stands at exactly one place, or a run of `breakwater bench crash_points` tries less than its table says.

use breakwater::crash::Point;

use super::source::Source;

/// Where the points are made and where they are tried: neither is a place that a payment passes.
const ELSEWHERE: [&str; 2] = ["src/crash.rs", "src/cli/"];

/// Points that do not stand at exactly one place of the crate.
pub fn offences(tree: &[Source]) -> Vec<String> {
    Point::ALL.iter().filter_map(|point| offence(*point, tree)).collect()
}

fn offence(point: Point, tree: &[Source]) -> Option<String> {
    let places: Vec<String> = tree.iter().flat_map(|file| places(point, file)).collect();
    (places.len() != 1).then(|| format!("the crash point {point} stands at {} places instead of one: {}", places.len(), places.join(", ")))
}

fn places(point: Point, file: &Source) -> Vec<String> {
    if !file.is_crate() || ELSEWHERE.iter().any(|elsewhere| file.path.starts_with(elsewhere)) {
        return Vec::new();
    }
    let name = format!("Point::{point:?}");
    let whole = |at: usize| !file.code[at + name.len()..].starts_with(|next: char| next.is_alphanumeric() || next == '_');
    let found = file.code.match_indices(&name).map(|(at, _)| at).filter(|at| whole(*at));
    found.map(|at| file.line_of(at)).filter(|line| *line < file.tests_from).map(|line| format!("{}:{}", file.path, line + 1)).collect()
}

#[test]
fn a_point_that_stands_nowhere_or_twice_is_an_offence() {
    let of = |texts: &[&str]| {
        let tree: Vec<Source> = texts.iter().map(|text| Source::new("src/router/payment.rs", text)).collect();
        offence(Point::StepWritten, &tree)
    };
    assert!(of(&["crash::pass(Point::StepWritten);"]).is_none());
    assert!(of(&["// Point::StepWritten", "Point::StepWrittenTwice"]).is_some_and(|what| what.contains("0 places")));
    assert!(of(&["pass(Point::StepWritten);", "pass(Point::StepWritten)"]).is_some_and(|what| what.contains("2 places")));
    let trying = [Source::new("src/cli/bench/mod.rs", "Point::StepWritten")];
    assert!(offence(Point::StepWritten, &trying).is_some(), "where it is tried it does not stand");
}

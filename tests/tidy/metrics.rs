//! What is counted against what is in the catalogue: the name, the kind, and the names of the labels.

use breakwater::telemetry::{Kind, METRICS, Metric};

use super::source::Source;

const MACROS: [&str; 3] = ["counter", "gauge", "histogram"];

/// Every use of a metric that does not fit the catalogue. A name is a literal in the macro or a constant of the same file: one from anywhere
/// else cannot be held against the catalogue and is an offence too, except in the telemetry, which knows nothing but the catalogue, and in tests.
pub fn offences(file: &Source) -> Vec<String> {
    if !file.is_crate() {
        return Vec::new();
    }
    let mut offences = Vec::new();
    for kind in MACROS {
        let opening = format!("{kind}!(");
        for (at, _) in file.code.match_indices(&opening) {
            let line = file.line_of(at);
            let before = file.code[..at].chars().next_back();
            if line >= file.tests_from || before.is_some_and(|character| character.is_alphanumeric() || character == '_') {
                continue;
            }
            let arguments = arguments(&file.code[at + opening.len()..]);
            match name(arguments, &file.code) {
                None => offences
                    .push(file.offence(line, "the metric's name must be a literal or a constant of this file, to be held against the catalogue")),
                Some(name) => offences.extend(unfit(kind, name, arguments).map(|what| file.offence(line, &what))),
            }
        }
    }
    offences
}

/// The metric's name: the first argument, or the value of the constant that it names.
fn name<'a>(arguments: &'a str, code: &'a str) -> Option<&'a str> {
    let first = arguments.trim_start();
    let literal = if first.starts_with('"') {
        first
    } else {
        let constant = first.split([',', ' ', '\n']).next()?;
        let declared = code.find(&format!("const {constant}: &str = \""))?;
        code[declared..].split_once(" = ")?.1
    };
    literal.strip_prefix('"')?.split('"').next()
}

/// What lies between the macro's parentheses.
fn arguments(rest: &str) -> &str {
    let mut depth = 0_usize;
    let mut in_string = false;
    for (at, character) in rest.char_indices() {
        match character {
            '"' => in_string = !in_string,
            '(' if !in_string => depth += 1,
            ')' if !in_string && depth == 0 => return &rest[..at],
            ')' if !in_string => depth -= 1,
            _ => {}
        }
    }
    rest
}

/// Why a use of a metric does not fit the catalogue, if it does not.
fn unfit(kind: &str, name: &str, arguments: &str) -> Option<String> {
    let Some(metric) = METRICS.iter().find(|metric| metric.name == name) else {
        return Some(format!("{name} is not in the catalogue (src/telemetry/catalogue.rs)"));
    };
    if kind != kind_of(metric) {
        return Some(format!("{name} is a {} in the catalogue, and counted as a {kind}", kind_of(metric)));
    }
    let mut given: Vec<&str> =
        arguments.match_indices("=>").filter_map(|(at, _)| arguments[..at].trim_end().strip_suffix('"')?.rsplit('"').next()).collect();
    let mut described = metric.labels.to_vec();
    given.sort_unstable();
    described.sort_unstable();
    (given != described).then(|| format!("{name} has the labels {described:?} in the catalogue, and is counted with {given:?}"))
}

const fn kind_of(metric: &Metric) -> &'static str {
    match metric.kind {
        Kind::Counter => MACROS[0],
        Kind::Gauge => MACROS[1],
        Kind::Histogram(_) => MACROS[2],
    }
}

#[test]
fn a_metric_that_does_not_fit_the_catalogue_is_an_offence() {
    let offends = |text: &str| !offences(&Source::new("src/router/payment.rs", text)).is_empty();
    assert!(offends("counter!(\"breakwater_unheard_of_total\").increment(1);"));
    assert!(offends("metrics::gauge!(\"breakwater_payments_total\", \"status\" => s).set(1.0);"), "another kind");
    assert!(offends("counter!(\"breakwater_payments_total\").increment(1);"), "a label is missing");
    assert!(offends("counter!(\"breakwater_payments_total\", \"status\" => s, \"merchant\" => m).increment(1);"), "a label too many");
    assert!(offends("counter!(name).increment(1);"), "no literal");
    assert!(offends("const A: &str = \"breakwater_unheard_of_total\";\ncounter!(A).increment(1);"), "a constant");
    assert!(!offends("const A: &str = \"breakwater_payments_total\";\ncounter!(A, \"status\" => s).increment(1);"));
    assert!(!offends("counter!(\"breakwater_payments_total\", \"status\" => f(s)).increment(1); // counter!(\"other\")"));
    assert!(!offends("metrics::counter!(\n    \"breakwater_refunds_total\",\n    \"status\" => s(\")\"), \"channel\" => c)"));
    assert!(!offends("describe_counter!(name, unit, help)"));
}

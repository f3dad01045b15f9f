//! Who may import whom. A module that is not in the table has no floor yet: give it one.

use super::source::Source;

/// Each module of the crate's top, with what it may import.
const FLOORS: &[(&str, &[&str])] = &[
    // Ground: these import nothing of the crate.
    ("domain", &[]),
    ("clock", &[]),
    ("keys", &[]),
    // Where a test lets the process die: it may stand anywhere.
    ("crash", &[]),
    // What is begun again when it was lost: loops are on every floor.
    ("lasting", &[]),
    // Servants of demo and tests, in worlds of their own.
    ("sandbox", &[]),
    ("cluster", &[]),
    // Floor 1: the two do not know each other.
    ("store", &["domain", "clock", "crash", "lasting"]),
    ("provider", &["domain", "clock", "keys"]),
    // Floor 2.
    ("channel", &["domain", "clock", "crash", "lasting", "provider"]),
    ("alert", &["domain", "clock", "store"]),
    // Beside the floors: it knows words of those below, for labels; only what shows metrics knows it.
    ("telemetry", &["domain", "lasting", "provider", "channel"]),
    // Floor 3.
    ("router", &["domain", "clock", "crash", "keys", "lasting", "store", "provider", "channel", "alert"]),
    ("poller", &["domain", "clock", "crash", "store", "provider", "channel", "alert", "router"]),
    ("representation", &["domain", "store"]),
    ("notifier", &["domain", "clock", "crash", "store", "alert", "representation"]),
    // Floor 4.
    ("http", &["domain", "clock", "store", "provider", "channel", "alert", "telemetry", "router", "poller", "notifier", "representation"]),
    ("console", &["domain", "clock", "store", "provider", "channel", "alert", "telemetry", "router", "poller", "notifier", "representation"]),
    // The settings name those below; only the wiring knows the settings.
    ("config", &["domain", "clock", "keys", "provider", "channel", "alert", "telemetry"]),
];

/// What wires: it may import everything, and nothing else may import it.
const WIRING: &[&str] = &["app", "cli", "main", "lib"];

/// What test code may import besides.
const FOR_TESTS: &[&str] = &["cluster", "sandbox", "clock"];

/// Every import of this file that crosses a floor.
pub fn offences(file: &Source) -> Vec<String> {
    if !file.is_crate() {
        return Vec::new();
    }
    let own = module(&file.path);
    imports(file)
        .into_iter()
        .filter_map(|(line, target)| {
            let for_tests = line >= file.tests_from && FOR_TESTS.contains(&target.as_str());
            if target == own || for_tests {
                return None;
            }
            if own == "app" && matches!(target.as_str(), "sandbox" | "cli") {
                return Some(file.offence(line, &format!("app imports {target}, which only cli and tests may")));
            }
            if WIRING.contains(&own) {
                return None;
            }
            let Some((_, allowed)) = FLOORS.iter().find(|(name, _)| *name == own) else {
                return Some(file.offence(line, &format!("{own} has no floor: give it one in tests/tidy/floors.rs")));
            };
            (!allowed.contains(&target.as_str())).then(|| file.offence(line, &format!("{own} imports {target}, which is not below it")))
        })
        .collect()
}

/// The module of the crate's top that a file belongs to.
fn module(path: &str) -> &str {
    let below = path.strip_prefix("src/").unwrap_or(path);
    below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
}

/// How many `super` lead from the file's top to the crate's.
fn depth(path: &str) -> usize {
    let below = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    below.trim_end_matches("/mod").split('/').count()
}

/// The modules of the crate's top that a file names, each with its line: through `crate::a`, through `crate::{a, b::c}`, or through enough
/// `super`s to reach the top.
fn imports(file: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let code = &file.code;
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_none_or(|character| !character.is_alphanumeric() && character != '_' && character != '$') {
            found.extend(names(&code[at + "crate::".len()..]).into_iter().map(|name| (file.line_of(at), name)));
        }
    }
    let mut at = 0;
    while let Some(next) = code[at..].find("super::") {
        let start = at + next;
        let mut end = start;
        while code[end..].starts_with("super::") {
            end += "super::".len();
        }
        let line = file.line_of(start);
        // An inline test module is one deeper than its file.
        let inline = usize::from(line >= file.tests_from && file.tests_from > 0);
        if (end - start) / "super::".len() >= depth(&file.path) + inline {
            found.extend(names(&code[end..]).into_iter().map(|name| (line, name)));
        }
        at = end;
    }
    found
}

/// The first names of the paths that follow: one, or those of a group in braces. Names with a capital are items of the top, not modules.
fn names(rest: &str) -> Vec<String> {
    let first =
        |text: &str| -> String { text.trim_start().chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect() };
    let mut found = Vec::new();
    match rest.strip_prefix('{') {
        None => found.push(first(rest)),
        Some(group) => {
            let (mut depth, mut start) = (0_usize, 0);
            for (at, character) in group.char_indices() {
                match character {
                    '{' => depth += 1,
                    ',' if depth == 0 => {
                        found.push(first(&group[start..at]));
                        start = at + 1;
                    }
                    '}' if depth == 0 => {
                        found.push(first(&group[start..at]));
                        break;
                    }
                    '}' => depth -= 1,
                    _ => {}
                }
            }
        }
    }
    found.retain(|name| name.starts_with(|first: char| first.is_ascii_lowercase()) && !matches!(name.as_str(), "self" | "super"));
    found
}

#[test]
fn an_import_from_above_is_an_offence() {
    let offends = |path: &str, text: &str| !offences(&Source::new(path, text)).is_empty();
    assert!(offends("src/domain/money.rs", "use crate::clock::Clock;"));
    assert!(offends("src/store/mod.rs", "fn a() { crate::provider::find(\"a\"); }"));
    assert!(offends("src/provider/stripe.rs", "use crate::{domain::Money, store::{Store, pool}};"));
    assert!(offends("src/channel/actor.rs", "use crate::store::Store;"));
    assert!(offends("src/channel/actor.rs", "use super::super::router::Router;"), "through super");
    assert!(offends("src/router/payment.rs", "use crate::http::Body;"));
    assert!(offends("src/router/payment.rs", "use crate::config::Settings;"));
    assert!(offends("src/http/payment.rs", "use crate::sandbox::Book;"));
    assert!(offends("src/sandbox/mod.rs", "use crate::domain::Money;"));
    assert!(offends("src/app.rs", "use crate::sandbox::Sandbox;"));
    assert!(offends("src/bridge/mod.rs", "use crate::domain::Money;"), "a module without a floor");
    assert!(offends("src/domain/money.rs", "#[cfg(test)]\nmod tests {\n    use crate::store::Store;\n}"), "in tests too");
}

#[test]
fn an_import_from_below_is_none() {
    let fits = |path: &str, text: &str| offences(&Source::new(path, text)).is_empty();
    assert!(fits("src/router/payment.rs", "use crate::{channel::Handle, store::Store};\nuse crate::domain::Money;"));
    assert!(fits("src/domain/money.rs", "// crate::store is above\npub(crate) use names;\n$crate::store!();"));
    assert!(fits("src/channel/guard/settings.rs", "use super::super::breaker::State;"), "not to the top");
    assert!(fits("src/store/mod.rs", "#[cfg(test)]\nmod tests {\n    use super::*;\n    use crate::cluster::Cluster;\n}"));
    assert!(fits("src/cli/demo.rs", "use crate::{sandbox, cluster, app};"));
}

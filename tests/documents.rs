//! The documents have everything: whoever adds a setting, a command, a metric or a problem's code, and writes nothing about it, is told here.
//!
//! The truth is asked of the program itself: the documented settings file (which the tests of `src/config` hold against the reader, field by
//! field), clap's own tree of commands, the catalogue of metrics and the closed list of codes. Each check is a function from a text to what it
//! lacks, and is shown to be able to fail by a text that lacks something. That what the documents say is *true* is for `.ci/readme`, which does
//! what they say.

use std::path::Path;

use breakwater::cli::Cli;
use breakwater::config::EXAMPLE;
use breakwater::domain::{Advice, FailureCode};
use breakwater::http::ProblemCode;
use breakwater::telemetry::METRICS;
use clap::CommandFactory;

fn document(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The rows of tables whose first cell begins with `cell`.
fn rows<'a>(text: &'a str, cell: &str) -> impl Iterator<Item = &'a str> {
    text.lines().filter(move |line| line.strip_prefix("| ").is_some_and(|rest| rest.starts_with(cell)))
}

/// Every field of the documented settings with the table that it stands in, those in comments too.
fn settings() -> Vec<(String, String)> {
    let mut table = String::new();
    let mut fields = Vec::new();
    for line in EXAMPLE.lines() {
        if line.starts_with('[') {
            table = line.to_owned();
            continue;
        }
        let Some((name, _)) = line.strip_prefix("# ").unwrap_or(line).split_once(" = ") else { continue };
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            fields.push((table.clone(), name.to_owned()));
        }
    }
    fields
}

fn settings_missing_in(text: &str) -> Vec<String> {
    let described = |table: &str, field: &str| rows(text, &format!("`{table}`")).any(|row| row.contains(&format!("`{field}`")));
    settings().into_iter().filter(|(table, field)| !described(table, field)).map(|(table, field)| format!("{table} {field}")).collect()
}

#[test]
fn every_setting_is_in_the_readmes_table_in_the_row_of_its_section() {
    assert!(settings().len() > 70, "the example was not understood: {:?}", settings());
    let readme = document("README.md");
    assert_eq!(settings_missing_in(&readme), Vec::<String>::new());
    assert_eq!(settings_missing_in(&readme.replace("`lease_ms`", "`lease`")), ["[poller] lease_ms"], "the check can fail");
}

/// Every command that does something, by its whole name, with its options.
fn commands() -> Vec<(String, Vec<String>)> {
    fn collect(command: &clap::Command, above: &str, found: &mut Vec<(String, Vec<String>)>) {
        let name = format!("{above} {}", command.get_name()).trim().to_owned();
        let mut below = command.get_subcommands().filter(|below| !below.is_hide_set()).peekable();
        if below.peek().is_none() {
            let options = command.get_arguments().filter(|argument| !argument.is_hide_set()).filter_map(clap::Arg::get_long);
            let options = options.filter(|name| !["help", "version"].contains(name)).map(|name| format!("--{name}")).collect();
            found.push((name, options));
            return;
        }
        below.for_each(|below| collect(below, &name, found));
    }
    let mut found = Vec::new();
    collect(&Cli::command(), "", &mut found);
    found
}

fn commands_missing_in(text: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for (name, options) in commands() {
        match rows(text, &format!("`{name}`")).next() {
            None => missing.push(name),
            Some(row) => {
                missing.extend(options.iter().filter(|option| !row.contains(&format!("`{option}`"))).map(|option| format!("{name} {option}")))
            }
        }
    }
    missing
}

#[test]
fn every_command_is_in_the_readmes_table_with_all_its_options() {
    assert!(commands().len() > 15 && commands().iter().any(|(name, _)| name == "breakwater keys rotate"), "{:?}", commands());
    let readme = document("README.md");
    assert_eq!(commands_missing_in(&readme), Vec::<String>::new());
    let without = readme.replace("`breakwater doctor`", "`doctor`").replace("`--grace`", "");
    assert_eq!(commands_missing_in(&without), ["breakwater keys rotate --grace", "breakwater operators rotate --grace", "breakwater doctor"]);
}

/// The commands that the README's table names.
fn commands_named_in(text: &str) -> Vec<String> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")).filter(|row| row.starts_with("breakwater "));
    rows.filter_map(|row| row.split_once('`')).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn the_readme_names_no_command_that_is_not_there() {
    let known: Vec<String> = commands().into_iter().map(|(name, _)| name).collect();
    let named = commands_named_in(&document("README.md"));
    assert!(!named.is_empty());
    assert_eq!(named.into_iter().filter(|name| !known.contains(name)).collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(commands_named_in("| `breakwater fly` | no |"), ["breakwater fly"], "the check can fail");
}

fn metrics_missing_in(text: &str) -> Vec<&'static str> {
    let told = |metric: &breakwater::telemetry::Metric| {
        rows(text, &format!("`{}`", metric.name)).any(|row| metric.labels.iter().all(|label| row.contains(&format!("`{label}`"))))
    };
    METRICS.iter().filter(|metric| !told(metric)).map(|metric| metric.name).collect()
}

#[test]
fn every_metric_is_in_the_runbooks_table_with_its_labels() {
    let runbook = document("dashboards/runbook.md");
    assert_eq!(metrics_missing_in(&runbook), Vec::<&str>::new());
    let without = runbook.replace("| `breakwater_payments_total`", "| `breakwater_paid_total`").replace("`resolved_by`", "");
    assert_eq!(metrics_missing_in(&without), ["breakwater_payments_total", "breakwater_unknown_outcome_resolution_seconds"]);
}

fn codes_missing_in(text: &str) -> Vec<&'static str> {
    let told = |code: &ProblemCode| {
        let (status, name) = (code.status().to_string(), format!("`{code}`"));
        let of_its_status = |line: &str| {
            line.strip_prefix("| ").and_then(|row| row.split_once(" |")).is_some_and(|(cell, _)| cell.split(", ").any(|one| one == status))
        };
        text.lines().any(|line| of_its_status(line) && line.contains(&name))
    };
    ProblemCode::ALL.iter().filter(|code| !told(code)).map(|code| code.as_str()).collect()
}

#[test]
fn every_problems_code_is_in_the_readme_in_the_row_of_its_status() {
    let readme = document("README.md");
    assert_eq!(codes_missing_in(&readme), Vec::<&str>::new());
    let without = readme.replace("`no_channel`,", "").replace("| 413, 415 |", "| 413 |");
    assert_eq!(codes_missing_in(&without), ["unsupported_media_type", "no_channel"], "the check can fail");
}

/// The failure codes of the README's table, each with its advice and whether the same means of payment must not be tried again.
fn failures_in(text: &str) -> Vec<(FailureCode, Advice, bool)> {
    fn named<T: serde::de::DeserializeOwned>(cell: &str) -> Option<T> {
        serde_json::from_value(cell.strip_prefix('`')?.strip_suffix('`')?.into()).ok()
    }
    let mut found = Vec::new();
    for line in text.lines() {
        if let [code, _, advice, never] = line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>()[..]
            && let (Some(code), Some(advice)) = (named(code), named(advice))
        {
            found.push((code, advice, never == "yes"));
        }
    }
    found
}

#[test]
fn every_reason_of_a_decline_is_in_the_readme_with_its_advice() {
    let failures = failures_in(&document("README.md"));
    for (code, advice, never) in &failures {
        assert_eq!((code.advice(), code.do_not_retry()), (*advice, *never), "{code:?}");
    }
    // The source says how many there are.
    let source = document("src/domain/failure.rs");
    let variants = source.split_once("pub enum FailureCode {").unwrap().1.split_once("\n}").unwrap().0;
    assert_eq!(failures.len(), variants.lines().filter(|line| line.ends_with(',')).count(), "{failures:?}");
    assert_eq!(failures_in("| `closed` | it ended | `retry_later` | no |").len(), 1, "the check can fail");
}

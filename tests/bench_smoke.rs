//! `breakwater bench` as a shell sees it, in its smallest: every outage for a second or two, a process that dies at a few of its crash points, and one
//! of two that is killed; the referee finds the money right each time. What it takes is reported and never judged.
//!
//! A run is mostly waiting, so some are made side by side.
#![allow(missing_docs, reason = "a test's name is its documentation")]

use std::process::Command;

use serde_json::Value;

/// Runs it: its report, and whether it is content with it. It must be.
fn bench(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_breakwater"));
    command.arg("bench").args(arguments).args(["--seed", "5", "--json"]);
    // Whatever the shell of the one who tests has set: this one is private.
    command.env_remove("BREAKWATER_DATABASE_URL").env_remove("BREAKWATER_CONFIG");
    let output = command.output().expect("breakwater runs");
    let complaints = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {complaints}"));
    let nothing = serde_json::json!([]);
    for fault in ["double", "lost", "orphan", "stuck"] {
        assert_eq!(report["verdict"][fault], nothing, "{fault}: {report:#}");
    }
    assert_eq!(report["integrity"], nothing, "{report:#}");
    assert!(output.status.success(), "{complaints}");
    assert!(report["verdict"]["charges"].as_u64().is_some_and(|charges| charges > 0), "nobody paid: this has shown nothing: {report:#}");
    report
}

/// Runs two outages side by side: more than that, and two cores would be an outage of their own.
fn outages(scenarios: [&'static str; 2]) {
    std::thread::scope(|scope| {
        for scenario in scenarios {
            scope.spawn(move || bench(&[scenario, "--rate", "20", "--before-s", "1", "--fault-s", "2", "--after-s", "1"]));
        }
    });
}

#[test]
fn while_one_of_four_banks_refuses_nobody_is_charged_twice_and_nothing_is_lost() {
    let report = bench(&["refused", "--rate", "20", "--before-s", "1", "--fault-s", "2", "--after-s", "2"]);
    let offered: u64 = report["seconds"].as_array().expect("seconds").iter().filter_map(|second| second["offered"].as_u64()).sum();
    assert_eq!(offered, 100, "the load is not what was asked for: {report:#}");
}

#[test]
fn when_the_databases_primary_is_killed_the_standby_carries_on_and_nothing_acknowledged_is_lost() {
    let report = bench(&["primary_killed", "--rate", "20", "--before-s", "2", "--fault-s", "3", "--after-s", "2"]);
    let at = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("{name} is not known: {report:#}"));
    assert!(at("promoted_at_ms") >= 2_000, "promoted before it was lost: {report:#}");
    assert!(at("away_ms") >= at("back_after_ms"), "{report:#}");
}

#[test]
fn a_process_that_dies_between_intent_call_outcome_and_answer_charges_nobody_twice_and_loses_nothing() {
    let points = ["payment_written", "payment_answered", "refund_written", "changes_committed"];
    let report = bench(&["crash_points", "--each", "1", "--points", &points.join(","), "--pay-with", "both", "--rate", "20"]);
    let rows = report["rows"].as_array().expect("rows");
    let died: Vec<_> = rows.iter().map(|row| (row["name"].as_str().expect("a name"), row["lives_ms"].as_array().expect("lives").len())).collect();
    assert_eq!(died, points.map(|point| (point, 1)), "{report:#}");
    assert!(report["webhooks"].as_u64().is_some_and(|webhooks| webhooks > 0), "no merchant was told anything: {report:#}");
}

#[test]
fn a_bank_that_falls_silent_costs_nobody_twice_and_loses_nothing() {
    outages(["black_hole", "stall"]);
}

#[test]
fn a_bank_that_answers_late_costs_nobody_twice_and_loses_nothing() {
    outages(["slow", "late"]);
}

#[test]
fn a_bank_that_answers_in_drops_or_whose_connections_are_cut_costs_nobody_twice_and_loses_nothing() {
    outages(["drip", "cut"]);
}

#[test]
fn a_bank_without_tls_or_with_errors_costs_nobody_twice_and_loses_nothing() {
    outages(["tls_broken", "error_5xx"]);
}

#[test]
fn connections_that_are_reset_in_requests_and_in_answers_cost_nobody_twice_and_lose_nothing() {
    let report = bench(&["reset", "--rate", "40", "--before-s", "1", "--fault-s", "5", "--after-s", "1"]);
    let undone = |what: &str| report["undone"][what].as_u64().unwrap_or_else(|| panic!("{what} is not known: {report:#}"));
    assert!(undone("charged") > 0, "no answer was cut: {report:#}");
    assert!(undone("not_charged") > 0, "no request was cut: {report:#}");
}

#[test]
fn a_database_that_is_killed_or_a_primary_that_is_cut_off_costs_nobody_twice_and_loses_nothing() {
    outages(["postgres_kill", "primary_cut_off"]);
}

#[test]
fn more_load_than_usual_and_a_flood_of_another_merchant_cost_nobody_twice_and_lose_nothing() {
    outages(["overload", "flood"]);
}

#[test]
fn of_two_processes_one_stays_dead_and_the_other_takes_over_what_it_was_about() {
    // The second half of the fault is longer than a lease.
    bench(&["kill", "--processes", "2", "--pay-with", "both", "--rate", "20", "--before-s", "1", "--fault-s", "9", "--after-s", "1"]);
}

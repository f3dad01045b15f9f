//! `breakwater doctor`: everything that can be wrong with an installation and be seen from here, looked at in one go.
//!
//! It changes nothing, and stops at nothing: what cannot be looked at because of an earlier fault says so. `FAIL` is what keeps `serve` from
//! starting or money from being safe, and each says what to do; `WARN` is what will hurt some day. The table has no secret in it, so it can be
//! pasted into a report.
//!
//! ```text
//! mod.rs      the command, the verdicts, the table
//! machine.rs  this machine: programs, addresses, disk, files        server.rs  the database's server and schema
//! secrets.rs  keys and certificates: which there are, and when they end
//! ```

mod machine;
mod secrets;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use secrecy::ExposeSecret;
use serde_json::json;

use super::database::{DatabaseArgs, errand_runtime};
use super::{fail, print, table};
use crate::clock::Clock;
use crate::config::{Fault, Settings};

/// Look for what is wrong with this installation
///
/// Changes nothing. The table has no secret in it.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 nothing failed (there may be warnings), 1 something failed.

Examples:
  breakwater doctor --config breakwater.toml
  breakwater doctor --database-url postgres://localhost/breakwater --json")]
pub struct DoctorArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Print one line of JSON: {"healthy":true|false,"checks":[{"check","verdict","found","next"}]}
    #[arg(long)]
    json: bool,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and may not some day; or it could not be looked at.
    Warn,
    /// It does not work, or is not safe.
    Fail,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }

    const fn colour(self) -> &'static str {
        match self {
            Self::Ok => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Fail => "\x1b[31m",
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do; empty when there is nothing to do.
    next: String,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), next: String::new() }
    }

    fn warn(name: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warn, found: found.into(), next: next.into() }
    }

    fn fail(name: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, found: found.into(), next: next.into() }
    }
}

/// Looks, and says what it found.
pub fn run(args: &DoctorArgs) -> ExitCode {
    let runtime = match errand_runtime() {
        Ok(runtime) => runtime,
        Err(why) => return fail(&why),
    };
    let (settings, mut checks) = settings(args.database.config.as_deref());
    checks.push(machine::programs());
    match args.database.address() {
        Ok((url, words)) => checks.extend(runtime.block_on(server::checks(url.expose_secret(), &words, settings.as_ref()))),
        Err(why) => checks.push(Check::fail("database", why, "name the database, and look again")),
    }
    match &settings {
        Some(settings) => {
            checks.extend(runtime.block_on(machine::addresses(settings)));
            checks.push(machine::open_files(settings));
            checks.push(machine::certificates(settings));
            checks.extend(secrets::checks(settings, Clock::system().wall()));
        }
        None => checks.push(Check::warn("addresses", "not looked at: the settings have faults", "correct the settings first")),
    }
    let healthy = checks.iter().all(|check| check.verdict != Verdict::Fail);
    let written = print(&if args.json { in_json(&checks, healthy) } else { in_columns(&checks, table::colour()) });
    if healthy { written } else { ExitCode::FAILURE }
}

/// The settings, unless they have faults, and what there is to say of them.
fn settings(named: Option<&Path>) -> (Option<Settings>, Vec<Check>) {
    let here = PathBuf::from("breakwater.toml");
    let Some(path) = named.map(Path::to_path_buf).or_else(|| here.exists().then_some(here)) else {
        let next = "name yours with --config, or write one with: breakwater config example";
        return (Some(Settings::default()), vec![Check::warn("settings", "no settings file is named; the defaults were looked at", next)]);
    };
    match Settings::load(&path) {
        Ok(settings) => {
            let found = format!("{} is sound, {} channels", path.display(), settings.channels.len());
            (Some(settings), vec![Check::ok("settings", found)])
        }
        Err(faults) => (None, faults.into_iter().map(of_fault).collect()),
    }
}

fn of_fault(fault: Fault) -> Check {
    let place = if fault.field.is_empty() { fault.file } else { format!("{}: {}", fault.file, fault.field) };
    Check::fail("settings", format!("{place}: {}", fault.what), fault.next)
}

fn in_json(checks: &[Check], healthy: bool) -> String {
    let checks: Vec<_> = checks
        .iter()
        .map(|check| {
            let next = Some(&check.next).filter(|next| !next.is_empty());
            json!({"check": check.name, "verdict": check.verdict.as_str(), "found": check.found, "next": next})
        })
        .collect();
    format!("{}\n", json!({"healthy": healthy, "checks": checks}))
}

/// A line a check, and what to do below it.
fn in_columns(checks: &[Check], colour: bool) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let verdict = format!("{:<4}", check.verdict.as_str());
        let verdict = if colour { format!("{}{verdict}\x1b[0m", check.verdict.colour()) } else { verdict };
        text.push_str(&format!("{verdict}  {:<width$}  {}\n", check.name, check.found));
        if !check.next.is_empty() {
            text.push_str(&format!("{:>width$}        → {}\n", "", check.next));
        }
    }
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    text.push_str(&format!("\n{} OK, {} to watch, {} failed\n", count(Verdict::Ok), count(Verdict::Warn), count(Verdict::Fail)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_says_what_to_do_below_it() {
        let checks = [Check::ok("fsync", "on"), Check::fail("addresses", "taken", "stop what holds it")];
        let text = in_columns(&checks, false);
        assert_eq!(text, "OK    fsync      on\nFAIL  addresses  taken\n                 → stop what holds it\n\n1 OK, 0 to watch, 1 failed\n");
        assert!(in_columns(&checks, true).contains("\x1b[31mFAIL\x1b[0m"));
    }
}

//! `breakwater config`: a settings file to start from, and what is wrong with the one there is.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{fail, print};
use crate::config::{EXAMPLE, Fault, Mode, Settings};

/// Write or check a settings file
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater config example > breakwater.toml
  breakwater config check --config breakwater.toml")]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(Check),
    Example(Example),
}

/// Check a settings file and its secrets, and name every fault at once
///
/// Environment variables and files that it names must be there, as they must be for `serve`. No secret is printed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater config check
  breakwater config check --config /etc/breakwater.toml --json")]
struct Check {
    /// The settings file
    #[arg(long, env = "BREAKWATER_CONFIG", default_value = "breakwater.toml", value_name = "FILE")]
    config: PathBuf,
    /// Print one line of JSON: {"sound":true|false,"faults":[{"file","field","what","next"}]}
    #[arg(long)]
    json: bool,
}

/// Print a documented settings file with every field at its default
#[derive(Debug, Args)]
#[command(after_help = "Example:
  breakwater config example > breakwater.toml")]
struct Example {}

/// Checks a file, or prints the example.
pub fn run(args: &ConfigArgs) -> ExitCode {
    match &args.command {
        Command::Check(check) => check.run(),
        Command::Example(Example {}) => print(EXAMPLE),
    }
}

impl Check {
    fn run(&self) -> ExitCode {
        let read = Settings::load(&self.config);
        if self.json {
            let faults = read.as_ref().err().map(Vec::as_slice).unwrap_or_default();
            let written = print(&format!("{}\n", in_json(faults)));
            return if faults.is_empty() { written } else { ExitCode::FAILURE };
        }
        match read {
            Ok(settings) => print(&summary(&settings)),
            Err(faults) => {
                for fault in &faults {
                    fail(&fault.to_string());
                }
                fail(&format!("{} found in {}", counted(faults.len(), "fault"), self.config.display()))
            }
        }
    }
}

fn in_json(faults: &[Fault]) -> serde_json::Value {
    let list: Vec<_> = faults.iter().map(|fault| json!({"file": fault.file, "field": fault.field, "what": fault.what, "next": fault.next})).collect();
    json!({"sound": faults.is_empty(), "faults": list})
}

/// What the settings come to, without any secret: enough to see that it is the file that was meant.
fn summary(settings: &Settings) -> String {
    let mut text = String::from("The settings are sound.\n");
    let operations = settings.server.operations_listen.unwrap_or(settings.server.listen);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "API on {}, operations on {operations}", settings.server.listen);
    let connections = crate::app::pool_sizes(settings, settings.channels.len()).sum();
    let _ = writeln!(text, "{} to the database, {}", counted(connections, "connection"), counted(settings.channels.len(), "channel"));
    for channel in &settings.channels {
        let mode = if channel.mode == Mode::Live { "live" } else { "test" };
        let secrets = counted(channel.notification_secrets.len(), "notification secret");
        let _ = writeln!(text, "  {} ({}, {mode}) at {}, priority {}, {secrets}", channel.id, channel.provider, channel.address, channel.priority);
    }
    text
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ChannelSettings;

    #[test]
    fn the_summary_names_channels_and_no_secret() {
        let mut settings =
            Settings { channels: vec![ChannelSettings::test("a", "stripe", "http://localhost:1", "sk_test_secret")], ..Settings::default() };
        settings.database.url = "postgres://user:hunter2@host/db".into();
        let text = summary(&settings);
        assert!(text.contains("a (stripe, test) at http://localhost:1"), "{text}");
        assert!(text.contains("26 connections to the database, 1 channel\n"), "{text}");
        assert!(!text.contains("sk_test_secret") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn faults_in_json_keep_their_four_parts() {
        let faults = Settings::from_toml("[server]\nworkers = 0", "file.toml", &|_| Some("postgres:///db".to_owned())).unwrap_err();
        let json = in_json(&faults);
        assert_eq!(json["sound"], false);
        assert_eq!(json["faults"][0]["file"], "file.toml");
        assert_eq!(json["faults"][0]["field"], "server.workers");
        assert_eq!(json["faults"][0]["what"], "it is 0");
        assert_eq!(json["faults"][0]["next"], "give a number from 1 to 64");
        assert_eq!(in_json(&[])["sound"], true);
    }
}

//! The command line: one file a subcommand, each with its arguments and its `run`.
//!
//! What every command keeps to: results go to standard output and everything else to standard error, so that output can be piped; the exit
//! code is 0 when it did what was asked, 1 when it could not, 2 when it was asked wrongly (clap's own); `NO_COLOR` is honoured; a failure says
//! what, where and what to do next.

pub mod alerts;
pub mod audit;
pub mod bench;
pub mod cards;
pub mod channels;
pub mod client;
pub mod completions;
pub mod config;
mod credential;
pub mod database;
pub mod demo;
pub mod doctor;
pub mod keys;
pub mod merchants;
pub mod migrate;
pub mod notifications;
pub mod openapi;
pub mod operators;
pub mod payments;
mod person;
pub mod sandbox;
pub mod serve;
mod table;
pub mod webhooks;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::StartError;
use crate::store::StoreError;

const AFTER_HELP: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage. NO_COLOR turns colours off.

Examples:
  breakwater demo
  breakwater config example > breakwater.toml
  breakwater config check --config breakwater.toml
  breakwater migrate --database-url postgres://localhost/breakwater
  breakwater doctor --config breakwater.toml
  breakwater operators add --role admin alice
  breakwater merchants add \"Sample Shop\" && breakwater keys add \"Sample Shop\"";

/// The arguments of `breakwater`.
#[derive(Debug, Parser)]
#[command(name = "breakwater", version, about = "A payment orchestrator: one REST API over payment channels that fail, stall and lie", after_help = AFTER_HELP)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Serve(serve::ServeArgs),
    Sandbox(sandbox::SandboxArgs),
    Migrate(migrate::MigrateArgs),
    Config(config::ConfigArgs),
    Merchants(merchants::MerchantsArgs),
    Keys(keys::KeysArgs),
    Operators(operators::OperatorsArgs),
    Payments(payments::PaymentsArgs),
    Notifications(notifications::NotificationsArgs),
    Channels(channels::ChannelsArgs),
    Audit(audit::AuditArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
    Webhooks(webhooks::WebhooksArgs),
    Cards(cards::CardsArgs),
    Alerts(alerts::AlertsArgs),
    Openapi(openapi::OpenapiArgs),
    Bench(bench::BenchArgs),
}

/// Runs the command that `arguments` (the program's name first) ask for, to its end. Answers the exit code: 0 done, 1 failed, 2 wrong usage.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(asked) => {
            // Help and version are answers, not failures: clap prints each where it belongs, and a closed pipe is nobody's problem.
            let _ = asked.print();
            return if asked.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Sandbox(args) => sandbox::run(args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Merchants(args) => merchants::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Operators(args) => operators::run(&args),
        Command::Payments(args) => payments::run(&args),
        Command::Notifications(args) => notifications::run(&args),
        Command::Channels(args) => channels::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Webhooks(args) => webhooks::run(&args),
        Command::Cards(args) => cards::run(&args),
        Command::Alerts(args) => alerts::run(&args),
        Command::Openapi(args) => openapi::run(&args),
        Command::Bench(args) => bench::run(&args),
    }
}

/// Writes to standard output. A reader who has gone (`| head`) is no failure.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => fail(&format!("cannot write to standard output: {error}")),
        _ => ExitCode::SUCCESS,
    }
}

/// Says something on standard error that is no failure, and no result either.
fn note(what: &str) {
    // Nobody needs to read it.
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// Says on standard error why the command failed, in a sentence that says what to do; answers exit code 1.
fn fail(why: &str) -> ExitCode {
    // When standard error is gone too, the exit code is all that is left.
    let _ = writeln!(std::io::stderr(), "breakwater: {why}");
    ExitCode::FAILURE
}

/// Why the system did not start, and what to do about it.
fn explain(error: &StartError) -> String {
    match error {
        StartError::Store(store) => format!("{error}; {}", next(store)),
        StartError::Unfit(_) => format!("{error}; run the version of breakwater that made the schema, or a later one"),
        StartError::Listen { .. } | StartError::System(_) | StartError::Setting(_) => error.to_string(),
    }
}

/// What to do about a database that refuses.
const fn next(error: &StoreError) -> &'static str {
    match error {
        StoreError::Settings(_) | StoreError::Migrator(sqlx::Error::Configuration(_)) => "correct the address: postgres://user@host:5432/name",
        StoreError::Busy(_) => "run it again",
        StoreError::Standby(_) => "or wait until a standby is promoted, and run it again",
        StoreError::Away(_) | StoreError::Migrator(_) => {
            "check that the address is right, the server runs and the database exists, then run it again"
        }
        StoreError::Migration(_) => {
            "the schema was not changed by the migration that failed; run it with the version of breakwater that made the schema, or a later one"
        }
        StoreError::Refused { .. } | StoreError::Unreadable(_) => "check that the user owns the schema, then run it again: what was done is kept",
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_well_formed_and_every_command_shows_an_example() {
        Cli::command().debug_assert();
        let mut missing = Vec::new();
        collect_without_example(&Cli::command(), &mut missing);
        assert_eq!(missing, Vec::<String>::new(), "their --help has no example");
    }

    fn collect_without_example(command: &clap::Command, missing: &mut Vec<String>) {
        let help = command.clone().render_long_help().to_string();
        if !help.contains("Example") {
            missing.push(command.get_name().to_owned());
        }
        for below in command.get_subcommands() {
            collect_without_example(below, missing);
        }
    }

    #[test]
    fn the_help_documents_the_exit_codes() {
        assert!(Cli::command().render_help().to_string().contains("Exit codes: 0 done, 1 failed, 2 wrong usage"));
    }
}

//! `breakwater cards`: the keys under which card numbers lie.

mod reseal;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::fail;

/// Seal card numbers anew, after a change of keys
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater cards reseal --config breakwater.toml")]
pub struct CardsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Reseal(reseal::Reseal),
}

/// Does as asked.
pub fn run(args: &CardsArgs) -> ExitCode {
    match &args.command {
        Command::Reseal(reseal) => reseal.run().unwrap_or_else(|why| fail(&why)),
    }
}

//! `breakwater completions`: what a shell needs to complete commands, flags and their values.

use std::process::ExitCode;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::{Cli, print};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  source <(breakwater completions bash)
  breakwater completions zsh > ~/.zfunc/_breakwater      # a folder of $fpath
  breakwater completions fish > ~/.config/fish/completions/breakwater.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: ShellArg,
}

/// The shells whose scripts were tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ShellArg {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script.
pub fn run(args: &CompletionsArgs) -> ExitCode {
    let shell = match args.shell {
        ShellArg::Bash => Shell::Bash,
        ShellArg::Zsh => Shell::Zsh,
        ShellArg::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "breakwater", &mut script);
    print(&String::from_utf8_lossy(&script))
}

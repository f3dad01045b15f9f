//! The command line: one file a subcommand, each with its arguments and its `run`.

pub mod sandbox;

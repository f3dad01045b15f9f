//! `breakwater merchants`: who takes payments here.
//!
//! A merchant is test or live for ever; one shop that does both is two merchants, which may have one name. There is no removal: payments keep
//! their merchant. To shut one out, revoke its keys.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use uuid::Uuid;

use super::database::DatabaseArgs;
use super::person::{self, Why};
use super::{fail, print, table};
use crate::clock::Clock;
use crate::store::StoreError;
use crate::store::administration::MerchantRow;

/// Add or list merchants
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater merchants add \"Sample Shop\" --mode test
  breakwater merchants ls")]
pub struct MerchantsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Add(Add),
    Ls(Ls),
}

/// Whether real money moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// It does not.
    Test,
    /// It does.
    Live,
}

impl ModeArg {
    /// Whether real money moves.
    pub(super) const fn livemode(self) -> bool {
        matches!(self, Self::Live)
    }
}

/// Add a merchant
///
/// It has no key yet: give it one with `breakwater keys add`. The name is unique within its mode.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater merchants add \"Sample Shop\"
  breakwater merchants add \"Sample Shop\" --mode live --json")]
struct Add {
    /// The name, 1 to 100 characters
    name: String,
    /// test or live: live moves real money
    #[arg(long, value_enum, default_value = "test")]
    mode: ModeArg,
    /// Print one line of JSON: {"id","name","mode","created_at"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// List the merchants
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater merchants ls
  breakwater merchants ls --json")]
struct Ls {
    /// Print one line of JSON: {"object":"list","data":[{"id","name","mode","keys","created_at"}]}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Adds or lists.
pub fn run(args: &MerchantsArgs) -> ExitCode {
    let done = match &args.command {
        Command::Add(add) => add.run(),
        Command::Ls(ls) => ls.run(),
    };
    done.unwrap_or_else(|why| fail(&why))
}

impl Add {
    fn run(&self) -> Result<ExitCode, String> {
        let name = sound_name(&self.name)?;
        let (runtime, store) = self.database.open()?;
        let (id, at, who, mode) = (Uuid::new_v4(), Clock::system().wall(), person::who(), table::mode(self.mode.livemode()));
        let added = runtime.block_on(store.enrol_merchant(id, name, self.mode.livemode(), self.why.actor(&who, at))).map_err(said)?;
        if !added {
            return Err(format!(
                "there is a {mode} merchant {name:?} already; choose another name, or give that one a key: breakwater keys add {name:?}"
            ));
        }
        if self.json {
            return Ok(print(&format!("{}\n", json!({"id": id, "name": name, "mode": mode, "created_at": table::rfc3339(at)}))));
        }
        Ok(print(&format!("Added the {mode} merchant {name:?}, {id}.\nGive it a key: breakwater keys add {name:?} --mode {mode}\n")))
    }
}

impl Ls {
    fn run(&self) -> Result<ExitCode, String> {
        let (runtime, store) = self.database.open()?;
        let merchants = runtime.block_on(store.merchants(Clock::system().wall())).map_err(said)?;
        if self.json {
            let data: Vec<Value> = merchants.iter().map(in_json).collect();
            return Ok(print(&format!("{}\n", json!({"object": "list", "data": data}))));
        }
        if merchants.is_empty() {
            return Ok(print("There is no merchant yet. Add one: breakwater merchants add NAME\n"));
        }
        let rows: Vec<Vec<String>> = merchants
            .into_iter()
            .map(|row| {
                vec![row.id.to_string(), table::mode(row.livemode).to_owned(), row.valid_keys.to_string(), table::time(row.created_at), row.name]
            })
            .collect();
        Ok(print(&table::columns(&["ID", "MODE", "KEYS", "CREATED", "NAME"], &rows)))
    }
}

fn in_json(row: &MerchantRow) -> Value {
    let mode = table::mode(row.livemode);
    json!({"id": row.id, "name": row.name, "mode": mode, "keys": row.valid_keys, "created_at": table::rfc3339(row.created_at)})
}

/// What the database said, with what to do.
// By value, because `map_err` hands it over.
#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
pub(super) fn said(error: StoreError) -> String {
    format!("{error}; nothing was changed: breakwater doctor looks for the reason")
}

/// A name that can be shown in a line, and that is not taken for an id.
fn sound_name(name: &str) -> Result<&str, String> {
    let name = name.trim();
    if !(1..=100).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err("a merchant's name has 1 to 100 characters, and no control characters; nothing was changed".to_owned());
    }
    if Uuid::try_parse(name).is_ok() {
        return Err("this name looks like an id, and would be taken for one; choose another".to_owned());
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_breaks_lines_or_looks_like_an_id_is_refused() {
        assert_eq!(sound_name(" 咖啡店 "), Ok("咖啡店"));
        for name in ["", "  ", "a\nb", "\u{1b}[31m", "67e55044-10b1-426f-9247-bb680e5fe0c8"] {
            assert!(sound_name(name).is_err(), "{name:?}");
        }
        assert!(sound_name(&"é".repeat(100)).is_ok() && sound_name(&"é".repeat(101)).is_err());
    }
}

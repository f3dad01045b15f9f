//! `breakwater operators`: the people who run this installation, and their tokens for `/ops`.
//!
//! A name is one person's for ever, because the audit goes by it: a revoked operator who returns gets another. The first operator is added
//! here too; whoever can reach the database needs nobody's leave.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::credential::Credential;
use super::database::DatabaseArgs;
use super::keys::{end_of, grace};
use super::merchants::said;
use super::person::{self, Why};
use super::{fail, note, print, table};
use crate::clock::Clock;
use crate::domain::Role;
use crate::store::Store;
use crate::store::administration::{OperatorListing, near};

/// Add, list, revoke or rotate operators, or change a role
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater operators add --role admin alice
  breakwater operators rotate alice
  breakwater operators role alice viewer
  breakwater operators ls")]
pub struct OperatorsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Add(Add),
    Ls(Ls),
    Revoke(Revoke),
    Rotate(Rotate),
    Role(SetRole),
}

/// What an operator may do, as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleName {
    /// Look
    Viewer,
    /// Look and act
    Operator,
    /// Everything
    Admin,
}

impl RoleName {
    const fn role(self) -> Role {
        match self {
            Self::Viewer => Role::Viewer,
            Self::Operator => Role::Operator,
            Self::Admin => Role::Admin,
        }
    }
}

/// Add an operator, and print their token this once
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater operators add --role admin alice
  breakwater operators add --role viewer dashboard --json")]
struct Add {
    /// Their name: 1 to 64 letters, digits and . _ - @
    name: String,
    /// What they may do
    #[arg(long, value_enum)]
    role: RoleName,
    /// Print one line of JSON: {"name","role","token","hint","created_at"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// List the operators
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater operators ls
  breakwater operators ls --json")]
struct Ls {
    /// Print one line of JSON: {"object":"list","data":[{"name","role","hint","state","created_at","revoked_at","previous_until"}]}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// End an operator's tokens now
///
/// Revoking them again changes nothing, and is no failure.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  breakwater operators revoke alice --why \"left the company\"")]
struct Revoke {
    /// Their name
    name: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Give an operator a new token; the old one ends by itself after a grace
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater operators rotate alice
  breakwater operators rotate alice --grace 0s")]
struct Rotate {
    /// Their name
    name: String,
    /// How long the old token goes on working: 90s, 30m, 24h, 7d; 0s ends it now; at most 90d
    #[arg(long, default_value = "24h", value_parser = grace, value_name = "TIME")]
    grace: Duration,
    /// Print one line of JSON: {"name","token","hint","previous_until"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Give an operator another role
///
/// It counts from their next request on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater operators role alice viewer --why \"moved to another team\"
  breakwater operators role bob admin")]
struct SetRole {
    /// Their name
    name: String,
    /// What they may do from now on
    #[arg(value_enum)]
    role: RoleName,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Does as asked.
pub fn run(args: &OperatorsArgs) -> ExitCode {
    let done = match &args.command {
        Command::Add(add) => add.run(),
        Command::Ls(ls) => ls.run(),
        Command::Revoke(revoke) => revoke.run(),
        Command::Rotate(rotate) => rotate.run(),
        Command::Role(role) => role.run(),
    };
    done.unwrap_or_else(|why| fail(&why))
}

impl Add {
    fn run(&self) -> Result<ExitCode, String> {
        let (name, role) = (sound_name(&self.name)?, self.role.role().as_str());
        let (runtime, store) = self.database.open()?;
        let (at, who) = (Clock::system().wall(), person::who());
        let token = Credential::operator_token()?;
        let adding = store.enrol_operator(name, role, &token.digest, &token.hint, self.why.actor(&who, at));
        if !runtime.block_on(adding).map_err(said)? {
            return Err(format!(
                "the name {name:?} is taken, by a revoked operator perhaps: the audit goes by names, so choose another, or give that operator a new \
                 token with: breakwater operators rotate {name}"
            ));
        }
        if self.json {
            let line = json!({"name": name, "role": role, "token": token.text, "hint": token.hint, "created_at": table::rfc3339(at)});
            return Ok(print(&format!("{line}\n")));
        }
        let printed = print(&format!("{}\n", token.text));
        note(&format!("This is the token of {name}, {role}. It is shown this once."));
        Ok(printed)
    }
}

impl Ls {
    fn run(&self) -> Result<ExitCode, String> {
        let (runtime, store) = self.database.open()?;
        let operators = runtime.block_on(store.operators()).map_err(said)?;
        if self.json {
            let data: Vec<Value> = operators.iter().map(in_json).collect();
            return Ok(print(&format!("{}\n", json!({"object": "list", "data": data}))));
        }
        if operators.is_empty() {
            return Ok(print("There is no operator yet. Add one: breakwater operators add --role admin NAME\n"));
        }
        let rows: Vec<Vec<String>> = operators
            .iter()
            .map(|row| {
                let end = row.revoked_at.map_or(String::from("-"), table::time);
                vec![
                    row.name.clone(),
                    row.role.clone(),
                    if row.hint.is_empty() { "-".to_owned() } else { row.hint.clone() },
                    state(row).to_owned(),
                    table::time(row.created_at),
                    end,
                ]
            })
            .collect();
        Ok(print(&table::columns(&["NAME", "ROLE", "TOKEN", "STATE", "CREATED", "REVOKED"], &rows)))
    }
}

impl Revoke {
    fn run(&self) -> Result<ExitCode, String> {
        let (runtime, store) = self.database.open()?;
        let (at, who) = (Clock::system().wall(), person::who());
        runtime.block_on(async {
            let operator = find(&store, &self.name).await?;
            let ended = store.revoke_operator(&operator.name, self.why.actor(&who, at)).await.map_err(said)?;
            if !ended {
                return Ok(print(&format!("{} was revoked already; nothing was changed.\n", operator.name)));
            }
            let printed = print(&format!("Revoked {}. Their tokens open nothing any more.\n", operator.name));
            note_lack_of_admins(&store).await?;
            Ok(printed)
        })
    }
}

impl Rotate {
    fn run(&self) -> Result<ExitCode, String> {
        let (runtime, store) = self.database.open()?;
        let (at, who) = (Clock::system().wall(), person::who());
        let until = end_of(self.grace, at)?;
        runtime.block_on(async {
            let operator = find(&store, &self.name).await?;
            let token = Credential::operator_token()?;
            if !store.rotate_operator(&operator.name, &token.digest, &token.hint, until, self.why.actor(&who, at)).await.map_err(said)? {
                return Err(format!(
                    "{0} was revoked; add them under another name: breakwater operators add --role {1} NAME",
                    operator.name, operator.role
                ));
            }
            if self.json {
                let line = json!({"name": operator.name, "token": token.text, "hint": token.hint, "previous_until": table::rfc3339(until)});
                return Ok(print(&format!("{line}\n")));
            }
            let printed = print(&format!("{}\n", token.text));
            let end = if self.grace.is_zero() { "has ended".to_owned() } else { format!("works until {}", table::time(until)) };
            note(&format!("This is the new token of {}. It is shown this once. The one before {end}.", operator.name));
            Ok(printed)
        })
    }
}

impl SetRole {
    fn run(&self) -> Result<ExitCode, String> {
        let (runtime, store) = self.database.open()?;
        let (at, who) = (Clock::system().wall(), person::who());
        let role = self.role.role();
        runtime.block_on(async {
            let operator = find(&store, &self.name).await?;
            if operator.role == role.as_str() && operator.revoked_at.is_none() {
                return Ok(print(&format!("{} is {role} already; nothing was changed.\n", operator.name)));
            }
            if !store.set_operator_role(&operator.name, role, self.why.actor(&who, at)).await.map_err(said)? {
                return Err(format!(
                    "{} was revoked, and has no role; add them under another name: breakwater operators add --role {role} NAME",
                    operator.name
                ));
            }
            let printed = print(&format!("{} is {role} from now on, and was {}.\n", operator.name, operator.role));
            note_lack_of_admins(&store).await?;
            Ok(printed)
        })
    }
}

async fn note_lack_of_admins(store: &Store) -> Result<(), String> {
    if !store.operators().await.map_err(said)?.iter().any(|row| row.role == "admin" && row.revoked_at.is_none()) {
        note("No admin is left. Add one: breakwater operators add --role admin NAME");
    }
    Ok(())
}

/// The operator of that name, or a sentence that says who comes near.
async fn find(store: &Store, name: &str) -> Result<OperatorListing, String> {
    let mut operators = store.operators().await.map_err(said)?;
    match operators.iter().position(|row| row.name == name) {
        Some(place) => Ok(operators.swap_remove(place)),
        None => {
            let near = near(name, operators.into_iter().map(|row| row.name));
            let near = if near.is_empty() { String::new() } else { format!(" (near it: {})", near.join(", ")) };
            Err(format!("there is no operator {name:?}{near}; see who there is with: breakwater operators ls"))
        }
    }
}

const fn state(row: &OperatorListing) -> &'static str {
    if row.revoked_at.is_some() { "revoked" } else { "active" }
}

fn in_json(row: &OperatorListing) -> Value {
    json!({
        "name": row.name, "role": row.role, "hint": row.hint, "state": state(row), "created_at": table::rfc3339(row.created_at),
        "revoked_at": row.revoked_at.map(table::rfc3339), "previous_until": row.previous_until.map(table::rfc3339),
    })
}

/// A name that stands in a line of a log or a table without quotes.
fn sound_name(name: &str) -> Result<&str, String> {
    let sound = (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte));
    if sound { Ok(name) } else { Err("an operator's name has 1 to 64 letters, digits and . _ - @; nothing was changed".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_an_operator_can_stand_in_a_log() {
        assert!(sound_name("alice.b@example.com").is_ok());
        for name in ["", "a b", "a\n", "名", &"a".repeat(65)] {
            assert!(sound_name(name).is_err(), "{name:?}");
        }
    }
}

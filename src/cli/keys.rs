//! `breakwater keys`: what merchants authenticate with.
//!
//! A new key is printed once, alone on standard output, so that it can be piped to where it belongs; everything about it goes to standard
//! error. Nobody can show it again: the database has its SHA-256. Processes remember keys for ten seconds, so an end takes as long to be felt.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::credential::{self, Credential};
use super::database::DatabaseArgs;
use super::merchants::{ModeArg, said};
use super::person::{self, Why};
use super::{fail, note, print, table};
use crate::clock::Clock;
use crate::store::Store;
use crate::store::administration::{Found, KeyRow, MerchantRow, key_id};

/// The longest grace of a rotation.
const LONGEST_GRACE: Duration = Duration::from_hours(90 * 24);

/// Add, list, revoke or rotate merchants' keys
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater keys add \"Sample Shop\"
  breakwater keys rotate key_0123456789ab --grace 48h
  breakwater keys ls")]
pub struct KeysArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Add(Add),
    Ls(Ls),
    Revoke(Revoke),
    Rotate(Rotate),
}

/// Make a key for a merchant, and print it this once
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater keys add \"Sample Shop\" > key.txt
  breakwater keys add \"Sample Shop\" --mode live --json")]
struct Add {
    /// The merchant's name or id
    merchant: String,
    /// Which, where a test merchant and a live one have the same name
    #[arg(long, value_enum)]
    mode: Option<ModeArg>,
    /// Print one line of JSON: {"id","key","hint","merchant","merchant_id","mode","created_at"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// List keys: all, or one merchant's
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater keys ls
  breakwater keys ls \"Sample Shop\" --json")]
struct Ls {
    /// The merchant's name or id
    merchant: Option<String>,
    /// Which, where a test merchant and a live one have the same name
    #[arg(long, value_enum)]
    mode: Option<ModeArg>,
    /// Print one line of JSON: {"object":"list","data":[{"id","hint","merchant","merchant_id","mode","state","created_at","expires_at","revoked_at"}]}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// End a key now
///
/// Processes that serve forget it within ten seconds. Revoking it again changes nothing, and is no failure.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater keys revoke key_0123456789ab --why \"leaked in a log\"")]
struct Revoke {
    /// The key's id or hint, as `keys ls` shows them, or the key itself
    key: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Make a new key beside an old one, which ends by itself after a grace
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater keys rotate key_0123456789ab > key.txt
  breakwater keys rotate key_0123456789ab --grace 0s")]
struct Rotate {
    /// The old key's id or hint, as `keys ls` shows them, or the key itself
    key: String,
    /// How long the old key goes on working: 90s, 30m, 24h, 7d; 0s ends it now; at most 90d
    #[arg(long, default_value = "24h", value_parser = grace, value_name = "TIME")]
    grace: Duration,
    /// Print one line of JSON: {"id","key","hint","merchant","merchant_id","mode","created_at","replaces","replaced_until"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Does as asked.
pub fn run(args: &KeysArgs) -> ExitCode {
    let done = match &args.command {
        Command::Add(add) => add.run(),
        Command::Ls(ls) => ls.run(),
        Command::Revoke(revoke) => revoke.run(),
        Command::Rotate(rotate) => rotate.run(),
    };
    done.unwrap_or_else(|why| fail(&why))
}

impl Add {
    fn run(&self) -> Result<ExitCode, String> {
        let (runtime, store) = self.database.open()?;
        let (at, who) = (Clock::system().wall(), person::who());
        runtime.block_on(async {
            let merchant = merchant(&store, &self.merchant, self.mode, at).await?;
            let key = Credential::api_key(merchant.livemode)?;
            store.issue_key(merchant.id, &key.digest, &key.hint, self.why.actor(&who, at)).await.map_err(said)?;
            let (mode, id) = (table::mode(merchant.livemode), key_id(&key.digest));
            if self.json {
                return Ok(print(&format!(
                    "{}\n",
                    json!({
                        "id": id, "key": key.text, "hint": key.hint, "merchant": merchant.name, "merchant_id": merchant.id, "mode": mode,
                        "created_at": table::rfc3339(at),
                    })
                )));
            }
            let printed = print(&format!("{}\n", key.text));
            note(&format!("This is {id}, a {mode} key of {:?}. It is shown this once.", merchant.name));
            Ok(printed)
        })
    }
}

impl Ls {
    fn run(&self) -> Result<ExitCode, String> {
        let (runtime, store) = self.database.open()?;
        let now = Clock::system().wall();
        let keys = runtime.block_on(async {
            let of = match &self.merchant {
                Some(named) => Some(merchant(&store, named, self.mode, now).await?.id),
                None => None,
            };
            store.keys(of).await.map_err(said)
        })?;
        let wanted = |row: &&KeyRow| self.mode.is_none_or(|mode| mode.livemode() == row.livemode);
        let keys = keys.iter().filter(wanted);
        if self.json {
            let data: Vec<Value> = keys.map(|row| in_json(row, now)).collect();
            return Ok(print(&format!("{}\n", json!({"object": "list", "data": data}))));
        }
        let rows: Vec<Vec<String>> = keys
            .map(|row| {
                let end = row.revoked_at.or(row.expires_at).map_or(String::from("-"), table::time);
                vec![row.id(), row.hint.clone(), row.state(now).to_owned(), table::time(row.created_at), end, row.merchant_name.clone()]
            })
            .collect();
        if rows.is_empty() {
            return Ok(print("There is no key yet. Make one: breakwater keys add MERCHANT\n"));
        }
        Ok(print(&table::columns(&["ID", "KEY", "STATE", "CREATED", "ENDS", "MERCHANT"], &rows)))
    }
}

impl Revoke {
    fn run(&self) -> Result<ExitCode, String> {
        let (runtime, store) = self.database.open()?;
        let (at, who) = (Clock::system().wall(), person::who());
        runtime.block_on(async {
            let key = find(&store, &self.key).await?;
            let ended = store.revoke_key(&key.digest, self.why.actor(&who, at)).await.map_err(said)?;
            Ok(print(&if ended {
                format!("Revoked {} of {:?}. No process takes it after ten seconds from now.\n", key.id(), key.merchant_name)
            } else {
                format!("{} of {:?} was revoked already; nothing was changed.\n", key.id(), key.merchant_name)
            }))
        })
    }
}

impl Rotate {
    fn run(&self) -> Result<ExitCode, String> {
        let (runtime, store) = self.database.open()?;
        let (at, who) = (Clock::system().wall(), person::who());
        runtime.block_on(async {
            let old = find(&store, &self.key).await?;
            let state = old.state(at);
            let over = || format!("{} is {state}; make a new key with: breakwater keys add {}", old.id(), old.merchant);
            if matches!(state, "revoked" | "expired") {
                return Err(over());
            }
            let until = end_of(self.grace, at)?;
            // A key that was to end sooner does not get longer by being rotated again.
            let ends = old.expires_at.map_or(until, |earlier| earlier.min(until));
            let new = Credential::api_key(old.livemode)?;
            if !store.rotate_key(&old.digest, &new.digest, &new.hint, until, self.why.actor(&who, at)).await.map_err(said)? {
                return Err(over());
            }
            let (mode, id) = (table::mode(old.livemode), key_id(&new.digest));
            if self.json {
                return Ok(print(&format!(
                    "{}\n",
                    json!({
                        "id": id, "key": new.text, "hint": new.hint, "merchant": old.merchant_name, "merchant_id": old.merchant, "mode": mode,
                        "created_at": table::rfc3339(at), "replaces": old.id(), "replaced_until": table::rfc3339(ends),
                    })
                )));
            }
            let printed = print(&format!("{}\n", new.text));
            let end = if self.grace.is_zero() { "has ended".to_owned() } else { format!("works until {}", table::time(ends)) };
            note(&format!("This is {id}, a {mode} key of {:?}. It is shown this once. {} {end}.", old.merchant_name, old.id()));
            Ok(printed)
        })
    }
}

/// The merchant that is meant, or a sentence that says who could be.
async fn merchant(store: &Store, named: &str, mode: Option<ModeArg>, now: Timestamp) -> Result<MerchantRow, String> {
    match store.find_merchant(named, mode.map(ModeArg::livemode), now).await.map_err(said)? {
        Found::One(merchant) => Ok(merchant),
        other => {
            let next = match other {
                Found::InBothModes => "say which with --mode test or --mode live",
                _ => "see who there is with: breakwater merchants ls",
            };
            Err(format!("{}; {next}", other.complaint(named, mode.map(|mode| table::mode(mode.livemode())))))
        }
    }
}

/// The key that is meant: by its id, its hint, or itself.
async fn find(store: &Store, named: &str) -> Result<KeyRow, String> {
    let whole = named.starts_with("bwk_") && !named.contains('…');
    let digest = credential::digest(named);
    let mut fitting: Vec<KeyRow> = store.keys(None).await.map_err(said)?;
    fitting.retain(|row| if whole { row.digest == digest } else { row.id() == named || row.hint == named });
    match (fitting.pop(), fitting.is_empty()) {
        (Some(key), true) => Ok(key),
        (Some(key), false) => Err(format!("more than one key fits, {} and {} among them; name it by its id", key.id(), fitting[0].id())),
        // What may be a key is not repeated.
        (None, _) if whole => Err("no merchant has this key; see those that there are with: breakwater keys ls".to_owned()),
        (None, _) => Err(format!("there is no key {named:?}; see those that there are with: breakwater keys ls")),
    }
}

fn in_json(row: &KeyRow, now: Timestamp) -> Value {
    json!({
        "id": row.id(), "hint": row.hint, "merchant": row.merchant_name, "merchant_id": row.merchant, "mode": table::mode(row.livemode),
        "state": row.state(now), "created_at": table::rfc3339(row.created_at), "expires_at": row.expires_at.map(table::rfc3339),
        "revoked_at": row.revoked_at.map(table::rfc3339),
    })
}

/// When a grace that begins at `at` ends.
pub(super) fn end_of(grace: Duration, at: Timestamp) -> Result<Timestamp, String> {
    SignedDuration::try_from(grace).and_then(|grace| at.checked_add(grace)).map_err(|error| format!("the grace is too long: {error}"))
}

/// Reads `90s`, `30m`, `24h`, `7d`.
pub(super) fn grace(text: &str) -> Result<Duration, String> {
    const FORM: &str = "give a number with its unit: 0s, 30m, 24h or 7d, at most 90d";
    let unit = text.chars().next_back().ok_or(FORM)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(FORM.to_owned()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| FORM)?;
    let grace = Duration::from_secs(u64::from(number) * seconds);
    if grace <= LONGEST_GRACE { Ok(grace) } else { Err(FORM.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_has_a_unit_and_a_bound() {
        assert_eq!(grace("0s"), Ok(Duration::ZERO));
        assert_eq!(grace("24h"), Ok(Duration::from_hours(24)));
        assert_eq!(grace("90d"), Ok(LONGEST_GRACE));
        for wrong in ["", "24", "h", "-1h", "1.5h", "91d", "4294967296s", "1é"] {
            assert!(grace(wrong).is_err(), "{wrong}");
        }
    }
}

//! `breakwater audit`: who did what, when and why. The table takes no change, so this reads and nothing else.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::database::DatabaseArgs;
use super::merchants::said;
use super::{fail, print, table};
use crate::store::audit::{AuditRow, PageOfAudit};

/// Characters of what was before and after, in a line for people.
const SHOWN: usize = 60;

/// Read who did what, and why
#[derive(Debug, Args)]
#[command(after_help = "Example:
  breakwater audit ls --subject channel:stripe_main")]
pub struct AuditArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(Ls),
}

/// List acts, newest first
///
/// Acts are named KIND.ACT: merchant.add, key.add|rotate|revoke, operator.add|role|rotate|revoke, channel.override|override_end,
/// payment.requery|resolve_proposed|resolve_ordered|resolved, alert.acknowledge, webhook.reseal.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater audit ls
  breakwater audit ls --who operator:alice --since 2026-11-21T00:00:00Z
  breakwater audit ls --subject payment:pay_0193a1b2c3d47e5f80123456789abcde --json
  breakwater audit ls --act channel.override --limit 500")]
struct Ls {
    /// Only acts of this person: operator:NAME, or os:NAME for the command line
    #[arg(long, value_name = "WHO")]
    who: Option<String>,
    /// Only acts of this kind
    #[arg(long, value_name = "ACT")]
    act: Option<String>,
    /// Only acts on this: channel:ID, payment:ID, operator:NAME …
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// Only acts at this time or later, as 2026-11-21T22:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only acts before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// How many at most, the newest
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    limit: u16,
    /// Print one line of JSON: {"object":"list","data":[{"id","at","who","act","subject","why","before","after"}]}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Lists.
pub fn run(args: &AuditArgs) -> ExitCode {
    let Command::Ls(ls) = &args.command;
    ls.run().unwrap_or_else(|why| fail(&why))
}

impl Ls {
    fn run(&self) -> Result<ExitCode, String> {
        let (runtime, store) = self.database.open()?;
        let page = PageOfAudit {
            before: None,
            who: self.who.clone(),
            act: self.act.clone(),
            subject: self.subject.clone(),
            since: self.since,
            until: self.until,
            limit: self.limit.into(),
        };
        let rows = runtime.block_on(store.audit(&page)).map_err(said)?;
        if self.json {
            let data: Vec<Value> = rows.iter().map(in_json).collect();
            return Ok(print(&format!("{}\n", json!({"object": "list", "data": data}))));
        }
        if rows.is_empty() {
            return Ok(print("No such act is on record.\n"));
        }
        let lines: Vec<Vec<String>> = rows.iter().map(line).collect();
        Ok(print(&table::columns(&["TIME", "WHO", "ACT", "SUBJECT", "WHY", "BEFORE → AFTER"], &lines)))
    }
}

fn line(row: &AuditRow) -> Vec<String> {
    let why = row.why.as_deref().map_or("-".to_owned(), |why| why.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect());
    let change = format!("{} → {}", shortened(&row.before), shortened(&row.after));
    vec![table::time(row.at), row.who.clone(), row.act.clone(), row.subject.clone(), why, change]
}

fn shortened(value: &Value) -> String {
    if value.is_null() {
        return "-".to_owned();
    }
    let text = value.to_string();
    if text.chars().count() <= SHOWN { text } else { text.chars().take(SHOWN).chain(['…']).collect() }
}

fn in_json(row: &AuditRow) -> Value {
    json!({
        "id": row.id, "at": table::rfc3339(row.at), "who": row.who, "act": row.act, "subject": row.subject, "why": row.why, "before": row.before,
        "after": row.after,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_shortened_by_letters() {
        assert_eq!(shortened(&Value::Null), "-");
        assert_eq!(shortened(&json!({"mode": "drain"})), "{\"mode\":\"drain\"}");
        assert_eq!(shortened(&json!("é".repeat(100))).chars().count(), SHOWN + 1);
    }
}

//! `breakwater notifications retry`: what was set aside of the providers' messages waits in the inbox again, and the pollers of the processes that run
//! take it up within seconds.
//!
//! They are taken up as if they had just come, with all patience anew. What is quarantined because of what it says (it contradicts what is known, it
//! names no payment of ours) was set aside by nobody, and stays: to apply it once more would come to the same.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::database::DatabaseArgs;
use super::merchants::said;
use super::person::{self, Why};
use super::{fail, note, print};
use crate::clock::Clock;
use crate::store::notification::RETRY_MOST;

/// Have the providers' messages applied that were set aside
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater notifications retry --channel stripe_main --why \"the row is mended\"
  breakwater notifications retry --help")]
pub struct NotificationsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Retry(Retry),
}

/// Put back into the inbox what was set aside: for faults of ours, unread, or because its channel was silent or in no settings
///
/// Mend the reason first: each message has five more tries, its channel one more hour to answer, and a process that has the channel two more hours to
/// come up.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater notifications retry
  breakwater notifications retry --channel stripe_main --why \"the row is mended\" --json")]
struct Retry {
    /// Only those of this channel, which need not be in the settings any more
    #[arg(long, value_name = "ID")]
    channel: Option<String>,
    /// Print one line of JSON: {"object":"notification_retry","notifications","has_more"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// Does as asked.
pub fn run(args: &NotificationsArgs) -> ExitCode {
    match &args.command {
        Command::Retry(retry) => retry.run().unwrap_or_else(|why| fail(&why)),
    }
}

impl Retry {
    fn run(&self) -> Result<ExitCode, String> {
        let (runtime, store) = self.database.open()?;
        let (at, who) = (Clock::system().wall(), person::who());
        let back = runtime.block_on(store.retry_notifications(self.channel.as_deref(), self.why.actor(&who, at))).map_err(said)?;
        if self.json {
            return Ok(print(&format!("{}\n", json!({"object": "notification_retry", "notifications": back, "has_more": back >= RETRY_MOST}))));
        }
        let printed = match back {
            0 => print("Nothing that fits is set aside.\n"),
            1 => print("1 notification is in the inbox again.\n"),
            _ => print(&format!("{back} notifications are in the inbox again.\n")),
        };
        if back >= RETRY_MOST {
            note("There may be more: run it again once these are applied.");
        }
        Ok(printed)
    }
}

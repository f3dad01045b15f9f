//! `breakwater payments requery`: what is open is due at once; the pollers of the processes that run find it at their next sweep.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::super::database::DatabaseArgs;
use super::super::merchants::said;
use super::super::person::{self, Why};
use super::super::{note, print};
use crate::clock::Clock;
use crate::domain::PaymentId;
use crate::store::doubt::{REQUERY_MOST, Requery as Wanted};

/// Have the channels asked now about what is open
///
/// A channel is asked no faster than its breaker and its share allow. What is not open is left alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater payments requery --since 2026-11-21T22:00:00Z
  breakwater payments requery --id pay_0193a1b2c3d47e5f80123456789abcde --why \"the shop asks\"
  breakwater payments requery --channel stripe_main --json")]
pub(super) struct Requery {
    /// Only what was tried at this time or later
    #[arg(long, value_name = "TIME", required_unless_present_any = ["id", "channel"])]
    since: Option<Timestamp>,
    /// Only this payment; may be given several times
    #[arg(long, value_name = "ID", conflicts_with_all = ["since", "channel"])]
    id: Vec<PaymentId>,
    /// Only at this channel
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// Print one line of JSON: {"object":"requery","attempts_due","has_more"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl Requery {
    pub(super) fn run(&self) -> Result<ExitCode, String> {
        let (runtime, store) = self.database.open()?;
        let (at, who) = (Clock::system().wall(), person::who());
        let wanted = Wanted { payments: (!self.id.is_empty()).then(|| self.id.clone()), channel: self.channel.clone(), since: self.since };
        let due = runtime.block_on(store.requery(&wanted, self.why.actor(&who, at))).map_err(said)?;
        if self.json {
            return Ok(print(&format!("{}\n", json!({"object": "requery", "attempts_due": due, "has_more": due >= REQUERY_MOST}))));
        }
        let printed = match due {
            0 => print("Nothing fits that is open and not due already.\n"),
            1 => print("1 attempt is due now.\n"),
            _ => print(&format!("{due} attempts are due now.\n")),
        };
        if due >= REQUERY_MOST {
            note("There may be more: run it again once these are asked after.");
        }
        Ok(printed)
    }
}

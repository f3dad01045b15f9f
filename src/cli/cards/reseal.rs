//! `breakwater cards reseal`: every card number, sealed anew under the key that the settings name as the newest.
//!
//! The way to a new key without a refund that cannot be made: add the key under `[cards] sealing_keys`, name it as `newest_key`, restart every
//! process, run this, and only when it has ended well take the old key away. It may be run while the system serves, and again: what lies under the
//! newest key is left alone. The audit holds the order before anything is touched, and what came of it, also when it stopped half-way.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::super::database::DatabaseArgs;
use super::super::merchants::said;
use super::super::person::{self, Why};
use super::super::print;
use crate::clock::Clock;
use crate::config::Settings;
use crate::router::vault;
use crate::store::{Store, StoreError};

/// The act's name in the audit, and what it is on.
const ACT: &str = "card.reseal";
const SUBJECT: &str = "cards";

/// Seal all card numbers under the newest sealing key
///
/// The keys come from the settings file: [cards] sealing_keys and newest_key. Run it when every process has been restarted with both the old key
/// and the new one; the old one may go when this has ended well.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater cards reseal --config breakwater.toml
  breakwater cards reseal --config breakwater.toml --why \"yearly change of keys\" --json

Exit codes: 0 all lie under the newest key, 1 a number does not open or something could not be read, 2 wrong usage.")]
pub(super) struct Reseal {
    /// The settings file, with the database and the keys
    #[arg(long, env = "BREAKWATER_CONFIG", default_value = "breakwater.toml", value_name = "FILE")]
    config: PathBuf,
    /// Print one line of JSON: {"object":"reseal","newest_key","resealed"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    why: Why,
}

impl Reseal {
    pub(super) fn run(&self) -> Result<ExitCode, String> {
        let faults = |faults: Vec<crate::config::Fault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let keys = Settings::load_cards(&self.config).map_err(faults)?.sealing_keys;
        let Some(newest) = keys.newest() else {
            return Err(format!("{}: [cards] sealing_keys is not set: there is no key to seal under; nothing was changed", self.config.display()));
        };
        let database = DatabaseArgs { database_url: None, config: Some(self.config.clone()) };
        let (runtime, store) = database.open()?;
        let resealed = runtime.block_on(async {
            self.tell(&store, json!({"state": "ordered", "newest_key": newest})).await.map_err(said)?;
            let done = vault::reseal(&store, &keys).await;
            let came_of_it = match &done {
                Ok(resealed) => json!({"state": "done", "newest_key": newest, "resealed": resealed}),
                Err(why) => json!({"state": "stopped", "newest_key": newest, "error": why}),
            };
            let told = self.tell(&store, came_of_it).await;
            let resealed = done.map_err(|why| format!("{why}; what was sealed anew before stays so, and no key may be taken away yet"))?;
            told.map_err(|error| format!("{resealed} card numbers were sealed anew, but the audit has only the order: {error}"))?;
            Ok::<u64, String>(resealed)
        })?;
        Ok(if self.json {
            print(&format!("{}\n", json!({"object": "reseal", "newest_key": newest, "resealed": resealed})))
        } else {
            print(&format!("{resealed} card numbers were sealed anew; all lie under {newest}, and the other keys may go.\n"))
        })
    }

    async fn tell(&self, store: &Store, after: Value) -> Result<(), StoreError> {
        let who = person::who();
        store.note_act(ACT, SUBJECT, &Value::Null, &after, self.why.actor(&who, Clock::system().wall())).await
    }
}

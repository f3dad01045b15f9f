//! `breakwater webhooks reseal`: every endpoint's signing secrets, sealed anew under the key that the settings give now.
//!
//! The way to a new key without a moment in which a webhook is not signed: name the new one as `sealing_key` and the old one as
//! `previous_sealing_key`, restart every process, run this, take the previous one away, restart again. It may be run at any time and as often as
//! one likes: what is sealed under the key of now is left alone.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use secrecy::ExposeSecret;
use serde_json::json;
use uuid::Uuid;

use super::super::database::DatabaseArgs;
use super::super::merchants::said;
use super::super::person::{self, Why};
use super::super::{note, print};
use crate::clock::Clock;
use crate::config::Settings;
use crate::notifier::seal::{SealError, Sealer};
use crate::store::Store;
use crate::store::webhook::endpoint::SealedSecrets;

/// Endpoints that are read at a time.
const BATCH: i64 = 200;

/// Seal the signing secrets of all webhook endpoints under the sealing key of now
///
/// Both keys come from the settings file: [webhooks] sealing_key, and previous_sealing_key for what was sealed before. Run it when every process
/// has been restarted with both.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater webhooks reseal --config breakwater.toml
  breakwater webhooks reseal --config breakwater.toml --why \"yearly change of keys\" --json

Exit codes: 0 all is sealed under the key of now, 1 something stays shut or could not be read, 2 wrong usage.")]
pub(super) struct Reseal {
    /// The settings file, with the database and both keys
    #[arg(long, env = "BREAKWATER_CONFIG", default_value = "breakwater.toml", value_name = "FILE")]
    config: PathBuf,
    /// Print one line of JSON: {"object":"reseal","resealed","left_alone","shut":["whe_…"]}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    why: Why,
}

/// What was done.
#[derive(Default)]
struct Done {
    resealed: usize,
    left_alone: usize,
    /// Endpoints whose secrets no key of ours opens.
    shut: Vec<String>,
}

impl Reseal {
    pub(super) fn run(&self) -> Result<ExitCode, String> {
        let faults = |faults: Vec<crate::config::Fault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let (_, webhooks) = Settings::load_webhooks(&self.config).map_err(faults)?;
        let Some(key) = webhooks.sealing_key else {
            return Err(format!("{}: [webhooks] sealing_key is not set: there is no key to seal under; nothing was changed", self.config.display()));
        };
        let database = DatabaseArgs { database_url: None, config: Some(self.config.clone()) };
        let (runtime, store) = database.open()?;
        let done = runtime.block_on(async {
            let installation = store.installation_secret().await.map_err(said)?;
            let installation = installation.ok_or("the database has never been served: there is nothing to seal")?;
            let previous = webhooks.previous_sealing_key.as_ref().map(ExposeSecret::expose_secret);
            let sealer = Sealer::new(&installation, Some(key.expose_secret())).and_then(|sealer| sealer.opening_previous(previous));
            self.reseal_all(&store, &sealer.map_err(|error| error.to_string())?).await
        })?;
        let Done { resealed, left_alone, shut } = &done;
        let printed = if self.json {
            print(&format!("{}\n", json!({"object": "reseal", "resealed": resealed, "left_alone": left_alone, "shut": shut})))
        } else {
            print(&format!("{resealed} endpoints were sealed anew, {left_alone} were already.\n"))
        };
        if shut.is_empty() {
            return Ok(printed);
        }
        note(&format!(
            "No key opens the secrets of {}: name the key that they were sealed under as previous_sealing_key, or have their merchants rotate them.",
            shut.join(", ")
        ));
        Ok(ExitCode::FAILURE)
    }

    async fn reseal_all(&self, store: &Store, sealer: &Sealer) -> Result<Done, String> {
        let (at, who) = (Clock::system().wall(), person::who());
        let mut done = Done::default();
        let mut after = Uuid::nil();
        loop {
            let batch = store.sealed_secrets(after, BATCH).await.map_err(said)?;
            let Some(last) = batch.last() else { return Ok(done) };
            after = last.id.0;
            for read in &batch {
                match anew(sealer, read) {
                    Err(_) => done.shut.push(read.id.to_string()),
                    Ok(None) => done.left_alone += 1,
                    Ok(Some(SealedAnew { secret, previous })) => {
                        // One that was rotated in between was sealed anew by that.
                        let changed = store.reseal(read, &secret, previous.as_deref(), self.why.actor(&who, at)).await.map_err(said)?;
                        if changed { done.resealed += 1 } else { done.left_alone += 1 }
                    }
                }
            }
        }
    }
}

/// An endpoint's secrets, sealed under the key of now.
struct SealedAnew {
    secret: Vec<u8>,
    previous: Option<Vec<u8>>,
}

/// Both secrets of an endpoint, sealed anew where they must be; `None` when neither must. The one before a rotation that no key opens any more is
/// left as it is: it ends by itself within a day.
fn anew(sealer: &Sealer, read: &SealedSecrets) -> Result<Option<SealedAnew>, SealError> {
    let secret = sealer.reseal(read.id, &read.secret)?;
    let previous = read.previous.as_ref().map(|previous| sealer.reseal(read.id, previous).unwrap_or(None));
    if secret.is_none() && !matches!(previous, Some(Some(_))) {
        return Ok(None);
    }
    let previous = previous.map(|anew| anew.or_else(|| read.previous.clone()).unwrap_or_default());
    Ok(Some(SealedAnew { secret: secret.unwrap_or_else(|| read.secret.clone()), previous }))
}

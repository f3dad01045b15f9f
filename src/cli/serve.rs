//! `breakwater serve`: the product, from a settings file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use secrecy::ExposeSecret;

use super::fail;
use crate::app::{self, Plan};
use crate::clock::Clock;
use crate::config::Settings;
use crate::store::Store;
use crate::telemetry;

/// Serve payments from a settings file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater config example > breakwater.toml
  breakwater config check --config breakwater.toml
  BREAKWATER_DATABASE_URL=postgres://… breakwater serve --config breakwater.toml

SIGTERM or SIGINT stops it: /readyz answers 503, what is in flight finishes, exit code 0.")]
pub struct ServeArgs {
    /// The settings file
    #[arg(long, short, default_value = "breakwater.toml", env = "BREAKWATER_CONFIG")]
    pub config: PathBuf,
}

/// Serves until it is told to stop.
pub fn run(args: &ServeArgs) -> ExitCode {
    let settings = match Settings::load(&args.config) {
        Ok(settings) => settings,
        Err(faults) => {
            let list: Vec<String> = faults.iter().map(ToString::to_string).collect();
            return fail(&list.join("\n"));
        }
    };
    telemetry::install_logs(settings.log.format, settings.log.level);
    let database_url = settings.database.url.expose_secret().to_owned();
    let config = args.config.clone();
    let served = Plan::new(settings, database_url, Clock::system()).and_then(|plan| {
        let address = plan.listener.local_addr();
        app::run(plan, move |running| {
            if let Ok(address) = address {
                tracing::info!(%address, "ready");
            }
            actix::spawn(async move { hint_at_first_operator(&running.store, &config).await });
        })
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

/// An installation without operators serves payments, but nobody can see or change anything under `/ops`: says how to add the first.
async fn hint_at_first_operator(store: &Store, config: &Path) {
    if let Ok(false) = store.has_operator().await {
        let next = format!("breakwater operators add --role admin NAME --config {}", config.display());
        tracing::warn!(next, "there is no operator yet: add the first one");
    }
}

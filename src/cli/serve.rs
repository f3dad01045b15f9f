//! `breakwater serve`: the product, from a settings file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use secrecy::ExposeSecret;

use super::{explain, fail};
use crate::app::{self, Plan};
use crate::clock::Clock;
use crate::config::Settings;
use crate::telemetry;

/// Serve payments from a settings file
///
/// It brings the schema up to date first. It has no TLS of its own: put a proxy in front.
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
            for fault in &faults {
                fail(&fault.to_string());
            }
            return ExitCode::FAILURE;
        }
    };
    telemetry::install_logs(settings.log.format, settings.log.level);
    let database_url = settings.database.url.expose_secret().to_owned();
    let served = Plan::new(settings, database_url, Clock::system()).and_then(|plan| {
        let address = plan.listener.local_addr();
        app::run(plan, move |_| {
            if let Ok(address) = address {
                tracing::info!(%address, "ready");
            }
        })
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&explain(&error)),
    }
}

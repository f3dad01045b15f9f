//! `breakwater serve`: the product, from a settings file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use secrecy::ExposeSecret;
use tokio::signal::unix::{SignalKind, signal};

use super::{explain, fail};
use crate::app::{self, Plan};
use crate::clock::Clock;
use crate::config::Settings;
use crate::crash::{self, CrashAt};
use crate::domain::Part;
use crate::store::Store;
use crate::telemetry;

/// Serve payments from a settings file
///
/// It brings the schema up to date first. TLS is in [server.tls] of the settings, or in a proxy's hands.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater config example > breakwater.toml
  breakwater config check --config breakwater.toml
  BREAKWATER_DATABASE_URL=postgres://… breakwater serve --config breakwater.toml
  breakwater serve --roles payment,notifier        (and others with the rest, on the same database)

SIGTERM or SIGINT stops it: /readyz answers 503, what is in flight finishes, exit code 0.
SIGHUP reads the certificates of [server.tls] and the settings file again: a new log.level counts at once, of everything else it is logged that it needs a restart; a file with
faults changes nothing, and its faults are logged.")]
pub struct ServeArgs {
    /// The settings file
    #[arg(long, short, default_value = "breakwater.toml", env = "BREAKWATER_CONFIG")]
    pub config: PathBuf,
    /// The parts of the work to take on, instead of [server] roles: payment, refund, poller, notifier, ops
    #[arg(long, value_delimiter = ',', value_name = "ROLE,…")]
    pub roles: Vec<Part>,
    /// Dies at once when this point is passed for the n-th time: for tests of crashes, and refused where a channel is live
    #[arg(long, hide = true, value_name = "POINT:N", env = crash::CRASH_AT)]
    pub crash_at: Option<CrashAt>,
}

/// Serves until it is told to stop.
pub fn run(args: &ServeArgs) -> ExitCode {
    let mut settings = match Settings::load(&args.config) {
        Ok(settings) => settings,
        Err(faults) => {
            for fault in &faults {
                fail(&fault.to_string());
            }
            return ExitCode::FAILURE;
        }
    };
    if !args.roles.is_empty() {
        settings.server.roles = args.roles.iter().copied().collect();
    }
    telemetry::install_logs(settings.log.format, settings.log.level);
    if let Some(at) = args.crash_at {
        if let Some(live) = settings.channels.iter().find(|channel| channel.mode.livemode()) {
            let why = "no process lets itself be crashed while a channel is live";
            return fail(&format!("{at}: {why}, and {} is; unset {}", live.id, crash::CRASH_AT));
        }
        tracing::warn!(%at, "this process will kill itself at a crash point");
        crash::arm(at);
    }
    let database_url = settings.database.url.expose_secret().to_owned();
    let (config, running_with) = (args.config.clone(), settings.clone());
    let served = Plan::new(settings, database_url, Clock::system()).and_then(|plan| {
        let address = plan.listener.local_addr();
        app::run(plan, move |running| {
            if let Ok(address) = address {
                tracing::info!(%address, "ready");
            }
            actix::spawn(read_again_when_asked(config.clone(), running_with));
            actix::spawn(async move { hint_at_first_operator(&running.store, &config).await });
        })
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&explain(&error)),
    }
}

/// At each SIGHUP: reads the settings file, takes over what can be, and says what cannot.
async fn read_again_when_asked(config: PathBuf, mut running_with: Settings) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return tracing::warn!(%error, "SIGHUP cannot be listened to: the settings are read at the start only"),
    };
    while hangups.recv().await.is_some() {
        let new = match Settings::load(&config) {
            Ok(new) => new,
            Err(faults) => {
                for fault in faults {
                    tracing::error!(%fault, "the settings have a fault: nothing was changed");
                }
                continue;
            }
        };
        let differences = running_with.differences(&new);
        if differences.level && telemetry::set_log_level(new.log.level) {
            tracing::info!(from = %running_with.log.level, to = %new.log.level, "the log's level was changed");
            running_with.log.level = new.log.level;
        }
        if !differences.at_restart.is_empty() {
            tracing::warn!(changed = differences.at_restart.join(", "), "these settings differ, and count from the next start");
        } else if !differences.level {
            tracing::info!("the settings were read again: nothing differs");
        }
    }
}

/// An installation without operators serves payments, but nobody can see or change anything under `/ops`: says how to add the first.
async fn hint_at_first_operator(store: &Store, config: &Path) {
    if let Ok(false) = store.has_operator().await {
        let next = format!("breakwater operators add --role admin NAME --config {}", config.display());
        tracing::warn!(next, "there is no operator yet: add the first one");
    }
}

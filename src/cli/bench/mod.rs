//! `breakwater bench`: what the promises are worth while something breaks. It starts a whole private system, offers it payments at a constant
//! rate, breaks one thing, heals it, and has a referee compare what the third parties charged, what our tables say, and what clients were told.
//!
//! Two scenarios break the process itself, as often as is asked for (`deaths.rs`): `kill --kills N`, and `crash_points`. All others break one thing
//! once (`outage.rs`); two of them lose the database's primary (`pair.rs`): `primary_killed` and `primary_cut_off`.
//!
//! `arguments.rs` is what may be asked for, `stage.rs` the system (`third_parties.rs` those at the other end of its wires), `scenario.rs` what breaks,
//! `load.rs` the payments (an open loop: nobody waits for anybody), `referee.rs` and `report.rs` what comes out (`toll.rs` of deaths, `healed.rs` of a
//! channel that is back). The settings it runs under are `benches/four_banks.toml`. A seed repeats the orders, and the sandbox's dice; what the machine
//! does between them is not repeated. Durations are reported and never judged: the exit code is about money alone.

mod arguments;
mod caller;
mod certificates;
mod deaths;
mod healed;
mod load;
mod outage;
mod pair;
mod process;
mod receiver;
pub mod referee;
mod report;
mod scenario;
mod stage;
mod third_parties;
pub mod told;
mod toll;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

pub use self::arguments::BenchArgs;
use self::arguments::{PayWith, command};
use self::pair::Pair;
use self::report::Report;
use self::scenario::Scenario;
use self::stage::{Props, Stage};
use self::toll::Toll;
use super::{fail, note, print};

/// Between two looks whether everything has ended.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a channel may take: far beyond the sandbox's worst.
const TIMEOUT_MS: u64 = 1_000;
/// The same where a process lives for a second, and should see an answer lost in it.
const MORTAL_TIMEOUT_MS: u64 = 400;

/// Runs one scenario to its verdict.
pub fn run(args: &BenchArgs) -> ExitCode {
    match bench(args) {
        Ok(outcome) => {
            let printed = print(&outcome.shown(args.json));
            if outcome.holds() { printed } else { fail("the books do not hold, or a point was not reached: the evidence is above") }
        }
        Err(complaint) => fail(&complaint),
    }
}

/// What came out.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome {
    Report(Box<Report>),
    Toll(Toll),
}

impl Outcome {
    fn holds(&self) -> bool {
        match self {
            Self::Report(report) => report.holds(),
            Self::Toll(toll) => toll.holds(),
        }
    }

    fn shown(&self, json: bool) -> String {
        match self {
            _ if json => serde_json::to_string(self).unwrap_or_default() + "\n",
            Self::Report(report) => report.in_words(),
            Self::Toll(toll) => toll.in_words(),
        }
    }
}

fn bench(args: &BenchArgs) -> Result<Outcome, String> {
    if matches!((args.scenario, args.pay_with), (Scenario::TlsBroken, PayWith::Stripe)) {
        return Err("the sandbox's Stripe is without TLS: give --pay-with banks".to_owned());
    }
    let course = args.course();
    let loses_the_primary = args.scenario.loses_the_primary();
    if loses_the_primary && args.promote_after_ms > args.fault_s * 500 {
        return Err("--promote-after-ms is more than half of --fault-s: the standby would be promoted when all is over".to_owned());
    }
    let folder = folder(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|error| error.to_string())?;
    let flooded = args.scenario.flood() > 0.0;
    let props = Props {
        processes: usize::from(args.processes),
        merchants: usize::from(args.merchants) + usize::from(flooded),
        // What a merchant may send is no subject here, unless one sends too much.
        writes_per_second: if flooded { args.rate * 2 } else { 1_000_000 },
        victim: args.pay_with.victim(),
        timeout_ms: if course.is_some() { MORTAL_TIMEOUT_MS } else { TIMEOUT_MS },
        seed: args.seed,
        promote_after: loses_the_primary.then(|| Duration::from_millis(args.promote_after_ms)),
    };
    note("starting a private Postgres, the sandbox and Breakwater");
    let mut stage = Stage::build(&folder, props, &runtime)?;
    let outcome = match &course {
        Some(course) => deaths::play(args, course, command(args), &mut stage, &runtime).map(Outcome::Toll),
        None => outage::play(args, &mut stage, &runtime).map(|report| Outcome::Report(Box::new(report))),
    };
    drop(stage);
    match &outcome {
        Ok(outcome) if outcome.holds() && args.data_dir.is_none() => {
            for cluster in Pair::folders() {
                let _ = crate::cluster::Cluster::erase(&folder.join(cluster), &crate::cluster::ClusterOptions::default());
            }
            let _ = std::fs::remove_dir_all(&folder);
        }
        _ => note(&format!("database, books and logs are kept in {}", folder.display())),
    }
    outcome
}

/// Where everything lies; short, because a socket's path is, and one that other accounts may pass, as Postgres's must when we are root.
fn folder(args: &BenchArgs) -> Result<PathBuf, String> {
    let folder = match &args.data_dir {
        Some(given) => given.clone(),
        None => Path::new("/tmp").join(format!("breakwater-bench-{}", uuid::Uuid::new_v4().simple())),
    };
    if folder.join(Pair::folders()[1]).exists() {
        return Err(format!(
            "{}: a run that lost its primary has used it, and its database is locked with that run's password; give another --data-dir",
            folder.display()
        ));
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder);
    made.and_then(|()| folder.canonicalize()).map_err(|error| format!("{}: {error}; give another --data-dir", folder.display()))
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn roll(dice: &mut u64) -> u64 {
    *dice = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *dice;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

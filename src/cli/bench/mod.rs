//! `breakwater bench`: what the promises are worth while something breaks. It starts a whole private system, offers it payments at a constant
//! rate, breaks one thing, heals it, and has a referee compare what the third parties charged, what our tables say, and what clients were told.
//!
//! Two scenarios break the process itself, as often as is asked for (`deaths.rs`): `kill --kills N`, and `crash_points`.
//!
//! Two lose the database's primary (`pair.rs`): `primary_killed` and `primary_cut_off`.
//!
//! `stage.rs` is the system, `scenario.rs` what breaks, `load.rs` the payments (an open loop: nobody waits for anybody), `referee.rs` and
//! `report.rs` what comes out (`toll.rs` of deaths, `healed.rs` of a channel that is back). The settings it runs under are `benches/four_banks.toml`. A seed repeats the orders, and the
//! sandbox's dice; what the machine does between them is not repeated. Durations are reported and never judged: the exit code is about money alone.

mod caller;
mod certificates;
mod deaths;
mod healed;
mod load;
mod pair;
mod receiver;
pub mod referee;
mod report;
mod scenario;
mod stage;
pub mod told;
mod toll;

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;
use tokio::runtime::Runtime;

use self::caller::Caller;
use self::deaths::Course;
use self::healed::{Healed, Watcher};
use self::load::{Order, Shop, Wish};
use self::pair::Pair;
use self::report::{Judged, Report, Times};
use self::scenario::Scenario;
use self::stage::{Props, Stage};
use self::toll::Toll;
use super::{fail, note, print};
use crate::crash::Point;

/// Between two looks whether everything has ended.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Between two forged notifications of the flood.
const FORGED_EVERY: Duration = Duration::from_millis(20);
/// How long a channel may take: far beyond the sandbox's worst.
const TIMEOUT_MS: u64 = 1_000;
/// The same where a process lives for a second, and should see an answer lost in it.
const MORTAL_TIMEOUT_MS: u64 = 400;
/// One order in so many is partly given back.
const REFUNDED_ONE_IN: u64 = 10;

/// Break one thing under load, and check the money
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  breakwater bench refused
  breakwater bench black_hole --rate 100 --fault-s 20 --json > black_hole.json
  breakwater bench kill --processes 2 --seed 7
  breakwater bench slow --pay-with stripe
  breakwater bench primary_killed --processes 2
  breakwater bench primary_cut_off --promote-after-ms 3000
  breakwater bench kill --kills 200 --pay-with both
  breakwater bench crash_points --each 20 --pay-with both
  breakwater bench crash_points --each 1 --points payment_written,payment_answered

The load is an open loop: each payment has a time of its own, and latency counts from it. Postgres 15 or later must be on this machine (its
programs, not a running server). Durations depend on the machine, and are only reported.
Exit codes: 0 double, lost, orphan and stuck are all 0; 1 one is not, a point was not reached, or it could not run; 2 wrong usage.")]
pub struct BenchArgs {
    /// What goes wrong
    #[arg(value_enum)]
    scenario: Scenario,
    /// Card numbers over four banks of equal priority, or card tokens over one Stripe account, or both in turn; the first bank, or Stripe, breaks
    #[arg(long, value_enum, default_value = "banks")]
    pay_with: PayWith,
    /// Payments a second
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// Seconds of load before the fault
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    before_s: u64,
    /// Seconds that the fault lasts
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    fault_s: u64,
    /// Seconds of load after it
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    after_s: u64,
    /// Processes that serve, over one database
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    processes: u8,
    /// Merchants that the payments come from
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=100))]
    merchants: u8,
    /// Repeats the same orders and the sandbox's dice
    #[arg(long, default_value_t = 20_261_122)]
    seed: u64,
    /// What still counts as in time, in milliseconds from the intended time
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    in_time_ms: u64,
    /// What is open after so many seconds, once the last payment was sent, is stuck
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    ends_within_s: u64,
    /// How often the process is killed (kill), one cycle after the other [default: twice, in the middle of the load]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    kills: Option<u32>,
    /// How often the process dies at each point (crash_points)
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    each: u32,
    /// Which points (crash_points) [default: all that such payments pass]
    #[arg(long, value_delimiter = ',', value_name = "POINT,…")]
    points: Vec<Point>,
    /// How long after the primary was lost its standby is promoted (primary_killed, primary_cut_off), in milliseconds; at most half of the fault
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_800_000))]
    promote_after_ms: u64,
    /// Keep database, books and logs here [default: a temporary folder, kept only if the books do not hold]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Print one line of JSON, with every second
    #[arg(long)]
    json: bool,
}

/// How the orders are paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PayWith {
    Banks,
    Stripe,
    Both,
}

impl PayWith {
    const fn victim(self) -> &'static str {
        match self {
            Self::Banks | Self::Both => "bank_1",
            Self::Stripe => "stripe_1",
        }
    }

    /// No card that anybody has: its issuer is not one.
    fn methods(self) -> Vec<serde_json::Value> {
        let card = || json!({"type": "card", "number": "4242424242424242", "exp_month": 12, "exp_year": 2099});
        let token = || json!({"type": "card_token", "token": "pm_card_visa"});
        match self {
            Self::Banks => vec![card()],
            Self::Stripe => vec![token()],
            Self::Both => vec![card(), token()],
        }
    }

    /// Whether such payments ever pass it.
    fn passes(self, point: Point) -> bool {
        let at_banks_only = matches!(
            point,
            Point::NumbersLeased
                | Point::CardSealed
                | Point::FrameWritten
                | Point::NextChannelWritten
                | Point::ReversalWritten
                | Point::ReversalAnswered
        );
        let at_stripe_only =
            matches!(point, Point::StepAnswered | Point::StepWritten | Point::NotificationStored | Point::NotificationApplied | Point::QueryAnswered);
        match self {
            Self::Banks => !at_stripe_only,
            Self::Stripe => !at_banks_only,
            Self::Both => true,
        }
    }
}

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

impl BenchArgs {
    /// How the processes die, where that is what goes wrong.
    fn course(&self) -> Option<Course> {
        match (self.scenario, self.kills) {
            (Scenario::Kill, Some(kills)) => Some(Course::Kills(kills)),
            (Scenario::CrashPoints, _) if self.points.is_empty() => {
                let all = Point::ALL.iter().copied().filter(|point| self.pay_with.passes(*point)).collect();
                Some(Course::Points(all, self.each))
            }
            (Scenario::CrashPoints, _) => Some(Course::Points(self.points.clone(), self.each)),
            _ => None,
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
        None => play(args, &mut stage, &runtime).map(|report| Outcome::Report(Box::new(report))),
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

fn play(args: &BenchArgs, stage: &mut Stage, runtime: &Runtime) -> Result<Report, String> {
    let seconds = Duration::from_secs;
    let begun = seconds(args.before_s);
    let mut times = Times {
        begun,
        promoted: None,
        ended: begun + seconds(args.fault_s),
        whole: begun + seconds(args.fault_s + args.after_s),
        in_time: Duration::from_millis(args.in_time_ms),
    };
    let orders = orders(args, times);
    let start = tokio::time::Instant::now() + Duration::from_millis(200);
    let until = start + times.whole + seconds(args.ends_within_s);
    let shop = Arc::new(Shop {
        callers: stage.addresses().iter().map(|address| Caller::new(*address)).collect(),
        keys: stage.keys().to_vec(),
        methods: args.pay_with.methods(),
        next: AtomicUsize::new(0),
        start,
        gives_up_ms: AtomicU64::new(0),
    });
    shop.give_up_at(until);
    note(&format!("{} orders over {} s", orders.len(), times.whole.as_secs()));
    let load = runtime.spawn(load::drive(Arc::clone(&shop), orders.into_iter()));
    let victim = args.scenario.hits_a_channel().then(|| args.pay_with.victim().to_owned());
    let callers = stage.addresses().iter().map(|address| Caller::new(*address)).collect();
    let watcher = Watcher { callers, token: stage.viewer().to_owned(), start };
    let mut well = Vec::new();
    if let Some(victim) = &victim {
        wait_until(start + begun.saturating_sub(healed::WATCHED).max(begun / 2));
        well.extend(runtime.block_on(watcher.look_at(victim)));
    }
    wait_until(start + begun);
    if let Some(victim) = &victim {
        well.extend(runtime.block_on(watcher.look_at(victim)));
    }
    args.scenario.begin(stage)?;
    // Whoever loses the primary returns when its standby has been promoted.
    times.promoted = args.scenario.loses_the_primary().then(|| start.elapsed());
    let forging = (args.scenario.flood() > 0.0).then(|| runtime.spawn(load::forge(Arc::clone(&shop), "stripe_1".to_owned(), FORGED_EVERY)));
    wait_until(start + begun + seconds(args.fault_s) / 2);
    args.scenario.turn(stage)?;
    wait_until(start + times.ended);
    args.scenario.end(stage)?;
    let watching = victim.clone().map(|victim| runtime.spawn(async move { watcher.watch(&victim, start + times.whole).await }));
    if let Some(forging) = forging {
        forging.abort();
    }
    wait_until(start + times.whole);
    note("the last order is sent; waiting for the end of what is open");
    let told = runtime.block_on(load).map_err(|error| format!("the load broke off: {error}"))?;
    let (resolved_after, books, integrity) = runtime.block_on(async {
        let store = stage.store().await?;
        while tokio::time::Instant::now() < until && store.open_attempts().await.map_err(|error| error.to_string())? > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let resolved_after = start.elapsed().saturating_sub(times.whole);
        let books = store.books().await.map_err(|error| error.to_string())?;
        Ok::<_, String>((resolved_after, books, stage.integrity(&store).await?))
    })?;
    let after = watching.map_or(Ok(Vec::new()), |watching| runtime.block_on(watching)).map_err(|error| format!("watching broke off: {error}"))?;
    let healed = Healed::new(&well, &after);
    let verdict = referee::judge(&books, &stage.third_parties_book()?, &told);
    Ok(Report::new(args.scenario.name(), victim, command(args), &told, times, Judged { verdict, integrity, resolved_after, healed }))
}

/// Every order of the run, by its time.
fn orders(args: &BenchArgs, times: Times) -> Vec<Order> {
    let (rate, merchants) = (f64::from(args.rate), usize::from(args.merchants));
    let mut dice = args.seed;
    let mut orders: Vec<Order> = Vec::new();
    let phases = [
        (Duration::ZERO, times.begun, rate, false),
        (times.begun, times.ended, rate * args.scenario.times(), false),
        (times.ended, times.whole, rate, false),
        (times.begun, times.ended, rate * args.scenario.flood(), true),
    ];
    for (from, to, rate, flood) in phases {
        let count = (rate * (to - from).as_secs_f64()).round();
        for nth in 0..count as u64 {
            let drawn = roll(&mut dice);
            orders.push(Order {
                at: from + Duration::from_secs_f64(nth as f64 / rate),
                name: format!("order-{}-{}", args.seed, orders.len()),
                // Whole tens of minor units: none of the sandbox's magic amounts, nor is its half.
                amount: i64::try_from(1_000 + 20 * (drawn % 1_000)).unwrap_or(1_000),
                merchant: if flood { merchants } else { usize::try_from(drawn >> 32).unwrap_or(0) % merchants },
                wish: if !flood && (drawn >> 20).is_multiple_of(REFUNDED_ONE_IN) { Wish::GiveBack } else { Wish::Keep },
                means: orders.len() % args.pay_with.methods().len(),
                flood,
            });
        }
    }
    orders.sort_by_key(|order| order.at);
    orders
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn roll(dice: &mut u64) -> u64 {
    *dice = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *dice;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn wait_until(moment: tokio::time::Instant) {
    std::thread::sleep(moment.saturating_duration_since(tokio::time::Instant::now()));
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

/// What to type to have it again.
fn command(args: &BenchArgs) -> String {
    let pay_with = match args.pay_with {
        PayWith::Banks => "",
        PayWith::Stripe => " --pay-with stripe",
        PayWith::Both => " --pay-with both",
    };
    if let Some(course) = args.course() {
        let often = match course {
            Course::Kills(kills) => format!("--kills {kills}"),
            Course::Points(_, each) => format!("--each {each}"),
        };
        let (name, rate, merchants, seed) = (args.scenario.name(), args.rate, args.merchants, args.seed);
        return format!("breakwater bench {name}{pay_with} {often} --rate {rate} --merchants {merchants} --seed {seed}");
    }
    let promote_after = if args.scenario.loses_the_primary() { format!(" --promote-after-ms {}", args.promote_after_ms) } else { String::new() };
    format!(
        "breakwater bench {}{pay_with}{promote_after} --rate {} --before-s {} --fault-s {} --after-s {} --processes {} --merchants {} --seed {} --in-time-ms {}",
        args.scenario.name(),
        args.rate,
        args.before_s,
        args.fault_s,
        args.after_s,
        args.processes,
        args.merchants,
        args.seed,
        args.in_time_ms
    )
}

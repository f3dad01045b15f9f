//! What may be asked of a run, and how it is asked for again.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::deaths::Course;
use super::scenario::Scenario;
use crate::crash::Point;

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
    pub(super) scenario: Scenario,
    /// Card numbers over four banks of equal priority, or card tokens over one Stripe account, or both in turn; the first bank, or Stripe, breaks
    #[arg(long, value_enum, default_value = "banks")]
    pub(super) pay_with: PayWith,
    /// Payments a second
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(super) rate: u32,
    /// Seconds of load before the fault
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(super) before_s: u64,
    /// Seconds that the fault lasts
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(super) fault_s: u64,
    /// Seconds of load after it
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(super) after_s: u64,
    /// Processes that serve, over one database
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(super) processes: u8,
    /// Merchants that the payments come from
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(super) merchants: u8,
    /// Repeats the same orders and the sandbox's dice
    #[arg(long, default_value_t = 20_261_122)]
    pub(super) seed: u64,
    /// What still counts as in time, in milliseconds from the intended time
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub(super) in_time_ms: u64,
    /// What is open after so many seconds, once the last payment was sent, is stuck
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub(super) ends_within_s: u64,
    /// How often a process is killed (kill), one cycle after the other [default: twice, in the middle of the load]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) kills: Option<u32>,
    /// How often a process dies at each point (crash_points)
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) each: u32,
    /// Which points (crash_points) [default: all that such payments pass]
    #[arg(long, value_delimiter = ',', value_name = "POINT,…")]
    pub(super) points: Vec<Point>,
    /// How long after the primary was lost its standby is promoted (primary_killed, primary_cut_off), in milliseconds; at most half of the fault
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_800_000))]
    pub(super) promote_after_ms: u64,
    /// Keep database, books and logs here [default: a temporary folder, kept only if the books do not hold]
    #[arg(long, value_name = "FOLDER")]
    pub(super) data_dir: Option<PathBuf>,
    /// Print one line of JSON, with every second
    #[arg(long)]
    pub(super) json: bool,
}

/// How the orders are paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum PayWith {
    Banks,
    Stripe,
    Both,
}

impl PayWith {
    pub(super) const fn victim(self) -> &'static str {
        match self {
            Self::Banks | Self::Both => "bank_1",
            Self::Stripe => "stripe_1",
        }
    }

    /// No card that anybody has: its issuer is not one.
    pub(super) fn methods(self) -> Vec<serde_json::Value> {
        let card = || json!({"type": "card", "number": "4242424242424242", "exp_month": 12, "exp_year": 2099});
        let token = || json!({"type": "card_token", "token": "pm_card_visa"});
        match self {
            Self::Banks => vec![card()],
            Self::Stripe => vec![token()],
            Self::Both => vec![card(), token()],
        }
    }

    /// Whether such payments ever pass it.
    pub(super) fn passes(self, point: Point) -> bool {
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

impl BenchArgs {
    /// How the processes die, where that is what goes wrong.
    pub(super) fn course(&self) -> Option<Course> {
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

/// What to type to have it again.
pub(super) fn command(args: &BenchArgs) -> String {
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
        let processes = if args.processes == 1 { String::new() } else { format!(" --processes {}", args.processes) };
        let (name, rate, merchants, seed) = (args.scenario.name(), args.rate, args.merchants, args.seed);
        return format!("breakwater bench {name}{pay_with} {often} --rate {rate}{processes} --merchants {merchants} --seed {seed}");
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

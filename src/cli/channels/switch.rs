//! Switching a channel: `off`, `on`, and what stands. It writes the row that every process reads twice a second, with its act in the audit, so it
//! works from any machine that reaches the database, and before a process is started.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::database::DatabaseArgs;
use super::super::keys::grace;
use super::super::merchants::said;
use super::super::{note, person, print, table};
use crate::channel::breaker::Mode;
use crate::clock::Clock;
use crate::domain::recurrence::{EVERY_DAY, clock_time, day_of, days_in_words, minute_of};
use crate::domain::{OperationClass, OverrideId, Recurrence};
use crate::store::administration::{Actor, near};
use crate::store::channel_override::{LONGEST, NewOverride, OverrideRow, PageOfOverrides};

/// Overrides in a list, at most.
const LISTED: i64 = 1_000;
/// Characters of a reason, at most.
const WORDS: usize = 500;

/// Which operations of a channel, as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Operations {
    /// New charges
    Pay,
    /// Queries, captures, voids and reversals
    Resolve,
    /// Refunds
    Refund,
}

impl Operations {
    const fn class(self) -> OperationClass {
        match self {
            Self::Pay => OperationClass::Pay,
            Self::Resolve => OperationClass::Resolve,
            Self::Refund => OperationClass::Refund,
        }
    }
}

/// Switch a channel off for a while, in every process within a second
///
/// It ends by itself: after --for or at --until, at most 24 hours from now; or it comes back every day in the window of --daily. It takes the
/// place of a one-off that stands for the same operations. The channel must be in the settings (--config, or ./breakwater.toml), unless --unchecked
/// says that the id is right.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater channels off stripe_main --reason \"the bank asked us to\" --for 30m
  breakwater channels off stripe_main --reason maintenance --drain --until 2026-11-22T06:00:00Z
  breakwater channels off icbc --reason \"daily cut-off\" --drain --daily 23:30-00:30 --zone Asia/Shanghai
  breakwater channels off stripe_main --reason \"refunds hang\" --operation refund --for 2h")]
pub(super) struct Off {
    /// The channel's id
    channel: String,
    /// Why, in your own words: shown to everybody, and kept
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// For how long: 90s, 30m, 2h; at most 24h
    #[arg(long = "for", value_parser = grace, value_name = "TIME", required_unless_present_any = ["until", "daily"], conflicts_with_all = ["until", "daily"])]
    lasts: Option<Duration>,
    /// Until when, as 2026-11-22T06:00:00Z or with a zone's offset
    #[arg(long, value_name = "TIME", conflicts_with = "daily")]
    until: Option<Timestamp>,
    /// From when to when, every day: 23:30-00:30, in the zone of --zone
    #[arg(long, value_name = "FROM-UNTIL", requires = "zone")]
    daily: Option<String>,
    /// The time zone of --daily, such as Asia/Shanghai
    #[arg(long, value_name = "ZONE", requires = "daily")]
    zone: Option<String>,
    /// Only on these days: mon,tue,…
    #[arg(long, value_name = "DAYS", requires = "daily", value_delimiter = ',')]
    days: Vec<String>,
    /// Planned: nobody is to be alarmed
    #[arg(long)]
    drain: bool,
    /// Which operations
    #[arg(long, value_enum, default_value_t = Operations::Pay)]
    operation: Operations,
    /// Take the id as it is: where no settings file is at hand that has the channel
    #[arg(long)]
    unchecked: bool,
    /// Print one line of JSON: {"id","channel","operation","mode","author","reason","created_at","expires_at","recurs"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// End what `off` began
///
/// The channel then takes a few payments to see whether it is well. A daily window is ended by its --id.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater channels on stripe_main
  breakwater channels on stripe_main --operation refund --reason \"the bank has repaired it\"
  breakwater channels on icbc --id ovr_0193a1b2c3d47e5f80123456789abcde")]
pub(super) struct On {
    /// The channel's id
    channel: String,
    /// Which operations
    #[arg(long, value_enum, default_value_t = Operations::Pay)]
    operation: Operations,
    /// Only the override of this id
    #[arg(long, value_name = "ID", conflicts_with = "operation")]
    id: Option<OverrideId>,
    /// Why, in your own words: kept
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print one line of JSON: the override that was ended, or null
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// List the overrides that stand
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater channels overrides
  breakwater channels overrides --all --json")]
pub(super) struct Overrides {
    /// Those that are over, too
    #[arg(long)]
    all: bool,
    /// Print one line of JSON: {"object":"list","data":[{"id","channel","operation","mode",…}]}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl Off {
    pub(super) fn run(&self) -> Result<ExitCode, String> {
        let (at, who) = (Clock::system().wall(), person::who());
        let new = self.wanted(at)?;
        self.look_up()?;
        let (runtime, store) = self.database.open()?;
        let actor = Actor { at, who: &who, why: Some(&new.reason) };
        let put = runtime.block_on(store.put_override(&new, actor)).map_err(said)?;
        let row = put.ok_or("as many overrides stand as may; end some first: breakwater channels overrides")?;
        if self.json {
            return Ok(print(&format!("{}\n", in_json(&row))));
        }
        let end = match (&row.recurs, row.expires_at) {
            (Some(recurs), _) => format!("daily {recurs}"),
            (None, Some(end)) => format!("until {}", table::time(end)),
            (None, None) => String::new(),
        };
        let printed = print(&format!("{} is off for {}, {end}, in every process within a second.\n", row.channel, row.class.as_str()));
        note(&format!("To end it: breakwater channels on {}{}", row.channel, ending(&row)));
        Ok(printed)
    }

    /// A name that no process has as a channel's would switch nothing, and seem to.
    fn look_up(&self) -> Result<(), String> {
        if self.unchecked {
            return Ok(());
        }
        let file = settings_file(&self.database).ok_or_else(|| {
            format!(
                "whether there is a channel {:?} is not known: the settings name the channels, and none were given; nothing was changed. \
                 Name them with --config FILE, or, when you are sure of the id, add --unchecked",
                self.channel
            )
        })?;
        known_to(&file, &self.channel)
    }

    fn wanted(&self, now: Timestamp) -> Result<NewOverride, String> {
        let reason = self.reason.trim();
        if !(1..=WORDS).contains(&reason.chars().count()) {
            return Err(format!("the reason must have 1 to {WORDS} characters; nothing was changed"));
        }
        let recurs = self.daily.as_deref().map(|daily| self.window(daily)).transpose()?;
        let lasts = self.lasts.map(|lasts| SignedDuration::try_from(lasts).map_err(|error| error.to_string())).transpose()?;
        let expires_at = match (lasts, self.until) {
            (Some(lasts), _) => Some(now.checked_add(lasts).map_err(|error| error.to_string())?),
            (None, until) => until,
        };
        if expires_at.is_some_and(|end| end <= now) {
            return Err("that is not in the future; nothing was changed".to_owned());
        }
        if expires_at.is_some_and(|end| end.duration_since(now) > LONGEST) {
            return Err("that is more than 24 hours away; put it again tomorrow if it is still needed, or use --daily".to_owned());
        }
        let mode = if self.drain { Mode::Drain } else { Mode::ForcedOpen };
        Ok(NewOverride {
            channel: self.channel.clone(),
            class: self.operation.class(),
            mode: mode.as_str(),
            reason: reason.to_owned(),
            expires_at: expires_at.map(|end| Timestamp::from_microsecond(end.as_microsecond()).unwrap_or(end)),
            recurs,
        })
    }

    fn window(&self, daily: &str) -> Result<Recurrence, String> {
        let times = daily.split_once('-').and_then(|(from, until)| Some((minute_of(from.trim())?, minute_of(until.trim())?)));
        let (from, until) = times.ok_or("--daily must be two times of the day, such as 23:30-00:30")?;
        let named = self.zone.as_deref().unwrap_or("UTC");
        let zone = TimeZone::get(named).map_err(|error| format!("there is no time zone {named:?} on this machine: {error}"))?;
        let mut days = 0;
        for day in &self.days {
            days |= day_of(day).ok_or_else(|| format!("{day:?} is no day; write mon, tue, wed, thu, fri, sat or sun"))?;
        }
        Recurrence::new(from, until, if days == 0 { EVERY_DAY } else { days }, zone).map_err(|error| error.to_string())
    }
}

impl On {
    pub(super) fn run(&self) -> Result<ExitCode, String> {
        let (at, who) = (Clock::system().wall(), person::who());
        let (runtime, store) = self.database.open()?;
        let actor = Actor { at, who: &who, why: self.reason.as_deref() };
        let class = self.operation.class();
        let ended = runtime.block_on(store.end_override(&self.channel, class, self.id, actor)).map_err(said)?;
        // What stands may be ended, also where the settings have no such channel; where nothing does, the name may be wrong.
        if let (None, Some(file)) = (&ended, settings_file(&self.database)) {
            known_to(&file, &self.channel)?;
        }
        if self.json {
            return Ok(print(&format!("{}\n", ended.as_ref().map_or(Value::Null, in_json))));
        }
        let Some(row) = ended else {
            let printed = print(&format!("No such override stands at {}; nothing was changed.\n", self.channel));
            note("See what stands: breakwater channels overrides");
            return Ok(printed);
        };
        Ok(print(&format!("The {} of {} for {} has ended, in every process within a second.\n", row.mode, row.channel, row.class.as_str())))
    }
}

impl Overrides {
    pub(super) fn run(&self) -> Result<ExitCode, String> {
        let (runtime, store) = self.database.open()?;
        let now = Clock::system().wall();
        let page = PageOfOverrides { standing: (!self.all).then_some(true), limit: LISTED, ..PageOfOverrides::default() };
        let rows = runtime.block_on(store.overrides(&page, now)).map_err(said)?;
        if self.json {
            let data: Vec<Value> = rows.iter().map(in_json).collect();
            return Ok(print(&format!("{}\n", json!({"object": "list", "data": data}))));
        }
        if rows.is_empty() {
            return Ok(print("No override stands: the breakers decide.\n"));
        }
        let lines: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                let end = match (&row.recurs, row.ended_at.or(row.expires_at)) {
                    (Some(recurs), None) => recurs.to_string(),
                    (_, Some(end)) => table::time(end),
                    (None, None) => "-".to_owned(),
                };
                let id = row.id.to_string();
                vec![row.channel.clone(), row.class.as_str().to_owned(), row.mode.clone(), end, row.author.clone(), id, row.reason.clone()]
            })
            .collect();
        Ok(print(&table::columns(&["CHANNEL", "OPERATION", "MODE", "ENDS", "BY", "ID", "REASON"], &lines)))
    }
}

fn ending(row: &OverrideRow) -> String {
    match (&row.recurs, row.class) {
        (Some(_), _) => format!(" --id {}", row.id),
        (None, OperationClass::Pay) => String::new(),
        (None, class) => format!(" --operation {}", class.as_str()),
    }
}

/// The settings file that says which channels there are, if one is at hand.
fn settings_file(database: &DatabaseArgs) -> Option<PathBuf> {
    let here = PathBuf::from("breakwater.toml");
    database.config.clone().or_else(|| (database.database_url.is_none() && here.exists()).then_some(here))
}

/// Refuses a channel that the settings do not have. Only their ids are read: an administrator needs no channel's secrets.
fn known_to(file: &Path, channel: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let settings: toml::Table = text.parse().map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
    let channels = settings.get("channels").and_then(toml::Value::as_array);
    let ids: Vec<String> = channels.into_iter().flatten().filter_map(|channel| channel.get("id")?.as_str().map(str::to_owned)).collect();
    if ids.iter().any(|id| id == channel) {
        return Ok(());
    }
    let near = near(channel, ids.into_iter());
    let near = if near.is_empty() { String::new() } else { format!(" (near it: {})", near.join(", ")) };
    Err(format!("{} has no channel {channel:?}{near}; nothing was changed: breakwater channels ls shows them", file.display()))
}

fn in_json(row: &OverrideRow) -> Value {
    let recurs = row.recurs.as_ref().map(|recurs| {
        json!({
            "from": clock_time(recurs.from_minute()), "until": clock_time(recurs.until_minute()), "zone": recurs.zone(),
            "days": days_in_words(recurs.days()),
        })
    });
    json!({
        "id": row.id.to_string(), "channel": row.channel, "operation": row.class.as_str(), "mode": row.mode, "author": row.author,
        "reason": row.reason, "created_at": table::rfc3339(row.created_at), "expires_at": row.expires_at.map(table::rfc3339), "recurs": recurs,
        "ended_at": row.ended_at.map(table::rfc3339), "ended_by": row.ended_by,
    })
}

//! `breakwater channels`: the channels of a settings file, as routing will see them; and switching one off and on in every process that runs on
//! the database, within a second, also where no process can be reached over HTTP.
//!
//! `ls` reads the settings and nothing else: how the channels of a running process stand is under `/ops/v1/channels`. `fields` says what the
//! settings of a provider's channels hold.

mod fields;
mod switch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{fail, print, table};
use crate::config::{ChannelSettings, Settings};
use crate::domain::MethodKind;
use crate::provider;

/// List the channels of a settings file, what their settings hold, or switch one off and on
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater channels ls --config breakwater.toml
  breakwater channels fields alipay
  breakwater channels off stripe_main --reason \"the bank asked us to\" --for 30m
  breakwater channels on stripe_main
  breakwater channels overrides")]
pub struct ChannelsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(Ls),
    Fields(fields::Fields),
    Off(switch::Off),
    On(switch::On),
    Overrides(switch::Overrides),
}

/// List the channels, in the order in which they are tried
///
/// Reads the settings file alone; what a running process makes of them is under /ops/v1/channels.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater channels ls
  breakwater channels ls --config breakwater.toml --json")]
struct Ls {
    /// The settings file
    #[arg(long, env = "BREAKWATER_CONFIG", default_value = "breakwater.toml", value_name = "FILE")]
    config: PathBuf,
    /// Print one line of JSON: {"object":"list","data":[{"id","provider","mode","address","priority","methods","wallets","currencies","merchants"}]}
    #[arg(long)]
    json: bool,
}

/// Does as asked.
pub fn run(args: &ChannelsArgs) -> ExitCode {
    match &args.command {
        Command::Ls(ls) => ls.run(),
        Command::Fields(fields) => fields.run().unwrap_or_else(|why| fail(&why)),
        Command::Off(off) => off.run().unwrap_or_else(|why| fail(&why)),
        Command::On(on) => on.run().unwrap_or_else(|why| fail(&why)),
        Command::Overrides(overrides) => overrides.run().unwrap_or_else(|why| fail(&why)),
    }
}

impl Ls {
    fn run(&self) -> ExitCode {
        let mut channels = match Settings::load(&self.config) {
            Ok(settings) => settings.channels,
            Err(faults) => return fail(&faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        };
        // Stable: equals stay in the file's order, as in routing.
        channels.sort_by_key(|channel| channel.priority);
        if self.json {
            let data: Vec<Value> = channels.iter().map(in_json).collect();
            return print(&format!("{}\n", json!({"object": "list", "data": data})));
        }
        if channels.is_empty() {
            return print("The settings have no channel: payments are answered that none can take them.\n");
        }
        print(&table::columns(
            &["ID", "PROVIDER", "MODE", "PRIORITY", "METHODS", "CURRENCIES", "MERCHANTS"],
            &channels.iter().map(row).collect::<Vec<_>>(),
        ))
    }
}

fn row(channel: &ChannelSettings) -> Vec<String> {
    let any = |list: Vec<&str>, none: &str| if list.is_empty() { none.to_owned() } else { list.join(",") };
    vec![
        channel.id.clone(),
        channel.provider.clone(),
        table::mode(channel.mode.livemode()).to_owned(),
        channel.priority.to_string(),
        methods_in_words(channel),
        any(channel.currencies.iter().map(|currency| currency.code()).collect(), "any"),
        any(channel.merchants.iter().map(String::as_str).collect(), "all"),
    ]
}

/// By the names that the API has for them.
fn methods_in_words(channel: &ChannelSettings) -> String {
    let names: Vec<String> = methods(channel).iter().filter_map(|method| json!(method).as_str().map(str::to_owned)).collect();
    names.join(",")
}

fn in_json(channel: &ChannelSettings) -> Value {
    json!({
        "id": channel.id, "provider": channel.provider, "mode": table::mode(channel.mode.livemode()), "address": channel.address,
        "priority": channel.priority, "methods": methods(channel), "wallets": channel.wallets,
        "currencies": channel.currencies.iter().map(|currency| currency.code()).collect::<Vec<_>>(), "merchants": channel.merchants,
    })
}

/// Those of the settings, or all that the provider can.
fn methods(channel: &ChannelSettings) -> Vec<MethodKind> {
    let can = || provider::find(&channel.provider).map(|provider| provider.contract().methods.to_vec());
    channel.methods.clone().or_else(can).unwrap_or_default()
}

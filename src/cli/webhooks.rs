//! `breakwater webhooks`: for a merchant's engineer whose receiver says that a signature is wrong; and sealing secrets anew (`reseal`).

mod reseal;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{fail, print};
use crate::clock::Clock;
use crate::notifier::signature::{Secret, verify};

/// The largest body that is read, in bytes: ours are some kilobytes.
const BODY_MAX: u64 = 1024 * 1024;

/// Check webhooks that a merchant received, or seal signing secrets anew
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater webhooks verify --body body.json --headers headers.txt
  breakwater webhooks reseal --config breakwater.toml
  breakwater webhooks verify --help")]
pub struct WebhooksArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Verify(Verify),
    Reseal(reseal::Reseal),
}

/// Verify the signature of a webhook, as a receiver must (Standard Webhooks 1.0)
///
/// The body must be the raw bytes as they came, before any JSON parser. Headers come from a file (a line each, `Name: value`, as curl -i or a log
/// shows them) or one by one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  BREAKWATER_WEBHOOK_SECRET=whsec_… breakwater webhooks verify --body body.json --headers headers.txt
  breakwater webhooks verify --body body.json --secret-file secret.txt --id evt_… --timestamp 1763766074 --signature 'v1,…'
  breakwater webhooks verify --body old.json --headers headers.txt --tolerance-s 31536000     a webhook of last month

Exit codes: 0 authentic, 1 not, or something could not be read, 2 wrong usage.")]
struct Verify {
    /// The file that holds the raw body
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
    /// A file with the headers, a line each
    #[arg(long, value_name = "FILE")]
    headers: Option<PathBuf>,
    /// The header webhook-id
    #[arg(long)]
    id: Option<String>,
    /// The header webhook-timestamp, in seconds since 1970
    #[arg(long)]
    timestamp: Option<String>,
    /// The header webhook-signature
    #[arg(long)]
    signature: Option<String>,
    /// The secret, whsec_…; better in the environment, where a list of processes does not show it
    #[arg(long, env = "BREAKWATER_WEBHOOK_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// A file that holds the secret
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    secret_file: Option<PathBuf>,
    /// How many seconds old, or ahead, it may be
    #[arg(long, default_value_t = 300)]
    tolerance_s: u64,
    /// Print one line of JSON: {"authentic":true|false,"id","why"}
    #[arg(long)]
    json: bool,
}

/// Does as asked.
pub fn run(args: &WebhooksArgs) -> ExitCode {
    match &args.command {
        Command::Verify(verify) => verify.run(),
        Command::Reseal(reseal) => reseal.run().unwrap_or_else(|why| fail(&why)),
    }
}

impl Verify {
    fn run(&self) -> ExitCode {
        match self.judge() {
            Err(complaint) => fail(&complaint),
            Ok((id, verdict)) => {
                let mut text = String::new();
                let written = if self.json {
                    writeln!(text, "{}", json!({"authentic": verdict.is_ok(), "id": id, "why": verdict.as_ref().err()}))
                } else {
                    match &verdict {
                        Ok(()) => writeln!(text, "authentic: {id}"),
                        Err(why) => writeln!(text, "not authentic: {why}"),
                    }
                };
                // Writing into memory does not fail.
                let _ = written;
                let printed = print(&text);
                if verdict.is_ok() { printed } else { ExitCode::FAILURE }
            }
        }
    }

    /// The webhook's id, and why it is not to be believed, if it is not.
    fn judge(&self) -> Result<(String, Result<(), String>), String> {
        let body = read(&self.body)?;
        let headers = self.headers.as_deref().map(read).transpose()?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let value = |given: &Option<String>, name: &str, flag: &str| {
            let value = given.clone().or_else(|| header(&headers, name));
            value.ok_or_else(|| format!("there is no {name}: give {flag}, or a file of --headers that has it"))
        };
        let id = value(&self.id, "webhook-id", "--id")?;
        let timestamp = value(&self.timestamp, "webhook-timestamp", "--timestamp")?;
        let signature = value(&self.signature, "webhook-signature", "--signature")?;
        let secret = match (&self.secret, &self.secret_file) {
            (Some(secret), _) => secret.clone(),
            (None, Some(file)) => String::from_utf8_lossy(&read(file)?).into_owned(),
            (None, None) => return Err("there is no secret: set BREAKWATER_WEBHOOK_SECRET, or give --secret-file".to_owned()),
        };
        let secret = Secret::parse(secret.trim()).map_err(|error| error.to_string())?;
        let now = Clock::system().wall().as_second();
        let verdict = verify(&secret, &id, &timestamp, &signature, &body, now, self.tolerance_s).map_err(|disbelief| disbelief.to_string());
        Ok((id, verdict))
    }
}

fn header(headers: &str, name: &str) -> Option<String> {
    let found = headers.lines().filter_map(|line| line.split_once(':')).find(|(given, _)| given.trim().eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim().to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let found = std::fs::metadata(path).and_then(|metadata| match metadata.len() {
        ..=BODY_MAX => std::fs::read(path),
        longer => Err(std::io::Error::other(format!("it has {longer} bytes, more than any webhook"))),
    });
    found.map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

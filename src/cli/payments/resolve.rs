//! `breakwater payments resolve`: a person says what an unknown outcome was. Only a running process may change a payment, and only an operator's
//! token proves who says so: this asks the process, over its operators' address.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::super::database::errand_runtime;
use super::super::{client, note, print};
use crate::domain::PaymentId;

/// What it came to, as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Outcome {
    /// It was carried out: the money moved
    Approved,
    /// The money is held, not taken
    Authorized,
    /// The channel refused it: no money moved
    Declined,
    /// The channel never had it, and never will
    #[value(name = "not_found")]
    NotFound,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Authorized => "authorized",
            Self::Declined => "declined",
            Self::NotFound => "not_found",
        }
    }
}

/// Say what an unknown outcome was, with a note and where you have it from
///
/// Only an unknown outcome can be resolved. Above the amount of [operations] resolve_alone_up_to it waits until a second person, an admin, says
/// the same.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  BREAKWATER_OPS_TOKEN=bwo_… breakwater payments resolve pay_0193a1b2c3d47e5f80123456789abcde --outcome approved \\
    --note \"on the bank's statement\" --evidence \"statement of 2026-11-21, page 2, line 14\"
  breakwater payments resolve pay_0193a1b2c3d47e5f80123456789abcde --outcome not_found --note \"the bank never had it\" \\
    --evidence \"ticket 4711, Ms Li\" --token-file operator.token --url http://127.0.0.1:9090 --json")]
pub(super) struct Resolve {
    /// The payment's id
    id: PaymentId,
    /// What it came to
    #[arg(long, value_enum)]
    outcome: Outcome,
    /// What you know, in your own words
    #[arg(long, value_name = "TEXT")]
    note: String,
    /// Where you have it from: a statement, a ticket, a name at the bank
    #[arg(long, value_name = "TEXT")]
    evidence: String,
    /// The attempt's number, where several are unknown
    #[arg(long, value_name = "N")]
    attempt: Option<i16>,
    /// The channel's own name for it, where the channel never told us
    #[arg(long, value_name = "NAME")]
    channel_reference: Option<String>,
    /// Where a running process listens for operators
    #[arg(long, env = "BREAKWATER_OPS_URL", default_value = "http://127.0.0.1:9090", value_name = "URL")]
    url: String,
    /// Your token; better in the environment, where a list of processes does not show it
    #[arg(long, env = "BREAKWATER_OPS_TOKEN", hide_env_values = true, required_unless_present = "token_file")]
    token: Option<String>,
    /// A file that holds your token
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Print the process's answer as one line of JSON
    #[arg(long)]
    json: bool,
}

impl Resolve {
    pub(super) fn run(&self) -> Result<ExitCode, String> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(file)) => std::fs::read_to_string(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?,
            (None, None) => return Err("there is no token: set BREAKWATER_OPS_TOKEN, or give --token-file".to_owned()),
        };
        let body = json!({
            "outcome": self.outcome.as_str(), "note": self.note, "evidence": self.evidence, "attempt": self.attempt,
            "channel_reference": self.channel_reference,
        });
        let authorization = format!("Bearer {}", token.trim());
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let address = format!("{}/ops/v1/payments/{}/resolve", self.url.trim_end_matches('/'), self.id);
        let body = body.to_string();
        let asking = client::send("POST", &address, &headers, &body);
        let answer = errand_runtime()?
            .block_on(asking)
            .map_err(|error| format!("{error}; is that where a process listens for operators? Name it with --url or BREAKWATER_OPS_URL"))?;
        let told: Value =
            serde_json::from_slice(&answer.body).map_err(|_| format!("{address} answered {}, and not as Breakwater does", answer.status))?;
        let word = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
        if answer.status >= 300 {
            let next = match answer.status {
                401 => "; breakwater operators rotate NAME gives a new token",
                403 => "; breakwater operators ls shows who may",
                404 | 409 => "; breakwater payments get ID --timeline shows how it stands",
                _ => "",
            };
            return Err(format!("nothing was changed: {}{next}", word("detail")));
        }
        if self.json {
            return Ok(print(&format!("{told}\n")));
        }
        if answer.status == 202 {
            let printed = print(&format!("{} waits for a second person until {}.\n", self.id, word("expires_at")));
            note("Nothing was changed yet: an admin, somebody else than you, must say the same with their own token.");
            return Ok(printed);
        }
        Ok(print(&format!("{} is {}, {}.\n", self.id, word("status"), word("outcome"))))
    }
}

//! `breakwater channels fields PROVIDER`: what `[channels.account]` of a provider's channel holds, asked of the provider itself, so that nobody has
//! to look for it in a document that may be older.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::super::{print, table};
use crate::provider::{self, AccountField, FieldKind};

/// List what the settings of a provider's channels hold under [channels.account]
///
/// Reads no settings file. What every channel has, whoever its provider is, stands in `breakwater config example`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater channels fields alipay
  breakwater channels fields iso8583 --json

Exit codes: 0 listed, 1 there is no such provider, 2 wrong usage.")]
pub(super) struct Fields {
    /// The provider, as in the settings
    provider: String,
    /// Print one line of JSON: {"object":"list","data":[{"name","kind","required","secret","choices","least","most","help"}]}
    #[arg(long)]
    json: bool,
}

impl Fields {
    pub(super) fn run(&self) -> Result<ExitCode, String> {
        let provider = provider::find(&self.provider).ok_or_else(|| {
            let known: Vec<&str> = provider::PROVIDERS.iter().map(|provider| provider.name()).collect();
            format!("there is no provider {:?}: it is one of {}", self.provider, known.join(", "))
        })?;
        let fields = provider.account_fields();
        if self.json {
            let data: Vec<Value> = fields.iter().map(in_json).collect();
            return Ok(print(&format!("{}\n", json!({"object": "list", "data": data}))));
        }
        if fields.is_empty() {
            return Ok(print(&format!("Channels of {} have no fields of their own: secret_key is all that they need.\n", provider.name())));
        }
        Ok(print(&table::columns(&["FIELD", "REQUIRED", "HOLDS", "WHAT IT IS"], &fields.iter().map(row).collect::<Vec<_>>())))
    }
}

fn row(field: &AccountField) -> Vec<String> {
    let required = if field.required { "yes" } else { "no" };
    vec![field.name.to_owned(), required.to_owned(), held(field.kind), field.help.to_owned()]
}

/// What may stand there, as it is written in the settings.
fn held(kind: FieldKind) -> String {
    match kind {
        FieldKind::Text => "text".to_owned(),
        FieldKind::Number(least, most) => format!("{least} to {most}"),
        FieldKind::Flag => "true or false".to_owned(),
        FieldKind::Choice(choices) => choices.join(" | "),
        FieldKind::Secret => "secret: { env } or { file }".to_owned(),
        FieldKind::SecretOf(bytes) => format!("secret of {bytes} bytes: {{ env }} or {{ file }}"),
        FieldKind::Store => "PKCS#12 store: { file }".to_owned(),
        FieldKind::PrivateKey => "private key in PEM: { env } or { file }".to_owned(),
        FieldKind::PublicKey => "public key in PEM".to_owned(),
    }
}

fn in_json(field: &AccountField) -> Value {
    let (kind, choices, bounds) = match field.kind {
        FieldKind::Text => ("text", None, None),
        FieldKind::Number(least, most) => ("number", None, Some((least, most))),
        FieldKind::Flag => ("flag", None, None),
        FieldKind::Choice(choices) => ("choice", Some(choices), None),
        FieldKind::Secret | FieldKind::SecretOf(_) => ("secret", None, None),
        FieldKind::Store => ("store", None, None),
        FieldKind::PrivateKey => ("private_key", None, None),
        FieldKind::PublicKey => ("public_key", None, None),
    };
    json!({
        "name": field.name, "kind": kind, "required": field.required, "secret": field.kind.is_secret(), "choices": choices,
        "least": bounds.map(|(least, _)| least), "most": bounds.map(|(_, most)| most), "help": field.help,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_every_provider_says_what_it_holds_and_what_it_is() {
        for provider in provider::PROVIDERS {
            for field in provider.account_fields() {
                assert!(row(field).iter().all(|cell| !cell.is_empty()), "{} {}", provider.name(), field.name);
                let told = in_json(field);
                assert_eq!(told["choices"].is_array(), told["kind"] == "choice", "{told}");
                assert_eq!(told["least"].is_i64(), told["kind"] == "number", "{told}");
                assert_eq!(told["secret"] == true, ["secret", "private_key"].map(Value::from).contains(&told["kind"]), "{told}");
            }
        }
    }
}

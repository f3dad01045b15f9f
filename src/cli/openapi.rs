//! `breakwater openapi`: the API's document, as it is served at `/openapi.json` and committed.

use std::process::ExitCode;

use clap::Args;

use super::print;
use crate::http::document;

/// Print the API's OpenAPI document
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater openapi > openapi.json
  breakwater openapi | jq '.paths | keys'")]
pub struct OpenapiArgs {}

/// Prints the document.
pub fn run(_: &OpenapiArgs) -> ExitCode {
    print(document::text())
}

//! `breakwater sandbox`: the providers' side of the wire in a process of its own.
//!
//! It prints one line of JSON when it is ready, and ends on SIGINT, SIGTERM, `POST /_control/_shutdown`, or after its linger alone.
//!
//! Exit codes: 0 it ended as told; 1 it could not start; 2 the arguments are wrong.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::sandbox::{AccountSettings, Sandbox, SandboxSettings};

/// Serve the providers' side of the wire: accounts to charge, a book to check, faults on demand
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater sandbox
  breakwater sandbox --account id=shop,secret_key=sk_test_shop,webhook_secret=whsec_shop,port=12111
  breakwater sandbox --account id=wallet,provider=alipay,alipay.app_id=2021000000000001
  curl -X PUT  CONTROL/_control/stripe_main/faults -d '{\"mode\":\"timeout_processed\",\"rate\":0.2}'
  curl -X DELETE CONTROL/_control/stripe_main/faults
  curl CONTROL/_control/stripe_main/book")]
pub struct SandboxArgs {
    /// Where journals, ports and the lock lie
    #[arg(long, default_value = "sandbox-data", env = "BREAKWATER_SANDBOX_DIR")]
    pub data_dir: PathBuf,
    /// The address of every listener; the control routes ask for no key
    #[arg(long, default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// The control listener's port; 0 takes the one of the last run, or any
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// An account: id=…,secret_key=sk_test_…,webhook_secret=whsec_…[,port=…], or id=…,provider=alipay[,alipay.app_id=…][,alipay.seller_id=…][,port=…],
    /// or id=…,provider=wechatpay[,wechatpay.mchid=…][,port=…]; may be repeated. The wallets' keys are made in the data directory
    #[arg(long = "account", value_parser = parse_account)]
    pub accounts: Vec<AccountSettings>,
    /// A TOML file of accounts: [[account]] tables with the same keys
    #[arg(long = "accounts", value_name = "FILE")]
    pub accounts_file: Option<PathBuf>,
    /// How long after opening the page a customer pays, in milliseconds; 0 = never by themselves
    #[arg(long, default_value_t = 2_000)]
    pub pay_after_ms: u64,
    /// How long a refund of …07 stays pending, in milliseconds
    #[arg(long, default_value_t = 60_000)]
    pub pending_refund_ms: u64,
    /// How old a payment must be before search finds it, in milliseconds
    #[arg(long, default_value_t = 2_000)]
    pub search_lag_ms: u64,
    /// End when no orchestrator was alive for this many milliseconds; never unless said
    #[arg(long)]
    pub linger_ms: Option<u64>,
    /// Send no notifications
    #[arg(long)]
    pub no_notifications: bool,
    /// Notifications go to {URL}/v1/notifications/{channel}
    #[arg(long, value_name = "URL")]
    pub notify_url: Option<String>,
    /// The orchestrator's process, for --linger-ms
    #[arg(long, value_name = "PID")]
    pub orchestrator_pid: Option<u32>,
    /// Seeds the dice of the faults, to repeat a run
    #[arg(long)]
    pub seed: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountsFile {
    account: Vec<AccountSettings>,
}

fn parse_account(text: &str) -> Result<AccountSettings, String> {
    let mut table = toml::Table::new();
    for pair in text.split(',') {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not key=value"))?;
        let value = match key {
            "port" => toml::Value::Integer(value.parse().map_err(|_| format!("port {value:?} is not a number"))?),
            _ => toml::Value::String(value.to_owned()),
        };
        // `alipay.app_id` is a field of the table `alipay`.
        match key.split_once('.') {
            None => drop(table.insert(key.to_owned(), value)),
            Some((outer, inner)) => {
                let nested = table.entry(outer).or_insert_with(|| toml::Value::Table(toml::Table::new()));
                let nested = nested.as_table_mut().ok_or_else(|| format!("{outer:?} is a value and a table"))?;
                nested.insert(inner.to_owned(), value);
            }
        }
    }
    table.try_into().map_err(|complaint: toml::de::Error| complaint.message().to_owned())
}

/// Runs until told to end.
pub fn run(args: SandboxArgs) -> ExitCode {
    let settings = match settings(args) {
        Ok(settings) => settings,
        Err(complaint) => return fail(&complaint, 2),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(serve(settings)),
        Err(refusal) => fail(&format!("no runtime: {refusal}"), 1),
    }
}

fn settings(args: SandboxArgs) -> Result<SandboxSettings, String> {
    let mut settings = SandboxSettings::new(args.data_dir);
    let mut accounts = args.accounts;
    if let Some(path) = args.accounts_file {
        let text = std::fs::read_to_string(&path).map_err(|refusal| format!("{}: {refusal}", path.display()))?;
        let file: AccountsFile = toml::from_str(&text).map_err(|complaint| format!("{}: {complaint}", path.display()))?;
        accounts.extend(file.account);
    }
    if !accounts.is_empty() {
        settings.accounts = accounts;
    }
    settings.listen = args.listen;
    settings.control_port = args.port;
    settings.pay_after_ms = args.pay_after_ms;
    settings.pending_refund = Duration::from_millis(args.pending_refund_ms);
    settings.search_lag_ms = args.search_lag_ms;
    settings.linger = args.linger_ms.map(Duration::from_millis);
    settings.notifications = !args.no_notifications;
    settings.notify_url = args.notify_url;
    settings.orchestrator_pid = args.orchestrator_pid;
    settings.seed = args.seed;
    let complaints = settings.complaints();
    if complaints.is_empty() { Ok(settings) } else { Err(complaints.join("\n")) }
}

async fn serve(settings: SandboxSettings) -> ExitCode {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
        return fail("cannot listen for signals", 1);
    };
    let sandbox = match Sandbox::start(settings).await {
        Ok(sandbox) => sandbox,
        Err(refusal) => {
            let source = std::error::Error::source(&refusal).map(|source| format!(": {source}")).unwrap_or_default();
            return fail(&format!("{refusal}{source}"), 1);
        }
    };
    let ready = serde_json::to_string(&sandbox.running()).unwrap_or_default();
    let mut stdout = std::io::stdout();
    // A parent that closed our output still wants the sandbox.
    let _ = writeln!(stdout, "{ready}").and_then(|()| stdout.flush());
    tokio::select! {
        () = sandbox.ended() => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    sandbox.stop().await;
    ExitCode::SUCCESS
}

fn fail(complaint: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "breakwater sandbox: {complaint}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: SandboxArgs,
    }

    #[test]
    fn without_arguments_there_are_two_accounts_that_would_start() {
        let line = Line::try_parse_from(["sandbox"]).unwrap();
        let settings = settings(line.args).unwrap();
        let ids: Vec<&str> = settings.accounts.iter().map(|account| account.id.as_str()).collect();
        assert_eq!(ids, ["stripe_main", "stripe_backup"]);
    }

    #[test]
    fn accounts_come_from_the_line_and_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("accounts.toml");
        let toml = "[[account]]\nid = \"b\"\nsecret_key = \"sk_test_b\"\nwebhook_secret = \"whsec_b\"\n";
        std::fs::write(&file, toml).unwrap();
        let account = "id=a,secret_key=sk_test_a,webhook_secret=whsec_a,port=12111";
        let line = Line::try_parse_from(["sandbox", "--account", account, "--accounts", file.to_str().unwrap()]).unwrap();
        let settings = settings(line.args).unwrap();
        let accounts: Vec<(&str, u16)> = settings.accounts.iter().map(|account| (account.id.as_str(), account.port)).collect();
        assert_eq!(accounts, [("a", 12111), ("b", 0)]);
    }

    #[test]
    fn an_alipay_account_has_fields_of_its_own() {
        let line = Line::try_parse_from(["sandbox", "--account", "id=w,provider=alipay,alipay.app_id=2021,alipay.seller_id=2088"]).unwrap();
        let settings = settings(line.args).unwrap();
        let alipay = &settings.accounts[0].alipay;
        assert_eq!((alipay.app_id.as_str(), alipay.seller_id.as_str()), ("2021", "2088"));
        let refusal = Line::try_parse_from(["sandbox", "--account", "id=w,provider=alipay,alipay.appid=2021"]).unwrap_err().to_string();
        assert!(refusal.contains("appid"), "{refusal}");
    }

    #[test]
    fn a_misspelled_account_is_refused_by_name() {
        let refusal = Line::try_parse_from(["sandbox", "--account", "id=a,secret=sk_test_a"]).unwrap_err().to_string();
        assert!(refusal.contains("secret"), "{refusal}");
    }
}

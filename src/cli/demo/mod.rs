//! `breakwater demo`: the whole system in one command, no questions, no network. A private Postgres from the machine's own binaries, the sandbox
//! as a process of its own (it outlives a kill of the orchestrator, as a third party would), a sample merchant, light traffic, and the real
//! product in between. Data are kept between runs.
//!
//! ```text
//! mod.rs       the command: start, what is printed        accounts.rs  the accounts that the sandbox plays, as channels
//! keys.rs      what is made once and kept                 neighbour.rs the sandbox: adopted, started, ended
//! traffic.rs   the sample shop's customers
//! ```

mod accounts;
mod keys;
mod neighbour;
mod traffic;

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use self::keys::Keys;
use super::{explain, fail};
use crate::alert::{MailSettings, Security, SmsProvider, SmsSettings};
use crate::app::{self, Plan};
use crate::clock::Clock;
use crate::cluster::{Cluster, ClusterOptions};
use crate::config::{AlertSettings, Level, LogFormat, Settings};
use crate::keys::SealingKeys;
use crate::notifier::desk::{Asker, DeskError, ENDPOINTS_MAX, Wish};
use crate::notifier::signature::Secret;
use crate::{sandbox, telemetry};

/// Ports that are tried after the one that was asked for.
const PORTS: u16 = 20;
const DATABASE: &str = "breakwater";
/// How long handing over one mail or text message may take: both go to the sandbox, on this machine.
const ALERT_TIMEOUT: Duration = Duration::from_secs(10);

/// Run the whole system: private Postgres, sandbox, orchestrator, sample traffic
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  breakwater demo
  breakwater demo --port 8081 --no-traffic
  breakwater demo --json > demo.json &
  breakwater demo --webhook-url http://127.0.0.1:9999/hooks
  breakwater demo --reset

Postgres 15 or later must be on this machine (its programs, not a running server), or give --database-url.
Exit codes: 0 stopped in good order, 1 it could not start, 2 wrong usage.")]
pub struct DemoArgs {
    /// The port of the API; a taken one moves to the next
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Where everything is kept [default: breakwater-demo in $XDG_DATA_HOME, or in ~/.local/share]
    #[arg(long, env = "BREAKWATER_DEMO_DIR", value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Send no sample payments
    #[arg(long)]
    pub no_traffic: bool,
    /// Start clean: erase the private database, the keys and the sandbox's book (a --database-url is left as it is)
    #[arg(long)]
    pub reset: bool,
    /// Print exactly one line of JSON when ready, with addresses and keys, and nothing else
    #[arg(long)]
    pub json: bool,
    /// Use this database instead of a private one; it gets the sample merchant and the sample payments
    // Never from the environment: what `serve` is told there may be the real database.
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Tell this address what happens: a webhook receiver of yours, signed with the webhook_secret
    #[arg(long, value_name = "URL")]
    pub webhook_url: Option<String>,
    /// How long an alert waits for somebody's acknowledgement before it is a text message, in milliseconds
    #[arg(long, default_value_t = 300_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=86_400_000))]
    pub sms_after_ms: u64,
    /// How much is logged, to the file demo.log in the data directory
    #[arg(long, default_value = "info", value_name = "LEVEL", value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub log_level: String,
}

/// What `--json` prints.
#[derive(Clone, Debug, Serialize)]
struct ReadyLine {
    url: String,
    api_key: String,
    ops_token: String,
    webhook_secret: String,
    console_url: Option<String>,
    metrics_url: String,
    sandbox_url: String,
    database_url: String,
    pid: u32,
}

/// Runs until it is told to stop.
pub fn run(args: &DemoArgs) -> ExitCode {
    match demo(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => fail(&complaint),
    }
}

fn demo(args: &DemoArgs) -> Result<(), String> {
    let data_dir = data_dir(args)?;
    let level = args.log_level.parse::<Level>().map_err(|_| format!("--log-level {}: use error, warn, info, debug or trace", args.log_level))?;
    telemetry::install_logs_to_file(LogFormat::Json, level, &data_dir.join("demo.log"))
        .map_err(|error| format!("{}: {error}", data_dir.display()))?;
    let errands = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    if args.reset {
        // The cluster first: its lock refuses while another demo runs here, and then that one loses nothing.
        if args.database_url.is_none() {
            Cluster::erase(&data_dir.join("postgres"), &ClusterOptions::default()).map_err(|error| error.to_string())?;
        }
        errands.block_on(neighbour::end(&data_dir.join("sandbox")))?;
        Keys::erase(&data_dir)?;
        if args.database_url.is_none() {
            keys::erase_card_key(&data_dir)?;
        }
    }
    // Spawned from the main thread, and held until the end of this function: its end is the cluster's.
    let cluster = match &args.database_url {
        Some(_) => None,
        None => {
            let once = if data_dir.join("postgres/data").exists() { "" } else { " with a new database: some seconds, this once" };
            say(args, &format!("starting a private Postgres{once}"));
            let cluster = Cluster::start(&data_dir.join("postgres"), &ClusterOptions::default()).map_err(|error| error.to_string())?;
            cluster.ensure_database(DATABASE).map_err(|error| error.to_string())?;
            Some(cluster)
        }
    };
    let database_url = match (&args.database_url, &cluster) {
        (Some(url), _) => url.clone(),
        (None, Some(cluster)) => cluster.url(DATABASE),
        (None, None) => return Err("there is no database".to_owned()),
    };
    let keys = Keys::keep(&data_dir)?;
    say(args, "starting the sandbox and Breakwater");
    let (listener, port, moved) = bind(args.port)?;
    let url = format!("http://127.0.0.1:{port}");
    let sandbox_dir = data_dir.join("sandbox");
    let neighbour = errands.block_on(neighbour::start(&sandbox_dir, &url, |progress| say(args, progress)))?;
    let mut settings = settings(&data_dir)?;
    settings.alerts = alerts(&neighbour, &url, args.sms_after_ms)?;
    let channels = accounts::channels(&neighbour, &sandbox_dir)?;
    let plan = Plan { settings, database_url: database_url.clone(), channels, clock: Clock::system(), listener, operations_listener: None };

    let line = ReadyLine {
        metrics_url: format!("{url}/metrics"),
        api_key: keys.api_key.clone(),
        ops_token: keys.ops_token.clone(),
        webhook_secret: keys.webhook_secret.clone(),
        console_url: None,
        sandbox_url: neighbour.control_url.clone(),
        database_url,
        pid: std::process::id(),
        url,
    };
    let (json, traffic) = (args.json, !args.no_traffic);
    let webhook_url = args.webhook_url.clone();
    let served = app::run(plan, move |running| {
        actix::spawn(async move {
            if let Err(complaint) = welcome(&running, &keys, webhook_url).await {
                tracing::error!(error = %complaint, "the sample merchant could not be made");
                // Its log is a file: the one who waits at the terminal is told too.
                let _exit_code_of_one_who_stops = fail(&complaint);
                running.stop();
                return;
            }
            announce(&line, json, moved, &data_dir);
            if traffic {
                actix::spawn(traffic::run(line.url.clone(), line.api_key.clone()));
            }
        });
    });
    drop(cluster);
    if served.is_ok() {
        say(args, "stopped; the data stay");
    }
    served.map_err(|error| explain(&error))
}

/// Says on standard error how far it is. Not with `--json`: there a script is reading.
fn say(args: &DemoArgs, progress: &str) {
    if !args.json {
        // Nobody may be reading: the demo goes on.
        let _ = writeln!(std::io::stderr(), "breakwater: {progress}");
    }
}

/// The sample merchant, with its key and perhaps a webhook endpoint, and an operator. The same at each start.
async fn welcome(running: &app::Running, keys: &Keys, webhook_url: Option<String>) -> Result<(), String> {
    let store = &running.store;
    let now = Clock::system().wall();
    let merchant = store.add_merchant("Sample Shop", false, now).await.map_err(|error| error.to_string())?;
    store.add_key(merchant, &keys::digest(&keys.api_key), &keys::hint(&keys.api_key), now).await.map_err(|error| error.to_string())?;
    store.add_operator("demo", "admin", &keys::digest(&keys.ops_token), now).await.map_err(|error| error.to_string())?;
    match webhook_url {
        Some(url) => tell(running, merchant, url, &keys.webhook_secret).await.map_err(|error| format!("--webhook-url: {error}")),
        None => Ok(()),
    }
}

/// Makes an endpoint at `url`, unless there is one from an earlier start.
async fn tell(running: &app::Running, merchant: uuid::Uuid, url: String, secret: &str) -> Result<(), DeskError> {
    let known = running.store.endpoints_of(merchant, None, ENDPOINTS_MAX).await?;
    if known.iter().any(|endpoint| endpoint.url == url) {
        return Ok(());
    }
    let wish = Wish { url, description: Some("demo --webhook-url".to_owned()), types: Vec::new(), secret: Secret::parse(secret).ok() };
    running.webhooks.create(Asker { merchant, livemode: false }, wish).await.map(|_| ())
}

fn data_dir(args: &DemoArgs) -> Result<PathBuf, String> {
    let chosen = match &args.data_dir {
        Some(given) => given.clone(),
        None => std::env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share")))
            .ok_or("there is no home directory to keep the demo in: give --data-dir")?
            .join("breakwater-demo"),
    };
    std::fs::create_dir_all(&chosen).map_err(|error| format!("{}: {error}; give another --data-dir", chosen.display()))?;
    chosen.canonicalize().map_err(|error| format!("{}: {error}", chosen.display()))
}

/// The first free port from `wished` on, and whether it is another one.
fn bind(wished: u16) -> Result<(TcpListener, u16, bool), String> {
    for port in wished..=wished.saturating_add(if wished == 0 { 0 } else { PORTS }) {
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(listener) => {
                let bound = listener.local_addr().map_err(|error| error.to_string())?.port();
                return Ok((listener, bound, wished != 0 && bound != wished));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(format!("127.0.0.1:{port} cannot be listened on: {error}; give another --port")),
        }
    }
    Err(format!("ports {wished} to {} are all taken: give another --port", wished.saturating_add(PORTS)))
}

fn settings(data_dir: &Path) -> Result<Settings, String> {
    let mut settings = Settings::default();
    settings.database.read_connections = 16;
    // The only merchant here is whoever runs the demo, with a receiver on this machine.
    settings.webhooks.allow_private = true;
    let ring = vec![("demo".to_owned(), keys::card_key(data_dir)?)];
    settings.cards.sealing_keys = SealingKeys::new(ring).map_err(|error| format!("{}: {error}", data_dir.display()))?;
    // One merchant has this machine for itself, and whoever measures it wants to meet its limits and not ours.
    let limits = &mut settings.limits;
    for limit in [
        &mut limits.merchant_reads_per_second,
        &mut limits.merchant_reads_burst,
        &mut limits.merchant_writes_per_second,
        &mut limits.merchant_writes_burst,
        &mut limits.notifications_per_second,
        &mut limits.notifications_burst,
    ] {
        *limit = 1_000_000;
    }
    Ok(settings)
}

/// Alerts go to the sandbox, which keeps mails and text messages and sends none on.
fn alerts(neighbour: &sandbox::Running, url: &str, sms_after_ms: u64) -> Result<AlertSettings, String> {
    let smtp = neighbour.smtp.as_deref().and_then(|smtp| smtp.parse::<std::net::SocketAddr>().ok());
    let smtp = smtp.ok_or("the sandbox catches no mail")?;
    Ok(AlertSettings {
        recipients: vec!["oncall@shop.example".to_owned()],
        console_url: Some(url.to_owned()),
        sms_after_ms,
        smtp: Some(MailSettings {
            host: smtp.ip().to_string(),
            port: smtp.port(),
            security: Security::None,
            login: None,
            from: "Breakwater <alerts@shop.example>".to_owned(),
            extra_roots: None,
            timeout: ALERT_TIMEOUT,
        }),
        sms: Some(SmsSettings {
            provider: SmsProvider::Twilio { from: "+15005550006".to_owned() },
            address: neighbour.control_url.clone(),
            account: "AC00000000000000000000000000000000".to_owned(),
            secret: "demo".into(),
            to: vec!["+8613800000000".to_owned()],
            timeout: ALERT_TIMEOUT,
        }),
        ..AlertSettings::default()
    })
}

fn announce(line: &ReadyLine, json: bool, moved: bool, data_dir: &Path) {
    let mut out = std::io::stdout().lock();
    let text = if json {
        serde_json::to_string(line).unwrap_or_default() + "\n"
    } else {
        let moved = if moved { "   (the port you asked for is taken)" } else { "" };
        let create = format!("curl -s -w '\\n' {}/v1/payments -u {}: -H 'Content-Type: application/json'", line.url, line.api_key);
        format!(
            r#"Breakwater is running, and a sandbox plays Stripe, Alipay and two banks. No real money moves.

  API        {url}{moved}
  key        {key}
  operators  {url}/ops/v1/channels   with the token {ops}
  metrics    {url}/metrics   with the same token
  sandbox    {sandbox}/_control
  alerts     {sandbox}/_control/_mails   and the text messages in /_control/_texts
  data       {data}   (the log is demo.log)

Paste these into another terminal, one after the other:

  # 1. a payment
  PAYMENT=$({create} -H "Idempotency-Key: try-$(date +%s)" \
    -d '{{"amount":1250,"currency":"CNY","merchant_order_id":"A-'$(date +%s)'","payment_method":{{"type":"card_token","token":"pm_card_visa"}}}}'); echo "$PAYMENT"

  # 2. a refund of it
  curl -s -w '\n' {url}/v1/refunds -u {key}: -H 'Content-Type: application/json' -H "Idempotency-Key: back-$(date +%s)" \
    -d '{{"payment_id":"'$(echo "$PAYMENT" | grep -o 'pay_[0-9a-f]*' | head -1)'","merchant_refund_id":"R-'$(date +%s)'","amount":250}}'

  # 3. the third party breaks: it charges, and never answers. A payment finds out all the same; the last line heals it
  curl -s -w '\n' -X PUT {sandbox}/_control/stripe_main/faults -d '{{"mode":"timeout_processed"}}' && \
  {create} -H "Idempotency-Key: lost-$(date +%s)" \
    -d '{{"amount":1250,"currency":"CNY","merchant_order_id":"B-'$(date +%s)'","payment_method":{{"type":"card_token","token":"pm_card_visa"}}}}' && \
  curl -s -X DELETE {sandbox}/_control/stripe_main/faults

Ctrl-C stops it; the data stay. `breakwater demo --reset` starts clean.
"#,
            url = line.url,
            key = line.api_key,
            ops = line.ops_token,
            sandbox = line.sandbox_url,
            data = data_dir.display(),
        )
    };
    // Nobody may be reading any more: the demo goes on.
    let _reader_gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

//! `breakwater alerts`: does a mail get through, and if not, at which word of the dialogue does it stop?

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use uuid::Uuid;

use super::{fail, print};
use crate::alert::mail::{self, Mail, MailError};
use crate::alert::sms::SmsOutcome;
use crate::app::alerter_settings;
use crate::channel::http_pool::tls_config;
use crate::clock::Clock;
use crate::config::{AlertSettings, Settings};

/// Try how alerts are sent
#[derive(Debug, Args)]
#[command(after_help = "Example:
  breakwater alerts test --to ops@example.com --config breakwater.toml")]
pub struct AlertsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Test(Test),
}

/// Send one mail or text message by the settings' server, and print the dialogue with it, without secrets
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  breakwater alerts test --to ops@example.com
  breakwater alerts test --to ops@example.com --config /etc/breakwater.toml
  breakwater alerts test --to +8613800000000          a text message, which costs what one costs

Lines that begin with > are ours, with < the server's. Exit codes: 0 the server has taken the mail, 1 it has not, 2 wrong usage.")]
struct Test {
    /// Who gets it: a mail address, or a number in E.164
    #[arg(long, value_name = "ADDRESS")]
    to: String,
    /// The settings file
    #[arg(long, env = "BREAKWATER_CONFIG", default_value = "breakwater.toml", value_name = "FILE")]
    config: PathBuf,
}

/// Sends the test mail.
pub fn run(args: &AlertsArgs) -> ExitCode {
    match &args.command {
        Command::Test(test) => test.run(),
    }
}

impl Test {
    fn run(&self) -> ExitCode {
        let settings = match Settings::load(&self.config) {
            Ok(settings) => settings,
            Err(faults) => {
                let list: Vec<String> = faults.iter().map(ToString::to_string).collect();
                return fail(&list.join("\n"));
            }
        };
        if self.to.starts_with('+') {
            return self.text(&settings.alerts);
        }
        let Some(smtp) = settings.alerts.smtp else {
            return fail(&format!("{} names no mail server: give host and from in [alerts.smtp]", self.config.display()));
        };
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return fail(&format!("the runtime cannot be started: {error}")),
        };
        let message_id = format!("<test.{}@breakwater.invalid>", Uuid::new_v4().simple());
        let mail = Mail {
            to: &self.to,
            subject: "[TEST] Breakwater can send you mail",
            body: "This is a test by `breakwater alerts test`. Nothing is wrong, and there is nothing to do.\n",
            message_id: &message_id,
            in_reply_to: None,
            date: Clock::system().wall(),
        };
        // A reader who has gone (`| head`) is no reason not to send.
        let sent = runtime.block_on(mail::send(&smtp, &mail, |line| {
            let _ = writeln!(std::io::stdout(), "{line}");
        }));
        match sent {
            Ok(_) => print(&format!("The server has taken the mail to {}.\n", self.to)),
            Err(error) => fail(&format!("the mail was not sent: {error}; {}", next(&error))),
        }
    }

    fn text(&self, settings: &AlertSettings) -> ExitCode {
        let clock = Clock::system();
        let settings = tls_config()
            .map_err(|error| error.to_string())
            .and_then(|tls| alerter_settings(settings, &tls, &clock).map_err(|error| error.to_string()));
        let (sms, carrier) = match settings.map(|settings| settings.sms) {
            Ok(Some(sms)) => sms,
            Ok(None) => return fail(&format!("{} names no provider of text messages: give [alerts.sms]", self.config.display())),
            Err(error) => return fail(&error),
        };
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return fail(&format!("the runtime cannot be started: {error}")),
        };
        let (reference, nonce) = (Uuid::new_v4().simple().to_string(), Uuid::new_v4().simple().to_string());
        let request = sms.request(&self.to, "Breakwater can reach you. Nothing is wrong.", &reference, clock.wall(), &nonce);
        let shown = print(&format!("> POST {}{}\n", sms.address, request.path));
        match sms.outcome(runtime.block_on(carrier.carry(request))) {
            SmsOutcome::Accepted(name) => {
                print(&format!("< taken, as {name}\n"));
                shown
            }
            SmsOutcome::Later(why) => fail(&format!("the text message was not sent: {why}; check the address, and try again")),
            SmsOutcome::Unknown(why) => fail(&format!("it is not known whether the text message was sent: {why}; look at {}", self.to)),
            SmsOutcome::Refused(why) => fail(&format!("the text message was refused: {why}; correct [alerts.sms] or --to")),
        }
    }
}

/// What to do about it.
const fn next(error: &MailError) -> &'static str {
    match error {
        MailError::Settings(_) => "correct [alerts.smtp] or --to",
        MailError::Refused(_) => "correct what the server complains about: user, password, sender or recipient",
        MailError::Later(_) => "check host, port and security in [alerts.smtp], and that the server can be reached from here",
        MailError::Timeout { .. } => {
            "check that host and port are those of a mail server and that security fits the port; a server that is only slow needs a longer timeout_ms"
        }
    }
}

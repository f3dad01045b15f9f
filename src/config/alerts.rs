//! The settings of alerts: who is told, by whose servers, and when.

use std::time::Duration;

use secrecy::SecretString;
use toml::Value;

use super::fault::Faults;
use super::secret::{self, SOURCES, Sources};
use super::section::Section;
use super::server::public_url;
use crate::alert::{MailSettings, Security, SmsProvider, SmsSettings, mail};

const ADDRESS: &str = "give a mail address, such as \"ops@example.com\"";
const NUMBER: &str = "give numbers in E.164, such as \"+8613800000000\"";
const WEB: &str = "give scheme and host, such as \"https://ops.example.com\"";

/// `[alerts]`. Without recipients nobody is told, and alerts are only listed at `/ops/v1/alerts`.
#[derive(Clone, Debug)]
pub struct AlertSettings {
    /// Who gets mail; default nobody. Each gets each mail by itself.
    pub recipients: Vec<String>,
    /// The address under which operators reach `/ops`, for the links in mails; default none, and mails then name paths alone.
    pub console_url: Option<String>,
    /// The runbook; an alert's kind is an anchor in it; default none.
    pub runbook_url: Option<String>,
    /// An outcome that is unknown for longer raises an alert, in ms; default 900,000, 1000 to 604,800,000. Too low pages for what the poller
    /// resolves by itself; too high leaves a customer in doubt for that long before anybody knows.
    pub unknown_after_ms: u64,
    /// A poller without a successful sweep for longer, or a notifier without a successful round, raises an alert, in ms; default 60,000, 1000 to
    /// 3,600,000. Too low pages for a slow database.
    pub poller_stalled_after_ms: u64,
    /// Webhooks that wait for longer raise an alert, in ms; default 900,000, 1000 to 604,800,000. Too low tells of every merchant's restart.
    pub undelivered_after_ms: u64,
    /// How long a page waits for an acknowledgement before it is a text message, in ms; default 300,000, 0 (at once) to 86,400,000.
    pub sms_after_ms: u64,
    /// Between two mails about an alert that lasts, in ms; default 14,400,000, 60,000 to 604,800,000. Too low is a flood that is filtered away.
    pub repeat_every_ms: u64,
    /// How mail is sent; required with recipients.
    pub smtp: Option<MailSettings>,
    /// How text messages are sent, and to whom; default none.
    pub sms: Option<SmsSettings>,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            recipients: Vec::new(),
            console_url: None,
            runbook_url: None,
            unknown_after_ms: 900_000,
            poller_stalled_after_ms: 60_000,
            undelivered_after_ms: 900_000,
            sms_after_ms: 300_000,
            repeat_every_ms: 14_400_000,
            smtp: None,
            sms: None,
        }
    }
}

impl AlertSettings {
    /// Reads `[alerts]`, its faults reported.
    pub(super) fn read(mut section: Section<'_>, env: &dyn Fn(&str) -> Option<String>, faults: &Faults<'_>) -> Self {
        const WEEK_MS: u64 = 604_800_000;
        let default = Self::default();
        let recipients = section.parsed_list("recipients", ADDRESS, address).unwrap_or_default();
        let smtp = smtp(section.section("smtp"), env, faults);
        if smtp.is_none() && !recipients.is_empty() {
            section.fault("smtp.host", "it is missing, and there are recipients", "name the mail server, or remove the recipients");
        }
        let settings = Self {
            recipients,
            console_url: section.parsed("console_url", WEB, public_url),
            runbook_url: section.parsed("runbook_url", WEB, public_url),
            unknown_after_ms: section.number("unknown_after_ms", default.unknown_after_ms, 1_000, WEEK_MS),
            poller_stalled_after_ms: section.number("poller_stalled_after_ms", default.poller_stalled_after_ms, 1_000, 3_600_000),
            undelivered_after_ms: section.number("undelivered_after_ms", default.undelivered_after_ms, 1_000, WEEK_MS),
            sms_after_ms: section.number("sms_after_ms", default.sms_after_ms, 0, 86_400_000),
            repeat_every_ms: section.number("repeat_every_ms", default.repeat_every_ms, 60_000, WEEK_MS),
            smtp,
            sms: sms(section.section("sms"), env, faults),
        };
        section.end();
        settings
    }
}

fn address(text: &str) -> Option<String> {
    mail::is_address(text).then(|| text.to_owned())
}

fn smtp(mut section: Section<'_>, env: &dyn Fn(&str) -> Option<String>, faults: &Faults<'_>) -> Option<MailSettings> {
    let host = section.parsed("host", "give the server's name", |text| (!text.trim().is_empty()).then(|| text.trim().to_owned()));
    let security = section.parsed("security", "use starttls, implicit or none", Security::parse).unwrap_or(Security::StartTls);
    let port = section.number_or_none("port", 1, u16::MAX).unwrap_or(security.default_port());
    let user = section.text("user");
    let password =
        section.take("password").and_then(|value| secret::read(&value, &section.place("password"), Sources { env, literal: false }, faults));
    let has_password = password.is_some();
    let login = match (user, password) {
        (Some(_), _) if security == Security::None => {
            section.fault("user", "a password is not sent without TLS", "use security = \"starttls\" or \"implicit\", or remove the user");
            None
        }
        (Some(user), Some(password)) => Some((user, password)),
        (Some(_), None) => {
            section.missing("password", SOURCES);
            None
        }
        (None, _) => {
            if has_password {
                section.missing("user", "name the user that the password is for, or remove the password");
            }
            None
        }
    };
    let from = section.parsed("from", ADDRESS, address);
    let extra_roots = section.text("ca_file").and_then(|path| file(&section, "ca_file", &path, faults));
    let timeout = Duration::from_millis(section.number("timeout_ms", 20_000, 1_000, 60_000));
    let settings = match (host, from) {
        (Some(host), Some(from)) => Some(MailSettings { host, port, security, login, from, extra_roots, timeout }),
        (Some(_), None) => {
            section.missing("from", ADDRESS);
            None
        }
        (None, _) => None,
    };
    section.end();
    settings
}

fn sms(mut section: Section<'_>, env: &dyn Fn(&str) -> Option<String>, faults: &Faults<'_>) -> Option<SmsSettings> {
    let name = section.parsed("provider", "use twilio or alibaba", |text| ["twilio", "alibaba"].into_iter().find(|known| *known == text));
    let to = section.parsed_list("to", NUMBER, number).unwrap_or_default();
    let given_address = section.parsed("address", "give scheme, host and port, such as \"https://api.twilio.com\"", public_url);
    let account = section.text("account");
    let secret: Option<SecretString> =
        section.take("secret").and_then(|value: Value| secret::read(&value, &section.place("secret"), Sources { env, literal: false }, faults));
    let from = section.text("from");
    let sign_name = section.text("sign_name");
    let template = section.text("template");
    let timeout = Duration::from_millis(section.number("timeout_ms", 10_000, 1_000, 60_000));
    let provider = match (name, from, sign_name, template) {
        (Some("twilio"), Some(from), _, _) => Some(SmsProvider::Twilio { from }),
        (Some("twilio"), None, _, _) => {
            section.missing("from", "give a number of the account in E.164, or a messaging service's id");
            None
        }
        (Some(_), _, Some(sign_name), Some(template)) => Some(SmsProvider::Alibaba { sign_name, template }),
        (Some(_), _, _, _) => {
            section.missing("template", "give the approved sign_name and template; the template's one variable is \"message\"");
            None
        }
        (None, ..) => None,
    };
    let settings = provider.and_then(|provider| {
        if account.is_none() {
            section.missing("account", "give the account SID, or the access key's id");
        }
        if secret.is_none() {
            section.missing("secret", SOURCES);
        }
        if to.is_empty() {
            section.missing("to", NUMBER);
        }
        let address = given_address.unwrap_or_else(|| provider.default_address().to_owned());
        Some(SmsSettings { provider, address, account: account?, secret: secret?, to, timeout })
    });
    section.end();
    settings
}

/// A number in E.164.
fn number(text: &str) -> Option<String> {
    let digits = text.strip_prefix('+')?;
    ((6..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.to_owned())
}

/// The bytes of a file that is no secret, looked for beside the settings file.
fn file(section: &Section<'_>, field: &str, path: &str, faults: &Faults<'_>) -> Option<Vec<u8>> {
    let path = std::path::Path::new(faults.file()).parent().unwrap_or(std::path::Path::new("")).join(path);
    match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            section.fault(field, format!("the file {} cannot be read: {error}", path.display()), "name a file of certificates in PEM");
            None
        }
    }
}

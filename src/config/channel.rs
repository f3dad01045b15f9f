//! The settings of one channel: one account at one provider.

use std::time::Duration;

use http::Uri;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use toml::{Table, Value};

use super::certificate::first_end;
use super::secret::{self, SOURCES, Sources};
use super::section::Section;
use crate::channel::guard::{GuardSettings, MIN_IN_FLIGHT};
use crate::domain::{Currency, MethodKind, Unanswered, Wallet};
use crate::provider::{self, Account, AccountField, Credentials, FieldKind, Provider};

/// The classes of a guard's breakers, each a table of its own.
const CLASSES: [&str; 3] = ["pay", "resolve", "refund"];

/// The account fields that hold certificates: ours, with its chain, and those of the authority that the other side's leads to.
const CERTIFICATE_FIELDS: [&str; 2] = ["certificate", "authority"];

/// Whether real money moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It does not.
    Test,
    /// It does.
    Live,
}

impl Mode {
    /// Whether real money moves.
    pub const fn livemode(self) -> bool {
        matches!(self, Self::Live)
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            "test" => Some(Self::Test),
            "live" => Some(Self::Live),
            _ => None,
        }
    }
}

/// What this build knows of a provider before any setting is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderDefaults {
    /// Where its production service is.
    pub address: String,
    /// How long one call to it may take.
    pub timeout: Duration,
    /// How its customers can pay.
    pub methods: &'static [MethodKind],
    /// Whose codes and pages it has.
    pub wallets: &'static [Wallet],
    /// What `[channels.account]` holds.
    pub account_fields: &'static [AccountField],
    /// Whether a channel cannot do without `secret_key`.
    pub needs_secret_key: bool,
}

impl ProviderDefaults {
    /// Those of the registered provider of this name, if there is one.
    pub fn find(name: &str) -> Option<Self> {
        provider::find(name).map(|provider| Self {
            address: provider.default_address().to_owned(),
            timeout: provider.default_timeout(),
            methods: provider.contract().methods,
            wallets: provider.wallets(),
            account_fields: provider.account_fields(),
            needs_secret_key: provider.needs_secret_key(),
        })
    }
}

/// One channel. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct ChannelSettings {
    /// Its name in addresses, rows and metrics: `^[a-z][a-z0-9_]{0,31}$`, unique. Rows keep it for ever: a renamed channel is a new one, and the
    /// refunds of the old one find no way home.
    pub id: String,
    /// Whose protocol it speaks: the name of a provider of this build. Required.
    pub provider: String,
    /// `test` or `live`. Required, without a default, because it decides whether real money moves.
    pub mode: Mode,
    /// Scheme, host and port of the service; default the provider's production service. `http` is for test mode only: live, it would carry the
    /// key in the clear.
    pub address: String,
    /// What we authenticate with. Required by the providers that have such a thing; empty for the others.
    pub secret_key: SecretString,
    /// What its provider must know of the account, by the names that the provider gives: application ids, keys, terminals. Which there are, and
    /// which are required, is told by `breakwater channels fields PROVIDER`.
    pub account: Account,
    /// What notifications may be signed with, newest first; more than one while they rotate; default none, and then every notification is
    /// refused and outcomes are learned by asking alone.
    pub notification_secrets: Vec<SecretString>,
    /// How its customers can pay; left out, whatever the provider can. A method that the account was not granted is declined by the provider
    /// payment by payment, where routing could have avoided it.
    pub methods: Option<Vec<MethodKind>>,
    /// Whose codes and pages it has; left out, the provider's own: `alipay` for Alipay, none for cards.
    pub wallets: Vec<Wallet>,
    /// The currencies that its account takes; default empty, which means any.
    pub currencies: Vec<Currency>,
    /// The merchants whose account it is, each by name or id: only their payments go through it; default empty, and all merchants of its mode
    /// share it. Names are looked up at the start, in the channel's mode; one that is unknown then stops the start.
    pub merchants: Vec<String>,
    /// Its place in routing, lowest first; default 100, -1000 to 1000. Channels of equal priority share the payments evenly.
    pub priority: i32,
    /// How long one call may take, in ms; default the provider's (3,000 for most), 50 to 120,000. Too low turns slow answers into unknowns; too
    /// high holds a payment that another channel could take.
    pub timeout_ms: u64,
    /// Connections at most, busy and idle; default 64, 1 to 512. A call beyond it is not sent. Too low turns payments away from a healthy
    /// channel; too high may exceed what the provider allows an account.
    pub pool_size: usize,
    /// How long finding, connecting and securing a connection may take, in ms; default 1,000, 10 to 30,000. Too low fails a distant peer that
    /// is healthy; too high spends a payment's deadline on a dead one.
    pub connect_timeout_ms: u64,
    /// How long a connection is kept unused, in ms; default 4,000, 0 (never kept) to 300,000. Must be below the peer's keep-alive: at or above
    /// it, requests meet the peer's goodbye half-way and end unknown.
    pub idle_timeout_ms: u64,
    /// Calls that may wait for the channel's actor; default 1,024, 16 to 65,536. They wait microseconds unless its thread is stalled; beyond it
    /// calls are not sent.
    pub mailbox: usize,
    /// Breakers and room. A class's `call_timeout_ms` that is left out is `timeout_ms`; one below it is a fault, because a probe that is still
    /// running would re-open the breaker.
    pub guard: GuardSettings,
}

impl ChannelSettings {
    /// A test channel with every default, for demo and tests: the rest are public fields.
    pub fn test(id: &str, provider: &str, address: &str, secret_key: &str) -> Self {
        Self {
            id: id.to_owned(),
            provider: provider.to_owned(),
            mode: Mode::Test,
            address: address.to_owned(),
            secret_key: SecretString::from(secret_key),
            account: Account::default(),
            notification_secrets: Vec::new(),
            methods: None,
            wallets: provider::find(provider).map(|provider| provider.wallets().to_vec()).unwrap_or_default(),
            currencies: Vec::new(),
            merchants: Vec::new(),
            priority: 100,
            timeout_ms: 3_000,
            pool_size: 64,
            connect_timeout_ms: 1_000,
            idle_timeout_ms: 4_000,
            mailbox: 1_024,
            guard: GuardSettings::default(),
        }
    }

    /// Its secrets, as its provider takes them.
    pub fn credentials(&self) -> Credentials {
        Credentials {
            address: self.address.clone(),
            account: self.account.clone(),
            secret_key: self.secret_key.clone(),
            notification_secrets: self.notification_secrets.clone(),
        }
    }

    /// The guard that it has in one of so many instances: what was left out is what `provider` documents, and its part of that is this
    /// process's.
    ///
    /// # Errors
    /// A sentence for each figure of which an instance would have no part, naming the field.
    pub fn guard_of(&self, provider: &dyn Provider, instances: u32) -> Result<GuardSettings, Vec<String>> {
        let mut guard = self.guard.clone();
        guard.max_in_flight = guard.max_in_flight.min(u32::try_from(self.pool_size).unwrap_or(u32::MAX)).max(MIN_IN_FLIGHT);
        if self.address == provider.default_address() {
            guard.follow_contract(|class| provider.documented_rate(class, self.mode.livemode()));
        }
        if provider.contract().unanswered == Unanswered::Reverse {
            guard.probe_by_time();
        }
        guard.divide(instances)?;
        Ok(guard)
    }

    /// The certificates of its account, by their fields, and when each ends; `None` for one that cannot be read.
    pub fn certificate_ends(&self) -> impl Iterator<Item = (&'static str, Option<Timestamp>)> {
        CERTIFICATE_FIELDS.into_iter().filter_map(|field| Some((field, first_end(self.account.secret(field)?))))
    }

    /// Reads the `index`th `[[channels]]` table, its faults reported. What is missing or wrong has some value in the answer, which is only used
    /// when there was no fault.
    pub(super) fn read(
        mut section: Section<'_>,
        env: &dyn Fn(&str) -> Option<String>,
        provider: &dyn Fn(&str) -> Option<ProviderDefaults>,
        faults: &super::fault::Faults<'_>,
    ) -> Self {
        if !section.has("id") {
            section.missing("id", "name the channel, such as \"stripe_main\"");
        }
        let id = section.parsed("id", "use 1 to 32 of a-z, 0-9 and _, a letter first", |text| is_id(text).then(|| text.to_owned()));
        let has_provider = section.has("provider");
        let name = section.text("provider");
        let known = name.as_deref().and_then(provider);
        match (&name, &known) {
            (None, _) if !has_provider => section.missing("provider", "name the provider whose protocol it speaks, such as \"stripe\""),
            (Some(name), None) => section.fault(
                "provider",
                format!("this build knows no provider \"{}\"", name.escape_debug()),
                "name one that it knows, such as \"stripe\"",
            ),
            _ => {}
        }
        let has_mode = section.has("mode");
        let given_mode = section.parsed("mode", "say \"test\" or \"live\"", Mode::parse);
        if !has_mode {
            section.missing("mode", "say \"test\" or \"live\": it decides whether real money moves");
        }
        // A mode that cannot be read was reported; a literal secret beside it must not be reported for that.
        let mode = given_mode.unwrap_or(Mode::Test);
        let address = section.text("address");
        if let Some(why) = address.as_deref().and_then(|address| address_fault(address, mode)) {
            section.fault("address", why, "give scheme, host and port alone, as https://api.example.com; https in live mode");
        }
        let sources = Sources { env, literal: !mode.livemode() };
        let secret_key = section.take("secret_key").map(|value| secret::read(&value, &section.place("secret_key"), sources, faults));
        match &secret_key {
            None if known.as_ref().is_none_or(|known| known.needs_secret_key) => section.missing("secret_key", SOURCES),
            None => {}
            Some(Some(key)) if given_mode.is_some() => key_fault(&section, key, mode),
            Some(_) => {}
        }
        let notification_secrets = section.list("notification_secrets").unwrap_or_default();
        let notification_secrets = notification_secrets
            .iter()
            .enumerate()
            .filter_map(|(index, value)| secret::read(value, &section.place(&format!("notification_secrets[{index}]")), sources, faults))
            .collect();
        let like = Self::test(
            &id.unwrap_or_default(),
            &name.unwrap_or_default(),
            address.as_deref().or(known.as_ref().map(|known| known.address.as_str())).unwrap_or_default().trim_end_matches('/'),
            "",
        );
        let like_fields = known.as_ref().map_or(&[][..], |known| known.account_fields);
        let own_wallets = known.as_ref().map_or(&[][..], |known| known.wallets);
        let provider_timeout = known.map_or(like.timeout_ms, |known| u64::try_from(known.timeout.as_millis()).unwrap_or(u64::MAX));
        if section.has_empty_list("methods") {
            section.fault(
                "methods",
                "the list is empty, so no payment could use the channel",
                "leave it out for all that the provider can, or name some",
            );
        }
        let account = account(&mut section, like_fields, sources, faults);
        let timeout_ms = section.number("timeout_ms", provider_timeout, 50, 120_000);
        let settings = Self {
            mode,
            secret_key: secret_key.flatten().unwrap_or_default(),
            account,
            notification_secrets,
            methods: section.parsed_list("methods", "use qr, barcode, redirect, card_token, card", parse_serde),
            wallets: section.parsed_list("wallets", "use alipay, wechatpay, unionpay", parse_serde).unwrap_or_else(|| own_wallets.to_vec()),
            currencies: section
                .parsed_list("currencies", "use three-letter ISO 4217 codes in capitals, such as \"CNY\"", Currency::parse)
                .unwrap_or_default(),
            merchants: section.parsed_list("merchants", "give a merchant's name or id, each once", merchant_name).unwrap_or_default(),
            priority: section.number("priority", like.priority, -1_000, 1_000),
            timeout_ms,
            pool_size: section.number("pool_size", like.pool_size, 1, 512),
            connect_timeout_ms: section.number("connect_timeout_ms", like.connect_timeout_ms, 10, 30_000),
            idle_timeout_ms: section.number("idle_timeout_ms", like.idle_timeout_ms, 0, 300_000),
            mailbox: section.number("mailbox", like.mailbox, 16, 65_536),
            guard: guard(&mut section, timeout_ms),
            ..like
        };
        section.end();
        settings
    }
}

/// Reads the account's table: every field that the provider names, each parsed as it asks.
fn account(section: &mut Section<'_>, fields: &'static [AccountField], sources: Sources<'_>, faults: &super::fault::Faults<'_>) -> Account {
    let mut table = section.section("account");
    let mut account = Account::default();
    for field in fields {
        let Some(value) = table.take(field.name) else {
            if field.required {
                table.missing(field.name, field.help);
            }
            continue;
        };
        let key = matches!(field.kind, FieldKind::PrivateKey | FieldKind::PublicKey);
        let filled = match &value {
            _ if field.kind == FieldKind::Store => match secret::read_bytes(&value, &table.place(field.name), faults) {
                Some(bytes) => account.set_bytes(field, bytes),
                None => continue,
            },
            _ if field.kind.is_secret() || (key && value.is_table()) => {
                // A public key is nobody's secret: it may stand in the file, or lie in one of its own.
                let sources = Sources { literal: sources.literal || !field.kind.is_secret(), ..sources };
                match secret::read(&value, &table.place(field.name), sources, faults) {
                    Some(text) => account.set_text(field, text.expose_secret()),
                    None => continue,
                }
            }
            Value::String(text) => account.set_text(field, text),
            Value::Integer(number) => account.set_number(field, *number),
            Value::Boolean(flag) => account.set_flag(field, *flag),
            other => {
                table.wrong_type(field.name, "a text, a whole number, or true or false", other);
                continue;
            }
        };
        if let Err(error) = filled {
            table.fault(field.name, error.to_string(), field.help);
        }
    }
    table.end();
    account
}

/// What may name a merchant: the same bounds as the database has.
fn merchant_name(text: &str) -> Option<String> {
    let text = text.trim();
    ((1..=100).contains(&text.chars().count()) && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// Whether it may name a channel.
pub(super) fn is_id(text: &str) -> bool {
    text.len() <= 32
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Why it is not the address of a service, if it is not.
fn address_fault(address: &str, mode: Mode) -> Option<&'static str> {
    let Ok(uri) = address.parse::<Uri>() else { return Some("it is not an address") };
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if !mode.livemode() => {}
        Some("http") => return Some("it is http on a live channel, which would send the secret key in the clear"),
        _ => return Some("it starts with neither https:// nor http://"),
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Some("it has a user or password in it");
    }
    if uri.path() != "/" || uri.query().is_some() { Some("it has a path, and paths are the provider's") } else { None }
}

/// Reports a key that says itself that it belongs to the other mode.
fn key_fault(section: &Section<'_>, key: &SecretString, mode: Mode) {
    let key = key.expose_secret();
    let says = |word: &str| key.starts_with(&format!("sk_{word}_")) || key.starts_with(&format!("rk_{word}_"));
    match mode {
        Mode::Test if says("live") => {
            section.fault("secret_key", "it is a live key on a test channel", "use the account's test key, or mode = \"live\"")
        }
        Mode::Live if says("test") => {
            section.fault("secret_key", "it is a test key on a live channel", "use the account's live key, or mode = \"test\"")
        }
        _ => {}
    }
}

/// The value whose serialized name this is; the names are those of the API.
fn parse_serde<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    Value::String(text.to_owned()).try_into().ok()
}

/// Reads the guard's table. Its own deserializer stops at the first fault, so it is given one field at a time before it is given them all.
fn guard(section: &mut Section<'_>, timeout_ms: u64) -> GuardSettings {
    let table = match section.take("guard") {
        None => Table::new(),
        Some(Value::Table(table)) => table,
        Some(other) => {
            section.wrong_type("guard", "a table", &other);
            return GuardSettings::default();
        }
    };
    let mut sound = true;
    let mut judge = |field: &str, alone: Table| {
        if let Err(error) = Value::Table(alone).try_into::<GuardSettings>() {
            sound = false;
            section.fault(&format!("guard.{field}"), error.message(), "correct it, or remove it for the default");
        }
    };
    for (field, value) in &table {
        match value {
            Value::Table(class) if CLASSES.contains(&field.as_str()) => {
                for (inner, value) in class {
                    judge(&format!("{field}.{inner}"), single(field, Value::Table(single(inner, value.clone()))));
                }
            }
            _ => judge(field, single(field, value.clone())),
        }
    }
    if !sound {
        return GuardSettings::default();
    }
    let given = CLASSES.map(|class| table.get(class).and_then(|class| class.get("call_timeout_ms")).and_then(Value::as_integer));
    let mut settings: GuardSettings = Value::Table(table).try_into().unwrap_or_default();
    for ((class, given), breaker) in CLASSES.into_iter().zip(given).zip([&mut settings.pay, &mut settings.resolve, &mut settings.refund]) {
        if given.is_none() {
            breaker.call_timeout_ms = timeout_ms;
        } else if breaker.call_timeout_ms < timeout_ms {
            section.fault(
                &format!("guard.{class}.call_timeout_ms"),
                format!(
                    "it is {}, below timeout_ms, which is {timeout_ms}: a probe that is still running would re-open the breaker",
                    breaker.call_timeout_ms
                ),
                "raise it, or remove it to follow timeout_ms",
            );
        }
    }
    for fault in settings.validate().err().unwrap_or_default() {
        let (field, what) = fault.split_once(" is ").unwrap_or(("", fault.as_str()));
        let field = if field.is_empty() { "guard".to_owned() } else { format!("guard.{field}") };
        section.fault(&field, format!("it is {what}"), "correct it, or remove it for the default");
    }
    settings
}

fn single(field: &str, value: Value) -> Table {
    let mut table = Table::new();
    table.insert(field.to_owned(), value);
    table
}

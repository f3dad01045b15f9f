//! What the sandbox is told at its start. Every field has a default; all that is wrong is reported at once.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// One configured account at a provider: a channel, seen from the other side.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSettings {
    /// The channel's id, as the orchestrator names it: lower-case letters, digits and `_`, at most 64.
    pub id: String,
    /// The provider; `stripe` unless said, or `alipay`, `iso8583`, `wechatpay`.
    #[serde(default = "stripe")]
    pub provider: String,
    /// Stripe: what requests must carry; begins with `sk_test_`.
    #[serde(default)]
    pub secret_key: String,
    /// Stripe: what notifications are signed with; begins with `whsec_`.
    #[serde(default)]
    pub webhook_secret: String,
    /// Alipay's own settings.
    #[serde(default)]
    pub alipay: AlipaySettings,
    /// A bank's own settings.
    #[serde(default)]
    pub bank: BankSettings,
    /// WeChat Pay's own settings.
    #[serde(default)]
    pub wechatpay: WechatPaySettings,
    /// The port; 0 takes the one of the last run, or any.
    #[serde(default)]
    pub port: u16,
}

fn stripe() -> String {
    "stripe".to_owned()
}

impl AccountSettings {
    /// A Stripe account with keys made from its id: for tests and demos.
    pub fn stripe(id: &str) -> Self {
        Self { secret_key: format!("sk_test_{id}"), webhook_secret: format!("whsec_{id}"), ..Self::of(&stripe(), id) }
    }

    /// An Alipay account with the test numbers of [`AlipaySettings::default`], whose keys are made in the data directory: for tests and demos.
    pub fn alipay(id: &str) -> Self {
        Self::of("alipay", id)
    }

    /// A bank's account with the terminal and merchant of [`BankSettings::default`]: for tests and demos.
    pub fn bank(id: &str) -> Self {
        Self::of("iso8583", id)
    }

    /// A WeChat Pay account with the test numbers of [`WechatPaySettings::default`], whose keys are made in the data directory: for tests and demos.
    pub fn wechatpay(id: &str) -> Self {
        Self::of("wechatpay", id)
    }

    fn of(provider: &str, id: &str) -> Self {
        Self {
            id: id.to_owned(),
            provider: provider.to_owned(),
            secret_key: String::new(),
            webhook_secret: String::new(),
            alipay: AlipaySettings::default(),
            bank: BankSettings::default(),
            wechatpay: WechatPaySettings::default(),
            port: 0,
        }
    }
}

/// What only an Alipay account has. Keys that are not given lie in the data directory, and are made there when they are missing:
/// `{id}.app_private_key.pem` and `{id}.alipay_public_key.pem` are what the orchestrator needs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlipaySettings {
    /// The application's number.
    pub app_id: String,
    /// The merchant's number, `2088…`.
    pub seller_id: String,
    /// The application's public key as PEM text: what requests must be signed for.
    pub app_public_key: Option<String>,
    /// Alipay's private key as PEM text (PKCS#1 or PKCS#8): what answers and notices are signed with.
    pub alipay_private_key: Option<String>,
}

impl Default for AlipaySettings {
    fn default() -> Self {
        Self { app_id: "2021000000000001".to_owned(), seller_id: "2088000000000099".to_owned(), app_public_key: None, alipay_private_key: None }
    }
}

/// What only a bank's account has. The names are those of the orchestrator's account fields.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BankSettings {
    /// How messages are written: `ascii_hex_bitmap`, `ascii_binary_bitmap`, `bcd`, `bcd_all_numeric`.
    pub profile: String,
    /// What stands before each: `two_bytes`, `two_bytes_with_itself`, `four_digits`.
    pub framing: String,
    /// Whether five bytes of routing follow.
    pub tpdu: bool,
    /// The terminal that it knows, without blanks at the end.
    pub terminal: String,
    /// The merchant that it knows, without blanks at the end.
    pub merchant: String,
    /// Whether a connection must sign on before anything else.
    pub sign_on: bool,
    /// Mutual TLS; plain TCP without.
    pub tls: Option<BankTls>,
    /// The second front end's port; 0 takes the one of the last run, or any.
    pub second_port: u16,
    /// Each answer waits up to so many milliseconds, so that answers overtake each other.
    pub shuffle_ms: u64,
}

/// What only a WeChat Pay account has. Keys that are not given lie in the data directory, and are made there when they are missing:
/// `{id}.merchant_private_key.pem` and `{id}.platform_public_key.pem` are what the orchestrator needs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WechatPaySettings {
    /// The merchant's number.
    pub mchid: String,
    /// The app that it is bound to.
    pub appid: String,
    /// The serial number of the merchant's certificate.
    pub serial_no: String,
    /// What notifications are sealed with: 32 bytes.
    pub apiv3_key: String,
    /// What the platform calls its key.
    pub platform_serial: String,
    /// The merchant's public key as PEM text: what requests must be signed for.
    pub merchant_public_key: Option<String>,
    /// The platform's private key as PEM text (PKCS#8): what answers and notifications are signed with.
    pub platform_private_key: Option<String>,
}

impl Default for WechatPaySettings {
    fn default() -> Self {
        Self {
            mchid: "1900009191".to_owned(),
            appid: "wxd678efh567hg6787".to_owned(),
            serial_no: "5157F09EFDC096DE15EBE81A47057A7232F1B8E1".to_owned(),
            apiv3_key: "SandboxApiV3KeyOf32BytesInLength".to_owned(),
            platform_serial: "PUB_KEY_ID_0119000091912026112000000000000001".to_owned(),
            merchant_public_key: None,
            platform_private_key: None,
        }
    }
}

/// The files of mutual TLS, all PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankTls {
    /// The bank's certificate, with its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Whose certificates it believes.
    pub authority: PathBuf,
}

impl Default for BankSettings {
    fn default() -> Self {
        Self {
            profile: "ascii_binary_bitmap".to_owned(),
            framing: "two_bytes".to_owned(),
            tpdu: false,
            terminal: "TERM0001".to_owned(),
            merchant: "BREAKWATER00001".to_owned(),
            sign_on: false,
            tls: None,
            second_port: 0,
            shuffle_ms: 2,
        }
    }
}

/// What [`super::Sandbox::start`] is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxSettings {
    /// The address of every listener; loopback unless said, because the control routes ask for no key.
    pub listen: IpAddr,
    /// The control listener's port; 0 takes the one of the last run, or any.
    pub control_port: u16,
    /// Where journals, ports and the lock lie; made when it is not there.
    pub data_dir: PathBuf,
    /// The accounts; `stripe_main` and `stripe_backup` unless said.
    pub accounts: Vec<AccountSettings>,
    /// How long after opening the page a customer pays, in milliseconds; 0 = never by themselves.
    pub pay_after_ms: u64,
    /// How long a refund of …07 stays pending; zero lets it succeed at once.
    pub pending_refund: Duration,
    /// How old a payment must be before search finds it, in milliseconds.
    pub search_lag_ms: u64,
    /// Alone for this long, the sandbox ends by itself; `None` = never.
    pub linger: Option<Duration>,
    /// Whether notifications are sent at all.
    pub notifications: bool,
    /// Where notifications go from the start; `PUT /_control/_orchestrator` replaces it.
    pub notify_url: Option<String>,
    /// The orchestrator's process from the start; `PUT /_control/_orchestrator` replaces it.
    pub orchestrator_pid: Option<u32>,
    /// Seeds the dice of the faults; `None` takes other dice each time.
    pub seed: Option<u64>,
}

impl SandboxSettings {
    /// The defaults, with everything kept in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            control_port: 0,
            data_dir: data_dir.into(),
            accounts: vec![AccountSettings::stripe("stripe_main"), AccountSettings::stripe("stripe_backup")],
            pay_after_ms: 2_000,
            pending_refund: Duration::from_secs(60),
            search_lag_ms: 2_000,
            linger: None,
            notifications: true,
            notify_url: None,
            orchestrator_pid: None,
            seed: None,
        }
    }

    /// Everything that is wrong, a sentence each; empty when nothing is.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.accounts.is_empty() {
            complaints.push("there must be at least one account".to_owned());
        }
        for (nth, account) in self.accounts.iter().enumerate() {
            let id = &account.id;
            // The id names a file and a segment of a path; a leading `_` is kept for the control routes.
            let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            if id.is_empty() || id.len() > 64 || id.starts_with('_') || !id.bytes().all(sound) {
                complaints.push(format!("account id {id:?} must be 1 to 64 lower-case letters, digits and _, and not begin with _"));
            }
            if self.accounts[..nth].iter().any(|earlier| earlier.id == *id) {
                complaints.push(format!("account id {id:?} is there twice"));
            }
            match account.provider.as_str() {
                "stripe" => {
                    if !account.secret_key.starts_with("sk_test_") {
                        complaints.push(format!("account {id}: secret_key must begin with sk_test_, so that a live key is never used here"));
                    }
                    if !account.webhook_secret.starts_with("whsec_") {
                        complaints.push(format!("account {id}: webhook_secret must begin with whsec_"));
                    }
                }
                "alipay" => {
                    let digits = |text: &str| !text.is_empty() && text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_digit());
                    if !digits(&account.alipay.app_id) || !digits(&account.alipay.seller_id) {
                        complaints.push(format!("account {id}: alipay.app_id and alipay.seller_id must be 1 to 32 digits"));
                    }
                }
                "wechatpay" => {
                    let settings = &account.wechatpay;
                    let sound = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                    if ![&settings.mchid, &settings.appid, &settings.serial_no, &settings.platform_serial].into_iter().all(|text| sound(text)) {
                        complaints.push(format!("account {id}: wechatpay.mchid, appid, serial_no and platform_serial must be letters, digits and _"));
                    }
                    if settings.apiv3_key.len() != 32 {
                        complaints.push(format!("account {id}: wechatpay.apiv3_key must have 32 bytes"));
                    }
                }
                "iso8583" => complaints.extend(super::bank::complaints(id, &account.bank)),
                other => complaints.push(format!("account {id}: provider {other:?} is not known; alipay, iso8583, stripe and wechatpay are")),
            }
        }
        complaints
    }
}

/// How an account behaves: the settings that all of them share.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// As [`SandboxSettings::pay_after_ms`].
    pub pay_after_ms: u64,
    /// As [`SandboxSettings::pending_refund`].
    pub pending_refund: Duration,
    /// As [`SandboxSettings::search_lag_ms`].
    pub search_lag_ms: u64,
    /// The seed of this account's dice.
    pub seed: u64,
}

//! The demo's accounts, seen from both sides: what the sandbox is told to play, and the channels that lead there. Two accounts a provider, so that
//! every override, breaker and failover has somewhere to lead.

use std::path::Path;

use crate::app::ChannelPlan;
use crate::config::ChannelSettings;
use crate::domain::{Currency, Wallet};
use crate::provider;
use crate::sandbox::{AccountSettings, Running};

/// What the bank's host knows us by, beside what [`AccountSettings::bank`] has: field 32 of each message.
const ACQUIRER: &str = "00012345";
/// How long a call may take, in ms: on one machine a healthy account needs a few.
const TIMEOUT_MS: u64 = 3_000;
/// Calls in flight at an account over HTTP: room for a load test, for the sandbox is near, and has no contract about rates.
const HTTP_POOL: usize = 512;
/// What the banks settle in, the first preferred by nobody: a payment has one currency.
const BANK_CURRENCIES: [&str; 5] = ["CNY", "HKD", "USD", "EUR", "JPY"];

/// All of them, in the order in which they are tried.
pub(super) fn all() -> Vec<AccountSettings> {
    vec![
        AccountSettings::stripe("stripe_main"),
        AccountSettings::stripe("stripe_backup"),
        AccountSettings::alipay("alipay_main"),
        AccountSettings::alipay("alipay_backup"),
        AccountSettings::bank("bank_a"),
        AccountSettings::bank("bank_b"),
    ]
}

/// An account as `breakwater sandbox --account` wants it. What is not said here the sandbox has by default, or makes.
pub(super) fn argument(account: &AccountSettings) -> String {
    match account.provider.as_str() {
        "stripe" => format!("id={},secret_key={},webhook_secret={}", account.id, account.secret_key, account.webhook_secret),
        provider => format!("id={},provider={provider}", account.id),
    }
}

/// Whether a sandbox plays all of them, and catches mail: one that was started by an older breakwater does not.
pub(super) fn are_played_by(running: &Running) -> bool {
    running.smtp.is_some() && all().iter().all(|account| running.channels.contains_key(&account.id))
}

/// The channels to the accounts that `neighbour` plays. The keys of the Alipay accounts lie in `sandbox_dir`.
pub(super) fn channels(neighbour: &Running, sandbox_dir: &Path) -> Result<Vec<ChannelPlan>, String> {
    all().iter().map(|account| channel(account, neighbour, sandbox_dir)).collect()
}

fn channel(account: &AccountSettings, neighbour: &Running, sandbox_dir: &Path) -> Result<ChannelPlan, String> {
    let id = account.id.as_str();
    let provider = provider::find(&account.provider).ok_or_else(|| format!("this build does not know the provider {}", account.provider))?;
    let address = neighbour.channels.get(id).ok_or_else(|| format!("the sandbox does not play {id}"))?;
    let mut settings = ChannelSettings::test(id, &account.provider, address, &account.secret_key);
    settings.priority = if id.ends_with("_main") || id.ends_with("_a") { 10 } else { 20 };
    settings.timeout_ms = TIMEOUT_MS;
    let fields = match account.provider.as_str() {
        "alipay" => {
            settings.pool_size = HTTP_POOL;
            settings.wallets = vec![Wallet::Alipay];
            settings.currencies = currencies(&["CNY"]);
            let key = |name: &str| {
                let path = sandbox_dir.join(format!("{id}.{name}.pem"));
                std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}; `breakwater demo --reset` makes new keys", path.display()))
            };
            vec![
                ("app_id", account.alipay.app_id.clone()),
                ("seller_id", account.alipay.seller_id.clone()),
                ("private_key", key("app_private_key")?),
                ("alipay_public_key", key("alipay_public_key")?),
            ]
        }
        "iso8583" => {
            settings.currencies = currencies(&BANK_CURRENCIES);
            vec![
                ("profile", account.bank.profile.clone()),
                ("framing", account.bank.framing.clone()),
                ("acquirer", ACQUIRER.to_owned()),
                ("terminal", account.bank.terminal.clone()),
                ("merchant", account.bank.merchant.clone()),
                ("time_zone", "+08:00".to_owned()),
                ("front_ends", address.clone()),
            ]
        }
        _ => {
            settings.pool_size = HTTP_POOL;
            settings.notification_secrets = vec![account.webhook_secret.clone().into()];
            Vec::new()
        }
    };
    for (name, text) in fields {
        let field = provider.account_fields().iter().find(|field| field.name == name);
        let field = field.ok_or_else(|| format!("{} has no account field {name}", account.provider))?;
        settings.account.set_text(field, &text).map_err(|error| format!("{id}: {name}: {error}"))?;
    }
    Ok(ChannelPlan { settings, provider })
}

fn currencies(codes: &[&str]) -> Vec<Currency> {
    codes.iter().filter_map(|code| Currency::parse(code)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sandbox that plays these.
    fn playing(accounts: &[AccountSettings], smtp: Option<&str>) -> Running {
        let address = |account: &AccountSettings| match account.provider.as_str() {
            "iso8583" => "tcp://127.0.0.1:1,tcp://127.0.0.1:2".to_owned(),
            _ => "http://127.0.0.1:3".to_owned(),
        };
        Running {
            control_url: "http://127.0.0.1:4".to_owned(),
            channels: accounts.iter().map(|account| (account.id.clone(), address(account))).collect(),
            smtp: smtp.map(str::to_owned),
            pid: 1,
        }
    }

    #[test]
    fn a_sandbox_of_before_alipay_banks_and_mail_does_not_play_all_accounts() {
        let accounts = all();
        assert!(are_played_by(&playing(&accounts, Some("127.0.0.1:5"))));
        assert!(!are_played_by(&playing(&accounts[..2], Some("127.0.0.1:5"))));
        assert!(!are_played_by(&playing(&accounts, None)));
        let told: Running = serde_json::from_str(r#"{"control_url":"http://127.0.0.1:4","channels":{},"pid":7}"#).expect("as it was before");
        assert!(!are_played_by(&told));
    }

    #[test]
    fn a_key_that_is_not_there_is_told_with_its_file_and_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let Err(why) = channels(&playing(&all(), None), folder.path()) else { panic!("there is no key") };
        assert!(why.contains("alipay_main.app_private_key.pem") && why.contains("--reset"), "{why}");
    }
}

//! Keys and certificates: which the listeners and channels have, and when they end. That each fits its field was checked when the settings were
//! read; here is what the calendar does to them.

use jiff::{SignedDuration, Timestamp};

use super::Check;
use crate::config::certificate::Identity;
use crate::config::{ChannelSettings, Settings};
use crate::provider::{self, FieldKind};

/// What ends within this is to be renewed now: authorities take days.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A line for each certificate, and one for each channel with keys of its own.
pub(super) fn checks(settings: &Settings, now: Timestamp) -> Vec<Check> {
    let server = &settings.server;
    let mut checks = Vec::new();
    for (table, files) in [("server.tls", &server.tls), ("server.operations_tls", &server.operations_tls)] {
        let Some(files) = files else { continue };
        checks.push(match Identity::load(files, now) {
            Ok(identity) => judged(table, identity.not_after, now, "renew the files and send SIGHUP"),
            Err(fault) => Check::fail("certificate", format!("{table}: {}", fault.what), fault.next),
        });
    }
    for channel in &settings.channels {
        checks.extend(keys(channel));
        for (field, end) in channel.certificate_ends() {
            let name = format!("{} {field}", channel.id);
            checks.push(match end {
                Some(end) => judged(&name, end, now, "renew it, and start the process again"),
                None => Check::fail("certificate", format!("{name}: no certificate in it can be read"), "give X.509 certificates in PEM"),
            });
        }
    }
    checks
}

fn judged(name: &str, end: Timestamp, now: Timestamp, renewal: &str) -> Check {
    let left = end.duration_since(now);
    let days = left.as_hours() / 24;
    if left <= SignedDuration::ZERO {
        Check::fail("certificate", format!("{name} ended at {end:.0}"), renewal)
    } else if left <= SOON {
        Check::warn("certificate", format!("{name} ends at {end:.0}, in {days} days"), renewal)
    } else {
        Check::ok("certificate", format!("{name} ends at {end:.0}, in {days} days"))
    }
}

/// The keys of a channel's account; they have no end of their own.
fn keys(channel: &ChannelSettings) -> Option<Check> {
    let fields = provider::find(&channel.provider)?.account_fields().iter();
    let given = |name: &str| channel.account.private_key(name).is_some() || channel.account.public_key(name).is_some();
    let keys: Vec<&str> = fields
        .filter(|field| matches!(field.kind, FieldKind::PrivateKey | FieldKind::PublicKey) && given(field.name))
        .map(|field| field.name)
        .collect();
    (!keys.is_empty()).then(|| Check::ok("keys", format!("{}: {} can be read", channel.id, keys.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().expect("a time")
    }

    /// A bank's channel whose certificate ends so many days from now.
    fn bank(days: i32) -> ChannelSettings {
        let mut parameters = rcgen::CertificateParams::new(vec!["bank".to_owned()]).expect("a name");
        let end = now() + DAY * days;
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(end.as_second().unsigned_abs());
        let key = rcgen::KeyPair::generate().expect("a key");
        let pem = parameters.self_signed(&key).expect("a certificate").pem();
        let mut channel = ChannelSettings::test("bank_a", "iso8583", "", "");
        let fields = provider::find("iso8583").expect("known").account_fields();
        let field = fields.iter().find(|field| field.name == "certificate").expect("a field");
        channel.account.set_text(field, &pem).expect("it fits");
        channel
    }

    #[test]
    fn a_channel_s_certificate_is_told_with_its_end_and_judged_by_the_days_left() {
        let verdict = |days| {
            let checks = checks(&Settings { channels: vec![bank(days)], ..Settings::default() }, now());
            assert_eq!(checks.len(), 1, "{checks:?}");
            (checks[0].verdict, checks[0].found.clone())
        };
        assert_eq!(verdict(100), (Verdict::Ok, "bank_a certificate ends at 2027-03-02T12:00:00Z, in 100 days".to_owned()));
        assert_eq!(verdict(29).0, Verdict::Warn);
        assert_eq!(verdict(-1), (Verdict::Fail, "bank_a certificate ended at 2026-11-21T12:00:00Z".to_owned()));
    }

    #[test]
    fn a_channel_without_keys_and_certificates_has_no_line() {
        let channels = vec![ChannelSettings::test("a", "stripe", "http://localhost:1", "sk_test_1")];
        assert_eq!(checks(&Settings { channels, ..Settings::default() }, now()), []);
    }
}

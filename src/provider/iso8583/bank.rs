//! What we know of one bank and of our place at it: the account's fields, read.

use std::time::Duration;

use jiff::tz::Offset;

use super::field::Profile;
use crate::provider::socket::{Framing, Header, Manners};
use crate::provider::{Account, AccountField, FieldKind};

/// The fields of `[channels.account]`.
pub(super) const FIELDS: &[AccountField] = &[
    field("profile", FieldKind::Choice(Profile::NAMES), true, "how the bank writes its messages: ask it for the encoding of MTI, bitmap and numbers"),
    field("framing", FieldKind::Choice(Header::NAMES), false, "what stands before each message; two_bytes unless said"),
    field("tpdu", FieldKind::Text, false, "ten hexadecimal digits of routing before each message, such as 6000010000; none unless said"),
    field("acquirer", FieldKind::Text, true, "field 32: the acquiring institution's number, up to 11 digits"),
    field("terminal", FieldKind::Text, true, "field 41: the terminal's id, up to 8 characters"),
    field("merchant", FieldKind::Text, true, "field 42: the merchant's id at the bank, up to 15 characters"),
    field("mcc", FieldKind::Text, false, "field 18: the merchant category, 4 digits; not sent unless said"),
    field("entry_mode", FieldKind::Text, false, "field 22: how the number was taken, 3 digits; 012 (typed in, no PIN) unless said"),
    field("reversal", FieldKind::Choice(&["0420", "0400"]), false, "which message undoes a payment; 0420 unless said"),
    field("sign_on", FieldKind::Flag, false, "whether the bank wants 0800/001 before traffic; false unless said"),
    field("echo_every", FieldKind::Number(1, 3_600), false, "seconds of silence before an echo is sent; 60 unless said"),
    field("time_zone", FieldKind::Text, false, "the zone of fields 12 and 13 as an offset, such as +08:00; UTC unless said"),
    field("transmission_in_local_time", FieldKind::Flag, false, "whether field 7 is in that zone too; false (UTC) unless said"),
    field("front_ends", FieldKind::Text, true, "the bank's front ends: tls://host:port,tls://host:port; tcp:// is for test mode only"),
    field(
        "authority",
        FieldKind::Secret,
        false,
        "the certificate (PEM) of the bank's own authority; the web's authorities are believed unless given",
    ),
    field("certificate", FieldKind::Secret, false, "our certificate with its chain (PEM), where the bank wants one"),
    field("certificate_key", FieldKind::Secret, false, "the key of our certificate (PEM, PKCS#8 or SEC1)"),
    field(
        "key_store",
        FieldKind::Store,
        false,
        "our key with its certificate as a PKCS#12 store, { file = \"bank.p12\" }, in place of the two PEM fields",
    ),
    field("key_store_password", FieldKind::Secret, false, "the store's password; none unless said"),
    field("key_name", FieldKind::Text, false, "which key of the store, where it holds several"),
    field("trust_store", FieldKind::Store, false, "the bank's authority as a PKCS#12 store, { file = \"trust.p12\" }, in place of authority"),
    field("trust_store_password", FieldKind::Secret, false, "the trust store's password; none unless said"),
    field("sockets", FieldKind::Number(1, 64), false, "sockets to each front end; 2 unless said"),
];

const fn field(name: &'static str, kind: FieldKind, required: bool, help: &'static str) -> AccountField {
    AccountField { name, kind, required, help }
}

/// How long a word about the connection is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// An account, read. What does not fit is given up where it is used: a message that cannot be written is never sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bank {
    pub(super) profile: Profile,
    pub(super) framing: Framing,
    pub(super) acquirer: String,
    /// Eight characters, as on the wire.
    pub(super) terminal: String,
    /// Fifteen characters, as on the wire.
    pub(super) merchant: String,
    pub(super) category: Option<String>,
    pub(super) entry_mode: String,
    /// The third digit of a reversal's type: `0` for a request, `2` for an advice.
    pub(super) reversal: char,
    pub(super) local: Offset,
    pub(super) transmission: Offset,
    pub(super) manners: Manners,
}

impl Bank {
    /// Reads the account's fields, or says which one cannot be used.
    pub(super) fn read(account: &Account) -> Result<Self, &'static str> {
        let tpdu = match account.optional_text("tpdu") {
            None => None,
            Some(text) => Some(tpdu(text).ok_or("tpdu")?),
        };
        let local = match account.optional_text("time_zone") {
            None => Offset::UTC,
            Some(text) => offset(text).ok_or("time_zone")?,
        };
        let digits = |name: &'static str, text: &str, least: usize, most: usize| {
            let sound = (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            if sound { Ok(text.to_owned()) } else { Err(name) }
        };
        let padded = |name: &'static str, width: usize| {
            let text = account.text(name);
            let sound = (1..=width).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            if sound { Ok(format!("{text:<width$}")) } else { Err(name) }
        };
        Ok(Self {
            profile: Profile::parse(account.text("profile")).ok_or("profile")?,
            framing: Framing { header: Header::parse(account.optional_text("framing").unwrap_or("two_bytes")).ok_or("framing")?, tpdu },
            acquirer: digits("acquirer", account.text("acquirer"), 1, 11)?,
            terminal: padded("terminal", 8)?,
            merchant: padded("merchant", 15)?,
            category: account.optional_text("mcc").map(|text| digits("mcc", text, 4, 4)).transpose()?,
            entry_mode: digits("entry_mode", account.optional_text("entry_mode").unwrap_or("012"), 3, 3)?,
            reversal: if account.optional_text("reversal") == Some("0400") { '0' } else { '2' },
            local,
            transmission: if account.flag("transmission_in_local_time", false) { local } else { Offset::UTC },
            manners: Manners {
                sign_on: account.flag("sign_on", false),
                echo_every: Duration::from_secs(u64::try_from(account.number("echo_every", 60)).unwrap_or(60)),
                answer_within: ANSWER_WITHIN,
                missed_max: 2,
            },
        })
    }
}

/// Ten hexadecimal digits.
fn tpdu(text: &str) -> Option<[u8; 5]> {
    let mut tpdu = [0; 5];
    if text.len() != 10 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in tpdu.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(tpdu)
}

/// `+08:00`, `-05:30`, `Z`, `UTC`.
fn offset(text: &str) -> Option<Offset> {
    if matches!(text, "Z" | "UTC") {
        return Some(Offset::UTC);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two = |text: &str, most: i32| {
        let number: i32 = (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())??;
        (number <= most).then_some(number)
    };
    Offset::from_seconds(sign * (two(hours, 23)? * 3_600 + two(minutes, 59)? * 60)).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An account with these fields.
    pub(crate) fn account(fields: &[(&str, &str)]) -> Account {
        let mut account = Account::default();
        for (name, value) in fields {
            let field = FIELDS.iter().find(|field| field.name == *name).expect("a field of ours");
            let set = match field.kind {
                FieldKind::Number(..) => account.set_number(field, value.parse().expect("a number")),
                FieldKind::Flag => account.set_flag(field, *value == "true"),
                _ => account.set_text(field, value),
            };
            set.expect("it fits its field");
        }
        account
    }

    pub(crate) const USUAL: &[(&str, &str)] = &[
        ("profile", "ascii_binary_bitmap"),
        ("acquirer", "00012345"),
        ("terminal", "TERM0001"),
        ("merchant", "BREAKWATER00001"),
        ("time_zone", "+08:00"),
    ];

    fn with(more: &[(&str, &str)]) -> Result<Bank, &'static str> {
        Bank::read(&account(&[USUAL, more].concat()))
    }

    #[test]
    fn an_account_is_read_with_its_defaults() {
        let bank = with(&[("terminal", "T1"), ("tpdu", "6000010000"), ("framing", "four_digits"), ("echo_every", "7")]).expect("it is sound");
        assert_eq!((bank.terminal.as_str(), bank.merchant.len(), bank.entry_mode.as_str()), ("T1      ", 15, "012"));
        assert_eq!(bank.framing, Framing { header: Header::FourDigits, tpdu: Some([0x60, 0, 1, 0, 0]) });
        assert_eq!((bank.local, bank.transmission), (Offset::constant(8), Offset::UTC));
        assert_eq!(bank.manners.echo_every, Duration::from_secs(7));
        assert_eq!(with(&[("transmission_in_local_time", "true")]).map(|bank| bank.transmission), Ok(Offset::constant(8)));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        assert_eq!(with(&[("tpdu", "60000100")]), Err("tpdu"));
        assert_eq!(with(&[("time_zone", "Asia/Shanghai")]), Err("time_zone"));
        assert_eq!(with(&[("time_zone", "+8")]), Err("time_zone"));
        assert_eq!(with(&[("acquirer", "123456789012")]), Err("acquirer"));
        assert_eq!(with(&[("merchant", "sixteen letters!")]), Err("merchant"));
        assert_eq!(with(&[("mcc", "54")]), Err("mcc"));
    }
}

//! Calls and accounts that the readers are asked with.

use breakwater::domain::{CaptureMethod, Currency, Money, Operation, PaymentMethod};
use breakwater::provider::{Account, Call, Credentials, Provider, Undone, Verb, find};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;

pub fn vectors(name: &str) -> Value {
    let path = format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// This field of every object of a list; there must be some.
pub fn texts(list: &Value, field: &str) -> Vec<String> {
    let texts: Vec<String> = list.as_array().into_iter().flatten().filter_map(|one| one[field].as_str()).map(str::to_owned).collect();
    assert!(!texts.is_empty(), "no {field} in the vectors");
    texts
}

pub fn provider(name: &str) -> &'static dyn Provider {
    find(name).unwrap_or_else(|| panic!("no provider {name}"))
}

/// An account whose fields have these values, as far as the provider has such fields.
pub fn credentials(provider: &dyn Provider, values: &[(&str, &str)], secrets: &[&str]) -> Credentials {
    let mut account = Account::default();
    for field in provider.account_fields() {
        if let Some((_, value)) = values.iter().find(|(name, _)| *name == field.name) {
            account.set_text(field, value).unwrap_or_else(|error| panic!("{}: {error}", field.name));
        }
    }
    Credentials {
        address: "https://channel.example".to_owned(),
        account,
        secret_key: SecretString::from("sk_test_breakwater"),
        notification_secrets: secrets.iter().map(|secret| SecretString::from(*secret)).collect(),
    }
}

/// A call of this verb about a payment of 88.88 yuan, known to the channel as `reference`.
pub fn call(verb: Verb, key: &str, reference: &str) -> Call {
    let now = Timestamp::from_second(1_763_600_887).expect("a time");
    Call {
        verb,
        key: key.to_owned(),
        payment: "pay_0190a8b4c6d2700080000000000000aa".to_owned(),
        order: "BW20261120000001".to_owned(),
        money: Money { amount: 8888, currency: Currency::parse("CNY").expect("a currency") },
        payment_amount: 8888,
        method: PaymentMethod::CardToken { token: "pm_card_visa".to_owned() },
        capture_method: CaptureMethod::Automatic,
        pay_reference: Some(reference.to_owned()),
        reference: None,
        pay_key: Some(reference.to_owned()),
        undoes: (verb == Verb::Reverse).then(|| Undone {
            operation: Operation::Pay,
            key: reference.to_owned(),
            reference: Some(reference.to_owned()),
        }),
        held: false,
        description: None,
        return_url: None,
        expires_at: now + jiff::SignedDuration::from_mins(15),
        attempted_at: now,
        now,
        notify_url: None,
        repeat: false,
        card: None,
    }
}

/// One of these, by a byte of the recipe; and what is left of it.
pub fn one_of<'a, T>(choices: &'a [T], recipe: &'a [u8]) -> (&'a T, &'a [u8]) {
    match recipe {
        [byte, rest @ ..] => (&choices[usize::from(*byte) % choices.len()], rest),
        [] => (&choices[0], recipe),
    }
}

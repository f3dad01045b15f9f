//! What a channel knows of its account at the provider: the provider names the fields ([`Provider::account_fields`](super::Provider)), the settings
//! fill them in and parse them once, and the provider reads them by name.
//!
//! That is what makes a new provider one file: its settings need no code of their own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::keys::{KeyError, PrivateKey, PublicKey};

/// One field of `[channels.account]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountField {
    /// Its name in the settings: lower case.
    pub name: &'static str,
    /// What it is.
    pub kind: FieldKind,
    /// Whether a channel cannot do without it.
    pub required: bool,
    /// One sentence for whoever fills it in: what it is, where to find it.
    pub help: &'static str,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Visible text: 1 to 256 characters.
    Text,
    /// A whole number within these bounds.
    Number(i64, i64),
    /// `true` or `false`.
    Flag,
    /// One of these.
    Choice(&'static [&'static str]),
    /// A text that nobody may see.
    Secret,
    /// The same, of exactly so many bytes: a cipher's key. One of another length would be found out at the first message that it should open.
    SecretOf(usize),
    /// A file's bytes that are not text: a PKCS#12 store.
    Store,
    /// An RSA private key, as PEM.
    PrivateKey,
    /// An RSA public key or a certificate, as PEM.
    PublicKey,
}

impl FieldKind {
    /// Whether its value comes from the environment or a file rather than from the settings' own text.
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::SecretOf(_) | Self::PrivateKey)
    }
}

/// A value, parsed.
#[derive(Clone, Debug)]
enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
    Secret(SecretString),
    Store(Bytes),
    PrivateKey(PrivateKey),
    PublicKey(PublicKey),
}

/// Bytes that are not shown: a store may lie in the clear.
#[derive(Clone)]
struct Bytes(Arc<[u8]>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Why a value does not fit its field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FieldError {
    /// Of another type than the field's.
    #[error("it must be {0}")]
    WrongType(&'static str),
    /// Outside what the field may hold.
    #[error("it must be {0}")]
    OutOfRange(String),
    /// Not a key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The account's fields, each of the kind that its provider asked for. `Debug` shows no secret.
#[derive(Clone, Debug, Default)]
pub struct Account {
    values: BTreeMap<&'static str, Value>,
}

impl Account {
    /// Fills a field with a text, which is parsed as its kind asks.
    ///
    /// # Errors
    /// [`FieldError`]: nothing was filled in.
    pub fn set_text(&mut self, field: &AccountField, text: &str) -> Result<(), FieldError> {
        let value = match field.kind {
            FieldKind::Text if (1..=256).contains(&text.chars().count()) && !text.chars().any(char::is_control) => Value::Text(text.to_owned()),
            FieldKind::Text => return Err(FieldError::OutOfRange("1 to 256 visible characters".to_owned())),
            FieldKind::Choice(choices) if choices.contains(&text) => Value::Text(text.to_owned()),
            FieldKind::Choice(choices) => return Err(FieldError::OutOfRange(format!("one of {}", choices.join(", ")))),
            FieldKind::Secret => Value::Secret(SecretString::from(text)),
            FieldKind::SecretOf(bytes) if text.len() == bytes => Value::Secret(SecretString::from(text)),
            FieldKind::SecretOf(bytes) => return Err(FieldError::OutOfRange(format!("exactly {bytes} bytes long"))),
            FieldKind::PrivateKey => Value::PrivateKey(PrivateKey::from_pem(text)?),
            FieldKind::PublicKey => Value::PublicKey(PublicKey::from_pem(text)?),
            FieldKind::Store => return Err(FieldError::WrongType("{ file = \"/path\" }")),
            FieldKind::Number(..) => return Err(FieldError::WrongType("a whole number")),
            FieldKind::Flag => return Err(FieldError::WrongType("true or false")),
        };
        self.values.insert(field.name, value);
        Ok(())
    }

    /// Fills a field with a file's bytes.
    ///
    /// # Errors
    /// [`FieldError`]: nothing was filled in.
    pub fn set_bytes(&mut self, field: &AccountField, bytes: Vec<u8>) -> Result<(), FieldError> {
        if field.kind != FieldKind::Store {
            return Err(FieldError::WrongType("a text"));
        }
        self.values.insert(field.name, Value::Store(Bytes(bytes.into())));
        Ok(())
    }

    /// Fills a field with a number.
    ///
    /// # Errors
    /// [`FieldError`]: nothing was filled in.
    pub fn set_number(&mut self, field: &AccountField, number: i64) -> Result<(), FieldError> {
        match field.kind {
            FieldKind::Number(low, high) if (low..=high).contains(&number) => {
                self.values.insert(field.name, Value::Number(number));
                Ok(())
            }
            FieldKind::Number(low, high) => Err(FieldError::OutOfRange(format!("from {low} to {high}"))),
            _ => Err(FieldError::WrongType("a text in quotes")),
        }
    }

    /// Fills a field with yes or no.
    ///
    /// # Errors
    /// [`FieldError`]: nothing was filled in.
    pub fn set_flag(&mut self, field: &AccountField, flag: bool) -> Result<(), FieldError> {
        if field.kind != FieldKind::Flag {
            return Err(FieldError::WrongType("a text in quotes"));
        }
        self.values.insert(field.name, Value::Flag(flag));
        Ok(())
    }

    /// A text or choice; empty where it was left out.
    pub fn text(&self, name: &str) -> &str {
        self.optional_text(name).unwrap_or_default()
    }

    /// A text or choice, if it was given.
    pub fn optional_text(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// A number, or `default` where it was left out.
    pub fn number(&self, name: &str, default: i64) -> i64 {
        match self.values.get(name) {
            Some(Value::Number(number)) => *number,
            _ => default,
        }
    }

    /// A flag, or `default` where it was left out.
    pub fn flag(&self, name: &str, default: bool) -> bool {
        match self.values.get(name) {
            Some(Value::Flag(flag)) => *flag,
            _ => default,
        }
    }

    /// A secret, if it was given, for the one line that puts it on the wire.
    pub fn secret(&self, name: &str) -> Option<&str> {
        match self.values.get(name) {
            Some(Value::Secret(secret)) => Some(secret.expose_secret()),
            _ => None,
        }
    }

    /// A store's bytes, if it was given.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        match self.values.get(name) {
            Some(Value::Store(bytes)) => Some(&bytes.0),
            _ => None,
        }
    }

    /// A private key, if it was given.
    pub fn private_key(&self, name: &str) -> Option<&PrivateKey> {
        match self.values.get(name) {
            Some(Value::PrivateKey(key)) => Some(key),
            _ => None,
        }
    }

    /// A public key, if it was given.
    pub fn public_key(&self, name: &str) -> Option<&PublicKey> {
        match self.values.get(name) {
            Some(Value::PublicKey(key)) => Some(key),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn field(name: &'static str, kind: FieldKind) -> AccountField {
        AccountField { name, kind, required: true, help: "" }
    }

    #[test]
    fn a_value_is_parsed_as_its_field_asks_or_refused_with_what_it_must_be() {
        let mut account = Account::default();
        account.set_text(&field("app_id", FieldKind::Text), "2021001").expect("a text");
        account.set_number(&field("echo", FieldKind::Number(1, 60)), 30).expect("a number");
        account.set_flag(&field("sign_on", FieldKind::Flag), true).expect("a flag");
        account.set_text(&field("profile", FieldKind::Choice(&["a", "b"])), "b").expect("a choice");
        assert_eq!(
            (account.text("app_id"), account.number("echo", 1), account.flag("sign_on", false), account.text("profile")),
            ("2021001", 30, true, "b")
        );
        let told = |error: Result<(), FieldError>| error.expect_err("refused").to_string();
        assert_eq!(told(account.set_number(&field("echo", FieldKind::Number(1, 60)), 61)), "it must be from 1 to 60");
        assert_eq!(told(account.set_text(&field("profile", FieldKind::Choice(&["a", "b"])), "c")), "it must be one of a, b");
        assert_eq!(told(account.set_text(&field("echo", FieldKind::Number(1, 60)), "30")), "it must be a whole number");
        assert_eq!(told(account.set_text(&field("key", FieldKind::PrivateKey), "x")), "it holds no private key in PEM form");
        assert_eq!(account.number("echo", 1), 30, "what was refused changed nothing");
        let cipher = field("cipher_key", FieldKind::SecretOf(4));
        assert_eq!(told(account.set_text(&cipher, "fives")), "it must be exactly 4 bytes long");
        assert_eq!(account.secret("cipher_key"), None);
        account.set_text(&cipher, "four").expect("a secret");
        assert_eq!(account.secret("cipher_key"), Some("four"));
    }

    #[test]
    fn no_secret_is_shown() {
        let mut account = Account::default();
        account.set_text(&field("password", FieldKind::Secret), "hunter2").expect("a secret");
        assert!(!format!("{account:?}").contains("hunter2"));
        assert_eq!(account.secret("password"), Some("hunter2"));
    }
}

//! `[cards]`: the keys under which card numbers lie. Only an installation with a bank channel needs them.

use secrecy::{ExposeSecret, SecretString};
use toml::Value;

use super::fault::Faults;
use super::secret::{self, Sources};
use super::section::Section;
use crate::keys::{SealError, SealingKeys};

const MAKE: &str = "make one with: openssl rand -hex 32; then give { env = \"NAME\" } or { file = \"/path\" }";

/// `[cards]`. `Debug` shows the names of the keys alone.
#[derive(Clone, Debug, Default)]
pub struct CardSettings {
    /// The ring, the key that seals first; default empty, and then no channel may take card numbers. To rotate: add a key, name it in `newest_key`,
    /// restart, run `breakwater cards reseal`, and only then take the old one away. A key that is taken away too early makes refunds of its
    /// payments impossible until it is put back.
    pub sealing_keys: SealingKeys,
}

impl CardSettings {
    pub(super) fn read(mut section: Section<'_>, env: &dyn Fn(&str) -> Option<String>, faults: &Faults<'_>) -> Self {
        let newest = section.text("newest_key");
        let mut ring: Vec<(String, SecretString)> = Vec::new();
        match section.take("sealing_keys") {
            None => {}
            Some(Value::Table(keys)) => {
                for (name, value) in keys {
                    let place = section.place(&format!("sealing_keys.{name}"));
                    // They guard numbers of real cards, so they never stand in the file itself.
                    ring.extend(secret::read(&value, &place, Sources { env, literal: false }, faults).map(|secret| (name, secret)));
                }
            }
            Some(other) => section.wrong_type("sealing_keys", "a table of names, each with its key", &other),
        }
        match (&newest, ring.len()) {
            (None, 0 | 1) => {}
            (None, _) => section.missing("newest_key", "name the key of sealing_keys that seals from now on"),
            (Some(newest), _) if ring.iter().any(|(name, _)| name == newest) => ring.sort_by_key(|(name, _)| name != newest),
            (Some(newest), _) => {
                section.fault("newest_key", format!("there is no key \"{}\" in sealing_keys", newest.escape_debug()), "name one that is there");
            }
        }
        let repeated = ring
            .iter()
            .enumerate()
            .find(|(place, (_, secret))| ring[..*place].iter().any(|(_, other)| other.expose_secret() == secret.expose_secret()));
        if let Some((_, (name, _))) = repeated {
            section.fault(&format!("sealing_keys.{name}"), "it is the same key as another one", MAKE);
        }
        let sealing_keys = SealingKeys::new(ring).unwrap_or_else(|error| {
            let name = match &error {
                SealError::TooShort(name) | SealError::Twice(name) => format!("sealing_keys.{name}"),
                _ => "sealing_keys".to_owned(),
            };
            section.fault(&name, error.to_string(), MAKE);
            SealingKeys::default()
        });
        section.end();
        Self { sealing_keys }
    }
}

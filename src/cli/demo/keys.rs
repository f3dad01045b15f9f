//! The demo's keys: made once, kept in the data directory for its owner only, the same at each start.
//!
//! The key under which card numbers are sealed has a file of its own: it belongs to the database, and not to whoever uses the demo. Data
//! directories of before there were cards get one at their next start.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub(super) use super::super::credential::{digest, hint};
use super::super::credential::{hex, random};

const FILE: &str = "keys.json";
const CARD_FILE: &str = "cards.key";

/// What the demo prints for its user.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    /// The sample merchant's key.
    pub(super) api_key: String,
    /// The operator's token.
    pub(super) ops_token: String,
    /// What webhooks to the sample merchant are signed with.
    pub(super) webhook_secret: String,
}

impl Keys {
    /// The keys of `data_dir`, made if there are none.
    pub(super) fn keep(data_dir: &Path) -> Result<Self, String> {
        let path = path(data_dir);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| format!("{}: {error}; --reset makes new keys", path.display())),
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Self::make(&path),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// Forgets the keys.
    pub(super) fn erase(data_dir: &Path) -> Result<(), String> {
        remove(&path(data_dir))
    }

    fn make(path: &Path) -> Result<Self, String> {
        let keys = Self {
            api_key: format!("bwk_test_{}", hex(&random()?)),
            ops_token: format!("bwo_{}", hex(&random()?)),
            webhook_secret: format!("whsec_{}", base64(&random()?)),
        };
        let text = serde_json::to_vec_pretty(&keys).map_err(|error| error.to_string())?;
        write_for_owner(path, &text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(keys)
    }
}

/// The key that card numbers are sealed under, made if there is none.
pub(super) fn card_key(data_dir: &Path) -> Result<SecretString, String> {
    let path = data_dir.join(CARD_FILE);
    let told = |error: io::Error| format!("{}: {error}", path.display());
    match fs::read_to_string(&path) {
        Ok(text) => Ok(SecretString::from(text.trim())),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            let key = hex(&random()?);
            write_for_owner(&path, format!("{key}\n").as_bytes()).map_err(told)?;
            Ok(SecretString::from(key))
        }
        Err(error) => Err(told(error)),
    }
}

/// Forgets the key that card numbers are sealed under; only with the database that has them.
pub(super) fn erase_card_key(data_dir: &Path) -> Result<(), String> {
    remove(&data_dir.join(CARD_FILE))
}

/// Whole or not at all: a kill in between leaves no half key.
fn write_for_owner(path: &Path, text: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(beside, path)
}

fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
        _ => Ok(()),
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

fn base64(bytes: &[u8; 32]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(44);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > group.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_padded_as_rfc_4648_says() {
        assert_eq!(base64(&[0; 32]), format!("{}=", "A".repeat(43)));
        assert_eq!(base64(&[255; 32]), format!("{}8=", "/".repeat(42)));
    }

    #[test]
    fn keys_are_the_same_at_each_start_and_only_for_their_owner() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let first = Keys::keep(dir.path()).expect("made");
        assert_eq!(Keys::keep(dir.path()).expect("kept").api_key, first.api_key);
        let mode = fs::metadata(dir.path().join(FILE)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        Keys::erase(dir.path()).expect("erased");
        assert_ne!(Keys::keep(dir.path()).expect("made again").api_key, first.api_key);
    }
    #[test]
    fn the_key_of_the_cards_is_kept_too_and_is_only_for_its_owner() {
        use secrecy::ExposeSecret;
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let first = card_key(dir.path()).expect("made");
        assert_eq!(card_key(dir.path()).expect("kept").expose_secret(), first.expose_secret());
        assert_eq!(fs::metadata(dir.path().join(CARD_FILE)).expect("there").permissions().mode() & 0o777, 0o600);
        Keys::erase(dir.path()).expect("erased");
        assert_eq!(card_key(dir.path()).expect("kept").expose_secret(), first.expose_secret(), "it is the database's");
        erase_card_key(dir.path()).expect("erased");
        assert_ne!(card_key(dir.path()).expect("made again").expose_secret(), first.expose_secret());
    }
}

//! The demo's keys: made once, kept in the data directory for its owner only, the same at each start.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(super) use super::super::credential::{digest, hint};
use super::super::credential::{hex, random};

const FILE: &str = "keys.json";

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
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => Self::make(&path),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// Forgets the keys.
    pub(super) fn erase(data_dir: &Path) -> Result<(), String> {
        match fs::remove_file(path(data_dir)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    fn make(path: &Path) -> Result<Self, String> {
        let keys = Self {
            api_key: format!("bwk_test_{}", hex(&random()?)),
            ops_token: format!("bwo_{}", hex(&random()?)),
            webhook_secret: format!("whsec_{}", base64(&random()?)),
        };
        let text = serde_json::to_vec_pretty(&keys).map_err(|error| error.to_string())?;
        let written = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).and_then(|mut file| file.write_all(&text));
        written.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(keys)
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
}

//! Keys and tokens: made from 256 random bits, shown once, kept nowhere. What is stored of one is its SHA-256, which opens nothing, and a
//! hint by which people tell it from others.

use aws_lc_rs::{digest, rand};

/// A new key or token.
pub(super) struct Credential {
    /// What is shown once.
    pub(super) text: String,
    /// What the database keeps.
    pub(super) digest: [u8; 32],
    /// What lists show.
    pub(super) hint: String,
}

impl Credential {
    /// A merchant's key, which says its mode itself.
    pub(super) fn api_key(livemode: bool) -> Result<Self, String> {
        Self::make(if livemode { "bwk_live_" } else { "bwk_test_" })
    }

    /// An operator's token.
    pub(super) fn operator_token() -> Result<Self, String> {
        Self::make("bwo_")
    }

    fn make(prefix: &str) -> Result<Self, String> {
        let text = format!("{prefix}{}", hex(&random()?));
        Ok(Self { digest: digest(&text), hint: hint(&text), text })
    }
}

/// 256 bits that nobody can guess.
pub(super) fn random() -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| "the system gives no random bytes".to_owned())?;
    Ok(bytes)
}

/// What the database keeps of a key.
pub(super) fn digest(key: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, key.as_bytes()).as_ref());
    bytes
}

/// What people see of a key in lists.
pub(super) fn hint(key: &str) -> String {
    let (start, end) = (key.get(..13).unwrap_or_default(), key.get(key.len().saturating_sub(4)..).unwrap_or_default());
    format!("{start}…{end}")
}

/// In lower-case digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_its_mode_and_its_hint_gives_away_eight_digits() {
        let (test, live) = (Credential::api_key(false).expect("random"), Credential::api_key(true).expect("random"));
        assert!(test.text.starts_with("bwk_test_") && live.text.starts_with("bwk_live_"));
        assert_eq!(test.text.len(), "bwk_test_".len() + 64);
        assert_eq!(test.hint, format!("{}…{}", &test.text[..13], &test.text[69..]));
        assert_ne!(test.digest, live.digest);
        assert_ne!(test.text[9..], live.text[9..]);
    }
}

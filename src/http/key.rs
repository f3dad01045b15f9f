//! Who asks: a merchant by an API key, an operator by a token. Of both only the SHA-256 is stored and compared, so that a copy of the database
//! opens nothing and a comparison tells nothing by its time.
//!
//! Merchants' keys are remembered for ten seconds, so that a payment does not wait for a read of the database; a revoked or
//! expired key therefore works for up to ten seconds more. A key that is not known is never remembered: it may have been made a moment ago.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpMessage as _, HttpRequest};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use super::problem::{Problem, ProblemCode};
use super::{Api, origin};
use crate::clock::Moment;
use crate::domain::Role;
use crate::store::account::{KeyOwner, OperatorRow};

/// How long a key's owner is remembered.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Keys that are remembered, at most: beyond that all are forgotten, and read again.
const KEPT: usize = 10_000;
/// Characters of a credential, at most: longer is not ours, and is not hashed.
const LONGEST: usize = 200;

/// The merchant who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merchant {
    /// Its id.
    pub id: Uuid,
    /// Whether real money moves.
    pub livemode: bool,
}

/// Owners of keys that were seen lately.
#[derive(Debug, Default)]
pub struct KeyMemory {
    owners: Mutex<HashMap<[u8; 32], (KeyOwner, Moment)>>,
}

impl KeyMemory {
    fn recall(&self, digest: &[u8; 32], now: Moment) -> Option<KeyOwner> {
        let owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.get(digest).filter(|(_, since)| now.since(*since) < REMEMBERED).map(|(owner, _)| *owner)
    }

    /// Whether the key was good the last time it was looked up, however long ago. Its merchant is heard even where somebody else, behind the same
    /// proxy, guesses keys.
    fn has_met(&self, digest: &[u8; 32]) -> bool {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).contains_key(digest)
    }

    fn forget(&self, digest: &[u8; 32]) {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    fn keep(&self, digest: [u8; 32], owner: KeyOwner, now: Moment) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.len() >= KEPT {
            owners.retain(|_, (_, since)| now.since(*since) < REMEMBERED);
        }
        if owners.len() >= KEPT {
            owners.clear();
        }
        owners.insert(digest, (owner, now));
    }
}

/// The merchant whose key the request carries, counted against its limits.
///
/// # Errors
/// 401; 429 for a merchant who asks too much, and for an address that has shown too many keys that are not known; 503 when the database is away.
pub async fn merchant(api: &Api, request: &HttpRequest) -> Result<Merchant, Problem> {
    let key = credential(request)?;
    let livemode = mode_of(&key).ok_or_else(|| refused("The key is not an API key: those begin with bwk_test_ or bwk_live_."))?;
    let digest = sha256(&key);
    let now = api.clock.boot();
    let owner = match api.memory.keys.recall(&digest, now) {
        Some(owner) => owner,
        None => {
            let address = origin::address(request, &api.settings.trusted_proxies);
            if !api.memory.keys.has_met(&digest) {
                api.limits.stranger(address)?;
            }
            let wall = api.clock.wall();
            let owner = api.read(move |store| async move { store.key_owner(&digest, wall).await }).await?;
            let Some(owner) = owner else {
                api.memory.keys.forget(&digest);
                api.limits.unknown_key(address);
                return Err(refused("The API key is unknown, has expired or was revoked."));
            };
            api.memory.keys.keep(digest, owner, now);
            owner
        }
    };
    if owner.livemode != livemode {
        return Err(refused("The API key's prefix is not that of its merchant's mode."));
    }
    let (standing, verdict) = api.limits.merchant(owner.merchant, request.method().is_safe());
    request.extensions_mut().insert(standing);
    verdict?;
    Ok(Merchant { id: owner.merchant, livemode })
}

/// The operator whose token the request carries, if their role may do this: [`super::routes::OPERATIONS`] says which it takes.
///
/// # Errors
/// 401; 403 for a merchant's key, and for a role that may not; 429 for an address that has shown too many tokens that are not known; 503 when
/// the database is away.
pub async fn operator(api: &Api, request: &HttpRequest) -> Result<OperatorRow, Problem> {
    let token = credential(request)?;
    if mode_of(&token).is_some() {
        return Err(
            Problem::new(ProblemCode::Forbidden, "A merchant's key opens nothing here: an operator's token is needed.").about("Authorization")
        );
    }
    let digest = sha256(&token);
    let now = api.clock.wall();
    let address = origin::address(request, &api.settings.trusted_proxies);
    api.limits.stranger(address)?;
    let operator = api.read(move |store| async move { store.operator(&digest, now).await }).await?;
    let Some(operator) = operator else {
        api.limits.unknown_key(address);
        return Err(refused("The operator's token is unknown or was revoked."));
    };
    // What is in no table is for nobody but an admin.
    let needed = super::routes::role_needed(&request.match_pattern().unwrap_or_default(), request.method()).unwrap_or(Role::Admin);
    if operator.role < needed {
        let detail = format!("A {} may not do this: the token of an operator whose role is {needed} or more is needed.", operator.role);
        return Err(Problem::new(ProblemCode::Forbidden, detail).about("Authorization"));
    }
    Ok(operator)
}

/// Whether the key says that it is for real money; `None` when it is not an API key.
fn mode_of(key: &str) -> Option<bool> {
    if key.starts_with("bwk_test_") {
        Some(false)
    } else if key.starts_with("bwk_live_") {
        Some(true)
    } else {
        None
    }
}

fn sha256(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    bytes
}

fn refused(detail: &'static str) -> Problem {
    Problem::new(ProblemCode::Unauthenticated, detail).about("Authorization")
}

/// What stands in `Authorization`: `Bearer KEY` (RFC 6750), or `Basic` with the key as user (RFC 7617).
fn credential(request: &HttpRequest) -> Result<String, Problem> {
    let mut values = request.headers().get_all(header::AUTHORIZATION);
    let value = values.next().ok_or_else(|| refused("The Authorization header is missing: send `Bearer` and the key."))?;
    if values.next().is_some() {
        return Err(refused("The Authorization header is given twice."));
    }
    value.to_str().ok().and_then(read_credential).ok_or_else(|| refused("The Authorization header cannot be read: send `Bearer` and the key."))
}

fn read_credential(value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    let key = if scheme.eq_ignore_ascii_case("bearer") {
        rest.to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") && rest.len() <= 2 * LONGEST {
        let pair = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        pair.split_once(':').map_or(pair.clone(), |(user, _)| user.to_owned())
    } else {
        return None;
    };
    let fits = (8..=LONGEST).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then_some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_read_from_bearer_and_from_basic() {
        assert_eq!(read_credential("Bearer bwk_test_abc").as_deref(), Some("bwk_test_abc"));
        assert_eq!(read_credential("bearer  bwk_test_abc").as_deref(), Some("bwk_test_abc"));
        let basic = format!("Basic {}", STANDARD.encode("bwk_test_abc:"));
        assert_eq!(read_credential(&basic).as_deref(), Some("bwk_test_abc"));
        assert_eq!(read_credential("Basic !!!"), None);
        assert_eq!(read_credential("Bearer"), None);
        assert_eq!(read_credential("Digest bwk_test_abc"), None);
        assert_eq!(read_credential(&format!("Bearer {}", "x".repeat(LONGEST + 1))), None);
    }

    #[test]
    fn a_key_is_remembered_for_ten_seconds_and_no_longer() {
        let memory = KeyMemory::default();
        let owner = KeyOwner { merchant: Uuid::from_u128(7), livemode: false };
        let start = Moment::from_nanos(1);
        memory.keep([1; 32], owner, start);
        assert_eq!(memory.recall(&[1; 32], start + Duration::from_millis(9_999)), Some(owner));
        assert_eq!(memory.recall(&[1; 32], start + REMEMBERED), None);
        assert_eq!(memory.recall(&[2; 32], start), None);
        assert!(memory.has_met(&[1; 32]) && !memory.has_met(&[2; 32]));
        memory.forget(&[1; 32]);
        assert!(!memory.has_met(&[1; 32]));
    }

    #[test]
    fn the_memory_of_keys_is_bounded() {
        let memory = KeyMemory::default();
        let owner = KeyOwner { merchant: Uuid::from_u128(7), livemode: false };
        for n in 0..=KEPT {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_le_bytes());
            memory.keep(digest, owner, Moment::from_nanos(1));
        }
        assert!(memory.owners.lock().expect("whole").len() <= KEPT);
    }

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(value in "\\PC{0,60}") {
            let _ = read_credential(&value);
        }
    }
}

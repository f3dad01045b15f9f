//! Merchants, keys and operators, as people administer them: made, listed, ended, and each act on record.
//!
//! The audit's row is written by the very statement that acts: none of it can be forgotten, and a crash leaves both or neither. Secrets never
//! come here: a key is its SHA-256 and a hint. What the doors of the API ask (whose key is this?) is in `account.rs`.
//!
//! A key has an id for people: `key_` and the first 12 hex digits of its SHA-256. Whoever has the key can work it out, nobody can go back.

use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::Role;

pub(super) const MERCHANT_ADD: &str = "WITH made AS (INSERT INTO merchant (id, name, livemode, created_at) VALUES ($1, $2, $3, $4::timestamptz) \
       ON CONFLICT DO NOTHING RETURNING id, name, livemode) \
     INSERT INTO audit (at, who, act, subject, why, after) \
     SELECT $4::timestamptz, $5, 'merchant.add', 'merchant:' || id, $6, jsonb_build_object('name', name, 'livemode', livemode) FROM made";
pub(super) const MERCHANTS: &str = "SELECT m.id, m.name, m.livemode, m.created_at, \
       (SELECT count(*) FROM api_key k WHERE k.merchant_id = m.id AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $1)) \
     FROM merchant m WHERE $3::text IS NULL OR m.name = $3 OR m.id::text = $3 ORDER BY m.created_at, m.name LIMIT $2";
pub(super) const KEY_ADD: &str = "WITH made AS (INSERT INTO api_key (digest, merchant_id, hint, created_at) VALUES ($1, $2, $3, $4::timestamptz) \
       RETURNING digest, merchant_id, hint) \
     INSERT INTO audit (at, who, act, subject, why, after) \
     SELECT $4::timestamptz, $5, 'key.add', 'key_' || encode(substring(digest FROM 1 FOR 6), 'hex'), $6, \
       jsonb_build_object('merchant', merchant_id, 'hint', hint) FROM made";
pub(super) const KEYS: &str = "SELECT k.digest, k.merchant_id, m.name, m.livemode, k.hint, k.created_at, k.expires_at, k.revoked_at \
     FROM api_key k JOIN merchant m ON m.id = k.merchant_id WHERE $1::uuid IS NULL OR m.id = $1 ORDER BY k.created_at, k.digest LIMIT $2";
pub(super) const KEY_REVOKE: &str = "WITH old AS (SELECT digest, expires_at FROM api_key WHERE digest = $1 AND revoked_at IS NULL FOR UPDATE), \
       ended AS (UPDATE api_key k SET revoked_at = $2::timestamptz FROM old WHERE k.digest = old.digest RETURNING k.digest) \
     INSERT INTO audit (at, who, act, subject, why, before, after) \
     SELECT $2::timestamptz, $3, 'key.revoke', 'key_' || encode(substring(old.digest FROM 1 FOR 6), 'hex'), $4, \
       jsonb_build_object('expires_at', old.expires_at), jsonb_build_object('revoked_at', $2::timestamptz) FROM old JOIN ended USING (digest)";
pub(super) const KEY_ROTATE: &str = "WITH old AS (SELECT digest, merchant_id, expires_at FROM api_key WHERE digest = $1 AND revoked_at IS NULL \
       AND (expires_at IS NULL OR expires_at > $4::timestamptz) FOR UPDATE), \
       ended AS (UPDATE api_key k SET expires_at = LEAST(k.expires_at, $5::timestamptz), \
         revoked_at = CASE WHEN $5::timestamptz <= $4::timestamptz THEN $4::timestamptz END FROM old WHERE k.digest = old.digest \
         RETURNING k.digest, k.expires_at), \
       made AS (INSERT INTO api_key (digest, merchant_id, hint, created_at) SELECT $2, merchant_id, $3, $4::timestamptz FROM old RETURNING digest) \
     INSERT INTO audit (at, who, act, subject, why, before, after) \
     SELECT $4::timestamptz, $6, 'key.rotate', 'key_' || encode(substring(old.digest FROM 1 FOR 6), 'hex'), $7, \
       jsonb_build_object('expires_at', old.expires_at), \
       jsonb_build_object('expires_at', ended.expires_at, 'replaced_by', 'key_' || encode(substring(made.digest FROM 1 FOR 6), 'hex')) \
     FROM old JOIN ended USING (digest), made";
pub(super) const OPERATOR_ADD: &str = "WITH made AS (INSERT INTO operator (digest, name, role, hint, created_at) \
       VALUES ($1, $2, $3, $4, $5::timestamptz) ON CONFLICT ON CONSTRAINT operator_name_unique DO NOTHING RETURNING name, role, hint) \
     INSERT INTO audit (at, who, act, subject, why, after) \
     SELECT $5::timestamptz, $6, 'operator.add', 'operator:' || name, $7, jsonb_build_object('role', role, 'hint', hint) FROM made";
pub(super) const OPERATORS: &str = "SELECT name, role, hint, created_at, revoked_at, previous_until FROM operator ORDER BY created_at, name LIMIT $1";
pub(super) const OPERATOR_REVOKE: &str = "WITH old AS (SELECT digest, name, role FROM operator WHERE name = $1 AND revoked_at IS NULL FOR UPDATE), \
       ended AS (UPDATE operator o SET revoked_at = $2::timestamptz FROM old WHERE o.digest = old.digest RETURNING o.digest) \
     INSERT INTO audit (at, who, act, subject, why, before, after) \
     SELECT $2::timestamptz, $3, 'operator.revoke', 'operator:' || name, $4, jsonb_build_object('role', role), \
       jsonb_build_object('revoked_at', $2::timestamptz) FROM old JOIN ended USING (digest)";
pub(super) const OPERATOR_ROTATE: &str = "WITH old AS (SELECT digest, name, hint FROM operator WHERE name = $1 AND revoked_at IS NULL FOR UPDATE), \
       changed AS (UPDATE operator o SET digest = $2, hint = $3, \
         previous_digest = CASE WHEN $5::timestamptz > $4::timestamptz THEN old.digest END, \
         previous_until = CASE WHEN $5::timestamptz > $4::timestamptz THEN $5::timestamptz END \
         FROM old WHERE o.digest = old.digest RETURNING o.name, o.previous_until) \
     INSERT INTO audit (at, who, act, subject, why, before, after) \
     SELECT $4::timestamptz, $6, 'operator.rotate', 'operator:' || old.name, $7, jsonb_build_object('hint', old.hint), \
       jsonb_build_object('hint', $3, 'previous_until', changed.previous_until) FROM old JOIN changed USING (name)";
pub(super) const OPERATOR_ROLE: &str = "WITH old AS (SELECT digest, name, role FROM operator WHERE name = $1 AND revoked_at IS NULL FOR UPDATE), \
       changed AS (UPDATE operator o SET role = $2 FROM old WHERE o.digest = old.digest RETURNING o.digest) \
     INSERT INTO audit (at, who, act, subject, why, before, after) \
     SELECT $3::timestamptz, $4, 'operator.role', 'operator:' || name, $5, jsonb_build_object('role', role), jsonb_build_object('role', $2::text) \
     FROM old JOIN changed USING (digest)";
pub(super) const OPERATOR_EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM operator WHERE revoked_at IS NULL)";

/// Rows that a list reads at most: beyond what a person reads, and below what hurts.
pub const LISTED: i64 = 10_000;

/// Who acts, when and why: what the audit keeps of every act.
#[derive(Clone, Copy, Debug)]
pub struct Actor<'a> {
    /// When.
    pub at: Timestamp,
    /// Who: `os:NAME` for a user of this machine, `operator:NAME` for one with a token; 1 to 200 characters.
    pub who: &'a str,
    /// Why, in their own words.
    pub why: Option<&'a str>,
}

/// A merchant in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MerchantRow {
    /// Its id.
    pub id: Uuid,
    /// Its name, unique within its mode.
    pub name: String,
    /// Whether real money moves.
    pub livemode: bool,
    /// When it was added.
    pub created_at: Timestamp,
    /// How many of its keys are valid now.
    pub valid_keys: i64,
}

/// Whom a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This one.
    One(MerchantRow),
    /// A test merchant and a live one: say which.
    InBothModes,
    /// One of the mode that was not asked for.
    InTheOtherMode,
    /// Nobody; these are the names that come nearest, at most five.
    Nobody {
        /// Nearest first.
        near: Vec<String>,
    },
}

impl Found {
    /// Why `named` is no one merchant of this mode (`test` or `live`, or either), as the beginning of a sentence. Empty for [`Found::One`].
    pub fn complaint(&self, named: &str, mode: Option<&str>) -> String {
        let mode = mode.map_or(String::new(), |mode| format!("{mode} "));
        match self {
            Self::One(_) => String::new(),
            Self::InBothModes => format!("a test merchant and a live one are both named {named:?}"),
            Self::InTheOtherMode => format!("there is no {mode}merchant {named:?}, only one of the other mode"),
            Self::Nobody { near } if near.is_empty() => format!("there is no {mode}merchant {named:?}"),
            Self::Nobody { near } => {
                let near: Vec<String> = near.iter().map(|name| format!("{name:?}")).collect();
                format!("there is no {mode}merchant {named:?} (near it: {})", near.join(", "))
            }
        }
    }
}

/// Those of `names` that are near `wanted`: that hold it or are held by it, or are at most a third of its letters away.
pub fn near(wanted: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let reach = (wanted.chars().count() / 3).max(2);
    let mut near: Vec<(usize, String)> = names
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let distance = if lower.contains(&wanted) || wanted.contains(&lower) { 0 } else { edits(&wanted, &lower) };
            (distance <= reach).then_some((distance, name))
        })
        .collect();
    near.sort();
    near.dedup_by(|a, b| a.1 == b.1);
    near.into_iter().take(5).map(|(_, name)| name).collect()
}

/// How many letters must be put in, taken out or changed to make one text the other (Levenshtein).
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

/// A key in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// The key's SHA-256.
    pub digest: [u8; 32],
    /// Whose it is.
    pub merchant: Uuid,
    /// Their name.
    pub merchant_name: String,
    /// Whether real money moves.
    pub livemode: bool,
    /// Its first and last characters.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, or ended, by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl KeyRow {
    /// Its id: `key_` and 12 hex digits.
    pub fn id(&self) -> String {
        key_id(&self.digest)
    }

    /// Where it stands at `now`: `active`, `expiring`, `expired` or `revoked`.
    pub fn state(&self, now: Timestamp) -> &'static str {
        match (self.revoked_at, self.expires_at) {
            (Some(_), _) => "revoked",
            (None, Some(end)) if end <= now => "expired",
            (None, Some(_)) => "expiring",
            (None, None) => "active",
        }
    }
}

/// The id of the key with that SHA-256.
pub fn key_id(digest: &[u8; 32]) -> String {
    digest[..6].iter().fold("key_".to_owned(), |id, byte| id + &format!("{byte:02x}"))
}

/// An operator in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorListing {
    /// Their name.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// Their token's first and last characters; empty for one that was made before hints were kept.
    pub hint: String,
    /// When they were added.
    pub created_at: Timestamp,
    /// When they were revoked.
    pub revoked_at: Option<Timestamp>,
    /// Until when their token of before works, or worked.
    pub previous_until: Option<Timestamp>,
}

impl Store {
    /// Adds a merchant. False when its mode has one of that name already; nothing was changed then.
    ///
    /// # Errors
    /// [`StoreError`]; a name that is not 1 to 100 characters long violates `merchant_name_length`.
    pub async fn enrol_merchant(&self, id: Uuid, name: &str, livemode: bool, actor: Actor<'_>) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(client.execute(MERCHANT_ADD, &[&id, &name, &livemode, &actor.at, &actor.who, &actor.why]).await? > 0)
    }

    /// The merchants, oldest first, at most [`LISTED`]; keys are counted as of `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn merchants(&self, now: Timestamp) -> Result<Vec<MerchantRow>, StoreError> {
        self.merchants_named(None, now).await
    }

    /// The one merchant that `named` is the name or the id of, in that mode or in either. One name may stand in both modes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_merchant(&self, named: &str, livemode: Option<bool>, now: Timestamp) -> Result<Found, StoreError> {
        let fits = |merchant: &MerchantRow| livemode.is_none_or(|mode| mode == merchant.livemode);
        let named_so = self.merchants_named(Some(named), now).await?;
        let (mut fitting, others): (Vec<_>, Vec<_>) = named_so.into_iter().partition(fits);
        Ok(match (fitting.pop(), fitting.is_empty(), others.is_empty()) {
            (Some(merchant), true, _) => Found::One(merchant),
            (Some(_), false, _) => Found::InBothModes,
            (None, _, false) => Found::InTheOtherMode,
            (None, _, true) => {
                let names = self.merchants(now).await?.into_iter().filter(fits).map(|merchant| merchant.name);
                Found::Nobody { near: near(named, names) }
            }
        })
    }

    async fn merchants_named(&self, named: Option<&str>, now: Timestamp) -> Result<Vec<MerchantRow>, StoreError> {
        let rows = self.client().await?.query(MERCHANTS, &[&now, &LISTED, &named]).await?;
        rows.iter()
            .map(|row| {
                Ok(MerchantRow {
                    id: row.try_get(0)?,
                    name: row.try_get(1)?,
                    livemode: row.try_get(2)?,
                    created_at: row.try_get(3)?,
                    valid_keys: row.try_get(4)?,
                })
            })
            .collect()
    }

    /// Gives a merchant a new key.
    ///
    /// # Errors
    /// [`StoreError`]; an unknown merchant violates `api_key_merchant_id_fkey`.
    pub async fn issue_key(&self, merchant: Uuid, digest: &[u8; 32], hint: &str, actor: Actor<'_>) -> Result<(), StoreError> {
        let client = self.client().await?;
        client.execute(KEY_ADD, &[&digest.as_slice(), &merchant, &hint, &actor.at, &actor.who, &actor.why]).await?;
        Ok(())
    }

    /// The keys of one merchant or of all, oldest first, at most [`LISTED`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keys(&self, merchant: Option<Uuid>) -> Result<Vec<KeyRow>, StoreError> {
        let rows = self.client().await?.query(KEYS, &[&merchant, &LISTED]).await?;
        rows.iter().map(read_key).collect()
    }

    /// Ends a key now. False when it was revoked before, or there is none. Processes that remember it stop within ten seconds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_key(&self, digest: &[u8; 32], actor: Actor<'_>) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(client.execute(KEY_REVOKE, &[&digest.as_slice(), &actor.at, &actor.who, &actor.why]).await? > 0)
    }

    /// Puts a new key beside a valid one, which then works until `until`; an `until` that is not in the future revokes it at once. False when
    /// the old one is not valid any more; nothing was changed then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rotate_key(&self, old: &[u8; 32], new: &[u8; 32], hint: &str, until: Timestamp, actor: Actor<'_>) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let changed = client.execute(KEY_ROTATE, &[&old.as_slice(), &new.as_slice(), &hint, &actor.at, &until, &actor.who, &actor.why]).await?;
        Ok(changed > 0)
    }

    /// Adds an operator. False when the name is taken, by a revoked one too.
    ///
    /// # Errors
    /// [`StoreError`]; a role that is none violates `operator_role`.
    pub async fn enrol_operator(&self, name: &str, role: &str, digest: &[u8; 32], hint: &str, actor: Actor<'_>) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(client.execute(OPERATOR_ADD, &[&digest.as_slice(), &name, &role, &hint, &actor.at, &actor.who, &actor.why]).await? > 0)
    }

    /// The operators, oldest first, at most [`LISTED`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn operators(&self) -> Result<Vec<OperatorListing>, StoreError> {
        let rows = self.client().await?.query(OPERATORS, &[&LISTED]).await?;
        rows.iter()
            .map(|row| {
                Ok(OperatorListing {
                    name: row.try_get(0)?,
                    role: row.try_get(1)?,
                    hint: row.try_get(2)?,
                    created_at: row.try_get(3)?,
                    revoked_at: row.try_get(4)?,
                    previous_until: row.try_get(5)?,
                })
            })
            .collect()
    }

    /// Ends an operator's tokens now. False when they were revoked before, or there is none of that name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_operator(&self, name: &str, actor: Actor<'_>) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(client.execute(OPERATOR_REVOKE, &[&name, &actor.at, &actor.who, &actor.why]).await? > 0)
    }

    /// Gives an operator a new token; the one of before works until `until`, or not at all when that is not in the future. A still older one
    /// ends now. False when there is no valid operator of that name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rotate_operator(&self, name: &str, new: &[u8; 32], hint: &str, until: Timestamp, actor: Actor<'_>) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(client.execute(OPERATOR_ROTATE, &[&name, &new.as_slice(), &hint, &actor.at, &until, &actor.who, &actor.why]).await? > 0)
    }

    /// Gives an operator another role, from their next request on. False when there is no valid operator of that name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_operator_role(&self, name: &str, role: Role, actor: Actor<'_>) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(client.execute(OPERATOR_ROLE, &[&name, &role.as_str(), &actor.at, &actor.who, &actor.why]).await? > 0)
    }

    /// Whether there is an operator who was not revoked.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_operator(&self) -> Result<bool, StoreError> {
        Ok(self.client().await?.query_one(OPERATOR_EXISTS, &[]).await?.try_get(0)?)
    }
}

fn read_key(row: &Row) -> Result<KeyRow, StoreError> {
    let digest: Vec<u8> = row.try_get(0)?;
    Ok(KeyRow {
        digest: digest.try_into().map_err(|_| StoreError::Unreadable("a key's digest is not 32 bytes".to_owned()))?,
        merchant: row.try_get(1)?,
        merchant_name: row.try_get(2)?,
        livemode: row.try_get(3)?,
        hint: row.try_get(4)?,
        created_at: row.try_get(5)?,
        expires_at: row.try_get(6)?,
        revoked_at: row.try_get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_answered_with_the_names_near_it_and_no_others() {
        let names = ["Sample Shop", "Simple Shop", "Bakery", "sample shop two"].map(str::to_owned);
        assert_eq!(near("Sampel Shop", names.clone().into_iter()), ["Sample Shop", "Simple Shop"]);
        assert_eq!(near("sample shop", names.clone().into_iter()), ["Sample Shop", "sample shop two", "Simple Shop"]);
        assert_eq!(near("Xylophones", names.into_iter()), Vec::<String>::new());
        assert_eq!(edits("kitten", "sitting"), 3);
    }

    #[test]
    fn a_key_expires_at_the_time_and_not_a_moment_later() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let key = |expires_at, revoked_at| KeyRow {
            digest: [0xab; 32],
            merchant: Uuid::nil(),
            merchant_name: "Shop".to_owned(),
            livemode: false,
            hint: String::new(),
            created_at: at(0),
            expires_at,
            revoked_at,
        };
        assert_eq!(key(None, None).state(at(9)), "active");
        assert_eq!(key(Some(at(10)), None).state(at(9)), "expiring");
        assert_eq!(key(Some(at(10)), None).state(at(10)), "expired");
        assert_eq!(key(Some(at(10)), Some(at(1))).state(at(9)), "revoked");
        assert_eq!(key(None, None).id(), "key_abababababab");
    }
}

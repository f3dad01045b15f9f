//! What is in doubt, as people ask for it: how much money, since when, which payments; asking again now; and what one person says of an outcome
//! until a second one agrees.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;

use super::administration::Actor;
use super::{Store, StoreError};
use crate::domain::PaymentId;

/// Attempts that one request makes due, at most: the poller takes them in batches, and the channel's share paces it.
pub const REQUERY_MOST: i64 = 10_000;

/// Through the index of what is due.
pub(super) const TOTALS: &str = "SELECT a.channel, a.operation, p.currency, count(*), sum(a.amount)::int8, min(a.created_at) \
     FROM attempt a JOIN payment p ON p.id = a.payment_id WHERE a.due_at IS NOT NULL AND a.state IN ('unknown', 'reversing') \
     GROUP BY a.channel, a.operation, p.currency ORDER BY a.channel, a.operation, p.currency";
pub(super) const LIST: &str = "WITH d AS (SELECT DISTINCT payment_id FROM attempt WHERE due_at IS NOT NULL AND (state IN ('unknown', 'reversing') OR set_aside_at IS NOT NULL) \
       AND payment_id > $1 AND ($2::text IS NULL OR channel = $2) ORDER BY payment_id LIMIT $3) \
     SELECT p.id, p.merchant_id, p.livemode, p.merchant_order_id, p.status, p.amount, p.currency, \
       a.n, a.operation, a.channel, a.amount, a.state, a.key, a.reference, a.created_at, a.due_at, a.tries, a.set_aside_at \
     FROM d JOIN payment p ON p.id = d.payment_id JOIN attempt a ON a.payment_id = d.payment_id \
     WHERE a.due_at IS NOT NULL AND (a.state IN ('unknown', 'reversing') OR a.set_aside_at IS NOT NULL) ORDER BY p.id, a.n";
/// Whoever holds a lease now keeps it: a time that is set meanwhile stands when the lease is given back.
pub(super) const REQUERY: &str = "WITH due AS (UPDATE attempt SET due_at = $1::timestamptz, set_aside_at = NULL, failures = 0 WHERE (payment_id, n) IN ( \
         SELECT payment_id, n FROM attempt WHERE due_at IS NOT NULL \
         AND (set_aside_at IS NOT NULL OR due_at > $1::timestamptz AND state IN ('unknown', 'reversing', 'accepted', 'not_sent')) \
         AND ($2::uuid[] IS NULL OR payment_id = ANY($2)) AND ($3::text IS NULL OR channel = $3) \
         AND ($4::timestamptz IS NULL OR created_at >= $4) ORDER BY due_at LIMIT $5) RETURNING payment_id), \
     told AS (INSERT INTO audit (at, who, act, subject, why, after) \
       SELECT $1::timestamptz, $6, 'payment.requery', coalesce('channel:' || $3, CASE WHEN $2::uuid[] IS NULL THEN 'payments' \
         WHEN cardinality($2::uuid[]) = 1 THEN 'payment:pay_' || replace(($2::uuid[])[1]::text, '-', '') ELSE 'payments' END), $7, \
         jsonb_build_object('attempts', (SELECT count(*) FROM due), 'payments', $2::uuid[], 'channel', $3::text, 'since', $4::timestamptz)) \
     SELECT count(*) FROM due";
pub(super) const RESOLUTION: &str = "SELECT outcome, reference, proposed_by, proposed_at, expires_at FROM resolution \
     WHERE payment_id = $1 AND n = $2 AND expires_at > $3 AND decided_at IS NULL";
/// One's own word may be changed, and one that has lapsed or was decided on makes room; another's stands.
pub(super) const PROPOSE: &str = "WITH made AS (INSERT INTO resolution AS r (payment_id, n, outcome, reference, note, evidence, proposed_by, proposed_at, expires_at) \
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8::timestamptz, $9::timestamptz) \
       ON CONFLICT ON CONSTRAINT resolution_pkey DO UPDATE SET outcome = excluded.outcome, reference = excluded.reference, note = excluded.note, \
         evidence = excluded.evidence, proposed_by = excluded.proposed_by, proposed_at = excluded.proposed_at, expires_at = excluded.expires_at, \
         decided_by = NULL, decided_at = NULL \
       WHERE r.proposed_by = excluded.proposed_by OR r.expires_at <= excluded.proposed_at OR r.decided_at IS NOT NULL RETURNING *) \
     INSERT INTO audit (at, who, act, subject, why, after) \
     SELECT $8::timestamptz, $7, 'payment.resolve_proposed', 'payment:pay_' || replace(payment_id::text, '-', ''), note, \
       jsonb_build_object('attempt', n, 'outcome', outcome, 'reference', reference, 'evidence', evidence, 'expires_at', expires_at) FROM made";
pub(super) const DECIDE: &str = "UPDATE resolution SET decided_by = $4, decided_at = $5 \
     WHERE payment_id = $1 AND n = $2 AND outcome = $3 AND reference IS NOT DISTINCT FROM $6 AND proposed_by <> $4 AND expires_at > $5 \
     AND (decided_at IS NULL OR decided_by = $4)";

/// How much is in doubt at one channel, for one operation, in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoubtTotal {
    /// The channel.
    pub channel: String,
    /// The operation.
    pub operation: String,
    /// The currency's ISO 4217 code.
    pub currency: String,
    /// How many attempts.
    pub count: i64,
    /// Their amounts added up, in minor units.
    pub amount_minor: i64,
    /// When the oldest of them was first written.
    pub oldest: Timestamp,
}

/// A payment of which something is in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoubtfulPayment {
    /// Which.
    pub payment: PaymentId,
    /// Whose.
    pub merchant: Uuid,
    /// Whether real money moves.
    pub livemode: bool,
    /// Its order.
    pub order: String,
    /// Its status.
    pub status: String,
    /// Minor units that were asked for.
    pub amount: i64,
    /// The currency's ISO 4217 code.
    pub currency: String,
    /// What is in doubt of it.
    pub attempts: Vec<DoubtfulAttempt>,
}

/// An attempt that is in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoubtfulAttempt {
    /// Its number within the payment.
    pub n: i16,
    /// What was tried.
    pub operation: String,
    /// Where.
    pub channel: String,
    /// Minor units.
    pub amount: i64,
    /// `unknown` or `reversing`.
    pub state: String,
    /// What the channel knows it by.
    pub key: String,
    /// The channel's own name for it.
    pub reference: Option<String>,
    /// When its intent was written.
    pub created_at: Timestamp,
    /// When the channel is asked again.
    pub due_at: Timestamp,
    /// How many times it was asked in vain.
    pub tries: i32,
    /// Since when nobody looks at it any more, because looking failed by faults of ours; asking after it again takes it back.
    pub set_aside_at: Option<Timestamp>,
}

/// What is to be asked after at once. What is left out does not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requery {
    /// Only these payments.
    pub payments: Option<Vec<PaymentId>>,
    /// Only at this channel.
    pub channel: Option<String>,
    /// Only what was tried at this time or later.
    pub since: Option<Timestamp>,
}

/// One person's word on an outcome that needs two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// `approved`, `authorized`, `declined` or `not_found`.
    pub outcome: String,
    /// The channel's name for it, where they gave one.
    pub reference: Option<String>,
    /// Who.
    pub proposed_by: String,
    /// When.
    pub proposed_at: Timestamp,
    /// Until when it waits for a second person.
    pub expires_at: Timestamp,
}

/// A word to be kept until a second person says the same.
#[derive(Clone, Copy, Debug)]
pub struct NewProposal<'a> {
    /// Of which payment.
    pub payment: PaymentId,
    /// Of which attempt.
    pub n: i16,
    /// What it came to.
    pub outcome: &'a str,
    /// The channel's name for it.
    pub reference: Option<&'a str>,
    /// What they know.
    pub note: &'a str,
    /// Where from.
    pub evidence: &'a str,
    /// Until when it waits.
    pub expires_at: Timestamp,
}

impl Store {
    /// How much is in doubt, by channel, operation and currency.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn doubt_totals(&self) -> Result<Vec<DoubtTotal>, StoreError> {
        let rows = self.client().await?.query(TOTALS, &[]).await?;
        rows.iter()
            .map(|row| {
                Ok(DoubtTotal {
                    channel: row.try_get(0)?,
                    operation: row.try_get(1)?,
                    currency: row.try_get(2)?,
                    count: row.try_get(3)?,
                    amount_minor: row.try_get(4)?,
                    oldest: row.try_get(5)?,
                })
            })
            .collect()
    }

    /// Up to `limit` payments of which something is in doubt, oldest first, after that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn doubtful_payments(&self, after: Option<Uuid>, channel: Option<&str>, limit: i64) -> Result<Vec<DoubtfulPayment>, StoreError> {
        let rows = self.client().await?.query(LIST, &[&after.unwrap_or(Uuid::nil()), &channel, &limit]).await?;
        let mut payments: BTreeMap<Uuid, DoubtfulPayment> = BTreeMap::new();
        for row in &rows {
            let id: Uuid = row.try_get(0)?;
            let attempt = DoubtfulAttempt {
                n: row.try_get(7)?,
                operation: row.try_get(8)?,
                channel: row.try_get(9)?,
                amount: row.try_get(10)?,
                state: row.try_get(11)?,
                key: row.try_get(12)?,
                reference: row.try_get(13)?,
                created_at: row.try_get(14)?,
                due_at: row.try_get(15)?,
                tries: row.try_get(16)?,
                set_aside_at: row.try_get(17)?,
            };
            if let Some(payment) = payments.get_mut(&id) {
                payment.attempts.push(attempt);
                continue;
            }
            let payment = DoubtfulPayment {
                payment: PaymentId(id),
                merchant: row.try_get(1)?,
                livemode: row.try_get(2)?,
                order: row.try_get(3)?,
                status: row.try_get(4)?,
                amount: row.try_get(5)?,
                currency: row.try_get(6)?,
                attempts: vec![attempt],
            };
            payments.insert(id, payment);
        }
        Ok(payments.into_values().collect())
    }

    /// Makes what is open and not yet due, and fits, due now, at most [`REQUERY_MOST`] attempts. Answers how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn requery(&self, what: &Requery, actor: Actor<'_>) -> Result<i64, StoreError> {
        let client = self.client().await?;
        let payments: Option<Vec<Uuid>> = what.payments.as_ref().map(|ids| ids.iter().map(|id| id.0).collect());
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [&actor.at, &payments, &what.channel, &what.since, &REQUERY_MOST, &actor.who, &actor.why];
        Ok(client.query_one(REQUERY, &parameters).await?.try_get(0)?)
    }

    /// The word on an attempt's outcome that waits for a second person at `now`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn proposal(&self, payment: PaymentId, n: i16, now: Timestamp) -> Result<Option<Proposal>, StoreError> {
        let row = self.client().await?.query_opt(RESOLUTION, &[&payment.0, &n, &now]).await?;
        row.map(|row| {
            Ok(Proposal {
                outcome: row.try_get(0)?,
                reference: row.try_get(1)?,
                proposed_by: row.try_get(2)?,
                proposed_at: row.try_get(3)?,
                expires_at: row.try_get(4)?,
            })
        })
        .transpose()
    }

    /// Keeps one person's word until a second one says the same. False when another's waits already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn propose(&self, new: &NewProposal<'_>, actor: Actor<'_>) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 9] =
            [&new.payment.0, &new.n, &new.outcome, &new.reference, &new.note, &new.evidence, &actor.who, &actor.at, &new.expires_at];
        Ok(client.execute(PROPOSE, &parameters).await? > 0)
    }

    /// Takes the word that waits, for a second person who says the same. False when there is none such, or it is their own. Taken again by the same
    /// person it is theirs still: what they ordered may have failed in between.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn decide(&self, payment: PaymentId, n: i16, outcome: &str, reference: Option<&str>, actor: Actor<'_>) -> Result<bool, StoreError> {
        let client = self.client().await?;
        Ok(client.execute(DECIDE, &[&payment.0, &n, &outcome, &actor.who, &actor.at, &reference]).await? > 0)
    }
}

//! Leases on attempts that are due: who may act, until when. A lease lives in the attempt's own columns; taking it increments the fence, so
//! that whoever held it before can no longer act, however late it wakes.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::PaymentId;

/// Takes what is due and free, past whatever other sweepers hold.
pub(super) const CLAIM: &str = include_str!("claim.sql");
/// Takes one attempt that is free and was not asked about lately, due or not.
pub(super) const CLAIM_ONE: &str = "UPDATE attempt SET lease_owner = $3, lease_until = $4, fence = fence + 1, asked_at = $5 \
     WHERE payment_id = $1 AND n = $2 AND (lease_until IS NULL OR lease_until <= $5) AND (asked_at IS NULL OR asked_at <= $6) \
     RETURNING payment_id, n, fence, channel, operation, due_at, key, created_at";
/// Gives a lease back and leaves everything else as it was.
pub(super) const RELEASE: &str = "UPDATE attempt SET lease_owner = NULL, lease_until = NULL WHERE payment_id = $1 AND n = $2 AND fence = $3";
/// Renews a lease that is still ours.
pub(super) const RENEW: &str = "UPDATE attempt SET lease_until = $4 WHERE payment_id = $1 AND n = $2 AND fence = $3";
/// Gives a lease back and looks again later, unless somebody has set another time since the lease was taken (a cancel, news that calls for a
/// follow-up): theirs stands, or what they asked for would be put off by a rung of the ladder, or forgotten.
pub(super) const POSTPONE: &str = "UPDATE attempt SET due_at = CASE WHEN due_at = $6 THEN $4 ELSE due_at END, tries = tries + $5, \
     failures = CASE WHEN $5 > 0 THEN 0 ELSE failures END, lease_owner = NULL, lease_until = NULL WHERE payment_id = $1 AND n = $2 AND fence = $3";
/// Counts a fault of ours, and sets the attempt aside with the last that it may have.
pub(super) const FAULT: &str = "UPDATE attempt SET failures = least(failures + 1, 1000), due_at = $4, tries = tries + 1, lease_owner = NULL, lease_until = NULL, \
     set_aside_at = CASE WHEN failures + 1 >= $5 THEN coalesce(set_aside_at, $6::timestamptz) ELSE set_aside_at END \
     WHERE payment_id = $1 AND n = $2 AND fence = $3 RETURNING set_aside_at IS NOT NULL";
/// How much is due, and since when.
pub(super) const BACKLOG: &str = "SELECT count(*) FILTER (WHERE set_aside_at IS NULL AND due_at <= $1 AND (lease_until IS NULL OR lease_until <= $1)), \
     min(due_at) FILTER (WHERE set_aside_at IS NULL AND due_at <= $1 AND (lease_until IS NULL OR lease_until <= $1)), \
     count(*) FILTER (WHERE set_aside_at IS NOT NULL) FROM attempt WHERE due_at <= $1 + interval '1 minute'";
/// Makes what is in doubt at a channel, or waits in its queue, due now, spread over a while that grows with how much it is: it answers again. A look
/// out of turn costs no rung. What is due within that while anyway stays as it is: several processes see one recovery, and a channel that fails now and
/// then has many.
pub(super) const HASTEN: &str = "WITH spread AS MATERIALIZED (\
       SELECT greatest($3::float8, least($5::float8, $4::float8 * count(*))) * interval '1 second' AS whole FROM attempt \
       WHERE channel = $1 AND state IN ('unknown', 'reversing', 'not_sent') AND due_at IS NOT NULL AND set_aside_at IS NULL) \
     UPDATE attempt SET due_at = $2::timestamptz + random() * spread.whole, tries = greatest(tries - 1, 0) FROM spread \
     WHERE channel = $1 AND state IN ('unknown', 'reversing', 'not_sent') AND due_at > $2::timestamptz + spread.whole AND set_aside_at IS NULL";

/// Makes one attempt due now, out of turn.
pub(super) const HASTEN_ONE: &str = "UPDATE attempt SET due_at = $3, tries = greatest(tries - 1, 0) \
     WHERE payment_id = $1 AND n = $2 AND (due_at IS NULL OR due_at > $3)";

/// An attempt that is ours to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its payment.
    pub payment: PaymentId,
    /// Its number.
    pub n: i16,
    /// What an action of ours must carry.
    pub fence: i32,
    /// Its channel.
    pub channel: String,
    /// Its operation.
    pub operation: String,
    /// What the channel knows it by.
    pub key: String,
    /// When its intent was written.
    pub created_at: Timestamp,
    /// When it was due; when it was taken, if it was not.
    pub due_at: Timestamp,
    /// Whether it was taken before its time: then it only goes back, and its plan stays.
    pub ahead: bool,
}

/// Who wants to ask about one attempt, from when until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asking {
    /// Whose lease it becomes.
    pub owner: Uuid,
    /// Now.
    pub now: Timestamp,
    /// Until when the lease lasts.
    pub until: Timestamp,
    /// Only if nobody has asked since then.
    pub not_asked_since: Timestamp,
}

/// How much of what is due on one channel there is room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// The channel.
    pub channel: String,
    /// How many attempts, at most; none is taken at 0.
    pub places: i64,
}

/// Which of what is due is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Refunds, and those that wait in their queue.
    pub refunds: bool,
    /// Everything but that queue.
    pub rest: bool,
}

impl Wanted {
    /// All that is due.
    pub const ALL: Self = Self { refunds: true, rest: true };
}

/// Over how long what becomes due together is spread: so much for each, but at least and at most so much in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// However few they are.
    pub least: SignedDuration,
    /// For each.
    pub each: SignedDuration,
    /// However many they are.
    pub most: SignedDuration,
}

/// What waits for somebody to look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Attempts that are due and free.
    pub due: i64,
    /// Since when the oldest of them is.
    pub oldest: Option<Timestamp>,
    /// Attempts that were set aside for faults of ours.
    pub set_aside: i64,
}

/// Faults of ours after which an attempt, or a notification, is set aside.
pub const FAULTS_MOST: i32 = 5;

impl Store {
    /// Takes up to `limit` attempts that are due at `now`, for `owner`, until `until`: the longest due of each channel first, each channel its equal
    /// part of the limit, and what one does not need goes to the others. Of a channel in `rooms` no more than it has room for.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_due(&self, owner: Uuid, now: Timestamp, until: Timestamp, limit: i64, rooms: &[Room]) -> Result<Vec<Claim>, StoreError> {
        self.claim_wanted(owner, now, until, limit, rooms, Wanted::ALL).await
    }

    /// The same, of what is wanted alone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_wanted(
        &self,
        owner: Uuid,
        now: Timestamp,
        until: Timestamp,
        limit: i64,
        rooms: &[Room],
        wanted: Wanted,
    ) -> Result<Vec<Claim>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(CLAIM).await?;
        let (channels, places): (Vec<&str>, Vec<i64>) = rooms.iter().map(|room| (room.channel.as_str(), room.places)).unzip();
        let rows = client.query(&statement, &[&owner, &until, &now, &limit, &channels, &places, &wanted.refunds, &wanted.rest]).await?;
        rows.iter()
            .map(|row| {
                Ok(Claim {
                    payment: PaymentId(row.try_get(0)?),
                    n: row.try_get(1)?,
                    fence: row.try_get(2)?,
                    channel: row.try_get(3)?,
                    operation: row.try_get(4)?,
                    due_at: row.try_get(5)?,
                    key: row.try_get(6)?,
                    created_at: row.try_get(7)?,
                    ahead: false,
                })
            })
            .collect()
    }

    /// Takes one attempt, due or not; `None` when somebody holds it, or it was asked about lately.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_attempt(&self, payment: PaymentId, n: i16, asking: Asking) -> Result<Option<Claim>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(CLAIM_ONE).await?;
        let Asking { owner, now, until, not_asked_since } = asking;
        let Some(row) = client.query_opt(&statement, &[&payment.0, &n, &owner, &until, &now, &not_asked_since]).await? else { return Ok(None) };
        let due_at: Option<Timestamp> = row.try_get(5)?;
        Ok(Some(Claim {
            payment,
            n,
            fence: row.try_get(2)?,
            channel: row.try_get(3)?,
            operation: row.try_get(4)?,
            key: row.try_get(6)?,
            created_at: row.try_get(7)?,
            due_at: due_at.unwrap_or(now),
            ahead: due_at.is_none_or(|due| due > now),
        }))
    }

    /// Renews a lease before a send. False when somebody else has it by now: the send must not happen.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn renew_lease(&self, payment: PaymentId, n: i16, fence: i32, until: Timestamp) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(RENEW).await?;
        Ok(client.execute(&statement, &[&payment.0, &n, &fence, &until]).await? == 1)
    }

    /// Gives a lease back and sets when to look again; `None` when nobody must. A time that was set after the lease was taken stands. `looked`
    /// says whether this counts as a rung of the ladder. What was taken ahead of its time only goes back.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn postpone(&self, claim: &Claim, due_at: Option<Timestamp>, looked: bool) -> Result<(), StoreError> {
        let client = self.client().await?;
        if claim.ahead {
            let statement = client.prepare_cached(RELEASE).await?;
            client.execute(&statement, &[&claim.payment.0, &claim.n, &claim.fence]).await?;
            return Ok(());
        }
        let statement = client.prepare_cached(POSTPONE).await?;
        client.execute(&statement, &[&claim.payment.0, &claim.n, &claim.fence, &due_at, &i32::from(looked), &claim.due_at]).await?;
        Ok(())
    }

    /// A look at the attempt failed by a fault of ours: it is looked at again at `later`, or, at the [`FAULTS_MOST`]th time in a row, set aside until
    /// an operator has it asked after. Answers whether it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_fault(&self, claim: &Claim, later: Timestamp, now: Timestamp) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let row = client.query_opt(FAULT, &[&claim.payment.0, &claim.n, &claim.fence, &later, &FAULTS_MOST, &now]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?.unwrap_or(false))
    }

    /// How many attempts are due and free at `now`, since when the oldest is, and how many were set aside.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn backlog(&self, now: Timestamp) -> Result<Backlog, StoreError> {
        let client = self.client().await?;
        let row = client.query_one(BACKLOG, &[&now]).await?;
        Ok(Backlog { due: row.try_get(0)?, oldest: row.try_get(1)?, set_aside: row.try_get(2)? })
    }

    /// A channel answers again: what is in doubt there becomes due now, but for what is due within its spread anyway. Answers how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn hasten(&self, channel: &str, now: Timestamp, pace: Pace) -> Result<u64, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(HASTEN).await?;
        let [least, each, most] = [pace.least, pace.each, pace.most].map(|part| part.as_secs_f64());
        Ok(client.execute(&statement, &[&channel, &now, &least, &each, &most]).await?)
    }

    /// Something about one attempt does not fit: ask its channel now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn hasten_attempt(&self, payment: PaymentId, n: i16, now: Timestamp) -> Result<(), StoreError> {
        let client = self.client().await?;
        client.execute(HASTEN_ONE, &[&payment.0, &n, &now]).await?;
        Ok(())
    }
}

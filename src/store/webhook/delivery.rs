//! Deliveries: the queue of each endpoint, and its log.
//!
//! A delivery is claimed under a lease with a fence, tried, and settled. A process that dies in between leaves a lease that lapses: the
//! delivery is then made once more, so an endpoint may hear a thing twice and never not at all.

use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::super::{Store, StoreError};
use crate::domain::topic::TOPICS;
use crate::domain::{EventId, PaymentId, WebhookEndpointId};

pub(crate) const CLAIM: &str = include_str!("claim.sql");
/// Refused when somebody has claimed it since.
pub(crate) const SETTLE: &str = "UPDATE webhook_delivery SET state = $5, attempts = attempts + 1, due_at = coalesce($6, due_at), \
     body = coalesce(body, $7), last_status = $8, last_error = $9, last_tried_at = $10, \
     delivered_at = CASE WHEN $5 = 'delivered' THEN $10 ELSE delivered_at END, lease_until = NULL \
     WHERE payment_id = $1 AND sequence = $2 AND endpoint_id = $3 AND fence = $4 AND state = 'pending'";
/// What has waited for longer than all its tries would have taken, because its endpoint was shut or turned off.
pub(crate) const EXPIRE: &str = "UPDATE webhook_delivery SET state = 'failed', last_error = coalesce(last_error, 'the endpoint was shut all the time') \
     WHERE (payment_id, sequence, endpoint_id) IN (SELECT payment_id, sequence, endpoint_id FROM webhook_delivery \
       WHERE state = 'pending' AND queued_at < $1 AND (lease_until IS NULL OR lease_until <= $2) \
         AND endpoint_id IN (SELECT id FROM webhook_endpoint WHERE NOT enabled OR shut_until IS NOT NULL) LIMIT $3 FOR UPDATE SKIP LOCKED)";
pub(crate) const QUEUE: &str = "SELECT count(*), min(d.queued_at), count(DISTINCT d.endpoint_id) FROM webhook_delivery d JOIN webhook_endpoint w ON w.id = d.endpoint_id \
     WHERE d.state = 'pending' AND w.enabled";
pub(crate) const LOG: &str = "SELECT * FROM webhook_delivery WHERE merchant_id = $1 AND endpoint_id = $2 AND event_id < $3 \
     AND ($4::text IS NULL OR state = $4) ORDER BY event_id DESC LIMIT $5";
/// One event again, for one endpoint that is named or for all that want it. What is under way already is let go on.
pub(crate) const REDELIVER: &str = "INSERT INTO webhook_delivery (payment_id, sequence, endpoint_id, event_id, merchant_id, kind, state, due_at, queued_at, \
       created_at) \
     SELECT e.payment_id, e.sequence, w.id, e.id, e.merchant_id, e.kind, 'pending', $4, $4, e.created_at \
     FROM event e JOIN webhook_endpoint w ON w.merchant_id = e.merchant_id AND w.enabled AND w.deleted_at IS NULL \
     WHERE e.merchant_id = $1 AND e.id = $2 AND e.kind = ANY($5::text[]) AND e.kind NOT LIKE 'attempt.%' \
       AND CASE WHEN $3::uuid IS NULL THEN w.types = '{}' OR e.kind = ANY(w.types) ELSE w.id = $3 END \
     ON CONFLICT ON CONSTRAINT webhook_delivery_pkey DO UPDATE SET state = 'pending', attempts = 0, due_at = $4, queued_at = $4, delivered_at = NULL \
     RETURNING *";
/// A merchant's events of a time range again, oldest first, for one endpoint, as far as it wants them.
pub(crate) const REPLAY: &str = "WITH d AS (INSERT INTO webhook_delivery (payment_id, sequence, endpoint_id, event_id, merchant_id, kind, state, due_at, queued_at, \
       created_at) \
     SELECT e.payment_id, e.sequence, w.id, e.id, e.merchant_id, e.kind, 'pending', $5, $5, e.created_at \
     FROM webhook_endpoint w JOIN event e ON e.merchant_id = w.merchant_id \
     WHERE w.merchant_id = $1 AND w.id = $2 AND w.enabled AND w.deleted_at IS NULL AND e.id >= $3 AND e.id < $4 AND e.kind = ANY($6::text[]) \
       AND e.kind NOT LIKE 'attempt.%' AND (w.types = '{}' OR e.kind = ANY(w.types)) \
     ORDER BY e.id LIMIT $7 \
     ON CONFLICT ON CONSTRAINT webhook_delivery_pkey DO UPDATE SET state = 'pending', attempts = 0, due_at = $5, queued_at = $5, delivered_at = NULL \
     RETURNING event_id) \
     SELECT count(*), (SELECT event_id FROM d ORDER BY event_id DESC LIMIT 1) FROM d";

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// It is due, now or later.
    Pending,
    /// The endpoint took it.
    Delivered,
    /// It was given up.
    Failed,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    /// The name in rows and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// Which delivery: what makes it one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryKey {
    /// The event's payment.
    pub payment: PaymentId,
    /// The event's number within it.
    pub sequence: i32,
    /// The endpoint.
    pub endpoint: WebhookEndpointId,
}

/// A delivery that is ours to make.
#[derive(Clone, Debug)]
pub struct ClaimedDelivery {
    /// Which.
    pub key: DeliveryKey,
    /// The event.
    pub event: EventId,
    /// Whose it is.
    pub merchant: Uuid,
    /// What the settling must carry.
    pub fence: i32,
    /// Tries before this one.
    pub attempts: i32,
    /// When its event happened, or when it was asked for again.
    pub queued_at: Timestamp,
    /// The body of an earlier try.
    pub body: Option<String>,
    /// Where to.
    pub url: String,
    /// The secret, sealed.
    pub sealed_secret: Vec<u8>,
    /// The secret before it, sealed, with the time until which it signs too.
    pub sealed_previous: Option<(Vec<u8>, Timestamp)>,
}

/// What a try came to.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// What became of the delivery.
    pub state: DeliveryState,
    /// When it is due again, if it is pending still.
    pub due_at: Option<Timestamp>,
    /// Its body, to be sent again as it is; left out when it arrived.
    pub body: Option<String>,
    /// The endpoint's status code, if it answered.
    pub status: Option<i16>,
    /// What went wrong.
    pub error: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// One line of an endpoint's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Which.
    pub key: DeliveryKey,
    /// The event.
    pub event: EventId,
    /// Its type.
    pub kind: String,
    /// What became of it.
    pub state: DeliveryState,
    /// Tries so far, since it was last queued.
    pub attempts: i32,
    /// When it is due, if it is pending.
    pub due_at: Timestamp,
    /// The status code of the last answer.
    pub last_status: Option<i16>,
    /// What went wrong at the last try.
    pub last_error: Option<String>,
    /// When it was last tried.
    pub last_tried_at: Option<Timestamp>,
    /// When the endpoint took it.
    pub delivered_at: Option<Timestamp>,
    /// When its event happened, or when it was asked for again.
    pub queued_at: Timestamp,
    /// When the event happened.
    pub created_at: Timestamp,
}

impl Store {
    /// Takes what is due at `now`, at most `limit` in all and `window` an endpoint, until `until`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claim_deliveries(&self, now: Timestamp, until: Timestamp, window: i64, limit: i64) -> Result<Vec<ClaimedDelivery>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(CLAIM).await?;
        let rows = client.query(&statement, &[&now, &until, &window, &limit]).await?;
        rows.iter().map(read_claimed).collect()
    }

    /// Writes what a try came to. False when somebody else has claimed the delivery since, and it is theirs to settle.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn settle_delivery(&self, key: DeliveryKey, fence: i32, settled: &Settlement) -> Result<bool, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(SETTLE).await?;
        let written = client
            .execute(
                &statement,
                &[
                    &key.payment.0,
                    &key.sequence,
                    &key.endpoint.0,
                    &fence,
                    &settled.state.as_str(),
                    &settled.due_at,
                    &settled.body,
                    &settled.status,
                    &settled.error,
                    &settled.at,
                ],
            )
            .await?;
        Ok(written == 1)
    }

    /// Gives up at most `limit` deliveries that have waited since before `before` at endpoints that are shut or turned off. Answers how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn expire_deliveries(&self, before: Timestamp, now: Timestamp, limit: i64) -> Result<u64, StoreError> {
        let client = self.client().await?;
        Ok(client.execute(EXPIRE, &[&before, &now, &limit]).await?)
    }

    /// How many deliveries wait for endpoints that are not turned off, and since when the oldest does.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delivery_queue(&self) -> Result<(i64, Option<Timestamp>, i64), StoreError> {
        let client = self.client().await?;
        let row = client.query_one(QUEUE, &[]).await?;
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
    }

    /// A page of an endpoint's log, newest event first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delivery_log(
        &self,
        merchant: Uuid,
        endpoint: WebhookEndpointId,
        before: Option<Uuid>,
        state: Option<DeliveryState>,
        limit: i64,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(LOG).await?;
        let state = state.map(DeliveryState::as_str);
        let rows = client.query(&statement, &[&merchant, &endpoint.0, &before.unwrap_or(Uuid::max()), &state, &limit]).await?;
        rows.iter().map(read_delivery).collect()
    }

    /// Queues a merchant's event again: for `endpoint`, or for every endpoint that is turned on and wants it. Answers what was queued.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn redeliver(
        &self,
        merchant: Uuid,
        event: EventId,
        endpoint: Option<WebhookEndpointId>,
        now: Timestamp,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let client = self.client().await?;
        let rows = client.query(REDELIVER, &[&merchant, &event.0, &endpoint.map(|id| id.0), &now, &TOPICS]).await?;
        rows.iter().map(read_delivery).collect()
    }

    /// Queues again what happened from `from` on and before `to`, oldest first, at most `limit` events. Answers how many, and the last of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn replay(
        &self,
        merchant: Uuid,
        endpoint: WebhookEndpointId,
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
        limit: i64,
    ) -> Result<(i64, Option<EventId>), StoreError> {
        let client = self.client().await?;
        let (low, high) = (crate::domain::id::floor(from), crate::domain::id::floor(to));
        let row = client.query_one(REPLAY, &[&merchant, &endpoint.0, &low, &high, &now, &TOPICS, &limit]).await?;
        Ok((row.try_get(0)?, row.try_get::<_, Option<Uuid>>(1)?.map(EventId)))
    }
}

fn read_key(row: &Row) -> Result<DeliveryKey, StoreError> {
    Ok(DeliveryKey {
        payment: PaymentId(row.try_get("payment_id")?),
        sequence: row.try_get("sequence")?,
        endpoint: WebhookEndpointId(row.try_get("endpoint_id")?),
    })
}

fn read_claimed(row: &Row) -> Result<ClaimedDelivery, StoreError> {
    let previous: Option<Vec<u8>> = row.try_get("previous_secret")?;
    let until: Option<Timestamp> = row.try_get("previous_until")?;
    Ok(ClaimedDelivery {
        key: read_key(row)?,
        event: EventId(row.try_get("event_id")?),
        merchant: row.try_get("merchant_id")?,
        fence: row.try_get("fence")?,
        attempts: row.try_get("attempts")?,
        queued_at: row.try_get("queued_at")?,
        body: row.try_get("body")?,
        url: row.try_get("url")?,
        sealed_secret: row.try_get("secret")?,
        sealed_previous: previous.zip(until),
    })
}

fn read_delivery(row: &Row) -> Result<DeliveryRow, StoreError> {
    let state: &str = row.try_get("state")?;
    Ok(DeliveryRow {
        key: read_key(row)?,
        event: EventId(row.try_get("event_id")?),
        kind: row.try_get("kind")?,
        state: DeliveryState::parse(state).ok_or_else(|| StoreError::Unreadable(format!("the state of a delivery is {state:?}")))?,
        attempts: row.try_get("attempts")?,
        due_at: row.try_get("due_at")?,
        last_status: row.try_get("last_status")?,
        last_error: row.try_get("last_error")?,
        last_tried_at: row.try_get("last_tried_at")?,
        delivered_at: row.try_get("delivered_at")?,
        queued_at: row.try_get("queued_at")?,
        created_at: row.try_get("created_at")?,
    })
}

//! Webhooks to merchants, as rows: endpoints, the reader of the outbox, and the queue of deliveries with its leases.
//!
//! ```text
//! mod.rs       the reader of the outbox, and merchants' events
//! endpoint.rs  who wants to hear what, and each endpoint's breaker
//! delivery.rs  the queue and the log: claim, settle, queue again
//! ```
//!
//! The outbox is read in three statements of one transaction, which holds the row of the cursor: of several processes one reads, and the
//! others pass by. Nothing here is ever part of a payment's transaction.

pub mod delivery;
pub mod endpoint;

use jiff::Timestamp;
use uuid::Uuid;

use super::payment::EventRow;
use super::{Store, StoreError};
use crate::domain::topic::TOPICS;
use crate::domain::{EventId, PaymentId};

pub(super) const CURSOR: &str = "SELECT tx::text, payment_id, sequence, pg_snapshot_xmin(pg_current_snapshot())::text, \
     tx > pg_snapshot_xmin(pg_current_snapshot()) FROM webhook_cursor FOR UPDATE SKIP LOCKED";
/// Every transaction below $4 had ended when the cursor was read, so all that it wrote is seen, and nothing can be written below it any more.
pub(super) const FAN_OUT: &str = "WITH b AS MATERIALIZED (SELECT tx, payment_id, sequence, id, merchant_id, kind, created_at FROM event \
       WHERE (tx, payment_id, sequence) > ($1::text::xid8, $2, $3) AND tx < $4::text::xid8 AND kind NOT LIKE 'attempt.%' \
       ORDER BY tx, payment_id, sequence LIMIT $5), \
     d AS (INSERT INTO webhook_delivery (payment_id, sequence, endpoint_id, event_id, merchant_id, kind, state, due_at, queued_at, created_at) \
       SELECT b.payment_id, b.sequence, w.id, b.id, b.merchant_id, b.kind, 'pending', b.created_at, b.created_at, b.created_at FROM b \
       JOIN webhook_endpoint w ON w.merchant_id = b.merchant_id AND w.enabled AND w.deleted_at IS NULL AND w.created_at <= b.created_at \
       WHERE b.kind = ANY($6::text[]) AND (w.types = '{}' OR b.kind = ANY(w.types)) \
       ON CONFLICT ON CONSTRAINT webhook_delivery_pkey DO NOTHING RETURNING 1) \
     SELECT (SELECT count(*) FROM b), (SELECT count(*) FROM d), last.tx::text, last.payment_id, last.sequence \
     FROM (SELECT 1) AS one LEFT JOIN LATERAL (SELECT tx, payment_id, sequence FROM b ORDER BY tx DESC, payment_id DESC, sequence DESC LIMIT 1) \
     AS last ON true";
pub(super) const ADVANCE: &str = "UPDATE webhook_cursor SET tx = $1::text::xid8, payment_id = $2, sequence = $3";
pub(super) const EVENT_OF: &str = "SELECT id, payment_id, sequence, kind, body, created_at FROM event WHERE merchant_id = $1 AND id = $2 AND kind = ANY($3::text[]) \
     AND kind NOT LIKE 'attempt.%'";
pub(super) const EVENT_LIST: &str = "SELECT id, payment_id, sequence, kind, body, created_at FROM event e WHERE merchant_id = $1 AND id < $2 AND id >= $3 \
     AND kind = ANY($4::text[]) AND kind NOT LIKE 'attempt.%' AND ($5::uuid IS NULL OR payment_id = $5) \
     AND ($6::text IS NULL OR EXISTS (SELECT 1 FROM payment p WHERE p.id = e.payment_id AND p.merchant_order_id = $6)) \
     AND ($7::text IS NULL OR EXISTS (SELECT 1 FROM attempt a WHERE a.payment_id = e.payment_id AND a.channel = $7)) \
     ORDER BY id DESC LIMIT $8";
pub(super) const EVENT_AT: &str = "SELECT id, payment_id, sequence, kind, body, created_at FROM event WHERE payment_id = $1 AND sequence = $2";

/// An event that merchants may be told about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MerchantEvent {
    /// The payment that it is about, or whose refund it is about.
    pub payment: PaymentId,
    /// The event.
    pub row: EventRow,
}

/// A page of events to read.
#[derive(Clone, Debug, Default)]
pub struct PageOfEvents {
    /// Only those before this id: where the last page ended.
    pub before: Option<Uuid>,
    /// Only those of this time or later.
    pub since: Option<Timestamp>,
    /// Only those before this time.
    pub until: Option<Timestamp>,
    /// Only those of this type.
    pub topic: Option<&'static str>,
    /// Only those of this payment.
    pub payment: Option<PaymentId>,
    /// Only those of payments that were tried on this channel.
    pub channel: Option<String>,
    /// Only those of this order's payments.
    pub order: Option<String>,
    /// How many at most.
    pub limit: i64,
}

/// What a reading of the outbox found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FanOut {
    /// Events that were read.
    pub read: i64,
    /// Deliveries that were queued for them.
    pub queued: i64,
    /// Whether the cursor lay ahead of every transaction, as after a restore into another server, and was set to now.
    pub from_elsewhere: bool,
}

impl Store {
    /// Reads up to `limit` events of the outbox and queues a delivery for each endpoint that wants one. Nothing is read while another process
    /// reads. A crash in the middle leaves everything as it was.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fan_out(&self, limit: i64) -> Result<FanOut, StoreError> {
        let mut client = self.client().await?;
        let transaction = client.transaction().await?;
        let cursor = transaction.prepare_cached(CURSOR).await?;
        let Some(place) = transaction.query_opt(&cursor, &[]).await? else { return Ok(FanOut::default()) };
        let (tx, payment, sequence): (String, Uuid, i32) = (place.try_get(0)?, place.try_get(1)?, place.try_get(2)?);
        let horizon: String = place.try_get(3)?;
        let advance = transaction.prepare_cached(ADVANCE).await?;
        if place.try_get(4)? {
            transaction.execute(&advance, &[&horizon, &Uuid::nil(), &0_i32]).await?;
            transaction.commit().await?;
            return Ok(FanOut { from_elsewhere: true, ..FanOut::default() });
        }
        let fan_out = transaction.prepare_cached(FAN_OUT).await?;
        let found = transaction.query_one(&fan_out, &[&tx, &payment, &sequence, &horizon, &limit, &TOPICS]).await?;
        let (read, queued): (i64, i64) = (found.try_get(0)?, found.try_get(1)?);
        if read == limit {
            let last: (String, Uuid, i32) = (found.try_get(2)?, found.try_get(3)?, found.try_get(4)?);
            transaction.execute(&advance, &[&last.0, &last.1, &last.2]).await?;
        } else if read > 0 {
            // All below the horizon is read. An idle outbox writes nothing: the next reading skips the same few rows.
            transaction.execute(&advance, &[&horizon, &Uuid::nil(), &0_i32]).await?;
        }
        transaction.commit().await?;
        Ok(FanOut { read, queued, from_elsewhere: false })
    }

    /// An event of a merchant's, if it is one that merchants are told about.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn event_of(&self, merchant: Uuid, id: EventId) -> Result<Option<MerchantEvent>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(EVENT_OF).await?;
        client.query_opt(&statement, &[&merchant, &id.0, &TOPICS]).await?.as_ref().map(read_event).transpose()
    }

    /// A page of a merchant's events, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn events_of(&self, merchant: Uuid, page: &PageOfEvents) -> Result<Vec<MerchantEvent>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(EVENT_LIST).await?;
        let before = [page.before, page.until.map(crate::domain::id::floor)].into_iter().flatten().min().unwrap_or(Uuid::max());
        let since = page.since.map_or(Uuid::nil(), crate::domain::id::floor);
        let topics = page.topic.map_or_else(|| TOPICS.to_vec(), |topic| vec![topic]);
        let of = page.payment.map(|id| id.0);
        let rows = client.query(&statement, &[&merchant, &before, &since, &topics, &of, &page.order, &page.channel, &page.limit]).await?;
        rows.iter().map(read_event).collect()
    }

    /// The event of that number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn event_at(&self, payment: PaymentId, sequence: i32) -> Result<Option<MerchantEvent>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(EVENT_AT).await?;
        client.query_opt(&statement, &[&payment.0, &sequence]).await?.as_ref().map(read_event).transpose()
    }
}

fn read_event(row: &tokio_postgres::Row) -> Result<MerchantEvent, StoreError> {
    Ok(MerchantEvent {
        payment: PaymentId(row.try_get("payment_id")?),
        row: EventRow {
            id: EventId(row.try_get("id")?),
            sequence: row.try_get("sequence")?,
            kind: row.try_get("kind")?,
            body: row.try_get("body")?,
            created_at: row.try_get("created_at")?,
        },
    })
}

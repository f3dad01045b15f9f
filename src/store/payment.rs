//! Payments, read whole or in pages.

use futures_util::future::try_join3;
use jiff::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::{
    Attempt, AttemptState, CaptureMethod, Currency, EventId, Operation, Outcome, Payment, PaymentId, PaymentRequest, PaymentStatus, Refund, RefundId,
    RefundSource, RefundStatus,
};

pub(super) const PAYMENT: &str = "SELECT * FROM payment WHERE id = $1";
pub(super) const ATTEMPTS: &str = "SELECT * FROM attempt WHERE payment_id = $1 ORDER BY n";
pub(super) const REFUNDS: &str = "SELECT * FROM refund WHERE payment_id = $1 ORDER BY n";
pub(super) const EVENTS: &str = "SELECT id, sequence, kind, body, created_at FROM event WHERE payment_id = $1 ORDER BY sequence";
/// Through the index of what was paid: the predicate must be the index's.
pub(super) const PAID_UNDER: &str =
    "SELECT payment_id FROM attempt WHERE reference = $1 AND channel = $2 AND operation = 'pay' AND state = 'succeeded' LIMIT 2";
/// Through the index of what is due: it is asked only where nothing was paid under the name.
pub(super) const AWAITED_UNDER: &str =
    "SELECT payment_id FROM attempt WHERE due_at IS NOT NULL AND reference = $1 AND channel = $2 AND operation = 'pay' LIMIT 2";
pub(super) const ATTEMPT_OF_KEY: &str = "SELECT n FROM attempt WHERE payment_id = $1 AND key = $2";

/// A merchant's page, newest first; the filters that are NULL do not filter.
pub(super) const LIST: &str = "SELECT id FROM payment p WHERE merchant_id = $1 AND id < $2 AND id >= $3 AND ($4::text IS NULL OR status = $4) \
     AND ($5::text IS NULL OR merchant_order_id = $5) \
     AND ($6::text IS NULL OR EXISTS (SELECT 1 FROM attempt a WHERE a.payment_id = p.id AND a.channel = $6 AND a.operation = 'pay')) \
     ORDER BY id DESC LIMIT $7";
pub(super) const REFUND_LIST: &str = "SELECT payment_id, n FROM refund r WHERE merchant_id = $1 AND id < $2 AND id >= $3 \
     AND ($4::uuid IS NULL OR payment_id = $4) AND ($5::text IS NULL OR status = $5) AND ($6::text IS NULL OR merchant_refund_id = $6) \
     AND ($7::text IS NULL OR EXISTS (SELECT 1 FROM payment p WHERE p.id = r.payment_id AND p.merchant_order_id = $7)) \
     AND ($8::text IS NULL OR EXISTS (SELECT 1 FROM attempt a WHERE a.payment_id = r.payment_id AND a.refund_n = r.n AND a.channel = $8)) \
     ORDER BY id DESC LIMIT $9";

/// One row of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Its id.
    pub id: EventId,
    /// Its number within the payment.
    pub sequence: i32,
    /// Its type.
    pub kind: String,
    /// Its body: a JSON object.
    pub body: String,
    /// When it was written.
    pub created_at: Timestamp,
}

/// A page of payments to read.
#[derive(Clone, Debug, Default)]
pub struct PageOfPayments {
    /// Only those before this id: where the last page ended.
    pub before: Option<Uuid>,
    /// Only those that were created at this time or later.
    pub since: Option<Timestamp>,
    /// Only those that were created before this time.
    pub until: Option<Timestamp>,
    /// Only those of this status.
    pub status: Option<PaymentStatus>,
    /// Only those of this order.
    pub order: Option<String>,
    /// Only those that were tried on this channel.
    pub channel: Option<String>,
    /// How many at most.
    pub limit: i64,
}

/// A page of refunds to read.
#[derive(Clone, Debug, Default)]
pub struct PageOfRefunds {
    /// Only those before this id: where the last page ended.
    pub before: Option<Uuid>,
    /// Only those that were created at this time or later.
    pub since: Option<Timestamp>,
    /// Only those that were created before this time.
    pub until: Option<Timestamp>,
    /// Only those of this status.
    pub status: Option<RefundStatus>,
    /// Only those that went over this channel.
    pub channel: Option<String>,
    /// Only those of this payment.
    pub payment: Option<PaymentId>,
    /// Only those of this order.
    pub order: Option<String>,
    /// Only the one that the merchant calls so.
    pub name: Option<String>,
    /// How many at most.
    pub limit: i64,
}

impl Store {
    /// The payment, whole, from the primary; `None` when there is none of that id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn payment(&self, id: PaymentId) -> Result<Option<Payment>, StoreError> {
        let client = self.client().await?;
        let (payment, attempts, refunds) =
            try_join3(client.prepare_cached(PAYMENT), client.prepare_cached(ATTEMPTS), client.prepare_cached(REFUNDS)).await?;
        // One after the other in one snapshot would need a transaction; instead the row is read first and again last, and must not have moved.
        for _ in 0..8 {
            let Some(row) = client.query_opt(&payment, &[&id.0]).await? else { return Ok(None) };
            let (attempts, refunds, again) =
                try_join3(client.query(&attempts, &[&id.0]), client.query(&refunds, &[&id.0]), client.query_opt(&payment, &[&id.0])).await?;
            let moved = again.as_ref().map(|row| row.try_get::<_, i32>("sequence")).transpose()? != Some(row.try_get("sequence")?);
            if !moved {
                return read_payment(&row, &attempts, &refunds).map(Some);
            }
        }
        Err(StoreError::Away("the payment changes faster than it can be read".to_owned()))
    }

    /// The payment, if it is this merchant's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn payment_of(&self, merchant: Uuid, id: PaymentId) -> Result<Option<Payment>, StoreError> {
        Ok(self.payment(id).await?.filter(|payment| payment.request.merchant == merchant))
    }

    /// A page of a merchant's payments, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn payments(&self, merchant: Uuid, page: &PageOfPayments) -> Result<Vec<Payment>, StoreError> {
        let client = self.client().await?;
        let list = client.prepare_cached(LIST).await?;
        let before = [page.before, page.until.map(crate::domain::id::floor)].into_iter().flatten().min().unwrap_or(Uuid::max());
        let since = page.since.map_or(Uuid::nil(), crate::domain::id::floor);
        let status = page.status.map(PaymentStatus::as_str);
        let rows = client.query(&list, &[&merchant, &before, &since, &status, &page.order, &page.channel, &page.limit]).await?;
        drop(client);
        let mut payments = Vec::with_capacity(rows.len());
        for row in rows {
            payments.extend(self.payment(PaymentId(row.try_get(0)?)).await?);
        }
        Ok(payments)
    }

    /// A page of a merchant's refunds, newest first, each with its payment.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn refunds(&self, merchant: Uuid, page: &PageOfRefunds) -> Result<Vec<(Payment, i16)>, StoreError> {
        let client = self.client().await?;
        let list = client.prepare_cached(REFUND_LIST).await?;
        let before = [page.before, page.until.map(crate::domain::id::floor)].into_iter().flatten().min().unwrap_or(Uuid::max());
        let since = page.since.map_or(Uuid::nil(), crate::domain::id::floor);
        let (of, status) = (page.payment.map(|id| id.0), page.status.map(RefundStatus::as_str));
        let rows = client.query(&list, &[&merchant, &before, &since, &of, &status, &page.name, &page.order, &page.channel, &page.limit]).await?;
        drop(client);
        let mut refunds = Vec::with_capacity(rows.len());
        for row in rows {
            let n: i16 = row.try_get(1)?;
            if let Some(payment) = self.payment(PaymentId(row.try_get(0)?)).await? {
                refunds.push((payment, n));
            }
        }
        Ok(refunds)
    }

    /// A payment's timeline, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn events(&self, id: PaymentId) -> Result<Vec<EventRow>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(EVENTS).await?;
        let rows = client.query(&statement, &[&id.0]).await?;
        rows.iter()
            .map(|row| {
                Ok(EventRow {
                    id: EventId(row.try_get("id")?),
                    sequence: row.try_get("sequence")?,
                    kind: row.try_get("kind")?,
                    body: row.try_get("body")?,
                    created_at: row.try_get("created_at")?,
                })
            })
            .collect()
    }

    /// The number of a payment's attempt that a channel knows by `key`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn attempt_of_key(&self, id: PaymentId, key: &str) -> Result<Option<i16>, StoreError> {
        let client = self.client().await?;
        let row = client.query_opt(ATTEMPT_OF_KEY, &[&id.0, &key]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// The payment that was paid on `channel` under the channel's own name `reference`; `None` when there is none, or more than one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn paid_under(&self, channel: &str, reference: &str) -> Result<Option<PaymentId>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(PAID_UNDER).await?;
        match client.query(&statement, &[&reference, &channel]).await?.as_slice() {
            [row] => Ok(Some(PaymentId(row.try_get(0)?))),
            _ => Ok(None),
        }
    }

    /// The payment that may have been paid at `channel` under its name `reference`: it is not known yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn awaited_under(&self, channel: &str, reference: &str) -> Result<Option<PaymentId>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(AWAITED_UNDER).await?;
        match client.query(&statement, &[&reference, &channel]).await?.as_slice() {
            [row] => Ok(Some(PaymentId(row.try_get(0)?))),
            _ => Ok(None),
        }
    }
}

fn read_payment(row: &Row, attempts: &[Row], refunds: &[Row]) -> Result<Payment, StoreError> {
    let superseded_by: Option<Uuid> = row.try_get("superseded_by")?;
    Ok(Payment {
        id: PaymentId(row.try_get("id")?),
        request: PaymentRequest {
            merchant: row.try_get("merchant_id")?,
            livemode: row.try_get("livemode")?,
            order: row.try_get("merchant_order_id")?,
            amount: row.try_get("amount")?,
            currency: named(row, "currency", Currency::parse)?,
            method: json(row.try_get("method")?)?,
            capture_method: named(row, "capture_method", CaptureMethod::parse)?,
            pinned_channel: row.try_get("pinned_channel")?,
            description: row.try_get("description")?,
            metadata: json(row.try_get("metadata")?)?,
            return_url: row.try_get("return_url")?,
            expires_at: row.try_get("expires_at")?,
            deadline_at: row.try_get("deadline_at")?,
        },
        status: named(row, "status", PaymentStatus::parse)?,
        outcome: named(row, "outcome", Outcome::parse)?,
        capture_reserved: row.try_get("capture_reserved")?,
        captured: row.try_get("captured")?,
        refund_reserved: row.try_get("refund_reserved")?,
        refunded: row.try_get("refunded")?,
        disputed: row.try_get("disputed")?,
        cancel_requested: row.try_get("cancel_requested")?,
        superseded_by: superseded_by.map(PaymentId),
        capture_before: row.try_get("capture_before")?,
        sequence: row.try_get("sequence")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        attempts: attempts.iter().map(read_attempt).collect::<Result<_, _>>()?,
        refunds: refunds.iter().map(read_refund).collect::<Result<_, _>>()?,
    })
}

fn read_attempt(row: &Row) -> Result<Attempt, StoreError> {
    let failure: Option<&str> = row.try_get("failure")?;
    let next_action: Option<&str> = row.try_get("next_action")?;
    let passed_over: Option<&str> = row.try_get("passed_over")?;
    Ok(Attempt {
        n: row.try_get("n")?,
        operation: named(row, "operation", Operation::parse)?,
        channel: row.try_get("channel")?,
        key: row.try_get("key")?,
        state: named(row, "state", AttemptState::parse)?,
        amount: row.try_get("amount")?,
        refund_n: row.try_get("refund_n")?,
        undoes: row.try_get("undoes")?,
        reference: row.try_get("reference")?,
        failure: failure.map(json).transpose()?,
        next_action: next_action.map(json).transpose()?,
        due_at: row.try_get("due_at")?,
        tries: row.try_get("tries")?,
        not_found_since: row.try_get("not_found_since")?,
        lease_owner: row.try_get("lease_owner")?,
        lease_until: row.try_get("lease_until")?,
        fence: row.try_get("fence")?,
        reason: row.try_get("reason")?,
        passed_over: passed_over.map(json).transpose()?.unwrap_or_default(),
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        exchange: None,
    })
}

fn read_refund(row: &Row) -> Result<Refund, StoreError> {
    Ok(Refund {
        n: row.try_get("n")?,
        id: RefundId(row.try_get("id")?),
        merchant_refund_id: row.try_get("merchant_refund_id")?,
        amount: row.try_get("amount")?,
        reason: row.try_get("reason")?,
        metadata: json(row.try_get("metadata")?)?,
        source: named(row, "source", RefundSource::parse)?,
        status: named(row, "status", RefundStatus::parse)?,
        outcome: named(row, "outcome", Outcome::parse)?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

fn named<T>(row: &Row, column: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
    let name: &str = row.try_get(column)?;
    parse(name).ok_or_else(|| StoreError::Unreadable(format!("{column} is {name:?}")))
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Unreadable(error.to_string()))
}

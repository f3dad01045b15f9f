//! Our side of the books, whole: what a referee compares with what third parties charged and with what clients were told. For benches and tests:
//! it reads every payment there is.

use uuid::Uuid;

use super::{Store, StoreError};

/// Every payment.
pub(super) const PAYMENTS: &str = "SELECT id, merchant_order_id, status, captured, refunded, refund_reserved, cancel_requested FROM payment";
/// Every attempt, by the key under which its channel knows it.
pub(super) const ATTEMPTS: &str = "SELECT channel, key, operation, payment_id, refund_n, state FROM attempt";
/// Every refund.
pub(super) const REFUNDS: &str = "SELECT id, status FROM refund";
/// What is open, and not a customer's or a merchant's to end.
pub(super) const OPEN: &str = "SELECT payment_id, n, operation, state FROM attempt \
     WHERE state IN ('sent', 'unknown', 'accepted', 'reversing', 'succeeded_late') OR (state = 'not_sent' AND due_at IS NOT NULL) OR due_at <= now() \
     LIMIT 50";

/// A payment, as far as a referee asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentEntry {
    /// Its id.
    pub id: Uuid,
    /// The merchant's order.
    pub order: String,
    /// As in the API.
    pub status: String,
    /// Minor units.
    pub captured: i64,
    /// Minor units of succeeded refunds.
    pub refunded: i64,
    /// Minor units of refunds that have not failed.
    pub refund_reserved: i64,
    /// Whether its end was asked for.
    pub cancel_requested: bool,
}

/// An attempt, as far as a referee asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptEntry {
    /// Its channel.
    pub channel: String,
    /// What its channel knows it by; two banks may know two attempts by one key.
    pub key: String,
    /// `pay`, `capture`, `void`, `reversal`, `refund`.
    pub operation: String,
    /// Its payment.
    pub payment: Uuid,
    /// Which refund of its payment, if it is one.
    pub refund: Option<i16>,
    /// As its table has it.
    pub state: String,
}

/// All of it, of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Every payment.
    pub payments: Vec<PaymentEntry>,
    /// Every attempt.
    pub attempts: Vec<AttemptEntry>,
    /// Every refund: id and status.
    pub refunds: Vec<(Uuid, String)>,
    /// Attempts that are not at their end, at most fifty: the payment, and which in words.
    pub open: Vec<(Uuid, String)>,
}

impl Store {
    /// Reads everything, as of one moment.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn books(&self) -> Result<Books, StoreError> {
        let mut client = self.client().await?;
        let transaction = client.build_transaction().read_only(true).isolation_level(tokio_postgres::IsolationLevel::RepeatableRead).start().await?;
        let mut books = Books::default();
        for row in transaction.query(PAYMENTS, &[]).await? {
            books.payments.push(PaymentEntry {
                id: row.try_get(0)?,
                order: row.try_get(1)?,
                status: row.try_get(2)?,
                captured: row.try_get(3)?,
                refunded: row.try_get(4)?,
                refund_reserved: row.try_get(5)?,
                cancel_requested: row.try_get(6)?,
            });
        }
        for row in transaction.query(ATTEMPTS, &[]).await? {
            books.attempts.push(AttemptEntry {
                channel: row.try_get(0)?,
                key: row.try_get(1)?,
                operation: row.try_get(2)?,
                payment: row.try_get(3)?,
                refund: row.try_get(4)?,
                state: row.try_get(5)?,
            });
        }
        for row in transaction.query(REFUNDS, &[]).await? {
            books.refunds.push((row.try_get(0)?, row.try_get(1)?));
        }
        for row in transaction.query(OPEN, &[]).await? {
            let (n, operation, state): (i16, String, String) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            books.open.push((row.try_get(0)?, format!("attempt {n} ({operation}) is {state}")));
        }
        transaction.commit().await?;
        Ok(books)
    }

    /// How many attempts are not at their end; counted to fifty.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open_attempts(&self) -> Result<usize, StoreError> {
        Ok(self.client().await?.query(OPEN, &[]).await?.len())
    }
}

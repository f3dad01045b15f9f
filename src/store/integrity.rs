//! Whether the books hold. Integrity is kept by the statements, not by foreign keys; this is where it is checked.

use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::PaymentId;

/// Amounts on the payment against the sums over its attempts and refunds.
pub(super) const SUMS: &str = "SELECT p.id, 'sums', format('captured %s, refund_reserved %s, refunded %s; its refunds say %s and %s', \
     p.captured, p.refund_reserved, p.refunded, r.reserved, r.refunded) \
     FROM payment p LEFT JOIN LATERAL (SELECT coalesce(sum(amount) FILTER (WHERE status IN ('processing', 'succeeded')), 0) AS reserved, \
       coalesce(sum(amount) FILTER (WHERE status = 'succeeded'), 0) AS refunded FROM refund WHERE refund.payment_id = p.id) r ON true \
     WHERE p.refund_reserved <> r.reserved OR p.refunded <> r.refunded LIMIT 100";
/// Every success has its attempt, and every payment its first one.
pub(super) const ATTEMPTS: &str = "SELECT p.id, 'attempts', format('status %s with %s succeeded pay attempts of %s attempts', p.status, a.paid, a.n) \
     FROM payment p JOIN LATERAL (SELECT count(*) FILTER (WHERE operation = 'pay' AND state = 'succeeded') AS paid, count(*) AS n FROM attempt \
       WHERE attempt.payment_id = p.id) a ON true \
     WHERE a.n = 0 OR (p.captured > 0) <> (a.paid = 1) OR (p.status IN ('succeeded', 'partially_captured')) <> (a.paid = 1) LIMIT 100";
/// An order is paid once, over all its payments.
pub(super) const ORDERS: &str = "SELECT min(id::text)::uuid, 'orders', format('order %s of one merchant was paid %s times', merchant_order_id, count(*)) \
     FROM payment WHERE captured > 0 GROUP BY merchant_id, merchant_order_id HAVING count(*) > 1 LIMIT 100";
/// Events are numbered without a gap.
pub(super) const SEQUENCES: &str = "SELECT p.id, 'events', format('sequence %s with %s events', p.sequence, e.n) \
     FROM payment p JOIN LATERAL (SELECT count(*) AS n FROM event WHERE event.payment_id = p.id) e ON true WHERE e.n <> p.sequence LIMIT 100";

/// One place where the books do not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The payment.
    pub payment: PaymentId,
    /// Which check.
    pub check: String,
    /// What it found, in a sentence.
    pub found: String,
}

impl Store {
    /// Checks the books, over all payments. Empty when they hold.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn integrity(&self) -> Result<Vec<Difference>, StoreError> {
        let mut client = self.client().await?;
        // One snapshot for all checks: rows go on changing meanwhile.
        let transaction = client.build_transaction().read_only(true).isolation_level(tokio_postgres::IsolationLevel::RepeatableRead).start().await?;
        let mut differences = Vec::new();
        for check in [SUMS, ATTEMPTS, ORDERS, SEQUENCES] {
            for row in transaction.query(check, &[]).await? {
                let payment: Uuid = row.try_get(0)?;
                differences.push(Difference { payment: PaymentId(payment), check: row.try_get(1)?, found: row.try_get(2)? });
            }
        }
        transaction.commit().await?;
        Ok(differences)
    }
}

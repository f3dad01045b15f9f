//! What a writer must know of its commands: of an [`Intent`] and of a [`Change`], what may not share a batch with it, the statement that writes
//! it, and how the statement's answer is read, also when a connection was lost meanwhile.

use tokio::sync::oneshot;
use tokio_postgres::Row;
use uuid::Uuid;

use super::columns::{ChangeBatch, IntentBatch};
use super::{ChangeVerdict, Intent, IntentVerdict, JournalError};
use crate::crash::Point;
use crate::domain::{Change, PaymentId};

/// The statement that writes intents.
pub(in crate::store) const INTENT: &str = include_str!("intent.sql");
/// The statement that writes changes.
pub(in crate::store) const CHANGE: &str = include_str!("change.sql");
/// Whether an event of ours is on disk: how a lost COMMIT is settled.
pub(in crate::store) const EVENT_WRITTEN: &str = "SELECT id FROM event WHERE payment_id = $1 AND sequence = $2";

/// A command with its waiter.
#[derive(Debug)]
pub(super) struct Pending<C: Command> {
    pub(super) command: C,
    pub(super) answer: oneshot::Sender<Result<C::Verdict, JournalError>>,
    /// Whether a connection was lost while this was being written: it may be on disk.
    pub(super) after_loss: bool,
}

/// What a writer must know of its commands. Two of them exist; the batching is the same and subtle, so it is written once.
pub(super) trait Command: Send + Sync + Sized + 'static {
    type Verdict: Send + Copy;
    const LANE: &'static str;
    const STATEMENT: &'static str;
    /// Where a crash may part a batch from its commit, and its commit from its waiters.
    const POINTS: [Point; 2];
    /// Ids of which no other command of the batch may have one.
    fn exclusive(&self) -> [Option<Uuid>; 3];
    /// The payment, by which the statement's answer is told apart.
    fn id(&self) -> Uuid;
    fn verdict(&self, row: &Row) -> Result<Self::Verdict, tokio_postgres::Error>;
    async fn execute(client: &deadpool_postgres::Client, batch: &[Pending<Self>]) -> Result<Vec<Row>, tokio_postgres::Error>;
    /// Settles a verdict after a connection was lost: it may be ours that was written before.
    async fn settle(&self, client: &deadpool_postgres::Client, verdict: Self::Verdict) -> Result<Self::Verdict, tokio_postgres::Error>;
}

impl Command for Intent {
    type Verdict = IntentVerdict;
    const LANE: &'static str = "intent";
    const STATEMENT: &'static str = INTENT;
    const POINTS: [Point; 2] = [Point::IntentsGathered, Point::IntentsCommitted];

    fn exclusive(&self) -> [Option<Uuid>; 3] {
        let payment = &self.change.after;
        [self.change.key.as_ref().map(|key| key.digest), Some(payment.order_digest().as_uuid()), self.takes_over.map(|(holder, _)| holder.0)]
    }

    fn id(&self) -> Uuid {
        self.change.after.id.0
    }

    fn verdict(&self, row: &Row) -> Result<IntentVerdict, tokio_postgres::Error> {
        let won: bool = row.try_get("won")?;
        let key_payment: Option<Uuid> = row.try_get("key_payment")?;
        let order_payment: Option<Uuid> = row.try_get("order_payment")?;
        Ok(match (won, key_payment, order_payment) {
            (true, _, _) => IntentVerdict::Applied,
            // The COMMIT whose answer was lost.
            (false, Some(payment), _) if payment == self.id() => IntentVerdict::Applied,
            (false, Some(payment), _) => IntentVerdict::KeyTaken(PaymentId(payment)),
            (false, None, holder) => IntentVerdict::OrderTaken(PaymentId(holder.unwrap_or_default())),
        })
    }

    async fn execute(client: &deadpool_postgres::Client, batch: &[Pending<Self>]) -> Result<Vec<Row>, tokio_postgres::Error> {
        let columns = IntentBatch::of(batch.iter().map(|pending| &pending.command));
        let statement = client.prepare_cached(Self::STATEMENT).await?;
        client.query(&statement, &columns.params()).await
    }

    async fn settle(&self, _: &deadpool_postgres::Client, verdict: IntentVerdict) -> Result<IntentVerdict, tokio_postgres::Error> {
        Ok(verdict)
    }
}

impl Command for Change {
    type Verdict = ChangeVerdict;
    const LANE: &'static str = "change";
    const STATEMENT: &'static str = CHANGE;
    const POINTS: [Point; 2] = [Point::ChangesGathered, Point::ChangesCommitted];

    fn exclusive(&self) -> [Option<Uuid>; 3] {
        let refund = self.refunds_added.first().and_then(|n| self.after.refund(*n)).map(|refund| {
            crate::domain::id::guard_digest(self.after.request.merchant, crate::domain::id::GuardKind::Refund, &refund.merchant_refund_id)
        });
        [Some(self.after.id.0), self.key.as_ref().map(|key| key.digest), refund]
    }

    fn id(&self) -> Uuid {
        self.after.id.0
    }

    fn verdict(&self, row: &Row) -> Result<ChangeVerdict, tokio_postgres::Error> {
        Ok(match row.try_get("verdict")? {
            "applied" => ChangeVerdict::Applied,
            "key_taken" => ChangeVerdict::KeyTaken,
            "refund_taken" => ChangeVerdict::RefundTaken,
            "fenced" => ChangeVerdict::Fenced,
            _ => ChangeVerdict::Stale,
        })
    }

    async fn execute(client: &deadpool_postgres::Client, batch: &[Pending<Self>]) -> Result<Vec<Row>, tokio_postgres::Error> {
        let columns = ChangeBatch::of(batch.iter().map(|pending| &pending.command));
        let statement = client.prepare_cached(Self::STATEMENT).await?;
        client.query(&statement, &columns.params()).await
    }

    async fn settle(&self, client: &deadpool_postgres::Client, verdict: ChangeVerdict) -> Result<ChangeVerdict, tokio_postgres::Error> {
        let Some(first) = self.events.first().filter(|_| verdict == ChangeVerdict::Stale) else { return Ok(verdict) };
        let row = client.query_opt(EVENT_WRITTEN, &[&self.after.id.0, &first.sequence]).await?;
        let ours = row.map(|row| row.try_get::<_, Uuid>(0)).transpose()? == Some(first.id.0);
        Ok(if ours { ChangeVerdict::Applied } else { verdict })
    }
}

//! One channel's inbox, written in batches: what arrives while the last batch is being written shares the next one's commit, as in the
//! journal. It has the channel's own connections, so a flood of notifications costs others nothing, and its queues are bounded: full means
//! that the provider is not acknowledged and sends again.
//!
//! A panic costs the batch at hand: those of it that wait are told that they are not stored, what became of the others is found out once more. What is
//! queued behind it is kept, and the writer begins again.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::notification::NotificationState;
use super::{Store, StoreError};
use crate::domain::PaymentId;
use crate::lasting;

/// Stores what is new of a batch, and says which those are.
pub(super) const STORE: &str = "INSERT INTO notification (channel, event_id, received_at, kind, body, state) \
     SELECT $1, i.event_id, i.received_at, i.kind, i.body, 'received' \
     FROM unnest($2::text[], $3::timestamptz[], $4::text[], $5::bytea[]) AS i(event_id, received_at, kind, body) \
     ON CONFLICT ON CONSTRAINT notification_pkey DO NOTHING RETURNING event_id";
/// Writes what became of a batch. Each row is found by its key first: joined as it stands, the planner reads all that the channel was ever told.
/// The commit is not waited for: what is lost of it in a crash is applied once more, which changes nothing.
pub(super) const CLOSE: &str = "WITH i AS MATERIALIZED (SELECT i.*, \
       (SELECT n.ctid FROM notification n WHERE n.channel = $1 AND n.event_id = i.event_id) AS place, \
       set_config('synchronous_commit', 'off', true) AS relaxed \
       FROM unnest($2::text[], $3::text[], $4::text[], $5::uuid[], $6::timestamptz[]) AS i(event_id, state, note, payment_id, applied_at)) \
     UPDATE notification SET state = i.state, note = i.note, payment_id = i.payment_id, applied_at = i.applied_at \
     FROM i WHERE notification.ctid = i.place";

/// Notifications that may wait to be written; at a thousand a second, two seconds' worth.
const QUEUE: usize = 2_048;
/// Notifications in one statement.
const BATCH: usize = 128;

/// What came.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The provider's id of it.
    pub event_id: String,
    /// Its type.
    pub kind: String,
    /// As it was signed.
    pub body: Vec<u8>,
    /// When.
    pub received_at: Timestamp,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Closing {
    /// The provider's id of it.
    pub event_id: String,
    /// What it came to.
    pub state: NotificationState,
    /// Why, when it was not applied.
    pub note: Option<&'static str>,
    /// The payment it was about.
    pub payment: Option<PaymentId>,
    /// When.
    pub at: Timestamp,
}

type Waiting = (Arrival, oneshot::Sender<Result<bool, StoreError>>);

/// The inbox. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Inbox {
    arrivals: mpsc::Sender<Waiting>,
    closings: mpsc::Sender<Closing>,
}

impl Inbox {
    /// Opens the inbox of `channel` over `store`'s connections (the channel's own: [`Store::with_own_connections`]).
    pub fn open(channel: &str, store: &Store) -> Self {
        let (arrivals, arriving) = mpsc::channel(QUEUE);
        let (closings, closing) = mpsc::channel(QUEUE);
        let (id, own) = (channel.to_owned(), store.clone());
        store.runtime.spawn(write_on(format!("inbox_{channel}"), arriving, move |batch| store_arrivals(id.clone(), own.clone(), batch)));
        let (id, own) = (channel.to_owned(), store.clone());
        store.runtime.spawn(write_on(format!("inbox_closings_{channel}"), closing, move |batch| write_closings(id.clone(), own.clone(), batch)));
        Self { arrivals, closings }
    }

    /// Stores a notification. True when it is new; false when it was stored before.
    ///
    /// # Errors
    /// [`StoreError`]: it is not stored, and must not be acknowledged.
    pub async fn store(&self, arrival: Arrival) -> Result<bool, StoreError> {
        let (answer, stored) = oneshot::channel();
        self.arrivals.try_send((arrival, answer)).map_err(|_| StoreError::Away("the inbox is full".to_owned()))?;
        stored.await.unwrap_or_else(|_| Err(StoreError::Away("the inbox is closed".to_owned())))
    }

    /// Notes what became of a notification. A note that cannot be queued is lost: the notification then counts as not applied, and is applied
    /// again, which changes nothing.
    pub fn close(&self, closing: Closing) {
        if self.closings.try_send(closing).is_err() {
            tracing::warn!("the inbox is full: a notification will be applied once more");
        }
    }
}

/// Has `write` take what is queued, in batches, until nobody can queue any more. A panic costs the batch at hand; the queue outlives it.
async fn write_on<T, F: Future<Output = ()>>(name: String, queue: mpsc::Receiver<T>, write: impl Fn(Vec<T>) -> F + Clone) {
    // Never waited for: there is one life of the loop at a time, and it holds the queue until it ends.
    let queue = Arc::new(Mutex::new(queue));
    lasting::keep(name, move || write_queued(Arc::clone(&queue), write.clone())).await;
}

async fn write_queued<T, F: Future<Output = ()>>(queue: Arc<Mutex<mpsc::Receiver<T>>>, write: impl Fn(Vec<T>) -> F) {
    let mut queue = queue.lock().await;
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        if queue.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        write(batch).await;
    }
}

async fn store_arrivals(channel: String, store: Store, batch: Vec<Waiting>) {
    match store_batch(&channel, &store, &batch).await {
        Ok(mut new) => {
            for (arrival, answer) in batch {
                // Of a repetition within the batch, the first is the new one.
                let _gone = answer.send(Ok(new.remove(&arrival.event_id)));
            }
        }
        Err(error) => {
            tracing::error!(channel, notifications = batch.len(), error = %error, "notifications could not be stored");
            for (_, answer) in batch {
                let _gone = answer.send(Err(StoreError::Away("notifications cannot be stored".to_owned())));
            }
        }
    }
}

async fn store_batch(channel: &str, store: &Store, batch: &[Waiting]) -> Result<HashSet<String>, StoreError> {
    let client = store.client().await?;
    let statement = client.prepare_cached(STORE).await?;
    let event_ids: Vec<&str> = batch.iter().map(|(arrival, _)| arrival.event_id.as_str()).collect();
    let times: Vec<Timestamp> = batch.iter().map(|(arrival, _)| arrival.received_at).collect();
    let kinds: Vec<&str> = batch.iter().map(|(arrival, _)| arrival.kind.as_str()).collect();
    let bodies: Vec<&[u8]> = batch.iter().map(|(arrival, _)| arrival.body.as_slice()).collect();
    let rows = client.query(&statement, &[&channel, &event_ids, &times, &kinds, &bodies]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

async fn write_closings(channel: String, store: Store, batch: Vec<Closing>) {
    if let Err(error) = close_batch(&channel, &store, &batch).await {
        tracing::error!(channel, notifications = batch.len(), error = %error, "what became of notifications could not be written");
    }
}

async fn close_batch(channel: &str, store: &Store, batch: &[Closing]) -> Result<(), StoreError> {
    let client = store.client().await?;
    let statement = client.prepare_cached(CLOSE).await?;
    let event_ids: Vec<&str> = batch.iter().map(|closing| closing.event_id.as_str()).collect();
    let states: Vec<&str> = batch.iter().map(|closing| closing.state.as_str()).collect();
    let notes: Vec<Option<&str>> = batch.iter().map(|closing| closing.note).collect();
    let payments: Vec<Option<Uuid>> = batch.iter().map(|closing| closing.payment.map(|id| id.0)).collect();
    let times: Vec<Timestamp> = batch.iter().map(|closing| closing.at).collect();
    let params: [&(dyn ToSql + Sync); 6] = [&channel, &event_ids, &states, &notes, &payments, &times];
    client.execute(&statement, &params).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_writer_that_panics_tells_those_that_wait_and_goes_on_with_what_is_queued() {
        let (sender, queue) = mpsc::channel::<(bool, oneshot::Sender<()>)>(QUEUE);
        let queued = |poison| {
            let (answer, written) = oneshot::channel();
            sender.try_send((poison, answer)).unwrap();
            written
        };
        // As many as fill the first batch, and one behind it.
        let lost: Vec<_> = (0..BATCH).map(|place| queued(place == BATCH - 1)).collect();
        let next = queued(false);
        let writer = tokio::spawn(write_on("inbox_test".to_owned(), queue, |batch| async move {
            assert!(!batch.iter().any(|(poison, _)| *poison), "a fault of ours");
            batch.into_iter().for_each(|(_, answer)| answer.send(()).unwrap());
        }));
        for written in lost {
            assert!(written.await.is_err(), "whoever is in the batch that is lost is told");
        }
        assert_eq!(next.await, Ok(()), "what was queued behind it is written");
        assert_eq!(queued(false).await, Ok(()), "and what comes later");
        drop(sender);
        assert!(writer.await.is_ok(), "it ends when nobody can queue any more");
    }
}

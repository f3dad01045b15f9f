//! The journal: every change of money reaches the disk through here, and nothing is acted on before it has.
//!
//! Two writers, one for intents (payments that are new) and one for changes, each with one connection. A writer takes whatever has gathered
//! while its last commit was under way, writes it as **one statement** (one round trip, one transaction, one flush of the log) and answers
//! each waiter after the commit. There is no timer and no linger: alone, a command is as fast as it would be without; in a crowd, sixty
//! share the cost of one.
//!
//! What it promises:
//! - *Applied* means on disk (`synchronous_commit = on`). Every other verdict means that nothing of that command was written.
//! - Never two commands of one payment, nor two intents of one key or one order, in a batch: an `UPDATE … FROM` that finds two rows keeps one
//!   and drops the other in silence. The second waits for the next batch.
//! - A batch that fails is cut in half, again and again, until the bad command stands alone; the others never notice.
//! - A COMMIT whose answer was lost is settled by running the same statement again: a row that carries our own id is our success.
//! - Its queues are bounded. Full means [`JournalError::Full`], at once: the caller answers 503, and nothing was written.
//!
//! A panic in a writer costs the batch that it held, whose waiters are told that the database is away; the writer goes on with its queue, and
//! `breakwater_actor_restarts_total` counts it. A writer that hangs says so itself: [`Journal::complaint`].
//!
//! It refuses to decide anything: which change follows from which fact is `domain`'s business, and a command whose payment has moved on is
//! told [`ChangeVerdict::Stale`].
//!
//! ```text
//! mod.rs      the two queues, what may be put into them, and what is answered
//! writer.rs   what has gathered is written, run again, cut in half, or given up
//! command.rs  an intent and a change: what excludes what, their statements (intent.sql, change.sql), their verdicts
//! columns.rs  a batch as the columns of its statement
//! ```

mod columns;
mod command;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool_postgres::Pool;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

pub(super) use self::command::{CHANGE, EVENT_WRITTEN, INTENT};
use self::command::{Command, Pending};
pub(super) use self::writer::SAFE_HERE;
use self::writer::{Since, Writer};
use crate::domain::{Change, PaymentId};

/// Commands that may wait for a writer. Beyond that the caller is told at once: at ten thousand a second this is under a second of work.
pub const QUEUE: usize = 8_192;
/// A batch under way for so long hangs: on a lock, or on a synchronous standby that is not there.
const HANGS_MS: u64 = 20_000;

/// A new payment to write, perhaps on an order whose earlier payment ended unpaid.
#[derive(Clone, Debug)]
pub struct Intent {
    /// From [`Change::opening`].
    pub change: Change,
    /// The payment that holds the order now, with the version at which it was seen to free it.
    pub takes_over: Option<(PaymentId, i32)>,
}

/// What became of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntentVerdict {
    /// On disk: the call may be made.
    Applied,
    /// The merchant's key stands for this payment already: a replay. Nothing was written.
    KeyTaken(PaymentId),
    /// The order is held by this payment. Nothing was written, and the key stays free.
    OrderTaken(PaymentId),
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeVerdict {
    /// On disk.
    Applied,
    /// The payment has moved on: load it and look again. Nothing was written.
    Stale,
    /// Somebody else has taken the attempt's lease: facts may be applied without acting. Nothing was written.
    Fenced,
    /// The merchant's key stands for something already. Nothing was written.
    KeyTaken,
    /// The merchant's refund id stands for a refund already. Nothing was written.
    RefundTaken,
}

/// Why a command has no verdict.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JournalError {
    /// Too many commands wait. Nothing was written; the caller may try again later.
    #[error("the journal's queue is full")]
    Full,
    /// The database is away, others win every race for the same rows, or the process is stopping. The command may yet be on disk; nothing was acted on.
    #[error("the database is away")]
    Away,
    /// The database refuses this command, and always will: a fault of ours. Nothing was written.
    #[error("the database refused the command: {0}")]
    Refused(String),
}

/// The two queues. Cheap to clone; the writers end when the last clone is gone and all that was queued has been written.
#[derive(Clone, Debug)]
pub struct Journal {
    intents: mpsc::Sender<Pending<Intent>>,
    changes: mpsc::Sender<Pending<Change>>,
    /// Since when each writer is at its batch.
    since: [Since; 2],
    /// After how long at one batch a writer hangs.
    hangs_ms: Arc<AtomicU64>,
}

impl Journal {
    /// Starts the writers on `runtime`, each with a connection of `pool` (which must give sessions made for writers: see `store/pool.rs`).
    pub fn start(runtime: &Handle, pool: &Pool) -> Self {
        let (intents, intent_queue) = mpsc::channel(QUEUE);
        let (changes, change_queue) = mpsc::channel(QUEUE);
        let since = [Since::default(), Since::default()];
        runtime.spawn(Writer::new(pool.clone(), intent_queue, since[0].clone()).run_on());
        runtime.spawn(Writer::new(pool.clone(), change_queue, since[1].clone()).run_on());
        Self { intents, changes, since, hangs_ms: Arc::new(HANGS_MS.into()) }
    }

    /// Why nothing can be relied on to reach the disk now: a writer is gone, or has been at one batch for longer than anybody waits. `None` when
    /// all is well.
    pub fn complaint(&self) -> Option<String> {
        if self.intents.is_closed() || self.changes.is_closed() {
            return Some("a writer has ended: restart the process".to_owned());
        }
        let hangs = Duration::from_millis(self.hangs_ms.load(Ordering::Relaxed));
        let complaint = |(lane, since): (&str, &Since)| {
            since.for_long(hangs).map(|long| format!("the writer of the {lane} lane has been at one batch for {} s", long.as_secs()))
        };
        [Intent::LANE, Change::LANE].into_iter().zip(&self.since).find_map(complaint)
    }

    /// Complains of a batch that is under way for so long instead of 20 s, for every clone. For tests.
    pub fn complain_after(&self, hangs: Duration) {
        self.hangs_ms.store(u64::try_from(hangs.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Writes a new payment. Returns when it is on disk, or certainly is not.
    ///
    /// # Errors
    /// [`JournalError`]: the payment must not be acted on.
    pub async fn open(&self, intent: Intent) -> Result<IntentVerdict, JournalError> {
        submit(&self.intents, intent).await
    }

    /// Writes a change of a payment. Returns when it is on disk, or certainly is not.
    ///
    /// # Errors
    /// [`JournalError`]: nothing may be acted on that rests on this change.
    pub async fn commit(&self, change: Change) -> Result<ChangeVerdict, JournalError> {
        submit(&self.changes, change).await
    }
}

async fn submit<C: Command>(queue: &mpsc::Sender<Pending<C>>, command: C) -> Result<C::Verdict, JournalError> {
    let (answer, verdict) = oneshot::channel();
    queue.try_send(Pending { command, answer, after_loss: false }).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => JournalError::Full,
        mpsc::error::TrySendError::Closed(_) => JournalError::Away,
    })?;
    metrics::gauge!("breakwater_journal_queue_depth", "lane" => C::LANE).set((QUEUE - queue.capacity()) as f64);
    verdict.await.unwrap_or(Err(JournalError::Away))
}

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

mod columns;

use std::collections::{HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::Pool;
use futures_util::FutureExt;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use self::columns::{ChangeBatch, IntentBatch};
use super::StoreError;
use crate::crash::{self, Point};
use crate::domain::{Change, PaymentId};
use crate::lasting::{self, Loss};

/// The statement that writes intents.
pub(super) const INTENT: &str = include_str!("intent.sql");
/// The statement that writes changes.
pub(super) const CHANGE: &str = include_str!("change.sql");
/// Whether an event of ours is on disk: how a lost COMMIT is settled.
pub(super) const EVENT_WRITTEN: &str = "SELECT id FROM event WHERE payment_id = $1 AND sequence = $2";

/// Commands that may wait for a writer. Beyond that the caller is told at once: at ten thousand a second this is under a second of work.
pub const QUEUE: usize = 8_192;
/// Commands in one statement. Larger batches gave nothing when measured.
const BATCH: usize = 256;
/// How often a batch that lost a race or a deadlock is run again as a whole before it is cut in half.
const RACES: u32 = 3;
/// How long a writer tries to reach a database that is away before it tells its waiters.
const AWAY: Duration = Duration::from_secs(5);
/// The pause between two tries of a database that is away.
const AWAY_PAUSE: Duration = Duration::from_millis(50);

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
    /// The database is away, or the process is stopping. The command may yet be on disk; nothing was acted on.
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

/// Since when a writer is at one batch; nothing while it has none.
#[derive(Clone, Debug, Default)]
struct Since(Arc<Mutex<Option<Instant>>>);

impl Since {
    fn set(&self, at: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// For how long it is at it, when that is `hangs` or more.
    fn for_long(&self, hangs: Duration) -> Option<Duration> {
        let at = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        at.map(|at| at.elapsed()).filter(|elapsed| *elapsed >= hangs)
    }
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

/// A command with its waiter.
#[derive(Debug)]
struct Pending<C: Command> {
    command: C,
    answer: oneshot::Sender<Result<C::Verdict, JournalError>>,
    /// Whether a connection was lost while this was being written: it may be on disk.
    after_loss: bool,
}

/// What a writer must know of its commands. Two of them exist; the batching is the same and subtle, so it is written once.
trait Command: Send + Sync + Sized + 'static {
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

/// One writer: its queue, and what could not go into the last batch.
struct Writer<C: Command> {
    pool: Pool,
    queue: mpsc::Receiver<Pending<C>>,
    waiting: VecDeque<Pending<C>>,
    since: Since,
}

/// Why a batch was not written.
enum Fault {
    /// The connection is gone, or could not be had: it may have been written.
    Away {
        /// What was said.
        why: String,
        /// Since when nothing came of it: a connection that could not be had was not there all the while.
        since: tokio::time::Instant,
    },
    /// A guard was committed by another process in between, or a deadlock was broken: run it again.
    Race,
    /// One of its commands is not acceptable.
    Refused(String),
}

impl<C: Command> Writer<C> {
    fn new(pool: Pool, queue: mpsc::Receiver<Pending<C>>, since: Since) -> Self {
        Self { pool, queue, waiting: VecDeque::new(), since }
    }

    /// Runs until nobody can queue any more. A panic drops what was under way, and its waiters are told; the queue is kept.
    async fn run_on(mut self) {
        while AssertUnwindSafe(self.run()).catch_unwind().await.is_err() {
            self.since.set(None);
            tracing::error!(lane = C::LANE, "a writer of the journal panicked: it goes on with the next batch");
            lasting::count(&format!("journal_{}", C::LANE), Loss::Panicked);
        }
    }

    async fn run(&mut self) {
        let mut arrived = Vec::with_capacity(BATCH);
        loop {
            if self.waiting.is_empty() {
                if self.queue.recv_many(&mut arrived, BATCH).await == 0 {
                    return;
                }
            } else {
                while arrived.len() < BATCH
                    && let Ok(pending) = self.queue.try_recv()
                {
                    arrived.push(pending);
                }
            }
            self.waiting.extend(arrived.drain(..));
            let batch = self.next_batch();
            metrics::histogram!("breakwater_journal_batch_size", "lane" => C::LANE).record(batch.len() as f64);
            self.since.set(Some(Instant::now()));
            self.write(batch).await;
            self.since.set(None);
        }
    }

    /// Takes what may go together, in the order of arrival; what shares an id with it waits.
    fn next_batch(&mut self) -> Vec<Pending<C>> {
        let mut taken = HashSet::with_capacity(2 * self.waiting.len());
        let mut batch = Vec::with_capacity(self.waiting.len().min(BATCH));
        let mut later = VecDeque::new();
        while let Some(pending) = self.waiting.pop_front() {
            let ids = pending.command.exclusive();
            let clash = batch.len() >= BATCH || ids.iter().flatten().any(|id| taken.contains(id));
            // Whoever waits keeps its place before later commands of the same ids.
            taken.extend(ids.into_iter().flatten());
            if clash {
                later.push_back(pending);
            } else {
                batch.push(pending);
            }
        }
        self.waiting = later;
        batch
    }

    /// Writes a batch to the end: every waiter is answered.
    async fn write(&self, batch: Vec<Pending<C>>) {
        let mut work = vec![(batch, 0)];
        while let Some((mut batch, races)) = work.pop() {
            match self.try_batch(&mut batch).await {
                Ok(verdicts) => {
                    for (pending, verdict) in batch.into_iter().zip(verdicts) {
                        let _gone = pending.answer.send(Ok(verdict));
                    }
                }
                Err(Fault::Race) if races < RACES => work.push((batch, races + 1)),
                Err(Fault::Away { why, .. }) => {
                    tracing::error!(lane = C::LANE, commands = batch.len(), error = %why, "the journal cannot reach the database");
                    for pending in batch {
                        let _gone = pending.answer.send(Err(JournalError::Away));
                    }
                }
                Err(Fault::Race | Fault::Refused(_)) if batch.len() > 1 => {
                    let second = batch.split_off(batch.len() / 2);
                    work.push((second, 0));
                    work.push((batch, 0));
                }
                Err(fault) => {
                    let why = if let Fault::Refused(why) = fault { why } else { "it loses every race".to_owned() };
                    for pending in batch {
                        tracing::error!(lane = C::LANE, payment = %pending.command.id(), error = %why, "the database refused a command of the journal");
                        let _gone = pending.answer.send(Err(JournalError::Refused(why.clone())));
                    }
                }
            }
        }
    }

    /// Runs the statement until the database has answered, for as long as [`AWAY`] from the first try that found it away: what was waited for on a
    /// connection that hung before it was lost is no try.
    async fn try_batch(&self, batch: &mut [Pending<C>]) -> Result<Vec<C::Verdict>, Fault> {
        let mut away_since = None;
        loop {
            match self.attempt(batch).await {
                Err(Fault::Away { why, since }) => {
                    for pending in batch.iter_mut() {
                        pending.after_loss = true;
                    }
                    if away_since.get_or_insert(since).elapsed() >= AWAY {
                        return Err(Fault::Away { why, since });
                    }
                    tokio::time::sleep(AWAY_PAUSE).await;
                }
                other => return other,
            }
        }
    }

    async fn attempt(&self, batch: &[Pending<C>]) -> Result<Vec<C::Verdict>, Fault> {
        let asked = tokio::time::Instant::now();
        let client = self.pool.get().await.map_err(|error| Fault::Away { why: error.to_string(), since: asked })?;
        let began = std::time::Instant::now();
        crash::pass(C::POINTS[0]);
        let rows = C::execute(&client, batch).await.map_err(fault)?;
        crash::pass(C::POINTS[1]);
        metrics::histogram!("breakwater_journal_commit_seconds", "lane" => C::LANE).record(began.elapsed().as_secs_f64());
        let mut by_id = std::collections::HashMap::with_capacity(rows.len());
        for row in &rows {
            by_id.insert(row.try_get::<_, Uuid>("id").map_err(fault)?, row);
        }
        let mut verdicts = Vec::with_capacity(batch.len());
        for pending in batch {
            let row = by_id.get(&pending.command.id()).ok_or_else(|| Fault::Refused("the statement did not answer for it".to_owned()))?;
            let mut verdict = pending.command.verdict(row).map_err(fault)?;
            if pending.after_loss {
                verdict = pending.command.settle(&client, verdict).await.map_err(fault)?;
            }
            verdicts.push(verdict);
        }
        if batch.iter().any(|pending| pending.after_loss) {
            // Whatever is said to it, the batch is in doubt, and not refused.
            let in_doubt = |error| Fault::Away { why: StoreError::from(error).to_string(), since: tokio::time::Instant::now() };
            client.execute(SAFE_HERE, &[]).await.map_err(in_doubt)?;
        }
        Ok(verdicts)
    }
}

/// What was found after a lost connection may be there without being safe: a server that came back shows what its standby never had, and who only reads
/// waits for nobody. This writes a few bytes of log behind it, and its commit waits as any other does; so what it follows is safe when it has
/// been answered. (A transaction that has an id and no log would not wait.)
pub(super) const SAFE_HERE: &str = "SELECT pg_logical_emit_message(true, 'breakwater', '')";

/// The guards that another process may win between our snapshot and our insert.
const GUARDS: [&str; 3] = ["idempotency_pkey", "order_guard_pkey", "refund_guard_pkey"];

fn fault(error: tokio_postgres::Error) -> Fault {
    let since = tokio::time::Instant::now();
    let Some(refusal) = error.as_db_error() else { return Fault::Away { why: StoreError::from(error).to_string(), since } };
    let code = refusal.code();
    let guard = refusal.constraint().is_some_and(|name| GUARDS.contains(&name));
    if *code == SqlState::T_R_DEADLOCK_DETECTED || *code == SqlState::T_R_SERIALIZATION_FAILURE || (*code == SqlState::UNIQUE_VIOLATION && guard) {
        Fault::Race
    } else if super::is_absence(code) {
        Fault::Away { why: refusal.message().to_owned(), since }
    } else {
        Fault::Refused(format!("{} ({})", refusal.message(), refusal.constraint().unwrap_or_else(|| code.code())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    static SEEN: AtomicUsize = AtomicUsize::new(0);

    /// A command that a fault of ours makes a writer panic over, or an ordinary one.
    struct Mine {
        poison: bool,
    }

    impl Command for Mine {
        type Verdict = ();
        const LANE: &'static str = "intent";
        const STATEMENT: &'static str = "";
        const POINTS: [Point; 2] = [Point::Nowhere; 2];
        fn exclusive(&self) -> [Option<Uuid>; 3] {
            assert!(!self.poison, "a fault of ours");
            SEEN.fetch_add(1, Ordering::SeqCst);
            [None; 3]
        }
        fn id(&self) -> Uuid {
            Uuid::nil()
        }
        fn verdict(&self, _: &Row) -> Result<(), tokio_postgres::Error> {
            Ok(())
        }
        async fn execute(_: &deadpool_postgres::Client, _: &[Pending<Self>]) -> Result<Vec<Row>, tokio_postgres::Error> {
            Ok(Vec::new())
        }
        async fn settle(&self, _: &deadpool_postgres::Client, (): ()) -> Result<(), tokio_postgres::Error> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_writer_that_panicked_goes_on_with_its_queue() {
        let (sender, queue) = mpsc::channel(4);
        let pool = super::super::pool::connect("postgres:///?host=/nowhere&user=nobody", super::super::pool::Purpose::Journal, 1, &Handle::current());
        let writer = tokio::spawn(Writer::new(pool.unwrap(), queue, Since::default()).run_on());
        assert_eq!(submit(&sender, Mine { poison: true }).await, Err(JournalError::Away), "its waiter is told");
        // There is no database here: it says so, and that is the writer's own answer.
        assert_eq!(submit(&sender, Mine { poison: false }).await, Err(JournalError::Away));
        assert_eq!(SEEN.load(Ordering::SeqCst), 1, "the second was taken up");
        assert!(!writer.is_finished());
    }
}

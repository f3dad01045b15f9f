//! One writer: it takes what has gathered, writes it as one statement, and answers each waiter after the commit. What fails is run again, cut in
//! half or given up here, by what is known of the failure ([`Fault`]). What it writes, it knows only as a [`Command`].

use std::collections::{HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::Pool;
use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::JournalError;
use super::command::{Command, Pending};
use crate::crash;
use crate::lasting::{self, Loss};
use crate::store::{StoreError, is_absence, is_of_the_moment};

/// Commands in one statement. Larger batches gave nothing when measured.
const BATCH: usize = 256;
/// How often a batch that lost a race or a deadlock is run again as a whole before it is cut in half.
const RACES: u32 = 3;
/// How long a writer tries to reach a database that is away before it tells its waiters.
const AWAY: Duration = Duration::from_secs(5);
/// The pause between two tries of a database that is away.
const AWAY_PAUSE: Duration = Duration::from_millis(50);

/// Since when a writer is at one batch; nothing while it has none.
#[derive(Clone, Debug, Default)]
pub(super) struct Since(Arc<Mutex<Option<Instant>>>);

impl Since {
    fn set(&self, at: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// For how long it is at it, when that is `hangs` or more.
    pub(super) fn for_long(&self, hangs: Duration) -> Option<Duration> {
        let at = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        at.map(|at| at.elapsed()).filter(|elapsed| *elapsed >= hangs)
    }
}

/// One writer: its queue, and what could not go into the last batch.
pub(super) struct Writer<C: Command> {
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
    /// A guard was committed by another process in between, a deadlock was broken, or a lock was not free in time: run it again.
    Race,
    /// One of its commands is not acceptable.
    Refused(String),
}

impl<C: Command> Writer<C> {
    pub(super) fn new(pool: Pool, queue: mpsc::Receiver<Pending<C>>, since: Since) -> Self {
        Self { pool, queue, waiting: VecDeque::new(), since }
    }

    /// Runs until nobody can queue any more. A panic drops what was under way, and its waiters are told; the queue is kept.
    pub(super) async fn run_on(mut self) {
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
                Err(Fault::Race) => {
                    // Nobody's fault, and nothing of it was written: whoever asked may ask again.
                    for pending in batch {
                        tracing::warn!(lane = C::LANE, payment = %pending.command.id(), "a command of the journal loses every race");
                        let _gone = pending.answer.send(Err(JournalError::Away));
                    }
                }
                Err(Fault::Refused(why)) => {
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
pub(in crate::store) const SAFE_HERE: &str = "SELECT pg_logical_emit_message(true, 'breakwater', '')";

/// The guards that another process may win between our snapshot and our insert.
const GUARDS: [&str; 3] = ["idempotency_pkey", "order_guard_pkey", "refund_guard_pkey"];

fn fault(error: tokio_postgres::Error) -> Fault {
    let since = tokio::time::Instant::now();
    let Some(refusal) = error.as_db_error() else { return Fault::Away { why: StoreError::from(error).to_string(), since } };
    let code = refusal.code();
    let guard = refusal.constraint().is_some_and(|name| GUARDS.contains(&name));
    if is_of_the_moment(code) || (*code == SqlState::UNIQUE_VIOLATION && guard) {
        Fault::Race
    } else if is_absence(code) {
        Fault::Away { why: refusal.message().to_owned(), since }
    } else {
        Fault::Refused(format!("{} ({})", refusal.message(), refusal.constraint().unwrap_or_else(|| code.code())))
    }
}
#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::runtime::Handle;
    use tokio_postgres::Row;

    use super::super::submit;
    use super::*;
    use crate::crash::Point;
    use crate::store::pool::{self, Purpose};

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
        let pool = pool::connect("postgres:///?host=/nowhere&user=nobody", Purpose::Journal, 1, &Handle::current());
        let writer = tokio::spawn(Writer::new(pool.unwrap(), queue, Since::default()).run_on());
        assert_eq!(submit(&sender, Mine { poison: true }).await, Err(JournalError::Away), "its waiter is told");
        // There is no database here: it says so, and that is the writer's own answer.
        assert_eq!(submit(&sender, Mine { poison: false }).await, Err(JournalError::Away));
        assert_eq!(SEEN.load(Ordering::SeqCst), 1, "the second was taken up");
        assert!(!writer.is_finished());
    }
}

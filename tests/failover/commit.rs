//! A COMMIT that waits for its synchronous standby is never cancelled, however long it waits. Nobody of ours asks for it, and the server ends a session's
//! own `statement_timeout` before it commits. Were it cancelled, the server would say that it was done, and what it said would be lost with that server.

use std::collections::BTreeMap;

use breakwater::domain::id::{GuardKind, guard_digest};
use breakwater::domain::{
    CaptureMethod, Change, Currency, KeyClaim, Lease, NewAttempt, Operation, OrderDigest, Payment, PaymentId, PaymentMethod, PaymentRequest, Subject,
};
use breakwater::store::pool::{self, Purpose};
use breakwater::store::{Intent, IntentVerdict, Journal, schema};
use jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::{PAUSE, Pair, connect};

/// What the server logs of a wait that was cancelled.
const CANCELED: &str = "canceling wait for synchronous replication";
/// Whether each of these sessions waits for the standby, and has done so for three times as long as its statements may take.
const WAIT_ON: &str = "SELECT count(*) = cardinality($1::int4[]) FROM pg_stat_activity \
     WHERE pid = ANY ($1) AND wait_event = 'SyncRep' AND clock_timestamp() - query_start > interval '3 seconds'";
const LESS_PATIENCE: &str = "SET statement_timeout = '1s'";

/// A standby that is there, and says nothing: the process that would acknowledge is stopped until this is dropped.
struct Silent(Pid);

impl Silent {
    async fn make(standby: &Client) -> Self {
        let pid: i32 = standby.query_one("SELECT pid FROM pg_stat_wal_receiver", &[]).await.expect("it follows").get(0);
        let receiver = Self(Pid::from_raw(pid).expect("a pid"));
        kill_process(receiver.0, Signal::STOP).expect("stopped");
        // The signal is on its way for a moment; where the system does not show how a process is, that is long over.
        while std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") T ")) {
            tokio::time::sleep(PAUSE).await;
        }
        receiver
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _goes_on = kill_process(self.0, Signal::CONT);
    }
}

fn intent(order: &str) -> Intent {
    let (merchant, now) = (Uuid::new_v4(), Timestamp::now());
    let request = PaymentRequest {
        merchant,
        livemode: false,
        order: order.to_owned(),
        amount: 100,
        currency: Currency::USD,
        method: PaymentMethod::CardToken { token: "pm_card_visa".to_owned() },
        capture_method: CaptureMethod::Automatic,
        pinned_channel: None,
        description: None,
        metadata: BTreeMap::new(),
        return_url: None,
        expires_at: now + SignedDuration::from_mins(15),
        deadline_at: now + SignedDuration::from_secs(30),
    };
    let first = NewAttempt {
        operation: Operation::Pay,
        channel: "a".to_owned(),
        key: Uuid::new_v4().simple().to_string(),
        amount: 100,
        refund_n: None,
        undoes: None,
        reason: "first".to_owned(),
        passed_over: Vec::new(),
    };
    let lease = Lease { owner: Uuid::new_v4(), until: now + SignedDuration::from_secs(10) };
    let id = PaymentId::mint(now, OrderDigest::of(merchant, order).bucket());
    let key = KeyClaim { digest: guard_digest(merchant, GuardKind::IdempotencyKey, order), fingerprint: [1; 32], subject: Subject::Payment };
    Intent { change: Change::opening(Payment::open(id, request, first, lease, now), key), takes_over: None }
}

async fn session_of(client: &Client) -> i32 {
    client.query_one("SELECT pg_backend_pid()", &[]).await.expect("a session").get(0)
}

/// Until all of them wait, and have for long enough; none may be answered meanwhile.
async fn until_they_wait(watch: &Client, sessions: &[i32], enough: &str, answered: impl Fn() -> bool) {
    let mut looks = 0;
    while !watch.query_one(enough, &[&sessions]).await.expect("readable").get::<_, bool>(0) {
        assert!(!answered(), "it was answered, and the standby has not said a word");
        assert!(looks < 2_400, "they do not wait for the standby");
        looks += 1;
        tokio::time::sleep(PAUSE).await;
    }
    assert!(!answered(), "it was answered, and the standby has not said a word");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_waits_for_its_standby_for_longer_than_its_statement_may_take_and_is_then_done() {
    let pair = Pair::start().await;
    let primary = pair.primary.url("shop");
    let canceled = || std::fs::read_to_string(pair.primary.log()).expect("a log").matches(CANCELED).count();
    let (watch, standby) = (connect(&primary).await, connect(&pair.standby.url("shop")).await);
    schema::migrate(&primary).await.expect("migrated");

    // The product's own sessions, but for their patience: the journal's, whose statements are transactions of their own, and one for transactions that
    // end with a COMMIT that is asked for.
    let writers = pool::connect(&primary, Purpose::Journal, 1, &Handle::current()).expect("a pool");
    let others = pool::connect(&primary, Purpose::Reads, 1, &Handle::current()).expect("a pool");
    let journal = Journal::start(&Handle::current(), &writers);
    let mut other = others.get().await.expect("a connection");
    schema::ensure_partitions(&other, Timestamp::now()).await.expect("partitions");
    other.batch_execute("CREATE TABLE mark (word text)").await.expect("a table");
    assert_eq!(journal.open(intent("before")).await, Ok(IntentVerdict::Applied));
    let mut sessions = Vec::new();
    let writer = writers.get().await.expect("a connection");
    for client in [&writer, &other] {
        client.batch_execute(LESS_PATIENCE).await.expect("set");
        let too_long = client.query("SELECT pg_sleep(60)", &[]).await.expect_err("it takes too long");
        assert_eq!(too_long.code(), Some(&SqlState::QUERY_CANCELED), "{too_long}");
        sessions.push(session_of(client).await);
    }
    drop(writer);

    let silent = Silent::make(&standby).await;
    let opened: JoinHandle<_> = tokio::spawn({
        let journal = journal.clone();
        async move { journal.open(intent("meanwhile")).await }
    });
    let committed: JoinHandle<_> = tokio::spawn(async move {
        let transaction = other.transaction().await?;
        transaction.execute("INSERT INTO mark VALUES ('meanwhile')", &[]).await?;
        transaction.commit().await
    });
    until_they_wait(&watch, &sessions, WAIT_ON, || opened.is_finished() || committed.is_finished()).await;
    drop(silent);
    assert_eq!(opened.await.expect("no panic"), Ok(IntentVerdict::Applied));
    committed.await.expect("no panic").expect("done");
    assert_eq!(canceled(), 0);
    let rows = "SELECT (SELECT count(*) FROM payment WHERE merchant_order_id = 'meanwhile'), (SELECT count(*) FROM mark)";
    let rows = watch.query_one(rows, &[]).await.expect("readable");
    assert_eq!((rows.get::<_, i64>(0), rows.get::<_, i64>(1)), (1, 1));
    assert_eq!(session_of(&writers.get().await.expect("a connection")).await, sessions[0], "nothing was lost and run again");

    // What it would look like: somebody does ask for it.
    let careless = connect(&primary).await;
    let session = session_of(&careless).await;
    let silent = Silent::make(&standby).await;
    let told: JoinHandle<_> =
        tokio::spawn(async move { careless.batch_execute("SET synchronous_commit = on; INSERT INTO mark VALUES ('careless')").await });
    let waits = "SELECT count(*) = cardinality($1::int4[]) FROM pg_stat_activity WHERE pid = ANY ($1) AND wait_event = 'SyncRep'";
    until_they_wait(&watch, &[session], waits, || told.is_finished()).await;
    watch.execute("SELECT pg_cancel_backend($1)", &[&session]).await.expect("asked");
    told.await.expect("no panic").expect("it is told that it was done, though its standby has nothing of it");
    assert_eq!(canceled(), 1);
    drop(silent);
}

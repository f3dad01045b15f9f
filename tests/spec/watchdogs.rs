//! A process whose vital part does not move says so, and takes it back when the part moves again.

use std::sync::Arc;
use std::time::Duration;

use actix::Actor;
use breakwater::alert::Bell;
use breakwater::channel::http_pool::tls_config;
use breakwater::clock::Pulse;
use breakwater::domain::{CallClass, OperationClass};
use breakwater::notifier::client::system_resolver;
use breakwater::notifier::seal::Sealer;
use breakwater::notifier::{Notifier, NotifierSettings, Office};
use breakwater::poller::{Poller, PollerSettings};
use breakwater::sandbox::AccountSettings;
use breakwater::sandbox::proxy::{Flow, Manner, Proxy as Wire};
use breakwater::store::pool::Purpose;
use breakwater::store::{PoolSizes, Store, StoreError};
use breakwater::telemetry;
use tokio_postgres::config::Host;

use crate::database;
use crate::door::Proxy as Door;
use crate::operations::connect;
use crate::world::{World, unique};

/// Looks at the reasons for which the process is not ready, until `enough`.
async fn eventually_reasons(world: &World, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
    let mut reasons = Vec::new();
    for _ in 0..600 {
        reasons = world.running.readiness.reasons();
        if enough(&reasons) {
            return reasons;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came about: {reasons:?}");
}

async fn status_of_readyz(world: &World) -> u16 {
    world.send("GET", "/readyz", &[], "").await.status
}

/// A fresh database behind a wire that can go wrong, and its address there. The door is only the way to the database's socket.
async fn behind_a_wire() -> (String, Door, Wire) {
    let config: tokio_postgres::Config = database::fresh().await.parse().expect("an address");
    let [Host::Unix(folder)] = config.get_hosts() else { panic!("the cluster is at a socket") };
    let door = Door::start(folder.join(format!(".s.PGSQL.{}", config.get_ports()[0])), unique("never")).await;
    let wire = Wire::start(([127, 0, 0, 1], door.port()).into()).expect("it listens");
    let (user, name) = (config.get_user().expect("a role"), config.get_dbname().expect("a name"));
    (format!("postgresql://{user}@127.0.0.1:{}/{name}", wire.address().port()), door, wire)
}

/// Bytes vanish, and are acknowledged: no kernel notices.
fn deafen(wire: &Wire) {
    wire.set(Manner { flow: Flow::Lose, ..Manner::default() });
}

/// Waits until a line is among the metrics of this process. `/metrics` itself must ask the database who the operator is.
async fn eventually_counted(line: &str) {
    for _ in 0..400 {
        if telemetry::install_metrics().render().lines().any(|counted| counted == line) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it was never counted: {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_statement_of_the_journal_hangs_the_process_is_not_ready_and_says_which_writer_it_is() {
    let world = World::start().await;
    world.running.store.journal.complain_after(Duration::from_secs(1));
    let lock = connect(&world.database_url, None).await;
    // It may still be read: only the journal writes to it.
    lock.batch_execute("BEGIN; LOCK TABLE order_guard IN SHARE ROW EXCLUSIVE MODE").await.expect("locked");
    let told = async {
        let reasons = eventually_reasons(&world, |reasons| !reasons.is_empty()).await;
        let status = status_of_readyz(&world).await;
        lock.batch_execute("COMMIT").await.expect("let go");
        (reasons, status)
    };
    let (paid, (reasons, status)) = tokio::join!(world.pay(1_250), told);
    assert!(reasons[0].starts_with("journal: the writer of the intent lane has been at one batch for "), "{reasons:?}");
    assert_eq!((reasons.len(), status), (1, 503), "{reasons:?}");
    assert_eq!((paid.status, paid.text("status")), (201, "succeeded"), "{:#}", paid.body);
    eventually_reasons(&world, <[String]>::is_empty).await;
    assert_eq!(status_of_readyz(&world).await, 200);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_overrides_cannot_be_read_the_process_is_not_ready() {
    let world = World::start().await;
    let lock = connect(&world.database_url, None).await;
    lock.batch_execute("BEGIN; LOCK TABLE channel_override IN ACCESS EXCLUSIVE MODE").await.expect("locked");
    let reasons = eventually_reasons(&world, |reasons| !reasons.is_empty()).await;
    assert!(reasons[0].starts_with("overrides: they could not be read for "), "{reasons:?}");
    assert_eq!((reasons.len(), status_of_readyz(&world).await), (1, 503), "{reasons:?}");
    lock.batch_execute("COMMIT").await.expect("let go");
    eventually_reasons(&world, <[String]>::is_empty).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_the_overrides_are_old_and_neither_poller_nor_notifier_is_taken_for_frozen() {
    let world = World::start().await;
    let (running, clock) = (world.running.clone(), world.clock.clone());
    let lives = [Pulse::new(clock.boot()), Pulse::new(clock.boot())];
    let [of_poller, of_notifier] = lives.clone();
    let handle = tokio::runtime::Handle::current();
    let store = running.store.with_own_connections(Purpose::Reads, 2).expect("a pool");
    let sealer = Arc::new(Sealer::new(&[0; 32], None).expect("a sealer"));
    let tls = tls_config().expect("a configuration");
    let office = Office::new(store, clock.clone(), sealer, tls, system_resolver(), NotifierSettings::default(), handle.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let parts = std::thread::spawn(move || {
        actix::System::new().block_on(async move {
            let settings = PollerSettings::default();
            let poller = Poller::new(running.store, clock, running.flows, running.router, settings, Bell::default(), handle);
            let _poller = poller.living(of_poller).start();
            let _notifier = Notifier::new(office).living(of_notifier).start();
            let _stopped = stopped.await;
        });
    });

    let away = connect(&world.database_url, Some("postgres")).await;
    let name = world.database_url.parse::<tokio_postgres::Config>().expect("an address").get_dbname().expect("a name").to_owned();
    away.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).await.expect("shut");
    away.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", &[&name]).await.expect("ended");
    let stale = |reason: &String| reason.starts_with("overrides: they could not be read for ");
    eventually_reasons(&world, |reasons| reasons.iter().any(stale)).await;
    for life in &lives {
        // The first may still be of a round that had begun before.
        for _ in 0..3 {
            let last = life.last();
            let mut looks = 0;
            while life.last() == last {
                assert!(looks < 600, "a round that fails is a sign of life too");
                looks += 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    assert!(world.running.readiness.reasons().iter().any(stale), "it does not come and go while the database is away");
    away.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).await.expect("open");
    eventually_reasons(&world, <[String]>::is_empty).await;
    drop(stop);
    parts.join().expect("they end");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_hangs_guards_and_journal_are_listened_to_and_the_process_says_that_it_is_the_database() {
    // Metrics are the whole process's: no other world has a channel of this name.
    const CHANNEL: &str = "stripe_behind_a_wire";
    let (database_url, _door, wire) = behind_a_wire().await;
    let world = World::with(|setup| {
        setup.database_url = Some(database_url);
        setup.sandbox.accounts = vec![AccountSettings::stripe(CHANNEL)];
    })
    .await;
    world.running.store.journal.complain_after(Duration::from_secs(1));
    let paid = world.pay(1_250).await;
    assert_eq!((paid.status, paid.text("status")), (201, "succeeded"), "{:#}", paid.body);
    deafen(&wire);
    let told = async {
        let silent = |reason: &String| reason.starts_with("database: it has not answered for ");
        let hangs = |reason: &String| reason.starts_with("journal: the writer of the intent lane has been at one batch for ");
        eventually_reasons(&world, |reasons| reasons.iter().any(silent) && reasons.iter().any(hangs)).await;
        let ready = world.send("GET", "/readyz", &[], "").await;
        let body = String::from_utf8_lossy(&ready.body).into_owned();
        assert!(ready.status == 503 && body.contains("database: it has not answered for "), "{} {body}", ready.status);

        let guard = Arc::clone(world.running.flows.channels().next().expect("one").handle.guard());
        for nth in 0..20 {
            let at = world.clock.boot() + Duration::from_millis(100) * nth;
            let Ok(mut permit) = guard.admit(OperationClass::Pay, at) else { break };
            permit.mark_sent(at);
            permit.record(CallClass::FailHard, at);
        }
        let labels = format!("channel=\"{CHANNEL}\",operation=\"pay\"");
        eventually_counted(&format!("breakwater_breaker_transitions_total{{{labels},from=\"closed\",to=\"open\",reason=\"consecutive\"}} 1")).await;
        assert!(world.running.readiness.reasons().iter().any(|reason| reason.starts_with("database: ")), "it hangs all the time");
        wire.heal();
    };
    // Its intent is on its way when the database falls silent. What becomes of it is for the referee.
    tokio::join!(world.pay(700), told);
    eventually_reasons(&world, <[String]>::is_empty).await;
    assert_eq!(status_of_readyz(&world).await, 200);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_whether_the_database_lives_is_given_up_with_its_connection_when_no_answer_comes() {
    let (database_url, _door, wire) = behind_a_wire().await;
    let sizes = PoolSizes { journal: 2, reads: 2, channels: 0 };
    let store = Store::open(&database_url, sizes, &tokio::runtime::Handle::current()).await.expect("a store");
    let held = || store.pool_status().iter().map(|(_, connections, ..)| connections).sum::<usize>();
    assert!(store.alive(Duration::from_secs(60)).await.expect("it answers"));
    assert_eq!(held(), 1);
    deafen(&wire);
    let error = store.alive(Duration::from_millis(200)).await.expect_err("no answer");
    assert!(matches!(&error, StoreError::Away(why) if why.starts_with("no answer within ")), "{error}");
    assert_eq!(held(), 0, "nobody must get a connection on which an answer is still awaited");
    wire.heal();
    assert!(store.alive(Duration::from_secs(60)).await.expect("on another connection"));
}

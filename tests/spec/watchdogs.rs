//! A process whose vital part does not move says so, and takes it back when the part moves again.

use std::sync::Arc;
use std::time::Duration;

use actix::Actor;
use breakwater::alert::Bell;
use breakwater::channel::http_pool::tls_config;
use breakwater::clock::Pulse;
use breakwater::notifier::client::system_resolver;
use breakwater::notifier::seal::Sealer;
use breakwater::notifier::{Notifier, NotifierSettings, Office};
use breakwater::poller::{Poller, PollerSettings};
use breakwater::store::pool::Purpose;

use crate::operations::connect;
use crate::world::World;

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

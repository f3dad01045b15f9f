//! A primary is lost and its synchronous standby promoted, under traffic, with real streaming replication: what was acknowledged is there, nothing
//! is charged twice, and the process goes on by itself.
#![allow(missing_docs, reason = "a test's name is its documentation")]

#[path = "failover/commit.rs"]
mod commit;
#[allow(dead_code, reason = "made for another suite, which uses the rest of it")]
#[path = "spec/database.rs"]
mod database;
#[path = "failover/proxy.rs"]
mod proxy;
#[allow(dead_code, reason = "made for another suite, which uses the rest of it")]
#[path = "spec/world.rs"]
mod world;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use breakwater::cluster::{Cluster, ClusterOptions};
use breakwater::sandbox::proxy::{Flow, Manner, Proxy as Wire};
use breakwater::store::{PoolSizes, Store, StoreError, schema};
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use self::proxy::Proxy;
use self::world::{World, payment, unique};

const PAUSE: Duration = Duration::from_millis(50);
const SHOPPERS: usize = 6;

/// A primary with a standby, without which it commits nothing.
struct Pair {
    primary: Cluster,
    standby: Cluster,
}

impl Pair {
    async fn start() -> Self {
        let (primary, standby) = tokio::task::spawn_blocking(|| {
            let options = ClusterOptions { guard_program: env!("CARGO_BIN_EXE_breakwater").into(), fast_unsafe: true, ..ClusterOptions::default() };
            let primary = Cluster::start_temporary(&options).expect("a primary");
            primary.ensure_database("shop").expect("a database");
            let standby = Cluster::start_temporary_standby(&primary, "second", &options).expect("a standby");
            (primary, standby)
        })
        .await
        .expect("a pair");
        let client = connect(&primary.url("shop")).await;
        client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'second'").await.expect("set");
        client.batch_execute("SELECT pg_reload_conf()").await.expect("reloaded");
        let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        while client.query_one(synchronous, &[]).await.expect("readable").get::<_, i64>(0) == 0 {
            tokio::time::sleep(PAUSE).await;
        }
        Self { primary, standby }
    }

    /// Both hosts, the primary's as given.
    fn url(&self, host: &str, port: u16) -> String {
        let standby = self.standby.socket_file();
        let folder = standby.parent().expect("a folder").display().to_string().replace('/', "%2F");
        let host = host.replace('/', "%2F");
        format!("postgresql://breakwater@{host}:{port},{folder}:5432/shop?target_session_attrs=read-write")
    }

    fn direct_url(&self) -> String {
        let primary = self.primary.socket_file();
        self.url(&primary.parent().expect("a folder").display().to_string(), 5432)
    }

    fn kill_primary(&self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.primary.pid()).expect("a pid")).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    }

    async fn promote(&self) {
        let promoted: bool = connect(&self.standby.url("shop")).await.query_one("SELECT pg_promote()", &[]).await.expect("it promotes").get(0);
        assert!(promoted);
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database");
    tokio::spawn(connection);
    client
}

async fn open(url: String) -> World {
    World::with(|setup| {
        setup.database_url = Some(url);
        setup.settings.server.answer_within_ms = 3_000;
    })
    .await
}

/// Creates a payment as a careful client does: the same request with the same key until it is told something.
async fn insist(world: &World, amount: i64, order: &str) -> Value {
    let key = unique("key");
    loop {
        let reply = world.post("/v1/payments", &key, &payment(amount, order)).await;
        match reply.status {
            200..=299 => return reply.body,
            500..=599 | 409 => tokio::time::sleep(PAUSE).await,
            _ => panic!("{} {:#}", reply.status, reply.body),
        }
    }
}

/// Everything that was acknowledged, by shoppers who go on until they are told to stop.
async fn shop(world: &World, stop: &AtomicBool, told: &AtomicUsize) -> Vec<Value> {
    let shoppers = (0..SHOPPERS).map(|_| async {
        let mut acknowledged = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            acknowledged.push(insist(world, 1_200, &unique("order")).await);
            told.fetch_add(1, Ordering::SeqCst);
        }
        acknowledged
    });
    futures_util::future::join_all(shoppers).await.into_iter().flatten().collect()
}

async fn until_more(told: &AtomicUsize, more: usize) {
    let enough = told.load(Ordering::SeqCst) + more;
    let mut looks = 0;
    while told.load(Ordering::SeqCst) < enough {
        assert!(looks < 2_400, "nobody is told anything any more");
        looks += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Each is there as it was told, and ends.
async fn check(world: &World, acknowledged: &[Value]) {
    for told in acknowledged {
        let id = told["id"].as_str().expect("an id");
        let now = world.finally(id).await;
        assert_eq!(now["merchant_order_id"], told["merchant_order_id"]);
        if told["status"] == "succeeded" {
            assert_eq!(now["status"], "succeeded", "{id} was told to be paid");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_takes_nothing_with_it_that_was_acknowledged() {
    let pair = Pair::start().await;

    // A standby alone is no database of ours, and says so.
    let standby = pair.standby.url("shop");
    assert!(matches!(schema::migrate(&standby).await, Err(StoreError::Standby(_))));
    let runtime = tokio::runtime::Handle::current();
    let refused = Store::open(&standby, PoolSizes { journal: 2, reads: 2, channels: 0 }, &runtime).await.expect_err("a standby");
    assert!(refused.to_string().contains("name the primary"), "{refused}");

    let world = open(pair.direct_url()).await;
    let (stop, told) = (AtomicBool::new(false), AtomicUsize::new(0));
    let accident = async {
        until_more(&told, 30).await;
        pair.kill_primary();
        pair.promote().await;
        until_more(&told, 30).await;
        stop.store(true, Ordering::SeqCst);
    };
    let (acknowledged, ()) = tokio::join!(shop(&world, &stop, &told), accident);
    assert!(acknowledged.len() >= 60, "{}", acknowledged.len());
    check(&world, &acknowledged).await;
    let ready = world.send("GET", "/readyz", &[], "").await;
    assert_eq!(ready.status, 200, "without a restart of ours: {}", String::from_utf8_lossy(&ready.body));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_cut_off_and_lives_on_is_given_up_when_its_standby_is_promoted() {
    let pair = Pair::start().await;
    // Nobody sends this: the proxy is only the way to a socket, and the wire before it is what breaks. It goes on acknowledging, so no kernel notices.
    let door = Proxy::start(pair.primary.socket_file(), unique("never")).await;
    let wire = Wire::start(([127, 0, 0, 1], door.port()).into()).expect("it listens");
    let world = open(pair.url("127.0.0.1", wire.address().port())).await;
    let (stop, told) = (AtomicBool::new(false), AtomicUsize::new(0));
    let accident = async {
        until_more(&told, 30).await;
        wire.set(Manner { flow: Flow::Lose, ..Manner::default() });
        pair.promote().await;
        until_more(&told, 60).await;
        stop.store(true, Ordering::SeqCst);
        // The referee of these tests has no lookouts, and takes the first host that takes writes.
        pair.kill_primary();
        wire.heal();
    };
    let (acknowledged, ()) = tokio::join!(shop(&world, &stop, &told), accident);
    check(&world, &acknowledged).await;
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_does_not_know_that_it_was_replaced_is_left_and_not_gone_back_to() {
    let pair = Pair::start().await;
    let world = open(pair.direct_url()).await;
    let (stop, told) = (AtomicBool::new(false), AtomicUsize::new(0));
    let accident = async {
        until_more(&told, 30).await;
        // Both take writes from now on, as far as each of them knows; the old one's wait for a standby that is gone.
        pair.promote().await;
        until_more(&told, 60).await;
        // Now it waits for nobody: whoever wrote there would be told that it is done.
        let old = connect(&pair.primary.url("shop")).await;
        old.batch_execute("ALTER SYSTEM SET synchronous_standby_names = ''").await.expect("set");
        old.batch_execute("SELECT pg_reload_conf()").await.expect("reloaded");
        until_more(&told, 60).await;
        stop.store(true, Ordering::SeqCst);
        // The referee of these tests has no lookouts, and takes the first host that takes writes.
        pair.kill_primary();
    };
    let (acknowledged, ()) = tokio::join!(shop(&world, &stop, &told), accident);
    check(&world, &acknowledged).await;
    let survivor = connect(&pair.standby.url("shop")).await;
    for told in &acknowledged {
        let order = told["merchant_order_id"].as_str().expect("an order");
        let rows = survivor.query("SELECT id FROM payment WHERE merchant_order_id = $1", &[&order]).await.expect("readable");
        assert_eq!(rows.len(), 1, "{order} was acknowledged and is not at the new primary");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_was_lost_with_the_primary_is_settled_on_the_one_that_follows() {
    let pair = Pair::start().await;
    let order = unique("lost");
    let proxy = Proxy::start(pair.primary.socket_file(), order.clone()).await;
    let world = open(pair.url("127.0.0.1", proxy.port())).await;
    let (stop, told) = (AtomicBool::new(false), AtomicUsize::new(0));
    let accident = async {
        until_more(&told, 10).await;
        // From the statement with this order on, its connection hears nothing any more: neither that it was written, nor that it was not.
        let in_doubt = insist(&world, 4_400, &order);
        let cut_off = async {
            let primary = connect(&pair.primary.url("shop")).await;
            let written = "SELECT count(*) FROM payment WHERE merchant_order_id = $1";
            while primary.query_one(written, &[&order]).await.expect("readable").get::<_, i64>(0) == 0 {
                tokio::time::sleep(PAUSE).await;
            }
            proxy.cut();
            pair.promote().await;
            pair.kill_primary();
        };
        let (in_doubt, ()) = tokio::join!(in_doubt, cut_off);
        until_more(&told, 10).await;
        stop.store(true, Ordering::SeqCst);
        in_doubt
    };
    let (mut acknowledged, in_doubt) = tokio::join!(shop(&world, &stop, &told), accident);
    assert!(proxy.swallowed(), "an answer was lost");
    let id = in_doubt["id"].as_str().expect("an id").to_owned();
    acknowledged.push(in_doubt);
    check(&world, &acknowledged).await;
    let survivor = connect(&pair.standby.url("shop")).await;
    let rows = survivor.query("SELECT id FROM payment WHERE merchant_order_id = $1", &[&order]).await.expect("readable");
    assert_eq!(rows.len(), 1, "the second insert found the first");
    assert_eq!(world.payment(&id).await["status"], "succeeded");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_from_a_replica_that_keeps_up_and_from_the_primary_when_it_does_not() {
    let pair = Pair::start().await;
    let (primary, replica) = (pair.primary.url("shop"), pair.standby.url("shop"));
    let world = World::with(|setup| {
        setup.database_url = Some(primary);
        setup.settings.database.replica_url = Some(replica.into());
        setup.settings.database.replica_max_lag_ms = 1_500;
    })
    .await;
    let paid = world.pay(1_000).await.id();
    let lists = |source: &'static str| format!("breakwater_db_list_reads_total{{source=\"{source}\"}}");
    let listed = |id: String| {
        let world = &world;
        async move {
            let page = world.get("/v1/payments").await;
            page.body["data"].as_array().expect("a list").iter().any(|payment| payment["id"] == id.as_str())
        }
    };
    // Idle from here on, and yet no lag.
    let mut looks = 0;
    while !world.metrics().await.lines().any(|line| line.strip_prefix(&lists("replica")).is_some_and(|count| count.trim() != "0")) {
        assert!(looks < 200, "no list came from the replica");
        looks += 1;
        let _page = listed(paid.clone()).await;
        tokio::time::sleep(PAUSE).await;
    }
    assert!(listed(paid.clone()).await);

    connect(&pair.standby.url("shop")).await.batch_execute("SELECT pg_wal_replay_pause()").await.expect("paused");
    let later = world.pay(2_000).await.id();
    assert_eq!(world.get(&format!("/v1/payments/{later}")).await.status, 200, "one object is read where it was written");
    let mut looks = 0;
    while !listed(later.clone()).await {
        assert!(looks < 200, "a list stays without what was written since");
        looks += 1;
        tokio::time::sleep(PAUSE).await;
    }
    assert!(world.metrics().await.lines().any(|line| line.strip_prefix(&lists("primary")).is_some_and(|count| count.trim() != "0")));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_looks_at_the_replica_and_knows_one_that_is_in_the_primarys_place() {
    let pair = Pair::start().await;
    let (primary, replica) = (pair.primary.url("shop"), pair.standby.url("shop"));
    schema::migrate(&primary).await.expect("migrated");
    let doctor = |url: &str, replica_url: Option<&str>| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("breakwater.toml");
        let replica_line = replica_url.map_or_else(String::new, |url| format!("replica_url = {url:?}\n"));
        let listens = "[server]\nlisten = \"127.0.0.1:0\"\noperations_listen = \"127.0.0.1:0\"\n";
        std::fs::write(&file, format!("{listens}[database]\nurl = {url:?}\n{replica_line}")).expect("written");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_breakwater"));
        let done = command.args(["doctor", "--json", "--config"]).arg(&file).output().expect("it runs");
        let report: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
        let checks = report["checks"].as_array().expect("checks").clone();
        move |name: &str| checks.iter().find(|check| check["check"] == name).cloned().unwrap_or_else(|| panic!("{name} in {checks:?}"))
    };
    let (with_replica, with_itself, misplaced) = tokio::task::spawn_blocking({
        let (primary, replica) = (primary.clone(), replica.clone());
        move || (doctor(&primary, Some(&replica)), doctor(&primary, Some(&primary)), doctor(&replica, None))
    })
    .await
    .expect("they run");
    assert_eq!(with_replica("replica")["verdict"], "OK", "{}", with_replica("replica"));
    assert_eq!(with_itself("replica")["verdict"], "FAIL", "the primary itself is no replica");
    let database = misplaced("database");
    assert_eq!(database["verdict"], "FAIL");
    assert!(database["found"].as_str().is_some_and(|found| found.contains("is a standby")), "{database}");
    assert!(database["next"].as_str().is_some_and(|next| next.contains("replica_url")), "{database}");
}

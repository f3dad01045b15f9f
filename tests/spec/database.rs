//! A database for each test, cloned from one that was migrated once, in a private cluster that ends with this process.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use breakwater::cluster::{Cluster, ClusterOptions};
use breakwater::store::schema;

const TEMPLATE: &str = "breakwater_template";

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let options = ClusterOptions { guard_program: env!("CARGO_BIN_EXE_breakwater").into(), fast_unsafe: true, ..ClusterOptions::default() };
        let cluster = Cluster::start_temporary(&options).expect("a private Postgres");
        cluster.ensure_database(TEMPLATE).expect("the template");
        let url = cluster.url(TEMPLATE);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                schema::migrate(&url).await.expect("migrated");
                schema::migrate(&url).await.expect("migrating twice changes nothing");
                let pool = breakwater::store::pool::connect(&url, breakwater::store::pool::Purpose::Reads, 1, &tokio::runtime::Handle::current())
                    .expect("a pool");
                let client = pool.get().await.expect("a connection");
                schema::ensure_partitions(&client, jiff::Timestamp::now()).await.expect("partitions");
            });
        })
        .join()
        .expect("the template is made");
        cluster
    })
}

/// The address of a new database with the schema and its months.
pub async fn fresh() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let cluster = tokio::task::spawn_blocking(cluster).await.expect("the cluster");
    let (client, connection) = tokio_postgres::connect(&cluster.url("postgres"), tokio_postgres::NoTls).await.expect("the cluster answers");
    let driver = tokio::spawn(connection);
    // One at a time: a template cannot be cloned while another clones it.
    client.batch_execute("SELECT pg_advisory_lock(7)").await.expect("a turn");
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).await.expect("a database");
    drop(client);
    driver.await.expect("the connection ends").expect("the connection ends well");
    cluster.url(&name)
}

//! The private cluster against the machine's real PostgreSQL: what it promises about clients, data, and above all about deaths. The process
//! that is killed here is this very test program, run again with [`VICTIM`] set. Works as root and as an ordinary account.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use breakwater::cluster::{Cluster, ClusterError, ClusterOptions, Search};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::Connection;
use tempfile::TempDir;

/// When set, `victim` is a process that starts the cluster of this folder and waits to be killed.
const VICTIM: &str = "BREAKWATER_TEST_VICTIM_DIR";

/// Upper bound of every wait for another process, generous because the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);

fn options() -> ClusterOptions {
    ClusterOptions { guard_program: env!("CARGO_BIN_EXE_breakwater").into(), fast_unsafe: true, shared_buffers_mb: 16, ..ClusterOptions::default() }
}

/// A folder that other accounts may pass, as PostgreSQL's must when the tests run as root.
fn folder() -> TempDir {
    tempfile::Builder::new().prefix("bw").permissions(Permissions::from_mode(0o755)).tempdir_in("/tmp").unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Runs SQL by tokio-postgres, and returns the first column of the first row, if any.
fn query(url: &str, sql: &str) -> Option<String> {
    block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let rows = client.simple_query(sql).await.unwrap();
        drop(client);
        connection.await.unwrap().unwrap();
        rows.into_iter().find_map(|row| match row {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
    })
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process lives. One that is dead but not yet reaped does not.
fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The living processes that work in the data directory: every process of PostgreSQL does.
fn processes_in(data: &Path) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data)).collect()
}

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), signal).unwrap();
}

/// A process of its own that owns a running cluster.
struct Victim {
    process: Child,
    postmaster: u32,
    guard: u32,
    data: PathBuf,
}

impl Victim {
    /// Of the cluster in `dir`, which may be `dir/temporary` for one that is thrown away.
    fn start(dir: &Path) -> Self {
        let report = dir.join("report");
        let _ = fs::remove_file(&report);
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["victim", "--exact", "--nocapture"])
            .env(VICTIM, dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("the victim has started its cluster", || {
            assert!(process.try_wait().unwrap().is_none(), "the victim ended early");
            report.exists()
        });
        let report = fs::read_to_string(report).unwrap();
        let mut lines = report.lines();
        let mut next = || lines.next().unwrap();
        let victim = Self { postmaster: next().parse().unwrap(), guard: next().parse().unwrap(), data: next().into(), process };
        assert!(processes_in(&victim.data).contains(&victim.postmaster));
        victim
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Not a test by itself: the process that [`Victim`] starts.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os(VICTIM).map(PathBuf::from) else {
        return;
    };
    let cluster = if dir.ends_with("temporary") { Cluster::start_temporary(&options()) } else { Cluster::start(&dir.join("cluster"), &options()) };
    let cluster = cluster.unwrap();
    let report = format!("{}\n{}\n{}\n", cluster.pid(), cluster.guard_pid(), cluster.data_dir().display());
    fs::write(dir.join("report.new"), report).unwrap();
    fs::rename(dir.join("report.new"), dir.join("report")).unwrap();
    // Until killed, or until the test that started us is gone.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

#[test]
fn one_url_serves_both_clients_and_a_stop_ends_every_process() {
    let dir = folder();
    let cluster = Cluster::start(dir.path(), &options()).unwrap();
    cluster.ensure_database("orders").unwrap();
    cluster.ensure_database("orders").unwrap();
    let url = cluster.url("orders");
    assert_eq!(query(&url, "select current_database()").as_deref(), Some("orders"));
    let by_sqlx = block_on(async {
        let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
        let answer: String = sqlx::query_scalar("select current_database() || ' ' || current_user").fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        answer
    });
    assert_eq!(by_sqlx, "orders breakwater");
    assert_eq!(query(&url, "show server_encoding").as_deref(), Some("UTF8"));
    assert_eq!(query(&url, "show listen_addresses").as_deref(), Some(""));

    let (data, pid) = (cluster.data_dir(), cluster.pid());
    assert!(processes_in(&data).contains(&pid));
    cluster.stop().unwrap();
    assert!(processes_in(&data).is_empty());
}

#[test]
fn the_durability_settings_are_on_unless_a_test_asks_otherwise() {
    let durable = |cluster: &Cluster| {
        ["fsync", "synchronous_commit", "full_page_writes"].map(|name| query(&cluster.url("postgres"), &format!("show {name}")).unwrap())
    };
    let safe = Cluster::start_temporary(&ClusterOptions { fast_unsafe: false, ..options() }).unwrap();
    assert_eq!(durable(&safe), ["on", "on", "on"]);
    let fast = Cluster::start_temporary(&options()).unwrap();
    assert_eq!(durable(&fast), ["off", "off", "off"]);
}

#[test]
fn a_database_name_that_would_need_quotes_is_refused() {
    let cluster = Cluster::start_temporary(&options()).unwrap();
    for name in ["", "1st", "a b", "a\"b", "Upper", &"a".repeat(64)] {
        assert!(matches!(cluster.ensure_database(name), Err(ClusterError::DatabaseName(_))), "{name:?}");
    }
}

#[test]
fn data_are_kept_between_runs_and_erased_only_when_told() {
    let dir = folder();
    let cluster = Cluster::start(dir.path(), &options()).unwrap();
    query(&cluster.url("postgres"), "create table kept as select 42 as answer");
    assert!(matches!(Cluster::erase(dir.path(), &options()), Err(ClusterError::InUse { .. })));
    cluster.stop().unwrap();

    let cluster = Cluster::start(dir.path(), &options()).unwrap();
    assert_eq!(query(&cluster.url("postgres"), "select answer from kept").as_deref(), Some("42"));
    drop(cluster);

    Cluster::erase(dir.path(), &options()).unwrap();
    let cluster = Cluster::start(dir.path(), &options()).unwrap();
    assert_eq!(query(&cluster.url("postgres"), "select to_regclass('kept') is null").as_deref(), Some("t"));
}

#[test]
fn a_killed_owner_leaves_no_postgres_process() {
    let dir = folder();
    let mut victim = Victim::start(dir.path());
    victim.kill();
    until("guard and PostgreSQL are gone", || !lives(victim.guard) && processes_in(&victim.data).is_empty());
    let log = fs::read_to_string(dir.path().join("cluster/postgres.log")).unwrap();
    assert!(log.contains("fast shutdown request"), "the guard stops it gently:\n{log}");
}

#[test]
fn a_killed_guard_takes_postgres_along_and_the_owner_can_tell() {
    let mut cluster = Cluster::start_temporary(&options()).unwrap();
    let data = cluster.data_dir();
    cluster.check().unwrap();
    kill(cluster.guard_pid(), Signal::KILL);
    until("PostgreSQL is gone", || processes_in(&data).is_empty());
    until("the owner knows", || cluster.check().is_err());
    drop(cluster);
    // Only a guard throws a temporary folder away.
    fs::remove_dir_all(data.parent().unwrap()).unwrap();
}

#[test]
fn owner_and_guard_killed_together_leave_no_postgres_process() {
    let dir = folder();
    let mut victim = Victim::start(dir.path());
    kill(victim.guard, Signal::KILL);
    victim.kill();
    until("PostgreSQL is gone", || processes_in(&victim.data).is_empty());
}

#[test]
fn a_start_right_after_a_kill_waits_for_the_old_one_and_has_its_data() {
    let dir = folder();
    let mut victim = Victim::start(dir.path());
    let socket = dir.path().join("cluster/socket");
    query(&format!("postgresql:///postgres?host={}&port=5432&user=breakwater", socket.display()), "create table kept as select 42 as answer");
    victim.kill();
    let cluster = Cluster::start(&dir.path().join("cluster"), &options()).unwrap();
    assert!(!lives(victim.postmaster), "two postmasters on one data directory");
    assert_eq!(query(&cluster.url("postgres"), "select answer from kept").as_deref(), Some("42"));
}

#[test]
fn an_old_database_that_does_not_end_in_time_is_an_error_that_says_so() {
    let dir = folder();
    let mut victim = Victim::start(dir.path());
    // A frozen postmaster hears no signal but SIGKILL, which is twenty seconds away.
    kill(victim.postmaster, Signal::STOP);
    victim.kill();
    let error = Cluster::start(&dir.path().join("cluster"), &ClusterOptions { handover_limit: Duration::ZERO, ..options() }).unwrap_err();
    kill(victim.postmaster, Signal::CONT);
    assert!(matches!(error, ClusterError::StillEnding { .. }), "{error}");
    until("guard and PostgreSQL are gone", || !lives(victim.guard) && processes_in(&victim.data).is_empty());
}

#[test]
fn a_killed_owner_of_a_temporary_cluster_leaves_no_files() {
    let dir = folder();
    let dir = dir.path().join("temporary");
    fs::create_dir(&dir).unwrap();
    let mut victim = Victim::start(&dir);
    victim.kill();
    until("the folder is gone", || !victim.data.parent().unwrap().exists());
}

#[test]
fn a_second_owner_is_refused_while_the_first_lives() {
    let dir = folder();
    let cluster = Cluster::start(dir.path(), &options()).unwrap();
    let error = Cluster::start(dir.path(), &options()).unwrap_err();
    assert!(matches!(&error, ClusterError::InUse { pid, .. } if *pid == std::process::id().to_string()), "{error}");
    assert_eq!(query(&cluster.url("postgres"), "select 1").as_deref(), Some("1"), "the first is not disturbed");
}

#[test]
fn missing_programs_are_an_error_that_says_where_it_looked_and_what_to_type() {
    let dir = folder();
    let empty = dir.path().join("empty");
    let search = Search { pinned: None, path: vec![empty.clone()], side_by_side: vec![empty] };
    let error = Cluster::start(&dir.path().join("cluster"), &ClusterOptions { search, ..options() }).unwrap_err().to_string();
    for part in [
        "version 15 or newer",
        "PATH (1 folders): no postgres there",
        "pg_config --bindir",
        "empty/*/bin",
        "apt-get install postgresql",
        "brew install postgresql@17",
        "--database-url",
    ] {
        assert!(error.contains(part), "{part:?} is missing in:\n{error}");
    }
}

/// A folder with programs that say they are PostgreSQL of this version.
fn fake_installation(folder: &Path, version: &str) {
    fs::create_dir_all(folder).unwrap();
    for program in ["postgres", "initdb"] {
        let path = folder.join(program);
        fs::write(&path, format!("#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_named_installation_that_is_too_old_is_an_error_and_no_other_is_tried() {
    let dir = folder();
    let old = dir.path().join("old");
    fake_installation(&old, "12.9");
    let search = Search { pinned: Some(old), ..Search::from_environment() };
    let error = Cluster::start(&dir.path().join("cluster"), &ClusterOptions { search, ..options() }).unwrap_err().to_string();
    for part in ["version 15 or newer", "old (named by BREAKWATER_PG_BIN): version 12.9", "apt-get install postgresql"] {
        assert!(error.contains(part), "{part:?} is missing in:\n{error}");
    }
}

#[test]
fn an_installation_that_is_too_old_is_passed_over_for_the_newest_that_will_do() {
    let dir = folder();
    fake_installation(&dir.path().join("path"), "12.9");
    for (name, version) in [("9.6", "9.6.1"), ("15", "15.3"), ("17", "17.2"), ("postgresql@16", "16.1")] {
        fake_installation(&dir.path().join("many").join(name).join("bin"), version);
    }
    let search = Search { pinned: None, path: vec![dir.path().join("path")], side_by_side: vec![dir.path().join("many")] };
    assert_eq!(search.find(None).unwrap().version, "17.2");
    assert_eq!(search.find(Some(16)).unwrap().version, "16.1", "existing data need their own version");
    assert!(search.find(Some(14)).unwrap_err().to_string().contains("apt-get install postgresql-14"));
}

#[test]
fn a_folder_with_a_long_or_unusual_path_gets_a_socket_elsewhere() {
    let dir = folder();
    let deep = dir.path().join(format!("{}/with a space", "long".repeat(40)));
    let cluster = Cluster::start(&deep, &options()).unwrap();
    let url = cluster.url("postgres");
    assert!(url.contains("host=/tmp/bwpg-"), "{url}");
    assert_eq!(query(&url, "select 1").as_deref(), Some("1"));
    let socket = PathBuf::from(url.split_once("host=").unwrap().1.split_once('&').unwrap().0);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o700);
    cluster.stop().unwrap();
    assert!(!socket.exists(), "the folder of the socket goes with the server");
}

#[test]
fn an_initdb_that_was_torn_is_done_again() {
    let dir = folder();
    let torn = dir.path().join("data.unfinished");
    fs::create_dir_all(torn.join("base")).unwrap();
    fs::write(torn.join("PG_VERSION"), "15\n").unwrap();
    let cluster = Cluster::start(dir.path(), &options()).unwrap();
    assert_eq!(query(&cluster.url("postgres"), "select 1").as_deref(), Some("1"));
    assert!(!torn.exists());
}

#[test]
fn an_owner_killed_during_initdb_leaves_no_process_and_the_next_start_works() {
    let dir = folder();
    let unfinished = dir.path().join("cluster/data.unfinished");
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["victim", "--exact"])
        .env(VICTIM, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("initdb is at work", || unfinished.join("PG_VERSION").exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    let cluster = Cluster::start(&dir.path().join("cluster"), &options()).unwrap();
    assert!(processes_in(&unfinished).is_empty());
    assert_eq!(query(&cluster.url("postgres"), "select 1").as_deref(), Some("1"));
}

#[test]
fn a_data_directory_that_somebody_damaged_is_refused_not_replaced() {
    let dir = folder();
    fs::create_dir(dir.path().join("data")).unwrap();
    fs::write(dir.path().join("data/precious"), "").unwrap();
    let error = Cluster::start(dir.path(), &options()).unwrap_err();
    assert!(matches!(error, ClusterError::NotOurs { .. }), "{error}");
    assert!(dir.path().join("data/precious").exists());
}

#[test]
fn a_stale_pid_file_with_a_strangers_number_does_not_stop_a_start() {
    let dir = folder();
    let cluster = Cluster::start(dir.path(), &options()).unwrap();
    let data = cluster.data_dir();
    cluster.stop().unwrap();
    fs::write(data.join("postmaster.pid"), format!("{}\n{}\n1\n5432\n\n\n0 0\nready\n", std::process::id(), data.display())).unwrap();
    let cluster = Cluster::start(dir.path(), &options()).unwrap();
    assert_ne!(cluster.pid(), std::process::id());
    assert_eq!(query(&cluster.url("postgres"), "select 1").as_deref(), Some("1"));
}

#[test]
fn a_start_that_fails_shows_the_end_of_the_servers_log() {
    let dir = folder();
    let cluster = Cluster::start(dir.path(), &options()).unwrap();
    let data = cluster.data_dir();
    cluster.stop().unwrap();
    fs::write(data.join("postgresql.auto.conf"), "no_such_setting = 1\n").unwrap();
    let error = Cluster::start(dir.path(), &options()).unwrap_err().to_string();
    for part in ["postgres failed", "no_such_setting", "next:", data.to_str().unwrap()] {
        assert!(error.contains(part), "{part:?} is missing in:\n{error}");
    }
    assert!(processes_in(&data).is_empty());
}

#[test]
fn a_program_that_is_no_guard_is_an_error_and_is_not_waited_for() {
    let dir = folder();
    let guard_program = std::env::current_exe().unwrap();
    let error = Cluster::start(dir.path(), &ClusterOptions { guard_program, ..options() }).unwrap_err().to_string();
    assert!(error.contains("initdb failed: its guard ended"), "{error}");
    assert!(!dir.path().join("data").exists());
}

/// The case of a container: we are root, the data are asked for below root's private home.
#[test]
fn as_root_a_private_parent_is_left_as_it_is_and_the_data_go_elsewhere() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = folder();
    fs::set_permissions(home.path(), Permissions::from_mode(0o700)).unwrap();
    let guard = home.path().join("breakwater");
    fs::copy(env!("CARGO_BIN_EXE_breakwater"), &guard).unwrap();
    let options = ClusterOptions { guard_program: guard, ..options() };
    let dir = home.path().join("cluster");

    let cluster = Cluster::start(&dir, &options).unwrap();
    let data = cluster.data_dir();
    assert!(!data.starts_with(home.path()), "{}", data.display());
    query(&cluster.url("postgres"), "create table kept as select 42 as answer");
    cluster.stop().unwrap();
    let cluster = Cluster::start(&dir, &options).unwrap();
    assert_eq!(cluster.data_dir(), data, "the same place at each start");
    assert_eq!(query(&cluster.url("postgres"), "select answer from kept").as_deref(), Some("42"));
    cluster.stop().unwrap();
    assert_eq!(fs::metadata(home.path()).unwrap().permissions().mode() & 0o777, 0o700);
    Cluster::erase(&dir, &options).unwrap();
    assert!(!data.exists());
}

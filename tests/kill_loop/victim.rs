//! The process that is killed, and the folder that outlives it.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use breakwater::cli::client;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

/// Upper bound of every wait for another process, generous because the machine may be busy.
const LIMIT: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The data directory of the demo, kept when the test fails: it is the evidence.
pub struct Home {
    directory: TempDir,
}

impl Home {
    /// A folder that other accounts may pass, as Postgres's must when the tests run as root; short, because a socket's path is.
    pub fn new() -> Self {
        let mut directory =
            tempfile::Builder::new().prefix("bw-kill").permissions(Permissions::from_mode(0o755)).tempdir_in("/tmp").expect("a folder");
        directory.disable_cleanup(true);
        Self { directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Waits until no process of Postgres works in our data directory.
    pub async fn nothing_is_left_behind(&self, victim: &Victim) {
        let data = PathBuf::from(&victim.postgres_data);
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = processes_in(&data);
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "processes of Postgres are left behind: {left:?} in {}", data.display());
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Tells the sandbox to end. Whether it does.
    pub async fn sandbox_ends(&self, victim: &Victim) -> bool {
        let control = victim.line().sandbox_url.clone();
        let answer = client::send("POST", &format!("{control}/_control/_shutdown"), &[], "").await.expect("the sandbox outlives the kill");
        let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let pid = body["pid"].as_u64().expect("its process");
        let deadline = Instant::now() + LIMIT;
        while lives(pid) && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        !lives(pid)
    }

    pub fn remove(mut self) {
        self.directory.disable_cleanup(false);
    }
}

/// What the demo prints when it is ready.
#[derive(Clone, Debug, Deserialize)]
pub struct ReadyLine {
    pub url: String,
    pub api_key: String,
    pub ops_token: String,
    pub sandbox_url: String,
    pub database_url: String,
    pub pid: u32,
}

pub struct Victim {
    process: Child,
    started: Instant,
    lines: mpsc::Receiver<String>,
    line: Option<ReadyLine>,
    complaints: PathBuf,
    pub postgres_data: String,
}

impl Victim {
    pub fn start(home: &Home) -> Self {
        Self::start_with(home, &[])
    }

    /// With more arguments.
    pub fn start_with(home: &Home, more: &[&str]) -> Self {
        let complaints = home.path().join("stderr.log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_breakwater"));
        command.args(["demo", "--json", "--no-traffic", "--port", "0", "--data-dir"]).arg(home.path()).args(more);
        // The product's own path, whatever the shell of the one who tests has set.
        command.env_remove("BREAKWATER_DATABASE_URL").env_remove("BREAKWATER_DEMO_DIR");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&complaints).expect("a log"));
        let mut process = command.spawn().expect("breakwater starts");
        let output = process.stdout.take().expect("piped");
        let (sender, lines) = mpsc::channel();
        // A thread a process: it ends with the process's output.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { process, started: Instant::now(), lines, line: None, complaints, postgres_data: String::new() }
    }

    /// Waits for the one line, and answers how long it took.
    pub async fn ready(&mut self) -> Duration {
        let line = loop {
            match self.lines.try_recv() {
                Ok(line) => break line,
                Err(mpsc::TryRecvError::Empty) => assert!(self.started.elapsed() < LIMIT, "not ready within {LIMIT:?}: {}", self.said()),
                Err(mpsc::TryRecvError::Disconnected) => panic!("it ended before it was ready ({:?}): {}", self.process.wait(), self.said()),
            }
            tokio::time::sleep(LOOK_EVERY / 4).await;
        };
        let taken = self.started.elapsed();
        let line: ReadyLine = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?} is not the promised line: {error}"));
        assert_eq!(line.pid, self.process.id(), "the line names another process");
        let database = connect(&line.database_url).await;
        self.postgres_data = database.query_one("SHOW data_directory", &[]).await.expect("a superuser may ask").get(0);
        self.line = Some(line);
        taken
    }

    pub fn is_ready(&self) -> bool {
        self.line.is_some()
    }

    pub fn line(&self) -> &ReadyLine {
        self.line.as_ref().expect("it was ready")
    }

    /// SIGKILL, then `killed`, and the wait for its end: nothing of ours answers after this.
    pub fn kill(&mut self, killed: impl FnOnce()) {
        assert!(self.process.try_wait().expect("ours").is_none(), "it ended by itself: {}", self.said());
        self.process.kill().expect("ours to kill");
        killed();
        self.process.wait().expect("ours to wait for");
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.complaints).unwrap_or_default()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _already_dead = self.process.kill();
        let _waited = self.process.wait();
    }
}

/// A connection to the private cluster; it ends with the client.
pub async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("the database answers");
    tokio::spawn(connection);
    client
}

/// Whether a process lives. One that is dead but not yet reaped does not.
fn lives(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The living processes that work in the data directory: every process of Postgres does.
fn processes_in(data: &Path) -> Vec<u32> {
    let pids = fs::read_dir("/proc").expect("this test needs /proc").flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data)).collect()
}

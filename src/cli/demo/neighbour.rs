//! The sandbox beside the demo: a process of its own, adopted when it is still there, started when it is not.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::accounts;
use crate::cli::client;
use crate::sandbox::Running;

/// How long a sandbox without its orchestrator goes on.
const LINGER_MS: u64 = 60_000;
/// How often, and how long apart, a sandbox that was started is looked for.
const LOOKS: u32 = 400;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The sandbox of `data_dir`, told where its notifications go. One that an older breakwater left behind, and that lacks some of our accounts, is
/// ended and started anew: its books, keys and ports are on disk, so nobody notices but `say`.
pub(super) async fn start(data_dir: &Path, orchestrator: &str, say: impl Fn(&str)) -> Result<Running, String> {
    let running = match find(data_dir).await? {
        Some(running) if accounts::are_played_by(&running) => running,
        Some(older) => {
            tracing::warn!(pid = older.pid, "an older sandbox without all accounts is ended, and started anew with the same books");
            say("an older sandbox still runs, without all accounts: it is ended, and started anew with the same books");
            shut_down(&older, data_dir).await?;
            launch(data_dir).await?
        }
        None => launch(data_dir).await?,
    };
    let body = serde_json::json!({"notify_url": orchestrator, "pid": std::process::id()}).to_string();
    let url = format!("{}/_control/_orchestrator", running.control_url);
    let answer = client::send("PUT", &url, &[("content-type", "application/json")], &body).await.map_err(|error| error.to_string())?;
    if answer.status >= 300 {
        return Err(format!("{url} answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body)));
    }
    Ok(running)
}

/// Ends the sandbox of `data_dir`, if one runs, and clears its book.
pub(super) async fn end(data_dir: &Path) -> Result<(), String> {
    if let Some(running) = find(data_dir).await? {
        shut_down(&running, data_dir).await?;
    }
    match fs::remove_dir_all(data_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {error}", data_dir.display())),
        _ => Ok(()),
    }
}

async fn find(data_dir: &Path) -> Result<Option<Running>, String> {
    Running::find(data_dir).await.map_err(|error| format!("{}: {error}", data_dir.display()))
}

/// Tells a sandbox to end, and waits until it has let go of its directory.
async fn shut_down(running: &Running, data_dir: &Path) -> Result<(), String> {
    let url = format!("{}/_control/_shutdown", running.control_url);
    client::send("POST", &url, &[], "").await.map_err(|error| error.to_string())?;
    for _ in 0..LOOKS {
        if matches!(Running::find(data_dir).await, Ok(None)) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(format!("the sandbox of {}, process {}, was told to end and does not: end it, then start again", data_dir.display(), running.pid))
}

async fn launch(data_dir: &Path) -> Result<Running, String> {
    fs::create_dir_all(data_dir).map_err(|error| format!("{}: {error}", data_dir.display()))?;
    let log_path = data_dir.join("sandbox.log");
    let log = fs::File::create(&log_path).map_err(|error| format!("{}: {error}", log_path.display()))?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .args(["sandbox", "--linger-ms", &LINGER_MS.to_string(), "--data-dir"])
        .arg(data_dir)
        .args(accounts::all().iter().flat_map(|account| ["--account".to_owned(), accounts::argument(account)]))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // Apart from the terminal's group: Ctrl-C is for the orchestrator.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("the sandbox cannot be started: {error}"))?;
    for _ in 0..LOOKS {
        if let Ok(Some(running)) = Running::find(data_dir).await {
            // Reaped when it ends before us; outlives us otherwise.
            std::thread::spawn(move || child.wait());
            return Ok(running);
        }
        if let Ok(Some(status)) = child.try_wait() {
            let said = fs::read_to_string(&log_path).unwrap_or_default();
            let tail: Vec<&str> = said.lines().rev().take(5).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            return Err(format!("the sandbox ended at once ({status}):\n{}", tail.join("\n")));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(format!("the sandbox does not answer; see {}", log_path.display()))
}

//! The guard: a small process between us and PostgreSQL, so that no death of ours leaves a database behind. This file is what runs *in* it
//! (`breakwater __postgres-guard ...`, hidden from the help); `guarded.rs` is our side of it.
//!
//! ```text
//! breakwater ──control socket──▶ guard (own session, our account)
//!                                  └─▶ step: PostgreSQL's account, parent-death signal ──exec──▶ postgres
//! ```
//!
//! Invariants:
//! - **We die, PostgreSQL ends.** The guard's standard input is one end of a socket whose other end is only ours, close-on-exec. Any death
//!   of ours, SIGKILL included, is an end-of-file there, and the guard stops PostgreSQL: SIGINT (fast), after [`PATIENCE`] SIGQUIT
//!   (immediate), after that again SIGKILL. An orderly stop is the same end-of-file, so there is one path and it is always exercised.
//! - **The guard dies, PostgreSQL ends.** The postmaster carries a parent-death signal, SIGQUIT: nobody is left to insist, so the one
//!   signal must be enough, and the log is replayed at the next start. Linux clears that signal whenever credentials change, and it follows
//!   the parent's *thread*: hence the step, which is started by the guard's main thread, already has PostgreSQL's account, sets the signal,
//!   checks that the guard still lives, and execs. Its process id is the postmaster's. Elsewhere than on Linux there is no such signal, and
//!   a SIGKILL of the guard alone does leave a postmaster, which the next start waits for.
//! - **The postmaster dies, its children end**: PostgreSQL sees to that itself. The guard reports it and ends when we let go.
//! - **As long as any of them lives, the cluster's lock is held.** The lock file's open description is the guard's standard output and the
//!   standard input of everything below; no process of PostgreSQL closes it. So "has the old one ended?" is "can I have the lock?", without
//!   process ids and their reuse.
//! - A signal is only ever sent to a child that has not been reaped, so never to a stranger who got its number.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, setsid, waitid};

/// The hidden first argument that makes `breakwater` a guard: `main` hands everything after it to [`guard_main`].
pub const GUARD_COMMAND: &str = "__postgres-guard";

/// How long the guard waits between a signal and the next, harder one. A fast shutdown writes a checkpoint, which is seconds on a slow disk.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The two verbs. Flags, so that a test program that is started as a guard by mistake (its owner forgot to name `breakwater`) refuses them
/// at once; it would take words for names of tests and run those.
pub(super) const RUN: &str = "--run";
const STEP: &str = "--step";

/// Reports on the control socket, one line each.
pub(super) const STARTED: &str = "started ";
pub(super) const ENDED: &str = "ended ";

/// Runs as the guard. `arguments` are those after [`GUARD_COMMAND`]. Nothing but [`super::Cluster`] calls this program so; the arguments
/// are no interface.
pub fn guard_main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let verb = arguments.next().unwrap_or_default();
    let ended = match verb.to_str() {
        Some(RUN) => run(arguments),
        Some(STEP) => step(arguments),
        _ => Err(io::Error::other("breakwater starts this itself: it is not for the command line")),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is PostgreSQL's log, whose last lines are part of our error.
            let _ = writeln!(io::stderr(), "guard: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the guard was asked to do: `[--account UID GID] [--empty DIR] [--discard DIR] -- PROGRAM ARGUMENTS`.
#[derive(Default)]
struct Orders {
    account: Option<(u32, u32)>,
    /// Folders to remove at the end if they are empty: the socket's.
    remove_empty: Vec<PathBuf>,
    /// A folder to remove at the end with everything in it; its data need no clean shutdown then.
    discard: Option<PathBuf>,
    command: Vec<OsString>,
}

fn parse(mut arguments: impl Iterator<Item = OsString>) -> io::Result<Orders> {
    let mut orders = Orders::default();
    let missing = || io::Error::other("an argument is missing");
    while let Some(argument) = arguments.next() {
        let mut next = || arguments.next().ok_or_else(missing);
        match argument.to_str() {
            Some("--account") => {
                let mut number = || next()?.to_str().and_then(|text| text.parse().ok()).ok_or_else(missing);
                orders.account = Some((number()?, number()?));
            }
            Some("--empty") => orders.remove_empty.push(next()?.into()),
            Some("--discard") => orders.discard = Some(next()?.into()),
            Some("--") => {
                orders.command = arguments.collect();
                break;
            }
            _ => return Err(io::Error::other("an argument is unknown")),
        }
    }
    if orders.command.is_empty() { Err(missing()) } else { Ok(orders) }
}

/// The guard proper.
fn run(arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let orders = parse(arguments)?;
    // Out of the terminal's reach: its Ctrl-C is for us, who need the database to finish our work. Fails only for a group's leader.
    let _ = setsid();
    let mut control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);

    // From this, the main thread, because the parent-death signal follows the thread.
    let mut child = step_command(&orders)?.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("a process id out of range"))?;
    // If nobody listens any more, the thread below finds out.
    let _ = writeln!(control, "{STARTED}{}", child.id());

    let watched = Watched { reaped: Mutex::new(false), changed: Condvar::new() };
    let gentle = orders.discard.is_none();
    let status = std::thread::scope(|scope| -> io::Result<_> {
        let owner = control.try_clone()?;
        scope.spawn(|| {
            wait_for_end_of_file(owner);
            watched.insist(pid, gentle);
        });
        // Learn of the end without reaping, so that until `reaped` says so the process id is still the child's.
        loop {
            match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Err(rustix::io::Errno::INTR) => {}
                other => {
                    other?;
                    break;
                }
            }
        }
        watched.over();
        let status = child.wait()?;
        let _ = writeln!(control, "{ENDED}{status}");
        Ok(status)
        // The scope waits for the thread above, so for our owner to let go: until then the log is there to be read.
    })?;
    for folder in &orders.remove_empty {
        let _ = std::fs::remove_dir(folder);
    }
    if let Some(folder) = &orders.discard {
        let _ = std::fs::remove_dir_all(folder);
    }
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("the program ended: {status}"))) }
}

/// The command that becomes the program, with the descriptors as the invariants say.
fn step_command(orders: &Orders) -> io::Result<Command> {
    let lock = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let log = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let mut command = if cfg!(target_os = "linux") {
        // By this name the other account needs no right to pass the folders above our program, which may be in root's home.
        let mut command = Command::new("/proc/self/exe");
        command.arg(GUARD_COMMAND).arg(STEP).arg(std::process::id().to_string());
        command.args(&orders.command);
        command
    } else {
        let mut command = Command::new(&orders.command[0]);
        command.args(&orders.command[1..]);
        command
    };
    if let Some((uid, gid)) = orders.account {
        // Dropping from root this way drops root's supplementary groups as well.
        command.gid(gid).uid(uid);
    }
    command.stdin(Stdio::from(lock)).stdout(Stdio::from(log.try_clone()?)).stderr(Stdio::from(log));
    Ok(command)
}

/// Between fork and program: sets the parent-death signal under the final account, then becomes the program.
fn step(mut arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let guard = arguments.next().and_then(|pid| pid.to_str()?.parse::<i32>().ok());
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::QUIT))?;
    // A guard that died before the line above sends no signal.
    if rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get()) != guard {
        return Err(io::Error::other("the guard died while the program was being started"));
    }
    let program = arguments.next().ok_or_else(|| io::Error::other("an argument is missing"))?;
    let error = Command::new(&program).args(arguments).exec();
    Err(io::Error::new(error.kind(), format!("{}: {error}", program.display())))
}

fn wait_for_end_of_file(mut owner: UnixStream) {
    let mut buffer = [0; 64];
    loop {
        match owner.read(&mut buffer) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
        }
    }
}

/// The child's life as the two threads of the guard share it.
struct Watched {
    reaped: Mutex<bool>,
    changed: Condvar,
}

impl Watched {
    /// The child has ended and may be reaped: no signal after this.
    fn over(&self) {
        *self.reaped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Signals, harder each time, until the child has ended. `gentle` is false when its data will be thrown away.
    fn insist(&self, pid: Pid, gentle: bool) {
        let signals = if gentle { &[Signal::INT, Signal::QUIT, Signal::KILL][..] } else { &[Signal::QUIT, Signal::KILL][..] };
        let mut reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        for signal in signals {
            if *reaped {
                return;
            }
            let _ = kill_process(pid, *signal);
            (reaped, _) = self.changed.wait_timeout_while(reaped, PATIENCE, |reaped| !*reaped).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

//! A process of the run's own, this very program, and the log that it writes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Child;

/// A process of ours that ends with this value.
#[derive(Debug)]
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _already_dead = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// This very program, whatever has become of its file.
pub fn program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| error.to_string())
}

/// Where it writes; it may have written before.
pub fn log_of(path: &Path) -> Result<File, String> {
    File::options().append(true).create(true).open(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// What a complaint about it should show.
pub fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

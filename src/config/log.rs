//! `[log]`: how much is said on stderr, and in which form.

use tracing::Level;

use super::section::Section;
use crate::telemetry::LogFormat;

/// `[log]`: what goes to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// `error`, `warn`, `info`, `debug` or `trace`, for this crate; default `info`. Libraries are held at `warn` whatever is said here, because at
    /// `debug` some of them print what must not be in a log. `error` hides restarts of channels; `trace` is for a desk.
    pub level: Level,
    /// `json`, a line an event for a collector, or `text` for people; default `json`.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: Level::INFO, format: LogFormat::Json }
    }
}

impl LogSettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = LogSettings::default();
        let settings = LogSettings {
            level: section.parsed("level", "use error, warn, info, debug or trace", level).unwrap_or(default.level),
            format: section.parsed("format", "use json or text", LogFormat::parse).unwrap_or(default.format),
        };
        section.end();
        settings
    }
}

/// The names alone: the library's own parser also takes digits and capitals.
fn level(text: &str) -> Option<Level> {
    match text {
        "error" => Some(Level::ERROR),
        "warn" => Some(Level::WARN),
        "info" => Some(Level::INFO),
        "debug" => Some(Level::DEBUG),
        "trace" => Some(Level::TRACE),
        _ => None,
    }
}

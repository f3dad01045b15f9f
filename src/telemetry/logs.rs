//! The log: stderr, one line an event. Standard output belongs to the commands.
//!
//! Libraries are held at `warn` whatever the settings say: below it, some print statements with their parameters or headers with their keys,
//! and no setting may put those into a log. What this crate logs is its own words, with ids as fields.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

use tracing::{Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object a line: `timestamp`, `level`, `target`, `message`, and the fields beside them.
    Json,
    /// For people; coloured on a terminal unless `NO_COLOR` is set.
    Text,
}

impl LogFormat {
    /// The format of that name in the settings, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "text" => Some(Self::Text),
            _ => None,
        }
    }
}

/// Changes the level of a log that was installed. Answers whether it could.
type SetLevel = Box<dyn Fn(Level) -> bool + Send + Sync>;

/// How this process's log changes its level, once it has one.
static SET_LEVEL: OnceLock<SetLevel> = OnceLock::new();

/// Changes the level of this process's log. False when it has none.
pub fn set_log_level(level: Level) -> bool {
    SET_LEVEL.get().is_some_and(|set| set(level))
}

/// Makes it the process's log, unless there is one.
fn install((subscriber, set_level): (impl Subscriber + Send + Sync, SetLevel)) -> bool {
    // The one that is kept is that of the log that won: nobody else gets here.
    subscriber.try_init().is_ok() && SET_LEVEL.set(set_level).is_ok()
}

/// Sends this process's log to stderr, from `level` up. Answers whether it did: a process has one log, and the first to install it wins, which
/// lets many tests of one process call it.
pub fn install_logs(format: LogFormat, level: Level) -> bool {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match format {
        LogFormat::Json => install(json(level, std::io::stderr)),
        LogFormat::Text => install(text(level, colour, std::io::stderr)),
    }
}

/// The same, into a file that it appends to, one line an event: for a command whose terminal belongs to its user.
///
/// # Errors
/// When the file cannot be opened.
pub fn install_logs_to_file(format: LogFormat, level: Level, path: &std::path::Path) -> std::io::Result<bool> {
    let file = std::sync::Arc::new(std::fs::OpenOptions::new().create(true).append(true).open(path)?);
    Ok(match format {
        LogFormat::Json => install(json(level, file)),
        LogFormat::Text => install(text(level, false, file)),
    })
}

fn json<W>(level: Level, writer: W) -> (impl Subscriber + Send + Sync, SetLevel)
where
    W: for<'a> MakeWriter<'a, Writer: Write> + Send + Sync + 'static,
{
    let log = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_env_filter(filter(level))
        .with_writer(writer)
        .with_filter_reloading();
    let handle = log.reload_handle();
    (log.finish(), Box::new(move |level| handle.reload(filter(level)).is_ok()))
}

fn text<W>(level: Level, colour: bool, writer: W) -> (impl Subscriber + Send + Sync, SetLevel)
where
    W: for<'a> MakeWriter<'a, Writer: Write> + Send + Sync + 'static,
{
    let log = tracing_subscriber::fmt().with_ansi(colour).with_env_filter(filter(level)).with_writer(writer).with_filter_reloading();
    let handle = log.reload_handle();
    (log.finish(), Box::new(move |level| handle.reload(filter(level)).is_ok()))
}

/// This crate from `level` up, everything else from `warn` up, or from `error` where that is what this crate is held at.
fn filter(level: Level) -> EnvFilter {
    let others = level.min(Level::WARN);
    EnvFilter::new(format!("{others},breakwater={level}"))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn a_line_of_json_has_the_ids_as_fields() {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing::subscriber::with_default(json(Level::INFO, move || writer.clone()).0, || {
            tracing::info!(target: "breakwater::router", payment = "pay_1", n = 2, "the attempt was resolved");
        });
        let line: serde_json::Value = serde_json::from_str(&lines.text()).unwrap();
        assert_eq!(line["message"], "the attempt was resolved");
        assert_eq!(line["payment"], "pay_1");
        assert_eq!(line["n"], 2);
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn libraries_are_held_at_warn_even_when_this_crate_traces() {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing::subscriber::with_default(text(Level::TRACE, false, move || writer.clone()).0, || {
            tracing::debug!(target: "tokio_postgres::query", "executing with parameters: 4242");
            tracing::info!(target: "tokio_postgres::connection", "a notice of the server");
            tracing::warn!(target: "rustls::conn", "an alert");
            tracing::trace!(target: "breakwater::channel", "a call begins");
        });
        let text = lines.text();
        assert!(!text.contains("4242") && !text.contains("notice"), "{text}");
        assert!(text.contains("an alert") && text.contains("a call begins"), "{text}");
    }

    #[test]
    fn what_is_below_the_level_is_not_logged() {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing::subscriber::with_default(text(Level::ERROR, false, move || writer.clone()).0, || {
            tracing::warn!(target: "breakwater::poller", "quiet");
            tracing::warn!(target: "rustls::conn", "quiet too");
            tracing::error!(target: "breakwater::poller", "loud");
        });
        let text = lines.text();
        assert!(text.contains("loud") && !text.contains("quiet"), "{text}");
    }

    #[test]
    fn the_level_changes_while_the_log_is_in_use() {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, set_level) = text(Level::INFO, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(target: "breakwater::poller", "before");
            assert!(set_level(Level::DEBUG));
            tracing::debug!(target: "breakwater::poller", "after");
        });
        assert!(!lines.text().contains("before") && lines.text().contains("after"), "{}", lines.text());
    }
}

//! What the process says about itself: a log to stderr, and metrics that Prometheus scrapes.
//!
//! ```text
//! logs.rs       install_logs: one line an event, ids as fields, this crate's words only
//! catalogue.rs  METRICS: every metric with its kind, labels, unit, help and buckets; nothing else may be counted
//! series.rs     create_at_zero: every series whose labels are known in advance exists from the start
//! mod.rs        install_metrics, describe: the catalogue made known to the recorder
//! ```
//!
//! Whoever counts writes the name as a literal (`counter!("breakwater_payments_total", "status" => …)`) and needs nothing from here;
//! `tests/tidy.rs` holds every such literal against the catalogue: name, kind and labels. Labels come from closed sets: never a merchant, an
//! order, an id or an error's text. Histograms without buckets would become summaries, which cannot be added over processes, so every histogram
//! of the catalogue has its buckets, and a test looks at what is rendered.

mod catalogue;
mod logs;
mod series;

use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub use self::catalogue::{Kind, METRICS, Metric};
pub use self::logs::{LogFormat, install_logs, install_logs_to_file, set_log_level};
pub use self::series::create_at_zero;

/// What `/metrics` serves. Cheap to clone.
#[derive(Clone)]
pub struct MetricsHandle {
    recorder: PrometheusHandle,
}

impl std::fmt::Debug for MetricsHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MetricsHandle")
    }
}

impl MetricsHandle {
    /// The content type of [`MetricsHandle::render`].
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Everything that was counted, in Prometheus' text format.
    pub fn render(&self) -> String {
        self.recorder.render()
    }

    /// Sorts what the histograms have gathered into their buckets. Rendering does it too; where nobody scrapes, what is gathered grows without a
    /// bound, so the process calls this every few seconds.
    pub fn run_upkeep(&self) {
        self.recorder.run_upkeep();
    }
}

/// Installs the recorder for this process and makes the catalogue known to it. Calling it again answers the same handle, so that many tests of
/// one process can. Where something else was installed before, that keeps counting and this handle renders nothing, which is logged.
pub fn install_metrics() -> MetricsHandle {
    static INSTALLED: OnceLock<MetricsHandle> = OnceLock::new();
    INSTALLED
        .get_or_init(|| {
            let recorder = recorder();
            let handle = MetricsHandle { recorder: recorder.handle() };
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::error!("another metrics recorder was installed first: /metrics will be empty");
            }
            describe();
            handle
        })
        .clone()
}

/// Tells the installed recorder help and unit of every metric of the catalogue.
pub fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram(_) => metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

/// A recorder that knows every histogram's buckets.
fn recorder() -> PrometheusRecorder {
    let mut builder = PrometheusBuilder::new();
    for metric in METRICS {
        if let Kind::Histogram(buckets) = metric.kind {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
                .expect("it only refuses an empty list, and the catalogue's are constants of which a test sees that none is");
        }
    }
    builder.build_recorder()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is rendered when every histogram of the catalogue was recorded once.
    fn rendered() -> String {
        let recorder = recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            for metric in METRICS {
                if let Kind::Histogram(_) = metric.kind {
                    metrics::histogram!(metric.name).record(0.3);
                }
            }
            metrics::histogram!("breakwater_not_in_the_catalogue_seconds").record(0.3);
        });
        handle.render()
    }

    #[test]
    fn no_histogram_becomes_a_summary() {
        let text = rendered();
        for metric in METRICS {
            if let Kind::Histogram(_) = metric.kind {
                assert!(text.contains(&format!("{}_bucket{{le=\"+Inf\"}} 1", metric.name)), "{} has no buckets in\n{text}", metric.name);
                assert!(!text.contains(&format!("{}{{quantile=", metric.name)), "{} is a summary", metric.name);
            }
        }
        let stranger = "breakwater_not_in_the_catalogue_seconds{quantile=";
        assert!(text.contains(stranger), "one that is not in the catalogue would be one, so this test can fail");
    }

    #[test]
    fn every_metric_has_help_when_it_is_rendered() {
        let text = rendered();
        for metric in METRICS {
            if let Kind::Histogram(_) = metric.kind {
                assert!(text.contains(&format!("# HELP {} ", metric.name)), "{}", metric.name);
            }
        }
    }

    #[test]
    fn installing_twice_answers_the_same_recorder() {
        let (first, second) = (install_metrics(), install_metrics());
        metrics::counter!("breakwater_refunds_total", "channel" => "twice", "status" => "failed").increment(3);
        let line = "breakwater_refunds_total{channel=\"twice\",status=\"failed\"} 3";
        assert!(first.render().contains(line));
        assert!(second.render().contains(line));
    }
}

//! Every metric of this crate. A figure that is not here is not counted: `tests/tidy.rs` reads the sources and says which.

use metrics::Unit;

/// How a metric counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only up.
    Counter,
    /// Up and down.
    Gauge,
    /// A distribution over these upper bounds.
    Histogram(&'static [f64]),
}

/// One metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name, with prefix and base unit.
    pub name: &'static str,
    /// How it counts.
    pub kind: Kind,
    /// What one of it is.
    pub unit: Unit,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, in a sentence.
    pub help: &'static str,
}

/// Our own answers, from a tenth of a millisecond to beyond the longest wait.
const ANSWER_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0];
/// A third party's answers, up to the longest timeout that the settings allow.
const CHANNEL_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 15.0, 30.0, 60.0, 120.0];
/// What we add to a payment: interesting below a tenth of a second.
const OVERHEAD_SECONDS: &[f64] = &[0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// From the request to the end, which a customer may take a quarter of an hour for.
const COMPLETION_SECONDS: &[f64] = &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 86_400.0];
/// How long something stayed unknown: the rungs of the poller's ladder, and then days.
const UNKNOWN_SECONDS: &[f64] = &[0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0, 604_800.0];
/// A commit on a good disk takes about a millisecond, on a bad day seconds.
const COMMIT_SECONDS: &[f64] = &[0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// From an event to its delivery: rounds of a quarter of a second, then the schedule of repetitions, up to its end after three days.
const DELIVERY_SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0, 36_000.0, 86_400.0, 259_200.0];
/// From the decision to send to the other side's yes: a second on a good day, retries over minutes and hours on a bad one.
const ALERT_SECONDS: &[f64] = &[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0];
/// Commands that share a commit.
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, unit: Unit::Count, labels, help }
}

const fn gauge(name: &'static str, unit: Unit, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit, labels, help }
}

const fn seconds(name: &'static str, buckets: &'static [f64], labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram(buckets), unit: Unit::Seconds, labels, help }
}

/// The catalogue. Times are in seconds; `operation` is a verb for calls, a class (pay, resolve, refund) for breakers, and an attempt's operation
/// for unknown outcomes.
pub const METRICS: &[Metric] = &[
    counter("breakwater_http_requests_total", &["route", "method", "code"], "Requests that were answered, by route template."),
    seconds("breakwater_http_request_duration_seconds", ANSWER_SECONDS, &["route"], "From a request's head to its answer."),
    gauge("breakwater_http_requests_in_flight", Unit::Count, &[], "Requests that are not answered yet."),
    counter(
        "breakwater_rate_limited_total",
        &["limit"],
        "What was answered 429: reads or writes of a merchant, notifications of a channel, keys or signatures of an address that fails too often.",
    ),
    gauge(
        "breakwater_tls_certificate_end_timestamp_seconds",
        Unit::Seconds,
        &["listener"],
        "When the certificate that a listener shows ends, in Unix time; 0 without one.",
    ),
    gauge(
        "breakwater_channel_certificate_end_timestamp_seconds",
        Unit::Seconds,
        &["channel", "field"],
        "When a certificate of a channel's account ends, ours or its authority's, in Unix time; 0 without one.",
    ),
    counter("breakwater_idempotency_requests_total", &["result"], "Requests with an idempotency key: new, replayed, in_flight or reused."),
    counter("breakwater_channel_attempts_total", &["channel", "operation", "outcome"], "Calls to a channel, by what was known after each."),
    seconds(
        "breakwater_channel_request_duration_seconds",
        CHANNEL_SECONDS,
        &["channel", "operation"],
        "From a call's first byte to its whole answer.",
    ),
    gauge("breakwater_channel_in_flight", Unit::Count, &["channel"], "Calls to a channel that are under way."),
    gauge("breakwater_socket_up", Unit::Count, &["channel"], "A bank's sockets that are up: somebody has answered on each."),
    counter("breakwater_socket_strays_total", &["channel"], "Messages from a bank that nobody waited for: late answers, as a rule."),
    gauge(
        "breakwater_channel_concurrency_limit",
        Unit::Count,
        &["channel"],
        "Calls that may be under way at a channel: it adapts to how the channel answers.",
    ),
    counter(
        "breakwater_guard_rejections_total",
        &["channel", "operation", "reason"],
        "Calls that a guard turned away: by its breaker, for want of room, over the contract's rate, or as one repeat too many.",
    ),
    gauge("breakwater_breaker_state", Unit::Count, &["channel", "operation", "state"], "1 for the state that a breaker is in, 0 for the others."),
    counter("breakwater_breaker_transitions_total", &["channel", "operation", "from", "to", "reason"], "Changes of a breaker's state."),
    counter("breakwater_breaker_late_results_total", &["channel"], "Results that came after their call had been given up, and were not counted."),
    gauge("breakwater_channel_override", Unit::Count, &["channel", "mode"], "1 while an operator's override of that mode holds at the channel."),
    gauge(
        "breakwater_channel_override_expiry_timestamp_seconds",
        Unit::Seconds,
        &["channel"],
        "When the first of the channel's overrides that hold ends, in Unix time; 0 when none holds.",
    ),
    counter("breakwater_routing_decisions_total", &["channel", "reason"], "Why a channel was taken for a payment, or not."),
    counter("breakwater_payments_total", &["status"], "Payments, counted once when they become final."),
    seconds("breakwater_payment_completion_seconds", COMPLETION_SECONDS, &[], "From a payment's request to its end."),
    seconds("breakwater_payment_overhead_seconds", OVERHEAD_SECONDS, &[], "The part of a payment's request that was ours and not a channel's."),
    gauge("breakwater_unknown_outcomes", Unit::Count, &["channel", "operation"], "Attempts of which it is not known whether money moved."),
    gauge(
        "breakwater_unknown_outcome_amount_minor",
        Unit::Count,
        &["channel", "operation", "currency"],
        "Money at risk: what the attempts are about of which it is not known whether money moved, in the currency's minor units.",
    ),
    gauge("breakwater_unknown_outcome_oldest_age_seconds", Unit::Seconds, &[], "Age of the oldest unknown outcome; 0 when there is none."),
    seconds(
        "breakwater_unknown_outcome_resolution_seconds",
        UNKNOWN_SECONDS,
        &["resolved_by"],
        "How long an outcome stayed unknown, by who brought the news.",
    ),
    gauge("breakwater_poller_backlog", Unit::Count, &["kind"], "Attempts that are due and not taken."),
    gauge("breakwater_poller_set_aside", Unit::Count, &[], "Attempts that nobody looks at any more, because looking failed by faults of ours."),
    gauge("breakwater_poller_oldest_due_age_seconds", Unit::Seconds, &["kind"], "How long the longest due attempt has waited; 0 when none is due."),
    counter("breakwater_poller_polls_total", &["channel", "result"], "Looks at open attempts, by what came of each."),
    gauge(
        "breakwater_notifier_last_success_timestamp_seconds",
        Unit::Seconds,
        &[],
        "When a round of the notifier last succeeded, in Unix time; 0 before the first.",
    ),
    gauge("breakwater_poller_last_success_timestamp_seconds", Unit::Seconds, &[], "When a sweep last succeeded, in Unix time; 0 before the first."),
    counter("breakwater_refunds_total", &["channel", "status"], "Refunds, counted when they reach a status."),
    counter("breakwater_notifications_total", &["channel", "result"], "Messages from providers, by what became of each."),
    counter("breakwater_external_events_total", &["channel", "kind"], "Refunds and disputes that happened at a channel without us, booked."),
    counter("breakwater_webhook_deliveries_total", &["outcome"], "Tries to tell merchants something, by what each came to."),
    seconds(
        "breakwater_webhook_delivery_lag_seconds",
        DELIVERY_SECONDS,
        &[],
        "From an event, or a merchant's wish to hear it again, to the endpoint's 2xx.",
    ),
    gauge("breakwater_webhook_queue_depth", Unit::Count, &[], "Webhooks that wait for endpoints that are turned on."),
    gauge("breakwater_webhook_oldest_undelivered_age_seconds", Unit::Seconds, &[], "How long the oldest of them has waited; 0 when none waits."),
    gauge("breakwater_db_pool_connections", Unit::Count, &["pool", "state"], "Connections in use and idle, and tasks that wait for one."),
    gauge("breakwater_db_replica_lag_seconds", Unit::Seconds, &[], "How old what the replica shows may be; 0 without a replica."),
    counter("breakwater_db_list_reads_total", &["source"], "Lists read from the replica, or from the primary: none is there, it lags, or it failed."),
    Metric {
        name: "breakwater_journal_batch_size",
        kind: Kind::Histogram(BATCH),
        unit: Unit::Count,
        labels: &["lane"],
        help: "Commands that went to disk in one commit.",
    },
    seconds("breakwater_journal_commit_seconds", COMMIT_SECONDS, &["lane"], "How long one commit of the journal took."),
    gauge("breakwater_journal_queue_depth", Unit::Count, &["lane"], "Commands that wait for the journal."),
    gauge("breakwater_actor_mailbox_depth", Unit::Count, &["actor"], "Messages that wait for an actor."),
    counter(
        "breakwater_actor_restarts_total",
        &["actor", "cause"],
        "Times that an actor was replaced, or a loop begun again, because it panicked or was frozen.",
    ),
    gauge("breakwater_flows_in_flight", Unit::Count, &["flow"], "Flows under way: payment, refund or inquiry."),
    counter("breakwater_alerts_sent_total", &["transport", "result"], "Tries to send about an alert: sent, retried or failed."),
    seconds("breakwater_alert_delivery_seconds", ALERT_SECONDS, &["transport"], "From the decision to send to the other side's yes."),
    counter("breakwater_alerts_suppressed_total", &["reason"], "Alerts that got no message of their own, by why."),
    gauge("breakwater_build_info", Unit::Count, &["version", "revision"], "Always 1; what is running is in the labels."),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_prefixed_and_end_as_their_kind_and_unit_do() {
        let mut seen = HashSet::new();
        for metric in METRICS {
            let name = metric.name;
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("breakwater_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert_eq!(name.ends_with("_seconds"), metric.unit == Unit::Seconds, "{name}");
            assert!(metric.help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn buckets_rise_and_none_is_empty() {
        for metric in METRICS {
            if let Kind::Histogram(buckets) = metric.kind {
                assert!(!buckets.is_empty(), "{}", metric.name);
                assert!(buckets.windows(2).all(|pair| pair[0] < pair[1]), "{}: {buckets:?}", metric.name);
            }
        }
    }
}

//! Every series whose labels are known in advance, created at 0: a rate over a counter that first appears at 1 never shows that 1, and an
//! alert on a gauge that is absent never fires.

use metrics::{counter, gauge, histogram};

use crate::channel::breaker::{Mode, Reason, State};
use crate::domain::route::Misfit;
use crate::domain::{Currency, Fact, Operation, OperationClass, PaymentStatus, RefundStatus, Source};
use crate::lasting::Loss;
use crate::provider::Verb;

/// How an idempotency key fared: the first use, a repeat of it, a repeat while the first is still carried, another request under it.
const IDEMPOTENCY_RESULTS: [&str; 4] = ["new", "replayed", "in_flight", "reused"];

/// Why a channel was or was not taken, beside the [`Misfit`]s: taken; it cannot express the payment; it is being rebuilt; its breaker's state; it
/// is full; its contract's rate is used up.
const ROUTING_REASONS: [&str; 8] = ["chosen", "not_expressible", "no_actor", "open", "half_open", "forced_open", "in_flight", "over_rate"];

/// Who turned a call away: `channel/observe.rs`.
const REJECTED_BY: [&str; 4] = ["breaker", "in_flight", "over_rate", "retry_budget"];

/// What became of a look at a due attempt, from `router/resolve.rs`.
const POLL_RESULTS: [&str; 12] = [
    "changed",
    "unchanged",
    "not_found",
    "followed_up",
    "nothing",
    "contradiction",
    "key_expired",
    "not_its_turn",
    "shut",
    "taken",
    "gone",
    "failed",
];

/// What became of a provider's message: the states of the inbox, a repeat, one that was not believed, one that fails by a fault of ours.
const NOTIFICATION_RESULTS: [&str; 6] = ["applied", "ignored", "quarantined", "repeated", "refused", "set_aside"];

/// What a try to deliver a webhook came to: `notifier/courier.rs`.
const WEBHOOK_OUTCOMES: [&str; 9] =
    ["delivered", "answered_error", "redirected", "gone", "timed_out", "unreachable", "address_refused", "unsigned", "given_up"];

/// What is limited: `http/limit.rs`.
const LIMITS: [&str; 5] = ["reads", "writes", "notifications", "keys", "signatures"];
/// The tables of the settings that name a listener's certificate.
const TLS_LISTENERS: [&str; 2] = ["server.tls", "server.operations_tls"];

/// The fields of a channel's account that hold certificates.
const CERTIFICATE_FIELDS: [&str; 2] = ["certificate", "authority"];

const POOLS: [&str; 6] = ["journal", "payments", "refunds", "poller", "reads", "replica"];
const POOL_STATES: [&str; 3] = ["in_use", "idle", "waiting"];
const LANES: [&str; 2] = ["intent", "change"];
const ACTORS: [&str; 6] = ["router", "poller", "notifier", "alerter", "journal_intent", "journal_change"];
/// Loops that are begun again when they panic, beside those of each channel.
const LOOPS: [&str; 10] = [
    "database_asker",
    "overrides_reader",
    "overrides_switcher",
    "watch",
    "watchdog",
    "observer",
    "prober",
    "certificates",
    "replica_lookout",
    "primary_lookout",
];
const ALERT_TRANSPORTS: [&str; 2] = ["email", "sms"];
const ALERT_RESULTS: [&str; 3] = ["sent", "retried", "failed"];
/// Why an alert got no message of its own: it was told in a digest; it was over before anybody was told; nobody is to be told; too many at once.
const ALERT_SUPPRESSED: [&str; 4] = ["storm", "brief", "no_recipient", "full"];
const FLOWS: [&str; 4] = ["payment", "refund", "inquiry", "notification"];

/// Each breaker's state, and the changes that it makes by itself; those by an operator appear with the first.
const STATES: [State; 5] = [State::Closed, State::Open, State::HalfOpen, State::ForcedOpen, State::ForcedClosed];
const TRANSITIONS: [(State, State, Reason); 9] = [
    (State::Closed, State::Open, Reason::Consecutive),
    (State::Closed, State::Open, Reason::Failures),
    (State::Closed, State::Open, Reason::SlowCalls),
    (State::Open, State::HalfOpen, Reason::Waited),
    (State::Open, State::HalfOpen, Reason::WaitedWithoutQuery),
    (State::HalfOpen, State::Closed, Reason::ProbesSucceeded),
    (State::HalfOpen, State::Open, Reason::ProbeFailed),
    (State::HalfOpen, State::Open, Reason::ProbesSlow),
    (State::HalfOpen, State::Open, Reason::ProbeLost),
];

/// Creates them, for these channels and the currencies that each is set to take: of one that takes any, a currency's series appears with the first
/// amount. Call it once the recorder is installed. The series of `http_requests_total` and its durations are made by
/// whoever has the routes; they are the only ones missing here.
pub fn create_at_zero(channels: &[(&str, &[Currency])]) {
    zero_of_process();
    for (channel, currencies) in channels {
        zero_of_channel(channel, currencies);
    }
    let revision = option_env!("BREAKWATER_REVISION").unwrap_or("unknown");
    gauge!("breakwater_build_info", "version" => env!("CARGO_PKG_VERSION"), "revision" => revision).set(1.0);
}

fn zero_of_process() {
    gauge!("breakwater_http_requests_in_flight").increment(0.0);
    for result in IDEMPOTENCY_RESULTS {
        counter!("breakwater_idempotency_requests_total", "result" => result).increment(0);
    }
    for limit in LIMITS {
        counter!("breakwater_rate_limited_total", "limit" => limit).increment(0);
    }
    for listener in TLS_LISTENERS {
        gauge!("breakwater_tls_certificate_end_timestamp_seconds", "listener" => listener).increment(0.0);
    }
    for status in PaymentStatus::ALL.iter().filter(|status| status.is_final()) {
        counter!("breakwater_payments_total", "status" => status.as_str()).increment(0);
    }
    let _ = histogram!("breakwater_payment_completion_seconds");
    let _ = histogram!("breakwater_payment_overhead_seconds");
    gauge!("breakwater_unknown_outcome_oldest_age_seconds").increment(0.0);
    for source in [Source::Reply, Source::Query, Source::Notification, Source::Lease, Source::Merchant, Source::Operator] {
        let _ = histogram!("breakwater_unknown_outcome_resolution_seconds", "resolved_by" => source.as_str());
    }
    gauge!("breakwater_poller_backlog", "kind" => "due").increment(0.0);
    gauge!("breakwater_poller_set_aside").increment(0.0);
    gauge!("breakwater_poller_oldest_due_age_seconds", "kind" => "due").increment(0.0);
    gauge!("breakwater_poller_last_success_timestamp_seconds").increment(0.0);
    gauge!("breakwater_notifier_last_success_timestamp_seconds").increment(0.0);
    for outcome in WEBHOOK_OUTCOMES {
        counter!("breakwater_webhook_deliveries_total", "outcome" => outcome).increment(0);
    }
    let _ = histogram!("breakwater_webhook_delivery_lag_seconds");
    gauge!("breakwater_webhook_queue_depth").increment(0.0);
    gauge!("breakwater_webhook_oldest_undelivered_age_seconds").increment(0.0);
    for pool in POOLS {
        for state in POOL_STATES {
            gauge!("breakwater_db_pool_connections", "pool" => pool, "state" => state).increment(0.0);
        }
    }
    gauge!("breakwater_db_replica_lag_seconds").increment(0.0);
    for source in ["replica", "primary"] {
        counter!("breakwater_db_list_reads_total", "source" => source).increment(0);
    }
    for lane in LANES {
        let _ = histogram!("breakwater_journal_batch_size", "lane" => lane);
        let _ = histogram!("breakwater_journal_commit_seconds", "lane" => lane);
        gauge!("breakwater_journal_queue_depth", "lane" => lane).increment(0.0);
    }
    for actor in ACTORS {
        zero_of_actor(actor.to_owned());
    }
    for name in LOOPS {
        zero_of_losses(name);
    }
    for transport in ALERT_TRANSPORTS {
        for result in ALERT_RESULTS {
            counter!("breakwater_alerts_sent_total", "transport" => transport, "result" => result).increment(0);
        }
        let _ = histogram!("breakwater_alert_delivery_seconds", "transport" => transport);
    }
    for reason in ALERT_SUPPRESSED {
        counter!("breakwater_alerts_suppressed_total", "reason" => reason).increment(0);
    }
    for flow in FLOWS {
        gauge!("breakwater_flows_in_flight", "flow" => flow).increment(0.0);
    }
}

fn zero_of_channel(channel: &str, currencies: &[Currency]) {
    let channel = || channel.to_owned();
    for verb in Verb::ALL {
        for outcome in Fact::ALL.map(Fact::as_str) {
            counter!("breakwater_channel_attempts_total", "channel" => channel(), "operation" => verb.as_str(), "outcome" => outcome).increment(0);
        }
        let _ = histogram!("breakwater_channel_request_duration_seconds", "channel" => channel(), "operation" => verb.as_str());
    }
    for field in CERTIFICATE_FIELDS {
        gauge!("breakwater_channel_certificate_end_timestamp_seconds", "channel" => channel(), "field" => field).increment(0.0);
    }
    gauge!("breakwater_channel_in_flight", "channel" => channel()).increment(0.0);
    gauge!("breakwater_channel_concurrency_limit", "channel" => channel()).increment(0.0);
    gauge!("breakwater_socket_up", "channel" => channel()).increment(0.0);
    counter!("breakwater_socket_strays_total", "channel" => channel()).increment(0);
    counter!("breakwater_breaker_late_results_total", "channel" => channel()).increment(0);
    for mode in Mode::ALL {
        gauge!("breakwater_channel_override", "channel" => channel(), "mode" => mode.as_str()).increment(0.0);
    }
    gauge!("breakwater_channel_override_expiry_timestamp_seconds", "channel" => channel()).increment(0.0);
    for class in OperationClass::ALL.map(OperationClass::as_str) {
        for reason in REJECTED_BY {
            counter!("breakwater_guard_rejections_total", "channel" => channel(), "operation" => class, "reason" => reason).increment(0);
        }
        for state in STATES {
            gauge!("breakwater_breaker_state", "channel" => channel(), "operation" => class, "state" => state.as_str()).increment(0.0);
        }
        for (from, to, reason) in TRANSITIONS {
            counter!(
                "breakwater_breaker_transitions_total",
                "channel" => channel(), "operation" => class, "from" => from.as_str(), "to" => to.as_str(), "reason" => reason.as_str()
            )
            .increment(0);
        }
        // What an operator's first override would do to a breaker that is closed.
        for mode in Mode::ALL {
            let to = if mode == Mode::ForcedClosed { State::ForcedClosed } else { State::ForcedOpen };
            let reason = Reason::Override(mode).as_str();
            counter!(
                "breakwater_breaker_transitions_total",
                "channel" => channel(), "operation" => class, "from" => State::Closed.as_str(), "to" => to.as_str(), "reason" => reason
            )
            .increment(0);
        }
    }
    let misfits =
        [Misfit::Owner, Misfit::Mode, Misfit::Method, Misfit::Wallet, Misfit::Currency, Misfit::NotChosen, Misfit::Account].map(Misfit::as_str);
    for reason in ROUTING_REASONS.into_iter().chain(misfits) {
        counter!("breakwater_routing_decisions_total", "channel" => channel(), "reason" => reason).increment(0);
    }
    for operation in Operation::ALL {
        let operation = operation.as_str();
        gauge!("breakwater_unknown_outcomes", "channel" => channel(), "operation" => operation).increment(0.0);
        for currency in currencies {
            gauge!("breakwater_unknown_outcome_amount_minor", "channel" => channel(), "operation" => operation, "currency" => currency.code())
                .increment(0.0);
        }
    }
    for result in POLL_RESULTS {
        counter!("breakwater_poller_polls_total", "channel" => channel(), "result" => result).increment(0);
    }
    for status in RefundStatus::ALL {
        counter!("breakwater_refunds_total", "channel" => channel(), "status" => status.as_str()).increment(0);
    }
    for result in NOTIFICATION_RESULTS {
        counter!("breakwater_notifications_total", "channel" => channel(), "result" => result).increment(0);
    }
    for kind in ["refund", "dispute_opened", "dispute_closed"] {
        counter!("breakwater_external_events_total", "channel" => channel(), "kind" => kind).increment(0);
    }
    zero_of_actor(format!("channel_{}", channel()));
    for name in ["supervisor", "guard", "inbox", "inbox_closings"] {
        zero_of_losses(&format!("{name}_{}", channel()));
    }
}

fn zero_of_actor(actor: String) {
    zero_of_losses(&actor);
    gauge!("breakwater_actor_mailbox_depth", "actor" => actor).increment(0.0);
}

fn zero_of_losses(name: &str) {
    for loss in Loss::ALL {
        counter!("breakwater_actor_restarts_total", "actor" => name.to_owned(), "cause" => loss.as_str()).increment(0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{METRICS, describe, recorder};
    use super::*;

    fn rendered(channels: &[(&str, &[Currency])]) -> String {
        let recorder = recorder();
        metrics::with_local_recorder(&recorder, || {
            describe();
            create_at_zero(channels);
        });
        recorder.handle().render()
    }

    #[test]
    fn every_metric_but_those_of_the_routes_exists_before_anything_happened() {
        let text = rendered(&[("stripe_main", &[Currency::USD])]);
        for metric in METRICS.iter().filter(|metric| !metric.labels.contains(&"route")) {
            let series = format!("\n{}", metric.name);
            assert!(text.contains(&series), "{} has no series", metric.name);
            assert!(text.contains(&format!("# HELP {} ", metric.name)), "{} has no help", metric.name);
        }
    }

    #[test]
    fn series_start_at_zero_and_leave_alone_what_was_counted_before() {
        let recorder = recorder();
        metrics::with_local_recorder(&recorder, || {
            counter!("breakwater_payments_total", "status" => "succeeded").increment(7);
            gauge!("breakwater_channel_concurrency_limit", "channel" => "a").set(9.0);
            create_at_zero(&[("a", &[])]);
        });
        let text = recorder.handle().render();
        assert!(text.contains("breakwater_payments_total{status=\"succeeded\"} 7"), "{text}");
        assert!(text.contains("breakwater_payments_total{status=\"failed\"} 0"), "{text}");
        assert!(text.contains("breakwater_channel_concurrency_limit{channel=\"a\"} 9"), "{text}");
    }

    #[test]
    fn each_channel_has_its_own_series_and_nothing_has_any_without_channels() {
        let text = rendered(&[("a", &[]), ("b", &[Currency::USD])]);
        for channel in ["a", "b"] {
            assert!(text.contains(&format!("breakwater_channel_in_flight{{channel=\"{channel}\"}} 0")), "{text}");
        }
        let at_risk =
            |channel: &str| format!("breakwater_unknown_outcome_amount_minor{{channel=\"{channel}\",operation=\"pay\",currency=\"USD\"}} 0");
        assert!(text.contains(&at_risk("b")) && !text.contains(&at_risk("a")), "{text}");
        assert!(!rendered(&[]).contains("channel=\""));
    }
}

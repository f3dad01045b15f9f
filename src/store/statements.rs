//! Every statement of this crate, in one list: a test (and `breakwater doctor`) prepares each on the migrated schema, so that a statement
//! that no longer fits is found before a payment meets it.

use super::{account, alert, guard, inbox, integrity, journal, lease, notification, payment};

/// Whether a relation of that name exists.
pub(super) const PARTITION_EXISTS: &str = "SELECT to_regclass($1::text) IS NOT NULL";

/// That the database answers, and whether it takes writes.
pub(super) const ALIVE: &str = "SELECT NOT pg_is_in_recovery()";

/// What the server allows, and how many connections it keeps for itself.
pub(super) const MAX_CONNECTIONS: &str = "SELECT current_setting('max_connections')::int4 - current_setting('superuser_reserved_connections')::int4";

/// Each statement with the name that a report gives it.
pub const ALL: &[(&str, &str)] = &[
    ("partition_exists", PARTITION_EXISTS),
    ("alive", ALIVE),
    ("max_connections", MAX_CONNECTIONS),
    ("journal_intent", journal::INTENT),
    ("journal_change", journal::CHANGE),
    ("journal_event_written", journal::EVENT_WRITTEN),
    ("payment_row", payment::PAYMENT),
    ("payment_attempts", payment::ATTEMPTS),
    ("payment_refunds", payment::REFUNDS),
    ("payment_events", payment::EVENTS),
    ("payment_list", payment::LIST),
    ("payment_unknown_summary", payment::UNKNOWN_SUMMARY),
    ("refund_list", payment::REFUND_LIST),
    ("attempt_of_key", payment::ATTEMPT_OF_KEY),
    ("lease_claim", lease::CLAIM),
    ("lease_renew", lease::RENEW),
    ("lease_postpone", lease::POSTPONE),
    ("lease_backlog", lease::BACKLOG),
    ("lease_hasten", lease::HASTEN),
    ("lease_hasten_one", lease::HASTEN_ONE),
    ("guard_key", guard::KEY),
    ("guard_order", guard::ORDER),
    ("guard_refund", guard::REFUND),
    ("guard_refund_of_id", guard::REFUND_OF_ID),
    ("guard_prune", guard::PRUNE),
    ("account_key", account::KEY),
    ("account_operator", account::OPERATOR),
    ("account_add_merchant", account::ADD_MERCHANT),
    ("account_add_key", account::ADD_KEY),
    ("account_add_operator", account::ADD_OPERATOR),
    ("account_installation", account::INSTALLATION),
    ("account_fingerprint_secret", account::FINGERPRINT_SECRET),
    ("inbox_store", inbox::STORE),
    ("inbox_close", inbox::CLOSE),
    ("notification_waiting", notification::WAITING),
    ("integrity_sums", integrity::SUMS),
    ("integrity_attempts", integrity::ATTEMPTS),
    ("integrity_orders", integrity::ORDERS),
    ("integrity_sequences", integrity::SEQUENCES),
    ("alert_note", alert::NOTE),
    ("alert_duty", alert::DUTY),
    ("alert_unfinished", alert::UNFINISHED),
    ("alert_lately", alert::LATELY),
    ("alert_end", alert::END),
    ("alert_close", alert::CLOSE),
    ("alert_mailed", alert::MAILED),
    ("alert_texted", alert::TEXTED),
    ("alert_queue", alert::QUEUE),
    ("alert_claim", alert::CLAIM),
    ("alert_settle", alert::SETTLE),
    ("alert_acknowledge", alert::ACKNOWLEDGE),
    ("alert_newest", alert::NEWEST),
    ("alert_deliveries", alert::DELIVERIES),
];

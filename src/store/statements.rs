//! Every statement of this crate, in one list: a test (and `breakwater doctor`) prepares each on the migrated schema, so that a statement
//! that no longer fits is found before a payment meets it.

use super::webhook::{self, delivery, endpoint};
use super::{account, administration, diagnosis, guard, inbox, integrity, journal, lease, notification, payment, schema};

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
    ("administration_merchant_add", administration::MERCHANT_ADD),
    ("administration_merchants", administration::MERCHANTS),
    ("administration_key_add", administration::KEY_ADD),
    ("administration_keys", administration::KEYS),
    ("administration_key_revoke", administration::KEY_REVOKE),
    ("administration_key_rotate", administration::KEY_ROTATE),
    ("administration_operator_add", administration::OPERATOR_ADD),
    ("administration_operators", administration::OPERATORS),
    ("administration_operator_revoke", administration::OPERATOR_REVOKE),
    ("administration_operator_rotate", administration::OPERATOR_ROTATE),
    ("administration_operator_exists", administration::OPERATOR_EXISTS),
    ("schema_applied", schema::APPLIED),
    ("diagnosis_server", diagnosis::SERVER),
    ("inbox_store", inbox::STORE),
    ("inbox_close", inbox::CLOSE),
    ("notification_quarantine", notification::QUARANTINE),
    ("notification_waiting", notification::WAITING),
    ("integrity_sums", integrity::SUMS),
    ("integrity_attempts", integrity::ATTEMPTS),
    ("integrity_orders", integrity::ORDERS),
    ("integrity_sequences", integrity::SEQUENCES),
    ("webhook_cursor", webhook::CURSOR),
    ("webhook_fan_out", webhook::FAN_OUT),
    ("webhook_advance", webhook::ADVANCE),
    ("webhook_event_of", webhook::EVENT_OF),
    ("webhook_event_list", webhook::EVENT_LIST),
    ("webhook_event_at", webhook::EVENT_AT),
    ("webhook_endpoint_add", endpoint::ADD),
    ("webhook_endpoint_read", endpoint::READ),
    ("webhook_endpoint_list", endpoint::LIST),
    ("webhook_endpoint_change", endpoint::CHANGE),
    ("webhook_endpoint_delete", endpoint::DELETE),
    ("webhook_endpoint_rotate", endpoint::ROTATE),
    ("webhook_endpoint_succeeded", endpoint::SUCCEEDED),
    ("webhook_endpoint_failed", endpoint::FAILED),
    ("webhook_endpoint_gone", endpoint::GONE),
    ("webhook_delivery_claim", delivery::CLAIM),
    ("webhook_delivery_settle", delivery::SETTLE),
    ("webhook_delivery_expire", delivery::EXPIRE),
    ("webhook_delivery_queue", delivery::QUEUE),
    ("webhook_delivery_log", delivery::LOG),
    ("webhook_delivery_redeliver", delivery::REDELIVER),
    ("webhook_delivery_replay", delivery::REPLAY),
];

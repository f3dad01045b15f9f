//! What a merchant may be told about: the closed list of event types that webhooks carry and `/v1/events` shows.
//!
//! The timeline of a payment has more: each step of each attempt, and bookkeeping of our own. Those may change with any version; these are a
//! contract, so a type is never renamed and never leaves the list.

/// Every type, as in `api.md`.
pub const TOPICS: &[&str] = &[
    "payment.succeeded",
    "payment.failed",
    "payment.requires_action",
    "payment.requires_capture",
    "payment.captured",
    "payment.partially_captured",
    "payment.canceled",
    "payment.expired",
    "payment.outcome_unknown",
    "payment.outcome_resolved",
    "payment.late_success_reversed",
    "refund.created",
    "refund.succeeded",
    "refund.failed",
    "refund.returned",
    "refund.outcome_unknown",
    "dispute.created",
    "dispute.closed",
];

/// The type of that name, if merchants may be told about it.
pub fn topic(name: &str) -> Option<&'static str> {
    TOPICS.iter().find(|topic| **topic == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_an_attempt_are_nobodys_webhook() {
        assert_eq!(topic("payment.succeeded"), Some("payment.succeeded"));
        for inner in ["attempt.succeeded", "payment.created", "payment.updated", "payment.cancel_requested", ""] {
            assert_eq!(topic(inner), None, "{inner}");
        }
    }
}

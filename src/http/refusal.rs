//! What a flow refuses, as a problem: one `match` over [`FlowError`], the only place where money's errors meet HTTP's numbers.

use std::time::Duration;

use super::body::quoted;
use super::problem::{Problem, ProblemCode as Code};
use crate::notifier::desk::{DeskError, ENDPOINTS_MAX};
use crate::router::FlowError;
use crate::store::{JournalError, StoreError};

/// When to ask again where a person must mend the settings first.
const CHANNEL_IS_BACK: Duration = Duration::from_secs(60);

/// What the request said, for the sentence that answers it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// The merchant's key.
    pub key: &'a str,
    /// The amount, in minor units, where the request has one.
    pub amount: Option<i64>,
}

/// The problem that tells a client what a flow refused.
pub fn problem(error: &FlowError, asked: Asked<'_>) -> Problem {
    match error {
        FlowError::NotFound(what) => Problem::new(Code::NotFound, format!("There is no such {what}.")),
        FlowError::NoChannel(why) => Problem::new(Code::NoChannel, format!("No channel of this installation can take this payment: {why}.")),
        FlowError::NotCarried(failure) => Problem::new(Code::ChannelCannotCarry, failure.message.clone()),
        FlowError::EveryChannelShut { retry_after, .. } => {
            Problem::new(Code::EveryChannelShut, "Every channel that could take this is shut. Nothing was written: key and order are free.")
                .retry_after(*retry_after)
        }
        FlowError::KeyReused { existing, amount } => match asked.amount.filter(|asked| asked != amount) {
            Some(other) => Problem::new(
                Code::IdempotencyKeyReused,
                format!("Key {} created {existing} with amount {amount}; this request has {other}.", quoted(asked.key)),
            )
            .about("amount"),
            None => Problem::new(Code::IdempotencyKeyReused, format!("Key {} stands for another request, about {existing}.", quoted(asked.key)))
                .about("Idempotency-Key"),
        }
        .existing(existing),
        FlowError::InFlight { existing } => Problem::new(
            Code::IdempotencyKeyInFlight,
            format!("The first request with this key is still in flight, as {existing}. Ask again with the same key."),
        )
        .about("Idempotency-Key")
        .existing(existing)
        .retry_after(Duration::from_secs(1)),
        FlowError::DuplicateOrder { existing } => {
            Problem::new(Code::DuplicateOrder, format!("The order is held by {existing}. It may be paid again only once that has ended unpaid."))
                .about("merchant_order_id")
                .existing(existing)
        }
        FlowError::DuplicateRefund { existing } => Problem::new(Code::DuplicateRefund, format!("This merchant_refund_id stands for {existing}."))
            .about("merchant_refund_id")
            .existing(existing),
        FlowError::WrongState { status, verb } => Problem::new(Code::WrongState, format!("A payment that is {status} cannot be {verb}.")),
        FlowError::CaptureInProgress => {
            Problem::new(Code::CaptureInProgress, "A capture of this hold is on its way; of parallel captures exactly one is sent.")
        }
        FlowError::PaymentUnresolved => Problem::new(
            Code::PaymentUnresolved,
            "Whether there is money to give back is not known yet. Read the payment, and ask again once its outcome is known.",
        ),
        FlowError::CaptureExceedsHold { capturable } => {
            Problem::new(Code::CaptureExceedsHold, format!("{capturable} minor units are held and not yet captured; the request is for more."))
                .about("amount")
        }
        FlowError::RefundWindowClosed { days } => Problem::new(
            Code::RefundWindowClosed,
            format!("Its channel takes refunds for {days} days after the payment. Give the money back another way."),
        ),
        FlowError::TooManyRefunds { most, in_all } => Problem::new(
            Code::TooManyRefunds,
            format!(
                "At its channel a payment may have {most} refunds, and {in_all} with those that failed. Give back what is left in one sum another way."
            ),
        ),
        FlowError::RefundExceedsCaptured { refundable } => {
            Problem::new(Code::RefundExceedsCaptured, format!("{refundable} minor units can still be refunded; the request is for more."))
                .about("amount")
        }
        FlowError::ChannelNotConfigured { channel } => {
            tracing::warn!(channel, "a request needs a channel that is not in the settings: put its table back");
            Problem::new(
                Code::ChannelNotConfigured,
                format!("Its channel {channel} is not in this installation's settings: its table must be put back first. Nothing was done; a key stays free."),
            )
            .retry_after(CHANNEL_IS_BACK)
        }
        FlowError::Notification(error) => Problem::new(Code::NotificationRefused, sentence(&error.to_string())),
        FlowError::Overloaded => Problem::new(Code::Overloaded, "Too many requests are in flight. Nothing was sent."),
        FlowError::Journal(JournalError::Full | JournalError::Away) => database_away(),
        FlowError::Store(error) => store_problem(error),
        FlowError::Journal(error @ JournalError::Refused(_)) => fault(error),
        FlowError::Internal(_) => fault(error),
    }
}

/// The problem that tells a merchant why an act on their webhooks was refused.
pub fn desk_problem(error: &DeskError) -> Problem {
    match error {
        DeskError::NotFound(what) => Problem::new(Code::NotFound, format!("There is no such {what}.")),
        DeskError::Address(why) => Problem::new(Code::WebhookUrlRefused, format!("url {why}.")).about("url"),
        DeskError::TooMany => {
            Problem::new(Code::TooManyWebhookEndpoints, format!("A merchant may have {ENDPOINTS_MAX} webhook endpoints; delete one."))
        }
        DeskError::Disabled => {
            Problem::new(Code::WebhookEndpointDisabled, "The endpoint is turned off. Set enabled to true, and ask again.").about("enabled")
        }
        DeskError::Seal(_) | DeskError::Entropy(_) => fault(error),
        DeskError::Store(error) => store_problem(error),
    }
}

/// The problem that tells a client that a read failed.
pub fn store_problem(error: &StoreError) -> Problem {
    match error {
        StoreError::Away(_) | StoreError::Busy(_) | StoreError::Standby(_) => {
            tracing::warn!(%error, "the database cannot do it now");
            database_away()
        }
        StoreError::Refused { .. } | StoreError::Unreadable(_) | StoreError::Settings(_) | StoreError::Migration(_) | StoreError::Migrator(_) => {
            fault(error)
        }
    }
}

fn database_away() -> Problem {
    Problem::new(Code::DatabaseUnavailable, "The database is away. Nothing was sent: repeat the request with the same key.")
}

fn fault(error: &dyn std::error::Error) -> Problem {
    tracing::error!(error = %error, "a request failed by a fault of ours");
    Problem::internal()
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().map(|letter| letter.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::PaymentId;
    use crate::provider::NotificationError;

    fn payment() -> PaymentId {
        "pay_0190a8b4c6d2700080000000000000ff".parse().expect("an id")
    }

    #[test]
    fn a_reused_key_names_the_amount_that_differs() {
        let error = FlowError::KeyReused { existing: payment(), amount: 1250 };
        let told = problem(&error, Asked { key: "try-1", amount: Some(1300) });
        assert_eq!(told.detail(), format!("Key try-1 created {} with amount 1250; this request has 1300.", payment()));
        assert_eq!(told.param(), Some("amount"));
        let told = problem(&error, Asked { key: "try-1", amount: Some(1250) });
        assert_eq!(told.param(), Some("Idempotency-Key"));
    }

    #[test]
    fn every_refusal_has_the_status_of_the_contract() {
        let refund = "ref_0190a8b4c6d2700080000000000000ff".parse().expect("an id");
        let cases: Vec<(FlowError, u16)> = vec![
            (FlowError::NotFound("payment"), 404),
            (FlowError::NoChannel("no channel takes JPY".to_owned()), 422),
            (FlowError::EveryChannelShut { full: false, retry_after: Duration::from_secs(5) }, 503),
            (FlowError::InFlight { existing: payment() }, 409),
            (FlowError::DuplicateOrder { existing: payment() }, 409),
            (FlowError::DuplicateRefund { existing: refund }, 409),
            (FlowError::CaptureInProgress, 409),
            (FlowError::PaymentUnresolved, 409),
            (FlowError::CaptureExceedsHold { capturable: 1 }, 422),
            (FlowError::RefundExceedsCaptured { refundable: 1 }, 422),
            (FlowError::RefundWindowClosed { days: 180 }, 422),
            (FlowError::TooManyRefunds { most: 50, in_all: 200 }, 422),
            (FlowError::ChannelNotConfigured { channel: "a".to_owned() }, 409),
            (FlowError::Notification(NotificationError::BadSignature), 400),
            (FlowError::Overloaded, 503),
            (FlowError::Journal(JournalError::Full), 503),
            (FlowError::Journal(JournalError::Away), 503),
            (FlowError::Journal(JournalError::Refused("check".to_owned())), 500),
            (FlowError::Store(StoreError::Away("gone".to_owned())), 503),
            (FlowError::Store(StoreError::Busy("a deadlock".to_owned())), 503),
            (FlowError::Store(StoreError::Unreadable("odd".to_owned())), 500),
            (FlowError::Internal("bug".to_owned()), 500),
        ];
        for (error, status) in cases {
            assert_eq!(problem(&error, Asked::default()).code().status(), status, "{error}");
        }
    }

    #[test]
    fn a_fault_of_ours_is_not_told_in_its_own_words() {
        let told = problem(&FlowError::Internal("row 17 of table payment".to_owned()), Asked::default());
        assert!(!told.detail().contains("row 17"));
    }
}

//! Stripe's error and decline codes, in our words. All of them say that nobody was charged; they differ in what to do about it.
//! <https://docs.stripe.com/declines/codes>, <https://docs.stripe.com/error-codes>

use crate::domain::{Failure, FailureCode};

use super::object::ErrorBody;

/// Our word for a decline code, or for the error code where the bank gave none. What is not listed is a decline without a reason.
pub(super) fn card(code: &str) -> FailureCode {
    match code {
        // Another time may work.
        "try_again_later" | "processing_error" | "issuer_not_available" | "reenter_transaction" | "approve_with_id" => FailureCode::ProcessingError,
        // The customer can put it right.
        "insufficient_funds" => FailureCode::InsufficientFunds,
        "incorrect_cvc" | "invalid_cvc" => FailureCode::IncorrectCvc,
        "incorrect_number"
        | "invalid_number"
        | "invalid_expiry_month"
        | "invalid_expiry_year"
        | "incorrect_zip"
        | "incorrect_address"
        | "incorrect_pin"
        | "invalid_pin"
        | "testmode_decline" => FailureCode::InvalidCard,
        "authentication_required"
        | "authentication_not_handled"
        | "payment_intent_authentication_failure"
        | "online_or_offline_pin_required"
        | "offline_pin_required"
        | "mobile_device_authentication_required" => FailureCode::AuthenticationRequired,
        "card_velocity_exceeded" | "withdrawal_count_limit_exceeded" | "pin_try_exceeded" | "invalid_amount" => FailureCode::LimitExceeded,
        "expired_card" => FailureCode::ExpiredCard,
        // This card must not be tried again.
        "pickup_card" | "lost_card" | "stolen_card" | "fraudulent" | "merchant_blacklist" | "security_violation" => FailureCode::Fraudulent,
        "card_not_supported"
        | "currency_not_supported"
        | "transaction_not_allowed"
        | "service_not_allowed"
        | "not_permitted"
        | "invalid_account"
        | "restricted_card"
        | "stop_payment_order"
        | "revocation_of_authorization"
        | "revocation_of_all_authorizations" => FailureCode::NotPermitted,
        // do_not_honor, generic_decline, call_issuer, no_action_taken, duplicate_transaction, and what Stripe adds: no reason that helps. None
        // of them may send the customer to another channel by itself: of a duplicate, that would be the second charge.
        _ => FailureCode::CardDeclined,
    }
}

/// Why a card was declined.
pub(super) fn declined(error: &ErrorBody) -> Failure {
    let code = error.decline_code.as_deref().or(error.code.as_deref());
    Failure::new(code.map_or(FailureCode::CardDeclined, card), code, error.message())
}

/// Why Stripe would not take the request itself.
pub(super) fn rejected(error: &ErrorBody) -> Failure {
    Failure::new(FailureCode::ChannelRejected, error.code.as_deref().or(Some(&error.kind)), error.message())
}

/// Why a refund was refused.
pub(super) fn refund_refused(error: &ErrorBody) -> Failure {
    let exceeds = matches!(error.code.as_deref(), Some("charge_already_refunded" | "amount_too_large")) || error.param.as_deref() == Some("amount");
    let code = if exceeds { FailureCode::RefundExceedsChannel } else { FailureCode::RefundFailed };
    Failure::new(code, error.code.as_deref(), error.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every decline code of the facts, by what their table says to do.
    const RETRY_LATER: [&str; 5] = ["try_again_later", "processing_error", "issuer_not_available", "reenter_transaction", "approve_with_id"];
    const CUSTOMER_MUST_ACT: [&str; 9] = [
        "insufficient_funds",
        "incorrect_cvc",
        "incorrect_pin",
        "invalid_expiry_year",
        "expired_card",
        "authentication_required",
        "card_velocity_exceeded",
        "withdrawal_count_limit_exceeded",
        "testmode_decline",
    ];
    const NOT_THAT_CARD: [&str; 21] = [
        "do_not_honor",
        "generic_decline",
        "call_issuer",
        "card_not_supported",
        "currency_not_supported",
        "transaction_not_allowed",
        "service_not_allowed",
        "not_permitted",
        "invalid_account",
        "pickup_card",
        "lost_card",
        "stolen_card",
        "restricted_card",
        "fraudulent",
        "merchant_blacklist",
        "stop_payment_order",
        "revocation_of_authorization",
        "revocation_of_all_authorizations",
        "no_action_taken",
        "security_violation",
        "duplicate_transaction",
    ];

    #[test]
    fn only_trouble_between_stripe_and_the_bank_advises_to_try_the_same_card_later() {
        use crate::domain::Advice;
        assert!(RETRY_LATER.iter().all(|code| card(code) == FailureCode::ProcessingError));
        assert!(CUSTOMER_MUST_ACT.iter().all(|code| card(code) != FailureCode::CardDeclined && card(code) != FailureCode::ProcessingError));
        for code in NOT_THAT_CARD {
            assert_eq!(card(code).advice(), Advice::UseAnotherMethod, "{code}");
            assert!(!card(code).another_channel_may_help(), "{code}");
        }
    }

    #[test]
    fn a_reported_card_and_a_forbidden_one_are_not_tried_again() {
        for code in ["lost_card", "stolen_card", "pickup_card", "fraudulent", "restricted_card", "revocation_of_all_authorizations", "expired_card"] {
            assert!(card(code).do_not_retry(), "{code}");
        }
        assert!(!card("insufficient_funds").do_not_retry());
    }
}

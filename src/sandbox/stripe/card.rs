//! What a test card does, by the name of its payment method. The names are Stripe's own for test mode.

use super::error::Decline;

/// What the issuer does with a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CardAnswer {
    /// The money moves.
    Approve,
    /// The customer must authenticate first.
    Authenticate,
    /// The money does not move.
    Decline(Decline),
}

/// What the card behind `payment_method` answers. A name that is not in the table succeeds. With `off_session` a card that wants its owner is
/// declined, because the owner is not there.
pub fn answer(payment_method: &str, off_session: bool) -> CardAnswer {
    let name = payment_method.strip_prefix("pm_card_").unwrap_or(payment_method);
    let name = name.strip_prefix("visa_").unwrap_or(name);
    let decline = match name {
        "threeDSecureRequired" | "threeDSecure2Required" | "authenticationRequiredOnSetup" if !off_session => {
            return CardAnswer::Authenticate;
        }
        "authenticationRequired" | "threeDSecureRequired" | "threeDSecure2Required" => Decline {
            code: "authentication_required".into(),
            decline_code: Some("authentication_required".into()),
            message: "Your card was declined. This transaction requires authentication.".into(),
            payment_method: None,
        },
        "chargeDeclined" | "chargeCustomerFail" => Decline::generic(),
        "chargeDeclinedInsufficientFunds" => Decline::issuer("insufficient_funds", "Your card has insufficient funds."),
        "chargeDeclinedLostCard" => Decline::issuer("lost_card", "Your card was declined."),
        "chargeDeclinedStolenCard" => Decline::issuer("stolen_card", "Your card was declined."),
        "chargeDeclinedFraudulent" => Decline::issuer("fraudulent", "Your card was declined."),
        "chargeDeclinedTryAgainLater" => Decline::issuer("try_again_later", "Your card was declined. Please try again later."),
        "chargeDeclinedExpiredCard" => Decline::coded("expired_card", "Your card has expired."),
        "chargeDeclinedIncorrectCvc" => Decline::coded("incorrect_cvc", "Your card's security code is incorrect."),
        "chargeDeclinedIncorrectNumber" => Decline::coded("incorrect_number", "Your card number is incorrect."),
        "chargeDeclinedProcessingError" => {
            Decline::coded("processing_error", "An error occurred while processing your card. Try again in a little bit.")
        }
        _ => return CardAnswer::Approve,
    };
    CardAnswer::Decline(decline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_that_is_not_named_succeeds() {
        assert_eq!(answer("pm_card_mastercard", false), CardAnswer::Approve);
    }

    #[test]
    fn a_card_that_wants_its_owner_is_declined_when_the_owner_is_away() {
        assert_eq!(answer("pm_card_threeDSecureRequired", false), CardAnswer::Authenticate);
        assert!(matches!(answer("pm_card_threeDSecureRequired", true), CardAnswer::Decline(why) if why.code == "authentication_required"));
    }
}

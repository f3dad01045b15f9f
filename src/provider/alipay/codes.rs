//! Alipay's `sub_code`s, in our words. The tables hold what is *known* to have moved nothing; whatever is not listed is unknown, and is asked after.
//! <https://opendocs.alipay.com/open/common/105806>

use crate::domain::{Failure, FailureCode};

/// What a refusal says of the call that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was not carried out, for this reason.
    Declined(FailureCode),
    /// It was not carried out by *this* call; an earlier one with the same number may have been.
    NotByThisCall(FailureCode),
    /// It was not carried out and may be later, with the same number.
    Later,
    /// Only a query can tell.
    Unknown,
}

/// A refused payment: by a shown code, or the making of one.
pub(super) fn pay(sub_code: &str) -> Verdict {
    use FailureCode as C;
    let code = match sub_code {
        "ACQ.INVALID_PARAMETER" | "ACQ.ACCESS_FORBIDDEN" | "ACQ.PARTNER_ERROR" | "ACQ.EXIST_FORBIDDEN_WORD" | "ACQ.SELLER_BEEN_BLOCKED" => {
            C::ChannelRejected
        }
        "ACQ.TOTAL_FEE_EXCEED" | "ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR" => C::LimitExceeded,
        "ACQ.BUYER_BALANCE_NOT_ENOUGH" | "ACQ.BUYER_BANKCARD_BALANCE_NOT_ENOUGH" => C::InsufficientFunds,
        // The customer shows a fresh code.
        "ACQ.PAYMENT_AUTH_CODE_INVALID" => C::InvalidCard,
        "ACQ.ERROR_BALANCE_PAYMENT_DISABLE" | "ACQ.BUYER_ENABLE_STATUS_FORBID" | "ACQ.BUYER_SELLER_EQUAL" => C::NotPermitted,
        "ACQ.PAYMENT_FAIL" => C::CardDeclined,
        // TRADE_HAS_SUCCESS, TRADE_HAS_CLOSE, CONTEXT_INCONSISTENT and TRADE_BUYER_NOT_MATCH speak of another call with this number.
        _ => return Verdict::Unknown,
    };
    Verdict::Declined(code)
}

/// A refused refund.
pub(super) fn refund(sub_code: &str) -> Verdict {
    use FailureCode as C;
    match sub_code {
        "ACQ.SELLER_BALANCE_NOT_ENOUGH" => Verdict::Later,
        "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL" | "ACQ.REASON_TRADE_REFUND_FEE_ERR" => Verdict::NotByThisCall(C::RefundExceedsChannel),
        "ACQ.TRADE_STATUS_ERROR" | "ACQ.REASON_TRADE_STATUS_INVALID" | "ACQ.TRADE_NOT_EXIST" => Verdict::NotByThisCall(C::RefundFailed),
        "ACQ.TRADE_HAS_FINISHED" | "ACQ.TRADE_NOT_ALLOW_REFUND" | "ACQ.REASON_TRADE_BEEN_FREEZEN" => Verdict::Declined(C::RefundFailed),
        "ACQ.INVALID_PARAMETER" | "ACQ.ACCESS_FORBIDDEN" | "ACQ.PARTNER_ERROR" => Verdict::Declined(C::RefundFailed),
        // DISCORDANT_REPEAT_REQUEST: the number was used before, and what became of that is what must be known.
        _ => Verdict::Unknown,
    }
}

/// Alipay's own trouble, which says nothing of the money. `AQC` is Alipay's spelling, in answers to a cancel.
pub(super) fn is_system_error(sub_code: &str) -> bool {
    matches!(sub_code, "ACQ.SYSTEM_ERROR" | "AQC.SYSTEM_ERROR" | "aop.ACQ.SYSTEM_ERROR")
}

/// Whether the gateway turned the *application* away rather than the request: another request fares no better, so the channel is out of order.
pub(super) fn is_about_the_application(code: &str, sub_code: &str) -> bool {
    const SUB_CODES: [&str; 9] = [
        "isv.invalid-signature",
        "isv.missing-signature",
        "isv.missing-signature-key",
        "isv.invalid-signature-type",
        "isv.invalid-app-id",
        "isv.missing-app-id",
        "isv.invalid-timestamp",
        "isv.app-id-not-exist",
        "isv.invalid-app-auth-token",
    ];
    matches!(code, "20001" | "40006") || SUB_CODES.contains(&sub_code)
}

/// The trade that was asked for is not there (yet): nobody has scanned the code, nobody has opened the page, or the request is still on its way.
pub(super) fn is_no_trade(sub_code: &str) -> bool {
    sub_code == "ACQ.TRADE_NOT_EXIST"
}

/// The reason, with Alipay's own code and sentence.
pub(super) fn failure(code: FailureCode, sub_code: &str, message: &str) -> Failure {
    let message = if message.is_empty() { "Alipay gave no reason" } else { message };
    Failure::new(code, Some(sub_code).filter(|code| !code.is_empty()), message)
}

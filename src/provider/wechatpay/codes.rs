//! WeChat Pay's error codes, in our words. The tables hold what is *known* to have moved nothing; whatever is not listed is unknown, and is asked
//! after. <https://pay.weixin.qq.com/doc/v3/merchant/4012068814>

use crate::domain::FailureCode;

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

/// A refused order.
pub(super) fn pay(code: &str) -> Verdict {
    use FailureCode as C;
    match code {
        "PARAM_ERROR" => Verdict::Declined(C::ChannelRejected),
        // Also said of a number that was used before, with other words.
        "INVALID_REQUEST" => Verdict::NotByThisCall(C::ChannelRejected),
        "RULE_LIMIT" => Verdict::Declined(C::LimitExceeded),
        "TRADE_ERROR" => Verdict::Declined(C::ProcessingError),
        "ACCOUNT_ERROR" => Verdict::Declined(C::NotPermitted),
        // OUT_TRADE_NO_USED, ORDER_CLOSED, ORDERPAID and ORDER_PAID speak of another call with this number.
        _ => Verdict::Unknown,
    }
}

/// A refused refund.
pub(super) fn refund(code: &str) -> Verdict {
    use FailureCode as C;
    match code {
        "NOT_ENOUGH" => Verdict::Later,
        "PARAM_ERROR" | "USER_ACCOUNT_ABNORMAL" => Verdict::Declined(C::RefundFailed),
        // More than is left, too many, of an order that is not there or not paid: or all of it by an earlier call with this number.
        "INVALID_REQUEST" | "RULE_LIMIT" | "TRADE_ERROR" | "ACCOUNT_ERROR" | "ORDER_NOT_EXIST" | "RESOURCE_NOT_EXISTS" => {
            Verdict::NotByThisCall(C::RefundFailed)
        }
        _ => Verdict::Unknown,
    }
}

/// Whether it was the *account* that was turned away rather than the request: another request fares no better, so the channel is out of order.
pub(super) fn is_about_the_account(code: &str) -> bool {
    matches!(code, "SIGN_ERROR" | "NO_AUTH" | "APPID_MCHID_NOT_MATCH" | "MCH_NOT_EXISTS")
}

/// Whether it asks for fewer calls. Documented: such a call was not taken.
pub(super) fn is_too_many(code: &str) -> bool {
    matches!(code, "FREQUENCY_LIMITED" | "RATELIMIT_EXCEEDED")
}

/// What was asked for is not there (yet).
pub(super) fn is_not_there(code: &str) -> bool {
    matches!(code, "ORDER_NOT_EXIST" | "RESOURCE_NOT_EXISTS")
}

//! What a channel is asked about an attempt: put together from its payment, which knows the names that the channel gave to what came before.

use jiff::Timestamp;

use crate::domain::{Attempt, AttemptState, Operation, Payment};
use crate::provider::{Call, Undone, Verb};

/// What a channel is asked about `attempt` of `payment`.
pub(super) fn call(payment: &Payment, attempt: &Attempt, verb: Verb, now: Timestamp) -> Call {
    let request = &payment.request;
    let undone = match attempt.operation {
        Operation::Reversal => {
            attempt.undoes.and_then(|n| payment.attempt(n)).or_else(|| payment.attempts.iter().find(|other| is_being_undone(other)))
        }
        _ => None,
    };
    let pay = match attempt.operation {
        Operation::Pay => Some(attempt),
        // Where a refund is undone, it is still the payment's money.
        Operation::Reversal => undone.filter(|undone| undone.operation == Operation::Pay).or_else(|| payment.current_pay()),
        _ => payment.current_pay(),
    };
    Call {
        verb,
        key: attempt.key.clone(),
        payment: payment.id.to_string(),
        order: request.order.clone(),
        money: crate::domain::Money { amount: attempt.amount, currency: request.currency },
        payment_amount: request.amount,
        method: request.method.clone(),
        capture_method: request.capture_method,
        pay_reference: pay.and_then(|pay| pay.reference.clone()),
        reference: if attempt.operation == Operation::Pay { None } else { attempt.reference.clone() },
        pay_key: pay.map(|pay| pay.key.clone()),
        undoes: undone.map(|undone| Undone { operation: undone.operation, key: undone.key.clone(), reference: undone.reference.clone() }),
        held: is_only_held(payment, attempt),
        description: request.description.clone(),
        return_url: request.return_url.clone(),
        expires_at: request.expires_at,
        attempted_at: attempt.created_at,
        now,
        notify_url: None,
        repeat: !matches!(attempt.state, AttemptState::Sent | AttemptState::NotSent),
        card: None,
    }
}

/// Whether money that is to be undone is only held. A reversal that the channel refused as the release of a hold goes on as giving back: the hold
/// was taken meanwhile.
pub(in crate::router) fn is_only_held(payment: &Payment, attempt: &Attempt) -> bool {
    let refused = attempt.operation == Operation::Reversal && attempt.state == AttemptState::Declined;
    payment.request.capture_method == crate::domain::CaptureMethod::Manual && payment.captured == 0 && !refused
}

fn is_being_undone(attempt: &Attempt) -> bool {
    attempt.operation == Operation::Pay && attempt.state == AttemptState::Reversing
}

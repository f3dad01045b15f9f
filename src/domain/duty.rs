//! What somebody who holds the lease must do about an attempt, now. Pure: it looks at the payment and its channel's contract, and names one
//! thing. `router/resolve.rs` does it.

use jiff::Timestamp;

use super::attempt::{Attempt, AttemptState};
use super::contract::Contract;
use super::operation::Operation;
use super::payment::{NewAttempt, Payment};

/// The next thing to do about one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Nothing: it is over, or somebody else's.
    Nothing,
    /// Ask the channel what became of it.
    Query,
    /// Close it at the channel, so that it can no longer be paid.
    Close,
    /// Send it again with the same key: its contract says that this is safe.
    Resend,
    /// Release the hold: it is about to lapse, or a cancel was requested.
    Void,
}

/// Something that must be sent and has no attempt yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowUp {
    /// Release the hold.
    Void,
    /// Undo attempt `n`, whose money must not stand.
    Reverse {
        /// The pay attempt.
        pay: i16,
    },
    /// Give the captured money back, because a cancel was requested.
    RefundForCancel,
}

impl Payment {
    /// What is due about attempt `n`.
    pub fn duty(&self, n: i16, contract: &Contract, now: Timestamp) -> Duty {
        let Some(attempt) = self.attempt(n) else { return Duty::Nothing };
        match attempt.operation {
            Operation::Pay => self.pay_duty(attempt, contract, now),
            Operation::Capture | Operation::Void => match attempt.state {
                AttemptState::NotSent => Duty::Resend,
                state if state.is_open() => Duty::Query,
                _ => Duty::Nothing,
            },
            Operation::Reversal => match attempt.state {
                AttemptState::Succeeded => Duty::Nothing,
                // A reversal is idempotent by its key, and wanted until it is done.
                _ => Duty::Resend,
            },
            Operation::Refund => match attempt.state {
                AttemptState::NotSent => Duty::Resend,
                state if state.is_open() => Duty::Query,
                _ => Duty::Nothing,
            },
        }
    }

    fn pay_duty(&self, attempt: &Attempt, contract: &Contract, now: Timestamp) -> Duty {
        let close_wanted = self.cancel_requested || now >= self.request.expires_at;
        match attempt.state {
            // Query before cancel, always: what was paid must be seen as paid.
            AttemptState::ActionRequired if close_wanted && contract.can_close => Duty::Close,
            AttemptState::Sent | AttemptState::Unknown | AttemptState::Accepted | AttemptState::ActionRequired => Duty::Query,
            AttemptState::Authorized => Duty::Void,
            _ => Duty::Nothing,
        }
    }

    /// What must follow the payment as it now is, if nothing of the kind is on its way.
    pub fn follow_up(&self, now: Timestamp) -> Option<FollowUp> {
        let reversal_under_way = self.attempts.iter().any(|attempt| attempt.operation == Operation::Reversal && attempt.state != AttemptState::Succeeded);
        let reversing = self.attempts.iter().find(|attempt| attempt.operation == Operation::Pay && attempt.state == AttemptState::Reversing);
        if let Some(pay) = reversing
            && !reversal_under_way
        {
            return Some(FollowUp::Reverse { pay: pay.n });
        }
        let pay = self.current_pay()?;
        if pay.state == AttemptState::Authorized {
            let lapsing = pay.due_at.is_some_and(|due| due <= now);
            let free = self.open_attempt(Operation::Void).is_none() && self.open_attempt(Operation::Capture).is_none();
            if (self.cancel_requested || lapsing) && free {
                return Some(FollowUp::Void);
            }
        }
        let refunded_for_cancel = self.refunds.iter().any(|refund| refund.source == super::refund::RefundSource::Cancel);
        if self.cancel_requested && self.refundable() > 0 && !refunded_for_cancel && self.open_attempt(Operation::Capture).is_none() {
            return Some(FollowUp::RefundForCancel);
        }
        None
    }

    /// The attempt that carries a void or a reversal out, on the channel of the pay attempt that it undoes.
    pub fn undoing(&self, follow_up: FollowUp, key: String) -> Option<NewAttempt> {
        let (pay, operation, reason) = match follow_up {
            FollowUp::Void => (self.current_pay()?, Operation::Void, if self.cancel_requested { "cancel requested" } else { "the hold is about to lapse" }),
            FollowUp::Reverse { pay } => (self.attempt(pay)?, Operation::Reversal, "its money must not stand"),
            FollowUp::RefundForCancel => return None,
        };
        Some(NewAttempt { operation, channel: pay.channel.clone(), key, amount: self.request.amount, refund_n: None, reason: reason.to_owned() })
    }
}

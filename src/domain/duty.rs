//! What somebody who holds the lease must do about an attempt, now. Pure: it looks at the payment and its channel's contract, and names one
//! thing. `router/resolve.rs` does it.

use jiff::Timestamp;

use super::attempt::{Attempt, AttemptState};
use super::contract::{Contract, VOID_BEFORE_LAPSE};
use super::operation::Operation;
use super::payment::{NewAttempt, Payment};
use super::refund::RefundSource;

/// The next thing to do about one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Nothing: it is over, or somebody else's.
    Nothing,
    /// Ask the channel what became of it.
    Query,
    /// Ask, and if it is still unpaid close it at the channel, so that it can no longer be paid.
    Close,
    /// Send it again with the same key: it is wanted until it is done, and its key makes a repeat safe.
    Resend,
    /// Something must be sent that has no attempt yet.
    Follow(FollowUp),
}

/// Something that must be sent and has no attempt yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowUp {
    /// Release the hold: a cancel was requested, or it is about to lapse.
    Void,
    /// Undo attempt `pay`, whose money must not stand.
    Reverse {
        /// The pay attempt's number.
        pay: i16,
    },
    /// Give the captured money back, because a cancel was requested.
    RefundForCancel,
    /// Carry refund `refund` out with a new key: the channel finally does not have the last one.
    RefundAgain {
        /// The refund's number.
        refund: i16,
    },
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
                AttemptState::NotSent | AttemptState::Declined => Duty::Resend,
                state if state.is_open() => Duty::Query,
                _ => self.follow_up(now).map_or(Duty::Nothing, Duty::Follow),
            },
            Operation::Refund => match attempt.state {
                AttemptState::NotSent => Duty::Resend,
                state if state.is_open() => Duty::Query,
                _ => self.follow_up(now).map_or(Duty::Nothing, Duty::Follow),
            },
        }
    }

    fn pay_duty(&self, attempt: &Attempt, contract: &Contract, now: Timestamp) -> Duty {
        let close_wanted = self.cancel_requested || now >= self.request.expires_at;
        match attempt.state {
            // Query before cancel, always: what was paid must be seen as paid.
            AttemptState::ActionRequired if close_wanted && contract.can_close => Duty::Close,
            AttemptState::Sent | AttemptState::Unknown | AttemptState::Accepted | AttemptState::ActionRequired => Duty::Query,
            // The channel would not act on the hold: it may be taken or gone. What follows is decided on what a query says.
            AttemptState::Authorized if self.hold_is_doubtful() => Duty::Query,
            // An end that somebody doubts (a message about another amount, say) is asked after.
            AttemptState::Declined | AttemptState::Closed | AttemptState::NotFound | AttemptState::NotSent if attempt.due_at.is_some() => Duty::Query,
            _ => self.follow_up(now).map_or(Duty::Nothing, Duty::Follow),
        }
    }

    /// What must follow the payment as it now is, if nothing of the kind is on its way.
    pub fn follow_up(&self, now: Timestamp) -> Option<FollowUp> {
        let under_way =
            |operation| self.attempts.iter().any(|attempt| attempt.operation == operation && (attempt.state.is_open() || attempt.due_at.is_some()));
        let reversing = self.attempts.iter().find(|attempt| attempt.operation == Operation::Pay && attempt.state == AttemptState::Reversing);
        if let Some(pay) = reversing
            && !under_way(Operation::Reversal)
        {
            return Some(FollowUp::Reverse { pay: pay.n });
        }
        let pay = self.current_pay()?;
        if pay.state == AttemptState::Authorized {
            let lapsing = self.capture_before.is_some_and(|lapse| lapse - VOID_BEFORE_LAPSE <= now);
            if (self.cancel_requested || lapsing) && !under_way(Operation::Void) && !under_way(Operation::Capture) {
                return Some(FollowUp::Void);
            }
        }
        let lost = self.refunds.iter().find(|refund| self.refund_attempt(refund.n).is_some_and(|attempt| attempt.state == AttemptState::NotFound));
        if let Some(refund) = lost {
            return Some(FollowUp::RefundAgain { refund: refund.n });
        }
        let refunded_for_cancel = self.refunds.iter().any(|refund| refund.source == RefundSource::Cancel);
        if self.cancel_requested && self.refundable() > 0 && !refunded_for_cancel && !under_way(Operation::Capture) {
            return Some(FollowUp::RefundForCancel);
        }
        None
    }

    /// Whether the channel refused the last act on the hold, so that the hold may not be what we think.
    fn hold_is_doubtful(&self) -> bool {
        let last = self.attempts.iter().rev().find(|attempt| matches!(attempt.operation, Operation::Capture | Operation::Void));
        last.is_some_and(|act| matches!(act.state, AttemptState::Declined | AttemptState::Closed | AttemptState::NotFound))
    }

    /// How many voids of the hold the channel has refused: each further one waits a rung longer, or they would follow each other without a pause.
    pub(super) fn refused_voids(&self) -> i32 {
        let refused =
            |attempt: &&Attempt| attempt.operation == Operation::Void && matches!(attempt.state, AttemptState::Declined | AttemptState::NotFound);
        i32::try_from(self.attempts.iter().filter(refused).count()).unwrap_or(i32::MAX)
    }

    /// The attempt that carries a void or a reversal out, on the channel of the pay attempt that it undoes.
    pub fn undoing(&self, follow_up: FollowUp, key: String) -> Option<NewAttempt> {
        let (pay, operation, reason) = match follow_up {
            FollowUp::Void => {
                (self.current_pay()?, Operation::Void, if self.cancel_requested { "cancel requested" } else { "the hold is about to lapse" })
            }
            FollowUp::Reverse { pay } => (self.attempt(pay)?, Operation::Reversal, "its money must not stand"),
            FollowUp::RefundForCancel | FollowUp::RefundAgain { .. } => return None,
        };
        Some(NewAttempt { operation, channel: pay.channel.clone(), key, amount: self.request.amount, refund_n: None, reason: reason.to_owned() })
    }
}

//! What somebody who holds the lease must do about an attempt, now. Pure: it looks at the payment and its channel's contract, and names one
//! thing. `router/resolve.rs` does it.

use jiff::Timestamp;

use super::attempt::{Attempt, AttemptState};
use super::contract::{Contract, Unanswered, VOID_BEFORE_LAPSE};
use super::failure::FailureCode;
use super::operation::Operation;
use super::payment::{Lease, NewAttempt, Payment};
use super::refund::{RefundSource, RefundStatus};

/// How many refunds a cancel makes at most: the first, and one for each of a few disputes that are won later.
const CANCEL_REFUNDS: usize = 8;

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
    /// Undo an attempt that must not stand: money that came late or wrong, or what a channel that cannot be asked has not answered.
    Reverse {
        /// The number of the pay or refund attempt.
        attempt: i16,
    },
    /// Give the captured money back, because a cancel was requested.
    RefundForCancel,
    /// Carry refund `refund` out with a new key: the channel finally does not have the last one, or has refused its number for now.
    RefundAgain {
        /// The refund's number.
        refund: i16,
    },
}

impl Payment {
    /// What is due about attempt `n`.
    pub fn duty(&self, n: i16, contract: &Contract, now: Timestamp) -> Duty {
        let Some(attempt) = self.attempt(n) else { return Duty::Nothing };
        // Where nothing can be asked, an advice is repeated: its key makes that safe.
        let doubt = match contract.unanswered {
            Unanswered::Query => Duty::Query,
            Unanswered::Reverse => Duty::Resend,
        };
        match attempt.operation {
            Operation::Pay => match self.pay_duty(attempt, contract, now) {
                Duty::Query | Duty::Close if contract.unanswered == Unanswered::Reverse => self.follow_up(now).map_or(Duty::Nothing, Duty::Follow),
                duty => duty,
            },
            Operation::Capture | Operation::Void => match attempt.state {
                AttemptState::NotSent => Duty::Resend,
                state if state.is_open() => doubt,
                _ => Duty::Nothing,
            },
            Operation::Reversal => match attempt.state {
                AttemptState::NotSent | AttemptState::Declined => Duty::Resend,
                state if state.is_open() => doubt,
                _ => self.follow_up(now).map_or(Duty::Nothing, Duty::Follow),
            },
            Operation::Refund => match attempt.state {
                AttemptState::NotSent => match attempt.refund_n {
                    Some(refund) if attempt.is_spent(contract, now) => Duty::Follow(FollowUp::RefundAgain { refund }),
                    _ => Duty::Resend,
                },
                AttemptState::Reversing => self.follow_up(now).map_or(Duty::Nothing, Duty::Follow),
                state if state.is_open() && contract.unanswered == Unanswered::Query => Duty::Query,
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

    /// Attempt `n`, which waited in its queue, is about to be sent under `lease`: from here on it may have been.
    pub fn set_out_again(&mut self, n: i16, lease: Lease, now: Timestamp) {
        if let Some(attempt) = self.attempt_mut(n) {
            attempt.state = AttemptState::Sent;
            attempt.due_at = Some(lease.until);
            attempt.lease_owner = Some(lease.owner);
            attempt.lease_until = Some(lease.until);
            attempt.updated_at = now;
        }
        if let Some(refund) = self.attempt(n).and_then(|attempt| attempt.refund_n) {
            self.derive_refund(refund, now);
        }
        self.updated_at = now;
        self.derive(now);
    }

    /// Attempt `n` is about to be repeated: the spacing of refunds counts from here.
    pub fn touch(&mut self, n: i16, now: Timestamp) {
        if let Some(attempt) = self.attempt_mut(n) {
            attempt.updated_at = now;
        }
        self.updated_at = now;
    }

    /// What must follow the payment as it now is, if nothing of the kind is on its way.
    pub fn follow_up(&self, now: Timestamp) -> Option<FollowUp> {
        let under_way =
            |operation| self.attempts.iter().any(|attempt| attempt.operation == operation && (attempt.state.is_open() || attempt.due_at.is_some()));
        let is_being_undone = |n: i16| {
            let undoes = |attempt: &Attempt| attempt.operation == Operation::Reversal && attempt.undoes.is_none_or(|undone| undone == n);
            self.attempts.iter().any(|attempt| undoes(attempt) && (attempt.state.is_open() || attempt.due_at.is_some()))
        };
        let reversing = self.attempts.iter().find(|attempt| attempt.state == AttemptState::Reversing && !is_being_undone(attempt.n));
        if let Some(attempt) = reversing {
            return Some(FollowUp::Reverse { attempt: attempt.n });
        }
        let pay = self.current_pay()?;
        if pay.state == AttemptState::Authorized {
            let lapsing = self.capture_before.is_some_and(|lapse| lapse - VOID_BEFORE_LAPSE <= now);
            if (self.cancel_requested || lapsing) && !under_way(Operation::Void) && !under_way(Operation::Capture) {
                return Some(FollowUp::Void);
            }
        }
        let lost = self.refunds.iter().find(|refund| {
            self.refund_attempt(refund.n).is_some_and(|attempt| matches!(attempt.state, AttemptState::NotFound | AttemptState::Reversed))
        });
        if let Some(refund) = lost {
            return Some(FollowUp::RefundAgain { refund: refund.n });
        }
        // What a dispute held back when it was decided is given back, too. One that the channel refused or took back is for a person.
        let for_cancel = self.refunds.iter().filter(|refund| refund.source == RefundSource::Cancel);
        let refunded_for_cancel = for_cancel.clone().any(|refund| refund.status != RefundStatus::Succeeded) || for_cancel.count() >= CANCEL_REFUNDS;
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
        let (undone, operation, undoes, reason) = match follow_up {
            FollowUp::Void => {
                let reason = if self.cancel_requested { "cancel requested" } else { "the hold is about to lapse" };
                (self.current_pay()?, Operation::Void, None, reason)
            }
            FollowUp::Reverse { attempt } => {
                let undone = self.attempt(attempt)?;
                let unanswered = undone.failure.as_ref().is_some_and(|failure| failure.code == FailureCode::NoAnswer);
                let reason = if unanswered { "it was not answered, and cannot be asked after" } else { "its money must not stand" };
                (undone, Operation::Reversal, Some(attempt), reason)
            }
            FollowUp::RefundForCancel | FollowUp::RefundAgain { .. } => return None,
        };
        let (channel, amount) = (undone.channel.clone(), undone.amount);
        Some(NewAttempt { operation, channel, key, amount, refund_n: None, undoes, reason: reason.to_owned(), passed_over: Vec::new() })
    }
}

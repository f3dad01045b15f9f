//! A refund: the merchant's wish to give captured money back. Attempts carry it out, always on the channel that captured, all with the same
//! number; it waits in a durable queue until the channel has taken it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, AttemptState};
use super::contract::{Contract, Unanswered};
use super::id::RefundId;
use super::operation::Operation;
use super::payment::{Outcome, Payment, names};

names! {
    /// Where a refund stands.
    RefundStatus {
        /// Queued, on its way, or in doubt.
        Processing => "processing",
        /// The channel gave the money back.
        Succeeded => "succeeded",
        /// The channel said no: what was reserved is free again. Final.
        Failed => "failed",
        /// It had succeeded, and the channel took it back. Final.
        Returned => "returned",
    }
}

names! {
    /// Who wished for it.
    RefundSource {
        /// The merchant.
        Merchant => "merchant",
        /// A cancel that found the money taken.
        Cancel => "cancel",
        /// The channel, by itself: somebody used its own pages.
        Channel => "channel",
    }
}

/// What a merchant asks for, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundRequest {
    /// The merchant's name for it, unique for ever; 1 to 64 characters.
    pub merchant_refund_id: String,
    /// Minor units; all that is left when `None`.
    pub amount: Option<i64>,
    /// Why, in the merchant's words.
    pub reason: Option<String>,
    /// The merchant's own notes.
    pub metadata: BTreeMap<String, String>,
}

/// One row of `refund`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Number within the payment, from 1.
    pub n: i16,
    /// Its id, in its payment's bucket.
    pub id: RefundId,
    /// The merchant's name for it.
    pub merchant_refund_id: String,
    /// Minor units.
    pub amount: i64,
    /// Why.
    pub reason: Option<String>,
    /// The merchant's own notes.
    pub metadata: BTreeMap<String, String>,
    /// Who wished for it.
    pub source: RefundSource,
    /// Where it stands.
    pub status: RefundStatus,
    /// What is known about the money.
    pub outcome: Outcome,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// How long a number that was minted for a channel that cannot be asked may wait unsent: it holds the time of its message, and some banks take
/// none that lies far back.
const NUMBER_IS_FRESH: SignedDuration = SignedDuration::from_mins(10);

impl Attempt {
    /// Whether a refund that waits in its queue must go under a new number. Where nothing can be asked, a payment's or refund's message is never sent
    /// twice: one that the channel itself refused for now has had its turn.
    pub(super) fn is_spent(&self, contract: &Contract, now: Timestamp) -> bool {
        let refused = self.failure.as_ref().is_some_and(|failure| failure.channel_code.is_some());
        contract.unanswered == Unanswered::Reverse
            && self.state == AttemptState::NotSent
            && (refused || now.duration_since(self.created_at) > NUMBER_IS_FRESH)
    }
}

impl Payment {
    /// Refund number `n`.
    pub fn refund(&self, n: i16) -> Option<&Refund> {
        self.refunds.iter().find(|refund| refund.n == n)
    }

    /// The last attempt that carries out refund `n`.
    pub fn refund_attempt(&self, n: i16) -> Option<&Attempt> {
        self.refund_attempts(Some(n)).next_back()
    }

    /// The attempts that carry out refund `n`, in their order; those of every refund when `None`.
    pub(super) fn refund_attempts(&self, n: Option<i16>) -> impl DoubleEndedIterator<Item = &Attempt> {
        self.attempts.iter().filter(move |attempt| attempt.operation == Operation::Refund && (n.is_none() || attempt.refund_n == n))
    }

    /// Whether the merchant may add no refund any more: as many as the channel takes of one payment did not fail, or as many as there may be in all were
    /// made, whatever became of them. What was done at the channel and what a cancel gives back is counted too, and is never asked this: the one has
    /// happened, and the other is owed to the customer.
    pub fn has_all_its_refunds(&self, contract: &Contract) -> bool {
        let did_not_fail = self.refunds.iter().filter(|refund| refund.status != RefundStatus::Failed).count();
        did_not_fail >= contract.refunds_at_most || self.refunds.len() >= contract.refunds_in_all()
    }

    /// The number of the refund that is about to be added. Merchants and cancels end long before there is none left ([`Payment::has_all_its_refunds`],
    /// `duty.rs`); only a channel that makes refunds and takes them back without an end could come to 32,767. The last number then comes again, and the
    /// journal writes nothing that brings it a second time: what was to be booked is set aside for a person.
    pub fn next_refund(&self) -> i16 {
        i16::try_from(self.refunds.len() + 1).unwrap_or(i16::MAX)
    }

    /// From when on a refund may be sent where the channel wants `spacing` between two of one payment: attempt `n`, or one that is about to be
    /// added when `None`. What waits in the queue has its place before a new one, and none before another that waits: whoever is written as sent
    /// first, goes first. `None`: at any time.
    pub fn refund_turn(&self, n: Option<i16>, spacing: Duration) -> Option<Timestamp> {
        if spacing.is_zero() {
            return None;
        }
        let refused = |attempt: &Attempt| attempt.failure.as_ref().is_some_and(|failure| failure.channel_code.is_some());
        let last = self.refund_attempts(None).filter(|other| Some(other.n) != n).filter_map(|other| match (other.state, n) {
            (AttemptState::NotSent, None) => other.due_at.max(Some(other.updated_at)),
            (AttemptState::NotSent, Some(_)) if !refused(other) => None,
            _ => Some(other.updated_at),
        });
        let spacing = SignedDuration::try_from(spacing).unwrap_or(SignedDuration::from_mins(1));
        last.max().map(|last| last + spacing)
    }

    /// Leaves refund attempt `n`, which was just added, in the queue until `turn`.
    pub fn queue_refund(&mut self, n: i16, turn: Timestamp, now: Timestamp) {
        let Some(attempt) = self.attempt_mut(n) else { return };
        attempt.state = AttemptState::NotSent;
        attempt.due_at = Some(turn);
        attempt.lease_owner = None;
        attempt.lease_until = None;
        if let Some(refund) = attempt.refund_n {
            self.derive_refund(refund, now);
        }
    }

    /// Brings a refund's status and outcome in line with its last attempt.
    pub(super) fn derive_refund(&mut self, n: i16, now: Timestamp) {
        let Some(state) = self.refund_attempt(n).map(|attempt| attempt.state) else { return };
        let (status, outcome) = match state {
            AttemptState::Succeeded => (RefundStatus::Succeeded, Outcome::Approved),
            AttemptState::Declined | AttemptState::Closed => (RefundStatus::Failed, Outcome::Declined),
            AttemptState::Returned => (RefundStatus::Returned, Outcome::Declined),
            AttemptState::Unknown | AttemptState::Reversing => (RefundStatus::Processing, Outcome::Unknown),
            AttemptState::NotSent => (RefundStatus::Processing, Outcome::NotSent),
            _ => (RefundStatus::Processing, Outcome::Pending),
        };
        if let Some(refund) = self.refunds.iter_mut().find(|refund| refund.n == n)
            && (refund.status, refund.outcome) != (status, outcome)
        {
            (refund.status, refund.outcome) = (status, outcome);
            refund.updated_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::duty::FollowUp;
    use super::super::external::{Adopted, DisputeKnown, External};
    use super::super::whole_tests::{CONTRACT, Happening, happen, paid, start};
    use super::super::{Fact, Learned, Money, News, REFUNDS_WITHOUT_LIMIT, Source};
    use super::*;

    /// One more refund of the merchant's, of which the channel says so.
    fn refund(payment: &mut Payment, amount: i64, fact: Fact) {
        happen(payment, &Happening::Refund(amount));
        let n = payment.attempts.last().expect("a refund").n;
        assert_eq!(payment.learn(n, &News::of(fact), Source::Reply, &CONTRACT, start()), Ok(Learned::Changed));
    }

    #[test]
    fn a_payment_has_as_many_refunds_as_its_channel_takes_and_with_those_that_failed_four_times_as_many() {
        for (fact, amount, most) in [(Fact::Approved, 1, REFUNDS_WITHOUT_LIMIT), (Fact::Declined, 100, 4 * REFUNDS_WITHOUT_LIMIT)] {
            let mut payment = paid();
            for made in 0..most {
                assert!(!payment.has_all_its_refunds(&CONTRACT), "{made} {fact}");
                refund(&mut payment, amount, fact);
            }
            assert!(payment.has_all_its_refunds(&CONTRACT), "{fact}");
        }
    }

    #[test]
    fn what_the_channel_did_is_booked_and_what_a_cancel_owes_is_wanted_however_many_refunds_there_were() {
        let mut payment = paid();
        (0..4 * REFUNDS_WITHOUT_LIMIT).for_each(|_| refund(&mut payment, 100, Fact::Declined));
        let made_there = External::Refund { reference: "re_9".to_owned(), money: Money { amount: 30, currency: payment.request.currency } };
        assert_eq!(payment.adopt(&made_there, "a", "0".repeat(32), DisputeKnown::default(), start()), Adopted::Changed);
        let numbers: Vec<i16> = payment.refunds.iter().map(|refund| refund.n).collect();
        assert_eq!((payment.refunded, numbers), (30, (1..=401).collect()));
        assert!(payment.has_all_its_refunds(&CONTRACT));
        payment.cancel_requested = true;
        assert_eq!((payment.follow_up(start()), payment.refundable()), (Some(FollowUp::RefundForCancel), 70));
    }
}

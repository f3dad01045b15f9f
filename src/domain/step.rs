//! What a fact does to an attempt: one `match (state, event)` per kind of operation, [`pay`], [`act`] (capture, void), [`reversal`] and [`refund`],
//! and the tests that facts commute. What states and facts mean, and why they must commute, is in `attempt.rs`.

use thiserror::Error;

use super::attempt::{AttemptState, Fact};
use super::operation::Operation;

/// What a fact does to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The attempt moves there.
    To(AttemptState),
    /// More is known already: nothing changes.
    Seen,
    /// Both cannot be true: nothing changes, and a person is told.
    Contradiction,
}

/// A fact that this state of this operation cannot meet: a fault of ours, not of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a {operation} attempt that is {state} cannot learn that it is {fact}")]
pub struct IllegalFact {
    /// What was tried.
    pub operation: Operation,
    /// What was known.
    pub state: AttemptState,
    /// What cannot follow.
    pub fact: Fact,
}

/// What `fact` does to an attempt of `operation` that is `state`.
///
/// # Errors
/// [`IllegalFact`] names both when the pair has no meaning; the caller stores nothing and tells a person.
pub fn step(operation: Operation, state: AttemptState, fact: Fact) -> Result<Step, IllegalFact> {
    let step = match operation {
        Operation::Pay => pay(state, fact),
        Operation::Capture | Operation::Void => act(state, fact),
        Operation::Reversal => reversal(state, fact),
        Operation::Refund => refund(state, fact),
    };
    step.ok_or(IllegalFact { operation, state, fact })
}

/// A payment's own try.
fn pay(state: AttemptState, fact: Fact) -> Option<Step> {
    use AttemptState as S;
    use Fact as F;
    use Step::{Contradiction, Seen, To};
    Some(match (state, fact) {
        // A pay attempt is never given back by itself: that is a refund's fact.
        (_, F::Returned) => return None,
        (S::Returned, _) => return None,

        (S::Sent, F::Unknown) => To(S::Unknown),
        (S::Sent, F::NotSent) => To(S::NotSent),
        (S::Sent | S::Unknown | S::Accepted | S::ActionRequired, F::Approved) => To(S::Succeeded),
        (S::Sent | S::Unknown | S::Accepted | S::ActionRequired, F::Authorized) => To(S::Authorized),
        (S::Sent | S::Unknown | S::Accepted | S::ActionRequired, F::Declined) => To(S::Declined),
        (S::Sent | S::Unknown | S::Accepted | S::ActionRequired, F::Closed) => To(S::Closed),
        (S::Sent | S::Unknown | S::Accepted | S::ActionRequired, F::NotFound) => To(S::NotFound),
        (S::Sent | S::Unknown | S::ActionRequired, F::Accepted) => To(S::Accepted),
        (S::Sent | S::Unknown | S::Accepted, F::ActionRequired) => To(S::ActionRequired),

        // It was on the wire, or the channel spoke of it: a late "never left" (a repeat's, say) cannot undo that.
        (S::Unknown | S::Accepted | S::ActionRequired, F::Unknown | F::NotSent) => Seen,
        (S::Accepted, F::Accepted) | (S::ActionRequired, F::ActionRequired) => Seen,

        (S::Authorized, F::Approved) => To(S::Succeeded),
        (S::Authorized, F::Closed) => To(S::Closed),
        (S::Authorized, F::Authorized | F::Unknown | F::Accepted | F::ActionRequired | F::NotSent) => Seen,
        (S::Authorized, F::Declined | F::NotFound) => Contradiction,

        (S::Succeeded, F::Approved | F::Authorized | F::Unknown | F::Accepted | F::ActionRequired | F::NotSent) => Seen,
        (S::Succeeded, F::Declined | F::Closed | F::NotFound) => Contradiction,

        (S::Declined | S::Closed | S::NotFound | S::NotSent, F::Approved | F::Authorized) => To(S::SucceededLate),
        (
            S::Declined | S::Closed | S::NotFound | S::NotSent,
            F::Declined | F::Closed | F::NotFound | F::NotSent | F::Unknown | F::Accepted | F::ActionRequired,
        ) => Seen,

        (S::SucceededLate, F::Approved | F::Authorized | F::Unknown | F::Accepted | F::ActionRequired | F::NotSent) => Seen,
        (S::SucceededLate, F::Declined | F::Closed | F::NotFound) => Contradiction,

        // A paid fact while it is being reversed is seen, never adopted. Nor does a *closed* end it, which may be an old one that limps in behind the
        // money: only the reversal's own word does.
        (S::Reversing, _) => Seen,
        (S::Reversed, F::Approved | F::Authorized | F::Unknown | F::Accepted | F::ActionRequired | F::NotSent | F::Closed) => Seen,
        (S::Reversed, F::Declined | F::NotFound) => Seen,
    })
}

/// A capture or a void: work on money that is held.
fn act(state: AttemptState, fact: Fact) -> Option<Step> {
    use AttemptState as S;
    use Fact as F;
    use Step::{Contradiction, Seen, To};
    Some(match (state, fact) {
        (_, F::Returned | F::Authorized | F::ActionRequired) => return None,
        (S::ActionRequired | S::Authorized | S::SucceededLate | S::Reversing | S::Reversed | S::Returned, _) => return None,

        (S::Sent, F::Unknown) => To(S::Unknown),
        (S::Sent, F::NotSent) => To(S::NotSent),
        (S::Sent | S::Unknown, F::Accepted) => To(S::Accepted),
        (S::Sent | S::Unknown | S::Accepted, F::Approved) => To(S::Succeeded),
        (S::Sent | S::Unknown | S::Accepted, F::Declined) => To(S::Declined),
        (S::Sent | S::Unknown | S::Accepted, F::Closed) => To(S::Closed),
        (S::Sent | S::Unknown | S::Accepted, F::NotFound) => To(S::NotFound),
        (S::Unknown | S::Accepted, F::Unknown | F::NotSent) => Seen,
        (S::Accepted, F::Accepted) => Seen,

        (S::Succeeded, F::Approved | F::Unknown | F::Accepted | F::NotSent) => Seen,
        (S::Succeeded, F::Declined | F::Closed | F::NotFound) => Contradiction,
        // Queued again after it could not be sent: the same try, the same key, and it may now succeed.
        (S::NotSent, F::Approved) => To(S::Succeeded),
        (S::NotSent, F::Declined) => To(S::Declined),
        (S::NotSent, F::Closed) => To(S::Closed),
        (S::NotSent, F::Accepted) => To(S::Accepted),
        // This time it left us and nothing came back: to send it once more would only repeat what the channel has stored. It is asked after.
        (S::NotSent, F::Unknown) => To(S::Unknown),
        (S::NotSent, F::NotSent | F::NotFound) => Seen,
        (S::Declined | S::Closed | S::NotFound, F::Approved) => Contradiction,
        (S::Declined | S::Closed | S::NotFound, _) => Seen,
    })
}

/// Undoing a payment: it is tried until it is done, so only `succeeded` ends it.
fn reversal(state: AttemptState, fact: Fact) -> Option<Step> {
    use AttemptState as S;
    use Fact as F;
    use Step::{Contradiction, Seen, To};
    Some(match (state, fact) {
        (_, F::Returned | F::Authorized | F::ActionRequired) => return None,
        (S::ActionRequired | S::Authorized | S::SucceededLate | S::Reversing | S::Reversed | S::Returned | S::Closed, _) => return None,

        (S::Sent | S::Unknown | S::Accepted, F::Approved | F::Closed) => To(S::Succeeded),
        (S::Sent, F::Unknown) => To(S::Unknown),
        (S::Sent, F::NotSent) => To(S::NotSent),
        (S::Sent | S::Unknown, F::Accepted) => To(S::Accepted),
        (S::Sent | S::Unknown | S::Accepted, F::Declined) => To(S::Declined),
        (S::Sent | S::Unknown | S::Accepted, F::NotFound) => To(S::NotFound),
        (S::Unknown | S::Accepted, F::Unknown | F::NotSent) => Seen,
        (S::Accepted, F::Accepted) => Seen,

        (S::Succeeded, F::Declined | F::NotFound) => Contradiction,
        (S::Succeeded, _) => Seen,
        (S::Declined | S::NotSent | S::NotFound, F::Approved | F::Closed) => To(S::Succeeded),
        // Sent again, and taken up or lost on the way: it is asked after, not repeated.
        (S::Declined | S::NotSent, F::Accepted) => To(S::Accepted),
        (S::Declined | S::NotSent, F::Unknown) => To(S::Unknown),
        (S::Declined | S::NotSent | S::NotFound, _) => Seen,
    })
}

/// Money back. Not sent is not the end of a refund: it is a durable queue, and goes again with the same key. Not found, finally, ends this
/// try (its key may be stuck at the channel): the refund goes on with another.
fn refund(state: AttemptState, fact: Fact) -> Option<Step> {
    use AttemptState as S;
    use Fact as F;
    use Step::{Contradiction, Seen, To};
    Some(match (state, fact) {
        (_, F::Authorized | F::ActionRequired) => return None,
        (S::ActionRequired | S::Authorized | S::SucceededLate, _) => return None,
        // It was not answered, and is being undone: whatever it had become by then is undone with it.
        (S::Reversing | S::Reversed, _) => Seen,

        (S::Sent, F::Unknown) => To(S::Unknown),
        (S::Sent, F::NotSent) => To(S::NotSent),
        (S::Sent | S::Unknown | S::NotSent, F::Accepted) => To(S::Accepted),
        (S::Sent | S::Unknown | S::Accepted | S::NotSent, F::Approved) => To(S::Succeeded),
        (S::Sent | S::Unknown | S::Accepted | S::NotSent, F::Declined) => To(S::Declined),
        (S::Sent | S::Unknown | S::Accepted | S::NotSent, F::Closed) => To(S::Closed),
        (S::Sent | S::Unknown, F::NotFound) => To(S::NotFound),
        (S::Accepted | S::NotSent, F::NotFound) => Seen,
        (S::NotSent, F::Unknown) => To(S::Unknown),
        (S::Unknown | S::Accepted, F::Unknown | F::NotSent) => Seen,
        (S::NotSent, F::NotSent) | (S::Accepted, F::Accepted) => Seen,

        // Days after it succeeded the channel may take it back; a query then says "failed", which is the same news.
        (S::Succeeded, F::Returned | F::Declined | F::Closed) => To(S::Returned),
        (S::Succeeded, F::Approved | F::Unknown | F::Accepted | F::NotSent | F::NotFound) => Seen,
        (S::Returned, F::Returned | F::Declined | F::Closed | F::Unknown | F::Accepted | F::NotSent | F::NotFound) => Seen,
        (S::Returned, F::Approved) => Seen,
        // Told before we knew that it had succeeded: that it had is then old news.
        (S::Sent | S::Unknown | S::Accepted | S::NotSent, F::Returned) => To(S::Returned),
        (S::Declined | S::Closed | S::NotFound, F::Approved) => Contradiction,
        (S::Declined | S::Closed | S::NotFound, _) => Seen,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts() -> impl Strategy<Value = Vec<Fact>> {
        proptest::collection::vec(proptest::sample::select(Fact::ALL.to_vec()), 0..12)
    }

    fn end(operation: Operation, facts: &[Fact]) -> (AttemptState, bool) {
        let (mut state, mut contradicted) = (AttemptState::Sent, false);
        for fact in facts {
            match step(operation, state, *fact) {
                Ok(Step::To(next)) => state = next,
                Ok(Step::Contradiction) => contradicted = true,
                Ok(Step::Seen) | Err(_) => {}
            }
        }
        (state, contradicted)
    }

    proptest! {
        #[test]
        fn money_that_was_taken_is_never_forgotten(facts in facts()) {
            let (state, contradicted) = end(Operation::Pay, &facts);
            if facts.contains(&Fact::Approved) {
                let told = matches!(state, AttemptState::Succeeded | AttemptState::SucceededLate) || contradicted;
                prop_assert!(told, "{facts:?} ended {state} without a word");
            }
        }

        #[test]
        fn knowing_nothing_changes_nothing_that_is_known(facts in facts(), at in 0usize..12) {
            prop_assume!(!facts.is_empty());
            for operation in Operation::ALL {
                let at = 1 + at % facts.len();
                let mut with = facts.clone();
                with.insert(at.min(facts.len()), Fact::Unknown);
                let (before, after) = (end(operation, &facts).0, end(operation, &with).0);
                // Only an attempt of which nothing is known yet, or one that is sent again, may learn that nothing is known.
                let known = end(operation, &facts[..at]).0;
                let sent_again = known == AttemptState::NotSent || (operation == Operation::Reversal && known == AttemptState::Declined);
                if known != AttemptState::Sent && !sent_again {
                    prop_assert_eq!(before, after, "{} {:?}", operation, with);
                }
            }
        }

        #[test]
        fn facts_that_may_overtake_each_other_commute(order in Just(vec![Fact::Accepted, Fact::Unknown, Fact::Approved, Fact::Accepted]).prop_shuffle()) {
            for operation in [Operation::Pay, Operation::Capture, Operation::Reversal, Operation::Refund] {
                prop_assert_eq!(end(operation, &order), (AttemptState::Succeeded, false));
            }
        }

        #[test]
        fn a_hold_and_its_capture_end_the_same_in_any_order(order in Just(vec![Fact::Authorized, Fact::Unknown, Fact::Approved, Fact::ActionRequired]).prop_shuffle()) {
            prop_assert_eq!(end(Operation::Pay, &order), (AttemptState::Succeeded, false));
        }
    }

    #[test]
    fn a_succeeded_payment_holds_against_every_fact() {
        for fact in Fact::ALL {
            assert!(!matches!(step(Operation::Pay, AttemptState::Succeeded, fact), Ok(Step::To(_))), "{fact}");
        }
    }

    #[test]
    fn a_paid_fact_while_reversing_is_seen_and_never_adopted() {
        assert_eq!(step(Operation::Pay, AttemptState::Reversing, Fact::Approved), Ok(Step::Seen));
    }

    #[test]
    fn a_payment_that_was_declined_and_then_paid_is_late_not_forgotten() {
        for state in [AttemptState::Declined, AttemptState::Closed, AttemptState::NotFound, AttemptState::NotSent] {
            assert_eq!(step(Operation::Pay, state, Fact::Approved), Ok(Step::To(AttemptState::SucceededLate)));
        }
    }

    #[test]
    fn a_succeeded_refund_may_be_returned_and_stays_returned() {
        assert_eq!(end(Operation::Refund, &[Fact::Approved, Fact::Returned, Fact::Approved]).0, AttemptState::Returned);
    }

    #[test]
    fn an_illegal_pair_is_an_error_that_names_both() {
        let error = step(Operation::Capture, AttemptState::Sent, Fact::Returned).expect_err("a capture cannot be returned");
        assert_eq!(error.to_string(), "a capture attempt that is sent cannot learn that it is returned");
    }

    #[test]
    fn every_state_has_one_name_and_is_found_by_it() {
        for state in AttemptState::ALL {
            assert_eq!(AttemptState::parse(state.as_str()), Some(state));
        }
    }
}

//! One try of one operation on one channel: its states, what a channel may say of it, and what follows.
//!
//! `sent` is written *before* the first byte leaves and means "may have been sent". From then on only facts move an attempt: what the
//! channel said (whoever brings it: the reply, a notification, a query, a person), or that nothing is known. Facts are true whenever they
//! arrive, so they must commute: an `unknown` or `accepted` that limps in behind an `approved` is *seen* and changes nothing. Two facts
//! that cannot both be true (`approved`, then `declined`) are a *contradiction*: nothing changes, a person is told. Every other pair is an
//! error that names both, because it means that our own code asked the impossible.
//!
//! There is one `match (state, event)` per kind of operation below: [`pay`], [`act`] (capture, void), [`reversal`] and [`refund`].

use std::fmt;

use jiff::Timestamp;
use thiserror::Error;

use super::failure::Failure;
use super::news::Exchange;
use super::operation::Operation;
use super::payment::NextAction;
use super::route::PassedOver;

/// What is known about one try. The names are those of the rows and of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttemptState {
    /// On disk, and may have left us. Where every attempt starts.
    Sent,
    /// It may or may not have been carried out: only the channel can tell.
    Unknown,
    /// The channel has it and is working on it.
    Accepted,
    /// The customer must do something at the channel.
    ActionRequired,
    /// The money is held, not taken.
    Authorized,
    /// Done.
    Succeeded,
    /// Refused by the channel: no money moved.
    Declined,
    /// It certainly never left us, or the channel certainly did not process it.
    NotSent,
    /// The channel confirmed that it can no longer be paid.
    Closed,
    /// The channel, asked in a way that its contract makes final, does not know it.
    NotFound,
    /// Paid after we had been told that it would not be.
    SucceededLate,
    /// Paid, and must not stand: its money is on the way back.
    Reversing,
    /// Paid, and the money went back.
    Reversed,
    /// A refund that had succeeded and was taken back by the channel.
    Returned,
}

impl AttemptState {
    /// Every state, in the order of declaration.
    pub const ALL: [AttemptState; 14] = [
        Self::Sent,
        Self::Unknown,
        Self::Accepted,
        Self::ActionRequired,
        Self::Authorized,
        Self::Succeeded,
        Self::Declined,
        Self::NotSent,
        Self::Closed,
        Self::NotFound,
        Self::SucceededLate,
        Self::Reversing,
        Self::Reversed,
        Self::Returned,
    ];

    /// The name in rows and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Unknown => "unknown",
            Self::Accepted => "accepted",
            Self::ActionRequired => "action_required",
            Self::Authorized => "authorized",
            Self::Succeeded => "succeeded",
            Self::Declined => "declined",
            Self::NotSent => "not_sent",
            Self::Closed => "closed",
            Self::NotFound => "not_found",
            Self::SucceededLate => "succeeded_late",
            Self::Reversing => "reversing",
            Self::Reversed => "reversed",
            Self::Returned => "returned",
        }
    }

    /// The state of that name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether money may move, or has moved and not yet gone back. No other channel is tried while an attempt is live. The partial unique
    /// index `attempt_one_live_pay` guards the same in SQL, except for late money on its way back, which a newer live attempt may find.
    pub const fn is_live(self) -> bool {
        matches!(
            self,
            Self::Sent
                | Self::Unknown
                | Self::Accepted
                | Self::ActionRequired
                | Self::Authorized
                | Self::Reversing
                | Self::Succeeded
                | Self::SucceededLate
        )
    }

    /// Whether the channel still owes us a word on it.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Sent | Self::Unknown | Self::Accepted | Self::ActionRequired | Self::Reversing | Self::SucceededLate)
    }
}

impl fmt::Display for AttemptState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What can be said of an attempt, once a reply, a notification or an answer to a query was understood and authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// Carried out: for a pay attempt the money was taken.
    Approved,
    /// The money is held.
    Authorized,
    /// The channel has it and is working on it.
    Accepted,
    /// The customer must act.
    ActionRequired,
    /// Refused.
    Declined,
    /// It certainly never left us, or was certainly not processed.
    NotSent,
    /// Nothing is known.
    Unknown,
    /// Confirmed: it can no longer be paid.
    Closed,
    /// Confirmed, in a way that the contract makes final: the channel does not have it.
    NotFound,
    /// A refund came back.
    Returned,
}

impl Fact {
    /// Every fact.
    pub const ALL: [Fact; 10] = [
        Self::Approved,
        Self::Authorized,
        Self::Accepted,
        Self::ActionRequired,
        Self::Declined,
        Self::NotSent,
        Self::Unknown,
        Self::Closed,
        Self::NotFound,
        Self::Returned,
    ];

    /// The name in events, metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Authorized => "authorized",
            Self::Accepted => "accepted",
            Self::ActionRequired => "action_required",
            Self::Declined => "declined",
            Self::NotSent => "not_sent",
            Self::Unknown => "unknown",
            Self::Closed => "closed",
            Self::NotFound => "not_found",
            Self::Returned => "returned",
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

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

/// One row of `attempt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Number within the payment, from 1, in the order of the tries.
    pub n: i16,
    /// What was tried.
    pub operation: Operation,
    /// The id of the channel that it was tried on.
    pub channel: String,
    /// The key that the channel knows it by, chosen at intent and sent with every repeat: 32 lower-case hex digits.
    pub key: String,
    /// What is known.
    pub state: AttemptState,
    /// Minor units of the payment's currency.
    pub amount: i64,
    /// The refund that it carries out, when it is one.
    pub refund_n: Option<i16>,
    /// The attempt that it undoes, when it is a reversal.
    pub undoes: Option<i16>,
    /// The channel's own name for it (Stripe's `pi_…`, `re_…`), once known.
    pub reference: Option<String>,
    /// Why it was declined or could not be sent.
    pub failure: Option<Failure>,
    /// What the customer must do.
    pub next_action: Option<NextAction>,
    /// When somebody must look at it again; `None` when nobody must.
    pub due_at: Option<Timestamp>,
    /// How many times it was looked at since it was last new: the rung of the ladder.
    pub tries: i32,
    /// When the channel first said that it does not have it.
    pub not_found_since: Option<Timestamp>,
    /// Who may act on it: the incarnation of a process.
    pub lease_owner: Option<uuid::Uuid>,
    /// Until when.
    pub lease_until: Option<Timestamp>,
    /// Incremented with every lease: an action of an earlier holder is refused.
    pub fence: i32,
    /// Why this channel was chosen.
    pub reason: String,
    /// The channels that were passed over for it, at most [`PassedOver::MOST`]; those that the payment does not fit with its first attempt only.
    pub passed_over: Vec<PassedOver>,
    /// When its intent was written.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The exchange that brought it where it is, if this process has just had it: it goes into the event of the change, and no row has it.
    pub exchange: Option<Box<Exchange>>,
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

//! What news does to a payment. Facts are always applied, whoever brings them and in whatever order; *actions* (the next attempt, a void, a
//! reversal) are not decided here but in `duty.rs`, because they belong to whoever holds the lease.

use jiff::{SignedDuration, Timestamp};

use super::attempt::{Attempt, AttemptState, Fact, IllegalFact, Step, step};
use super::contract::{Contract, Unanswered, due, rung};
use super::failure::{Failure, FailureCode};
use super::news::{News, Source};
use super::operation::Operation;
use super::payment::{CaptureMethod, Payment, PaymentStatus};
use super::route::PassedOver;

/// What the news did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// Something changed: it must be written.
    Changed,
    /// More was known already: nothing to write.
    Seen,
    /// It cannot be true together with what is known: nothing changed, a person must look.
    Contradiction,
    /// Paid for another amount or currency, said by a message that is not enough to act on: ask the channel.
    Mismatch,
}

impl Payment {
    /// Applies `news` about attempt `n`, brought by `source`.
    ///
    /// # Errors
    /// [`IllegalFact`] when the attempt's state has no meaning for the fact, and when there is no such attempt: nothing changed.
    pub fn learn(&mut self, n: i16, news: &News, source: Source, contract: &Contract, now: Timestamp) -> Result<Learned, IllegalFact> {
        let amount = self.request.amount;
        let currency = self.request.currency;
        let Some(attempt) = self.attempt_mut(n) else {
            return Err(IllegalFact { operation: Operation::Pay, state: AttemptState::NotFound, fact: news.fact });
        };
        let (operation, before) = (attempt.operation, attempt.state);

        let paid = matches!(news.fact, Fact::Approved | Fact::Authorized);
        let expected = if operation == Operation::Refund { attempt.amount } else { amount };
        let wrong_money = paid && news.money.is_some_and(|money| money.amount != expected || money.currency != currency);
        if wrong_money && operation != Operation::Pay {
            return Ok(Learned::Mismatch);
        }
        if wrong_money && matches!(before, AttemptState::Reversing | AttemptState::Reversed) {
            return Ok(Learned::Seen);
        }
        if wrong_money {
            if !matches!(source, Source::Query | Source::Reply | Source::Operator) {
                return Ok(Learned::Mismatch);
            }
            if before == AttemptState::Succeeded {
                return Ok(Learned::Contradiction);
            }
            let message = news.money.map(|money| format!("the channel took {money}; {amount} {currency} was asked for")).unwrap_or_default();
            attempt.failure = Some(Failure::new(FailureCode::AmountMismatch, None, &message));
            self.enter(n, AttemptState::Reversing, news, contract, now);
            return Ok(Learned::Changed);
        }

        match step(operation, before, news.fact)? {
            Step::Contradiction => Ok(Learned::Contradiction),
            Step::Seen => {
                let fresh = news.reference.is_some() && attempt.reference.is_none();
                if fresh {
                    attempt.reference.clone_from(&news.reference);
                }
                Ok(if fresh { Learned::Changed } else { Learned::Seen })
            }
            // Taken from a hold that is known to have ended unpaid: both cannot be true, and money that belongs to no paid attempt is not booked.
            Step::To(AttemptState::Succeeded) if operation == Operation::Capture && !self.stands() => Ok(Learned::Contradiction),
            // Nothing can be asked, so what may have been done is undone: until that is acknowledged nothing else may be tried.
            Step::To(AttemptState::Unknown) if is_undone_unanswered(operation, contract) => {
                let failure = Failure::new(FailureCode::NoAnswer, None, "the channel did not answer in time, and what it may have done is undone");
                if let Some(attempt) = self.attempt_mut(n) {
                    attempt.failure.get_or_insert(failure);
                }
                self.enter(n, AttemptState::Reversing, news, contract, now);
                Ok(Learned::Changed)
            }
            // Its number is its own for ever: it goes again under it.
            Step::To(AttemptState::NotFound) if operation == Operation::Refund && contract.refund_number_is_permanent => {
                self.enter(n, AttemptState::NotSent, news, contract, now);
                Ok(Learned::Changed)
            }
            Step::To(state) => {
                self.enter(n, state, news, contract, now);
                Ok(Learned::Changed)
            }
        }
    }

    /// Whether there is a pay attempt whose money is held or taken.
    fn stands(&self) -> bool {
        let stands = |state| matches!(state, AttemptState::Authorized | AttemptState::Succeeded);
        self.attempts.iter().any(|attempt| attempt.operation == Operation::Pay && stands(attempt.state))
    }

    /// Keeps the reference that a first step yielded: it must be on disk before the next step may move money.
    pub fn keep_reference(&mut self, n: i16, reference: &str, now: Timestamp) {
        if let Some(attempt) = self.attempt_mut(n) {
            attempt.reference = Some(reference.to_owned());
            attempt.updated_at = now;
        }
        self.updated_at = now;
    }

    /// Keeps with attempt `n` which channels would not carry the payment on when it had failed, and why.
    pub fn passed_over_after(&mut self, n: i16, passed_over: &[PassedOver]) {
        if let Some(attempt) = self.attempt_mut(n) {
            attempt.passed_over.extend_from_slice(passed_over);
        }
    }

    /// Writes down that the merchant wants the payment ended. What follows depends on what the channel says.
    pub fn request_cancel(&mut self, now: Timestamp) {
        self.cancel_requested = true;
        self.updated_at = now;
        let waiting = self.current_pay().filter(|pay| pay.state.is_open() && pay.state != AttemptState::Sent).map(|pay| pay.n);
        if let Some(pay) = waiting.and_then(|n| self.attempt_mut(n)) {
            // Asked out of turn: the look that follows costs no rung.
            pay.due_at = Some(now);
            pay.tries = pay.tries.saturating_sub(1).max(0);
        }
        self.derive(now);
        self.call_for_follow_up(now);
    }

    /// Notes when the channel first said that it does not have attempt `n`, and looks again a rung later.
    pub fn not_found(&mut self, n: i16, contract: &Contract, now: Timestamp) {
        if let Some(attempt) = self.attempt_mut(n) {
            attempt.not_found_since.get_or_insert(now);
            attempt.updated_at = now;
        }
        self.updated_at = now;
        self.look_again(n, contract, now);
    }

    /// When attempt `n`, as it now is, must be looked at next. A customer who is waited for is looked after when the wait ends, at the latest; what
    /// the channel did not have, when the contract lets a second such answer end it.
    pub fn next_look(&self, n: i16, contract: &Contract, now: Timestamp) -> Option<Timestamp> {
        let attempt = self.attempt(n)?;
        // A refund that is refused for now under one number after the other waits longer each time, or they would follow each other without a pause.
        let earlier = match (attempt.operation, attempt.state) {
            (Operation::Refund, AttemptState::NotSent) => self.refund_attempts(attempt.refund_n).filter(|other| other.n < n).count(),
            _ => 0,
        };
        let tries = attempt.tries.saturating_add(i32::try_from(earlier).unwrap_or(i32::MAX));
        let due = due(attempt.operation, attempt.state, tries, None, self.capture_before, now)?;
        let waits = attempt.state == AttemptState::ActionRequired && self.request.expires_at > now;
        let due = if waits { due.min(self.request.expires_at) } else { due };
        let final_at =
            attempt.not_found_since.filter(|_| matches!(attempt.state, AttemptState::Sent | AttemptState::Unknown | AttemptState::Accepted));
        let final_at = final_at.and_then(|since| since.checked_add(contract.not_found_final_after).ok()).filter(|final_at| *final_at > now);
        Some(final_at.map_or(due, |final_at| due.min(final_at)))
    }

    /// Moves attempt `n` one rung up the ladder, after a look that told nothing new.
    pub fn look_again(&mut self, n: i16, contract: &Contract, now: Timestamp) {
        let next_look = self.next_look(n, contract, now);
        if let Some(attempt) = self.attempt_mut(n) {
            if attempt.state != AttemptState::Sent {
                attempt.due_at = next_look;
                attempt.tries = attempt.tries.saturating_add(1);
            }
            attempt.lease_owner = None;
            attempt.lease_until = None;
        }
    }

    /// Brings attempt `n` into `state`, with everything that follows for amounts, the hold, the refund, and the status.
    fn enter(&mut self, n: i16, state: AttemptState, news: &News, contract: &Contract, now: Timestamp) {
        let Some(attempt) = self.attempt_mut(n) else { return };
        let before = attempt.state;
        attempt.state = state;
        attempt.updated_at = now;
        attempt.exchange.clone_from(&news.exchange);
        // What is sent again and again not taken waits longer each time.
        attempt.tries = if (before, state) == (AttemptState::Sent, AttemptState::NotSent) { attempt.tries } else { 0 };
        attempt.lease_owner = None;
        attempt.lease_until = None;
        if news.reference.is_some() {
            attempt.reference.clone_from(&news.reference);
        }
        if news.failure.is_some() {
            attempt.failure.clone_from(&news.failure);
        }
        attempt.next_action = if state == AttemptState::ActionRequired { news.next_action.clone() } else { None };
        let (operation, amount, refund_n, undoes) = (attempt.operation, attempt.amount, attempt.refund_n, attempt.undoes);
        self.updated_at = now;

        match operation {
            Operation::Pay => self.pay_entered(n, before, state, news, contract, now),
            Operation::Capture => self.capture_entered(state, amount, contract, now),
            Operation::Void => self.void_entered(state, contract, now),
            Operation::Reversal => self.reversal_entered(undoes, state, now),
            Operation::Refund => self.refund_entered(before, state, amount),
        }
        let next_look = self.next_look(n, contract, now);
        if let Some(attempt) = self.attempt_mut(n) {
            attempt.due_at = next_look;
            attempt.tries = attempt.tries.saturating_add(1);
        }
        if let Some(refund_n) = refund_n {
            self.derive_refund(refund_n, now);
        }
        self.derive(now);
        self.call_for_follow_up(now);
    }

    /// What must be sent next is sent by whoever takes the lease of the attempt that is due: so that something is.
    pub(super) fn call_for_follow_up(&mut self, now: Timestamp) {
        use super::duty::FollowUp;
        let mut when = now;
        let carrier = match self.follow_up(now) {
            None => return,
            Some(FollowUp::Reverse { attempt }) => Some(attempt),
            Some(FollowUp::Void) => {
                when = self.next_void(now);
                self.current_pay().map(|pay| pay.n)
            }
            Some(FollowUp::RefundForCancel) => self.current_pay().map(|pay| pay.n),
            Some(FollowUp::RefundAgain { refund }) => {
                when = self.next_refund_again(refund, now);
                self.refund_attempt(refund).map(|attempt| attempt.n)
            }
        };
        if let Some(attempt) = carrier.and_then(|n| self.attempt_mut(n)) {
            attempt.due_at = Some(when);
            attempt.lease_owner = None;
            attempt.lease_until = None;
        }
    }

    /// When a refund that came to nothing goes again under a new number: at once, and then later each time. Where a channel undoes what it did not
    /// answer, again and again, each round is two more attempts of a payment.
    fn next_refund_again(&self, refund: i16, now: Timestamp) -> Timestamp {
        match i32::try_from(self.refund_attempts(Some(refund)).count()).unwrap_or(i32::MAX) {
            0 | 1 => now,
            tried => now + rung(tried - 2),
        }
    }

    /// When a hold that the channel would not release may be asked after, and released again.
    fn next_void(&self, now: Timestamp) -> Timestamp {
        match self.refused_voids() {
            0 => now,
            refused => now + rung(refused - 1),
        }
    }

    /// The carrier of a follow-up has done its part: the new attempt looks after itself.
    pub fn followed_up(&mut self, n: i16, now: Timestamp) {
        let capture_before = self.capture_before;
        if let Some(attempt) = self.attempt_mut(n) {
            attempt.due_at = match attempt.state {
                AttemptState::Authorized => due(attempt.operation, attempt.state, attempt.tries, None, capture_before, now),
                _ => None,
            };
            attempt.lease_owner = None;
            attempt.lease_until = None;
            attempt.updated_at = now;
        }
        self.updated_at = now;
    }

    fn pay_entered(&mut self, n: i16, before: AttemptState, state: AttemptState, news: &News, contract: &Contract, now: Timestamp) {
        match state {
            AttemptState::Authorized => self.capture_before = Some(news.capture_before.unwrap_or(now + hold(contract))),
            AttemptState::Succeeded => self.take(before, news),
            AttemptState::SucceededLate => self.weigh_late_success(n, news, contract, now),
            _ => {}
        }
    }

    /// The money was taken: all of it, or of a hold what the channel says.
    fn take(&mut self, before: AttemptState, news: &News) {
        let held = before == AttemptState::Authorized || self.request.capture_method == CaptureMethod::Manual;
        let taken = if held { news.captured.unwrap_or(self.request.amount) } else { self.request.amount };
        let taken = taken.clamp(1, self.request.amount);
        self.captured = self.captured.max(taken);
        self.capture_reserved = self.captured;
        self.capture_before = None;
        // A capture of ours that is still in doubt was this one.
        for capture in self.attempts.iter_mut().filter(|attempt| attempt.operation == Operation::Capture && attempt.due_at.is_some()) {
            capture.state = AttemptState::Succeeded;
            capture.due_at = None;
        }
    }

    /// Paid after all. It is adopted only where that cannot pay the order twice; else the money goes back.
    fn weigh_late_success(&mut self, n: i16, news: &News, contract: &Contract, now: Timestamp) {
        let rival = self.attempts.iter().any(|other| other.n != n && other.operation == Operation::Pay && other.state.is_live());
        let adopt = !rival && !self.status.is_final() && self.superseded_by.is_none() && !self.cancel_requested;
        let held = news.fact == Fact::Authorized;
        let next = match (adopt, held) {
            (false, _) => AttemptState::Reversing,
            (true, true) => AttemptState::Authorized,
            (true, false) => AttemptState::Succeeded,
        };
        if let Some(attempt) = self.attempt_mut(n) {
            attempt.state = next;
        }
        if adopt {
            self.pay_entered(n, AttemptState::SucceededLate, next, news, contract, now);
        }
    }

    fn capture_entered(&mut self, state: AttemptState, amount: i64, contract: &Contract, now: Timestamp) {
        match state {
            AttemptState::Succeeded => {
                self.captured += amount;
                if !contract.several_captures || self.captured == self.request.amount {
                    self.capture_reserved = self.captured;
                    self.settle_hold(AttemptState::Succeeded, now);
                }
            }
            AttemptState::Declined | AttemptState::Closed | AttemptState::NotFound => {
                self.capture_reserved -= amount;
                self.ask_after_hold(now);
            }
            _ => {}
        }
    }

    /// The channel would not act on the hold: what became of it is for a query to say.
    fn ask_after_hold(&mut self, when: Timestamp) {
        if let Some(pay) = self.attempts.iter_mut().find(|attempt| attempt.operation == Operation::Pay && attempt.state == AttemptState::Authorized) {
            pay.due_at = Some(when);
        }
    }

    fn void_entered(&mut self, state: AttemptState, contract: &Contract, now: Timestamp) {
        match state {
            AttemptState::Succeeded | AttemptState::Closed => self.settle_hold(AttemptState::Closed, now),
            AttemptState::Declined | AttemptState::NotFound => {
                self.capture_before.get_or_insert(now + hold(contract));
                self.ask_after_hold(self.next_void(now));
            }
            _ => {}
        }
    }

    /// Ends the hold itself.
    fn settle_hold(&mut self, state: AttemptState, now: Timestamp) {
        self.capture_before = None;
        if let Some(pay) = self.attempts.iter_mut().find(|attempt| attempt.operation == Operation::Pay && attempt.state == AttemptState::Authorized) {
            pay.state = state;
            pay.due_at = None;
            pay.updated_at = now;
        }
    }

    fn reversal_entered(&mut self, undoes: Option<i16>, state: AttemptState, now: Timestamp) {
        if state != AttemptState::Succeeded {
            return;
        }
        let mut refund = None;
        let undone = |attempt: &&mut Attempt| attempt.state == AttemptState::Reversing && undoes.is_none_or(|n| n == attempt.n);
        if let Some(undone) = self.attempts.iter_mut().find(undone) {
            undone.state = AttemptState::Reversed;
            undone.due_at = None;
            undone.updated_at = now;
            refund = undone.refund_n;
        }
        if let Some(refund) = refund {
            self.derive_refund(refund, now);
        }
    }

    fn refund_entered(&mut self, before: AttemptState, state: AttemptState, amount: i64) {
        match (before, state) {
            (_, AttemptState::Succeeded) => self.refunded += amount,
            (AttemptState::Succeeded, AttemptState::Returned) => {
                self.refunded -= amount;
                self.refund_reserved -= amount;
            }
            // Nothing was booked as given back yet.
            (_, AttemptState::Declined | AttemptState::Closed | AttemptState::Returned) => self.refund_reserved -= amount,
            _ => {}
        }
    }

    /// Whether the payment may go to another channel now: only after an end that is certain, in time, and never after a cancel.
    pub fn may_try_another_channel(&self, now: Timestamp) -> bool {
        let certain = self.attempts.iter().filter(|attempt| attempt.operation == Operation::Pay).all(|attempt| match attempt.state {
            AttemptState::NotSent | AttemptState::Closed | AttemptState::NotFound | AttemptState::Reversed => true,
            AttemptState::Declined => attempt.failure.as_ref().is_none_or(|failure| failure.code.another_channel_may_help()),
            _ => false,
        });
        certain && !self.cancel_requested && self.superseded_by.is_none() && now < self.request.deadline_at && self.captured == 0
    }

    /// Whether the end of this payment frees its order for a new one.
    pub fn frees_its_order(&self) -> bool {
        let money_moving = self.attempts.iter().any(|attempt| attempt.operation == Operation::Pay && attempt.state.is_live());
        self.status.ended_unpaid() && self.captured == 0 && !money_moving
    }

    /// Whether a caller who waits has what they wait for: an end, a customer who must act, or a hold.
    pub fn is_worth_answering(&self) -> bool {
        match self.status {
            PaymentStatus::Processing => false,
            PaymentStatus::RequiresCapture => self.outcome == super::payment::Outcome::Approved,
            _ => true,
        }
    }
}

/// Whether an attempt of this kind is undone when nothing is known of it, because nothing can be asked.
fn is_undone_unanswered(operation: Operation, contract: &Contract) -> bool {
    contract.unanswered == Unanswered::Reverse && matches!(operation, Operation::Pay | Operation::Refund)
}

fn hold(contract: &Contract) -> SignedDuration {
    SignedDuration::try_from(contract.hold_lasts).unwrap_or(SignedDuration::from_hours(24))
}

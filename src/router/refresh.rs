//! A merchant wants to know now: its payment or refund is not final, and instead of waiting for the ladder's next rung the channel is asked.
//!
//! It is one question and no more. It goes out under a lease as the poller's do, through the guard's share for resolving, and not within
//! [`ASKED_EVERY`] of the last question about the same attempt, whoever put it, in whichever process. What is due anyway is done as the poller
//! would do it. What is not due is only asked about: nothing is closed, repeated or given up before its time, the ladder stays where it is, and
//! "I do not have it" is not counted as one of the looks that make it final.
//!
//! Where nothing may be asked now (the channel is shut, too many ask there, it was asked a moment ago, it is not in the settings any more), the
//! answer is what is known. A refresh is a read: it never fails because the channel does.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Refresh;
use super::answer::{Answer, FlowError, is_settled};
use super::carrying::Stopwatch;
use super::flows::Flows;
use super::resolve::{question, reading};
use crate::domain::contract::Unanswered;
use crate::domain::{Attempt, AttemptState, OperationClass, Payment, RefundStatus, Subject};
use crate::provider::Reply;
use crate::store::lease::{Asking, Claim};

/// The least time between two questions about one attempt that nobody has planned.
const ASKED_EVERY: SignedDuration = SignedDuration::from_secs(2);

/// What comes of wanting to ask.
enum Inquiry {
    /// It is under way, whether or not anybody waits for it.
    UnderWay(JoinHandle<Result<(), FlowError>>),
    /// Somebody else asks, or carries it: the answer is theirs to get, in this time at most.
    Theirs(Duration),
    /// Not now.
    NotNow,
}

impl Flows {
    /// The payment, or the refund of it, after its channel was asked if that may be.
    pub(super) async fn refresh(&self, message: Refresh) -> Result<Answer, FlowError> {
        let Refresh { merchant, payment: id, subject, wait } = message;
        let until = Instant::now() + wait;
        let mut stopwatch = Stopwatch::start();
        let payment = self.shared.store.payment_of(merchant, id).await?.ok_or(FlowError::NotFound("payment"))?;
        let Some(attempt) = in_question(&payment, subject).cloned() else {
            return Ok(Answer { payment: Arc::new(payment), subject, replayed: false, ours: stopwatch.ours() });
        };
        let mut waiter = self.shared.waiting.watch(id);
        match self.ask_ahead(&payment, &attempt).await? {
            Inquiry::UnderWay(end) => {
                // A look that failed is logged where it did; what is known is the answer all the same.
                let _ended_or_late = stopwatch.theirs(tokio::time::timeout_at(until, end)).await.is_ok();
            }
            Inquiry::Theirs(patience) => {
                let until = until.min(Instant::now() + patience);
                let _heard = stopwatch.theirs(waiter.until(until, |payment| is_settled(payment, subject))).await;
            }
            Inquiry::NotNow => {}
        }
        let payment = Arc::new(self.reload(id).await?);
        Ok(Answer { payment, subject, replayed: false, ours: stopwatch.ours() })
    }

    async fn ask_ahead(&self, payment: &Payment, attempt: &Attempt) -> Result<Inquiry, FlowError> {
        let Some(channel) = self.channel(&attempt.channel) else { return Ok(Inquiry::NotNow) };
        let admitted = channel.handle.guard().would_admit(OperationClass::Resolve, self.shared.clock.boot());
        // What a channel that has no questions did not answer is undone, on its plan: there is nothing to ask ahead of it.
        let can_be_asked = channel.handle.provider().contract().unanswered == Unanswered::Query;
        let Some(place) = channel.place_to_ask().filter(|_| admitted && can_be_asked) else { return Ok(Inquiry::NotNow) };
        let (lease, _) = self.lease(channel, 1);
        let now = self.now();
        let asking = Asking { owner: lease.owner, now, until: lease.until, not_asked_since: now - ASKED_EVERY };
        let Some(claim) = self.shared.store.claim_attempt(payment.id, attempt.n, asking).await? else {
            let held = attempt.lease_until.is_some_and(|until| until > now);
            return Ok(if held { Inquiry::Theirs(channel.call_timeout) } else { Inquiry::NotNow });
        };
        let flows = self.clone();
        Ok(Inquiry::UnderWay(self.go_on(async move {
            let _place = place;
            if claim.ahead { flows.look_ahead(&claim).await } else { flows.inquire(claim).await }
        })))
    }

    /// Asks about an attempt before its time, and applies what the channel knows. The lease goes back, and the plan stays as it was.
    async fn look_ahead(&self, claim: &Claim) -> Result<(), FlowError> {
        let result = self.question_and_apply(claim).await;
        if let Err(error) = &result {
            tracing::error!(payment = %claim.payment, attempt = claim.n, channel = %claim.channel, error = %error, "a merchant's look at an attempt failed");
        }
        // Where something was learned the lease is gone with the fence, and this changes nothing.
        let _away = self.shared.store.postpone(claim, None, false).await;
        result
    }

    async fn question_and_apply(&self, claim: &Claim) -> Result<(), FlowError> {
        let payment = self.reload(claim.payment).await?;
        let Some(attempt) = payment.attempt(claim.n).cloned() else { return Ok(()) };
        if attempt.fence != claim.fence {
            return Ok(());
        }
        let channel = self.channel_of(&attempt.channel)?.clone();
        let verb = question(&payment, &attempt);
        let Some(Reply::News { news, .. }) = self.ask(&payment, &attempt, claim, &channel, verb).await? else { return Ok(()) };
        if let Some(news) = reading(&attempt, verb, news) {
            self.apply(payment, claim, &channel, &news).await?;
        }
        Ok(())
    }
}

/// The attempt whose end the subject waits for, if its channel can be asked about it.
fn in_question(payment: &Payment, subject: Subject) -> Option<&Attempt> {
    match subject {
        Subject::Refund(n) => {
            let waits = payment.refund(n).is_some_and(|refund| refund.status == RefundStatus::Processing);
            payment.refund_attempt(n).filter(|attempt| waits && attempt.state.is_open())
        }
        Subject::Payment | Subject::Capture(_) | Subject::Cancel => {
            if payment.status.is_final() {
                return None;
            }
            let open = payment.attempts.iter().rev().find(|attempt| attempt.refund_n.is_none() && attempt.state.is_open());
            open.or_else(|| payment.current_pay().filter(|pay| pay.state == AttemptState::Authorized))
        }
    }
}

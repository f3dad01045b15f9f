//! How news becomes a change on disk. Everything that a flow learns goes through [`Flows::settle`]: it asks `domain` what the news does to the
//! payment, writes the difference onto the version that it started from, and starts again from the newer one when there is one. Facts are
//! applied whoever brings them; only who holds the lease may act on them.

use super::answer::FlowError;
use super::flows::Flows;
use crate::domain::{
    Attempt, AttemptState, Change, Contract, FailureCode, Learned, News, Operation, Payment, PaymentStatus, RefundSource, RefundStatus, Source,
};
use crate::store::ChangeVerdict;

/// How often a change that others overtake is started again. Each time somebody else has made progress.
pub(super) const OVERTAKEN: usize = 256;

/// What the news did, and the payment as it now is.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) payment: Payment,
    pub(super) learned: Learned,
}

impl Flows {
    /// Applies news about attempt `n`. Returns when its change is on disk, or when it changes nothing.
    pub(super) async fn settle(&self, mut payment: Payment, n: i16, news: &News, source: Source, contract: &Contract) -> Result<Settled, FlowError> {
        for _ in 0..OVERTAKEN {
            let now = self.now();
            let mut draft = payment.clone();
            let learned = match draft.learn(n, news, source, contract, now) {
                Ok(learned) => learned,
                Err(illegal) => {
                    tracing::error!(payment = %payment.id, attempt = n, source = source.as_str(), error = %illegal, "news that cannot be: it was not applied");
                    return Ok(Settled { payment, learned: Learned::Contradiction });
                }
            };
            match learned {
                Learned::Seen => return Ok(Settled { payment, learned }),
                Learned::Contradiction | Learned::Mismatch => {
                    tracing::error!(payment = %payment.id, attempt = n, source = source.as_str(), fact = %news.fact, ?learned,
                        "the channel contradicts what is known: a person must look");
                    self.page(&payment, n);
                    return Ok(Settled { payment, learned });
                }
                Learned::Changed => {}
            }
            match self.write(&payment, draft, source).await? {
                Written::Done(after) => {
                    self.tell(&payment, &after, source);
                    return Ok(Settled { payment: *after, learned });
                }
                Written::Overtaken => payment = self.reload(payment.id).await?,
            }
        }
        Err(FlowError::Internal(format!("{} changes faster than its news can be written", payment.id)))
    }

    /// Writes the difference between `before` and `draft`.
    pub(super) async fn write(&self, before: &Payment, draft: Payment, source: Source) -> Result<Written, FlowError> {
        self.write_change(Change::between(before, draft, source)).await
    }

    /// Writes a change, and tells those who wait for the payment.
    pub(super) async fn write_change(&self, change: Change) -> Result<Written, FlowError> {
        let after = change.after.clone();
        match self.shared.store.journal.commit(change).await? {
            ChangeVerdict::Applied => {
                self.shared.waiting.tell(&after);
                Ok(Written::Done(Box::new(after)))
            }
            ChangeVerdict::Stale | ChangeVerdict::Fenced | ChangeVerdict::KeyTaken | ChangeVerdict::RefundTaken => Ok(Written::Overtaken),
        }
    }

    /// Counts what a change has brought to an end.
    pub(super) fn tell(&self, before: &Payment, after: &Payment, source: Source) {
        if after.status.is_final() && !before.status.is_final() {
            metrics::counter!("breakwater_payments_total", "status" => after.status.as_str()).increment(1);
            metrics::histogram!("breakwater_payment_completion_seconds").record(seconds_between(after.created_at, after.updated_at));
        }
        if after.status.is_final() {
            self.shared.recent.remember(after);
        }
        for attempt in &after.attempts {
            if is_wrong_money(attempt) && !before.attempt(attempt.n).is_some_and(is_wrong_money) {
                self.page(after, attempt.n);
            }
            let was_unknown = before.attempt(attempt.n).is_some_and(is_unknown);
            if was_unknown && !is_unknown(attempt) {
                metrics::histogram!("breakwater_unknown_outcome_resolution_seconds", "resolved_by" => source.as_str())
                    .record(seconds_between(attempt.created_at, after.updated_at));
            }
        }
        for refund in &after.refunds {
            let old = before.refund(refund.n).map(|old| old.status);
            if old != Some(refund.status)
                && let Some(attempt) = after.refund_attempt(refund.n)
            {
                metrics::counter!("breakwater_refunds_total", "channel" => attempt.channel.clone(), "status" => refund.status.as_str()).increment(1);
                match (refund.status, refund.source, self.channel(&attempt.channel)) {
                    (RefundStatus::Returned, _, Some(channel)) => channel.moved.a_return(),
                    (RefundStatus::Succeeded, RefundSource::Channel, Some(channel)) => channel.moved.a_refund(),
                    _ => {}
                }
            }
        }
        tracing::info!(payment = %after.id, status = %after.status, outcome = %after.outcome, sequence = after.sequence, source = source.as_str(), "payment changed");
    }
}

impl Flows {
    /// What attempt `n`'s channel says of its money cannot be true together with what is known, or is not what was asked for: on call is told.
    fn page(&self, payment: &Payment, n: i16) {
        if let Some(channel) = payment.attempt(n).and_then(|attempt| self.channel(&attempt.channel)) {
            channel.moved.a_misfit();
        }
    }
}

/// What became of a write.
#[derive(Debug)]
pub(super) enum Written {
    /// On disk: the payment as it now is.
    Done(Box<Payment>),
    /// Somebody else was first: nothing was written.
    Overtaken,
}

fn is_unknown(attempt: &Attempt) -> bool {
    attempt.state == AttemptState::Unknown
}

/// Whether the channel took another amount or currency than was asked for, and it is on its way back.
fn is_wrong_money(attempt: &Attempt) -> bool {
    let mismatch = attempt.failure.as_ref().is_some_and(|failure| failure.code == FailureCode::AmountMismatch);
    mismatch && matches!(attempt.state, AttemptState::Reversing | AttemptState::Reversed)
}

pub(super) fn seconds_between(from: jiff::Timestamp, to: jiff::Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

/// Whether it is known how much there is to give back: neither the payment nor a capture of it is in doubt.
pub(super) fn is_resolved(payment: &Payment) -> bool {
    let capture_in_doubt = payment.attempts.iter().any(|attempt| attempt.operation == Operation::Capture && attempt.state.is_open());
    !capture_in_doubt && !matches!(payment.status, PaymentStatus::Processing)
}

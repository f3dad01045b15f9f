//! What a merchant does with money that is held: take it, or let it go. The same steps as a payment's (intent, call, outcome), on the channel
//! that holds it; what cannot be sent now waits in a durable queue.

use super::answer::{Answer, FlowError};
use super::carrying::{Claimed, Stopwatch, touched};
use super::flows::Flows;
use super::settle::OVERTAKEN;
use super::{Capture, Void};
use crate::crash::{self, Point};
use crate::domain::{Change, NewAttempt, Operation, PaymentStatus, Source, Subject};

impl Flows {
    /// Takes money that is held.
    pub(super) async fn capture(&self, message: Capture) -> Result<Answer, FlowError> {
        let until = tokio::time::Instant::now() + message.wait;
        let mut stopwatch = Stopwatch::start();
        if let Some(answer) = self.known(message.claim).await? {
            return Ok(answer);
        }
        for _ in 0..OVERTAKEN {
            let payment = self.shared.store.payment_of(message.merchant, message.payment).await?.ok_or(FlowError::NotFound("payment"))?;
            let under_way = payment.open_attempt(Operation::Capture).is_some();
            if under_way {
                return Err(FlowError::CaptureInProgress);
            }
            if payment.status != PaymentStatus::RequiresCapture || payment.cancel_requested || payment.open_attempt(Operation::Void).is_some() {
                return Err(FlowError::WrongState { status: payment.status, verb: "captured" });
            }
            let capturable = payment.capturable();
            let amount = message.amount.unwrap_or(capturable);
            if amount > capturable {
                return Err(FlowError::CaptureExceedsHold { capturable });
            }
            let Some(pay) = payment.current_pay().cloned() else { return Err(FlowError::NotFound("payment")) };
            let channel = self.channel_of(&pay.channel)?.clone();
            let (lease, send_by) = self.lease(&channel, 1);
            let key = self.new_key(&channel).await?;
            let mut draft = payment.clone();
            draft.capture_reserved += amount;
            let attempt = NewAttempt {
                operation: Operation::Capture,
                channel: pay.channel.clone(),
                key,
                amount,
                refund_n: None,
                undoes: None,
                reason: "the channel that holds it".to_owned(),
                passed_over: Vec::new(),
            };
            let n = draft.add_attempt(attempt, lease, self.now());
            let change = Change::between(&payment, touched(draft, self.now()), Source::Merchant).claiming(message.claim.on(Subject::Capture(n)));
            match self.claim(change, message.claim).await? {
                Claimed::Won(after) => {
                    let known = (*after).clone();
                    let carried = self.carry_out(*after, n, &channel, send_by, &mut stopwatch).await;
                    let Some(after) = self.unless_lost(carried, &known)? else { return Ok(Answer::as_far_as_known(known, Subject::Capture(n))) };
                    return self.wait_for_end(after, Subject::Capture(n), until, stopwatch.ours()).await;
                }
                Claimed::Known(answer) => return Ok(answer),
                Claimed::Overtaken => {}
            }
        }
        Err(FlowError::Internal(format!("{} changes faster than it can be captured", message.payment)))
    }

    /// Ends a payment that is not final. What is held is released at once; what is on its way is closed by the poller.
    pub(super) async fn cancel(&self, message: Void) -> Result<Answer, FlowError> {
        let until = tokio::time::Instant::now() + message.wait;
        let mut stopwatch = Stopwatch::start();
        if let Some(answer) = self.known(message.claim).await? {
            return Ok(answer);
        }
        for _ in 0..OVERTAKEN {
            let payment = self.shared.store.payment_of(message.merchant, message.payment).await?.ok_or(FlowError::NotFound("payment"))?;
            if payment.status.is_final() {
                return Err(FlowError::WrongState { status: payment.status, verb: "canceled" });
            }
            let now = self.now();
            let mut draft = payment.clone();
            draft.request_cancel(now);
            let voids = draft.follow_up(now) == Some(crate::domain::FollowUp::Void);
            let held_at = payment.current_pay().filter(|_| voids).map(|pay| (pay.n, pay.channel.clone()));
            let mut void = None;
            if let Some((pay_n, channel_id)) = held_at {
                let channel = self.channel_of(&channel_id)?.clone();
                let (lease, send_by) = self.lease(&channel, 1);
                draft.followed_up(pay_n, now);
                let key = self.new_key(&channel).await?;
                if let Some(attempt) = draft.undoing(crate::domain::FollowUp::Void, key) {
                    void = Some((draft.add_attempt(attempt, lease, now), channel, send_by));
                }
            }
            let change = Change::between(&payment, touched(draft, now), Source::Merchant).claiming(message.claim.on(Subject::Cancel));
            match self.claim(change, message.claim).await? {
                Claimed::Won(after) => {
                    crash::pass(Point::CancelWritten);
                    let known = (*after).clone();
                    let carried = match void {
                        Some((n, channel, send_by)) => self.carry_out(*after, n, &channel, send_by, &mut stopwatch).await,
                        None => Ok(*after),
                    };
                    let Some(after) = self.unless_lost(carried, &known)? else { return Ok(Answer::as_far_as_known(known, Subject::Cancel)) };
                    return self.wait_for_end(after, Subject::Cancel, until, stopwatch.ours()).await;
                }
                Claimed::Known(answer) => return Ok(answer),
                Claimed::Overtaken => {}
            }
        }
        Err(FlowError::Internal(format!("{} changes faster than it can be canceled", message.payment)))
    }
}

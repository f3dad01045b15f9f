//! The refund flow: one script, top to bottom.
//!
//! A refund is a wish that is kept: once it is on disk its amount is spoken for, and its attempt is sent, and sent again with the same
//! number, until the channel has taken it or has finally said no. Only that, or the channel taking it back, frees the amount. It always goes
//! through the channel that captured, and has its own share of flows, so that a flood of refunds takes nothing from payments.

use super::Refund as Message;
use super::answer::{Answer, FlowError};
use super::carrying::{Claimed, Stopwatch, touched};
use super::flows::Flows;
use super::settle::{OVERTAKEN, Written, is_resolved};
use crate::crash::{self, Point};
use crate::domain::{
    AttemptState, Change, NewAttempt, Operation, Outcome, Payment, Refund, RefundId, RefundRequest, RefundSource, RefundStatus, Source, Subject,
};

impl Flows {
    /// Gives captured money back.
    pub(super) async fn refund(&self, message: Message) -> Result<Answer, FlowError> {
        let until = tokio::time::Instant::now() + message.wait;
        let mut stopwatch = Stopwatch::start();
        if let Some(answer) = self.known(message.claim).await? {
            return Ok(answer);
        }
        for _ in 0..OVERTAKEN {
            let payment = self.shared.store.payment_of(message.merchant, message.payment).await?.ok_or(FlowError::NotFound("payment"))?;
            if let Some(known) = self.shared.store.known_refund(message.merchant, &message.request.merchant_refund_id).await? {
                return Err(FlowError::DuplicateRefund { existing: known.id });
            }
            // Whether there is anything to give back is not known yet: that comes before the ceiling.
            if !is_resolved(&payment) {
                return Err(FlowError::PaymentUnresolved);
            }
            if payment.captured == 0 {
                return Err(FlowError::WrongState { status: payment.status, verb: "refunded" });
            }
            let contract = self.channel_of(payment.current_pay().map_or("", |pay| &pay.channel))?.handle.provider().contract();
            if self.now().duration_since(payment.created_at).unsigned_abs() > contract.refund_window {
                return Err(FlowError::RefundWindowClosed { days: contract.refund_window.as_secs() / 86_400 });
            }
            if payment.has_all_its_refunds(contract) {
                return Err(FlowError::TooManyRefunds { most: contract.refunds_at_most, in_all: contract.refunds_in_all() });
            }
            let refundable = payment.refundable();
            let amount = message.request.amount.unwrap_or(refundable);
            if amount > refundable || refundable == 0 {
                return Err(FlowError::RefundExceedsCaptured { refundable });
            }
            let Some(pay) = payment.current_pay().cloned() else { return Err(FlowError::NotFound("payment")) };
            let channel = self.channel_of(&pay.channel)?.clone();
            let (lease, send_by) = self.lease(&channel, 1);
            let key = self.new_key(&channel).await?;
            let now = self.now();
            let mut draft = payment.clone();
            let turn = payment.refund_turn(None, contract.refund_spacing).filter(|turn| *turn > now);
            let (refund_n, attempt_n) = add_refund(&mut draft, &message.request, amount, RefundSource::Merchant, (&pay.channel, key), lease, now);
            // Within the channel's spacing of another one it waits in the queue, whoever asks: the next look sends it.
            if let Some(turn) = turn {
                draft.queue_refund(attempt_n, turn, now);
            }
            let change = Change::between(&payment, touched(draft, now), Source::Merchant).claiming(message.claim.on(Subject::Refund(refund_n)));
            crash::pass(Point::RefundWanted);
            match self.claim(change, message.claim).await? {
                Claimed::Won(after) => {
                    metrics::counter!("breakwater_refunds_total", "channel" => pay.channel.clone(), "status" => "processing").increment(1);
                    let known = (*after).clone();
                    if turn.is_some() {
                        return Ok(Answer::as_far_as_known(known, Subject::Refund(refund_n)));
                    }
                    let carried = self.carry_out(*after, attempt_n, &channel, send_by, &mut stopwatch).await;
                    let Some(after) = self.unless_lost(carried, &known)? else {
                        return Ok(Answer::as_far_as_known(known, Subject::Refund(refund_n)));
                    };
                    // A refund that the channel works on may take days: only one that is in flight is worth waiting for.
                    let wait = after.refund(refund_n).is_some_and(|refund| refund.outcome == Outcome::Unknown);
                    let until = if wait { until } else { tokio::time::Instant::now() };
                    return self.wait_for_end(after, Subject::Refund(refund_n), until, stopwatch.ours()).await;
                }
                Claimed::Known(answer) => return Ok(answer),
                Claimed::Overtaken => {}
            }
        }
        Err(FlowError::Internal(format!("{} changes faster than it can be refunded", message.payment)))
    }

    /// Gives back what was captured although a cancel had been requested. `carrier` is the attempt whose lease this acts under.
    pub(super) async fn refund_for_cancel(&self, payment: &Payment, carrier: i16, fence: i32) -> Result<(), FlowError> {
        let Some(pay) = payment.current_pay().cloned() else { return Ok(()) };
        let channel = self.channel_of(&pay.channel)?.clone();
        let (lease, send_by) = self.lease(&channel, 1);
        let key = self.new_key(&channel).await?;
        let now = self.now();
        let mut draft = payment.clone();
        let earlier = payment.refunds.iter().filter(|refund| refund.source == RefundSource::Cancel).count();
        let request = RefundRequest {
            merchant_refund_id: match earlier {
                0 => format!("breakwater:cancel:{}", payment.id),
                earlier => format!("breakwater:cancel:{}:{}", payment.id, earlier + 1),
            },
            amount: None,
            reason: Some("the payment was canceled".to_owned()),
            metadata: std::collections::BTreeMap::new(),
        };
        let amount = payment.refundable();
        let (_, n) = add_refund(&mut draft, &request, amount, RefundSource::Cancel, (&pay.channel, key), lease, now);
        draft.followed_up(carrier, now);
        let change = Change::between(payment, touched(draft, now), Source::Query).fenced(carrier, fence);
        if let Written::Done(after) = self.write_change(change).await? {
            self.carry_out(*after, n, &channel, send_by, &mut Stopwatch::start()).await?;
        }
        Ok(())
    }

    /// Carries a refund out with a new key: the channel finally does not have the last one.
    pub(super) async fn refund_again(&self, payment: &Payment, refund: i16, carrier: i16, fence: i32) -> Result<(), FlowError> {
        let Some(last) = payment.refund_attempt(refund).cloned() else { return Ok(()) };
        let channel = self.channel_of(&last.channel)?.clone();
        let (lease, send_by) = self.lease(&channel, 1);
        let now = self.now();
        let mut draft = payment.clone();
        let reason = match last.state {
            AttemptState::Reversed => "the one before was not answered, and is undone",
            AttemptState::NotSent => "the channel did not take the one before",
            _ => "the channel does not have the one before",
        };
        let attempt = NewAttempt {
            operation: Operation::Refund,
            channel: last.channel.clone(),
            key: self.new_key(&channel).await?,
            amount: last.amount,
            refund_n: Some(refund),
            undoes: None,
            reason: reason.to_owned(),
            passed_over: Vec::new(),
        };
        let n = draft.add_attempt(attempt, lease, now);
        draft.followed_up(carrier, now);
        let change = Change::between(payment, touched(draft, now), Source::Query).fenced(carrier, fence);
        if let Written::Done(after) = self.write_change(change).await? {
            self.carry_out(*after, n, &channel, send_by, &mut Stopwatch::start()).await?;
        }
        Ok(())
    }
}

/// Adds a refund and its first attempt to the draft: their numbers. What it takes is spoken for from here on.
fn add_refund(
    draft: &mut Payment,
    request: &RefundRequest,
    amount: i64,
    source: RefundSource,
    (channel, key): (&str, String),
    lease: crate::domain::Lease,
    now: jiff::Timestamp,
) -> (i16, i16) {
    let refund_n = draft.next_refund();
    draft.refund_reserved += amount;
    draft.refunds.push(Refund {
        n: refund_n,
        id: RefundId::mint(now, draft.id.bucket()),
        merchant_refund_id: request.merchant_refund_id.clone(),
        amount,
        reason: request.reason.clone(),
        metadata: request.metadata.clone(),
        source,
        status: RefundStatus::Processing,
        outcome: Outcome::Pending,
        created_at: now,
        updated_at: now,
    });
    let attempt = NewAttempt {
        operation: Operation::Refund,
        channel: channel.to_owned(),
        key,
        amount,
        refund_n: Some(refund_n),
        undoes: None,
        reason: "the channel that captured".to_owned(),
        passed_over: Vec::new(),
    };
    let attempt_n = draft.add_attempt(attempt, lease, now);
    (refund_n, attempt_n)
}

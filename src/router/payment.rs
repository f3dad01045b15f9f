//! The payment flow: one script, top to bottom.
//!
//! *Plan → permit → intent → call → outcome.* The channels that may carry the payment are planned; the first whose guard gives a permit is
//! taken (`choice.rs`); payment, attempt and guards are on disk, in one commit, before the first byte leaves; then the call; then its outcome is
//! written, together with the next attempt's intent where `domain` says that another channel may be tried. No transaction is open across a
//! call. Whatever happens after the intent, the payment is on disk with its lease: if this process dies, the poller asks the channel.

use std::collections::HashMap;

use super::Authorize;
use super::answer::{Answer, Claim, FlowError};
use super::carrying::Stopwatch;
use super::choice::{Chosen, Route};
use super::flows::{Channel, Flows};
use super::settle::{OVERTAKEN, Written};
use crate::channel::guard::Permit;
use crate::clock::Moment;
use crate::crash::{self, Point};
use crate::domain::{
    AttemptState, Change, Fact, Failure, FailureCode, FollowUp, Lease, NewAttempt, News, Operation, PassedOver, Payment, PaymentId, PaymentRequest,
    Source, Subject, route,
};
use crate::provider::{Call, CardData, Reply, Verb};
use crate::store::{ChangeVerdict, Intent, IntentVerdict};

/// A pay attempt makes at most this many calls: a first step for the reference, then the one that moves money.
const PAY_CALLS: u32 = 2;

/// One call of a pay attempt, at most with a second step: where, under which permit and until when its first byte may leave.
struct Leg<'a> {
    channel: &'a Channel,
    permit: Option<Permit>,
    send_by: Moment,
    card: Option<&'a CardData>,
}

impl Flows {
    /// Creates a payment and carries it as far as the caller waits.
    pub(super) async fn authorize(&self, message: Authorize) -> Result<Answer, FlowError> {
        let until = tokio::time::Instant::now() + message.wait;
        let mut stopwatch = Stopwatch::start();
        let Authorize { request, card, claim, .. } = message;

        let plan = route::plan(&request, self.candidates());
        for (channel, misfit) in &plan.misfits {
            metrics::counter!("breakwater_routing_decisions_total", "channel" => channel.clone(), "reason" => misfit.as_str()).increment(1);
        }
        if plan.channels.is_empty() {
            return self.replay_or(claim, FlowError::NoChannel(plan.why_not())).await;
        }
        let misfits = plan.passed_over();
        let mut route = Route { planned: plan.channels.len(), remaining: plan.channels.into(), misfits, card, refusals: HashMap::new() };
        let chosen = match self.choose_within_a_moment(&request, &mut route, claim).await? {
            Ok(chosen) => chosen,
            Err(replay) => return Ok(replay),
        };
        let (lease, send_by) = self.lease(chosen.channel, PAY_CALLS);
        let payment = match self.open(request, &mut route, claim, &chosen, lease).await? {
            Opened::New(payment) => *payment,
            Opened::Known(payment) => return self.replay(payment, claim).await,
        };
        crash::pass(Point::PaymentWritten);
        let opened = payment.clone();
        let mut waiter = self.shared.waiting.watch(opened.id);
        let carrying = {
            let (flows, channel, permit) = (self.clone(), chosen.channel.clone(), chosen.permit);
            self.go_on(async move {
                let carried = flows.carry(payment, &channel, permit, send_by, route, &mut stopwatch).await;
                (carried, stopwatch.ours())
            })
        };
        // Whatever comes first: the flow's end, news from elsewhere that is enough, or the end of the caller's patience. The flow goes on.
        tokio::select! {
            biased;
            carried = carrying => {
                let (carried, ours) = carried.map_err(|error| FlowError::Internal(format!("the flow of {} broke off: {error}", opened.id)))?;
                metrics::histogram!("breakwater_payment_overhead_seconds").record(ours.as_secs_f64());
                match self.unless_lost(carried, &opened)? {
                    Some(payment) => self.wait_for_end(payment, Subject::Payment, until, ours).await,
                    None => Ok(Answer::as_far_as_known(opened, Subject::Payment)),
                }
            }
            heard = waiter.until(until, |payment| payment.is_worth_answering()) => {
                let payment = heard.map_or(opened, |heard| (*heard).clone());
                Ok(Answer::as_far_as_known(payment, Subject::Payment))
            }
        }
    }

    /// Writes the intent. The order may be taken over from a payment that ended unpaid.
    async fn open(&self, request: PaymentRequest, route: &mut Route, claim: Claim, chosen: &Chosen<'_>, lease: Lease) -> Result<Opened, FlowError> {
        let now = self.now();
        let card = route.card.as_ref();
        let mut passed_over = chosen.passed_over.clone();
        passed_over.append(&mut route.misfits);
        let first = NewAttempt {
            operation: Operation::Pay,
            channel: chosen.channel.handle.id().to_owned(),
            key: self.new_key(chosen.channel).await?,
            amount: request.amount,
            refund_n: None,
            undoes: None,
            reason: chosen.reason(None),
            passed_over,
        };
        let payment = Payment::open(PaymentId::mint(now, order_bucket(&request)), request, first, lease, now);
        // Sealed and on disk before the intent: from the intent on, a reversal may need it. What comes to nothing is erased.
        if let Some(card) = card {
            self.keep_card(&payment, card).await?;
            crash::pass(Point::CardSealed);
        }
        let id = payment.id;
        let opened = self.win(Change::opening(payment, claim.on(Subject::Payment))).await;
        if card.is_some() && !matches!(opened, Ok(Opened::New(_)) | Err(FlowError::Journal(_) | FlowError::Store(_))) {
            self.shared.store.drop_card(id).await?;
        }
        opened
    }

    /// Wins key and order for a new payment, or says who has them.
    async fn win(&self, change: Change) -> Result<Opened, FlowError> {
        let mut takes_over = None;
        for _ in 0..OVERTAKEN {
            let intent = Intent { change: change.clone(), takes_over };
            match self.shared.store.journal.open(intent).await? {
                IntentVerdict::Applied => return Ok(Opened::New(Box::new(change.after))),
                IntentVerdict::KeyTaken(known) => return Ok(Opened::Known(known)),
                IntentVerdict::OrderTaken(holder) => {
                    // An order whose payment is long gone counts as paid.
                    let Some(holding) = self.shared.store.payment(holder).await? else { return Err(FlowError::DuplicateOrder { existing: holder }) };
                    if !holding.frees_its_order() || holding.superseded_by.is_some() {
                        return Err(FlowError::DuplicateOrder { existing: holder });
                    }
                    takes_over = Some((holder, holding.sequence));
                }
            }
        }
        Err(FlowError::Internal("the order changes hands faster than it can be taken".to_owned()))
    }

    /// Carries a payment whose intent is on disk over one channel after another, until it is certain, or cannot be known now.
    async fn carry(
        &self,
        mut payment: Payment,
        first: &Channel,
        permit: Permit,
        send_by: Moment,
        mut route: Route,
        stopwatch: &mut Stopwatch,
    ) -> Result<Payment, FlowError> {
        let (mut channel, mut permit, mut send_by) = (first.clone(), Some(permit), send_by);
        loop {
            let Some(n) = payment.current_pay().map(|attempt| attempt.n) else { return Ok(payment) };
            let leg = Leg { channel: &channel, permit: permit.take(), send_by, card: route.card.as_ref() };
            let news = match self.pay(&mut payment, n, leg, stopwatch).await? {
                Some(news) => news,
                None => return Ok(payment),
            };
            crash::pass(Point::PaymentAnswered);
            let mut recorded = self.record(payment, (n, n), &news, &channel, &mut route).await?;
            if let Next::Undo { reversal, send_by } = recorded.next {
                let news = self.send_out(&recorded.payment, reversal, &channel, send_by, stopwatch).await?;
                recorded = self.record(recorded.payment, (reversal, n), &news, &channel, &mut route).await?;
            }
            payment = recorded.payment;
            match recorded.next {
                Next::On(next) => {
                    crash::pass(Point::NextChannelWritten);
                    (channel, permit, send_by) = (next.0, Some(next.1), next.2);
                }
                Next::End | Next::Undo { .. } => return Ok(payment),
            }
        }
    }

    /// Writes what attempt `told` has learned, and in the same commit the intent of what follows: pay attempt `pay` is undone, or goes on at the next
    /// channel of the route. There is no moment at which a crash, or a merchant, finds a failed payment that goes on.
    async fn record(
        &self,
        mut payment: Payment,
        (told, pay): (i16, i16),
        news: &News,
        channel: &Channel,
        route: &mut Route,
    ) -> Result<Recorded, FlowError> {
        let contract = channel.handle.provider().contract();
        let mut chosen: Option<(Channel, Permit)> = None;
        let (mut reason, mut passed_over) = (String::new(), Vec::new());
        let mut left_out: Vec<PassedOver> = Vec::new();
        let mut is_ours = true;
        for _ in 0..OVERTAKEN {
            let now = self.now();
            let mut draft = payment.clone();
            if !matches!(draft.learn(told, news, Source::Reply, contract, now), Ok(crate::domain::Learned::Changed)) {
                // Somebody knew more already, or it cannot be: that is told, and nothing follows from it.
                let payment = self.settle(payment, told, news, Source::Reply, contract).await?.payment;
                return Ok(Recorded { payment, next: Next::End });
            }
            let mut send_by = None;
            let mut undoing = None;
            let reverse = FollowUp::Reverse { attempt: pay };
            if is_ours && draft.current_pay().is_some_and(|current| current.n == pay) && draft.may_try_another_channel(now) {
                let why = if told == pay { "the one before could not" } else { "the one before did not answer, and was undone" };
                if chosen.is_none() {
                    match self.choose(&draft.request, route, true) {
                        Ok(next) => {
                            reason = next.reason(Some(why));
                            passed_over = next.passed_over;
                            chosen = Some((next.channel.clone(), next.permit));
                        }
                        // Asked again, after somebody overtook us, nobody is left to ask.
                        Err(nobody) => left_out.extend(nobody.passed_over),
                    }
                }
                if let Some((chosen, _)) = &chosen {
                    let (lease, until) = self.lease(chosen, PAY_CALLS);
                    let attempt = NewAttempt {
                        operation: Operation::Pay,
                        channel: chosen.handle.id().to_owned(),
                        key: self.new_key(chosen).await?,
                        amount: draft.request.amount,
                        refund_n: None,
                        undoes: None,
                        reason: reason.clone(),
                        passed_over: passed_over.clone(),
                    };
                    draft.add_attempt(attempt, lease, now);
                    send_by = Some(until);
                } else {
                    draft.passed_over_after(pay, &left_out);
                }
            } else if is_ours && told == pay && draft.follow_up(now) == Some(reverse) {
                // What was not answered and cannot be asked after is undone at once: the customer still waits, and another channel may take it.
                if let Some(reversal) = draft.undoing(reverse, self.new_key(channel).await?) {
                    let (lease, until) = self.lease(channel, 1);
                    undoing = Some((draft.add_attempt(reversal, lease, now), until));
                    draft.followed_up(pay, now);
                }
            }
            let acts = send_by.is_some() || undoing.is_some();
            let mut change = Change::between(&payment, draft, Source::Reply);
            if acts {
                change = change.fenced(told, payment.attempt(told).map_or(0, |attempt| attempt.fence));
            }
            match self.write_change(change).await? {
                Written::Done(after) => {
                    self.tell(&payment, &after, Source::Reply);
                    let next = match (undoing, chosen, send_by) {
                        (Some((reversal, send_by)), _, _) => Next::Undo { reversal, send_by },
                        (None, Some((channel, permit)), Some(send_by)) => Next::On(Box::new((channel, permit, send_by))),
                        _ => Next::End,
                    };
                    return Ok(Recorded { payment: *after, next });
                }
                Written::Overtaken => {
                    payment = self.reload(payment.id).await?;
                    // Somebody holds the attempt's lease by now: the fact is still ours to tell, what follows is theirs.
                    is_ours &= !acts || payment.attempt(told).is_some_and(|attempt| attempt.lease_owner == Some(self.shared.incarnation));
                }
            }
        }
        Err(FlowError::Internal(format!("{} changes faster than its outcome can be written", payment.id)))
    }

    /// One pay attempt at its channel: the first step for its reference, which is on disk before the step that moves money. `None` when
    /// somebody else has brought the attempt to its end meanwhile.
    async fn pay(&self, payment: &mut Payment, n: i16, leg: Leg<'_>, stopwatch: &mut Stopwatch) -> Result<Option<News>, FlowError> {
        let Leg { channel, mut permit, send_by, card } = leg;
        for _ in 0..PAY_CALLS {
            let Some(attempt) = payment.attempt(n) else { return Ok(None) };
            // A next step is a call of its own, and passes the guard like the first.
            let permit = match permit.take() {
                Some(permit) => Some(permit),
                None => self.permit_for_next_step(channel, send_by).await,
            };
            let Some(permit) = permit else { return Ok(Some(News::not_sent("the channel was shut before the payment was confirmed"))) };
            let order = Call { card: card.cloned(), ..channel.call(payment, attempt, Verb::Pay, self.now()) };
            let done = stopwatch.theirs(channel.handle.perform(order, permit, self.pay_deadline(channel, payment), Some(send_by))).await;
            self.note(channel, &done);
            match done.reply {
                Reply::News { news, .. } => return Ok(Some(news)),
                Reply::Step { reference } => {
                    crash::pass(Point::StepAnswered);
                    if !self.keep_reference(payment, n, &reference).await? {
                        return Ok(None);
                    }
                    crash::pass(Point::StepWritten);
                    if payment.cancel_requested {
                        // Nothing can be charged before the step that was not made.
                        return Ok(Some(News {
                            failure: Some(Failure::new(FailureCode::NotSent, None, "canceled before it was confirmed")),
                            ..News::of(Fact::NotSent)
                        }));
                    }
                }
                Reply::Unpaid { .. } | Reply::NotFound => return Ok(Some(News::unknown())),
            }
        }
        Ok(Some(News::unknown()))
    }

    /// Writes the reference of attempt `n`. False when the attempt is no longer on its way: then nothing more may be sent for it.
    async fn keep_reference(&self, payment: &mut Payment, n: i16, reference: &str) -> Result<bool, FlowError> {
        for _ in 0..OVERTAKEN {
            if payment.attempt(n).is_none_or(|attempt| attempt.state != AttemptState::Sent) {
                return Ok(false);
            }
            let mut draft = payment.clone();
            draft.keep_reference(n, reference, self.now());
            let fence = payment.attempt(n).map_or(0, |attempt| attempt.fence);
            let change = Change::between(payment, draft, Source::Reply).fenced(n, fence);
            let after = change.after.clone();
            match self.shared.store.journal.commit(change).await? {
                ChangeVerdict::Applied => {
                    self.shared.waiting.tell(&after);
                    *payment = after;
                    return Ok(true);
                }
                ChangeVerdict::Fenced => {
                    *payment = self.reload(payment.id).await?;
                    return Ok(false);
                }
                ChangeVerdict::Stale | ChangeVerdict::KeyTaken | ChangeVerdict::RefundTaken => *payment = self.reload(payment.id).await?,
            }
        }
        Ok(false)
    }
}

/// An outcome that is on disk, and what follows it.
struct Recorded {
    payment: Payment,
    next: Next,
}

/// What follows, with its intent on disk.
enum Next {
    /// Nothing, or it is somebody else's.
    End,
    /// The pay attempt is undone by this one.
    Undo { reversal: i16, send_by: Moment },
    /// The next pay attempt, on this channel.
    On(Box<(Channel, Permit, Moment)>),
}

enum Opened {
    New(Box<Payment>),
    Known(PaymentId),
}

/// The bucket of a payment for this order.
pub(super) fn order_bucket(request: &PaymentRequest) -> crate::domain::Bucket {
    crate::domain::OrderDigest::of(request.merchant, &request.order).bucket()
}

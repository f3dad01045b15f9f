//! Which channel carries a payment: of those that the plan has left, the first that can say it and whose guard gives a permit.
//!
//! Nothing is written here, and nothing is sent: whoever was passed over, and why, is told with the attempt of the one that agreed, or, when none did,
//! with the one that failed before; and each decision is counted once. A full channel is looked at again for a moment, because a burst is not an outage; one that is shut is not waited for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, Claim, FlowError};
use super::flows::{Channel, Flows};
use super::line::{InLine, Line};
use super::payment::order_bucket;
use crate::channel::guard::Permit;
use crate::clock::Moment;
use crate::domain::{Failure, Lease, NewAttempt, Operation, OperationClass, PassedOver, Payment, PaymentId, PaymentRequest};
use crate::provider::{Call, CardData, Verb};

/// How long a caller is asked to stay away when every channel is shut and none says for how long.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often, and how long apart, a full channel is looked at again before the caller is told: 50 ms in all.
const ROOM_LOOKS: u32 = 10;
const ROOM_EVERY: Duration = Duration::from_millis(5);

/// The places in a plan, in words; beyond them by their number.
const PLACES: [&str; 8] = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"];

/// The channels of a plan that were not tried yet.
pub(super) struct Route {
    pub(super) remaining: VecDeque<String>,
    /// How many there were at first.
    pub(super) planned: usize,
    /// Those that the payment does not fit: told with its first attempt.
    pub(super) misfits: Vec<PassedOver>,
    /// The customer's card, with its security code, as long as the flow lasts.
    pub(super) card: Option<CardData>,
    /// What is known of those that were asked whether they can say it at all: that does not change from look to look.
    pub(super) refusals: HashMap<String, Option<Failure>>,
}

/// A channel that has agreed to carry the next attempt.
pub(super) struct Chosen<'a> {
    pub(super) channel: &'a Channel,
    pub(super) permit: Permit,
    /// Its place in the plan, from 1.
    place: usize,
    /// Those before it that would not.
    pub(super) passed_over: Vec<PassedOver>,
}

/// That nobody agreed.
pub(super) struct Nobody {
    pub(super) error: FlowError,
    /// Who would not, and why.
    pub(super) passed_over: Vec<PassedOver>,
}

impl Chosen<'_> {
    /// Why this channel and no other, in words for the attempt's record: its place in the plan, and what became of those before it; `tried` says
    /// that of one that was tried.
    pub(super) fn reason(&self, tried: Option<&str>) -> String {
        let place = PLACES.get(self.place.saturating_sub(1)).map_or_else(|| format!("number {}", self.place), |place| (*place).to_owned());
        let priority = self.channel.handle.candidate().priority;
        let before = match (tried, self.place) {
            (Some(why), _) => format!(": {why}"),
            (None, 1) => String::new(),
            (None, 2) => ": the one before it was passed over".to_owned(),
            (None, _) => ": those before it were passed over".to_owned(),
        };
        format!("{place} of the plan, priority {priority}{before}")
    }
}

impl Flows {
    /// The first channel that agrees. Where one of them is only full, room is waited for, for a moment: a burst is not an outage, whatever became of
    /// the channels beside it. A key that is known by then is answered for what it stands for: many with one key may be the burst. While an overload
    /// stands nothing is looked up for whom it turns away at once: the same key may come again.
    pub(super) async fn choose_within_a_moment(
        &self,
        request: &PaymentRequest,
        route: &mut Route,
        claim: Claim,
    ) -> Result<Result<Chosen<'_>, Answer>, FlowError> {
        let plan = route.remaining.clone();
        if self.would_wait_in_vain(&plan) {
            return Err(FlowError::Overloaded);
        }
        let mut in_line: Vec<InLine> = Vec::new();
        for look in 0..=ROOM_LOOKS {
            // Each decision counts once, however often it is looked at.
            let error = match self.choose(request, route, look == 0) {
                Ok(chosen) => return Ok(Ok(chosen)),
                Err(nobody) => nobody.error,
            };
            let full = matches!(error, FlowError::EveryChannelShut { full: true, .. });
            if !full || look == ROOM_LOOKS {
                if full {
                    self.lines(&plan).for_each(|line| line.was_in_vain(self.shared.clock.boot()));
                }
                return self.replay_or(claim, self.taken_or(request, error).await?).await.map(Err);
            }
            if look == 0 {
                in_line.extend(self.lines(&plan).map(Line::join));
            }
            tokio::time::sleep(ROOM_EVERY).await;
            route.remaining.clone_from(&plan);
        }
        Err(FlowError::Overloaded)
    }

    /// Whether no channel of the plan has room, and so many wait for one that another would wait in vain.
    fn would_wait_in_vain(&self, plan: &VecDeque<String>) -> bool {
        let now = self.shared.clock.boot();
        let guards = || plan.iter().filter_map(|id| self.channel(id)).map(|channel| channel.handle.guard());
        let places = || guards().map(|guard| guard.limit() as usize).sum();
        self.lines(plan).all(|line| line.is_too_long(places, now)) && !guards().any(|guard| guard.would_admit(OperationClass::Pay, now))
    }

    fn lines(&self, plan: &VecDeque<String>) -> impl Iterator<Item = &Arc<Line>> {
        plan.iter().filter_map(|id| self.channel(id)).map(|channel| &channel.line)
    }

    /// The next channel of the route whose guard gives a permit. Nothing is written for one that does not; it is counted if `counts`.
    pub(super) fn choose(&self, request: &PaymentRequest, route: &mut Route, counts: bool) -> Result<Chosen<'_>, Nobody> {
        let count_rejection = |id: &str, reason| {
            if counts {
                count_decision(id, reason);
            }
        };
        let mut retry_after: Option<Duration> = None;
        let mut refused: Option<Failure> = None;
        let mut passed_over: Vec<PassedOver> = Vec::new();
        let mut full = false;
        while let Some(id) = route.remaining.pop_front() {
            let Some(channel) = self.channel(&id) else { continue };
            let card = route.card.as_ref();
            let refusal = route.refusals.entry(id.clone()).or_insert_with(|| self.refuses(channel, request, card));
            if let Some(failure) = refusal {
                count_rejection(&id, "not_expressible");
                passed_over.push(PassedOver::for_reason(&id, "not_expressible"));
                refused = Some(failure.clone());
                continue;
            }
            match channel.handle.guard().admit(OperationClass::Pay, self.shared.clock.boot()) {
                Ok(permit) if channel.handle.is_up() => {
                    count_decision(&id, "chosen");
                    return Ok(Chosen { channel, permit, place: route.planned - route.remaining.len(), passed_over });
                }
                Ok(_unused) => {
                    count_rejection(&id, "no_actor");
                    passed_over.push(PassedOver::for_reason(&id, "no_actor"));
                }
                Err(rejected) => {
                    full |= rejected.is_momentary();
                    count_rejection(&id, rejected.as_str());
                    passed_over.push(PassedOver::for_reason(&id, rejected.as_str()));
                    let wait = rejected.retry_after().unwrap_or(RETRY_AFTER);
                    retry_after = Some(retry_after.map_or(wait, |known| known.min(wait)));
                }
            }
        }
        let error = match (refused, retry_after) {
            (Some(failure), None) => FlowError::NotCarried(failure),
            (_, retry_after) => FlowError::EveryChannelShut { full: full && retry_after.is_some(), retry_after: retry_after.unwrap_or(RETRY_AFTER) },
        };
        Err(Nobody { error, passed_over })
    }

    /// Whether the channel could not even say it: an amount between two of its steps, for one.
    fn refuses(&self, channel: &Channel, request: &PaymentRequest, card: Option<&CardData>) -> Option<Failure> {
        let (provider, now) = (channel.handle.provider(), self.now());
        let trial = NewAttempt {
            operation: Operation::Pay,
            channel: channel.handle.id().to_owned(),
            // Of the form that the channel's have; it is never sent.
            key: provider.mint_key(0, provider.needs_numbers().then_some(1), now),
            amount: request.amount,
            refund_n: None,
            undoes: None,
            reason: String::new(),
            passed_over: Vec::new(),
        };
        let payment = Payment::open(
            PaymentId::mint(now, order_bucket(request)),
            request.clone(),
            trial,
            Lease { owner: self.shared.incarnation, until: now },
            now,
        );
        let attempt = payment.attempts.first()?;
        provider.refuses(&Call { card: card.cloned(), ..channel.call(&payment, attempt, Verb::Pay, now) })
    }

    /// A permit for the next step of an attempt that has begun: where the channel is only full, its turn is waited for.
    pub(super) async fn permit_for_next_step(&self, channel: &Channel, send_by: Moment) -> Option<Permit> {
        loop {
            let now = self.shared.clock.boot();
            match channel.handle.guard().admit(OperationClass::Pay, now) {
                Ok(permit) => return Some(permit),
                Err(rejected) if rejected.is_momentary() && now + channel.call_timeout < send_by => tokio::time::sleep(ROOM_EVERY).await,
                Err(_) => return None,
            }
        }
    }
}

fn count_decision(channel: &str, reason: &'static str) {
    metrics::counter!("breakwater_routing_decisions_total", "channel" => channel.to_owned(), "reason" => reason).increment(1);
}

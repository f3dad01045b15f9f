//! An exchange with a channel on behalf of what is due: past its guard, over its actor, and what the answer says of the channel itself. A payment's
//! first send has an exchange of its own (`carrying.rs`, `payment.rs`): here things are asked, or sent again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::answer::FlowError;
use super::flows::{Channel, Flows};
use crate::channel::guard::Permit;
use crate::clock::Moment;
use crate::crash::{self, Point};
use crate::domain::{Attempt, CallClass, CaptureMethod, Currency, Money, News, OperationClass, Payment, PaymentMethod};
use crate::provider::{Call, Reply, Verb};
use crate::store::Share;
use crate::store::lease::{Claim, Pace};

/// Over how long a channel's unknowns are spread when it answers again: it has just healed, and its payments come back to it at the same time. Ten a
/// second is little for a busy channel, and of few doubts nobody waits long.
const HASTEN_AT: Pace = Pace { least: SignedDuration::from_secs(2), each: SignedDuration::from_millis(100), most: SignedDuration::from_secs(20) };

impl Flows {
    /// One exchange with the channel, past its guard. `None`: the guard is shut; the attempt is due again when it may be open.
    pub(super) async fn ask(
        &self,
        payment: &Payment,
        attempt: &Attempt,
        claim: &Claim,
        channel: &Channel,
        verb: Verb,
    ) -> Result<Option<Reply>, FlowError> {
        let Some(permit) = self.permit_or_postpone(claim, channel, verb).await? else { return Ok(None) };
        self.exchange(payment, attempt, channel, verb, permit).await.map(Some)
    }

    /// A permit of the channel's guard. `None`: it is shut; the attempt is due again when it may be open.
    pub(super) async fn permit_or_postpone(&self, claim: &Claim, channel: &Channel, verb: Verb) -> Result<Option<Permit>, FlowError> {
        let (guard, now) = (channel.handle.guard(), self.shared.clock.boot());
        // Whatever is not a question or a close was sent before, or should have been.
        let repeats = !matches!(verb, Verb::Query | Verb::QueryRefund | Verb::Close);
        match if repeats { guard.admit_repeat(verb.class(), now) } else { guard.admit(verb.class(), now) } {
            Ok(permit) => Ok(Some(permit)),
            Err(rejected) => {
                let wait = rejected.retry_after().unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(250));
                let later = self.now() + SignedDuration::try_from(wait).unwrap_or(SignedDuration::from_secs(1));
                self.shared.store.postpone(claim, Some(later), false).await?;
                Ok(None)
            }
        }
    }

    /// Asks, or sends again, and notes what that says of the channel. `permit` is for the class of `verb`.
    pub(super) async fn exchange(
        &self,
        payment: &Payment,
        attempt: &Attempt,
        channel: &Channel,
        verb: Verb,
        permit: Permit,
    ) -> Result<Reply, FlowError> {
        let send_by: Moment = self.shared.clock.boot() + channel.call_timeout;
        let order = self.order(channel, payment, attempt, verb).await?;
        // What can no longer be said at all (a refund whose card number was erased) must not wait in its queue for ever.
        if verb == Verb::Refund
            && let Some(failure) = channel.handle.provider().refuses(&order)
        {
            return Ok(Reply::News { news: News::declined(failure), class: CallClass::Neutral });
        }
        let done = channel.handle.perform(order, permit, self.call_deadline(channel), Some(send_by)).await;
        crash::pass(if matches!(verb, Verb::Query | Verb::QueryRefund) { Point::QueryAnswered } else { Point::RepeatAnswered });
        self.note(channel, &done);
        if done.fault.is_none() && matches!(verb, Verb::Query | Verb::QueryRefund) && done.class == CallClass::Success {
            self.note_answer(channel);
        }
        Ok(done.reply)
    }

    /// The channel has answered a question: its breaker hears of it too.
    pub(super) fn note_answer(&self, channel: &Channel) {
        channel.handle.guard().query_succeeded(self.shared.clock.boot());
        self.note_recovery(channel);
    }

    /// The channel has answered, whatever it was asked (at a bank there is nothing but payments and what undoes them): after a failure what is in doubt
    /// there is due now. The answer in hand is worth more than the others' haste, and waits for none of it.
    pub(super) fn note_recovery(&self, channel: &Channel) {
        if !channel.has_recovered(self.shared.clock.boot()) {
            return;
        }
        let (flows, channel) = (self.clone(), channel.clone());
        self.spawn(async move {
            match flows.shared.store.hasten(channel.handle.id(), flows.now(), HASTEN_AT).await {
                Ok(hastened) => {
                    tracing::info!(channel = channel.handle.id(), hastened, "the channel answers again: what is in doubt there is due now")
                }
                // They are asked after by their own ladder, too.
                Err(error) => tracing::error!(channel = channel.handle.id(), error = %error, "what is in doubt there could not be made due"),
            }
        });
    }

    /// A breaker that waits for a query before it risks a real payment, and has no unknown to ask about, gets one that asks about nothing: the
    /// answer "I do not have it" is a success. Breakers are each process's own: every process that calls channels must call this a few times a
    /// second, whether or not it has a poller, or its openings end by time alone and a payment is risked.
    pub fn probe_channels(&self) {
        for channel in self.channels() {
            let now = self.shared.clock.boot();
            if !channel.handle.guard().wants_query(now) {
                continue;
            }
            let Some(turn) = channel.probing.take() else { continue };
            let (flows, channel) = (self.clone(), channel.clone());
            drop(self.spawn_as(Share::Poller, async move {
                let _turn = turn;
                flows.probe(&channel).await;
            }));
        }
    }

    async fn probe(&self, channel: &Channel) {
        let guard = channel.handle.guard();
        let Ok(permit) = guard.admit(OperationClass::Resolve, self.shared.clock.boot()) else { return };
        let question = synthetic_query(channel, self.now());
        let done = channel.handle.perform(question, permit, self.call_deadline(channel), None).await;
        if done.fault.is_none() && done.class == CallClass::Success {
            self.note_answer(channel);
            tracing::info!(channel = channel.handle.id(), "a synthetic query was answered: the channel may be probed");
        }
    }
}

/// A question about a payment that never was.
fn synthetic_query(channel: &Channel, now: Timestamp) -> Call {
    let currency = channel.handle.candidate().currencies.first().copied().unwrap_or(Currency::USD);
    Call {
        verb: Verb::Query,
        key: "0".repeat(32),
        payment: String::new(),
        order: String::new(),
        money: Money { amount: 1, currency },
        payment_amount: 1,
        method: PaymentMethod::CardToken { token: String::new() },
        capture_method: CaptureMethod::Automatic,
        pay_reference: None,
        reference: None,
        pay_key: None,
        undoes: None,
        held: false,
        description: None,
        return_url: None,
        expires_at: now,
        attempted_at: now,
        now,
        notify_url: None,
        repeat: false,
        card: None,
    }
}

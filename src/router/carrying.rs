//! What the flows' scripts share: sending an attempt whose intent is on disk, winning a key with a change, what is said when the database is
//! lost on the way, and whose time it was.

use std::time::{Duration, Instant};

use super::answer::{Answer, Claim, FlowError};
use super::flows::{Channel, Flows};
use crate::clock::Moment;
use crate::crash::{self, Point};
use crate::domain::{Change, Fact, News, Operation, Payment, Source};
use crate::provider::{Reply, Verb};
use crate::store::ChangeVerdict;

impl Flows {
    /// Writes a change that wins the merchant's key.
    pub(super) async fn claim(&self, change: Change, claim: Claim) -> Result<Claimed, FlowError> {
        let after = change.after.clone();
        Ok(match self.shared.store.journal.commit(change).await? {
            ChangeVerdict::Applied => {
                self.shared.waiting.tell(&after);
                Claimed::Won(Box::new(after))
            }
            ChangeVerdict::KeyTaken => match self.known(claim).await? {
                Some(answer) => Claimed::Known(answer),
                None => Claimed::Overtaken,
            },
            ChangeVerdict::Stale | ChangeVerdict::Fenced | ChangeVerdict::RefundTaken => Claimed::Overtaken,
        })
    }

    /// Sends an attempt of another kind than pay whose intent is on disk, and settles what becomes of it.
    pub(super) async fn carry_out(
        &self,
        payment: Payment,
        n: i16,
        channel: &Channel,
        send_by: Moment,
        stopwatch: &mut Stopwatch,
    ) -> Result<Payment, FlowError> {
        let news = self.send_out(&payment, n, channel, send_by, stopwatch).await?;
        Ok(self.settle(payment, n, &news, Source::Reply, channel.handle.provider().contract()).await?.payment)
    }

    /// Sends an attempt of another kind than pay whose intent is on disk: what is known of it then.
    pub(super) async fn send_out(
        &self,
        payment: &Payment,
        n: i16,
        channel: &Channel,
        send_by: Moment,
        stopwatch: &mut Stopwatch,
    ) -> Result<News, FlowError> {
        let Some(attempt) = payment.attempt(n) else { return Ok(News::unknown()) };
        let (written, answered) = points_of(attempt.operation);
        crash::pass(written);
        let verb = Verb::sending(attempt.operation);
        let order = self.order(channel, payment, attempt, verb).await?;
        let news = if let Some(failure) = channel.handle.provider().refuses(&order) {
            News { failure: Some(failure), ..News::of(Fact::Declined) }
        } else {
            match channel.handle.guard().admit(verb.class(), self.shared.clock.boot()) {
                // It waits in its durable queue until the channel is open again.
                Err(rejected) => News::not_sent(&format!("the channel is shut: {}", rejected.as_str())),
                Ok(permit) => {
                    let done = stopwatch.theirs(channel.handle.perform(order, permit, self.call_deadline(channel), Some(send_by))).await;
                    self.note(channel, &done);
                    match done.reply {
                        Reply::News { news, .. } => news,
                        Reply::Step { .. } | Reply::NotFound | Reply::Unpaid { .. } => News::unknown(),
                    }
                }
            }
        };
        crash::pass(answered);
        Ok(news)
    }

    /// What a flow carried, unless the database was lost on the way: then what was sent is on disk since before, its outcome is not, and nobody
    /// may be told that nothing was sent.
    pub(super) fn unless_lost(&self, carried: Result<Payment, FlowError>, known: &Payment) -> Result<Option<Payment>, FlowError> {
        match carried {
            Ok(payment) => Ok(Some(payment)),
            Err(error @ (FlowError::Journal(_) | FlowError::Store(_))) => {
                tracing::error!(payment = %known.id, error = %error, "the outcome could not be written: the attempt will be asked after");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The channel of an attempt that exists.
    ///
    /// # Errors
    /// [`FlowError::ChannelNotConfigured`]: its table was taken out of the settings. Whoever needs it, asks before anything is written.
    pub(super) fn channel_of(&self, id: &str) -> Result<&Channel, FlowError> {
        self.channel(id).ok_or_else(|| FlowError::ChannelNotConfigured { channel: id.to_owned() })
    }

    /// Remembers whether the channel fails, and what it answers first after that.
    pub(super) fn note(&self, channel: &Channel, done: &crate::channel::actor::Done) {
        use crate::domain::CallClass;
        match done.class {
            CallClass::FailHard | CallClass::FailSoft => channel.note_failure(),
            CallClass::Success if done.fault.is_none() => self.note_recovery(channel),
            CallClass::Success | CallClass::RateLimited | CallClass::Neutral => {}
        }
    }
}

/// What became of a change that wins a key.
pub(super) enum Claimed {
    Won(Box<Payment>),
    Known(Answer),
    Overtaken,
}

/// The draft with the time of its change.
pub(super) fn touched(mut draft: Payment, now: jiff::Timestamp) -> Payment {
    draft.updated_at = now;
    draft
}

/// Where a crash may part an attempt's intent from its call, and its answer from the writing of it. A pay attempt has points of its own, in
/// `payment.rs`.
const fn points_of(operation: Operation) -> (Point, Point) {
    match operation {
        Operation::Pay => (Point::Nowhere, Point::Nowhere),
        Operation::Capture => (Point::CaptureWritten, Point::CaptureAnswered),
        Operation::Void => (Point::VoidWritten, Point::VoidAnswered),
        Operation::Reversal => (Point::ReversalWritten, Point::ReversalAnswered),
        Operation::Refund => (Point::RefundWritten, Point::RefundAnswered),
    }
}

/// Tells our time from the channels'.
pub(super) struct Stopwatch {
    began: Instant,
    theirs: Duration,
}

impl Stopwatch {
    pub(super) fn start() -> Self {
        Self { began: Instant::now(), theirs: Duration::ZERO }
    }

    /// Awaits a channel, on its account.
    pub(super) async fn theirs<T>(&mut self, call: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let answer = call.await;
        self.theirs += began.elapsed();
        answer
    }

    pub(super) fn ours(&self) -> Duration {
        self.began.elapsed().saturating_sub(self.theirs)
    }
}

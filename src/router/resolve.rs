//! What the poller asks for: an attempt is due, its lease is ours, and `domain` says what must be done about it ([`Duty`]).
//!
//! Query comes before everything that cannot be undone. A channel that does not have what we ask about is believed only where its contract
//! says so; a channel that says nothing is asked again, a rung of the ladder later, for ever. How it is asked is in `exchange.rs`.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use jiff::SignedDuration;

use super::answer::FlowError;
use super::carrying::{Stopwatch, touched};
use super::flows::{Channel, Flows, is_only_held};
use super::settle::{OVERTAKEN, Settled, Written};
use crate::crash::{self, Point};
use crate::domain::{Attempt, AttemptState, Change, Contract, Duty, Fact, Failure, FailureCode, FollowUp, Learned, News, Operation, Payment, Source};
use crate::provider::{Listed, Reply, Verb};
use crate::store::lease::Claim;

/// How many looks at what the channel does not have may repeat it. A channel may answer a number with its first failure for ever.
const REPEATS: i32 = 5;

/// Whether a look, at an attempt or at a notification, failed by a fault of ours, which the next look will meet again: not for want of the database,
/// or of room, nor because others were at the same rows at that moment.
pub(super) const fn is_ours(error: &FlowError) -> bool {
    use crate::store::{JournalError, StoreError};
    match error {
        FlowError::Internal(_) | FlowError::Journal(JournalError::Refused(_)) => true,
        FlowError::Store(error) => matches!(error, StoreError::Refused { .. } | StoreError::Unreadable(_)),
        _ => false,
    }
}

impl Flows {
    /// Looks at an attempt that is due. Whatever comes of it, the attempt is due again some day, or over.
    pub(super) async fn inquire(&self, claim: Claim) -> Result<(), FlowError> {
        self.inquire_knowing(claim, None).await
    }

    /// The same, with what the channel's list says of it: then the channel is not asked the same once more.
    pub(super) async fn inquire_knowing(&self, claim: Claim, known: Option<Listed>) -> Result<(), FlowError> {
        let channel_label = claim.channel.clone();
        // A panic here would be forgotten with its task, and its attempt come back for ever.
        let looked = AssertUnwindSafe(self.look(&claim, known)).catch_unwind().await;
        let result = looked.unwrap_or_else(|_| Err(FlowError::Internal("a look at an attempt panicked".to_owned())));
        let name = match &result {
            Ok(name) => *name,
            Err(error) => {
                tracing::error!(payment = %claim.payment, attempt = claim.n, channel = %claim.channel, error = %error, "a look at a due attempt failed");
                // Its lease lapses by itself; a rung later somebody looks again.
                let later = self.now() + SignedDuration::from_secs(15);
                // A channel that is no longer in the settings may be in another process's.
                if is_ours(error) && self.channel(&claim.channel).is_some() {
                    if let Ok(true) = self.shared.store.note_fault(&claim, later, self.now()).await {
                        tracing::error!(payment = %claim.payment, attempt = claim.n, "an attempt is set aside: looking at it fails by a fault of ours");
                    }
                } else {
                    let _away = self.shared.store.postpone(&claim, Some(later), true).await;
                }
                "failed"
            }
        };
        metrics::counter!("breakwater_poller_polls_total", "channel" => channel_label, "result" => name).increment(1);
        result.map(|_| ())
    }

    async fn look(&self, claim: &Claim, known: Option<Listed>) -> Result<&'static str, FlowError> {
        let payment = self.reload(claim.payment).await?;
        let Some(attempt) = payment.attempt(claim.n) else { return Ok("gone") };
        if attempt.fence != claim.fence {
            return Ok("taken");
        }
        let channel = self.channel_of(&attempt.channel)?.clone();
        let contract = channel.handle.provider().contract();
        let payment = self.admit_ignorance(payment, claim, contract).await?;
        let payment = self.notice_expiry(payment).await?;
        match payment.duty(claim.n, contract, self.now()) {
            Duty::Nothing => {
                // A hold is looked at before it lapses; what is over, never again, until news of it calls for something.
                self.shared.store.postpone(claim, payment.next_look(claim.n, contract, self.now()), false).await?;
                Ok("nothing")
            }
            Duty::Query => self.query(payment, claim, &channel, false, known).await,
            Duty::Close => self.query(payment, claim, &channel, true, known).await,
            Duty::Resend => self.resend(payment, claim, &channel).await,
            Duty::Follow(follow_up) => self.follow(payment, claim, follow_up).await,
        }
    }

    /// Past its expiry a payment no longer waits for its customer, whatever the channel will say: a merchant must not show its code any more.
    async fn notice_expiry(&self, payment: Payment) -> Result<Payment, FlowError> {
        let now = self.now();
        let mut draft = payment.clone();
        draft.derive(now);
        if draft.status == payment.status {
            return Ok(payment);
        }
        match self.write(&payment, touched(draft, now), Source::Query).await? {
            Written::Done(after) => Ok(*after),
            Written::Overtaken => self.reload(payment.id).await,
        }
    }

    /// An attempt whose holder is gone is unknown, and is written so before anybody asks. Never "it was not sent".
    async fn admit_ignorance(&self, payment: Payment, claim: &Claim, contract: &Contract) -> Result<Payment, FlowError> {
        let sent = payment.attempt(claim.n).is_some_and(|attempt| attempt.state == AttemptState::Sent);
        if !sent {
            return Ok(payment);
        }
        let settled = self.settle(payment, claim.n, &News::unknown(), Source::Lease, contract).await?;
        crash::pass(Point::DoubtWritten);
        Ok(settled.payment)
    }

    async fn query(&self, payment: Payment, claim: &Claim, channel: &Channel, close: bool, known: Option<Listed>) -> Result<&'static str, FlowError> {
        let Some(attempt) = payment.attempt(claim.n).cloned() else { return Ok("gone") };
        let verb = question(&payment, &attempt);
        let same = |listed: &Listed| listed.key == attempt.key && attempt.reference.as_ref().is_none_or(|reference| *reference == listed.reference);
        let known = known.filter(|listed| verb == Verb::Query && attempt.operation == Operation::Pay && same(listed));
        let reply = match known {
            Some(listed) => listed.reply,
            None => match self.ask(&payment, &attempt, claim, channel, verb).await? {
                Some(reply) => reply,
                None => return Ok("shut"),
            },
        };
        match reply {
            Reply::News { news, .. } => {
                let Some(news) = reading(&attempt, verb, news) else { return self.absent(payment, claim, channel, &attempt).await };
                // Silence is no word that it was not paid, and to end what was paid may give it back: the question comes first, until it is answered.
                let still_open = matches!(news.fact, Fact::ActionRequired | Fact::Accepted);
                let not_paid = matches!(news.fact, Fact::ActionRequired);
                if not_paid && self.is_dead(&payment, &attempt, channel) {
                    return self.apply(payment, claim, channel, &dead()).await;
                }
                if close && still_open && attempt.operation == Operation::Pay {
                    return self.close(payment, claim, channel, &attempt).await;
                }
                self.apply(payment, claim, channel, &news).await
            }
            Reply::Unpaid { reference } => {
                let mut known = attempt.clone();
                known.reference.get_or_insert(reference);
                self.close(payment, claim, channel, &known).await
            }
            // A code or page that was handed out is not dead because nobody has opened it yet.
            Reply::NotFound if self.is_dead(&payment, &attempt, channel) => self.apply(payment, claim, channel, &dead()).await,
            Reply::NotFound if attempt.state == AttemptState::ActionRequired && close => self.close(payment, claim, channel, &attempt).await,
            Reply::NotFound if attempt.state == AttemptState::ActionRequired => {
                self.apply(payment, claim, channel, &News::of(Fact::ActionRequired)).await
            }
            Reply::NotFound => self.absent(payment, claim, channel, &attempt).await,
            Reply::Step { .. } => self.apply(payment, claim, channel, &News::unknown()).await,
        }
    }

    /// Whether the channel takes no more money for it by itself: past its expiry and the contract's grace, and a fresh answer says that it was not
    /// paid.
    fn is_dead(&self, payment: &Payment, attempt: &Attempt, channel: &Channel) -> bool {
        let grace = channel.handle.provider().contract().dead_after_expiry.and_then(|grace| SignedDuration::try_from(grace).ok());
        attempt.operation == Operation::Pay
            && attempt.state == AttemptState::ActionRequired
            && grace.is_some_and(|grace| self.now() >= payment.request.expires_at + grace)
    }

    /// Closes an unpaid attempt at the channel: only its confirmation, or what it says instead, ends it.
    async fn close(&self, payment: Payment, claim: &Claim, channel: &Channel, attempt: &Attempt) -> Result<&'static str, FlowError> {
        match self.ask(&payment, attempt, claim, channel, Verb::Close).await? {
            None => Ok("shut"),
            Some(Reply::News { mut news, .. }) => {
                if news.fact == Fact::Closed && news.failure.is_none() {
                    news.failure = Some(Failure::new(FailureCode::Closed, None, "closed at the channel before it was paid"));
                }
                if news.reference.is_none() {
                    news.reference.clone_from(&attempt.reference);
                }
                self.apply(payment, claim, channel, &news).await
            }
            Some(_) => self.apply(payment, claim, channel, &News::unknown()).await,
        }
    }

    /// The channel does not have it. What is still wanted goes again first, with its number; only when the last of these repeats is over does the
    /// waiting time begin after which the contract calls *not found* final: nothing of ours may then be on its way, because a new number may
    /// follow. The repeat comes before the note: a crash between them costs a rung, and is repeated.
    async fn absent(&self, mut payment: Payment, claim: &Claim, channel: &Channel, attempt: &Attempt) -> Result<&'static str, FlowError> {
        let contract = channel.handle.provider().contract();
        let now = self.now();
        // Under another number it could be given back twice: it is asked after, and sent again under its own, for ever.
        let permanent = attempt.operation == Operation::Refund && contract.refund_number_is_permanent && self.key_is_alive(attempt, contract);
        let never_chargeable = attempt.operation == Operation::Pay && contract.charges_only_with_reference && attempt.reference.is_none();
        let waited = attempt.not_found_since.is_some_and(|since| now.duration_since(since).unsigned_abs() >= contract.not_found_final_after);
        if (never_chargeable || waited) && !permanent {
            let failure = Failure::new(FailureCode::NotFound, None, "the channel does not have it");
            let news = News { failure: Some(failure), ..News::of(Fact::NotFound) };
            return self.apply(payment, claim, channel, &news).await;
        }
        if attempt.not_found_since.is_some() && !permanent {
            self.postpone(claim, &payment, channel).await?;
            return Ok("not_found");
        }
        if is_wanted(&payment, attempt) && self.key_is_alive(attempt, contract) {
            let news;
            (payment, news) = match self.send_again(payment, claim, channel, attempt.operation).await? {
                Again::Sent(sent) => *sent,
                Again::Stays(why) => return Ok(why),
            };
            let in_doubt = matches!(news.fact, Fact::Unknown | Fact::NotSent);
            if !in_doubt || permanent || attempt.tries < REPEATS {
                return self.apply(payment, claim, channel, &news).await;
            }
        }
        let mut draft = payment.clone();
        draft.not_found(claim.n, contract, self.now());
        self.write(&payment, draft, Source::Query).await?;
        Ok("not_found")
    }

    fn key_is_alive(&self, attempt: &Attempt, contract: &Contract) -> bool {
        self.now().duration_since(attempt.created_at).unsigned_abs() < contract.key_lives_for
    }

    /// Sends an attempt again with its key: it is wanted until it is done, and its key makes the repeat safe.
    async fn resend(&self, payment: Payment, claim: &Claim, channel: &Channel) -> Result<&'static str, FlowError> {
        let Some(attempt) = payment.attempt(claim.n).cloned() else { return Ok("gone") };
        let contract = channel.handle.provider().contract();
        if !self.key_is_alive(&attempt, contract) && matches!(attempt.state, AttemptState::Unknown) {
            // Outside its life the same key would be another request: only a query may speak of this one.
            self.postpone(claim, &payment, channel).await?;
            return Ok("key_expired");
        }
        match self.send_again(payment, claim, channel, attempt.operation).await? {
            Again::Sent(sent) => {
                let (payment, news) = *sent;
                self.apply(payment, claim, channel, &news).await
            }
            Again::Stays(why) => Ok(why),
        }
    }

    /// One more send of what was sent, or should have been, under its own number. The permit is taken first: what would not be sent now stays as it is,
    /// untouched, and no other refund's turn moves for it.
    async fn send_again(&self, payment: Payment, claim: &Claim, channel: &Channel, operation: Operation) -> Result<Again, FlowError> {
        let verb = Verb::sending(operation);
        let Some(permit) = self.permit_or_postpone(claim, channel, verb).await? else { return Ok(Again::Stays("shut")) };
        let Some(payment) = self.take_turn(payment, claim, channel).await? else { return Ok(Again::Stays("not_its_turn")) };
        let Some(attempt) = payment.attempt(claim.n) else { return Ok(Again::Stays("gone")) };
        let news = match self.exchange(&payment, attempt, channel, verb, permit).await? {
            Reply::News { news, .. } => news,
            Reply::Step { .. } | Reply::NotFound | Reply::Unpaid { .. } => News::unknown(),
        };
        Ok(Again::Sent(Box::new((payment, news))))
    }

    /// What is on disk before an attempt is sent again: one that waited in its queue is *sent* from here on, because nobody could tell after a crash
    /// whether it was, and no other refund may go within the channel's spacing of this one. `None`: it is not its turn, or no longer ours to send.
    async fn take_turn(&self, mut payment: Payment, claim: &Claim, channel: &Channel) -> Result<Option<Payment>, FlowError> {
        let contract = channel.handle.provider().contract();
        for _ in 0..OVERTAKEN {
            let Some(attempt) = payment.attempt(claim.n) else { return Ok(None) };
            let spaced = attempt.operation == Operation::Refund && !contract.refund_spacing.is_zero();
            let queued = attempt.state == AttemptState::NotSent && attempt.operation != Operation::Reversal;
            if !queued && !spaced {
                return Ok(Some(payment));
            }
            let now = self.now();
            if let Some(turn) = payment.refund_turn(Some(claim.n), contract.refund_spacing).filter(|turn| spaced && *turn > now) {
                self.shared.store.postpone(claim, Some(turn), false).await?;
                return Ok(None);
            }
            let mut draft = payment.clone();
            if queued {
                // For as long as the call may take, which may be longer than the poller's lease.
                draft.set_out_again(claim.n, self.lease(channel, 1).0, now);
            } else {
                draft.touch(claim.n, now);
            }
            match self.write_change(Change::between(&payment, draft, Source::Query).fenced(claim.n, claim.fence)).await? {
                Written::Done(after) => {
                    crash::pass(Point::TurnWritten);
                    return Ok(Some(*after));
                }
                Written::Overtaken => payment = self.reload(payment.id).await?,
            }
            if payment
                .attempt(claim.n)
                .is_none_or(|now| now.fence != claim.fence || !matches!(now.state, AttemptState::NotSent | AttemptState::Unknown))
            {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Sends what must follow and has no attempt yet.
    async fn follow(&self, payment: Payment, claim: &Claim, follow_up: FollowUp) -> Result<&'static str, FlowError> {
        if matches!(follow_up, FollowUp::RefundForCancel | FollowUp::RefundAgain { .. }) {
            let refunded = payment.current_pay().map_or_else(String::new, |pay| pay.channel.clone());
            let spacing = self.channel_of(&refunded)?.handle.provider().contract().refund_spacing;
            if let Some(turn) = payment.refund_turn(None, spacing).filter(|turn| *turn > self.now()) {
                self.shared.store.postpone(claim, Some(turn), false).await?;
                return Ok("not_its_turn");
            }
        }
        match follow_up {
            FollowUp::RefundForCancel => self.refund_for_cancel(&payment, claim.n, claim.fence).await?,
            FollowUp::RefundAgain { refund } => self.refund_again(&payment, refund, claim.n, claim.fence).await?,
            FollowUp::Void | FollowUp::Reverse { .. } => {
                // What is due may be another attempt than the one that is undone, on another channel.
                let undone = match follow_up {
                    FollowUp::Reverse { attempt } => payment.attempt(attempt),
                    _ => payment.current_pay(),
                };
                let Some(undone) = undone else { return Ok("gone") };
                let channel = self.channel_of(&undone.channel)?.clone();
                let Some(undoing) = payment.undoing(follow_up, self.new_key(&channel).await?) else { return Ok("nothing") };
                let (lease, send_by) = self.lease(&channel, 1);
                let now = self.now();
                let mut draft = payment.clone();
                let n = draft.add_attempt(undoing, lease, now);
                draft.followed_up(claim.n, now);
                let change = Change::between(&payment, touched(draft, now), Source::Query).fenced(claim.n, claim.fence);
                if let Written::Done(after) = self.write_change(change).await? {
                    self.carry_out(*after, n, &channel, send_by, &mut Stopwatch::start()).await?;
                }
            }
        }
        Ok("followed_up")
    }

    /// Settles news, and when it told nothing new, moves the attempt a rung up.
    pub(super) async fn apply(&self, payment: Payment, claim: &Claim, channel: &Channel, news: &News) -> Result<&'static str, FlowError> {
        let Settled { payment, learned } = self.settle(payment, claim.n, news, Source::Query, channel.handle.provider().contract()).await?;
        if learned == Learned::Changed {
            return Ok("changed");
        }
        // A hold that was in doubt and still stands: what was to be done about it is done now.
        let stands = payment.current_pay().is_some_and(|pay| pay.n == claim.n && pay.state == AttemptState::Authorized);
        if stands && news.fact == Fact::Authorized && payment.follow_up(self.now()) == Some(FollowUp::Void) {
            return Box::pin(self.follow(payment, claim, FollowUp::Void)).await;
        }
        self.postpone(claim, &payment, channel).await?;
        Ok(if learned == Learned::Seen { "unchanged" } else { "contradiction" })
    }

    /// Gives the lease back and sets the next look, a rung higher.
    async fn postpone(&self, claim: &Claim, payment: &Payment, channel: &Channel) -> Result<(), FlowError> {
        let now = self.now();
        let next = payment.next_look(claim.n, channel.handle.provider().contract(), now).unwrap_or(now + SignedDuration::from_mins(1));
        Ok(self.shared.store.postpone(claim, Some(next), true).await?)
    }
}

/// What became of one more send.
enum Again {
    /// It went: the payment as it was when it did, and what is known since.
    Sent(Box<(Payment, News)>),
    /// Not now, and why; when it is due again is written.
    Stays(&'static str),
}

/// How the channel is asked about an attempt: a refund, and money that is given back, are objects of their own.
pub(super) fn question(payment: &Payment, attempt: &Attempt) -> Verb {
    match attempt.operation {
        Operation::Refund => Verb::QueryRefund,
        Operation::Reversal if !is_only_held(payment, attempt) => Verb::QueryRefund,
        _ => Verb::Query,
    }
}

/// A code or page that can no longer be paid.
fn dead() -> News {
    News { failure: Some(Failure::new(FailureCode::Closed, None, "it expired at the channel before it was paid")), ..News::of(Fact::Closed) }
}

/// Whether an attempt that the channel does not have must still be carried out.
fn is_wanted(payment: &Payment, attempt: &Attempt) -> bool {
    match attempt.operation {
        Operation::Refund | Operation::Reversal | Operation::Void => true,
        // Once a cancel was requested the hold is released instead.
        Operation::Capture => !payment.cancel_requested,
        // A repeat may charge: only the flow that the customer waits for sends it.
        Operation::Pay => false,
    }
}

/// What a query of the payment says about an attempt that is not the payment itself: a capture is done when the payment is, a void when it is
/// closed. `None`: the channel shows the hold as if nothing had been asked.
pub(super) fn reading(attempt: &Attempt, verb: Verb, news: News) -> Option<News> {
    match (attempt.operation, news.fact) {
        (Operation::Pay | Operation::Refund, _) => Some(news),
        // A question that never reached the channel says nothing of what it was about, and least of all that the channel does not have it.
        (_, Fact::NotSent) => Some(News::unknown()),
        (_, Fact::Unknown | Fact::Accepted) => Some(News::of(news.fact)),
        (Operation::Capture, Fact::Approved) => Some(News::of(Fact::Approved)),
        (Operation::Capture, Fact::Closed | Fact::Declined) => Some(News { failure: news.failure, ..News::of(Fact::Declined) }),
        (Operation::Void, Fact::Closed) => Some(News::of(Fact::Approved)),
        // It was captured after all: there is nothing left to release.
        (Operation::Void, Fact::Approved) => Some(News::of(Fact::Declined)),
        // Asked after a hold, and shown as paid: it was taken, so there is money to give back and nothing to release.
        (Operation::Reversal, Fact::Approved) if verb == Verb::Query => Some(News::of(Fact::Declined)),
        (Operation::Reversal, Fact::Approved | Fact::Closed) => Some(News { reference: news.reference, ..News::of(Fact::Approved) }),
        (Operation::Reversal, Fact::Declined) => Some(News { failure: news.failure, ..News::of(Fact::Declined) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(operation: Operation) -> Attempt {
        let now = jiff::Timestamp::UNIX_EPOCH;
        Attempt {
            n: 2,
            operation,
            channel: "a".to_owned(),
            key: "0".repeat(32),
            state: AttemptState::Unknown,
            amount: 100,
            undoes: None,
            refund_n: None,
            reference: None,
            failure: None,
            next_action: None,
            due_at: Some(now),
            tries: 0,
            not_found_since: None,
            lease_owner: None,
            lease_until: None,
            fence: 0,
            reason: String::new(),
            passed_over: Vec::new(),
            created_at: now,
            updated_at: now,
            exchange: None,
        }
    }

    #[test]
    fn a_hold_that_was_to_be_released_and_is_shown_as_paid_was_not_given_back() {
        let fact = |verb, fact| reading(&attempt(Operation::Reversal), verb, News::of(fact)).map(|news| news.fact);
        assert_eq!(fact(Verb::Query, Fact::Approved), Some(Fact::Declined));
        assert_eq!(fact(Verb::Query, Fact::Closed), Some(Fact::Approved), "released");
        assert_eq!(fact(Verb::QueryRefund, Fact::Approved), Some(Fact::Approved), "given back");
        assert_eq!(fact(Verb::Query, Fact::Authorized), None, "held as if nothing had been asked");
    }

    #[test]
    fn what_the_database_cannot_do_at_the_moment_is_no_fault_of_ours() {
        use crate::store::{JournalError, StoreError};
        let refused = || StoreError::Refused { message: "a check".to_owned(), constraint: None };
        let ours = [
            FlowError::Internal("a panic".to_owned()),
            FlowError::Journal(JournalError::Refused("a check".to_owned())),
            FlowError::Store(refused()),
            FlowError::Store(StoreError::Unreadable("a row".to_owned())),
        ];
        let of_the_moment = [
            FlowError::Journal(JournalError::Away),
            FlowError::Journal(JournalError::Full),
            FlowError::Store(StoreError::Away("gone".to_owned())),
            FlowError::Store(StoreError::Busy("a deadlock".to_owned())),
            FlowError::Overloaded,
        ];
        assert!(ours.iter().all(is_ours));
        assert!(!of_the_moment.iter().any(is_ours), "it is looked at again, for as long as it takes");
    }

    #[test]
    fn a_question_that_never_reached_the_channel_is_no_answer() {
        for operation in [Operation::Capture, Operation::Void, Operation::Reversal] {
            let read = reading(&attempt(operation), Verb::Query, News::not_sent("connect")).map(|news| news.fact);
            assert_eq!(read, Some(Fact::Unknown), "{operation}");
        }
    }
}

//! What happens to a payment's money at the channel without us: somebody refunds it on the channel's own pages, the customer's bank disputes it. It
//! is true whether it suits us or not, so it is adopted: the ceilings move, the merchant is told. What cannot be true together with what is known
//! is left for a person.
//!
//! Messages overtake each other. The end of something whose beginning was not heard yet is adopted with its beginning, which then tells nothing new.
//!
//! A refund of ours that was only reserved, and not sent yet, gives way to one that has happened. One that is on its way does not.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use super::attempt::{Attempt, AttemptState};
use super::failure::{Failure, FailureCode};
use super::id::RefundId;
use super::money::Money;
use super::operation::Operation;
use super::payment::{Lease, NewAttempt, Outcome, Payment};
use super::refund::{Refund, RefundSource, RefundStatus};

/// The longest part of a channel's name for a refund that goes into our own name for it.
const NAME_MAX: usize = 40;

/// Something that happened at the channel by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum External {
    /// Money went back to the customer.
    Refund {
        /// The channel's name for the refund.
        reference: String,
        /// How much.
        money: Money,
    },
    /// Money went back to the customer, and the message does not say how much: the channel is asked before anything is booked.
    RefundToMeasure {
        /// The channel's name for the refund.
        reference: String,
    },
    /// Such a refund did not arrive, or came back: the money is the merchant's.
    RefundReturned {
        /// The channel's name for the refund.
        reference: String,
        /// How much.
        money: Money,
    },
    /// The customer's bank asks for money back: it is held until that is decided.
    DisputeOpened {
        /// The channel's name for the dispute.
        reference: String,
        /// How much.
        money: Money,
    },
    /// It was decided.
    DisputeClosed {
        /// The channel's name for the dispute.
        reference: String,
        /// How much.
        money: Money,
        /// Whether the merchant keeps the money.
        won: bool,
    },
}

impl External {
    /// The name in metrics and logs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Refund { .. } | Self::RefundToMeasure { .. } => "refund",
            Self::RefundReturned { .. } => "refund_returned",
            Self::DisputeOpened { .. } => "dispute_opened",
            Self::DisputeClosed { .. } => "dispute_closed",
        }
    }

    /// The channel's name for it.
    pub fn reference(&self) -> &str {
        match self {
            Self::Refund { reference, .. }
            | Self::RefundToMeasure { reference }
            | Self::RefundReturned { reference, .. }
            | Self::DisputeOpened { reference, .. }
            | Self::DisputeClosed { reference, .. } => reference,
        }
    }

    /// The events of the payment's timeline that tell of it, beside what is `known` of the same dispute, and by which a second message about it is
    /// known; a refund is known by its row.
    pub fn events(&self, known: DisputeKnown) -> Vec<(&'static str, String)> {
        let opened = |reference: &str, money: &Money| ("dispute.created", json!({"dispute": reference, "amount": money.amount}).to_string());
        match self {
            Self::Refund { .. } | Self::RefundToMeasure { .. } | Self::RefundReturned { .. } => Vec::new(),
            Self::DisputeOpened { reference, money } => vec![opened(reference, money)],
            Self::DisputeClosed { reference, money, won } => {
                let closed = ("dispute.closed", json!({"dispute": reference, "amount": money.amount, "won": won}).to_string());
                if known.opened { vec![closed] } else { vec![opened(reference, money), closed] }
            }
        }
    }

    const fn money(&self) -> Option<Money> {
        match self {
            Self::Refund { money, .. }
            | Self::RefundReturned { money, .. }
            | Self::DisputeOpened { money, .. }
            | Self::DisputeClosed { money, .. } => Some(*money),
            Self::RefundToMeasure { .. } => None,
        }
    }
}

/// What adopting it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// The payment changed: it must be written.
    Changed,
    /// It was known already.
    Seen,
    /// It does not fit what is known now, and may fit what is on its way: money that we do not know of yet, a refund that may still be refused, the
    /// beginning of a dispute. Nothing changed: it is to be offered again.
    NotYet,
    /// More than there is, or in another currency: nothing changed, a person must look.
    DoesNotFit,
}

/// What the payment's timeline tells of a dispute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DisputeKnown {
    /// That it was opened.
    pub opened: bool,
    /// That it was decided.
    pub closed: bool,
}

impl Payment {
    /// Adopts what happened at `channel` by itself. `key` is for the attempt of a refund; `dispute` is what the timeline tells of the same dispute.
    pub fn adopt(&mut self, external: &External, channel: &str, key: String, dispute: DisputeKnown, now: Timestamp) -> Adopted {
        let Some(money) = external.money() else { return Adopted::DoesNotFit };
        if money.currency != self.request.currency || money.amount <= 0 {
            return Adopted::DoesNotFit;
        }
        match external {
            External::Refund { reference, .. } => self.adopt_refund(reference, money.amount, channel, key, now),
            External::RefundToMeasure { .. } => Adopted::DoesNotFit,
            External::RefundReturned { reference, .. } => self.adopt_return(reference, money.amount, channel, key, now),
            External::DisputeOpened { .. } if dispute.opened => Adopted::Seen,
            External::DisputeOpened { .. } => self.hold_for_dispute(money.amount, now),
            External::DisputeClosed { .. } if dispute.closed => Adopted::Seen,
            External::DisputeClosed { won, .. } => {
                // The end is heard before its beginning, which is then known.
                if !dispute.opened {
                    let held = self.hold_for_dispute(money.amount, now);
                    if held != Adopted::Changed {
                        return held;
                    }
                }
                if *won {
                    self.disputed = (self.disputed - money.amount).max(0);
                }
                self.updated_at = now;
                // A cancel gives back what it could not while it was held.
                self.call_for_follow_up(now);
                Adopted::Changed
            }
        }
    }

    /// More than there is: for good only when nothing is on its way that could make room for it.
    fn does_not_fit(&self, amount: i64) -> Adopted {
        let moving = self.attempts.iter().any(|attempt| attempt.state.is_open() || attempt.due_at.is_some());
        if moving && amount <= self.request.amount { Adopted::NotYet } else { Adopted::DoesNotFit }
    }

    fn hold_for_dispute(&mut self, amount: i64, now: Timestamp) -> Adopted {
        if amount > self.captured - self.disputed {
            return self.does_not_fit(amount);
        }
        // The channel would refuse them now. What is on its way is true or not whatever we wish.
        self.release_unsent(self.refund_reserved + self.disputed + amount - self.captured, now);
        self.disputed += amount;
        self.updated_at = now;
        Adopted::Changed
    }

    /// Whether the channel's refund `reference` is booked, or asked for by us.
    pub fn has_refund(&self, reference: &str) -> bool {
        self.attempts.iter().any(|attempt| attempt.operation == Operation::Refund && attempt.reference.as_deref() == Some(reference))
    }

    fn adopt_refund(&mut self, reference: &str, amount: i64, channel: &str, key: String, now: Timestamp) -> Adopted {
        if self.has_refund(reference) {
            return Adopted::Seen;
        }
        let before = self.clone();
        self.release_unsent(self.refund_reserved + amount - self.captured, now);
        if self.refund_reserved + amount > self.captured {
            *self = before;
            return self.does_not_fit(amount);
        }
        self.refund_reserved += amount;
        self.refunded += amount;
        self.book_refund(reference, amount, channel, key, AttemptState::Succeeded, now);
        Adopted::Changed
    }

    /// A refund that was made at the channel did not arrive in the end. One that we had not heard of is booked as failed, so that a message about its
    /// success that comes later is not believed.
    fn adopt_return(&mut self, reference: &str, amount: i64, channel: &str, key: String, now: Timestamp) -> Adopted {
        let known = |attempt: &&mut Attempt| attempt.operation == Operation::Refund && attempt.reference.as_deref() == Some(reference);
        let Some(attempt) = self.attempts.iter_mut().find(known) else {
            self.book_refund(reference, amount, channel, key, AttemptState::Declined, now);
            if let Some(booked) = self.attempts.last_mut() {
                booked.failure = Some(came_back());
            }
            return Adopted::Changed;
        };
        if attempt.state != AttemptState::Succeeded {
            return Adopted::Seen;
        }
        attempt.state = AttemptState::Returned;
        attempt.failure = Some(came_back());
        attempt.updated_at = now;
        let (amount, refund) = (attempt.amount, attempt.refund_n);
        self.refunded -= amount;
        self.refund_reserved -= amount;
        if let Some(refund) = refund {
            self.derive_refund(refund, now);
        }
        self.updated_at = now;
        self.derive(now);
        Adopted::Changed
    }

    /// Writes down a refund that was made at the channel, with its attempt, which ended as `state`.
    fn book_refund(&mut self, reference: &str, amount: i64, channel: &str, key: String, state: AttemptState, now: Timestamp) {
        let n = self.next_refund();
        let named: String = reference.chars().take(NAME_MAX).collect();
        self.refunds.push(Refund {
            n,
            id: RefundId::mint(now, self.id.bucket()),
            merchant_refund_id: format!("breakwater:channel:{named}"),
            amount,
            reason: Some("made at the channel".to_owned()),
            metadata: BTreeMap::new(),
            source: RefundSource::Channel,
            status: RefundStatus::Processing,
            outcome: Outcome::None,
            created_at: now,
            updated_at: now,
        });
        let attempt = NewAttempt {
            operation: Operation::Refund,
            channel: channel.to_owned(),
            key,
            amount,
            refund_n: Some(n),
            undoes: None,
            reason: "made at the channel".to_owned(),
            passed_over: Vec::new(),
        };
        let attempt = self.add_attempt(attempt, Lease { owner: uuid::Uuid::nil(), until: now }, now);
        if let Some(attempt) = self.attempt_mut(attempt) {
            attempt.state = state;
            attempt.reference = Some(reference.to_owned());
            attempt.due_at = None;
            attempt.lease_owner = None;
            attempt.lease_until = None;
        }
        self.derive_refund(n, now);
        self.updated_at = now;
        self.derive(now);
    }

    /// Gives up refunds that were not sent yet, the latest first, until `missing` is free.
    fn release_unsent(&mut self, missing: i64, now: Timestamp) {
        let mut missing = missing;
        let refunds: Vec<i16> = self.refunds.iter().rev().map(|refund| refund.n).collect();
        for n in refunds {
            if missing <= 0 {
                return;
            }
            let Some(attempt) = self.refund_attempt(n).filter(|attempt| attempt.state == AttemptState::NotSent).map(|attempt| attempt.n) else {
                continue;
            };
            let Some(attempt) = self.attempt_mut(attempt) else { continue };
            attempt.state = AttemptState::Declined;
            attempt.failure = Some(Failure::new(
                FailureCode::RefundExceedsChannel,
                None,
                "the money went back at the channel, or is disputed there, since before this refund was sent",
            ));
            attempt.due_at = None;
            attempt.lease_owner = None;
            attempt.lease_until = None;
            attempt.updated_at = now;
            let amount = attempt.amount;
            self.refund_reserved -= amount;
            missing -= amount;
            self.derive_refund(n, now);
        }
    }
}

fn came_back() -> Failure {
    Failure::new(FailureCode::RefundFailed, None, "the refund, which was made at the channel, did not arrive or came back")
}

#[cfg(test)]
mod tests {
    use super::super::whole_tests::{Happening, happen, paid, start};
    use super::super::{Currency, Fact, Learned, News, Source};
    use super::*;

    const fn money(amount: i64) -> Money {
        Money { amount, currency: Currency::USD }
    }

    fn refund(reference: &str, amount: i64) -> External {
        External::Refund { reference: reference.to_owned(), money: money(amount) }
    }

    fn adopt(payment: &mut Payment, external: &External, dispute: DisputeKnown) -> Adopted {
        payment.adopt(external, "a", "0".repeat(32), dispute, start())
    }

    #[test]
    fn a_refund_made_at_the_channel_is_booked_once() {
        let mut payment = paid();
        assert_eq!(adopt(&mut payment, &refund("re_9", 30), DisputeKnown::default()), Adopted::Changed);
        assert_eq!((payment.refunded, payment.refund_reserved, payment.refundable()), (30, 30, 70));
        assert_eq!(payment.refunds[0].source, RefundSource::Channel);
        assert_eq!(adopt(&mut payment, &refund("re_9", 30), DisputeKnown::default()), Adopted::Seen);
        assert_eq!(payment.refunded, 30);
    }

    #[test]
    fn a_refund_made_at_the_channel_that_comes_back_frees_its_amount_whichever_is_heard_first() {
        let returned = External::RefundReturned { reference: "re_9".to_owned(), money: money(30) };
        let mut payment = paid();
        assert_eq!(adopt(&mut payment, &refund("re_9", 30), DisputeKnown::default()), Adopted::Changed);
        assert_eq!(adopt(&mut payment, &returned, DisputeKnown::default()), Adopted::Changed);
        assert_eq!((payment.refunded, payment.refund_reserved, payment.refundable()), (0, 0, 100));
        assert_eq!((payment.refunds[0].status, payment.refunds.len()), (RefundStatus::Returned, 1));
        let mut overtaken = paid();
        assert_eq!(adopt(&mut overtaken, &returned, DisputeKnown::default()), Adopted::Changed);
        assert_eq!((overtaken.refunds[0].status, overtaken.refundable()), (RefundStatus::Failed, 100), "nothing was ever given back");
        for payment in [&mut payment, &mut overtaken] {
            assert_eq!(adopt(payment, &refund("re_9", 30), DisputeKnown::default()), Adopted::Seen);
            assert_eq!(adopt(payment, &returned, DisputeKnown::default()), Adopted::Seen);
            assert_eq!((payment.refunded, payment.refund_reserved), (0, 0));
        }
    }

    #[test]
    fn a_refund_that_waits_gives_way_to_a_dispute_of_the_same_money() {
        let opened = External::DisputeOpened { reference: "dp_1".to_owned(), money: money(60) };
        for (amount, status) in [(80, RefundStatus::Failed), (40, RefundStatus::Processing)] {
            let mut payment = paid();
            happen(&mut payment, &Happening::Refund(amount));
            let n = payment.attempts.last().expect("a refund").n;
            let contract = super::super::whole_tests::CONTRACT;
            assert_eq!(payment.learn(n, &News::of(Fact::NotSent), Source::Reply, &contract, start()), Ok(Learned::Changed));
            assert_eq!(adopt(&mut payment, &opened, DisputeKnown::default()), Adopted::Changed);
            assert_eq!((payment.refunds[0].status, payment.disputed), (status, 60), "{amount}");
        }
    }

    #[test]
    fn what_was_only_reserved_gives_way_and_what_is_on_its_way_does_not() {
        let mut payment = paid();
        happen(&mut payment, &Happening::Refund(80));
        let n = payment.attempts.last().expect("a refund").n;
        assert_eq!(adopt(&mut payment.clone(), &refund("re_9", 30), DisputeKnown::default()), Adopted::NotYet, "the 80 are on their way");
        let not_sent = News::of(Fact::NotSent);
        let contract = super::super::whole_tests::CONTRACT;
        assert_eq!(payment.learn(n, &not_sent, Source::Reply, &contract, start()), Ok(Learned::Changed));
        assert_eq!(adopt(&mut payment, &refund("re_9", 30), DisputeKnown::default()), Adopted::Changed);
        assert_eq!((payment.refunds[0].status, payment.refunded, payment.refund_reserved), (RefundStatus::Failed, 30, 30));
    }

    #[test]
    fn more_than_was_captured_or_another_currency_changes_nothing() {
        let mut payment = paid();
        let before = payment.clone();
        assert_eq!(adopt(&mut payment, &refund("re_9", 101), DisputeKnown::default()), Adopted::DoesNotFit);
        let foreign =
            External::Refund { reference: "re_9".to_owned(), money: Money { amount: 1, currency: Currency::parse("CNY").expect("a currency") } };
        assert_eq!(adopt(&mut payment, &foreign, DisputeKnown::default()), Adopted::DoesNotFit);
        assert_eq!(payment, before);
    }

    #[test]
    fn a_dispute_caps_refunds_until_it_is_won_and_for_good_when_it_is_lost() {
        let opened = External::DisputeOpened { reference: "dp_1".to_owned(), money: money(60) };
        let closed = |won| External::DisputeClosed { reference: "dp_1".to_owned(), money: money(60), won };
        let known = DisputeKnown { opened: true, closed: false };
        let mut payment = paid();
        let mut overtaken = payment.clone();
        assert_eq!(adopt(&mut overtaken, &closed(false), DisputeKnown::default()), Adopted::Changed, "the end is heard before the beginning");
        assert_eq!((overtaken.disputed, overtaken.refundable()), (60, 40));
        assert_eq!(adopt(&mut overtaken, &opened, DisputeKnown { opened: true, closed: true }), Adopted::Seen);
        let told: Vec<_> = closed(false).events(DisputeKnown::default()).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(told, ["dispute.created", "dispute.closed"]);
        let told: Vec<_> = closed(false).events(known).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(told, ["dispute.closed"]);
        assert_eq!(adopt(&mut payment, &opened, DisputeKnown::default()), Adopted::Changed);
        assert_eq!((payment.disputed, payment.refundable()), (60, 40));
        assert_eq!(adopt(&mut payment, &opened, known), Adopted::Seen);
        let mut lost = payment.clone();
        assert_eq!(adopt(&mut lost, &closed(false), known), Adopted::Changed);
        assert_eq!((lost.disputed, lost.refundable()), (60, 40));
        assert_eq!(adopt(&mut payment, &closed(true), known), Adopted::Changed);
        assert_eq!((payment.disputed, payment.refundable()), (0, 100));
        assert_eq!(adopt(&mut payment, &closed(true), DisputeKnown { opened: true, closed: true }), Adopted::Seen);
    }
}

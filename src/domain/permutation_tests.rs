//! Every order in which one payment can learn up to five things ends in the same state.
//!
//! A *world* is what is true at the channel: charged, refused, closed, never arrived, captured, given back. From the words that such a world can
//! produce (each as often as it likes: repeats and late answers are words, too) every multiset of up to five is taken, and each of its orders is
//! applied to a payment of its own. Then the resolver does its duty: what is open is asked after, what must follow is sent, and the channel
//! answers with its truth. What a merchant was refused for the time being (a refund while the payment was in doubt) is asked for again, and so is
//! a message about money that moved at the channel before we knew of the money that it moved.
//!
//! Then all orders must agree on everything that a merchant can see, and the money must agree with the channel's own book. Some orders tell a
//! merchant something that cannot be untold, and only among those that told the same ([`Told`]) is the end the same:
//! - a cancel, a capture or a refund that came too late was refused: what was never wished is not carried out;
//! - an end that was told stands: money that comes behind a *declined* goes back, where a *declined* behind the money is a contradiction;
//! - a channel that cannot be asked has not answered: the payment is undone, and a yes behind that is seen and not adopted.
//!
//! Across all of them the book holds.

use std::collections::BTreeMap;

use super::whole_tests::{CONTRACT, MUTE, attempt, holds, lease, open, refund, start};
use super::*;

/// How many words an order has at most.
const WORDS: usize = 5;
/// Duties that are done until nothing more is due.
const LOOKS: usize = 24;

/// Something that reaches the payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// A fact about pay attempt 1 or 2.
    Pay(i16, Fact),
    /// The channel does not have it, which is not final.
    NotThere,
    /// A fact about the capture.
    Capture(Fact),
    /// A fact about the merchant's refund.
    Refund(Fact),
    /// The merchant asks for a capture of so much.
    AskCapture(i64),
    /// The merchant asks for a refund of so much.
    AskRefund(i64),
    /// The merchant asks to cancel.
    AskCancel,
    /// Somebody gives so much back on the channel's own pages.
    Portal(i64),
    /// The customer's bank disputes so much.
    Disputed(i64),
    /// The merchant has won that.
    Won(i64),
    /// The resolver looks once.
    Look,
}

impl Word {
    /// What happens once in a world, however often it is told of.
    const fn happens_once(self) -> bool {
        matches!(self, Self::AskCapture(_) | Self::AskRefund(_) | Self::AskCancel)
    }
}

/// What is true at the channel, and what can be heard of it.
struct World {
    name: &'static str,
    contract: Contract,
    begins: fn() -> Payment,
    words: &'static [Word],
    /// What the channel says of pay attempts that it is asked after.
    pay: Fact,
    /// What it says of the merchant's refund.
    refund: Fact,
    /// Whether an end may be told before the money, or the payment be undone.
    may_be_undone: bool,
}

/// What the merchant was told on the way that cannot be untold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    cancel: bool,
    capture: bool,
    refund: bool,
    ended_unpaid: bool,
    undone: bool,
}

/// What a merchant sees.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    status: PaymentStatus,
    outcome: Outcome,
    cancel_requested: bool,
    captured: (i64, i64),
    refunded: (i64, i64),
    disputed: i64,
    refunds: Vec<(&'static str, i64, RefundStatus, Outcome)>,
}

/// The channel's book.
#[derive(Clone, Debug, Default)]
struct Book {
    taken: BTreeMap<i16, i64>,
    given: BTreeMap<i16, i64>,
    portal: i64,
}

/// One order of words, as far as it was applied.
#[derive(Clone)]
struct Story<'a> {
    world: &'a World,
    payment: Payment,
    book: Book,
    told: Told,
    /// What did not fit yet, or was refused for now.
    again: Vec<Word>,
    disputes: (bool, bool),
    heard: Vec<Word>,
}

impl Story<'_> {
    /// Applies a word. False when the world could not say it now: nobody speaks of a refund before it was asked for.
    fn hear(&mut self, word: Word) -> bool {
        self.heard.push(word);
        let possible = match word {
            Word::Pay(n, fact) => self.hear_of_pay(n, fact),
            Word::NotThere => {
                // Only who asks is told so, and only what is open is asked after.
                let open = self.payment.attempts[0].state;
                if matches!(open, AttemptState::Unknown | AttemptState::Accepted) {
                    self.payment.not_found(1, &self.world.contract, start());
                }
                true
            }
            Word::Capture(fact) => self.hear_of(Operation::Capture, fact),
            Word::Refund(fact) => self.hear_of(Operation::Refund, fact),
            Word::AskCapture(_) | Word::AskRefund(_) | Word::AskCancel => {
                self.ask(word);
                true
            }
            Word::Portal(amount) => {
                self.book.portal = amount;
                self.happen_outside(word);
                true
            }
            Word::Disputed(_) | Word::Won(_) => {
                self.happen_outside(word);
                true
            }
            Word::Look => {
                self.look();
                true
            }
        };
        if self.payment.status.ended_unpaid() && self.world.pay == Fact::Approved {
            self.told.ended_unpaid = true;
        }
        self.told.undone |= self.payment.attempts[0].state == AttemptState::Reversing;
        holds(&self.payment).unwrap_or_else(|broken| panic!("{}: {broken}", self.world.name));
        possible
    }

    fn hear_of_pay(&mut self, n: i16, fact: Fact) -> bool {
        let state = self.payment.attempts[usize::from(n.unsigned_abs()) - 1].state;
        // "Never left us" is then said of a repeat: the first has been answered, or not.
        if fact == Fact::NotSent && state == AttemptState::Sent && self.world.pay != Fact::NotFound {
            return false;
        }
        // A hold is shown as taken once its capture was asked for.
        let manual = self.payment.request.capture_method == CaptureMethod::Manual;
        if manual && fact == Fact::Approved && self.payment.attempts.iter().all(|attempt| attempt.operation != Operation::Capture) {
            return false;
        }
        self.learn(n, fact);
        true
    }

    fn hear_of(&mut self, operation: Operation, fact: Fact) -> bool {
        let merchants = |n: i16| self.payment.refund(n).is_some_and(|refund| refund.source == RefundSource::Merchant);
        let meant = |attempt: &&Attempt| attempt.operation == operation && attempt.refund_n.is_none_or(merchants);
        let Some(n) = self.payment.attempts.iter().find(meant).map(|attempt| attempt.n) else { return false };
        self.learn(n, fact);
        true
    }

    fn learn(&mut self, n: i16, fact: Fact) {
        let attempt = self.payment.attempt(n).expect("it exists").clone();
        self.write_up(&attempt, fact);
        let mut news = News::of(fact);
        news.captured = (attempt.operation == Operation::Pay && fact == Fact::Approved).then(|| self.taken_of(&attempt));
        self.payment.learn(n, &news, Source::Query, &self.world.contract, start()).unwrap_or_else(|illegal| panic!("{}: {illegal}", self.world.name));
    }

    /// How much the channel has taken of a payment.
    fn taken_of(&self, pay: &Attempt) -> i64 {
        let capture = self.payment.attempts.iter().find(|attempt| attempt.operation == Operation::Capture);
        capture.map_or(pay.amount, |capture| capture.amount)
    }

    /// What the channel's own book says from now on.
    fn write_up(&mut self, attempt: &Attempt, fact: Fact) {
        let undone = attempt.state == AttemptState::Reversed;
        match (attempt.operation, fact) {
            (Operation::Pay, Fact::Approved) if !undone => {
                let taken = self.taken_of(attempt);
                self.book.taken.insert(attempt.n, taken);
            }
            (Operation::Capture, Fact::Approved) => {
                self.book.taken.insert(1, attempt.amount);
            }
            (Operation::Refund, Fact::Approved) if self.world.refund == Fact::Approved && !undone => {
                self.book.given.insert(attempt.n, attempt.amount);
            }
            (Operation::Reversal, Fact::Approved) => {
                let undoes = attempt.undoes.expect("a reversal undoes something");
                let of_a_refund = self.payment.attempt(undoes).is_some_and(|undone| undone.operation == Operation::Refund);
                if of_a_refund {
                    self.book.given.remove(&undoes)
                } else {
                    self.book.taken.remove(&undoes)
                };
            }
            _ => {}
        }
    }

    /// What the merchant wants, under the conditions of the flows. What is refused for now is asked for again.
    fn ask(&mut self, word: Word) {
        let now = start();
        match word {
            Word::AskCancel if !self.payment.status.is_final() => {
                self.payment.request_cancel(now);
                self.told.cancel = true;
            }
            Word::AskCapture(amount) => {
                let alone = self.payment.open_attempt(Operation::Capture).is_none() && self.payment.open_attempt(Operation::Void).is_none();
                if self.payment.status == PaymentStatus::RequiresCapture && !self.payment.cancel_requested && alone {
                    self.payment.capture_reserved += amount;
                    self.payment.add_attempt(attempt(Operation::Capture, amount, None), lease(), now);
                    self.told.capture = true;
                } else {
                    self.again.push(word);
                }
            }
            Word::AskRefund(amount) => {
                let resolved = !matches!(self.payment.status, PaymentStatus::Processing);
                if resolved && amount <= self.payment.refundable() {
                    self.give_back(amount, RefundSource::Merchant);
                    self.told.refund = true;
                } else {
                    self.again.push(word);
                }
            }
            _ => {}
        }
    }

    fn give_back(&mut self, amount: i64, source: RefundSource) {
        let n = i16::try_from(self.payment.refunds.len() + 1).expect("few");
        self.payment.refund_reserved += amount;
        let wished = Refund { source, ..refund(&self.payment, n, amount) };
        self.payment.refunds.push(wished);
        self.payment.add_attempt(attempt(Operation::Refund, amount, Some(n)), lease(), start());
    }

    /// What happened at the channel by itself. What does not fit yet waits.
    fn happen_outside(&mut self, word: Word) {
        let money = |amount| Money { amount, currency: Currency::USD };
        let reference = || "x_1".to_owned();
        let external = match word {
            Word::Portal(amount) => External::Refund { reference: reference(), money: money(amount) },
            Word::Disputed(amount) => External::DisputeOpened { reference: reference(), money: money(amount) },
            Word::Won(amount) => External::DisputeClosed { reference: reference(), money: money(amount), won: true },
            _ => return,
        };
        let known = DisputeKnown { opened: self.disputes.0, closed: self.disputes.1 };
        match self.payment.adopt(&external, "a", "0".repeat(32), known, start()) {
            Adopted::Changed if matches!(word, Word::Disputed(_)) => self.disputes.0 = true,
            // An end that is heard first is adopted with its beginning.
            Adopted::Changed if matches!(word, Word::Won(_)) => self.disputes = (true, true),
            Adopted::Changed | Adopted::Seen => {}
            Adopted::NotYet => self.again.push(word),
            Adopted::DoesNotFit => panic!("{}: {word:?} never fits {:#?}", self.world.name, self.payment),
        }
    }

    /// One duty: an open attempt is answered with the truth, or what must follow is sent. False when nothing is due.
    fn look(&mut self) -> bool {
        let open = self.payment.attempts.iter().find(|attempt| {
            let asked = attempt.state.is_open() && !matches!(attempt.state, AttemptState::Reversing | AttemptState::SucceededLate);
            asked || (attempt.state == AttemptState::NotSent && attempt.due_at.is_some())
        });
        if let Some(open) = open {
            let (n, operation) = (open.n, open.operation);
            let of_merchant = open.refund_n.and_then(|n| self.payment.refund(n)).is_some_and(|refund| refund.source == RefundSource::Merchant);
            // Where nothing can be asked, what nobody has heard of is unknown. The second try of a refund is answered, or there were no end.
            let first = self.payment.attempts.iter().filter(|other| other.refund_n.is_some() && other.refund_n == open.refund_n).count() <= 1;
            let unheard = self.world.contract.unanswered == Unanswered::Reverse && open.state == AttemptState::Sent && first;
            let truth = match operation {
                Operation::Pay | Operation::Refund if unheard => Fact::Unknown,
                Operation::Pay => self.world.pay,
                Operation::Refund if of_merchant => self.world.refund,
                Operation::Capture | Operation::Void | Operation::Reversal | Operation::Refund => Fact::Approved,
            };
            self.learn(n, truth);
            return true;
        }
        let succeeded = self.payment.attempts.iter().find(|attempt| {
            let merchants = attempt.refund_n.and_then(|n| self.payment.refund(n)).is_some_and(|refund| refund.source == RefundSource::Merchant);
            merchants && attempt.state == AttemptState::Succeeded
        });
        // Nobody asks, but the channel tells.
        if self.world.refund == Fact::Returned
            && let Some(n) = succeeded.map(|attempt| attempt.n)
        {
            self.learn(n, Fact::Returned);
            return true;
        }
        let Some(follow_up) = self.payment.follow_up(start()) else { return false };
        let carrier = match follow_up {
            FollowUp::Reverse { attempt } => Some(attempt),
            _ => self.payment.current_pay().map(|pay| pay.n),
        };
        match follow_up {
            FollowUp::Void | FollowUp::Reverse { .. } => {
                let undoing = self.payment.undoing(follow_up, "0".repeat(32)).expect("something undoes it");
                self.payment.add_attempt(undoing, lease(), start());
            }
            FollowUp::RefundForCancel => self.give_back(self.payment.refundable(), RefundSource::Cancel),
            FollowUp::RefundAgain { refund } => {
                let amount = self.payment.refund(refund).expect("it exists").amount;
                self.payment.add_attempt(attempt(Operation::Refund, amount, Some(refund)), lease(), start());
            }
        }
        if let Some(n) = carrier {
            self.payment.followed_up(n, start());
        }
        true
    }

    /// The resolver and the merchant go on until nothing is left to do.
    fn finish(mut self) -> (Told, End) {
        for _ in 0..LOOKS {
            // What waits comes first: a cancel that gives back what was disputed at the channel before would be refused there.
            let before = std::mem::take(&mut self.again);
            for word in &before {
                self.hear(*word);
            }
            if !self.look() && self.again == before {
                holds(&self.payment).unwrap_or_else(|broken| panic!("{}: {broken}", self.world.name));
                self.agrees_with_the_book();
                return (self.told, end(&self.payment));
            }
        }
        panic!("{}: it never ends: {:#?}", self.world.name, self.payment);
    }

    fn agrees_with_the_book(&self) {
        let taken: i64 = self.book.taken.values().sum();
        let given: i64 = self.book.given.values().sum::<i64>() + self.book.portal;
        let ours = self.payment.captured - self.payment.refunded;
        assert_eq!(ours, taken - given, "{}: {:?}: our books and the channel's {:?} {:#?}", self.world.name, self.heard, self.book, self.payment);
        assert!(self.book.taken.len() <= 1, "{}: the order is paid twice: {:?}", self.world.name, self.book);
        let undone = self.told.undone || self.told.ended_unpaid;
        assert!(self.world.may_be_undone || !undone, "{}: undone without need: {:#?}", self.world.name, self.payment);
    }
}

fn end(payment: &Payment) -> End {
    // In how many parts a cancel gives back depends on what was disputed meanwhile, how much does not.
    let mut refunds: Vec<(&'static str, i64, RefundStatus, Outcome)> = Vec::new();
    for refund in &payment.refunds {
        let of_its_kind = |known: &&mut (&'static str, i64, RefundStatus, Outcome)| {
            (known.0, known.2, known.3) == (refund.source.as_str(), refund.status, refund.outcome)
        };
        match refunds.iter_mut().find(of_its_kind) {
            Some(known) => known.1 += refund.amount,
            None => refunds.push((refund.source.as_str(), refund.amount, refund.status, refund.outcome)),
        }
    }
    refunds.sort_by_key(|refund| (refund.0, refund.1));
    End {
        status: payment.status,
        outcome: payment.outcome,
        cancel_requested: payment.cancel_requested,
        captured: (payment.capture_reserved, payment.captured),
        refunded: (payment.refund_reserved, payment.refunded),
        disputed: payment.disputed,
        refunds,
    }
}

/// Every order of every multiset of up to five words; answers how many orders were told to their end.
fn every_order_of(world: &World) -> usize {
    let mut told = 0;
    let mut counts = vec![0_usize; world.words.len()];
    every_set(world, 0, WORDS, &mut counts, &mut told);
    told
}

fn every_set(world: &World, at: usize, room: usize, counts: &mut Vec<usize>, told: &mut usize) {
    let Some(word) = world.words.get(at) else {
        let payment = (world.begins)();
        let taken = if payment.captured > 0 { BTreeMap::from([(1, payment.captured)]) } else { BTreeMap::new() };
        let story = Story {
            world,
            payment,
            book: Book { taken, ..Book::default() },
            told: Told::default(),
            again: Vec::new(),
            disputes: (false, false),
            heard: Vec::new(),
        };
        let mut ends: BTreeMap<Told, (Vec<Word>, End)> = BTreeMap::new();
        every_order(&story, &mut Vec::new(), counts, &mut ends, told);
        return;
    };
    let most = if word.happens_once() { room.min(1) } else { room };
    for count in 0..=most {
        counts[at] = count;
        every_set(world, at + 1, room - count, counts, told);
    }
    counts[at] = 0;
}

fn every_order(story: &Story<'_>, order: &mut Vec<Word>, counts: &mut Vec<usize>, ends: &mut BTreeMap<Told, (Vec<Word>, End)>, told: &mut usize) {
    if counts.iter().all(|count| *count == 0) {
        *told += 1;
        let (way, end) = story.clone().finish();
        let known = ends.entry(way).or_insert_with(|| (order.clone(), end.clone()));
        assert_eq!(known.1, end, "{}: {:?} and {order:?} end differently, and told the same: {way:?}", story.world.name, known.0);
        return;
    }
    for at in 0..counts.len() {
        if counts[at] == 0 {
            continue;
        }
        let mut next = story.clone();
        let word = story.world.words[at];
        if next.hear(word) {
            counts[at] -= 1;
            order.push(word);
            every_order(&next, order, counts, ends, told);
            order.pop();
            counts[at] += 1;
        }
    }
}

fn automatic() -> Payment {
    open(CaptureMethod::Automatic)
}

fn manual() -> Payment {
    open(CaptureMethod::Manual)
}

/// Closed at the first channel, on its way at the second.
fn at_the_second_channel() -> Payment {
    let mut payment = automatic();
    payment.learn(1, &News::of(Fact::Closed), Source::Query, &CONTRACT, start()).expect("legal");
    payment.add_attempt(attempt(Operation::Pay, 100, None), lease(), start());
    payment
}

const UNKNOWN: Word = Word::Pay(1, Fact::Unknown);
const ACCEPTED: Word = Word::Pay(1, Fact::Accepted);
const ACTION: Word = Word::Pay(1, Fact::ActionRequired);
const APPROVED: Word = Word::Pay(1, Fact::Approved);
const NOT_SENT: Word = Word::Pay(1, Fact::NotSent);

const CHARGED: World = World {
    name: "charged",
    contract: CONTRACT,
    begins: automatic,
    words: &[UNKNOWN, ACCEPTED, ACTION, APPROVED, NOT_SENT, Word::NotThere, Word::AskCancel, Word::Look],
    pay: Fact::Approved,
    refund: Fact::Approved,
    may_be_undone: false,
};

#[test]
fn a_payment_that_was_charged_is_paid_in_every_order_of_up_to_five_facts() {
    assert!(every_order_of(&CHARGED) > 10_000);
}

#[test]
fn a_payment_that_was_charged_and_given_back_ends_the_same_in_every_order() {
    let words: &[Word] =
        &[UNKNOWN, ACTION, APPROVED, Word::AskRefund(40), Word::Refund(Fact::Unknown), Word::Refund(Fact::Approved), Word::Portal(30)];
    assert!(every_order_of(&World { name: "charged and refunded", words, ..CHARGED }) > 1_000);
    let words = &[UNKNOWN, APPROVED, Word::AskCancel, Word::Portal(30), Word::Disputed(20), Word::Won(20), Word::NotThere];
    assert!(every_order_of(&World { name: "charged, canceled, disputed", words, ..CHARGED }) > 1_000);
}

#[test]
fn a_payment_that_was_refused_closed_or_never_arrived_ends_the_same_in_every_order() {
    for (name, truth) in [("refused", Fact::Declined), ("closed", Fact::Closed)] {
        let words: &'static [Word] = match truth {
            Fact::Declined => &[UNKNOWN, ACCEPTED, ACTION, Word::Pay(1, Fact::Declined), NOT_SENT, Word::NotThere, Word::AskCancel, Word::Look],
            _ => &[UNKNOWN, ACCEPTED, ACTION, Word::Pay(1, Fact::Closed), NOT_SENT, Word::NotThere, Word::AskCancel, Word::Look],
        };
        assert!(every_order_of(&World { name, words, pay: truth, ..CHARGED }) > 10_000);
    }
    let words: &[Word] = &[UNKNOWN, NOT_SENT, Word::NotThere, Word::Pay(1, Fact::NotFound), Word::AskCancel, Word::Look];
    assert!(every_order_of(&World { name: "never arrived", words, pay: Fact::NotFound, ..CHARGED }) > 1_000);
}

#[test]
fn a_hold_that_is_captured_or_released_ends_the_same_in_every_order() {
    for amount in [100, 60] {
        let words: &'static [Word] = match amount {
            100 => &[
                UNKNOWN,
                ACTION,
                Word::Pay(1, Fact::Authorized),
                Word::AskCapture(100),
                Word::Capture(Fact::Unknown),
                Word::Capture(Fact::Accepted),
                Word::Capture(Fact::Approved),
                APPROVED,
                Word::AskCancel,
            ],
            _ => &[
                UNKNOWN,
                Word::Pay(1, Fact::Authorized),
                Word::AskCapture(60),
                Word::Capture(Fact::Unknown),
                Word::Capture(Fact::Approved),
                APPROVED,
                Word::Look,
            ],
        };
        assert!(every_order_of(&World { name: "held", begins: manual, words, pay: Fact::Authorized, ..CHARGED }) > 1_000);
    }
}

#[test]
fn a_payment_that_was_not_answered_where_nothing_can_be_asked_has_the_channels_money_in_every_order() {
    let mute = World { name: "mute, charged", contract: MUTE, may_be_undone: true, ..CHARGED };
    let words: &[Word] = &[UNKNOWN, APPROVED, NOT_SENT, Word::AskCancel, Word::AskRefund(40), Word::Refund(Fact::Unknown), Word::Look];
    assert!(every_order_of(&World { words, ..mute }) > 1_000);
    let words: &[Word] = &[UNKNOWN, Word::Pay(1, Fact::Declined), NOT_SENT, Word::AskCancel, Word::Look];
    assert!(every_order_of(&World { name: "mute, refused", words, pay: Fact::Declined, ..mute }) > 1_000);
}

#[test]
fn money_that_comes_behind_an_end_agrees_with_the_channel_in_every_order() {
    let late = World { name: "late", may_be_undone: true, ..CHARGED };
    let words: &[Word] = &[UNKNOWN, ACCEPTED, Word::Pay(1, Fact::Declined), Word::Pay(1, Fact::Closed), APPROVED, Word::AskCancel, Word::Look];
    assert!(every_order_of(&World { words, ..late }) > 10_000);
    // Not found is told as *not sent*, and refused as *declined*: which of them it was is told once. So this is a world of its own.
    let words: &[Word] = &[UNKNOWN, ACTION, Word::Pay(1, Fact::NotFound), Word::NotThere, APPROVED, Word::AskCancel, Word::Look];
    assert!(every_order_of(&World { name: "late, was not found", words, ..late }) > 10_000);
}

#[test]
fn money_of_two_channels_is_kept_once_in_every_order() {
    let words: &[Word] = &[
        APPROVED,
        UNKNOWN,
        Word::Pay(2, Fact::Approved),
        Word::Pay(2, Fact::Unknown),
        Word::Pay(2, Fact::ActionRequired),
        Word::AskCancel,
        Word::Look,
    ];
    let world = World { name: "two channels, both charged", begins: at_the_second_channel, words, may_be_undone: true, ..CHARGED };
    assert!(every_order_of(&world) > 10_000);
    let words: &[Word] = &[APPROVED, UNKNOWN, Word::Pay(2, Fact::Declined), Word::Pay(2, Fact::Unknown), Word::AskCancel, Word::Look];
    assert!(every_order_of(&World { name: "two channels, the second refused", words, pay: Fact::Declined, ..world }) > 1_000);
}

#[test]
fn a_refund_that_came_back_or_was_refused_frees_what_it_had_reserved_in_every_order() {
    let returned: &[Word] = &[
        Word::AskRefund(40),
        Word::Refund(Fact::Unknown),
        Word::Refund(Fact::Accepted),
        Word::Refund(Fact::Approved),
        Word::Refund(Fact::Returned),
        Word::Portal(30),
        Word::Disputed(30),
    ];
    let world = World { name: "returned", begins: super::whole_tests::paid, words: returned, refund: Fact::Returned, ..CHARGED };
    assert!(every_order_of(&world) > 1_000);
    let refused: &[Word] =
        &[Word::AskRefund(40), Word::Refund(Fact::Unknown), Word::Refund(Fact::NotSent), Word::Refund(Fact::Declined), Word::Portal(70), Word::Look];
    assert!(every_order_of(&World { name: "refused, and made at the channel", words: refused, refund: Fact::Declined, ..world }) > 100);
}

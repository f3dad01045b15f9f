//! Properties of the whole payment: whatever channels say, in whatever order, the books hold.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::domain::id::OrderDigest;

pub(super) const CONTRACT: Contract = Contract {
    key_lives_for: Duration::from_secs(3600),
    replay_may_charge: true,
    charges_only_with_reference: true,
    can_close: true,
    several_captures: false,
    not_found_final_after: Duration::from_secs(60),
    refund_window: Duration::from_secs(3600),
    refund_spacing: Duration::ZERO,
    refunds_at_most: REFUNDS_WITHOUT_LIMIT,
    refund_number_is_permanent: false,
    hold_lasts: Duration::from_secs(7 * 24 * 3600),
    unanswered: Unanswered::Query,
    dead_after_expiry: None,
    methods: &[MethodKind::CardToken],
};

/// A channel that cannot be asked.
pub(super) const MUTE: Contract = Contract { charges_only_with_reference: false, can_close: false, unanswered: Unanswered::Reverse, ..CONTRACT };

pub(super) fn start() -> Timestamp {
    Timestamp::from_second(1_790_000_000).expect("in range")
}

pub(super) fn lease() -> Lease {
    Lease { owner: Uuid::nil(), until: start() + SignedDuration::from_secs(10) }
}

pub(super) fn attempt(operation: Operation, amount: i64, refund_n: Option<i16>) -> NewAttempt {
    NewAttempt {
        operation,
        channel: "a".to_owned(),
        key: Uuid::new_v4().simple().to_string(),
        amount,
        refund_n,
        undoes: None,
        reason: "test".to_owned(),
        passed_over: Vec::new(),
    }
}

pub(super) fn open(capture_method: CaptureMethod) -> Payment {
    let merchant = Uuid::nil();
    let request = PaymentRequest {
        merchant,
        livemode: false,
        order: "A-1".to_owned(),
        amount: 100,
        currency: Currency::USD,
        method: PaymentMethod::CardToken { token: "pm".to_owned() },
        capture_method,
        pinned_channel: None,
        description: None,
        metadata: BTreeMap::new(),
        return_url: None,
        expires_at: start() + SignedDuration::from_mins(15),
        deadline_at: start() + SignedDuration::from_secs(30),
    };
    let id = PaymentId::mint(start(), OrderDigest::of(merchant, "A-1").bucket());
    Payment::open(id, request, attempt(Operation::Pay, 100, None), lease(), start())
}

/// One of 100 that was paid.
pub(super) fn paid() -> Payment {
    let mut payment = open(CaptureMethod::Automatic);
    learn(&mut payment, 1, Fact::Approved).expect("legal");
    payment
}

fn learn(payment: &mut Payment, n: i16, fact: Fact) -> Result<Learned, IllegalFact> {
    learn_by(&CONTRACT, payment, n, fact)
}

fn learn_by(contract: &Contract, payment: &mut Payment, n: i16, fact: Fact) -> Result<Learned, IllegalFact> {
    payment.learn(n, &News::of(fact), Source::Query, contract, start())
}

/// What may happen to a payment, from anybody.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    Told { attempt: usize, fact: Fact },
    Capture(i64),
    Refund(i64),
    Cancel,
    FollowUp,
    NextAttempt,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (0..6usize, proptest::sample::select(Fact::ALL.to_vec())).prop_map(|(attempt, fact)| Happening::Told { attempt, fact }),
        1 => (1..150i64).prop_map(Happening::Capture),
        2 => (1..150i64).prop_map(Happening::Refund),
        1 => Just(Happening::Cancel),
        2 => Just(Happening::FollowUp),
        1 => Just(Happening::NextAttempt),
    ]
}

/// Does to the payment what the flows would, under their own conditions.
pub(super) fn happen(payment: &mut Payment, happening: &Happening) {
    happen_by(&CONTRACT, payment, happening);
}

fn happen_by(contract: &Contract, payment: &mut Payment, happening: &Happening) {
    match *happening {
        Happening::Told { attempt, fact } => {
            let n = 1 + i16::try_from(attempt % payment.attempts.len()).expect("few");
            let _illegal = learn_by(contract, payment, n, fact);
        }
        Happening::Capture(amount) => {
            let free = payment.status == PaymentStatus::RequiresCapture && !payment.cancel_requested;
            let alone = payment.open_attempt(Operation::Capture).is_none() && payment.open_attempt(Operation::Void).is_none();
            if free && alone && amount <= payment.capturable() {
                payment.capture_reserved += amount;
                payment.add_attempt(attempt_of(payment, Operation::Capture, amount, None), lease(), start());
            }
        }
        Happening::Refund(amount) if amount <= payment.refundable() => {
            let n = i16::try_from(payment.refunds.len() + 1).expect("few");
            payment.refund_reserved += amount;
            payment.refunds.push(refund(payment, n, amount));
            payment.add_attempt(attempt_of(payment, Operation::Refund, amount, Some(n)), lease(), start());
        }
        Happening::Refund(_) => {}
        Happening::Cancel if !payment.status.is_final() => payment.request_cancel(start()),
        Happening::Cancel => {}
        Happening::FollowUp => {
            if let Some(follow_up) = payment.follow_up(start())
                && let Some(new) = payment.undoing(follow_up, Uuid::new_v4().simple().to_string())
            {
                payment.add_attempt(new, lease(), start());
            }
        }
        Happening::NextAttempt if payment.may_try_another_channel(start()) => {
            payment.add_attempt(attempt_of(payment, Operation::Pay, 100, None), lease(), start());
        }
        Happening::NextAttempt => {}
    }
}

fn attempt_of(_: &Payment, operation: Operation, amount: i64, refund_n: Option<i16>) -> NewAttempt {
    attempt(operation, amount, refund_n)
}

pub(super) fn refund(payment: &Payment, n: i16, amount: i64) -> Refund {
    Refund {
        n,
        id: RefundId::mint(start(), payment.id.bucket()),
        merchant_refund_id: format!("R-{n}"),
        amount,
        reason: None,
        metadata: BTreeMap::new(),
        source: RefundSource::Merchant,
        status: RefundStatus::Processing,
        outcome: Outcome::Pending,
        created_at: start(),
        updated_at: start(),
    }
}

pub(super) fn holds(payment: &Payment) -> Result<(), TestCaseError> {
    prop_assert!(0 <= payment.captured && payment.captured <= payment.capture_reserved, "{:#?}", payment);
    prop_assert!(payment.capture_reserved <= payment.request.amount, "{:#?}", payment);
    prop_assert!(0 <= payment.refunded && payment.refunded <= payment.refund_reserved, "{:#?}", payment);
    prop_assert!(payment.refund_reserved <= payment.captured, "{:#?}", payment);
    let reserved: i64 = payment
        .refunds
        .iter()
        .filter(|refund| matches!(refund.status, RefundStatus::Processing | RefundStatus::Succeeded))
        .map(|refund| refund.amount)
        .sum();
    let given: i64 = payment.refunds.iter().filter(|refund| refund.status == RefundStatus::Succeeded).map(|refund| refund.amount).sum();
    prop_assert_eq!((payment.refund_reserved, payment.refunded), (reserved, given));
    let standing = payment
        .attempts
        .iter()
        .filter(|attempt| attempt.operation == Operation::Pay && attempt.state.is_live())
        .filter(|attempt| !matches!(attempt.state, AttemptState::Reversing | AttemptState::SucceededLate))
        .count();
    prop_assert!(standing <= 1, "{} live pay attempts", standing);
    let paid = matches!(payment.status, PaymentStatus::Succeeded | PaymentStatus::PartiallyCaptured);
    prop_assert_eq!(paid, payment.captured > 0, "{:#?}", payment);
    for attempt in payment.attempts.iter().filter(|attempt| attempt.state.is_open()) {
        // Reversals of one payment go one after the other: the end of each calls for the next.
        let before_it =
            |other: &Attempt| other.operation == Operation::Reversal || (other.state == AttemptState::Reversing && other.due_at.is_some());
        let carried = attempt.state == AttemptState::Reversing && payment.attempts.iter().any(before_it);
        prop_assert!(attempt.due_at.is_some() || carried, "an open attempt that nobody will look at: {:#?}", payment);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, max_shrink_iters: 4096, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_in_whatever_order_the_books_hold(
        manual in any::<bool>(),
        mute in any::<bool>(),
        happenings in proptest::collection::vec(happening(), 0..24),
    ) {
        let mut payment = open(if manual { CaptureMethod::Manual } else { CaptureMethod::Automatic });
        let mut paid = false;
        for happening in &happenings {
            let before = payment.clone();
            happen_by(if mute { &MUTE } else { &CONTRACT }, &mut payment, happening);
            holds(&payment)?;
            // An end that was told stands, and paid money stays paid: only a refund gives it back.
            if before.status.ended_unpaid() {
                prop_assert!(payment.status.ended_unpaid() || matches!(happening, Happening::NextAttempt), "{} became {}", before.status, payment.status);
            }
            paid |= payment.captured > 0;
            prop_assert_eq!(paid, payment.captured > 0, "captured money was forgotten");
            // Every change has its event, and only what changed is written.
            let mut drafted = payment.clone();
            drafted.sequence = before.sequence;
            let change = Change::between(&before, drafted, Source::Query);
            prop_assert!(!change.events.is_empty());
            prop_assert_eq!(change.after.sequence, before.sequence + i32::try_from(change.events.len()).expect("few"));
            payment.sequence = change.after.sequence;
        }
    }

    #[test]
    fn facts_of_one_automatic_payment_end_the_same_in_every_order(
        facts in Just(vec![Fact::Unknown, Fact::Accepted, Fact::ActionRequired, Fact::Approved]).prop_shuffle(),
    ) {
        let mut payment = open(CaptureMethod::Automatic);
        for fact in facts {
            learn(&mut payment, 1, fact).expect("legal");
        }
        prop_assert_eq!((payment.status, payment.outcome, payment.captured), (PaymentStatus::Succeeded, Outcome::Approved, 100));
    }
}

#[test]
fn what_a_channel_that_cannot_be_asked_has_not_answered_is_undone_and_only_then_tried_elsewhere() {
    let mut payment = open(CaptureMethod::Automatic);
    learn_by(&MUTE, &mut payment, 1, Fact::Unknown).expect("legal");
    assert_eq!((payment.attempts[0].state, payment.status, payment.outcome), (AttemptState::Reversing, PaymentStatus::Processing, Outcome::Unknown));
    assert!(!payment.may_try_another_channel(start()), "not before the reversal is acknowledged");
    let follow_up = payment.duty(1, &MUTE, start());
    assert_eq!(follow_up, Duty::Follow(FollowUp::Reverse { attempt: 1 }));
    let reversal = payment.undoing(FollowUp::Reverse { attempt: 1 }, "0".repeat(32)).expect("a reversal");
    assert_eq!((reversal.operation, reversal.undoes, reversal.amount), (Operation::Reversal, Some(1), 100));
    payment.add_attempt(reversal, lease(), start());
    learn_by(&MUTE, &mut payment, 1, Fact::Approved).expect("legal");
    assert_eq!((payment.attempts[0].state, payment.captured), (AttemptState::Reversing, 0), "a late yes is seen, never adopted");
    learn_by(&MUTE, &mut payment, 2, Fact::Unknown).expect("legal");
    assert_eq!(payment.duty(2, &MUTE, start()), Duty::Resend, "the advice is repeated");
    learn_by(&MUTE, &mut payment, 2, Fact::Approved).expect("legal");
    assert_eq!((payment.attempts[0].state, payment.status), (AttemptState::Reversed, PaymentStatus::Failed));
    assert!(payment.may_try_another_channel(start()));
}

#[test]
fn a_refund_that_was_not_answered_is_undone_and_goes_again_under_a_new_key() {
    let mut payment = open(CaptureMethod::Automatic);
    learn_by(&MUTE, &mut payment, 1, Fact::Approved).expect("legal");
    happen_by(&MUTE, &mut payment, &Happening::Refund(60));
    learn_by(&MUTE, &mut payment, 2, Fact::Unknown).expect("legal");
    assert_eq!((payment.attempts[1].state, payment.refunds[0].outcome), (AttemptState::Reversing, Outcome::Unknown));
    assert_eq!(payment.duty(2, &MUTE, start()), Duty::Follow(FollowUp::Reverse { attempt: 2 }));
    happen_by(&MUTE, &mut payment, &Happening::FollowUp);
    assert_eq!((payment.attempts[2].undoes, payment.attempts[2].amount), (Some(2), 60));
    learn_by(&MUTE, &mut payment, 3, Fact::Approved).expect("legal");
    assert_eq!(payment.attempts[1].state, AttemptState::Reversed);
    assert_eq!((payment.refunds[0].status, payment.refund_reserved, payment.refunded), (RefundStatus::Processing, 60, 0), "it is still wanted");
    assert_eq!(payment.duty(2, &MUTE, start()), Duty::Follow(FollowUp::RefundAgain { refund: 1 }));
    payment.add_attempt(attempt(Operation::Refund, 60, Some(1)), lease(), start());
    learn_by(&MUTE, &mut payment, 4, Fact::Approved).expect("legal");
    assert_eq!((payment.refunds[0].status, payment.refunded), (RefundStatus::Succeeded, 60));
}

#[test]
fn a_refund_that_is_undone_again_and_again_goes_out_later_each_time() {
    let mut payment = open(CaptureMethod::Automatic);
    learn_by(&MUTE, &mut payment, 1, Fact::Approved).expect("legal");
    happen_by(&MUTE, &mut payment, &Happening::Refund(60));
    let mut waits = Vec::new();
    for _ in 0..5 {
        let n = payment.attempts.last().expect("a refund").n;
        learn_by(&MUTE, &mut payment, n, Fact::Unknown).expect("legal");
        happen_by(&MUTE, &mut payment, &Happening::FollowUp);
        learn_by(&MUTE, &mut payment, n + 1, Fact::Approved).expect("legal");
        assert_eq!(payment.follow_up(start()), Some(FollowUp::RefundAgain { refund: 1 }));
        waits.push(payment.refund_attempt(1).and_then(|attempt| attempt.due_at).expect("due").duration_since(start()).as_millis());
        payment.add_attempt(attempt(Operation::Refund, 60, Some(1)), lease(), start());
    }
    assert_eq!(waits, [0, 500, 1_000, 2_000, 4_000]);
}

#[test]
fn two_payments_of_one_order_may_be_undone_at_once() {
    let mut payment = open(CaptureMethod::Automatic);
    learn(&mut payment, 1, Fact::Closed).expect("legal");
    payment.add_attempt(attempt(Operation::Pay, 100, None), lease(), start());
    learn(&mut payment, 2, Fact::Closed).expect("legal");
    payment.add_attempt(attempt(Operation::Pay, 100, None), lease(), start());
    learn(&mut payment, 1, Fact::Approved).expect("legal");
    learn(&mut payment, 2, Fact::Approved).expect("legal");
    happen(&mut payment, &Happening::FollowUp);
    happen(&mut payment, &Happening::FollowUp);
    let undone: Vec<_> = payment.attempts.iter().filter_map(|attempt| attempt.undoes).collect();
    assert_eq!(undone, [1, 2]);
    learn(&mut payment, 5, Fact::Approved).expect("legal");
    assert_eq!((payment.attempts[0].state, payment.attempts[1].state), (AttemptState::Reversing, AttemptState::Reversed), "each undoes its own");
}

#[test]
fn late_money_is_adopted_only_where_the_order_cannot_be_paid_twice() {
    // Closed while the payment goes on over another channel: the late money goes back.
    let mut payment = open(CaptureMethod::Automatic);
    learn(&mut payment, 1, Fact::Closed).expect("legal");
    payment.add_attempt(attempt(Operation::Pay, 100, None), lease(), start());
    learn(&mut payment, 1, Fact::Approved).expect("legal");
    assert_eq!(payment.attempts[0].state, AttemptState::Reversing);
    assert_eq!(payment.follow_up(start()), Some(FollowUp::Reverse { attempt: 1 }));
    assert_eq!(payment.captured, 0);

    // Ended, and told so: the late money goes back, and the end stands.
    let mut payment = open(CaptureMethod::Automatic);
    learn(&mut payment, 1, Fact::Closed).expect("legal");
    assert_eq!(payment.status, PaymentStatus::Failed);
    learn(&mut payment, 1, Fact::Approved).expect("legal");
    assert_eq!((payment.status, payment.outcome), (PaymentStatus::Failed, Outcome::Unknown));
}

#[test]
fn approved_for_another_amount_is_never_adopted() {
    let mut payment = open(CaptureMethod::Automatic);
    let wrong = News::of(Fact::Approved).with_money(Money { amount: 99, currency: Currency::USD });
    assert_eq!(payment.learn(1, &wrong, Source::Notification, &CONTRACT, start()), Ok(Learned::Mismatch), "a message alone is not enough");
    assert_eq!(payment.learn(1, &wrong, Source::Query, &CONTRACT, start()), Ok(Learned::Changed));
    assert_eq!((payment.attempts[0].state, payment.captured), (AttemptState::Reversing, 0));
}

#[test]
fn never_another_channel_from_doubt_or_after_a_cancel() {
    for fact in [Fact::Unknown, Fact::Accepted, Fact::ActionRequired, Fact::Authorized, Fact::Approved] {
        let mut payment = open(CaptureMethod::Automatic);
        learn(&mut payment, 1, fact).expect("legal");
        assert!(!payment.may_try_another_channel(start()), "{fact}");
    }
    let mut payment = open(CaptureMethod::Automatic);
    learn(&mut payment, 1, Fact::NotSent).expect("legal");
    assert!(payment.may_try_another_channel(start()));
    assert!(!payment.may_try_another_channel(start() + SignedDuration::from_secs(30)), "past the deadline");
    payment.cancel_requested = true;
    assert!(!payment.may_try_another_channel(start()));
}

#[test]
fn money_found_captured_after_a_cancel_goes_back_and_the_status_stays() {
    let mut payment = open(CaptureMethod::Automatic);
    learn(&mut payment, 1, Fact::Unknown).expect("legal");
    payment.request_cancel(start());
    learn(&mut payment, 1, Fact::Approved).expect("legal");
    assert_eq!(payment.status, PaymentStatus::Succeeded);
    assert_eq!(payment.follow_up(start()), Some(FollowUp::RefundForCancel));
    assert_eq!(payment.attempts[0].due_at, Some(start()), "somebody must see to it");
}

#[test]
fn a_refund_that_the_channel_takes_back_frees_what_it_had_reserved() {
    let mut payment = open(CaptureMethod::Automatic);
    learn(&mut payment, 1, Fact::Approved).expect("legal");
    happen(&mut payment, &Happening::Refund(60));
    learn(&mut payment, 2, Fact::Approved).expect("legal");
    assert_eq!((payment.refunded, payment.refundable()), (60, 40));
    learn(&mut payment, 2, Fact::Returned).expect("legal");
    assert_eq!((payment.refunded, payment.refundable(), payment.refunds[0].status), (0, 100, RefundStatus::Returned));
}

#[test]
fn what_a_channel_did_not_have_is_asked_after_when_a_second_such_answer_would_end_it_however_high_the_ladder() {
    let mut payment = open(CaptureMethod::Automatic);
    learn(&mut payment, 1, Fact::Unknown).expect("legal");
    payment.attempts[0].tries = 12;
    let waited = start() + SignedDuration::try_from(CONTRACT.not_found_final_after).expect("short");
    assert!(payment.next_look(1, &CONTRACT, start()).is_some_and(|next| next > waited), "an hour's rung");
    payment.not_found(1, &CONTRACT, start());
    assert_eq!(payment.attempts[0].due_at, Some(waited));
    assert!(payment.next_look(1, &CONTRACT, waited).is_some_and(|next| next > waited), "it never asks without a pause");
}

#[test]
fn a_cancel_asks_out_of_turn_which_costs_no_rung() {
    let mut payment = open(CaptureMethod::Automatic);
    learn(&mut payment, 1, Fact::Unknown).expect("legal");
    payment.attempts[0].tries = 5;
    payment.request_cancel(start());
    payment.look_again(1, &CONTRACT, start());
    assert_eq!(payment.attempts[0].tries, 5);
}

#[test]
fn a_customer_who_is_waited_for_is_looked_after_when_the_wait_ends_at_the_latest() {
    let mut payment = open(CaptureMethod::Automatic);
    learn(&mut payment, 1, Fact::ActionRequired).expect("legal");
    let expiry = payment.request.expires_at;
    let shortly_before = expiry - SignedDuration::from_secs(1);
    payment.attempts[0].tries = 100;
    assert_eq!(payment.next_look(1, &CONTRACT, shortly_before), Some(expiry));
    assert!(payment.next_look(1, &CONTRACT, expiry).is_some_and(|next| next > expiry));
    assert_eq!(payment.duty(1, &CONTRACT, expiry), Duty::Close);
}

#[test]
fn a_hold_that_the_channel_will_not_release_is_asked_after_and_released_again_ever_more_slowly() {
    let mut payment = open(CaptureMethod::Manual);
    learn(&mut payment, 1, Fact::Authorized).expect("legal");
    payment.request_cancel(start());
    let mut last = SignedDuration::ZERO;
    for _ in 0..8 {
        happen(&mut payment, &Happening::FollowUp);
        let void = payment.attempts.last().expect("a void").n;
        learn(&mut payment, void, Fact::Declined).expect("legal");
        let pause = payment.attempts[0].due_at.expect("somebody looks").duration_since(start());
        assert!(pause > last, "{pause:?} after {last:?}");
        last = pause;
        assert_eq!(payment.duty(1, &CONTRACT, start()), Duty::Query, "it may have been taken");
    }
    learn(&mut payment, 1, Fact::Approved).expect("legal");
    assert_eq!(payment.follow_up(start()), Some(FollowUp::RefundForCancel));
}

#[test]
fn a_hold_that_could_not_be_captured_is_asked_after() {
    let mut payment = open(CaptureMethod::Manual);
    learn(&mut payment, 1, Fact::Authorized).expect("legal");
    happen(&mut payment, &Happening::Capture(100));
    learn(&mut payment, 2, Fact::Closed).expect("legal");
    assert_eq!((payment.attempts[0].due_at, payment.duty(1, &CONTRACT, start())), (Some(start()), Duty::Query));
    learn(&mut payment, 1, Fact::Closed).expect("legal");
    assert!(payment.status.ended_unpaid());
}

#[test]
fn what_was_queued_sent_again_and_lost_on_the_way_is_asked_after() {
    for operation in [Operation::Capture, Operation::Void, Operation::Reversal, Operation::Refund] {
        let lost = super::attempt::step(operation, AttemptState::NotSent, Fact::Unknown);
        assert_eq!(lost, Ok(super::attempt::Step::To(AttemptState::Unknown)), "{operation}");
    }
    let refused = super::attempt::step(Operation::Reversal, AttemptState::Declined, Fact::Unknown);
    assert_eq!(refused, Ok(super::attempt::Step::To(AttemptState::Unknown)));
}

#[test]
fn a_capture_of_a_hold_that_has_ended_is_a_contradiction_and_books_nothing() {
    let mut payment = open(CaptureMethod::Manual);
    learn(&mut payment, 1, Fact::Authorized).expect("legal");
    happen(&mut payment, &Happening::Capture(1));
    learn(&mut payment, 1, Fact::Closed).expect("legal");
    assert_eq!(learn(&mut payment, 2, Fact::Approved), Ok(Learned::Contradiction));
    assert_eq!((payment.status, payment.captured), (PaymentStatus::Failed, 0));
}

/// One of 100 that was paid, and a refund of 40 on its way: the payment, and the number of the refund's attempt.
fn refunding() -> (Payment, i16) {
    let mut payment = paid();
    happen(&mut payment, &Happening::Refund(40));
    let n = payment.attempts.last().expect("a refund").n;
    (payment, n)
}

fn refused_for_now() -> News {
    News { failure: Some(Failure::new(FailureCode::NotSent, Some("90"), "not now")), ..News::of(Fact::NotSent) }
}

#[test]
fn a_refund_whose_number_is_its_own_for_ever_goes_again_under_it_when_it_is_finally_not_found() {
    let permanent = Contract { refund_number_is_permanent: true, ..CONTRACT };
    let (mut payment, n) = refunding();
    learn_by(&permanent, &mut payment, n, Fact::Unknown).expect("legal");
    learn_by(&permanent, &mut payment, n, Fact::NotFound).expect("legal");
    assert_eq!((payment.attempts[1].state, payment.refund_reserved), (AttemptState::NotSent, 40));
    assert_eq!((payment.duty(n, &permanent, start()), payment.follow_up(start())), (Duty::Resend, None));
}

#[test]
fn a_refund_that_a_channel_without_questions_refused_for_now_goes_again_under_another_number() {
    let (mut payment, n) = refunding();
    payment.learn(n, &refused_for_now(), Source::Reply, &MUTE, start()).expect("legal");
    assert_eq!(payment.duty(n, &MUTE, start()), Duty::Follow(FollowUp::RefundAgain { refund: 1 }));
    assert_eq!(payment.duty(n, &CONTRACT, start()), Duty::Resend, "elsewhere its key makes a repeat safe");
    let (mut payment, n) = refunding();
    payment.learn(n, &News::not_sent("connect"), Source::Reply, &MUTE, start()).expect("legal");
    assert_eq!(payment.duty(n, &MUTE, start()), Duty::Resend, "the number was never used");
    let stale = start() + SignedDuration::from_mins(11);
    assert_eq!(payment.duty(n, &MUTE, stale), Duty::Follow(FollowUp::RefundAgain { refund: 1 }), "it holds a time that is long past");
}

#[test]
fn what_is_not_taken_again_and_again_waits_longer_each_time() {
    let (mut payment, n) = refunding();
    let mut waits = Vec::new();
    for _ in 0..6 {
        payment.learn(n, &News::not_sent("connect"), Source::Reply, &CONTRACT, start()).expect("legal");
        waits.push(payment.attempts[1].due_at.expect("due").duration_since(start()));
        payment.set_out_again(n, lease(), start());
        assert_eq!(payment.attempts[1].state, AttemptState::Sent, "from here on nobody could tell");
    }
    assert!(waits.windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
}

#[test]
fn a_refund_has_its_turn_a_spacing_after_the_last_one_and_behind_those_that_wait() {
    let spacing = Duration::from_secs(3);
    let after = |seconds| Some(start() + SignedDuration::from_secs(seconds));
    let mut payment = paid();
    assert_eq!((payment.refund_turn(None, spacing), payment.refund_turn(None, Duration::ZERO)), (None, None));
    happen(&mut payment, &Happening::Refund(10));
    assert_eq!(payment.refund_turn(None, spacing), after(3));
    happen(&mut payment, &Happening::Refund(10));
    let second = payment.attempts.last().expect("a refund").n;
    payment.queue_refund(second, after(3).expect("a time"), start());
    assert_eq!((payment.refunds[1].outcome, payment.attempts[2].due_at), (Outcome::NotSent, after(3)));
    assert_eq!(payment.refund_turn(None, spacing), after(6), "a third one goes behind it");
    assert_eq!(payment.refund_turn(Some(second), spacing), after(3), "its own place is not in its way");
}

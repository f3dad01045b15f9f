//! The journal and the statements, on a real database.

use std::collections::BTreeMap;
use std::time::Duration;

use breakwater::domain::contract::Contract;
use breakwater::domain::id::{GuardKind, guard_digest};
use breakwater::domain::{
    Adopted, CaptureMethod, Change, Currency, DisputeKnown, External, Fact, Failure, FailureCode, KeyClaim, Lease, MethodKind, Money, NewAttempt,
    News, Operation, OrderDigest, Payment, PaymentId, PaymentMethod, PaymentRequest, PaymentStatus, Source, Subject,
};
use breakwater::store::{ChangeVerdict, Intent, IntentVerdict, PoolSizes, Store};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::database;

const CONTRACT: Contract = Contract {
    key_lives_for: Duration::from_secs(3600),
    replay_may_charge: true,
    charges_only_with_reference: true,
    can_close: true,
    several_captures: false,
    not_found_final_after: Duration::from_secs(60),
    refund_window: Duration::from_secs(3600),
    refund_spacing: Duration::ZERO,
    refunds_at_most: 100,
    refund_number_is_permanent: false,
    hold_lasts: Duration::from_secs(3600),
    unanswered: breakwater::domain::Unanswered::Query,
    dead_after_expiry: None,
    methods: &[MethodKind::CardToken],
};

async fn store() -> Store {
    let url = database::fresh().await;
    Store::open(&url, PoolSizes { journal: 2, reads: 4, channels: 0 }, &tokio::runtime::Handle::current()).await.expect("a store")
}

fn request(merchant: Uuid, order: &str) -> PaymentRequest {
    let now = Timestamp::now();
    PaymentRequest {
        merchant,
        livemode: false,
        order: order.to_owned(),
        amount: 100,
        currency: Currency::parse("CNY").expect("CNY"),
        method: PaymentMethod::CardToken { token: "pm_card_visa".to_owned() },
        capture_method: CaptureMethod::Automatic,
        pinned_channel: None,
        description: None,
        metadata: BTreeMap::from([("shop".to_owned(), "7".to_owned())]),
        return_url: None,
        expires_at: now + SignedDuration::from_mins(15),
        deadline_at: now + SignedDuration::from_secs(30),
    }
}

fn attempt(channel: &str) -> NewAttempt {
    NewAttempt {
        operation: Operation::Pay,
        channel: channel.to_owned(),
        key: Uuid::new_v4().simple().to_string(),
        amount: 100,
        refund_n: None,
        undoes: None,
        reason: "first".to_owned(),
        passed_over: Vec::new(),
    }
}

fn lease() -> Lease {
    Lease { owner: Uuid::new_v4(), until: Timestamp::now() + SignedDuration::from_secs(10) }
}

fn intent(merchant: Uuid, order: &str, key: &str) -> Intent {
    let now = Timestamp::now();
    let payment =
        Payment::open(PaymentId::mint(now, OrderDigest::of(merchant, order).bucket()), request(merchant, order), attempt("a"), lease(), now);
    let key = KeyClaim { digest: guard_digest(merchant, GuardKind::IdempotencyKey, key), fingerprint: [1; 32], subject: Subject::Payment };
    Intent { change: Change::opening(payment, key), takes_over: None }
}

fn learned(payment: &Payment, news: &News) -> Change {
    let mut after = payment.clone();
    after.learn(1, news, Source::Reply, &CONTRACT, Timestamp::now()).expect("legal");
    Change::between(payment, after, Source::Reply)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_prepares_on_the_migrated_schema() {
    let unfit = store().await.check_statements().await.expect("the database answers");
    assert_eq!(unfit, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_reads_back_the_same() {
    let store = store().await;
    let merchant = Uuid::new_v4();
    let first = intent(merchant, "A-1", "k1");
    assert_eq!(store.journal.open(first.clone()).await, Ok(IntentVerdict::Applied));
    let read = store.payment(first.change.after.id).await.expect("readable").expect("there");
    assert_eq!(first_micros(read.clone()), first_micros(first.change.after.clone()));

    let change = learned(&read, &News::of(Fact::Approved).with_reference("pi_1"));
    assert_eq!(store.journal.commit(change.clone()).await, Ok(ChangeVerdict::Applied));
    let paid = store.payment(read.id).await.expect("readable").expect("there");
    assert_eq!((paid.status, paid.captured, paid.sequence), (PaymentStatus::Succeeded, 100, change.after.sequence));
    assert_eq!(store.events(read.id).await.expect("readable").len(), usize::try_from(paid.sequence).expect("small"));
    assert_eq!(store.integrity().await.expect("readable"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_whose_number_is_taken_is_not_written_nor_anything_that_goes_with_it() {
    let store = store().await;
    let opened = intent(Uuid::new_v4(), "A-2", "k2");
    assert_eq!(store.journal.open(opened.clone()).await, Ok(IntentVerdict::Applied));
    let change = learned(&opened.change.after, &News::of(Fact::Approved));
    assert_eq!(store.journal.commit(change.clone()).await, Ok(ChangeVerdict::Applied));
    let (mut paid, mut drafts) = (change.after, Vec::new());
    for reference in ["re_1", "re_2"] {
        let made_there = External::Refund { reference: reference.to_owned(), money: Money { amount: 30, currency: paid.request.currency } };
        let mut draft = paid.clone();
        assert_eq!(draft.adopt(&made_there, "a", "0".repeat(32), DisputeKnown::default(), Timestamp::now()), Adopted::Changed);
        let change = Change::between(&paid, draft, Source::Notification);
        paid = change.after.clone();
        drafts.push(change);
    }
    let [first, mut second] = <[Change; 2]>::try_from(drafts).expect("two");
    assert_eq!(store.journal.commit(first).await, Ok(ChangeVerdict::Applied));
    // As it would be behind the last number that there is.
    second.after.refunds[1].n = 1;
    second.refunds_added = vec![1];
    assert_eq!(store.journal.commit(second).await, Ok(ChangeVerdict::RefundTaken));
    let after = store.payment(paid.id).await.expect("readable").expect("there");
    assert_eq!((after.refunds.len(), after.refunded), (1, 30), "nothing of the second was written");
    assert_eq!(store.integrity().await.expect("readable"), []);
}

/// Postgres keeps microseconds.
fn first_micros(mut payment: Payment) -> Payment {
    let cut = |time: Timestamp| Timestamp::from_microsecond(time.as_microsecond()).expect("in range");
    payment.created_at = cut(payment.created_at);
    payment.updated_at = cut(payment.updated_at);
    payment.request.expires_at = cut(payment.request.expires_at);
    payment.request.deadline_at = cut(payment.request.deadline_at);
    for attempt in &mut payment.attempts {
        attempt.created_at = cut(attempt.created_at);
        attempt.updated_at = cut(attempt.updated_at);
        attempt.due_at = attempt.due_at.map(cut);
        attempt.lease_until = attempt.lease_until.map(cut);
    }
    payment
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_and_its_order_are_won_together_or_neither_is() {
    let store = store().await;
    let merchant = Uuid::new_v4();
    let first = intent(merchant, "A-1", "k1");
    assert_eq!(store.journal.open(first.clone()).await, Ok(IntentVerdict::Applied));
    assert_eq!(store.journal.open(intent(merchant, "A-2", "k1")).await, Ok(IntentVerdict::KeyTaken(first.change.after.id)));
    assert_eq!(store.journal.open(intent(merchant, "A-1", "k2")).await, Ok(IntentVerdict::OrderTaken(first.change.after.id)));
    assert_eq!(store.journal.open(intent(merchant, "A-3", "k2")).await, Ok(IntentVerdict::Applied), "the key of a taken order stays free");
    assert_eq!(store.journal.open(intent(merchant, "A-2", "k3")).await, Ok(IntentVerdict::Applied), "the order of a taken key stays free");
    assert_eq!(store.journal.open(intent(Uuid::new_v4(), "A-1", "k1")).await, Ok(IntentVerdict::Applied), "another merchant has its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_insert_again_is_our_own_success() {
    let store = store().await;
    let first = intent(Uuid::new_v4(), "A-1", "k1");
    assert_eq!(store.journal.open(first.clone()).await, Ok(IntentVerdict::Applied));
    assert_eq!(store.journal.open(first).await, Ok(IntentVerdict::Applied));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_onto_an_older_version_is_stale_and_writes_nothing() {
    let store = store().await;
    let first = intent(Uuid::new_v4(), "A-1", "k1");
    store.journal.open(first.clone()).await.expect("open");
    let payment = first.change.after;
    let declined = News::declined(Failure::new(FailureCode::CardDeclined, Some("do_not_honor"), "no"));
    let (one, two) = (learned(&payment, &News::of(Fact::Approved)), learned(&payment, &declined));
    let (one, two) = tokio::join!(store.journal.commit(one), store.journal.commit(two));
    let mut verdicts = [one.expect("a verdict"), two.expect("a verdict")];
    verdicts.sort_by_key(|verdict| *verdict == ChangeVerdict::Stale);
    assert_eq!(verdicts, [ChangeVerdict::Applied, ChangeVerdict::Stale]);
    assert_eq!(store.integrity().await.expect("readable"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_share_batches_and_each_gets_its_own_verdict() {
    let store = store().await;
    let merchant = Uuid::new_v4();
    let all: Vec<_> = (0..400).map(|i| intent(merchant, &format!("A-{}", i % 200), &format!("k{i}"))).collect();
    let verdicts = futures_util::future::join_all(all.iter().map(|intent| store.journal.open(intent.clone()))).await;
    let won = verdicts.iter().filter(|verdict| **verdict == Ok(IntentVerdict::Applied)).count();
    let taken = verdicts.iter().filter(|verdict| matches!(verdict, Ok(IntentVerdict::OrderTaken(_)))).count();
    assert_eq!((won, taken), (200, 200));
    let changes = all.iter().zip(&verdicts).filter(|(_, verdict)| **verdict == Ok(IntentVerdict::Applied)).map(|(intent, _)| {
        let payment = &intent.change.after;
        store.journal.commit(learned(payment, &News::of(Fact::Approved)))
    });
    let verdicts = futures_util::future::join_all(changes).await;
    assert!(verdicts.iter().all(|verdict| *verdict == Ok(ChangeVerdict::Applied)), "{verdicts:?}");
    assert_eq!(store.integrity().await.expect("readable"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_command_stands_alone_and_its_neighbours_never_notice() {
    let store = store().await;
    let merchant = Uuid::new_v4();
    let mut all: Vec<_> = (0..20).map(|i| intent(merchant, &format!("A-{i}"), &format!("k{i}"))).collect();
    all[7].change.after.attempts[0].key = "too short".to_owned();
    let verdicts = futures_util::future::join_all(all.iter().map(|intent| store.journal.open(intent.clone()))).await;
    for (i, verdict) in verdicts.iter().enumerate() {
        assert_eq!(verdict.is_err(), i == 7, "{i}: {verdict:?}");
    }
    assert!(verdicts[7].as_ref().is_err_and(|error| error.to_string().contains("attempt_key")), "{:?}", verdicts[7]);
    let key = store.known_key(all[7].change.key.as_ref().expect("a key").digest).await.expect("readable");
    assert_eq!(key, None, "nothing of it was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_attempt_is_written_with_the_end_of_the_one_before() {
    let store = store().await;
    let first = intent(Uuid::new_v4(), "A-1", "k1");
    store.journal.open(first.clone()).await.expect("open");
    let payment = first.change.after;
    let mut after = payment.clone();
    after.learn(1, &News::not_sent("refused"), Source::Reply, &CONTRACT, Timestamp::now()).expect("legal");
    after.add_attempt(attempt("b"), lease(), Timestamp::now());
    let change = Change::between(&payment, after, Source::Reply).fenced(1, 0);
    assert_eq!(store.journal.commit(change).await, Ok(ChangeVerdict::Applied));
    let read = store.payment(payment.id).await.expect("readable").expect("there");
    assert_eq!(read.attempts.len(), 2);
    assert_eq!(read.status, PaymentStatus::Processing);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_live_pay_attempts_of_one_payment_are_refused_by_the_database() {
    let store = store().await;
    let first = intent(Uuid::new_v4(), "A-1", "k1");
    store.journal.open(first.clone()).await.expect("open");
    let payment = first.change.after;
    let mut after = payment.clone();
    after.add_attempt(attempt("b"), lease(), Timestamp::now());
    let refused = store.journal.commit(Change::between(&payment, after, Source::Reply)).await;
    assert!(
        refused.as_ref().is_err_and(|error| error.to_string().contains("payment_id_idx") || error.to_string().contains("live_pay")),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_changes_hands_once_and_its_earlier_payment_knows() {
    let store = store().await;
    let merchant = Uuid::new_v4();
    let first = intent(merchant, "A-1", "k1");
    store.journal.open(first.clone()).await.expect("open");
    let declined = News::declined(Failure::new(FailureCode::CardDeclined, None, "no"));
    let change = learned(&first.change.after, &declined);
    store.journal.commit(change.clone()).await.expect("declined");
    let holder = change.after;
    let heirs: Vec<_> =
        ["k2", "k3"].into_iter().map(|key| Intent { takes_over: Some((holder.id, holder.sequence)), ..intent(merchant, "A-1", key) }).collect();
    let (one, two) = tokio::join!(store.journal.open(heirs[0].clone()), store.journal.open(heirs[1].clone()));
    let won = [&one, &two].into_iter().filter(|verdict| **verdict == Ok(IntentVerdict::Applied)).count();
    assert_eq!(won, 1, "{one:?} {two:?}");
    let read = store.payment(holder.id).await.expect("readable").expect("there");
    assert!(read.superseded_by.is_some());
    assert_eq!(store.integrity().await.expect("readable"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_held_by_one_and_its_fence_stops_who_held_it_before() {
    let store = store().await;
    let first = intent(Uuid::new_v4(), "A-1", "k1");
    store.journal.open(first.clone()).await.expect("open");
    let payment = first.change.after;
    let (me, later) = (Uuid::new_v4(), Timestamp::now() + SignedDuration::from_mins(1));
    let until = later + SignedDuration::from_secs(15);
    assert_eq!(store.claim_due(me, Timestamp::now(), until, 10, &[]).await.expect("readable"), [], "its first holder has it still");
    let claims = store.claim_due(me, later, until, 10, &[]).await.expect("readable");
    assert_eq!(claims.len(), 1);
    assert_eq!(store.claim_due(Uuid::new_v4(), later, until, 10, &[]).await.expect("readable"), [], "one holder at a time");
    let mut after = payment.clone();
    after.learn(1, &News::not_sent("refused"), Source::Reply, &CONTRACT, Timestamp::now()).expect("legal");
    after.add_attempt(attempt("b"), lease(), Timestamp::now());
    let change = Change::between(&payment, after, Source::Reply).fenced(1, 0);
    assert_eq!(store.journal.commit(change).await, Ok(ChangeVerdict::Fenced));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_ends_does_not_put_off_what_was_asked_for_meanwhile() {
    let store = store().await;
    let first = intent(Uuid::new_v4(), "A-1", "k1");
    store.journal.open(first.clone()).await.expect("open");
    let change = learned(&first.change.after, &News::unknown());
    store.journal.commit(change.clone()).await.expect("unknown");
    let later = Timestamp::now() + SignedDuration::from_mins(1);
    let claim = store.claim_due(Uuid::new_v4(), later, later + SignedDuration::from_secs(15), 10, &[]).await.expect("readable").remove(0);
    // While the channel is asked the merchant cancels: somebody must look at once.
    let mut canceled = change.after.clone();
    canceled.request_cancel(later);
    store.journal.commit(Change::between(&change.after, canceled, Source::Merchant)).await.expect("canceled");
    store.postpone(&claim, Some(later + SignedDuration::from_hours(24)), true).await.expect("given back");
    let read = store.payment(first.change.after.id).await.expect("readable").expect("there");
    let due = read.attempts[0].due_at.expect("somebody looks");
    assert!(due <= later, "{due}");
    assert_eq!(read.attempts[0].lease_until, None, "and nobody holds it");
}

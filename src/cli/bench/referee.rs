//! The referee: joins what clients were told, Breakwater's tables and the third party's book, and trusts none of them alone.
//!
//! *Double*: an order that was charged, or a refund that was paid out, more than once. *Lost*: what was acknowledged and is not there, is something
//! else now, or is not in both books; and money taken for what a client was told had not been done. *Orphan*: money that moved without an attempt
//! of ours. *Stuck*: what never ends.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::told::Told;
use crate::store::books::Books;

/// One line of the third party's book, as its control routes show it.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// Whose book it is in: a bank's references are its own, and another bank may have the same.
    #[serde(default)]
    pub channel: String,
    /// The attempt's key; for a reversal, that of what it undoes.
    pub reference: String,
    /// `charge`, `refund` or `reversal`.
    pub kind: String,
    /// Minor units.
    pub amount: i64,
}

/// Evidence that is shown of each kind of fault.
const SHOWN: usize = 8;

/// What the books say, each fault with its evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Charges in the third party's book, undone ones included.
    pub charges: usize,
    /// Reversals in it.
    pub reversals: usize,
    /// Paid more than once.
    pub double: Vec<String>,
    /// Told, and not so.
    pub lost: Vec<String>,
    /// Moved without us.
    pub orphan: Vec<String>,
    /// Without an end.
    pub stuck: Vec<String>,
}

impl Verdict {
    /// Whether all four promises held.
    pub fn holds(&self) -> bool {
        self.double.is_empty() && self.lost.is_empty() && self.orphan.is_empty() && self.stuck.is_empty()
    }

    /// For people: the counts, with what the installation's own check found, and some evidence of each kind of fault.
    pub fn in_words(&self, integrity: &[String]) -> String {
        let Self { charges, reversals, double, lost, orphan, stuck } = self;
        let mut words = format!(
            "{charges} charges and {reversals} reversals in the book; double {}, lost {}, orphan {}, stuck {}; integrity {}\n",
            double.len(),
            lost.len(),
            orphan.len(),
            stuck.len(),
            if integrity.is_empty() { "holds" } else { "does not hold" }
        );
        for (name, faults) in [("double", &double[..]), ("lost", lost), ("orphan", orphan), ("stuck", stuck), ("integrity", integrity)] {
            for fault in faults.iter().take(SHOWN) {
                words.push_str(&format!("{name}: {fault}\n"));
            }
        }
        words
    }
}

/// All books, side by side.
pub fn judge(books: &Books, entries: &[Entry], told: &[Told]) -> Verdict {
    let mut verdict = Verdict::default();
    for (payment, what) in &books.open {
        verdict.stuck.push(format!("{}: {what}", payment_name(*payment)));
    }
    compare_the_books(books, entries, &mut verdict);
    compare_what_was_told(books, told, &mut verdict);
    verdict
}

/// Money that moved for one payment, by the third party's book.
#[derive(Clone, Copy, Default)]
struct Moved {
    charges: i64,
    charged: i64,
    given_back: i64,
}

/// Payments that a bank did not answer, or not whole, and that were undone there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Undone {
    /// It had charged them.
    pub charged: usize,
    /// It never had.
    pub not_charged: usize,
}

/// What was undone at one channel, by both books.
pub fn undone(books: &Books, entries: &[Entry], channel: &str) -> Undone {
    let charges = entries.iter().filter(|entry| entry.channel == channel && entry.kind == "charge");
    let charges: BTreeSet<&str> = charges.map(|entry| entry.reference.as_str()).collect();
    let attempts = books.attempts.iter().filter(|attempt| attempt.channel == channel && attempt.operation == "pay" && attempt.state == "reversed");
    let (charged, not_charged): (Vec<_>, Vec<_>) = attempts.partition(|attempt| charges.contains(attempt.key.as_str()));
    Undone { charged: charged.len(), not_charged: not_charged.len() }
}

/// The third party's book against our tables.
fn compare_the_books(books: &Books, entries: &[Entry], verdict: &mut Verdict) {
    let attempts: BTreeMap<(&str, &str), _> =
        books.attempts.iter().map(|attempt| ((attempt.channel.as_str(), attempt.key.as_str()), attempt)).collect();
    let mut moved: BTreeMap<Uuid, Moved> = BTreeMap::new();
    let mut refunds: BTreeMap<(Uuid, Option<i16>), i64> = BTreeMap::new();
    for entry in entries {
        verdict.charges += usize::from(entry.kind == "charge");
        verdict.reversals += usize::from(entry.kind == "reversal");
        let lawful = |operation: &str| match entry.kind.as_str() {
            "charge" => matches!(operation, "pay" | "capture"),
            "refund" => operation == "refund",
            _ => matches!(operation, "pay" | "refund"),
        };
        let Some(attempt) = attempts.get(&(entry.channel.as_str(), entry.reference.as_str())).filter(|attempt| lawful(&attempt.operation)) else {
            verdict.orphan.push(format!("{entry:?}"));
            continue;
        };
        let of_payment = moved.entry(attempt.payment).or_default();
        let times = refunds.entry((attempt.payment, attempt.refund)).or_default();
        match (entry.kind.as_str(), attempt.operation.as_str()) {
            ("charge", _) => {
                of_payment.charges += 1;
                of_payment.charged += entry.amount;
            }
            ("refund", _) => {
                of_payment.given_back += entry.amount;
                *times += 1;
            }
            // A refund that nobody heard of was undone, before it is tried anew.
            (_, "refund") => {
                of_payment.given_back -= entry.amount;
                *times -= 1;
            }
            _ => {
                of_payment.charges -= 1;
                of_payment.charged -= entry.amount;
            }
        }
    }
    for ((payment, n), times) in refunds.into_iter().filter(|((_, n), times)| n.is_some() && *times > 1) {
        verdict.double.push(format!("refund {} of {} was paid out {times} times", n.unwrap_or_default(), payment_name(payment)));
    }
    let mut paid: BTreeMap<&str, i64> = BTreeMap::new();
    for payment in &books.payments {
        let (name, order) = (payment_name(payment.id), payment.order.as_str());
        let book = moved.get(&payment.id).copied().unwrap_or_default();
        if book.charged != payment.captured {
            verdict.lost.push(format!("{name} of {order}: the book says {} charged, we say {}", book.charged, payment.captured));
        } else if book.given_back != payment.refunded || payment.refund_reserved != payment.refunded {
            let (refunded, reserved) = (payment.refunded, payment.refund_reserved);
            verdict.lost.push(format!("{name} of {order}: the book says {} given back, we say {refunded} of {reserved} reserved", book.given_back));
        } else if !is_final(&payment.status) && (payment.status != "requires_capture" || payment.cancel_requested) {
            verdict.stuck.push(format!("{name} of {order} is {}", payment.status));
        }
        *paid.entry(order).or_default() += book.charges;
    }
    for (order, times) in paid.into_iter().filter(|(_, times)| *times > 1) {
        verdict.double.push(format!("{order} was charged {times} times"));
    }
}

/// What clients were told against our tables.
fn compare_what_was_told(books: &Books, told: &[Told], verdict: &mut Verdict) {
    let mut payments: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for payment in &books.payments {
        payments.entry(payment.order.as_str()).or_default().push(payment);
    }
    let refunds: BTreeMap<Uuid, &str> = books.refunds.iter().map(|(id, status)| (*id, status.as_str())).collect();
    for told in told {
        let found = payments.get(told.order.as_str()).map(Vec::as_slice).unwrap_or_default();
        let mut faults = BTreeSet::new();
        match (&told.payment, found) {
            (Some(id), [payment]) if payment_name(payment.id) == *id => {
                for said in told.said.iter().filter(|said| is_final(said) && **said != payment.status) {
                    faults.insert(format!("it was told to be {said}, and is {}", payment.status));
                }
            }
            (Some(id), found) => {
                faults.insert(format!("its client knows it as {id}, and there are {found:?}"));
            }
            (None, found) if told.was_refused() => {
                if found.iter().any(|payment| payment.captured > 0) {
                    faults.insert(format!("it was refused ({} {}), and charged", told.status, told.code));
                }
            }
            // Nobody was ever told anything: what there is, the comparison of the books has judged.
            (None, _) => {}
        }
        if let Some((id, said)) = &told.refund {
            let now = id.split_once('_').and_then(|(_, hex)| Uuid::parse_str(hex).ok()).and_then(|id| refunds.get(&id));
            if now.is_none() || (said == "succeeded" && now != Some(&said.as_str())) {
                faults.insert(format!("its refund {id} was told to be {said}, and is {now:?}"));
            }
        }
        verdict.lost.extend(faults.into_iter().map(|fault| format!("{}: {fault}", told.order)));
    }
}

/// A payment's id as clients know it.
pub fn payment_name(id: Uuid) -> String {
    format!("pay_{}", id.simple())
}

/// Whether a payment of this status will not change any more.
pub fn is_final(status: &str) -> bool {
    matches!(status, "succeeded" | "partially_captured" | "failed" | "canceled" | "expired")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::books::{AttemptEntry, PaymentEntry};

    const PAYMENT: Uuid = Uuid::from_u128(1);

    fn books() -> Books {
        let attempt = |key: &str, operation: &str, refund| AttemptEntry {
            channel: "bank_1".to_owned(),
            key: key.to_owned(),
            operation: operation.to_owned(),
            payment: PAYMENT,
            refund,
            state: if key == "first" { "reversed" } else { "succeeded" }.to_owned(),
        };
        Books {
            payments: vec![PaymentEntry {
                id: PAYMENT,
                order: "A".to_owned(),
                status: "succeeded".to_owned(),
                captured: 100,
                refunded: 40,
                refund_reserved: 40,
                cancel_requested: false,
            }],
            attempts: vec![attempt("first", "pay", None), attempt("second", "pay", None), attempt("back", "refund", Some(1))],
            refunds: vec![(PAYMENT, "succeeded".to_owned())],
            open: Vec::new(),
        }
    }

    fn entry(reference: &str, kind: &str, amount: i64) -> Entry {
        Entry { channel: "bank_1".to_owned(), reference: reference.to_owned(), kind: kind.to_owned(), amount }
    }

    /// Charged at one channel, undone, charged at the next, and partly given back.
    fn sound() -> Vec<Entry> {
        vec![entry("first", "charge", 100), entry("first", "reversal", 100), entry("second", "charge", 100), entry("back", "refund", 40)]
    }

    fn told(status: u16, payment: Option<Uuid>, said: &str) -> Told {
        Told { order: "A".to_owned(), status, payment: payment.map(payment_name), said: vec![said.to_owned()], ..Told::default() }
    }

    #[test]
    fn books_that_agree_are_not_blamed() {
        let verdict = judge(&books(), &sound(), &[told(201, Some(PAYMENT), "succeeded")]);
        assert!(verdict.holds() && verdict.charges == 2 && verdict.reversals == 1, "{verdict:?}");
    }

    #[test]
    fn what_was_undone_had_been_charged_or_had_not_by_that_channels_own_book() {
        let mut entries = sound();
        assert_eq!(undone(&books(), &entries, "bank_1"), Undone { charged: 1, not_charged: 0 });
        entries[0].channel = "bank_2".to_owned();
        assert_eq!(undone(&books(), &entries, "bank_1"), Undone { charged: 0, not_charged: 1 });
        assert_eq!(undone(&books(), &entries, "bank_2"), Undone::default());
    }

    #[test]
    fn an_order_charged_at_two_channels_is_double() {
        let mut entries = sound();
        entries.remove(1);
        let verdict = judge(&books(), &entries, &[]);
        assert_eq!(verdict.double, ["A was charged 2 times"]);
    }

    #[test]
    fn a_refund_paid_out_twice_is_double() {
        let mut entries = sound();
        entries.push(entry("back", "refund", 40));
        assert_eq!(judge(&books(), &entries, &[]).double.len(), 1);
    }

    #[test]
    fn money_of_a_key_that_is_not_ours_is_an_orphan() {
        let mut entries = sound();
        entries.push(entry("foreign", "charge", 5));
        entries.push(entry("first", "refund", 5));
        entries.push(Entry { channel: "bank_2".to_owned(), ..entry("first", "charge", 100) });
        assert_eq!(judge(&books(), &entries, &[]).orphan.len(), 3);
    }

    #[test]
    fn what_was_told_and_is_not_so_is_lost() {
        for told in [
            told(201, Some(PAYMENT), "failed"),
            told(201, Some(Uuid::from_u128(9)), "succeeded"),
            told(503, None, ""),
            Told { refund: Some((format!("ref_{}", Uuid::from_u128(7).simple()), "processing".to_owned())), ..told(201, Some(PAYMENT), "succeeded") },
        ] {
            assert_eq!(judge(&books(), &sound(), std::slice::from_ref(&told)).lost.len(), 1, "{told:?}");
        }
    }

    #[test]
    fn what_is_open_is_stuck() {
        let mut books = books();
        books.open.push((PAYMENT, "attempt 1 (pay) is unknown".to_owned()));
        books.payments[0].status = "processing".to_owned();
        assert_eq!(judge(&books, &sound(), &[]).stuck.len(), 2);
    }
}

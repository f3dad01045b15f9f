//! What the cardholder's bank does days later, without anybody's asking here: a dispute, its end, and a refund that comes back because the account
//! that it went to is closed.
//!
//! A refund that comes back had succeeded before. Stripe then shows it as `failed`, and says so twice: as `refund.failed`, and as
//! `charge.refund.updated` to those who have listened since before there was the other.

use serde_json::Value;

use super::ledger::{Change, Dispute, DisputeStatus, Intent, IntentStatus, Refund, RefundStatus};
use super::{Account, Done, Event, Origin, id, refund, render};
use crate::sandbox::account::{ActRefusal, BankAct};
use crate::sandbox::book::{Entry, Kind};
use crate::sandbox::fault::Operation;
use crate::sandbox::notify::Manner;

impl Account {
    /// Does what the cardholder's bank is told to do. `reference` is the key or the id of a refund for what is about one, else of a payment intent.
    ///
    /// # Errors
    /// As [`ActRefusal`] says; nothing is changed then.
    pub(super) fn perform_at_the_bank(&self, reference: &str, act: BankAct) -> Result<Value, ActRefusal> {
        let origin = self.nobody();
        let mut ledger = self.ledger();
        let unknown = || ActRefusal::Unknown(reference.to_owned());
        let done = match act {
            BankAct::ReturnRefund => {
                let named = |refund: &&Refund| {
                    refund.id == reference
                        || refund.metadata.get("attempt").map(String::as_str) == Some(reference)
                        || refund.key.as_deref() == Some(reference)
                };
                let refund = ledger.refunds().iter().rev().find(named).cloned().ok_or_else(unknown)?;
                let intent = ledger.intent(&refund.payment_intent).cloned().ok_or_else(unknown)?;
                come_back(intent, refund, &origin)
            }
            BankAct::DisputeWon | BankAct::DisputeLost => {
                let found = ledger.intent(reference).or_else(|| ledger.intents_of_attempt(reference).next_back()).cloned();
                let status = if act == BankAct::DisputeWon { DisputeStatus::Won } else { DisputeStatus::Lost };
                decide(found.ok_or_else(unknown)?, status)
            }
        };
        let Done { change, body, events, .. } = done.map_err(ActRefusal::WrongState)?;
        ledger.commit(change)?;
        drop(ledger);
        self.tell(events, Manner::of(self.faults.draw(Operation::Refund), None), &origin);
        Ok(body)
    }
}

/// The cardholder tells the bank that it was not them.
///
/// # Errors
/// A sentence, where nothing was taken, or it is disputed already.
pub(super) fn dispute(mut intent: Intent, origin: &Origin<'_>) -> Result<Done, String> {
    let dispute = Dispute { id: id("dp_"), created: origin.now, status: DisputeStatus::NeedsResponse };
    match &mut intent.charge {
        Some(charge) if intent.status == IntentStatus::Succeeded && !charge.disputed => {
            charge.disputed = true;
            charge.dispute = Some(dispute);
        }
        _ => return Err(format!("{} is {} and has nothing new to dispute", intent.id, intent.status.as_str())),
    }
    Ok(told(intent, "charge.dispute.created"))
}

/// The bank decides: once, and for good.
fn decide(mut intent: Intent, status: DisputeStatus) -> Result<Done, String> {
    let open = intent.charge.as_mut().and_then(|charge| charge.dispute.as_mut()).filter(|dispute| dispute.status == DisputeStatus::NeedsResponse);
    let Some(dispute) = open else { return Err(format!("{} has no open dispute", intent.id)) };
    dispute.status = status;
    Ok(told(intent, "charge.dispute.closed"))
}

fn told(intent: Intent, kind: &'static str) -> Done {
    let both = intent.charge.as_ref().and_then(|charge| Some((charge, charge.dispute.as_ref()?)));
    let shown = both.map(|(charge, dispute)| render::dispute(dispute, &intent, charge)).unwrap_or_default();
    let events = vec![Event { kind, object: shown.clone() }];
    Done::new(Change { intent: Some(intent), ..Change::default() }, shown, events)
}

/// A refund that had arrived comes back.
fn come_back(mut intent: Intent, mut refund: Refund, origin: &Origin<'_>) -> Result<Done, String> {
    if refund.status != RefundStatus::Succeeded {
        return Err(format!("{} has not arrived, so it cannot come back", refund.id));
    }
    if refund.metadata.contains_key("reverses") {
        return Err(format!("{} undoes a payment that must not stand: that does not come back here", refund.id));
    }
    // What the book calls it, before anything changes: a reversal of the entry that it undoes.
    let entry = Entry { kind: Kind::Reversal, ..refund::booked(&intent, &refund, origin.now) };
    refund.status = RefundStatus::Failed;
    refund.failure_reason = Some("expired_or_canceled_card".to_owned());
    if let Some(charge) = &mut intent.charge {
        charge.amount_refunded -= refund.amount;
    }
    let shown = render::refund(&refund);
    let events = vec![Event { kind: "refund.failed", object: shown.clone() }, Event { kind: "charge.refund.updated", object: shown.clone() }];
    Ok(Done::new(Change { intent: Some(intent), refund: Some(refund), entry: Some(entry), ..Change::default() }, shown, events))
}

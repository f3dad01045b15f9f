//! Money back: within what was taken, once per key, and pending for a while where the amount asks for it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::error::StripeError;
use super::form::Form;
use super::ledger::{Change, Intent, IntentStatus, Refund, RefundStatus};
use super::{Done, Event, Origin, id, payment, render};
use crate::sandbox::book::{Entry, Kind};
use crate::sandbox::fault::Magic;

/// The id of the intent that a refund is for.
///
/// # Errors
/// `parameter_missing` when neither `payment_intent` nor `charge` is there, `parameter_unknown` for a parameter that refunds do not have.
pub fn target(form: &Form) -> Result<String, StripeError> {
    const PARAMETERS: [&str; 9] =
        ["amount", "charge", "currency", "expand", "instructions_email", "metadata", "payment_intent", "reason", "refund_application_fee"];
    if let Some(unknown) = form.unknown(&PARAMETERS) {
        return Err(StripeError::unknown_parameter(unknown));
    }
    match (form.text("payment_intent"), form.text("charge")) {
        (Some(intent), _) => Ok(intent.to_owned()),
        (None, Some(charge)) => intent_of_charge(charge).ok_or_else(|| StripeError::no_such("charge", charge)),
        (None, None) => Err(StripeError::missing("payment_intent")),
    }
}

/// The id of the intent that a charge belongs to.
pub fn intent_of_charge(charge: &str) -> Option<String> {
    let (tail, _) = charge.strip_prefix("ch_")?.rsplit_once('_')?;
    Some(format!("pi_{tail}"))
}

/// `POST /v1/refunds`. `decline` makes a refund that fails.
///
/// # Errors
/// `charge_already_refunded`, `amount_too_large`, `charge_disputed`, and what Stripe refuses about the parameters.
pub fn create(intent: Intent, form: &Form, decline: bool, pending_for: Duration, origin: &Origin<'_>) -> Result<Done, StripeError> {
    let reason = form.text("reason");
    if let Some(other) = reason
        && !["duplicate", "fraudulent", "requested_by_customer"].contains(&other)
    {
        return Err(StripeError::invalid(
            "reason",
            &format!("Invalid reason: must be one of duplicate, fraudulent, or requested_by_customer, and is {other}"),
        ));
    }
    let amount = form.integer("amount")?;
    let metadata = payment::metadata(form)?;
    make(intent, amount, reason.map(str::to_owned), metadata, decline, pending_for, origin)
}

/// A refund that somebody makes in the provider's own portal: the orchestrator has never heard of it.
///
/// # Errors
/// As [`create`].
pub fn from_portal(intent: Intent, part: Option<i64>, origin: &Origin<'_>) -> Result<Done, StripeError> {
    make(intent, part, None, BTreeMap::new(), false, Duration::ZERO, origin)
}

fn make(
    mut intent: Intent,
    amount: Option<i64>,
    reason: Option<String>,
    metadata: BTreeMap<String, String>,
    decline: bool,
    pending_for: Duration,
    origin: &Origin<'_>,
) -> Result<Done, StripeError> {
    let charge = match &mut intent.charge {
        Some(charge) if intent.status == IntentStatus::Succeeded => charge,
        _ => {
            let message = format!("This PaymentIntent ({}) does not have a successful charge to refund.", intent.id);
            return Err(StripeError::invalid("payment_intent", &message));
        }
    };
    let left = charge.amount_captured - charge.amount_refunded;
    let amount = amount.unwrap_or(left);
    if left == 0 {
        return Err(StripeError::already_refunded(&charge.id));
    }
    if charge.is_withheld() {
        return Err(StripeError::disputed(&charge.id));
    }
    if amount < 1 {
        return Err(StripeError::invalid_code("parameter_invalid_integer", "amount", "This value must be greater than or equal to 1."));
    }
    if amount > left {
        let message = format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left})");
        return Err(StripeError::amount_too_large("amount", &message));
    }
    let pending = !decline && Magic::refund_is_pending(amount) && !pending_for.is_zero();
    let status = match (decline, pending) {
        (true, _) => RefundStatus::Failed,
        (false, true) => RefundStatus::Pending,
        (false, false) => RefundStatus::Succeeded,
    };
    if !decline {
        charge.amount_refunded += amount;
    }
    let refund = Refund {
        id: id("re_"),
        payment_intent: intent.id.clone(),
        charge: charge.id.clone(),
        amount,
        currency: intent.currency.clone(),
        created: origin.now,
        status,
        reason,
        failure_reason: decline.then(|| "declined".to_owned()),
        metadata,
        key: origin.key.map(str::to_owned),
        due: pending.then(|| later(origin.now, pending_for)),
    };
    intent.refunds.push(refund.id.clone());
    Ok(told(intent, refund, origin.now))
}

/// A pending refund is done.
pub fn settle(intent: Intent, mut refund: Refund, now: Timestamp) -> Done {
    refund.status = RefundStatus::Succeeded;
    refund.due = None;
    told(intent, refund, now)
}

/// The change, the answer and the events that follow from where the refund now stands.
fn told(intent: Intent, refund: Refund, now: Timestamp) -> Done {
    let shown = render::refund(&refund);
    let mut events = Vec::new();
    let mut entry = None;
    match refund.status {
        RefundStatus::Pending => {}
        RefundStatus::Failed => events.push(Event { kind: "refund.failed", object: shown.clone() }),
        RefundStatus::Succeeded => {
            if let Some(charge) = &intent.charge {
                events.push(Event { kind: "charge.refunded", object: render::charge(&intent, charge) });
            }
            events.push(Event { kind: "refund.updated", object: shown.clone() });
            entry = Some(booked(&intent, &refund, now));
        }
    }
    Done::new(Change { intent: Some(intent), refund: Some(refund), entry, ..Change::default() }, shown, events)
}

pub(super) fn booked(intent: &Intent, refund: &Refund, now: Timestamp) -> Entry {
    let (kind, reference) = match refund.metadata.get("reverses") {
        Some(reverses) => (Kind::Reversal, reverses.clone()),
        None => {
            let named = refund.metadata.get("attempt").cloned().or_else(|| refund.key.clone());
            (Kind::Refund, named.unwrap_or_else(|| refund.id.clone()))
        }
    };
    Entry {
        reference,
        kind,
        amount: refund.amount,
        currency: refund.currency.to_ascii_uppercase(),
        at: now,
        payment_intent: intent.id.clone(),
        order: intent.metadata.get("order").cloned(),
    }
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(now.as_millisecond().saturating_add(by)).unwrap_or(Timestamp::MAX)
}

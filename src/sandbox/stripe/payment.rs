//! A payment intent's life: create, confirm, capture, cancel, and what the customer does.
//!
//! Every function takes the intent as it is and gives the [`Done`] that would follow, without touching the ledger: `mod.rs` commits it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::card::{self, CardAnswer};
use super::error::{Decline, StripeError};
use super::form::Form;
use super::ledger::{CaptureMethod, Change, Charge, Intent, IntentStatus};
use super::{Done, Event, Origin, id};
use crate::sandbox::book::{Entry, Kind};

/// Twelve digits, as Stripe allows for the currencies of large numbers.
const AMOUNT_MAX: i64 = 999_999_999_999;

const CREATE_PARAMETERS: [&str; 22] = [
    "amount",
    "automatic_payment_methods",
    "capture_method",
    "confirm",
    "confirmation_method",
    "currency",
    "customer",
    "description",
    "error_on_requires_action",
    "expand",
    "metadata",
    "off_session",
    "payment_method",
    "payment_method_options",
    "payment_method_types",
    "receipt_email",
    "return_url",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "use_stripe_sdk",
];

/// `POST /v1/payment_intents`, without the confirmation.
///
/// # Errors
/// What Stripe refuses about the parameters.
pub fn create(form: &Form, now: Timestamp) -> Result<Intent, StripeError> {
    if let Some(unknown) = form.unknown(&CREATE_PARAMETERS) {
        return Err(StripeError::unknown_parameter(unknown));
    }
    let amount = form.integer("amount")?.ok_or_else(|| StripeError::missing("amount"))?;
    if amount < 1 {
        return Err(StripeError::invalid_code("parameter_invalid_integer", "amount", "This value must be greater than or equal to 1."));
    }
    if amount > AMOUNT_MAX {
        return Err(StripeError::invalid_code("amount_too_large", "amount", "Amount must be no more than 999999999999."));
    }
    let currency = form.text("currency").ok_or_else(|| StripeError::missing("currency"))?.to_ascii_lowercase();
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Err(StripeError::invalid("currency", &format!("Invalid currency: {currency}.")));
    }
    let capture_method = match form.text("capture_method") {
        None | Some("automatic_async") => CaptureMethod::AutomaticAsync,
        Some("automatic") => CaptureMethod::Automatic,
        Some("manual") => CaptureMethod::Manual,
        Some(other) => {
            let message = format!("Invalid capture_method: must be one of automatic, automatic_async, or manual, and is {other}");
            return Err(StripeError::invalid("capture_method", &message));
        }
    };
    let automatic_payment_methods = automatic_payment_methods(form)?;
    let mut payment_method_types: Vec<String> = form.members("payment_method_types").map(|(_, name)| name.to_owned()).collect();
    if automatic_payment_methods.is_some() && !payment_method_types.is_empty() {
        let message = "You may only specify one of these parameters: automatic_payment_methods, payment_method_types.";
        return Err(StripeError::invalid("automatic_payment_methods", message));
    }
    if payment_method_types.is_empty() {
        payment_method_types.push("card".to_owned());
    }
    let payment_method = payment_method(form)?;
    let own = |name: &str| form.text(name).map(str::to_owned);
    Ok(Intent {
        id: id("pi_"),
        secret: id(""),
        amount,
        currency,
        created: now,
        status: if payment_method.is_some() { IntentStatus::RequiresConfirmation } else { IntentStatus::RequiresPaymentMethod },
        capture_method,
        confirmation_method: own("confirmation_method").unwrap_or_else(|| "automatic".to_owned()),
        payment_method,
        payment_method_types,
        automatic_payment_methods,
        metadata: metadata(form)?,
        customer: own("customer"),
        description: own("description"),
        return_url: own("return_url"),
        statement_descriptor_suffix: own("statement_descriptor_suffix"),
        off_session: form.text("off_session").is_some_and(|value| value != "false"),
        amount_received: 0,
        tries: 0,
        charge: None,
        last_payment_error: None,
        cancellation_reason: None,
        canceled_at: None,
        confirm_key: None,
        visited: false,
        refunds: Vec::new(),
    })
}

fn automatic_payment_methods(form: &Form) -> Result<Option<String>, StripeError> {
    if !form.flag("automatic_payment_methods[enabled]")? {
        return Ok(None);
    }
    match form.text("automatic_payment_methods[allow_redirects]").unwrap_or("always") {
        allow @ ("always" | "never") => Ok(Some(allow.to_owned())),
        other => Err(StripeError::invalid("automatic_payment_methods[allow_redirects]", &format!("Must be always or never, and is {other}"))),
    }
}

fn payment_method(form: &Form) -> Result<Option<String>, StripeError> {
    match form.text("payment_method") {
        None => Ok(None),
        Some(name) if name.starts_with("pm_") => Ok(Some(name.to_owned())),
        Some(other) => Err(StripeError::invalid_code("resource_missing", "payment_method", &format!("No such PaymentMethod: '{other}'"))),
    }
}

/// `metadata[…]`, within Stripe's bounds.
///
/// # Errors
/// More than 50 keys, a key over 40 characters, a value over 500.
pub fn metadata(form: &Form) -> Result<BTreeMap<String, String>, StripeError> {
    let mut metadata = BTreeMap::new();
    for (key, value) in form.members("metadata") {
        if key.is_empty() || key.chars().count() > 40 {
            return Err(StripeError::invalid("metadata", "Metadata keys must have 1 to 40 characters."));
        }
        if value.chars().count() > 500 {
            return Err(StripeError::invalid(&format!("metadata[{key}]"), "Metadata values may have at most 500 characters."));
        }
        metadata.insert(key.to_owned(), value.to_owned());
    }
    if metadata.len() > 50 {
        return Err(StripeError::invalid("metadata", "Metadata may have at most 50 keys."));
    }
    Ok(metadata)
}

/// The confirmation: the step that moves or holds money. `decline` forces the issuer's no.
///
/// # Errors
/// `payment_intent_unexpected_state` where it cannot be confirmed; what Stripe refuses about the parameters.
pub fn confirm(mut intent: Intent, form: &Form, decline: bool, origin: &Origin<'_>) -> Result<Done, StripeError> {
    use IntentStatus::{Canceled, RequiresAction, RequiresCapture, RequiresConfirmation, RequiresPaymentMethod, Succeeded};
    let refusal = match intent.status {
        RequiresPaymentMethod | RequiresConfirmation | RequiresAction => None,
        Succeeded => Some("You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed."),
        RequiresCapture => {
            Some("You cannot confirm this PaymentIntent because it has already been confirmed and its amount is waiting to be captured.")
        }
        Canceled => Some(
            "You cannot confirm this PaymentIntent because it has a status of canceled. Only a PaymentIntent with one of the following statuses may be confirmed: requires_confirmation, requires_action.",
        ),
    };
    if let Some(message) = refusal {
        return Err(StripeError::unexpected_state(message, origin.show(&intent)));
    }
    if let Some(payment_method) = payment_method(form)? {
        intent.payment_method = Some(payment_method);
    }
    if let Some(return_url) = form.text("return_url") {
        intent.return_url = Some(return_url.to_owned());
    }
    if let Some(off_session) = form.text("off_session") {
        intent.off_session = off_session != "false";
    }
    if intent.automatic_payment_methods.as_deref() == Some("always") && intent.return_url.is_none() {
        let message = "This PaymentIntent is configured to accept payment methods that may redirect your customer off of your page: \
                       you must provide a `return_url`, or set automatic_payment_methods[allow_redirects] to never.";
        return Err(StripeError::invalid("return_url", message));
    }
    let Some(payment_method) = intent.payment_method.clone() else {
        let message = "You cannot confirm this PaymentIntent because it's missing a payment method. Update the PaymentIntent with a payment method and then confirm it again.";
        return Err(StripeError::unexpected_state(message, origin.show(&intent)));
    };
    intent.confirm_key = origin.key.map(str::to_owned);
    intent.visited = false;
    if decline {
        return Ok(declined(intent, Decline::generic(), origin));
    }
    Ok(match card::answer(&payment_method, intent.off_session) {
        CardAnswer::Decline(why) => declined(intent, why, origin),
        CardAnswer::Approve => approved(intent, origin),
        CardAnswer::Authenticate => {
            intent.status = RequiresAction;
            intent.last_payment_error = None;
            let shown = origin.show(&intent);
            let events = vec![Event { kind: "payment_intent.requires_action", object: shown.clone() }];
            Done::new(Change { intent: Some(intent), ..Change::default() }, shown, events)
        }
    })
}

fn new_charge(intent: &mut Intent, now: Timestamp) -> Charge {
    intent.tries += 1;
    // Stripe's charge shares the tail of its intent's id; so the intent is found without an index.
    let id = format!("ch_{}_{}", intent.id.trim_start_matches("pi_"), intent.tries);
    Charge { id, created: now, amount_captured: 0, amount_refunded: 0, failure: None, disputed: false, dispute: None }
}

fn declined(mut intent: Intent, mut why: Decline, origin: &Origin<'_>) -> Done {
    why.payment_method = intent.payment_method.take();
    let mut charge = new_charge(&mut intent, origin.now);
    charge.failure = Some(why.clone());
    let charge_id = charge.id.clone();
    intent.charge = Some(charge);
    intent.status = IntentStatus::RequiresPaymentMethod;
    intent.last_payment_error = Some(why.clone());
    let shown = origin.show(&intent);
    let events = vec![Event { kind: "payment_intent.payment_failed", object: shown.clone() }];
    let refusal = StripeError::declined(&why, &charge_id, Some(shown));
    let mut done = Done::new(Change { intent: Some(intent), ..Change::default() }, refusal.body(), events);
    done.status = refusal.status;
    done
}

/// The money moves, or is held: the end of a confirmation without a question, and of the customer's authentication.
pub fn approved(mut intent: Intent, origin: &Origin<'_>) -> Done {
    intent.last_payment_error = None;
    let charge = new_charge(&mut intent, origin.now);
    intent.charge = Some(charge);
    if intent.capture_method == CaptureMethod::Manual {
        intent.status = IntentStatus::RequiresCapture;
        let shown = origin.show(&intent);
        let events = vec![Event { kind: "payment_intent.amount_capturable_updated", object: shown.clone() }];
        return Done::new(Change { intent: Some(intent), ..Change::default() }, shown, events);
    }
    let reference = intent.metadata.get("attempt").cloned().or_else(|| intent.confirm_key.clone()).unwrap_or_else(|| intent.id.clone());
    let amount = intent.amount;
    taken(intent, amount, reference, origin)
}

/// `POST /v1/payment_intents/{id}/capture`: once, all or less; the rest is released.
///
/// # Errors
/// `payment_intent_unexpected_state` where nothing is held; `amount_too_large` over what is held.
pub fn capture(intent: Intent, form: &Form, decline: bool, origin: &Origin<'_>) -> Result<Done, StripeError> {
    const PARAMETERS: [&str; 5] = ["amount_to_capture", "expand", "final_capture", "metadata", "statement_descriptor_suffix"];
    if let Some(unknown) = form.unknown(&PARAMETERS) {
        return Err(StripeError::unknown_parameter(unknown));
    }
    let amount = form.integer("amount_to_capture")?.unwrap_or(intent.amount);
    if amount < 1 {
        let message = "This value must be greater than or equal to 1.";
        return Err(StripeError::invalid_code("parameter_invalid_integer", "amount_to_capture", message));
    }
    if intent.status != IntentStatus::RequiresCapture {
        let message = format!(
            "This PaymentIntent could not be captured because it has a status of {}. Only a PaymentIntent with one of the following statuses may be captured: requires_capture.",
            intent.status.as_str()
        );
        return Err(StripeError::unexpected_state(&message, origin.show(&intent)));
    }
    if amount > intent.amount {
        let message = format!("The amount to capture ({amount}) is greater than the amount that can be captured ({}).", intent.amount);
        return Err(StripeError::amount_too_large("amount_to_capture", &message));
    }
    if decline {
        // The hold stays: a capture that is refused moves nothing.
        let charge = intent.charge.as_ref().map_or("", |charge| charge.id.as_str());
        return Err(StripeError::declined(&Decline::generic(), charge, Some(origin.show(&intent))));
    }
    let reference = origin.key.map(str::to_owned).or_else(|| intent.metadata.get("attempt").cloned()).unwrap_or_else(|| intent.id.clone());
    Ok(taken(intent, amount, reference, origin))
}

fn taken(mut intent: Intent, amount: i64, reference: String, origin: &Origin<'_>) -> Done {
    intent.status = IntentStatus::Succeeded;
    intent.amount_received = amount;
    if let Some(charge) = &mut intent.charge {
        charge.amount_captured = amount;
    }
    let entry = Entry {
        reference,
        kind: Kind::Charge,
        amount,
        currency: intent.currency.to_ascii_uppercase(),
        at: origin.now,
        payment_intent: intent.id.clone(),
        order: intent.metadata.get("order").cloned(),
    };
    let shown = origin.show(&intent);
    let events = vec![Event { kind: "payment_intent.succeeded", object: shown.clone() }];
    Done::new(Change { intent: Some(intent), entry: Some(entry), ..Change::default() }, shown, events)
}

/// `POST /v1/payment_intents/{id}/cancel`: nothing can be charged afterwards; a hold is released.
///
/// # Errors
/// `payment_intent_unexpected_state` once the money was taken, or after a cancel.
pub fn cancel(mut intent: Intent, form: &Form, origin: &Origin<'_>) -> Result<Done, StripeError> {
    if let Some(unknown) = form.unknown(&["cancellation_reason", "expand"]) {
        return Err(StripeError::unknown_parameter(unknown));
    }
    let reason = form.text("cancellation_reason");
    if let Some(other) = reason
        && !["duplicate", "fraudulent", "requested_by_customer", "abandoned"].contains(&other)
    {
        return Err(StripeError::invalid("cancellation_reason", &format!("Invalid cancellation_reason: {other}")));
    }
    if matches!(intent.status, IntentStatus::Succeeded | IntentStatus::Canceled) {
        let message = format!(
            "You cannot cancel this PaymentIntent because it has a status of {}. Only a PaymentIntent with one of the following statuses may be canceled: requires_payment_method, requires_capture, requires_confirmation, requires_action, processing.",
            intent.status.as_str()
        );
        return Err(StripeError::unexpected_state(&message, origin.show(&intent)));
    }
    intent.status = IntentStatus::Canceled;
    intent.cancellation_reason = reason.map(str::to_owned);
    intent.canceled_at = Some(origin.now);
    let shown = origin.show(&intent);
    let events = vec![Event { kind: "payment_intent.canceled", object: shown.clone() }];
    Ok(Done::new(Change { intent: Some(intent), ..Change::default() }, shown, events))
}

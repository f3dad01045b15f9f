//! The objects as Stripe writes them, with the members that the official libraries read.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::error::Decline;
use super::ledger::{CaptureMethod, Charge, Dispute, DisputeStatus, Intent, IntentStatus, Refund, RefundStatus};

/// The version whose shapes these are.
pub const API_VERSION: &str = "2026-10-28.endive";

/// A payment intent. `base_url` is where the account is served: the customer's page lies there. With `expand_charge` the latest charge is shown
/// in full.
pub fn intent(intent: &Intent, base_url: &str, expand_charge: bool) -> Value {
    let latest_charge = match &intent.charge {
        Some(latest) if expand_charge => charge(intent, latest),
        Some(latest) => latest.id.as_str().into(),
        None => Value::Null,
    };
    let next_action = (intent.status == IntentStatus::RequiresAction).then(|| {
        json!({
            "type": "redirect_to_url",
            "redirect_to_url": {"url": customer_page(intent, base_url), "return_url": intent.return_url},
        })
    });
    let capturable = if intent.status == IntentStatus::RequiresCapture { intent.amount } else { 0 };
    let capture_method = match intent.capture_method {
        CaptureMethod::AutomaticAsync => "automatic_async",
        CaptureMethod::Automatic => "automatic",
        CaptureMethod::Manual => "manual",
    };
    json!({
        "id": intent.id,
        "object": "payment_intent",
        "amount": intent.amount,
        "amount_capturable": capturable,
        "amount_details": {"tip": {}},
        "amount_received": intent.amount_received,
        "application": null,
        "application_fee_amount": null,
        "automatic_payment_methods": intent.automatic_payment_methods.as_ref().map(|allow| json!({"enabled": true, "allow_redirects": allow})),
        "canceled_at": intent.canceled_at.map(Timestamp::as_second),
        "cancellation_reason": intent.cancellation_reason,
        "capture_method": capture_method,
        "client_secret": format!("{}_secret_{}", intent.id, intent.secret),
        "confirmation_method": intent.confirmation_method,
        "created": intent.created.as_second(),
        "currency": intent.currency,
        "customer": intent.customer,
        "description": intent.description,
        "last_payment_error": intent.last_payment_error.as_ref().map(|why| decline(why, intent)),
        "latest_charge": latest_charge,
        "livemode": false,
        "metadata": intent.metadata,
        "next_action": next_action,
        "on_behalf_of": null,
        "payment_method": intent.payment_method,
        "payment_method_configuration_details": null,
        "payment_method_options": {"card": {"installments": null, "mandate_options": null, "network": null, "request_three_d_secure": "automatic"}},
        "payment_method_types": intent.payment_method_types,
        "processing": null,
        "receipt_email": null,
        "review": null,
        "setup_future_usage": null,
        "shipping": null,
        "source": null,
        "statement_descriptor": null,
        "statement_descriptor_suffix": intent.statement_descriptor_suffix,
        "status": intent.status.as_str(),
        "transfer_data": null,
        "transfer_group": null,
    })
}

/// Where the customer authenticates.
pub fn customer_page(intent: &Intent, base_url: &str) -> String {
    format!("{base_url}/customer/{}?secret={}", intent.id, intent.secret)
}

fn decline(why: &Decline, intent: &Intent) -> Value {
    let mut members = json!({
        "type": "card_error",
        "code": why.code,
        "message": why.message,
        "charge": intent.charge.as_ref().map(|charge| charge.id.as_str()),
        "doc_url": format!("https://stripe.com/docs/error-codes/{}", why.code.replace('_', "-")),
    });
    if let Some(decline_code) = &why.decline_code {
        members["decline_code"] = decline_code.as_str().into();
    }
    if let Some(payment_method) = &why.payment_method {
        members["payment_method"] = json!({"id": payment_method, "object": "payment_method", "type": "card", "livemode": false});
    }
    members
}

/// A charge of `intent`.
pub fn charge(intent: &Intent, charge: &Charge) -> Value {
    let failed = charge.failure.is_some();
    let captured = charge.amount_captured > 0;
    // A canceled hold shows as refunded in full, though no money moved.
    let released = !captured && !failed && intent.status == IntentStatus::Canceled;
    let amount_refunded = if released { intent.amount } else { charge.amount_refunded };
    json!({
        "id": charge.id,
        "object": "charge",
        "amount": intent.amount,
        "amount_captured": charge.amount_captured,
        "amount_refunded": amount_refunded,
        "application": null,
        "balance_transaction": null,
        "billing_details": {"address": null, "email": null, "name": null, "phone": null},
        "captured": captured,
        "created": charge.created.as_second(),
        "currency": intent.currency,
        "customer": intent.customer,
        "description": intent.description,
        "disputed": charge.disputed,
        "failure_code": charge.failure.as_ref().map(|why| why.code.as_str()),
        "failure_message": charge.failure.as_ref().map(|why| why.message.as_str()),
        "livemode": false,
        "metadata": intent.metadata,
        "outcome": {
            "network_status": if failed { "declined_by_network" } else { "approved_by_network" },
            "reason": charge.failure.as_ref().and_then(|why| why.decline_code.as_deref()),
            "seller_message": if failed { "The bank did not return any further details with this decline." } else { "Payment complete." },
            "type": if failed { "issuer_declined" } else { "authorized" },
        },
        "paid": !failed,
        "payment_intent": intent.id,
        "payment_method": intent.payment_method.as_deref().or(charge.failure.as_ref().and_then(|why| why.payment_method.as_deref())),
        "payment_method_details": {"type": "card", "card": {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2034, "funding": "credit", "country": "US"}},
        "receipt_url": null,
        "refunded": released || (captured && charge.amount_refunded >= charge.amount_captured),
        "status": if failed { "failed" } else { "succeeded" },
    })
}

/// A refund.
pub fn refund(refund: &Refund) -> Value {
    let status = match refund.status {
        RefundStatus::Pending => "pending",
        RefundStatus::Succeeded => "succeeded",
        RefundStatus::Failed => "failed",
    };
    let mut members = json!({
        "id": refund.id,
        "object": "refund",
        "amount": refund.amount,
        "balance_transaction": null,
        "charge": refund.charge,
        "created": refund.created.as_second(),
        "currency": refund.currency,
        "destination_details": {"card": {"type": "refund", "reference_status": "pending", "reference_type": "acquirer_reference_number"}, "type": "card"},
        "metadata": refund.metadata,
        "payment_intent": refund.payment_intent,
        "reason": refund.reason,
        "receipt_number": null,
        "source_transfer_reversal": null,
        "status": status,
        "transfer_reversal": null,
    });
    if let Some(reason) = &refund.failure_reason {
        members["failure_reason"] = reason.as_str().into();
    }
    members
}

/// The dispute of a charge.
pub fn dispute(dispute: &Dispute, intent: &Intent, charge: &Charge) -> Value {
    let created = dispute.created.as_second();
    json!({
        "id": dispute.id,
        "object": "dispute",
        "amount": charge.amount_captured,
        "balance_transactions": [],
        "charge": charge.id,
        "created": created,
        "currency": intent.currency,
        "evidence": {},
        "evidence_details": {"due_by": created + 7 * 24 * 3600, "has_evidence": false, "past_due": false, "submission_count": 0},
        "is_charge_refundable": dispute.status == DisputeStatus::Won,
        "livemode": false,
        "metadata": {},
        "payment_intent": intent.id,
        "reason": "fraudulent",
        "status": dispute.status.as_str(),
    })
}

/// A page of a list, or of a search.
pub fn list(object: &str, url: &str, data: Vec<Value>, has_more: bool) -> Value {
    let mut page = json!({"object": object, "data": data, "has_more": has_more, "url": url});
    if object == "search_result" {
        page["next_page"] = Value::Null;
    }
    page
}

/// The event that tells of `object`. `request` is the id and the idempotency key of the request that caused it, when one did.
pub fn event(id: &str, kind: &str, object: Value, now: Timestamp, request: Option<(&str, Option<&str>)>) -> Value {
    json!({
        "id": id,
        "object": "event",
        "api_version": API_VERSION,
        "created": now.as_second(),
        "data": {"object": object},
        "livemode": false,
        "pending_webhooks": 1,
        "request": {"id": request.map(|(id, _)| id), "idempotency_key": request.and_then(|(_, key)| key)},
        "type": kind,
    })
}

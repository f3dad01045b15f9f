//! The customer: the page that a card with 3-D Secure sends them to, what they do there, and what happens by itself later.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde_json::Value;

use super::form::Form;
use super::ledger::{Change, Intent, IntentStatus, RefundStatus};
use super::{Account, Call, Done, Origin, bank, payment, refund, render};
use crate::sandbox::account::{Act, ActRefusal};
use crate::sandbox::book;
use crate::sandbox::fault::{Magic, Operation};
use crate::sandbox::listener::Reply;
use crate::sandbox::notify::Manner;

impl Account {
    /// The customer's browser opens the page: they pay a little later.
    pub(super) fn visit(self: &Arc<Self>, call: &Call) -> Reply {
        let id = call.path.trim_start_matches("/customer/");
        let secret = Form::parse(call.query.as_bytes()).ok().and_then(|query| query.text("secret").map(str::to_owned));
        let mut ledger = self.ledger();
        let intent = ledger.intent(id).filter(|intent| Some(&intent.secret) == secret.as_ref()).cloned();
        let Some(mut intent) = intent else {
            return html(404, "There is no such payment.");
        };
        if intent.status != IntentStatus::RequiresAction {
            return html(200, "There is nothing left to do for this payment.");
        }
        let back = intent.return_url.clone();
        if !intent.visited {
            intent.visited = true;
            let change = Change { intent: Some(intent), ..Change::default() };
            if let Err(refusal) = ledger.commit(change) {
                tracing::error!(error = %refusal, "the sandbox cannot write its journal");
                return html(500, "The bank is out of order.");
            }
            drop(ledger);
            self.pay_later(id.to_owned());
        }
        match back {
            Some(_) => html(200, "Your bank asks you to confirm this payment. You will be sent back to the shop."),
            None => html(200, "Your bank asks you to confirm this payment."),
        }
    }

    /// Does what a customer is told to do. `reference` is the attempt's key in the metadata, or the id of the payment intent.
    ///
    /// # Errors
    /// As [`ActRefusal`] says; nothing is changed then.
    pub(super) fn perform(&self, reference: &str, act: Act, part: Option<i64>) -> Result<Value, ActRefusal> {
        let mut ledger = self.ledger();
        let found = ledger.intent(reference).or_else(|| ledger.intents_of_attempt(reference).next_back()).cloned();
        let intent = found.ok_or_else(|| ActRefusal::Unknown(reference.to_owned()))?;
        let origin = self.nobody();
        let (id, amount) = (intent.id.clone(), intent.amount);
        let done = match act {
            Act::Pay => pay(intent, &origin)?,
            Act::Abandon => abandon(intent, &origin)?,
            Act::Dispute => bank::dispute(intent, &origin).map_err(ActRefusal::WrongState)?,
            Act::PortalRefund => refund::from_portal(intent, part, &origin).map_err(|refusal| {
                let message = refusal.body()["error"]["message"].as_str().unwrap_or_default().to_owned();
                ActRefusal::WrongState(message)
            })?,
        };
        ledger.commit(done.change)?;
        let shown = ledger.intent(&id).map(|intent| render::intent(intent, &self.base_url, true));
        drop(ledger);
        let (operation, magic) = match act {
            Act::Pay => (Operation::Pay, Magic::of_payment(amount)),
            _ => (Operation::Refund, None),
        };
        self.tell(done.events, Manner::of(self.faults.draw(operation), magic), &origin);
        Ok(shown.unwrap_or_default())
    }

    /// Takes up, after a restart, what customers and banks were about to do.
    pub(super) fn take_up(self: &Arc<Self>) {
        let (visited, due) = {
            let ledger = self.ledger();
            let visited: Vec<String> = ledger
                .intents()
                .iter()
                .filter(|intent| intent.status == IntentStatus::RequiresAction && intent.visited)
                .map(|intent| intent.id.clone())
                .collect();
            let due: Vec<(String, Timestamp)> = ledger.refunds().iter().filter_map(|refund| Some((refund.id.clone(), refund.due?))).collect();
            (visited, due)
        };
        for intent in visited {
            self.pay_later(intent);
        }
        for (refund, at) in due {
            self.settle_later(refund, at);
        }
    }

    fn pay_later(self: &Arc<Self>, intent: String) {
        let delay = Duration::from_millis(self.behaviour.pay_after_ms);
        if delay.is_zero() {
            return;
        }
        // Weak: a customer who is still thinking keeps no ended sandbox in memory.
        let account = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let Some(account) = account.upgrade() else {
                return;
            };
            let waits = account.ledger().intent(&intent).is_some_and(|intent| intent.visited);
            if waits && let Err(refusal) = account.perform(&intent, Act::Pay, None) {
                tracing::debug!(%intent, error = %refusal, "a customer of the sandbox did not pay");
            }
        });
    }

    pub(super) fn settle_later(self: &Arc<Self>, refund: String, due: Timestamp) {
        let account = Arc::downgrade(self);
        let wait = due.as_millisecond().saturating_sub(book::now().as_millisecond());
        let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0));
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let Some(account) = account.upgrade() else {
                return;
            };
            account.settle(&refund);
        });
    }

    fn settle(&self, refund: &str) {
        let mut ledger = self.ledger();
        let pending = ledger.refund(refund).filter(|refund| refund.status == RefundStatus::Pending).cloned();
        let Some(pending) = pending else { return };
        let Some(intent) = ledger.intent(&pending.payment_intent).cloned() else {
            return;
        };
        let origin = self.nobody();
        let done = refund::settle(intent, pending, origin.now);
        if let Err(refusal) = ledger.commit(done.change) {
            tracing::error!(error = %refusal, "the sandbox cannot write its journal");
            return;
        }
        drop(ledger);
        self.tell(done.events, Manner::of(self.faults.draw(Operation::Refund), None), &origin);
    }

    /// The origin of what no request caused.
    pub(super) fn nobody(&self) -> Origin<'_> {
        Origin { now: book::now(), key: None, request_id: None, base_url: &self.base_url, expand_charge: false }
    }
}

fn pay(intent: Intent, origin: &Origin<'_>) -> Result<Done, ActRefusal> {
    if intent.status != IntentStatus::RequiresAction {
        return Err(ActRefusal::WrongState(format!("{} is {} and does not wait for its customer", intent.id, intent.status.as_str())));
    }
    Ok(payment::approved(intent, origin))
}

fn abandon(mut intent: Intent, origin: &Origin<'_>) -> Result<Done, ActRefusal> {
    if intent.status != IntentStatus::RequiresAction {
        return Err(ActRefusal::WrongState(format!("{} is {} and cannot be abandoned", intent.id, intent.status.as_str())));
    }
    intent.visited = false;
    let shown = origin.show(&intent);
    Ok(Done::new(Change { intent: Some(intent), ..Change::default() }, shown, Vec::new()))
}

fn html(status: u16, sentence: &str) -> Reply {
    let page = format!("<!doctype html><meta charset=\"utf-8\"><title>Sandbox bank</title><p>{sentence}</p>\n");
    let mut response = Response::new(Bytes::from(page));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::OK);
    let kind = http::HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

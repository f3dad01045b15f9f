//! The customer: who scans the code or confirms in WeChat, what they are told to do, and what happens by itself later.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::account::Account;
use super::ledger::{Change, Order, Status};
use super::order::{self, Done};
use crate::sandbox::account::{Act, ActRefusal, BankAct};
use crate::sandbox::fault::{Magic, Operation};
use crate::sandbox::notify::Manner;

impl Account {
    /// Does what a customer is told to do. `reference` is the merchant's number of the order.
    pub(super) fn perform(&self, reference: &str, act: Act, part: Option<i64>) -> Result<Value, ActRefusal> {
        let now = self.moment.now();
        let mut ledger = self.ledger();
        let order = ledger.order(reference).map(|order| order::as_of(order, now)).ok_or_else(|| ActRefusal::Unknown(reference.to_owned()))?;
        let amount = order.amount;
        let done = match act {
            Act::Pay => pay(order, now)?,
            Act::Abandon => abandon(order)?,
            Act::Dispute => return Err(ActRefusal::WrongState("WeChat Pay's complaints are not on this wire".to_owned())),
            Act::PortalRefund => from_portal(order, part, now)?,
        };
        let (order, refund) = (done.change.order.clone(), done.change.refund.clone());
        ledger.commit(done.change)?;
        drop(ledger);
        let (operation, magic) = match act {
            Act::Pay => (Operation::Pay, Magic::of_payment(amount)),
            _ => (Operation::Refund, None),
        };
        let shown = order.as_ref().map(|order| order::shown(order, self.owner()));
        if let Some(order) = order.filter(|_| done.told) {
            self.tell(&order, refund.as_ref(), Manner::of(self.faults.draw(operation), magic));
        }
        Ok(shown.unwrap_or_default())
    }

    /// Does what the customer's bank is told to do. `reference` is the merchant's number of the refund.
    pub(super) fn bank_performs(&self, reference: &str, act: BankAct) -> Result<Value, ActRefusal> {
        if act != BankAct::ReturnRefund {
            return Err(ActRefusal::WrongState("WeChat Pay's complaints are not on this wire".to_owned()));
        }
        let mut ledger = self.ledger();
        let found = ledger.refund(reference).cloned();
        let found = found.and_then(|refund| Some((ledger.order(&refund.order)?.clone(), refund)));
        let (order, refund) = found.ok_or_else(|| ActRefusal::Unknown(reference.to_owned()))?;
        // What undoes a payment that must not stand does not come back here.
        if refund.status() != "SUCCESS" || refund.undoes().is_some() {
            return Err(ActRefusal::WrongState(format!("{reference} is {} and cannot come back", refund.status())));
        }
        let done = order::come_back(order, refund, self.moment.now());
        let (order, refund) = (done.change.order.clone(), done.change.refund.clone());
        ledger.commit(done.change)?;
        drop(ledger);
        if let Some(order) = order {
            self.tell(&order, refund.as_ref(), Manner::of(self.faults.draw(Operation::Refund), None));
        }
        Ok(done.answer)
    }

    /// Takes up, after a restart, what customers and the clearing were about to do.
    pub(super) fn take_up(self: &Arc<Self>) {
        let (unpaid, due) = {
            let ledger = self.ledger();
            let waits = |order: &&Order| order.status == Status::Unpaid && !order.abandoned;
            let unpaid: Vec<String> = ledger.orders().filter(waits).map(|order| order.number.clone()).collect();
            let due: Vec<(String, Timestamp)> = ledger.refunds().filter_map(|refund| Some((refund.number.clone(), refund.due?))).collect();
            (unpaid, due)
        };
        unpaid.into_iter().for_each(|order| self.pay_later(order));
        due.into_iter().for_each(|(refund, at)| self.settle_later(refund, at));
    }

    pub(super) fn pay_later(self: &Arc<Self>, order: String) {
        let delay = Duration::from_millis(self.behaviour.pay_after_ms);
        if delay.is_zero() {
            return;
        }
        // Weak: a customer who is still thinking keeps no ended sandbox in memory.
        let account = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let Some(account) = account.upgrade() else { return };
            let waits = account.ledger().order(&order).is_some_and(|order| order.status == Status::Unpaid && !order.abandoned);
            if waits && let Err(refusal) = account.perform(&order, Act::Pay, None) {
                tracing::debug!(%order, error = %refusal, "a customer of the sandbox did not pay");
            }
        });
    }

    pub(super) fn settle_later(self: &Arc<Self>, refund: String, due: Timestamp) {
        let account = Arc::downgrade(self);
        let wait = due.as_millisecond().saturating_sub(self.moment.now().as_millisecond());
        let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0));
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            if let Some(account) = account.upgrade() {
                account.settle(&refund);
            }
        });
    }

    fn settle(&self, refund: &str) {
        let mut ledger = self.ledger();
        let pending = ledger.refund(refund).filter(|refund| refund.done.is_none()).cloned();
        let Some((pending, order)) = pending.and_then(|refund| Some((refund.clone(), ledger.order(&refund.order)?.clone()))) else { return };
        let change = order::settle(order, pending, self.moment.now()).change;
        let (order, refund) = (change.order.clone(), change.refund.clone());
        if let Err(refusal) = ledger.commit(change) {
            tracing::error!(error = %refusal, "the sandbox cannot write its journal");
            return;
        }
        drop(ledger);
        if let Some(order) = order {
            self.tell(&order, refund.as_ref(), Manner::of(self.faults.draw(Operation::Refund), None));
        }
    }
}

fn pay(order: Order, now: Timestamp) -> Result<Done, ActRefusal> {
    if order.status != Status::Unpaid {
        return Err(ActRefusal::WrongState(format!("{} is {} and does not wait for its customer", order.number, order.status.as_str())));
    }
    Ok(order::pay(order, now))
}

fn abandon(mut order: Order) -> Result<Done, ActRefusal> {
    if order.status != Status::Unpaid {
        return Err(ActRefusal::WrongState(format!("{} is {} and cannot be abandoned", order.number, order.status.as_str())));
    }
    order.abandoned = true;
    Ok(Done { change: Change { order: Some(order), ..Change::default() }, ..Done::default() })
}

/// The portal tells of it at the order's address.
fn from_portal(order: Order, part: Option<i64>, now: Timestamp) -> Result<Done, ActRefusal> {
    let amount = part.unwrap_or(order.left());
    if amount < 1 || amount > order.left() {
        let (number, status, left) = (&order.number, order.status.as_str(), order.left());
        return Err(ActRefusal::WrongState(format!("{number} is {status} and has {left} left: {amount} cannot be given back")));
    }
    let mut refund = order::promised(&order, format!("PORTAL{}", uuid::Uuid::new_v4().simple()), amount);
    refund.notify_url = Some(order.notify_url.clone());
    Ok(order::give_back(order, refund, now))
}

//! The customer: who scans the code or confirms on the page, what they are told to do, and what happens by itself later.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::account::Account;
use super::ledger::{Change, Refund, Status, Trade};
use super::trade::{self, Done};
use crate::sandbox::account::{Act, ActRefusal};
use crate::sandbox::book;
use crate::sandbox::fault::{Magic, Operation};
use crate::sandbox::notify::Manner;

impl Account {
    /// Does what a customer is told to do. `reference` is the merchant's number of the trade, or Alipay's.
    pub(super) fn perform(&self, reference: &str, act: Act, part: Option<i64>) -> Result<Value, ActRefusal> {
        let now = book::now();
        let mut ledger = self.ledger();
        let found = ledger.trade(reference).or_else(|| ledger.trade_by_no(reference));
        let trade = found.map(|trade| trade::as_of(trade, now)).ok_or_else(|| ActRefusal::Unknown(reference.to_owned()))?;
        let amount = trade.amount;
        let done = match act {
            Act::Pay => pay(trade, now)?,
            Act::Abandon => abandon(trade)?,
            Act::Dispute => return Err(ActRefusal::WrongState("Alipay's customers have no disputes on this wire".to_owned())),
            Act::PortalRefund => from_portal(trade, part, now)?,
        };
        let (trade, refund) = (done.change.trade.clone(), done.change.refund.clone());
        ledger.commit(done.change)?;
        drop(ledger);
        let (operation, magic) = match act {
            Act::Pay => (Operation::Pay, Magic::of_payment(amount)),
            _ => (Operation::Refund, None),
        };
        let shown = trade.as_ref().map(trade::shown).map(Value::Object);
        if let Some(trade) = trade.filter(|_| done.told) {
            self.tell(&trade, refund.as_ref(), Manner::of(self.faults.draw(operation), magic));
        }
        Ok(shown.unwrap_or_default())
    }

    /// Takes up, after a restart, what customers and the clearing were about to do.
    pub(super) fn take_up(self: &Arc<Self>) {
        let (open, due) = {
            let ledger = self.ledger();
            let open: Vec<String> = ledger.trades().filter(|trade| trade.is_open() && !trade.abandoned).map(|trade| trade.number.clone()).collect();
            let due: Vec<(String, String, Timestamp)> =
                ledger.refunds().filter_map(|refund| Some((refund.trade.clone(), refund.number.clone(), refund.due?))).collect();
            (open, due)
        };
        for trade in open {
            self.pay_later(trade);
        }
        for (trade, refund, at) in due {
            self.settle_later(trade, refund, at);
        }
    }

    pub(super) fn pay_later(self: &Arc<Self>, trade: String) {
        let delay = Duration::from_millis(self.behaviour.pay_after_ms);
        if delay.is_zero() {
            return;
        }
        // Weak: a customer who is still thinking keeps no ended sandbox in memory.
        let account = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let Some(account) = account.upgrade() else { return };
            let waits = account.ledger().trade(&trade).is_some_and(|trade| trade.is_open() && !trade.abandoned);
            if waits && let Err(refusal) = account.perform(&trade, Act::Pay, None) {
                tracing::debug!(%trade, error = %refusal, "a customer of the sandbox did not pay");
            }
        });
    }

    pub(super) fn settle_later(self: &Arc<Self>, trade: String, refund: String, due: Timestamp) {
        let account = Arc::downgrade(self);
        let wait = due.as_millisecond().saturating_sub(book::now().as_millisecond());
        let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0));
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            if let Some(account) = account.upgrade() {
                account.settle(&trade, &refund);
            }
        });
    }

    fn settle(&self, trade: &str, refund: &str) {
        let mut ledger = self.ledger();
        let pending = ledger.refund(trade, refund).filter(|refund| refund.done.is_none()).cloned();
        let (Some(pending), Some(trade)) = (pending, ledger.trade(trade).cloned()) else { return };
        let change = trade::settle(trade, pending, book::now()).change;
        let (trade, refund) = (change.trade.clone(), change.refund.clone());
        if let Err(refusal) = ledger.commit(change) {
            tracing::error!(error = %refusal, "the sandbox cannot write its journal");
            return;
        }
        drop(ledger);
        if let Some(trade) = trade {
            self.tell(&trade, refund.as_ref(), Manner::of(self.faults.draw(Operation::Refund), None));
        }
    }
}

fn pay(trade: Trade, now: Timestamp) -> Result<Done, ActRefusal> {
    if !trade.is_open() || now >= trade.expires {
        return Err(ActRefusal::WrongState(format!("{} is {} and does not wait for its customer", trade.number, trade.status.as_str())));
    }
    Ok(trade::pay(trade, now))
}

fn abandon(mut trade: Trade) -> Result<Done, ActRefusal> {
    if !trade.is_open() {
        return Err(ActRefusal::WrongState(format!("{} is {} and cannot be abandoned", trade.number, trade.status.as_str())));
    }
    trade.abandoned = true;
    Ok(Done { change: Change { trade: Some(trade), ..Change::default() }, ..Done::default() })
}

fn from_portal(trade: Trade, part: Option<i64>, now: Timestamp) -> Result<Done, ActRefusal> {
    let amount = part.unwrap_or(trade.left());
    if trade.status != Status::Paid || amount < 1 || amount > trade.left() {
        let (number, status, left) = (&trade.number, trade.status.as_str(), trade.left());
        return Err(ActRefusal::WrongState(format!("{number} is {status} and has {left} left: {amount} cannot be given back")));
    }
    let number = format!("PORTAL{}", uuid::Uuid::new_v4().simple());
    Ok(trade::give_back(trade, Refund { trade: String::new(), number, amount, reason: None, due: None, done: None }, now))
}

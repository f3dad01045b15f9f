//! Money that moved at the channel without us: a refund made on the channel's own pages, a dispute. It is adopted (`domain/external.rs`), told to the
//! merchant, and counted; what cannot be true together with what is known is left in quarantine for a person.

use super::answer::FlowError;
use super::carrying::touched;
use super::flows::{Channel, Flows};
use super::settle::{OVERTAKEN, Written};
use crate::domain::{Adopted, Attempt, Change, DisputeKnown, External, Fact, News, Operation, OperationClass, PaymentId, Source};
use crate::provider::{Reply, Verb};
use crate::store::payment::EventRow;

/// What the channel says of a refund that was made there.
pub(super) enum Measured {
    /// It was done, and is so much.
    Refund(External),
    /// It is booked here already.
    Known,
    /// The channel has no such refund.
    NotThere,
    /// It was asked, and does not say: it must be asked again.
    NoWord,
    /// Its guard lets nobody ask: that is no silence of the channel's.
    Unasked,
}

impl Flows {
    /// Asks `channel` how much its refund `reference` of the payment `id` gave back.
    ///
    /// # Errors
    /// When the database cannot be read: then it is asked again, too.
    pub(super) async fn measure(&self, id: PaymentId, channel: &Channel, reference: &str) -> Result<Measured, FlowError> {
        let payment = self.reload(id).await?;
        if payment.has_refund(reference) {
            return Ok(Measured::Known);
        }
        let here = |pay: &&Attempt| pay.channel == channel.handle.id();
        let Some(pay) = payment.current_pay().filter(here) else { return Ok(Measured::NotThere) };
        let Ok(permit) = channel.handle.guard().admit(OperationClass::Resolve, self.shared.clock.boot()) else { return Ok(Measured::Unasked) };
        let asked_about = Attempt { operation: Operation::Refund, key: reference.to_owned(), reference: None, ..pay.clone() };
        Ok(match self.exchange(&payment, &asked_about, channel, Verb::QueryRefund, permit).await? {
            Reply::NotFound => Measured::NotThere,
            Reply::News { news: News { fact: Fact::Approved, money: Some(money), .. }, .. } => {
                Measured::Refund(External::Refund { reference: reference.to_owned(), money })
            }
            _ => Measured::NoWord,
        })
    }

    /// Adopts what happened at `channel` by itself to the payment `id`.
    pub(super) async fn adopt(&self, id: PaymentId, channel: &Channel, external: &External) -> Result<Adopted, FlowError> {
        for _ in 0..OVERTAKEN {
            let payment = self.reload(id).await?;
            // Read behind the payment: whoever adopts the same meanwhile moves the payment on, and this change is refused.
            let dispute = known(&self.shared.store.events(id).await?, external);
            let now = self.now();
            let mut draft = payment.clone();
            let adopted = draft.adopt(external, channel.handle.id(), self.new_key(channel).await?, dispute, now);
            if adopted != Adopted::Changed {
                return Ok(adopted);
            }
            let mut change = Change::between(&payment, touched(draft, now), Source::Notification);
            for (kind, body) in external.events(dispute) {
                change = change.telling(kind, body);
            }
            if let Written::Done(after) = self.write_change(change).await? {
                self.tell(&payment, &after, Source::Notification);
                match external {
                    External::DisputeOpened { .. } => channel.moved.a_dispute(),
                    External::DisputeClosed { .. } => channel.moved.a_decision(),
                    // Refunds are counted by their states, whoever brought the news.
                    External::Refund { .. } | External::RefundToMeasure { .. } | External::RefundReturned { .. } => {}
                }
                metrics::counter!("breakwater_external_events_total", "channel" => channel.handle.id().to_owned(), "kind" => external.as_str())
                    .increment(1);
                tracing::warn!(payment = %id, channel = channel.handle.id(), kind = external.as_str(), reference = external.reference(),
                    "money moved at the channel without us: it was booked, and the merchant is told");
                return Ok(Adopted::Changed);
            }
        }
        Err(FlowError::Internal(format!("{id} changes faster than what happened at the channel can be written")))
    }
}

/// What the timeline tells of the same dispute.
fn known(events: &[EventRow], external: &External) -> DisputeKnown {
    let tells = |kind: &str| {
        let of_this = |event: &&EventRow| {
            let body: serde_json::Value = serde_json::from_str(&event.body).unwrap_or_default();
            event.kind == kind && body["dispute"] == external.reference()
        };
        events.iter().find(of_this).is_some()
    };
    DisputeKnown { opened: tells("dispute.created"), closed: tells("dispute.closed") }
}

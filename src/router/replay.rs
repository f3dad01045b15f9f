//! A key that is known is answered for what it stands for, as that now is; nothing new is done.

use std::time::Duration;

use super::answer::{Answer, Claim, FlowError};
use super::flows::Flows;
use crate::domain::{PaymentId, PaymentRequest, Subject};

impl Flows {
    /// What a key that may be known stands for, if it is known and matches.
    pub(super) async fn known(&self, claim: Claim) -> Result<Option<Answer>, FlowError> {
        let Some(known) = self.shared.store.known_key(claim.digest).await? else { return Ok(None) };
        let payment = self.reload(known.payment).await?;
        if known.fingerprint != claim.fingerprint {
            return Err(FlowError::KeyReused { existing: payment.id, amount: payment.request.amount });
        }
        let began = match known.subject {
            Subject::Capture(n) => payment.attempt(n).map(|attempt| attempt.created_at),
            Subject::Refund(n) => payment.refund(n).map(|refund| refund.created_at),
            Subject::Payment | Subject::Cancel => Some(payment.created_at),
        };
        let settled = super::answer::is_settled(&payment, known.subject);
        let in_flight = !settled
            && known.subject != Subject::Cancel
            && began.is_some_and(|began| self.now().duration_since(began).unsigned_abs() < self.shared.settings.in_flight_for)
            && payment.attempts.iter().any(|attempt| attempt.lease_owner.is_some() && attempt.lease_until.is_some_and(|until| until > self.now()));
        if in_flight {
            return Err(FlowError::InFlight { existing: payment.id });
        }
        Ok(Some(Answer { payment: std::sync::Arc::new(payment), subject: known.subject, replayed: true, ours: Duration::ZERO }))
    }

    /// The answer to a key that stands for a payment already.
    pub(super) async fn replay(&self, existing: PaymentId, claim: Claim) -> Result<Answer, FlowError> {
        match self.known(claim).await? {
            Some(answer) => Ok(answer),
            None => Err(FlowError::InFlight { existing }),
        }
    }

    /// An order that another payment holds is told so, though no channel could take a new payment for it now either.
    pub(super) async fn taken_or(&self, request: &PaymentRequest, error: FlowError) -> Result<FlowError, FlowError> {
        let digest = crate::domain::OrderDigest::of(request.merchant, &request.order);
        let Some(holder) = self.shared.store.order_holder(digest).await? else { return Ok(error) };
        let free = self.shared.store.payment(holder).await?.is_some_and(|payment| payment.frees_its_order());
        Ok(if free { error } else { FlowError::DuplicateOrder { existing: holder } })
    }

    /// A known key is a replay, whatever keeps a new payment from being made.
    pub(super) async fn replay_or(&self, claim: Claim, error: FlowError) -> Result<Answer, FlowError> {
        match self.known(claim).await? {
            Some(answer) => Ok(answer),
            None => Err(error),
        }
    }
}

//! A refund: the merchant's wish to give captured money back. Attempts carry it out, always on the channel that captured, all with the same
//! number; it waits in a durable queue until the channel has taken it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, AttemptState};
use super::id::RefundId;
use super::operation::Operation;
use super::payment::{Outcome, Payment, names};

names! {
    /// Where a refund stands.
    RefundStatus {
        /// Queued, on its way, or in doubt.
        Processing => "processing",
        /// The channel gave the money back.
        Succeeded => "succeeded",
        /// The channel said no: what was reserved is free again. Final.
        Failed => "failed",
        /// It had succeeded, and the channel took it back. Final.
        Returned => "returned",
    }
}

names! {
    /// Who wished for it.
    RefundSource {
        /// The merchant.
        Merchant => "merchant",
        /// A cancel that found the money taken.
        Cancel => "cancel",
        /// The channel, by itself: somebody used its own pages.
        Channel => "channel",
    }
}

/// What a merchant asks for, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundRequest {
    /// The merchant's name for it, unique for ever; 1 to 64 characters.
    pub merchant_refund_id: String,
    /// Minor units; all that is left when `None`.
    pub amount: Option<i64>,
    /// Why, in the merchant's words.
    pub reason: Option<String>,
    /// The merchant's own notes.
    pub metadata: BTreeMap<String, String>,
}

/// One row of `refund`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// Number within the payment, from 1.
    pub n: i16,
    /// Its id, in its payment's bucket.
    pub id: RefundId,
    /// The merchant's name for it.
    pub merchant_refund_id: String,
    /// Minor units.
    pub amount: i64,
    /// Why.
    pub reason: Option<String>,
    /// The merchant's own notes.
    pub metadata: BTreeMap<String, String>,
    /// Who wished for it.
    pub source: RefundSource,
    /// Where it stands.
    pub status: RefundStatus,
    /// What is known about the money.
    pub outcome: Outcome,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Payment {
    /// Refund number `n`.
    pub fn refund(&self, n: i16) -> Option<&Refund> {
        self.refunds.iter().find(|refund| refund.n == n)
    }

    /// The last attempt that carries out refund `n`.
    pub fn refund_attempt(&self, n: i16) -> Option<&Attempt> {
        self.attempts.iter().rev().find(|attempt| attempt.operation == Operation::Refund && attempt.refund_n == Some(n))
    }

    /// Brings a refund's status and outcome in line with its last attempt.
    pub(super) fn derive_refund(&mut self, n: i16, now: Timestamp) {
        let Some(state) = self.refund_attempt(n).map(|attempt| attempt.state) else { return };
        let (status, outcome) = match state {
            AttemptState::Succeeded => (RefundStatus::Succeeded, Outcome::Approved),
            AttemptState::Declined | AttemptState::Closed => (RefundStatus::Failed, Outcome::Declined),
            AttemptState::Returned => (RefundStatus::Returned, Outcome::Declined),
            AttemptState::Unknown | AttemptState::Reversing => (RefundStatus::Processing, Outcome::Unknown),
            AttemptState::NotSent => (RefundStatus::Processing, Outcome::NotSent),
            _ => (RefundStatus::Processing, Outcome::Pending),
        };
        if let Some(refund) = self.refunds.iter_mut().find(|refund| refund.n == n)
            && (refund.status, refund.outcome) != (status, outcome)
        {
            (refund.status, refund.outcome) = (status, outcome);
            refund.updated_at = now;
        }
    }
}

//! What a flow answers: a payment as it now is, or a typed error that says what the caller may do.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use uuid::Uuid;

use crate::domain::{Failure, KeyClaim, Payment, PaymentId, PaymentStatus, RefundId, RefundSource, RefundStatus, Subject};
use crate::store::{JournalError, StoreError};

/// A merchant's idempotency key with its request's fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Digest of merchant and key: see `domain::id::guard_digest`.
    pub digest: Uuid,
    /// HMAC over method, route and canonical body.
    pub fingerprint: [u8; 32],
}

impl Claim {
    /// The claim, for a subject.
    pub const fn on(self, subject: Subject) -> KeyClaim {
        KeyClaim { digest: self.digest, fingerprint: self.fingerprint, subject }
    }
}

/// A payment, and the part of it that was asked about.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The payment as it now is.
    pub payment: Arc<Payment>,
    /// What the request made: the payment, or a refund, a capture, a cancel of it.
    pub subject: Subject,
    /// Whether the key had been used for this before: nothing new was done.
    pub replayed: bool,
    /// How much of the flow's time was ours, and not a channel's.
    pub ours: Duration,
}

impl Answer {
    /// The answer to a caller whose flow goes on, or lost the database on its way: the payment as it was last heard of. Whose time it was is not
    /// known then, so none of it is claimed as ours.
    pub(super) fn as_far_as_known(payment: Payment, subject: Subject) -> Self {
        Self { payment: Arc::new(payment), subject, replayed: false, ours: Duration::ZERO }
    }

    /// Whether what was asked about has come to an end that the caller waits for.
    pub fn is_settled(&self) -> bool {
        is_settled(&self.payment, self.subject)
    }
}

/// Whether a caller who waits for `subject` has what they wait for.
pub fn is_settled(payment: &Payment, subject: Subject) -> bool {
    match subject {
        Subject::Payment => payment.is_worth_answering(),
        // Money that was found taken is on its way back: the cancel is only done when it is.
        Subject::Cancel => payment.status.is_final() && (payment.captured == 0 || returned_for_cancel(payment)),
        Subject::Capture(n) => payment.attempt(n).is_none_or(|attempt| !attempt.state.is_open() && attempt.due_at.is_none()),
        Subject::Refund(n) => payment.refund(n).is_none_or(|refund| refund.status != RefundStatus::Processing),
    }
}

fn returned_for_cancel(payment: &Payment) -> bool {
    payment.refunds.iter().any(|refund| refund.source == RefundSource::Cancel && refund.status != RefundStatus::Processing)
}

/// Why a flow did not do as asked. Nothing was sent for any of these, and nothing written, except where a variant says otherwise.
#[derive(Debug, Error)]
pub enum FlowError {
    /// There is no such object, or it is another merchant's.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// No channel of this installation can carry this payment: settings, or the request, must change.
    #[error("no channel can take this payment: {0}")]
    NoChannel(String),
    /// The only channels that could carry it cannot express it.
    #[error("the channel cannot take this payment: {}", .0.message)]
    NotCarried(Failure),
    /// Every channel that could carry it is shut for now. Nothing was written; key and order stay free.
    #[error("every channel that could take this payment is shut")]
    EveryChannelShut {
        /// Whether one of them is sound and only has no room for another call.
        full: bool,
        /// When one may be open again.
        retry_after: Duration,
    },
    /// The key was used with another body or route.
    #[error("the idempotency key was used for another request")]
    KeyReused {
        /// What it stands for.
        existing: PaymentId,
        /// What that request was about.
        amount: i64,
    },
    /// The first request with this key is still being carried.
    #[error("the first request with this key is still in flight")]
    InFlight {
        /// Its payment.
        existing: PaymentId,
    },
    /// Another payment holds the order. The key stays free.
    #[error("the order is held by another payment")]
    DuplicateOrder {
        /// That payment.
        existing: PaymentId,
    },
    /// The merchant's refund id stands for another refund.
    #[error("the refund id was used before")]
    DuplicateRefund {
        /// That refund.
        existing: RefundId,
    },
    /// The payment's status does not allow it.
    #[error("a payment that is {status} cannot be {verb}")]
    WrongState {
        /// Its status.
        status: PaymentStatus,
        /// `captured`, `canceled` or `refunded`.
        verb: &'static str,
    },
    /// A capture of this hold is on its way.
    #[error("a capture of this payment is on its way")]
    CaptureInProgress,
    /// Whether there is money to give back is not known yet: ask again.
    #[error("the payment is not resolved yet")]
    PaymentUnresolved,
    /// More than is held.
    #[error("the capture exceeds what is held")]
    CaptureExceedsHold {
        /// What is, in minor units.
        capturable: i64,
    },
    /// More than was captured and not yet spoken for.
    #[error("the refund exceeds what was captured")]
    RefundExceedsCaptured {
        /// What is left, in minor units.
        refundable: i64,
    },
    /// The channel no longer takes refunds of so old a payment.
    #[error("the channel takes refunds for {days} days")]
    RefundWindowClosed {
        /// For how long it does.
        days: u64,
    },
    /// The payment may have no more refunds.
    #[error("a payment of this channel has at most {most} refunds, and {in_all} with those that failed")]
    TooManyRefunds {
        /// How many that did not fail.
        most: usize,
        /// How many with those that did.
        in_all: usize,
    },
    /// What was asked needs the channel that carried the payment, and the settings no longer have it. A key stays free.
    #[error("channel {channel} is not in the settings: put its table back")]
    ChannelNotConfigured {
        /// That channel.
        channel: String,
    },
    /// A notification that is not authentic or cannot be read.
    #[error(transparent)]
    Notification(#[from] crate::provider::NotificationError),
    /// Too many flows in flight, or the process is stopping.
    #[error("too many requests are in flight")]
    Overloaded,
    /// The journal did not write it, or could not say so. Nothing was sent.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The database could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A fault of ours: it is logged with its cause. What was sent is on disk, and will be resolved.
    #[error("an internal fault: {0}")]
    Internal(String),
}

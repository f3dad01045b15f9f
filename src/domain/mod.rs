//! Floor 0: what a payment is, and what may happen to it. No IO, no async, no clock (time is passed in), no floats; it imports nothing else
//! of the crate.
//!
//! Read `attempt.rs` first (the states of one try; `step.rs` has what leads from one to the next), then `payment.rs` (the whole), `settle.rs`
//! (what news does to it), `duty.rs` (what must be done next), `change.rs` (what is written).

pub mod attempt;
pub mod change;
pub mod contract;
pub mod duty;
pub mod external;
pub mod failure;
pub mod id;
pub mod method;
pub mod money;
pub mod network;
pub mod news;
pub mod operation;
pub mod part;
pub mod payment;
pub mod recurrence;
pub mod refund;
pub mod role;
pub mod route;
pub mod settle;
mod step;
pub mod topic;

pub use attempt::{Attempt, AttemptState, Fact, IllegalFact};
pub use change::{Change, Event, KeyClaim, Subject};
pub use contract::{Contract, REFUNDS_WITHOUT_LIMIT, Unanswered};
pub use duty::{Duty, FollowUp};
pub use external::{Adopted, DisputeKnown, External};
pub use failure::{Advice, Failure, FailureCode};
pub use id::{Bucket, EventId, OrderDigest, OverrideId, PaymentId, RefundId, RequestId, WebhookEndpointId, fnv1a};
pub use method::{MethodKind, PaymentMethod, Wallet};
pub use money::{Currency, Money};
pub use network::Network;
pub use news::{Exchange, Fields, News, Source};
pub use operation::{CallClass, Operation, OperationClass};
pub use part::{Part, Parts};
pub use payment::{CaptureMethod, Lease, NewAttempt, NextAction, Outcome, Payment, PaymentRequest, PaymentStatus};
pub use recurrence::Recurrence;
pub use refund::{Refund, RefundRequest, RefundSource, RefundStatus};
pub use role::Role;
pub use route::{Candidate, PassedOver, Plan};
pub use settle::Learned;

#[cfg(test)]
mod permutation_tests;
#[cfg(test)]
mod whole_tests;

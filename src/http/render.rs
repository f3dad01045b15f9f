//! What answers look like: the representation of `representation/`, which webhooks share, and the status code that goes with it.

pub use crate::representation::*;

use crate::domain::{Outcome, Payment, PaymentStatus, RefundStatus, Subject};

/// The status code that answers a request whose subject is now this.
pub fn status_code(payment: &Payment, subject: Subject) -> u16 {
    let open = matches!(payment.outcome, Outcome::Pending | Outcome::Unknown);
    match subject {
        Subject::Payment if open || payment.status == PaymentStatus::Processing => 202,
        Subject::Payment => 201,
        Subject::Refund(n) => match payment.refund(n).map(|refund| refund.status) {
            Some(RefundStatus::Processing) => 202,
            _ => 201,
        },
        Subject::Capture(_) | Subject::Cancel => {
            if crate::router::answer::is_settled(payment, subject) {
                200
            } else {
                202
            }
        }
    }
}

#[cfg(test)]
mod tests;

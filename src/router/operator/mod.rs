//! What operators do: switch channels (`switchboard.rs`), have the channels asked again, and say what an outcome was where no channel will
//! (`resolve.rs`). Each act says who and why, and is in the audit with what was before and after.
//!
//! What is refused here: a change of a payment that is not in doubt. What is known is known, also to operators; money that must go back goes back
//! as a refund.

mod any_contract;
pub mod resolve;
pub mod switchboard;

use super::answer::FlowError;
use super::flows::Flows;
use crate::domain::Role;
use crate::store::administration::Actor;
use crate::store::doubt::Requery;

pub use self::resolve::{Refusal, Resolution, Resolve, Verdict};
pub use self::switchboard::{Held, Seat, Switchboard};

/// Who acts: an operator whose token was proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Their name in the audit: `operator:NAME`.
    pub who: String,
    /// What they may do.
    pub role: Role,
}

/// Have channels asked now about what is open there.
#[derive(Clone, Debug)]
pub struct AskAgain {
    /// About what.
    pub what: Requery,
    /// Why, in their own words.
    pub why: Option<String>,
    /// Who wants it.
    pub operator: Operator,
}

impl actix::Message for AskAgain {
    /// How many attempts were made due.
    type Result = Result<i64, FlowError>;
}

impl Flows {
    /// Makes attempts due; the poller finds them at its next sweep, and each channel's share paces them.
    pub(super) async fn ask_again(&self, order: AskAgain) -> Result<i64, FlowError> {
        let actor = Actor { at: self.now(), who: &order.operator.who, why: order.why.as_deref() };
        let due = self.shared.store.requery(&order.what, actor).await?;
        tracing::info!(operator = %order.operator.who, attempts = due, "attempts are asked after again, because an operator wants it");
        Ok(due)
    }
}

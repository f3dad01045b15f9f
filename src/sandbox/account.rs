//! What every account has, whatever its provider speaks: a book, faults, a customer, notifications; and a [`Gate`] before it.
//!
//! The control routes, the sandbox's start and its end work on these two traits and know no provider. A provider's module opens its accounts
//! with [`super::Opening`], and gives back a [`super::control::Channel`]: an account with its gate.
//!
//! An account that is asked over HTTP also is a [`super::listener::HttpAccount`], and its gate is a [`super::listener::HttpGate`]. One that is
//! asked over bare sockets brings a gate of its own.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;

use super::book::Entry;
use super::fault::Faults;
use super::notify::Notifier;

/// One account at a provider, as the control routes see it.
pub trait Account: fmt::Debug + Send + Sync {
    /// The provider's name: `stripe`, `alipay`.
    fn provider(&self) -> &'static str;

    /// Where it is served, without a slash at the end: what the orchestrator's settings get as its address.
    fn base_url(&self) -> String;

    /// What it does wrong.
    fn faults(&self) -> &Faults;

    /// Its way to the orchestrator; `None` for a provider that sends nothing by itself.
    fn notifications(&self) -> Option<&Notifier>;

    /// Its book, from the `from`th entry on.
    fn book(&self, from: usize) -> Vec<Entry>;

    /// Forgets everything that was charged, refunded and answered.
    ///
    /// # Errors
    /// When the disk refuses.
    fn clear(&self) -> io::Result<()>;

    /// Does what a customer, or a person in the provider's portal, is told to do. `reference` is the attempt's key, or the provider's own name
    /// for the payment. `amount`, in minor units, is for a refund of a part. Gives back the payment as the provider shows it then.
    ///
    /// # Errors
    /// As [`ActRefusal`] says; nothing is changed then.
    fn act(&self, reference: &str, act: Act, amount: Option<i64>) -> Result<Value, ActRefusal>;

    /// Does what the payer's bank is told to do, days after the payment. `reference` is the key of the refund's attempt, or of the payment's, or the
    /// provider's own name for either. Gives back what it is about, as the provider shows it then. Most providers' wires tell nothing of it.
    ///
    /// # Errors
    /// As [`ActRefusal`] says; nothing is changed then.
    fn bank_acts(&self, reference: &str, _act: BankAct) -> Result<Value, ActRefusal> {
        Err(ActRefusal::WrongState(format!("{reference}: the wire of {} tells nothing of what the payer's bank does", self.provider())))
    }
}

/// The sockets before an account: open, or shut and refusing. An account behind two addresses has one gate that opens and shuts both.
pub trait Gate: fmt::Debug + Send + Sync {
    /// The address; of several, the first.
    fn address(&self) -> SocketAddr;

    /// Whether it listens.
    fn is_open(&self) -> BoxFuture<'_, bool>;

    /// Listens and serves; does nothing when it does already.
    ///
    /// # Errors
    /// When another program has taken the port by force.
    fn open(&self) -> BoxFuture<'_, io::Result<()>>;

    /// Stops listening and ends the idle connections. When this is over, connecting is refused; what is in flight is still answered.
    fn refuse(&self) -> BoxFuture<'_, ()>;

    /// As [`Gate::refuse`], and what is not answered within a second is cut off.
    fn end(&self) -> BoxFuture<'_, ()>;
}

/// What a customer, or a person in the provider's portal, can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Authenticates, scans or confirms, and so pays.
    Pay,
    /// Walks away: what they were about to pay is not paid.
    Abandon,
    /// Tells the bank that it was not them.
    Dispute,
    /// A refund made in the portal: of the rest, unless it is said how much.
    PortalRefund,
}

/// What the payer's bank can be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BankAct {
    /// Sends a refund back that had arrived, because the payer's account is closed: the merchant has the money again.
    ReturnRefund,
    /// Decides a dispute for the merchant, who keeps the money.
    DisputeWon,
    /// Decides a dispute for the payer.
    DisputeLost,
}

/// Why an act did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ActRefusal {
    /// No payment has that reference.
    #[error("no payment has the reference {0}")]
    Unknown(String),
    /// The payment is not in a state for it, or the provider has no such thing; the sentence says which.
    #[error("{0}")]
    WrongState(String),
    /// The journal refused.
    #[error("the sandbox cannot write its journal")]
    Disk(#[from] io::Error),
}

//! Which channels may carry a payment, in which order, and why.

use super::method::{MethodKind, Wallet};
use super::money::Currency;
use super::payment::PaymentRequest;

/// What routing must know of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub channel: String,
    /// Whether real money moves through it.
    pub livemode: bool,
    /// How its customers can pay.
    pub methods: Vec<MethodKind>,
    /// Whose codes and pages it has.
    pub wallets: Vec<Wallet>,
    /// The currencies that its account takes; empty for any.
    pub currencies: Vec<Currency>,
    /// Its place in the merchant's wishes: the lowest is tried first.
    pub priority: i32,
}

/// Why a channel is not in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Test payments use test channels, live payments live ones.
    Mode,
    /// It cannot take this payment method.
    Method,
    /// It does not speak for this wallet.
    Wallet,
    /// Its account does not take the currency.
    Currency,
    /// The merchant chose another.
    NotChosen,
}

impl Misfit {
    /// The reason in metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mode => "mode",
            Self::Method => "method",
            Self::Wallet => "wallet",
            Self::Currency => "currency",
            Self::NotChosen => "not_chosen",
        }
    }
}

/// The channels that may carry a payment, best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are tried.
    pub channels: Vec<String>,
    /// Those that may not, and why.
    pub misfits: Vec<(String, Misfit)>,
}

/// Plans over `candidates`. Of channels with the same priority the one that comes first in the settings is tried first. What belongs to one
/// account (a card's token) is never offered to a second one: without a chosen channel the first that fits is the only one.
pub fn plan(request: &PaymentRequest, candidates: &[Candidate]) -> Plan {
    let mut plan = Plan::default();
    let mut fitting: Vec<&Candidate> = Vec::new();
    for candidate in candidates {
        match misfit(request, candidate) {
            Some(misfit) => plan.misfits.push((candidate.channel.clone(), misfit)),
            None => fitting.push(candidate),
        }
    }
    fitting.sort_by_key(|candidate| candidate.priority);
    if request.method.belongs_to_one_account() {
        fitting.truncate(1);
    }
    plan.channels = fitting.into_iter().map(|candidate| candidate.channel.clone()).collect();
    plan
}

fn misfit(request: &PaymentRequest, candidate: &Candidate) -> Option<Misfit> {
    use super::method::PaymentMethod as M;
    let wallet = match &request.method {
        M::Qr { wallet } | M::Redirect { wallet, .. } => *wallet,
        M::Barcode { .. } | M::CardToken { .. } => None,
    };
    if request.pinned_channel.as_ref().is_some_and(|pinned| *pinned != candidate.channel) {
        Some(Misfit::NotChosen)
    } else if candidate.livemode != request.livemode {
        Some(Misfit::Mode)
    } else if !candidate.methods.contains(&request.method.kind()) {
        Some(Misfit::Method)
    } else if wallet.is_some_and(|wallet| !candidate.wallets.contains(&wallet)) {
        Some(Misfit::Wallet)
    } else if !candidate.currencies.is_empty() && !candidate.currencies.contains(&request.currency) {
        Some(Misfit::Currency)
    } else {
        None
    }
}

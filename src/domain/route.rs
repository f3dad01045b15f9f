//! Which channels may carry a payment, in which order, and why.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::id::fnv1a;
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
    /// The merchants whose account it is: only their payments go through it. Empty: all share it.
    pub owners: Vec<Uuid>,
}

impl Candidate {
    /// Whether this merchant's payments may go through it.
    pub fn is_open_to(&self, merchant: Uuid) -> bool {
        self.owners.is_empty() || self.owners.contains(&merchant)
    }
}

/// Why a channel is not in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// It belongs to other merchants. This goes before every other reason, and is for operators only: to a merchant, what belongs to others is
    /// not there.
    Owner,
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
    /// What the customer pays with belongs to one account, and an earlier channel is that of it.
    Account,
}

impl Misfit {
    /// The reason in metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Mode => "mode",
            Self::Method => "method",
            Self::Wallet => "wallet",
            Self::Currency => "currency",
            Self::NotChosen => "not_chosen",
            Self::Account => "account",
        }
    }
}

/// A channel that did not carry an attempt, and why: kept with the attempt that another one carried instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// Its id. Never that of a channel that belongs to other merchants.
    pub channel: String,
    /// A [`Misfit`], the state of its guard (`open`, `half_open`, `forced_open`), what it had no room in (`in_flight`, `over_rate`), `no_actor` when
    /// it was being rebuilt, or `not_expressible` when its protocol cannot say such a payment.
    pub reason: String,
}

impl PassedOver {
    /// How many are kept with an attempt: those that were passed over first.
    pub const MOST: usize = 16;

    /// `channel` was passed over for this reason.
    pub fn for_reason(channel: &str, reason: &str) -> Self {
        Self { channel: channel.to_owned(), reason: reason.to_owned() }
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

impl Plan {
    /// Those that may not carry it, as they are kept with its first attempt.
    pub fn passed_over(&self) -> Vec<PassedOver> {
        let known = self.misfits.iter().filter(|(_, misfit)| *misfit != Misfit::Owner);
        known.map(|(channel, misfit)| PassedOver::for_reason(channel, misfit.as_str())).collect()
    }

    /// Why each channel that the merchant may know of is not in the plan, in words for them.
    pub fn why_not(&self) -> String {
        let known = self.misfits.iter().filter(|(_, misfit)| *misfit != Misfit::Owner);
        known.map(|(channel, misfit)| format!("{channel}: {}", misfit.as_str())).collect::<Vec<_>>().join(", ")
    }
}

/// Plans over `candidates`. Channels with the same priority share the payments evenly: each order has its own order among them, the same whenever it
/// is asked for, so that what one of them cannot take falls on all others alike. What belongs to one account (a card's token) is never offered to
/// a second one: without a chosen channel the first that fits, in the settings' order, is the only one.
pub fn plan(request: &PaymentRequest, candidates: &[Candidate]) -> Plan {
    let mut plan = Plan::default();
    let mut fitting: Vec<&Candidate> = Vec::new();
    for candidate in candidates {
        match misfit(request, candidate) {
            Some(misfit) => plan.misfits.push((candidate.channel.clone(), misfit)),
            None => fitting.push(candidate),
        }
    }
    if request.method.belongs_to_one_account() {
        fitting.sort_by_key(|candidate| candidate.priority);
        let others = fitting.split_off(fitting.len().min(1));
        plan.misfits.extend(others.into_iter().map(|candidate| (candidate.channel.clone(), Misfit::Account)));
    } else {
        fitting.sort_by_cached_key(|candidate| (candidate.priority, turn(request, &candidate.channel)));
    }
    plan.channels = fitting.into_iter().map(|candidate| candidate.channel.clone()).collect();
    plan
}

/// A channel's place among its equals for this order: rendezvous hashing (Thaler and Ravishankar 1998) over FNV-1a, whose last bits a finalizer
/// spreads over the whole number.
fn turn(request: &PaymentRequest, channel: &str) -> u64 {
    let bytes = request.merchant.as_bytes().iter().chain(request.order.as_bytes()).chain(&[0]).chain(channel.as_bytes());
    let mut hash = fnv1a(bytes.copied());
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

fn misfit(request: &PaymentRequest, candidate: &Candidate) -> Option<Misfit> {
    let wallet = request.method.wallet();
    if !candidate.is_open_to(request.merchant) {
        Some(Misfit::Owner)
    } else if request.pinned_channel.as_ref().is_some_and(|pinned| *pinned != candidate.channel) {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::super::method::PaymentMethod;
    use super::super::payment::CaptureMethod;
    use super::*;

    const SHOP: Uuid = Uuid::from_u128(1);
    const NEIGHBOUR: Uuid = Uuid::from_u128(2);

    fn request(pinned: Option<&str>) -> PaymentRequest {
        PaymentRequest {
            merchant: SHOP,
            livemode: false,
            order: "A-1".to_owned(),
            amount: 1_250,
            currency: Currency::parse("CNY").expect("a currency"),
            method: PaymentMethod::Qr { wallet: Some(Wallet::Alipay) },
            capture_method: CaptureMethod::Automatic,
            pinned_channel: pinned.map(str::to_owned),
            description: None,
            metadata: BTreeMap::new(),
            return_url: None,
            expires_at: Timestamp::UNIX_EPOCH,
            deadline_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn candidate(channel: &str, owners: &[Uuid]) -> Candidate {
        Candidate {
            channel: channel.to_owned(),
            livemode: false,
            methods: vec![MethodKind::Qr],
            wallets: vec![Wallet::Alipay],
            currencies: Vec::new(),
            priority: 0,
            owners: owners.to_vec(),
        }
    }

    #[test]
    fn a_payment_goes_through_its_merchants_own_channels_and_shared_ones_and_never_through_anothers() {
        let mut candidates = [candidate("theirs", &[NEIGHBOUR]), candidate("ours", &[NEIGHBOUR, SHOP]), candidate("shared", &[])];
        candidates[2].priority = 1;
        let plan = plan(&request(None), &candidates);
        assert_eq!(plan.channels, ["ours", "shared"]);
        assert_eq!(plan.misfits, [("theirs".to_owned(), Misfit::Owner)]);
    }

    #[test]
    fn equal_channels_share_the_payments_and_what_one_cannot_take_falls_on_the_others_alike() {
        let mut candidates: Vec<Candidate> = ["a", "b", "c", "d"].iter().map(|id| candidate(id, &[])).collect();
        candidates.push(Candidate { priority: 1, ..candidate("last", &[]) });
        candidates.push(Candidate { priority: -1, methods: vec![MethodKind::Barcode], ..candidate("unfit", &[]) });
        let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
        for order in 0..12_000 {
            let request = PaymentRequest { order: format!("A-{order}"), ..request(None) };
            let first = plan(&request, &candidates);
            assert_eq!(first, plan(&request, &candidates), "the same order goes the same way");
            assert_eq!((first.channels.len(), first.channels.last().map(String::as_str)), (5, Some("last")));
            *counts.entry((first.channels[0].clone(), first.channels[1].clone())).or_default() += 1;
        }
        assert_eq!(counts.len(), 12);
        assert!(counts.values().all(|count| (850..1_150).contains(count)), "each first and each second about as often: {counts:?}");
    }

    #[test]
    fn a_token_goes_to_the_first_account_that_fits_always() {
        let mut candidates = [candidate("z", &[]), candidate("a", &[])];
        candidates.iter_mut().for_each(|candidate| candidate.methods = vec![MethodKind::CardToken]);
        for order in 0..50 {
            let method = PaymentMethod::CardToken { token: "pm_1".to_owned() };
            let request = PaymentRequest { order: format!("A-{order}"), method, ..request(None) };
            let plan = plan(&request, &candidates);
            assert_eq!(plan.channels, ["z"]);
            assert_eq!(plan.passed_over(), [PassedOver::for_reason("a", "account")]);
        }
    }

    #[test]
    fn choosing_anothers_channel_gets_nothing_and_is_told_nothing_of_it() {
        let candidates = [candidate("theirs", &[NEIGHBOUR]), candidate("shared", &[])];
        let plan = plan(&request(Some("theirs")), &candidates);
        assert_eq!(plan.channels, Vec::<String>::new());
        assert_eq!(plan.misfits, [("theirs".to_owned(), Misfit::Owner), ("shared".to_owned(), Misfit::NotChosen)]);
        assert_eq!(plan.why_not(), "shared: not_chosen");
        assert_eq!(plan.passed_over(), [PassedOver::for_reason("shared", "not_chosen")]);
    }
}

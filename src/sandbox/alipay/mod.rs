//! Alipay's side of the wire: one [`Account`] behind one address, `/gateway.do`.
//!
//! The script is `Account::answer` in `account.rs`: merge query and body (clients differ in what they put where), verify the application's signature
//! over the text as it came, know the method, draw the fault, execute in one uninterrupted step under one lock, on disk before the answer leaves,
//! and answer signed, or fail to. The gateway's own refusals are not signed; everything else is, over the bytes that are sent.
//!
//! **What is a trade, and when.** A code of `precreate` is only shown: a query, a close and a refund find no trade until somebody scans it. A page is
//! a trade once it is opened. A code that the customer shows (`pay`) is charged at once, or, when its last digits are 0003, after the payer's
//! password: 10003. Whoever must act does so after `pay_after_ms`, unless told otherwise.
//!
//! **Faults.** All of `precreate`, `pay` and `page.pay` is the operation `pay`. What a lost answer leaves behind was charged, the code that nobody
//! can have got included: that is the worst that can happen to an orchestrator. A 5xx is 20000 on this wire, a 429 is 40005.
//!
//! **Magic amounts**: 01 `BUYER_BALANCE_NOT_ENOUGH` (a code shown by the customer), `TOTAL_FEE_EXCEED` (one of the shop's), or a page that closes
//! unpaid; 02 charged and never answered; 03 not charged and never answered; 04 the notice is sent a hundred times; 05 charged at once and answered
//! after 8 s; 06 the notice's signature is wrong, and the answer's to `pay`; 07, when it is *refunded*, `fund_change` N for a minute.

mod account;
mod china;
mod customer;
mod ledger;
mod notice;
pub mod parameters;
mod reply;
mod trade;

use std::sync::{Arc, Mutex};

use self::ledger::Ledger;
use super::SandboxError;
use super::control::Channel;
use super::fault::Faults;
use super::opening::Opening;
use super::rsa::RsaKeys;
use super::settings::AccountSettings;

pub use self::account::Account;

/// Opens an account, with its gate still shut. Keys that are not given are made in the data directory.
///
/// # Errors
/// When its port is taken, or its journal or a key cannot be read or is damaged.
pub fn open(opening: &mut Opening<'_>, settings: &AccountSettings) -> Result<Channel, SandboxError> {
    let id = &settings.id;
    let reserved = opening.reserve(id, settings.port)?;
    let alipay = settings.alipay.clone();
    let folder = opening.file("");
    let keys = RsaKeys::find(&folder, id, ("app", alipay.app_public_key.as_deref()), ("alipay", alipay.alipay_private_key.as_deref()));
    let keys = Arc::new(keys.map_err(|source| SandboxError::Data { path: folder, source })?);
    let path = opening.file(&format!("{id}.journal"));
    let ledger = Ledger::open(&path).map_err(|source| SandboxError::Data { path, source })?;
    let behaviour = opening.behaviour();
    let account = Arc::new(Account {
        settings: alipay,
        behaviour,
        base_url: format!("http://{}", reserved.address()),
        notifier: opening.notifier(id, Arc::new(notice::Seal { keys: keys.clone() })),
        keys,
        ledger: Mutex::new(ledger),
        faults: Faults::new(behaviour.seed),
        ending: opening.ended(),
    });
    account.take_up();
    Ok(Channel::new(account.clone(), Box::new(reserved.before(account))))
}

//! WeChat Pay's side of the wire: one [`Account`] behind one address, `/v3/…`.
//!
//! The script is `Account::answer` in `account.rs`: verify the merchant's signature over the request as it came, know what is wished, refuse fields that
//! WeChat Pay would not know, draw the fault, execute in one uninterrupted step under one lock, on disk before the answer leaves, and answer signed,
//! or fail to. Refusals are signed, too; only the customer's page is not.
//!
//! **An order is there once it was made**, paid or not. Whoever must act does so after `pay_after_ms`, unless told otherwise. An unpaid order past its
//! `time_expire` is closed.
//!
//! **Time is the merchant's** ([`moment`]): signatures and expiries go by what the last signed request said, because tests move their clocks by hand.
//!
//! **Faults.** The making of an order is the operation `pay`, a close is `void`. What a lost answer leaves behind was paid, the code that nobody can
//! have got included: that is the worst that can happen to an orchestrator. A 5xx is `SYSTEM_ERROR`, a 429 `FREQUENCY_LIMITED`.
//!
//! **Magic amounts**: 01 `RULE_LIMIT`; 02 paid and never answered; 03 not made and never answered; 04 the notification is sent a hundred times; 05 paid
//! at once and answered after 8 s; 06 the notification's signature is wrong; 07, when it is *refunded*, `PROCESSING` for a minute.

mod account;
mod customer;
mod keys;
mod ledger;
mod moment;
mod notice;
mod order;
mod reply;

use std::sync::{Arc, Mutex};

use self::keys::Keys;
use self::ledger::Ledger;
use self::moment::Moment;
use super::SandboxError;
use super::control::Channel;
use super::fault::Faults;
use super::opening::Opening;
use super::settings::AccountSettings;

pub use self::account::Account;

/// Opens an account, with its gate still shut. Keys that are not given are made in the data directory.
///
/// # Errors
/// When its port is taken, or its journal or a key cannot be read or is damaged.
pub fn open(opening: &mut Opening<'_>, settings: &AccountSettings) -> Result<Channel, SandboxError> {
    let id = &settings.id;
    let reserved = opening.reserve(id, settings.port)?;
    let folder = opening.file("");
    let settings = settings.wechatpay.clone();
    let keys = Arc::new(Keys::find(&folder, id, &settings).map_err(|source| SandboxError::Data { path: folder, source })?);
    let path = opening.file(&format!("{id}.journal"));
    let ledger = Ledger::open(&path).map_err(|source| SandboxError::Data { path, source })?;
    let (behaviour, moment) = (opening.behaviour(), Arc::new(Moment::default()));
    let seal = notice::Seal { keys: keys.clone(), serial: settings.platform_serial.clone(), moment: moment.clone() };
    let account = Arc::new(Account {
        behaviour,
        base_url: format!("http://{}", reserved.address()),
        notifier: opening.notifier(id, Arc::new(seal)),
        settings,
        keys,
        moment,
        ledger: Mutex::new(ledger),
        faults: Faults::new(behaviour.seed),
        ending: opening.ended(),
    });
    account.take_up();
    Ok(Channel::new(account.clone(), Box::new(reserved.before(account))))
}

//! A bank's card host over ISO 8583:1987, behind two front ends that share one ledger: the other side of the channel's socket pool.
//!
//! The script is [`host::Host::exchange`]: read the message, know what it asks for, draw the fault, execute (one change, on disk before the answer
//! leaves), and answer, or fail to. It knows one terminal of one merchant, in one of four encodings and three framings.
//!
//! What it insists on: a payment or refund whose STAN was used that local day is a 94; a refund within what was taken (64); a capture of a hold that
//! stands, once, and not above it; a reversal of the whole, by field 90 (25 when the original never came, 64 for another amount). Advices (0220, 0420) may be
//! repeated, and are answered as the first time.
//!
//! What the magic amounts mean on this wire, by their last two digits, when they are paid: 01 declined with 05; 02 charged and never answered, so
//! that it ends reversed, net 0; 03 not charged and never answered, so that its reversal is answered 25; 04 answered twice; 05 charged at once
//! and answered after 8 s; 06 charged and answered to another merchant, which nobody may believe. 07, when it is *refunded*, is refused with 90 (the day
//! is being cut off) for a minute, and taken then. Of the faults, `throttle` is a 90 too, `error_*` a 96, `malformed` a frame whose message ends too soon, `huge` one of 9,000 bytes,
//! `duplicate_notification` and `late_notification` an answer that comes twice or 5 s late, `bad_signature` as 06. The operation of a
//! reversal is `void`, that of a word about the connection (0800) `query`.
//!
//! Field 7 is UTC. The book's references are the attempts' keys, worked out from field 7 and STAN: see `decide.rs`.

pub mod codec;
pub mod decide;
pub mod frame;
mod gate;
pub mod host;
pub mod ledger;

use std::sync::Arc;

use self::codec::Encoding;
use self::frame::Frames;
use self::gate::FrontEnds;
use self::host::Host;
use self::ledger::Ledger;
use super::SandboxError;
use super::account::Account;
use super::control::Channel;
use super::opening::Opening;
use super::settings::{AccountSettings, BankSettings};

/// Opens a bank's account: two ports, one memory.
///
/// # Errors
/// As [`SandboxError`] says.
pub(super) fn open(opening: &mut Opening<'_>, account: &AccountSettings) -> Result<Channel, SandboxError> {
    let settings = account.bank.clone();
    let reserved = [opening.reserve(&account.id, account.port)?, opening.reserve(&format!("{}.second", account.id), settings.second_port)?];
    let scheme = if settings.tls.is_some() { "tls" } else { "tcp" };
    let base_url = reserved.each_ref().map(|reserved| format!("{scheme}://{}", reserved.address())).join(",");
    let tls = match &settings.tls {
        None => None,
        Some(files) => Some(gate::acceptor(files).map_err(|source| SandboxError::Data { path: files.certificate.clone(), source })?),
    };
    let path = opening.file(&format!("{}.journal", account.id));
    let ledger = Ledger::open(&path).map_err(|source| SandboxError::Data { path, source })?;
    let (Some(encoding), Some(frames)) = wire(&settings) else {
        return Err(SandboxError::Settings(complaints(&account.id, &settings)));
    };
    let host = Host::new(settings, encoding, frames, opening.behaviour(), base_url, ledger);
    let account: Arc<dyn Account> = host.clone();
    Ok(Channel::new(account, Box::new(FrontEnds::new(reserved, host, tls))))
}

fn wire(settings: &BankSettings) -> (Option<Encoding>, Option<Frames>) {
    (Encoding::parse(&settings.profile), Frames::parse(&settings.framing, settings.tpdu))
}

/// What is wrong with a bank's settings, a sentence each.
pub(super) fn complaints(id: &str, settings: &BankSettings) -> Vec<String> {
    let (encoding, frames) = wire(settings);
    let mut complaints = Vec::new();
    if encoding.is_none() {
        complaints.push(format!(
            "account {id}: bank.profile {:?} is not known; use ascii_hex_bitmap, ascii_binary_bitmap, bcd, bcd_all_numeric",
            settings.profile
        ));
    }
    if frames.is_none() {
        complaints.push(format!("account {id}: bank.framing {:?} is not known; use two_bytes, two_bytes_with_itself, four_digits", settings.framing));
    }
    if settings.terminal.is_empty() || settings.terminal.len() > 8 || settings.merchant.is_empty() || settings.merchant.len() > 15 {
        complaints.push(format!("account {id}: bank.terminal must have 1 to 8 characters and bank.merchant 1 to 15"));
    }
    complaints
}

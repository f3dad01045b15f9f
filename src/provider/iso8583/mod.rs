//! A bank's card host over ISO 8583:1987: messages of numbered fields over persistent sockets. No HTTP, no idempotency key, no query.
//!
//! **What an unanswered message is.** A payment (0200, 0100) or refund that was not answered is unknown, is never sent again, and is *undone*: a
//! reversal advice (0420) names it by field 90, and is repeated (0421) until the bank has answered it with 00 (undone) or 25 (it never had it).
//! Captures are advices too (0220, 0221). So a customer is told "failed" only when the bank has said that nothing stands.
//!
//! **What a message is known by.** STAN (11), transmission time (7), terminal (41), merchant (42) and retrieval reference (37). They all come from
//! the attempt's key (`key.rs`), which is on disk before the first byte leaves; its STAN is leased, so that no two processes ever use one twice a
//! day. Words about the connection (0800) have STANs of their own pool's count: their class keeps them apart.
//!
//! **What differs from bank to bank** is in the account's fields (`bank.rs`): the encoding, the frame, zones, whether to sign on. What we do not
//! do: MACs and PIN blocks (fields 52, 64, 128 are read and never made), key exchange, reconciliation (0500), and security codes, which every
//! bank puts elsewhere: they are not sent.
//!
//! | answer's field 39 | pay, refund | capture | void, reversal | breaker |
//! |---|---|---|---|---|
//! | 00, 08, 11, 16 | approved (manual: authorized) | approved | undone | success |
//! | 10 | approved for field 4, when it says less; else unknown | the same | unknown | success |
//! | 51, 05, 54 … (`codes.rs`) | declined | declined | declined | success; 03, 58 soft failure |
//! | 77, 90 | not sent | not sent | not sent | soft failure |
//! | 25 | pay: unknown; refund: declined | declined | undone | success |
//! | 09, 94 | unknown | unknown | unknown | success |
//! | 06, 20, 22, 68, 79, 91, 95, 96, 98, A0, unlisted | unknown | unknown | unknown | soft failure |
//! | unreadable, of another type, of another message | unknown | unknown | unknown | hard failure |
//!
//! Read on in `codec.rs` (bytes), `message.rs` (what is sent), `answer.rs` (what comes back), and `channel/socket_pool/` (who carries it).

use std::time::Duration;

use jiff::Timestamp;

use self::bank::Bank;
use self::codec::Message;
use super::socket::{Correlation, Frame, Framing, Header, Incoming, Manners, Network, SocketProtocol, TlsMaterial};
use super::{AccountField, Call, Credentials, Protocol, Provider, Reply};
use crate::domain::{CallClass, Contract, Failure, FailureCode, Fields, MethodKind, News, REFUNDS_WITHOUT_LIMIT, Unanswered};

mod answer;
mod bank;
pub mod codec;
mod codes;
mod field;
mod kept;
mod key;
mod message;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
mod tls;
#[cfg(test)]
mod vectors;

pub use field::Profile;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a bank promises, as far as banks agree.
static CONTRACT: Contract = Contract {
    // Only advices are repeated, and must be until they are acknowledged. A STAN is the day's, but a repeat carries its day and hour; the wire's
    // dates have no year, so it must be well within one.
    key_lives_for: DAY.saturating_mul(180),
    replay_may_charge: true,
    charges_only_with_reference: false,
    can_close: false,
    several_captures: false,
    not_found_final_after: Duration::from_secs(60),
    refund_window: DAY.saturating_mul(180),
    refund_spacing: Duration::ZERO,
    refunds_at_most: REFUNDS_WITHOUT_LIMIT,
    // What was refused for now, or not answered and undone, goes again under a new STAN.
    refund_number_is_permanent: false,
    hold_lasts: DAY.saturating_mul(7),
    unanswered: Unanswered::Reverse,
    dead_after_expiry: None,
    methods: &[MethodKind::Card],
};

/// ISO 8583:1987 to one bank.
#[derive(Debug)]
pub struct Iso8583;

impl Provider for Iso8583 {
    fn name(&self) -> &'static str {
        "iso8583"
    }

    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    /// There is none: every bank gives its own.
    fn default_address(&self) -> &'static str {
        "tls://localhost:8583"
    }

    fn account_fields(&self) -> &'static [AccountField] {
        bank::FIELDS
    }

    /// A bank knows us by our certificate.
    fn needs_secret_key(&self) -> bool {
        false
    }

    fn refuses(&self, call: &Call) -> Option<Failure> {
        message::refuses(call)
    }

    fn protocol(&'static self) -> Protocol {
        Protocol::Socket(self)
    }

    fn default_timeout(&self) -> Duration {
        Duration::from_secs(25)
    }

    fn needs_numbers(&self) -> bool {
        true
    }

    fn mint_key(&self, _: u128, number: Option<u32>, now: Timestamp) -> String {
        key::mint(number.unwrap_or_default(), now)
    }
}

impl SocketProtocol for Iso8583 {
    fn fault(&self, credentials: &Credentials) -> Option<Failure> {
        let account = &credentials.account;
        let sentence = match (Bank::read(account), tls::material(account)) {
            (Err(field), _) => format!("the channel's account field {field} cannot be used"),
            (Ok(_), Err(sentence)) => format!("the channel's account field {sentence}"),
            (Ok(_), Ok(_)) => return None,
        };
        Some(Failure::new(FailureCode::ChannelRejected, None, &sentence))
    }

    fn framing(&self, credentials: &Credentials) -> Framing {
        Bank::read(&credentials.account).map_or(Framing { header: Header::TwoBytes, tpdu: None }, |bank| bank.framing)
    }

    fn front_ends(&self, credentials: &Credentials) -> String {
        credentials.account.optional_text("front_ends").unwrap_or(&credentials.address).to_owned()
    }

    fn tls(&self, credentials: &Credentials) -> Result<Option<TlsMaterial>, String> {
        tls::material(&credentials.account)
    }

    fn sockets(&self, credentials: &Credentials) -> usize {
        usize::try_from(credentials.account.number("sockets", 2)).unwrap_or(2)
    }

    fn manners(&self, credentials: &Credentials) -> Manners {
        Bank::read(&credentials.account).map_or_else(|_| Manners::default(), |bank| bank.manners)
    }

    fn frame(&self, call: &Call, credentials: &Credentials) -> Option<Frame> {
        let bank = Bank::read(&credentials.account).ok()?;
        framed(&message::message(call, &bank)?, &bank)
    }

    fn kept(&self, frame: &Frame, answer: Option<&[u8]>, credentials: &Credentials) -> (Fields, Fields) {
        Bank::read(&credentials.account).map_or_else(|_| Default::default(), |bank| kept::kept(&frame.bytes, answer, &bank))
    }

    fn network(&self, what: Network, number: u32, now: Timestamp, credentials: &Credentials) -> Option<Frame> {
        let bank = Bank::read(&credentials.account).ok()?;
        let code = match what {
            Network::SignOn => "001",
            Network::SignOff => "002",
            Network::Echo => "301",
        };
        let word = Message::new("0800").with(7, key::transmitted(now, bank.transmission)).with(11, key::stan(number)).with(70, code);
        framed(&word, &bank)
    }

    fn incoming(&self, message: &[u8], credentials: &Credentials) -> Incoming {
        let Ok(bank) = Bank::read(&credentials.account) else { return Incoming::Stray("no_account") };
        let mut read = Message::default();
        let whole = codec::read_into(&mut read, message, bank.profile).is_ok();
        let digits: Vec<u8> = read.mti.bytes().map(|digit| digit.wrapping_sub(b'0')).collect();
        let [0, class, function, _] = digits[..] else { return Incoming::Stray("unreadable") };
        if function % 2 == 0 {
            return if class == 8 && whole { asked(&read, &bank) } else { Incoming::Stray("not_an_answer") };
        }
        let foreign = |number, ours: &str| read.get(number).is_some_and(|theirs| theirs != ours);
        if foreign(41, &bank.terminal) || foreign(42, &bank.merchant) {
            return Incoming::Stray("of_another_terminal");
        }
        let Some(correlation) = correlation(&read) else { return Incoming::Stray("unreadable") };
        let code = read.get(39);
        let welcome = if class == 8 { whole && code == Some("00") } else { code != Some("77") };
        Incoming::Answer { correlation, welcome }
    }

    fn reply(&self, call: &Call, message: &[u8], credentials: &Credentials) -> Reply {
        match Bank::read(&credentials.account) {
            Ok(bank) => answer::reply(call, message, &bank),
            Err(_) => Reply::News { news: News::unknown(), class: CallClass::FailHard },
        }
    }
}

fn framed(message: &Message, bank: &Bank) -> Option<Frame> {
    let bytes = codec::write(message, bank.profile).ok().and_then(|bytes| bank.framing.wrap(&bytes))?;
    Some(Frame { bytes, correlation: correlation(message)? })
}

/// What a request and its answer share: the class of their types, the STAN, and the transmission time, which keeps apart the same STAN of two days
/// and the answer that comes after its STAN was used again.
fn correlation(message: &Message) -> Option<Correlation> {
    let class = message.mti.get(..2)?;
    Some(Correlation(format!("{class}{}{}", message.get(11)?, message.get(7)?)))
}

/// The bank's own word about the connection, granted.
fn asked(read: &Message, bank: &Bank) -> Incoming {
    let granted = [7, 11, 70].into_iter().fold(Message::new("0810").with(39, "00"), |word, number| word.with_some(number, read.get(number)));
    match framed(&granted, bank) {
        Some(frame) => Incoming::Ask(frame.bytes),
        None => Incoming::Stray("unanswerable"),
    }
}

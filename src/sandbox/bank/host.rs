//! The host behind both front ends: one message in, what follows, and how the answer goes out, or does not.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::codec::{Encoding, Message, decode, encode};
use super::decide::{Decision, decide, kind};
use super::frame::Frames;
use super::ledger::{Kind, Ledger};
use crate::sandbox::account::{Account, Act, ActRefusal};
use crate::sandbox::book::{self, Entry};
use crate::sandbox::fault::{Draw, Faults, Magic, Mode, Operation};
use crate::sandbox::notify::Notifier;
use crate::sandbox::settings::{BankSettings, Behaviour};

/// The answer to an amount that ends in …05.
const SLOW_ANSWER: Duration = Duration::from_secs(8);
/// How late an answer is under `late_notification`, which on this wire can only be an answer.
const LATENESS: Duration = Duration::from_secs(5);
/// Beyond any message of this wire, and what every framing can still say.
const HUGE: usize = 9_000;

/// How a message ends on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this frame.
    Answer {
        /// Header and message.
        frame: Vec<u8>,
        /// How often.
        copies: u32,
        /// A byte each 200 ms.
        drip: bool,
    },
    /// Never.
    Silence,
    /// With a reset of the connection.
    Reset,
}

/// One bank, as one merchant's account sees it.
#[derive(Debug)]
pub struct Host {
    settings: BankSettings,
    behaviour: Behaviour,
    encoding: Encoding,
    /// How messages are told apart.
    pub frames: Frames,
    base_url: String,
    ledger: Mutex<Ledger>,
    faults: Faults,
    /// Since when the refunds of a payment are cut off, by field 90: of …07 only, so it stays small.
    cut_off: Mutex<HashMap<String, Instant>>,
}

impl Host {
    /// A host with the memory of `ledger`; the settings were checked.
    pub fn new(settings: BankSettings, encoding: Encoding, frames: Frames, behaviour: Behaviour, base_url: String, ledger: Ledger) -> Arc<Self> {
        let faults = Faults::new(behaviour.seed);
        Arc::new(Self { settings, behaviour, encoding, frames, base_url, ledger: Mutex::new(ledger), faults, cut_off: Mutex::default() })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one frame's content, or fails to, as told. `signed_on` is the connection's.
    pub async fn exchange(&self, content: &[u8], signed_on: &AtomicBool) -> Ending {
        let Some((routing, message)) = self.frames.open(content) else { return Ending::Silence };
        // A bank does not answer what it cannot read: there is nobody to answer to.
        let Ok(message) = decode(message, self.encoding) else { return Ending::Silence };
        let answer = |code: &str, approval: Option<&str>| self.frames.close(routing, &encode(&answer(&message, code, approval), self.encoding));
        let plain = |frame| Ending::Answer { frame, copies: 1, drip: false };

        if message.mti.starts_with("08") {
            return self.word(&message, signed_on, |code| plain(answer(code, None))).await;
        }
        if self.settings.sign_on && !signed_on.load(Ordering::Relaxed) {
            return plain(answer("77", None));
        }
        if message.get(41).trim_end() != self.settings.terminal || message.get(42).trim_end() != self.settings.merchant {
            return plain(answer("03", None));
        }
        let Some(kind) = kind(&message) else { return plain(answer("12", None)) };
        let draw = self.faults.draw(operation(kind));
        let magic = self.magic(kind, &message);
        match draw.mode {
            Some(Mode::Throttle) => return plain(answer("90", None)),
            Some(Mode::ErrorNotProcessed) => {
                tokio::time::sleep(draw.latency).await;
                return plain(answer("96", None));
            }
            Some(Mode::TimeoutNotProcessed) => return Ending::Silence,
            Some(Mode::ResetBefore) => return Ending::Reset,
            _ if magic == Some(Magic::TimeoutNotProcessed) => return Ending::Silence,
            _ => {}
        }
        let decline = draw.mode == Some(Mode::Decline) || magic == Some(Magic::Decline);
        let decision = self.execute(&message, kind, decline);
        let magic = magic.filter(|_| !decision.repeated);
        self.wait(draw, magic).await;
        match (draw.mode, magic) {
            (Some(Mode::TimeoutProcessed), _) | (_, Some(Magic::TimeoutProcessed)) => Ending::Silence,
            (Some(Mode::ResetAfter), _) => Ending::Reset,
            (Some(Mode::ErrorProcessed), _) => plain(answer("96", None)),
            (Some(Mode::Malformed), _) => {
                let whole = encode(&self::answer(&message, &decision.code, decision.approval.as_deref()), self.encoding);
                plain(self.frames.close(routing, &whole[..whole.len() * 3 / 4]))
            }
            (Some(Mode::Huge), _) => {
                let mut longest = encode(&self::answer(&message, &decision.code, decision.approval.as_deref()), self.encoding);
                longest.resize(HUGE, b' ');
                plain(self.frames.close(routing, &longest))
            }
            (Some(Mode::BadSignature), _) | (_, Some(Magic::BadSignature)) => {
                // Banks sign nothing here: what cannot be believed is an answer to another merchant.
                let mut foreign = self::answer(&message, &decision.code, decision.approval.as_deref());
                foreign.set(42, "SOMEBODY ELSE  ");
                plain(self.frames.close(routing, &encode(&foreign, self.encoding)))
            }
            (mode, magic) => {
                let twice = mode == Some(Mode::DuplicateNotification) || magic == Some(Magic::DuplicateNotification);
                let frame = answer(&decision.code, decision.approval.as_deref());
                Ending::Answer { frame, copies: if twice { 2 } else { 1 }, drip: mode == Some(Mode::SlowDrip) }
            }
        }
    }

    /// A word about the connection.
    async fn word(&self, message: &Message, signed_on: &AtomicBool, answer: impl Fn(&str) -> Ending) -> Ending {
        let draw = self.faults.draw(Operation::Query);
        match draw.mode {
            Some(Mode::TimeoutProcessed | Mode::TimeoutNotProcessed) => return Ending::Silence,
            Some(Mode::ResetBefore | Mode::ResetAfter) => return Ending::Reset,
            Some(Mode::ErrorProcessed | Mode::ErrorNotProcessed | Mode::Decline) => return answer("96"),
            _ => {}
        }
        tokio::time::sleep(draw.latency).await;
        match (message.mti.as_str(), message.get(70)) {
            ("0800", "001") => {
                signed_on.store(true, Ordering::Relaxed);
                answer("00")
            }
            ("0800", "002") => {
                signed_on.store(false, Ordering::Relaxed);
                answer("00")
            }
            ("0800", "301") => answer("00"),
            ("0800", _) => answer("12"),
            // An answer to a word of ours; we say none.
            _ => Ending::Silence,
        }
    }

    /// What the amount asks for, on the first of its message.
    fn magic(&self, kind: Kind, message: &Message) -> Option<Magic> {
        if !matches!(kind, Kind::Purchase | Kind::Hold) {
            return None;
        }
        Magic::of_payment(message.get(4).parse().ok()?)
    }

    /// Works out what follows and makes it so, in one step under one lock.
    fn execute(&self, message: &Message, kind: Kind, decline: bool) -> Decision {
        let mut ledger = self.ledger();
        if kind == Kind::Refund && self.is_cut_off(message) {
            return Decision::only("90");
        }
        let mut decision = decide(&ledger, message, kind, decline, book::now());
        if let Err(refusal) = ledger.commit(std::mem::take(&mut decision.change)) {
            tracing::error!(error = %refusal, "the sandbox cannot write its journal");
            return Decision::only("96");
        }
        decision
    }

    /// A refund of …07 is not taken for a while after it was first asked for: the bank's day is being cut off.
    fn is_cut_off(&self, message: &Message) -> bool {
        let pending = message.get(4).parse().is_ok_and(Magic::refund_is_pending);
        if !pending || self.behaviour.pending_refund.is_zero() {
            return false;
        }
        let mut since = self.cut_off.lock().unwrap_or_else(PoisonError::into_inner);
        let began = *since.entry(message.get(90).to_owned()).or_insert_with(Instant::now);
        began.elapsed() < self.behaviour.pending_refund
    }

    async fn wait(&self, draw: Draw, magic: Option<Magic>) {
        // A real host's answers overtake each other; without this, ours would hardly ever.
        let shuffle = Duration::from_millis(self.faults.below(self.settings.shuffle_ms + 1));
        let slow = if magic == Some(Magic::SlowAnswer) { SLOW_ANSWER } else { Duration::ZERO };
        let late = if draw.mode == Some(Mode::LateNotification) { LATENESS } else { Duration::ZERO };
        let pause = draw.latency + slow + late + shuffle;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

impl Account for Host {
    fn provider(&self) -> &'static str {
        "iso8583"
    }

    /// Both front ends, with a comma between them.
    fn base_url(&self) -> String {
        self.base_url.clone()
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }

    /// A bank tells nobody anything by itself.
    fn notifications(&self) -> Option<&Notifier> {
        None
    }

    fn book(&self, from: usize) -> Vec<Entry> {
        self.ledger().entries(from).to_vec()
    }

    fn clear(&self) -> io::Result<()> {
        self.ledger().clear()
    }

    fn act(&self, reference: &str, _: Act, _: Option<i64>) -> Result<Value, ActRefusal> {
        Err(ActRefusal::WrongState(format!("{reference}: nobody acts on a card payment at a bank; disputes come as files, which this bank has not")))
    }
}

/// Which fault's operation a message is.
fn operation(kind: Kind) -> Operation {
    match kind {
        Kind::Purchase | Kind::Hold => Operation::Pay,
        Kind::Capture => Operation::Capture,
        Kind::Refund => Operation::Refund,
        Kind::Reversal => Operation::Void,
    }
}

/// The answer to a message: its type, and the fields that answers repeat.
fn answer(message: &Message, code: &str, approval: Option<&str>) -> Message {
    const REPEATED: [u8; 14] = [2, 3, 4, 7, 11, 12, 13, 32, 37, 41, 42, 49, 70, 90];
    let mut answer = Message { mti: format!("{}{}0", &message.mti[..2], if &message.mti[2..3] == "2" { 3 } else { 1 }), ..Message::default() };
    for number in REPEATED.into_iter().filter(|number| message.fields.contains_key(number)) {
        answer.set(number, message.get(number));
    }
    answer.set(39, code);
    if let Some(approval) = approval {
        answer.set(38, approval);
    }
    answer
}

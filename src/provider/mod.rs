//! Floor 1: the third parties' protocols, as pure encode and decode. A provider never waits, never connects, never reads a clock: it turns a
//! [`Call`] into an [`HttpRequest`], an [`HttpResponse`] into a [`Reply`], and a notification's bytes into facts. The channel's actor carries the bytes.
//!
//! A new provider is one module that implements [`Provider`], and one line in [`PROVIDERS`].
//!
//! What a provider must get right, because nobody above can: a fact is only stated when the message was understood *and* authentic; what
//! was processed or not is only `not_sent` where the contract lists it; everything else after the first byte is `unknown`.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::domain::{CallClass, CaptureMethod, Contract, External, Failure, Fields, Money, News, Operation, OperationClass, PaymentMethod, Wallet};

/// What is asked of a channel in one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Take or hold the customer's money.
    Pay,
    /// What became of a pay attempt?
    Query,
    /// Make sure that a pay attempt can no longer be paid.
    Close,
    /// Take money that is held.
    Capture,
    /// Release money that is held.
    Void,
    /// Undo a payment whose money must not stand.
    Reverse,
    /// Give money back.
    Refund,
    /// What became of a refund?
    QueryRefund,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Verb; 8] = [Self::Pay, Self::Query, Self::Close, Self::Capture, Self::Void, Self::Reverse, Self::Refund, Self::QueryRefund];

    /// The name in metrics (label `operation`), logs and the sandbox's faults.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::Query => "query",
            Self::Close => "close",
            Self::Capture => "capture",
            Self::Void => "void",
            Self::Reverse => "reversal",
            Self::Refund => "refund",
            Self::QueryRefund => "query_refund",
        }
    }

    /// Whose guard it passes.
    pub const fn class(self) -> OperationClass {
        match self {
            Self::Pay => OperationClass::Pay,
            Self::Refund => OperationClass::Refund,
            _ => OperationClass::Resolve,
        }
    }

    /// The verb that sends an operation for the first time.
    pub const fn sending(operation: Operation) -> Self {
        match operation {
            Operation::Pay => Self::Pay,
            Operation::Capture => Self::Capture,
            Operation::Void => Self::Void,
            Operation::Reversal => Self::Reverse,
            Operation::Refund => Self::Refund,
        }
    }
}

/// Everything a provider may need to say about one exchange. Owned, so that it can cross threads.
#[derive(Clone, Debug)]
pub struct Call {
    /// What is asked.
    pub verb: Verb,
    /// The attempt's key: the same with every repeat. Keys of further steps derive from it.
    pub key: String,
    /// The payment's id, as the channel may keep it in its metadata (`pay_…`).
    pub payment: String,
    /// The merchant's name for the order.
    pub order: String,
    /// What this attempt is about: the payment's amount, or the capture's or refund's part.
    pub money: Money,
    /// The whole payment's amount in minor units.
    pub payment_amount: i64,
    /// How the customer pays.
    pub method: PaymentMethod,
    /// Whether money is taken at once or held first.
    pub capture_method: CaptureMethod,
    /// The channel's name for the *pay* attempt, once known. For [`Verb::Pay`], its presence means that the first step was done.
    pub pay_reference: Option<String>,
    /// The channel's name for *this* attempt where that is another thing (a refund's).
    pub reference: Option<String>,
    /// The key of the pay attempt that this one is about, for every verb but [`Verb::Pay`].
    pub pay_key: Option<String>,
    /// What this attempt undoes, for [`Verb::Reverse`].
    pub undoes: Option<Undone>,
    /// Whether the money to be undone is only held, for [`Verb::Reverse`].
    pub held: bool,
    /// What is bought.
    pub description: Option<String>,
    /// Where the customer returns to.
    pub return_url: Option<String>,
    /// When the channel must stop taking it, where it can.
    pub expires_at: Timestamp,
    /// When the attempt was first written: repeats outside the key's life are not repeats.
    pub attempted_at: Timestamp,
    /// When this exchange is put together: what a protocol must say of the time, since a provider reads no clock.
    pub now: Timestamp,
    /// Where the channel's notifications reach us, where the settings say so.
    pub notify_url: Option<String>,
    /// Whether the same attempt may have reached the channel before: some protocols mark a repeat.
    pub repeat: bool,
    /// The card, unsealed for this exchange alone, for [`PaymentMethod::Card`].
    pub card: Option<CardData>,
}

/// The attempt that a reversal undoes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// A payment, or a refund.
    pub operation: Operation,
    /// Its key.
    pub key: String,
    /// The channel's name for it, if it gave one.
    pub reference: Option<String>,
}

/// A card as it goes to a bank. It is held for one exchange; `Debug` shows neither number nor code.
#[derive(Clone, Debug)]
pub struct CardData {
    /// The number: 12 to 19 digits.
    pub number: SecretString,
    /// 1 to 12.
    pub exp_month: u8,
    /// Four digits.
    pub exp_year: u16,
    /// As it stands on the card.
    pub holder: Option<String>,
    /// Three or four digits: only while the payment is first carried; it is never stored.
    pub security_code: Option<SecretString>,
}

/// A channel's secrets and account, as its settings give them.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Scheme, host and port of the service, without a slash at the end: for an address that only the customer's browser opens.
    pub address: String,
    /// The account's fields, as the provider named them.
    pub account: Account,
    /// The key that we authenticate with.
    pub secret_key: SecretString,
    /// The secrets that notifications may be signed with, newest first; more than one while they rotate.
    pub notification_secrets: Vec<SecretString>,
}

impl Credentials {
    /// The key, for the one line that puts it on the wire.
    pub fn secret_key(&self) -> &str {
        self.secret_key.expose_secret()
    }
}

/// An HTTP request to the channel, without its address: that is a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET` or `POST`.
    pub method: http::Method,
    /// Path and query, from `/`.
    pub path: String,
    /// Lower-case names. `host` and `content-length` are the transport's.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty for none.
    pub body: Vec<u8>,
}

/// An HTTP answer, read to its end within the caps.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body, as received.
    pub body: bytes::Bytes,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it lives for one exchange: boxing the common case would only cost an allocation")]
pub enum Reply {
    /// A fact about the attempt, and what the exchange says of the channel's health.
    News {
        /// What is known now.
        news: News,
        /// For the breaker.
        class: CallClass,
    },
    /// A first step is done: this reference must be on disk before the verb is sent again with it, for the next step.
    Step {
        /// The channel's name for the attempt.
        reference: String,
    },
    /// A query's answer: the channel does not have it. Whether that is final is for the contract's waiting time to say.
    NotFound,
    /// A query's answer: the channel has it, nothing was paid, and nothing is being paid; but a step that is still on its way to the channel
    /// could pay it. It must be closed before it is given up.
    Unpaid {
        /// The channel's name for the attempt: what the close needs.
        reference: String,
    },
}

/// A message from a provider, verified and understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The provider's id of the message: the same for every repeat.
    pub event_id: String,
    /// Its type, as the provider names it.
    pub kind: String,
    /// The key of the attempt it is about, if it names one.
    pub attempt_key: Option<String>,
    /// Our payment id, if it carries one.
    pub payment: Option<String>,
    /// The channel's name for the pay attempt: what the payment is found by where the message does not carry our id.
    pub pay_reference: Option<String>,
    /// What it says of that attempt; `None` for types that say nothing of an attempt's state.
    pub news: Option<News>,
    /// What it says of money that moved without us.
    pub external: Option<External>,
}

/// Why a notification was not believed. The answer to all of them is 400, and nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotificationError {
    /// No signature, or not in the provider's form.
    #[error("the notification is not signed as this provider signs")]
    Unsigned,
    /// The signature is not of one of the channel's secrets.
    #[error("the notification's signature does not match")]
    BadSignature,
    /// Signed too long ago, or in the future.
    #[error("the notification's time is outside the tolerance")]
    Stale,
    /// Signed, and not understood.
    #[error("the notification cannot be read")]
    Malformed,
}

/// A third party: its name, what it promises, and how it is spoken to.
pub trait Provider: Send + Sync {
    /// Its name in settings: lower case.
    fn name(&self) -> &'static str;

    /// What its protocol promises.
    fn contract(&self) -> &'static Contract;

    /// The address of its production service, used unless the settings give another.
    fn default_address(&self) -> &'static str;

    /// What a channel must know of its account beyond `secret_key` and `notification_secrets`.
    fn account_fields(&self) -> &'static [AccountField] {
        &[]
    }

    /// Whose codes and pages its channels have, unless the settings say otherwise.
    fn wallets(&self) -> &'static [Wallet] {
        &[]
    }

    /// Whether it is `secret_key` that we authenticate with: then a channel cannot do without it.
    fn needs_secret_key(&self) -> bool {
        true
    }

    /// Why this exchange must not take place at all: the channel cannot express it (an amount between two of its steps, a method that it
    /// does not have, a name that is still missing). The flow asks before it sends, and before it writes an intent where it can; what is
    /// refused is `not_sent`, with this failure, and says nothing of the channel's health. `None`: go ahead.
    fn refuses(&self, call: &Call) -> Option<Failure> {
        let _ = call;
        None
    }

    /// The words on the wire, and what carries them.
    fn protocol(&'static self) -> Protocol;

    /// How long a call may take from its first byte, unless the settings say otherwise.
    fn default_timeout(&self) -> Duration {
        Duration::from_secs(3)
    }

    /// How many calls of a class it documents to take from one account in a second, its customers' rate divided among the classes where it is one for
    /// all; none where it documents none. Kept unless the settings say otherwise.
    fn documented_rate(&self, _class: OperationClass, _livemode: bool) -> Option<u32> {
        None
    }

    /// Whether its attempts are known by numbers that must be unique a channel and day (a bank's STAN): then the flow leases one for every
    /// attempt and [`Provider::mint_key`] puts it into the attempt's key.
    fn needs_numbers(&self) -> bool {
        false
    }

    /// The key of a new attempt, 32 characters, which is everything that identifies it at the channel: it is on disk before the first byte
    /// leaves, and goes with every repeat. `chance` is 128 random bits; `number` is leased, for a provider that needs it.
    fn mint_key(&self, chance: u128, number: Option<u32>, now: Timestamp) -> String {
        let _ = (number, now);
        format!("{chance:032x}")
    }
}

/// How a provider is spoken to.
#[derive(Clone, Copy)]
pub enum Protocol {
    /// A request, an answer.
    Http(&'static dyn HttpProtocol),
    /// Frames over persistent sockets, answered in any order.
    Socket(&'static dyn SocketProtocol),
}

impl Protocol {
    /// The protocol over HTTP, if that is what it is: only those send notifications.
    pub fn http(self) -> Option<&'static dyn HttpProtocol> {
        match self {
            Self::Http(protocol) => Some(protocol),
            Self::Socket(_) => None,
        }
    }
}

/// What one exchange needs of the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assembled {
    /// Send this, and read the answer.
    Send(HttpRequest),
    /// Nothing is sent: the answer is known already (a signed page that only the customer's browser opens).
    Done(Reply),
}

/// A protocol over HTTP.
pub trait HttpProtocol: Send + Sync {
    /// Headers and body for one exchange. For a call that [`Provider::refuses`] names a reason against, it is one that moves no money.
    fn request(&self, call: &Call, credentials: &Credentials) -> Assembled;

    /// What the answer means. Never fails: what cannot be read, or is not authentic, is unknown, with [`CallClass::FailHard`].
    fn reply(&self, call: &Call, response: &HttpResponse, credentials: &Credentials) -> Reply;

    /// What is kept of an exchange for the timeline: an allow-list, never a secret, a card number or a customer's name.
    fn kept(&self, request: &HttpRequest, response: Option<&HttpResponse>) -> (Fields, Fields) {
        kept_of_http(request, response)
    }

    /// How it lists what a channel has, where it does: instead of many questions.
    fn lists(&self) -> Option<&'static dyn ListProtocol> {
        None
    }

    /// Whether putting a request together takes a signature that others should not wait for (RSA: about a millisecond of a processor): then it
    /// is done beside the channel's thread.
    fn signs_slowly(&self) -> bool {
        false
    }

    /// Verifies that a notification's bytes, as they came, are the provider's own and fresh.
    ///
    /// # Errors
    /// [`NotificationError`] says why it is not believed.
    fn verify_notification(&self, headers: &http::HeaderMap, body: &[u8], credentials: &Credentials, now: Timestamp)
    -> Result<(), NotificationError>;

    /// Reads a notification that was verified: when it came, or before it was stored. What it says may be sealed for the account.
    ///
    /// # Errors
    /// [`NotificationError::Malformed`].
    fn read_notification(&self, body: &[u8], credentials: &Credentials) -> Result<Notification, NotificationError>;

    /// How the provider wants a notification acknowledged: status, content type, body.
    fn acknowledgement(&self) -> (u16, &'static str, &'static str) {
        (200, "application/json", "{\"received\":true}")
    }
}

/// What every exchange over HTTP keeps: method, path without its query, status.
fn kept_of_http(request: &HttpRequest, response: Option<&HttpResponse>) -> (Fields, Fields) {
    let (mut asked, mut answered) = (Fields::default(), Fields::default());
    asked.keep("method", request.method.as_str());
    asked.keep("path", request.path.split('?').next());
    if let Some(response) = response {
        answered.keep("status", response.status.to_string().as_str());
    }
    (asked, answered)
}

/// Every provider of this build. A new one joins here, with one line, beside the `mod` line of its own.
pub const PROVIDERS: &[&dyn Provider] = &[
    // One a line, so that who joins changes no other's.
    &alipay::Alipay,
    &iso8583::Iso8583,
    &stripe::Stripe,
    &wechatpay::WechatPay,
];

/// The provider of that name in the settings.
pub fn find(name: &str) -> Option<&'static dyn Provider> {
    PROVIDERS.iter().copied().find(|provider| provider.name() == name)
}

mod account;
pub mod alipay;
pub mod iso8583;
mod listing;
pub mod socket;
pub mod stripe;
pub mod wechatpay;
pub mod xml;

pub use account::{Account, AccountField, FieldError, FieldKind};
pub use listing::{ListProtocol, Listed, Page, PageWanted};
pub use socket::SocketProtocol;

//! Text messages over HTTP: what is asked of a provider and what its answer means, pure. Who carries the request is told by the wiring
//! ([`Carrier`]), because connections are another module's.
//!
//! A text message is one part: 160 GSM-7 characters, or 70 of UTF-16 as soon as one character is outside that alphabet. Longer texts would be
//! charged and delivered in pieces, in any order.

pub mod alibaba;
mod part;
pub mod twilio;

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use secrecy::SecretString;

pub use self::part::{clipped, one_part};

/// Whose API is spoken.
#[derive(Clone, Debug)]
pub enum SmsProvider {
    /// Twilio's Messages.
    Twilio {
        /// A number of ours in E.164, or a messaging service's id (`MG…`).
        from: String,
    },
    /// Alibaba Cloud's Dysmsapi. Free text is not possible there: the alert is one variable of an approved template.
    Alibaba {
        /// The approved signature.
        sign_name: String,
        /// The approved template's code; its one variable is `message`.
        template: String,
    },
}

impl SmsProvider {
    /// Its production service.
    pub const fn default_address(&self) -> &'static str {
        match self {
            Self::Twilio { .. } => "https://api.twilio.com",
            Self::Alibaba { .. } => "https://dysmsapi.aliyuncs.com",
        }
    }
}

/// How text messages are sent. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct SmsSettings {
    /// Whose API is spoken.
    pub provider: SmsProvider,
    /// Scheme, host and port of the service.
    pub address: String,
    /// The account's id: an account SID, an access key's id.
    pub account: String,
    /// Its token or secret.
    pub secret: SecretString,
    /// Who gets them, in E.164: `+8613800000000`.
    pub to: Vec<String>,
    /// How long one send may take. 10 s.
    pub timeout: Duration,
}

/// A request to a provider of text messages.
#[derive(Clone, PartialEq, Eq)]
pub struct SmsRequest {
    /// Path and query, from `/`. The method is `POST`.
    pub path: String,
    /// Lower-case names; `host` and `content-length` are the carrier's.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty for none.
    pub body: String,
}

impl fmt::Debug for SmsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers hold the account's secret, or what is made from it.
        f.debug_struct("SmsRequest").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What became of a request on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carried {
    /// A whole answer.
    Answer {
        /// The status code.
        status: u16,
        /// The body.
        body: String,
    },
    /// Nothing left.
    NotSent(String),
    /// It may have arrived.
    Lost(String),
}

/// Carries requests to one provider. Every call ends within the settings' timeout.
pub trait Carrier: Send + Sync {
    /// Sends it, and waits for the answer.
    fn carry(&self, request: SmsRequest) -> BoxFuture<'_, Carried>;
}

/// What became of a text message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SmsOutcome {
    /// The provider has taken it.
    Accepted(String),
    /// Try again later: nothing was sent.
    Later(String),
    /// It may have been sent: a duplicate is better than a loss, so it is tried once more.
    Unknown(String),
    /// It will not get better by itself: number, content, account or settings.
    Refused(String),
}

impl SmsSettings {
    /// The request for one message. `nonce` is new for each try; `now` is in the signature.
    pub fn request(&self, to: &str, text: &str, reference: &str, now: Timestamp, nonce: &str) -> SmsRequest {
        match &self.provider {
            SmsProvider::Twilio { from } => twilio::request(&self.account, &self.secret, from, to, text),
            SmsProvider::Alibaba { sign_name, template } => {
                let host = self.address.split_once("://").map_or(self.address.as_str(), |(_, host)| host);
                let message = alibaba::Message { to, sign_name, template, text, reference };
                alibaba::request(&self.account, &self.secret, host, &message, now, nonce)
            }
        }
    }

    /// What became of it.
    pub fn outcome(&self, carried: Carried) -> SmsOutcome {
        match carried {
            Carried::NotSent(why) => SmsOutcome::Later(why),
            Carried::Lost(why) => SmsOutcome::Unknown(why),
            Carried::Answer { status, body } => match self.provider {
                SmsProvider::Twilio { .. } => twilio::outcome(status, &body),
                SmsProvider::Alibaba { .. } => alibaba::outcome(status, &body),
            },
        }
    }
}

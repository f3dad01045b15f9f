//! Stripe's objects, as far as we believe them, and what a status says.
//!
//! Every field is optional: what is absent, `null`, or of another type decides nothing by itself, and a status without what must come with
//! it (a paid one without an amount) is not understood rather than half understood.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::domain::{External, Fact, Failure, FailureCode, Money, News, NextAction};

use super::{amount, codes};

/// The longest id that we take from Stripe: its own limit.
const ID_MAX: usize = 255;

/// The longest address that a customer is sent to.
const URL_MAX: usize = 4096;

/// A PaymentIntent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) status: String,
    amount: Option<i64>,
    amount_received: Option<i64>,
    currency: Option<String>,
    capture_method: Option<String>,
    cancellation_reason: Option<String>,
    last_payment_error: Option<Box<ErrorBody>>,
    next_action: Option<NextStep>,
    /// An id, or the charge itself where it was asked for.
    latest_charge: Value,
    pub(super) metadata: Option<Metadata>,
}

/// A Refund.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RefundObject {
    pub(super) id: String,
    status: Option<String>,
    amount: Option<i64>,
    currency: Option<String>,
    failure_reason: Option<String>,
    /// An id, or the intent itself.
    payment_intent: Value,
    pub(super) metadata: Option<Metadata>,
}

/// A Dispute: the customer's bank asks for the money back.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Dispute {
    id: String,
    status: Option<String>,
    amount: Option<i64>,
    currency: Option<String>,
    pub(super) payment_intent: Value,
}

impl Dispute {
    /// What it says of the payment's money. An inquiry (`warning_…`) holds no money, and ends without any.
    pub(super) fn read(&self) -> Option<External> {
        let reference = Some(self.id.clone()).filter(|id| is_id("dp_", id) || is_id("du_", id))?;
        let money = amount::incoming(self.amount?, self.currency.as_deref()?).filter(|money| money.amount > 0)?;
        match self.status.as_deref()? {
            "needs_response" | "under_review" => Some(External::DisputeOpened { reference, money }),
            "won" => Some(External::DisputeClosed { reference, money, won: true }),
            "lost" => Some(External::DisputeClosed { reference, money, won: false }),
            _ => None,
        }
    }
}

/// What we gave Stripe to keep.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    pub(super) attempt: Option<String>,
    pub(super) payment: Option<String>,
    pub(super) reverses: Option<String>,
}

/// A page of a list or a search.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
    #[serde(default)]
    pub(super) has_more: bool,
}

/// The body of every refusal.
#[derive(Debug, Deserialize)]
pub(super) struct ErrorReply {
    pub(super) error: ErrorBody,
}

/// An error, in a refusal or in an intent's `last_payment_error`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorBody {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) code: Option<String>,
    pub(super) decline_code: Option<String>,
    message: Option<String>,
    pub(super) param: Option<String>,
    pub(super) payment_intent: Option<Box<Intent>>,
}

impl ErrorBody {
    /// Stripe's sentence, or ours.
    pub(super) fn message(&self) -> &str {
        self.message.as_deref().unwrap_or("Stripe gave no reason")
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NextStep {
    redirect_to_url: Option<Redirect>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Redirect {
    url: Option<String>,
}

/// What an intent's status says of the pay attempt.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it lives for one match: boxing the common case would only cost an allocation")]
pub(super) enum Reading {
    /// This.
    News(News),
    /// Nothing was paid and nothing is being paid, but it could still be confirmed.
    Unpaid,
    /// A status that we do not know, or one without what must come with it.
    Unclear,
}

impl Intent {
    /// Whether it is an intent that can be named in a path and kept in a row.
    pub(super) fn is_named(&self) -> bool {
        is_id("pi_", &self.id)
    }

    /// What it says of the pay attempt that it carries out.
    pub(super) fn read(&self) -> Reading {
        if !self.is_named() {
            return Reading::Unclear;
        }
        let news = |fact| News { captured: self.captured(), ..News::of(fact) }.with_reference(&self.id);
        match self.status.as_str() {
            "succeeded" => self.taken().map_or(Reading::Unclear, |money| Reading::News(news(Fact::Approved).with_money(money))),
            "requires_capture" => self.money().map_or(Reading::Unclear, |money| {
                Reading::News(News { capture_before: self.capture_before(), ..news(Fact::Authorized).with_money(money) })
            }),
            "processing" => Reading::News(news(Fact::Accepted)),
            "requires_action" => Reading::News(News { next_action: self.redirect(), ..news(Fact::ActionRequired) }),
            "canceled" => {
                let why = Failure::new(FailureCode::Closed, self.cancellation_reason.as_deref(), "closed at the channel: it can no longer be paid");
                Reading::News(News { failure: Some(why), ..news(Fact::Closed) })
            }
            "requires_payment_method" => match &self.last_payment_error {
                Some(error) => Reading::News(News { failure: Some(codes::declined(error)), ..news(Fact::Declined) }),
                None => Reading::Unpaid,
            },
            "requires_confirmation" => Reading::Unpaid,
            _ => Reading::Unclear,
        }
    }

    /// Whether its status says that money moved, moves, or waits for the customer's word: the opposite of a decline.
    pub(super) fn is_moving(&self) -> bool {
        matches!(self.status.as_str(), "succeeded" | "requires_capture" | "processing" | "requires_action")
    }

    /// Whether its status says that a hold was taken, or is being taken: the opposite of a capture or void that was refused.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self.status.as_str(), "succeeded" | "processing")
    }

    /// The amount that it is about.
    pub(super) fn money(&self) -> Option<Money> {
        amount::incoming(self.amount?, self.currency.as_deref()?).filter(|money| money.amount > 0)
    }

    /// How much was taken so far.
    pub(super) fn captured(&self) -> Option<i64> {
        amount::incoming(self.amount_received?, self.currency.as_deref()?).map(|money| money.amount)
    }

    /// The amount of a payment that succeeded. One that was not held first must have been taken whole: where Stripe says that it took
    /// another amount than the intent's, that amount is the one that counts, and none at all is not a success.
    fn taken(&self) -> Option<Money> {
        let money = self.money()?;
        let at_once = matches!(self.capture_method.as_deref(), Some("automatic" | "automatic_async"));
        match self.captured() {
            Some(0) => None,
            Some(amount) if at_once => Some(Money { amount, ..money }),
            None if self.amount_received.is_some() => None,
            _ => Some(money),
        }
    }

    fn capture_before(&self) -> Option<Timestamp> {
        let seconds = self.latest_charge.pointer("/payment_method_details/card/capture_before")?.as_i64()?;
        Timestamp::from_second(seconds).ok()
    }

    /// Where the customer must go. With Stripe's own script instead of an address there is nothing that we could pass on.
    fn redirect(&self) -> Option<NextAction> {
        let url = self.next_action.as_ref()?.redirect_to_url.as_ref()?.url.as_ref()?;
        let web = url.starts_with("https://") || url.starts_with("http://");
        (web && url.len() <= URL_MAX).then(|| NextAction::Redirect { url: url.clone(), method: "GET".to_owned(), fields: Default::default() })
    }
}

impl RefundObject {
    /// What it says of the attempt that it carries out; `None` when it is not understood, or a refund of another payment than `intent`.
    pub(super) fn read(&self, intent: Option<&str>) -> Option<News> {
        let of_another = intent.zip(self.payment_intent.as_str()).is_some_and(|(ours, theirs)| ours != theirs);
        if of_another || !is_refund_id(&self.id) {
            return None;
        }
        let news = match self.status.as_deref()? {
            "succeeded" => News::of(Fact::Approved).with_money(self.money()?),
            "pending" | "requires_action" => News::of(Fact::Accepted),
            "failed" | "canceled" => {
                let why = self.failure_reason.as_deref();
                News::declined(Failure::new(FailureCode::RefundFailed, why, "the refund was not carried out, or came back"))
            }
            _ => return None,
        };
        Some(news.with_reference(&self.id))
    }

    /// What it says when it is none of ours: somebody made it on Stripe's own pages. One that is still pending is told of again.
    pub(super) fn read_external(&self) -> Option<External> {
        let reference = Some(self.id.clone()).filter(|id| is_refund_id(id))?;
        let money = self.money().filter(|money| money.amount > 0)?;
        match self.status.as_deref()? {
            "succeeded" => Some(External::Refund { reference, money }),
            "failed" | "canceled" => Some(External::RefundReturned { reference, money }),
            _ => None,
        }
    }

    /// The payment that it is of.
    pub(super) fn payment_intent(&self) -> Option<String> {
        self.payment_intent.as_str().filter(|id| is_id("pi_", id)).map(str::to_owned)
    }

    fn money(&self) -> Option<Money> {
        amount::incoming(self.amount?, self.currency.as_deref()?)
    }
}

/// Stripe's refund ids: `re_`, and `pyr_` for methods that are not cards.
pub(super) fn is_refund_id(id: &str) -> bool {
    is_id("re_", id) || is_id("pyr_", id)
}

/// Whether `id` is one of Stripe's with that prefix: what may go into a path and a row.
pub(super) fn is_id(prefix: &str, id: &str) -> bool {
    let Some(rest) = id.strip_prefix(prefix) else { return false };
    !rest.is_empty() && id.len() <= ID_MAX && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

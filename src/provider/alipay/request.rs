//! What is sent to Alipay. One address for everything; `method` says what is wanted. The common parameters and the signature go into the query,
//! the business fields as one JSON text into the body: that is how Alipay's own libraries post.
//!
//! `out_trade_no` is the pay attempt's key and `out_request_no` the refund's: everything can be asked for by a number of ours, so that no answer
//! must have come back first. Alipay's `trade_no` is never used: it may not be known, and where both are sent it wins.

use serde_json::{Map, Value, json};

use crate::domain::method::RedirectFlow;
use crate::domain::{CallClass, CaptureMethod, Fact, Failure, FailureCode, News, NextAction, PaymentMethod, Wallet};
use crate::provider::{Assembled, Call, Credentials, HttpRequest, Reply, Verb};

use super::signing::{self, Parameters};
use super::{amount, china};

/// The one address.
const PATH: &str = "/gateway.do";

/// The longest subject, in characters; the rest is cut off.
const SUBJECT_MAX: usize = 256;

/// The longest `notify_url` and `return_url`.
const URL_MAX: usize = 256;

/// What marks the refund that undoes a payment, before the key of what it undoes. Alipay shows it to the customer as the reason.
const REVERSES: &str = "reversal of ";

/// Which of Alipay's methods carries a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Precreate,
    Pay,
    PagePay,
    Query,
    Close,
    Cancel,
    Refund,
    RefundQuery,
}

impl Api {
    /// The method of a call that is not refused.
    pub(super) fn of(call: &Call) -> Self {
        match (call.verb, &call.method) {
            (Verb::Pay, PaymentMethod::Barcode { .. }) => Self::Pay,
            (Verb::Pay, PaymentMethod::Redirect { .. }) => Self::PagePay,
            (Verb::Pay, _) => Self::Precreate,
            // A code that the customer showed may be charged at any moment: a cancel stops that, and gives back what it comes too late for.
            (Verb::Close, PaymentMethod::Barcode { .. }) => Self::Cancel,
            (Verb::Close, _) => Self::Close,
            (Verb::Refund | Verb::Reverse, _) => Self::Refund,
            // A reversal is done when nothing of the payment is left, whoever gave it back: that is the trade's own state.
            (Verb::QueryRefund, _) if call.undoes.is_none() => Self::RefundQuery,
            (Verb::Query | Verb::QueryRefund | Verb::Capture | Verb::Void, _) => Self::Query,
        }
    }

    pub(super) const fn method(self) -> &'static str {
        match self {
            Self::Precreate => "alipay.trade.precreate",
            Self::Pay => "alipay.trade.pay",
            Self::PagePay => "alipay.trade.page.pay",
            Self::Query => "alipay.trade.query",
            Self::Close => "alipay.trade.close",
            Self::Cancel => "alipay.trade.cancel",
            Self::Refund => "alipay.trade.refund",
            Self::RefundQuery => "alipay.trade.fastpay.refund.query",
        }
    }

    /// Whether `node` is the name of this method's answer.
    pub(super) fn is_answered_by(self, node: &str) -> bool {
        node.strip_suffix("_response").is_some_and(|name| name == self.method().replace('.', "_"))
    }

    const fn makes_a_trade(self) -> bool {
        matches!(self, Self::Precreate | Self::Pay | Self::PagePay)
    }
}

/// Why this call must not be sent.
pub(super) fn refuses(call: &Call) -> Option<Failure> {
    let refuse = |message: &str| Some(Failure::new(FailureCode::ChannelRejected, None, message));
    if matches!(call.verb, Verb::Capture | Verb::Void) || call.held || call.capture_method == CaptureMethod::Manual {
        return refuse("Alipay takes the money at once: there is nothing to hold or capture");
    }
    if matches!(call.verb, Verb::Pay | Verb::Refund) && amount::outgoing(call.money).is_none() {
        return refuse("Alipay takes CNY only, up to 100,000,000 yuan");
    }
    if matches!(call.verb, Verb::Refund) && trade(call).is_none() {
        return refuse("Alipay's trade is not known");
    }
    if call.verb != Verb::Pay {
        return None;
    }
    match &call.method {
        PaymentMethod::Qr { wallet: None | Some(Wallet::Alipay) } => None,
        PaymentMethod::Redirect { wallet: None | Some(Wallet::Alipay), flow: RedirectFlow::Page, .. } => None,
        PaymentMethod::Redirect { wallet: None | Some(Wallet::Alipay), .. } => refuse("this channel sends customers to Alipay's page only"),
        PaymentMethod::Barcode { code } if is_code(code) => None,
        PaymentMethod::Barcode { .. } => refuse("this is no code of Alipay: those have 16 to 24 digits and begin with 25 to 30"),
        _ => refuse("Alipay takes codes and its own page only"),
    }
}

/// A customer's code: <https://opendocs.alipay.com/open/194/106039>.
fn is_code(code: &str) -> bool {
    let prefix = code.get(..2).and_then(|prefix| prefix.parse::<u8>().ok());
    (16..=24).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_digit()) && prefix.is_some_and(|prefix| (25..=30).contains(&prefix))
}

/// `out_trade_no`: the key of the pay attempt that a call is about. What we keep as the channel's reference is that same number.
pub(super) fn trade(call: &Call) -> Option<&str> {
    match (call.verb, &call.undoes) {
        (Verb::Reverse | Verb::QueryRefund, Some(undone)) => Some(&undone.key),
        (Verb::Refund | Verb::QueryRefund | Verb::Reverse, _) => call.pay_key.as_deref(),
        _ => Some(&call.key),
    }
}

/// Everything for one exchange, or a page's address for which none is needed.
pub(super) fn request(call: &Call, credentials: &Credentials) -> Assembled {
    let api = Api::of(call);
    let Some(parameters) = signed(api, call, credentials) else {
        return Assembled::Done(Reply::News { news: News::not_sent("the request could not be signed"), class: CallClass::Neutral });
    };
    if api == Api::PagePay {
        return Assembled::Done(Reply::News { news: page(call, credentials, &parameters), class: CallClass::Success });
    }
    let (body, query): (Parameters, Parameters) = parameters.into_iter().partition(|(name, _)| name == "biz_content");
    Assembled::Send(HttpRequest {
        method: http::Method::POST,
        path: format!("{PATH}?{}", signing::encoded(&query)),
        headers: vec![("content-type", "application/x-www-form-urlencoded;charset=utf-8".to_owned()), ("user-agent", "breakwater".to_owned())],
        body: signing::encoded(&body).into_bytes(),
    })
}

/// The page is Alipay's affair and the customer's browser's. Nothing is there yet: the trade begins when the page is opened.
fn page(call: &Call, credentials: &Credentials, parameters: &Parameters) -> News {
    let url = format!("{}{PATH}?{}", credentials.address, signing::encoded(parameters));
    let next_action = NextAction::Redirect { url, method: "GET".to_owned(), fields: Default::default() };
    News { next_action: Some(next_action), ..News::of(Fact::ActionRequired) }.with_reference(&call.key)
}

/// Every parameter, with the signature.
fn signed(api: Api, call: &Call, credentials: &Credentials) -> Option<Parameters> {
    let account = &credentials.account;
    let mut parameters = Parameters::new();
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            parameters.insert(name.to_owned(), value.to_owned());
        }
    };
    put("app_id", account.text("app_id"));
    put("method", api.method());
    put("format", "JSON");
    put("charset", "utf-8");
    put("sign_type", "RSA2");
    put("timestamp", &china::time(call.now));
    put("version", "1.0");
    put("app_auth_token", account.text("app_auth_token"));
    if api.makes_a_trade() {
        put("notify_url", call.notify_url.as_deref().filter(|url| url.len() <= URL_MAX).unwrap_or_default());
    }
    if api == Api::PagePay {
        put("return_url", call.return_url.as_deref().filter(|url| url.len() <= URL_MAX).unwrap_or_default());
    }
    put("biz_content", &Value::Object(content(api, call, account.text("seller_id"))).to_string());
    let sign = signing::sign(&parameters, account.private_key("private_key")?)?;
    parameters.insert("sign".to_owned(), sign);
    Some(parameters)
}

/// The business fields.
fn content(api: Api, call: &Call, seller_id: &str) -> Map<String, Value> {
    let mut content = Map::new();
    content.insert("out_trade_no".to_owned(), json!(trade(call).unwrap_or_default()));
    let mut put = |name: &str, value: String| {
        content.insert(name.to_owned(), Value::String(value));
    };
    if api.makes_a_trade() {
        put("total_amount", amount::outgoing(call.money).unwrap_or_default());
        put("subject", subject(call));
        put("time_expire", china::time(call.expires_at));
        // It comes back with every notice: the payment is found by it.
        put("passback_params", call.payment.clone());
    }
    match (api, &call.method) {
        (Api::Precreate, _) => {
            put("product_code", "QR_CODE_OFFLINE".to_owned());
            put("seller_id", seller_id.to_owned());
        }
        (Api::Pay, PaymentMethod::Barcode { code }) => {
            put("product_code", "FACE_TO_FACE_PAYMENT".to_owned());
            put("scene", "bar_code".to_owned());
            put("auth_code", code.clone());
            put("seller_id", seller_id.to_owned());
        }
        (Api::PagePay, _) => put("product_code", "FAST_INSTANT_TRADE_PAY".to_owned()),
        (Api::Refund, _) => {
            put("refund_amount", amount::outgoing(call.money).unwrap_or_default());
            put("out_request_no", call.key.clone());
            if let Some(undone) = &call.undoes {
                put("refund_reason", format!("{REVERSES}{}", undone.key));
            }
        }
        (Api::RefundQuery, _) => put("out_request_no", call.key.clone()),
        _ => {}
    }
    content
}

/// What the customer reads: the description, or else the order.
fn subject(call: &Call) -> String {
    let text = call.description.as_deref().filter(|text| !text.trim().is_empty()).unwrap_or(&call.order);
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(SUBJECT_MAX).collect()
}

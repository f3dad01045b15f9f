//! What is sent to WeChat Pay: JSON to an address for each act, signed in a header.
//!
//! `out_trade_no` is the pay attempt's key and `out_refund_no` the refund's: everything can be asked for by a number of ours, so that no answer must
//! have come back first. WeChat Pay's own `transaction_id` is never used.

use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::{Value, json};

use crate::domain::method::RedirectFlow;
use crate::domain::{CallClass, CaptureMethod, Failure, FailureCode, News, PaymentMethod, Wallet};
use crate::provider::{Account, Assembled, Call, Credentials, HttpRequest, Reply, Verb};

use super::object;
use super::signing::{self, Stamp};

/// The longest description, in characters; the rest is cut off.
const DESCRIPTION_MAX: usize = 127;

/// The longest `notify_url`.
const URL_MAX: usize = 255;

/// The longest `openid`.
const OPENID_MAX: usize = 128;

/// What marks the refund that undoes a payment, before the key of what it undoes. WeChat Pay shows it to the customer as the reason.
const REVERSES: &str = "reversal of ";

/// Which of WeChat Pay's APIs carries a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// A code to show.
    Native,
    /// A page on a phone.
    H5,
    /// Parameters for WeChat's own browser.
    Jsapi,
    Query,
    Close,
    Refund,
    RefundQuery,
}

impl Api {
    /// The API of a call that is not refused; of one that is, one that moves no money.
    pub(super) fn of(call: &Call) -> Self {
        match (call.verb, &call.method) {
            (Verb::Pay, PaymentMethod::Redirect { flow: RedirectFlow::H5, .. }) => Self::H5,
            (Verb::Pay, PaymentMethod::Redirect { .. }) => Self::Jsapi,
            (Verb::Pay, PaymentMethod::Qr { .. }) => Self::Native,
            (Verb::Close, _) => Self::Close,
            (Verb::Refund | Verb::Reverse, _) => Self::Refund,
            (Verb::QueryRefund, _) => Self::RefundQuery,
            (Verb::Pay | Verb::Query | Verb::Capture | Verb::Void, _) => Self::Query,
        }
    }

    const fn method(self) -> http::Method {
        match self {
            Self::Query | Self::RefundQuery => http::Method::GET,
            _ => http::Method::POST,
        }
    }

    fn path(self, call: &Call, mchid: &str) -> String {
        match self {
            Self::Native => "/v3/pay/transactions/native".to_owned(),
            Self::H5 => "/v3/pay/transactions/h5".to_owned(),
            Self::Jsapi => "/v3/pay/transactions/jsapi".to_owned(),
            Self::Query => format!("/v3/pay/transactions/out-trade-no/{}?mchid={mchid}", trade(call).unwrap_or_default()),
            Self::Close => format!("/v3/pay/transactions/out-trade-no/{}/close", trade(call).unwrap_or_default()),
            Self::Refund => "/v3/refund/domestic/refunds".to_owned(),
            Self::RefundQuery => format!("/v3/refund/domestic/refunds/{}", call.key),
        }
    }
}

/// Why this call must not be sent.
pub(super) fn refuses(call: &Call) -> Option<Failure> {
    let refuse = |message: &str| Some(Failure::new(FailureCode::ChannelRejected, None, message));
    if matches!(call.verb, Verb::Capture | Verb::Void) || call.held || call.capture_method == CaptureMethod::Manual {
        return refuse("WeChat Pay takes the money at once: there is nothing to hold or capture");
    }
    if matches!(call.verb, Verb::Pay | Verb::Refund) && object::fen(call.money).is_none() {
        return refuse("WeChat Pay takes CNY only");
    }
    if call.verb == Verb::Refund && trade(call).is_none() {
        return refuse("WeChat Pay's order is not known");
    }
    if call.verb != Verb::Pay {
        return None;
    }
    match &call.method {
        PaymentMethod::Qr { wallet: None | Some(Wallet::Wechatpay) } => {}
        PaymentMethod::Redirect { wallet: None | Some(Wallet::Wechatpay), flow, openid, client_ip } => match flow {
            RedirectFlow::H5 if client_ip.is_none() => return refuse("WeChat Pay's page on a phone needs the customer's client_ip"),
            RedirectFlow::Jsapi if openid.as_ref().is_none_or(|id| id.is_empty() || id.len() > OPENID_MAX) => {
                return refuse("a payment in WeChat's own browser needs the customer's openid");
            }
            RedirectFlow::H5 | RedirectFlow::Jsapi => {}
            RedirectFlow::Page | RedirectFlow::App => return refuse("this channel has WeChat Pay's flows h5 and jsapi only"),
        },
        _ => return refuse("WeChat Pay takes codes that are shown to the customer, its page on a phone, and its own browser only"),
    }
    if notify_url(call).is_none() {
        return refuse("WeChat Pay takes no order without an address for its notifications: set public_url, with no query in it");
    }
    None
}

/// Where notifications go. A query in it is forbidden.
fn notify_url(call: &Call) -> Option<&str> {
    call.notify_url.as_deref().filter(|url| url.len() <= URL_MAX && !url.contains('?'))
}

/// `out_trade_no`: the key of the pay attempt that a call is about. What we keep as the channel's reference is that same number.
pub(super) fn trade(call: &Call) -> Option<&str> {
    match (call.verb, &call.undoes) {
        (Verb::Reverse | Verb::QueryRefund, Some(undone)) => Some(&undone.key),
        (Verb::Refund | Verb::QueryRefund | Verb::Reverse, _) => call.pay_key.as_deref(),
        _ => Some(&call.key),
    }
}

/// Everything for one exchange.
pub(super) fn request(call: &Call, credentials: &Credentials) -> Assembled {
    let (api, account) = (Api::of(call), &credentials.account);
    let (method, path) = (api.method(), api.path(call, account.text("mchid")));
    let body = content(api, call, account).map(|content| content.to_string()).unwrap_or_default();
    let Some(authorization) = signing::authorization(method.as_str(), &path, &body, &Stamp::of(call, "request"), account) else {
        return Assembled::Done(Reply::News { news: News::not_sent("the request could not be signed"), class: CallClass::Neutral });
    };
    let mut headers = vec![
        ("authorization", authorization),
        ("accept", "application/json".to_owned()),
        ("content-type", "application/json".to_owned()),
        ("user-agent", "breakwater".to_owned()),
    ];
    headers.extend(signing::wanted_key(account).map(|serial| ("wechatpay-serial", serial.to_owned())));
    Assembled::Send(HttpRequest { method, path, headers, body: body.into_bytes() })
}

/// The body; none for a question.
fn content(api: Api, call: &Call, account: &Account) -> Option<Value> {
    let mut content = match api {
        Api::Query | Api::RefundQuery => return None,
        Api::Close => return Some(json!({"mchid": account.text("mchid")})),
        Api::Refund => return Some(refund(call)),
        Api::Native | Api::H5 | Api::Jsapi => json!({
            "mchid": account.text("mchid"),
            "appid": account.text("appid"),
            "out_trade_no": call.key,
            "description": description(call),
            "time_expire": time(call.expires_at),
            // It comes back with every answer and notification: the payment is found by it.
            "attach": call.payment,
            "notify_url": notify_url(call),
            "amount": {"total": call.money.amount, "currency": call.money.currency.code()},
        }),
    };
    if let PaymentMethod::Redirect { openid, client_ip, .. } = &call.method {
        match api {
            Api::Jsapi => content["payer"] = json!({"openid": openid}),
            _ => content["scene_info"] = json!({"payer_client_ip": client_ip, "h5_info": {"type": "Wap"}}),
        }
    }
    Some(content)
}

fn refund(call: &Call) -> Value {
    let mut content = json!({
        "out_trade_no": trade(call).unwrap_or_default(),
        "out_refund_no": call.key,
        "amount": {"refund": call.money.amount, "total": call.payment_amount, "currency": call.money.currency.code()},
    });
    match &call.undoes {
        // What became of it is asked: a notification would have to be told from a refund's.
        Some(undone) => content["reason"] = json!(format!("{REVERSES}{}", undone.key)),
        None => content["notify_url"] = json!(notify_url(call)),
    }
    if content["notify_url"].is_null()
        && let Some(content) = content.as_object_mut()
    {
        content.remove("notify_url");
    }
    content
}

/// What the customer reads: the description, or else the order.
fn description(call: &Call) -> String {
    let text = call.description.as_deref().filter(|text| !text.trim().is_empty()).unwrap_or(&call.order);
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(DESCRIPTION_MAX).collect()
}

/// RFC 3339 with China's offset, cut to the second: a deadline never becomes later by it.
fn time(at: Timestamp) -> String {
    let there = Offset::constant(8).to_datetime(at);
    let (date, hour, minute, second) = (there.date(), there.hour(), there.minute(), there.second());
    format!("{date}T{hour:02}:{minute:02}:{second:02}+08:00")
}

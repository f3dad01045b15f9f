//! What the timeline keeps of an exchange with WeChat Pay: the numbers, the states, the amounts and the codes. Never a customer's id, a prepay id or a
//! signature.

use serde_json::Value;

use crate::domain::Fields;
use crate::provider::{HttpRequest, HttpResponse, kept_of_http};

/// Of the request's body.
const REQUEST: [(&str, &str); 5] = [
    ("out_trade_no", "/out_trade_no"),
    ("out_refund_no", "/out_refund_no"),
    ("time_expire", "/time_expire"),
    ("total", "/amount/total"),
    ("refund", "/amount/refund"),
];

/// Of the answer's body.
const REPLY: [(&str, &str); 10] = [
    ("code", "/code"),
    ("out_trade_no", "/out_trade_no"),
    ("transaction_id", "/transaction_id"),
    ("trade_state", "/trade_state"),
    ("success_time", "/success_time"),
    ("out_refund_no", "/out_refund_no"),
    ("refund_id", "/refund_id"),
    ("refund_status", "/status"),
    ("total", "/amount/total"),
    ("refund", "/amount/refund"),
];

pub(super) fn kept(request: &HttpRequest, response: Option<&HttpResponse>) -> (Fields, Fields) {
    let (mut asked, mut answered) = kept_of_http(request, response);
    keep(&mut asked, &request.body, &REQUEST);
    if let Some(response) = response {
        keep(&mut answered, &response.body, &REPLY);
    }
    (asked, answered)
}

fn keep(fields: &mut Fields, body: &[u8], names: &[(&'static str, &str)]) {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return };
    for (name, place) in names {
        match body.pointer(place) {
            Some(Value::String(text)) => fields.keep(name, text.as_str()),
            Some(Value::Number(number)) => fields.keep(name, number.to_string().as_str()),
            _ => {}
        }
    }
}

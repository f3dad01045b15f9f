//! What the timeline keeps of an exchange with Alipay: the method, the numbers, the amounts and the codes. Never a customer's code, name or signature.

use serde_json::Value;

use super::envelope::Envelope;
use super::signing::decoded;
use crate::domain::Fields;
use crate::provider::{HttpRequest, HttpResponse};

/// Of the answer's node.
const REPLY: [&str; 11] = [
    "code",
    "sub_code",
    "out_trade_no",
    "trade_no",
    "trade_status",
    "total_amount",
    "refund_status",
    "refund_fee",
    "fund_change",
    "action",
    "retry_flag",
];

/// Of the request's `biz_content`.
const REQUEST: [&str; 6] = ["out_trade_no", "total_amount", "refund_amount", "out_request_no", "product_code", "time_expire"];

pub(super) fn kept(request: &HttpRequest, response: Option<&HttpResponse>) -> (Fields, Fields) {
    let (mut asked, mut answered) = (Fields::default(), Fields::default());
    let query = request.path.split_once('?').map_or("", |(_, query)| query).as_bytes();
    let parameters = [query, &request.body].map(|form| decoded(form).unwrap_or_default());
    let value = |name: &str| parameters.iter().find_map(|form| form.get(name)).map(String::as_str);
    asked.keep("method", value("method"));
    let content: Value = value("biz_content").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    for name in REQUEST {
        asked.keep(name, content.get(name).and_then(Value::as_str));
    }
    if let Some(response) = response {
        answered.keep("status", response.status.to_string().as_str());
        let node: Value = Envelope::open(&response.body).and_then(|envelope| serde_json::from_str(envelope.object).ok()).unwrap_or_default();
        for name in REPLY {
            answered.keep(name, node.get(name).and_then(Value::as_str));
        }
    }
    (asked, answered)
}

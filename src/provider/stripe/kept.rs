//! What the timeline keeps of an exchange with Stripe: names, amounts, statuses and codes. Never a token, a header with a key, or a customer's name.

use serde_json::Value;

use crate::domain::Fields;
use crate::provider::{HttpRequest, HttpResponse};

/// Where the answer's values are, with the names that the timeline gives them.
const REPLY: [(&str, &str); 8] = [
    ("/id", "id"),
    ("/object", "object"),
    ("/status", "state"),
    ("/error/type", "error_type"),
    ("/error/code", "error_code"),
    ("/error/decline_code", "decline_code"),
    ("/last_payment_error/code", "last_error_code"),
    ("/error/param", "error_param"),
];

pub(super) fn kept(request: &HttpRequest, response: Option<&HttpResponse>) -> (Fields, Fields) {
    let (mut asked, mut answered) = (Fields::default(), Fields::default());
    asked.keep("method", request.method.as_str());
    asked.keep("path", request.path.split('?').next());
    let body = std::str::from_utf8(&request.body).unwrap_or_default();
    for name in ["amount", "currency", "capture_method", "amount_to_capture", "payment_intent"] {
        let value = body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        asked.keep(name, value);
    }
    if let Some(response) = response {
        answered.keep("status", response.status.to_string().as_str());
        answered.keep("request_id", response.headers.get("request-id").and_then(|id| id.to_str().ok()));
        let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        for (place, name) in REPLY {
            answered.keep(name, body.pointer(place).and_then(Value::as_str));
        }
    }
    (asked, answered)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sample::{answer, call, credentials, error};
    use super::*;
    use crate::provider::Verb;

    #[test]
    fn what_is_kept_names_the_exchange_and_holds_no_token_and_no_key() {
        let request = super::super::request::request(&super::super::sample::creating(), &credentials(&[]));
        let refusal = answer(402, &error("card_error", Some("card_declined")));
        let (asked, answered) = kept(&request, Some(&refusal));
        assert_eq!((asked.get("path"), asked.get("amount")), (Some("/v1/payment_intents"), Some("8888")));
        assert_eq!((answered.get("status"), answered.get("error_code")), (Some("402"), Some("card_declined")));
        let shown = json!([asked, answered]).to_string();
        assert!(!shown.contains("pm_card_visa") && !shown.contains("sk_test"), "{shown}");
        let (asked, answered) = kept(&super::super::request::request(&call(Verb::Query), &credentials(&[])), None);
        assert_eq!((asked.get("method"), answered.get("status")), (Some("GET"), None));
    }
}

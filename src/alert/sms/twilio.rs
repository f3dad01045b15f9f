//! Twilio's Messages resource: a form with basic authentication, answered 201 with JSON. It has no idempotency key, so what may have been sent
//! and is tried again may arrive twice.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{SmsOutcome, SmsRequest};

/// The request for one message. A `from` that begins with `MG` is a messaging service.
pub fn request(account: &str, token: &SecretString, from: &str, to: &str, text: &str) -> SmsRequest {
    let sender = if from.starts_with("MG") { "MessagingServiceSid" } else { "From" };
    SmsRequest {
        path: format!("/2010-04-01/Accounts/{account}/Messages.json"),
        headers: vec![
            ("authorization", format!("Basic {}", STANDARD.encode(format!("{account}:{}", token.expose_secret())))),
            ("content-type", "application/x-www-form-urlencoded".to_owned()),
            ("accept", "application/json".to_owned()),
        ],
        body: form(&[("To", to), (sender, from), ("Body", text)]),
    }
}

/// `application/x-www-form-urlencoded`: a space is a plus.
fn form(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| super::alibaba::percent_encoded(text).replace("%20", "+").replace('~', "%7E");
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    pairs.join("&")
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    sid: String,
    #[serde(default)]
    code: i64,
    #[serde(default)]
    message: String,
}

/// What an answer means. The provider's words are kept, without what we sent.
pub fn outcome(status: u16, body: &str) -> SmsOutcome {
    let answer: Answer = serde_json::from_str(body).unwrap_or(Answer { sid: String::new(), code: 0, message: String::new() });
    let said = format!("{status} {} {}", answer.code, answer.message);
    match status {
        200 | 201 => SmsOutcome::Accepted(answer.sid),
        429 => SmsOutcome::Later(said),
        400..=499 => SmsOutcome::Refused(said),
        _ => SmsOutcome::Unknown(said),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../../tests/vectors/sms.json")).expect("JSON")
    }

    /// A form's fields in the order of their names: the vendor's library orders them otherwise, and a form has no order.
    fn sorted(body: &str) -> Vec<String> {
        let mut fields: Vec<String> = body.split('&').map(str::to_owned).collect();
        fields.sort();
        fields
    }

    #[test]
    fn requests_are_those_of_the_vendors_own_library() {
        let vectors = vectors();
        let list = vectors["twilio"]["requests"].as_array().expect("a list");
        assert_eq!(list.len(), 2);
        for vector in list {
            let form = &vector["form"];
            let from = form["From"].as_str().or(form["MessagingServiceSid"].as_str()).expect("a sender");
            let (account, token) = (vector["basic_auth"][0].as_str().expect("a SID"), vector["basic_auth"][1].as_str().expect("a token"));
            let request = request(account, &token.into(), from, form["To"].as_str().expect("to"), form["Body"].as_str().expect("a body"));
            assert_eq!(format!("https://api.twilio.com{}", request.path), vector["url"].as_str().expect("a URL"));
            let theirs: Vec<String> =
                sorted(vector["body"].as_str().expect("a body")).into_iter().filter(|field| !field.starts_with("StatusCallback=")).collect();
            assert_eq!(sorted(&request.body), theirs, "we ask for no call back");
            let authorization = format!("Basic {}", STANDARD.encode(format!("{account}:{token}")));
            assert!(request.headers.contains(&("authorization", authorization)));
        }
    }

    #[test]
    fn answers_are_classed_by_what_may_be_done_about_them() {
        assert_eq!(outcome(201, r#"{"sid":"SM1","status":"queued"}"#), SmsOutcome::Accepted("SM1".to_owned()));
        assert!(matches!(outcome(400, r#"{"code":21211,"message":"invalid To"}"#), SmsOutcome::Refused(why) if why.contains("21211")));
        assert!(matches!(outcome(401, "not json"), SmsOutcome::Refused(_)));
        assert!(matches!(outcome(429, r#"{"code":20429}"#), SmsOutcome::Later(_)));
        assert!(matches!(outcome(503, ""), SmsOutcome::Unknown(_)));
    }
}

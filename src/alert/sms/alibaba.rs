//! Alibaba Cloud's Dysmsapi, version 2017-05-25, signed by ACS3-HMAC-SHA256: the parameters in the query, an empty body, and a signature over the
//! canonical request. An answer's `Code` decides, whatever its HTTP status.

use aws_lc_rs::{digest, hmac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{SmsOutcome, SmsRequest, clipped};

/// What a template's variable may hold at most; longer ones are refused with `isv.PARAM_LENGTH_LIMIT`.
pub const VARIABLE_MAX: usize = 35;

/// One message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The number: E.164, sent without the plus of mainland China, whose numbers the API takes bare.
    pub to: &'a str,
    /// The approved signature.
    pub sign_name: &'a str,
    /// The approved template.
    pub template: &'a str,
    /// Its variable `message`, cut to [`VARIABLE_MAX`].
    pub text: &'a str,
    /// Our own name for it, in delivery reports.
    pub reference: &'a str,
}

/// The request for one message, to `host` (with its port, if it is not the usual one). `nonce` is new for each try.
pub fn request(key_id: &str, secret: &SecretString, host: &str, message: &Message<'_>, now: Timestamp, nonce: &str) -> SmsRequest {
    let number = message.to.strip_prefix("+86").unwrap_or_else(|| message.to.trim_start_matches('+'));
    let variables = serde_json::json!({ "message": clipped(message.text, VARIABLE_MAX) }).to_string();
    // In the order of their names.
    let query = query(&[
        ("OutId", message.reference),
        ("PhoneNumbers", number),
        ("SignName", message.sign_name),
        ("TemplateCode", message.template),
        ("TemplateParam", &variables),
    ]);
    let mut headers = vec![
        ("host", host.to_owned()),
        ("x-acs-action", "SendSms".to_owned()),
        ("x-acs-content-sha256", sha256_hex("")),
        ("x-acs-date", now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        ("x-acs-signature-nonce", nonce.to_owned()),
        ("x-acs-version", "2017-05-25".to_owned()),
    ];
    let canonical = canonical_request("POST", "/", &query, &headers);
    let authorization = authorization(key_id, secret, &canonical, &headers);
    headers.retain(|(name, _)| *name != "host");
    headers.push(("authorization", authorization));
    headers.push(("accept", "application/json".to_owned()));
    SmsRequest { path: format!("/?{query}"), headers, body: String::new() }
}

/// RFC 3986: everything but `A-Z a-z 0-9 - _ . ~` is `%XX`.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The parameters, which must be in the order of their names.
fn query(parameters: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = parameters.iter().map(|(name, value)| format!("{}={}", percent_encoded(name), percent_encoded(value))).collect();
    pairs.join("&")
}

/// What is signed. `headers` are in the order of their names, the body's digest among them.
fn canonical_request(method: &str, path: &str, query: &str, headers: &[(&str, String)]) -> String {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let digest = headers.iter().find(|(name, _)| *name == "x-acs-content-sha256").map_or("", |(_, digest)| digest.as_str());
    format!("{method}\n{path}\n{query}\n{lines}\n{}\n{digest}", names(headers))
}

fn names(headers: &[(&str, String)]) -> String {
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    names.join(";")
}

fn authorization(key_id: &str, secret: &SecretString, canonical: &str, headers: &[(&str, String)]) -> String {
    let to_sign = format!("ACS3-HMAC-SHA256\n{}", sha256_hex(canonical));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let signature = hex(hmac::sign(&key, to_sign.as_bytes()).as_ref());
    format!("ACS3-HMAC-SHA256 Credential={key_id},SignedHeaders={},Signature={signature}", names(headers))
}

fn sha256_hex(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Code", default)]
    code: String,
    #[serde(rename = "Message", default)]
    message: String,
    #[serde(rename = "BizId", default)]
    biz_id: String,
}

/// What an answer means.
pub fn outcome(status: u16, body: &str) -> SmsOutcome {
    let Ok(answer) = serde_json::from_str::<Answer>(body) else {
        return SmsOutcome::Unknown(format!("{status}, and the answer is not JSON"));
    };
    let said = format!("{status} {} {}", answer.code, answer.message);
    match answer.code.as_str() {
        "OK" => SmsOutcome::Accepted(answer.biz_id),
        "isp.SYSTEM_ERROR" | "isp.GATEWAY_ERROR" | "" => SmsOutcome::Unknown(said),
        // Our clock, a nonce that met another of the same: the next try has a new time and nonce.
        "isv.BUSINESS_LIMIT_CONTROL" | "SignatureNonceUsed" | "InvalidTimeStamp.Expired" => SmsOutcome::Later(said),
        code if code.starts_with("Throttling") => SmsOutcome::Later(said),
        _ if status >= 500 => SmsOutcome::Unknown(said),
        _ => SmsOutcome::Refused(said),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        let all: Value = serde_json::from_str(include_str!("../../../tests/vectors/sms.json")).expect("JSON");
        all["aliyun_acs3"].clone()
    }

    #[test]
    fn signatures_are_those_of_the_vendors_own_libraries() {
        let vectors = vectors();
        let (key_id, secret) = (vectors["access_key_id"].as_str().expect("an id"), vectors["access_key_secret"].as_str().expect("a secret"));
        let cases = vectors["cases"].as_array().expect("a list");
        assert_eq!(cases.len(), 4);
        for case in cases {
            let names: Vec<&str> = case["signed_headers"].as_array().expect("names").iter().map(|name| name.as_str().expect("a name")).collect();
            let headers: Vec<(&str, String)> =
                names.into_iter().map(|name| (name, case["headers"][name].as_str().expect("a value").to_owned())).collect();
            let target = case["target"].as_str().expect("a target").replace('+', "%20");
            let canonical = canonical_request("POST", "/", target.trim_start_matches("/?"), &headers);
            assert_eq!(canonical, case["canonical_request"].as_str().expect("text"));
            assert_eq!(authorization(key_id, &secret.into(), &canonical, &headers), case["authorization"].as_str().expect("text"));
        }
    }

    #[test]
    fn our_own_request_has_the_parameters_in_order_and_a_signature_over_all_its_headers() {
        let message =
            Message {
                to: "+8613800000000", sign_name: "阿里云短信测试", template: "SMS_154950909", text: &"a".repeat(50), reference: "alert-1"
            };
        let now = "2026-11-20T09:08:07Z".parse().expect("a time");
        let request = request("testid", &"testsecret".into(), "dysmsapi.aliyuncs.com", &message, now, "nonce");
        let variables = percent_encoded(&format!("{{\"message\":\"{}...\"}}", "a".repeat(32)));
        assert_eq!(
            request.path,
            format!(
                "/?OutId=alert-1&PhoneNumbers=13800000000&SignName=%E9%98%BF%E9%87%8C%E4%BA%91%E7%9F%AD%E4%BF%A1%E6%B5%8B%E8%AF%95&TemplateCode=SMS_154950909&TemplateParam={variables}"
            )
        );
        let authorization = &request.headers.iter().find(|(name, _)| *name == "authorization").expect("signed").1;
        assert!(
            authorization.starts_with(
                "ACS3-HMAC-SHA256 Credential=testid,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version,Signature="
            ),
            "{authorization}"
        );
        assert!(request.headers.contains(&("x-acs-date", "2026-11-20T09:08:07Z".to_owned())));
    }

    #[test]
    fn the_code_decides_and_not_the_status() {
        assert_eq!(outcome(200, r#"{"Code":"OK","BizId":"9^0"}"#), SmsOutcome::Accepted("9^0".to_owned()));
        assert!(matches!(outcome(200, r#"{"Code":"isv.MOBILE_NUMBER_ILLEGAL"}"#), SmsOutcome::Refused(_)));
        assert!(matches!(outcome(200, r#"{"Code":"isv.BUSINESS_LIMIT_CONTROL"}"#), SmsOutcome::Later(_)));
        assert!(matches!(outcome(400, r#"{"Code":"Throttling.User"}"#), SmsOutcome::Later(_)));
        assert!(matches!(outcome(200, r#"{"Code":"isp.SYSTEM_ERROR"}"#), SmsOutcome::Unknown(_)));
        assert!(matches!(outcome(502, "<html>"), SmsOutcome::Unknown(_)));
    }
}

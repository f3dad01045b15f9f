//! Answers, as WeChat Pay writes them: JSON, signed in headers over the bytes that are sent.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::keys::Keys;
use super::order::Refusal;
use crate::sandbox::listener::Ending;

/// The headers that sign `body` at that time. A forged signature is over something else.
pub fn signature(body: &[u8], keys: &Keys, serial: &str, now: Timestamp, forged: bool) -> Vec<(&'static str, String)> {
    let (seconds, nonce) = (now.as_second().to_string(), uuid::Uuid::new_v4().simple().to_string());
    let body = if forged { b"somebody else's words".as_slice() } else { body };
    let message = [seconds.as_bytes(), b"\n", nonce.as_bytes(), b"\n", body, b"\n"].concat();
    vec![
        ("wechatpay-timestamp", seconds),
        ("wechatpay-nonce", nonce),
        ("wechatpay-signature", keys.rsa.sign(&message)),
        ("wechatpay-serial", serial.to_owned()),
        ("wechatpay-signature-type", "WECHATPAY2-SHA256-RSA2048".to_owned()),
    ]
}

/// The body of an answer, before it is signed: null for one without.
pub fn body(answer: &Value) -> (u16, String) {
    if answer.is_null() { (204, String::new()) } else { (200, answer.to_string()) }
}

/// The body of a refusal.
pub fn refusal(refusal: &Refusal) -> (u16, String) {
    (refusal.status, json!({"code": refusal.code, "message": refusal.message}).to_string())
}

/// On the wire, with these headers.
pub fn ending((status, body): (u16, String), kind: &'static str, headers: Vec<(&'static str, String)>) -> Ending {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ending::Answer { response, drip: false }
}

/// A page for a browser, which nobody signs.
pub fn html(status: u16, sentence: &str) -> Ending {
    let page = format!("<!doctype html><meta charset=\"utf-8\"><title>Sandbox WeChat Pay</title><p>{sentence}</p>\n");
    ending((status, page), "text/html;charset=utf-8", Vec::new())
}

//! Answers, as the gateway writes them.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::sandbox::listener::Ending;
use crate::sandbox::rsa::RsaKeys;

/// The node's name and the node, signed over the bytes that are sent. Slashes are escaped, as Alipay does: whoever verifies what it parsed and wrote
/// again will not succeed.
pub fn signed(method: &str, node: &Value, keys: &RsaKeys, forged: bool) -> Ending {
    let object = node.to_string().replace('/', "\\/");
    let sign = if forged { keys.sign("somebody else's answer") } else { keys.sign(&object) };
    text(200, format!("{{\"{}\":{object},\"sign\":\"{sign}\"}}", name(method)))
}

/// A refusal by the gateway itself, which is not signed.
pub fn unsigned(method: &str, code: &str, sub_code: &str, sub_msg: &str) -> Ending {
    let msg = if code == "40001" { "Missing Required Arguments" } else { "Invalid Arguments" };
    let node = json!({"code": code, "msg": msg, "sub_code": sub_code, "sub_msg": sub_msg});
    text(200, format!("{{\"{}\":{node}}}", name(method)))
}

/// A page for a browser.
pub fn html(status: u16, sentence: &str) -> Ending {
    text(status, format!("<!doctype html><meta charset=\"utf-8\"><title>Sandbox Alipay</title><p>{sentence}</p>\n"))
}

fn name(method: &str) -> String {
    let known = method.starts_with("alipay.") && method.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'.');
    if known { format!("{}_response", method.replace('.', "_")) } else { "error_response".to_owned() }
}

fn text(status: u16, body: String) -> Ending {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/html;charset=utf-8"));
    Ending::Answer { response, drip: false }
}

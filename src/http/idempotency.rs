//! A merchant's `Idempotency-Key` and the fingerprint of what it stands for.
//!
//! The key is won in the journal together with what it stands for, never here. The fingerprint is an HMAC, not a hash: bodies are short and
//! guessable, and whoever reads the table must not be able to test guesses against it.

use actix_web::HttpRequest;
use aws_lc_rs::hmac;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::problem::{Problem, ProblemCode};
use crate::domain::id::{GuardKind, guard_digest};
use crate::router::Claim;

/// The header's name.
pub const HEADER: &str = "Idempotency-Key";
/// Characters of a key, at most.
const LONGEST: usize = 255;

/// The key of a request that moves money.
///
/// # Errors
/// 400 when it is missing, given twice, or not `^[!-~]{1,255}$`.
pub fn key(request: &HttpRequest) -> Result<String, Problem> {
    let mut values = request.headers().get_all(HEADER);
    let Some(value) = values.next() else {
        let detail = "Every POST that moves money needs an Idempotency-Key: send one of your own, new for each thing you want done once.";
        return Err(Problem::new(ProblemCode::IdempotencyKeyMissing, detail).about(HEADER));
    };
    let invalid = |detail: String| Err(Problem::new(ProblemCode::IdempotencyKeyInvalid, detail).about(HEADER));
    if values.next().is_some() {
        return invalid(format!("{HEADER} is given twice."));
    }
    let bytes = value.as_bytes();
    let visible = bytes.iter().all(u8::is_ascii_graphic);
    match (bytes.len(), String::from_utf8(bytes.to_vec())) {
        (1..=LONGEST, Ok(key)) if visible => Ok(key),
        (length, _) => invalid(format!("{HEADER} must be 1 to {LONGEST} visible ASCII characters, without blanks; {length} bytes were given.")),
    }
}

/// The claim that a request makes with its key.
pub fn claim(secret: &[u8; 32], merchant: Uuid, key: &str, method: &str, route: &str, body: &Map<String, Value>) -> Claim {
    Claim { digest: guard_digest(merchant, GuardKind::IdempotencyKey, key), fingerprint: fingerprint(secret, method, route, body) }
}

/// HMAC-SHA256 over method, address and canonical body (fields sorted, no blanks, without a card's security code).
fn fingerprint(secret: &[u8; 32], method: &str, route: &str, body: &Map<String, Value>) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    for part in [method, "\n", route, "\n"] {
        context.update(part.as_bytes());
    }
    let mut text = String::new();
    write_object(&mut text, body, false);
    context.update(text.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.sign().as_ref());
    bytes
}

/// Writes an object; `is_method` says that it is a payment method, which may hold a security code.
fn write_object(text: &mut String, object: &Map<String, Value>, is_method: bool) {
    let mut fields: Vec<_> = object.iter().filter(|(name, _)| !is_method || name.as_str() != "cvc").collect();
    fields.sort_unstable_by_key(|(name, _)| name.as_str());
    text.push('{');
    for (place, (name, value)) in fields.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(&Value::from(name.as_str()).to_string());
        text.push(':');
        match value {
            Value::Object(method) if name == "payment_method" => write_object(text, method, true),
            other => write_value(text, other),
        }
    }
    text.push('}');
}

fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::Object(object) => write_object(text, object, false),
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write_value(text, item);
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::super::body::parse;
    use super::*;

    fn print(method: &str, route: &str, body: &str) -> [u8; 32] {
        fingerprint(&[7; 32], method, route, &parse(body.as_bytes()).expect("JSON"))
    }

    #[test]
    fn the_same_body_written_otherwise_has_the_same_fingerprint() {
        let one = print("POST", "/v1/payments", r#"{"amount":1,"metadata":{"a":"x","b":"y"}}"#);
        let same = print("POST", "/v1/payments", "{ \"metadata\": {\"b\":\"y\", \"\\u0061\":\"x\"},\n \"amount\": 1 }");
        assert_eq!(one, same);
    }

    #[test]
    fn another_body_route_or_method_has_another_fingerprint() {
        let one = print("POST", "/v1/payments", r#"{"amount":1}"#);
        assert_ne!(one, print("POST", "/v1/payments", r#"{"amount":2}"#));
        assert_ne!(one, print("POST", "/v1/payments", r#"{"amount":"1"}"#));
        assert_ne!(one, print("POST", "/v1/refunds", r#"{"amount":1}"#));
        assert_ne!(one, print("PUT", "/v1/payments", r#"{"amount":1}"#));
        assert_ne!(one, fingerprint(&[8; 32], "POST", "/v1/payments", &parse(br#"{"amount":1}"#).expect("JSON")));
    }

    #[test]
    fn a_security_code_leaves_no_trace_in_a_fingerprint() {
        let with = |cvc: &str| print("POST", "/v1/payments", &format!(r#"{{"payment_method":{{"type":"card","cvc":"{cvc}"}}}}"#));
        assert_eq!(with("123"), with("999"));
        let note = |cvc: &str| print("POST", "/v1/payments", &format!(r#"{{"metadata":{{"cvc":"{cvc}"}}}}"#));
        assert_ne!(note("a"), note("b"), "only a payment method has a security code");
    }

    #[test]
    fn a_key_is_visible_ascii_and_given_once() {
        let read = |values: &[&[u8]]| {
            let mut request = TestRequest::default();
            for value in values {
                let value = actix_web::http::header::HeaderValue::from_bytes(value).expect("a header's value");
                request = request.append_header((HEADER, value));
            }
            key(&request.to_http_request()).map_err(|problem| problem.code())
        };
        assert_eq!(read(&[b"try-1"]), Ok("try-1".to_owned()));
        assert_eq!(read(&[]), Err(ProblemCode::IdempotencyKeyMissing));
        assert_eq!(read(&[b"a", b"a"]), Err(ProblemCode::IdempotencyKeyInvalid));
        assert_eq!(read(&[b"a b"]), Err(ProblemCode::IdempotencyKeyInvalid));
        assert_eq!(read(&[b""]), Err(ProblemCode::IdempotencyKeyInvalid));
        assert_eq!(read(&["é".as_bytes()]), Err(ProblemCode::IdempotencyKeyInvalid));
        assert_eq!(read(&[&[b'x'; 255]]).map(|key| key.len()), Ok(255));
        assert_eq!(read(&[&[b'x'; 256]]), Err(ProblemCode::IdempotencyKeyInvalid));
    }
}

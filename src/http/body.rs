//! A request's body: read within its bounds, and parsed into one JSON object that says every field once.
//!
//! Strict on purpose. A duplicate field is read differently by different parsers, and an amount must not depend on which; a number such as
//! `1250.0` must be told from `1250`; a NUL cannot be stored by Postgres. Reading fields with their names and sentences is `field.rs`.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, web};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::card::looks_like_a_card_number;
use super::problem::{Problem, ProblemCode};

/// How long a body may take to arrive: a client that drips bytes must not hold a connection for ever.
const ARRIVES_WITHIN: Duration = Duration::from_secs(15);
/// How much of a body that is too large is still read, so that the client, which is busy writing, lives to read the answer.
const DRAINED: usize = 4 * 1024 * 1024;
/// How long that may take.
const DRAINED_WITHIN: Duration = Duration::from_secs(2);
/// Characters of a client's own name for something that an answer repeats.
const ECHOED: usize = 64;

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// 413 when it is larger, 408 when it takes too long, 400 when the connection breaks its framing.
pub async fn read(request: &HttpRequest, mut payload: web::Payload, limit: usize) -> Result<Bytes, Problem> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        drain(&mut payload).await;
        return Err(too_large(limit));
    }
    let arrival = tokio::time::timeout(ARRIVES_WITHIN, async {
        let mut body = BytesMut::with_capacity(announced.unwrap_or(1024));
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| Problem::new(ProblemCode::InvalidRequest, "The body ended early, or its framing is broken."))?;
            if body.len() + chunk.len() > limit {
                return Err(too_large(limit));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    })
    .await;
    match arrival {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(problem)) => {
            drain(&mut payload).await;
            Err(problem)
        }
        Err(_) => Err(Problem::new(ProblemCode::BodyTimeout, format!("The body did not arrive within {} s.", ARRIVES_WITHIN.as_secs()))),
    }
}

fn too_large(limit: usize) -> Problem {
    Problem::new(ProblemCode::BodyTooLarge, format!("A body may have at most {limit} bytes."))
}

async fn drain(payload: &mut web::Payload) {
    let reading = async {
        let mut seen = 0;
        while let Some(Ok(chunk)) = payload.next().await {
            seen += chunk.len();
            if seen > DRAINED {
                break;
            }
        }
    };
    // Whether it was read to its end or not, the answer is the same.
    let _ = tokio::time::timeout(DRAINED_WITHIN, reading).await;
}

/// Reads a JSON object of at most `limit` bytes. An empty body is an empty object where `may_be_empty`.
///
/// # Errors
/// 415 for another content type, 413, 408, and 400 with line and column for what is not JSON.
pub async fn object(request: &HttpRequest, payload: web::Payload, limit: usize, may_be_empty: bool) -> Result<Map<String, Value>, Problem> {
    let bytes = read(request, payload, limit).await?;
    if bytes.is_empty() && may_be_empty {
        return Ok(Map::new());
    }
    expect_json(request)?;
    parse(&bytes)
}

fn expect_json(request: &HttpRequest) -> Result<(), Problem> {
    let refuse = |detail: &'static str| Err(Problem::new(ProblemCode::UnsupportedMediaType, detail));
    if request.headers().get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return refuse("Send the body as it is, without a Content-Encoding.");
    }
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else { return refuse("Content-Type is missing: it must be application/json.") };
    let text = value.to_str().unwrap_or("");
    let mut parts = text.split(';').map(str::trim);
    let json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    let utf8 = parts.all(|parameter| match parameter.split_once('=') {
        Some((name, charset)) if name.eq_ignore_ascii_case("charset") => charset.trim_matches('"').eq_ignore_ascii_case("utf-8"),
        _ => true,
    });
    if json && utf8 { Ok(()) } else { refuse("Content-Type must be application/json, in UTF-8.") }
}

/// Parses bytes as one JSON object in which no field, at any depth, is given twice.
///
/// # Errors
/// 400 `invalid_json`, with line and column.
pub fn parse(bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::new(ProblemCode::InvalidJson, "The body is empty: it must be a JSON object."));
    }
    let fault = RefCell::new(None);
    let mut source = serde_json::Deserializer::from_slice(bytes);
    let parsed = Strict { fault: &fault }.deserialize(&mut source).and_then(|value| source.end().map(|()| value));
    match parsed {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(Problem::new(ProblemCode::InvalidJson, format!("The body must be a JSON object, not {}.", kind(&other)))),
        Err(error) => {
            let at = format!("at line {}, column {}", error.line(), error.column());
            Err(match fault.into_inner() {
                Some(Fault::Twice(name)) => {
                    let name = quoted(&name);
                    Problem::new(ProblemCode::InvalidJson, format!("The field {name} is given twice, {at}.")).about(name)
                }
                Some(Fault::Nul) => Problem::new(ProblemCode::InvalidJson, format!("A text holds the character U+0000, {at}.")),
                None => Problem::new(ProblemCode::InvalidJson, format!("The body is not JSON: {error}.")),
            })
        }
    }
}

/// A client's own name for something, fit for an answer: cut, and hidden where it could be a card number.
pub(super) fn quoted(name: &str) -> String {
    if looks_like_a_card_number(name) { "(hidden)".to_owned() } else { name.chars().take(ECHOED).collect() }
}

/// What a value is, in a sentence.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Why the strict reader stopped where JSON itself would have gone on.
#[derive(Debug)]
enum Fault {
    Twice(String),
    Nul,
}

/// Reads any JSON value, and stops at what the document must not hold. The parser bounds the depth at 128.
#[derive(Clone, Copy)]
struct Strict<'f> {
    fault: &'f RefCell<Option<Fault>>,
}

impl Strict<'_> {
    fn stop<E: de::Error>(self, fault: Fault) -> E {
        *self.fault.borrow_mut() = Some(fault);
        E::custom("refused")
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: de::Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        if value.contains('\0') { Err(self.stop(Fault::Nul)) } else { Ok(Value::String(value.to_owned())) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if name.contains('\0') {
                return Err(self.stop(Fault::Nul));
            }
            if object.contains_key(&name) {
                return Err(self.stop(Fault::Twice(name)));
            }
            let value = fields.next_value_seed(self)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        parse(text.as_bytes()).expect_err("must be refused").to_string()
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn what_is_parsed_is_what_serde_parses(bytes in "[\\[\\]{}\":,0-9a-c.eE+ -]{0,60}") {
            if let Ok(object) = parse(bytes.as_bytes()) {
                prop_assert_eq!(serde_json::from_str::<Value>(&bytes).ok(), Some(Value::Object(object)));
            }
        }
    }

    #[test]
    fn broken_json_is_refused_with_line_and_column() {
        assert_eq!(refusal("{\n  \"amount\": ,\n}"), "invalid_json: The body is not JSON: expected value at line 2 column 13.");
        assert!(refusal("{} {}").contains("trailing characters at line 1 column 4"));
        assert!(refusal("{\"a\":\"\u{1}\"}").contains("control character"));
    }

    #[test]
    fn a_field_given_twice_is_refused_by_name_at_any_depth() {
        assert_eq!(refusal("{\"amount\":1,\"amount\":2}"), "invalid_json: The field amount is given twice, at line 1, column 20.");
        assert!(refusal("{\"metadata\":[{\"k\":1,\"k\":1}]}").contains("The field k is given twice"));
        assert!(refusal("{\"amount\":1,\"\\u0061mount\":2}").contains("amount is given twice"), "an escaped name is the same name");
    }

    #[test]
    fn a_nul_is_refused_wherever_it_stands() {
        assert!(refusal("{\"a\":\"x\\u0000\"}").contains("U+0000"));
        assert!(refusal("{\"a\\u0000\":1}").contains("U+0000"));
    }

    #[test]
    fn only_an_object_is_a_body() {
        assert_eq!(refusal("[1]"), "invalid_json: The body must be a JSON object, not a list.");
        assert_eq!(refusal(" "), "invalid_json: The body is empty: it must be a JSON object.");
    }

    #[test]
    fn a_body_nested_without_end_is_refused() {
        assert!(refusal(&format!("{{\"a\":{}", "[".repeat(60_000))).contains("recursion limit"));
    }

    #[test]
    fn a_card_number_as_a_fields_name_is_not_repeated() {
        assert!(!refusal("{\"4242424242424242\":1,\"4242424242424242\":2}").contains("4242"));
    }
}

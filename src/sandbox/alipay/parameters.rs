//! Parameters as they travel: a query and a form, merged, because clients differ in what they put where; and the text that is signed.

use std::collections::BTreeMap;

/// By name, in the order in which they are signed.
pub type Parameters = BTreeMap<String, String>;

/// Reads query and body as one. A name that comes twice, or bytes that are no form, are said.
///
/// # Errors
/// The first thing that is wrong.
pub fn merged(query: &[u8], body: &[u8]) -> Result<Parameters, String> {
    let mut parameters = Parameters::new();
    for part in [query, body] {
        for pair in part.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let name = plain(&pair[..at])?;
            let value = plain(pair.get(at + 1..).unwrap_or_default())?;
            if let Some(other) = parameters.insert(name.clone(), value.clone())
                && other != value
            {
                return Err(format!("{name} is there twice, with different values"));
            }
        }
    }
    Ok(parameters)
}

fn plain(text: &[u8]) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'%' => {
                let hex = text.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
                let value = hex.filter(|hex| !hex.starts_with('+')).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                bytes.push(value.ok_or("a percent sign that begins no escape")?);
                at += 2;
            }
            b'+' => bytes.push(b' '),
            _ => bytes.push(*byte),
        }
        at += 1;
    }
    String::from_utf8(bytes).map_err(|_| "a value is not UTF-8".to_owned())
}

/// What is signed: all that is not empty but the names left out, as they are, joined.
pub fn content(parameters: &Parameters, left_out: &[&str]) -> String {
    let signed = parameters.iter().filter(|(name, value)| !value.is_empty() && !left_out.contains(&name.as_str()));
    signed.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// As a form, spaces as `+`.
pub fn form(parameters: &Parameters) -> String {
    let encoded = |text: &str| {
        let mut encoded = String::new();
        for byte in text.bytes() {
            match byte {
                b' ' => encoded.push('+'),
                b'-' | b'.' | b'_' | b'*' => encoded.push(char::from(byte)),
                byte if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
                byte => encoded.push_str(&format!("%{byte:02X}")),
            }
        }
        encoded
    };
    parameters.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect::<Vec<_>>().join("&")
}

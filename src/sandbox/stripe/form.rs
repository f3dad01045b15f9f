//! The form encoding of Stripe's requests, read as leniently as the real server reads it.
//!
//! The official libraries differ: a space is `+` or `%20`, the brackets of `metadata[order]` and `payment_method_types[0]` are raw or
//! percent-encoded, and a list may be `expand[]` or `expand[0]`. All of them mean the same here. Only UTF-8 is accepted, because metadata is text.

use super::error::StripeError;

/// A key may appear at most this often in all; the real server has a like bound, and a simulator must not be made to hold an endless form.
const PAIRS_MAX: usize = 512;

/// The parameters of one request, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    pairs: Vec<(String, String)>,
}

impl Form {
    /// Reads a query string or a form body.
    ///
    /// # Errors
    /// `parameter_invalid` when an escape is cut short, the text is not UTF-8, or there are more than 512 pairs.
    pub fn parse(text: &[u8]) -> Result<Self, StripeError> {
        let mut pairs = Vec::new();
        for piece in text.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty()) {
            if pairs.len() == PAIRS_MAX {
                return Err(StripeError::invalid("", "Too many parameters."));
            }
            let (name, value) = match piece.iter().position(|byte| *byte == b'=') {
                Some(at) => (&piece[..at], &piece[at + 1..]),
                None => (piece, &piece[piece.len()..]),
            };
            let name = decode(name).ok_or_else(|| StripeError::invalid("", "Invalid form encoding in a parameter's name."))?;
            let value = decode(value).ok_or_else(|| StripeError::invalid(&name, &format!("Invalid form encoding of {name}.")))?;
            pairs.push((name, value));
        }
        Ok(Self { pairs })
    }

    /// The value of a plain parameter; an empty one counts as absent, as it does at Stripe ("unset").
    pub fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().rev().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// A whole number.
    ///
    /// # Errors
    /// `parameter_invalid_integer` when it is something else.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, StripeError> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        value.parse().map(Some).map_err(|_| StripeError::invalid_code("parameter_invalid_integer", name, &format!("Invalid integer: {value}")))
    }

    /// `true` or `false`; absent is `false`.
    ///
    /// # Errors
    /// `parameter_invalid` when it is something else.
    pub fn flag(&self, name: &str) -> Result<bool, StripeError> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(StripeError::invalid(name, &format!("Invalid boolean: {other}"))),
        }
    }

    /// The members of a map, `name[key]=value`, or of a list, `name[]=value` and `name[0]=value` (the key is then empty or a number).
    pub fn members<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.pairs.iter().filter_map(move |(key, value)| {
            let key = key.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']')?;
            Some((key, value.as_str()))
        })
    }

    /// The first parameter whose top-level name is not in `known`.
    pub fn unknown<'a>(&'a self, known: &[&str]) -> Option<&'a str> {
        self.pairs.iter().map(|(key, _)| key.split('[').next().unwrap_or(key)).find(|name| !known.contains(name))
    }

    /// The pairs sorted, one a line: equal for two requests that mean the same, however they were written.
    pub fn canonical(&self) -> String {
        let mut lines: Vec<String> = self.pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        lines.sort_unstable();
        lines.join("\n")
    }
}

/// Undoes `+` and `%XX`; `None` when an escape is cut short or the result is not UTF-8.
fn decode(text: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        match first {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = tail.get(..2)?;
                let value = |digit: u8| char::from(digit).to_digit(16);
                let byte = value(digits[0])? * 16 + value(digits[1])?;
                out.push(u8::try_from(byte).ok()?);
                rest = &tail[2..];
                continue;
            }
            other => out.push(*other),
        }
        rest = tail;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_libraries_spellings_of_one_form_are_the_same_form() {
        let python = Form::parse(b"metadata[order]=BW+1%262&payment_method_types[0]=card").unwrap();
        let node = Form::parse(b"payment_method_types%5B0%5D=card&metadata%5Border%5D=BW%201%262").unwrap();
        assert_eq!(python.canonical(), node.canonical());
        assert_eq!(python.members("metadata").collect::<Vec<_>>(), [("order", "BW 1&2")]);
    }

    #[test]
    fn a_cut_escape_is_refused() {
        assert!(Form::parse(b"amount=%4").is_err());
        assert!(Form::parse(b"amount=%zz").is_err());
        assert!(Form::parse(b"amount=%ff").is_err());
    }
}

//! Fields of a body, read one by one, so that each fault is told in one sentence with the exact name (`metadata.color`) of what is wrong.
//!
//! An explicit `null` is a field that is left out. A value is never repeated in a sentence: it might be a card number.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::body::{kind, quoted};
use super::card::looks_like_a_card_number;
use super::problem::{Problem, ProblemCode};
use crate::domain::Currency;
use crate::domain::money::{AMOUNT_MAX, AmountError, amount as checked_amount};

/// Keys of a metadata object, at most.
const METADATA_KEYS: usize = 20;
/// Characters of a key, at most.
const METADATA_KEY: usize = 40;
/// Characters of a value, at most.
const METADATA_VALUE: usize = 500;

/// An object's fields.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    /// The fields of `object`, which must be among `known`.
    ///
    /// # Errors
    /// 400 `unknown_field`, by name.
    pub fn of(object: &'a Map<String, Value>, known: &[&str]) -> Result<Self, Problem> {
        Self::within(object, String::new(), known)
    }

    fn within(object: &'a Map<String, Value>, path: String, known: &[&str]) -> Result<Self, Problem> {
        let fields = Self { object, path };
        match object.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(fields),
            Some(unknown) => {
                let name = fields.name(&quoted(unknown));
                let detail = match known {
                    [] => format!("The field {name} is unknown: this body has no fields."),
                    _ => format!("The field {name} is unknown. Known here: {}.", known.join(", ")),
                };
                Err(Problem::new(ProblemCode::UnknownField, detail).about(name))
            }
        }
    }

    /// The full name of a field, as a client would write it.
    pub fn name(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// The value, unless it is left out or null.
    pub fn value(&self, field: &str) -> Option<&'a Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    /// What says that a field has the wrong form.
    pub fn wrong(&self, field: &str, must: &str) -> Problem {
        let name = self.name(field);
        Problem::new(ProblemCode::InvalidRequest, format!("{name} {must}.")).about(name)
    }

    /// What says that a field must be there.
    pub fn missing(&self, field: &str) -> Problem {
        let name = self.name(field);
        Problem::new(ProblemCode::MissingField, format!("{name} is required.")).about(name)
    }

    /// A string.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub fn text(&self, field: &str) -> Result<Option<&'a str>, Problem> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(field, &format!("must be a string, not {}", kind(other)))),
        }
    }

    /// A string that must be there.
    ///
    /// # Errors
    /// 400.
    pub fn required_text(&self, field: &str) -> Result<&'a str, Problem> {
        self.text(field)?.ok_or_else(|| self.missing(field))
    }

    /// A required name: `longest` visible ASCII characters at most, and at least one.
    ///
    /// # Errors
    /// 400.
    pub fn visible(&self, field: &str, longest: usize) -> Result<&'a str, Problem> {
        let text = self.required_text(field)?;
        let fits = (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(text) } else { Err(self.wrong(field, &format!("must be 1 to {longest} visible ASCII characters, without blanks"))) }
    }

    /// A text for people: at most `longest` characters, and no card number. Empty is left out.
    ///
    /// # Errors
    /// 400 for its form, 422 `card_number_refused`.
    pub fn free_text(&self, field: &str, longest: usize) -> Result<Option<String>, Problem> {
        let Some(text) = self.text(field)?.filter(|text| !text.is_empty()) else { return Ok(None) };
        if text.chars().count() > longest {
            return Err(self.wrong(field, &format!("must be at most {longest} characters")));
        }
        refuse_card_number(text, self.name(field))?;
        Ok(Some(text.to_owned()))
    }

    /// One of `names`, as `parse` reads it.
    ///
    /// # Errors
    /// 400, with what is allowed.
    pub fn one_of<T>(&self, field: &str, names: &[&str], parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        parse(text).map(Some).ok_or_else(|| self.wrong(field, &format!("must be one of {}", names.join(", "))))
    }

    /// An object whose fields must be among `known`.
    ///
    /// # Errors
    /// 400.
    pub fn object(&self, field: &str, known: &[&str]) -> Result<Option<Fields<'a>>, Problem> {
        self.map(field)?.map(|object| Self::within(object, self.name(field), known)).transpose()
    }

    /// An object, whatever its fields.
    ///
    /// # Errors
    /// 400 when it is something else.
    pub fn map(&self, field: &str) -> Result<Option<&'a Map<String, Value>>, Problem> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(other) => Err(self.wrong(field, &format!("must be an object, not {}", kind(other)))),
        }
    }

    /// The merchant's notes: at most 20 keys of 40 characters, each with a string of at most 500.
    ///
    /// # Errors
    /// 400 for their form, 422 `card_number_refused`.
    pub fn metadata(&self, field: &str) -> Result<BTreeMap<String, String>, Problem> {
        let Some(object) = self.map(field)? else { return Ok(BTreeMap::new()) };
        if object.len() > METADATA_KEYS {
            return Err(self.wrong(field, &format!("must have at most {METADATA_KEYS} keys")));
        }
        let mut metadata = BTreeMap::new();
        for (key, value) in object {
            let name = format!("{}.{}", self.name(field), quoted(key));
            refuse_card_number(key, self.name(field))?;
            let wrong = |must: String| Err(Problem::new(ProblemCode::InvalidRequest, format!("{name} {must}.")).about(name.clone()));
            if !(1..=METADATA_KEY).contains(&key.chars().count()) {
                return wrong(format!("must have a key of 1 to {METADATA_KEY} characters"));
            }
            let Value::String(text) = value else { return wrong(format!("must be a string, not {}", kind(value))) };
            if text.chars().count() > METADATA_VALUE {
                return wrong(format!("must be at most {METADATA_VALUE} characters"));
            }
            refuse_card_number(text, name)?;
            metadata.insert(key.clone(), text.clone());
        }
        Ok(metadata)
    }

    /// An amount in minor units. `currency`, where it is known, makes the sentence concrete.
    ///
    /// # Errors
    /// 400 when it is not a whole JSON number, 422 `invalid_amount` when it is out of range.
    pub fn amount(&self, field: &str, currency: Option<Currency>) -> Result<Option<i64>, Problem> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let name = self.name(field);
        let Value::Number(number) = value else {
            let detail = format!("{name} must be a JSON integer in minor units, not {}{}.", kind(value), in_minor_units(currency));
            return Err(Problem::new(ProblemCode::InvalidRequest, detail).about(name));
        };
        let out_of_range = |detail: String| Err(Problem::new(ProblemCode::InvalidAmount, detail).about(name.clone()));
        if let Some(minor) = number.as_i64() {
            return match checked_amount(minor) {
                Ok(minor) => Ok(Some(minor)),
                // The number itself is not repeated: one that was typed into the wrong field may be a card's.
                Err(AmountError::TooSmall(_)) => out_of_range(format!("{name} must be at least 1 minor unit.")),
                Err(AmountError::TooLarge(_)) => out_of_range(format!("{name} is out of range: the largest is {AMOUNT_MAX} minor units.")),
            };
        }
        // What is written as an integer and fits no i64 arrives as u64, or beyond that as a float of at least 2^63.
        let huge = number.as_u64().is_some() || number.as_f64().is_some_and(|float| float.abs() >= 9.2e18);
        if huge {
            return out_of_range(format!("{name} is out of range: the largest is {AMOUNT_MAX} minor units."));
        }
        let detail = format!("{name} must be a JSON integer in minor units, without point or exponent{}.", in_minor_units(currency));
        Err(Problem::new(ProblemCode::InvalidRequest, detail).about(name))
    }
}

/// What minor units mean for this currency.
fn in_minor_units(currency: Option<Currency>) -> String {
    match currency.map(|currency| (currency, currency.exponent())) {
        None => ": 12.50 of a currency with two decimals is 1250".to_owned(),
        Some((currency, 0)) => format!(": {currency} has no decimals, so 12 {currency} is 12"),
        Some((currency, exponent)) => {
            let digits = usize::from(exponent);
            let cents = 125 * 10_i64.pow(u32::from(exponent).saturating_sub(1));
            format!(": {currency} has {exponent} decimals, so 12.{:0<digits$} {currency} is {cents}", 5)
        }
    }
}

/// Refuses a text that would be stored in clear and holds a card number.
///
/// # Errors
/// 422 `card_number_refused`.
pub(super) fn refuse_card_number(text: &str, name: String) -> Result<(), Problem> {
    if looks_like_a_card_number(text) {
        let detail = format!("{name} seems to hold a card number. Card numbers are never stored in clear: leave it out.");
        return Err(Problem::new(ProblemCode::CardNumberRefused, detail).about(name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::body::parse;
    use super::*;

    fn amount_of(text: &str, currency: &str) -> Result<Option<i64>, (u16, String)> {
        let object = parse(format!("{{\"amount\":{text}}}").as_bytes()).expect("JSON");
        let fields = Fields::of(&object, &["amount"]).expect("known");
        fields.amount("amount", Currency::parse(currency)).map_err(|problem| (problem.code().status(), problem.detail().to_owned()))
    }

    #[test]
    fn an_amount_is_a_whole_number_of_minor_units() {
        assert_eq!(amount_of("1250", "CNY"), Ok(Some(1250)));
        assert_eq!(amount_of("1000000000000", "CNY"), Ok(Some(1_000_000_000_000)));
        for text in ["12.50", "1250.0", "1e3", "1250e-2", "-0.0", "0.1"] {
            let (status, detail) = amount_of(text, "CNY").expect_err(text);
            assert_eq!(status, 400, "{text}");
            assert_eq!(detail, "amount must be a JSON integer in minor units, without point or exponent: CNY has 2 decimals, so 12.50 CNY is 1250.");
        }
        for text in ["\"1250\"", "true", "[1]", "{}"] {
            let (status, detail) = amount_of(text, "CNY").expect_err(text);
            assert_eq!(status, 400, "{text}");
            assert!(detail.starts_with("amount must be a JSON integer in minor units, not "), "{detail}");
        }
    }

    #[test]
    fn an_amount_out_of_range_has_the_right_form_and_the_wrong_meaning() {
        for text in ["0", "-1", "1000000000001", "9223372036854775808", "100000000000000000000", "-9999999999999999999"] {
            assert_eq!(amount_of(text, "CNY").expect_err(text).0, 422, "{text}");
        }
        for text in ["4242424242424242", "-4242424242424242"] {
            assert!(!amount_of(text, "CNY").expect_err(text).1.contains("4242"), "a card number in the wrong field is not repeated");
        }
    }

    #[test]
    fn a_currency_without_decimals_is_told_so() {
        let (status, detail) = amount_of("12.5", "JPY").expect_err("a fraction of a yen");
        assert_eq!(status, 400);
        assert!(detail.ends_with("JPY has no decimals, so 12 JPY is 12."), "{detail}");
        assert!(amount_of("1.5", "KWD").expect_err("a fraction").1.ends_with("KWD has 3 decimals, so 12.500 KWD is 12500."));
    }

    #[test]
    fn an_unknown_field_is_refused_by_its_full_name() {
        let object = parse(br#"{"payment_method":{"typ":"qr"}}"#).expect("JSON");
        let fields = Fields::of(&object, &["payment_method"]).expect("known");
        let problem = fields.object("payment_method", &["type"]).expect_err("unknown");
        assert_eq!((problem.code(), problem.param()), (ProblemCode::UnknownField, Some("payment_method.typ")));
    }

    #[test]
    fn metadata_is_bounded_and_holds_strings_only() {
        let metadata = |text: &str| {
            let object = parse(format!("{{\"metadata\":{text}}}").as_bytes()).expect("JSON");
            let fields = Fields::of(&object, &["metadata"]).expect("known");
            fields.metadata("metadata").map_err(|problem| (problem.code(), problem.param().map(str::to_owned)))
        };
        assert_eq!(metadata("null"), Ok(BTreeMap::new()));
        assert_eq!(metadata(r#"{"color":1}"#), Err((ProblemCode::InvalidRequest, Some("metadata.color".to_owned()))));
        assert_eq!(metadata(r#"{"":"x"}"#), Err((ProblemCode::InvalidRequest, Some("metadata.".to_owned()))));
        let many: Vec<String> = (0..21).map(|n| format!("\"k{n}\":\"v\"")).collect();
        assert_eq!(metadata(&format!("{{{}}}", many.join(","))), Err((ProblemCode::InvalidRequest, Some("metadata".to_owned()))));
        assert_eq!(metadata(&format!("{{\"k\":\"{}\"}}", "é".repeat(500))).map(|notes| notes.len()), Ok(1), "characters are counted, not bytes");
        assert_eq!(metadata(&format!("{{\"k\":\"{}\"}}", "é".repeat(501))), Err((ProblemCode::InvalidRequest, Some("metadata.k".to_owned()))));
        assert_eq!(metadata(r#"{"card":"4242 4242 4242 4242"}"#), Err((ProblemCode::CardNumberRefused, Some("metadata.card".to_owned()))));
        assert_eq!(metadata(r#"{"4242424242424242":"x"}"#), Err((ProblemCode::CardNumberRefused, Some("metadata".to_owned()))));
    }
}

//! Reading one table of the file, field by field. A derived deserializer stops at the first fault; this one notes it, takes the default and
//! goes on, so that one run names everything that is wrong. Whatever was not asked for by the end is an unknown field, and a fault too: a
//! misspelt limit must not silently be the default.

use std::fmt::Display;

use toml::{Table, Value};

use super::fault::Faults;

/// A table that is being read. Call [`Section::end`] when every field was asked for.
#[derive(Debug)]
pub(super) struct Section<'a> {
    path: String,
    table: Table,
    known: Vec<&'static str>,
    faults: &'a Faults<'a>,
}

impl<'a> Section<'a> {
    /// The table at `path`, which is empty for the whole file.
    pub(super) const fn new(path: String, table: Table, faults: &'a Faults<'a>) -> Self {
        Self { path, table, known: Vec::new(), faults }
    }

    /// The field's place in the file.
    pub(super) fn place(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// Reports a fault of a field.
    pub(super) fn fault(&self, field: &str, what: impl Into<String>, next: impl Into<String>) {
        self.faults.add(self.place(field), what, next);
    }

    /// Whether the field is there, whatever its type.
    pub(super) fn has(&self, field: &str) -> bool {
        self.table.contains_key(field)
    }

    /// Whether the field is there, and a list of nothing.
    pub(super) fn has_empty_list(&self, field: &str) -> bool {
        self.table.get(field).and_then(Value::as_array).is_some_and(Vec::is_empty)
    }

    /// The field's value as it stands, if it is there.
    pub(super) fn take(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        self.faults.ask(self.place(field));
        self.table.remove(field)
    }

    /// A table below this one; empty when it is left out.
    pub(super) fn section(&mut self, field: &'static str) -> Section<'a> {
        let table = match self.take(field) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.wrong_type(field, "a table", &other);
                Table::new()
            }
        };
        Section::new(self.place(field), table, self.faults)
    }

    /// A whole number within `low..=high`. Generic over the width alone, so that each setting has the type that its user needs.
    pub(super) fn number<T>(&mut self, field: &'static str, default: T, low: T, high: T) -> T
    where
        T: Copy + TryFrom<i64> + PartialOrd + Display,
    {
        self.number_or_none(field, low, high).unwrap_or(default)
    }

    /// The same, for a number without a default of its own.
    pub(super) fn number_or_none<T>(&mut self, field: &'static str, low: T, high: T) -> Option<T>
    where
        T: Copy + TryFrom<i64> + PartialOrd + Display,
    {
        let value = self.take(field)?;
        let Value::Integer(given) = value else {
            self.wrong_type(field, "a whole number", &value);
            return None;
        };
        match T::try_from(given) {
            Ok(number) if low <= number && number <= high => Some(number),
            _ => {
                self.fault(field, format!("it is {given}"), format!("give a number from {low} to {high}"));
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, field: &'static str, default: bool) -> bool {
        match self.take(field) {
            None => default,
            Some(Value::Boolean(flag)) => flag,
            Some(other) => {
                self.wrong_type(field, "true or false", &other);
                default
            }
        }
    }

    /// A text, if it is there.
    pub(super) fn text(&mut self, field: &'static str) -> Option<String> {
        match self.take(field)? {
            Value::String(text) => Some(text),
            other => {
                self.wrong_type(field, "a text in quotes", &other);
                None
            }
        }
    }

    /// A text that `parse` understands; `next` says what it understands. Not for secrets: a text that is not understood is repeated.
    pub(super) fn parsed<T>(&mut self, field: &'static str, next: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text(field)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.fault(field, format!("it is \"{}\"", text.escape_debug()), next);
        }
        parsed
    }

    /// A list of such texts, if it is there, without those that are not understood.
    pub(super) fn parsed_list<T>(&mut self, field: &'static str, next: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
        let values = self.list(field)?;
        let mut list = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            match value.as_str() {
                None => self.fault(&format!("{field}[{index}]"), format!("it is {}", article(value)), next),
                Some(text) => match parse(text) {
                    None => self.fault(&format!("{field}[{index}]"), format!("it is \"{}\"", text.escape_debug()), next),
                    Some(parsed) => list.push(parsed),
                },
            }
        }
        Some(list)
    }

    /// A list, if it is there.
    pub(super) fn list(&mut self, field: &'static str) -> Option<Vec<Value>> {
        match self.take(field)? {
            Value::Array(values) => Some(values),
            other => {
                self.wrong_type(field, "a list in square brackets", &other);
                None
            }
        }
    }

    /// Reports that a required field is absent.
    pub(super) fn missing(&self, field: &str, next: &str) {
        self.fault(field, "it is missing", next);
    }

    /// Reports a value of another type than asked for. The value itself is not repeated: it may be a secret in the wrong place.
    pub(super) fn wrong_type(&self, field: &str, wanted: &str, given: &Value) {
        self.fault(field, format!("it is {}", article(given)), format!("give {wanted}"));
    }

    /// Reports whatever was not asked for.
    pub(super) fn end(self) {
        for field in self.table.keys() {
            self.fault(field, "there is no such field", format!("remove it, or mean one of: {}", self.known.join(", ")));
        }
    }
}

/// The type of a value, in words.
fn article(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

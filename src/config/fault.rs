//! What is wrong with the settings: where, what, and what to do about it.

use std::cell::RefCell;
use std::fmt;

/// One thing that is wrong. Its text never holds a secret: values of text fields that may be one are not repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The settings file, as it was named.
    pub file: String,
    /// The field, from the top: `server.workers`, `channels[stripe_main].secret_key`. Empty when it is the file as a whole.
    pub field: String,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub next: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, field, what, next } = self;
        if field.is_empty() { write!(f, "{file}: {what}: {next}") } else { write!(f, "{file}: {field}: {what}: {next}") }
    }
}

/// Where the reading of one file collects its faults, so that the first does not hide the others.
#[derive(Debug)]
pub(super) struct Faults<'a> {
    file: &'a str,
    found: RefCell<Vec<Fault>>,
    /// Every field that was looked for, so that a test can hold the documented example against it.
    asked: RefCell<Vec<String>>,
}

impl<'a> Faults<'a> {
    /// None yet, in this file.
    pub(super) const fn of(file: &'a str) -> Self {
        Self { file, found: RefCell::new(Vec::new()), asked: RefCell::new(Vec::new()) }
    }

    /// One more.
    pub(super) fn add(&self, field: impl Into<String>, what: impl Into<String>, next: impl Into<String>) {
        self.found.borrow_mut().push(Fault { file: self.file.to_owned(), field: field.into(), what: what.into(), next: next.into() });
    }

    /// Notes that a field was looked for.
    pub(super) fn ask(&self, field: String) {
        self.asked.borrow_mut().push(field);
    }

    /// Every field that was looked for.
    #[cfg(test)]
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    /// The file.
    pub(super) const fn file(&self) -> &'a str {
        self.file
    }

    /// All of them, in the order of the file's sections.
    pub(super) fn into_found(self) -> Vec<Fault> {
        self.found.into_inner()
    }
}

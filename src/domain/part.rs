//! The parts of the work that one process may take on, so that a large installation runs each in processes of its own, on one database. What no
//! process takes on is not done: a refund that waits in its queue waits for a process with the refunds' part.

use std::fmt;
use std::str::FromStr;

/// A part of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Payments: create, capture, cancel.
    Payment,
    /// Refunds, and the queue of those that wait for their channel, a cancel's too.
    Refund,
    /// Looks for what is due and in doubt, and keeps the house.
    Poller,
    /// Webhooks to merchants.
    Notifier,
    /// The operators' routes.
    Ops,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 5] = [Self::Payment, Self::Refund, Self::Poller, Self::Notifier, Self::Ops];

    /// Its name in settings and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Refund => "refund",
            Self::Poller => "poller",
            Self::Notifier => "notifier",
            Self::Ops => "ops",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl FromStr for Part {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::as_str).join(", ");
        Self::ALL.into_iter().find(|part| part.as_str() == text).ok_or_else(|| format!("use some of {names}"))
    }
}

/// The parts that a process takes on. By default all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Parts(u8);

impl Parts {
    /// All of them.
    pub fn all() -> Self {
        Part::ALL.into_iter().collect()
    }

    /// Whether this one is among them.
    pub const fn have(self, part: Part) -> bool {
        self.0 & part.bit() != 0
    }

    /// Whether one of these is among them.
    pub fn have_one_of(self, parts: &[Part]) -> bool {
        parts.iter().any(|part| self.have(*part))
    }

    /// Whether there is none.
    pub const fn are_none(self) -> bool {
        self.0 == 0
    }
}

impl Default for Parts {
    fn default() -> Self {
        Self::all()
    }
}

impl FromIterator<Part> for Parts {
    fn from_iter<I: IntoIterator<Item = Part>>(parts: I) -> Self {
        Self(parts.into_iter().fold(0, |bits, part| bits | part.bit()))
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Part::ALL.into_iter().filter(|part| self.have(*part)).map(Part::as_str).collect();
        f.write_str(&names.join(","))
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_what_was_named_and_all_by_default() {
        let some: Parts = [Part::Refund, Part::Ops].into_iter().collect();
        assert_eq!(some.to_string(), "refund,ops");
        assert!(some.have(Part::Ops) && !some.have(Part::Payment) && some.have_one_of(&[Part::Payment, Part::Refund]));
        assert!(Part::ALL.into_iter().all(|part| Parts::default().have(part) && part.as_str().parse() == Ok(part)));
        assert!(Parts::from_iter([]).are_none() && "payments".parse::<Part>().is_err());
    }
}

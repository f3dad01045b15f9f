//! `[operations]`: what one operator may do alone.

use super::section::Section;

/// `[operations]`: what the people who run this installation may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationsSettings {
    /// Minor units, of whatever currency, of an unknown outcome that one operator may resolve alone; default 100,000, 0 to 10^12. Above it a
    /// second person must say the same. At 0 everything needs two; too high lets one person declare much money paid.
    pub resolve_alone_up_to: i64,
}

impl Default for OperationsSettings {
    fn default() -> Self {
        Self { resolve_alone_up_to: 100_000 }
    }
}

impl OperationsSettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = OperationsSettings::default();
        let settings =
            OperationsSettings { resolve_alone_up_to: section.number("resolve_alone_up_to", default.resolve_alone_up_to, 0, 1_000_000_000_000) };
        section.end();
        settings
    }
}

//! The fields of ISO 8583:1987 that we know, and how each encoding profile writes them. A message with any other bit set cannot be read,
//! because nobody could say where the next field begins.

/// What a field is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Decimal digits.
    Digits,
    /// Printable ASCII.
    Text,
    /// Bytes, held here as upper-case hexadecimal.
    Bytes,
}

/// How long a field is, in characters (bytes for [`Content::Bytes`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Exactly this.
    Exactly(usize),
    /// Two digits of length, then at most this.
    Two(usize),
    /// Three digits of length, then at most this.
    Three(usize),
}

impl Length {
    /// The longest value.
    pub(super) const fn max(self) -> usize {
        match self {
            Self::Exactly(length) | Self::Two(length) | Self::Three(length) => length,
        }
    }

    /// How many digits say the length.
    pub(super) const fn digits(self) -> usize {
        match self {
            Self::Exactly(_) => 0,
            Self::Two(_) => 2,
            Self::Three(_) => 3,
        }
    }
}

/// One field's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) content: Content,
    pub(super) length: Length,
    packed: Packed,
}

/// Which profiles write its digits two to a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packed {
    Never,
    /// C and D.
    Both,
    /// D alone.
    OnlyAll,
}

/// How a bank writes its messages. The names are those of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A: everything is ASCII, the bitmap too, as hexadecimal digits.
    AsciiHexBitmap,
    /// B: as A, with a binary bitmap.
    AsciiBinaryBitmap,
    /// C: message type, lengths and most numeric fields packed two digits to a byte; response code, currency and network code ASCII.
    Bcd,
    /// D: as C, with response code, currency and network code packed too.
    BcdAllNumeric,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Profile; 4] = [Self::AsciiHexBitmap, Self::AsciiBinaryBitmap, Self::Bcd, Self::BcdAllNumeric];

    /// The names, in the same order, for settings.
    pub const NAMES: &'static [&'static str] = &["ascii_hex_bitmap", "ascii_binary_bitmap", "bcd", "bcd_all_numeric"];

    /// The profile of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().position(|known| *known == name).and_then(|at| Self::ALL.get(at)).copied()
    }

    /// Whether message type and lengths are packed.
    pub(super) const fn is_packed(self) -> bool {
        matches!(self, Self::Bcd | Self::BcdAllNumeric)
    }

    /// Whether this field's digits are packed.
    pub(super) const fn packs(self, field: Field) -> bool {
        match (self, field.packed) {
            (Self::Bcd, Packed::Both) | (Self::BcdAllNumeric, Packed::Both | Packed::OnlyAll) => true,
            (Self::AsciiHexBitmap | Self::AsciiBinaryBitmap, _) | (_, Packed::Never) | (Self::Bcd, Packed::OnlyAll) => false,
        }
    }
}

const fn digits(length: Length) -> Option<Field> {
    Some(Field { content: Content::Digits, length, packed: Packed::Both })
}

const fn digits_of_d(length: usize) -> Option<Field> {
    Some(Field { content: Content::Digits, length: Length::Exactly(length), packed: Packed::OnlyAll })
}

const fn text(length: Length) -> Option<Field> {
    Some(Field { content: Content::Text, length, packed: Packed::Never })
}

const fn bytes(length: Length) -> Option<Field> {
    Some(Field { content: Content::Bytes, length, packed: Packed::Never })
}

/// The form of field `number`, if we know it.
pub(super) const fn form(number: u8) -> Option<Field> {
    use Length::{Exactly, Three, Two};
    match number {
        2 => digits(Two(19)),
        3 | 11 | 12 => digits(Exactly(6)),
        4..=6 => digits(Exactly(12)),
        7 => digits(Exactly(10)),
        13..=18 => digits(Exactly(4)),
        19..=24 => digits(Exactly(3)),
        25 => digits(Exactly(2)),
        32 | 33 => digits(Two(11)),
        // Track data has a separator among its digits: text to us, who never send it.
        35 => text(Two(37)),
        37 => text(Exactly(12)),
        38 => text(Exactly(6)),
        // Two letters or digits ("A0" is one): D packs it, and then it can only be digits. See `codec.rs`.
        39 => Some(Field { content: Content::Text, length: Exactly(2), packed: Packed::OnlyAll }),
        41 => text(Exactly(8)),
        42 => text(Exactly(15)),
        43 => text(Exactly(40)),
        44 => text(Two(25)),
        48 | 60..=63 => text(Three(999)),
        49..=51 | 70 => digits_of_d(3),
        52 | 64 | 128 => bytes(Exactly(8)),
        53 => digits(Exactly(16)),
        54 => text(Three(120)),
        55 => bytes(Three(255)),
        90 => digits(Exactly(42)),
        95 => text(Exactly(42)),
        100 => digits(Two(11)),
        102 | 103 => text(Two(28)),
        _ => None,
    }
}

//! The bank's own reading and writing of ISO 8583 messages. It shares no line with the orchestrator's: two that misread alike would agree.
//!
//! It is driven by a table of the standard's notation (`n6`, `n..19`, `ans15`, `b8`), and is as strict as a bank: what does not fit is no
//! message. The profiles are the four that `BankSettings` names.

use std::collections::BTreeMap;

/// A message: type and fields, digits and text as they are, bytes as hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Four digits.
    pub mti: String,
    /// By number.
    pub fields: BTreeMap<u8, String>,
}

impl Message {
    /// A field, or nothing of it.
    pub fn get(&self, number: u8) -> &str {
        self.fields.get(&number).map_or("", String::as_str)
    }

    /// Sets a field.
    pub fn set(&mut self, number: u8, value: impl Into<String>) {
        self.fields.insert(number, value.into());
    }
}

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// The bitmaps are hexadecimal digits.
    pub hex_bitmap: bool,
    /// Digits are packed, but for fields 39, 49 and 70.
    pub packed: bool,
    /// Those too.
    pub all_packed: bool,
}

impl Encoding {
    /// The encoding of a profile's name.
    pub fn parse(profile: &str) -> Option<Self> {
        let (hex_bitmap, packed, all_packed) = match profile {
            "ascii_hex_bitmap" => (true, false, false),
            "ascii_binary_bitmap" => (false, false, false),
            "bcd" => (false, true, false),
            "bcd_all_numeric" => (false, true, true),
            _ => return None,
        };
        Some(Self { hex_bitmap, packed, all_packed })
    }

    fn packs(self, number: u8, kind: &str) -> bool {
        match number {
            39 | 49 | 70 => self.all_packed,
            _ => self.packed && kind == "n",
        }
    }
}

const FORMATS: &[(u8, &str)] = &[
    (2, "n..19"),
    (3, "n6"),
    (4, "n12"),
    (7, "n10"),
    (11, "n6"),
    (12, "n6"),
    (13, "n4"),
    (14, "n4"),
    (15, "n4"),
    (18, "n4"),
    (22, "n3"),
    (25, "n2"),
    (32, "n..11"),
    (33, "n..11"),
    (35, "z..37"),
    (37, "an12"),
    (38, "an6"),
    (39, "an2"),
    (41, "ans8"),
    (42, "ans15"),
    (43, "ans40"),
    (48, "ans...999"),
    (49, "n3"),
    (52, "b8"),
    (54, "ans...120"),
    (60, "ans...999"),
    (61, "ans...999"),
    (62, "ans...999"),
    (63, "ans...999"),
    (64, "b8"),
    (70, "n3"),
    (90, "n42"),
    (95, "an42"),
    (100, "n..11"),
    (128, "b8"),
];

/// A field's kind, the dots of its length, and the length.
fn format(number: u8) -> Option<(&'static str, usize, usize)> {
    let (_, text) = FORMATS.iter().find(|(known, _)| *known == number)?;
    let kind = text.trim_end_matches(|character: char| character.is_ascii_digit() || character == '.');
    let dots = text.matches('.').count();
    Some((kind, dots, text.trim_start_matches(|character: char| !character.is_ascii_digit()).parse().ok()?))
}

/// Reads a message, or says which field is no good.
///
/// # Errors
/// The number of the first field that cannot be read: 0 for the type, 1 for the bitmap, 129 for what follows the last.
pub fn decode(bytes: &[u8], encoding: Encoding) -> Result<Message, u8> {
    let mut rest = bytes;
    let mti = digits(&mut rest, 4, encoding.packed).ok_or(0)?;
    let mut present = bits(&mut rest, encoding).ok_or(1)?;
    if present.contains(&1) {
        let second = bits(&mut rest, encoding).ok_or(1)?;
        present.extend(second.into_iter().map(|bit| bit + 64));
    }
    let mut message = Message { mti, fields: BTreeMap::new() };
    for number in present.into_iter().filter(|number| *number != 1) {
        let value = field(&mut rest, number, encoding).ok_or(number)?;
        message.fields.insert(number, value);
    }
    if rest.is_empty() { Ok(message) } else { Err(129) }
}

fn field(rest: &mut &[u8], number: u8, encoding: Encoding) -> Option<String> {
    let (kind, dots, max) = format(number)?;
    let length = if dots == 0 { max } else { digits(rest, dots, encoding.packed)?.parse().ok()? };
    if length > max {
        return None;
    }
    match kind {
        "b" if encoding.hex_bitmap => text(rest, length * 2),
        "b" => Some(split(rest, length)?.iter().map(|byte| format!("{byte:02X}")).collect()),
        _ if encoding.packs(number, kind) => digits(rest, length, true),
        "n" => digits(rest, length, false),
        _ => text(rest, length),
    }
}

fn split<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn text(rest: &mut &[u8], length: usize) -> Option<String> {
    let taken = split(rest, length)?;
    let printable = taken.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    printable.then(|| taken.iter().map(|byte| char::from(*byte)).collect())
}

fn digits(rest: &mut &[u8], count: usize, packed: bool) -> Option<String> {
    let read = if packed {
        let hex: String = split(rest, count.div_ceil(2))?.iter().map(|byte| format!("{byte:02x}")).collect();
        let odd = count % 2 == 1;
        if odd && !hex.starts_with('0') {
            return None;
        }
        hex[usize::from(odd)..].to_owned()
    } else {
        text(rest, count)?
    };
    read.bytes().all(|byte| byte.is_ascii_digit()).then_some(read)
}

fn bits(rest: &mut &[u8], encoding: Encoding) -> Option<Vec<u8>> {
    let bytes = if encoding.hex_bitmap {
        let hex = text(rest, 16)?;
        u64::from_str_radix(&hex, 16).ok()?
    } else {
        split(rest, 8)?.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
    };
    Some((1..=64).filter(|bit| bytes >> (64 - u32::from(*bit)) & 1 == 1).collect())
}

/// Writes a message of ours; every field is one that the table knows, and of the right width, because this side made it.
pub fn encode(message: &Message, encoding: Encoding) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, &message.mti, encoding.packed);
    let mut maps = [0_u64; 2];
    for number in message.fields.keys() {
        let place = usize::from(*number - 1);
        maps[place / 64] |= 1 << (63 - place % 64);
    }
    if maps[1] != 0 {
        maps[0] |= 1 << 63;
    }
    for map in maps.into_iter().take(if maps[1] == 0 { 1 } else { 2 }) {
        if encoding.hex_bitmap {
            out.extend(format!("{map:016X}").into_bytes());
        } else {
            out.extend(map.to_be_bytes());
        }
    }
    for (number, value) in &message.fields {
        let Some((kind, dots, _)) = format(*number) else { continue };
        if dots > 0 {
            put(&mut out, &format!("{:0dots$}", value.len()), encoding.packed);
        }
        put(&mut out, value, encoding.packs(*number, kind));
    }
    out
}

fn put(out: &mut Vec<u8>, value: &str, packed: bool) {
    if !packed {
        out.extend(value.bytes());
        return;
    }
    let even = if value.len() % 2 == 1 { format!("0{value}") } else { value.to_owned() };
    // Digits only: their low four bits are their value.
    out.extend(even.as_bytes().chunks(2).map(|pair| (pair[0] & 15) << 4 | pair[1] & 15));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_are_read_and_written_to_the_byte() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../../../tests/vectors/iso8583.json")).unwrap();
        let profiles = [
            ("A_ascii_hexbitmap", "ascii_hex_bitmap"),
            ("B_ascii_binbitmap", "ascii_binary_bitmap"),
            ("C_bcd", "bcd"),
            ("D_bcd_all_numeric", "bcd_all_numeric"),
        ];
        let mut compared = 0;
        for vector in vectors["messages"].as_array().unwrap() {
            let mut message = Message::default();
            for (name, value) in vector["fields"].as_object().unwrap() {
                match name.parse() {
                    Ok(number) => message.set(number, value.as_str().unwrap()),
                    Err(_) => message.mti = value.as_str().unwrap().to_owned(),
                }
            }
            for (label, profile) in profiles {
                let encoding = Encoding::parse(profile).unwrap();
                let hex = vector[label]["message_hex"].as_str().unwrap();
                let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
                assert_eq!(decode(&bytes, encoding).as_ref(), Ok(&message), "{} {label}", vector["name"]);
                assert_eq!(encode(&message, encoding), bytes, "{} {label}", vector["name"]);
                assert!(decode(&bytes[..bytes.len() - 1], encoding).is_err());
                compared += 1;
            }
        }
        assert_eq!(compared, 40);
    }
}

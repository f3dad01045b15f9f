//! Messages to bytes and back, strictly: what is read is exactly what was meant, or an error that names the field and the byte.
//!
//! A message is its type, a bitmap that says which fields follow, and the fields in ascending order. Bit 1 of the first bitmap says that there is a
//! second one. We only send a second one when it is needed; some peers always send it, so an empty one is accepted. Reading never panics and never
//! allocates more than the message's own length: every length is checked against what is there before it is used.
//!
//! Values are held in one form whatever the profile: digits and text as they are, bytes as hexadecimal. So the same [`Message`] can be
//! written in every profile, and what is compared is what was meant. Odd numbers of packed digits have a zero before them.

use std::collections::BTreeMap;
use std::fmt;

use thiserror::Error;

use super::field::{Content, Field, Length, Profile, form};

/// The longest message, in bytes: the largest that four digits of length can announce is 9,999; a bank's are some hundreds.
pub const MESSAGE_MAX: usize = 8 * 1024;

/// The fields whose values are never shown: numbers, expiry, tracks, PIN blocks, chip data, and the private ones, which may hold a security code.
const SECRET: &[u8] = &[2, 14, 35, 48, 52, 55, 60, 61, 62, 63, 102, 103];

/// A message, whatever its encoding. `Debug` shows no card data.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Four digits, such as `0200`.
    pub mti: String,
    fields: BTreeMap<u8, String>,
}

impl Message {
    /// A message of this type without fields.
    pub fn new(mti: &str) -> Self {
        Self { mti: mti.to_owned(), fields: BTreeMap::new() }
    }

    /// The same with a field. What does not fit the field is found when the message is written.
    #[must_use]
    pub fn with(mut self, number: u8, value: impl Into<String>) -> Self {
        self.fields.insert(number, value.into());
        self
    }

    /// The same with a field where there is a value for it.
    #[must_use]
    pub fn with_some(self, number: u8, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with(number, value),
            None => self,
        }
    }

    /// A field's value.
    pub fn get(&self, number: u8) -> Option<&str> {
        self.fields.get(&number).map(String::as_str)
    }

    /// Its fields, ascending.
    pub fn fields(&self) -> impl Iterator<Item = (u8, &str)> {
        self.fields.iter().map(|(number, value)| (*number, value.as_str()))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_map();
        shown.entry(&"mti", &self.mti);
        for (number, value) in &self.fields {
            if SECRET.contains(number) {
                shown.entry(number, &format_args!("({} characters)", value.len()));
            } else {
                shown.entry(number, value);
            }
        }
        shown.finish()
    }
}

/// Why a message cannot be written or read. The field is 0 for the message type, 1 for the bitmaps, 129 for what follows the last field; the
/// byte is counted from the message's first, and is where the field begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("field {field} at byte {offset}: {why}")]
pub struct CodecError {
    /// Which field.
    pub field: u8,
    /// Where it begins.
    pub offset: usize,
    /// What is wrong with it.
    pub why: Wrong,
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Wrong {
    /// The message ends before the field does.
    #[error("the message ends within it")]
    Truncated,
    /// Not digits, or not printable, or not hexadecimal, as the field asks.
    #[error("it holds what it may not")]
    Content,
    /// The value's length is not the field's.
    #[error("its length does not fit")]
    Length,
    /// The field is not among those that we know.
    #[error("the field is not known")]
    Unknown,
    /// Something follows the last field.
    #[error("{0} bytes follow the last field")]
    Trailing(usize),
    /// The message is longer than [`MESSAGE_MAX`].
    #[error("the message is too long")]
    TooLong,
}

/// The message's bytes, without any frame.
///
/// # Errors
/// [`CodecError`] names the first field whose value does not fit it.
pub fn write(message: &Message, profile: Profile) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(256);
    if message.mti.len() != 4 || !is_digits(message.mti.as_bytes()) {
        return Err(CodecError { field: 0, offset: 0, why: Wrong::Content });
    }
    put_digits(&mut out, &message.mti, profile.is_packed());
    put_bitmap(&mut out, message, profile);
    for (number, value) in message.fields() {
        let wrong = |why| CodecError { field: number, offset: out.len(), why };
        let Some(field) = form(number) else { return Err(wrong(Wrong::Unknown)) };
        check(field, value, profile).map_err(wrong)?;
        put(&mut out, field, value, profile);
    }
    if out.len() > MESSAGE_MAX {
        return Err(CodecError { field: 129, offset: out.len(), why: Wrong::TooLong });
    }
    Ok(out)
}

/// Reads a whole message.
///
/// # Errors
/// [`CodecError`] names the first field that cannot be read, and where it begins.
pub fn read(bytes: &[u8], profile: Profile) -> Result<Message, CodecError> {
    let mut message = Message::default();
    read_into(&mut message, bytes, profile)?;
    Ok(message)
}

/// As [`read`], keeping what was read before an error: enough, as a rule, to know whose answer could not be read.
///
/// # Errors
/// As [`read`].
pub fn read_into(message: &mut Message, bytes: &[u8], profile: Profile) -> Result<(), CodecError> {
    let mut at = Cursor { bytes, offset: 0 };
    if bytes.len() > MESSAGE_MAX {
        return Err(CodecError { field: 129, offset: MESSAGE_MAX, why: Wrong::TooLong });
    }
    message.mti = at.digits(4, profile.is_packed()).map_err(|why| CodecError { field: 0, offset: 0, why })?;
    let offset = at.offset;
    let bitmap = at.bitmaps(profile).map_err(|why| CodecError { field: 1, offset, why })?;
    for number in 2..=128_u8 {
        if bitmap & (1 << (128 - u32::from(number))) == 0 {
            continue;
        }
        let offset = at.offset;
        let wrong = |why| CodecError { field: number, offset, why };
        let field = form(number).ok_or_else(|| wrong(Wrong::Unknown))?;
        let value = at.value(field, profile).map_err(wrong)?;
        message.fields.insert(number, value);
    }
    match bytes.len() - at.offset {
        0 => Ok(()),
        left => Err(CodecError { field: 129, offset: at.offset, why: Wrong::Trailing(left) }),
    }
}

fn put_bitmap(out: &mut Vec<u8>, message: &Message, profile: Profile) {
    let mut bitmap: u128 = 0;
    for (number, _) in message.fields() {
        // A number above 128 has no bit; its field is refused as unknown right after this.
        bitmap |= 128_u32.checked_sub(u32::from(number)).and_then(|shift| 1_u128.checked_shl(shift)).unwrap_or(0);
    }
    let two = bitmap & u128::from(u64::MAX) != 0;
    if two {
        bitmap |= 1 << 127;
    }
    let bytes = bitmap.to_be_bytes();
    let bytes = if two { &bytes[..] } else { &bytes[..8] };
    match profile {
        Profile::AsciiHexBitmap => out.extend(hex(bytes).bytes()),
        _ => out.extend(bytes),
    }
}

/// Whether `value` can stand in this field.
fn check(field: Field, value: &str, profile: Profile) -> Result<(), Wrong> {
    let sound = match field.content {
        Content::Digits => is_digits(value.as_bytes()),
        // Packed text is text that must be digits this time.
        Content::Text if profile.packs(field) => is_digits(value.as_bytes()),
        Content::Text => is_printable(value.as_bytes()),
        Content::Bytes => value.len().is_multiple_of(2) && value.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte)),
    };
    if !sound {
        return Err(Wrong::Content);
    }
    let length = if field.content == Content::Bytes { value.len() / 2 } else { value.len() };
    let fits = match field.length {
        Length::Exactly(exact) => length == exact,
        Length::Two(max) | Length::Three(max) => length <= max,
    };
    if fits { Ok(()) } else { Err(Wrong::Length) }
}

fn put(out: &mut Vec<u8>, field: Field, value: &str, profile: Profile) {
    if field.length.digits() > 0 {
        let length = if field.content == Content::Bytes { value.len() / 2 } else { value.len() };
        put_digits(out, &format!("{length:0width$}", width = field.length.digits()), profile.is_packed());
    }
    match field.content {
        Content::Bytes if profile == Profile::AsciiHexBitmap => out.extend(value.bytes()),
        Content::Bytes => out.extend(value.as_bytes().chunks_exact(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1]))),
        Content::Digits | Content::Text => put_digits(out, value, profile.packs(field)),
    }
}

/// Text as it is, or digits two to a byte, with a zero before an odd number of them.
fn put_digits(out: &mut Vec<u8>, value: &str, packed: bool) {
    if !packed {
        out.extend(value.bytes());
        return;
    }
    let (first, rest) = value.as_bytes().split_at(value.len() % 2);
    out.extend(first.iter().copied().map(nibble));
    out.extend(rest.chunks_exact(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])));
}

/// The value of a hexadecimal digit; what is none was refused before.
const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}

fn is_digits(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit)
}

fn is_printable(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| (b' '..=b'~').contains(byte))
}

/// A message that is being read.
struct Cursor<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Cursor<'_> {
    fn take(&mut self, length: usize) -> Result<&[u8], Wrong> {
        let taken = self.bytes.get(self.offset..self.offset.saturating_add(length)).ok_or(Wrong::Truncated)?;
        self.offset += length;
        Ok(taken)
    }

    /// `count` digits.
    fn digits(&mut self, count: usize, packed: bool) -> Result<String, Wrong> {
        if !packed {
            let taken = self.take(count)?;
            return if is_digits(taken) { Ok(ascii(taken)) } else { Err(Wrong::Content) };
        }
        let unpacked = hex(self.take(count.div_ceil(2))?);
        // The zero before an odd number of digits must be one.
        let (pad, value) = unpacked.split_at(count % 2);
        if matches!(pad, "" | "0") && is_digits(value.as_bytes()) { Ok(value.to_owned()) } else { Err(Wrong::Content) }
    }

    fn bitmaps(&mut self, profile: Profile) -> Result<u128, Wrong> {
        let first = self.bitmap(profile)?;
        let second = if first >> 63 == 1 { self.bitmap(profile)? } else { 0 };
        // Bit 65 would say that there is a third one, which 1987 does not have.
        if second >> 63 == 1 {
            return Err(Wrong::Unknown);
        }
        Ok(u128::from(first) << 64 | u128::from(second))
    }

    fn bitmap(&mut self, profile: Profile) -> Result<u64, Wrong> {
        let mut bitmap = [0; 8];
        if profile == Profile::AsciiHexBitmap {
            let digits = self.take(16)?;
            for (byte, pair) in bitmap.iter_mut().zip(digits.chunks_exact(2)) {
                *byte = unhex(pair)?;
            }
        } else {
            bitmap.copy_from_slice(self.take(8)?);
        }
        Ok(u64::from_be_bytes(bitmap))
    }

    fn value(&mut self, field: Field, profile: Profile) -> Result<String, Wrong> {
        let length = match field.length {
            Length::Exactly(length) => length,
            Length::Two(_) | Length::Three(_) => {
                let said = self.digits(field.length.digits(), profile.is_packed())?;
                // Three digits at most, so it always is a number.
                said.parse().map_err(|_| Wrong::Content)?
            }
        };
        if length > field.length.max() {
            return Err(Wrong::Length);
        }
        match field.content {
            Content::Bytes if profile == Profile::AsciiHexBitmap => {
                let digits = self.take(length * 2)?;
                digits.chunks_exact(2).map(unhex).collect::<Result<Vec<u8>, Wrong>>().map(|bytes| hex(&bytes))
            }
            Content::Bytes => self.take(length).map(hex),
            Content::Digits => self.digits(length, profile.packs(field)),
            Content::Text if profile.packs(field) => self.digits(length, true),
            Content::Text => {
                let taken = self.take(length)?;
                if is_printable(taken) { Ok(ascii(taken)) } else { Err(Wrong::Content) }
            }
        }
    }
}

/// Bytes that were seen to be ASCII.
fn ascii(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Two hexadecimal digits; small letters are read too, and written large.
fn unhex(pair: &[u8]) -> Result<u8, Wrong> {
    let mut byte = 0;
    for digit in pair {
        let digit = digit.to_ascii_uppercase();
        if !digit.is_ascii_hexdigit() {
            return Err(Wrong::Content);
        }
        byte = byte << 4 | nibble(digit);
    }
    Ok(byte)
}

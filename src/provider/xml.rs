//! XML as wallets speak it: one root, one element a field, values in CDATA. The flat, signed map of WeChat's first protocols and its relatives.
//!
//! XML can say far more than such a map, and everything more is a way to be hurt: a document type that expands for ever or reads files (XXE), a
//! field twice that two parsers read differently (so that what was signed is not what is used), an element hidden in a comment or an attribute. So
//! what is not the flat map is refused, by name and place, and never skipped:
//!
//! - UTF-8 alone, without a byte order mark; a declaration, if any, is first, of version 1.0, and says nothing else;
//! - no document type, processing instruction, comment, attribute, namespace; no reference but the five that XML itself knows
//!   (`&lt; &gt; &amp; &quot; &apos;`), and so no character references either;
//! - one root of the name that was asked for, fields directly within it, text within those; nothing but white space elsewhere, also after the root;
//! - no field twice; bounds on the document, the fields, their names and values. Nothing nests, so there is no stack to grow.
//!
//! Line ends are read as XML 1.0 demands (2.11: CR LF and CR are LF), so a CR cannot be carried, and writing one is an error rather than a
//! signature that the peer finds wrong. The specification: <https://www.w3.org/TR/xml/>.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use quick_xml::Reader;
use quick_xml::events::{BytesDecl, BytesStart, Event};
use thiserror::Error;

/// The longest document, in bytes. A wallet's largest is some kilobytes.
pub const DOCUMENT_MAX: usize = 64 * 1024;
/// The most fields. A reply about one payment has some tens; lists number theirs (`_0`, `_1`, …) and come in pages.
pub const FIELDS_MAX: usize = 256;
/// The longest name of a field or root, in bytes.
pub const NAME_MAX: usize = 64;
/// The longest value, in bytes. The longest documented one (an order's detail) has 6,000 characters.
pub const VALUE_MAX: usize = 24 * 1024;

/// A document that was refused, read or to be written: where, and why. It holds names, never a value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("byte {at}: {why}")]
pub struct XmlError {
    /// The byte, from 0, of the document at which what is wrong begins. For what was to be written, always 0.
    pub at: usize,
    /// What is wrong there.
    pub why: Fault,
}

/// What is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Longer than [`DOCUMENT_MAX`].
    TooLong,
    /// More fields than [`FIELDS_MAX`].
    TooManyFields,
    /// A value longer than [`VALUE_MAX`], in this field.
    ValueTooLong(String),
    /// Not UTF-8, or with a byte order mark before it.
    Encoding,
    /// A character that XML cannot carry, or not unchanged: a control character, or (in what is written) a carriage return.
    Character(char),
    /// Not well-formed, in this way: an element closed by another name, a mark that does not end, `&` standing alone.
    Malformed(&'static str),
    /// A construct that has no place in a flat map, by its name in a sentence: "a comment".
    Forbidden(&'static str),
    /// A reference that is not one of the five.
    Reference,
    /// A name that is empty, too long, or has other characters than ASCII letters, digits, `_`, `-` and `.`, or begins with no letter or `_`.
    Name,
    /// The root has another name than this one, which was asked for.
    Root(String),
    /// An element within this field.
    Nested(String),
    /// This field stands there twice.
    Twice(String),
    /// Text outside of any field.
    Text,
    /// The document ends before its root does, or holds none.
    Ends,
    /// Something other than white space follows the root.
    Trailing,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the document has more than {DOCUMENT_MAX} bytes"),
            Self::TooManyFields => write!(f, "there are more than {FIELDS_MAX} fields"),
            Self::ValueTooLong(name) => write!(f, "the value of {name} has more than {VALUE_MAX} bytes"),
            Self::Encoding => f.write_str("this is not UTF-8 without a byte order mark"),
            Self::Character(character) => write!(f, "the character U+{:04X} cannot be carried", u32::from(*character)),
            Self::Malformed(detail) => write!(f, "not well-formed: {detail}"),
            Self::Forbidden(what) => write!(f, "{what} has no place here"),
            Self::Reference => f.write_str("a reference other than the five of XML"),
            Self::Name => write!(f, "a name is 1 to {NAME_MAX} of A-Z, a-z, 0-9, '_', '-' and '.', and begins with a letter or '_'"),
            Self::Root(name) => write!(f, "the root is not {name}"),
            Self::Nested(name) => write!(f, "an element within the field {name}"),
            Self::Twice(name) => write!(f, "the field {name} stands there twice"),
            Self::Text => f.write_str("text outside of any field"),
            Self::Ends => f.write_str("the document ends before its root does"),
            Self::Trailing => f.write_str("something follows the root"),
        }
    }
}

/// Writes a map: no declaration, every value in CDATA, fields in the order of their names.
///
/// # Errors
/// [`XmlError`] for a name or value that cannot be read back as it is, and for what exceeds the bounds above.
pub fn encode(root: &str, fields: &BTreeMap<String, String>) -> Result<Vec<u8>, XmlError> {
    let wrong = |why| XmlError { at: 0, why };
    if !is_name(root) || fields.keys().any(|name| !is_name(name)) {
        return Err(wrong(Fault::Name));
    }
    if fields.len() > FIELDS_MAX {
        return Err(wrong(Fault::TooManyFields));
    }
    let mut document = format!("<{root}>");
    for (name, value) in fields {
        if value.len() > VALUE_MAX {
            return Err(wrong(Fault::ValueTooLong(name.clone())));
        }
        if let Some(character) = value.chars().find(|character| *character == '\r' || !is_character(*character)) {
            return Err(wrong(Fault::Character(character)));
        }
        // The end mark within a value is cut between two sections: the only way to carry it.
        let value = value.replace("]]>", "]]]]><![CDATA[>");
        document.push_str(&format!("<{name}><![CDATA[{value}]]></{name}>"));
    }
    document.push_str(&format!("</{root}>"));
    if document.len() > DOCUMENT_MAX { Err(wrong(Fault::TooLong)) } else { Ok(document.into_bytes()) }
}

/// Reads a document whose root has this name.
///
/// # Errors
/// [`XmlError`] for everything that the head of this module refuses.
pub fn decode(root: &str, bytes: &[u8]) -> Result<BTreeMap<String, String>, XmlError> {
    if bytes.len() > DOCUMENT_MAX {
        return Err(XmlError { at: DOCUMENT_MAX, why: Fault::TooLong });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| XmlError { at: error.valid_up_to(), why: Fault::Encoding })?;
    if text.starts_with('\u{feff}') {
        return Err(XmlError { at: 0, why: Fault::Encoding });
    }
    if let Some((at, character)) = text.char_indices().find(|(_, character)| !is_character(*character)) {
        return Err(XmlError { at, why: Fault::Character(character) });
    }
    Document { reader: Reader::from_str(text), root, place: Place::Before, fields: BTreeMap::new() }.read()
}

/// Where in a document we are.
enum Place {
    /// Nothing but a declaration and white space has been seen.
    Before,
    /// Within the root, between fields.
    Within,
    /// Within a field, with what its value is so far.
    Field { name: String, value: String },
    /// The root has ended.
    After,
}

struct Document<'a> {
    reader: Reader<&'a [u8]>,
    root: &'a str,
    place: Place,
    fields: BTreeMap<String, String>,
}

impl Document<'_> {
    fn read(mut self) -> Result<BTreeMap<String, String>, XmlError> {
        loop {
            // Fits: the document is at most DOCUMENT_MAX long.
            let at = usize::try_from(self.reader.buffer_position()).unwrap_or(DOCUMENT_MAX);
            let event = self.reader.read_event().map_err(|error| XmlError { at, why: malformed(&error) })?;
            let is_over = matches!(event, Event::Eof);
            self.take(&event, at).map_err(|why| XmlError { at, why })?;
            if is_over {
                return Ok(self.fields);
            }
        }
    }

    fn take(&mut self, event: &Event<'_>, at: usize) -> Result<(), Fault> {
        match event {
            Event::Start(tag) => self.opens(tag),
            Event::Empty(tag) => {
                self.opens(tag)?;
                self.closes()
            }
            // The parser has compared its name with the opening tag's.
            Event::End(_) => self.closes(),
            Event::Text(text) => self.says(&text.xml10_content(), "]]> outside of CDATA"),
            Event::CData(data) => match self.place {
                // An empty section would pass for white space.
                Place::Field { .. } => self.says(&data.xml10_content(), ""),
                _ => Err(Fault::Text),
            },
            Event::GeneralRef(name) => match (name.xml10_content().as_ref(), &self.place) {
                (_, Place::Before | Place::Within | Place::After) => Err(Fault::Text),
                ("lt", _) => self.says("<", ""),
                ("gt", _) => self.says(">", ""),
                ("amp", _) => self.says("&", ""),
                ("quot", _) => self.says("\"", ""),
                ("apos", _) => self.says("'", ""),
                _ => Err(Fault::Reference),
            },
            Event::Decl(declaration) if at == 0 => is_plain(declaration),
            Event::Decl(_) => Err(Fault::Forbidden("a declaration after the beginning")),
            Event::DocType(_) => Err(Fault::Forbidden("a document type")),
            Event::PI(_) => Err(Fault::Forbidden("a processing instruction")),
            Event::Comment(_) => Err(Fault::Forbidden("a comment")),
            Event::Eof => match self.place {
                Place::After => Ok(()),
                _ => Err(Fault::Ends),
            },
        }
    }

    fn opens(&mut self, tag: &BytesStart<'_>) -> Result<(), Fault> {
        let qualified = tag.name();
        let name: &str = qualified.as_ref();
        if !is_name(name) {
            return Err(Fault::Name);
        }
        if !tag.attributes_raw().trim().is_empty() {
            return Err(Fault::Forbidden("an attribute"));
        }
        self.place = match &self.place {
            Place::Before if name == self.root => Place::Within,
            Place::Before => return Err(Fault::Root(self.root.to_owned())),
            Place::Within if self.fields.contains_key(name) => return Err(Fault::Twice(name.to_owned())),
            Place::Within if self.fields.len() == FIELDS_MAX => return Err(Fault::TooManyFields),
            Place::Within => Place::Field { name: name.to_owned(), value: String::new() },
            Place::Field { name, .. } => return Err(Fault::Nested(name.clone())),
            Place::After => return Err(Fault::Trailing),
        };
        Ok(())
    }

    fn closes(&mut self) -> Result<(), Fault> {
        self.place = match std::mem::replace(&mut self.place, Place::After) {
            Place::Field { name, value } => {
                self.fields.insert(name, value);
                Place::Within
            }
            Place::Within => Place::After,
            Place::Before | Place::After => return Err(Fault::Trailing),
        };
        Ok(())
    }

    /// Text that was read, as it counts. `marked` is what to call a section's end mark in it, which only CDATA may not hold by itself.
    fn says(&mut self, text: &str, marked: &'static str) -> Result<(), Fault> {
        match &mut self.place {
            Place::Field { .. } if !marked.is_empty() && text.contains("]]>") => Err(Fault::Forbidden(marked)),
            Place::Field { name, value } if value.len() + text.len() > VALUE_MAX => Err(Fault::ValueTooLong(name.clone())),
            Place::Field { value, .. } => {
                value.push_str(text);
                Ok(())
            }
            _ if text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) => Ok(()),
            Place::After => Err(Fault::Trailing),
            Place::Before | Place::Within => Err(Fault::Text),
        }
    }
}

/// What the parser found, in words of ours: its own would repeat whatever a stranger wrote there.
fn malformed(error: &quick_xml::Error) -> Fault {
    use quick_xml::errors::IllFormedError;
    Fault::Malformed(match error {
        quick_xml::Error::Syntax(_) => "a mark that does not end",
        quick_xml::Error::IllFormed(IllFormedError::MismatchedEndTag { .. }) => "an element is closed by another name",
        quick_xml::Error::IllFormed(IllFormedError::UnmatchedEndTag(_)) => "what is closed was not open",
        quick_xml::Error::IllFormed(IllFormedError::UnclosedReference) => "an & that begins no reference",
        _ => "its marks",
    })
}

/// Whether a declaration says what is so anyway: version 1.0, UTF-8, and maybe that the document stands alone.
fn is_plain(declaration: &BytesDecl<'_>) -> Result<(), Fault> {
    const BROKEN: Fault = Fault::Malformed("the declaration");
    let version = declaration.version().map_err(|_| BROKEN)?;
    let encoding: Option<Cow<'_, str>> = declaration.encoding().transpose().map_err(|_| BROKEN)?;
    let alone = declaration.standalone().transpose().map_err(|_| BROKEN)?;
    if version != "1.0" {
        return Err(Fault::Forbidden("another version of XML than 1.0"));
    }
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("utf-8")) {
        return Err(Fault::Encoding);
    }
    if alone.is_some_and(|alone| !matches!(alone.as_ref(), "yes" | "no")) { Err(BROKEN) } else { Ok(()) }
}

/// A name as wallets form them; no colon, so no namespaces.
fn is_name(name: &str) -> bool {
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    begins && name.len() <= NAME_MAX && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// XML 1.0, production 2.
const fn is_character(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

#[cfg(test)]
#[path = "xml_tests.rs"]
mod tests;

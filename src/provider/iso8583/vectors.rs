//! Against what others made: ten messages in four encodings by pyiso8583 4.0.1; A, B and D byte for byte as iso8583sim 1.6.0 writes them.

use serde_json::Value;

use super::codec::{CodecError, Message, Wrong, read, read_into, write};
use super::field::Profile;
use crate::provider::socket::{Cut, Framing, Header};

const NAMES: [(&str, Profile); 4] = [
    ("A_ascii_hexbitmap", Profile::AsciiHexBitmap),
    ("B_ascii_binbitmap", Profile::AsciiBinaryBitmap),
    ("C_bcd", Profile::Bcd),
    ("D_bcd_all_numeric", Profile::BcdAllNumeric),
];

/// The messages of the file.
pub(super) fn messages() -> Vec<(String, Message, Value)> {
    let vectors: Value = serde_json::from_str(include_str!("../../../tests/vectors/iso8583.json")).expect("the vectors are JSON");
    let messages = vectors["messages"].as_array().expect("messages").clone();
    messages
        .into_iter()
        .map(|vector| {
            let fields = vector["fields"].as_object().expect("fields");
            let mut message = Message::new(fields["t"].as_str().expect("a type"));
            for (number, value) in fields.iter().filter(|(number, _)| *number != "t") {
                message = message.with(number.parse().expect("a number"), value.as_str().expect("a text"));
            }
            (vector["name"].as_str().expect("a name").to_owned(), message, vector.clone())
        })
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex")).collect()
}

#[test]
fn every_vector_is_written_and_read_in_every_profile() {
    let messages = messages();
    assert_eq!(messages.len(), 10);
    let framing = Framing { header: Header::TwoBytes, tpdu: None };
    for (name, message, vector) in messages {
        for (label, profile) in NAMES {
            let expected = unhex(vector[label]["message_hex"].as_str().expect("hex"));
            let written = write(&message, profile).expect("it can be written");
            assert_eq!(written, expected, "{name} in {label}");
            assert_eq!(read(&expected, profile).as_ref(), Ok(&message), "{name} in {label}");
            let framed = unhex(vector[label]["framed_hex"].as_str().expect("hex"));
            assert_eq!(framing.wrap(&written).expect("it fits"), framed, "{name} in {label}");
            let Ok(Cut::Message { message: cut, taken }) = framing.cut(&framed) else { panic!("{name} in {label} is a whole frame") };
            assert_eq!((&framed[cut], taken), (&expected[..], framed.len()));
        }
    }
}

#[test]
fn a_message_that_ends_anywhere_is_an_error_that_names_the_field_where_it_broke_off() {
    for (name, message, _) in messages() {
        for profile in Profile::ALL {
            let whole = write(&message, profile).expect("it can be written");
            for length in 0..whole.len() {
                let error = read(&whole[..length], profile).expect_err("it is cut off");
                assert_eq!(error.why, Wrong::Truncated, "{name} cut to {length}");
                assert!(error.offset <= length, "{name}: {error}");
                assert!(error.field < 2 || message.get(error.field).is_some(), "{name}: {error}");
            }
        }
    }
}

#[test]
fn an_error_names_the_field_and_the_byte_where_it_begins() {
    let (_, message, _) = messages().swap_remove(0);
    let mut bytes = write(&message, Profile::AsciiBinaryBitmap).expect("it can be written");
    // 4 of type, 8 of bitmap, 2 + 19 of number, 6 of processing code.
    bytes[4 + 8 + 21 + 6 + 3] = b'x';
    assert_eq!(read(&bytes, Profile::AsciiBinaryBitmap), Err(CodecError { field: 4, offset: 39, why: Wrong::Content }));
    let mut partly = Message::default();
    assert!(read_into(&mut partly, &bytes, Profile::AsciiBinaryBitmap).is_err());
    assert_eq!((partly.mti.as_str(), partly.get(3), partly.get(4)), ("0200", Some("000000"), None));

    bytes.truncate(4);
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(read(&bytes, Profile::AsciiBinaryBitmap), Err(CodecError { field: 129, offset: 12, why: Wrong::Trailing(1) }));
    bytes[4] = 0x04;
    assert_eq!(read(&bytes, Profile::AsciiBinaryBitmap).map_err(|error| (error.field, error.offset)), Err((6, 12)));
    bytes[4..12].copy_from_slice(&[0, 0, 0, 0, 0x40, 0, 0, 0]);
    assert_eq!(read(&bytes, Profile::AsciiBinaryBitmap), Err(CodecError { field: 34, offset: 12, why: Wrong::Unknown }));
}

#[test]
fn what_does_not_fit_its_field_is_not_written() {
    let wrong = |number: u8, value: &str, profile| write(&Message::new("0200").with(number, value), profile).expect_err("it must be refused").why;
    let ascii = Profile::AsciiBinaryBitmap;
    assert_eq!(wrong(4, "12", ascii), Wrong::Length);
    assert_eq!(wrong(4, "12345678901x", ascii), Wrong::Content);
    assert_eq!(wrong(2, "12345678901234567890", ascii), Wrong::Length);
    assert_eq!(wrong(42, "naïve 123456789", ascii), Wrong::Content);
    assert_eq!(wrong(34, "1", ascii), Wrong::Unknown);
    assert_eq!(wrong(200, "1", ascii), Wrong::Unknown);
    assert_eq!(wrong(52, "0011", ascii), Wrong::Length);
    assert_eq!(wrong(52, "001122334455667g", ascii), Wrong::Content);
    // "A0" is a response code that profile D has no way to write.
    assert_eq!(wrong(39, "A0", Profile::BcdAllNumeric), Wrong::Content);
    assert!(write(&Message::new("0210").with(39, "A0"), Profile::Bcd).is_ok());
    assert_eq!(write(&Message::new("02x0"), ascii).map_err(|error| error.field), Err(0));
}

#[test]
fn an_empty_second_bitmap_is_accepted_and_a_pad_that_is_not_zero_is_not() {
    let (_, message, vector) = messages().swap_remove(2);
    let lean = unhex(vector["B_ascii_binbitmap"]["message_hex"].as_str().expect("hex"));
    let mut padded = lean[..12].to_vec();
    padded[4] |= 0x80;
    padded.extend([0; 8]);
    padded.extend(&lean[12..]);
    assert_eq!(read(&padded, Profile::AsciiBinaryBitmap).as_ref(), Ok(&message));

    let packed = write(&Message::new("0210").with(49, "156"), Profile::BcdAllNumeric).expect("it can be written");
    let mut wrong = packed.clone();
    wrong[10] |= 0x10;
    assert!(read(&packed, Profile::BcdAllNumeric).is_ok());
    assert_eq!(read(&wrong, Profile::BcdAllNumeric).map_err(|error| error.why), Err(Wrong::Content));
}

#[test]
fn a_message_shows_no_card_data() {
    let message = Message::new("0200").with(2, "6222020200000000001").with(14, "3012").with(48, "cvv 123").with(11, "000123");
    let shown = format!("{message:?}");
    assert!(shown.contains("000123") && !shown.contains("6222") && !shown.contains("3012") && !shown.contains("cvv"), "{shown}");
}

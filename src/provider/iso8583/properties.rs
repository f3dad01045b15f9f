//! What holds for every message and every string of bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::codec::{Message, read, write};
use super::field::{Content, Length, Profile, form};

fn value(number: u8) -> BoxedStrategy<String> {
    let field = form(number).expect("a field that we know");
    let length = match field.length {
        Length::Exactly(length) => length..=length,
        Length::Two(max) | Length::Three(max) => 0..=max,
    };
    let digits = move |length: std::ops::RangeInclusive<usize>| vec(b'0'..=b'9', length).prop_map(text);
    match field.content {
        Content::Digits => digits(length).boxed(),
        // Every profile can write it when it is digits.
        Content::Text if number == 39 => digits(length).boxed(),
        Content::Text => vec(b' '..=b'~', length).prop_map(text).boxed(),
        Content::Bytes => vec(any::<u8>(), length).prop_map(|bytes| bytes.iter().map(|byte| format!("{byte:02X}")).collect()).boxed(),
    }
}

fn text(bytes: Vec<u8>) -> String {
    bytes.into_iter().map(char::from).collect()
}

fn message() -> impl Strategy<Value = Message> {
    let known: Vec<u8> = (2..=128).filter(|number| form(*number).is_some()).collect();
    let field = proptest::sample::select(known).prop_flat_map(|number| (Just(number), value(number)));
    let fields = vec(field, 0..24).prop_map(|fields| fields.into_iter().collect::<std::collections::BTreeMap<_, _>>());
    (0..1000_u16, fields)
        .prop_map(|(mti, fields)| fields.into_iter().fold(Message::new(&format!("{mti:04}")), |message, (number, value)| message.with(number, value)))
}

fn profile() -> impl Strategy<Value = Profile> {
    proptest::sample::select(Profile::ALL.to_vec())
}

proptest! {
    #[test]
    fn what_was_written_is_read_as_it_was_meant(message in message(), profile in profile()) {
        let bytes = write(&message, profile).expect("it fits");
        prop_assert_eq!(read(&bytes, profile), Ok(message));
    }

    #[test]
    fn any_bytes_are_read_or_refused_and_what_is_read_is_written_alike(bytes in vec(any::<u8>(), 0..400), profile in profile()) {
        if let Ok(message) = read(&bytes, profile) {
            prop_assert_eq!(read(&write(&message, profile).expect("it was read"), profile), Ok(message));
        }
    }

    #[test]
    fn a_message_with_some_bytes_changed_never_panics(
        message in message(),
        profile in profile(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = write(&message, profile).expect("it fits");
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Err(error) = read(&bytes, profile) {
            prop_assert!(error.offset <= bytes.len());
        }
    }
}

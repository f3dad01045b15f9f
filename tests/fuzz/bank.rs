//! ISO 8583: messages in every profile, frames in every piece, answers to every call.

use breakwater::domain::{Fact, News};
use breakwater::provider::iso8583::Profile;
use breakwater::provider::iso8583::codec::{read, write};
use breakwater::provider::socket::{Cut, FRAME_MAX, Framing, FramingError, Header};
use breakwater::provider::{Credentials, Protocol, Reply, SocketProtocol, Verb};

use crate::fuzz;
use crate::material::Material;
use crate::sample::{call, credentials, one_of, provider, vectors};

const WORDS: &[&str] =
    &["\0", "\u{1}", "9", "0", "00", "99", "999", "0210", "0430", "0410", "\x7f\x7f", "AAAA", "FFFFFFFF", "\0\0\0\0\0\0\0\0", "000123", "~", " "];

/// The vectors' messages, each as every profile writes it.
fn messages() -> Vec<Vec<u8>> {
    let vectors = vectors("iso8583");
    let all = vectors["messages"].as_array().expect("messages");
    let encodings = ["A_ascii_hexbitmap", "B_ascii_binbitmap", "C_bcd", "D_bcd_all_numeric"];
    let hex = all.iter().flat_map(|message| encodings.map(|encoding| message[encoding]["message_hex"].as_str().expect("hex").to_owned()));
    hex.map(|hex| (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).expect("hex")).collect()).collect()
}

#[test]
fn a_banks_message_is_read_or_refused_by_place_in_every_profile_and_what_is_read_is_written_alike() {
    let material = Material::of(messages(), WORDS);
    fuzz!(8_000, |recipe: &[u8]| {
        let bytes = material.cook(recipe);
        for profile in Profile::ALL {
            match read(&bytes, profile) {
                Ok(message) => {
                    let again = write(&message, profile).expect("what was read fits");
                    assert_eq!(read(&again, profile), Ok(message), "{profile:?}");
                }
                Err(error) => assert!(error.offset <= bytes.len(), "{profile:?}: {error}"),
            }
        }
    });
}

/// All that a stream says when it comes in pieces of these lengths.
fn heard(framing: Framing, stream: &[u8], pieces: &[u8]) -> (Vec<Vec<u8>>, Option<FramingError>) {
    let (mut said, mut buffer, mut rest) = (Vec::new(), Vec::new(), stream);
    let mut pieces = pieces.iter().cycle();
    while !rest.is_empty() {
        let length = pieces.next().map_or(rest.len(), |length| usize::from(*length) % 40 + 1).min(rest.len());
        buffer.extend_from_slice(&rest[..length]);
        rest = &rest[length..];
        loop {
            match framing.cut(&buffer) {
                Ok(Cut::More) => break,
                Ok(Cut::Pulse { taken }) => {
                    assert!(taken > 0 && taken <= buffer.len());
                    said.push(Vec::new());
                    buffer.drain(..taken);
                }
                Ok(Cut::Message { message, taken }) => {
                    assert!(!message.is_empty() && message.end <= taken && taken <= buffer.len());
                    said.push(buffer[message].to_vec());
                    buffer.drain(..taken);
                }
                Err(error) => return (said, Some(error)),
            }
        }
        assert!(buffer.len() < FRAME_MAX, "what is waited for is bounded");
    }
    (said, None)
}

#[test]
fn a_stream_of_frames_says_the_same_in_one_piece_and_in_many() {
    let tpdu = [0x60, 0, 1, 0, 0];
    let framings = [None, Some(tpdu)].map(|tpdu| Header::ALL.map(|header| Framing { header, tpdu })).concat();
    let wrapped = |framing: &Framing, message: &[u8]| framing.wrap(message).expect("short");
    let streams = framings.iter().map(|framing| [wrapped(framing, b"first"), wrapped(framing, b"2"), wrapped(framing, &[7; 60])].concat());
    let material = Material::of(streams, &["\0\0", "\0\u{2}", "0000", "0005", "9999", "\u{1f}", "`", "\0"]);
    fuzz!(8_000, |recipe: &[u8]| {
        let (framing, recipe) = one_of(&framings, recipe);
        let stream = material.cook(recipe);
        let whole = heard(*framing, &stream, &[]);
        assert_eq!(heard(*framing, &stream, recipe), whole, "{framing:?}");
        assert_eq!(heard(*framing, &stream, &[0]), whole, "{framing:?}, byte by byte");
    });
}

fn account(profile: &str) -> Credentials {
    let values = [("profile", profile), ("acquirer", "00012345"), ("terminal", "TERM0001"), ("merchant", "BREAKWATER00001")];
    credentials(provider("iso8583"), &values, &[])
}

fn socket() -> &'static dyn SocketProtocol {
    match provider("iso8583").protocol() {
        Protocol::Socket(socket) => socket,
        Protocol::Http(_) => panic!("a bank is spoken to over sockets"),
    }
}

#[test]
fn a_banks_answer_to_any_call_is_read_without_a_panic_and_a_message_of_another_type_settles_nothing() {
    let socket = socket();
    let accounts: Vec<_> = Profile::NAMES.iter().zip(Profile::ALL).map(|(name, profile)| (account(name), profile)).collect();
    let now = "2026-11-20T01:08:07Z".parse().expect("a time");
    let key = provider("iso8583").mint_key(0, Some(123), now);
    let material = Material::of(messages(), WORDS);
    fuzz!(6_000, |recipe: &[u8]| {
        let ((account, profile), recipe) = one_of(&accounts, recipe);
        let (verb, recipe) = one_of(&Verb::ALL, recipe);
        let message = material.cook(recipe);
        let _ = socket.incoming(&message, account);
        let call = call(*verb, &key, &key);
        let _ = socket.frame(&call, account);
        let reply = socket.reply(&call, &message, account);
        let is_answer = read(&message, *profile).is_ok_and(|message| message.mti.ends_with("10") || message.mti.ends_with("30"));
        if let Reply::News { news: News { fact, .. }, .. } = &reply {
            assert!(is_answer || !matches!(fact, Fact::Approved | Fact::Authorized | Fact::Declined), "{verb:?}: {reply:?}");
        }
    });
}

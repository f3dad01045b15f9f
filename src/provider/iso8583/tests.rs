//! What calls become, and what answers mean.

use jiff::Timestamp;
use secrecy::SecretString;

use super::bank::tests::{USUAL, account};
use super::codec::{Message, read, write};
use super::field::Profile;
use super::vectors::messages;
use super::{Iso8583, key};
use crate::domain::{CallClass, CaptureMethod, Currency, Fact, FailureCode, Money, Operation, PaymentMethod};
use crate::provider::socket::{Cut, Incoming, Network, SocketProtocol};
use crate::provider::{Call, CardData, Credentials, Provider, Reply, Undone, Verb};

const NUMBER: &str = "6222020200000000001";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn credentials(more: &[(&str, &str)]) -> Credentials {
    Credentials {
        address: String::new(),
        account: account(&[USUAL, more].concat()),
        secret_key: SecretString::default(),
        notification_secrets: Vec::new(),
    }
}

fn minted(number: u32, now: &str) -> String {
    Iso8583.mint_key(0, Some(number), at(now))
}

fn undone(operation: Operation, key: &str) -> Undone {
    Undone { operation, key: key.to_owned(), reference: None }
}

fn call(verb: Verb) -> Call {
    let pay = minted(123, "2026-11-20T09:08:07Z");
    let key = if verb == Verb::Pay { pay.clone() } else { minted(125, "2026-11-20T09:08:37Z") };
    Call {
        verb,
        key,
        payment: "pay_1".to_owned(),
        order: "A-1".to_owned(),
        money: Money { amount: 8888, currency: Currency::parse("CNY").expect("a currency") },
        payment_amount: 8888,
        method: PaymentMethod::Card { first_six: "622202".to_owned(), last_four: "0001".to_owned(), exp_month: 3, exp_year: 2031, holder: None },
        capture_method: CaptureMethod::Automatic,
        pay_reference: (verb != Verb::Pay).then(|| "632409000123/A00123".to_owned()),
        reference: None,
        undoes: (verb == Verb::Reverse).then(|| undone(Operation::Pay, &pay)),
        pay_key: Some(pay),
        held: false,
        description: None,
        return_url: None,
        expires_at: Timestamp::MAX,
        attempted_at: Timestamp::UNIX_EPOCH,
        now: at("2026-11-20T09:08:07Z"),
        notify_url: None,
        repeat: false,
        card: Some(CardData { number: SecretString::from(NUMBER), exp_month: 3, exp_year: 2031, holder: None, security_code: None }),
    }
}

fn manual(verb: Verb) -> Call {
    Call { capture_method: CaptureMethod::Manual, ..call(verb) }
}

/// The message of a call.
fn sent(call: &Call) -> Message {
    let credentials = credentials(&[]);
    let frame = Iso8583.frame(call, &credentials).expect("it can be sent");
    message_in(&frame.bytes, &credentials)
}

fn message_in(frame: &[u8], credentials: &Credentials) -> Message {
    let Ok(Cut::Message { message, taken }) = Iso8583.framing(credentials).cut(frame) else { panic!("a whole frame") };
    assert_eq!(taken, frame.len());
    read(&frame[message], Profile::AsciiBinaryBitmap).expect("it can be read")
}

/// The bank's answer to a call, with this code, and what else it says.
fn answered(call: &Call, code: &str, more: &[(u8, &str)]) -> Vec<u8> {
    let sent = sent(call);
    let mti: u16 = sent.mti.parse().expect("digits");
    let message = [3, 4, 7, 11, 37, 41, 42, 49, 90]
        .into_iter()
        .fold(Message::new(&format!("{:04}", mti / 10 * 10 + 10)), |message, number| message.with_some(number, sent.get(number)));
    let message = more.iter().fold(message.with(39, code), |message, (number, value)| message.with(*number, *value));
    write(&message, Profile::AsciiBinaryBitmap).expect("it fits")
}

fn reply(call: &Call, code: &str, more: &[(u8, &str)]) -> (crate::domain::News, CallClass) {
    match Iso8583.reply(call, &answered(call, code, more), &credentials(&[])) {
        Reply::News { news, class } => (news, class),
        other => panic!("not news: {other:?}"),
    }
}

/// Only the fields that the vector has, because an account says more.
fn as_in(vector: &Message, message: &Message) -> Message {
    vector.fields().fold(Message::new(&message.mti), |same, (number, _)| same.with_some(number, message.get(number)))
}

#[test]
fn a_payment_a_reversal_and_a_refund_are_those_of_the_vectors() {
    let vectors = messages();
    let named = |name: &str| vectors.iter().find(|(known, ..)| known == name).map(|(_, message, _)| message.clone()).expect(name);
    let pay = named("purchase_0200");
    assert_eq!(as_in(&pay, &sent(&call(Verb::Pay))), pay);

    let reversal = named("reversal_advice_0420");
    let ours = Call { key: minted(126, "2026-11-20T09:09:07Z"), ..call(Verb::Reverse) };
    assert_eq!(as_in(&reversal, &sent(&ours)), reversal);

    let refund = named("refund_0200");
    let money = Money { amount: 100, ..call(Verb::Refund).money };
    let ours = Call { key: minted(127, "2026-11-20T10:00:00Z"), money, ..call(Verb::Refund) };
    assert_eq!(as_in(&refund, &sent(&ours)), refund);
}

#[test]
fn words_about_the_connection_are_those_of_the_vectors() {
    let credentials = credentials(&[]);
    let word = |what, number, now| message_in(&Iso8583.network(what, number, at(now), &credentials).expect("it fits").bytes, &credentials);
    let vectors = messages();
    let named = |name: &str| vectors.iter().find(|(known, ..)| known == name).map(|(_, message, _)| message.clone()).expect(name);
    assert_eq!(word(Network::Echo, 1, "2026-11-20T09:00:00Z"), named("echo_0800"));
    assert_eq!(word(Network::SignOn, 2, "2026-11-20T08:59:00Z"), named("signon_0800"));
    assert_eq!(word(Network::SignOff, 2, "2026-11-20T08:59:00Z").get(70), Some("002"));
}

#[test]
fn a_hold_is_an_authorisation_and_its_capture_an_advice_about_it() {
    let hold = sent(&manual(Verb::Pay));
    assert_eq!((hold.mti.as_str(), hold.get(90)), ("0100", None));
    let capture = sent(&Call { money: Money { amount: 5000, ..call(Verb::Pay).money }, ..manual(Verb::Capture) });
    assert_eq!((capture.mti.as_str(), capture.get(4), capture.get(37)), ("0220", Some("000000005000"), Some("632409000123")));
    assert_eq!(
        (capture.get(11), capture.get(38), capture.get(90)),
        (Some("000125"), Some("A00123"), Some("010000012311200908070000001234500000000000"))
    );
    assert_eq!(sent(&manual(Verb::Void)).mti, "0420");
}

#[test]
fn a_repeat_says_the_same_and_only_advices_are_marked() {
    for (verb, mti) in [(Verb::Capture, "0221"), (Verb::Void, "0421"), (Verb::Reverse, "0421")] {
        let (first, again) = (sent(&manual(verb)), sent(&Call { repeat: true, now: at("2026-11-21T00:00:00Z"), ..manual(verb) }));
        assert_eq!(again.mti, mti);
        assert_eq!(again.fields().collect::<Vec<_>>(), first.fields().collect::<Vec<_>>(), "{verb:?}");
    }
    assert_eq!(sent(&Call { repeat: true, ..call(Verb::Refund) }).mti, "0200");
}

#[test]
fn some_banks_want_another_reversal_another_clock_and_more_fields() {
    let credentials = credentials(&[("reversal", "0400"), ("transmission_in_local_time", "true"), ("mcc", "5411"), ("entry_mode", "810")]);
    let message = |call: &Call| message_in(&Iso8583.frame(call, &credentials).expect("it can be sent").bytes, &credentials);
    let reversal = message(&call(Verb::Reverse));
    assert_eq!((reversal.mti.as_str(), reversal.get(7)), ("0400", Some("1120170837")));
    assert_eq!(reversal.get(90), Some("020000012311201708070000001234500000000000"));
    let pay = message(&call(Verb::Pay));
    assert_eq!((pay.get(18), pay.get(22), pay.get(14)), (Some("5411"), Some("810"), Some("3103")));
}

#[test]
fn the_reversal_of_a_refund_names_the_refund() {
    let refund = minted(127, "2026-11-20T10:00:00Z");
    let message = sent(&Call { undoes: Some(undone(Operation::Refund, &refund)), ..manual(Verb::Reverse) });
    assert_eq!((message.get(3), message.get(37)), (Some("200000"), Some("632410000127")));
    assert_eq!(message.get(90), Some("020000012711201000000000001234500000000000"));
}

#[test]
fn what_cannot_be_said_is_refused_and_never_framed() {
    let credentials = credentials(&[]);
    let token = PaymentMethod::CardToken { token: "pm_1".to_owned() };
    let refused = [
        call(Verb::Query),
        call(Verb::QueryRefund),
        call(Verb::Close),
        Call { key: "f".repeat(32), ..call(Verb::Pay) },
        Call { card: None, ..call(Verb::Pay) },
        Call { card: None, ..call(Verb::Refund) },
        Call { method: token, ..call(Verb::Pay) },
        Call { pay_key: None, ..call(Verb::Capture) },
        Call { undoes: None, ..call(Verb::Reverse) },
    ];
    for call in refused {
        assert!(Iso8583.refuses(&call).is_some(), "{:?}", call.verb);
        assert_eq!(Iso8583.frame(&call, &credentials), None);
    }
    let erased = Call { card: None, ..call(Verb::Reverse) };
    assert_eq!(Iso8583.refuses(&erased), None, "a reversal must go out even when the number was erased");
    assert_eq!(sent(&erased).get(2), None);
}

#[test]
fn an_account_that_cannot_be_used_says_so_and_sends_nothing() {
    let credentials = credentials(&[("time_zone", "somewhere")]);
    assert!(Iso8583.fault(&credentials).is_some_and(|failure| failure.message.contains("time_zone")));
    assert_eq!(Iso8583.frame(&call(Verb::Pay), &credentials), None);
    let fault = |fields| Iso8583.fault(&self::credentials(fields)).map(|failure| failure.message);
    assert_eq!(fault(&[]), None);
    assert!(fault(&[("certificate", "-----")]).is_some_and(|message| message.contains("certificate_key")));
    assert!(fault(&[("certificate", "-----"), ("certificate_key", "-----")]).is_some_and(|message| message.contains("certificate: ")));
}

#[test]
fn an_approval_is_a_payment_or_a_hold_with_the_bank_s_amount_and_name() {
    let (news, class) = reply(&call(Verb::Pay), "00", &[(38, "A00123")]);
    assert_eq!((news.fact, class), (Fact::Approved, CallClass::Success));
    assert_eq!(news.reference.as_deref(), Some("632409000123/A00123"));
    assert_eq!(news.money, Some(call(Verb::Pay).money));
    assert_eq!(reply(&manual(Verb::Pay), "00", &[]).0.fact, Fact::Authorized);
    assert_eq!(reply(&manual(Verb::Capture), "00", &[]).0.fact, Fact::Approved);
    let (news, _) = reply(&call(Verb::Pay), "00", &[(49, "840")]);
    assert_eq!(news.money.map(|money| money.currency.code()), Some("USD"), "the domain must see the other currency");
    assert_eq!(reply(&call(Verb::Pay), "00", &[(49, "000")]).0.fact, Fact::Unknown);
}

#[test]
fn a_part_is_approved_for_what_the_bank_says_and_is_unknown_when_it_says_no_less() {
    let (news, _) = reply(&call(Verb::Pay), "10", &[(4, "000000005000")]);
    assert_eq!((news.fact, news.money.map(|money| money.amount)), (Fact::Approved, Some(5000)));
    assert_eq!(reply(&call(Verb::Pay), "10", &[]).0.fact, Fact::Unknown);
}

#[test]
fn a_decline_names_the_reason_and_the_bank_s_code() {
    let (news, class) = reply(&call(Verb::Pay), "51", &[]);
    let failure = news.failure.expect("a reason");
    assert_eq!((news.fact, failure.code, failure.channel_code.as_deref()), (Fact::Declined, FailureCode::InsufficientFunds, Some("51")));
    assert_eq!(class, CallClass::Success);
    let (news, _) = reply(&call(Verb::Refund), "51", &[]);
    assert_eq!(news.failure.map(|failure| failure.code), Some(FailureCode::RefundFailed));
    let (news, class) = reply(&call(Verb::Pay), "90", &[]);
    assert_eq!((news.fact, class), (Fact::NotSent, CallClass::FailSoft));
}

#[test]
fn what_the_bank_cannot_say_is_unknown_whatever_was_asked() {
    for verb in [Verb::Pay, Verb::Capture, Verb::Void, Verb::Reverse, Verb::Refund] {
        for code in ["06", "68", "91", "94", "96", "98", "ZZ"] {
            assert_eq!(reply(&call(verb), code, &[]).0.fact, Fact::Unknown, "{verb:?} {code}");
        }
    }
}

#[test]
fn a_reversal_is_done_when_the_bank_undid_it_or_never_had_it() {
    for verb in [Verb::Void, Verb::Reverse] {
        assert_eq!(reply(&call(verb), "00", &[]).0.fact, Fact::Approved);
        assert_eq!(reply(&call(verb), "25", &[]).0.fact, Fact::Approved);
        assert_eq!(reply(&call(verb), "12", &[]).0.fact, Fact::Declined);
        assert_eq!(reply(&call(verb), "64", &[]).0.fact, Fact::Declined);
    }
    assert_eq!(reply(&call(Verb::Refund), "25", &[]).0.fact, Fact::Declined);
}

#[test]
fn an_answer_that_cannot_be_believed_is_unknown_and_the_bank_s_fault() {
    let call = call(Verb::Pay);
    let good = answered(&call, "00", &[]);
    let wrong = [
        good[..good.len() - 1].to_vec(),
        answered(&call, "00", &[(37, "632409000999")]),
        answered(&call, "00", &[(11, "000999")]),
        answered(&call, "00", &[(42, "ANOTHER MERCHNT")]),
        [b"0410", &good[4..]].concat(),
        [b"0200", &good[4..]].concat(),
        Vec::new(),
    ];
    for bytes in wrong {
        let Reply::News { news, class } = Iso8583.reply(&call, &bytes, &credentials(&[])) else { panic!("not news") };
        assert_eq!((news.fact, class), (Fact::Unknown, CallClass::FailHard));
    }
    // Some hosts answer a repeat in kind.
    let again = Call { repeat: true, ..self::call(Verb::Reverse) };
    let odd = [b"0431", &answered(&again, "00", &[])[4..]].concat();
    let Reply::News { news, .. } = Iso8583.reply(&again, &odd, &credentials(&[])) else { panic!("not news") };
    assert_eq!(news.fact, Fact::Approved);
}

#[test]
fn an_answer_finds_its_request_even_when_only_its_beginning_can_be_read() {
    let credentials = credentials(&[]);
    let call = call(Verb::Pay);
    let frame = Iso8583.frame(&call, &credentials).expect("it can be sent");
    let good = answered(&call, "00", &[]);
    for bytes in [&good[..], &good[..good.len() - 20]] {
        let Incoming::Answer { correlation, welcome } = Iso8583.incoming(bytes, &credentials) else { panic!("an answer") };
        assert_eq!((correlation, welcome), (frame.correlation.clone(), true));
    }
    let again = answered(&call, "77", &[]);
    assert!(matches!(Iso8583.incoming(&again, &credentials), Incoming::Answer { welcome: false, .. }), "it wants a sign-on");
    let other = answered(&call, "00", &[(41, "TERM0002")]);
    assert_eq!(Iso8583.incoming(&other, &credentials), Incoming::Stray("of_another_terminal"));
    assert_eq!(Iso8583.incoming(b"\x00\x01nonsense", &credentials), Incoming::Stray("unreadable"));
}

#[test]
fn the_same_number_of_another_day_is_another_message() {
    let credentials = credentials(&[]);
    let correlation = |now| Iso8583.frame(&Call { key: minted(1, now), ..call(Verb::Pay) }, &credentials).expect("it can be sent").correlation;
    assert_ne!(correlation("2026-11-20T09:08:07Z"), correlation("2026-11-21T09:08:07Z"));
    let word = Iso8583.network(Network::Echo, 1, at("2026-11-20T09:08:07Z"), &credentials).expect("it fits").correlation;
    assert_ne!(word, correlation("2026-11-20T09:08:07Z"));
}

#[test]
fn the_bank_s_own_echo_is_granted() {
    let credentials = credentials(&[]);
    let echo = Iso8583.network(Network::Echo, 9, at("2026-11-20T09:08:07Z"), &credentials).expect("it fits");
    let Incoming::Ask(frame) = Iso8583.incoming(&echo.bytes[2..], &credentials) else { panic!("a question") };
    let granted = message_in(&frame, &credentials);
    assert_eq!((granted.mti.as_str(), granted.get(11), granted.get(39), granted.get(70)), ("0810", Some("000009"), Some("00"), Some("301")));
    assert_eq!(
        Iso8583.incoming(&answered(&call(Verb::Pay), "00", &[])[..], &credentials),
        Iso8583.incoming(&answered(&call(Verb::Pay), "00", &[]), &credentials)
    );
    let request = Iso8583.frame(&call(Verb::Pay), &credentials).expect("it can be sent");
    assert_eq!(Iso8583.incoming(&request.bytes[2..], &credentials), Incoming::Stray("not_an_answer"));
}

#[test]
fn keys_are_minted_from_number_and_time() {
    assert_eq!(minted(123, "2026-11-20T09:08:07Z"), key::mint(123, at("2026-11-20T09:08:07Z")));
    assert_eq!(minted(123, "2026-11-20T09:08:07Z").len(), 32);
    assert!(Iso8583.needs_numbers());
}

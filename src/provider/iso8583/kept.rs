//! What the timeline keeps of a message: type and the fields that identify and judge it. Never field 2, 14 or 35: nothing of the card.

use super::bank::Bank;
use super::codec::{Message, read};
use crate::domain::Fields;
use crate::provider::socket::Cut;

/// Field numbers with the names that the timeline gives them.
const KEPT: [(u8, &str); 9] = [
    (3, "processing_code"),
    (4, "amount"),
    (7, "transmitted"),
    (11, "stan"),
    (37, "retrieval_reference"),
    (38, "approval_code"),
    (39, "response_code"),
    (49, "currency"),
    (90, "original"),
];

/// Of a request as it was framed, and of its answer.
pub(super) fn kept(frame: &[u8], answer: Option<&[u8]>, bank: &Bank) -> (Fields, Fields) {
    // The frame's own header is taken off as a peer would.
    let message = match bank.framing.cut(frame) {
        Ok(Cut::Message { message, .. }) => frame.get(message),
        _ => None,
    };
    let asked = message.and_then(|bytes| read(bytes, bank.profile).ok());
    let answered = answer.and_then(|bytes| read(bytes, bank.profile).ok());
    (fields(asked.as_ref()), fields(answered.as_ref()))
}

fn fields(message: Option<&Message>) -> Fields {
    let mut fields = Fields::default();
    if let Some(message) = message {
        fields.keep("mti", message.mti.as_str());
        for (number, name) in KEPT {
            fields.keep(name, message.get(number));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::super::bank::tests::{USUAL, account};
    use super::super::codec::write;
    use super::*;

    #[test]
    fn nothing_of_the_card_is_kept() {
        let message = Message::new("0200").with(2, "4111111111111111").with(4, "000000001250").with(11, "000007").with(14, "2812").with(39, "00");
        let bank = Bank::read(&account(USUAL)).expect("a bank");
        let bytes = write(&message, bank.profile).expect("written");
        let (asked, answered) = kept(&bank.framing.wrap(&bytes).expect("framed"), Some(&bytes), &bank);
        for fields in [asked, answered] {
            assert_eq!((fields.get("mti"), fields.get("stan"), fields.get("response_code")), (Some("0200"), Some("000007"), Some("00")));
            let shown = serde_json::to_string(&fields).expect("JSON");
            assert!(!shown.contains("4111") && !shown.contains("2812"), "{shown}");
        }
    }
}

//! Whether a free text holds something that looks like a card number: such texts are refused, because what is stored in clear must never be
//! one (PCI DSS, requirement 3).
//!
//! A card number is 13 to 19 digits, perhaps grouped by single blanks or dashes, whose last digit is the Luhn check of the others (ISO/IEC
//! 7812-1), and which begins as issuers' numbers begin. The last condition spares the times in milliseconds and order numbers of which one
//! in ten passes Luhn by chance.

/// Digits of a card number, at least.
const SHORTEST: usize = 13;
/// And at most.
const LONGEST: usize = 19;

/// Whether `text` holds what looks like a card number. Neighbouring groups of digits are read together and apart, so that an expiry date
/// behind the number does not hide it.
pub fn looks_like_a_card_number(text: &str) -> bool {
    let mut groups: Vec<Vec<u8>> = Vec::new();
    let mut separators = usize::MAX;
    for letter in text.chars() {
        match letter.to_digit(10) {
            Some(digit) => {
                // More than one separator, or another character, ends what can be one number.
                if separators > 1 {
                    if holds_a_number(&groups) {
                        return true;
                    }
                    groups.clear();
                    groups.push(Vec::new());
                } else if separators == 1 {
                    groups.push(Vec::new());
                }
                separators = 0;
                if let (Some(group), Ok(digit)) = (groups.last_mut(), u8::try_from(digit)) {
                    group.push(digit);
                }
            }
            None if matches!(letter, ' ' | '-') => separators = separators.saturating_add(1),
            None => separators = usize::MAX,
        }
    }
    holds_a_number(&groups)
}

fn holds_a_number(groups: &[Vec<u8>]) -> bool {
    (0..groups.len()).any(|first| {
        let mut digits: Vec<u8> = Vec::with_capacity(LONGEST);
        for group in &groups[first..] {
            if digits.len() + group.len() > LONGEST {
                return false;
            }
            digits.extend_from_slice(group);
            if is_card_number(&digits) {
                return true;
            }
        }
        false
    })
}

fn is_card_number(digits: &[u8]) -> bool {
    digits.len() >= SHORTEST && begins_like_one(digits) && passes_luhn(digits.iter().copied())
}

/// By length, the first digits under which numbers are issued: Visa had 13 digits, Diners has 14, American Express 15; UnionPay and Maestro go
/// to 19.
fn begins_like_one(digits: &[u8]) -> bool {
    match (digits.len(), digits[0]) {
        (13, 4) | (14, 3) | (15, 1..=3) | (16, 2..=6) => true,
        (16, 9) => digits.starts_with(&[9, 7, 9, 2]),
        (17..=19, first) => matches!(first, 4..=6),
        _ => false,
    }
}

pub(super) fn passes_luhn(digits: impl DoubleEndedIterator<Item = u8>) -> bool {
    let sum: u32 = digits
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn card_numbers_of_every_network_are_seen_however_they_are_grouped() {
        for text in [
            "4242424242424242",
            "4242 4242 4242 4242",
            "4242-4242-4242-4242",
            "card 4242 4242 4242 4242 12 30, thanks",
            "5555555555554444",
            "378282246310005",
            "3782 822463 10005",
            "6200000000000005",
            "30569309025904",
            "4222222222222",
            "x4242424242424242y",
        ] {
            assert!(looks_like_a_card_number(text), "{text}");
        }
    }

    #[test]
    fn other_numbers_are_left_alone() {
        for text in [
            "4242424242424241",
            "1763766074000",
            "1763766074009",
            "424242424242424242424242",
            "order 12, 3456 pieces",
            "",
            "2026-11-21T23:01:14.000Z",
        ] {
            assert!(!looks_like_a_card_number(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_card_number_is_seen_inside_any_words(before in "[a-z ,]{0,20}", after in "[a-z,.]{0,20}") {
            let text = format!("{before}4000056655665556{after}");
            prop_assert!(looks_like_a_card_number(&text));
        }
    }
}

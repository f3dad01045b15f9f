//! One part of a text message.

/// Septets of a part in the GSM-7 alphabet.
const GSM_MAX: usize = 160;
/// UTF-16 units of a part otherwise.
const UCS2_MAX: usize = 70;

/// The characters of GSM 03.38 that take one septet.
const GSM: &str =
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// And two: an escape and the character.
const GSM_ESCAPED: &str = "\u{c}^{}\\[~]|€";

/// The text, cut off where one part ends, with three dots where it was. It is cut between words where one is near.
pub fn one_part(text: &str) -> String {
    let gsm = text.chars().all(|character| septets(character).is_some());
    let weigh = |character: char| if gsm { septets(character).unwrap_or(0) } else { character.len_utf16() };
    cut(text, if gsm { GSM_MAX } else { UCS2_MAX }, weigh)
}

/// The text in at most `most` characters, cut off in the same way: for a template's variable.
pub fn clipped(text: &str, most: usize) -> String {
    cut(text, most, |_| 1)
}

fn septets(character: char) -> Option<usize> {
    if GSM.contains(character) {
        Some(1)
    } else if GSM_ESCAPED.contains(character) {
        Some(2)
    } else {
        None
    }
}

fn cut(text: &str, most: usize, weigh: impl Fn(char) -> usize) -> String {
    const DOTS: &str = "...";
    if text.chars().map(&weigh).sum::<usize>() <= most {
        return text.to_owned();
    }
    let mut room = most.saturating_sub(DOTS.len());
    let mut end = 0;
    for (at, character) in text.char_indices() {
        let Some(left) = room.checked_sub(weigh(character)) else { break };
        room = left;
        end = at + character.len_utf8();
    }
    let kept = &text[..end];
    let whole_words = kept.rfind(' ').filter(|space| end - space <= 12).map_or(kept, |space| &kept[..space]);
    format!("{whole_words}{DOTS}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_of_gsm_characters_has_160_and_any_other_70() {
        assert_eq!(one_part(&"a".repeat(160)), "a".repeat(160));
        assert_eq!(one_part(&"a".repeat(161)), format!("{}...", "a".repeat(157)));
        assert_eq!(one_part(&"渠".repeat(70)), "渠".repeat(70));
        assert_eq!(one_part(&"渠".repeat(71)), format!("{}...", "渠".repeat(67)));
        assert_eq!(one_part(&"€".repeat(81)).chars().count(), 78 + 3, "each takes two");
        assert_eq!(one_part(&format!("{}😀", "a".repeat(68))).encode_utf16().count(), 70);
    }

    #[test]
    fn a_text_is_cut_between_words_where_one_is_near() {
        let text = format!("{} second word", "a".repeat(150));
        assert_eq!(one_part(&text), format!("{}...", "a".repeat(150)));
        assert_eq!(clipped("traffic moved to wechat_main", 20), "traffic moved to...");
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_one_part(text in "\\PC{0,300}") {
            let part = one_part(&text);
            let gsm: Option<usize> = part.chars().map(septets).sum();
            prop_assert!(gsm.is_some_and(|septets| septets <= 160) || part.encode_utf16().count() <= 70, "{part}");
            prop_assert!(part == text || part.ends_with("..."));
        }
    }
}

//! Field 39: what a bank's answer says, in our words.
//!
//! Three things must be told apart, whatever the two characters are: the money moved; it certainly did not; nobody can say. The third is undone by a
//! reversal and never sent again. A code that is not in the table is of the third kind. Codes differ from bank to bank in their sense of
//! *declined*, hardly in these three; where the field's practice differs, the careful reading is taken (91 is undone, though most switches did not
//! charge).

use crate::domain::{CallClass, FailureCode};

/// What a code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Carried out.
    Approved,
    /// Carried out for less: field 4 says how much.
    Partly,
    /// Certainly not carried out.
    Declined(FailureCode),
    /// Certainly not carried out, and the same may be taken later.
    NotNow,
    /// The bank does not have what this is about.
    OriginalNotFound,
    /// It may have been carried out.
    Unknown,
}

/// A code's verdict, and what it says of the bank's own health.
pub(super) fn verdict(code: &str) -> (Verdict, CallClass) {
    use FailureCode as F;
    use Verdict::{Approved, Declined, NotNow, OriginalNotFound, Partly, Unknown};
    let healthy = |verdict| (verdict, CallClass::Success);
    let failing = |verdict| (verdict, CallClass::FailSoft);
    match code {
        "00" | "08" | "11" | "16" => healthy(Approved),
        "10" => healthy(Partly),

        "51" => healthy(Declined(F::InsufficientFunds)),
        "33" | "54" => healthy(Declined(F::ExpiredCard)),
        "14" | "15" | "55" | "99" => healthy(Declined(F::InvalidCard)),
        "82" | "N7" => healthy(Declined(F::IncorrectCvc)),
        "1A" => healthy(Declined(F::AuthenticationRequired)),
        "04" | "07" | "34" | "35" | "36" | "37" | "41" | "43" | "59" | "63" => healthy(Declined(F::Fraudulent)),
        "31" | "40" | "57" | "62" => healthy(Declined(F::NotPermitted)),
        "38" | "61" | "65" | "75" => healthy(Declined(F::LimitExceeded)),
        "01" | "02" | "05" | "21" => healthy(Declined(F::CardDeclined)),
        // Our message or our account: another channel's may do.
        "12" | "13" | "30" => healthy(Declined(F::ChannelRejected)),
        "03" | "58" => failing(Declined(F::ChannelRejected)),
        "64" => healthy(Declined(F::RefundExceedsChannel)),
        // Enter it again; no way to the issuer.
        "19" | "92" => healthy(Declined(F::ProcessingError)),

        // Sign on first; the day is being cut off.
        "77" | "90" => failing(NotNow),
        "25" => healthy(OriginalNotFound),

        // In progress, or sent before: the original may stand.
        "09" | "94" => healthy(Unknown),
        // Trouble at the switch or behind it (06, 20, 22, 68, 79, 91, 95, 96, 98, A0), and everything that is not listed.
        _ => failing(Unknown),
    }
}

/// One sentence about a code, for people.
pub(super) const fn sentence(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Approved => "the bank approved it",
        Verdict::Partly => "the bank approved a part of the amount",
        Verdict::Declined(_) => "the bank declined it",
        Verdict::NotNow => "the bank does not take it now",
        Verdict::OriginalNotFound => "the bank does not have what this is about",
        Verdict::Unknown => "the bank cannot say what became of it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code of two characters.
    fn codes() -> impl Iterator<Item = String> {
        let characters = ('0'..='9').chain('A'..='Z');
        characters.clone().flat_map(move |first| characters.clone().map(move |second| format!("{first}{second}")))
    }

    #[test]
    fn few_codes_say_that_money_moved_and_every_unlisted_one_says_that_nobody_knows() {
        let moved: Vec<String> = codes().filter(|code| matches!(verdict(code).0, Verdict::Approved | Verdict::Partly)).collect();
        assert_eq!(moved, ["00", "08", "10", "11", "16"]);
        for code in ["06", "09", "20", "22", "68", "79", "91", "94", "95", "96", "98", "A0", "ZZ", "", "000"] {
            assert_eq!(verdict(code).0, Verdict::Unknown, "{code}");
        }
    }

    #[test]
    fn a_decline_is_the_bank_at_work_and_an_unknown_mostly_its_trouble() {
        assert_eq!(verdict("51").1, CallClass::Success);
        assert_eq!(verdict("94").1, CallClass::Success);
        for code in ["03", "77", "90", "91", "96", "98", "ZZ"] {
            assert_eq!(verdict(code).1, CallClass::FailSoft, "{code}");
        }
    }

    #[test]
    fn another_channel_is_only_tried_where_this_card_may_still_be_good() {
        let again: Vec<String> =
            codes().filter(|code| matches!(verdict(code).0, Verdict::Declined(failure) if failure.another_channel_may_help())).collect();
        assert_eq!(again, ["03", "12", "13", "19", "30", "38", "58", "61", "65", "75", "92"]);
    }
}

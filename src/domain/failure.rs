//! Why money did not move: one closed table of codes over all channels, each with what the merchant can do about it.

use serde::{Deserialize, Serialize};

/// The reason in our own words. A channel's own code is kept beside it in [`Failure::channel_code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The bank said no, and not why.
    CardDeclined,
    /// Not enough money.
    InsufficientFunds,
    /// The card is past its date.
    ExpiredCard,
    /// The security code is wrong.
    IncorrectCvc,
    /// The number, or another part of the card's data, is wrong.
    InvalidCard,
    /// The bank wants the customer to prove who they are.
    AuthenticationRequired,
    /// Lost, stolen, or suspected of fraud.
    Fraudulent,
    /// This card or account cannot do this.
    NotPermitted,
    /// Too often, or too much, for now.
    LimitExceeded,
    /// Trouble between the channel and the bank: another time may work.
    ProcessingError,
    /// The channel refused our request as such: settings or code must change.
    ChannelRejected,
    /// The channel could not be reached, or certainly did not process it.
    NotSent,
    /// The channel did not say in time whether it took the money, and whatever it took was given back.
    NoAnswer,
    /// It ended unpaid, and the channel confirmed that it can no longer be paid.
    Closed,
    /// The channel, asked finally, does not have it.
    NotFound,
    /// Paid for another amount or currency, and given back.
    AmountMismatch,
    /// A refund that the channel could not carry out.
    RefundFailed,
    /// More than the channel has left to give back.
    RefundExceedsChannel,
}

/// What a merchant should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// The same may work later.
    RetryLater,
    /// The customer must correct or choose something.
    CustomerMustAct,
    /// Another card, wallet or account.
    UseAnotherMethod,
    /// Somebody must look at the settings.
    ContactSupport,
}

impl FailureCode {
    /// Every code, in the order of the table that merchants read.
    pub const ALL: [Self; 18] = [
        Self::CardDeclined,
        Self::InsufficientFunds,
        Self::ExpiredCard,
        Self::IncorrectCvc,
        Self::InvalidCard,
        Self::AuthenticationRequired,
        Self::Fraudulent,
        Self::NotPermitted,
        Self::LimitExceeded,
        Self::ProcessingError,
        Self::ChannelRejected,
        Self::NotSent,
        Self::Closed,
        Self::NotFound,
        Self::NoAnswer,
        Self::AmountMismatch,
        Self::RefundFailed,
        Self::RefundExceedsChannel,
    ];

    /// What to do about it.
    pub const fn advice(self) -> Advice {
        match self {
            Self::ProcessingError | Self::LimitExceeded | Self::NotSent | Self::NoAnswer | Self::Closed | Self::NotFound | Self::RefundFailed => {
                Advice::RetryLater
            }
            Self::InsufficientFunds | Self::IncorrectCvc | Self::InvalidCard | Self::AuthenticationRequired => Advice::CustomerMustAct,
            Self::CardDeclined | Self::ExpiredCard | Self::Fraudulent | Self::NotPermitted => Advice::UseAnotherMethod,
            Self::ChannelRejected | Self::AmountMismatch | Self::RefundExceedsChannel => Advice::ContactSupport,
        }
    }

    /// Whether the same means of payment must not be tried again.
    pub const fn do_not_retry(self) -> bool {
        matches!(self, Self::Fraudulent | Self::ExpiredCard | Self::NotPermitted | Self::ChannelRejected | Self::RefundExceedsChannel)
    }

    /// Whether another channel may still say yes to a payment declined for this.
    pub const fn another_channel_may_help(self) -> bool {
        matches!(
            self,
            Self::ProcessingError | Self::ChannelRejected | Self::LimitExceeded | Self::NotSent | Self::NoAnswer | Self::Closed | Self::NotFound
        )
    }
}

/// Why an attempt failed, as the merchant sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Our code.
    pub code: FailureCode,
    /// The channel's own code, never longer than 64 characters.
    pub channel_code: Option<String>,
    /// One sentence, from a table or cut from the channel's message to 200 characters.
    pub message: String,
}

impl Failure {
    /// A failure with the channel's own words, cut to what a row keeps.
    pub fn new(code: FailureCode, channel_code: Option<&str>, message: &str) -> Self {
        Self { code, channel_code: channel_code.map(|text| text.chars().take(64).collect()), message: message.chars().take(200).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = include_str!("../../README.md");
    const HEAD: &str = "| failure code | means | advice | do_not_retry |";

    /// The code's place in the list. A new code does not compile until it has one.
    const fn place(code: FailureCode) -> usize {
        use FailureCode as F;
        match code {
            F::CardDeclined => 0,
            F::InsufficientFunds => 1,
            F::ExpiredCard => 2,
            F::IncorrectCvc => 3,
            F::InvalidCard => 4,
            F::AuthenticationRequired => 5,
            F::Fraudulent => 6,
            F::NotPermitted => 7,
            F::LimitExceeded => 8,
            F::ProcessingError => 9,
            F::ChannelRejected => 10,
            F::NotSent => 11,
            F::Closed => 12,
            F::NotFound => 13,
            F::NoAnswer => 14,
            F::AmountMismatch => 15,
            F::RefundFailed => 16,
            F::RefundExceedsChannel => 17,
        }
    }

    fn written(value: impl Serialize) -> String {
        serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).expect("a word")
    }

    #[test]
    fn the_list_of_codes_is_whole() {
        assert!(FailureCode::ALL.iter().enumerate().all(|(at, code)| place(*code) == at));
    }

    #[test]
    fn the_table_that_merchants_read_says_of_every_code_what_an_answer_says() {
        let rows: Vec<Vec<&str>> = README
            .lines()
            .skip_while(|line| *line != HEAD)
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        let told: Vec<[String; 3]> = rows.iter().map(|row| [row[0], row[2], row[3]].map(|cell| cell.trim_matches('`').to_owned())).collect();
        let answered = FailureCode::ALL.map(|code| {
            let never = if code.do_not_retry() { "yes" } else { "no" };
            [written(code), written(code.advice()), never.to_owned()]
        });
        assert_eq!(told, answered, "README.md: the table under {HEAD:?}");
        assert!(rows.iter().all(|row| row.len() == 4 && !row[1].is_empty()));
    }
}

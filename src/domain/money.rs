//! Amounts and currencies: whole minor units, checked arithmetic, no floats.

use std::fmt;

use iso_currency::Currency as Iso;
use thiserror::Error;

/// The largest amount that one payment may have, in minor units.
pub const AMOUNT_MAX: i64 = 1_000_000_000_000;

/// An ISO 4217 currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Currency(Iso);

impl Currency {
    /// The US dollar, for what needs some currency and means none.
    pub const USD: Self = Self(Iso::USD);

    /// The currency of this three-letter code, upper case; `None` when ISO 4217 has none, or it has no minor unit (gold, for testing).
    pub fn parse(code: &str) -> Option<Self> {
        let iso = Iso::from_code(code)?;
        iso.exponent().map(|_| Self(iso))
    }

    /// The three-letter code.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// How many decimal digits the minor unit has: JPY 0, CNY 2, KWD 3.
    pub fn exponent(self) -> u16 {
        self.0.exponent().unwrap_or(0)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Why a number is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AmountError {
    /// Zero or less.
    #[error("amount is {0}: it must be at least 1 minor unit")]
    TooSmall(i64),
    /// Above [`AMOUNT_MAX`].
    #[error("amount is {0}: the largest is {AMOUNT_MAX} minor units")]
    TooLarge(i64),
}

/// Checks that `minor` is an amount that can be paid, captured or refunded: 1 to [`AMOUNT_MAX`].
///
/// # Errors
/// [`AmountError`] says which bound it misses.
pub fn amount(minor: i64) -> Result<i64, AmountError> {
    match minor {
        ..=0 => Err(AmountError::TooSmall(minor)),
        1..=AMOUNT_MAX => Ok(minor),
        _ => Err(AmountError::TooLarge(minor)),
    }
}

/// An amount with its currency, as a channel states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Money {
    /// Minor units.
    pub amount: i64,
    /// The currency.
    pub currency: Currency,
}

impl Money {
    /// As people write it: `12.50 CNY`, `3,000 JPY`. For words only: nothing reads it back.
    pub fn in_words(self) -> String {
        let digits = usize::from(self.currency.exponent());
        let number = format!("{:0>width$}", self.amount.unsigned_abs(), width = digits + 1);
        let (whole, part) = number.split_at(number.len() - digits);
        let mut text = if self.amount < 0 { "-".to_owned() } else { String::new() };
        for (place, digit) in whole.chars().enumerate() {
            if place > 0 && (whole.len() - place).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        if digits > 0 {
            text.push('.');
            text.push_str(part);
        }
        format!("{text} {}", self.currency)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_those_of_iso_4217() {
        let exponent = |code| Currency::parse(code).map(Currency::exponent);
        assert_eq!(exponent("JPY"), Some(0));
        assert_eq!(exponent("CNY"), Some(2));
        assert_eq!(exponent("KWD"), Some(3));
        assert_eq!(exponent("XAU"), None);
        assert_eq!(exponent("ZZZ"), None);
        assert_eq!(exponent("cny"), None);
    }

    #[test]
    fn money_is_told_with_as_many_decimals_as_its_currency_has() {
        let told = |amount, code| Money { amount, currency: Currency::parse(code).expect("a currency") }.in_words();
        assert_eq!(told(1_250, "CNY"), "12.50 CNY");
        assert_eq!(told(5, "CNY"), "0.05 CNY");
        assert_eq!(told(3_000, "JPY"), "3,000 JPY");
        assert_eq!(told(0, "JPY"), "0 JPY");
        assert_eq!(told(100_000_001, "USD"), "1,000,000.01 USD");
        assert_eq!(told(-99_999, "KWD"), "-99.999 KWD");
        assert_eq!(told(i64::MIN, "JPY"), "-9,223,372,036,854,775,808 JPY");
    }

    #[test]
    fn an_amount_is_one_to_a_million_million() {
        assert_eq!(amount(0), Err(AmountError::TooSmall(0)));
        assert_eq!(amount(-5), Err(AmountError::TooSmall(-5)));
        assert_eq!(amount(1), Ok(1));
        assert_eq!(amount(AMOUNT_MAX), Ok(AMOUNT_MAX));
        assert_eq!(amount(AMOUNT_MAX + 1), Err(AmountError::TooLarge(AMOUNT_MAX + 1)));
    }
}

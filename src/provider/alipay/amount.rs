//! Amounts as Alipay writes them: yuan as a decimal text with at most two places, 0.01 to 100,000,000. No number of ours is ever a float.

use crate::domain::{Currency, Money};

/// Alipay's largest amount, in fen.
pub(super) const FEN_MAX: i64 = 100_000_000 * 100;

/// What Alipay would call `money`; `None` for another currency than CNY, or an amount outside its bounds.
pub(super) fn outgoing(money: Money) -> Option<String> {
    let sound = money.currency.code() == "CNY" && (1..=FEN_MAX).contains(&money.amount);
    sound.then(|| format!("{}.{:02}", money.amount / 100, money.amount % 100))
}

/// The fen of Alipay's text, zero included; `None` when it is none of Alipay's amounts (a sign, an exponent, a third decimal).
pub(super) fn fen(text: &str) -> Option<i64> {
    let (yuan, cents) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(yuan) || !digits(cents) || yuan.len() > 9 || cents.len() > 2 {
        return None;
    }
    let tenfold = if cents.len() == 1 { 10 } else { 1 };
    let fen = yuan.parse::<i64>().ok()? * 100 + cents.parse::<i64>().ok()? * tenfold;
    (fen <= FEN_MAX).then_some(fen)
}

/// As [`fen`], as money that was moved.
pub(super) fn incoming(text: &str) -> Option<Money> {
    let amount = fen(text).filter(|fen| *fen > 0)?;
    Some(Money { amount, currency: Currency::parse("CNY")? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(amount: i64, code: &str) -> Money {
        Money { amount, currency: Currency::parse(code).expect("a currency") }
    }

    #[test]
    fn fen_become_yuan_with_two_places() {
        for (fen, yuan) in [(1, "0.01"), (10, "0.10"), (100, "1.00"), (8888, "88.88"), (FEN_MAX, "100000000.00")] {
            assert_eq!(outgoing(money(fen, "CNY")).as_deref(), Some(yuan));
        }
        assert_eq!(outgoing(money(FEN_MAX + 1, "CNY")), None);
        assert_eq!(outgoing(money(0, "CNY")), None);
        assert_eq!(outgoing(money(100, "USD")), None);
        assert_eq!(outgoing(money(100, "JPY")), None);
    }

    #[test]
    fn what_alipay_writes_with_fewer_places_is_read() {
        assert_eq!((fen("88.8"), fen("88"), fen("0.00"), fen("0.01")), (Some(8880), Some(8800), Some(0), Some(1)));
        for wrong in ["", ".", "1.", ".5", "-1.00", "+1.00", "1.001", "1e3", "1,00", "１.00", "100000000.01", "9999999999", " 1.00"] {
            assert_eq!(fen(wrong), None, "{wrong:?}");
        }
        assert_eq!(incoming("0.00"), None, "nothing moved");
    }

    proptest! {
        #[test]
        fn what_goes_out_comes_back_the_same(amount in 1..=FEN_MAX) {
            let money = money(amount, "CNY");
            prop_assert_eq!(outgoing(money).as_deref().and_then(incoming), Some(money));
        }

        #[test]
        fn no_text_is_too_much_for_it(text in ".*") {
            prop_assert!(fen(&text).is_none_or(|fen| (0..=FEN_MAX).contains(&fen)));
        }
    }
}

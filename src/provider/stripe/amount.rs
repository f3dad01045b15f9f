//! Amounts as Stripe writes them. They are whole minor units, but Stripe's minor unit is not ISO 4217's for every currency, and some
//! currencies go in steps: <https://docs.stripe.com/currencies>.
//!
//! The tables below are Stripe's own; the conversion follows from Stripe's exponent and ISO's, so that a currency on which the two agree
//! passes unchanged. A currency of which we cannot tell how Stripe would read it is not sent at all.

use crate::domain::{Currency, Money};

/// Currencies without decimals at Stripe. ISO gives two to MGA.
const ZERO_DECIMAL: [&str; 15] = ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"];

/// Without decimals in ISO and in life, but written with two at Stripe, both zero. Stripe's page has UGX in its list of zero-decimal
/// currencies as well; the special case is the text that says how to charge ("to charge 5 UGX, provide 500"), so it is the one followed.
const WHOLE_WITH_TWO_DECIMALS: [&str; 2] = ["ISK", "UGX"];

/// With three decimals, of which the last must be zero.
const THREE_DECIMAL: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

/// How an ISO amount becomes Stripe's: `iso * up / down`, exactly, where `iso` is a multiple of `step`.
#[derive(Clone, Copy)]
struct Scale {
    up: i64,
    down: i64,
    step: i64,
}

fn scale(currency: Currency) -> Option<Scale> {
    let code = currency.code();
    let (exponent, step) = if ZERO_DECIMAL.contains(&code) {
        (0, 1)
    } else if WHOLE_WITH_TWO_DECIMALS.contains(&code) {
        (2, 1)
    } else if THREE_DECIMAL.contains(&code) {
        (3, 10)
    } else if currency.exponent() == 2 {
        (2, 1)
    } else {
        return None;
    };
    let iso = u32::from(currency.exponent());
    let power = |digits: u32| 10_i64.checked_pow(digits);
    let down = power(iso.saturating_sub(exponent))?;
    Some(Scale { up: power(exponent.saturating_sub(iso))?, down, step: down.max(step) })
}

/// What Stripe would call `money`; `None` when it cannot express it: then it must not be sent.
pub(super) fn outgoing(money: Money) -> Option<i64> {
    let Scale { up, down, step } = scale(money.currency)?;
    (money.amount > 0 && money.amount % step == 0).then(|| money.amount.checked_mul(up).map(|scaled| scaled / down))?
}

/// What Stripe's `amount` of `code` (lower case) is in ISO's minor units; `None` when there is no such amount.
pub(super) fn incoming(amount: i64, code: &str) -> Option<Money> {
    let currency = Currency::parse(&code.to_ascii_uppercase())?;
    let Scale { up, down, .. } = scale(currency)?;
    let scaled = amount.checked_mul(down)?;
    (amount >= 0 && scaled % up == 0).then_some(Money { amount: scaled / up, currency })
}

/// The smallest step in which Stripe takes this currency, in ISO's minor units; `None` when it takes none of it.
pub(super) fn step(currency: Currency) -> Option<i64> {
    scale(currency).map(|scale| scale.step)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sample::money;
    use super::*;

    #[test]
    fn where_stripe_and_iso_differ_the_amount_is_converted() {
        for (code, iso, stripe) in [
            ("CNY", 8888, 8888),
            ("JPY", 500, 500),
            ("ISK", 5, 500),
            ("UGX", 5, 500),
            ("MGA", 1200, 12),
            ("KWD", 5120, 5120),
            ("HUF", 1045, 1045),
            ("XOF", 7, 7),
        ] {
            assert_eq!(outgoing(money(iso, code)), Some(stripe), "{code}");
            assert_eq!(incoming(stripe, &code.to_ascii_lowercase()), Some(money(iso, code)), "{code}");
        }
    }

    #[test]
    fn an_amount_between_stripes_steps_cannot_be_sent() {
        assert_eq!(outgoing(money(1001, "KWD")), None);
        assert_eq!(outgoing(money(1250, "MGA")), None);
        assert_eq!(incoming(550, "isk"), None);
    }

    #[test]
    fn a_currency_that_stripe_may_read_otherwise_is_not_sent() {
        for code in ["IQD", "LYD", "CLF"] {
            assert_eq!(outgoing(money(1000, code)), None, "{code}");
        }
        assert_eq!(incoming(1000, "iqd"), None);
        assert_eq!(incoming(1000, "zzz"), None);
        assert_eq!(incoming(1000, "¤¤"), None);
    }

    proptest! {
        #[test]
        fn what_goes_out_comes_back_the_same(amount in 1..=crate::domain::money::AMOUNT_MAX, code in "[A-Z]{3}") {
            if let Some(currency) = Currency::parse(&code) {
                let money = Money { amount, currency };
                if let Some(sent) = outgoing(money) {
                    prop_assert_eq!(incoming(sent, &code.to_ascii_lowercase()), Some(money));
                }
            }
        }

        #[test]
        fn no_amount_overflows(amount in any::<i64>(), code in "(isk|mga|kwd|cny|jpy)") {
            let there = incoming(amount, &code);
            let code = code.to_ascii_uppercase();
            let _ = outgoing(Money { amount, currency: Currency::parse(&code).expect("a currency") });
            prop_assert!(there.is_none_or(|money| money.amount >= 0));
        }
    }
}

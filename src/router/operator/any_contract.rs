//! What a person says of an attempt whose channel is not in the settings any more. Its provider is not known then, and so neither its contract: how
//! long a hold lasts, whether it may be captured again, whether a refund's number is its own for ever. Most words need none of that: what was paid
//! is paid, and what was declined is declined, by any contract.
//!
//! Which words those are is not listed here, but tried out: the news is applied under two contracts that agree in nothing. Where payment and answer
//! come out the same, no contract has a say in it; where they differ, the channel's own is needed, and its table must be put back.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::{Contract, MethodKind, News, Payment, REFUNDS_WITHOUT_LIMIT, Source, Unanswered};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

static ONE: Contract = Contract {
    key_lives_for: Duration::ZERO,
    replay_may_charge: true,
    charges_only_with_reference: true,
    can_close: false,
    several_captures: false,
    not_found_final_after: DAY,
    refund_window: DAY,
    refund_spacing: DAY,
    refunds_at_most: 1,
    refund_number_is_permanent: true,
    hold_lasts: DAY,
    unanswered: Unanswered::Query,
    dead_after_expiry: None,
    methods: &[],
};

static OTHER: Contract = Contract {
    key_lives_for: DAY,
    replay_may_charge: false,
    charges_only_with_reference: false,
    can_close: true,
    several_captures: true,
    not_found_final_after: Duration::ZERO,
    refund_window: Duration::ZERO,
    refund_spacing: Duration::ZERO,
    refunds_at_most: REFUNDS_WITHOUT_LIMIT,
    refund_number_is_permanent: false,
    hold_lasts: Duration::ZERO,
    unanswered: Unanswered::Reverse,
    dead_after_expiry: Some(DAY),
    methods: &[MethodKind::Card],
};

/// A contract under which a person's news of attempt `n` comes to what it comes to under any other; `None` when contracts differ in it.
pub(super) fn that_decides_nothing(payment: &Payment, n: i16, news: &News, now: Timestamp) -> Option<&'static Contract> {
    let under = |contract: &Contract| {
        let mut draft = payment.clone();
        (draft.learn(n, news, Source::Operator, contract, now), draft)
    };
    (under(&ONE) == under(&OTHER)).then_some(&ONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_contracts_agree_in_nothing() {
        // A member that is added must be put here, and there: this does not compile without it.
        let Contract {
            key_lives_for,
            replay_may_charge,
            charges_only_with_reference,
            can_close,
            several_captures,
            not_found_final_after,
            refund_window,
            refund_spacing,
            refunds_at_most,
            refund_number_is_permanent,
            hold_lasts,
            unanswered,
            dead_after_expiry,
            methods,
        } = ONE;
        let differ = [
            key_lives_for != OTHER.key_lives_for,
            replay_may_charge != OTHER.replay_may_charge,
            charges_only_with_reference != OTHER.charges_only_with_reference,
            can_close != OTHER.can_close,
            several_captures != OTHER.several_captures,
            not_found_final_after != OTHER.not_found_final_after,
            refund_window != OTHER.refund_window,
            refund_spacing != OTHER.refund_spacing,
            refunds_at_most != OTHER.refunds_at_most,
            refund_number_is_permanent != OTHER.refund_number_is_permanent,
            hold_lasts != OTHER.hold_lasts,
            unanswered != OTHER.unanswered,
            dead_after_expiry != OTHER.dead_after_expiry,
            methods != OTHER.methods,
        ];
        assert_eq!(differ, [true; 14]);
    }
}

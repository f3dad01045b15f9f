//! What a provider's protocol promises, as data: the flows never ask *which* provider it is, only what its contract says.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::attempt::AttemptState;
use super::method::MethodKind;
use super::operation::Operation;

/// A provider's contract. Times are the provider's documented ones with our margin taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contract {
    /// How long a repeat with the same key is recognised.
    pub key_lives_for: Duration,
    /// Whether repeating a pay call with its key may charge when the first never arrived. Then a repeat *is* a send.
    pub replay_may_charge: bool,
    /// Whether a first step yields a reference before any money can move: an attempt without its reference was never charged.
    pub charges_only_with_reference: bool,
    /// Whether an unpaid payment can be closed at the channel, with a confirmation.
    pub can_close: bool,
    /// Whether a hold may be captured in several parts.
    pub several_captures: bool,
    /// How long the channel may go on not finding what it has: two such answers, this far apart, are final.
    pub not_found_final_after: Duration,
    /// How long after the payment a refund is possible.
    pub refund_window: Duration,
    /// The shortest time between two refunds of one payment.
    pub refund_spacing: Duration,
    /// How many refunds one payment may have that did not fail. Where the provider names no limit it is [`REFUNDS_WITHOUT_LIMIT`]. With those that
    /// failed it is [`Contract::refunds_in_all`].
    pub refunds_at_most: usize,
    /// Whether a refund's number is its own for ever: a refund that failed or is in doubt goes again under the same one, because under another it
    /// could be given back twice. Then *not found* never ends it: it is asked after and sent again until the channel has taken it or refused.
    pub refund_number_is_permanent: bool,
    /// How long a hold lasts when the channel does not say.
    pub hold_lasts: Duration,
    /// What settles a doubt.
    pub unanswered: Unanswered,
    /// A code or page that was handed out dies at the channel by itself, no later than our own expiry: so long after that, a fresh answer that it
    /// was not paid ends it like a confirmed close. `None`: only a confirmed close does.
    pub dead_after_expiry: Option<Duration>,
    /// How its customers can pay.
    pub methods: &'static [MethodKind],
}

/// What settles a doubt about an attempt that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The channel is asked what became of it.
    Query,
    /// Nothing can be asked: payment and refund are undone (a refund then goes again under a new key), while captures, voids and reversals are
    /// advices that are repeated under their key until they are acknowledged.
    Reverse,
}

/// A payment is read and written as a whole, with all that was tried on it: without an end to its refunds each would cost more than the last.
pub const REFUNDS_WITHOUT_LIMIT: usize = 100;

/// For each refund that a channel takes of one payment there may be so many in all: who is refused may try again, and not for ever, because what failed
/// is read and written with the rest.
const TRIES_OF_A_REFUND: usize = 4;

impl Contract {
    /// How many refunds the merchant may make of one payment, whatever became of them.
    pub const fn refunds_in_all(&self) -> usize {
        self.refunds_at_most.saturating_mul(TRIES_OF_A_REFUND)
    }
}

/// The rungs, in milliseconds, by which an open attempt is looked at again; the last one doubles from there, up to a day, and never ends.
pub const LADDER_MS: [i64; 9] = [500, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000, 60_000, 300_000];

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// How long a customer who was asked to act is awaited at the quick pace: 3 s for 2 min.
const CUSTOMER_RUNGS: i32 = 40;
const CUSTOMER_EVERY_MS: i64 = 3_000;

/// How often a reversal is repeated at least, while it is young ([`REVERSAL_RUNGS`], an hour): money that was taken for nothing is given back as soon as
/// the channel is there again, and not some minutes later, though nobody pays there meanwhile. Advices of ISO 8583 are repeated at such a pace.
const REVERSAL_EVERY: SignedDuration = SignedDuration::from_secs(30);
const REVERSAL_RUNGS: i32 = 126;

/// How long before a hold lapses it is voided.
pub const VOID_BEFORE_LAPSE: SignedDuration = SignedDuration::from_hours(1);

/// The pause before the look that follows `tries` earlier ones. Never `None`: patience does not run out.
pub fn rung(tries: i32) -> SignedDuration {
    let index = usize::try_from(tries.max(0)).unwrap_or(usize::MAX);
    let millis = LADDER_MS.get(index).copied().unwrap_or_else(|| {
        let doublings = (index - LADDER_MS.len() + 1).min(20);
        (LADDER_MS[LADDER_MS.len() - 1] << doublings).min(DAY_MS)
    });
    SignedDuration::from_millis(millis)
}

/// When an attempt in this state must be looked at next, or `None` when nobody must.
pub fn due(
    operation: Operation,
    state: AttemptState,
    tries: i32,
    lease_until: Option<Timestamp>,
    capture_before: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    use AttemptState as S;
    match (operation, state) {
        (_, S::Sent) => Some(lease_until.unwrap_or(now)),
        (Operation::Reversal, S::Unknown | S::Accepted | S::NotSent | S::Declined) if tries < REVERSAL_RUNGS => {
            Some(now + rung(tries).min(REVERSAL_EVERY))
        }
        (Operation::Reversal, S::Unknown | S::Accepted | S::NotSent | S::Declined) => Some(now + rung(tries - REVERSAL_RUNGS + 7)),
        (_, S::Unknown | S::Accepted | S::SucceededLate) => Some(now + rung(tries)),
        (_, S::ActionRequired) if tries < CUSTOMER_RUNGS => Some(now + SignedDuration::from_millis(CUSTOMER_EVERY_MS)),
        (_, S::ActionRequired) => Some(now + rung(tries - CUSTOMER_RUNGS + 5)),
        // A hold is let go before it lapses; nobody looks at it until then.
        (Operation::Pay, S::Authorized) => capture_before.map(|lapse| lapse - VOID_BEFORE_LAPSE),
        // These wait in a durable queue until their channel takes them.
        (Operation::Refund | Operation::Capture | Operation::Void, S::NotSent) => Some(now + rung(tries)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ladder_grows_to_a_day_and_never_ends() {
        let mut last = SignedDuration::ZERO;
        for tries in 0..200 {
            let pause = rung(tries);
            assert!(pause >= last, "rung {tries}");
            last = pause;
        }
        assert_eq!(rung(0), SignedDuration::from_millis(500));
        assert_eq!(rung(8), SignedDuration::from_mins(5));
        assert_eq!(rung(9), SignedDuration::from_mins(10));
        assert_eq!(last, SignedDuration::from_hours(24));
        assert_eq!(rung(i32::MAX), SignedDuration::from_hours(24));
    }

    #[test]
    fn a_reversal_is_repeated_every_half_minute_for_an_hour_and_then_as_the_ladder_has_it() {
        let now = Timestamp::UNIX_EPOCH;
        let pause = |state, tries| due(Operation::Reversal, state, tries, None, None, now).expect("it is tried until it is done").duration_since(now);
        for state in [AttemptState::Unknown, AttemptState::NotSent, AttemptState::Declined] {
            assert_eq!(pause(state, 0), rung(0));
            assert_eq!((pause(state, 7), pause(state, REVERSAL_RUNGS - 1)), (REVERSAL_EVERY, REVERSAL_EVERY));
            assert_eq!((pause(state, REVERSAL_RUNGS), pause(state, REVERSAL_RUNGS + 1)), (rung(7), rung(8)));
            let hour: SignedDuration = (0..REVERSAL_RUNGS).map(|tries| pause(state, tries)).fold(SignedDuration::ZERO, |sum, pause| sum + pause);
            assert!((55..=65).contains(&hour.as_mins()), "{hour}");
        }
    }

    #[test]
    fn every_open_attempt_is_due_some_day() {
        let now = Timestamp::UNIX_EPOCH;
        for operation in Operation::ALL {
            for state in AttemptState::ALL.into_iter().filter(|state| state.is_open() && *state != AttemptState::Reversing) {
                assert!(due(operation, state, 1_000, None, None, now).is_some(), "{operation} {state}");
            }
        }
    }
}

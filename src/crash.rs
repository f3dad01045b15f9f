//! Named crash points: places at which a process can be made to die at once, so that a test sees what is found on disk afterwards.
//!
//! A point stands between two steps that a crash may part: an intent and its call, an answer and its writing, a commit and those who wait for it.
//! Nothing is armed unless `breakwater serve` was told so with `BREAKWATER_CRASH_AT=name:n`, which it refuses where a channel is live; then the
//! process kills itself when that point is passed for the n-th time, as the kernel would: no destructor runs, no buffer is written out, nobody is
//! told. Not armed, a point costs one relaxed load of a byte that never changes.
//!
//! `breakwater bench crash_points` arms one after the other, under load, and has the money checked. `tests/tidy.rs` sees that each point stands at
//! exactly one place; a point that the bench never passes fails its run.

use std::fmt;
use std::io::Write;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// Where a process is told where to die.
pub const CRASH_AT: &str = "BREAKWATER_CRASH_AT";

/// The enum, its list and its names from one table: a point that is in one and not in the other would never be tried.
macro_rules! points {
    ($($(#[doc = $doc:literal])+ $point:ident = $name:literal,)+) => {
        /// A place between two steps.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Point {
            /// No place: what is passed where a step has no point of its own. It cannot be armed.
            Nowhere = 0,
            $($(#[doc = $doc])+ $point,)+
        }

        impl Point {
            /// Every point that stands somewhere, in the order of a payment's life.
            pub const ALL: &[Self] = &[$(Self::$point,)+];

            /// Its name.
            pub const fn as_str(self) -> &'static str {
                match self {
                    Self::Nowhere => "nowhere",
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

points! {
    /// A block of message numbers is leased, and none of it used.
    NumbersLeased = "numbers_leased",
    /// The card's number is sealed on disk, and the payment is not.
    CardSealed = "card_sealed",
    /// The journal has taken new payments from its queue, and not sent them to the database.
    IntentsGathered = "intents_gathered",
    /// New payments are committed, and those who wait for that are not told.
    IntentsCommitted = "intents_committed",
    /// A payment's intent is on disk, and its channel is not called.
    PaymentWritten = "payment_written",
    /// A message to a bank has left whole, and nobody waits for its answer any more.
    FrameWritten = "frame_written",
    /// The first of two steps has given a reference, which is not written.
    StepAnswered = "step_answered",
    /// The reference is on disk, and the step that moves money is not made.
    StepWritten = "step_written",
    /// The channel has answered to a payment, and the outcome is not written.
    PaymentAnswered = "payment_answered",
    /// The first channel's outcome and the next one's intent are on disk, and the next is not called.
    NextChannelWritten = "next_channel_written",
    /// What undoes an unanswered payment or refund is on disk, and not sent.
    ReversalWritten = "reversal_written",
    /// The channel has answered to it, and that is not written.
    ReversalAnswered = "reversal_answered",
    /// The journal has taken changes from its queue, and not sent them to the database.
    ChangesGathered = "changes_gathered",
    /// Changes are committed, and those who wait for that are not told.
    ChangesCommitted = "changes_committed",
    /// What a merchant asked of a payment is done and on disk, and the merchant is not told.
    PaymentFlowEnded = "payment_flow_ended",
    /// A capture's intent is on disk, and not sent.
    CaptureWritten = "capture_written",
    /// The channel has answered to it, and that is not written.
    CaptureAnswered = "capture_answered",
    /// That a merchant wants a payment ended is on disk, and nothing was done about it.
    CancelWritten = "cancel_written",
    /// A void's intent is on disk, and not sent.
    VoidWritten = "void_written",
    /// The channel has answered to it, and that is not written.
    VoidAnswered = "void_answered",
    /// A refund is found to be possible, and nothing of it is written.
    RefundWanted = "refund_wanted",
    /// A refund's intent is on disk, and not sent.
    RefundWritten = "refund_written",
    /// The channel has answered to it, and that is not written.
    RefundAnswered = "refund_answered",
    /// A refund has come as far as it can now, which is on disk, and the merchant is not told.
    RefundFlowEnded = "refund_flow_ended",
    /// A provider's notification is stored, neither acknowledged nor applied.
    NotificationStored = "notification_stored",
    /// What it says is applied, and it still stands in the inbox as received.
    NotificationApplied = "notification_applied",
    /// The poller has leased attempts, and handed none of them over.
    AttemptsLeased = "attempts_leased",
    /// That a dead process left an attempt in doubt is on disk, and nobody has asked.
    DoubtWritten = "doubt_written",
    /// The channel has answered a query, and that is not written.
    QueryAnswered = "query_answered",
    /// What waited in its queue is marked as sent again, and is not.
    TurnWritten = "turn_written",
    /// The channel has answered to what was sent again, or to a close, and that is not written.
    RepeatAnswered = "repeat_answered",
    /// Events have been made into webhooks, and none is sent.
    WebhooksQueued = "webhooks_queued",
    /// Webhooks are leased, and none is sent.
    WebhooksLeased = "webhooks_leased",
    /// The merchant has taken a webhook, and nothing of that is written.
    WebhookSent = "webhook_sent",
    /// The endpoint's standing is written, and the webhook is not marked as delivered.
    WebhookHalfSettled = "webhook_half_settled",
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Point {
    type Err = String;

    /// The point of that name.
    ///
    /// # Errors
    /// A sentence with all names.
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|point| point.as_str() == text).copied();
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|point| point.as_str()).collect();
            format!("there is no crash point {text:?}; there are {}", names.join(", "))
        })
    }
}

/// Where, and at which passing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashAt {
    /// The point.
    pub point: Point,
    /// At the n-th passing, from 1.
    pub nth: u32,
}

impl fmt::Display for CrashAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.point, self.nth)
    }
}

impl FromStr for CrashAt {
    type Err = String;

    /// `name:n`, or `name` for the first passing.
    ///
    /// # Errors
    /// A sentence.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
        let nth = nth.parse().ok().filter(|nth| *nth > 0).ok_or_else(|| format!("{nth:?} is no count from 1"))?;
        Ok(Self { point: name.parse()?, nth })
    }
}

/// What no point is.
const UNARMED: u8 = u8::MAX;

static ARMED: AtomicU8 = AtomicU8::new(UNARMED);
static PASSINGS_LEFT: AtomicU32 = AtomicU32::new(0);

/// From now on this process dies there. For its start, before anything passes.
pub fn arm(at: CrashAt) {
    PASSINGS_LEFT.store(at.nth, Ordering::Relaxed);
    ARMED.store(at.point as u8, Ordering::Release);
}

/// Passes a point. Returns, unless this is where and when the process was told to die.
#[inline]
pub fn pass(point: Point) {
    if ARMED.load(Ordering::Relaxed) == point as u8 {
        count_down(point);
    }
}

#[cold]
fn count_down(point: Point) {
    if PASSINGS_LEFT.fetch_sub(1, Ordering::AcqRel) != 1 {
        return;
    }
    // For whoever reads the log; the death itself says nothing.
    let _nobody_reads = writeln!(std::io::stderr(), "crash point {point}: this process ends here, as it was told to");
    let _killed = kill_process(getpid(), Signal::KILL);
    // Not reached: a process may always kill itself.
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_to_die_is_named_with_the_passing_or_without() {
        let at = |text: &str| text.parse::<CrashAt>();
        assert_eq!(at("payment_written:3"), Ok(CrashAt { point: Point::PaymentWritten, nth: 3 }));
        assert_eq!(at("webhook_sent"), Ok(CrashAt { point: Point::WebhookSent, nth: 1 }));
        assert_eq!(at("webhook_sent:2").unwrap().to_string(), "webhook_sent:2");
        assert!(at("webhook_sent:0").is_err() && at("webhook_sent:").is_err());
        assert!(at("nowhere").is_err() && at("lunch").unwrap_err().contains("payment_written"));
    }

    #[test]
    fn every_point_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = Point::ALL.iter().map(|point| point.as_str()).collect();
        assert_eq!(names.len(), Point::ALL.len());
    }

    #[test]
    fn a_point_that_is_not_armed_is_passed() {
        Point::ALL.iter().copied().for_each(pass);
    }
}

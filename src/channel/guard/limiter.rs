//! How many calls of one class the channel can carry, found out from how it answers.
//!
//! A breaker judges after the fact, by failures. Before a channel fails it slows down, because calls queue inside it: then fewer at a time end
//! sooner. So the limit follows the ratio of the usual round trip to the present one (Gradient2 of Netflix's concurrency-limits,
//! <https://github.com/Netflix/concurrency-limits>), and is cut by a tenth when the channel says outright that it is too much (a timeout, a 429, a
//! 5xx). It starts at the cap: until a channel has shown trouble, what its contract and its connections allow is the limit. When the breaker
//! has closed after an opening, it starts again at twice the probes and grows, so that a channel that has just healed is not met by the herd.
//!
//! It judges windows of at least [`SAMPLES`] calls and [`SPAN`], and only calls that reached the acquirer: a call that found no room, or no
//! connection, says nothing of how much the other side can carry, and a refusal at its door (a 429) is no measure of its speed. While
//! less than half of the limit is in use, speed says nothing about the limit, and only trouble moves it.
//!
//! So a channel with little traffic would keep the small limit that it began with after an opening, and when its traffic comes back it would be turned
//! away. What lowered a limit grows old: when nothing has for [`CALM`], the limit goes up by one call every [`EASE_EVERY`], used or not, back to
//! the cap from which it began.
//!
//! Integers throughout: thousandths of a call, nanoseconds. Shifting every moment changes nothing; `properties.rs` holds it against a naive one.

use std::time::Duration;

use crate::clock::Moment;

/// Calls that a window must hold before it is judged.
pub(super) const SAMPLES: u32 = 10;
/// How long a window lasts at least.
pub(super) const SPAN: Duration = Duration::from_secs(1);

/// For how long nothing must have lowered a limit, and nothing gone wrong, before it goes up by itself: what a breaker needs to forget its openings.
pub(super) const CALM: Duration = Duration::from_secs(60);
/// How often it goes up by one call then: a herd that comes back is met by the windows above before it is let in whole.
pub(super) const EASE_EVERY: Duration = Duration::from_secs(1);

/// A round trip up to this many thousandths of the usual one is no sign of a queue.
const TOLERANCE_PERMILLE: u64 = 1_500;
/// The most by which one window's gradient may shrink the limit, in thousandths.
const LEAST_GRADIENT_PERMILLE: u64 = 500;
/// How many calls may queue inside the channel: what the limit grows by, before smoothing, while nothing slows down.
const QUEUE: u64 = 4 * ONE;
/// How much of a window's verdict is taken over, in thousandths.
const SMOOTHING_PERMILLE: u64 = 200;
/// What is left of the limit after a window that saw trouble, in thousandths.
const AFTER_TROUBLE_PERMILLE: u64 = 900;
/// Over how many windows the usual round trip is an average: about five minutes of a busy channel.
const USUAL_WINDOWS: u64 = 300;

/// One call, in the unit in which the limit is kept.
const ONE: u64 = 1_000;

/// What one call that reached the acquirer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sample {
    /// It was answered, after so long.
    Answered(Duration),
    /// It timed out, broke off, or was answered that the channel cannot do more (429) or cannot at all (5xx).
    Trouble,
}

/// The limiter of one class.
#[derive(Clone, Debug)]
pub(super) struct Limiter {
    least: u64,
    most: u64,
    restart: u64,
    limit: u64,
    usual: Usual,
    window: Window,
    /// Since when nothing has lowered it, and nothing has gone wrong.
    calm_since: Moment,
    /// How often it went up by itself since then.
    eased: u64,
}

/// The round trip as it usually is.
#[derive(Clone, Copy, Debug, Default)]
struct Usual {
    nanos: u64,
    windows: u64,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    since: Moment,
    samples: u32,
    answered: u64,
    nanos: u64,
    most_in_flight: u32,
    trouble: bool,
}

impl Limiter {
    /// A limiter at its cap of `most` calls, which never goes below `least` and starts again at `restart` after an opening. All are at least 1;
    /// `least` and `restart` above the cap are the cap.
    pub(super) fn new(least: u32, most: u32, restart: u32) -> Self {
        let (least, most) = (u64::from(least.clamp(1, most.max(1))) * ONE, u64::from(most.max(1)) * ONE);
        let restart = (u64::from(restart) * ONE).clamp(least, most);
        Self { least, most, restart, limit: most, usual: Usual::default(), window: Window::EMPTY, calm_since: Moment::default(), eased: 0 }
    }

    /// How many calls may be in flight: whole calls, at least one.
    pub(super) fn limit(&self) -> u32 {
        // At most 65,535 calls by construction.
        u32::try_from(self.limit / ONE).unwrap_or(u32::MAX)
    }

    /// Counts one call that reached the acquirer; `in_flight` were under way with it. True when that ended a window, so that the limit may be
    /// another.
    pub(super) fn sample(&mut self, sample: Sample, in_flight: u32, now: Moment) -> bool {
        let window = &mut self.window;
        if window.samples == 0 {
            window.since = now;
        }
        window.samples += 1;
        window.most_in_flight = window.most_in_flight.max(in_flight);
        match sample {
            Sample::Answered(rtt) => {
                window.answered += 1;
                window.nanos = window.nanos.saturating_add(u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX));
            }
            Sample::Trouble => {
                window.trouble = true;
                (self.calm_since, self.eased) = (now, 0);
            }
        }
        if window.samples < SAMPLES || now.since(window.since) < SPAN {
            return false;
        }
        let window = std::mem::replace(&mut self.window, Window::EMPTY);
        let wanted = self.wanted(&window);
        if wanted < self.limit {
            (self.calm_since, self.eased) = (now, 0);
        }
        self.limit = wanted.clamp(self.least, self.most);
        true
    }

    /// Time passes, with calls or without. Call it a few times a second.
    pub(super) fn ease(&mut self, now: Moment) {
        let Some(calm) = now.since(self.calm_since).checked_sub(CALM) else { return };
        let due = u64::try_from(calm.as_nanos() / EASE_EVERY.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        // A clock reading from before the last one pays nothing out.
        self.limit = self.limit.saturating_add(due.saturating_sub(self.eased).saturating_mul(ONE)).min(self.most);
        self.eased = self.eased.max(due);
    }

    /// The breaker has closed after an opening: what was measured before it is another channel's. The usual round trip is remembered.
    pub(super) fn restart(&mut self, now: Moment) {
        self.limit = self.restart;
        (self.calm_since, self.eased) = (now, 0);
        self.window = Window::EMPTY;
    }

    /// The limit that the window speaks for, however small or large.
    fn wanted(&mut self, window: &Window) -> u64 {
        if window.trouble {
            return self.limit * AFTER_TROUBLE_PERMILLE / 1_000;
        }
        // Without trouble every sample was answered, so there is at least one.
        let present = (window.nanos / window.answered.max(1)).max(1);
        let usual = self.usual.learn(present);
        if u64::from(window.most_in_flight) * ONE * 2 < self.limit {
            return self.limit;
        }
        let gradient = (TOLERANCE_PERMILLE.saturating_mul(usual) / present).clamp(LEAST_GRADIENT_PERMILLE, 1_000);
        let wanted = self.limit * gradient / 1_000 + QUEUE;
        (self.limit * (1_000 - SMOOTHING_PERMILLE) + wanted * SMOOTHING_PERMILLE) / 1_000
    }
}

impl Usual {
    /// Takes one window's average in: the usual one with it. After an outage the usual is far too high; it comes down by a twentieth a window then.
    fn learn(&mut self, present: u64) -> u64 {
        self.windows = (self.windows + 1).min(USUAL_WINDOWS);
        if present >= self.nanos {
            self.nanos += (present - self.nanos) / self.windows;
        } else {
            self.nanos -= (self.nanos - present) / self.windows;
        }
        if self.nanos / 2 > present {
            self.nanos -= self.nanos / 20;
        }
        self.nanos
    }
}

impl Window {
    const EMPTY: Self = Self { since: Moment::from_nanos(0), samples: 0, answered: 0, nanos: 0, most_in_flight: 0, trouble: false };
}

//! What time it is for the merchant. Both sides of this wire sign the time, and neither believes a signature of five minutes ago. A test moves its
//! own clock by hand, so the account keeps the merchant's time instead of the machine's: it is as late as the last signed request said.
//!
//! What it therefore cannot do is refuse a merchant whose clock is wrong.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

use crate::sandbox::book;

/// How many seconds the merchant's clock is ahead of ours.
#[derive(Debug, Default)]
pub struct Moment {
    ahead_s: AtomicI64,
}

impl Moment {
    /// A request was signed at this time, in seconds since 1970.
    pub fn hear(&self, seconds: i64) {
        self.ahead_s.store(seconds.saturating_sub(book::now().as_second()), Ordering::Relaxed);
    }

    /// Now, for the merchant.
    pub fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_secs(self.ahead_s.load(Ordering::Relaxed));
        book::now().checked_add(ahead).unwrap_or_else(|_| book::now())
    }
}

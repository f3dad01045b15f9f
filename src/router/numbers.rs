//! The numbers of a channel that counts its messages (a bank's STAN): one for every attempt, taken from a block that this process has leased.
//!
//! A block costs one statement for many attempts; what a process does not use up is lost, which costs nothing but a number. The number is in
//! the attempt's key, and so on disk, before the first byte leaves.

use std::ops::Range;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::crash::{self, Point};
use crate::store::{Store, StoreError};

/// Numbers leased at a time. At 1,000 payments a second a lease every half second; a restart wastes at most so many of a day's million.
const BLOCK: u32 = 500;

/// The numbers of one channel that this process may still use. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    left: Arc<Mutex<Range<u32>>>,
}

impl Numbers {
    /// The next one.
    ///
    /// # Errors
    /// [`StoreError`] when a new block is needed and cannot be leased: nothing may be sent without a number.
    pub(super) async fn next(&self, store: &Store, channel: &str) -> Result<u32, StoreError> {
        let mut left = self.left.lock().await;
        if left.is_empty() {
            let first = store.lease_numbers(channel, BLOCK).await?;
            crash::pass(Point::NumbersLeased);
            *left = first..first + BLOCK;
        }
        let number = left.start;
        left.start += 1;
        Ok(number)
    }
}

//! Whose work a connection is for. Each kind of flow has connections that no other kind can take: a flood of refunds waits for refunds'
//! connections, and a payment finds one of its own. The journal needs no shares: what may wait in its queues is bounded by the flows in flight,
//! which have bounds of their own, and one commit carries hundreds.
//!
//! A flow is a task, and its share goes with the task and with what it starts in turn: a script that had to name its share at each read would
//! name a wrong one some day.

use std::future::Future;

tokio::task_local! {
    static SHARE: Share;
}

/// A kind of work with connections of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Payments, captures, cancels.
    Payments,
    /// Refunds.
    Refunds,
    /// The poller, what it hands to the flows, and notifications.
    Poller,
}

impl Share {
    /// Every share.
    pub const ALL: [Self; 3] = [Self::Payments, Self::Refunds, Self::Poller];

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Payments => "payments",
            Self::Refunds => "refunds",
            Self::Poller => "poller",
        }
    }

    /// How many of `connections` it has: of 16, payments 6, refunds 3, the poller 3, and 4 are left for everybody's reads. Below 4 connections
    /// there are no shares.
    pub const fn of(self, connections: usize) -> usize {
        if connections < Self::ALL.len() + 1 {
            return 0;
        }
        let part = match self {
            Self::Payments => connections * 6 / 16,
            Self::Refunds | Self::Poller => connections * 3 / 16,
        };
        if part == 0 { 1 } else { part }
    }

    /// Runs `work` on this share's connections.
    pub async fn carry<T>(self, work: impl Future<Output = T>) -> T {
        SHARE.scope(self, work).await
    }

    /// The share of the task that asks; `None` outside of all.
    pub fn current() -> Option<Self> {
        SHARE.try_with(|share| *share).ok()
    }
}

/// `work`, on the connections of whoever calls this: for a task that it starts.
pub fn inherited<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let share = Share::current();
    async move {
        match share {
            Some(share) => share.carry(work).await,
            None => work.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_leave_somebody_a_connection_for_everything_else() {
        for connections in 4..=256 {
            let shared: usize = Share::ALL.iter().map(|share| share.of(connections)).sum();
            assert!(shared < connections, "{connections}");
            assert!(Share::ALL.iter().all(|share| share.of(connections) > 0), "{connections}");
        }
        assert_eq!(Share::ALL.map(|share| share.of(16)), [6, 3, 3]);
        assert_eq!(Share::ALL.map(|share| share.of(3)), [0, 0, 0]);
    }

    #[tokio::test]
    async fn a_task_that_a_flow_starts_has_the_share_of_the_flow() {
        let seen = Share::Refunds.carry(async { tokio::spawn(inherited(async { Share::current() })).await }).await;
        assert_eq!(seen.ok().flatten(), Some(Share::Refunds));
        assert_eq!(Share::current(), None);
    }
}

//! What may be wrong, with the figures that were seen. Whoever raises an alert builds one of these and nothing else, so that every alert has
//! its words in one place (`telling.rs`) and a new kind cannot be raised without them.

use std::time::Duration;

use jiff::Timestamp;

use crate::domain::Money;

/// How soon somebody must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Now, at night too: text messages are for these alone.
    Page,
    /// On the next working day.
    Ticket,
}

impl Severity {
    /// The name in rows and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
        }
    }

    /// The severity of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Page, Self::Ticket].into_iter().find(|severity| severity.as_str() == text)
    }
}

/// What may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AlertKind {
    /// A channel's breaker keeps new charges away from it.
    BreakerOpened,
    /// A channel's breaker paces the queries that settle what is in doubt there.
    QueriesPaced,
    /// A channel's actor was lost and replaced.
    ChannelRestarted,
    /// An attempt's outcome has been unknown for too long.
    UnknownOld,
    /// Nobody looks for attempts that are due.
    PollerStalled,
    /// Webhooks to merchants wait for too long.
    WebhooksUndelivered,
    /// Attempts were set aside, because looking at them fails by faults of ours.
    AttemptsSetAside,
    /// A channel's notifications were set aside, because applying them fails by faults of ours, or because the channel is not in the settings.
    NotificationsSetAside,
    /// Money moved at a channel without us, or came back.
    MoneyMoved,
    /// A channel tells of money that cannot have moved as it says.
    MoneyDoesNotFit,
    /// Nobody sends webhooks to merchants.
    NotifierStalled,
    /// An operator's override holds at a channel.
    OverrideHolds,
}

impl AlertKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::BreakerOpened,
        Self::QueriesPaced,
        Self::ChannelRestarted,
        Self::UnknownOld,
        Self::PollerStalled,
        Self::WebhooksUndelivered,
        Self::AttemptsSetAside,
        Self::NotificationsSetAside,
        Self::MoneyMoved,
        Self::MoneyDoesNotFit,
        Self::NotifierStalled,
        Self::OverrideHolds,
    ];

    /// The name in rows, answers and the runbook's anchors.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BreakerOpened => "breaker_opened",
            Self::QueriesPaced => "queries_paced",
            Self::ChannelRestarted => "channel_restarted",
            Self::UnknownOld => "unknown_old",
            Self::PollerStalled => "poller_stalled",
            Self::WebhooksUndelivered => "webhooks_undelivered",
            Self::AttemptsSetAside => "attempts_set_aside",
            Self::NotificationsSetAside => "notifications_set_aside",
            Self::MoneyMoved => "money_moved",
            Self::MoneyDoesNotFit => "money_does_not_fit",
            Self::NotifierStalled => "notifier_stalled",
            Self::OverrideHolds => "override_holds",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// How soon somebody must look.
    pub const fn severity(self) -> Severity {
        match self {
            Self::BreakerOpened
            | Self::UnknownOld
            | Self::PollerStalled
            | Self::AttemptsSetAside
            | Self::NotificationsSetAside
            | Self::MoneyDoesNotFit
            | Self::NotifierStalled => Severity::Page,
            Self::QueriesPaced | Self::ChannelRestarted | Self::WebhooksUndelivered | Self::MoneyMoved | Self::OverrideHolds => Severity::Ticket,
        }
    }

    /// Whether it happens at a moment instead of lasting: it is raised once and never resolved by who raised it.
    pub const fn is_event(self) -> bool {
        matches!(self, Self::ChannelRestarted | Self::NotificationsSetAside | Self::MoneyMoved | Self::MoneyDoesNotFit)
    }

    /// How long nobody must have seen it for it to have ended. A condition is seen again every second, so a minute bridges a breaker's probes
    /// and a restart of the process that saw it; an event has ended when it did not happen again for ten minutes.
    pub const fn quiet_for(self) -> Duration {
        if self.is_event() { Duration::from_secs(600) } else { Duration::from_secs(60) }
    }
}

/// Something that is wrong, with its figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A channel's breaker for new charges is not closed.
    BreakerOpened {
        /// The channel.
        channel: String,
        /// The breaker's reason, as metrics name it.
        reason: &'static str,
        /// Calls in its window when it was read.
        calls: u64,
        /// Failures among them.
        failures: u64,
        /// Channels that take charges now, in the order of routing.
        others: Vec<String>,
    },
    /// A channel's breaker for what settles doubts is not closed: it only paces, and never rejects for good.
    QueriesPaced {
        /// The channel.
        channel: String,
        /// The breaker's reason, as metrics name it.
        reason: &'static str,
    },
    /// A channel's actor was lost and replaced.
    ChannelRestarted {
        /// The channel.
        channel: String,
        /// How many actors it has had in this process.
        generation: u64,
    },
    /// Outcomes are unknown, and the oldest for too long.
    UnknownOld {
        /// The oldest one's age.
        age: Duration,
        /// How many a channel: the id and the count.
        channels: Vec<(String, i64)>,
        /// What they are about, added up: each currency once.
        at_risk: Vec<Money>,
    },
    /// The poller has not swept for too long.
    PollerStalled {
        /// Since its last sweep that succeeded.
        silent: Duration,
    },
    /// Webhooks wait for too long. Raised by the notifier, once for all endpoints: `bell.tell(AlertKind::WebhooksUndelivered, "", …)` whenever it
    /// reads its queue, with `Some` of this while the oldest is older than `alerts.undelivered_after_ms`, and `None` when it is not.
    WebhooksUndelivered {
        /// The oldest one's age.
        age: Duration,
        /// How many wait.
        waiting: u64,
        /// How many endpoints they wait for.
        endpoints: u64,
    },
    /// Looking at attempts fails by faults of ours, and nobody looks at them any more.
    AttemptsSetAside {
        /// How many.
        attempts: u64,
    },
    /// Applying a channel's notifications fails by faults of ours, or the channel is not in the settings, and nobody applies them any more.
    NotificationsSetAside {
        /// The channel.
        channel: String,
        /// How many were set aside at one look.
        messages: u64,
    },
    /// Money moved at a channel without us, or came back: it is booked, and the merchants are told. Each figure is of what was seen at one look.
    MoneyMoved {
        /// The channel.
        channel: String,
        /// Refunds that were made there.
        refunds: u64,
        /// Refunds that had succeeded, and came back.
        returned: u64,
        /// Disputes that were opened.
        opened: u64,
        /// Disputes that were decided.
        closed: u64,
    },
    /// A channel tells of money that cannot have moved as it says, if what we know is true.
    MoneyDoesNotFit {
        /// The channel.
        channel: String,
        /// Messages that were set aside at one look.
        messages: u64,
    },
    /// The notifier has made no round for too long.
    NotifierStalled {
        /// Since its last round that succeeded.
        silent: Duration,
    },
    /// Operators' overrides hold at a channel. It is told of when the first of them begins and when the last has ended.
    OverrideHolds {
        /// The channel.
        channel: String,
        /// Each of them.
        held: Vec<Override>,
    },
}

/// An operator's override, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The class of operations.
    pub operation: &'static str,
    /// What it does.
    pub mode: &'static str,
    /// Who put it.
    pub author: String,
    /// Why, in their words.
    pub reason: String,
    /// Until when it holds.
    pub until: Timestamp,
}

impl Condition {
    /// Its kind.
    pub const fn kind(&self) -> AlertKind {
        match self {
            Self::BreakerOpened { .. } => AlertKind::BreakerOpened,
            Self::QueriesPaced { .. } => AlertKind::QueriesPaced,
            Self::ChannelRestarted { .. } => AlertKind::ChannelRestarted,
            Self::UnknownOld { .. } => AlertKind::UnknownOld,
            Self::PollerStalled { .. } => AlertKind::PollerStalled,
            Self::WebhooksUndelivered { .. } => AlertKind::WebhooksUndelivered,
            Self::AttemptsSetAside { .. } => AlertKind::AttemptsSetAside,
            Self::NotificationsSetAside { .. } => AlertKind::NotificationsSetAside,
            Self::MoneyMoved { .. } => AlertKind::MoneyMoved,
            Self::MoneyDoesNotFit { .. } => AlertKind::MoneyDoesNotFit,
            Self::NotifierStalled { .. } => AlertKind::NotifierStalled,
            Self::OverrideHolds { .. } => AlertKind::OverrideHolds,
        }
    }

    /// The channel that it is about; empty when it is about none in particular.
    pub fn channel(&self) -> &str {
        match self {
            Self::BreakerOpened { channel, .. }
            | Self::QueriesPaced { channel, .. }
            | Self::ChannelRestarted { channel, .. }
            | Self::NotificationsSetAside { channel, .. }
            | Self::MoneyMoved { channel, .. }
            | Self::MoneyDoesNotFit { channel, .. }
            | Self::OverrideHolds { channel, .. } => channel,
            Self::UnknownOld { .. }
            | Self::PollerStalled { .. }
            | Self::WebhooksUndelivered { .. }
            | Self::AttemptsSetAside { .. }
            | Self::NotifierStalled { .. } => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_severity_is_found_by_its_name() {
        for kind in AlertKind::ALL {
            assert_eq!(AlertKind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Severity::parse("page"), Some(Severity::Page));
        assert_eq!(Severity::parse("loud"), None);
        assert_eq!(AlertKind::parse(""), None);
    }
}

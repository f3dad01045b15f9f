//! A channel with what the flows remember of it: its handle and keys, its inbox and places, and whether its unknowns are to be asked after at
//! once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use super::FlowSettings;
use super::call::call;
use crate::channel::handle::ChannelHandle;
use crate::clock::Moment;
use crate::domain::{Attempt, Payment};
use crate::provider::{Call, Credentials, Notification, NotificationError, Verb};
use crate::router::line::Line;
use crate::router::moved::{Moved, MovedCounts};
use crate::router::numbers::Numbers;
use crate::router::places::{Place, Places, Turn};
use crate::store::inbox::Inbox;

/// How often a channel's unknowns are made due at once, at most.
const HASTEN_EVERY: Duration = Duration::from_secs(5);

/// A channel with what the flows remember of it.
#[derive(Clone)]
pub struct Channel {
    /// Its handle.
    pub handle: ChannelHandle,
    /// How long one of its calls may take.
    pub call_timeout: Duration,
    credentials: Credentials,
    /// Where its provider's notifications reach us.
    notify_url: Option<String>,
    /// Where its notifications are kept, over the channel's own connections.
    pub(in crate::router) inbox: Inbox,
    /// Whether it failed since it last answered: the first answer makes its unknowns due at once.
    doubtful: Arc<AtomicBool>,
    /// When its unknowns were last made due, in nanoseconds of boot time; 0 for never.
    hastened_at: Arc<AtomicU64>,
    /// The payments that wait for room there.
    pub(in crate::router) line: Arc<Line>,
    /// Whose turn it is to send it a synthetic query.
    pub(in crate::router) probing: Turn,
    /// Whose turn it is to take up what waits in its inbox.
    pub(in crate::router) emptying: Turn,
    /// Its notifications that were set aside: for faults of ours, for its silence, or because they cannot be read.
    set_aside: Arc<AtomicU64>,
    /// How much may be under way there at once. Set by the flows, who know how many channels there are.
    pub(in crate::router) places: Places,
    pub(super) numbers: Numbers,
    /// What happened to money there by itself.
    pub(in crate::router) moved: Arc<Moved>,
}

impl Channel {
    /// A channel that has not failed yet.
    pub fn new(handle: ChannelHandle, credentials: Credentials, call_timeout: Duration, notify_url: Option<String>, inbox: Inbox) -> Self {
        Self {
            handle,
            call_timeout,
            credentials,
            notify_url,
            inbox,
            doubtful: Arc::default(),
            hastened_at: Arc::default(),
            line: Arc::default(),
            probing: Turn::default(),
            emptying: Turn::default(),
            set_aside: Arc::default(),
            places: Places::of_one(1, FlowSettings::default().inquiries),
            numbers: Numbers::default(),
            moved: Arc::default(),
        }
    }

    /// The same, with these places: the flows know how many channels there are.
    pub(super) fn with_places(self, places: Places) -> Self {
        Self { places, ..self }
    }

    /// How often money moved there without us, or came back, since this process has run.
    pub fn moved(&self) -> MovedCounts {
        self.moved.counts()
    }

    /// How many of its notifications this process has set aside: for faults of ours, for its silence, or because they cannot be read.
    pub fn notifications_set_aside(&self) -> u64 {
        self.set_aside.load(Ordering::Relaxed)
    }

    pub(in crate::router) fn note_set_aside(&self) {
        self.set_aside.fetch_add(1, Ordering::Relaxed);
    }

    /// Verifies and reads a notification.
    pub(in crate::router) fn receive(&self, headers: &http::HeaderMap, body: &[u8], now: Timestamp) -> Result<Notification, NotificationError> {
        // Only a protocol over HTTP sends any; to the others it is a message from nobody.
        let protocol = self.handle.provider().protocol().http().ok_or(NotificationError::Unsigned)?;
        protocol.verify_notification(headers, body, &self.credentials, now)?;
        protocol.read_notification(body, &self.credentials)
    }

    /// Reads a notification that was verified before it was stored. `None`: it cannot be read, or no longer with the keys of today.
    pub(in crate::router) fn read_again(&self, body: &[u8]) -> Option<Notification> {
        self.handle.provider().protocol().http()?.read_notification(body, &self.credentials).ok()
    }

    /// What this channel is asked about `attempt` of `payment`, now.
    pub(in crate::router) fn call(&self, payment: &Payment, attempt: &Attempt, verb: Verb, now: Timestamp) -> Call {
        Call { notify_url: self.notify_url.clone(), ..call(payment, attempt, verb, now) }
    }

    /// Room to put one more question of a merchant's now; it goes back when dropped.
    pub(in crate::router) fn place_to_ask(&self) -> Option<Place> {
        self.places.to_ask()
    }

    pub(in crate::router) fn note_failure(&self) {
        self.doubtful.store(true, Ordering::Relaxed);
    }

    /// True once, at the first answer after a failure, and at most every [`HASTEN_EVERY`]: at a channel that fails now and then, every answer
    /// follows a failure, and all its unknowns would be written and asked after again and again, their ladder notwithstanding.
    pub(in crate::router) fn has_recovered(&self, now: Moment) -> bool {
        // Nearly every answer follows another.
        if !self.doubtful.load(Ordering::Relaxed) {
            return false;
        }
        let last = self.hastened_at.load(Ordering::Relaxed);
        let rested = last == 0 || now.since(Moment::from_nanos(last)) >= HASTEN_EVERY;
        let recovered = rested && self.doubtful.swap(false, Ordering::Relaxed);
        if recovered {
            self.hastened_at.store(now.as_nanos(), Ordering::Relaxed);
        }
        recovered
    }
}

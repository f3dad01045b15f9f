//! What all flows share: the store, the channels, the clock, who this process is, and how many flows may be in flight.
//!
//! ```text
//! mod.rs      Flows and their bounds; leases, keys, deadlines, and the wait for an end
//! channel.rs  a channel with what the flows remember of it
//! call.rs     what a channel is asked about an attempt, of all that is known of its payment
//! task.rs     flows as tasks of their own, each in a place of those that there are
//! ```

mod call;
mod channel;
mod task;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use uuid::Uuid;

pub(super) use self::call::is_only_held;
pub use self::channel::Channel;
use super::answer::{Answer, FlowError, is_settled};
use super::places::{Place, Places};
use super::recent::Recent;
use super::vault::Vault;
use super::waiting::Waiting;
use crate::clock::{Clock, Moment};
use crate::domain::{Attempt, Candidate, Lease, OperationClass, Payment, Subject};
use crate::provider::{Call, Verb};
use crate::store::Store;
use crate::store::lease::Room;

/// How long before its payment's deadline a pay call is cut off: for writing what became of it.
const DEADLINE_MARGIN: SignedDuration = SignedDuration::from_millis(50);
/// Bounds and margins of the flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSettings {
    /// Payment flows in flight; beyond it 503. Each holds a few kilobytes.
    pub payment_flows: usize,
    /// Refund flows in flight, apart, so that neither can drag the other down.
    pub refund_flows: usize,
    /// Looks of the poller in flight, over all channels; one has at most its part of them, a quarter where there are many.
    pub inquiries: usize,
    /// How long a call of a channel without a timeout of its own may take.
    pub call_timeout: Duration,
    /// How much longer than its calls an attempt's lease lasts: for the journal, and for a pause of the machine.
    pub lease_margin: Duration,
    /// How long a second request with the same key is told that the first is in flight.
    pub in_flight_for: Duration,
    /// Minor units of an outcome that one operator may resolve alone; above it a second person must say the same.
    pub resolve_alone_up_to: i64,
}

impl Default for FlowSettings {
    fn default() -> Self {
        Self {
            payment_flows: 4_096,
            refund_flows: 1_024,
            inquiries: 256,
            call_timeout: Duration::from_secs(3),
            lease_margin: Duration::from_secs(4),
            in_flight_for: Duration::from_secs(10),
            resolve_alone_up_to: 100_000,
        }
    }
}

/// The flows. Cheap to clone; every task has one.
#[derive(Clone)]
pub struct Flows {
    pub(super) shared: Arc<Shared>,
}

impl std::fmt::Debug for Flows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flows").field("incarnation", &self.shared.incarnation).finish_non_exhaustive()
    }
}

pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) waiting: Waiting,
    pub(super) recent: Recent,
    pub(super) vault: Vault,
    pub(super) settings: FlowSettings,
    pub(super) incarnation: Uuid,
    channels: HashMap<String, Channel>,
    candidates: Vec<Candidate>,
    runtime: Handle,
    payment_flows: Arc<Semaphore>,
    refund_flows: Arc<Semaphore>,
    inquiries: Arc<Semaphore>,
    carrying: Arc<AtomicUsize>,
}

impl Flows {
    /// Flows over these channels, in the order of the settings, of the process that leases know as `incarnation`. Tasks run on `runtime`, the
    /// multi-thread one.
    pub fn new(store: Store, clock: Clock, channels: Vec<Channel>, vault: Vault, settings: FlowSettings, incarnation: Uuid, runtime: Handle) -> Self {
        let candidates = channels.iter().map(|channel| channel.handle.candidate().clone()).collect();
        let count = channels.len();
        let places = || Places::of_one(count, settings.inquiries);
        let channels = channels.into_iter().map(|channel| (channel.handle.id().to_owned(), channel.with_places(places()))).collect();
        Self {
            shared: Arc::new(Shared {
                store,
                clock,
                waiting: Waiting::default(),
                recent: Recent::default(),
                vault,
                settings,
                incarnation,
                channels,
                candidates,
                runtime,
                payment_flows: Arc::new(Semaphore::new(settings.payment_flows)),
                refund_flows: Arc::new(Semaphore::new(settings.refund_flows)),
                inquiries: Arc::new(Semaphore::new(settings.inquiries)),
                carrying: Arc::default(),
            }),
        }
    }

    /// This process, as leases name it.
    pub fn incarnation(&self) -> Uuid {
        self.shared.incarnation
    }

    /// The channel of that id, unless the settings no longer have it.
    pub(super) fn channel(&self, id: &str) -> Option<&Channel> {
        self.shared.channels.get(id)
    }

    /// Every channel.
    pub fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.shared.candidates.iter().filter_map(|candidate| self.shared.channels.get(&candidate.channel))
    }

    pub(super) fn candidates(&self) -> &[Candidate] {
        &self.shared.candidates
    }

    /// Whether no flow is in flight: what was begun is on disk, and answered or left to the poller.
    pub fn are_idle(&self) -> bool {
        let settings = &self.shared.settings;
        self.shared.payment_flows.available_permits() == settings.payment_flows
            && self.shared.refund_flows.available_permits() == settings.refund_flows
            && self.shared.inquiries.available_permits() == settings.inquiries
            && self.channels().all(|channel| channel.places.are_free())
            && self.shared.carrying.load(Ordering::Relaxed) == 0
    }

    /// How many more looks may be started at each channel now. None where it would not even be asked: its attempts are left where they are, or a shut
    /// channel's backlog would be taken up and put back sweep after sweep, and leave no place in the batch for the others'.
    pub fn rooms(&self) -> Vec<Room> {
        let now = self.shared.clock.boot();
        let room = |channel: &Channel| {
            let open = channel.handle.guard().would_admit(OperationClass::Resolve, now);
            let places = if open { channel.places.room_to_look() } else { 0 };
            Room { channel: channel.handle.id().to_owned(), places: i64::try_from(places).unwrap_or(i64::MAX) }
        };
        self.channels().map(room).collect()
    }

    /// A place for a look at an attempt on `channel`, for as long as it is kept. `None`: there is none now, there or at all.
    pub(super) fn place_to_look(&self, channel: &str) -> Option<(Option<Place>, Place)> {
        let own = match self.channel(channel) {
            Some(channel) => Some(channel.places.to_look()?),
            None => None,
        };
        Some((own, Arc::clone(&self.shared.inquiries).try_acquire_owned().ok()?))
    }

    /// How many more looks may be started now.
    pub fn room_for_inquiries(&self) -> usize {
        self.shared.inquiries.available_permits()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.clock.wall()
    }

    /// A lease for an attempt that makes `calls` calls on `channel`, and the moment by which its first byte must have left.
    pub(super) fn lease(&self, channel: &Channel, calls: u32) -> (Lease, Moment) {
        let span = channel.call_timeout * calls + self.shared.settings.lease_margin;
        let until = self.now() + SignedDuration::try_from(span).unwrap_or(SignedDuration::from_mins(1));
        let send_by = self.shared.clock.boot() + (span - self.shared.settings.lease_margin / 2);
        (Lease { owner: self.shared.incarnation, until }, send_by)
    }

    /// The key of a new attempt on `channel`: what identifies it there, chosen before it is written.
    pub(super) async fn new_key(&self, channel: &Channel) -> Result<String, FlowError> {
        let provider = channel.handle.provider();
        let number = if provider.needs_numbers() { Some(channel.numbers.next(&self.shared.store, channel.handle.id()).await?) } else { None };
        Ok(provider.mint_key(Uuid::new_v4().as_u128(), number, self.now()))
    }

    /// What `channel` is asked about `attempt` of `payment`, with the card where it is paid by one.
    pub(super) async fn order(&self, channel: &Channel, payment: &Payment, attempt: &Attempt, verb: Verb) -> Result<Call, FlowError> {
        let card = self.card_of(payment, verb).await?;
        Ok(Call { card, ..channel.call(payment, attempt, verb, self.now()) })
    }

    /// When a call that starts now must have ended.
    pub(super) fn call_deadline(&self, channel: &Channel) -> Moment {
        self.shared.clock.boot() + channel.call_timeout
    }

    /// When a pay call that starts now must have ended: like any other, and a moment before the payment's deadline. One that would begin after
    /// that is not sent.
    pub(super) fn pay_deadline(&self, channel: &Channel, payment: &Payment) -> Moment {
        let left = payment.request.deadline_at.duration_since(self.now()) - DEADLINE_MARGIN;
        self.shared.clock.boot() + channel.call_timeout.min(Duration::try_from(left).unwrap_or(Duration::ZERO))
    }

    /// Waits until what was asked about has come to an end, or `until`; then answers with the latest that is known.
    pub(super) async fn wait_for_end(
        &self,
        payment: Payment,
        subject: Subject,
        until: tokio::time::Instant,
        ours: Duration,
    ) -> Result<Answer, FlowError> {
        let payment = if is_settled(&payment, subject) {
            payment
        } else {
            let mut waiter = self.shared.waiting.watch(payment.id);
            // It may have ended between the flow's last word and the watch.
            match self.reload(payment.id).await? {
                latest if is_settled(&latest, subject) => latest,
                latest => match waiter.until(until, |payment| is_settled(payment, subject)).await {
                    Some(heard) if is_settled(&heard, subject) => (*heard).clone(),
                    _ => self.reload(latest.id).await?,
                },
            }
        };
        Ok(Answer { payment: Arc::new(payment), subject, replayed: false, ours })
    }

    /// The payment as it now is.
    pub(super) async fn reload(&self, id: crate::domain::PaymentId) -> Result<Payment, FlowError> {
        self.shared.store.payment(id).await?.ok_or_else(|| FlowError::Internal(format!("{id} is not in the database")))
    }
}

//! What all flows share: the store, the channels, the clock, who this process is, and how many flows may be in flight.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use actix::ResponseFuture;
use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::answer::{Answer, FlowError, is_settled};
use super::moved::{Moved, MovedCounts};
use super::numbers::Numbers;
use super::places::{Place, Places, Turn};
use super::recent::Recent;
use super::vault::Vault;
use super::waiting::Waiting;
use crate::channel::handle::ChannelHandle;
use crate::clock::{Clock, Moment};
use crate::crash::{self, Point};
use crate::domain::{Attempt, AttemptState, Candidate, Lease, Operation, OperationClass, Payment, Subject};
use crate::provider::{Call, Credentials, Notification, NotificationError, Undone, Verb};
use crate::store::inbox::Inbox;
use crate::store::lease::Room;
use crate::store::{Share, Store, share};

/// How long before its payment's deadline a pay call is cut off: for writing what became of it.
const DEADLINE_MARGIN: SignedDuration = SignedDuration::from_millis(50);
/// How often a channel's unknowns are made due at once, at most.
const HASTEN_EVERY: Duration = Duration::from_secs(5);

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
    pub(super) inbox: Inbox,
    /// Whether it failed since it last answered: the first answer makes its unknowns due at once.
    doubtful: Arc<AtomicBool>,
    /// When its unknowns were last made due, in nanoseconds of boot time; 0 for never.
    hastened_at: Arc<AtomicU64>,
    /// Whose turn it is to send it a synthetic query.
    pub(super) probing: Turn,
    /// Whose turn it is to take up what waits in its inbox.
    pub(super) emptying: Turn,
    /// Its notifications that were set aside for faults of ours.
    set_aside: Arc<AtomicU64>,
    /// How much may be under way there at once. Set by the flows, who know how many channels there are.
    pub(super) places: Places,
    numbers: Numbers,
    /// What happened to money there by itself.
    pub(super) moved: Arc<Moved>,
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
            probing: Turn::default(),
            emptying: Turn::default(),
            set_aside: Arc::default(),
            places: Places::of_one(1, FlowSettings::default().inquiries),
            numbers: Numbers::default(),
            moved: Arc::default(),
        }
    }

    /// How often money moved there without us, or came back, since this process has run.
    pub fn moved(&self) -> MovedCounts {
        self.moved.counts()
    }

    /// How many of its notifications were set aside for faults of ours, since this process has run.
    pub fn notifications_set_aside(&self) -> u64 {
        self.set_aside.load(Ordering::Relaxed)
    }

    pub(super) fn note_set_aside(&self) {
        self.set_aside.fetch_add(1, Ordering::Relaxed);
    }

    /// Verifies and reads a notification.
    pub(super) fn receive(&self, headers: &http::HeaderMap, body: &[u8], now: Timestamp) -> Result<Notification, NotificationError> {
        // Only a protocol over HTTP sends any; to the others it is a message from nobody.
        let protocol = self.handle.provider().protocol().http().ok_or(NotificationError::Unsigned)?;
        protocol.verify_notification(headers, body, &self.credentials, now)?;
        protocol.read_notification(body, &self.credentials)
    }

    /// Reads a notification that was verified before it was stored. `None`: it cannot be read, or no longer with the keys of today.
    pub(super) fn read_again(&self, body: &[u8]) -> Option<Notification> {
        self.handle.provider().protocol().http()?.read_notification(body, &self.credentials).ok()
    }

    /// What this channel is asked about `attempt` of `payment`, now.
    pub(super) fn call(&self, payment: &Payment, attempt: &Attempt, verb: Verb, now: Timestamp) -> Call {
        Call { notify_url: self.notify_url.clone(), ..call(payment, attempt, verb, now) }
    }

    /// Room to put one more question of a merchant's now; it goes back when dropped.
    pub(super) fn place_to_ask(&self) -> Option<Place> {
        self.places.to_ask()
    }

    pub(super) fn note_failure(&self) {
        self.doubtful.store(true, Ordering::Relaxed);
    }

    /// True once, at the first answer after a failure, and at most every [`HASTEN_EVERY`]: at a channel that fails now and then, every answer
    /// follows a failure, and all its unknowns would be written and asked after again and again, their ladder notwithstanding.
    pub(super) fn has_recovered(&self, now: Moment) -> bool {
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
        let with_places = |channel: Channel| Channel { places: Places::of_one(count, settings.inquiries), ..channel };
        let channels = channels.into_iter().map(|channel| (channel.handle.id().to_owned(), with_places(channel))).collect();
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

    pub(super) fn start_payment_flow<T: Send + 'static>(
        &self,
        flow: impl Future<Output = Result<T, FlowError>> + Send + 'static,
    ) -> ResponseFuture<Result<T, FlowError>> {
        self.start(Arc::clone(&self.shared.payment_flows).try_acquire_owned().ok(), ("payment", Point::PaymentFlowEnded), Share::Payments, flow)
    }

    pub(super) fn start_refund_flow<T: Send + 'static>(
        &self,
        flow: impl Future<Output = Result<T, FlowError>> + Send + 'static,
    ) -> ResponseFuture<Result<T, FlowError>> {
        self.start(Arc::clone(&self.shared.refund_flows).try_acquire_owned().ok(), ("refund", Point::RefundFlowEnded), Share::Refunds, flow)
    }

    /// Starts a look in the place that was taken for it.
    pub(super) fn start_look<T: Send + 'static>(
        &self,
        place: Option<(Option<Place>, Place)>,
        look: impl Future<Output = Result<T, FlowError>> + Send + 'static,
    ) -> ResponseFuture<Result<T, FlowError>> {
        self.start(place, ("inquiry", Point::Nowhere), Share::Poller, look)
    }

    /// Starts to take in a message of `channel`.
    pub(super) fn start_receiving<T: Send + 'static>(
        &self,
        channel: &Channel,
        flow: impl Future<Output = Result<T, FlowError>> + Send + 'static,
    ) -> ResponseFuture<Result<T, FlowError>> {
        self.start(channel.places.to_receive(), ("notification", Point::Nowhere), Share::Poller, flow)
    }

    /// Starts a flow as a task of its own. Whoever waits for the answer may go away: the flow goes on.
    fn start<T: Send + 'static>(
        &self,
        place: Option<impl Send + 'static>,
        (name, ended): (&'static str, Point),
        share: Share,
        flow: impl Future<Output = Result<T, FlowError>> + Send + 'static,
    ) -> ResponseFuture<Result<T, FlowError>> {
        let Some(place) = place else {
            return Box::pin(std::future::ready(Err(FlowError::Overloaded)));
        };
        let in_flight = metrics::gauge!("breakwater_flows_in_flight", "flow" => name);
        in_flight.increment(1.0);
        let (answer, answered) = oneshot::channel();
        self.shared.runtime.spawn(async move {
            // Both go back even if the flow panics.
            let _place = (place, Leaving(in_flight));
            let result = share.carry(flow).await;
            if result.is_ok() {
                crash::pass(ended);
            }
            let _gone = answer.send(result);
        });
        Box::pin(async move { answered.await.unwrap_or_else(|_| Err(without_answer())) })
    }

    /// Runs what moves nothing and holds no place: it reads, and waits for others. The API bounds how many there are.
    pub(super) fn start_reading<T: Send + 'static>(
        &self,
        reading: impl Future<Output = Result<T, FlowError>> + Send + 'static,
    ) -> ResponseFuture<Result<T, FlowError>> {
        let task = self.shared.runtime.spawn(reading);
        Box::pin(async move { task.await.unwrap_or_else(|_| Err(without_answer())) })
    }

    /// Runs the part of a flow that goes on when its caller was answered; a stop waits for it.
    pub(super) fn go_on<T: Send + 'static>(&self, part: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let under_way = UnderWay::begin(&self.shared.carrying);
        self.shared.runtime.spawn(share::inherited(async move {
            let _under_way = under_way;
            part.await
        }))
    }

    /// Runs what no flow has begun as a task of its own, on the connections of `share`.
    pub(super) fn spawn_as(&self, share: Share, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.shared.runtime.spawn(share.carry(task))
    }

    /// Runs a follow-up of a flow as a task of its own.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.runtime.spawn(share::inherited(task));
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

fn without_answer() -> FlowError {
    FlowError::Internal("the flow ended without an answer".to_owned())
}

/// One more part under way, until it is dropped.
struct UnderWay(Arc<AtomicUsize>);

impl UnderWay {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Leaving(metrics::Gauge);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// What a channel is asked about `attempt` of `payment`.
fn call(payment: &Payment, attempt: &Attempt, verb: Verb, now: Timestamp) -> Call {
    let request = &payment.request;
    let undone = match attempt.operation {
        Operation::Reversal => {
            attempt.undoes.and_then(|n| payment.attempt(n)).or_else(|| payment.attempts.iter().find(|other| is_being_undone(other)))
        }
        _ => None,
    };
    let pay = match attempt.operation {
        Operation::Pay => Some(attempt),
        // Where a refund is undone, it is still the payment's money.
        Operation::Reversal => undone.filter(|undone| undone.operation == Operation::Pay).or_else(|| payment.current_pay()),
        _ => payment.current_pay(),
    };
    Call {
        verb,
        key: attempt.key.clone(),
        payment: payment.id.to_string(),
        order: request.order.clone(),
        money: crate::domain::Money { amount: attempt.amount, currency: request.currency },
        payment_amount: request.amount,
        method: request.method.clone(),
        capture_method: request.capture_method,
        pay_reference: pay.and_then(|pay| pay.reference.clone()),
        reference: if attempt.operation == Operation::Pay { None } else { attempt.reference.clone() },
        pay_key: pay.map(|pay| pay.key.clone()),
        undoes: undone.map(|undone| Undone { operation: undone.operation, key: undone.key.clone(), reference: undone.reference.clone() }),
        held: is_only_held(payment, attempt),
        description: request.description.clone(),
        return_url: request.return_url.clone(),
        expires_at: request.expires_at,
        attempted_at: attempt.created_at,
        now,
        notify_url: None,
        repeat: !matches!(attempt.state, AttemptState::Sent | AttemptState::NotSent),
        card: None,
    }
}

/// Whether money that is to be undone is only held. A reversal that the channel refused as the release of a hold goes on as giving back: the hold
/// was taken meanwhile.
pub(super) fn is_only_held(payment: &Payment, attempt: &Attempt) -> bool {
    let refused = attempt.operation == Operation::Reversal && attempt.state == AttemptState::Declined;
    payment.request.capture_method == crate::domain::CaptureMethod::Manual && payment.captured == 0 && !refused
}

fn is_being_undone(attempt: &Attempt) -> bool {
    attempt.operation == Operation::Pay && attempt.state == AttemptState::Reversing
}

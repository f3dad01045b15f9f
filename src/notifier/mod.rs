//! Floor 3: webhooks to merchants. The notifier reads the outbox, fans each event out to the endpoints that want it, and delivers what is due.
//!
//! ```text
//! mod.rs       the Notifier actor: one round after the other       desk.rs       what merchants do with their endpoints
//! courier.rs   one delivery, top to bottom: read this first        schedule.rs   when to try again
//! message.rs   the body        signature.rs  Standard Webhooks 1.0        seal.rs   secrets at rest
//! client.rs    one POST, to an address that was judged             address.rs    which addresses may be reached
//! ```
//!
//! What holds. Nothing in the path of a payment waits for it: the outbox is the table of events, read behind the horizon of open transactions,
//! over connections of its own. An event is delivered at least once, or given up after ten tries over three days, and the log says which. What
//! waits, waits in the database: in memory is only what is under way, [`NotifierSettings::in_flight`] at most and
//! [`NotifierSettings::per_endpoint`] an endpoint, so that an endpoint that is down for days costs rows and not memory, and one that stalls
//! delays no other. An endpoint that fails five times in a row is shut, and looked at with a single delivery every half minute to five
//! minutes; when it answers, what had waited is due at once, in order. Several processes may run this side by side.
//!
//! Order: within a payment an event waits for the earlier ones, until one of them has failed for half an hour at an endpoint that takes others.
//! Between payments there is none. A receiver that must know looks at `data.sequence`.
//!
//! A transaction that stays open for hours (a dump, a forgotten session that has written) holds the horizon, and with it every webhook:
//! `breakwater_webhook_delivery_lag_seconds` shows it.

pub mod address;
pub mod client;
pub mod courier;
pub mod desk;
pub mod message;
pub mod schedule;
pub mod seal;
pub mod signature;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, ResponseFuture};
use jiff::{SignedDuration, Timestamp};
use rustls::ClientConfig;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use self::client::{Client, Resolver, public_only};
use self::courier::{Courier, Outcome};
use self::desk::Desk;
use self::schedule::GIVEN_UP_AFTER;
use self::seal::Sealer;
use crate::alert::{AlertKind, Bell, Condition};
use crate::clock::{Clock, Pulse};
use crate::crash::{self, Point};
use crate::store::{Store, StoreError};

/// How often and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifierSettings {
    /// The pause between two rounds. Shorter tells merchants sooner and asks the database more often.
    pub every: Duration,
    /// How long an endpoint may take to answer: 15 s.
    pub timeout: Duration,
    /// Deliveries under way in this process, at most.
    pub in_flight: usize,
    /// Deliveries under way to one endpoint, at most, over all processes.
    pub per_endpoint: i64,
    /// Whether endpoints may be in private networks.
    pub allow_private: bool,
}

impl Default for NotifierSettings {
    fn default() -> Self {
        Self { every: Duration::from_millis(250), timeout: Duration::from_secs(15), in_flight: 256, per_endpoint: 8, allow_private: false }
    }
}

/// Events that one reading of the outbox takes, and readings a round: what is more waits for the next round.
const FAN_OUT: i64 = 500;
const READINGS: u32 = 8;
/// How much longer than its timeout a delivery is ours.
const LEASE_BEYOND: Duration = Duration::from_secs(15);
/// How many rounds pass between two readings of the gauges, and between two looks for what waits too long.
const GAUGES_EVERY: u64 = 20;
const EXPIRE_EVERY: u64 = 240;
/// Deliveries given up at a time.
const EXPIRE_BATCH: i64 = 1_000;
/// Messages that may wait: wakes are at most one.
const MAILBOX: usize = 64;

/// Do a round now.
#[derive(Clone, Copy, Debug)]
pub struct Deliver;

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliverReport {
    /// Deliveries that were queued for events of the outbox.
    pub queued: i64,
    /// Deliveries that were begun.
    pub begun: usize,
}

impl Message for Deliver {
    type Result = Result<DeliverReport, StoreError>;
}

/// A round has ended.
struct Done;

impl Message for Done {
    type Result = ();
}

/// There is room again.
struct Wake;

impl Message for Wake {
    type Result = ();
}

/// What the notifier is made of.
pub struct Office {
    courier: Courier,
    settings: NotifierSettings,
    runtime: Handle,
    room: Arc<Semaphore>,
    woken: AtomicBool,
    pulse: Pulse,
    bell: OnceLock<(Bell, Duration)>,
}

impl std::fmt::Debug for Office {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Office").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Office {
    /// Rings `bell` from now on whenever the oldest webhook has waited for longer than `after`. Only the first bell counts.
    pub fn ring(&self, bell: Bell, after: Duration) {
        let _first = self.bell.set((bell, after));
    }

    /// An office over `store`, which should have connections of its own. Its work runs on `runtime`.
    pub fn new(
        store: Store,
        clock: Clock,
        sealer: Arc<Sealer>,
        tls: Arc<ClientConfig>,
        resolver: Resolver,
        settings: NotifierSettings,
        runtime: Handle,
    ) -> Arc<Self> {
        let admits = if settings.allow_private { |_| true } else { public_only };
        let client = Client::new(tls, resolver, admits, settings.timeout);
        let room = Arc::new(Semaphore::new(settings.in_flight));
        let pulse = Pulse::new(clock.boot());
        Arc::new(Self {
            courier: Courier { store, clock, client, sealer },
            settings,
            runtime,
            room,
            woken: AtomicBool::new(false),
            pulse,
            bell: OnceLock::new(),
        })
    }

    /// What is felt at the end of every round that succeeded.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// The desk for merchants.
    pub fn desk(&self) -> Desk {
        let Courier { store, clock, sealer, .. } = &self.courier;
        Desk { store: store.clone(), clock: clock.clone(), sealer: Arc::clone(sealer), allow_private: self.settings.allow_private }
    }

    async fn round(self: &Arc<Self>, number: u64, own: &actix::Addr<Notifier>, life: &Pulse) -> Result<DeliverReport, StoreError> {
        let mut report = DeliverReport::default();
        let now = self.courier.clock.wall();
        if number.is_multiple_of(EXPIRE_EVERY) {
            self.expire(now).await?;
        }
        for _ in 0..READINGS {
            // Each step takes no longer than its statements may.
            life.beat(self.courier.clock.boot());
            let found = self.courier.store.fan_out(FAN_OUT).await?;
            if found.from_elsewhere {
                tracing::warn!("the outbox's cursor was ahead of this server, as after a restore: it is set to now; replay what happened in between");
            }
            report.queued += found.queued;
            if found.queued > 0 {
                crash::pass(Point::WebhooksQueued);
            }
            if found.read < FAN_OUT {
                break;
            }
        }
        life.beat(self.courier.clock.boot());
        report.begun = self.begin(own).await?;
        life.beat(self.courier.clock.boot());
        if number.is_multiple_of(GAUGES_EVERY) {
            self.read_gauges(self.courier.clock.wall()).await?;
        }
        self.pulse.beat(self.courier.clock.boot());
        metrics::gauge!("breakwater_notifier_last_success_timestamp_seconds").set(self.courier.clock.wall().as_second() as f64);
        Ok(report)
    }

    /// Claims what is due, as much as there is room for, and sets it off. Nobody waits for it here.
    async fn begin(self: &Arc<Self>, own: &actix::Addr<Notifier>) -> Result<usize, StoreError> {
        self.woken.store(false, Ordering::SeqCst);
        let room = i64::try_from(self.room.available_permits()).unwrap_or(i64::MAX);
        if room == 0 {
            return Ok(0);
        }
        let now = self.courier.clock.wall();
        let lease = SignedDuration::try_from(self.settings.timeout + LEASE_BEYOND).unwrap_or(SignedDuration::from_secs(30));
        let claims = self.courier.store.claim_deliveries(now, now + lease, self.settings.per_endpoint, room).await?;
        let begun = claims.len();
        if begun > 0 {
            crash::pass(Point::WebhooksLeased);
        }
        for claim in claims {
            // A notifier's rounds do not overlap and nothing else takes permits, so there is one for each. When there is none, because a round that
            // hung came back beside those of its notifier's successor, the lease lapses.
            let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else { break };
            let (office, own) = (Arc::clone(self), own.clone());
            tokio::spawn(async move {
                office.courier.carry(claim).await;
                drop(permit);
                if !office.woken.swap(true, Ordering::SeqCst) && own.try_send(Wake).is_err() {
                    // The next round comes by itself.
                    office.woken.store(false, Ordering::SeqCst);
                }
            });
        }
        Ok(begun)
    }

    async fn expire(&self, now: Timestamp) -> Result<(), StoreError> {
        let given_up = self.courier.store.expire_deliveries(now - GIVEN_UP_AFTER, now, EXPIRE_BATCH).await?;
        if given_up > 0 {
            courier::count(Outcome::GivenUp, given_up);
            tracing::warn!(deliveries = given_up, "webhooks were given up: their endpoints were shut all the time");
        }
        Ok(())
    }

    async fn read_gauges(&self, now: Timestamp) -> Result<(), StoreError> {
        let (depth, oldest, endpoints) = self.courier.store.delivery_queue().await?;
        metrics::gauge!("breakwater_webhook_queue_depth").set(depth as f64);
        let age = oldest.map_or(0.0, |oldest| now.duration_since(oldest).as_secs_f64().max(0.0));
        metrics::gauge!("breakwater_webhook_oldest_undelivered_age_seconds").set(age);
        if let Some((bell, after)) = self.bell.get() {
            let age = Duration::from_secs_f64(age);
            let condition = (age > *after).then(|| Condition::WebhooksUndelivered {
                age,
                waiting: u64::try_from(depth).unwrap_or(0),
                endpoints: u64::try_from(endpoints).unwrap_or(0),
            });
            bell.tell(AlertKind::WebhooksUndelivered, "", condition);
        }
        Ok(())
    }
}

/// The actor: one round after the other.
#[derive(Debug)]
pub struct Notifier {
    office: Arc<Office>,
    life: Pulse,
    rounds: u64,
    at_work: bool,
    again: bool,
}

impl Notifier {
    /// A notifier for this office.
    pub fn new(office: Arc<Office>) -> Self {
        let life = Pulse::new(office.courier.clock.boot());
        Self { office, life, rounds: 0, at_work: false, again: false }
    }

    /// The same notifier, which gives a sign of life in `life` after each step of a round, however it ended: for whoever replaces one that is frozen.
    #[must_use]
    pub fn living(mut self, life: Pulse) -> Self {
        self.life = life;
        self
    }

    fn ask_for_round(&self, context: &Context<Self>) {
        if let Err(error) = context.address().try_send(Deliver) {
            tracing::warn!(error = %error, "the notifier's mailbox takes no round");
        }
    }
}

impl Actor for Notifier {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(MAILBOX);
        context.run_interval(self.office.settings.every, |notifier, context| {
            // A round that still runs is not overtaken by the next.
            if !notifier.at_work {
                notifier.ask_for_round(context);
            }
        });
    }
}

impl Handler<Done> for Notifier {
    type Result = ();
    fn handle(&mut self, _: Done, context: &mut Context<Self>) {
        self.at_work = false;
        self.life.beat(self.office.courier.clock.boot());
        if std::mem::take(&mut self.again) {
            self.ask_for_round(context);
        }
    }
}

impl Handler<Wake> for Notifier {
    type Result = ();
    fn handle(&mut self, _: Wake, context: &mut Context<Self>) {
        if self.at_work {
            self.again = true;
        } else {
            self.ask_for_round(context);
        }
    }
}

impl Handler<Deliver> for Notifier {
    type Result = ResponseFuture<Result<DeliverReport, StoreError>>;

    fn handle(&mut self, _: Deliver, context: &mut Context<Self>) -> Self::Result {
        if std::mem::replace(&mut self.at_work, true) {
            self.again = true;
            return Box::pin(async { Ok(DeliverReport::default()) });
        }
        let number = self.rounds;
        self.rounds += 1;
        let (office, own) = (Arc::clone(&self.office), context.address());
        let runtime = self.office.runtime.clone();
        let work = runtime.spawn({
            let (own, life) = (own.clone(), self.life.clone());
            async move { office.round(number, &own, &life).await }
        });
        Box::pin(async move {
            let report = work.await.unwrap_or_else(|error| {
                tracing::error!(error = %error, "a round of the notifier panicked");
                Ok(DeliverReport::default())
            });
            if let Err(error) = &report {
                tracing::error!(error = %error, "a round of the notifier failed");
            }
            let _gone = own.send(Done).await;
            report
        })
    }
}

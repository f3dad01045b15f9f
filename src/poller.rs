//! Floor 3: the poller. It finds what is due (an attempt in doubt, one whose holder died, a refund in its queue, a hold about to lapse), takes
//! a lease on it past whatever other pollers hold (`FOR UPDATE SKIP LOCKED`), and hands it to the router. Of each channel it takes the longest due
//! first, and of all channels equally many: a long backlog of one is no other's. It decides nothing and changes no payment.
//!
//! Several may run side by side; one that dies mid-batch leaves leases that lapse. A look that fails by a fault of ours costs its own attempt a
//! wait, and no other anything; after the fifth the attempt is set aside, counted, alerted, and listed under `/ops/v1/unknowns`, until an operator
//! has it asked after again. A channel's silence is no fault of ours: it is asked for ever.
//!
//! Beside the sweeps it has notifications taken up that wait in the inboxes, reads the gauges of what is in doubt, and keeps the house: partitions
//! ahead of time, old keys forgotten. None of that is ever before what is due: each is a task of its own, at its own pace.

mod doubt;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, ResponseFuture};
use jiff::{SignedDuration, Timestamp};
use tokio::runtime::Handle;

use self::doubt::{Shown, unknown_old};
use crate::alert::{AlertKind, Bell, Condition};
use crate::clock::{Clock, Pulse};
use crate::crash::{self, Point};
use crate::domain::{Part, Parts};
use crate::router::places::Turn;
use crate::router::{Flows, Inquire, Router, Survey};
use crate::store::lease::{Backlog, Wanted};
use crate::store::{Share, Store, StoreError};

/// How often and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollerSettings {
    /// The pause between two sweeps. Shorter finds unknowns sooner and asks the database more often.
    pub every: Duration,
    /// Attempts taken in one sweep.
    pub batch: i64,
    /// How long a lease lasts: longer than any call, or two pollers ask the same.
    pub lease: Duration,
    /// An outcome that is unknown for longer raises an alert.
    pub unknown_after: Duration,
}

impl Default for PollerSettings {
    fn default() -> Self {
        Self { every: Duration::from_millis(250), batch: 64, lease: Duration::from_secs(15), unknown_after: Duration::from_secs(900) }
    }
}

/// How many sweeps pass between two rounds of housekeeping; the first sweep does one.
const HOUSEKEEPING_EVERY: u64 = 240;
/// How many sweeps pass between two looks at the inboxes of notifications.
const INBOX_EVERY: u64 = 20;
/// How many sweeps pass between two readings of the gauges.
const GAUGES_EVERY: u64 = 8;
/// How long a merchant's key is remembered.
const KEYS_LIVE_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A card number that was sealed for a payment which is not there after so long never had one.
const ORPHANED_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// Keys forgotten, or card numbers erased, at a time.
const PRUNE_BATCH: i64 = 1_000;
/// Batches in one round of housekeeping: with fewer keys than are won in the same time the table would grow for ever.
const PRUNE_BATCHES: u32 = 64;

/// Look for what is due, now.
#[derive(Clone, Copy, Debug)]
pub struct Sweep;

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Attempts whose lease was taken and that were handed to the router.
    pub claimed: usize,
}

impl Message for Sweep {
    type Result = Result<SweepReport, StoreError>;
}

/// The actor. A clone is another poller that shares the pulse.
#[derive(Clone, Debug)]
pub struct Poller {
    store: Store,
    clock: Clock,
    flows: Flows,
    router: actix::Addr<Router>,
    settings: PollerSettings,
    bell: Bell,
    pulse: Pulse,
    life: Pulse,
    parts: Parts,
    runtime: Handle,
    sweeps: u64,
    sweeping: bool,
    keeping: Turn,
    reading: Turn,
    shown: Arc<Mutex<Shown>>,
}

impl Poller {
    /// A poller that hands what it finds to `router`, and rings `bell` for what stays unknown. Its database work runs on `runtime`.
    pub fn new(store: Store, clock: Clock, flows: Flows, router: actix::Addr<Router>, settings: PollerSettings, bell: Bell, runtime: Handle) -> Self {
        let [pulse, life] = [Pulse::new(clock.boot()), Pulse::new(clock.boot())];
        Self {
            store,
            clock,
            flows,
            router,
            settings,
            bell,
            pulse,
            life,
            parts: Parts::all(),
            runtime,
            sweeps: 0,
            sweeping: false,
            keeping: Turn::default(),
            reading: Turn::default(),
            shown: Arc::default(),
        }
    }

    /// The same poller, whose sweeps are felt in `pulse`, for a watch that outlives it.
    #[must_use]
    pub fn beating(mut self, pulse: Pulse) -> Self {
        self.pulse = pulse;
        self
    }

    /// The same poller, which gives a sign of life in `life` after each sweep, however it ended: for whoever replaces one that is frozen. One that
    /// hangs in a sweep and comes back after it was replaced ends that sweep: what it leases is leased to this process, and is handed over once.
    #[must_use]
    pub fn living(mut self, life: Pulse) -> Self {
        self.life = life;
        self
    }

    /// The same poller for what these parts of the work call for: with [`Part::Refund`] refunds and their queue, with [`Part::Poller`] everything
    /// but that queue, and the house.
    #[must_use]
    pub fn of(mut self, parts: Parts) -> Self {
        self.parts = parts;
        self
    }

    /// What one sweep, or one task beside the sweeps, works with.
    fn round(&self) -> Round {
        Round {
            store: self.store.clone(),
            clock: self.clock.clone(),
            flows: self.flows.clone(),
            router: self.router.clone(),
            settings: self.settings,
            bell: self.bell.clone(),
            pulse: self.pulse.clone(),
            parts: self.parts,
            shown: Arc::clone(&self.shown),
        }
    }

    /// Begins what goes on beside the sweeps: none of it may keep what is due waiting, so each is a task of its own.
    fn begin_chores(&self, sweep: u64) {
        if self.parts.have(Part::Poller) && sweep.is_multiple_of(INBOX_EVERY) {
            drop(self.flows.empty_inbox());
        }
        if self.parts.have(Part::Poller) && sweep.is_multiple_of(HOUSEKEEPING_EVERY) {
            // On everybody's connections: the poller has few of its own, and a deletion that waits for a lock keeps the one that it has.
            self.beside(&self.keeping, "the poller could not keep the house", |round| async move { round.keep_house().await });
        }
        if sweep.is_multiple_of(GAUGES_EVERY) {
            let read = |round: Round| Share::Poller.carry(async move { round.read_gauges().await });
            self.beside(&self.reading, "the poller could not read its gauges", read);
        }
    }

    /// Runs a chore on a task of its own, unless the last one is still at it.
    fn beside<F>(&self, turn: &Turn, complaint: &'static str, chore: impl FnOnce(Round) -> F)
    where
        F: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        let Some(turn) = turn.take() else { return };
        let work = chore(self.round());
        self.runtime.spawn(async move {
            let _turn = turn;
            if let Err(error) = work.await {
                tracing::error!(error = %error, "{complaint}");
            }
        });
    }

    /// Asks for the next sweep.
    fn sweep_again(&self, context: &mut Context<Self>) {
        let pause = pause(self.settings.every, uuid::Uuid::new_v4().as_bytes()[0]);
        context.run_later(pause, |poller, context| {
            // A sweep that still runs is not overtaken by the next.
            if !poller.sweeping
                && let Err(error) = context.address().try_send(Sweep)
            {
                tracing::warn!(error = %error, "the poller's mailbox takes no sweep");
            }
            poller.sweep_again(context);
        });
    }
}

impl Actor for Poller {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.sweep_again(context);
    }
}

/// A sweep has ended.
struct Swept;

impl Message for Swept {
    type Result = ();
}

impl Handler<Swept> for Poller {
    type Result = ();
    fn handle(&mut self, _: Swept, _: &mut Context<Self>) {
        self.sweeping = false;
        self.life.beat(self.clock.boot());
    }
}

impl Handler<Sweep> for Poller {
    type Result = ResponseFuture<Result<SweepReport, StoreError>>;

    fn handle(&mut self, _: Sweep, context: &mut Context<Self>) -> Self::Result {
        self.sweeping = true;
        let sweep = self.sweeps;
        self.sweeps += 1;
        self.begin_chores(sweep);
        let (round, own) = (self.round(), context.address());
        let work = self.runtime.spawn(Share::Poller.carry(async move { round.run().await }));
        Box::pin(async move {
            let report = work.await.unwrap_or_else(|error| {
                tracing::error!(error = %error, "a sweep of the poller panicked");
                Ok(SweepReport::default())
            });
            if let Err(error) = &report {
                tracing::error!(error = %error, "a sweep of the poller failed");
            }
            let _gone = own.send(Swept).await;
            report
        })
    }
}

/// One sweep.
struct Round {
    store: Store,
    clock: Clock,
    flows: Flows,
    router: actix::Addr<Router>,
    settings: PollerSettings,
    bell: Bell,
    pulse: Pulse,
    parts: Parts,
    shown: Arc<Mutex<Shown>>,
}

impl Round {
    async fn run(&self) -> Result<SweepReport, StoreError> {
        let now = self.clock.wall();
        let room = i64::try_from(self.flows.room_for_inquiries()).unwrap_or(i64::MAX);
        let limit = self.settings.batch.min(room);
        let mut report = SweepReport::default();
        if limit > 0 {
            let until = now + SignedDuration::try_from(self.settings.lease).unwrap_or(SignedDuration::from_secs(15));
            let wanted = Wanted { refunds: self.parts.have(Part::Refund), rest: self.parts.have(Part::Poller) };
            let claims = self.store.claim_wanted(self.flows.incarnation(), now, until, limit, &self.flows.rooms(), wanted).await?;
            report.claimed = claims.len();
            if report.claimed > 0 {
                crash::pass(Point::AttemptsLeased);
            }
            let due = self.flows.part(claims);
            // Handed over, not awaited: a look that hangs on its channel keeps its lease and nothing else.
            for claim in due.single {
                let look = self.router.send(Inquire { claim });
                tokio::spawn(async move {
                    let _logged_by_the_flow = look.await;
                });
            }
            for claims in due.together {
                let looks = self.router.send(Survey { claims });
                tokio::spawn(async move {
                    let _logged_by_the_flow = looks.await;
                });
            }
        }
        self.pulse.beat(self.clock.boot());
        metrics::gauge!("breakwater_poller_last_success_timestamp_seconds").set(self.clock.wall().as_second() as f64);
        Ok(report)
    }

    async fn keep_house(&self) -> Result<(), StoreError> {
        let now = self.clock.wall();
        let made = self.store.ensure_partitions(now).await?;
        if made > 0 {
            tracing::info!(partitions = made, "partitions were made ahead of time");
        }
        match self.flows.quarantine_strangers().await {
            // The watch looks at the channels of the settings, and these are none.
            Ok(strangers) => {
                strangers.into_iter().for_each(|(channel, messages)| self.bell.report(Condition::NotificationsSetAside { channel, messages }))
            }
            Err(error) => tracing::error!(error = %error, "notifications of channels that are not in the settings could not be set aside"),
        }
        if let Err(error) = self.prune(now).await {
            tracing::error!(error = %error, "old keys could not be forgotten");
        }
        if let Err(error) = self.erase_cards(now).await {
            tracing::error!(error = %error, "card numbers whose time is up could not be erased");
        }
        Ok(())
    }

    /// Forgets old keys: as many as a busy hour brings, in small batches.
    async fn prune(&self, now: Timestamp) -> Result<(), StoreError> {
        for _ in 0..PRUNE_BATCHES {
            if self.store.prune_keys(now - KEYS_LIVE_FOR, PRUNE_BATCH).await? < PRUNE_BATCH.unsigned_abs() {
                break;
            }
        }
        Ok(())
    }

    /// Erases card numbers that no refund can need any more.
    async fn erase_cards(&self, now: Timestamp) -> Result<(), StoreError> {
        for _ in 0..PRUNE_BATCHES {
            if self.store.erase_cards(now, now - ORPHANED_AFTER, PRUNE_BATCH).await? < PRUNE_BATCH.unsigned_abs() {
                break;
            }
        }
        Ok(())
    }

    async fn read_gauges(&self) -> Result<(), StoreError> {
        let now = self.clock.wall();
        let Backlog { due, oldest, set_aside } = self.store.backlog(now).await?;
        metrics::gauge!("breakwater_poller_set_aside").set(set_aside as f64);
        let condition = u64::try_from(set_aside).ok().filter(|count| *count > 0).map(|attempts| Condition::AttemptsSetAside { attempts });
        self.bell.tell(AlertKind::AttemptsSetAside, "", condition);
        metrics::gauge!("breakwater_poller_backlog", "kind" => "due").set(due as f64);
        let age = oldest.map_or(0.0, |oldest| now.duration_since(oldest).as_secs_f64().max(0.0));
        metrics::gauge!("breakwater_poller_oldest_due_age_seconds", "kind" => "due").set(age);
        let totals = self.store.doubt_totals().await?;
        let oldest = totals.iter().map(|total| total.oldest).min();
        let age = oldest.map_or(0.0, |oldest| now.duration_since(oldest).as_secs_f64().max(0.0));
        metrics::gauge!("breakwater_unknown_outcome_oldest_age_seconds").set(age);
        let too_old = Duration::from_secs_f64(age) >= self.settings.unknown_after;
        self.bell.tell(AlertKind::UnknownOld, "", too_old.then(|| unknown_old(age, &totals)));
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).show(&totals);
        for (pool, size, idle, waiting) in self.store.pool_status() {
            for (state, count) in [("in_use", size.saturating_sub(idle)), ("idle", idle), ("waiting", waiting)] {
                metrics::gauge!("breakwater_db_pool_connections", "pool" => pool, "state" => state).set(count as f64);
            }
        }
        Ok(())
    }
}

/// The pause between two sweeps, a quarter shorter or longer than the settings say: pollers that were started together part by themselves.
fn pause(every: Duration, chance: u8) -> Duration {
    every * (192 + u32::from(chance) / 2) / 256
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn pollers_that_were_started_together_part_by_a_quarter_of_the_pause_at_most() {
        let every = Duration::from_millis(256);
        let pauses: HashSet<Duration> = (0..=u8::MAX).map(|chance| pause(every, chance)).collect();
        assert!(pauses.iter().all(|pause| (every * 3 / 4..every * 5 / 4).contains(pause)), "{pauses:?}");
        assert_eq!((pauses.iter().min(), pauses.len()), (Some(&(every * 3 / 4)), 128), "as many places as there are to part into");
    }
}

//! One channel's supervisor: sees that there is an actor, and that it moves.
//!
//! `actix::Supervisor` does not survive a panic in a handler: the mailbox closes and the process lives on without the channel. So this one
//! holds a *factory*. It beats: a [`Ping`] that comes back closed means a dead actor, one that does not come back a frozen thread (a provider's
//! code that blocks or spins). Either way the actor is replaced, with its arbiter and its connections, and the new address is published; a
//! [`ChannelHandle`](super::handle::ChannelHandle) finds it there. The first replacement is immediate, those that follow on its heels wait
//! longer and longer.
//!
//! An abandoned arbiter is never joined, because that could wait for ever: it is told to stop after a drain, in which the calls under way on
//! it may still end well. A thread that never comes back is lost until the process ends; at most [`ABANDONED_MAX`] of them, then the channel
//! stays down and says so, because more threads would not help it.
//!
//! It is a task and not an actor, although it acts like one: its state is one loop, nobody sends it messages, and its news goes out by `watch`.
//! It runs on an arbiter because new arbiters can only be made on a thread of the actix system; one arbiter serves all supervisors.
//!
//! At every beat it also gives the channel's guard its [`tick`](ChannelGuard::tick), with or without an actor.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, ArbiterHandle, MailboxError, System};
use rustls::ClientConfig;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::actor::{ActorSettings, ChannelActor, ChannelIdentity, Ping};
use super::guard::ChannelGuard;
use super::handle::Standing;
use super::transport::{Destination, Transport};
use crate::clock::{Clock, Moment};
use crate::lasting::{self, Loss, Pauses};

/// How many arbiters may be on their way out at once. Each holds a thread.
pub const ABANDONED_MAX: usize = 16;

/// How a channel's actor is watched.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SupervisorSettings {
    /// Between two beats, in milliseconds; default 250, 10 to 10,000. Longer, and a dead actor is noticed later; breakers are ticked less often too.
    pub beat_every_ms: u64,
    /// A beat that takes longer than this, in milliseconds, means a frozen actor; default 1,000, 50 to 60,000. Too low, and a busy machine loses healthy
    /// actors; too high, and calls wait longer for a frozen one.
    pub frozen_after_ms: u64,
    /// The pause before the second replacement in a row, in milliseconds, doubled with each further one; default 50, 1 to 60,000.
    pub restart_base_ms: u64,
    /// The longest such pause, in milliseconds; default 5,000, at least `restart_base_ms`, at most 600,000.
    pub restart_max_ms: u64,
    /// An actor that lived this long, in milliseconds, was sound: its replacement is immediate again; default 5,000, at most 3,600,000.
    pub steady_after_ms: u64,
    /// How long an abandoned arbiter may go on with the calls under way, in milliseconds; default 30,000, at most 600,000. Below the longest call
    /// timeout, calls that could have ended well end unknown.
    pub drain_ms: u64,
}

impl Default for SupervisorSettings {
    fn default() -> Self {
        Self { beat_every_ms: 250, frozen_after_ms: 1_000, restart_base_ms: 50, restart_max_ms: 5_000, steady_after_ms: 5_000, drain_ms: 30_000 }
    }
}

impl SupervisorSettings {
    /// Every fault at once, one sentence each, naming the field and its range.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let ranges = [
            ("beat_every_ms", self.beat_every_ms, 10, 10_000),
            ("frozen_after_ms", self.frozen_after_ms, 50, 60_000),
            ("restart_base_ms", self.restart_base_ms, 1, 60_000),
            ("restart_max_ms", self.restart_max_ms, self.restart_base_ms, 600_000),
            ("steady_after_ms", self.steady_after_ms, 0, 3_600_000),
            ("drain_ms", self.drain_ms, 0, 600_000),
        ];
        let faults: Vec<String> = ranges
            .into_iter()
            .filter(|(_, value, least, most)| value < least || value > most)
            .map(|(name, value, least, most)| format!("{name} is {value}: it must be from {least} to {most}"))
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// The pause before the replacement that follows `failed` short lives in a row.
    fn pause(&self, failed: u32) -> Duration {
        let [base, max, steady_after] = [self.restart_base_ms, self.restart_max_ms, self.steady_after_ms].map(Duration::from_millis);
        Pauses { base, max, steady_after }.after(failed)
    }
}

/// An actor and the arbiter that is its own.
#[derive(Debug)]
pub struct Built {
    /// The thread.
    pub arbiter: Arbiter,
    /// The actor on it.
    pub address: Addr<ChannelActor>,
}

/// Everything that an actor is made from, as often as need be: the usual factory's material.
#[derive(Clone)]
pub struct Blueprint {
    /// Who it is.
    pub identity: ChannelIdentity,
    /// Where its channel is.
    pub destination: Destination,
    /// How its connections are secured.
    pub tls: Arc<ClientConfig>,
    /// How it behaves.
    pub settings: ActorSettings,
    /// The process's clock.
    pub clock: Clock,
}

impl Blueprint {
    /// A new arbiter with a new actor on it.
    ///
    /// # Errors
    /// When this thread belongs to no actix system, or the machine has no thread left to give.
    pub fn build(&self) -> io::Result<Built> {
        if System::try_current().is_none() {
            return Err(io::Error::other("an arbiter can only be made on a thread of an actix system"));
        }
        let arbiter = Arbiter::try_new()?;
        let Self { identity, destination, tls, settings, clock } = self.clone();
        let address = ChannelActor::start_in_arbiter(&arbiter.handle(), move |context| {
            context.set_mailbox_capacity(settings.mailbox.0);
            let transport = Transport::open(destination, &identity, tls, &settings, clock.clone());
            ChannelActor::new(identity, transport, &settings, clock)
        });
        Ok(Built { arbiter, address })
    }
}

/// The supervisor. See the module's documentation.
pub struct ChannelSupervisor {
    channel: Arc<str>,
    settings: SupervisorSettings,
    guard: Arc<ChannelGuard>,
    clock: Clock,
    factory: Box<dyn FnMut() -> io::Result<Built> + Send>,
    standing: watch::Sender<Standing>,
    /// How many actors were published.
    generation: u64,
    /// The actor that is published.
    current: Option<Built>,
    abandoned: Vec<ArbiterHandle>,
}

/// Why an actor's watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It died: a panic in a handler, or its arbiter stopped.
    Closed,
    /// Its thread does not move.
    Frozen,
    /// Nobody holds a handle any more.
    Unwanted,
}

impl ChannelSupervisor {
    /// A supervisor that has not begun, and where its news will be. `factory` is called on the supervisor's thread: it must not block for long.
    pub fn new(
        channel: Arc<str>,
        settings: SupervisorSettings,
        guard: Arc<ChannelGuard>,
        clock: Clock,
        factory: impl FnMut() -> io::Result<Built> + Send + 'static,
    ) -> (Self, watch::Receiver<Standing>) {
        let (standing, news) = watch::channel(Standing { generation: 0, address: None });
        let factory = Box::new(factory);
        let supervisor = Self { channel, settings, guard, clock, factory, standing, generation: 0, current: None, abandoned: Vec::new() };
        (supervisor, news)
    }

    /// Begins, on this arbiter's thread; the first actor is published within moments. It ends when the last handle is dropped, or with the arbiter.
    /// False when the arbiter has stopped.
    pub fn start(self, on: &ArbiterHandle) -> bool {
        on.spawn_fn(move || {
            actix::spawn(self.run());
        })
    }

    async fn run(mut self) {
        let (guard, clock, every) = (Arc::clone(&self.guard), self.clock.clone(), self.settings.beat_every_ms);
        let ticking = lasting::keep(format!("guard_{}", self.channel), async || {
            loop {
                guard.tick(clock.boot());
                sleep(Duration::from_millis(every)).await;
            }
        });
        tokio::select! {
            () = lasting::keep(format!("supervisor_{}", self.channel), async || self.supervise().await) => {}
            () = ticking => {}
        }
    }

    /// Until nobody holds a handle any more. Begun again after a panic, it lets go of the actor that it had and builds another.
    async fn supervise(&mut self) {
        let mut failed = 0;
        self.let_go();
        loop {
            let built_at = self.clock.boot();
            match self.build() {
                Some(built) => {
                    let address = built.address.clone();
                    self.generation += 1;
                    self.current = Some(built);
                    self.publish(Some(address.clone()));
                    let end = self.watch_over(&address).await;
                    self.let_go();
                    let loss = match end {
                        End::Unwanted => return,
                        End::Closed => Loss::Panicked,
                        End::Frozen => Loss::Frozen,
                    };
                    lasting::count(&format!("channel_{}", self.channel), loss);
                    tracing::error!(channel = %self.channel, generation = self.generation, end = ?end, "the channel's actor is lost and will be replaced");
                    failed = self.failed(failed, built_at);
                }
                None => failed = failed.max(1),
            }
            if self.standing.is_closed() {
                return;
            }
            sleep(self.settings.pause(failed)).await;
            failed = failed.saturating_add(1);
        }
    }

    /// How many short lives there were in a row, now that one more has ended.
    fn failed(&self, before: u32, built_at: Moment) -> u32 {
        let lived = self.clock.boot().since(built_at);
        if lived >= Duration::from_millis(self.settings.steady_after_ms) { 0 } else { before }
    }

    fn build(&mut self) -> Option<Built> {
        self.abandoned.retain(ArbiterHandle::alive);
        if self.abandoned.len() >= ABANDONED_MAX {
            tracing::error!(channel = %self.channel, abandoned = self.abandoned.len(), "too many threads of this channel do not end: it stays down");
            return None;
        }
        match (self.factory)() {
            Ok(built) => Some(built),
            Err(error) => {
                tracing::error!(channel = %self.channel, error = %error, "the channel's actor cannot be built");
                None
            }
        }
    }

    fn publish(&self, address: Option<Addr<ChannelActor>>) {
        self.standing.send_replace(Standing { generation: self.generation, address });
    }

    /// Withdraws the actor that is published, if there is one.
    fn let_go(&mut self) {
        if let Some(Built { arbiter, .. }) = self.current.take() {
            self.publish(None);
            self.abandon(&arbiter);
        }
    }

    async fn watch_over(&self, address: &Addr<ChannelActor>) -> End {
        loop {
            if self.standing.is_closed() {
                return End::Unwanted;
            }
            let beat = timeout(Duration::from_millis(self.settings.frozen_after_ms), address.send(Ping)).await;
            match beat {
                Ok(Ok(_)) => sleep(Duration::from_millis(self.settings.beat_every_ms)).await,
                Ok(Err(MailboxError::Closed)) => return End::Closed,
                Ok(Err(MailboxError::Timeout)) | Err(_) => return End::Frozen,
            }
        }
    }

    /// Lets go of an arbiter: no new call will reach it; it stops after the drain, if its thread still moves.
    fn abandon(&mut self, arbiter: &Arbiter) {
        let leaving = arbiter.handle();
        self.abandoned.push(leaving.clone());
        let drain = Duration::from_millis(self.settings.drain_ms);
        tokio::spawn(async move {
            sleep(drain).await;
            leaving.stop();
        });
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod socket_tests;

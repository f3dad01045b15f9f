//! What a flow holds of a channel: everything that routing asks, the guard, and [`ChannelHandle::perform`].
//!
//! A handle outlives its channel's actors: the supervisor publishes each new one's address, and a handle reads the newest. `perform` may be
//! called on any tokio runtime, and always ends: with the actor's answer; or, when the actor is gone or stalled or has not answered by the
//! deadline and a margin, with what is certain by then. A call whose gate could be shut was not sent, and never will be, however long
//! its message lies in a stalled mailbox; one that had passed its gate is unknown.
//!
//! Dropping the future of `perform` does not recall the call: the channel goes on with it, and its answer is lost to the caller. Flows run detached.

use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, prelude::SendError};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::actor::{ChannelActor, Done, FirstStep, Gate, Perform, ReadPage};
use super::guard::{ChannelGuard, Permit};
use crate::clock::{Clock, Moment};
use crate::domain::{CallClass, Candidate};
use crate::provider::{Call, Page, PageWanted, Provider};

/// How long after its deadline a call's answer is awaited: the actor answers at the deadline itself, and then only its thread can be late.
const ANSWER_MARGIN: Duration = Duration::from_millis(250);

/// Where a channel's actor is, as its supervisor last knew.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Counts the actors: another generation, another actor.
    pub generation: u64,
    /// Its address; none while there is no actor.
    pub address: Option<Addr<ChannelActor>>,
}

/// A channel, as flows see it. Cheap to clone.
#[derive(Clone)]
pub struct ChannelHandle {
    shared: Arc<Shared>,
}

struct Shared {
    provider: &'static dyn Provider,
    candidate: Candidate,
    guard: Arc<ChannelGuard>,
    clock: Clock,
    standing: watch::Receiver<Standing>,
}

impl ChannelHandle {
    /// A handle on the channel that `candidate` describes, whose actor is wherever `standing` says.
    pub fn new(
        provider: &'static dyn Provider,
        candidate: Candidate,
        guard: Arc<ChannelGuard>,
        clock: Clock,
        standing: watch::Receiver<Standing>,
    ) -> Self {
        Self { shared: Arc::new(Shared { provider, candidate, guard, clock, standing }) }
    }

    /// The channel's id.
    pub fn id(&self) -> &str {
        &self.shared.candidate.channel
    }

    /// Its protocol.
    pub fn provider(&self) -> &'static dyn Provider {
        self.shared.provider
    }

    /// What routing knows of it.
    pub fn candidate(&self) -> &Candidate {
        &self.shared.candidate
    }

    /// Its guard, to be asked for a permit before the intent is written.
    pub fn guard(&self) -> &Arc<ChannelGuard> {
        &self.shared.guard
    }

    /// Whether it has an actor now. A call without one is not sent.
    pub fn is_up(&self) -> bool {
        self.shared.standing.borrow().address.as_ref().is_some_and(Addr::connected)
    }

    /// Which actor it is at: grows with every rebuild.
    pub fn generation(&self) -> u64 {
        self.shared.standing.borrow().generation
    }

    /// Carries one call, and says what became of it. `deadline` ends the wait (the channel's own call timeout may end it sooner); at or after
    /// `send_by`, the end of the attempt's lease, nothing is sent any more. The permit is used up, whatever happens.
    pub async fn perform(&self, call: Call, permit: Permit, deadline: Moment, send_by: Option<Moment>) -> Done {
        let mut standing = self.shared.standing.clone();
        let step = FirstStep::of(&call, self.shared.provider);
        let gate = Arc::new(Gate::default());
        let (answer, mut answered) = oneshot::channel();
        let order = Perform { call, permit, deadline, send_by, gate: Arc::clone(&gate), answer };
        let generation = {
            let now = standing.borrow_and_update();
            // Through the one address that all handles share: a mailbox's bound holds per address, and every clone of one may overdraw it.
            let Some(address) = &now.address else {
                return Done::not_sent(CallClass::Neutral, "no_actor");
            };
            match address.try_send(order) {
                Ok(()) => now.generation,
                // A message that comes back was never taken: its permit goes back unused with it.
                Err(SendError::Full(_)) => {
                    return Done::not_sent(CallClass::Neutral, "mailbox_full");
                }
                Err(SendError::Closed(_)) => return Done::not_sent(CallClass::Neutral, "no_actor"),
            }
        };
        let until = Instant::now() + deadline.since(self.shared.clock.boot()) + ANSWER_MARGIN;
        let late = tokio::time::sleep_until(until);
        tokio::pin!(late);
        let mut watched = true;
        loop {
            tokio::select! {
                biased;
                done = &mut answered => return done.unwrap_or_else(|_| given_up(&gate, step, "actor_died")),
                () = &mut late => return given_up(&gate, step, "actor_silent"),
                changed = standing.changed(), if watched => {
                    watched = changed.is_ok();
                    // The actor is lost: what it has sent it may still answer for, what it has not sent must not wait for it.
                    let lost = {
                        let now = standing.borrow_and_update();
                        now.generation != generation || now.address.is_none()
                    };
                    if lost && gate.shut() {
                        return Done::not_sent(CallClass::Neutral, "actor_lost");
                    }
                }
            }
        }
    }
}

impl ChannelHandle {
    /// Reads a page of what the channel has. The permit is used up, whatever happens.
    ///
    /// # Errors
    /// What the exchange says of the channel's health: nothing is known then, and nothing was changed.
    pub async fn list(&self, wanted: PageWanted, permit: Permit, deadline: Moment) -> Result<Page, CallClass> {
        let (answer, answered) = oneshot::channel();
        {
            let standing = self.shared.standing.borrow();
            let Some(address) = &standing.address else { return Err(CallClass::Neutral) };
            // What comes back was never taken, and its permit goes back unused with it.
            address.try_send(ReadPage { wanted, permit, deadline, answer }).map_err(|_| CallClass::Neutral)?;
        }
        let until = Instant::now() + deadline.since(self.shared.clock.boot()) + ANSWER_MARGIN;
        tokio::time::timeout_at(until, answered).await.ok().and_then(Result::ok).unwrap_or(Err(CallClass::FailHard))
    }
}

/// Nobody will answer: what is certain?
fn given_up(gate: &Gate, step: FirstStep, fault: &'static str) -> Done {
    if gate.shut() { Done::not_sent(CallClass::Neutral, fault) } else { Done::lost(step, fault) }
}

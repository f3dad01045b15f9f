//! Looks after what a process cannot do without, from outside of it, once a second.
//!
//! A panic in a handler closes an actor's mailbox for good, and nobody is told; one that blocks its thread, or waits for ever, is there and does
//! nothing. The process would go on without a poller and look healthy. An actor that nobody else holds an address of (a [`Ward`]) gives a sign of life
//! after each of its steps. When its mailbox has closed, or no sign came for a minute, another one is built, on a new thread, because the old one may be
//! blocked. The first time at once, then after pauses that grow ([`Lives`]). Until the new one has given a sign, the process is not ready, and says why.
//!
//! The one that was replaced is told to end with its thread, which it does as soon as that moves. A round of it that hangs elsewhere may still come to
//! its end: what it takes it takes by lease, so nothing is done twice. Threads that never end are lost until the process ends; there are so many of them
//! at most, then the part stays away and the process says so, because more threads would not help it.
//!
//! An actor that others hold cannot be replaced under their hands ([`last`]): the process says that it is not ready until somebody restarts it. Loops
//! go on by themselves after a panic (`lasting.rs`); that one hangs shows in what it no longer does ([`heard`]). Channels have supervisors of their own
//! (`channel/supervisor.rs`), and the journal's writers go on by themselves and say it when they hang.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, ArbiterHandle, Context};

use crate::channel::supervisor::ABANDONED_MAX;
use crate::clock::{Moment, Pulse};
use crate::http::Readiness;
use crate::lasting::{self, Lives, Loss, Pauses};

/// How often each is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks in a row without a sign of life after which an actor is frozen, beside what it may rest between two rounds: a minute. Between two signs there
/// are a few statements at most, which the server ends after ten seconds each. Looks are counted and not time: nobody looks while the machine sleeps.
const SILENT_LOOKS: u32 = 60;
/// Threads and connections are built anew, so there is no hurry after the first time.
const PAUSES: Pauses = Pauses { base: Duration::from_secs(1), max: Duration::from_secs(60), steady_after: Duration::from_secs(60) };

/// Something that is looked after.
pub(super) trait Post {
    /// Its name, in metrics and in `/readyz`.
    fn name(&self) -> &'static str;
    /// Why it is not at work now; `None` when it is.
    fn look(&mut self) -> Option<String>;
}

/// How many looks a time takes, at least.
pub(super) fn looks(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(LOOK_EVERY.as_millis())).unwrap_or(u32::MAX)
}

/// What was heard of a pulse, look by look.
pub(super) struct Listener {
    pulse: Pulse,
    last: Moment,
    looks: u32,
    /// At which of the looks there was a new beat; 0 before the first.
    heard_at: u32,
}

impl Listener {
    /// Has heard nothing yet.
    pub(super) fn new(pulse: Pulse) -> Self {
        let last = pulse.last();
        Self { pulse, last, looks: 0, heard_at: 0 }
    }

    /// For how many looks in a row there was no beat.
    pub(super) fn listen(&mut self) -> u32 {
        self.looks = self.looks.saturating_add(1);
        let last = self.pulse.last();
        if last != self.last {
            (self.last, self.heard_at) = (last, self.looks);
        }
        self.looks - self.heard_at
    }
}

/// Where a ward's actor lives, for whoever ends the process.
#[derive(Clone, Default)]
pub(super) struct Quarters(Arc<Mutex<Thread>>);

#[derive(Default)]
struct Thread {
    arbiter: Option<ArbiterHandle>,
    closed: bool,
}

impl Quarters {
    /// Ends the actor with its thread; no other will be built.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.leave();
    }

    /// Tells the thread to end, and answers which it was.
    fn leave(&self) -> Option<ArbiterHandle> {
        let left = self.lock().arbiter.take()?;
        left.stop();
        Some(left)
    }

    fn lock(&self) -> MutexGuard<'_, Thread> {
        // Each change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An actor that is built anew, on a new thread, when it is lost.
pub(super) struct Ward<A: Actor<Context = Context<A>>> {
    name: &'static str,
    silent_looks: u32,
    build: Arc<dyn Fn(Pulse) -> A + Send + Sync>,
    quarters: Quarters,
    at_work: Option<(Addr<A>, Listener)>,
    lives: Lives,
    rebuilt: u64,
    /// Looks that pass before the next one is built.
    pause: u32,
    /// How the one before was lost, until its successor has given a sign of life.
    lost: Option<Loss>,
    /// Why there is no successor.
    obstacle: Option<String>,
    abandoned: Vec<ArbiterHandle>,
}

impl<A: Actor<Context = Context<A>>> Ward<A> {
    /// Builds it for the first time. It gives a sign in the pulse that it is built with after each step of its work; between two rounds it may rest for
    /// `rest`.
    ///
    /// # Errors
    /// When this thread belongs to no actix system, or the machine has no thread left to give.
    pub(super) fn new(name: &'static str, rest: Duration, build: impl Fn(Pulse) -> A + Send + Sync + 'static) -> io::Result<Self> {
        let mut ward = Self {
            name,
            silent_looks: SILENT_LOOKS.saturating_add(looks(rest)),
            build: Arc::new(build),
            quarters: Quarters::default(),
            at_work: None,
            lives: Lives::new(PAUSES),
            rebuilt: 0,
            pause: 0,
            lost: None,
            obstacle: None,
            abandoned: Vec::new(),
        };
        ward.begin()?;
        Ok(ward)
    }

    /// Where it lives, whichever one it is.
    pub(super) fn quarters(&self) -> Quarters {
        self.quarters.clone()
    }

    fn begin(&mut self) -> io::Result<()> {
        let arbiter = Arbiter::try_new()?;
        let life = Pulse::new(Moment::default());
        let listener = Listener::new(life.clone());
        let build = Arc::clone(&self.build);
        let address = A::start_in_arbiter(&arbiter.handle(), move |_| build(life));
        self.quarters.lock().arbiter = Some(arbiter.handle());
        self.at_work = Some((address, listener));
        Ok(())
    }

    /// How the one at work was lost, if it was.
    fn loss(&mut self) -> Option<Loss> {
        let (address, listener) = self.at_work.as_mut()?;
        let silent = listener.listen();
        if !address.connected() {
            return Some(Loss::Panicked);
        }
        (silent >= self.silent_looks).then_some(Loss::Frozen)
    }

    fn lose(&mut self, loss: Loss) {
        // It lived until it was last heard of: that it is frozen is only known a minute later.
        let lived = self.at_work.take().map_or(Duration::ZERO, |(_, listener)| LOOK_EVERY * listener.heard_at);
        self.abandoned.extend(self.quarters.leave());
        self.pause = looks(self.lives.ended(lived));
        self.lost = Some(loss);
        tracing::error!(actor = self.name, cause = loss.as_str(), pause_s = self.pause, "an actor was lost, and will be built anew");
    }

    fn begin_anew(&mut self) {
        self.abandoned.retain(ArbiterHandle::alive);
        let begun = if self.abandoned.len() < ABANDONED_MAX {
            self.begin().map_err(|error| error.to_string())
        } else {
            Err(format!("{} of its threads do not end: restart the process", self.abandoned.len()))
        };
        self.obstacle = begun.err();
        match (&self.obstacle, self.lost) {
            (Some(obstacle), _) => {
                tracing::error!(actor = self.name, obstacle, "an actor cannot be built anew");
                self.pause = looks(self.lives.ended(Duration::ZERO)).max(1);
            }
            (None, loss) => {
                self.rebuilt += 1;
                lasting::count(self.name, loss.unwrap_or(Loss::Panicked));
            }
        }
    }

    fn complaint(&self) -> Option<String> {
        let lost = match self.lost? {
            Loss::Panicked => "it panicked".to_owned(),
            Loss::Frozen => format!("it gave no sign of life for {} s", self.silent_looks),
        };
        Some(match (&self.obstacle, &self.at_work) {
            (Some(obstacle), _) => format!("{lost}, and cannot be built anew: {obstacle}"),
            (None, Some(_)) => format!("{lost}; it was built anew, for the {}. time, and has given no sign of life yet", self.rebuilt),
            (None, None) => format!("{lost}, after it was built anew {} times; the next time is in {} s", self.rebuilt, self.pause),
        })
    }
}

impl<A: Actor<Context = Context<A>>> Post for Ward<A> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn look(&mut self) -> Option<String> {
        if self.quarters.lock().closed {
            return None;
        }
        match self.loss() {
            Some(loss) => self.lose(loss),
            None => self.pause = self.pause.saturating_sub(1),
        }
        if self.at_work.is_none() && self.pause == 0 {
            self.begin_anew();
        }
        if self.at_work.as_ref().is_some_and(|(_, listener)| listener.heard_at > 0) {
            self.lost = None;
        }
        self.complaint()
    }
}

/// An actor whose address others hold, and whether its thread moves.
struct Last<A: Actor<Context = Context<A>>> {
    name: &'static str,
    address: Addr<A>,
    thread: ArbiterHandle,
    moved: Arc<AtomicBool>,
    silent: u32,
}

/// Looks after an actor that cannot be replaced, on `thread`.
pub(super) fn last<A: Actor<Context = Context<A>>>(address: &Addr<A>, name: &'static str, thread: ArbiterHandle) -> Box<dyn Post> {
    Box::new(Last { name, address: address.clone(), thread, moved: Arc::new(AtomicBool::new(true)), silent: 0 })
}

impl<A: Actor<Context = Context<A>>> Post for Last<A> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn look(&mut self) -> Option<String> {
        if !self.address.connected() {
            return Some("it was lost and cannot be replaced: restart the process".to_owned());
        }
        // One thing to do at a time: what a thread that does not move is given would pile up.
        if self.moved.swap(false, Ordering::Relaxed) {
            self.silent = 0;
            let moved = Arc::clone(&self.moved);
            self.thread.spawn_fn(move || moved.store(true, Ordering::Relaxed));
        } else {
            self.silent = self.silent.saturating_add(1);
        }
        let reason = || format!("its thread has not moved for {} s, and it cannot be replaced: restart the process", self.silent);
        (self.silent >= SILENT_LOOKS).then(reason)
    }
}

/// Something that is heard of when it goes well.
struct Heard {
    name: &'static str,
    listener: Listener,
    silent_looks: u32,
    reason: fn(u32) -> String,
}

/// Looks after what beats in `pulse` whenever it goes well. Without a beat for `silent`, `reason` says of so many seconds why it is not at work.
pub(super) fn heard(name: &'static str, pulse: Pulse, silent: Duration, reason: fn(u32) -> String) -> Box<dyn Post> {
    Box::new(Heard { name, listener: Listener::new(pulse), silent_looks: looks(silent), reason })
}

impl Post for Heard {
    fn name(&self) -> &'static str {
        self.name
    }

    fn look(&mut self) -> Option<String> {
        let silent = self.listener.listen();
        (silent >= self.silent_looks).then(|| (self.reason)(silent))
    }
}

/// Looks at every post in turn, and tells whether the process is ready.
pub(super) struct Watchdog {
    posts: Vec<Box<dyn Post>>,
    readiness: Arc<Readiness>,
}

impl Watchdog {
    pub(super) fn new(posts: Vec<Box<dyn Post>>, readiness: Arc<Readiness>) -> Self {
        Self { posts, readiness }
    }

    /// Looks for as long as the process serves.
    pub(super) async fn run(&mut self) {
        loop {
            self.look();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn look(&mut self) {
        for post in &mut self.posts {
            let reason = post.look();
            self.readiness.concern(post.name(), reason);
        }
    }
}

#[cfg(test)]
mod tests;

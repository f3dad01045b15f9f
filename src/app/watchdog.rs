//! Looks after the actors that a process cannot do without. A panic in a handler closes an actor's mailbox for good, and nobody is told: the
//! process would go on without a poller, and look healthy. Here that is noticed within a second. An actor that nobody else holds an address of is
//! built anew; one that others do hold cannot be replaced under their hands, and then the process says that it is not ready, and why, until
//! somebody restarts it. Channels have supervisors of their own (`channel/supervisor.rs`), and the journal's writers go on by themselves.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, ArbiterHandle, Context};

use crate::http::Readiness;

/// How often each is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Something that is looked after.
pub(super) trait Post {
    /// Its name, in metrics and in `/readyz`.
    fn name(&self) -> &'static str;
    /// Why it is not at work now; `None` when it is.
    fn look(&mut self) -> Option<String>;
}

/// An actor that is built anew when its mailbox has closed.
pub(super) struct Ward<A: Actor<Context = Context<A>>> {
    name: &'static str,
    arbiter: ArbiterHandle,
    build: Arc<dyn Fn() -> A + Send + Sync>,
    address: Addr<A>,
    rebuilt: u64,
}

impl<A: Actor<Context = Context<A>>> Ward<A> {
    /// Builds it for the first time, on `arbiter`, which must outlive it.
    pub(super) fn new(name: &'static str, arbiter: ArbiterHandle, build: impl Fn() -> A + Send + Sync + 'static) -> Self {
        let build: Arc<dyn Fn() -> A + Send + Sync> = Arc::new(build);
        let address = start(&arbiter, &build);
        Self { name, arbiter, build, address, rebuilt: 0 }
    }
}

fn start<A: Actor<Context = Context<A>>>(arbiter: &ArbiterHandle, build: &Arc<dyn Fn() -> A + Send + Sync>) -> Addr<A> {
    let build = Arc::clone(build);
    A::start_in_arbiter(arbiter, move |_| build())
}

impl<A: Actor<Context = Context<A>>> Post for Ward<A> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn look(&mut self) -> Option<String> {
        if self.address.connected() {
            return None;
        }
        self.rebuilt += 1;
        tracing::error!(actor = self.name, times = self.rebuilt, "an actor was lost, and is built anew");
        metrics::counter!("breakwater_actor_restarts_total", "actor" => self.name).increment(1);
        self.address = start(&self.arbiter, &self.build);
        Some(format!("it was lost and is being built anew, for the {}. time", self.rebuilt))
    }
}

/// An actor whose address others hold.
struct Last<A: Actor<Context = Context<A>>> {
    name: &'static str,
    address: Addr<A>,
}

/// Looks after an actor that cannot be replaced.
pub(super) fn last<A: Actor<Context = Context<A>>>(address: &Addr<A>, name: &'static str) -> Box<dyn Post> {
    Box::new(Last { name, address: address.clone() })
}

impl<A: Actor<Context = Context<A>>> Post for Last<A> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn look(&mut self) -> Option<String> {
        (!self.address.connected()).then(|| "it was lost and cannot be replaced: restart the process".to_owned())
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
    pub(super) async fn run(mut self) {
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
mod tests {
    use actix::{Arbiter, Handler, Message, System};

    use super::*;
    use crate::http::Phase;

    struct Fragile;

    struct Break;

    impl Message for Break {
        type Result = ();
    }

    impl Actor for Fragile {
        type Context = Context<Self>;
    }

    impl Handler<Break> for Fragile {
        type Result = ();
        fn handle(&mut self, _: Break, _: &mut Context<Self>) {
            panic!("a fault of ours");
        }
    }

    /// Its caller hears of the panic a moment before the mailbox is gone.
    async fn break_it(address: &Addr<Fragile>) {
        assert!(address.send(Break).await.is_err());
        let mut looks = 0;
        while address.connected() {
            assert!(looks < 2_000, "a panic closes the mailbox");
            looks += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn ready() -> Arc<Readiness> {
        let readiness = Arc::new(Readiness::default());
        readiness.enter(Phase::Ready);
        readiness
    }

    #[test]
    fn an_actor_whose_handler_panicked_is_built_anew_and_until_then_the_process_is_not_ready() {
        System::new().block_on(async {
            let arbiter = Arbiter::new();
            let mut ward = Ward::new("poller", arbiter.handle(), || Fragile);
            assert_eq!(ward.look(), None);
            let lost = ward.address.clone();
            break_it(&lost).await;
            let readiness = ready();
            let mut watchdog = Watchdog::new(vec![Box::new(ward)], Arc::clone(&readiness));
            watchdog.look();
            assert_eq!(readiness.reasons(), ["poller: it was lost and is being built anew, for the 1. time"]);
            assert!(!lost.connected(), "a lost one does not come back by itself");
            watchdog.look();
            assert_eq!(readiness.reasons(), Vec::<String>::new());
        });
    }

    #[test]
    fn one_that_others_hold_keeps_the_process_from_being_ready_for_good() {
        System::new().block_on(async {
            let address = Fragile.start();
            let readiness = ready();
            let mut watchdog = Watchdog::new(vec![last(&address, "router")], Arc::clone(&readiness));
            watchdog.look();
            assert_eq!(readiness.reasons(), Vec::<String>::new());
            // On an arbiter of its own the panic ends its task alone; here the mailbox is closed by hand.
            let arbiter = Arbiter::new();
            let address = Fragile::start_in_arbiter(&arbiter.handle(), |_| Fragile);
            break_it(&address).await;
            let mut watchdog = Watchdog::new(vec![last(&address, "router")], Arc::clone(&readiness));
            for _ in 0..2 {
                watchdog.look();
                assert_eq!(readiness.reasons(), ["router: it was lost and cannot be replaced: restart the process"]);
            }
        });
    }
}

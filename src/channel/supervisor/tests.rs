//! A channel from its handle to a peer on a socket, with a provider that does what the order's name asks for.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Condvar, Mutex};

use actix::{Context, Handler, Message};
use jiff::Timestamp;

use super::super::actor::Done;
use super::super::guard::{GuardSettings, Permit};
use super::super::handle::ChannelHandle;
use super::super::http_pool::{Address, tls_config};
use super::*;
use crate::domain::{CallClass, Candidate, CaptureMethod, Contract, Currency, Fact, Money, News, OperationClass, PaymentMethod};
use crate::provider::{
    Account, Assembled, Call, Credentials, HttpProtocol, HttpRequest, HttpResponse, Notification, NotificationError, Protocol, Provider, Reply, Verb,
};

/// A provider whose calls go to the path of their order's name.
#[derive(Default)]
struct Parrot {
    released: Mutex<bool>,
    release: Condvar,
}

impl Parrot {
    /// Blocks the thread, as no provider should.
    fn freeze(&self) {
        let mut released = self.released.lock().expect("not poisoned");
        while !*released {
            released = self.release.wait(released).expect("not poisoned");
        }
    }

    fn thaw(&self) {
        *self.released.lock().expect("not poisoned") = true;
        self.release.notify_all();
    }
}

impl Provider for Parrot {
    fn name(&self) -> &'static str {
        "parrot"
    }

    fn contract(&self) -> &'static Contract {
        static CONTRACT: Contract = Contract {
            key_lives_for: Duration::from_secs(60),
            replay_may_charge: true,
            charges_only_with_reference: true,
            can_close: true,
            several_captures: false,
            not_found_final_after: Duration::from_secs(60),
            refund_window: Duration::from_secs(60),
            refund_spacing: Duration::ZERO,
            refunds_at_most: crate::domain::REFUNDS_WITHOUT_LIMIT,
            refund_number_is_permanent: false,
            hold_lasts: Duration::from_secs(60),
            unanswered: crate::domain::Unanswered::Query,
            dead_after_expiry: None,
            methods: &[],
        };
        &CONTRACT
    }

    fn default_address(&self) -> &'static str {
        "http://127.0.0.1:9"
    }

    fn protocol(&'static self) -> Protocol {
        Protocol::Http(self)
    }
}

impl HttpProtocol for Parrot {
    fn request(&self, call: &Call, _: &Credentials) -> Assembled {
        match call.order.as_str() {
            "panic_in_request" => panic!("injected"),
            "freeze" => self.freeze(),
            _ => {}
        }
        Assembled::Send(HttpRequest { method: http::Method::GET, path: format!("/{}", call.order), headers: Vec::new(), body: Vec::new() })
    }

    fn reply(&self, call: &Call, _: &HttpResponse, _: &Credentials) -> Reply {
        assert_ne!(call.order, "panic_in_reply", "injected");
        if call.order == "freeze_in_reply" {
            self.freeze();
        }
        Reply::News { news: News::of(Fact::Approved), class: CallClass::Success }
    }

    fn verify_notification(&self, _: &http::HeaderMap, _: &[u8], _: &Credentials, _: Timestamp) -> Result<(), NotificationError> {
        Err(NotificationError::Unsigned)
    }

    fn read_notification(&self, _: &[u8], _: &Credentials) -> Result<Notification, NotificationError> {
        Err(NotificationError::Malformed)
    }
}

/// A panic in a handler: what closes an actor for good.
pub(super) struct Crash;

impl Message for Crash {
    type Result = ();
}

impl Handler<Crash> for ChannelActor {
    type Result = ();

    fn handle(&mut self, _: Crash, _: &mut Context<Self>) {
        panic!("injected");
    }
}

/// A peer that answers every request but those for `/drop` (it hangs up), `/hang` (it waits for the
/// client to) and `/wait` (it waits for a `/go`). It notes every path.
fn peer() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let paths: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&paths);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, noted) = (stream.expect("a connection"), Arc::clone(&noted));
            std::thread::spawn(move || {
                let (mut read, mut part) = (Vec::new(), [0_u8; 1024]);
                while let Ok(taken @ 1..) = stream.read(&mut part) {
                    read.extend_from_slice(&part[..taken]);
                    if !read.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    let text = String::from_utf8_lossy(&read).into_owned();
                    read.clear();
                    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                    noted.lock().expect("not poisoned").push(path.clone());
                    while path == "/wait" && !noted.lock().expect("not poisoned").contains(&"/go".to_owned()) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    match path.as_str() {
                        "/drop" => return,
                        "/hang" => {}
                        _ => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").expect("written"),
                    }
                }
            });
        }
    });
    (url, paths)
}

struct Channel {
    handle: ChannelHandle,
    provider: &'static Parrot,
    paths: Arc<Mutex<Vec<String>>>,
    clock: Clock,
    standing: watch::Receiver<Standing>,
    arbiters: Arc<Mutex<Vec<ArbiterHandle>>>,
}

/// How often the factory panics, and then refuses, before it builds, and how long an abandoned arbiter may go on.
#[derive(Clone, Copy, Default)]
struct Script {
    panics: usize,
    refusals: usize,
    drain_ms: u64,
}

impl Channel {
    fn start(on: &ArbiterHandle, id: &str, script: Script) -> Self {
        let (url, paths) = peer();
        let provider: &'static Parrot = Box::leak(Box::default());
        let clock = Clock::system();
        let blueprint = Blueprint {
            identity: ChannelIdentity {
                id: Arc::from(id),
                provider,
                credentials: Credentials {
                    address: String::new(),
                    account: Account::default(),
                    secret_key: "key".to_owned().into(),
                    notification_secrets: Vec::new(),
                },
            },
            destination: Address::parse(&url).expect("an address").into(),
            tls: tls_config().expect("TLS"),
            settings: ActorSettings { mailbox: super::super::actor::Mailbox(2), ..ActorSettings::default() },
            clock: clock.clone(),
        };
        let guard = ChannelGuard::new(&GuardSettings::default(), 1, clock.boot()).expect("a guard");
        let settings = SupervisorSettings {
            beat_every_ms: 10,
            frozen_after_ms: 100,
            restart_base_ms: 10,
            drain_ms: script.drain_ms,
            ..SupervisorSettings::default()
        };
        let arbiters: Arc<Mutex<Vec<ArbiterHandle>>> = Arc::default();
        let (mut panics, mut refuse, built) = (script.panics, script.refusals, Arc::clone(&arbiters));
        let factory = move || {
            if panics > 0 {
                panics -= 1;
                panic!("injected");
            }
            if refuse > 0 {
                refuse -= 1;
                return Err(io::Error::other("refused"));
            }
            let actor = blueprint.build()?;
            built.lock().expect("not poisoned").push(actor.arbiter.handle());
            Ok(actor)
        };
        let (supervisor, standing) = ChannelSupervisor::new(Arc::from(id), settings, Arc::clone(&guard), clock.clone(), factory);
        assert!(supervisor.start(on));
        let candidate = Candidate {
            channel: id.to_owned(),
            livemode: false,
            methods: Vec::new(),
            wallets: Vec::new(),
            currencies: Vec::new(),
            priority: 0,
            owners: Vec::new(),
        };
        let handle = ChannelHandle::new(provider, candidate, guard, clock.clone(), standing.clone());
        Self { handle, provider, paths, clock, standing, arbiters }
    }

    async fn up(on: &ArbiterHandle, id: &str) -> Self {
        let channel = Self::start(on, id, Script::default());
        until(|| channel.handle.is_up()).await;
        channel
    }

    fn permit(&self) -> Permit {
        let guard = self.handle.guard();
        guard.admit(OperationClass::Pay, self.clock.boot()).expect("a closed breaker")
    }

    /// A pay call, the second step, with time enough.
    async fn call(&self, order: &str) -> Done {
        let deadline = self.clock.boot() + Duration::from_secs(30);
        self.handle.perform(call(order, Some("ref")), self.permit(), deadline, None).await
    }

    async fn crash(&self) {
        let address = self.standing.borrow().address.clone().expect("an actor");
        let crashed = address.send(Crash).await;
        assert!(matches!(crashed, Err(MailboxError::Closed)), "{crashed:?}");
    }

    fn paths(&self) -> Vec<String> {
        self.paths.lock().expect("not poisoned").clone()
    }

    /// Recorded, dropped unsent, dropped sent.
    fn permits(&self) -> (u64, u64, u64) {
        let snapshot = self.handle.guard().snapshot(OperationClass::Pay, self.clock.boot());
        let counters = snapshot.counters;
        (counters.recorded, counters.dropped_unsent, counters.dropped_sent)
    }
}

fn call(order: &str, pay_reference: Option<&str>) -> Call {
    Call {
        verb: Verb::Pay,
        key: "key".to_owned(),
        payment: "pay_1".to_owned(),
        order: order.to_owned(),
        money: Money { amount: 100, currency: Currency::parse("CNY").expect("a currency") },
        payment_amount: 100,
        method: PaymentMethod::Qr { wallet: None },
        capture_method: CaptureMethod::Automatic,
        pay_reference: pay_reference.map(str::to_owned),
        reference: None,
        pay_key: None,
        undoes: None,
        held: false,
        description: None,
        return_url: None,
        expires_at: Timestamp::MAX,
        attempted_at: Timestamp::UNIX_EPOCH,
        now: Timestamp::UNIX_EPOCH,
        notify_url: None,
        repeat: false,
        card: None,
    }
}

/// Waits for what must come, within a bound that only a broken test meets.
pub(super) async fn until(mut condition: impl FnMut() -> bool) {
    for _ in 0..5_000 {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(2)).await;
    }
    panic!("it did not come");
}

fn in_a_system<F: Future<Output = ()>>(test: impl FnOnce(ArbiterHandle) -> F) {
    System::new().block_on(async move {
        let arbiter = Arbiter::new();
        test(arbiter.handle()).await;
        arbiter.stop();
    });
}

#[track_caller]
fn assert_fact(done: &Done, fact: Fact, class: CallClass, fault: Option<&'static str>) {
    match &done.reply {
        Reply::News { news, class: told } => {
            assert_eq!((news.fact, *told, done.class, done.fault), (fact, class, class, fault));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_is_carried_and_its_permit_told() {
    in_a_system(|on| async move {
        let channel = Channel::up(&on, "a").await;
        assert_fact(&channel.call("order").await, Fact::Approved, CallClass::Success, None);
        assert_eq!(channel.paths(), ["/order"]);
        assert_eq!(channel.permits(), (1, 0, 0));
        assert_eq!(channel.handle.generation(), 1);
    });
}

#[test]
fn a_panic_in_a_handler_costs_the_actor_and_another_one_takes_its_place_unnoticed_by_other_channels() {
    in_a_system(|on| async move {
        let (channel, other) = (Channel::up(&on, "a").await, Channel::up(&on, "b").await);
        for generation in 2..4 {
            channel.crash().await;
            assert_fact(&other.call("other").await, Fact::Approved, CallClass::Success, None);
            until(|| channel.handle.generation() == generation && channel.handle.is_up()).await;
            assert_fact(&channel.call("again").await, Fact::Approved, CallClass::Success, None);
        }
        assert_eq!(other.handle.generation(), 1);
    });
}

#[test]
fn a_call_to_an_actor_that_is_known_to_be_gone_is_not_sent() {
    in_a_system(|on| async move {
        let channel = Channel::start(&on, "a", Script { refusals: usize::MAX, ..Script::default() });
        assert_fact(&channel.call("order").await, Fact::NotSent, CallClass::Neutral, Some("no_actor"));
        assert_eq!(channel.permits(), (0, 1, 0));
    });
}

#[test]
fn a_call_under_way_whose_arbiter_ends_is_unknown() {
    in_a_system(|on| async move {
        let channel = Channel::up(&on, "a").await;
        let deadline = channel.clock.boot() + Duration::from_secs(30);
        let hanging = channel.handle.perform(call("hang", Some("ref")), channel.permit(), deadline, None);
        let crashing = async {
            until(|| channel.paths() == ["/hang"]).await;
            channel.crash().await;
        };
        let (done, ()) = tokio::join!(hanging, crashing);
        assert_fact(&done, Fact::Unknown, CallClass::FailHard, Some("actor_died"));
        assert_eq!(channel.permits(), (0, 0, 1));
    });
}

#[test]
fn a_call_under_way_survives_its_actors_panic_while_its_arbiter_drains() {
    in_a_system(|on| async move {
        let channel = Channel::start(&on, "a", Script { drain_ms: 600_000, ..Script::default() });
        until(|| channel.handle.is_up()).await;
        let crashing = async {
            until(|| channel.paths() == ["/wait"]).await;
            channel.crash().await;
            until(|| channel.handle.generation() == 2 && channel.handle.is_up()).await;
            channel.call("go").await
        };
        let (waited, went) = tokio::join!(channel.call("wait"), crashing);
        for done in [waited, went] {
            assert_fact(&done, Fact::Approved, CallClass::Success, None);
        }
        assert_eq!(channel.permits(), (2, 0, 0));
    });
}

#[test]
fn a_panic_in_the_providers_request_costs_one_call_that_was_not_sent() {
    in_a_system(|on| async move {
        let channel = Channel::up(&on, "a").await;
        let done = channel.call("panic_in_request").await;
        assert_fact(&done, Fact::NotSent, CallClass::Neutral, Some("panic_before_send"));
        assert_fact(&channel.call("order").await, Fact::Approved, CallClass::Success, None);
        assert_eq!(channel.paths(), ["/order"]);
        assert_eq!(channel.handle.generation(), 1);
    });
}

#[test]
fn a_panic_in_the_providers_reply_costs_one_call_that_is_unknown() {
    in_a_system(|on| async move {
        let channel = Channel::up(&on, "a").await;
        let done = channel.call("panic_in_reply").await;
        assert_fact(&done, Fact::Unknown, CallClass::FailHard, Some("panic_after_send"));
        assert_fact(&channel.call("order").await, Fact::Approved, CallClass::Success, None);
        assert_eq!(channel.handle.generation(), 1);
    });
}

#[test]
fn a_frozen_actor_is_replaced_and_what_it_had_not_sent_is_never_sent() {
    in_a_system(|on| async move {
        // The drain is long: what keeps the calls from being sent must not be the arbiter's end.
        let script = Script { drain_ms: 600_000, ..Script::default() };
        let channel = Channel::start(&on, "a", script);
        let other = Channel::up(&on, "b").await;
        until(|| channel.handle.is_up()).await;
        let others = async {
            assert_fact(&other.call("other").await, Fact::Approved, CallClass::Success, None);
        };
        let (frozen, queued, ()) = tokio::join!(channel.call("freeze"), channel.call("queued"), others);
        assert_fact(&frozen, Fact::NotSent, CallClass::Neutral, Some("actor_lost"));
        assert_fact(&queued, Fact::NotSent, CallClass::Neutral, Some("actor_lost"));
        until(|| channel.handle.generation() == 2 && channel.handle.is_up()).await;
        assert_fact(&channel.call("order").await, Fact::Approved, CallClass::Success, None);
        assert_eq!(other.handle.generation(), 1);

        // Its thread comes back and finds its calls withdrawn.
        channel.provider.thaw();
        until(|| channel.permits() == (3, 0, 0)).await;
        assert_eq!(channel.paths(), ["/order"]);
    });
}

#[test]
fn a_call_that_an_actor_froze_over_after_sending_it_is_unknown_at_its_deadline() {
    in_a_system(|on| async move {
        let channel = Channel::up(&on, "a").await;
        let deadline = channel.clock.boot() + Duration::from_millis(300);
        let call = call("freeze_in_reply", Some("ref"));
        let performing = channel.handle.perform(call, channel.permit(), deadline, None);
        // Flows run on a multi-thread runtime.
        fn can_cross_threads<T: Send>(performing: T) -> T {
            performing
        }
        let done = can_cross_threads(performing).await;
        assert_fact(&done, Fact::Unknown, CallClass::FailHard, Some("actor_silent"));
        channel.provider.thaw();
    });
}

#[test]
fn a_full_mailbox_turns_calls_away_and_nothing_is_sent() {
    in_a_system(|on| async move {
        let channel = Channel::up(&on, "a").await;
        // An actor has the default's room until it has begun.
        channel.call("order").await;
        let calls = (0..8).map(|n| {
            let channel = &channel;
            async move { channel.call(if n == 0 { "freeze" } else { "order" }).await }
        });
        let done = futures_util::future::join_all(calls).await;
        assert!(done.iter().any(|done| done.fault == Some("mailbox_full")), "{done:?}");
        for done in &done {
            assert!(matches!(&done.reply, Reply::News { news, .. } if news.fact == Fact::NotSent), "{done:?}");
        }
        channel.provider.thaw();
    });
}

#[test]
fn a_lost_exchange_is_unknown_unless_it_was_a_step_that_cannot_charge() {
    in_a_system(|on| async move {
        let channel = Channel::up(&on, "a").await;
        for (reference, fact) in [(Some("ref"), Fact::Unknown), (None, Fact::NotSent)] {
            let deadline = channel.clock.boot() + Duration::from_secs(30);
            let done = channel.handle.perform(call("drop", reference), channel.permit(), deadline, None).await;
            assert_fact(&done, fact, CallClass::FailHard, Some("connection_lost"));
        }
        let query = Call { verb: Verb::Query, ..call("drop", None) };
        let deadline = channel.clock.boot() + Duration::from_secs(30);
        let done = channel.handle.perform(query, channel.permit(), deadline, None).await;
        assert_fact(&done, Fact::Unknown, CallClass::FailHard, Some("connection_lost"));
        assert_eq!(channel.permits(), (3, 0, 0));
    });
}

#[test]
fn a_call_that_is_not_answered_by_its_deadline_is_unknown() {
    in_a_system(|on| async move {
        let channel = Channel::up(&on, "a").await;
        let deadline = channel.clock.boot() + Duration::from_millis(100);
        let done = channel.handle.perform(call("hang", Some("ref")), channel.permit(), deadline, None).await;
        assert_fact(&done, Fact::Unknown, CallClass::FailHard, Some("deadline"));
    });
}

#[test]
fn nothing_is_sent_once_the_lease_has_run_out() {
    in_a_system(|on| async move {
        let channel = Channel::up(&on, "a").await;
        let now = channel.clock.boot();
        let deadline = now + Duration::from_secs(30);
        let done = channel.handle.perform(call("order", Some("ref")), channel.permit(), deadline, Some(now)).await;
        assert_fact(&done, Fact::NotSent, CallClass::Neutral, Some("withheld"));
        assert!(channel.paths().is_empty());
        assert_eq!(channel.permits(), (1, 0, 0));
    });
}

#[test]
fn an_actor_that_cannot_be_built_is_tried_again() {
    in_a_system(|on| async move {
        let channel = Channel::start(&on, "a", Script { refusals: 3, ..Script::default() });
        until(|| channel.handle.is_up()).await;
        assert_fact(&channel.call("order").await, Fact::Approved, CallClass::Success, None);
    });
}

#[test]
fn a_supervisor_that_panicked_goes_on() {
    in_a_system(|on| async move {
        let channel = Channel::start(&on, "a", Script { panics: 2, ..Script::default() });
        until(|| channel.handle.is_up()).await;
        assert_fact(&channel.call("order").await, Fact::Approved, CallClass::Success, None);
        channel.crash().await;
        until(|| channel.handle.generation() == 2 && channel.handle.is_up()).await;
    });
}

#[test]
fn a_channel_that_nobody_holds_ends_with_its_thread() {
    in_a_system(|on| async move {
        let channel = Channel::up(&on, "a").await;
        let arbiter = channel.arbiters.lock().expect("not poisoned")[0].clone();
        drop(channel);
        until(|| !arbiter.alive()).await;
    });
}

#[test]
fn a_supervised_guard_is_ticked_without_traffic() {
    in_a_system(|on| async move {
        let channel = Channel::up(&on, "a").await;
        let mut permit = channel.permit();
        let guard = channel.handle.guard();
        permit.mark_sent(channel.clock.boot());
        channel.clock.advance(Duration::from_secs(3_600));
        // Only a tick counts a call as slow while it is still running.
        until(|| guard.snapshot(OperationClass::Pay, channel.clock.boot()).window.slow == 1).await;
    });
}

#[test]
fn the_first_replacement_is_immediate_and_the_pauses_grow_to_their_bound() {
    let settings = SupervisorSettings::default();
    let pauses: Vec<u128> = (0..5).map(|failed| settings.pause(failed).as_millis()).collect();
    assert_eq!(pauses, [0, 50, 100, 200, 400]);
    for failed in [20, 64, 65, u32::MAX] {
        assert_eq!(settings.pause(failed).as_millis(), 5_000, "{failed}");
    }
}

#[test]
fn settings_out_of_range_are_all_named_at_once() {
    let settings = SupervisorSettings { beat_every_ms: 1, frozen_after_ms: 1, ..SupervisorSettings::default() };
    assert_eq!(settings.validate().expect_err("out of range").len(), 2);
    assert_eq!(SupervisorSettings::default().validate(), Ok(()));
    assert_eq!(ActorSettings::default().validate(), Ok(()));
}

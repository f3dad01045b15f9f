//! One channel's actor: takes a call with its permit, carries it there, and answers with an outcome. Never with an error: what went wrong on the
//! way *is* the outcome. It lives on an arbiter of its own with connections of its own, so that its stall is nobody else's.
//!
//! The answer does not ride on actix's reply, which says no more than "closed" for a message that was never read and for a call that died
//! half-way. It rides on a oneshot channel beside a [`Gate`]: nothing is sent before the gate is passed, and whoever waits may shut it, so that
//! "it was not sent" is only said when it is certain, and is said whenever it is. That is sharper than what `MailboxError::Closed` allows (always
//! unknown), and never less careful.
//!
//! Panics: the provider's code runs caught, so that a panic in it costs one call: before the gate the call was not sent; after it the outcome is
//! unknown and the channel's fault. A panic elsewhere in a call's future drops the oneshot and the permit, which say the same. A panic in the
//! handler itself closes the actor, and its supervisor builds another.
//!
//! A first step that cannot move money (the contract's `charges_only_with_reference`) is *not sent* even when it was lost: no reference, no charge.
//! The breaker hears of the failure all the same.
//!
//! What it refuses to do: repeat anything, decide about money, or touch a database.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, MessageResult, ResponseFuture};
use serde::Deserialize;
use tokio::sync::{Semaphore, oneshot};

use super::guard::Permit;
use super::http_pool::{Exchange, HttpPool, PoolSettings};
use super::meters::Meters;
use super::socket_pool::SocketPool;
use super::transport::Transport;
use crate::clock::{Clock, Moment};
use crate::domain::{self, CallClass, Fields, News};
use crate::provider::{Assembled, Call, Credentials, HttpProtocol, Page, PageWanted, Protocol, Provider, Reply, SocketProtocol, Verb};

/// Requests that are signed at a time: more threads than processors would only take turns.
const SIGNING: usize = 4;

/// How a channel's actor behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ActorSettings {
    /// How long one call may take from the moment the actor takes it, in milliseconds; left out, the provider's own default (3,000 for most); 50 to
    /// 120,000. Too low turns slow answers into unknowns, too high holds a payment that another channel could take.
    pub call_timeout_ms: Option<u64>,
    /// Calls that may wait for the actor's thread; default 1,024, 16 to 65,536. They wait microseconds unless the thread is stalled; beyond it calls
    /// are not sent.
    pub mailbox: Mailbox,
    /// Its connections.
    pub pool: PoolSettings,
}

/// The size of a mailbox, in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Mailbox(pub usize);

impl Default for Mailbox {
    fn default() -> Self {
        Self(1_024)
    }
}

impl ActorSettings {
    /// Every fault at once, one sentence each, naming the field and its range.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut faults = self.pool.validate().err().unwrap_or_default();
        if let Some(timeout) = self.call_timeout_ms
            && !(50..=120_000).contains(&timeout)
        {
            faults.push(format!("call_timeout_ms is {timeout}: it must be from 50 to 120000"));
        }
        if !(16..=65_536).contains(&self.mailbox.0) {
            faults.push(format!("mailbox is {}: it must be from 16 to 65536", self.mailbox.0));
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What is known of the attempt now: the channel's word, or ours when there was none.
    pub reply: Reply,
    /// What the call says of the channel's health; the permit has been told already.
    pub class: CallClass,
    /// From the first byte to the whole answer; zero when there was no answer.
    pub rtt: Duration,
    /// Why the word is ours and not the channel's, from a closed set of names; `None` when the channel answered.
    pub fault: Option<&'static str>,
}

impl Done {
    /// It certainly never left us.
    pub(super) fn not_sent(class: CallClass, fault: &'static str) -> Self {
        let news = News::not_sent(&format!("the call did not reach the channel: {fault}"));
        Self { reply: Reply::News { news, class }, class, rtt: Duration::ZERO, fault: Some(fault) }
    }

    /// It may have arrived, and nothing came back.
    pub(super) fn lost(call: FirstStep, fault: &'static str) -> Self {
        let class = CallClass::FailHard;
        if call.0 {
            return Self::not_sent(class, fault);
        }
        Self { reply: Reply::News { news: News::unknown(), class }, class, rtt: Duration::ZERO, fault: Some(fault) }
    }
}

/// Whether a call is a first step that cannot move money, by its provider's contract.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstStep(bool);

impl FirstStep {
    /// Reads it off the call and the contract.
    pub(super) fn of(call: &Call, provider: &dyn Provider) -> Self {
        Self(call.verb == Verb::Pay && call.pay_reference.is_none() && provider.contract().charges_only_with_reference)
    }
}

/// The moment of no return, shared by the actor, who passes it right before the first byte, and whoever waits, who may shut it.
#[derive(Debug, Default)]
pub(super) struct Gate(AtomicU8);

const WAITING: u8 = 0;
const PASSED: u8 = 1;
const SHUT: u8 = 2;

impl Gate {
    /// Whether the call may be sent; from then on it counts as sent. Asked again, it answers the same.
    pub(super) fn pass(&self) -> bool {
        match self.0.compare_exchange(WAITING, PASSED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(state) => state == PASSED,
        }
    }

    /// Whether it is certain that the call was not sent and never will be.
    pub(super) fn shut(&self) -> bool {
        match self.0.compare_exchange(WAITING, SHUT, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(state) => state == SHUT,
        }
    }
}

/// Carry this call. Sent by a [`ChannelHandle`](super::handle::ChannelHandle), which waits for the answer.
pub struct Perform {
    pub(super) call: Call,
    pub(super) permit: Permit,
    /// The payment's deadline, or the operation's.
    pub(super) deadline: Moment,
    /// When the attempt's lease ends, less its margin: at or after it nothing is sent, because somebody else may act for the attempt.
    pub(super) send_by: Option<Moment>,
    pub(super) gate: Arc<Gate>,
    pub(super) answer: oneshot::Sender<Done>,
}

impl Message for Perform {
    type Result = ();
}

/// Read a page of what the channel has. It changes nothing there.
pub struct ReadPage {
    pub(super) wanted: PageWanted,
    pub(super) permit: Permit,
    pub(super) deadline: Moment,
    pub(super) answer: oneshot::Sender<Result<Page, CallClass>>,
}

impl Message for ReadPage {
    type Result = ();
}

/// Are you there?
#[derive(Clone, Copy, Debug)]
pub struct Ping;

impl Message for Ping {
    type Result = Pong;
}

/// I am, and so much is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pong {
    /// Connections, busy and idle.
    pub connections: usize,
    /// Those that wait for a call.
    pub idle: usize,
}

/// What a channel is: who it is, whose protocol it speaks, with which secrets. The actor's fixed part; cheap to clone.
#[derive(Clone)]
pub struct ChannelIdentity {
    /// Its id in settings, rows, metrics and logs.
    pub id: Arc<str>,
    /// Its protocol.
    pub provider: &'static dyn Provider,
    /// Its account.
    pub credentials: Credentials,
}

/// The actor. See the module's documentation.
pub struct ChannelActor {
    line: Rc<CallLine>,
}

/// What every call needs, shared by the calls under way.
struct CallLine {
    identity: ChannelIdentity,
    transport: Transport,
    clock: Clock,
    call_timeout: Duration,
    signing: Arc<Semaphore>,
    meters: Meters,
}

impl Actor for ChannelActor {
    type Context = Context<Self>;
}

impl ChannelActor {
    /// An actor with its connections, to be started on an arbiter of its own.
    pub fn new(identity: ChannelIdentity, transport: Transport, settings: &ActorSettings, clock: Clock) -> Self {
        let call_timeout = settings.call_timeout_ms.map_or_else(|| identity.provider.default_timeout(), Duration::from_millis);
        let meters = Meters::new(&identity.id);
        Self { line: Rc::new(CallLine { identity, transport, clock, call_timeout, signing: Arc::new(Semaphore::new(SIGNING)), meters }) }
    }
}

impl Handler<Ping> for ChannelActor {
    type Result = MessageResult<Ping>;

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) -> Self::Result {
        self.line.transport.sweep();
        MessageResult(Pong { connections: self.line.transport.open_count(), idle: self.line.transport.idle_count() })
    }
}

impl Handler<Perform> for ChannelActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, order: Perform, _: &mut Context<Self>) -> Self::Result {
        let line = Rc::clone(&self.line);
        Box::pin(async move {
            let Perform { call, permit, deadline, send_by, gate, answer } = order;
            let done = line.perform(&call, permit, deadline, send_by, &gate).await;
            // Nobody may be waiting any more: then the attempt's lease runs out and it is asked after.
            let _unheard = answer.send(done);
        })
    }
}

impl Handler<ReadPage> for ChannelActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, order: ReadPage, _: &mut Context<Self>) -> Self::Result {
        let line = Rc::clone(&self.line);
        Box::pin(async move {
            let ReadPage { wanted, mut permit, deadline, answer } = order;
            let _under_way = line.meters.begin();
            let page = line.read_page(&wanted, &mut permit, deadline).await;
            let class = page.as_ref().err().copied().unwrap_or(CallClass::Success);
            permit.record(class, line.clock.boot());
            if class != CallClass::Success {
                tracing::warn!(channel = %line.identity.id, class = class.as_str(), "a page of the channel's list could not be read");
            }
            let _unheard = answer.send(page);
        })
    }
}

impl CallLine {
    async fn perform(&self, call: &Call, mut permit: Permit, deadline: Moment, send_by: Option<Moment>, gate: &Gate) -> Done {
        let _under_way = self.meters.begin();
        let done = self.carry(call, &mut permit, deadline, send_by, gate).await;
        permit.record(done.class, self.clock.boot());
        self.meters.end(call.verb, &done.reply, done.rtt);
        if done.class != CallClass::Success {
            tracing::warn!(
                channel = %self.identity.id,
                verb = call.verb.as_str(),
                attempt = %call.key,
                class = done.class.as_str(),
                reason = done.fault.unwrap_or("answer"),
                "exchange failed"
            );
        }
        done
    }

    async fn carry(&self, call: &Call, permit: &mut Permit, deadline: Moment, send_by: Option<Moment>, gate: &Gate) -> Done {
        let deadline = deadline.min(self.clock.boot() + self.call_timeout);
        let may_send = || {
            let now = self.clock.boot();
            let in_time = now < deadline && send_by.is_none_or(|send_by| now < send_by);
            if !in_time || !gate.pass() {
                return false;
            }
            permit.mark_sent(now);
            true
        };
        match (self.identity.provider.protocol(), &self.transport) {
            (Protocol::Http(protocol), Transport::Http(pool)) => self.over_http(protocol, pool, call, deadline, gate, may_send).await,
            (Protocol::Socket(protocol), Transport::Sockets(pool)) => self.over_sockets(protocol, pool, call, deadline, may_send).await,
            _ => Done::not_sent(CallClass::FailHard, "no_transport"),
        }
    }

    async fn over_http(
        &self,
        protocol: &'static dyn HttpProtocol,
        pool: &HttpPool,
        call: &Call,
        deadline: Moment,
        gate: &Gate,
        may_send: impl FnMut() -> bool,
    ) -> Done {
        let Some(assembled) = self.assemble(protocol, call).await else {
            return Done::not_sent(CallClass::Neutral, "panic_before_send");
        };
        let request = match assembled {
            Assembled::Send(request) => request,
            Assembled::Done(reply) if gate.pass() => return Done { class: class_of(&reply), reply, rtt: Duration::ZERO, fault: None },
            Assembled::Done(_) => return Done::not_sent(CallClass::Neutral, "given_up"),
        };
        let sent = request.clone();
        let exchange = pool.exchange(request, deadline, may_send).await;
        self.done(call, exchange, |response| protocol.reply(call, response, &self.identity.credentials), |answer| protocol.kept(&sent, answer))
    }

    async fn read_page(&self, wanted: &PageWanted, permit: &mut Permit, deadline: Moment) -> Result<Page, CallClass> {
        let (Protocol::Http(protocol), Transport::Http(pool)) = (self.identity.provider.protocol(), &self.transport) else {
            return Err(CallClass::Neutral);
        };
        let lists = protocol.lists().ok_or(CallClass::Neutral)?;
        let request = catch_unwind(AssertUnwindSafe(|| lists.page_request(wanted, &self.identity.credentials))).map_err(|_| CallClass::Neutral)?;
        let sent = request.clone();
        let deadline = deadline.min(self.clock.boot() + self.call_timeout);
        let may_send = || {
            let now = self.clock.boot();
            if now >= deadline {
                return false;
            }
            permit.mark_sent(now);
            true
        };
        let (response, rtt) = match pool.exchange(request, deadline, may_send).await {
            Exchange::NotSent(reason) => return Err(reason.class()),
            Exchange::Lost(_) => return Err(CallClass::FailHard),
            Exchange::Answer(response, rtt) => (response, rtt),
        };
        let mut page = catch_unwind(AssertUnwindSafe(|| lists.page(&response))).unwrap_or(Err(CallClass::FailHard))?;
        let (request, reply) = catch_unwind(AssertUnwindSafe(|| protocol.kept(&sent, Some(&response)))).unwrap_or_default();
        let kept = domain::Exchange { verb: "list", request, reply, rtt_ms: u64::try_from(rtt.as_millis()).ok(), fault: None };
        for listed in &mut page.found {
            if let Reply::News { news, .. } = &mut listed.reply {
                news.exchange = Some(Box::new(kept.clone()));
            }
        }
        Ok(page)
    }

    async fn over_sockets(
        &self,
        protocol: &'static dyn SocketProtocol,
        pool: &SocketPool,
        call: &Call,
        deadline: Moment,
        may_send: impl FnMut() -> bool,
    ) -> Done {
        let credentials = &self.identity.credentials;
        let frame = match catch_unwind(AssertUnwindSafe(|| protocol.frame(call, credentials))) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Done::not_sent(CallClass::Neutral, "unwritable"),
            Err(_) => return Done::not_sent(CallClass::Neutral, "panic_before_send"),
        };
        let sent = frame.clone();
        let exchange = pool.exchange(frame, deadline, may_send).await;
        let kept = |answer: Option<&bytes::Bytes>| protocol.kept(&sent, answer.map(AsRef::as_ref), credentials);
        self.done(call, exchange, |message| protocol.reply(call, message, credentials), kept)
    }

    /// What an exchange came to. The reading of an answer is the provider's code: a panic there is an answer that nobody understood. What is kept
    /// for the timeline rides on the news; a panic over that costs the timeline a line, and nothing else.
    fn done<R>(&self, call: &Call, exchange: Exchange<R>, read: impl FnOnce(&R) -> Reply, keep: impl FnOnce(Option<&R>) -> (Fields, Fields)) -> Done {
        let step = FirstStep::of(call, self.identity.provider);
        let (mut done, answer) = match exchange {
            Exchange::NotSent(reason) => return Done::not_sent(reason.class(), reason.as_str()),
            Exchange::Lost(reason) => (Done::lost(step, reason.as_str()), None),
            Exchange::Answer(answer, rtt) => match catch_unwind(AssertUnwindSafe(|| read(&answer))) {
                Ok(reply) => (Done { class: class_of(&reply), reply, rtt, fault: None }, Some(answer)),
                Err(_) => (Done { rtt, ..Done::lost(step, "panic_after_send") }, Some(answer)),
            },
        };
        if let Reply::News { news, .. } = &mut done.reply {
            let (request, reply) = catch_unwind(AssertUnwindSafe(|| keep(answer.as_ref()))).unwrap_or_default();
            let rtt_ms = answer.is_some().then(|| u64::try_from(done.rtt.as_millis()).unwrap_or(u64::MAX));
            news.exchange = Some(Box::new(domain::Exchange { verb: call.verb.as_str(), request, reply, rtt_ms, fault: done.fault }));
        }
        done
    }
}

impl CallLine {
    /// Puts the request together; a slow signature beside this thread, at most [`SIGNING`] at a time. `None`: the provider's code panicked, whose
    /// text went to the hook; here only what it means for the call matters.
    async fn assemble(&self, protocol: &'static dyn HttpProtocol, call: &Call) -> Option<Assembled> {
        if !protocol.signs_slowly() {
            return catch_unwind(AssertUnwindSafe(|| protocol.request(call, &self.identity.credentials))).ok();
        }
        let place = Arc::clone(&self.signing).acquire_owned().await;
        let (call, credentials) = (call.clone(), self.identity.credentials.clone());
        let signed = tokio::task::spawn_blocking(move || {
            let _place = place;
            protocol.request(&call, &credentials)
        });
        signed.await.ok()
    }
}

fn class_of(reply: &Reply) -> CallClass {
    match reply {
        Reply::News { class, .. } => *class,
        Reply::Step { .. } | Reply::NotFound | Reply::Unpaid { .. } => CallClass::Success,
    }
}

//! The Alerter: one a process. It remembers what is seen now, and once a second has a round made of it (`round.rs`), on the runtime where the
//! database's connections live. Nothing waits for it: whoever raises an alert hands it over and goes on, and a mailbox that is full costs a
//! repetition that comes again within seconds.
//!
//! What it remembers is bounded ([`HELD_MAX`]) and survives nothing: a condition that still holds after a restart is raised again by who sees it,
//! and an alert that nobody sees any more ends by itself. While the database is away, conditions stay here and are noted when it is back.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::condition::{AlertKind, Condition};
use super::mail::MailSettings;
use super::plan::Rules;
use super::round::Round;
use super::sms::{Carrier, SmsSettings};
use super::story::Links;
use crate::clock::Clock;
use crate::store::alert::AlertRow;
use crate::store::{Store, StoreError};

/// Conditions that are remembered at most: kinds times channels, with room to spare. Those beyond it are counted as suppressed.
pub const HELD_MAX: usize = 512;
/// Messages that may wait for the actor. Each takes a microsecond.
const MAILBOX: usize = 1_024;

/// A condition is seen now. Say it again every few seconds while it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raise(pub Condition);

impl Message for Raise {
    type Result = ();
}

/// A condition is not seen any more. It may be said although it never was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    /// Its kind.
    pub kind: AlertKind,
    /// Its channel; empty for none in particular.
    pub channel: String,
}

impl Message for Resolve {
    type Result = ();
}

/// Somebody has seen an alert and takes care: no text message is sent about it. Answers the alert, or `None` when there is none of that id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledge {
    /// The alert.
    pub alert: Uuid,
    /// The operator's name.
    pub by: String,
}

impl Message for Acknowledge {
    type Result = Result<Option<AlertRow>, StoreError>;
}

/// What others hold of the Alerter. Cheap to clone; the default is silent, for tests.
#[derive(Clone, Default)]
pub struct Bell {
    line: Option<(Recipient<Raise>, Recipient<Resolve>)>,
}

impl Bell {
    /// The bell of an Alerter.
    pub fn of(alerter: &actix::Addr<Alerter>) -> Self {
        Self { line: Some((alerter.clone().recipient(), alerter.clone().recipient())) }
    }

    /// Says whether a condition holds, now. Level, not edge: say it at every look, so that what was lost is said again by the next.
    pub fn tell(&self, kind: AlertKind, channel: &str, condition: Option<Condition>) {
        let Some((raise, resolve)) = &self.line else { return };
        let taken = match condition {
            Some(condition) => raise.try_send(Raise(condition)).is_ok(),
            None => resolve.try_send(Resolve { kind, channel: channel.to_owned() }).is_ok(),
        };
        if !taken {
            tracing::warn!(kind = kind.as_str(), channel, "the alerter takes no message now");
        }
    }

    /// Says that something happened: once, for kinds that are events.
    pub fn report(&self, event: Condition) {
        self.tell(event.kind(), "", Some(event));
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.line.is_some() { "Bell" } else { "Bell (silent)" })
    }
}

/// What the Alerter is told by the wiring.
#[derive(Clone)]
pub struct AlerterSettings {
    /// Times and bounds.
    pub rules: Rules,
    /// Between two rounds. 1 s: an alert is at most that late, and a round that finds nothing costs one read of an empty index.
    pub every: Duration,
    /// Who gets mail.
    pub recipients: Vec<String>,
    /// How mail is sent; without it none is.
    pub mail: Option<MailSettings>,
    /// How text messages are sent, and to whom, with what carries them; without it none is.
    pub sms: Option<(SmsSettings, Arc<dyn Carrier>)>,
    /// Where a mail points to.
    pub links: Links,
}

impl Default for AlerterSettings {
    /// Nobody is told; alerts are noted for the operators' list.
    fn default() -> Self {
        Self { rules: Rules::default(), every: Duration::from_secs(1), recipients: Vec::new(), mail: None, sms: None, links: Links::default() }
    }
}

impl fmt::Debug for AlerterSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlerterSettings").field("rules", &self.rules).field("recipients", &self.recipients.len()).finish_non_exhaustive()
    }
}

/// What is seen now, and how often it was said: an event is forgotten once that very saying was noted.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) condition: Condition,
    version: u64,
}

type Group = (AlertKind, String);

/// The actor.
pub struct Alerter {
    round: Arc<Round>,
    store: Store,
    clock: Clock,
    runtime: Handle,
    every: Duration,
    held: HashMap<Group, Held>,
    deciding: bool,
    sending: bool,
}

impl Alerter {
    /// An Alerter that has seen nothing. Its work with the database and with servers runs on `runtime`.
    pub fn new(settings: AlerterSettings, store: Store, clock: Clock, runtime: Handle) -> Self {
        let every = settings.every;
        let round = Arc::new(Round::new(settings, store.clone(), clock.clone()));
        Self { round, store, clock, runtime, every, held: HashMap::new(), deciding: false, sending: false }
    }

    /// Two tasks, so that a server that holds a send holds no decision.
    fn begin_rounds(&mut self, context: &mut Context<Self>) {
        if !self.deciding {
            self.deciding = true;
            let (round, own) = (Arc::clone(&self.round), context.address());
            let held: Vec<(Group, Held)> = self.held.iter().map(|(group, held)| (group.clone(), held.clone())).collect();
            self.runtime.spawn(async move {
                let conditions: Vec<Condition> = held.iter().map(|(_, held)| held.condition.clone()).collect();
                let noted = round.decide(&conditions).await;
                let versions = held.into_iter().map(|(group, held)| (group, held.version)).collect();
                let _gone = own.send(Decided { noted: if noted { versions } else { Vec::new() } }).await;
            });
        }
        if !self.sending {
            self.sending = true;
            let (round, own) = (Arc::clone(&self.round), context.address());
            self.runtime.spawn(async move {
                round.send().await;
                let _gone = own.send(SendingDone).await;
            });
        }
    }
}

impl Actor for Alerter {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(MAILBOX);
        context.run_interval(self.every, |alerter, context| alerter.begin_rounds(context));
    }
}

impl Handler<Raise> for Alerter {
    type Result = ();

    fn handle(&mut self, Raise(condition): Raise, _: &mut Context<Self>) {
        let group = (condition.kind(), condition.channel().to_owned());
        if self.held.len() >= HELD_MAX && !self.held.contains_key(&group) {
            metrics::counter!("breakwater_alerts_suppressed_total", "reason" => "full").increment(1);
            return;
        }
        match self.held.get_mut(&group) {
            Some(held) => *held = Held { condition, version: held.version + 1 },
            None => {
                tracing::warn!(kind = group.0.as_str(), channel = group.1, "a condition that raises an alert is seen");
                self.held.insert(group, Held { condition, version: 0 });
            }
        }
    }
}

impl Handler<Resolve> for Alerter {
    type Result = ();

    fn handle(&mut self, Resolve { kind, channel }: Resolve, _: &mut Context<Self>) {
        if self.held.remove(&(kind, channel.clone())).is_some() {
            tracing::info!(kind = kind.as_str(), channel, "a condition that raised an alert is not seen any more");
        }
    }
}

impl Handler<Acknowledge> for Alerter {
    type Result = ResponseFuture<Result<Option<AlertRow>, StoreError>>;

    fn handle(&mut self, Acknowledge { alert, by }: Acknowledge, _: &mut Context<Self>) -> Self::Result {
        let (store, now) = (self.store.clone(), self.clock.wall());
        let work = self.runtime.spawn(async move { store.acknowledge_alert(alert, &by, now).await });
        Box::pin(async move { work.await.unwrap_or_else(|error| Err(StoreError::Away(format!("the acknowledgement did not end: {error}")))) })
    }
}

/// A decision has ended; these are noted.
struct Decided {
    noted: Vec<(Group, u64)>,
}

impl Message for Decided {
    type Result = ();
}

impl Handler<Decided> for Alerter {
    type Result = ();

    fn handle(&mut self, Decided { noted }: Decided, _: &mut Context<Self>) {
        self.deciding = false;
        for (group, version) in noted {
            if group.0.is_event() && self.held.get(&group).is_some_and(|held| held.version == version) {
                self.held.remove(&group);
            }
        }
    }
}

/// The sends of a round have ended.
struct SendingDone;

impl Message for SendingDone {
    type Result = ();
}

impl Handler<SendingDone> for Alerter {
    type Result = ();

    fn handle(&mut self, _: SendingDone, _: &mut Context<Self>) {
        self.sending = false;
    }
}

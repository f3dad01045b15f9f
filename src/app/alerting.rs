//! What raises alerts from outside of what it watches, and what carries text messages: the wiring's own part of alerts.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::StartError;
use crate::alert::sms::{Carried, Carrier, SmsRequest};
use crate::alert::story::Links;
use crate::alert::{AlertKind, AlerterSettings, Bell, Condition, Rules};
use crate::channel::breaker::{Reason, State};
use crate::channel::http_pool::{Address, Exchange, HttpPool, PoolSettings};
use crate::clock::Clock;
use crate::config::AlertSettings;
use crate::domain::OperationClass;
use crate::http::Readiness;
use crate::poller::Pulse;
use crate::provider::HttpRequest;
use crate::router::flows::Channel;
use crate::router::moved::MovedCounts;

/// How often channels and poller are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many looks in a row at paced queries are news: five minutes.
const PACED_LOOKS: u32 = (5 * 60 * 1_000 / LOOK_EVERY.as_millis()) as u32;
/// Looks in a row that must find the poller silent: a machine that wakes from sleep finds an old pulse, and gives it these seconds to beat.
const SILENT_LOOKS: u32 = 5;

/// The Alerter's settings, with what carries its text messages.
///
/// # Errors
/// [`StartError::Setting`] when the text messages' address is none.
pub fn alerter_settings(settings: &AlertSettings, tls: &Arc<rustls::ClientConfig>, clock: &Clock) -> Result<AlerterSettings, StartError> {
    let sms = match &settings.sms {
        None => None,
        Some(sms) => {
            let address = Address::parse(&sms.address).map_err(|error| StartError::Setting(format!("alerts.sms.address: {error}")))?;
            let pool = PoolSettings { max_connections: 4, connect_timeout_ms: 5_000, ..PoolSettings::default() };
            let pool = HttpPool::new(address, Arc::clone(tls), pool, clock.clone());
            let carrier: Arc<dyn Carrier> = Arc::new(PoolCarrier { pool, clock: clock.clone(), timeout: sms.timeout });
            Some((sms.clone(), carrier))
        }
    };
    Ok(AlerterSettings {
        rules: Rules {
            repeat_every: Duration::from_millis(settings.repeat_every_ms),
            sms_after: Duration::from_millis(settings.sms_after_ms),
            ..Rules::default()
        },
        recipients: settings.recipients.clone(),
        mail: settings.smtp.clone(),
        sms,
        links: Links { console_url: settings.console_url.clone(), runbook_url: settings.runbook_url.clone() },
        ..AlerterSettings::default()
    })
}

/// Carries text messages over a pool like a channel's: it knows whether anything left.
struct PoolCarrier {
    pool: HttpPool,
    clock: Clock,
    timeout: Duration,
}

impl Carrier for PoolCarrier {
    fn carry(&self, request: SmsRequest) -> BoxFuture<'_, Carried> {
        let SmsRequest { path, headers, body } = request;
        let request = HttpRequest { method: http::Method::POST, path, headers, body: body.into_bytes() };
        Box::pin(async move {
            let deadline = self.clock.boot() + self.timeout;
            match self.pool.exchange(request, deadline, || true).await {
                Exchange::Answer(answer, _) => Carried::Answer { status: answer.status, body: String::from_utf8_lossy(&answer.body).into_owned() },
                Exchange::NotSent(reason) => Carried::NotSent(reason.as_str().to_owned()),
                Exchange::Lost(reason) => Carried::Lost(reason.as_str().to_owned()),
            }
        })
    }
}

/// Looks at channels and poller from outside of them, and rings the bell for what it sees.
pub(super) struct Watch {
    channels: Vec<(Channel, u64)>,
    /// For how many looks in a row each channel's queries were paced while its payments went on.
    paced_looks: Vec<u32>,
    /// What each channel had counted of money that moved without us at the last look.
    moved: Vec<MovedCounts>,
    /// The poller's, where there is one.
    pulse: Option<Pulse>,
    readiness: Option<Arc<Readiness>>,
    stalled_after: Duration,
    silent_looks: u32,
    bell: Bell,
    clock: Clock,
}

impl Watch {
    pub(super) fn new(channels: Vec<Channel>, pulse: Option<Pulse>, stalled_after: Duration, bell: Bell, clock: Clock) -> Self {
        let channels: Vec<_> = channels.into_iter().map(|channel| (channel, 0)).collect();
        let paced_looks = vec![0; channels.len()];
        let moved = vec![MovedCounts::default(); channels.len()];
        Self { channels, paced_looks, moved, pulse, readiness: None, stalled_after, silent_looks: 0, bell, clock }
    }

    /// Tells `readiness` too when the poller is silent.
    pub(super) fn heeding(mut self, readiness: Arc<Readiness>) -> Self {
        self.readiness = Some(readiness);
        self
    }

    /// Looks for as long as the process serves.
    pub(super) async fn run(mut self) {
        loop {
            self.look_at_breakers();
            self.look_at_actors();
            self.look_at_poller();
            self.look_at_money();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// By state and not by transition: what was missed is seen at the next look. Half open is not over yet, and an operator's override is no
    /// news to operators. A channel whose payments are shut too is told of once, by that; and paced queries are only news when they last.
    fn look_at_breakers(&mut self) {
        let now = self.clock.boot();
        let pays = |channel: &Channel| channel.handle.guard().snapshot(OperationClass::Pay, now);
        let takes: Vec<&str> = self
            .channels
            .iter()
            .filter(|(channel, _)| matches!(pays(channel).state, State::Closed | State::ForcedClosed) && channel.handle.is_up())
            .map(|(channel, _)| channel.handle.id())
            .collect();
        for ((channel, _), looks) in self.channels.iter().zip(&mut self.paced_looks) {
            let snapshot = pays(channel);
            let open = matches!(snapshot.state, State::Open | State::HalfOpen);
            let condition = open.then(|| Condition::BreakerOpened {
                channel: channel.handle.id().to_owned(),
                reason: snapshot.reason.map_or("unknown", Reason::as_str),
                calls: snapshot.window.calls.into(),
                failures: snapshot.window.failures.into(),
                others: takes.iter().map(|&other| other.to_owned()).collect(),
            });
            self.bell.tell(AlertKind::BreakerOpened, channel.handle.id(), condition);
            let resolves = channel.handle.guard().snapshot(OperationClass::Resolve, now);
            let paced = !open && matches!(resolves.state, State::Open | State::HalfOpen);
            *looks = if paced { looks.saturating_add(1) } else { 0 };
            let paced = (*looks >= PACED_LOOKS).then(|| Condition::QueriesPaced {
                channel: channel.handle.id().to_owned(),
                reason: resolves.reason.map_or("unknown", Reason::as_str),
            });
            self.bell.tell(AlertKind::QueriesPaced, channel.handle.id(), paced);
        }
    }

    fn look_at_actors(&mut self) {
        for (channel, seen) in &mut self.channels {
            let generation = channel.handle.generation();
            if generation > *seen && *seen > 0 {
                self.bell.report(Condition::ChannelRestarted { channel: channel.handle.id().to_owned(), generation });
            }
            *seen = generation;
        }
    }

    fn look_at_money(&mut self) {
        for ((channel, _), before) in self.channels.iter().zip(&mut self.moved) {
            let counts = channel.moved();
            let MovedCounts { refunds, returned, opened, closed, misfits: messages } = counts.since(*before);
            *before = counts;
            let channel = channel.handle.id().to_owned();
            if messages > 0 {
                self.bell.report(Condition::MoneyDoesNotFit { channel: channel.clone(), messages });
            }
            if refunds + returned + opened + closed > 0 {
                self.bell.report(Condition::MoneyMoved { channel, refunds, returned, opened, closed });
            }
        }
    }

    fn look_at_poller(&mut self) {
        let Some(pulse) = &self.pulse else { return };
        let silent = self.clock.boot().since(pulse.last());
        self.silent_looks = if silent >= self.stalled_after { self.silent_looks + 1 } else { 0 };
        let condition = (self.silent_looks >= SILENT_LOOKS).then_some(Condition::PollerStalled { silent });
        if let Some(readiness) = &self.readiness {
            readiness.concern("sweeps", condition.is_some().then(|| format!("none has succeeded for {} s", silent.as_secs())));
        }
        self.bell.tell(AlertKind::PollerStalled, "", condition);
    }
}

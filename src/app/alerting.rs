//! What raises alerts from outside of what it watches, and what carries text messages: the wiring's own part of alerts.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::StartError;
use crate::alert::sms::{Carried, Carrier, SmsRequest};
use crate::alert::story::Links;
use crate::alert::{AlertKind, AlerterSettings, Bell, Condition, Override, Rules};
use crate::channel::breaker::{Reason, State};
use crate::channel::http_pool::{Address, Exchange, HttpPool, PoolSettings};
use crate::clock::{Clock, Pulse};
use crate::config::AlertSettings;
use crate::domain::OperationClass;
use crate::http::Readiness;
use crate::provider::HttpRequest;
use crate::router::flows::Channel;
use crate::router::moved::MovedCounts;
use crate::router::operator::Switchboard;

/// How often channels and poller are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many looks in a row at paced queries are news: five minutes.
const PACED_LOOKS: u32 = (5 * 60 * 1_000 / LOOK_EVERY.as_millis()) as u32;
/// Looks in a row that must find poller or notifier silent: a machine that wakes from sleep finds an old pulse, and gives it these seconds to beat.
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

/// Something that goes round and round, and what is said when it does not.
struct Beating {
    pulse: Pulse,
    /// What `/readyz` calls its rounds.
    rounds: &'static str,
    kind: AlertKind,
    stalled: fn(Duration) -> Condition,
    silent_looks: u32,
}

/// Looks at channels, poller and notifier from outside of them, and rings the bell for what it sees.
pub(super) struct Watch {
    channels: Vec<(Channel, u64)>,
    /// For how many looks in a row each channel's queries were paced while its payments went on.
    paced_looks: Vec<u32>,
    /// What each channel had counted of money that moved without us at the last look.
    moved: Vec<MovedCounts>,
    /// How many notifications of each channel had been set aside at the last look.
    set_aside: Vec<u64>,
    /// The poller's and the notifier's, where there is one.
    beating: Vec<Beating>,
    switchboard: Option<Switchboard>,
    readiness: Option<Arc<Readiness>>,
    stalled_after: Duration,
    bell: Bell,
    clock: Clock,
}

impl Watch {
    pub(super) fn new(channels: Vec<Channel>, stalled_after: Duration, bell: Bell, clock: Clock) -> Self {
        let channels: Vec<_> = channels.into_iter().map(|channel| (channel, 0)).collect();
        let paced_looks = vec![0; channels.len()];
        let moved = vec![MovedCounts::default(); channels.len()];
        let set_aside = vec![0; channels.len()];
        Self { channels, paced_looks, moved, set_aside, beating: Vec::new(), switchboard: None, readiness: None, stalled_after, bell, clock }
    }

    /// Looks at the poller's sweeps, too.
    pub(super) fn of_poller(mut self, pulse: Pulse) -> Self {
        let stalled = |silent| Condition::PollerStalled { silent };
        self.beating.push(Beating { pulse, rounds: "sweeps", kind: AlertKind::PollerStalled, stalled, silent_looks: 0 });
        self
    }

    /// Looks at the notifier's rounds, too.
    pub(super) fn of_notifier(mut self, pulse: Pulse) -> Self {
        let stalled = |silent| Condition::NotifierStalled { silent };
        self.beating.push(Beating { pulse, rounds: "webhooks", kind: AlertKind::NotifierStalled, stalled, silent_looks: 0 });
        self
    }

    /// Tells of the overrides that hold, too.
    pub(super) fn of_overrides(mut self, switchboard: Switchboard) -> Self {
        self.switchboard = Some(switchboard);
        self
    }

    /// Tells `readiness` too when poller or notifier is silent.
    pub(super) fn heeding(mut self, readiness: Arc<Readiness>) -> Self {
        self.readiness = Some(readiness);
        self
    }

    /// Looks for as long as the process serves.
    pub(super) async fn run(&mut self) {
        loop {
            self.look_at_breakers();
            self.look_at_actors();
            self.look_at_overrides();
            self.look_at_rounds();
            self.look_at_money();
            self.look_at_inboxes();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// By state and not by transition: what was missed is seen at the next look. Half open is not over yet, and an operator's override is told of as
    /// what it is. A channel whose payments are shut too is told of once, by that; and paced queries are only news when they last.
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

    fn look_at_inboxes(&mut self) {
        for ((channel, _), before) in self.channels.iter().zip(&mut self.set_aside) {
            let count = channel.notifications_set_aside();
            let messages = count.saturating_sub(std::mem::replace(before, count));
            if messages > 0 {
                self.bell.report(Condition::NotificationsSetAside { channel: channel.handle.id().to_owned(), messages });
            }
        }
    }

    /// Every process tells the same of them, and it is one alert a channel.
    fn look_at_overrides(&self) {
        let Some(switchboard) = &self.switchboard else { return };
        for (channel, _) in &self.channels {
            let id = channel.handle.id();
            let held: Vec<Override> = switchboard
                .held(id)
                .into_iter()
                .map(|held| Override {
                    operation: held.row.class.as_str(),
                    mode: held.mode.as_str(),
                    author: held.row.author,
                    reason: held.row.reason,
                    until: held.until,
                })
                .collect();
            let condition = (!held.is_empty()).then(|| Condition::OverrideHolds { channel: id.to_owned(), held });
            self.bell.tell(AlertKind::OverrideHolds, id, condition);
        }
    }

    fn look_at_rounds(&mut self) {
        let now = self.clock.boot();
        for beating in &mut self.beating {
            let silent = now.since(beating.pulse.last());
            beating.silent_looks = if silent >= self.stalled_after { beating.silent_looks + 1 } else { 0 };
            let condition = (beating.silent_looks >= SILENT_LOOKS).then(|| (beating.stalled)(silent));
            if let Some(readiness) = &self.readiness {
                readiness.concern(beating.rounds, condition.is_some().then(|| format!("none has succeeded for {} s", silent.as_secs())));
            }
            self.bell.tell(beating.kind, "", condition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Phase;

    fn looked(watch: &mut Watch, times: u32) {
        for _ in 0..times {
            watch.look_at_rounds();
        }
    }

    #[test]
    fn a_notifier_that_is_frozen_makes_the_process_unready_while_the_poller_goes_on() {
        let (clock, readiness) = (Clock::system(), Arc::new(Readiness::default()));
        readiness.enter(Phase::Ready);
        let (sweeps, webhooks) = (Pulse::new(clock.boot()), Pulse::new(clock.boot()));
        let watch = Watch::new(Vec::new(), Duration::from_secs(60), Bell::default(), clock.clone());
        let mut watch = watch.of_poller(sweeps.clone()).of_notifier(webhooks.clone()).heeding(Arc::clone(&readiness));
        looked(&mut watch, SILENT_LOOKS);
        assert_eq!(readiness.reasons(), Vec::<String>::new());
        clock.advance(Duration::from_secs(61));
        sweeps.beat(clock.boot());
        looked(&mut watch, SILENT_LOOKS - 1);
        assert_eq!(readiness.reasons(), Vec::<String>::new(), "a machine that wakes up has a few seconds");
        looked(&mut watch, 1);
        assert_eq!(readiness.reasons(), ["webhooks: none has succeeded for 61 s"]);
        webhooks.beat(clock.boot());
        looked(&mut watch, 1);
        assert_eq!(readiness.reasons(), Vec::<String>::new());
    }
}

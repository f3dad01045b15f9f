//! A channel from its settings: whose it is, where it is and how it is secured, its guard, its actor under a supervisor; and all of them as operators
//! see them.

use std::sync::Arc;
use std::time::Duration;

use actix::Arbiter;
use uuid::Uuid;

use super::{ChannelPlan, StartError};
use crate::channel::actor::{ActorSettings, ChannelIdentity, Mailbox};
use crate::channel::breaker::Reason;
use crate::channel::guard::ChannelGuard;
use crate::channel::handle::ChannelHandle;
use crate::channel::http_pool::{Address, PoolSettings};
use crate::channel::socket_pool::{FrontEnd, SocketSettings, private_tls_of};
use crate::channel::supervisor::{Blueprint, ChannelSupervisor, SupervisorSettings};
use crate::channel::transport::Destination;
use crate::clock::Clock;
use crate::config::ChannelSettings;
use crate::domain::{Candidate, MethodKind, OperationClass, fnv1a};
use crate::http::{BreakerView, ChannelDirectory, ChannelHealth, ChannelView, OverrideView};
use crate::provider::Protocol;
use crate::router::flows::Channel;
use crate::router::operator::Switchboard;
use crate::store::Store;
use crate::store::administration::Found;
use crate::store::inbox::Inbox;

/// The merchants that the channel's settings name.
pub(super) async fn owners_of(settings: &ChannelSettings, store: &Store, clock: &Clock) -> Result<Vec<Uuid>, StartError> {
    let mode = settings.mode.livemode();
    let mut owners = Vec::with_capacity(settings.merchants.len());
    for name in &settings.merchants {
        match store.find_merchant(name, Some(mode), clock.wall()).await? {
            Found::One(merchant) => owners.push(merchant.id),
            other => {
                let mode = if mode { "live" } else { "test" };
                return Err(StartError::Setting(format!(
                    "channels[{}].merchants: {}; correct it, or add the merchant with: breakwater merchants add {name:?} --mode {mode}",
                    settings.id,
                    other.complaint(name, Some(mode))
                )));
            }
        }
    }
    Ok(owners)
}

/// Where a channel is in its protocol's terms, and how it is secured; or what is wrong with its account.
fn destination(plan: &ChannelPlan, web: &Arc<rustls::ClientConfig>) -> Result<(Destination, Arc<rustls::ClientConfig>), String> {
    let settings = &plan.settings;
    let Protocol::Socket(protocol) = plan.provider.protocol() else {
        let address = Address::parse(&settings.address).map_err(|error| error.to_string())?;
        return Ok((Destination::Http(address), Arc::clone(web)));
    };
    let credentials = settings.credentials();
    if let Some(failure) = protocol.fault(&credentials) {
        return Err(failure.message);
    }
    let front_ends = FrontEnd::parse_all(&protocol.front_ends(&credentials)).map_err(|error| format!("front_ends: {error}"))?;
    if settings.mode.livemode() && !front_ends.iter().all(FrontEnd::is_secure) {
        return Err("front_ends: a live channel needs tls://, or card numbers would travel in the clear".to_owned());
    }
    let tls = match protocol.tls(&credentials)? {
        None => Arc::clone(web),
        Some(material) => private_tls_of(material).map_err(|error| error.to_string())?,
    };
    let sockets = SocketSettings {
        sockets: protocol.sockets(&credentials),
        max_in_flight: settings.pool_size,
        connect_timeout_ms: settings.connect_timeout_ms,
        ..SocketSettings::default()
    };
    sockets.validate().map_err(|faults| faults.join("; "))?;
    Ok((Destination::Sockets(front_ends, sockets), tls))
}

/// What a channel must know of the process that it is in.
pub(super) struct Process {
    /// This process, as leases name it: no two have the same.
    pub(super) incarnation: Uuid,
    /// How many call the channels as it does, itself among them.
    pub(super) instances: u32,
    /// Where providers reach it.
    pub(super) public_url: Option<String>,
}

impl Process {
    /// What the channel's guard rolls its dice from. Of another process, and of this one after a restart, it is another, or all that were
    /// shut by one outage would send their probes together, opening after opening.
    fn seed(&self, channel: &str) -> u64 {
        let (high, low) = self.incarnation.as_u64_pair();
        fnv1a(channel.bytes()) ^ high ^ low
    }
}

/// Builds a channel's guard, actor and supervisor; the supervisor lives on `watch`, the actor on an arbiter of its own.
pub(super) fn start_channel(
    plan: &ChannelPlan,
    process: &Process,
    owners: Vec<Uuid>,
    tls: &Arc<rustls::ClientConfig>,
    clock: &Clock,
    inbox: Inbox,
    watch: &Arbiter,
) -> Result<Channel, StartError> {
    let settings = &plan.settings;
    let fault = |what: String| StartError::Setting(format!("channel {}: {what}", settings.id));
    if settings.mode.livemode() && cfg!(feature = "unguarded") {
        return Err(fault("this program was built without guards, to measure what they cost, and serves no live channel".to_owned()));
    }
    let guard_settings = settings.guard_of(plan.provider, process.instances).map_err(|faults| fault(format!("guard.{}", faults.join("; guard."))))?;
    let guard = ChannelGuard::new(&guard_settings, process.seed(&settings.id), clock.boot()).map_err(|faults| fault(faults.join("; ")))?;
    let (destination, tls) = destination(plan, tls).map_err(fault)?;
    let blueprint = Blueprint {
        identity: ChannelIdentity { id: settings.id.as_str().into(), provider: plan.provider, credentials: settings.credentials() },
        destination,
        tls,
        settings: ActorSettings {
            call_timeout_ms: Some(settings.timeout_ms),
            mailbox: Mailbox(settings.mailbox),
            pool: PoolSettings {
                max_connections: settings.pool_size,
                connect_timeout_ms: settings.connect_timeout_ms,
                idle_timeout_ms: settings.idle_timeout_ms,
            },
        },
        clock: clock.clone(),
    };
    let candidate = Candidate {
        channel: settings.id.clone(),
        livemode: settings.mode.livemode(),
        methods: settings.methods.clone().unwrap_or_else(|| plan.provider.contract().methods.to_vec()),
        wallets: settings.wallets.clone(),
        currencies: settings.currencies.clone(),
        priority: settings.priority,
        owners,
    };
    let supervised = SupervisorSettings::default();
    let (supervisor, standing) =
        ChannelSupervisor::new(settings.id.as_str().into(), supervised, Arc::clone(&guard), clock.clone(), move || blueprint.build());
    if !supervisor.start(&watch.handle()) {
        return Err(fault("its supervisor cannot be started".to_owned()));
    }
    let handle = ChannelHandle::new(plan.provider, candidate, guard, clock.clone(), standing);
    let notify_url = process.public_url.as_ref().map(|base| format!("{base}/v1/notifications/{}", settings.id));
    Ok(Channel::new(handle, settings.credentials(), Duration::from_millis(settings.timeout_ms), notify_url, inbox))
}

/// The channels, as operators see them.
pub(super) struct Directory {
    pub(super) channels: Vec<Channel>,
    pub(super) clock: Clock,
    pub(super) switchboard: Switchboard,
}

impl ChannelDirectory for Directory {
    fn channels(&self) -> Vec<ChannelView> {
        self.channels.iter().map(|channel| self.view(channel)).collect()
    }

    fn known(&self, id: &str) -> bool {
        self.channels.iter().any(|channel| channel.handle.id() == id)
    }

    fn open_to(&self, id: &str, merchant: Uuid) -> bool {
        self.channels.iter().any(|channel| channel.handle.id() == id && channel.handle.candidate().is_open_to(merchant))
    }

    fn any_takes(&self, method: MethodKind, merchant: Uuid, livemode: bool) -> bool {
        let takes = |candidate: &Candidate| candidate.livemode == livemode && candidate.methods.contains(&method) && candidate.is_open_to(merchant);
        self.channels.iter().any(|channel| takes(channel.handle.candidate()))
    }
}

impl Directory {
    fn view(&self, channel: &Channel) -> ChannelView {
        let candidate = channel.handle.candidate();
        let now = self.clock.boot();
        let breaker = OperationClass::ALL.map(|class| {
            let snapshot = channel.handle.guard().snapshot(class, now);
            BreakerView {
                class,
                state: snapshot.state.as_str(),
                reason: snapshot.reason.map(Reason::as_str),
                retry_after_ms: snapshot.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
                calls: snapshot.window.calls.into(),
                failures: snapshot.window.failures.into(),
                in_flight: snapshot.in_flight,
                limit: snapshot.limit,
                class_limit: snapshot.class_limit,
                rate_per_second: snapshot.rate_per_second,
            }
        });
        ChannelView {
            id: candidate.channel.clone(),
            provider: channel.handle.provider().name(),
            livemode: candidate.livemode,
            methods: candidate.methods.clone(),
            wallets: candidate.wallets.clone(),
            currencies: candidate.currencies.iter().map(|currency| currency.code().to_owned()).collect(),
            health: if channel.handle.is_up() { ChannelHealth::Up } else { ChannelHealth::Restarting },
            breaker: breaker.to_vec(),
            r#override: self.switchboard.held(&candidate.channel).into_iter().next().map(|held| OverrideView {
                id: held.row.id.to_string(),
                operation: held.row.class.as_str(),
                mode: held.mode.as_str(),
                author: held.row.author,
                reason: held.row.reason,
                expires_at: held.until,
                recurs: held.row.recurs.as_ref().map(ToString::to_string),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::breaker::State;
    use crate::channel::guard::GuardSettings;
    use crate::clock::Moment;
    use crate::domain::CallClass;

    const START: Moment = Moment::from_nanos(1_000_000_000_000);

    fn process(incarnation: u128) -> Process {
        Process { incarnation: Uuid::from_u128(incarnation), instances: 1, public_url: None }
    }

    /// How long the channel's breaker of payments stays open in that process after five failures.
    fn opening(process: &Process, channel: &str) -> Duration {
        let guard = ChannelGuard::new(&GuardSettings::default(), process.seed(channel), START).unwrap();
        for turn in 0..5 {
            let now = START + Duration::from_millis(turn * 100);
            let mut permit = guard.admit(OperationClass::Pay, now).unwrap();
            permit.mark_sent(now);
            permit.record(CallClass::FailHard, now);
        }
        let snapshot = guard.snapshot(OperationClass::Pay, START + Duration::from_millis(400));
        assert_eq!(snapshot.state, State::Open);
        snapshot.retry_after.unwrap()
    }

    #[test]
    fn two_processes_do_not_probe_one_channel_in_step_and_neither_does_one_that_was_restarted() {
        let (one, other) = (process(0x0f0e_0d0c_0b0a_4908_8706_0504_0302_0100), process(0x0f0e_0d0c_0b0a_4908_8706_0504_0302_0101));
        assert_eq!(opening(&one, "stripe_main"), opening(&one, "stripe_main"), "the same dice always roll the same");
        assert_ne!(opening(&one, "stripe_main"), opening(&other, "stripe_main"));
        assert_ne!(opening(&one, "stripe_main"), opening(&one, "alipay_main"), "nor do two channels in one process");
        let many: std::collections::HashSet<Duration> = (0..20).map(|incarnation| opening(&process(incarnation << 70), "stripe_main")).collect();
        assert!(many.len() > 10, "{many:?}");
    }
}

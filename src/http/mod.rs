//! Floor 4: the merchants' REST API and the operators' routes.
//!
//! A request is five files in one direction: `observe.rs` (its id, its log line, its metrics, a panic's 500), `key.rs` (who asks, and with `limit.rs`
//! whether they may ask any more), `body.rs` and `field.rs` (what is asked, strictly), the route's own file (`payment.rs`, `refund.rs`,
//! `notification.rs`, `operations/`, `alerts.rs`: one script each),
//! `render.rs` or `problem.rs` (the answer). Money is never moved here, and nothing is written: a handler sends a message to the
//! [`Router`], whose flow runs on whether or not the client waits for it.
//!
//! What holds for every answer: a `Request-Id`; `Cache-Control: no-store`; and if it is not a success, problem details with a code from the
//! closed list of `problem.rs`. HTTP errors are for the call, not for the money: a declined payment is a 201.

pub mod alerts;
pub mod answers;
pub mod ask;
pub mod body;
pub mod card;
pub mod directory;
pub mod document;
pub mod event;
pub mod field;
pub mod idempotency;
pub mod key;
pub mod limit;
pub mod notification;
pub mod observe;
pub mod operations;
pub mod origin;
pub mod page;
pub mod payment;
pub mod payment_request;
pub mod preference;
pub mod problem;
pub mod readiness;
pub mod refund;
pub mod refusal;
pub mod render;
pub mod routes;
pub mod server;
pub mod webhook;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use actix::{Addr, Recipient};
use tokio::runtime::Handle;

pub use self::directory::{BreakerView, ChannelDirectory, ChannelHealth, ChannelView, OverrideView};
pub use self::observe::create_series_at_zero;
pub use self::problem::{Problem, ProblemCode};
pub use self::readiness::{Phase, Readiness};
pub use self::routes::{operations_routes, routes};
pub use self::server::{serve, serve_operations};
use crate::alert::Acknowledge;
use crate::clock::Clock;
use crate::domain::{Network, Parts};
use crate::notifier::desk::{Desk, DeskError};
use crate::router::Router;
use crate::router::operator::Switchboard;
use crate::store::{Store, StoreError};

/// What the API needs of the rest of the process. One for all workers.
pub struct Api {
    /// The flows.
    pub router: Addr<Router>,
    /// Who takes acknowledgements of alerts.
    pub alerts: Recipient<Acknowledge>,
    /// The database, for reads.
    pub store: Store,
    /// Where reads run: a connection of the database must not live on a worker's own runtime, which ends with the server.
    pub runtime: Handle,
    /// Time.
    pub clock: Clock,
    /// Settings.
    pub settings: ApiSettings,
    /// What fingerprints and cursors are keyed with: the installation's, from the store.
    pub fingerprint_secret: [u8; 32],
    /// The channels.
    pub channels: Arc<dyn ChannelDirectory>,
    /// What merchants do with their webhooks.
    pub webhooks: Desk,
    /// What operators do with channels.
    pub switchboard: Switchboard,
    /// Renders the metrics.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Whether the process wants traffic.
    pub readiness: Arc<Readiness>,
    /// How much anybody may ask.
    pub limits: limit::Limits,
    /// What the API itself remembers; starts empty.
    pub memory: Memory,
}

/// What the API remembers between requests.
#[derive(Debug, Default)]
pub struct Memory {
    /// Owners of keys that were seen lately.
    pub keys: key::KeyMemory,
    /// Requests in flight.
    pub(super) in_flight: AtomicUsize,
}

/// How the API behaves.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// How long a caller waits for a payment's end before the answer is 202. Default 10 s. Shorter gives more 202s; longer keeps connections
    /// busy while a channel is slow.
    pub answer_within: Duration,
    /// How long after its creation a payment may still go to another channel. Default 30 s.
    pub deadline: Duration,
    /// Bytes of a merchant's body, at most. Default 64 KiB.
    pub body_limit: usize,
    /// Requests in flight in this process, at most; beyond that a merchant's is 503, an operator's is still answered. Default 4,096. It bounds
    /// memory: a request in flight holds its body and its flow.
    pub max_requests: usize,
    /// Whether the merchants' listener serves `/ops` and `/metrics` too. Default false; demo does.
    pub serve_operations: bool,
    /// Whether `/metrics` on the merchants' listener needs an operator's token. Default true; false is for a listener that only the machine
    /// itself reaches. On the operators' own listener it never does.
    pub metrics_need_token: bool,
    /// The parts of the work that this process takes on. Default all.
    pub parts: Parts,
    /// Proxies of our own, whose `X-Forwarded-For` is believed; default none.
    pub trusted_proxies: Vec<Network>,
    /// What a problem's `type` begins with, before `/errors/<code>`. Default `https://breakwater.example`.
    pub problem_base: String,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            answer_within: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            body_limit: 64 * 1024,
            max_requests: 4_096,
            serve_operations: false,
            metrics_need_token: true,
            parts: Parts::all(),
            trusted_proxies: Vec::new(),
            problem_base: "https://breakwater.example".to_owned(),
        }
    }
}

impl Api {
    /// Runs an act of a merchant's on their webhooks where the database's connections live, to its end even if the client goes away.
    ///
    /// # Errors
    /// The problem to answer with.
    pub(super) async fn at_desk<T, F>(&self, act: impl FnOnce(Desk) -> F) -> Result<T, Problem>
    where
        F: Future<Output = Result<T, DeskError>> + Send + 'static,
        T: Send + 'static,
    {
        match self.runtime.spawn(act(self.webhooks.clone())).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(refusal::desk_problem(&error)),
            Err(error) => {
                tracing::error!(%error, "an act on a webhook did not end");
                Err(Problem::internal())
            }
        }
    }

    /// Runs a read of a list, which may be a little old: on the replica while there is one that keeps up, else, or if it fails there, on the primary.
    ///
    /// # Errors
    /// As [`Api::read`].
    pub(super) async fn read_list<T, F>(&self, read: impl Fn(Store) -> F) -> Result<T, Problem>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
        T: Send + 'static,
    {
        let count = |source: &'static str| metrics::counter!("breakwater_db_list_reads_total", "source" => source).increment(1);
        if let Some(replica) = self.store.bounded() {
            match self.runtime.spawn(read(replica)).await {
                Ok(Ok(found)) => {
                    count("replica");
                    return Ok(found);
                }
                Ok(Err(error)) => tracing::warn!(%error, "the replica did not answer: the primary is asked"),
                Err(error) => tracing::error!(%error, "a read did not end on the replica: the primary is asked"),
            }
        }
        count("primary");
        self.read(read).await
    }

    /// Runs a read where the database's connections live, to its end even if the client goes away.
    ///
    /// # Errors
    /// The problem to answer with: 503 when the database is away.
    pub(super) async fn read<T, F>(&self, read: impl FnOnce(Store) -> F) -> Result<T, Problem>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
        T: Send + 'static,
    {
        match self.runtime.spawn(read(self.store.clone())).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(refusal::store_problem(&error)),
            Err(error) => {
                tracing::error!(%error, "a read did not end");
                Err(Problem::internal())
            }
        }
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("settings", &self.settings).finish_non_exhaustive()
    }
}

//! A bank's sockets: few, persistent, full duplex, with many calls under way on each, to a pair of front ends that share one host.
//!
//! An exchange ends as an HTTP one does (`http_pool.rs`): [`Exchange::NotSent`], not one byte of it left; [`Exchange::Lost`], it may have arrived;
//! [`Exchange::Answer`], the message that answers it, over whichever socket and in whatever order. The wire itself is the witness, per frame.
//!
//! Calls go round over the sockets that are up. A socket is up when the peer has answered a word on it, and is asked now and then whether it still
//! is (`keeper.rs`). A lost socket loses what was in flight on it; the others go on, and nothing is sent a second time: what is undone, and when,
//! is for the flows. Only a frame of which nothing left is moved to another socket. An answer that nobody waits for any more is consumed,
//! counted and logged; it is never somebody else's.
//!
//! It refuses to: queue (no socket, or too many calls: not sent, at once); grow; keep what it cannot cut into frames.
//!
//! Downwards: `keeper.rs` (the life of a socket), `socket.rs` (a frame whole or not at all), `waiting.rs` (whose answer is it?), `front_end.rs`
//! (addresses, TLS).

mod front_end;
mod keeper;
mod socket;
mod waiting;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use metrics::{Counter, Gauge, counter, gauge};
use rustls::ClientConfig;
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

pub use self::front_end::{FrontEnd, FrontEndError, TlsError, private_tls, private_tls_of};
use self::socket::{Socket, Written};
use self::waiting::{NoPlace, Waiting};
use super::http_pool::{Exchange, Lost, NotSent};
use crate::clock::{Clock, Moment};
use crate::crash::{self, Point};
use crate::provider::Credentials;
use crate::provider::socket::{Frame, Framing, Manners, SocketProtocol};

/// How a channel's sockets behave. Whether it signs on, and how often it asks for an echo, is its account's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SocketSettings {
    /// Sockets to each front end; default 2, 1 to 64. One makes every call wait for the frame before it; many are refused by some banks. A front
    /// end that balances connections and not messages needs several.
    pub sockets: usize,
    /// Calls under way at most, over all sockets; default 512, 1 to 512. A call beyond it is not sent.
    pub max_in_flight: usize,
    /// How long finding, connecting and securing a socket may take, in milliseconds; default 5,000, 10 to 30,000. It is also how long the first
    /// calls wait for the first sockets.
    pub connect_timeout_ms: u64,
    /// The pause before a lost socket is opened again, in milliseconds, doubled with each failure, ± 25 %; default 200, 1 to 60,000.
    pub reconnect_base_ms: u64,
    /// The longest such pause, in milliseconds; default 10,000, at least `reconnect_base_ms`, at most 600,000.
    pub reconnect_max_ms: u64,
}

impl Default for SocketSettings {
    fn default() -> Self {
        Self { sockets: 2, max_in_flight: 512, connect_timeout_ms: 5_000, reconnect_base_ms: 200, reconnect_max_ms: 10_000 }
    }
}

impl SocketSettings {
    /// Every fault at once, one sentence each, naming the field and its range.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let wide = |size: usize| u64::try_from(size).unwrap_or(u64::MAX);
        let ranges = [
            ("sockets", wide(self.sockets), 1, 64),
            ("max_in_flight", wide(self.max_in_flight), 1, 512),
            ("connect_timeout_ms", self.connect_timeout_ms, 10, 30_000),
            ("reconnect_base_ms", self.reconnect_base_ms, 1, 60_000),
            ("reconnect_max_ms", self.reconnect_max_ms, self.reconnect_base_ms, 600_000),
        ];
        let faults: Vec<String> = ranges
            .into_iter()
            .filter(|(_, value, least, most)| value < least || value > most)
            .map(|(name, value, least, most)| format!("{name} is {value}: it must be from {least} to {most}"))
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }
}

/// What a pool speaks, and as whom.
#[derive(Clone)]
pub struct Speaker {
    /// The channel's id, for metrics and logs.
    pub channel: Arc<str>,
    /// The protocol.
    pub protocol: &'static dyn SocketProtocol,
    /// The account.
    pub credentials: Credentials,
}

/// The sockets of one channel. It belongs to the channel's actor; its keepers are tasks of the runtime that made it. Dropped, it closes them all.
pub struct SocketPool {
    shared: Arc<Shared>,
    keepers: Vec<AbortHandle>,
}

struct Shared {
    channel: Arc<str>,
    protocol: &'static dyn SocketProtocol,
    credentials: Credentials,
    framing: Framing,
    manners: Manners,
    settings: SocketSettings,
    tls: TlsConnector,
    clock: Clock,
    waiting: Waiting,
    roster: Mutex<Roster>,
    /// Rung when the roster changes.
    changed: Notify,
    turn: AtomicUsize,
    ids: AtomicU64,
    numbers: AtomicU32,
    up: Gauge,
    strays: Counter,
}

/// Who is up.
#[derive(Default)]
struct Roster {
    up: Vec<Arc<Socket>>,
    /// Keepers whose first try is not over.
    beginning: usize,
}

impl Drop for SocketPool {
    fn drop(&mut self) {
        for keeper in &self.keepers {
            keeper.abort();
        }
        // An aborted task is dropped when its thread gets to it; nothing must leave until then.
        for socket in self.shared.roster().up.drain(..) {
            socket.condemn();
        }
        self.shared.up.set(0.0);
    }
}

impl SocketPool {
    /// A pool whose sockets are being opened. It must be called on a tokio runtime.
    pub fn new(speaker: Speaker, front_ends: &[FrontEnd], tls: Arc<ClientConfig>, settings: SocketSettings, clock: Clock) -> Self {
        let Speaker { channel, protocol, credentials } = speaker;
        let beginning = settings.sockets * front_ends.len();
        let numbers = u32::try_from(clock.wall().as_second().rem_euclid(900_000)).unwrap_or(0);
        let up = gauge!("breakwater_socket_up", "channel" => channel.to_string());
        up.set(0.0);
        let strays = counter!("breakwater_socket_strays_total", "channel" => channel.to_string());
        strays.increment(0);
        let shared = Arc::new(Shared {
            framing: protocol.framing(&credentials),
            manners: protocol.manners(&credentials),
            channel,
            protocol,
            credentials,
            settings,
            tls: TlsConnector::from(tls),
            clock,
            waiting: Waiting::default(),
            roster: Mutex::new(Roster { up: Vec::new(), beginning }),
            changed: Notify::new(),
            turn: AtomicUsize::new(0),
            ids: AtomicU64::new(1),
            numbers: AtomicU32::new(numbers),
            up,
            strays,
        });
        let keepers = front_ends
            .iter()
            .flat_map(|front_end| std::iter::repeat_n(front_end, shared.settings.sockets))
            .map(|front_end| tokio::spawn(keeper::keep(Arc::clone(&shared), front_end.clone())).abort_handle())
            .collect();
        Self { shared, keepers }
    }

    /// Sockets that are up.
    pub fn up(&self) -> usize {
        self.shared.roster().up.len()
    }

    /// Calls under way.
    pub fn in_flight(&self) -> usize {
        self.shared.waiting.len()
    }

    /// Sends one frame and waits for its answer until `deadline`. `may_send` is asked right before the first byte may leave, each time that may be
    /// (once a socket at most: a dead front end takes several with it). Dropping the future does not recall what was sent; the answer is then a late one.
    pub async fn exchange(&self, frame: Frame, deadline: Moment, mut may_send: impl FnMut() -> bool) -> Exchange<Bytes> {
        let now = self.shared.clock.boot();
        if deadline <= now {
            return Exchange::NotSent(NotSent::TooLate);
        }
        let until = Instant::now() + deadline.since(now);
        let mut tries = 0;
        loop {
            let Some(socket) = self.shared.pick(until).await else { return Exchange::NotSent(NotSent::NoSocket) };
            tries += 1;
            match self.carry(&socket, &frame, until, &mut may_send).await {
                Exchange::NotSent(NotSent::Deaf(Lost::Closed)) if tries <= self.keepers.len() => {}
                ended => return ended,
            }
        }
    }

    async fn carry(&self, socket: &Arc<Socket>, frame: &Frame, until: Instant, may_send: impl FnOnce() -> bool) -> Exchange<Bytes> {
        let shared = &self.shared;
        // The place is taken first: the answer may be here before the write has returned.
        let mut place = match shared.waiting.wait(&frame.correlation, socket.id, shared.settings.max_in_flight) {
            Ok(place) => place,
            Err(NoPlace::Full) => return Exchange::NotSent(NotSent::PoolExhausted),
            Err(NoPlace::Taken) => return Exchange::NotSent(NotSent::UnderWay),
        };
        let mut started = shared.clock.boot();
        let written = socket
            .write(&frame.bytes, until, || {
                started = shared.clock.boot();
                may_send()
            })
            .await;
        match written {
            Written::Whole => crash::pass(Point::FrameWritten),
            Written::Withheld => return Exchange::NotSent(NotSent::Withheld),
            Written::TooLate => return Exchange::NotSent(NotSent::TooLate),
            Written::Nothing(lost) => {
                shared.withdraw(socket);
                return Exchange::NotSent(NotSent::Deaf(lost));
            }
            Written::Partly(lost) => return Exchange::Lost(lost),
        }
        match timeout_at(until, &mut place.heard).await {
            Ok(Ok(Ok(message))) => Exchange::Answer(message, shared.clock.boot().since(started)),
            Ok(Ok(Err(lost))) => Exchange::Lost(lost),
            // Its waiter was forgotten, which only the end of the pool does.
            Ok(Err(_)) => Exchange::Lost(Lost::Closed),
            Err(_) => {
                socket.doubted.notify_one();
                Exchange::Lost(Lost::Deadline)
            }
        }
    }
}

impl Shared {
    /// A poisoned roster is entered all the same: each step leaves it whole.
    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next socket in turn. While every keeper is still at its first try the call waits for one of them; later, none up is none.
    async fn pick(&self, until: Instant) -> Option<Arc<Socket>> {
        let until = until.min(Instant::now() + self.settings.connect_timeout());
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let roster = self.roster();
                if let Some(last) = roster.up.len().checked_sub(1) {
                    let turn = self.turn.fetch_add(1, Ordering::Relaxed) % (last + 1);
                    return roster.up.get(turn).cloned();
                }
                if roster.beginning == 0 {
                    return None;
                }
            }
            timeout_at(until, changed).await.ok()?;
        }
    }

    fn offer(&self, socket: &Arc<Socket>) {
        let up = {
            let mut roster = self.roster();
            roster.up.push(Arc::clone(socket));
            roster.up.len()
        };
        self.show(up);
    }

    fn withdraw(&self, socket: &Arc<Socket>) {
        let up = {
            let mut roster = self.roster();
            roster.up.retain(|other| other.id != socket.id);
            roster.up.len()
        };
        self.show(up);
    }

    fn show(&self, up: usize) {
        self.up.set(f64::from(u32::try_from(up).unwrap_or(u32::MAX)));
        self.changed.notify_waiters();
    }

    /// A keeper's first try is over.
    fn settle(&self) {
        let mut roster = self.roster();
        roster.beginning = roster.beginning.saturating_sub(1);
        drop(roster);
        self.changed.notify_waiters();
    }

    /// A message that nobody waits for.
    fn stray(&self, socket: &Socket, kind: &'static str) {
        self.strays.increment(1);
        tracing::info!(channel = %self.channel, socket = socket.id, kind, "a message from the bank that nobody waits for");
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// The number of the next word about the connection; it goes around long before the type does.
    fn next_number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed) % 999_999 + 1
    }

    fn pause(&self, failed: u32) -> Duration {
        let chance = RandomState::new().build_hasher().finish();
        let millis = Duration::from_millis;
        keeper::pause(millis(self.settings.reconnect_base_ms), millis(self.settings.reconnect_max_ms), failed, chance)
    }
}

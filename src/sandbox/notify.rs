//! Notifications: the sandbox's own messages to the orchestrator, signed as the provider signs them.
//!
//! They leave in the background and never delay an answer. The queue is bounded: what does not fit is dropped and counted, as a provider in
//! trouble would. A delivery that is not acknowledged as the provider wants it is sent again a few times with back-off, each time to the address that is known by
//! then, so that a restarted orchestrator still hears of what happened while it was away. Each sending is signed afresh.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fault::{Draw, Magic, Mode};
use super::watching::Orchestrator;

/// About 20 MB of bodies at the most, and seconds of a flood.
const QUEUE_MAX: usize = 10_000;
/// Sent at the same time; an orchestrator that stalls must not cost us all our sockets.
const SENDING_MAX: usize = 32;
/// With the doubling back-off from 500 ms: the last try is half a minute after the first.
const TRIES_MAX: u32 = 7;
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const DEADLINE: Duration = Duration::from_secs(10);
/// An acknowledgement is a word or two.
const ACKNOWLEDGEMENT_MAX: usize = 64 * 1024;
/// How late a late notification is, at least.
const LATENESS: Duration = Duration::from_secs(5);
/// How often a duplicated notification is sent.
const COPIES: u32 = 100;

/// What is wrong with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Nothing.
    Usual,
    /// It is sent a hundred times.
    Duplicate,
    /// It is sent after 5 s, later ones first.
    Late,
    /// Its signature is not ours.
    BadSignature,
}

impl Manner {
    /// What a drawn fault, or the magic of an amount, makes of what is told about it.
    pub fn of(draw: Draw, magic: Option<Magic>) -> Self {
        match (draw.mode, magic) {
            (Some(Mode::BadSignature), _) | (_, Some(Magic::BadSignature)) => Self::BadSignature,
            (Some(Mode::DuplicateNotification), _) | (_, Some(Magic::DuplicateNotification)) => Self::Duplicate,
            (Some(Mode::LateNotification), _) => Self::Late,
            _ => Self::Usual,
        }
    }
}

/// How a provider puts a message on the wire.
pub trait Stamp: std::fmt::Debug + Send + Sync {
    /// Signs what [`Notifier::send`] was given, for one sending. A forged one carries a signature that is not the provider's.
    fn sealed(&self, message: &Bytes, forged: bool) -> Sealed;

    /// Whether this answer is the acknowledgement that the provider wants.
    fn is_acknowledged(&self, status: http::StatusCode, body: &[u8]) -> bool;
}

/// A signed message.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Lower-case names; `host` and `content-length` are added.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
}

/// What became of a channel's notifications since the start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Acknowledged.
    pub delivered: AtomicU64,
    /// Given up after the last try.
    pub given_up: AtomicU64,
    /// Not queued, because the queue was full or nobody was ever named to receive them.
    pub dropped: AtomicU64,
}

/// The way to a channel's queue.
#[derive(Debug)]
pub struct Notifier {
    queue: Option<mpsc::Sender<Delivery>>,
    counts: Arc<Counts>,
    orchestrator: Arc<Orchestrator>,
}

#[derive(Debug)]
struct Delivery {
    body: Bytes,
    /// Where it goes while no orchestrator is known.
    own: Option<Arc<str>>,
    copies: u32,
    delay: Duration,
    forged: bool,
}

impl Notifier {
    /// Starts a channel's queue; it ends when `ending` turns true. With `enabled` false nothing is ever sent.
    pub fn start(channel: &str, stamp: Arc<dyn Stamp>, orchestrator: Arc<Orchestrator>, enabled: bool, ending: watch::Receiver<bool>) -> Self {
        let counts = Arc::new(Counts::default());
        let queue = enabled.then(|| {
            let (queue, deliveries) = mpsc::channel(QUEUE_MAX);
            let postman = Postman {
                path: format!("/v1/notifications/{channel}"),
                stamp,
                orchestrator: orchestrator.clone(),
                counts: counts.clone(),
                idle: Mutex::new(Vec::new()),
            };
            tokio::spawn(carry(Arc::new(postman), deliveries, ending));
            queue
        });
        Self { queue, counts, orchestrator }
    }

    /// Queues one event. `nth` of `of` events of the same request: late ones overtake each other.
    pub fn send(&self, body: Bytes, manner: Manner, nth: usize, of: usize, straggle: Duration) {
        let Some(queue) = &self.queue else { return };
        let copies = if manner == Manner::Duplicate { COPIES } else { 1 };
        let delay = match manner {
            Manner::Late => LATENESS + straggle + Duration::from_millis(250) * u32::try_from(of - nth).unwrap_or(1),
            _ => Duration::ZERO,
        };
        self.queue(queue, Delivery { body, own: None, copies, delay, forged: manner == Manner::BadSignature });
    }

    /// Queues one message, alone of its kind. `own` is the address that the payment itself names: it is used while no orchestrator is known, which
    /// may have moved since the payment was made.
    pub fn send_to(&self, own: Option<&str>, body: Bytes, manner: Manner, straggle: Duration) {
        let Some(queue) = &self.queue else { return };
        let copies = if manner == Manner::Duplicate { COPIES } else { 1 };
        let delay = if manner == Manner::Late { LATENESS + straggle } else { Duration::ZERO };
        let own = own.map(Arc::from);
        self.queue(queue, Delivery { body, own, copies, delay, forged: manner == Manner::BadSignature });
    }

    fn queue(&self, queue: &mpsc::Sender<Delivery>, delivery: Delivery) {
        let known = delivery.own.is_some() || self.orchestrator.notify_url().is_some();
        if !known || queue.try_send(delivery).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What became of them.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

struct Due {
    at: Instant,
    number: u64,
    tries: u32,
    own: Option<Arc<str>>,
    body: Bytes,
    forged: bool,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Due {}

async fn carry(postman: Arc<Postman>, mut deliveries: mpsc::Receiver<Delivery>, mut ending: watch::Receiver<bool>) {
    let mut waiting: BinaryHeap<Reverse<Due>> = BinaryHeap::new();
    let mut sending: JoinSet<Option<Due>> = JoinSet::new();
    let mut number = 0;
    loop {
        let now = Instant::now();
        while sending.len() < SENDING_MAX && waiting.peek().is_some_and(|Reverse(due)| due.at <= now) {
            if let Some(Reverse(due)) = waiting.pop() {
                sending.spawn(postman.clone().deliver(due));
            }
        }
        let next = waiting.peek().map_or(now, |Reverse(due)| due.at);
        tokio::select! {
            // A dropped sender of the signal is an ending too.
            _ = ending.wait_for(|ending| *ending) => return,
            delivery = deliveries.recv(), if waiting.len() < QUEUE_MAX => {
                let Some(delivery) = delivery else { return };
                for _ in 0..delivery.copies {
                    number += 1;
                    let at = Instant::now() + delivery.delay;
                    waiting.push(Reverse(Due { at, number, tries: 0, own: delivery.own.clone(), body: delivery.body.clone(), forged: delivery.forged }));
                }
            }
            Some(finished) = sending.join_next(), if !sending.is_empty() => {
                if let Ok(Some(again)) = finished {
                    waiting.push(Reverse(again));
                }
            }
            () = tokio::time::sleep_until(next), if sending.len() < SENDING_MAX && !waiting.is_empty() => {}
        }
    }
}

/// Connections that may be used again, with the authority that they lead to.
type Idle = Vec<(String, SendRequest<Full<Bytes>>)>;

struct Postman {
    path: String,
    stamp: Arc<dyn Stamp>,
    orchestrator: Arc<Orchestrator>,
    counts: Arc<Counts>,
    idle: Mutex<Idle>,
}

impl Postman {
    /// Sends once; gives back what must be tried again.
    async fn deliver(self: Arc<Self>, mut due: Due) -> Option<Due> {
        if matches!(tokio::time::timeout(DEADLINE, self.send(&due)).await, Ok(Some(()))) {
            self.counts.delivered.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        due.tries += 1;
        if due.tries == TRIES_MAX {
            self.counts.given_up.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        due.at = Instant::now() + FIRST_BACKOFF * 2u32.pow(due.tries - 1);
        Some(due)
    }

    async fn send(&self, due: &Due) -> Option<()> {
        let target: http::Uri = match (self.orchestrator.notify_url(), &due.own) {
            (Some(orchestrator), _) => format!("{}{}", orchestrator.trim_end_matches('/'), self.path).parse().ok()?,
            (None, Some(own)) => own.parse().ok()?,
            (None, None) => return None,
        };
        let authority = target.authority()?.as_str().to_owned();
        let Sealed { headers, body } = self.stamp.sealed(&due.body, due.forged);
        let mut request = http::Request::post(target.path_and_query()?.as_str()).header("host", &authority);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).ok()?;
        let mut connection = match self.take_idle(&authority) {
            Some(connection) => connection,
            None => connect(&authority).await?,
        };
        let answer = connection.send_request(request).await.ok()?;
        let status = answer.status();
        let Ok(body) = Limited::new(answer.into_body(), ACKNOWLEDGEMENT_MAX).collect().await else { return None };
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((authority, connection));
        self.stamp.is_acknowledged(status, &body.to_bytes()).then_some(())
    }

    fn take_idle(&self, authority: &str) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(of, connection)| of == authority && !connection.is_closed());
        let at = idle.iter().rposition(|(_, connection)| connection.is_ready())?;
        Some(idle.swap_remove(at).1)
    }
}

async fn connect(authority: &str) -> Option<SendRequest<Full<Bytes>>> {
    let address = if authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    // It ends with its sender; what went wrong shows in the answer.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Some(sender)
}

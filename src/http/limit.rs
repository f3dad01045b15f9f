//! How much one merchant, one channel's notifications, or one address may ask of this process. Token buckets: so many at once, refilled at so
//! many a second; `governor` keeps them, with our clock.
//!
//! A limit is for everybody else's sake. It is looked at before anything is read or written, and needs nothing but the key's owner, which is
//! remembered; a merchant who floods us is answered 429 at the price of a look into a map. The counts are this process's own: several processes
//! together allow as many times as much.
//!
//! Failures are counted another way round. Whoever shows a key that is not known, or a notification with a wrong signature, pays for it
//! afterwards; an address that has failed too often is not heard until it may fail again ([`Failures`]). So a flood of forgeries costs little,
//! and uses up nothing of what the channel's true notifications may take. A key that this process has met is heard from any address: who
//! shares an address with a guesser goes on working.
//!
//! Every map is bounded. When one is full, what no longer matters is forgotten; when it still is full, all who are new share one bucket.
//!
//! Answers tell where the caller stands (draft-ietf-httpapi-ratelimit-headers): `RateLimit-Policy: "writes";q=2000;w=2` is a bucket of 2000 that
//! is whole again after 2 s, `RateLimit: "writes";r=1990;t=1` what is left in it, and in how many seconds it is whole.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::Clock as Watch;
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use uuid::Uuid;

use super::problem::{Problem, ProblemCode};
use crate::clock::{Clock, Moment};

/// Buckets in one map, at most. A bucket takes about a hundred bytes.
const BUCKETS: usize = 50_000;
/// How often a full map is gone through, at most.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How much may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once, at most. 0 counts as 1.
    pub burst: u32,
    /// How long one of them takes to come back. 0 counts as a nanosecond.
    pub every: Duration,
}

/// All the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Of one merchant's reads. A merchant is of one mode, so its limits are, too.
    pub reads: Rate,
    /// Of one merchant's other requests.
    pub writes: Rate,
    /// Of one channel's notifications.
    pub notifications: Rate,
    /// Of one address's failures of one kind.
    pub failures: Rate,
}

impl Rate {
    /// `amount` in `window`, and `burst` at once.
    pub fn new(amount: u32, window: Duration, burst: u32) -> Self {
        Self { burst, every: window / amount.max(1) }
    }
}

impl Default for Rates {
    /// As the settings' defaults.
    fn default() -> Self {
        const SECOND: Duration = Duration::from_secs(1);
        Self {
            reads: Rate::new(2_000, SECOND, 4_000),
            writes: Rate::new(1_000, SECOND, 2_000),
            notifications: Rate::new(1_000, SECOND, 2_000),
            failures: Rate::new(60, Duration::from_secs(60), 100),
        }
    }
}

/// What stands between all who ask and the work that they ask for.
pub struct Limits {
    reads: Buckets<Uuid>,
    writes: Buckets<Uuid>,
    notifications: Buckets<String>,
    keys: Failures<IpAddr>,
    signatures: Failures<(String, IpAddr)>,
}

/// Where a merchant stands with one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    name: &'static str,
    burst: u32,
    left: u32,
    /// How long an empty bucket takes to be whole.
    window: Duration,
    /// How long this one does.
    whole_in: Duration,
    /// How long until there is one more; zero while there is.
    next_in: Duration,
}

impl Limits {
    /// Full buckets, by this clock.
    pub fn new(rates: Rates, clock: &Clock) -> Self {
        Self {
            reads: Buckets::new("reads", rates.reads, clock),
            writes: Buckets::new("writes", rates.writes, clock),
            notifications: Buckets::new("notifications", rates.notifications, clock),
            keys: Failures::new("keys", rates.failures, clock),
            signatures: Failures::new("signatures", rates.failures, clock),
        }
    }

    /// Counts a merchant's request. Where it stands now, in any case.
    ///
    /// # Errors
    /// 429: nothing was done.
    pub fn merchant(&self, merchant: Uuid, reads: bool) -> (Standing, Result<(), Problem>) {
        let buckets = if reads { &self.reads } else { &self.writes };
        let (standing, allowed) = buckets.take(merchant);
        let verdict = if allowed {
            Ok(())
        } else {
            let detail = format!("This merchant may send {} {} at once, and has. Nothing was done.", standing.burst, standing.name);
            Err(buckets.refusal(detail, standing.next_in))
        };
        (standing, verdict)
    }

    /// Counts a notification for a channel, before anything of it is looked at.
    ///
    /// # Errors
    /// 429: nothing was done.
    pub fn notification(&self, channel: &str, from: IpAddr) -> Result<(), Problem> {
        let forger = (channel.to_owned(), from);
        self.signatures.hear(&forger, "Too many notifications with a wrong signature came from this address.")?;
        match self.notifications.take(channel.to_owned()) {
            (_, true) => Ok(()),
            (standing, false) => Err(self.notifications.refusal("Too many notifications came for this channel.".to_owned(), standing.next_in)),
        }
    }

    /// A notification's signature was wrong.
    pub fn forged(&self, channel: &str, from: IpAddr) {
        self.signatures.note((channel.to_owned(), from));
    }

    /// Whether a credential that is not remembered may be looked up for this address.
    ///
    /// # Errors
    /// 429: it was not.
    pub fn stranger(&self, from: IpAddr) -> Result<(), Problem> {
        self.keys.hear(&from, "Too many keys that are not known came from this address.")
    }

    /// A credential of this address was not known.
    pub fn unknown_key(&self, from: IpAddr) {
        self.keys.note(from);
    }
}

impl Standing {
    /// Writes it into an answer's headers.
    pub fn write(&self, headers: &mut HeaderMap) {
        let Self { name, burst, left, .. } = self;
        let policy = format!("\"{name}\";q={burst};w={}", seconds(self.window).max(1));
        let standing = format!("\"{name}\";r={left};t={}", seconds(self.whole_in));
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", standing)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// Whole seconds, rounded up.
fn seconds(span: Duration) -> u64 {
    span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0))
}

/// Our clock, as governor reads one: only differences mean anything.
#[derive(Clone, Debug)]
struct Ticks(Clock);

impl Watch for Ticks {
    type Instant = Duration;
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.boot().as_nanos())
    }
}

/// `None` is the bucket of all for whom there is no room.
type Limiter<K> = RateLimiter<Option<K>, HashMapStateStore<Option<K>>, Ticks, StateInformationMiddleware>;

/// One bucket for each key.
struct Buckets<K: Clone + Eq + Hash> {
    name: &'static str,
    rate: Rate,
    limiter: Limiter<K>,
    clock: Clock,
    swept: Mutex<Moment>,
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    fn new(name: &'static str, rate: Rate, clock: &Clock) -> Self {
        let rate = Rate { burst: rate.burst.max(1), every: rate.every.max(Duration::from_nanos(1)) };
        let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
        // Only a period of zero has no quota.
        let quota = Quota::with_period(rate.every).unwrap_or(Quota::per_second(burst)).allow_burst(burst);
        let limiter = RateLimiter::hashmap_with_clock(quota, Ticks(clock.clone())).with_middleware::<StateInformationMiddleware>();
        Self { name, rate, limiter, clock: clock.clone(), swept: Mutex::default() }
    }

    /// Takes one of `key`'s, if there is one, and tells where that leaves it.
    fn take(&self, key: K) -> (Standing, bool) {
        let key = self.has_room().then_some(key);
        match self.limiter.check_key(&key) {
            Ok(snapshot) => (self.standing(snapshot.remaining_burst_capacity(), Duration::ZERO), true),
            Err(not_yet) => (self.standing(0, not_yet.wait_time_from(Ticks(self.clock.clone()).now())), false),
        }
    }

    fn standing(&self, left: u32, next_in: Duration) -> Standing {
        let Rate { burst, every } = self.rate;
        let whole_in = if left == 0 { next_in + every * (burst - 1) } else { every * burst.saturating_sub(left) };
        Standing { name: self.name, burst, left, window: every * burst, whole_in, next_in }
    }

    /// Whether there is room for a key that may be new; a full map is first rid of buckets that are whole again.
    fn has_room(&self) -> bool {
        if self.limiter.len() < BUCKETS {
            return true;
        }
        let now = self.clock.boot();
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(*swept) >= SWEEP_EVERY {
            *swept = now;
            self.limiter.retain_recent();
        }
        self.limiter.len() < BUCKETS
    }

    fn refusal(&self, detail: String, wait: Duration) -> Problem {
        refusal(self.name, detail, wait)
    }
}

/// Failures, and who has failed too often.
struct Failures<K: Clone + Eq + Hash> {
    buckets: Buckets<K>,
    shut: Mutex<HashMap<K, Moment>>,
    clock: Clock,
}

impl<K: Clone + Eq + Hash> Failures<K> {
    fn new(name: &'static str, rate: Rate, clock: &Clock) -> Self {
        Self { buckets: Buckets::new(name, rate, clock), shut: Mutex::default(), clock: clock.clone() }
    }

    /// Whether `key` is heard.
    fn hear(&self, key: &K, why: &'static str) -> Result<(), Problem> {
        let now = self.clock.boot();
        let shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        match shut.get(key).filter(|until| **until > now) {
            None => Ok(()),
            Some(until) => Err(refusal(self.buckets.name, why.to_owned(), until.since(now))),
        }
    }

    /// `key` has failed. With its last failure used up it is shut until it has another.
    fn note(&self, key: K) {
        let (standing, _) = self.buckets.take(key.clone());
        if standing.left > 0 {
            return;
        }
        let now = self.clock.boot();
        let mut shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        if shut.len() >= BUCKETS {
            shut.retain(|_, until| *until > now);
        }
        if shut.len() < BUCKETS || shut.contains_key(&key) {
            shut.insert(key, now + standing.next_in.max(self.buckets.rate.every));
        }
    }
}

fn refusal(limit: &'static str, detail: String, wait: Duration) -> Problem {
    metrics::counter!("breakwater_rate_limited_total", "limit" => limit).increment(1);
    Problem::new(ProblemCode::RateLimited, detail).retry_after(wait)
}

impl std::fmt::Debug for Limits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limits").field("reads", &self.reads.rate).field("writes", &self.writes.rate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits(burst: u32) -> (Limits, Clock) {
        let clock = Clock::system();
        let rate = Rate::new(1, Duration::from_secs(10), burst);
        (Limits::new(Rates { reads: rate, writes: rate, notifications: rate, failures: rate }, &clock), clock)
    }

    fn merchant(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn address(n: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, n])
    }

    #[test]
    fn a_merchant_may_send_its_burst_and_then_as_much_as_comes_back() {
        let (limits, clock) = limits(2);
        assert!(limits.merchant(merchant(1), true).1.is_ok());
        assert!(limits.merchant(merchant(1), true).1.is_ok());
        let problem = limits.merchant(merchant(1), true).1.expect_err("the burst is used up");
        assert_eq!(problem.code(), ProblemCode::RateLimited);
        clock.advance(Duration::from_secs(10));
        assert!(limits.merchant(merchant(1), true).1.is_ok(), "one has come back");
        assert!(limits.merchant(merchant(1), true).1.is_err(), "and only one");
    }

    #[test]
    fn merchants_and_their_reads_and_writes_have_buckets_of_their_own() {
        let (limits, _) = limits(1);
        assert!(limits.merchant(merchant(1), true).1.is_ok());
        assert!(limits.merchant(merchant(1), true).1.is_err());
        assert!(limits.merchant(merchant(1), false).1.is_ok(), "a write is no read");
        assert!(limits.merchant(merchant(2), true).1.is_ok(), "and the neighbour is not touched");
    }

    #[test]
    fn the_headers_tell_what_is_left_and_when_it_is_whole() {
        let (limits, _) = limits(3);
        let told = || {
            let mut headers = HeaderMap::new();
            limits.merchant(merchant(1), false).0.write(&mut headers);
            let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
            (of("ratelimit-policy"), of("ratelimit"))
        };
        assert_eq!(told(), ("\"writes\";q=3;w=30".to_owned(), "\"writes\";r=2;t=10".to_owned()));
        told();
        told();
        let (_, refused) = told();
        assert!(refused.starts_with("\"writes\";r=0;t="), "{refused}");
    }

    #[test]
    fn an_address_that_has_failed_too_often_is_not_heard_until_it_may_fail_again() {
        let (limits, clock) = limits(2);
        for _ in 0..2 {
            assert!(limits.stranger(address(1)).is_ok());
            limits.unknown_key(address(1));
        }
        assert_eq!(limits.stranger(address(1)).expect_err("shut").code(), ProblemCode::RateLimited);
        assert!(limits.stranger(address(2)).is_ok(), "others are heard");
        clock.advance(Duration::from_secs(11));
        assert!(limits.stranger(address(1)).is_ok(), "it may try once more");
        limits.unknown_key(address(1));
        assert!(limits.stranger(address(1)).is_err(), "and not twice");
    }

    #[test]
    fn forged_notifications_use_up_nothing_of_what_the_channel_may_take() {
        let (limits, _) = limits(3);
        for _ in 0..3 {
            assert!(limits.signatures.hear(&("a".to_owned(), address(1)), "").is_ok());
            limits.forged("a", address(1));
        }
        for _ in 0..100 {
            assert!(limits.notification("a", address(1)).is_err());
        }
        assert!(limits.notification("a", address(2)).is_ok(), "the provider is heard");
        assert!(limits.notification("b", address(1)).is_ok(), "an address that fails at one channel is heard by another");
    }

    #[test]
    fn a_channel_takes_its_burst_of_notifications_whoever_sends_them() {
        let (limits, _) = limits(2);
        assert!(limits.notification("a", address(1)).is_ok());
        assert!(limits.notification("a", address(2)).is_ok());
        assert!(limits.notification("a", address(3)).is_err());
        assert!(limits.notification("b", address(3)).is_ok());
    }

    #[test]
    fn the_memory_of_addresses_is_bounded_and_those_without_room_share_a_bucket() {
        let clock = Clock::system();
        let buckets = Buckets::<u32>::new("test", Rate::new(1, SECOND, 2), &clock);
        for key in 0..u32::try_from(BUCKETS).expect("few") {
            buckets.take(key);
        }
        assert!(buckets.take(1_000_000).1 && buckets.take(1_000_001).1);
        assert!(!buckets.take(1_000_002).1, "there is no room, and the shared bucket is empty");
        assert!(buckets.limiter.len() <= BUCKETS + 1);
        clock.advance(Duration::from_secs(10));
        assert!(buckets.take(1_000_002).1, "what is whole again was forgotten");
        assert!(buckets.limiter.len() < 10);
    }
}

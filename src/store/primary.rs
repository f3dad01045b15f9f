//! Which of several hosts is the primary now, and what becomes of connections to one that is it no longer.
//!
//! A primary may end in two ways. One that was killed closes its connections, and whoever used them knows at once. One that is cut off closes
//! nothing: its connections hang, and where something between us and it goes on acknowledging what we send (a proxy, a balancer, a kernel whose
//! PostgreSQL is stopped) no keepalive and no timeout of TCP ever ends them. So a lookout of our own stands by each host, on one connection, and asks
//! it every [`CALM`] whether it takes writes. As soon as a standby has become the primary,
//! - every connection to the old one is **given up**: we close our end. What was asked on it is in doubt, and is settled on the new primary as after any
//!   lost connection (`journal/mod.rs`);
//! - new connections go to the new one, and one that is being opened to the old one is not waited for.
//!
//! Giving up is no cancelling. No request to cancel is ever sent: a server that is told to cancel a COMMIT that waits for its standby makes it visible
//! without the standby, and what was then read of it would be lost with that server. One that lives waits on, and what it waits for never becomes
//! true at a standby that has been promoted.
//!
//! A failover is over soon or not at all: who wants a new connection that the primary does not give waits while it has been silent for no more than
//! [`RIDES_OUT`], and is told at once later on. What a server that is well refuses (too many connections, a role that may not) is told at once.
//!
//! While nobody else takes writes nothing is given up, however long a host says nothing: there is nowhere to go, a slow commit is not a lost one,
//! and a server that was only slow goes on where it was.
//!
//! Of two that both say that they take writes it is the one with the later **timeline**: PostgreSQL counts it up at each promotion. So a primary that
//! was cut off from its standby only is left, and one that comes back after it was replaced is never gone back to by a process that has seen its
//! successor: not even while that is away, because what the successor acknowledged is not there. A process that starts has seen nothing, and so
//! chooses none before each host has said something, or has said nothing for long enough ([`first_of`] too). Only a successor that is silent at just
//! that moment, while the old primary takes writes, can still be missed: whoever promotes must shut the old one off.
//!
//! The lookouts' own question and [`super::Store::alive`] are the only ones in the crate that are dropped when they take too long ([`ANSWER_WITHIN`]),
//! their connection with them: they change nothing. A lookout that panics begins again, with a connection of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Client, Config, Error, NoTls};

use super::StoreError;
use super::pool::{CONNECT_TIMEOUT, only_host};
use crate::lasting;

/// The timeline that a primary writes; nothing of a standby. A log file's name begins with it, as eight hexadecimal digits.
pub(super) const TIMELINE: &str =
    "SELECT CASE WHEN NOT pg_is_in_recovery() THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int8 END";

/// Between two questions to a host while there is a primary: so much later than its promotion a new one is found, at most.
const CALM: Duration = Duration::from_millis(200);
/// The same while the primary says nothing: its successor may be there any moment.
const ANXIOUS: Duration = Duration::from_millis(50);
/// A host that takes longer for its answer, connecting included, counts as silent.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How long whoever wants a connection waits until a primary is known, before the hosts are tried one after the other to learn what they say.
const FOUND_WITHIN: Duration = Duration::from_secs(2);
/// For so long after the primary's last word a connection that it refuses is tried again. Less than clients of ours wait, and no more than a few
/// seconds' requests gather behind it.
const RIDES_OUT: Duration = Duration::from_secs(3);

/// What a host said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// It was not asked yet.
    NotYet,
    /// Nothing in time.
    Nothing,
    /// That it follows another.
    Standby,
    /// That it takes writes, on this timeline.
    Primary(i64),
}

/// What all hosts said last, and what follows.
#[derive(Clone, Debug)]
struct View {
    hosts: Vec<Says>,
    /// The primary's place in the address; nothing until one was found.
    place: Option<usize>,
    /// The latest timeline that was seen.
    timeline: i64,
    /// When the primary last said that it is one.
    heard: Option<Instant>,
}

impl View {
    /// Takes note of what a host says now. Answers whether the primary is another.
    fn hear(&mut self, host: usize, says: Says) -> bool {
        self.hosts[host] = says;
        let timeline = |place: usize| match self.hosts[place] {
            Says::Primary(timeline) if timeline >= self.timeline => Some(timeline),
            _ => None,
        };
        // The last of equal ones is taken, so the first in the address.
        let writers = (0..self.hosts.len()).rev().filter_map(|place| Some((timeline(place)?, place)));
        let Some((latest, best)) = writers.max_by_key(|(timeline, _)| *timeline) else { return false };
        if self.place.is_none() && self.hosts.contains(&Says::NotYet) {
            return false;
        }
        self.timeline = latest;
        if self.place == Some(host) && says == Says::Primary(latest) {
            self.heard = Some(Instant::now());
        }
        if self.place == Some(best) || self.place.is_some_and(|place| self.hosts[place] == Says::Primary(latest)) {
            return false;
        }
        self.place = Some(best);
        self.heard = Some(Instant::now());
        true
    }

    fn has_just_ended(&self) -> bool {
        self.heard.is_some_and(|heard| heard.elapsed() < RIDES_OUT)
    }

    /// Whether the primary answers.
    fn is_calm(&self) -> bool {
        self.place.is_some_and(|place| matches!(self.hosts[place], Says::Primary(_)))
    }
}

/// Knows the primary among several hosts. Its lookouts end with it.
#[derive(Debug)]
pub struct Primary {
    view: watch::Receiver<View>,
    lookouts: Vec<JoinHandle<()>>,
}

impl Primary {
    /// Sends a lookout to each host of `config`, on `runtime`; `None` when there is only one: then there is nothing to choose.
    pub(super) fn watch(config: &Config, runtime: &Handle) -> Option<Arc<Self>> {
        let count = config.get_hosts().len();
        if count < 2 {
            return None;
        }
        let (view, seen) = watch::channel(View { hosts: vec![Says::NotYet; count], place: None, timeline: 0, heard: None });
        let view = Arc::new(view);
        let lookout = |place| {
            let mut host = only_host(config, place);
            host.application_name("breakwater lookout");
            let view = Arc::clone(&view);
            // One that was lost for good would leave the primary of before in its place, whatever became of it.
            runtime.spawn(lasting::keep("primary_lookout", move || look(host.clone(), place, Arc::clone(&view))))
        };
        Some(Arc::new(Self { lookouts: (0..count).map(lookout).collect(), view: seen }))
    }

    /// A connection to the primary, with the task that drives it and ends when it is lost or given up.
    ///
    /// # Errors
    /// What the primary said, when it is well or has been away for longer than a failover takes, or the last of the hosts while there is none. Waits for
    /// a host that says nothing for as long as the caller does.
    pub(super) async fn connect(&self, config: &Config) -> Result<(Client, JoinHandle<()>), Error> {
        let mut view = self.view.clone();
        loop {
            let found = tokio::time::timeout(FOUND_WITHIN, view.wait_for(|view| view.place.is_some())).await;
            let Some(place) = found.ok().and_then(Result::ok).and_then(|view| view.place) else {
                let (client, connection) = config.connect(NoTls).await?;
                return Ok((client, tokio::spawn(drive(connection, view, None))));
            };
            let mut host = only_host(config, place);
            // It may follow another since it was last asked.
            host.target_session_attrs(TargetSessionAttrs::ReadWrite);
            tokio::select! {
                opened = host.connect(NoTls) => {
                    match opened {
                        Ok((client, connection)) => return Ok((client, tokio::spawn(drive(connection, view, Some(place))))),
                        Err(error) if is_going(&error) && view.borrow().has_just_ended() => tokio::time::sleep(ANXIOUS).await,
                        Err(error) => return Err(error),
                    }
                }
                // Nothing was asked on it yet.
                () = elsewhere(&mut view, Some(place)) => {}
            }
        }
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        for lookout in &self.lookouts {
            lookout.abort();
        }
    }
}

/// Whether the server did not say anything, or that it ends or begins; and not that it will not have us.
fn is_going(error: &Error) -> bool {
    error.as_db_error().is_none_or(|refusal| refusal.code().code().starts_with("57P"))
}

/// Until the primary is in another place than that; never, when nobody looks any more. Of a connection whose place nobody knows it is any.
async fn elsewhere(view: &mut watch::Receiver<View>, place: Option<usize>) {
    if view.wait_for(|view| view.place.is_some() && view.place != place).await.is_err() {
        std::future::pending().await
    }
}

/// Drives a connection to its end, or until the primary is elsewhere.
async fn drive<S, T>(connection: tokio_postgres::Connection<S, T>, mut view: watch::Receiver<View>, place: Option<usize>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::warn!(error = %error, "a database connection was lost");
            }
        }
        // Each of many: the lookout has said it once, louder.
        () = elsewhere(&mut view, place) => tracing::debug!("a database connection was given up: the primary is another host now"),
    }
}

/// The place of the host that takes writes, of several the first of those on the latest timeline; and what the others are or why they said nothing.
/// Asks them all at once.
pub(super) async fn first_of(hosts: &[Config]) -> (Option<usize>, Vec<Result<Option<i64>, StoreError>>) {
    let asked = hosts.iter().map(|host| async {
        let answer = tokio::time::timeout(CONNECT_TIMEOUT, ask(&mut None, host)).await;
        // One that accepts and says nothing must not keep us from the next. Nothing is changed by the question.
        let late = || StoreError::Away(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()));
        answer.map_or_else(|_| Err(late()), |answer| answer.map_err(StoreError::from))
    });
    let said = futures_util::future::join_all(asked).await;
    let timelines = said.iter().enumerate().rev().filter_map(|(place, said)| Some(((*said.as_ref().ok()?)?, place)));
    (timelines.max_by_key(|(timeline, _)| *timeline).map(|(_, place)| place), said)
}

/// Asks one host for ever.
async fn look(host: Config, place: usize, view: Arc<watch::Sender<View>>) {
    let mut line = None;
    loop {
        let says = match tokio::time::timeout(ANSWER_WITHIN, ask(&mut line, &host)).await {
            Ok(Ok(Some(timeline))) => Says::Primary(timeline),
            Ok(Ok(None)) => Says::Standby,
            Ok(Err(_)) | Err(_) => {
                line = None;
                Says::Nothing
            }
        };
        view.send_if_modified(|view| {
            let before = view.place;
            let moved = view.hear(place, says);
            if moved && before.is_some() {
                tracing::warn!(host = place + 1, "another host of the database takes writes: it is the primary from now on");
            }
            moved
        });
        let calm = view.borrow().is_calm();
        tokio::time::sleep(if calm { CALM } else { ANXIOUS }).await;
    }
}

/// A lookout's connection, which ends with this value, whatever is still under way on it.
struct Line {
    client: Client,
    driver: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn ask(line: &mut Option<Line>, host: &Config) -> Result<Option<i64>, Error> {
    let line = match line {
        Some(line) => line,
        None => {
            let (client, connection) = host.connect(NoTls).await?;
            let driver = tokio::spawn(async move {
                // Whoever asks is told why.
                let _lost = connection.await;
            });
            line.insert(Line { client, driver })
        }
    };
    line.client.query_one(TIMELINE, &[]).await?.try_get(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(count: usize) -> View {
        View { hosts: vec![Says::NotYet; count], place: None, timeline: 0, heard: None }
    }

    #[test]
    fn a_primary_that_says_nothing_is_left_only_for_one_that_takes_writes() {
        let mut view = view(2);
        assert!(!view.hear(1, Says::Standby) && view.place.is_none());
        assert!(!view.has_just_ended(), "there was none");
        assert!(view.hear(0, Says::Primary(1)) && view.place == Some(0) && view.is_calm());
        assert!(!view.hear(0, Says::Nothing), "nowhere to go");
        assert!(view.place == Some(0) && !view.is_calm());
        assert!(view.hear(1, Says::Primary(2)) && view.place == Some(1));
    }

    #[test]
    fn of_two_that_take_writes_it_is_the_one_with_the_later_timeline_and_the_old_one_is_never_gone_back_to() {
        let mut view = view(3);
        assert!(!view.hear(0, Says::Primary(3)) && !view.hear(1, Says::Nothing), "the third may be a later one");
        assert!(view.hear(2, Says::Standby) && view.place == Some(0));
        assert!(view.hear(2, Says::Primary(4)), "the old one still thinks that it is the primary");
        assert!(!view.hear(0, Says::Primary(3)) && view.place == Some(2));
        assert!(!view.hear(1, Says::Primary(4)), "of equals it stays where it is");
        assert!(!view.hear(1, Says::Standby) && !view.hear(2, Says::Nothing) && view.place == Some(2), "the older one is no way out");
        assert!(view.hear(1, Says::Primary(5)) && view.place == Some(1));
    }

    #[test]
    fn a_lookout_that_panics_looks_out_again() {
        // Whoever opens a connection on a runtime without IO panics.
        let lame = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let config: Config = "postgres://nobody@127.0.0.1:1,127.0.0.1:2/none".parse().unwrap();
        let primary = Primary::watch(&config, lame.handle()).unwrap();
        // The second of them comes at once, the third after a pause: by then each has panicked twice.
        lame.block_on(async { tokio::time::sleep(Duration::from_millis(50)).await });
        assert_eq!(primary.lookouts.len(), 2);
        assert!(primary.lookouts.iter().all(|lookout| !lookout.is_finished()), "it is gone for good");
    }
}

//! Asks the database once a second whether it lives and takes writes, in a loop of its own.
//!
//! A database that is away says so: it refuses a connection, or ends one. One that hangs says nothing, and where something between us and it goes on
//! acknowledging what we send (a proxy, a balancer, a kernel whose PostgreSQL is stopped), nothing ever ends the question. So nobody waits for the
//! answer but this loop: guards are read out and the journal is listened to without it, and the watchdog looks at what was said last ([`Asked`]). That
//! nothing was said for [`ANSWERS_WITHIN`] is itself a reason not to be ready. It names the database, whoever else complains of what follows from it.
//!
//! It refuses to tell a wait for a free connection from one for the server: who decides about traffic need not know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::watchdog::{Listener, Post, looks};
use crate::clock::{Clock, Moment, Pulse};
use crate::lasting;
use crate::store::Store;

/// The pause between an answer and the next question.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// An answer that has not come by then is overdue. A checkpoint on a slow disk may take seconds, and is no reason to move all traffic.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// An answer that has not come by then never will: the server ends such a statement after ten seconds, and says so.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(15);

/// What the database said last, and when.
#[derive(Clone, Debug)]
struct Said {
    answers: Pulse,
    complaint: Arc<Mutex<Option<String>>>,
}

impl Said {
    fn nothing_yet(now: Moment) -> Self {
        Self { answers: Pulse::new(now), complaint: Arc::default() }
    }

    /// It has answered: why it cannot be used, or that it can.
    fn tell(&self, complaint: Option<String>, now: Moment) {
        *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = complaint;
        self.answers.beat(now);
    }

    fn last(&self) -> Option<String> {
        // What it guards is replaced whole.
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether the database answers, for the watchdog.
struct Asked {
    said: Said,
    listener: Listener,
}

impl Asked {
    fn new(said: Said) -> Self {
        Self { listener: Listener::new(said.answers.clone()), said }
    }
}

impl Post for Asked {
    fn name(&self) -> &'static str {
        "database"
    }

    fn look(&mut self) -> Option<String> {
        let silent = self.listener.listen();
        if silent >= looks(ANSWERS_WITHIN) {
            return Some(format!("it has not answered for {silent} s"));
        }
        self.said.last()
    }
}

/// Begins to ask, on this thread's system, and answers what looks at the answers.
pub(super) fn asked(store: Store, clock: Clock) -> Box<dyn Post> {
    let said = Said::nothing_yet(clock.boot());
    let post = Asked::new(said.clone());
    actix::spawn(lasting::keep("database_asker", async move || ask(&store, &clock, &said).await));
    Box::new(post)
}

async fn ask(store: &Store, clock: &Clock, said: &Said) {
    loop {
        let complaint = match store.alive(GIVEN_UP_AFTER).await {
            Ok(true) => None,
            Ok(false) => Some("it is a standby and takes no writes".to_owned()),
            Err(error) => Some(error.to_string()),
        };
        said.tell(complaint, clock.boot());
        tokio::time::sleep(ASK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_overdue_is_a_complaint_until_the_next_one() {
        let said = Said::nothing_yet(Moment::default());
        let mut asked = Asked::new(said.clone());
        for second in 1..=4 {
            assert_eq!(asked.look(), None, "{second}");
        }
        for second in 5..=7 {
            assert_eq!(asked.look(), Some(format!("it has not answered for {second} s")));
        }
        said.tell(None, Moment::from_nanos(1));
        assert_eq!(asked.look(), None);
    }

    #[test]
    fn a_complaint_of_the_last_answer_stands_until_another_is_given_or_it_is_overdue() {
        let said = Said::nothing_yet(Moment::default());
        let mut asked = Asked::new(said.clone());
        said.tell(Some("it is away".to_owned()), Moment::from_nanos(1));
        for second in 0..=4 {
            assert_eq!(asked.look(), Some("it is away".to_owned()), "{second}");
        }
        assert_eq!(asked.look(), Some("it has not answered for 5 s".to_owned()), "what was said before is old");
        said.tell(Some("it is a standby".to_owned()), Moment::from_nanos(2));
        assert_eq!(asked.look(), Some("it is a standby".to_owned()));
    }
}

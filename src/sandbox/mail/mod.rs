//! The mail catcher: where the demo's alerts go, because nobody's real mailbox is any business of a demo.
//!
//! It takes every mail for everybody over SMTP ([`smtp`]), and every text message over the HTTP interface of Twilio's (`control.rs` has the
//! route), keeps the newest of each in memory, and shows them at `/_control/_mails` and `/_control/_texts`. It relays nothing, knows no user and
//! no TLS: it listens where the control routes do, on loopback unless told otherwise.
//!
//! Invariants:
//! - at most [`KEPT`] mails and as many texts are remembered; `number` goes on, so that a reader sees when some are gone;
//! - whoever connects can neither fill the memory nor keep a place for ever: lines, mails, connections and silence are bounded.

mod letter;
mod smtp;

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

use super::book;

/// Mails, and text messages, that are remembered.
pub const KEPT: usize = 100;

/// A mail that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mail {
    /// Counts from 1, over all mails of this process.
    pub number: u64,
    /// When it was taken.
    pub at: Timestamp,
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// The header's subject, decoded.
    pub subject: String,
    /// The header's `Message-ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The header's `In-Reply-To`: the mail whose thread it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
    /// The text, decoded.
    pub text: String,
}

/// A text message that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Text {
    /// Counts from 1, over all texts of this process.
    pub number: u64,
    /// When it was taken.
    pub at: Timestamp,
    /// Whose number it comes from.
    pub from: String,
    /// Whose number it goes to.
    pub to: String,
    /// What it says.
    pub text: String,
}

/// All that was caught.
#[derive(Debug, Default)]
pub struct PostOffice {
    mails: Mutex<Shelf<Mail>>,
    texts: Mutex<Shelf<Text>>,
}

/// The newest things, and how many there have been.
#[derive(Debug)]
struct Shelf<T> {
    newest: VecDeque<T>,
    count: u64,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { newest: VecDeque::new(), count: 0 }
    }
}

impl<T> Shelf<T> {
    fn put(&mut self, thing: impl FnOnce(u64) -> T) -> u64 {
        self.count += 1;
        if self.newest.len() == KEPT {
            self.newest.pop_front();
        }
        self.newest.push_back(thing(self.count));
        self.count
    }
}

fn whole<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PostOffice {
    /// Takes mail on `listener` until `ended` turns true.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn listen(self: &Arc<Self>, listener: TcpListener, ended: watch::Receiver<bool>) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::spawn(smtp::serve(listener, Arc::clone(self), ended));
        Ok(())
    }

    /// Keeps a mail: its envelope, and its content as it came, dots undone.
    pub(super) fn take_mail(&self, from: String, to: Vec<String>, content: &[u8]) -> u64 {
        let letter = letter::read(content);
        whole(&self.mails).put(|number| Mail {
            number,
            at: book::now(),
            from,
            to,
            subject: letter.subject,
            message_id: letter.message_id,
            in_reply_to: letter.in_reply_to,
            text: letter.text,
        })
    }

    /// Keeps a text message.
    pub(super) fn take_text(&self, from: String, to: String, text: String) -> u64 {
        whole(&self.texts).put(|number| Text { number, at: book::now(), from, to, text })
    }

    /// The newest mails, the newest last.
    pub fn mails(&self) -> Vec<Mail> {
        whole(&self.mails).newest.iter().cloned().collect()
    }

    /// The newest text messages, the newest last.
    pub fn texts(&self) -> Vec<Text> {
        whole(&self.texts).newest.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_are_kept_and_their_numbers_go_on() {
        let office = PostOffice::default();
        for nth in 0..KEPT + 3 {
            office.take_text("+1".to_owned(), "+2".to_owned(), nth.to_string());
        }
        let texts = office.texts();
        assert_eq!((texts.len(), texts[0].number, texts[KEPT - 1].text.as_str()), (KEPT, 4, "102"));
    }
}

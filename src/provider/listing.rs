//! Asking once about many. Some protocols list what an account has, a page at a time: after an outage that puts many attempts in doubt, a few pages
//! tell what would take a question each, at a channel that has just come back and bounds how much it is asked.
//!
//! A list is worth what a query's answer is worth, for what is on it. What is *not* on it says nothing: the page may be an old one, the account
//! busy, the attempt outside of its span. So a list never states that the channel does not have something; that is asked one by one.

use jiff::Timestamp;

use super::{Credentials, HttpRequest, HttpResponse, Reply};
use crate::domain::CallClass;

/// Which part of the list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageWanted {
    /// What the channel made at this time or later.
    pub since: Timestamp,
    /// What it made at this time or earlier.
    pub until: Timestamp,
    /// What follows this: [`Page::next`] of the page before. None for the first page.
    pub after: Option<String>,
}

/// One pay attempt on the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The attempt's key, as the channel keeps it.
    pub key: String,
    /// The channel's name for the attempt.
    pub reference: String,
    /// What a query would have answered.
    pub reply: Reply,
}

/// A page, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Those on it that carry a key of ours and that are understood. What is not, is left out, and asked after by itself.
    pub found: Vec<Listed>,
    /// Where the next page begins; none after the last.
    pub next: Option<String>,
}

/// A protocol that lists pay attempts.
pub trait ListProtocol: Send + Sync {
    /// The request for one page. It changes nothing at the channel.
    fn page_request(&self, wanted: &PageWanted, credentials: &Credentials) -> HttpRequest;

    /// What the answer lists.
    ///
    /// # Errors
    /// What the exchange says of the channel's health, when it is not a page.
    fn page(&self, response: &HttpResponse) -> Result<Page, CallClass>;
}

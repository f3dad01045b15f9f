//! Many attempts of one channel are due at once: where its protocol lists what it has, a few pages are read before anybody is asked one by one.
//! What is on them is settled like a query's answer, each attempt by the same look that would have asked. What is not on them is asked after as
//! always: that something is not on a list proves nothing.
//!
//! A list costs permits of the channel's class *resolve*, one a page, and ends as soon as it tells nothing of what is looked for.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::flows::{Channel, Flows};
use crate::domain::{CallClass, Operation, OperationClass};
use crate::provider::{ListProtocol, Listed, PageWanted};
use crate::store::lease::Claim;

/// So many attempts of one channel that are due together are worth a list: it costs a call, or two.
const WORTH: usize = 4;
/// Pages of one list. A busy account has more than what is in doubt, and the questions one by one must still fit the attempts' leases.
const PAGES: usize = 6;
/// How far a channel's clock may be from ours.
const CLOCKS: SignedDuration = SignedDuration::from_secs(60);

/// What is due, by how it is looked at.
#[derive(Debug, Default)]
pub struct Due {
    /// Each by itself.
    pub single: Vec<Claim>,
    /// Those of one channel together, after a list.
    pub together: Vec<Vec<Claim>>,
}

impl Flows {
    /// Parts what is due into what is asked after one by one, and what a list may tell.
    pub fn part(&self, claims: Vec<Claim>) -> Due {
        let mut due = Due::default();
        let mut listable: HashMap<String, Vec<Claim>> = HashMap::new();
        for claim in claims {
            let lists = claim.operation == Operation::Pay.as_str() && self.channel(&claim.channel).is_some_and(|channel| lists(channel).is_some());
            if lists {
                listable.entry(claim.channel.clone()).or_default().push(claim);
            } else {
                due.single.push(claim);
            }
        }
        for (_, mut claims) in listable {
            if claims.len() < WORTH {
                due.single.append(&mut claims);
            } else {
                due.together.push(claims);
            }
        }
        due
    }

    /// Reads the list of the channel that `claims` are all of, then looks at each of them.
    pub(super) async fn survey(&self, claims: Vec<Claim>) {
        // Each look has its place before the list is read: it may take a while, and what is claimed meanwhile must not count on the same places.
        let places: Vec<_> = claims.iter().map(|claim| self.place_to_look(&claim.channel)).collect();
        let mut listed = match claims.first().and_then(|claim| self.channel(&claim.channel)) {
            Some(channel) => self.read_list(channel, &claims).await,
            None => HashMap::new(),
        };
        for (claim, place) in claims.into_iter().zip(places) {
            let known = listed.remove(&claim.key);
            let flows = self.clone();
            // Without a place its lease lapses, and it is due again.
            drop(self.start_look(place, async move { flows.inquire_knowing(claim, known).await }));
        }
    }

    /// What the channel's list says of `claims`, by their keys.
    async fn read_list(&self, channel: &Channel, claims: &[Claim]) -> HashMap<String, Listed> {
        let mut listed = HashMap::new();
        let wanted = |key: &str| claims.iter().any(|claim| claim.key == key);
        let Some((since, until)) = span(claims) else { return listed };
        // One deadline for all pages: the looks that follow must fit the attempts' leases.
        let deadline = self.call_deadline(channel);
        let mut after = None;
        for _ in 0..PAGES {
            let Ok(permit) = channel.handle.guard().admit(OperationClass::Resolve, self.shared.clock.boot()) else { break };
            let asked = PageWanted { since, until, after: after.take() };
            let page = match channel.handle.list(asked, permit, deadline).await {
                Ok(page) => page,
                Err(class) => {
                    if matches!(class, CallClass::FailHard | CallClass::FailSoft) {
                        channel.note_failure();
                    }
                    break;
                }
            };
            self.note_answer(channel);
            let before = listed.len();
            listed.extend(page.found.into_iter().filter(|one| wanted(&one.key)).map(|one| (one.key.clone(), one)));
            after = page.next;
            if after.is_none() || listed.len() == before || listed.len() == claims.len() {
                break;
            }
        }
        tracing::info!(channel = channel.handle.id(), due = claims.len(), listed = listed.len(), "what is due was looked for on the channel's list");
        listed
    }
}

fn lists(channel: &Channel) -> Option<&'static dyn ListProtocol> {
    channel.handle.provider().protocol().http().and_then(|protocol| protocol.lists())
}

/// When the channel may have made what `claims` are about.
fn span(claims: &[Claim]) -> Option<(Timestamp, Timestamp)> {
    let oldest = claims.iter().map(|claim| claim.created_at).min()?;
    let newest = claims.iter().map(|claim| claim.created_at).max()?;
    Some((oldest.checked_sub(CLOCKS).ok()?, newest.checked_add(CLOCKS).ok()?))
}

//! What merchants do with their webhooks: make, change, rotate and delete endpoints, and ask for events again. The API calls these; they are
//! the only writers of endpoints beside the courier, which notes how they answer.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use thiserror::Error;
use uuid::Uuid;

use super::address::{Target, TargetError};
use super::seal::{SealError, Sealer};
use super::signature::{NoEntropy, Secret};
use crate::clock::Clock;
use crate::domain::{EventId, WebhookEndpointId};
use crate::store::webhook::delivery::DeliveryRow;
use crate::store::webhook::endpoint::{EndpointChange, EndpointRow, NewEndpoint};
use crate::store::{Store, StoreError};

/// Endpoints of one merchant, at most: each event is queued for each of them.
pub const ENDPOINTS_MAX: i64 = 16;
/// Events that one replay queues, at most; the answer says where to go on.
pub const REPLAY_MAX: i64 = 10_000;
/// How long a secret goes on signing after it was rotated.
const ROTATES_FOR: SignedDuration = SignedDuration::from_hours(24);

/// Why an act of a merchant's was refused.
#[derive(Debug, Error)]
pub enum DeskError {
    /// The merchant has no such endpoint or event.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The address is none that webhooks are sent to.
    #[error("url {0}")]
    Address(#[from] TargetError),
    /// The merchant has as many endpoints as may be.
    #[error("a merchant may have {ENDPOINTS_MAX} webhook endpoints")]
    TooMany,
    /// The endpoint is turned off.
    #[error("the endpoint is turned off")]
    Disabled,
    /// A secret could not be made or sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A secret could not be made.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An endpoint to make, as the merchant describes it.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Where it is.
    pub url: String,
    /// The merchant's own note.
    pub description: Option<String>,
    /// The event types that it wants; empty for all.
    pub types: Vec<String>,
    /// The secret, where it is known already; one is made otherwise.
    pub secret: Option<Secret>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The merchant.
    pub merchant: Uuid,
    /// Whether real money moves.
    pub livemode: bool,
}

/// What a replay queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// How many events.
    pub queued: i64,
    /// The last of them, when there may be more after it.
    pub more_after: Option<EventId>,
}

/// The desk. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Desk {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) sealer: Arc<Sealer>,
    pub(super) allow_private: bool,
}

impl Desk {
    /// Makes an endpoint. Its secret is answered this once.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn create(&self, asker: Asker, wish: Wish) -> Result<(EndpointRow, Secret), DeskError> {
        self.check(&wish.url, asker.livemode)?;
        let now = self.clock.wall();
        let id = WebhookEndpointId::new(now);
        let secret = wish.secret.map_or_else(Secret::generate, Ok)?;
        let sealed_secret = self.sealer.seal(id, &secret)?;
        let new = NewEndpoint { id, merchant: asker.merchant, url: wish.url, description: wish.description, types: wish.types, sealed_secret };
        let made = self.store.add_endpoint(&new, ENDPOINTS_MAX, now).await?;
        Ok((made.ok_or(DeskError::TooMany)?, secret))
    }

    /// Changes an endpoint.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn change(&self, asker: Asker, id: WebhookEndpointId, change: EndpointChange) -> Result<EndpointRow, DeskError> {
        if let Some(url) = &change.url {
            self.check(url, asker.livemode)?;
        }
        self.store.change_endpoint(asker.merchant, id, &change, self.clock.wall()).await?.ok_or(NO_ENDPOINT)
    }

    /// Deletes an endpoint; what it was not told yet is given up.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn delete(&self, asker: Asker, id: WebhookEndpointId) -> Result<(), DeskError> {
        if self.store.delete_endpoint(asker.merchant, id, self.clock.wall()).await? { Ok(()) } else { Err(NO_ENDPOINT) }
    }

    /// Gives an endpoint a new secret, which is answered this once. The old one signs beside it for 24 hours.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn rotate_secret(&self, asker: Asker, id: WebhookEndpointId) -> Result<(EndpointRow, Secret), DeskError> {
        let now = self.clock.wall();
        let secret = Secret::generate()?;
        let sealed = self.sealer.seal(id, &secret)?;
        let until = later(now, ROTATES_FOR);
        let rotated = self.store.rotate_endpoint_secret(asker.merchant, id, &sealed, until, now).await?;
        Ok((rotated.ok_or(NO_ENDPOINT)?, secret))
    }

    /// Queues an event again: for one endpoint, or for all that are turned on and want it.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn redeliver(&self, asker: Asker, event: EventId, endpoint: Option<WebhookEndpointId>) -> Result<Vec<DeliveryRow>, DeskError> {
        self.store.event_of(asker.merchant, event).await?.ok_or(DeskError::NotFound("event"))?;
        if let Some(id) = endpoint {
            self.enabled(asker, id).await?;
        }
        Ok(self.store.redeliver(asker.merchant, event, endpoint, self.clock.wall()).await?)
    }

    /// Queues again for an endpoint what happened from `from` on and before `to`.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn replay(&self, asker: Asker, id: WebhookEndpointId, from: Timestamp, to: Timestamp) -> Result<Replayed, DeskError> {
        self.enabled(asker, id).await?;
        let (queued, last) = self.store.replay(asker.merchant, id, from, to, self.clock.wall(), REPLAY_MAX).await?;
        Ok(Replayed { queued, more_after: last.filter(|_| queued == REPLAY_MAX) })
    }

    async fn enabled(&self, asker: Asker, id: WebhookEndpointId) -> Result<(), DeskError> {
        let endpoint = self.store.endpoint_of(asker.merchant, id).await?.ok_or(NO_ENDPOINT)?;
        if endpoint.enabled { Ok(()) } else { Err(DeskError::Disabled) }
    }

    fn check(&self, url: &str, livemode: bool) -> Result<(), TargetError> {
        let target = Target::parse(url)?;
        match target.objection(livemode) {
            Some(objection) if !self.allow_private => Err(objection),
            _ => Ok(()),
        }
    }
}

const NO_ENDPOINT: DeskError = DeskError::NotFound("webhook endpoint");

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}

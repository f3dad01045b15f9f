//! What carries a channel's calls: HTTP connections of its own, or a bank's sockets. Which one is its provider's protocol's to say.

use std::sync::Arc;

use rustls::ClientConfig;

use super::actor::{ActorSettings, ChannelIdentity};
use super::http_pool::{Address, HttpPool};
use super::socket_pool::{FrontEnd, SocketPool, SocketSettings, Speaker};
use crate::clock::Clock;
use crate::provider::Protocol;

/// Where a channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// An HTTP service.
    Http(Address),
    /// A bank's front ends, and how many sockets each gets.
    Sockets(Vec<FrontEnd>, SocketSettings),
}

impl From<Address> for Destination {
    fn from(address: Address) -> Self {
        Self::Http(address)
    }
}

/// A channel's connections.
pub enum Transport {
    /// A call a connection.
    Http(HttpPool),
    /// Many calls a socket.
    Sockets(SocketPool),
    /// The destination is not one of the protocol's: nothing can be sent.
    Mismatched,
}

impl Transport {
    /// Opens what the destination needs; sockets are opened at once. To be called on the runtime that drives them.
    pub fn open(destination: Destination, identity: &ChannelIdentity, tls: Arc<ClientConfig>, settings: &ActorSettings, clock: Clock) -> Self {
        match (destination, identity.provider.protocol()) {
            (Destination::Http(address), Protocol::Http(_)) => Self::Http(HttpPool::new(address, tls, settings.pool.clone(), clock)),
            (Destination::Sockets(front_ends, sockets), Protocol::Socket(protocol)) => {
                let speaker = Speaker { channel: Arc::clone(&identity.id), protocol, credentials: identity.credentials.clone() };
                Self::Sockets(SocketPool::new(speaker, &front_ends, tls, sockets, clock))
            }
            _ => Self::Mismatched,
        }
    }

    /// Closes what has been idle for too long. Sockets look after themselves.
    pub(super) fn sweep(&self) {
        if let Self::Http(pool) = self {
            pool.sweep();
        }
    }

    /// Connections, busy and idle.
    pub(super) fn open_count(&self) -> usize {
        match self {
            Self::Http(pool) => pool.open(),
            Self::Sockets(pool) => pool.up(),
            Self::Mismatched => 0,
        }
    }

    /// Connections that could take a call now.
    pub(super) fn idle_count(&self) -> usize {
        match self {
            Self::Http(pool) => pool.idle(),
            Self::Sockets(pool) => pool.up(),
            Self::Mismatched => 0,
        }
    }
}

//! Floor 2: the channels. One configured account at a third party is one channel: an actor with its own connections, guarded by its own
//! breakers, watched and rebuilt by its own supervisor. Nothing here decides what a payment's state is: a call ends in an outcome.
//!
//! Downwards: `handle.rs` (what a flow holds), `actor.rs` (one call, from permit to outcome), `http_pool.rs` (did the first byte leave?),
//! `socket_pool/` (the same for a bank's sockets), `wire.rs` (the witness of that). Beside them `guard/` and `breaker/` (may we call at all?),
//! `supervisor.rs` (is anybody there?) and `timeline.rs` (what happened just now).

pub mod actor;
pub mod breaker;
pub mod guard;
pub mod handle;
pub mod http_pool;
mod locks;
pub mod meters;
pub mod observe;
pub mod socket_pool;
pub mod supervisor;
pub mod timeline;
pub mod transport;
mod wire;

// Beside the guard and not in it, because `tests/guard_interleavings.rs` compiles the guard's own files over other locks.
#[cfg(test)]
#[path = "guard/properties.rs"]
mod guard_properties;
#[cfg(test)]
#[path = "guard/tests.rs"]
mod guard_tests;

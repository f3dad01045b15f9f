//! Floor 2: the channels. One configured account at a third party is one channel: an actor with its own connections, guarded by its own
//! breakers, watched and rebuilt by its own supervisor. Nothing here decides what a payment's state is: a call ends in an outcome.

pub mod breaker;
pub mod guard;

//! Keys: RSA for the wallets' signatures and secret fields, the key stores that acquirers hand out, and the ring of sealing keys under which card
//! numbers lie. Read once, when the settings are loaded.
//!
//! Ground floor: nothing here knows what is signed or sealed.

mod aead;
mod oaep;
mod rsa;
mod sealing;
pub mod store;

pub use aead::SharedKey;
pub use rsa::{KeyError, PrivateKey, PublicKey};
pub use sealing::{SealError, SealingKeys};

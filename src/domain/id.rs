//! Ids: UUIDv7, so that they sort by time and keep indexes at their right edge, with the payment's bucket in the ten bits behind the variant.
//!
//! ```text
//! 48 bits Unix milliseconds | 4 bits version 7 | 12 bits random | 2 bits variant | 10 bits bucket | 52 bits random
//! ```
//!
//! A bucket is one of 1,024 fixed sets of payments, taken from the order, so that an order, its guard and all its payments live beside each
//! other; a later move to more servers is a matter of settings. What belongs to a payment inherits its bucket. Outside, an id is a prefix
//! and 32 hex digits.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use jiff::Timestamp;
use thiserror::Error;
use uuid::Uuid;

/// How many buckets there are. Fixed for ever: it is in every id.
pub const BUCKETS: u16 = 1024;

/// One of the [`BUCKETS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    /// The number, 0 to 1023.
    pub const fn number(self) -> i16 {
        self.0 as i16
    }
}

/// The digest of a merchant's order: its first 128 bits are the guard's key, its first ten bits the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OrderDigest(Uuid);

impl OrderDigest {
    /// SHA-256 over merchant id, 0x1F and the merchant's order id, cut to 128 bits.
    pub fn of(merchant: Uuid, order: &str) -> Self {
        Self(digest128(merchant, b'\x1f', order))
    }

    /// The guard's key.
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }

    /// The bucket of every payment of this order.
    pub fn bucket(self) -> Bucket {
        let bytes = self.0.as_bytes();
        Bucket((u16::from(bytes[0]) << 2) | (u16::from(bytes[1]) >> 6))
    }
}

/// FNV-1a (Fowler, Noll, Vo): a hash that is the same in every build and on every machine, of what nobody gains by choosing.
pub fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The digest under which a merchant's idempotency key, or refund id, is unique: 128 bits of SHA-256, told apart from orders by its separator.
pub fn guard_digest(merchant: Uuid, kind: GuardKind, name: &str) -> Uuid {
    let separator = match kind {
        GuardKind::IdempotencyKey => b'\x1d',
        GuardKind::Refund => b'\x1e',
    };
    digest128(merchant, separator, name)
}

/// What a [`guard_digest`] stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardKind {
    /// A merchant's `Idempotency-Key`.
    IdempotencyKey,
    /// A merchant's `merchant_refund_id`.
    Refund,
}

fn digest128(merchant: Uuid, separator: u8, name: &str) -> Uuid {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(merchant.as_bytes());
    context.update(&[separator]);
    context.update(name.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&context.finish().as_ref()[..16]);
    Uuid::from_bytes(bytes)
}

/// A UUIDv7 of that time and bucket. The remaining 64 bits come from `entropy` (a random UUID will do).
pub fn mint(at: Timestamp, bucket: Bucket, entropy: Uuid) -> Uuid {
    let millis = u64::try_from(at.as_millisecond()).unwrap_or(0) & 0xFFFF_FFFF_FFFF;
    let random = entropy.as_u128();
    let high = (u128::from(millis) << 80) | (0x7 << 76) | (((random >> 64) & 0xFFF) << 64);
    let low = (0b10 << 62) | (u128::from(bucket.0) << 52) | (random & ((1 << 52) - 1));
    Uuid::from_u128(high | low)
}

/// The bucket in an id's bits.
pub fn bucket_of(id: Uuid) -> Bucket {
    Bucket(((id.as_u128() >> 52) & 0x3FF) as u16)
}

/// The smallest id that can be minted at `at`: where a partition by time begins.
pub fn floor(at: Timestamp) -> Uuid {
    let millis = u128::try_from(at.as_millisecond()).unwrap_or(0) & 0xFFFF_FFFF_FFFF;
    Uuid::from_u128(millis << 80)
}

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{given:?} is not an id: it must be {prefix} and 32 lower-case hex digits")]
pub struct IdError {
    prefix: &'static str,
    given: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// What its text begins with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id of that time and bucket.
            pub fn mint(at: Timestamp, bucket: Bucket) -> Self {
                Self(mint(at, bucket, Uuid::new_v4()))
            }

            /// The bucket it belongs to.
            pub fn bucket(self) -> Bucket {
                bucket_of(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, self.0.simple())
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let fault = || IdError { prefix: $prefix, given: text.chars().take(64).collect() };
                let hex = text.strip_prefix($prefix).ok_or_else(fault)?;
                let plain = hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
                if !plain {
                    return Err(fault());
                }
                Uuid::try_parse(hex).map(Self).map_err(|_| fault())
            }
        }
    };
}

id!(
    /// A payment's id.
    PaymentId,
    "pay_"
);
id!(
    /// A refund's id.
    RefundId,
    "ref_"
);
id!(
    /// An event's id.
    EventId,
    "evt_"
);
id!(
    /// A merchant's webhook endpoint's id.
    WebhookEndpointId,
    "whe_"
);
id!(
    /// An operator's override of a channel.
    OverrideId,
    "ovr_"
);
id!(
    /// A request's id: for logs, and for the person who asks about them.
    RequestId,
    "req_"
);

impl WebhookEndpointId {
    /// A new endpoint's id; endpoints belong to no bucket.
    pub fn new(at: Timestamp) -> Self {
        Self::mint(at, Bucket(0))
    }
}

impl OverrideId {
    /// A new override's id; overrides belong to no bucket.
    pub fn new(at: Timestamp) -> Self {
        Self::mint(at, Bucket(0))
    }
}

impl RequestId {
    /// A new request id; requests belong to no bucket.
    pub fn new(at: Timestamp) -> Self {
        Self::mint(at, Bucket(0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_gives_back_its_bucket_and_its_time(number in 0..BUCKETS, millis in 0i64..250_000_000_000_000, entropy in any::<u128>()) {
            let at = Timestamp::from_millisecond(millis).expect("in range");
            let id = mint(at, Bucket(number), Uuid::from_u128(entropy));
            prop_assert_eq!(bucket_of(id), Bucket(number));
            prop_assert_eq!(id.get_version_num(), 7);
            prop_assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
            prop_assert_eq!((id.as_u128() >> 80) as i64, millis);
            prop_assert!(floor(at) <= id);
        }

        #[test]
        fn a_later_id_sorts_later(first in 0i64..4_000_000_000_000, gap in 1i64..1_000_000, a in any::<u128>(), b in any::<u128>()) {
            let at = |millis| Timestamp::from_millisecond(millis).expect("in range");
            prop_assert!(mint(at(first), Bucket(1023), Uuid::from_u128(a)) < mint(at(first + gap), Bucket(0), Uuid::from_u128(b)));
        }

        #[test]
        fn an_id_reads_back_from_its_text(entropy in any::<u128>()) {
            let id = PaymentId(Uuid::from_u128(entropy));
            prop_assert_eq!(id.to_string().parse::<PaymentId>(), Ok(id));
        }
    }

    #[test]
    fn the_bucket_is_the_first_ten_bits_of_the_orders_digest() {
        let digest = OrderDigest(Uuid::from_u128(0xFFC0 << 112));
        assert_eq!(digest.bucket(), Bucket(1023));
        let digest = OrderDigest(Uuid::from_u128(0x003F << 112));
        assert_eq!(digest.bucket(), Bucket(0));
    }

    #[test]
    fn an_order_a_key_and_a_refund_of_the_same_name_do_not_meet() {
        let merchant = Uuid::from_u128(7);
        let all = [
            OrderDigest::of(merchant, "A-1").as_uuid(),
            guard_digest(merchant, GuardKind::IdempotencyKey, "A-1"),
            guard_digest(merchant, GuardKind::Refund, "A-1"),
        ];
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    }

    #[test]
    fn a_text_with_another_prefix_or_upper_case_is_refused() {
        assert!("ref_0190a8b4c6d2700080000000000000ff".parse::<PaymentId>().is_err());
        assert!("pay_0190A8B4C6D2700080000000000000FF".parse::<PaymentId>().is_err());
        assert!("pay_0190a8b4".parse::<PaymentId>().is_err());
    }
}

//! A network: the addresses that begin with the same bits. The settings name networks whose word is believed, such as those of our own proxies.

use std::fmt;
use std::net::IpAddr;

/// The addresses whose first `prefix` bits are those of `address`. An IPv4 address that is written inside IPv6 (`::ffff:10.0.0.1`) is the IPv4
/// address: the same peer shows itself in either form, depending on how the listener was bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, or one address alone. `None` for what is neither, for a prefix that is longer than the address, and for an address
    /// with bits behind its prefix: `10.0.0.1/8` is more likely a slip than a wish.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) if !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                (address, Some(prefix.parse().ok()?))
            }
            Some(_) => return None,
            None => (text, None),
        };
        let address: IpAddr = address.parse::<IpAddr>().ok()?;
        if address != address.to_canonical() && prefix.is_some() {
            return None;
        }
        let address = address.to_canonical();
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(whole);
        (prefix <= whole && cut(address, prefix) == address).then_some(Self { address, prefix })
    }

    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && cut(address, self.prefix) == self.address
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// The address with every bit behind the first `prefix` at 0. A prefix that is longer than the address changes nothing.
pub fn cut(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        Network::parse(network).expect("a network").contains(address.parse().expect("an address"))
    }

    #[test]
    fn a_network_holds_the_addresses_that_begin_as_it_does() {
        assert!(holds("10.0.0.0/8", "10.255.0.1"));
        assert!(!holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("127.0.0.1", "127.0.0.1"));
        assert!(!holds("127.0.0.1", "127.0.0.2"));
        assert!(holds("0.0.0.0/0", "203.0.113.9"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1"));
        assert!(!holds("2001:db8::/32", "2001:db9::1"));
        assert!(!holds("::/0", "10.0.0.1"), "the two families are apart");
    }

    #[test]
    fn an_ipv4_address_inside_ipv6_is_the_ipv4_address() {
        assert!(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(holds("::ffff:10.1.2.3", "10.1.2.3"));
    }

    #[test]
    fn what_is_no_network_is_not_read_as_another() {
        for text in ["", "10.0.0.0/", "10.0.0.0/33", "10.0.0.1/8", "::1/129", "10.0.0/8", "10.0.0.0/+8", "proxy.example.com", "::ffff:10.0.0.0/104"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}

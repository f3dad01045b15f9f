//! Where a request comes from: the peer of its connection, or, where that is a proxy of our own, the client that the proxy names.
//!
//! `X-Forwarded-For` is a client's free choice up to the last entry, which the proxy before us has written. It is therefore read from its end,
//! and only as long as each entry is itself a trusted proxy. RFC 7239's `Forwarded` is not read: proxies that write it write this, too.

use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;

use crate::domain::Network;
use crate::domain::network::cut;

const FORWARDED_FOR: &str = "x-forwarded-for";
/// How much of an IPv6 address names one customer of a network: they are given whole /64s, and can use every address in them.
const ONE_CUSTOMER: u8 = 64;

/// The address that a request is counted under.
pub fn address(request: &HttpRequest, trusted: &[Network]) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let named = request.headers().get_all(FORWARDED_FOR).filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",");
    counted(client(peer, &named, trusted))
}

/// The last address of the way that is not a trusted proxy's.
fn client(peer: IpAddr, named: &str, trusted: &[Network]) -> IpAddr {
    let is_ours = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut latest = peer;
    let mut way = named.rsplit(',');
    while is_ours(latest) {
        let Some(before) = way.next().and_then(entry) else { break };
        latest = before;
    }
    latest
}

/// One entry; some proxies write the port too.
fn entry(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
}

fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address @ IpAddr::V4(_) => address,
        address @ IpAddr::V6(_) => cut(address, ONE_CUSTOMER),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(peer: &str, named: &str, trusted: &[&str]) -> String {
        let trusted: Vec<Network> = trusted.iter().map(|text| Network::parse(text).expect("a network")).collect();
        client(peer.parse().expect("an address"), named, &trusted).to_string()
    }

    #[test]
    fn nobody_is_believed_unless_the_settings_say_so() {
        assert_eq!(seen("203.0.113.9", "198.51.100.1", &[]), "203.0.113.9");
        assert_eq!(seen("203.0.113.9", "198.51.100.1", &["10.0.0.0/8"]), "203.0.113.9");
    }

    #[test]
    fn what_a_client_wrote_before_the_proxys_own_entry_counts_for_nothing() {
        assert_eq!(seen("10.0.0.1", "1.2.3.4, 203.0.113.9", &["10.0.0.0/8"]), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.2", &["10.0.0.0/8"]), "203.0.113.9", "through two proxies");
    }

    #[test]
    fn an_entry_that_is_no_address_ends_the_way_at_the_proxy_that_passed_it_on() {
        assert_eq!(seen("10.0.0.1", "1.2.3.4, unknown", &["10.0.0.0/8"]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", "", &["10.0.0.0/8"]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", "10.0.0.3", &["10.0.0.0/8"]), "10.0.0.3", "and one that is all ours, at its first");
        assert_eq!(seen("10.0.0.1", "203.0.113.9:4711", &["10.0.0.0/8"]), "203.0.113.9", "with a port");
    }

    #[test]
    fn all_addresses_of_one_customer_count_as_one() {
        let address = |text: &str| counted(text.parse().expect("an address")).to_string();
        assert_eq!(address("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(address("::ffff:203.0.113.9"), "203.0.113.9");
    }

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(named in "\\PC{0,60}") {
            let _ = seen("10.0.0.1", &named, &["10.0.0.0/8"]);
        }
    }
}

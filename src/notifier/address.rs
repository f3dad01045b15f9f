//! Where a webhook may go. A merchant names the address, and we connect from inside our own network: an address of that network must not be
//! reached on a merchant's word (server-side request forgery).
//!
//! Twice: what an address says of itself is refused when the endpoint is made ([`Target::parse`], [`Target::objection`]), and what its name
//! resolves to is looked at again when connecting ([`refused`]), because a name may point anywhere by then. Only global unicast addresses pass
//! (IANA's special-purpose registries, RFC 6890), and an IPv6 address that carries an IPv4 address is judged by that one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// The longest address, in characters.
pub const LONGEST: usize = 2_048;

/// Why a text is no address for webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// Not a URL, or too long.
    #[error("must be a URL of at most 2048 characters, such as https://shop.example/webhooks")]
    NotUrl,
    /// Another scheme.
    #[error("must begin with https:// (http:// is for test merchants)")]
    Scheme,
    /// A user name or password: an address is shown in logs and pages.
    #[error("must not hold a user name or password")]
    Credentials,
    /// Plain HTTP where real money is told of.
    #[error("must begin with https://, because this merchant is live")]
    Insecure,
    /// A host that is a number but not an IP address as people write it: a way to hide one.
    #[error("must name a host, or an IP address in its usual form")]
    OddHost,
    /// A private, loopback or otherwise special address.
    #[error("must not point into a private network: loopback, private, link-local and other special addresses are refused")]
    Private,
}

/// An endpoint's address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether TLS is spoken.
    pub secure: bool,
    /// The host's name or IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What stands in `Host`.
    pub authority: String,
    /// What is asked for.
    pub path: String,
}

impl Target {
    /// Takes an address apart.
    ///
    /// # Errors
    /// [`TargetError`] says what it must be.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.len() > LONGEST || text.contains('#') {
            return Err(TargetError::NotUrl);
        }
        let uri: http::Uri = text.parse().map_err(|_| TargetError::NotUrl)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) => return Err(TargetError::Scheme),
            None => return Err(TargetError::NotUrl),
        };
        let authority = uri.authority().ok_or(TargetError::NotUrl)?;
        if authority.as_str().contains('@') {
            return Err(TargetError::Credentials);
        }
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        if host.is_empty() {
            return Err(TargetError::NotUrl);
        }
        if host.parse::<IpAddr>().is_err() && is_number(&host) {
            return Err(TargetError::OddHost);
        }
        Ok(Self {
            secure,
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned(),
            host,
        })
    }

    /// Why this address is refused by what it says of itself. A name that resolves to a private address is found when connecting.
    pub fn objection(&self, livemode: bool) -> Option<TargetError> {
        if livemode && !self.secure {
            return Some(TargetError::Insecure);
        }
        let local = self.host == "localhost" || self.host.ends_with(".localhost") || self.host.ends_with(".internal");
        let special = self.host.parse::<IpAddr>().is_ok_and(refused);
        (local || special).then_some(TargetError::Private)
    }
}

/// Whether resolvers would read the host as an IPv4 address in one of its old spellings (`2130706433`, `0x7f.1`): by its last label.
fn is_number(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    hex || !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether nothing may be sent to this address because a merchant says so.
pub fn refused(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => refused_v4(v4),
        IpAddr::V6(v6) => refused_v6(v6),
    }
}

fn refused_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    match a {
        // This network, private use, loopback, multicast, reserved and broadcast.
        0 | 10 | 127 | 224..=255 => true,
        // Carrier-grade NAT.
        100 => (64..128).contains(&b),
        // Link-local, where clouds keep their metadata.
        169 => b == 254,
        172 => (16..32).contains(&b),
        // Protocol assignments, documentation, 6to4 relays, private use.
        192 => matches!((b, c), (0, 0 | 2) | (88, 99)) || b == 168,
        // Benchmarks, documentation.
        198 => matches!(b, 18 | 19) || (b, c) == (51, 100),
        203 => (b, c) == (0, 113),
        _ => false,
    }
}

fn refused_v6(address: Ipv6Addr) -> bool {
    if let Some(v4) = address.to_ipv4_mapped() {
        return refused_v4(v4);
    }
    let [first, second, third, ..] = address.segments();
    let carried = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match first {
        // NAT64 (RFC 6052): the last 32 bits are the address that is reached. Its local-use prefix is not global.
        0x0064 if second == 0xff9b && third == 0 => {
            let segments = address.segments();
            refused_v4(carried(segments[6], segments[7]))
        }
        // Protocol assignments: Teredo, benchmarks, ORCHID; and documentation.
        0x2001 => second < 0x0200 || second == 0x0db8,
        // 6to4: the next 32 bits are the address that is reached.
        0x2002 => refused_v4(carried(second, third)),
        0x3fff => second < 0x1000,
        // Global unicast is 2000::/3 and nothing else.
        _ => first & 0xe000 != 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_refused_in_every_spelling() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(refused(text.parse().expect("an address")), "{text}");
        }
    }

    #[test]
    fn public_addresses_pass() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(!refused(text.parse().expect("an address")), "{text}");
        }
    }

    #[test]
    fn an_address_is_taken_apart() {
        let target = Target::parse("https://Shop.example:8443/hooks?a=1").expect("a URL");
        assert_eq!((target.secure, target.host.as_str(), target.port), (true, "shop.example", 8443));
        assert_eq!((target.authority.as_str(), target.path.as_str()), ("Shop.example:8443", "/hooks?a=1"));
        assert_eq!(Target::parse("http://[2606:4700::1111]/").expect("a URL").host, "2606:4700::1111");
        assert_eq!(Target::parse("https://shop.example").expect("a URL").path, "/");
    }

    #[test]
    fn what_is_no_address_for_webhooks_is_refused_with_the_reason() {
        let refusal = |text: &str, livemode| match Target::parse(text) {
            Ok(target) => target.objection(livemode),
            Err(error) => Some(error),
        };
        assert_eq!(refusal("https://shop.example/", true), None);
        assert_eq!(refusal("http://shop.example/", false), None);
        assert_eq!(refusal("http://shop.example/", true), Some(TargetError::Insecure));
        assert_eq!(refusal("ftp://shop.example/", false), Some(TargetError::Scheme));
        assert_eq!(refusal("shop.example", false), Some(TargetError::NotUrl));
        assert_eq!(refusal("https://user:pass@shop.example/", false), Some(TargetError::Credentials));
        for private in ["https://127.0.0.1/", "https://[::1]/", "https://localhost:1/", "https://a.localhost/", "https://metadata.google.internal/"] {
            assert_eq!(refusal(private, false), Some(TargetError::Private), "{private}");
        }
        for odd in ["http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "http://0x7f000001/"] {
            let refusal = refusal(odd, false);
            assert!(matches!(refusal, Some(TargetError::OddHost | TargetError::Private)), "{odd}: {refusal:?}");
        }
    }
}

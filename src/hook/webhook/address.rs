//! Where webhooks may go: to the addresses of the internet, and not into the network that the node stands in, unless
//! the operator says so. An app's admin chooses the URL; what it reaches must not depend on where we run.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::hook::names::Names;

/// What is told of it.
pub(super) const FORBIDDEN: &str = "the host has no public address";

/// A host has no address that webhooks may go to.
#[derive(Debug)]
pub(super) struct Forbidden;

impl fmt::Display for Forbidden {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(FORBIDDEN)
    }
}

impl std::error::Error for Forbidden {}

/// Checks a URL as far as it shows its address. What it names is checked by [`PublicOnly`].
pub(super) fn check(url: &Url) -> Result<(), Forbidden> {
    match url.host() {
        Some(Host::Domain(_)) => Ok(()),
        Some(Host::Ipv4(address)) if is_public(address.into()) => Ok(()),
        Some(Host::Ipv6(address)) if is_public(address.into()) => Ok(()),
        _ => Err(Forbidden),
    }
}

/// Resolves names to public addresses only. The connection goes to what comes out of here, so between the check and
/// the use no name can change its meaning.
#[derive(Clone, Debug, Default)]
pub(super) struct PublicOnly(Names);

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.0.clone();
        Box::pin(async move {
            let mut public: Vec<SocketAddr> = names.addresses(name.as_str()).await?;
            public.retain(|address| is_public(address.ip()));
            if public.is_empty() {
                return Err(Forbidden.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.segments() {
            // Translated to IPv4 by the network (RFC 6052).
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
            }
            // Teredo and other protocol assignments, documentation, 6to4.
            [0x2001, 0..0x0200, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..0x1000, ..] => false,
            // Only these are global unicast by now (RFC 4291): unique local, link-local, multicast are not.
            [first, ..] => first & 0xe000 == 0x2000,
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let is_special = match address.octets() {
        // This network; reserved, with the broadcast.
        [0 | 240.., ..] => true,
        // Between a provider and its customers (RFC 6598).
        [100, 64..128, ..] => true,
        // Protocol assignments; relays of 6to4 (RFC 7526); benchmarks.
        [192, 0, 0, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => true,
        _ => false,
    };
    !(is_special
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(host: &str) -> bool {
        check(&Url::parse(&format!("http://{host}/")).unwrap()).is_ok()
    }

    #[test]
    fn addresses_of_the_internet_are_allowed() {
        for host in [
            "1.1.1.1",
            "9.9.9.9:8080",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "223.255.255.254",
            "192.88.98.1",
            "[3fff:1000::1]",
            "[2606:4700::1111]",
            "[2001:4860:4860::8888]",
            "[::ffff:1.1.1.1]",
            "[64:ff9b::1.1.1.1]",
            "named.example",
        ] {
            assert!(is_allowed(host), "{host}");
        }
    }

    #[test]
    fn other_addresses_are_not_however_they_are_written() {
        for host in [
            "127.0.0.1",
            "127.9.9.9",
            "2130706433",
            "0x7f.1",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[::]",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::10.0.0.1]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd12::1]",
            "[ff02::1]",
            "[2001:db8::1]",
            "[2002:7f00:1::]",
            "[2001::1]",
            "[3fff::1]",
            "[3fff:fff::1]",
        ] {
            assert!(!is_allowed(host), "{host}");
        }
    }

    #[tokio::test]
    async fn a_name_of_this_machine_resolves_to_nothing() {
        let resolved = PublicOnly::default().resolve("localhost".parse().unwrap()).await;
        assert!(resolved.err().unwrap().is::<Forbidden>());
    }
}

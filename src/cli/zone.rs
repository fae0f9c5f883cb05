//! IPv6 addresses with a zone (`fe80::1%eth0`), which a URL cannot hold (RFC 6874): a name stands for one there, and is
//! resolved to it.

use std::borrow::Cow;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// What such a name ends with. Nobody else has one like it (RFC 6761).
const SUFFIX: &str = ".zone.invalid";

/// The text of a URL, with a name in the place of an address with a zone. The percent sign may be escaped.
pub(super) fn named(url: &str) -> Cow<'_, str> {
    let found = || {
        let (before, rest) = url.split_once('[')?;
        let (host, after) = rest.split_once(']')?;
        let (address, zone) = host.split_once('%')?;
        let zone = zone.strip_prefix("25").filter(|zone| !zone.is_empty()).unwrap_or(zone);
        Some(format!("{before}{}{SUFFIX}{after}", hex::encode(format!("{address}%{zone}"))))
    };
    found().map_or(Cow::Borrowed(url), Cow::Owned)
}

/// The address that a name stands for, if it stands for one.
fn address(name: &str) -> Option<String> {
    String::from_utf8(hex::decode(name.strip_suffix(SUFFIX)?).ok()?).ok()
}

/// The text of a URL as somebody would write it.
pub(super) fn shown(url: String) -> String {
    let host = url.split(['/', ':']).find(|part| part.ends_with(SUFFIX)).unwrap_or_default();
    match address(host) {
        Some(address) => url.replacen(host, &format!("[{address}]"), 1),
        None => url,
    }
}

/// Resolves names as the system does, and those that stand for an address.
pub(super) struct Zones;

impl Resolve for Zones {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = address(name.as_str()).unwrap_or_else(|| name.as_str().to_owned());
            let addresses: Addrs = Box::new(tokio::net::lookup_host((host, 0)).await?);
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_an_address_with_a_zone_and_is_shown_as_that() {
        for url in ["http://[fe80::1%eth0]:8002/", "http://[fe80::1%25eth0]:8002/", "http://[fe80::1%25]/"] {
            let parsed = url::Url::parse(&named(url)).unwrap();
            assert!(parsed.host_str().unwrap().ends_with(SUFFIX), "{parsed}");
            assert_eq!(shown(parsed.into()), url.replace("%25e", "%e"));
        }
        for url in ["http://[::1]:8002/", "http://h%25x/", "nonsense"] {
            assert_eq!(named(url), url);
            assert_eq!(shown(url.to_owned()), url);
        }
    }

    #[tokio::test]
    async fn a_name_that_stands_for_an_address_is_resolved_to_it() {
        let url = url::Url::parse(&named("http://[fe80::1%1]/")).unwrap();
        let resolved: Vec<_> =
            Zones.resolve(url.host_str().unwrap().parse().unwrap()).await.unwrap().collect();
        let expected = std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 0, 0, 1);
        assert!(
            !resolved.is_empty() && resolved.iter().all(|found| *found == expected.into()),
            "{resolved:?}"
        );
    }
}

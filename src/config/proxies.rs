//! The proxies whose word counts: addresses and networks, with commas between them.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;

/// Networks such as `10.0.0.0/8`; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Whether somebody at `address` is believed. An IPv4 address may come in the guise of an IPv6 one.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromStr for Proxies {
    /// Why the text is no list of proxies, as the end of a sentence that begins with the setting's name.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = |entry: &str| {
            let address = entry.parse().map(|address: IpAddr| IpNet::from(address.to_canonical()));
            address.or_else(|_| entry.parse()).map_err(|_| {
                format!(
                    "must be addresses and networks with commas between them, such as \
                     127.0.0.1,10.0.0.0/8, found {entry:?}"
                )
            })
        };
        text.split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(network)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusts(proxies: &str, address: &str) -> bool {
        proxies.parse::<Proxies>().unwrap().trusts(address.parse().unwrap())
    }

    #[test]
    fn addresses_and_networks_are_trusted_and_nobody_else() {
        let proxies = "127.0.0.1, 10.1.2.3/8,fd00::/8,";
        for address in ["127.0.0.1", "::ffff:127.0.0.1", "10.255.0.1", "fd12::1"] {
            assert!(trusts(proxies, address), "{address}");
        }
        for address in ["127.0.0.2", "11.0.0.1", "::1", "fe80::1"] {
            assert!(!trusts(proxies, address), "{address}");
        }
        assert!(!trusts("", "127.0.0.1"));
        assert!(trusts("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(trusts("0.0.0.0/0,::/0", "9.9.9.9"));
    }

    #[test]
    fn what_is_no_address_is_refused_and_named() {
        for entry in ["x", "10.0.0.1/33", "10.0.0", "10.0.0.1:80", "[::1]", "localhost", "10.0.0.0/8 ::1"] {
            let error = format!("127.0.0.1,{entry}").parse::<Proxies>().unwrap_err();
            assert!(error.ends_with(&format!("found {entry:?}")), "{error}");
        }
    }
}

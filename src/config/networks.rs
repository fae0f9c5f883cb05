//! Addresses and networks, with commas between them: the proxies whose word counts, and who may come to the private listener.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;

/// Networks such as `10.0.0.0/8`, and single addresses; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether one of them has this address. An IPv4 address may come in the guise of an IPv6 one.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them is all addresses of a family.
    pub(super) fn have_everybody(&self) -> bool {
        self.0.iter().any(|network| network.prefix_len() == 0)
    }
}

impl FromStr for Networks {
    /// Why the text is no list of networks, as the end of a sentence that begins with the setting's name.
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
        // An empty entry may be all that is left of a list, and no list at all may mean everybody.
        if text.is_empty() {
            return Ok(Self::default());
        }
        text.split(',').map(str::trim).map(network).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn have(networks: &str, address: &str) -> bool {
        networks.parse::<Networks>().unwrap().contain(address.parse().unwrap())
    }

    #[test]
    fn addresses_and_networks_have_whom_they_name_and_nobody_else() {
        let networks = "127.0.0.1, 10.1.2.3/8,fd00::/8";
        for address in ["127.0.0.1", "::ffff:127.0.0.1", "10.255.0.1", "fd12::1"] {
            assert!(have(networks, address), "{address}");
        }
        for address in ["127.0.0.2", "11.0.0.1", "::1", "fe80::1"] {
            assert!(!have(networks, address), "{address}");
        }
        assert!(!have("", "127.0.0.1"));
        assert!(have("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(have("0.0.0.0/0,::/0", "9.9.9.9"));
        let everybody = |text: &str| text.parse::<Networks>().unwrap().have_everybody();
        assert!(everybody("10.0.0.1,::/0") && !everybody("10.0.0.0/8,::1") && !everybody(""));
    }

    #[test]
    fn what_is_no_address_is_refused_and_named() {
        for entry in ["", "x", "10.0.0.1/33", "10.0.0", "10.0.0.1:80", "[::1]", "localhost", "10.0.0.0/8 ::1"]
        {
            let error = format!("127.0.0.1,{entry}").parse::<Networks>().unwrap_err();
            assert!(error.ends_with(&format!("found {entry:?}")), "{error}");
        }
        for text in [",", " , ", " ", "127.0.0.1,,::1", ",::1"] {
            assert!(text.parse::<Networks>().unwrap_err().ends_with("found \"\""), "{text:?}");
        }
    }
}

//! Where the client of a request is, when proxies stand between: what a trusted one says counts, and nothing else.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName};

use crate::config::Networks;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who is at the other end of a connection. With the PROXY protocol, at that of the proxy's.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// It speaks TLS, with this node or with the proxy.
    pub is_secure: bool,
    /// A proxy said by the PROXY protocol that it does not know who this is; the address is the proxy's own.
    pub is_nameless: bool,
}

impl Peer {
    /// Whether it is one of these, whose word about others counts. Who is not named may be anybody behind the proxy.
    pub fn is_one_of(&self, proxies: &Networks) -> bool {
        !self.is_nameless && proxies.contain(self.address.ip())
    }
}

/// Who has sent a request, shown as `address:port`, or without the port that nobody told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The address. IPv4 is never in the guise of IPv6.
    pub address: IpAddr,
    port: Option<u16>,
}

impl fmt::Display for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(out),
            None => self.address.fmt(out),
        }
    }
}

impl From<SocketAddr> for Client {
    fn from(address: SocketAddr) -> Self {
        Self { address: address.ip().to_canonical(), port: Some(address.port()) }
    }
}

impl Client {
    /// Who stands behind `peer`: each trusted proxy tells who came to it, the last one at the end of `X-Forwarded-For`.
    /// So that is the last who is no trusted proxy; where one tells nothing that can be read, it is that proxy itself.
    pub fn of(peer: &Peer, headers: &HeaderMap, proxies: &Networks) -> Self {
        let mut client = Self::from(peer.address);
        if !peer.is_one_of(proxies) {
            return client;
        }
        let values = headers.get_all(FORWARDED_FOR).iter().rev();
        let entries = values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
        for entry in entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
            if !proxies.contain(client.address) {
                break;
            }
            match parse(entry) {
                Some(told) => client = told,
                None => break,
            }
        }
        client
    }

    /// That of a request on its way to a route, which always has one.
    pub fn in_extensions(extensions: &Extensions) -> Option<Self> {
        extensions.get().copied()
    }

    /// The same, with nobody's address for none.
    pub fn of_head(head: &Parts) -> Self {
        let nobody = Self { address: IpAddr::from([0; 4]), port: None };
        Self::in_extensions(&head.extensions).unwrap_or(nobody)
    }
}

/// An address, with or without a port, and with brackets where IPv6 needs them.
fn parse(entry: &[u8]) -> Option<Client> {
    let text = std::str::from_utf8(entry).ok()?;
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.into());
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address: IpAddr = bare.parse().ok()?;
    Some(Client { address: address.to_canonical(), port: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    /// Who stands behind a peer, when the proxies are in 10/8 and fd00::/8.
    fn behind(peer: &str, values: &[&str]) -> String {
        let peer = Peer { address: peer.parse().unwrap(), is_secure: false, is_nameless: false };
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Client::of(&peer, &headers, &"10.0.0.0/8,fd00::/8".parse().unwrap()).to_string()
    }

    #[test]
    fn the_last_who_is_no_trusted_proxy_is_the_client() {
        for (values, client) in [
            (&["9.9.9.9"][..], "9.9.9.9"),
            (&["1.1.1.1, 9.9.9.9"], "9.9.9.9"),
            (&["1.1.1.1, 9.9.9.9, 10.0.0.7"], "9.9.9.9"),
            (&["1.1.1.1", "9.9.9.9,10.0.0.7", "10.0.0.8"], "9.9.9.9"),
            (&["9.9.9.9:4711"], "9.9.9.9:4711"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["[2001:db8::1]:4711, fd00::2"], "[2001:db8::1]:4711"),
            (&["::ffff:9.9.9.9"], "9.9.9.9"),
            (&[" ,9.9.9.9 , ,"], "9.9.9.9"),
            // All of them are proxies: the first is where it began.
            (&["10.0.0.7, 10.0.0.8"], "10.0.0.7"),
            // Nothing was told, or nothing that can be read.
            (&[], "10.0.0.1:80"),
            (&[""], "10.0.0.1:80"),
            (&["9.9.9.9, unknown"], "10.0.0.1:80"),
            (&["9.9.9.9, _hidden, 10.0.0.7"], "10.0.0.7"),
            (&["\u{e9}, 9.9.9.9"], "9.9.9.9"),
            (&["9.9.9.9, \u{e9}"], "10.0.0.1:80"),
            (&["fe80::1%eth0"], "10.0.0.1:80"),
            (&["9.9.9.9:99999"], "10.0.0.1:80"),
            (&["[9.9.9.9"], "10.0.0.1:80"),
        ] {
            assert_eq!(behind("10.0.0.1:80", values), client, "{values:?}");
        }
    }

    #[test]
    fn nobody_else_is_believed() {
        assert_eq!(behind("9.9.9.9:80", &["1.1.1.1"]), "9.9.9.9:80");
        assert_eq!(behind("[2001:db8::1]:80", &["10.0.0.1"]), "[2001:db8::1]:80");
    }

    proptest! {
        #[test]
        fn no_header_panics_or_names_whom_no_proxy_named(values in prop::collection::vec("[ -~]{0,40}", 0..4)) {
            let values: Vec<_> = values.iter().map(String::as_str).collect();
            prop_assert_eq!(behind("9.9.9.9:80", &values), "9.9.9.9:80");
            behind("10.0.0.1:80", &values);
        }
    }
}

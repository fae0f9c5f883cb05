//! Where a listener listens, written `[host]:port` as Go writes it.
//!
//! Only text is looked at here: a host name is resolved, and an address bound, by whoever opens the listener.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// An address such as `:8001` (all addresses), `127.0.0.1:0` (any free port), `[::1]:80` or `localhost:8001`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    host: Option<String>,
    port: u16,
}

impl ListenAddress {
    /// The host without brackets; `None` means all addresses of the machine, IPv4 and IPv6.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The port; 0 asks the system for a free one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// True if two listeners with these addresses would certainly or probably be in each other's way.
    pub(super) fn collides_with(&self, other: &Self) -> bool {
        let hosts_meet = self.host == other.host || self.host.is_none() || other.host.is_none();
        self.port != 0 && self.port == other.port && hosts_meet
    }
}

impl FromStr for ListenAddress {
    /// Why the text is no listen address, as the end of a sentence that begins with the setting's name.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("must be [host]:port such as :8001 or 127.0.0.1:8001, found {text:?}");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let port = port.parse().map_err(|_| wrong())?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) if is_ipv6(address) => Some(address),
            None if host.is_empty() => None,
            None if is_name(host) => Some(host),
            _ => return Err(wrong()),
        };
        Ok(Self { host: host.map(str::to_owned), port })
    }
}

/// True for an IPv6 address, with or without a zone (`fe80::1%eth0`).
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    address.parse::<Ipv6Addr>().is_ok() && is_name(zone)
}

/// True for what may be a host name or an IPv4 address; whether it exists is found out when it is bound.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
            None => write!(f, ":{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(Option<String>, u16)> {
        let address: ListenAddress = text.parse().ok()?;
        assert_eq!(address.to_string(), text, "an address prints as it was written");
        Some((address.host().map(str::to_owned), address.port()))
    }

    #[test]
    fn addresses_are_read_as_go_writes_them() {
        assert_eq!(parse(":8001"), Some((None, 8001)));
        assert_eq!(parse("127.0.0.1:0"), Some((Some("127.0.0.1".into()), 0)));
        assert_eq!(parse("[::1]:80"), Some((Some("::1".into()), 80)));
        assert_eq!(parse("[fe80::1%eth0]:80"), Some((Some("fe80::1%eth0".into()), 80)));
        assert_eq!(parse("localhost:8001"), Some((Some("localhost".into()), 8001)));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "", ":", "8001", ":x", ":+1", ":65536", "::1:80", "[::1]", "[]:80", "[a]:80", "a b:1", "[::1:80",
            "a/b:1", "é:1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn two_listeners_collide_only_on_one_fixed_port() {
        let collide =
            |one: &str, two: &str| one.parse::<ListenAddress>().unwrap().collides_with(&two.parse().unwrap());
        assert!(collide(":80", ":80") && collide(":80", "127.0.0.1:80") && collide("a:80", "a:80"));
        assert!(!collide(":80", ":81") && !collide(":0", ":0") && !collide("a:80", "b:80"));
    }
}

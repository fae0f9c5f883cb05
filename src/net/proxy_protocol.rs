//! The PROXY protocol, versions 1 and 2: what a proxy says of a connection before its first byte, as HAProxy's
//! `proxy-protocol.txt` has it.
//!
//! Pure functions over bytes. Nothing is read behind a header: it is read in the steps that these functions name, and what
//! follows belongs to TLS or HTTP. The crates that do the same refuse a health check that has no address to tell (`LOCAL` of
//! any family must be taken), or bring more than they save.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What both versions are at least as long as, and by which they are told apart.
pub const START_BYTES: usize = 12;

/// What version 2 has behind the start, before the rest.
pub const FIXED_BYTES: usize = 4;

/// The longest rest of version 2 that is taken: addresses take 216 bytes at most, and what proxies tell beside them is short.
pub const REST_BYTES_MAX: usize = 4_096;

/// The longest line of version 1, with its end.
pub const LINE_BYTES_MAX: usize = 107;

const SIGNATURE: [u8; START_BYTES] = *b"\r\n\r\n\0\r\nQUIT\n";

/// In which version a header begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One line of text.
    One,
    /// Bytes.
    Two,
}

/// Bytes that are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl From<Malformed> for io::Error {
    fn from(Malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, "it is no header of the PROXY protocol")
    }
}

/// What a header tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Where the client is. None if the proxy speaks for itself, as a health check does, or does not know.
    pub client: Option<SocketAddr>,
    /// The client speaks TLS with the proxy.
    pub is_secure: bool,
}

/// Which header begins so.
///
/// # Errors
/// None does.
pub fn version(start: &[u8; START_BYTES]) -> Result<Version, Malformed> {
    match start {
        start if *start == SIGNATURE => Ok(Version::Two),
        start if start.starts_with(b"PROXY ") => Ok(Version::One),
        _ => Err(Malformed),
    }
}

/// How many bytes follow the fixed ones of version 2.
///
/// # Errors
/// There are more than [`REST_BYTES_MAX`].
pub fn rest_bytes(fixed: [u8; FIXED_BYTES]) -> Result<usize, Malformed> {
    let bytes = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if bytes <= REST_BYTES_MAX { Ok(bytes) } else { Err(Malformed) }
}

/// What a header of version 2 tells.
///
/// # Errors
/// It is of another version, or shorter than its family needs.
pub fn two(fixed: [u8; FIXED_BYTES], rest: &[u8]) -> Result<Told, Malformed> {
    let [version_and_command, family, ..] = fixed;
    match version_and_command {
        // LOCAL: the proxy speaks for itself, and whatever else is there is to be passed over.
        0x20 => Ok(Told::default()),
        0x21 => proxied(family, rest).ok_or(Malformed),
        _ => Err(Malformed),
    }
}

fn proxied(family: u8, rest: &[u8]) -> Option<Told> {
    let (client, further) = match family >> 4 {
        0 => (None, rest),
        1 => {
            let (addresses, further) = rest.split_first_chunk::<12>()?;
            let ip = Ipv4Addr::from(*addresses.first_chunk::<4>()?);
            (Some((ip.into(), [addresses[8], addresses[9]])), further)
        }
        2 => {
            let (addresses, further) = rest.split_first_chunk::<36>()?;
            let ip = Ipv6Addr::from(*addresses.first_chunk::<16>()?);
            (Some((IpAddr::from(ip), [addresses[32], addresses[33]])), further)
        }
        // A path of a Unix socket is no address.
        3 => (None, rest.get(216..)?),
        _ => return None,
    };
    let client = client.map(|(ip, port)| SocketAddr::new(ip.to_canonical(), u16::from_be_bytes(port)));
    Some(Told { client, is_secure: speaks_tls(further) })
}

/// Whether the value of the type for TLS is there and says that the client came over it. What is cut short says nothing.
fn speaks_tls(mut values: &[u8]) -> bool {
    const TLS: u8 = 0x20;
    while let [kind, high, low, further @ ..] = values {
        let Some((value, next)) = further.split_at_checked(u16::from_be_bytes([*high, *low]).into()) else {
            return false;
        };
        if *kind == TLS {
            return value.first().is_some_and(|client| client & 1 == 1);
        }
        values = next;
    }
    false
}

/// What a line of version 1 tells, with its end.
///
/// # Errors
/// It is none.
pub fn one(line: &[u8]) -> Result<Told, Malformed> {
    let read = || {
        let text = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
        let mut words = text.split(' ');
        let client = match (words.next()?, words.next()?) {
            ("PROXY", "UNKNOWN") => return Some(None),
            ("PROXY", family @ ("TCP4" | "TCP6")) => {
                let [from, to, from_port, to_port] = std::array::from_fn(|_| words.next());
                let is_of_family = |ip: &IpAddr| ip.is_ipv4() == (family == "TCP4");
                let address = |word: Option<&str>| word?.parse().ok().filter(is_of_family);
                address(to)?;
                port(to_port)?;
                SocketAddr::new(address(from)?.to_canonical(), port(from_port)?)
            }
            _ => return None,
        };
        words.next().is_none().then_some(Some(client))
    };
    read().map(|client| Told { client, is_secure: false }).ok_or(Malformed)
}

fn port(word: Option<&str>) -> Option<u16> {
    let word = word?;
    // A sign and leading zeros are forbidden, though they are numbers (2.1).
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Result<Told, Malformed> {
        let [high, low] = (rest.len() as u16).to_be_bytes();
        let fixed = [command, family, high, low];
        assert_eq!(rest_bytes(fixed), Ok(rest.len()));
        two(fixed, rest)
    }

    fn client(text: &str) -> Result<Told, Malformed> {
        Ok(Told { client: Some(text.parse().unwrap()), is_secure: false })
    }

    const FOUR: [u8; 12] = [10, 0, 0, 1, 10, 0, 0, 2, 0x1F, 0x90, 0, 80];

    #[test]
    fn a_header_begins_in_one_of_two_ways() {
        assert_eq!(version(b"\r\n\r\n\0\r\nQUIT\n"), Ok(Version::Two));
        assert_eq!(version(b"PROXY TCP4 1"), Ok(Version::One));
        assert_eq!(version(b"PROXY UNKNOW"), Ok(Version::One));
        for none in [
            b"GET / HTTP/1",
            b"PROXYTCP4 10",
            b"\r\n\r\n\0\r\nQUIT\r",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00",
        ] {
            assert_eq!(version(none), Err(Malformed));
        }
    }

    #[test]
    fn version_2_tells_addresses_of_both_families() {
        assert_eq!(header(0x21, 0x11, &FOUR), client("10.0.0.1:8080"));
        // Of datagrams it is the same, and what stands behind is passed over.
        assert_eq!(header(0x21, 0x12, &[&FOUR[..], &[3, 0, 1, 9]].concat()), client("10.0.0.1:8080"));
        let mut six = [0; 36];
        (six[0], six[1], six[15], six[33]) = (0x20, 0x01, 7, 5);
        assert_eq!(header(0x21, 0x21, &six), client("[2001::7]:5"));
        let mapped = [&[0; 10][..], &[0xFF, 0xFF, 10, 0, 0, 1], &[0; 16], &[0, 1, 0, 2]].concat();
        assert_eq!(header(0x21, 0x21, &mapped), client("10.0.0.1:1"));
    }

    #[test]
    fn a_proxy_may_speak_for_itself_or_know_no_address() {
        for rest in [&[][..], &FOUR, &[1; 3]] {
            assert_eq!(header(0x20, 0x00, rest), Ok(Told::default()));
            assert_eq!(header(0x20, 0x11, rest), Ok(Told::default()));
            assert_eq!(header(0x21, 0x00, rest), Ok(Told::default()));
        }
        assert_eq!(header(0x21, 0x31, &[b'/'; 216]), Ok(Told::default()));
    }

    #[test]
    fn what_is_too_short_or_of_another_version_is_refused() {
        assert_eq!(header(0x21, 0x11, &FOUR[..11]), Err(Malformed));
        assert_eq!(header(0x21, 0x21, &[0; 35]), Err(Malformed));
        assert_eq!(header(0x21, 0x31, &[0; 215]), Err(Malformed));
        assert_eq!(header(0x21, 0x41, &[0; 300]), Err(Malformed));
        for command in [0x00, 0x11, 0x22, 0x31, 0xFF] {
            assert_eq!(header(command, 0x11, &FOUR), Err(Malformed), "{command:#x}");
        }
        assert_eq!(rest_bytes([0x21, 0x11, 0x10, 0x01]), Err(Malformed));
    }

    #[test]
    fn a_proxy_says_that_the_client_speaks_tls() {
        let secure = |values: &[u8]| header(0x21, 0x11, &[&FOUR[..], values].concat()).unwrap().is_secure;
        assert!(secure(&[0x20, 0, 5, 1, 0, 0, 0, 0]));
        assert!(secure(&[0x04, 0, 2, 9, 9, 0x20, 0, 1, 0x07]));
        for values in [&[][..], &[0x20, 0, 5, 2, 0, 0, 0, 0], &[0x20, 0, 0], &[0x20, 0, 9, 1], &[0x20, 0]] {
            assert!(!secure(values), "{values:?}");
        }
    }

    #[test]
    fn version_1_is_one_line() {
        assert_eq!(one(b"PROXY TCP4 10.0.0.1 10.0.0.2 8080 80\r\n"), client("10.0.0.1:8080"));
        assert_eq!(one(b"PROXY TCP6 2001::7 ::1 5 80\r\n"), client("[2001::7]:5"));
        assert_eq!(one(b"PROXY TCP4 10.0.0.1 10.0.0.2 0 0\r\n"), client("10.0.0.1:0"));
        assert_eq!(one(b"PROXY UNKNOWN\r\n"), Ok(Told::default()));
        assert_eq!(one(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"), Ok(Told::default()));
        for none in [
            "PROXY TCP4 10.0.0.1 10.0.0.2 8080 80\n",
            "PROXY TCP4 ::1 10.0.0.2 8080 80\r\n",
            "PROXY TCP6 10.0.0.1 ::1 8080 80\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 +80 80\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 80 65536\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 080 80\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 80 00\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 80\r\n",
            "PROXY TCP4 10.0.0.1 10.0.0.2 80 80 80\r\n",
            "PROXY TCP4  10.0.0.1 10.0.0.2 80 80\r\n",
            "PROXY UDP4 10.0.0.1 10.0.0.2 80 80\r\n",
            "PROXY\r\n",
            "\r\n",
        ] {
            assert_eq!(one(none.as_bytes()), Err(Malformed), "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_written_is_read(
            fixed: [u8; FIXED_BYTES],
            rest in prop::collection::vec(any::<u8>(), 0..300),
            from: (std::net::Ipv6Addr, u16),
        ) {
            let _ = (rest_bytes(fixed), two(fixed, &rest), one(&rest));
            let from = SocketAddr::new(IpAddr::from(from.0).to_canonical(), from.1);
            prop_assume!(from.is_ipv6());
            let line = format!("PROXY TCP6 {} ::1 {} 1\r\n", from.ip(), from.port());
            prop_assert_eq!(one(line.as_bytes()), Ok(Told { client: Some(from), is_secure: false }));
        }
    }
}

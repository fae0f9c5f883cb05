//! Addresses of clients, as limits count them.

use std::net::{IpAddr, Ipv6Addr};

/// What counts as one address: an IPv4 address, and of IPv6 the /64, which is the least that a customer gets.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

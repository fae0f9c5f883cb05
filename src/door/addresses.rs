//! What one address may do: so many connects and so many calls a second, so many sockets at once.
//!
//! Nothing is counted that is not limited. What is counted is forgotten as soon as it makes no difference any more.

use std::hash::RandomState;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use super::throttle::RetryAfter;
use crate::config::{AddressLimits, Rate};
use crate::hub::{Place, Places};
use crate::model::Refusal;

/// How many addresses are kept in mind for one limit, about 5 MiB. With more of them at once, all are forgotten: who comes
/// from so many is not held by limits of an address.
const KEPT_MAX: usize = 65_536;

/// What counts as one address: an IPv4 address, and of IPv6 the /64, which is the least that a customer gets.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

/// Counts what addresses do.
#[derive(Debug, Default)]
pub struct Addresses {
    connects: Meter,
    calls: Meter,
    places: Arc<Places>,
}

impl Addresses {
    /// By these limits from now on. What was counted is forgotten where a rate is another one.
    pub fn change(&self, limits: &AddressLimits) {
        self.connects.change(limits.connects);
        self.calls.change(limits.calls);
    }

    /// A call of the API.
    ///
    /// # Errors
    /// [`Refusal::CallsExceeded`].
    pub fn call(&self, address: IpAddr) -> Result<(), Refusal> {
        self.calls.take(address).map_err(|RetryAfter(wait_s)| Refusal::CallsExceeded { wait_s })
    }

    /// Somebody wants to open a socket, of which the address may have so many at once. What it takes, if sockets are counted,
    /// it has until it is gone.
    ///
    /// # Errors
    /// [`Refusal::ConnectsExceeded`], [`Refusal::AddressFull`].
    pub fn connect(
        &self,
        address: IpAddr,
        sockets_max: Option<NonZeroU32>,
    ) -> Result<Option<Place>, Refusal> {
        let taken = self.connects.take(address);
        taken.map_err(|RetryAfter(wait_s)| Refusal::ConnectsExceeded { wait_s })?;
        let place = |max| self.places.take(network(address), max).ok_or(Refusal::AddressFull);
        sockets_max.map(place).transpose()
    }

    /// Forgets what makes no difference any more.
    pub fn tidy(&self) {
        self.connects.tidy();
        self.calls.tidy();
    }
}

type Limiter = RateLimiter<IpAddr, HashMapStateStore<IpAddr, RandomState>, DefaultClock>;

/// One rate, for each address.
#[derive(Debug, Default)]
struct Meter(ArcSwapOption<(Rate, Limiter)>);

impl Meter {
    fn change(&self, rate: Option<Rate>) {
        if self.0.load().as_ref().map(|limiting| limiting.0) != rate {
            self.0.store(rate.map(|rate| Arc::new(limiting(rate))));
        }
    }

    fn take(&self, address: IpAddr) -> Result<(), RetryAfter> {
        let limiting = self.0.load();
        let Some((_, limiter)) = limiting.as_deref() else { return Ok(()) };
        limiter
            .check_key(&network(address))
            .map_err(|not_until| RetryAfter::at_least(not_until.wait_time_from(limiter.clock().now())))
    }

    fn tidy(&self) {
        let limiting_now = self.0.load_full();
        let Some((rate, limiter)) = limiting_now.as_deref() else { return };
        limiter.retain_recent();
        if limiter.len() > KEPT_MAX {
            self.0.store(Some(Arc::new(limiting(*rate))));
        } else {
            limiter.shrink_to_fit();
        }
    }
}

fn limiting(rate: Rate) -> (Rate, Limiter) {
    let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
    (rate, RateLimiter::hashmap(quota))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_second: u32, burst: u32) -> Option<Rate> {
        let [per_second, burst] = [per_second, burst].map(|count| NonZeroU32::new(count).unwrap());
        Some(Rate { per_second, burst })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn of_ipv6_the_network_counts() {
        assert_eq!(network(address("2001:db8:1:2:3:4:5:6")), address("2001:db8:1:2::"));
        assert_eq!(network(address("::ffff:10.0.0.1")), address("10.0.0.1"));
        assert_eq!(network(address("10.0.0.1")), address("10.0.0.1"));
    }

    #[test]
    fn a_burst_is_let_through_and_then_there_is_a_wait_for_this_address_alone() {
        let addresses = Addresses::default();
        addresses.change(&AddressLimits { calls: rate(1, 3), ..AddressLimits::default() });
        let call = |text| addresses.call(address(text));
        assert_eq!([(); 3].map(|()| call("10.0.0.1")), [Ok(()), Ok(()), Ok(())]);
        assert_eq!(call("10.0.0.1"), Err(Refusal::CallsExceeded { wait_s: 1 }));
        assert_eq!(call("10.0.0.2"), Ok(()));
        assert!(addresses.connect(address("10.0.0.1"), None).is_ok(), "what has no limit is not counted");
        addresses.change(&AddressLimits::default());
        assert_eq!(call("10.0.0.1"), Ok(()));
    }

    #[test]
    fn a_rate_that_stays_remembers_and_another_begins_anew() {
        let addresses = Addresses::default();
        let change = |rate| addresses.change(&AddressLimits { connects: rate, ..AddressLimits::default() });
        let connect = || addresses.connect(address("::1"), None).map(drop);
        change(rate(1, 1));
        assert_eq!(connect(), Ok(()));
        change(rate(1, 1));
        assert_eq!(connect(), Err(Refusal::ConnectsExceeded { wait_s: 1 }));
        change(rate(1, 2));
        assert_eq!(connect(), Ok(()));
    }

    #[test]
    fn what_is_kept_is_bounded_and_goes_when_it_makes_no_difference() {
        let addresses = Addresses::default();
        addresses.change(&AddressLimits { calls: rate(1_000_000, 1), ..AddressLimits::default() });
        let kept = || addresses.calls.0.load().as_ref().map_or(0, |limiting| limiting.1.len());
        let call = |n: u32| addresses.call(std::net::Ipv4Addr::from_bits(n).into());
        (0..100).for_each(|n| drop(call(n)));
        while kept() > 0 {
            addresses.tidy();
        }
        addresses.change(&AddressLimits { calls: rate(1, 1), ..AddressLimits::default() });
        (0..=KEPT_MAX as u32).for_each(|n| assert_eq!(call(n), Ok(())));
        addresses.tidy();
        assert_eq!(kept(), 0);
    }
}

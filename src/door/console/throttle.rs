//! How often somebody may try to sign in: each attempt is charged before it is looked at, and given back if it was good,
//! so what counts are failures, however many are under way at once.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quick_cache::unsync::Cache;
use tokio::time::Instant;

use crate::door::addresses::network;

/// Those who are remembered. Of more, who was not seen for longest begins anew.
const REMEMBERED_MAX: usize = 10_000;

/// Who is charged: an address, or an account. Only its hash is kept, as clients choose how long a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payer(u64);

/// A budget of failures for each payer: so many at once, and one more each time that its share of a minute is over.
#[derive(Debug)]
pub struct Throttle {
    /// By when all that was charged will be forgotten.
    debts: Mutex<Cache<u64, Instant>>,
    hasher: RandomState,
    share: Duration,
    credit: Duration,
}

impl Throttle {
    /// At least 1 a minute.
    pub fn new(per_minute: u32) -> Self {
        let share = Duration::from_secs(60) / per_minute;
        let credit = share * (per_minute - 1);
        Self { debts: Mutex::new(Cache::new(REMEMBERED_MAX)), hasher: RandomState::new(), share, credit }
    }

    /// An address; whoever has one of IPv6 has all that share its first half.
    pub fn address(&self, address: IpAddr) -> Payer {
        Payer(self.hasher.hash_one(network(address)))
    }

    /// The admin of an app, whether there is one of that key or not; without a key, the super admin.
    pub fn account(&self, app: Option<&str>) -> Payer {
        Payer(self.hasher.hash_one((app, "account")))
    }

    /// Charges all of them.
    ///
    /// # Errors
    /// One of them has nothing left, and has again after so long; then none is charged.
    pub fn charge(&self, payers: &[Payer], now: Instant) -> Result<(), Duration> {
        let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        let debt = |debts: &mut Cache<u64, Instant>, payer: &Payer| {
            debts.get(&payer.0).copied().map_or(now, |debt| debt.max(now))
        };
        let owed = payers.iter().map(|payer| debt(&mut debts, payer)).max().unwrap_or(now);
        let wait = owed.saturating_duration_since(now + self.credit);
        if !wait.is_zero() {
            return Err(wait);
        }
        for payer in payers {
            let owed = debt(&mut debts, payer);
            debts.insert(payer.0, owed + self.share);
        }
        Ok(())
    }

    /// Gives back what was charged.
    pub fn give_back(&self, payers: &[Payer]) {
        let mut debts = self.debts.lock().unwrap_or_else(PoisonError::into_inner);
        for payer in payers {
            if let Some(debt) = debts.get(&payer.0).copied() {
                debts.insert(payer.0, debt - self.share);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_fail_in_a_minute_and_then_one_after_its_share() {
        let (throttle, now) = (Throttle::new(3), Instant::now());
        let payers = [throttle.account(None), throttle.address([1, 2, 3, 4].into())];
        for _ in 0..3 {
            assert_eq!(throttle.charge(&payers, now), Ok(()));
        }
        assert_eq!(throttle.charge(&payers, now), Err(Duration::from_secs(20)));
        assert_eq!(throttle.charge(&payers[..1], now), Err(Duration::from_secs(20)));
        assert_eq!(throttle.charge(&[throttle.account(Some("x"))], now), Ok(()), "others do not pay for it");
        let later = now + Duration::from_secs(20);
        assert_eq!(throttle.charge(&payers, later), Ok(()));
        assert!(throttle.charge(&payers, later).is_err());
        throttle.give_back(&payers);
        assert_eq!(throttle.charge(&payers, later), Ok(()));
    }

    #[test]
    fn who_has_one_address_of_ipv6_has_its_whole_network() {
        let throttle = Throttle::new(1);
        let payer = |text: &str| throttle.address(text.parse().unwrap());
        assert_eq!(payer("2001:db8::1"), payer("2001:db8::ffff:1"));
        assert_ne!(payer("2001:db8::1"), payer("2001:db8:0:1::1"));
        assert_eq!(payer("::ffff:10.0.0.1"), payer("10.0.0.1"));
        assert_ne!(payer("10.0.0.2"), payer("10.0.0.1"));
    }
}

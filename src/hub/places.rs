//! How many sockets each address has. A place is taken before a socket is admitted and given back when it is gone,
//! wherever that happens: by being dropped.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The sockets of a node by addresses, as far as they are counted.
#[derive(Debug, Default)]
pub struct Places(Mutex<HashMap<IpAddr, u32>>);

/// What a socket takes of its address.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    /// One more for an address, unless it has as many as it may.
    pub fn take(self: &Arc<Self>, address: IpAddr, max: NonZeroU32) -> Option<Place> {
        let mut counts = self.lock();
        let count = counts.entry(address).or_default();
        if *count >= max.get() {
            return None;
        }
        *count += 1;
        Some(Place { places: Arc::clone(self), address })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        // Nothing that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.places.lock();
        if let Entry::Occupied(mut count) = counts.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        // As many as there were sockets, but not for ever.
        if counts.capacity() > 1024 && counts.len() < counts.capacity() / 4 {
            counts.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_was_dropped_and_nothing_is_left_of_it() {
        let (places, max) = (Arc::<Places>::default(), NonZeroU32::new(2).unwrap());
        let [one, other] = ["10.0.0.1", "::1"].map(|address| address.parse().unwrap());
        let first = places.take(one, max);
        let second = places.take(one, max);
        assert!(first.is_some() && second.is_some() && places.take(one, max).is_none());
        let elsewhere = places.take(other, max);
        assert!(elsewhere.is_some());
        drop(first);
        let third = places.take(one, max);
        assert!(third.is_some() && places.take(one, max).is_none());
        drop((second, third, elsewhere));
        assert!(places.lock().is_empty());
    }
}

//! Which notices are due in one app. A channel or a member that is gone is told of only after a grace, and not at all if
//! it comes back meanwhile (pusher-channels 15); a cache miss is told once in a while.
//!
//! Always: what is held stands in the order in which it happened, so a member is gone before its channel is.

use std::collections::{BTreeMap, HashMap};

use super::agenda::Millis;
use crate::model::{ChannelName, UserId};

/// How long a cache miss stands for those that follow, in milliseconds.
const MISS_MS: Millis = 60_000;

/// What is gone: a channel, or a member of it.
pub type Gone = (ChannelName, Option<UserId>);

/// What of one app is still to be told.
#[derive(Debug, Default)]
pub struct Ledger {
    held: HashMap<Gone, (Millis, u64)>,
    /// The same by the time when it is told; the number keeps the order within a millisecond.
    in_order: BTreeMap<(Millis, u64), Gone>,
    next_number: u64,
    /// When a cache miss of a channel was told.
    misses: HashMap<ChannelName, Millis>,
}

impl Ledger {
    /// Something is gone: to be told at `due`.
    pub fn hold(&mut self, gone: Gone, due: Millis) {
        let place = (due, self.next_number);
        self.next_number += 1;
        self.in_order.insert(place, gone.clone());
        if let Some(earlier) = self.held.insert(gone, place) {
            self.in_order.remove(&earlier);
        }
    }

    /// Something is there. Whether it is back before anybody was told that it was gone.
    pub fn take_back(&mut self, gone: &Gone) -> bool {
        let place = self.held.remove(gone);
        place.is_some_and(|place| self.in_order.remove(&place).is_some())
    }

    /// What is to be told by `now`, in the order in which it went.
    pub fn due(&mut self, now: Millis) -> Vec<Gone> {
        self.misses.retain(|_, told| now < *told + MISS_MS);
        let later = self.in_order.split_off(&(now.saturating_add(1), 0));
        let due = std::mem::replace(&mut self.in_order, later);
        due.values().for_each(|gone| {
            self.held.remove(gone);
        });
        due.into_values().collect()
    }

    /// When the next is to be told.
    pub fn next_due(&self) -> Option<Millis> {
        self.in_order.first_key_value().map(|((due, _), _)| *due)
    }

    /// Somebody found nothing kept in a channel. Whether that is worth telling.
    pub fn miss(&mut self, channel: &ChannelName, now: Millis) -> bool {
        if self.misses.get(channel).is_some_and(|told| now < told + MISS_MS) {
            return false;
        }
        self.misses.insert(channel.clone(), now);
        true
    }

    /// From now on a miss in this channel is worth telling again.
    pub fn forget_miss(&mut self, channel: &ChannelName) {
        self.misses.remove(channel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    #[test]
    fn who_comes_back_in_time_was_never_gone() {
        let mut ledger = Ledger::default();
        let gone = (channel("a"), None);
        ledger.hold(gone.clone(), 3000);
        assert!(ledger.take_back(&gone));
        assert!(!ledger.take_back(&gone));
        assert!(ledger.due(5000).is_empty());
        ledger.hold(gone.clone(), 3000);
        assert_eq!((ledger.due(2999), ledger.due(3000)), (vec![], vec![gone.clone()]));
        assert!(!ledger.take_back(&gone));
    }

    #[test]
    fn a_member_is_gone_before_its_channel_is() {
        let mut ledger = Ledger::default();
        let (member, room) =
            ((channel("presence-a"), Some(UserId::parse("u").unwrap())), (channel("presence-a"), None));
        ledger.hold(member.clone(), 3000);
        ledger.hold(room.clone(), 3000);
        assert_eq!(ledger.due(3000), [member, room]);
    }

    #[test]
    fn a_miss_is_told_once_a_minute() {
        let (mut ledger, name) = (Ledger::default(), channel("cache-a"));
        assert!(ledger.miss(&name, 0));
        assert!(!ledger.miss(&name, 59_999));
        assert!(ledger.miss(&name, 60_000));
        ledger.forget_miss(&name);
        assert!(ledger.miss(&name, 60_001));
    }
}

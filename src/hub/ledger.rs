//! What of one app webhooks are still to be told: where what is so differs from what they were told last. Who is gone is
//! told of only after a grace, and not at all if it comes back meanwhile (pusher-channels 15); a cache miss is told once in
//! a while.
//!
//! Always: every node of a cluster keeps the same ledger; one of them tells, and what it told is struck out by all. So what
//! a node that dies has left untold stands in the ledgers of the others. What is due stands in the order in which it
//! happened; and whatever the order, a channel is occupied before it has members, and has none before it is vacated.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::agenda::Millis;
use crate::model::{ChannelName, UserId};

/// How long a cache miss stands for those that follow, in milliseconds.
const MISS_MS: Millis = 60_000;

/// With each miss so many old ones are forgotten: more than one, so that they get fewer, and few, so that it takes no time.
const MISSES_FORGOTTEN: usize = 4;

/// What webhooks are told of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Matter {
    /// That a channel is occupied, or not.
    Channel(ChannelName),
    /// That a member is there, or not.
    Member(ChannelName, UserId),
    /// How many subscribe to a channel.
    Count(ChannelName),
}

impl Matter {
    /// The channel that it is about.
    pub fn channel(&self) -> &ChannelName {
        match self {
            Matter::Channel(channel) | Matter::Member(channel, _) | Matter::Count(channel) => channel,
        }
    }
}

/// Something that webhooks are still to be told.
#[derive(Debug)]
struct Owed {
    is_there: bool,
    /// When it is told; none while it is due and left to another node.
    due: Option<Millis>,
    /// In the order in which it happened.
    number: u64,
    /// The epoch of this node in which it was noted.
    epoch: u64,
}

/// What of one app is still to be told.
#[derive(Debug, Default)]
pub struct Ledger {
    owed: HashMap<Matter, Owed>,
    /// What waits for its time, in order.
    in_order: BTreeMap<(Millis, u64), Matter>,
    /// What is due and left to another node, in order.
    left: BTreeMap<u64, Matter>,
    /// The members of a channel of whom it is to be told that they are gone; never none.
    members_gone: HashMap<ChannelName, HashSet<UserId>>,
    next_number: u64,
    /// When a cache miss of a channel was told.
    misses: HashMap<ChannelName, Millis>,
    /// The same in order.
    misses_in_order: BTreeSet<(Millis, ChannelName)>,
}

impl Ledger {
    /// Something came or went, in this epoch of this node: to be told at `due`, unless webhooks were never told otherwise.
    pub fn change(&mut self, matter: Matter, is_there: bool, due: Millis, epoch: u64) {
        match self.owed.get(&matter) {
            Some(owed) if owed.is_there == is_there => {}
            Some(_) => self.strike_out(&matter),
            None => self.owe(matter, is_there, due, epoch),
        }
    }

    /// A number changed: to be told at `due`.
    pub fn change_count(&mut self, channel: &ChannelName, due: Millis, epoch: u64) {
        self.change(Matter::Count(channel.clone()), true, due, epoch);
    }

    /// Another node told webhooks that something came or went. Where this node knows otherwise, that is told at `due`,
    /// unless it learns better until then.
    pub fn learn(&mut self, matter: Matter, told: bool, is_there: bool, due: Millis, epoch: u64) {
        if told == is_there {
            self.strike_out(&matter);
        } else if !self.owed.contains_key(&matter) {
            self.owe(matter, is_there, due, epoch);
        }
    }

    /// Something is as webhooks know it: what says otherwise is struck out.
    pub fn agree(&mut self, matter: &Matter, is_there: bool) {
        if self.owed.get(matter).is_some_and(|owed| owed.is_there != is_there) {
            self.strike_out(matter);
        }
    }

    /// Webhooks know this, or need not.
    pub fn strike_out(&mut self, matter: &Matter) {
        let Some(owed) = self.owed.remove(matter) else { return };
        match owed.due {
            Some(due) => self.in_order.remove(&(due, owed.number)),
            None => self.left.remove(&owed.number),
        };
        if let (Matter::Member(channel, user), false) = (matter, owed.is_there)
            && let Some(gone) = self.members_gone.get_mut(channel)
        {
            gone.remove(user);
            if gone.is_empty() {
                self.members_gone.remove(channel);
            }
        }
    }

    /// What is to be told by `now` and is this node's task, in its order: it is struck out. The rest is left to the others.
    pub fn due(&mut self, now: Millis, is_mine: impl Fn(&ChannelName) -> bool) -> Vec<(Matter, bool)> {
        let later = self.in_order.split_off(&(now.saturating_add(1), 0));
        let due = std::mem::replace(&mut self.in_order, later);
        let mut mine = Vec::new();
        for ((_, number), matter) in due {
            if is_mine(matter.channel()) {
                self.take_in_order(matter, &mut mine);
            } else if let Some(owed) = self.owed.get_mut(&matter) {
                owed.due = None;
                self.left.insert(number, matter);
            }
        }
        mine
    }

    /// Takes what is to be told, and what must be told before it, whenever that is due: what others told and what this node
    /// noted may have come in another order.
    fn take_in_order(&mut self, matter: Matter, into: &mut Vec<(Matter, bool)>) {
        // It may have been told before its time.
        let Some(is_there) = self.owed.get(&matter).map(|owed| owed.is_there) else { return };
        let before = match (&matter, is_there) {
            (Matter::Member(channel, _), true) => vec![Matter::Channel(channel.clone())],
            (Matter::Channel(channel), false) => {
                let gone = self.members_gone.get(channel).into_iter().flatten();
                gone.map(|user| Matter::Member(channel.clone(), user.clone())).collect()
            }
            _ => Vec::new(),
        };
        for matter in before.into_iter().chain([matter]) {
            if self.owed.get(&matter).is_some_and(|owed| owed.is_there == is_there) {
                self.strike_out(&matter);
                into.push((matter, is_there));
            }
        }
    }

    /// The tasks are shared out anew: what was left to others is due again, before all that happened later. Whether there
    /// is anything.
    pub fn reconsider(&mut self) -> bool {
        for (number, matter) in std::mem::take(&mut self.left) {
            if let Some(owed) = self.owed.get_mut(&matter) {
                owed.due = Some(0);
                self.in_order.insert((0, number), matter);
            }
        }
        !self.in_order.is_empty()
    }

    /// All that is still to be told, and whether it is there.
    pub fn owed(&self) -> impl Iterator<Item = (&Matter, bool)> {
        self.owed.iter().map(|(matter, owed)| (matter, owed.is_there))
    }

    /// Whether a matter is still to be told, and then whether it is there.
    pub fn owed_of(&self, matter: &Matter) -> Option<bool> {
        self.owed.get(matter).map(|owed| owed.is_there)
    }

    /// Strikes out what is of these channels, but for what is listed: their node says that it owes no more.
    pub fn strike_out_others(&mut self, listed: &HashSet<Matter>, is_of: impl Fn(&ChannelName) -> bool) {
        self.strike_out_unlisted(listed, |matter, _| is_of(matter.channel()));
    }

    /// Strikes out what was noted before this epoch, but for what is listed: that was told since, while this node could not
    /// hear of it.
    pub fn strike_out_older(&mut self, listed: &HashSet<Matter>, epoch: u64) {
        self.strike_out_unlisted(listed, |_, owed| owed.epoch < epoch);
    }

    fn strike_out_unlisted(&mut self, listed: &HashSet<Matter>, is_meant: impl Fn(&Matter, &Owed) -> bool) {
        let meant =
            self.owed.iter().filter(|(matter, owed)| !listed.contains(matter) && is_meant(matter, owed));
        let meant: Vec<Matter> = meant.map(|(matter, _)| matter.clone()).collect();
        meant.iter().for_each(|matter| self.strike_out(matter));
    }

    /// When the next is to be told.
    pub fn next_due(&self) -> Option<Millis> {
        self.in_order.first_key_value().map(|((due, _), _)| *due)
    }

    /// Somebody found nothing kept in a channel. Whether that is worth telling.
    pub fn miss(&mut self, channel: &ChannelName, now: Millis) -> bool {
        for _ in 0..MISSES_FORGOTTEN {
            let Some((told, channel)) =
                self.misses_in_order.first().filter(|(told, _)| told + MISS_MS <= now)
            else {
                break;
            };
            self.misses.remove(channel);
            let old = (*told, channel.clone());
            self.misses_in_order.remove(&old);
        }
        if self.misses.get(channel).is_some_and(|told| now < told + MISS_MS) {
            return false;
        }
        self.forget_miss(channel);
        self.misses.insert(channel.clone(), now);
        self.misses_in_order.insert((now, channel.clone()));
        true
    }

    /// From now on a miss in this channel is worth telling again.
    pub fn forget_miss(&mut self, channel: &ChannelName) {
        if let Some(told) = self.misses.remove(channel) {
            self.misses_in_order.remove(&(told, channel.clone()));
        }
    }

    fn owe(&mut self, matter: Matter, is_there: bool, due: Millis, epoch: u64) {
        let number = self.next_number;
        self.next_number += 1;
        if let (Matter::Member(channel, user), false) = (&matter, is_there) {
            self.members_gone.entry(channel.clone()).or_default().insert(user.clone());
        }
        self.in_order.insert((due, number), matter.clone());
        self.owed.insert(matter, Owed { is_there, due: Some(due), number, epoch });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    fn room() -> Matter {
        Matter::Channel(channel("presence-a"))
    }

    fn member() -> Matter {
        Matter::Member(channel("presence-a"), UserId::parse("u").unwrap())
    }

    #[test]
    fn who_comes_back_in_time_was_never_gone() {
        let mut ledger = Ledger::default();
        ledger.change(room(), false, 3000, 1);
        ledger.change(room(), true, 1000, 1);
        assert!(ledger.due(5000, |_| true).is_empty());
        ledger.change(room(), false, 3000, 1);
        assert_eq!(ledger.due(2999, |_| true), []);
        assert_eq!(ledger.due(3000, |_| true), [(room(), false)]);
        ledger.change(room(), true, 4000, 1);
        assert_eq!(ledger.due(4000, |_| true), [(room(), true)]);
    }

    #[test]
    fn a_member_is_gone_before_its_channel_is() {
        let mut ledger = Ledger::default();
        ledger.change(member(), false, 3000, 1);
        ledger.change(room(), false, 3000, 1);
        assert_eq!(ledger.due(3000, |_| true), [(member(), false), (room(), false)]);
    }

    #[test]
    fn what_another_node_told_is_struck_out_and_what_it_left_is_not() {
        let mut ledger = Ledger::default();
        ledger.change(room(), true, 0, 1);
        ledger.change(member(), true, 0, 1);
        assert_eq!(ledger.due(0, |_| false), []);
        ledger.learn(room(), true, true, 3000, 1);
        assert!(ledger.reconsider());
        assert_eq!(ledger.due(1, |_| true), [(member(), true)]);
        assert!(!ledger.reconsider());
    }

    #[test]
    fn a_channel_is_occupied_before_it_has_members_and_has_none_before_it_is_vacated() {
        for (is_there, order) in [(true, [room(), member()]), (false, [member(), room()])] {
            let mut ledger = Ledger::default();
            let [first, second] = order.clone();
            ledger.learn(second, !is_there, is_there, 0, 1);
            ledger.learn(first, !is_there, is_there, 3_000, 1);
            assert_eq!(ledger.due(0, |_| true), order.map(|matter| (matter, is_there)));
            assert!(ledger.due(3_000, |_| true).is_empty() && ledger.members_gone.is_empty());
        }
    }

    #[test]
    fn what_was_told_before_it_is_known_here_is_not_told_again() {
        let mut ledger = Ledger::default();
        ledger.learn(room(), true, false, 3000, 1);
        ledger.change(room(), true, 10, 1);
        assert!(ledger.due(5000, |_| true).is_empty());
        // Unless it never comes to be known.
        ledger.learn(room(), true, false, 8000, 1);
        assert_eq!(ledger.due(8000, |_| true), [(room(), false)]);
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

    #[test]
    fn old_misses_are_forgotten_a_few_with_each_new_one() {
        let mut ledger = Ledger::default();
        (0..100).for_each(|number| assert!(ledger.miss(&channel(&format!("cache-{number}")), 0)));
        let before = ledger.misses.len();
        assert!(ledger.miss(&channel("cache-new"), 60_000));
        assert_eq!(before - ledger.misses.len(), MISSES_FORGOTTEN - 1);
        assert!((0..100).all(|number| ledger.miss(&channel(&format!("cache-{number}")), 60_000)));
        assert_eq!((ledger.misses.len(), ledger.misses_in_order.len()), (101, 101));
    }
}

//! Who is online in one app, who is in which channel, and on which shards. First in and last out show here.
//!
//! Whoever changes the membership of an app, or posts to its shards, holds its directory: so all shards see the
//! publications of an app in one order, and a count never includes a socket that the push is not sent to. A
//! shard clears its own mark when the last socket of a user leaves it; nobody else does.

use std::collections::HashSet;
use std::ops::Range;

use indexmap::IndexMap;

use super::agenda::Millis;
use super::arrivals::Arrivals;
use super::bearers::Bearers;
use super::channels::Channels;
use super::follows::FollowNumber;
use super::holders::{Holders, Tally};
use super::ledger::{Ledger, Matter};
use super::users::Users;
use super::walk::page;
use crate::model::{Item, NodeId, Reach, Recipients, Share, UserId};

/// The most shards a node may have: one bit each.
pub const SHARDS_MAX: usize = 64;

/// Names a shard of this node, from 0.
pub type ShardIndex = usize;

/// A set of shards of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSet(u64);

impl ShardSet {
    pub(super) fn insert(&mut self, shard: ShardIndex) {
        self.0 |= 1 << shard;
    }

    pub(super) fn remove(&mut self, shard: ShardIndex) {
        self.0 &= !(1 << shard);
    }

    pub(super) fn add_all(&mut self, other: ShardSet) {
        self.0 |= other.0;
    }

    /// The shards in it, ascending.
    pub fn iter(self) -> impl Iterator<Item = ShardIndex> {
        (0..SHARDS_MAX).filter(move |shard| self.0 & (1 << shard) != 0)
    }
}

/// The sockets of one app: those of this node by shard, and how many the others have.
#[derive(Debug, Default)]
pub struct Directory {
    users: IndexMap<UserId, Holders>,
    /// Sockets per shard; grows to the highest shard in use.
    sockets: Vec<u32>,
    /// Sockets per shard that belong to no user: they live on channels.
    others: Vec<u32>,
    /// The same on the other nodes.
    sockets_elsewhere: Tally,
    others_elsewhere: Tally,
    /// Of what this node's share has changed since the other nodes were told.
    pub changed: HashSet<Item>,
    /// It stands in the link's list of apps in which something is to be told.
    pub is_listed: bool,
    closed: bool,
    /// What is to be followed before a socket of this app hears all that is for it.
    pub follow: FollowNumber,
    /// Who is in which channel.
    pub channels: Channels,
    /// Who came with a token.
    pub bearers: Bearers,
    /// Who is signed in.
    pub signed_in: Users,
    /// What webhooks are still to be told.
    pub ledger: Ledger,
    /// What other nodes published here to no channel.
    arrivals: Arrivals,
}

impl Directory {
    /// A numbered publication of another node has arrived. Whether it comes too late to be delivered in order.
    pub fn is_late(&mut self, to: &Recipients, node: NodeId, number: u64) -> bool {
        match to {
            Recipients::Channel(channel) => self.channels.is_late(channel, node, number),
            // Its time is that at which its users were found.
            Recipients::UsersMatching(_) => false,
            _ => self.arrivals.is_late(node, number),
        }
    }

    /// Lists a socket of `user` on `shard`.
    pub fn join(&mut self, user: &UserId, shard: ShardIndex) {
        let online = match self.users.get_mut(user) {
            Some(online) => online,
            None => self.users.entry(user.clone()).or_default(),
        };
        online.join(shard);
        add_one(&mut self.sockets, shard);
    }

    /// Counts a socket without a user on `shard`.
    pub fn join_other(&mut self, shard: ShardIndex) {
        add_one(&mut self.others, shard);
    }

    /// Takes a socket without a user off again.
    pub fn leave_other(&mut self, shard: ShardIndex) {
        self.others[shard] -= 1;
    }

    /// Takes a socket of `user` off; `last_on_shard` when that shard holds no other socket of the user.
    pub fn leave(&mut self, user: &UserId, shard: ShardIndex, last_on_shard: bool) {
        let Some((index, _, online)) = self.users.get_full_mut(user) else { return };
        if online.leave(shard, last_on_shard) {
            self.users.swap_remove_index(index);
            self.give_back_memory();
        }
        self.sockets[shard] -= 1;
    }

    /// From now on nobody joins.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Whether the app is gone.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Distinct users, and all sockets.
    pub fn reach(&self) -> Reach {
        Reach { users: self.users.len(), sockets: sum(&self.sockets) + self.sockets_elsewhere.total() }
    }

    /// All sockets, with a user or without.
    pub fn all_sockets(&self) -> usize {
        self.sockets_here() + self.sockets_elsewhere.total() + self.others_elsewhere.total()
    }

    /// All sockets on this node, with a user or without.
    pub fn sockets_here(&self) -> usize {
        sum(&self.sockets) + self.others_here()
    }

    /// The sockets on this node that belong to no user.
    pub fn others_here(&self) -> usize {
        sum(&self.others)
    }

    /// The sockets of a user.
    pub fn tally(&self, user: &UserId) -> Tally {
        self.users.get(user).map(|online| online.sockets).unwrap_or_default()
    }

    /// Those among the users at these positions that have sockets on this node.
    pub fn users_here_at(&self, range: Range<usize>) -> impl Iterator<Item = &UserId> {
        let users = self.users.get_range(range).into_iter().flatten();
        users.filter(|(_, online)| online.sockets.here > 0).map(|(user, _)| user)
    }

    /// Another node's share of a user is `to` instead of `from`.
    pub fn learn_user(&mut self, user: &UserId, from: &Share, to: &Share) {
        let entry = self.users.entry(user.clone()).or_default();
        entry.sockets.learn(from, to);
        self.sockets_elsewhere.learn(from, to);
        if entry.sockets.is_zero() {
            self.users.swap_remove(user);
            self.give_back_memory();
        }
    }

    /// Another node's share of the sockets without a user is `to` instead of `from`.
    pub fn learn_others(&mut self, from: &Share, to: &Share) {
        self.others_elsewhere.learn(from, to);
    }

    /// Whether a channel has subscribers, or a member is there.
    pub fn is_there(&self, matter: &Matter) -> bool {
        match matter {
            Matter::Channel(channel) => !self.channels.tally(channel).is_zero(),
            Matter::Member(channel, user) => self.channels.has_member(channel, user),
            Matter::Count(_) => true,
        }
    }

    /// When something in this is next to be done.
    pub fn next_due(&self) -> Option<Millis> {
        self.channels.next_due().into_iter().chain(self.ledger.next_due()).min()
    }

    /// The shards that hold users of the app.
    pub fn shards(&self) -> ShardSet {
        used(&self.sockets)
    }

    /// The shards that hold any socket of the app.
    pub fn all_shards(&self) -> ShardSet {
        let mut shards = used(&self.sockets);
        shards.add_all(used(&self.others));
        shards
    }

    /// The users in `wanted` that are online, each once, what they add up to, and the shards that hold them.
    pub fn resolve(&self, wanted: impl IntoIterator<Item = UserId>) -> (Vec<UserId>, Reach, ShardSet) {
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let (mut sockets, mut shards) = (0, ShardSet::default());
        for user in wanted {
            let Some((index, _, online)) = self.users.get_full(&user) else { continue };
            if !seen.insert(index) {
                continue;
            }
            sockets += online.sockets.total();
            shards.add_all(online.shards);
            found.push(user);
        }
        let reach = Reach { users: found.len(), sockets };
        (found, reach, shards)
    }

    /// The user of that name, if online.
    pub fn find(&self, user: &str) -> Option<UserId> {
        self.users.get_key_value(user).map(|(user, _)| user.clone())
    }

    /// How many users are online.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether nobody is online.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// The users that are online, and their sockets: a page of a walk (`hub/walk.rs`).
    pub fn page(&self, end: usize, count: usize) -> impl Iterator<Item = (&UserId, Tally)> {
        page(&self.users, end, count).map(|(user, online)| (user, online.sockets))
    }

    /// A directory that once held many must not keep their memory.
    fn give_back_memory(&mut self) {
        if self.users.capacity() > 1024 && self.users.len() < self.users.capacity() / 4 {
            self.users.shrink_to(self.users.len() * 2);
        }
    }
}

fn add_one(counts: &mut Vec<u32>, shard: ShardIndex) {
    if counts.len() <= shard {
        counts.resize(shard + 1, 0);
    }
    counts[shard] += 1;
}

fn sum(counts: &[u32]) -> usize {
    counts.iter().map(|count| *count as usize).sum()
}

fn used(counts: &[u32]) -> ShardSet {
    let mut shards = ShardSet::default();
    (0..counts.len()).filter(|shard| counts[*shard] > 0).for_each(|shard| shards.insert(shard));
    shards
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn user(name: u8) -> UserId {
        UserId::parse(&format!("u{name}")).unwrap()
    }

    proptest! {
        /// The model is a plain count of sockets per user and shard.
        #[test]
        fn agrees_with_a_naive_model(steps in prop::collection::vec((any::<bool>(), 0u8..6, 0usize..3), 0..200)) {
            let mut directory = Directory::default();
            let mut model: BTreeMap<(u8, usize), u32> = BTreeMap::new();
            for (joins, name, shard) in steps {
                let count = model.entry((name, shard)).or_default();
                if joins {
                    directory.join(&user(name), shard);
                    *count += 1;
                } else if *count > 0 {
                    *count -= 1;
                    directory.leave(&user(name), shard, *count == 0);
                }
                model.retain(|_, count| *count > 0);
            }
            let sockets: u32 = model.values().sum();
            let mut names: Vec<u8> = model.keys().map(|(name, _)| *name).collect();
            names.dedup();
            prop_assert_eq!(directory.reach(), Reach { users: names.len(), sockets: sockets as usize });
            for name in 0..6 {
                let (_, reach, shards) = directory.resolve([user(name)]);
                let held: Vec<usize> = model.keys().filter(|(held, _)| *held == name).map(|(_, shard)| *shard).collect();
                prop_assert_eq!(shards.iter().collect::<Vec<_>>(), held);
                prop_assert_eq!(reach.users, usize::from(names.contains(&name)));
            }
        }
    }

    #[test]
    fn a_walk_from_the_end_misses_nobody_who_stays() {
        let mut directory = Directory::default();
        (0..10).for_each(|name| directory.join(&user(name), 0));
        let page = |directory: &Directory, end, count| -> Vec<UserId> {
            directory.page(end, count).map(|(user, _)| user.clone()).collect()
        };
        let mut seen = page(&directory, 10, 4);
        directory.leave(&user(2), 0, true);
        seen.extend(page(&directory, 6, 6));
        assert!((0..10).filter(|name| *name != 2).all(|name| seen.contains(&user(name))));
    }
}

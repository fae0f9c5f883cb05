//! Who is signed in to one app, and who watches whom. First in and last out show here.

use std::collections::HashMap;
use std::ops::Range;

use indexmap::IndexMap;

use super::directory::{ShardIndex, ShardSet};
use super::holders::{Holders, Tally};
use super::walk::page;
use crate::model::{Share, UserId};

/// What those who watch somebody are told when they begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Signed in somewhere.
    pub online: Vec<UserId>,
    /// Not signed in.
    pub offline: Vec<UserId>,
    /// The last change that this includes.
    pub revision: u64,
}

/// The signed-in users of one app, and their watchers.
#[derive(Debug, Default)]
pub struct Users {
    signed_in: IndexMap<UserId, Holders>,
    watchers: HashMap<UserId, Holders>,
    revision: u64,
}

impl Users {
    /// A socket on `shard` signs in. Whether it is the user's first; then the revision of that change.
    pub fn sign_in(&mut self, user: &UserId, shard: ShardIndex) -> Option<u64> {
        let is_first = self.signed_in.entry(user.clone()).or_default().join(shard);
        is_first.then(|| self.next_revision())
    }

    /// A signed-in socket is gone. Whether it was the user's last; then the revision of that change.
    pub fn sign_out(&mut self, user: &UserId, shard: ShardIndex, last_on_shard: bool) -> Option<u64> {
        let is_last = self.signed_in.get_mut(user)?.leave(shard, last_on_shard);
        if !is_last {
            return None;
        }
        self.signed_in.swap_remove(user);
        Some(self.next_revision())
    }

    /// Another node's share of a user is `to` instead of `from`. Whether the user came or went by that; then the revision
    /// of that change.
    pub fn learn(&mut self, user: &UserId, from: &Share, to: &Share) -> Option<u64> {
        let sockets = &mut self.signed_in.entry(user.clone()).or_default().sockets;
        let was_there = !sockets.is_zero();
        sockets.learn(from, to);
        let is_there = !sockets.is_zero();
        if !is_there {
            self.signed_in.swap_remove(user);
        }
        (was_there != is_there).then(|| self.next_revision())
    }

    /// Those among the users at these positions that are signed in on this node.
    pub fn here_at(&self, range: Range<usize>) -> impl Iterator<Item = &UserId> {
        let users = self.signed_in.get_range(range).into_iter().flatten();
        users.filter(|(_, held)| held.sockets.here > 0).map(|(user, _)| user)
    }

    /// The users that are signed in, and their sockets: a page of a walk (`hub/walk.rs`).
    pub fn page(&self, end: usize, count: usize) -> impl Iterator<Item = (&UserId, Tally)> {
        page(&self.signed_in, end, count).map(|(user, held)| (user, held.sockets))
    }

    /// How many users are signed in.
    pub fn len(&self) -> usize {
        self.signed_in.len()
    }

    /// A user's sockets.
    pub fn tally(&self, user: &UserId) -> Tally {
        self.signed_in.get(user).map(|sockets| sockets.sockets).unwrap_or_default()
    }

    /// A socket on `shard` begins to watch these users, each named once.
    pub fn watch(&mut self, users: &[UserId], shard: ShardIndex) -> Watched {
        for user in users {
            self.watchers.entry(user.clone()).or_default().join(shard);
        }
        let (online, offline) =
            users.iter().cloned().partition(|user: &UserId| self.signed_in.contains_key(user));
        Watched { online, offline, revision: self.revision }
    }

    /// A socket no longer watches a user.
    pub fn unwatch(&mut self, user: &UserId, shard: ShardIndex, last_on_shard: bool) {
        if self.watchers.get_mut(user).is_some_and(|watchers| watchers.leave(shard, last_on_shard)) {
            self.watchers.remove(user);
        }
    }

    /// The shards that hold sockets of a user.
    pub fn shards(&self, user: &UserId) -> ShardSet {
        self.signed_in.get(user).map(|sockets| sockets.shards).unwrap_or_default()
    }

    /// The shards that hold watchers of a user.
    pub fn watching_shards(&self, user: &UserId) -> ShardSet {
        self.watchers.get(user).map(|watchers| watchers.shards).unwrap_or_default()
    }

    fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    #[test]
    fn only_the_first_sign_in_and_the_last_sign_out_are_changes() {
        let (mut users, anna) = (Users::default(), user("anna"));
        assert_eq!(users.sign_in(&anna, 0), Some(1));
        assert_eq!(users.sign_in(&anna, 1), None);
        assert_eq!(users.shards(&anna).iter().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(users.sign_out(&anna, 0, true), None);
        assert_eq!(users.shards(&anna).iter().collect::<Vec<_>>(), [1]);
        assert_eq!(users.sign_out(&anna, 1, true), Some(2));
        assert_eq!(users.sign_out(&anna, 1, true), None);
    }

    #[test]
    fn who_begins_to_watch_is_told_who_is_there() {
        let mut users = Users::default();
        users.sign_in(&user("anna"), 0);
        let watched = users.watch(&[user("anna"), user("ben")], 3);
        let told = Watched { online: vec![user("anna")], offline: vec![user("ben")], revision: 1 };
        assert_eq!(watched, told);
        assert_eq!(users.watching_shards(&user("ben")).iter().collect::<Vec<_>>(), [3]);
        users.unwatch(&user("ben"), 3, true);
        assert_eq!(users.watching_shards(&user("ben")).iter().count(), 0);
    }
}

//! Who came to one app with a token, and who of them is in which channel. Up to date by each join and leave.

use std::ops::Range;

use indexmap::IndexMap;

use super::directory::{ShardIndex, ShardSet};
use super::holders::{Holders, Tally};
use super::walk::page;
use crate::model::{ChannelName, Share, UserId};

/// The subscriptions of one channel that came with a token, and how many of them each user holds.
#[derive(Debug, Default)]
struct Attended {
    subscriptions: Tally,
    users: IndexMap<UserId, Tally>,
}

/// The sockets of one app that came with a token. A token may name no user.
#[derive(Debug, Default)]
pub struct Bearers {
    /// All of them, whether their token names a user or not.
    pub sockets: Tally,
    users: IndexMap<UserId, Holders>,
    channels: IndexMap<ChannelName, Attended>,
}

impl Bearers {
    /// A socket comes to `shard`.
    pub fn join(&mut self, user: Option<&UserId>, shard: ShardIndex) {
        self.sockets.here += 1;
        if let Some(user) = user {
            self.users.entry(user.clone()).or_default().join(shard);
        }
    }

    /// A socket goes; `last_on_shard` when its shard holds no other of its user.
    pub fn leave(&mut self, user: Option<&UserId>, shard: ShardIndex, last_on_shard: bool) {
        self.sockets.here -= 1;
        let Some(user) = user else { return };
        if self.users.get_mut(user).is_some_and(|sockets| sockets.leave(shard, last_on_shard)) {
            self.users.swap_remove(user);
        }
    }

    /// A socket subscribes to a channel.
    pub fn subscribe(&mut self, channel: &ChannelName, user: Option<&UserId>) {
        let attended = self.channels.entry(channel.clone()).or_default();
        attended.subscriptions.here += 1;
        if let Some(user) = user {
            attended.users.entry(user.clone()).or_default().here += 1;
        }
    }

    /// A socket leaves a channel.
    pub fn unsubscribe(&mut self, channel: &ChannelName, user: Option<&UserId>) {
        let Some(attended) = self.channels.get_mut(channel) else { return };
        attended.subscriptions.here -= 1;
        if let Some(user) = user
            && let Some(held) = attended.users.get_mut(user)
        {
            held.here -= 1;
        }
        self.forget_if_gone(channel, user);
    }

    /// Another node's share of a user's sockets is `to` instead of `from`.
    pub fn learn_user(&mut self, user: &UserId, from: &Share, to: &Share) {
        let sockets = &mut self.users.entry(user.clone()).or_default().sockets;
        sockets.learn(from, to);
        if sockets.is_zero() {
            self.users.swap_remove(user);
        }
    }

    /// Another node's share of a channel, or of a user in it, is `to` instead of `from`.
    pub fn learn_channel(&mut self, channel: &ChannelName, user: Option<&UserId>, from: &Share, to: &Share) {
        let attended = self.channels.entry(channel.clone()).or_default();
        let tally = match user {
            Some(user) => attended.users.entry(user.clone()).or_default(),
            None => &mut attended.subscriptions,
        };
        tally.learn(from, to);
        self.forget_if_gone(channel, user);
    }

    /// Those among the users at these positions that have sockets on this node.
    pub fn here_at(&self, range: Range<usize>) -> impl Iterator<Item = &UserId> {
        let users = self.users.get_range(range).into_iter().flatten();
        users.filter(|(_, held)| held.sockets.here > 0).map(|(user, _)| user)
    }

    /// A user's sockets.
    pub fn tally(&self, user: &UserId) -> Tally {
        self.users.get(user).map(|held| held.sockets).unwrap_or_default()
    }

    /// The subscriptions of a channel, or those of a user in it.
    pub fn tally_in(&self, channel: &ChannelName, user: Option<&UserId>) -> Tally {
        let Some(attended) = self.channels.get(channel) else { return Tally::default() };
        match user {
            Some(user) => attended.users.get(user).copied().unwrap_or_default(),
            None => attended.subscriptions,
        }
    }

    fn forget_if_gone(&mut self, channel: &ChannelName, user: Option<&UserId>) {
        let Some(attended) = self.channels.get_mut(channel) else { return };
        if let Some(user) = user
            && attended.users.get(user).is_some_and(|held| held.is_zero())
        {
            attended.users.swap_remove(user);
        }
        // A user may be told of before its channel is.
        if attended.subscriptions.is_zero() && attended.users.is_empty() {
            self.channels.swap_remove(channel);
        }
    }

    /// The users they belong to, and the sockets of each: a page of a walk (`hub/walk.rs`).
    pub fn page(&self, end: usize, count: usize) -> impl Iterator<Item = (&UserId, Tally)> {
        page(&self.users, end, count).map(|(user, held)| (user, held.sockets))
    }

    /// How many users they belong to.
    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    /// The shards that hold sockets of a user.
    pub fn shards(&self, user: &UserId) -> ShardSet {
        self.users.get(user).map(|sockets| sockets.shards).unwrap_or_default()
    }

    /// How many channels they are in.
    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// The channels they are in: a page of a walk.
    pub fn page_of_channels(&self, end: usize, count: usize) -> impl Iterator<Item = &ChannelName> {
        page(&self.channels, end, count).map(|(channel, _)| channel)
    }

    /// How many users are in a channel.
    pub fn user_count_in(&self, channel: &ChannelName) -> usize {
        self.channels.get(channel).map_or(0, |attended| attended.users.len())
    }

    /// The users in a channel: a page of a walk.
    pub fn page_in(&self, channel: &ChannelName, end: usize, count: usize) -> impl Iterator<Item = &UserId> {
        let attended = self.channels.get(channel);
        attended.into_iter().flat_map(move |attended| page(&attended.users, end, count)).map(|(user, _)| user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gc_070_a_socket_without_a_user_counts_and_is_nobody() {
        let (mut bearers, channel) = (Bearers::default(), ChannelName::parse_free("c").unwrap());
        bearers.join(None, 0);
        bearers.subscribe(&channel, None);
        assert_eq!((bearers.sockets.total(), bearers.user_count()), (1, 0));
        assert_eq!((bearers.channel_count(), bearers.user_count_in(&channel)), (1, 0));
        bearers.unsubscribe(&channel, None);
        bearers.leave(None, 0, false);
        assert_eq!((bearers.sockets.total(), bearers.channel_count()), (0, 0));
    }

    #[test]
    fn a_user_is_there_once_until_the_last_socket_goes() {
        let (mut bearers, channel) = (Bearers::default(), ChannelName::parse_free("c").unwrap());
        let user = UserId::parse("u").unwrap();
        for shard in [0, 1] {
            bearers.join(Some(&user), shard);
            bearers.subscribe(&channel, Some(&user));
        }
        assert_eq!(bearers.page(9, 9).map(|(user, _)| user).collect::<Vec<_>>(), [&user]);
        assert_eq!(bearers.page_in(&channel, 9, 9).collect::<Vec<_>>(), [&user]);
        assert_eq!(bearers.page_of_channels(9, 9).collect::<Vec<_>>(), [&channel]);
        assert_eq!(bearers.shards(&user).iter().collect::<Vec<_>>(), [0, 1]);
        bearers.unsubscribe(&channel, Some(&user));
        bearers.leave(Some(&user), 0, true);
        assert_eq!((bearers.user_count(), bearers.user_count_in(&channel)), (1, 1));
        bearers.unsubscribe(&channel, Some(&user));
        bearers.leave(Some(&user), 1, true);
        assert_eq!((bearers.user_count(), bearers.channel_count()), (0, 0));
    }
}

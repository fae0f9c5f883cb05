//! Who is in which channel of one app: occupancy and rosters, kept up to date by each join and leave, never by a
//! scan.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;

use super::directory::{ShardIndex, ShardSet};
use crate::model::{ChannelName, Member, Refusal, Roster, SocketId, UserId};

/// How many subscribe to a channel, and how many users they are on a presence channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Distinct members.
    pub users: usize,
    /// Sockets.
    pub subscriptions: usize,
}

/// What a socket that subscribed is told, and what the others are.
#[derive(Debug)]
pub struct Joined {
    /// On a presence channel: all members, the new one included, and the revision of the roster.
    pub roster: Option<(Roster, u64)>,
    /// The member was not there before.
    pub is_new_member: bool,
}

/// One socket of a member, and what it said of its user.
#[derive(Debug)]
struct Seat {
    socket: SocketId,
    info: Arc<str>,
}

#[derive(Debug, Default)]
struct Channel {
    shards: ShardSet,
    subscriptions: usize,
    /// Members in the order they joined, each with its sockets, oldest first. A member is known by what its oldest
    /// socket said.
    members: IndexMap<UserId, Vec<Seat>>,
    revision: u64,
}

/// The occupied channels of one app.
#[derive(Debug, Default)]
pub struct Channels(HashMap<ChannelName, Channel>);

impl Channels {
    /// A socket on `shard` subscribes; on a presence channel as `member`.
    ///
    /// # Errors
    /// [`Refusal::RosterFull`] when one more member is too many.
    pub fn subscribe(
        &mut self,
        name: &ChannelName,
        shard: ShardIndex,
        socket: SocketId,
        member: Option<&Member>,
        members_max: usize,
    ) -> Result<Joined, Refusal> {
        if let (Some(member), Some(channel)) = (member, self.0.get(name))
            && channel.members.len() >= members_max
            && !channel.members.contains_key(&member.user)
        {
            return Err(Refusal::RosterFull);
        }
        let channel = self.0.entry(name.clone()).or_default();
        channel.shards.insert(shard);
        channel.subscriptions += 1;
        let Some(member) = member else { return Ok(Joined { roster: None, is_new_member: false }) };
        let seats = channel.members.entry(member.user.clone()).or_default();
        let is_new_member = seats.is_empty();
        seats.push(Seat { socket, info: Arc::clone(&member.info) });
        channel.revision += u64::from(is_new_member);
        Ok(Joined { roster: Some((channel.roster(), channel.revision)), is_new_member })
    }

    /// A socket leaves; `last_on_shard` when that shard holds no other subscription of the channel. Returns the
    /// revision of the roster when its member left with it.
    pub fn unsubscribe(
        &mut self,
        name: &ChannelName,
        shard: ShardIndex,
        last_on_shard: bool,
        socket: SocketId,
        member: Option<&UserId>,
    ) -> Option<u64> {
        let channel = self.0.get_mut(name)?;
        channel.subscriptions -= 1;
        if last_on_shard {
            channel.shards.remove(shard);
        }
        let is_gone = member.is_some_and(|user| channel.give_up_seat(user, socket));
        channel.revision += u64::from(is_gone);
        let revision = is_gone.then_some(channel.revision);
        if channel.subscriptions == 0 {
            self.0.remove(name);
        }
        revision
    }

    /// The shards that hold subscriptions of a channel.
    pub fn shards(&self, name: &ChannelName) -> ShardSet {
        self.0.get(name).map(|channel| channel.shards).unwrap_or_default()
    }

    /// How many subscribe to a channel.
    pub fn counts(&self, name: &ChannelName) -> Counts {
        self.0.get(name).map(Channel::counts).unwrap_or_default()
    }

    /// The members of a presence channel, in the order they joined.
    pub fn roster(&self, name: &ChannelName) -> Roster {
        self.0.get(name).map(Channel::roster).unwrap_or_default()
    }

    /// The occupied channels whose names begin with `prefix`, sorted.
    pub fn occupied(&self, prefix: &str) -> Vec<(ChannelName, Counts)> {
        let with_prefix = self.0.iter().filter(|(name, _)| name.as_str().starts_with(prefix));
        let mut found: Vec<_> = with_prefix.map(|(name, channel)| (name.clone(), channel.counts())).collect();
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        found
    }
}

impl Channel {
    fn counts(&self) -> Counts {
        Counts { users: self.members.len(), subscriptions: self.subscriptions }
    }

    fn roster(&self) -> Roster {
        let known = self.members.iter().filter_map(|(user, seats)| {
            seats.first().map(|seat| Member { user: user.clone(), info: Arc::clone(&seat.info) })
        });
        known.collect()
    }

    /// Whether the member left with its last socket.
    fn give_up_seat(&mut self, user: &UserId, socket: SocketId) -> bool {
        let Some(seats) = self.members.get_mut(user) else { return false };
        seats.retain(|seat| seat.socket != socket);
        let is_gone = seats.is_empty();
        if is_gone {
            self.members.shift_remove(user);
        }
        is_gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(low: u64) -> SocketId {
        SocketId { high: 1, low }
    }

    fn member(user: &str, info: &str) -> Member {
        Member { user: UserId::parse(user).unwrap(), info: info.into() }
    }

    #[test]
    fn a_member_is_known_by_its_oldest_socket() {
        let (mut channels, room) = (Channels::default(), ChannelName::parse("presence-x").unwrap());
        let (old, new) = (member("u", "old"), member("u", "new"));
        assert!(channels.subscribe(&room, 0, socket(1), Some(&old), 10).unwrap().is_new_member);
        assert!(!channels.subscribe(&room, 1, socket(2), Some(&new), 10).unwrap().is_new_member);
        assert_eq!(channels.roster(&room).first(), Some(&old));
        assert_eq!(channels.counts(&room), Counts { users: 1, subscriptions: 2 });
        assert_eq!(channels.unsubscribe(&room, 0, true, socket(1), Some(&old.user)), None);
        assert_eq!(channels.roster(&room).first(), Some(&new));
        assert_eq!(channels.unsubscribe(&room, 1, true, socket(2), Some(&new.user)), Some(2));
        assert!(channels.occupied("").is_empty());
    }

    #[test]
    fn a_full_roster_takes_known_members_only() {
        let (mut channels, room) = (Channels::default(), ChannelName::parse("presence-x").unwrap());
        let mut join =
            |user, low| channels.subscribe(&room, 0, socket(low), Some(&member(user, "{}")), 2).map(drop);
        assert_eq!(join("a", 1), Ok(()));
        assert_eq!(join("b", 2), Ok(()));
        assert_eq!(join("c", 3), Err(Refusal::RosterFull));
        assert_eq!(join("a", 4), Ok(()));
    }
}

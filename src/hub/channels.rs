//! Who is in which channel of one app, and what channels keep: up to date by each join and leave, never by a scan.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::agenda::Millis;
use super::arrivals::Arrivals;
use super::attendance::{Attendance, Learned};
use super::directory::{ShardIndex, ShardSet};
use super::follows::FollowNumber;
use super::holders::Tally;
use super::kept::{KeptEvents, Published};
use super::walk::page;
use crate::model::{
    ChannelKind, ChannelName, Counts, Item, Kept, Member, NodeId, Refusal, Roster, Share, SocketId, UserId,
};

/// Up to so many subscriptions their count is told at each change.
const COUNTED_AT_ONCE_MAX: usize = 100;

/// Above that it is told no oftener than this, in milliseconds (pusher-channels 7).
const COUNTED_EVERY_MS: Millis = 5_000;

/// A socket that subscribes or leaves; on a presence channel as a member.
#[derive(Debug)]
pub struct Subscriber<'a, M> {
    /// The shard it is on.
    pub shard: ShardIndex,
    /// Its public name.
    pub socket: SocketId,
    /// As whom.
    pub member: Option<&'a M>,
    /// Set when it came with a token.
    pub bearer: Option<Bearer<'a>>,
}

/// Whose token a socket came with.
#[derive(Clone, Copy, Debug)]
pub struct Bearer<'a> {
    /// The user that the token names, if any.
    pub user: Option<&'a UserId>,
}

/// What a socket that subscribed is told, and what is to be told to others.
#[derive(Debug)]
pub struct Joined {
    /// On a presence channel: all members, the new one included.
    pub roster: Option<Roster>,
    /// On a channel that keeps its last event: that event, if there is one.
    pub kept: Option<Option<Kept>>,
    /// The last change that these include; 0 when there is nothing that could be told twice.
    pub revision: u64,
    /// It is the first subscription of the channel.
    pub is_first: bool,
    /// It is the first on this node.
    pub is_first_here: bool,
    /// The member was not there before.
    pub is_new_member: bool,
    /// What is to be followed before it hears all that is published elsewhere.
    pub follow: Option<FollowNumber>,
}

/// What is to be told after a socket left.
#[derive(Debug)]
pub struct Left {
    /// Its member left with it: the revision of that change.
    pub member_gone: Option<u64>,
    /// It was the last subscription of the channel.
    pub is_last: bool,
    /// It was the last on this node.
    pub is_last_here: bool,
}

/// Whether the number of subscriptions is to be told.
#[derive(Debug, PartialEq, Eq)]
pub enum Count {
    /// Now.
    Tell(usize),
    /// At this time.
    Wait(Millis),
}

#[derive(Debug, Default)]
struct Channel {
    shards: ShardSet,
    subscriptions: Tally,
    attendance: Attendance,
    /// What is to be followed before its subscribers here hear all that is published elsewhere.
    follow: FollowNumber,
    /// When its count was last told.
    counted: Option<Millis>,
    /// What webhooks were last told of it, on whichever node.
    count_told: usize,
    /// What other nodes published here.
    arrivals: Arrivals,
}

/// The channels of one app.
#[derive(Debug, Default)]
pub struct Channels {
    occupied: IndexMap<ChannelName, Channel>,
    /// How many of them are channels of single users, which are nobody's business.
    of_users: usize,
    /// What is kept, whether somebody subscribes or not.
    pub kept: KeptEvents,
    /// Channels whose count is to be told, by when.
    counts_due: BTreeSet<(Millis, ChannelName)>,
    revision: u64,
}

impl Channels {
    /// A socket subscribes.
    ///
    /// # Errors
    /// [`Refusal::RosterFull`] when one more member is too many.
    pub fn subscribe(
        &mut self,
        name: &ChannelName,
        subscriber: &Subscriber<'_, Member>,
        members_max: usize,
        now: Millis,
    ) -> Result<Joined, Refusal> {
        let is_full = |channel: &Channel| channel.attendance.len() >= members_max;
        if let (Some(member), Some(channel)) = (subscriber.member, self.occupied.get(name))
            && is_full(channel)
            && !channel.attendance.has(&member.user)
        {
            return Err(Refusal::RosterFull);
        }
        let channel = enter(&mut self.occupied, &mut self.of_users, name);
        channel.shards.insert(subscriber.shard);
        let before = channel.subscriptions;
        channel.subscriptions.here += 1;
        let socket = subscriber.socket;
        let is_new_member = subscriber.member.is_some_and(|member| channel.attendance.join(socket, member));
        self.revision += u64::from(is_new_member);
        let roster = subscriber.member.map(|_| channel.attendance.roster());
        let kept = name.is_cached().then(|| self.kept.get(name, now).map(|(kept, _)| kept.clone()));
        let revision = if roster.is_some() || kept.is_some() { self.revision } else { 0 };
        let (is_first, is_first_here) = (before.is_zero(), before.here == 0);
        Ok(Joined { roster, kept, revision, is_first, is_first_here, is_new_member, follow: None })
    }

    /// What is to be followed before the subscribers of a channel on this node hear all, to be changed.
    pub fn follow(&mut self, name: &ChannelName) -> Option<&mut FollowNumber> {
        self.occupied.get_mut(name).map(|channel| &mut channel.follow)
    }

    /// A socket leaves; `last_on_shard` when its shard holds no other subscription of the channel.
    pub fn unsubscribe(
        &mut self,
        name: &ChannelName,
        subscriber: &Subscriber<'_, UserId>,
        last_on_shard: bool,
    ) -> Left {
        let Some(channel) = self.occupied.get_mut(name) else {
            return Left { member_gone: None, is_last: false, is_last_here: false };
        };
        channel.subscriptions.here -= 1;
        if last_on_shard {
            channel.shards.remove(subscriber.shard);
        }
        let socket = subscriber.socket;
        let is_gone = subscriber.member.is_some_and(|user| channel.attendance.leave(socket, user));
        let (is_last, is_last_here) = (channel.subscriptions.is_zero(), channel.subscriptions.here == 0);
        if is_last {
            self.vacate(name);
        }
        self.revision += u64::from(is_gone);
        Left { member_gone: is_gone.then_some(self.revision), is_last, is_last_here }
    }

    /// Another node's share of a channel is `to` instead of `from`. Whether nobody subscribes any more.
    pub fn learn(&mut self, name: &ChannelName, from: &Share, to: &Share) -> bool {
        let channel = enter(&mut self.occupied, &mut self.of_users, name);
        channel.subscriptions.learn(from, to);
        let is_vacant = channel.subscriptions.is_zero();
        if is_vacant {
            self.vacate(name);
        }
        is_vacant
    }

    /// Another node has a member in a channel. What follows from it, and the revision of that: of something else that is
    /// said of it, the second of two, as that is told as a leave and a join.
    pub fn learn_member(&mut self, name: &ChannelName, member: &Member, node: NodeId) -> (Learned, u64) {
        let Some(channel) = self.occupied.get_mut(name) else { return (Learned::Known, 0) };
        let learned = channel.attendance.learn(node, member);
        self.revision += match learned {
            Learned::Known => 0,
            Learned::New => 1,
            Learned::Changed => 2,
        };
        (learned, self.revision)
    }

    /// What is said of a member.
    pub fn info(&self, name: &ChannelName, user: &UserId) -> Option<std::sync::Arc<str>> {
        self.occupied.get(name)?.attendance.info(user)
    }

    /// Another node no longer has a member in a channel. Whether it is gone; then the revision of that change.
    pub fn unlearn_member(&mut self, name: &ChannelName, user: &UserId, node: NodeId) -> Option<u64> {
        let channel = self.occupied.get_mut(name)?;
        let is_gone = channel.attendance.unlearn(node, user);
        self.revision += u64::from(is_gone);
        is_gone.then_some(self.revision)
    }

    /// The channel at a position.
    pub fn name_at(&self, place: usize) -> Option<&ChannelName> {
        self.occupied.get_index(place).map(|(name, _)| name)
    }

    /// Of the next `count` members of a channel from this place on, those on this node. How many there were, and the place
    /// behind them unless there are no more.
    pub fn members_from(
        &self,
        name: &ChannelName,
        from: u64,
        count: usize,
        items: &mut Vec<Item>,
    ) -> (usize, Option<u64>) {
        let Some(channel) = self.occupied.get(name) else { return (0, None) };
        let (mut looked_at, mut last) = (0, None);
        for (place, user, is_here) in channel.attendance.from(from).take(count) {
            items.extend(is_here.then(|| Item::Member(name.clone(), user.clone())));
            (looked_at, last) = (looked_at + 1, Some(place + 1));
        }
        (looked_at, last.filter(|_| looked_at == count))
    }

    /// How many subscribe to a channel.
    pub fn tally(&self, name: &ChannelName) -> Tally {
        self.occupied.get(name).map(|channel| channel.subscriptions).unwrap_or_default()
    }

    /// What is said of a member who has a socket on this node.
    pub fn info_here(&self, name: &ChannelName, user: &UserId) -> Option<std::sync::Arc<str>> {
        self.occupied.get(name)?.attendance.info_here(user)
    }

    /// Whether a user is a member of a channel.
    pub fn has_member(&self, name: &ChannelName, user: &UserId) -> bool {
        self.occupied.get(name).is_some_and(|channel| channel.attendance.has(user))
    }

    /// Another node told webhooks how many subscribe to a channel. Whether that is so.
    pub fn set_told_count(&mut self, name: &ChannelName, count: usize) -> bool {
        let Some(channel) = self.occupied.get_mut(name) else { return true };
        channel.count_told = count;
        channel.subscriptions.total() == count
    }

    /// How many subscribe to a channel, if there are any and webhooks were told otherwise; they are told now.
    pub fn untold_count(&mut self, name: &ChannelName) -> Option<usize> {
        let channel = self.occupied.get_mut(name)?;
        let count = channel.subscriptions.total();
        (std::mem::replace(&mut channel.count_told, count) != count).then_some(count)
    }

    /// Keeps an event that is published to a channel; returns the revision of that change, and how many other events
    /// had to be given up.
    pub fn keep(
        &mut self,
        name: &ChannelName,
        kept: Kept,
        published: Published,
        end: Millis,
        bytes_max: usize,
    ) -> (u64, u64) {
        self.revision += 1;
        (self.revision, self.kept.keep(name, kept, published, end, bytes_max))
    }

    /// A subscription came or went: whether to tell how many there are.
    pub fn count(&mut self, name: &ChannelName, now: Millis) -> Count {
        let Some(channel) = self.occupied.get_mut(name) else { return Count::Tell(0) };
        let due = channel.counted.map_or(now, |counted| counted + COUNTED_EVERY_MS);
        if channel.subscriptions.total() > COUNTED_AT_ONCE_MAX && now < due {
            self.counts_due.insert((due, name.clone()));
            return Count::Wait(due);
        }
        if let Some(counted) = channel.counted.replace(now) {
            self.counts_due.remove(&(counted + COUNTED_EVERY_MS, name.clone()));
        }
        Count::Tell(channel.subscriptions.total())
    }

    /// A subscription came or went, and nobody can be told now.
    pub fn put_off_count(&mut self, name: &ChannelName, now: Millis) -> Count {
        // In whole seconds, so that a channel waits once however many come and go.
        let due = (now / 1000 + 1) * 1000;
        self.counts_due.insert((due, name.clone()));
        Count::Wait(due)
    }

    /// The channels whose count is to be told by now, and that still have subscribers.
    pub fn take_counts_due(&mut self, now: Millis) -> Vec<ChannelName> {
        let mut due = Vec::new();
        while self.counts_due.first().is_some_and(|(time, _)| *time <= now)
            && let Some((_, name)) = self.counts_due.pop_first()
        {
            due.extend(self.occupied.contains_key(&name).then_some(name));
        }
        due
    }

    /// When something of this is next to be done.
    pub fn next_due(&self) -> Option<Millis> {
        let count = self.counts_due.first().map(|(due, _)| *due);
        count.into_iter().chain(self.kept.next_end()).min()
    }

    /// The shards that hold subscriptions of a channel.
    pub fn shards(&self, name: &ChannelName) -> ShardSet {
        self.occupied.get(name).map(|channel| channel.shards).unwrap_or_default()
    }

    /// A numbered publication of another node has arrived. Whether a later one of that node came before it.
    pub fn is_late(&mut self, name: &ChannelName, node: NodeId, number: u64) -> bool {
        self.occupied.get_mut(name).is_some_and(|channel| channel.arrivals.is_late(node, number))
    }

    /// How many subscribe to a channel.
    pub fn counts(&self, name: &ChannelName) -> Counts {
        self.occupied.get(name).map(Channel::counts).unwrap_or_default()
    }

    /// The members of a presence channel, in the order they joined.
    pub fn roster(&self, name: &ChannelName) -> Roster {
        self.occupied.get(name).map(|channel| channel.attendance.roster()).unwrap_or_default()
    }

    /// How many channels are occupied, those of single users not counted.
    pub fn len(&self) -> usize {
        self.occupied.len() - self.of_users
    }

    /// How many are occupied at all: the places that a walk looks at.
    pub fn places(&self) -> usize {
        self.occupied.len()
    }

    /// Of the channels from place `end - count` up to `end`, those whose names begin with `prefix`, without those of single
    /// users; for a walk from the end down (`hub/walk.rs`).
    pub fn page(
        &self,
        end: usize,
        count: usize,
        prefix: &str,
    ) -> impl Iterator<Item = (&ChannelName, Counts)> {
        let is_told =
            move |name: &ChannelName| name.as_str().starts_with(prefix) && name.kind() != ChannelKind::User;
        page(&self.occupied, end, count)
            .filter(move |(name, _)| is_told(name))
            .map(|(name, channel)| (name, channel.counts()))
    }

    /// Nobody subscribes to a channel any more.
    fn vacate(&mut self, name: &ChannelName) {
        if self.occupied.swap_remove(name).is_some() {
            self.of_users -= usize::from(name.kind() == ChannelKind::User);
        }
    }
}

/// A channel that is occupied, or is from now on.
fn enter<'c>(
    occupied: &'c mut IndexMap<ChannelName, Channel>,
    of_users: &mut usize,
    name: &ChannelName,
) -> &'c mut Channel {
    occupied.entry(name.clone()).or_insert_with(|| {
        *of_users += usize::from(name.kind() == ChannelKind::User);
        Channel::default()
    })
}

impl Channel {
    fn counts(&self) -> Counts {
        Counts { users: self.attendance.len(), subscriptions: self.subscriptions.total() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(user: &str) -> Member {
        Member { user: UserId::parse(user).unwrap(), info: "{}".into() }
    }

    fn subscriber<M>(low: u64, member: Option<&M>) -> Subscriber<'_, M> {
        Subscriber { shard: 0, socket: SocketId { high: 1, low }, member, bearer: None }
    }

    #[test]
    fn a_full_roster_takes_known_members_only() {
        let (mut channels, room) = (Channels::default(), ChannelName::parse("presence-x").unwrap());
        let mut join = |user, low| {
            channels
                .subscribe(&room, &subscriber(low, Some(&member(user))), 2, 0)
                .map(|joined| joined.is_new_member)
        };
        assert_eq!(join("a", 1), Ok(true));
        assert_eq!(join("b", 2), Ok(true));
        assert_eq!(join("c", 3), Err(Refusal::RosterFull));
        assert_eq!(join("a", 4), Ok(false));
    }

    #[test]
    fn the_first_and_the_last_subscription_show() {
        let (mut channels, name) = (Channels::default(), ChannelName::parse("a").unwrap());
        let mut join = |low| channels.subscribe(&name, &subscriber(low, None), 1, 0).unwrap().is_first;
        assert_eq!((join(1), join(2)), (true, false));
        let mut leave = |low| channels.unsubscribe(&name, &subscriber(low, None), low == 2).is_last;
        assert_eq!((leave(1), leave(2)), (false, true));
        assert_eq!((channels.len(), channels.places()), (0, 0));
    }

    #[test]
    fn a_walk_over_channels_misses_none_that_stays_and_tells_of_no_single_user() {
        let mut channels = Channels::default();
        let name = |name: &str| ChannelName::parse(name).unwrap();
        for number in 0..10 {
            channels.subscribe(&name(&format!("a{number}")), &subscriber(1, None), 1, 0).unwrap();
        }
        channels.subscribe(&name("#server-to-user-u"), &subscriber(1, None), 1, 0).unwrap();
        assert_eq!((channels.len(), channels.places()), (10, 11));
        let page = |channels: &Channels, end, prefix: &str| -> Vec<String> {
            channels.page(end, 6, prefix).map(|(name, _)| name.to_string()).collect()
        };
        let mut seen = page(&channels, 11, "");
        assert_eq!(seen.len(), 5);
        channels.unsubscribe(&name("a2"), &subscriber(1, None), true);
        seen.extend(page(&channels, 5, ""));
        assert!((0..10).filter(|number| *number != 2).all(|number| seen.contains(&format!("a{number}"))));
        assert_eq!(page(&channels, 6, "a1"), ["a1"]);
        channels.unsubscribe(&name("#server-to-user-u"), &subscriber(1, None), true);
        assert_eq!((channels.len(), channels.places()), (9, 9));
    }

    #[test]
    fn pc_097_the_count_of_a_large_channel_is_told_every_five_seconds() {
        let (mut channels, name) = (Channels::default(), ChannelName::parse("a").unwrap());
        for low in 1..=101 {
            channels.subscribe(&name, &subscriber(low, None), 1, 0).unwrap();
            assert_eq!(
                channels.count(&name, 0),
                if low > 100 { Count::Wait(5000) } else { Count::Tell(low as usize) }
            );
        }
        assert!(channels.take_counts_due(4999).is_empty());
        assert_eq!(channels.take_counts_due(5000), std::slice::from_ref(&name));
        assert_eq!(channels.count(&name, 5000), Count::Tell(101));
        assert_eq!(channels.next_due(), None);
    }
}

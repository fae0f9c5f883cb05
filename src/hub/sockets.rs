//! What the sockets of a shard ask of the hub: channels, signing in, watching. And what the hub does by itself as time
//! goes on.
//!
//! Everything is decided, and posted to the shards, while the app's directory is held.

use std::sync::Arc;
use std::time::Instant;

use super::channels::Count;
use super::directory::{Directory, ShardIndex};
use super::publish::plain;
use super::{Bearer, FollowNumber, Hub, Joined, LiveApp, Subscriber, Watched};
use crate::feed::{Happening, excerpt};
use crate::model::{
    Audience, ChannelKind, ChannelName, Content, Item, Member, NoticeEvent, Push, Recipients, Refusal, Relay,
    SocketId, UserId,
};

impl Hub {
    /// A shard subscribes a socket of its own to a channel. The other members of a presence channel are told of a new
    /// one, and all subscribers how many they are, if their app wants that.
    ///
    /// # Errors
    /// [`Refusal::RosterFull`]; on a presence channel, whose members are told, [`Refusal::Overloaded`] while a shard's mailbox
    /// is full.
    pub fn subscribe(
        &self,
        app: &Arc<LiveApp>,
        channel: &ChannelName,
        subscriber: &Subscriber<'_, Member>,
    ) -> Result<Joined, Refusal> {
        let members_max = app.settings().max_presence_members as usize;
        let mut directory = app.directory();
        let now = self.agenda.now();
        let room = subscriber.member.map_or(Ok(()), |_| self.check_mailboxes());
        let joined = room.and_then(|()| directory.channels.subscribe(channel, subscriber, members_max, now));
        let mut joined =
            joined.inspect_err(|refusal| self.metrics.subscriptions_refused.add(refusal.reason(), 1))?;
        self.metrics.subscriptions.add(1);
        self.metrics.channels.add(joined.is_first_here.into());
        joined.follow =
            self.follow_channel(app, &mut directory, channel, joined.is_first_here, subscriber.shard);
        if let Some(bearer) = subscriber.bearer {
            directory.bearers.subscribe(channel, bearer.user);
        }
        let user = subscriber.member.map(|member| &member.user);
        self.mark_subscription(app, &mut directory, channel, user, subscriber.bearer);
        if let (Some(member), true) = (subscriber.member, joined.is_new_member) {
            let content = Content::MemberAdded(member.clone());
            self.post_to_channel(app, &directory, channel, content, None, joined.revision);
        }
        self.note_joined(app, &mut directory, channel, user, &joined);
        self.tell_count(app, &mut directory, channel);
        Ok(joined)
    }

    /// A shard takes a socket of its own out of a channel; `last_on_shard` when it holds no other subscription of
    /// it. The others are told as with [`Hub::subscribe`].
    pub fn unsubscribe(
        &self,
        app: &Arc<LiveApp>,
        channel: &ChannelName,
        subscriber: &Subscriber<'_, UserId>,
        last_on_shard: bool,
    ) {
        let mut directory = app.directory();
        let left = directory.channels.unsubscribe(channel, subscriber, last_on_shard);
        self.metrics.subscriptions.subtract(1);
        self.metrics.channels.subtract(left.is_last_here.into());
        if let Some(bearer) = subscriber.bearer {
            directory.bearers.unsubscribe(channel, bearer.user);
        }
        if let (Some(link), true, false) = (&self.link, left.is_last_here, channel.is_cached()) {
            link.unfollow(&link.channel(&app.app.key, channel));
        }
        self.mark_subscription(app, &mut directory, channel, subscriber.member, subscriber.bearer);
        if let (Some(user), Some(revision)) = (subscriber.member, left.member_gone) {
            let content = Content::MemberRemoved(user.clone());
            self.post_to_channel(app, &directory, channel, content, None, revision);
        }
        self.note_left(app, &mut directory, channel, subscriber.member, &left);
        if !left.is_last {
            self.tell_count(app, &mut directory, channel);
        }
    }

    /// Has the bus follow a channel from its first subscriber here on. Returns what is to be followed before a subscriber
    /// hears all that is published elsewhere, if it is not yet.
    fn follow_channel(
        &self,
        app: &LiveApp,
        directory: &mut Directory,
        channel: &ChannelName,
        is_first_here: bool,
        shard: ShardIndex,
    ) -> Option<FollowNumber> {
        // What is published to a channel that keeps its last event goes to all nodes.
        let link = self.link.as_ref().filter(|_| !channel.is_cached())?;
        let follow = directory.channels.follow(channel)?;
        if is_first_here {
            *follow = self.follow(link, &link.channel(&app.app.key, channel));
        }
        let number = *follow;
        link.follows.must_wait(number, Some(shard), self.agenda.now()).then_some(number)
    }

    /// A client publishes to the other subscribers of a channel it is in; on a presence channel as `user`.
    ///
    /// # Errors
    /// [`Refusal::BusDown`]: it did not reach the other nodes; [`Refusal::Overloaded`]: nor would it, or a shard's mailbox is
    /// full. Nobody gets it.
    pub fn publish_as(
        &self,
        app: &LiveApp,
        channel: &ChannelName,
        (event, data): (Arc<str>, Arc<str>),
        socket: SocketId,
        user: Option<UserId>,
    ) -> Result<(), Refusal> {
        let directory = app.directory();
        let room = self.check_mailboxes();
        room.and_then(|()| {
            self.relay(|| Relay {
                event: Arc::clone(&event),
                user: user.clone(),
                except: Some(socket),
                ..plain(app, Recipients::Channel(channel.clone()), &data)
            })
        })
        .inspect_err(|refusal| self.metrics.publications_refused.add(refusal.reason(), 1))?;
        self.metrics.client_events.add(1);
        app.feed.show(|| Happening::ClientEvent {
            socket: socket.to_string(),
            channel: channel.clone(),
            event: excerpt(&event),
            data: excerpt(&data),
        });
        let (event_name, event_data, sender) = (Arc::clone(&event), Arc::clone(&data), user.clone());
        let told = NoticeEvent::ClientEvent { event: event_name, data: event_data, socket, user: sender };
        self.notify(app, channel, told);
        let content = Content::Event { event, data, user };
        self.post_to_channel(app, &directory, channel, content, Some(socket), 0);
        Ok(())
    }

    /// A shard says that a socket of its own has signed in. Those who watch the user are told of the first.
    pub fn sign_in(&self, shard: ShardIndex, app: &Arc<LiveApp>, user: &UserId) {
        let mut directory = app.directory();
        self.mark(app, &mut directory, || Item::SignedIn(user.clone()));
        if let Some(revision) = directory.signed_in.sign_in(user, shard) {
            self.post_to_watchers(app, &directory, user, Content::Online(user.clone()), revision);
        }
    }

    /// A shard says that a signed-in socket is gone; `last_on_shard` when it holds no other of that user.
    pub fn sign_out(&self, shard: ShardIndex, app: &Arc<LiveApp>, user: &UserId, last_on_shard: bool) {
        let mut directory = app.directory();
        self.mark(app, &mut directory, || Item::SignedIn(user.clone()));
        if let Some(revision) = directory.signed_in.sign_out(user, shard, last_on_shard) {
            self.post_to_watchers(app, &directory, user, Content::Offline(user.clone()), revision);
        }
    }

    /// A socket of a shard begins to watch these users. Returns who of them is there.
    pub fn watch(&self, shard: ShardIndex, app: &LiveApp, users: &[UserId]) -> Watched {
        app.directory().signed_in.watch(users, shard)
    }

    /// A socket of a shard no longer watches a user; `last_on_shard` when none of its others does.
    pub fn unwatch(&self, shard: ShardIndex, app: &LiveApp, user: &UserId, last_on_shard: bool) {
        app.directory().signed_in.unwatch(user, shard, last_on_shard);
    }

    /// Advances the time of the hub, and does what is to be done by now.
    pub fn tick(&self, now: Instant) {
        let last = self.agenda.now();
        for app in self.agenda.advance(now) {
            let (mut directory, now) = (app.directory(), self.agenda.now());
            directory.channels.kept.sweep(now);
            for channel in directory.channels.take_counts_due(now) {
                self.tell_count(&app, &mut directory, &channel);
            }
            match &self.link {
                None => self.tell_due(&app, &mut directory, now),
                Some(link) => self.enlist(link, &app, &mut directory),
            }
            directory.next_due().into_iter().for_each(|due| self.agenda.note(due, &app));
        }
        self.tick_link(last);
        self.tick_unregistered(last);
    }

    /// The shares of this node that a subscription is part of have changed.
    fn mark_subscription(
        &self,
        app: &Arc<LiveApp>,
        directory: &mut Directory,
        channel: &ChannelName,
        member: Option<&UserId>,
        bearer: Option<Bearer<'_>>,
    ) {
        self.mark(app, directory, || Item::Channel(channel.clone()));
        if let Some(user) = member {
            self.mark(app, directory, || Item::Member(channel.clone(), user.clone()));
        }
        if let Some(bearer) = bearer {
            self.mark(app, directory, || Item::Attended(channel.clone()));
            if let Some(user) = bearer.user {
                self.mark(app, directory, || Item::Attendee(channel.clone(), user.clone()));
            }
        }
    }

    /// Tells the subscribers of a channel how many they are, if their app wants that: now, or when it is time.
    pub(super) fn tell_count(&self, app: &Arc<LiveApp>, directory: &mut Directory, channel: &ChannelName) {
        let is_told = matches!(channel.kind(), ChannelKind::Public | ChannelKind::Private);
        if !is_told || !app.settings().subscription_count {
            return;
        }
        let now = self.agenda.now();
        let count = match self.check_mailboxes() {
            Ok(()) => directory.channels.count(channel, now),
            Err(_) => directory.channels.put_off_count(channel, now),
        };
        match count {
            Count::Wait(due) => self.agenda.note(due, app),
            Count::Tell(count) => {
                self.note_count(app, directory, channel, count);
                let content = Content::SubscriptionCount(count);
                self.post_to_channel(app, directory, channel, content, None, 0);
            }
        }
    }

    pub(super) fn post_to_watchers(
        &self,
        app: &LiveApp,
        directory: &Directory,
        user: &UserId,
        content: Content,
        revision: u64,
    ) {
        let audience = Audience::Watchers(user.clone());
        let push = Push { app: app.number, audience, content, except: None, revision };
        self.post(push, directory.signed_in.watching_shards(user));
    }
}

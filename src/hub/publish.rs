//! Publishing: to whom a publication goes, on this node and on the others. And what goes into the mailboxes of the shards.
//!
//! Always: the directory of the app is held while something is posted, and what other nodes are to get was handed to
//! the bus before anybody here gets it: what is refused reached nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::agenda::Millis;
use super::directory::{Directory, ShardSet};
use super::kept::Published;
use super::walk::{Matching, Walk};
use super::{Hub, Link, LiveApp, Message, Post};
use crate::feed::{Happening, excerpt};
use crate::model::{
    AppRate, Audience, ChannelName, Content, Kept, NodeId, Pattern, Publication, Push, Reach, Recipients,
    Refusal, Relay, SocketId, Target, UserId,
};

/// How many channels of one publication are named to those who look on.
const CHANNELS_SHOWN: usize = 5;

impl Hub {
    /// Sends a publication to the sockets of its target, and says whom it was addressed to.
    ///
    /// Matching a pattern takes time in proportion to the users of the app: [`Hub::publish_soon`] does it elsewhere.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] when a shard's mailbox is full or the bus does not keep up; [`Refusal::AppUnknown`] when the
    /// app went away, [`Refusal::AppDisabled`] while it is switched off; [`Refusal::RateExceeded`] when it publishes faster
    /// than it may; [`Refusal::BusDown`] and
    /// [`Refusal::BodyTooLarge`] when the bus cannot carry it; [`Refusal::PatternTooSlow`].
    pub fn publish(&self, app: &Arc<LiveApp>, publication: &Publication) -> Result<Reach, Refusal> {
        let may = self.may_publish(app, publication);
        self.count_published(app, 1, may.and_then(|()| self.publish_accepted(app, publication)))
    }

    /// Whether that may be published now; it counts against the app's rate.
    pub(super) fn may_publish(&self, app: &LiveApp, publication: &Publication) -> Result<(), Refusal> {
        self.check_publishing(app).and_then(|()| app.take(AppRate::Publications, weight(publication)))
    }

    /// Sends several publications in this order. The app's rate takes all of them or none; any other fault ends it there,
    /// and those before it have gone out.
    ///
    /// # Errors
    /// Those of [`Hub::publish`].
    pub fn publish_all<'a>(
        &self,
        app: &Arc<LiveApp>,
        publications: impl Iterator<Item = &'a Publication> + Clone,
    ) -> Result<(), Refusal> {
        let may = self
            .check_publishing(app)
            .and_then(|()| app.take(AppRate::Publications, publications.clone().map(weight).sum()));
        if may.is_err() {
            return self.count_published(app, publications.count() as u64, may);
        }
        for publication in publications {
            let published = self.check_publishing(app);
            let published = published.and_then(|()| self.publish_accepted(app, publication));
            self.count_published(app, 1, published)?;
        }
        Ok(())
    }

    fn publish_accepted(&self, app: &Arc<LiveApp>, publication: &Publication) -> Result<Reach, Refusal> {
        let published = match &publication.target {
            Target::Everyone => self.publish_to_everyone(app, &publication.data),
            Target::Channels(channels) => self.publish_to_channels(app, channels, publication),
            Target::UsersMatching(pattern) => {
                let users = matching(app, pattern, self.limits.pattern_time_max);
                users.and_then(|users| self.publish_to_users(app, pattern, users, &publication.data))
            }
        };
        if let Ok(reach) = &published {
            app.feed.show(|| shown(publication, *reach));
        }
        published
    }

    /// Counts what became of so many publications.
    pub(super) fn count_published<T>(
        &self,
        app: &LiveApp,
        publications: u64,
        published: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        match &published {
            Ok(_) => {
                self.metrics.publications.add(publications);
                app.metrics.publications.add(publications);
            }
            Err(refusal) => self.metrics.publications_refused.add(refusal.reason(), publications),
        }
        published
    }

    fn publish_to_everyone(&self, app: &LiveApp, data: &Arc<str>) -> Result<Reach, Refusal> {
        let directory = app.open_directory()?;
        self.relay(|| plain(app, Recipients::Everyone, data))?;
        self.post_plain(app, Audience::Everyone, data, directory.shards());
        Ok(directory.reach())
    }

    /// Sends a publication for users that match a pattern to these, who do.
    pub(super) fn publish_to_matched(
        &self,
        app: &LiveApp,
        publication: &Publication,
        users: Vec<UserId>,
    ) -> Result<Reach, Refusal> {
        self.check_publishing(app)?;
        let Target::UsersMatching(pattern) = &publication.target else { return Err(Refusal::Internal) };
        let reach = self.publish_to_users(app, pattern, users, &publication.data)?;
        app.feed.show(|| shown(publication, reach));
        Ok(reach)
    }

    fn publish_to_users(
        &self,
        app: &LiveApp,
        pattern: &Pattern,
        users: Vec<UserId>,
        data: &Arc<str>,
    ) -> Result<Reach, Refusal> {
        let directory = app.open_directory()?;
        self.relay(|| plain(app, Recipients::UsersMatching(pattern.source().to_owned()), data))?;
        let (users, reach, shards) = directory.resolve(users);
        self.post_plain(app, Audience::Users(users.into()), data, shards);
        Ok(reach)
    }

    fn publish_to_channels(
        &self,
        app: &Arc<LiveApp>,
        channels: &[ChannelName],
        wanted: &Publication,
    ) -> Result<Reach, Refusal> {
        let mut directory = app.open_directory()?;
        let mut reach = Reach::default();
        for channel in channels {
            let (event, data) = (Arc::clone(&wanted.event), Arc::clone(&wanted.data));
            let published = channel.is_cached().then(|| self.published_now());
            self.relay(|| Relay {
                event: Arc::clone(&event),
                except: wanted.except,
                kept_ms: published.map(|(at_ms, _)| at_ms),
                ..plain(app, Recipients::Channel(channel.clone()), &data)
            })?;
            let revision = published.map_or(0, |published| {
                let kept = Kept { event: Arc::clone(&event), data: Arc::clone(&data) };
                self.keep(app, &mut directory, channel, kept, published)
            });
            let content = Content::Event { event, data, user: None };
            self.post_to_channel(app, &directory, channel, content, wanted.except, revision);
            reach.sockets += directory.channels.counts(channel).subscriptions;
        }
        Ok(reach)
    }

    /// Keeps an event for those who subscribe later; returns the revision of that change.
    pub(super) fn keep(
        &self,
        app: &Arc<LiveApp>,
        directory: &mut Directory,
        channel: &ChannelName,
        kept: Kept,
        published: Published,
    ) -> u64 {
        let end = self.agenda.now() + u64::from(app.settings().cache_ttl) * 1000;
        self.keep_until(app, directory, channel, kept, end, published)
    }

    pub(super) fn keep_until(
        &self,
        app: &Arc<LiveApp>,
        directory: &mut Directory,
        channel: &ChannelName,
        kept: Kept,
        end: Millis,
        published: Published,
    ) -> u64 {
        self.wall.see(published.0);
        let bytes_max = self.limits.kept_bytes_max;
        let (revision, given_up) = directory.channels.keep(channel, kept, published, end, bytes_max);
        self.metrics.kept_events_given_up.add(given_up);
        self.agenda.note(end, app);
        directory.ledger.forget_miss(channel);
        revision
    }

    /// When what is published now was, and where: later than all that this node knows of.
    pub(super) fn published_now(&self) -> Published {
        let me = self.link.as_ref().map_or(NodeId(0), Link::me);
        (self.wall.next_ms(), me)
    }

    /// Posts an event without a name. Called while the app's directory is held.
    fn post_plain(&self, app: &LiveApp, audience: Audience, data: &Arc<str>, shards: ShardSet) {
        let content = Content::Event { event: Arc::from(""), data: Arc::clone(data), user: None };
        self.post(Push { app: app.number, audience, content, except: None, revision: 0 }, shards);
    }

    pub(super) fn post_to_channel(
        &self,
        app: &LiveApp,
        directory: &Directory,
        channel: &ChannelName,
        content: Content,
        except: Option<SocketId>,
        revision: u64,
    ) {
        let audience = Audience::Channel(channel.clone());
        let shards = directory.channels.shards(channel);
        self.post(Push { app: app.number, audience, content, except, revision }, shards);
    }

    pub(super) fn post(&self, push: Push, shards: ShardSet) {
        let push = Arc::new(push);
        shards.iter().for_each(|shard| self.posts[shard].mailbox.post(Message::Push(Arc::clone(&push))));
    }

    /// Refuses when nothing can be published now.
    pub(super) fn check_publishing(&self, app: &LiveApp) -> Result<(), Refusal> {
        if !app.is_enabled() {
            return Err(Refusal::AppDisabled);
        }
        self.check_mailboxes()
    }

    /// Refuses while any shard has too much waiting, so that nothing accepted has to be dropped.
    pub(super) fn check_mailboxes(&self) -> Result<(), Refusal> {
        let full = |post: &Post| post.mailbox.waiting_bytes() > self.limits.mailbox_bytes_max;
        if self.posts.iter().any(full) { Err(Refusal::Overloaded) } else { Ok(()) }
    }
}

/// A publication, for those who look on.
fn shown(publication: &Publication, reach: Reach) -> Happening {
    let target = match &publication.target {
        Target::Everyone => "everyone".to_owned(),
        Target::UsersMatching(pattern) => format!("users matching {}", pattern.source()),
        Target::Channels(channels) => {
            let names: Vec<_> = channels.iter().take(CHANNELS_SHOWN).map(ChannelName::as_str).collect();
            let more = channels.len() - names.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("channel {}{more}", names.join(", "))
        }
    };
    published(target, &publication.event, &publication.data, Some(reach.sockets))
}

/// Something published to a target in words.
pub(super) fn published(target: String, event: &str, data: &str, sockets: Option<usize>) -> Happening {
    let (event, bytes, data) = (event.to_owned(), data.len(), excerpt(data));
    Happening::Published { target, event, bytes, data, sockets }
}

/// What a publication counts against the app's rate.
fn weight(publication: &Publication) -> usize {
    match &publication.target {
        Target::Channels(channels) => channels.len(),
        Target::Everyone | Target::UsersMatching(_) => 1,
    }
}

/// Data without a name, for the other nodes.
pub(super) fn plain(app: &LiveApp, to: Recipients, data: &Arc<str>) -> Relay {
    Relay {
        app: app.app.key.clone(),
        to,
        event: "".into(),
        is_value: false,
        user: None,
        except: None,
        kept_ms: None,
        number: 0,
        data: Arc::clone(data),
    }
}

/// The users whose ids match, perhaps one of them twice.
fn matching(app: &Arc<LiveApp>, pattern: &Pattern, time_max: Duration) -> Result<Vec<UserId>, Refusal> {
    if let Some(name) = pattern.literal() {
        return Ok(app.directory().find(name).into_iter().collect());
    }
    let mut walk = Walk::new(app, Matching(pattern.clone()), time_max);
    if walk.advance(Instant::now() + time_max)? { Ok(walk.found()) } else { Err(Refusal::PatternTooSlow) }
}

//! What backends of Gusher Cluster ask of the hub: JSON values to channels, users and sockets, what users may subscribe
//! to, and who is there.
//!
//! As everywhere: what goes to several shards is posted while the app's directory is held.

use std::fmt;
use std::sync::Arc;

use super::directory::Directory;
use super::publish::{plain, published};
use super::{Hub, LiveApp, Message};
use crate::model::{
    AppKey, AppRate, Audience, ChannelName, Content, Fact, Kept, PermissionChange, Push, Recipients, Refusal,
    Relay, SocketId, UserId, ValueEvent, text_of_json,
};

/// How many events are delivered while the directory of their app is held.
const EVENTS_AT_ONCE: usize = 256;

/// Whom a value without an event goes to.
#[derive(Clone, Debug)]
pub enum Addressee {
    /// The sockets whose token names this user.
    User(UserId),
    /// The socket of this name.
    Socket(SocketId),
}

impl fmt::Display for Addressee {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(out, "user {}", user.as_str()),
            Self::Socket(socket) => write!(out, "socket {socket}"),
        }
    }
}

/// The sockets of one app that came with a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attendance {
    /// The app.
    pub app: AppKey,
    /// How many they are.
    pub sockets: usize,
    /// How many users they belong to.
    pub users: usize,
}

impl Hub {
    /// Delivers events to the subscribers of their channels, in this order; whatever dialect they speak.
    ///
    /// # Errors
    /// Those of [`Hub::publish`]; then nothing was delivered, unless the bus failed in the middle.
    pub fn publish_values(&self, app: &Arc<LiveApp>, events: &[ValueEvent]) -> Result<(), Refusal> {
        let delivered = self.deliver_values(app, events);
        for event in events.iter().filter(|_| delivered.is_ok()) {
            let target = || format!("channel {}", event.channel.as_str());
            app.feed.show(|| published(target(), &event.event, &event.value, None));
        }
        self.count_published(app, events.len() as u64, delivered)
    }

    fn deliver_values(&self, app: &Arc<LiveApp>, events: &[ValueEvent]) -> Result<(), Refusal> {
        self.check_publishing(app)?;
        app.take(AppRate::Publications, events.len())?;
        // With many events, others get their turn in between.
        events.chunks(EVENTS_AT_ONCE).try_for_each(|events| self.deliver_some(app, events))
    }

    fn deliver_some(&self, app: &Arc<LiveApp>, events: &[ValueEvent]) -> Result<(), Refusal> {
        let mut directory = app.open_directory()?;
        for event in events {
            let (name, value) = (Arc::clone(&event.event), Arc::clone(&event.value));
            let published = event.channel.is_cached().then(|| self.published_now());
            self.relay(|| Relay {
                event: Arc::clone(&name),
                is_value: true,
                kept_ms: published.map(|(at_ms, _)| at_ms),
                ..plain(app, Recipients::Channel(event.channel.clone()), &value)
            })?;
            let revision = published.map_or(0, |published| {
                let kept = Kept { event: Arc::clone(&name), data: text_of_json(&value).into() };
                self.keep(app, &mut directory, &event.channel, kept, published)
            });
            let content = Content::Value { event: name, value };
            self.post_to_channel(app, &directory, &event.channel, content, None, revision);
        }
        Ok(())
    }

    /// Delivers a value to a user or to a socket. That nobody is there is no error.
    ///
    /// # Errors
    /// Those of [`Hub::publish`].
    pub fn push_value(
        &self,
        app: &Arc<LiveApp>,
        addressee: Addressee,
        value: Arc<str>,
    ) -> Result<(), Refusal> {
        let delivered = self.deliver_value(app, &addressee, &value);
        if delivered.is_ok() {
            app.feed.show(|| published(addressee.to_string(), "", &value, None));
        }
        self.count_published(app, 1, delivered)
    }

    fn deliver_value(
        &self,
        app: &Arc<LiveApp>,
        addressee: &Addressee,
        value: &Arc<str>,
    ) -> Result<(), Refusal> {
        self.check_publishing(app)?;
        app.take(AppRate::Publications, 1)?;
        let directory = app.open_directory()?;
        let to = match addressee {
            Addressee::User(user) => Recipients::Bearers(user.clone()),
            Addressee::Socket(socket) => Recipients::Socket(*socket),
        };
        self.relay(|| Relay { is_value: true, ..plain(app, to, value) })?;
        let (audience, shards) = match addressee {
            Addressee::User(user) => (Audience::Bearers(user.clone()), directory.bearers.shards(user)),
            Addressee::Socket(socket) => (Audience::Socket(*socket), directory.all_shards()),
        };
        let content = Content::Value { event: "".into(), value: Arc::clone(value) };
        self.post(Push { app: app.number, audience, content, except: None, revision: 0 }, shards);
        Ok(())
    }

    /// Changes what the sockets that a user holds now may subscribe to, and has them told.
    ///
    /// # Errors
    /// Those of [`Hub::publish`].
    pub fn permit(&self, app: &Arc<LiveApp>, user: &UserId, change: PermissionChange) -> Result<(), Refusal> {
        self.check_publishing(app)?;
        drop(app.open_directory()?);
        if let Some(link) = &self.link {
            let fact = Fact::Permit(app.app.key.clone(), user.clone(), change.clone());
            self.tell(link, &link.app(&app.app.key), &fact)?;
        }
        self.post_permit(app, user, change);
        Ok(())
    }

    /// The same for the sockets of this node.
    pub(super) fn post_permit(&self, app: &LiveApp, user: &UserId, change: PermissionChange) {
        let directory = app.directory();
        let change = Arc::new(change);
        directory.bearers.shards(user).iter().for_each(|shard| {
            let message = Message::Permit(app.number, user.clone(), Arc::clone(&change));
            self.posts[shard].mailbox.post(message);
        });
    }

    /// How many channels have subscribers that came with a token.
    pub fn attended_channel_count(&self, app: &LiveApp) -> usize {
        app.directory().bearers.channel_count()
    }

    /// How many users there are among those who came with a token: of all, or of those in a channel.
    pub fn bearer_count(&self, app: &LiveApp, channel: Option<&ChannelName>) -> usize {
        let directory = app.directory();
        match channel {
            Some(channel) => directory.bearers.user_count_in(channel),
            None => directory.bearers.user_count(),
        }
    }

    /// The apps that have sockets which came with a token, sorted.
    pub fn attendances(&self) -> Vec<Attendance> {
        let attendance = |app: Arc<LiveApp>| {
            let directory: &Directory = &app.directory();
            let (sockets, users) = (directory.bearers.sockets.total(), directory.bearers.user_count());
            (sockets > 0).then(|| Attendance { app: app.app.key.clone(), sockets, users })
        };
        let mut rows: Vec<Attendance> = self.apps.all().into_iter().filter_map(attendance).collect();
        rows.sort_by(|one, other| one.app.cmp(&other.app));
        rows
    }
}

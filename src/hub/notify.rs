//! What the hub tells webhooks of channels (pusher-channels 15). Who is gone is told of after a grace, unless it is back.
//!
//! Always: called while the app's directory is held, so that what is told of a channel is in the order in which it
//! happened; channels of single users are nobody's business. Every node notes the same; one of them tells it
//! (`hub/tasks.rs`).

use std::sync::Arc;

use super::agenda::Millis;
use super::channels::Left;
use super::directory::Directory;
use super::ledger::Matter;
use super::link::lock;
use super::{Hub, Joined, LiveApp};
use crate::model::{ChannelKind, ChannelName, Notice, NoticeEvent, Told, UserId};

impl Hub {
    /// A socket of this node subscribed; on a presence channel as `user`.
    pub(super) fn note_joined(
        &self,
        app: &Arc<LiveApp>,
        directory: &mut Directory,
        channel: &ChannelName,
        user: Option<&UserId>,
        joined: &Joined,
    ) {
        if joined.is_first {
            self.note(app, directory, Matter::Channel(channel.clone()), true);
        }
        if let (Some(user), true) = (user, joined.is_new_member) {
            self.note(app, directory, Matter::Member(channel.clone(), user.clone()), true);
        }
        if matches!(joined.kept, Some(None))
            && has_webhooks(app, channel)
            && directory.ledger.miss(channel, self.agenda.now())
        {
            self.notify(app, channel, NoticeEvent::CacheMiss);
        }
    }

    /// A socket of this node left; on a presence channel it was there as `user`.
    pub(super) fn note_left(
        &self,
        app: &Arc<LiveApp>,
        directory: &mut Directory,
        channel: &ChannelName,
        user: Option<&UserId>,
        left: &Left,
    ) {
        if let (Some(user), true) = (user, left.member_gone.is_some()) {
            self.note(app, directory, Matter::Member(channel.clone(), user.clone()), false);
        }
        if left.is_last {
            directory.ledger.forget_miss(channel);
            self.note(app, directory, Matter::Channel(channel.clone()), false);
        }
    }

    /// A channel or a member of it is there, or is not there any more.
    pub(super) fn note(&self, app: &Arc<LiveApp>, directory: &mut Directory, matter: Matter, is_there: bool) {
        if !has_webhooks(app, matter.channel()) {
            return;
        }
        let due = self.due(app, is_there);
        directory.ledger.change(matter, is_there, due, self.epoch());
        match (&self.link, is_there) {
            (None, true) => self.tell_due(app, directory, due),
            (Some(link), true) => self.enlist(link, app, directory),
            (_, false) => self.agenda.note(due, app),
        }
    }

    /// When webhooks are told what comes or goes now.
    pub(super) fn due(&self, app: &LiveApp, is_there: bool) -> Millis {
        let grace_ms = if is_there { 0 } else { u64::from(app.settings().webhook_grace) * 1000 };
        self.agenda.now() + grace_ms
    }

    /// So many subscribe to a channel now.
    pub(super) fn note_count(
        &self,
        app: &Arc<LiveApp>,
        directory: &mut Directory,
        channel: &ChannelName,
        count: usize,
    ) {
        match &self.link {
            None => self.notify(app, channel, NoticeEvent::SubscriptionCount(count)),
            Some(link) if has_webhooks(app, channel) => {
                directory.ledger.change_count(channel, self.agenda.now(), link.epoch());
                self.enlist(link, app, directory);
            }
            Some(_) => {}
        }
    }

    /// Tells what is due by `now` and is this node's task.
    pub(super) fn tell_due(&self, app: &LiveApp, directory: &mut Directory, now: u64) {
        let link = self.link.as_ref();
        let is_mine = |channel: &ChannelName| link.is_none_or(|link| link.is_my_task(&app.app.key, channel));
        self.tell_of(app, directory, now, is_mine);
    }

    fn tell_of(
        &self,
        app: &LiveApp,
        directory: &mut Directory,
        now: u64,
        is_mine: impl Fn(&ChannelName) -> bool,
    ) {
        for (matter, is_there) in directory.ledger.due(now, is_mine) {
            let channel = matter.channel().clone();
            if !has_webhooks(app, &channel) {
                continue;
            }
            let event = match (matter, is_there) {
                (Matter::Channel(_), true) => NoticeEvent::ChannelOccupied,
                (Matter::Channel(_), false) => NoticeEvent::ChannelVacated,
                (Matter::Member(_, user), true) => NoticeEvent::MemberAdded(user),
                (Matter::Member(_, user), false) => NoticeEvent::MemberRemoved(user),
                (Matter::Count(_), _) => {
                    let Some(count) = directory.channels.untold_count(&channel) else { continue };
                    NoticeEvent::SubscriptionCount(count)
                }
            };
            self.notify(app, &channel, event);
        }
    }

    /// The node stops: takes leave of the other nodes, who tell webhooks of everybody who is gone. If there are none, it
    /// does so itself and at once: nobody comes back to it.
    pub fn flush(&self) {
        self.say_bye();
        if self.link.as_ref().is_some_and(|link| !lock(&link.peers).nodes().is_empty()) {
            return;
        }
        for app in self.apps.all() {
            let mut directory = app.directory();
            self.tell_of(&app, &mut directory, u64::MAX, |_| true);
        }
    }

    /// Hands to the webhooks of an app what happened in a channel of it, if it has any, and lets the other nodes know.
    pub(super) fn notify(&self, app: &LiveApp, channel: &ChannelName, event: NoticeEvent) {
        if !has_webhooks(app, channel) {
            return;
        }
        let (key, channel) = (app.app.key.clone(), channel.clone());
        if let Some(link) = &self.link {
            link.told(Told::new(&key, &channel, &event));
            self.changes.notify_one();
        }
        self.notices.post(Notice { app: key, channel, at_ms: self.wall.now_ms(), event });
    }
}

pub(super) fn has_webhooks(app: &LiveApp, channel: &ChannelName) -> bool {
    channel.kind() != ChannelKind::User && !app.settings().webhooks.is_empty()
}

//! What the hub tells webhooks of channels (pusher-channels 15). Who is gone is told of after a grace, unless it is back.
//!
//! Always: called while the app's directory is held, so that what is told of a channel is in the order in which it
//! happened; channels of single users are nobody's business. Every node notes the same; one of them tells it.

use std::sync::Arc;

use jiff::Timestamp;

use super::channels::Left;
use super::directory::Directory;
use super::ledger::Gone;
use super::link::lock;
use super::{Hub, Joined, LiveApp};
use crate::model::{ChannelKind, ChannelName, Notice, NoticeEvent, UserId};

impl Hub {
    /// A socket of this node subscribed; on a presence channel as `user`.
    pub(super) fn note_joined(
        &self,
        app: &LiveApp,
        directory: &mut Directory,
        channel: &ChannelName,
        user: Option<&UserId>,
        joined: &Joined,
    ) {
        if joined.is_first {
            self.note_occupied(app, directory, channel);
        }
        if let (Some(user), true) = (user, joined.is_new_member) {
            self.note_member_added(app, directory, channel, user);
        }
        if matches!(joined.kept, Some(None)) && directory.ledger.miss(channel, self.agenda.now()) {
            self.notify(app, channel, NoticeEvent::CacheMiss);
        }
    }

    /// A channel has its first subscription.
    pub(super) fn note_occupied(&self, app: &LiveApp, directory: &mut Directory, channel: &ChannelName) {
        if !directory.ledger.take_back(&(channel.clone(), None)) {
            self.notify(app, channel, NoticeEvent::ChannelOccupied);
        }
    }

    /// A presence channel has a member that was not there before.
    pub(super) fn note_member_added(
        &self,
        app: &LiveApp,
        directory: &mut Directory,
        channel: &ChannelName,
        user: &UserId,
    ) {
        if !directory.ledger.take_back(&(channel.clone(), Some(user.clone()))) {
            self.notify(app, channel, NoticeEvent::MemberAdded(user.clone()));
        }
    }

    /// A channel has no subscription any more.
    pub(super) fn note_vacated(&self, app: &Arc<LiveApp>, directory: &mut Directory, channel: &ChannelName) {
        directory.ledger.forget_miss(channel);
        self.hold(app, directory, (channel.clone(), None));
    }

    /// A member of a presence channel is gone.
    pub(super) fn note_member_removed(
        &self,
        app: &Arc<LiveApp>,
        directory: &mut Directory,
        channel: &ChannelName,
        user: &UserId,
    ) {
        self.hold(app, directory, (channel.clone(), Some(user.clone())));
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
            self.note_member_removed(app, directory, channel, user);
        }
        if left.is_last {
            self.note_vacated(app, directory, channel);
        }
    }

    /// Tells who is gone for good.
    pub(super) fn tell_gone(&self, app: &LiveApp, gone: Vec<Gone>) {
        for (channel, user) in gone {
            let event = user.map_or(NoticeEvent::ChannelVacated, NoticeEvent::MemberRemoved);
            self.notify(app, &channel, event);
        }
    }

    /// The node stops: takes leave of the other nodes, who tell webhooks of everybody who is gone. If there are none, it
    /// does so itself and at once: nobody comes back to it.
    pub fn flush(&self) {
        self.say_bye();
        if self.link.as_ref().is_some_and(|link| link.is_ready() && !lock(&link.peers).nodes().is_empty()) {
            return;
        }
        for app in self.apps.all() {
            let mut directory = app.directory();
            let gone = directory.ledger.due(u64::MAX);
            self.tell_gone(&app, gone);
        }
    }

    /// Hands to the webhooks of an app what happened in a channel of it, if it has any.
    pub(super) fn notify(&self, app: &LiveApp, channel: &ChannelName, event: NoticeEvent) {
        if has_webhooks(app, channel) {
            let at_ms = Timestamp::now().as_millisecond();
            let notice = Notice { app: app.app.key.clone(), channel: channel.clone(), at_ms, event };
            if self.link.as_ref().is_none_or(|link| link.is_my_task(&notice, self.agenda.now())) {
                self.notices.post(notice);
                self.changes.notify_one();
            }
        }
    }

    fn hold(&self, app: &Arc<LiveApp>, directory: &mut Directory, gone: Gone) {
        if has_webhooks(app, &gone.0) {
            let due = self.agenda.now() + u64::from(app.settings().webhook_grace) * 1000;
            directory.ledger.hold(gone, due);
            self.agenda.note(due, app);
        }
    }
}

fn has_webhooks(app: &LiveApp, channel: &ChannelName) -> bool {
    channel.kind() != ChannelKind::User && !app.settings().webhooks.is_empty()
}

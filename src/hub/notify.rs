//! What the hub tells webhooks of channels (pusher-channels 15). Who is gone is told of after a grace, unless it is back.
//!
//! Always: called while the app's directory is held, so that what is told of a channel is in the order in which it
//! happened; channels of single users are nobody's business.

use std::sync::Arc;

use jiff::Timestamp;

use super::channels::Left;
use super::directory::Directory;
use super::ledger::Gone;
use super::{Hub, Joined, LiveApp};
use crate::model::{ChannelKind, ChannelName, Notice, NoticeEvent, UserId};

impl Hub {
    /// A socket subscribed; on a presence channel as `user`.
    pub(super) fn note_joined(
        &self,
        app: &LiveApp,
        directory: &mut Directory,
        channel: &ChannelName,
        user: Option<&UserId>,
        joined: &Joined,
    ) {
        if joined.is_first && !directory.ledger.take_back(&(channel.clone(), None)) {
            self.notify(app, channel, NoticeEvent::ChannelOccupied);
        }
        if let (Some(user), true) = (user, joined.is_new_member)
            && !directory.ledger.take_back(&(channel.clone(), Some(user.clone())))
        {
            self.notify(app, channel, NoticeEvent::MemberAdded(user.clone()));
        }
        if matches!(joined.kept, Some(None)) && directory.ledger.miss(channel, self.agenda.now()) {
            self.notify(app, channel, NoticeEvent::CacheMiss);
        }
    }

    /// A socket left; on a presence channel it was there as `user`.
    pub(super) fn note_left(
        &self,
        app: &Arc<LiveApp>,
        directory: &mut Directory,
        channel: &ChannelName,
        user: Option<&UserId>,
        left: &Left,
    ) {
        if let (Some(user), true) = (user, left.member_gone.is_some()) {
            self.hold(app, directory, (channel.clone(), Some(user.clone())));
        }
        if left.is_last {
            directory.ledger.forget_miss(channel);
            self.hold(app, directory, (channel.clone(), None));
        }
    }

    /// Tells who is gone for good.
    pub(super) fn tell_gone(&self, app: &LiveApp, gone: Vec<Gone>) {
        for (channel, user) in gone {
            let event = user.map_or(NoticeEvent::ChannelVacated, NoticeEvent::MemberRemoved);
            self.notify(app, &channel, event);
        }
    }

    /// Tells webhooks at once of everybody who is gone: nobody comes back to a node that stops.
    pub fn flush(&self) {
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
            self.notices.post(Notice { app: app.app.key.clone(), channel: channel.clone(), at_ms, event });
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

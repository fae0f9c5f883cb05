//! Sockets that came with a token: what goes to all of a user's, or to one, and what they may subscribe to.
//!
//! Always: what a channel owes a socket goes out before what comes to the socket itself, so that it sees the order in
//! which things were accepted.

use super::Shard;
use super::forms::Forms;
use super::list::Slot;
use crate::dialect::{self, Session};
use crate::hub::LiveApp;
use crate::model::{AppNumber, ChannelName, PermissionChange, SocketId, UserId};
use crate::net::websocket::frame;

/// The target of the lines that tell of single sockets, which a log may leave out.
pub const SOCKET_LINES: &str = "gusher::sockets";

/// Logs that a socket which came with a token is there, or is gone (spec 2.1).
pub fn log_socket(what: &'static str, live: &LiveApp, session: &Session) {
    let Some(user) = session.bearer() else { return };
    tracing::info!(
        target: SOCKET_LINES,
        app = live.app.key.as_str(),
        socket_id = session.uuid(),
        user_id = user.map_or("", UserId::as_str),
        "{what}"
    );
}

impl Shard {
    /// Sends a push to the sockets whose token names this user.
    pub(super) fn push_to_bearers(&mut self, app: AppNumber, user: &UserId, forms: &Forms) {
        let slots = self.bearers(app, user);
        self.count_deliveries(app, slots.len() as u64);
        slots.into_iter().for_each(|slot| self.push_to(slot, forms));
    }

    /// Sends a push to the socket of that name.
    pub(super) fn push_to_socket(&mut self, app: AppNumber, id: SocketId, forms: &Forms) {
        let slot = self.apps.get(&app).and_then(|members| members.ids.get(&id)).copied();
        if let Some(slot) = slot {
            self.count_deliveries(app, 1);
            self.push_to(slot, forms);
        }
    }

    /// Changes what the sockets of a user may subscribe to, takes them out of channels that they may no longer be in,
    /// and tells them.
    pub(super) fn permit(&mut self, app: AppNumber, user: &UserId, change: &PermissionChange) {
        let notice = frame::text(dialect::permission_changed(change).as_bytes());
        for slot in self.bearers(app, user) {
            self.hand_over_owed(slot);
            for channel in self.change_permissions(slot, change) {
                // It was in the channel a moment ago, so this cannot be refused.
                let _ = self.leave_channel(slot, &channel);
                self.show_unsubscribed(slot, &channel);
            }
            self.send(slot, notice.clone());
        }
        self.settle_faulty();
    }

    /// Changes what one socket may subscribe to; returns the channels that it may no longer be in.
    fn change_permissions(&mut self, slot: Slot, change: &PermissionChange) -> Vec<ChannelName> {
        let Some((_, seat)) = self.channel_seat(slot) else { return Vec::new() };
        seat.session.permit(change);
        let channels = seat.subscriptions.iter().map(|(channel, _)| channel);
        channels.filter(|channel| !seat.session.may_stay_in(channel)).cloned().collect()
    }

    fn push_to(&mut self, slot: Slot, forms: &Forms) {
        self.hand_over_owed(slot);
        let deflates = self.sockets[slot as usize].deflates;
        self.send(slot, forms.frame(deflates).clone());
        self.settle_faulty();
    }

    fn bearers(&self, app: AppNumber, user: &UserId) -> Vec<Slot> {
        let sockets = self.apps.get(&app).and_then(|members| members.bearers.get(user));
        sockets.into_iter().flatten().copied().collect()
    }
}

//! What the hub is told of a socket that leaves, before the shard itself lets it go: at once or, when the node stops,
//! behind the mail that was posted until then (`drain.rs`).
//!
//! Always: the hub is told once, and what it is told to be the last is the last of those that are [`Phase::Live`]: of the
//! others it has heard before.

use std::sync::Arc;

use super::Shard;
use super::list::{List, Slot};
use super::socket::{ChannelSeat, Phase, Seat};
use super::subscriptions::Subscription;
use crate::hub::{Bearer, LiveApp, Subscriber};
use crate::model::{ChannelName, UserId};

impl Shard {
    /// Whether the hub knows a socket as one of its app.
    pub(super) fn is_known(&self, slot: Slot) -> bool {
        self.sockets.get(slot as usize).is_some_and(|socket| socket.phase == Phase::Live)
    }

    /// Takes a live socket out of its app in the hub: what is published from now on is not for it.
    pub(super) fn leave_hub(&mut self, slot: Slot) {
        if !self.is_known(slot) {
            return;
        }
        self.sockets[slot as usize].phase = Phase::Leaving;
        let socket = &self.sockets[slot as usize];
        let Some(members) = self.apps.get(&socket.app) else { return };
        match &socket.seat {
            Seat::User(seat) => {
                let of_user = members.users.get(&seat.user);
                let is_last = of_user.is_none_or(|slots| self.is_last(slot, slots.iter().copied()));
                self.hub.leave(self.index, &members.live, &seat.user, is_last);
            }
            Seat::Channels(seat) => {
                self.sign_out_of_hub(slot, seat);
                for (channel, subscription) in seat.subscriptions.iter() {
                    self.unsubscribe_in_hub(slot, channel, subscription);
                }
                self.leave_hub_by_id(slot, seat, &members.live);
            }
        }
    }

    fn leave_hub_by_id(&self, slot: Slot, seat: &ChannelSeat, live: &Arc<LiveApp>) {
        let Some(user) = seat.session.bearer() else { return self.hub.leave_other(self.index, live) };
        let of_user = user.and_then(|user| self.apps.get(&live.number)?.bearers.get(user));
        let is_last = of_user.is_some_and(|slots| self.is_last(slot, slots.iter().copied()));
        self.hub.leave_bearer(self.index, live, user, is_last);
    }

    /// Takes a live socket out of a channel in the hub.
    pub(super) fn unsubscribe_in_hub(&self, slot: Slot, channel: &ChannelName, held: &Subscription) {
        let Some(socket) = self.sockets.get(slot as usize) else { return };
        let (Seat::Channels(seat), Some(members)) = (&socket.seat, self.apps.get(&socket.app)) else {
            return;
        };
        let is_last = [&members.channels, &members.cluster_channels].into_iter().all(|channels| {
            let list = channels.get(channel).map(|held| &held.walked.list);
            list.map(List::slots).is_none_or(|slots| self.is_last(slot, slots))
        });
        let bearer = seat.session.bearer().map(|user| Bearer { user });
        let (shard, socket) = (self.index, seat.socket_id);
        let subscriber = Subscriber { shard, socket, member: held.member.as_ref(), bearer };
        self.hub.unsubscribe(&members.live, channel, &subscriber, is_last);
    }

    /// A live socket is no longer signed in for the hub, and watches nobody.
    fn sign_out_of_hub(&self, slot: Slot, seat: &ChannelSeat) {
        let Some(identity) = &seat.identity else { return };
        self.unwatch_in_hub(slot, &identity.watchlist);
        let user = &identity.member.user;
        let app = self.sockets[slot as usize].app;
        let Some(members) = self.apps.get(&app) else { return };
        let of_user = members.signed_in.get(user);
        let is_last = of_user.is_none_or(|slots| self.is_last(slot, slots.iter().copied()));
        self.hub.sign_out(self.index, &members.live, user, is_last);
    }

    /// A live socket watches these users no longer for the hub.
    pub(super) fn unwatch_in_hub(&self, slot: Slot, watchlist: &[UserId]) {
        let Some(socket) = self.sockets.get(slot as usize) else { return };
        let Some(members) = self.apps.get(&socket.app) else { return };
        for user in watchlist {
            let watchers = members.watchers.get(user);
            let is_last = watchers.is_none_or(|slots| self.is_last(slot, slots.iter().copied()));
            self.hub.unwatch(self.index, &members.live, user, is_last);
        }
    }

    /// Whether the hub knows none of those that are `together` but this socket. Few are looked at: of all but those who are
    /// leaving it does.
    fn is_last(&self, slot: Slot, mut together: impl ExactSizeIterator<Item = Slot>) -> bool {
        together.len() <= 1 + self.exodus.leaving().len()
            && !together.any(|other| other != slot && self.is_known(other))
    }
}

//! What sockets do, shown to those who look at their app.

use std::net::SocketAddr;

use super::Shard;
use super::list::Slot;
use super::socket::{Seat, Socket};
use crate::dialect::{self, Complaint};
use crate::feed::{Happening, excerpt};
use crate::model::{ChannelName, Refusal};

/// Who is at the other end of its connection.
fn peer(socket: &Socket) -> Option<SocketAddr> {
    let peer = socket.stream.as_ref()?.tcp().peer_addr().ok()?;
    Some(SocketAddr::new(peer.ip().to_canonical(), peer.port()))
}

impl Shard {
    /// Shows what `make` says of a socket, which has this name, if anybody looks at its app.
    fn show(&self, slot: Slot, make: impl FnOnce(&Socket, String) -> Happening) {
        let Some(socket) = self.sockets.get(slot as usize) else { return };
        let Some(members) = self.apps.get(&socket.app) else { return };
        members.live.feed.show(|| make(socket, self.name(slot, socket)));
    }

    /// The name that its client knows. One that knows none is called by its shard and its place there, while it lives.
    fn name(&self, slot: Slot, socket: &Socket) -> String {
        match &socket.seat {
            Seat::Channels(seat) => seat.session.uuid().unwrap_or_else(|| seat.socket_id.to_string()),
            Seat::User(_) => format!("{}-{slot}", self.index),
        }
    }

    pub(super) fn show_connected(&self, slot: Slot) {
        self.show(slot, |socket, name| {
            let user = match &socket.seat {
                Seat::User(seat) => Some(&seat.user),
                Seat::Channels(seat) => seat.session.bearer().flatten(),
            };
            Happening::Connected {
                socket: name,
                dialect: socket.dialect(),
                address: peer(socket).map(|peer| peer.to_string()),
                user: user.map(|user| excerpt(user.as_str())),
            }
        });
    }

    /// A socket that is live closes now. Of one whose stream never came nobody heard.
    pub(super) fn show_disconnected(&self, slot: Slot, code: u16, reason: &str) {
        if self.is_live(slot) && self.sockets[slot as usize].stream.is_some() {
            self.show(slot, |_, socket| Happening::Disconnected { socket, code, reason: excerpt(reason) });
        }
    }

    pub(super) fn show_subscribed(&self, slot: Slot, channel: &ChannelName) {
        self.show(slot, |_, socket| Happening::Subscribed { socket, channel: channel.clone() });
    }

    pub(super) fn show_unsubscribed(&self, slot: Slot, channel: &ChannelName) {
        self.show(slot, |_, socket| Happening::Unsubscribed { socket, channel: channel.clone() });
    }

    pub(super) fn show_refused(&self, slot: Slot, refusal: &Refusal) {
        self.show(slot, |_, _| {
            let reason = refusal.reason().replace('_', " ");
            Happening::Refused { is_socket: true, code: None, reason }
        });
    }

    pub(super) fn show_complaint(&self, slot: Slot, complaint: &Complaint) {
        self.show(slot, |_, _| {
            let (code, reason) = dialect::gist(complaint);
            Happening::Refused { is_socket: true, code, reason: excerpt(&reason) }
        });
    }
}

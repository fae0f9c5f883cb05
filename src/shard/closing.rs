//! How a socket's life ends. Whatever the reason, it first leaves its app, so nobody counts or addresses it any
//! more; then its close frame goes out behind what was accepted before; then its stream is ended and, once the
//! client has ended its side or has had its time, dropped. Dropping at once would let the kernel reset the
//! connection over unread bytes, and the client would never see the close frame.

use bytes::Bytes;

use super::list::Slot;
use super::outbox::Frames;
use super::socket::Phase;
use super::timers::CLOSING_TICKS;
use super::{Delivery, Shard};
use crate::dialect;
use crate::model::Parting;
use crate::net::websocket::frame;

impl Shard {
    /// Closes a socket that did nothing wrong; what was accepted for it goes out first.
    pub(super) fn part(&mut self, slot: Slot, parting: Parting) {
        if !self.is_live(slot) {
            return;
        }
        self.hand_over_owed(slot);
        self.say_goodbye(slot, parting);
    }

    /// Cuts a socket that does not read: what waits for it is given up, and counted as one cut.
    pub(super) fn cut(&mut self, slot: Slot) {
        if !self.is_live(slot) {
            return self.remove(slot);
        }
        self.metrics.slow_cuts.add(1);
        tracing::debug!("a socket that does not read was cut");
        if let Some((socket, _)) = self.socket(slot) {
            socket.outbox.keep_first();
        }
        self.say_goodbye(slot, Parting::SlowReader);
    }

    fn say_goodbye(&mut self, slot: Slot, parting: Parting) {
        let Some(socket) = self.sockets.get(slot as usize) else { return };
        let (code, reason) = dialect::close(socket.dialect, parting);
        self.close(slot, frame::close(code, reason));
    }

    /// Sends `last`, a close frame, and nothing after it.
    pub(super) fn close(&mut self, slot: Slot, last: Bytes) {
        self.withdraw(slot);
        let end = self.now + CLOSING_TICKS;
        let Some((socket, mut delivery)) = self.socket(slot) else { return };
        socket.phase = Phase::Closing(end);
        let is_open = socket.stream.is_some();
        socket.outbox.push_anyway(Frames { bytes: last, count: 1 }, delivery.pool);
        if !is_open {
            socket.outbox.block(delivery.now);
        }
        if socket.flush(&mut delivery).is_err() {
            return self.remove(slot);
        }
        // Before it is open nothing can fire: the door still owes the stream or an abandonment.
        if is_open {
            self.schedule(slot);
        }
    }

    /// Drops a socket and all it holds. Its stream closes with it.
    pub(super) fn remove(&mut self, slot: Slot) {
        self.withdraw(slot);
        let Some(mut socket) = self.sockets.try_remove(slot as usize) else { return };
        socket.outbox.clear(&mut self.pool);
        self.metrics.sockets.subtract(1);
        let length = self.sockets.len();
        if self.sockets.capacity() > 1024 && length < self.sockets.capacity() / 4 {
            self.sockets.shrink_to_fit();
        }
    }

    pub(super) fn is_live(&self, slot: Slot) -> bool {
        self.sockets.get(slot as usize).is_some_and(|socket| socket.phase == Phase::Live)
    }

    /// What the list of its app still owes a socket goes into its outbox.
    fn hand_over_owed(&mut self, slot: Slot) {
        let Some(socket) = self.sockets.get_mut(slot as usize) else { return };
        let Some(members) = self.apps.get_mut(&socket.app) else { return };
        let Some((_, frames)) = members.everyone.catch_up(socket.place) else { return };
        self.metrics.deliveries.add(frames.count.into());
        let (limits, now) = (self.settings.outbox, self.now);
        let mut delivery = Delivery { limits, pool: &mut self.pool, metrics: &self.metrics, now };
        // If that is too much for it, the close frame tells it all the same that it missed something.
        let _ = socket.queue(frames, &mut delivery);
    }

    /// Takes a live socket out of its app, here and in the hub.
    fn withdraw(&mut self, slot: Slot) {
        let Some(socket) = self.sockets.get(slot as usize).filter(|socket| socket.phase == Phase::Live)
        else {
            return;
        };
        let (app, user) = (socket.app, socket.user.clone());
        let (place, user_place) = (socket.place, socket.user_place as usize);
        let Some(members) = self.apps.get_mut(&app) else { return };
        let sockets = &mut self.sockets;
        members.everyone.remove(place, |moved, place| sockets[moved as usize].place = place);
        let mut is_last = false;
        if let Some(sockets_of_user) = members.users.get_mut(&user) {
            sockets_of_user.swap_remove(user_place);
            if let Some(moved) = sockets_of_user.get(user_place) {
                sockets[*moved as usize].user_place = user_place as u32;
            }
            is_last = sockets_of_user.is_empty();
        }
        if is_last {
            members.users.remove(&user);
            if members.users.capacity() > 1024 && members.users.len() < members.users.capacity() / 8 {
                members.users.shrink_to_fit();
            }
        }
        self.hub.leave(self.index, &members.live, &user, is_last);
        if members.everyone.is_empty() {
            self.behind_bytes -= members.everyone.behind_bytes();
            self.apps.remove(&app);
        }
    }
}

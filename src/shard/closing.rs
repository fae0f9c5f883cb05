//! How a socket's life ends. Whatever the reason, it first leaves its app, so nobody counts or addresses it any
//! more; then its close frame goes out behind what was accepted before; then its stream is ended and, once the
//! client has ended its side or has had its time, dropped. Dropping at once would let the kernel reset the
//! connection over unread bytes, and the client would never see the close frame.

use bytes::Bytes;

use super::bearers::log_socket;
use super::fan_out::CHUNK;
use super::list::Slot;
use super::outbox::Frames;
use super::socket::{Phase, Seat};
use super::subscriptions::Subscription;
use super::users::take_out;
use super::{Shard, Walk};
use crate::dialect;
use crate::model::{ChannelName, Parting};
use crate::net::websocket::frame;

/// The code of an end without a close frame, which is never sent (RFC 6455 section 7.4.1).
const NO_CLOSE: u16 = 1006;

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
        self.forget_replies(slot);
        self.metrics.slow_cuts.add(1);
        tracing::debug!("a socket that does not read was cut");
        if let Some((socket, delivery)) = self.socket(slot) {
            socket.outbox.keep_first(delivery.pool);
        }
        self.say_goodbye(slot, Parting::SlowReader);
    }

    fn say_goodbye(&mut self, slot: Slot, parting: Parting) {
        let Some(socket) = self.sockets.get(slot as usize) else { return };
        let (code, reason) = dialect::close(socket.dialect(), parting);
        self.close_with(slot, code, reason);
    }

    /// Closes a socket with a code and a reason, behind what its client has to be told before.
    pub(super) fn close_with(&mut self, slot: Slot, code: u16, reason: &str) {
        if !self.is_live_behind_replies(slot) {
            return;
        }
        self.show_disconnected(slot, code, reason);
        let Some(socket) = self.sockets.get(slot as usize) else { return };
        let before = match &socket.seat {
            Seat::User(_) => None,
            Seat::Channels(seat) => dialect::last_words(&seat.session, code, reason),
        };
        let mut last = Vec::new();
        before.iter().for_each(|text| frame::encode_into(&mut last, frame::Opcode::Text, text.as_bytes()));
        last.extend_from_slice(&frame::close(code, reason));
        self.close(slot, last.into());
    }

    /// Sends `last`, which ends with a close frame, and nothing after it.
    pub(super) fn close(&mut self, slot: Slot, last: Bytes) {
        self.withdraw(slot);
        let end = self.now + self.closing_ticks;
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

    /// Drops a socket and all it holds, but for its stream: closing one costs the kernel more than all the rest, so a
    /// crowd that leaves at once would hold up everybody else. See [`Shard::close_streams`].
    pub(super) fn remove(&mut self, slot: Slot) {
        self.forget_replies(slot);
        self.show_disconnected(slot, NO_CLOSE, "");
        self.withdraw(slot);
        let Some(mut socket) = self.sockets.try_remove(slot as usize) else { return };
        self.places.remove(&slot);
        socket.outbox.clear(&mut self.pool);
        let aside = self.aside.take(slot).map(|(_, stream)| stream);
        self.gone.extend(socket.stream.take().or(aside));
        self.metrics.sockets.of(socket.dialect()).subtract(1);
        let length = self.sockets.len();
        if self.sockets.capacity() > 1024 && length < self.sockets.capacity() / 4 {
            self.sockets.shrink_to_fit();
            self.wheel.forget_from(self.sockets.capacity() as Slot);
        }
    }

    /// Closes streams of sockets that are gone, some in a turn, more of them the more there are.
    pub(super) fn close_streams(&mut self) {
        let share = (self.gone.len() / 16).max(CHUNK);
        self.gone.truncate(self.gone.len().saturating_sub(share));
        if self.gone.is_empty() {
            self.gone.shrink_to(CHUNK);
        }
    }

    /// Whether a socket has not had its last word.
    pub(super) fn is_live(&self, slot: Slot) -> bool {
        let socket = self.sockets.get(slot as usize);
        socket.is_some_and(|socket| matches!(socket.phase, Phase::Live | Phase::Leaving))
    }

    /// What the lists it is in still owe a socket goes into its outbox.
    pub(super) fn hand_over_owed(&mut self, slot: Slot) {
        let Some(socket) = self.sockets.get(slot as usize) else { return };
        let walks: Vec<(Walk, u32)> = match &socket.seat {
            Seat::User(seat) => vec![(Walk::Everyone(socket.app), seat.place)],
            Seat::Channels(seat) => {
                let in_channel = |(channel, held): (&ChannelName, &Subscription)| {
                    (Walk::Channel(socket.app, socket.dialect(), channel.clone()), held.place)
                };
                seat.subscriptions.iter().map(in_channel).collect()
            }
        };
        for (walk, place) in walks {
            self.hand_over(slot, &walk, place);
        }
    }

    /// What one list still owes a socket goes into its outbox.
    pub(super) fn hand_over(&mut self, slot: Slot, walk: &Walk, place: u32) {
        let deflates = self.sockets.get(slot as usize).is_some_and(|socket| socket.deflates);
        let Some((app, walked)) = walk.list(&mut self.apps) else { return };
        let Some(frames) = walked.list.catch_up(place, deflates) else { return };
        app.metrics.deliveries.add(frames.count.into());
        self.metrics.deliveries.add(frames.count.into());
        let replied = self.deliver_replies(slot);
        let Some((socket, mut delivery)) = self.socket(slot) else { return };
        let delivered = replied.and_then(|()| socket.deliver(frames, &mut delivery));
        // Its walk goes on meanwhile, so a fault is settled by whoever settles those of the walk.
        if let Err(fault) = delivered {
            self.faulty.push((slot, fault));
        }
    }

    /// Takes a socket out of its app, in the hub and here, unless it is closing.
    fn withdraw(&mut self, slot: Slot) {
        if !self.is_live(slot) {
            return;
        }
        self.leave_hub(slot);
        let socket = &self.sockets[slot as usize];
        let (app, deflates) = (socket.app, socket.deflates);
        match &socket.seat {
            Seat::User(_) => self.give_up_user(slot),
            Seat::Channels(seat) => {
                let channels: Vec<ChannelName> =
                    seat.subscriptions.iter().map(|(channel, _)| channel.clone()).collect();
                self.sign_out(slot);
                channels.iter().for_each(|channel| drop(self.leave_channel(slot, channel)));
                self.give_up_id(slot);
            }
        }
        if let Some(members) = self.apps.get_mut(&app) {
            members.count -= 1;
            members.deflating -= usize::from(deflates);
            if members.count == 0 {
                self.behind_bytes -= members.everyone.list.behind_bytes();
                self.apps.remove(&app);
            }
        }
    }

    fn give_up_user(&mut self, slot: Slot) {
        let socket = &self.sockets[slot as usize];
        let Seat::User(seat) = &socket.seat else { return };
        let (app, user, place, user_place) =
            (socket.app, seat.user.clone(), seat.place, seat.user_place as usize);
        let Some(members) = self.apps.get_mut(&app) else { return };
        let sockets = &mut self.sockets;
        members.everyone.list.remove(place, |moved, place| {
            if let Seat::User(seat) = &mut sockets[moved as usize].seat {
                seat.place = place;
            }
        });
        let Some(sockets_of_user) = members.users.get_mut(&user) else { return };
        sockets_of_user.swap_remove(user_place);
        if let Some(moved) = sockets_of_user.get(user_place)
            && let Seat::User(seat) = &mut sockets[*moved as usize].seat
        {
            seat.user_place = user_place as u32;
        }
        if sockets_of_user.is_empty() {
            members.users.remove(&user);
            if members.users.capacity() > 1024 && members.users.len() < members.users.capacity() / 8 {
                members.users.shrink_to_fit();
            }
        }
    }

    fn give_up_id(&mut self, slot: Slot) {
        let socket = &self.sockets[slot as usize];
        let Seat::Channels(seat) = &socket.seat else { return };
        let Some(members) = self.apps.get_mut(&socket.app) else { return };
        members.ids.remove(&seat.socket_id);
        // Of one that was given up at the door nobody heard.
        if socket.stream.is_some() {
            log_socket("disconnect", &members.live, &seat.session);
        }
        if let Some(Some(user)) = seat.session.bearer() {
            take_out(&mut members.bearers, user, slot);
        }
    }
}

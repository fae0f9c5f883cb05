//! What comes in from a socket.

use std::io;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::list::Slot;
use super::socket::{Phase, Seat};
use super::{Shard, ShardSettings};
use crate::dialect::pusher;
use crate::model::{App, Command};
use crate::net::websocket::{Inbound, Violation, close_reply, frame};

/// How often one socket is read in one turn before the others have theirs.
const READS_PER_TURN: usize = 4;

impl Shard {
    /// Reads what a socket has. `to_the_end`: go on until the kernel has nothing more, as it will not say again
    /// that something is there.
    pub(super) fn receive(&mut self, slot: Slot, to_the_end: bool) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let is_done = (0..READS_PER_TURN).any(|_| self.read_once(slot, &mut scratch, to_the_end));
        self.scratch = scratch;
        if !is_done {
            self.unread.push(slot);
        }
    }

    /// Whether this socket is done with in this turn.
    fn read_once(&mut self, slot: Slot, scratch: &mut [u8], to_the_end: bool) -> bool {
        let Some(stream) = self.sockets.get_mut(slot as usize).and_then(|socket| socket.stream.as_mut())
        else {
            return true;
        };
        match stream.read(scratch) {
            Ok(0) => self.remove(slot),
            Ok(length) => {
                self.take_in(slot, &mut scratch[..length]);
                // Less than there is room for means that there was no more.
                return length < scratch.len() && !to_the_end;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.remove(slot),
        }
        true
    }

    /// Understands bytes of a socket. A closing one is not listened to any more.
    pub(super) fn take_in(&mut self, slot: Slot, bytes: &mut [u8]) {
        let Some(socket) = self.sockets.get_mut(slot as usize).filter(|socket| socket.phase == Phase::Live)
        else {
            return;
        };
        let Some(members) = self.apps.get(&socket.app) else { return };
        let listener = Listener { seat: &socket.seat, app: &members.live.app, settings: &self.settings };
        let mut heard = Vec::new();
        let read = socket.reader.read(bytes, listener.message_bytes_max(), &mut |inbound| {
            heard.push(listener.understand(inbound));
            if matches!(heard.last(), Some(Heard::Goodbye(_))) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        if !heard.is_empty() {
            socket.last_heard = self.now;
        }
        heard.into_iter().for_each(|heard| self.answer(slot, heard));
        if let Err(violation) = read {
            self.refuse(slot, &violation);
        }
    }

    fn answer(&mut self, slot: Slot, heard: Heard) {
        match heard {
            Heard::Nothing => {}
            Heard::Ping(pong) => self.send(slot, pong),
            Heard::Goodbye(reply) => self.close(slot, reply),
            Heard::Command(command) => self.carry_out_command(slot, command),
            Heard::Nonsense(complaints) => complaints.iter().for_each(|complaint| self.say(slot, complaint)),
        }
    }

    /// The client broke the protocol or a limit of it (RFC 6455 section 7.1.7).
    fn refuse(&mut self, slot: Slot, violation: &Violation) {
        self.metrics.violations.add(1);
        tracing::debug!(%violation, "a socket broke the protocol");
        self.close(slot, close_for(violation));
    }
}

/// A message that is too big is answered without a reason, as the original does (spec 1.8).
fn close_for(violation: &Violation) -> Bytes {
    let reason = match violation {
        Violation::TooBig => String::new(),
        other => other.to_string(),
    };
    frame::close(violation.close_code(), &reason)
}

/// What a frame of a client comes to.
enum Heard {
    /// A sign of life, no more.
    Nothing,
    Ping(Bytes),
    Goodbye(Bytes),
    Command(Command),
    /// Something that its dialect refuses; with what the client is told.
    Nonsense(Vec<String>),
}

/// What it takes to understand a socket.
struct Listener<'a> {
    seat: &'a Seat,
    app: &'a App,
    settings: &'a ShardSettings,
}

impl Listener<'_> {
    fn message_bytes_max(&self) -> usize {
        match self.seat {
            Seat::Gusher(_) => self.settings.message_bytes_max,
            Seat::Pusher(_) => self.settings.channels.message_bytes_max,
        }
    }

    fn understand(&self, inbound: Inbound<'_>) -> Heard {
        match inbound {
            Inbound::Ping(payload) => Heard::Ping(frame::pong(payload)),
            Inbound::Pong(_) => Heard::Nothing,
            Inbound::Close(close) => Heard::Goodbye(close_reply(&close)),
            Inbound::Text(text) => self.understand_text(text),
            Inbound::Binary(_) => match self.seat {
                Seat::Gusher(_) => Heard::Nothing,
                Seat::Pusher(_) => Heard::Nonsense(vec![pusher::socket::binary_refused()]),
            },
        }
    }

    fn understand_text(&self, text: &str) -> Heard {
        // In the Gusher dialect it is read and discarded; never forwarded, never answered (spec 1.8).
        let Seat::Pusher(seat) = self.seat else { return Heard::Nothing };
        let (key, secret) = (self.app.key.as_str(), &self.app.secret.0);
        let limits = pusher::socket::SocketLimits::default();
        let client_events = self.settings.channels.events_per_second_max > 0;
        match pusher::socket::understand(&seat.session, key, secret, client_events, &limits, text) {
            Ok(Some(command)) => Heard::Command(command),
            Ok(None) => Heard::Nothing,
            Err(complaints) => Heard::Nonsense(complaints),
        }
    }
}

//! What comes in from a socket.

use std::io;
use std::ops::ControlFlow;

use super::Shard;
use super::channels::SECOND_TICKS;
use super::list::Slot;
use super::socket::{Phase, Seat, Socket, Unread};
use crate::dialect::{self, Complaint, Terms};
use crate::model::{AppRate, Dialect, Parting};
use crate::net::timer::Tick;
use crate::net::websocket::{Inbound, Opcode, Rules, Violation, close_reply};

/// So much is done for one socket in one turn before the others have theirs. A frame is one piece of work, and so are
/// [`BYTES_PER_WORK`] of what is read or answered.
const WORK_PER_SOCKET: usize = 128;

/// So much is done for all sockets together before mail and fan-outs have their turn.
const WORK_PER_TURN: usize = 2048;

/// What of reading and answering is as much work as a frame, in bytes.
pub(super) const BYTES_PER_WORK: usize = 256;

/// How long frames are taken to be when it is decided how much is read; the shortest have six bytes.
const FRAME_BYTES: usize = 16;

/// So much is read at once at the least, in bytes.
const READ_BYTES_MIN: usize = 1024;

/// So much nonsense may come from one socket in ten seconds.
const NONSENSE_MAX: u32 = 10;
const NONSENSE_TICKS: Tick = 40;

/// The code of a close frame that has none (RFC 6455 section 7.4.1).
const NO_CODE: u16 = 1005;

impl Shard {
    /// There is something to read from a socket.
    pub(super) fn note_unread(&mut self, slot: Slot, unread: Unread) {
        let Some(socket) = self.sockets.get_mut(slot as usize) else { return };
        if socket.unread == Unread::Nothing {
            self.unread.push_back(slot);
        }
        socket.unread = socket.unread.max(unread);
    }

    /// Reads from the next sockets, as much as one turn takes. Each has its part before any has another.
    pub(super) fn read_some(&mut self) {
        self.work = 0;
        for _ in 0..self.unread.len() {
            if self.work >= WORK_PER_TURN {
                return;
            }
            let Some(slot) = self.unread.pop_front() else { return };
            // Where a socket is gone, its slot may be another's by now, of which nothing is known.
            let Some(socket) = self.sockets.get_mut(slot as usize) else { continue };
            match std::mem::replace(&mut socket.unread, Unread::Nothing) {
                Unread::Nothing => {}
                unread => self.receive(slot, unread == Unread::ToTheEnd),
            }
        }
    }

    /// Reads what a socket has. `to_the_end`: go on until the kernel has nothing more, as it will not say again
    /// that something is there.
    fn receive(&mut self, slot: Slot, to_the_end: bool) {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.gather_replies(slot);
        let end = self.work + WORK_PER_SOCKET;
        let is_done = loop {
            if self.work >= end {
                break false;
            }
            if self.read_once(slot, &mut scratch, end - self.work, to_the_end) {
                break true;
            }
        };
        self.scratch = scratch;
        self.send_gathered(slot);
        if !is_done {
            self.note_unread(slot, Unread::ToTheEnd);
        }
    }

    /// Whether this socket is done with in this turn. Reads about as much as the work that is left for it, and the rest of the
    /// frame under way.
    fn read_once(&mut self, slot: Slot, scratch: &mut [u8], work: usize, to_the_end: bool) -> bool {
        let Some(Socket { stream: Some(stream), reader, .. }) = self.sockets.get_mut(slot as usize) else {
            return true;
        };
        let for_work = (work * FRAME_BYTES).max(READ_BYTES_MIN);
        let room = reader.missing_bytes().saturating_add(for_work).min(scratch.len());
        let scratch = &mut scratch[..room];
        match stream.read(scratch) {
            Ok(0) => self.remove(slot),
            Ok(length) => {
                self.metrics.bytes_in.add(length as u64);
                self.work += 1 + length / BYTES_PER_WORK;
                // Less than there is room for means that there was no more.
                let is_all = length < scratch.len() && !stream.has_ended();
                self.take_in(slot, &mut scratch[..length]);
                return is_all && !to_the_end;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.remove(slot),
        }
        true
    }

    /// Understands bytes of a socket and does what they ask, message by message. A closing one is not listened to any
    /// more.
    pub(super) fn take_in(&mut self, slot: Slot, bytes: &mut [u8]) {
        let Some(socket) = self.sockets.get_mut(slot as usize).filter(|socket| socket.phase == Phase::Live)
        else {
            return;
        };
        let message_bytes_max = match socket.dialect() {
            Dialect::Gusher => self.settings.message_bytes_max,
            Dialect::Pusher => self.settings.channels.message_bytes_max,
            Dialect::Cluster => self.settings.cluster.message_bytes_max,
        };
        let rules = Rules { message_bytes_max, may_deflate: socket.deflates };
        // It is put back below: what a message asks for may need all of the shard.
        let mut reader = std::mem::take(&mut socket.reader);
        let read = reader.read(bytes, rules, &mut |inbound| {
            self.hear(slot, inbound);
            if self.is_live(slot) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if let Some(socket) = self.sockets.get_mut(slot as usize) {
            socket.reader = reader;
        }
        if let Err(violation) = read {
            self.refuse(slot, &violation);
        }
    }

    fn hear(&mut self, slot: Slot, inbound: Inbound<'_>) {
        self.work += 1;
        if self.is_too_much(slot) {
            return self.part(slot, Parting::TooManyFrames);
        }
        match inbound {
            Inbound::Ping(payload) => self.answer(slot, Opcode::Pong, payload),
            Inbound::Pong(_) => {}
            Inbound::Close(close) => {
                let (code, reason) = close.as_ref().map_or((NO_CODE, ""), |close| (close.code, close.reason));
                if !self.is_live_behind_replies(slot) {
                    return;
                }
                self.show_disconnected(slot, code, reason);
                self.close(slot, close_reply(&close));
            }
            Inbound::Text(text) => self.hear_text(slot, text),
            Inbound::Binary(message) => {
                let Some((_, seat)) = self.channel_seat(slot) else { return };
                if let Some(text) = dialect::text_of_binary(message) {
                    return self.hear_text(slot, &text);
                }
                let complaint = dialect::refuse_binary(&seat.session);
                complaint.into_iter().for_each(|complaint| self.complain(slot, &complaint));
            }
        }
    }

    /// Counts a frame. Whether there were more of them in this second than the app allows.
    fn is_too_much(&mut self, slot: Slot) -> bool {
        let Some(socket) = self.sockets.get_mut(slot as usize) else { return false };
        let is_same_second = socket.last_heard / SECOND_TICKS == self.now / SECOND_TICKS;
        socket.frames = if is_same_second { socket.frames.saturating_add(1) } else { 1 };
        socket.last_heard = self.now;
        let Some(members) = self.apps.get(&socket.app) else { return false };
        let is_too_much = socket.frames > members.live.allows_frames();
        if is_too_much {
            members.live.metrics.exceeded.of(AppRate::Frames).add(1);
        }
        is_too_much
    }

    fn hear_text(&mut self, slot: Slot, text: &str) {
        let Some(socket) = self.sockets.get(slot as usize) else { return };
        // Whoever has no seat on channels says nothing that anybody listens to.
        let Seat::Channels(seat) = &socket.seat else { return };
        let Some(members) = self.apps.get(&socket.app) else { return };
        let terms = Terms {
            app: &members.live.app,
            settings: &members.live.settings(),
            signed_in: seat.identity.as_ref().map(|identity| &identity.member),
            is_subscribed: &|channel| seat.subscriptions.contains(channel),
        };
        match dialect::understand(&seat.session, &terms, text) {
            Ok(Some(command)) => self.carry_out_command(slot, command),
            Ok(None) => {}
            Err(complaint) => self.complain(slot, &complaint),
        }
    }

    /// Tells a client what it did not expect; who says nothing but nonsense is closed.
    fn complain(&mut self, slot: Slot, complaint: &Complaint) {
        let now = self.now;
        let Some((_, seat)) = self.channel_seat(slot) else { return };
        if complaint.is_nonsense && seat.pace.add(now, NONSENSE_TICKS) > NONSENSE_MAX {
            return self.part(slot, Parting::Nonsense);
        }
        self.show_complaint(slot, complaint);
        complaint.texts.iter().for_each(|text| self.say(slot, text));
    }

    /// The client broke the protocol or a limit of it (RFC 6455 section 7.1.7).
    fn refuse(&mut self, slot: Slot, violation: &Violation) {
        self.metrics.violations.add(1);
        tracing::debug!(%violation, "a socket broke the protocol");
        let reason = match (violation, self.channel_seat(slot)) {
            // As the original does it (spec 1.8).
            (Violation::TooBig, None) => String::new(),
            (violation, _) => violation.to_string(),
        };
        self.close_with(slot, violation.close_code(), &reason);
    }
}

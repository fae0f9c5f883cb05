//! The timers of a socket: pings, silence, stalls, and the end of a close. One entry in the wheel serves them all.

use std::time::Instant;

use super::drain::SHARE_DUE;
use super::list::Slot;
use super::socket::{ChannelSeat, Phase, Seat, Socket, Unread};
use super::{POOL_SHRINK_TICKS, Shard, ShardSettings};
use crate::model::{Dialect, Parting};
use crate::net::timer::{TICK, Tick};

/// How long a client may take to end its side after a close frame of ours: five seconds.
pub(super) const CLOSING_TICKS: Tick = 20;

/// The durations of [`ShardSettings`] in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    ping_every: Tick,
    silence_max: Tick,
    /// How long a socket may take nothing while something waits for it.
    pub stall_max: Tick,
}

impl Rhythm {
    pub(super) fn new(settings: &ShardSettings) -> Self {
        let ticks = |duration: std::time::Duration| (duration.as_millis() / TICK.as_millis()).max(1) as Tick;
        Self {
            ping_every: ticks(settings.ping_every),
            silence_max: ticks(settings.silence_max),
            stall_max: ticks(settings.stall_max),
        }
    }

    /// When something is next to be done about a socket.
    fn next(&self, socket: &Socket) -> Tick {
        match socket.phase {
            Phase::Closing(end) => end,
            Phase::Live | Phase::Leaving => {
                let stall = socket.outbox.blocked_since().map_or(Tick::MAX, |since| since + self.stall_max);
                let leave = leave_by(socket).map_or(Tick::MAX, |(due, _)| due);
                socket.next_ping.min(self.silence_end(socket)).min(stall).min(leave)
            }
        }
    }

    /// When a socket was silent for too long.
    fn silence_end(&self, socket: &Socket) -> Tick {
        match attentive(socket) {
            None => socket.last_heard + self.silence_max,
            Some(seat) => socket.last_heard + seat.activity_timeout + seat.pong_timeout,
        }
    }

    /// Whether a socket is to be pinged though its turn has come: of some the silent only are (pusher-channels 10).
    fn is_ping_due(&self, socket: &Socket, now: Tick) -> bool {
        attentive(socket).is_none_or(|seat| now >= socket.last_heard + seat.activity_timeout)
    }

    /// When to look at it again.
    fn ping_after(&self, socket: &Socket, now: Tick) -> Tick {
        match attentive(socket) {
            None => now + self.ping_every,
            Some(seat) if self.is_ping_due(socket, now) => now + seat.activity_timeout,
            Some(seat) => socket.last_heard + seat.activity_timeout,
        }
    }
}

/// The seat of a socket whose client was told how long it may be silent; all others are pinged at the pace of the node.
fn attentive(socket: &Socket) -> Option<&ChannelSeat> {
    match &socket.seat {
        Seat::Channels(seat) if seat.session.dialect() == Dialect::Pusher => Some(seat),
        _ => None,
    }
}

/// When a socket is to be closed whatever it does, and why.
fn leave_by(socket: &Socket) -> Option<(Tick, Parting)> {
    match &socket.seat {
        Seat::User(_) => None,
        Seat::Channels(seat) => seat.leave_by,
    }
}

/// A number of seconds in ticks.
pub(super) fn seconds(seconds: u32) -> Tick {
    Tick::from(seconds) * (1000 / TICK.as_millis() as Tick)
}

impl Shard {
    /// A socket is open: from now on it is pinged and has to be heard of.
    pub(super) fn start_timer(&mut self, slot: Slot) {
        let Some(socket) = self.sockets.get_mut(slot as usize) else { return };
        socket.last_heard = self.now;
        socket.next_ping = self.rhythm.ping_after(socket, self.now);
        self.schedule(slot);
    }

    /// Sees to it that a socket is looked at when something is next to be done about it.
    pub(super) fn schedule(&mut self, slot: Slot) {
        let Some(socket) = self.sockets.get(slot as usize) else { return };
        self.wheel.schedule(self.rhythm.next(socket).max(self.now + 1), slot);
    }

    /// Deals with the sockets whose time has come.
    pub(super) fn look_at_timers(&mut self, now: Instant) {
        if self.is_more_to_hear() {
            return;
        }
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.expire(now, &mut fired);
        for slot in fired.drain(..) {
            match slot {
                SHARE_DUE => self.next_share(),
                _ => self.look_at(slot),
            }
        }
        self.fired = fired;
        if self.now >= self.pool_shrinks {
            self.pool_shrinks = self.now + POOL_SHRINK_TICKS;
            self.pool.shrink();
        }
    }

    fn look_at(&mut self, slot: Slot) {
        let Some(socket) = self.sockets.get_mut(slot as usize) else { return };
        let stalled =
            socket.outbox.blocked_since().is_some_and(|since| self.now >= since + self.rhythm.stall_max);
        let is_idle = socket.dialect() == Dialect::Cluster
            && matches!(&socket.seat, Seat::Channels(seat) if seat.subscriptions.len() == 0);
        let leaving = leave_by(socket).filter(|(due, _)| self.now >= *due);
        match socket.phase {
            Phase::Closing(end) if self.now >= end => return self.remove(slot),
            Phase::Closing(_) | Phase::Leaving => {}
            // What came of a socket that is still to be read is no silence.
            Phase::Live
                if self.now >= self.rhythm.silence_end(socket) && socket.unread == Unread::Nothing =>
            {
                self.metrics.silent_cuts.add(1);
                return match &socket.seat {
                    // As the original does it: without a word (spec 1.8).
                    Seat::User(_) => self.remove(slot),
                    Seat::Channels(_) => self.part(slot, Parting::Silent),
                };
            }
            Phase::Live if stalled => return self.cut(slot),
            Phase::Live if let Some((_, parting)) = leaving => return self.part(slot, parting),
            Phase::Live
                if self.now >= socket.next_ping && is_idle && self.settings.cluster.must_subscribe =>
            {
                return self.part(slot, Parting::Unsubscribed);
            }
            Phase::Live if self.now >= socket.next_ping => {
                let is_due = self.rhythm.is_ping_due(socket, self.now);
                socket.next_ping = self.rhythm.ping_after(socket, self.now);
                if !is_due {
                    return self.schedule(slot);
                }
                let ping = self.ping.clone();
                self.send(slot, ping);
            }
            Phase::Live => {}
        }
        self.schedule(slot);
    }
}

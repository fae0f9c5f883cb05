//! A socket: a stream, who it belongs to, and what waits to go out on it. An idle one owns no memory beside this.

use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;

use super::channels::SECOND_TICKS;
use super::list::Slot;
use super::outbox::{Frames, Outbox, OutboxLimits, Overflow, Pool};
use super::subscriptions::Subscriptions;
use super::timers::Rhythm;
use crate::dialect::Session;
use crate::metrics::ShardMetrics;
use crate::model::{AppNumber, ChannelName, Dialect, Member, Parting, SocketId, UserId};
use crate::net::stream::Stream;
use crate::net::timer::{Tick, Wheel};
use crate::net::websocket::Reader;

/// How far a socket's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is a member of its app.
    Live,
    /// The hub counts it no longer. It is not listened to, and still gets what was accepted for it before.
    Leaving,
    /// A close frame is on its way or out; dropped when the client is done, at this tick at the latest.
    Closing(Tick),
}

/// Why a socket takes no more.
#[derive(Debug)]
pub enum Fault {
    /// Its stream is broken.
    Gone,
    /// It does not read.
    Slow,
}

/// What a socket is a member of, by the dialect it speaks.
#[derive(Debug)]
pub enum Seat {
    /// One user's socket among everyone in the app.
    User(UserSeat),
    /// A socket that subscribes to channels.
    Channels(Box<ChannelSeat>),
}

/// A place among everyone, and one among the sockets of a user.
#[derive(Debug)]
pub struct UserSeat {
    /// The user.
    pub user: UserId,
    /// Its place in the list of everyone in the app.
    pub place: u32,
    /// Its place among the sockets of its user on this shard.
    pub user_place: u32,
}

/// Places in channels.
#[derive(Debug)]
pub struct ChannelSeat {
    /// What it speaks, and what its client can do.
    pub session: Session,
    /// Its public name.
    pub socket_id: SocketId,
    /// Whose it is, once signed in.
    pub identity: Option<Box<Identity>>,
    /// When it is closed, and why, unless it shows before who it is.
    pub leave_by: Option<(Tick, Parting)>,
    /// How long it may be silent before it is pinged: what it was told.
    pub activity_timeout: Tick,
    /// How long it may be silent after that.
    pub pong_timeout: Tick,
    /// The channels it is in.
    pub subscriptions: Subscriptions,
    /// What it says that is counted: client events, or nonsense.
    pub pace: Pace,
    /// The presence channels that it has left of late; none where it has left none.
    pub left: Option<Box<Leaves>>,
}

/// Counts what comes within spans of time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    begun: Tick,
    count: u32,
}

impl Pace {
    /// One more, now. How many came in the running span, which begins anew when `span` is over.
    pub fn add(&mut self, now: Tick, span: Tick) -> u32 {
        let is_over = now >= self.begun + span;
        *self = if is_over { Self { begun: now, count: 1 } } else { Self { count: self.count + 1, ..*self } };
        self.count
    }
}

/// How often a socket has left channels within one second.
#[derive(Debug, Default)]
pub struct Leaves {
    /// The tick in which the second began.
    begun: Tick,
    channels: HashMap<ChannelName, u32>,
}

impl Leaves {
    /// How often a channel was left in the running second.
    pub fn count(&self, channel: &ChannelName, now: Tick) -> u32 {
        let is_over = now >= self.begun + SECOND_TICKS;
        self.channels.get(channel).copied().filter(|_| !is_over).unwrap_or(0)
    }

    /// A channel is left now.
    pub fn add(&mut self, channel: &ChannelName, now: Tick) {
        if now >= self.begun + SECOND_TICKS {
            *self = Self { begun: now, ..Self::default() };
        }
        *self.channels.entry(channel.clone()).or_default() += 1;
    }
}

/// Whose socket it is.
#[derive(Debug)]
pub struct Identity {
    /// Who, and what is told about the user on presence channels.
    pub member: Member,
    /// The users it watches.
    pub watchlist: Vec<UserId>,
    /// The last change among them that it was told of when it began to watch.
    pub told: u64,
}

/// One connected client.
#[derive(Debug)]
pub struct Socket {
    /// None until the door hands it over.
    pub stream: Option<Stream>,
    /// What of a frame or message has come so far.
    pub reader: Reader,
    /// What did not go out yet.
    pub outbox: Outbox,
    /// Its app.
    pub app: AppNumber,
    /// What it speaks, and what it is a member of.
    pub seat: Seat,
    /// How far its life has come.
    pub phase: Phase,
    /// When a frame last came in.
    pub last_heard: Tick,
    /// Frames that came in within that second.
    pub frames: u32,
    /// When it is to be pinged.
    pub next_ping: Tick,
    /// It agreed on deflated messages.
    pub deflates: bool,
    /// It stands in the shard's queue of outboxes to flush.
    pub is_dirty: bool,
    /// What the kernel is known to hold of it; then it stands in the shard's queue of sockets to read.
    pub unread: Unread,
}

/// What there is to read from a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unread {
    /// Nothing, or the kernel will say so.
    Nothing,
    /// Something. If there is more than that, the kernel says so.
    Something,
    /// The kernel says nothing more of it: to be read until nothing is left.
    ToTheEnd,
}

/// What every delivery needs of the shard, borrowed beside its sockets.
pub struct Delivery<'a> {
    /// Bounds of an outbox.
    pub limits: OutboxLimits,
    /// Spare outboxes.
    pub pool: &'a mut Pool,
    /// Where it is counted.
    pub metrics: &'a ShardMetrics,
    /// The tick now.
    pub now: Tick,
}

impl Socket {
    /// What it speaks.
    pub fn dialect(&self) -> Dialect {
        match &self.seat {
            Seat::User(_) => Dialect::Gusher,
            Seat::Channels(seat) => seat.session.dialect(),
        }
    }

    /// Sees to it that a socket which takes nothing is looked at when its time is over.
    pub fn watch_stall(&self, slot: Slot, rhythm: &Rhythm, wheel: &mut Wheel) {
        if let Some(since) = self.outbox.blocked_since() {
            wheel.schedule(since + rhythm.stall_max, slot);
        }
    }

    /// Sends frames behind all that waits: at once when nothing does.
    ///
    /// # Errors
    /// The socket takes no more.
    pub fn deliver(&mut self, frames: Frames, delivery: &mut Delivery<'_>) -> Result<(), Fault> {
        let Some(stream) = self.stream.as_mut().filter(|_| self.outbox.is_empty()) else {
            self.queue(frames, delivery)?;
            return self.flush(delivery);
        };
        let written = stream.write(&frames.bytes);
        self.sent(frames, written, delivery)
    }

    /// How the kernel knows its stream, if what it is to get may leave at once together with that of others: not under
    /// TLS, where each stream encrypts for itself.
    pub fn batchable(&self) -> Option<RawFd> {
        self.stream.as_ref().filter(|_| self.outbox.is_empty()).and_then(Stream::descriptor)
    }

    /// Notes what the kernel said when it was given frames; what it did not take waits.
    ///
    /// # Errors
    /// [`Fault::Gone`].
    pub fn sent(
        &mut self,
        frames: Frames,
        written: io::Result<usize>,
        delivery: &mut Delivery<'_>,
    ) -> Result<(), Fault> {
        let written = match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            written => written.map_err(|_| Fault::Gone)?,
        };
        delivery.metrics.writes.add(1);
        delivery.metrics.bytes_out.add(written as u64);
        if written < frames.bytes.len() {
            let rest = Frames { bytes: frames.bytes.slice(written..), count: frames.count };
            self.outbox.push_anyway(rest, delivery.pool);
            self.outbox.block(delivery.now);
        }
        Ok(())
    }

    /// Puts frames behind all that waits.
    ///
    /// # Errors
    /// [`Fault::Slow`] when too much waits.
    pub fn queue(&mut self, frames: Frames, delivery: &mut Delivery<'_>) -> Result<(), Fault> {
        let is_first = self.outbox.is_empty();
        let pushed = self.outbox.push(frames, delivery.limits, delivery.pool);
        if is_first && self.stream.is_none() {
            self.outbox.block(delivery.now);
        }
        pushed.map_err(|Overflow| Fault::Slow)
    }

    /// The kernel takes bytes again: first what TLS has kept, then what waits.
    ///
    /// # Errors
    /// [`Fault::Gone`].
    pub fn resume(&mut self, delivery: &mut Delivery<'_>) -> Result<(), Fault> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        stream.send_on().map_err(|_| Fault::Gone)?;
        if self.outbox.is_empty() {
            return Ok(());
        }
        self.outbox.unblock();
        self.flush(delivery)
    }

    /// Writes what waits, as far as the kernel takes it. The last word of a closing socket ends its stream.
    ///
    /// # Errors
    /// [`Fault::Gone`].
    pub fn flush(&mut self, delivery: &mut Delivery<'_>) -> Result<(), Fault> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let flushed = self.outbox.flush(stream, delivery.now, delivery.pool);
        let (bytes, writes) = flushed.map_err(|_| Fault::Gone)?;
        delivery.metrics.writes.add(writes as u64);
        delivery.metrics.bytes_out.add(bytes as u64);
        if matches!(self.phase, Phase::Closing(_)) && self.outbox.is_empty() {
            stream.finish();
        }
        Ok(())
    }
}

/// A socket that takes no more, noted while its list is walked and dealt with afterwards.
pub type Faulty = (Slot, Fault);

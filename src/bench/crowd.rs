//! Many receivers, one thread: opens sockets, brings them into their channels, and reads what comes.
//!
//! All are read into one buffer, and frames are looked at where they lie; a receiver has memory of its own only while a
//! frame of it is incomplete. Receivers are told apart by their group, which has one tally, and counted by channel.

use std::io::ErrorKind;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Poll, Registry, Token};
use slab::Slab;

use super::clock::now_ns;
use super::receiver::{Conduct, Phase, Receiver, Shared, Wish};
use super::tally::{Delays, Tally};
use super::target::Target;
use super::{Fault, Outcome, PATIENCE};

/// Frames must fit, several at best.
const BUFFER_BYTES: usize = 256 * 1024;
const EVENTS_MAX: usize = 1024;
/// How long a turn may wait while something else is looked after between turns.
pub const TURN: Duration = Duration::from_millis(20);

/// How opening sockets went.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Those that came to where they wanted.
    pub opened: u64,
    /// Those that did not.
    pub refused: u64,
    /// From the first packet to being there.
    pub delays: Delays,
    /// How long all of it took.
    pub seconds: f64,
}

/// Many receivers.
pub struct Crowd<'t> {
    poll: Poll,
    events: Events,
    room: Room<'t>,
    /// How many connects may be under way at once.
    in_flight_max: usize,
    /// Sockets asked for so far: gives each its number.
    asked: usize,
}

/// What events are carried out on.
struct Room<'t> {
    shared: Shared<'t>,
    receivers: Slab<Receiver>,
    buffer: Box<[u8]>,
    in_flight: usize,
    arrivals: Arrivals,
}

impl<'t> Crowd<'t> {
    /// An empty one, whose receivers are sockets of `target`.
    ///
    /// # Errors
    /// The kernel has no epoll for us.
    pub fn new(target: &'t Target, groups: usize, in_flight_max: usize) -> Outcome<Self> {
        let poll = Poll::new().map_err(|error| Fault::because("cannot wait for sockets", error))?;
        let shared = Shared { target, tallies: vec![Tally::default(); groups], stamp_at: 0, complaint: None };
        let room = Room {
            shared,
            receivers: Slab::new(),
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            in_flight: 0,
            arrivals: Arrivals::default(),
        };
        Ok(Self { poll, events: Events::with_capacity(EVENTS_MAX), room, in_flight_max, asked: 0 })
    }

    /// Opens sockets until there are no more wishes and each is where it wanted, or refused. When nothing moves for
    /// [`PATIENCE`], those under way count as refused and the rest is not tried.
    ///
    /// # Errors
    /// Waiting failed.
    pub fn open(
        &mut self,
        wishes: &mut dyn Iterator<Item = Wish>,
        told: &mut dyn FnMut(u64),
    ) -> Outcome<Arrivals> {
        let began = now_ns();
        let (mut settled, mut settled_ns) = (0, began);
        loop {
            while self.room.in_flight < self.in_flight_max
                && let Some(wish) = wishes.next()
            {
                self.begin(wish);
            }
            let now = now_ns();
            let arrivals = &self.room.arrivals;
            if arrivals.opened + arrivals.refused > settled {
                (settled, settled_ns) = (arrivals.opened + arrivals.refused, now);
            }
            told(arrivals.opened);
            if self.room.in_flight == 0 {
                break;
            }
            if now - settled_ns > PATIENCE.as_nanos() as u64 {
                self.room.give_up();
                break;
            }
            self.turn(TURN)?;
        }
        self.room.arrivals.seconds = (now_ns() - began) as f64 / 1e9;
        Ok(std::mem::take(&mut self.room.arrivals))
    }

    fn begin(&mut self, wish: Wish) {
        let place = self.room.receivers.vacant_key();
        let endpoint = &self.room.shared.target.sockets;
        let begun = TcpStream::connect(endpoint.address).and_then(|tcp| {
            let mut stream = endpoint.stream(tcp)?;
            stream.register(self.poll.registry(), Token(place))?;
            Ok(stream)
        });
        self.asked += 1;
        match begun {
            Ok(stream) => {
                self.room.receivers.insert(Receiver::new(stream, wish, self.asked));
                self.room.in_flight += 1;
            }
            Err(error) => {
                self.room.arrivals.refused += 1;
                self.room.shared.complain(format!("cannot open a socket: {error}"));
            }
        }
    }

    /// Waits for something to read, `timeout` at most, and reads it.
    ///
    /// # Errors
    /// Waiting failed.
    pub fn turn(&mut self, timeout: Duration) -> Outcome<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(Fault::because("cannot wait for sockets", error));
            }
            _ => {}
        }
        for event in &self.events {
            let is_ending = event.is_read_closed() || event.is_error();
            self.room.attend(self.poll.registry(), event.token().0, is_ending);
        }
        Ok(())
    }

    /// Reads for that long.
    ///
    /// # Errors
    /// Waiting failed.
    pub fn rest(&mut self, time: Duration) -> Outcome<()> {
        let end = now_ns() + time.as_nanos() as u64;
        while now_ns() < end {
            self.turn(TURN)?;
        }
        Ok(())
    }

    /// What each group got since the last [`Crowd::reset`].
    pub fn tallies(&self) -> &[Tally] {
        &self.room.shared.tallies
    }

    /// The first thing that the server complained of, or that went wrong with a socket.
    pub fn complaint(&self) -> Option<&str> {
        self.room.shared.complaint.as_deref()
    }

    /// How many receivers are in the channel of that number.
    pub fn members(&self, channel: usize) -> u64 {
        self.room.receivers.iter().filter(|(_, receiver)| receiver.channel == channel).count() as u64
    }

    /// How many sockets are there.
    pub fn sockets(&self) -> u64 {
        self.room.receivers.len() as u64
    }

    /// Closes all sockets, without a word.
    pub fn close(&mut self) {
        self.room.receivers.clear();
    }

    /// Forgets what was counted; numbers of lanes begin anew.
    pub fn reset(&mut self) {
        self.room.shared.tallies.fill(Tally::default());
        self.room.receivers.iter_mut().for_each(|(_, receiver)| receiver.next.fill(0));
    }

    /// The places of a group, for [`Crowd::say`].
    pub fn places(&self, group: usize) -> Vec<usize> {
        let is_in = |receiver: &Receiver| receiver.group == group;
        self.room.receivers.iter().filter(|(_, receiver)| is_in(receiver)).map(|(place, _)| place).collect()
    }

    /// Has one receiver send a text, which is made from its socket id. Says whether it is still there.
    pub fn say(&mut self, place: usize, text: impl FnOnce(&str) -> String) -> bool {
        let Some(receiver) = self.room.receivers.get_mut(place) else { return false };
        let text = text(&receiver.socket_id);
        receiver.say(&text).is_ok()
    }

    /// Lets receivers that stalled read again, for as long as something comes; what they get is not counted, but who was
    /// closed is.
    ///
    /// # Errors
    /// Waiting failed.
    pub fn revive(&mut self, time: Duration) -> Outcome<()> {
        for (place, receiver) in &mut self.room.receivers {
            if receiver.phase == Phase::Stalled {
                receiver.phase = Phase::Revived;
                let registered = receiver.stream.register(self.poll.registry(), Token(place));
                registered.map_err(|error| Fault::because("cannot wait for a socket", error))?;
            }
        }
        self.rest(time)
    }
}

impl Room<'_> {
    /// Does what an event on a receiver asks for.
    fn attend(&mut self, registry: &Registry, place: usize, is_ending: bool) {
        let Some(receiver) = self.receivers.get_mut(place) else { return };
        let was_open = receiver.is_open();
        let outcome = match receiver.phase {
            Phase::Connecting => receiver.connected(self.shared.target),
            _ => read(receiver, &mut self.buffer, &mut self.shared, is_ending),
        };
        let (is_open, conduct, began_ns) = (receiver.is_open(), receiver.conduct, receiver.began_ns);
        if is_open && !was_open {
            self.in_flight -= 1;
            self.arrivals.opened += 1;
            self.arrivals.delays.note(now_ns() - began_ns);
            match conduct {
                Conduct::Leave => self.leave(place),
                Conduct::Stall => self.stall(registry, place),
                Conduct::Read | Conduct::Watch | Conduct::Act => {}
            }
        }
        if let Err(reason) = outcome {
            self.remove(place, reason);
        }
    }

    fn leave(&mut self, place: usize) {
        if let Some(mut receiver) = self.receivers.try_remove(place) {
            // The server may have closed first; gone is gone.
            let _ = receiver.stream.write(&super::receiver::goodbye());
        }
    }

    fn stall(&mut self, registry: &Registry, place: usize) {
        if let Some(receiver) = self.receivers.get_mut(place) {
            receiver.phase = Phase::Stalled;
            // Fails for no stream that is registered, and this one is.
            let _ = receiver.stream.deregister(registry);
        }
    }

    fn remove(&mut self, place: usize, reason: String) {
        let Some(receiver) = self.receivers.try_remove(place) else { return };
        if receiver.is_open() {
            self.shared.tallies[receiver.group].closed += 1;
        } else {
            self.in_flight -= 1;
            self.arrivals.refused += 1;
        }
        self.shared.complain(reason);
    }

    fn give_up(&mut self) {
        let waiting = self.receivers.iter().filter(|(_, receiver)| !receiver.is_open());
        for place in waiting.map(|(place, _)| place).collect::<Vec<_>>() {
            self.remove(place, format!("nothing within {} s", PATIENCE.as_secs()));
        }
    }
}

/// Reads all that has come.
///
/// # Errors
/// Why the receiver is to be removed.
fn read(
    receiver: &mut Receiver,
    buffer: &mut [u8],
    shared: &mut Shared<'_>,
    is_ending: bool,
) -> Result<(), String> {
    loop {
        let held = receiver.carry.len();
        if held == buffer.len() {
            return Err(format!("a frame of more than {BUFFER_BYTES} bytes"));
        }
        let length = match receiver.stream.read(&mut buffer[held..]) {
            Ok(0) => return Err("closed by the server".to_owned()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        buffer[..held].copy_from_slice(&receiver.carry);
        receiver.carry.clear();
        let filled = &buffer[..held + length];
        let used = receiver.take(filled, shared, now_ns())?;
        if used < filled.len() {
            receiver.carry.extend_from_slice(&filled[used..]);
        } else if held > 0 {
            receiver.carry = Vec::new();
        }
        // A read that did not fill the buffer took all there was; whatever comes later is another event.
        if held + length < buffer.len() && !is_ending && !receiver.stream.has_ended() {
            return Ok(());
        }
    }
}

//! The data plane: what one core owns. A plain readiness loop over live sockets: no async, no lock of its own,
//! nothing that waits.
//!
//! One turn: read what came, carry out mail, fan out a chunk, flush a chunk, look at the timers. Chunks are short,
//! so mail is taken while a fan-out is under way, and pushes that arrive meanwhile join it.

mod aside;
mod bearers;
mod channels;
mod closing;
mod drain;
mod fan_out;
mod forms;
mod leave;
mod list;
mod mail;
mod outbox;
mod receive;
mod replies;
mod send;
mod shown;
mod socket;
mod standstill;
mod subscriptions;
mod timers;
mod users;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Events, Poll, Token};
use slab::Slab;

pub use bearers::SOCKET_LINES;
pub use outbox::OutboxLimits;

use crate::hub::{Hub, LiveApp, Mailbox, Message, Place, ShardIndex, SocketNumber};
use crate::metrics::ShardMetrics;
use crate::model::{AppNumber, ChannelName, Dialect, Parting, SocketId, UserId};
use crate::net::stream::Stream;
use crate::net::timer::{Tick, Wheel};
use crate::net::websocket::{Deflater, frame};
use aside::Aside;
use drain::Exodus;
use list::{List, Slot};
use outbox::{Frames, Pool};
use replies::Replies;
pub use send::Batch;
use socket::{Delivery, Faulty, Socket, Unread};
use standstill::late;
use timers::{CLOSING_TICKS, Rhythm};

/// The token of the mailbox's waker; sockets use their slots.
const WAKER: Token = Token(usize::MAX);

/// How many readiness events are taken at once.
const EVENTS_MAX: usize = 1024;

/// The read buffer that all sockets of a shard share, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// Every how many ticks the pool of outboxes shrinks: about ten seconds.
const POOL_SHRINK_TICKS: Tick = 40;

/// What bounds the sockets of a shard, and their rhythm.
#[derive(Clone, Copy, Debug)]
pub struct ShardSettings {
    /// The longest message a client may send, in bytes.
    pub message_bytes_max: usize,
    /// What may wait for one socket.
    pub outbox: OutboxLimits,
    /// How often a socket is pinged.
    pub ping_every: Duration,
    /// How long nothing may be heard of a socket.
    pub silence_max: Duration,
    /// How long a socket may take nothing while something waits for it.
    pub stall_max: Duration,
    /// What bounds a socket that subscribes to channels.
    pub channels: ChannelSettings,
    /// What bounds a socket that came with a token, besides.
    pub cluster: ClusterSettings,
}

/// What bounds a socket that subscribes to channels, besides the settings of its app.
#[derive(Clone, Copy, Debug)]
pub struct ChannelSettings {
    /// The longest message a client may send, in bytes.
    pub message_bytes_max: usize,
    /// Channels one socket may be in.
    pub channels_max: usize,
}

/// What bounds a socket that came with a token.
#[derive(Clone, Copy, Debug)]
pub struct ClusterSettings {
    /// The longest message a client may send, in bytes.
    pub message_bytes_max: usize,
    /// It is closed if it is in no channel when it is to be pinged.
    pub must_subscribe: bool,
}

/// The sockets of one app on this shard.
#[derive(Debug)]
struct Members {
    live: Arc<LiveApp>,
    /// All of them, those without a user included.
    count: usize,
    /// Those that agreed on deflated messages.
    deflating: usize,
    everyone: Walked,
    users: HashMap<UserId, Vec<Slot>>,
    /// The subscriptions of those who speak Pusher Channels.
    channels: HashMap<ChannelName, Channel>,
    /// The subscriptions of those who speak Gusher Cluster, who read other frames.
    cluster_channels: HashMap<ChannelName, Channel>,
    /// The sockets that came with a token, by the users that it names.
    bearers: HashMap<UserId, HashSet<Slot>>,
    /// The sockets that have a public name.
    ids: HashMap<SocketId, Slot>,
    /// The sockets that are signed in, by their users.
    signed_in: HashMap<UserId, HashSet<Slot>>,
    /// The sockets that watch users, by those they watch.
    watchers: HashMap<UserId, HashSet<Slot>>,
}

/// A list, and whether it stands in the queue of lists to walk.
#[derive(Debug, Default)]
struct Walked {
    list: List,
    is_walking: bool,
}

/// The subscriptions of one channel on this shard, of sockets that speak one dialect.
#[derive(Debug, Default)]
struct Channel {
    walked: Walked,
    /// Subscribers and the revision of the roster they were told, while changes that it includes may be on their
    /// way: they must not hear of those again. There may be as many as subscribers, and each may leave at any time.
    newcomers: BTreeMap<Slot, u64>,
}

/// Names a list to walk.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Walk {
    Everyone(AppNumber),
    Channel(AppNumber, Dialect, ChannelName),
}

impl Walk {
    /// The list, and whose it is.
    fn list<'a>(&self, apps: &'a mut HashMap<AppNumber, Members>) -> Option<(&'a LiveApp, &'a mut Walked)> {
        match self {
            Walk::Everyone(app) => apps.get_mut(app).map(|members| (&*members.live, &mut members.everyone)),
            Walk::Channel(app, dialect, channel) => {
                let Members { live, channels, cluster_channels, .. } = apps.get_mut(app)?;
                let channels = if *dialect == Dialect::Cluster { cluster_channels } else { channels };
                channels.get_mut(channel).map(|channel| (&**live, &mut channel.walked))
            }
        }
    }
}

/// A list that is walked, and its lap.
#[derive(Debug)]
struct Walking {
    walk: Walk,
    /// The laps of the list when this one was about to begin.
    laps_before: u32,
    /// The turn in which it began.
    begun: Instant,
}

/// One core's sockets and the loop that serves them.
pub struct Shard {
    index: ShardIndex,
    hub: Arc<Hub>,
    mailbox: Arc<Mailbox>,
    settings: ShardSettings,
    metrics: Arc<ShardMetrics>,
    poll: Poll,
    events: Events,
    sockets: Slab<Socket>,
    apps: HashMap<AppNumber, Members>,
    /// Admitted sockets whose streams are still with the door.
    awaited: HashMap<SocketNumber, Slot>,
    /// What sockets take of their addresses, beside them as few nodes count that.
    places: HashMap<Slot, Place>,
    /// Streams of sockets that are not told yet what they asked for.
    aside: Aside,
    /// Messages taken from the mailbox and not carried out yet.
    mail: VecDeque<Message>,
    /// Lists that are being walked, in turn.
    walks: VecDeque<Walking>,
    /// When the laps began that ended in this turn.
    laps: Vec<Instant>,
    /// What the logs of all lists hold, in bytes.
    behind_bytes: usize,
    /// Sockets whose outboxes are to be flushed, in turn.
    dirty: VecDeque<Slot>,
    /// Sockets to read from, in turn.
    unread: VecDeque<Slot>,
    /// What this turn has done for sockets that were read from; see `receive.rs`.
    work: usize,
    /// What the socket that is read from is answered.
    replies: Replies,
    /// So many polls in a row brought as many events as fit: the kernel may have more to say.
    full_polls: usize,
    /// Streams of sockets that are gone, still to be closed. An event of one that comes meanwhile finds another socket in
    /// its slot or none, and nothing to do there.
    gone: Vec<Stream>,
    faulty: Vec<Faulty>,
    fired: Vec<Slot>,
    ready: Vec<(Slot, Readiness)>,
    pool: Pool,
    batch: Batch,
    /// Made when the first message is to be deflated.
    deflater: Option<Box<Deflater>>,
    wheel: Wheel,
    now: Tick,
    /// When this turn began.
    turn: Instant,
    pool_shrinks: Tick,
    scratch: Box<[u8]>,
    ping: Bytes,
    rhythm: Rhythm,
    /// Why its sockets are closed, once the node stops.
    draining: Option<Parting>,
    closing_ticks: Tick,
    exodus: Exodus,
}

/// What the kernel said of a socket.
#[derive(Clone, Copy, Debug)]
struct Readiness {
    readable: bool,
    writable: bool,
    /// The other side sends no more: read to the end, as the kernel will not say it again.
    ended: bool,
}

impl Shard {
    /// A shard without sockets, whose clock starts at `origin`.
    ///
    pub fn new(
        index: ShardIndex,
        hub: Arc<Hub>,
        mailbox: Arc<Mailbox>,
        poll: Poll,
        settings: ShardSettings,
        origin: Instant,
    ) -> Self {
        Self {
            index,
            hub,
            mailbox,
            settings,
            metrics: Arc::default(),
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            sockets: Slab::new(),
            apps: HashMap::new(),
            awaited: HashMap::new(),
            places: HashMap::new(),
            aside: Aside::default(),
            mail: VecDeque::new(),
            walks: VecDeque::new(),
            laps: Vec::new(),
            behind_bytes: 0,
            dirty: VecDeque::new(),
            unread: VecDeque::new(),
            work: 0,
            replies: Replies::default(),
            full_polls: 0,
            gone: Vec::new(),
            faulty: Vec::new(),
            fired: Vec::new(),
            ready: Vec::new(),
            pool: Pool::default(),
            batch: Batch::default(),
            deflater: None,
            wheel: Wheel::new(origin),
            now: 0,
            turn: origin,
            pool_shrinks: POOL_SHRINK_TICKS,
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            ping: frame::ping(b""),
            rhythm: Rhythm::new(&settings),
            draining: None,
            closing_ticks: CLOSING_TICKS,
            exodus: Exodus::default(),
        }
    }

    /// The same shard, whose fan-out leaves by `batch`.
    pub fn sending(self, batch: Batch) -> Self {
        Self { batch, ..self }
    }

    /// A poll and the mailbox that wakes it: made first, as the hub needs all mailboxes and a shard needs the hub.
    ///
    /// # Errors
    /// The kernel gives no more descriptors.
    pub fn prepare() -> io::Result<(Poll, Arc<Mailbox>)> {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        Ok((poll, Arc::new(Mailbox::new(waker))))
    }

    /// What this shard counts.
    pub fn metrics(&self) -> Arc<ShardMetrics> {
        Arc::clone(&self.metrics)
    }

    /// Serves until the node drains and the last socket is gone.
    ///
    /// # Errors
    /// The kernel refuses to poll, which is a bug or the end of the machine.
    pub fn run(mut self) -> io::Result<()> {
        let mut now = Instant::now();
        let mut begun = now;
        while !self.is_over() {
            let patience = self.patience(now);
            self.wait(patience)?;
            self.let_senders_go_first();
            let woken = Instant::now();
            self.notice_standstill(late(begun, now, patience, woken));
            begun = woken;
            self.work(begun);
            now = Instant::now();
            self.count_turn(now);
        }
        Ok(())
    }

    /// Counts what a turn that ends `now` has brought.
    fn count_turn(&mut self, now: Instant) {
        self.metrics.turns.add(1);
        self.metrics.outbox_bytes.set(self.pool.waiting_bytes() as u64);
        let laps = self.laps.drain(..);
        laps.for_each(|begun| self.metrics.laps.observe(now.saturating_duration_since(begun)));
    }

    /// Counts frames of pushes that were handed to sockets of an app.
    fn count_deliveries(&self, app: AppNumber, deliveries: u64) {
        self.metrics.deliveries.add(deliveries);
        if let Some(members) = self.apps.get(&app) {
            members.live.metrics.deliveries.add(deliveries);
        }
    }

    /// Whether the node drains and the last socket is gone.
    pub fn is_over(&self) -> bool {
        self.draining.is_some() && self.sockets.is_empty() && self.mail.is_empty()
    }

    /// How long nothing is to be done unless somebody asks: zero while work is left, `None` for ever.
    pub fn patience(&self, now: Instant) -> Option<Duration> {
        let is_idle = self.mail.is_empty()
            && self.walks.is_empty()
            && self.dirty.is_empty()
            && self.unread.is_empty()
            && !self.exodus.is_due()
            && self.gone.is_empty();
        if is_idle { self.wheel.rest(now) } else { Some(Duration::ZERO) }
    }

    /// Sleeps until a socket is ready, mail comes or `patience` is over.
    ///
    /// # Errors
    /// The kernel refuses to poll.
    pub fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let may_sleep = patience != Some(Duration::ZERO) && self.mailbox.fall_asleep();
        let patience = if may_sleep { patience } else { Some(Duration::ZERO) };
        match self.poll.poll(&mut self.events, patience) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => self.mailbox.wake_up(),
        }
        Ok(())
    }

    /// Whom mail has woken lets those go first who wait for the same core: what they publish meanwhile leaves in the same
    /// writes. Where nobody waits, nothing is lost but a system call.
    fn let_senders_go_first(&self) {
        if self.events.iter().any(|event| event.token() == WAKER) {
            thread::yield_now();
        }
    }

    /// One turn of work.
    pub fn work(&mut self, now: Instant) {
        self.now = self.wheel.tick(now);
        self.turn = now;
        // Who does not ask how long they took has them forgotten.
        self.laps.clear();
        self.read_ready();
        self.carry_out_mail();
        self.let_go();
        self.fan_out();
        self.flush_dirty();
        self.close_streams();
        self.look_at_timers(now);
    }

    /// Deals with the sockets that are ready: sends on what waits for them, and reads, those first that were not read to
    /// the end last time.
    fn read_ready(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        let events = self.events.iter();
        ready.extend(events.filter(|event| event.token() != WAKER).map(|event| {
            let ended = event.is_read_closed() || event.is_error();
            let (readable, writable) = (event.is_readable() || ended, event.is_writable());
            (event.token().0 as Slot, Readiness { readable, writable, ended })
        }));
        let is_full = self.events.iter().nth(EVENTS_MAX - 1).is_some();
        self.full_polls = if is_full { self.full_polls + 1 } else { 0 };
        self.events.clear();
        for (slot, readiness) in ready.drain(..) {
            if readiness.writable {
                self.resume(slot);
            }
            if readiness.readable {
                let unread = if readiness.ended { Unread::ToTheEnd } else { Unread::Something };
                self.note_unread(slot, unread);
            }
        }
        self.ready = ready;
        self.read_some();
    }

    /// A socket together with what a delivery to it needs.
    fn socket(&mut self, slot: Slot) -> Option<(&mut Socket, Delivery<'_>)> {
        let socket = self.sockets.get_mut(slot as usize)?;
        let limits = self.settings.outbox;
        Some((socket, Delivery { limits, pool: &mut self.pool, metrics: &self.metrics, now: self.now }))
    }

    /// Sends one frame to one socket, behind all that waits for it. A closing one has had its last word.
    fn send(&mut self, slot: Slot, frame: Bytes) {
        if !self.is_live(slot) {
            return;
        }
        if self.replies.are_to(slot) {
            return self.add_reply(slot, |replies| replies.extend_from_slice(&frame));
        }
        let Some((socket, mut delivery)) = self.socket(slot) else { return };
        let sent = socket.deliver(Frames { bytes: frame, count: 1 }, &mut delivery);
        self.settle(slot, sent);
    }
}

//! A node in one thread under a fake clock: the hub and the shards are real and so are the streams, but nothing runs
//! unless a test turns it, and time passes only when a test says so.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gusher::bus::BusEvent;
use gusher::bus::local::LocalBus;
use gusher::dialect::Session;
use gusher::dialect::pusher::handshake;
use gusher::hook::{Notices, Posted};
use gusher::hub::{
    Admission, Answering, Apps, Hub, HubLimits, LinkSettings, LiveApp, Mailbox, Stale, WhenDown,
};
use gusher::metrics::ShardMetrics;
use gusher::model::pattern::{Pattern, PatternLimits};
use gusher::model::{
    Admin, App, AppKey, AppSecret, AppSettings, Hash, NodeId, Publication, Reach, Refusal, Registered,
    SocketId, Target, UserId,
};
use gusher::net::stream::Stream;
use gusher::shard::{Batch, ChannelSettings, ClusterSettings, OutboxLimits, Shard, ShardSettings};
use gusher::store::Store;
use socket2::{Domain, Socket, Type};
use tokio::sync::mpsc::Receiver;

/// Settings like the defaults.
pub const SETTINGS: ShardSettings = ShardSettings {
    message_bytes_max: 512,
    outbox: OutboxLimits { bytes_max: 1 << 20, frames_max: 4096 },
    ping_every: Duration::from_secs(54),
    silence_max: Duration::from_secs(60),
    stall_max: Duration::from_secs(10),
    channels: ChannelSettings { message_bytes_max: 64 * 1024, channels_max: 1000 },
    cluster: ClusterSettings { message_bytes_max: 10 * 1024, must_subscribe: false },
};

/// What the kernel may hold for a client that does not read, so that the rest stays with the node.
const RECEIVE_BUFFER_BYTES: usize = 16 * 1024;

/// The node.
pub struct World {
    pub hub: Arc<Hub>,
    pub shards: Vec<Shard>,
    pub mailboxes: Vec<Arc<Mailbox>>,
    now: Instant,
    listener: TcpListener,
    runtime: tokio::runtime::Runtime,
}

impl World {
    /// A node without apps.
    pub fn new(shards: usize, settings: ShardSettings) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self::build(shards, settings, runtime, Notices::queue(1).0, None, None)
    }

    /// One node of several, whose events and notices come out of what is returned beside it.
    pub fn linked(shards: usize, bus: &LocalBus, node: u64) -> (Self, Receiver<BusEvent>, Posted) {
        Self::linked_with(shards, bus, node, None)
    }

    /// The same; with `apps_max`, apps need not be registered.
    pub fn linked_with(
        shards: usize,
        bus: &LocalBus,
        node: u64,
        apps_max: Option<usize>,
    ) -> (Self, Receiver<BusEvent>, Posted) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (bus, events) = {
            let _inside = runtime.enter();
            bus.join(&node.to_string(), 1_000_000)
        };
        let (notices, told) = Notices::queue(100_000);
        let link = LinkSettings {
            bus,
            prefix: "test".into(),
            me: NodeId(node),
            when_down: WhenDown::Refuse,
            pattern: PatternLimits::default(),
            isolated_close: None,
        };
        // Where a node stands still, nobody is cut off as he did not take what it could not send.
        let settings = ShardSettings { stall_max: Duration::from_secs(3_600), ..SETTINGS };
        (Self::build(shards, settings, runtime, notices, Some(link), apps_max), events, told)
    }

    fn build(
        shards: usize,
        settings: ShardSettings,
        runtime: tokio::runtime::Runtime,
        notices: Notices,
        link: Option<LinkSettings>,
        apps_max: Option<usize>,
    ) -> Self {
        let apps = runtime.block_on(async { Apps::load(Store::in_memory().await.unwrap()).await.unwrap() });
        let apps = match apps_max {
            Some(apps_max) => apps.without_registration(apps_max),
            None => apps,
        };
        let prepared: Vec<_> = (0..shards).map(|_| Shard::prepare().unwrap()).collect();
        let mailboxes: Vec<_> = prepared.iter().map(|(_, mailbox)| Arc::clone(mailbox)).collect();
        let limits = HubLimits {
            sockets_max: 100_000,
            mailbox_bytes_max: 32 << 20,
            kept_bytes_max: 1 << 20,
            pattern_time_max: Duration::from_secs(2),
        };
        let now = Instant::now();
        let hub = Hub::new(apps, mailboxes.clone(), limits, now, notices, link);
        let shards = prepared.into_iter().enumerate().map(|(index, (poll, mailbox))| {
            Shard::new(index, Arc::clone(&hub), mailbox, poll, settings, now).sending(way_out())
        });
        let shards = shards.collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { hub, shards, mailboxes, now, listener, runtime }
    }

    /// Registers an app.
    pub fn register(&self, key: &str) -> Arc<LiveApp> {
        let app = App {
            key: AppKey::parse(key).unwrap(),
            id: key.to_owned(),
            secret: AppSecret(String::new()),
            admin: Admin { account: "admin".into(), hash: Hash(String::new()) },
            connect_hook: String::new(),
            request_ip: String::new(),
            registered: Registered { timestamp_ms: 0, date: String::new() },
        };
        self.runtime.block_on(self.hub.register(app)).unwrap()
    }

    /// Unregisters an app.
    pub fn unregister(&self, app: &LiveApp) {
        self.runtime.block_on(self.hub.unregister(&app.app.key)).unwrap();
    }

    /// Changes the settings of an app.
    pub fn configure(&self, app: &LiveApp, settings: AppSettings) {
        self.runtime.block_on(self.hub.configure(app.app.key.as_str(), |_| Ok(settings))).unwrap();
    }

    /// Connects a client whose upgrade was just answered.
    pub fn connect(&mut self, app: &Arc<LiveApp>, user: &str) -> Peer {
        let (admission, arriving) = self.admit(app, user);
        self.open(admission, arriving)
    }

    /// Connects a client of Pusher Channels, with the id `1.{number}`, and says on which shard it is.
    pub fn connect_pusher(&mut self, app: &Arc<LiveApp>, number: u64) -> (Peer, usize) {
        let before: Vec<u64> = self.shards.iter().map(|shard| shard.metrics().sockets.get()).collect();
        let socket_id = SocketId { high: 1, low: number };
        let session = handshake::Session { socket_id, protocol: 7, client: handshake::ClientKind::Other };
        let (admission, arriving) = self.admit_as(app, Session::Pusher(session));
        let peer = self.open(admission, arriving);
        let is_new = |shard: &usize| self.shards[*shard].metrics().sockets.get() > before[*shard];
        (peer, (0..before.len()).find(is_new).unwrap())
    }

    /// Connects a client with this session.
    pub fn connect_as(&mut self, app: &Arc<LiveApp>, session: Session) -> Peer {
        let (admission, arriving) = self.admit_as(app, session);
        self.open(admission, arriving)
    }

    /// Admits a client and keeps its stream, as the door does until the upgrade is answered.
    pub fn admit(&self, app: &Arc<LiveApp>, user: &str) -> (Admission, Arriving) {
        self.admit_as(app, Session::Gusher(UserId::parse(user).unwrap()))
    }

    /// Admits a client that agreed on deflated messages.
    pub fn admit_deflating(&self, app: &Arc<LiveApp>, user: &str) -> (Admission, Arriving) {
        self.admit_with(app, Session::Gusher(UserId::parse(user).unwrap()), true)
    }

    fn admit_as(&self, app: &Arc<LiveApp>, session: Session) -> (Admission, Arriving) {
        self.admit_with(app, session, false)
    }

    fn admit_with(&self, app: &Arc<LiveApp>, session: Session, deflates: bool) -> (Admission, Arriving) {
        let admission = self.hub.admit(app, session, deflates, None).unwrap();
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        client.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).unwrap();
        client.connect(&self.listener.local_addr().unwrap().into()).unwrap();
        let client = TcpStream::from(client);
        let (stream, _) = self.listener.accept().unwrap();
        socket2::SockRef::from(&stream).set_send_buffer_size(64 * 1024).unwrap();
        // As the door's listener has it: what is written is there to be read.
        stream.set_nodelay(true).unwrap();
        client.set_nonblocking(true).unwrap();
        client.set_nodelay(true).unwrap();
        (admission, Arriving { stream, client })
    }

    /// Hands the stream over.
    pub fn open(&mut self, admission: Admission, arriving: Arriving) -> Peer {
        admission.open(Stream::new(arriving.stream).unwrap(), Bytes::new());
        self.settle();
        Peer { stream: arriving.client, unread: Vec::new(), is_ended: false }
    }

    /// Lets a client read to the end of its stream while the node goes on, and returns the last frame.
    pub fn read_to_the_end(&mut self, peer: &mut Peer) -> Option<Frame> {
        let mut last = None;
        for _ in 0..1000 {
            last = peer.frames().pop().or(last);
            if peer.is_ended() {
                break;
            }
            self.settle();
        }
        last
    }

    /// Publishes to everyone.
    pub fn push(&self, app: &Arc<LiveApp>, data: &str) -> Result<Reach, Refusal> {
        self.publish(app, Target::Everyone, data)
    }

    /// Publishes to the users that match.
    pub fn push_to(&self, app: &Arc<LiveApp>, pattern: &str, data: &str) -> Result<Reach, Refusal> {
        let pattern = Pattern::parse(pattern, PatternLimits::default()).unwrap();
        self.publish(app, Target::UsersMatching(pattern), data)
    }

    fn publish(&self, app: &Arc<LiveApp>, target: Target, data: &str) -> Result<Reach, Refusal> {
        self.hub.publish(app, &Publication { target, event: "".into(), data: data.into(), except: None })
    }

    /// One turn of every shard.
    pub fn turn(&mut self) {
        (0..self.shards.len()).for_each(|shard| self.turn_one(shard));
    }

    /// One turn of one shard.
    pub fn turn_one(&mut self, shard: usize) {
        self.shards[shard].wait(Some(Duration::ZERO)).unwrap();
        self.shards[shard].work(self.now);
    }

    /// Turns until there is nothing left to do but wait.
    pub fn settle(&mut self) {
        let mut quiet_turns = 0;
        // Once more after it looks quiet: what a shard did may have made another one's mail.
        while quiet_turns < 2 {
            self.turn();
            let is_quiet = self.shards.iter().all(|shard| shard.patience(self.now) != Some(Duration::ZERO));
            quiet_turns = if is_quiet { quiet_turns + 1 } else { 0 };
        }
    }

    /// Lets time pass, a quarter of a second at a time.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(250).min(end - self.now);
            self.hub.tick(self.now);
            self.settle();
        }
    }

    /// The clock goes on, and the node has not noticed yet.
    pub fn skip(&mut self, time: Duration) {
        self.now += time;
    }

    /// The process is stopped for a while, and goes on.
    pub fn stand_still(&mut self, time: Duration) {
        self.now += time;
        self.shards.iter_mut().for_each(|shard| shard.notice_standstill(time));
        self.settle();
    }

    /// Hears what happened on the bus, and returns what is to be read again from the store.
    pub fn hear(&self, event: &BusEvent) -> Option<Stale> {
        let stale = self.hear_only(event);
        self.hub.work_off();
        stale
    }

    /// The same, and what takes its time is still to be done.
    pub fn hear_only(&self, event: &BusEvent) -> Option<Stale> {
        self.hub.hear(event, self.now)
    }

    /// Tells other nodes and webhooks what has changed, and answers what they asked.
    pub fn tell_changes(&self) {
        while self.hub.answer_page(self.now) == Answering::More {}
        self.hub.tell_changes(self.now);
    }

    /// The sum of a counter over the shards.
    pub fn count(&self, counter: fn(&ShardMetrics) -> u64) -> u64 {
        self.shards.iter().map(|shard| counter(&shard.metrics())).sum()
    }
}

/// Both ends of a stream whose upgrade is not answered yet.
pub struct Arriving {
    stream: TcpStream,
    client: TcpStream,
}

/// A frame as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    /// A text that came deflated.
    Deflated(String),
    Ping,
    Pong,
    Close(u16),
}

/// A client's frame of that opcode, of at most 65535 bytes.
pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let head = match u8::try_from(length) {
        Ok(length @ ..=125) => vec![0x80 | opcode, 0x80 | length],
        _ => [&[0x80 | opcode, 0x80 | 126][..], &length.to_be_bytes()].concat(),
    };
    [&head, &[0; 4][..], payload].concat()
}

/// What a deflated message says.
fn inflate(payload: &[u8]) -> String {
    let mut text = String::new();
    let deflated = [payload, &[0, 0, 0xff, 0xff]].concat();
    // Without a last block the end is unexpected, but all is there by then.
    let _ = flate2::read::DeflateDecoder::new(&deflated[..]).read_to_string(&mut text);
    text
}

/// How shards send: as `TEST_SEND` says, else as a node does by default.
fn way_out() -> Batch {
    match (std::env::var("TEST_SEND").as_deref(), Batch::through_ring()) {
        (Ok("send"), _) | (Err(_), Err(_)) => Batch::default(),
        (_, ring) => ring.expect("the kernel permits io_uring"),
    }
}

/// The client's end of a stream.
pub struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
    is_ended: bool,
}

impl Peer {
    /// Sends a frame of that opcode; with a mask of zeros, so the bytes are the payload.
    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.send_raw(&frame(opcode, payload));
    }

    /// Sends bytes that need not be a frame.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends of these bytes as many as the kernel takes, and says how many that were.
    pub fn pour(&mut self, bytes: &[u8]) -> usize {
        let mut poured = 0;
        while let Ok(length @ 1..) = self.stream.write(&bytes[poured..]) {
            poured += length;
        }
        poured
    }

    /// Whether the server ended the stream; known after [`Peer::frames`].
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Ends its side of the stream.
    pub fn end(&self) {
        // It fails only where the other side is gone as well.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Reads that many bytes at most, and leaves the rest where it is.
    pub fn read_some(&mut self, bytes_max: usize) {
        let mut buffer = vec![0; bytes_max];
        if let Ok(length) = self.stream.read(&mut buffer) {
            self.unread.extend_from_slice(&buffer[..length]);
        }
    }

    /// All frames that have arrived.
    pub fn frames(&mut self) -> Vec<Frame> {
        let mut buffer = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.is_ended = true,
                Ok(length) => {
                    self.unread.extend_from_slice(&buffer[..length]);
                    continue;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => self.is_ended = true,
            }
            break;
        }
        std::iter::from_fn(|| self.take_frame()).collect()
    }

    /// The texts among the frames that have arrived.
    pub fn texts(&mut self) -> Vec<String> {
        let text = |frame| match frame {
            Frame::Text(text) | Frame::Deflated(text) => Some(text),
            _ => None,
        };
        self.frames().into_iter().filter_map(text).collect()
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let (length, head) = match *self.unread.get(1)? {
            126 => (u16::from_be_bytes(self.unread.get(2..4)?.try_into().unwrap()) as usize, 4),
            127 => (u64::from_be_bytes(self.unread.get(2..10)?.try_into().unwrap()) as usize, 10),
            short => (short as usize, 2),
        };
        if self.unread.len() < head + length {
            return None;
        }
        let frame: Vec<u8> = self.unread.drain(..head + length).collect();
        let payload = &frame[head..];
        Some(match frame[0] & 0x0f {
            1 if frame[0] == 0xc1 => Frame::Deflated(inflate(payload)),
            1 => Frame::Text(String::from_utf8(payload.to_vec()).unwrap()),
            8 => Frame::Close(payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]))),
            9 => Frame::Ping,
            10 => Frame::Pong,
            other => panic!("the server sent opcode {other}"),
        })
    }
}

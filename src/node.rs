//! One running Gusher: builds store, hub, shards and doors in that order, and drains them in reverse.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::admin::Monitor;
use crate::bus::{self, BusEvent};
use crate::config::{BusConfig, ClusterConfig, Config, Database, Limits, ListenAddress, SendWay};
use crate::dialect::cluster::token::{KeysInvalid, Verifier};
use crate::door::{CredentialSettings, Credentials, Door, DoorLimits, DoorParts, DoorSettings};
use crate::hook::{Clock, ConnectHook, ConnectHookLimits, Notices, WebhookApp, WebhookSettings, Webhooks};
use crate::hub::{Apps, GATHER, Hub, HubLimits, LinkSettings, Mailbox, WhenDown};
use crate::metrics::{NodeMetrics, ShardMetrics};
use crate::model::pattern::PatternLimits;
use crate::model::{Admin, App, AppKey, Hash, NodeId, Notice, Refusal};
use crate::net::{descriptors, stream};
use crate::shard::{Batch, ChannelSettings, ClusterSettings, OutboxLimits, Shard, ShardSettings};
use crate::store::{Outbox, OutboxPlace, Store, StoreError};

/// Descriptors kept for everything that is no socket: listeners, the database, hooks, logs, half-open connections.
const RESERVED_DESCRIPTORS: u64 = 128;

/// Descriptors that there is room for from the beginning: 512 KiB of the kernel's memory.
const DESCRIPTORS_AT_ONCE: u64 = 65_536;

/// Sockets that came or went since the allocator was last asked to give memory back.
const TRIM_AFTER: u64 = 1000;

/// How often the hub's time is advanced: what it does later it does so exactly.
const TICK_EVERY: Duration = Duration::from_millis(100);

/// How often that is looked at.
const TRIM_EVERY: Duration = Duration::from_secs(1);

/// Notices on their way from the hub to the disk.
const NOTICES_MAX: usize = 16_384;

/// Requests to webhooks at once.
const WEBHOOK_REQUESTS_MAX: usize = 256;

/// A request to a webhook.
const WEBHOOK_TIME_MAX: Duration = Duration::from_secs(10);

/// How long requests to webhooks may go on when everything else has ended.
const WEBHOOK_GRACE: Duration = Duration::from_secs(1);

/// Why a node cannot start, in one line that says what to do.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// A node that serves.
pub struct Node {
    /// Where sockets connect.
    pub public: SocketAddr,
    /// Where backends call.
    pub private: SocketAddr,
    hub: Arc<Hub>,
    shards: Vec<thread::JoinHandle<()>>,
    shard_metrics: Vec<Arc<ShardMetrics>>,
    doors: Vec<JoinHandle<()>>,
    notices: Notices,
    webhooks: Arc<Webhooks>,
    housekeeping: Vec<JoinHandle<()>>,
    /// Kept from other nodes until this one ends.
    _outbox_place: Option<OutboxPlace>,
    stopping: watch::Sender<bool>,
    /// The last socket is closed, or the time for it is over: nobody has to be told any more that the node stops.
    over: watch::Sender<bool>,
    drain_time_max: Duration,
}

impl Node {
    /// Starts a node on the current runtime; the app `first` is there before anybody is let in. When this returns, both
    /// listeners are bound and served.
    ///
    /// # Errors
    /// The database cannot be opened, `first` cannot be had, a listener cannot be bound, or the system gives no threads.
    pub async fn start(config: &Config, first: Option<&App>) -> Result<Self, StartError> {
        let sockets_max = config.limits.sockets_max.unwrap_or_else(sockets_possible);
        descriptors::make_room(DESCRIPTORS_AT_ONCE.min(sockets_max as u64));
        let apps = Apps::load(open_store(&config.database).await?)
            .await
            .map_err(|error| unusable(&config.database, &error))?;
        let prepared = (0..config.node.shards)
            .map(|_| Shard::prepare())
            .collect::<io::Result<Vec<_>>>()
            .map_err(system)?;
        let mailboxes = prepared.iter().map(|(_, mailbox)| Arc::clone(mailbox)).collect();
        let limits = HubLimits {
            sockets_max,
            mailbox_bytes_max: config.limits.mailbox_bytes_max,
            kept_bytes_max: config.pusher.cache_bytes_max,
        };
        let origin = Instant::now();
        let (notices, posted) = Notices::queue(NOTICES_MAX);
        let (link, facts) = match &config.bus {
            Some(bus) => Some(connect(bus, &config.limits).await?).unzip(),
            None => (None, None),
        };
        let hub = Hub::new(apps, mailboxes, limits, origin, notices.clone(), link);
        if let Some(app) = first {
            ensure_app(&hub, app).await?;
        }
        let (shards, shard_metrics) = start_shards(config, &hub, prepared, origin)?;
        let mut housekeeping =
            vec![tokio::spawn(trim_memory(Arc::clone(&hub))), tokio::spawn(advance_time(Arc::clone(&hub)))];
        if let (Some(facts), Some(bus)) = (facts, &config.bus) {
            housekeeping.push(tokio::spawn(tell_changes(Arc::clone(&hub))));
            hear(Arc::clone(&hub), facts).map_err(system)?;
            join(&hub, bus.join_time_max).await;
        }
        let public = bind(&config.listen, "listen", config.node.send_buffer_bytes).await?;
        let private = bind(&config.api_listen, "api_listen", config.node.send_buffer_bytes).await?;
        let (webhooks, outbox_place) = webhooks(config, &hub, posted).await?;
        let webhooks = Arc::new(webhooks);
        let monitor = Monitor::new(
            Arc::clone(&hub),
            shard_metrics.clone(),
            Arc::clone(&webhooks),
            config.metrics.clone(),
        );
        let door = door(config, &hub, &webhooks, monitor)?;
        let (stopping, over) = (watch::Sender::new(false), watch::Sender::new(false));
        let node = Self {
            public: public.local_addr().map_err(system)?,
            private: private.local_addr().map_err(system)?,
            housekeeping,
            _outbox_place: outbox_place,
            notices,
            webhooks,
            hub,
            shards,
            shard_metrics,
            doors: [(public, door.public(), &stopping), (private, door.private(), &over)]
                .into_iter()
                .map(|(listener, routes, end)| {
                    let door = Arc::clone(&door);
                    tokio::spawn(door.serve(listener, routes, end.subscribe(), config.drain.time_max))
                })
                .collect(),
            stopping,
            over,
            drain_time_max: config.drain.time_max,
        };
        Ok(node)
    }

    /// What the control plane counts.
    pub fn metrics(&self) -> &NodeMetrics {
        &self.hub.metrics
    }

    /// What each shard counts.
    pub fn shard_metrics(&self) -> &[Arc<ShardMetrics>] {
        &self.shard_metrics
    }

    /// Stops: accepts nothing more, closes every socket after what was accepted for it, and waits for all to end,
    /// at most as long as `drain.seconds` says.
    pub async fn stop(self) {
        self.stopping.send_replace(true);
        self.hub.drain();
        let over = self.over.clone();
        let ended = async move {
            while self.shards.iter().any(|shard| !shard.is_finished()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            self.over.send_replace(true);
            for door in self.doors {
                let _ = door.await;
            }
        };
        if tokio::time::timeout(self.drain_time_max, ended).await.is_err() {
            over.send_replace(true);
            tracing::warn!("stopped before every socket was closed");
        }
        // Last, since sockets that close are news.
        self.housekeeping.iter().for_each(JoinHandle::abort);
        self.hub.flush();
        self.hub.close().await;
        self.webhooks.stop(WEBHOOK_GRACE).await;
        let sum = |count: fn(&ShardMetrics) -> u64| {
            self.shard_metrics.iter().map(|shard| count(shard)).sum::<u64>()
        };
        tracing::info!(
            admissions = self.hub.metrics.admissions.get(),
            publications = self.hub.metrics.publications.get(),
            publications_refused = self.hub.metrics.publications_refused.get(),
            deliveries = sum(|shard| shard.deliveries.get()),
            slow_cuts = sum(|shard| shard.slow_cuts.get()),
            silent_cuts = sum(|shard| shard.silent_cuts.get()),
            notices_dropped = self.notices.dropped(),
            outbox_failures = self.webhooks.database_failures(),
            "stopped"
        );
    }
}

/// Makes sure that an app is registered, without asking anybody. One that has the same id and secret stays as it
/// is, whoever administers it.
async fn ensure_app(hub: &Hub, app: &App) -> Result<(), StartError> {
    let (key, id) = (&app.key, &app.id);
    if let Ok(there) = hub.app(key.as_str()) {
        let is_same = there.app.id == app.id && there.app.secret == app.secret;
        return is_same.then_some(()).ok_or_else(|| {
            StartError(format!(
                "the app {:?} is there with another id or secret: start with those, or with another key",
                key.as_str()
            ))
        });
    }
    let reason = match hub.register(app.clone()).await {
        Ok(_) => return Ok(()),
        Err(Refusal::AppExists) => "its key is an additional key of another app".to_owned(),
        Err(Refusal::AppIdTaken) => format!("another app has the id {id}"),
        Err(_) => "the database failed; the log says why".to_owned(),
    };
    Err(StartError(format!("cannot add the app {:?}: {reason}", key.as_str())))
}

/// What runs the shards, and what they count.
type Shards = (Vec<thread::JoinHandle<()>>, Vec<Arc<ShardMetrics>>);

fn start_shards(
    config: &Config,
    hub: &Arc<Hub>,
    prepared: Vec<(mio::Poll, Arc<Mailbox>)>,
    origin: Instant,
) -> Result<Shards, StartError> {
    let (mut shards, mut metrics) = (Vec::new(), Vec::new());
    for (index, (poll, mailbox)) in prepared.into_iter().enumerate() {
        let shard = Shard::new(index, Arc::clone(hub), mailbox, poll, shard_settings(config), origin);
        let shard = shard.sending(way_out(config.node.send)?);
        metrics.push(shard.metrics());
        shards.push(spawn(index, shard).map_err(system)?);
    }
    Ok((shards, metrics))
}

/// Runs a shard on its own thread. A shard that fails takes the node down: with a part of its sockets dead and the
/// rest alive, nobody would notice.
fn spawn(index: usize, shard: Shard) -> io::Result<thread::JoinHandle<()>> {
    struct Fuse;
    impl Drop for Fuse {
        fn drop(&mut self) {
            if thread::panicking() {
                std::process::abort();
            }
        }
    }
    thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
        let _fuse = Fuse;
        if let Err(error) = shard.run() {
            tracing::error!(%error, "a shard failed");
            std::process::abort();
        }
    })
}

async fn open_store(database: &Database) -> Result<Store, StartError> {
    let opened = match database {
        Database::File(file) => Store::open(file).await,
        Database::Memory => Store::in_memory().await,
    };
    opened.map_err(|error| unusable(database, &error))
}

async fn webhooks(
    config: &Config,
    hub: &Arc<Hub>,
    notices: mpsc::Receiver<Notice>,
) -> Result<(Webhooks, Option<OutboxPlace>), StartError> {
    let place = match (&config.database, &config.bus) {
        (Database::File(file), Some(_)) => Some(OutboxPlace::take(file).map_err(system)?),
        _ => None,
    };
    let opened = match (&config.database, &place) {
        (Database::File(_), Some(place)) => Outbox::open(place.file(), config.webhooks.waiting_max).await,
        (Database::File(file), None) => Outbox::open(file, config.webhooks.waiting_max).await,
        (Database::Memory, _) => Outbox::in_memory(config.webhooks.waiting_max).await,
    };
    let outbox = opened.map_err(|error| unusable(&config.database, &error))?;
    let hub = Arc::clone(hub);
    let lookup = move |key: &AppKey| {
        let live = hub.app(key.as_str()).ok()?;
        Some(WebhookApp { secret: live.app.secret.clone(), settings: live.settings() })
    };
    let settings = WebhookSettings {
        allows_private: config.webhooks.allow_private,
        requests_max: WEBHOOK_REQUESTS_MAX,
        request_time_max: WEBHOOK_TIME_MAX,
        clock: Clock::system(),
    };
    let webhooks = Webhooks::start(outbox, notices, Box::new(lookup), settings)
        .map_err(|error| StartError(format!("cannot set up TLS for webhooks: {error}")))?;
    Ok((webhooks, place))
}

fn unusable(database: &Database, error: &StoreError) -> StartError {
    match database {
        Database::File(file) if matches!(error, StoreError::Settings { .. }) => StartError(format!(
            "cannot use the database {}: {error}: mend or delete its row in the table gusher_settings",
            file.display()
        )),
        Database::File(file) => StartError(format!(
            "cannot use the database {}: {error}: set sqlfile to a writable SQLite file",
            file.display()
        )),
        Database::Memory => StartError(format!("cannot make a database in memory: {error}")),
    }
}

/// Binds the first address that `address` stands for and that can be bound.
async fn bind(
    address: &ListenAddress,
    key: &str,
    send_buffer_bytes: usize,
) -> Result<tokio::net::TcpListener, StartError> {
    let failed = |error: io::Error| {
        let what = if error.kind() == io::ErrorKind::AddrInUse {
            "the port is in use".to_owned()
        } else {
            error.to_string()
        };
        StartError(format!(
            "cannot listen on {address}: {what}: stop what uses it or set {key} to another address"
        ))
    };
    let candidates: Vec<SocketAddr> = match address.host() {
        // Every address of both families; of IPv4 alone where there is no IPv6.
        None => vec![([0; 16], address.port()).into(), ([0; 4], address.port()).into()],
        Some(host) => tokio::net::lookup_host((host, address.port())).await.map_err(failed)?.collect(),
    };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for candidate in candidates {
        match stream::listen(candidate, send_buffer_bytes).and_then(tokio::net::TcpListener::from_std) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(failed(error)),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn door(
    config: &Config,
    hub: &Arc<Hub>,
    webhooks: &Arc<Webhooks>,
    monitor: Monitor,
) -> Result<Arc<Door>, StartError> {
    let limits = &config.limits;
    let hook = ConnectHook::new(ConnectHookLimits {
        exchanges_max: config.max_wait_hook,
        exchange_time_max: limits.hook_time_max,
        wait_max: limits.hook_wait_max,
        answer_bytes_max: limits.hook_answer_bytes_max,
    });
    let credentials = Credentials::new(CredentialSettings {
        bcrypt_cost: config.node.bcrypt_cost,
        memory: config.node.credential_life,
        computations_max: thread::available_parallelism().map_or(1, usize::from),
    });
    let admin = Admin {
        account: config.admin.account.clone(),
        hash: Hash(config.admin.password_hash.reveal().to_owned()),
    };
    let door_limits = DoorLimits {
        head_bytes_max: limits.head_bytes_max,
        headers_max: limits.headers_max,
        head_time_max: limits.head_time_max,
        idle_time_max: limits.idle_time_max,
        body_bytes_max: limits.body_bytes_max,
        body_time_max: limits.body_time_max,
        connections_max: limits.pending_connections_max,
        pattern: PatternLimits {
            pattern_bytes_max: limits.pattern_bytes_max,
            compiled_bytes_max: limits.pattern_compiled_bytes_max,
        },
    };
    let hook = hook.map_err(|error| StartError(format!("cannot set up TLS for hooks: {error}")))?;
    let credentials =
        credentials.map_err(|error| StartError(format!("the system gives no randomness: {error}")))?;
    let tokens = verifier(&config.cluster)?;
    let settings = DoorSettings {
        limits: door_limits,
        trusted_proxies: config.trusted_proxies.clone(),
        strict_protocol: config.pusher.strict_protocol,
        path_prefix: config.pusher.path_prefix.clone(),
        close_at_expiry: config.cluster.close_at_expiry,
    };
    let (hub, webhooks) = (Arc::clone(hub), Arc::clone(webhooks));
    Ok(Door::new(DoorParts { hub, hook, webhooks, monitor, credentials, admin, tokens }, settings))
}

/// What tells good tokens from bad ones, by the keys in the file that the configuration names.
fn verifier(cluster: &ClusterConfig) -> Result<Option<Verifier>, StartError> {
    let Some(file) = &cluster.public_pem_file else {
        tracing::info!("without cluster.public_pem_file no sockets of Gusher Cluster are served");
        return Ok(None);
    };
    let unusable = |reason: &dyn std::fmt::Display| {
        StartError(format!(
            "cannot use the public key file {}: {reason}: set cluster.public_pem_file to RSA public keys in PEM",
            file.display()
        ))
    };
    let pem = std::fs::read_to_string(file).map_err(|error| unusable(&error))?;
    Verifier::new(&pem, &cluster.algorithms).map(Some).map_err(|KeysInvalid(reason)| unusable(&reason))
}

fn shard_settings(config: &Config) -> ShardSettings {
    ShardSettings {
        message_bytes_max: config.limits.message_bytes_max,
        outbox: OutboxLimits {
            bytes_max: config.limits.outbox_bytes_max,
            frames_max: u32::try_from(config.limits.outbox_messages_max).unwrap_or(u32::MAX),
        },
        ping_every: config.limits.ping_interval,
        silence_max: config.limits.pong_wait_max,
        stall_max: config.limits.write_stall_max,
        channels: ChannelSettings {
            message_bytes_max: config.pusher.message_bytes_max,
            channels_max: config.pusher.channels_max,
        },
        cluster: ClusterSettings {
            message_bytes_max: config.cluster.message_bytes_max,
            must_subscribe: config.cluster.must_subscribe,
        },
    }
}

/// How the fan-out of a shard leaves.
fn way_out(way: SendWay) -> Result<Batch, StartError> {
    match (way, Batch::through_ring()) {
        (SendWay::Send, _) | (SendWay::Auto, Err(_)) => Ok(Batch::default()),
        (_, Ok(batch)) => Ok(batch),
        (SendWay::Uring, Err(error)) => Err(StartError(format!(
            "cannot send through io_uring: {error}: permit it to this process, or set node.send to auto"
        ))),
    }
}

fn system(error: io::Error) -> StartError {
    StartError(format!("the system refuses what a node needs: {error}"))
}

/// How many sockets fit under the descriptor limit.
fn sockets_possible() -> usize {
    let sockets = descriptors::raise_limit().saturating_sub(RESERVED_DESCRIPTORS).max(1);
    usize::try_from(sockets).unwrap_or(usize::MAX)
}

/// The way to the other nodes, and what comes from them.
async fn connect(
    config: &BusConfig,
    limits: &Limits,
) -> Result<(LinkSettings, mpsc::Receiver<BusEvent>), StartError> {
    let (bus, facts) = bus::connect(config).await.map_err(|error| StartError(error.to_string()))?;
    let mut me = [0; 8];
    getrandom::fill(&mut me)
        .map_err(|error| StartError(format!("the system gives no randomness: {error}")))?;
    let link = LinkSettings {
        bus,
        prefix: config.prefix.clone(),
        me: NodeId(u64::from_ne_bytes(me)),
        when_down: if config.delivers_locally { WhenDown::Local } else { WhenDown::Refuse },
        pattern: PatternLimits {
            pattern_bytes_max: limits.pattern_bytes_max,
            compiled_bytes_max: limits.pattern_compiled_bytes_max,
        },
    };
    Ok((link, facts))
}

/// Waits until the node knows what the others hold; not for ever.
async fn join(hub: &Hub, time_max: Duration) {
    let joined = async {
        while !hub.is_joined() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(time_max, joined).await.is_err() {
        tracing::warn!("starts alone: the bus or another node does not answer; not ready until it does");
    }
}

/// Hears the other nodes, on a thread of its own: a pattern takes its time, and while the shards have too much mail,
/// what comes waits.
fn hear(hub: Arc<Hub>, mut facts: mpsc::Receiver<BusEvent>) -> io::Result<()> {
    let runtime = tokio::runtime::Handle::current();
    let listen = move || {
        while let Some(event) = facts.blocking_recv() {
            while !hub.has_room() {
                runtime.block_on(tokio::time::sleep(Duration::from_millis(1)));
            }
            if let Some(stale) = hub.hear(&event) {
                runtime.block_on(hub.reread(&stale));
            }
        }
    };
    thread::Builder::new().name("bus".into()).spawn(listen).map(drop)
}

/// Tells the other nodes what changes here, some changes at a time.
async fn tell_changes(hub: Arc<Hub>) {
    loop {
        hub.changed().await;
        tokio::time::sleep(GATHER).await;
        hub.tell_changes();
    }
}

/// Lets the hub do what is due.
async fn advance_time(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(TICK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        hub.tick(Instant::now());
    }
}

/// Gives memory back to the system after many sockets came or went: the handshake of each passes through buffers
/// that the allocator would otherwise keep for good.
async fn trim_memory(hub: Arc<Hub>) {
    let mut is_due = false;
    let mut last = (0, 0);
    loop {
        tokio::time::sleep(TRIM_EVERY).await;
        let now = (hub.metrics.admissions.get(), hub.sockets() as u64);
        if now.0 - last.0 + now.1.abs_diff(last.1) >= TRIM_AFTER {
            last = now;
            is_due = true;
        } else if std::mem::take(&mut is_due) {
            // Once it is quiet again.
            let _ = tokio::task::spawn_blocking(trim).await;
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: malloc_trim takes no pointer, may be called from any thread at any time, and only returns free
    // memory to the system.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

//! One running Gusher: builds store, hub, shards and doors in that order, and drains them in reverse.

mod apps;

pub(crate) use apps::{is_new, open_store};

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::bus::{self, BusEvent};
use crate::config::{BusConfig, Config, Database, Limits, ListenAddress, Role, SendWay, TlsConfig};
use crate::dialect::cluster::token::{KeysInvalid, Verifier};
use crate::door::{Certificate, CredentialSettings, Credentials, Door, DoorLimits, DoorSettings, SuperAdmin};
use crate::hook::{Clock, ConnectHook, ConnectHookLimits, Notices, WebhookApp, WebhookSettings, Webhooks};
use crate::hub::{GATHER, Hub, HubLimits, LinkSettings, Stales, WhenDown};
use crate::metrics::{NodeMetrics, ShardMetrics};
use crate::model::pattern::PatternLimits;
use crate::model::{Admin, App, AppKey, Hash, NodeId, Notice};
use crate::net::{descriptors, stream};
use crate::shard::{Batch, ChannelSettings, ClusterSettings, OutboxLimits, Shard, ShardSettings};
use crate::store::{Outbox, OutboxPlace};

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

/// How long after a failure the store is asked again what has changed.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(1);

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
    /// Where sockets connect, unless it is a master.
    pub public: Option<SocketAddr>,
    /// Where backends call, unless it is a slave.
    pub private: Option<SocketAddr>,
    hub: Arc<Hub>,
    shards: Vec<thread::JoinHandle<()>>,
    shard_metrics: Vec<Arc<ShardMetrics>>,
    doors: Vec<JoinHandle<()>>,
    certificate: Option<Arc<Certificate>>,
    notices: Notices,
    webhooks: Arc<Webhooks>,
    housekeeping: Vec<JoinHandle<()>>,
    /// Kept from other nodes until this one ends.
    _outbox_place: Option<OutboxPlace>,
    stopping: watch::Sender<bool>,
    drain_time_max: Duration,
}

impl Node {
    /// Starts a node on the current runtime; the app `first` is there before anybody is let in. When this returns, the
    /// listeners of its role are bound and served.
    ///
    /// # Errors
    /// The database cannot be opened, `first` cannot be had, a listener cannot be bound, or the system gives no threads.
    pub async fn start(config: &Config, first: Option<&App>) -> Result<Self, StartError> {
        // First, as nothing else that may be wrong is found as quickly.
        let tokens = verifier(config)?;
        let sockets_max = config.limits.sockets_max.unwrap_or_else(sockets_possible);
        descriptors::make_room(DESCRIPTORS_AT_ONCE.min(sockets_max as u64));
        let certificate = config.tls.as_ref().map(certificate).transpose()?;
        let apps = apps::load(config).await?;
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
            apps::ensure(&hub, app).await?;
        }
        let (mut shards, mut shard_metrics) = (Vec::new(), Vec::new());
        for (index, (poll, mailbox)) in prepared.into_iter().enumerate() {
            let shard = Shard::new(index, Arc::clone(&hub), mailbox, poll, shard_settings(config), origin);
            let shard = shard.sending(way_out(config.node.send)?);
            shard_metrics.push(shard.metrics());
            shards.push(spawn(index, shard).map_err(system)?);
        }
        let mut housekeeping =
            vec![tokio::spawn(trim_memory(Arc::clone(&hub))), tokio::spawn(advance_time(Arc::clone(&hub)))];
        housekeeping.extend(certificate.clone().map(|certificate| tokio::spawn(certificate.watch())));
        if let (Some(facts), Some(bus)) = (facts, &config.bus) {
            let stales = Arc::<Stales>::default();
            housekeeping.push(tokio::spawn(tell_changes(Arc::clone(&hub))));
            housekeeping.push(tokio::spawn(read_again(Arc::clone(&hub), Arc::clone(&stales))));
            hear(Arc::clone(&hub), facts, Arc::clone(&stales)).map_err(system)?;
            join(&hub, &stales, bus.join_time_max).await;
        }
        let (public, private) = listeners(config).await?;
        let (webhooks, outbox_place) = webhooks(config, &hub, posted).await?;
        let webhooks = Arc::new(webhooks);
        let door = door(config, &hub, &webhooks, tokens)?;
        let (stopping, _) = watch::channel(false);
        let node = Self {
            public: address(public.as_ref())?,
            private: address(private.as_ref())?,
            housekeeping,
            _outbox_place: outbox_place,
            notices,
            webhooks,
            hub,
            shards,
            shard_metrics,
            doors: serve(config, &door, certificate.as_ref(), [public, private], &stopping),
            certificate,
            stopping,
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

    /// Reads the files of the certificate again, if there is one.
    pub fn reload(&self) {
        self.certificate.iter().for_each(|certificate| certificate.reload());
    }

    /// Stops: accepts nothing more, closes every socket after what was accepted for it, and waits for all to end,
    /// at most as long as `drain.seconds` says.
    pub async fn stop(self) {
        self.stopping.send_replace(true);
        self.hub.drain();
        let ended = async {
            for door in self.doors {
                let _ = door.await;
            }
            while self.shards.iter().any(|shard| !shard.is_finished()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(self.drain_time_max, ended).await.is_err() {
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
            apps_refused = self.hub.metrics.apps_refused.get(),
            notices_dropped = self.notices.dropped(),
            outbox_failures = self.webhooks.database_failures(),
            store_failures = self.hub.store_failures(),
            "stopped"
        );
    }
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

async fn webhooks(
    config: &Config,
    hub: &Arc<Hub>,
    notices: mpsc::Receiver<Notice>,
) -> Result<(Webhooks, Option<OutboxPlace>), StartError> {
    // Nodes that have their apps in common may have been given one name for the file, too.
    let is_shared = config.bus.is_some() || config.store.is_some();
    let place = match &config.database {
        Database::File(file) if is_shared => Some(OutboxPlace::take(file).map_err(system)?),
        _ => None,
    };
    let opened = match (&config.database, &place) {
        (Database::File(_), Some(place)) => Outbox::open(place.file(), config.webhooks.waiting_max).await,
        (Database::File(file), None) => Outbox::open(file, config.webhooks.waiting_max).await,
        (Database::Memory, _) => Outbox::in_memory(config.webhooks.waiting_max).await,
    };
    let outbox = opened.map_err(|error| apps::unusable(&config.database, &error))?;
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

/// The public listener and the private one, as far as the role has them.
async fn listeners(config: &Config) -> Result<(Option<TcpListener>, Option<TcpListener>), StartError> {
    let open = async |address, key| {
        bind(address, config.role.word_for(key), config.node.send_buffer_bytes).await.map(Some)
    };
    let public = match config.role {
        Role::Master(_) => None,
        Role::Whole | Role::Slave => open(&config.listen, "listen").await?,
    };
    let private = match config.role {
        Role::Slave => None,
        Role::Whole | Role::Master(_) => open(&config.api_listen, "api_listen").await?,
    };
    Ok((public, private))
}

fn address(listener: Option<&TcpListener>) -> Result<Option<SocketAddr>, StartError> {
    listener.map(TcpListener::local_addr).transpose().map_err(system)
}

/// Binds the first address that `address` stands for and that can be bound.
///
/// # Errors
/// None can be, and what to do about it.
pub(crate) async fn bind(
    address: &ListenAddress,
    key: &str,
    send_buffer_bytes: usize,
) -> Result<TcpListener, StartError> {
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
        match stream::listen(candidate, send_buffer_bytes).and_then(TcpListener::from_std) {
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
    tokens: Option<Verifier>,
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
    let settings = DoorSettings {
        limits: door_limits,
        trusted_proxies: config.trusted_proxies.clone(),
        strict_protocol: config.pusher.strict_protocol,
        path_prefix: config.pusher.path_prefix.clone(),
        close_at_expiry: config.cluster.close_at_expiry,
        only_cluster: config.role.is_of_cluster(),
    };
    if tokens.is_none() {
        let word = config.role.word_for("cluster.public_pem_file");
        match config.role {
            // It may have been told why.
            Role::Master(_) if config.cluster.public_pem_file.is_some() => {}
            Role::Master(_) => tracing::warn!("without {word} no tokens are decoded"),
            _ => tracing::info!("without {word} no tokens of Gusher Cluster are believed"),
        }
    }
    let admin = super_admin(config);
    Ok(Door::new(Arc::clone(hub), hook, Arc::clone(webhooks), credentials, admin, tokens, settings))
}

/// Serves the listeners that there are, the public one first.
fn serve(
    config: &Config,
    door: &Arc<Door>,
    certificate: Option<&Arc<Certificate>>,
    [public, private]: [Option<TcpListener>; 2],
    stopping: &watch::Sender<bool>,
) -> Vec<JoinHandle<()>> {
    let is_private_too = config.tls.as_ref().is_some_and(|tls| tls.is_private_too);
    let with_tls = [
        (public, door.public(), certificate),
        (private, door.private(), certificate.filter(|_| is_private_too)),
    ];
    let serve = |(listener, routes, certificate): (Option<_>, _, Option<&Arc<Certificate>>)| {
        let listener = listener?;
        let (door, certificate) = (Arc::clone(door), certificate.cloned());
        let served = door.serve(listener, routes, certificate, stopping.subscribe(), config.drain.time_max);
        Some(tokio::spawn(served))
    };
    with_tls.into_iter().filter_map(serve).collect()
}

/// What the listeners show.
///
/// # Errors
/// A file cannot be read or they do not belong together, and what to do about it.
pub(crate) fn certificate(tls: &TlsConfig) -> Result<Arc<Certificate>, StartError> {
    let loaded = Certificate::load(&tls.cert_file, &tls.key_file);
    loaded.map(Arc::new).map_err(|error| StartError(error.to_string()))
}

fn super_admin(config: &Config) -> SuperAdmin {
    let admin = Admin {
        account: config.admin.account.clone(),
        hash: Hash(config.admin.password_hash.reveal().to_owned()),
    };
    match &config.role {
        Role::Whole | Role::Slave => admin.into(),
        Role::Master(access) => {
            SuperAdmin { admin, token: access.token.clone(), is_everybody: access.is_open }
        }
    }
}

/// What tells good tokens from bad ones, by the keys in the file that the configuration names. A master does without
/// (spec 2.1).
///
/// # Errors
/// The file is of no use, and what to do about it.
pub(crate) fn verifier(config: &Config) -> Result<Option<Verifier>, StartError> {
    let (cluster, word) = (&config.cluster, config.role.word_for("cluster.public_pem_file"));
    let Some(file) = &cluster.public_pem_file else { return Ok(None) };
    let unusable = |reason: &dyn fmt::Display| {
        let file = file.display();
        format!("cannot use the public key file {file}: {reason}: set {word} to RSA public keys in PEM")
    };
    let read = std::fs::read_to_string(file).map_err(|error| unusable(&error)).and_then(|pem| {
        Verifier::new(&pem, &cluster.algorithms).map_err(|KeysInvalid(reason)| unusable(&reason))
    });
    match (read, &config.role) {
        (Ok(verifier), _) => Ok(Some(verifier)),
        (Err(reason), Role::Master(_)) => {
            tracing::warn!("{reason}; without it no tokens are decoded");
            Ok(None)
        }
        (Err(reason), _) => Err(StartError(reason)),
    }
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
///
/// # Errors
/// It cannot leave as the configuration insists, and what to do about it.
pub(crate) fn way_out(way: SendWay) -> Result<Batch, StartError> {
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

/// How many sockets fit under the descriptor limit, which is raised as far as it goes.
pub(crate) fn sockets_possible() -> usize {
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

/// Waits until the node knows what the others hold, and what they have changed; not for ever.
async fn join(hub: &Hub, stales: &Stales, time_max: Duration) {
    let joined = async {
        while !hub.is_joined() || !stales.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(time_max, joined).await.is_err() {
        tracing::warn!("starts alone: the bus or another node does not answer; not ready until it does");
    }
}

/// Hears the other nodes, on a thread of its own: a pattern takes its time, and while the shards have too much mail,
/// what comes waits.
fn hear(hub: Arc<Hub>, mut facts: mpsc::Receiver<BusEvent>, stales: Arc<Stales>) -> io::Result<()> {
    let runtime = tokio::runtime::Handle::current();
    let listen = move || {
        while let Some(event) = facts.blocking_recv() {
            while !hub.has_room() {
                runtime.block_on(tokio::time::sleep(Duration::from_millis(1)));
            }
            hub.hear(&event, Instant::now()).into_iter().for_each(|stale| stales.note(stale));
        }
    };
    thread::Builder::new().name("bus".into()).spawn(listen).map(drop)
}

/// Reads again what other nodes have changed in the store, until that succeeds.
async fn read_again(hub: Arc<Hub>, stales: Arc<Stales>) {
    let mut is_failing = false;
    loop {
        let stale = stales.next().await;
        let reread = hub.reread(&stale).await;
        if let Err(error) = &reread {
            if !is_failing {
                tracing::error!(%error, "cannot read again what other nodes may have changed; tries on");
            }
            stales.note(stale);
            tokio::time::sleep(READ_AGAIN_AFTER).await;
        }
        is_failing = reread.is_err();
    }
}

/// Tells the other nodes what changes here, some changes at a time.
async fn tell_changes(hub: Arc<Hub>) {
    loop {
        hub.changed().await;
        tokio::time::sleep(GATHER).await;
        hub.tell_changes(Instant::now());
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

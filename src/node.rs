//! One running Gusher: builds store, hub, shards and doors in that order, and drains them in reverse.

mod apps;
mod descriptors;
mod doors;
mod listeners;
mod memory;
mod others;
mod presence;
mod terms;

pub(crate) use apps::{is_new, is_registered, may_make, open_store};
pub(crate) use descriptors::{needed_for, share_out};
pub(crate) use doors::certificate;
pub(crate) use listeners::bind;
pub(crate) use presence::is_recent;
pub(crate) use terms::verifier;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::Monitor;
use crate::config::{Config, Database, Drain, LogSwitch, SendWay};
use crate::door::{Certificate, Door};
use crate::hook::{Clock, JournalLimits, Notices, Posted, WebhookApp, WebhookSettings, Webhooks};
use crate::hub::{Hub, HubLimits, Mailbox, Stales};
use crate::metrics::{NodeMetrics, ShardMetrics};
use crate::model::{App, AppKey};
use crate::net::descriptors::make_room;
use crate::shard::{Batch, ChannelSettings, ClusterSettings, OutboxLimits, Shard, ShardSettings};
use crate::store::{Outbox, OutboxPlace};
pub use listeners::Inherited;
use memory::Warden;
use presence::Presence;

/// Descriptors that there is room for from the beginning: 512 KiB of the kernel's memory.
const DESCRIPTORS_AT_ONCE: u64 = 65_536;

/// How often the hub's time is advanced: what it does later it does so exactly.
const TICK_EVERY: Duration = Duration::from_millis(100);

/// How often the door forgets what it does not have to remember of addresses.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// Notices on their way from the hub to the disk.
const NOTICES_MAX: usize = 16_384;

/// Requests to webhooks at once.
const WEBHOOK_REQUESTS_MAX: usize = 256;

/// A request to a webhook.
const WEBHOOK_TIME_MAX: Duration = Duration::from_secs(10);

/// How long requests to webhooks may go on when everything else has ended.
const WEBHOOK_GRACE: Duration = Duration::from_secs(1);

/// A node whose sockets are closed, and all else is done, by then can end before the first client is back.
const OVER_SOON: Duration = Duration::from_millis(600);

/// How long after the last socket was closed all clients are back: they wait for a second.
const BACK_BY: Duration = Duration::from_millis(1300);

/// How long it takes to send away who has come meanwhile.
const AWAY_TIME: Duration = Duration::from_millis(100);

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
    door: Arc<Door>,
    certificate: Option<Arc<Certificate>>,
    warden: Arc<Warden>,
    notices: Notices,
    webhooks: Arc<Webhooks>,
    housekeeping: Vec<JoinHandle<()>>,
    /// Kept from other nodes until this one ends.
    _outbox_place: Option<OutboxPlace>,
    /// Somebody else has the public listener, too: who connects when this process has ended waits there.
    is_listener_kept: bool,
    presence: Presence,
    stopping: watch::Sender<bool>,
    /// The last socket is closed, or the time for it is over: nobody has to be told any more that the node stops.
    over: watch::Sender<bool>,
    drain: ArcSwap<Drain>,
}

impl Node {
    /// Starts a node on the current runtime; the app `first` is there before anybody is let in. When this returns, the
    /// listeners of its role are bound and served.
    ///
    /// # Errors
    /// The database cannot be opened, `first` cannot be had, a listener cannot be bound, or the system gives no threads.
    pub async fn start(config: &Config, first: Option<&App>) -> Result<Self, StartError> {
        // What is logged in this process is nobody's matter here.
        let log = Arc::new(LogSwitch::new(config.log.level, |_| {}));
        Self::start_on(Inherited::default(), config, first, log).await
    }

    /// The same, on listeners that are there already instead of those of the configuration, and with what changes how
    /// much is logged.
    ///
    /// # Errors
    /// Those of [`Node::start`]; what was inherited is no listener.
    pub async fn start_on(
        inherited: Inherited,
        config: &Config,
        first: Option<&App>,
        log: Arc<LogSwitch>,
    ) -> Result<Self, StartError> {
        // First, as nothing else that may be wrong is found as quickly.
        let terms = terms::first(config)?;
        let sockets_max = config.limits.sockets_max.unwrap_or_else(|| share_out(&config.limits).sockets_max);
        make_room(DESCRIPTORS_AT_ONCE.min(sockets_max as u64));
        let certificate = config.tls.as_ref().map(|tls| certificate(tls, &config.limits)).transpose()?;
        let apps = apps::load(config).await?;
        let prepared = prepare_shards(config)?;
        let mailboxes = prepared.iter().map(|(_, mailbox)| Arc::clone(mailbox)).collect();
        let origin = Instant::now();
        let (notices, posted) = Notices::queue(NOTICES_MAX);
        let (link, facts) = match &config.bus {
            Some(bus) => Some(others::connect(bus, &config.limits).await?).unzip(),
            None => (None, None),
        };
        let hub = Hub::new(apps, mailboxes, hub_limits(config, sockets_max), origin, notices.clone(), link);
        if let Some(app) = first {
            apps::ensure(&hub, app).await?;
        }
        hub.serve_turns(walkers()).map_err(system)?;
        let (shards, shard_metrics) = start_shards(config, &hub, prepared, origin)?;
        let (warden, mut housekeeping) = keep_house(&hub, config);
        if let (Some(facts), Some(bus)) = (facts, &config.bus) {
            let stales = Arc::<Stales>::default();
            housekeeping.push(tokio::spawn(others::tell_changes(Arc::clone(&hub))));
            housekeeping.push(tokio::spawn(others::answer(Arc::clone(&hub))));
            housekeeping.push(tokio::spawn(others::read_again(Arc::clone(&hub), Arc::clone(&stales))));
            others::hear(Arc::clone(&hub), facts, Arc::clone(&stales)).map_err(system)?;
            others::join(&hub, &stales, bus.join_time_max).await;
        }
        let is_listener_kept = inherited.public.is_some();
        let (public, private) = listeners::open(inherited, config).await?;
        let (webhooks, outbox_place) = webhooks(config, &hub, posted).await?;
        let monitor = Monitor::new(
            Arc::clone(&hub),
            shard_metrics.clone(),
            Arc::clone(&webhooks),
            config.metrics.clone(),
        );
        let door = doors::door(config, &hub, &webhooks, monitor, log, certificate.as_ref(), terms)?;
        // An authority that is asked for one looks at the listeners, which accept already.
        housekeeping.extend(certificate.clone().map(|it| tokio::spawn(it.keep(Arc::clone(&hub)))));
        let (stopping, over) = (watch::Sender::new(false), watch::Sender::new(false));
        housekeeping.push(tokio::spawn(tidy(Arc::clone(&door))));
        Ok(Self {
            public: listeners::address(public.as_ref())?,
            private: listeners::address(private.as_ref())?,
            housekeeping,
            _outbox_place: outbox_place,
            is_listener_kept,
            presence: presence::begin(&hub, config).map_err(system)?,
            notices,
            webhooks,
            hub,
            shards,
            shard_metrics,
            doors: doors::serve(config, &door, certificate.as_ref(), [(public, &stopping), (private, &over)]),
            door,
            certificate,
            warden,
            stopping,
            over,
            drain: ArcSwap::from_pointee(config.drain.clone()),
        })
    }

    /// Returns when whoever connects is served: over TLS, that is, when there is a certificate.
    pub async fn certified(&self) {
        if let Some(certificate) = &self.certificate {
            certificate.there().await;
        }
    }

    /// Whether [`Node::certified`] returns at once.
    pub fn is_certified(&self) -> bool {
        self.certificate.as_ref().is_none_or(|certificate| certificate.is_there())
    }

    /// What the control plane counts.
    pub fn metrics(&self) -> &NodeMetrics {
        &self.hub.metrics
    }

    /// What each shard counts.
    pub fn shard_metrics(&self) -> &[Arc<ShardMetrics>] {
        &self.shard_metrics
    }

    /// Takes over what of `config` may change while a node runs (see [`config::RELOADABLE`](crate::config::RELOADABLE)), and
    /// reads the files that it names again.
    ///
    /// # Errors
    /// A file of keys cannot be used; nothing has changed.
    pub fn reload(&self, config: &Config) -> Result<(), StartError> {
        self.door.change(terms::of(config)?);
        self.drain.store(Arc::new(config.drain.clone()));
        self.warden.change(config);
        self.certificate.iter().for_each(|certificate| certificate.reload());
        Ok(())
    }

    /// Stops: is not ready any more, and `drain.delay_seconds` later lets nobody in, closes every socket after what was
    /// accepted for it, and waits for all to end. All of it takes at most as long as `drain.seconds` says.
    pub async fn stop(mut self) {
        self.hub.announce_stop();
        // While this node ends another may begin in its place: they are not two.
        self.presence.end(&self.hub).await;
        let Drain { time_max, delay } = **self.drain.load();
        tokio::time::sleep(delay).await;
        let (begun, time) = (Instant::now(), time_max.saturating_sub(delay));
        let restarts = self.begin_drain(time);
        // Who comes meanwhile is to find somebody, to the end.
        let public = restarts.then(|| self.doors.remove(0));
        let shards = &self.shards;
        let closed = async {
            while shards.iter().any(|shard| !shard.is_finished()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let is_in_time = tokio::time::timeout(time, closed).await.is_ok();
        let closed = Instant::now();
        self.over.send_replace(true);
        let ended = async {
            for door in std::mem::take(&mut self.doors) {
                let _ = door.await;
            }
        };
        let ended = tokio::time::timeout(time.saturating_sub(begun.elapsed()), ended).await;
        if !is_in_time || ended.is_err() {
            tracing::warn!("stopped before every socket was closed");
        }
        // Last, since sockets that close are news.
        self.housekeeping.iter().for_each(JoinHandle::abort);
        self.hub.flush();
        self.hub.close().await;
        self.webhooks.stop(WEBHOOK_GRACE).await;
        if let Some(public) = public {
            self.send_away(public, begun, closed, time).await;
        }
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
            closed_early = sum(|shard| shard.closed_early.get()),
            apps_refused = self.hub.metrics.apps_refused.get(),
            notices_dropped = self.notices.dropped(),
            outbox_failures = self.webhooks.database_failures(),
            store_failures = self.hub.store_failures(),
            "stopped"
        );
    }

    /// Begins to close the sockets, and says whether the public listener goes on: where no other node takes the clients, and
    /// nobody keeps the listener when this process has ended, who comes back at once would be refused.
    fn begin_drain(&self, time: Duration) -> bool {
        let has_others = self.hub.other_nodes() != Some(0);
        let restarts = !has_others && !self.is_listener_kept && self.public.is_some();
        if restarts {
            self.hub.drain_to_restart();
        } else {
            self.stopping.send_replace(true);
            // Who waits in the backlog of a listener that is kept should not wait for long.
            self.hub.drain(if has_others { time } else { Duration::ZERO });
        }
        restarts
    }

    /// Sends away who came meanwhile, and ends the public listener. Clients come back a second after they were closed or sent
    /// away. So either this process is over well before the first of them does, or it waits for all of them: whoever comes
    /// while there is no process pays with a quarter of a minute, if it is pusher-js.
    async fn send_away(&self, public: JoinHandle<()>, begun: Instant, closed: Instant, time: Duration) {
        if begun.elapsed() > OVER_SOON {
            tokio::time::sleep(BACK_BY.saturating_sub(closed.elapsed()).min(time)).await;
        }
        self.door.send_away();
        tokio::time::sleep(AWAY_TIME).await;
        self.stopping.send_replace(true);
        let _ = tokio::time::timeout(AWAY_TIME, public).await;
    }
}

/// What runs the shards, and what they count.
type Shards = (Vec<thread::JoinHandle<()>>, Vec<Arc<ShardMetrics>>);

/// What a shard begins with.
type Prepared = (mio::Poll, Arc<Mailbox>);

fn prepare_shards(config: &Config) -> Result<Vec<Prepared>, StartError> {
    (0..config.node.shards).map(|_| Shard::prepare()).collect::<io::Result<_>>().map_err(system)
}

fn start_shards(
    config: &Config,
    hub: &Arc<Hub>,
    prepared: Vec<Prepared>,
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

async fn webhooks(
    config: &Config,
    hub: &Arc<Hub>,
    notices: Posted,
) -> Result<(Arc<Webhooks>, Option<OutboxPlace>), StartError> {
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
        Some(WebhookApp {
            secret: live.app.secret.clone(),
            settings: live.settings(),
            number: live.number,
            feed: Arc::clone(&live.feed),
        })
    };
    let settings = WebhookSettings {
        allows_private: config.webhooks.allow_private,
        requests_max: WEBHOOK_REQUESTS_MAX,
        request_time_max: WEBHOOK_TIME_MAX,
        journal: JournalLimits {
            outcomes_max: config.webhooks.log_max,
            bytes_max: config.webhooks.log_bytes_max,
        },
        clock: Clock::system(),
    };
    let webhooks = Webhooks::start(outbox, notices, Box::new(lookup), settings)
        .map_err(|error| StartError(format!("cannot set up TLS for webhooks: {error}")))?;
    Ok((Arc::new(webhooks), place))
}

fn hub_limits(config: &Config, sockets_max: usize) -> HubLimits {
    HubLimits {
        sockets_max,
        mailbox_bytes_max: config.limits.mailbox_bytes_max,
        kept_bytes_max: config.pusher.cache_bytes_max,
        pattern_time_max: config.limits.pattern_time_max,
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

/// Threads that match patterns and look at many: they take their time, and leave most cores to all else.
fn walkers() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get() / 2).clamp(1, 4)
}

/// What is done from time to time, as long as the node runs.
fn keep_house(hub: &Arc<Hub>, config: &Config) -> (Arc<Warden>, Vec<JoinHandle<()>>) {
    let warden = Warden::new(hub, config);
    let tasks = vec![
        tokio::spawn(memory::trim_after_crowds(Arc::clone(hub))),
        tokio::spawn(advance_time(Arc::clone(hub))),
        tokio::spawn(Arc::clone(&warden).watch()),
    ];
    (warden, tasks)
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

/// Lets the door forget what makes no difference any more.
async fn tidy(door: Arc<Door>) {
    loop {
        tokio::time::sleep(TIDY_EVERY).await;
        door.tidy();
    }
}

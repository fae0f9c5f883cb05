//! The hub: what one node knows, shared by all its threads. It holds no connection and never waits for one: what
//! it decides goes into the mailboxes of the shards.
//!
//! Always: whoever posts something about an app to several shards holds the app's directory meanwhile, so every
//! shard sees the same order; a socket is listed from before its client sees the upgrade's answer until its
//! shard took it off.

mod agenda;
mod answer;
mod apps;
mod arrivals;
mod asked;
mod attendance;
mod bearers;
mod burst;
mod census;
mod channels;
mod counting;
mod directory;
mod figures;
mod follows;
mod holders;
mod inherited;
mod isolation;
mod kept;
mod lanes;
mod learn;
mod ledger;
mod link;
mod mailbox;
mod notify;
mod peers;
mod places;
mod policy;
mod publish;
mod shares;
mod sockets;
mod stale;
mod tasks;
mod unregistered;
mod users;
mod values;
mod walk;
mod wall;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use agenda::Agenda;
pub use answer::Answering;
use apps::Reread;
pub use apps::{Apps, LiveApp};
use burst::Burst;
pub use census::{Census, UserSockets};
pub use channels::{Bearer, Joined, Subscriber};
pub use directory::{Directory, SHARDS_MAX, ShardIndex};
pub use figures::BusState;
pub use follows::FollowNumber;
use lanes::Lanes;
pub use learn::GATHER;
pub use link::{Link, LinkSettings, WhenDown};
pub use mailbox::{Arrival, Mailbox, Message, SocketNumber};
pub use places::{Place, Places};
pub use stale::{Stale, Stales};
pub use users::Watched;
pub use values::{Addressee, Attendance};
use wall::WallClock;

use crate::dialect::Session;
use crate::hook::Notices;
use crate::metrics::NodeMetrics;
use crate::model::{
    App, AppKey, AppRate, AppSettings, ChannelKind, ChannelName, Counts, Fact, Item, Kept, Parting, Refusal,
    Roster, UserId,
};
use crate::net::stream::Stream;
pub use crate::store::new_identity;
use crate::store::{Store, StoreError};
use crate::turns::Turns;
use walk::{Tagged, Walk};

/// What bounds the hub.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    /// Sockets on this node.
    pub sockets_max: usize,
    /// What may wait in one shard's mailbox before publishing is refused, in bytes.
    pub mailbox_bytes_max: usize,
    /// What the kept events of one app may weigh, in bytes.
    pub kept_bytes_max: usize,
    /// How long matching one pattern may take in all.
    pub pattern_time_max: Duration,
}

/// A shard as the hub sees it.
#[derive(Debug)]
struct Post {
    mailbox: Arc<Mailbox>,
    /// Sockets posted to it and not yet gone.
    sockets: AtomicUsize,
}

/// What one node knows.
#[derive(Debug)]
pub struct Hub {
    apps: Apps,
    posts: Vec<Post>,
    limits: HubLimits,
    next_socket: AtomicU64,
    agenda: Agenda,
    notices: Notices,
    /// The node is not ready any more.
    stopping: std::sync::atomic::AtomicBool,
    /// Nobody is admitted any more.
    draining: std::sync::atomic::AtomicBool,
    restarting: std::sync::atomic::AtomicBool,
    /// Nobody is admitted until there is memory again.
    short_of_memory: std::sync::atomic::AtomicBool,
    /// To the other nodes, if there may be any.
    link: Option<Link>,
    /// What other nodes published and waits.
    lanes: Lanes,
    /// What takes its time.
    turns: Turns,
    /// An app was refused, and the log says so; until there is room again.
    is_full_of_apps: std::sync::atomic::AtomicBool,
    /// Something is to be told to them.
    changes: tokio::sync::Notify,
    /// By which it is decided what is later.
    pub wall: WallClock,
    /// Another node asks, or took in what it was answered.
    questions: tokio::sync::Notify,
    /// The bus did not keep up, or did not carry a message for its size; one burst at a time.
    bus_full: Burst,
    bus_too_small: Burst,
    /// What the control plane counts.
    pub metrics: NodeMetrics,
}

impl Hub {
    /// A hub over the shards that read these mailboxes; there is at least one and at most [`SHARDS_MAX`]. Its time
    /// begins at `origin`, and goes on when [`Hub::tick`] says so. What webhooks are to be told goes into `notices`.
    /// With a `link`, it is one of several.
    pub fn new(
        apps: Apps,
        mailboxes: Vec<Arc<Mailbox>>,
        limits: HubLimits,
        origin: Instant,
        notices: Notices,
        link: Option<LinkSettings>,
    ) -> Arc<Self> {
        assert!((1..=SHARDS_MAX).contains(&mailboxes.len()), "a node has 1 to {SHARDS_MAX} shards");
        let posts =
            mailboxes.into_iter().map(|mailbox| Post { mailbox, sockets: AtomicUsize::new(0) }).collect();
        Arc::new(Self {
            apps,
            posts,
            limits,
            next_socket: AtomicU64::new(1),
            agenda: Agenda::new(origin),
            notices,
            stopping: Default::default(),
            draining: Default::default(),
            restarting: Default::default(),
            short_of_memory: Default::default(),
            link: link.map(Link::new),
            lanes: Lanes::default(),
            turns: Turns::new(),
            is_full_of_apps: Default::default(),
            changes: Default::default(),
            wall: WallClock::default(),
            questions: Default::default(),
            bus_full: Burst::default(),
            bus_too_small: Burst::default(),
            metrics: NodeMetrics::default(),
        })
    }

    /// The app of that key.
    ///
    /// # Errors
    /// [`Refusal::AppUnknown`].
    pub fn app(&self, key: &str) -> Result<Arc<LiveApp>, Refusal> {
        self.apps.find(key)
    }

    /// The app that has this key, be it its own or an additional one.
    ///
    /// # Errors
    /// [`Refusal::AppUnknown`].
    pub fn app_by_any_key(&self, key: &str) -> Result<Arc<LiveApp>, Refusal> {
        self.apps.find_by_any_key(key)
    }

    /// The app of that number in signed calls.
    ///
    /// # Errors
    /// [`Refusal::AppUnknown`].
    pub fn app_by_id(&self, id: &str) -> Result<Arc<LiveApp>, Refusal> {
        self.apps.find_by_id(id)
    }

    /// All apps, in the order of their registration.
    ///
    /// # Errors
    /// [`Refusal::Internal`] when the store cannot be read.
    pub async fn list(&self) -> Result<Vec<App>, Refusal> {
        self.apps.list().await
    }

    /// Registers an app.
    ///
    /// # Errors
    /// [`Refusal::AppExists`], [`Refusal::AppIdTaken`]; [`Refusal::Internal`] when the store cannot be written.
    pub async fn register(&self, app: App) -> Result<Arc<LiveApp>, Refusal> {
        self.register_under(app, []).await
    }

    /// Registers an app whose id nobody chose: if it is taken, under another.
    ///
    /// # Errors
    /// [`Refusal::AppExists`]; [`Refusal::Internal`] when the store cannot be written.
    pub async fn register_under_any_id(&self, app: App) -> Result<Arc<LiveApp>, Refusal> {
        self.register_under(app, std::iter::from_fn(|| new_identity().ok().map(|(id, _)| id))).await
    }

    async fn register_under(
        &self,
        app: App,
        spare_ids: impl IntoIterator<Item = String>,
    ) -> Result<Arc<LiveApp>, Refusal> {
        let key = app.key.clone();
        let registered = self.apps.register(app, spare_ids).await;
        match &registered {
            Ok(_) => self.adopt(&key),
            // The store knows it and we do not: another node was quicker, or the store's answer to an earlier call was lost.
            Err(Refusal::AppExists) if self.apps.find_by_any_key(key.as_str()).is_err() => {
                if let Err(error) = self.reread(&Stale::App(key.clone())).await {
                    tracing::error!(%error, "cannot read an app that is there");
                }
            }
            Err(_) => return registered,
        }
        self.announce(&key);
        registered
    }

    /// Changes the settings of an app, and returns what they are now; see [`Apps::configure`]. When it is switched off
    /// its sockets are closed.
    ///
    /// # Errors
    /// Those of `change` and of [`Apps::configure`].
    pub async fn configure(
        &self,
        key: &str,
        change: impl FnOnce(&AppSettings) -> Result<AppSettings, Refusal>,
    ) -> Result<Arc<AppSettings>, Refusal> {
        let live = self.apps.configure(key, change).await?;
        self.announce(&live.app.key);
        self.apply_settings(&live);
        Ok(live.settings())
    }

    /// Closes the sockets of an app that is switched off.
    fn apply_settings(&self, live: &LiveApp) {
        if !live.settings().enabled {
            let directory = live.directory();
            directory.all_shards().iter().for_each(|shard| {
                self.posts[shard].mailbox.post(Message::DisableApp(live.number));
            });
        }
    }

    /// Unregisters an app and closes its sockets (spec D24).
    ///
    /// # Errors
    /// [`Refusal::AppUnknown`]; [`Refusal::Internal`] when the store cannot be written.
    pub async fn unregister(&self, key: &AppKey) -> Result<(), Refusal> {
        let live = self.apps.unregister(key).await?;
        self.announce(key);
        self.close_app(&live);
        Ok(())
    }

    /// Reads again what other nodes may have changed, and does here what follows from it.
    ///
    /// # Errors
    /// The store cannot be read, or has broken settings; nothing has changed.
    pub async fn reread(&self, stale: &Stale) -> Result<(), StoreError> {
        let only = match stale {
            Stale::App(key) => Some(key),
            Stale::AnyApp => None,
        };
        let reread = self.apps.reread(only).await.inspect_err(|_| self.apps.failures.add(1))?;
        for Reread { gone, live } in reread {
            gone.iter().for_each(|gone| self.close_app(gone));
            if let Some(live) = live {
                self.adopt(&live.app.key);
                self.apply_settings(&live);
            }
        }
        Ok(())
    }

    /// What the apps are kept in, for what is no matter of apps.
    pub(crate) fn store(&self) -> &Store {
        self.apps.store()
    }

    /// Closes the sockets of an app that is gone.
    fn close_app(&self, live: &LiveApp) {
        let mut directory = live.directory();
        directory.close();
        directory
            .all_shards()
            .iter()
            .for_each(|shard| self.posts[shard].mailbox.post(Message::CloseApp(live.number)));
    }

    /// Whether a socket of this app may ask for more: a connect hook, and to be admitted. It counts as one that did.
    ///
    /// # Errors
    /// [`Refusal::Draining`] when the node stops, [`Refusal::MemoryShort`] while it lets nobody in,
    /// [`Refusal::RateExceeded`] when the app has let in as many within a second as it may.
    pub fn approach(&self, app: &LiveApp) -> Result<(), Refusal> {
        if self.draining.load(Ordering::SeqCst) {
            return Err(Refusal::Draining);
        }
        if self.is_short_of_memory() {
            return Err(Refusal::MemoryShort);
        }
        app.take(AppRate::Connects, 1)
    }

    /// Whether nobody is let in for want of memory.
    pub fn is_short_of_memory(&self) -> bool {
        self.short_of_memory.load(Ordering::Relaxed)
    }

    /// From now on, nobody or somebody is.
    pub fn set_short_of_memory(&self, is_short: bool) {
        self.short_of_memory.store(is_short, Ordering::Relaxed);
    }

    /// Admits a socket: from here on it is listed and pushes are kept for it, deflated if it `deflates`. It has
    /// its place until it is gone. The caller owes it a stream; dropping the admission takes it back.
    ///
    /// # Errors
    /// [`Refusal::Overloaded`] when the node is full, [`Refusal::Draining`] when it stops, [`Refusal::AppUnknown`]
    /// when the app went away meanwhile, [`Refusal::AppFull`] when it has as many sockets as it may.
    pub fn admit(
        self: &Arc<Self>,
        app: &Arc<LiveApp>,
        session: Session,
        deflates: bool,
        place: Option<Place>,
    ) -> Result<Admission, Refusal> {
        if self.draining.load(Ordering::SeqCst) {
            return Err(Refusal::Draining);
        }
        if self.sockets() >= self.limits.sockets_max {
            return Err(Refusal::Overloaded);
        }
        let mut directory = app.directory();
        if directory.is_closed() {
            return Err(Refusal::AppUnknown);
        }
        // Looked at again while the directory is held: who switches the app off meanwhile closes this one, too.
        if !app.settings().enabled {
            return Err(Refusal::AppDisabled);
        }
        let sockets_max = app.settings().max_connections;
        if sockets_max.is_some_and(|max| directory.all_sockets() >= max as usize) {
            return Err(Refusal::AppFull);
        }
        let is_first_here = directory.sockets_here() == 0;
        if let (Some(link), true) = (&self.link, is_first_here) {
            directory.follow = self.follow(link, &link.app(&app.app.key));
        }
        let follow = directory.follow;
        let (shard, dialect) = (self.least_loaded(), session.dialect());
        let number = SocketNumber(self.next_socket.fetch_add(1, Ordering::Relaxed));
        match &session {
            Session::Gusher(user) => {
                directory.join(user, shard);
                self.mark(app, &mut directory, || Item::User(user.clone()));
            }
            Session::Pusher(_) => {
                directory.join_other(shard);
                self.mark(app, &mut directory, || Item::Others);
            }
            Session::Cluster(session) => {
                directory.join_other(shard);
                directory.bearers.join(session.user.as_ref(), shard);
                self.mark_bearer(app, &mut directory, session.user.as_ref());
            }
        }
        let post = &self.posts[shard];
        post.sockets.fetch_add(1, Ordering::Relaxed);
        post.mailbox.post(Message::Expect(Arrival {
            number,
            app: Arc::clone(app),
            session,
            deflates,
            place,
        }));
        self.metrics.admissions.of(dialect).add(1);
        Ok(Admission { hub: Arc::clone(self), shard, number, follow, open: false })
    }

    /// A shard says that a socket of `user` is gone from it; `last_on_shard` when it holds no other of that user.
    pub fn leave(&self, shard: ShardIndex, app: &Arc<LiveApp>, user: &UserId, last_on_shard: bool) {
        let mut directory = app.directory();
        directory.leave(user, shard, last_on_shard);
        self.mark(app, &mut directory, || Item::User(user.clone()));
        self.gone_from(app, &directory);
        self.posts[shard].sockets.fetch_sub(1, Ordering::Relaxed);
    }

    /// A shard says that a socket without a user is gone from it.
    pub fn leave_other(&self, shard: ShardIndex, app: &Arc<LiveApp>) {
        let mut directory = app.directory();
        directory.leave_other(shard);
        self.mark(app, &mut directory, || Item::Others);
        self.gone_from(app, &directory);
        self.posts[shard].sockets.fetch_sub(1, Ordering::Relaxed);
    }

    /// A shard says that a socket which came with a token is gone from it; `last_on_shard` when it holds no other of the
    /// user that the token names.
    pub fn leave_bearer(
        &self,
        shard: ShardIndex,
        app: &Arc<LiveApp>,
        user: Option<&UserId>,
        last_on_shard: bool,
    ) {
        let mut directory = app.directory();
        directory.leave_other(shard);
        directory.bearers.leave(user, shard, last_on_shard);
        self.mark_bearer(app, &mut directory, user);
        self.gone_from(app, &directory);
        self.posts[shard].sockets.fetch_sub(1, Ordering::Relaxed);
    }

    /// The shares of this node that a socket with a token is part of have changed.
    fn mark_bearer(&self, app: &Arc<LiveApp>, directory: &mut Directory, user: Option<&UserId>) {
        self.mark(app, directory, || Item::Others);
        self.mark(app, directory, || Item::Bearers);
        if let Some(user) = user {
            self.mark(app, directory, || Item::Bearer(user.clone()));
        }
    }

    /// What is published to an app is none of this node's business when its last socket is gone.
    fn gone_from(&self, app: &LiveApp, directory: &Directory) {
        if let (Some(link), 0) = (&self.link, directory.sockets_here()) {
            link.unfollow(&link.app(&app.app.key));
        }
    }

    /// Waits until there is something to tell to other nodes.
    pub async fn changed(&self) {
        self.changes.notified().await;
    }

    /// How many subscribe to a channel. Those of single users are not told.
    pub fn counts(&self, app: &LiveApp, channel: &ChannelName) -> Counts {
        match channel.kind() {
            ChannelKind::User => Counts::default(),
            _ => app.directory().channels.counts(channel),
        }
    }

    /// The members of a presence channel.
    pub fn roster(&self, app: &LiveApp, channel: &ChannelName) -> Roster {
        app.directory().channels.roster(channel)
    }

    /// The event that a channel keeps, and for how many seconds yet.
    pub fn kept(&self, app: &LiveApp, channel: &ChannelName) -> Option<(Kept, u64)> {
        let directory = app.directory();
        let kept = directory.channels.kept.get(channel, self.agenda.now());
        kept.map(|(kept, rest_ms)| (kept.clone(), rest_ms.div_ceil(1000)))
    }

    /// Closes every socket that is signed in as this user.
    ///
    /// # Errors
    /// [`Refusal::BusDown`], [`Refusal::Overloaded`]: it did not reach the other nodes, and none is closed.
    pub fn terminate(&self, app: &LiveApp, user: &UserId) -> Result<(), Refusal> {
        if let Some(link) = &self.link {
            let key = &app.app.key;
            self.tell(link, &link.app(key), &Fact::Terminate(key.clone(), user.clone()))?;
        }
        self.close_user(app, user);
        Ok(())
    }

    /// The same for the sockets of this node.
    fn close_user(&self, app: &LiveApp, user: &UserId) {
        let directory = app.directory();
        directory.signed_in.shards(user).iter().for_each(|shard| {
            self.posts[shard].mailbox.post(Message::CloseUser(app.number, user.clone()));
        });
    }

    /// The users of an app that are online, in no order.
    pub fn online(&self, app: &Arc<LiveApp>) -> Vec<UserId> {
        Walk::all(app, Tagged)
    }

    /// Sockets on this node, those still at the door included.
    pub fn sockets(&self) -> usize {
        self.posts.iter().map(|post| post.sockets.load(Ordering::Relaxed)).sum()
    }

    /// The node is about to stop: from here on it is not ready, though it goes on serving.
    pub fn announce_stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Whether that was announced.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Admits nobody any more, and has every shard close its sockets in so much time and end: others take their clients.
    pub fn drain(&self, time: Duration) {
        self.announce_stop();
        self.draining.store(true, Ordering::SeqCst);
        self.close_all(time, Parting::NodeStops);
    }

    /// The same, at once, where nobody takes their clients before this node, or its like, is back.
    pub fn drain_to_restart(&self) {
        self.restarting.store(true, Ordering::SeqCst);
        self.announce_stop();
        self.draining.store(true, Ordering::SeqCst);
        self.close_all(Duration::ZERO, Parting::NodeRestarts);
    }

    /// Whether clients have to come back to where they were.
    pub fn is_restarting(&self) -> bool {
        self.restarting.load(Ordering::SeqCst)
    }

    fn close_all(&self, time: Duration, parting: Parting) {
        self.posts.iter().for_each(|post| post.mailbox.post(Message::Drain(time, parting)));
    }

    fn least_loaded(&self) -> ShardIndex {
        let load = |shard: &ShardIndex| self.posts[*shard].sockets.load(Ordering::Relaxed);
        (0..self.posts.len()).min_by_key(load).unwrap_or(0)
    }
}

/// A socket that was admitted and is not open yet.
#[derive(Debug)]
pub struct Admission {
    hub: Arc<Hub>,
    shard: ShardIndex,
    number: SocketNumber,
    follow: FollowNumber,
    open: bool,
}

impl Admission {
    /// Waits until the bus follows what is for the sockets of the app, so that what is pushed after the upgrade's
    /// answer is never missed: one trip to its server for the first socket, no time for others.
    pub async fn followed(&self) {
        if let Some(link) = &self.hub.link
            && link.follows.must_wait(self.follow, None, self.hub.agenda.now())
        {
            link.follows.until(self.follow).await;
        }
    }

    /// Hands over the stream, after the upgrade's answer was written to it, with the bytes that came ahead.
    pub fn open(mut self, stream: Stream, ahead: Bytes) {
        self.open = true;
        self.hub.posts[self.shard].mailbox.post(Message::Open(self.number, stream, ahead));
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.open {
            self.hub.posts[self.shard].mailbox.post(Message::Abandon(self.number));
        }
    }
}

//! This node's link to the others: its bus, what is still to be told on it, and whose task notices are.
//!
//! Always: a lock of the link is the last that is taken, except that of the peers, which is held while the directories of
//! apps are; nothing here waits for the bus.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::LiveApp;
use super::agenda::Millis;
use super::answer::Answers;
use super::burst::Burst;
use super::follows::{FollowNumber, Follows};
use super::inherited::Inherited;
use super::isolation::Isolation;
use super::peers::Peers;
use crate::bus::{Bus, NotSent, wire};
use crate::model::pattern::PatternLimits;
use crate::model::{AppKey, ChannelName, Fact, NodeId, Told};

/// What to do with publications while the bus is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenDown {
    /// Refuse them: nobody gets them.
    Refuse,
    /// Deliver them to the sockets of this node.
    Local,
}

/// How a node is linked to others.
#[derive(Debug)]
pub struct LinkSettings {
    /// What carries the facts.
    pub bus: Arc<dyn Bus>,
    /// What every subject begins with: nodes with the same are one cluster.
    pub prefix: String,
    /// This node.
    pub me: NodeId,
    /// What becomes of publications while the bus is down.
    pub when_down: WhenDown,
    /// What bounds the patterns that other nodes send.
    pub pattern: PatternLimits,
    /// After so much time without the others the sockets of this node are closed; never, if none.
    pub isolated_close: Option<Duration>,
}

/// A node's link to the others.
#[derive(Debug)]
pub struct Link {
    settings: LinkSettings,
    /// The others, and what they hold.
    pub peers: Mutex<Peers>,
    /// The number of the last change that was told.
    pub number: Mutex<u64>,
    /// What other nodes asked.
    pub answers: Mutex<Answers>,
    /// What this node follows on the bus.
    pub follows: Follows,
    /// Apps in which something changed that was not told yet.
    changed: Mutex<Vec<Arc<LiveApp>>>,
    /// Apps that were registered, changed or removed here, of which no other node was told yet: few, as each took a call.
    unannounced: Mutex<BTreeSet<AppKey>>,
    members: ArcSwap<Members>,
    /// The number of times that this node had to become a member anew, from 1.
    epoch: AtomicU64,
    /// Handed to webhooks by this node, and not yet told to the others.
    told: Mutex<Vec<Told>>,
    /// What others say that is still to be told, while this node is no member.
    pub inherited: Mutex<Inherited>,
    /// When this node stood back as it had stood still, plus one.
    stood_back: AtomicU64,
    is_ready: AtomicBool,
    /// This node has taken leave.
    has_parted: AtomicBool,
    /// Whether the bus is up, as it says itself.
    is_connected: AtomicBool,
    /// Whether the bus carries nothing though it is up.
    is_cut_off: AtomicBool,
    /// The number of the last publication that was handed to the bus.
    relays: AtomicU64,
    /// Publications that came late, and were dropped.
    pub late: Burst,
    /// Whether the bus returns what this node sends to itself.
    pub isolation: Mutex<Isolation>,
    /// Since when this node hears itself, and so the others, plus one; 0 while it does not.
    hears_since: AtomicU64,
    /// The first number of a probe that shows that.
    hears_from: AtomicU64,
}

/// The nodes that share the notices among them, as this one sees it.
#[derive(Debug, Default)]
struct Members {
    /// Each with its epoch, in order.
    nodes: Vec<(NodeId, u64)>,
    /// All others have acknowledged this one.
    is_settled: bool,
}

/// What is other than before.
#[derive(Clone, Copy, Debug)]
pub struct MembersChange {
    /// There are others, or of another epoch.
    pub is_other: bool,
    /// All others have acknowledged this node now.
    pub is_newly_settled: bool,
}

impl Link {
    /// A link that was not joined yet.
    pub fn new(settings: LinkSettings) -> Self {
        Self {
            settings,
            peers: Mutex::default(),
            number: Mutex::default(),
            answers: Mutex::default(),
            follows: Follows::default(),
            changed: Mutex::default(),
            unannounced: Mutex::default(),
            members: ArcSwap::default(),
            epoch: AtomicU64::new(1),
            told: Mutex::default(),
            inherited: Mutex::default(),
            stood_back: AtomicU64::new(0),
            is_ready: AtomicBool::new(false),
            has_parted: AtomicBool::new(false),
            is_connected: AtomicBool::new(false),
            is_cut_off: AtomicBool::new(false),
            relays: AtomicU64::new(0),
            late: Burst::default(),
            isolation: Mutex::default(),
            hears_since: AtomicU64::new(0),
            hears_from: AtomicU64::new(0),
        }
    }

    /// This node.
    pub fn me(&self) -> NodeId {
        self.settings.me
    }

    /// What becomes of publications while the bus is down.
    pub fn when_down(&self) -> WhenDown {
        self.settings.when_down
    }

    /// What bounds the patterns that other nodes send.
    pub fn pattern_limits(&self) -> PatternLimits {
        self.settings.pattern
    }

    /// Where facts for every node go.
    pub fn everybody(&self) -> String {
        format!("{}.nodes", self.settings.prefix)
    }

    /// Where facts for one node go.
    pub fn only(&self, node: NodeId) -> String {
        format!("{}.node.{node}", self.settings.prefix)
    }

    /// Where facts for the nodes with sockets of an app go.
    pub fn app(&self, app: &AppKey) -> String {
        format!("{}.app.{}", self.settings.prefix, word(app.as_str()))
    }

    /// Where facts for the nodes with subscribers of a channel go.
    pub fn channel(&self, app: &AppKey, channel: &ChannelName) -> String {
        format!("{}.channel.{}.{}", self.settings.prefix, word(app.as_str()), word(channel.as_str()))
    }

    /// Sends a fact.
    ///
    /// # Errors
    /// It goes nowhere.
    pub fn send(&self, subject: &str, fact: &Fact) -> Result<(), NotSent> {
        if self.is_cut_off() {
            return Err(NotSent::Down);
        }
        self.send_anyway(subject, fact)
    }

    /// Asks the bus whether it follows all that was asked for up to this number; also while this node is cut off.
    ///
    /// # Errors
    /// It goes nowhere.
    pub fn probe(&self, number: FollowNumber) -> Result<(), NotSent> {
        self.send_anyway(&self.only(self.me()), &Fact::Followed(number))
    }

    fn send_anyway(&self, subject: &str, fact: &Fact) -> Result<(), NotSent> {
        self.settings.bus.send(subject, wire::encode(self.me(), fact))
    }

    /// What operators call the bus.
    pub fn bus_name(&self) -> &'static str {
        self.settings.bus.name()
    }

    /// Lets what was sent go out.
    pub async fn close(&self) {
        self.settings.bus.close().await;
    }

    /// From now on facts of that subject are heard.
    pub fn follow(&self, subject: &str) {
        self.settings.bus.follow(subject);
    }

    /// They are heard no longer.
    pub fn unfollow(&self, subject: &str) {
        self.settings.bus.unfollow(subject);
    }

    /// The bus came up or went down, as it says itself or as it shows.
    pub fn set_up(&self, is_up: bool, now: Millis) {
        self.is_connected.store(is_up, Ordering::Relaxed);
        self.is_cut_off.store(false, Ordering::Relaxed);
        match is_up {
            true => lock(&self.isolation).end(now),
            false => lock(&self.isolation).begin(now),
        }
        // Also as it comes up: a look that began before may have said that this node is ready.
        self.is_ready.store(false, Ordering::Relaxed);
        // Others may have taken this node for dead, or it them.
        self.stand_back();
    }

    /// The bus carries nothing, though it is up.
    pub fn cut_off(&self) {
        self.is_cut_off.store(true, Ordering::Relaxed);
        self.is_ready.store(false, Ordering::Relaxed);
        self.stand_back();
    }

    /// Whether the bus carries nothing, though it is up.
    pub fn is_cut_off(&self) -> bool {
        self.is_cut_off.load(Ordering::Relaxed)
    }

    /// Whether the bus is up, as it says itself.
    pub fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    /// Whether the bus is up and carries.
    pub fn is_up(&self) -> bool {
        self.is_connected() && !self.is_cut_off()
    }

    /// After how many milliseconds without the others sockets are closed, if at all.
    pub fn closes_after(&self) -> Option<Millis> {
        self.settings.isolated_close.map(|time| time.as_millis() as Millis)
    }

    /// This node has heard this probe of its own.
    pub fn set_hears(&self, number: FollowNumber, now: Millis) {
        if number < self.hears_from.load(Ordering::Relaxed) {
            return;
        }
        let since = &self.hears_since;
        // It fails when that is known already.
        let _ = since.compare_exchange(0, now + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Since when this node hears the others, if it does.
    pub fn hears_since(&self) -> Option<Millis> {
        self.hears_since.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Whether this node knows what the others hold, and hears of each change.
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    /// It does.
    pub fn set_ready(&self) {
        self.is_ready.store(true, Ordering::Relaxed);
    }

    /// The number of the next publication for the others. Drawn while the directory of its app is held.
    pub fn next_relay(&self) -> u64 {
        self.relays.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// This node has taken leave, and shows no sign of life any more.
    pub fn set_parted(&self) {
        self.has_parted.store(true, Ordering::Relaxed);
    }

    /// Whether it has.
    pub fn has_parted(&self) -> bool {
        self.has_parted.load(Ordering::Relaxed)
    }

    /// Something changed in an app.
    pub fn note_changed(&self, app: &Arc<LiveApp>) {
        lock(&self.changed).push(Arc::clone(app));
    }

    /// The apps in which something changed since this was last asked.
    pub fn take_changed(&self) -> Vec<Arc<LiveApp>> {
        std::mem::take(&mut lock(&self.changed))
    }

    /// It could not be told that this app was registered, changed or removed here.
    pub fn note_unannounced(&self, app: &AppKey) {
        lock(&self.unannounced).insert(app.clone());
    }

    /// The apps of which that is still to be told.
    pub fn take_unannounced(&self) -> BTreeSet<AppKey> {
        std::mem::take(&mut lock(&self.unannounced))
    }

    /// These share the notices among them.
    pub fn set_members(&self, nodes: Vec<(NodeId, u64)>, is_settled: bool) -> MembersChange {
        let before = self.members.load();
        let is_other = before.nodes != nodes;
        let is_newly_settled = is_settled && !before.is_settled;
        if is_other || before.is_settled != is_settled {
            self.members.store(Arc::new(Members { nodes, is_settled }));
        }
        MembersChange { is_other, is_newly_settled }
    }

    /// The nodes that share the notices among them, each with its epoch.
    pub fn members(&self) -> Vec<(NodeId, u64)> {
        self.members.load().nodes.clone()
    }

    /// Whether this node tells webhooks what is its task.
    pub fn is_settled(&self) -> bool {
        self.members.load().is_settled
    }

    /// The number of times that this node had to become a member anew.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// This node tells webhooks nothing before all others have acknowledged it anew.
    pub fn stand_back(&self) {
        self.hears_from.store(self.follows.draw(), Ordering::Relaxed);
        self.hears_since.store(0, Ordering::Relaxed);
        self.epoch.fetch_add(1, Ordering::Relaxed);
        self.members.rcu(|members| Members { nodes: members.nodes.clone(), is_settled: false });
    }

    /// The same once for each time, though it is noticed more than once.
    pub fn stand_back_once(&self, at: Millis) {
        if self.stood_back.swap(at + 1, Ordering::Relaxed) != at + 1 {
            self.stand_back();
        }
    }

    /// Whether it is this node's task to tell webhooks what happens in a channel.
    pub fn is_my_task(&self, app: &AppKey, channel: &ChannelName) -> bool {
        self.is_settled() && self.owner(app, channel) == self.me()
    }

    /// This node has told that to webhooks.
    pub fn told(&self, told: Told) {
        lock(&self.told).push(told);
    }

    /// What this node has told to webhooks since this was last asked.
    pub fn take_told(&self) -> Vec<Told> {
        std::mem::take(&mut lock(&self.told))
    }

    /// The node whose task the notices of a channel are: with each, the channel's name draws a lot, and the highest wins.
    /// So a node that comes or goes changes that for its own part of the channels alone.
    pub fn owner(&self, app: &AppKey, channel: &ChannelName) -> NodeId {
        let members = self.members.load();
        let lot = |node: &NodeId| {
            let lot = Sha256::new()
                .chain_update(node.0.to_be_bytes())
                .chain_update(app.as_str())
                .chain_update([0])
                .chain_update(channel.as_str());
            lot.finalize()
        };
        members.nodes.iter().map(|(node, _)| *node).max_by_key(lot).unwrap_or(self.me())
    }
}

/// A name as one word of a subject, whatever it consists of.
fn word(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

/// Nothing that can panic runs under these locks.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

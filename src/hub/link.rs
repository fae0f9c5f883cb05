//! This node's link to the others: its bus, what is still to be told on it, and whose task a notice is.
//!
//! Always: a lock of the link is the last that is taken, except that of the peers, which is held while the directories of
//! apps are; nothing here waits for the bus.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::LiveApp;
use super::agenda::Millis;
use super::follows::Follows;
use super::peers::Peers;
use crate::bus::{Bus, NotSent, wire};
use crate::model::pattern::PatternLimits;
use crate::model::{AppKey, ChannelName, Fact, NodeId, Notice, NoticeEvent, NoticeKind, Told, UserId};

/// How long a notice that is the task of another node is remembered, in milliseconds: longer than it takes to find that
/// node dead.
const UNTOLD_MS: Millis = 10_000;

/// How many of those are remembered.
const UNTOLD_MAX: usize = 65_536;

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
}

/// A node's link to the others.
#[derive(Debug)]
pub struct Link {
    settings: LinkSettings,
    /// The others, and what they hold.
    pub peers: Mutex<Peers>,
    /// The number of the last change that was told.
    pub number: Mutex<u64>,
    /// What this node follows on the bus.
    pub follows: Follows,
    /// Apps in which something changed that was not told yet.
    changed: Mutex<Vec<Arc<LiveApp>>>,
    /// The nodes that share the notices among them.
    members: ArcSwap<Vec<NodeId>>,
    notices: Mutex<Notices>,
    is_ready: AtomicBool,
    /// Since when the bus is up, plus one; 0 while it is down.
    up_since: AtomicU64,
}

/// What names a notice to every node.
type Named = (AppKey, ChannelName, NoticeKind, Option<UserId>);

#[derive(Debug, Default)]
struct Notices {
    /// Handed to webhooks by this node, and not yet told to the others.
    told: Vec<Told>,
    /// The task of another node, of which nothing was heard yet.
    untold: VecDeque<(Millis, NodeId, Notice)>,
    /// Told by another node before they came to be known here.
    ahead: VecDeque<(Millis, Named)>,
}

impl Link {
    /// A link that was not joined yet.
    pub fn new(settings: LinkSettings) -> Self {
        Self {
            settings,
            peers: Mutex::default(),
            number: Mutex::default(),
            follows: Follows::default(),
            changed: Mutex::default(),
            members: ArcSwap::default(),
            notices: Mutex::default(),
            is_ready: AtomicBool::new(false),
            up_since: AtomicU64::new(0),
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
        self.settings.bus.send(subject, wire::encode(self.me(), fact))
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

    /// The bus came up or went down.
    pub fn set_up(&self, since: Option<Millis>) {
        self.up_since.store(since.map_or(0, |since| since + 1), Ordering::Relaxed);
        if since.is_none() {
            self.is_ready.store(false, Ordering::Relaxed);
        }
    }

    /// Since when the bus is up, if it is.
    pub fn up_since(&self) -> Option<Millis> {
        self.up_since.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Whether this node knows what the others hold, and hears of each change.
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    /// It does.
    pub fn set_ready(&self) {
        self.is_ready.store(true, Ordering::Relaxed);
    }

    /// Something changed in an app.
    pub fn note_changed(&self, app: &Arc<LiveApp>) {
        lock(&self.changed).push(Arc::clone(app));
    }

    /// The apps in which something changed since this was last asked.
    pub fn take_changed(&self) -> Vec<Arc<LiveApp>> {
        std::mem::take(&mut lock(&self.changed))
    }

    /// These share the notices among them.
    pub fn set_members(&self, members: Vec<NodeId>) {
        if **self.members.load() != members {
            self.members.store(Arc::new(members));
        }
    }

    /// Whether it is this node's task to hand this to webhooks. If not, it is remembered until it is known that another
    /// node has done so.
    pub fn is_my_task(&self, notice: &Notice, now: Millis) -> bool {
        let owner = match notice.event {
            // Known to this node alone.
            NoticeEvent::ClientEvent { .. } | NoticeEvent::CacheMiss => self.me(),
            _ => self.owner(&notice.app, &notice.channel),
        };
        let mut notices = lock(&self.notices);
        match (owner == self.me(), named(notice)) {
            (true, Some((app, channel, kind, user))) => {
                notices.told.push(Told { app, channel, kind, user });
            }
            (false, Some(name)) => notices.remember(name, owner, notice.clone(), now),
            (_, None) => {}
        }
        owner == self.me()
    }

    /// What this node has handed to webhooks since this was last asked.
    pub fn take_told(&self) -> Vec<Told> {
        std::mem::take(&mut lock(&self.notices).told)
    }

    /// Another node has handed these to webhooks.
    pub fn learn_told(&self, told: Vec<Told>, now: Millis) {
        let mut notices = lock(&self.notices);
        for Told { app, channel, kind, user } in told {
            let name = (app, channel, kind, user);
            match notices.untold.iter().position(|(_, _, notice)| named(notice).as_ref() == Some(&name)) {
                Some(place) => drop(notices.untold.remove(place)),
                None => notices.ahead.push_back((now, name)),
            }
        }
        notices.forget(now);
    }

    /// A node is gone: what it may have left untold and is now this node's task.
    pub fn take_over(&self, gone: NodeId) -> Vec<Notice> {
        let mut notices = lock(&self.notices);
        let (left, others): (VecDeque<_>, _) =
            std::mem::take(&mut notices.untold).into_iter().partition(|(_, owner, _)| *owner == gone);
        notices.untold = others;
        let mut mine = Vec::new();
        for (at, _, notice) in left {
            let owner = self.owner(&notice.app, &notice.channel);
            if owner == self.me() { mine.push(notice) } else { notices.untold.push_back((at, owner, notice)) }
        }
        mine
    }

    /// The node whose task the notices of a channel are: with each, the channel's name draws a lot, and the highest wins.
    /// So a node that comes or goes changes that for its own part of the channels alone.
    fn owner(&self, app: &AppKey, channel: &ChannelName) -> NodeId {
        let members = self.members.load();
        let lot = |node: &NodeId| {
            let lot = Sha256::new()
                .chain_update(node.0.to_be_bytes())
                .chain_update(app.as_str())
                .chain_update([0])
                .chain_update(channel.as_str());
            lot.finalize()
        };
        members.iter().copied().max_by_key(lot).unwrap_or(self.me())
    }
}

impl Notices {
    fn remember(&mut self, name: Named, owner: NodeId, notice: Notice, now: Millis) {
        if let Some(place) = self.ahead.iter().position(|(_, told)| *told == name) {
            self.ahead.remove(place);
        } else {
            self.untold.push_back((now, owner, notice));
        }
        self.forget(now);
    }

    fn forget(&mut self, now: Millis) {
        let is_old = |at: Millis| at + UNTOLD_MS < now;
        while self.untold.len() > UNTOLD_MAX || self.untold.front().is_some_and(|(at, ..)| is_old(*at)) {
            self.untold.pop_front();
        }
        while self.ahead.len() > UNTOLD_MAX || self.ahead.front().is_some_and(|(at, _)| is_old(*at)) {
            self.ahead.pop_front();
        }
    }
}

/// What names a notice to every node, if it is one that must be told once. A count is soon followed by another.
fn named(notice: &Notice) -> Option<Named> {
    let user = match &notice.event {
        NoticeEvent::ChannelOccupied | NoticeEvent::ChannelVacated | NoticeEvent::CacheMiss => None,
        NoticeEvent::MemberAdded(user) | NoticeEvent::MemberRemoved(user) => Some(user.clone()),
        NoticeEvent::ClientEvent { .. } | NoticeEvent::SubscriptionCount(_) => return None,
    };
    Some((notice.app.clone(), notice.channel.clone(), notice.event.kind(), user))
}

/// A name as one word of a subject, whatever it consists of.
fn word(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

/// Nothing that can panic runs under these locks.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

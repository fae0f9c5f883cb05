//! The other nodes, and what each of them holds, as it told it. Knows neither the bus nor what follows from a change.
//!
//! Always: what is in a peer's table was told by that peer alone, each share whole; changes are taken in the order of
//! their numbers, and where one is missing the peer is asked for all it holds, and its tale begins anew.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::agenda::Millis;
use crate::model::{AppHoldings, AppKey, AppNumber, Item, NodeId, Share, Told};

/// How long an answer may leave the asker waiting for its next page, in milliseconds.
const PAGE_WITHIN_MS: Millis = 1_000;

/// Changes that may wait for the end of an answer; one more, and it is asked for again.
const LATER_MAX: usize = 4_096;

/// What one node holds in one app.
#[derive(Debug, Default)]
pub struct Table {
    /// The registration of the app that this was counted into.
    pub counted_into: Option<AppNumber>,
    /// Each share above nothing.
    pub shares: HashMap<Item, Share>,
}

/// A question that is not answered to the end.
#[derive(Debug)]
struct Asked {
    token: u64,
    since: Millis,
    next_page: u32,
    /// What was held before the answer began and was not named in it yet.
    unnamed: HashSet<(AppKey, Item)>,
    /// What it has still to tell webhooks, as far as the answer has come.
    owed: Vec<Told>,
    /// Changes that came meanwhile, in order.
    later: Vec<(u64, Vec<AppHoldings>)>,
    /// What it told webhooks meanwhile, and by which change it said so.
    told: Vec<(u64, Told)>,
}

#[derive(Debug)]
struct Peer {
    heard: Millis,
    /// The last change that was taken; none before its tale was heard once.
    taken: Option<u64>,
    asked: Option<Asked>,
    /// It knows what the others hold, and serves.
    is_ready: bool,
    epoch: u64,
    /// The epoch of this node that it has acknowledged.
    acknowledges: Option<u64>,
    tables: HashMap<AppKey, Table>,
}

/// What is to be done after something was heard of a peer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The shares that are to be counted, whole: those of an answer.
    pub answered: Vec<AppHoldings>,
    /// The answer has come to its end: whether the peer shares the notices, and all that is still to be told to webhooks.
    pub owed: Option<(bool, Vec<Told>)>,
    /// The shares that have changed since.
    pub apps: Vec<AppHoldings>,
    /// What is to be asked of it, with this token.
    pub ask: Option<u64>,
}

impl Heard {
    fn ask(token: u64) -> Self {
        Self { ask: Some(token), ..Self::default() }
    }
}

/// A part of an answer.
#[derive(Debug)]
pub struct Page {
    /// The question.
    pub token: u64,
    /// The last change told before the answer began.
    pub number: u64,
    /// Counted from 0.
    pub index: u32,
    /// It is the last.
    pub is_last: bool,
    /// The shares, whole.
    pub apps: Vec<AppHoldings>,
    /// The peer shares the notices with others.
    pub is_settled: bool,
    /// What it has still to tell webhooks.
    pub owed: Vec<Told>,
}

/// A sign of life, and what it says.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    /// The last change that the peer has told.
    pub number: u64,
    /// It knows what the others hold, and serves.
    pub is_ready: bool,
    /// The number of times that it became a member.
    pub epoch: u64,
    /// The epoch of this node that it has acknowledged.
    pub acknowledges: Option<u64>,
}

/// All other nodes that live.
#[derive(Debug, Default)]
pub struct Peers {
    known: BTreeMap<NodeId, Peer>,
    /// Nodes that others know and that were not heard of yet, and how long they are waited for.
    expected: BTreeMap<NodeId, Millis>,
    next_token: u64,
}

impl Peers {
    /// A sign of life. Who is new is asked for all it holds.
    pub fn hear(&mut self, node: NodeId, now: Millis) -> Heard {
        self.expected.remove(&node);
        if let Some(peer) = self.known.get_mut(&node) {
            peer.heard = now;
            return Heard::default();
        }
        let peer = Peer {
            heard: now,
            taken: None,
            asked: None,
            is_ready: false,
            epoch: 0,
            acknowledges: None,
            tables: HashMap::default(),
        };
        self.known.insert(node, peer);
        self.ask(node, now)
    }

    /// A peer says how it is. Where this node has missed a change, it is asked for all it holds.
    pub fn beat(&mut self, node: NodeId, pulse: Pulse, now: Millis) -> Heard {
        let Some(peer) = self.known.get_mut(&node) else { return Heard::default() };
        (peer.is_ready, peer.epoch, peer.acknowledges) = (pulse.is_ready, pulse.epoch, pulse.acknowledges);
        if peer.asked.is_none() && peer.taken != Some(pulse.number) {
            self.ask(node, now)
        } else {
            Heard::default()
        }
    }

    /// A peer has told a change.
    pub fn changed(
        &mut self,
        node: NodeId,
        number: u64,
        (apps, told): (Vec<AppHoldings>, Vec<Told>),
        now: Millis,
    ) -> Heard {
        let Some(peer) = self.known.get_mut(&node) else { return Heard::default() };
        match &mut peer.asked {
            Some(asked) if asked.later.len() < LATER_MAX => {
                asked.later.push((number, apps));
                asked.told.extend(told.into_iter().map(|told| (number, told)));
            }
            None if peer.taken.is_some_and(|taken| taken + 1 == number) => {
                peer.taken = Some(number);
                return Heard { apps, ..Heard::default() };
            }
            _ => return self.ask(node, now),
        }
        Heard::default()
    }

    /// A peer has answered a part of what it was asked.
    pub fn page(&mut self, node: NodeId, page: Page, now: Millis) -> Heard {
        let Some(peer) = self.known.get_mut(&node) else { return Heard::default() };
        let Some(asked) = peer.asked.as_mut().filter(|asked| asked.token == page.token) else {
            return Heard::default();
        };
        if asked.next_page != page.index {
            return self.ask(node, now);
        }
        asked.next_page += 1;
        asked.since = now;
        for told in &page.apps {
            told.holdings.iter().for_each(|holding| {
                asked.unnamed.remove(&(told.app.clone(), holding.item.clone()));
            });
        }
        asked.owed.extend(page.owed);
        let mut heard = Heard { answered: page.apps, ..Heard::default() };
        let Some(mut asked) = peer.asked.take_if(|_| page.is_last) else { return heard };
        // What it told since then it does not owe any more.
        let told_since = |owed: &Told| {
            asked.told.iter().any(|(number, told)| *number > page.number && told.is_about(owed))
        };
        asked.owed.retain(|owed| !told_since(owed));
        heard.owed = Some((page.is_settled, asked.owed));
        heard.answered.extend(asked.unnamed.into_iter().map(|(app, item)| AppHoldings {
            app,
            holdings: vec![crate::model::Holding::new(item, Share::default())],
        }));
        let mut taken = page.number;
        for (number, later) in asked.later.into_iter().filter(|(number, _)| *number > page.number) {
            if number != taken + 1 {
                // What was taken so far holds; what is missing is asked for.
                peer.taken = Some(taken);
                return Heard { ask: self.ask(node, now).ask, ..heard };
            }
            taken = number;
            heard.apps.extend(later);
        }
        peer.taken = Some(taken);
        heard
    }

    /// Others know these nodes; they are waited for until `until`.
    pub fn expect(&mut self, nodes: impl IntoIterator<Item = NodeId>, until: Millis) {
        for node in nodes.into_iter().filter(|node| !self.known.contains_key(node)) {
            self.expected.entry(node).or_insert(until);
        }
    }

    /// The questions to be put again, as their answers do not come.
    pub fn overdue(&mut self, now: Millis) -> Vec<(NodeId, u64)> {
        let waits =
            |peer: &Peer| peer.asked.as_ref().is_some_and(|asked| asked.since + PAGE_WITHIN_MS <= now);
        let overdue: Vec<_> =
            self.known.iter().filter(|(_, peer)| waits(peer)).map(|(node, _)| *node).collect();
        overdue.into_iter().filter_map(|node| Some((node, self.ask(node, now).ask?))).collect()
    }

    /// The peers of which nothing was heard since `since`.
    pub fn silent(&self, since: Millis) -> Vec<NodeId> {
        self.known.iter().filter(|(_, peer)| peer.heard < since).map(|(node, _)| *node).collect()
    }

    /// Nobody counts as silent before something could be heard: as if all had been heard of at `now`.
    pub fn excuse(&mut self, now: Millis) {
        self.known.values_mut().for_each(|peer| peer.heard = now);
        self.expected.clear();
    }

    /// Whether all that is known of is known to the end.
    pub fn is_complete(&mut self, now: Millis) -> bool {
        self.expected.retain(|_, until| now < *until);
        self.expected.is_empty() && self.known.values().all(|peer| peer.taken.is_some())
    }

    /// All peers.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.known.keys().copied().collect()
    }

    /// The peers that serve, and their epochs.
    pub fn ready(&self) -> impl Iterator<Item = (NodeId, u64)> {
        self.known.iter().filter(|(_, peer)| peer.is_ready).map(|(node, peer)| (*node, peer.epoch))
    }

    /// Whether all that are known of have acknowledged this epoch of this node, and what they hold is known.
    pub fn all_acknowledge(&self, epoch: u64, now: Millis) -> bool {
        self.expected.values().all(|until| *until <= now)
            && self
                .known
                .values()
                .all(|peer| peer.acknowledges == Some(epoch) && peer.taken.is_some() && peer.asked.is_none())
    }

    /// What a peer holds in an app, to be changed.
    pub fn table(&mut self, node: NodeId, app: &AppKey) -> Option<&mut Table> {
        Some(self.known.get_mut(&node)?.tables.entry(app.clone()).or_default())
    }

    /// Forgets what is known of apps in which a peer holds nothing.
    pub fn forget_empty(&mut self) {
        self.known.values_mut().for_each(|peer| peer.tables.retain(|_, table| !table.shares.is_empty()));
    }

    /// The apps of which peers hold something; one that several hold, several times.
    pub fn apps(&self) -> Vec<AppKey> {
        let tables = self.known.values().flat_map(|peer| &peer.tables);
        tables.filter(|(_, table)| !table.shares.is_empty()).map(|(app, _)| app.clone()).collect()
    }

    /// A peer is gone: what it held.
    pub fn remove(&mut self, node: NodeId) -> HashMap<AppKey, Table> {
        self.expected.remove(&node);
        self.known.remove(&node).map(|peer| peer.tables).unwrap_or_default()
    }

    fn ask(&mut self, node: NodeId, now: Millis) -> Heard {
        self.next_token += 1;
        let token = self.next_token;
        if let Some(peer) = self.known.get_mut(&node) {
            let held = peer
                .tables
                .iter()
                .flat_map(|(app, table)| table.shares.keys().map(|item| (app.clone(), item.clone())));
            let unnamed = held.collect();
            peer.asked = Some(Asked {
                token,
                since: now,
                next_page: 0,
                unnamed,
                owed: Vec::new(),
                later: Vec::new(),
                told: Vec::new(),
            });
        }
        Heard::ask(token)
    }
}

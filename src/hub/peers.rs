//! The other nodes, and what each of them holds, as it told it. Knows neither the bus nor what follows from a change.
//!
//! Always: what is in a peer's table was told by that peer alone, each share whole; changes are taken in the order of
//! their numbers, and where one is missing the peer is asked for all it holds, and its tale begins anew.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::agenda::Millis;
use super::asked::{Asked, Ended, Page, Question};
use super::inherited::Standing;
use crate::model::{AppHoldings, AppKey, AppNumber, Item, NodeId, Share, Told};

/// So many nodes that were outlived are kept in mind; what died long ago hardly returns.
const OUTLIVED_MAX: usize = 64;

/// So many nodes that took leave are kept in mind; what is late by more than they last is not seen.
const PARTED_MAX: usize = 64;

/// What one node holds in one app.
#[derive(Debug, Default)]
pub struct Table {
    /// The registration of the app that this was counted into.
    pub counted_into: Option<AppNumber>,
    /// Each share above nothing.
    pub shares: HashMap<Item, Share>,
}

#[derive(Debug)]
struct Peer {
    heard: Millis,
    /// The last change that was taken; none before its tale was heard once.
    taken: Option<u64>,
    asked: Option<Asked>,
    /// It knows what the others hold, and serves.
    is_ready: bool,
    /// It tells webhooks what is its task.
    is_settled: bool,
    epoch: u64,
    /// The others that it knows of.
    knows: Vec<NodeId>,
    /// The epoch of this node that it has acknowledged.
    acknowledges: Option<u64>,
    /// The same when it was asked what was answered last.
    answered: Option<u64>,
    /// The last change of each other node that it had taken in by then.
    tales: HashMap<NodeId, u64>,
    /// How it stood to this one by then.
    rank: Rank,
    /// The last change that was in what it answered when it was asked for all it holds.
    tale: u64,
    tables: HashMap<AppKey, Table>,
}

impl Peer {
    /// Whether it knows better than this node, which is no member, what webhooks were told.
    fn knows_better(&self) -> bool {
        self.is_settled || self.rank == Rank::Above
    }
}

/// Who of a peer and this node, which is no member, knows what webhooks were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rank {
    /// The peer: it is a member, or outlived this node.
    Above,
    /// Neither knows it better.
    #[default]
    Equal,
    /// This node: it outlived the peer, and nobody is a member.
    Below,
}

/// What is to be done after something was heard of a peer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The shares that are to be counted, whole: those of an answer.
    pub answered: Vec<AppHoldings>,
    /// How who answered stands to this node. If above, webhooks know of these, but for what it says is still to be told.
    pub rank: Rank,
    /// The answer has come to its end: how the peer stands, and all that is still to be told to webhooks.
    pub owed: Option<(Standing, Vec<Told>)>,
    /// The shares that have changed since.
    pub apps: Vec<AppHoldings>,
    /// What is to be asked of it.
    pub ask: Option<Question>,
    /// It is to be told that so many pages of the answer with that token are there.
    pub receipt: Option<(u64, u32)>,
}

/// A sign of life, and what it says.
#[derive(Clone, Copy, Debug)]
pub struct Pulse {
    /// The last change that the peer has told.
    pub number: u64,
    /// It knows what the others hold, and serves.
    pub is_ready: bool,
    /// It tells webhooks what is its task.
    pub is_settled: bool,
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
    /// Those that this node took for dead while it was a member, or those did from which it knows what webhooks were told, the
    /// last ones: webhooks were told so, and they do not know.
    outlived: VecDeque<NodeId>,
    /// Those that took leave, the last ones: what comes of them later is late.
    parted: VecDeque<NodeId>,
    next_token: u64,
}

impl Peers {
    /// A node takes leave. A process that starts anew is another node.
    pub fn part(&mut self, node: NodeId) {
        if !self.has_parted(node) {
            self.parted.push_back(node);
            self.parted.drain(..self.parted.len().saturating_sub(PARTED_MAX));
        }
        self.expected.remove(&node);
    }

    /// Whether a node took leave.
    pub fn has_parted(&self, node: NodeId) -> bool {
        self.parted.contains(&node)
    }

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
            is_settled: false,
            epoch: 0,
            knows: Vec::new(),
            acknowledges: None,
            answered: None,
            tales: HashMap::new(),
            rank: Rank::Equal,
            tale: 0,
            tables: HashMap::default(),
        };
        self.known.insert(node, peer);
        self.ask(node, now)
    }

    /// A peer says how it is. Where this node has missed a change, it is asked for all it holds.
    pub fn beat(&mut self, node: NodeId, pulse: Pulse, now: Millis) -> Heard {
        let Some(peer) = self.known.get_mut(&node) else { return Heard::default() };
        if pulse.epoch < peer.epoch || peer.taken > Some(pulse.number) {
            // It comes late, over a connection that broke.
            return Heard::default();
        }
        (peer.is_ready, peer.is_settled) = (pulse.is_ready, pulse.is_settled);
        if peer.is_settled {
            self.outlived.retain(|outlived| *outlived != node);
        }
        peer.epoch = pulse.epoch;
        if std::mem::replace(&mut peer.acknowledges, pulse.acknowledges) != pulse.acknowledges {
            peer.answered = None;
            peer.asked.iter_mut().for_each(|asked| asked.acknowledged = None);
        }
        if peer.asked.is_none() && peer.taken != Some(pulse.number) {
            self.ask(node, now)
        } else {
            Heard::default()
        }
    }

    /// A peer has told a change: shares, and what it told webhooks.
    pub fn changed(
        &mut self,
        node: NodeId,
        number: u64,
        (apps, told): (Vec<AppHoldings>, Vec<Told>),
        now: Millis,
    ) -> Heard {
        let Some(peer) = self.known.get_mut(&node) else { return Heard::default() };
        peer.asked.iter_mut().for_each(|asked| asked.hear_told(number, told.clone()));
        match &mut peer.asked {
            Some(asked) if !asked.question.owed_only => match asked.put_off(number, apps) {
                true => Heard::default(),
                false => self.ask(node, now),
            },
            // It comes late, and what it says was in an answer.
            _ if peer.taken.is_some_and(|taken| number <= taken) => Heard::default(),
            _ if peer.taken.is_some_and(|taken| taken + 1 == number) => {
                peer.taken = Some(number);
                Heard { apps, ..Heard::default() }
            }
            _ => self.ask(node, now),
        }
    }

    /// A peer has answered a part of what this node, `me`, asked it.
    pub fn page(&mut self, node: NodeId, me: NodeId, mut page: Page, now: Millis) -> Heard {
        let rank = self.rank(node, me, &page);
        let Some(peer) = self.known.get_mut(&node) else { return Heard::default() };
        let Some(asked) = peer.asked.as_mut().filter(|asked| asked.question.token == page.token) else {
            return Heard::default();
        };
        if !asked.take_in(&mut page, now) {
            return self.ask(node, now);
        }
        let receipt = (!page.is_last).then(|| (page.token, asked.pages()));
        let mut heard = Heard { answered: page.apps, rank, receipt, ..Heard::default() };
        let Some(asked) = peer.asked.take_if(|_| page.is_last) else { return heard };
        peer.rank = rank;
        // Who knows better must know all, or it is asked again.
        peer.answered = asked.acknowledged.filter(|_| rank != Rank::Above || asked.is_met(&page.tales));
        peer.tales = page.tales.into_iter().collect();
        let owed_only = asked.question.owed_only;
        let Ended { gone, owed, later } = asked.end(page.number);
        heard.answered.extend(gone);
        let standing = Standing { is_settled: page.is_settled, outlived: page.outlived };
        heard.owed = Some((standing, owed));
        if owed_only {
            return heard;
        }
        peer.tale = page.number;
        let mut taken = page.number;
        for (number, apps) in later.into_iter().filter(|(number, _)| *number > page.number) {
            if number != taken + 1 {
                // What was taken so far holds; what is missing is asked for.
                peer.taken = Some(taken);
                return Heard { ask: self.ask(node, now).ask, ..heard };
            }
            taken = number;
            heard.apps.extend(apps);
        }
        peer.taken = Some(taken);
        heard
    }

    fn rank(&self, node: NodeId, me: NodeId, page: &Page) -> Rank {
        match (page.outlived.contains(&me), self.outlived.contains(&node)) {
            _ if page.is_settled => Rank::Above,
            (true, false) => Rank::Above,
            (false, true) if !self.any_settled() => Rank::Below,
            _ => Rank::Equal,
        }
    }

    /// This node is a member and takes these for dead, or learned what webhooks were told from one that did.
    pub fn outlive(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        for node in nodes {
            self.outlived.retain(|outlived| *outlived != node);
            self.outlived.push_back(node);
        }
        let surplus = self.outlived.len().saturating_sub(OUTLIVED_MAX);
        self.outlived.drain(..surplus);
    }

    /// The nodes that this one outlived.
    pub fn outlived(&self) -> Vec<NodeId> {
        self.outlived.iter().copied().collect()
    }

    /// A peer knows these nodes; they are waited for until `until`.
    pub fn expect(&mut self, peer: NodeId, nodes: Vec<NodeId>, until: Millis) {
        let is_awaited = |node: &&NodeId| !self.known.contains_key(node) && !self.parted.contains(node);
        for node in nodes.iter().filter(is_awaited) {
            self.expected.entry(*node).or_insert(until);
        }
        if let Some(peer) = self.known.get_mut(&peer) {
            peer.knows = nodes;
        }
    }

    /// The questions to be put again, as their answers do not come.
    pub fn overdue(&mut self, now: Millis) -> Vec<(NodeId, Question)> {
        let waits = |peer: &Peer| peer.asked.as_ref().is_some_and(|asked| asked.is_overdue(now));
        let overdue: Vec<_> =
            self.known.iter().filter(|(_, peer)| waits(peer)).map(|(node, _)| *node).collect();
        overdue.into_iter().filter_map(|node| Some((node, self.ask_again(node, now)?))).collect()
    }

    /// What was asked is asked again, for all that is held, and waited for longer.
    fn ask_again(&mut self, node: NodeId, now: Millis) -> Option<Question> {
        let former = self.known.get(&node)?.asked.as_ref()?.patience();
        let question = self.ask(node, now).ask;
        self.known.get_mut(&node)?.asked.as_mut()?.wait_longer_than(former);
        question
    }

    /// Whether those who know better what webhooks were told, of whom there are some, know nothing of that node any more.
    pub fn is_buried_by_all(&self, node: NodeId) -> bool {
        let others = self.known.iter().filter(|(other, peer)| **other != node && peer.knows_better());
        let mut knows = others.map(|(_, peer)| peer.knows.contains(&node)).peekable();
        knows.peek().is_some() && knows.all(|knows| !knows)
    }

    /// All are to be asked again what is still to be told.
    pub fn forget_answers(&mut self) {
        for peer in self.known.values_mut() {
            peer.answered = None;
            peer.asked.iter_mut().for_each(|asked| asked.acknowledged = None);
        }
    }

    /// What is to be asked of those that have acknowledged this epoch of this node and said nothing since of what is still to
    /// be told: now they know what this node holds, and tell nothing more that is its task. Those that know better what webhooks
    /// were told are asked until they have heard what this node has of the others, and the last change that it told itself (`me`).
    pub fn unanswered(&mut self, epoch: u64, me: (NodeId, u64), now: Millis) -> Vec<(NodeId, Question)> {
        let waits = |node: NodeId, peer: &Peer| {
            peer.acknowledges == Some(epoch) && peer.asked.is_none() && !self.has_answered(node, peer, epoch)
        };
        let silent: Vec<_> =
            self.known.iter().filter(|(node, peer)| waits(**node, peer)).map(|(node, _)| *node).collect();
        let mut tales = self.tales();
        tales.push(me);
        let question = |node| Some((node, self.put(node, Some(&tales), now).ask?));
        silent.into_iter().filter_map(question).collect()
    }

    /// The peers of which nothing was heard since `since`.
    pub fn silent(&self, since: Millis) -> Vec<NodeId> {
        self.known.iter().filter(|(_, peer)| peer.heard < since).map(|(node, _)| *node).collect()
    }

    /// This node could hear nothing for so long, up to `now`: that counts as nobody's silence. Nor does anybody count as a member
    /// before it says so again: it may be dead.
    pub fn excuse(&mut self, deaf_for: Millis, now: Millis) {
        for peer in self.known.values_mut() {
            peer.heard = peer.heard.saturating_add(deaf_for).min(now);
            (peer.is_settled, peer.rank) = (false, Rank::Equal);
        }
        self.expected.clear();
    }

    /// Whether all that is known of is known to the end.
    pub fn is_complete(&mut self, now: Millis) -> bool {
        self.expected.retain(|_, until| now < *until);
        !self.expects_any(now) && self.known.values().all(|peer| peer.taken.is_some())
    }

    /// Forgets the nodes that no peer knows any more and that were never there for this one. Whether there were any.
    pub fn forget_gone(&mut self) -> bool {
        let (before, known) = (self.expected.len(), &self.known);
        self.expected.retain(|node, _| known.values().any(|peer| peer.knows.contains(node)));
        self.expected.len() < before
    }

    /// Whether there are nodes to be waited for: those that a peer still knows.
    fn expects_any(&self, now: Millis) -> bool {
        let is_known = |node| self.known.values().any(|peer| peer.knows.contains(node));
        self.expected.iter().any(|(node, until)| now < *until && is_known(node))
    }

    /// All peers.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.known.keys().copied().collect()
    }

    /// The peers that serve and of which it is known what they hold, and their epochs.
    pub fn ready(&self) -> impl Iterator<Item = (NodeId, u64)> {
        let is_known = |peer: &Peer| peer.is_ready && peer.taken.is_some();
        self.known.iter().filter(move |(_, peer)| is_known(peer)).map(|(node, peer)| (*node, peer.epoch))
    }

    /// Whether any of them serves.
    pub fn any_ready(&self) -> bool {
        self.known.values().any(|peer| peer.is_ready)
    }

    /// Whether any of them knows what webhooks were told.
    pub fn any_settled(&self) -> bool {
        self.known.values().any(|peer| peer.is_settled)
    }

    /// Whether all that are known of have acknowledged this epoch of this node, and since then answered what is
    /// still to be told.
    pub fn all_acknowledge(&self, epoch: u64, now: Millis) -> bool {
        !self.expects_any(now)
            && self
                .known
                .iter()
                .all(|(node, peer)| peer.asked.is_none() && self.has_answered(*node, peer, epoch))
    }

    /// Whether a peer has said what is still to be told since it acknowledged this epoch of this node; if it knows better,
    /// with all in mind that is known here of the others.
    fn has_answered(&self, node: NodeId, peer: &Peer, epoch: u64) -> bool {
        let has_heard = |other: NodeId, tale| peer.tales.get(&other).is_some_and(|taken| *taken >= tale);
        let others = || self.known.iter().filter(|(other, _)| **other != node);
        let knows_all =
            || others().all(|(other, known)| known.taken.is_none() || has_heard(*other, known.tale));
        peer.answered == Some(epoch) && peer.taken.is_some() && (!peer.knows_better() || knows_all())
    }

    /// The last change that was taken of each peer.
    pub fn tales(&self) -> Vec<(NodeId, u64)> {
        self.known.iter().filter_map(|(node, peer)| Some((*node, peer.taken?))).collect()
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
        self.put(node, None, now)
    }

    /// Asks a peer for all it holds; or, with all these changes in mind, for what is still to be told to webhooks alone.
    fn put(&mut self, node: NodeId, tales: Option<&[(NodeId, u64)]>, now: Millis) -> Heard {
        self.next_token += 1;
        let owed_only = tales.is_some();
        let question = Question { token: self.next_token, owed_only, is_paced: true };
        let tales = tales.into_iter().flatten().filter(|(of, _)| *of != node).copied().collect();
        if let Some(peer) = self.known.get_mut(&node) {
            let held = peer
                .tables
                .iter()
                .filter(|_| !owed_only)
                .flat_map(|(app, table)| table.shares.keys().map(|item| (app.clone(), item.clone())));
            peer.asked = Some(Asked::new(question, peer.acknowledges, tales, held.collect(), now));
        }
        Heard { ask: Some(question), ..Heard::default() }
    }
}

//! What a node tells the others and learns from them. What it learns of their sockets it counts beside its own, and tells
//! its own sockets what follows from that, as if the others' sockets were its own.
//!
//! Always: the order of locks is peers, then a directory, then the rest of the link.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::agenda::Millis;
use super::channels::Turn;
use super::directory::Directory;
use super::link::lock;
use super::peers::{Heard, Page, Peers};
use super::publish::matching;
use super::{Hub, Link, LiveApp, WhenDown};
use crate::bus::{BusEvent, NotSent, wire};
use crate::model::{
    AppHoldings, AppKey, Audience, Content, Fact, Holding, Item, Kept, KeptEvent, Member, NodeId, NoticeKind,
    Pattern, Push, Recipients, Refusal, Relay, Share, Told,
};

/// How often a node shows that it lives, in milliseconds.
const BEAT_EVERY_MS: Millis = 1_000;

/// A node of which nothing was heard for so long is dead, in milliseconds.
const SILENCE_MAX_MS: Millis = 3_000;

/// How long a node listens who there is before it takes itself for one that knows everybody, in milliseconds.
const LISTEN_MS: Millis = 500;

/// How many holdings fit into one fact.
const HOLDINGS_MAX: usize = 1_000;

/// How long changes are gathered before they are told.
pub const GATHER: Duration = Duration::from_millis(5);

/// What of the store other nodes may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stale {
    /// This app.
    App(AppKey),
    /// Any: nobody could be heard for a while.
    AnyApp,
}

impl Hub {
    /// Whether this node knows what the others hold, and hears of each change; always, when there are none.
    pub fn is_joined(&self) -> bool {
        self.link.as_ref().is_none_or(Link::is_ready)
    }

    /// What operators call the bus, if there is one.
    pub fn bus_name(&self) -> Option<&'static str> {
        self.link.as_ref().map(Link::bus_name)
    }

    /// Something happened on the bus. Returns what is to be read again from the store.
    pub fn hear(&self, event: &BusEvent) -> Option<Stale> {
        let link = self.link.as_ref()?;
        match event {
            BusEvent::Up => {
                self.come_up(link);
                return Some(Stale::AnyApp);
            }
            BusEvent::Down => {
                link.set_up(None);
                tracing::warn!("the bus is down");
            }
            BusEvent::Lost(frames) => {
                self.metrics.facts_lost.add(*frames);
                tracing::warn!(frames, "messages of other nodes were lost: this node was too slow");
            }
            BusEvent::Frame(frame) => match wire::decode(frame) {
                Ok((sender, _)) if sender == link.me() => {}
                Ok((sender, fact)) => return self.learn(link, sender, fact),
                Err(_) => self.metrics.facts_skipped.add(1),
            },
        }
        None
    }

    /// Whether the shards can take more. While they cannot, whoever calls [`Hub::hear`] should wait: what other nodes
    /// accepted is not dropped here.
    pub fn has_room(&self) -> bool {
        self.check_mailboxes().is_ok()
    }

    /// Tells the others what has changed here since this was last called.
    pub fn tell_changes(&self) {
        let Some(link) = &self.link else { return };
        let mut number = lock(&link.number);
        let changed = link.take_changed().into_iter().map(|app| {
            let mut directory = app.directory();
            let items = std::mem::take(&mut directory.changed);
            (app.app.key.clone(), holdings(&directory, items))
        });
        for apps in pages(changed.collect()) {
            *number += 1;
            // A change that does not get through is missed, and asked for.
            let _ = link.send(&link.everybody(), &Fact::Changed { number: *number, apps });
        }
        let told = link.take_told();
        if !told.is_empty() {
            let _ = link.send(&link.everybody(), &Fact::Told(told));
        }
    }

    /// Takes leave of the others: this node holds nothing any more.
    pub(super) fn say_bye(&self) {
        self.tell_changes();
        if let Some(link) = &self.link {
            let _ = link.send(&link.everybody(), &Fact::Bye);
        }
    }

    /// Lets what was said go out. The last that is done.
    pub async fn close(&self) {
        if let Some(link) = &self.link {
            link.close().await;
        }
    }

    /// Something of this node's share has changed.
    pub(super) fn mark(&self, app: &Arc<LiveApp>, directory: &mut Directory, item: impl FnOnce() -> Item) {
        let Some(link) = &self.link else { return };
        if directory.changed.is_empty() {
            link.note_changed(app);
            self.changes.notify_one();
        }
        directory.changed.insert(item());
    }

    /// Sends to the other nodes what is published here. Called while the app's directory is held, before anybody here
    /// gets it.
    pub(super) fn relay(&self, relay: impl FnOnce() -> Relay) -> Result<(), Refusal> {
        let Some(link) = &self.link else { return Ok(()) };
        let relay = relay();
        let subject = match &relay.to {
            // Every node keeps the last event, so that whoever comes first anywhere is told.
            Recipients::Channel(channel) if channel.is_cached() => link.everybody(),
            Recipients::Channel(channel) => link.channel(&relay.app, channel),
            _ => link.app(&relay.app),
        };
        self.tell(link, &subject, &Fact::Relay(relay))
    }

    /// Sends a fact to the other nodes that follow the subject.
    pub(super) fn tell(&self, link: &Link, subject: &str, fact: &Fact) -> Result<(), Refusal> {
        match link.send(subject, fact) {
            Err(NotSent::Down) if link.when_down() == WhenDown::Local => {
                self.metrics.facts_unsent.add(1);
                Ok(())
            }
            Err(NotSent::Down) => Err(Refusal::BusDown),
            Err(NotSent::Full) => Err(Refusal::Overloaded),
            Err(NotSent::TooLarge) => Err(Refusal::BodyTooLarge),
            Ok(()) => Ok(()),
        }
    }

    /// An app was registered, changed or removed on this node: the others read it again.
    pub(super) fn announce(&self, app: &AppKey) {
        if let Some(link) = &self.link {
            let _ = link.send(&link.everybody(), &Fact::AppChanged(app.clone()));
        }
    }

    /// An app is known now: what other nodes hold of it counts.
    pub(super) fn adopt(&self, app: &AppKey) {
        let Some(link) = &self.link else { return };
        let mut peers = lock(&link.peers);
        for node in peers.nodes() {
            self.count(&mut peers, node, AppHoldings { app: app.clone(), holdings: Vec::new() });
        }
    }

    /// Shows that this node lives, and looks who of the others does.
    pub(super) fn tick_link(&self, last: Millis) {
        let Some(link) = &self.link else { return };
        let now = self.agenda.now();
        let mut peers = lock(&link.peers);
        let Some(up_since) = link.up_since() else { return };
        // Whoever stood still heard nothing, whether there was something to hear or not.
        if now - last > BEAT_EVERY_MS {
            peers.excuse(now);
        }
        if now / BEAT_EVERY_MS != last / BEAT_EVERY_MS {
            self.beat(link, &peers);
        }
        for (node, token) in peers.overdue(now) {
            let _ = link.send(&link.only(node), &Fact::Ask { token });
        }
        for node in peers.silent(now.saturating_sub(SILENCE_MAX_MS)) {
            tracing::warn!(%node, "nothing is heard of a node any more");
            self.bury(link, &mut peers, node);
        }
        if !link.is_ready() && now >= up_since + LISTEN_MS && peers.is_complete(now) {
            link.set_ready();
            self.beat(link, &peers);
            tracing::info!(nodes = peers.nodes().len() + 1, "joined the other nodes");
        }
        self.share_tasks(link, &peers);
    }

    fn come_up(&self, link: &Link) {
        let now = self.agenda.now();
        let mut peers = lock(&link.peers);
        peers.excuse(now);
        link.follow(&link.everybody());
        link.follow(&link.only(link.me()));
        link.set_up(Some(now));
        let _ = link.send(&link.everybody(), &Fact::Hello);
        self.beat(link, &peers);
        tracing::info!("the bus is up");
    }

    fn beat(&self, link: &Link, peers: &Peers) {
        let number = *lock(&link.number);
        let beat = Fact::Beat { number, is_ready: link.is_ready(), peers: peers.nodes() };
        let _ = link.send(&link.everybody(), &beat);
    }

    /// The nodes that serve share the notices among them.
    fn share_tasks(&self, link: &Link, peers: &Peers) {
        let me = link.is_ready().then(|| link.me());
        let mut members: Vec<NodeId> = peers.ready().chain(me).collect();
        members.sort_unstable();
        link.set_members(members);
    }

    fn learn(&self, link: &Link, sender: NodeId, fact: Fact) -> Option<Stale> {
        let now = self.agenda.now();
        match fact {
            Fact::Relay(relay) => self.deliver(link, relay, sender),
            Fact::Kept(kept) => self.learn_kept(kept, sender),
            Fact::AppChanged(app) => return Some(Stale::App(app)),
            Fact::Told(told) => self.learn_told(link, told),
            Fact::Terminate(app, user) => {
                if let Ok(app) = self.apps.find(app.as_str()) {
                    self.close_user(&app, &user);
                }
            }
            Fact::Permit(app, user, change) => {
                if let Ok(app) = self.apps.find(app.as_str()) {
                    self.post_permit(&app, &user, change);
                }
            }
            Fact::Ask { token } => self.answer(link, sender, token),
            Fact::Bye => {
                let mut peers = lock(&link.peers);
                self.bury(link, &mut peers, sender);
            }
            Fact::Hello | Fact::Beat { .. } | Fact::Changed { .. } | Fact::Page { .. } => {
                let mut peers = lock(&link.peers);
                let met = peers.hear(sender, now);
                let heard = self.hear_peer(link, &mut peers, sender, fact);
                for told in heard.apps {
                    self.count(&mut peers, sender, told);
                }
                if let Some(token) = heard.ask.or(met.ask) {
                    let _ = link.send(&link.only(sender), &Fact::Ask { token });
                }
            }
        }
        None
    }

    fn hear_peer(&self, link: &Link, peers: &mut Peers, sender: NodeId, fact: Fact) -> Heard {
        let now = self.agenda.now();
        match fact {
            Fact::Hello => {
                self.beat(link, peers);
                Heard::default()
            }
            Fact::Beat { number, is_ready, peers: known } => {
                let others = known.into_iter().filter(|node| *node != link.me());
                peers.expect(others, now + SILENCE_MAX_MS);
                let heard = peers.beat(sender, number, is_ready, now);
                self.share_tasks(link, peers);
                heard
            }
            Fact::Changed { number, apps } => peers.changed(sender, number, apps, now),
            Fact::Page { token, number, index, is_last, apps } => {
                peers.page(sender, Page { token, number, index, is_last, apps }, now)
            }
            _ => Heard::default(),
        }
    }

    /// Tells a node all that this one holds.
    fn answer(&self, link: &Link, node: NodeId, token: u64) {
        // What changes from here on is told under a higher number.
        let number = *lock(&link.number);
        let subject = link.only(node);
        let mut all = Vec::new();
        for app in self.apps.all() {
            let directory = app.directory();
            all.push((app.app.key.clone(), holdings(&directory, directory.items_here())));
            for (channel, kept, kept_ms, rest_ms) in directory.channels.kept.all(self.agenda.now()) {
                let (app, event, data) = (app.app.key.clone(), kept.event, kept.data);
                let kept = KeptEvent { app, channel, event, kept_ms, rest_ms, data };
                let _ = link.send(&subject, &Fact::Kept(kept));
            }
        }
        let mut pages = pages(all);
        if pages.is_empty() {
            pages.push(Vec::new());
        }
        let last = pages.len() - 1;
        for (index, apps) in pages.into_iter().enumerate() {
            let page = Fact::Page { token, number, index: index as u32, is_last: index == last, apps };
            // A page that does not get through is missed, and everything asked for again.
            let _ = link.send(&subject, &page);
        }
    }

    /// A node is gone, and with it all that it held.
    fn bury(&self, link: &Link, peers: &mut Peers, node: NodeId) {
        let tables = peers.remove(node);
        // First, so that what follows is somebody's task.
        self.share_tasks(link, peers);
        for (app, table) in tables {
            let Some(live) = self.apps.find(app.as_str()).ok() else { continue };
            if table.counted_into == Some(live.number) {
                let gone = table.shares.into_iter().map(|(item, share)| (item, share, Share::default()));
                self.count_in(&live, node, gone.collect());
            }
        }
        for notice in link.take_over(node) {
            if link.is_my_task(&notice, self.agenda.now()) {
                self.notices.post(notice);
            }
        }
    }

    /// A node holds this much now.
    fn count(&self, peers: &mut Peers, node: NodeId, told: AppHoldings) {
        let live = self.apps.find(told.app.as_str()).ok();
        let number = live.as_ref().map(|live| live.number);
        let Some(table) = peers.table(node, &told.app) else { return };
        let mut changes = Vec::new();
        if table.counted_into != number {
            // The app was registered since: nothing was counted into it.
            table.counted_into = number;
            let shares = table.shares.iter();
            changes.extend(shares.map(|(item, share)| (item.clone(), Share::default(), share.clone())));
        }
        for (item, share) in told.holdings.into_iter().map(Holding::split) {
            let before = match share.count {
                0 => table.shares.remove(&item),
                _ => table.shares.insert(item.clone(), share.clone()),
            };
            changes.push((item, before.unwrap_or_default(), share));
        }
        if let Some(live) = live {
            self.count_in(&live, node, changes);
        }
    }

    /// Counts what a node holds, and tells the sockets of this one what follows from it. A channel is occupied before it
    /// has members, and has none before it is vacated.
    fn count_in(&self, app: &Arc<LiveApp>, node: NodeId, mut changes: Vec<(Item, Share, Share)>) {
        changes.sort_by_key(|(item, _, to)| match (item, to.count) {
            (Item::Member(..), 0) => 0,
            (Item::Member(..), _) => 2,
            _ => 1,
        });
        let mut directory = app.directory();
        for (item, from, to) in changes {
            self.count_item(app, &mut directory, node, item, &from, &to);
        }
    }

    fn count_item(
        &self,
        app: &Arc<LiveApp>,
        directory: &mut Directory,
        node: NodeId,
        item: Item,
        from: &Share,
        to: &Share,
    ) {
        match item {
            Item::User(user) => directory.learn_user(&user, from, to),
            Item::Others => directory.learn_others(from, to),
            Item::Bearers => directory.bearers.sockets.learn(from, to),
            Item::Bearer(user) => directory.bearers.learn_user(&user, from, to),
            Item::Attended(channel) => directory.bearers.learn_channel(&channel, None, from, to),
            Item::Attendee(channel, user) => {
                directory.bearers.learn_channel(&channel, Some(&user), from, to);
            }
            Item::SignedIn(user) => {
                if let Some(revision) = directory.signed_in.learn(&user, from, to) {
                    let is_there = !directory.signed_in.tally(&user).is_zero();
                    let content =
                        if is_there { Content::Online(user.clone()) } else { Content::Offline(user.clone()) };
                    self.post_to_watchers(app, directory, &user, content, revision);
                }
            }
            Item::Channel(channel) => {
                match directory.channels.learn(&channel, from, to) {
                    Turn::Occupied => self.note_occupied(app, directory, &channel),
                    Turn::Vacated => self.note_vacated(app, directory, &channel),
                    Turn::Neither => {}
                }
                if from.count != to.count {
                    self.tell_count(app, directory, &channel);
                }
            }
            Item::Member(channel, user) => match &to.info {
                Some(info) if to.count > 0 => {
                    let member = Member { user, info: Arc::clone(info) };
                    if let Some(revision) = directory.channels.learn_member(&channel, &member, node) {
                        self.note_member_added(app, directory, &channel, &member.user);
                        let content = Content::MemberAdded(member);
                        self.post_to_channel(app, directory, &channel, content, None, revision);
                    }
                }
                _ => {
                    if let Some(revision) = directory.channels.unlearn_member(&channel, &user, node) {
                        self.note_member_removed(app, directory, &channel, &user);
                        let content = Content::MemberRemoved(user);
                        self.post_to_channel(app, directory, &channel, content, None, revision);
                    }
                }
            },
        }
    }

    /// Delivers to the sockets of this node what was published on another.
    fn deliver(&self, link: &Link, relay: Relay, sender: NodeId) {
        let Ok(app) = self.apps.find(relay.app.as_str()) else {
            self.metrics.facts_skipped.add(1);
            return;
        };
        let Relay { to, event, is_value, user, except, data, kept_ms, .. } = relay;
        let (kept, text) = (Arc::clone(&event), Arc::clone(&data));
        let content = match is_value {
            true => Content::Value { event, value: data },
            false => Content::Event { event, data, user },
        };
        let matched = match &to {
            Recipients::UsersMatching(pattern) => match Pattern::parse(pattern, link.pattern_limits()) {
                Ok(pattern) => matching(&app, &pattern),
                Err(_) => return self.metrics.facts_skipped.add(1),
            },
            _ => HashSet::new(),
        };
        let mut directory = app.directory();
        let (audience, shards) = match to {
            Recipients::Channel(channel) => {
                let revision = kept_ms.map_or(0, |kept_ms| {
                    let text = if is_value { crate::model::text_of_json(&text).into() } else { text };
                    let event = Kept { event: kept, data: text };
                    self.keep(&app, &mut directory, &channel, event, (kept_ms, sender))
                });
                return self.post_to_channel(&app, &directory, &channel, content, except, revision);
            }
            Recipients::UsersMatching(_) => {
                let (users, _, shards) = directory.resolve(matched);
                (Audience::Users(users.into()), shards)
            }
            Recipients::Everyone => (Audience::Everyone, directory.shards()),
            Recipients::Bearers(user) => {
                let shards = directory.bearers.shards(&user);
                (Audience::Bearers(user), shards)
            }
            Recipients::Socket(socket) => (Audience::Socket(socket), directory.all_shards()),
        };
        self.post(Push { app: app.number, audience, content, except, revision: 0 }, shards);
    }

    fn learn_kept(&self, told: KeptEvent, sender: NodeId) {
        let Ok(app) = self.apps.find(told.app.as_str()) else { return };
        let mut directory = app.directory();
        let kept = Kept { event: told.event, data: told.data };
        let end = self.agenda.now() + told.rest_ms;
        self.keep_until(&app, &mut directory, &told.channel, kept, end, (told.kept_ms, sender));
    }

    fn learn_told(&self, link: &Link, told: Vec<Told>) {
        let now = self.agenda.now();
        for told in told.iter().filter(|told| told.kind == NoticeKind::CacheMiss) {
            if let Ok(app) = self.apps.find(told.app.as_str()) {
                app.directory().ledger.miss(&told.channel, now);
            }
        }
        link.learn_told(told, now);
    }
}

/// What this node holds of these items, in the order in which others should learn it.
fn holdings(directory: &Directory, items: impl IntoIterator<Item = Item>) -> Vec<Holding> {
    items.into_iter().map(|item| Holding::new(item.clone(), directory.share(&item))).collect()
}

/// As many facts as it takes, none of them empty and none too long.
fn pages(all: Vec<(AppKey, Vec<Holding>)>) -> Vec<Vec<AppHoldings>> {
    let (mut pages, mut page, mut room) = (Vec::new(), Vec::new(), HOLDINGS_MAX);
    for (app, mut holdings) in all {
        while !holdings.is_empty() {
            let rest = holdings.split_off(room.min(holdings.len()));
            room -= holdings.len();
            page.push(AppHoldings { app: app.clone(), holdings });
            holdings = rest;
            if room == 0 {
                pages.push(std::mem::take(&mut page));
                room = HOLDINGS_MAX;
            }
        }
    }
    if !page.is_empty() {
        pages.push(page);
    }
    pages
}

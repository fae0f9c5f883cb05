//! Whose task it is to tell webhooks. Every node notes the same notices (`hub/ledger.rs`); a lot drawn by the channel's name
//! says which of the members tells them.
//!
//! Always: a node tells nothing before all nodes that it knows have acknowledged it as a member and said what is still to be
//! told, and one of them tells already, unless none does. Each of them knows what it holds and stops telling what became its
//! task before it says so. A node that stood still, or whose bus was down, is a new member (of a
//! new epoch): others may have taken its tasks over. So at no time is a task that of two nodes which hear each other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::agenda::Millis;
use super::counting::{PAGE_BYTES, holdings, pages};
use super::directory::Directory;
use super::inherited::{Bequest, Standing};
use super::learn::{BEAT_EVERY_MS, LISTEN_MS, SILENCE_MAX_MS};
use super::ledger::Matter;
use super::link::lock;
use super::notify::has_webhooks;
use super::peers::Peers;
use super::{Hub, Link, LiveApp};
use crate::model::{AppKey, Fact, NodeId, NoticeEvent, NoticeKind, Told};

impl Hub {
    /// Something in an app is to be told, to other nodes or to webhooks.
    pub(super) fn enlist(&self, link: &Link, app: &Arc<LiveApp>, directory: &mut Directory) {
        if !std::mem::replace(&mut directory.is_listed, true) {
            link.note_changed(app);
            self.changes.notify_one();
        }
    }

    /// Tells webhooks what is due and this node's task, once this node has heard itself, and the other nodes what has changed
    /// here, since this was last called. `now` shows whether this node stood still: then it tells webhooks nothing before the others have heard of
    /// it again.
    pub fn tell_changes(&self, now: Instant) {
        let Some(link) = &self.link else { return };
        let stood_still = self.notice_standstill(link, now);
        self.tell_what(link, !stood_still);
    }

    /// Whether this node stood still since its time was last advanced. Then others may have told what it takes for untold.
    pub(super) fn notice_standstill(&self, link: &Link, now: Instant) -> bool {
        let last = self.agenda.now();
        let stood_still = self.agenda.at(now).saturating_sub(last) > BEAT_EVERY_MS;
        if stood_still && link.is_settled() {
            link.stand_back_once(last);
        }
        stood_still
    }

    /// The same when this node did not stand still.
    pub(super) fn tell_all(&self, link: &Link) {
        self.tell_what(link, true);
    }

    fn tell_what(&self, link: &Link, may_tell: bool) {
        let mut number = lock(&link.number);
        let (may_tell, now) = (may_tell && link.is_settled(), self.agenda.now());
        // Who is no member any more looks at all of it again when it is one.
        let proven = lock(&link.isolation).take_proven();
        for app in proven.into_iter().filter(|_| may_tell) {
            self.tell_due(&app, &mut app.directory(), now);
        }
        let (mut changed, mut due) = (Vec::new(), Vec::new());
        for app in link.take_changed() {
            let mut directory = app.directory();
            directory.is_listed = false;
            if directory.ledger.next_due().is_some_and(|due| due <= now) {
                due.push(Arc::clone(&app));
            }
            let items = std::mem::take(&mut directory.changed);
            changed.push((app.app.key.clone(), holdings(&directory, items)));
        }
        let mut told = link.take_told();
        told.reverse();
        for apps in pages(changed) {
            *number += 1;
            // A change that does not get through is missed, and asked for.
            self.say(
                link,
                &link.everybody(),
                &Fact::Changed { number: *number, apps, told: next_of(&mut told) },
            );
        }
        if may_tell && !due.is_empty() {
            let number = link.follows.draw();
            lock(&link.isolation).wait(number, due);
            // One that is lost is sent again.
            let _ = link.probe(number);
        }
        while !told.is_empty() {
            *number += 1;
            let (apps, told) = (Vec::new(), next_of(&mut told));
            self.say(link, &link.everybody(), &Fact::Changed { number: *number, apps, told });
        }
    }

    /// Who is no member asks those that have acknowledged it what is still to be told.
    pub(super) fn ask_owed(&self, link: &Link, peers: &mut Peers) {
        if link.is_settled() {
            return;
        }
        // So that they can know of all that is noted here.
        self.tell_all(link);
        let me = (link.me(), *lock(&link.number));
        for (node, question) in peers.unanswered(link.epoch(), me, self.agenda.now()) {
            // One that does not get through is put again.
            self.say(link, &link.only(node), &question.fact());
        }
    }

    /// The nodes that serve share the notices among them. Where that changes what this node does, it says so behind what
    /// it has told.
    pub(super) fn share_tasks(&self, link: &Link, peers: &mut Peers) {
        let now = self.agenda.now();
        if peers.forget_gone() && !link.is_settled() {
            // What this node noted meanwhile, it noted without knowing what that node held: the members say what of it is due.
            link.stand_back();
        }
        let me = link.is_ready().then(|| (link.me(), link.epoch()));
        let mut members: Vec<(NodeId, u64)> = peers.ready().chain(me).collect();
        members.sort_unstable();
        let is_settled = me.is_some() && (link.is_settled() || may_settle(link, peers, now));
        let change = link.set_members(members, is_settled);
        if change.is_newly_settled {
            self.inherit(link, peers);
        }
        if change.is_other || change.is_newly_settled {
            self.tell_all(link);
            self.beat(link, peers);
        }
        if change.is_other || change.is_newly_settled {
            for app in self.apps.all() {
                let mut directory = app.directory();
                if directory.ledger.reconsider() {
                    self.enlist(link, &app, &mut directory);
                }
            }
        }
    }

    /// This node is one of the members, and knows what is there: what others had still to tell is in its ledgers, too. What
    /// is otherwise meanwhile is as webhooks know it. Where others know better than this node, nothing else is left of what it had to
    /// tell before it became a member anew.
    fn inherit(&self, link: &Link, peers: &mut Peers) {
        let inherited = std::mem::take(&mut *lock(&link.inherited));
        let Bequest { owed, outlived, is_all } = inherited.sum(link.me(), &peers.outlived());
        peers.outlive(outlived.into_iter().filter(|node| *node != link.me()));
        for app in self.apps.all() {
            let owed = owed.get(&app.app.key);
            let mut directory = app.directory();
            if is_all {
                let listed = owed.into_iter().flatten().map(|(matter, _)| matter.clone()).collect();
                directory.ledger.strike_out_older(&listed, link.epoch());
            }
            for (matter, is_there) in owed.into_iter().flatten() {
                if directory.is_there(matter) == *is_there {
                    let due = self.due(&app, *is_there);
                    directory.ledger.change(matter.clone(), *is_there, due, link.epoch());
                    self.agenda.note(due, &app);
                } else {
                    directory.ledger.strike_out(matter);
                }
            }
        }
    }

    /// The number of times that this node became a member; 0 where there is nothing to be a member of.
    pub(super) fn epoch(&self) -> u64 {
        self.link.as_ref().map_or(0, Link::epoch)
    }

    /// Another node has told these to webhooks.
    pub(super) fn learn_told(&self, link: &Link, told: &[Told]) {
        for told in told {
            let Ok(app) = self.apps.find(told.app.as_str()) else { continue };
            let mut directory = app.directory();
            match told.kind {
                NoticeKind::CacheMiss => {
                    if has_webhooks(&app, &told.channel) {
                        directory.ledger.miss(&told.channel, self.agenda.now());
                    }
                }
                NoticeKind::SubscriptionCount => {
                    let count = told.count.unwrap_or_default();
                    if directory.channels.set_told_count(&told.channel, count as usize) {
                        directory.ledger.strike_out(&Matter::Count(told.channel.clone()));
                    }
                }
                _ => {
                    let Some((matter, is_there)) = read(told) else { continue };
                    if !link.is_settled() {
                        lock(&link.inherited).told(&app.app.key, &matter, is_there);
                    }
                    self.set_told(&app, &mut directory, matter, is_there);
                }
            }
        }
    }

    /// What a node says is still to be told. A node that is no member yet, or no more, cannot know better; others take it that what
    /// is the task of that node, and not named, was told.
    pub(super) fn learn_owed(&self, link: &Link, node: NodeId, standing: Standing, owed: Vec<Told>) {
        if !link.is_settled() {
            let owed = owed.iter().filter_map(|told| {
                let (matter, is_there) = read(told)?;
                Some(((told.app.clone(), matter), is_there))
            });
            return lock(&link.inherited).answer(node, standing, owed);
        }
        if !standing.is_settled {
            return;
        }
        let mut by_app: HashMap<AppKey, Vec<(Matter, bool)>> = HashMap::new();
        for told in owed {
            let key = told.app.clone();
            by_app.entry(key).or_default().extend(read(&told));
        }
        for app in self.apps.all() {
            let key = &app.app.key;
            let owed = by_app.remove(key).unwrap_or_default();
            let mut directory = app.directory();
            let listed: HashSet<Matter> = owed.iter().map(|(matter, _)| matter.clone()).collect();
            directory.ledger.strike_out_others(&listed, |channel| link.owner(key, channel) == node);
            let its_own = owed.into_iter().filter(|(matter, _)| link.owner(key, matter.channel()) == node);
            for (matter, is_there) in its_own {
                self.set_told(&app, &mut directory, matter, !is_there);
            }
        }
    }

    /// What is still to be told to webhooks, as far as this node knows.
    pub(super) fn owed(&self, app: &LiveApp, directory: &Directory) -> Vec<Told> {
        let owed = directory.ledger.owed();
        owed.map(|(matter, is_there)| write(&app.app.key, matter, is_there)).collect()
    }

    /// Webhooks were told that something is there, or is not. What this node knows otherwise it may soon learn.
    fn set_told(&self, app: &Arc<LiveApp>, directory: &mut Directory, matter: Matter, told: bool) {
        let grace_ms: Millis = u64::from(app.settings().webhook_grace) * 1000;
        // Longer than a node that held it may go on being taken for living.
        let due = self.agenda.now() + grace_ms.max(SILENCE_MAX_MS + BEAT_EVERY_MS);
        let is_there = directory.is_there(&matter);
        directory.ledger.learn(matter, told, is_there, due, self.epoch());
        directory.ledger.next_due().into_iter().for_each(|due| self.agenda.note(due, app));
    }
}

/// Whether this node may tell webhooks from now on: all others have acknowledged it and said what is still to be told, and one
/// of them tells already, or nobody does.
fn may_settle(link: &Link, peers: &Peers, now: Millis) -> bool {
    let is_first = || link.hears_since().is_some_and(|since| now >= since + LISTEN_MS);
    peers.all_acknowledge(link.epoch(), now) && (peers.any_settled() || is_first())
}

/// As many notices as fit into one fact, from the end.
fn next_of(told: &mut Vec<Told>) -> Vec<Told> {
    let mut rest = PAGE_BYTES;
    let mut fits = |told: &&Told| {
        let weight = told.weight_bytes();
        let fits = weight <= rest;
        rest = rest.saturating_sub(weight);
        fits
    };
    let count = told.iter().rev().take_while(|told| fits(told)).count().max(1);
    let mut next = told.split_off(told.len().saturating_sub(count));
    next.reverse();
    next
}

/// What is said of a matter.
pub(super) fn write(app: &AppKey, matter: &Matter, is_there: bool) -> Told {
    let event = match (matter, is_there) {
        (Matter::Channel(_), true) => NoticeEvent::ChannelOccupied,
        (Matter::Channel(_), false) => NoticeEvent::ChannelVacated,
        (Matter::Member(_, user), true) => NoticeEvent::MemberAdded(user.clone()),
        (Matter::Member(_, user), false) => NoticeEvent::MemberRemoved(user.clone()),
        (Matter::Count(_), _) => NoticeEvent::SubscriptionCount(0),
    };
    Told::new(app, matter.channel(), &event)
}

/// The matter that something is said of.
fn read(told: &Told) -> Option<(Matter, bool)> {
    let channel = told.channel.clone();
    Some(match (told.kind, told.user.clone()) {
        (NoticeKind::ChannelOccupied, _) => (Matter::Channel(channel), true),
        (NoticeKind::ChannelVacated, _) => (Matter::Channel(channel), false),
        (NoticeKind::MemberAdded, Some(user)) => (Matter::Member(channel, user), true),
        (NoticeKind::MemberRemoved, Some(user)) => (Matter::Member(channel, user), false),
        (NoticeKind::SubscriptionCount, _) => (Matter::Count(channel), true),
        _ => return None,
    })
}

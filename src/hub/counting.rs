//! What other nodes hold, counted beside what this one does; and what follows from it for the sockets of this one and for
//! webhooks, as if the others' sockets were its own.
//!
//! Always: called while the peers are held; a channel is occupied before it has members, and has none before it is vacated.

use std::sync::Arc;

use super::attendance::Learned;
use super::directory::Directory;
use super::ledger::Matter;
use super::peers::Peers;
use super::{Hub, LiveApp};
use crate::model::{AppHoldings, AppKey, ChannelName, Content, Holding, Item, Member, NodeId, Share};

/// How much the holdings, or the notices, of one fact may weigh, in bytes: with both, a quarter of what a bus carries by
/// default.
pub(super) const PAGE_BYTES: usize = 128 * 1024;

/// What a holding takes besides its texts, in bytes.
const HOLDING_BYTES: usize = 64;

/// What webhooks know of what a node tells.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tidings {
    /// Nothing: it has just happened.
    News,
    /// All that is there, but for what is named as owed.
    Known,
    /// Nobody says.
    Hearsay,
}

impl Hub {
    /// A node holds this much now.
    pub(super) fn count(&self, peers: &mut Peers, node: NodeId, told: AppHoldings, tidings: Tidings) {
        let is_there = told.holdings.iter().any(|holding| holding.count > 0);
        let live = match self.apps.find(told.app.as_str()) {
            // Where apps need not be registered, it is enough that another node has sockets in it.
            Err(_) if is_there => self.make_known(told.app.as_str()).ok(),
            found => found.ok(),
        };
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
            self.count_in(&live, node, changes, tidings);
        }
    }

    /// Counts what a node holds, and tells the sockets of this one what follows from it. A channel is occupied before it
    /// has members, and has none before it is vacated.
    pub(super) fn count_in(
        &self,
        app: &Arc<LiveApp>,
        node: NodeId,
        mut changes: Vec<(Item, Share, Share)>,
        tidings: Tidings,
    ) {
        changes.sort_by_key(|(item, _, to)| place(item, to.count));
        let mut directory = app.directory();
        for (item, from, to) in changes {
            let (directory, matter) = (&mut *directory, matter(&item));
            let before = matter.as_ref().is_some_and(|matter| directory.is_there(matter));
            self.count_item(app, directory, node, item, &from, &to);
            let Some(matter) = matter else { continue };
            let is_there = directory.is_there(&matter);
            match tidings {
                Tidings::Known if to.count > 0 => directory.ledger.strike_out(&matter),
                _ if is_there == before => {}
                Tidings::News => self.note(app, directory, matter, is_there),
                Tidings::Known | Tidings::Hearsay => directory.ledger.agree(&matter, is_there),
            }
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
                if let Some(revision) = directory.signed_in.learn(&user, from, to)
                    && self.takes_changes()
                {
                    let is_there = !directory.signed_in.tally(&user).is_zero();
                    let content =
                        if is_there { Content::Online(user.clone()) } else { Content::Offline(user.clone()) };
                    self.post_to_watchers(app, directory, &user, content, revision);
                }
            }
            Item::Channel(channel) => {
                let is_vacant = directory.channels.learn(&channel, from, to);
                if is_vacant {
                    directory.ledger.forget_miss(&channel);
                } else if from.count != to.count {
                    self.tell_count(app, directory, &channel);
                }
            }
            Item::Member(channel, user) => match &to.info {
                Some(info) if to.count > 0 => {
                    let member = Member { user, info: Arc::clone(info) };
                    self.learn_member(app, directory, node, &channel, &member);
                }
                _ => {
                    if let Some(revision) = directory.channels.unlearn_member(&channel, &user, node)
                        && self.takes_changes()
                    {
                        let content = Content::MemberRemoved(user);
                        self.post_to_channel(app, directory, &channel, content, None, revision);
                    }
                }
            },
        }
    }
}

impl Hub {
    /// Another node has a member in a channel. Who is in it here is told of a member that is new, and of one of whom
    /// something else is said now as of one that leaves and comes: clients know no other word for it.
    fn learn_member(
        &self,
        app: &Arc<LiveApp>,
        directory: &mut Directory,
        node: NodeId,
        channel: &ChannelName,
        member: &Member,
    ) {
        let (learned, revision) = directory.channels.learn_member(channel, member, node);
        if learned == Learned::Known {
            return;
        }
        let is_told = self.takes_changes();
        if learned == Learned::Changed {
            if is_told {
                let gone = Content::MemberRemoved(member.user.clone());
                self.post_to_channel(app, directory, channel, gone, None, revision - 1);
            }
            if directory.channels.info_here(channel, &member.user).is_some() {
                self.mark(app, directory, || Item::Member(channel.clone(), member.user.clone()));
            }
        }
        if !is_told {
            return;
        }
        let info = directory.channels.info(channel, &member.user).unwrap_or_else(|| Arc::clone(&member.info));
        let added = Content::MemberAdded(Member { user: member.user.clone(), info });
        self.post_to_channel(app, directory, channel, added, None, revision);
    }
}

/// What webhooks are told of with an item.
pub(super) fn matter(item: &Item) -> Option<Matter> {
    match item {
        Item::Channel(channel) => Some(Matter::Channel(channel.clone())),
        Item::Member(channel, user) => Some(Matter::Member(channel.clone(), user.clone())),
        _ => None,
    }
}

/// When what is told of an item counts: a channel is occupied before it has members, and has none before it is vacated.
fn place(item: &Item, count: u32) -> u8 {
    match (item, count) {
        (Item::Member(..), 0) => 0,
        (Item::Member(..), _) => 2,
        _ => 1,
    }
}

/// What this node holds of these items, in the order in which others should learn it.
pub(super) fn holdings(directory: &Directory, items: impl IntoIterator<Item = Item>) -> Vec<Holding> {
    let holdings = items.into_iter().map(|item| Holding::new(item.clone(), directory.share(&item)));
    let mut holdings: Vec<Holding> = holdings.collect();
    holdings.sort_by_key(|holding| place(&holding.item, holding.count));
    holdings
}

/// What a holding takes of a fact, in bytes, at most: text grows to twice its length when it is escaped.
pub(super) fn weight_bytes(app: &AppKey, holding: &Holding) -> usize {
    let names = match &holding.item {
        Item::Others | Item::Bearers => 0,
        Item::User(user) | Item::Bearer(user) | Item::SignedIn(user) => user.as_str().len(),
        Item::Channel(channel) | Item::Attended(channel) => channel.as_str().len(),
        Item::Attendee(channel, user) | Item::Member(channel, user) => {
            channel.as_str().len() + user.as_str().len()
        }
    };
    let info = holding.info.as_ref().map_or(0, |info| info.len());
    HOLDING_BYTES + 2 * (app.as_str().len() + names + info)
}

/// As many facts as it takes, none of them empty, none longer than a page unless it holds one thing alone.
pub(super) fn pages(all: Vec<(AppKey, Vec<Holding>)>) -> Vec<Vec<AppHoldings>> {
    let (mut pages, mut page, mut rest) = (Vec::new(), Vec::<AppHoldings>::new(), PAGE_BYTES);
    for (app, holdings) in all {
        for holding in holdings {
            let weight = weight_bytes(&app, &holding);
            if weight > rest && !page.is_empty() {
                pages.push(std::mem::take(&mut page));
                rest = PAGE_BYTES;
            }
            rest = rest.saturating_sub(weight);
            match page.last_mut().filter(|last| last.app == app) {
                Some(last) => last.holdings.push(holding),
                None => page.push(AppHoldings { app: app.clone(), holdings: vec![holding] }),
            }
        }
    }
    if !page.is_empty() {
        pages.push(page);
    }
    pages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::wire;
    use crate::model::{ChannelName, Fact, UserId};

    fn member(number: usize, info: &str) -> Holding {
        let user = UserId::parse(&format!("u{number}")).unwrap();
        let share = Share { count: 1, info: Some(info.into()) };
        Holding::new(Item::Member(ChannelName::parse("presence-a").unwrap(), user), share)
    }

    fn bytes(apps: &[AppHoldings]) -> usize {
        let fact = Fact::Changed { number: u64::MAX, apps: apps.to_vec(), told: Vec::new() };
        wire::encode(NodeId(0), &fact).len()
    }

    #[test]
    fn pages_are_cut_by_bytes_and_leave_nothing_out() {
        let quotes = format!("\"{}\"", "\\\"".repeat(511));
        for (info, at_most) in [("{}", 40), (&*"x".repeat(1_024), 300), (&*quotes, 300)] {
            let app = |name: &str| AppKey::stored(name);
            let all: Vec<_> = (0..10_000).map(|number| member(number, info)).collect();
            let (one, other) = all.split_at(3_333);
            let pages =
                pages(vec![(app("a"), one.to_vec()), (app("b"), other.to_vec()), (app("c"), Vec::new())]);
            assert!(pages.iter().all(|page| bytes(page) <= PAGE_BYTES + 200 && !page.is_empty()));
            assert!(pages.len() <= at_most, "{} pages", pages.len());
            let named = pages.into_iter().flatten().flat_map(|told| told.holdings);
            assert!(named.eq(all));
        }
    }

    #[test]
    fn what_is_larger_than_a_page_goes_alone() {
        let large = "x".repeat(PAGE_BYTES);
        let all = vec![member(1, "{}"), member(2, &large), member(3, "{}")];
        assert_eq!(pages(vec![(AppKey::stored("a"), all)]).len(), 3);
    }
}

//! What a node asks another, and the answer as far as it has come.
//!
//! Always: an answer comes in pages, each in its turn; while all that a peer holds is asked, what it changes is put off until
//! the last of them is there, and what it held before and names in none of them is gone.

use std::collections::{HashMap, HashSet};

use super::agenda::Millis;
use crate::model::{AppHoldings, AppKey, Fact, Holding, Item, NodeId, Share, Told};

/// How long an answer may leave the asker waiting for its next page before it asks again, in milliseconds: at first, and twice
/// as long each time that it was in vain, up to the other.
const PAGE_WITHIN_MS: Millis = 1_000;
const PAGE_WITHIN_MAX_MS: Millis = 8_000;

/// Changes that may wait for the end of an answer; one more, and it is asked for again.
const LATER_MAX: usize = 4_096;

/// What is asked of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Comes back with the answer.
    pub token: u64,
    /// What is still to be told to webhooks is enough.
    pub owed_only: bool,
    /// The asker says how many pages it has taken in.
    pub is_paced: bool,
}

impl Question {
    /// The question as it is sent.
    pub fn fact(self) -> Fact {
        Fact::Ask { token: self.token, owed_only: self.owed_only, is_paced: self.is_paced }
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
    /// The last change of each other node that it had taken in by then.
    pub tales: Vec<(NodeId, u64)>,
    /// The nodes that it outlived.
    pub outlived: Vec<NodeId>,
}

/// A question that is not answered to the end.
#[derive(Debug)]
pub struct Asked {
    pub question: Question,
    /// The epoch of this node that the peer had acknowledged by then.
    pub acknowledged: Option<u64>,
    /// The last change of each node but the peer that this one knew of by then, its own too.
    tales: Vec<(NodeId, u64)>,
    since: Millis,
    /// How long the next page may take.
    patience: Millis,
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

/// What follows from an answer besides what its pages hold.
#[derive(Debug)]
pub struct Ended {
    /// What the peer holds no more.
    pub gone: Vec<AppHoldings>,
    /// What is still to be told to webhooks, without what was told since.
    pub owed: Vec<Told>,
    /// What was put off, by the number of the change.
    pub later: Vec<(u64, Vec<AppHoldings>)>,
}

impl Asked {
    /// Nothing of the answer is there. `held` is what the peer held as far as is known.
    pub fn new(
        question: Question,
        acknowledged: Option<u64>,
        tales: Vec<(NodeId, u64)>,
        held: HashSet<(AppKey, Item)>,
        now: Millis,
    ) -> Self {
        let (owed, later, told) = (Vec::new(), Vec::new(), Vec::new());
        let (patience, next_page) = (PAGE_WITHIN_MS, 0);
        Self {
            question,
            acknowledged,
            tales,
            since: now,
            patience,
            next_page,
            unnamed: held,
            owed,
            later,
            told,
        }
    }

    /// Whether the peer, having taken in so much, knew of all that was known here when it was asked, and of no node besides:
    /// what it does not name as owed then was told.
    pub fn is_met(&self, tales: &[(NodeId, u64)]) -> bool {
        let has_taken =
            |node: &NodeId, number: u64| tales.iter().any(|(of, taken)| of == node && *taken >= number);
        tales.len() == self.tales.len() && self.tales.iter().all(|(node, number)| has_taken(node, *number))
    }

    /// Whether the answer does not come.
    pub fn is_overdue(&self, now: Millis) -> bool {
        self.since + self.patience <= now
    }

    /// The same was asked before, in vain.
    pub fn wait_longer_than(&mut self, former: Millis) {
        self.patience = (former * 2).min(PAGE_WITHIN_MAX_MS);
    }

    /// How long the next page may take.
    pub fn patience(&self) -> Millis {
        self.patience
    }

    /// How many pages are there.
    pub fn pages(&self) -> u32 {
        self.next_page
    }

    /// Puts off what the peer has changed meanwhile; false where there is too much of it.
    pub fn put_off(&mut self, number: u64, apps: Vec<AppHoldings>) -> bool {
        let has_room = self.later.len() < LATER_MAX;
        if has_room {
            self.later.push((number, apps));
        }
        has_room
    }

    /// The peer has told webhooks something meanwhile.
    pub fn hear_told(&mut self, number: u64, told: Vec<Told>) {
        self.told.extend(told.into_iter().map(|told| (number, told)));
    }

    /// Takes in the next page; false if one is missing.
    pub fn take_in(&mut self, page: &mut Page, now: Millis) -> bool {
        if self.next_page != page.index {
            return false;
        }
        self.next_page += 1;
        self.since = now;
        for told in &page.apps {
            told.holdings.iter().for_each(|holding| {
                self.unnamed.remove(&(told.app.clone(), holding.item.clone()));
            });
        }
        self.owed.append(&mut page.owed);
        true
    }

    /// The answer is there, and began behind the change of that number.
    pub fn end(self, number: u64) -> Ended {
        // Those of an app together, so that members are gone before their channel is.
        let mut gone: HashMap<AppKey, Vec<Holding>> = HashMap::new();
        for (app, item) in self.unnamed {
            gone.entry(app).or_default().push(Holding::new(item, Share::default()));
        }
        let gone = gone.into_iter().map(|(app, holdings)| AppHoldings { app, holdings }).collect();
        let told_since =
            |owed: &Told| self.told.iter().any(|(later, told)| *later > number && told.is_about(owed));
        let mut owed = self.owed;
        owed.retain(|owed| !told_since(owed));
        Ended { gone, owed, later: self.later }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChannelName, NoticeEvent, UserId};

    fn question() -> Question {
        Question { token: 1, owed_only: false, is_paced: true }
    }

    fn page(index: u32, apps: Vec<AppHoldings>, owed: Vec<Told>) -> Page {
        Page {
            token: 1,
            number: 7,
            index,
            is_last: false,
            apps,
            is_settled: true,
            owed,
            tales: Vec::new(),
            outlived: Vec::new(),
        }
    }

    #[test]
    fn what_is_gone_is_gone_at_once_so_that_members_go_before_their_channel() {
        let (app, room) = (AppKey::stored("a"), ChannelName::parse("presence-a").unwrap());
        let items = ["u", "v"].map(|user| Item::Member(room.clone(), UserId::parse(user).unwrap()));
        let held = items.iter().cloned().chain([Item::Channel(room)]).map(|item| (app.clone(), item));
        let mut asked = Asked::new(question(), None, Vec::new(), held.collect(), 0);
        let named = Holding::new(items[0].clone(), Share::of(1));
        let apps = vec![AppHoldings { app: app.clone(), holdings: vec![named] }];
        assert!(asked.take_in(&mut page(0, apps, Vec::new()), 0));
        let gone = asked.end(7).gone;
        assert_eq!((gone.len(), gone[0].holdings.len()), (1, 2));
        assert!(gone[0].holdings.iter().all(|holding| holding.count == 0 && holding.item != items[0]));
    }

    #[test]
    fn who_lags_behind_or_knows_of_more_nodes_has_not_said_all() {
        let tales = [(NodeId(1), 5), (NodeId(2), 3)];
        let asked = Asked::new(question(), None, tales.to_vec(), HashSet::new(), 0);
        assert!(asked.is_met(&[(NodeId(2), 3), (NodeId(1), 6)]));
        assert!(!asked.is_met(&[(NodeId(1), 5), (NodeId(2), 2)]));
        assert!(!asked.is_met(&[(NodeId(1), 5)]));
        assert!(!asked.is_met(&[(NodeId(1), 5), (NodeId(2), 3), (NodeId(3), 1)]));
    }

    #[test]
    fn what_was_told_behind_the_answer_is_owed_no_more() {
        let app = AppKey::stored("a");
        let told = |name: &str| {
            let channel = ChannelName::parse(name).unwrap();
            Told::new(&app, &channel, &NoticeEvent::ChannelOccupied)
        };
        let mut asked = Asked::new(question(), None, Vec::new(), HashSet::new(), 0);
        asked.hear_told(7, vec![told("before")]);
        asked.hear_told(8, vec![told("since")]);
        assert!(asked.take_in(&mut page(0, Vec::new(), vec![told("before")]), 0));
        assert!(!asked.take_in(&mut page(2, Vec::new(), Vec::new()), 0));
        assert!(asked.take_in(&mut page(1, Vec::new(), vec![told("since")]), 0));
        assert_eq!(asked.end(7).owed, [told("before")]);
    }
}

//! Answers to what other nodes ask: what this node holds, and what it has still to tell webhooks.
//!
//! Always: a task of its own makes them, a page at a time, and lets the directory go in between; of one node only the newest
//! question is answered; an asker that says how far it has come gets a few pages ahead of that; a page that the bus has no room
//! for waits.
//!
//! What an answer says of an item may be newer than its number: each change behind that number is told as well, and whole. For
//! that, what is still to be told to webhooks is named thrice: as it was at first, with each item, and as it is at last. The
//! asker takes what was said last.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::asked::Question;
use super::counting::{PAGE_BYTES, holdings, matter, weight_bytes};
use super::link::lock;
use super::shares::Cursor;
use super::tasks::write;
use super::{Hub, Link, LiveApp};
use crate::bus::NotSent;
use crate::model::{AppHoldings, AppKey, Fact, Holding, KeptEvent, NodeId, Told};

/// How many items are looked at while the directory of their app is held.
const STEP_ITEMS: usize = 256;

/// How many steps make one page at most: of many apps each may hold little.
const STEPS_MAX: usize = 64;

/// Pages on their way to one asker that says how far it has come, and to all of them.
const AHEAD_PAGES: u32 = 8;
const ALL_AHEAD_PAGES: u32 = 64;

/// What becomes of the answers under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answering {
    /// There is more to be sent.
    More,
    /// The bus has no room now.
    Full,
    /// There is nothing to do before another node asks, or has come further.
    Idle,
}

/// The questions of other nodes, and the answers under way.
#[derive(Debug, Default)]
pub struct Answers {
    /// The newest question of each node, how many pages of its answer were sent, and how many it has taken in.
    questions: BTreeMap<NodeId, (Question, u32, u32)>,
    under_way: VecDeque<Answer>,
}

impl Answers {
    /// A node asks. What it asked before need not be answered.
    pub fn ask(&mut self, node: NodeId, question: Question) {
        self.forget(node);
        self.questions.insert(node, (question, 0, 0));
        self.under_way.push_back(Answer { node, question, ..Answer::default() });
    }

    /// A node has taken in so many pages.
    pub fn take_in(&mut self, node: NodeId, token: u64, pages: u32) {
        if let Some((_, sent, taken)) = self.questions.get_mut(&node).filter(|asked| asked.0.token == token) {
            *taken = pages.clamp(*taken, *sent);
        }
    }

    /// A node needs no answer any more.
    pub fn forget(&mut self, node: NodeId) {
        self.questions.remove(&node);
        self.under_way.retain(|answer| answer.node != node);
    }

    /// A question is not answered to its end. A newer one of the same node is.
    fn drop_question(&mut self, answer: &Answer) {
        if self.questions.get(&answer.node).is_some_and(|(question, ..)| *question == answer.question) {
            self.forget(answer.node);
        }
    }

    /// The next answer of which a page may be sent.
    fn next(&mut self) -> Option<Answer> {
        let ahead = |(question, sent, taken): &(Question, u32, u32)| match question.is_paced {
            true => sent - taken,
            false => 0,
        };
        let all_ahead: u32 = self.questions.values().map(ahead).sum();
        let may_go = |answer: &Answer| {
            let ahead = self.questions.get(&answer.node).map_or(0, ahead);
            !answer.question.is_paced || ahead < AHEAD_PAGES && all_ahead < ALL_AHEAD_PAGES
        };
        let place = self.under_way.iter().position(may_go)?;
        self.under_way.remove(place)
    }

    /// A page of it was sent, or could not be. There is more, unless the node has asked anew, or is gone.
    fn put_back(&mut self, answer: Answer) {
        let asked = self.questions.get_mut(&answer.node).filter(|asked| asked.0 == answer.question);
        let Some((_, sent, _)) = asked else { return };
        *sent = answer.next_page;
        match answer.is_over() {
            true => drop(self.questions.remove(&answer.node)),
            false => self.under_way.push_back(answer),
        }
    }
}

/// An answer as far as it has come.
#[derive(Debug, Default)]
struct Answer {
    node: NodeId,
    question: Question,
    begun: Option<Begun>,
    apps: Vec<Arc<LiveApp>>,
    /// The app of which items are named now, and how far.
    walk: Option<(Arc<LiveApp>, Cursor)>,
    /// Named, and on no page yet; and what they weigh.
    holdings: VecDeque<(AppKey, Holding)>,
    weight_bytes: usize,
    owed: VecDeque<Told>,
    /// The last page was made.
    is_made: bool,
    next_page: u32,
    /// Made, and not sent yet.
    unsent: VecDeque<Fact>,
}

/// What was so when the answer began.
#[derive(Clone, Debug)]
struct Begun {
    number: u64,
    epoch: u64,
    is_settled: bool,
    tales: Vec<(NodeId, u64)>,
    outlived: Vec<NodeId>,
}

impl Answer {
    fn is_over(&self) -> bool {
        self.is_made && self.unsent.is_empty()
    }

    /// The next page, of what was gathered for it.
    fn cut(&mut self, begun: Begun) {
        let mut apps: Vec<AppHoldings> = Vec::new();
        let mut rest = PAGE_BYTES;
        while let Some((app, holding)) = self.holdings.front()
            && (rest == PAGE_BYTES || weight_bytes(app, holding) <= rest)
        {
            let weight = weight_bytes(app, holding);
            rest = rest.saturating_sub(weight);
            self.weight_bytes -= weight;
            let Some((app, holding)) = self.holdings.pop_front() else { break };
            match apps.last_mut().filter(|last| last.app == app) {
                Some(last) => last.holdings.push(holding),
                None => apps.push(AppHoldings { app, holdings: vec![holding] }),
            }
        }
        let mut owed = Vec::new();
        while let Some(told) = self.owed.front()
            && (rest == PAGE_BYTES || told.weight_bytes() <= rest)
        {
            rest = rest.saturating_sub(told.weight_bytes());
            owed.extend(self.owed.pop_front());
        }
        let nothing_waits = self.holdings.is_empty() && self.owed.is_empty();
        let is_last = nothing_waits && self.apps.is_empty() && self.walk.is_none();
        self.is_made = is_last;
        let Begun { number, is_settled, tales, outlived, .. } = begun;
        let tales = if is_last { tales } else { Vec::new() };
        let (token, index) = (self.question.token, self.next_page);
        self.next_page += 1;
        let page = Fact::Page { token, number, index, is_last, apps, is_settled, owed, tales, outlived };
        self.unsent.push_back(page);
    }
}

impl Hub {
    /// Another node asks.
    pub(super) fn take_question(&self, link: &Link, node: NodeId, question: Question) {
        lock(&link.answers).ask(node, question);
        self.questions.notify_one();
    }

    /// Another node has taken in so many pages of an answer.
    pub(super) fn take_receipt(&self, link: &Link, node: NodeId, token: u64, pages: u32) {
        lock(&link.answers).take_in(node, token, pages);
        self.questions.notify_one();
    }

    /// Waits until another node asks, or takes in what it is answered.
    pub async fn asked(&self) {
        self.questions.notified().await;
    }

    /// Makes and sends the next page of an answer to another node. `now` shows whether this node stood still.
    pub fn answer_page(&self, now: Instant) -> Answering {
        let Some(link) = &self.link else { return Answering::Idle };
        self.notice_standstill(link, now);
        let Some(mut answer) = lock(&link.answers).next() else { return Answering::Idle };
        let Answer { begun, apps, .. } = &mut answer;
        let begun = begun.get_or_insert_with(|| self.begin(link, apps)).clone();
        if begun.epoch != link.epoch() {
            // Others may have told webhooks meanwhile what this node takes for untold. It is asked again.
            lock(&link.answers).drop_question(&answer);
            return Answering::More;
        }
        if answer.unsent.is_empty() && self.gather(&mut answer) {
            answer.cut(begun);
        }
        let sent = self.send_page(link, &mut answer);
        match sent {
            Err(NotSent::Down) => lock(&link.answers).drop_question(&answer),
            _ => lock(&link.answers).put_back(answer),
        }
        if sent == Err(NotSent::Full) { Answering::Full } else { Answering::More }
    }

    fn begin(&self, link: &Link, apps: &mut Vec<Arc<LiveApp>>) -> Begun {
        // What changes from here on is told under a higher number.
        let number = *lock(&link.number);
        let peers = lock(&link.peers);
        *apps = self.apps.all();
        let (epoch, is_settled) = (link.epoch(), link.is_settled());
        Begun { number, epoch, is_settled, tales: peers.tales(), outlived: peers.outlived() }
    }

    /// Gathers what the next page says. Whether there is enough of it.
    fn gather(&self, answer: &mut Answer) -> bool {
        for _ in 0..STEPS_MAX {
            if answer.weight_bytes >= PAGE_BYTES {
                return true;
            }
            if let Some((app, cursor)) = answer.walk.take() {
                self.walk_on(answer, app, cursor);
            } else if let Some(app) = answer.apps.pop() {
                self.walk_on(answer, app, Cursor::default());
            } else {
                return true;
            }
        }
        false
    }

    /// Looks at some more items of an app.
    fn walk_on(&self, answer: &mut Answer, app: Arc<LiveApp>, mut cursor: Cursor) {
        let key = &app.app.key;
        let directory = app.directory();
        let is_first = cursor.is_at_start();
        if is_first {
            answer.owed.extend(self.owed(&app, &directory));
        }
        if answer.question.owed_only {
            return;
        }
        if is_first {
            for (channel, kept, kept_ms, rest_ms) in directory.channels.kept.all(self.agenda.now()) {
                let (app, event, data) = (key.clone(), kept.event, kept.data);
                let kept = KeptEvent { app, channel, event, kept_ms, rest_ms, data };
                answer.unsent.push_back(Fact::Kept(kept));
            }
        }
        let items = directory.items_from(&mut cursor, STEP_ITEMS);
        for holding in holdings(&directory, items) {
            let owed = matter(&holding.item)
                .and_then(|matter| Some(write(key, &matter, directory.ledger.owed_of(&matter)?)));
            answer.owed.extend(owed.filter(|_| !is_first));
            answer.weight_bytes += weight_bytes(key, &holding);
            answer.holdings.push_back((key.clone(), holding));
        }
        match cursor.is_at_end() {
            false => answer.walk = Some((Arc::clone(&app), cursor)),
            true if !is_first => answer.owed.extend(self.owed(&app, &directory)),
            true => {}
        }
    }

    /// Sends what was made, as far as there is room.
    fn send_page(&self, link: &Link, answer: &mut Answer) -> Result<(), NotSent> {
        let subject = link.only(answer.node);
        while let Some(mut fact) = answer.unsent.pop_front() {
            let sent = match link.send(&subject, &fact) {
                Err(NotSent::TooLarge) => {
                    self.note_unsent(NotSent::TooLarge);
                    // Its place in the order is kept: without it, all would be asked for again, for ever.
                    let Fact::Page { apps, owed, .. } = &mut fact else { continue };
                    (*apps, *owed) = (Vec::new(), Vec::new());
                    link.send(&subject, &fact)
                }
                sent => sent,
            };
            if sent.is_err() {
                answer.unsent.push_front(fact);
                return sent;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: NodeId = NodeId(1);

    fn question(token: u64, is_paced: bool) -> Question {
        Question { token, owed_only: false, is_paced }
    }

    /// How many pages may be sent now.
    fn sent(answers: &mut Answers) -> u32 {
        let mut pages = 0;
        while let Some(mut answer) = answers.next().filter(|_| pages < 1_000) {
            pages += 1;
            answer.next_page += 1;
            answers.put_back(answer);
        }
        pages
    }

    #[test]
    fn an_asker_gets_a_few_pages_ahead_of_what_it_has_taken_in() {
        let mut answers = Answers::default();
        answers.ask(ONE, question(1, true));
        assert_eq!(sent(&mut answers), AHEAD_PAGES);
        answers.take_in(ONE, 1, 3);
        assert_eq!(sent(&mut answers), 3);
        // What it says of another answer counts for nothing, nor what was not sent.
        answers.take_in(ONE, 2, 9);
        assert_eq!(sent(&mut answers), 0);
        answers.take_in(ONE, 1, u32::MAX);
        assert_eq!(sent(&mut answers), AHEAD_PAGES);
        // One of the version before says nothing.
        answers.ask(ONE, question(2, false));
        assert_eq!(sent(&mut answers), 1_000);
    }

    #[test]
    fn many_askers_share_what_may_be_under_way() {
        let mut answers = Answers::default();
        (0..100).for_each(|node| answers.ask(NodeId(node), question(1, true)));
        assert_eq!(sent(&mut answers), ALL_AHEAD_PAGES);
        (0..100).for_each(|node| answers.forget(NodeId(node)));
        assert!(answers.questions.is_empty() && answers.under_way.is_empty());
    }

    #[test]
    fn of_a_node_only_the_newest_question_is_answered() {
        let mut answers = Answers::default();
        answers.ask(ONE, question(1, true));
        let first = answers.next().unwrap();
        answers.ask(ONE, question(2, true));
        answers.put_back(first);
        assert_eq!(answers.under_way.len(), 1);
        assert_eq!(answers.next().unwrap().question.token, 2);
    }
}

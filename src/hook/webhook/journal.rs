//! What became of requests to webhooks, lately: the last outcomes of each app, in memory.
//!
//! Always: it holds no more outcomes of an app than its settings say, and of all apps no more bytes; whoever holds most
//! gives up its oldest. Given-up events are kept with their outcome, so that somebody may have them told again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{AppNumber, WebhookOutcome};
use crate::store::Entry;

/// What an outcome takes besides its texts, about.
const OVERHEAD_BYTES: usize = 256;

/// What bounds it.
#[derive(Clone, Copy, Debug)]
pub struct JournalLimits {
    /// Outcomes of one app; none are kept where this is zero.
    pub outcomes_max: usize,
    /// All of them, in bytes.
    pub bytes_max: usize,
}

/// The outcomes of all apps.
#[derive(Debug)]
pub struct Journal {
    limits: JournalLimits,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    of_apps: HashMap<AppNumber, Page>,
    bytes: usize,
    last_id: u64,
}

/// The outcomes of one app, the oldest first.
#[derive(Debug, Default)]
struct Page {
    rows: VecDeque<Row>,
    bytes: usize,
}

#[derive(Debug)]
struct Row {
    outcome: WebhookOutcome,
    /// The events that were given up or found no room, until they are told again.
    events: Vec<Entry>,
}

impl Row {
    fn bytes(&self) -> usize {
        let names: usize = self.outcome.events.iter().map(String::len).sum();
        let events: usize = self.events.iter().map(|entry| OVERHEAD_BYTES + entry.event.len()).sum();
        OVERHEAD_BYTES + self.outcome.url.len() + self.outcome.body.len() + names + events
    }
}

impl Journal {
    pub fn new(limits: JournalLimits) -> Self {
        Self { limits, pages: Mutex::default() }
    }

    /// Notes an outcome, and the events that may be told again by it. Its id is given here.
    pub fn note(&self, app: AppNumber, mut outcome: WebhookOutcome, events: Vec<Entry>) {
        if self.limits.outcomes_max == 0 {
            return;
        }
        let mut pages = self.lock();
        pages.last_id += 1;
        (outcome.id, outcome.can_retry) = (pages.last_id, !events.is_empty());
        let row = Row { outcome, events };
        let bytes = row.bytes();
        pages.bytes += bytes;
        let page = pages.of_apps.entry(app).or_default();
        page.bytes += bytes;
        page.rows.push_back(row);
        if page.rows.len() > self.limits.outcomes_max {
            pages.forget_oldest(app);
        }
        while pages.bytes > self.limits.bytes_max
            && let Some(largest) = pages.largest()
        {
            pages.forget_oldest(largest);
        }
    }

    /// The outcomes of an app, the latest first.
    pub fn of(&self, app: AppNumber) -> Vec<WebhookOutcome> {
        let pages = self.lock();
        let rows = pages.of_apps.get(&app).into_iter().flat_map(|page| page.rows.iter().rev());
        rows.map(|row| row.outcome.clone()).collect()
    }

    /// Takes the events that may be told again by an outcome; none if there is no such outcome, or they were taken.
    pub fn take_events(&self, app: AppNumber, id: u64) -> Vec<Entry> {
        let mut pages = self.lock();
        let Some(page) = pages.of_apps.get_mut(&app) else { return Vec::new() };
        let Some(row) = page.rows.iter_mut().find(|row| row.outcome.id == id) else { return Vec::new() };
        let before = row.bytes();
        row.outcome.can_retry = false;
        let events = std::mem::take(&mut row.events);
        let freed = before - row.bytes();
        page.bytes -= freed;
        pages.bytes -= freed;
        events
    }

    /// Gives back events that were taken and could not be told again after all.
    pub fn give_back(&self, app: AppNumber, id: u64, events: Vec<Entry>) {
        let mut pages = self.lock();
        let Some(page) = pages.of_apps.get_mut(&app) else { return };
        let Some(row) = page.rows.iter_mut().find(|row| row.outcome.id == id) else { return };
        let before = row.bytes();
        row.outcome.can_retry = !events.is_empty();
        row.events = events;
        let grown = row.bytes() - before;
        page.bytes += grown;
        pages.bytes += grown;
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        // Nothing that can panic runs under the lock.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn forget_oldest(&mut self, app: AppNumber) {
        let Some(page) = self.of_apps.get_mut(&app) else { return };
        if let Some(row) = page.rows.pop_front() {
            page.bytes -= row.bytes();
            self.bytes -= row.bytes();
        }
        if page.rows.is_empty() {
            self.of_apps.remove(&app);
        }
    }

    fn largest(&self) -> Option<AppNumber> {
        let largest = self.of_apps.iter().max_by_key(|(_, page)| page.bytes);
        largest.map(|(app, _)| *app)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AppKey, ChannelName, WebhookResult};
    use crate::store::Lane;

    fn note(journal: &Journal, app: u32, body: &str) {
        let outcome = WebhookOutcome {
            id: 0,
            at_ms: 1,
            url: "u".into(),
            events: vec!["e".into()],
            body: body.into(),
            status: None,
            fault: None,
            result: WebhookResult::GivenUp,
            attempt: 1,
            can_retry: false,
        };
        let lane = Lane::of(&AppKey::stored("x"), &"u".into(), &ChannelName::parse("c").unwrap());
        journal.note(AppNumber(app), outcome, vec![Entry { lane, time_ms: 1, event: body.into() }]);
    }

    fn bodies(journal: &Journal, app: u32) -> Vec<String> {
        journal.of(AppNumber(app)).into_iter().map(|outcome| outcome.body).collect()
    }

    #[test]
    fn an_app_keeps_its_last_outcomes_and_whoever_holds_most_gives_up_first() {
        let journal = Journal::new(JournalLimits { outcomes_max: 2, bytes_max: 10_000 });
        ["1", "2", "3"].iter().for_each(|body| note(&journal, 1, body));
        assert_eq!(bodies(&journal, 1), ["3", "2"]);
        note(&journal, 2, &"x".repeat(4_000));
        note(&journal, 2, &"y".repeat(4_000));
        assert_eq!((bodies(&journal, 1).len(), bodies(&journal, 2).len()), (2, 1));
        let held: usize = journal.lock().of_apps.values().map(|page| page.bytes).sum();
        assert_eq!(journal.lock().bytes, held);
    }

    #[test]
    fn events_are_taken_once() {
        let journal = Journal::new(JournalLimits { outcomes_max: 2, bytes_max: 10_000 });
        note(&journal, 1, "1");
        let (app, id) = (AppNumber(1), journal.of(AppNumber(1))[0].id);
        assert_eq!(journal.take_events(AppNumber(2), id).len(), 0, "that of another app is nobody's");
        assert_eq!((journal.take_events(app, id).len(), journal.take_events(app, id).len()), (1, 0));
        assert!(!journal.of(app)[0].can_retry);
        let rows: usize = journal.lock().of_apps[&app].rows.iter().map(Row::bytes).sum();
        assert_eq!(journal.lock().bytes, rows);
    }

    #[test]
    fn nothing_is_kept_where_nothing_is_wanted() {
        let journal = Journal::new(JournalLimits { outcomes_max: 0, bytes_max: 10_000 });
        note(&journal, 1, "1");
        assert!(bodies(&journal, 1).is_empty());
    }
}

//! What became of requests is noted, and what failed is tried again before its time when somebody says so.

use super::courier::Courier;
use super::request::{Failure, Request};
use super::tally::shown;
use super::{WebhookApp, Webhooks};
use crate::dialect::pusher::webhook;
use crate::feed::Happening;
use crate::model::{AppKey, WebhookOutcome, WebhookResult};
use crate::store::{Entry, Lane, StoreError, Waiting};

/// How much of a body is kept, in bytes.
const BODY_BYTES_MAX: usize = 2048;

/// What is to be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retry {
    /// What waits for the webhooks that are told here, as [`WebhookReport`](crate::model::WebhookReport) shows it.
    Url(String),
    /// What was given up, or found no room, by the number of that outcome.
    Outcome(u64),
}

impl Webhooks {
    /// What became of the requests of an app lately, the latest first.
    pub fn log(&self, key: &AppKey) -> Vec<WebhookOutcome> {
        (self.courier.lookup)(key).map_or_else(Vec::new, |app| self.courier.journal.of(app.number))
    }

    /// Has something tried again at once, and says how many events that are.
    ///
    /// # Errors
    /// The database failed.
    pub async fn retry(&self, key: &AppKey, wanted: &Retry) -> Result<usize, StoreError> {
        let Some(app) = (self.courier.lookup)(key) else { return Ok(0) };
        match wanted {
            Retry::Url(url) => self.courier.hurry(key, url).await,
            Retry::Outcome(id) => self.courier.readmit(&app, *id).await,
        }
    }
}

impl Courier {
    /// Ends the pauses of the lanes to a webhook; says how many events wait in them.
    async fn hurry(&self, key: &AppKey, url: &str) -> Result<usize, StoreError> {
        let waiting = self.outbox.waiting(key).await?;
        let waiting = waiting.iter().filter(|(of, _)| shown(of) == url);
        let events: u64 = waiting.map(|(_, events)| *events).sum();
        let lanes = self.lanes.borrow();
        let meant = lanes.iter().filter(|(lane, _)| lane.app == *key && shown(&lane.url) == url);
        // Who makes an attempt at this moment does not wait, and need not be told.
        meant.for_each(|(_, served)| served.hurry.notify_waiters());
        Ok(usize::try_from(events).unwrap_or(usize::MAX))
    }

    /// Puts what was given up into the outbox again, as if it happened now; says how many events found room.
    async fn readmit(self: &std::sync::Arc<Self>, app: &WebhookApp, id: u64) -> Result<usize, StoreError> {
        let now_ms = self.clock.now_ms();
        let events = self.journal.take_events(app.number, id);
        let entries: Vec<_> = events.iter().map(|entry| Entry { time_ms: now_ms, ..entry.clone() }).collect();
        let added = match self.outbox.add(&entries).await {
            Ok(added) => added,
            Err(error) => {
                self.journal.give_back(app.number, id, events);
                return Err(error);
            }
        };
        let (mut left, mut count) = (Vec::new(), 0);
        for (event, is_added) in events.into_iter().zip(added) {
            if is_added {
                count += 1;
                self.wake(&event.lane);
            } else {
                left.push(event);
            }
        }
        self.journal.give_back(app.number, id, left);
        Ok(count)
    }

    /// Notes an attempt, and shows it.
    pub fn note(
        &self,
        app: &WebhookApp,
        lane: &Lane,
        request: &Request,
        attempt: u32,
        outcome: Result<u16, Failure>,
    ) {
        let (result, status, fault) = match outcome {
            Ok(status) => (WebhookResult::Delivered, Some(status), None),
            Err(Failure { status, fault }) => (WebhookResult::Failed, status, Some(fault)),
        };
        let events: Vec<String> = request.events.iter().map(|event| webhook::kind(&event.event)).collect();
        app.feed.show(|| Happening::Webhook { url: shown(&lane.url), events: events.clone(), status, fault });
        let body = String::from_utf8_lossy(&request.body[..request.body.len().min(BODY_BYTES_MAX + 4)]);
        let outcome = self.outcome(lane, events, &body, result);
        self.journal.note(app.number, WebhookOutcome { status, fault, attempt, ..outcome }, Vec::new());
    }

    /// Notes that events of a request were given up.
    pub fn note_given_up<'a>(
        &self,
        lane: &Lane,
        events: impl Iterator<Item = &'a Waiting>,
        attempt: u32,
        last: Option<Failure>,
    ) {
        let entry = |event: &Waiting| Entry {
            lane: lane.clone(),
            time_ms: event.time_ms,
            event: event.event.as_str().into(),
        };
        let events: Vec<Entry> = events.map(entry).collect();
        let (status, fault) = (last.and_then(|last| last.status), last.map(|last| last.fault));
        self.note_untold(lane, events, |outcome| WebhookOutcome {
            status,
            fault,
            attempt,
            result: WebhookResult::GivenUp,
            ..outcome
        });
    }

    /// Notes that there was no room for an event.
    pub fn note_dropped(&self, entry: &Entry) {
        self.note_untold(&entry.lane, vec![entry.clone()], |outcome| outcome);
    }

    fn note_untold(
        &self,
        lane: &Lane,
        events: Vec<Entry>,
        change: impl FnOnce(WebhookOutcome) -> WebhookOutcome,
    ) {
        let Some(app) = (self.lookup)(&lane.app) else { return };
        let Some(time_ms) = events.iter().map(|entry| entry.time_ms).min() else { return };
        let names = events.iter().map(|entry| webhook::kind(&entry.event)).collect();
        let body = webhook::body(time_ms, events.iter().map(|entry| &*entry.event));
        let outcome = self.outcome(lane, names, &body, WebhookResult::Dropped);
        self.journal.note(app.number, change(outcome), events);
    }

    fn outcome(&self, lane: &Lane, events: Vec<String>, body: &str, result: WebhookResult) -> WebhookOutcome {
        WebhookOutcome {
            id: 0,
            at_ms: self.clock.now_ms(),
            url: shown(&lane.url),
            events,
            body: body[..body.floor_char_boundary(BODY_BYTES_MAX)].to_owned(),
            status: None,
            fault: None,
            result,
            attempt: 0,
            can_retry: false,
        }
    }
}

//! The courier takes what waits on disk to the webhooks, lane by lane.
//!
//! Always: a lane has at most one task, which ends when nothing waits in the lane, so an idle webhook costs nothing;
//! what is told in a lane is told in order; an event leaves the disk only when it was accepted or given up, so it is
//! told at least once, and again if the process dies between the two.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::journal::Journal;
use super::places::{Pace, Place, Places};
use super::request::{Failure, Poster, Request};
use super::tally::{Tallies, host};
use super::{Clock, Lookup, WebhookApp, WebhookSettings};
use crate::metrics::Counter;
use crate::model::Webhook;
use crate::store::{Lane, Outbox, StoreError, Waiting};

/// No event is told when it is older: backends take it for a replay (pusher-channels 15).
const AGE_MAX: Duration = Duration::from_secs(300);

/// The pause after the first failure; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long a batch is collected.
const BATCH_TIME: Duration = Duration::from_millis(50);

/// Events of one batch, and of what a lane reads at once.
const PAGE_EVENTS: usize = 100;

/// What a lane reads at once, in bytes; a single longer event is read all the same.
const PAGE_BYTES: usize = 256 * 1024;

/// For so long after a failure each request takes a fresh connection. Kept ones are closed by then, as they are idle.
const FRESH_TIME: Duration = Duration::from_secs(30);

/// The pause after a failure of the database.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);

/// The same, while the node stops.
const LAST_DATABASE_PAUSE: Duration = Duration::from_millis(50);

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum Phase {
    /// Not yet.
    Running,
    /// Nothing new is begun.
    Stopping,
    /// What is under way is left.
    Over,
}

/// What all lanes share.
pub(super) struct Courier {
    pub outbox: Outbox,
    pub lookup: Box<Lookup>,
    pub poster: Poster,
    pub clock: Clock,
    pub tallies: Tallies,
    pub phase: watch::Sender<Phase>,
    pub database_failures: Counter,
    is_database_failing: AtomicBool,
    places: Places,
    /// What became of it all, lately.
    pub journal: Journal,
    /// The lanes that have a task.
    pub lanes: watch::Sender<HashMap<Lane, Served>>,
}

/// A lane that has a task.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// Something was added since the task last looked.
    is_news: bool,
    /// Ends the pause of the task.
    pub hurry: Arc<Notify>,
}

/// To whom a lane leads.
struct Target {
    app: WebhookApp,
    webhook: Webhook,
}

impl Courier {
    pub fn new(outbox: Outbox, lookup: Box<Lookup>, poster: Poster, settings: WebhookSettings) -> Self {
        Self {
            outbox,
            lookup,
            poster,
            clock: settings.clock,
            journal: Journal::new(settings.journal),
            tallies: Tallies::default(),
            phase: watch::Sender::new(Phase::Running),
            database_failures: Counter::default(),
            is_database_failing: AtomicBool::new(false),
            places: Places::new(settings.requests_max),
            lanes: watch::Sender::default(),
        }
    }

    /// Has a lane served in which something waits.
    pub fn wake(self: &Arc<Self>, lane: &Lane) {
        let is_new = |lanes: &mut HashMap<Lane, Served>| match lanes.get_mut(lane) {
            Some(served) => {
                served.is_news = true;
                false
            }
            None => {
                lanes.insert(lane.clone(), Served { is_news: true, hurry: Arc::default() });
                true
            }
        };
        if self.lanes.send_if_modified(is_new) {
            tokio::spawn(Arc::clone(self).serve(lane.clone()));
        }
    }

    /// Returns when no lane is served.
    pub async fn idle(&self) {
        // The sender is ours, so the wait has an end.
        let _ = self.lanes.subscribe().wait_for(HashMap::is_empty).await;
    }

    /// Repeats what the database is asked for until it succeeds.
    pub async fn persist<T, W>(&self, work: impl Fn() -> W) -> T
    where
        W: Future<Output = Result<T, StoreError>>,
    {
        loop {
            match work().await {
                Ok(done) => {
                    self.is_database_failing.store(false, Ordering::Relaxed);
                    return done;
                }
                Err(error) => {
                    self.database_failures.add(1);
                    if !self.is_database_failing.swap(true, Ordering::Relaxed) {
                        tracing::error!(%error, "the database fails, and webhooks wait for it");
                    }
                    // Who stops has little time, and tries as often as that allows.
                    self.pause(DATABASE_PAUSE).await;
                    if self.is_stopping() {
                        tokio::time::sleep(LAST_DATABASE_PAUSE).await;
                    }
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, lane: Lane) {
        let mut phase = self.phase.subscribe();
        loop {
            tokio::select! {
                () = self.empty(&lane) => {}
                _ = phase.wait_for(|phase| *phase == Phase::Over) => {}
            }
            if self.leave(&lane) {
                return;
            }
        }
    }

    /// Leaves a lane, unless something was added after its last look.
    fn leave(&self, lane: &Lane) -> bool {
        let must = self.is_stopping();
        self.lanes.send_if_modified(|lanes| {
            let may = must || !lanes.get(lane).is_some_and(|served| served.is_news);
            if may {
                lanes.remove(lane);
            }
            may
        })
    }

    /// Tells what waits in a lane, until nothing does.
    async fn empty(&self, lane: &Lane) {
        while !self.is_stopping() {
            let mut page = self.look(lane).await;
            if page.is_empty() {
                return;
            }
            let Some(Target { app, webhook }) = self.target(lane) else {
                self.forsake(lane).await;
                continue;
            };
            if webhook.batch && page.len() < PAGE_EVENTS {
                self.pause(BATCH_TIME).await;
                page = self.look(lane).await;
            }
            let events_max = if webhook.batch { PAGE_EVENTS } else { 1 };
            while !self.is_stopping()
                && let Some(request) = Request::next(&mut page, events_max, &app.secret)
            {
                self.tell(lane, &request, &mut page).await;
            }
        }
    }

    /// Tells a request until it is accepted or given up, or the webhook is gone, or the node stops. What is behind it
    /// on the page is dropped from there when it is not to be told next.
    async fn tell(&self, lane: &Lane, request: &Request, page: &mut VecDeque<Waiting>) {
        // The first attempt is made even where none is repeated.
        let (mut pause, mut span) = (Duration::ZERO, AGE_MAX);
        let hurry = self.lanes.borrow().get(lane).map(|served| Arc::clone(&served.hurry)).unwrap_or_default();
        let pace = self.places.pace(lane);
        let (mut attempt, mut last) = (0, None);
        loop {
            let next_ms = self.clock.now_ms() + millis(pause);
            if next_ms > request.time_ms + millis(span) {
                return self.give_up(lane, (request, attempt, last), next_ms - millis(span), page).await;
            }
            tokio::select! {
                () = self.pause(pause) => {}
                () = hurry.notified(), if !pause.is_zero() => {}
            }
            let Some(place) = self.place(&pace).await else { return };
            if self.clock.now_ms() > request.time_ms + millis(span) {
                continue;
            }
            let Some(Target { app, webhook }) = self.target(lane) else { return page.clear() };
            attempt += 1;
            // What failed may have moved to another address, where no old connection leads.
            let is_fresh = last.is_some() || pace.failed_within(FRESH_TIME);
            let posting = self.poster.post(&webhook, &lane.app, request, is_fresh);
            let outcome = place.run(posting).await.unwrap_or(Err(Failure::TOO_LONG));
            pace.note(outcome.is_err());
            match outcome {
                Ok(status) => {
                    let ids: Vec<_> = request.events.iter().map(|event| event.id).collect();
                    self.persist(|| self.outbox.remove(lane, &ids)).await;
                    self.note(&app, lane, request, attempt, Ok(status));
                    return self.tallies.delivered(lane, ids.len(), self.clock.now_ms(), status);
                }
                Err(failure) => {
                    last = Some(failure);
                    self.note(&app, lane, request, attempt, Err(failure));
                    self.tallies.failed(lane, self.clock.now_ms(), failure);
                }
            }
            // What is behind it waits on disk meanwhile, and not in memory.
            *page = VecDeque::new();
            pause = (pause * 2).clamp(PAUSE, PAUSE_MAX);
            span = AGE_MAX.min(Duration::from_secs(app.settings.webhook_retry_span.into()));
        }
    }

    /// Gives up the events of a request that are older than `oldest_ms`. Of a batch the others are told anew.
    async fn give_up(
        &self,
        lane: &Lane,
        (request, attempt, last): (&Request, u32, Option<Failure>),
        oldest_ms: i64,
        page: &mut VecDeque<Waiting>,
    ) {
        let events = request.events.iter().filter(|event| event.time_ms < oldest_ms);
        let late: Vec<_> = events.clone().map(|event| event.id).collect();
        if late.len() < request.events.len() {
            page.clear();
        }
        self.persist(|| self.outbox.remove(lane, &late)).await;
        self.note_given_up(lane, events, attempt, last);
        self.tallies.given_up(lane, late.len());
    }

    /// Drops what waits for a webhook that is gone.
    async fn forsake(&self, lane: &Lane) {
        let events = self.persist(|| self.outbox.remove_lane(lane)).await;
        self.tallies.forget(lane);
        let (app, host) = (&lane.app, host(&lane.url));
        tracing::info!(%app, host, events, "a webhook is gone, and what waited for it");
    }

    /// What waits in a lane. From here on, what is added is news.
    async fn look(&self, lane: &Lane) -> VecDeque<Waiting> {
        self.lanes.send_if_modified(|lanes| {
            lanes.entry(lane.clone()).or_default().is_news = false;
            false
        });
        self.persist(|| self.outbox.page(lane, PAGE_EVENTS, PAGE_BYTES)).await.into()
    }

    fn target(&self, lane: &Lane) -> Option<Target> {
        let app = (self.lookup)(&lane.app)?;
        let webhook = app.settings.webhooks.iter().find(|webhook| *webhook.url == *lane.url)?.clone();
        Some(Target { app, webhook })
    }

    /// A place for one request, unless the node stops.
    async fn place<'a>(&'a self, pace: &'a Pace) -> Option<Place<'a>> {
        let place = tokio::select! {
            place = self.places.take(pace) => Some(place),
            () = self.stopping() => None,
        };
        place.filter(|_| !self.is_stopping())
    }

    /// Waits, but not when the node stops.
    async fn pause(&self, time: Duration) {
        if !time.is_zero() {
            tokio::select! {
                () = self.clock.wait(time) => {}
                () = self.stopping() => {}
            }
        }
    }

    async fn stopping(&self) {
        let _ = self.phase.subscribe().wait_for(|phase| *phase >= Phase::Stopping).await;
    }

    fn is_stopping(&self) -> bool {
        *self.phase.borrow() >= Phase::Stopping
    }
}

/// All spans here are below some minutes.
fn millis(time: Duration) -> i64 {
    time.as_millis() as i64
}

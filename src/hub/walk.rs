//! Looking at all users or channels of an app, for whom that takes time in proportion to them.
//!
//! Always: page by page, the directory is let go in between and while something is matched; in turns that are fair between
//! apps (`turns.rs`); for a bounded time in all; and no longer than somebody waits for it. A walk goes from the end down: what
//! leaves makes the last, already seen, take the free position, so a walk may see something twice, and never misses what stays.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::directory::Directory;
use super::{Hub, LiveApp};
use crate::model::{ChannelName, Counts, Pattern, Publication, Reach, Refusal, Target, UserId, ValueEvent};
use crate::turns::{TURN, Turn, Work};

/// How many rows are looked at while the directory of their app is held.
const PAGE_ROWS: usize = 1024;

/// After so many rows a walk looks at the clock: one may take some milliseconds.
const CLOCK_ROWS: usize = 8;

/// What is walked over, and what of it is wanted.
pub(super) trait Rows: Send + 'static {
    /// What is found.
    type Row: Send + 'static;

    /// How many rows there are.
    fn len(&self, directory: &Directory) -> usize;

    /// The rows of a page, as far as it shows at a glance that they may be wanted.
    fn page(&self, directory: &Directory, end: usize, count: usize) -> Vec<Self::Row>;

    /// Whether a row is wanted; without the directory.
    fn is_wanted(&self, _row: &Self::Row) -> bool {
        true
    }
}

/// A walk as far as it has come.
pub(super) struct Walk<R: Rows> {
    app: Arc<LiveApp>,
    rows: R,
    end: usize,
    /// Taken, and not looked at yet.
    page: Vec<R::Row>,
    found: Vec<R::Row>,
    rest: Duration,
}

impl<R: Rows> Walk<R> {
    /// A walk that may take `time` in all.
    pub fn new(app: &Arc<LiveApp>, rows: R, time: Duration) -> Self {
        let end = rows.len(&app.directory());
        Self { app: Arc::clone(app), rows, end, page: Vec::new(), found: Vec::new(), rest: time }
    }

    /// Goes on until then. Whether it has come to its end.
    ///
    /// # Errors
    /// [`Refusal::PatternTooSlow`] when it took its time.
    pub fn advance(&mut self, until: Instant) -> Result<bool, Refusal> {
        let begun = Instant::now();
        let until = until.min(begun + self.rest);
        let is_done = self.walk(until);
        self.rest = self.rest.saturating_sub(begun.elapsed());
        if is_done || !self.rest.is_zero() { Ok(is_done) } else { Err(Refusal::PatternTooSlow) }
    }

    fn walk(&mut self, until: Instant) -> bool {
        loop {
            while !self.page.is_empty() {
                let rest = self.page.len().saturating_sub(CLOCK_ROWS);
                let rows = &self.rows;
                self.found.extend(self.page.drain(rest..).filter(|row| rows.is_wanted(row)));
                if Instant::now() >= until {
                    return false;
                }
            }
            if self.end == 0 {
                return true;
            }
            self.page = self.rows.page(&self.app.directory(), self.end, PAGE_ROWS);
            self.end = self.end.saturating_sub(PAGE_ROWS);
        }
    }

    /// What was found; perhaps twice.
    pub fn found(self) -> Vec<R::Row> {
        self.found
    }
}

/// Where somebody waits for what comes of a walk.
type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// A walk for somebody who waits, and what is done with what it finds.
struct Walking<R: Rows, F, T> {
    walk: Option<(Walk<R>, F, Answer<T>)>,
}

impl<R: Rows, T: Send, F: FnOnce(Vec<R::Row>) -> T + Send> Work for Walking<R, F, T> {
    fn turn(&mut self) -> Turn {
        let Some((mut walk, end, answer)) = self.walk.take() else { return Turn::Done };
        if answer.is_closed() {
            return Turn::Done;
        }
        let answered = match walk.advance(Instant::now() + TURN) {
            Ok(true) => Ok(end(walk.found())),
            Ok(false) => {
                self.walk = Some((walk, end, answer));
                return Turn::Again;
            }
            Err(refusal) => Err(refusal),
        };
        // It fails when the caller has left meanwhile.
        let _ = answer.send(answered);
        Turn::Done
    }
}

/// The users with a tag that matches.
pub(super) struct Matching(pub Pattern);

impl Rows for Matching {
    type Row = UserId;

    fn len(&self, directory: &Directory) -> usize {
        directory.len()
    }

    fn page(&self, directory: &Directory, end: usize, count: usize) -> Vec<UserId> {
        directory.page(end, count)
    }

    fn is_wanted(&self, user: &UserId) -> bool {
        self.0.matches(user.as_str())
    }
}

/// The occupied channels whose names match; those of single users are not told.
struct ChannelsMatching(Pattern);

impl Rows for ChannelsMatching {
    type Row = ChannelName;

    fn len(&self, directory: &Directory) -> usize {
        directory.channels.places()
    }

    fn page(&self, directory: &Directory, end: usize, count: usize) -> Vec<ChannelName> {
        directory.channels.page(end, count, "").map(|(name, _)| name.clone()).collect()
    }

    fn is_wanted(&self, channel: &ChannelName) -> bool {
        self.0.matches(channel.as_str())
    }
}

/// The occupied channels whose names begin so.
struct ChannelsFrom(String);

impl Rows for ChannelsFrom {
    type Row = (ChannelName, Counts);

    fn len(&self, directory: &Directory) -> usize {
        directory.channels.places()
    }

    fn page(&self, directory: &Directory, end: usize, count: usize) -> Vec<(ChannelName, Counts)> {
        let page = directory.channels.page(end, count, &self.0);
        page.map(|(name, counts)| (name.clone(), counts)).collect()
    }
}

impl Hub {
    /// Threads that match patterns and look at many.
    ///
    /// # Errors
    /// The system gives none.
    pub fn serve_turns(&self, threads: usize) -> std::io::Result<()> {
        self.turns.serve("walk", threads)
    }

    /// Does what waits for such a thread on the caller's: where there are none.
    pub fn work_off(&self) {
        self.turns.work_off();
    }

    /// Walks over rows of an app and does something with what it finds, on a thread where that may take its time. The walk
    /// ends when the caller leaves.
    ///
    /// # Errors
    /// [`Refusal::PatternTooSlow`], and [`Refusal::Overloaded`] when the app has too many walks under way.
    async fn walk<R: Rows, T: Send + 'static>(
        &self,
        app: &Arc<LiveApp>,
        rows: R,
        end: impl FnOnce(Vec<R::Row>) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        let walk = Walk::new(app, rows, self.limits.pattern_time_max);
        let walking = Walking { walk: Some((walk, end, answer)) };
        if !self.turns.try_add(app.number.0, Box::new(walking)) {
            return Err(Refusal::Overloaded);
        }
        answered.await.unwrap_or(Err(Refusal::Internal))
    }

    /// [`Hub::publish`] for a target that may be a pattern: it is matched where that may take its time. If the caller leaves
    /// before, nobody receives.
    ///
    /// # Errors
    /// Those of [`Hub::publish`].
    pub async fn publish_soon(
        self: &Arc<Self>,
        app: &Arc<LiveApp>,
        publication: Publication,
    ) -> Result<Reach, Refusal> {
        let pattern = match &publication.target {
            Target::UsersMatching(pattern) if pattern.literal().is_none() => pattern.clone(),
            _ => return self.publish(app, &publication),
        };
        let may = self.may_publish(app, &publication);
        let published = match may {
            Ok(()) => {
                let (hub, live) = (Arc::clone(self), Arc::clone(app));
                let end = move |users| hub.publish_to_matched(&live, &publication, users);
                self.walk(app, Matching(pattern), end).await.and_then(|published| published)
            }
            Err(refusal) => Err(refusal),
        };
        self.count_published(app, 1, published)
    }

    /// Delivers an event to all occupied channels whose names match; says how many they are.
    ///
    /// # Errors
    /// Those of [`Hub::publish_values`]; [`Refusal::PatternTooSlow`].
    pub async fn publish_values_matching(
        self: &Arc<Self>,
        app: &Arc<LiveApp>,
        pattern: Pattern,
        event: Arc<str>,
        value: Arc<str>,
    ) -> Result<usize, Refusal> {
        let (hub, live) = (Arc::clone(self), Arc::clone(app));
        let end = move |mut channels: Vec<ChannelName>| {
            channels.sort_unstable();
            channels.dedup();
            let event =
                |channel| ValueEvent { channel, event: Arc::clone(&event), value: Arc::clone(&value) };
            let events: Vec<ValueEvent> = channels.into_iter().map(event).collect();
            hub.publish_values(&live, &events).map(|()| events.len())
        };
        self.walk(app, ChannelsMatching(pattern), end).await.and_then(|published| published)
    }

    /// The occupied channels whose names begin with `prefix`, sorted, as `word` words them. Those of single users are not told.
    ///
    /// # Errors
    /// Those of a walk: [`Refusal::PatternTooSlow`], [`Refusal::Overloaded`].
    pub async fn occupied<T: Send + 'static>(
        &self,
        app: &Arc<LiveApp>,
        prefix: &str,
        word: impl FnOnce(Vec<(ChannelName, Counts)>) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let by_name = |mut found: Vec<(ChannelName, Counts)>| {
            found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            found.dedup_by(|(one, _), (other, _)| one == other);
            found
        };
        self.walk(app, ChannelsFrom(prefix.to_owned()), move |found| word(by_name(found))).await
    }
}

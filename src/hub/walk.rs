//! Looking at all users or channels of an app, for whom that takes time in proportion to them.
//!
//! Always: page by page, the directory is let go in between and while something is matched; in turns that are fair between
//! apps (`turns.rs`); for a bounded time in all; and no longer than somebody waits for it. A walk goes from the end down: what
//! leaves makes the last, already seen, take the free position, so a walk may see something twice, and never misses what stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use tokio::sync::oneshot;

use super::directory::Directory;
use super::holders::Tally;
use super::{Hub, LiveApp};
use crate::model::{ChannelName, Counts, Pattern, Publication, Reach, Refusal, Target, UserId, ValueEvent};
use crate::turns::{Line, TURN, Turn, Work};

/// How many rows are looked at while the directory of their app is held.
const PAGE_ROWS: usize = 1024;

/// After so many rows a walk looks at the clock: one may take some milliseconds.
const CLOCK_ROWS: usize = 8;

/// How long a walk may take that matches no pattern: it is bounded by what there is, and this only ends what went wrong.
const LOOK_TIME_MAX: Duration = Duration::from_secs(60);

/// What is walked over, and what of it is wanted.
pub(super) trait Rows: Send + 'static {
    /// What is found.
    type Row: Send + 'static;

    /// How many rows there are.
    fn len(&self, directory: &Directory) -> usize;

    /// The rows of a page, as far as it shows at a glance that they may be wanted.
    fn page(&self, directory: &Directory, end: usize, count: usize) -> Vec<Self::Row>;

    /// Whether each row is matched with a pattern, which may take long.
    fn is_slow(&self) -> bool {
        false
    }

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

    /// All that there is, at once: for who may wait.
    pub fn all(app: &Arc<LiveApp>, rows: R) -> Vec<R::Row> {
        let mut walk = Self::new(app, rows, LOOK_TIME_MAX);
        while !walk.walk(Instant::now() + LOOK_TIME_MAX) {}
        walk.found
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

/// A page of a walk over a map from the end down: what is at the places from `end - count` up to `end`.
pub(super) fn page<K, V>(map: &IndexMap<K, V>, end: usize, count: usize) -> impl Iterator<Item = (&K, &V)> {
    let end = end.min(map.len());
    let page = map.as_slice().get_range(end.saturating_sub(count)..end);
    page.into_iter().flat_map(|page| page.iter())
}

/// The users with a tag.
pub(super) struct Tagged;

impl Rows for Tagged {
    type Row = UserId;

    fn len(&self, directory: &Directory) -> usize {
        directory.len()
    }

    fn page(&self, directory: &Directory, end: usize, count: usize) -> Vec<UserId> {
        directory.page(end, count).map(|(user, _)| user.clone()).collect()
    }
}

/// What makes sockets a user's own.
#[derive(Clone, Copy)]
enum Tie {
    Tag,
    SignIn,
    Token,
}

/// The users whose names begin so, and how many sockets each has by one of its ties.
struct UsersFrom(String, Tie);

impl Rows for UsersFrom {
    type Row = (UserId, usize);

    fn len(&self, directory: &Directory) -> usize {
        match self.1 {
            Tie::Tag => directory.len(),
            Tie::SignIn => directory.signed_in.len(),
            Tie::Token => directory.bearers.user_count(),
        }
    }

    fn page(&self, directory: &Directory, end: usize, count: usize) -> Vec<(UserId, usize)> {
        let page: &mut dyn Iterator<Item = (&UserId, Tally)> = match self.1 {
            Tie::Tag => &mut directory.page(end, count),
            Tie::SignIn => &mut directory.signed_in.page(end, count),
            Tie::Token => &mut directory.bearers.page(end, count),
        };
        let found = page.filter(|(user, _)| user.as_str().starts_with(&self.0));
        found.map(|(user, tally)| (user.clone(), tally.total())).collect()
    }
}

/// The channels with subscribers that came with a token.
struct Attended;

impl Rows for Attended {
    type Row = ChannelName;

    fn len(&self, directory: &Directory) -> usize {
        directory.bearers.channel_count()
    }

    fn page(&self, directory: &Directory, end: usize, count: usize) -> Vec<ChannelName> {
        directory.bearers.page_of_channels(end, count).cloned().collect()
    }
}

/// The users among those who came with a token: all, or those in a channel.
struct Bearing(Option<ChannelName>);

impl Rows for Bearing {
    type Row = UserId;

    fn len(&self, directory: &Directory) -> usize {
        match &self.0 {
            Some(channel) => directory.bearers.user_count_in(channel),
            None => directory.bearers.user_count(),
        }
    }

    fn page(&self, directory: &Directory, end: usize, count: usize) -> Vec<UserId> {
        match &self.0 {
            Some(channel) => directory.bearers.page_in(channel, end, count).cloned().collect(),
            None => directory.bearers.page(end, count).map(|(user, _)| user.clone()).collect(),
        }
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
        Tagged.page(directory, end, count)
    }

    fn is_slow(&self) -> bool {
        true
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

    fn is_slow(&self) -> bool {
        true
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
        let time_max = if rows.is_slow() { self.limits.pattern_time_max } else { LOOK_TIME_MAX };
        let walk = Walk::new(app, rows, time_max);
        let walking = Walking { walk: Some((walk, end, answer)) };
        if !self.turns.try_add(Line::Calls(app.number.0), Box::new(walking)) {
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
        let end = move |channels: Vec<ChannelName>| {
            let event =
                |channel| ValueEvent { channel, event: Arc::clone(&event), value: Arc::clone(&value) };
            let events: Vec<ValueEvent> = sorted(channels).into_iter().map(event).collect();
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

    /// The users with a tag, sorted, as `word` words them.
    ///
    /// # Errors
    /// Those of a walk.
    pub async fn tagged<T: Send + 'static>(
        &self,
        app: &Arc<LiveApp>,
        word: impl FnOnce(Vec<UserId>) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        self.walk(app, Tagged, |found| word(sorted(found))).await
    }

    /// The users whose names begin with `prefix`, sorted, and how many sockets each has, as `word` words them: those with a
    /// tag, those who signed in and those whom a token names.
    ///
    /// # Errors
    /// Those of a walk.
    pub async fn users<T: Send + 'static>(
        &self,
        app: &Arc<LiveApp>,
        prefix: &str,
        word: impl FnOnce(Vec<(UserId, usize)>) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let rows = |tie| UsersFrom(prefix.to_owned(), tie);
        // A map forgets that a user was seen twice; the ties add up.
        let once = |found: Vec<(UserId, usize)>| found.into_iter().collect::<BTreeMap<_, _>>();
        let tagged = self.walk(app, rows(Tie::Tag), once).await?;
        let signed_in = self.walk(app, rows(Tie::SignIn), once).await?;
        let add = move |found| {
            let mut all = tagged;
            for (user, sockets) in signed_in.into_iter().chain(once(found)) {
                *all.entry(user).or_default() += sockets;
            }
            word(all.into_iter().collect())
        };
        self.walk(app, rows(Tie::Token), add).await
    }

    /// The channels with subscribers that came with a token, sorted, as `word` words them.
    ///
    /// # Errors
    /// Those of a walk.
    pub async fn attended_channels<T: Send + 'static>(
        &self,
        app: &Arc<LiveApp>,
        word: impl FnOnce(Vec<ChannelName>) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        self.walk(app, Attended, |found| word(sorted(found))).await
    }

    /// The users among those who came with a token, sorted, as `word` words them: all, or those in a channel.
    ///
    /// # Errors
    /// Those of a walk.
    pub async fn bearers<T: Send + 'static>(
        &self,
        app: &Arc<LiveApp>,
        channel: Option<ChannelName>,
        word: impl FnOnce(Vec<UserId>) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        self.walk(app, Bearing(channel), |found| word(sorted(found))).await
    }
}

fn sorted<T: Ord>(mut found: Vec<T>) -> Vec<T> {
    found.sort_unstable();
    found.dedup();
    found
}

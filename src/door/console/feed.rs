//! The live feed of an app, as server-sent events: for as long as the session and the app are there, and the node goes on.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::response::IntoResponse;
use futures_util::stream::unfold;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::session::Visitor;
use super::{Answer, Door};
use crate::dialect::console::Fault;
use crate::dialect::console::feed as words;
use crate::feed::Watcher;
use crate::hub::LiveApp;

/// How often it is looked at whether the feed may go on, and what was skipped.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long nothing may be said, so that nobody on the way takes the connection for dead.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// `GET /console/api/apps/{app_key}/feed`. Whoever looks on uses the session.
pub async fn watch(State(door): State<Arc<Door>>, head: Parts) -> Answer {
    let (visitor, live) = door.enter_app(&head)?;
    let settings = door.console.settings;
    let watcher = live.feed.watch(settings.watchers_max, settings.items_per_second_max);
    let watcher = watcher.ok_or_else(Fault::too_many_watchers)?;
    door.hub.metrics.feed_watchers.add(1);
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (told, others, progress) = (Instant::now(), door.hub.other_nodes(), Progress::New);
    let watching = Watching { door, visitor, live, watcher, looks, told, others, progress };
    let chunks = unfold(watching, |mut watching| async move {
        let chunk = watching.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(chunk)), watching))
    });
    let headers = [
        (CONTENT_TYPE.as_str(), "text/event-stream"),
        (CACHE_CONTROL.as_str(), "no-store"),
        // nginx would collect what is to be seen at once.
        ("x-accel-buffering", "no"),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// How far a feed has come.
#[derive(PartialEq, Eq)]
enum Progress {
    New,
    Open,
    Ended,
}

struct Watching {
    door: Arc<Door>,
    visitor: Visitor,
    live: Arc<LiveApp>,
    watcher: Watcher,
    looks: Interval,
    /// When something was last said.
    told: Instant,
    /// How many other nodes there were when that was last said.
    others: Option<usize>,
    progress: Progress,
}

impl Watching {
    /// What is said next; nothing after the end.
    async fn next(&mut self) -> Option<String> {
        let chunk = match self.progress {
            Progress::Ended => return None,
            // The answer shall come at once, though nothing may happen for long.
            Progress::New => {
                self.progress = Progress::Open;
                words::nodes(self.others)
            }
            Progress::Open => self.wait().await,
        };
        self.told = Instant::now();
        Some(chunk)
    }

    async fn wait(&mut self) -> String {
        loop {
            tokio::select! {
                // First, so that a crowd of items cannot outlast the session.
                biased;
                _ = self.looks.tick() => if let Some(chunk) = self.look() {
                    return chunk;
                },
                item = self.watcher.next() => return words::item(&item),
            }
        }
    }

    /// What is to be said though nothing may have happened.
    fn look(&mut self) -> Option<String> {
        let now = Instant::now();
        if !self.may_go_on(now) {
            self.progress = Progress::Ended;
            return Some(words::ENDED.to_owned());
        }
        let skipped = self.watcher.take_skipped();
        if skipped > 0 {
            self.door.hub.metrics.feed_skipped.add(skipped);
            return Some(words::skipped(skipped));
        }
        let others = self.door.hub.other_nodes();
        if std::mem::replace(&mut self.others, others) != others {
            return Some(words::nodes(others));
        }
        (now - self.told >= SILENCE_MAX).then(|| words::COMMENT.to_owned())
    }

    fn may_go_on(&self, now: Instant) -> bool {
        let app = self.door.hub.app(self.live.app.key.as_str());
        !self.door.hub.is_draining()
            && app.is_ok_and(|app| app.number == self.live.number)
            && self.door.is_still_there(&self.visitor, now)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.door.hub.metrics.feed_watchers.subtract(1);
    }
}

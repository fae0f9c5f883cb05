//! Who may have a request under way, so that webhooks that hang delay no others.
//!
//! Half of all places are for requests that are answered within a moment, the other half for slow ones. An app has at most
//! a quarter of each. A request begins on a quick place; when the moment is over it goes on on a slow one, and where that
//! has no room it is ended, to be repeated. A webhook whose last request was slow begins on a slow place, and has one
//! request under way until it is quick again. So has one that never answered.
//!
//! Always: a quick place is free again after [`QUICK_TIME`], whatever its request waits for.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::model::AppKey;
use crate::store::Lane;

/// How long a request may take that counts as quick.
const QUICK_TIME: Duration = Duration::from_secs(1);

/// An app has at most one of so many places.
const APP_SHARE: usize = 4;

/// So many webhooks are remembered at the least. When there are more, those without a lane are forgotten.
const REMEMBERED_MIN: usize = 1_024;

/// The places of a node.
#[derive(Debug)]
pub(super) struct Places {
    all: Kinds,
    of_app: usize,
    quick_time: Duration,
    webhooks: Mutex<Webhooks>,
}

#[derive(Debug, Default)]
struct Webhooks {
    known: HashMap<(AppKey, Arc<str>), Arc<Pace>>,
    remembered: usize,
}

#[derive(Debug)]
struct Kinds {
    quick: Semaphore,
    slow: Semaphore,
}

impl Kinds {
    fn new(each: usize) -> Self {
        Self { quick: Semaphore::new(each), slow: Semaphore::new(each) }
    }
}

/// What is known of a webhook, and what it shares with others of its app.
#[derive(Debug)]
pub(super) struct Pace {
    of_app: Arc<Kinds>,
    /// The one request of a webhook that is not known to be quick.
    alone: Semaphore,
    state: AtomicU8,
    /// When a request failed last.
    failed: Mutex<Option<Instant>>,
}

const UNKNOWN: u8 = 0;
const QUICK: u8 = 1;
const SLOW: u8 = 2;

impl Pace {
    fn is(&self, state: u8) -> bool {
        self.state.load(Ordering::Relaxed) == state
    }

    fn set(&self, is_quick: bool) {
        self.state.store(if is_quick { QUICK } else { SLOW }, Ordering::Relaxed);
    }

    /// Notes how a request ended.
    pub fn note(&self, has_failed: bool) {
        if has_failed {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }

    /// Whether a request failed within this time.
    pub fn failed_within(&self, time: Duration) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|failed| failed.elapsed() < time)
    }
}

/// A place for one request. Dropping it makes it free.
pub(super) struct Place<'a> {
    places: &'a Places,
    pace: &'a Pace,
    _alone: Option<SemaphorePermit<'a>>,
    permits: [Option<SemaphorePermit<'a>>; 2],
    is_slow: bool,
}

impl Places {
    pub fn new(requests_max: usize) -> Self {
        Self::with(requests_max, QUICK_TIME)
    }

    fn with(requests_max: usize, quick_time: Duration) -> Self {
        let each = (requests_max / 2).max(1);
        let (all, of_app) = (Kinds::new(each), (each / APP_SHARE).max(1));
        Self { all, of_app, quick_time, webhooks: Mutex::default() }
    }

    /// What is known of the webhook of a lane.
    pub fn pace(&self, lane: &Lane) -> Arc<Pace> {
        let mut webhooks = self.webhooks.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (lane.app.clone(), Arc::clone(&lane.url));
        if let Some(pace) = webhooks.known.get(&key) {
            return Arc::clone(pace);
        }
        if webhooks.known.len() >= 2 * webhooks.remembered.max(REMEMBERED_MIN / 2) {
            webhooks.known.retain(|_, pace| Arc::strong_count(pace) > 1);
            webhooks.remembered = webhooks.known.len();
        }
        let of_same = webhooks.known.iter().find(|((app, _), _)| *app == lane.app);
        let of_app = of_same.map(|(_, pace)| Arc::clone(&pace.of_app));
        let pace = Arc::new(Pace {
            of_app: of_app.unwrap_or_else(|| Arc::new(Kinds::new(self.of_app))),
            alone: Semaphore::new(1),
            state: AtomicU8::new(UNKNOWN),
            failed: Mutex::default(),
        });
        webhooks.known.insert(key, Arc::clone(&pace));
        pace
    }

    /// Waits for a place.
    pub async fn take<'a>(&'a self, pace: &'a Pace) -> Place<'a> {
        loop {
            let alone = if pace.is(QUICK) { None } else { pace.alone.acquire().await.ok() };
            let is_slow = pace.is(SLOW);
            let line = |kinds: &'a Kinds| if is_slow { &kinds.slow } else { &kinds.quick };
            // In this order: an app waits for all others with what it may have at most.
            let of_app = line(&pace.of_app).acquire().await.ok();
            let permits = [of_app, line(&self.all).acquire().await.ok()];
            // It may have become slow meanwhile, or quick.
            if is_slow == pace.is(SLOW) && (alone.is_some() || pace.is(QUICK)) {
                return Place { places: self, pace, _alone: alone, permits, is_slow };
            }
        }
    }
}

impl Place<'_> {
    /// Makes a request; none if it took too long for a quick place, and there was no slow one.
    pub async fn run<T>(mut self, request: impl Future<Output = T>) -> Option<T> {
        let (began, mut request) = (Instant::now(), pin!(request));
        if !self.is_slow {
            if let Ok(done) = timeout(self.places.quick_time, &mut request).await {
                self.pace.set(true);
                return Some(done);
            }
            self.pace.set(false);
            let of_app = self.pace.of_app.slow.try_acquire().ok()?;
            self.permits = [Some(of_app), Some(self.places.all.slow.try_acquire().ok()?)];
        }
        let done = request.await;
        self.pace.set(began.elapsed() < self.places.quick_time);
        Some(done)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::model::ChannelName;

    fn pace(places: &Places, app: &str, url: &str) -> Arc<Pace> {
        places.pace(&Lane::of(&AppKey::stored(app), &url.into(), &ChannelName::parse("c").unwrap()))
    }

    #[tokio::test]
    async fn webhooks_that_hang_keep_no_quick_place() {
        let places = Arc::new(Places::with(64, Duration::from_millis(20)));
        for app in 0..100 {
            for _lane in 0..4 {
                let (places, pace) = (Arc::clone(&places), pace(&places, &format!("hanging-{app}"), "u"));
                pace.set(true);
                tokio::spawn(async move {
                    loop {
                        places.take(&pace).await.run(pending::<()>()).await;
                    }
                });
            }
        }
        let healthy = pace(&places, "healthy", "u");
        for _ in 0..100 {
            let answered = places.take(&healthy).await.run(async { "fine" }).await;
            assert_eq!(answered, Some("fine"));
        }
        let settled = || (places.all.quick.available_permits(), places.all.slow.available_permits());
        while settled() != (32, 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn an_app_has_a_share_and_a_webhook_that_is_not_known_one_place() {
        let places = Places::new(64);
        let (unknown, quick) = (pace(&places, "x", "unknown"), pace(&places, "x", "quick"));
        quick.set(true);
        let one = places.take(&unknown).await;
        let mut others = Vec::new();
        for _ in 0..7 {
            others.push(places.take(&quick).await);
        }
        let (of_app, of_all) =
            (unknown.of_app.quick.available_permits(), places.all.quick.available_permits());
        assert_eq!((of_app, of_all), (0, 24));
        assert_eq!(unknown.alone.available_permits(), 0);
        let elsewhere = pace(&places, "y", "u");
        drop(places.take(&elsewhere).await);
        drop((one, others));
        assert_eq!(places.all.quick.available_permits(), 32);
    }
}

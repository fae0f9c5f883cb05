//! The hub's time, and what it has to do later: nobody waits for it, it is done when somebody advances the time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::LiveApp;
use crate::model::AppNumber;

/// Milliseconds since the hub was made.
pub type Millis = u64;

/// The time, and the apps that have something to do by when. An app may be in it more than once.
#[derive(Debug)]
pub struct Agenda {
    origin: Instant,
    now: AtomicU64,
    due: Mutex<BTreeMap<(Millis, AppNumber), Arc<LiveApp>>>,
}

impl Agenda {
    /// Nothing to do, at time 0.
    pub fn new(origin: Instant) -> Self {
        Self { origin, now: AtomicU64::new(0), due: Mutex::default() }
    }

    /// The time as it was last advanced.
    pub fn now(&self) -> Millis {
        self.now.load(Ordering::Relaxed)
    }

    /// What the time would be then.
    pub fn at(&self, then: Instant) -> Millis {
        then.saturating_duration_since(self.origin).as_millis() as Millis
    }

    /// Notes that an app has something to do at `due`.
    pub fn note(&self, due: Millis, app: &Arc<LiveApp>) {
        self.lock().insert((due, app.number), Arc::clone(app));
    }

    /// Advances the time; returns the apps that have something to do now.
    pub fn advance(&self, to: Instant) -> Vec<Arc<LiveApp>> {
        let now = self.at(to);
        self.now.fetch_max(now, Ordering::Relaxed);
        let mut due = self.lock();
        let later = due.split_off(&(now + 1, AppNumber(0)));
        std::mem::replace(&mut *due, later).into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Millis, AppNumber), Arc<LiveApp>>> {
        // No code that can panic runs under the lock.
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

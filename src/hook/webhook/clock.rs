//! The time by which webhooks are tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// Tells the time and waits for it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The clock of the system.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock for tests that stands at `now_ms` and jumps ahead whenever somebody waits.
    pub fn jumping(now_ms: i64) -> Self {
        Self(Some(Arc::new(AtomicI64::new(now_ms))))
    }

    /// Unix time in milliseconds.
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            None => Timestamp::now().as_millisecond(),
            Some(now_ms) => now_ms.load(Ordering::SeqCst),
        }
    }

    /// Returns when it is so much later.
    pub(super) async fn wait(&self, time: Duration) {
        match &self.0 {
            None => tokio::time::sleep(time).await,
            Some(now_ms) => {
                now_ms.fetch_add(time.as_millis() as i64, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        }
    }
}

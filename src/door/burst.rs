//! One line in the log for many events that come at once.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// From one line to the next, while it goes on.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Events of one kind.
#[derive(Debug, Default)]
pub struct Burst(Mutex<Option<Instant>>);

impl Burst {
    /// One more has come: whether to say so.
    pub fn begins(&self) -> bool {
        let mut told_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY);
        if is_due {
            *told_at = Some(Instant::now());
        }
        is_due
    }
}

//! What happens in bursts is logged once for each of them, and counted every time.

use std::sync::atomic::{AtomicU64, Ordering};

use super::agenda::Millis;

/// A burst ends when nothing happened for so long, in milliseconds.
const QUIET_MS: Millis = 10_000;

/// When something last happened, plus one; 0 before that.
#[derive(Debug, Default)]
pub struct Burst(AtomicU64);

impl Burst {
    /// It happens now. Whether a burst begins with it.
    pub fn begins(&self, now: Millis) -> bool {
        let last = self.0.swap(now + 1, Ordering::Relaxed);
        last == 0 || now + 1 > last + QUIET_MS
    }
}

//! The wall clock, for what is decided by it: which of two events is the later. It may be set back, and that of another node
//! may be ahead.
//!
//! Always: what happens later here has a later time than all that this node knew of before.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

/// The clock of one node.
#[derive(Debug, Default)]
pub struct WallClock {
    /// The latest time that was given out or seen, in Unix milliseconds.
    last_ms: AtomicI64,
    /// How far it is off.
    ahead_ms: AtomicI64,
}

impl WallClock {
    /// Unix time in milliseconds, as the system has it now.
    pub fn now_ms(&self) -> i64 {
        Timestamp::now().as_millisecond().saturating_add(self.ahead_ms.load(Ordering::Relaxed))
    }

    /// The time of what happens now: later than all before it.
    pub fn next_ms(&self) -> i64 {
        let now_ms = self.now_ms();
        let next = |last_ms: i64| now_ms.max(last_ms.saturating_add(1));
        let (order, read) = (Ordering::Relaxed, Ordering::Relaxed);
        let last_ms = self.last_ms.fetch_update(order, read, |last_ms| Some(next(last_ms)));
        next(last_ms.unwrap_or_else(|last_ms| last_ms))
    }

    /// Something happened at this time, on whichever node.
    pub fn see(&self, at_ms: i64) {
        self.last_ms.fetch_max(at_ms, Ordering::Relaxed);
    }

    /// For tests: as if the clock of the system were so far ahead, or behind.
    pub fn set_ahead(&self, ahead_ms: i64) {
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_later_is_later_whatever_the_clock_says() {
        let clock = WallClock::default();
        let first = clock.next_ms();
        clock.set_ahead(-600_000);
        assert!(clock.now_ms() < first);
        assert_eq!([clock.next_ms(), clock.next_ms()], [first + 1, first + 2]);
        clock.see(first + 900_000);
        assert_eq!(clock.next_ms(), first + 900_001);
        clock.see(i64::MAX);
        assert_eq!(clock.next_ms(), i64::MAX);
    }
}

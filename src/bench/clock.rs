//! The one clock of a measurement: monotonic, and the same in every process of a machine.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since some moment that all processes share.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Waits until [`now_ns`] is at least `due_ns`, and says how late it then is, in nanoseconds.
#[expect(clippy::disallowed_methods, reason = "what a steady sender waits for is the clock and nothing else")]
pub fn sleep_until(due_ns: u64) -> u64 {
    std::thread::sleep(Duration::from_nanos(due_ns.saturating_sub(now_ns())));
    now_ns().saturating_sub(due_ns)
}

//! One line on stderr that says how far a measurement is, if somebody at a terminal can see it.

use std::io::{IsTerminal, Write, stderr};

use super::clock::now_ns;

/// How often the line changes, in nanoseconds.
const STEP_NS: u64 = 200_000_000;

/// The line.
#[derive(Debug)]
pub struct Progress {
    is_seen: bool,
    next_ns: u64,
}

impl Default for Progress {
    fn default() -> Self {
        Self { is_seen: stderr().is_terminal(), next_ns: 0 }
    }
}

impl Progress {
    /// Shows how far it is, unless it did so a moment ago.
    pub fn show(&mut self, words: impl FnOnce() -> String) {
        if self.is_seen && now_ns() >= self.next_ns {
            self.next_ns = now_ns() + STEP_NS;
            self.write(&words());
        }
    }

    fn write(&self, words: &str) {
        // A terminal that has gone takes no part in the measurement.
        let _ = write!(stderr(), "\r\x1b[K{words}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_seen && self.next_ns > 0 {
            self.write("");
        }
    }
}

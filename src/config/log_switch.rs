//! How much is logged at this moment: what the configuration says, until a call says otherwise. A configuration that is
//! read again has the last word, and so has a start.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::Level;

/// What makes the log take a level.
type Turn = Box<dyn Fn(Level) + Send + Sync>;

/// The level of the log of this process. Always: what it tells is what the log goes by.
pub struct LogSwitch {
    now: Mutex<Level>,
    turn: Turn,
}

impl LogSwitch {
    /// For a log that goes by `now`, and by others as `turn` is called with them.
    pub fn new(now: Level, turn: impl Fn(Level) + Send + Sync + 'static) -> Self {
        Self { now: Mutex::new(now), turn: Box::new(turn) }
    }

    /// The level of this moment.
    pub fn level(&self) -> Level {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes another level, at once. Of several callers the last is heard.
    pub fn set(&self, level: Level) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        (self.turn)(level);
        *now = level;
    }
}

impl fmt::Debug for LogSwitch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "LogSwitch({})", self.level().word())
    }
}

//! A load tester for servers that speak Pusher's protocol, for Gusher's own sockets, and for the kernel alone.
//!
//! It shares its machine with the server, so what it spends is kept small: all sockets are read by one thread into one
//! buffer ([`crowd`]), and of a message only the stamp is looked at ([`stamp`]), which says when it was sent and the
//! how-manyth it is. A second thread publishes ([`flow`]). Nothing here is a general client: no fragment, no compression.
//!
//! What always holds: every loop ends by itself, be it for want of progress; what was not delivered is counted; and a
//! figure that could not be measured is absent rather than zero.

pub mod backend;
pub mod bus;
pub mod clock;
pub mod crowd;
pub mod delivery;
pub mod figures;
pub mod floor;
pub mod flow;
pub mod process;
pub mod progress;
pub mod receiver;
pub mod scenario;
pub mod stamp;
pub mod tally;
pub mod target;
pub mod wire;

use std::fmt;
use std::time::Duration;

/// How long nothing may happen that should, before a wait is given up.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Why nothing was measured, in a sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault(pub String);

/// What every step of a measurement comes to.
pub type Outcome<T> = Result<T, Fault>;

impl Fault {
    /// `doing` is what failed, as in "cannot open a socket".
    pub(crate) fn because(doing: &str, reason: impl fmt::Display) -> Self {
        Self(format!("{doing}: {reason}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

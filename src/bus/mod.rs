//! The bus: what carries bytes between the nodes of a cluster. It knows subjects and frames, and nothing of what is in
//! them.
//!
//! Every kind keeps the same promises, and passes the same tests (`tests/bus_contract.rs`):
//!
//! 1. No call waits. [`Bus::send`] takes a frame or refuses it at once.
//! 2. While the bus is up, a frame that was taken reaches every node that follows its subject, the sender too; no node
//!    gets it twice.
//! 3. Frames of one sender on one subject arrive in the order in which they were taken.
//! 4. What a node says goes out in the order in which it said it: a frame taken after [`Bus::follow`] finds the subject
//!    followed. So a node that follows a subject of its own and hears itself knows that all that it followed before is
//!    followed.
//! 5. The events say when the bus went down and when it is up again; it comes back by itself, and every subject is followed
//!    again before the `Up` is told. What others sent meanwhile is lost.
//! 6. Frames that were dropped on the way because this node was too slow are told as `Lost`, never silently.
//! 7. What waits to go out is bounded; one frame more is refused. Nothing waits while the bus is down.
//! 8. Closing (dropping the bus) lets what was taken go out first, for a bounded time; no task or connection is left.

mod events;
pub mod local;
pub mod wire;

use std::fmt;

use bytes::Bytes;

/// What happened on the bus, in one queue and in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusEvent {
    /// A frame on a subject that this node follows.
    Frame(Bytes),
    /// The bus is there, for the first time or again.
    Up,
    /// The bus is gone.
    Down,
    /// So many frames, at least, were dropped on their way to this node.
    Lost(u64),
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// The bus is down.
    Down,
    /// Too much waits to go out.
    Full,
    /// The frame is larger than the bus carries.
    TooLarge,
}

impl fmt::Display for NotSent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            NotSent::Down => "the bus is down",
            NotSent::Full => "the bus does not keep up",
            NotSent::TooLarge => "the bus does not carry so large a message",
        })
    }
}

/// To the other nodes. The module says what it promises.
pub trait Bus: fmt::Debug + Send + Sync {
    /// Sends a frame to all that follow `subject`.
    ///
    /// # Errors
    /// The frame was not taken, and goes nowhere.
    fn send(&self, subject: &str, frame: Bytes) -> Result<(), NotSent>;

    /// From now on frames on `subject` arrive here. Following twice is following once.
    fn follow(&self, subject: &str);

    /// Frames on `subject` arrive here no longer; some that were on their way still may.
    fn unfollow(&self, subject: &str);

    /// Whether frames are taken.
    fn is_up(&self) -> bool;
}

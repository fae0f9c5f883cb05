//! Why the node closes a socket that did nothing wrong at the door. Each dialect gives it a number and words.

/// A reason to close an admitted socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// Its app was unregistered.
    AppUnregistered,
    /// Its app was switched off.
    AppDisabled,
    /// A backend asked for it.
    Terminated,
    /// It did not show in time who it is.
    Unauthorized,
    /// Its token has expired.
    TokenExpired,
    /// It says too much that makes no sense.
    Nonsense,
    /// It sends more frames than its app allows.
    TooManyFrames,
    /// It subscribes to nothing.
    Unsubscribed,
    /// The node stops, and others take its clients.
    NodeStops,
    /// The node stops, and nobody else takes its clients until it, or its like, is back.
    NodeRestarts,
    /// The node is cut off from the others.
    NodeCutOff,
    /// It does not read what is sent to it.
    SlowReader,
    /// It did not answer a ping.
    Silent,
}

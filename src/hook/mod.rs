//! To the backends: the connect hook, which is asked before a socket is admitted, and the notices of what happened.

mod connect;
mod notices;

pub use connect::{ConnectHook, ConnectHookLimits};
pub use notices::Notices;

//! To the backends: the connect hook, which is asked before a socket is admitted.

mod connect;

pub use connect::{ConnectHook, ConnectHookLimits};

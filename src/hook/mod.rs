//! To the backends: the connect hook, which is asked before a socket is admitted, and the notices of what happened,
//! which webhooks tell.

mod client;
mod connect;
mod line;
mod names;
mod notices;
mod webhook;

pub use connect::{ConnectHook, ConnectHookLimits};
pub use notices::{Notices, Posted};
pub use webhook::{
    Clock, JournalLimits, Lookup, Retry, WebhookApp, WebhookFigures, WebhookSettings, Webhooks,
};

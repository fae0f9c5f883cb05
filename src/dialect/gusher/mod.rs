//! The original system's dialect: form calls on the private listener, plain text frames on the sockets.

pub mod api;
pub mod hook;
pub mod log_level;
pub mod settings;
pub mod socket;
pub mod webhooks;

//! Gusher, a realtime push server: backends publish over HTTP, browsers and apps receive over WebSocket.

// Bad input must never panic. Not in Cargo.toml, because there it would bind the helpers of tests/ as well.
#![warn(clippy::unwrap_used)]

pub mod admin;
pub mod bench;
pub mod bus;
pub mod cli;
pub mod config;
pub mod dialect;
pub mod door;
pub mod feed;
pub mod hook;
pub mod hub;
pub mod metrics;
pub mod model;
pub mod net;
pub mod node;
pub mod shard;
pub mod store;
pub mod turns;

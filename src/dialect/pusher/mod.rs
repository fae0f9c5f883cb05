//! Pusher Channels: JSON envelopes on the sockets, signed permissions for channels (pusher-channels).

pub mod api;
pub mod auth;
pub mod data;
pub mod handshake;
pub mod socket;
pub mod webhook;

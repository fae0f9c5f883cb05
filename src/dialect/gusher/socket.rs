//! Sockets at `/ws/{app_key}/{user_tag}` (spec 1.8): a push arrives as one text frame of exactly its content, and
//! whatever the client sends is read and discarded.

use crate::model::{Content, Parting, Push};

/// What a client reads for a push.
pub fn encode(push: &Push) -> &str {
    match &push.content {
        Content::Event { data, .. } => data,
        // All else is about channels and signed-in users, and its sockets are neither.
        _ => "",
    }
}

/// The close code and reason that tell a client why it was closed (spec D24, D25, D26).
pub fn close(parting: Parting) -> (u16, &'static str) {
    match parting {
        Parting::AppUnregistered => (4001, "app unregistered"),
        Parting::AppDisabled => (4003, "app disabled"),
        // Not asked of its sockets.
        Parting::Terminated
        | Parting::Unauthorized
        | Parting::TokenExpired
        | Parting::Nonsense
        | Parting::Unsubscribed => (1008, "closed by the app"),
        Parting::TooManyFrames => (1008, "too many frames"),
        Parting::NodeStops | Parting::NodeRestarts => (1001, "server stops"),
        Parting::NodeCutOff => (1001, "server lost the other servers"),
        Parting::SlowReader => (1013, "slow consumer"),
        Parting::Silent => (1001, "not heard of"),
    }
}

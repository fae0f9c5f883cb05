//! Sockets at `/ws/{app_key}/{user_tag}` (spec 1.8): a push arrives as one text frame of exactly its content, and
//! whatever the client sends is read and discarded.

use crate::model::{Parting, Push};

/// What a client reads for a push.
pub fn encode(push: &Push) -> &str {
    &push.data
}

/// The close code and reason that tell a client why it was closed (spec D24, D25, D26).
pub fn close(parting: Parting) -> (u16, &'static str) {
    match parting {
        Parting::AppUnregistered => (4001, "app unregistered"),
        Parting::NodeStops => (1001, "server stops"),
        Parting::SlowReader => (1013, "slow consumer"),
    }
}

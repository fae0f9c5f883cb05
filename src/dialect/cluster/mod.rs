//! Gusher Cluster: sockets that come with a token, JSON both ways, and an HTTP interface for backends (spec part 2).

pub mod api;
pub mod socket;
pub mod token;

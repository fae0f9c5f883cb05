//! A push: what the hub hands to a shard for its sockets to receive unasked.

use std::sync::Arc;

use super::{AppNumber, UserId};

/// The receivers of a push, as the hub resolved them.
#[derive(Clone, Debug)]
pub enum Audience {
    /// Every socket of the app.
    Everyone,
    /// Every socket of these users. A user without sockets on a shard is passed over there.
    Users(Arc<[UserId]>),
}

/// A publication resolved to its receivers, shared by all the shards it concerns.
#[derive(Clone, Debug)]
pub struct Push {
    /// The app it stays within.
    pub app: AppNumber,
    /// Who receives it.
    pub audience: Audience,
    /// What they receive, byte for byte.
    pub data: Arc<str>,
}

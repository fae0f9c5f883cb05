//! A publication: what a backend wants delivered, on its way to its target.

use std::sync::Arc;

use super::{ChannelName, Pattern, SocketId};

/// Whom a publication is for.
#[derive(Clone, Debug)]
pub enum Target {
    /// Every socket of the app.
    Everyone,
    /// Every socket of each user whose id matches.
    UsersMatching(Pattern),
    /// The subscribers of these channels; each name once.
    Channels(Vec<ChannelName>),
}

/// An event on its way to a target, within one app.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Whom it is for.
    pub target: Target,
    /// The name of the event; empty in the Gusher dialect, which has none.
    pub event: Arc<str>,
    /// What arrives, byte for byte.
    pub data: Arc<str>,
    /// A socket that does not get it.
    pub except: Option<SocketId>,
}

/// An event whose data is a JSON value, for one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueEvent {
    /// The channel.
    pub channel: ChannelName,
    /// Its name.
    pub event: Arc<str>,
    /// Its data: the text of a JSON value, byte for byte.
    pub value: Arc<str>,
}

/// Whom a publication was addressed to when it was accepted (spec D3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Distinct users.
    pub users: usize,
    /// Sockets it was queued for.
    pub sockets: usize,
}

/// How many subscribe to a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Distinct users; known of presence channels only.
    pub users: usize,
    /// Sockets.
    pub subscriptions: usize,
}

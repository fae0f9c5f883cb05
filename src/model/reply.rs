//! What a client is told in answer to what it asked.

use std::sync::Arc;

use super::{ChannelName, Refusal, Roster, SignIn, UserId};

/// An answer to a command.
#[derive(Clone, Debug)]
pub enum Reply<'a> {
    /// It lives.
    Pong,
    /// It lives, at this Unix time in seconds, and has heard this JSON value.
    Echo {
        /// What it heard.
        value: &'a str,
        /// When.
        at_s: i64,
    },
    /// What it may subscribe to; its session knows.
    Permissions,
    /// The socket is in the channel.
    Subscribed {
        /// The channel.
        channel: &'a ChannelName,
        /// On a presence channel: its members, the subscriber included.
        roster: Option<Roster>,
        /// On a channel that keeps its last event: that event, if there is one.
        kept: Option<Option<Kept>>,
    },
    /// It is in all of these channels.
    SubscribedToAll(&'a [ChannelName]),
    /// It is in none of these, unless it was before.
    SubscribedToNone(&'a [ChannelName], Refusal),
    /// It is no longer in the channel.
    Unsubscribed(&'a ChannelName),
    /// It could not get in.
    NotSubscribed(&'a ChannelName, Refusal),
    /// It could not get out.
    NotUnsubscribed(&'a ChannelName, Refusal),
    /// Its event went nowhere.
    NotPublished(&'a ChannelName, Refusal),
    /// It is known whose socket it is.
    SignedIn(&'a SignIn),
    /// It stays what it was.
    NotSignedIn(Refusal),
    /// Of the users it watches, these are here and these are not.
    Watched {
        /// Signed in somewhere.
        online: Vec<UserId>,
        /// Not signed in.
        offline: Vec<UserId>,
    },
    /// It watches no more users than this.
    WatchlistCut(usize),
    /// What else than ids of users was in its watchlist is not watched.
    WatchlistInvalid,
}

/// The last event of a channel that keeps one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub event: Arc<str>,
    /// Its data, byte for byte.
    pub data: Arc<str>,
}

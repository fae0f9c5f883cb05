//! What a client asks of its shard.

use std::sync::Arc;

use super::{ChannelName, Member, UserId};

/// A client asks; permission was checked by the dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Put the socket into a channel; on a presence channel as this member.
    Subscribe {
        /// The channel.
        channel: ChannelName,
        /// Who it is, on a presence channel.
        member: Option<Member>,
    },
    /// Put the socket into all of these channels, or into none.
    SubscribeAll(Vec<ChannelName>),
    /// Take the socket out of a channel.
    Unsubscribe(ChannelName),
    /// Deliver an event to the other subscribers of a channel.
    Publish {
        /// The channel.
        channel: ChannelName,
        /// The event's name.
        event: Arc<str>,
        /// What they receive.
        data: Arc<str>,
    },
    /// Remember whose socket it is, for as long as it lives.
    SignIn(SignIn),
    /// Say that you live.
    Ping,
    /// Say that you live, what time it is, and this JSON value.
    Echo(Arc<str>),
    /// Say what the socket may subscribe to.
    ShowPermissions,
}

/// What a client says of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// Who it is, and what is told about the user on presence channels.
    pub member: Member,
    /// What was signed, as it came.
    pub user_data: Arc<str>,
    /// The users whose coming and going it is to be told, no more than its app allows.
    pub watchlist: Vec<UserId>,
    /// There were more of them than that.
    pub is_watchlist_cut: bool,
    /// There was something else in it than ids of users, or it was no list.
    pub is_watchlist_invalid: bool,
}

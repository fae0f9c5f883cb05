//! What a client asks of its shard.

use std::sync::Arc;

use super::{ChannelName, Member};

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
    /// Say that you live.
    Ping,
}

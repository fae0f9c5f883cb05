//! A push: what the hub hands to a shard for its sockets to receive unasked.

use std::sync::Arc;

use super::{AppNumber, ChannelName, Member, SocketId, UserId};

/// The receivers of a push, as the hub resolved them.
#[derive(Clone, Debug)]
pub enum Audience {
    /// Every socket of the app that speaks Gusher.
    Everyone,
    /// Every socket of these users. A user without sockets on a shard is passed over there.
    Users(Arc<[UserId]>),
    /// The subscribers of a channel.
    Channel(ChannelName),
    /// Those who watch this user.
    Watchers(UserId),
    /// The sockets whose token names this user.
    Bearers(UserId),
    /// The socket of this name.
    Socket(SocketId),
}

/// What is received.
#[derive(Clone, Debug)]
pub enum Content {
    /// An event.
    Event {
        /// Its name; empty in the Gusher dialect.
        event: Arc<str>,
        /// Its data, byte for byte.
        data: Arc<str>,
        /// The member who sent it, when a client did so on a presence channel.
        user: Option<UserId>,
    },
    /// An event whose data is a JSON value.
    Value {
        /// Its name; empty when it goes to a user or a socket.
        event: Arc<str>,
        /// The text of the value, byte for byte.
        value: Arc<str>,
    },
    /// Somebody new is in the presence channel.
    MemberAdded(Member),
    /// Somebody is no longer in it.
    MemberRemoved(UserId),
    /// So many subscribe to the channel.
    SubscriptionCount(usize),
    /// The user has signed in.
    Online(UserId),
    /// The last socket of the user is gone.
    Offline(UserId),
}

/// Something to receive, resolved to its receivers, shared by all the shards it concerns.
#[derive(Clone, Debug)]
pub struct Push {
    /// The app it stays within.
    pub app: AppNumber,
    /// Who receives it.
    pub audience: Audience,
    /// What they receive.
    pub content: Content,
    /// A socket among them that does not.
    pub except: Option<SocketId>,
    /// For a change that receivers may have been told of already when they came (a roster, a kept event, who is
    /// online), which one: each app counts its own from 1. Who was told of it is passed over. 0 for anything else.
    pub revision: u64,
}

impl Push {
    /// How much it holds, in bytes.
    pub fn data_bytes(&self) -> usize {
        match &self.content {
            Content::Event { data, .. } | Content::Value { value: data, .. } => data.len(),
            Content::MemberAdded(member) => member.info.len(),
            Content::MemberRemoved(_)
            | Content::SubscriptionCount(_)
            | Content::Online(_)
            | Content::Offline(_) => 0,
        }
    }
}

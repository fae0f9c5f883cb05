//! A notice: what a webhook tells a backend that happened in a channel.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AppKey, ChannelName, SocketId, UserId};

/// Something that happened in a channel of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The app.
    pub app: AppKey,
    /// The channel.
    pub channel: ChannelName,
    /// When it happened, Unix time in milliseconds.
    pub at_ms: i64,
    /// What happened.
    pub event: NoticeEvent,
}

/// What happened (pusher-channels 15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeEvent {
    /// The first socket subscribed.
    ChannelOccupied,
    /// The last one left, some seconds ago.
    ChannelVacated,
    /// Somebody new is in the presence channel.
    MemberAdded(UserId),
    /// Somebody left it, some seconds ago.
    MemberRemoved(UserId),
    /// A client published.
    ClientEvent {
        /// The event's name.
        event: Arc<str>,
        /// What the subscribers received.
        data: Arc<str>,
        /// Who sent it.
        socket: SocketId,
        /// On a presence channel, as whom.
        user: Option<UserId>,
    },
    /// Somebody subscribed to a cache channel that holds nothing.
    CacheMiss,
    /// So many sockets subscribe now.
    SubscriptionCount(usize),
}

/// The kinds of [`NoticeEvent`], by which a webhook chooses. They are written as on the wire: `channel_occupied`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// [`NoticeEvent::ChannelOccupied`]
    ChannelOccupied,
    /// [`NoticeEvent::ChannelVacated`]
    ChannelVacated,
    /// [`NoticeEvent::MemberAdded`]
    MemberAdded,
    /// [`NoticeEvent::MemberRemoved`]
    MemberRemoved,
    /// [`NoticeEvent::ClientEvent`]
    ClientEvent,
    /// [`NoticeEvent::CacheMiss`]
    CacheMiss,
    /// [`NoticeEvent::SubscriptionCount`]
    SubscriptionCount,
}

impl NoticeEvent {
    /// Its kind.
    pub fn kind(&self) -> NoticeKind {
        match self {
            NoticeEvent::ChannelOccupied => NoticeKind::ChannelOccupied,
            NoticeEvent::ChannelVacated => NoticeKind::ChannelVacated,
            NoticeEvent::MemberAdded(_) => NoticeKind::MemberAdded,
            NoticeEvent::MemberRemoved(_) => NoticeKind::MemberRemoved,
            NoticeEvent::ClientEvent { .. } => NoticeKind::ClientEvent,
            NoticeEvent::CacheMiss => NoticeKind::CacheMiss,
            NoticeEvent::SubscriptionCount(_) => NoticeKind::SubscriptionCount,
        }
    }
}

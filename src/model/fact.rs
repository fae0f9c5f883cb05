//! Facts: what the nodes of a cluster tell each other.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{AppKey, ChannelName, NoticeEvent, NoticeKind, PermissionChange, SocketId, UserId};

/// Names a node: a random number, a new one with each start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl std::fmt::Display for NodeId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

/// Something of an app that each node has a share of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// The sockets of a user in the Gusher dialect.
    User(UserId),
    /// The sockets that belong to no such user.
    Others,
    /// The sockets that came with a token.
    Bearers,
    /// Those of one user among them.
    Bearer(UserId),
    /// The sockets that are signed in as this user.
    SignedIn(UserId),
    /// The subscriptions of a channel.
    Channel(ChannelName),
    /// Those among them that came with a token.
    Attended(ChannelName),
    /// Those of one user among these.
    Attendee(ChannelName, UserId),
    /// A member of a presence channel.
    Member(ChannelName, UserId),
}

/// How much of an item one node has. Nothing is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many.
    pub count: u32,
    /// Of a member: what the app tells about the user, the text of a JSON value.
    pub info: Option<Arc<str>>,
}

impl Share {
    /// So many.
    pub fn of(count: u32) -> Self {
        Self { count, info: None }
    }
}

/// An item and the whole share that the sender has of it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// What.
    pub item: Item,
    /// How many.
    #[serde(default, rename = "n", skip_serializing_if = "is_zero")]
    pub count: u32,
    /// Of a member: what the app tells about the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<Arc<str>>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Holding {
    /// That share of that item.
    pub fn new(item: Item, share: Share) -> Self {
        Self { item, count: share.count, info: share.info }
    }

    /// Taken apart.
    pub fn split(self) -> (Item, Share) {
        (self.item, Share { count: self.count, info: self.info })
    }
}

/// What a node holds in one app, or what of it has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppHoldings {
    /// The app.
    pub app: AppKey,
    /// Those of a kind that this node does not know are passed over.
    #[serde(deserialize_with = "known_only")]
    pub holdings: Vec<Holding>,
}

/// A newer node may say what this one has no word for.
fn known_only<'de, D: Deserializer<'de>, T: DeserializeOwned>(list: D) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<Box<RawValue>>::deserialize(list)?;
    Ok(texts.iter().filter_map(|text| serde_json::from_str(text.get()).ok()).collect())
}

/// A notice that the node whose task it is has handed to its webhooks, or has still to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The app.
    pub app: AppKey,
    /// The channel.
    pub channel: ChannelName,
    /// What happened in it.
    pub kind: NoticeKind,
    /// To whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// How many subscribe, where that was told.
    #[serde(default, rename = "n", skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

impl Told {
    /// That was told of a channel.
    pub fn new(app: &AppKey, channel: &ChannelName, event: &NoticeEvent) -> Self {
        let (user, count) = match event {
            NoticeEvent::MemberAdded(user) | NoticeEvent::MemberRemoved(user) => (Some(user.clone()), None),
            NoticeEvent::SubscriptionCount(count) => (None, u32::try_from(*count).ok()),
            _ => (None, None),
        };
        Self { app: app.clone(), channel: channel.clone(), kind: event.kind(), user, count }
    }

    /// What it takes of a fact, in bytes, at most: text grows to twice its length when it is escaped.
    pub fn weight_bytes(&self) -> usize {
        let user = self.user.as_ref().map_or(0, |user| user.as_str().len());
        128 + 2 * (self.app.as_str().len() + self.channel.as_str().len() + user)
    }

    /// Whether both are about the same: that it came or went, or how many there are.
    pub fn is_about(&self, other: &Self) -> bool {
        let is_count = |told: &Self| told.kind == NoticeKind::SubscriptionCount;
        (&self.app, &self.channel, &self.user, is_count(self))
            == (&other.app, &other.channel, &other.user, is_count(other))
    }
}

/// Whom something is for that was published on another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipients {
    /// Every socket of the app that speaks Gusher.
    Everyone,
    /// Every socket of each user whose id matches this pattern.
    UsersMatching(String),
    /// The subscribers of a channel.
    Channel(ChannelName),
    /// The sockets whose token names this user.
    Bearers(UserId),
    /// The socket of this name.
    Socket(SocketId),
}

/// Something that was published on one node, on its way to the sockets of the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// The app.
    pub app: AppKey,
    /// Whom it is for.
    pub to: Recipients,
    /// The name of the event; empty where there is none.
    #[serde(default)]
    pub event: Arc<str>,
    /// Whether the data is the text of a JSON value.
    #[serde(default)]
    pub is_value: bool,
    /// The member who sent it, when a client did so on a presence channel.
    #[serde(default)]
    pub user: Option<UserId>,
    /// A socket that does not get it.
    #[serde(default)]
    pub except: Option<SocketId>,
    /// On a channel that keeps its last event: when this one was published, Unix time in milliseconds.
    #[serde(default)]
    pub kept_ms: Option<i64>,
    /// Its number among all that its node sent to others, in the order in which it accepted them; 0 where it has none.
    #[serde(default)]
    pub number: u64,
    /// The data, byte for byte; it travels beside the rest.
    #[serde(skip, default = "empty")]
    pub data: Arc<str>,
}

/// The event that a channel keeps, for a node that was not there when it was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptEvent {
    /// The app.
    pub app: AppKey,
    /// The channel.
    pub channel: ChannelName,
    /// Its name.
    pub event: Arc<str>,
    /// When it was published, Unix time in milliseconds.
    pub kept_ms: i64,
    /// For how long it is kept yet, in milliseconds.
    pub rest_ms: u64,
    /// The data, byte for byte; it travels beside the rest.
    #[serde(skip, default = "empty")]
    pub data: Arc<str>,
}

fn empty() -> Arc<str> {
    Arc::from("")
}

/// What one node tells the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// I am here, and wait for a sign of each of you.
    Hello,
    /// I live.
    Beat {
        /// The number of the last change that I told.
        number: u64,
        /// I know what the others hold, and serve.
        is_ready: bool,
        /// Those I know of.
        peers: Vec<NodeId>,
        /// The number of times that I became one of those who share the notices.
        #[serde(default)]
        epoch: u64,
        /// Those who share the notices, each with its epoch: from here on I tell nothing that is a task of theirs.
        #[serde(default)]
        members: Option<Vec<(NodeId, u64)>>,
        /// I am one of those who tell webhooks, and know what they were told.
        #[serde(default)]
        is_settled: bool,
    },
    /// I go, and hold nothing any more.
    Bye,
    /// What I hold has changed.
    Changed {
        /// Changes are numbered one by one.
        number: u64,
        /// The new shares, whole.
        apps: Vec<AppHoldings>,
        /// What I have told webhooks.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "known_only")]
        told: Vec<Told>,
    },
    /// Tell me all that you hold.
    Ask {
        /// Comes back with the answer.
        token: u64,
        /// What is still to be told to webhooks is enough.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        owed_only: bool,
        /// I say how much of the answer I have taken in, and want only a few pages ahead of that.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_paced: bool,
    },
    /// I have taken in so many pages of an answer.
    Taken {
        /// The question.
        token: u64,
        /// How many.
        pages: u32,
    },
    /// A part of all that I hold.
    Page {
        /// The question that this answers.
        token: u64,
        /// The last change that I had told before I began.
        number: u64,
        /// Counted from 0.
        index: u32,
        /// It is the last.
        is_last: bool,
        /// The shares, whole.
        apps: Vec<AppHoldings>,
        /// I share the notices with others: what is my task and not named was told.
        #[serde(default)]
        is_settled: bool,
        /// What is still to be told to webhooks, as far as I know.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "known_only")]
        owed: Vec<Told>,
        /// The last change of each other node that I had taken in by then.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tales: Vec<(NodeId, u64)>,
        /// The nodes that I took for dead while I shared the notices, and told webhooks so.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        outlived: Vec<NodeId>,
    },
    /// What a node says to itself: when it hears that, the bus follows all that it had asked for up to this number.
    Followed(u64),
    /// A channel keeps this.
    Kept(KeptEvent),
    /// An app was registered, changed or removed: read it again.
    AppChanged(AppKey),
    /// Deliver this.
    Relay(Relay),
    /// Close the sockets that are signed in as this user.
    Terminate(AppKey, UserId),
    /// Change what the sockets whose token names this user may subscribe to.
    Permit(AppKey, UserId, PermissionChange),
}

//! The nouns of the product and what always holds for them: no I/O, no locks, no clock.
//!
//! A value of these types was checked when it was made; whoever holds one need not look again.

mod algorithm;
mod app;
mod channel;
mod command;
mod fact;
pub mod json;
mod level;
mod member;
mod notice;
mod parting;
pub mod pattern;
mod permission;
mod publication;
mod push;
mod rate;
mod refusal;
mod reply;
mod settings;
mod socket;
mod user;
mod webhook;
mod webhook_report;

pub use algorithm::Algorithm;
pub use app::{
    Admin, App, AppKey, AppNumber, AppSecret, CREDENTIAL_BYTES_MAX, Hash, Registered, Registration,
};
pub use channel::{ChannelFault, ChannelKind, ChannelName};
pub use command::{Command, SignIn};
pub use fact::{AppHoldings, Fact, Holding, Item, KeptEvent, NodeId, Recipients, Relay, Share, Told};
pub use json::text_of_json;
pub use level::Level;
pub use member::{Member, Roster};
pub use notice::{Notice, NoticeEvent, NoticeKind};
pub use parting::Parting;
pub use pattern::Pattern;
pub use permission::{PermissionChange, Permissions};
pub use publication::{Counts, Publication, Reach, Target, ValueEvent};
pub use push::{Audience, Content, Push};
pub use rate::AppRate;
pub use refusal::Refusal;
pub use reply::{Kept, Reply};
pub use settings::{AppSettings, KeyPair, SettingFault};
pub use socket::SocketId;
pub use user::UserId;
pub use webhook::{ChannelFilter, Webhook};
pub use webhook_report::{WebhookAttempt, WebhookOutcome, WebhookReport, WebhookResult};

/// The protocols that a socket can speak. What each of them says on the wire is known to `dialect` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The original system: sockets at `/ws/{app_key}/{user_tag}`, plain text frames.
    Gusher,
    /// Pusher Channels: sockets at `/app/{key}`, JSON envelopes.
    Pusher,
    /// Gusher Cluster: sockets at `/v1/apps/{app}/ws`, admitted by a token.
    Cluster,
}

impl Dialect {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Gusher, Self::Pusher, Self::Cluster];

    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gusher => "gusher",
            Self::Pusher => "pusher",
            Self::Cluster => "cluster",
        }
    }
}
